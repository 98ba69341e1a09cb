// Every law is seen failing: for each there is a kernel with one bug of the kind that the law is about, and
// the law must accuse it within a few drawn problems.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "properties/generators/problem_space.hpp"
#include "properties/tests/law_plants.hpp"

namespace plumb {
namespace {

using planted::plant;

const std::vector<plant>& plants() {
  static const std::vector<plant> all = [] {
    std::vector<plant> list;
    planted::add_other_plants(list);
    planted::add_weighted_plants(list);
    return list;
  }();
  return all;
}

class planted_bug : public testing::TestWithParam<std::size_t> {};

TEST_P(planted_bug, is_caught_by_its_law) {
  const plant& p = plants()[GetParam()];
  const auto which = std::ranges::find(laws(), p.law, &law::name);
  ASSERT_NE(which, laws().end()) << p.law;
  const std::string layer_name = p.pass.substr(0, p.pass.find('.')),
                    pass_name = p.pass.substr(p.pass.find('.') + 1);
  int tried = 0, caught = 0;
  for (std::uint64_t seed = 0; seed < 300 && tried < 40; ++seed) {
    const auto l = plumb::bind(draw_problem(layer_name, seed));
    const pass_spec* pass = l->find_pass(pass_name);
    if (pass == nullptr || !which->applies(*l, *pass)) continue;
    const law_verdict v = which->on_kernel(*l, *pass, seed, p.kernel);
    if (!v.applicable) continue;
    ++tried;
    caught += !v.holds;
    EXPECT_EQ(v.holds, v.message.empty());
  }
  RecordProperty("caught", caught);
  RecordProperty("tried", tried);
  EXPECT_GE(caught * 10, tried) << p.law << " on a kernel that " << p.what << ": " << caught << " of "
                                << tried;
  EXPECT_GT(caught, 0);
}

INSTANTIATE_TEST_SUITE_P(properties, planted_bug, testing::Range<std::size_t>(0, plants().size()),
                         [](const auto& instance) {
                           std::string name =
                               plants()[instance.param].law + "_" + std::to_string(instance.param);
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

TEST(every_law, has_a_planted_bug) {
  std::set<std::string> covered;
  for (const plant& p : plants()) covered.insert(p.law);
  for (const law& each : laws()) EXPECT_TRUE(covered.contains(each.name)) << each.name;
}

}  // namespace
}  // namespace plumb
