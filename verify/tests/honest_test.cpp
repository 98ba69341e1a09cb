// No false alarms: every pass of every layer, computed in float by its own definition over generated problems
// and every regime, passes. And the same answers with one element spoiled fail, whatever the regime.
#include <gtest/gtest.h>

#include <cmath>

#include "reference/layers/catalogue.hpp"
#include "verify/compare.hpp"
#include "verify/counter_random.hpp"
#include "verify/evaluate.hpp"

namespace plumb {
namespace {

/// Sanitizer builds have no multiprecision to decide close cases in.
#ifdef PLUMB_FEW_SCALARS
constexpr bool many_digits = false;
#else
constexpr bool many_digits = true;
#endif

/// Small problems with unequal axes, written out of a random number.
std::vector<std::string> problems(const counter_random& random, std::uint64_t at) {
  const auto number = [&](std::uint64_t salt, std::uint64_t least, std::uint64_t most) {
    return least + random.below(32 * at + salt, most - least + 1);
  };
  const auto pick = [&](std::uint64_t salt, std::uint64_t least, std::uint64_t most) {
    return std::to_string(number(salt, least, most));
  };
  const auto groups = number(0, 1, 2);
  const std::string c = std::to_string(groups * number(1, 1, 3)), cg = std::to_string(number(1, 1, 3));
  const std::string k = std::to_string(groups * number(2, 1, 3));
  const std::string n = pick(3, 1, 2), h = pick(4, 5, 8), w = pick(5, 5, 9), r = pick(6, 1, 3),
                    s = pick(7, 1, 3);
  const std::string x = n + "x" + c + "x" + h + "x" + w;
  return {
      "conv2d x=" + x + " weight=" + k + "x" + cg + "x" + r + "x" + s +
          (number(8, 0, 1) == 0 ? "" : " bias=" + k) + " stride=" + pick(9, 1, 2) + "x" + pick(10, 1, 3) +
          " pad=" + pick(11, 0, 1) + "," + pick(12, 0, 2) + "," + pick(13, 0, 1) + "," + pick(14, 0, 1) +
          " dilation=" + pick(15, 1, 2) + " groups=" + std::to_string(groups),
      "conv1d x=" + n + "x" + c + "x" + w + " weight=" + k + "x" + c + "x" + s + " flip=true",
      "linear x=" + h + "x" + pick(16, 1, 40) + " weight=" + k + "x" + pick(16, 1, 40) + " bias=" + k,
      "max_pool2d x=" + x + " window=" + r + "x" + s + " stride=" + pick(17, 1, 3),
      "relu x=" + x,
      "sigmoid x=" + x,
      "cross_entropy x=" + n + "x" + h + "x" + w + " target=" + n + "x" + w +
          (number(18, 0, 1) == 0 ? "" : " weight=" + h) +
          (number(19, 0, 1) == 0 ? "" : " label_smoothing=0.1"),
  };
}

tensor_set<float> in_float(const tensor_set<double>& reads) {
  return reads.map<float>([](double x) { return static_cast<float>(x); });
}

/// Judges `answer` (the outputs of the pass, in float or double) and returns the comparison of every tensor.
template <class T>
std::vector<comparison> judged(oracle& o, tensor_set<T>& answer, regime r) {
  constexpr dtype type = std::is_same_v<T, float> ? dtype::f32 : dtype::f64;
  const arithmetic how = parse_arithmetic("f32", type).value;
  std::vector<comparison> list;
  for (std::size_t k = 0; k < o.results().size(); ++k) {
    const truths& t = o.results()[k];
    auto& e = answer.at(t.name);
    thresholds bounds;
    evaluate_thresholds(t, how, {}, r, {}, bounds);
    tensor_ref got{e.real.data(), type, t.extents, row_major(t.extents)};
    if (t.is_index) got = {e.index.data(), dtype::i64, t.extents, row_major(t.extents)};
    list.emplace_back();
    compare(got, t, bounds, &o, k, list.back());
  }
  return list;
}

template <class F>
void for_each_trial(std::uint64_t trials, F&& f) {
  const counter_random random(20, "honest");
  for (std::uint64_t at = 0; at < trials; ++at)
    for (const std::string& text : problems(random, at)) {
      const auto l = plumb::bind(text);
      for (const pass_spec& pass : l->describe().passes)
        for (const regime r : all_regimes) f(*l, pass, r, at);
    }
}

/// Runs the definition over T as the kernel; returns the number of elements and how many were not finite.
template <class T>
std::pair<index_t, index_t> expect_no_alarm(std::uint64_t trials) {
  constexpr dtype type = std::is_same_v<T, float> ? dtype::f32 : dtype::f64;
  oracle o;
  index_t elements = 0, non_finite = 0;
  for_each_trial(trials, [&](const layer& l, const pass_spec& pass, regime r, std::uint64_t seed) {
    const auto reads = draw(l, pass, r, seed, type);
    o.evaluate(l, pass, reads, type);
    auto answer = evaluate_pass<T>(l, pass, reads.map<T>([](double x) { return static_cast<T>(x); }));
    for (const comparison& c : judged(o, answer, r)) {
      elements += c.elements;
      non_finite += c.non_finite;
      EXPECT_EQ(c.failures + (many_digits ? c.undecided : 0), 0)
          << l.canonical().print() << " | " << pass.name << " | " << name_of(type) << " " << name_of(r)
          << " seed=" << seed << " at " << c.worst.at << " got " << c.worst.got << " expected "
          << c.worst.expected << " bound " << c.worst.proven << " undecided " << c.undecided;
    }
  });
  return {elements, non_finite};
}

TEST(honest, float_by_definition_raises_no_alarm) {
  const auto [elements, non_finite] = expect_no_alarm<float>(60);
  EXPECT_GT(elements, 100000);
  EXPECT_GT(non_finite, 100);
}

TEST(honest, double_by_definition_raises_no_alarm) {
  const auto [elements, non_finite] = expect_no_alarm<double>(10);
  EXPECT_GT(elements, 10000);
  EXPECT_GT(non_finite, 10);
}

TEST(honest, one_spoiled_element_is_an_alarm) {
  oracle o;
  index_t spoiled = 0, missed = 0;
  for_each_trial(20, [&](const layer& l, const pass_spec& pass, regime r, std::uint64_t seed) {
    const auto reads = draw(l, pass, r, seed, dtype::f32);
    o.evaluate(l, pass, reads, dtype::f32);
    auto answer = evaluate_pass<float>(l, pass, in_float(reads));
    const counter_random where(seed, l.canonical().print() + pass.name);
    for (std::size_t k = 0; k < o.results().size(); ++k) {
      const truths& t = o.results()[k];
      auto& e = answer.at(t.name);
      if (t.count() == 0) continue;
      const auto at = static_cast<index_t>(where.bits(k) % static_cast<std::uint64_t>(t.count()));
      if (t.is_index) {
        ++e.index[at];
      } else {
        // One part in a thousand of the sum of magnitudes, or a number where there should be none.
        const auto i = static_cast<std::size_t>(at);
        if (!(t.size[i] < 1e37 && t.size[i] > 1e-30)) continue;
        const double step = std::max(1e-3 * t.size[i], t.contraction ? 0 : 1e-4 + t.allowance[i] * 0x1p-22);
        e.real[at] = std::isfinite(t.value[i]) ? static_cast<float>(t.value[i] + step) : 1.0F;
      }
      ++spoiled;
      missed += judged(o, answer, r)[k].failures >= 1 ? 0 : 1;
    }
  });
  EXPECT_GT(spoiled, 500);
  EXPECT_EQ(missed, 0);
}

}  // namespace
}  // namespace plumb
