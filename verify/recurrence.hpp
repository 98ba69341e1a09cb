// Failures that come and go. A race, a counter or a clock inside a kernel makes the same case pass and fail; to shrink it,
// it must be asked as often as it takes. A case that never fails in so many attempts is held to pass, which is a
// statement about chances and no proof.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>

#include "verify/case.hpp"

namespace plumb {

/// `fails`, asked once if it says at once that `failing` fails; otherwise as many times as make a failure of that
/// frequency all but sure to show: eight times those that it took to see `failing` fail. It is sought for so many seconds.
inline std::function<bool(const test_case&)> asked_often_enough(std::function<bool(const test_case&)> fails,
                                                                const test_case& failing, double seconds) {
  using clock = std::chrono::steady_clock;
  constexpr int most_attempts = 200, surety = 8;
  const clock::time_point end =
      clock::now() + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
  int needed = 1;
  while (!fails(failing)) {
    if (++needed > most_attempts || clock::now() > end) return fails;
  }
  if (needed == 1) return fails;
  return [fails = std::move(fails), attempts = surety * needed](const test_case& c) {
    for (int i = 0; i < attempts; ++i)
      if (fails(c)) return true;
    return false;
  };
}

}  // namespace plumb
