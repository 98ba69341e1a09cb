// Regime `huge`: tensors of more than 2^31 elements, where an index of 32 bits runs over. Memory is one stretch mapped
// again and again (periodic.hpp), so a case takes seconds and some megabytes; outputs are looked at where they are asked
// for: the first, the last, around every power of two beyond 2^30, and some hundred more.
#pragma once

#include <functional>

#include "reference/core/record.hpp"
#include "verify/case.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

struct huge_answer {
  record::verdict verdict = record::verdict::skipped;
  std::string reason;  ///< why skipped or failed
  std::string problem;
  std::int64_t sampled = 0;  ///< outputs compared
  double seconds = 0;
};

/// The kernel on one such problem. Sums of products and element-wise passes can be judged; others are skipped.
huge_answer judge_huge(sandbox& box, const kernel_info& kernel, const std::string& problem);

/// The case that repeats it: its line has the regime `huge` and nothing else that matters.
test_case huge_case_of(const kernel_info& kernel, const std::string& problem);
/// Throws text_error if there is no such kernel or problem.
huge_answer replay_huge(sandbox& box, const test_case& c);

}  // namespace plumb
