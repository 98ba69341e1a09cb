// The 16-bit storage floats against IEEE 754's definition of the formats, written out in double: every stored
// value decodes to what the definition says, and rounding is checked just below, at and just above every
// halfway point.
#include "reference/core/dtype.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace plumb {
namespace {

// (-1)^sign · 1.fraction · 2^(exponent − bias), subnormals without the leading 1, all ones for infinity and
// NaN.
double decode(std::uint32_t bits, int fraction_bits, int bias) {
  const int exponent_bits = 15 - fraction_bits;
  const auto fraction = static_cast<double>(bits & ((1U << fraction_bits) - 1)) / std::pow(2, fraction_bits);
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double sign = (bits >> 15) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1)
    return fraction == 0.0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return exponent == 0 ? sign * fraction * std::pow(2, 1 - bias)
                       : sign * (1 + fraction) * std::pow(2, exponent - bias);
}

template <class T>
T stored(std::uint32_t bits) {
  T value;
  value.bits = static_cast<std::uint16_t>(bits);
  return value;
}

template <class T>
void decodes_every_value(int fraction_bits, int bias) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const double expected = decode(bits, fraction_bits, bias);
    const auto value = static_cast<float>(stored<T>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(static_cast<float>(T(value)))) << bits;
    } else {
      ASSERT_EQ(value, expected) << bits;
      ASSERT_EQ(std::signbit(value), (bits >> 15) != 0) << bits;
      ASSERT_EQ(T(value).bits, bits);
    }
  }
}

// Between two neighbours a < b lies one point where rounding changes its mind; at the point itself the even
// one wins.
template <class T>
void rounds_at_every_halfway_point(std::uint32_t largest, int fraction_bits, int bias) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (std::uint32_t bits = 0; bits < largest; ++bits) {
    const double middle = (decode(bits, fraction_bits, bias) + decode(bits + 1, fraction_bits, bias)) / 2;
    const auto halfway = static_cast<float>(middle);
    if (halfway != middle) continue;  // finer than float's own subnormals
    const float below = std::nextafter(halfway, 0.0f), above = std::nextafter(halfway, infinity);
    ASSERT_EQ(T(below).bits, bits);
    ASSERT_EQ(T(halfway).bits, bits + (bits & 1U));
    ASSERT_EQ(T(above).bits, bits + 1);
    ASSERT_EQ(T(-halfway).bits, 0x8000U + bits + (bits & 1U));
  }
}

TEST(F16, DecodesEveryValue) { decodes_every_value<f16>(10, 15); }
TEST(BF16, DecodesEveryValue) { decodes_every_value<bf16>(7, 127); }
TEST(F16, RoundsAtEveryHalfwayPoint) { rounds_at_every_halfway_point<f16>(0x7bff, 10, 15); }
TEST(BF16, RoundsAtEveryHalfwayPoint) { rounds_at_every_halfway_point<bf16>(0x7f7f, 7, 127); }

TEST(F16, OverflowsToInfinity) {
  EXPECT_EQ(f16(65504.0f).bits, 0x7bffU);
  EXPECT_EQ(f16(std::nextafter(65520.0f, 0.0f)).bits, 0x7bffU);
  EXPECT_EQ(f16(65520.0f).bits, 0x7c00U);
  EXPECT_EQ(f16(-1e38f).bits, 0xfc00U);
  EXPECT_EQ(f16(std::numeric_limits<float>::infinity()).bits, 0x7c00U);
}

TEST(F16, UnderflowsToSignedZero) {
  EXPECT_EQ(f16(0x1p-25f).bits, 0U);
  EXPECT_EQ(f16(-0x1p-25f).bits, 0x8000U);
  EXPECT_EQ(f16(std::nextafter(0x1p-25f, 1.0f)).bits, 1U);
  EXPECT_EQ(f16(std::numeric_limits<float>::denorm_min()).bits, 0U);
}

TEST(Dtype, NamesAreReadBack) {
  for (const dtype type : {dtype::f32, dtype::f64, dtype::bf16, dtype::f16, dtype::i64})
    EXPECT_EQ(parse_dtype(name_of(type)), type);
  EXPECT_EQ(parse_dtype("f33"), std::nullopt);
  EXPECT_EQ(parse_dtype(""), std::nullopt);
}

}  // namespace
}  // namespace plumb
