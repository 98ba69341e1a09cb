// Convolution as a kernel reads it: the resolved problem of conv1d, conv2d or conv3d turned into numbers.
// Every rank becomes three spatial axes (depth, height, width); the ones a rank lacks have extent 1, stride 1
// and no padding, so one set of loops serves all ranks. Output o and tap t meet the input at  o·stride -
// begin + t·dilation.
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "reference/core/kernel.hpp"

namespace plumb {

struct conv_axis {
  index_t in = 1;   ///< extent of x
  index_t out = 1;  ///< extent of y
  index_t taps = 1;
  index_t stride = 1;
  index_t dilation = 1;
  index_t begin = 0;  ///< padding before the first element
  index_t end = 0;    ///< padding after the last one
};

struct conv_arguments {
  int rank = 2;  ///< spatial axes of the layer: 1, 2 or 3
  index_t n = 0, c = 0, k = 0;
  index_t groups = 1;
  bool bias = false;
  bool flip = false;
  std::array<conv_axis, 3> axes;  ///< depth, height, width

  const conv_axis& depth() const { return axes[0]; }
  const conv_axis& height() const { return axes[1]; }
  const conv_axis& width() const { return axes[2]; }
  index_t group_c() const { return c / groups; }
  index_t group_k() const { return k / groups; }
  index_t taps() const { return axes[0].taps * axes[1].taps * axes[2].taps; }
  index_t in_size() const { return axes[0].in * axes[1].in * axes[2].in; }
  index_t out_size() const { return axes[0].out * axes[1].out * axes[2].out; }
};

/// Precondition: conv_support() said yes for this problem. `x=N,C,…  weight=K,C/groups,…  y=N,K,…`.
inline conv_arguments read_conv_arguments(const problem& p) {
  const shape x = p.shape_of("x"), weight = p.shape_of("weight"), y = p.shape_of("y");
  const auto stride = p.integers("stride"), pad = p.integers("pad"), dilation = p.integers("dilation");
  conv_arguments a;
  a.rank = x.rank() - 2;
  a.n = x[0];
  a.c = x[1];
  a.k = weight[0];
  a.groups = p.integer("groups");
  a.bias = p.has("bias");
  a.flip = p.flag("flip");
  for (int i = 0; i < a.rank; ++i) {
    const auto at = static_cast<std::size_t>(i);
    a.axes[3 - static_cast<std::size_t>(a.rank) + at] = {.in = x[2 + i],
                                                         .out = y[2 + i],
                                                         .taps = weight[2 + i],
                                                         .stride = stride[at],
                                                         .dilation = dilation[at],
                                                         .begin = pad[2 * at],
                                                         .end = pad[2 * at + 1]};
  }
  return a;
}

/// The checks that every convolution kernel shares: known attributes, known words, and a pad that explains
/// the extents of y. Names the first thing it does not know.
inline support conv_support(const kernel_problem& kp) {
  const problem& p = kp.problem;
  const std::string unknown = p.first_unknown(
      {"x", "weight", "bias", "y", "stride", "pad", "dilation", "groups", "padding", "fit", "flip"});
  if (!unknown.empty()) return support::no("unknown attribute " + unknown);
  const std::string& fit = p.text("fit");
  if (fit != "floor" && fit != "exact") return support::no("unknown fit=" + fit);
  const int rank = p.shape_of("x").rank() - 2;
  if (rank < 1 || rank > 3) return support::no("x has " + std::to_string(rank) + " spatial axes, not 1 to 3");
  const conv_arguments a = read_conv_arguments(p);
  for (const conv_axis& axis : a.axes) {
    const index_t room = axis.in + axis.begin + axis.end - axis.dilation * (axis.taps - 1) - 1;
    if (axis.stride < 1 || room < 0 || room / axis.stride + 1 != axis.out)
      return support::no("padding=" + p.text("padding") + " with this pad does not explain the extents of y");
  }
  return support::yes();
}

}  // namespace plumb
