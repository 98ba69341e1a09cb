// Adaptive pooling of rank 1, 2 or 3: as many windows as outputs are asked for, whatever the size of the
// input (He et al. 2014, "Spatial pyramid pooling"). Along an axis of I cells and O outputs the window of
// output o is
//
//   start(o) ≤ i < end(o),     start(o) = floor(o·I / O)     end(o) = ceil((o+1)·I / O)
//
// in integers. The windows overlap where O does not divide I; O > I repeats cells, O = I copies x.
//   adaptive_avg_pool   y[n,c,o,p,q] = mean of x[n,c,d,h,w] over the window
//   adaptive_max_pool   y[n,c,o,p,q] = maximum over the window
//                       indices[n,c,o,p,q] = the cell (d·H + h)·W + w of the plane that won
//                       ties: the first cell in scan order (d, then h, then w) wins
//                       NaN: wins over every number, and the last NaN of the window over the others
//                       all -∞: y = -∞ and the first cell
//   output              O×P×Q, required; 0 gives an empty y
// Shapes: x = N,C,[D,][H,]W   y = indices = N,C,[O,][P,]Q
// Conventions as torch 1.13.1; an empty batch is legal.
//
// Gradients, with dy the cotangent of y:
//   adaptive_avg_pool   dx[n,c,d,h,w] = Σ over the windows that hold the cell of  dy / cells of the window
//   adaptive_max_pool   dx[n,c,cell] = Σ over the o,p,q with indices[n,c,o,p,q] = cell of  dy[n,c,o,p,q]
// In the explicit Jacobians a window holds cell i if the real intervals (i, i+1) and (o·I/O, (o+1)·I/O) meet;
// the entries are 1/cells, and 1 at the cell that no other beats.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/pooling.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

/// Attribute and shape rule of both.
template <int Rank>
struct adaptive_windows {
  per_axis<Rank> output = every_axis<Rank>(-1);  // not given, which is an error
  bool operator==(const adaptive_windows&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("output", self.output, at_least(0)); }

  /// N,C and the outputs. Throws shape_error.
  shape pooled(const shape& x) const {
    require_rank("x", x, Rank + 2, axes_of_input[Rank - 1], true);
    shape y{x[0], x[1]};
    for (const index_t extent : output) y.push_back(extent);
    return y;
  }
};

template <int Rank>
struct adaptive_avg_pool : adaptive_windows<Rank> {
  static constexpr std::string_view formula = "y[n,c,p,q] = mean of x[n,c,h,w], ⌊p·H/P⌋ ≤ h < ⌈(p+1)·H/P⌉, …";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const adaptive_avg_pool&) const = default;

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = letters_of_input[Rank - 1]}},
            .outputs = {{.name = "y", .axes = letters_of_windows[Rank - 1]}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}},
                       {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    shape_map out;
    out.set("y", this->pooled(in["x"]));
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const index_t D = x.extent(2), H = x.extent(3), W = x.extent(4);
    const index_t O = y.extent(2), P = y.extent(3), Q = y.extent(4);
    for_each_index(y.extents(), [&](const shape& at) {
      const index_t d0 = at[2] * D / O, d1 = ((at[2] + 1) * D + O - 1) / O;
      const index_t h0 = at[3] * H / P, h1 = ((at[3] + 1) * H + P - 1) / P;
      const index_t w0 = at[4] * W / Q, w1 = ((at[4] + 1) * W + Q - 1) / Q;
      Scalar sum = Scalar(0);
      for (index_t d = d0; d < d1; ++d)
        for (index_t h = h0; h < h1; ++h)
          for (index_t w = w0; w < w1; ++w) sum += x(at[0], at[1], d, h, w);
      y(at) = sum / Scalar((d1 - d0) * (h1 - h0) * (w1 - w0));
    });
  }

  /// From the side of the cell: windows ⌊i·O/I⌋ to ⌈(i+1)·O/I⌉ - 1 hold cell i, and window o has
  /// ⌊((o+1)·I - 1) / O⌋ - ⌊o·I/O⌋ + 1 cells.
  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = in_three_axes(cotangent["dy"]);
    const auto dx = in_three_axes(gradient["dx"]);
    const auto cells = [&](int axis, index_t o) {
      const index_t I = dx.extent(axis), O = dy.extent(axis);
      return ((o + 1) * I - 1) / O - o * I / O + 1;
    };
    const auto first = [&](int axis, index_t i) { return i * dy.extent(axis) / dx.extent(axis); };
    const auto last = [&](int axis, index_t i) { return ((i + 1) * dy.extent(axis) - 1) / dx.extent(axis); };
    for_each_index(dx.extents(), [&](const shape& at) {
      Scalar sum = Scalar(0);
      for (index_t o = first(2, at[2]); o <= last(2, at[2]) && dy.size() > 0; ++o)
        for (index_t p = first(3, at[3]); p <= last(3, at[3]); ++p)
          for (index_t q = first(4, at[4]); q <= last(4, at[4]); ++q)
            sum += dy(at[0], at[1], o, p, q) / Scalar(cells(2, o) * cells(3, p) * cells(4, q));
      dx(at) = sum;
    });
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents(), y = this->pooled(x);
    index_t row = 0;
    for_each_index(y, [&](const shape& at) {
      std::vector<index_t> cells = {at[0] * x[1] + at[1]};
      for (int axis = 2; axis < Rank + 2; ++axis) {
        std::vector<index_t> finer;
        for (const index_t outer : cells)
          for (index_t i = 0; i < x[axis]; ++i)
            if (i * y[axis] < (at[axis] + 1) * x[axis] && at[axis] * x[axis] < (i + 1) * y[axis])
              finer.push_back(outer * x[axis] + i);
        cells = finer;
      }
      for (const index_t cell : cells) emit("y", row, "x", cell, Scalar(1) / Scalar(cells.size()));
      ++row;
    });
  }
};

template <int Rank>
struct adaptive_max_pool : adaptive_windows<Rank> {
  static constexpr std::string_view formula = "y[n,c,p,q] = max of x[n,c,h,w], ⌊p·H/P⌋ ≤ h < ⌈(p+1)·H/P⌉, …";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // piecewise
  bool operator==(const adaptive_max_pool&) const = default;

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = letters_of_input[Rank - 1]}},
            .outputs = {{.name = "y", .axes = letters_of_windows[Rank - 1]},
                        {.name = "indices",
                         .kind = element::index,
                         .differentiable = false,
                         .axes = letters_of_windows[Rank - 1]}},
            .passes = {
                {.name = "forward", .reads = {"x"}, .writes = {"y", "indices"}, .selects = true},
                {.name = "backward", .reads = {"dy", "indices"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    shape_map out;
    out.set("y", this->pooled(in["x"]));
    out.set("indices", this->pooled(in["x"]));
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto indices = in_three_axes(out.indices("indices"));
    const index_t D = x.extent(2), H = x.extent(3), W = x.extent(4);
    const index_t O = y.extent(2), P = y.extent(3), Q = y.extent(4);
    for_each_index(y.extents(), [&](const shape& at) {
      Scalar best = Scalar(0);  // starts at the first cell: rationals have no -∞ to start from
      index_t winner = -1;
      for (index_t d = at[2] * D / O; d < ((at[2] + 1) * D + O - 1) / O; ++d)
        for (index_t h = at[3] * H / P; h < ((at[3] + 1) * H + P - 1) / P; ++h)
          for (index_t w = at[4] * W / Q; w < ((at[4] + 1) * W + Q - 1) / Q; ++w) {
            const Scalar value = x(at[0], at[1], d, h, w);
            if (winner < 0 || value > best || is_nan(value)) {
              best = value;
              winner = (d * H + h) * W + w;
            }
          }
      y(at) = best;
      indices(at) = winner;
    });
  }

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& out,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto indices = out.indices("indices");
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = Scalar(0);
    const index_t cells = plane_size(dx.extents()), outputs = plane_size(dy.extents());
    for (index_t i = 0; i < dy.size(); ++i) {
      require_cell(i, indices[i], cells);
      dx[i / outputs * cells + indices[i]] += dy[i];
    }
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"];
    const shape y = this->pooled(x.extents());
    index_t row = 0;
    for_each_index(y, [&](const shape& at) {
      std::vector<index_t> cells = {at[0] * x.extent(1) + at[1]};
      for (int axis = 2; axis < Rank + 2; ++axis) {
        const index_t I = x.extent(axis), O = y[axis];
        std::vector<index_t> finer;
        for (const index_t outer : cells)
          for (index_t i = 0; i < I; ++i)
            if (i * O < (at[axis] + 1) * I && at[axis] * I < (i + 1) * O) finer.push_back(outer * I + i);
        cells = finer;
      }
      for (const index_t cell : cells)
        if (std::ranges::none_of(cells, [&](index_t other) { return beats(x[other], other, x[cell], cell); }))
          emit("y", row, "x", cell, Scalar(1));
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
  /// Whether a value at a cell wins against another one; not against itself.
  template <class Scalar>
  static bool beats(const Scalar& a, index_t a_cell, const Scalar& b, index_t b_cell) {
    if (is_nan(a) || is_nan(b)) return is_nan(a) && (!is_nan(b) || a_cell > b_cell);
    return a == b ? a_cell < b_cell : a > b;
  }
};

}  // namespace plumb
