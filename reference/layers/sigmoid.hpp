// Logistic sigmoid, element by element: y = σ(x) = 1 / (1 + e^-x).
//   forward    computed from e^-|x|, so that no finite x overflows:
//              x ≥ 0:  1 / (1 + e^-x)         x < 0:  e^x / (1 + e^x)
//   backward   dx = dy·(1 - y)·y, from the saved output y
//   Jacobian   diag σ′(x),  σ′(x) = e^-|x| / (1 + e^-|x|)², derived from x alone
// Edges: σ(-∞) = 0, σ(+∞) = 1, NaN passes through. Conventions as torch 1.13.1.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct sigmoid {
  static constexpr std::string_view formula = "y = 1 / (1 + e^-x)";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const sigmoid&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    return {.inputs = {{.name = "x"}},
            .outputs = {{.name = "y"}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}},
                       {.name = "backward", .reads = {"dy", "y"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    shape_map out;
    out.set("y", in["x"]);
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    using std::exp;
    const auto x = in["x"];
    const auto y = out["y"];
    for (index_t i = 0; i < x.size(); ++i) {
      if (x[i] < T(0)) {
        const T e = exp(x[i]);
        y[i] = e / (T(1) + e);
      } else {
        y[i] = T(1) / (T(1) + exp(-x[i]));
      }
    }
  }

  template <class T>
  void vjp(const bundle<const T>& /*in*/, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto y = out["y"];
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < y.size(); ++i) dx[i] = dy[i] * (T(1) - y[i]) * y[i];
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::exp;
    const auto x = in["x"];
    for (index_t i = 0; i < x.size(); ++i) {
      const T magnitude = x[i] < T(0) ? T(-x[i]) : T(x[i]);
      const T e = exp(-magnitude);
      const T one_plus = T(1) + e;
      emit("y", i, "x", i, e / (one_plus * one_plus));
    }
  }
};

}  // namespace plumb
