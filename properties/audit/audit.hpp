// plumb audit: the real verifier, in the real sandbox, put to every planted fault of properties/faults, and to kernels
// without one. What it finds and how soon, what it misses, and what it accuses wrongly; and beside it what the usual
// practices find on the same faults.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "verify/runner.hpp"

namespace plumb {

struct audit_options {
  std::vector<std::string> globs;  ///< over kernel names, faulty and honest; empty: all
  double seconds = 60;             ///< wall time of everything
  bool practices = true;           ///< try the usual practices too
  verify_options base;             ///< generator, laws, shrinker and seed
  std::function<void(const std::string& now, std::size_t done, std::size_t of)> progress;
};

/// Throws std::invalid_argument if no kernel matches.
record::audit_section audit(const audit_options& options);

/// What fails the audit: faults that live, honest kernels of ours that are accused, weakened checks that nothing would
/// miss, noise that was missed or accused, counterexamples above one that fails too.
std::size_t survivors(const record::audit_section& a);
std::size_t living_mutants(const record::audit_section& a);
std::size_t noise_misjudged(const record::audit_section& a);
std::size_t not_minimal(const record::audit_section& a);
std::size_t false_alarms(const record::audit_section& a);

}  // namespace plumb
