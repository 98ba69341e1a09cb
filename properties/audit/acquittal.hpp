// Acquittal: kernels without a fault put to the whole verifier, for as long as one likes. Every failure is a false
// alarm, or a finding if the kernel is a vendor's. A long run goes in rounds, each with a seed of its own, and adds to
// what earlier goes counted, so that cases and elements may be gathered over many of them.
#pragma once

#include <string>
#include <vector>

#include "verify/runner.hpp"

namespace plumb {

/// The sandbox of the planted faults and their honest twins. Throws sandbox_error if its worker was not built.
sandbox_options faulty_worker();
sandbox_options shipped_worker();

/// The kernels of that worker in which nothing is planted and whose name a glob matches (none: all).
std::vector<const kernel_info*> without_fault(const sandbox& box, const std::vector<std::string>& globs);

/// Judges them and adds what came out to the rows of `section`. `how` has the time and the seed.
void acquit(sandbox& box, const std::vector<const kernel_info*>& kernels, const std::string& origin,
            verify_options how, record::audit_section& section);

struct acquittal_options {
  std::vector<std::string> globs;  ///< over kernel names; empty: all but kernels in host execution
  double seconds = 60;             ///< wall time of this go
  verify_options base;
  std::function<void(const std::string& now, double elapsed)> progress;
  std::function<std::string()> stop;  ///< not empty once the run shall end: why
  std::function<void(const record::audit_section&)> checkpoint;
  const record::audit_section* earlier = nullptr;  ///< rounds that came before
};

/// Specimens and shipped kernels in turn on drawn problems, and shipped ones on grown problems; vendors' kernels are left
/// out. Throws std::invalid_argument if no kernel matches.
record::audit_section acquit_at_length(const acquittal_options& options);

}  // namespace plumb
