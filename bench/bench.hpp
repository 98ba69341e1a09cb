// `plumb bench`: kernels against each other on problem sets. Each problem, pass and layout is a contest
// (contest.hpp); here is who competes, how the seconds are shared, and what the samples mean: medians, ratios
// to a baseline with intervals, operations and bytes a second, the share of the roof.
#pragma once

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "reference/core/problem_set.hpp"
#include "reference/core/record.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// Nothing to time: one sentence that says what was selected and what was expected (exit code 2).
class bench_error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A verdict that the caller has already found by thorough verification.
struct known_verdict {
  record::verdict verdict = record::verdict::inconclusive;
  std::string reason;
};

struct bench_progress {
  std::size_t done = 0, total = 0;  ///< contests
  std::size_t failures = 0;         ///< kernels without a number because they are wrong
  double elapsed = 0, budget = 0;   ///< seconds
  std::string now;                  ///< `conv2d.forward conv2d x=1x3x5x5 …`
};

/// What a run will take at least: every kernel is judged and timed once on every problem, whatever its budget. Foreseen
/// from the work alone, for a machine like those of today: right to within a factor of two.
struct bench_estimate {
  std::size_t contests = 0;  ///< problem, pass and layout
  std::size_t entries = 0;   ///< kernels in them, all told
  double least_seconds = 0;
};

struct bench_options {
  std::vector<const kernel_info*> kernels;  ///< the competitors, of any layers and passes
  std::vector<problem_set> sets;
  std::string against;  ///< glob for the baseline; empty: the first peer named onednn of the same layer and
                        ///< pass, else the first peer, else the first kernel
  std::vector<layout> layouts = {layout::nchw};
  double seconds = 30;  ///< wall time of the whole run, judging included, all visits together
  int threads = 0;      ///< 0: as many as this process may use
  int rounds = 11;      ///< of a visit
  std::uint64_t seed = 1;
  /// Asked before a kernel competes; a bad verdict keeps it out. May be empty: the contest's own check then
  /// decides.
  std::function<std::optional<known_verdict>(const kernel_info&, const std::string& problem, layout)> known;
  std::function<void(const bench_progress&)> progress;
  std::function<void(const bench_estimate&)> before;  ///< told before anything is run
};

/// A point above this share of the best roof sample of the run is an error of measurement, not a result.
inline constexpr double most_roof_share = 1.1;

/// `box` should fill no heap memory (sandbox_options::fill_heap = false): it is timed too. Throws
/// bench_error, and text_error or shape_error for a problem that no layer takes.
record::bench_section run_bench(sandbox& box, const bench_options& options);

}  // namespace plumb
