// The verifier on trial a second time: one of its checks is weakened at a time, and something must notice, a planted
// fault that then lives or an honest kernel that is then accused. A check that nothing would miss is either not needed
// or not tested, and both are findings (mutation analysis: DeMillo, Lipton & Sayward 1978).
#pragma once

#include <string>
#include <vector>

#include "verify/runner.hpp"

namespace plumb {

struct mutant {
  std::string name;
  std::string weakened;             ///< what was done, in one line
  std::string kernel;               ///< of the fault worker: who notices
  void (*weaken)(verify_options&);  ///< its `by`, or its regimes
};

const std::vector<mutant>& mutants();

}  // namespace plumb
