// The direct convolution of conv2d_direct.cpp as a part that other rows share: other layers that are convolutions under
// another name, and inputs rounded to bf16.
#pragma once

#include <memory>

#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {

struct direct_call {
  conv_arguments arguments;  ///< of two spatial axes
  plumb::layout layout = layout::nchw;
  int threads = 1;
  bool forward = true;  ///< else backward-data
};

/// Reads x (dy), weight and the bias, if there is one; writes y (dx).
std::unique_ptr<plan> make_direct_plan(const tile_target& target, const direct_call& how);

}  // namespace plumb
