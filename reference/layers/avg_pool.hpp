// Average pooling of rank 1, 2 or 3 (LeCun et al. 1998): the mean of each window. Along each axis the window
// of output o covers the cells [a, b) of the padded input, of which [a′, b′) lie inside:
//
//   a = o·stride - pad    b = min(a + window, I + pad)    a′ = max(a, 0)    b′ = min(b, I)
//   y[n,c,o,p,q] = Σ of x[n,c,d,h,w] over a′ ≤ d,h,w < b′  /  divisor
//
//   divisor            divisor_override if given, else the product over the axes of b - a
//                      (count_include_pad=true, the default: padding counts as zeros) or of b′ - a′ (false).
//                      What a ceil-mode window overhangs beyond the padding never counts.
//   window             required; stride = window unless given; pad per side
//   ceil_mode          O = floor((I + pads - k) / stride) + 1, with ceil instead of floor if true; the last
//                      window must then start inside x or its leading padding, or it is dropped
//   divisor_override   at least 1
// A pad may be at most half of the window. In rank 3 the window must not be longer than x itself.
// NaN and infinities spread as sums do.
// Shapes: x = N,C,[D,][H,]W   y = N,C,[O,][P,]Q.   Conventions as torch 1.13.1; an empty batch is legal.
//
// Gradient: every cell of a window gets the same share of its cotangent; shares of several windows add up:
//   dx[n,c,d,h,w] = Σ over the windows (o,p,q) that hold the cell of  dy[n,c,o,p,q] / divisor(o,p,q)
// The explicit Jacobian is 1/divisor where a window holds a cell.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/pooling.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct avg_pool {
  per_axis<Rank> window = {};  // 0: not given, which is an error
  per_axis<Rank> stride = {};
  per_side<Rank> pad = {};
  bool ceil_mode = false;
  bool count_include_pad = true;
  index_t divisor_override = 0;  // 0: not given

  static constexpr std::string_view formula = "y[n,c,p,q] = Σ_{r,s} x[n, c, p·stride - pad + r, …] / divisor";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const avg_pool&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("window", self.window, at_least(1));
    visit("stride", self.stride, at_least(1), self.window);
    visit("pad", self.pad, at_least(0));
    visit("ceil_mode", self.ceil_mode);
    visit("count_include_pad", self.count_include_pad);
    visit("divisor_override", self.divisor_override, at_least(1), index_t{0});
  }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = letters_of_input[Rank - 1]}},
            .outputs = {{.name = "y", .axes = letters_of_windows[Rank - 1]}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}},
                       {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    require_rank("x", x, Rank + 2, axes_of_input[Rank - 1], true);
    shape y{x[0], x[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const window_axis a{
          axis_letter(Rank, axis), x[2 + axis], window[i], stride[i], 1, pad.begin[i], pad.end[i]};
      if (Rank == 3 && window[i] > x[2 + axis])
        throw shape_error("axis " + std::string(1, a.letter) + ": window=" + std::to_string(window[i]) +
                          " is longer than the " + std::to_string(x[2 + axis]) +
                          " cells of x; in rank 3 it must fit without padding");
      y.push_back(windows_along(a, ceil_mode));
    }
    shape_map out;
    out.set("y", y);
    return out;
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto [N, C, D, H, W] = extents_of(x);
    for (index_t o = 0; o < y.extent(2); ++o)
      for (index_t p = 0; p < y.extent(3); ++p)
        for (index_t q = 0; q < y.extent(4); ++q) {
          const slice d = window_of(o, 0, D), h = window_of(p, 1, H), w = window_of(q, 2, W);
          index_t divisor = d.inside() * h.inside() * w.inside();
          if (count_include_pad) divisor = d.covered * h.covered * w.covered;
          if (divisor_override != 0) divisor = divisor_override;
          for (index_t n = 0; n < N; ++n)
            for (index_t c = 0; c < C; ++c) {
              Scalar sum = Scalar(0);
              for (index_t i = d.first; i < d.last; ++i)
                for (index_t j = h.first; j < h.last; ++j)
                  for (index_t k = w.first; k < w.last; ++k) sum += x(n, c, i, j, k);
              y(n, c, o, p, q) = sum / Scalar(divisor);
            }
        }
  }

  // Definition 2: gradients from the cotangent dy, no Jacobian formed ---------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = in_three_axes(cotangent["dy"]);
    const auto dx = in_three_axes(gradient["dx"]);
    for (index_t i = 0; i < dx.size(); ++i) gradient["dx"][i] = Scalar(0);
    const auto [N, C, O, P, Q] = extents_of(dy);
    const three_axes k = in_three_axes<Rank>(window, 1), step = in_three_axes<Rank>(stride, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0), after = in_three_axes<Rank>(pad.end, 0);
    const index_t D = dx.extent(2), H = dx.extent(3), W = dx.extent(4);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t o = 0; o < O; ++o)
          for (index_t p = 0; p < P; ++p)
            for (index_t q = 0; q < Q; ++q) {
              const index_t d0 = o * step.d - before.d, d1 = std::min(d0 + k.d, D + after.d);
              const index_t h0 = p * step.h - before.h, h1 = std::min(h0 + k.h, H + after.h);
              const index_t w0 = q * step.w - before.w, w1 = std::min(w0 + k.w, W + after.w);
              const index_t a = std::max<index_t>(d0, 0), A = std::min(d1, D);
              const index_t b = std::max<index_t>(h0, 0), B = std::min(h1, H);
              const index_t e = std::max<index_t>(w0, 0), E = std::min(w1, W);
              const index_t divisor = divisor_override != 0 ? divisor_override
                                      : count_include_pad   ? (d1 - d0) * (h1 - h0) * (w1 - w0)
                                                            : (A - a) * (B - b) * (E - e);
              for (index_t d = a; d < A; ++d)
                for (index_t h = b; h < B; ++h)
                  for (index_t w = e; w < E; ++w) dx(n, c, d, h, w) += dy(n, c, o, p, q) / Scalar(divisor);
            }
  }

  // Definition 3: the explicit Jacobian, entry by entry -----------------------------------------------------

  /// Cells and what they count for are collected tap by tap, axis by axis: a tap inside x is a cell and
  /// counts, one in the padding counts if padding does, one beyond it never.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    shape_map shapes;
    shapes.set("x", in["x"].extents());
    const shape x = shapes["x"], y = output_shapes(shapes)["y"];
    index_t row = 0;
    for_each_index(y, [&](const shape& at) {
      std::vector<index_t> cells = {at[0] * x[1] + at[1]};
      index_t count = 1;
      for (int axis = 0; axis < Rank; ++axis) {
        const auto i = static_cast<std::size_t>(axis);
        const index_t I = x[2 + axis];
        std::vector<index_t> taps;
        index_t counted = 0;
        for (index_t t = 0; t < window[i]; ++t) {
          const index_t cell = at[2 + axis] * stride[i] + t - pad.begin[i];
          if (inside(cell, I)) taps.push_back(cell);
          if (inside(cell, I) || (count_include_pad && cell < I + pad.end[i])) ++counted;
        }
        std::vector<index_t> finer;
        for (const index_t outer : cells)
          for (const index_t cell : taps) finer.push_back(outer * I + cell);
        cells = finer;
        count *= counted;
      }
      if (divisor_override != 0) count = divisor_override;
      for (const index_t cell : cells) emit("y", row, "x", cell, Scalar(1) / Scalar(count));
      ++row;
    });
  }

 private:
  /// The window of one output along one axis: its cells inside x, and how many of the padded input it covers.
  struct slice {
    index_t first, last, covered;
    index_t inside() const { return last - first; }
  };

  /// `three`: 0 depth, 1 height, 2 width; an axis that this rank lacks has a window of one cell.
  slice window_of(index_t output, int three, index_t cells) const {
    const int axis = three - (3 - Rank);
    if (axis < 0) return {0, 1, 1};
    const auto i = static_cast<std::size_t>(axis);
    const index_t start = output * stride[i] - pad.begin[i];
    const index_t end = std::min(start + window[i], cells + pad.end[i]);
    return {std::max<index_t>(start, 0), std::min(end, cells), end - start};
  }
};

}  // namespace plumb
