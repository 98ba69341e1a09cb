// A linear layer, eight products at a time, and one at a time where the inputs are no multiple of eight. The list beside
// this file declines all such problems, so that the tail is right or wrong and nobody knows: coverage tells.
#include "k_tail.hpp"

void k_tail(const linear_sizes& a, const float* x, const float* weight, const float* bias, float* y) {
  constexpr std::int64_t lanes = 8;
  for (std::int64_t row = 0; row < a.rows; ++row)
    for (std::int64_t unit = 0; unit < a.units; ++unit) {
      const float* const in = x + row * a.inputs;
      const float* const w = weight + unit * a.inputs;
      float partial[lanes] = {};
      std::int64_t d = 0;
      for (; d + lanes <= a.inputs; d += lanes)
        for (std::int64_t lane = 0; lane < lanes; ++lane) partial[lane] += in[d + lane] * w[d + lane];
      float sum = bias != nullptr ? bias[unit] : 0.0F;
      for (const float p : partial) sum += p;
      for (; d < a.inputs; ++d) {
        sum += in[d] * w[d];  // the tail
      }
      y[row * a.units + unit] = sum;
    }
}
