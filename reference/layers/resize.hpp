// What the upsampling layers share: how the size of y and the step from one output to the next, measured in
// cells of x, follow from the attributes. Either `size` gives the extents of y, or `scale` the factors by
// which they grow:
//   size    O = size,           step r = I / O
//   scale   O = floor(I·scale), step r = 1 / scale, which is not I / O where I·scale is no whole number
// The floor is taken in double (88·(120/88) gives 119: pytorch #96236). As torch 1.13.1 with
// recompute_scale_factor off.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"

namespace plumb {

template <int Rank>
struct resize {
  static constexpr decimal not_given = {-1, 1};
  static constexpr index_t most_decimals = 1000000000;  // so that positions can be compared in 64 bits

  per_axis<Rank> size = {};  // 0: not given
  std::array<decimal, static_cast<std::size_t>(Rank)> scale = none();
  bool operator==(const resize&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("size", self.size, at_least(1), per_axis<Rank>{});
    visit("scale", self.scale, range{0, 1000000}, none());
  }

  bool scaled() const { return size[0] == 0; }

  static signature describe() {
    const std::array<const char*, 3> letters_of_x = {"ncw", "nchw", "ncdhw"};
    const std::array<const char*, 3> letters_of_y = {"ncq", "ncpq", "ncopq"};
    return {.inputs = {{.name = "x", .axes = letters_of_x[Rank - 1]}},
            .outputs = {{.name = "y", .axes = letters_of_y[Rank - 1]}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}},
                       {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    constexpr std::array<const char*, 3> x_axes = {"N,C,W", "N,C,H,W", "N,C,D,H,W"};
    require_rank("x", x, Rank + 2, x_axes[Rank - 1], true);
    if (scaled() == (scale == none()))
      throw shape_error("upsampling needs either size=… or scale=…, and not both");
    shape y{x[0], x[1]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const std::string where = "axis " + std::string(1, axis_letter(Rank, axis)) + ": ";
      if (scaled() && (scale[i].numerator < 1 || scale[i].denominator > most_decimals))
        throw shape_error(where + "scale=" + attribute::print(scale[i], false) +
                          "; expected a positive number of at most 9 decimals");
      if (x[2 + axis] > most_cells)
        throw shape_error(where + std::to_string(x[2 + axis]) + " cells; expected at most " +
                          std::to_string(most_cells));
      const index_t outputs = scaled() ? static_cast<index_t>(std::floor(static_cast<double>(x[2 + axis]) *
                                                                         scale[i].template as<double>()))
                                       : size[i];
      if (outputs < 1 || outputs > most_cells)
        throw shape_error(where + "floor(" + std::to_string(x[2 + axis]) + "·" +
                          attribute::print(scale[i], false) + ") = " + std::to_string(outputs) +
                          " cells; expected 1 to " + std::to_string(most_cells));
      y.push_back(outputs);
    }
    shape_map out;
    out.set("y", y);
    return out;
  }

 protected:
  /// One axis: I cells to O, and the step r = over / under, exactly.
  struct resized_axis {
    index_t in, out;
    index_t over, under;
  };
  using resized_axes = std::array<resized_axis, 3>;

  template <class X, class Y>
  resized_axes axes_of(const X& x, const Y& y) const {
    resized_axes all;
    for (int axis = 0; axis < 3; ++axis) {
      resized_axis& a = all[static_cast<std::size_t>(axis)];
      a = {x.extent(2 + axis), y.extent(2 + axis), x.extent(2 + axis), y.extent(2 + axis)};
      const int own = axis - (3 - Rank);
      if (!scaled() || own < 0) continue;
      a.over = scale[static_cast<std::size_t>(own)].denominator;
      a.under = scale[static_cast<std::size_t>(own)].numerator;
    }
    return all;
  }

  /// The shape of y for a Jacobian, which is given x alone.
  shape resized(const shape& x) const {
    shape_map in;
    in.set("x", x);
    return output_shapes(in)["y"];
  }

 private:
  static constexpr std::array<decimal, static_cast<std::size_t>(Rank)> none() {
    std::array<decimal, static_cast<std::size_t>(Rank)> list;
    list.fill(not_given);
    return list;
  }
};

}  // namespace plumb
