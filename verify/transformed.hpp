// What is known of a kernel that transforms its operands, multiplies the transforms and transforms the sums back: how
// large the numbers are that it adds, for each output it is to be judged on.
#pragma once

#include <string>
#include <vector>

namespace plumb {

/// For each entry of one `truths`: |error| ≤ factor·size + underflow·(error of one underflow).
struct transformed_sizes {
  std::vector<double> size;       ///< over the operands that are finite
  std::vector<double> underflow;  ///< how often a product or coefficient may meet the end of the range
  std::vector<char>
      may_spread;  ///< an operand of its tile or plane is ±inf or NaN, or may become so on the way: any value
  double factor = 0;
  std::string error;  ///< not empty: one sentence; this problem or pass has no such form
};

}  // namespace plumb
