// Rearrangements: every output copies one element, nothing is computed.
//
//   flatten   y = x, its axes `start` to `end` (-1: the last) merged into one
//   reshape   y = x in row-major order, with the extents that `shape` lists
//   permute   y[…] has axis order[a] of x as its axis a: y.extent(a) = x.extent(order[a])
//   concat    y = x0, x1, … (`count` of them) one behind the other along `axis`
//   split     y0, y1, … = x cut along `axis` into pieces of the given `sizes`
//   slice     y = x[start : stop : step] along each axis, as in Python: y.extent = ⌈(stop - start)/step⌉; 0 ≤
//             start ≤ stop ≤ extent, step ≥ 1
//
// Element numbers are row major. Any extent may be 0. Conventions as torch 1.13.1, where an axis is numbered
// from the front.
// Gradient: every element of x gets the cotangent of its copy, and 0 where slice passes it over. The explicit
// Jacobian is a permutation matrix, or for slice some rows of one.
#pragma once

#include <numeric>

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {
namespace rearrangement {

inline signature of_one(int batch_axis_of_x, int batch_axis_of_y) {
  return {
      .inputs = {{.name = "x", .batch_axis = batch_axis_of_x}},
      .outputs = {{.name = "y", .batch_axis = batch_axis_of_y}},
      .passes = {
          {.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}, .selects = true},
          {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}, .selects = true}}};
}

inline shape_map only(const shape& y) {
  shape_map out;
  out.set("y", y);
  return out;
}

inline void require_axis(index_t axis, const shape& s) {
  if (!inside(axis, s.rank()))
    throw shape_error("axis=" + std::to_string(axis) + " is no axis of " + named("x", s) +
                      "; expected 0 to " + std::to_string(s.rank() - 1));
}

/// `list` must have one number an axis.
inline void require_one_an_axis(std::string_view name, const integer_list& list, const shape& x) {
  if (static_cast<int>(list.size()) != x.rank())
    throw shape_error(std::string(name) + "=" + attribute::print(list, false) + " has " +
                      std::to_string(list.size()) + " numbers but " + named("x", x) + " has " +
                      std::to_string(x.rank()) + " axes; expected one an axis");
}

/// Products of the extents before and behind an axis: element (before, at, behind) has number (before·E +
/// at)·I + behind.
inline index_t before_axis(const shape& s, index_t axis) {
  return std::accumulate(s.begin(), s.begin() + axis, index_t{1}, std::multiplies<>());
}
inline index_t behind_axis(const shape& s, index_t axis) {
  return std::accumulate(s.begin() + axis + 1, s.end(), index_t{1}, std::multiplies<>());
}

/// The same elements in the same order: the mathematics of flatten and reshape.
struct same_order {
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const same_order&) const = default;

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (index_t i = 0; i < out["y"].size(); ++i) out["y"][i] = in["x"][i];
  }
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    for (index_t i = 0; i < gradient["dx"].size(); ++i) gradient["dx"][i] = cotangent["dy"][i];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    for (index_t i = 0; i < in["x"].size(); ++i) emit("y", i, "x", i, T(1));
  }
};

}  // namespace rearrangement

struct flatten : rearrangement::same_order {
  index_t start = 1;
  index_t end = -1;

  static constexpr std::string_view formula = "y = x with the axes start … end merged";
  bool operator==(const flatten&) const = default;
  static void attributes(auto& self, auto&& visit) {
    visit("start", self.start, range{0, shape::max_rank - 1});
    visit("end", self.end, range{-1, shape::max_rank - 1});
  }
  signature describe() const {
    const int batch = start > 0 ? 0 : tensor_spec::no_batch;
    return rearrangement::of_one(batch, batch);
  }
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    const index_t last = end < 0 ? x.rank() - 1 : end;
    rearrangement::require_axis(start, x);
    rearrangement::require_axis(last, x);
    if (start > last)
      throw shape_error("start=" + std::to_string(start) + " lies behind end=" + std::to_string(last) +
                        "; expected start <= end");
    shape y;
    for (int axis = 0; axis < x.rank(); ++axis)
      if (axis <= start || axis > last)
        y.push_back(x[axis]);
      else
        y[y.rank() - 1] *= x[axis];
    return rearrangement::only(y);
  }
};

struct reshape : rearrangement::same_order {
  integer_list extents = {-1};  // not given, which is an error

  static constexpr std::string_view formula = "y = x in row-major order with other extents";
  bool operator==(const reshape&) const = default;
  static void attributes(auto& self, auto&& visit) { visit("shape", self.extents, at_least(0)); }
  static signature describe() { return rearrangement::of_one(tensor_spec::no_batch, tensor_spec::no_batch); }
  bool batchwise(const shape_map& /*shapes*/) const { return false; }
  shape_map output_shapes(const shape_map& in) const {
    const std::string wish = "shape=" + attribute::print(extents, false);
    if (extents.size() > shape::max_rank)
      throw shape_error(wish + " has more than " + std::to_string(shape::max_rank) + " axes");
    const shape y{std::span<const index_t>(extents)};
    if (y.size() != in["x"].size())
      throw shape_error(wish + " has " + std::to_string(y.size()) + " elements but " + named("x", in["x"]) +
                        " has " + std::to_string(in["x"].size()));
    return rearrangement::only(y);
  }
};

struct permute {
  integer_list order = {-1};  // not given, which is an error

  static constexpr std::string_view formula = "y[at(order[0]), at(order[1]), …] = x[at(0), at(1), …]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const permute&) const = default;
  static void attributes(auto& self, auto&& visit) { visit("order", self.order, at_least(0)); }
  signature describe() const {
    const auto batch = std::ranges::find(order, 0);
    return rearrangement::of_one(
        0, batch == order.end() ? tensor_spec::no_batch : static_cast<int>(batch - order.begin()));
  }
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    rearrangement::require_one_an_axis("order", order, x);
    shape y = x;
    for (int axis = 0; axis < x.rank(); ++axis) {
      if (std::ranges::count(order, axis) != 1)
        throw shape_error("order=" + attribute::print(order, false) + " does not name axis " +
                          std::to_string(axis) + " of " + named("x", x) + " once");
      y[axis] = x[static_cast<int>(order[static_cast<std::size_t>(axis)])];
    }
    return rearrangement::only(y);
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    for_each_index(y.extents(), [&](const shape& at) {
      shape from = at;
      for (int axis = 0; axis < at.rank(); ++axis)
        from[static_cast<int>(order[static_cast<std::size_t>(axis)])] = at[axis];
      y(at) = x(from);
    });
  }
  /// With the axes of dy renamed instead of the elements moved: a transposed view of it.
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    shape strides = dy.strides();
    for (int axis = 0; axis < dy.rank(); ++axis)
      strides[axis] = dy.stride(static_cast<int>(std::ranges::find(order, axis) - order.begin()));
    const tensor_view<const T> renamed(dy.data_handle(), dx.extents(), strides);
    for_each_index(dx.extents(), [&](const shape& at) { dx(at) = renamed(at); });
  }
  /// The number in y of an element of x, by Horner's rule over the axes of y.
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    for (index_t column = 0; column < x.size(); ++column) {
      const shape at = unflatten(column, x);
      index_t row = 0;
      for (const index_t axis : order) row = row * x[static_cast<int>(axis)] + at[static_cast<int>(axis)];
      emit("y", row, "x", column, T(1));
    }
  }
};

struct concat {
  index_t axis = 1;
  index_t count = 2;

  static constexpr std::string_view formula = "y = x0, x1, … along axis";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const concat&) const = default;
  static void attributes(auto& self, auto&& visit) {
    visit("axis", self.axis, range{0, shape::max_rank - 1});
    visit("count", self.count, range{1, 99});
  }
  static std::string piece(index_t i) { return "x" + std::to_string(i); }

  signature describe() const {
    const int batch = axis == 0 ? tensor_spec::no_batch : 0;
    signature s = {
        .inputs = {},
        .outputs = {{.name = "y", .batch_axis = batch}},
        .passes = {
            {.name = "forward", .reads = {}, .writes = {"y"}, .linear_in = {{}}, .selects = true},
            {.name = "backward", .reads = {"dy"}, .writes = {}, .linear_in = {{"dy"}}, .selects = true}}};
    for (index_t i = 0; i < count; ++i) {
      s.inputs.push_back({.name = piece(i), .batch_axis = batch});
      s.passes[0].reads.push_back(piece(i));
      s.passes[0].linear_in[0].push_back(piece(i));
      s.passes[1].writes.push_back("d" + piece(i));
    }
    return s;
  }
  shape_map output_shapes(const shape_map& in) const {
    const int a = static_cast<int>(axis);
    shape y = in["x0"];
    rearrangement::require_axis(axis, y);
    for (index_t i = 1; i < count; ++i) {
      shape other = in[piece(i)];
      if (other.rank() == y.rank()) {
        y[a] += other[a];
        other[a] = y[a];
      }
      if (!(other == y))
        throw shape_error(named(piece(i), in[piece(i)]) + " and " + named("x0", in["x0"]) +
                          " differ along another axis than axis=" + std::to_string(axis));
    }
    return rearrangement::only(y);
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto y = out["y"];
    const int a = static_cast<int>(axis);
    index_t start = 0;
    for (index_t i = 0; i < count; ++i) {
      const auto x = in[piece(i)];
      for_each_index(x.extents(), [&](shape at) {
        const T value = x(at);
        at[a] += start;
        y(at) = value;
      });
      start += x.extent(a);
    }
  }
  /// Blocks of y, one for each way to fix the axes in front, are blocks of the pieces in turn.
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    const index_t behind = rearrangement::behind_axis(dy.extents(), axis);
    const index_t blocks = rearrangement::before_axis(dy.extents(), axis);
    index_t from = 0;
    for (index_t block = 0; block < blocks; ++block)
      for (const auto& dx : gradient.entries()) {
        const index_t length = dx.real.extent(static_cast<int>(axis)) * behind;
        for (index_t i = 0; i < length; ++i) dx.real[block * length + i] = dy[from++];
      }
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    shape_map shapes;
    for (index_t i = 0; i < count; ++i) shapes.set(piece(i), in[piece(i)].extents());
    const shape y = output_shapes(shapes)["y"];
    for (index_t row = 0; row < y.size(); ++row) {
      shape at = unflatten(row, y);
      index_t& along = at[static_cast<int>(axis)];
      index_t i = 0;
      for (; along >= shapes[piece(i)][static_cast<int>(axis)]; ++i)
        along -= shapes[piece(i)][static_cast<int>(axis)];
      index_t column = 0;
      for (int a = 0; a < y.rank(); ++a) column = column * shapes[piece(i)][a] + at[a];
      emit("y", row, piece(i), column, T(1));
    }
  }
};

struct split {
  index_t axis = 1;
  integer_list sizes = {-1};  // not given, which is an error

  static constexpr std::string_view formula = "y0, y1, … = x cut along axis into pieces of the given sizes";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const split&) const = default;
  static void attributes(auto& self, auto&& visit) {
    visit("axis", self.axis, range{0, shape::max_rank - 1});
    visit("sizes", self.sizes, at_least(0));
  }
  static std::string piece(std::size_t i) { return "y" + std::to_string(i); }

  signature describe() const {
    const int batch = axis == 0 ? tensor_spec::no_batch : 0;
    signature s = {
        .inputs = {{.name = "x", .batch_axis = batch}},
        .outputs = {},
        .passes = {{.name = "forward", .reads = {"x"}, .writes = {}, .linear_in = {{"x"}}, .selects = true},
                   {.name = "backward", .reads = {}, .writes = {"dx"}, .linear_in = {{}}, .selects = true}}};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      s.outputs.push_back({.name = piece(i), .batch_axis = batch});
      s.passes[0].writes.push_back(piece(i));
      s.passes[1].reads.push_back("d" + piece(i));
      s.passes[1].linear_in[0].push_back("d" + piece(i));
    }
    return s;
  }
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    rearrangement::require_axis(axis, x);
    if (const index_t sum = std::accumulate(sizes.begin(), sizes.end(), index_t{0});
        sum != x[static_cast<int>(axis)])
      throw shape_error("axis " + std::to_string(axis) + ": the sizes " + attribute::print(sizes, false) +
                        " add up to " + std::to_string(sum) + " but " + named("x", x) + " has " +
                        std::to_string(x[static_cast<int>(axis)]) + " there");
    shape_map out;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      shape y = x;
      y[static_cast<int>(axis)] = sizes[i];
      out.set(piece(i), y);
    }
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    index_t start = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const auto y = out[piece(i)];
      for_each_index(y.extents(), [&](const shape& at) {
        shape from = at;
        from[static_cast<int>(axis)] += start;
        y(at) = x(from);
      });
      start += sizes[i];
    }
  }
  /// Blocks of x, one for each way to fix the axes in front, are blocks of the pieces in turn.
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dx = gradient["dx"];
    const index_t behind = rearrangement::behind_axis(dx.extents(), axis);
    const index_t blocks = rearrangement::before_axis(dx.extents(), axis);
    index_t to = 0;
    for (index_t block = 0; block < blocks; ++block)
      for (std::size_t i = 0; i < sizes.size(); ++i)
        for (index_t k = 0; k < sizes[i] * behind; ++k)
          dx[to++] = cotangent["d" + piece(i)][block * sizes[i] * behind + k];
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    for (index_t column = 0; column < x.size(); ++column) {
      shape at = unflatten(column, x);
      index_t& along = at[static_cast<int>(axis)];
      std::size_t i = 0;
      for (; along >= sizes[i]; ++i) along -= sizes[i];
      index_t row = 0;
      for (int a = 0; a < x.rank(); ++a) row = row * (a == axis ? sizes[i] : x[a]) + at[a];
      emit(piece(i), row, "x", column, T(1));
    }
  }
};

struct slice {
  integer_list start = {-1};  // none of the three given is an error
  integer_list stop = {-1};
  integer_list step = {0};

  static constexpr std::string_view formula = "y = x[start : stop : step] along each axis";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const slice&) const = default;
  static void attributes(auto& self, auto&& visit) {
    visit("start", self.start, at_least(0));
    visit("stop", self.stop, at_least(0));
    visit("step", self.step, at_least(1));
  }
  static signature describe() { return rearrangement::of_one(tensor_spec::no_batch, tensor_spec::no_batch); }
  bool batchwise(const shape_map& /*shapes*/) const { return false; }
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    rearrangement::require_one_an_axis("start", start, x);
    rearrangement::require_one_an_axis("stop", stop, x);
    rearrangement::require_one_an_axis("step", step, x);
    shape y;
    for (int axis = 0; axis < x.rank(); ++axis) {
      const auto a = static_cast<std::size_t>(axis);
      if (start[a] > stop[a] || stop[a] > x[axis])
        throw shape_error("axis " + std::to_string(axis) + ": start=" + std::to_string(start[a]) +
                          " stop=" + std::to_string(stop[a]) + " of " + std::to_string(x[axis]) +
                          "; expected start <= stop <= extent");
      y.push_back((stop[a] - start[a] + step[a] - 1) / step[a]);
    }
    return rearrangement::only(y);
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    for_each_index(y.extents(), [&](const shape& at) {
      shape from = at;
      for (int axis = 0; axis < at.rank(); ++axis)
        from[axis] = start[static_cast<std::size_t>(axis)] + at[axis] * step[static_cast<std::size_t>(axis)];
      y(at) = x(from);
    });
  }
  /// The elements that are taken, in order, are those of dy in order.
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dx = gradient["dx"];
    index_t next = 0;
    for_each_index(dx.extents(), [&](const shape& at) {
      bool taken = true;
      for (int axis = 0; axis < at.rank(); ++axis) {
        const auto a = static_cast<std::size_t>(axis);
        taken = taken && start[a] <= at[axis] && at[axis] < stop[a] && (at[axis] - start[a]) % step[a] == 0;
      }
      dx(at) = taken ? cotangent["dy"][next++] : T(0);
    });
  }
  /// Axis by axis, the numbers of the elements taken.
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    std::vector<index_t> taken = {0};
    for (int axis = 0; axis < x.rank(); ++axis) {
      const auto a = static_cast<std::size_t>(axis);
      std::vector<index_t> finer;
      for (const index_t number : taken)
        for (index_t i = start[a]; i < stop[a]; i += step[a]) finer.push_back(number * x[axis] + i);
      taken = finer;
    }
    for (std::size_t row = 0; row < taken.size(); ++row)
      emit("y", static_cast<index_t>(row), "x", taken[row], T(1));
  }
};

}  // namespace plumb
