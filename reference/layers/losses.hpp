// Losses that compare x with a target of the same shape, element by element. With d = x - target:
//
//   mse              ℓ = d²
//   l1               ℓ = |d|
//   smooth_l1        ℓ = d²/(2·beta) if |d| < beta, else |d| - beta/2     beta 1; 0: l1   (Girshick 2015)
//   huber            ℓ = d²/2 if |d| <= delta, else delta·(|d| - delta/2) delta 1, not 0  (Huber 1964)
//   bce_with_logits  ℓ = (1-t)·x + (1 + (pos_weight-1)·t)·log(1 + e^-x), times weight: the cross-entropy of
//                    the probability σ(x) against t; log(1 + e^-x) = max(-x, 0) + log(1 + e^-|x|)
//                    weight has the shape of x, pos_weight one number a position of the last axis; both 1 if
//                    left out
//   kl_div           ℓ = t·(log t - x), 0 where t = 0; log_target=true takes log t: ℓ = e^t·(t - x)
//
//   reduction   mean: y = Σ ℓ / elements (also with a weight).  sum: y = Σ ℓ.  none: y = ℓ.
//               kl_div only: batchmean: y = Σ ℓ / N. The mean over nothing is NaN
// The target is data: it has no gradient. NaN passes through, but for l1's gradient, which is 0
// there.
// Shapes: x = target, of any rank   y = one number, or like x with reduction=none.   Conventions as torch
// 1.13.1, but for smooth_l1 with beta=0, which at d = 0 has the gradient 0 of l1 (and -1 in torch).
//
// Gradients, dx = dy·∂ℓ/∂x divided as y is:
//   mse 2d     l1 sign d, 0 at 0     smooth_l1 d/beta inside, sign d outside     huber d inside, delta·sign d
//   bce_with_logits ((1-t) - (1 + (pos_weight-1)·t)·σ(-x))·weight     kl_div -t or -e^t
// The explicit Jacobians are diagonal for reduction=none, else one row.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/reduction.hpp"
#include "reference/layers/spatial.hpp"

namespace plumb {

/// The bookkeeping of such losses. A Loss states term(in, i), the ℓ of element i; pull_back(in, i, g), which
/// is g·∂ℓ/∂x; slope(in, i), which is ∂ℓ/∂x on its own; and divisor(x), what sums are divided by.
template <class Loss, class Rule = reduction_rule>
struct elementwise_loss {
  Rule reduction = Rule::mean;
  bool operator==(const elementwise_loss&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("reduction", self.reduction); }

  signature describe() const {
    const bool map = reduction == Rule::none;
    return {
        .inputs = {{.name = "x", .axes = "n*"},
                   {.name = "target", .differentiable = false, .values = loss().targets(), .axes = "n*"}},
        .outputs = {{.name = "y", .batch_axis = map ? 0 : tensor_spec::no_batch, .axes = map ? "n*" : ""}},
        .passes = {
            {.name = "forward", .reads = {"x", "target"}, .writes = {"y"}},
            {.name = "backward", .reads = {"dy", "x", "target"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  bool batchwise(const shape_map& /*shapes*/) const {
    return reduction == Rule::none || reduction == Rule::sum;
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    if constexpr (requires { loss().require_attributes(); }) loss().require_attributes();
    if (!(in["target"] == in["x"]))
      throw shape_error(named("target", in["target"]) +
                        " must have the shape of x: " + named("target", in["x"]));
    shape_map out;
    out.set("y", reduction == Rule::none ? in["x"] : shape{});
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto y = out["y"];
    T sum = T(0);
    for (index_t i = 0; i < in["x"].size(); ++i) {
      const T term = loss().template term<T>(in, i);
      sum += term;
      if (reduction == Rule::none) y[i] = term;
    }
    if (reduction == Rule::sum) y[0] = sum;
    if (reduction != Rule::sum && reduction != Rule::none)
      y[0] = mean_of(sum, T(loss().divisor(in["x"].extents())));
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& /*out*/, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    const bool divided = reduction != Rule::sum && reduction != Rule::none;
    for (index_t i = 0; i < in["x"].size(); ++i) {
      T g = dy[reduction == Rule::none ? i : 0];
      if (divided) g /= T(loss().divisor(in["x"].extents()));
      gradient["dx"][i] = loss().template pull_back<T>(in, i, g);
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto x = in["x"];
    for (index_t i = 0; i < x.size(); ++i) {
      const T slope = loss().template slope<T>(in, i);
      if (reduction == Rule::none)
        emit("y", i, "x", i, slope);
      else
        emit("y", 0, "x", i, reduction == Rule::sum ? slope : T(slope / T(loss().divisor(x.extents()))));
    }
  }

  /// What the mean divides by.
  static index_t divisor(const shape& x) { return x.size(); }
  static domain targets() { return domain::any; }

 private:
  const Loss& loss() const { return static_cast<const Loss&>(*this); }
};

struct mse : elementwise_loss<mse> {
  static constexpr std::string_view formula = "y = mean of (x - target)²";
  static constexpr bool rational = true;
  static constexpr int degree = 2;
  bool operator==(const mse&) const = default;

  template <class T>
  T term(const bundle<const T>& in, index_t i) const {
    const T d = in["x"][i] - in["target"][i];
    return d * d;
  }
  template <class T>
  T pull_back(const bundle<const T>& in, index_t i, const T& g) const {
    return T(2) * (in["x"][i] - in["target"][i]) * g;
  }
  template <class T>
  T slope(const bundle<const T>& in, index_t i) const {
    return (in["x"][i] + in["x"][i]) - (in["target"][i] + in["target"][i]);
  }
};

struct l1 : elementwise_loss<l1> {
  static constexpr std::string_view formula = "y = mean of |x - target|";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // piecewise
  bool operator==(const l1&) const = default;

  template <class T>
  T term(const bundle<const T>& in, index_t i) const {
    const T d = in["x"][i] - in["target"][i];
    if (d == T(0)) return T(0);  // so that dual numbers, too, have slope 0 at the kink
    return d < T(0) ? T(-d) : d;
  }
  template <class T>
  T pull_back(const bundle<const T>& in, index_t i, const T& g) const {
    const T d = in["x"][i] - in["target"][i];
    return d > T(0) ? g : d < T(0) ? T(-g) : T(0);
  }
  template <class T>
  T slope(const bundle<const T>& in, index_t i) const {
    return T(static_cast<int>(in["target"][i] < in["x"][i]) - static_cast<int>(in["x"][i] < in["target"][i]));
  }
  template <class T>
  std::vector<index_t> winners(const bundle<const T>& in) const {
    std::vector<index_t> trace;
    for (index_t i = 0; i < in["x"].size(); ++i) trace.push_back(in["x"][i] > in["target"][i] ? 1 : 0);
    return trace;
  }
};

struct smooth_l1 : elementwise_loss<smooth_l1> {
  decimal beta = {1, 1};

  static constexpr std::string_view formula =
      "y = mean of d²/(2·beta) if |d| < beta, else |d| - beta/2, d = x - target";
  static constexpr bool rational = true;
  static constexpr int degree = 2;  // piecewise
  bool operator==(const smooth_l1&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("reduction", self.reduction);
    visit("beta", self.beta, at_least(0));
  }

  template <class T>
  T term(const bundle<const T>& in, index_t i) const {
    const T d = in["x"][i] - in["target"][i], size = d < T(0) ? T(-d) : d, b = beta.as<T>();
    if (d == T(0)) return T(0);  // the kink of beta=0, as in l1
    return size < b ? T(size * size / (T(2) * b)) : T(size - b / T(2));
  }
  template <class T>
  T pull_back(const bundle<const T>& in, index_t i, const T& g) const {
    const T d = in["x"][i] - in["target"][i], b = beta.as<T>();
    if (d < b && d > -b)
      return either(T(g * (d / b)), T(d * g / b));      // they part where one of them underflows
    return d > T(0) ? g : d < T(0) ? T(-g) : T(d * g);  // d·g: the kink of beta=0, or NaN
  }
  template <class T>
  T slope(const bundle<const T>& in, index_t i) const {
    const T ahead = in["x"][i] - in["target"][i], b = beta.as<T>();
    if (ahead == T(0)) return T(0);
    if (ahead >= b) return T(1);
    return ahead <= -b ? T(-1) : T(ahead / b);
  }
  template <class T>
  std::vector<index_t> winners(const bundle<const T>& in) const {
    std::vector<index_t> trace;
    for (index_t i = 0; i < in["x"].size(); ++i) {
      const T d = in["x"][i] - in["target"][i];
      trace.push_back(d >= beta.as<T>() ? 1 : d <= -beta.as<T>() ? -1 : 0);
    }
    return trace;
  }
};

struct huber : elementwise_loss<huber> {
  decimal delta = {1, 1};

  static constexpr std::string_view formula =
      "y = mean of d²/2 if |d| <= delta, else delta·(|d| - delta/2), d = x - target";
  static constexpr bool rational = true;
  static constexpr int degree = 2;  // piecewise
  bool operator==(const huber&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("reduction", self.reduction);
    visit("delta", self.delta, at_least(0));
  }
  void require_attributes() const {
    if (delta.numerator == 0) throw shape_error("delta=0 makes every loss 0; expected a positive number");
  }

  template <class T>
  T term(const bundle<const T>& in, index_t i) const {
    const T d = in["x"][i] - in["target"][i], size = d < T(0) ? T(-d) : d, limit = delta.as<T>();
    return size <= limit ? T(d * d / T(2)) : T(limit * (size - limit / T(2)));
  }
  template <class T>
  T pull_back(const bundle<const T>& in, index_t i, const T& g) const {  // g times d, clipped to ±delta
    const T d = in["x"][i] - in["target"][i];
    if (d > delta.as<T>()) return delta.as<T>() * g;
    return d < -delta.as<T>() ? T(-delta.as<T>() * g) : T(d * g);
  }
  template <class T>
  T slope(const bundle<const T>& in, index_t i) const {
    const T ahead = in["x"][i] - in["target"][i], size = ahead < T(0) ? T(-ahead) : ahead;
    return size > delta.as<T>() ? T(delta.as<T>() * (ahead / size)) : ahead;
  }
  template <class T>
  std::vector<index_t> winners(const bundle<const T>& in) const {
    std::vector<index_t> trace;
    for (index_t i = 0; i < in["x"].size(); ++i) {
      const T d = in["x"][i] - in["target"][i];
      trace.push_back(d > delta.as<T>() ? 1 : d < -delta.as<T>() ? -1 : 0);
    }
    return trace;
  }
};

struct bce_with_logits : elementwise_loss<bce_with_logits> {
  static constexpr std::string_view formula =
      "y = mean of -weight·(pos_weight·t·log σ(x) + (1 - t)·log σ(-x)), t the target";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const bce_with_logits&) const = default;

  signature describe() const {
    signature s = elementwise_loss::describe();
    for (tensor_spec& input : s.inputs) input.axes = "n*c";
    if (reduction == reduction_rule::none) s.outputs[0].axes = "n*c";
    s.inputs.push_back({.name = "weight", .optional = true, .differentiable = false, .axes = "n*c"});
    s.inputs.push_back({.name = "pos_weight",
                        .optional = true,
                        .differentiable = false,
                        .values = domain::nonnegative,
                        .batch_axis = tensor_spec::no_batch,
                        .axes = "c"});
    for (pass_spec& pass : s.passes) pass.reads.insert(pass.reads.end(), {"weight", "pos_weight"});
    return s;
  }

  /// The last axis of a vector x counts samples, but pos_weight does not go with them.
  bool batchwise(const shape_map& shapes) const {
    return elementwise_loss::batchwise(shapes) && !(shapes["x"].rank() == 1 && shapes.has("pos_weight"));
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    if (in.has("weight") && !(in["weight"] == x))
      throw shape_error(named("weight", in["weight"]) + " must have the shape of x: " + named("weight", x));
    if (in.has("pos_weight") && (x.rank() < 1 || !(in["pos_weight"] == shape{x[x.rank() - 1]})))
      throw shape_error(named("pos_weight", in["pos_weight"]) + " does not match the last axis of " +
                        named("x", x) + "; expected one number a position of it");
    return elementwise_loss::output_shapes(in);
  }

  static domain targets() { return domain::unit; }

  template <class T>
  T term(const bundle<const T>& in, index_t i) const {
    using std::exp, std::log1p;
    const T x = in["x"][i], t = in["target"][i];
    T positive = T(1);
    if (in.has("pos_weight")) positive += (in["pos_weight"][i % in["pos_weight"].size()] - T(1)) * t;
    const T logarithm = x < T(0) ? T(log1p(exp(x)) - x) : T(log1p(exp(-x)));
    const T loss = (T(1) - t) * x + positive * logarithm;
    return in.has("weight") ? T(loss * in["weight"][i]) : loss;
  }
  template <class T>
  T pull_back(const bundle<const T>& in, index_t i, const T& g) const {
    using std::exp;
    const T x = in["x"][i], t = in["target"][i];
    const T e = exp(x < T(0) ? x : T(-x));
    const T miss = (x < T(0) ? T(1) : e) / (T(1) + e);  // σ(-x)
    const T weighted =
        in.has("pos_weight") ? T(T(1) + (in["pos_weight"][i % in["pos_weight"].size()] - T(1)) * t) : T(1);
    const T scaled = in.has("weight") ? T(g * in["weight"][i]) : g;
    return scaled * ((T(1) - t) - weighted * miss);
  }
  /// From -∂/∂x of pos_weight·t·log σ(x) + (1-t)·log σ(-x): (1-t)·σ(x) - pos_weight·t·σ(-x).
  template <class T>
  T slope(const bundle<const T>& in, index_t i) const {
    using std::exp;
    const shape x = in["x"].extents();
    const T sigma = T(1) / (T(1) + exp(-in["x"][i])), other = T(1) / (T(1) + exp(in["x"][i]));
    T gain = in["target"][i] * other;
    if (in.has("pos_weight")) gain *= in["pos_weight"][i % x[x.rank() - 1]];
    const T slope = (T(1) - in["target"][i]) * sigma - gain;
    return in.has("weight") ? T(in["weight"][i] * slope) : slope;
  }
};

enum class kl_reduction : std::uint8_t { mean, sum, none, batchmean };
template <>
struct choices<kl_reduction> {
  static constexpr std::array<std::string_view, 4> names = {"mean", "sum", "none", "batchmean"};
};

struct kl_div : elementwise_loss<kl_div, kl_reduction> {
  bool log_target = false;

  static constexpr std::string_view formula = "y = mean of target·(log target - x), 0 where target = 0";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const kl_div&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("reduction", self.reduction);
    visit("log_target", self.log_target);
  }

  index_t divisor(const shape& x) const {
    return reduction == kl_reduction::batchmean && x.rank() > 0 ? x[0] : x.size();
  }
  domain targets() const { return log_target ? domain::any : domain::unit; }

  template <class T>
  T term(const bundle<const T>& in, index_t i) const {
    using std::exp, std::log;
    const T x = in["x"][i], t = in["target"][i];
    if (log_target) return exp(t) * (t - x);
    return t == T(0) ? T(0) : T(t * (log(t) - x));
  }
  template <class T>
  T pull_back(const bundle<const T>& in, index_t i, const T& g) const {
    using std::exp;
    return -(g * (log_target ? exp(T(in["target"][i])) : T(in["target"][i])));
  }
  template <class T>
  T slope(const bundle<const T>& in, index_t i) const {
    using std::exp;
    return log_target ? T(T(-1) / exp(-in["target"][i])) : T(-in["target"][i]);
  }
};

}  // namespace plumb
