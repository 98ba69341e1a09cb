// Generators: every drawn problem binds, prints canonically and is recovered from its layer; every trigger is
// pulled often enough; the typical problem is small.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <map>
#include <set>

#include "properties/generators/arbitrary.hpp"
#include "properties/generators/problem_space.hpp"
#include "reference/core/attributes.hpp"
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

// ---- coincidences: read off the bound problem, not off the coordinates that the generator sets

/// The extents of all tensors and the integers of all attributes, by name: `x.2`, `stride.0`. Decimals that happen to be
/// whole are no sizes.
std::vector<std::pair<std::string, index_t>> numbers_of(const plumb::layer& l, const layer_card& card) {
  const auto integral = [&](const std::string& name) {
    using kind = attribute_card::kind;
    const auto a = std::ranges::find(card.attributes, name, &attribute_card::name);
    return a != card.attributes.end() &&
           (a->type == kind::integer || a->type == kind::per_axis || a->type == kind::per_side);
  };
  std::vector<std::pair<std::string, index_t>> list;
  for (const auto* tensors : {&l.describe().inputs, &l.describe().outputs})
    for (const tensor_spec& s : *tensors)
      for (int axis = 0; l.present(s.name) && axis < l.shapes()[s.name].rank(); ++axis)
        list.emplace_back(s.name + "." + std::to_string(axis), l.shapes()[s.name][axis]);
  const problem text = l.resolved();
  for (const problem::field& f : text.fields()) {
    if (!integral(f.key)) continue;
    std::string value = f.value;
    std::ranges::replace(value, ',', 'x');
    const auto integers = parse_integers(value);
    for (std::size_t i = 0; integers && i < integers->size(); ++i)
      list.emplace_back(f.key + "." + std::to_string(i), (*integers)[i]);
  }
  return list;
}

struct coincidences {
  std::map<std::string, std::size_t> number;
  std::vector<std::string> name;
  struct pair {
    int both = 0, equal = 0, one_less = 0;
  };
  std::map<std::size_t, pair> pairs;  // by first · 1000 + second

  void count(const plumb::layer& l, const layer_card& card) {
    std::vector<std::pair<std::size_t, index_t>> found;
    for (const auto& [key, value] : numbers_of(l, card)) {
      const auto [at, fresh] = number.insert({key, name.size()});
      if (fresh) name.push_back(key);
      found.emplace_back(at->second, value);
    }
    for (const auto& [a, x] : found)
      for (const auto& [b, y] : found) {
        if (a == b) continue;
        pair& p = pairs[1000 * a + b];
        ++p.both;
        p.equal += x == y && x > 1 ? 1 : 0;
        p.one_less += x == y - 1 && x > 0 ? 1 : 0;
      }
  }
};

/// Any two numbers of a problem that can be equal are, in one draw of five hundred that have both; and any two that can
/// differ by one do so in one of fifteen hundred. What can be is what is ever seen in the draws, which make some of
/// their numbers equal on purpose; most pairs are seen ten times as often.
TEST_P(families_of, let_any_two_numbers_coincide) {
  constexpr int problems = 6000, least_equal = 500, least_one_less = 1500;
  const auto row = std::ranges::find(layer_catalogue(), GetParam(),
                                     [](const layer_row& r) { return std::string(r.name); });
  const layer_card card = row->card();
  // Only where several sizes conspire: an output pad is below the stride or the dilation, a merged axis is a product, and
  // no class has the number of classes.
  const auto far_fetched = [](const std::string& a, const std::string& b) {
    return a.starts_with("ignore_index") || a.starts_with("output_pad") || b.starts_with("output_pad") ||
           GetParam() == "flatten";
  };
  coincidences seen;
  for (std::uint64_t seed = 0; seed < problems; ++seed)
    seen.count(*plumb::bind(draw_problem(GetParam(), 50'000 + seed)), card);
  std::string never;
  for (const auto& [key, p] : seen.pairs) {
    const std::string a = seen.name[key / 1000], b = seen.name[key % 1000];
    const bool can_be_equal = p.equal > 0 && a < b;
    EXPECT_TRUE(!can_be_equal || p.equal * least_equal >= p.both || far_fetched(a, b))
        << a << " = " << b << " in " << p.equal << " of " << p.both;
    EXPECT_TRUE(p.one_less == 0 || p.one_less * least_one_less >= p.both || far_fetched(a, b))
        << a << " = " << b << " - 1 in " << p.one_less << " of " << p.both;
    if (p.equal == 0 && a < b) never += (never.empty() ? "" : ", ") + a + " = " + b;
  }
  RecordProperty("never_equal", never);
}

/// Where an attribute may leave an axis as long as it was or not, it does either while other attributes are given.
TEST_P(families_of, keep_the_length_of_an_axis_whatever_attribute_is_given) {
  constexpr int problems = 2000, least_share = 300;
  std::map<std::pair<std::string, std::string>, std::array<int, 3>> counts;  // given, kept, changed
  for (std::uint64_t seed = 0; seed < problems; ++seed) {
    const auto l = plumb::bind(draw_problem(GetParam(), 90'000 + seed));
    if (!l->present("x") || !l->present("y") || l->shapes()["x"].rank() != l->shapes()["y"].rank()) return;
    const shape x = l->shapes()["x"], y = l->shapes()["y"];
    const problem text = l->canonical();
    for (const problem::field& f : text.fields())
      for (int axis = 0; !l->present(f.key) && axis < x.rank(); ++axis) {
        auto& c = counts[{f.key, "axis " + std::to_string(axis)}];
        ++c[0];
        if (x[axis] > 1) ++c[x[axis] == y[axis] ? 1 : 2];
      }
  }
  for (const auto& [what, c] : counts)
    EXPECT_TRUE(c[1] == 0 || c[2] == 0 || c[1] * least_share >= c[0])
        << what.first << ", " << what.second << ": " << c[1] << " of " << c[0];
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

// ---- problems for kernels that accept few of those drawn

struct choosy_kernel {
  std::string layer;
  std::vector<std::string> fixed;  ///< the numbers that it leaves little or no choice
  bool (*accepts)(const problem& resolved);

  acceptance asked() const {
    return [this](const std::vector<std::string>& problems) {
      std::vector<bool> answers;
      for (const std::string& p : problems)
        answers.push_back(accepts(plumb::bind(std::string_view(p))->resolved()));
      return answers;
    };
  }
};

bool all_are(const std::vector<index_t>& list, index_t value) {
  return std::ranges::all_of(list, [value](index_t v) { return v == value; });
}

const choosy_kernel choosy_kernels[] = {
    {"conv2d",
     {"groups", "flip", "window.h", "window.w", "stride.h", "stride.w", "dilation.h", "dilation.w",
      "before.h", "before.w", "after.h", "after.w"},
     [](const problem& p) {  // Winograd's
       const shape w = p.shape_of("weight");
       return w[2] == 3 && w[3] == 3 && all_are(p.integers("stride"), 1) &&
              all_are(p.integers("dilation"), 1) && p.integer("groups") == 1 && !p.flag("flip") &&
              std::ranges::all_of(p.integers("pad"), [](index_t side) { return side <= 2; });
     }},
    {"conv2d",
     {"groups", "C/groups", "K/groups"},
     [](const problem& p) {  // channel by channel, a whole vector of them
       return p.integer("groups") >= 16 && p.shape_of("weight")[1] == 1 &&
              p.shape_of("weight")[0] == p.integer("groups");
     }},
    {"max_pool2d",
     {"window.h", "window.w", "stride.h", "stride.w", "dilation.h", "dilation.w", "before.h", "before.w",
      "after.h", "after.w"},
     [](const problem& p) {
       return all_are(p.integers("window"), 2) && all_are(p.integers("stride"), 2) &&
              all_are(p.integers("dilation"), 1) && all_are(p.integers("pad"), 0);
     }},
};

/// Of each number that the kernel leaves free: how many values it takes, as a share of those it takes in as many drawn
/// problems. The least of these shares.
double variety(const choosy_kernel& k, const std::vector<std::string>& problems) {
  const problem_space& space = space_of(k.layer);
  std::vector<std::set<index_t>> drawn(space.parameters().size()), fitted(space.parameters().size());
  const auto note = [&](const std::string& text, std::vector<std::set<index_t>>& seen) {
    const auto at = space.recover(*plumb::bind(std::string_view(text)));
    for (std::size_t i = 0; i < seen.size(); ++i) seen[i].insert((*at)[i]);
  };
  for (std::size_t n = 0; n < problems.size(); ++n) {
    note(draw_problem(k.layer, 40'000 + n), drawn);
    note(problems[n], fitted);
  }
  double least = 1;
  for (std::size_t i = 0; i < drawn.size(); ++i)
    if (std::ranges::find(k.fixed, space.parameters()[i].name) == k.fixed.end())
      least = std::min(least, static_cast<double>(fitted[i].size()) / static_cast<double>(drawn[i].size()));
  return least;
}

constexpr double least_variety = 0.6;
constexpr std::size_t problems_each = 96;

TEST(choosy_kernels, get_problems_that_they_accept_and_that_vary_like_drawn_ones) {
  for (const choosy_kernel& k : choosy_kernels) {
    int drawn = 0;
    for (std::uint64_t seed = 0; seed < draws; ++seed) drawn += k.asked()({draw_problem(k.layer, seed)})[0];
    EXPECT_LT(drawn * 8, draws) << "it is not choosy at all";
    const auto fitted = fit_problems(k.layer, {}, 5, problems_each, k.asked());
    ASSERT_EQ(fitted.size(), problems_each) << k.layer << " " << k.fixed.size();
    EXPECT_GE(std::set<std::string>(fitted.begin(), fitted.end()).size(), problems_each * 9 / 10);
    for (const std::string& text : fitted) {
      EXPECT_TRUE(k.asked()({text})[0]) << text;
      EXPECT_EQ(plumb::bind(std::string_view(text))->canonical().print(), text);
    }
    EXPECT_GE(variety(k, fitted), least_variety) << fitted.front();
    EXPECT_EQ(fit_problems(k.layer, {}, 5, problems_each, k.asked()), fitted) << "one seed, one list";
  }
}

/// Two lazy ways to the same number of accepted problems, which the law above must not let pass.
TEST(choosy_kernels, notice_problems_that_hardly_vary) {
  for (const choosy_kernel& k : choosy_kernels) {
    const std::string known = fit_problems(k.layer, {}, 5, 1, k.asked()).at(0);
    const std::vector<std::string> same(problems_each, known);
    EXPECT_LT(variety(k, same), least_variety);
    std::vector<std::string> near;
    for (std::uint64_t seed = 0; near.size() < problems_each; ++seed)
      if (const std::string text = vary_problem(known, seed); k.asked()({text})[0]) near.push_back(text);
    EXPECT_LT(variety(k, near), least_variety);
  }
}

TEST(choosy_kernels, that_accept_nothing_get_nothing) {
  const acceptance never = [](const std::vector<std::string>& p) {
    return std::vector<bool>(p.size(), false);
  };
  EXPECT_TRUE(fit_problems("conv2d", {}, 1, 4, never).empty());
}

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
