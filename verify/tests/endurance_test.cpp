// What ten thousand calls in a row are accused of: what stays behind at once, work after return when it shows twice.
#include <gtest/gtest.h>

#include <limits>

#include "verify/runner.hpp"

namespace plumb {
namespace {

/// One answer after the other; how often it was asked.
struct rows_of_calls {
  std::vector<run_result> answers;
  std::size_t asked = 0;

  endurance judge() {
    asked = 0;
    return judge_endurance([this] { return answers.at(asked++); });
  }
};

run_result after_ten_thousand(double idle_cpu_seconds) {
  run_result r;
  r.repeated = 9'999;
  r.idle_cpu_seconds = idle_cpu_seconds;
  return r;
}

TEST(endurance, work_after_return_must_show_twice) {
  for (const double idle : {0.013, 0.02, std::numeric_limits<double>::quiet_NaN()}) {
    rows_of_calls always{{after_ten_thousand(idle), after_ten_thousand(idle)}};
    EXPECT_EQ(always.judge().kind, "work after return") << idle;
    rows_of_calls hiccup{{after_ten_thousand(idle), after_ten_thousand(0.0001)}};
    EXPECT_EQ(hiccup.judge().kind, "") << idle;
    EXPECT_EQ(hiccup.judge().calls, 20'000);
  }
  rows_of_calls quiet{{after_ten_thousand(0)}};
  EXPECT_EQ(quiet.judge().kind, "");
  EXPECT_EQ(quiet.asked, 1U);
}

TEST(endurance, what_stays_behind_shows_at_once) {
  rows_of_calls leaks{{after_ten_thousand(0)}};
  leaks.answers[0].grown.descriptors = 5000;
  EXPECT_EQ(leaks.judge().kind, "leak");
  EXPECT_EQ(leaks.judge().left_behind, "9999 calls in a row leave 10000 open file descriptors behind");
  rows_of_calls crashes{{after_ten_thousand(0.013), after_ten_thousand(0)}};
  crashes.answers[1].status = run_status::crashed;
  crashes.answers[1].text = "crashed";
  EXPECT_EQ(crashes.judge().kind, "crash");
  EXPECT_EQ(crashes.asked, 2U);
  rows_of_calls declines{{run_result{}}};
  declines.answers[0].status = run_status::declined;
  EXPECT_EQ(declines.judge().calls, 0);
}

}  // namespace
}  // namespace plumb
