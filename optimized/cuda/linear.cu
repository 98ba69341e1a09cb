// Fully connected layer as a matrix product in f32 (matrix_tile.hpp): x (…, D) is a matrix of rows, weight (M, D).
//                      rows m    columns n   summed over k
//   forward            row of x  output      input           y = x·Wᵀ + b
//   backward_data      row of x  input       output          dx = dy·W
//   backward_weights   output    input       row of x, cut into slices that are added in order    dW = dyᵀ·x
//   backward_bias      one thread an output walks down its column; a warp reads whole lines
// What limits it: the arithmetic for large batches; for few rows the weights must be read once, and with tiles of 64
// rows most of the arithmetic is on nothing.
#include "optimized/cuda/dense_product.hpp"

namespace plumb::cuda {

struct column_sum {
  struct arguments {
    const float* in = nullptr;  ///< rows × columns, row major
    offset rows = 0, columns = 0;
    float* out = nullptr;
  };
  template <class Block>
  struct shared {};
  static constexpr int threads = 128;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset column = block.number() * threads + block.thread();
    if (column >= a.columns) return;
    float sum = 0;
    for (offset row = 0; row < a.rows; ++row) sum += a.in[row * a.columns + column];
    a.out[column] = sum;
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<slice_sum<dense_out>, column_sum>;
template struct product_code<dense_product<true, true>, dense_product<true, false>,
                             dense_product<false, false>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include <limits>

#include "optimized/cuda/matrix_host.hpp"

namespace plumb {
namespace {

using namespace cuda;

/// x as rows × d, the weights m × d.
struct linear_numbers {
  index_t rows = 1, d = 0, m = 0;
};

linear_numbers read_linear(const problem& p) {
  const shape x = p.shape_of("x"), weight = p.shape_of("weight");
  linear_numbers a{.d = weight[1], .m = weight[0]};
  for (int axis = 0; axis + 1 < x.rank(); ++axis) a.rows *= x[axis];
  return a;
}

const float* data(const tensor_ref& t) { return static_cast<const float*>(t.data); }
int narrow(index_t v) { return static_cast<int>(v); }

program forward(const linear_numbers& l) {
  return {[l](const kernel_call& call, stream& to) {
    dense_arguments a{.rows = narrow(l.rows), .columns = l.m, .terms = narrow(l.d)};
    a.a = {data(call.reads[0]), l.d, 1};
    a.b = {data(call.reads[1]), 1, l.d};
    a.bias = data(call.reads[2]);
    a.out = static_cast<float*>(call.writes[0].data);
    launch_product<dense_product<true, true>>(to, a);
  }};
}

program backward_data(const linear_numbers& l) {
  return {[l](const kernel_call& call, stream& to) {
    dense_arguments a{.rows = narrow(l.rows), .columns = l.d, .terms = narrow(l.m)};
    a.a = {data(call.reads[0]), l.m, 1};
    a.b = {data(call.reads[1]), l.d, 1};
    a.out = static_cast<float*>(call.writes[0].data);
    launch_product<dense_product<true, false>>(to, a);
  }};
}

program backward_weights(const linear_numbers& l) {
  constexpr index_t fewest_rows = 64;  // in a slice
  const int slices = choose_slices(l.m, l.d, 1, tiles(l.rows, fewest_rows), fewest_rows);
  program p;
  p.workspace = slices > 1 ? static_cast<std::size_t>(slices * l.m * l.d) * sizeof(float) : 0;
  p.run = [l, slices](const kernel_call& call, stream& to) {
    dense_arguments a{.rows = narrow(l.m), .columns = l.d, .slices = slices, .terms = narrow(l.rows)};
    a.a = {data(call.reads[0]), 1, l.m};
    a.b = {data(call.reads[1]), l.d, 1};
    a.out = static_cast<float*>(call.writes[0].data);
    a.parts = static_cast<float*>(call.workspace);
    launch_product<dense_product<false, false>>(to, a);
    using sum = slice_sum<dense_out>;
    if (slices > 1)
      to.launch<sum>({tiles<index_t>(l.m * l.d, sum::threads), sum::threads},
                     {a.parts, l.m * l.d, slices, {a.out}});
  };
  return p;
}

program backward_bias(const linear_numbers& l) {
  return {[l](const kernel_call& call, stream& to) {
    to.launch<column_sum>({tiles<index_t>(l.m, column_sum::threads), column_sum::threads},
                          {data(call.reads[0]), l.rows, l.m, static_cast<float*>(call.writes[0].data)});
  }};
}

row linear_row(const std::string& pass, program (*make)(const linear_numbers&)) {
  row r{.layer = "linear",
        .pass = pass,
        .algorithm = "tiled",
        .layouts = {layout::nchw},
        .supports = {},
        .make = {}};
  r.supports = [](const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "weight", "bias", "y"});
    if (!unknown.empty()) return support::no("unknown attribute " + unknown);
    const linear_numbers l = read_linear(kp.problem);
    constexpr index_t most = std::numeric_limits<int>::max() / 2;
    return l.rows <= most && l.m <= most && l.d <= most ? support::yes()
                                                        : support::no("an axis is longer than 2^30");
  };
  r.make = [make](const kernel_problem& kp) { return make(read_linear(kp.problem)); };
  return r;
}

}  // namespace

void register_cuda_linear(registry& kernels) {
  add_rows(kernels, linear_row("forward", forward));
  add_rows(kernels, linear_row("backward_data", backward_data));
  add_rows(kernels, linear_row("backward_weights", backward_weights));
  add_rows(kernels, linear_row("backward_bias", backward_bias));
}

}  // namespace plumb
#endif
