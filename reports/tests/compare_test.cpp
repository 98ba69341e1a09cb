// Comparing two records: no false alarm between runs of the same code, and every planted loss is seen.
#include "reports/compare.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "reports/tests/sample_record.hpp"
#include "reports/tests/xml_check.hpp"

namespace plumb::reports {
namespace {

/// What a run of a benchmark measures on a machine that has moods: a speed of its own in every run (`drift`), a speed of
/// its own for every kernel in every visit (`placement`), noise from sample to sample, single samples that are disturbed,
/// and visits during which somebody else is busy all the time (`busy`).
struct machine {
  double drift = 0.08, placement = 0.012, noise = 0.02, disturbed = 0.05, busy = 0.3;
  int visits = 5;
  double together =
      0;  ///< noise that all kernels of a round have in common, and as much again from visit to visit
};

struct kernel_plan {
  const char* name;
  bool peer;
  double slowed;  ///< factor on its time
};

record::run bench_run(std::uint64_t seed, const machine& m, const std::vector<kernel_plan>& kernels,
                      int problems) {
  constexpr int rounds = 11;
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> chance;
  const double mood = std::exp(m.drift * normal(random));
  record::run r;
  r.command = "bench";
  r.provenance.seed = 1;
  r.bench.emplace();
  if (m.visits > 1) r.bench->rounds_a_visit = rounds;
  for (int p = 0; p < problems; ++p) {
    std::vector<double> of_round;
    for (int visit = 0; visit < m.visits; ++visit) {
      const double visited = normal(random);
      for (int round = 0; round < rounds; ++round)
        of_round.push_back(std::exp(m.together * (visited + normal(random))));
    }
    for (const kernel_plan& k : kernels) {
      record::timing t;
      t.problem = "conv2d x=1x" + std::to_string(8 << (p % 4)) + "x14x" + std::to_string(14 + p);
      t.set = "resnet50";
      t.kernel = k.name;
      t.layout = "nchw";
      t.peer = k.peer;
      t.verdict = record::verdict::pass;
      t.worst_proven = 0.1;
      record::measurement time;
      for (int visit = 0; visit < m.visits; ++visit) {
        double placed = std::exp(m.placement * normal(random));
        if (chance(random) < m.busy) placed *= 1 + 0.6 * chance(random);
        for (int round = 0; round < rounds; ++round) {
          const double hit = chance(random) < m.disturbed ? 1.6 : 1.0;
          time.samples.push_back(1e-4 * (p + 1) * k.slowed * mood * placed * hit *
                                 of_round[time.samples.size()] * std::exp(m.noise * normal(random)));
          time.rounds.push_back(visit * rounds + round);
        }
      }
      std::vector<double> sorted = time.samples;
      std::sort(sorted.begin(), sorted.end());
      time.seconds = sorted[sorted.size() / 2];
      t.measurement = time;
      r.bench->timings.push_back(std::move(t));
    }
  }
  return r;
}

const std::vector<kernel_plan> honest = {{"conv2d.forward/onednn@cpu", true, 1},
                                         {"conv2d.forward/im2col@avx3", false, 1},
                                         {"conv2d.forward/direct@avx3", false, 1.3},
                                         {"conv2d.forward/winograd@avx3", false, 0.7}};

const speed_change& find(const std::vector<speed_change>& list, const std::string& kernel) {
  return *std::ranges::find(list, kernel, &speed_change::kernel);
}

constexpr std::uint64_t repetitions = 20;

TEST(compare, no_false_regression_in_many_repetitions) {
  std::uint64_t same = 0;
  for (const int problems : {1, 3, 23})
    for (std::uint64_t seed = 0; seed < 2 * repetitions; seed += 2) {
      const comparison_of_runs c =
          compare_runs(bench_run(seed, {}, honest, problems), bench_run(seed + 1, {}, honest, problems));
      EXPECT_FALSE(c.regression()) << problems << " problems, seed " << seed << ": " << c.headline;
      if (problems == 23) same += c.speed == record::comparison::same ? 1 : 0;
    }
  EXPECT_GE(10 * same, 9 * repetitions) << "called the same nearly always";
}

/// Measured, in milliseconds, on a virtual machine whose neighbour came and went: AlexNet's first layer by the same two
/// kernels in two runs, the second of which hardly ever met the machine undisturbed.
TEST(compare, no_false_regression_on_a_machine_of_two_speeds) {
  const visits peer_before = {{1.79, 1.72, 2.46, 2.45, 1.73, 1.74, 1.77, 1.79, 1.74, 1.77, 1.78},
                              {3.13, 2.35, 1.64, 3.09, 3.08, 3.09, 3.09, 3.1, 3.1, 1.7, 1.77},
                              {2.36, 2.29, 1.69, 2.29, 1.65, 1.62, 1.67, 1.72, 2.61, 2.38, 1.85},
                              {1.67, 1.65, 1.63, 1.86, 1.63, 1.63, 1.6, 1.66, 1.72, 1.7, 1.65},
                              {2.52, 2.46, 2.45, 1.73, 1.81, 1.66, 2.54, 2.45, 2.5, 1.68, 2.53}};
  const visits ours_before = {{25.51, 18.96, 21.77, 18.99, 18.17, 17.53, 17.08, 17.48, 24.35, 19.96, 26.32},
                              {32.4, 22.23, 21.86, 19.46, 32.25, 32.25, 32.26, 32.2, 32.27, 32.28, 19.78},
                              {28.28, 26.86, 28.22, 17.01, 17.94, 18.79, 29.25, 23.67},
                              {17.09, 20.82, 18.84, 18.94, 18.1, 18.1, 18.53, 17.51, 19.67, 18.24, 20.01},
                              {27.14, 19.36, 22.78, 27.57}};
  const visits peer_after = {{3.27, 1.9, 1.97, 1.74, 2.56, 2.04, 2.3, 2.44, 2.52, 2.34, 2.38},
                             {2.04, 2.48, 2.46, 1.87, 2.43, 2.37, 2.27, 2.41, 2.48, 2.4, 2.35},
                             {2.49, 2.41, 2.47, 2.48, 3.19, 3.13, 3.15, 3.15, 3.14, 3.18, 3.16},
                             {2.4, 3.15, 2.49, 2.45, 3.14, 3.2, 3.19, 3.13, 3.2, 3.15, 3.13}};
  const visits ours_after = {{26.83, 27.86, 26.79, 30.84, 35.02, 40.94, 28.38, 28.82, 28.96, 29.03},
                             {27.95, 25.69, 29.27, 29.16, 29.11, 29.55, 29.41, 29.86, 29.57, 29.35, 27.45},
                             {28.02, 29.61, 33.51, 32.25, 32.28, 32.34, 32.26},
                             {32.36, 27.72, 32.38, 32.31, 32.48, 32.36, 32.9}};
  const auto shift_between = [](const visits& before, const visits& after) {
    const auto middle = [](const visits& list) {
      std::vector<double> all;
      for (const auto& visit : list) all.insert(all.end(), visit.begin(), visit.end());
      return std::log(median(all));
    };
    shift s = shift_of(level_of(before), level_of(after));
    s.of_medians = middle(after) - middle(before);
    return s;
  };
  shift ours = shift_between(ours_before, ours_after);
  EXPECT_EQ(judge({change_of(ours, 0.007, 0)})[0], record::comparison::slower)
      << "by itself it looks like that";
  const shift peer = shift_between(peer_before, peer_after);
  ours.beside = peer.log_ratio;
  ours.medians_beside = peer.of_medians;
  EXPECT_EQ(judge({change_of(ours, 0.007, 0)})[0], record::comparison::ambiguous);
}

/// What all kernels of a round share says nothing of any of them: 15 % of it from round to round and from visit to visit
/// leave a change of a tenth visible, and nothing else.
TEST(compare, what_slows_a_whole_round_down_is_not_ours) {
  machine restless;
  restless.together = 0.15;
  restless.busy = 0;
  std::vector<kernel_plan> changed = {honest[0], honest[1]}, two = changed;
  changed[1].slowed *= 1.1;
  std::uint64_t same = 0, slower = 0;
  for (std::uint64_t seed = 0; seed < 2 * repetitions; seed += 2) {
    const record::run before = bench_run(seed, restless, two, 9);
    const comparison_of_runs c = compare_runs(before, bench_run(seed + 1, restless, two, 9));
    EXPECT_FALSE(c.regression()) << "seed " << seed << ": " << c.headline;
    same += c.speed == record::comparison::same ? 1 : 0;
    slower += compare_runs(before, bench_run(seed + 1, restless, changed, 9)).regression() ? 1 : 0;
  }
  EXPECT_GE(same + 1, repetitions);
  EXPECT_GE(slower + 1, repetitions);
}

TEST(compare, a_vendors_kernel_of_another_version_is_no_control) {
  std::vector<kernel_plan> newer = honest;
  newer[0].slowed = 0.5;
  record::run before = bench_run(1, {}, honest, 9), after = bench_run(2, {}, newer, 9);
  const auto told = [&] {
    const comparison_of_runs c = compare_runs(before, after);
    return std::pair(c.regression(), find(c.kernels, honest[0].name).verdict);
  };
  using enum record::comparison;
  EXPECT_EQ(told(), std::pair(true, same)) << "what does not change, the machine did";
  before.provenance.libraries = {{"oneDNN", "2.6.3"}, {"Boost", "1.74.0"}};
  after.provenance.libraries = {{"oneDNN", "3.5"}, {"Boost", "1.81.0"}};
  EXPECT_EQ(told(), std::pair(false, faster));
  after.provenance.libraries[0].version = "2.6.3";
  EXPECT_EQ(told(), std::pair(true, same)) << "it is oneDNN's version that counts";
}

TEST(compare, no_false_regression_without_peers_on_a_steady_machine) {
  const std::vector<kernel_plan> ours = {honest[1], honest[2]};
  machine steady;
  steady.drift = 0.01;
  steady.busy = 0;
  for (std::uint64_t seed = 0; seed < 2 * repetitions; seed += 2)
    EXPECT_FALSE(
        compare_runs(bench_run(seed, steady, ours, 9), bench_run(seed + 1, steady, ours, 9)).regression());
}

TEST(compare, ten_percent_slower_is_slower) {
  std::vector<kernel_plan> changed = honest;
  changed[1].slowed = 1.1;
  std::uint64_t slower = 0, faster = 0, on_five = 0;
  for (std::uint64_t seed = 0; seed < 2 * repetitions; seed += 2) {
    const comparison_of_runs c =
        compare_runs(bench_run(seed, {}, honest, 23), bench_run(seed + 1, {}, changed, 23));
    const bool seen = find(c.kernels, changed[1].name).verdict == record::comparison::slower;
    slower += seen ? 1 : 0;
    EXPECT_NE(find(c.kernels, changed[2].name).verdict, record::comparison::slower);
    EXPECT_EQ(c.regression(), seen);
    EXPECT_TRUE(!seen || c.kernels.front().kernel == changed[1].name) << "the worst comes first";
    // The other way round it got faster, and that is no regression.
    const comparison_of_runs back =
        compare_runs(bench_run(seed + 1, {}, changed, 23), bench_run(seed, {}, honest, 23));
    EXPECT_FALSE(back.regression());
    faster += find(back.kernels, changed[1].name).verdict == record::comparison::faster ? 1 : 0;
    on_five += compare_runs(bench_run(seed, {}, honest, 5), bench_run(seed + 1, {}, changed, 5)).regression()
                   ? 1
                   : 0;
  }
  // Once in a while the vendor's kernel is disturbed more in one run than in the other, and then nothing is called.
  EXPECT_GE(slower + 1, repetitions);
  EXPECT_GE(faster + 1, repetitions);
  EXPECT_GE(10 * on_five, 8 * repetitions) << "on five problems most of the time";
}

TEST(compare, a_peer_that_got_slower_is_no_regression) {
  std::vector<kernel_plan> changed = honest;
  changed.push_back({"conv2d.forward/openblas@cpu", true, 1});
  std::vector<kernel_plan> slowed = changed;
  slowed.back().slowed = 2;
  const comparison_of_runs c = compare_runs(bench_run(1, {}, changed, 9), bench_run(2, {}, slowed, 9));
  EXPECT_FALSE(c.regression());
  EXPECT_EQ(find(c.kernels, "conv2d.forward/openblas@cpu").verdict, record::comparison::slower);
}

TEST(compare, everything_of_ours_slowed_is_seen_beside_a_peer) {
  std::vector<kernel_plan> changed = honest;
  for (kernel_plan& k : changed)
    if (!k.peer) k.slowed *= 1.15;
  EXPECT_TRUE(compare_runs(bench_run(1, {}, honest, 23), bench_run(2, {}, changed, 23)).regression());
}

TEST(compare, a_kernel_that_has_no_number_any_more_is_a_regression) {
  const record::run before = bench_run(1, {}, honest, 3);
  record::run after = bench_run(2, {}, honest, 3);
  record::timing& t = after.bench->timings[1];
  t.measurement.reset();
  t.verdict = record::verdict::fail;
  t.reason = "wrong value";
  const comparison_of_runs c = compare_runs(before, after);
  EXPECT_TRUE(c.regression());
  ASSERT_FALSE(c.accuracy.empty());
  EXPECT_EQ(c.accuracy[0].after, "fail: wrong value");
}

TEST(compare, a_lost_bit_is_seen) {
  const record::run before = testing::rich_run();
  EXPECT_FALSE(compare_runs(before, before).regression());
  EXPECT_TRUE(compare_runs(before, before).accuracy.empty());
  record::run after = before;
  after.bench->timings[1].worst_proven = 2 * *before.bench->timings[1].worst_proven;
  comparison_of_runs c = compare_runs(before, after);
  EXPECT_TRUE(c.regression());
  ASSERT_EQ(c.accuracy.size(), 1U);
  EXPECT_NEAR(c.accuracy[0].bits, 1, 1e-9);
  EXPECT_NE(render_console(c, false).find("lost 1.0 bits"), std::string::npos) << render_console(c, false);
  EXPECT_FALSE(compare_runs(after, before).regression()) << "a gain is no loss";
  // In the distribution: every element one bin to the right.
  after = before;
  auto& counts = after.verify->kernels[0].ulps->counts;
  counts.insert(counts.begin() + 1, 0);
  counts.pop_back();
  EXPECT_TRUE(compare_runs(before, after).less_exact);
  // A bound that is no number at all is a loss too.
  after = before;
  after.bench->timings[1].worst_proven = std::nan("");
  EXPECT_TRUE(compare_runs(before, after).less_exact);
}

TEST(compare, verdicts_and_gradients_that_got_worse_are_regressions) {
  const record::run before = testing::rich_run();
  record::run after = before;
  after.verify->kernels[0].verdict = record::verdict::crashed;
  EXPECT_TRUE(compare_runs(before, after).regression());
  EXPECT_FALSE(compare_runs(after, before).regression());
  after = before;
  after.gradcheck->layers[0].agreements[0].exact = false;
  EXPECT_TRUE(compare_runs(before, after).regression());
  after = before;
  after.gradcheck->layers[0].agreements[2].digits -= 20;
  EXPECT_TRUE(compare_runs(before, after).regression());
}

TEST(compare, says_when_there_is_nothing_in_common) {
  EXPECT_EQ(compare_runs({}, {}).headline, "Nothing in common to compare");
  EXPECT_FALSE(compare_runs({}, testing::rich_run()).regression());
}

TEST(compare, renders_hostile_text_as_text) {
  const record::run evil = testing::hostile_run();
  record::run worse = evil;
  for (record::timing& t : worse.bench->timings) t.verdict = record::verdict::crashed;
  const comparison_of_runs c = compare_runs(evil, worse);
  const std::string page = html(c, evil, worse);
  EXPECT_EQ(page.find("<script>window"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(testing::read_xml(junit(c)).error, "");
  EXPECT_EQ(markdown(c).find("<script"), std::string::npos);
  EXPECT_EQ(render_console(c, false).find('\x1b'), std::string::npos);
}

TEST(compare, lines_of_the_console_have_one_verdict_each_and_a_fixed_width) {
  std::vector<kernel_plan> changed = honest;
  changed[1].slowed = 1.2;
  const std::string text =
      render_console(compare_runs(bench_run(1, {}, honest, 23), bench_run(2, {}, changed, 23)), false);
  EXPECT_NE(text.find("slower    conv2d.forward/im2col@avx3"), std::string::npos) << text;
  EXPECT_NE(text.find("same      conv2d.forward/onednn@cpu"), std::string::npos) << text;
}

TEST(compare, records_without_visits_still_compare) {
  machine once;
  once.visits = 1;
  once.busy = 0;
  EXPECT_FALSE(compare_runs(bench_run(1, once, honest, 23), bench_run(2, once, honest, 23)).regression());
  std::vector<kernel_plan> changed = honest;
  changed[1].slowed = 1.3;
  EXPECT_TRUE(compare_runs(bench_run(1, once, honest, 23), bench_run(2, {}, changed, 23)).regression());
}

TEST(change, what_others_do_to_a_visit_does_not_count) {
  const visits calm(5, std::vector<double>(11, 1.0));
  visits disturbed = calm;
  disturbed[1].assign(11, 1.7);
  disturbed[3][2] = 50;
  const shift s = shift_of(level_of(calm), level_of(disturbed));
  EXPECT_EQ(s.log_ratio, 0);
  EXPECT_TRUE(s.visited);
  EXPECT_EQ(shift_of(level_of({}), level_of(calm)).freedom, 0);
  EXPECT_EQ(level_of({{std::nan(""), 0, -1}}).freedom, 0);
  EXPECT_FALSE(level_of({{1, 2, 3}}).visited);
}

TEST(change, beside_another_kernel_the_middle_of_the_visits_counts) {
  // Medians of the visits 1, 2, 3, 4 and 40: the pairs' means have the median 3.
  const visits logs = {{9, 1, -7}, {2}, {}, {3, 3}, {4, 4.5, 3.5}, {40}};
  const level l = level_beside(logs);
  EXPECT_EQ(l.value, 3);
  EXPECT_EQ(l.freedom, 4);
  EXPECT_TRUE(l.visited);
  EXPECT_DOUBLE_EQ(l.variance, 1130.0 / (5 * 4)) << "the outlier is told";
  EXPECT_EQ(level_beside({{1}, {2}}).freedom, 0) << "two visits say nothing of their error";
  EXPECT_EQ(level_beside({}).freedom, 0);
}

TEST(change, a_run_that_hangs_on_one_visit_knows_it) {
  const visits even(5, std::vector<double>(11, 1.0));
  visits lucky = even;
  for (auto& visit : lucky) visit.assign(11, 1.2);
  lucky[2].assign(11, 1.0);
  EXPECT_LT(level_of(even).variance, 1e-6);
  EXPECT_GT(level_of(lucky).variance, 1e-2);
}

TEST(change, few_visits_lean_on_the_quieter_kernels) {
  shift quiet{0.02, 0.0001, 8, true}, usual{0, 0.02, 8, true}, unknown;
  shift other = usual, noisy{0, 0.5, 8, true};
  lean_on_each_other({&quiet, &usual, &other, &noisy, &unknown});
  EXPECT_GT(quiet.error, 0.008);
  EXPECT_NEAR(usual.error, 0.02, 1e-9);
  EXPECT_EQ(quiet.freedom, 10);
  EXPECT_EQ(unknown.freedom, 0);
  // Student's 97.5 % quantile at 12 degrees of freedom is 2.179; the two-sided p of t = 3 there is 0.0111.
  const change c = change_of({0.06, 0.02, 12, true, 0.06}, 0, 0);
  EXPECT_NEAR(std::log(c.high), 0.06 + 2.179 * 0.02, 1e-4);
  EXPECT_NEAR(c.p, 0.0111, 2e-3);
}

TEST(change, same_is_two_tests_at_five_percent) {
  // Student's 95 % quantile at 12 degrees of freedom is 1.782.
  const double room = std::log(counts_from), error = 0.02, most = room - 1.782 * error;
  for (const double side : {1.0, -1.0}) {
    EXPECT_TRUE(change_of({side * (most - 1e-3), error, 12, true, 0}, 0, 0).same);
    EXPECT_FALSE(change_of({side * (most + 1e-3), error, 12, true, 0}, 0, 0).same);
    EXPECT_FALSE(change_of({side * room, 1e-9, 12, true, 0}, 0, 0).same);
  }
  EXPECT_FALSE(change_of({std::nan(""), error, 12, true, 0}, 0, 0).same);
  EXPECT_FALSE(change_of({0, std::nan(""), 12, true, 0}, 0, 0).same);
  EXPECT_EQ(judge({change_of({0, 0.03, 12, true, 0}, 0, 0)})[0], record::comparison::ambiguous);
}

TEST(change, what_the_medians_do_not_confirm_is_none) {
  const shift confirmed{0.2, 0.01, 12, true, 0.15}, denied{0.2, 0.01, 12, true, 0.02};
  EXPECT_EQ(judge({change_of(confirmed, 0, 0)})[0], record::comparison::slower);
  EXPECT_EQ(judge({change_of(denied, 0, 0)})[0], record::comparison::ambiguous);
  EXPECT_EQ(judge({mean_change({denied, denied}, 0, 0)})[0], record::comparison::ambiguous);
}

/// A machine that runs at another speed for seconds on end, and for some kernels more than for others: what the vendor's
/// kernel beside ours went along with is no change of ours.
TEST(change, is_ours_only_if_the_kernel_beside_it_stayed) {
  using enum record::comparison;
  const auto verdict = [](double log_ratio, double beside) {
    const shift s{log_ratio, 0.01, 12, true, log_ratio, beside, beside};
    const auto alone = judge({change_of(s, 0, 0)})[0];
    EXPECT_EQ(alone, judge({mean_change({s, s, s}, 0, 0)})[0]);
    return alone;
  };
  EXPECT_EQ(verdict(0.41, 0), slower);
  EXPECT_EQ(verdict(0.41, 0.26), ambiguous) << "1.5 times slower, beside one 1.3 times slower";
  EXPECT_EQ(verdict(0.41, 0.2), slower) << "0.01 is left";
  EXPECT_EQ(verdict(0.41, -0.26), slower);
  EXPECT_EQ(verdict(-0.41, 0), faster);
  EXPECT_EQ(verdict(-0.41, -0.26), ambiguous);
  EXPECT_EQ(verdict(-0.41, 0.1), faster);
  EXPECT_EQ(verdict(0.0, 0.3), same);
  EXPECT_EQ(verdict(0.41, std::nan("")), ambiguous);
  const shift by_medians{0.41, 0.01, 12, true, 0.41, 0, 0.26},
      by_fastest{0.41, 0.01, 12, true, 0.41, 0.26, 0};
  EXPECT_EQ(judge({change_of(by_medians, 0, 0)})[0], ambiguous);
  EXPECT_EQ(judge({change_of(by_fastest, 0, 0)})[0], ambiguous);
}

TEST(change, holm_shares_the_risk) {
  // Three changes of 8 %: alone each would be called, among a hundred the uncertain one is not.
  const change sure{1.08, 1.06, 1.10, 1e-9}, unsure{1.08, 1.01, 1.15, 1.5e-3}, none{1, 0.99, 1.01, 0.9, true};
  EXPECT_EQ(judge({unsure})[0], record::comparison::slower);
  std::vector<change> family(100, none);
  family[0] = sure;
  family[1] = unsure;
  const auto verdicts = judge(family);
  EXPECT_EQ(verdicts[0], record::comparison::slower);
  EXPECT_EQ(verdicts[1], record::comparison::ambiguous);
  EXPECT_EQ(verdicts[2], record::comparison::same);
}

}  // namespace
}  // namespace plumb::reports
