// Shrinking: from a failing case to one in which nothing can be made simpler and still fail. First large parts of the
// problem are made as simple as they can be, then the
// coordinates of the problem fall toward their simplest values (big steps, then single ones), then the drawn
// data is written out and thinned: zeros in ever smaller chunks (Zeller & Hildebrandt 2002, delta debugging),
// then every value left toward 1. Both are repeated until neither helps, nor any of the steps that minimality.hpp lists.
#pragma once

#include <functional>

#include "verify/case.hpp"

namespace plumb {

struct shrink_tools {
  /// Whether the case fails as the original did. Called only with legal problems and legal indices.
  std::function<bool(const test_case&)> fails;
  /// The same case with regime `given` and its drawn data listed.
  std::function<test_case(const test_case&)> materialise;
};

struct shrink_budget {
  std::int64_t calls = 50'000;
  double seconds = 20;
};

struct shrunk {
  test_case smallest;
  bool fixpoint = false;  ///< every single step was tried and passes; false if the budget ran out first
  std::int64_t calls = 0;
  double seconds = 0;
};

/// The failing case itself comes back, without fixpoint, if it does not fail again.
shrunk shrink(const test_case& failing, const shrink_tools& tools, shrink_budget budget = {});

}  // namespace plumb
