// Operands as the copy engine wants them (tensor_map.hpp): numbers rounded to tf32 or bf16, channels side by side, every
// pixel or filter tap beginning at a multiple of 16 bytes with zeros behind its last channel. Read once and written once,
// so the memory limits both bodies.
//   pack_image     x or dy of any strides → [image][row][column][channel]. A block turns 32 pixels × 32 words over in
//                  shared memory, so that threads read and write neighbours whichever axis lies innermost
//   pack_filters   weights → [row][tap][channel]; rows are filters for forward, channels for backward_data
#pragma once

#include "optimized/cuda/conv_numbers.hpp"

namespace plumb::cuda {

/// Words of 32 bits of a pixel: a multiple of 16 bytes.
template <class Words>
constexpr int packed_words(int channels) {
  return tiles(tiles(channels, Words::numbers), 4) * 4;
}

struct pack_image_arguments {
  view4<const float> from = {};
  int channels = 0, width = 1, height = 1;
  offset pixels = 0;  ///< of all images
  unsigned* to = nullptr;
};

template <class Words, bool ChannelsLast>
struct pack_image {
  using arguments = pack_image_arguments;
  static constexpr int threads = 256, pixels = 32, words = 32;
  static constexpr int channels = words * Words::numbers, line = channels + 1;
  static constexpr bool barriers = true;

  static constexpr launch_shape shape(const arguments& a) {
    return {tiles<std::int64_t>(a.pixels, pixels) * tiles(packed_words<Words>(a.channels), words), threads};
  }
  template <class Block>
  struct shared {
    typename Block::template array<float, pixels * line> numbers;
  };

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const int all_words = packed_words<Words>(a.channels), wide = tiles(all_words, words);
    const offset first = block.number() / wide * pixels;
    const int word0 = static_cast<int>(block.number() % wide) * words;
    for (int i = block.thread(); i < pixels * channels; i += threads) {
      const int pixel = ChannelsLast ? i / channels : i % pixels,
                channel = ChannelsLast ? i % channels : i / pixels;
      const offset at = first + pixel, row = at / a.width;
      const int c = word0 * Words::numbers + channel;
      const bool there = at < a.pixels && c < a.channels;
      s.numbers[pixel * line + channel] =
          there ? a.from(row / a.height, c, row % a.height, at % a.width) : 0.0F;
    }
    block.barrier();
    for (int i = block.thread(); i < pixels * words; i += threads) {
      const int pixel = i / words, word = i % words;
      if (first + pixel >= a.pixels || word0 + word >= all_words) continue;
      float two[2] = {};
      for (int j = 0; j < Words::numbers; ++j) two[j] = s.numbers[pixel * line + word * Words::numbers + j];
      a.to[(first + pixel) * all_words + word0 + word] = Words::pack(two);
    }
  }
};

struct pack_filters_arguments {
  const float* from = nullptr;
  offset row_stride = 0, channel_stride = 0;
  offset down = 0, right = 0;  ///< from tap to tap, in elements; may be negative
  int channels = 0, taps_h = 1, taps_w = 1;
  offset rows = 0;
  unsigned* to = nullptr;
};

template <class Words>
struct pack_filters {
  using arguments = pack_filters_arguments;
  static constexpr int threads = 256;
  static constexpr bool barriers = false;
  template <class Block>
  struct shared {};

  static constexpr launch_shape shape(const arguments& a) {
    return {tiles<std::int64_t>(a.rows * a.taps_h * a.taps_w * packed_words<Words>(a.channels), threads),
            threads};
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread();
    const int words = packed_words<Words>(a.channels), taps = a.taps_h * a.taps_w;
    if (i >= a.rows * taps * words) return;
    const int word = static_cast<int>(i % words), tap = static_cast<int>(i / words % taps);
    const float* const filter =
        a.from + i / words / taps * a.row_stride + tap / a.taps_w * a.down + tap % a.taps_w * a.right;
    float two[2] = {};
    for (int j = 0; j < Words::numbers; ++j) {
      const int c = word * Words::numbers + j;
      if (c < a.channels) two[j] = filter[c * a.channel_stride];
    }
    a.to[i] = Words::pack(two);
  }
};

}  // namespace plumb::cuda
