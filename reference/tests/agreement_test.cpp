// The five definitions of every layer agree: exactly in rationals, to 45 digits in mp50 where a layer leaves
// + - × ÷. The problems are small and awkward: unequal axes, uneven padding, gaps, remainders, groups.
#include <gtest/gtest.h>

#include "reference/layers/catalogue.hpp"
#include "reference/tests/five_definitions.hpp"

namespace plumb {
namespace {

using namespace five_definitions;

rational draw_rational(std::mt19937& random) {
  return rational(static_cast<int>(random() % 2001) - 1000) / rational(1 + static_cast<int>(random() % 5));
}

class exact_agreement : public testing::TestWithParam<const char*> {};

TEST_P(exact_agreement, in_rationals) {
  const auto l = bind(GetParam());
  ASSERT_TRUE(l->rational_arithmetic());
  std::mt19937 random(20130);
  const auto in = random_inputs<rational>(*l, random, draw_rational);
  EXPECT_EQ(blamed(*l, in, rational(0)), std::set<std::string>{});
}

INSTANTIATE_TEST_SUITE_P(
    conv, exact_agreement,
    testing::Values("conv1d x=2x2x7 weight=3x2x3 bias=3 stride=2 pad=1,2",
                    "conv1d x=1x4x9 weight=4x2x2 groups=2 dilation=3 stride=2",
                    "conv1d x=2x1x5 weight=1x1x5 padding=same_lower stride=2",
                    "conv1d x=0x2x5 weight=3x2x2 bias=3", "conv2d x=1x1x1x1 weight=1x1x1x1",
                    "conv2d x=2x2x5x4 weight=3x2x3x2 bias=3 stride=2x1 pad=1,0,2,1",
                    "conv2d x=1x4x5x6 weight=6x2x2x3 groups=2 dilation=2x1 pad=1x2 bias=6",
                    "conv2d x=1x3x4x5 weight=6x1x3x2 groups=3 stride=1x3 flip=true pad=2",
                    "conv2d x=1x2x8x7 weight=2x2x3x3 stride=3x2",
                    "conv2d x=1x1x7x5 weight=2x1x2x3 stride=4x3 dilation=2x2 pad=3,1,0,2",
                    "conv2d x=1x2x6x5 weight=2x2x3x2 padding=same_upper stride=2x3 dilation=1x2",
                    "conv2d x=1x1x3x9 weight=1x1x1x4 stride=1x6 dilation=1x2 pad=0,0,5,4 flip=true",
                    "conv3d x=1x2x3x4x2 weight=2x2x2x3x1 bias=2 stride=1x2x1 pad=1x0x1",
                    "conv3d x=1x2x4x3x3 weight=4x1x2x2x3 groups=2 dilation=3x2x1 stride=1x1x2 "
                    "pad=1,0,0,1,2,1 flip=true"));

INSTANTIATE_TEST_SUITE_P(
    max_pool, exact_agreement,
    testing::Values("max_pool1d x=2x2x7 window=3",
                    "max_pool1d x=1x1x8 window=3 stride=2 pad=1,0 ceil_mode=true",
                    "max_pool2d x=2x2x5x4 window=2x3 stride=1x2 pad=1x1",
                    "max_pool2d x=1x2x7x6 window=3x2 stride=2 dilation=2x3 ceil_mode=true",
                    "max_pool3d x=1x2x3x4x5 window=2x1x3 stride=1x2x2 pad=1,0,0,0,1,1 dilation=1x1x2"));

INSTANTIATE_TEST_SUITE_P(linear, exact_agreement,
                         testing::Values("linear x=3x4 weight=2x4 bias=2", "linear x=2x3x4 weight=5x4",
                                         "linear x=3 weight=2x3 bias=2", "linear x=0x3 weight=2x3 bias=2",
                                         "linear x=1x1 weight=1x1"));

INSTANTIATE_TEST_SUITE_P(relu, exact_agreement, testing::Values("relu x=2x3x4", "relu x=1", "relu x=0x3"));

mp50 draw_real(std::mt19937& random) { return mp50(static_cast<int>(random() % 8001) - 4000) / 1000; }

class agreement_to_45_digits : public testing::TestWithParam<const char*> {};

TEST_P(agreement_to_45_digits, in_mp50) {
  const auto l = bind(GetParam());
  std::mt19937 random(20131);
  const auto in = random_inputs<mp50>(*l, random, draw_real);
  EXPECT_EQ(blamed(*l, in, mp50("1e-45")), std::set<std::string>{});
}

INSTANTIATE_TEST_SUITE_P(sigmoid, agreement_to_45_digits, testing::Values("sigmoid x=3x4x2", "sigmoid x=0"));

INSTANTIATE_TEST_SUITE_P(
    cross_entropy, agreement_to_45_digits,
    testing::Values("cross_entropy x=3x4 target=3", "cross_entropy x=2x3x4 target=2x4 reduction=sum",
                    "cross_entropy x=2x5x2x3 target=2x2x3 weight=5 ignore_index=2 label_smoothing=0.1",
                    "cross_entropy x=2x3x2 target=2x2 weight=3 reduction=none label_smoothing=1",
                    "cross_entropy x=1x1 target=1",
                    "cross_entropy x=4x3 target=4 weight=3 reduction=mean ignore_index=0"));

}  // namespace
}  // namespace plumb
