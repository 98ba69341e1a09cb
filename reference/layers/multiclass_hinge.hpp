// Multiclass hinge loss, the loss of the linear SVM classifier (Weston & Watkins 1999): every wrong class
// must score at least 1 less than the right one. With scores x[n,c] and targets t = target[n]:
//
//   loss[n] = Σ_{c≠t} max(0, x[n,c] - x[n,t] + 1)
//   reduction   mean: y = Σ loss / N.   sum: y = Σ loss.   none: y[n] = loss
// The mean over no samples is NaN. A target that is no class is an error. NaN passes through.
// Shapes: x = N,C   target = N   y = one number, or N with reduction=none
// torch 1.13.1's multi_margin_loss is this divided by C.
//
// Gradient, with v = the number of wrong classes c with x[n,c] - x[n,t] + 1 > 0 (a kink at 0 does not count):
//   dx[n,c] = dy for those c,  dx[n,t] = -v·dy,  divided by N for the mean
// The explicit Jacobian has the pairs (1, -1) of every violated margin in the row of its sample.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/reduction.hpp"
#include "reference/layers/spatial.hpp"

namespace plumb {

struct multiclass_hinge {
  reduction_rule reduction = reduction_rule::mean;

  static constexpr std::string_view formula = "y = Σ_{c≠t} max(0, x[c] - x[t] + 1), t the target class";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // piecewise
  bool operator==(const multiclass_hinge&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("reduction", self.reduction); }

  signature describe() const {
    const bool map = reduction == reduction_rule::none;
    return {
        .inputs = {{.name = "x", .axes = "nc"},
                   {.name = "target", .kind = element::index, .differentiable = false, .axes = "n"}},
        .outputs = {{.name = "y", .batch_axis = map ? 0 : tensor_spec::no_batch, .axes = map ? "n" : ""}},
        .passes = {
            {.name = "forward", .reads = {"x", "target"}, .writes = {"y"}},
            {.name = "backward", .reads = {"dy", "x", "target"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  bool batchwise(const shape_map& /*shapes*/) const { return reduction != reduction_rule::mean; }
  /// Targets are classes.
  index_t index_bound(std::string_view /*target*/, const shape_map& shapes) const { return shapes["x"][1]; }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    require_rank("x", x, 2, "N,C", true);
    if (!(in["target"] == shape{x[0]}))
      throw shape_error(named("target", in["target"]) + " must have one class a sample of " + named("x", x) +
                        ": target=" + std::to_string(x[0]));
    shape_map out;
    out.set("y", reduction == reduction_rule::none ? shape{x[0]} : shape{});
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto target = in.indices("target");
    const index_t N = x.extent(0), C = x.extent(1);
    T sum = T(0);
    for (index_t n = 0; n < N; ++n) {
      const index_t t = class_of(target, n, C);
      T loss = T(0);
      for (index_t c = 0; c < C; ++c) {
        const T margin = x(n, c) - x(n, t) + T(1);
        if (c != t && (margin > T(0) || is_nan(margin))) loss += margin;
      }
      sum += loss;
      if (reduction == reduction_rule::none) out["y"](n) = loss;
    }
    if (reduction == reduction_rule::sum) out["y"][0] = sum;
    if (reduction == reduction_rule::mean) out["y"][0] = mean_of(sum, T(N));
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& /*out*/, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto x = in["x"];
    const auto target = in.indices("target");
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    for (index_t n = 0; n < x.extent(0); ++n) {
      const index_t t = class_of(target, n, x.extent(1));
      T g = dy[reduction == reduction_rule::none ? n : 0];
      if (reduction == reduction_rule::mean) g /= T(x.extent(0));
      dx(n, t) = T(0);
      for (index_t c = 0; c < x.extent(1); ++c) {
        if (c == t) continue;
        const bool violated = x(n, c) - x(n, t) + T(1) > T(0);
        dx(n, c) = violated ? g : T(0);
        dx(n, t) -= dx(n, c);
      }
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto x = in["x"];
    const auto target = in.indices("target");
    const index_t samples = x.extent(0), classes = x.extent(1);
    const T share = reduction == reduction_rule::mean ? mean_of(T(1), T(samples)) : T(1);
    for (index_t at = 0; at < x.size(); ++at) {
      const index_t n = at / classes, right = n * classes + class_of(target, n, classes);
      if (at == right || !(x[at] + T(1) > x[right])) continue;
      const index_t row = reduction == reduction_rule::none ? n : 0;
      emit("y", row, "x", at, share);
      emit("y", row, "x", right, -share);
    }
  }

  /// Which margins are violated.
  template <class T>
  std::vector<index_t> winners(const bundle<const T>& in) const {
    const auto x = in["x"];
    const auto target = in.indices("target");
    std::vector<index_t> trace;
    for (index_t n = 0; n < x.extent(0); ++n)
      for (index_t c = 0; c < x.extent(1); ++c)
        trace.push_back(x(n, c) - x(n, class_of(target, n, x.extent(1))) + T(1) > T(0) ? 1 : 0);
    return trace;
  }

 private:
  template <class Indices>
  static index_t class_of(const Indices& target, index_t n, index_t classes) {
    const index_t t = target(n);
    if (t < 0 || t >= classes)
      throw std::invalid_argument("target[" + std::to_string(n) + "] = " + std::to_string(t) +
                                  " is no class; expected 0 to " + std::to_string(classes - 1));
    return t;
  }
};

}  // namespace plumb
