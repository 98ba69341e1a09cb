// The computational graph: layers wired to each other, evaluated in topological order and differentiated in the
// reverse one.
//
//   forward    every node from the values of its inputs; all values are kept, since backward needs them
//   backward   d output / d output = 1, then node by node in reverse: dx of each input from dy by the node's own vjp;
//              a value that feeds several nodes sums what comes back from each (the multivariate chain rule)
//
// Nodes may be added in any order. Cycles, inputs that nothing provides and shapes that do not fit are errors that
// name the node. Rumelhart, Hinton & Williams 1986; Baydin et al. 2018 for the terms.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "reference/layers/catalogue.hpp"

namespace plumb {

/// The graph is not one: the sentence names the node and what is wrong with it.
class graph_error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A tensor that comes from outside: data and targets belong to the sample, parameters are learnt.
struct graph_source {
  enum class role : std::uint8_t { data, target, parameter };
  std::string name;
  shape extents;
  role part = role::data;
};

class computational_graph {
 public:
  /// Where an input of a node comes from: a source, `node` (its first output), or `node.output`.
  struct wire {
    std::string input;
    std::string from;
  };
  struct node {
    std::string name;
    std::string layer;
    std::vector<wire> wires;  ///< after seal(), `from` is always a source or `node.output`
    std::string attributes;   ///< as in problem text: `pad=1 stride=2`
    std::unique_ptr<plumb::layer> bound = {};
  };

  void add_source(std::string name, const shape& extents, graph_source::role part);
  void add_node(std::string name, std::string layer, std::vector<wire> wires, std::string attributes = {});
  /// Sorts the nodes and binds each to the shapes of its inputs. `output` is a node, or `node.output`. Throws
  /// graph_error.
  void seal(std::string_view output);

  const std::vector<graph_source>& sources() const { return sources_; }
  const std::vector<node>& nodes() const { return nodes_; }  ///< in topological order once sealed
  const std::string& output() const { return output_; }
  shape extents_of(std::string_view value) const;
  /// Numbers that are learnt.
  index_t parameter_count() const;

  /// The value of every output of every node, by the name `node.output`. `sources` holds a tensor for each source.
  template <class T>
  tensor_set<T> forward(const tensor_set<T>& sources) const {
    tensor_set<T> values;
    for (const node& n : nodes_) {
      tensor_set<T> out = make_tensors<T>(*n.bound, output_names(n));
      n.bound->as<T>().forward(inputs_of(n, sources, values), out.views());
      for (auto& e : out.entries())
        if (e.is_index)
          values.add_indices(n.name + "." + e.name, std::move(e.index));
        else
          values.add(n.name + "." + e.name, std::move(e.real));
    }
    return values;
  }

  /// The gradient of the sum of the output with respect to every differentiable source, by the name of the source.
  template <class T>
  tensor_set<T> backward(const tensor_set<T>& sources, const tensor_set<T>& values) const {
    tensor_set<T> gradients;  // of sources and values alike
    gradients.add(output_, tensor<T>(extents_of(output_), T(1)));
    for (auto n = nodes_.rbegin(); n != nodes_.rend(); ++n) {
      bundle<const T> saved;
      tensor_set<T> dy;
      bool reached = false;
      for (const tensor_spec& s : n->bound->describe().outputs) {
        if (!n->bound->present(s.name)) continue;
        const auto& value = values.at(n->name + "." + s.name);
        value.is_index ? saved.add_indices(s.name, value.index.view()) : saved.add(s.name, value.real.view());
        if (value.is_index) continue;
        const auto* flowing = gradients.find(n->name + "." + s.name);
        reached = reached || flowing != nullptr;
        dy.add("d" + s.name, flowing != nullptr ? flowing->real : tensor<T>(value.real.extents()));
      }
      if (!reached) continue;
      tensor_set<T> dx = make_tensors<T>(*n->bound, gradient_names(*n));
      n->bound->as<T>().vjp(inputs_of(*n, sources, values), saved, std::as_const(dy).views(), dx.views());
      for (const wire& w : n->wires)
        if (const auto* e = dx.find("d" + w.input)) accumulate(gradients, w.from, e->real);
    }
    return gradients;
  }

 private:
  template <class T>
  bundle<const T> inputs_of(const node& n, const tensor_set<T>& sources, const tensor_set<T>& values) const {
    bundle<const T> in;
    for (const wire& w : n.wires) {
      const auto* e = sources.find(w.from);
      if (e == nullptr) e = &values.at(w.from);
      e->is_index ? in.add_indices(w.input, e->index.view()) : in.add(w.input, e->real.view());
    }
    return in;
  }

  template <class T>
  static void accumulate(tensor_set<T>& gradients, const std::string& name, const tensor<T>& part) {
    if (auto* e = gradients.find(name)) {
      for (index_t i = 0; i < part.size(); ++i) e->real[i] += part[i];
    } else {
      gradients.add(name, part);
    }
  }

  static std::vector<std::string> output_names(const node& n);
  static std::vector<std::string> gradient_names(const node& n);
  const graph_source* find_source(std::string_view name) const;
  void sort();
  void bind(node& n);
  std::string resolve(const std::string& from, const node& reader) const;

  std::vector<graph_source> sources_;
  std::vector<node> nodes_;
  std::string output_;
};

}  // namespace plumb
