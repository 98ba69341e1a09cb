// Tiles of Intel AMX: eight registers of 16 rows × 64 bytes, and one instruction that multiplies them in bf16.
//   TDPBF16PS  C[m][n] += Σ_k A[m][2k]·B[k][2n]  +  Σ_k A[m][2k+1]·B[k][2n+1]       m, n, k < 16, C in f32
// A row of A is 32 neighbouring terms of one output row; a row of B is a pair of terms for each of 16 output columns.
// Pairs are 32-bit words here, as in tile_bf16.cpp. A product is a block of up to 2 × 2 tiles of C, which stay in
// registers over the whole sum: two tiles of A and two of B are loaded for four multiplications.
//   amx   the instructions
//   cpu   emulated, bit for bit: any processor can run the kernels that stand on this, and check them
// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS; volume 1, chapter 18.
#pragma once

#include <span>
#include <string>

#include "optimized/cpu/tile.hpp"

namespace plumb {

inline constexpr index_t tile_side = 16;              ///< rows of a tile, and words in a row
inline constexpr index_t block_side = 2 * tile_side;  ///< rows and columns of the largest block of C

/// C = init + Σ_i Σ_j A(i, j)·B(i, j). Lengths are in words: of f32, or of two bf16.
struct tile_product {
  const float *a = nullptr, *b = nullptr;
  index_t a_row = 0, b_row = 0;    ///< from row to row of a tile
  index_t a_next = 0, b_next = 0;  ///< from the first tile to the second
  index_t outer = 0, inner = 0;    ///< how many i and j
  const index_t* a_at = nullptr;   ///< where in `a` the terms of i begin
  index_t b_outer = 0;             ///< those of `b`, from i to i + 1
  index_t a_step = 0, b_step = 0;  ///< from j to j + 1
  const float* init = nullptr;     ///< block_side columns
  index_t init_row = 0;            ///< from row to row; 0: the same row for all
  float* out = nullptr;            ///< rows of block_side; only the tiles of the block are written
  int rows = 1, columns = 1;       ///< tiles of the block, 1 or 2
};

/// What runs products.
struct tile_machine {
  std::string_view name;
  std::string unavailable;                ///< not empty: why it cannot run here
  const tile_target* rounding = nullptr;  ///< rounds to pairs of bf16, finds the smallest, transposes
  void (*start)() = nullptr;              ///< makes the tile registers of this thread ready
  void (*stop)() = nullptr;
  void (*multiply)(const tile_product&) = nullptr;
};

/// The native one first, if this was compiled for x86-64.
std::span<const tile_machine> tile_machines();

/// Tile registers for as long as it lives, in the thread that made it.
class tile_session {
 public:
  explicit tile_session(const tile_machine& machine) : machine_(machine) { machine_.start(); }
  ~tile_session() { machine_.stop(); }
  tile_session(const tile_session&) = delete;
  tile_session& operator=(const tile_session&) = delete;

 private:
  const tile_machine& machine_;
};

}  // namespace plumb
