// Max pooling as a kernel reads it: the resolved problem of max_pool1d, 2d or 3d turned into numbers. Every
// rank becomes three spatial axes (depth, height, width); the ones a rank lacks have extent 1 and a window
// of 1. Output o looks at the cells  o·stride - begin + j·dilation,  j < window,  that lie inside the input.
#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <string>

#include "reference/core/kernel.hpp"

namespace plumb {

struct pool_axis {
  index_t in = 1, out = 1, window = 1, stride = 1, dilation = 1, begin = 0;

  /// The cells of output `o` inside the input: first position, and one past the last (steps of dilation).
  index_t first(index_t o) const {
    const index_t start = o * stride - begin;
    return start >= 0 ? start : start + (-start + dilation - 1) / dilation * dilation;
  }
  index_t end(index_t o) const {
    const index_t stop = o * stride - begin + (window - 1) * dilation + 1;
    return stop < in ? stop : in;
  }
};

struct pool_arguments {
  index_t n = 0, c = 0;
  std::array<pool_axis, 3> axes;  ///< depth, height, width

  const pool_axis& depth() const { return axes[0]; }
  const pool_axis& height() const { return axes[1]; }
  const pool_axis& width() const { return axes[2]; }
  index_t in_size() const { return axes[0].in * axes[1].in * axes[2].in; }
  index_t out_size() const { return axes[0].out * axes[1].out * axes[2].out; }
};

inline pool_arguments read_pool_arguments(const problem& p) {
  const shape x = p.shape_of("x"), y = p.shape_of("y");
  const auto window = p.integers("window"), stride = p.integers("stride"), pad = p.integers("pad"),
             dilation = p.integers("dilation");
  const auto rank = static_cast<std::size_t>(x.rank() - 2);
  const bool by_side = pad.size() == 2 * rank;
  pool_arguments a{.n = x[0], .c = x[1], .axes = {}};
  for (std::size_t i = 0; i < rank; ++i) {
    const int axis = 2 + static_cast<int>(i);
    a.axes[3 - rank + i] = {.in = x[axis],
                            .out = y[axis],
                            .window = window[i],
                            .stride = stride[i],
                            .dilation = dilation[i],
                            .begin = by_side ? pad[2 * i] : pad[i]};
  }
  return a;
}

/// The winner of one window: the first of equals, the last NaN if there is one (operators.md A5).
struct pool_winner {
  float value = -std::numeric_limits<float>::infinity();
  index_t cell = -1;  ///< (d·H + h)·W + w
};

/// The rule, one cell at a time: `x` is a plane with the given steps between depths, rows and columns.
inline pool_winner window_maximum(const pool_arguments& a, const float* x, const std::array<index_t, 3>& step,
                                  index_t o, index_t p, index_t q) {
  pool_winner best;
  for (index_t d = a.depth().first(o); d < a.depth().end(o); d += a.depth().dilation)
    for (index_t h = a.height().first(p); h < a.height().end(p); h += a.height().dilation)
      for (index_t w = a.width().first(q); w < a.width().end(q); w += a.width().dilation) {
        const float value = x[d * step[0] + h * step[1] + w * step[2]];
        const bool is_nan = value != value;
        if (best.cell < 0 || value > best.value || is_nan)
          best = {value, (d * a.height().in + h) * a.width().in + w};
      }
  return best;
}

/// The attributes every pooling kernel knows; ceil_mode and fit only choose the extents of y, which are
/// given.
inline support pool_support(const kernel_problem& kp) {
  const std::string unknown = kp.problem.first_unknown(
      {"x", "y", "indices", "window", "stride", "pad", "dilation", "ceil_mode", "fit"});
  if (!unknown.empty()) return support::no("unknown attribute " + unknown);
  return support::yes();
}

}  // namespace plumb
