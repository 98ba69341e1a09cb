// Bounds against what arithmetic really does: float sums in several orders stay inside, secretly lowered
// precision, lost terms and biased accumulation stay outside.
#include "verify/bounds.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "reference/layers/catalogue.hpp"
#include "verify/regimes.hpp"

namespace plumb {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The rows of `linear` as dot products: truth, thresholds, and the operands to compute with.
struct dot_products {
  std::unique_ptr<layer> l;
  tensor_set<double> reads;
  oracle truth;
  thresholds bounds;
  index_t n;

  dot_products(index_t terms, index_t outputs, regime r, std::string_view arithmetic, std::uint64_t seed = 1,
               dtype type = dtype::f32)
      : l(plumb::bind("linear x=" + std::to_string(outputs) + "x" + std::to_string(terms) + " weight=1x" +
                      std::to_string(terms))),
        n(terms) {
    const pass_spec& pass = *l->find_pass("forward");
    reads = draw(*l, pass, r, seed, type);
    truth.evaluate(*l, pass, reads, type);
    const auto parsed = parse_arithmetic(arithmetic, type);
    EXPECT_EQ(parsed.error, "");
    evaluate_thresholds(t(), parsed.value, {}, r, {}, bounds);
  }
  const truths& t() const { return truth.results()[0]; }
  float x(index_t row, index_t i) const { return static_cast<float>(reads["x"][row * n + i]); }
  float w(index_t i) const { return static_cast<float>(reads["weight"][i]); }

  /// Largest error / bound when every row is computed by `dot(row)`.
  template <class F>
  double worst_share(const std::vector<double>& bound, F&& dot) const {
    double worst = 0;
    for (std::size_t row = 0; row < t().value.size(); ++row) {
      const double error = std::fabs(static_cast<double>(dot(static_cast<index_t>(row))) - t().value[row]);
      worst = std::max(worst, error == 0 ? 0 : bound[row] == 0 ? infinity : error / bound[row]);
    }
    return worst;
  }
  auto sequential() const {
    return [this](index_t row) {
      float sum = 0;
      for (index_t i = 0; i < n; ++i) sum += x(row, i) * w(i);
      return sum;
    };
  }
  auto fused_backwards() const {
    return [this](index_t row) {
      float sum = 0;
      for (index_t i = n - 1; i >= 0; --i) sum = std::fmaf(x(row, i), w(i), sum);
      return sum;
    };
  }
  auto lanes() const {
    return [this](index_t row) {
      std::array<float, 16> sum{};
      for (index_t i = 0; i < n; ++i) sum[static_cast<std::size_t>(i % 16)] += x(row, i) * w(i);
      return std::accumulate(sum.begin(), sum.end(), 0.0F);
    };
  }
  auto inputs_in_bf16() const {
    return [this](index_t row) {
      float sum = 0;
      for (index_t i = 0; i < n; ++i)
        sum += static_cast<float>(bf16(x(row, i))) * static_cast<float>(bf16(w(i)));
      return sum;
    };
  }
  auto without_term(index_t lost) const {
    return [this, lost](index_t row) {
      float sum = 0;
      for (index_t i = 0; i < n; ++i)
        if (i != lost) sum += x(row, i) * w(i);
      return sum;
    };
  }
  auto truncated() const {
    return [this](index_t row) {
      float sum = 0;
      for (index_t i = 0; i < n; ++i) {
        const double exact =
            static_cast<double>(sum) + static_cast<double>(x(row, i)) * static_cast<double>(w(i));
        const auto near = static_cast<float>(exact);
        sum = std::fabs(static_cast<double>(near)) > std::fabs(exact) ? std::nextafterf(near, 0) : near;
      }
      return sum;
    };
  }
};

TEST(bounds, honest_float_stays_inside) {
  for (const index_t n : {1, 2, 3, 9, 27, 64, 576, 4608})
    for (const regime r : {regime::zero_mean, regime::positive})
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        const dot_products d(n, 50, r, "f32", seed);
        ASSERT_TRUE(d.bounds.has_statistical);
        for (const auto* bound : {&d.bounds.statistical, &d.bounds.proven}) {
          ASSERT_LE(d.worst_share(*bound, d.sequential()), 1) << n << name_of(r);
          ASSERT_LE(d.worst_share(*bound, d.fused_backwards()), 1) << n << name_of(r);
          ASSERT_LE(d.worst_share(*bound, d.lanes()), 1) << n << name_of(r);
        }
        for (std::size_t i = 0; i < d.bounds.proven.size(); ++i)
          ASSERT_LE(d.bounds.statistical[i], d.bounds.proven[i]);
      }
}

TEST(bounds, the_proven_bound_is_attained_within_a_factor) {
  const dot_products d(2, 4000, regime::zero_mean, "f32");
  EXPECT_GT(d.worst_share(d.bounds.proven, d.sequential()), 0.3);
}

TEST(bounds, subnormal_products_stay_inside) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const dot_products d(20, 10, regime::special, "f32", seed);
    const auto ordinary = [&](double x) { return std::isfinite(x); };
    if (!std::ranges::all_of(d.t().value, ordinary) ||
        !std::ranges::all_of(d.t().size, [](double s) { return s < 1e38; }))
      continue;
    ASSERT_LE(d.worst_share(d.bounds.proven, d.sequential()), 1) << seed;
    ASSERT_LE(d.worst_share(d.bounds.proven, d.fused_backwards()), 1) << seed;
  }
}

TEST(bounds, lowered_precision_is_seen) {
  for (const index_t n : {9, 64, 576, 4608}) {
    const dot_products zero_mean(n, 50, regime::zero_mean, "f32");
    EXPECT_GT(zero_mean.worst_share(zero_mean.bounds.statistical, zero_mean.inputs_in_bf16()), 10) << n;
  }
  // and on lattice data whenever an operand is wide
  int seen = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const dot_products lattice(576, 20, regime::lattice, "f32", seed);
    ASSERT_EQ(lattice.bounds.exact, 20);
    ASSERT_EQ(lattice.worst_share(lattice.bounds.proven, lattice.sequential()), 0);
    seen += lattice.worst_share(lattice.bounds.proven, lattice.inputs_in_bf16()) > 0 ? 1 : 0;
  }
  EXPECT_GE(seen, 5);
}

TEST(bounds, declared_low_precision_is_inside_its_own_bound) {
  for (const index_t n : {9, 64, 576}) {
    for (const regime r : {regime::zero_mean, regime::positive, regime::lattice}) {
      const dot_products d(n, 50, r, "bf16_f32");
      EXPECT_LE(d.worst_share(d.bounds.proven, d.inputs_in_bf16()), 1);
      EXPECT_LE(d.worst_share(d.bounds.statistical, d.inputs_in_bf16()), 1);
    }
  }
  // bf16 data in a bf16_f32 kernel lose nothing: the bound is that of f32 and of the output.
  const auto on_bf16 = parse_arithmetic("bf16_f32", dtype::bf16).value;
  EXPECT_EQ(on_bf16.input_unit, 0);
  EXPECT_TRUE(on_bf16.output_rounds);
  EXPECT_EQ(parse_arithmetic("tf32", dtype::f16).value.input_unit, 0);
  EXPECT_GT(parse_arithmetic("tf32", dtype::f32).value.input_unit, 0);
}

TEST(bounds, a_lost_term_is_seen) {
  const dot_products d(4608, 50, regime::zero_mean, "f32");
  EXPECT_GT(d.worst_share(d.bounds.statistical, d.without_term(4607)), 1);
  const detection power = detection_power(d.t(), d.bounds);
  EXPECT_TRUE(power.rejects_zero);
  EXPECT_TRUE(power.rejects_lost_term);
  EXPECT_LT(power.smallest_loss, 0.01);
  EXPECT_GT(power.smallest_loss, 0);
}

TEST(bounds, biased_accumulation_shows_on_positive_data) {
  // Truncation after every addition is proven wrong by the statistical threshold from a few thousand terms on.
  const dot_products d(20000, 40, regime::positive, "f32");
  EXPECT_LE(d.worst_share(d.bounds.statistical, d.sequential()), 1);
  EXPECT_GT(d.worst_share(d.bounds.statistical, d.truncated()), 1);
}

TEST(bounds, exact_means_bits) {
  const dot_products d(3, 5, regime::zero_mean, "exact");
  for (const double b : d.bounds.statistical) EXPECT_EQ(b, 0);
  EXPECT_EQ(d.bounds.exact, 5);
  EXPECT_FALSE(d.bounds.has_statistical);
}

TEST(bounds, lattice_beyond_the_accumulator_is_not_exact) {
  truths t;
  t.contraction = t.integral = true;
  t.operand_bits = 12;
  t.value = {100, 100, 100};
  t.size = {0x1p24, 0x1p24 + 1, 100};
  t.terms = {50, 50, 50};
  t.radius = {0, 0, 0};
  t.largest = {50, 50, 50};
  thresholds b;
  evaluate_thresholds(t, parse_arithmetic("f32", dtype::f32).value, {}, regime::lattice, {}, b);
  EXPECT_EQ(b.proven[0], 0);
  EXPECT_GT(b.proven[1], 0);
  evaluate_thresholds(t, parse_arithmetic("f64", dtype::f32).value, {}, regime::lattice, {}, b);
  EXPECT_EQ(b.exact, 3);
  evaluate_thresholds(t, parse_arithmetic("tf32", dtype::f32).value, {}, regime::lattice, {}, b);
  EXPECT_EQ(b.exact, 0);  // tf32 keeps 11 of the 12 bits
}

TEST(bounds, an_empty_sum_is_zero_and_nothing_else) {
  // Stride 2 and a filter of one: every other element of dx has no term.
  const auto l = plumb::bind("conv1d x=1x1x9 weight=1x1x1 stride=2");
  const pass_spec& pass = *l->find_pass("backward_data");
  const auto reads = draw(*l, pass, regime::zero_mean, 1, dtype::f32);
  oracle o;
  thresholds b;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f32)[0];
  evaluate_thresholds(t, parse_arithmetic("f32", dtype::f32).value, {}, regime::zero_mean, {}, b);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_EQ(b.proven[i] == 0, i % 2 == 1);
}

TEST(bounds, unknown_arithmetic_is_named) {
  for (const char* text : {"winograd(3,3)", "winograd(4,3) ", "fft(2)", "F32", "", "f3"}) {
    const auto parsed = parse_arithmetic(text, dtype::f32);
    EXPECT_NE(parsed.error.find("`" + std::string(text) + "`"), std::string::npos);
  }
  EXPECT_EQ(parse_arithmetic("f32", dtype::f64).value.unit, 0x1p-53);
  EXPECT_NE(parse_arithmetic("tf32", dtype::f64).error, "");
}

TEST(bounds, declared_ulps) {
  const auto l = bind("sigmoid x=4");
  tensor_set<double> reads;
  reads.add("x", tensor<double>({4}, {0.0, 2.0, -100.0, -3.0}));
  oracle o;
  const pass_spec& pass = *l->find_pass("forward");
  const truths& t = o.evaluate(*l, pass, reads, dtype::f32)[0];
  thresholds b;
  const arithmetic f32 = parse_arithmetic("f32", dtype::f32).value;
  evaluate_thresholds(t, f32, {.ulps = 4}, regime::zero_mean, {}, b);
  EXPECT_EQ(b.proven[0], 4 * 0x1p-24);  // 0.5 lies in the binade of ulp 2^-24
  EXPECT_EQ(b.proven[1], 4 * 0x1p-24);
  EXPECT_EQ(b.proven[2], 0x1p-126);  // e^-100 is subnormal: absolute
  EXPECT_EQ(b.proven[3], 4 * 0x1p-28);
  evaluate_thresholds(t, f32, {}, regime::zero_mean, {}, b);
  EXPECT_GT(b.proven[1], 0x1p-24);
  EXPECT_LT(b.proven[1], 16 * 0x1p-24);
  EXPECT_GE(b.proven[2], 0x1p-149);
  EXPECT_FALSE(b.has_statistical);
}

TEST(bounds, layers_that_only_move_data_are_held_to_bits) {
  const auto l = bind("relu x=20");
  const pass_spec& pass = *l->find_pass("forward");
  const auto reads = draw(*l, pass, regime::zero_mean, 1, dtype::f32);
  oracle o;
  thresholds b;
  evaluate_thresholds(o.evaluate(*l, pass, reads, dtype::f32)[0], parse_arithmetic("f32", dtype::f32).value,
                      {}, regime::zero_mean, {}, b);
  EXPECT_EQ(b.exact, 20);
}

TEST(bounds, detection_power_of_bits_and_of_nothing) {
  const dot_products bits(27, 9, regime::lattice, "f32");
  detection power = detection_power(bits.t(), bits.bounds);
  EXPECT_EQ(power.smallest_loss, 0);
  EXPECT_TRUE(power.rejects_zero);
  EXPECT_TRUE(power.rejects_lost_term);

  dot_products loose(27, 9, regime::zero_mean, "f32");
  for (double& b : loose.bounds.statistical) b = 1e9;
  power = detection_power(loose.t(), loose.bounds);
  EXPECT_FALSE(power.rejects_zero);
  EXPECT_FALSE(power.rejects_lost_term);
  EXPECT_GT(power.smallest_loss, 1);

  const truths nothing;
  power = detection_power(nothing, {});
  EXPECT_FALSE(power.rejects_zero);
  EXPECT_FALSE(power.rejects_lost_term);
  EXPECT_EQ(power.smallest_loss, infinity);
}

}  // namespace
}  // namespace plumb
