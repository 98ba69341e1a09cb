// L2 regularisation, the penalty on large weights that is added to a loss (ridge regression, Hoerl & Kennard
// 1970; weight decay, Krogh & Hertz 1992):
//
//   y = lambda·Σ weight²            lambda 1e-4
//   dweight = 2·lambda·weight·dy, and the explicit Jacobian is the row 2·lambda·weight
//
// Shapes: weight of any rank   y = one number.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct l2_regularisation {
  decimal lambda = {1, 10000};

  static constexpr std::string_view formula = "y = lambda·Σ weight²";
  static constexpr bool rational = true;
  static constexpr int degree = 2;
  bool operator==(const l2_regularisation&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("lambda", self.lambda); }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    return {.inputs = {{.name = "weight", .batch_axis = no_batch}},
            .outputs = {{.name = "y", .batch_axis = no_batch}},
            .passes = {{.name = "forward", .reads = {"weight"}, .writes = {"y"}},
                       {.name = "backward_weights",
                        .reads = {"dy", "weight"},
                        .writes = {"dweight"},
                        .linear_in = {{"dy"}, {"weight"}}}}};
  }

  bool batchwise(const shape_map& /*shapes*/) const { return false; }

  shape_map output_shapes(const shape_map& /*in*/) const {
    shape_map out;
    out.set("y", shape{});
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    T sum = T(0);
    for (index_t i = 0; i < in["weight"].size(); ++i) sum += in["weight"][i] * in["weight"][i];
    out["y"][0] = lambda.as<T>() * sum;
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& /*out*/, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    for (index_t i = 0; i < in["weight"].size(); ++i)
      gradient["dweight"][i] = T(2) * lambda.as<T>() * in["weight"][i] * cotangent["dy"][0];
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    for (index_t i = 0; i < in["weight"].size(); ++i)
      emit("y", 0, "weight", i, (in["weight"][i] + in["weight"][i]) * lambda.as<T>());
  }
};

}  // namespace plumb
