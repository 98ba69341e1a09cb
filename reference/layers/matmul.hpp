// Matrix product.
//
//   y[n,m] = Σ_d  x[n,d] · w[d,m]
//
// Shapes: x = N,D   w = D,M   y = N,M.   Conventions as torch 1.13.1; N may be 0.
//
// Gradients: dx = dy·wᵀ, dw = xᵀ·dy, that is
//   dx[n,d] = Σ_m dy[n,m]·w[d,m]          dw[d,m] = Σ_n x[n,d]·dy[n,m]
// The explicit Jacobians have N·D × N·M and D·M × N·M entries, mostly zeros: ∂y[n,m]/∂x[n′,d] = w[d,m] if n =
// n′, ∂y[n,m]/∂w[d,m′] = x[n,d] if m = m′.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct matmul {
  static constexpr std::string_view formula = "y[n,m] = Σ_d x[n,d] · w[d,m]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // linear in x and in w, each on its own
  bool operator==(const matmul&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nd"},
                       {.name = "w", .batch_axis = tensor_spec::no_batch, .axes = "dm"}},
            .outputs = {{.name = "y", .axes = "nm"}},
            .passes = {{.name = "forward",
                        .reads = {"x", "w"},
                        .writes = {"y"},
                        .linear_in = {{"x"}, {"w"}},
                        .contraction = {{.a = "x", .b = "w", .addend = ""}}},
                       {.name = "backward_data",
                        .reads = {"dy", "w"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}, {"w"}},
                        .contraction = {{.a = "dy", .b = "w", .addend = ""}}},
                       {.name = "backward_weights",
                        .reads = {"dy", "x"},
                        .writes = {"dw"},
                        .linear_in = {{"dy"}, {"x"}},
                        .contraction = {{.a = "dy", .b = "x", .addend = ""}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"], w = in["w"];
    require_rank("x", x, 2, "N,D", true);
    require_rank("w", w, 2, "D,M", false);
    if (x[1] != w[0])
      throw shape_error(named("x", x) + " has D=" + std::to_string(x[1]) + " columns but " + named("w", w) +
                        " has " + std::to_string(w[0]) + " rows; expected x=N,D w=D,M");
    shape_map out;
    out.set("y", {x[0], w[1]});
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"], w = in["w"];
    const auto y = out["y"];
    for (index_t n = 0; n < y.extent(0); ++n)
      for (index_t m = 0; m < y.extent(1); ++m) {
        Scalar sum = Scalar(0);
        for (index_t d = 0; d < w.extent(0); ++d) sum += x(n, d) * w(d, m);
        y(n, m) = sum;
      }
  }

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    if (gradient.has("dx")) {
      const auto dx = gradient["dx"];
      for (index_t n = 0; n < dx.extent(0); ++n)
        for (index_t d = 0; d < dx.extent(1); ++d) {
          Scalar sum = Scalar(0);
          for (index_t m = 0; m < dy.extent(1); ++m) sum += dy(n, m) * in["w"](d, m);
          dx(n, d) = sum;
        }
    }
    if (gradient.has("dw")) {
      const auto dw = gradient["dw"];
      for (index_t d = 0; d < dw.extent(0); ++d)
        for (index_t m = 0; m < dw.extent(1); ++m) {
          Scalar sum = Scalar(0);
          for (index_t n = 0; n < dy.extent(0); ++n) sum += in["x"](n, d) * dy(n, m);
          dw(d, m) = sum;
        }
    }
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"], w = in["w"];
    const index_t M = w.extent(1), D = x.extent(1);
    for (index_t cell = 0; cell < x.size(); ++cell)  // x[cell] is in row cell / D
      for (index_t m = 0; m < M; ++m) {
        emit("y", cell / D * M + m, "x", cell, w[cell % D * M + m]);
        emit("y", cell / D * M + m, "w", cell % D * M + m, x[cell]);
      }
  }

  /// The terms of one element of each pass (see products.hpp).
  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    const index_t N = shapes["x"][0], D = shapes["w"][0], M = shapes["w"][1];
    term_nest nest;
    if (pass == "forward")  // y[n,m]: over d
      nest.add({.count = D, .a = flat / M * D, .a_step = 1, .b = flat % M, .b_step = M});
    else if (pass == "backward_data")  // dx[n,d]: over m
      nest.add({.count = M, .a = flat / D * M, .a_step = 1, .b = flat % D * M, .b_step = 1});
    else  // dw[d,m]: over n
      nest.add({.count = N, .a = flat % M, .a_step = M, .b = flat / M, .b_step = D});
    nest.write(list);
  }
};

}  // namespace plumb
