// Padding, upsampling, sampling, rearrangement, gates, matmul and the two neurons: output shapes by hand, the texts,
// every error sentence, and which choices count as winners.
#include <gtest/gtest.h>

#include "reference/tests/shape_text.hpp"

namespace plumb {
namespace {

TEST(image_shapes, by_hand) {
  EXPECT_EQ(output("constant_pad2d x=2x3x4x5 pad=1,2,-1,3"), "2x3x7x7");
  EXPECT_EQ(output("reflection_pad1d x=2x3x5 pad=4,-2"), "2x3x7");
  EXPECT_EQ(output("replication_pad3d x=1x1x1x1x1 pad=1,2,0,0,3,0"), "1x1x4x1x4");
  EXPECT_EQ(output("circular_pad1d x=0x1x3 pad=3"), "0x1x9");
  EXPECT_EQ(output("upsample_nearest2d x=1x2x3x4 size=7x2"), "1x2x7x2");
  EXPECT_EQ(output("upsample_trilinear3d x=1x2x3x4x5 scale=2x0.5x1.3"), "1x2x6x2x6");
  EXPECT_EQ(output("upsample_linear1d x=1x1x88 scale=1.36363636"), "1x1x119");  // 120/88 cut off: not 120
  EXPECT_EQ(output("upsample_bicubic2d x=1x1x2x3 scale=1.5"), "1x1x3x4");
  EXPECT_EQ(output("grid_sample2d x=2x3x4x5 grid=2x6x7x2"), "2x3x6x7");
  EXPECT_EQ(output("roi_align2d x=2x3x4x5 boxes=6x4 batch=6 size=7x8"), "6x3x7x8");
  EXPECT_EQ(output("flatten x=2x3x4x5"), "2x60");
  EXPECT_EQ(output("flatten x=2x3x4x5 start=0 end=1"), "6x4x5");
  EXPECT_EQ(output("reshape x=2x3x4 shape=8x3"), "8x3");
  EXPECT_EQ(output("permute x=2x3x4 order=1x2x0"), "3x4x2");
  EXPECT_EQ(output("concat x0=2x3x4 x1=2x1x4"), "2x4x4");
  EXPECT_EQ(output("split x=2x7x4 sizes=2x5", "y1"), "2x5x4");
  EXPECT_EQ(output("slice x=7x8 start=1x0 stop=7x8 step=2x3"), "3x3");
  EXPECT_EQ(output("pixel_shuffle x=1x12x2x3 factor=2"), "1x3x4x6");
  EXPECT_EQ(output("pixel_unshuffle x=1x3x4x6 factor=2"), "1x12x2x3");
  EXPECT_EQ(output("channel_shuffle x=2x6x5 groups=3"), "2x6x5");
  EXPECT_EQ(output("matmul x=2x3 w=3x4"), "2x4");
  EXPECT_EQ(output("copy x=2x3", "y1"), "2x3");
  EXPECT_EQ(output("adaline x=5 weight=5 bias=1 target=1", "updated_weight"), "5");
}

TEST(image_texts, leave_defaults_out) {
  EXPECT_EQ(canonical("constant_pad2d x=1x1x2x2 pad=1,1,1,1 value=0.0"), "constant_pad2d x=1x1x2x2 pad=1");
  EXPECT_EQ(canonical("upsample_linear1d x=1x1x4 scale=2.50 align_corners=false"),
            "upsample_linear1d x=1x1x4 scale=2.5");
  EXPECT_EQ(plumb::bind("upsample_linear1d x=1x1x4 scale=2.5")->resolved().print(),
            "upsample_linear1d x=1x1x4 scale=2.5 align_corners=false y=1x1x10");
  EXPECT_EQ(canonical("concat x0=1x2 x1=1x3 count=2 axis=1"), "concat x0=1x2 x1=1x3");
  EXPECT_EQ(canonical("concat x0=1x2 x1=1x3 x2=1x4 count=3"), "concat x0=1x2 x1=1x3 x2=1x4 count=3");
}

TEST(image_errors, of_padding) {
  EXPECT_EQ(complaint("constant_pad1d x=1x1x3 pad=-2,-1"),
            "axis w: I + pads = 3-2-1 = 0; expected at least 1");
  EXPECT_EQ(complaint("reflection_pad2d x=1x1x3x4 pad=0,3,0,0"),
            "axis h: pad=3 reflects 4 cells but there are 3; expected pad < I");
  EXPECT_EQ(
      complaint("circular_pad1d x=1x1x3 pad=3,-1"),
      "axis w: pad=3,-1 repeats the 2 cells that are left of 3 more than once; expected pad <= I - cropped");
}

TEST(image_errors, of_upsampling) {
  const std::string either = "upsampling needs either size=… or scale=…, and not both";
  EXPECT_EQ(complaint("upsample_nearest1d x=1x1x3"), either);
  EXPECT_EQ(complaint("upsample_nearest1d x=1x1x3 size=6 scale=2"), either);
  EXPECT_EQ(complaint("upsample_linear1d x=1x1x3 scale=0"),
            "axis w: scale=0; expected a positive number of at most 9 decimals");
  EXPECT_EQ(complaint("upsample_linear1d x=1x1x3 scale=1.0000000001"),
            "axis w: scale=1.0000000001; expected a positive number of at most 9 decimals");
  EXPECT_EQ(complaint("upsample_bilinear2d x=1x1x3x4 scale=0.3x1"),
            "axis h: floor(3·0.3) = 0 cells; expected 1 to 2147483647");
}

TEST(image_errors, of_sampling) {
  EXPECT_EQ(complaint("grid_sample2d x=2x3x4x5 grid=2x6x7x3"),
            "grid=2x6x7x3 does not name two coordinates a place for x=2x3x4x5; expected grid=2,P,Q,2");
  EXPECT_EQ(complaint("roi_align2d x=2x3x4x5 boxes=6x5 batch=6 size=2"),
            "boxes=6x5 must hold x1,y1,x2,y2 a box: boxes=K,4");
  EXPECT_EQ(complaint("roi_align2d x=2x3x4x5 boxes=6x4 batch=5 size=2"),
            "batch=5 must name the sample of each box: batch=6");
}

TEST(image_errors, of_rearrangement) {
  EXPECT_EQ(complaint("flatten x=2x3 start=2"), "axis=2 is no axis of x=2x3; expected 0 to 1");
  EXPECT_EQ(complaint("flatten x=2x3x4 start=2 end=1"), "start=2 lies behind end=1; expected start <= end");
  EXPECT_EQ(complaint("reshape x=2x3 shape=4"), "shape=4 has 4 elements but x=2x3 has 6");
  EXPECT_EQ(complaint("permute x=2x3 order=0x0"), "order=0x0 does not name axis 0 of x=2x3 once");
  EXPECT_EQ(complaint("permute x=2x3 order=0"),
            "order=0 has 1 numbers but x=2x3 has 2 axes; expected one an axis");
  EXPECT_EQ(complaint("concat x0=2x3 x1=3x3"), "x1=3x3 and x0=2x3 differ along another axis than axis=1");
  EXPECT_EQ(complaint("split x=2x7 sizes=2x4"), "axis 1: the sizes 2x4 add up to 6 but x=2x7 has 7 there");
  EXPECT_EQ(complaint("slice x=2x7 start=0x3 stop=2x2 step=1x1"),
            "axis 1: start=3 stop=2 of 7; expected start <= stop <= extent");
  EXPECT_EQ(complaint("pixel_shuffle x=1x6x2x2 factor=2"),
            "axis c: 6 is no multiple of 4 as factor=2 demands");
  EXPECT_EQ(complaint("pixel_unshuffle x=1x6x2x3 factor=2"),
            "axis w: 3 is no multiple of 2 as factor=2 demands");
  EXPECT_EQ(complaint("channel_shuffle x=1x6 groups=4"),
            "axis c: 6 channels do not form groups=4 equal groups");
}

TEST(image_errors, of_gates_and_dense_layers) {
  EXPECT_EQ(complaint("add x0=2x3 x1=3x2"), "x0=2x3 and x1=3x2 differ; expected equal shapes");
  EXPECT_EQ(complaint("matmul x=2x3 w=4x3"),
            "x=2x3 has D=3 columns but w=4x3 has 4 rows; expected x=N,D w=D,M");
  EXPECT_EQ(complaint("perceptron x=3 weight=4 bias=1 target=1"),
            "weight=4 does not match x=3; expected one weight a feature");
  EXPECT_EQ(complaint("perceptron x=3 weight=3 bias=3 target=1"), "bias=3 must be a single number: bias=1");
}

TEST(image_winners, change_where_a_kink_is_crossed) {
  const auto at = [](const layer& l, double w) {
    tensor<double> x(l.shapes()["x"]), grid(l.shapes()["grid"], {w, 0.1});
    bundle<const double> in;
    in.add("x", std::as_const(x).view());
    in.add("grid", std::as_const(grid).view());
    return l.winners(in);
  };
  const auto bilinear = plumb::bind("grid_sample2d x=1x1x4x4 grid=1x1x1x2 padding=border");
  EXPECT_EQ(at(*bilinear, 0.3), at(*bilinear, 0.7));    // both between cells 2 and 3
  EXPECT_NE(at(*bilinear, 0.24), at(*bilinear, 0.26));  // the centre of cell 2
  const auto nearest = plumb::bind("grid_sample2d x=1x1x4x4 grid=1x1x1x2 mode=nearest");
  EXPECT_EQ(at(*nearest, 0.1), at(*nearest, 0.4));    // both in cell 2
  EXPECT_NE(at(*nearest, 0.49), at(*nearest, 0.51));  // the edge between cells 2 and 3
}

TEST(image_indices, that_name_no_sample_are_refused) {
  const auto l = plumb::bind("roi_align2d x=2x1x3x3 boxes=1x4 batch=1 size=1");
  EXPECT_EQ(l->index_bound("batch"), 2);
  const tensor<double> x(l->shapes()["x"]), boxes(l->shapes()["boxes"]), dy(l->shapes()["y"]);
  tensor<double> y(l->shapes()["y"]), dx(l->shapes()["x"]);
  for (const index_t sample : {-1, 2}) {
    const tensor<index_t> batch(shape{1}, sample);
    bundle<const double> in, cotangent;
    in.add("x", x.view());
    in.add("boxes", boxes.view());
    in.add_indices("batch", batch.view());
    cotangent.add("dy", dy.view());
    bundle<double> out, gradient;
    out.add("y", y.view());
    gradient.add("dx", dx.view());
    const std::string expected =
        "batch[0] = " + std::to_string(sample) + " is no sample of x; expected 0 to 1";
    const auto refusal = [&](auto&& evaluate) -> std::string {
      try {
        evaluate();
      } catch (const std::invalid_argument& error) {
        return error.what();
      }
      return {};
    };
    EXPECT_EQ(refusal([&] { l->as<double>().forward(in, out); }), expected);
    EXPECT_EQ(refusal([&] { l->as<double>().vjp(in, {}, cotangent, gradient); }), expected);
    EXPECT_EQ(refusal([&] { l->as<double>().jacobian(in, [](auto&&...) {}); }), expected);
  }
}

}  // namespace
}  // namespace plumb
