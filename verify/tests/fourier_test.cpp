// The bound of Fourier convolutions against one, written out here in float with recursive transforms of radix 2: honest
// answers stay inside for every regime; a lost tap, lowered precision, a wrong twiddle and a transform that is too short
// do not.
#include "verify/fourier.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "reference/layers/catalogue.hpp"
#include "verify/bounds.hpp"
#include "verify/compare.hpp"

namespace plumb {
namespace {

struct number {
  float re = 0, im = 0;
};
number operator+(number a, number b) { return {a.re + b.re, a.im + b.im}; }
number operator-(number a, number b) { return {a.re - b.re, a.im - b.im}; }
number operator*(number a, number b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
using line = std::vector<number>;
using grid = std::vector<line>;

/// Σ_j x_j e^(∓2πi jk/n), not divided.
line transform(const line& x, bool inverse, double bend = 0) {
  const std::size_t n = x.size();
  if (n == 1) return x;
  line even, odd, out(n);
  for (std::size_t j = 0; j < n; ++j) (j % 2 == 0 ? even : odd).push_back(x[j]);
  even = transform(even, inverse, bend);
  odd = transform(odd, inverse, bend);
  for (std::size_t k = 0; k < n / 2; ++k) {
    const double angle =
        (inverse ? 2 : -2) * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n) + bend;
    const number turned =
        odd[k] * number{static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
    out[k] = even[k] + turned;
    out[k + n / 2] = even[k] - turned;
  }
  return out;
}
grid transform(grid g, bool inverse, double bend = 0) {
  for (line& row : g) row = transform(row, inverse, bend);
  for (std::size_t j = 0; j < g[0].size(); ++j) {
    line column;
    for (const line& row : g) column.push_back(row[j]);
    column = transform(column, inverse, bend);
    for (std::size_t i = 0; i < g.size(); ++i) g[i][j] = column[i];
  }
  return g;
}

struct crime {
  std::function<void(grid& data, grid& filter)> operands = {};
  double bend = 0;             ///< added to the angle of every twiddle
  std::size_t shorter_by = 1;  ///< the transform has this fraction of the points that it needs
};

/// One convolution forward (batch 1, one group): inputs, truth, bound, and the algorithm.
struct fourier_contest {
  std::unique_ptr<layer> l;
  const pass_spec* pass;
  tensor_set<double> reads;
  oracle truth;
  thresholds bounds;
  std::size_t c, h, w, k, r, s, pad;

  fourier_contest(std::size_t channels, std::size_t height, std::size_t width, std::size_t filters,
                  std::size_t rows, std::size_t columns, std::size_t padding, regime kind, std::uint64_t seed)
      : c(channels), h(height), w(width), k(filters), r(rows), s(columns), pad(padding) {
    const auto text = [](std::size_t i) { return std::to_string(i); };
    l = plumb::bind("conv2d x=1x" + text(c) + "x" + text(h) + "x" + text(w) + " weight=" + text(k) + "x" +
                    text(c) + "x" + text(r) + "x" + text(s) + " bias=" + text(k) + " pad=" + text(pad));
    pass = l->find_pass("forward");
    reads = draw(*l, *pass, kind, seed, dtype::f32);
    judge();
  }
  void judge() {
    truth.evaluate(*l, *pass, reads, dtype::f32);
    const auto how = parse_arithmetic("fft", dtype::f32);
    EXPECT_EQ(how.error, "");
    EXPECT_EQ(thresholds_of(*l, *pass, reads, t(), how.value, {}, regime::zero_mean, {}, bounds), "");
  }
  const truths& t() const { return truth.results()[0]; }
  float read(const char* name, std::size_t at) const {
    return static_cast<float>(reads[name][static_cast<index_t>(at)]);
  }

  tensor<float> run(const crime& wrong = {}) const {
    const std::size_t p = h + 2 * pad - r + 1, q = w + 2 * pad - s + 1;
    const std::size_t rows = std::bit_ceil(h + 2 * pad) / wrong.shorter_by,
                      columns = std::bit_ceil(w + 2 * pad);
    tensor<float> y(t().extents);
    for (std::size_t f = 0; f < k; ++f) {
      grid sum(rows, line(columns));
      for (std::size_t i = 0; i < c; ++i) {
        grid data(rows, line(columns)), filter = data;
        for (std::size_t a = 0; a < h * w; ++a)
          data[(a / w + pad) % rows][a % w + pad].re = read("x", i * h * w + a);
        for (std::size_t a = 0; a < r * s; ++a)
          filter[a / s % rows][a % s].re = read("weight", (f * c + i) * r * s + a);
        if (wrong.operands) wrong.operands(data, filter);
        data = transform(data, false, wrong.bend);
        filter = transform(filter, false, wrong.bend);
        for (std::size_t a = 0; a < rows; ++a)
          for (std::size_t b = 0; b < columns; ++b) {
            filter[a][b].im = -filter[a][b].im;
            sum[a][b] = sum[a][b] + data[a][b] * filter[a][b];
          }
      }
      const grid out = transform(sum, true, wrong.bend);
      const float points = static_cast<float>(rows * columns);
      for (std::size_t a = 0; a < p * q; ++a)
        y[static_cast<index_t>(f * p * q + a)] = out[a / q % rows][a % q].re / points + read("bias", f);
    }
    return y;
  }
  comparison verdict(tensor<float> y) {
    comparison result;
    compare({y.data(), dtype::f32, y.extents(), row_major(y.extents())}, t(), bounds, &truth, 0, result);
    return result;
  }
};

TEST(fourier, honest_transforms_stay_inside_in_every_regime) {
  double worst = 0;
  for (const regime r : all_regimes)
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      fourier_contest t(1 + seed * 2, 9, 6 + seed, 2, 1 + seed, 3, seed % 3, r, seed);
      const comparison c = t.verdict(t.run());
      ASSERT_TRUE(c.passed()) << name_of(r) << ' ' << seed << ": got " << c.worst.got << ", expected "
                              << c.worst.expected << " within " << c.worst.proven;
      if (r == regime::zero_mean) worst = std::max(worst, c.worst_proven);
    }
  EXPECT_GT(worst, 0.0005);  // a bound for whole planes of a hundred numbers
}

TEST(fourier, dishonest_transforms_are_caught) {
  for (const std::size_t channels : {1, 16}) {
    fourier_contest t(channels, 11, 13, 2, 5, 3, 1, regime::zero_mean, 5);
    ASSERT_TRUE(t.verdict(t.run()).passed());
    std::size_t calls = 0;
    const auto lost_tap = [&](grid&, grid& filter) {
      if (calls++ % channels == 0) filter[4][2] = {};
    };
    EXPECT_GT(t.verdict(t.run({.operands = lost_tap})).failures, 0) << "a lost tap " << channels;
    const auto lowered = [](grid& data, grid&) {
      for (line& row : data)
        for (number& value : row) value.re = static_cast<float>(bf16(value.re));
    };
    EXPECT_GT(t.verdict(t.run({.operands = lowered})).failures, 0) << "bf16 inputs " << channels;
    EXPECT_GT(t.verdict(t.run({.bend = 0.02})).failures, 0) << "wrong twiddles " << channels;
    EXPECT_GT(t.verdict(t.run({.shorter_by = 2})).failures, 0) << "wraps around " << channels;
    tensor<float> zeros(t.t().extents), spoiled = t.run();
    EXPECT_GT(t.verdict(zeros).failures, t.t().count() / 2);
    spoiled[spoiled.size() / 2] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(t.verdict(spoiled).failures, 1);
  }
}

TEST(fourier, the_bound_is_the_formula_of_norms) {
  // One plane of 2×2, one tap: ‖x‖₂ = 5, ‖x‖₁ = 7, ‖w‖₁ = ‖w‖₂ = 2: S_F = 10, and the bias is added with one rounding.
  fourier_contest t(1, 2, 2, 1, 1, 1, 0, regime::zero_mean, 1);
  const double x[] = {3, 0, 0, -4};
  for (index_t i = 0; i < 4; ++i) t.reads["x"][i] = x[i];
  t.reads["weight"][0] = -2;
  t.reads["bias"][0] = 1;
  t.judge();
  const transformed_sizes s = sizes_of_fourier(*t.l, *t.pass, t.reads, t.t());
  ASSERT_EQ(s.size.size(), 4);
  EXPECT_NEAR(s.size[0] * s.factor, 10 * s.factor + 11 * 0x1p-24, 1e-12);
  // 2·(2+1) = 6 → 8 points an axis: 6 stages and 3, three transforms; a complex product is two real sums of two.
  const double u = 0x1p-24;
  EXPECT_NEAR(s.factor / u, 3 * 9 * (1 + 4 * std::numbers::sqrt2) + 2 * std::numbers::sqrt2, 0.01);
}

TEST(fourier, nan_spreads_over_its_plane_and_no_further) {
  const auto l = plumb::bind("conv2d x=2x2x5x6 weight=4x1x3x2 groups=2");
  const pass_spec& pass = *l->find_pass("forward");
  auto reads = draw(*l, pass, regime::zero_mean, 1, dtype::f32);
  reads["x"][0] = std::numeric_limits<double>::quiet_NaN();          // image 0, group 0
  reads["weight"][3 * 6] = std::numeric_limits<double>::infinity();  // filter 3, any image
  oracle o;
  o.evaluate(*l, pass, reads, dtype::f32);
  const transformed_sizes s = sizes_of_fourier(*l, pass, reads, o.results()[0]);
  const char expected[] = {1, 1, 0, 1, 0, 0, 0, 1};
  for (std::size_t plane = 0; plane < 8; ++plane)
    for (std::size_t i = 0; i < 15; ++i) EXPECT_EQ(s.may_spread[plane * 15 + i], expected[plane]) << plane;
}

TEST(fourier, knows_the_passes_of_a_convolution_and_nothing_else) {
  const auto answer = [](const char* text, const char* pass_name) {
    const auto l = plumb::bind(std::string_view(text));
    const pass_spec& pass = *l->find_pass(pass_name);
    const auto reads = draw(*l, pass, regime::zero_mean, 1, dtype::f32);
    oracle o;
    o.evaluate(*l, pass, reads, dtype::f32);
    const transformed_sizes s = sizes_of_fourier(*l, pass, reads, o.results()[0]);
    if (s.error.empty()) {
      for (std::size_t i = 0; i < s.size.size(); ++i)  // no sum is larger than its norms say
        EXPECT_GE(s.size[i] * (1 + 1e-12), std::fabs(o.results()[0].value[i])) << text << ' ' << pass_name;
    }
    return s.error;
  };
  for (const char* pass : {"forward", "backward_data", "backward_weights"}) {
    EXPECT_EQ(answer("conv2d x=2x6x8x7 weight=4x3x3x2 groups=2 stride=2 pad=1,0,2,1", pass), "");
    EXPECT_EQ(answer("conv1d x=3x2x9 weight=2x2x3 dilation=2", pass), "");
  }
  EXPECT_NE(answer("conv2d x=1x2x8x8 weight=2x2x3x3 bias=2", "backward_bias").find("backward_bias"),
            std::string::npos);
  EXPECT_NE(answer("linear x=4x3 weight=2x3", "forward").find("linear"), std::string::npos);
  EXPECT_NE(answer("conv_transpose2d x=1x2x8x8 weight=2x2x3x3", "forward").find("conv_transpose2d"),
            std::string::npos);
}

}  // namespace
}  // namespace plumb
