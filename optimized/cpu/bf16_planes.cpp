// Filling the planes of bf16_planes.hpp: row by row, zeros for what padding adds, and up to 32 pixels × 64 channels at
// once for what the image has. NCHW is transposed on the way.
#include "optimized/cpu/bf16_planes.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace plumb {
namespace {

constexpr index_t pixels_at_once = 32, channels_at_once = 64;

index_t whole(index_t count, index_t step) { return (count + step - 1) / step * step; }

/// Pairs of images are read down a column of pixels, 16 words wide. An odd number of such columns, so that it does not crowd
/// into few sets of the cache.
index_t pixel_words(index_t channels, bool pairs_of_images) {
  constexpr index_t line = 16, many = 8;
  const index_t words = whole(pairs_of_images ? channels : (channels + 1) / 2, line);
  return words + (pairs_of_images && words >= many * line && words / line % 2 == 0 ? line : 0);
}

bool are_finite(const float* words, index_t count) {
  std::uint32_t found = 0;
  for (index_t i = 0; i < count; ++i) {
    const auto pair = std::bit_cast<std::uint32_t>(words[i]);
    // Adding 1 to an exponent of all ones carries into the place of the sign.
    found |= (pair & 0x7f800000U) + 0x00800000U;
    found |= (pair << 16 & 0x7f800000U) + 0x00800000U;
  }
  return (found & 0x80000000U) == 0;
}

}  // namespace

plane_axis::plane_axis(std::span<const conv_reach> grids)
    : in_(grids.empty() ? 0 : grids[0].in), step_(grids.empty() ? 1 : grids[0].in_step) {
  const auto reads = [](const conv_reach& g) { return g.taps > 0 && g.outputs > 0; };
  bool any = false;
  for (const conv_reach& g : grids)
    if (reads(g)) {
      first_ = any ? std::min(first_, g.in_first) : g.in_first;
      any = true;
    }
  for (const conv_reach& g : grids)
    for (index_t t = 0; t < (reads(g) ? g.taps : 0); ++t) {
      const index_t distance = g.in_first - first_ + t * g.in_tap;
      if (std::ranges::find(phases_, distance % step_) == phases_.end()) phases_.push_back(distance % step_);
      extent_ = std::max(extent_, distance / step_ + g.outputs);
    }
}

plane_axis::place plane_axis::place_of(const conv_reach& grid, index_t tap) const {
  const index_t distance = grid.in_first - first_ + tap * grid.in_tap;
  return {std::ranges::find(phases_, distance % step_) - phases_.begin(), distance / step_};
}

index_t plane_axis::first_from(index_t phase, index_t at) const {
  const index_t distance = at - source(phase, 0);
  return std::clamp<index_t>(distance > 0 ? (distance + step_ - 1) / step_ : 0, 0, extent_);
}

bf16_planes::bf16_planes(plane_axis rows, plane_axis columns, index_t channels, bool pairs_of_images)
    : rows_(std::move(rows)),
      columns_(std::move(columns)),
      channels_(channels),
      pixel_(pixel_words(channels, pairs_of_images)),
      pairs_of_images_(pairs_of_images) {}

index_t bf16_planes::tap_at(const conv_reach& rows, index_t r, const conv_reach& columns, index_t s) const {
  const plane_axis::place h = rows_.place_of(rows, r), w = columns_.place_of(columns, s);
  return (h.phase * columns_.phases() + w.phase) * plane() + (h.offset * width() + w.offset) * pixel_;
}

float bf16_planes::fill_line(const tile_target& rounding, const image_pair& from, index_t line,
                             float* planes) const {
  const index_t phase = line / rows_.extent(), row = line % rows_.extent(), h = rows_.source(phase, row);
  float smallest = std::numeric_limits<float>::infinity();
  for (index_t i = 0; i < columns_.phases(); ++i) {
    float* to = planes + (phase * columns_.phases() + i) * plane() + row * width() * pixel_;
    const index_t words = width() * pixel_;
    if (h < 0 || h >= rows_.in()) {
      std::fill_n(to, words, 0.0F);
    } else {
      fill_row(rounding, from, h, i, to);
      smallest = std::min(smallest,
                          pairs_of_images_ ? smallest_of(rounding, to, words) : rounding.smallest(to, words));
    }
    if (row + 1 == rows_.extent()) std::fill_n(to + words, tile_pixels * pixel_, 0.0F);
  }
  return smallest;
}

/// Row `h` of the tensor, as far as a phase of columns has it.
void bf16_planes::fill_row(const tile_target& rounding, const image_pair& from, index_t h, index_t phase,
                           float* to) const {
  const index_t begin = columns_.first_from(phase, 0), end = columns_.first_from(phase, columns_.in());
  std::fill_n(to, begin * pixel_, 0.0F);
  // As many as lie in a stretch of the image that is transposed at once.
  const index_t most = (pixels_at_once - 1) / columns_.step() + 1;
  for (index_t i = begin; i < end; i += most)
    fill_pixels(rounding, from, h * columns_.in() + columns_.source(phase, i), std::min(most, end - i),
                to + i * pixel_);
  std::fill(to + end * pixel_, to + width() * pixel_, 0.0F);
}

/// `count` pixels from number `first` on, every step-th of the tensor.
void bf16_planes::fill_pixels(const tile_target& rounding, const image_pair& from, index_t first,
                              index_t count, float* to) const {
  alignas(64) float turned[2][pixels_at_once * channels_at_once], mixed[2 * channels_at_once];
  constexpr float zeros[channels_at_once] = {};
  const index_t step = columns_.step();
  if (!pairs_of_images_ && step == 1 && from.channel_step == 1 && from.pixel_step == channels_ &&
      channels_ == 2 * pixel_)
    return rounding.round_pairs(from.half[0] + first * channels_, count * channels_, to);
  for (index_t c = 0; c < channels_; c += channels_at_once) {
    const index_t some = std::min(channels_at_once, channels_ - c);
    index_t pixel_step = from.pixel_step;
    const float* halves[2] = {};
    for (int h = 0; h < (pairs_of_images_ ? 2 : 1); ++h) {
      halves[h] = from.half[h] + first * from.pixel_step + c * from.channel_step;
      if (from.channel_step == 1 || from.have[h] <= first) continue;
      pixel_step = channels_at_once;
      rounding.transpose(halves[h], from.channel_step, some,
                         std::min((count - 1) * step + 1, from.have[h] - first), turned[h], pixel_step);
      halves[h] = turned[h];
    }
    for (index_t i = 0; i < count; ++i) {
      const index_t at = i * step;
      const auto numbers = [&](int h) {
        return first + at < from.have[h] ? halves[h] + at * pixel_step : zeros;
      };
      float* pixel = to + i * pixel_;
      if (pairs_of_images_) {
        mix(numbers(0), numbers(1), some, mixed);
        rounding.round_pairs(mixed, 2 * some, pixel + c);
      } else {
        rounding.round_pairs(numbers(0), some, pixel + c / 2);
      }
    }
  }
  const index_t used = pairs_of_images_ ? channels_ : (channels_ + 1) / 2;
  for (index_t i = 0; i < count; ++i) std::fill(to + i * pixel_ + used, to + (i + 1) * pixel_, 0.0F);
}

float smallest_of(const tile_target& rounding, const float* pairs, index_t count) {
  return are_finite(pairs, count) ? rounding.smallest(pairs, count) : 0.0F;
}

void mix(const float* first, const float* second, index_t count, float* to) {
  for (index_t i = 0; i < count; ++i) {
    to[2 * i] = first[i];
    to[2 * i + 1] = second[i];
  }
}

}  // namespace plumb
