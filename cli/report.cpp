// plumb report: records as pages.
#include <fmt/format.h>

#include <filesystem>

#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "reports/compare.hpp"
#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/markdown.hpp"

namespace plumb::cli {
namespace {

namespace fs = std::filesystem;

struct report_command {
  std::vector<std::string> records, compared;
  std::string directory = "report", schema;
  const CLI::Option* directory_option = nullptr;

  void add_to(CLI::App& app) {
    app.add_option("records", records, "record files (.json)");
    app.add_option("--compare", compared,
                   "OLD NEW: two records of the same thing; exit code 1 if it got slower or less exact")
        ->type_name("RECORD")
        ->expected(2);
    directory_option =
        app.add_option("-o,--output", directory, "directory for report.html, report.md and report.xml")
            ->capture_default_str();
    app.add_option("--schema", schema, "write the JSON Schema of records to this file");
    app.footer(
        "examples: plumb report .plumb/verify.json -o report\n"
        "          plumb report --compare before.json after.json");
  }

  int run() const {
    if (!schema.empty()) write_file(schema, record::json_schema());
    if (!schema.empty() && records.empty() && compared.empty()) return exit_pass;
    if (records.empty() == compared.empty())
      throw usage_error("report: expected either records to render, or --compare OLD NEW");
    return compared.empty() ? render() : compare();
  }

 private:
  int render() const {
    std::vector<record::run> runs;
    for (const std::string& file : records) runs.push_back(record::load(file));
    const fs::path base = prepared_directory();
    reports::render_html(runs, base / "report.html");
    reports::render_markdown(runs, base / "report.md");
    reports::render_junit(runs, base / "report.xml");
    fmt::print("report: {}\n", (base / "report.html").string());
    return exit_pass;
  }

  int compare() const {
    const record::run before = record::load(compared[0]);
    const record::run after = record::load(compared[1]);
    const reports::comparison_of_runs c = reports::compare_runs(before, after);
    fmt::print("{}", reports::render_console(c, wants_colour()));
    if (record::to_json(before) == record::to_json(after))
      fmt::print(
          "the two records are one: nothing has changed, and `ambiguous` is what it could not have told\n");
    if (directory_option->count() > 0) {
      const fs::path base = prepared_directory();
      reports::render_html(c, before, after, base / "report.html");
      reports::render_markdown(c, base / "report.md");
      reports::render_junit(c, base / "report.xml");
      fmt::print("report: {}\n", (base / "report.html").string());
    }
    return c.regression() ? exit_fail : exit_pass;
  }

  fs::path prepared_directory() const {
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) throw report_error("cannot create `" + directory + "`: " + error.message());
    return directory;
  }
};

}  // namespace

void add_report(CLI::App& app, int& code) {
  add<report_command>(app, "report", "render records to HTML, Markdown and JUnit", code);
}

}  // namespace plumb::cli
