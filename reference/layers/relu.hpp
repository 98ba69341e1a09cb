// Rectified linear unit, element by element: y = max(x, 0) (Nair & Hinton 2010).
//   forward    y = x if x > 0, else 0; NaN passes through
//   backward   dx = 0 if x <= 0, else dy: the derivative at the kink x = 0 is taken as 0, at NaN as 1
//   Jacobian   diag(0 if x <= 0 else 1)
// Conventions as torch 1.13.1.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct relu {
  static constexpr std::string_view formula = "y = max(x, 0)";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const relu&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    return {.inputs = {{.name = "x"}},
            .outputs = {{.name = "y"}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}, .selects = true},
                       {.name = "backward",
                        .reads = {"dy", "x"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}},
                        .selects = true}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    shape_map out;
    out.set("y", in["x"]);
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    for (index_t i = 0; i < x.size(); ++i) y[i] = x[i] > T(0) || is_nan(x[i]) ? x[i] : T(0);
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& /*out*/, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto x = in["x"];
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < x.size(); ++i) dx[i] = x[i] <= T(0) ? T(0) : dy[i];
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto x = in["x"];
    for (index_t i = 0; i < x.size(); ++i)
      if (!(x[i] <= T(0))) emit("y", i, "x", i, T(1));
  }

  /// The winner of max(x, 0): 1 where x won.
  template <class T>
  std::vector<index_t> winners(const bundle<const T>& in) const {
    const auto x = in["x"];
    std::vector<index_t> trace;
    for (index_t i = 0; i < x.size(); ++i) trace.push_back(x[i] > T(0) ? 1 : 0);
    return trace;
  }
};

}  // namespace plumb
