// What two definitions of one derivative have to say about each other, and the points at which they are asked.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>

#include "reference/core/record.hpp"
#include "reference/core/shape.hpp"

namespace plumb {

/// SplitMix64 (Steele, Lea & Flood 2014): the points of a check follow from the seed alone.
class point_source {
 public:
  explicit point_source(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  index_t below(index_t bound) { return static_cast<index_t>(next() % static_cast<std::uint64_t>(bound)); }

 private:
  std::uint64_t state_;
};

template <class T>
double magnitude(const T& x) {
  const T positive = x < T(0) ? T(-x) : x;
  return static_cast<double>(positive);
}

/// Digits that stand for "every difference is zero".
constexpr int exactly = 1000;

/// Collects the differences between two definitions, relative to the larger magnitude (at least 1e-3, so that
/// an entry that cancels to nothing does not count its last digit).
class tally {
 public:
  tally(std::string first, std::string second, std::string scalar)
      : result_{.first = std::move(first),
                .second = std::move(second),
                .derivative = "",
                .scalar = std::move(scalar),
                .reason = ""} {
    result_.exact = true;
  }

  template <class T>
  void compare(const T& a, const T& b, const T& uncertainty) {
    ++result_.compared;
    const T difference = a < b ? T(b - a) : T(a - b);
    if (difference == T(0)) return;
    result_.exact = false;
    const double scale = std::max({magnitude(a), magnitude(b), 1e-3});
    const double relative = magnitude(difference) / scale;
    if (!(relative <= result_.max_difference)) result_.max_difference = relative;
    const double unsure = magnitude(uncertainty) / scale;
    if (!(unsure <= uncertainty_)) uncertainty_ = unsure;
    // An estimate is wrong where it misses by more than it admits; ten times, since the estimate is not a
    // bound.
    if (!(relative <= 10 * unsure)) beyond_ = std::max(beyond_, relative);
  }

  record::agreement finish(int digits) {
    const double wanted = std::pow(10.0, -digits);
    result_.digits = result_.exact ? 0 : -std::log10(result_.max_difference);
    if (result_.exact || result_.max_difference <= wanted) {
      result_.verdict = record::verdict::pass;
    } else if (beyond_ > wanted || std::isnan(result_.max_difference)) {
      result_.verdict = record::verdict::fail;
      result_.reason = fmt::format("differ by {:.2g}, asked for {} digits", result_.max_difference, digits);
    } else {
      result_.verdict = record::verdict::inconclusive;
      result_.reason = fmt::format("the numerical estimate is only good to {:.1g}", uncertainty_);
    }
    return result_;
  }

 private:
  record::agreement result_;
  double uncertainty_ = 0;
  double beyond_ = 0;
};

}  // namespace plumb
