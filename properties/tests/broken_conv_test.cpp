// The five kernels of examples/broken_conv, judged as the command line judges them: each is caught, its
// replay line repeats the failure, and nothing one step simpler fails. The last is asked of the kernels
// themselves, with the list that the shrinker does not know.
#include <gtest/gtest.h>

#include "properties/generators/problem_space.hpp"
#include "properties/laws/laws.hpp"
#include "properties/minimality.hpp"
#include "properties/shrink.hpp"
#include "verify/runner.hpp"

namespace plumb {
namespace {

sandbox_options with_the_plugin() {
  sandbox_options options;
  options.worker = TEST_WORKER;
  options.plugins = {PLUGIN};
  options.arenas = runner_arenas;
  return options;
}

record::verify_section judge(sandbox& box) {
  verify_options o;
  for (const kernel_info& k : box.kernels())
    if (!k.plugin.empty()) o.kernels.push_back(&k);
  o.seconds = 20;
  o.draw_problem = [](const std::string& layer, std::uint64_t seed) { return draw_problem(layer, seed); };
  o.triggers = [](const layer& l) { return triggers(l); };
  o.all_triggers = [](const std::string& layer) { return all_triggers(layer); };
  o.laws = laws();
  o.stop_at_first_failure = true;
  o.shrink = [](const test_case& failing, const std::function<bool(const test_case&)>& fails,
                double seconds) {
    const shrunk r = shrink(failing, {fails, with_data}, {.seconds = seconds});
    return shrunk_case{r.smallest, r.calls, r.fixpoint};
  };
  return verify(box, o);
}

TEST(broken_conv, every_counterexample_is_minimal_and_repeats) {
  sandbox box(with_the_plugin());
  const record::verify_section section = judge(box);
  EXPECT_EQ(section.kernels.size(), 5U);
  const auto fails = [&](const test_case& c) {
    const single_case again = examine(box, c, false);
    return again.result.wrong.has_value();
  };
  for (const record::kernel_result& k : section.kernels) {
    EXPECT_TRUE(k.verdict == record::verdict::fail || k.verdict == record::verdict::crashed) << k.name;
    ASSERT_FALSE(k.counterexamples.empty()) << k.name;
    const record::counterexample& shown = k.counterexamples.front();
    EXPECT_TRUE(shown.minimal) << shown.replay;
    const test_case smallest = parse_case(shown.replay);
    EXPECT_TRUE(fails(smallest)) << "does not repeat: " << shown.replay;
    const auto simpler = one_step_reductions(smallest);
    for (const test_case& c : simpler)
      EXPECT_FALSE(fails(c)) << shown.replay << "\n  still fails one step below:\n  " << print(c);
    EXPECT_EQ(simpler.empty(),
              smallest.problem == "conv2d x=1x1x1x1 weight=1x1x1x1" && smallest.data.empty());
  }
}

}  // namespace
}  // namespace plumb
