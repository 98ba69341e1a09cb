// How a product of warpgroups finds a factor in shared memory: a 64-bit descriptor that both sides build and host
// execution takes apart again. Rows of 128 bytes as the copy engine leaves them (tensor_map.hpp), eight of them a block
// of 1024 bytes, blocks at 1024-byte boundaries. The factor is a matrix of lines (rows of a, columns of b) and terms.
//   terms_inside   a row is a line; a block is 8 lines; the next 8 lines lie `block_step` on
//   lines_inside   a row is a term of 64 lines; a block is 8 terms; the next 8 terms lie `block_step` on, the next 64
//                  lines `line_step` on. Only for 16-bit numbers
// NVIDIA, PTX ISA 8, "Asynchronous warpgroup level matrix multiply-accumulate", matrix descriptor format.
#pragma once

#include "optimized/cuda/body.hpp"

namespace plumb::cuda {

enum class inside { terms, lines };

constexpr unsigned block_bytes = 1024;

/// Bytes 0 … 2¹⁸-1 of shared memory, all multiples of 16.
PLUMB_DEVICE std::uint64_t descriptor_of(unsigned address, unsigned line_step, unsigned block_step) {
  constexpr std::uint64_t rows_of_128_bytes = std::uint64_t{1} << 62;
  return std::uint64_t{(address & 0x3ffffU) >> 4} | std::uint64_t{line_step >> 4} << 16 |
         std::uint64_t{block_step >> 4} << 32 | rows_of_128_bytes;
}

}  // namespace plumb::cuda
