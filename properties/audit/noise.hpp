// Noise on one element of an answer that is right: with twice the threshold it must be seen, with half of the proven
// bound it must not be held to break that bound. The element, the side and what else is drawn follow from a seed.
#pragma once

#include <string>
#include <vector>

#include "reference/core/record.hpp"
#include "verify/checks.hpp"

namespace plumb {

class noise_probe {
 public:
  /// Puts itself behind the comparison of `by`, which must not outlive it.
  void attach(checks& by, const std::string& layer);
  /// One row a regime.
  const std::vector<record::noise_result>& results() const { return results_; }

 private:
  void probe(const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
             std::size_t which, const std::string& layer);
  record::noise_result& row(regime r, const std::string& layer);

  std::vector<record::noise_result> results_;
  std::vector<std::vector<std::string>> layers_;  ///< one list a row
  std::uint64_t drawn_ = 0;
};

}  // namespace plumb
