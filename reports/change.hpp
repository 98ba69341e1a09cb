// Has a time changed between two runs? Medians, because one disturbed sample must not count. What a run can know of
// its own noise comes from resampling its samples (bootstrap; Efron & Tibshirani 1993, ch. 6) and from shuffling them
// between the runs (permutation test; ibid., ch. 15); what it cannot know, how two runs of the same code differ, is
// the spread `between_runs` that the other kernels of the same two records show. Both go into the interval, and the
// many verdicts of one comparison share one risk of a false alarm (Holm 1979).
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
};

/// Changes of time below this factor are called `same` if they are surely below it, and never `slower`.
inline constexpr double counts_from = 1.05;
/// Risk of at least one false verdict in a family of them.
inline constexpr double risk = 0.002;

/// The logarithm of the ratio of the medians and its standard error within the runs. No samples: zeros.
struct shift {
  double log_ratio = 0;
  double error = 0;
  double p = 1;  ///< of the permutation test
};
shift shift_of(const std::vector<double>& before, const std::vector<double>& after, std::uint64_t seed);

/// The interval with both kinds of noise in it; `between_runs` is a standard deviation of logarithms.
change change_of(const shift& s, double between_runs);
/// Over several problems of one kernel: the geometric mean.
change mean_change(const std::vector<shift>& shifts, double between_runs);

/// A verdict for each of a family, at `risk` for all together.
std::vector<record::comparison> judge(const std::vector<change>& family);

/// 1.4826 · median |x - median x|: the standard deviation of normal data, whatever the outliers.
double robust_spread(std::vector<double> values);

}  // namespace plumb::reports
