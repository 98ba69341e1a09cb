// Has a time changed between two runs? Where a vendor's kernel took turns with ours, ours is described by how much longer
// than it: what slows a machine down for a second slows both down, and the ratio within a round is told ten times as
// well as the time (docs/reports.md). The middle of each visit counts, then the middle of the visits.
//
// Without one, by its fastest calls: what disturbs a machine only ever adds time, often for seconds on end, so not by
// the middle of them (Chen & Revels 2016, "Robust benchmarking in noisy environments").
//
// What two runs of the same code differ by beyond that (where their memory lies, when the
// neighbours rested) a run knows itself if it was made of several visits, each in a process and memory of its own:
// leaving out one visit at a time tells how much hangs on it (grouped jackknife; Efron & Tibshirani 1993, ch. 11).
// Few visits tell little about one kernel, so the errors of one comparison lean on each other (Smyth 2004); a change
// that the medians do not confirm is none, and neither is one that the vendor's kernel beside it went along with. The many
// verdicts of a comparison share one risk of a false alarm (Holm 1979).
#pragma once

#include <cstdint>
#include <vector>

#include "reference/core/record.hpp"

namespace plumb::reports {

struct change {
  double ratio = 1;  ///< after over before: above 1 is slower
  double low = 1;    ///< 95 % interval
  double high = 1;
  double p = 1;  ///< chance of so large a change, or a larger one, if there is none
  /// A change as large as `counts_from` is ruled out on either side: two one-sided tests at 5 % (Schuirmann 1987), so that
  /// a kernel that did change by as much is called `same` once in twenty comparisons at most.
  bool same = false;
  /// The medians moved the same way, at least half as far, and something is left of the change even if a disturbed
  /// machine slows the kernel down twice as much, in logarithms, as the vendor's kernel timed beside it: else the fastest
  /// calls tell of the machine.
  bool confirmed = true;
};

/// Changes of time below this factor are called `same` if they are surely below it, and never `slower`.
inline constexpr double counts_from = 1.05;
/// Risk of at least one false verdict in a family of them.
inline constexpr double risk = 0.002;

/// Samples in seconds, one list a visit.
using visits = std::vector<std::vector<double>>;

/// What one run measured of one kernel, as a logarithm.
struct level {
  double value = 0;
  double variance = 0;   ///< of the value, by the visits; not known from one
  int freedom = 0;       ///< visits behind it but one; 0: no samples
  bool visited = false;  ///< at least three visits: the variance holds what runs differ by
};
/// The fastest call. No samples: zeros.
level level_of(const visits& samples);
/// The middle (Hodges & Lehmann 1963) of the medians of the visits, of logarithms: those of the times by those of what
/// was timed in the same rounds. Fewer than three visits: zeros, for they say nothing of their error.
level level_beside(const visits& log_ratios);

/// The logarithm of the ratio of two runs and its standard error.
struct shift {
  double log_ratio = 0;
  double error = 0;
  int freedom = 0;
  bool visited = false;
  double of_medians = 0;  ///< what the medians of all samples say
  /// The same two of a vendor's kernel in the same contest; 0 if there is none.
  double beside = 0, medians_beside = 0;
};
shift shift_of(const level& before, const level& after);
/// The errors of all shifts of a comparison, drawn toward the quieter ones: each as if it had some visits more.
void lean_on_each_other(std::vector<shift*> all);

/// The interval with all kinds of noise in it: standard deviations of logarithms, `between_runs` drawn anew for each
/// kernel and problem, `common` shared by all.
change change_of(const shift& s, double between_runs, double common);
/// Over several problems of one kernel: the geometric mean.
change mean_change(const std::vector<shift>& shifts, double between_runs, double common);

/// A verdict for each of a family, at `risk` for all together.
std::vector<record::comparison> judge(const std::vector<change>& family);

/// Half way between the two middle ones if their number is even; 0 if there is none.
double median(std::vector<double> values);
/// 1.4826 · median |x - median x|: the standard deviation of normal data, whatever the outliers.
double robust_spread(std::vector<double> values);

}  // namespace plumb::reports
