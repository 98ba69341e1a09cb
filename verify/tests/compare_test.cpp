// Every rule of the comparison, each seen failing: one wrong element at the first, a middle and the last
// place, NaN, infinities, zeros, empty tensors, strides, narrow outputs, and elements left open by the
// radius.
#include "verify/compare.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace plumb {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
const double nan = std::numeric_limits<double>::quiet_NaN();

/// `count` elements with truth 1 + i/8, S twice that, and the bounds given.
struct fixture {
  truths t;
  thresholds bounds;
  tensor<float> got;
  comparison result;

  explicit fixture(const shape& extents = {3, 5}, double statistical = 1e-3, double proven = 1e-2)
      : got(extents) {
    t.name = "y";
    t.extents = extents;
    t.contraction = true;
    t.most_terms = t.full_terms = 4;
    const auto n = static_cast<std::size_t>(extents.size());
    for (std::size_t i = 0; i < n; ++i) t.value.push_back(1 + 0.125 * static_cast<double>(i));
    t.radius.assign(n, 0.0);
    t.terms.assign(n, 4.0);
    for (const double v : t.value) t.size.push_back(2 * v);
    t.largest = t.value;
    bounds.statistical.assign(n, statistical);
    bounds.proven.assign(n, proven);
    reset();
  }
  void reset() {
    for (index_t i = 0; i < got.size(); ++i)
      got[i] = static_cast<float>(t.value[static_cast<std::size_t>(i)]);
  }
  const comparison& run(refiner* more = nullptr) {
    tensor_ref ref{got.data(), dtype::f32, got.extents(), row_major(got.extents())};
    compare(ref, t, bounds, more, 0, result);
    return result;
  }
};

TEST(compare, equal_tensors_pass) {
  fixture f;
  const comparison& c = f.run();
  EXPECT_TRUE(c.passed());
  EXPECT_EQ(c.elements, 15);
  EXPECT_EQ(c.worst_statistical, 0);
  EXPECT_EQ(c.worst_ulps, 0);
  EXPECT_EQ(std::accumulate(c.ulp_counts.begin(), c.ulp_counts.end(), index_t{0}), 15);
}

TEST(compare, one_wrong_element_anywhere_fails) {
  for (const index_t at : {0, 1, 7, 13, 14}) {
    for (const float wrong : {0.0F, -1.0F, 100.0F, static_cast<float>(nan), static_cast<float>(infinity),
                              static_cast<float>(-infinity)}) {
      fixture f;
      f.got[at] = wrong;
      const comparison& c = f.run();
      ASSERT_FALSE(c.passed());
      ASSERT_EQ(c.failures, 1);
      ASSERT_EQ(c.above_proven, 1);
      ASSERT_EQ(c.worst.at, at);
      ASSERT_EQ(c.wrong.size(), 1U);
      ASSERT_EQ(c.wrong[0].at, at);
      ASSERT_GT(c.worst_statistical, 1);
      ASSERT_GT(c.worst_proven, 1);
      ASSERT_GT(c.worst_ulps, 1000);
      ASSERT_EQ(std::accumulate(c.ulp_counts.begin(), c.ulp_counts.end(), index_t{0}), 15);
    }
  }
}

/// Many elements are looked at together, most of which have nothing about them: what is told of all is what each of them
/// tells by itself.
TEST(compare, together_and_one_by_one_say_the_same) {
  const float odd[] = {0.0F, -0.0F, -3.0F, 1e30F, static_cast<float>(nan), static_cast<float>(infinity),
                       1.0F};
  for (const index_t at : {0, 1, 62, 63, 64, 127, 128, 190, 191, 196}) {
    for (const float value : odd) {
      fixture f({197}, 2e-3, 1e-2);
      for (index_t i = 0; i < 197; ++i)
        f.got[i] *= 1 + 1e-6F * static_cast<float>(i * 37 % 101);  // the worst so far comes and goes
      f.got[at] = value;
      if (value == 1.0F) f.bounds.statistical[static_cast<std::size_t>(at)] = infinity;
      const comparison all = f.run();
      comparison sum;
      double worst = -1;
      for (index_t i = 0; i < 197; ++i) {
        fixture one({1}, f.bounds.statistical[static_cast<std::size_t>(i)], 1e-2);
        one.t.value = {f.t.value[static_cast<std::size_t>(i)]};
        one.t.size = {2 * one.t.value[0]};
        one.got[0] = f.got[i];
        const comparison& c = one.run();
        sum.failures += c.failures;
        sum.above_proven += c.above_proven;
        sum.non_finite += c.non_finite;
        sum.unbounded += c.unbounded;
        sum.worst_statistical = std::max(sum.worst_statistical, c.worst_statistical);
        sum.worst_proven = std::max(sum.worst_proven, c.worst_proven);
        sum.worst_ulps = std::max(sum.worst_ulps, c.worst_ulps);
        for (std::size_t bin = 0; bin < sum.ulp_counts.size(); ++bin)
          sum.ulp_counts[bin] += c.ulp_counts[bin];
        if (c.passed() == all.passed() && c.worst_statistical > worst) {
          worst = c.worst_statistical;
          sum.worst.at = i;
        }
      }
      ASSERT_EQ(all.failures, sum.failures) << at << " holds " << value;
      EXPECT_EQ(all.above_proven, sum.above_proven);
      EXPECT_EQ(all.non_finite, sum.non_finite);
      EXPECT_EQ(all.unbounded, sum.unbounded);
      EXPECT_EQ(all.worst_statistical, sum.worst_statistical);
      EXPECT_EQ(all.worst_proven, sum.worst_proven);
      EXPECT_EQ(all.worst_ulps, sum.worst_ulps);
      EXPECT_EQ(all.ulp_counts, sum.ulp_counts);
      EXPECT_EQ(all.worst.at, sum.worst.at) << at << " holds " << value;
    }
  }
}

TEST(compare, all_zero_and_all_nan_fail_everywhere) {
  fixture f;
  for (index_t i = 0; i < 15; ++i) f.got[i] = 0;
  EXPECT_EQ(f.run().failures, 15);
  for (index_t i = 0; i < 15; ++i) f.got[i] = static_cast<float>(nan);
  EXPECT_EQ(f.run().failures, 15);
  EXPECT_EQ(f.result.wrong.front().at, 0);
}

TEST(compare, the_list_of_wrong_elements_is_the_first_ones) {
  fixture f({40});
  for (index_t i = 5; i < 40; ++i) f.got[i] = 0;
  const comparison& c = f.run();
  EXPECT_EQ(c.failures, 35);
  ASSERT_EQ(c.wrong.size(), comparison::listed);
  EXPECT_EQ(c.wrong.front().at, 5);
  EXPECT_EQ(c.worst.at, 39);  // the largest error of equal bounds
}

TEST(compare, between_the_thresholds) {
  fixture f;
  f.got[3] += 2e-3F;
  EXPECT_EQ(f.run().failures, 1);
  EXPECT_EQ(f.result.above_proven, 0);
  EXPECT_NEAR(f.result.worst_statistical, 2, 1e-3);
  EXPECT_NEAR(f.result.worst_proven, 0.2, 1e-3);
  f.got[3] -= 1.5e-3F;
  EXPECT_TRUE(f.run().passed());
  EXPECT_EQ(f.result.worst.at, 3);
  EXPECT_NEAR(f.result.worst_statistical, 0.5, 1e-3);
  EXPECT_GT(f.result.worst.error, 0);
}

TEST(compare, negative_truths_are_not_wildcards) {
  fixture f;
  for (double& v : f.t.value) v = -v;
  f.reset();
  EXPECT_TRUE(f.run().passed());
  f.got[2] = -f.got[2];
  EXPECT_FALSE(f.run().passed());
}

TEST(compare, bits_have_to_match_where_the_bound_is_zero) {
  fixture f({3, 5}, 0, 0);
  EXPECT_TRUE(f.run().passed());
  for (const index_t at : {0, 6, 14}) {
    f.reset();
    f.got[at] = std::nextafter(f.got[at], 100.0F);
    ASSERT_EQ(f.run().failures, 1);
    ASSERT_EQ(f.result.worst.at, at);
    ASSERT_EQ(f.result.worst_statistical, infinity);
    ASSERT_LE(f.result.worst_ulps, 1);
  }
}

TEST(compare, narrow_outputs_are_rounded_once) {
  fixture f({3}, 0, 0);
  f.bounds.output = format_of(dtype::bf16);
  f.t.value = {257, 1 + 0x1p-8 + 0x1p-40, -3};
  std::vector<bf16> stored = {bf16(256), bf16(1 + 0x1p-7F), bf16(-3)};
  const tensor_ref ref{stored.data(), dtype::bf16, shape{3}, shape{1}};
  compare(ref, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_TRUE(f.result.passed());
  EXPECT_EQ(f.result.worst_statistical, 0);  // rounding as it must is no error
  stored[1] = bf16(1);                       // what rounding through float gives
  compare(ref, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_EQ(f.result.failures, 1);
}

TEST(compare, zeros_are_equal_and_their_signs_are_counted) {
  fixture f;
  f.t.value[4] = 0;
  f.t.value[5] = -0.0;
  f.reset();
  f.got[4] = -0.0F;
  f.got[5] = 0.0F;
  EXPECT_TRUE(f.run().passed());
  EXPECT_EQ(f.result.zero_signs, 2);
}

/// Says of every zero whether its sign is settled.
struct sign_keeper final : refiner {
  bool settled = true;
  refinement refine(std::size_t, index_t, double) override { return {}; }
  bool zero_sign_settled(std::size_t, index_t) override { return settled; }
};

TEST(compare, a_pass_that_selects_copies_the_sign_of_zero) {
  for (const double bound : {0.0, 1e-3}) {
    fixture f({3, 5}, bound, bound);
    sign_keeper more;
    f.t.value[4] = 0;
    f.t.value[5] = -0.0;
    f.reset();
    f.t.selects = true;
    EXPECT_TRUE(f.run(&more).passed());
    for (const index_t at : {4, 5}) {
      f.reset();
      f.got[at] = -f.got[at];
      EXPECT_EQ(f.run(&more).failures, 1);
      EXPECT_EQ(f.result.worst.at, at);
      EXPECT_EQ(f.result.zero_signs, 1);
      more.settled = false;  // the choice fell between zeros of either sign
      EXPECT_TRUE(f.run(&more).passed());
      more.settled = true;
      f.t.selects = false;  // a sum
      EXPECT_TRUE(f.run(&more).passed());
      f.t.selects = true;
    }
  }
}

TEST(compare, what_nothing_bounds_is_counted) {
  fixture f;
  f.t.contraction = false;
  f.bounds.statistical[3] = f.bounds.proven[3] = infinity;
  f.t.size[4] = infinity;
  EXPECT_EQ(f.run().unbounded, 1);
  f.got[3] = 1e30F;
  EXPECT_TRUE(f.run().passed());
  EXPECT_EQ(f.result.unbounded, 1);
  f.got[4] = static_cast<float>(infinity);  // an intermediate result may have left the range
  EXPECT_TRUE(f.run().passed());
  EXPECT_EQ(f.result.unbounded, 2);
  f.t.value[3] = nan;  // judged as a class, which is a judgement
  f.t.size[3] = 1;
  f.got[3] = static_cast<float>(nan);
  EXPECT_EQ(f.run().unbounded, 1);
}

TEST(compare, nan_belongs_where_the_truth_is_nan) {
  fixture f;
  f.t.value[4] = nan;
  f.t.non_finite = true;
  f.reset();
  EXPECT_TRUE(f.run().passed());
  EXPECT_EQ(f.result.non_finite, 1);
  for (const float wrong : {0.0F, 1.0F, static_cast<float>(infinity)}) {
    f.got[4] = wrong;
    ASSERT_EQ(f.run().failures, 1);
  }
}

TEST(compare, infinities_have_a_sign) {
  fixture f;
  f.t.value[4] = -infinity;
  f.t.size[4] = infinity;
  f.t.non_finite = true;
  f.reset();
  EXPECT_TRUE(f.run().passed());
  for (const float wrong :
       {0.0F, std::numeric_limits<float>::lowest(), static_cast<float>(nan), static_cast<float>(infinity)}) {
    f.got[4] = wrong;
    ASSERT_EQ(f.run().failures, 1);
  }
}

TEST(compare, definitions_out_of_range_may_give_any_class) {
  fixture f;
  f.t.contraction = false;
  f.t.terms.clear();
  f.t.value[4] = infinity;
  f.t.value[5] = nan;
  f.reset();
  EXPECT_TRUE(f.run().passed());
  f.got[4] = static_cast<float>(nan);
  f.got[5] = static_cast<float>(-infinity);
  EXPECT_EQ(f.run().failures, 2);  // an input that was copied, say
  f.t.size[4] = f.t.size[5] = infinity;
  EXPECT_TRUE(f.run().passed());
  f.got[4] = f.got[5] = 1;
  EXPECT_EQ(f.run().failures, 2);
}

TEST(compare, any_class_goes_where_a_definition_has_no_bound) {
  for (const float got : {static_cast<float>(nan), static_cast<float>(infinity), 7.0F}) {
    fixture f;
    f.t.contraction = false;
    f.got[3] = got;
    f.bounds.statistical[3] = f.bounds.proven[3] = infinity;
    EXPECT_TRUE(f.run().passed()) << got;
    f.got[4] = got;  // its neighbour has one
    EXPECT_EQ(f.run().failures, 1) << got;
  }
  fixture sum;  // a sum may be too long for a bound, but it has no divisor
  sum.bounds.statistical[3] = sum.bounds.proven[3] = infinity;
  sum.got[3] = static_cast<float>(nan);
  EXPECT_EQ(sum.run().failures, 1);
}

/// 3.396e38 is +∞ in bf16, and times a weight of 0 that is NaN; a factor that bf16 holds is no excuse.
TEST(compare, a_factor_beyond_the_input_format_leaves_no_bound) {
  for (const double factor : {3.396e38, 3.3e38}) {
    for (const char* how : {"bf16_f32", "f32"}) {
      fixture f;
      f.t.largest_left = factor;
      f.t.integral = false;
      f.got[4] = static_cast<float>(nan);
      evaluate_thresholds(f.t, parse_arithmetic(how, dtype::f32).value, {}, regime::impulse, {}, f.bounds);
      EXPECT_EQ(f.run().passed(), factor > 3.39e38 && std::string(how) == "bf16_f32") << how << factor;
    }
  }
}

TEST(compare, overflow_is_forgiven_only_where_sums_are_that_large) {
  fixture f;
  f.got[4] = static_cast<float>(infinity);
  EXPECT_FALSE(f.run().passed());
  f.t.size[4] = 3.5e38;
  EXPECT_TRUE(f.run().passed());
  f.got[4] = static_cast<float>(nan);
  EXPECT_TRUE(f.run().passed());
  f.got[4] = 0;  // a finite answer still has to be right
  EXPECT_FALSE(f.run().passed());
  f.reset();
  f.got[5] = static_cast<float>(nan);
  EXPECT_FALSE(f.run().passed());
}

TEST(compare, padding_times_infinity_may_be_nan_at_borders_only) {
  fixture f;
  f.t.non_finite = true;
  f.t.terms[2] = 3;
  f.got[2] = static_cast<float>(nan);
  EXPECT_TRUE(f.run().passed());
  f.got[2] = 0;
  EXPECT_FALSE(f.run().passed());
  f.reset();
  f.got[3] = static_cast<float>(nan);  // a full element
  EXPECT_FALSE(f.run().passed());
  f.reset();
  f.t.non_finite = false;
  f.got[2] = static_cast<float>(nan);
  EXPECT_FALSE(f.run().passed());
}

TEST(compare, infinity_times_what_the_format_rounds_to_zero_may_be_nan) {
  class at_infinity final : public refiner {
   public:
    double least_partner = 0x1p-149;
    refinement refine(std::size_t, index_t, double) override {
      return {.value = infinity, .non_finite = true, .sure = true, .least_partner = least_partner};
    }
  } one;
  fixture f;
  f.t.non_finite = true;
  f.t.value[6] = infinity;
  f.got[6] = static_cast<float>(nan);
  EXPECT_FALSE(f.run(&one).passed()) << "f32 keeps the factor";
  f.bounds.lost_input = 0x1p-137;
  EXPECT_TRUE(f.run(&one).passed());
  one.least_partner = 0x1p-136;
  EXPECT_FALSE(f.run(&one).passed()) << "tf32 keeps this one too";
  one.least_partner = 0x1p-149;
  for (const double wrong : {-infinity, 0.0, 1.0}) {
    f.got[6] = static_cast<float>(wrong);
    EXPECT_FALSE(f.run(&one).passed()) << wrong;
  }
}

TEST(compare, empty_is_no_pass) {
  fixture f({0, 5});
  EXPECT_EQ(f.run().elements, 0);
  EXPECT_EQ(f.result.failures, 0);
  EXPECT_FALSE(f.result.passed());
}

TEST(compare, shapes_have_to_agree) {
  fixture f;
  tensor_ref ref{f.got.data(), dtype::f32, shape{3, 4}, row_major(shape{3, 4})};
  EXPECT_THROW(compare(ref, f.t, f.bounds, nullptr, 0, f.result), std::logic_error);
  ref = {nullptr, dtype::f32, shape{3, 5}, row_major(shape{3, 5})};
  EXPECT_THROW(compare(ref, f.t, f.bounds, nullptr, 0, f.result), std::logic_error);
}

TEST(compare, strides_are_honoured) {
  fixture f({2, 3, 2, 4});
  std::vector<float> stored(static_cast<std::size_t>(f.got.size()), -7.0F);
  const shape strides = channels_last(f.got.extents());
  tensor_view<float> view(stored.data(), f.got.extents(), strides);
  for (index_t i = 0; i < f.got.size(); ++i) view[i] = f.got[i];
  const tensor_ref ref{stored.data(), dtype::f32, f.got.extents(), strides};
  compare(ref, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_TRUE(f.result.passed());
  view[17] = 0;
  compare(ref, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_EQ(f.result.failures, 1);
  EXPECT_EQ(f.result.worst.at, 17);
  const tensor_ref as_rows{stored.data(), dtype::f32, f.got.extents(), row_major(f.got.extents())};
  compare(as_rows, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_FALSE(f.result.passed());
}

TEST(compare, types) {
  fixture f({4});
  std::vector<double> doubles = {1, 1.125, 1.25, 1.375};
  compare({doubles.data(), dtype::f64, shape{4}, shape{1}}, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_TRUE(f.result.passed());
  doubles[3] = 1.5;
  compare({doubles.data(), dtype::f64, shape{4}, shape{1}}, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_EQ(f.result.worst.at, 3);
  std::vector<f16> halves = {f16(1), f16(1.125F), f16(1.25F), f16(1.375F)};
  compare({halves.data(), dtype::f16, shape{4}, shape{1}}, f.t, f.bounds, nullptr, 0, f.result);
  EXPECT_TRUE(f.result.passed());
}

TEST(compare, indices_are_exact) {
  truths t;
  t.name = "indices";
  t.extents = {4};
  t.is_index = true;
  t.index = {0, 5, 2, 1};
  std::vector<index_t> got = t.index;
  const thresholds bounds;
  comparison c;
  const tensor_ref ref{got.data(), dtype::i64, shape{4}, shape{1}};
  compare(ref, t, bounds, nullptr, 0, c);
  EXPECT_TRUE(c.passed());
  EXPECT_EQ(c.elements, 4);
  for (const std::size_t at : {0U, 2U, 3U}) {
    got = t.index;
    ++got[at];
    compare(ref, t, bounds, nullptr, 0, c);
    ASSERT_EQ(c.failures, 1);
    ASSERT_EQ(c.worst.at, static_cast<index_t>(at));
    ASSERT_EQ(c.worst.expected, static_cast<double>(t.index[at]));
  }
}

TEST(compare, sampled_elements) {
  fixture f({10});
  truths some = f.t;
  some.at = {7, 2};
  some.value = {f.t.value[7], f.t.value[2]};
  some.radius = {0, 0};
  const tensor_ref ref{f.got.data(), dtype::f32, shape{10}, shape{1}};
  f.got[3] = 0;  // not looked at
  compare(ref, some, f.bounds, nullptr, 0, f.result);
  EXPECT_TRUE(f.result.passed());
  EXPECT_EQ(f.result.elements, 2);
  f.got[2] = 0;
  compare(ref, some, f.bounds, nullptr, 0, f.result);
  EXPECT_EQ(f.result.failures, 1);
  EXPECT_EQ(f.result.worst.at, 2);
}

struct planted_refiner final : refiner {
  refinement answer;
  int asked = 0;
  refinement refine(std::size_t, index_t, double) override {
    ++asked;
    return answer;
  }
};

TEST(compare, what_the_radius_leaves_open_is_refined) {
  fixture f;
  f.t.radius[6] = 5e-4;
  f.got[6] += 8e-4F;
  EXPECT_EQ(f.run().undecided, 1);
  EXPECT_FALSE(f.result.passed());
  planted_refiner more;
  more.answer = {.value = f.t.value[6], .error = 9e-4, .sure = true};
  EXPECT_TRUE(f.run(&more).passed());
  EXPECT_EQ(f.result.escalated, 1);
  more.answer.error = 1.1e-3;
  EXPECT_EQ(f.run(&more).failures, 1);
  more.answer.sure = false;
  EXPECT_EQ(f.run(&more).undecided, 1);
  EXPECT_FALSE(f.result.passed());
  more.asked = 0;
  f.got[6] += 1;  // no radius saves this one
  EXPECT_EQ(f.run(&more).failures, 1);
  EXPECT_EQ(more.asked, 0);
}

TEST(compare, bits_are_refined_too) {
  fixture f({3, 5}, 0, 0);
  f.t.radius[6] = 1e-20;
  EXPECT_EQ(f.run().undecided, 1);
  planted_refiner more;
  more.answer = {.value = f.t.value[6], .error = 0, .sure = true};
  EXPECT_TRUE(f.run(&more).passed());
  more.answer.value = std::nextafter(1.75F, 2.0F);
  EXPECT_EQ(f.run(&more).failures, 1);
}

TEST(compare, ulps_are_those_of_the_output_type) {
  fixture f({1}, 1, 1);
  f.t.value = {1.5};
  f.got[0] = 1.5F + 3 * 0x1p-23F;
  EXPECT_EQ(f.run().worst_ulps, 3);
  EXPECT_EQ(f.result.ulp_counts[4], 1);  // [2, 4)
  f.got[0] = 1.5F;
  EXPECT_EQ(f.run().ulp_counts[0], 1);
  f.t.value = {1.5 + 0x1p-24};
  EXPECT_EQ(f.run().worst_ulps, 0.5);
  EXPECT_EQ(f.result.ulp_counts[2], 1);  // [1/2, 1)
}

TEST(first_difference, is_of_bits_but_one_nan_is_as_good_as_another) {
  std::vector<float> a = {1, 0, 3, 4, 5, 6}, b = a;
  const auto at = [](std::vector<float>& v, const shape& strides) {
    return tensor_ref{v.data(), dtype::f32, shape{2, 3}, strides};
  };
  const auto first = [&] { return first_difference(at(a, {3, 1}), at(b, {3, 1})); };
  EXPECT_EQ(first(), -1);
  a[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first(), 4);
  b[4] = std::bit_cast<float>(0xffc00001U);
  EXPECT_EQ(first(), -1);
  b[5] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(first(), 5);
  b[1] = -0.0F;
  EXPECT_EQ(first(), 1);
  b = {1, 4, 0, a[4], 3, 6};  // the same matrix by columns
  EXPECT_EQ(first_difference(at(a, {3, 1}), at(b, {1, 2})), -1);
}

TEST(error_split, backward_error_times_condition_is_the_relative_error) {
  judged_element e;
  e.expected = 0.5;
  e.error = -0.125;
  const error_split split = split_error(e, 8);
  EXPECT_EQ(split.backward, 0.125 / 8);
  EXPECT_EQ(split.condition, 16);
  EXPECT_EQ(*split.backward * *split.condition, 0.125 / 0.5);
  EXPECT_FALSE(split_error(e, 0).backward);
  EXPECT_FALSE(split_error(e, std::numeric_limits<double>::quiet_NaN()).backward);
  e.expected = 0;
  EXPECT_TRUE(split_error(e, 8).backward);
  EXPECT_FALSE(split_error(e, 8).condition);
  e.error = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(split_error(e, 8).backward);
}

}  // namespace
}  // namespace plumb
