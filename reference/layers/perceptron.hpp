// One training step of the two oldest neurons, as layers: the weights go in, the updated weights come out.
//
//   perceptron (Rosenblatt 1958)     prediction = 1 if s > 0, else 0        s = w·x + b
//   adaline (Widrow & Hoff 1960)     prediction = s
//   updated_weight[i] = w[i] + α·(target - prediction)·x[i]        updated_bias = b + α·(target - prediction)
//
// α is the attribute `rate`. The bias is the weight of a constant input 1. Adaline's step is gradient descent
// on ½(target - s)²; the perceptron's is the same with its own prediction, so that it learns from mistakes
// only.
// Shapes: x = weight = updated_weight = D, which may be 0   bias = target = prediction = updated_bias = 1
//
// Gradients, with e = target - prediction, dw and db the cotangents of the updated weight and bias:
//   perceptron   where s ≠ 0 the prediction is constant: it and the target (a label) have no gradient
//     dweight = dw     dbias = db     dx = α·e·dw
//   adaline      with g = dprediction - α·(dw·x + db), what reaches s,
//     dweight = dw + g·x     dbias = db + g     dx = α·e·dw + g·w     dtarget = α·(dw·x + db)
// The explicit Jacobian is written out for every pair of numbers, from the derivative of e.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <bool Threshold>
struct neuron_step {
  decimal rate = {1, 1};

  static constexpr std::string_view formula =
      Threshold ? "w ← w + α·(d - [w·x + b > 0])·x" : "w ← w + α·(d - (w·x + b))·x";
  static constexpr bool rational = true;
  static constexpr int degree = Threshold ? 1 : 2;
  bool operator==(const neuron_step&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("rate", self.rate); }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    tensor_spec target = {.name = "target", .batch_axis = no_batch, .axes = "1"};
    tensor_spec prediction = {.name = "prediction", .batch_axis = no_batch, .axes = "1"};
    if (Threshold) {
      target.differentiable = prediction.differentiable = false;
      target.values = domain::bit;
    }
    signature s = {.inputs = {{.name = "x", .batch_axis = no_batch, .axes = "d"},
                              {.name = "weight", .batch_axis = no_batch, .axes = "d"},
                              {.name = "bias", .batch_axis = no_batch, .axes = "1"},
                              target},
                   .outputs = {prediction,
                               {.name = "updated_weight", .batch_axis = no_batch, .axes = "d"},
                               {.name = "updated_bias", .batch_axis = no_batch, .axes = "1"}},
                   .passes = {{.name = "forward",
                               .reads = {"x", "weight", "bias", "target"},
                               .writes = {"prediction", "updated_weight", "updated_bias"}},
                              {.name = "backward",
                               .reads = {"dupdated_weight", "dupdated_bias", "x", "weight", "bias", "target"},
                               .writes = {"dx", "dweight", "dbias"},
                               .linear_in = {{"dupdated_weight", "dupdated_bias"}}}}};
    if (!Threshold) {
      s.passes[1].reads.push_back("dprediction");
      s.passes[1].writes.push_back("dtarget");
      s.passes[1].linear_in[0].push_back("dprediction");
    }
    return s;
  }

  bool batchwise(const shape_map& /*shapes*/) const { return false; }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    require_rank("x", in["x"], 1, "D", true);
    if (!(in["weight"] == in["x"]))
      throw shape_error(named("weight", in["weight"]) + " does not match " + named("x", in["x"]) +
                        "; expected one weight a feature");
    for (const char* name : {"bias", "target"})
      if (!(in[name] == shape{1}))
        throw shape_error(named(name, in[name]) + " must be a single number: " + name + "=1");
    shape_map out;
    out.set("prediction", {1});
    out.set("updated_weight", in["x"]);
    out.set("updated_bias", {1});
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"], weight = in["weight"];
    Scalar s = in["bias"](0);
    for (index_t i = 0; i < x.size(); ++i) s += weight(i) * x(i);
    const Scalar prediction = Threshold ? Scalar(s > Scalar(0) ? 1 : 0) : s;
    const Scalar step = rate.as<Scalar>() * (in["target"](0) - prediction);
    out["prediction"](0) = prediction;
    for (index_t i = 0; i < x.size(); ++i) out["updated_weight"](i) = weight(i) + step * x(i);
    out["updated_bias"](0) = in["bias"](0) + step;
  }

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto x = in["x"], weight = in["weight"], dw = cotangent["dupdated_weight"];
    const Scalar alpha = rate.as<Scalar>(), db = cotangent["dupdated_bias"](0);
    Scalar along = db, sum = Scalar(0);  // dw·x + db and w·x
    for (index_t i = 0; i < x.size(); ++i) {
      along += dw(i) * x(i);
      sum += x(i) * weight(i);
    }
    sum += in["bias"](0);
    Scalar error = in["target"](0), g = Scalar(0);
    if constexpr (Threshold) {
      if (sum > Scalar(0)) error -= Scalar(1);
    } else {
      error -= sum;
      g = cotangent["dprediction"](0) - alpha * along;
    }
    for (index_t i = 0; i < x.size(); ++i) {
      if (gradient.has("dx")) gradient["dx"](i) = alpha * error * dw(i) + g * weight(i);
      if (gradient.has("dweight")) gradient["dweight"](i) = dw(i) + g * x(i);
    }
    if (gradient.has("dbias")) gradient["dbias"](0) = db + g;
    if (gradient.has("dtarget")) gradient["dtarget"](0) = alpha * along;
  }

  /// ∂e/∂x[j] = -w[j], ∂e/∂w[j] = -x[j], ∂e/∂b = -1, ∂e/∂target = 1; for the perceptron the first three are
  /// 0. An updated weight moves by α·x[i]·∂e, by itself along its own weight, and by α·e along its own x.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"], weight = in["weight"];
    const index_t D = x.size();
    Scalar e = in["target"](0), output = in["bias"](0);
    for (index_t j = D; j-- > 0;) output += x(j) * weight(j);
    e -= Threshold ? (output > Scalar(0) ? Scalar(1) : Scalar(0)) : output;
    const Scalar alpha = rate.as<Scalar>();
    const auto moves = [&](std::string_view of, index_t j, const Scalar& slope_of_e) {
      if (!Threshold) emit("prediction", 0, of, j, of == "target" ? Scalar(0) : -slope_of_e);
      for (index_t i = 0; i < D; ++i) emit("updated_weight", i, of, j, alpha * slope_of_e * x(i));
      emit("updated_bias", 0, of, j, alpha * slope_of_e);
    };
    if (!Threshold) {
      for (index_t j = 0; j < D; ++j) {
        moves("x", j, -weight(j));
        moves("weight", j, -x(j));
      }
      moves("bias", 0, Scalar(-1));
      moves("target", 0, Scalar(1));
    }
    for (index_t i = 0; i < D; ++i) {
      emit("updated_weight", i, "weight", i, Scalar(1));
      emit("updated_weight", i, "x", i, alpha * e);
    }
    emit("updated_bias", 0, "bias", 0, Scalar(1));
  }

  /// The perceptron's prediction: where it changes there is a jump.
  template <class Scalar>
  std::vector<index_t> winners(const bundle<const Scalar>& in) const requires(Threshold) {
    Scalar s = in["bias"](0);
    for (index_t i = 0; i < in["x"].size(); ++i) s += in["weight"](i) * in["x"](i);
    return {s > Scalar(0) ? 1 : 0};
  }
};

using perceptron = neuron_step<true>;
using adaline = neuron_step<false>;

}  // namespace plumb
