// Fully connected layer: an affine map of the last axis, the same for every sample.
//
//   y[n,m] = bias[m] + Σ_d  x[n,d] · weight[m,d]                                   (y = x·Wᵀ + b)
//
// n stands for all leading axes of x together: any number of them, none included.
// Shapes: x = …,D   weight = M,D   bias = M (optional)   y = …,M
// Conventions as torch 1.13.1 (nn.Linear: the weight is stored output by input).
//
// Gradients, with dy the cotangent of y:
//   dx[n,d] = Σ_m dy[n,m]·weight[m,d]     dweight[m,d] = Σ_n dy[n,m]·x[n,d]     dbias[m] = Σ_n dy[n,m]
// The explicit Jacobians are mostly zeros: ∂y[n,m]/∂x[n′,d] = weight[m,d] if n = n′,
// ∂y[n,m]/∂weight[m′,d] = x[n,d] if m = m′, ∂y[n,m]/∂bias[m′] = 1 if m = m′.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct linear {
  static constexpr std::string_view formula = "y[n,m] = bias[m] + Σ_d x[n,d] · weight[m,d]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // linear in x, in weight and in bias, each on its own
  bool operator==(const linear&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    return {.inputs = {{.name = "x", .axes = "n*d"},
                       {.name = "weight", .batch_axis = no_batch, .axes = "md"},
                       {.name = "bias", .optional = true, .batch_axis = no_batch, .axes = "m"}},
            .outputs = {{.name = "y", .axes = "n*m"}},
            .passes = {{.name = "forward",
                        .reads = {"x", "weight", "bias"},
                        .writes = {"y"},
                        .linear_in = {{"x", "bias"}, {"weight", "bias"}},
                        .contraction = {{.a = "x", .b = "weight", .addend = "bias"}}},
                       {.name = "backward_data",
                        .reads = {"dy", "weight"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}, {"weight"}},
                        .contraction = {{.a = "dy", .b = "weight", .addend = ""}}},
                       {.name = "backward_weights",
                        .reads = {"dy", "x"},
                        .writes = {"dweight"},
                        .linear_in = {{"dy"}, {"x"}},
                        .contraction = {{.a = "dy", .b = "x", .addend = ""}}},
                       {.name = "backward_bias",
                        .reads = {"dy"},
                        .writes = {"dbias"},
                        .linear_in = {{"dy"}},
                        .contraction = {{.a = "dy", .b = "", .addend = ""}}}}};
  }

  /// A vector x has no batch: its only axis is d.
  bool batchwise(const shape_map& shapes) const { return shapes["x"].rank() > 1; }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"], weight = in["weight"];
    require_rank("weight", weight, 2, "M,D", false);
    if (x.rank() < 1 || x[x.rank() - 1] != weight[1])
      throw shape_error(named("x", x) + " does not end in the D=" + std::to_string(weight[1]) +
                        " features that " + named("weight", weight) + " reads; expected x=…,D weight=M,D");
    if (in.has("bias") && !(in["bias"] == shape{weight[0]}))
      throw shape_error(
          named("bias", in["bias"]) +
          " does not match the weight; expected one number an output: bias=" + std::to_string(weight[0]));
    shape y = x;
    y[y.rank() - 1] = weight[0];
    shape_map out;
    out.set("y", y);
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"], weight = in["weight"];
    const auto y = out["y"];
    const index_t M = weight.extent(0), D = weight.extent(1), N = x.size() / D;
    for (index_t n = 0; n < N; ++n)
      for (index_t m = 0; m < M; ++m) {
        Scalar sum = in.has("bias") ? in["bias"](m) : Scalar(0);
        for (index_t d = 0; d < D; ++d) sum += x[n * D + d] * weight(m, d);
        y[n * M + m] = sum;
      }
  }

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const index_t M = dy.extent(dy.rank() - 1), N = dy.size() / M;
    if (gradient.has("dx")) {
      const auto weight = in["weight"];
      const auto dx = gradient["dx"];
      const index_t D = weight.extent(1);
      for (index_t n = 0; n < N; ++n)
        for (index_t d = 0; d < D; ++d) {
          Scalar sum = Scalar(0);
          for (index_t m = 0; m < M; ++m) sum += dy[n * M + m] * weight(m, d);
          dx[n * D + d] = sum;
        }
    }
    if (gradient.has("dweight")) {
      const auto x = in["x"];
      const auto dweight = gradient["dweight"];
      const index_t D = dweight.extent(1);
      for (index_t m = 0; m < M; ++m)
        for (index_t d = 0; d < D; ++d) {
          Scalar sum = Scalar(0);
          for (index_t n = 0; n < N; ++n) sum += dy[n * M + m] * x[n * D + d];
          dweight(m, d) = sum;
        }
    }
    if (gradient.has("dbias")) {
      const auto dbias = gradient["dbias"];
      for (index_t m = 0; m < M; ++m) {
        Scalar sum = Scalar(0);
        for (index_t n = 0; n < N; ++n) sum += dy[n * M + m];
        dbias(m) = sum;
      }
    }
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"], weight = in["weight"];
    const index_t features = x.extent(x.rank() - 1), outputs = weight.size() / features;
    for (index_t i = 0; i < x.size() / features * outputs; ++i) {  // y[i] is output `row` of sample `sample`
      const index_t sample = i / outputs, row = i % outputs;
      for (index_t j = 0; j < features; ++j) {
        emit("y", i, "x", sample * features + j, weight[row * features + j]);
        emit("y", i, "weight", row * features + j, x[sample * features + j]);
      }
      if (in.has("bias")) emit("y", i, "bias", row, Scalar(1));
    }
  }

  /// The terms of one element of each pass (see products.hpp).
  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    const index_t M = shapes["weight"][0], D = shapes["weight"][1], N = shapes["x"].size() / D;
    term_nest nest;
    if (pass == "forward") {  // y[n,m]: over d
      const index_t n = flat / M, m = flat % M;
      nest.add({.count = D, .a = n * D, .a_step = 1, .b = m * D, .b_step = 1});
      if (shapes.has("bias")) list.addend = m;
    } else if (pass == "backward_data") {  // dx[n,d]: over m
      nest.add({.count = M, .a = flat / D * M, .a_step = 1, .b = flat % D, .b_step = D});
    } else if (pass == "backward_weights") {  // dweight[m,d]: over n
      nest.add({.count = N, .a = flat / D, .a_step = M, .b = flat % D, .b_step = D});
    } else {  // dbias[m]: over n
      nest.add({.count = N, .a = flat, .a_step = M, .b = 0, .b_step = 0});
    }
    nest.write(list);
  }
};

}  // namespace plumb
