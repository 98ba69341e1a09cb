// conv2d as an implicit matrix product on tensor cores, operands rounded to tf32 or bf16, sums in f32: the Problems of
// conv_products.hpp by the tiles of tensor_tile.hpp, whose card says how they lie and what limits them. All three passes,
// both layouts. A kernel that rounds its factors to 11 or 8 bits declares so and is judged by that bound; declared as f32
// it would fail.
#include "optimized/cuda/conv_products.hpp"
#include "optimized/cuda/tensor_tile.hpp"

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template <class Words, bool Last>
using forward = tensor_tile<conv_forward_product<Last>, Words>;
template <class Words, bool Last>
using backward_data = tensor_tile<conv_backward_data_product<Last>, Words>;
template <class Words, bool Last>
using backward_weights = tensor_tile<conv_backward_weights_product<Last>, Words>;
template struct device_code<forward<tf32_words, false>, forward<tf32_words, true>,
                            backward_data<tf32_words, false>, backward_data<tf32_words, true>,
                            backward_weights<tf32_words, false>, backward_weights<tf32_words, true>>;
template struct device_code<forward<bf16_words, false>, forward<bf16_words, true>,
                            backward_data<bf16_words, false>, backward_data<bf16_words, true>,
                            backward_weights<bf16_words, false>, backward_weights<bf16_words, true>>;
}  // namespace plumb::cuda

#else
#include "optimized/cuda/conv_product_rows.hpp"

namespace plumb {
namespace {

template <class Words>
struct tensor_tiles {
  template <class Product>
  static void launch(cuda::stream& to, const cuda::conv_gemm_arguments& a) {
    using body = cuda::tensor_tile<Product, Words>;
    to.launch<body>(body::shape(a), a);
  }
};

}  // namespace

void register_cuda_conv2d_tensor_cores(registry& kernels) {
  cuda::add_product_rows<tensor_tiles<cuda::tf32_words>>(kernels, "implicit_gemm_tf32", "tf32");
  cuda::add_product_rows<tensor_tiles<cuda::bf16_words>>(kernels, "implicit_gemm_bf16", "bf16_f32");
}

}  // namespace plumb
#endif
