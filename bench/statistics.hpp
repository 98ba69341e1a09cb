// What a few noisy timings say. Medians, because one disturbed sample must not count; intervals from order
// statistics, which assume nothing about the noise: of n independent samples, [x(j), x(n+1-j)] contains the
// median with probability 1 - 2·P(Binomial(n, ½) < j) (David & Nagaraja 2003, "Order Statistics", 7.1).
// Ratios are formed within a round, where both kernels met the same machine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "reference/core/record.hpp"

namespace plumb::bench {

struct estimate {
  double value = 0;  ///< the median
  double low = 0, high = 0;
  bool reliable = false;  ///< false: too few samples for 95 %; the interval is then their range, widened by
                          ///< the factor `unknown_noise` on either side
};

/// Six samples or more give a 95 % interval. No samples: zeros.
estimate median_of(std::vector<double> samples);

/// Two kernels take the same time if the ratio is surely within this factor of 1.
inline constexpr double same_within = 1.03;
/// What noise may do to a handful of samples: only a larger difference is called one.
inline constexpr double unknown_noise = 2;

/// `same` if the interval lies within [1/same_within, same_within]; else `faster` or `slower` if it leaves
/// out 1; else `ambiguous`. `ratio` is time over the baseline's time.
record::comparison judge(const estimate& ratio);

/// Samples of one competitor with the round in which each was taken.
struct series {
  std::vector<double> seconds;
  std::vector<int> rounds;
  std::vector<double> fastest = {};  ///< call of each sample
};

/// Ratios over the rounds in which both were sampled. Where no round has both, every sample over the median
/// of the other.
std::vector<double> paired_ratios(const series& mine, const series& baseline);

/// Geometric mean over the problems of the medians of their ratios; the interval by resampling each problem's
/// ratios (bootstrap percentiles; Efron & Tibshirani 1993). Problems without ratios are left out.
estimate geometric_mean(const std::vector<std::vector<double>>& ratios_by_problem, std::uint64_t seed);

}  // namespace plumb::bench
