// Cross-entropy of class scores against class numbers: log-softmax over the class axis, then the negative
// log-likelihood of the target class (Bridle 1990; label smoothing: Szegedy et al. 2016). With batch n, class
// c of C, and i for all further axes of x together, at each position (n,i) with target t = target[n,i]:
//
//   log p[c] = (x[n,c,i] - m) - log Σ_j exp(x[n,j,i] - m),          m = max over j of x[n,j,i]
//   loss     = -(1-ε)·w[t]·log p[t] - ε/C·Σ_c w[c]·log p[c]         (the second term only if ε ≠ 0)
//
//   weight           w, a factor for each class; 1 if left out. Zero and negative ones are legal
//   ignore_index     positions with this target count as loss 0 and have gradient 0, whatever their scores;
//   it
//                    need not be a class
//   label_smoothing  ε, between 0 and 1
//   reduction        none: y[n,i] = loss.   sum: y = Σ loss.   mean: y = Σ loss / Σ w[t], both sums over the
//                    positions that are not ignored. Nothing guards the division: if all are ignored y = 0/0
//                    = NaN (and the gradient still 0), if their weights cancel both are divided by 0
//   targets          classes, or probabilities: t[c] = target[n,c,i] takes the place of [c = t], and need not
//                    sum to 1. With t̃[c] = (1-ε)·t[c] + ε/C
//                        loss = -Σ_c w[c]·t̃[c]·log p[c]
//                    where 0·-∞ = NaN. The mean then divides by the number of positions, whatever the
//                    weights; none can be ignored
// Shapes: x = N,C,…   target = N,…, or like x   weight = C (optional)   y = one number, or N,… with
// reduction=none
// A target that is neither a class nor ignore_index is an error. Conventions as torch 1.13.1.
//
// Gradient: with q[c] = (1-ε)·w[t]·[c = t] + ε/C·w[c], or w[c]·t̃[c], the loss is -Σ_c q[c]·log p[c], so
//   dx[n,c,i] = dy·(p[c]·Σ_j q[j] - q[c])           divided by Σ w[t] for reduction=mean
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/reduction.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

enum class target_kind : std::uint8_t { classes, probabilities };
template <>
struct choices<target_kind> {
  static constexpr std::array<std::string_view, 2> names = {"classes", "probabilities"};
};

struct cross_entropy {
  reduction_rule reduction = reduction_rule::mean;
  index_t ignore_index = -100;
  decimal label_smoothing = {};
  target_kind targets = target_kind::classes;

  static constexpr std::string_view formula = "y = -Σ weight[t] · log softmax(x)[t], t the target class";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const cross_entropy&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("reduction", self.reduction);
    visit("ignore_index", self.ignore_index);
    visit("label_smoothing", self.label_smoothing, range{0, 1});
    visit("targets", self.targets);
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const bool map = reduction == reduction_rule::none;
    return {.inputs = {{.name = "x", .axes = "nc*"},
                       {.name = "target",
                        .kind = by_class() ? element::index : element::real,
                        .differentiable = false,
                        .values = by_class() ? domain::any : domain::unit,
                        .axes = by_class() ? "n*" : "nc*"},
                       {.name = "weight",
                        .optional = true,
                        .differentiable = false,
                        .batch_axis = no_batch,
                        .axes = "c"}},
            .outputs = {{.name = "y", .batch_axis = map ? 0 : no_batch, .axes = map ? "n*" : ""}},
            .passes = {{.name = "forward", .reads = {"x", "target", "weight"}, .writes = {"y"}},
                       {.name = "backward",
                        .reads = {"dy", "x", "target", "weight"},
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
    if (by_class() && !(in["target"] == positions))
      throw shape_error(named("target", in["target"]) + " must be " + named("x", x) +
                        " without its class axis: target=" + to_string(positions));
    if (!by_class() && !(in["target"] == x))
      throw shape_error(named("target", in["target"]) + " must have a probability for every score of " +
                        named("x", x) + ": target=" + to_string(x));
    if (!by_class() && ignore_index >= 0)
      throw shape_error("ignore_index=" + std::to_string(ignore_index) +
                        " names a class; targets=probabilities has none to ignore");
    if (in.has("weight") && !(in["weight"] == shape{x[1]}))
      throw shape_error(
          named("weight", in["weight"]) +
          " does not match the classes; expected one number a class: weight=" + std::to_string(x[1]));
    shape_map out;
    out.set("y", reduction == reduction_rule::none ? positions : shape{});
    return out;
  }

  // In the definitions x[(n·C + c)·I + i] is the score x[n,c,i], and I counts the positions of one sample.

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    using std::exp, std::log;
    const auto x = in["x"];
    const auto target = in.indices("target");  // not there if
    const auto probability = in["target"];     // this is
    const auto y = out["y"];
    const index_t N = x.extent(0), C = x.extent(1), I = positions_of(x.extents());
    const Scalar smoothing = label_smoothing.as<Scalar>();
    const auto w = [&](index_t c) { return in.has("weight") ? in["weight"](c) : Scalar(1); };

    Scalar sum = Scalar(0), total_weight = Scalar(0);
    for (index_t n = 0; n < N; ++n)
      for (index_t i = 0; i < I; ++i) {
        const index_t t = by_class() ? target[n * I + i] : 0;
        Scalar loss = Scalar(0);
        if (!by_class() || t != ignore_index) {
          if (by_class()) require_class(t, n * I + i, C);
          Scalar m = x[n * C * I + i];
          for (index_t c = 1; c < C; ++c)
            if (x[(n * C + c) * I + i] > m) m = x[(n * C + c) * I + i];
          Scalar exponentials = Scalar(0);
          for (index_t c = 0; c < C; ++c) exponentials += exp(x[(n * C + c) * I + i] - m);
          const Scalar log_sum = log(exponentials);
          const auto log_p = [&](index_t c) { return (x[(n * C + c) * I + i] - m) - log_sum; };

          if (by_class()) {
            loss = -w(t) * log_p(t);
            total_weight += w(t);
          } else {
            for (index_t c = 0; c < C; ++c) loss -= w(c) * probability[(n * C + c) * I + i] * log_p(c);
            total_weight += Scalar(1);
          }
          if (label_smoothing.numerator != 0) {
            Scalar over_classes = Scalar(0);
            for (index_t c = 0; c < C; ++c) over_classes -= w(c) * log_p(c);
            loss = (Scalar(1) - smoothing) * loss + smoothing / Scalar(C) * over_classes;
          }
        }
        sum += loss;
        if (reduction == reduction_rule::none) y[n * I + i] = loss;
      }
    if (reduction == reduction_rule::sum) y[0] = sum;
    if (reduction == reduction_rule::mean) y[0] = sum / total_weight;
  }

  // Definition 2: gradients from the cotangent dy -----------------------------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    using std::exp;
    const auto x = in["x"];
    const auto target = in.indices("target");
    const auto probability = in["target"];
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t C = x.extent(1), I = positions_of(x.extents()), positions = x.size() / C;
    const Scalar smoothing = label_smoothing.as<Scalar>();
    const auto w = [&](index_t c) { return in.has("weight") ? in["weight"](c) : Scalar(1); };

    Scalar divisor = Scalar(1);
    if (reduction == reduction_rule::mean) {
      divisor = by_class() ? Scalar(0) : Scalar(positions);
      for (index_t at = 0; by_class() && at < positions; ++at)
        if (target[at] != ignore_index) {
          require_class(target[at], at, C);
          divisor += w(target[at]);
        }
    }
    for (index_t at = 0; at < positions; ++at) {
      const index_t first = at / I * C * I + at % I;  // the scores of this position: first + c·I
      if (by_class() && target[at] == ignore_index) {
        for (index_t c = 0; c < C; ++c) dx[first + c * I] = Scalar(0);
        continue;
      }
      if (by_class()) require_class(target[at], at, C);
      const Scalar scale = dy[reduction == reduction_rule::none ? at : 0] / divisor;
      const auto q = [&](index_t c) {
        const Scalar hit = !by_class()       ? w(c) * probability[first + c * I]
                           : c == target[at] ? w(c)
                                             : Scalar(0);
        if (label_smoothing.numerator == 0) return hit;
        return (Scalar(1) - smoothing) * hit + smoothing / Scalar(C) * w(c);
      };
      Scalar m = x[first], denominator = Scalar(0), all = Scalar(0);
      for (index_t c = 0; c < C; ++c) m = m < x[first + c * I] ? x[first + c * I] : m;
      for (index_t c = 0; c < C; ++c) {
        denominator += exp(x[first + c * I] - m);
        all += q(c);
      }
      for (index_t c = 0; c < C; ++c)
        dx[first + c * I] = scale * (exp(x[first + c * I] - m) / denominator * all - q(c));
    }
  }

  // Definition 3: the explicit Jacobian --------------------------------------------------------------------

  /// From ∂log p[k]/∂x[c] = [k = c] - p[c] and p[c] = 1 / Σ_k exp(x[k] - x[c]), one class k at a time:
  /// ∂loss/∂x[c] = Σ_k coefficient[k]·(p[c] - [k = c]).
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    using std::exp;
    const auto x = in["x"];
    const auto target = in.indices("target");
    const shape extents = x.extents();
    shape positions{extents[0]};
    for (int axis = 2; axis < extents.rank(); ++axis) positions.push_back(extents[axis]);
    Scalar total = by_class() ? Scalar(0) : Scalar(positions.size());
    if (reduction == reduction_rule::mean)
      for (index_t i = 0; by_class() && i < positions.size(); ++i)
        if (target[i] != ignore_index) total += in.has("weight") ? in["weight"][target[i]] : Scalar(1);

    index_t position = 0;
    for_each_index(positions, [&](const shape& at) {
      const index_t row = reduction == reduction_rule::none ? position : 0;
      const index_t t = by_class() ? target(at) : -1;
      ++position;
      if (by_class() && t == ignore_index) return;
      if (by_class()) require_class(t, position - 1, extents[1]);
      shape score;  // coordinates in x of this position, class to be filled in
      for (int axis = 0; axis < extents.rank(); ++axis)
        score.push_back(axis == 0 ? at[0] : axis == 1 ? 0 : at[axis - 1]);
      const auto at_class = [&](index_t c) {
        score[1] = c;
        return x(score);
      };
      for (index_t c = 0; c < extents[1]; ++c) {
        Scalar inverse_p = Scalar(1);
        for (index_t k = 0; k < extents[1]; ++k)
          if (k != c) inverse_p += exp(at_class(k) - at_class(c));
        const Scalar p = Scalar(1) / inverse_p;
        Scalar slope = Scalar(0);
        for (index_t k = 0; k < extents[1]; ++k) {
          Scalar share = label_smoothing.as<Scalar>() / Scalar(extents[1]);
          if (k == t) share += Scalar(1) - label_smoothing.as<Scalar>();
          score[1] = k;
          if (!by_class()) share += (Scalar(1) - label_smoothing.as<Scalar>()) * in["target"](score);
          const Scalar coefficient = in.has("weight") ? share * in["weight"][k] : share;
          slope += coefficient * (k == c ? p - Scalar(1) : p);
        }
        score[1] = c;
        index_t column = 0;
        for (int axis = 0; axis < extents.rank(); ++axis) column = column * extents[axis] + score[axis];
        emit("y", row, "x", column, reduction == reduction_rule::mean ? slope / total : slope);
      }
    });
  }

 private:
  bool by_class() const { return targets == target_kind::classes; }
  static index_t positions_of(const shape& x) {
    index_t count = 1;
    for (int axis = 2; axis < x.rank(); ++axis) count *= x[axis];
    return count;
  }
  void require_class(index_t t, index_t position, index_t classes) const {
    if (t < 0 || t >= classes)
      throw std::invalid_argument("target[" + std::to_string(position) + "] = " + std::to_string(t) +
                                  " is neither a class, 0 to " + std::to_string(classes - 1) +
                                  ", nor ignore_index=" + std::to_string(ignore_index));
  }
};

}  // namespace plumb
