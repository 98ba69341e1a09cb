// The goals file: what fits, what is refused.
#include "bench/goals.hpp"

#include <gtest/gtest.h>

namespace plumb::bench {
namespace {

TEST(goals, the_first_line_that_fits_counts) {
  const auto goals = parse_goals(
      "# a comment\n\nconv2d.*/auto@* nhwc 1.0 0.8  # the channels last\nconv2d.*/auto@* * 1.2 0.9\n",
      "g.txt");
  ASSERT_EQ(goals.size(), 2U);
  EXPECT_EQ(goal_for(goals, "conv2d.forward/auto@avx3", "nhwc")->mean, 1.0);
  EXPECT_EQ(goal_for(goals, "conv2d.forward/auto@avx3", "nhwc")->worst, 0.8);
  EXPECT_EQ(goal_for(goals, "conv2d.forward/auto@avx3", "nchw")->mean, 1.2);
  EXPECT_FALSE(goal_for(goals, "conv2d.forward/direct@avx3", "nchw"));
}

TEST(goals, a_bad_line_is_named) {
  for (const char* line : {"a.b/c@d nhwc 1.0", "a.b/c@d nwhc 1 1", "a.b/c@d nhwc x 1", "a.b/c@d nhwc 1 1 1",
                           "a.b/c@d nhwc 0 1", "a.b/c@d nhwc 1 -1", "a.b/c@d nhwc nan 1"}) {
    try {
      parse_goals("\n" + std::string(line) + "\n", "g.txt");
      FAIL() << line;
    } catch (const problem_set_error& error) {
      EXPECT_EQ(std::string(error.what()).find("g.txt:2: `"), 0U) << error.what();
    }
  }
}

TEST(goals, those_that_we_ship_can_be_read) {
  EXPECT_TRUE(goal_for(load_goals(), "conv2d.backward_weights/auto@avx2", "nchw"));
}

}  // namespace
}  // namespace plumb::bench
