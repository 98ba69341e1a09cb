// Regimes: how the inputs of a case are drawn, each for what it alone can see (numerics.md 3).
//
//   lattice    integers so small that every partial sum is exact: any order of summation gives the same bits
//   impulse    one-hot in one operand, distinct integers elsewhere: reads the Jacobian out of a linear kernel
//   zero_mean  independent, symmetric, full significands: errors do not grow with the length of a sum
//   positive   nothing negative, half the zeros of a rectified activation: biased accumulation shows
//   special    ±0, subnormals, the largest finite number, ±inf, NaN among ordinary data
//
// Every value is a function of (seed, tensor name, element number), see counter_random.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "reference/layers/layer.hpp"

namespace plumb {

enum class regime : std::uint8_t { lattice, impulse, zero_mean, positive, special };

inline constexpr std::array<std::string_view, 5> regime_names = {"lattice", "impulse", "zero_mean",
                                                                 "positive", "special"};
inline constexpr std::array<regime, 5> all_regimes = {regime::lattice, regime::impulse, regime::zero_mean,
                                                      regime::positive, regime::special};

constexpr std::string_view name_of(regime r) { return regime_names[static_cast<std::size_t>(r)]; }
constexpr std::optional<regime> parse_regime(std::string_view text) {
  for (const regime r : all_regimes)
    if (name_of(r) == text) return r;
  return std::nullopt;
}

/// Every tensor that the pass reads, in the order of `pass.reads`, optional tensors that the problem leaves
/// out skipped. Real values are representable in `type`. Index inputs are legal: below `index_bound`, and
/// sometimes the resolved attribute `ignore_index` if the layer has one. Saved outputs that a backward pass
/// reads are the reference's, computed in double from drawn inputs and rounded to `type`.
tensor_set<double> draw(const layer& l, const pass_spec& pass, regime r, std::uint64_t seed, dtype type);

}  // namespace plumb
