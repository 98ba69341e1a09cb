// Dice: the draws from which generators make parameters, on RapidCheck's splittable random numbers
// (Claessen & Palka 2013), so that one seed gives one problem inside rc::check and outside alike.
#pragma once

#include <rapidcheck/Random.h>

#include <initializer_list>
#include <vector>

#include "reference/core/dtype.hpp"

namespace plumb {

class dice {
 public:
  explicit dice(const rc::Random& random) : random_(random) {}

  /// Uniform, both ends included.
  index_t between(index_t least, index_t most) {
    return least + static_cast<index_t>(random_.next() % static_cast<std::uint64_t>(most - least + 1));
  }
  bool percent(int share) { return between(0, 99) < share; }
  /// One of the values, each as often as it is listed.
  index_t of(std::initializer_list<index_t> values) {
    return values.begin()[between(0, static_cast<index_t>(values.size()) - 1)];
  }
  /// An extent around the widths of vectors and tiles, where bodies end and tails begin.
  index_t wide() {
    return of({7,  8,  9,  7,  8,  9,  10, 12, 13, 15, 16, 17, 15, 16, 17,
               19, 23, 24, 25, 31, 32, 33, 31, 32, 33, 47, 48, 63, 64, 65});
  }
  /// A small extent.
  index_t narrow() { return of({1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6}); }

 private:
  rc::Random random_;
};

}  // namespace plumb
