// Which tile a product takes, into how many slices a sum is cut, and the launch.
#pragma once

#include <algorithm>

#include "optimized/cuda/matrix_tile.hpp"
#include "optimized/cuda/rows.hpp"

namespace plumb::cuda {

/// Blocks that keep a large card busy: two for each of 132 multiprocessors. A constant, and not asked of the device, so
/// that a result does not depend on the card.
constexpr index_t busy_blocks = 264;

/// Whether a product takes tiles of 128 × 128: only where they are mostly full and there are enough of them.
constexpr bool takes_large_tiles(index_t rows, index_t columns, index_t groups) {
  if (rows < 96 || columns < 96) return false;
  return groups * tiles<index_t>(rows, 128) * tiles<index_t>(columns, 128) >= busy_blocks / 2;
}

/// Slices of whole images into which the sum of backward_weights is cut: as many as keep the card busy, and as many as
/// one slice's pixels need to be counted in 32 bits.
constexpr int choose_slices(index_t rows, index_t columns, index_t groups, index_t images, index_t pixels) {
  const index_t blocks =
      std::max<index_t>(1, groups * tiles<index_t>(rows, 64) * tiles<index_t>(columns, 64));
  const index_t wanted = tiles(busy_blocks, blocks);
  constexpr index_t most_pixels = index_t{1} << 30;
  const index_t images_a_slice = std::max<index_t>(1, most_pixels / std::max<index_t>(1, pixels));
  const index_t needed = tiles(images, images_a_slice);
  return static_cast<int>(std::max<index_t>(1, std::min(images, std::max(wanted, needed))));
}

template <class Product>
void launch_product(stream& to, const typename Product::arguments& a) {
  using large = matrix_tile<Product, large_tile>;
  using small = matrix_tile<Product, small_tile>;
  if (takes_large_tiles(a.rows, a.columns, a.groups))
    to.launch<large>(large::shape(a), a);
  else
    to.launch<small>(small::shape(a), a);
}

}  // namespace plumb::cuda
