// The direct convolutions of conv2d_direct.cpp and conv2d_direct_weights.cpp as parts that other rows share: other layers that are convolutions under
// another name, and inputs rounded to bf16.
#pragma once

#include <algorithm>
#include <limits>
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

/// Products of bf16 have 16 bits, so that no sum of such as are not smaller than this comes near a subnormal number other
/// than zero.
inline constexpr double smallest_safe_product = 0x1p-100;
/// Of two tensors in bf16, by their smallest magnitudes but zero.
inline bool products_may_be_subnormal(float a, float b) {
  return std::min(a, b) < std::numeric_limits<float>::min() ||
         static_cast<double>(a) * static_cast<double>(b) < smallest_safe_product;
}

/// Reads x (dy), weight and the bias, if there is one; writes y (dx).
std::unique_ptr<plan> make_direct_plan(const tile_target& target, const direct_call& how);

/// Reads dy and x, writes dweight: conv2d_direct_weights.cpp. Of `how`, `forward` says nothing.
std::unique_ptr<plan> make_direct_weights_plan(const tile_target& target, const direct_call& how);

/// So many images of so many numbers each.
struct paired_images {
  index_t count = 0, dy = 0, x = 0;
};
/// The same from images that are rounded to bf16 and put together two by two (conv2d_bf16_weights.cpp): `halved` is the
/// problem that pairs are to a tile of pairs, with half as many images, or pixels.
std::unique_ptr<plan> make_paired_weights_plan(const tile_target& target, const direct_call& halved,
                                               const paired_images& images);

}  // namespace plumb
