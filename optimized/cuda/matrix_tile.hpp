// A matrix product out = A·B by tiles in shared memory, in f32 without tensor cores; what A, B and out are is the
// `Problem`'s business, so convolutions (as implicit matrix products: no matrix of patches is ever stored) and fully
// connected layers share it.
//
//   a block      256 threads compute Size::m × Size::n numbers; a thread has m/16 × n/16 of them in registers, as
//                squares of 4 × 4 that lie 64 apart, so that a warp reads shared memory without bank conflicts
//   a step       8 of the numbers that are summed over: A's 8 × m and B's 8 × n elements are loaded into registers while
//                the step before is multiplied, then stored into the other of two stages; one barrier a step
//   split        the sum may be cut into slices, one block each; then the Problem stores partial sums and another body
//                adds them in order, so that the result does not depend on who came first
// What limits it: 128 × 128 is 64 multiply-adds for 4 loads of 16 bytes from shared memory, so the arithmetic; smaller
// tiles by those loads. The index arithmetic of a gather (divisions by filter sizes) is done once a load, off the path
// of the multiply-adds, but in the same instruction slots.
// Goto & van de Geijn 2008 (blocking); Chetlur et al. 2014, "cuDNN" (the implicit product); Boehm 2022 (this shape).
//
// A Problem is a struct with
//     struct arguments { int rows; offset columns; int groups, slices; … };
//     static constexpr bool rows_along_k, columns_along_k;   // which neighbour in memory neighbouring threads load
//     struct row, struct column;                             // what is known once m, or n, is
//     row row_at(a, group, slice, m);   column column_at(a, group, slice, n);   // outside: to be remembered
//     float left(a, row, k);   float right(a, column, k);    // 0 outside, for 0 ≤ k < depth(a, slice)
//     int depth(a, slice);
//     out_column out_at(a, group, slice, n);                 // inside only; divisions once a column, not once a number
//     float with_bias(a, group, m, n, sum);                  // what is stored
#pragma once

#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

template <int M, int N>
struct tile_size {
  static constexpr int m = M, n = N;
};
using large_tile = tile_size<128, 128>;
using small_tile = tile_size<64, 64>;

template <class Problem, class Size, plant Bug = plant::none>
struct matrix_tile {
  using arguments = typename Problem::arguments;
  static constexpr int threads = 256, depth = 8;
  static constexpr bool barriers = true;
  static constexpr int sub_m = Size::m / 64, sub_n = Size::n / 64;  ///< squares of 4 × 4 a thread has
  static constexpr int loads_m = Size::m * depth / threads, loads_n = Size::n * depth / threads;
  // A step's line of A or B is one square longer than it needs to be, so that stores along k spread over the banks.
  static constexpr int line_m = Size::m + 4, line_n = Size::n + 4;

  template <class Block>
  struct shared {
    typename Block::template array<float, 2 * depth * line_m> a;
    typename Block::template array<float, 2 * depth * line_n> b;
  };

  static constexpr launch_shape shape(const arguments& a) {
    return {std::int64_t{a.groups} * a.slices * tiles<std::int64_t>(a.rows, Size::m) *
                tiles<std::int64_t>(a.columns, Size::n),
            threads};
  }

  /// What a thread keeps from step to step.
  struct held {
    typename Problem::row row[loads_m];
    typename Problem::column column[loads_n];
    float a[loads_m], b[loads_n];
    float sum[4 * sub_m][4 * sub_n];
  };

  // Which element of a step's panel the thread's load i is: (place along m or n, place along k).
  template <bool AlongK, int Length>
  static PLUMB_DEVICE int place(int t, int i) {
    return AlongK ? t / depth + i * (threads / depth) : t % Length;
  }
  template <bool AlongK, int Length>
  static PLUMB_DEVICE int step_place(int t, int i) {
    return AlongK ? t % depth : t / Length + i * (threads / Length);
  }

  static PLUMB_DEVICE void load(const arguments& a, held& h, int t, int step, int terms) {
    PLUMB_UNROLL
    for (int i = 0; i < loads_m; ++i) {
      const int k = step * depth + step_place<Problem::rows_along_k, Size::m>(t, i);
      h.a[i] = k < terms ? Problem::left(a, h.row[i], k) : 0.0F;
    }
    PLUMB_UNROLL
    for (int i = 0; i < loads_n; ++i) {
      const int k = step * depth + step_place<Problem::columns_along_k, Size::n>(t, i);
      h.b[i] = k < terms ? Problem::right(a, h.column[i], k) : 0.0F;
    }
  }

  template <class Shared>
  static PLUMB_DEVICE void put(Shared& s, const held& h, int t, int stage) {
    PLUMB_UNROLL
    for (int i = 0; i < loads_m; ++i)
      s.a[(stage * depth + step_place<Problem::rows_along_k, Size::m>(t, i)) * line_m +
          place<Problem::rows_along_k, Size::m>(t, i) +
          (Bug == plant::past_shared && stage == 1 ? depth * line_m : 0)] = h.a[i];
    PLUMB_UNROLL
    for (int i = 0; i < loads_n; ++i)
      s.b[(stage * depth + step_place<Problem::columns_along_k, Size::n>(t, i)) * line_n +
          place<Problem::columns_along_k, Size::n>(t, i)] = h.b[i];
  }

  template <class Shared>
  static PLUMB_DEVICE void multiply(Shared& s, held& h, int t, int stage) {
    const int x = t % 16 * 4, y = t / 16 * 4;
    PLUMB_UNROLL
    for (int k = 0; k < depth; ++k) {
      float a[4 * sub_m], b[4 * sub_n];
      PLUMB_UNROLL
      for (int i = 0; i < sub_m; ++i) s.a.four((stage * depth + k) * line_m + i * 64 + y, a + 4 * i);
      PLUMB_UNROLL
      for (int j = 0; j < sub_n; ++j) s.b.four((stage * depth + k) * line_n + j * 64 + x, b + 4 * j);
      PLUMB_UNROLL
      for (int i = 0; i < 4 * sub_m; ++i) PLUMB_UNROLL
      for (int j = 0; j < 4 * sub_n; ++j) h.sum[i][j] += a[i] * b[j];
    }
  }

  static PLUMB_DEVICE void store(const arguments& a, const held& h, int t, int group, int slice, int m0,
                                 offset n0) {
    const int x = t % 16 * 4, y = t / 16 * 4;
    PLUMB_UNROLL
    for (int j = 0; j < 4 * sub_n; ++j) {
      const offset n = n0 + j / 4 * 64 + x + j % 4;
      if (Bug == plant::past_the_end ? n > a.columns : n >= a.columns) continue;
      const out_column out = Problem::out_at(a, group, slice, n);
      PLUMB_UNROLL
      for (int i = 0; i < 4 * sub_m; ++i) {
        const int m = m0 + i / 4 * 64 + y + i % 4;
        if (m < a.rows) out.first[m * out.stride] = Problem::with_bias(a, group, m, n, h.sum[i][j]);
      }
    }
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const int t = block.thread();
    const offset wide = tiles<offset>(a.columns, Size::n), high = tiles<offset>(a.rows, Size::m);
    const offset n0 = block.number() % wide * Size::n;
    const int m0 = static_cast<int>(block.number() / wide % high) * Size::m;
    const int slice = static_cast<int>(block.number() / wide / high % a.slices);
    const int group = static_cast<int>(block.number() / wide / high / a.slices);
    held h;
    PLUMB_UNROLL
    for (int i = 0; i < loads_m; ++i)
      h.row[i] = Problem::row_at(a, group, slice, m0 + place<Problem::rows_along_k, Size::m>(t, i));
    PLUMB_UNROLL
    for (int i = 0; i < loads_n; ++i)
      h.column[i] = Problem::column_at(a, group, slice, n0 + place<Problem::columns_along_k, Size::n>(t, i));
    PLUMB_UNROLL
    for (int i = 0; i < 4 * sub_m; ++i) PLUMB_UNROLL
    for (int j = 0; j < 4 * sub_n; ++j) h.sum[i][j] = 0;

    const int terms = Problem::depth(a, slice);
    const int steps = Bug == plant::dropped_tail ? terms / depth : tiles(terms, depth);
    // Step -1 only loads: the gathers stand once in the code, which is most of it.
    PLUMB_NO_UNROLL
    for (int step = -1; step < steps; ++step) {
      const int stage = step & 1;
      if (step + 1 < steps) load(a, h, t, step + 1, terms);
      if (step >= 0) multiply(s, h, t, Bug == plant::wrong_stage && step == 2 ? 1 - stage : stage);
      if (step + 1 < steps) put(s, h, t, 1 - stage);
      if (Bug == plant::lonely_barrier && t >= 128 && step + 1 == steps) return;
      if (Bug != plant::missing_barrier) block.barrier();
    }
    store(a, h, t, group, slice, m0, n0);
  }
};

/// Adds the slices of a sum that was cut: out[i] = Σ part[slice·count + i], in order. `Out` stores element i.
template <class Out, plant Bug = plant::none>
struct slice_sum {
  struct arguments {
    const float* parts = nullptr;
    offset count = 0;
    int slices = 0;
    Out out;
  };
  template <class Block>
  struct shared {};
  static constexpr int threads = 256;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread();
    if (i >= a.count) return;
    float sum = 0;
    if constexpr (Bug == plant::unzeroed_sum) sum = a.out[i];
    for (int slice = 0; slice < a.slices; ++slice) sum += a.parts[slice * a.count + i];
    a.out[i] = sum;
  }
};

#ifdef __CUDACC__
/// Both tiles of each product, as device code.
template <class... Products>
struct product_code {
  static const void* const launches[];
};
template <class... Products>
const void* const product_code<Products...>::launches[] = {
    reinterpret_cast<const void*>(&launch_on_device<matrix_tile<Products, large_tile>>)...,
    reinterpret_cast<const void*>(&launch_on_device<matrix_tile<Products, small_tile>>)...};
#endif

}  // namespace plumb::cuda
