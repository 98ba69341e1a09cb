// plumb sweep: every float through element-wise kernels. A command of its own, because nothing of `verify` applies to
// it: no generated problems, no regimes, no --time that kernels share; it ends when it is through.
#include <fmt/format.h>

#include <charconv>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "verify/sweep/sweep.hpp"

namespace plumb::cli {
namespace {

struct sweep_command {
  std::vector<std::string> words, plugins;
  std::string range;
  bool resume = false, strict = false;
  int threads = 2;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("what", words, "kernel globs, or problems whose attributes apply")->required();
    app.add_option("--plugin", plugins, "sweep the kernels of this shared library")->allow_extra_args(false);
    app.add_option("--range", range,
                   "FIRST:LAST, bits of floats in hexadecimal: 3f800000:40000000 is 1 to 2; default: all");
    app.add_option("--threads", threads, "of the oracle; the kernel has one")->capture_default_str();
    app.add_flag("--resume", resume, "go on where the record of an unfinished run left off");
    app.add_flag("--strict", strict, "peers and `inconclusive` count for the exit code");
    common.add_to(app);
    app.footer("example: plumb sweep 'sigmoid.forward/flat@avx3'");
  }

  int run() const {
    sweep_options o;
    o.range = parse_range();
    o.threads = std::max(1, threads);
    sandbox box(judging(plugins));
    const selection s = select(box, words, "", !plugins.empty());
    o.kernels = s.kernels;
    o.problems = s.problems;
    record::run r = new_record("sweep", common);
    const std::filesystem::path file =
        common.json.empty() ? std::filesystem::path(".plumb/sweep.json") : std::filesystem::path(common.json);
    std::optional<record::sweep_section> before;
    if (resume) before = load_unfinished(file);
    if (before) o.resume = &*before;
    progress_line line(common.quiet);
    o.progress = [&](const record::sweep_result& now, double left) {
      const double share =
          static_cast<double>(now.next - now.first) / static_cast<double>(now.last + 1 - now.first);
      line.show(fmt::format("{:3.0f} %  {:.0f} million/s, {:.0f} s left, {} wrong  {}", 100 * share,
                            1e-6 * static_cast<double>(now.inputs) / std::max(now.seconds, 1e-9), left,
                            now.wrong, now.kernel));
    };
    checkpoint_writer kept(common);
    o.keep = [&](const record::sweep_section& so_far) {
      r.sweep = so_far;
      kept.save(r);
    };
    r.sweep = sweep(box, o);
    line.clear();
    publish(r, common);
    return exit_code(*r.sweep);
  }

  static record::sweep_section load_unfinished(const std::filesystem::path& file) {
    const record::run before = record::load(file);
    if (!before.sweep) throw usage_error("--resume: " + file.string() + " is no record of a sweep");
    return *before.sweep;
  }

  float_range parse_range() const {
    if (range.empty()) return {};
    const std::size_t colon = range.find(':');
    const auto bits = [&](std::string text) {
      if (text.starts_with("0x")) text.erase(0, 2);
      std::int64_t value = -1;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
      return error == std::errc() && end == text.data() + text.size() && value <= 0xffffffff ? value : -1;
    };
    float_range r;
    if (colon != std::string::npos) r = {bits(range.substr(0, colon)), bits(range.substr(colon + 1))};
    if (colon == std::string::npos || r.first < 0 || r.last < r.first)
      throw usage_error("--range " + range + ": expected FIRST:LAST in hexadecimal, as in 3f800000:40000000");
    return r;
  }

  int exit_code(const record::sweep_section& section) const {
    bool bad = false, ran = false;
    for (const record::sweep_result& s : section.kernels) {
      bad = bad || ((record::is_bad(s.verdict) || (strict && s.verdict == record::verdict::inconclusive)) &&
                    (!s.peer || strict));
      ran = ran || s.verdict != record::verdict::skipped;
    }
    if (!ran) throw environment_error("everything selected was skipped: " + section.kernels.front().reason);
    return bad ? exit_fail : exit_pass;
  }
};

}  // namespace

void add_sweep(CLI::App& app, int& code) {
  add<sweep_command>(app, "sweep", "every float through element-wise kernels", code);
}

}  // namespace plumb::cli
