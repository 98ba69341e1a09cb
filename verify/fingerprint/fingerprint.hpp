// plumb fingerprint: what a kernel's arithmetic is, from measurements alone, beside what it declares. A kernel that
// adds in fewer bits than it says fails however small its errors are on ordinary data; one whose tree is known gets a
// tighter bound, γ_h for the roundings on the longest way instead of γ_n for any order (numerics.md 2.1 and 6).
#pragma once

#include <functional>
#include <limits>

#include "reference/core/record.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

struct fingerprint_options {
  std::vector<const kernel_info*> kernels;
  std::vector<std::string>
      problems;  ///< the first of its layer that a kernel takes is asked in full, the next for size
  std::function<void(std::size_t done, const std::string& now)> progress;
  double seconds = std::numeric_limits<double>::infinity();  ///< kernels whose turn comes later are left out
};

record::fingerprint_section take_fingerprints(sandbox& box, const fingerprint_options& options);

/// Whether a kernel declares sums whose arithmetic can be measured, and is answerable for what it declares.
bool has_fingerprint(const kernel_info& kernel);

}  // namespace plumb
