// Regimes: values are representable, legal and reproducible, and each regime has what it is there for.
#include "verify/regimes.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "reference/layers/catalogue.hpp"
#include "reference/scalars/float_format.hpp"
#include "verify/counter_random.hpp"
#include "verify/evaluate.hpp"

namespace plumb {
namespace {

const std::vector<std::string> problems = {
    "conv2d x=2x6x9x7 weight=4x3x3x2 bias=4 groups=2 stride=2x1 pad=1,0,2,1",
    "conv2d x=1x5x6x8 weight=7x5x1x1",
    "conv1d x=2x3x11 weight=4x3x4 dilation=2",
    "relu x=3x4x5",
    "sigmoid x=2x3x4",
    "linear x=4x9 weight=5x9 bias=5",
    "max_pool2d x=2x3x7x8 window=3 stride=2 pad=1",
    "cross_entropy x=3x5x4 target=3x4",
};

template <class F>
void for_each_pass(F&& f) {
  for (const std::string& text : problems) {
    const auto l = plumb::bind(text);
    for (const pass_spec& pass : l->describe().passes) f(*l, pass);
  }
}

bool same(const tensor_set<double>& a, const tensor_set<double>& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (std::size_t k = 0; k < a.entries().size(); ++k) {
    const auto &x = a.entries()[k], &y = b.entries()[k];
    if (x.name != y.name || x.index.values() != y.index.values()) return false;
    for (index_t i = 0; i < x.real.size(); ++i)
      if (!(x.real[i] == y.real[i] || (std::isnan(x.real[i]) && std::isnan(y.real[i])))) return false;
  }
  return true;
}

TEST(counter_random, is_a_function_of_seed_stream_and_number) {
  const counter_random a(1, "x"), b(1, "x"), c(1, "weight"), d(2, "x");
  EXPECT_EQ(a.bits(7), b.bits(7));
  EXPECT_NE(a.bits(7), c.bits(7));
  EXPECT_NE(a.bits(7), d.bits(7));
  double sum = 0, squares = 0, bell = 0, bell_squares = 0;
  std::set<double> distinct;
  constexpr int n = 100000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double u = a.symmetric(i), g = a.bell(i);
    ASSERT_LT(std::fabs(u), 1);
    ASSERT_LT(std::fabs(g), 3.5);
    sum += u;
    squares += u * u;
    bell += g;
    bell_squares += g * g;
    distinct.insert(u);
    ASSERT_LT(a.below(i, 10), 10U);
  }
  EXPECT_NEAR(sum / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.01);
  EXPECT_NEAR(bell / n, 0, 0.02);
  EXPECT_NEAR(bell_squares / n, 1, 0.02);
  EXPECT_EQ(distinct.size(), static_cast<std::size_t>(n));
}

TEST(regimes, names_read_back) {
  for (const regime r : all_regimes) EXPECT_EQ(parse_regime(name_of(r)), r);
  EXPECT_FALSE(parse_regime("latice"));
}

TEST(regimes, give_every_tensor_that_is_read_in_the_order_declared) {
  for_each_pass([](const layer& l, const pass_spec& pass) {
    for (const regime r : all_regimes)
      for (const dtype type : {dtype::f32, dtype::f64, dtype::bf16, dtype::f16}) {
        const auto set = draw(l, pass, r, 5, type);
        std::size_t k = 0;
        for (const std::string& name : pass.reads) {
          if (!l.present(name)) continue;
          ASSERT_LT(k, set.entries().size());
          const auto& e = set.entries()[k++];
          ASSERT_EQ(e.name, name);
          ASSERT_EQ(e.extents(), l.shapes()[name]);
          for (index_t i = 0; i < e.real.size(); ++i)
            ASSERT_TRUE(std::isnan(e.real[i]) || e.real[i] == format_of(type).round(e.real[i]))
                << l.canonical().print() << " " << name_of(r) << " " << name_of(type) << " " << e.real[i];
        }
        ASSERT_EQ(k, set.entries().size());
      }
  });
}

TEST(regimes, are_reproducible_and_depend_on_the_seed) {
  for_each_pass([](const layer& l, const pass_spec& pass) {
    for (const regime r : {regime::lattice, regime::zero_mean, regime::special}) {
      ASSERT_TRUE(same(draw(l, pass, r, 9, dtype::f32), draw(l, pass, r, 9, dtype::f32)));
      ASSERT_FALSE(same(draw(l, pass, r, 9, dtype::f32), draw(l, pass, r, 10, dtype::f32)));
    }
  });
}

TEST(regimes, lattice_sums_are_exact_and_its_operands_wide_often_enough) {
  int cases = 0, wide = 0, rich = 0;
  for (const std::string& text : {problems[0], problems[1], problems[2], problems[5]}) {
    const auto l = plumb::bind(text);
    for (const pass_spec& pass : l->describe().passes) {
      if (pass.contraction->b.empty()) continue;
      for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const auto set = draw(*l, pass, regime::lattice, seed, dtype::f32);
        double largest[2] = {0, 0};
        std::set<double> values;
        int side = 0;
        for (const auto& name : {pass.contraction->a, pass.contraction->b}) {
          for (const double x : set[name].values()) {
            ASSERT_EQ(x, std::nearbyint(x));
            largest[side] = std::max(largest[side], std::fabs(x));
            values.insert(x);
          }
          ++side;
        }
        product_list list;
        for (index_t i = 0; i < l->shapes()[pass.writes[0]].size(); ++i) {
          l->products(pass.name, i, list);
          const double addend = list.addend < 0 ? 0 : std::fabs(set[pass.contraction->addend][list.addend]);
          ASSERT_LE(static_cast<double>(list.terms.size()) * largest[0] * largest[1] + addend, 0x1p24);
        }
        ++cases;
        wide += std::max(largest[0], largest[1]) >= 2048 ? 1 : 0;
        rich += values.size() >= 13 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(wide, cases / 5);
  EXPECT_LT(wide, cases / 3);
  EXPECT_GT(rich, cases * 8 / 10);
}

TEST(regimes, lattice_goes_sparse_for_long_sums) {
  const auto l = plumb::bind("conv2d x=8x2x160x160 weight=2x2x1x1");
  const pass_spec& pass = *l->find_pass("backward_weights");  // 204,800 terms
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    const auto set = draw(*l, pass, regime::lattice, seed, dtype::f32);
    double size = 0, count = 0;
    product_list list;
    l->products(pass.name, 0, list);
    for (const auto& term : list.terms) {
      const double p = set[pass.contraction->a][term.a] * set[pass.contraction->b][term.b];
      size += std::fabs(p);
      count += p != 0 ? 1 : 0;
    }
    ASSERT_LE(size, 0x1p24) << seed;
    ASSERT_GT(count, 1000) << seed;
  }
}

TEST(regimes, impulse_has_one_one) {
  for_each_pass([](const layer& l, const pass_spec& pass) {
    const auto set = draw(l, pass, regime::impulse, 3, dtype::f32);
    int hot = 0;
    for (const auto& e : set.entries()) {
      if (e.is_index) continue;
      double sum = 0, most = 0;
      std::set<double> values;
      for (const double x : e.real.values()) {
        sum += std::fabs(x);
        most = std::max(most, std::fabs(x));
        values.insert(x);
      }
      const auto is_this = [&](const tensor_spec& s) { return s.name == e.name; };
      if (sum == 1 && most == 1) {
        ++hot;
      } else if (std::ranges::none_of(l.describe().outputs, is_this)) {
        EXPECT_EQ(values.size(), static_cast<std::size_t>(e.real.size()));
      }
    }
    EXPECT_GE(hot, 1) << l.canonical().print() << " " << pass.name;
  });
}

TEST(regimes, positive_is_not_negative_and_rectified_on_one_side) {
  const auto l = plumb::bind(problems[0]);
  const pass_spec& pass = l->describe().passes[0];
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const auto set = draw(*l, pass, regime::positive, seed, dtype::f32);
    int rectified = 0;
    for (const auto& e : set.entries()) {
      index_t zeros = 0;
      for (const double x : e.real.values()) {
        ASSERT_GE(x, 0);
        zeros += x == 0 ? 1 : 0;
      }
      const double share = static_cast<double>(zeros) / static_cast<double>(e.real.size());
      rectified += share > 0.3 && share < 0.7 ? 1 : 0;
    }
    EXPECT_EQ(rectified, 1);
  }
}

TEST(regimes, zero_mean_fills_significands) {
  const auto l = plumb::bind(problems[1]);
  const auto set = draw(*l, l->describe().passes[0], regime::zero_mean, 1, dtype::f32);
  index_t full = 0, negative = 0, total = 0;
  for (const double x : set["x"].values()) {
    const float rounded = static_cast<float>(x);
    full += (std::bit_cast<std::uint32_t>(rounded) & 0xfff) != 0 ? 1 : 0;
    negative += x < 0 ? 1 : 0;
    ++total;
  }
  EXPECT_GT(full, total * 9 / 10);
  EXPECT_GT(negative, total / 3);
  EXPECT_LT(negative, total * 2 / 3);
}

TEST(regimes, special_has_everything_over_some_seeds) {
  const auto l = plumb::bind("relu x=10x10");
  bool nan = false, inf = false, subnormal = false, negative_zero = false, largest = false;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const auto set = draw(*l, l->describe().passes[0], regime::special, seed, dtype::f32);
    for (const double x : set["x"].values()) {
      nan |= std::isnan(x);
      inf |= std::isinf(x);
      subnormal |= x != 0 && std::fabs(x) < 0x1p-126;
      negative_zero |= x == 0 && std::signbit(x);
      largest |= std::fabs(x) == format_of(dtype::f32).largest();
    }
  }
  EXPECT_TRUE(nan && inf && subnormal && negative_zero && largest);
}

TEST(regimes, saved_outputs_belong_to_their_inputs) {
  const auto pool = plumb::bind(problems[6]);
  const pass_spec& backward = pool->describe().passes[1];
  const auto set = draw(*pool, backward, regime::zero_mean, 4, dtype::f32);
  const auto& indices = set.indices("indices");
  for (index_t i = 0; i < indices.size(); ++i) {
    ASSERT_GE(indices[i], 0);
    ASSERT_LT(indices[i], 7 * 8);
  }
  const auto s = plumb::bind(problems[4]);
  const auto saved = draw(*s, s->describe().passes[1], regime::zero_mean, 4, dtype::f32);
  for (const double y : saved["y"].values()) {
    ASSERT_GT(y, 0);
    ASSERT_LT(y, 1);
  }
}

TEST(regimes, targets_are_classes_and_sometimes_ignored) {
  const auto l = plumb::bind("cross_entropy x=6x5x9 target=6x9 ignore_index=-3");
  index_t ignored = 0, total = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto set = draw(*l, l->describe().passes[0], regime::zero_mean, seed, dtype::f32);
    for (const index_t t : set.indices("target").values()) {
      ASSERT_TRUE(t == -3 || (t >= 0 && t < 5));
      ignored += t == -3 ? 1 : 0;
      ++total;
    }
  }
  EXPECT_GT(ignored, 0);
  EXPECT_LT(ignored, total / 3);
}

}  // namespace
}  // namespace plumb
