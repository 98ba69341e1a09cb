// The matrix-product form of the oracle against its element-by-element form, over problems with every attribute; and
// certification of a whole tensor, which must see one wrong element, a NaN, an infinity and zeros.
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "reference/layers/catalogue.hpp"
#include "verify/compare.hpp"
#include "verify/panel_sums.hpp"

namespace plumb {
namespace {

const char* const problems[] = {
    "conv2d x=3x6x9x7 weight=18x6x3x3 bias=18 pad=1",
    "conv2d x=2x6x9x11 weight=10x3x3x2 groups=2 stride=2x1 pad=1,0,2,1 dilation=1x2",
    "conv2d x=5x3x4x4 weight=33x3x4x4 pad=2",
    "conv2d x=1x1x1x1 weight=1x1x1x1",
    "conv1d x=4x5x19 weight=17x5x4 stride=3 flip=true",
    "conv3d x=2x3x4x5x3 weight=7x3x2x2x3 pad=1",
    "linear x=13x37 weight=19x37 bias=19",
    "linear x=13x1100 weight=19x1100",
    "matmul x=7x23 w=23x35",
    "depthwise_conv2d x=2x5x8x9 weight=10x1x3x3 pad=1 multiplier=2",
    "conv_transpose2d x=2x4x5x6 weight=4x18x3x3 stride=2 pad=1",
};

std::shared_ptr<const layer> bound(const std::string& text) {
  try {
    return plumb::bind(std::string_view(text));
  } catch (const std::invalid_argument&) {
    return plumb::bind(std::string_view(text.substr(0, text.rfind(' '))));
  }
}

TEST(panels, agree_with_the_sums_element_by_element) {
  int planned = 0;
  for (const char* text : problems) {
    const auto l = bound(text);
    for (const pass_spec& pass : l->describe().passes) {
      if (!pass.contraction || pass.contraction->b.empty()) continue;
      const auto plan = panel_plan::make(*l, pass);
      if (!plan) continue;
      ++planned;
      const tensor_set<double> reads = draw(*l, pass, regime::zero_mean, 3, dtype::f32);
      oracle o;
      const truths& truth = o.evaluate(*l, pass, reads, dtype::f32).front();
      std::vector<int> seen(truth.value.size());
      std::mutex lock;
      const std::string& addend = pass.contraction->addend;
      plan->run(reads[pass.contraction->a].data(), reads[pass.contraction->b].data(), 2,
                [&](int, const panel_plan::block& b) {
                  const std::lock_guard hold(lock);
                  for (index_t c = 0; c < b.width; ++c)
                    for (index_t r = 0; r < b.rows; ++r) {
                      const auto at = static_cast<std::size_t>(b.first[r] + c * b.step);
                      const bool has = b.addend >= 0 && l->present(addend);
                      const double extra = has ? reads[addend][b.addend + c * b.addend_step] : 0;
                      const double radius =
                          (b.terms + 3) * 0x1p-53 * (b.size[c * b.rows + r] + std::fabs(extra));
                      ASSERT_LE(std::fabs(b.sum[c * b.rows + r] + extra - truth.value[at]),
                                truth.radius[at] + radius)
                          << text << " " << pass.name << " " << at;
                      ASSERT_NEAR(b.size[c * b.rows + r] + std::fabs(extra), truth.size[at],
                                  1e-12 * truth.size[at]);
                      ASSERT_EQ(b.terms + (has ? 1 : 0), truth.terms[at]);
                      ++seen[at];
                    }
                });
      EXPECT_TRUE(std::ranges::all_of(seen, [](int n) { return n == 1; })) << text << " " << pass.name;
    }
  }
  if (planned == 0) GTEST_SKIP() << "this processor lacks what panels are for";
  EXPECT_GE(planned, 15);
}

class certified : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!panel_plan::make(*layer_, *pass_)) GTEST_SKIP() << "this processor lacks what panels are for";
    const truths& truth = oracle_.evaluate(*layer_, *pass_, reads_, dtype::f32).front();
    for (const double v : truth.value) got_.push_back(static_cast<float>(v));
  }
  comparison judged() {
    comparison c;
    const shape& y = layer_->shapes()["y"];
    const certify_terms terms{parse_arithmetic("f32", dtype::f32).value, {}, regime::zero_mean};
    EXPECT_TRUE(
        oracle_.certify(*layer_, *pass_, reads_, {got_.data(), dtype::f32, y, row_major(y)}, terms, 2, c));
    return c;
  }

  std::shared_ptr<const layer> layer_ =
      plumb::bind(std::string_view("conv2d x=3x6x9x7 weight=18x6x3x3 bias=18 pad=1"));
  const pass_spec* pass_ = layer_->find_pass("forward");
  tensor_set<double> reads_ = draw(*layer_, *pass_, regime::zero_mean, 5, dtype::f32);
  oracle oracle_;
  std::vector<float> got_;
};

TEST_F(certified, right_outputs_pass_and_each_is_compared) {
  const comparison c = judged();
  EXPECT_TRUE(c.passed());
  EXPECT_EQ(c.elements, layer_->shapes()["y"].size());
  EXPECT_LT(c.worst_proven, 0.1);
}

TEST_F(certified, one_wrong_element_is_named) {
  for (const std::size_t at : {std::size_t{0}, std::size_t{777}, got_.size() - 1}) {
    for (const float wrong : {got_[at] * 1.001F, std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(), -got_[at]}) {
      const float right = std::exchange(got_[at], wrong);
      const comparison c = judged();
      EXPECT_EQ(c.failures, 1) << at << " " << wrong;
      ASSERT_EQ(c.wrong.size(), 1U);
      EXPECT_EQ(c.wrong.front().at, static_cast<index_t>(at));
      got_[at] = right;
    }
  }
  std::ranges::fill(got_, 0.0F);
  EXPECT_GT(judged().failures, static_cast<index_t>(got_.size()) * 9 / 10);
}

}  // namespace
}  // namespace plumb
