// Which blocks of a plugin have run, where it was compiled with -fsanitize-coverage=trace-pc: the compiler then calls
// __sanitizer_cov_trace_pc at the start of every edge (g++ and clang both do; g++ 12 knows no counters of its own), and
// the worker, which defines that function, notes from where. Nothing is known here of blocks that did not run; the
// other side reads them off the library (verify/coverage).
#pragma once

#include <atomic>
#include <string>

#include "reference/core/registry.hpp"

namespace plumb {

/// From here on `blocks` counts the edges that have run, ever more.
void count_coverage_in(std::atomic<std::uint32_t>& blocks);

/// The worker's service `coverage`: for each watched library a line with its path and one with the places, in
/// hexadecimal, that called. The request does not matter.
std::string report_coverage(const registry& kernels, const std::string& request);

}  // namespace plumb
