// What a run knows about one kernel so far, and how that becomes its entry in the record, and is taken up again from
// the record of a run that was cut short.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>

#include "reference/core/record.hpp"
#include "verify/case.hpp"
#include "verify/compare.hpp"
#include "verify/sandbox/kernel_info.hpp"

namespace plumb {

inline constexpr std::int64_t fewest_cases = 200;  ///< below, a timed run proves too little

struct candidate {
  const kernel_info* kernel = nullptr;
  record::kernel_result result;
  std::map<std::string, record::regime_tally> regimes;
  std::map<std::string, record::law_tally> laws;
  std::map<std::string, std::int64_t> declined;
  std::map<std::string, record::coverage_class> coverage;
  std::array<index_t, comparison::bins> ulps{};
  std::array<index_t, comparison::bins> naive_ulps{};
  std::optional<test_case> worst_case;
  double worst_share = -1;
  std::int64_t failures = 0;
  std::int64_t crashes = 0;
  std::int64_t trusted = 0;    ///< problems on which a zero tensor or a lost term would have been seen
  std::int64_t unbounded = 0;  ///< elements without a finite bound
  /// Elements of every regime but `special`, whose infinities and extremes leave few sums a bound, and how many of them
  /// have none. A run that is taken up again counts them anew, unless it was mistrusted for them.
  std::int64_t ordinary = 0, ordinary_unbounded = 0;
  bool endured = false;  ///< called thousands of times in a row
  bool undecided = false;
  record::verdict worst_verdict = record::verdict::pass;

  static constexpr std::int64_t failures_until_retired = 24;
  bool retired() const { return failures >= failures_until_retired || crashes >= 4; }
};

struct closing {
  bool timed = true;          ///< problems were generated: 200 cases are the least that proves anything
  double most_unbounded = 1;  ///< share of the elements that may certify nothing
};

/// The kernel's entry in the record, verdict included; without a heat map.
record::kernel_result close(const candidate& c, const closing& how);

/// The kernel as an earlier run left it.
candidate reopened(const kernel_info& kernel, const record::kernel_result& earlier);

}  // namespace plumb
