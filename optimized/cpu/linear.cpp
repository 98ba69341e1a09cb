// Fully connected layer: y = x·Wᵀ + b with x (…, D), W (M, D), y (…, M); the leading axes are rows of one
// matrix.
//   dx = dy·W      dW = dyᵀ·x      db = Σ_rows dy
// `plain` is loops over the outputs; `blocked` is the matrix product of matrix_product.hpp on each
// instruction set; `direct_bf16` and `tiles_bf16` are the 1×1 convolution of a row of pixels on pairs of bf16
// (tile_bf16.cpp, conv2d_bf16_weights.cpp) and on tiles (amx_tiles.hpp).
#include "optimized/cpu/direct_plan.hpp"
#include "optimized/cpu/matrix_product.hpp"
#include "optimized/cpu/tiles_plan.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

struct linear_arguments {
  index_t rows = 1, d = 0, m = 0;
  bool bias = false;
};

linear_arguments read_linear_arguments(const problem& p) {
  const shape x = p.shape_of("x"), weight = p.shape_of("weight");
  linear_arguments a{.d = weight[1], .m = weight[0], .bias = p.has("bias")};
  for (int axis = 0; axis + 1 < x.rank(); ++axis) a.rows *= x[axis];
  return a;
}

support linear_support(const kernel_problem& kp) {
  const std::string unknown = kp.problem.first_unknown({"x", "weight", "bias", "y"});
  return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
}

const float* data(const tensor_ref& t) { return static_cast<const float*>(t.data); }
float* data_out(const tensor_ref& t) { return static_cast<float*>(t.data); }

// The plain passes, on any strides: element [i·columns + j] of a view is row i, column j.

void plain_forward(const linear_arguments& a, const kernel_call& call) {
  const auto x = call.reads[0].view<float>(), w = call.reads[1].view<float>(),
             y = call.writes[0].view<float>();
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < a.rows * a.m; ++i) {
    const index_t row = i / a.m, m = i % a.m;
    float sum = a.bias ? call.reads[2].view<float>()[m] : 0.0F;
    for (index_t d = 0; d < a.d; ++d) sum += x[row * a.d + d] * w[m * a.d + d];
    y[i] = sum;
  }
}

void plain_backward_data(const linear_arguments& a, const kernel_call& call) {
  const auto dy = call.reads[0].view<float>(), w = call.reads[1].view<float>(),
             dx = call.writes[0].view<float>();
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < a.rows * a.d; ++i) {
    float sum = 0;
    for (index_t m = 0; m < a.m; ++m) sum += dy[i / a.d * a.m + m] * w[m * a.d + i % a.d];
    dx[i] = sum;
  }
}

void plain_backward_weights(const linear_arguments& a, const kernel_call& call) {
  const auto dy = call.reads[0].view<float>(), x = call.reads[1].view<float>(),
             dw = call.writes[0].view<float>();
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < a.m * a.d; ++i) {
    float sum = 0;
    for (index_t row = 0; row < a.rows; ++row) sum += dy[row * a.m + i / a.d] * x[row * a.d + i % a.d];
    dw[i] = sum;
  }
}

void plain_backward_bias(const linear_arguments& a, const kernel_call& call) {
  const auto dy = call.reads[0].view<float>(), db = call.writes[0].view<float>();
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t m = 0; m < a.m; ++m) {
    float sum = 0;
    for (index_t row = 0; row < a.rows; ++row) sum += dy[row * a.m + m];
    db[m] = sum;
  }
}

/// One matrix product: out (rows × columns) = first·second, started from the bias or zero.
class blocked_plan final : public plan {
 public:
  struct sides {
    matrix_ref first, second;  ///< data are filled in at the call
  };
  blocked_plan(const tile_target& target, index_t rows, index_t columns, index_t terms, int threads, sides s,
               bool bias)
      : rows_(rows),
        columns_(columns),
        sides_(s),
        bias_(bias),
        product_(target, rows, columns, terms, threads) {}

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(product_.workspace());
  }

  void run(const kernel_call& call) noexcept override {
    sides s = sides_;
    s.first.data = data(call.reads[0]);
    s.second.data = data(call.reads[1]);
    float* out = data_out(call.writes[0]);
#pragma omp parallel num_threads(call.threads)
    {
      if (bias_)
#pragma omp for schedule(static)
        for (index_t i = 0; i < rows_; ++i) std::copy_n(data(call.reads[2]), columns_, out + i * columns_);
      product_.add({.a = s.first,
                    .b = s.second,
                    .c = out,
                    .c_step = columns_,
                    .fresh = !bias_,
                    .workspace = static_cast<float*>(call.workspace)});
    }
  }

 private:
  index_t rows_, columns_;
  sides sides_;
  bool bias_;
  matrix_product product_;
};

std::unique_ptr<plan> blocked_forward(const tile_target& target, const linear_arguments& a, int threads) {
  return std::make_unique<blocked_plan>(target, a.rows, a.m, a.d, threads,
                                        blocked_plan::sides{{nullptr, a.d, 1}, {nullptr, 1, a.d}}, a.bias);
}
std::unique_ptr<plan> blocked_backward_data(const tile_target& target, const linear_arguments& a,
                                            int threads) {
  return std::make_unique<blocked_plan>(target, a.rows, a.d, a.m, threads,
                                        blocked_plan::sides{{nullptr, a.m, 1}, {nullptr, a.d, 1}}, false);
}
std::unique_ptr<plan> blocked_backward_weights(const tile_target& target, const linear_arguments& a,
                                               int threads) {
  return std::make_unique<blocked_plan>(target, a.m, a.d, a.rows, threads,
                                        blocked_plan::sides{{nullptr, 1, a.m}, {nullptr, a.d, 1}}, false);
}

kernel plain(const std::string& pass, void (*run)(const linear_arguments&, const kernel_call&)) {
  kernel k;
  k.layer = "linear";
  k.pass = pass;
  k.name = "linear." + pass + "/plain@cpu";
  k.any_strides = true;
  k.supports = linear_support;
  k.make_plan = [run](const kernel_problem& kp) {
    return make_simple_plan(
        [run, a = read_linear_arguments(kp.problem)](const kernel_call& call) { run(a, call); });
  };
  return k;
}

using factory = std::unique_ptr<plan> (*)(const tile_target&, const linear_arguments&, int threads);

kernel blocked(const tile_target& target, const std::string& pass, factory make) {
  kernel k;
  k.layer = "linear";
  k.pass = pass;
  k.name = "linear." + pass + "/blocked@" + std::string(target.name);
  k.layouts = {layout::nchw};
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = linear_support;
  k.make_plan = [&target, make](const kernel_problem& kp) {
    return make(target, read_linear_arguments(kp.problem), kp.threads);
  };
  return k;
}

/// The 1×1 convolution of one image, whose pixels are the rows of x.
direct_call as_convolution(const kernel_problem& kp, bool forward) {
  const linear_arguments a = read_linear_arguments(kp.problem);
  conv_arguments c{.n = 1, .c = a.d, .k = a.m, .bias = a.bias, .axes = {}};
  c.axes[2] = {.in = a.rows, .out = a.rows};
  return {c, layout::nhwc, kp.threads, forward};
}

/// Sums over rows, which come in pairs.
std::unique_ptr<plan> rounded_weights(const tile_target& target, const kernel_problem& kp) {
  const linear_arguments a = read_linear_arguments(kp.problem);
  direct_call halved = as_convolution(kp, true);
  halved.arguments.axes[2] = {.in = (a.rows + 1) / 2, .out = (a.rows + 1) / 2};
  return make_paired_weights_plan(target, halved, {.count = a.rows, .dy = a.m, .x = a.d});
}

kernel rounded(const tile_target& target, const std::string& pass) {
  kernel k;
  k.layer = "linear";
  k.pass = pass;
  k.name = "linear." + k.pass + "/direct_bf16@" + std::string(target.name);
  k.arithmetic = "bf16_f32";
  k.layouts = {layout::nchw};
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = linear_support;
  k.make_plan = [&target, pass](const kernel_problem& kp) {
    return pass == "backward_weights" ? rounded_weights(target, kp)
                                      : make_direct_plan(target, as_convolution(kp, pass == "forward"));
  };
  return k;
}

kernel on_tiles(const tile_machine& machine, const std::string& pass) {
  kernel k = tiles_row("linear", pass, machine);
  k.layouts = {layout::nchw};
  k.supports = linear_support;
  k.make_plan = [&machine, pass](const kernel_problem& kp) {
    const direct_call how = as_convolution(kp, pass == "forward");
    return pass == "backward_weights"
               ? make_tiles_weights_plan(machine, how, rounded_weights(bf16_tile_targets().back(), kp))
               : make_tiles_plan(machine, how);
  };
  return k;
}

}  // namespace

void register_linear(registry& kernels) {
  kernels.add(plain("forward", plain_forward));
  kernels.add(plain("backward_data", plain_backward_data));
  kernels.add(plain("backward_weights", plain_backward_weights));
  kernels.add(plain("backward_bias", plain_backward_bias));
  for (const tile_target& target : tile_targets()) {
    kernels.add(blocked(target, "forward", blocked_forward));
    kernels.add(blocked(target, "backward_data", blocked_backward_data));
    kernels.add(blocked(target, "backward_weights", blocked_backward_weights));
  }
  for (const tile_target& target : bf16_tile_targets())
    for (const char* pass : {"forward", "backward_data", "backward_weights"})
      kernels.add(rounded(target, pass));
  for (const tile_machine& machine : tile_machines())
    for (const char* pass : {"forward", "backward_data", "backward_weights"})
      kernels.add(on_tiles(machine, pass));
}

}  // namespace plumb
