// Sums whose order, format and rounding are known because they are written here, and what the fingerprint says of
// them. Then the same sums under names that promise something else.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "reference/scalars/float_format.hpp"
#include "verify/fingerprint/traits.hpp"

namespace plumb::fingerprint {
namespace {

using numbers = std::vector<double>;
using kind = tree_shape::kind;

constexpr float_format f32 = {24, -149, 127}, f16 = {11, -24, 15}, bf16_format = {8, -133, 127},
                       tf32 = {11, -136, 127};

/// How the machine of a test does its arithmetic.
struct unit {
  float_format inputs = f32;
  float_format sums = f32;
  bool fused = true;
  bool flush = false;     ///< subnormal f32 results become zero
  bool truncate = false;  ///< sums are cut off toward zero

  double stored(double x) const {
    double r = sums.round(x);
    if (truncate && std::fabs(r) > std::fabs(x)) r = std::copysign(std::fabs(r) - sums.ulp(x), r);
    return flush && std::fabs(r) < 0x1p-126 ? 0 : r;
  }
  double in(double x) const { return flush && std::fabs(x) < 0x1p-126 ? 0 : inputs.round(x); }
  double times(double a, double b) const { return stored(in(a)*in(b)); }
  double plus(double s, double t) const { return stored(s + t); }
  /// s + a·b. Fused: an exact product of two 24-bit numbers fits a double, and their sum is exact in the cases asked.
  double add(double s, double a, double b) const {
    return fused ? stored(static_cast<double>(static_cast<long double>(s) +
                                              static_cast<long double>(in(a)) * in(b)))
                 : plus(s, times(a, b));
  }
};

/// A dot product in some order: f(a, b) over all terms.
class machine final : public summation {
 public:
  using dot = std::function<double(const numbers& a, const numbers& b)>;
  machine(index_t terms, dot f) : terms_(terms), f_(std::move(f)) {}
  index_t terms() const override { return terms_; }
  bool has_b() const override { return true; }
  numbers answer(std::span<const question> questions) override {
    numbers answers;
    for (const question& q : questions) {
      asked += 1;
      answers.push_back(f32.round(f_(q.a, q.b.size() == 1 ? numbers(q.a.size(), q.b.front()) : q.b)));
    }
    return answers;
  }
  std::int64_t asked = 0;

 private:
  index_t terms_;
  dot f_;
};

/// Terms first, first + step, … below end, one after the other.
double in_turn(const unit& u, const numbers& a, const numbers& b, std::size_t first, std::size_t end,
               std::size_t step = 1, double sum = 0) {
  for (std::size_t i = first; i < end; i += step) sum = u.add(sum, a[i], b[i]);
  return sum;
}
/// A balanced tree over parts.
double joined(const unit& u, numbers parts) {
  while (parts.size() > 1) {
    numbers half;
    for (std::size_t i = 0; i + 1 < parts.size(); i += 2) half.push_back(u.plus(parts[i], parts[i + 1]));
    if (parts.size() % 2 == 1) half.push_back(parts.back());
    parts = std::move(half);
  }
  return parts.front();
}

machine::dot sequential(unit u = {}) {
  return [u](const numbers& a, const numbers& b) { return in_turn(u, a, b, 0, a.size()); };
}
machine::dot backwards(unit u = {}) {
  return [u](const numbers& a, const numbers& b) {
    double sum = 0;
    for (std::size_t i = a.size(); i-- > 0;) sum = u.add(sum, a[i], b[i]);
    return sum;
  };
}
machine::dot lanes(std::size_t count, unit u = {}) {  // and the rest in turn, as a scalar tail does
  return [count, u](const numbers& a, const numbers& b) {
    const std::size_t whole = a.size() / count * count;
    numbers parts;
    for (std::size_t l = 0; l < count; ++l) parts.push_back(in_turn(u, a, b, l, whole, count));
    return in_turn(u, a, b, whole, a.size(), 1, joined(u, parts));
  };
}
machine::dot pairwise(std::size_t base, unit u = {}) {
  return [base, u](const numbers& a, const numbers& b) {
    const std::function<double(std::size_t, std::size_t)> sum = [&](std::size_t first, std::size_t end) {
      if (end - first <= base) return in_turn(u, a, b, first, end);
      const std::size_t middle = first + (end - first) / 2;
      return u.plus(sum(first, middle), sum(middle, end));
    };
    return sum(0, a.size());
  };
}
machine::dot blocked(std::size_t size, unit u = {}) {
  return [size, u](const numbers& a, const numbers& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); i += size)
      sum = u.plus(sum, in_turn(u, a, b, i, std::min(i + size, a.size())));
    return sum;
  };
}
machine::dot split(std::size_t parts, unit u = {}) {
  return [parts, u](const numbers& a, const numbers& b) {
    numbers sums;
    for (std::size_t p = 0; p < parts; ++p)
      sums.push_back(in_turn(u, a, b, a.size() * p / parts, a.size() * (p + 1) / parts));
    return joined(u, sums);
  };
}
/// Four products at a time, aligned with the largest of them and the sum, what hangs below cut off: a fused adder.
double blocks_of_four(const numbers& a, const numbers& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); i += 4) {
    numbers parts = {sum};
    for (std::size_t j = i; j < std::min(i + 4, a.size()); ++j) parts.push_back(a[j] * b[j]);
    double largest = 0, exact = 0;
    for (const double p : parts) largest = std::max(largest, std::fabs(p));
    const double step = largest == 0 ? 1 : std::ldexp(1.0, std::ilogb(largest) - 26);
    for (const double p : parts) exact += std::trunc(p / step);
    sum = f32.round(exact * step);
  }
  return sum;
}

traits seen(index_t terms, machine::dot f) {
  machine m(terms, std::move(f));
  return examine(m, 24);
}

TEST(summation_tree, a_sequential_sum_in_either_direction) {
  for (const auto& f : {sequential(), backwards()}) {
    const traits t = seen(150, f);
    ASSERT_TRUE(t.tree.has_value()) << t.no_tree;
    EXPECT_EQ(t.shape.what, kind::sequential);
    EXPECT_EQ(t.shape.text, "150 terms in turn");
    EXPECT_EQ(t.roundings(), 150);
  }
}

TEST(summation_tree, lanes_with_and_without_a_tail) {
  const traits even = seen(160, lanes(8));
  EXPECT_EQ(even.shape.text, "8 lanes of 20 terms in turn, joined pairwise");
  EXPECT_EQ(even.shape.what, kind::lanes);
  EXPECT_EQ(even.roundings(), 20 + 3);  // ⌈n/L⌉ + ⌈log₂L⌉
  const traits odd = seen(163, lanes(16));
  EXPECT_EQ(odd.shape.text, "16 lanes of 10 terms in turn, joined pairwise, then 3 more in turn");
  EXPECT_EQ(odd.shape.parts, 16);
}

TEST(summation_tree, pairwise_down_to_one_and_to_blocks) {
  const traits fine = seen(128, pairwise(1));
  EXPECT_EQ(fine.shape.what, kind::pairwise) << fine.shape.text;
  EXPECT_EQ(fine.roundings(), 8);
  const traits coarse = seen(512, pairwise(8));
  EXPECT_EQ(coarse.shape.what, kind::pairwise) << coarse.shape.text;
  EXPECT_EQ(coarse.shape.block, 8);
  EXPECT_EQ(seen(200, pairwise(1)).shape.what, kind::pairwise);
}

TEST(summation_tree, blocks_and_splits_are_told_apart_by_a_shorter_sum) {
  const auto shape = [](auto make, std::size_t number) {
    return told_apart(seen(360, make(number, unit{})).shape, seen(240, make(number, unit{})).shape);
  };
  const tree_shape b = shape(blocked, 60);
  EXPECT_EQ(b.what, kind::blocked) << b.text;
  EXPECT_EQ(b.block, 60);
  const tree_shape s = shape(split, 4);
  EXPECT_EQ(s.what, kind::split) << s.text;
  EXPECT_EQ(s.text, "split in 4 of 90 terms in turn, joined pairwise");
  EXPECT_EQ(s.parts, 4);
}

TEST(summation_tree, a_rest_that_is_shared_out) {
  const traits t = seen(260, [](const numbers& a, const numbers& b) {
    const unit u;
    double sum = in_turn(u, a, b, 0, 120);
    sum = u.plus(sum, in_turn(u, a, b, 120, 190));
    return u.plus(sum, in_turn(u, a, b, 190, 260));
  });
  EXPECT_EQ(t.shape.text, "3 blocks of up to 120 terms in turn, joined in turn");
}

TEST(summation_tree, lanes_within_blocks_and_fused_blocks) {
  const traits t = seen(256, [](const numbers& a, const numbers& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); i += 64) {
      const numbers x(a.begin() + static_cast<std::ptrdiff_t>(i),
                      a.begin() + static_cast<std::ptrdiff_t>(i) + 64);
      const numbers y(b.begin() + static_cast<std::ptrdiff_t>(i),
                      b.begin() + static_cast<std::ptrdiff_t>(i) + 64);
      sum = unit().plus(sum, lanes(4)(x, y));
    }
    return sum;
  });
  EXPECT_NE(t.shape.text.find("4 lanes of 16 terms in turn"), std::string::npos) << t.shape.text;
  EXPECT_EQ(t.shape.parts, 4);
  EXPECT_EQ(t.shape.block, 64);
  const traits fused = seen(64, blocks_of_four);
  EXPECT_EQ(fused.shape.text, "64 terms in turn, 4 at a time");
  EXPECT_EQ(fused.roundings(), 17);
}

TEST(summation_tree, takes_few_questions) {
  machine m(864, sequential());
  examine(m, 24);
  EXPECT_LT(m.asked, 30'000);
}

TEST(summation_tree, what_is_no_sum_of_the_terms_has_none) {
  // Sums of neighbours first and their differences next, as a Winograd transform does: the answers fit no tree.
  const traits t = seen(64, [](const numbers& a, const numbers& b) {
    const unit u;
    double sum = 0;
    for (std::size_t i = 0; i + 1 < a.size(); i += 2) {
      const double plus = u.plus(a[i], a[i + 1]), minus = u.plus(a[i], -a[i + 1]);
      sum = u.plus(sum, u.times(plus, b[i]));
      sum = u.plus(sum, u.times(minus, 0.25));
    }
    return sum;
  });
  EXPECT_FALSE(t.tree.has_value());
  EXPECT_FALSE(t.no_tree.empty());
  const traits exact = seen(40, [](const numbers& a, const numbers& b) {
    double kept = 0, large = 0;  // M cancels exactly: compensated
    for (std::size_t i = 0; i < a.size(); ++i) (std::fabs(a[i]) > 0x1p90 ? large : kept) += a[i] * b[i];
    return kept + large;
  });
  EXPECT_FALSE(exact.tree.has_value() && exact.shape.what == kind::sequential);
}

TEST(traits, formats_products_and_subnormals) {
  const traits plain = seen(60, sequential());
  EXPECT_EQ(in_words(plain), "inputs f32, products fused, sums f32 to nearest, subnormals kept");
  EXPECT_EQ(in_words(seen(60, sequential({.fused = false}))),
            "inputs f32, products rounded, sums f32 to nearest, subnormals kept");
  EXPECT_EQ(seen(64, lanes(8, {.fused = true})).product, products::fused);
  EXPECT_EQ(seen(64, lanes(8, {.fused = false})).product, products::rounded);
  EXPECT_EQ(seen(64, split(4, {.fused = false})).product, products::rounded);
  EXPECT_EQ(seen(64, blocked(16, {.fused = true})).product, products::fused);
  EXPECT_EQ(seen(64, pairwise(8, {.fused = true})).product, products::fused);
  EXPECT_EQ(in_words(seen(60, sequential({.inputs = tf32}))),
            "inputs tf32, products exact, sums f32 to nearest, subnormals kept");
  EXPECT_EQ(in_words(seen(60, sequential({.inputs = bf16_format}))),
            "inputs bf16, products exact, sums f32 to nearest, subnormals kept");
  const traits half = seen(60, sequential({.inputs = f16}));
  EXPECT_TRUE(half.narrow_range);
  EXPECT_EQ(in_words(half), "inputs f16, products exact, sums f32 to nearest, subnormals kept");
  EXPECT_EQ(half.shape.what, kind::sequential) << half.no_tree;
  EXPECT_TRUE(seen(60, sequential({.flush = true})).flushes_inputs);
  EXPECT_EQ(seen(60, sequential({.sums = f16})).accumulator_bits, 11);
  EXPECT_EQ(seen(60, sequential({.sums = bf16_format})).accumulator_bits, 8);
  EXPECT_EQ(seen(60, sequential({.sums = {53, -1074, 1023}})).accumulator_bits, 53);
  EXPECT_TRUE(seen(60, sequential({.truncate = true})).truncates);
  EXPECT_FALSE(plain.truncates);
}

TEST(traits, a_narrow_accumulator_still_shows_its_tree) {
  EXPECT_EQ(seen(100, lanes(8, {.sums = bf16_format})).shape.what, kind::lanes);
  EXPECT_EQ(seen(100, sequential({.sums = f16})).shape.what, kind::sequential);
}

/// What is wrong with calling it `arithmetic`; empty: nothing.
std::string accused(const machine::dot& f, std::string_view arithmetic, index_t terms = 96) {
  return contradiction(seen(terms, f), arithmetic, dtype::f32);
}

TEST(contradiction, planted_kernels_are_accused) {
  EXPECT_NE(accused(sequential({.inputs = tf32}), "f32").find("11 significant bits of its inputs (tf32)"),
            std::string::npos);
  EXPECT_NE(accused(sequential({.inputs = bf16_format}), "tf32"), "");
  EXPECT_NE(accused(sequential({.sums = f16}), "f32").find("adds in 11 significant bits"), std::string::npos);
  EXPECT_NE(accused(sequential({.inputs = f16, .sums = f16}), "f16_f32"), "");
  EXPECT_NE(accused(lanes(8, {.sums = bf16_format}), "bf16_f32"), "");
  EXPECT_NE(accused(sequential({.flush = true}), "f32").find("subnormal"), std::string::npos);
  EXPECT_NE(accused(sequential({.truncate = true}), "f32").find("cut off"), std::string::npos);
  EXPECT_NE(accused(pairwise(1), "f32(sequential)").find("but adds pairwise"), std::string::npos);
  EXPECT_NE(accused(lanes(8), "f32(lanes=16)"), "");
  EXPECT_NE(accused(sequential(), "f32(pairwise)"), "");
  EXPECT_NE(accused(split(4), "f32(split=2)"), "");
}

TEST(contradiction, honest_kernels_are_not) {
  EXPECT_EQ(accused(sequential(), "f32"), "");
  EXPECT_EQ(accused(sequential({.fused = false}), "f32"), "");
  EXPECT_EQ(accused(lanes(16), "f32"), "");
  EXPECT_EQ(accused(pairwise(8), "f32"), "");
  EXPECT_EQ(accused(sequential(), "f32(sequential)"), "");
  EXPECT_EQ(accused(lanes(8), "f32(lanes=8)"), "");
  EXPECT_EQ(accused(pairwise(1), "f32(pairwise)"), "");
  EXPECT_EQ(accused(split(4), "f32(split=4)"), "");
  EXPECT_EQ(accused(sequential({.inputs = tf32}), "tf32"), "");
  EXPECT_EQ(accused(sequential({.inputs = bf16_format}), "bf16_f32"), "");
  EXPECT_EQ(accused(sequential({.inputs = f16}), "f16_f32"), "");
  EXPECT_EQ(accused(sequential(), "bf16_f32"), "");  // finer than promised
  EXPECT_EQ(accused(sequential({.sums = {53, -1074, 1023}}), "f32"), "");
}

TEST(contradiction, transforms_promise_no_width_but_keep_subnormals) {
  traits seen;
  seen.a_bits = 2;
  seen.b_bits = 6;
  seen.accumulator_bits = 1;  // what a kernel of four outputs a tile looks like
  EXPECT_EQ(contradiction(seen, "winograd(4,3)", dtype::f32), "");
  EXPECT_NE(contradiction(seen, "f32", dtype::f32), "");
  seen.flushes_results = true;
  EXPECT_NE(contradiction(seen, "winograd(4,3)", dtype::f32).find("subnormal"), std::string::npos);
}

TEST(contradiction, unknown_words_are_named) {
  EXPECT_NE(parse_declared("f32(lane=8)").error.find("f32(lane=8)"), std::string::npos);
  EXPECT_NE(parse_declared("f32(lanes=0)").error, "");
  EXPECT_NE(parse_declared("f32(lanes=8").error, "");
  EXPECT_EQ(parse_declared("winograd(4,3)").format, "winograd(4,3)");
  EXPECT_EQ(parse_declared("f32").error, "");
}

}  // namespace
}  // namespace plumb::fingerprint
