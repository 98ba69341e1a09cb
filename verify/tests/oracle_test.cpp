// The oracle against exact rationals and 100 digits, on every element: the radius covers the distance to the
// truth, S and n are what the definition says, refinement is exact, samples and threads change nothing.
#include "verify/oracle.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "reference/layers/catalogue.hpp"
#include "reference/scalars/multiprecision.hpp"
#include "verify/evaluate.hpp"
#include "verify/regimes.hpp"

namespace plumb {
namespace {

const std::vector<std::string> contractions = {
    "conv2d x=2x6x9x7 weight=4x3x3x2 bias=4 groups=2 stride=2x1 pad=1,0,2,1",
    "conv2d x=1x5x6x8 weight=7x5x1x1",
    "conv1d x=2x3x11 weight=4x3x4 dilation=2 bias=4 flip=true",
    "conv3d x=1x2x4x3x5 weight=3x2x2x1x3 stride=1x2x1 pad=1",
    "linear x=4x9 weight=5x9 bias=5",
};

template <class F>
void for_each_case(const std::vector<std::string>& problems, std::initializer_list<regime> regimes,
                   std::initializer_list<dtype> types, F&& f) {
  for (const std::string& text : problems) {
    const auto l = plumb::bind(text);
    for (const pass_spec& pass : l->describe().passes)
      for (const regime r : regimes)
        for (const dtype type : types)
          for (std::uint64_t seed = 1; seed <= 3; ++seed) f(*l, pass, draw(*l, pass, r, seed, type), type);
  }
}

/// |value - truth| ≤ radius for every element; returns how many times the error came within 1/1000 of it.
template <class T>
int expect_covered(const truths& t, const tensor<T>& exact) {
  int near = 0;
  for (index_t i = 0; i < t.count(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const T distance = abs(exact[t.element(i)] - T(t.value[at]));
    EXPECT_LE(distance, T(t.radius[at])) << t.name << " " << i;
    near += distance * 1000 > T(t.radius[at]) ? 1 : 0;
  }
  return near;
}

#ifndef PLUMB_FEW_SCALARS
TEST(oracle, radius_covers_every_element_of_a_contraction) {
  oracle o;
  int near = 0;
  for_each_case(contractions, {regime::zero_mean, regime::positive, regime::lattice},
                {dtype::f32, dtype::f64, dtype::bf16},
                [&](const layer& l, const pass_spec& pass, const tensor_set<double>& reads, dtype type) {
                  const auto& results = o.evaluate(l, pass, reads, type);
                  const auto exact = evaluate_pass<rational>(
                      l, pass, reads.map<rational>([](double x) { return rational(x); }));
                  ASSERT_EQ(results.size(), 1U);
                  ASSERT_TRUE(results[0].contraction);
                  ASSERT_EQ(results[0].count(), l.shapes()[pass.writes[0]].size());
                  near += expect_covered(results[0], exact[pass.writes[0]]);
                  for (std::size_t i = 0; i < results[0].radius.size(); ++i)
                    ASSERT_LE(results[0].radius[i], 1e-12 * results[0].size[i] + 1e-300);
                });
  EXPECT_GT(near, 1000);
}

TEST(oracle, radius_is_needed) {
  // A tenth of it would not cover: the law above can fail.
  oracle o;
  int uncovered = 0;
  for_each_case(contractions, {regime::zero_mean}, {dtype::f64},
                [&](const layer& l, const pass_spec& pass, const tensor_set<double>& reads, dtype type) {
                  const truths& t = o.evaluate(l, pass, reads, type)[0];
                  const auto exact = evaluate_pass<rational>(
                      l, pass, reads.map<rational>([](double x) { return rational(x); }));
                  for (index_t i = 0; i < t.count(); ++i) {
                    const auto at = static_cast<std::size_t>(i);
                    const rational distance = abs(exact[t.name][i] - rational(t.value[at]));
                    uncovered += distance > rational(t.radius[at] / 10) ? 1 : 0;
                  }
                });
  EXPECT_GT(uncovered, 100);
}

TEST(oracle, extreme_doubles_are_covered_too) {
  // Products that overflow or vanish in double, and sums that cancel completely.
  const auto l = plumb::bind("linear x=3x4 weight=2x4");
  const pass_spec& pass = *l->find_pass("forward");
  tensor_set<double> reads;
  reads.add("x", tensor<double>({3, 4}, {0x1p1000, -0x1p1000, 1, 0x1p-60,           //
                                         0x1p-600, 0x1p-600, -0x1p-600, 0x1p-1074,  //
                                         0x1.fffffffffffffp1023, 3, -0x1p52, 7}));
  reads.add("weight", tensor<double>({2, 4}, {0x1p1000, 0x1p1000, 1, 1, 0x1p-500, 0x1p-470, 1, 0x1p-1074}));
  oracle o;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f64)[0];
  const auto exact =
      evaluate_pass<rational>(*l, pass, reads.map<rational>([](double x) { return rational(x); }));
  for (index_t i = 0; i < t.count(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (!std::isfinite(t.value[at])) {
      EXPECT_GT(abs(exact["y"][i]), rational(std::numeric_limits<double>::max()));
      continue;
    }
    EXPECT_LE(abs(exact["y"][i] - rational(t.value[at])), rational(t.radius[at])) << i;
  }
  EXPECT_EQ(t.value[0], 1);
}

TEST(oracle, refinement_is_exact) {
  oracle o;
  index_t asked = 0;
  for_each_case(contractions, {regime::zero_mean}, {dtype::f32, dtype::f64},
                [&](const layer& l, const pass_spec& pass, const tensor_set<double>& reads, dtype type) {
                  const truths& t = o.evaluate(l, pass, reads, type)[0];
                  const auto exact = evaluate_pass<rational>(
                      l, pass, reads.map<rational>([](double x) { return rational(x); }));
                  for (index_t i = 0; i < std::min<index_t>(t.count(), 20); ++i) {
                    const double got =
                        static_cast<double>(static_cast<float>(t.value[static_cast<std::size_t>(i)]));
                    const refinement r = o.refine(0, i, got);
                    ++asked;
                    ASSERT_TRUE(r.sure);
                    ASSERT_EQ(r.value, static_cast<double>(exact[t.name][i]));
                    ASSERT_EQ(r.error, static_cast<double>(rational(abs(exact[t.name][i] - rational(got)))));
                  }
                });
  EXPECT_EQ(o.escalations(), asked);
}

TEST(oracle, definitions_are_covered_by_100_digits) {
  oracle o;
  int near = 0;
  for_each_case(
      {"sigmoid x=5x7", "relu x=40", "max_pool2d x=2x3x7x8 window=3 stride=2 pad=1",
       "cross_entropy x=4x6x3 target=4x3", "cross_entropy x=5x4 target=5 weight=4 label_smoothing=0.1"},
      {regime::zero_mean, regime::positive, regime::lattice}, {dtype::f32},
      [&](const layer& l, const pass_spec& pass, const tensor_set<double>& reads, dtype type) {
        const auto& results = o.evaluate(l, pass, reads, type);
        const auto exact = evaluate_pass<mp100>(l, pass, reads.map<mp100>([](double x) { return mp100(x); }));
        for (const truths& t : results) {
          if (t.is_index)
            ASSERT_EQ(t.index, exact.indices(t.name).values());
          else if (std::isfinite(t.value.empty() ? 0.0 : t.value[0]))
            near += expect_covered(t, exact[t.name]);
        }
      });
  EXPECT_GT(near, 100);
}

TEST(oracle, definitions_are_refined_in_many_digits) {
  const auto l = plumb::bind("sigmoid x=9");
  const pass_spec& pass = *l->find_pass("forward");
  const auto reads = draw(*l, pass, regime::zero_mean, 2, dtype::f32);
  oracle o;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f32)[0];
  const auto exact = evaluate_pass<mp100>(*l, pass, reads.map<mp100>([](double x) { return mp100(x); }));
  for (index_t i = 0; i < t.count(); ++i) {
    const refinement r = o.refine(0, i, t.value[static_cast<std::size_t>(i)] + 1e-12);
    EXPECT_TRUE(r.sure);
    EXPECT_EQ(r.value, static_cast<double>(exact["y"][i]));
    EXPECT_NEAR(r.error, 1e-12, 1e-15);
  }
}
#endif

TEST(oracle, sizes_terms_and_largest_terms) {
  const auto l = plumb::bind("conv2d x=1x2x3x3 weight=1x2x2x2 bias=1 pad=1");
  const pass_spec& pass = *l->find_pass("forward");
  tensor_set<double> reads;
  tensor<double> x({1, 2, 3, 3}), weight({1, 2, 2, 2});
  for (index_t i = 0; i < 18; ++i) x[i] = static_cast<double>(i % 2 == 0 ? i : -i);
  for (index_t i = 0; i < 8; ++i) weight[i] = 0.5;
  reads.add("x", std::move(x));
  reads.add("weight", std::move(weight));
  reads.add("bias", tensor<double>({1}, {-4.0}));
  oracle o;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f32)[0];
  EXPECT_EQ(t.terms[0], 3);  // the corner: one tap of two channels, and the bias
  EXPECT_EQ(t.size[0], 0.5 * (0 + 9) + 4);
  EXPECT_EQ(t.value[0], 0.5 * (0 - 9) - 4);
  EXPECT_EQ(t.largest[0], 4.5);
  EXPECT_EQ(t.terms[5], 9);
  EXPECT_EQ(t.most_terms, 9);
  EXPECT_FALSE(t.integral);
}

TEST(oracle, integers_are_exact) {
  const auto l = plumb::bind(contractions[0]);
  const pass_spec& pass = *l->find_pass("forward");
  oracle o;
  const auto reads = draw(*l, pass, regime::lattice, 1, dtype::f32);
  const truths& t = o.evaluate(*l, pass, reads, dtype::f32)[0];
  EXPECT_TRUE(t.integral);
  EXPECT_GT(t.operand_bits, 2);
  for (const double r : t.radius) EXPECT_EQ(r, 0);
}

TEST(oracle, samples_and_threads_change_nothing) {
  const auto l = plumb::bind("conv2d x=2x16x20x20 weight=24x16x3x3 bias=24 pad=1");
  for (const pass_spec& pass : l->describe().passes) {
    const auto reads = draw(*l, pass, regime::zero_mean, 8, dtype::f32);
    oracle one, two, some;
    const truths a = one.evaluate(*l, pass, reads, dtype::f32, 1)[0];
    const truths& b = two.evaluate(*l, pass, reads, dtype::f32, 3)[0];
    EXPECT_EQ(a.value, b.value);
    EXPECT_EQ(a.size, b.size);
    EXPECT_EQ(a.radius, b.radius);
    const std::vector<index_t> elements = {a.count() - 1, 0, a.count() / 2};
    const truths& c = some.evaluate_some(*l, pass, reads, dtype::f32, elements, 2)[0];
    ASSERT_EQ(c.count(), 3);
    for (index_t i = 0; i < 3; ++i) {
      EXPECT_EQ(c.element(i), elements[static_cast<std::size_t>(i)]);
      const auto at = static_cast<std::size_t>(elements[static_cast<std::size_t>(i)]);
      EXPECT_NEAR(c.value[static_cast<std::size_t>(i)], a.value[at], 2 * a.radius[at]);
      EXPECT_EQ(c.terms[static_cast<std::size_t>(i)], a.terms[at]);
    }
  }
}

TEST(oracle, one_object_serves_many_problems) {
  oracle o;
  for (int round = 0; round < 2; ++round)
    for (const char* text : {"conv2d x=2x3x5x5 weight=4x3x3x3", "relu x=3", "linear x=2x3 weight=4x3",
                             "max_pool2d x=1x1x4x4 window=2", "conv2d x=0x3x5x5 weight=4x3x3x3",
                             "row_conv1d x=0x3x5 weight=3x1x2"}) {
      const auto l = plumb::bind(text);
      const pass_spec& pass = l->describe().passes[0];
      const auto reads = draw(*l, pass, regime::zero_mean, 8, dtype::f32);
      const auto& results = o.evaluate(*l, pass, reads, dtype::f32);
      const auto plain = evaluate_pass<double>(*l, pass, reads);
      ASSERT_EQ(results.size(), pass.writes.size());
      for (const truths& t : results) {
        ASSERT_EQ(t.count(), plain.at(t.name).extents().size());
        for (std::size_t i = 0; i < t.value.size(); ++i)
          ASSERT_NEAR(t.value[i], plain[t.name][static_cast<index_t>(i)], 1e-12);
        ASSERT_EQ(t.index, plain.at(t.name).index.values());
      }
    }
}

TEST(oracle, non_finite_data_have_the_class_of_ieee_arithmetic) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto l = plumb::bind("linear x=6x2 weight=1x2");
  const pass_spec& pass = *l->find_pass("forward");
  tensor_set<double> reads;
  reads.add("x", tensor<double>({6, 2},
                                {infinity, 1, -infinity, 1, infinity, -infinity, nan, 1, 1, infinity, 1, 2}));
  reads.add("weight", tensor<double>({1, 2}, {2, 1}));
  oracle o;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f32)[0];
  EXPECT_EQ(t.value[0], infinity);
  EXPECT_EQ(t.value[1], -infinity);
  EXPECT_TRUE(std::isnan(t.value[2]));
  EXPECT_TRUE(std::isnan(t.value[3]));
  EXPECT_EQ(t.value[4], infinity);
  EXPECT_EQ(t.value[5], 4);
  EXPECT_TRUE(t.non_finite);
  EXPECT_FALSE(t.integral);
  const refinement r = o.refine(0, 0, nan);
  EXPECT_TRUE(r.non_finite);
  EXPECT_EQ(r.finite_size, 1);
  EXPECT_EQ(r.value, infinity);
}

#ifndef PLUMB_FEW_SCALARS
/// Batch normalisation backward: half the range of f64 times 2, halved again. The NaN of another channel changes nothing.
TEST(oracle, what_leaves_the_range_of_f64_on_the_way_is_refined_beside_a_nan) {
  const auto l = plumb::bind("batch_norm x=1x2x2 gamma=2 mode=train");
  const pass_spec& pass = *l->find_pass("backward");
  tensor_set<double> reads = draw(*l, pass, regime::lattice, 1, dtype::f64);
  for (auto& e : reads.entries())
    for (index_t i = 0; i < e.real.size(); ++i) e.real[i] = 0;
  reads.at("dy").real[1] = 0x1p1023;
  reads.at("mean").real[0] = reads.at("invstd").real[0] = reads.at("gamma").real[0] = 1;
  reads.at("invstd").real[1] = std::numeric_limits<double>::quiet_NaN();
  oracle o;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f64)[0];
  EXPECT_EQ(t.name, "dx");
  EXPECT_EQ(t.value[0], -0x1p1023);
  EXPECT_TRUE(std::isinf(t.allowance[0])) << "a kernel may leave the range as well";
  EXPECT_TRUE(std::isnan(t.value[2]));
}

/// Instance normalisation: x² leaves the range of f64 and the result is 0; in many digits it is inf. Either will do.
TEST(oracle, infinite_by_one_way_and_zero_by_another_may_be_anything) {
  const auto l = plumb::bind("instance_norm x=1x2x7 gamma=2");
  const pass_spec& pass = *l->find_pass("forward");
  tensor_set<double> reads = draw(*l, pass, regime::lattice, 1, dtype::f64);
  for (auto& e : reads.entries())
    for (index_t i = 0; i < e.real.size(); ++i) e.real[i] = 0;
  reads.at("x").real[5] = std::numeric_limits<double>::infinity();
  reads.at("x").real[13] = 0x1p513;
  reads.at("gamma").real[1] = 0x1.cp1022;
  oracle o;
  const truths& t = o.evaluate(*l, pass, reads, dtype::f64)[0];
  EXPECT_TRUE(std::isinf(t.allowance[13]));
  EXPECT_TRUE(std::isfinite(t.value[13]));
  EXPECT_TRUE(std::isnan(t.value[5]));
}
#endif

/// relu(x) over ±0 and what lies beside it: only the maximum of -0 and +0 may have either sign.
TEST(oracle, knows_which_zeros_have_a_sign) {
  const auto l = plumb::bind(std::string_view("relu x=4"));
  const pass_spec& forward = l->describe().passes[0];
  tensor_set<double> reads;
  reads.add("x", tensor<double>(shape{4}, {-3, 0.0, -0.0, 2}));
  oracle o;
  ASSERT_TRUE(o.evaluate(*l, forward, reads, dtype::f32)[0].selects);
  EXPECT_TRUE(o.zero_sign_settled(0, 0));
  EXPECT_TRUE(o.zero_sign_settled(0, 1));
  EXPECT_FALSE(o.zero_sign_settled(0, 2));
  const auto pool = plumb::bind(std::string_view("max_pool1d x=1x1x6 window=2"));
  tensor_set<double> cells;
  cells.add("x", tensor<double>(shape{1, 1, 6}, {-0.0, -1, 0.0, -0.0, -0.0, -0.0}));
  const truths& y = o.evaluate(*pool, pool->describe().passes[0], cells, dtype::f32)[0];
  EXPECT_TRUE(std::signbit(y.value[0]));
  EXPECT_TRUE(o.zero_sign_settled(0, 0));
  EXPECT_FALSE(o.zero_sign_settled(0, 1));
  EXPECT_TRUE(o.zero_sign_settled(0, 2));
  const auto sum = plumb::bind(std::string_view("add x0=1 x1=1"));
  tensor_set<double> addends;
  addends.add("x0", tensor<double>(shape{1}, {0.0}));
  addends.add("x1", tensor<double>(shape{1}, {0.0}));
  o.evaluate(*sum, sum->describe().passes[0], addends, dtype::f32);
  EXPECT_FALSE(o.zero_sign_settled(0, 0));
}

}  // namespace
}  // namespace plumb
