// Elements to the places where a layout has them, going between row-major and channels-last without leaving the cache.
#pragma once

#include <algorithm>

#include "reference/core/kernel.hpp"
#include "reference/layers/layer.hpp"

namespace plumb {

/// Walks a tensor of rank ≥ 3: calls f(n, c, first, count) for the positions first … first + count - 1 of image n and
/// channel c, all channels of a few positions before the next ones.
template <class F>
void in_blocks_of_places(const shape& extents, F&& f) {
  constexpr index_t block = 16;
  if (extents.size() == 0) return;
  const index_t images = extents[0], channels = extents[1], places = extents.size() / (images * channels);
  for (index_t n = 0; n < images; ++n)
    for (index_t first = 0; first < places; first += block)
      for (index_t c = 0; c < channels; ++c) f(n, c, first, std::min(block, places - first));
}

/// Writes numbers into a tensor of whatever type and strides; they are rounded to the type.
void store(const tensor_set<double>::entry& from, const tensor_ref& to);

}  // namespace plumb
