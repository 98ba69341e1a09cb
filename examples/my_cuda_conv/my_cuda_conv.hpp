// The kernel's own interface, which knows nothing of Plumb.
#pragma once

#include <cstdint>

struct cuda_conv_sizes {
  std::int64_t n, c, h, w, k, r, s, p, q;
  std::int64_t stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups;
};

/// y = conv2d(x, weight) + bias, all on the device, NCHW; bias may be nullptr. Enqueues on `stream` (a cudaStream_t) and
/// does not wait. Returns 0 or the error of the launch.
int my_cuda_conv(const cuda_conv_sizes& a, const float* x, const float* weight, const float* bias, float* y,
                 void* stream);
