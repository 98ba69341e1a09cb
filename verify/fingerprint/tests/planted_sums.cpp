// Convolutions whose arithmetic is another one than they declare, beside honest ones. Their errors are small: on ordinary
// data most of them would pass a loose comparison.
#include <cmath>
#include <cstring>
#include <plumb/plugin.hpp>

namespace {

using problem = plumb::conv2d_problem;

float cut(float x, int bits) {  // to nearest in `bits` significant bits; the exponent is left as it is
  std::uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  const std::uint32_t step = 1U << (24 - bits);
  word += step / 2 - 1 + (word >> (24 - bits) & 1U);
  word &= ~(step - 1);
  std::memcpy(&x, &word, sizeof x);
  return x;
}
float same(float x) { return x; }
float tf32(float x) { return cut(x, 11); }
float flushed(float x) { return std::fabs(x) < 0x1p-126F ? 0.0F : x; }

/// The sum of one output with this many lanes, factors seen through `in`, partial sums through `out`.
template <int Lanes, float (*In)(float), float (*Out)(float)>
void convolve(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  for (std::int64_t n = 0; n < p.n; ++n)
    for (std::int64_t k = 0; k < p.k; ++k)
      for (std::int64_t i = 0; i < p.p * p.q; ++i) {
        float sum[Lanes] = {};
        for (std::int64_t c = 0; c < p.c; ++c)
          for (std::int64_t r = 0; r < p.r; ++r)
            for (std::int64_t s = 0; s < p.s; ++s) {
              const std::int64_t h = i / p.q * p.stride_h - p.pad_top + r * p.dilation_h;
              const std::int64_t w = i % p.q * p.stride_w - p.pad_left + s * p.dilation_w;
              if (h < 0 || h >= p.h || w < 0 || w >= p.w) continue;
              const float a = In(x[((n * p.c + c) * p.h + h) * p.w + w]);
              const float b = In(weight[((k * p.c + c) * p.r + r) * p.s + s]);
              float& lane = sum[c % Lanes];
              lane = Out(lane + Out(a * b));
            }
        for (int half = Lanes / 2; half > 0; half /= 2)
          for (int l = 0; l < half; ++l) sum[l] = Out(sum[l] + sum[l + half]);
        y[(n * p.k + k) * p.p * p.q + i] = bias != nullptr ? sum[0] + bias[k] : sum[0];
      }
}

/// Two products as those of both pairs of factors turned by one angle, with fractions that no float holds, as Winograd's
/// larger transforms have them: right to a few roundings, and nothing of a factor comes through untouched.
void transformed(const problem& p, const float* x, const float* weight, const float* bias, float* y) {
  constexpr float sine = 0.6F, cosine = 0.8F;
  for (std::int64_t n = 0; n < p.n; ++n)
    for (std::int64_t k = 0; k < p.k; ++k)
      for (std::int64_t i = 0; i < p.p * p.q; ++i) {
        float sum = 0, a[2] = {}, b[2] = {};
        for (std::int64_t term = 0; term < p.c * p.r * p.s; ++term) {
          const std::int64_t c = term / (p.r * p.s), r = term / p.s % p.r, s = term % p.s;
          const std::int64_t h = i / p.q * p.stride_h - p.pad_top + r * p.dilation_h;
          const std::int64_t w = i % p.q * p.stride_w - p.pad_left + s * p.dilation_w;
          const bool inside = h >= 0 && h < p.h && w >= 0 && w < p.w;
          a[term % 2] = inside ? x[((n * p.c + c) * p.h + h) * p.w + w] : 0;
          b[term % 2] = weight[((k * p.c + c) * p.r + r) * p.s + s];
          if (term % 2 == 0 && term + 1 < p.c * p.r * p.s) continue;
          if (term % 2 == 0) a[1] = b[1] = 0;
          const float first = (cosine * a[0] - sine * a[1]) * (cosine * b[0] - sine * b[1]);
          sum += first + (sine * a[0] + cosine * a[1]) * (sine * b[0] + cosine * b[1]);
        }
        y[(n * p.k + k) * p.p * p.q + i] = bias != nullptr ? sum + bias[k] : sum;
      }
}

float half(float x) { return cut(x, 11); }

plumb::plugin_kernel row(const char* name, const char* arithmetic,
                         void (*f)(const problem&, const float*, const float*, const float*, float*)) {
  return plumb::conv2d_forward(std::string("conv2d.forward/") + name + "@cpu", f)
      .arithmetic(arithmetic)
      .only_if<problem>([](const problem& p) { return p.groups == 1 ? "" : "no groups"; });
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {row("honest_in_turn", "f32", convolve<1, same, same>),
          row("honest_lanes", "f32(lanes=4)", convolve<4, same, same>),
          row("honest_tf32", "tf32", convolve<1, tf32, same>),
          row("planted_tf32", "f32", convolve<1, tf32, same>),
          row("planted_narrow_sums", "f32", convolve<4, same, half>),
          row("planted_flush", "f32", convolve<1, flushed, flushed>),
          row("honest_transform", "winograd(4,3)", transformed),
          row("planted_transform", "f32", transformed),
          row("planted_tree", "f32(sequential)", convolve<4, same, same>)};
}
