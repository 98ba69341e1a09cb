// A double that carries three things beside its value, so that one evaluation of a layer's plain formula
// yields the truth, how far the truth can be off, and how far a correct f32 kernel may be off:
//   radius   bound on |value - exact|, by running error analysis (Wilkinson; Higham, Accuracy and
//   Stability, 3.3) size, terms   the sum of magnitudes S and the number of roundings n of the sum being
//   built: a kernel that adds
//                 in any order errs by at most γ_n·S (Higham, ch. 3-4; numerics.md 2.1)
//   carried  error bound inherited from the operands, in units of u, to first order
// `allowance()` = n·S + carried is the kernel's error bound in units of its unit roundoff u.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace plumb {

class running_error {
 public:
  running_error() = default;
  template <class A>
  requires std::is_arithmetic_v<A>
  explicit(!std::is_same_v<A, double>) running_error(A value)
      : value_(static_cast<double>(value)), size_(std::fabs(value_)) {}

  double value() const { return value_; }
  double radius() const { return radius_; }
  double size() const { return size_; }
  double terms() const { return terms_; }
  /// Error bound of a correct kernel, in units of u; sums may be taken in any order.
  double allowance() const { return terms_ * size_ + carried_; }

  running_error& operator+=(const running_error& o) { return *this = *this + o; }
  running_error& operator-=(const running_error& o) { return *this = *this - o; }
  running_error& operator*=(const running_error& o) { return *this = *this * o; }
  running_error& operator/=(const running_error& o) { return *this = *this / o; }

  friend running_error operator-(running_error a) {
    a.value_ = -a.value_;
    return a;
  }
  // A sum stays open: magnitudes and roundings add up, and nothing is charged before the sum is used.
  friend running_error operator+(const running_error& a, const running_error& b) {
    running_error r;
    r.value_ = a.value_ + b.value_;
    r.radius_ = a.radius_ + b.radius_ + unit * std::fabs(r.value_);
    r.size_ = a.size_ + b.size_;
    r.terms_ = a.size_ == 0 ? b.terms_ : b.size_ == 0 ? a.terms_ : a.terms_ + b.terms_ + 1;
    r.carried_ = a.carried_ + b.carried_;
    return r;
  }
  friend running_error operator-(const running_error& a, const running_error& b) { return a + (-b); }
  friend running_error operator*(const running_error& a, const running_error& b) {
    running_error r;
    r.value_ = a.value_ * b.value_;
    r.radius_ = std::fabs(a.value_) * b.radius_ + std::fabs(b.value_) * a.radius_ + a.radius_ * b.radius_ +
                unit * std::fabs(r.value_) + tiny;
    r.size_ = std::fabs(r.value_);
    r.terms_ = 1;
    r.carried_ = std::fabs(a.value_) * b.allowance() + std::fabs(b.value_) * a.allowance();
    return r;
  }
  friend running_error operator/(const running_error& a, const running_error& b) {
    running_error r;
    r.value_ = a.value_ / b.value_;
    const double d = std::fabs(b.value_) - b.radius_;
    r.radius_ = d > 0 ? (a.radius_ + std::fabs(r.value_) * b.radius_) / d + unit * std::fabs(r.value_) + tiny
                      : std::numeric_limits<double>::infinity();
    r.size_ = std::fabs(r.value_);
    r.terms_ = 1;
    r.carried_ = (a.allowance() + r.size_ * b.allowance()) / std::fabs(b.value_);
    return r;
  }

  friend bool operator==(const running_error& a, const running_error& b) { return a.value_ == b.value_; }
  friend bool operator!=(const running_error& a, const running_error& b) { return a.value_ != b.value_; }
  friend bool operator<(const running_error& a, const running_error& b) { return a.value_ < b.value_; }
  friend bool operator>(const running_error& a, const running_error& b) { return a.value_ > b.value_; }
  friend bool operator<=(const running_error& a, const running_error& b) { return a.value_ <= b.value_; }
  friend bool operator>=(const running_error& a, const running_error& b) { return a.value_ >= b.value_; }

  /// e^a. A kernel's exp is allowed `exp_ulps` roundings of its own.
  friend running_error exp(const running_error& a) {
    running_error r;
    r.value_ = std::exp(a.value_);
    r.radius_ = r.value_ * std::expm1(a.radius_) + libm * r.value_ + tiny;
    r.size_ = r.value_;
    r.terms_ = exp_ulps;
    r.carried_ = r.value_ * a.allowance();
    return r;
  }
  friend running_error log(const running_error& a) {
    running_error r;
    r.value_ = std::log(a.value_);
    const double d = a.value_ - a.radius_;
    r.radius_ =
        d > 0 ? a.radius_ / d + libm * std::fabs(r.value_) + tiny : std::numeric_limits<double>::infinity();
    r.size_ = std::fabs(r.value_);
    r.terms_ = exp_ulps;
    r.carried_ = a.allowance() / std::fabs(a.value_);
    return r;
  }
  friend running_error sqrt(const running_error& a) {
    running_error r;
    r.value_ = std::sqrt(a.value_);
    const double d = std::sqrt(std::max(0.0, a.value_ - a.radius_)) + r.value_;
    r.radius_ = (d > 0 ? a.radius_ / d : std::sqrt(a.radius_)) + unit * r.value_ + tiny;
    r.size_ = r.value_;
    r.terms_ = 1;
    r.carried_ = r.value_ > 0 ? a.allowance() / (2 * r.value_) : 0;
    return r;
  }
  friend running_error tanh(const running_error& a) {
    running_error r;
    r.value_ = std::tanh(a.value_);
    r.radius_ = a.radius_ + libm * std::fabs(r.value_) + tiny;
    r.size_ = std::fabs(r.value_);
    r.terms_ = exp_ulps;
    r.carried_ = (1 - r.value_ * r.value_) * a.allowance();
    return r;
  }

 private:
  static constexpr double unit = 0x1p-53 * (1 + 0x1p-20);  // the slack covers second-order terms
  static constexpr double libm = 0x1p-51;                  // glibc's exp, log, tanh stay within 2 ulp
  static constexpr double tiny = 0x1p-1074;                // a product or quotient that underflows
  static constexpr double exp_ulps = 4;

  double value_ = 0;
  double radius_ = 0;
  double size_ = 0;
  double terms_ = 0;
  double carried_ = 0;
};

}  // namespace plumb
