// The glue: the kernel is of the device "cuda", so its tensors lie there and it is given a stream.
#include <plumb/plugin.hpp>

#include "my_cuda_conv.hpp"

static int run(const plumb::conv2d_problem& a, const plumb_call& call) {
  const cuda_conv_sizes sizes = {a.n,        a.c,          a.h,          a.w,        a.k,        a.r,
                                 a.s,        a.p,          a.q,          a.stride_h, a.stride_w, a.pad_top,
                                 a.pad_left, a.dilation_h, a.dilation_w, a.groups};
  return my_cuda_conv(sizes, plumb::read_pointer<float>(call, 0), plumb::read_pointer<float>(call, 1),
                      a.bias ? plumb::read_pointer<float>(call, 2) : nullptr,
                      plumb::write_pointer<float>(call, 0), call.stream);
}

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {plugin_kernel::of<conv2d_problem>("conv2d.forward/my_cuda_conv@cuda", run).device("cuda")};
}
