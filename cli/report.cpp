// plumb report: records as pages.
#include <fmt/format.h>

#include <filesystem>

#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "reports/html.hpp"
#include "reports/junit.hpp"
#include "reports/markdown.hpp"

namespace plumb::cli {
namespace {

namespace fs = std::filesystem;

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

}  // namespace

void add_report(CLI::App& app, int& code) {
  add<report_command>(app, "report", "render records to HTML, Markdown and JUnit", code);
}

}  // namespace plumb::cli
