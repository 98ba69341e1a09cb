// Negative log-likelihood of class numbers, given log-probabilities x. With batch n, class c of C, i for all
// further axes of x together, and the target t = target[n,i] of each position:
//
//   loss[n,i] = -w[t]·x[n,t,i]             w = weight, 1 if left out; zero and negative weights are legal
//   ignore_index  -100; positions with this target have loss 0 and gradient 0, whatever x holds there; it
//                 need not be a class
//   reduction     none: y[n,i] = loss.   sum: y = Σ loss.   mean: y = Σ loss / total_weight
//   total_weight  = Σ w[t] over the positions that are not ignored, an output for every reduction
// Nothing guards the division: if all positions are ignored y = 0/0 = NaN, but every gradient is 0; if the
// weights cancel, y and the gradients of the positions that count are divided by 0. 0·-∞ = NaN, as usual.
// A target that is neither a class nor ignore_index is an error.
// Shapes: x = N,C,…   target = N,…   weight = C (optional)   y = one number, or N,… with reduction=none
// Conventions as torch 1.13.1 (which leaves total_weight at 0 if reduction=none).
//
// Gradient: dx[n,t,i] = -w[t]·dy at the target, divided by total_weight for the mean, and 0 elsewhere.
// The explicit Jacobian has that one entry (without dy) a position.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/reduction.hpp"
#include "reference/layers/spatial.hpp"

namespace plumb {

struct nll_loss {
  reduction_rule reduction = reduction_rule::mean;
  index_t ignore_index = -100;

  static constexpr std::string_view formula = "y = -Σ weight[t]·x[t], t the target class";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const nll_loss&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("reduction", self.reduction);
    visit("ignore_index", self.ignore_index);
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const bool map = reduction == reduction_rule::none;
    return {
        .inputs = {{.name = "x", .axes = "nc*"},
                   {.name = "target", .kind = element::index, .differentiable = false, .axes = "n*"},
                   {.name = "weight",
                    .optional = true,
                    .differentiable = false,
                    .batch_axis = no_batch,
                    .axes = "c"}},
        .outputs = {{.name = "y", .batch_axis = map ? 0 : no_batch, .axes = map ? "n*" : ""},
                    {.name = "total_weight", .differentiable = false, .batch_axis = no_batch}},
        .passes = {{.name = "forward", .reads = {"x", "target", "weight"}, .writes = {"y", "total_weight"}},
                   {.name = "backward",
                    .reads = {"dy", "target", "weight", "total_weight"},
                    .writes = {"dx"},
                    .linear_in = {{"dy"}}}}};
  }

  /// A mean ties the samples together.
  bool batchwise(const shape_map& /*shapes*/) const { return reduction != reduction_rule::mean; }
  /// Targets are classes.
  index_t index_bound(std::string_view /*target*/, const shape_map& shapes) const { return shapes["x"][1]; }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    if (x.rank() < 2 || x[1] < 1)
      throw shape_error(named("x", x) + " has no class axis; expected N,C or N,C,… with C at least 1");
    shape positions{x[0]};
    for (int axis = 2; axis < x.rank(); ++axis) positions.push_back(x[axis]);
    if (!(in["target"] == positions))
      throw shape_error(named("target", in["target"]) + " must be " + named("x", x) +
                        " without its class axis: target=" + to_string(positions));
    if (in.has("weight") && !(in["weight"] == shape{x[1]}))
      throw shape_error(
          named("weight", in["weight"]) +
          " does not match the classes; expected one number a class: weight=" + std::to_string(x[1]));
    shape_map out;
    out.set("y", reduction == reduction_rule::none ? positions : shape{});
    out.set("total_weight", shape{});
    return out;
  }

  // In the definitions x[(n·C + c)·I + i] is x[n,c,i], and I counts the positions of one sample.

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto target = in.indices("target");
    const index_t N = x.extent(0), C = x.extent(1), I = x.size() / std::max<index_t>(N * C, 1);
    T sum = T(0), total = T(0);
    for (index_t n = 0; n < N; ++n)
      for (index_t i = 0; i < I; ++i) {
        const index_t t = target[n * I + i];
        T loss = T(0);
        if (t != ignore_index) {
          require_class(t, n * I + i, C);
          const T w = in.has("weight") ? in["weight"](t) : T(1);
          loss = -(w * x[(n * C + t) * I + i]);
          total += w;
        }
        sum += loss;
        if (reduction == reduction_rule::none) out["y"][n * I + i] = loss;
      }
    out["total_weight"][0] = total;
    if (reduction == reduction_rule::sum) out["y"][0] = sum;
    if (reduction == reduction_rule::mean) out["y"][0] = mean_of(sum, total);
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto target = in.indices("target");
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t C = dx.extent(1), I = dx.size() / std::max<index_t>(dx.extent(0) * C, 1);
    for (index_t a = 0; a < dx.size(); ++a) dx[a] = T(0);
    for (index_t at = 0; at < target.size(); ++at) {
      const index_t t = target[at];
      if (t == ignore_index) continue;
      require_class(t, at, C);
      T g = dy[reduction == reduction_rule::none ? at : 0];
      if (reduction == reduction_rule::mean) g = mean_of(g, T(out["total_weight"][0]));
      dx[(at / I * C + t) * I + at % I] = -(in.has("weight") ? g * in["weight"](t) : g);
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    const auto target = in.indices("target");
    T divisor = T(0);
    for (index_t i = 0; i < target.size(); ++i)
      if (target[i] != ignore_index) divisor += in.has("weight") ? in["weight"][target[i]] : T(1);
    index_t row = 0, position = 0;
    for_each_index(target.extents(), [&](const shape& at) {
      const index_t t = target(at);
      if (t != ignore_index) {
        require_class(t, position, x[1]);
        index_t column = at[0] * x[1] + t;
        for (int axis = 2; axis < x.rank(); ++axis) column = column * x[axis] + at[axis - 1];
        T entry = in.has("weight") ? -in["weight"][t] : T(-1);
        if (reduction == reduction_rule::mean) entry = mean_of(entry, divisor);
        emit("y", row, "x", column, entry);
      }
      ++position;
      if (reduction == reduction_rule::none) ++row;
    });
  }

 private:
  void require_class(index_t t, index_t position, index_t classes) const {
    if (t < 0 || t >= classes)
      throw std::invalid_argument("target[" + std::to_string(position) + "] = " + std::to_string(t) +
                                  " is neither a class, 0 to " + std::to_string(classes - 1) +
                                  ", nor ignore_index=" + std::to_string(ignore_index));
  }
};

}  // namespace plumb
