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
  conv_axis_numbers h, w;
  bool flip = false;

  PLUMB_DEVICE int weight_row(int r) const { return flip ? h.taps - 1 - r : r; }
  PLUMB_DEVICE int weight_column(int s) const { return flip ? w.taps - 1 - s : s; }
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

/// The sum of one number a thread, in a fixed order, known to every thread; `Threads` is a power of two. The array may
/// be written again after the next barrier.
template <int Threads, class Block, class Array>
PLUMB_DEVICE float sum_of_block(Block& block, Array& partial, float mine) {
  const int t = block.thread();
  partial[t] = mine;
  block.barrier();
  for (int half = Threads / 2; half > 0; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
    block.barrier();
  }
  return partial[0];
}

}  // namespace plumb::cuda
