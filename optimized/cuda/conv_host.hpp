// What the rows of convolution kernels share on the host: from the resolved problem to the numbers that bodies take.
#pragma once

#include <limits>

#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/rows.hpp"

namespace plumb::cuda {

inline conv_axis_numbers to_numbers(const conv_axis& a) {
  const auto narrow = [](index_t v) { return static_cast<int>(v); };
  return {narrow(a.in), narrow(a.out), narrow(a.taps), narrow(a.stride), narrow(a.dilation), narrow(a.begin)};
}

inline conv_numbers to_numbers(const conv_arguments& a) {
  const auto narrow = [](index_t v) { return static_cast<int>(v); };
  return {.n = narrow(a.n),
          .c = narrow(a.c),
          .k = narrow(a.k),
          .group_c = narrow(a.group_c()),
          .group_k = narrow(a.group_k()),
          .h = to_numbers(a.height()),
          .w = to_numbers(a.width()),
          .flip = a.flip};
}

/// Extents are counted in 32 bits, and so is every position with its padding; offsets are not.
inline support conv2d_support(const kernel_problem& kp) {
  if (const support s = conv_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  const auto fits = [](index_t v) { return v <= std::numeric_limits<int>::max() / 2; };
  for (const conv_axis& axis : a.axes)
    if (!fits(axis.in + axis.begin + axis.end) || !fits(axis.out * axis.stride) ||
        !fits(axis.taps * axis.dilation))
      return support::no("an axis is longer than 2^30");
  if (!fits(a.n) || !fits(a.c) || !fits(a.k)) return support::no("an axis is longer than 2^30");
  return support::yes();
}

template <class T>
view4<T> view_of(const tensor_ref& t) {
  view4<T> v{static_cast<T*>(t.data), {}};
  for (int axis = 0; axis < 4; ++axis) v.stride[axis] = t.strides[axis];
  return v;
}

/// The third read, where it is there.
template <class Arguments>
void set_bias(Arguments& a, const kernel_call& call) {
  if (call.reads.size() < 3 || call.reads[2].data == nullptr) return;
  a.bias = static_cast<const float*>(call.reads[2].data);
  a.bias_stride = call.reads[2].strides[0];
}

}  // namespace plumb::cuda
