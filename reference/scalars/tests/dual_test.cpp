// Dual numbers: each operation's tangent against the rule of calculus worked out by hand, chains of them against
// closed forms, and branches that follow the value alone.
#include <gtest/gtest.h>

#include "reference/scalars/scalars.hpp"

namespace plumb {
namespace {

using number = dual<double>;

void expect(const number& found, double value, double tangent) {
  EXPECT_DOUBLE_EQ(found.value, value);
  EXPECT_DOUBLE_EQ(found.tangent, tangent);
}

TEST(dual_numbers, arithmetic) {
  const number a(3, 2), b(4, -1);
  expect(-a, -3, -2);
  expect(a + b, 7, 1);
  expect(a - b, -1, 3);
  expect(a * b, 12, 3 * -1 + 2 * 4);
  expect(a / b, 0.75, (2 * 4 - 3 * -1) / 16.0);
  expect(a * a, 9, 12);
  expect(a + 5.0, 8, 2);
  expect(number(7), 7, 0);  // a constant does not move
  number c = a;
  c += b;
  c -= number(1);
  c *= b;
  c /= number(2);
  expect(c, 12, (1 * 4 + 6 * -1) / 2.0);
}

TEST(dual_numbers, functions) {
  const number x(0.5, 3);
  expect(exp(x), std::exp(0.5), 3 * std::exp(0.5));
  expect(log(x), std::log(0.5), 6);
  expect(sqrt(x), std::sqrt(0.5), 3 / (2 * std::sqrt(0.5)));
  const double t = std::tanh(0.5);
  expect(tanh(x), t, 3 * (1 - t * t));
  expect(expm1(x), std::expm1(0.5), 3 * std::exp(0.5));
  expect(log1p(x), std::log1p(0.5), 2);
  expect(erf(x), std::erf(0.5), 3 * std::sqrt(std::exp(-0.5) * 4 / std::acos(-1.0)));
  expect(pi<number>(), std::acos(-1.0), 0);
}

TEST(dual_numbers, chains) {
  const number x(0.7, 1);
  // d/dx log(1 + e^x) is the logistic function; d/dx x^x = x^x·(1 + log x).
  EXPECT_NEAR(log(number(1) + exp(x)).tangent, 1 / (1 + std::exp(-0.7)), 1e-15);
  const double power = std::pow(0.7, 0.7);
  EXPECT_NEAR(exp(x * log(x)).tangent, power * (1 + std::log(0.7)), 1e-15);
}

TEST(dual_numbers, comparisons_see_the_value_only) {
  EXPECT_TRUE(number(1, 5) == number(1, -5));
  EXPECT_FALSE(number(1, 5) != number(1, -5));
  EXPECT_TRUE(number(1, 5) < number(2, 0));
  EXPECT_TRUE(number(1, 5) <= number(1, 0));
  EXPECT_TRUE(number(3, 0) > number(2, 9));
  EXPECT_TRUE(number(3, 0) >= number(3, 9));
  const number nan(std::nan(""), 0);
  EXPECT_FALSE(nan == nan);
  EXPECT_FALSE(nan < nan || nan > nan || nan <= nan || nan >= nan);
  EXPECT_TRUE(is_nan(nan));
  EXPECT_FALSE(is_nan(number(1, std::nan(""))));
}

#ifndef PLUMB_FEW_SCALARS
TEST(dual_numbers, over_rationals_are_exact) {
  const dual<rational> x(rational(1, 3), rational(1));
  const dual<rational> y = (x * x - dual<rational>(rational(2))) / x;  // x - 2/x, slope 1 + 2/x²
  EXPECT_EQ(y.value, rational(1, 3) - 6);
  EXPECT_EQ(y.tangent, rational(19));
  EXPECT_FALSE(is_nan(y));
}

TEST(dual_numbers, over_fifty_digits) {
  const dual<mp50> x(mp50(2), mp50(1));
  EXPECT_LT(abs(log(x).tangent - mp50(1) / 2), mp50("1e-49"));
  EXPECT_LT(abs(exp(log(x)).tangent - 1), mp50("1e-48"));
}
#endif

}  // namespace
}  // namespace plumb
