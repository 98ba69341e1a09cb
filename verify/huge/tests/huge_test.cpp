// Indices of 32 bits are found beyond 2^31 elements, in seconds and without the memory.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>

#include "verify/huge/huge.hpp"

namespace plumb {
namespace {

constexpr const char* problem = "relu x=3x46349x15461";

huge_answer judged(sandbox& box, const std::string& name, const std::string& text = problem) {
  for (const kernel_info& k : box.kernels())
    if (k.name == name) return judge_huge(box, k, text);
  return {};
}

TEST(huge, indices_of_32_bits_are_caught_and_honest_ones_pass) {
  sandbox_options options;
  options.plugins = {PLANTED_INDICES};
  sandbox box(options);
  const huge_answer honest = judged(box, "relu.forward/honest@cpu");
  EXPECT_EQ(honest.verdict, record::verdict::pass) << honest.reason;
  EXPECT_GT(honest.sampled, 200);
  EXPECT_EQ(judged(box, "relu.forward/short_count@cpu").verdict, record::verdict::fail);
  EXPECT_EQ(judged(box, "relu.forward/short_index@cpu").verdict, record::verdict::crashed);
  // Each of them from its line alone.
  const auto planted = std::ranges::find(box.kernels(), "relu.forward/short_count@cpu", &kernel_info::name);
  ASSERT_NE(planted, box.kernels().end());
  EXPECT_EQ(replay_huge(box, parse_case(print(huge_case_of(*planted, problem)))).verdict,
            record::verdict::fail);
  EXPECT_THROW(replay_huge(box, parse_case("relu.forward/none@cpu | relu x=3 | f32 nchw huge")), text_error);
  // The worker is well again after the crash.
  EXPECT_EQ(judged(box, "relu.forward/flat@scalar", "relu x=3x5").verdict, record::verdict::pass);
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  EXPECT_LT(used.ru_maxrss, 1 << 20);  // KiB
}

TEST(huge, sums_are_foretold_and_what_cannot_be_is_skipped) {
  sandbox box{sandbox_options{}};
  const huge_answer small =
      judged(box, "conv2d.forward/plain@cpu", "conv2d x=3x5x7x9 weight=4x5x3x3 bias=4 pad=1");
  EXPECT_EQ(small.verdict, record::verdict::pass) << small.reason;
  EXPECT_EQ(judged(box, "max_pool2d.forward/plain@cpu", "max_pool2d x=1x2x8x8 window=2").verdict,
            record::verdict::skipped);
}

}  // namespace
}  // namespace plumb
