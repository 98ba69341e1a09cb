// How a loss becomes one number: the mean of its terms, their sum, or not at all.
#pragma once

#include "reference/core/attributes.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

enum class reduction_rule : std::uint8_t { mean, sum, none };
template <>
struct choices<reduction_rule> {
  static constexpr std::array<std::string_view, 3> names = {"mean", "sum", "none"};
};

/// sum / weight. A mean over nothing is 0/0 = NaN; exact scalars, which have no NaN, say 0.
template <class T>
T mean_of(const T& sum, const T& weight) {
  if constexpr (is_exact_v<T>)
    if (weight == T(0)) return T(0);
  return sum / weight;
}

}  // namespace plumb
