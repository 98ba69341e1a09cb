// Every law on the reference (exactly, in rationals) and on a stand-in for a kernel: the reference in float,
// which is a correct kernel and must never be accused. One test a law.
#include "properties/laws/laws.hpp"

#include <gtest/gtest.h>

#include <map>

#include "properties/generators/problem_space.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"

namespace plumb {
namespace {

/// Small enough for rationals.
constexpr double most_work = 1500;
/// A law of one family is tried on more problems of each of its layers than one that every layer must keep.
int problems_each(const law& each) { return each.layers.empty() ? 5 : 16; }

/// A correct kernel in single precision.
tensor_set<double> float_kernel(const layer& l, const pass_spec& pass, const tensor_set<double>& reads) {
  const auto single = reads.map<float>([](double v) { return static_cast<float>(v); });
  return evaluate_pass<float>(l, pass, single).map<double>([](float v) { return static_cast<double>(v); });
}

struct tally {
  int applied = 0;
  int held = 0;
  std::string first_failure;
};

/// Tries one law on drawn problems of every layer and pass it applies to.
template <class Try>
std::map<std::string, tally> sweep(const law& each, Try&& attempt) {
  std::map<std::string, tally> by_pass;
  const int wanted = problems_each(each);
  for (const family_row& row : families()) {
    if (!each.layers.empty() && std::ranges::find(each.layers, row.layer) == each.layers.end()) continue;
    int used = 0;
    for (int seed = 1; used < wanted && seed < 25 * wanted; ++seed) {
      dice d{rc::Random(static_cast<std::uint64_t>(seed))};
      const point at = row.space->draw(d);
      if (row.space->work(at) > most_work) continue;
      const auto l = plumb::bind(*row.space->build(at));
      bool counted = false;
      for (const pass_spec& pass : l->describe().passes) {
        if (!each.applies(*l, pass)) continue;
        const law_verdict v = attempt(*l, pass, static_cast<std::uint64_t>(seed));
        if (!v.applicable) continue;
        counted = true;
        tally& t = by_pass[row.layer + "." + pass.name];
        ++t.applied;
        if (v.holds)
          ++t.held;
        else if (t.first_failure.empty())
          t.first_failure = l->canonical().print() + ": " + v.message;
      }
      used += counted;
    }
  }
  return by_pass;
}

void expect_all_held(const law& each, const std::map<std::string, tally>& by_pass) {
  EXPECT_FALSE(by_pass.empty()) << "`" << each.name << "` never applied";
  for (const auto& [pass, t] : by_pass) {
    EXPECT_EQ(t.held, t.applied) << each.name << " on " << pass << ": " << t.first_failure;
    EXPECT_GE(t.applied, problems_each(each) / 4) << each.name << " hardly ever applies to " << pass;
  }
}

class every_law : public testing::TestWithParam<std::size_t> {};

TEST_P(every_law, holds_for_the_reference) {
  const law& each = laws()[GetParam()];
  expect_all_held(each, sweep(each, [&](const layer& l, const pass_spec& pass, std::uint64_t seed) {
                    return each.on_reference(l, pass, seed);
                  }));
}

TEST_P(every_law, never_accuses_a_correct_kernel) {
  const law& each = laws()[GetParam()];
  expect_all_held(each, sweep(each, [&](const layer& l, const pass_spec& pass, std::uint64_t seed) {
                    return each.on_kernel(l, pass, seed, float_kernel);
                  }));
}

INSTANTIATE_TEST_SUITE_P(properties, every_law, testing::Range<std::size_t>(0, laws().size()),
                         [](const auto& instance) {
                           std::string name = laws()[instance.param].name;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace plumb
