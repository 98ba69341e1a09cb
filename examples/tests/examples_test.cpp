// The example plugins in the sandbox, beside sums written out here in double: my_conv is right, every kernel
// of broken_conv is wrong where its bug bites and right elsewhere. Small integers, so that right means equal.
#include <gtest/gtest.h>

#include <plumb/plugin.hpp>

#include "reference/core/problem.hpp"
#include "verify/sandbox/sandbox.hpp"

/// The header reads problem text for this test; a plugin it is not.
std::vector<plumb::plugin_kernel> plumb::plugin_kernels() { return {}; }

namespace plumb {
namespace {

/// Every (n, k, p, q, c, r, s) whose tap lies inside x, with the row-major numbers of y, x and weight.
template <class F>
void for_each_term(const conv2d_problem& a, F f) {
  const index_t channels = a.c / a.groups;
  for_each_index(shape{a.n, a.k, a.p, a.q, channels, a.r, a.s}, [&](const shape& i) {
    const index_t n = i[0], k = i[1], c = k / (a.k / a.groups) * channels + i[4];
    const index_t h = i[2] * a.stride_h - a.pad_top + i[5] * a.dilation_h;
    const index_t w = i[3] * a.stride_w - a.pad_left + i[6] * a.dilation_w;
    if (h < 0 || h >= a.h || w < 0 || w >= a.w) return;
    f(((n * a.k + k) * a.p + i[2]) * a.q + i[3], ((n * a.c + c) * a.h + h) * a.w + w,
      ((k * channels + i[4]) * a.r + i[5]) * a.s + i[6]);
  });
}

float datum(index_t i) { return static_cast<float>((i * 7 + 3) % 11 - 5); }

struct outcome {
  run_result result;
  index_t wrong = 0;  ///< elements that differ from the sum
  bool damaged = false;
};

class examples : public testing::Test {
 protected:
  static sandbox& box() {
    sandbox_options options;
    options.worker = TEST_WORKER;
    options.plugins = {PLUGINS "/libmy_conv.so", PLUGINS "/libbroken_conv.so"};
    static sandbox shared(options);
    return shared;
  }

  static outcome run(const std::string& kernel, const std::string& text, int threads = 1,
                     bool at_end = true) {
    problem_reader reader(text.c_str());
    const conv2d_problem a = conv2d_problem::read(reader, threads);
    EXPECT_EQ(reader.complaint(), "");
    const bool backward = kernel.find("backward_data") != std::string::npos;
    const shape x{a.n, a.c, a.h, a.w}, weight{a.k, a.c / a.groups, a.r, a.s}, y{a.n, a.k, a.p, a.q},
        bias{a.k};

    arena& memory = box().at(0);
    memory.clear();
    const auto place = [&](const char* name, const shape& extents) {
      placed_tensor t = memory.place_read(name, dtype::f32, extents, row_major(extents), {at_end, 0});
      for (index_t i = 0; i < extents.size(); ++i) t.here.view<float>()[i] = datum(i);
      return t;
    };
    kernel_run call;
    call.kernel = kernel;
    call.canonical = call.resolved = text;
    call.threads = threads;
    call.reads = {place(backward ? "dy" : "x", backward ? y : x), place("weight", weight)};
    if (!backward) call.reads.push_back(a.bias ? place("bias", bias) : placed_tensor{});
    const shape& written = backward ? x : y;
    call.writes = {
        memory.place_written("out", dtype::f32, written, row_major(written), poison::nan, {at_end, 0})};

    std::vector<double> expected(static_cast<std::size_t>(written.size()), 0.0);
    for_each_term(a, [&](index_t at_y, index_t at_x, index_t at_weight) {
      const index_t from = backward ? at_y : at_x;
      expected[static_cast<std::size_t>(backward ? at_x : at_y)] +=
          double{datum(from)} * double{datum(at_weight)};
    });
    if (!backward && a.bias)
      for (index_t i = 0; i < y.size(); ++i)
        expected[static_cast<std::size_t>(i)] += double{datum(i / (a.p * a.q) % a.k)};

    outcome o;
    o.result = box().run(memory, {call})[0];
    for (index_t i = 0; i < written.size(); ++i)
      if (!(double{call.writes[0].here.view<float>()[i]} == expected[static_cast<std::size_t>(i)])) ++o.wrong;
    o.damaged = find_damage(call.writes[0]).has_value();
    return o;
  }

  static void expect_right(const std::string& kernel, const std::string& text, int threads = 1) {
    const outcome o = run(kernel, text, threads);
    EXPECT_EQ(o.result.status, run_status::ok) << text << ": " << o.result.text;
    EXPECT_EQ(o.wrong, 0) << kernel << " on " << text;
    EXPECT_FALSE(o.damaged) << text;
  }
};

const std::vector<std::string> varied = {
    "conv2d x=1x1x1x1 weight=1x1x1x1",
    "conv2d x=2x3x7x5 weight=4x3x3x2 bias=4 pad=1",
    "conv2d x=1x4x9x16 weight=6x2x3x3 groups=2 stride=2x1 pad=0,2,3,1",
    "conv2d x=2x2x11x9 weight=2x1x2x3 groups=2 stride=3x2 dilation=2x3 pad=4x5 bias=2",
    "conv2d x=1x2x5x33 weight=3x2x1x4 stride=1x4 padding=same_upper",
    "conv2d x=0x2x5x5 weight=3x2x1x4",
    "conv2d x=1x1x2x2 weight=1x1x3x3 pad=5",
};

TEST_F(examples, my_conv_is_right) {
  for (const std::string& text : varied)
    for (const int threads : {1, 3}) {
      expect_right("conv2d.forward/my_conv@cpu", text, threads);
      expect_right("conv2d.backward_data/my_conv@cpu", text, threads);
    }
}

TEST_F(examples, my_conv_declines_by_name_what_it_does_not_know) {
  arena& memory = box().at(0);
  memory.clear();
  kernel_run call;
  call.kernel = "conv2d.forward/my_conv@cpu";
  call.canonical = call.resolved = "conv2d x=1x1x4x4 weight=1x1x3x3 flip=true";
  call.query = true;
  const run_result r = box().run(memory, {call})[0];
  EXPECT_EQ(r.status, run_status::declined);
  EXPECT_EQ(r.text, "does not know `flip`");
}

TEST_F(examples, each_broken_kernel_is_right_where_its_bug_sleeps) {
  expect_right("conv2d.forward/unequal_sides@broken",
               "conv2d x=2x3x7x7 weight=4x3x3x3 bias=4 pad=1 stride=2");
  expect_right("conv2d.forward/group_offset@broken", "conv2d x=2x3x5x6 weight=3x1x3x3 groups=3 pad=1");
  expect_right("conv2d.forward/vector_tail@broken", "conv2d x=1x2x4x16 weight=3x2x3x3 pad=1");
  expect_right("conv2d.forward/vector_tail@broken", "conv2d x=1x2x4x7 weight=3x2x3x3 pad=1");
  expect_right("conv2d.forward/past_the_end@broken", "conv2d x=1x2x4x16 weight=3x2x3x3 pad=1");
  expect_right("conv2d.backward_data/stride_gaps@broken",
               "conv2d x=2x4x7x7 weight=4x2x3x3 groups=2 pad=1 stride=2");
}

TEST_F(examples, each_broken_kernel_is_wrong_where_its_bug_bites) {
  EXPECT_GT(run("conv2d.forward/unequal_sides@broken", "conv2d x=1x1x3x3 weight=1x1x2x2 pad=1,0,0,0").wrong,
            0);
  EXPECT_GT(run("conv2d.forward/group_offset@broken", "conv2d x=1x2x1x1 weight=4x1x1x1 groups=2").wrong, 0);
  EXPECT_GT(run("conv2d.forward/vector_tail@broken", "conv2d x=1x1x1x9 weight=1x1x1x1").wrong, 0);
  EXPECT_GT(
      run("conv2d.backward_data/stride_gaps@broken", "conv2d x=1x1x1x2 weight=1x1x1x1 stride=1x2").wrong, 0);
  const outcome against_the_guard =
      run("conv2d.forward/past_the_end@broken", "conv2d x=1x1x1x1 weight=1x1x1x1");
  EXPECT_EQ(against_the_guard.result.status, run_status::crashed);
  EXPECT_EQ(against_the_guard.result.site.kind, crash_site::where::past_end);
  const outcome before_canaries =
      run("conv2d.forward/past_the_end@broken", "conv2d x=1x1x1x1 weight=1x1x1x1", 1, false);
  EXPECT_EQ(before_canaries.result.status, run_status::ok);
  EXPECT_TRUE(before_canaries.damaged);
}

}  // namespace
}  // namespace plumb
