// A conv2d problem as a body receives it: plain numbers, and tensors as addresses with strides.
#pragma once

#include "optimized/cuda/body.hpp"

namespace plumb::cuda {

using offset = std::int64_t;  ///< every offset into global memory: tensors have more than 2³¹ elements

struct conv_axis_numbers {
  int in = 1, out = 1, taps = 1, stride = 1, dilation = 1, begin = 0;

  /// The input that tap t of output o reads; outside 0 … in-1 it lies in the padding.
  PLUMB_DEVICE int reads(int o, int t) const { return o * stride - begin + t * dilation; }
  PLUMB_DEVICE bool inside(int i) const { return i >= 0 && i < in; }
  /// The output whose tap t reads input i, or -1.
  PLUMB_DEVICE int output_of(int i, int t) const {
    const int way = i + begin - t * dilation;
    return way >= 0 && way % stride == 0 && way / stride < out ? way / stride : -1;
  }
};

struct conv_numbers {
  int n = 0, c = 0, k = 0, group_c = 0, group_k = 0;
  conv_axis_numbers h = {}, w = {};
  bool flip = false;

  PLUMB_DEVICE int weight_row(int r) const { return flip ? h.taps - 1 - r : r; }
  PLUMB_DEVICE int weight_column(int s) const { return flip ? w.taps - 1 - s : s; }
};

/// Where the sums of a column of a matrix product go: number m to first[m·stride].
struct out_column {
  float* first;
  offset stride;
};

/// A tensor of four axes, n c h w (for weights k c r s), in elements.
template <class T>
struct view4 {
  T* data = nullptr;
  offset stride[4] = {};

  PLUMB_DEVICE T& operator()(offset a, offset b, offset c, offset d) const {
    return data[a * stride[0] + b * stride[1] + c * stride[2] + d * stride[3]];
  }
};

/// Sums of one number a thread over each `Team` neighbouring threads of the block, in a fixed order: in
/// portions of up to 32, then the portions. The result is for the team's first thread only. Between two calls on the
/// same array lies a barrier of the caller's.
template <int Team, class Block, class Array>
PLUMB_DEVICE float sum_of_team(Block& block, Array& partial, float mine) {
  constexpr int part = Team <= 32 ? Team : 16;
  const int t = block.thread(), lane = t % Team;
  partial[t] = mine;
  block.barrier();
  if (lane % part == 0)
    for (int i = 1; i < part; ++i) mine += partial[t + i];
  if (part == Team) return mine;
  if (lane % part == 0) partial[t] = mine;
  block.barrier();
  if (lane == 0)
    for (int i = part; i < Team; i += part) mine += partial[t + i];
  return mine;
}

}  // namespace plumb::cuda
