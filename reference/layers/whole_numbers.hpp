// Rounding a scalar to a whole number, for layers whose data choose cells. By comparisons alone, so that
// every scalar can do it: rationals, dual numbers (by their value), and running errors, which note a choice
// they cannot be sure of.
#pragma once

#include "reference/core/dtype.hpp"

namespace plumb {

/// The largest whole number ≤ v; held to ±2^60, and -2^60 for NaN.
template <class Scalar>
index_t floor_of(const Scalar& v) {
  constexpr index_t most = index_t{1} << 60;
  index_t reach = 1;
  while (reach < most && !(v >= Scalar(-reach) && v < Scalar(reach))) reach *= 2;
  index_t low = -reach, high = reach;
  while (high - low > 1) {
    const index_t middle = low + (high - low) / 2;
    (v >= Scalar(middle) ? low : high) = middle;
  }
  return low;
}

/// The smallest whole number ≥ v.
template <class Scalar>
index_t ceil_of(const Scalar& v) {
  return -floor_of(Scalar(-v));
}

}  // namespace plumb
