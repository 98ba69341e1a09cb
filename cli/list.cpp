// plumb list: what there is; plumb doctor: what is here and what is missing.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "properties/audit/fault_table.hpp"
#include "properties/laws/laws.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/core/registry.hpp"
#include "reference/graph/networks.hpp"
#include "reference/graph/receptive_field.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb::cli {
namespace {

std::string kind_of(const attribute_card& a) {
  using kind = attribute_card::kind;
  switch (a.type) {
    case kind::integer:
      return "integer";
    case kind::flag:
      return "true or false";
    case kind::choice:
      return list_of(a.choices);
    case kind::per_axis:
      return a.axes == 1 ? "integer" : "integer, or one an axis";
    case kind::per_side:
      return "integer, one an axis, or one a side";
    case kind::list:
      return "integers";
    case kind::decimal:
      return "decimal";
    case kind::decimals:
      return a.axes == 1 ? "decimal" : "decimal, or one an axis";
  }
  return {};
}

/// `5`, `required`, or where the value comes from when it is left out.
std::string default_of(const attribute_card& a) {
  return a.required ? "required" : a.otherwise.empty() ? "from the other attributes" : a.otherwise;
}

std::string tensors(const std::vector<tensor_spec>& specs) {
  std::string text;
  for (const tensor_spec& s : specs) {
    text += (text.empty() ? "" : ", ") + s.name;
    if (!s.axes.empty()) text += "(" + s.axes + ")";
    if (s.kind == element::index) text += " integers";
    if (s.optional) text += " optional";
    if (!s.differentiable && s.kind == element::real) text += " not differentiated";
  }
  return text;
}

/// What the reference says of a layer, for people.
void print_layer(const layer_row& row) {
  const layer_card card = row.card();
  fmt::print("{}\n  formula     {}\n  inputs      {}\n  outputs     {}\n", row.name, card.formula,
             tensors(card.tensors.inputs), tensors(card.tensors.outputs));
  std::string passes;
  for (const pass_spec& p : card.tensors.passes) passes += (passes.empty() ? "" : ", ") + p.name;
  fmt::print("  passes      {}\n  arithmetic  {}\n", passes,
             card.rational ? "exact in rationals" : "50 and more digits");
  for (const attribute_card& a : card.attributes)
    fmt::print("  attribute   {} = {} ({})\n", a.name, default_of(a), kind_of(a));
}

/// The same for programs. Every layer has all five definitions: the Layer concept demands the first three, and dual
/// numbers and differences follow from `forward`.
nlohmann::json layer_json(const layer_row& row) {
  const layer_card card = row.card();
  const auto names = [](const auto& specs) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& s : specs) list.push_back(s.name);
    return list;
  };
  nlohmann::json attributes = nlohmann::json::array();
  for (const attribute_card& a : card.attributes)
    attributes.push_back({{"name", a.name}, {"type", kind_of(a)}, {"default", default_of(a)}});
  return {{"name", row.name},
          {"formula", card.formula},
          {"definitions", {"forward", "vjp", "jacobian", "dual", "difference"}},
          {"rational", card.rational},
          {"inputs", names(card.tensors.inputs)},
          {"outputs", names(card.tensors.outputs)},
          {"passes", names(card.tensors.passes)},
          {"attributes", attributes}};
}

/// Cells of the image along its last axis that one output looks at: `size, every jump cells`.
std::string field_of(const computational_graph& g, const std::string& value) {
  try {
    const receptive_field f = receptive_field_of(g, "image", value).back();
    return fmt::format("{} every {}", f.size, f.jump);
  } catch (const graph_error&) {
    return "all";  // fully connected, and everything behind it
  }
}

void print_network(const std::string& name, bool in_full) {
  const computational_graph g = make_network(name);
  fmt::print("{:<26} {:>3} layers {:>12} parameters\n", name, g.nodes().size(), g.parameter_count());
  if (!in_full) return;
  fmt::print("  {:<10} {:<16} {:<18} {:>12}  {}\n", "node", "layer", "output", "parameters",
             "receptive field");
  for (const auto& n : g.nodes()) {
    index_t parameters = 0;
    for (const auto& w : n.wires)
      for (const graph_source& s : g.sources())
        if (s.name == w.from && s.part == graph_source::role::parameter) parameters += s.extents.size();
    const std::string value = n.name + "." + n.bound->describe().outputs.front().name;
    fmt::print("  {:<10} {:<16} {:<18} {:>12}  {}\n", n.name, n.layer, to_string(g.extents_of(value)),
               parameters, field_of(g, value));
  }
}

struct list_command {
  std::string what, glob = "*", json;
  std::vector<std::string> plugins;

  void add_to(CLI::App& app) {
    app.add_option("what", what, "layers, networks, kernels, laws, problems or faults")
        ->required()
        ->check(CLI::IsMember({"layers", "networks", "kernels", "laws", "problems", "faults"}));
    app.add_option("glob", glob, "only those whose name fits; with layers: in full");
    app.add_option("--json", json, "with layers: write them to this file, `-` is standard output");
    app.add_option("--plugin", plugins, "with kernels: those of this shared library too")
        ->allow_extra_args(false);
    app.footer("example: plumb list layers conv2d");
  }

  int run() const {
    if (!json.empty() && what != "layers")
      throw usage_error("--json " + json + ": only `list layers` writes JSON");
    std::size_t found = 0;
    const auto fits = [&](std::string_view name) { return glob_match(glob, name) && ++found > 0; };
    if (what == "layers") list_layers(fits);
    if (what == "laws")
      for (const law& each : laws())
        if (fits(each.name)) fmt::print("{:<28} {}\n", each.name, each.statement);
    if (what == "problems")
      for (const std::string& name : problem_set_names())
        if (fits(name)) fmt::print("{:<18} {} problems\n", name, load_problems(name).problems.size());
    if (what == "networks")
      for (const std::string& name : network_names())
        if (fits(name)) print_network(name, glob != "*");
    if (what == "faults")
      for (const planted_fault& f : fault_table())
        if (fits(f.kernel))
          fmt::print("{:<64} {:<15} {} ({})\n", f.kernel, f.kind, f.root_cause, f.modelled_on);
    if (what == "kernels") list_kernels(fits);
    if (found == 0)
      throw usage_error("`" + glob + "` matches none of the " + what + " (see `plumb list " + what + "`)");
    return exit_pass;
  }

 private:
  template <class Fits>
  void list_layers(const Fits& fits) const {
    nlohmann::json all = nlohmann::json::array();
    for (const layer_row& row : layer_catalogue()) {
      if (!fits(row.name)) continue;
      if (!json.empty())
        all.push_back(layer_json(row));
      else if (glob != "*")
        print_layer(row);
      else
        fmt::print("{:<24} {}\n", row.name, row.card().formula);
    }
    if (json == "-")
      fmt::print("{}\n", all.dump(1));
    else if (!json.empty())
      write_file(json, all.dump(1) + "\n");
  }

  template <class Fits>
  void list_kernels(const Fits& fits) const {
    sandbox box(judging(plugins));
    for (const kernel_info& k : box.kernels()) {
      if (!fits(k.name)) continue;
      std::string layouts;
      for (const layout l : k.layouts) layouts += (layouts.empty() ? "" : ",") + std::string(name_of(l));
      fmt::print("{:<44} {:<8} {:<10} {}{}\n", k.name, k.arithmetic, layouts, k.peer ? "peer " : "",
                 k.unavailable.empty() ? "" : "skipped(" + k.unavailable + ")");
    }
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
