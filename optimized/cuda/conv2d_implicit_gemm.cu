// conv2d as an implicit matrix product in f32 without tensor cores: the Problems of conv_products.hpp by the tiles of
// matrix_tile.hpp. All three passes, both layouts, any group, stride, dilation and padding. In backward_weights the
// slices' partial sums wait in the workspace and are added in order: the result is the same every time.
// What limits it: see matrix_tile.hpp; in backward_data a stride of s wastes all but 1 of s² gathers; backward_weights
// cuts between images only, so that one large image keeps few blocks busy.
#include "optimized/cuda/conv_products.hpp"

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<slice_sum<weights_in_order<false>>, slice_sum<weights_in_order<true>>>;
template struct product_code<conv_forward_product<false>, conv_forward_product<true>>;
template struct product_code<conv_backward_data_product<false>, conv_backward_data_product<true>>;
template struct product_code<conv_backward_weights_product<false>, conv_backward_weights_product<true>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/conv_product_rows.hpp"

namespace plumb {
namespace {

struct f32_tiles {
  template <class Product>
  static void launch(cuda::stream& to, const cuda::conv_gemm_arguments& a) {
    cuda::launch_product<Product>(to, a);
  }
};

}  // namespace

void register_cuda_conv2d_implicit_gemm(registry& kernels) {
  cuda::add_product_rows<f32_tiles>(kernels, "implicit_gemm", "f32");
}

}  // namespace plumb
#endif
