// Binary floating-point formats as three numbers, and rounding of a double to one of them: nearest, ties to
// even, gradual underflow, overflow to infinity, in a single rounding (IEEE 754-2019, 4.3.1). Converting
// double → float → bf16 would round twice.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "reference/core/dtype.hpp"

namespace plumb {

struct float_format {
  int precision;         ///< bits of the significand, the leading one included
  int least_exponent;    ///< of the smallest subnormal: 2^least_exponent
  int largest_exponent;  ///< of the largest finite number: (2 - 2^(1-precision))·2^largest_exponent

  /// u, the largest relative error of one rounding.
  constexpr double unit() const { return power(-precision); }
  constexpr double largest() const { return (2 - power(1 - precision)) * power(largest_exponent); }
  constexpr double smallest_normal() const { return power(least_exponent + precision - 1); }
  constexpr double smallest() const { return power(least_exponent); }

  /// Distance of neighbouring numbers in the binade of x, which is finite.
  double ulp(double x) const {
    const int exponent = static_cast<int>(std::bit_cast<std::uint64_t>(x) >> 52 & 0x7ff) - 1023;
    return power(std::max(exponent - precision + 1, least_exponent));
  }

  double round(double x) const {
    if (!(std::fabs(x) < std::numeric_limits<double>::infinity()) || precision == 53) return x;
    const double step = ulp(x);
    const double rounded = std::nearbyint(x / step) * step;  // both exact: step is a power of two
    return std::fabs(rounded) <= largest() ? rounded
                                           : std::copysign(std::numeric_limits<double>::infinity(), x);
  }

 private:
  /// 2^exponent, also where that is a subnormal double.
  static constexpr double power(int exponent) {
    return exponent >= -1022 ? std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52)
                             : std::bit_cast<double>(std::uint64_t{1} << (exponent + 1074));
  }
};

/// The format of a real element type; i64 has none and yields that of f64.
constexpr float_format format_of(dtype type) {
  switch (type) {
    case dtype::f32:
      return {24, -149, 127};
    case dtype::bf16:
      return {8, -133, 127};
    case dtype::f16:
      return {11, -24, 15};
    case dtype::f64:
    case dtype::i64:
      break;
  }
  return {53, -1074, 1023};
}

}  // namespace plumb
