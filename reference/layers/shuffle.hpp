// Shuffles between channels and positions: permutations of the elements of x.
//
//   pixel_shuffle     y[n, c, h·f + i, w·f + j] = x[n, (c·f + i)·f + j, h, w], with the attribute `factor` f
//                     x = N,C·f²,H,W   y = N,C,H·f,W·f          (Shi et al. 2016; depth_to_space)
//   pixel_unshuffle   y[n, (c·f + i)·f + j, h, w] = x[n, c, h·f + i, w·f + j], its inverse
//                     x = N,C,H·f,W·f   y = N,C·f²,H,W          (space_to_depth)
//   channel_shuffle   y[n, i·g + k, …] = x[n, k·(C/g) + i, …], with the attribute `groups` g
//                     x = y = N,C,…: channels as a g × C/g matrix, transposed      (Zhang et al. 2018)
//
// Conventions as torch 1.13.1 (the channel counts slowest in the depth: CRD order in ONNX's words).
// Gradient: the inverse permutation of dy. The explicit Jacobian is a permutation matrix.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <bool Inverse>
struct pixel_shuffling {
  index_t factor = 0;  // not given, which is an error

  static constexpr std::string_view formula = Inverse
                                                  ? "y[n, (c·f + i)·f + j, h, w] = x[n, c, h·f + i, w·f + j]"
                                                  : "y[n, c, h·f + i, w·f + j] = x[n, (c·f + i)·f + j, h, w]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const pixel_shuffling&) const = default;
  static void attributes(auto& self, auto&& visit) { visit("factor", self.factor, range{1, 65536}); }

  signature describe() const {
    return {
        .inputs = {{.name = "x", .axes = "nchw"}},
        .outputs = {{.name = "y", .axes = "nkpq"}},
        .passes = {
            {.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}, .selects = true},
            {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}, .selects = true}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    const index_t f = factor;
    require_rank("x", x, 4, "N,C,H,W", true);
    const auto require_whole = [&](int axis, index_t divisor) {
      if (x[axis] % divisor != 0)
        throw shape_error("axis " + std::string(1, "nchw"[axis]) + ": " + std::to_string(x[axis]) +
                          " is no multiple of " + std::to_string(divisor) +
                          " as factor=" + std::to_string(f) + " demands");
    };
    shape_map out;
    if constexpr (Inverse) {
      require_whole(2, f);
      require_whole(3, f);
      out.set("y", {x[0], x[1] * f * f, x[2] / f, x[3] / f});
    } else {
      require_whole(1, f * f);
      out.set("y", {x[0], x[1] / (f * f), x[2] * f, x[3] * f});
    }
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t f = factor, C = Inverse ? x.extent(1) : y.extent(1);
    const index_t H = Inverse ? y.extent(2) : x.extent(2), W = Inverse ? y.extent(3) : x.extent(3);
    for (index_t n = 0; n < x.extent(0); ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t h = 0; h < H; ++h)
          for (index_t w = 0; w < W; ++w)
            for (index_t i = 0; i < f; ++i)
              for (index_t j = 0; j < f; ++j)
                if constexpr (Inverse)
                  y(n, (c * f + i) * f + j, h, w) = x(n, c, h * f + i, w * f + j);
                else
                  y(n, c, h * f + i, w * f + j) = x(n, (c * f + i) * f + j, h, w);
  }

  /// Each element of dx finds its copy by quotients and remainders of its own coordinates.
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    for_each_index(dx.extents(), [&](const shape& at) {
      const index_t k = at[1], p = at[2], q = at[3];
      if constexpr (Inverse)
        dx(at) = dy(at[0], k * factor * factor + p % factor * factor + q % factor, p / factor, q / factor);
      else
        dx(at) = dy(at[0], k / (factor * factor), p * factor + k / factor % factor, q * factor + k % factor);
    });
  }

  /// As a permutation of the axes n c i j h w of the deep side to the axes n c h i w j of the wide side.
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    const index_t f = factor;
    const shape deep =
        Inverse ? shape{x[0], x[1], f, f, x[2] / f, x[3] / f} : shape{x[0], x[1] / (f * f), f, f, x[2], x[3]};
    index_t number = 0;
    for_each_index(deep, [&](const shape& at) {
      index_t wide = 0;
      for (const int axis : {0, 1, 4, 2, 5, 3}) wide = wide * deep[axis] + at[axis];
      Inverse ? emit("y", number, "x", wide, T(1)) : emit("y", wide, "x", number, T(1));
      ++number;
    });
  }
};

using pixel_shuffle = pixel_shuffling<false>;
using pixel_unshuffle = pixel_shuffling<true>;

struct channel_shuffle {
  index_t groups = 0;  // not given, which is an error

  static constexpr std::string_view formula = "y[n, i·g + k, …] = x[n, k·(C/g) + i, …]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const channel_shuffle&) const = default;
  static void attributes(auto& self, auto&& visit) { visit("groups", self.groups, at_least(1)); }

  signature describe() const {
    return {
        .inputs = {{.name = "x", .axes = "nc*"}},
        .outputs = {{.name = "y", .axes = "nc*"}},
        .passes = {
            {.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}, .selects = true},
            {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}, .selects = true}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    if (x.rank() < 2) throw shape_error(named("x", x) + " has no channels; expected N,C or N,C,…");
    if (x[1] < 1 || x[1] % groups != 0)
      throw shape_error("axis c: " + std::to_string(x[1]) +
                        " channels do not form groups=" + std::to_string(groups) + " equal groups");
    shape_map out;
    out.set("y", x);
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t each = x.extent(1) / groups;
    for_each_index(x.extents(), [&](const shape& at) {
      const index_t k = at[1] / each, i = at[1] % each;
      shape to = at;
      to[1] = i * groups + k;
      y(to) = x(at);
    });
  }

  /// Transposing back: groups and channels a group have changed roles.
  template <class T>
  void vjp(const bundle<const T>&, const bundle<const T>&, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t columns = dx.extent(1) / groups;
    for_each_index(dy.extents(), [&](const shape& at) {
      shape to = at;
      to[1] = at[1] % groups * columns + at[1] / groups;
      dx(to) = dy(at);
    });
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    const index_t plane = x.size() == 0 ? 0 : x.size() / (x[0] * x[1]), each = x[1] / groups;
    for (index_t n = 0; n < x[0]; ++n)
      for (index_t k = 0; k < groups; ++k)
        for (index_t i = 0; i < each; ++i)
          for (index_t at = 0; at < plane; ++at)
            emit("y", (n * x[1] + i * groups + k) * plane + at, "x", (n * x[1] + k * each + i) * plane + at,
                 T(1));
  }
};

}  // namespace plumb
