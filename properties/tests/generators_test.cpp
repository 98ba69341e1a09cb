// Generators: every drawn problem binds, prints canonically and is recovered from its layer; every trigger is
// pulled often enough; the typical problem is small.
#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "properties/generators/arbitrary.hpp"
#include "properties/generators/problem_space.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

constexpr int draws = 2000;

class families_of : public testing::TestWithParam<std::string> {};

TEST_P(families_of, draws_canonical_problems_that_bind_and_are_recovered) {
  const problem_space* space = find_space(GetParam());
  for (std::uint64_t seed = 0; seed < draws; ++seed) {
    const std::string text = draw_problem(GetParam(), seed);
    const auto bound = plumb::bind(text);
    ASSERT_EQ(bound->canonical().print(), text);
    const auto at = space->recover(*bound);
    ASSERT_TRUE(at.has_value()) << text;
    ASSERT_EQ(at->size(), space->parameters().size());
    ASSERT_EQ(space->build(*at)->print(), text);
    ASSERT_EQ(draw_problem(GetParam(), seed), text) << "one seed, one problem";
  }
}

TEST_P(families_of, pull_every_trigger_in_one_draw_of_a_hundred) {
  for (const auto& [name, count] : rare_triggers(space_of(GetParam()), draws))
    ADD_FAILURE() << "trigger `" << name << "` was pulled by " << count << " of " << draws << " problems";
  std::set<std::string> named;
  for (std::uint64_t seed = 0; seed < 200; ++seed)
    for (const std::string& name : triggers(*plumb::bind(draw_problem(GetParam(), seed)))) named.insert(name);
  EXPECT_FALSE(named.empty());
  for (const std::string& name : named)
    EXPECT_TRUE(std::ranges::count(all_triggers(GetParam()), name) == 1) << name;
}

/// A space that never draws one of its triggers.
class narrow_space final : public problem_space {
 public:
  narrow_space() : problem_space("relu") {
    add("x.0", 1);
    trigger("odd", [](const point& at) { return at[0] % 2 == 1; });
    trigger("even", [](const point& at) { return at[0] % 2 == 0; });
  }
  std::optional<problem> build(const point&) const override { return problem("relu"); }
  std::optional<point> recover(const plumb::layer&) const override { return std::nullopt; }
  double work(const point&) const override { return 1; }

 private:
  point propose(dice& d) const override { return {2 * d.between(1, 9)}; }
};

TEST(triggers, that_are_never_pulled_are_told) {
  EXPECT_EQ(rare_triggers(narrow_space(), 500), (std::vector<std::pair<std::string, int>>{{"odd", 0}}));
}

TEST_P(families_of, draw_small_problems) {
  const problem_space* space = find_space(GetParam());
  std::vector<double> work;
  for (std::uint64_t seed = 0; seed < draws; ++seed) {
    dice d{rc::Random(seed)};
    work.push_back(space->work(space->draw(d)));
  }
  std::ranges::sort(work);
  RecordProperty("median", std::to_string(work[draws / 2]));
  RecordProperty("ninety_percent", std::to_string(work[draws * 9 / 10]));
  EXPECT_LE(work[draws / 2], 5000);
  EXPECT_LE(work[draws * 9 / 10], 50000);
  EXPECT_LE(work.back(), 1 << 20);
}

INSTANTIATE_TEST_SUITE_P(properties, families_of, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const family_row& row : families()) names.push_back(row.layer);
                           return names;
                         }()),
                         [](const auto& instance) { return instance.param; });

TEST(families, have_a_row_for_every_layer) {
  for (const layer_row& row : layer_catalogue())
    EXPECT_NE(find_space(row.name), nullptr)
        << "reference/layers/layers.list has no row for `" << row.name << "`";
}

TEST(families, know_their_layers_only) { EXPECT_THROW(draw_problem("conv9d", 1), text_error); }

/// One seed, so that every run of this test is the same run.
template <class Property>
rc::detail::TestResult check(Property&& property) {
  rc::detail::TestParams params;
  params.seed = 17;
  return rc::detail::checkTestable(std::forward<Property>(property), rc::detail::TestMetadata(), params);
}

TEST(rapidcheck_problems, shrink_to_the_coordinates_that_matter) {
  const auto result = check([] {
    const problem p = plumb::bind(*arbitrary_problem("conv2d"))->resolved();
    RC_ASSERT(p.integer("groups") < 2 || p.integers("stride")[1] < 2);
  });
  rc::detail::FailureResult failure;
  ASSERT_TRUE(result.match(failure));
  ASSERT_EQ(failure.counterExample.size(), 1U);
  EXPECT_EQ(failure.counterExample[0].second, "\"conv2d x=1x2x1x1 weight=2x1x1x1 stride=1x2 groups=2\"");
}

TEST(rapidcheck_problems, read_back_as_they_print) {
  for (const family_row& row : families()) {
    const auto result = check([&] {
      const problem p = plumb::bind(*arbitrary_problem(row.layer))->canonical();
      RC_ASSERT(problem::parse(p.print()) == p);
      RC_ASSERT(plumb::bind(p.print())->resolved() == plumb::bind(p)->resolved());
    });
    EXPECT_TRUE(result.is<rc::detail::SuccessResult>()) << row.layer;
  }
}

TEST(families, draw_in_a_few_microseconds) {
  for (const family_row& row : families()) {
    const auto start = std::chrono::steady_clock::now();
    std::size_t length = 0;
    for (std::uint64_t seed = 0; seed < draws; ++seed) length += draw_problem(row.layer, seed).size();
    const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
    EXPECT_GT(length, 0U);
    RecordProperty(row.layer + "_ns_each", static_cast<int>(1000 * taken.count() / draws));
  }
}

}  // namespace
}  // namespace plumb
