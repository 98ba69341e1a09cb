// conv2d as an implicit matrix product: the Problems of matrix_tile.hpp and tensor_tile.hpp. The matrix of patches is
// never stored, its elements are gathered from x as they are needed. Any group, stride, dilation and padding.
//
//                      rows m       columns n             summed over k
//   forward            out channel  image, row, column    channel, tap      y[m,n]  = Σ weight · x
//   backward_data      channel      image, row, column    out channel, tap  dx[m,n] = Σ weight · dy, where a tap lands
//   backward_weights   out channel  channel, tap          image, row, column of y, cut into slices of whole images
// Taps are the fast part of k where channels are far apart in memory (NCHW), channels where they are neighbours (NHWC).
// Chetlur et al. 2014, "cuDNN: Efficient primitives for deep learning".
#pragma once

#include "optimized/cuda/matrix_tile.hpp"

namespace plumb::cuda {

struct conv_gemm_arguments {
  conv_numbers p = {};
  int rows = 0;
  offset columns = 0;
  int groups = 1, slices = 1;
  int terms = 0;  ///< of a sum; of backward_weights, of one image
  view4<const float> first = {}, second = {};
  const float* bias = nullptr;
  offset bias_stride = 1;
  view4<float> out = {};
  float* parts = nullptr;  ///< partial sums [slice][group][row][column], where slices > 1
};

/// A number along k of forward and backward_data: a channel and a tap.
struct tap_of_filter {
  int channel, r, s;
};
template <bool ChannelsLast>
PLUMB_DEVICE tap_of_filter split(int k, int channels, const conv_numbers& p) {
  if (ChannelsLast) return {k % channels, k / channels / p.w.taps, k / channels % p.w.taps};
  return {k / (p.h.taps * p.w.taps), k / p.w.taps % p.h.taps, k % p.w.taps};
}

/// A pixel of an image, or nothing.
struct pixel {
  const float* image = nullptr;  ///< null: outside
  int h = 0, w = 0;
};
PLUMB_DEVICE pixel pixel_at(const view4<const float>& t, offset n, offset columns, int height, int width,
                            int channel) {
  if (n >= columns) return {};
  const offset image = n / width / height;
  return {t.data + image * t.stride[0] + channel * t.stride[1], static_cast<int>(n / width % height),
          static_cast<int>(n % width)};
}

template <bool ChannelsLast>
struct conv_forward_product {
  using arguments = conv_gemm_arguments;
  static constexpr bool rows_along_k = true, columns_along_k = ChannelsLast;
  struct row {
    const float* filter;
  };
  using column = pixel;

  static PLUMB_DEVICE int depth(const arguments& a, int) { return a.terms; }
  static PLUMB_DEVICE row row_at(const arguments& a, int group, int, int m) {
    return {m < a.rows ? a.second.data + (offset{group} * a.rows + m) * a.second.stride[0] : nullptr};
  }
  static PLUMB_DEVICE column column_at(const arguments& a, int group, int, offset n) {
    return pixel_at(a.first, n, a.columns, a.p.h.out, a.p.w.out, group * a.p.group_c);
  }
  static PLUMB_DEVICE float left(const arguments& a, const row& r, int k) {
    if (r.filter == nullptr) return 0;
    const tap_of_filter t = split<ChannelsLast>(k, a.p.group_c, a.p);
    return r.filter[t.channel * a.second.stride[1] + a.p.weight_row(t.r) * a.second.stride[2] +
                    a.p.weight_column(t.s) * a.second.stride[3]];
  }
  static PLUMB_DEVICE float right(const arguments& a, const column& c, int k) {
    if (c.image == nullptr) return 0;
    const tap_of_filter t = split<ChannelsLast>(k, a.p.group_c, a.p);
    const int h = a.p.h.reads(c.h, t.r), w = a.p.w.reads(c.w, t.s);
    if (!a.p.h.inside(h) || !a.p.w.inside(w)) return 0;
    return c.image[t.channel * a.first.stride[1] + h * a.first.stride[2] + w * a.first.stride[3]];
  }
  static PLUMB_DEVICE out_column out_at(const arguments& a, int group, int, offset n) {
    const offset image = n / a.p.w.out / a.p.h.out;
    return {&a.out(image, offset{group} * a.rows, n / a.p.w.out % a.p.h.out, n % a.p.w.out), a.out.stride[1]};
  }
  static PLUMB_DEVICE float with_bias(const arguments& a, int group, int m, offset, float sum) {
    return a.bias != nullptr ? sum + a.bias[(offset{group} * a.rows + m) * a.bias_stride] : sum;
  }
};

template <bool ChannelsLast>
struct conv_backward_data_product {
  using arguments = conv_gemm_arguments;
  static constexpr bool rows_along_k = false, columns_along_k = ChannelsLast;
  struct row {
    const float* weight;
  };
  using column = pixel;

  static PLUMB_DEVICE int depth(const arguments& a, int) { return a.terms; }
  static PLUMB_DEVICE row row_at(const arguments& a, int group, int, int m) {
    return {m < a.rows
                ? a.second.data + offset{group} * a.p.group_k * a.second.stride[0] + m * a.second.stride[1]
                : nullptr};
  }
  static PLUMB_DEVICE column column_at(const arguments& a, int group, int, offset n) {
    return pixel_at(a.first, n, a.columns, a.p.h.in, a.p.w.in, group * a.p.group_k);
  }
  static PLUMB_DEVICE float left(const arguments& a, const row& r, int k) {
    if (r.weight == nullptr) return 0;
    const tap_of_filter t = split<ChannelsLast>(k, a.p.group_k, a.p);
    return r.weight[t.channel * a.second.stride[0] + a.p.weight_row(t.r) * a.second.stride[2] +
                    a.p.weight_column(t.s) * a.second.stride[3]];
  }
  static PLUMB_DEVICE float right(const arguments& a, const column& c, int k) {
    if (c.image == nullptr) return 0;
    const tap_of_filter t = split<ChannelsLast>(k, a.p.group_k, a.p);
    const int h = a.p.h.output_of(c.h, t.r), w = a.p.w.output_of(c.w, t.s);
    if (h < 0 || w < 0) return 0;
    return c.image[t.channel * a.first.stride[1] + h * a.first.stride[2] + w * a.first.stride[3]];
  }
  static PLUMB_DEVICE out_column out_at(const arguments& a, int group, int, offset n) {
    const offset image = n / a.p.w.in / a.p.h.in;
    return {&a.out(image, offset{group} * a.rows, n / a.p.w.in % a.p.h.in, n % a.p.w.in), a.out.stride[1]};
  }
  static PLUMB_DEVICE float with_bias(const arguments&, int, int, offset, float sum) { return sum; }
};

template <bool ChannelsLast>
struct conv_backward_weights_product {
  using arguments = conv_gemm_arguments;
  static constexpr bool rows_along_k = !ChannelsLast, columns_along_k = !ChannelsLast;
  struct row {
    const float* channel;  ///< of dy, in the slice's first image
  };
  struct column {
    const float* channel;  ///< of x
    int r, s;
  };

  static PLUMB_DEVICE int first_image(const arguments& a, int slice) {
    return static_cast<int>(offset{a.p.n} * slice / a.slices);
  }
  static PLUMB_DEVICE int depth(const arguments& a, int slice) {
    return (first_image(a, slice + 1) - first_image(a, slice)) * a.terms;
  }
  static PLUMB_DEVICE row row_at(const arguments& a, int group, int slice, int m) {
    if (m >= a.rows) return {nullptr};
    return {&a.first(first_image(a, slice), offset{group} * a.rows + m, 0, 0)};
  }
  static PLUMB_DEVICE column column_at(const arguments& a, int group, int slice, offset n) {
    if (n >= a.columns) return {nullptr, 0, 0};
    const tap_of_filter t = split<ChannelsLast>(static_cast<int>(n), a.p.group_c, a.p);
    return {&a.second(first_image(a, slice), offset{group} * a.p.group_c + t.channel, 0, 0), t.r, t.s};
  }
  static PLUMB_DEVICE float left(const arguments& a, const row& r, int k) {
    if (r.channel == nullptr) return 0;
    return r.channel[k / a.terms * a.first.stride[0] + k / a.p.w.out % a.p.h.out * a.first.stride[2] +
                     k % a.p.w.out * a.first.stride[3]];
  }
  static PLUMB_DEVICE float right(const arguments& a, const column& c, int k) {
    if (c.channel == nullptr) return 0;
    const int h = a.p.h.reads(k / a.p.w.out % a.p.h.out, c.r), w = a.p.w.reads(k % a.p.w.out, c.s);
    if (!a.p.h.inside(h) || !a.p.w.inside(w)) return 0;
    return c.channel[k / a.terms * a.second.stride[0] + h * a.second.stride[2] + w * a.second.stride[3]];
  }
  static PLUMB_DEVICE out_column out_at(const arguments& a, int group, int slice, offset n) {
    const offset k = offset{group} * a.rows;
    if (a.slices > 1) return {a.parts + (offset{slice} * a.groups * a.rows + k) * a.columns + n, a.columns};
    const tap_of_filter t = split<ChannelsLast>(static_cast<int>(n), a.p.group_c, a.p);
    return {&a.out(k, t.channel, a.p.weight_row(t.r), a.p.weight_column(t.s)), a.out.stride[0]};
  }
  static PLUMB_DEVICE float with_bias(const arguments&, int, int, offset, float sum) { return sum; }
};

/// The weights' gradient in the order of the partial sums.
template <bool ChannelsLast>
struct weights_in_order {
  conv_numbers p = {};
  offset columns = 0;
  view4<float> out = {};

  PLUMB_DEVICE float& operator[](offset i) const {
    const tap_of_filter t = split<ChannelsLast>(static_cast<int>(i % columns), p.group_c, p);
    return out(i / columns, t.channel, p.weight_row(t.r), p.weight_column(t.s));
  }
};

}  // namespace plumb::cuda
