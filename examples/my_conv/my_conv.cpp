// One row at a time: every (input row, tap) adds a scaled, shifted copy of a row to a row, which compilers
// vectorise. The cells that a tap reaches are a range of output columns worked out beforehand, so the inner
// loop asks nothing.
#include "my_conv.hpp"

#include <algorithm>

namespace {

struct range {
  std::int64_t begin, end;
};

/// The outputs o in [0, outputs) for which o·stride + offset lies in [0, size).
range inside(std::int64_t outputs, std::int64_t stride, std::int64_t offset, std::int64_t size) {
  const std::int64_t begin = offset < 0 ? (stride - 1 - offset) / stride : 0;
  const std::int64_t end = size > offset ? (size - 1 - offset) / stride + 1 : 0;
  return {begin, std::min(outputs, end)};
}

}  // namespace

void my_conv(const conv_sizes& a, const float* x, const float* weight, const float* bias, float* y,
             int threads) {
  const std::int64_t channels = a.c / a.groups;
  const std::int64_t filters = a.k / a.groups;
#pragma omp parallel for collapse(3) num_threads(threads)
  for (std::int64_t n = 0; n < a.n; ++n)
    for (std::int64_t k = 0; k < a.k; ++k)
      for (std::int64_t p = 0; p < a.p; ++p) {
        float* const out = y + ((n * a.k + k) * a.p + p) * a.q;
        std::fill(out, out + a.q, bias != nullptr ? bias[k] : 0.0F);
        for (std::int64_t c = 0; c < channels; ++c)
          for (std::int64_t r = 0; r < a.r; ++r) {
            const std::int64_t h = p * a.stride_h - a.pad_top + r * a.dilation_h;
            if (h < 0 || h >= a.h) continue;
            const float* const in = x + ((n * a.c + k / filters * channels + c) * a.h + h) * a.w;
            for (std::int64_t s = 0; s < a.s; ++s) {
              const float tap = weight[((k * channels + c) * a.r + r) * a.s + s];
              const std::int64_t offset = s * a.dilation_w - a.pad_left;
              const range reached = inside(a.q, a.stride_w, offset, a.w);
              for (std::int64_t q = reached.begin; q < reached.end; ++q)
                out[q] += tap * in[q * a.stride_w + offset];
            }
          }
      }
}

void my_conv_backward_data(const conv_sizes& a, const float* dy, const float* weight, float* dx,
                           int threads) {
  const std::int64_t channels = a.c / a.groups;
  const std::int64_t filters = a.k / a.groups;
#pragma omp parallel for collapse(3) num_threads(threads)
  for (std::int64_t n = 0; n < a.n; ++n)
    for (std::int64_t c = 0; c < a.c; ++c)
      for (std::int64_t h = 0; h < a.h; ++h) {
        float* const out = dx + ((n * a.c + c) * a.h + h) * a.w;
        std::fill(out, out + a.w, 0.0F);
        const std::int64_t group = c / channels;
        for (std::int64_t k = group * filters; k < (group + 1) * filters; ++k)
          for (std::int64_t r = 0; r < a.r; ++r) {
            const std::int64_t above =
                h + a.pad_top - r * a.dilation_h;  // p·stride_h, if this tap meets row h
            if (above < 0 || above % a.stride_h != 0 || above / a.stride_h >= a.p) continue;
            const float* const in = dy + ((n * a.k + k) * a.p + above / a.stride_h) * a.q;
            for (std::int64_t s = 0; s < a.s; ++s) {
              const float tap = weight[((k * channels + c % channels) * a.r + r) * a.s + s];
              const std::int64_t offset = s * a.dilation_w - a.pad_left;
              const range reached = inside(a.q, a.stride_w, offset, a.w);
              for (std::int64_t q = reached.begin; q < reached.end; ++q)
                out[q * a.stride_w + offset] += tap * in[q];
            }
          }
      }
}
