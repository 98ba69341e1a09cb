// Thousands of calls of one kernel in a row, and what they leave behind: memory, threads, open files, work that goes on
// after the call has returned. What grows with the calls has grown in the first half of them and in the second.
#include <fmt/format.h>

#include <limits>

#include "reference/layers/catalogue.hpp"
#include "verify/runner.hpp"

namespace plumb {
namespace {

constexpr int calls_in_a_row = 10'000;
constexpr std::int64_t least_bytes = 2048, least_pages = 16,
                       least_handles = 2;  // in each half: less is chance
constexpr double most_idle_cpu = 0.001;    // of 0.020 s

std::string what_grew(const run_result& r) {
  const wire::holdings& g = r.grown;
  std::vector<std::string> list;
  const auto add = [&](std::int64_t grown, std::int64_t least, std::int64_t unit, const char* what) {
    if (grown >= least) list.push_back(fmt::format("{} {}", 2 * grown * unit, what));
  };
  add(g.threads, least_handles, 1, "threads");
  add(g.descriptors, least_handles, 1, "open file descriptors");
  // A thread that stays has a stack of its own.
  if (list.empty()) add(g.bytes, std::max(least_bytes, r.repeated / 16), 1, "bytes of heap memory");
  if (list.empty()) add(g.pages, least_pages, 4096, "bytes of mapped memory");
  std::string text;
  for (const std::string& each : list) text += (text.empty() ? "" : " and ") + each;
  return text;
}

}  // namespace

endurance judge_endurance(const std::function<run_result()>& call_in_a_row) {
  endurance e;
  double idle_cpu = std::numeric_limits<double>::infinity();
  for (int look = 0; look < 2 && !(idle_cpu <= most_idle_cpu); ++look) {
    const run_result r = call_in_a_row();
    if (r.status == run_status::declined) return e;
    e.calls += r.repeated + 1;
    if (r.status != run_status::ok) {
      e.kind = r.status == run_status::timeout   ? "time limit"
               : r.status == run_status::crashed ? "crash"
                                                 : "failed";
      e.left_behind = "called again and again, it " + r.text;
      return e;
    }
    if (const std::string grown = what_grew(r); !grown.empty()) {
      e.kind = "leak";
      e.left_behind = fmt::format("{} calls in a row leave {} behind", r.repeated, grown);
      return e;
    }
    idle_cpu = std::min(idle_cpu, r.idle_cpu_seconds);
  }
  if (!(idle_cpu <= most_idle_cpu)) {
    e.kind = "work after return";
    e.left_behind = fmt::format("{:.0f} ms of processor time were spent in the 20 ms after the last call",
                                1e3 * idle_cpu);
  }
  return e;
}

endurance endure(sandbox& box, const test_case& c) {
  const auto kernel = std::ranges::find(box.kernels(), c.kernel, &kernel_info::name);
  if (kernel == box.kernels().end()) throw text_error(c.kernel, 0, "no such kernel");
  const auto l = plumb::bind(c.problem);
  const pass_spec* const pass = l->find_pass(kernel->pass);
  if (pass == nullptr) return {};  // of a smaller problem: without bias, say
  conditions how;
  how.type = c.type;
  how.layout = c.layout;
  arena& a = box.at(box.arenas() - 1);
  const tensor_set<double> reads = draw(*l, *pass, regime::zero_mean, 1, c.type);
  return judge_endurance([&] {
    a.clear();
    kernel_run run = run_over(a, *kernel, *l, *pass, reads, how);
    run.repeat = calls_in_a_row;
    return box.run(a, {std::move(run)}).front();
  });
}

}  // namespace plumb
