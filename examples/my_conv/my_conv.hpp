// A convolution as its author has it, before Plumb: f32, NCHW, all attributes of the layer but `flip`.
#pragma once

#include <cstdint>

struct conv_sizes {
  std::int64_t n, c, h, w, k, r, s, p, q;
  std::int64_t stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups;
};

/// y = conv(x, weight) + bias; bias may be null.
void my_conv(const conv_sizes& a, const float* x, const float* weight, const float* bias, float* y,
             int threads);
/// dx = the gradient of conv with respect to x, for the cotangent dy.
void my_conv_backward_data(const conv_sizes& a, const float* dy, const float* weight, float* dx, int threads);
