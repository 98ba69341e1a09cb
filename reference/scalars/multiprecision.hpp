// Multiprecision scalars, from Boost.Multiprecision: binary floats of 50 and 100 decimal digits on MPFR, and exact
// rationals on GMP. Boost's headers and its inlined operators cost every layer seconds of compiling, so that they are
// seen by multiprecision.cpp alone: here a number is bytes that hold Boost's, and its operators are calls.
#pragma once

#include <compare>
#include <concepts>
#include <iosfwd>
#include <string>
#include <string_view>
#include <type_traits>

namespace plumb {

/// What holds the number, how many bytes it takes at most, and whether it must be destroyed.
struct mpfr_50_digits {
  static constexpr std::size_t bytes = 64;
  static constexpr bool owns_memory = false;
};
struct mpfr_100_digits {
  static constexpr std::size_t bytes = 88;
  static constexpr bool owns_memory = false;
};
struct gmp_fraction {
  static constexpr std::size_t bytes = 32;
  static constexpr bool owns_memory = true;
};

/// A new one is zero. Results are rounded to nearest; fractions are exact, and dividing one by zero throws
/// std::overflow_error.
template <class Kind>
class multiprecision {
 public:
  static constexpr bool is_fraction = std::is_same_v<Kind, gmp_fraction>;

  multiprecision() : multiprecision(0LL) {}
  // Numbers of the language convert, as they do to each other.
  template <std::signed_integral I>
  multiprecision(I v) : multiprecision(static_cast<long long>(v)) {}  // NOLINT(google-explicit-constructor)
  template <std::unsigned_integral I>
  multiprecision(I v)
      : multiprecision(static_cast<unsigned long long>(v)) {}  // NOLINT(google-explicit-constructor)
  multiprecision(long long v);                                 // NOLINT(google-explicit-constructor)
  multiprecision(unsigned long long v);                        // NOLINT(google-explicit-constructor)
  multiprecision(double v);                                    // NOLINT(google-explicit-constructor)
  /// A fraction in lowest terms; throws std::overflow_error if the denominator is 0.
  multiprecision(long long numerator, long long denominator) requires(std::is_same_v<Kind, gmp_fraction>);
  /// Decimal digits with or without a point and an exponent, or a fraction `7/3`; throws std::runtime_error for others.
  explicit multiprecision(std::string_view text);
  /// Rounds; a fraction becomes the nearest float.
  template <class Other>
  requires(!std::is_same_v<Other, Kind>) explicit multiprecision(const multiprecision<Other>& v);

  multiprecision(const multiprecision& v);
  multiprecision(multiprecision&& v) noexcept;
  multiprecision& operator=(const multiprecision& v);
  multiprecision& operator=(multiprecision&& v) noexcept;
#if __cpp_concepts >= 202002L  // clang 14 knows concepts but not this part of them
  ~multiprecision() requires(!Kind::owns_memory) = default;
  ~multiprecision() requires(Kind::owns_memory) { destroy(); }
#else
  ~multiprecision() {
    if constexpr (Kind::owns_memory) destroy();
  }
#endif

  explicit operator double() const;
  explicit operator float() const;
  explicit operator long long() const;

  /// The given number of significant digits; all that the number has for 0; fractions as `7/3`.
  std::string str(int digits = 0) const;

  multiprecision& operator+=(const multiprecision& v);
  multiprecision& operator-=(const multiprecision& v);
  multiprecision& operator*=(const multiprecision& v);
  multiprecision& operator/=(const multiprecision& v);

  friend multiprecision operator-(const multiprecision& a) { return negative(a); }
  friend multiprecision operator+(const multiprecision& a, const multiprecision& b) { return sum(a, b); }
  friend multiprecision operator-(const multiprecision& a, const multiprecision& b) {
    return difference(a, b);
  }
  friend multiprecision operator*(const multiprecision& a, const multiprecision& b) { return product(a, b); }
  friend multiprecision operator/(const multiprecision& a, const multiprecision& b) { return quotient(a, b); }
  friend bool operator==(const multiprecision& a, const multiprecision& b) { return equal(a, b); }
  friend std::partial_ordering operator<=>(const multiprecision& a, const multiprecision& b) {
    return compare(a, b);
  }

  friend multiprecision abs(const multiprecision& x) { return apply(function::abs, x); }
  friend multiprecision exp(const multiprecision& x) requires(!is_fraction) {
    return apply(function::exp, x);
  }
  friend multiprecision expm1(const multiprecision& x) requires(!is_fraction) {
    return apply(function::expm1, x);
  }
  friend multiprecision log(const multiprecision& x) requires(!is_fraction) {
    return apply(function::log, x);
  }
  friend multiprecision log1p(const multiprecision& x) requires(!is_fraction) {
    return apply(function::log1p, x);
  }
  friend multiprecision log10(const multiprecision& x) requires(!is_fraction) {
    return apply(function::log10, x);
  }
  friend multiprecision sqrt(const multiprecision& x) requires(!is_fraction) {
    return apply(function::sqrt, x);
  }
  friend multiprecision tanh(const multiprecision& x) requires(!is_fraction) {
    return apply(function::tanh, x);
  }
  friend multiprecision erf(const multiprecision& x) requires(!is_fraction) {
    return apply(function::erf, x);
  }
  friend multiprecision acos(const multiprecision& x) requires(!is_fraction) {
    return apply(function::acos, x);
  }
  friend multiprecision pow(const multiprecision& x, int n) requires(!is_fraction) { return power(x, n); }
  friend std::ostream& operator<<(std::ostream& out, const multiprecision& x) { return print(out, x); }

 private:
  template <class Other>
  friend class multiprecision;
  enum class function : unsigned char { abs, exp, expm1, log, log1p, log10, sqrt, tanh, erf, acos };
  struct access;  ///< Boost's number in the bytes

  struct uninitialised {};
  explicit multiprecision(uninitialised) {}  // NOLINT(cppcoreguidelines-pro-type-member-init)

  void destroy();
  static multiprecision negative(const multiprecision& a);
  static multiprecision sum(const multiprecision& a, const multiprecision& b);
  static multiprecision difference(const multiprecision& a, const multiprecision& b);
  static multiprecision product(const multiprecision& a, const multiprecision& b);
  static multiprecision quotient(const multiprecision& a, const multiprecision& b);
  static bool equal(const multiprecision& a, const multiprecision& b);
  static std::partial_ordering compare(const multiprecision& a, const multiprecision& b);
  static multiprecision apply(function f, const multiprecision& x);
  static multiprecision power(const multiprecision& x, int n);
  static std::ostream& print(std::ostream& out, const multiprecision& x);

  alignas(8) unsigned char bytes_[Kind::bytes];
};

using mp50 = multiprecision<mpfr_50_digits>;
using mp100 = multiprecision<mpfr_100_digits>;
using rational = multiprecision<gmp_fraction>;

}  // namespace plumb
