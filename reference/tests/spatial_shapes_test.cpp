// Output shapes by hand and error sentences of the layers with windows other than conv and max_pool, and the
// indices that they refuse.
#include <gtest/gtest.h>

#include "reference/tests/shape_text.hpp"

namespace plumb {
namespace {

TEST(spatial_shapes, of_layers_with_weights) {
  EXPECT_EQ(output("conv_transpose2d x=2x3x4x5 weight=3x6x3x4 stride=2x3 pad=1,0,2,0 output_pad=1x2"),
            "2x6x9x16");
  EXPECT_EQ(output("conv_transpose1d x=1x4x3 weight=4x5x2 groups=2 dilation=4 output_pad=3"), "1x10x10");
  EXPECT_EQ(output("conv_transpose3d x=0x1x1x2x3 weight=1x1x2x2x2"), "0x1x2x3x4");
  EXPECT_EQ(output("depthwise_conv2d x=2x3x7x9 weight=6x1x3x2 stride=2x3 dilation=2x3 pad=1,0,2,1"),
            "2x6x2x3");
  EXPECT_EQ(output("locally_connected2d x=2x3x7x9 weight=5x3x4x3x3x3 stride=2 pad=0,0,1,0 bias=5x3x4"),
            "2x5x3x4");
  EXPECT_EQ(output("row_conv1d x=2x3x7 weight=3x1x4 pad=0,3"), "2x3x7");
  EXPECT_EQ(output("row_conv1d x=2x7x3 weight=3x1x4 stride=2 feature_first=false"), "2x2x3");
  EXPECT_EQ(output("unfold2d x=2x3x5x7 window=2x3 stride=1x2 dilation=3x1 pad=1x0"), "2x18x12");
  EXPECT_EQ(output("fold2d x=2x18x12 window=2x3 stride=1x2 dilation=3x1 pad=1x0 output=5x7"), "2x3x5x7");
}

TEST(spatial_shapes, of_pools) {
  EXPECT_EQ(output("avg_pool2d x=1x3x8x9 window=3x2"), "1x3x2x4");
  EXPECT_EQ(output("avg_pool1d x=1x1x7 window=2 stride=3 ceil_mode=true"), "1x1x3");
  EXPECT_EQ(output("avg_pool1d x=1x1x5 window=3 stride=3 pad=1 ceil_mode=true"), "1x1x2");
  EXPECT_EQ(output("lp_pool3d x=1x3x4x5x6 window=2x3x2 stride=1x1x3"), "1x3x3x3x2");
  EXPECT_EQ(output("adaptive_max_pool2d x=2x3x5x5 output=7x0", "indices"), "2x3x7x0");
  EXPECT_EQ(output("fractional_max_pool2d x=1x3x10x9 u=1x3x2 window=2 ratio=0.55x0.5"), "1x3x5x4");
  EXPECT_EQ(
      plumb::bind("fractional_max_pool2d x=1x3x10x9 u=1x3x2 window=2 ratio=0.55x0.5")->canonical().print(),
      "fractional_max_pool2d x=1x3x10x9 u=1x3x2 window=2 output=5x4");
  EXPECT_EQ(output("fractional_max_pool2d x=1x1x6x6 u=1x1x2 window=2 output=5"), "1x1x5x5");
  EXPECT_EQ(output("global_avg_pool x=2x3x4x5x6"), "2x3x1x1x1");
  EXPECT_EQ(output("global_max_pool x=2x3", "indices"), "2x3");
  EXPECT_EQ(output("max_unpool2d x=1x2x3x4 indices=1x2x3x4 window=2x3 stride=2x1 pad=0,1,1,0"), "1x2x5x5");
  EXPECT_EQ(output("max_unpool2d x=1x2x2x2 indices=1x2x2x2 window=2 output=5x3"), "1x2x5x3");
  EXPECT_EQ(output("max_unpool1d x=1x2x2 indices=1x2x2 output=9"), "1x2x9");
}

TEST(spatial_errors, of_layers_with_weights) {
  EXPECT_EQ(complaint("conv_transpose1d x=1x2x3 weight=2x1x2 stride=2 output_pad=2"),
            "axis w: output_pad=2 must be less than stride=2 or less than dilation=1");
  EXPECT_EQ(complaint("conv_transpose1d x=1x2x3 weight=2x1x2 pad=2"),
            "axis w: padding crops 4 of 4 outputs; (I-1)*stride - pads + d(k-1) + 1 + output_pad >= 1");
  EXPECT_EQ(complaint("conv_transpose1d x=1x2x3 weight=3x1x2"),
            "weight=3x1x2 paints for 3 input channels but x=1x2x3 has 2; expected weight=C,K/groups");
  EXPECT_EQ(complaint("conv_transpose1d x=1x2x3 weight=2x1x2 groups=2 bias=1"),
            "bias=1 does not match the filters; expected one number an output channel: bias=2");
  EXPECT_EQ(complaint("conv_transpose1d x=1x3x3 weight=3x1x2 groups=2"),
            "groups=2 does not divide the C=3 channels of x=1x3x3");
  EXPECT_EQ(complaint("conv_transpose1d x=1x1x281474976710656 weight=1x1x1 stride=2147483647"),
            "axis w: the output is longer than 2^48");
  EXPECT_EQ(
      complaint("depthwise_conv1d x=1x2x3 weight=3x1x2"),
      "weight=3x1x2 does not give every one of the C=2 channels of x=1x2x3 the same number m of filters; "
      "expected weight=C*m,1,S");
  EXPECT_EQ(complaint("locally_connected1d x=1x2x5 weight=1x3x2x2"),
            "axis w: weight=1x3x2x2 has filters for 3 outputs, but there are 4; expected weight=K,Q,C,S");
  EXPECT_EQ(complaint("locally_connected1d x=1x2x5 weight=3x4x2x2 bias=3"),
            "bias=3 does not match the outputs; expected one number a neuron: bias=3x4");
  EXPECT_EQ(complaint("row_conv1d x=1x3x2 weight=3x1x2 feature_first=false"),
            "weight=3x1x2 is not one filter for each of the C=2 features of x=1x3x2; expected weight=C,1,S");
  EXPECT_EQ(complaint("fold2d x=1x5x4 window=2 output=3"),
            "x=1x5x4 has 5 rows, no multiple of the cells of window=2x2; expected C*R*S");
  EXPECT_EQ(complaint("fold2d x=1x4x5 window=2 output=3"),
            "x=1x4x5 has 5 columns but output=3x3 has 4 windows");
  EXPECT_EQ(complaint("unfold2d x=1x1x1x2 window=1 pad=2147483647"),
            "an image of 1x2 has more than 2^63 windows");
}

TEST(spatial_errors, of_pools) {
  EXPECT_EQ(complaint("avg_pool2d x=1x3x8x8 window=3 pad=2"),
            "axis h: pad=2 is more than half of the window, which spans 3 cells; 2*pad <= d(k-1)+1");
  EXPECT_EQ(complaint("avg_pool3d x=1x1x3x2x3 window=3 pad=1"),
            "axis h: window=3 is longer than the 2 cells of x; in rank 3 it must fit without padding");
  EXPECT_EQ(complaint("adaptive_avg_pool2d x=1x3x0x8 output=2"),
            "x=1x3x0x8 is empty along axis 2; expected every extent to be at least 1 (only the batch may be "
            "empty)");
  EXPECT_EQ(complaint("adaptive_avg_pool1d x=1x3x8"),
            "`adaptive_avg_pool1d x=1x3x8`: `adaptive_avg_pool1d` needs `output=…`; expected an integer, at "
            "least 0");
  EXPECT_EQ(complaint("lp_pool1d x=1x3x8 window=2 norm=0.5"),
            "`norm=0.5` (column 28): expected a decimal number such as 0.1, from 1 to 2147483647");
  EXPECT_EQ(complaint("fractional_max_pool2d x=1x1x6x6 u=1x1x2 window=2 output=5x6"),
            "axis w: 6 outputs of windows of 2 do not fit the 6 cells of x; 1 <= O and O + window - 1 <= I");
  EXPECT_EQ(complaint("fractional_max_pool3d x=1x1x6x6x6 u=1x1x3 window=2 output=5"),
            "axis d: 5 outputs of windows of 2 do not fit the 6 cells of x; 1 <= O and O + window - 1 < I");
  EXPECT_EQ(complaint("fractional_max_pool2d x=1x1x6x6 u=1x2 window=2 output=2"),
            "u=1x2 is not one sample for each plane and axis; expected u=N,C,2");
  for (const char* both : {"", " output=2 ratio=0.5"})
    EXPECT_EQ(complaint("fractional_max_pool2d x=1x1x6x6 u=1x1x2 window=2" + std::string(both)),
              "the size of y must be given once; expected either output=… or ratio=…");
  EXPECT_EQ(complaint("global_avg_pool x=3"), "x=3 has no channels; expected x=N,C and any more axes");
  EXPECT_EQ(complaint("max_unpool1d x=1x1x2 indices=1x1x3 window=2"),
            "indices=1x1x3 is not of the shape of x=1x1x2");
  EXPECT_EQ(complaint("max_unpool1d x=1x1x2 indices=1x1x2"),
            "the size of y is not given; expected window=… of the pooling, or output=…");
  EXPECT_EQ(complaint("max_unpool1d x=1x1x1 indices=1x1x1 window=2 pad=1"),
            "axis w: padding leaves 0 cells of y; (I-1)*stride - pads + window >= 1");
  for (const char* size : {"2", "6"})
    EXPECT_EQ(complaint("max_unpool1d x=1x1x2 indices=1x1x2 window=2 output=" + std::string(size)),
              "axis w: output=" + std::string(size) +
                  " must lie between 3 and 5: it differs from (I-1)*stride - pads + window = 4 by less than "
                  "stride");
}

/// What forward says of the only index of an unpooling, and backward of the only one that a pooling has
/// saved.
std::string refusal(std::string_view text, std::string_view pass, index_t index) {
  const auto l = plumb::bind(text);
  tensor_set<double> in = make_tensors<double>(*l, std::vector<std::string>{"x", "indices", "u"});
  tensor_set<double> out = make_tensors<double>(*l, std::vector<std::string>{"y", "indices"});
  tensor_set<double> dy, dx;
  dy.add("dy", tensor<double>(l->shapes()["y"]));
  dx.add("dx", tensor<double>(l->shapes()["x"]));
  for (tensor_set<double>* set : {&in, &out})
    if (set->has("indices")) set->indices("indices")[0] = index;
  try {
    if (pass == "forward")
      l->as<double>().forward(std::as_const(in).views(), out.views());
    else
      l->as<double>().vjp(std::as_const(in).views(), std::as_const(out).views(), std::as_const(dy).views(),
                          dx.views());
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

TEST(spatial_errors, of_indices) {
  for (const index_t index : {-1, 6}) {
    const std::string sentence =
        "indices[0] = " + std::to_string(index) + " is no cell of its plane; expected 0 to 5";
    EXPECT_EQ(refusal("max_unpool2d x=1x1x1x1 indices=1x1x1x1 output=2x3", "forward", index), sentence);
    EXPECT_EQ(refusal("max_unpool2d x=1x1x1x1 indices=1x1x1x1 output=2x3", "backward", index), sentence);
    EXPECT_EQ(refusal("adaptive_max_pool2d x=1x1x2x3 output=1", "backward", index), sentence);
    EXPECT_EQ(refusal("fractional_max_pool2d x=1x1x2x3 u=1x1x2 window=2 output=1", "backward", index),
              sentence);
    EXPECT_EQ(refusal("global_max_pool x=1x1x2x3", "backward", index), sentence);
  }
}

}  // namespace
}  // namespace plumb
