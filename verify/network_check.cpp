#include "verify/network_check.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "verify/agreement.hpp"
#include "verify/evaluate.hpp"
#include "verify/runner.hpp"

namespace plumb {
namespace {

using clock = std::chrono::steady_clock;
using record::verdict;

double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

/// Which node reads a source, and as what.
const computational_graph::node* reader_of(const computational_graph& g, const std::string& source,
                                           std::string& input) {
  for (const auto& n : g.nodes())
    for (const auto& w : n.wires)
      if (w.from == source) {
        input = w.input;
        return &n;
      }
  return nullptr;
}

bool is_differentiable(const computational_graph& g, const std::string& source) {
  std::string input;
  const auto* n = reader_of(g, source, input);
  return n != nullptr && n->bound->spec(input).kind == element::real && n->bound->spec(input).differentiable;
}

/// Every source as dual numbers that move along `direction`.
template <class T>
tensor_set<dual<T>> moving(const tensor_set<T>& at, const tensor_set<T>& direction) {
  tensor_set<dual<T>> result = at.template map<dual<T>>([](const T& v) { return dual<T>(v); });
  for (const auto& e : direction.entries())
    for (index_t i = 0; i < e.real.size(); ++i) result[e.name][i].tangent = e.real[i];
  return result;
}

template <class T>
tensor_set<T> moved(const tensor_set<T>& at, const tensor_set<T>& direction, const T& h) {
  tensor_set<T> result = at;
  for (const auto& e : direction.entries())
    for (index_t i = 0; i < e.real.size(); ++i) result[e.name][i] += h * e.real[i];
  return result;
}

template <class T>
T loss_of(const computational_graph& g, const tensor_set<T>& values) {
  T sum(0);
  for (const T& v : values[g.output()].values()) sum += v;
  return sum;
}

/// All winners of all nodes: where they change, a kink lies between.
std::vector<index_t> winners(const computational_graph& g, const tensor_set<double>& sources) {
  const tensor_set<double> values = g.forward(sources);
  std::vector<index_t> all;
  for (const auto& n : g.nodes()) {
    if (!n.bound->has_winners()) continue;
    bundle<const double> in;
    for (const auto& w : n.wires) {
      const auto* e = sources.find(w.from);
      if (e == nullptr) e = &values.at(w.from);
      e->is_index ? in.add_indices(w.input, e->index.view()) : in.add(w.input, e->real.view());
    }
    const std::vector<index_t> here = n.bound->winners(in);
    all.insert(all.end(), here.begin(), here.end());
  }
  return all;
}

/// Richardson extrapolation of central differences of the loss with steps h, h/2, …; the distance of the last two
/// diagonal entries is the error estimate.
struct estimate {
  mp100 value, error;
};
estimate numeric(const computational_graph& g, const tensor_set<mp100>& at,
                 const tensor_set<mp100>& direction, double h) {
  constexpr int levels = 5;
  std::vector<mp100> row;
  mp100 previous(0), step(h);
  for (int level = 0; level < levels; ++level, step /= 2) {
    const mp100 above = loss_of(g, g.forward(moved(at, direction, step)));
    const mp100 below = loss_of(g, g.forward(moved(at, direction, mp100(-step))));
    std::vector<mp100> next{(above - below) / (2 * step)};
    mp100 power(1);
    for (const mp100& wider : row) {
      power *= 4;
      next.push_back(next.back() + (next.back() - wider) / (power - 1));
    }
    if (!row.empty()) previous = row.back();
    row = std::move(next);
  }
  return {row.back(), abs(row.back() - previous)};
}

record::layer_check check_whole(const std::string& name, const computational_graph& g,
                                const tensor_set<double>& point, const gradcheck_options& options) {
  constexpr double step = 0x1p-60;  // no kink is that near, as the winners confirm
  record::layer_check result;
  result.layer = name;
  result.problem = fmt::format("{} layers, {} parameters", g.nodes().size(), g.parameter_count());
  const auto at = point.map<mp100>([](double v) { return mp100(v); });
  const tensor_set<mp100> gradient = g.backward(at, g.forward(at));
  const std::vector<index_t> here = winners(g, point);
  tally dual_vjp("dual", "vjp", "mp100"), numeric_dual("numeric", "dual", "mp100"),
      numeric_vjp("numeric", "vjp", "mp100");
  constexpr int directions = 2;
  for (int d = 0; d < directions; ++d) {
    point_source source(options.seed * 31 + static_cast<std::uint64_t>(d));
    tensor_set<mp100> v;
    tensor_set<double> in_double;
    mp100 by_vjp(0);
    for (const graph_source& s : g.sources()) {
      if (!is_differentiable(g, s.name)) continue;
      tensor<mp100>& t = v.add(s.name, tensor<mp100>(s.extents));
      tensor<double>& u = in_double.add(s.name, tensor<double>(s.extents));
      for (index_t i = 0; i < t.size(); ++i) {
        u[i] = static_cast<double>(2 * source.below(16) - 15) / 16;
        t[i] = u[i];
        by_vjp += gradient[s.name][i] * t[i];
      }
    }
    const mp100 by_dual = loss_of(g, g.forward(moving(at, v))).tangent;
    dual_vjp.compare(by_dual, by_vjp, mp100(0));
    ++result.points;
    if (winners(g, moved(point, in_double, step)) != here ||
        winners(g, moved(point, in_double, -step)) != here) {
      ++result.kinks_excluded;
      continue;
    }
    const estimate e = numeric(g, at, v, step);
    numeric_dual.compare(e.value, by_dual, e.error);
    numeric_vjp.compare(e.value, by_vjp, e.error);
  }
  result.verdict = verdict::pass;
  for (tally* t : {&dual_vjp, &numeric_dual, &numeric_vjp}) {
    const record::agreement a = t->finish(options.digits);
    if (a.compared == 0) continue;
    if (a.verdict != verdict::pass && result.verdict != verdict::fail) {
      result.verdict = a.verdict;
      result.reason = a.reason;
    }
    result.agreements.push_back(a);
  }
  return result;
}

/// What a pass of a node reads, by the names of the layer, out of the values and cotangents of the network.
tensor_set<double> gather(const computational_graph::node& n, const pass_spec& pass,
                          const tensor_set<double>& sources, const tensor_set<double>& values,
                          const tensor_set<double>& gradients) {
  tensor_set<double> reads;
  const auto take = [&](const std::string& name, const tensor_set<double>::entry& e) {
    if (e.is_index)
      reads.add_indices(name, e.index);
    else
      reads.add(name, e.real);
  };
  for (const std::string& name : pass.reads) {
    if (!n.bound->present(name)) continue;
    const auto wire = std::ranges::find(n.wires, name, &computational_graph::wire::input);
    if (wire != n.wires.end()) {
      const auto* e = sources.find(wire->from);
      take(name, e != nullptr ? *e : values.at(wire->from));
    } else if (const auto* saved = values.find(n.name + "." + name)) {
      take(name, *saved);
    } else if (const auto* flowing = gradients.find(n.name + "." + name.substr(1))) {
      take(name, *flowing);
    } else {
      reads.add(name, tensor<double>(n.bound->shapes()[name]));
    }
  }
  return reads;
}

double to_float(double v) { return static_cast<double>(static_cast<float>(v)); }

/// A network whose layers are computed by kernels where one is chosen.
class kernel_network {
 public:
  kernel_network(const computational_graph& g, sandbox& box,
                 const std::function<bool(const kernel_info&)>& chosen,
                 const std::function<void(const std::string&)>& progress)
      : graph_(g), box_(box), chosen_(chosen), progress_(progress) {}

  void run(const tensor_set<double>& sources) {
    for (const auto& n : graph_.nodes()) {
      const pass_spec& forward = n.bound->describe().passes.front();
      tensor_set<double> results = compute(n, forward, gather(n, forward, sources, values_, gradients_));
      for (auto& e : results.entries()) keep(values_, n.name + "." + e.name, e);
    }
    gradients_.add(graph_.output(), tensor<double>(graph_.extents_of(graph_.output()), 1.0));
    for (auto n = graph_.nodes().rbegin(); n != graph_.nodes().rend(); ++n)
      for (const pass_spec& pass : n->bound->describe().passes) {
        if (&pass == &n->bound->describe().passes.front()) continue;
        tensor_set<double> results = compute(*n, pass, gather(*n, pass, sources, values_, gradients_));
        for (auto& e : results.entries()) accumulate(*n, e);
      }
  }

  std::vector<record::layer_check> take_checks() { return std::move(checks_); }
  const std::string& first_departure() const { return departure_; }

 private:
  using entry = tensor_set<double>::entry;

  static void keep(tensor_set<double>& set, const std::string& name, const entry& e) {
    if (e.is_index)
      set.add_indices(name, e.index);
    else
      set.add(name, e.real);
  }

  void accumulate(const computational_graph::node& n, const entry& e) {
    const auto wire = std::ranges::find(n.wires, e.name.substr(1), &computational_graph::wire::input);
    if (wire == n.wires.end()) return;
    if (auto* sum = gradients_.find(wire->from)) {
      for (index_t i = 0; i < e.real.size(); ++i) sum->real[i] = to_float(sum->real[i] + e.real[i]);
    } else {
      gradients_.add(wire->from, e.real);
    }
  }

  /// By the first chosen kernel that accepts the problem, judged; or by the reference, rounded to what a kernel stores.
  tensor_set<double> compute(const computational_graph::node& n, const pass_spec& pass,
                             const tensor_set<double>& reads) {
    progress_(n.name + " " + pass.name);
    for (const kernel_info& k : box_.kernels()) {
      if (k.layer != n.layer || k.pass != pass.name || !k.unavailable.empty() || !chosen_(k)) continue;
      test_case c{.kernel = k.name,
                  .problem = n.bound->canonical().print(),
                  .regime = std::string(test_case::given),
                  .data = {}};
      for (const auto& e : reads.entries())
        for (index_t i = 0; i < e.extents().size(); ++i) {
          const double value = e.is_index ? static_cast<double>(e.index[i]) : e.real[i];
          if (!(value == 0)) c.data.push_back({e.name, i, value});
        }
      const single_case judged = examine(box_, c, false);
      if (!judged.result.declined.empty()) continue;
      note(n, pass, k, judged);
      try {
        return call_once(box_, k, *n.bound, pass, reads, {});
      } catch (const kernel_declined&) {  // it crashed, and the verdict says so
        break;
      }
    }
    return evaluate_pass<double>(*n.bound, pass, reads).map<double>(to_float);
  }

  void note(const computational_graph::node& n, const pass_spec& pass, const kernel_info& k,
            const single_case& judged) {
    const answer& a = judged.result;
    record::kernel_gradient g;
    g.kernel = k.name;
    g.pass = pass.name;
    g.peer = k.peer;
    g.verdict = a.wrong ? a.wrong->verdict : a.result.passed() ? verdict::pass : verdict::inconclusive;
    if (a.wrong) g.reason = a.wrong->kind + ": " + a.wrong->message;
    g.worst_proven = a.result.worst_proven;
    g.worst_ulps = a.result.worst_ulps;
    if (a.wrong && departure_.empty())
      departure_ = fmt::format("{} ({} by {}): {}", n.name, pass.name, k.name, g.reason);
    for (record::layer_check& each : checks_)
      if (each.layer == n.name) return each.kernels.push_back(std::move(g));
    record::layer_check check;
    check.layer = n.name;
    check.problem = n.bound->canonical().print();
    check.verdict = verdict::pass;
    check.kernels.push_back(std::move(g));
    checks_.push_back(std::move(check));
  }

  const computational_graph& graph_;
  sandbox& box_;
  const std::function<bool(const kernel_info&)>& chosen_;
  const std::function<void(const std::string&)>& progress_;
  tensor_set<double> values_, gradients_;
  std::vector<record::layer_check> checks_;
  std::string departure_;
};

}  // namespace

tensor_set<double> draw_sources(const computational_graph& g, std::uint64_t seed) {
  tensor_set<double> set;
  std::uint64_t stream = seed * 1'000'003;
  for (const graph_source& s : g.sources()) {
    point_source source(++stream);
    std::string input;
    const auto* n = reader_of(g, s.name, input);
    if (n != nullptr && n->bound->spec(input).kind == element::index) {
      tensor<index_t> t(s.extents);
      for (index_t i = 0; i < t.size(); ++i)
        t[i] = source.below(std::max<index_t>(1, n->bound->index_bound(input)));
      set.add_indices(s.name, std::move(t));
      continue;
    }
    index_t fan_in = 1;
    for (int axis = 1; axis < s.extents.rank(); ++axis) fan_in *= s.extents[axis];
    const bool weights = s.part == graph_source::role::parameter && s.extents.rank() > 1;
    const double reach = weights ? std::sqrt(6.0 / static_cast<double>(std::max<index_t>(1, fan_in))) : 1.0;
    tensor<double> t(s.extents);
    for (index_t i = 0; i < t.size(); ++i)
      t[i] = to_float(reach * static_cast<double>(2 * source.below(1 << 20) - ((1 << 20) - 1)) / (1 << 20));
    set.add(s.name, std::move(t));
  }
  return set;
}

std::vector<record::layer_check> check_network(const std::string& name, const computational_graph& g,
                                               const gradcheck_options& options,
                                               const std::function<void(const std::string&)>& progress) {
  const clock::time_point start = clock::now();
  const tensor_set<double> point = draw_sources(g, options.seed);
  std::vector<record::layer_check> checks;
  progress(name);
  checks.push_back(check_whole(name, g, point, options));
  checks.back().seconds = seconds_since(start);
  const tensor_set<double> values = g.forward(point);
  for (const auto& n : g.nodes()) {
    progress(name + "/" + n.name);
    const pass_spec inputs{.name = "in place",
                           .reads =
                               [&] {
                                 std::vector<std::string> names;
                                 for (const auto& w : n.wires) names.push_back(w.input);
                                 return names;
                               }(),
                           .writes = {}};
    checks.push_back(check_layer_at(*n.bound, gather(n, inputs, point, values, {}), options));
    checks.back().layer = name + "/" + n.name;
  }
  return checks;
}

std::vector<record::layer_check> run_network(const std::string& name, const computational_graph& g,
                                             sandbox& box,
                                             const std::function<bool(const kernel_info&)>& chosen,
                                             std::uint64_t seed,
                                             const std::function<void(const std::string&)>& progress) {
  const clock::time_point start = clock::now();
  kernel_network network(g, box, chosen, progress);
  network.run(draw_sources(g, seed));
  record::layer_check whole;
  whole.layer = name;
  whole.problem = fmt::format("{} layers, {} parameters", g.nodes().size(), g.parameter_count());
  whole.verdict = network.first_departure().empty() ? verdict::pass : verdict::fail;
  if (!network.first_departure().empty()) whole.reason = "first to depart: " + network.first_departure();
  whole.points = 1;
  whole.seconds = seconds_since(start);
  std::vector<record::layer_check> checks = network.take_checks();
  for (record::layer_check& c : checks) c.layer = name + "/" + c.layer;
  if (checks.empty()) {
    whole.verdict = verdict::skipped;
    whole.reason = "no chosen kernel computes a layer of this network";
  }
  checks.insert(checks.begin(), std::move(whole));
  return checks;
}

}  // namespace plumb
