// Padding of rank 1, 2 or 3: the image grows by pad cells on each side of each axis, or shrinks where a pad
// is negative. Along one axis of I cells, `before` in front and `after` behind, output j of O = I + before +
// after shows
//
//   constant      x[i] with i = j - before; where that is no cell of x, the attribute `value` (default 0)
//   reflection    the image mirrored at its border cells, which are not repeated:
//                   i = before - j (j < before);  j - before (j < I + before);  2(I - 1) + before - j beyond
//   replication   the nearest cell: i = clamp(j, before, I + before - 1) - before
//   circular      the image repeated: i = (j - before) mod I. A negative pad crops first, and what is left
//                   is what is repeated
//
// and over several axes y[n,c,o,p,q] = x[n, c, i(o), i(p), i(q)].
//   pad      `pad=t,b,l,r` names the sides, each may be negative
//   rules    O ≥ 1.  reflection: before < I and after < I.  circular: a pad may be as long as what it repeats
// Shapes: x = N,C,[D,][H,]W   y = N,C,[O,][P,]Q.   Conventions as torch 1.13.1 (ConstantPad, ReflectionPad,
// ReplicationPad, padding_mode circular); an empty batch is legal. Values are copied, NaN and infinities too.
//
// Gradient: the transpose. Each cell collects the cotangents of all outputs that show it,
//   dx[n,c,d,h,w] = Σ over the o,p,q with i(o) = d, i(p) = h, i(q) = w of  dy[n,c,o,p,q]
// and the explicit Jacobian has a 1 where output and cell meet.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

/// One axis of a padding: I cells in, O out, and the pad on either side.
struct padded_axis {
  index_t in, out, before, after;
};

// The four rules, each derived three times. With i a cell and j an output along one axis:
//   shown(j)     forward: the cell that output j shows, or -1
//   shows(j, i)  Jacobian: whether output j shows cell i, decided without the above
//   images(i)    vjp: all outputs that show cell i; some may lie outside 0 … O-1

namespace pad_rules {

struct constant {
  static constexpr std::string_view formula = "y[j] = x[j - before], or value outside x";
  static void require(const padded_axis&, char) {}

  static index_t shown(const padded_axis& a, index_t j) {
    const index_t i = j - a.before;
    return inside(i, a.in) ? i : -1;
  }
  static std::vector<index_t> images(const padded_axis& a, index_t i) { return {a.before + i}; }
  static bool shows(const padded_axis& a, index_t j, index_t i) { return j == i + a.before; }
};

struct reflection {
  static constexpr std::string_view formula = "y[j] = x[i], i = j - before mirrored at the border cells";
  static void require(const padded_axis& a, char letter) {
    for (const index_t pad : {a.before, a.after})
      if (pad >= a.in)
        throw shape_error("axis " + std::string(1, letter) + ": pad=" + std::to_string(pad) + " reflects " +
                          std::to_string(pad + 1) + " cells but there are " + std::to_string(a.in) +
                          "; expected pad < I");
  }

  static index_t shown(const padded_axis& a, index_t j) {
    if (j < a.before) return a.before - j;
    if (j < a.in + a.before) return j - a.before;
    return 2 * (a.in - 1) + a.before - j;
  }
  /// Itself, and its mirror images at both ends; a border cell is its own image there.
  static std::vector<index_t> images(const padded_axis& a, index_t i) {
    std::vector<index_t> list = {a.before + i};
    if (i != 0) list.push_back(a.before - i);
    if (i != a.in - 1) list.push_back(a.before + a.in - 1 + (a.in - 1 - i));
    return list;
  }
  /// The mirrored image has the period 2(I-1), and is even.
  static bool shows(const padded_axis& a, index_t j, index_t i) {
    const index_t period = std::max<index_t>(1, 2 * (a.in - 1));
    return (j - a.before - i) % period == 0 || (j - a.before + i) % period == 0;
  }
};

struct replication {
  static constexpr std::string_view formula = "y[j] = x[i], i = j - before clamped to the cells of x";
  static void require(const padded_axis&, char) {}

  static index_t shown(const padded_axis& a, index_t j) {
    return std::clamp(j, a.before, a.in + a.before - 1) - a.before;
  }
  /// Itself; the border cells also all that lies beyond them.
  static std::vector<index_t> images(const padded_axis& a, index_t i) {
    const index_t first = i == 0 ? 0 : a.before + i, last = i == a.in - 1 ? a.out - 1 : a.before + i;
    std::vector<index_t> list;
    for (index_t j = first; j <= last; ++j) list.push_back(j);
    return list;
  }
  /// No cell is nearer.
  static bool shows(const padded_axis& a, index_t j, index_t i) {
    const index_t at = j - a.before;
    return at == i || (at < 0 && i == 0) || (at >= a.in && i == a.in - 1);
  }
};

struct circular {
  static constexpr std::string_view formula = "y[j] = x[(j - before) mod I]";
  static void require(const padded_axis& a, char letter) {
    const index_t period = a.in + std::min<index_t>(a.before, 0) + std::min<index_t>(a.after, 0);
    if (period < 1 || a.before > period || a.after > period)
      throw shape_error("axis " + std::string(1, letter) + ": pad=" + std::to_string(a.before) + "," +
                        std::to_string(a.after) + " repeats the " +
                        std::to_string(std::max<index_t>(0, period)) + " cells that are left of " +
                        std::to_string(a.in) + " more than once; expected pad <= I - cropped");
  }

  static index_t shown(const padded_axis& a, index_t j) {
    const index_t cropped = std::max<index_t>(0, -a.before), front = std::max<index_t>(0, a.before);
    const index_t left = a.in - cropped - std::max<index_t>(0, -a.after);
    return cropped + (j - front + left) % left;
  }
  static std::vector<index_t> images(const padded_axis& a, index_t i) {
    const index_t first = a.before < 0 ? -a.before : 0, end = a.after < 0 ? a.in + a.after : a.in;
    if (i < first || i >= end) return {};
    const index_t j = a.before + i;
    return {j - (end - first), j, j + (end - first)};
  }
  /// A cell that is left, a whole number of turns away.
  static bool shows(const padded_axis& a, index_t j, index_t i) {
    const bool left = i >= -a.before && i < a.in + a.after;
    const index_t turn = a.in + (a.before < 0 ? a.before : 0) + (a.after < 0 ? a.after : 0);
    return left && (j - i - a.before) % turn == 0;
  }
};

}  // namespace pad_rules

template <int Rank, class Rule>
struct pad_layer {
  static constexpr bool fills = std::is_same_v<Rule, pad_rules::constant>;
  per_side<Rank> pad = {};
  decimal value = {};  // of the cells around x, for the rule `constant`

  static constexpr std::string_view formula = Rule::formula;
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const pad_layer&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("pad", self.pad, range{-most_cells, most_cells});
    if constexpr (fills) visit("value", self.value);
  }

  signature describe() const {
    const std::array<const char*, 3> letters_of_x = {"ncw", "nchw", "ncdhw"};
    const std::array<const char*, 3> letters_of_y = {"ncq", "ncpq", "ncopq"};
    signature s = {
        .inputs = {{.name = "x", .axes = letters_of_x[Rank - 1]}},
        .outputs = {{.name = "y", .axes = letters_of_y[Rank - 1]}},
        .passes = {
            {.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}, .selects = true},
            {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
    if (value.numerator != 0) s.passes[0].linear_in.clear();  // affine
    s.passes[1].selects = fills;                              // else cells repeated add up
    return s;
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    constexpr std::array<const char*, 3> x_axes = {"N,C,W", "N,C,H,W", "N,C,D,H,W"};
    require_rank("x", x, Rank + 2, x_axes[Rank - 1], true);
    shape y{x[0], x[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto side = static_cast<std::size_t>(axis);
      const padded_axis a{x[2 + axis], x[2 + axis] + pad.begin[side] + pad.end[side], pad.begin[side],
                          pad.end[side]};
      if (a.out < 1)
        throw shape_error("axis " + std::string(1, axis_letter(Rank, axis)) +
                          ": I + pads = " + std::to_string(a.in) + (a.before < 0 ? "" : "+") +
                          std::to_string(a.before) + (a.after < 0 ? "" : "+") + std::to_string(a.after) +
                          " = " + std::to_string(a.out) + "; expected at least 1");
      Rule::require(a, axis_letter(Rank, axis));
      y.push_back(a.out);
    }
    shape_map out;
    out.set("y", y);
    return out;
  }

  // Definition 1: the formula -------------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto [along_d, along_h, along_w] = axes_of(x, y);
    const auto [N, C, O, P, Q] = extents_of(y);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t o = 0; o < O; ++o)
          for (index_t p = 0; p < P; ++p)
            for (index_t q = 0; q < Q; ++q) {
              const index_t d = Rule::shown(along_d, o), h = Rule::shown(along_h, p),
                            w = Rule::shown(along_w, q);
              const bool around = d < 0 || h < 0 || w < 0;
              y(n, c, o, p, q) = around ? value.as<Scalar>() : x(n, c, d, h, w);
            }
  }

  // Definition 2: every cell collects from its images -------------------------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = in_three_axes(cotangent["dy"]);
    const auto dx = in_three_axes(gradient["dx"]);
    const auto [along_d, along_h, along_w] = axes_of(dx, dy);
    const auto [N, C, D, H, W] = extents_of(dx);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t d = 0; d < D; ++d)
          for (index_t h = 0; h < H; ++h)
            for (index_t w = 0; w < W; ++w) {
              Scalar sum = Scalar(0);
              for (const index_t o : Rule::images(along_d, d))
                for (const index_t p : Rule::images(along_h, h))
                  for (const index_t q : Rule::images(along_w, w))
                    if (inside(o, along_d.out) && inside(p, along_h.out) && inside(q, along_w.out))
                      sum += dy(n, c, o, p, q);
              dx(n, c, d, h, w) = sum;
            }
  }

  // Definition 3: the explicit Jacobian ---------------------------------------------------------------------

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    shape y = x;
    for (int axis = 0; axis < Rank; ++axis)
      y[2 + axis] += pad.begin[static_cast<std::size_t>(axis)] + pad.end[static_cast<std::size_t>(axis)];
    index_t row = 0;
    for_each_index(y, [&](const shape& output) {
      std::vector<index_t> cells = {output[0] * x[1] +
                                    output[1]};  // row-major numbers, one axis after the other
      for (int axis = 0; axis < Rank; ++axis) {
        const auto side = static_cast<std::size_t>(axis);
        const padded_axis a{x[2 + axis], y[2 + axis], pad.begin[side], pad.end[side]};
        std::vector<index_t> finer;
        for (const index_t cell : cells)
          for (index_t i = 0; i < a.in; ++i)
            if (Rule::shows(a, output[2 + axis], i)) finer.push_back(cell * a.in + i);
        cells = finer;
      }
      for (const index_t cell : cells) emit("y", row, "x", cell, Scalar(1));
      ++row;
    });
  }

 private:
  template <class X, class Y>
  std::array<padded_axis, 3> axes_of(const X& x, const Y& y) const {
    const three_axes before = in_three_axes<Rank>(pad.begin, 0), after = in_three_axes<Rank>(pad.end, 0);
    return {padded_axis{x.extent(2), y.extent(2), before.d, after.d},
            padded_axis{x.extent(3), y.extent(3), before.h, after.h},
            padded_axis{x.extent(4), y.extent(4), before.w, after.w}};
  }
};

template <int Rank>
using constant_pad = pad_layer<Rank, pad_rules::constant>;
template <int Rank>
using reflection_pad = pad_layer<Rank, pad_rules::reflection>;
template <int Rank>
using replication_pad = pad_layer<Rank, pad_rules::replication>;
template <int Rank>
using circular_pad = pad_layer<Rank, pad_rules::circular>;

}  // namespace plumb
