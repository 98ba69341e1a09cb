// plumb verify: kernels on generated or given problems; plumb replay: one case again.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "cli/captured.hpp"
#include "cli/commands.hpp"
#include "cli/emit.hpp"
#include "cli/huge.hpp"
#include "cli/interruption.hpp"
#include "cli/judging.hpp"
#include "properties/laws/laws.hpp"
#include "properties/regressions.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/coverage/coverage.hpp"
#include "verify/fingerprint/fingerprint.hpp"
#include "verify/huge/huge.hpp"

namespace plumb::cli {
namespace {

namespace fs = std::filesystem;

const fs::path own_regressions = fs::path(".plumb") / "regressions";

struct verify_command {
  std::vector<std::string> words, plugins;
  std::string problems, time = "10s", shard, resume, in;
  CLI::Option* time_given = nullptr;
  bool with_builtin = false, strict = false, keep_regressions = true, huge = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "kernel globs or problems");
    app.add_option("--plugin", plugins, "judge the kernels of this shared library")->allow_extra_args(false);
    app.add_flag("--with-builtin", with_builtin, "with --plugin: ours too");
    app.add_option("--problems", problems,
                   "a set (see `plumb list problems`), a problem, or a file of problems");
    app.add_option(
        "--in", in,
        "captured data beside the generated: an .npz with the tensors of a pass, or a folder of them");
    app.add_flag("--huge", huge,
                 "also tensors of more than 2^31 elements, sampled: the set `huge`, seconds a kernel");
    time_given = app.add_option("--time", time, "wall time of the whole run, shared by the kernels")
                     ->capture_default_str();
    app.add_option(
        "--resume", resume,
        "go on with the unfinished run of this record: its kernels, problems and seed, and what is left "
        "of its time unless --time says another whole");
    app.add_option("--shard", shard, "i/n: the i-th of n disjoint parts of the generated problems");
    app.add_flag("--strict", strict, "peers and `inconclusive` count for the exit code");
    common.add_to(app);
    app.footer("example: plumb verify 'conv2d.forward/*' --problems resnet50 --report verify.html");
  }

  int run() {
    double seconds = parse_seconds(time);
    std::optional<record::run> earlier;
    if (!resume.empty()) earlier = take_up(seconds);
    if (words.empty())
      throw usage_error("what to verify is missing; expected kernel globs such as 'conv2d.*', or a problem");
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
    if (earlier)
      go_on_with(*earlier->verify, o);
    else
      o.regressions = load_regressions(own_regressions);
    record::run r = new_record("verify", common);
    const interruption noted;
    o.stop = interruption::seen;
    checkpoint_writer kept(common);
    o.checkpoint = [&](record::verify_section v) {
      r.verify = std::move(v);
      kept.save(r);
    };
    const record::fingerprint_section measured = take_some_fingerprints(box, o);
    record::verify_section v = verify(box, o);
    r.verify = std::move(v);
    blame_for_arithmetic(measured, *r.verify);
    tell_coverage(box, *r.verify);
    judge_captured(box, samples, s, o, *r.verify);
    if (huge) add_huge_cases(box, s, line, *r.verify);
    line.clear();
    remember_failures(*r.verify);
    publish(r, common);
    interruption::end_if_seen();
    return exit_code_of(r, strict);
  }

  /// Reads the record and makes its choices this command's own.
  record::run take_up(double& seconds) {
    if (!words.empty())
      throw usage_error("`" + words.front() +
                        "`: --resume takes its kernels from the record; expected nothing more");
    record::run r = record::load(resume);
    if (!r.verify || !r.verify->unfinished)
      throw usage_error(resume +
                        " holds no unfinished run; expected a record that `plumb verify` wrote on its way");
    for (const record::kernel_result& k : r.verify->kernels) {
      words.push_back(k.name);
      if (k.origin != "built in" && std::ranges::find(plugins, k.origin) == plugins.end())
        plugins.push_back(k.origin);
    }
    with_builtin = true;
    common.seed = r.provenance.seed;
    if (time_given->count() == 0) seconds = r.verify->unfinished->budget;
    if (common.json.empty()) common.json = resume;
    return r;
  }

  /// Fingerprints of kernels that are answerable for their arithmetic, as many as a tenth of the time allows, in an order
  /// of the seed's; none if problems were given.
  static record::fingerprint_section take_some_fingerprints(sandbox& box, verify_options& o) {
    constexpr double share = 0.1;
    if (!o.problems.empty() || o.earlier != nullptr) return {};
    fingerprint_options f;
    for (const set_problem& p : load_problems("fingerprint").problems)
      f.problems.push_back(p.problem.print());
    for (std::size_t i = 0; i < o.kernels.size(); ++i)
      if (const kernel_info* k = o.kernels[(i + o.seed) % o.kernels.size()]; has_fingerprint(*k))
        f.kernels.push_back(k);
    f.seconds = share * o.seconds;
    const auto start = std::chrono::steady_clock::now();
    record::fingerprint_section section = take_fingerprints(box, f);
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    o.seconds -= std::min(spent.count(), 0.5 * o.seconds);
    return section;
  }

  /// A kernel that computes otherwise than it declares fails, however small its errors are.
  static void blame_for_arithmetic(const record::fingerprint_section& measured, record::verify_section& v) {
    for (const record::fingerprint_result& f : measured.kernels) {
      const auto k = std::ranges::find(v.kernels, f.kernel, &record::kernel_result::name);
      if (f.verdict != record::verdict::fail || k == v.kernels.end() || record::is_bad(k->verdict)) continue;
      k->verdict = f.verdict;
      k->certified = false;
      k->reason = f.reason + "; see `plumb fingerprint '" + f.kernel + "'`";
    }
  }

  /// Of plugins that were compiled for it; nothing is said of others.
  static void tell_coverage(sandbox& box, record::verify_section& v) {
    if (box.blocks_ran() == 0) return;
    coverage_log log;
    log.take(box);
    v.coverage.emplace().libraries = log.summary();
  }

  static void go_on_with(const record::verify_section& earlier, verify_options& o) {
    const record::unfinished_run& u = *earlier.unfinished;
    o.earlier = &earlier;
    o.problems = u.problems;
    o.shard = static_cast<int>(u.shard);
    o.shards = static_cast<int>(u.shards);
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
        if (c.kind != "law" && c.law != "leaves nothing behind" && c.law != "huge")
          save_regression(own_regressions, parse_case(c.replay));
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
    record::run r;
    if (wants_files()) r = new_record("replay", common);
    if (!emit.empty()) expect_writable(emit);
    const bool is_law = c.regime == test_case::endurance || c.regime == test_case::huge ||
                        c.regime.starts_with(test_case::law_regime);
    if (is_law && (!emit.empty() || gdb))
      throw usage_error("--emit: `" + c.regime +
                        "` is more than one call on data that fit a file; expected a case of one call");
    const bool failed = is_law ? replay_law(box, c) : replay_case(box, c, r);
    if (failed && !save.empty()) save_regression(save, c);
    if (!is_law && wants_files()) write_files(r, common);
    return failed ? exit_fail : exit_pass;
  }

 private:
  bool wants_files() const { return !(common.json + common.report + common.markdown + common.junit).empty(); }

  /// A race or a counter inside a kernel does not fail every time: as often as a second allows.
  static single_case until_it_fails(sandbox& box, const test_case& c) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (true) {
      single_case seen = examine(box, c, true);
      const bool done = seen.result.wrong || !seen.result.declined.empty();
      if (done || std::chrono::steady_clock::now() > end) return seen;
    }
  }

  bool replay_case(sandbox& box, const test_case& c, record::run& r) const {
    const single_case again = until_it_fails(box, c);
    const answer& a = again.result;
    if (!emit.empty() || gdb) write_reproducer(box, c, again.result);
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

  void write_reproducer(sandbox& box, const test_case& c, const answer& a) const {
    if (!a.declined.empty()) return;
    const auto kernel = std::ranges::find(box.kernels(), c.kernel, &kernel_info::name);
    const std::string file = emit.empty() ? ".plumb/repro.cpp" : emit;
    std::error_code ignored;
    if (emit.empty()) fs::create_directories(".plumb", ignored);
    std::optional<history> before;
    if (a.wrong) before = what_it_takes(box, c);
    const bool shown = before || !a.wrong;
    if (!before) before.emplace().result = a;
    write_file(file, reproducer(c, *before, library_of(*kernel)));
    if (common.quiet) return;
    fmt::print("{}: g++ -std=c++17 {} -ldl -o repro && ./repro\n", file, file);
    if (!before->earlier.empty())
      fmt::print("it fails after other calls only: {} of them, with other data, {} in the file\n",
                 2 * before->earlier.size(), before->earlier.size() == 1 ? "are" : "are all");
    if (!shown)
      fmt::print("in a process of its own it did not fail again; the file holds the one call that did\n");
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

  /// Cases without data of their own.
  static bool replay_law(sandbox& box, const test_case& c) {
    if (c.regime == test_case::huge) {
      const huge_answer a = replay_huge(box, c);
      if (a.verdict == record::verdict::skipped)
        throw usage_error("`" + c.kernel + "` skips this problem: " + a.reason);
      fmt::print(
          "{}: {}\n", record::name_of(a.verdict),
          a.reason.empty() ? fmt::format("{} sampled outputs agree with the oracle", a.sampled) : a.reason);
      return a.verdict != record::verdict::pass;
    }
    if (c.regime == test_case::endurance) {
      const endurance e = endure(box, c);
      fmt::print("{}\n", e.left_behind.empty()
                             ? fmt::format("pass: {} calls in a row leave nothing behind", e.calls)
                             : "fail: " + e.kind + ": " + e.left_behind);
      return !e.left_behind.empty();
    }
    const law_verdict v = plumb::replay_law(box, laws(), c);
    fmt::print("{}: {} {}\n",
               !v.applicable ? "not applicable"
               : v.holds     ? "pass"
                             : "fail",
               c.regime, v.message);
    return v.applicable && !v.holds;
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
