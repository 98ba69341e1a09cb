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
    case dtype::f32: return "f32";
    case dtype::f64: return "f64";
    case dtype::bf16: return "bf16";
    case dtype::f16: return "f16";
    case dtype::i64: return "i64";
  }
  return "?";
}

constexpr std::size_t size_of(dtype type) {
  switch (type) {
    case dtype::f32: return 4;
    case dtype::f64: return 8;
    case dtype::bf16: return 2;
    case dtype::f16: return 2;
    case dtype::i64: return 8;
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

/// IEEE binary16 as stored. The compiler's own _Float16 does the rounding.
struct f16 {
  std::uint16_t bits = 0;

  constexpr f16() = default;
  explicit f16(float value) : bits(std::bit_cast<std::uint16_t>(static_cast<_Float16>(value))) {}
  explicit operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};

}  // namespace plumb
