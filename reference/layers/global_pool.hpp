// Global pooling: one number a channel, the mean or the maximum over all positions (Lin et al. 2014, "Network
// in network"). x may have any number of spatial axes, none included; w counts all W positions of a plane
// together:
//
//   global_avg_pool   y[n,c] = Σ_w x[n,c,w] / W
//   global_max_pool   y[n,c] = max_w x[n,c,w]     indices[n,c] = the position that won
//                     ties: the first position wins; NaN wins over every number, and the last NaN over the
//                     others; all -∞: y = -∞ and position 0
// Shapes: x = N,C,*   y = indices = N,C,1,…,1 with as many axes as x.
// As torch 1.13.1's adaptive pooling to one output; an empty batch is legal, an empty plane is not.
//
// Gradients:
//   global_avg_pool   dx[n,c,w] = dy[n,c] / W
//   global_max_pool   dx[n,c,w] = dy[n,c] if w = indices[n,c], else 0
// The explicit Jacobians hold 1/W everywhere in the plane, and 1 at the position that no other beats.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/pooling.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

/// The shape rule of both: every axis behind the first two shrinks to 1.
inline shape globally_pooled(const shape& x) {
  if (x.rank() < 2) throw shape_error(named("x", x) + " has no channels; expected x=N,C and any more axes");
  require_rank("x", x, x.rank(), "N,C,…", true);
  shape y{x[0], x[1]};
  while (y.rank() < x.rank()) y.push_back(1);
  return y;
}

struct global_avg_pool {
  static constexpr std::string_view formula = "y[n,c] = Σ_w x[n,c,w] / W";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const global_avg_pool&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nc*"}},
            .outputs = {{.name = "y", .axes = "nc*"}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}, .linear_in = {{"x"}}},
                       {.name = "backward", .reads = {"dy"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    shape_map out;
    out.set("y", globally_pooled(in["x"]));
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t W = plane_size(x.extents());
    for (index_t nc = 0; nc < y.size(); ++nc) {
      Scalar sum = Scalar(0);
      for (index_t w = 0; w < W; ++w) sum += x[nc * W + w];
      y[nc] = sum / Scalar(W);
    }
  }

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) {
      const index_t positions = dx.size() / dy.size();
      dx[i] = dy[i / positions] / Scalar(positions);
    }
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    index_t share = 1;
    for (int axis = 2; axis < x.rank(); ++axis) share *= x[axis];
    index_t column = 0;
    for_each_index(x, [&](const shape& at) {
      emit("y", at[0] * x[1] + at[1], "x", column++, Scalar(1) / Scalar(share));
    });
  }
};

struct global_max_pool {
  static constexpr std::string_view formula = "y[n,c] = max_w x[n,c,w]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // piecewise
  bool operator==(const global_max_pool&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nc*"}},
            .outputs = {{.name = "y", .axes = "nc*"},
                        {.name = "indices", .kind = element::index, .differentiable = false, .axes = "nc*"}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y", "indices"}, .selects = true},
                       {.name = "backward",
                        .reads = {"dy", "indices"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}},
                        .selects = true}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    shape_map out;
    out.set("y", globally_pooled(in["x"]));
    out.set("indices", out["y"]);
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    const auto indices = out.indices("indices");
    const index_t W = plane_size(x.extents());
    for (index_t nc = 0; nc < y.size(); ++nc) {
      index_t winner = 0;
      for (index_t w = 1; w < W; ++w)
        if (x[nc * W + w] > x[nc * W + winner] || is_nan(x[nc * W + w])) winner = w;
      y[nc] = x[nc * W + winner];
      indices[nc] = winner;
    }
  }

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& out,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto indices = out.indices("indices");
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = Scalar(0);
    for (index_t nc = 0; nc < dy.size(); ++nc) {
      const index_t positions = dx.size() / dy.size();
      require_cell(nc, indices[nc], positions);
      dx[nc * positions + indices[nc]] = dy[nc];
    }
  }

  /// A position wins if it is not behind a value as large, not before a larger one, and no other is NaN; of
  /// several NaN the last wins.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"];
    index_t positions = 1;
    for (int axis = 2; axis < x.rank(); ++axis) positions *= x.extent(axis);
    for (index_t i = 0; i < x.size(); ++i) {
      bool wins = true;
      for (index_t j = i / positions * positions; j < (i / positions + 1) * positions; ++j)
        if (is_nan(x[i]))
          wins = wins && !(j > i && is_nan(x[j]));
        else
          wins = wins && !is_nan(x[j]) && (j < i ? x[j] < x[i] : x[j] <= x[i]);
      if (wins) emit("y", i / positions, "x", i, Scalar(1));
    }
  }

  /// The winning position of every plane: a changed list means that a kink was crossed.
  template <class Scalar>
  std::vector<index_t> winners(const bundle<const Scalar>& in) const {
    return winning_cells(*this, in);
  }

  /// Saved indices are positions of one plane of x.
  index_t index_bound(std::string_view /*indices*/, const shape_map& shapes) const {
    return plane_size(shapes["x"]);
  }
};

}  // namespace plumb
