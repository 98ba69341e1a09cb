// What plumb-cuda-check does around the kernels, without a device: its list of cases against the kernels that there are,
// comparison with what is wrong, and a contestant whose memory is ordinary.
#include "optimized/tools/check_layers.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "optimized/kernels.hpp"
#include "optimized/tools/check_summary.hpp"

namespace plumb::cuda {
namespace {

const registry& all_kernels() {
  static const registry kernels = [] {
    registry r;
    register_cuda_kernels(r);
    return r;
  }();
  return kernels;
}

TEST(check_layers, have_a_case_for_every_device_kernel_but_convolutions) {
  std::set<std::string> covered;
  for (const layer_case& c : layer_cases(false)) covered.insert(c.text.layer() + "." + c.pass);
  for (const kernel* k : all_kernels().matching("*@cuda")) {
    if (k->layer == "conv2d") continue;
    EXPECT_TRUE(covered.contains(k->layer + "." + k->pass)) << k->name;
    EXPECT_NE(all_kernels().find(host_twin(k->name)), nullptr) << host_twin(k->name);
  }
  EXPECT_EQ(host_twin("relu.forward/flat@cuda"), "relu.forward/cuda_flat@host");
}

TEST(check_layers, are_problems_that_the_kernels_accept) {
  for (const bool small : {true, false})
    for (const layer_case& c : layer_cases(small))
      for (const kernel* k : all_kernels().matching(c.text.layer() + "." + c.pass + "/*@cuda")) {
        const kernel_problem kp{c.text, dtype::f32, layout::nchw, 1};
        EXPECT_TRUE(k->supports(kp).ok) << k->name << ": " << k->supports(kp).reason;
        EXPECT_GT(c.bytes(), small ? 100 : 1e8);
      }
}

/// Host execution in the place of the device: rehearsed, exchanged, and compared, for every small case.
TEST(check_layers, run_through_on_ordinary_memory) {
  ordinary_memory on;
  int unnoticed = 0;
  for (const layer_case& c : layer_cases(true))
    for (const kernel* k : all_kernels().matching(c.text.layer() + "." + c.pass + "/*@host")) {
      const auto plan = k->make_plan({c.text, dtype::f32, layout::nchw, 1});
      layer_runner runner(on, c, plan->workspace_size(), [&](const kernel_call& call) {
        plan->run(call);
        return plan->failure();
      });
      ASSERT_EQ(runner.rehearse(), "") << k->name;
      const contestant entry = runner.entry(k->name);
      for (int set = 0; set < layer_sets::sets; ++set)
        for (const bool exchanged : {false, true}) {
          if (exchanged) entry.exchange(set);
          entry.poison(set);
          EXPECT_NE(entry.check(set, exchanged), "") << k->name << " is not poisoned";
          EXPECT_EQ(entry.run(set), "");
          EXPECT_EQ(entry.check(set, exchanged), "") << k->name;
        }
      entry.exchange(0);  // back: the result of the other state is the wrong one
      EXPECT_EQ(entry.run(0), "");
      unnoticed += entry.check(0, true).empty() ? 1 : 0;
    }
  // One number has nothing to change places with, and a maximum may be another.
  EXPECT_LE(unnoticed, 2);
}

std::vector<std::byte> bytes_of(const std::vector<float>& v) {
  std::vector<std::byte> bytes(v.size() * sizeof(float));
  std::memcpy(bytes.data(), v.data(), bytes.size());
  return bytes;
}

TEST(compare_outputs, sees_a_wrong_element_a_NaN_an_infinity_and_zeros) {
  layer_case c;
  c.writes = {{shape{2, 2}}, {shape{1}}};
  const std::vector<float> right = {1, -2, 3, 100, 0.5F};
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), inf = HUGE_VALF;
  EXPECT_EQ(compare_outputs(c, bytes_of(right), bytes_of(right), 1e-5), "");
  EXPECT_EQ(compare_outputs(c, bytes_of({1.0009F, -2, 3, 100, 0.5F}), bytes_of(right), 1e-5), "");
  const std::vector<std::vector<float>> wrong = {{1.002F, -2, 3, 100, 0.5F},
                                                 {1, -2, nan, 100, 0.5F},
                                                 {1, inf, 3, 100, 0.5F},
                                                 {0, 0, 0, 0, 0.5F},
                                                 {1, -2, 3, 100, 0.51F}};
  for (const auto& w : wrong)
    EXPECT_NE(compare_outputs(c, bytes_of(w), bytes_of(right), 1e-5).find("wrong: element"),
              std::string::npos);
  EXPECT_NE(compare_outputs(c, bytes_of(right), bytes_of({1, -2, nan, 100, 0.5F}), 1e-5), "");
  c.writes = {{shape{1}, check_tensor::kind::index, 5}};
  EXPECT_EQ(compare_outputs(c, bytes_of({1, 2}), bytes_of({1, 2}), 1e-5), "");
  EXPECT_NE(compare_outputs(c, bytes_of({1, 2}), bytes_of({1, 3}), 1e-5), "");
}

TEST(check_summary, takes_the_best_kernel_of_each_problem_and_their_geometric_mean) {
  check_summary s;
  EXPECT_NE(s.print().find("convolution in f32, speed over cuDNN's     no number (goal 1.00)"),
            std::string::npos)
      << s.print();
  s.add(check_group::f32, "a", 0.5);
  s.add(check_group::f32, "a", 2.0);
  s.add(check_group::f32, "a", 1.0);
  s.add(check_group::f32, "b", 0.5);
  s.add(check_group::memory, "relu", 0.84);
  const std::string text = s.print();
  EXPECT_NE(text.find("1.00 over 2 problems, worst 0.50 (b); goal 1.00 met"), std::string::npos) << text;
  EXPECT_NE(text.find("0.84 over 1 problems, worst 0.84 (relu); goal 0.85 MISSED"), std::string::npos)
      << text;
  s.add(check_group::f32, "c", std::nan(""));
  EXPECT_NE(s.print().find("goal 1.00 MISSED"), std::string::npos) << "what is no number meets nothing";
  EXPECT_EQ(group_of("f32", true, false), check_group::depthwise);
  EXPECT_EQ(group_of("f32", false, true), check_group::first_layer);
  EXPECT_EQ(group_of("f32", false, false), check_group::f32);
  EXPECT_EQ(group_of("tf32", true, true), check_group::tf32);
  EXPECT_EQ(group_of("winograd(4,3)", false, true), check_group::winograd);
  EXPECT_EQ(arithmetic_of_peers("winograd(4,3)"), "f32");
  EXPECT_EQ(arithmetic_of_peers("bf16_f32"), "bf16_f32");
}

TEST(tolerated_shares, know_every_arithmetic) {
  for (const kernel* k : all_kernels().matching("*@cuda")) {
    const bool rounded = k->arithmetic == "tf32" || k->arithmetic == "bf16_f32";
    EXPECT_EQ(tolerated_share(k->arithmetic) > 1e-3, rounded) << k->name << " " << k->arithmetic;
  }
}

}  // namespace
}  // namespace plumb::cuda
