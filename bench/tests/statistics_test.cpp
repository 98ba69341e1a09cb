// The statistics on samples whose answer is known: order-statistic ranks from binomial tables, synthetic
// kernels that are equal, 10 % slower, twice as fast, or lost in noise.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "bench/statistics.hpp"

namespace plumb::bench {
namespace {

std::vector<double> counting(int n) {
  std::vector<double> samples;
  for (int i = n; i >= 1; --i) samples.push_back(i);
  return samples;
}

TEST(median, middle_sample_or_half_way) {
  EXPECT_EQ(median_of(counting(5)).value, 3);
  EXPECT_EQ(median_of(counting(4)).value, 2.5);
  EXPECT_EQ(median_of({7}).value, 7);
  EXPECT_EQ(median_of({}).value, 0);
}

TEST(median, one_disturbed_sample_does_not_count) { EXPECT_EQ(median_of({1, 1, 1, 1, 1000}).value, 1); }

/// Ranks of the 95 % interval: 2·P(Binomial(n, ½) < j) ≤ 0.05. By hand: n = 5: 2/32 = 6.3 %, none; n = 6:
/// 2/64 = 3.1 %; n = 11: 2·(1 + 11)/2048 = 1.2 % and 2·(1 + 11 + 55)/2048 = 6.5 %; n = 20: 2·(1 + 20 + 190 +
/// 1140 + 4845)/2^20 = 1.2 % and with 15504 more 4.1 %, and with 38760 more 11.5 %.
TEST(median, interval_by_order_statistics) {
  EXPECT_FALSE(median_of(counting(5)).reliable);
  EXPECT_EQ(median_of(counting(5)).low, 0.5);  // the range, widened by 2
  EXPECT_EQ(median_of(counting(5)).high, 10);
  EXPECT_TRUE(median_of(counting(6)).reliable);
  EXPECT_EQ(median_of(counting(6)).low, 1);
  EXPECT_EQ(median_of(counting(6)).high, 6);
  EXPECT_EQ(median_of(counting(11)).low, 2);
  EXPECT_EQ(median_of(counting(11)).high, 10);
  EXPECT_EQ(median_of(counting(20)).low, 6);
  EXPECT_EQ(median_of(counting(20)).high, 15);
}

TEST(median, interval_covers_the_median_as_often_as_promised) {
  std::mt19937 random(1);
  std::exponential_distribution<double> skewed(1);
  int covered = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    std::vector<double> samples;
    for (int i = 0; i < 11; ++i) samples.push_back(skewed(random));
    const estimate e = median_of(samples);
    if (e.low <= std::log(2) && std::log(2) <= e.high) ++covered;
  }
  EXPECT_GE(covered, 4000 * 0.97);  // 98.8 % by the formula
  EXPECT_LT(covered, 4000);
}

TEST(verdict, of_intervals) {
  using enum record::comparison;
  EXPECT_EQ(judge({1, 0.99, 1.02, true}), same);
  EXPECT_EQ(judge({1.01, 1.005, 1.02, true}), same);  // surely slower, but by too little to matter
  EXPECT_EQ(judge({1.1, 1.05, 1.2, true}), slower);
  EXPECT_EQ(judge({0.8, 0.7, 0.99, true}), faster);
  EXPECT_EQ(judge({1.05, 0.95, 1.2, true}), ambiguous);
  EXPECT_EQ(judge(median_of({1.2})), ambiguous);
  EXPECT_EQ(judge(median_of({1.9, 1.9, 1.9})), ambiguous);
  EXPECT_EQ(judge(median_of({30})), slower);
  EXPECT_EQ(judge(median_of({0.1, 0.2})), faster);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(judge({nan, nan, nan, true}), ambiguous);
  EXPECT_EQ(judge(median_of({nan})), ambiguous);
  EXPECT_EQ(judge({1, 0.99, std::numeric_limits<double>::infinity(), true}), ambiguous);
  EXPECT_EQ(judge({0, 0, 0, true}), ambiguous);
}

/// A machine whose speed wanders by up to a third between rounds, and 2 % of noise of each sample.
struct machine {
  std::mt19937 random{5};
  std::vector<series> measure(const std::vector<double>& factors, int rounds) {
    std::uniform_real_distribution<double> drift(1.0, 1.33);
    std::normal_distribution<double> noise(1, 0.02);
    std::vector<series> all(factors.size());
    for (int round = 0; round < rounds; ++round) {
      const double speed = drift(random);
      for (std::size_t i = 0; i < factors.size(); ++i) {
        all[i].seconds.push_back(1e-3 * speed * factors[i] * noise(random));
        all[i].rounds.push_back(round);
      }
    }
    return all;
  }
};

record::comparison compare(machine& m, double factor, int rounds = 21) {
  const auto all = m.measure({1, factor}, rounds);
  return judge(median_of(paired_ratios(all[1], all[0])));
}

TEST(verdict, finds_ten_percent_in_a_third_of_drift) {
  machine m;
  int slower = 0, faster = 0;
  for (int trial = 0; trial < 50; ++trial) {
    slower += compare(m, 1.1) == record::comparison::slower;
    faster += compare(m, 0.9) == record::comparison::faster;
  }
  EXPECT_GE(slower, 49);
  EXPECT_GE(faster, 49);
}

TEST(verdict, never_tells_identical_kernels_apart) {
  machine m;
  int same = 0, different = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const record::comparison c = compare(m, 1);
    same += c == record::comparison::same;
    different += c == record::comparison::faster || c == record::comparison::slower;
  }
  EXPECT_GE(same, 150);  // the rest is ambiguous
  EXPECT_LE(different, 2);
}

TEST(verdict, without_pairing_the_drift_would_hide_it) {
  machine m;
  const auto all = m.measure({1, 1.1}, 21);
  const estimate base = median_of(all[0].seconds), mine = median_of(all[1].seconds);
  EXPECT_LT(mine.low, base.high);
  EXPECT_EQ(judge(median_of(paired_ratios(all[1], all[0]))), record::comparison::slower);
}

TEST(pairs, only_rounds_that_both_took_part_in) {
  const series base{{1, 2, 4}, {0, 1, 2}}, mine{{6, 20}, {1, 2}};
  EXPECT_EQ(paired_ratios(mine, base), (std::vector<double>{3, 5}));
}

TEST(pairs, one_long_sample_is_held_against_the_median) {
  const series base{{1, 2, 4}, {3, 4, 5}}, mine{{100}, {0}};
  EXPECT_EQ(paired_ratios(mine, base), (std::vector<double>{50}));
  EXPECT_TRUE(paired_ratios(mine, {}).empty());
  EXPECT_TRUE(paired_ratios({}, base).empty());
}

TEST(geometric_mean_of_ratios, known_answers) {
  const std::vector<double> half(11, 0.5), twice(11, 2.0), eight(11, 8.0);
  EXPECT_DOUBLE_EQ(geometric_mean({half, twice}, 1).value, 1);
  EXPECT_DOUBLE_EQ(geometric_mean({half, twice, eight}, 1).value, 2);
  EXPECT_DOUBLE_EQ(geometric_mean({half, {}, twice}, 1).value, 1);
  EXPECT_EQ(geometric_mean({}, 1).value, 0);
  EXPECT_TRUE(geometric_mean({half}, 1).reliable);
  EXPECT_FALSE(geometric_mean({half, {3.0}}, 1).reliable);
  EXPECT_DOUBLE_EQ(geometric_mean({{3.0}, {3.0}}, 1).low, 1.5);
  EXPECT_DOUBLE_EQ(geometric_mean({{3.0}, {3.0}}, 1).high, 6);
}

TEST(geometric_mean_of_ratios, interval_holds_the_truth_and_shrinks_with_problems) {
  std::mt19937 random(3);
  std::normal_distribution<double> noise(1, 0.1);
  const auto interval = [&](int problems) {
    std::vector<std::vector<double>> all(static_cast<std::size_t>(problems));
    for (auto& ratios : all)
      for (int i = 0; i < 11; ++i) ratios.push_back(1.25 * noise(random));
    return geometric_mean(all, 7);
  };
  const estimate few = interval(4), many = interval(64);
  EXPECT_LT(few.low, 1.25);
  EXPECT_GT(few.high, 1.25);
  EXPECT_LT(many.low, 1.26);
  EXPECT_GT(many.high, 1.24);
  EXPECT_LT(many.high - many.low, 0.5 * (few.high - few.low));
}

}  // namespace
}  // namespace plumb::bench
