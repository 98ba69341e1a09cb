// An accumulator without rounding: a fixed-point register so long that every product of two doubles, and
// hence of two floats, lands on it whole (Kulisch & Miranker 1986). The sum is exact in any order; `round`
// rounds it once.
//
// The register holds digits of 32 bits in 64-bit words, so that a term is added without carries; the words
// are put in order after 2^29 terms at the latest. Bit 0 weighs 2^-2148, the square of the smallest double.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "reference/scalars/float_format.hpp"

namespace plumb {

template <int TermsWithoutCarry>
class basic_exact_accumulator {
 public:
  void clear() {
    for (int k = low_; k <= high_; ++k) digits_[static_cast<std::size_t>(k)] = 0;
    low_ = digits;
    high_ = -1;
    since_carry_ = 0;
    special_ = 0;
    zeros_ = signs::none;
  }

  void add(double x) {
    if (!std::isfinite(x)) return add_special(x);
    if (x == 0) return add_zero(std::signbit(x));
    const parts p = split(x);
    add_shifted(p.significand, 0, p.exponent - least_exponent, p.negative);
  }

  /// Adds a·b.
  void add_product(double a, double b) {
    if (!(std::isfinite(a) && std::isfinite(b))) return add_special(a * b);
    if (a == 0 || b == 0) return add_zero(std::signbit(a) != std::signbit(b));
    const parts p = split(a);
    const parts q = split(b);
    const wide product = static_cast<wide>(p.significand) * q.significand;
    add_shifted(static_cast<std::uint64_t>(product), static_cast<std::uint64_t>(product >> 64),
                p.exponent + q.exponent - least_exponent, p.negative != q.negative);
  }

  double to_double() const { return round(format_of(dtype::f64)); }
  float to_float() const { return static_cast<float>(round(format_of(dtype::f32))); }

  /// The sum rounded to nearest, ties to even. NaN if a term was NaN or infinities of both signs met; an
  /// empty sum and an exact cancellation give +0, terms that are all -0 give -0.
  double round(const float_format& format) const {
    if (special_ != 0) return special_value();
    auto sum = digits_;
    const bool negative = carry_through(sum) < 0;
    if (negative) {
      for (auto& digit : sum) digit = -digit;
      carry_through(sum);
    }
    int top = digits - 1;
    while (top >= 0 && sum[static_cast<std::size_t>(top)] == 0) --top;
    if (top < 0) return zeros_ == signs::negative ? -0.0 : 0.0;
    const auto leading = static_cast<std::uint64_t>(sum[static_cast<std::size_t>(top)]);
    const int highest_bit = top * 32 + static_cast<int>(std::bit_width(leading)) - 1;
    const int lowest_bit =
        std::max(highest_bit - format.precision + 1, format.least_exponent - least_exponent);
    std::uint64_t kept = bits_from(sum, lowest_bit);
    const bool half = (bits_from(sum, lowest_bit - 1) & 1) != 0;
    if (half && ((kept & 1) != 0 || any_below(sum, lowest_bit - 1))) ++kept;
    const double magnitude = std::ldexp(static_cast<double>(kept), lowest_bit + least_exponent);
    return std::copysign(magnitude <= format.largest() ? magnitude : infinity, negative ? -1.0 : 1.0);
  }

 private:
  __extension__ using wide = unsigned __int128;
  static constexpr int least_exponent = -2148;
  static constexpr int digits = 135;  // 2·2148 bits of products and 24 for carries
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  static constexpr int saw_nan = 1, saw_plus = 2, saw_minus = 4;
  enum class signs : std::uint8_t { none, negative, mixed };  ///< of the terms, all of them zeros

  struct parts {
    std::uint64_t significand;
    int exponent;
    bool negative;
  };
  /// x = ±significand·2^exponent, x finite.
  static parts split(double x) {
    const auto word = std::bit_cast<std::uint64_t>(x);
    const int biased = static_cast<int>(word >> 52 & 0x7ff);
    const std::uint64_t fraction = word & ((std::uint64_t{1} << 52) - 1);
    const std::uint64_t hidden = biased == 0 ? 0 : std::uint64_t{1} << 52;
    return {fraction | hidden, std::max(biased, 1) - 1075, (word >> 63) != 0};
  }

  /// Adds ±(high·2^64 + low)·2^position.
  void add_shifted(std::uint64_t low, std::uint64_t high, int position, bool negative) {
    zeros_ = signs::mixed;
    const int first = position / 32;
    const int shift = position % 32;
    const std::array<std::uint64_t, 4> chunks = {low & mask, low >> 32, high & mask, high >> 32};
    const int count = chunks[3] != 0 ? 4 : chunks[2] != 0 ? 3 : 2;
    for (int i = 0; i < count; ++i) {
      const std::uint64_t shifted = chunks[static_cast<std::size_t>(i)] << shift;
      auto* digit = digits_.data() + first + i;
      const auto lower = static_cast<std::int64_t>(shifted & mask);
      const auto upper = static_cast<std::int64_t>(shifted >> 32);
      digit[0] += negative ? -lower : lower;
      digit[1] += negative ? -upper : upper;
    }
    low_ = std::min(low_, first);
    high_ = std::max(high_, first + count);
    if (++since_carry_ == TermsWithoutCarry) put_in_order();
  }
  void add_zero(bool negative) {
    zeros_ = negative && zeros_ != signs::mixed ? signs::negative : signs::mixed;
  }
  void add_special(double x) { special_ |= std::isnan(x) ? saw_nan : x > 0 ? saw_plus : saw_minus; }
  double special_value() const {
    if (special_ == saw_plus) return infinity;
    if (special_ == saw_minus) return -infinity;
    return std::numeric_limits<double>::quiet_NaN();
  }

  void put_in_order() {
    std::int64_t carry = 0;
    for (int k = low_; k <= high_; ++k) {
      auto& digit = digits_[static_cast<std::size_t>(k)];
      digit += carry;
      carry = digit >> 32;
      digit &= static_cast<std::int64_t>(mask);
    }
    if (carry != 0) digits_[static_cast<std::size_t>(++high_)] += carry;
    since_carry_ = 0;
  }

  using register_t = std::array<std::int64_t, digits + 1>;
  /// All digits into [0, 2^32); returns what leaves at the top: -1 for a negative number, else 0.
  static std::int64_t carry_through(register_t& sum) {
    std::int64_t carry = 0;
    for (auto& digit : sum) {
      digit += carry;
      carry = digit >> 32;
      digit &= static_cast<std::int64_t>(mask);
    }
    return carry;
  }
  static std::uint64_t digit_at(const register_t& sum, int k) {
    return k < 0 || k > digits ? 0 : static_cast<std::uint64_t>(sum[static_cast<std::size_t>(k)]);
  }
  /// The 64 bits from bit `position` up; every sum has fewer than 54 above the lowest bit that is kept.
  static std::uint64_t bits_from(const register_t& sum, int position) {
    if (position < 0) return 0;
    const int k = position / 32;
    const int shift = position % 32;
    const std::uint64_t middle = digit_at(sum, k) | digit_at(sum, k + 1) << 32;
    return shift == 0 ? middle : middle >> shift | digit_at(sum, k + 2) << (64 - shift);
  }
  static bool any_below(const register_t& sum, int position) {
    for (int k = 0; k < position / 32; ++k)
      if (sum[static_cast<std::size_t>(k)] != 0) return true;
    const std::uint64_t part = (std::uint64_t{1} << (position % 32)) - 1;
    return (digit_at(sum, position / 32) & part) != 0;
  }

  static constexpr std::uint64_t mask = 0xffffffffU;

  register_t digits_{};
  int low_ = digits;  ///< digits outside [low_, high_] are zero
  int high_ = -1;
  int since_carry_ = 0;
  int special_ = 0;
  signs zeros_ = signs::none;
};

/// A word holds 2^30 terms: each adds less than 2^33 to it.
using exact_accumulator = basic_exact_accumulator<1 << 29>;

}  // namespace plumb
