// What every subcommand shares: exit codes and the errors that lead to them, common options, progress, and the way a
// run ends up on the terminal and in files.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "reference/core/record.hpp"
#include "verify/runner.hpp"

namespace plumb::cli {

/// 0 all pass; 1 a fail, crash, timeout or mistrusted; 2 wrong usage or bad input; 3 environment; 4 internal.
enum exit_codes : int {
  exit_pass = 0,
  exit_fail = 1,
  exit_usage = 2,
  exit_environment = 3,
  exit_internal = 4
};

/// Wrong usage or bad input: one sentence, exit code 2.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Nothing wrong with the input, but it cannot be done here: exit code 3.
struct environment_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

bool wants_colour();

/// `30s`, `2m`, `1.5h` or a bare number of seconds. Throws usage_error.
double parse_seconds(const std::string& text);

/// A problem has fields; a glob has none.
bool is_problem_text(const std::string& word);

/// A line on a terminal that overwrites itself; silent in pipes.
class progress_line {
 public:
  explicit progress_line(bool quiet);
  ~progress_line() { clear(); }
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void show(const std::string& text);
  void show(const run_progress& p);
  /// Things done of a known number of them: with their rate, the failures so far and the time left.
  struct progress {
    std::size_t done = 0, total = 0;
    const char* unit = "";  ///< `problems`
    std::size_t failures = 0;
    double elapsed = 0;
    double budget = 0;  ///< seconds; 0: as long as it takes, foreseen from the rate
    std::string now;    ///< what is being done
  };
  void show(const progress& p);
  void clear();

 private:
  bool active_;
  bool shown_ = false;
  std::size_t width_ = 0;
  std::chrono::steady_clock::time_point last_;
};

/// Options that every judging command has.
struct common_options {
  std::string json, report, markdown, junit;
  bool quiet = false;
  std::uint64_t seed = 1;

  void add_to(CLI::App& app);
  /// Without --seed, for what draws nothing.
  void add_files_to(CLI::App& app);
};

/// Throws report_error, in the words that writing would use, if a file cannot be written there: no such folder, no
/// permission, a folder of that name. Asked before a run, so that it is not lost for a path mistyped. Leaves nothing.
void expect_writable(const std::filesystem::path& path);

/// The line that the user typed, for the record.
void remember_command_line(int argc, char** argv);

/// A record to be filled by the run that now begins. Throws report_error if it, or a page that was asked for, could not be
/// written at its end.
record::run new_record(const std::string& command, const common_options& common);

/// Prints the run and writes its files.
void publish(const record::run& r, const common_options& common);

/// The files that were asked for, and the record under ./.plumb/ if --json does not say where. A disk that is full by now
/// loses nothing else: the other files are written, the record goes to ./.plumb/, and what --quiet kept back is printed
/// before report_error is thrown.
void write_files(const record::run& r, const common_options& common);

/// Writes the record alone, where write_files would, on the way of a long run. The first time that this fails a warning
/// says so; the run goes on.
class checkpoint_writer {
 public:
  explicit checkpoint_writer(const common_options& common) : common_(common) {}
  void save(const record::run& r);

 private:
  const common_options& common_;
  bool warned_ = false;
};

/// Throws environment_error if everything selected was skipped.
int exit_code_of(const record::run& r, bool strict);

/// A command is a struct with add_to(CLI::App&) and run(), which returns the exit code.
template <class Command>
void add(CLI::App& app, const char* name, const char* description, int& code) {
  const auto command = std::make_shared<Command>();
  CLI::App* sub = app.add_subcommand(name, description);
  command->add_to(*sub);
  sub->callback([command, &code] { code = command->run(); });
}

}  // namespace plumb::cli
