// Convolutions that are right the first time: each keeps something from call to call that it should not.
#include <cstdint>
#include <plumb/plugin.hpp>
#include <vector>

namespace {

using problem = plumb::conv2d_problem;

void convolve(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  for (std::int64_t n = 0; n < p.n; ++n)
    for (std::int64_t k = 0; k < p.k; ++k)
      for (std::int64_t i = 0; i < p.p * p.q; ++i) {
        float sum = bias != nullptr ? bias[k] : 0;
        for (std::int64_t c = 0; c < p.c; ++c)
          for (std::int64_t r = 0; r < p.r; ++r)
            for (std::int64_t s = 0; s < p.s; ++s) {
              const std::int64_t h = i / p.q * p.stride_h - p.pad_top + r * p.dilation_h;
              const std::int64_t w = i % p.q * p.stride_w - p.pad_left + s * p.dilation_w;
              if (h < 0 || h >= p.h || w < 0 || w >= p.w) continue;
              sum += x[((n * p.c + c) * p.h + h) * p.w + w] * weight[((k * p.c + c) * p.r + r) * p.s + s];
            }
        y[(n * p.k + k) * p.p * p.q + i] = sum;
      }
}

/// What was computed last for as many elements, and the last of the inputs it was computed from.
struct memory {
  std::vector<float> y;
  std::int64_t inputs = 0;
  float last = 0;
};

/// Takes a problem of the same size, and with `Looks` the same last element of x, for the same problem.
template <bool Looks>
void remembers(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  static memory kept;
  const std::int64_t inputs = p.n * p.c * p.h * p.w;
  const auto outputs = static_cast<std::size_t>(p.n * p.k * p.p * p.q);
  const bool known =
      kept.inputs == inputs && kept.y.size() == outputs && (!Looks || kept.last == x[inputs - 1]);
  if (!known) {
    kept.y.resize(outputs);
    convolve(p, x, weight, bias, kept.y.data());
    kept.inputs = inputs;
    kept.last = x[inputs - 1];
  }
  for (std::size_t i = 0; i < outputs; ++i) y[i] = kept.y[i];
}

void tires(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  static int calls = 0;
  convolve(p, x, weight, bias, y);
  if (++calls % 50 == 0) y[0] += 1;
}

plumb::plugin_kernel row(const char* name,
                         void (*f)(const problem&, const float*, const float*, const float*, float*)) {
  return plumb::conv2d_forward(std::string("conv2d.forward/") + name + "@planted", f)
      .only_if<problem>([](const problem& p) { return p.groups == 1 ? "" : "no groups"; });
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {row("remembers_size", remembers<false>), row("remembers_sample", remembers<true>),
          row("tires", tires)};
}
