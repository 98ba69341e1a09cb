// Problem text of the layers: output shapes by hand, both forms of the text, and every error sentence.
#include <gtest/gtest.h>

#include "reference/tests/shape_text.hpp"

namespace plumb {
namespace {

TEST(conv_shapes, by_hand) {
  EXPECT_EQ(output("conv2d x=16x64x56x57 weight=32x64x3x3 pad=1"), "16x32x56x57");
  EXPECT_EQ(output("conv2d x=1x3x227x227 weight=96x3x11x11 stride=4"), "1x96x55x55");
  EXPECT_EQ(output("conv2d x=1x3x224x224 weight=64x3x7x7 stride=2 pad=3"), "1x64x112x112");
  EXPECT_EQ(output("conv2d x=2x4x7x9 weight=6x2x3x2 groups=2 stride=2x3 dilation=2x3 pad=1,0,2,1"),
            "2x6x2x3");
  EXPECT_EQ(output("conv1d x=1x1x8 weight=1x1x3 stride=2"), "1x1x3");
  EXPECT_EQ(output("conv3d x=1x1x4x5x6 weight=1x1x2x3x4 stride=1x2x3 pad=1x0x0"), "1x1x5x2x1");
  EXPECT_EQ(output("conv2d x=0x3x7x7 weight=4x3x3x3"), "0x4x5x5");
}

TEST(conv_shapes, same_gives_one_output_a_stride) {
  for (int in = 1; in < 12; ++in)
    for (int taps = 1; taps < 6; ++taps)
      for (int stride = 1; stride < 5; ++stride)
        for (int dilation = 1; dilation < 4; ++dilation)
          for (const char* rule : {"same_upper", "same_lower"}) {
            const auto l = plumb::bind("conv1d x=1x1x" + std::to_string(in) + " weight=1x1x" +
                                       std::to_string(taps) + " stride=" + std::to_string(stride) +
                                       " dilation=" + std::to_string(dilation) + " padding=" + rule);
            ASSERT_EQ(l->shapes()["y"][2], (in + stride - 1) / stride) << l->canonical().print();
            const auto pad = l->resolved().integers("pad");
            const index_t odd = rule[5] == 'u' ? pad[1] - pad[0] : pad[0] - pad[1];
            ASSERT_TRUE(odd == 0 || odd == 1) << l->canonical().print();
            ASSERT_EQ(l->resolved().text("padding"), "explicit");
          }
}

TEST(conv_shapes, padding_words_become_numbers) {
  EXPECT_EQ(canonical("conv2d x=1x3x7x7 weight=4x3x2x4 padding=same_upper stride=2"),
            "conv2d x=1x3x7x7 weight=4x3x2x4 stride=2 pad=0,1,1,2");
  EXPECT_EQ(canonical("conv2d x=1x3x7x7 weight=4x3x2x4 padding=same_lower stride=2"),
            "conv2d x=1x3x7x7 weight=4x3x2x4 stride=2 pad=1,0,2,1");
  EXPECT_EQ(canonical("conv2d x=1x3x7x7 weight=4x3x3x3 padding=same_upper"),
            "conv2d x=1x3x7x7 weight=4x3x3x3 pad=1");
  EXPECT_EQ(canonical("conv2d x=1x3x7x7 weight=4x3x3x3 padding=valid"), "conv2d x=1x3x7x7 weight=4x3x3x3");
}

TEST(max_pool_shapes, by_hand) {
  EXPECT_EQ(output("max_pool2d x=16x64x112x112 window=3 stride=2 pad=1 ceil_mode=true"), "16x64x57x57");
  EXPECT_EQ(output("max_pool2d x=16x64x112x112 window=3 stride=2 pad=1"), "16x64x56x56");
  EXPECT_EQ(output("max_pool2d x=1x3x8x9 window=3x2", "indices"), "1x3x2x4");
  EXPECT_EQ(output("max_pool1d x=1x1x5 window=3 stride=3 pad=1 ceil_mode=true"), "1x1x2");  // 3 in TFLite
  EXPECT_EQ(output("max_pool1d x=1x1x6 window=2 stride=3 pad=1 ceil_mode=true"), "1x1x3");
  EXPECT_EQ(output("max_pool1d x=1x1x6 window=1 stride=2 ceil_mode=true"), "1x1x3");  // not an empty fourth
  EXPECT_EQ(output("max_pool1d x=1x1x2 window=3 stride=2 ceil_mode=true"), "1x1x1");
  EXPECT_EQ(output("max_pool3d x=0x3x4x5x6 window=2x3x2 pad=1x1x0"), "0x3x3x2x3");
}

TEST(max_pool_shapes, stride_is_the_window_unless_given) {
  const auto l = plumb::bind("max_pool2d x=1x3x8x8 window=3x2");
  EXPECT_EQ(l->resolved().text("stride"), "3x2");
  EXPECT_EQ(l->canonical().print(), "max_pool2d x=1x3x8x8 window=3x2");
  EXPECT_EQ(canonical("max_pool2d x=1x3x8x8 window=3x2 stride=3x2"), "max_pool2d x=1x3x8x8 window=3x2");
  EXPECT_EQ(canonical("max_pool2d x=1x3x8x8 window=2 stride=1"), "max_pool2d x=1x3x8x8 window=2 stride=1");
  EXPECT_EQ(canonical("max_pool2d x=1x3x8x8 window=1 stride=2x2"), "max_pool2d x=1x3x8x8 window=1 stride=2");
}

TEST(other_shapes, by_hand) {
  EXPECT_EQ(output("linear x=64x3072 weight=10x3072 bias=10"), "64x10");
  EXPECT_EQ(output("linear x=2x3x4x5 weight=7x5"), "2x3x4x7");
  EXPECT_EQ(output("linear x=5 weight=7x5"), "7");
  EXPECT_EQ(output("cross_entropy x=2x10x4x5 target=2x4x5 reduction=none"), "2x4x5");
  EXPECT_EQ(plumb::bind("cross_entropy x=2x10x4x5 target=2x4x5")->shapes()["y"].rank(), 0);
  EXPECT_EQ(output("sigmoid x=2x3x4"), "2x3x4");
  EXPECT_EQ(output("relu x=0x3"), "0x3");
}

TEST(text, canonical_text_reads_back_to_itself) {
  for (const char* text :
       {"conv2d x=16x64x56x56 weight=64x64x3x3 bias=64 pad=1",
        "conv2d x=1x4x9x9 weight=4x2x3x3 stride=2x1 pad=1,2,0,0 dilation=1x2 groups=2 fit=floor flip=true",
        "conv2d x=1x4x9x9 weight=4x4x3x3 pad=1x2 padding=explicit",
        "conv1d x=1x1x9 weight=1x1x4 padding=same_lower dilation=2", "conv3d x=1x1x4x5x6 weight=1x1x2x3x4",
        "max_pool2d ceil_mode=true pad=1 stride=2 window=3 x=1x3x8x8", "max_pool1d x=1x3x9 window=3 stride=3",
        "max_pool3d x=1x3x4x4x4 window=2x2x2 stride=2x2x2 dilation=1",
        "cross_entropy x=4x3 target=4 weight=3 reduction=none ignore_index=-1 label_smoothing=0.10",
        "cross_entropy label_smoothing=0.0 target=4 x=4x3 reduction=mean", "linear x=4x3 weight=2x3 bias=2",
        "relu x=3", "sigmoid x=2x3"}) {
    const auto once = plumb::bind(std::string_view(text));
    const auto twice = plumb::bind(once->canonical());
    EXPECT_EQ(once->canonical(), twice->canonical()) << text;
    EXPECT_EQ(once->resolved(), twice->resolved()) << text;
    EXPECT_EQ(problem::parse(once->canonical().print()), once->canonical()) << text;
  }
}

TEST(errors, of_text) {
  const std::string conv = "conv2d x=1x3x7x7 weight=4x3x3x3";
  EXPECT_EQ(complaint(conv + " stride=0"),
            "`stride=0` (column 33): expected one integer, or 2 separated by `x`, at least 1");
  EXPECT_EQ(
      complaint(conv + " stride=99999999999"),
      "`stride=99999999999` (column 33): expected one integer, or 2 separated by `x`, at most 2147483647");
  EXPECT_EQ(complaint(conv + " pad=1,2,3"),
            "`pad=1,2,3` (column 33): expected one integer, one an axis separated by `x`, or one a side (4) "
            "separated by `,`, at least 0");
  EXPECT_EQ(complaint(conv + " padding=same"),
            "`padding=same` (column 33): expected explicit, valid, same_upper or same_lower");
  EXPECT_EQ(complaint(conv + " flip=yes"), "`flip=yes` (column 33): expected true or false");
  EXPECT_EQ(
      complaint(conv + " wndow=3"),
      "`wndow=3` (column 33): `conv2d` has no tensor or attribute `wndow`; expected stride, pad, dilation, "
      "groups, padding, fit, flip, x, weight or bias");
  EXPECT_EQ(
      complaint("max_pool2d x=1x3x8x8"),
      "`max_pool2d x=1x3x8x8`: `max_pool2d` needs `window=…`; expected one integer, or 2 separated by `x`, "
      "at least 1");
  EXPECT_EQ(complaint("cross_entropy x=4x3 target=4 label_smoothing=1.1"),
            "`label_smoothing=1.1` (column 30): expected a decimal number such as 0.1, from 0 to 1");
}

TEST(errors, of_conv_shapes) {
  EXPECT_EQ(complaint("conv2d x=1x1x7x7 weight=1x1x3x3 stride=3 fit=exact"),
            "axis h: (7-3)/3+1 = 2.33 does not fit; fit=exact demands a whole number of outputs");
  EXPECT_EQ(complaint("conv2d x=1x1x8x9 weight=1x1x3x3 stride=2 fit=exact pad=1,0,0,1 dilation=2"),
            "axis w: (9+1-5)/2+1 = 3.50 does not fit; fit=exact demands a whole number of outputs");
  EXPECT_EQ(
      complaint("conv2d x=1x3x7x7 weight=4x3x9x3"),
      "axis h: the filter spans 9 cells but the padded input has 7; it must fit: d(k-1)+1 <= I + padding");
  EXPECT_EQ(
      complaint("conv3d x=1x3x7x7x7 weight=4x3x4x3x3 dilation=3x1x1 pad=1"),
      "axis d: the filter spans 3*(4-1)+1 = 10 cells but the padded input has 9; it must fit: d(k-1)+1 <= I "
      "+ padding");
  EXPECT_EQ(complaint("conv2d x=1x7x7 weight=1x1x3x3"), "x=1x7x7 has 3 axes; expected 4: N,C,H,W");
  EXPECT_EQ(complaint("conv1d x=1x7x7 weight=7"), "weight=7 has 1 axis; expected 3: K,C/groups,S");
  EXPECT_EQ(complaint("conv2d x=1x3x0x7 weight=4x3x2x4 pad=2"),
            "x=1x3x0x7 is empty along axis 2; expected every extent to be at least 1 (only the batch may be "
            "empty)");
  EXPECT_EQ(
      complaint("conv2d x=1x3x7x7 weight=4x2x3x3"),
      "weight=4x2x3x3 reads 2 channels a filter but x=1x3x7x7 has 3; expected weight=K,C with 3 channels");
  EXPECT_EQ(
      complaint("conv2d x=1x4x7x7 weight=4x4x3x3 groups=2"),
      "weight=4x4x3x3 reads 4 channels a filter but x=1x4x7x7 has 4 in 2 groups; expected weight=K,C/groups "
      "with 2 channels");
  EXPECT_EQ(complaint("conv2d x=1x4x7x7 weight=4x2x3x3 groups=3"),
            "groups=3 does not divide the C=4 channels of x=1x4x7x7");
  EXPECT_EQ(complaint("conv2d x=1x4x7x7 weight=3x2x3x3 groups=2"),
            "groups=2 does not divide the K=3 filters of weight=3x2x3x3");
  EXPECT_EQ(complaint("conv2d x=1x3x7x7 weight=4x3x3x3 bias=3"),
            "bias=3 does not match the filters; expected one number a filter: bias=4");
  EXPECT_EQ(complaint("conv2d x=1x3x7x7 weight=4x3x3x3 padding=same_upper pad=1"),
            "padding=same_upper chooses the padding, so pad=1 must be left out");
  EXPECT_EQ(complaint("conv2d x=281474976710656x1x1x1 weight=281474976710656x1x1x1"),
            "y=281474976710656x281474976710656x1x1 has more than 2^63 elements");
  EXPECT_EQ(complaint("conv1d x=1x1x281474976710657 weight=1x1x1"),
            "x=1x1x281474976710657 is too long along axis 2; expected at most 2^48");
  EXPECT_EQ(complaint("conv1d x=1x1x3 weight=1x1x281474976710656 dilation=2147483647").substr(0, 45),
            "axis w: the filter spans 2147483647*(28147497");
  EXPECT_EQ(complaint("conv1d x=1x1x3 weight=1x1x281474976710656 dilation=2147483647 padding=same_upper"),
            "axis w: padding=same_upper needs more than 2147483647 cells on a side");
}

TEST(errors, of_max_pool_shapes) {
  EXPECT_EQ(complaint("max_pool2d x=1x3x8x8 window=3 pad=2"),
            "axis h: pad=2 is more than half of the window, which spans 3 cells; 2*pad <= d(k-1)+1");
  EXPECT_EQ(
      complaint("max_pool2d x=1x3x8x8 window=3 dilation=1x2 pad=0,0,0,3"),
      "axis w: pad=3 is more than half of the window, which spans 2*(3-1)+1 = 5 cells; 2*pad <= d(k-1)+1");
  EXPECT_EQ(
      complaint("max_pool2d x=1x3x8x8 window=9"),
      "axis h: the window spans 9 cells but the padded input has 8; it must fit: d(k-1)+1 <= I + padding");
  EXPECT_EQ(
      complaint("max_pool1d x=1x3x2 window=5 stride=2 ceil_mode=true"),
      "axis w: the window spans 5 cells but the padded input has 2; it must fit: d(k-1)+1 <= I + padding");
  EXPECT_EQ(complaint("max_pool2d x=1x3x9x8 window=3 fit=exact"),
            "axis w: (8-3)/3+1 = 2.67 does not fit; fit=exact demands a whole number of outputs");
  EXPECT_EQ(complaint("max_pool1d x=1x3x1 window=2 dilation=4 pad=2"),
            "axis w: window 0 steps over all 1 cells of x with dilation=4; every window must see a cell");
}

TEST(errors, of_other_shapes) {
  EXPECT_EQ(complaint("cross_entropy x=4x3x2x2 target=4x2"),
            "target=4x2 must be x=4x3x2x2 without its class axis: target=4x2x2");
  EXPECT_EQ(complaint("cross_entropy x=4x3 target=4 weight=2"),
            "weight=2 does not match the classes; expected one number a class: weight=3");
  EXPECT_EQ(complaint("cross_entropy x=4 target=4"),
            "x=4 has no class axis; expected N,C or N,C,… with C at least 1");
  EXPECT_EQ(complaint("linear x=4x3 weight=2x4"),
            "x=4x3 does not end in the D=4 features that weight=2x4 reads; expected x=…,D weight=M,D");
  EXPECT_EQ(complaint("linear x=4x3 weight=2x3 bias=3"),
            "bias=3 does not match the weight; expected one number an output: bias=2");
}

TEST(signatures, passes_lose_the_bias_that_is_left_out) {
  EXPECT_NE(plumb::bind("conv2d x=1x3x7x7 weight=4x3x3x3 bias=4")->find_pass("backward_bias"), nullptr);
  EXPECT_EQ(plumb::bind("conv2d x=1x3x7x7 weight=4x3x3x3")->find_pass("backward_bias"), nullptr);
}

TEST(signatures, samples_that_hang_together) {
  EXPECT_TRUE(plumb::bind("conv2d x=2x3x7x7 weight=4x3x3x3")->batchwise());
  EXPECT_FALSE(plumb::bind("cross_entropy x=4x3 target=4")->batchwise());
  EXPECT_TRUE(plumb::bind("cross_entropy x=4x3 target=4 reduction=sum")->batchwise());
  EXPECT_TRUE(plumb::bind("linear x=4x3 weight=2x3")->batchwise());
  EXPECT_FALSE(plumb::bind("linear x=3 weight=2x3")->batchwise());
}

TEST(signatures, letters_of_axes) {
  const auto letters = [](std::string_view text, std::string_view tensor) {
    const auto l = plumb::bind(text);
    return axis_letters(l->spec(tensor), l->shapes()[tensor].rank());
  };
  EXPECT_EQ(letters("conv3d x=1x1x4x5x6 weight=1x1x2x3x4", "x"), "ncdhw");
  EXPECT_EQ(letters("conv2d x=1x1x5x6 weight=1x1x3x4", "dweight"), "kcrs");
  EXPECT_EQ(letters("max_pool2d x=1x1x5x6 window=2", "indices"), "ncpq");
  EXPECT_EQ(letters("cross_entropy x=2x3 target=2", "target"), "n");
  EXPECT_EQ(letters("cross_entropy x=2x3x4x5 target=2x4x5", "target"), "nhw");
  EXPECT_EQ(letters("cross_entropy x=2x3x4x5 target=2x4x5", "x"), "nchw");
  EXPECT_EQ(letters("cross_entropy x=2x3 target=2", "y"), "");
  EXPECT_EQ(letters("linear x=4x3 weight=2x3", "x"), "nd");
  EXPECT_EQ(letters("linear x=3 weight=2x3", "y"), "m");
  EXPECT_EQ(letters("linear x=5x4x3 weight=2x3", "x"), "nwd");
  const auto l = plumb::bind("cross_entropy x=2x3x4x5 target=2x4x5");
  EXPECT_TRUE(follows_layout(l->spec("x"), 4));
  EXPECT_FALSE(follows_layout(l->spec("target"), 3));
}

}  // namespace
}  // namespace plumb
