// Five convolutions, each an honest kernel but for one line, and each line a kind of bug that has been
// shipped:
//   unequal_sides   the pad of one axis used for the other: right on every image padded alike on all sides
//   group_offset    the group of a filter found by remainder where it takes a quotient: right for depthwise
//   filters vector_tail     the last vector moved back to end with the row, its overlap then added twice
//   past_the_end    whole vectors stored to the end of every row: the next row mends it, but the last has
//   none stride_gaps     no zero stored where no filter tap reaches: right whenever the buffer happened to be
//   clear
#include <algorithm>
#include <plumb/plugin.hpp>

namespace {

using problem = plumb::conv2d_problem;
using integer = std::int64_t;

constexpr integer lanes = 8;

/// x at (h, w) of one channel's plane, zero outside.
float at(const problem& a, const float* plane, integer h, integer w) {
  return h >= 0 && h < a.h && w >= 0 && w < a.w ? plane[h * a.w + w] : 0.0F;
}

/// One output: the sum over the channels from `first` on and all taps.
float output(const problem& a, const float* image, const float* filter, integer first, integer p, integer q,
             integer pad_left) {
  float sum = 0;
  for (integer c = 0; c < a.c / a.groups; ++c)
    for (integer r = 0; r < a.r; ++r)
      for (integer s = 0; s < a.s; ++s)
        sum += filter[(c * a.r + r) * a.s + s] * at(a, image + (first + c) * a.h * a.w,
                                                    p * a.stride_h - a.pad_top + r * a.dilation_h,
                                                    q * a.stride_w - pad_left + s * a.dilation_w);
  return sum;
}

/// Calls row(image, filter, first channel of the group, bias, p, y's row) for every row of y in the order of
/// memory.
template <class Row>
void for_each_row(const problem& a, const float* x, const float* weight, const float* bias, float* y,
                  Row row) {
  const integer channels = a.c / a.groups;
  const integer filters = a.k / a.groups;
  for (integer n = 0; n < a.n; ++n)
    for (integer k = 0; k < a.k; ++k)
      for (integer p = 0; p < a.p; ++p)
        row(x + n * a.c * a.h * a.w, weight + k * channels * a.r * a.s, k / filters * channels,
            bias != nullptr ? bias[k] : 0.0F, p, y + ((n * a.k + k) * a.p + p) * a.q);
}

void unequal_sides(const problem& a, const float* x, const float* weight, const float* bias, float* y) {
  for_each_row(a, x, weight, bias, y,
               [&](auto* image, auto* filter, integer first, float b, integer p, float* row) {
                 for (integer q = 0; q < a.q; ++q)
                   row[q] = output(a, image, filter, first, p, q, a.pad_top) + b;
               });
}

void group_offset(const problem& a, const float* x, const float* weight, const float* bias, float* y) {
  const integer channels = a.c / a.groups;
  const integer taps = channels * a.r * a.s;
  for_each_row(a, x, weight, bias, y,
               [&](auto* image, auto* filter, integer, float b, integer p, float* row) {
                 const integer k = (filter - weight) / std::max<integer>(taps, 1);
                 const integer first = k % a.groups * channels;
                 for (integer q = 0; q < a.q; ++q)
                   row[q] = output(a, image, filter, first, p, q, a.pad_left) + b;
               });
}

void vector_tail(const problem& a, const float* x, const float* weight, const float* bias, float* y) {
  for_each_row(a, x, weight, bias, y,
               [&](auto* image, auto* filter, integer first, float b, integer p, float* row) {
                 const integer width = std::min(lanes, a.q);
                 std::fill(row, row + a.q, b);
                 for (integer q = 0; q < a.q; q += width) {
                   const integer start = std::min(q, a.q - width);
                   for (integer lane = start; lane < start + width; ++lane)
                     row[lane] += output(a, image, filter, first, p, lane, a.pad_left);
                 }
               });
}

void past_the_end(const problem& a, const float* x, const float* weight, const float* bias, float* y) {
  for_each_row(a, x, weight, bias, y,
               [&](auto* image, auto* filter, integer first, float b, integer p, float* row) {
                 for (integer q = 0; q < a.q; q += lanes) {
                   float vector[lanes];
                   for (integer lane = 0; lane < lanes; ++lane)
                     vector[lane] = output(a, image, filter, first, p, q + lane, a.pad_left) + b;
                   std::copy(vector, vector + lanes, row + q);
                 }
               });
}

void stride_gaps(const problem& a, const float* dy, const float* weight, float* dx) {
  const integer channels = a.c / a.groups;
  const integer filters = a.k / a.groups;
  for (integer cell = 0; cell < a.n * a.c * a.h * a.w; ++cell) {
    const integer n = cell / (a.c * a.h * a.w), c = cell / (a.h * a.w) % a.c, h = cell / a.w % a.h,
                  w = cell % a.w;
    float sum = 0;
    bool reached = false;
    for (integer r = 0; r < a.r; ++r)
      for (integer s = 0; s < a.s; ++s) {
        const integer above = h + a.pad_top - r * a.dilation_h;
        const integer left = w + a.pad_left - s * a.dilation_w;
        if (above < 0 || left < 0 || above % a.stride_h != 0 || left % a.stride_w != 0) continue;
        const integer p = above / a.stride_h, q = left / a.stride_w;
        if (p >= a.p || q >= a.q) continue;
        reached = true;
        for (integer k = c / channels * filters; k < (c / channels + 1) * filters; ++k)
          sum += dy[((n * a.k + k) * a.p + p) * a.q + q] *
                 weight[((k * channels + c % channels) * a.r + r) * a.s + s];
      }
    if (reached) dx[cell] = sum;
  }
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {conv2d_forward("conv2d.forward/unequal_sides@broken", unequal_sides),
          conv2d_forward("conv2d.forward/group_offset@broken", group_offset),
          conv2d_forward("conv2d.forward/vector_tail@broken", vector_tail),
          conv2d_forward("conv2d.forward/past_the_end@broken", past_the_end),
          conv2d_backward("conv2d.backward_data/stride_gaps@broken", stride_gaps)};
}
