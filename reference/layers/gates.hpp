// The gates of which a computational graph is built, element by element; x0 and x1 have equal shapes.
//
//   gate         forward             backward                                Jacobian
//   add          y = x0 + x1         dx0 = dx1 = dy                          1 and 1
//   mul          y = x0·x1           dx0 = dy·x1    dx1 = dy·x0              diag x1 and diag x0
//   max          y = max(x0, x1)     dy to the winner, 0 to the other        1 at the winner
//   neg          y = -x              dx = -dy                                -1
//   exp          y = eˣ              dx = dy·y      (y is saved)             diag eˣ
//   reciprocal   y = 1/x             dx = -dy·y²    (y is saved)             diag -1/x²
//   square       y = x²              dx = 2·x·dy                             diag 2x
//   copy         y0 = y1 = x         dx = dy0 + dy1: where a value is used twice its gradients add up
//
// max: the first of equals wins, x0, and takes the whole gradient (torch 1.13.1's maximum halves it: not
// copied). A NaN wins over every number, the first of two. Conventions as torch 1.13.1 otherwise: e^-∞ = 0,
// 1/±0 = ±∞.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {
namespace gates {

struct one_input {
  static constexpr bool rational = true;
  bool operator==(const one_input&) const = default;
  static void attributes(auto&, auto&&) {}
  static shape_map output_shapes(const shape_map& in) {
    shape_map out;
    out.set("y", in["x"]);
    return out;
  }

 protected:
  /// The backward pass reads dy and, for some gates, the input or the output.
  static signature reading(const std::string& saved) {
    signature s = {
        .inputs = {{.name = "x"}},
        .outputs = {{.name = "y"}},
        .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}},
                   {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
    if (!saved.empty()) s.passes[1].reads.push_back(saved);
    return s;
  }
};

struct two_inputs {
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const two_inputs&) const = default;
  static void attributes(auto&, auto&&) {}
  static shape_map output_shapes(const shape_map& in) {
    if (!(in["x0"] == in["x1"]))
      throw shape_error(named("x0", in["x0"]) + " and " + named("x1", in["x1"]) +
                        " differ; expected equal shapes");
    shape_map out;
    out.set("y", in["x0"]);
    return out;
  }

 protected:
  static signature reading(const std::vector<std::string>& saved,
                           const std::vector<std::vector<std::string>>& linear) {
    signature s = {
        .inputs = {{.name = "x0"}, {.name = "x1"}},
        .outputs = {{.name = "y"}},
        .passes = {{.name = "forward", .reads = {"x0", "x1"}, .writes = {"y"}, .linear_in = linear},
                   {.name = "backward", .reads = {"dy"}, .writes = {"dx0", "dx1"}, .linear_in = {{"dy"}}}}};
    s.passes[1].reads.insert(s.passes[1].reads.end(), saved.begin(), saved.end());
    return s;
  }
};

}  // namespace gates

struct add_gate : gates::two_inputs {
  static constexpr std::string_view formula = "y = x0 + x1";
  bool operator==(const add_gate&) const = default;
  static signature describe() {
    signature s = reading({}, {{"x0", "x1"}});
    s.passes[1].selects = true;
    return s;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (index_t i = 0; i < out["y"].size(); ++i) out["y"][i] = in["x0"][i] + in["x1"][i];
  }
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    for (const auto& dx : gradient.entries())
      for (index_t i = 0; i < dy.size(); ++i) dx.real[i] = dy[i];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    for (index_t i = 0; i < in["x0"].size(); ++i)
      for (const char* name : {"x0", "x1"}) emit("y", i, name, i, T(1));
  }
};

struct mul_gate : gates::two_inputs {
  static constexpr std::string_view formula = "y = x0·x1";
  bool operator==(const mul_gate&) const = default;
  static signature describe() { return reading({"x0", "x1"}, {{"x0"}, {"x1"}}); }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (index_t i = 0; i < out["y"].size(); ++i) out["y"][i] = in["x0"][i] * in["x1"][i];
  }
  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    for (index_t i = 0; i < dy.size(); ++i) {
      if (gradient.has("dx0")) gradient["dx0"][i] = dy[i] * in["x1"][i];
      if (gradient.has("dx1")) gradient["dx1"][i] = dy[i] * in["x0"][i];
    }
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto a = in["x0"], b = in["x1"];
    for (index_t i = 0; i < a.size(); ++i) {
      emit("y", i, "x0", i, b[i]);
      emit("y", i, "x1", i, a[i]);
    }
  }
};

struct max_gate : gates::two_inputs {
  static constexpr std::string_view formula = "y = max(x0, x1), the first of equals wins";
  bool operator==(const max_gate&) const = default;
  static signature describe() {
    signature s = reading({"x0", "x1"}, {});
    s.passes[0].selects = s.passes[1].selects = true;
    return s;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto a = in["x0"], b = in["x1"];
    for (index_t i = 0; i < a.size(); ++i) out["y"][i] = is_nan(a[i]) || a[i] >= b[i] ? a[i] : b[i];
  }
  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    for (index_t i = 0; i < dy.size(); ++i) {
      const bool second = in["x0"][i] < in["x1"][i] || (is_nan(in["x1"][i]) && !is_nan(in["x0"][i]));
      if (gradient.has("dx0")) gradient["dx0"][i] = second ? T(0) : dy[i];
      if (gradient.has("dx1")) gradient["dx1"][i] = second ? dy[i] : T(0);
    }
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const std::vector<index_t> who = winners<T>(in);
    for (std::size_t i = 0; i < who.size(); ++i)
      emit("y", static_cast<index_t>(i), who[i] == 0 ? "x0" : "x1", static_cast<index_t>(i), T(1));
  }
  /// 0 or 1: which input won.
  template <class T>
  std::vector<index_t> winners(const bundle<const T>& in) const {
    const auto a = in["x0"], b = in["x1"];
    std::vector<index_t> who;
    for (index_t i = 0; i < a.size(); ++i) {
      const bool undecided = !(a[i] > b[i]) && !(a[i] < b[i]);  // equal, or NaN among them
      who.push_back(undecided ? (is_nan(b[i]) && !is_nan(a[i]) ? 1 : 0) : (a[i] > b[i] ? 0 : 1));
    }
    return who;
  }
};

struct neg_gate : gates::one_input {
  static constexpr std::string_view formula = "y = -x";
  static constexpr int degree = 1;
  bool operator==(const neg_gate&) const = default;
  static signature describe() {
    signature s = reading({});
    s.passes[0].linear_in = {{"x"}};
    return s;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (index_t i = 0; i < out["y"].size(); ++i) out["y"][i] = -in["x"][i];
  }
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    for (index_t i = 0; i < dy.size(); ++i) gradient["dx"][i] = -dy[i];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    for (index_t i = 0; i < in["x"].size(); ++i) emit("y", i, "x", i, T(-1));
  }
};

struct exp_gate : gates::one_input {
  static constexpr std::string_view formula = "y = e^x";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const exp_gate&) const = default;
  static signature describe() { return reading("y"); }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    using std::exp;
    for (index_t i = 0; i < out["y"].size(); ++i) out["y"][i] = exp(in["x"][i]);
  }
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto y = out["y"], dy = cotangent["dy"];
    for (index_t i = 0; i < dy.size(); ++i) gradient["dx"][i] = dy[i] * y[i];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::exp;
    for (index_t i = 0; i < in["x"].size(); ++i) emit("y", i, "x", i, T(exp(in["x"][i])));
  }
};

struct reciprocal_gate : gates::one_input {
  static constexpr std::string_view formula = "y = 1/x";
  static constexpr int degree = 0;
  bool operator==(const reciprocal_gate&) const = default;
  static signature describe() {
    signature s = reading("y");
    s.inputs[0].values = domain::nonzero;
    return s;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (index_t i = 0; i < out["y"].size(); ++i) out["y"][i] = T(1) / in["x"][i];
  }
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto y = out["y"], dy = cotangent["dy"];
    for (index_t i = 0; i < dy.size(); ++i) gradient["dx"][i] = -dy[i] * y[i] * y[i];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto x = in["x"];
    for (index_t i = 0; i < x.size(); ++i) emit("y", i, "x", i, T(-1) / (x[i] * x[i]));
  }
};

struct square_gate : gates::one_input {
  static constexpr std::string_view formula = "y = x²";
  static constexpr int degree = 2;
  bool operator==(const square_gate&) const = default;
  static signature describe() { return reading("x"); }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (index_t i = 0; i < out["y"].size(); ++i) out["y"][i] = in["x"][i] * in["x"][i];
  }
  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto x = in["x"], dy = cotangent["dy"];
    for (index_t i = 0; i < dy.size(); ++i) gradient["dx"][i] = T(2) * x[i] * dy[i];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    for (index_t i = 0; i < in["x"].size(); ++i) emit("y", i, "x", i, in["x"][i] + in["x"][i]);
  }
};

struct copy_gate {
  static constexpr std::string_view formula = "y0 = y1 = x";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const copy_gate&) const = default;
  static void attributes(auto&, auto&&) {}
  static signature describe() {
    return {
        .inputs = {{.name = "x"}},
        .outputs = {{.name = "y0"}, {.name = "y1"}},
        .passes = {
            {.name = "forward",
             .reads = {"x"},
             .writes = {"y0", "y1"},
             .linear_in = {{"x"}},
             .selects = true},
            {.name = "backward", .reads = {"dy0", "dy1"}, .writes = {"dx"}, .linear_in = {{"dy0", "dy1"}}}}};
  }
  static shape_map output_shapes(const shape_map& in) {
    shape_map out;
    out.set("y0", in["x"]);
    out.set("y1", in["x"]);
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (const auto& y : out.entries())
      for (index_t i = 0; i < in["x"].size(); ++i) y.real[i] = in["x"][i];
  }
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = cotangent["dy0"][i] + cotangent["dy1"][i];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    for (index_t i = 0; i < in["x"].size(); ++i)
      for (const char* name : {"y0", "y1"}) emit(name, i, "x", i, T(1));
  }
};

}  // namespace plumb
