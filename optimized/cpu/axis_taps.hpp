// Layers that are one sparse matrix an axis: upsampling and padding of images of any rank,
//   y = (A_d ⊗ A_h ⊗ A_w)·x,    A[o][i] the weight of cell i in output o,
// and their backward passes, the transposes. An axis is a list of taps an output: the cells it reads, and their weights.
#pragma once

#include <cstddef>
#include <vector>

#include "reference/core/kernel.hpp"

namespace plumb {

struct axis_taps {
  index_t in = 1, out = 1;
  std::vector<index_t> begin = {0};  ///< out + 1: the taps of output o are [begin[o], begin[o + 1])
  std::vector<index_t> cell = {};
  std::vector<float> weight = {};

  index_t count(index_t o) const { return first(o + 1) - first(o); }
  index_t first(index_t o) const { return begin[static_cast<std::size_t>(o)]; }
  index_t cell_of(index_t tap) const { return cell[static_cast<std::size_t>(tap)]; }
  float weight_of(index_t tap) const { return weight[static_cast<std::size_t>(tap)]; }

  void add(index_t i, double w) {
    cell.push_back(i);
    weight.push_back(static_cast<float>(w));
  }
  void close_output() { begin.push_back(static_cast<index_t>(cell.size())); }
};

struct image_taps {
  axis_taps axes[3];  ///< depth, height, width
  float fill = 0;     ///< of outputs without taps
};

/// Of one pass: forward from x to y, backward from dy to dx.
image_taps taps_of(const problem& p, bool forward);

}  // namespace plumb
