// A whole run on small problems: what is recorded, who is refused a number and why, and that the two sides of a ratio
// are what they should be. The figures themselves are the machine's; only what holds on any machine is demanded.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "bench/bench.hpp"
#include "bench/goals.hpp"
#include "reference/core/registry.hpp"

namespace plumb {
namespace {

constexpr const char* problem_text =
    "conv2d x=2x6x13x11 weight=8x3x3x2 bias=8 stride=1x2 pad=1,0,2,1 groups=2";

class bench_run : public ::testing::Test {
 protected:
  static sandbox& box() {
    static sandbox shared(options());
    return shared;
  }
  static sandbox_options options() {
    sandbox_options o;
    o.plugins = {CHEATS};
    o.fill_heap = false;
    return o;
  }
  static bench_options with(const std::string& glob, const std::string& problems = problem_text) {
    bench_options o;
    for (const kernel_info& k : box().kernels())
      if (glob_match(glob, k.name)) o.kernels.push_back(&k);
    o.sets = {load_problems(problems)};
    o.seconds = 0.5;
    o.threads = 1;
    return o;
  }
  static record::timing timing_of(const record::bench_section& s, const std::string& kernel) {
    for (const record::timing& t : s.timings)
      if (t.kernel == kernel) return t;
    ADD_FAILURE() << "no row for " << kernel;
    return {};
  }
};

/// A goal whose glob fits no kernel would never be missed.
TEST_F(bench_run, every_goal_is_of_a_kernel) {
  const auto fits = [](const std::string& glob) {
    return std::ranges::any_of(box().kernels(),
                               [&](const kernel_info& k) { return glob_match(glob, k.name); });
  };
  const auto goals = bench::load_goals();
  EXPECT_FALSE(goals.empty());
  for (const bench::goal_line& g : goals) EXPECT_TRUE(fits(g.kernel)) << g.kernel;
  EXPECT_FALSE(fits("conv2d.*/winograd_f4x4@*"));
}

TEST_F(bench_run, honest_kernels_get_numbers_within_the_roof) {
  bench_options o = with("conv2d.forward/*");
  std::erase_if(o.kernels, [](const kernel_info* k) { return !k->plugin.empty(); });
  const record::bench_section s = run_bench(box(), o);
  EXPECT_GT(s.roof.peak_gflops, 1);
  EXPECT_GT(s.roof.peak_gbytes, 1);
  EXPECT_EQ(s.roof.gflops_samples.size() % static_cast<std::size_t>(o.rounds), 0U);
  int timed = 0;
  for (const record::timing& t : s.timings) {
    if (t.verdict == record::verdict::skipped) continue;
    ASSERT_TRUE(t.measurement) << t.kernel << ": " << t.reason;
    ++timed;
    const record::measurement& m = *t.measurement;
    EXPECT_LE(m.low, m.seconds);
    EXPECT_LE(m.seconds, m.high);
    EXPECT_GT(m.seconds, 0);
    EXPECT_EQ(m.samples.size(), m.rounds.size());
    ASSERT_EQ(m.samples.size(), m.fastest.size());
    for (std::size_t i = 0; i < m.samples.size(); ++i) EXPECT_LE(m.fastest[i], m.samples[i]);
    EXPECT_TRUE(std::ranges::is_sorted(m.rounds)) << "a visit's rounds follow those of the one before";
    EXPECT_NEAR(m.gflops * m.seconds * 1e9, m.flops, 1e-6 * m.flops);
    EXPECT_GT(m.roof_share, 0);
    EXPECT_LT(m.roof_share, 1.5);
    EXPECT_LE(*t.worst_proven, 1);
    EXPECT_EQ(t.baseline, !m.ratio.has_value());
  }
  EXPECT_GE(timed, 2);
}

TEST_F(bench_run, comes_back_for_another_visit) {
  bench_options o = with("conv2d.forward/honest*");
  o.against = "conv2d.forward/honest@cpu";
  o.seconds = 4;
  const record::bench_section s = run_bench(box(), o);
  ASSERT_TRUE(timing_of(s, "conv2d.forward/honest_too@cpu").measurement);
  const std::vector<int> rounds = timing_of(s, "conv2d.forward/honest_too@cpu").measurement->rounds;
  EXPECT_EQ(s.rounds_a_visit, o.rounds);
  EXPECT_GE(rounds.back() / o.rounds, 1) << "nine on a quiet machine, two on a busy one";
}

TEST_F(bench_run, a_kernel_against_itself_is_no_different) {
  bench_options o = with("conv2d.forward/honest*");
  o.seconds = 2;
  o.against = "conv2d.forward/honest@cpu";
  const record::bench_section s = run_bench(box(), o);
  const record::timing t = timing_of(s, "conv2d.forward/honest_too@cpu");
  ASSERT_TRUE(t.measurement) << t.reason;
  ASSERT_TRUE(t.measurement->ratio);
  EXPECT_EQ(t.measurement->ratio->against, o.against);
  EXPECT_NEAR(t.measurement->ratio->value, 1, 0.3);
  EXPECT_TRUE(timing_of(s, "conv2d.forward/honest@cpu").baseline);
}

TEST_F(bench_run, cheats_get_a_reason_and_no_number) {
  bench_options o = with("conv2d.forward/*");
  std::erase_if(o.kernels, [](const kernel_info* k) {
    return k->plugin.empty() || k->name.find("crashes") != std::string::npos;
  });
  o.against = "conv2d.forward/honest@cpu";
  const record::bench_section s = run_bench(box(), o);
  for (const char* cheat : {"tires", "remembers", "lags", "nothing", "wrong"}) {
    const record::timing t = timing_of(s, "conv2d.forward/" + std::string(cheat) + "@cpu");
    EXPECT_EQ(t.verdict, record::verdict::fail) << cheat;
    EXPECT_FALSE(t.measurement) << cheat;
    EXPECT_NE(t.reason, "") << cheat;
  }
  for (const char* cheat : {"tires", "remembers", "lags"})
    EXPECT_NE(
        timing_of(s, "conv2d.forward/" + std::string(cheat) + "@cpu").reason.find("its output differed"),
        std::string::npos)
        << cheat << ": " << timing_of(s, "conv2d.forward/" + std::string(cheat) + "@cpu").reason;
  EXPECT_NE(timing_of(s, "conv2d.forward/wrong@cpu").reason.find("y["), std::string::npos);
  EXPECT_TRUE(timing_of(s, "conv2d.forward/honest@cpu").measurement);
}

/// Of a large batch some samples are judged, and of all others only that they were written.
TEST_F(bench_run, samples_stand_for_a_batch) {
  bench_options o = with("relu.forward/*@cheats", "relu x=96x8x48x48");
  o.against = "relu.forward/honest@cheats";
  o.layouts = {layout::nchw};
  const record::bench_section s = run_bench(box(), o);
  const record::timing honest = timing_of(s, o.against);
  EXPECT_TRUE(honest.measurement) << honest.reason;
  const auto reason_of = [&](const std::string& cheat) {
    const record::timing t = timing_of(s, "relu.forward/" + cheat + "@cheats");
    EXPECT_EQ(t.verdict, record::verdict::fail) << cheat;
    EXPECT_FALSE(t.measurement) << cheat;
    return t.reason;
  };
  EXPECT_EQ(reason_of("skips_a_sample"), "it did not write 18432 of the 1769472 elements of y");
  EXPECT_NE(reason_of("repeats_a_sample").find("y[n="), std::string::npos);
  EXPECT_EQ(reason_of("forgets_the_end").rfind("y[n=95 c=7 h=47 w=47] is 1", 0), 0U)
      << reason_of("forgets_the_end") << ": the place in the whole batch";
}

/// However short the time: who is too slow for it or wrong is so found out, and what it takes is said before.
TEST_F(bench_run, a_budget_too_small_is_foreseen_and_nobody_goes_unjudged) {
  bench_options o = with("conv2d.forward/*");
  std::erase_if(o.kernels, [](const kernel_info* k) { return k->name.find("crashes") != std::string::npos; });
  o.seconds = 0.01;
  std::optional<bench_estimate> told;
  bool begun = false;
  o.before = [&](const bench_estimate& e) {
    EXPECT_FALSE(begun);
    told = e;
  };
  o.progress = [&](const bench_progress& p) {
    begun = true;
    EXPECT_EQ(p.budget, told->least_seconds) << "the time left is counted from what it will take";
  };
  const record::bench_section s = run_bench(box(), o);
  ASSERT_TRUE(told);
  EXPECT_TRUE(begun);
  EXPECT_EQ(told->contests, 1U);
  EXPECT_GT(told->least_seconds, o.seconds);
  EXPECT_LE(told->entries, s.timings.size()) << "without those that cannot run here";
  EXPECT_EQ(timing_of(s, "conv2d.forward/wrong@cpu").verdict, record::verdict::fail);
  EXPECT_TRUE(timing_of(s, "conv2d.forward/honest@cpu").measurement);
  for (const record::timing& t : s.timings)
    EXPECT_TRUE(!t.measurement || t.worst_proven) << t.kernel << " has a number and was not judged";
}

/// Of sums more elements are judged where there is more time; the outputs that are wrong are found either way.
TEST_F(bench_run, judging_has_its_share_of_the_time) {
  bench_options o = with("conv2d.forward/honest@*", "conv2d x=1x4x120x120 weight=8x4x3x3");
  o.seconds = 1;
  const auto start = std::chrono::steady_clock::now();
  const record::bench_section s = run_bench(box(), o);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_LT(took.count(), 3) << "a machine twice as busy as this one would still keep to it";
  EXPECT_TRUE(timing_of(s, "conv2d.forward/honest@cpu").measurement);
}

TEST_F(bench_run, a_crash_costs_the_others_nothing) {
  bench_options o = with("conv2d.forward/crashes@*");
  o.against = "conv2d.forward/honest@cpu";
  const record::bench_section s = run_bench(box(), o);
  EXPECT_EQ(timing_of(s, "conv2d.forward/crashes@cpu").verdict, record::verdict::crashed);
  EXPECT_TRUE(timing_of(s, "conv2d.forward/honest@cpu").measurement);
}

TEST_F(bench_run, a_crash_in_the_timed_loop_too) {
  bench_options o = with("conv2d.forward/crashes_later@*");
  o.against = "conv2d.forward/honest@cpu";
  const record::bench_section s = run_bench(box(), o);
  const record::timing t = timing_of(s, "conv2d.forward/crashes_later@cpu");
  EXPECT_EQ(t.verdict, record::verdict::crashed);
  EXPECT_FALSE(t.measurement);
  EXPECT_TRUE(timing_of(s, "conv2d.forward/honest@cpu").measurement);
}

TEST_F(bench_run, a_failed_verification_keeps_a_kernel_out) {
  bench_options o = with("conv2d.forward/honest*");
  o.known = [](const kernel_info& k, const std::string&, layout) -> std::optional<known_verdict> {
    if (k.name.find("too") == std::string::npos) return std::nullopt;
    return known_verdict{record::verdict::fail, "wrong value: y[n=0] is 1, expected 2"};
  };
  const record::bench_section s = run_bench(box(), o);
  const record::timing t = timing_of(s, "conv2d.forward/honest_too@cpu");
  EXPECT_EQ(t.verdict, record::verdict::fail);
  EXPECT_EQ(t.reason, "wrong value: y[n=0] is 1, expected 2");
  EXPECT_FALSE(t.measurement);
}

TEST_F(bench_run, the_default_baseline_is_the_peer_and_a_set_has_totals) {
  bench_options o = with("conv2d.*/plain@*", "lenet5");
  o.layouts = {layout::nchw, layout::nhwc};
  o.seconds = 2;
  const record::bench_section s = run_bench(box(), o);
  for (const record::timing& t : s.timings)
    EXPECT_EQ(t.baseline, t.kernel.find("/onednn@") != std::string::npos) << t.kernel << ": " << t.reason;
  // Four passes, two layouts, plain and its baseline; the bias gradient of C5 is one the peer declines.
  EXPECT_EQ(s.sets.size(), 16U);
  for (const record::set_total& t : s.sets) {
    EXPECT_EQ(t.set, "lenet5");
    EXPECT_GE(t.problems, 2) << t.kernel;
    EXPECT_LE(t.problems, 3) << t.kernel;
    EXPECT_EQ(t.ratio.has_value(), !t.peer) << t.kernel;
    if (t.ratio) {
      EXPECT_LE(t.ratio->low, t.ratio->value);
      EXPECT_LE(t.ratio->value, t.ratio->high);
      ASSERT_TRUE(t.worst) << t.kernel;
      EXPECT_GE(t.worst->ratio, t.ratio->value * (1 - 1e-9)) << "the worst is no better than the mean";
      EXPECT_FALSE(t.goal) << "none is set for plain loops";
    }
  }
}

TEST_F(bench_run, what_cannot_be_timed_is_said_in_one_sentence) {
  EXPECT_THROW(run_bench(box(), with("conv2d.forward/honest@*", "relu x=3x5")), bench_error);
  bench_options o = with("conv2d.forward/honest@*");
  o.sets = {parse_problem_set("conv2d x=1x3x5x5 weight=2x3x3x3\nconv2d x=1x3x5x5 weight=2x3x3x3 strid=2\n",
                              "mine.txt")};
  try {
    run_bench(box(), o);
    FAIL() << "accepted";
  } catch (const problem_set_error& error) {
    EXPECT_EQ(std::string(error.what()).find("mine.txt:2: `strid=2`"), 0U) << error.what();
  }
}

}  // namespace
}  // namespace plumb
