// How long it takes to certify every output of a problem, beside OpenBLAS dgemm on the matrix product of the same shape
// in the same run. The oracle's product is our own code; OpenBLAS is a judged peer and only the yardstick here.
#pragma once

#include <functional>

#include "reference/core/problem_set.hpp"
#include "reference/core/record.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

struct oracle_speed_options {
  std::vector<problem_set> sets;
  const kernel_info* kernel = nullptr;  ///< whose outputs are certified
  int threads = 2;
  int repetitions = 2;  ///< of either; the best counts
  std::uint64_t seed = 1;
  std::function<void(std::size_t done, std::size_t total, const std::string& now)> progress;
};

std::vector<record::oracle_timing> time_oracle(sandbox& box, const oracle_speed_options& options);

}  // namespace plumb
