// The lecture's worked examples that concern these layers, by number, and its errata: a verification suite that
// starts by finding mistakes in its own source.
#include <gtest/gtest.h>

#include <cmath>

#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

using numbers = std::vector<double>;

/// A problem with the values of its inputs, evaluated in double.
struct worked {
  worked(std::string_view text, const std::vector<std::pair<std::string, numbers>>& inputs)
      : l(plumb::bind(text)) {
    for (const auto& [name, values] : inputs) in.add(name, tensor<double>(l->shapes()[name], values));
    for (const tensor_spec& s : l->describe().outputs)
      s.kind == element::index ? void(out.add_indices(s.name, tensor<index_t>(l->shapes()[s.name])))
                               : void(out.add(s.name, tensor<double>(l->shapes()[s.name])));
    l->as<double>().forward(std::as_const(in).views(), out.views());
  }
  const numbers& y() const { return out["y"].values(); }
  /// The gradient of `input` for this cotangent of y.
  numbers gradient(const std::string& input, const numbers& cotangent) const {
    tensor_set<double> dy, dx;
    dy.add("dy", tensor<double>(l->shapes()["y"], cotangent));
    dx.add("d" + input, tensor<double>(l->shapes()[input]));
    l->as<double>().vjp(in.views(), out.views(), std::as_const(dy).views(), dx.views());
    return dx["d" + input].values();
  }
  /// Jᵀ·dy from the explicit Jacobian.
  numbers explicit_gradient(const std::string& input, const numbers& cotangent) const {
    numbers sum(in[input].values().size());
    l->as<double>().jacobian(
        in.views(), [&](std::string_view, index_t i, std::string_view of, index_t j, const double& value) {
          if (of == input) sum[static_cast<std::size_t>(j)] += value * cotangent[static_cast<std::size_t>(i)];
        });
    return sum;
  }
  std::unique_ptr<layer> l;
  tensor_set<double> in, out;
};

std::string shape_of_y(std::string_view text) { return to_string(plumb::bind(text)->shapes()["y"]); }

TEST(worked_examples, relu_forward_and_backward) {
  const worked relu("relu x=4", {{"x", {1, -2, 3, -1}}});
  EXPECT_EQ(relu.y(), (numbers{1, 0, 3, 0}));
  const numbers dz = {4, -1, 5, 9};
  EXPECT_EQ(relu.gradient("x", dz), (numbers{4, 0, 5, 0}));
  EXPECT_EQ(relu.explicit_gradient("x", dz), (numbers{4, 0, 5, 0}));
}

TEST(worked_examples, sigmoid_of_an_affine_map) {
  // sigmoid(w·x), w = (2, -3, -3), x = (-1, -2, 1): the neuron as a linear layer, then a sigmoid.
  const worked affine("linear x=1x3 weight=1x3", {{"x", {-1, -2, 1}}, {"weight", {2, -3, -3}}});
  EXPECT_EQ(affine.y(), (numbers{1}));
  const worked gate("sigmoid x=1x1", {{"x", affine.y()}});
  EXPECT_NEAR(gate.y()[0], 0.7311, 5e-5);
  const numbers slope = gate.gradient("x", {1});
  const numbers dx = affine.gradient("x", slope), dw = affine.gradient("weight", slope);
  const numbers expected_dx = {0.3932, -0.5898}, expected_dw = {-0.1966, -0.3932, 0.1966};
  for (std::size_t i = 0; i < 2; ++i) EXPECT_NEAR(dx[i], expected_dx[i], 5e-5);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(dw[i], expected_dw[i], 5e-5);
}

TEST(worked_examples, matrix_product) {
  // y = x·w as a linear layer, whose weight is w transposed.
  const worked product("linear x=2x3 weight=4x3",
                       {{"x", {2, 1, -3, -3, 4, 2}}, {"weight", {3, 2, 3, 2, 1, 2, 1, 3, 1, -1, 2, -2}}});
  EXPECT_EQ(product.y(), (numbers{-1, -1, 2, 6, 5, 2, 11, 7}));
  const numbers dy = {2, 3, -3, 9, -8, 1, 4, 6};
  EXPECT_EQ(product.gradient("x", dy), (numbers{0, 16, -9, -24, 9, -30}));
  const numbers transposed = {28, -30, -22, 3, 7, -7, -18, 13, 17, 0, 33, -15};
  EXPECT_EQ(product.gradient("weight", dy), transposed);
  EXPECT_EQ(product.explicit_gradient("weight", dy), transposed);
}

TEST(worked_examples, shapes) {
  EXPECT_EQ(shape_of_y("conv2d x=1x3x32x32 weight=1x3x5x5"), "1x1x28x28");
  EXPECT_EQ(shape_of_y("conv2d x=1x3x32x32 weight=6x3x5x5"), "1x6x28x28");
  EXPECT_EQ(shape_of_y("conv2d x=1x6x28x28 weight=10x6x5x5"), "1x10x24x24");
  EXPECT_EQ(shape_of_y("conv2d x=1x3x32x32 weight=5x3x5x5"), "1x5x28x28");  // the neuron view
  EXPECT_EQ(shape_of_y("conv2d x=1x1x7x7 weight=1x1x3x3"), "1x1x5x5");
  EXPECT_EQ(shape_of_y("conv2d x=1x1x7x7 weight=1x1x3x3 stride=2"), "1x1x3x3");
  EXPECT_EQ(shape_of_y("conv2d x=1x1x7x7 weight=1x1x3x3 stride=3"), "1x1x2x2");
  EXPECT_THROW(plumb::bind("conv2d x=1x1x7x7 weight=1x1x3x3 stride=3 fit=exact"), shape_error);
  EXPECT_EQ(shape_of_y("conv2d x=1x1x7x7 weight=1x1x3x3 pad=1"), "1x1x7x7");
  for (const std::string f : {"3", "5", "7"}) {
    const std::string pad = std::to_string((std::stoi(f) - 1) / 2);
    EXPECT_EQ(shape_of_y("conv2d x=1x1x7x7 weight=1x1x" + f + "x" + f + " pad=" + pad), "1x1x7x7");
  }
  EXPECT_EQ(shape_of_y("conv2d x=1x64x56x56 weight=32x64x1x1"), "1x32x56x56");
  EXPECT_EQ(shape_of_y("max_pool2d x=1x64x224x224 window=2"), "1x64x112x112");
  EXPECT_EQ(shape_of_y("linear x=1x3072 weight=10x3072 bias=10"), "1x10");
}

TEST(worked_examples, size_and_parameters) {
  const auto l = plumb::bind("conv2d x=1x3x32x32 weight=10x3x5x5 bias=10 pad=2");
  EXPECT_EQ(to_string(l->shapes()["y"]), "1x10x32x32");
  EXPECT_EQ(l->shapes()["weight"].size() + l->shapes()["bias"].size(), 760);
}

TEST(worked_examples, one_by_one_is_a_dot_product_at_each_position) {
  numbers x(64 * 6), weight(3 * 64);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i * 7 % 11) - 5;
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<double>(i * 5 % 13) - 6;
  const worked conv("conv2d x=1x64x2x3 weight=3x64x1x1", {{"x", x}, {"weight", weight}});
  for (std::size_t k = 0; k < 3; ++k)
    for (std::size_t at = 0; at < 6; ++at) {
      double dot = 0;
      for (std::size_t c = 0; c < 64; ++c) dot += weight[k * 64 + c] * x[c * 6 + at];
      EXPECT_EQ(conv.y()[k * 6 + at], dot);
    }
}

TEST(worked_examples, max_pool) {
  const worked pool("max_pool2d x=1x1x4x4 window=2 stride=2",
                    {{"x", {1, 1, 2, 4, 5, 6, 7, 8, 3, 2, 1, 0, 1, 2, 3, 4}}});
  EXPECT_EQ(pool.y(), (numbers{6, 8, 3, 4}));
  EXPECT_EQ(pool.out.indices("indices").values(), (std::vector<index_t>{5, 7, 8, 15}));
}

TEST(worked_examples, convolution_is_correlation_with_the_flipped_filter) {
  const numbers x = {1, 2, 3, 4, 5, 6, 7, 8, 9}, filter = {1, 2, 3, 4}, flipped = {4, 3, 2, 1};
  const worked convolution("conv2d x=1x1x3x3 weight=1x1x2x2 flip=true", {{"x", x}, {"weight", filter}});
  const worked correlation("conv2d x=1x1x3x3 weight=1x1x2x2", {{"x", x}, {"weight", flipped}});
  EXPECT_EQ(convolution.y(), correlation.y());
  // (f*g)[1,1] = Σ f[n1,n2]·g[1-n1,1-n2] = 1·4 + 2·3 + 4·2 + 5·1
  EXPECT_EQ(convolution.y()[0], 23);
}

TEST(errata, the_printed_matrix_product_is_wrong_in_six_of_eight_entries) {
  const worked product("linear x=2x3 weight=4x3",
                       {{"x", {2, 1, -3, -3, 4, 2}}, {"weight", {3, 2, 3, 2, 1, 2, 1, 3, 1, -1, 2, -2}}});
  const numbers printed = {13, 9, -2, -6, 5, 2, 17, 1};
  int wrong = 0;
  for (std::size_t i = 0; i < printed.size(); ++i) wrong += product.y()[i] != printed[i] ? 1 : 0;
  EXPECT_EQ(wrong, 6);
}

TEST(errata, only_one_of_the_two_jacobians_takes_256_gigabytes) {
  const auto l = plumb::bind("linear x=64x4096 weight=4096x4096");
  const auto f32_bytes = [&](const char* input) {
    return 4.0 * static_cast<double>(l->shapes()["y"].size()) *
           static_cast<double>(l->shapes()[input].size());
  };
  EXPECT_EQ(f32_bytes("x"), 256 * 0x1p30);
  EXPECT_EQ(f32_bytes("weight"), 16 * 0x1p40);
}

TEST(errata, the_printed_sigmoid_derivative_is_not_its_derivative) {
  const double x = 0.75, h = 1e-5;
  const auto sigma = [](double at) { return worked("sigmoid x=1", {{"x", {at}}}).y()[0]; };
  const double difference = (sigma(x + h) - sigma(x - h)) / (2 * h);
  const double s = sigma(x), right = (1 - s) * s, printed = (1 - s) * right;  // (1 - σ)·σ′
  EXPECT_NEAR(difference, right, 1e-9);
  EXPECT_GT(std::fabs(difference - printed), 0.1);
}

}  // namespace
}  // namespace plumb
