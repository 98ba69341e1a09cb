// A number and how far it may be off: what an evaluation of a pass gives a law to reason with. Exact
// evaluations have slack 0, and the arithmetic of a law adds its slacks up (interval arithmetic to first
// order), so that a law reads like its formula.
#pragma once

#include <cmath>

namespace plumb {

template <class T>
struct known {
  T value{};
  double slack = 0;

  known() = default;
  known(T v, double s = 0) : value(std::move(v)), slack(s) {}  // NOLINT(google-explicit-constructor)

  known& operator+=(const known& o) { return *this = *this + o; }
  friend known operator+(const known& a, const known& b) { return {a.value + b.value, a.slack + b.slack}; }
  friend known operator-(const known& a, const known& b) { return {a.value - b.value, a.slack + b.slack}; }
  friend known operator*(const T& factor, const known& a) {
    return {factor * a.value, std::fabs(static_cast<double>(factor)) * a.slack};
  }
  friend known operator*(const known& a, const known& b) {
    return {a.value * b.value, std::fabs(static_cast<double>(a.value)) * b.slack +
                                   std::fabs(static_cast<double>(b.value)) * a.slack + a.slack * b.slack};
  }

  /// Whether both can be the same number. NaN is never the same.
  friend bool agree(const known& a, const known& b) {
    const T difference = a.value < b.value ? T(b.value - a.value) : T(a.value - b.value);
    return difference <= T(a.slack + b.slack);
  }
};

}  // namespace plumb
