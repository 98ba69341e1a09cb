// plumb bench: kernels against each other, verified first.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bench/bench.hpp"
#include "bench/oracle_speed.hpp"
#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "reference/core/problem_set.hpp"

namespace plumb::cli {
namespace {

struct bench_command {
  std::vector<std::string> words, problems, plugins, layouts = {"nchw", "nhwc"};
  std::string against, time = "30s";
  int threads = 0;
  bool strict = false, oracle = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "kernel globs or problems")->required();
    app.add_option("--problems", problems,
                   "sets (resnet50,vgg16), a problem, or a file of problems; may be repeated")
        ->allow_extra_args(false);
    app.add_option("--plugin", plugins, "time the kernels of this shared library too")
        ->allow_extra_args(false);
    app.add_option("--against", against, "glob of the baseline; default: oneDNN");
    app.add_option("--layout", layouts, "nchw or nhwc; may be repeated; default: both")
        ->check(CLI::IsMember({"nchw", "nhwc"}))
        ->allow_extra_args(false);
    app.add_option("--threads", threads, "0: all cores")->capture_default_str();
    app.add_option("--time", time, "wall time of the whole run, judging included")->capture_default_str();
    app.add_flag("--oracle", oracle,
                 "time the oracle instead: certify every output of the first kernel, beside OpenBLAS dgemm "
                 "on the same "
                 "matrix shape");
    app.add_flag("--strict", strict, "peers count for the exit code");
    common.add_to(app);
    app.footer("example: plumb bench 'conv2d.forward/*' --problems resnet50 --report bench.html");
  }

  int run() const {
    const double seconds = parse_seconds(time);
    const auto start = std::chrono::steady_clock::now();
    sandbox_options options = timing();
    options.plugins = plugins;
    sandbox box(options);
    progress_line line(common.quiet);
    record::run r = new_record("bench", common);
    r.bench = oracle ? oracle_bench(box, line) : bench(box, line, start, seconds);
    line.clear();
    publish(r, common);
    const auto bad = [&](const record::timing& t) {
      return record::is_bad(t.verdict) && (!t.peer || strict);
    };
    const auto uncertified = [](const record::oracle_timing& o) { return record::is_bad(o.verdict); };
    if (std::ranges::any_of(r.bench->oracle, uncertified)) return exit_fail;
    return std::ranges::any_of(r.bench->timings, bad) ? exit_fail : exit_pass;
  }

  record::bench_section oracle_bench(sandbox& box, progress_line& line) const {
    oracle_speed_options o;
    const selection s = select(box, words, "", false);
    o.kernel = s.kernels.front();
    for (const std::string& each : problems) o.sets.push_back(load_problems(each));
    for (const std::string& text : s.problems) o.sets.push_back(load_problems(text));
    if (o.sets.empty())
      throw usage_error("bench --oracle needs problems: expected --problems SET, a file, or a problem");
    if (threads > 0) o.threads = threads;
    o.seed = common.seed;
    const auto start = std::chrono::steady_clock::now();
    o.progress = [&](std::size_t done, std::size_t total, const std::string& now) {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      line.show(progress_line::progress{done, total, "problems", 0, elapsed.count(), 0, now});
    };
    record::bench_section section;
    section.baseline = "dgemm";
    section.threads = o.threads;
    section.oracle = time_oracle(box, o);
    return section;
  }

  record::bench_section bench(sandbox& box, progress_line& line, std::chrono::steady_clock::time_point start,
                              double seconds) const {
    bench_options o;
    const selection s = select(box, words, "", false);
    o.kernels = s.kernels;
    for (const std::string& each : problems)
      for (problem_set& set : load_problem_sets(each)) o.sets.push_back(std::move(set));
    for (const std::string& text : s.problems) o.sets.push_back(load_problems(text));
    if (o.sets.empty())
      throw usage_error("bench needs problems: expected --problems SET, a file, or a problem");
    o.against = against;
    o.layouts.clear();
    for (const std::string& l : layouts) o.layouts.push_back(l == "nchw" ? layout::nchw : layout::nhwc);
    o.threads = threads;
    o.seed = common.seed;
    o.before = [&](const bench_estimate& e) {
      if (!(e.least_seconds > seconds) || common.quiet) return;
      fmt::print(
          stderr,
          "plumb: --time {} is too short: to judge and time each kernel once on each problem and layout "
          "({} in all) takes about {:.0f} s, and so will the run\n",
          time, e.entries, std::ceil(e.least_seconds));
    };
    o.progress = [&line](const bench_progress& p) {
      line.show(progress_line::progress{p.done, p.total, "contests", p.failures, p.elapsed, p.budget, p.now});
    };
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    o.seconds = std::max(seconds - spent.count(), 0.0);
    return run_bench(box, o);
  }
};

}  // namespace

void add_bench(CLI::App& app, int& code) {
  add<bench_command>(app, "bench", "time kernels against each other, verified first", code);
}

}  // namespace plumb::cli
