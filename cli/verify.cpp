// plumb verify: kernels on generated or given problems; plumb replay: one case again.
#include <fmt/format.h>

#include <algorithm>

#include "cli/captured.hpp"
#include "cli/commands.hpp"
#include "cli/emit.hpp"
#include "cli/huge.hpp"
#include "cli/judging.hpp"
#include "properties/laws/laws.hpp"
#include "properties/regressions.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb::cli {
namespace {

namespace fs = std::filesystem;

const fs::path own_regressions = fs::path(".plumb") / "regressions";

struct verify_command {
  std::vector<std::string> words, plugins;
  std::string problems, time = "10s", shard, in;
  bool with_builtin = false, strict = false, keep_regressions = true, huge = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "kernel globs or problems")->required();
    app.add_option("--plugin", plugins, "judge the kernels of this shared library")->allow_extra_args(false);
    app.add_flag("--with-builtin", with_builtin, "with --plugin: ours too");
    app.add_option("--problems", problems,
                   "a set (see `plumb list problems`), a problem, or a file of problems");
    app.add_option(
        "--in", in,
        "captured data beside the generated: an .npz with the tensors of a pass, or a folder of them");
    app.add_flag("--huge", huge,
                 "also tensors of more than 2^31 elements, sampled: the set `huge`, seconds a kernel");
    app.add_option("--time", time, "wall time of the whole run, shared by the kernels")
        ->capture_default_str();
    app.add_option("--shard", shard, "i/n: the i-th of n disjoint parts of the generated problems");
    app.add_flag("--strict", strict, "peers and `inconclusive` count for the exit code");
    common.add_to(app);
    app.footer("example: plumb verify 'conv2d.forward/*' --problems resnet50 --report verify.html");
  }

  int run() const {
    const double seconds = parse_seconds(time);
    sandbox box(judging(plugins));
    const selection s = select(box, words, problems, !plugins.empty() && !with_builtin);
    const std::vector<captured_sample> samples =
        in.empty() ? std::vector<captured_sample>() : load_captured(in, s);
    progress_line line(common.quiet);
    verify_options o = runner_options(common, line);
    o.kernels = s.kernels;
    o.problems = s.problems;
    o.seconds = seconds;
    parse_shard(o);
    o.regressions = load_regressions(own_regressions);
    record::run r = new_record("verify", common);
    r.verify = verify(box, o);
    judge_captured(box, samples, s, o, *r.verify);
    if (huge) add_huge_cases(box, s, line, *r.verify);
    line.clear();
    remember_failures(*r.verify);
    publish(r, common);
    return exit_code_of(r, strict);
  }

  void parse_shard(verify_options& o) const {
    if (shard.empty()) return;
    const auto slash = shard.find('/');
    const auto part = parse_integers(shard.substr(0, slash));
    const auto of = slash == std::string::npos ? std::nullopt : parse_integers(shard.substr(slash + 1));
    if (!part || !of || part->size() != 1 || of->size() != 1 || (*part)[0] < 1 || (*part)[0] > (*of)[0])
      throw usage_error("--shard " + shard + ": expected i/n with 1 <= i <= n, as in 2/4");
    o.shard = static_cast<int>((*part)[0] - 1);
    o.shards = static_cast<int>((*of)[0]);
  }

  /// Shrunk counterexamples are replayed first next time, from ./.plumb/regressions.
  static void remember_failures(const record::verify_section& v) {
    for (const auto& k : v.kernels)
      for (const auto& c : k.counterexamples)
        if (c.kind != "law") save_regression(own_regressions, parse_case(c.replay));
  }
};

struct replay_command {
  std::string line, save, emit;
  bool gdb = false;
  std::vector<std::string> plugins;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("line", line, "a replay line: KERNEL | PROBLEM | dtype layout regime seed=N …")
        ->required();
    app.add_option("--plugin", plugins, "the shared library of the kernel")->allow_extra_args(false);
    app.add_option("--emit", emit, "write the case as one C++ file that needs nothing of Plumb");
    app.add_flag("--gdb", gdb, "the same under gdb, stopped before the kernel is called");
    app.add_option("--save", save, "keep the line in this folder of regressions if it still fails");
    common.add_to(app);
    app.footer(
        "example: plumb replay 'conv2d.forward/plain@cpu | conv2d x=1x1x3x3 weight=1x1x2x2 | f32 nchw "
        "lattice seed=7'");
  }

  int run() const {
    const test_case c = parse_case(line);
    sandbox box(judging(plugins));
    record::run r = new_record("replay", common);
    const bool is_law = c.regime.starts_with("law:");
    if (is_law && (!emit.empty() || gdb))
      throw usage_error("--emit: `" + c.regime + "` compares several calls; expected a case of one call");
    const bool failed = is_law ? replay_law(box, c) : replay_case(box, c, r);
    if (failed && !save.empty()) save_regression(save, c);
    if (!is_law && (!common.json.empty() || !common.report.empty())) publish(r, common);
    return failed ? exit_fail : exit_pass;
  }

 private:
  bool replay_case(sandbox& box, const test_case& c, record::run& r) const {
    const single_case again = examine(box, c, true);
    const answer& a = again.result;
    if (!emit.empty() || gdb) write_reproducer(box, c, a);
    if (!a.declined.empty()) throw usage_error("`" + c.kernel + "` declines this problem: " + a.declined);
    record::verify_section v;
    record::kernel_result k;
    k.name = c.kernel;
    k.cases = v.cases = 1;
    k.calls = v.calls = a.calls;
    k.offered = k.accepted = 1;
    k.verdict = a.wrong ? a.wrong->verdict : record::verdict::pass;
    if (a.wrong) k.counterexamples.push_back(describe_failure(box, *a.wrong, {c, 0, false}));
    k.heat = heat_of(box, c);
    if (!common.quiet) {
      if (a.wrong)
        fmt::print("{}: {}: {}\n", name_of(k.verdict), a.wrong->kind, a.wrong->message);
      else
        fmt::print("pass: {} elements agree with the oracle, worst {:.2g} of the proven bound\n",
                   a.result.elements, a.result.worst_proven);
      if (a.wrong) print_tensors(k.counterexamples.front());
    }
    v.kernels.push_back(std::move(k));
    r.verify = std::move(v);
    return a.wrong.has_value();
  }

  void write_reproducer(const sandbox& box, const test_case& c, const answer& a) const {
    if (!a.declined.empty()) return;
    const auto kernel = std::ranges::find(box.kernels(), c.kernel, &kernel_info::name);
    const std::string file = emit.empty() ? ".plumb/repro.cpp" : emit;
    std::error_code ignored;
    if (emit.empty()) fs::create_directories(".plumb", ignored);
    write_file(file, reproducer(c, a, library_of(*kernel)));
    if (!common.quiet) fmt::print("{}: g++ -std=c++17 {} -ldl -o repro && ./repro\n", file, file);
    if (gdb) debug(file);
  }

  static void print_tensors(const record::counterexample& c) {
    for (const record::tensor_dump& d : c.tensors) {
      if (d.values.size() > 64) continue;
      std::string shape_text, values;
      for (const std::int64_t e : d.shape) shape_text += (shape_text.empty() ? "" : "x") + std::to_string(e);
      for (std::size_t i = 0; i < d.values.size(); ++i) {
        const bool wrong = std::ranges::find(d.marked, static_cast<std::int64_t>(i)) != d.marked.end();
        values += fmt::format(" {}{}", d.values[i], wrong ? "!" : "");
      }
      const char* role = d.role == record::tensor_role::input ? ""
                         : d.role == record::tensor_role::got ? " got"
                                                              : " expected";
      fmt::print("  {}{} ({}):{}\n", d.name, role, shape_text, values);
    }
  }

  static bool replay_law(sandbox& box, const test_case& c) {
    const std::string name = c.regime.substr(4);
    for (const law& each : laws())
      if (each.name == name)
        for (const kernel_info& k : box.kernels())
          if (k.name == c.kernel) {
            const auto l = plumb::bind(c.problem);
            conditions how;
            how.type = c.type;
            how.layout = c.layout;
            const law_verdict v = check_law(box, each, k, *l, pass_of(*l, k.name), how, c.seed);
            fmt::print("{}: {} {}\n", v.holds ? "pass" : "fail", name, v.message);
            return !v.holds;
          }
    throw usage_error("`" + c.regime + "` or `" + c.kernel + "`: no such law or kernel here");
  }
};

}  // namespace

void add_verify(CLI::App& app, int& code) {
  add<verify_command>(app, "verify", "judge kernels on generated or given problems", code);
}

void add_replay(CLI::App& app, int& code) {
  add<replay_command>(app, "replay", "repeat one case from its replay line", code);
}

}  // namespace plumb::cli
