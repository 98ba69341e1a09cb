// Every float there is, through an element-wise kernel: 2^32 inputs, and for each the correctly rounded answer.
//
// The kernel runs in the sandbox's worker, a million inputs a call, while the truth of the block before is worked out
// here in plain double. Its radius is four times the largest relative running error (running_error.hpp) of 16 places
// in each stretch of 8192 neighbours, across which an argument changes by less than a thousandth; where the formula
// branches in a stretch, every element carries its own. What the radius leaves open goes to 100 digits, and what is
// not surely within the bound to the oracle and the comparison that every other verdict comes from. This is how
// accuracy is published for mathematical functions (Zimmermann et al., "Accuracy of mathematical functions in single,
// double, … precision").
#pragma once

#include <functional>

#include "reference/core/record.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// Inputs by their bits, from `first` up to and with `last`.
struct float_range {
  std::int64_t first = 0, last = 0xffffffff;
};

struct sweep_options {
  std::vector<const kernel_info*> kernels;
  std::vector<std::string>
      problems;  ///< attributes for a layer: its first problem here; else the layer's defaults
  float_range range;
  int threads = 2;                                ///< of the oracle
  const record::sweep_section* resume = nullptr;  ///< go on where this left off
  std::function<void(const record::sweep_result&, double seconds_left)> progress;
  std::function<void(const record::sweep_section&)>
      keep;  ///< called every few seconds with what is known so far
};

record::sweep_section sweep(sandbox& box, const sweep_options& options);

}  // namespace plumb
