// Simpler numbers. The order: 0, then 1, 2, 3, … each before its negative, then numbers with a fraction by
// the length of their significand, then infinities and NaN. Everything offered comes earlier in the order
// than the number itself, so that taking offers must end.
#pragma once

#include <vector>

#include "reference/core/dtype.hpp"

namespace plumb {

/// Non-zero numbers simpler than `value`, the boldest first, all representable in `type`. An index stays an
/// index: no negative numbers appear.
std::vector<double> simpler_values(double value, dtype type, bool is_index);

}  // namespace plumb
