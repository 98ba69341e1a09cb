// Power-average pooling of rank 1, 2 or 3 (Sermanet et al. 2012; Gulcehre et al. 2014): the p-norm of each
// window. With output position (o,p,q) and window cell (t,r,s):
//
//   y[n,c,o,p,q] = (Σ_t Σ_r Σ_s |x[n, c, o·stride_d + t, …, …]|^norm)^(1/norm)
//
//   window     required; stride = window unless given
//   norm       p ≥ 1, a decimal; 2 unless given. 1 sums magnitudes, large values approach max pooling
//   ceil_mode  O = floor((I - k) / stride) + 1, with ceil instead of floor if true; the last window must then
//              start inside x, or it is dropped. Cells it overhangs do not take part
// Powers are e^(norm·log|x|), and 0 at x = 0.
// Shapes: x = N,C,[D,][H,]W   y = N,C,[O,][P,]Q; an empty batch is legal.
// Conventions as torch 1.13.1, but for two of its faults: it takes powers without the magnitude, so that odd
// norms of negative data cancel, and in ceil mode it scales the sum of an overhanging window up to that of a
// whole one.
//
// Gradient, with x a cell of the window of y:   dx = Σ over windows of  dy · sign(x) · (|x| / y)^(norm-1)
// It is 0 for an all-zero window and at x = 0, where for norm = 1 that is one element of the subdifferential.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/pooling.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct lp_pool {
  per_axis<Rank> window = {};  // 0: not given, which is an error
  per_axis<Rank> stride = {};
  decimal norm = {2, 1};
  bool ceil_mode = false;

  static constexpr std::string_view formula =
      "y[n,c,p,q] = (Σ_{r,s} |x[n, c, p·stride + r, …]|^norm)^(1/norm)";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const lp_pool&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("window", self.window, at_least(1));
    visit("stride", self.stride, at_least(1), self.window);
    visit("norm", self.norm, at_least(1));
    visit("ceil_mode", self.ceil_mode);
  }

  signature describe() const {
    return {
        .inputs = {{.name = "x", .axes = letters_of_input[Rank - 1]}},
        .outputs = {{.name = "y", .axes = letters_of_windows[Rank - 1]}},
        .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}},
                   {.name = "backward", .reads = {"dy", "x", "y"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    require_rank("x", x, Rank + 2, axes_of_input[Rank - 1], true);
    shape y{x[0], x[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      y.push_back(
          windows_along({axis_letter(Rank, axis), x[2 + axis], window[i], stride[i], 1, 0, 0}, ceil_mode));
    }
    shape_map out;
    out.set("y", y);
    return out;
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    using std::exp;
    using std::log;
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto [N, C, O, P, Q] = extents_of(y);
    const three_axes k = in_three_axes<Rank>(window, 1), step = in_three_axes<Rank>(stride, 1);
    const Scalar p_norm = norm.as<Scalar>();
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t o = 0; o < O; ++o)
          for (index_t p = 0; p < P; ++p)
            for (index_t q = 0; q < Q; ++q) {
              Scalar sum = Scalar(0);
              for (index_t d = o * step.d; d < std::min(o * step.d + k.d, x.extent(2)); ++d)
                for (index_t h = p * step.h; h < std::min(p * step.h + k.h, x.extent(3)); ++h)
                  for (index_t w = q * step.w; w < std::min(q * step.w + k.w, x.extent(4)); ++w) {
                    const Scalar value = x(n, c, d, h, w);
                    if (value == Scalar(0)) continue;
                    sum += exp(p_norm * log(value < Scalar(0) ? Scalar(-value) : value));
                  }
              y(n, c, o, p, q) = sum == Scalar(0) ? Scalar(0) : Scalar(exp(log(sum) / p_norm));
            }
  }

  // Definition 2: gradients from the cotangent dy and the saved y -------------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& out,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    using std::exp;
    using std::log;
    const auto x = in_three_axes(in["x"]), y = in_three_axes(out["y"]), dy = in_three_axes(cotangent["dy"]);
    const auto dx = in_three_axes(gradient["dx"]);
    for (index_t i = 0; i < dx.size(); ++i) gradient["dx"][i] = Scalar(0);
    const index_t D = x.extent(2), H = x.extent(3), W = x.extent(4);
    const three_axes k = in_three_axes<Rank>(window, 1), step = in_three_axes<Rank>(stride, 1);
    for_each_index(y.extents(), [&](const shape& at) {
      const Scalar length = y(at);
      for (index_t t = 0; t < k.d; ++t)
        for (index_t r = 0; r < k.h; ++r)
          for (index_t s = 0; s < k.w; ++s) {
            const index_t d = at[2] * step.d + t, h = at[3] * step.h + r, w = at[4] * step.w + s;
            if (d >= D || h >= H || w >= W) continue;
            const Scalar value = x(at[0], at[1], d, h, w);
            if (value == Scalar(0)) continue;  // the only case of an all-zero window
            const Scalar magnitude = value < Scalar(0) ? Scalar(-value) : value;
            const Scalar slope = exp((norm.as<Scalar>() - Scalar(1)) * log(magnitude / length));
            dx(at[0], at[1], d, h, w) += value < Scalar(0) ? Scalar(-dy(at) * slope) : Scalar(dy(at) * slope);
          }
    });
  }

  // Definition 3: the explicit Jacobian, from x alone -------------------------------------------------------

  /// |x|^(norm-1) · (Σ|x|^norm)^(1/norm - 1), cell by cell: a cell belongs to the window that starts at most
  /// `window` - 1 cells before it.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    using std::exp;
    using std::log;
    const auto x = in["x"];
    shape_map shapes;
    shapes.set("x", x.extents());
    const Scalar p = norm.as<Scalar>();
    index_t row = 0;
    for_each_index(output_shapes(shapes)["y"], [&](const shape& at) {
      std::vector<index_t> cells;
      index_t cell = 0;
      for_each_index(x.extents(), [&](const shape& from) {
        bool member = from[0] == at[0] && from[1] == at[1];
        for (int axis = 0; axis < Rank; ++axis) {
          const auto i = static_cast<std::size_t>(axis);
          member = member && inside(from[2 + axis] - at[2 + axis] * stride[i], window[i]);
        }
        if (member && !(x(from) == Scalar(0))) cells.push_back(cell);
        ++cell;
      });
      const auto logarithm = [&](index_t i) { return log(x[i] > Scalar(0) ? Scalar(x[i]) : Scalar(-x[i])); };
      Scalar sum = Scalar(0);
      for (const index_t i : cells) sum += exp(logarithm(i) * p);
      for (const index_t i : cells) {
        const Scalar slope = exp((p - Scalar(1)) * logarithm(i) + (Scalar(1) / p - Scalar(1)) * log(sum));
        emit("y", row, "x", i, x[i] > Scalar(0) ? slope : Scalar(-slope));
      }
      ++row;
    });
  }

  /// The signs of x: for norm = 1 a changed sign is a kink.
  template <class Scalar>
  std::vector<index_t> winners(const bundle<const Scalar>& in) const {
    std::vector<index_t> signs;
    for (index_t i = 0; i < in["x"].size(); ++i)
      signs.push_back(in["x"][i] > Scalar(0) ? 1 : in["x"][i] < Scalar(0) ? -1 : 0);
    return signs;
  }
};

}  // namespace plumb
