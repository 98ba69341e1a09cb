// Operations against loops that count valid products one by one, and the published figures of whole networks.
#include <gtest/gtest.h>

#include "bench/work.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb::bench {
namespace {

const pass_spec& pass_of(const layer& l, std::string_view name) {
  const pass_spec* pass = l.find_pass(name);
  if (pass == nullptr) throw std::logic_error("no such pass");
  return *pass;
}

/// Pairs (output, tap) of one axis that meet inside the input.
double pairs(index_t in, index_t taps, index_t stride, index_t begin, index_t end, index_t dilation) {
  double count = 0;
  for (index_t o = 0; o * stride + dilation * (taps - 1) < in + begin + end; ++o)
    for (index_t t = 0; t < taps; ++t) {
      const index_t at = o * stride + t * dilation - begin;
      count += at >= 0 && at < in;
    }
  return count;
}

TEST(operations, every_pass_of_a_convolution_has_the_products_a_loop_counts) {
  const auto l = bind("conv2d x=2x6x11x7 weight=9x2x3x4 bias=9 stride=2x1 pad=2,1,0,3 dilation=1x2 groups=3");
  const double products = 2.0 * 9 * 2 * pairs(11, 3, 2, 2, 1, 1) * pairs(7, 4, 1, 0, 3, 2);
  for (const char* pass : {"forward", "backward_data", "backward_weights"})
    EXPECT_EQ(operations(*l, pass_of(*l, pass)), 2 * products) << pass;
}

TEST(operations, of_a_filter_that_lies_mostly_in_the_padding) {
  const auto l = bind("conv2d x=1x1x2x3 weight=1x1x5x5 pad=4");
  EXPECT_EQ(count_products(*l, pass_of(*l, "forward")), pairs(2, 5, 1, 4, 4, 1) * pairs(3, 5, 1, 4, 4, 1));
}

TEST(operations, of_a_matrix_product_and_of_none) {
  const auto matrix = bind("linear x=64x4096 weight=1000x4096");
  EXPECT_EQ(operations(*matrix, pass_of(*matrix, "forward")), 2.0 * 64 * 4096 * 1000);
  const auto relu = bind("relu x=5x7");
  EXPECT_EQ(operations(*relu, relu->describe().passes.front()), 0);
  const auto empty = bind("conv2d x=0x3x5x5 weight=2x3x3x3");
  EXPECT_EQ(operations(*empty, pass_of(*empty, "forward")), 0);
}

double products_of(const char* set) {
  double sum = 0;
  for (const set_problem& p : load_problems(set).problems) {
    const auto l = bind(p.problem);
    sum += p.count * count_products(*l, l->describe().passes.front());
  }
  return sum;
}

/// Configuration D of the paper, layer by layer: a 3×3 filter with padding 1 meets an axis of H in 3H - 2 pairs.
TEST(operations, of_vgg16) {
  double products = 25088.0 * 4096 + 4096.0 * 4096 + 4096.0 * 1000;
  index_t size = 224, channels = 3;
  for (const auto& [layers, filters] : {std::pair(2, 64), {2, 128}, {3, 256}, {3, 512}, {3, 512}}) {
    for (int i = 0; i < layers; ++i, channels = filters)
      products += static_cast<double>(channels * filters * (3 * size - 2) * (3 * size - 2));
    size /= 2;
  }
  EXPECT_EQ(products_of("vgg16"), products);
}

/// 4.09 billion multiply-adds is the published figure with the padding counted; here it is not.
TEST(operations, of_resnet50) {
  EXPECT_LT(products_of("resnet50"), 4.09e9);
  EXPECT_GT(products_of("resnet50"), 3.9e9);
}

TEST(traffic, every_tensor_once) {
  const auto l = bind("conv2d x=1x3x5x5 weight=2x3x3x3 bias=2");
  EXPECT_EQ(compulsory_bytes(*l, pass_of(*l, "forward"), dtype::f32), 4.0 * (75 + 54 + 2 + 18));
  EXPECT_EQ(compulsory_bytes(*l, pass_of(*l, "backward_data"), dtype::f32), 4.0 * (18 + 54 + 75));
  const auto without = bind("conv2d x=1x3x5x5 weight=2x3x3x3");
  EXPECT_EQ(compulsory_bytes(*without, pass_of(*without, "forward"), dtype::f32), 4.0 * (75 + 54 + 18));
}

}  // namespace
}  // namespace plumb::bench
