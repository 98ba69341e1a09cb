// How a run reaches the terminal, the record and the exit code.
#include "cli/command.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "reports/console.hpp"
#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/markdown.hpp"

namespace plumb::cli {
namespace {

namespace fs = std::filesystem;

bool has_terminal(int descriptor) { return ::isatty(descriptor) == 1; }

std::string command_line;

/// Where the record goes unless --json says; the folder is made.
fs::path default_path(const record::run& r) {
  std::error_code ignored;
  fs::create_directories(".plumb", ignored);
  return fs::path(".plumb") / (r.command + ".json");
}

fs::path record_path(const record::run& r, const common_options& common) {
  return common.json.empty() ? default_path(r) : fs::path(common.json);
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
  add_files_to(app);
  app.add_option("--seed", seed, "seed of everything that is drawn")->capture_default_str();
}

void common_options::add_files_to(CLI::App& app) {
  app.add_option("--json", json, "write the record to this file");
  app.add_option("--report", report, "write an HTML report to this file");
  app.add_option("--markdown", markdown, "write a Markdown summary to this file");
  app.add_option("--junit", junit, "write JUnit XML to this file");
  app.add_flag("--quiet", quiet, "no progress, no table: only the exit code and what was asked for in files");
}

void expect_writable(const fs::path& path) {
  const auto refuse = [&](int error) {
    throw report_error("cannot write " + path.string() + ": " + std::strerror(error));
  };
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (fs::is_directory(status)) refuse(EISDIR);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    if (::access(path.c_str(), W_OK) != 0) refuse(errno);
    return;
  }
  // As write_file does it: a new file beside the place, renamed over what a symbolic link points at.
  const fs::path resolved = fs::canonical(path, ignored);
  const std::string beside =
      (resolved.empty() ? path : resolved).string() + ".part" + std::to_string(::getpid());
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) refuse(errno);
  ::close(file);
  ::unlink(beside.c_str());
}

void remember_command_line(int argc, char** argv) { command_line = quoted(argc, argv); }

record::run new_record(const std::string& command, const common_options& common) {
  record::run r;
  r.command = command;
  r.provenance = record::provenance_of_this_process();
  r.provenance.seed = common.seed;
  r.provenance.command_line = command_line;
  expect_writable(record_path(r, common));
  for (const std::string* page : {&common.report, &common.markdown, &common.junit})
    if (!page->empty()) expect_writable(*page);
  return r;
}

void checkpoint_writer::save(const record::run& r) {
  try {
    record::save(r, record_path(r, common_));
  } catch (const report_error& error) {
    if (!std::exchange(warned_, true)) fmt::print(stderr, "plumb: {}; the run goes on\n", error.what());
  }
}

void publish(const record::run& r, const common_options& common) {
  if (!common.quiet) fmt::print("{}", render_console(r, {wants_colour()}));
  std::fflush(stdout);
  write_files(r, common);
}

void write_files(const record::run& r, const common_options& common) {
  std::string trouble;
  const auto attempt = [&](auto&& write) {
    try {
      write();
      return true;
    } catch (const report_error& error) {
      if (trouble.empty()) trouble = error.what();
      return false;
    }
  };
  const bool kept = attempt([&] { record::save(r, record_path(r, common)); });
  if (!kept && !common.json.empty()) {
    const fs::path instead = default_path(r);
    if (attempt([&] { record::save(r, instead); }))
      trouble += fmt::format("; the record is in {}", instead.string());
  }
  const auto page = [&](const std::string& file, auto&& render) {
    return !file.empty() && attempt([&] { render(r, fs::path(file)); });
  };
  using run = record::run;
  const bool shown =
      page(common.report, [](const run& each, const fs::path& to) { reports::render_html(each, to); });
  page(common.markdown, [](const run& each, const fs::path& to) { reports::render_markdown(each, to); });
  page(common.junit, [](const run& each, const fs::path& to) { reports::render_junit(each, to); });
  if (shown && !common.quiet) fmt::print("report: {}\n", common.report);
  if (trouble.empty()) return;
  if (common.quiet) fmt::print("{}", render_console(r, {wants_colour()}));
  std::fflush(stdout);
  throw report_error(trouble);
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
