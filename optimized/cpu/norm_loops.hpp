// The inner loops of the normalisations, for every instruction set: sums over numbers about a centre, and what is
// written from them. `run` is a stretch of neighbours with one set of constants; `columns` are rows of channels, each
// channel with its own sums and constants (channels last).
#pragma once

#include <span>
#include <string_view>

#include "reference/core/dtype.hpp"

namespace plumb {

enum class norm_sum : int {
  total,      ///< Σ a
  squares,    ///< Σ (a - mean)²
  gradients,  ///< Σ a and Σ a·((b - mean)·scale)
};
enum class norm_map : int {
  forward,   ///< (a - k0)·k1·k3 + k2
  backward,  ///< k4·((a - k2) - ((b - k0)·k1)·k3)
};

struct norm_target {
  std::string_view name;
  bool runs_here = false;
  /// first[0], second[0] of `count` neighbours; mean[0], scale[0].
  void (*sum_run[3])(const float* a, const float* b, const float* mean, const float* scale, index_t rows,
                     index_t count, float* first, float* second) = {};
  /// first[c], second[c] over `rows` rows of `channels` numbers; mean[c], scale[c].
  void (*sum_columns[3])(const float* a, const float* b, const float* mean, const float* scale, index_t rows,
                         index_t channels, float* first, float* second) = {};
  /// `past`: past the caches; out began on a cache line (past_caches.hpp). The constants of channel c are k[0][c] … k[4][c]; of a run, k[0][0] … k[4][0].
  void (*map_run[2])(const float* a, const float* b, const float* const* k, index_t rows, index_t count,
                     float* out, bool past) = {};
  void (*map_columns[2])(const float* a, const float* b, const float* const* k, index_t rows,
                         index_t channels, float* out, bool past) = {};
};

/// Every instruction set compiled in, best first.
std::span<const norm_target> norm_targets();

}  // namespace plumb
