// How a run reaches the terminal, the record and the exit code.
#include "cli/command.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "reports/console.hpp"
#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/markdown.hpp"

namespace plumb::cli {
namespace {

bool has_terminal(int descriptor) { return ::isatty(descriptor) == 1; }

std::string command_line;

/// Where the record goes; the folder of the default place is made.
std::filesystem::path record_path(const record::run& r, const common_options& common) {
  if (!common.json.empty()) return common.json;
  std::error_code ignored;
  std::filesystem::create_directories(".plumb", ignored);
  return std::filesystem::path(".plumb") / (r.command + ".json");
}

std::string quoted(int argc, char** argv) {
  std::string text = "plumb";
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" '\"*?$&|;<>()\\`") == std::string_view::npos;
    text += plain ? fmt::format(" {}", word) : fmt::format(" '{}'", word);
  }
  return text;
}

}  // namespace

bool wants_colour() {
  const auto text_of = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string_view(value == nullptr ? "" : value);
  };
  // no-color.org: set and not empty means no.
  return has_terminal(STDOUT_FILENO) && text_of("NO_COLOR").empty() && text_of("TERM") != "dumb";
}

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

bool is_problem_text(const std::string& word) { return word.find_first_of(" =") != std::string::npos; }

progress_line::progress_line(bool quiet) : active_(!quiet && has_terminal(STDERR_FILENO)) {}

void progress_line::show(const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (!active_ || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20;
  width_ = known ? size.ws_col - 1U : 79U;  // a line that wraps cannot be overwritten
  fmt::print(stderr, "\r{:<{}}", text.substr(0, width_), width_);
  std::fflush(stderr);
  shown_ = true;
}

void progress_line::show(const progress& p) {
  const double rate = p.elapsed > 0 ? static_cast<double>(p.done) / p.elapsed : 0;
  double left = std::max(0.0, p.budget - p.elapsed);
  if (!(p.budget > 0)) left = rate > 0 ? static_cast<double>(p.total - p.done) / rate : 0;
  const std::string time = p.done == 0 && !(p.budget > 0) ? "" : fmt::format("{:.0f} s left", left);
  show(fmt::format("{}/{} {}, {:.2g}/s, {} failures, {}  {}", p.done, p.total, p.unit, rate, p.failures, time,
                   p.now));
}

void progress_line::show(const run_progress& p) {
  const double rate = p.elapsed > 0 ? static_cast<double>(p.cases) / p.elapsed : 0;
  const std::string left = p.budget > 0 ? fmt::format("{:.0f} s left", std::max(0.0, p.budget - p.elapsed))
                                        : fmt::format("{}/{} problems", p.done, p.total);
  show(fmt::format("{} cases, {:.0f}/s, {} failures, {}  {}", p.cases, rate, p.failures, left, p.now));
}

void progress_line::clear() {
  if (shown_) fmt::print(stderr, "\r{:<{}}\r", "", width_);
  shown_ = false;
}

void common_options::add_to(CLI::App& app) {
  app.add_option("--json", json, "write the record to this file");
  app.add_option("--report", report, "write an HTML report to this file");
  app.add_option("--markdown", markdown, "write a Markdown summary to this file");
  app.add_option("--junit", junit, "write JUnit XML to this file");
  app.add_flag("--quiet", quiet, "no progress, no table: only the exit code and what was asked for in files");
  app.add_option("--seed", seed, "seed of everything that is drawn")->capture_default_str();
}

void remember_command_line(int argc, char** argv) { command_line = quoted(argc, argv); }

record::run new_record(const std::string& command, const common_options& common) {
  record::run r;
  r.command = command;
  r.provenance = record::provenance_of_this_process();
  r.provenance.seed = common.seed;
  r.provenance.command_line = command_line;
  return r;
}

std::string save_quietly(const record::run& r, const common_options& common) {
  try {
    record::save(r, record_path(r, common));
  } catch (const report_error& error) {
    return error.what();
  }
  return {};
}

void publish(const record::run& r, const common_options& common) {
  if (!common.quiet) fmt::print("{}", render_console(r, {wants_colour()}));
  std::fflush(stdout);
  record::save(r, record_path(r, common));
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

}  // namespace plumb::cli
