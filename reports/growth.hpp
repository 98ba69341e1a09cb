// How the time of a kernel grows: problems of a benchmark that differ in one quantity only (batch, channels, size, or
// several numbers in step) form a line in a log-log plot, whose slope is the exponent. The quantity is found in the
// problem texts themselves, so every layer has its lines without a word about it here.
#pragma once

#include <string>
#include <vector>

#include "reference/core/record.hpp"

namespace plumb::reports {

struct growth_series {
  std::string kernel;
  std::vector<double> x;        ///< ascending
  std::vector<double> seconds;  ///< medians
  double exponent = 0;          ///< least-squares slope of log seconds over log x
};

struct growth_family {
  std::string quantity;  ///< `batch`, `channels`, `size`, or the attribute's name
  std::string problems;  ///< the text they share, `…` for what varies
  double work = 0;       ///< exponent of the operations, 0 where there are none
  std::vector<growth_series> series;
};

/// Families of at least three problems; series of at least three timings with a number.
std::vector<growth_family> find_growth(const std::vector<const record::timing*>& timings);

/// Slope of the least-squares line through (log x, log y); NaN for fewer than two points or values that are not positive.
double log_log_slope(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace plumb::reports
