// What the definitions promise beyond formulas: any strides, gradients only where asked and always overwritten,
// saved outputs taken as given, winners, refusals.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <list>
#include <random>

#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

tensor<double> random_tensor(const shape& extents, unsigned seed) {
  std::mt19937 random(seed);
  tensor<double> t(extents);
  for (double& v : t.values()) v = static_cast<double>(static_cast<int>(random() % 33) - 16) / 8;
  return t;
}

/// The same tensor with channels last, behind an offset, or with every axis reversed in memory.
struct rearranged {
  rearranged(const tensor<double>& t, bool reversed)
      : memory(static_cast<std::size_t>(t.size()) + 5, std::nan("")) {
    shape strides = channels_last(t.extents());
    double* first = memory.data() + 5;
    if (reversed)
      for (int axis = 0; axis < strides.rank(); ++axis) {
        first += strides[axis] * (t.extents()[axis] - 1);
        strides[axis] = -strides[axis];
      }
    view = {first, t.extents(), strides};
    for (index_t i = 0; i < t.size(); ++i) view[i] = t[i];
  }
  std::vector<double> values() const {
    std::vector<double> list;
    for (index_t i = 0; i < view.size(); ++i) list.push_back(view[i]);
    return list;
  }
  std::vector<double> memory;
  tensor_view<double> view;
};

class strides : public testing::TestWithParam<const char*> {};

TEST_P(strides, do_not_matter) {
  const auto l = plumb::bind(GetParam());
  for (const bool reversed : {false, true}) {
    std::vector<std::unique_ptr<rearranged>> moved;
    std::vector<tensor<double>> dense;
    tensor<index_t> indices(l->present("indices") ? l->shapes()["indices"] : shape{0});
    tensor<index_t> moved_indices = indices;
    bundle<const double> in, moved_in, dy, moved_dy;
    bundle<double> out, moved_out, dx, moved_dx;
    dense.reserve(16);
    const auto add = [&](const std::string& name, auto& bundle_of_dense, auto& bundle_of_moved, bool fill) {
      const shape& extents = l->shapes()[name];
      dense.push_back(fill ? random_tensor(extents, static_cast<unsigned>(dense.size()))
                           : tensor<double>(extents, 99));
      moved.push_back(std::make_unique<rearranged>(dense.back(), reversed));
      bundle_of_dense.add(name, dense.back().view());
      bundle_of_moved.add(name, moved.back()->view);
    };
    std::list<std::string> names;  // bundles only refer to them
    const auto d = [&](const std::string& name) -> const std::string& {
      return names.emplace_back("d" + name);
    };
    for (const tensor_spec& s : l->describe().inputs)
      if (l->present(s.name)) {
        add(s.name, in, moved_in, true);
        add(d(s.name), dx, moved_dx, false);
      }
    for (const tensor_spec& s : l->describe().outputs)
      if (s.kind == element::real) {
        add(s.name, out, moved_out, false);
        add(d(s.name), dy, moved_dy, true);
      }
    out.add_indices("indices", indices.view());
    moved_out.add_indices("indices", moved_indices.view());

    l->as<double>().forward(in, out);
    l->as<double>().vjp(in, bundle<const double>::from(out), dy, dx);
    l->as<double>().forward(moved_in, moved_out);
    l->as<double>().vjp(moved_in, bundle<const double>::from(moved_out), moved_dy, moved_dx);
    EXPECT_EQ(indices.values(), moved_indices.values());
    for (std::size_t i = 0; i < dense.size(); ++i) EXPECT_EQ(dense[i].values(), moved[i]->values()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    layers, strides,
    testing::Values("conv1d x=2x3x7 weight=4x3x3 bias=4 pad=1",
                    "conv2d x=2x4x5x6 weight=6x2x2x3 groups=2 pad=1,0,2,0",
                    "conv3d x=1x2x3x4x5 weight=3x2x2x3x2 bias=3 stride=1x2x1 flip=true",
                    "max_pool2d x=2x3x5x6 window=2x3 stride=1 pad=1", "linear x=3x4x5 weight=2x5 bias=2",
                    "relu x=2x3x4x5", "reflection_pad2d x=2x3x4x5 pad=1,2,3,-1",
                    "upsample_bilinear2d x=2x3x4x5 size=7x3", "permute x=2x3x4x5 order=3x1x0x2",
                    "concat x0=2x3x4 x1=2x2x4", "split x=2x5x4 sizes=2x3",
                    "slice x=4x5x6 start=1x0x2 stop=4x5x5 step=2x3x1", "pixel_shuffle x=2x8x2x3 factor=2",
                    "channel_shuffle x=2x6x4 groups=3", "grid_sample2d x=2x3x4x5 grid=2x3x2x2",
                    "matmul x=3x4 w=4x5", "sigmoid x=2x3x4"));

TEST(gradients, only_those_asked_for) {
  const auto l = plumb::bind("conv2d x=1x2x4x4 weight=3x2x3x3 bias=3");
  const auto x = random_tensor(l->shapes()["x"], 1), weight = random_tensor(l->shapes()["weight"], 2);
  const auto dy = random_tensor(l->shapes()["y"], 3);
  bundle<const double> cotangent, only_x, only_weight;
  cotangent.add("dy", dy.view());
  only_x.add("x", x.view());
  only_weight.add("weight", weight.view());
  tensor<double> dx(l->shapes()["x"]), dweight(l->shapes()["weight"]), dbias(l->shapes()["bias"]);
  bundle<double> data, weights, bias;
  data.add("dx", dx.view());
  weights.add("dweight", dweight.view());
  bias.add("dbias", dbias.view());
  // Each pass needs no more than it declares to read.
  l->as<double>().vjp(only_weight, {}, cotangent, data);
  l->as<double>().vjp(only_x, {}, cotangent, weights);
  l->as<double>().vjp({}, {}, cotangent, bias);
  double sum = 0;
  for (index_t i = 0; i < dy.size(); ++i) sum += dy[i];
  EXPECT_EQ(dbias[0] + dbias[1] + dbias[2], sum);
}

TEST(max_pool, backward_takes_the_saved_indices_as_given) {
  const auto l = plumb::bind("max_pool1d x=1x2x4 window=2");
  const tensor<double> dy(shape{1, 2, 2}, {1, 2, 4, 8});
  tensor<index_t> indices(shape{1, 2, 2}, {3, 3, 0, 1});
  bundle<const double> cotangent, saved;
  cotangent.add("dy", dy.view());
  tensor<double> dx(shape{1, 2, 4}, 99);
  bundle<double> gradient;
  gradient.add("dx", dx.view());
  saved.add_indices("indices", std::as_const(indices).view());
  l->as<double>().vjp({}, saved, cotangent, gradient);
  EXPECT_EQ(dx.values(), (std::vector<double>{0, 0, 0, 3, 4, 8, 0, 0}));
  EXPECT_EQ(l->index_bound("indices"), 4);
  indices[1] = 4;
  EXPECT_THROW(l->as<double>().vjp({}, saved, cotangent, gradient), std::invalid_argument);
}

TEST(max_pool, winners_change_when_a_kink_is_crossed) {
  const auto l = plumb::bind("max_pool1d x=1x1x4 window=2");
  const auto winners = [&](std::vector<double> values) {
    const tensor<double> x(shape{1, 1, 4}, std::move(values));
    bundle<const double> in;
    in.add("x", x.view());
    return l->winners(in);
  };
  using list = std::vector<index_t>;
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(l->has_winners());
  EXPECT_EQ(winners({1, 2, 4, 3}), (list{1, 2}));
  EXPECT_EQ(winners({2.5, 2, 4, 3}), (list{0, 2}));
  EXPECT_EQ(winners({2, 2, -0.0, 0.0}), (list{0, 2}));
  EXPECT_EQ(winners({nan, nan, nan, infinity}), (list{1, 2}));
  EXPECT_EQ(winners({-infinity, -infinity, -infinity, -1}), (list{0, 3}));
}

TEST(cross_entropy, refuses_a_target_that_is_no_class) {
  const auto l = plumb::bind("cross_entropy x=2x3 target=2 reduction=sum ignore_index=7");
  const auto evaluate = [&](index_t target) {
    const auto x = random_tensor(shape{2, 3}, 1);
    const tensor<index_t> targets(shape{2}, {1, target});
    bundle<const double> in;
    in.add("x", x.view());
    in.add_indices("target", targets.view());
    tensor<double> y(shape{});
    bundle<double> out;
    out.add("y", y.view());
    l->as<double>().forward(in, out);
  };
  EXPECT_NO_THROW(evaluate(2));
  EXPECT_NO_THROW(evaluate(7));
  EXPECT_THROW(evaluate(3), std::invalid_argument);
  EXPECT_THROW(evaluate(-1), std::invalid_argument);
  EXPECT_EQ(l->index_bound("target"), 3);
}

#ifndef PLUMB_FEW_SCALARS
TEST(rational_arithmetic, is_refused_where_the_formula_leaves_it) {
  const auto l = plumb::bind("sigmoid x=2");
  EXPECT_FALSE(l->rational_arithmetic());
  EXPECT_THROW(l->as<rational>().forward({}, {}), std::logic_error);
  EXPECT_TRUE(plumb::bind("relu x=2")->rational_arithmetic());
}
#endif

}  // namespace
}  // namespace plumb
