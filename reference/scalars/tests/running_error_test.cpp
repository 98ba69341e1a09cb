// running_error: on random formulas the radius covers the distance to 100 digits, and the allowance covers
// what float really does in random orders of summation; neither is so large that it would prove nothing.
#include "reference/scalars/running_error.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "reference/scalars/multiprecision.hpp"

namespace plumb {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct sampler {
  std::mt19937_64 random;
  double real() {
    return static_cast<double>(static_cast<float>(std::ldexp(static_cast<double>(random() >> 11), -52) - 1));
  }
  unsigned below(unsigned n) { return static_cast<unsigned>(random() % n); }
};

/// A random formula of the operations that layers use, evaluated over T by a stack machine.
template <class T>
T formula(const std::vector<unsigned>& program, const std::vector<double>& data) {
  using std::erf, std::exp, std::expm1, std::log, std::log1p, std::sqrt, std::tanh;
  std::vector<T> stack;
  std::size_t next = 0;
  const auto push = [&] { stack.push_back(T(data[next++ % data.size()])); };
  push();
  for (const unsigned op : program) {
    T a = stack.back();
    if (op < 5) {
      push();
      const T b = stack.back();
      stack.pop_back();
      a = op == 0   ? T(a + b)
          : op == 1 ? T(a - b)
          : op == 2 ? T(a * b)
          : op == 3 ? T(a / (b * b + T(1)))
                    : T(b - a);
    } else {
      const T positive = a * a + T(1);
      a = op == 5    ? T(exp(tanh(a)))
          : op == 6  ? T(log(positive))
          : op == 7  ? T(sqrt(positive))
          : op == 8  ? T(tanh(a))
          : op == 9  ? T(expm1(tanh(a)))
          : op == 10 ? T(log1p(a * a))
          : op == 11 ? T(erf(a))
                     : T(-a);
    }
    stack.back() = a;
  }
  return stack.back();
}

TEST(running_error, radius_covers_the_distance_to_the_truth) {
  sampler s{std::mt19937_64(1)};
  int tight = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    std::vector<unsigned> program(1 + s.below(12));
    for (unsigned& op : program) op = s.below(13);
    std::vector<double> data(8);
    for (double& x : data) x = s.real();
    const auto guess = formula<running_error>(program, data);
    const mp100 truth = formula<mp100>(program, data);
    const mp100 distance = abs(truth - mp100(guess.value()));
    ASSERT_LE(distance, mp100(guess.radius())) << trial;
    ASSERT_LE(guess.radius(), 1e-10 * (1 + std::fabs(guess.value()))) << trial;
    tight += distance * 100 > mp100(guess.radius()) ? 1 : 0;
  }
  EXPECT_GT(tight, 1000);  // the radius is no fantasy: often within two decimal digits of the error
}

TEST(running_error, radius_covers_functions_where_they_bend) {
  using std::erf, std::expm1, std::log1p;
  sampler s{std::mt19937_64(4)};
  for (int trial = 0; trial < 3000; ++trial) {
    // a number with a radius, which may be larger than the number, and both ends of what it may be
    const double magnitude = std::ldexp(s.real(), static_cast<int>(s.below(70)) - 60);
    const running_error third = running_error(1.0) / running_error(3.0);
    const running_error x = third + running_error(magnitude) - third;
    for (const double end : {-0.999, 0.0, 0.999}) {
      const mp100 truth = mp100(x.value()) + mp100(end) * mp100(x.radius());
      const auto covered = [](const running_error& guess, const mp100& exact) {
        return abs(exact - mp100(guess.value())) <= mp100(guess.radius());
      };
      ASSERT_TRUE(covered(erf(x), erf(truth))) << x.value();
      if (x.value() < 700) {
        ASSERT_TRUE(covered(expm1(x), expm1(truth))) << x.value();
      }
      if (x.value() > -1) {
        ASSERT_TRUE(covered(log1p(x), log1p(truth))) << x.value();
      }
    }
  }
  const mp100 pi = acos(mp100(-1));
  EXPECT_LE(abs(pi - mp100(running_error::pi().value())), mp100(running_error::pi().radius()));
  EXPECT_LT(running_error::pi().radius(), 0x1p-52);
}

TEST(running_error, allowance_covers_float) {
  sampler s{std::mt19937_64(2)};
  constexpr double u = 0x1p-24;
  double largest_share = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<unsigned> program(1 + s.below(8));
    for (unsigned& op : program) op = s.below(13);
    std::vector<double> data(8);
    for (double& x : data) x = s.real();
    const auto truth = formula<running_error>(program, data);
    const double got = static_cast<double>(formula<float>(program, data));
    const double bound = truth.allowance() * u * (1 + 64 * u) + truth.radius();
    ASSERT_LE(std::fabs(got - truth.value()), bound) << trial;
    if (bound > 0) largest_share = std::max(largest_share, std::fabs(got - truth.value()) / bound);
  }
  EXPECT_GT(largest_share, 0.5);
}

TEST(running_error, sums_are_covered_in_any_order) {
  sampler s{std::mt19937_64(3)};
  constexpr double u = 0x1p-24;
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<double> data(2 + s.below(60));
    running_error truth(0.0);
    for (double& x : data) {
      x = s.real();
      truth += running_error(x) * running_error(0.3F);
    }
    for (int order = 0; order < 4; ++order) {
      std::shuffle(data.begin(), data.end(), s.random);
      std::vector<float> parts;
      for (const double x : data) parts.push_back(static_cast<float>(x) * 0.3F);
      while (parts.size() > 1) {  // a random tree
        const std::size_t i = s.below(static_cast<unsigned>(parts.size() - 1));
        parts[i] += parts.back();
        parts.pop_back();
      }
      ASSERT_LE(std::fabs(static_cast<double>(parts[0]) - truth.value()),
                truth.allowance() * u * (1 + 64 * u) + truth.radius());
    }
    ASSERT_LE(truth.allowance(), (static_cast<double>(data.size()) + 1) * truth.size());
  }
}

/// What cancels to nothing on the way is nothing in this order only.
TEST(running_error, a_sum_that_vanished_is_remembered) {
  const running_error x(0.3278917372226715), y(0.016324765980243683);
  const float backwards = (0.016324765980243683F + -0.3278917372226715F) + 0.3278917372226715F;
  for (const running_error& sum : {x - x + y, y + (x - x)}) {
    EXPECT_EQ(sum.value(), y.value());
    EXPECT_GT(std::fabs(static_cast<double>(backwards) - y.value()), 0);
    EXPECT_LE(std::fabs(static_cast<double>(backwards) - y.value()), sum.allowance() * 0x1p-24);
  }
  EXPECT_EQ((x - x).allowance(), 0);  // as it stands
}

TEST(running_error, small_numbers_may_be_graded_and_others_are_not) {
  EXPECT_EQ(running_error(0x1p-140).graded(4).underflow(), 4);
  EXPECT_EQ(running_error(0.5).graded(4).underflow(), 0);
}

TEST(running_error, copies_selections_and_small_integers_are_exact) {
  EXPECT_EQ(running_error(0.1).allowance(), 0);
  running_error zero(0.0);
  zero += running_error(0.1);
  EXPECT_EQ(zero.allowance(), 0);
  EXPECT_EQ(zero.radius(), 0);
  running_error sum(0.0);
  for (int i = -50; i < 80; ++i) sum += running_error(i) * running_error(7);
  EXPECT_EQ(sum.value(), 130 * 14.5 * 7);
  EXPECT_EQ(sum.allowance(), 0);
  EXPECT_EQ(sum.radius(), 0);
  const running_error product = running_error(0.0) * running_error(0.1);
  EXPECT_EQ(product.radius(), 0);
  EXPECT_EQ(product.allowance(), 0);
  // Beyond 2^24 a float sum of integers may round, in some order.
  const running_error large = running_error(16777216.0) + running_error(1.0) + running_error(1.0);
  EXPECT_GT(large.allowance(), 0);
}

TEST(running_error, comparisons_that_radii_leave_open_are_counted) {
  running_error::forget_doubts();
  const running_error third = running_error(1) / running_error(3);
  const bool less = third * running_error(3) < running_error(1.0);
  EXPECT_FALSE(less);
  EXPECT_EQ(running_error::doubts(), 1);
  EXPECT_TRUE(third < running_error(1.0));
  EXPECT_TRUE(running_error(2.0) >= running_error(2.0));  // inputs have no radius
  EXPECT_EQ(running_error::doubts(), 1);
  running_error::forget_doubts();
  EXPECT_EQ(running_error::doubts(), 0);
}

/// What a kernel in f32 may have lost, it multiplies by 0 to NaN, and what it adds to that is NaN as well.
TEST(running_error, zero_times_what_may_overflow_may_be_anything) {
  const running_error zero(0.0), large = exp(running_error(116.0)), small = exp(running_error(3.0));
  EXPECT_GT((zero * large).peak(), 0x1p128);
  EXPECT_GT((large * zero).peak(), 0x1p128);
  EXPECT_GT((zero * large + small).peak(), 0x1p128);
  EXPECT_GT((small + large * zero).peak(), 0x1p128);
  EXPECT_LT((zero * small).peak(), 0x1p128);
  EXPECT_LT((zero * small + small).peak(), 0x1p128);
  EXPECT_EQ((zero * large).value(), 0);
  const running_error tiny(0x1p-100), lost = running_error(1.0) / (tiny * tiny);  // the square underflows
  EXPECT_GT((zero * lost).peak(), 0x1p128);
}

/// What a kernel may meet on the way to inf: partial sums of the finite terms, of which the first here leaves the range.
TEST(running_error, finite_terms_beside_an_infinity_may_leave_the_range_first) {
  const running_error most(-0x1.fffffep127), half_a_step(-0x1p103), inf(infinity);
  EXPECT_GE((most + half_a_step + inf).peak(), 0x1.ffffffp127);
  EXPECT_GE((half_a_step + inf + most).peak(), 0x1.ffffffp127);
  EXPECT_GE((inf + half_a_step + most).peak(), 0x1.ffffffp127);
  EXPECT_EQ((half_a_step + inf + most).value(), infinity);
  EXPECT_LE((running_error(1) + inf + running_error(2)).peak(), 3);
  EXPECT_EQ((most + inf).peak(), 0) << "two terms meet in one way only";
}

TEST(running_error, special_values) {
  const running_error inf(infinity);
  EXPECT_TRUE(std::isnan((inf - inf).value()));
  EXPECT_EQ((inf - inf).radius(), 0);
  EXPECT_EQ((running_error(1) / inf).value(), 0);
  EXPECT_EQ(exp(running_error(1000)).value(), infinity);
  EXPECT_EQ(exp(running_error(1000)).radius(), 0);
  EXPECT_EQ(exp(-inf).value(), 0);
  // 1 / (1 + e^1000) is not 0, but closer to it than the radius.
  const running_error tail = running_error(1) / (running_error(1) + exp(running_error(1000)));
  EXPECT_EQ(tail.value(), 0);
  EXPECT_GT(tail.radius(), 0);
  // Nobody knows 1 / x where x may be zero.
  const running_error nothing = running_error(0.1) * running_error(3) - running_error(0.1) * running_error(3);
  EXPECT_EQ((running_error(1) / (nothing + running_error(0x1p-60))).radius(), infinity);
}

}  // namespace
}  // namespace plumb
