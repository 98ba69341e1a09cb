// The sentence people read first.
#include "reports/summary.hpp"

#include <gtest/gtest.h>

#include "reports/tests/sample_record.hpp"

namespace plumb::reports {
namespace {

using enum record::verdict;

struct sample {
  record::verdict verdict;
  bool peer = false;
  bool planted = false;
};

summary summary_of(std::initializer_list<sample> kernels) {
  record::run r;
  r.verify.emplace();
  for (const sample& s : kernels) {
    record::kernel_result k;
    k.verdict = s.verdict;
    k.peer = s.peer;
    k.planted = s.planted;
    r.verify->kernels.push_back(k);
  }
  return summarize({&r, 1});
}

std::string headline(std::initializer_list<sample> kernels) { return summary_of(kernels).headline.text; }

TEST(summary, the_verdict_leads) {
  EXPECT_EQ(headline({{pass}, {pass}}), "All 2 kernels pass");
  EXPECT_EQ(headline({{pass}}), "The kernel passes");
  EXPECT_EQ(headline({{pass}, {fail}}), "1 of 2 kernels fails");
  EXPECT_EQ(headline({{crashed}, {fail}, {pass}}), "2 of 3 kernels fail");
  EXPECT_EQ(headline({{timeout}}), "The kernel fails: 1 timed out");
  EXPECT_EQ(headline({{mistrusted}, {pass}}), "1 of 2 kernels fails");
  EXPECT_EQ(headline({{pass}, {inconclusive}}), "1 of 2 kernels pass, 1 undecided");
  EXPECT_EQ(headline({{skipped}}), "No kernel was judged");
  EXPECT_EQ(headline({}), "No kernel was judged");
  EXPECT_EQ(summary_of({{pass}, {skipped}}).headline.tone, tone::good);
  EXPECT_EQ(summary_of({{pass}, {skipped}}).lines[0].text, "1 kernel skipped");
}

TEST(summary, a_peers_failure_is_counted_apart) {
  const summary s = summary_of({{pass}, {pass}, {fail, true}});
  EXPECT_EQ(s.headline.text, "All 2 kernels pass");
  EXPECT_EQ(s.headline.tone, tone::good);
  EXPECT_EQ(s.lines[0].text, "1 finding about 1 vendor peer, counted apart");
}

TEST(summary, a_planted_bug_is_meant_to_fail) {
  EXPECT_EQ(headline({{pass}, {fail, false, true}}), "The kernel passes");
  const summary missed = summary_of({{pass}, {fail, false, true}, {pass, false, true}});
  EXPECT_EQ(missed.headline.text, "1 of 2 planted bugs caught");
  EXPECT_EQ(missed.headline.tone, tone::bad);
  const summary undecided = summary_of({{pass}, {inconclusive, false, true}});
  EXPECT_EQ(undecided.headline.tone, tone::bad) << "not catching is not catching, whatever the reason";
}

TEST(summary, who_ran_a_part_of_a_set_does_not_lead_it) {
  record::run r;
  r.bench.emplace();
  const auto total = [](const char* kernel, std::int64_t problems, double ratio) {
    record::set_total t{"resnet50", kernel, false, problems, ratio, {}};
    t.ratio = record::time_ratio{"conv2d.forward/peer", ratio, ratio, ratio, record::comparison::faster};
    return t;
  };
  r.bench->timings.emplace_back().measurement.emplace();
  r.bench->sets = {total("conv2d.forward/part", 4, 0.1), total("conv2d.forward/whole", 23, 0.8),
                   total("max_pool2d.forward/other_job", 2, 0.9)};
  const whole_sets whole(*r.bench);
  EXPECT_EQ(whole.problems(r.bench->sets[0]), 23);
  EXPECT_FALSE(whole.ran_by(r.bench->sets[0]));
  EXPECT_TRUE(whole.ran_by(r.bench->sets[2]));
  EXPECT_EQ(summarize({&r, 1}).headline.text,
            "conv2d.forward/whole takes 0.8× the time of conv2d.forward/peer on resnet50");
}

TEST(summary, what_never_ran_of_a_plugin_is_said) {
  record::run r;
  r.verify.emplace().coverage.emplace().libraries = {{"a/libk.so", 12, 1, {"k.cpp:18"}, ""},
                                                     {"all.so", 9, 0, {}, ""},
                                                     {"silent.so", 0, 0, {}, "no debug information"}};
  r.verify->kernels.emplace_back().verdict = pass;
  const summary s = summarize({&r, 1});
  EXPECT_EQ(s.headline.text, "The kernel passes");
  ASSERT_EQ(s.lines.size(), 2U);
  EXPECT_EQ(s.lines[0].text, "1 of 13 edges of libk.so never ran");
  EXPECT_EQ(s.lines[1].text, "All of all.so ran");
}

TEST(summary, a_fault_without_time_is_undecided) {
  record::run r;
  record::fault_result killed, survived, undecided;
  killed.killed = true;
  undecided.reason = "inconclusive: 40 cases, fewer than 200: give more --time";
  r.audit.emplace().faults = {killed, undecided};
  EXPECT_EQ(summarize({&r, 1}).headline.text, "1 of 2 planted faults caught, 1 undecided: give more --time");
  EXPECT_EQ(summarize({&r, 1}).headline.tone, tone::unsure);
  r.audit->faults.push_back(survived);
  EXPECT_EQ(summarize({&r, 1}).headline.text, "1 of 3 planted faults survived");
  EXPECT_EQ(summarize({&r, 1}).headline.tone, tone::bad);
}

TEST(summary, no_sections_no_verdict) {
  record::run empty;
  EXPECT_EQ(summarize({&empty, 1}).headline.tone, tone::unsure);
  EXPECT_EQ(summarize({}).headline.text, "Nothing was judged");
}

TEST(summary, of_everything) {
  const record::run r = testing::rich_run();
  const summary s = summarize({&r, 1});
  EXPECT_EQ(s.headline.text, "4 of 6 kernels fail");
  EXPECT_EQ(s.kernels.total, 7);
  EXPECT_EQ(s.planted_caught, 1);
  EXPECT_EQ(s.layers.bad(), 1);
  EXPECT_EQ(s.timed, 12);
  EXPECT_EQ(s.untimed, 4);
  const std::vector<record::run> both = {r, r};
  EXPECT_EQ(summarize(both).headline.text, "8 of 12 kernels fail");
  EXPECT_EQ(summarize(both).cases, 2 * s.cases);
}

}  // namespace
}  // namespace plumb::reports
