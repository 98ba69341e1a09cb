// The register tile: the one inner loop that every fast convolution and matrix product here is built on.
//   out[j][·] = init[j][·] + Σ_terms x_term[j] · w_term[·]        j < pixels,  · < vectors·lanes
// One term reads `vectors` vectors of packed w, and for each of up to `pixels` rows one number of x that is
// broadcast and multiplied into that row's accumulators, which stay in registers over the whole sum. The
// terms are three nested loops that say where both go on, so that a sum can leave out the terms at either end
// of a loop. Goto & van de Geijn 2008, "Anatomy of
// high-performance matrix multiplication".
#pragma once

#include <span>

#include "reference/core/kernel.hpp"

namespace plumb {

struct tile_loop {
  index_t count = 1;
  index_t step = 0;    ///< elements of x from one iteration to the next
  index_t w_step = 0;  ///< elements of w
};

inline constexpr int most_tile_rows = 6;        ///< of any target
inline constexpr index_t most_tile_width = 64;  ///< vectors·lanes of any target

struct tile_call {
  const float* x = nullptr;
  index_t row[most_tile_rows] = {};  ///< where row j of x begins, in elements from x
  tile_loop loops[3];                ///< outermost first; any count may be 0
  const float* w = nullptr;
  const float* init = nullptr;  ///< the same vectors for every row; nullptr: zero
  bool add = false;             ///< start from what is in the output instead
  float* out = nullptr;         ///< every row has vectors·lanes elements
  index_t out_row[most_tile_rows] = {};
  int pixels = 0;   ///< 1 … tile_target::pixels
  int vectors = 0;  ///< 1 … tile_target::vectors

  /// `count` rows, x_step apart in x and out_step in the output.
  void even_rows(index_t count, index_t x_step, index_t out_step) {
    pixels = static_cast<int>(count);
    for (index_t j = 0; j < count; ++j) {
      row[j] = j * x_step;
      out_row[j] = j * out_step;
    }
  }
};

/// Tiles of neighbouring rows one after the other, for the same w: rows lie at even distances in x and in the output, and
/// what a call costs is paid once for all of them. `row`, `out_row` and `pixels` are not looked at.
struct tiles_call : tile_call {
  index_t count = 0;  ///< of rows
  index_t x_step = 0, out_step = 0;
};

/// The same product with the roles turned: vectors of neighbouring pixels, and w broadcast.
///   out[j][·] = init[j] + Σ_c Σ_t w[c][t][j] · x[c·channel_step + taps[t] + ·]     j < rows, · < vectors·lanes
/// w is read straight through, `rows` numbers a term.
struct strip_call {
  const float* x = nullptr;
  index_t channels = 0, channel_step = 0;
  const index_t* taps = nullptr;  ///< where each tap reads, in elements from x
  index_t tap_count = 0;
  const float* w = nullptr;
  const float* init = nullptr;  ///< one number a row; nullptr: zero
  float* out = nullptr;
  index_t out_step = 0;  ///< from row to row
  int rows = 0;          ///< 1 … tile_target::pixels
  int vectors = 0;       ///< 1 … tile_target::vectors
  index_t strips = 1;    ///< one behind the other, in x and in the output
};

/// One instruction set and its tile.
struct tile_target {
  std::string_view name;  ///< `avx3`, …: Highway's target names in lower case
  int lanes = 1;
  int vectors = 1;  ///< most vectors in a tile or strip
  int pixels = 1;   ///< most rows in a tile or strip
  void (*run)(const tile_call&) = nullptr;
  /// Null: there is `run` only. It takes up to `tiles_vectors`.
  void (*run_tiles)(const tiles_call&) = nullptr;
  int tiles_vectors = 0;
  /// The same as `run`, but x holds vectors too: a row is multiplied lane by lane, as depthwise filters need it.
  void (*run_lanewise)(const tile_call&) = nullptr;
  void (*run_strip)(const strip_call&) = nullptr;
  /// out[c·out_step + r] = in[r·in_step + c] for r < rows, c < columns.
  void (*transpose)(const float* in, index_t in_step, index_t rows, index_t columns, float* out,
                    index_t out_step) = nullptr;
  /// Not null: an element of x and of w is a pair of bf16, and `run` adds both products. It makes such pairs of
  /// `count` floats, the last one with a zero if they are odd.
  void (*round_pairs)(const float* from, index_t count, float* to) = nullptr;
  /// The smallest magnitude but zero in `count` such pairs; infinity if there is none.
  float (*smallest)(const float* pairs, index_t count) = nullptr;
  /// `run` for sums that may meet subnormal numbers, which `run` may take for zeros.
  void (*run_gradual)(const tile_call&) = nullptr;
  bool runs_here = false;

  index_t width() const { return index_t{lanes} * vectors; }
};

/// Every instruction set compiled in, best first.
std::span<const tile_target> tile_targets();
/// Those that round x and w to bf16 and sum in f32; they have no strips and nothing lane by lane.
std::span<const tile_target> bf16_tile_targets();

/// `count` cut into the fewest parts of at most `most`, as even as can be: the first element of part `i`.
struct even_parts {
  index_t count, parts;
  even_parts(index_t n, index_t most) : count(n), parts((n + most - 1) / most) {}
  index_t begin(index_t i) const { return count * i / parts; }
};

}  // namespace plumb
