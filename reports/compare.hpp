// Two records of the same thing, before and after: what got slower, what got less exact, what no longer passes.
//
// Speed is compared kernel by kernel and problem by problem. Two runs meet two machines, so where both records hold a
// vendor's kernel on the same problem, it tells of the machine (compare_speed.hpp); how far the other
// kernels still scatter is taken for what two runs of the same code differ by (change.hpp). Accuracy is compared as
// shares of the bounds on the same data, in bits: a kernel that lost one bit has twice the share.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "reports/change.hpp"

namespace plumb::reports {

struct speed_change {
  std::string kernel;   ///< with its layout where that is not nchw
  std::string set;      ///< problem set
  std::string problem;  ///< empty: the mean over `problems` of them
  std::int64_t problems = 1;
  bool peer = false;
  double before = 0;  ///< median seconds; sums of them over several problems
  double after = 0;
  reports::change change;
  record::comparison verdict = record::comparison::ambiguous;
  bool control = false;  ///< a vendor's kernel that did not change and tells of the machine
};

struct accuracy_change {
  std::string subject;  ///< kernel or layer
  std::string place;    ///< regime or problem
  std::string measure;  ///< `verdict`, `share of the proven bound`, `typical error`, `digits`
  std::string before;
  std::string after;
  double bits = 0;  ///< lost; below 0: gained; 0 for verdicts
  bool peer = false;
  bool worse = false;
};

struct comparison_of_runs {
  std::vector<speed_change> kernels;      ///< worst first
  std::vector<speed_change> timings;      ///< worst first
  std::vector<accuracy_change> accuracy;  ///< what changed, worst first
  std::vector<std::string> notes;         ///< other machine, other compiler, kernels in one record only, …
  std::int64_t accuracies = 0;            ///< compared
  record::comparison speed = record::comparison::ambiguous;  ///< all in all; peers do not count
  change all_of_ours;                                        ///< the mean over our kernels and problems
  bool has_speed = false;
  bool less_exact = false;
  bool regression() const { return less_exact || (has_speed && speed == record::comparison::slower); }
  std::string headline;
};

comparison_of_runs compare_runs(const record::run& before, const record::run& after);

/// Lines of fixed width for the terminal.
std::string render_console(const comparison_of_runs& c, bool colour);
/// Files for -o: each throws report_error.
void render_html(const comparison_of_runs& c, const record::run& before, const record::run& after,
                 const std::filesystem::path& path);
void render_markdown(const comparison_of_runs& c, const std::filesystem::path& path);
void render_junit(const comparison_of_runs& c, const std::filesystem::path& path);
std::string html(const comparison_of_runs& c, const record::run& before, const record::run& after);
std::string markdown(const comparison_of_runs& c);
std::string junit(const comparison_of_runs& c);

}  // namespace plumb::reports
