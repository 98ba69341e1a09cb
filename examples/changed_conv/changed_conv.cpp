// What `plumb report --compare` says when a kernel changes: the convolution of my_conv under one name, in the state
// that the environment variable CHANGED_CONV asks for.
//   unset        as my_conv has it
//   slower       a tenth slower: after the work it waits a tenth of the time the work took
//   less_exact   as fast, but the outputs pass through a format of 20 significant bits
#include <chrono>
#include <cstdlib>
#include <string_view>

#include <plumb/plugin.hpp>

#include "../my_conv/my_conv.hpp"

namespace {

using clock_type = std::chrono::steady_clock;

std::string_view wanted() {
  const char* const value = std::getenv("CHANGED_CONV");
  return value == nullptr ? "" : value;
}

void wait_a_tenth_more(clock_type::time_point start) {
  const auto end = clock_type::now() + (clock_type::now() - start) / 10;
  while (clock_type::now() < end) {
  }
}

/// Veltkamp's splitting: the nearest float with 24 - 4 significant bits.
float shortened(float value) {
  constexpr float factor = 17;  // 2^4 + 1
  const float scaled = factor * value;
  return scaled - (scaled - value);
}

void changed_conv(const plumb::conv2d_problem& a, const float* x, const float* weight, const float* bias,
                  float* y) {
  static const std::string_view state = wanted();
  const auto start = clock_type::now();
  my_conv({a.n, a.c, a.h, a.w, a.k, a.r, a.s, a.p, a.q, a.stride_h, a.stride_w, a.pad_top, a.pad_left,
           a.dilation_h, a.dilation_w, a.groups},
          x, weight, bias, y, a.threads);
  if (state == "less_exact")
    for (std::int64_t i = 0; i < a.n * a.k * a.p * a.q; ++i) y[i] = shortened(y[i]);
  if (state == "slower") wait_a_tenth_more(start);
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {conv2d_forward("conv2d.forward/changed_conv@cpu",
                         [](const conv2d_problem& a, auto* x, auto* weight, auto* bias, auto* y) {
                           changed_conv(a, x, weight, bias, y);
                         })};
}
