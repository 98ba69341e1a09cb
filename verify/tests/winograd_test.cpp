// Winograd's bound against Winograd's algorithm, written out here as plain matrix products in float: honest answers
// stay inside for every regime; a lost tap, lowered precision, a wrong coefficient and a wrong tile do not.
#include "verify/winograd.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "reference/layers/catalogue.hpp"
#include "verify/bounds.hpp"
#include "verify/compare.hpp"

namespace plumb {
namespace {

using matrix = std::vector<std::vector<float>>;

/// Plain loops, every product and sum rounded.
matrix times(const matrix& a, const matrix& b) {
  matrix c(a.size(), std::vector<float>(b[0].size()));
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < b[0].size(); ++j)
      for (std::size_t k = 0; k < b.size(); ++k) c[i][j] += a[i][k] * b[k][j];
  return c;
}
matrix transposed(const matrix& a) {
  matrix t(a[0].size(), std::vector<float>(a.size()));
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
  return t;
}

struct algorithm {
  matrix g, b, a;  ///< G, Bᵀ, Aᵀ
};
algorithm minimal_filtering(int m) {
  if (m == 2)
    return {{{1, 0, 0}, {.5F, .5F, .5F}, {.5F, -.5F, .5F}, {0, 0, 1}},
            {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
            {{1, 1, 1, 0}, {0, 1, -1, -1}}};
  const float s = 1.0F / 6, t = 1.0F / 12, f = 1.0F / 24;
  return {{{.25F, 0, 0}, {-s, -s, -s}, {-s, s, -s}, {f, t, s}, {f, -t, s}, {0, 0, 1}},
          {{4, 0, -5, 0, 1, 0},
           {0, -4, -4, 1, 1, 0},
           {0, 4, -4, -1, 1, 0},
           {0, -2, -1, 2, 1, 0},
           {0, 2, -1, -2, 1, 0},
           {0, 4, 0, -5, 0, 1}},
          {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}};
}

/// One convolution forward (batch 1, one group, pad on every side): inputs, truth, bound, and the algorithm.
struct contest {
  std::unique_ptr<layer> l;
  const pass_spec* pass;
  tensor_set<double> reads;
  oracle truth;
  thresholds bounds;
  int m;
  index_t c, h, w, k, pad;

  contest(int outputs, index_t channels, index_t height, index_t width, index_t filters, index_t padding,
          regime r, std::uint64_t seed)
      : m(outputs), c(channels), h(height), w(width), k(filters), pad(padding) {
    const auto text = [](index_t i) { return std::to_string(i); };
    l = plumb::bind("conv2d x=1x" + text(c) + "x" + text(h) + "x" + text(w) + " weight=" + text(k) + "x" +
                    text(c) + "x3x3 bias=" + text(k) + " pad=" + text(pad));
    pass = l->find_pass("forward");
    reads = draw(*l, *pass, r, seed, dtype::f32);
    judge();
  }
  void judge() {
    truth.evaluate(*l, *pass, reads, dtype::f32);
    const auto how = parse_arithmetic("winograd(" + std::to_string(m) + ",3)", dtype::f32);
    EXPECT_EQ(how.error, "");
    EXPECT_EQ(thresholds_of(*l, *pass, reads, t(), how.value, {}, regime::zero_mean, {}, bounds), "");
  }
  const truths& t() const { return truth.results()[0]; }
  float x(index_t channel, index_t i, index_t j) const {
    if (i < 0 || i >= h || j < 0 || j >= w) return 0;
    return static_cast<float>(reads["x"][(channel * h + i) * w + j]);
  }

  /// `change` may spoil the operands of each tile and the matrices.
  using spoiler = std::function<void(matrix& data, matrix& filter)>;
  tensor<float> run(const algorithm& f, const spoiler& change = {}) const {
    const index_t p = h + 2 * pad - 2, q = w + 2 * pad - 2, size = m + 2;
    tensor<float> y(shape{1, k, p, q});
    for (index_t f_k = 0; f_k < k; ++f_k)
      for (index_t top = 0; top < p; top += m)
        for (index_t left = 0; left < q; left += m) {
          matrix sum(static_cast<std::size_t>(size), std::vector<float>(static_cast<std::size_t>(size)));
          for (index_t f_c = 0; f_c < c; ++f_c) add_products(f, change, f_k, f_c, top, left, sum);
          const matrix tile = times(times(f.a, sum), transposed(f.a));
          for (index_t i = 0; i < m && top + i < p; ++i)
            for (index_t j = 0; j < m && left + j < q; ++j)
              y[(f_k * p + top + i) * q + left + j] =
                  tile[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] +
                  static_cast<float>(reads["bias"][f_k]);
        }
    return y;
  }
  void add_products(const algorithm& f, const spoiler& change, index_t f_k, index_t f_c, index_t top,
                    index_t left, matrix& sum) const {
    matrix data(sum.size(), std::vector<float>(sum.size())), filter(3, std::vector<float>(3));
    for (std::size_t i = 0; i < sum.size(); ++i)
      for (std::size_t j = 0; j < sum.size(); ++j)
        data[i][j] = x(f_c, top - pad + static_cast<index_t>(i), left - pad + static_cast<index_t>(j));
    for (std::size_t i = 0; i < 9; ++i)
      filter[i / 3][i % 3] =
          static_cast<float>(reads["weight"][(f_k * c + f_c) * 9 + static_cast<index_t>(i)]);
    if (change) change(data, filter);
    const matrix u = times(times(f.g, filter), transposed(f.g)), v = times(times(f.b, data), transposed(f.b));
    for (std::size_t i = 0; i < sum.size(); ++i)
      for (std::size_t j = 0; j < sum.size(); ++j) sum[i][j] += u[i][j] * v[i][j];
  }

  comparison verdict(tensor<float> y) {
    comparison result;
    compare({y.data(), dtype::f32, y.extents(), row_major(y.extents())}, t(), bounds, &truth, 0, result);
    return result;
  }
};

TEST(winograd, flat_data_gives_the_published_growth) {
  // Worst S_W/S over the places of a tile: 7.1 for F(2,3) and 256 for F(4,3).
  for (const auto& [m, expected] : {std::pair(2, 64.0 / 9), std::pair(4, 256.0)}) {
    contest t(m, 1, 14, 14, 1, 0, regime::zero_mean, 1);
    for (const char* name : {"x", "weight"})
      for (double& value : t.reads[name].values()) value = -1;
    t.reads["bias"][0] = 0;
    t.truth.evaluate(*t.l, *t.pass, t.reads, dtype::f32);
    const transformed_sizes s = sizes_of_winograd(*t.l, *t.pass, t.reads, t.t(), m);
    EXPECT_NEAR(*std::ranges::max_element(s.size) / 9, expected, 1e-9);
    EXPECT_NEAR(s.factor * 0x1p24, m == 2 ? 12 : 26, 1e-4);
  }
}

/// Whole tensors are worked out many tiles at a time, single elements tile by tile: the same sizes, also where groups,
/// images, channels and tiles do not come in the numbers that are taken together.
TEST(winograd, elements_alone_and_together_have_the_same_size) {
  for (const char* text :
       {"conv2d x=2x6x23x27 weight=14x3x3x3 bias=14 groups=2 pad=1", "conv2d x=1x1x3x3 weight=1x1x3x3",
        "conv2d x=3x5x9x50 weight=7x5x3x3 pad=0,2,1,0 flip=true"})
    for (const char* pass_name : {"forward", "backward_data"})
      for (const int m : {2, 4}) {
        const auto l = plumb::bind(std::string_view(text));
        const pass_spec& pass = *l->find_pass(pass_name);
        tensor_set<double> reads = draw(*l, pass, regime::positive, 5, dtype::f32);
        tensor<double>& data = reads[pass.reads.front()];
        data[data.size() / 2] = std::numeric_limits<double>::quiet_NaN();
        oracle all, some;
        all.evaluate(*l, pass, reads, dtype::f32);
        std::vector<index_t> elements;
        for (index_t i = 0; i < all.results()[0].count(); i += 3) elements.push_back(i);
        some.evaluate_some(*l, pass, reads, dtype::f32, elements);
        const transformed_sizes whole = sizes_of_winograd(*l, pass, reads, all.results()[0], m, 2);
        const transformed_sizes alone = sizes_of_winograd(*l, pass, reads, some.results()[0], m, 2);
        ASSERT_EQ(whole.error, "");
        for (std::size_t i = 0; i < elements.size(); ++i) {
          const auto at = static_cast<std::size_t>(elements[i]);
          ASSERT_NEAR(whole.size[at], alone.size[i], 1e-12 * alone.size[i])
              << text << ' ' << pass_name << ' ' << at;
          ASSERT_EQ(whole.underflow[at], alone.underflow[i]);
          ASSERT_EQ(whole.may_spread[at], alone.may_spread[i]);
        }
      }
}

TEST(winograd, honest_transforms_stay_inside_in_every_regime) {
  double worst = 0;
  for (const int m : {2, 4})
    for (const regime r : all_regimes)
      for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        contest t(m, 1 + static_cast<index_t>(seed) * 3, 9, 6, 2, static_cast<index_t>(seed) % 4, r, seed);
        const comparison c = t.verdict(t.run(minimal_filtering(m)));
        ASSERT_TRUE(c.passed()) << m << ' ' << name_of(r) << ' ' << seed << ": got " << c.worst.got
                                << ", expected " << c.worst.expected << " within " << c.worst.proven;
        if (r == regime::zero_mean) worst = std::max(worst, c.worst_proven);
      }
  EXPECT_GT(worst, 0.02);
}

TEST(winograd, integers_stay_exact_under_f2_only) {
  contest two(2, 3, 8, 8, 2, 1, regime::lattice, 3), four(4, 3, 8, 8, 2, 1, regime::lattice, 3);
  for (double& value : two.reads["weight"].values()) value = std::remainder(value, 8);
  for (double& value : two.reads["x"].values()) value = std::remainder(value, 64);
  for (double& value : two.reads["bias"].values()) value = std::remainder(value, 64);
  two.judge();
  EXPECT_EQ(two.bounds.exact, two.t().count());
  EXPECT_EQ(two.verdict(two.run(minimal_filtering(2))).worst_ulps, 0);
  EXPECT_LT(four.bounds.exact, four.t().count());
}

TEST(winograd, dishonest_transforms_are_caught) {
  for (const int m : {2, 4})
    for (const index_t channels : {1, 16, 64}) {
      contest t(m, channels, 9, 9, 2, 1, regime::zero_mean, 5);
      const algorithm honest = minimal_filtering(m);
      ASSERT_TRUE(t.verdict(t.run(honest)).passed());
      int calls = 0;
      const auto lost_tap = [&](matrix&, matrix& filter) {
        filter[2][1] = calls++ % channels == 0 ? 0 : filter[2][1];
      };
      EXPECT_GT(t.verdict(t.run(honest, lost_tap)).failures, 0) << "a lost tap " << m << ' ' << channels;
      const auto lowered = [](matrix& data, matrix&) {
        for (auto& row : data)
          for (float& value : row) value = static_cast<float>(bf16(value));
      };
      EXPECT_GT(t.verdict(t.run(honest, lowered)).failures, 0) << "bf16 inputs " << m << ' ' << channels;
      algorithm wrong = honest;
      wrong.b[1][1] *= 1.01F;
      EXPECT_GT(t.verdict(t.run(wrong)).failures, 0) << "a wrong coefficient " << m << ' ' << channels;
      tensor<float> zeros(t.t().extents);
      EXPECT_GT(t.verdict(zeros).failures, t.t().count() / 2);
      tensor<float> spoiled = t.run(honest);
      spoiled[spoiled.size() / 2] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_EQ(t.verdict(spoiled).failures, 1);
    }
}

TEST(winograd, nan_spreads_over_its_tiles_and_no_further) {
  contest t(4, 2, 12, 12, 1, 1, regime::zero_mean, 2);
  t.reads["x"][0] = std::numeric_limits<double>::quiet_NaN();  // seen by the tile of outputs 0…3 only
  t.judge();
  tensor<float> y = t.run(minimal_filtering(4));
  EXPECT_TRUE(t.verdict(y).passed());
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_NE(t.bounds.may_spread[3 * 12 + 3], 0);
  EXPECT_EQ(t.bounds.may_spread[4], 0);
  tensor<float> outside = y, inside = y;
  outside[4] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(t.verdict(outside).failures, 1);
  inside[0] = 1;  // a number where only NaN can be
  EXPECT_EQ(t.verdict(inside).failures, 1);
}

TEST(winograd, other_problems_have_no_such_form) {
  const arithmetic how = parse_arithmetic("winograd(4,3)", dtype::f32).value;
  const auto refusal = [&](const char* text, const char* pass_name) {
    const auto l = plumb::bind(std::string_view(text));
    const pass_spec& pass = *l->find_pass(pass_name);
    const auto reads = draw(*l, pass, regime::zero_mean, 1, dtype::f32);
    oracle o;
    thresholds b;
    o.evaluate(*l, pass, reads, dtype::f32);
    return thresholds_of(*l, pass, reads, o.results()[0], how, {}, regime::zero_mean, {}, b);
  };
  EXPECT_EQ(refusal("conv2d x=1x2x8x8 weight=2x2x3x3 pad=1", "backward_data"), "");
  EXPECT_NE(refusal("conv2d x=1x2x8x8 weight=2x2x3x3 stride=2", "forward").find("stride=1"),
            std::string::npos);
  EXPECT_NE(refusal("conv2d x=1x2x8x8 weight=2x2x3x1", "forward").find("3x3"), std::string::npos);
  EXPECT_NE(refusal("conv2d x=1x2x8x8 weight=2x2x3x3", "backward_weights").find("backward_weights"),
            std::string::npos);
  EXPECT_NE(refusal("linear x=4x3 weight=2x3", "forward").find("linear"), std::string::npos);
  EXPECT_NE(refusal("conv_transpose2d x=1x2x8x8 weight=2x2x3x3", "forward").find("conv_transpose2d"),
            std::string::npos);
}

}  // namespace
}  // namespace plumb
