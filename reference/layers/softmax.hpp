// Softmax and its logarithm (Bridle 1990) along one axis, whose elements are numbered c here, all other axes
// being fixed:
//
//   softmax       y[c] = exp(x[c] - m) / Σ_j exp(x[j] - m)          m = max x[j], so that nothing overflows
//   log_softmax   y[c] = (x[c] - m) - log Σ_j exp(x[j] - m)         in this association
//
//   axis 1 unless given. Where x has +∞ or a NaN, or nothing but -∞, y is NaN along the whole axis
// Shapes: x = y, of any rank that has the axis, which must not be empty.   Conventions as torch 1.13.1.
//
// Gradients from the saved output, sums along the axis:
//   softmax       dx[c] = y[c]·(dy[c] - Σ_j dy[j]·y[j])
//   log_softmax   dx[c] = dy[c] - exp(y[c])·Σ_j dy[j]
// Explicit Jacobians, blocks along the axis; with p[c] = 1 / Σ_k exp(x[k] - x[c]) the softmax of x:
//   softmax       ∂y[c]/∂x[j] = p[c]·([c = j] - p[j])
//   log_softmax   ∂y[c]/∂x[j] = [c = j] - p[j]
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

/// What the two share, which is all but the formulas: the axis, the shapes and the signature.
struct along_axis {
  index_t axis = 1;

  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const along_axis&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("axis", self.axis, at_least(0)); }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nc*"}},
            .outputs = {{.name = "y", .axes = "nc*"}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}},
                       {.name = "backward", .reads = {"dy", "y"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  bool batchwise(const shape_map& /*shapes*/) const { return axis != 0; }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    if (axis >= x.rank() || x[static_cast<int>(axis)] < 1)
      throw shape_error(named("x", x) + " has nothing along axis=" + std::to_string(axis) +
                        "; expected an axis that x has, with at least one element");
    shape_map out;
    out.set("y", x);
    return out;
  }

  /// Elements from one number along the axis to the next.
  index_t step(const shape& x) const {
    index_t count = 1;
    for (int behind = static_cast<int>(axis) + 1; behind < x.rank(); ++behind) count *= x[behind];
    return count;
  }
  index_t length(const shape& x) const { return x[static_cast<int>(axis)]; }
};

// In the definitions the numbers along the axis are x[first + c·step]; the firsts are those of every line.

struct softmax : along_axis {
  static constexpr std::string_view formula = "y[c] = exp(x[c] - max x) / Σ_j exp(x[j] - max x)";
  bool operator==(const softmax&) const = default;

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    using std::exp;
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t S = step(x.extents()), C = length(x.extents());
    for (index_t line = 0; line < x.size() / C; ++line) {
      const index_t first = line / S * C * S + line % S;
      T m = x[first], sum = T(0);
      for (index_t c = 1; c < C; ++c)
        if (x[first + c * S] > m) m = x[first + c * S];
      for (index_t c = 0; c < C; ++c) sum += exp(x[first + c * S] - m);
      for (index_t c = 0; c < C; ++c) y[first + c * S] = exp(x[first + c * S] - m) / sum;
    }
  }

  template <class T>
  void vjp(const bundle<const T>& /*in*/, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto y = out["y"], dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t S = step(y.extents()), C = length(y.extents());
    for (index_t at = 0; at < dx.size(); ++at) {
      const index_t first = at - at / S % C * S;
      T mean = T(0);
      for (index_t j = 0; j < C; ++j) mean += dy[first + j * S] * y[first + j * S];
      dx[at] = y[at] * (dy[at] - mean);
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::exp;
    const auto x = in["x"];
    const index_t S = step(x.extents()), C = length(x.extents());
    const auto probability = [&](index_t at, index_t first) {
      T inverse = T(0);
      for (index_t k = 0; k < C; ++k) inverse += exp(x[first + k * S] - x[at]);
      return T(1) / inverse;
    };
    for (index_t c = 0; c < x.size(); ++c) {
      const index_t first = c / (S * C) * S * C + c % S;
      const T p = probability(c, first);
      for (index_t j = first; j < first + C * S; j += S)
        emit("y", c, "x", j, p * ((c == j ? T(1) : T(0)) - probability(j, first)));
    }
  }
};

struct log_softmax : along_axis {
  static constexpr std::string_view formula = "y[c] = (x[c] - max x) - log Σ_j exp(x[j] - max x)";
  bool operator==(const log_softmax&) const = default;

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    using std::exp, std::log;
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t S = step(x.extents()), C = length(x.extents());
    for (index_t line = 0; line < x.size() / C; ++line) {
      const index_t first = line / S * C * S + line % S;
      T m = x[first], sum = T(0);
      for (index_t c = 1; c < C; ++c)
        if (x[first + c * S] > m) m = x[first + c * S];
      for (index_t c = 0; c < C; ++c) sum += exp(x[first + c * S] - m);
      const T logarithm = log(sum);
      for (index_t c = 0; c < C; ++c) {
        T below = x[first + c * S] - m;
        // The parentheses count: who adds m to the logarithm first loses digits even of the largest, which is -logarithm.
        if constexpr (carries_bounds_v<T>)
          if (below == T(0)) below = T(0);
        y[first + c * S] = below - logarithm;
      }
    }
  }

  template <class T>
  void vjp(const bundle<const T>& /*in*/, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    using std::exp;
    const auto y = out["y"], dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t S = step(y.extents()), C = length(y.extents());
    for (index_t at = 0; at < dx.size(); ++at) {
      const index_t first = at - at / S % C * S;
      T sum = T(0);
      for (index_t j = 0; j < C; ++j) sum += dy[first + j * S];
      dx[at] = dy[at] - exp(y[at]) * sum;
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::exp;
    const auto x = in["x"];
    const index_t S = step(x.extents()), C = length(x.extents());
    for (index_t j = 0; j < x.size(); ++j) {  // one column at a time
      const index_t first = j / (S * C) * S * C + j % S;
      T inverse = T(0);
      for (index_t k = first; k < first + C * S; k += S) inverse += exp(x[k] - x[j]);
      for (index_t c = first; c < first + C * S; c += S)
        emit("y", c, "x", j, (c == j ? T(1) : T(0)) - T(1) / inverse);
    }
  }
};

}  // namespace plumb
