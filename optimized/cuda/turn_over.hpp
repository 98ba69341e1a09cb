// Matrices turned over and rounded, many at a time: activations from [channel][pixel] to [pixel][channel] and back, filters
// from [channel][tap] to [tap][channel], f32 to bf16 and back. A vendor's kernels want their operands so; ours have the
// like in operand_pack.hpp. A block has 32 rows × 32 columns; they pass through shared memory, so that threads read and
// write neighbours whichever axis lies innermost on either side. Memory limits it.
#pragma once

#include "optimized/cuda/conv_numbers.hpp"

namespace plumb::cuda {

/// The upper half of a float.
struct bf16_bits {
  unsigned short bits = 0;
};

PLUMB_DEVICE float widened(float v) { return v; }
PLUMB_DEVICE float widened(bf16_bits v) {
  const unsigned word = static_cast<unsigned>(v.bits) << 16;
  float f;
  __builtin_memcpy(&f, &word, sizeof f);
  return f;
}
PLUMB_DEVICE void store_rounded(float v, float& to) { to = v; }
/// To nearest, ties to even; a NaN stays one.
PLUMB_DEVICE void store_rounded(float v, bf16_bits& to) {
  unsigned word;
  __builtin_memcpy(&word, &v, sizeof word);
  const unsigned up = v == v ? 0x7fffU + (word >> 16 & 1U) : 0x400000U;
  to.bits = static_cast<unsigned short>((v == v ? word + up : word | up) >> 16);
}

/// Steps from matrix to matrix, row to row and column to column, in elements.
struct matrix_steps {
  offset matrix = 0, row = 1, column = 1;
  PLUMB_DEVICE offset at(offset m, offset r, offset c) const { return m * matrix + r * row + c * column; }
};

template <class From, class To>
struct turn_over_arguments {
  const From* from = nullptr;
  To* to = nullptr;
  offset matrices = 0, rows = 0, columns = 0;
  matrix_steps read = {}, write = {};
};

template <class From, class To>
struct turn_over {
  using arguments = turn_over_arguments<From, To>;
  static constexpr int threads = 256, side = 32, line = side + 1;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, side * line> numbers;
  };

  static constexpr launch_shape shape(const arguments& a) {
    return {a.matrices * tiles<offset>(a.rows, side) * tiles<offset>(a.columns, side), threads};
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const offset wide = tiles<offset>(a.columns, side), high = tiles<offset>(a.rows, side);
    const offset matrix = block.number() / wide / high, row0 = block.number() / wide % high * side,
                 column0 = block.number() % wide * side;
    for (int i = block.thread(); i < side * side; i += threads) {
      const bool along = a.read.column == 1;
      const int r = along ? i / side : i % side, c = along ? i % side : i / side;
      if (row0 + r < a.rows && column0 + c < a.columns)
        s.numbers[r * line + c] = widened(a.from[a.read.at(matrix, row0 + r, column0 + c)]);
    }
    block.barrier();
    for (int i = block.thread(); i < side * side; i += threads) {
      const bool along = a.write.column == 1;
      const int r = along ? i / side : i % side, c = along ? i % side : i / side;
      if (row0 + r < a.rows && column0 + c < a.columns)
        store_rounded(s.numbers[r * line + c], a.to[a.write.at(matrix, row0 + r, column0 + c)]);
    }
  }
};

}  // namespace plumb::cuda
