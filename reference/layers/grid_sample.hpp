// Sampling an image along a grid (Jaderberg et al. 2015, "Spatial transformer networks"): output (p,q) looks
// at the place that grid[n,p,q] names, relative to the image: (-1,-1) is its upper left end, (1,1) its lower
// right.
//
//   w = place(grid[n,p,q,0], W),  h = place(grid[n,p,q,1], H)          in cells of x
//   bilinear   y[n,c,p,q] = Σ_{i,j} max(0, 1-|h-i|)·max(0, 1-|w-j|) · x[n,c,i,j]       the four cells around
//   nearest    y[n,c,p,q] = x[n, c, round(h), round(w)]                  halves to the even cell
//
// place(g, I), for an axis of I cells:
//   align_corners   true: v = (g+1)/2·(I-1), ±1 are the centres of the border cells
//                   false: v = ((g+1)·I - 1)/2, ±1 are their outer edges
//   padding         zeros: v as it is; cells outside x are 0.   border: v clipped to [0, I-1]
//                   reflection: v mirrored at the ends ±1 until it lies between them, then clipped alike
// Shapes: x = N,C,H,W   grid = N,P,Q,2   y = N,C,P,Q.   Conventions as torch 1.13.1. A coordinate that is not
// finite names no place, and what is read there is unspecified.
//
// Gradients:
//   dx[n,c,i,j]     = Σ_pq dy[n,c,p,q] · (weight of cell (i,j) in output (p,q))
//   dgrid[n,p,q,0]  = place′ · Σ_c dy[n,c,p,q] · Σ_i max(0, 1-|h-i|)·(x[n,c,i,⌊w⌋+1] - x[n,c,i,⌊w⌋])
//   dgrid[n,p,q,1]  alike, with the axes exchanged
// place′ is I/2 or (I-1)/2, negated where the place was mirrored an odd number of times, 0 where it was
// clipped (its limits included), and 0 for nearest. Where w is whole the slope is the one to its right.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/layers/whole_numbers.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

enum class sampling_mode : std::uint8_t { bilinear, nearest };
template <>
struct choices<sampling_mode> {
  static constexpr std::array<std::string_view, 2> names = {"bilinear", "nearest"};
};
enum class outside_rule : std::uint8_t { zeros, border, reflection };
template <>
struct choices<outside_rule> {
  static constexpr std::array<std::string_view, 3> names = {"zeros", "border", "reflection"};
};

struct grid_sample2d {
  sampling_mode mode = sampling_mode::bilinear;
  outside_rule padding = outside_rule::zeros;
  bool align_corners = false;

  static constexpr std::string_view formula =
      "y[n,c,p,q] = x[n, c, at grid[n,p,q]], between four cells or the nearest";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // piecewise, in each of the two coordinates too
  bool operator==(const grid_sample2d&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("mode", self.mode);
    visit("padding", self.padding);
    visit("align_corners", self.align_corners);
  }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nchw"},
                       {.name = "grid", .values = domain::position, .axes = "npq2"}},
            .outputs = {{.name = "y", .axes = "ncpq"}},
            .passes = {{.name = "forward", .reads = {"x", "grid"}, .writes = {"y"}, .linear_in = {{"x"}}},
                       {.name = "backward",
                        .reads = {"dy", "x", "grid"},
                        .writes = {"dx", "dgrid"},
                        .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"], grid = in["grid"];
    require_rank("x", x, 4, "N,C,H,W", true);
    require_rank("grid", grid, 4, "N,P,Q,2", true);
    if (grid[0] != x[0] || grid[3] != 2)
      throw shape_error(named("grid", grid) + " does not name two coordinates a place for " + named("x", x) +
                        "; expected grid=" + std::to_string(x[0]) + ",P,Q,2");
    shape_map out;
    out.set("y", {x[0], x[1], grid[1], grid[2]});
    return out;
  }

  // Definition 1: the formula -------------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"], grid = in["grid"];
    const auto y = out["y"];
    const index_t H = x.extent(2), W = x.extent(3);
    for (index_t n = 0; n < y.extent(0); ++n)
      for (index_t p = 0; p < y.extent(2); ++p)
        for (index_t q = 0; q < y.extent(3); ++q) {
          const Scalar w = place<Scalar>(grid(n, p, q, 0), W), h = place<Scalar>(grid(n, p, q, 1), H);
          for (index_t c = 0; c < y.extent(1); ++c) {
            const auto cell = [&](index_t i, index_t j) {
              return inside(i, H) && inside(j, W) ? x(n, c, i, j) : Scalar(0);
            };
            if (mode == sampling_mode::nearest) {
              y(n, c, p, q) = cell(nearest_to(h), nearest_to(w));
              continue;
            }
            const index_t i = floor_of(h), j = floor_of(w);
            const Scalar s = h - Scalar(i), t = w - Scalar(j);
            const Scalar upper = (Scalar(1) - t) * cell(i, j) + t * cell(i, j + 1);
            const Scalar lower = (Scalar(1) - t) * cell(i + 1, j) + t * cell(i + 1, j + 1);
            y(n, c, p, q) = (Scalar(1) - s) * upper + s * lower;
          }
        }
  }

  // Definition 2: gradients from the cotangent dy -----------------------------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto x = in["x"], grid = in["grid"], dy = cotangent["dy"];
    for (const auto& e : gradient.entries())
      for (index_t i = 0; i < e.real.size(); ++i) e.real[i] = Scalar(0);
    for_each_index(dy.extents(), [&](const shape& at) {
      const index_t n = at[0], c = at[1], p = at[2], q = at[3];
      const located<Scalar> across = locate<Scalar>(grid(n, p, q, 0), x.extent(3));
      const located<Scalar> down = locate<Scalar>(grid(n, p, q, 1), x.extent(2));
      for (int corner = 0; corner < 4; ++corner) {
        const int below = corner / 2, right = corner % 2;
        const index_t i = down.cell + below, j = across.cell + right;
        if (!inside(i, x.extent(2)) || !inside(j, x.extent(3))) continue;
        const Scalar& tall = down.share[static_cast<std::size_t>(below)];
        const Scalar& wide = across.share[static_cast<std::size_t>(right)];
        if (gradient.has("dx")) gradient["dx"](n, c, i, j) += dy(at) * tall * wide;
        if (!gradient.has("dgrid")) continue;
        const Scalar product = dy(at) * x(n, c, i, j);
        gradient["dgrid"](n, p, q, 0) +=
            right == 1 ? product * tall * across.slope : -product * tall * across.slope;
        gradient["dgrid"](n, p, q, 1) +=
            below == 1 ? product * wide * down.slope : -product * wide * down.slope;
      }
    });
  }

  // Definition 3: the explicit Jacobian, cell by cell -------------------------------------------------------

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"], grid = in["grid"];
    const index_t C = x.extent(1), H = x.extent(2), W = x.extent(3), P = grid.extent(1), Q = grid.extent(2);
    for (index_t at = 0; at < x.extent(0) * P * Q; ++at) {
      const index_t n = at / (P * Q), output = at % (P * Q);
      const auto [w, w_slope] = triangle<Scalar>(grid[2 * at], W);
      const auto [h, h_slope] = triangle<Scalar>(grid[2 * at + 1], H);
      for (index_t c = 0; c < C; ++c)
        for (index_t i = 0; i < H; ++i)
          for (index_t j = 0; j < W; ++j) {
            const index_t row = (n * C + c) * P * Q + output, column = ((n * C + c) * H + i) * W + j;
            const auto [tall, tall_slope] = share_of<Scalar>(h, i);
            const auto [wide, wide_slope] = share_of<Scalar>(w, j);
            if ((tall == Scalar(0) && tall_slope == Scalar(0)) ||
                (wide == Scalar(0) && wide_slope == Scalar(0)))
              continue;  // the output does not see this cell
            emit("y", row, "x", column, tall * wide);
            emit("y", row, "grid", 2 * at, wide_slope * w_slope * tall * x[column]);
            emit("y", row, "grid", 2 * at + 1, tall_slope * h_slope * wide * x[column]);
          }
    }
  }

  /// Which cell each coordinate chooses, before it is mirrored or clipped: mirrors and limits are kinks
  /// between cells.
  template <class Scalar>
  std::vector<index_t> winners(const bundle<const Scalar>& in) const {
    const auto grid = in["grid"];
    std::vector<index_t> cells;
    for (index_t i = 0; i < grid.size(); ++i) {
      const Scalar v = unnormalised<Scalar>(grid[i], in["x"].extent(i % 2 == 0 ? 3 : 2));
      cells.push_back(mode == sampling_mode::nearest ? nearest_to(v) : floor_of(v));
    }
    return cells;
  }

 private:
  template <class Scalar>
  Scalar unnormalised(const Scalar& g, index_t I) const {
    if (align_corners) return (g + Scalar(1)) / Scalar(2) * Scalar(I - 1);
    return ((g + Scalar(1)) * Scalar(I) - Scalar(1)) / Scalar(2);
  }

  template <class Scalar>
  Scalar place(const Scalar& g, index_t I) const {
    Scalar v = unnormalised(g, I);
    if (padding == outside_rule::zeros) return v;
    if (padding == outside_rule::reflection) v = mirrored(v, I);
    if (!(v > Scalar(0))) return Scalar(0);
    return v >= Scalar(I - 1) ? Scalar(I - 1) : v;
  }

  /// Folded at the ends: between them an even number of lengths away from the first, backwards an odd number
  /// away.
  template <class Scalar>
  Scalar mirrored(const Scalar& v, index_t I) const {
    const Scalar first = align_corners ? Scalar(0) : Scalar(-1) / Scalar(2);
    const index_t length = align_corners ? I - 1 : I;
    if (length == 0) return Scalar(0);
    const Scalar distance = v < first ? first - v : v - first;
    const index_t lengths = floor_of(Scalar(distance / Scalar(length)));
    const Scalar rest = distance - Scalar(lengths) * Scalar(length);
    return lengths % 2 == 0 ? first + rest : first + Scalar(length) - rest;
  }

  /// Halves go to the even neighbour, as the IEEE rounding does.
  template <class Scalar>
  static index_t nearest_to(const Scalar& v) {
    const Scalar raised = v + Scalar(1) / Scalar(2);
    const index_t cell = floor_of(raised);
    return raised == Scalar(cell) && cell % 2 != 0 ? cell - 1 : cell;
  }

  /// Where a coordinate reads: two neighbouring cells, their shares, and by how much the place moves with it.
  template <class Scalar>
  struct located {
    index_t cell;
    std::array<Scalar, 2> share;
    Scalar slope;
  };

  template <class Scalar>
  located<Scalar> locate(const Scalar& g, index_t I) const {
    const Scalar half = Scalar(1) / Scalar(2), last = Scalar(I - 1);
    Scalar slope = (align_corners ? Scalar(I - 1) : Scalar(I)) * half;
    Scalar v = slope * g + last * half;
    if (padding == outside_rule::reflection) {
      const Scalar low = align_corners ? Scalar(0) : -half, period = Scalar(4) * slope;
      if (period == Scalar(0)) {
        v = Scalar(0);
      } else {
        const index_t periods = floor_of(Scalar((v - low) / period));
        v = v - Scalar(periods) * period;
        if (v - low >= period * half) {  // on the way back
          v = period + low + low - v;
          slope = -slope;
        }
      }
    }
    if (padding != outside_rule::zeros && (v <= Scalar(0) || v >= last || is_nan(v))) {
      v = v >= last ? last : Scalar(0);
      slope = Scalar(0);
    }
    if (mode == sampling_mode::nearest) {
      const index_t under = floor_of(v);
      const Scalar rest = v - Scalar(under);
      const bool up = rest > half || (rest == half && under % 2 != 0);
      return {up ? under + 1 : under, {Scalar(1), Scalar(0)}, Scalar(0)};
    }
    const index_t cell = floor_of(v);
    return {cell, {Scalar(cell + 1) - v, v - Scalar(cell)}, slope};
  }

  /// The place and its derivative: mirrored, it is a triangle wave, the distance to the nearest whole period.
  template <class Scalar>
  std::pair<Scalar, Scalar> triangle(const Scalar& g, index_t I) const {
    const Scalar edge = align_corners ? Scalar(0) : Scalar(1) / Scalar(2),
                 length = Scalar(I - 1) + edge + edge;
    Scalar u = (g + Scalar(1)) * length / Scalar(2),
           slope = length / Scalar(2);  // from the end -1 of the image
    if (padding == outside_rule::reflection && length > Scalar(0)) {
      const index_t nearest = floor_of(Scalar(u / (length + length) + Scalar(1) / Scalar(2)));
      u -= Scalar(nearest) * (length + length);
      if (u < Scalar(0)) {
        u = -u;
        slope = -slope;
      }
    }
    if (padding != outside_rule::zeros) {
      if (u >= Scalar(I - 1) + edge) return {Scalar(I - 1), Scalar(0)};
      if (!(u > edge)) return {Scalar(0), Scalar(0)};
    }
    return {u - edge, slope};
  }

  /// The share of cell i at the place v, and its slope.
  template <class Scalar>
  std::pair<Scalar, Scalar> share_of(const Scalar& v, index_t i) const {
    const Scalar ahead = v - Scalar(i), half = Scalar(1) / Scalar(2);
    if (mode == sampling_mode::nearest) {
      const bool tie = ahead == half || ahead == -half;
      return {Scalar(tie ? i % 2 == 0 : -half < ahead && ahead < half), Scalar(0)};
    }
    if (Scalar(-1) <= ahead && ahead < Scalar(0)) return {Scalar(1) + ahead, Scalar(1)};
    if (Scalar(0) <= ahead && ahead < Scalar(1)) return {Scalar(1) - ahead, Scalar(-1)};
    return {Scalar(0), Scalar(0)};
  }
};

}  // namespace plumb
