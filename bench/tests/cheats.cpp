// Kernels that would look fast to a careless stopwatch, beside the honest one they are made of. The library keeps its
// state in statics on purpose: that is how such kernels come about.
#include <cstdlib>
#include <cstring>
#include <map>
#include <plumb/plugin.hpp>

namespace {

using problem = plumb::conv2d_problem;

void honest(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  const std::int64_t cg = p.c / p.groups, kg = p.k / p.groups;
  for (std::int64_t n = 0; n < p.n; ++n)
    for (std::int64_t k = 0; k < p.k; ++k)
      for (std::int64_t i = 0; i < p.p * p.q; ++i) {
        float sum = bias != nullptr ? bias[k] : 0.0F;
        for (std::int64_t c = 0; c < cg; ++c)
          for (std::int64_t r = 0; r < p.r; ++r)
            for (std::int64_t s = 0; s < p.s; ++s) {
              const std::int64_t h = i / p.q * p.stride_h - p.pad_top + r * p.dilation_h;
              const std::int64_t w = i % p.q * p.stride_w - p.pad_left + s * p.dilation_w;
              if (h < 0 || h >= p.h || w < 0 || w >= p.w) continue;
              sum += x[((n * p.c + k / kg * cg + c) * p.h + h) * p.w + w] *
                     weight[((k * cg + c) * p.r + r) * p.s + s];
            }
        y[(n * p.k + k) * p.p * p.q + i] = sum;
      }
}

/// Works for the first calls, then leaves the output as it is.
void tires(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  static int calls = 0;
  if (++calls <= 12) honest(p, x, weight, bias, y);
}

/// Remembers what it once answered for an address.
void remembers(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  static std::map<const float*, std::vector<float>> answers;
  std::vector<float>& known = answers[x];
  const auto size = static_cast<std::size_t>(p.n * p.k * p.p * p.q);
  if (known.empty()) {
    honest(p, x, weight, bias, y);
    known.assign(y, y + size);
  } else {
    std::memcpy(y, known.data(), size * sizeof(float));
  }
}

/// Answers with the output of the call before.
void lags(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  static std::vector<float> before;
  const auto size = static_cast<std::size_t>(p.n * p.k * p.p * p.q);
  std::vector<float> fresh(size);
  honest(p, x, weight, bias, fresh.data());
  std::memcpy(y, before.size() == size ? before.data() : fresh.data(), size * sizeof(float));
  before = std::move(fresh);
}

void nothing(const problem&, const float*, const float*, const float*, float*) {}

void wrong(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  honest(p, x, weight, bias, y);
  y[p.n * p.k * p.p * p.q - 1] += 1.0F;
}

void crashes(const problem&, const float*, const float*, const float*, float*) { std::abort(); }

/// Right the first time and then late: crashes within the timed loop.
void crashes_later(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  static int calls = 0;
  if (++calls > 12) std::abort();
  honest(p, x, weight, bias, y);
}

/// relu of a batch, of which only some samples will be judged.
struct batch {
  std::int64_t samples, size;
  static batch read(plumb::problem_reader& reader, int) {
    reader.knows_only({"x"});
    const auto x = reader.shape("x", 4);
    return {x[0], x[1] * x[2] * x[3]};
  }
};

/// relu of the samples that `takes` takes.
template <class Takes>
void rectify(const batch& b, const plumb_call& call, Takes&& takes) {
  const float* const x = plumb::read_pointer<float>(call, 0);
  float* const y = plumb::write_pointer<float>(call, 0);
  for (std::int64_t n = 0; n < b.samples; ++n)
    for (std::int64_t i = n * b.size; takes(n) && i < (n + 1) * b.size; ++i) y[i] = x[i] > 0.0F ? x[i] : 0.0F;
}

void honest_relu(const batch& b, const plumb_call& call) {
  rectify(b, call, [](std::int64_t) { return true; });
}
void skips_a_sample(const batch& b, const plumb_call& call) {
  rectify(b, call, [&](std::int64_t n) { return n != b.samples / 3; });
}
void repeats_a_sample(const batch& b, const plumb_call& call) {
  honest_relu(b, call);
  float* const y = plumb::write_pointer<float>(call, 0);
  for (std::int64_t n = 1; n < b.samples; ++n)
    std::memcpy(y + n * b.size, y, static_cast<std::size_t>(b.size) * sizeof(float));
}
void forgets_the_end(const batch& b, const plumb_call& call) {
  honest_relu(b, call);
  plumb::write_pointer<float>(call, 0)[b.samples * b.size - 1] = 1.0F;
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {plumb::conv2d_forward("conv2d.forward/honest@cpu", honest),
          plumb::conv2d_forward("conv2d.forward/honest_too@cpu", honest),
          plumb::conv2d_forward("conv2d.forward/tires@cpu", tires),
          plumb::conv2d_forward("conv2d.forward/remembers@cpu", remembers),
          plumb::conv2d_forward("conv2d.forward/lags@cpu", lags),
          plumb::conv2d_forward("conv2d.forward/nothing@cpu", nothing),
          plumb::conv2d_forward("conv2d.forward/wrong@cpu", wrong),
          plumb::conv2d_forward("conv2d.forward/crashes@cpu", crashes),
          plumb::conv2d_forward("conv2d.forward/crashes_later@cpu", crashes_later),
          plumb::plugin_kernel::of<batch>("relu.forward/honest@cheats", honest_relu).arithmetic("exact"),
          plumb::plugin_kernel::of<batch>("relu.forward/skips_a_sample@cheats", skips_a_sample)
              .arithmetic("exact"),
          plumb::plugin_kernel::of<batch>("relu.forward/repeats_a_sample@cheats", repeats_a_sample)
              .arithmetic("exact"),
          plumb::plugin_kernel::of<batch>("relu.forward/forgets_the_end@cheats", forgets_the_end)
              .arithmetic("exact")};
}
