// Linear, bilinear and trilinear upsampling: x is read between its cells, along each axis in turn,
//
//   y[o] = (1 - λ)·x[i] + λ·x[min(i+1, I-1)],    i = ⌊s⌋,  λ = s - i,  s the position of output o in x:
//
//   align_corners = false   s = max(0, r·(o + ½) - ½), with the step r from `size` or `scale` (resize.hpp)
//   align_corners = true    s = o·(I-1)/(O-1), and 0 if O = 1: the border cells lie on each other
//   O = I                   that axis is copied, s = o, even where scale ≠ 1
//
// and over several axes the tensor product. i is found in exact integers from the decimals of `scale`, for
// every scalar; y is continuous in s, so a kernel that rounds s across a cell still comes out right. No
// anti-aliasing: when x shrinks most of its cells are not looked at.
// Shapes: x = N,C,[D,][H,]W   y = N,C,[O,][P,]Q.   Conventions as torch 1.13.1.
//
// What a kernel may get wrong (numerics 10): its s is off by a few u·(s + 1), so its weights are off by as much, and where
// s is that near to a cell its floor may fall on the other side, so that the next cell but one has a share of it: that
// much of the slope there enters the bound, which only the scalar that carries bounds looks at. At a border it may blend a
// cell with itself, ¼·x + ¾·x, which is x but for subnormal products.
//
// Gradient: the transpose, every output deals dy out to its cells by their weights. Jacobian: the weight of
// cell i in output o is the hat function max(0, 1 - |s - i|) with s held inside [0, I-1], and the product of
// these over axes.
#pragma once

#include "reference/layers/resize.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct upsample_linear : resize<Rank> {
  bool align_corners = false;

  static constexpr std::string_view formula =
      "y[o] = (1 - λ)·x[i] + λ·x[i+1], i + λ = max(0, r·(o + 1/2) - 1/2)";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const upsample_linear&) const = default;

  static void attributes(auto& self, auto&& visit) {
    resize<Rank>::attributes(self, visit);
    visit("align_corners", self.align_corners);
  }

  static constexpr double roundings_at_the_border =
      4 * Rank;  ///< two products and their share of the next axis

  // Definition 1: the formula -------------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto [along_d, along_h, along_w] = this->axes_of(x, y);
    const auto [N, C, O, P, Q] = extents_of(y);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t o = 0; o < O; ++o)
          for (index_t p = 0; p < P; ++p)
            for (index_t q = 0; q < Q; ++q) {
              const auto d = between<Scalar>(along_d, o), h = between<Scalar>(along_h, p),
                         w = between<Scalar>(along_w, q);
              const auto row = [&](index_t at_d, index_t at_h) {
                return w.weight[0] * x(n, c, at_d, at_h, w.cell[0]) +
                       w.weight[1] * x(n, c, at_d, at_h, w.cell[1]);
              };
              const auto plane = [&](index_t at_d) {
                return h.weight[0] * row(at_d, h.cell[0]) + h.weight[1] * row(at_d, h.cell[1]);
              };
              y(n, c, o, p, q) = d.weight[0] * plane(d.cell[0]) + d.weight[1] * plane(d.cell[1]);
              if constexpr (carries_bounds_v<Scalar>)
                y(n, c, o, p, q) = y(n, c, o, p, q)
                                       .blurred(across_cells(x, n, c, {along_d, along_h, along_w}, {o, p, q}))
                                       .graded(roundings_at_the_border);
            }
  }

  // Definition 2: every output deals its cotangent out ------------------------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = in_three_axes(cotangent["dy"]);
    const auto dx = in_three_axes(gradient["dx"]);
    const auto axes = this->axes_of(dx, dy);
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = Scalar(0);
    for_each_index(dy.extents(), [&](const shape& output) {
      for (int corner = 0; corner < 8; ++corner) {  // of the box of cells around the position
        shape cell = output;
        Scalar share = dy(output);
        bool exists = true;
        for (int axis = 0; axis < 3; ++axis) {
          const auto& a = axes[static_cast<std::size_t>(axis)];
          const auto [whole, over, under] = position(a, output[2 + axis]);
          const bool far = (corner >> axis & 1) != 0;
          cell[2 + axis] = far ? whole + 1 : whole;
          exists = exists && cell[2 + axis] < a.in;
          // At the end of x there is no far cell, and the near one takes all.
          if (whole < a.in - 1) share *= Scalar(far ? over : under - over) / Scalar(under);
        }
        if constexpr (carries_bounds_v<Scalar>) share = share.graded(roundings_at_the_border);
        if (exists) dx(cell) += share;
      }
      if constexpr (carries_bounds_v<Scalar>) deal_blur_out(axes, output, dy(output).value(), dx);
    });
  }

  // Definition 3: the explicit Jacobian ---------------------------------------------------------------------

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents(), y = this->resized(x);
    index_t row = 0;
    for_each_index(y, [&](const shape& output) {
      std::vector<std::pair<index_t, Scalar>> cells = {{output[0] * x[1] + output[1], Scalar(1)}};
      for (int axis = 0; axis < Rank; ++axis) {
        std::vector<std::pair<index_t, Scalar>> finer;
        for (const auto& [cell, weight] : cells)
          for (index_t i = 0; i < x[2 + axis]; ++i) {
            const Scalar hat = hat_function<Scalar>(axis, x[2 + axis], y[2 + axis], output[2 + axis], i);
            if (hat > Scalar(0)) finer.emplace_back(cell * x[2 + axis] + i, weight * hat);
          }
        cells = finer;
      }
      for (const auto& [cell, weight] : cells) emit("y", row, "x", cell, weight);
      ++row;
    });
  }

 private:
  using axis_type = typename resize<Rank>::resized_axis;

  /// The two cells around the position of output o, and their weights.
  template <class Scalar>
  struct two_cells {
    std::array<index_t, 2> cell;
    std::array<Scalar, 2> weight;
  };

  template <class Scalar>
  two_cells<Scalar> between(const axis_type& a, index_t o) const {
    if (a.out == a.in) return {{o, o}, {Scalar(1), Scalar(0)}};
    index_t i = 0;
    Scalar s = Scalar(0);
    if (align_corners && a.out > 1) {
      i = o * (a.in - 1) / (a.out - 1);
      s = Scalar(a.in - 1) / Scalar(a.out - 1) * Scalar(o);
    }
    if (!align_corners && a.over * (2 * o + 1) > a.under) {  // r·(o + ½) - ½ > 0
      i = (a.over * (2 * o + 1) - a.under) / (2 * a.under);
      s = Scalar(a.over) / Scalar(a.under) * (Scalar(2 * o + 1) / Scalar(2)) - Scalar(1) / Scalar(2);
    }
    i = std::min(i, a.in - 1);
    const Scalar lambda = s - Scalar(i);
    return {{i, std::min(i + 1, a.in - 1)}, {Scalar(1) - lambda, lambda}};
  }

  /// The position of output o as whole + over / under.
  struct mixed_number {
    index_t whole, over, under;
  };

  mixed_number position(const axis_type& a, index_t o) const {
    if (a.in == a.out) return {o, 0, 1};
    if (align_corners) {
      const index_t gaps = std::max<index_t>(1, a.out - 1);
      return {(a.in - 1) * o / gaps, (a.in - 1) * o % gaps, gaps};
    }
    const index_t twice = std::max<index_t>(0, (2 * o + 1) * a.over - a.under);
    return {std::min(twice / (2 * a.under), a.in - 1), twice % (2 * a.under), 2 * a.under};
  }

  // What a kernel may get wrong ------------------------------------------------------------------------------

  /// How far, in units of u, a kernel's position may be off: the step (two roundings), its product, the difference.
  double position_blur(const axis_type& a, index_t o) const {
    if (a.in == a.out) return 0;
    const auto [whole, over, under] = position(a, o);
    return 5 * (static_cast<double>(whole) + static_cast<double>(over) / static_cast<double>(under) + 1);
  }

  /// The cells that may have a share of output o: one beyond the two, where s is as good as on a cell.
  std::pair<index_t, index_t> reach(const axis_type& a, index_t o) const {
    if (a.in == a.out) return {o, o};
    const auto [whole, over, under] = position(a, o);
    const double share = static_cast<double>(over) / static_cast<double>(under);
    const double near = 2 * 0x1p-24 * position_blur(a, o);
    return {std::max<index_t>(0, whole - (share <= near ? 1 : 0)),
            std::min(a.in - 1, whole + (share >= 1 - near ? 2 : 1))};
  }

  /// Twice the largest magnitude within reach, times the blur of all axes: covers every slope there.
  template <class X>
  double across_cells(const X& x, index_t n, index_t c, const typename resize<Rank>::resized_axes& axes,
                      const std::array<index_t, 3>& o) const {
    double blur = 0, largest = 0;
    std::array<std::pair<index_t, index_t>, 3> cells;
    for (std::size_t i = 0; i < 3; ++i) {
      blur += position_blur(axes[i], o[i]);
      cells[i] = reach(axes[i], o[i]);
    }
    if (blur == 0) return 0;
    for (index_t d = cells[0].first; d <= cells[0].second; ++d)
      for (index_t h = cells[1].first; h <= cells[1].second; ++h)
        for (index_t w = cells[2].first; w <= cells[2].second; ++w)
          largest = std::max(largest, std::fabs(x(n, c, d, h, w).value()));
    return 2 * blur * largest;
  }

  /// The same for the gradient: every cell within reach of an output may get so much more or less of its dy.
  template <class X>
  void deal_blur_out(const typename resize<Rank>::resized_axes& axes, const shape& output, double dy,
                     const X& dx) const {
    double blur = 0;
    std::array<std::pair<index_t, index_t>, 3> cells;
    for (std::size_t i = 0; i < 3; ++i) {
      blur += position_blur(axes[i], output[2 + static_cast<int>(i)]);
      cells[i] = reach(axes[i], output[2 + static_cast<int>(i)]);
    }
    if (blur == 0) return;
    for (index_t d = cells[0].first; d <= cells[0].second; ++d)
      for (index_t h = cells[1].first; h <= cells[1].second; ++h)
        for (index_t w = cells[2].first; w <= cells[2].second; ++w) {
          auto& gradient = dx(output[0], output[1], d, h, w);
          gradient = gradient.blurred(blur * std::fabs(dy));
        }
  }

  template <class Scalar>
  Scalar hat_function(int axis, index_t I, index_t O, index_t o, index_t i) const {
    Scalar s = Scalar(o);
    if (I != O && align_corners) s = O == 1 ? Scalar(0) : Scalar(o * (I - 1)) / Scalar(O - 1);
    if (I != O && !align_corners) {
      const Scalar middle = Scalar(o) + Scalar(1) / Scalar(2);
      const Scalar r = this->scaled()
                           ? Scalar(1) / this->scale[static_cast<std::size_t>(axis)].template as<Scalar>()
                           : Scalar(I) / Scalar(O);
      s = middle * r - Scalar(1) / Scalar(2);
      if (s < Scalar(0)) s = Scalar(0);
      if (s > Scalar(I - 1)) s = Scalar(I - 1);
    }
    const Scalar hat = s < Scalar(i) ? Scalar(1) - (Scalar(i) - s) : Scalar(1) - (s - Scalar(i));
    return hat > Scalar(0) ? hat : Scalar(0);
  }
};

}  // namespace plumb
