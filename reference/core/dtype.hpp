// Element types: what a tensor stores, by name and size, and the two 16-bit storage floats.
// bf16 is the upper half of an f32 (8-bit significand); f16 is IEEE 754 binary16 (11-bit significand).
// Conversions round to nearest, ties to even, and keep NaN a NaN (IEEE 754-2019, 5.4.2).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace plumb {

using index_t = std::int64_t;

enum class dtype : std::uint8_t { f32, f64, bf16, f16, i64 };

constexpr std::string_view name_of(dtype type) {
  switch (type) {
    case dtype::f32:
      return "f32";
    case dtype::f64:
      return "f64";
    case dtype::bf16:
      return "bf16";
    case dtype::f16:
      return "f16";
    case dtype::i64:
      return "i64";
  }
  return "?";
}

constexpr std::size_t size_of(dtype type) {
  switch (type) {
    case dtype::f32:
      return 4;
    case dtype::f64:
      return 8;
    case dtype::bf16:
      return 2;
    case dtype::f16:
      return 2;
    case dtype::i64:
      return 8;
  }
  return 0;
}

constexpr std::optional<dtype> parse_dtype(std::string_view text) {
  for (const dtype type : {dtype::f32, dtype::f64, dtype::bf16, dtype::f16, dtype::i64})
    if (text == name_of(type)) return type;
  return std::nullopt;
}

/// bfloat16 as stored: sign, 8 exponent bits, 7 fraction bits.
struct bf16 {
  std::uint16_t bits = 0;

  constexpr bf16() = default;
  constexpr explicit bf16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffU) > 0x7f800000U;
    bits = is_nan ? static_cast<std::uint16_t>((word >> 16) | 0x0040U)
                  : static_cast<std::uint16_t>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
  }
  constexpr explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// IEEE binary16 as stored: sign, 5 exponent bits, 10 fraction bits. In integers, because not every compiler
/// has _Float16, and no rounding mode can get in between.
struct f16 {
  std::uint16_t bits = 0;

  constexpr f16() = default;
  constexpr explicit f16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    bits = static_cast<std::uint16_t>(((word >> 16) & 0x8000U) | round_magnitude(word & 0x7fffffffU));
  }
  constexpr explicit operator float() const {
    const std::uint32_t sign = (bits & 0x8000U) << 16, exponent = (bits >> 10) & 0x1fU,
                        fraction = bits & 0x3ffU;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * static_cast<float>(fraction) * 0x1p-24f;
    const std::uint32_t widened = exponent == 0x1fU ? 0xffU : exponent + 112;
    return std::bit_cast<float>(sign | (widened << 23) | (fraction << 13));
  }

 private:
  static constexpr std::uint32_t round_magnitude(std::uint32_t word) {
    if (word > 0x7f800000U) return 0x7e00U;   // NaN
    if (word >= 0x47800000U) return 0x7c00U;  // 2^16 and more
    const std::uint32_t exponent = word >> 23;
    if (exponent < 102) return 0;  // less than half of the smallest subnormal, 2^-24
    const bool normal = exponent >= 113;
    const std::uint32_t significand = normal ? word - (112U << 23) : ((word & 0x7fffffU) | 0x800000U);
    const std::uint32_t shift = normal ? 13 : 126 - exponent, half = 1U << (shift - 1);
    const std::uint32_t kept = significand >> shift, rest = significand & (2 * half - 1);
    return kept + (rest > half || (rest == half && (kept & 1U)) ? 1 : 0);  // a carry runs into the exponent
  }
};

}  // namespace plumb
