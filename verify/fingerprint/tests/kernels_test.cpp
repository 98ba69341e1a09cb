// Kernels through the sandbox: planted arithmetic is accused, honest arithmetic is not and its tree is read.
#include <gtest/gtest.h>

#include "reference/scalars/float_format.hpp"
#include "verify/fingerprint/fingerprint.hpp"

namespace plumb {
namespace {

TEST(fingerprint_of_kernels, planted_arithmetic_is_accused_and_honest_is_not) {
  sandbox_options options;
  options.plugins = {PLANTED_SUMS};
  sandbox box(options);
  fingerprint_options o;
  for (const kernel_info& k : box.kernels())
    if (!k.plugin.empty() || k.name == "conv2d.forward/direct@scalar" ||
        k.name == "sigmoid.forward/plain@cpu")
      o.kernels.push_back(&k);
  o.problems = {"conv2d x=3x16x4x3 weight=5x16x3x2", "conv2d x=3x12x4x3 weight=5x12x3x2",
                "sigmoid x=3x17x11"};
  const record::fingerprint_section seen = take_fingerprints(box, o);
  ASSERT_EQ(seen.kernels.size(), 11U);
  for (const record::fingerprint_result& f : seen.kernels) {
    const bool planted = f.kernel.find("planted") != std::string::npos;
    EXPECT_EQ(f.verdict, planted ? record::verdict::fail : record::verdict::pass)
        << f.kernel << ": " << f.reason;
    EXPECT_EQ(f.reason.empty(), !planted) << f.kernel;
    if (f.kernel.find("/honest_lanes") != std::string::npos) {
      EXPECT_EQ(f.tree, "4 lanes of 24 terms in turn, joined pairwise");
      EXPECT_EQ(f.roundings, 24 + 2);
      EXPECT_LT(f.measured_bound, f.any_order_bound / 3);
    }
    // What is no measurement is not passed off as a figure, and yet a transform that is not declared is accused.
    if (f.kernel.find("_transform") != std::string::npos) {
      EXPECT_EQ(
          f.words,
          "inputs not measurable through transforms, sums not measurable through transforms, subnormals "
          "kept");
      EXPECT_TRUE(f.input_bits.empty());
      EXPECT_EQ(f.accumulator_bits, -1);
      EXPECT_EQ(f.products, "unknown");
      EXPECT_EQ(f.measured_bound, 0);
      EXPECT_EQ(f.reason.find("transforms its factors") != std::string::npos, planted) << f.reason;
    } else {
      EXPECT_EQ(f.words.find("measurable"), std::string::npos) << f.kernel << ": " << f.words;
    }
    if (f.kernel == "conv2d.forward/direct@scalar") {
      EXPECT_EQ(f.tree, "96 terms in turn");
    }
  }
}

TEST(fingerprint_of_kernels, no_problem_is_no_verdict) {
  sandbox_options options;
  options.plugins = {PLANTED_SUMS};
  sandbox box(options);
  const record::fingerprint_section seen =
      take_fingerprints(box, {{&box.kernels().back()}, {"conv2d x=3x16x4x3 weight=4x8x3x2 groups=2"}, {}});
  EXPECT_EQ(seen.kernels.front().verdict, record::verdict::skipped);
  EXPECT_EQ(seen.kernels.front().reason, "no groups");
}

}  // namespace
}  // namespace plumb
