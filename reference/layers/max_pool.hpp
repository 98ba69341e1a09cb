// Max pooling of rank 1, 2 or 3: the largest value in each window, and which cell it was (Ranzato et al.
// 2007; Boureau et al. 2010). With output position (o,p,q) and window cell (t,r,s):
//
//   y[n,c,o,p,q]       = max over t,r,s of  x[n, c, o·stride_d - pad_d + t·dilation_d, …, …]
//   indices[n,c,o,p,q] = the cell (d·H + h)·W + w of the plane (n,c) that won
//
// Cells outside x do not take part: padding is -∞, never 0, also for negative data.
//   ties       the first cell in scan order (d, then h, then w) wins
//   NaN        wins over every number, and the last NaN of the window over the others
//   all -∞     y = -∞ and the first cell
//   window     required; stride = window unless given; pad per side; dilation
//   ceil_mode  O = floor((I + pads - d(k-1) - 1) / stride) + 1, with ceil instead of floor if true; the last
//              window must then start inside x or its leading padding, or it is dropped
//   fit        exact: the division must leave nothing
// A pad may be at most half of the window's span d(k-1)+1, and every window must see a cell of x.
// Shapes: x = N,C,[D,][H,]W   y = indices = N,C,[O,][P,]Q.   Conventions as torch 1.13.1; an empty batch is
// legal.
//
// Gradient: each output passes its cotangent to the cell that won, where windows overlap they add up:
//   dx[n,c,cell] = Σ over the o,p,q with indices[n,c,o,p,q] = cell of  dy[n,c,o,p,q]
// At ties this is one element of Clarke's subdifferential; differences are meaningless there.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/pooling.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct max_pool {
  per_axis<Rank> window = {};  // 0: not given, which is an error
  per_axis<Rank> stride = {};
  per_side<Rank> pad = {};
  per_axis<Rank> dilation = every_axis<Rank>(1);
  bool ceil_mode = false;
  fit_rule fit = fit_rule::floor;

  static constexpr std::string_view formula =
      "y[n,c,p,q] = max_{r,s} x[n, c, p·stride - pad + r·dilation, …]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // piecewise
  bool operator==(const max_pool&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("window", self.window, at_least(1));
    visit("stride", self.stride, at_least(1), self.window);
    visit("pad", self.pad, at_least(0));
    visit("dilation", self.dilation, at_least(1));
    visit("ceil_mode", self.ceil_mode);
    visit("fit", self.fit);
  }

  signature describe() const {
    const std::array<const char*, 3> letters_of_x = {"ncw", "nchw", "ncdhw"};
    const std::array<const char*, 3> letters_of_y = {"ncq", "ncpq", "ncopq"};
    return {.inputs = {{.name = "x", .axes = letters_of_x[Rank - 1]}},
            .outputs = {{.name = "y", .axes = letters_of_y[Rank - 1]},
                        {.name = "indices",
                         .kind = element::index,
                         .differentiable = false,
                         .axes = letters_of_y[Rank - 1]}},
            .passes = {
                {.name = "forward", .reads = {"x"}, .writes = {"y", "indices"}, .selects = true},
                {.name = "backward", .reads = {"dy", "indices"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    constexpr std::array<const char*, 3> x_axes = {"N,C,W", "N,C,H,W", "N,C,D,H,W"};
    require_rank("x", x, Rank + 2, x_axes[Rank - 1], true);
    shape y{x[0], x[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const window_axis a{
          axis_letter(Rank, axis), x[2 + axis], window[i], stride[i], dilation[i], pad.begin[i], pad.end[i]};
      y.push_back(outputs_along(a));
    }
    shape_map out;
    out.set("y", y);
    out.set("indices", y);
    return out;
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto indices = in_three_axes(out.indices("indices"));
    const auto [N, C, D, H, W] = extents_of(x);
    const three_axes k = in_three_axes<Rank>(window, 1), step = in_three_axes<Rank>(stride, 1);
    const three_axes gap = in_three_axes<Rank>(dilation, 1), before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t o = 0; o < y.extent(2); ++o)
          for (index_t p = 0; p < y.extent(3); ++p)
            for (index_t q = 0; q < y.extent(4); ++q) {
              Scalar best = Scalar(0);  // starts at the first cell: rationals have no -∞ to start from
              index_t winner = -1;
              for (index_t t = 0; t < k.d; ++t)
                for (index_t r = 0; r < k.h; ++r)
                  for (index_t s = 0; s < k.w; ++s) {
                    const index_t d = o * step.d - before.d + t * gap.d;
                    const index_t h = p * step.h - before.h + r * gap.h;
                    const index_t w = q * step.w - before.w + s * gap.w;
                    if (!inside(d, D) || !inside(h, H) || !inside(w, W)) continue;
                    const Scalar value = x(n, c, d, h, w);
                    if (winner < 0 || value > best || is_nan(value)) {
                      best = value;
                      winner = (d * H + h) * W + w;
                    }
                  }
              y(n, c, o, p, q) = best;
              indices(n, c, o, p, q) = winner;
            }
  }

  // Definition 2: gradients from the cotangent dy and the saved indices -------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& out,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto indices = out.indices("indices");
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = Scalar(0);
    if (dx.size() == 0) return;
    const index_t planes = dx.extent(0) * dx.extent(1);
    const index_t cells = dx.size() / planes, outputs = dy.size() / planes;
    for (index_t i = 0; i < dy.size(); ++i) {
      const index_t cell = indices[i];
      require_cell(i, cell, cells);
      dx[i / outputs * cells + cell] += dy[i];
    }
  }

  // Definition 3: the explicit Jacobian, from x alone
  // --------------------------------------------------------

  /// ∂y/∂x is 1 at the cell of the window that no other cell beats, and 0 elsewhere.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"];
    shape_map shapes;
    shapes.set("x", x.extents());
    const shape y = output_shapes(shapes)["y"];
    index_t row = 0;
    for_each_index(y, [&](const shape& at) {
      const std::vector<index_t> cells = window_cells(at, x.extents());
      for (const index_t cell : cells) {
        const bool beaten = std::ranges::any_of(
            cells, [&](index_t other) { return other != cell && beats(x[other], other, x[cell], cell); });
        if (!beaten) emit("y", row, "x", cell, Scalar(1));
      }
      ++row;
    });
  }

  /// The winning cell of every window: a changed list means that a kink was crossed.
  template <class Scalar>
  std::vector<index_t> winners(const bundle<const Scalar>& in) const {
    return winning_cells(*this, in);
  }

  /// Saved indices are cells of one plane of x.
  index_t index_bound(std::string_view /*indices*/, const shape_map& shapes) const {
    return plane_size(shapes["x"]);
  }

 private:
  index_t outputs_along(const window_axis& a) const {
    if (fit == fit_rule::exact && a.fits()) require_exact_fit(a);
    const index_t outputs = windows_along(a, ceil_mode);
    require_cells(a, outputs);
    return outputs;
  }

  /// With wide gaps between the taps a window can step over all of a small x; such a window has no maximum.
  static void require_cells(const window_axis& a, index_t outputs) {
    for (index_t o = 0; o < outputs && o * a.stride < a.begin; ++o) {
      const index_t start = o * a.stride - a.begin;
      if (start + (-start + a.dilation - 1) / a.dilation * a.dilation < a.in) continue;
      throw shape_error("axis " + std::string(1, a.letter) + ": window " + std::to_string(o) +
                        " steps over all " + std::to_string(a.in) + " cells of x with dilation=" +
                        std::to_string(a.dilation) + "; every window must see a cell");
    }
  }

  /// Whether a value at a cell wins against another one.
  template <class Scalar>
  static bool beats(const Scalar& a, index_t a_cell, const Scalar& b, index_t b_cell) {
    if (is_nan(a) || is_nan(b)) return is_nan(a) && (!is_nan(b) || a_cell > b_cell);
    return a == b ? a_cell < b_cell : a > b;
  }

  /// Row-major numbers in x of the cells of the window of one output, found cell by cell: a cell belongs to
  /// it if its distance from the window's start is a multiple of the dilation, inside the window, on every
  /// axis.
  std::vector<index_t> window_cells(const shape& output, const shape& x) const {
    std::vector<index_t> cells = {output[0] * x[1] + output[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      std::vector<index_t> finer;
      for (const index_t cell : cells)
        for (index_t at = 0; at < x[2 + axis]; ++at) {
          const index_t distance = at - (output[2 + axis] * stride[i] - pad.begin[i]);
          if (distance >= 0 && distance % dilation[i] == 0 && distance / dilation[i] < window[i])
            finer.push_back(cell * x[2 + axis] + at);
        }
      cells = finer;
    }
    return cells;
  }
};

}  // namespace plumb
