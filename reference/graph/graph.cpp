#include "reference/graph/graph.hpp"

#include <algorithm>
#include <map>

namespace plumb {

void computational_graph::add_source(std::string name, const shape& extents, graph_source::role part) {
  if (find_source(name) != nullptr) throw graph_error("source `" + name + "` is there already");
  sources_.push_back({std::move(name), extents, part});
}

void computational_graph::add_node(std::string name, std::string layer, std::vector<wire> wires,
                                   std::string attributes) {
  const bool taken = find_source(name) != nullptr ||
                     std::ranges::any_of(nodes_, [&](const node& n) { return n.name == name; });
  if (taken) throw graph_error("node `" + name + "`: the name is taken already");
  nodes_.push_back({std::move(name), std::move(layer), std::move(wires), std::move(attributes)});
}

const graph_source* computational_graph::find_source(std::string_view name) const {
  const auto found = std::ranges::find(sources_, name, &graph_source::name);
  return found == sources_.end() ? nullptr : &*found;
}

shape computational_graph::extents_of(std::string_view value) const {
  if (const graph_source* s = find_source(value)) return s->extents;
  const std::string_view owner = value.substr(0, value.rfind('.'));
  for (const node& n : nodes_)
    if (n.name == owner) return n.bound->shapes()[value.substr(owner.size() + 1)];
  throw graph_error("the graph has no value `" + std::string(value) + "`");
}

index_t computational_graph::parameter_count() const {
  index_t count = 0;
  for (const graph_source& s : sources_)
    if (s.part == graph_source::role::parameter) count += s.extents.size();
  return count;
}

/// Kahn 1962: take any node whose inputs are all there, until none is left; what remains lies on a cycle or behind one.
void computational_graph::sort() {
  std::vector<node> sorted;
  const auto is_there = [&](const std::string& from) {
    const std::string owner = from.substr(0, from.rfind('.'));
    return find_source(from) != nullptr ||
           std::ranges::any_of(sorted, [&](const node& n) { return n.name == owner; });
  };
  for (const node& n : nodes_)
    for (const wire& w : n.wires) {
      const std::string owner = w.from.substr(0, w.from.rfind('.'));
      const bool known = find_source(w.from) != nullptr ||
                         std::ranges::any_of(nodes_, [&](const node& m) { return m.name == owner; });
      if (!known)
        throw graph_error("node `" + n.name + "`: its input `" + w.input + "` comes from `" + w.from +
                          "`, which is neither a source nor a node");
    }
  while (!nodes_.empty()) {
    const auto ready = std::ranges::find_if(nodes_, [&](const node& n) {
      return std::ranges::all_of(n.wires, [&](const wire& w) { return is_there(w.from); });
    });
    if (ready == nodes_.end()) {
      std::vector<std::string> names;
      for (const node& n : nodes_) names.push_back("`" + n.name + "`");
      throw graph_error("no order of evaluation: a cycle goes through " + list_of(names));
    }
    sorted.push_back(std::move(*ready));
    nodes_.erase(ready);
  }
  nodes_ = std::move(sorted);
}

std::string computational_graph::resolve(const std::string& from, const node& reader) const {
  if (find_source(from) != nullptr) return from;
  const std::string owner = from.substr(0, from.rfind('.'));
  const auto found = std::ranges::find(nodes_, owner, &node::name);
  const signature& sig = found->bound->describe();
  if (owner == from) return from + "." + sig.outputs.front().name;
  if (std::ranges::none_of(sig.outputs,
                           [&](const tensor_spec& s) { return s.name == from.substr(owner.size() + 1); }))
    throw graph_error("node `" + reader.name + "`: `" + found->layer + "` has no output `" + from + "`");
  return from;
}

void computational_graph::bind(node& n) {
  problem text(n.layer);
  for (wire& w : n.wires) {
    w.from = resolve(w.from, n);
    text.set(w.input, to_string(extents_of(w.from)));
  }
  try {
    const problem attributes = problem::parse(n.layer + " " + n.attributes);
    for (const problem::field& f : attributes.fields()) text.set(f.key, f.value);
    n.bound = plumb::bind(text);
  } catch (const std::invalid_argument& e) {  // text_error, shape_error
    throw graph_error("node `" + n.name + "`: " + e.what());
  }
}

void computational_graph::seal(std::string_view output) {
  sort();
  for (node& n : nodes_) bind(n);
  const std::string owner(output.substr(0, output.rfind('.')));
  const auto last = std::ranges::find(nodes_, owner, &node::name);
  if (last == nodes_.end()) throw graph_error("the output `" + std::string(output) + "` is no node");
  output_ = resolve(std::string(output), *last);
}

std::vector<std::string> computational_graph::output_names(const node& n) {
  std::vector<std::string> names;
  for (const tensor_spec& s : n.bound->describe().outputs) names.push_back(s.name);
  return names;
}

std::vector<std::string> computational_graph::gradient_names(const node& n) {
  std::vector<std::string> names;
  for (const tensor_spec& s : n.bound->describe().inputs)
    if (s.kind == element::real && s.differentiable && n.bound->present(s.name))
      names.push_back("d" + s.name);
  return names;
}

}  // namespace plumb
