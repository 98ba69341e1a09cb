// Shrinking, judged by predicates whose minimal cases are known and by the independent list of one-step
// reductions.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "properties/generators/problem_space.hpp"
#include "properties/minimality.hpp"
#include "properties/shrink.hpp"
#include "properties/simpler_values.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"
#include "verify/law.hpp"
#include "verify/recurrence.hpp"

namespace plumb {
namespace {

using predicate = std::function<bool(const test_case&)>;

std::string pass_of_kernel(const std::string& kernel) {
  const std::size_t dot = kernel.find('.');
  return kernel.substr(dot + 1, kernel.find('/') - dot - 1);
}

/// Non-zero numbers everywhere, legal indices in index tensors.
test_case write_out(const test_case& c) {
  test_case result = c;
  result.regime = test_case::given;
  result.seed = 0;
  const auto l = plumb::bind(c.problem);
  std::uint64_t state = c.seed * 2 + 1;
  for (const std::string& name : l->find_pass(pass_of_kernel(c.kernel))->reads) {
    if (!l->present(name)) continue;
    const bool is_index = l->spec(name).kind == element::index;
    for (index_t i = 0; i < l->shapes()[name].size(); ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      const auto draw = static_cast<index_t>(state >> 33);
      const double value = is_index ? static_cast<double>(draw % l->index_bound(name))
                                    : static_cast<double>(draw % 19 - 9) + 0.25;
      if (value != 0) result.data.push_back({name, i, value});
    }
  }
  return result;
}

test_case drawn(const std::string& kernel, const std::string& text, std::uint64_t seed = 3) {
  test_case c;
  c.kernel = kernel;
  c.problem = text;
  c.regime = "lattice";
  c.seed = seed;
  c.threads = 3;
  c.layout = layout::nhwc;
  return c;
}

/// Element values by tensor and coordinates; a drawn case is written out first.
template <class F>
bool any_datum(const test_case& c, std::string_view tensor, F&& holds) {
  const test_case full = c.regime == test_case::given ? c : write_out(c);
  const auto l = plumb::bind(full.problem);
  return std::ranges::any_of(full.data, [&](const datum& d) {
    return d.tensor == tensor && holds(unflatten(d.at, l->shapes()[tensor]), d.value);
  });
}

shrunk minimise(const test_case& c, const predicate& fails) {
  return shrink(c, {fails, write_out}, {.calls = 200'000, .seconds = 60});
}

void expect_minimal(const shrunk& result, const predicate& fails) {
  EXPECT_TRUE(result.fixpoint);
  EXPECT_TRUE(fails(result.smallest)) << print(result.smallest);
  for (const test_case& smaller : one_step_reductions(result.smallest))
    EXPECT_FALSE(fails(smaller)) << print(result.smallest) << "\n  still fails one step below:\n  "
                                 << print(smaller);
}

const std::string conv_kernel = "conv2d.forward/specimen@test";
const std::string big_conv =
    "conv2d x=3x12x13x11 weight=18x4x3x5 bias=18 stride=2x3 pad=1,2,0,3 dilation=2x1 groups=3 flip=true";

TEST(shrinking, keeps_the_coordinates_that_matter) {
  const predicate fails = [](const test_case& c) {
    const auto l = plumb::bind(c.problem);
    return l->resolved().integers("stride")[0] >= 2 && l->resolved().integer("groups") >= 2;
  };
  const shrunk result = minimise(drawn(conv_kernel, big_conv), fails);
  expect_minimal(result, fails);
  EXPECT_EQ(print(result.smallest),
            conv_kernel +
                " | conv2d x=1x2x1x1 weight=2x1x1x1 stride=2x1 groups=2 | f32 nchw given "
                "align=end threads=1 poison=nan");
}

TEST(shrinking, finds_the_one_channel_that_matters) {
  const predicate fails = [](const test_case& c) {
    return any_datum(c, "x", [](const shape& at, double value) { return at[1] >= 3 && value != 0; });
  };
  const shrunk result = minimise(drawn(conv_kernel, big_conv), fails);
  expect_minimal(result, fails);
  EXPECT_EQ(plumb::bind(result.smallest.problem)->shapes()["x"], (shape{1, 4, 1, 1}));
  ASSERT_EQ(result.smallest.data.size(), 1U);
  EXPECT_EQ(result.smallest.data[0], (datum{"x", 3, 1}));
}

TEST(shrinking, keeps_a_product_of_two_operands) {
  const predicate fails = [](const test_case& c) {  // a term with both operands in column 1
    return any_datum(c, "x", [](const shape& at, double v) { return at[3] == 1 && std::fabs(v) >= 2; }) &&
           any_datum(c, "weight", [](const shape& at, double v) { return at[3] == 1 && v != 0; });
  };
  const shrunk result = minimise(drawn(conv_kernel, big_conv), fails);
  expect_minimal(result, fails);
  ASSERT_EQ(result.smallest.data.size(), 2U) << print(result.smallest);
  EXPECT_EQ(result.smallest.data[0].value, 2);
  EXPECT_EQ(result.smallest.data[1].value, 1);
}

TEST(shrinking, keeps_conditions_that_matter) {
  const predicate fails = [](const test_case& c) { return c.threads >= 2 && c.layout == layout::nhwc; };
  const shrunk result = minimise(drawn(conv_kernel, big_conv), fails);
  expect_minimal(result, fails);
  EXPECT_EQ(result.smallest.threads, 2);
  EXPECT_EQ(result.smallest.layout, layout::nhwc);
  EXPECT_TRUE(result.smallest.data.empty());
}

TEST(shrinking, trades_padding_and_groups_for_simpler_problems) {
  const predicate fails = [](const test_case& c) {  // needs room and channels, whichever way they come about
    const auto l = plumb::bind(c.problem);
    return l->shapes()["y"][2] >= 3 && l->shapes()["x"][1] >= 4;
  };
  const shrunk result = minimise(drawn(conv_kernel, "conv2d x=1x6x2x5 weight=6x2x3x3 pad=2 groups=3"), fails);
  expect_minimal(result, fails);
  EXPECT_EQ(result.smallest.problem, "conv2d x=1x4x3x1 weight=1x4x1x1");
}

TEST(shrinking, keeps_indices_legal) {
  const predicate fails = [](const test_case& c) {
    const auto l = plumb::bind(c.problem);
    for (const datum& d : c.data)
      if (d.tensor == "target" && d.value >= static_cast<double>(l->index_bound("target")))
        throw std::logic_error("illegal index");
    return any_datum(c, "target", [](const shape&, double value) { return value >= 2; });
  };
  const shrunk result = minimise(drawn("cross_entropy.forward/specimen@test",
                                       "cross_entropy x=3x7x2 target=3x2 weight=7 reduction=none"),
                                 fails);
  expect_minimal(result, fails);
  EXPECT_EQ(result.smallest.problem, "cross_entropy x=1x3 target=1");
  EXPECT_EQ(result.smallest.data, (std::vector<datum>{{"target", 0, 2}}));
}

TEST(shrinking, ends_where_a_nan_is_what_matters) {
  const predicate fails = [](const test_case& c) {
    return std::ranges::any_of(c.data, [](const datum& d) { return std::isnan(d.value); });
  };
  test_case start = write_out(drawn(conv_kernel, "conv2d x=1x2x3x4 weight=2x2x1x2"));
  start.data[5].value = std::numeric_limits<double>::quiet_NaN();
  const shrunk result = minimise(start, fails);
  expect_minimal(result, fails);
  EXPECT_EQ(result.smallest.data.size(), 1U);
  EXPECT_LT(result.calls, 1000);
}

TEST(shrinking, leaps_to_the_end_where_everything_fails) {
  const shrunk result = minimise(drawn(conv_kernel, big_conv), [](const test_case&) { return true; });
  EXPECT_TRUE(result.fixpoint);
  EXPECT_EQ(result.smallest.problem, "conv2d x=1x1x1x1 weight=1x1x1x1");
  EXPECT_LT(result.calls, 20);
}

TEST(recurrence, failures_that_come_and_go_are_asked_for_often_enough) {
  int asked = 0;
  const predicate now_and_then = [&asked](const test_case& c) { return c.threads > 1 && ++asked % 9 == 0; };
  const test_case failing = drawn(conv_kernel, big_conv);
  const predicate patient = asked_often_enough(now_and_then, failing, 5);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(patient(failing));
  test_case other = failing;
  other.threads = 1;
  EXPECT_FALSE(patient(other));
  EXPECT_FALSE(asked_often_enough([](const test_case&) { return false; }, failing, 5)(failing));
  const shrunk result = minimise(failing, patient);
  EXPECT_TRUE(result.fixpoint);
  EXPECT_EQ(result.smallest.threads, 2);
  EXPECT_EQ(result.smallest.problem, "conv2d x=1x1x1x1 weight=1x1x1x1");
}

TEST(shrinking, says_when_the_budget_ended_first) {
  const predicate fails = [](const test_case&) { return true; };
  const shrunk result = shrink(drawn(conv_kernel, big_conv), {fails, write_out}, {.calls = 3});
  EXPECT_FALSE(result.fixpoint);
  EXPECT_LE(result.calls, 3);
}

TEST(shrinking, hands_back_what_does_not_fail_again) {
  const shrunk result = minimise(drawn(conv_kernel, big_conv), [](const test_case&) { return false; });
  EXPECT_FALSE(result.fixpoint);
  EXPECT_EQ(result.smallest, drawn(conv_kernel, big_conv));
}

TEST(shrinking, is_minimal_from_drawn_problems_of_every_family) {
  for (const family_row& row : families()) {
    const auto forward = row.layer + ".forward/specimen@test";
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      const std::string text = draw_problem(row.layer, 500 + seed);
      const std::string tensor = plumb::bind(text)->describe().inputs[0].name;
      const index_t threshold = static_cast<index_t>(seed % 4);
      const predicate fails = [&](const test_case& c) {  // a datum past the threshold on any axis
        return any_datum(c, tensor, [&](const shape& at, double value) {
          return value != 0 && std::ranges::any_of(at, [&](index_t i) { return i >= threshold; });
        });
      };
      if (!fails(drawn(forward, text))) continue;
      SCOPED_TRACE(text);
      expect_minimal(minimise(drawn(forward, text), fails), fails);
    }
  }
}

// Specimens: kernels with one bug each, told from the reference by their results.

using tensors = tensor_set<double>;

tensors reads_of(const test_case& c, const layer& l, const pass_spec& pass) {
  tensors reads = make_tensors<double>(l, pass.reads);
  for (const datum& d : (c.regime == test_case::given ? c : write_out(c)).data)
    reads[d.tensor][d.at] = d.value;
  return reads;
}

struct specimen {
  std::string kernel;
  evaluator<double> run;

  bool fails(const test_case& c) const {
    const auto l = plumb::bind(c.problem);
    const pass_spec* pass = l->find_pass(pass_of_kernel(kernel));
    const tensors reads = reads_of(c, *l, *pass);
    const tensors truth = evaluate_pass<double>(*l, *pass, reads), answer = run(*l, *pass, reads);
    return truth.entries()[0].real.values() != answer.entries()[0].real.values();
  }
};

/// Takes the number of an attribute along the first axis for all axes.
evaluator<double> first_number_only(const std::string& attribute) {
  return [attribute](const layer& l, const pass_spec& pass, const tensors& reads) {
    problem text = l.canonical();
    const auto numbers = l.resolved().integers(attribute);
    text.set(attribute, std::to_string(numbers[0]));
    try {
      const auto wrong = plumb::bind(text);
      if (wrong->shapes()["y"] == l.shapes()["y"]) return evaluate_pass<double>(*wrong, pass, reads);
    } catch (const shape_error&) {  // no window fits: this bug would not get that far
    }
    return evaluate_pass<double>(l, pass, reads);
  };
}

std::vector<specimen> specimens() {
  std::vector<specimen> list;
  list.push_back({"conv2d.forward/unequal_sides@test", first_number_only("pad")});
  list.push_back({"conv2d.forward/first_dilation@test", first_number_only("dilation")});
  list.push_back(
      {"conv2d.forward/group_offset@test", [](const layer& l, const pass_spec& pass, tensors reads) {
         const tensor<double> x = reads["x"];
         for_each_index(x.extents(), [&](shape at) {
           const shape here = at;
           at[1] %= l.shapes()["weight"][1];
           reads["x"].view()(here) = x.view()(at);
         });
         return evaluate_pass<double>(l, pass, reads);
       }});
  list.push_back(
      {"conv2d.backward_weights/tail@test", [](const layer& l, const pass_spec& pass, tensors reads) {
         const index_t whole = l.shapes()["y"][3] / 8 * 8;
         for_each_index(reads["dy"].extents(), [&](const shape& at) {
           if (at[3] >= whole && at[3] > 2) reads["dy"].view()(at) = 0;
         });
         return evaluate_pass<double>(l, pass, reads);
       }});
  list.push_back(
      {"conv2d.backward_data/gaps@test", [](const layer& l, const pass_spec& pass, const tensors& reads) {
         tensors result = evaluate_pass<double>(l, pass, reads);
         const auto strides = l.resolved().integers("stride");
         for_each_index(result["dx"].extents(), [&](const shape& at) {
           if (at[2] % strides[0] >= l.shapes()["weight"][2]) result["dx"].view()(at) = 7;
         });
         return result;
       }});
  return list;
}

TEST(specimens, shrink_to_minimal_counterexamples) {
  for (const specimen& s : specimens()) {
    SCOPED_TRACE(s.kernel);
    const predicate fails = [&](const test_case& c) { return s.fails(c); };
    int found = 0;
    std::int64_t calls = 0;
    for (std::uint64_t seed = 0; found < 6 && seed < 400; ++seed) {
      const test_case c = drawn(s.kernel, draw_problem("conv2d", seed), seed);
      if (plumb::bind(c.problem)->find_pass(pass_of_kernel(c.kernel)) == nullptr || !fails(c)) continue;
      ++found;
      const shrunk result = minimise(c, fails);
      calls = std::max(calls, result.calls);
      expect_minimal(result, fails);
      if (found == 1) RecordProperty(s.kernel.substr(s.kernel.find('/') + 1, 5), print(result.smallest));
    }
    EXPECT_EQ(found, 6);
    RecordProperty(s.kernel.substr(s.kernel.find("/") + 1, 5) + "_calls", static_cast<int>(calls));
    EXPECT_LE(calls, 2500);
  }
}

TEST(reductions, contain_each_step_of_a_small_problem) {
  const test_case c = parse_case(conv_kernel +
                                 " | conv2d x=1x2x3x1 weight=2x1x2x1 bias=2 stride=2x1 groups=2 flip=true | "
                                 "f32 nchw given x@4=3 weight@3=-2 bias@1=0.5");
  std::map<std::string, int> seen;
  for (const test_case& r : one_step_reductions(c)) {
    ++seen[r.problem];
    EXPECT_NO_THROW(plumb::bind(r.problem)) << r.problem;
    EXPECT_NE(r, c);
  }
  const auto expected = {
      "conv2d x=1x2x2x1 weight=2x1x2x1 bias=2 stride=2x1 groups=2 flip=true",  // extent
      "conv2d x=1x2x3x1 weight=2x1x1x1 bias=2 stride=2x1 groups=2 flip=true",  // filter
      "conv2d x=1x1x3x1 weight=2x1x2x1 bias=2 stride=2x1 flip=true",           // groups, channels follow
      "conv2d x=1x2x3x1 weight=2x1x2x1 bias=2 groups=2 flip=true",             // stride
      "conv2d x=1x2x3x1 weight=2x1x2x1 bias=2 stride=2x1 groups=2",            // flag
      "conv2d x=1x2x3x1 weight=2x1x2x1 stride=2x1 groups=2 flip=true",         // optional tensor
  };
  for (const char* text : expected) EXPECT_EQ(seen.count(text), 1U) << text;
  EXPECT_EQ(seen[c.problem], 5) << "3 → 0, 3 → 2, -2 → 0, -2 → -1, 0.5 → 0";
}

TEST(reductions, catch_a_case_that_is_not_minimal) {
  const predicate fails = [](const test_case& c) {
    return any_datum(c, "x", [](const shape& at, double value) { return at[1] >= 3 && value != 0; });
  };
  for (const char* data : {"x@3=2", "x@3=1 weight@0=1"}) {
    const test_case c =
        parse_case(conv_kernel + " | conv2d x=1x4x1x1 weight=1x4x1x1 | f32 nchw given " + data);
    EXPECT_TRUE(std::ranges::any_of(one_step_reductions(c), fails)) << data;
  }
  const test_case wide =
      parse_case(conv_kernel + " | conv2d x=1x4x2x1 weight=1x4x1x1 | f32 nchw given x@7=1");
  EXPECT_TRUE(std::ranges::any_of(one_step_reductions(wide), fails)) << "the first row can go";
}

TEST(simpler, numbers_fall_toward_one_and_stay_representable) {
  for (const double value : {-1.0, 2.0, -7.0, 0.1, -3.75, 1e30, -1e-30, 1e9, 16777217.0}) {
    const double start = static_cast<double>(static_cast<float>(value));
    double now = start;
    int steps = 0;
    for (auto offers = simpler_values(now, dtype::f32, false); !offers.empty();
         offers = simpler_values(now, dtype::f32, false)) {
      now = offers.back();
      ASSERT_EQ(static_cast<double>(static_cast<float>(now)), now);
      if (++steps > 1000) break;  // large integers go down one by one if nothing bolder is accepted
    }
    EXPECT_TRUE(now == 1 || steps > 1000) << start;
  }
  EXPECT_TRUE(simpler_values(1, dtype::f32, false).empty());
  EXPECT_EQ(simpler_values(INFINITY, dtype::f32, false).front(), 1);
  EXPECT_EQ(simpler_values(NAN, dtype::f32, false).front(), 1);
  for (const double offer : simpler_values(5, dtype::i64, true)) EXPECT_GE(offer, 1);
}

}  // namespace
}  // namespace plumb
