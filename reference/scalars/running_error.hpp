// A double that carries error bounds, so that one evaluation of a layer's plain formula yields the truth, how
// far it can be off, and how far a correct kernel may be off:
//   radius     |value - exact| ≤ radius, by running error analysis (Wilkinson; Higham, Accuracy and Stability
//              of Numerical Algorithms, 3.3). Rigorous, given what is said of libm below.
//   allowance  error bound of a kernel that evaluates the formula with unit roundoff u, in units of u, to
//              first order. A sum stays open: it remembers its number of leaves m and their magnitudes S, and
//              whoever adds them in any order errs by at most (m - 1)·u·S (Higham, 4.2).
//   underflow  the same for results that are subnormal in the kernel's format, in units of its half smallest
//              number: absolute errors, which later divisions magnify
//   peak       the largest magnitude of an intermediate result: above the kernel's range it may overflow, and
//              then ±inf and NaN depend on the order of operations
//
// Integers whose sums and products stay below 2^24 are exact in f32 and wider: they have allowance 0 in any
// order. A comparison that the radii leave open is counted in `doubts`: the branch taken may be the wrong
// one, and the caller has to evaluate in more digits.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace plumb {

class running_error {
 public:
  running_error() : running_error(0.0) {}
  template <class A>
  requires std::is_arithmetic_v<A>
  explicit(!std::is_same_v<A, double>) running_error(A value)
      : value_(static_cast<double>(value)),
        size_(std::fabs(value_)),
        leaves_(value_ == 0 ? 0 : 1),
        lattice_(is_lattice(value_, size_)) {}

  double value() const { return value_; }
  double radius() const { return radius_; }
  /// Error bound of a correct kernel in units of its u; sums may be taken in any order.
  double allowance() const {
    if (lattice_ || !std::isfinite(value_)) return 0;
    const double roundings = leaves_ <= 1 ? 0 : leaves_ == 2 ? std::fabs(value_) : (leaves_ - 1) * size_;
    return roundings + carried_;
  }
  /// S of the open sum.
  double size() const { return size_; }
  double underflow() const { return underflow_; }
  double peak() const { return peak_; }
  /// The same value from a kernel that may err by `by` more, in units of its u.
  running_error blurred(double by) const {
    running_error r = *this;
    if (!(by > 0) || !std::isfinite(value_)) return r;
    r.lattice_ = false;
    r.carried_ += by;
    return r;
  }
  /// The same value from a kernel that rounds `by` numbers more on the way, each of which may lose half the smallest
  /// number if they are that small.
  running_error graded(double by) const {
    running_error r = *this;
    if (std::fabs(value_) < 0x1p-120) r.underflow_ += by;
    return r;
  }
  /// Rounding may move a kernel across: its comparison of the two may go the other way.
  static bool may_swap(const running_error& a, const running_error& b) {
    const double gap = std::fabs(a.value_ - b.value_);
    return gap <= 0x1p-23 * (a.allowance() + b.allowance()) + 0x1p-149 * (a.underflow_ + b.underflow_) &&
           (a.allowance() + b.allowance() > 0 || a.underflow_ + b.underflow_ > 0);
  }
  /// Comparisons since `forget_doubts` (in this thread) whose outcome the radii leave open.
  static long doubts() { return doubts_; }
  static void forget_doubts() { doubts_ = 0; }

  running_error& operator+=(const running_error& o) { return *this = *this + o; }
  running_error& operator-=(const running_error& o) { return *this = *this - o; }
  running_error& operator*=(const running_error& o) { return *this = *this * o; }
  running_error& operator/=(const running_error& o) { return *this = *this / o; }

  friend running_error operator-(running_error a) {
    a.value_ = -a.value_;
    return a;
  }
  friend running_error operator+(const running_error& a, const running_error& b) {
    if (a.is_zero() && a.size_ == 0 && b.value_ != 0) return b.in_place_of(a, b);
    if (b.is_zero() && b.size_ == 0 && a.value_ != 0) return a.in_place_of(a, b);
    running_error r;
    r.value_ = a.value_ + b.value_;
    r.size_ = a.size_ + b.size_;
    r.leaves_ = a.leaves_ + b.leaves_;
    r.lattice_ = a.lattice_ && b.lattice_ && is_lattice(r.value_, r.size_);
    if (!r.lattice_) r.radius_ = a.radius_ + b.radius_ + spare * sum_error(a.value_, b.value_, r.value_);
    r.carried_ = a.carried_ + b.carried_;
    r.underflow_ = a.underflow_ + b.underflow_;
    if (std::isinf(a.value_) || std::isinf(b.value_)) {
      // The finite terms alone may leave the range, and then meet this infinity.
      const auto finite = [](double size) { return std::isfinite(size) ? size : 0; };
      r.size_ = finite(a.size_) + finite(b.size_);
      return r.after(a, b, r.leaves_ <= 2 ? 0 : r.size_);
    }
    const double largest = r.leaves_ <= 2 ? std::fabs(r.value_) : r.size_;  // of all partial sums
    return r.after(a, b, largest);
  }
  friend running_error operator-(const running_error& a, const running_error& b) { return a + (-b); }
  friend running_error operator*(const running_error& a, const running_error& b) {
    if (a.is_one()) return a.value_ > 0 ? b : -b;
    if (b.is_one()) return b.value_ > 0 ? a : -a;
    running_error r(a.value_ * b.value_);
    const bool vanishes =
        (a.is_zero() && std::isfinite(b.value_)) || (b.is_zero() && std::isfinite(a.value_));
    r.lattice_ = vanishes || (r.lattice_ && a.lattice_ && b.lattice_);
    if (r.lattice_) return vanishes ? r.in_place_of(a, b) : r;
    const double x = std::fabs(a.value_);
    const double y = std::fabs(b.value_);
    r.radius_ = x * b.radius_ + y * a.radius_ + a.radius_ * b.radius_ + unit * r.size_ + tiny;
    r.carried_ = x * b.allowance() + y * a.allowance() + r.size_;
    r.underflow_ = x * b.underflow_ + y * a.underflow_ + 1;
    return r.after(a, b, r.size_);
  }
  // A kernel may multiply by the rounded reciprocal: two roundings, and one more place to leave the range.
  friend running_error operator/(const running_error& a, const running_error& b) {
    running_error r(a.value_ / b.value_);
    r.lattice_ = false;
    const double magnitude = std::fabs(b.value_);
    const double divisor = magnitude - b.radius_;
    if (!(divisor > 0)) return r.unknown();
    r.radius_ = (a.radius_ + r.size_ * b.radius_) / divisor + unit * r.size_ + tiny;
    if (std::isinf(divisor)) r.radius_ = tiny * (1 + std::fabs(a.value_));  // it may have overflowed
    r.carried_ = (a.allowance() + r.size_ * b.allowance()) / magnitude + 2 * r.size_;
    r.underflow_ = (a.underflow_ + r.size_ * b.underflow_) / magnitude + 1 +
                   (magnitude > 0x1p120 ? std::fabs(a.value_) : 0);
    if (!b.is_first_order() || b.peak_ > 0x1p127) r.carried_ = infinity;  // b may be anything, or ±inf
    return r.after(a, b, std::max(r.size_, 1 / magnitude));
  }

  friend bool operator==(const running_error& a, const running_error& b) {
    return doubt(a, b), a.value_ == b.value_;
  }
  friend bool operator!=(const running_error& a, const running_error& b) {
    return doubt(a, b), a.value_ != b.value_;
  }
  friend bool operator<(const running_error& a, const running_error& b) {
    return doubt(a, b), a.value_ < b.value_;
  }
  friend bool operator>(const running_error& a, const running_error& b) {
    return doubt(a, b), a.value_ > b.value_;
  }
  friend bool operator<=(const running_error& a, const running_error& b) {
    return doubt(a, b), a.value_ <= b.value_;
  }
  friend bool operator>=(const running_error& a, const running_error& b) {
    return doubt(a, b), a.value_ >= b.value_;
  }

  /// A kernel's exp, log, tanh, expm1, log1p and erf are allowed `function_roundings` of their own.
  friend running_error exp(const running_error& a) {
    running_error r(std::exp(a.value_));
    r.lattice_ = false;
    r.radius_ = r.size_ * std::expm1(a.radius_) + libm * r.size_ + tiny;
    r.carried_ = a.may_be_lost() ? infinity : r.size_ * (a.allowance() + function_roundings);
    r.underflow_ = r.size_ * a.underflow_ + 1;
    return r.after(a, a, std::isinf(a.value_) ? 0 : r.size_);
  }
  friend running_error log(const running_error& a) {
    running_error r(std::log(a.value_));
    r.lattice_ = false;
    const double least = a.value_ - a.radius_;
    if (!(least > 0)) return r.unknown();
    r.radius_ = a.radius_ / least + libm * r.size_ + tiny;
    r.carried_ = a.is_first_order() && !a.may_be_lost()
                     ? a.allowance() / a.value_ + function_roundings * r.size_
                     : infinity;
    r.underflow_ = a.underflow_ / a.value_ + 1;
    return r.after(a, a, r.size_);
  }
  friend running_error sqrt(const running_error& a) {
    running_error r(std::sqrt(a.value_));
    r.lattice_ = false;
    const double sum = std::sqrt(std::max(0.0, a.value_ - a.radius_)) + r.value_;
    r.radius_ = (sum > 0 ? a.radius_ / sum : std::sqrt(a.radius_)) + unit * r.size_ + tiny;
    r.carried_ = r.size_ + (a.allowance() > 0 ? a.allowance() / (2 * r.value_) : 0);
    r.underflow_ = a.underflow_ > 0 ? a.underflow_ / (2 * r.value_) : 0;
    return r.after(a, a, r.size_);
  }
  friend running_error tanh(const running_error& a) {
    running_error r(std::tanh(a.value_));
    r.lattice_ = false;
    const double slope = 1 - r.value_ * r.value_;
    r.radius_ = a.radius_ + libm * r.size_ + tiny;
    r.carried_ = a.may_be_lost() ? infinity : slope * a.allowance() + function_roundings * r.size_;
    r.underflow_ = slope * a.underflow_ + 1;
    return r.after(a, a, r.size_);
  }
  friend running_error expm1(const running_error& a) {
    running_error r(std::expm1(a.value_));
    r.lattice_ = false;
    const double slope = std::exp(a.value_);
    r.radius_ = spare * slope * std::expm1(a.radius_) + libm * r.size_ + tiny;
    r.carried_ = a.may_be_lost() ? infinity : slope * a.allowance() + function_roundings * r.size_;
    r.underflow_ = slope * a.underflow_ + 1;
    return r.after(a, a, std::isinf(a.value_) ? 0 : slope);
  }
  friend running_error log1p(const running_error& a) {
    running_error r(std::log1p(a.value_));
    r.lattice_ = false;
    const double argument = 1 + a.value_, least = argument - a.radius_;
    if (!(least > 0)) return r.unknown();
    r.radius_ = spare * a.radius_ / least + libm * r.size_ + tiny;
    const bool first_order = a.allowance() * 0x1p-24 + a.underflow_ * 0x1p-150 <= argument * 0x1p-6;
    r.carried_ =
        first_order && !a.may_be_lost() ? a.allowance() / argument + function_roundings * r.size_ : infinity;
    r.underflow_ = a.underflow_ / argument + 1;
    return r.after(a, a, r.size_);
  }
  friend running_error erf(const running_error& a) {
    running_error r(std::erf(a.value_));
    r.lattice_ = false;
    constexpr double steepest = 1.1283791670955128;  // 2/√π, rounded up
    const double nearest = std::max(0.0, std::fabs(a.value_) - a.radius_);
    r.radius_ = spare * steepest * std::exp(-nearest * nearest) * a.radius_ + libm * r.size_ + tiny;
    const double slope = steepest * std::exp(-a.value_ * a.value_);
    r.carried_ = a.may_be_lost() ? infinity : slope * a.allowance() + function_roundings * r.size_;
    r.underflow_ = slope * a.underflow_ + 1;
    return r.after(a, a, r.size_);
  }
  /// a, of which a kernel may make b: the larger bounds of the two, and none at all where they differ in value.
  friend running_error either(const running_error& a, const running_error& b) {
    running_error r = a.blurred(std::max(0.0, b.allowance() - a.allowance()));
    r.underflow_ = std::max(a.underflow_, b.underflow_);
    r.peak_ = std::max(a.peak_, b.peak_);
    const bool same = std::fabs(a.value_ - b.value_) <= spare * (a.radius_ + b.radius_) + 0x1p-40 * a.size_;
    return same || !std::isfinite(a.value_) ? r : r.blurred(infinity);
  }
  /// Within its radius, which is the part of π that no double holds; a kernel's own constant is rounded once.
  static running_error pi() {
    return running_error(0x1.921fb54442d18p+1) + running_error(0x1.1a62633145c07p-53);
  }

 private:
  // Every contribution to a radius starts with 2^-20 to spare, which pays for the roundings of the radii
  // themselves: each takes 2^-53 of it, so 2^33 of them on one path are covered.
  static constexpr double spare = 1 + 0x1p-20;
  static constexpr double unit = 0x1p-53 * spare;
  // glibc states at most 1 ulp (2^-52) for exp, log, expm1, log1p and erf, 2 ulp for tanh; this covers 2.
  static constexpr double libm = 0x1p-51 * spare;
  // Above every error of a result that underflows in double, and of the radius's own products that do.
  static constexpr double tiny = 0x1p-1022;
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  static constexpr double function_roundings = 4;
  static constexpr double exact_sum = 0x1p24;

  static bool is_lattice(double value, double size) {
    return size <= exact_sum && std::nearbyint(value) == value;
  }
  /// |a + b - sum|, exactly, for sum = a + b rounded to nearest (Knuth's TwoSum).
  static double sum_error(double a, double b, double sum) {
    const double part = sum - a;
    return std::fabs((a - (sum - part)) + (b - part));
  }
  static void doubt(const running_error& a, const running_error& b) {
    if (std::fabs(a.value_ - b.value_) <= a.radius_ + b.radius_ && a.radius_ + b.radius_ > 0) ++doubts_;
  }
  /// Zero or ±1 for certain, in any kernel too. A sum x - x is one as it stands, but not where more is added to it: of
  /// x - x + y a kernel may take x + y first.
  bool is_zero() const { return value_ == 0 && radius_ == 0 && underflow_ == 0 && allowance() == 0; }
  bool is_one() const { return lattice_ && std::fabs(value_) == 1; }
  /// A kernel in f32 still has this number right to 6 bits: dividing by it keeps errors first order.
  bool is_first_order() const {
    return allowance() * 0x1p-24 + underflow_ * 0x1p-150 <= std::fabs(value_) * 0x1p-6;
  }
  /// A kernel may have ±inf in its place, whatever it is: a part of it left the range of f32.
  bool may_be_lost() const { return peak_ > 0x1p127 && std::fabs(value_) <= 0x1p127; }
  /// The truth may be anything: a divisor that may be zero, a logarithm of what may be negative.
  running_error unknown() const {
    running_error r = *this;
    r.radius_ = r.carried_ = infinity;
    return r.after(r, r, size_);
  }
  /// An exact result of a and b, for instance 0, in a kernel for which one of them may have left the range: 0·∞ is NaN.
  running_error in_place_of(const running_error& a, const running_error& b) const {
    running_error r = *this;
    const bool lost = std::isinf(a.carried_) || std::isinf(b.carried_);
    r.peak_ = lost ? infinity : std::max({peak_, a.peak_, b.peak_, std::fabs(a.value_), std::fabs(b.value_)});
    return r;
  }
  /// The result of an operation on a and b, which may leave the range at `magnitude`. ±inf and NaN are judged
  /// as classes: no radius, no allowance. NaN made of infinities and zeros depends on what rounding does.
  running_error after(const running_error& a, const running_error& b, double magnitude) const {
    running_error r = *this;
    if (std::isnan(value_)) magnitude = std::isnan(a.value_) || std::isnan(b.value_) ? 0 : infinity;
    r.peak_ = std::max({a.peak_, b.peak_, magnitude});
    if (!std::isfinite(value_)) r.radius_ = r.carried_ = r.underflow_ = 0;
    for (double* bound : {&r.radius_, &r.carried_, &r.underflow_})
      if (!(*bound >= 0)) *bound = infinity;  // 0·∞: nothing is known
    return r;
  }

  double value_ = 0;
  double radius_ = 0;
  double size_ = 0;
  double carried_ = 0;
  double underflow_ = 0;
  double peak_ = 0;
  int leaves_ = 0;
  bool lattice_ = true;

  static inline thread_local long doubts_ = 0;
};

}  // namespace plumb
