// Max unpooling of rank 1, 2 or 3: puts every value back where max pooling found it (Zeiler & Fergus 2014).
//
//   y[n,c,cell] = x[n,c,o,p,q]  where cell = indices[n,c,o,p,q] = (d·H + h)·W + w of the plane;  0 elsewhere
//
//   window, stride, pad   those of the pooling (stride = window unless given; pad per side). They say how
//                         large y is, and nothing else: (I-1)·stride - pads + window along each axis
//   output                [D×][H×]W given outright; beside `window` it must differ from the rule by less than
//                         stride
//   duplicates            the last one in scan order is kept, as by a sequential loop
// Shapes: x = indices = N,C,[O,][P,]Q   y = N,C,[D,][H,]W
// Conventions as torch 1.13.1; an empty batch is legal. An index outside the plane of y is an error.
//
// Gradient: dx[n,c,o,p,q] = dy[n,c,indices[n,c,o,p,q]] if this element is the one that was kept, and 0 for
// duplicates that were overwritten. So it is the derivative of the formula; torch gives every duplicate a
// gradient (its issue #80204). The explicit Jacobian is 1 where a cell and the last element with its index
// meet.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/pooling.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct max_unpool {
  per_axis<Rank> window = {};  // 0: not given
  per_axis<Rank> stride = {};
  per_side<Rank> pad = {};
  per_axis<Rank> output = {};  // 0: not given

  static constexpr std::string_view formula = "y[n, c, indices[n,c,p,q]] = x[n,c,p,q], 0 elsewhere";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const max_unpool&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("window", self.window, at_least(1), per_axis<Rank>{});
    visit("stride", self.stride, at_least(1), self.window);
    visit("pad", self.pad, at_least(0));
    visit("output", self.output, at_least(1), per_axis<Rank>{});
  }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = letters_of_windows[Rank - 1]},
                       {.name = "indices",
                        .kind = element::index,
                        .differentiable = false,
                        .axes = letters_of_windows[Rank - 1]}},
            .outputs = {{.name = "y", .axes = letters_of_input[Rank - 1]}},
            .passes = {{.name = "forward",
                        .reads = {"x", "indices"},
                        .writes = {"y"},
                        .linear_in = {{"x"}},
                        .selects = true},
                       {.name = "backward",
                        .reads = {"dy", "indices"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}},
                        .selects = true}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    constexpr std::array<const char*, 3> x_axes = {"N,C,Q", "N,C,P,Q", "N,C,O,P,Q"};
    require_rank("x", x, Rank + 2, x_axes[Rank - 1], true);
    if (!(in["indices"] == x))
      throw shape_error(named("indices", in["indices"]) + " is not of the shape of " + named("x", x));
    if (window[0] == 0 && output[0] == 0)
      throw shape_error("the size of y is not given; expected window=… of the pooling, or output=…");
    shape y{x[0], x[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      index_t size = output[i];
      if (window[i] != 0) {
        index_t usual = 0;
        if (__builtin_mul_overflow(x[2 + axis] - 1, stride[i], &usual) || usual > longest_axis)
          throw shape_error(where(axis) + "y is longer than 2^48");
        usual += window[i] - pad.begin[i] - pad.end[i];
        if (size == 0) size = usual;
        if (size < 1)
          throw shape_error(where(axis) + "padding leaves " + std::to_string(size) +
                            " cells of y; (I-1)*stride - pads + window >= 1");
        if (size <= usual - stride[i] || size >= usual + stride[i])
          throw shape_error(where(axis) + "output=" + std::to_string(size) + " must lie between " +
                            std::to_string(usual - stride[i] + 1) + " and " +
                            std::to_string(usual + stride[i] - 1) +
                            ": it differs from (I-1)*stride - pads + window = " + std::to_string(usual) +
                            " by less than stride");
      }
      y.push_back(size);
    }
    shape_map out;
    out.set("y", y);
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"];
    const auto indices = in.indices("indices");
    const auto y = out["y"];
    for (index_t i = 0; i < y.size(); ++i) y[i] = Scalar(0);
    const index_t cells = plane_size(y.extents()), values = plane_size(x.extents());
    for (index_t i = 0; i < x.size(); ++i) {
      require_cell(i, indices[i], cells);
      y[i / values * cells + indices[i]] = x[i];
    }
  }

  /// The elements of a plane from the last to the first: the first one met takes the cotangent of its cell.
  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto indices = in.indices("indices");
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t cells = plane_size(dy.extents()), values = plane_size(dx.extents());
    std::vector<bool> taken(static_cast<std::size_t>(dy.size()), false);
    for (index_t i = dx.size() - 1; i >= 0; --i) {
      require_cell(i, indices[i], cells);
      const index_t cell = i / values * cells + indices[i];
      dx[i] = taken[static_cast<std::size_t>(cell)] ? Scalar(0) : dy[cell];
      taken[static_cast<std::size_t>(cell)] = true;
    }
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto indices = in.indices("indices");
    shape_map shapes;
    shapes.set("x", in["x"].extents());
    shapes.set("indices", indices.extents());
    const shape x = shapes["x"], y = output_shapes(shapes)["y"];
    index_t column = 0;
    for_each_index(x, [&](const shape& at) {
      bool kept = true;
      for (index_t later = column + 1; later % plane_size(x) != 0; ++later)
        kept = kept && indices[later] != indices(at);
      require_cell(column, indices(at), plane_size(y));
      if (kept) emit("y", (at[0] * y[1] + at[1]) * plane_size(y) + indices(at), "x", column, Scalar(1));
      ++column;
    });
  }

  /// Indices are cells of one plane of y.
  index_t index_bound(std::string_view /*indices*/, const shape_map& shapes) const {
    return plane_size(shapes["y"]);
  }

 private:
  static std::string where(int axis) { return "axis " + std::string(1, axis_letter(Rank, axis)) + ": "; }
};

}  // namespace plumb
