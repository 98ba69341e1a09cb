// The kernel's own interface, which knows nothing of Plumb.
#pragma once

#include <cstdint>

struct linear_sizes {
  std::int64_t rows, inputs, units;
};

/// y[rows, units] = x[rows, inputs] · weight[units, inputs]ᵀ + bias, which may be nullptr.
void k_tail(const linear_sizes& a, const float* x, const float* weight, const float* bias, float* y);
