// plumb demo: a tour in one go.
#include <fmt/format.h>

#include <algorithm>

#include "bench/bench.hpp"
#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/core/registry.hpp"
#include "reference/layers/catalogue.hpp"
#include "reports/console.hpp"
#include "reports/html.hpp"
#include "verify/gradcheck.hpp"

namespace plumb::cli {
namespace {

namespace fs = std::filesystem;

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
    std::error_code ignored;
    fs::create_directories(fs::path(report).parent_path(), ignored);
    expect_writable(report);
    record::run r = new_record("demo", common);
    r.verify.emplace();
    judge_networks(*r.verify, line);
    const bool right_and_wrong = judge_plugins(*r.verify, line);
    check_gradients(r, line);
    time_kernels(r, line);
    line.clear();
    record::save(r, fs::path(report).replace_extension(".json"));
    reports::render_html(r, report);
    fmt::print("\nreport: {}\n", report);
    return right_and_wrong ? exit_pass : exit_fail;
  }

 private:
  /// Of the algorithms of a tour (a matrix product, two direct ones, Winograd's, the peers) the fastest target that runs
  /// here: the first row registered.
  static std::vector<const kernel_info*> best_targets(const sandbox& box) {
    std::vector<const kernel_info*> list;
    for (const char* algorithm : {"im2col", "rows", "direct", "winograd4", "onednn", "openblas_im2col"})
      for (const kernel_info& k : box.kernels())
        if (glob_match(fmt::format("conv2d.forward/{}@*", algorithm), k.name) && k.unavailable.empty() &&
            k.device == "cpu") {
          list.push_back(&k);
          break;
        }
    return list;
  }

  void judge_networks(record::verify_section& all, progress_line& line) const {
    fmt::print(
        "1. Judging conv2d kernels on the convolution layers of ResNet-50, VGG-16, AlexNet and LeNet-5\n");
    sandbox box(judging());
    verify_options o = runner_options(common, line);
    o.kernels = best_targets(box);
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
    o.kernels = best_targets(box);
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

}  // namespace

void add_demo(CLI::App& app, int& code) { add<demo_command>(app, "demo", "a tour in one go", code); }

}  // namespace plumb::cli
