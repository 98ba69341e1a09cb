// The exact accumulator against exact rationals: random products over the whole exponent range, cancellation,
// carries, rounding at ties and among subnormals, signs of zero, infinities and NaN.
#include "reference/scalars/exact_accumulator.hpp"

#include <gtest/gtest.h>

#include <boost/multiprecision/gmp.hpp>
#include <random>
#include <vector>

namespace plumb {
namespace {

namespace mp = boost::multiprecision;
using fraction = mp::number<mp::gmp_rational, mp::et_off>;

constexpr double infinity = std::numeric_limits<double>::infinity();
const double nan = std::numeric_limits<double>::quiet_NaN();

fraction two_to(int exponent) {
  const fraction power(mp::mpz_int(mp::mpz_int(1) << static_cast<unsigned>(std::abs(exponent))));
  return exponent < 0 ? fraction(1 / power) : power;
}

/// x rounded to the format, found by halving and doubling the step until the significand has its length.
double rounded(const fraction& x, const float_format& format) {
  const fraction magnitude = abs(x);
  int exponent = format.least_exponent;
  while (magnitude >= two_to(exponent + format.precision + 64)) exponent += 64;
  while (magnitude >= two_to(exponent + format.precision)) ++exponent;
  const fraction quotient = magnitude / two_to(exponent);
  mp::mpz_int whole = numerator(quotient) / denominator(quotient);
  const fraction rest = quotient - fraction(whole);
  if (rest > fraction(1, 2) || (rest == fraction(1, 2) && whole % 2 == 1)) ++whole;
  const double result = std::ldexp(static_cast<double>(whole), exponent);
  return (x < 0 ? -1 : 1) * (result <= format.largest() ? result : infinity);
}

double random_double(std::mt19937_64& random, int spread) {
  const int exponent = static_cast<int>(random() % static_cast<unsigned>(2 * spread + 1)) - spread;
  const double x = std::ldexp(static_cast<double>(random() >> 11) * 0x1p-53 - 0.5, exponent);
  return x;
}

template <class Accumulator>
void agrees_with_rationals(int spread, bool as_float, unsigned seed) {
  std::mt19937_64 random(seed);
  Accumulator sum;
  for (int trial = 0; trial < 300; ++trial) {
    sum.clear();
    fraction exact = 0;
    const int terms = 1 + static_cast<int>(random() % 40);
    for (int i = 0; i < terms; ++i) {
      double a = random_double(random, spread);
      double b = random_double(random, spread);
      if (as_float) {
        a = static_cast<double>(static_cast<float>(std::fmod(a, 0x1p127)));
        b = static_cast<double>(static_cast<float>(std::fmod(b, 0x1p127)));
      }
      if (i % 5 == 4) {
        sum.add(a);
        exact += fraction(a);
      } else {
        sum.add_product(a, b);
        exact += fraction(a) * fraction(b);
      }
    }
    for (const dtype type : {dtype::f64, dtype::f32, dtype::bf16, dtype::f16})
      ASSERT_EQ(sum.round(format_of(type)), rounded(exact, format_of(type))) << name_of(type);
  }
}

TEST(exact_accumulator, agrees_with_rationals_near_one) {
  agrees_with_rationals<exact_accumulator>(4, true, 1);
  agrees_with_rationals<exact_accumulator>(4, false, 2);
}
TEST(exact_accumulator, agrees_with_rationals_over_the_range_of_float) {
  agrees_with_rationals<exact_accumulator>(149, true, 3);
}
TEST(exact_accumulator, agrees_with_rationals_over_the_range_of_double) {
  agrees_with_rationals<exact_accumulator>(1022, false, 4);
}
TEST(exact_accumulator, carries_in_time) {
  agrees_with_rationals<basic_exact_accumulator<3>>(149, true, 5);
  agrees_with_rationals<basic_exact_accumulator<1>>(30, false, 6);
}

TEST(exact_accumulator, sees_what_double_loses) {
  exact_accumulator sum;
  sum.add_product(0x1p127, 0x1p127);
  sum.add_product(0x1p-149, 0x1p-149);
  sum.add_product(-0x1p127, 0x1p127);
  EXPECT_EQ(sum.to_double(), 0x1p-298);
  EXPECT_EQ(sum.to_float(), 0.0F);
}

TEST(exact_accumulator, rounds_once) {
  // Half an ulp of f32 above 1, and a little more than double can hold beside it: rounding through double
  // would tie to 1.
  exact_accumulator sum;
  sum.add(1);
  sum.add(0x1p-24);
  EXPECT_EQ(sum.to_float(), 1.0F);
  sum.add(0x1p-90);
  EXPECT_EQ(sum.to_double(), 1 + 0x1p-24);
  EXPECT_EQ(sum.to_float(), 1.0F + 0x1p-23F);
}

TEST(exact_accumulator, overflows_and_underflows_like_the_format) {
  exact_accumulator sum;
  sum.add(static_cast<double>(std::numeric_limits<float>::max()));
  EXPECT_EQ(sum.to_float(), std::numeric_limits<float>::max());
  sum.add(0x1p102);
  EXPECT_EQ(sum.to_float(), std::numeric_limits<float>::max());
  sum.add(0x1p102);  // the tie between the largest number and 2^128 goes to infinity
  EXPECT_EQ(sum.to_float(), std::numeric_limits<float>::infinity());
  sum.clear();
  sum.add(-0x1p-150);
  EXPECT_EQ(sum.to_float(), 0.0F);
  EXPECT_TRUE(std::signbit(sum.to_float()));
  sum.add(-0x1p-200);
  EXPECT_EQ(sum.to_float(), -0x1p-149F);
}

TEST(exact_accumulator, signs_of_zero) {
  exact_accumulator sum;
  EXPECT_FALSE(std::signbit(sum.to_double()));
  sum.add(-0.0);
  sum.add_product(0.0, -3.0);
  EXPECT_TRUE(std::signbit(sum.to_double()));
  sum.add(0.0);
  EXPECT_FALSE(std::signbit(sum.to_double()));
  sum.clear();
  sum.add(-0.0);
  sum.add(2);
  sum.add(-2);
  EXPECT_EQ(sum.to_double(), 0.0);
  EXPECT_FALSE(std::signbit(sum.to_double()));
}

TEST(exact_accumulator, infinities_and_nan) {
  exact_accumulator sum;
  sum.add_product(infinity, 2);
  sum.add(-5);
  EXPECT_EQ(sum.to_double(), infinity);
  sum.add_product(-infinity, 1);
  EXPECT_TRUE(std::isnan(sum.to_double()));
  sum.clear();
  sum.add_product(infinity, 0);
  EXPECT_TRUE(std::isnan(sum.to_float()));
  sum.clear();
  sum.add(nan);
  EXPECT_TRUE(std::isnan(sum.to_double()));
  sum.clear();
  sum.add(-infinity);
  EXPECT_EQ(sum.to_float(), -std::numeric_limits<float>::infinity());
  sum.clear();
  EXPECT_EQ(sum.to_double(), 0.0);
}

TEST(float_format, rounds_like_the_hardware) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    const double x = random_double(random, 160);
    ASSERT_EQ(format_of(dtype::f32).round(x), static_cast<double>(static_cast<float>(x)));
#if !defined(__clang__) || __clang_major__ > 14  // which has no _Float16 here
    const double y = random_double(random, 30);
    ASSERT_EQ(format_of(dtype::f16).round(y), static_cast<double>(static_cast<_Float16>(y)));
#endif
  }
  const float_format b = format_of(dtype::bf16);
  EXPECT_EQ(b.round(1 + 0x1p-8), 1.0);
  EXPECT_EQ(b.round(1 + 0x1p-8 + 0x1p-40), 1 + 0x1p-7);  // through float it would be 1
  EXPECT_EQ(b.round(-infinity), -infinity);
  EXPECT_TRUE(std::isnan(b.round(nan)));
  EXPECT_EQ(format_of(dtype::f32).largest(), static_cast<double>(std::numeric_limits<float>::max()));
  EXPECT_EQ(format_of(dtype::f64).largest(), std::numeric_limits<double>::max());
  EXPECT_EQ(format_of(dtype::f64).smallest(), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(format_of(dtype::f16).largest(), 65504.0);
  EXPECT_EQ(format_of(dtype::f32).smallest_normal(), static_cast<double>(std::numeric_limits<float>::min()));
  EXPECT_EQ(format_of(dtype::f32).ulp(1.5), 0x1p-23);
  EXPECT_EQ(format_of(dtype::f32).ulp(0), 0x1p-149);
  EXPECT_EQ(format_of(dtype::f32).ulp(-8), 0x1p-20);
}

}  // namespace
}  // namespace plumb
