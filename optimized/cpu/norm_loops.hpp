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
  grouped,   ///< k1·(a·k4 - (k2 + ((b - k0)·k1)·k3)·k5)
};

/// One row whose every position has its own gamma and beta (layer_norm).
struct norm_row {
  const float *a = nullptr, *b = nullptr;         ///< x, or dy and x
  const float *gamma = nullptr, *beta = nullptr;  ///< `count` numbers each
  float mean = 0, scale = 0;                      ///< x̂ = (x - mean)·scale
  float first = 0, second = 0;                    ///< Σ dy·gamma and Σ dy·gamma·x̂
  float share = 0;                                ///< 1/m
  index_t count = 0;
};

inline constexpr int norm_constants = 6;

struct norm_target {
  std::string_view name;
  bool runs_here = false;
  /// first[0], second[0] of `count` neighbours; mean[0], scale[0].
  void (*sum_run[3])(const float* a, const float* b, const float* mean, const float* scale, index_t rows,
                     index_t count, float* first, float* second) = {};
  /// first[c], second[c] over `rows` rows of `channels` numbers; mean[c], scale[c].
  void (*sum_columns[3])(const float* a, const float* b, const float* mean, const float* scale, index_t rows,
                         index_t channels, float* first, float* second) = {};
  /// `past`: past the caches; out began on a cache line (past_caches.hpp). The constants of channel c are k[0][c] … k[5][c]; of a run, k[0][0] … k[5][0].
  void (*map_run[3])(const float* a, const float* b, const float* const* k, index_t rows, index_t count,
                     float* out, bool past) = {};
  void (*map_columns[3])(const float* a, const float* b, const float* const* k, index_t rows,
                         index_t channels, float* out, bool past) = {};
  /// out = x̂·gamma + beta; out = scale·(dy·gamma - (first + x̂·second)·share).
  void (*row_forward)(const norm_row& row, float* out, bool past) = nullptr;
  void (*row_backward)(const norm_row& row, float* out, bool past) = nullptr;
  /// first = Σ dy·gamma, second = Σ dy·gamma·x̂.
  void (*row_sums)(norm_row& row) = nullptr;
  /// dgamma += dy·x̂, dbeta += dy.
  void (*row_parameters)(const norm_row& row, float* dgamma, float* dbeta) = nullptr;
};

/// Every instruction set compiled in, best first.
std::span<const norm_target> norm_targets();

}  // namespace plumb
