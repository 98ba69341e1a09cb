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
