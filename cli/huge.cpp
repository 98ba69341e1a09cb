#include "cli/huge.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "reference/core/problem_set.hpp"
#include "verify/huge/huge.hpp"

namespace plumb::cli {
namespace {

void take(const huge_answer& a, const kernel_info& kernel, record::kernel_result& k,
          record::verify_section& section) {
  if (a.verdict == record::verdict::skipped) return;
  auto tally = std::ranges::find(k.regimes, "huge", &record::regime_tally::regime);
  if (tally == k.regimes.end()) {
    record::regime_tally fresh;
    fresh.regime = "huge";
    tally = k.regimes.insert(k.regimes.end(), fresh);
  }
  ++tally->cases;
  ++k.cases;
  ++k.calls;
  ++section.cases;
  ++section.calls;
  k.elements += a.sampled;
  k.seconds += a.seconds;
  if (a.verdict == record::verdict::pass) return;
  ++tally->failures;
  k.verdict = a.verdict;
  k.certified = false;
  k.reason = fmt::format("huge: {}", a.reason);
  record::counterexample c;
  c.kind = a.verdict == record::verdict::crashed ? "crash" : "wrong value";
  c.message = a.reason;
  c.law = "huge";
  c.problem = c.original_problem = a.problem;
  c.regime = "huge";
  c.replay = c.original_replay = print(huge_case_of(kernel, a.problem));
  k.counterexamples.push_back(std::move(c));
}

}  // namespace

void add_huge_cases(sandbox& box, const selection& s, progress_line& line, record::verify_section& section) {
  for (const set_problem& each : load_problems("huge").problems)
    for (const kernel_info* kernel : s.kernels) {
      if (kernel->layer != each.problem.layer() || kernel->device == "host") continue;
      const auto k = std::ranges::find(section.kernels, kernel->name, &record::kernel_result::name);
      if (k == section.kernels.end() || k->verdict == record::verdict::crashed) continue;
      line.show(fmt::format("huge: {}", kernel->name));
      take(judge_huge(box, *kernel, each.problem.print()), *kernel, *k, section);
    }
}

}  // namespace plumb::cli
