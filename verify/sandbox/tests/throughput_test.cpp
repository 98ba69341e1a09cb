// How many kernel calls a second the sandbox sustains, and how fast it recovers from crashes: the figures
// that decide how many cases a run of twenty seconds can judge. The floors are far below what an idle machine
// does.
#include <chrono>
#include <cstdio>

#include "verify/sandbox/tests/harness.hpp"

namespace plumb {
namespace {

class stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Places a case as the runner does: two poisons, both ends, fresh buffers.
std::vector<kernel_run> lay_case(arena& a, const std::string& kernel, index_t n, int threads) {
  a.clear();
  std::vector<kernel_run> runs;
  for (const bool at_end : {true, false}) {
    const placed_tensor x = place_x(a, n, {at_end, 0});
    for (const poison fill : {poison::nan, poison::large}) {
      kernel_run run = toy_run(kernel, x, place_y(a, n, fill, {at_end, 0}));
      run.threads = threads;
      run.reuse_plan = !runs.empty();
      runs.push_back(run);
    }
  }
  return runs;
}

void judge(const std::vector<run_result>& results, const std::vector<kernel_run>& runs) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    ASSERT_EQ(results[i].status, run_status::ok) << results[i].text;
    ASSERT_FALSE(find_damage(runs[i].writes[0]));
    expect_copied(runs[i].writes[0]);
  }
  ASSERT_EQ(find_unwritten(runs[0].writes[0], runs[1].writes[0]).count, 0);
}

double calls_per_second(sandbox& box, const std::string& kernel, index_t n, int threads, int cases) {
  std::vector<std::vector<kernel_run>> runs(2);
  const stopwatch watch;
  long calls = 0;
  for (int i = 0; i < cases + 1; ++i) {
    const auto now = static_cast<std::size_t>(i % 2);
    if (i < cases) {
      runs[now] = lay_case(box.at(i % 2), kernel, n, threads);
      box.submit(box.at(i % 2), runs[now]);
    }
    if (i == 0) continue;
    judge(box.wait(box.at(1 - i % 2)), runs[1 - now]);
    calls += static_cast<long>(runs[1 - now].size());
  }
  return static_cast<double>(calls) / watch.seconds();
}

TEST(throughput, judged_calls_per_second) {
  sandbox box(test_options());
  for (const index_t n : {10, 1000, 20000}) {
    const double rate = calls_per_second(box, "plain@test", n, 1, n > 1000 ? 100 : 3000);
    std::printf("[ measured ] copies of %5lld floats, 4 calls a case: %8.0f calls/s\n",
                static_cast<long long>(n), rate);
    EXPECT_GT(rate, 50);
  }
  for (const int threads : {2, 7})
    std::printf("[ measured ] a team of %d threads: %26.0f calls/s\n", threads,
                calls_per_second(box, "team@test", 1000, threads, 1000));
}

TEST(throughput, round_trip_of_a_single_call) {
  sandbox box(test_options());
  arena& a = box.at(0);
  const kernel_run run = toy_run("plain@test", place_x(a, 10), place_y(a, 10));
  box.run(a, {run});
  const stopwatch watch;
  constexpr int trips = 2000;
  for (int i = 0; i < trips; ++i) box.run(a, {run});
  std::printf("[ measured ] one call, submit to result: %.1f us\n", 1e6 * watch.seconds() / trips);
}

TEST(throughput, crashes_per_second) {
  sandbox box(test_options({"hazards"}));
  arena& a = box.at(0);
  const stopwatch watch;
  constexpr int crashes = 100;
  for (int i = 0; i < crashes; ++i) {
    a.clear();
    ASSERT_EQ(box.run(a, {toy_run("writes_past_the_end@bad", place_x(a, 5), place_y(a, 5))})[0].status,
              run_status::crashed);
  }
  const double rate = crashes / watch.seconds();
  std::printf("[ measured ] crashes, each with a fresh worker: %.0f/s\n", rate);
  EXPECT_GT(rate, 1);
}

}  // namespace
}  // namespace plumb
