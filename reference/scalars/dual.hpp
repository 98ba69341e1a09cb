// Dual numbers a + b·ε with ε² = 0: evaluating f at x + v·ε gives f(x) + f′(x)·v·ε, which is forward-mode
// automatic differentiation (Clifford 1873; Griewank & Walther, Evaluating Derivatives, ch. 3). Comparisons
// look at the value only, so a branch goes the way it goes without ε; never use them to test results.
#pragma once

#include <cmath>
#include <utility>

namespace plumb {

template <class T>
struct dual {
  T value{};
  T tangent{};

  dual() = default;
  dual(const T& v) : value(v), tangent(0) {}  // NOLINT(google-explicit-constructor): a constant has tangent 0
  dual(T v, T t) : value(std::move(v)), tangent(std::move(t)) {}
  template <class I>
  requires(std::is_arithmetic_v<I> && !std::is_same_v<I, T>) explicit dual(I v) : value(T(v)), tangent(0) {}

  dual& operator+=(const dual& o) { return *this = *this + o; }
  dual& operator-=(const dual& o) { return *this = *this - o; }
  dual& operator*=(const dual& o) { return *this = *this * o; }
  dual& operator/=(const dual& o) { return *this = *this / o; }

  friend dual operator-(const dual& a) { return {-a.value, -a.tangent}; }
  friend dual operator+(const dual& a, const dual& b) { return {a.value + b.value, a.tangent + b.tangent}; }
  friend dual operator-(const dual& a, const dual& b) { return {a.value - b.value, a.tangent - b.tangent}; }
  friend dual operator*(const dual& a, const dual& b) {
    return {a.value * b.value, a.tangent * b.value + a.value * b.tangent};
  }
  friend dual operator/(const dual& a, const dual& b) {
    const T quotient = a.value / b.value;
    return {quotient, (a.tangent - quotient * b.tangent) / b.value};
  }

  friend bool operator==(const dual& a, const dual& b) { return a.value == b.value; }
  friend bool operator!=(const dual& a, const dual& b) { return a.value != b.value; }
  friend bool operator<(const dual& a, const dual& b) { return a.value < b.value; }
  friend bool operator>(const dual& a, const dual& b) { return a.value > b.value; }
  friend bool operator<=(const dual& a, const dual& b) { return a.value <= b.value; }
  friend bool operator>=(const dual& a, const dual& b) { return a.value >= b.value; }

  friend dual exp(const dual& a) {
    using std::exp;
    const T e = exp(a.value);
    return {e, e * a.tangent};
  }
  friend dual log(const dual& a) {
    using std::log;
    return {log(a.value), a.tangent / a.value};
  }
  friend dual sqrt(const dual& a) {
    using std::sqrt;
    const T root = sqrt(a.value);
    return {root, a.tangent / (root + root)};
  }
  friend dual tanh(const dual& a) {
    using std::tanh;
    const T t = tanh(a.value);
    return {t, (T(1) - t * t) * a.tangent};
  }
  friend dual expm1(const dual& a) {
    using std::exp, std::expm1;
    return {expm1(a.value), exp(a.value) * a.tangent};
  }
  friend dual log1p(const dual& a) {
    using std::log1p;
    return {log1p(a.value), a.tangent / (T(1) + a.value)};
  }
  /// erf′(x) = 2/√π·e^-x², and √π = √(acos(-1))
  friend dual erf(const dual& a) {
    using std::acos, std::erf, std::exp, std::sqrt;
    return {erf(a.value), T(2) / sqrt(acos(T(-1))) * exp(-(a.value * a.value)) * a.tangent};
  }
};

}  // namespace plumb
