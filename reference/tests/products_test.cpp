// The listed products of every element of every contraction sum, in rationals, to exactly what forward and
// vjp compute.
#include <gtest/gtest.h>

#include "reference/layers/catalogue.hpp"
#include "reference/tests/five_definitions.hpp"

namespace plumb {
namespace {

using namespace five_definitions;

/// Every tensor of the problem by name, gradients and cotangents included, filled with random rationals.
struct workbench {
  explicit workbench(const layer& l) {
    std::mt19937 random(7);
    const auto draw = [&] { return rational(static_cast<int>(random() % 41) - 20, 1 + random() % 5); };
    in = make_tensors<rational>(l, all_names(l.describe().inputs));
    for (auto& e : in.entries())
      for (rational& v : e.real.values()) v = draw();
    for (const std::string& y : differentiable(l, l.describe().outputs)) {
      auto& dy = cotangent.add("d" + y, tensor<rational>(l.shapes()[y]));
      for (rational& v : dy.values()) v = draw();
    }
    out = outputs_of(l, in);
    for (const std::string& x : differentiable(l, l.describe().inputs))
      gradient.add("d" + x, tensor<rational>(l.shapes()[x]));
    l.as<rational>().vjp(std::as_const(in).views(), std::as_const(out).views(),
                         std::as_const(cotangent).views(), gradient.views());
  }
  const tensor<rational>& operator[](const std::string& name) const {
    for (const auto* set : {&in, &out, &cotangent, &gradient})
      if (set->has(name)) return (*set)[name];
    throw std::out_of_range(name);
  }
  tensor_set<rational> in, out, cotangent, gradient;
};

class contraction : public testing::TestWithParam<const char*> {};

TEST_P(contraction, lists_the_terms_of_every_element) {
  const auto l = bind(GetParam());
  const workbench tensors(*l);
  product_list list;
  int contractions = 0;
  for (const pass_spec& pass : l->describe().passes) {
    if (!pass.contraction) continue;
    ++contractions;
    const auto& [a, b, addend] = *pass.contraction;
    const tensor<rational>& expected = tensors[pass.writes.at(0)];
    for (index_t i = 0; i < expected.size(); ++i) {
      l->products(pass.name, i, list);
      rational sum = list.addend >= 0 ? tensors[addend][list.addend] : rational(0);
      for (const auto& term : list.terms)
        sum += tensors[a][term.a] * (b.empty() ? rational(1) : tensors[b][term.b]);
      ASSERT_EQ(sum, expected[i]) << pass.name << " element " << i;
    }
  }
  EXPECT_EQ(contractions, static_cast<int>(l->describe().passes.size()));
}

INSTANTIATE_TEST_SUITE_P(
    conv, contraction,
    testing::Values("conv1d x=2x2x7 weight=3x2x3 bias=3 stride=2 pad=1,2",
                    "conv1d x=2x2x17 weight=3x2x6 stride=4 dilation=6 pad=15,17",
                    "conv1d x=2x2x17 weight=3x2x6 stride=6 dilation=4 pad=9,7 flip=true",
                    "conv1d x=1x1x2 weight=1x1x9 pad=9 dilation=2 stride=3",
                    "conv1d x=0x2x5 weight=3x2x2 bias=3", "conv2d x=1x1x1x1 weight=1x1x1x1",
                    "conv2d x=2x2x5x4 weight=3x2x3x2 bias=3 stride=2x1 pad=1,0,2,1",
                    "conv2d x=1x4x5x6 weight=6x2x2x3 groups=2 dilation=2x1 pad=1x2 bias=6",
                    "conv2d x=2x3x4x5 weight=6x1x3x2 groups=3 stride=1x3 flip=true pad=2",
                    "conv2d x=1x1x7x5 weight=2x1x2x3 stride=4x3 dilation=2x2 pad=3,1,0,2",
                    "conv2d x=1x1x4x4 weight=1x1x2x2 stride=9 pad=20",
                    "conv3d x=2x4x4x3x3 weight=4x2x2x2x3 bias=4 groups=2 dilation=3x2x1 stride=1x1x2 "
                    "pad=1,0,0,1,2,1 flip=true"));

INSTANTIATE_TEST_SUITE_P(linear, contraction,
                         testing::Values("linear x=3x4 weight=2x4 bias=2", "linear x=2x3x4 weight=5x4",
                                         "linear x=3 weight=2x3 bias=2", "linear x=0x3 weight=2x3 bias=2"));

INSTANTIATE_TEST_SUITE_P(matmul, contraction,
                         testing::Values("matmul x=2x3 w=3x4", "matmul x=5x1 w=1x2", "matmul x=0x3 w=3x2"));

INSTANTIATE_TEST_SUITE_P(
    conv_transpose, contraction,
    testing::Values(
        "conv_transpose1d x=2x2x5 weight=2x3x3 bias=3 stride=2 pad=1,2 output_pad=1",
        "conv_transpose1d x=2x2x7 weight=2x2x6 stride=4 dilation=6 pad=15,17 output_pad=3",
        "conv_transpose1d x=1x2x7 weight=2x1x6 stride=6 dilation=4 pad=9,7",
        "conv_transpose1d x=1x1x2 weight=1x1x9 pad=7,8 dilation=2 stride=3",
        "conv_transpose1d x=0x2x5 weight=2x3x2 bias=3",
        "conv_transpose2d x=2x4x3x2 weight=4x3x3x2 bias=6 groups=2 stride=2x1 pad=1,0,2,0",
        "conv_transpose2d x=1x1x2x3 weight=1x2x2x2 stride=3x4 pad=0,1,2,0 output_pad=2x3",
        "conv_transpose3d x=2x4x2x1x2 weight=4x2x2x2x3 bias=4 groups=2 dilation=3x2x1 stride=1x1x2 "
        "pad=1,0,0,1,2,1"));

INSTANTIATE_TEST_SUITE_P(
    depthwise_conv, contraction,
    testing::Values(
        "depthwise_conv1d x=2x3x7 weight=6x1x3 bias=6 stride=2 pad=1,2",
        "depthwise_conv1d x=2x2x17 weight=2x1x6 stride=4 dilation=6 pad=15,17",
        "depthwise_conv1d x=0x2x5 weight=4x1x2 bias=4",
        "depthwise_conv2d x=2x2x5x4 weight=6x1x3x2 bias=6 stride=2x1 pad=1,0,2,1",
        "depthwise_conv3d x=2x1x4x3x3 weight=2x1x2x2x3 dilation=3x2x1 stride=1x1x2 pad=1,0,0,1,2,1"));

INSTANTIATE_TEST_SUITE_P(
    locally_connected, contraction,
    testing::Values("locally_connected1d x=2x2x5 weight=3x3x2x2 bias=3x3 stride=2 pad=1",
                    "locally_connected1d x=2x2x9 weight=2x5x2x6 stride=4 dilation=6 pad=19,20",
                    "locally_connected1d x=0x1x3 weight=1x2x1x2 bias=1x2",
                    "locally_connected2d x=2x1x4x3 weight=2x2x4x1x3x2 bias=2x2x4 stride=2x1 pad=1,0,2,0",
                    "locally_connected3d x=2x1x3x1x4 weight=1x2x1x2x1x2x1x3 stride=2x1x2 pad=0,1,0,0,1,0"));

INSTANTIATE_TEST_SUITE_P(
    row_conv, contraction,
    testing::Values("row_conv1d x=2x3x5 weight=3x1x3 bias=3 pad=1",
                    "row_conv1d x=2x6x3 weight=3x1x2 bias=3 stride=3 feature_first=false",
                    "row_conv1d x=2x2x7 weight=2x1x4 stride=3 pad=2,6",
                    "row_conv1d x=2x4x2 weight=2x1x3 pad=5,2 stride=2 feature_first=false",
                    "row_conv1d x=0x2x3 weight=2x1x2 bias=2"));

INSTANTIATE_TEST_SUITE_P(
    unfold, contraction,
    testing::Values("unfold2d x=2x2x5x4 window=2x3", "unfold2d x=1x2x4x5 window=3x2 stride=2x1 pad=1,0,2,1",
                    "unfold2d x=2x1x7x6 window=3 dilation=4x6 stride=6x4 pad=5,7,6,9",
                    "fold2d x=2x12x4 window=2x3 output=3x4",
                    "fold2d x=1x6x10 window=3x2 stride=2x1 pad=1,0,2,1 output=4x3",
                    "fold2d x=2x9x12 window=3 dilation=4x6 stride=6x4 pad=9,8,7,9 output=4x9"));

}  // namespace
}  // namespace plumb
