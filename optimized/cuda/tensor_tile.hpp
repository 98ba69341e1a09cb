// A matrix product by tensor cores (mma.sync, sm_80 and later): operands rounded to tf32 or bf16 when they are stored into
// shared memory, sums in f32. The Problem is the same as in matrix_tile.hpp, so every pass of a convolution has it.
//
//   a block     8 warps compute 128 × 128 numbers, a warp 32 × 64 as 2 × 8 products of 16 × 8
//   a step      16 words of 32 bits of A's and B's lines: 16 numbers of tf32 or 32 of bf16, two a word, so that both
//               formats lie and are read alike; two stages, one barrier a step, loads held in registers meanwhile
//   lines       20 words, 4 of them unused: the 32 words that a fragment's load reads lie in 32 banks
// What limits it: the gathers and their index arithmetic, which the tensor cores wait for; fragments are loaded a word at
// a time, without ldmatrix. Hopper's own way is warpgroup_tile.hpp.
// Rounding: to nearest, so u = 2⁻¹¹ (tf32) or 2⁻⁸ (bf16) for each operand; products are exact in f32, and how the sum of
// one mma is rounded is the hardware's. NVIDIA, PTX ISA 8, "Warp-level matrix instructions".
#pragma once

#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

#ifndef __CUDACC__
#include <bit>

#include "reference/core/dtype.hpp"
#endif

namespace plumb::cuda {

/// Finite numbers beyond the largest of a narrower format become that one, not infinity, which times zero would be a NaN
/// where the true product is 0; the error is no larger than that of rounding elsewhere.
PLUMB_DEVICE float no_further_than(float most, float v) {
  const bool finite = v - v == 0.0F;
  if (!finite) return v;
  return v > most ? most : v < -most ? -most : v;
}

/// How many numbers a word holds, how words are made, and how a warp multiplies 16 × 8 words by 8 × 8 (the lines of b):
/// c += a·b. On a device that is one instruction; on the CPU the threads of a warp exchange their words (host_launch.hpp)
/// and `dot` is one word of a times one of b.
struct tf32_words {
  static constexpr int numbers = 1;
  static constexpr float most = 0x1.ffcp127F;
#ifdef __CUDACC__
  static PLUMB_DEVICE unsigned pack(const float* v) {
    unsigned word = 0;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(no_further_than(most, v[0])));
    return word;
  }
  static PLUMB_DEVICE void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  static unsigned pack(const float* v) {
    const auto bits = std::bit_cast<unsigned>(no_further_than(most, v[0]));
    const bool finite = (bits & 0x7f800000U) != 0x7f800000U;
    return finite ? (bits + 0x1000U) & ~0x1fffU : bits;  // to nearest, ties away from zero
  }
  static float dot(float c, unsigned a, unsigned b) {
    return c + std::bit_cast<float>(a) * std::bit_cast<float>(b);
  }
#endif
};

struct bf16_words {
  static constexpr int numbers = 2;
  static constexpr float most = 0x1.fep127F;
#ifdef __CUDACC__
  static PLUMB_DEVICE unsigned pack(const float* v) {
    unsigned word = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
        : "=r"(word)
        : "f"(no_further_than(most, v[1])), "f"(no_further_than(most, v[0])));
    return word;
  }
  static PLUMB_DEVICE void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  static unsigned pack(const float* v) {
    return bf16(no_further_than(most, v[0])).bits |
           static_cast<unsigned>(bf16(no_further_than(most, v[1])).bits) << 16;
  }
  static float dot(float c, unsigned a, unsigned b) {
    c += std::bit_cast<float>(a << 16) * std::bit_cast<float>(b << 16);
    return c + std::bit_cast<float>(a & 0xffff0000U) * std::bit_cast<float>(b & 0xffff0000U);
  }
#endif
};

template <class Problem, class Words>
struct tensor_tile {
  using arguments = typename Problem::arguments;
  static constexpr int threads = 256, side = 128, words = 16, line = words + 4;
  static constexpr int loads = side * words / threads;
  static constexpr int depth = words * Words::numbers;  ///< numbers of a step
  static constexpr bool barriers = true;

  static constexpr launch_shape shape(const arguments& a) {
    return {std::int64_t{a.groups} * a.slices * tiles<std::int64_t>(a.rows, side) *
                tiles<std::int64_t>(a.columns, side),
            threads};
  }

  template <class Block>
  struct shared {
    typename Block::template array<unsigned, 2 * side * line> a, b;
  };

  // Of the thread's load i: its place along m or n, and its word along k.
  template <bool AlongK>
  static PLUMB_DEVICE int place(int t, int i) {
    return AlongK ? t / words + i * (threads / words) : t % side;
  }
  template <bool AlongK>
  static PLUMB_DEVICE int word(int t, int i) {
    return AlongK ? t % words : t / side + i * (threads / side);
  }

  struct held {
    typename Problem::row row[loads];
    typename Problem::column column[loads];
    unsigned a[loads], b[loads];
    float sum[2][8][4];
  };

  static PLUMB_DEVICE void load(const arguments& a, held& h, int t, int step, int terms) {
    PLUMB_UNROLL
    for (int i = 0; i < loads; ++i) {
      float left[2] = {}, right[2] = {};
      PLUMB_UNROLL
      for (int j = 0; j < Words::numbers; ++j) {
        const int k = step * depth + word<Problem::rows_along_k>(t, i) * Words::numbers + j;
        left[j] = k < terms ? Problem::left(a, h.row[i], k) : 0.0F;
        const int l = step * depth + word<Problem::columns_along_k>(t, i) * Words::numbers + j;
        right[j] = l < terms ? Problem::right(a, h.column[i], l) : 0.0F;
      }
      h.a[i] = Words::pack(left);
      h.b[i] = Words::pack(right);
    }
  }

  template <class Shared>
  static PLUMB_DEVICE void put(Shared& s, const held& h, int t, int stage) {
    PLUMB_UNROLL
    for (int i = 0; i < loads; ++i) {
      s.a[(stage * side + place<Problem::rows_along_k>(t, i)) * line + word<Problem::rows_along_k>(t, i)] =
          h.a[i];
      s.b[(stage * side + place<Problem::columns_along_k>(t, i)) * line +
          word<Problem::columns_along_k>(t, i)] = h.b[i];
    }
  }

  /// Fragments as the PTX ISA lays them out: lane = 4·g + q holds rows g and g + 8, words q and q + 4.
  template <class Block, class Shared>
  static PLUMB_DEVICE void multiply(Block& block, Shared& s, held& h, int t, int stage) {
    const int g = t % 32 / 4, q = t % 4, m0 = t / 64 * 32, n0 = t / 32 % 2 * 64;
    PLUMB_UNROLL
    for (int k = 0; k < words; k += 8) {
      unsigned a[2][4];
      PLUMB_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int at = (stage * side + m0 + 16 * i + g) * line + k + q;
        a[i][0] = s.a[at], a[i][1] = s.a[at + 8 * line], a[i][2] = s.a[at + 4],
        a[i][3] = s.a[at + 8 * line + 4];
      }
      PLUMB_UNROLL
      for (int j = 0; j < 8; ++j) {
        const int at = (stage * side + n0 + 8 * j + g) * line + k + q;
        const unsigned b[2] = {s.b[at], s.b[at + 4]};
        PLUMB_UNROLL
        for (int i = 0; i < 2; ++i) block.template multiply<Words>(h.sum[i][j], a[i], b);
      }
    }
  }

  static PLUMB_DEVICE void store(const arguments& a, const held& h, int t, int group, int slice, int m0,
                                 offset n0) {
    const int g = t % 32 / 4, q = t % 4;
    PLUMB_UNROLL
    for (int j = 0; j < 8; ++j) PLUMB_UNROLL
    for (int right = 0; right < 2; ++right) {
      const offset n = n0 + t / 32 % 2 * 64 + 8 * j + 2 * q + right;
      if (n >= a.columns) continue;
      const out_column out = Problem::out_at(a, group, slice, n);
      PLUMB_UNROLL
      for (int i = 0; i < 2; ++i) PLUMB_UNROLL
      for (int below = 0; below < 2; ++below) {
        const int m = m0 + t / 64 * 32 + 16 * i + g + 8 * below;
        if (m < a.rows)
          out.first[m * out.stride] = Problem::with_bias(a, group, m, n, h.sum[i][j][2 * below + right]);
      }
    }
  }

  template <class Block>
  static PLUMB_DEVICE void run(Block& block, shared<Block>& s, const arguments& a) {
    const int t = block.thread();
    const offset wide = tiles<offset>(a.columns, side), high = tiles<offset>(a.rows, side);
    const offset n0 = block.number() % wide * side;
    const int m0 = static_cast<int>(block.number() / wide % high) * side;
    const int slice = static_cast<int>(block.number() / wide / high % a.slices);
    const int group = static_cast<int>(block.number() / wide / high / a.slices);
    held h = {};
    PLUMB_UNROLL
    for (int i = 0; i < loads; ++i) {
      h.row[i] = Problem::row_at(a, group, slice, m0 + place<Problem::rows_along_k>(t, i));
      h.column[i] = Problem::column_at(a, group, slice, n0 + place<Problem::columns_along_k>(t, i));
    }
    const int terms = Problem::depth(a, slice), steps = tiles(terms, depth);
    // Step -1 only loads: the gathers stand once in the code, which is most of it.
    PLUMB_NO_UNROLL
    for (int step = -1; step < steps; ++step) {
      const int stage = step & 1;
      if (step + 1 < steps) load(a, h, t, step + 1, terms);
      if (step >= 0) multiply(block, s, h, t, stage);
      if (step + 1 < steps) put(s, h, t, 1 - stage);
      block.barrier();
    }
    store(a, h, t, group, slice, m0, n0);
  }
};

}  // namespace plumb::cuda
