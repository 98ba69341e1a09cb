// A convolution as a matrix product on Hopper's tensor cores (wgmma, sm_90a): operands go from global into shared memory
// by the copy engine alone, and the warpgroups read them there.
//
//                      rows m           columns n        a step brings
//   of_pixels          pixels of y      out channels     Rows pixels under one filter tap, Columns filters: 128 bytes of
//   (forward, and backward_data with dy in the place of x)   channels of each
//   of_filters         out channels     channels of one  64 pixels of dy: 64 of their channels beside each other, and the
//   (backward_weights)                  filter tap       same pixels of x under the tap
//
//   a block     two warpgroups compute Rows × Columns numbers, each Rows / 2 × Columns of them in registers; one thread
//               of a ninth warp starts the copies
//   stages      as many as shared memory holds (4 to 8), each with an arrival `full` that counts the bytes copied and one
//               `empty` that counts the warps whose products have read it; no barrier of the block after the first
//   products    of a step run while those of the step before are waited for and their stage is given back
//   patches     never stored: the copy engine walks the pixels of the image and reads zeros outside (tensor_map.hpp).
//               It wants channels side by side, so operands are rounded and put there first (operand_pack.hpp)
// What limits it: from the level-2 cache a step of 256 × 128 brings 48 KiB for 2·2²¹ operations in bf16. Clusters of
// blocks that share a copy would halve that. NVIDIA, PTX ISA 8; Chetlur et al. 2014 for the implicit product.
#pragma once

#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/operand.hpp"
#include "optimized/cuda/tensor_map.hpp"

namespace plumb::cuda {

enum class warpgroup_sum { of_pixels, of_filters };

struct warpgroup_arguments {
  tensor_map left = {}, right = {};
  offset rows = 0;
  int columns = 0;  ///< of one tap where the sum is of filters
  int taps = 1;     ///< that columns are counted for: 1 where the sum is of pixels
  int steps = 0;    ///< of a whole sum
  int slices = 1;
  int channel_blocks = 1;        ///< steps of one filter tap, where the sum is of pixels
  int taps_w = 1;                ///< filter columns
  int down = 1, right_by = 1;    ///< pixels from tap to tap: dilation
  int width = 1, height = 1;     ///< pixels are counted by rows of an image of this extent
  int step_w = 1, step_h = 1;    ///< in the tensor that they are read from
  int first_w = 0, first_h = 0;  ///< where the first one reads
  view4<float> out = {};         ///< n k h w of pixels; k c r s of filters
  bool flip = false;             ///< taps are stored in the other order
  int taps_h = 1;
  const float* bias = nullptr;
  offset bias_stride = 1;
  float* parts = nullptr;  ///< where slices > 1: [slice][row][tap][column]
};

/// Where number n of row m goes: first + n·stride.
struct warpgroup_row {
  float* first;
  offset stride;
};

template <warpgroup_sum Sum, class Words, int Rows, int Columns, plant Bug = plant::none>
struct warpgroup_tile {
  using arguments = warpgroup_arguments;
  static constexpr bool barriers = true, warpgroups = true;
  static constexpr bool of_pixels = Sum == warpgroup_sum::of_pixels;
  static_assert(of_pixels || Words::numbers == 2,
                "only 16-bit factors may lie with their terms below each other");
  static constexpr int groups = 2, threads = groups * 128 + 32;
  static constexpr int high = Rows / groups / 64;  ///< products of 64 rows that a warpgroup does
  static constexpr int left_bytes = Rows * copied_row_bytes, right_bytes = Columns * copied_row_bytes;
  static constexpr int stage_bytes = left_bytes + right_bytes;
  static constexpr int stages = smaller(8, 208 * 1024 / stage_bytes);
  static constexpr int numbers = copied_row_bytes / 4 * Words::numbers;  ///< channels of a row of 128 bytes
  static constexpr int step_pixels = 64;                                 ///< where the sum is of filters
  static constexpr unsigned box_bytes = step_pixels * copied_row_bytes;

  static constexpr launch_shape shape(const arguments& a) {
    return {tiles<std::int64_t>(a.rows, Rows) * tiles<std::int64_t>(a.columns, Columns) * a.taps * a.slices,
            threads};
  }

  template <class Block>
  struct shared {
    typename Block::template operands<stages * stage_bytes> operands;
    typename Block::arrival full[stages], empty[stages];
  };

  /// What a block computes: consecutive blocks share their rows of pixels, or pixels of one slice.
  struct part {
    offset row;
    int column, tap, slice;
  };
  static PLUMB_DEVICE part part_of(const arguments& a, std::int64_t number) {
    const offset wide = tiles(a.columns, Columns);
    const auto column = static_cast<int>(number % wide) * Columns;
    number /= wide;
    const auto tap = static_cast<int>(number % a.taps);
    number /= a.taps;
    const offset tall = tiles<offset>(a.rows, Rows);
    return {number % tall * Rows, column, tap, static_cast<int>(number / tall)};
  }
  static PLUMB_DEVICE int first_step(const arguments& a, int slice) {
    return static_cast<int>(offset{a.steps} * slice / a.slices);
  }

  struct place {
    int w, h, n;
  };
  static PLUMB_DEVICE place place_of(const arguments& a, offset pixel) {
    const offset row = pixel / a.width;
    return {static_cast<int>(pixel % a.width) * a.step_w + a.first_w,
            static_cast<int>(row % a.height) * a.step_h + a.first_h, static_cast<int>(row / a.height)};
  }

  template <class Block, class Shared>
  static PLUMB_DEVICE void copy(Block& block, Shared& s, const arguments& a, const part& p, int step,
                                const place& first, int stage) {
    const unsigned at = static_cast<unsigned>(stage * stage_bytes);
    block.expect(s.full[stage], Bug == plant::wrong_count ? left_bytes : stage_bytes);
    if constexpr (of_pixels) {
      const int tap = step / a.channel_blocks, channel = step % a.channel_blocks * numbers;
      block.copy_pixels(s.operands, at, a.left, channel, first.w, first.h, first.n,
                        tap % a.taps_w * a.right_by, tap / a.taps_w * a.down, s.full[stage]);
      block.copy_box(s.operands, at + left_bytes, a.right, channel, tap, p.column, s.full[stage]);
    } else {
      const place pixel = place_of(a, offset{step} * step_pixels);
      for (int i = 0; i < Rows / 64; ++i)
        block.copy_box(s.operands, at + static_cast<unsigned>(i) * box_bytes, a.left,
                       static_cast<int>(p.row) + 64 * i, step * step_pixels, 0, s.full[stage]);
      for (int i = 0; i < Columns / 64; ++i)
        block.copy_pixels(s.operands, at + left_bytes + static_cast<unsigned>(i) * box_bytes, a.right,
                          p.column + 64 * i, pixel.w, pixel.h, pixel.n, p.tap % a.taps_w * a.right_by,
                          p.tap / a.taps_w * a.down, s.full[stage]);
    }
  }

  /// The ninth warp. Of stage i's turn k `empty` is over when the products of turn k - 1 have read it.
  template <class Block, class Shared>
  static PLUMB_DEVICE void produce(Block& block, Shared& s, const arguments& a, const part& p) {
    const int first = first_step(a, p.slice), steps = first_step(a, p.slice + 1) - first;
    const place at = place_of(a, of_pixels ? p.row : 0);
    PLUMB_NO_UNROLL
    for (int i = 0; i < steps; ++i) {
      const int stage = i % stages, turn = i / stages;
      if (turn > 0 && Bug != plant::missing_barrier)
        block.wait(s.empty[stage], Bug == plant::wrong_parity ? turn & 1 : (turn - 1) & 1);
      copy(block, s, a, p, first + i, at, stage);
    }
  }

  /// The four products of a step: 32 bytes of terms each, or 16 pixels.
  template <class Block>
  static PLUMB_DEVICE void multiply(Block& block, float (&sum)[high][Columns / 2], unsigned stage,
                                    int group) {
    const unsigned left = stage + static_cast<unsigned>(group * high * 64) * copied_row_bytes,
                   right = stage + left_bytes;
    PLUMB_UNROLL
    for (unsigned k = 0; k < 4; ++k) PLUMB_UNROLL
    for (unsigned i = 0; i < high; ++i) {
      if constexpr (of_pixels) {
        constexpr unsigned skew = Bug == plant::wrong_descriptor ? 64 : 32;
        block.template multiply_group<Words, inside::terms, Columns>(
            sum[i], descriptor_of(left + i * 64 * copied_row_bytes + k * skew, 16, block_bytes),
            descriptor_of(right + k * 32, 16, block_bytes));
      } else {
        block.template multiply_group<Words, inside::lines, Columns>(
            sum[i], descriptor_of(left + i * box_bytes + k * 2 * block_bytes, box_bytes, block_bytes),
            descriptor_of(right + k * 2 * block_bytes, box_bytes, block_bytes));
      }
    }
  }

  template <class Block, class Shared>
  static PLUMB_DEVICE void consume(Block& block, Shared& s, const arguments& a, const part& p,
                                   float (&sum)[high][Columns / 2]) {
    const int steps = first_step(a, p.slice + 1) - first_step(a, p.slice), group = block.thread() / 128;
    const unsigned operands = block.address_of(s.operands);
    PLUMB_NO_UNROLL
    for (int i = 0; i < steps; ++i) {
      const int stage = i % stages;
      if (Bug != plant::no_wait) block.wait(s.full[stage], i / stages & 1);
      block.begin_products(sum);
      multiply(block, sum, operands + static_cast<unsigned>(stage * stage_bytes), group);
      block.end_products();
      if (Bug == plant::early_release) {
        block.arrive_warp(s.empty[stage]);
        continue;
      }
      block.template wait_products<1>(sum);
      if (i > 0) block.arrive_warp(s.empty[(i - 1) % stages]);
    }
    block.template wait_products<0>(sum);
  }

  static PLUMB_DEVICE warpgroup_row row_of(const arguments& a, const part& p, offset m) {
    if (a.slices > 1) return {a.parts + ((p.slice * a.rows + m) * a.taps + p.tap) * a.columns, 1};
    if constexpr (of_pixels) {
      const offset line = m / a.width;
      return {&a.out(line / a.height, 0, line % a.height, m % a.width), a.out.stride[1]};
    } else {
      const int r = p.tap / a.taps_w, s = p.tap % a.taps_w;
      return {&a.out(m, 0, a.flip ? a.taps_h - 1 - r : r, a.flip ? a.taps_w - 1 - s : s), a.out.stride[1]};
    }
  }

  /// Of every 16 × 8 numbers of a warp, lane 4g + q keeps rows g and g + 8, columns 2q and 2q + 1.
  template <class Block>
  static PLUMB_DEVICE void store(Block& block, const arguments& a, const part& p,
                                 const float (&sum)[high][Columns / 2]) {
    const int t = block.thread(), lane = t % 32;
    const offset m0 = p.row + t / 128 * high * 64 + t % 128 / 32 * 16 + lane / 4;
    PLUMB_UNROLL
    for (int i = 0; i < high; ++i) PLUMB_UNROLL
    for (int below = 0; below < 2; ++below) {
      const offset m = m0 + i * 64 + below * 8;
      if (Bug == plant::past_the_end ? m > a.rows : m >= a.rows) continue;
      const warpgroup_row row = row_of(a, p, m);
      PLUMB_UNROLL
      for (int j = 0; j < Columns / 4; ++j) {
        const int n = p.column + j / 2 * 8 + lane % 4 * 2 + j % 2;
        if (n >= a.columns) continue;
        const float bias = of_pixels && a.bias != nullptr && a.slices == 1 ? a.bias[n * a.bias_stride] : 0.0F;
        row.first[n * row.stride] = sum[i][j / 2 * 4 + below * 2 + j % 2] + bias;
      }
    }
  }

  template <class Block>
  static PLUMB_DEVICE void run(Block& block, shared<Block>& s, const arguments& a) {
    const part p = part_of(a, block.number());
    if (block.thread() == 0) {
      for (int i = 0; i < stages; ++i) {
        block.start(s.full[i], 1);
        block.start_warps(s.empty[i], groups * 4);
      }
      block.publish_starts();
    }
    block.barrier();
    if (block.thread() >= groups * 128) {
      if (block.thread() == groups * 128) produce(block, s, a, p);
      return;
    }
    float sum[high][Columns / 2];
    PLUMB_UNROLL
    for (int i = 0; i < high; ++i) PLUMB_UNROLL
    for (int j = 0; j < Columns / 2; ++j) sum[i][j] = 0;
    consume(block, s, a, p, sum);
    store(block, a, p, sum);
  }
};

/// Adds the slices of a sum of pixels: row m, column n of `parts` to the output.
struct pixels_in_order {
  offset columns = 0;
  int width = 1, height = 1;
  view4<float> out = {};
  const float* bias = nullptr;
  offset bias_stride = 1;

  struct number {
    float* at;
    float bias;
    PLUMB_DEVICE void operator=(float sum) const { *at = sum + bias; }
  };
  PLUMB_DEVICE number operator[](offset i) const {
    const offset n = i % columns, m = i / columns, line = m / width;
    return {&out(line / height, n, line % height, m % width), bias != nullptr ? bias[n * bias_stride] : 0.0F};
  }
};

/// The same of a sum of filters.
struct filters_in_order {
  int columns = 0, taps_w = 1, taps_h = 1;
  bool flip = false;
  view4<float> out = {};

  PLUMB_DEVICE float& operator[](offset i) const {
    const offset c = i % columns, tap = i / columns % (taps_w * taps_h), r = tap / taps_w, s = tap % taps_w;
    return out(i / columns / (taps_w * taps_h), c, flip ? taps_h - 1 - r : r, flip ? taps_w - 1 - s : s);
  }
};

}  // namespace plumb::cuda
