// plumb list: what there is; plumb doctor: what is here and what is missing.
#include "cli/commands.hpp"
#include "cli/judging.hpp"

#include <fmt/format.h>
#include <map>

#include "properties/laws/laws.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb::cli {
namespace {

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

struct doctor_command {
  static void add_to(CLI::App&) {}
  static int run() {
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
};

}  // namespace

void add_list(CLI::App& app, int& code) {
  add<list_command>(app, "list", "list layers, kernels, laws or problem sets", code);
}

void add_doctor(CLI::App& app, int& code) {
  add<doctor_command>(app, "doctor", "what is here, and what is missing", code);
}

}  // namespace plumb::cli
