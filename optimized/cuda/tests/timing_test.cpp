// The rules of timing against contestants that cheat, on a device whose time is a variable.
#include "optimized/cuda/timing.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace plumb::cuda {
namespace {

/// A device with one queue that counts, a second one that the events do not see, and a host clock.
class pretended final : public timing_device {
 public:
  void hold() override { held_ = true; }
  bool release() override {
    const bool in_time = held_;
    held_ = false;
    return in_time;
  }
  void mark_start() override { queued_ = 0; }
  void mark_stop() override { marked_ = queued_; }
  double marked_seconds() override { return marked_ * event_rate; }
  std::string finish() override {
    now_ += queued_ + elsewhere_ + 10e-6;
    queued_ = elsewhere_ = 0;
    return error;
  }
  void flush_cache() override { ++flushes; }
  double host_seconds() override { return now_; }
  bool throttled() override { return throttling; }
  card about() override { return {}; }

  void work(double seconds) { queued_ += seconds; }
  void work_elsewhere(double seconds) { elsewhere_ += seconds; }
  void wait_for_everything() {
    held_ = false;  // the second passes
    finish();
  }

  double event_rate = 1;  ///< of events that lie
  bool throttling = false;
  int flushes = 0;
  std::string error;

 private:
  bool held_ = false;
  double queued_ = 0, marked_ = 0, elsewhere_ = 0, now_ = 0;
};

/// A kernel that negates its one input, and what cheats would do instead.
struct kernel_under_test {
  pretended* on = nullptr;
  double takes = 1e-3;
  std::vector<double> in = {1, 2, 3}, out = {0, 0, 0};
  std::function<void(int)> instead = {};

  contestant entry(const std::string& name) {
    contestant c;
    c.name = name;
    c.run = [this](int set) {
      if (instead) {
        instead(set);
        return std::string();
      }
      on->work(takes);
      compute(set);
      return std::string();
    };
    c.exchange = [this](int set) { in[at(set)] = -in[at(set)]; };
    c.poison = [this](int set) { out[at(set)] = std::nan(""); };
    c.check = [this](int set, bool exchanged) {
      const double expected = (exchanged ? 1 : -1) * static_cast<double>(set + 1);
      return out[at(set)] == expected ? std::string()
                                      : std::string("an output differs from that of an untimed run");
    };
    return c;
  }
  void compute(int set) { out[at(set)] = -in[at(set)]; }
  static std::size_t at(int set) { return static_cast<std::size_t>(set); }
};

timed time_one(pretended& on, kernel_under_test& k, double floor = 0) {
  k.on = &on;
  contestant c = k.entry("mine");
  c.floor_seconds = floor;
  return time_contest(on, {.rounds = 24}, {c}).front();
}

TEST(timing, of_an_honest_kernel_is_what_it_takes) {
  pretended on;
  kernel_under_test k;
  const timed t = time_one(on, k);
  EXPECT_EQ(t.trouble, "");
  ASSERT_EQ(t.seconds.size(), 24u);
  for (const double s : t.seconds) EXPECT_DOUBLE_EQ(s, 1e-3);
  EXPECT_EQ(on.flushes, 24);
}

TEST(timing, sees_work_on_another_stream) {
  pretended on;
  kernel_under_test k;
  k.instead = [&](int set) {
    on.work(1e-6);
    on.work_elsewhere(1e-3);
    k.compute(set);
  };
  EXPECT_NE(time_one(on, k).trouble.find("on another stream"), std::string::npos);
}

TEST(timing, sees_events_that_run_fast_or_slow) {
  pretended on;
  kernel_under_test k;
  on.event_rate = 0.5;
  EXPECT_NE(time_one(on, k).trouble.find("but the device was busy for"), std::string::npos);
  on.event_rate = 2;
  EXPECT_NE(time_one(on, k).trouble.find("the host's clock only"), std::string::npos);
  on.event_rate = std::nan("");
  EXPECT_NE(time_one(on, k).trouble, "");
}

TEST(timing, sees_a_call_that_waits_for_the_device) {
  pretended on;
  kernel_under_test k;
  k.instead = [&](int set) {
    on.work(1e-3);
    k.compute(set);
    on.wait_for_everything();
  };
  EXPECT_EQ(time_one(on, k).trouble, "its call waits for the device before it returns");
}

TEST(timing, sees_results_that_are_remembered) {
  pretended on;
  kernel_under_test k;
  std::vector<double> kept(3, std::nan(""));
  k.instead = [&](int set) {
    double& result = kept[static_cast<std::size_t>(set)];
    on.work(1e-3);
    if (result != result) {
      k.compute(set);
      result = k.out[static_cast<std::size_t>(set)];
    }
    k.out[static_cast<std::size_t>(set)] = result;
  };
  EXPECT_EQ(time_one(on, k).trouble, "in a timed call: an output differs from that of an untimed run");
}

TEST(timing, sees_a_call_that_does_nothing) {
  pretended on;
  kernel_under_test k;
  k.instead = [&](int) { on.work(1e-6); };
  EXPECT_NE(time_one(on, k).trouble.find("an output differs"), std::string::npos);
}

TEST(timing, takes_no_time_below_the_floor) {
  pretended on;
  kernel_under_test k;
  EXPECT_EQ(time_one(on, k, 1.05e-3).trouble, "");
  EXPECT_NE(time_one(on, k, 1.2e-3).trouble.find("less than the roofs allow"), std::string::npos);
}

TEST(floors, are_what_the_card_could_do_at_best) {
  const card h100 = {"H100", 90, 132, 1.98e9, 3.35e12}, a100 = {"A100", 80, 108, 1.41e9, 1.555e12};
  // The vendor's peaks without sparsity, at the clocks they are given for: 19.5, 156 and 312 TFLOP/s of the A100.
  EXPECT_NEAR(1 / floor_seconds(a100, "f32", 1, 0) * 1e-12, 2 * 19.5, 0.1)
      << "counted as if every lane had two units";
  EXPECT_NEAR(1 / floor_seconds(a100, "tf32", 1, 0) * 1e-12, 156, 1);
  EXPECT_NEAR(1 / floor_seconds(a100, "bf16_f32", 1, 0) * 1e-12, 312, 1);
  EXPECT_NEAR(1 / floor_seconds(h100, "bf16_f32", 1, 0) * 1e-12, 989 * 1.98 / 1.83, 5);
  EXPECT_NEAR(1 / floor_seconds(h100, "f32", 1, 0) * 1e-12, 67 * 1.98 / 1.98, 0.5);
  EXPECT_DOUBLE_EQ(4 * floor_seconds(h100, "winograd(4,3)", 1, 0), floor_seconds(h100, "f32", 1, 0));
  EXPECT_DOUBLE_EQ(floor_seconds(h100, "f32", 1, 3.35e12), 1) << "the larger of the two";
  EXPECT_EQ(floor_seconds({}, "f32", 1e12, 1e12), 0) << "nothing is known";
}

TEST(timing, drops_throttled_samples_and_says_so) {
  pretended on;
  kernel_under_test k;
  on.throttling = true;
  const timed t = time_one(on, k);
  EXPECT_TRUE(t.seconds.empty());
  EXPECT_EQ(t.trouble, "the card throttled in 24 of 24 samples");
}

TEST(timing, passes_errors_on) {
  pretended on;
  kernel_under_test k;
  on.error = "an illegal memory access was encountered";
  EXPECT_EQ(time_one(on, k).trouble, "an illegal memory access was encountered");
}

TEST(timing, gives_the_others_their_numbers_when_one_is_in_trouble) {
  pretended on;
  kernel_under_test good, bad;
  good.on = bad.on = &on;
  bad.instead = [&](int) { on.work(1e-6); };
  const auto results = time_contest(on, {.rounds = 12}, {good.entry("good"), bad.entry("bad")});
  EXPECT_EQ(results[0].trouble, "");
  EXPECT_EQ(results[0].seconds.size(), 12u);
  EXPECT_NE(results[1].trouble, "");
}

timed series_of(std::vector<double> seconds) {
  timed t;
  t.seconds = std::move(seconds);
  for (int i = 0; i < static_cast<int>(t.seconds.size()); ++i) t.rounds.push_back(i);
  return t;
}

TEST(comparison_of_times, needs_an_interval_to_say_anything) {
  const timed one = series_of(std::vector<double>(12, 1.0));
  EXPECT_EQ(compare(one, one).verdict, "same");
  EXPECT_EQ(compare(series_of(std::vector<double>(12, 0.5)), one).verdict, "faster");
  EXPECT_EQ(compare(series_of(std::vector<double>(12, 1.5)), one).verdict, "slower");
  EXPECT_EQ(compare(series_of(std::vector<double>(5, 0.5)), one).verdict, "ambiguous");
  EXPECT_EQ(compare(series_of({}), one).verdict, "ambiguous");
  EXPECT_EQ(
      compare(series_of({0.5, 1.5, 0.6, 1.4, 0.7, 1.3, 0.5, 1.5}), series_of(std::vector<double>(8, 1.0)))
          .verdict,
      "ambiguous");
}

TEST(comparison_of_times, has_the_interval_of_order_statistics) {
  // n = 6: 2/2⁶ = 3.1 % lie outside [x(1), x(6)]; n = 9: 2·(1 + 9)/2⁹ = 3.9 % outside [x(2), x(8)].
  const timed ones = series_of(std::vector<double>(9, 1.0));
  const ratio six = compare(series_of({6, 1, 5, 2, 4, 3}), ones);
  EXPECT_EQ(six.low, 1);
  EXPECT_EQ(six.high, 6);
  EXPECT_EQ(six.median, 3.5);
  const ratio nine = compare(series_of({9, 8, 7, 6, 5, 4, 3, 2, 1}), ones);
  EXPECT_EQ(nine.low, 2);
  EXPECT_EQ(nine.high, 8);
}

}  // namespace
}  // namespace plumb::cuda
