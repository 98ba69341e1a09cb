// Images as kernels on tiles read them: rounded to pairs of bf16, padded, and every stride turned into 1.
// A tap of a convolution with stride s reads every s-th row and column, so that the rows of one residue modulo s make a
// plane of their own, a phase, and so do the columns: tap t of output i reads phase (t·dilation mod s) at i + (t·dilation div s).
// In one phase a tap is a constant distance, also from the last column of a row to the first of the next: outputs may
// be walked as one long line of pixels as wide as the plane, whose last columns come out as rubbish and are dropped.
//   planes[phase of rows][phase of columns][row][column][words of a pixel]
// A word is a pair of bf16: of two neighbouring channels, or of one channel in two images (image_pair).
#pragma once

#include <span>
#include <vector>

#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {

/// What all taps of some grids read along one axis.
class plane_axis {
 public:
  struct place {
    index_t phase = 0, offset = 0;
  };
  explicit plane_axis(std::span<const conv_reach> grids);

  place place_of(const conv_reach& grid, index_t tap) const;
  /// Where in the tensor an element of a phase lies; outside [0, in) it is padding.
  index_t source(index_t phase, index_t i) const {
    return first_ + phases_[static_cast<std::size_t>(phase)] + step_ * i;
  }
  /// The first element of a phase that is not before `at` in the tensor, at most extent().
  index_t first_from(index_t phase, index_t at) const;
  index_t phases() const { return std::ssize(phases_); }
  index_t extent() const { return extent_; }  ///< of a phase
  index_t step() const { return step_; }
  index_t in() const { return in_; }

 private:
  index_t in_, step_, first_ = 0, extent_ = 0;
  std::vector<index_t> phases_;  ///< residues that are read
};

/// The channels of one group of an image, or of two whose numbers are put together. Numbers lie at
/// half[h] + pixel·pixel_step + channel·channel_step; from pixel `have[h]` on there are none, and zeros take their place.
struct image_pair {
  const float* half[2] = {};
  index_t have[2] = {};
  index_t pixel_step = 1, channel_step = 1;
};

class bf16_planes {
 public:
  /// `pairs_of_images`: else of channels.
  bf16_planes(plane_axis rows, plane_axis columns, index_t channels, bool pairs_of_images);

  const plane_axis& rows() const { return rows_; }
  const plane_axis& columns() const { return columns_; }
  index_t width() const { return columns_.extent(); }  ///< pixels from row to row
  /// Words from pixel to pixel, whole rows of tiles.
  index_t pixel() const { return pixel_; }
  /// Words of all planes. A tile of pixels may begin at any of them, and reads on.
  index_t size() const { return rows_.phases() * columns_.phases() * plane(); }
  /// Where output 0 of a grid meets a tap, in words.
  index_t tap_at(const conv_reach& rows, index_t r, const conv_reach& columns, index_t s) const;

  /// The planes are filled in lines, which do not touch each other. Returns smallest_of() what was filled in, of channels
  /// without regard to what is not finite.
  index_t lines() const { return rows_.phases() * rows_.extent(); }
  float fill_line(const tile_target& rounding, const image_pair& from, index_t line, float* planes) const;

 private:
  index_t plane() const { return (rows_.extent() * width() + tile_pixels) * pixel_; }
  void fill_row(const tile_target& rounding, const image_pair& from, index_t h, index_t phase,
                float* to) const;
  void fill_pixels(const tile_target& rounding, const image_pair& from, index_t first, index_t count,
                   float* to) const;

  static constexpr index_t tile_pixels = 16;
  plane_axis rows_, columns_;
  index_t channels_, pixel_;
  bool pairs_of_images_;
};

/// first[i], second[i], first[i + 1], …
void mix(const float* first, const float* second, index_t count, float* to);
/// The smallest magnitude but zero in `count` pairs, infinity if there is none; 0 if one is not finite, so that no zero
/// must meet it.
float smallest_of(const tile_target& rounding, const float* pairs, index_t count);

}  // namespace plumb
