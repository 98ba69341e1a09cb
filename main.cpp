// plumb: the command line. Reads arguments, hands them to the rooms, prints what came back, and turns it into
// an exit code: 0 all pass; 1 a fail, crash, timeout or mistrusted; 2 wrong usage or bad input; 3
// environment; 4 internal.
#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <set>

#include "bench/bench.hpp"
#include "properties/generators/problem_space.hpp"
#include "properties/laws/laws.hpp"
#include "properties/regressions.hpp"
#include "properties/shrink.hpp"
#include "reference/core/npy.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/core/registry.hpp"
#include "reference/layers/catalogue.hpp"
#include "reports/console.hpp"
#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/markdown.hpp"
#include "verify/evaluate.hpp"
#include "verify/gradcheck.hpp"
#include "verify/runner.hpp"

namespace plumb {
namespace {

namespace fs = std::filesystem;

constexpr int exit_pass = 0;
constexpr int exit_fail = 1;
constexpr int exit_usage = 2;
constexpr int exit_environment = 3;
constexpr int exit_internal = 4;

/// Wrong usage or bad input: one sentence, exit code 2.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Nothing wrong with the input, but it cannot be done here: exit code 3.
struct environment_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

bool has_terminal(int descriptor) { return ::isatty(descriptor) == 1; }
bool wants_colour() { return has_terminal(STDOUT_FILENO) && std::getenv("NO_COLOR") == nullptr; }

/// `30s`, `2m`, `1.5h` or a bare number of seconds.
double parse_seconds(const std::string& text) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(std::min(used, text.size()));
  const double factor = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (used == 0 || factor == 0 || !(value > 0))
    throw usage_error("--time " + text + ": expected a positive number of seconds such as 30s, or 2m");
  return value * factor;
}

/// A line on a terminal that overwrites itself; silent in pipes.
class progress_line {
 public:
  explicit progress_line(bool quiet) : active_(!quiet && has_terminal(STDERR_FILENO)) {}
  ~progress_line() { clear(); }
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void show(const std::string& text) {
    const auto now = std::chrono::steady_clock::now();
    if (!active_ || now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    std::string line = text.substr(0, 118);
    fmt::print(stderr, "\r{:<118}", line);
    std::fflush(stderr);
    shown_ = true;
  }
  void show(const run_progress& p) {
    const double rate = p.elapsed > 0 ? static_cast<double>(p.cases) / p.elapsed : 0;
    const std::string left = p.budget > 0 ? fmt::format("{:.0f} s left", std::max(0.0, p.budget - p.elapsed))
                                          : fmt::format("{}/{} problems", p.done, p.total);
    show(fmt::format("{} cases, {:.0f}/s, {} failures, {}  {}", p.cases, rate, p.failures, left, p.now));
  }
  void clear() {
    if (shown_) fmt::print(stderr, "\r{:<118}\r", "");
    shown_ = false;
  }

 private:
  bool active_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

/// Options that every judging command has.
struct common_options {
  std::string json, report, markdown, junit;
  bool quiet = false;
  std::uint64_t seed = 1;

  void add_to(CLI::App& app) {
    app.add_option("--json", json, "write the record to this file");
    app.add_option("--report", report, "write an HTML report to this file");
    app.add_option("--markdown", markdown, "write a Markdown summary to this file");
    app.add_option("--junit", junit, "write JUnit XML to this file");
    app.add_flag("--quiet", quiet,
                 "no progress, no table: only the exit code and what was asked for in files");
    app.add_option("--seed", seed, "seed of everything that is drawn")->capture_default_str();
  }
};

std::string command_line;

record::run new_record(const std::string& command, const common_options& common) {
  record::run r;
  r.command = command;
  r.provenance = record::provenance_of_this_process();
  r.provenance.seed = common.seed;
  r.provenance.command_line = command_line;
  return r;
}

/// Prints the run and writes the files that were asked for, and the record under ./.plumb/ in any case.
void publish(const record::run& r, const common_options& common) {
  if (!common.quiet) fmt::print("{}", render_console(r, {wants_colour()}));
  std::error_code ignored;
  fs::create_directories(".plumb", ignored);
  record::save(r, common.json.empty() ? fs::path(".plumb") / (r.command + ".json") : fs::path(common.json));
  if (!common.report.empty()) {
    reports::render_html(r, common.report);
    if (!common.quiet) fmt::print("report: {}\n", common.report);
  }
  if (!common.markdown.empty()) reports::render_markdown(r, common.markdown);
  if (!common.junit.empty()) reports::render_junit(r, common.junit);
}

int exit_code_of(const record::run& r, bool strict) {
  bool bad = false;
  bool ran = false;
  bool any = false;
  const auto count = [&](record::verdict v, bool peer) {
    any = true;
    ran = ran || v != record::verdict::skipped;
    bad = bad || (record::is_bad(v) && (!peer || strict)) || (strict && v == record::verdict::inconclusive);
  };
  if (r.verify)
    for (const auto& k : r.verify->kernels) count(k.verdict, k.peer);
  if (r.gradcheck)
    for (const auto& l : r.gradcheck->layers) {
      count(l.verdict, false);
      for (const auto& k : l.kernels) count(k.verdict, k.peer);
    }
  if (any && !ran)
    throw environment_error("everything selected was skipped: " + r.verify->kernels.front().reason);
  return bad ? exit_fail : exit_pass;
}

// ---- what to judge ----

bool is_problem_text(const std::string& word) { return word.find_first_of(" =") != std::string::npos; }

struct selection {
  std::vector<const kernel_info*> kernels;
  std::vector<std::string> problems;  ///< canonical text
};

/// Positionals are globs over kernel names, or problems (then all kernels of their layer).
selection select(const sandbox& box, const std::vector<std::string>& words, const std::string& problem_option,
                 bool only_plugins) {
  selection s;
  const auto take = [&](const kernel_info& k) {
    if (std::ranges::find(s.kernels, &k) == s.kernels.end()) s.kernels.push_back(&k);
  };
  for (const std::string& word : words) {
    const std::size_t before = s.kernels.size();
    if (is_problem_text(word)) {
      const auto l = plumb::bind(std::string_view(word));
      s.problems.push_back(l->canonical().print());
      for (const kernel_info& k : box.kernels())
        if (k.layer == l->name() && l->find_pass(k.pass) != nullptr && (!only_plugins || !k.plugin.empty()))
          take(k);
    } else {
      for (const kernel_info& k : box.kernels())
        if (glob_match(word, k.name) && (!only_plugins || !k.plugin.empty())) take(k);
    }
    if (s.kernels.size() == before)
      throw usage_error(
          "`" + word + "` matches no " + (only_plugins ? "kernel of the plugin" : "kernel") +
          "; expected a glob such as 'conv2d.forward/*' (see `plumb list kernels`) or a problem");
  }
  if (!problem_option.empty())
    for (const set_problem& p : load_problems(problem_option).problems) {
      try {
        s.problems.push_back(plumb::bind(p.problem)->canonical().print());
      } catch (const std::invalid_argument& e) {
        throw usage_error((p.origin.empty() ? "" : p.origin + ": ") + e.what());
      }
    }
  return s;
}

sandbox_options judging(const std::vector<std::string>& plugins = {}) {
  sandbox_options options;
  options.plugins = plugins;
  options.arenas = runner_arenas;
  options.time_limit = std::chrono::seconds(5);  // for one call; generated problems take microseconds
  return options;
}

/// Fresh heap memory is left alone where allocation is on the clock.
sandbox_options timing() {
  sandbox_options options;
  options.fill_heap = false;
  return options;
}

shrunk_case shrink_case(const test_case& failing, const std::function<bool(const test_case&)>& fails,
                        double seconds) {
  shrink_budget budget;
  budget.seconds = seconds;
  const shrunk r = shrink(failing, {fails, with_data}, budget);
  return {r.smallest, r.calls, r.fixpoint};
}

verify_options runner_options(const common_options& common, progress_line& line) {
  verify_options o;
  o.seed = common.seed;
  o.draw_problem = [](const std::string& layer, std::uint64_t seed) { return draw_problem(layer, seed); };
  o.triggers = [](const layer& l) { return triggers(l); };
  o.all_triggers = [](const std::string& layer) { return all_triggers(layer); };
  o.shrink = shrink_case;
  o.laws = laws();
  o.progress = [&line](const run_progress& p) { line.show(p); };
  return o;
}

// ---- verify ----

const fs::path own_regressions = fs::path(".plumb") / "regressions";

struct verify_command {
  std::vector<std::string> words, plugins;
  std::string problems, time = "10s", shard;
  bool with_builtin = false, strict = false, keep_regressions = true;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "kernel globs or problems")->required();
    app.add_option("--plugin", plugins, "judge the kernels of this shared library")->allow_extra_args(false);
    app.add_flag("--with-builtin", with_builtin, "with --plugin: ours too");
    app.add_option("--problems", problems,
                   "a set (see `plumb list problems`), a problem, or a file of problems");
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
    progress_line line(common.quiet);
    verify_options o = runner_options(common, line);
    o.kernels = s.kernels;
    o.problems = s.problems;
    o.seconds = seconds;
    parse_shard(o);
    o.regressions = load_regressions(own_regressions);
    record::run r = new_record("verify", common);
    r.verify = verify(box, o);
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

// ---- replay ----

struct replay_command {
  std::string line, save;
  std::vector<std::string> plugins;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("line", line, "a replay line: KERNEL | PROBLEM | dtype layout regime seed=N …")
        ->required();
    app.add_option("--plugin", plugins, "the shared library of the kernel")->allow_extra_args(false);
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
    const bool failed = is_law ? replay_law(box, c) : replay_case(box, c, r);
    if (failed && !save.empty()) save_regression(save, c);
    if (!is_law && (!common.json.empty() || !common.report.empty())) publish(r, common);
    return failed ? exit_fail : exit_pass;
  }

 private:
  bool replay_case(sandbox& box, const test_case& c, record::run& r) const {
    const single_case again = examine(box, c, true);
    const answer& a = again.result;
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

// ---- gradcheck and jacobian ----

/// Small problems of a layer for the gradient check: drawn, and kept where the dense Jacobian stays cheap.
std::vector<std::string> small_problems(const std::string& layer, std::uint64_t seed, std::size_t wanted) {
  std::vector<std::string> found;
  for (std::uint64_t n = 0; n < 4000 && found.size() < wanted; ++n) {
    const auto l = plumb::bind(std::string_view(draw_problem(layer, seed * 65'537 + n)));
    double inputs = 0;
    double outputs = 0;
    for (const tensor_spec& s : l->describe().inputs)
      if (l->present(s.name) && s.differentiable) inputs += static_cast<double>(l->shapes()[s.name].size());
    for (const tensor_spec& s : l->describe().outputs)
      if (s.differentiable) outputs += static_cast<double>(l->shapes()[s.name].size());
    if (inputs >= 12 && outputs >= 4 && inputs * outputs <= 3000 && has_derivatives(*l, seed))
      found.push_back(l->canonical().print());
  }
  return found;
}

struct gradcheck_command {
  std::vector<std::string> words;
  std::string problems, kernels = "*";
  int digits = 50;
  bool strict = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "layer globs or problems")->required();
    app.add_option("--digits", digits, "decimal digits to agree to (1 … 80)")
        ->check(CLI::Range(1, 80))
        ->capture_default_str();
    app.add_option("--problems", problems, "a set, a problem, or a file of problems");
    app.add_option("--kernels", kernels, "check these kernels' backward passes too; '' for none")
        ->capture_default_str();
    app.add_flag("--strict", strict, "peers and `inconclusive` count for the exit code");
    common.add_to(app);
    app.footer("example: plumb gradcheck conv2d max_pool2d --digits 50 --report gradients.html");
  }

  int run() const {
    const std::vector<std::string> texts = texts_to_check();
    progress_line line(common.quiet);
    record::run r = new_record("gradcheck", common);
    record::gradcheck_section section;
    section.digits = digits;
    std::optional<sandbox> box;
    if (!kernels.empty()) box.emplace(judging());
    for (const std::string& text : texts) {
      line.show("checking " + text);
      const auto l = plumb::bind(std::string_view(text));
      gradcheck_options o;
      o.digits = digits;
      o.seed = common.seed;
      section.layers.push_back(check_layer(*l, o));
      if (box) add_kernels(*box, *l, section.layers.back(), line);
    }
    line.clear();
    r.gradcheck = std::move(section);
    publish(r, common);
    return exit_code_of(r, strict);
  }

 private:
  std::vector<std::string> texts_to_check() const {
    std::vector<std::string> texts;
    for (const std::string& word : words) {
      const std::size_t before = texts.size();
      if (is_problem_text(word)) {
        texts.push_back(plumb::bind(std::string_view(word))->canonical().print());
      } else {
        for (const layer_row& row : layer_catalogue())
          if (glob_match(word, row.name))
            for (std::string& t : problems_of(std::string(row.name))) texts.push_back(std::move(t));
      }
      if (texts.size() == before) {
        std::vector<std::string> names;
        for (const layer_row& row : layer_catalogue()) names.emplace_back(row.name);
        throw usage_error("`" + word + "` matches no layer; expected " + list_of(names));
      }
    }
    return texts;
  }

  std::vector<std::string> problems_of(const std::string& layer) const {
    if (problems.empty()) return small_problems(layer, common.seed, 4);
    std::vector<std::string> texts;
    for (const set_problem& p : load_problems(problems).problems)
      if (p.problem.layer() == layer) texts.push_back(plumb::bind(p.problem)->canonical().print());
    return texts;
  }

  /// Every selected kernel's backward passes on the same problem, against the reference's gradients.
  void add_kernels(sandbox& box, const layer& l, record::layer_check& check, progress_line& line) const {
    verify_options o = runner_options(common, line);
    o.laws.clear();
    for (const kernel_info& k : box.kernels())
      if (k.layer == l.name() && k.pass != l.describe().passes.front().name && glob_match(kernels, k.name) &&
          l.find_pass(k.pass) != nullptr && k.unavailable.empty())
        o.kernels.push_back(&k);
    if (o.kernels.empty()) return;
    o.problems = {l.canonical().print()};
    for (const record::kernel_result& k : verify(box, o).kernels) {
      if (k.problems.empty() || k.problems.front().verdict == record::verdict::skipped) continue;
      record::kernel_gradient g;
      g.kernel = k.name;
      g.pass = k.pass;
      g.peer = k.peer;
      g.verdict = k.problems.front().verdict;
      g.reason = k.problems.front().reason;
      g.worst_proven = k.problems.front().worst_proven;
      g.worst_ulps = k.problems.front().worst_ulps;
      g.worst = k.worst;
      g.heat = k.heat;
      g.ulps = k.ulps;
      check.kernels.push_back(std::move(g));
    }
  }
};

struct jacobian_command {
  std::string problem_text;
  double budget_mib = 256;
  std::uint64_t seed = 1;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem, as in 'relu x=4'")->required();
    app.add_option("--budget", budget_mib, "largest dense Jacobian, in MiB of f32")->capture_default_str();
    app.add_option("--seed", seed, "seed of the point")->capture_default_str();
    app.footer("example: plumb jacobian 'conv2d x=1x1x3x3 weight=1x1x2x2'");
  }

  int run() const {
    const auto l = plumb::bind(std::string_view(problem_text));
    if (const std::string refusal = refuse_jacobian(*l, budget_mib * 1024 * 1024); !refusal.empty())
      throw usage_error(refusal);
    fmt::print("{}", print_jacobian(*l, seed));
    return exit_pass;
  }
};

// ---- eval ----

/// Adds the tensor in the .npy file under its name, checked against the problem.
void read_into(const layer& l, tensor_set<double>& given, const std::string& name, const std::string& file) {
  if (!l.present(name))
    throw usage_error("`" + name + "=" + file + "`: `" + l.name() + "` has no tensor `" + name + "` here");
  npy_array a = read_npy(file);
  const bool index = l.spec(name).kind == element::index;
  if (a.extents() != l.shapes()[name])
    throw usage_error("`" + file + "` has shape " + to_string(a.extents()) + "; the problem expects " + name +
                      "=" + to_string(l.shapes()[name]));
  if (index != a.is_index())
    throw usage_error("`" + file + "` holds " + std::string(name_of(a.type)) + "; `" + name + "` takes " +
                      (index ? "integers" : "real numbers"));
  index ? static_cast<void>(given.add_indices(name, std::move(a.index)))
        : static_cast<void>(given.add(name, std::move(a.real)));
}

struct eval_command {
  std::string problem_text, pass = "forward", scalar = "f64";
  std::vector<std::string> in, out;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem")->required();
    app.add_option("--pass", pass, "forward, vjp or jvp")
        ->check(CLI::IsMember({"forward", "vjp", "jvp"}))
        ->capture_default_str();
    app.add_option("--in", in, "NAME=FILE.npy: inputs; dy=… for vjp, tangents dx=… for jvp");
    app.add_option("--out", out, "NAME=FILE.npy: what to write; y=… (forward), dx=… (vjp), dy=… (jvp)");
    app.add_option("--scalar", scalar, "arithmetic of the evaluation")
        ->check(CLI::IsMember({"f32", "f64", "mp50", "mp100"}))
        ->capture_default_str();
    app.footer("example: plumb eval 'relu x=4' --in x=x.npy --out y=y.npy");
  }

  int run() const {
    const auto l = plumb::bind(std::string_view(problem_text));
    tensor_set<double> given;
    for (const std::string& pair : in) {
      const auto [name, file] = split(pair);
      read_into(*l, given, name, file);
    }
    for (const tensor_spec& s : l->describe().inputs)
      if (l->present(s.name) && !given.has(s.name))
        throw usage_error("`" + s.name + "` is missing: expected --in " + s.name + "=FILE.npy of shape " +
                          to_string(l->shapes()[s.name]));
    const tensor_set<double> result = scalar == "f32"    ? evaluate<float>(*l, given)
                                      : scalar == "f64"  ? evaluate<double>(*l, given)
                                      : scalar == "mp50" ? evaluate<mp50>(*l, given)
                                                         : evaluate<mp100>(*l, given);
    for (const std::string& pair : out) {
      const auto [name, file] = split(pair);
      const auto* e = result.find(name);
      if (e == nullptr) {
        std::vector<std::string> names;
        for (const auto& each : result.entries()) names.push_back(each.name);
        throw usage_error("--out " + pair + ": the pass writes no `" + name + "`; expected " +
                          list_of(names));
      }
      npy_array a;
      a.type = e->is_index ? dtype::i64 : scalar == "f32" ? dtype::f32 : dtype::f64;
      a.real = e->real;
      a.index = e->index;
      write_npy(file, a);
    }
    if (out.empty()) print_all(*l, result);
    return exit_pass;
  }

 private:
  static std::pair<std::string, std::string> split(const std::string& pair) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size())
      throw usage_error("`" + pair + "`: expected NAME=FILE.npy, as in x=x.npy");
    return {pair.substr(0, equals), pair.substr(equals + 1)};
  }

  /// J·v, the tangents of the outputs for tangents dx=… of the inputs.
  template <class T>
  static tensor_set<double> tangents(const layer& l, const tensor_set<T>& inputs,
                                     const std::vector<std::string>& output_names) {
    tensor_set<dual<T>> duals = inputs.template map<dual<T>>([](const T& v) { return dual<T>(v); });
    for (const tensor_spec& s : l.describe().inputs)
      if (const auto* tangent = inputs.find("d" + s.name))
        for (index_t i = 0; i < tangent->real.size(); ++i) duals[s.name][i].tangent = tangent->real[i];
    tensor_set<dual<T>> y = make_tensors<dual<T>>(l, output_names);
    l.as<dual<T>>().forward(std::as_const(duals).views(), y.views());
    tensor_set<double> result;
    for (const auto& e : y.entries())
      if (!e.is_index) {
        tensor<double> t(e.extents());
        for (index_t i = 0; i < t.size(); ++i) t[i] = static_cast<double>(e.real[i].tangent);
        result.add("d" + e.name, std::move(t));
      }
    return result;
  }

  template <class T>
  tensor_set<double> evaluate(const layer& l, const tensor_set<double>& given) const {
    const auto to_double = [](const T& v) { return static_cast<double>(v); };
    const auto inputs = given.map<T>([](double v) { return T(v); });
    std::vector<std::string> output_names;
    for (const tensor_spec& s : l.describe().outputs) output_names.push_back(s.name);
    if (pass == "jvp") {
      if constexpr (std::is_same_v<T, float>)
        throw usage_error("--scalar f32: jvp runs on dual numbers over f64, mp50 or mp100");
      else
        return tangents<T>(l, inputs, output_names);
    }
    tensor_set<T> y = make_tensors<T>(l, output_names);
    l.as<T>().forward(inputs.views(), y.views());
    if (pass == "forward") return y.template map<double>(to_double);
    std::vector<std::string> gradients;
    for (const tensor_spec& s : l.describe().inputs)
      if (s.kind == element::real && s.differentiable && l.present(s.name)) gradients.push_back("d" + s.name);
    for (const tensor_spec& s : l.describe().outputs)
      if (s.kind == element::real && s.differentiable && !given.has("d" + s.name))
        throw usage_error("`d" + s.name + "` is missing: expected --in d" + s.name + "=FILE.npy of shape " +
                          to_string(l.shapes()[s.name]));
    tensor_set<T> dx = make_tensors<T>(l, gradients);
    l.as<T>().vjp(inputs.views(), std::as_const(y).views(), inputs.views(), dx.views());
    return dx.template map<double>(to_double);
  }

  static void print_all(const layer& l, const tensor_set<double>& result) {
    for (const auto& e : result.entries()) {
      fmt::print("{} = {}\n", e.name, to_string(e.extents()));
      for (index_t i = 0; i < std::min<index_t>(e.extents().size(), 100); ++i)
        e.is_index ? fmt::print("  {} = {}\n", element_name(l, e.name, i), e.index[i])
                   : fmt::print("  {} = {:.17g}\n", element_name(l, e.name, i), e.real[i]);
      if (e.extents().size() > 100)
        fmt::print("  … {} more; --out {}=FILE.npy writes all\n", e.extents().size() - 100, e.name);
    }
  }
};

// ---- judge ----

struct judge_command {
  std::string problem_text, pass = "forward", arithmetic = "f32";
  std::vector<std::string> in, out;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem")->required();
    app.add_option("--pass", pass, "the pass that was computed")->capture_default_str();
    app.add_option("--arithmetic", arithmetic,
                   "what the kernel promises: exact, f32, f64, tf32, bf16_f32, f16_f32")
        ->capture_default_str();
    app.add_option("--in", in, "NAME=FILE.npy: what the pass read")->required();
    app.add_option("--out", out, "NAME=FILE.npy: what the kernel wrote")->required();
    app.footer(
        "example: plumb judge 'conv2d x=1x3x8x8 weight=4x3x3x3' --in x=x.npy weight=w.npy --out y=y.npy");
  }

  int run() const {
    const auto l = plumb::bind(std::string_view(problem_text));
    const pass_spec* p = l->find_pass(pass);
    if (p == nullptr) {
      std::vector<std::string> names;
      for (const pass_spec& each : l->describe().passes) names.push_back(each.name);
      throw usage_error("--pass " + pass + ": `" + l->canonical().print() + "` has " + list_of(names));
    }
    const tensor_set<double> reads = read_tensors(*l, in, p->reads, "--in");
    const tensor_set<double> written = read_tensors(*l, out, p->writes, "--out");
    const parsed_arithmetic how = parse_arithmetic(arithmetic, dtype::f32);
    if (!how.error.empty()) throw usage_error("--arithmetic " + arithmetic + ": " + how.error);
    oracle truth;
    truth.evaluate(*l, *p, reads, dtype::f32, 2);
    bool pass_all = true;
    for (std::size_t t = 0; t < truth.results().size(); ++t) {
      const truths& expected = truth.results()[t];
      const auto* e = written.find(expected.name);
      if (e == nullptr) continue;
      thresholds bounds;
      evaluate_thresholds(expected, how.value, {}, regime::impulse, {}, bounds);
      tensor<float> values(e->is_index ? shape{0} : e->extents());
      for (index_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(e->real[i]);
      tensor<index_t> indices = e->index;
      comparison c;
      compare({e->is_index ? static_cast<void*>(indices.data()) : static_cast<void*>(values.data()),
               e->is_index ? dtype::i64 : dtype::f32, e->extents(), row_major(e->extents())},
              expected, bounds, &truth, t, c);
      pass_all = pass_all && c.passed();
      if (c.passed())
        fmt::print("pass: {} elements of {}, worst {:.3g} of the proven bound, {:.3g} ulp\n", c.elements,
                   expected.name, c.worst_proven, c.worst_ulps);
      else if (!c.wrong.empty())
        fmt::print("fail: {} is {}, expected {}; {} of {} elements are outside the bound\n",
                   element_name(*l, expected.name, c.wrong.front().at), c.wrong.front().got,
                   c.wrong.front().expected, c.failures, c.elements);
      else
        fmt::print("inconclusive: {} holds {} elements, {} undecided\n", expected.name, c.elements,
                   c.undecided);
    }
    return pass_all ? exit_pass : exit_fail;
  }

 private:
  static tensor_set<double> read_tensors(const layer& l, const std::vector<std::string>& pairs,
                                         const std::vector<std::string>& wanted, const std::string& option) {
    tensor_set<double> set;
    for (const std::string& name : wanted) {
      if (!l.present(name)) continue;
      const auto found =
          std::ranges::find_if(pairs, [&](const std::string& p) { return p.starts_with(name + "="); });
      if (found == pairs.end() && option == "--out") continue;
      if (found == pairs.end())
        throw usage_error("`" + name + "` is missing: expected " + option + " " + name +
                          "=FILE.npy of shape " + to_string(l.shapes()[name]));
      read_into(l, set, name, found->substr(name.size() + 1));
    }
    if (set.entries().empty()) throw usage_error(option + ": expected one of " + list_of(wanted));
    return set;
  }
};

// ---- bench ----

struct bench_command {
  std::vector<std::string> words, problems, layouts = {"nchw"};
  std::string against, time = "30s";
  int threads = 0;
  bool strict = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "kernel globs or problems")->required();
    app.add_option("--problems", problems, "a set, a problem, or a file of problems; may be repeated")
        ->allow_extra_args(false);
    app.add_option("--against", against, "glob of the baseline; default: oneDNN");
    app.add_option("--layout", layouts, "nchw or nhwc; may be repeated")
        ->check(CLI::IsMember({"nchw", "nhwc"}))
        ->allow_extra_args(false);
    app.add_option("--threads", threads, "0: all cores")->capture_default_str();
    app.add_option("--time", time, "wall time of the whole run")->capture_default_str();
    app.add_flag("--strict", strict, "peers count for the exit code");
    common.add_to(app);
    app.footer("example: plumb bench 'conv2d.forward/*' --problems resnet50 --report bench.html");
  }

  int run() const {
    sandbox box(timing());
    progress_line line(common.quiet);
    record::run r = new_record("bench", common);
    r.bench = bench(box, line);
    line.clear();
    publish(r, common);
    const auto bad = [&](const record::timing& t) {
      return record::is_bad(t.verdict) && (!t.peer || strict);
    };
    return std::ranges::any_of(r.bench->timings, bad) ? exit_fail : exit_pass;
  }

  record::bench_section bench(sandbox& box, progress_line& line) const {
    bench_options o;
    const selection s = select(box, words, "", false);
    o.kernels = s.kernels;
    for (const std::string& each : problems) o.sets.push_back(load_problems(each));
    for (const std::string& text : s.problems) o.sets.push_back(load_problems(text));
    if (o.sets.empty())
      throw usage_error("bench needs problems: expected --problems SET, a file, or a problem");
    o.against = against;
    o.layouts.clear();
    for (const std::string& l : layouts) o.layouts.push_back(l == "nchw" ? layout::nchw : layout::nhwc);
    o.seconds = parse_seconds(time);
    o.threads = threads;
    o.seed = common.seed;
    o.progress = [&line](const bench_progress& p) {
      line.show(fmt::format("{}/{}  {:.0f} s left  {}", p.done, p.total, std::max(0.0, p.budget - p.elapsed),
                            p.now));
    };
    return run_bench(box, o);
  }
};

// ---- report, list, doctor ----

struct report_command {
  std::vector<std::string> records;
  std::string directory = "report";

  void add_to(CLI::App& app) {
    app.add_option("records", records, "record files (.json)")->required();
    app.add_option("-o,--output", directory, "directory for report.html, report.md and report.xml")
        ->capture_default_str();
    app.footer("example: plumb report .plumb/verify.json -o report");
  }

  int run() const {
    std::vector<record::run> runs;
    for (const std::string& file : records) runs.push_back(record::load(file));
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) throw report_error("cannot create `" + directory + "`: " + error.message());
    const fs::path base(directory);
    reports::render_html(runs, base / "report.html");
    reports::render_markdown(runs, base / "report.md");
    reports::render_junit(runs, base / "report.xml");
    fmt::print("report: {}\n", (base / "report.html").string());
    return exit_pass;
  }
};

struct list_command {
  std::string what;
  std::vector<std::string> plugins;

  void add_to(CLI::App& app) {
    app.add_option("what", what, "layers, kernels, laws or problems")
        ->required()
        ->check(CLI::IsMember({"layers", "kernels", "laws", "problems"}));
    app.add_option("--plugin", plugins, "with kernels: those of this shared library too")
        ->allow_extra_args(false);
    app.footer("example: plumb list kernels");
  }

  int run() const {
    if (what == "layers")
      for (const layer_row& row : layer_catalogue()) fmt::print("{}\n", row.name);
    if (what == "laws")
      for (const law& each : laws()) fmt::print("{:<28} {}\n", each.name, each.statement);
    if (what == "problems")
      for (const std::string& name : problem_set_names())
        fmt::print("{:<18} {} problems\n", name, load_problems(name).problems.size());
    if (what == "kernels") {
      sandbox box(judging(plugins));
      for (const kernel_info& k : box.kernels()) {
        std::string layouts;
        for (const layout l : k.layouts) layouts += (layouts.empty() ? "" : ",") + std::string(name_of(l));
        fmt::print("{:<44} {:<8} {:<10} {}{}\n", k.name, k.arithmetic, layouts, k.peer ? "peer " : "",
                   k.unavailable.empty() ? "" : "skipped(" + k.unavailable + ")");
      }
    }
    return exit_pass;
  }
};

int run_doctor() {
  const record::provenance p = record::provenance_of_this_process();
  fmt::print("plumb      {}\ncpu        {}, {} cores\nisa        {}\nos         {}\ncompiler   {}\n",
             p.plumb_version, p.cpu, p.cores, p.isa, p.os, p.compiler);
  sandbox box;
  std::map<std::string, int> skipped;
  for (const kernel_info& k : box.kernels())
    if (!k.unavailable.empty()) ++skipped[k.unavailable];
  fmt::print("kernels    {}, {} layers, {} laws\n", box.kernels().size(), layer_catalogue().size(),
             laws().size());
  for (const auto& [reason, count] : skipped) fmt::print("skipped    {} kernels: {}\n", count, reason);
  for (const record::library& l : p.libraries) fmt::print("library    {} {}\n", l.name, l.version);
  return exit_pass;
}

// ---- demo ----

/// A tour in one go: judge, catch, differentiate, time, report. Passes if and only if the right plugin passed
/// and every kernel of the wrong one was caught.
struct demo_command {
  std::string report = ".plumb/demo.html";
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("--report", report, "where the HTML report goes")->capture_default_str();
    app.add_option("--seed", common.seed, "seed of everything that is drawn")->capture_default_str();
  }

  int run() const {
    progress_line line(false);
    record::run r = new_record("demo", common);
    r.verify.emplace();
    judge_networks(*r.verify, line);
    const bool right_and_wrong = judge_plugins(*r.verify, line);
    check_gradients(r, line);
    time_kernels(r, line);
    line.clear();
    std::error_code ignored;
    fs::create_directories(fs::path(report).parent_path(), ignored);
    record::save(r, fs::path(report).replace_extension(".json"));
    reports::render_html(r, report);
    fmt::print("\nreport: {}\n", report);
    return right_and_wrong ? exit_pass : exit_fail;
  }

 private:
  /// Of each algorithm the fastest target that runs here: the first row registered.
  static std::vector<const kernel_info*> best_targets(const sandbox& box, std::string_view glob) {
    std::vector<const kernel_info*> list;
    std::set<std::string> algorithms;
    for (const kernel_info& k : box.kernels()) {
      const std::string algorithm = k.name.substr(0, k.name.find('@'));
      if (glob_match(glob, k.name) && !k.name.ends_with("/plain@cpu") && k.unavailable.empty() &&
          algorithms.insert(algorithm).second)
        list.push_back(&k);
    }
    return list;
  }

  void judge_networks(record::verify_section& all, progress_line& line) const {
    fmt::print(
        "1. Judging conv2d kernels on the convolution layers of ResNet-50, VGG-16, AlexNet and LeNet-5\n");
    sandbox box(judging());
    verify_options o = runner_options(common, line);
    o.kernels = best_targets(box, "conv2d.forward/*");
    o.large_regimes = {regime::zero_mean, regime::positive};
    for (const char* set : {"lenet5", "alexnet", "resnet50", "vgg16"})
      for (const set_problem& p : load_problems(set).problems)
        if (p.problem.layer() == "conv2d") o.problems.push_back(plumb::bind(p.problem)->canonical().print());
    append(all, verify(box, o), line);
  }

  bool judge_plugins(record::verify_section& all, progress_line& line) const {
    fmt::print("\n2. Judging two shared libraries somebody brought: one right, one wrong five times over\n");
    const fs::path examples = fs::read_symlink("/proc/self/exe").parent_path() / "examples";
    bool right = true;
    bool caught = true;
    for (const bool broken : {false, true}) {
      const std::string library = (examples / (broken ? "libbroken_conv.so" : "libmy_conv.so")).string();
      sandbox box(judging({library}));
      verify_options o = runner_options(common, line);
      for (const kernel_info& k : box.kernels())
        if (!k.plugin.empty()) o.kernels.push_back(&k);
      o.seconds = broken ? 8 : 4;
      o.stop_at_first_failure = true;
      record::verify_section found = verify(box, o);
      for (record::kernel_result& k : found.kernels) {
        k.planted = broken;
        (broken ? caught : right) &= broken ? record::is_bad(k.verdict) : k.verdict == record::verdict::pass;
      }
      append(all, std::move(found), line);
    }
    return right && caught;
  }

  void check_gradients(record::run& r, progress_line& line) const {
    line.clear();
    fmt::print("\n3. Gradient check of conv2d: five definitions against each other, exactly\n");
    record::gradcheck_section section;
    for (const std::string& text : small_problems("conv2d", common.seed, 2)) {
      gradcheck_options o;
      o.seed = common.seed;
      section.layers.push_back(check_layer(*plumb::bind(std::string_view(text)), o));
    }
    record::run only = r;
    only.verify.reset();
    only.gradcheck = section;
    fmt::print("{}", render_console(only, {wants_colour()}));
    r.gradcheck = std::move(section);
  }

  void time_kernels(record::run& r, progress_line& line) const {
    fmt::print("\n4. Timing them against each other\n");
    sandbox box(timing());
    bench_options o;
    o.kernels = best_targets(box, "conv2d.forward/*");
    o.sets = {load_problems("resnet50"), load_problems("lenet5")};
    for (problem_set& set : o.sets)
      std::erase_if(set.problems, [](const set_problem& p) { return p.problem.layer() != "conv2d"; });
    o.seconds = 12;
    o.seed = common.seed;
    o.progress = [&line](const bench_progress& p) {
      line.show(fmt::format("{}/{}  {}", p.done, p.total, p.now));
    };
    r.bench = run_bench(box, o);
    line.clear();
    record::run only = r;
    only.verify.reset();
    only.gradcheck.reset();
    fmt::print("{}", render_console(only, {wants_colour()}));
  }

  static void append(record::verify_section& all, record::verify_section part, progress_line& line) {
    line.clear();
    record::run only;
    only.verify = part;
    fmt::print("{}", render_console(only, {wants_colour()}));
    all.cases += part.cases;
    all.calls += part.calls;
    all.seconds += part.seconds;
    for (record::kernel_result& k : part.kernels) all.kernels.push_back(std::move(k));
    for (record::trigger& t : part.triggers) all.triggers.push_back(std::move(t));
  }
};

// ---- dispatch ----

std::string quoted(int argc, char** argv) {
  std::string text = "plumb";
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" '\"*?$&|;<>()\\`") == std::string_view::npos;
    text += plain ? fmt::format(" {}", word) : fmt::format(" '{}'", word);
  }
  return text;
}

template <class Command>
void add(CLI::App& app, const char* name, const char* description, Command& command, int& code) {
  CLI::App* sub = app.add_subcommand(name, description);
  command.add_to(*sub);
  sub->callback([&command, &code] { code = command.run(); });
}

int dispatch(int argc, char** argv) {
  command_line = quoted(argc, argv);
  CLI::App app("Plumb: verdicts for CNN kernels. Is it right, how exact is it, how fast is it?", "plumb");
  app.require_subcommand(1);
  int code = exit_pass;
  verify_command verify_it;
  gradcheck_command gradcheck_it;
  jacobian_command jacobian_it;
  bench_command bench_it;
  eval_command eval_it;
  judge_command judge_it;
  replay_command replay_it;
  report_command report_it;
  list_command list_it;
  demo_command demo_it;
  add(app, "verify", "judge kernels on generated or given problems", verify_it, code);
  add(app, "gradcheck", "check the five definitions of layers, and kernels' gradients", gradcheck_it, code);
  add(app, "jacobian", "print an explicit Jacobian", jacobian_it, code);
  add(app, "bench", "time kernels against each other, verified first", bench_it, code);
  add(app, "eval", "evaluate a layer on .npy files with the reference", eval_it, code);
  add(app, "judge", "judge .npy tensors that some kernel wrote", judge_it, code);
  add(app, "replay", "repeat one case from its replay line", replay_it, code);
  add(app, "report", "render records to HTML, Markdown and JUnit", report_it, code);
  add(app, "list", "list layers, kernels, laws or problem sets", list_it, code);
  add(app, "demo", "a tour in one go", demo_it, code);
  app.add_subcommand("doctor", "what is here, and what is missing")->callback([&code] {
    code = run_doctor();
  });
  if (argc > 1 && argv[1][0] != '-') {
    std::vector<std::string> names;
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(sub->get_name());
    if (std::ranges::find(names, argv[1]) == names.end())
      throw usage_error("`" + std::string(argv[1]) + "`: no such command; expected " + list_of(names));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw usage_error(std::string(e.what()) + " (see plumb --help)");
  }
  return code;
}

int complain(const std::exception& e, int code) {
  fmt::print(stderr, "plumb: {}\n", e.what());
  return code;
}

int guarded(int argc, char** argv) {
  try {
    return dispatch(argc, argv);
  } catch (const plugin_error& e) {
    return complain(e, e.exit_code);
  } catch (const sandbox_error& e) {
    return complain(e, exit_environment);
  } catch (const environment_error& e) {
    return complain(e, exit_environment);
  } catch (const report_error& e) {
    return complain(e, exit_environment);
  } catch (const usage_error& e) {
    return complain(e, exit_usage);
  } catch (const std::invalid_argument& e) {  // text, shape, npy, record and problem-set errors
    return complain(e, exit_usage);
  } catch (const std::length_error& e) {  // a problem too large for this machine
    return complain(e, exit_environment);
  } catch (const std::exception& e) {
    fmt::print(stderr, "plumb: internal error: {}\n", e.what());
    return exit_internal;
  }
}

}  // namespace
}  // namespace plumb

int main(int argc, char** argv) { return plumb::guarded(argc, argv); }
