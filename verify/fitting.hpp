// Problems for choosy kernels. A kernel that accepts one drawn problem in a hundred would be judged on next to nothing: it
// is asked which problems it accepts, and judged on drawn ones that have been changed until it does. Asking costs a
// message and no run. What is made to fit is left out of the share of problems that a kernel is said to accept.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "reference/layers/catalogue.hpp"
#include "verify/runner.hpp"

namespace plumb {

/// What is known of the problems that one kernel accepts, in one element type.
struct fitting {
  std::int64_t offered = 0, judged = 0;  ///< problems put to it, and those among them that it answered
  std::uint64_t taken = 0;               ///< made to fit and handed out
  std::vector<std::string> known;        ///< the last accepted ones
  std::vector<std::string> ready;        ///< made to fit, not yet handed out
  std::array<std::string, 2> before;     ///< handed out last
  int searches_in_vain = 0;

  bool is_choosy() const { return offered >= 4 && 4 * judged < offered && searches_in_vain < 3; }

  void note(const std::string& problem, bool accepted) {
    constexpr std::size_t most_known = 16;
    ++offered;
    if (!accepted) return;
    if (known.size() < most_known)
      known.push_back(problem);
    else
      known[static_cast<std::size_t>(judged) % most_known] = problem;
    ++judged;
  }
};

/// Which of the problems the kernel accepts. One on which it crashes, hangs or fails when asked counts as accepted: it
/// deserves a verdict.
inline std::vector<bool> ask(sandbox& box, arena& a, const kernel_info& kernel, const conditions& how,
                             const std::vector<std::string>& problems) {
  std::vector<bool> accepted(problems.size(), false);
  std::vector<kernel_run> runs;
  std::vector<std::size_t> about;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    const auto l = plumb::bind(std::string_view(problems[i]));
    if (l->find_pass(kernel.pass) == nullptr) continue;
    kernel_run run;
    run.kernel = kernel.name;
    run.resolved = l->resolved().print();
    run.canonical = l->canonical().print();
    run.type = how.type;
    run.layout = how.layout;
    run.query = true;
    runs.push_back(std::move(run));
    about.push_back(i);
  }
  if (runs.empty()) return accepted;
  a.clear();
  const std::vector<run_result> answers = box.run(a, std::move(runs));
  for (std::size_t i = 0; i < about.size(); ++i)
    accepted[about[i]] = answers[i].status != run_status::declined;
  return accepted;
}

}  // namespace plumb
