// What the activations of piecewise.hpp and smooth.hpp share: one input, one output of the same shape, and a
// function that is applied to every element on its own. A gate states that function three times:
//     value(x)          y
//     pull_back(s, dy)  dx, from the saved tensor: s is x, or y if the gate's `saved` says so
//     slope(x)          ∂y/∂x, derived from x alone, on the diagonal of the explicit Jacobian
// and, if it has kinks, branch(x): the number of the piece that x lies on.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <class Gate>
struct activation {
  static constexpr std::string_view saved = "x";
  static constexpr bool selects = false;  ///< y is x or a limit, dx is dy or 0
  bool operator==(const activation&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    return {.inputs = {{.name = "x"}},
            .outputs = {{.name = "y"}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}, .selects = Gate::selects},
                       {.name = "backward",
                        .reads = {"dy", std::string(Gate::saved)},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}},
                        .selects = Gate::selects}}};
  }

  /// Throws shape_error if the gate's attributes contradict each other.
  shape_map output_shapes(const shape_map& in) const {
    if constexpr (requires { gate().require_attributes(); }) gate().require_attributes();
    shape_map out;
    out.set("y", in["x"]);
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    for (index_t i = 0; i < x.size(); ++i) y[i] = gate().value(T(x[i]));
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto s = Gate::saved == "y" ? out["y"] : in["x"];
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = gate().pull_back(T(s[i]), T(dy[i]));
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto x = in["x"];
    for (index_t i = 0; i < x.size(); ++i) emit("y", i, "x", i, gate().slope(T(x[i])));
  }

  template <class T>
  requires requires(const Gate& g, const T& x) { g.branch(x); }
  std::vector<index_t> winners(const bundle<const T>& in) const {
    const auto x = in["x"];
    std::vector<index_t> trace;
    for (index_t i = 0; i < x.size(); ++i) trace.push_back(gate().branch(T(x[i])));
    return trace;
  }

 private:
  const Gate& gate() const { return static_cast<const Gate&>(*this); }
};

}  // namespace plumb
