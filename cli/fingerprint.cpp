// plumb fingerprint: what a kernel's arithmetic is, measured, beside what it declares.
#include <fmt/format.h>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/fingerprint/fingerprint.hpp"

namespace plumb::cli {
namespace {

struct fingerprint_command {
  std::vector<std::string> words, plugins;
  std::string problems = "fingerprint";
  bool strict = false;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "kernel globs or problems")->required();
    app.add_option("--plugin", plugins, "measure the kernels of this shared library")
        ->allow_extra_args(false);
    app.add_option("--problems", problems,
                   "a set, a problem, or a file of problems: the first that a kernel takes")
        ->capture_default_str();
    app.add_flag("--strict", strict, "peers count for the exit code");
    common.add_to(app);
    app.footer("example: plumb fingerprint 'conv2d.forward/*'");
  }

  int run() const {
    sandbox_options box_options = judging(plugins);
    box_options.time_limit = std::chrono::seconds(30);
    sandbox box(box_options);
    const selection s = select(box, words, problems, !plugins.empty());
    progress_line line(common.quiet);
    fingerprint_options o;
    o.kernels = s.kernels;
    o.problems = s.problems;
    const auto start = std::chrono::steady_clock::now();
    o.progress = [&](std::size_t done, const std::string& now) {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      line.show(progress_line::progress{done, s.kernels.size(), "kernels", 0, elapsed.count(), 0, now});
    };
    record::run r = new_record("fingerprint", common);
    r.fingerprint = take_fingerprints(box, o);
    line.clear();
    publish(r, common);
    return exit_code(*r.fingerprint);
  }

  int exit_code(const record::fingerprint_section& section) const {
    bool bad = false, measured = false;
    for (const record::fingerprint_result& f : section.kernels) {
      bad = bad || (record::is_bad(f.verdict) && (!f.peer || strict));
      measured = measured || f.verdict != record::verdict::skipped;
    }
    if (!measured)
      throw environment_error("everything selected was skipped: " + section.kernels.front().reason);
    return bad ? exit_fail : exit_pass;
  }
};

}  // namespace

void add_fingerprint(CLI::App& app, int& code) {
  add<fingerprint_command>(app, "fingerprint", "measure how kernels add, multiply and round", code);
}

}  // namespace plumb::cli
