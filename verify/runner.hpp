// The runner: spends a budget of seconds, or a list of problems, on judging kernels, and fills the record.
// Problems come from a generator (or are fixed), each is put to all kernels of its layer and pass at once;
// failures are shrunk and listed with a replay line. Generators, laws and the shrinker are handed in: they
// live above this room.
#pragma once

#include <functional>

#include "verify/exam.hpp"
#include "verify/law.hpp"
#include "verify/single_case.hpp"

namespace plumb {

struct run_progress {
  double elapsed = 0;
  double budget = 0;                ///< seconds; 0: a list of problems
  std::size_t done = 0, total = 0;  ///< problems of the list
  std::int64_t cases = 0, calls = 0, failures = 0;
  std::string now;  ///< what is being examined
};

/// A failing case, told as it is found and before it is shrunk.
struct sighting {
  const kernel_info* kernel = nullptr;
  std::string family;      ///< the regime, or `law:NAME`
  std::string kind;        ///< as in `failure`
  std::int64_t cases = 0;  ///< of this kernel so far, this one included
  double seconds = 0;      ///< of the run so far, shrinking included
};

struct verify_options {
  std::vector<const kernel_info*> kernels;
  std::vector<std::string> problems;  ///< judge these; empty: generate for `seconds`
  double seconds = 10;
  std::uint64_t seed = 1;
  int shard = 0, shards = 1;
  std::vector<test_case> regressions;  ///< replayed first
  std::vector<law> laws;
  std::function<std::string(const std::string& layer, std::uint64_t seed)> draw_problem;
  /// A problem near the given one, if the layer has any. Used where plugins tell which of their blocks have run: a
  /// problem that made a new one run is worth varying.
  std::function<std::string(const std::string& problem, std::uint64_t seed)> vary;
  /// Up to `count` problems that a choosy kernel accepts, from `known` ones; `accepts` asks it. Without it, kernels see
  /// only what is drawn.
  std::function<std::vector<std::string>(
      const std::string& layer, const std::vector<std::string>& known, std::uint64_t seed, std::size_t count,
      const std::function<std::vector<bool>(const std::vector<std::string>&)>& accepts)>
      fit;
  std::function<std::vector<std::string>(const layer&)> triggers;
  std::function<std::vector<std::string>(const std::string& layer)> all_triggers;
  std::function<shrunk_case(const test_case& failing, const std::function<bool(const test_case&)>& fails,
                            double seconds)>
      shrink;
  std::function<void(const run_progress&)> progress;
  std::function<void(const sighting&)> on_failure;
  /// For listed problems of many operations; small ones get every regime.
  std::vector<regime> large_regimes = {regime::zero_mean, regime::positive, regime::lattice};
  std::vector<regime> regimes = {all_regimes.begin(), all_regimes.end()};  ///< of generated problems
  bool endurance = true;               ///< thousands of calls in a row, once a kernel
  bool stop_at_first_failure = false;  ///< of each kernel: later cases are not worth their time
  checks by;                           ///< what answers are held against
  /// Not empty once the run shall end before its time: why.
  std::function<std::string()> stop;
  /// Given the section as it stands, every few seconds.
  std::function<void(record::verify_section)> checkpoint;
  /// What an unfinished run with the same kernels, problems and seed found out; this one goes on from there.
  const record::verify_section* earlier = nullptr;
};

/// Arenas the runner needs in the sandbox: two in rotation, one for single cases.
inline constexpr int runner_arenas = 3;

record::verify_section verify(sandbox& box, const verify_options& options);

/// One law on one kernel, at one problem. `calls`, if given, counts the kernel's calls.
law_verdict check_law(sandbox& box, const law& which, const kernel_info& kernel, const layer& l,
                      const pass_spec& pass, const conditions& how, std::uint64_t seed,
                      std::int64_t* calls = nullptr);

/// The law that the case names as its regime, `law:NAME`, on its kernel and problem. Throws text_error.
law_verdict replay_law(sandbox& box, const std::vector<law>& laws, const test_case& c);

/// Ten thousand calls of a kernel in a row, in one thread, with a new plan now and then.
struct endurance {
  std::int64_t calls = 0;
  std::string kind;  ///< `leak`, `work after return`, or how it failed
  std::string
      left_behind;  ///< not empty: one sentence on what grew from the first half of the calls to the second
};
/// Of the case only kernel, problem, type and layout count. Throws text_error.
endurance endure(sandbox& box, const test_case& c);
/// The same of whatever makes the calls. Work after return must show twice: a machine that is shared charges a process
/// now and then for milliseconds in which it did not run.
endurance judge_endurance(const std::function<run_result()>& call_in_a_row);

}  // namespace plumb
