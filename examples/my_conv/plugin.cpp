// The glue: all it takes to put the kernels of my_conv.hpp before Plumb.
#include <plumb/plugin.hpp>

#include "my_conv.hpp"

static conv_sizes sizes(const plumb::conv2d_problem& a) {
  return {a.n, a.c,        a.h,        a.w,       a.k,        a.r,          a.s,          a.p,
          a.q, a.stride_h, a.stride_w, a.pad_top, a.pad_left, a.dilation_h, a.dilation_w, a.groups};
}

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {conv2d_forward("conv2d.forward/my_conv@cpu",
                         [](const conv2d_problem& a, auto* x, auto* weight, auto* bias, auto* y) {
                           my_conv(sizes(a), x, weight, bias, y, a.threads);
                         }),
          conv2d_backward("conv2d.backward_data/my_conv@cpu",
                          [](const conv2d_problem& a, auto* dy, auto* weight, auto* dx) {
                            my_conv_backward_data(sizes(a), dy, weight, dx, a.threads);
                          })};
}
