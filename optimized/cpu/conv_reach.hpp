// Which inputs an output reads, one axis at a time, for a convolution and for its transpose alike.
// Output i of a grid, under tap t, reads the input at  i·in_step + in_first + t·in_tap  and is written to
// out_first + i·out_step. The forward pass is one such grid. Backward-data with stride s is s grids an axis:
// the dx positions of one residue modulo s all use the same taps, and between them the input (dy) moves by
// one. So neither pass ever multiplies by a zero of a stuffed tensor.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "optimized/cpu/conv_arguments.hpp"

namespace plumb {

struct conv_reach {
  index_t in = 1;  ///< extent of what is read
  index_t outputs = 1, out_first = 0, out_step = 1;
  index_t in_first = 0, in_step = 1;
  index_t taps = 1, in_tap = 1;               ///< in_tap > 0
  index_t weight_first = 0, weight_step = 1;  ///< tap t is the weight's tap weight_first + t·weight_step

  /// The taps of output `i` that fall inside the input: a contiguous range.
  struct range {
    index_t begin, end;
    index_t size() const { return end - begin; }
    bool operator==(const range&) const = default;
  };
  range inside(index_t i) const {
    const index_t start = i * in_step + in_first;
    range r{0, taps};
    while (r.begin < r.end && start + r.begin * in_tap < 0) ++r.begin;
    while (r.begin < r.end && start + (r.end - 1) * in_tap >= in) --r.end;
    return r;
  }
  /// Neighbouring outputs with the same taps inside the input; in order, all outputs.
  struct run {
    index_t first, count;
    range taps;
  };
  std::vector<run> runs() const {
    std::vector<run> list;
    for (index_t i = 0; i < outputs; ++i) {
      range inner = inside(i);
      if (inner.size() == 0) inner = {0, 0};
      if (list.empty() || !(list.back().taps == inner)) list.push_back({i, 0, inner});
      ++list.back().count;
    }
    return list;
  }
  /// Elements missing before the first and after the last input for the whole grid.
  index_t missing_before() const { return taps && outputs ? std::max<index_t>(0, -in_first) : 0; }
  index_t missing_after() const {
    if (!taps || !outputs) return 0;
    return std::max<index_t>(0, (outputs - 1) * in_step + in_first + (taps - 1) * in_tap - (in - 1));
  }
};

inline conv_reach forward_reach(const conv_axis& a, bool flip) {
  return {.in = a.in,
          .outputs = a.out,
          .in_first = -a.begin,
          .in_step = a.stride,
          .taps = a.taps,
          .in_tap = a.dilation,
          .weight_first = flip ? a.taps - 1 : 0,
          .weight_step = flip ? -1 : 1};
}

/// The grids of dx along one axis, one for each residue modulo the stride.
inline std::vector<conv_reach> backward_reaches(const conv_axis& a, bool flip) {
  std::vector<conv_reach> grids;
  // p·stride = h + begin - t·dilation has a solution p for every `period`-th tap.
  const index_t period = a.stride / std::gcd(a.stride, a.dilation);
  for (index_t residue = 0; residue < std::min(a.stride, a.in); ++residue) {
    index_t first = 0;
    while (first < std::min(period, a.taps) && (residue + a.begin - first * a.dilation) % a.stride != 0)
      ++first;
    const index_t taps = first < std::min(period, a.taps) ? (a.taps - 1 - first) / period + 1 : 0;
    // Later taps reach back; walked from the last one, the input advances.
    const index_t last = first + std::max<index_t>(0, taps - 1) * period;
    grids.push_back({.in = a.out,
                     .outputs = (a.in - residue + a.stride - 1) / a.stride,
                     .out_first = residue,
                     .out_step = a.stride,
                     .in_first = taps ? (residue + a.begin - last * a.dilation) / a.stride : 0,
                     .in_step = 1,
                     .taps = taps,
                     .in_tap = period * a.dilation / a.stride,
                     .weight_first = flip ? a.taps - 1 - last : last,
                     .weight_step = flip ? period : -period});
  }
  return grids;
}

/// A 1×1 filter without stride or padding does not see rows.
inline bool is_flat(const conv_arguments& a) {
  return std::ranges::all_of(a.axes, [](const conv_axis& axis) {
    return axis.taps == 1 && axis.stride == 1 && axis.begin == 0 && axis.end == 0 && axis.in == axis.out;
  });
}

/// If it does not, the plane becomes one long row.
inline conv_arguments with_flat_plane(conv_arguments a) {
  if (!is_flat(a)) return a;
  a.axes[2].in = a.axes[2].out = a.in_size();
  a.axes[0] = a.axes[1] = conv_axis{};
  return a;
}

}  // namespace plumb
