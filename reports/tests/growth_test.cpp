// Lines of growth are found in the problem texts, with their exponents.
#include "reports/growth.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace plumb::reports {
namespace {

record::timing timing_of(const std::string& problem, double seconds, double flops = 0) {
  record::timing t;
  t.problem = problem;
  t.kernel = "conv2d.forward/direct@avx3";
  t.layout = "nchw";
  t.measurement.emplace();
  t.measurement->seconds = seconds;
  t.measurement->flops = flops;
  return t;
}

std::vector<growth_family> growth(const std::vector<record::timing>& timings) {
  std::vector<const record::timing*> all;
  for (const record::timing& t : timings) all.push_back(&t);
  return find_growth(all);
}

TEST(growth, of_numbers_that_vary_in_step) {
  std::vector<record::timing> timings;
  for (const int c : {64, 16, 32, 128}) {
    const std::string n = std::to_string(c);
    timings.push_back(timing_of("conv2d x=1x" + n + "x28x28 weight=" + n + "x" + n + "x3x3 pad=1",
                                1e-6 * c * c, 18.0 * c * c));
  }
  // Neither of these varies one quantity only.
  timings.push_back(timing_of("conv2d x=1x48x28x28 weight=16x48x3x3 pad=1", 1));
  timings.push_back(timing_of("conv2d x=1x256x28x28 weight=256x256x3x3 pad=2", 1));
  const auto found = growth(timings);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].quantity, "channels");
  EXPECT_EQ(found[0].problems, "conv2d x=1x…x28x28 weight=…x…x3x3 pad=1");
  EXPECT_NEAR(found[0].work, 2, 1e-9);
  ASSERT_EQ(found[0].series.size(), 1U);
  EXPECT_EQ(found[0].series[0].x, (std::vector<double>{16, 32, 64, 128}));
  EXPECT_NEAR(found[0].series[0].exponent, 2, 1e-9);
}

TEST(growth, of_batch_and_of_size) {
  std::vector<record::timing> timings;
  for (const int n : {1, 2, 4})
    timings.push_back(timing_of("conv2d x=" + std::to_string(n) + "x8x14x14 weight=8x8x3x3", n));
  for (const int s : {7, 28}) {
    const std::string size = std::to_string(s) + "x" + std::to_string(s);
    timings.push_back(timing_of("conv2d x=1x8x" + size + " weight=8x8x3x3", s * s / 196.0));
  }
  const auto found = growth(timings);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].quantity == "batch" ? found[1].quantity : found[0].quantity, "size");
  for (const growth_family& f : found)
    EXPECT_NEAR(f.series.at(0).exponent, f.quantity == "batch" ? 1 : 2, 1e-9);
}

TEST(growth, of_too_little_is_none) {
  EXPECT_TRUE(growth({}).empty());
  EXPECT_TRUE(growth({timing_of("relu x=1", 1), timing_of("relu x=2", 2)}).empty());
  EXPECT_TRUE(
      growth({timing_of("a x=0", 1), timing_of("a x=0", 2), timing_of("=", 3), timing_of("", 3)}).empty());
  EXPECT_TRUE(std::isnan(log_log_slope({1}, {1})));
  EXPECT_TRUE(std::isnan(log_log_slope({1, 2}, {0, 1})));
}

}  // namespace
}  // namespace plumb::reports
