// Kernels and problems by name, and the options that come with them.
#include "cli/judging.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "properties/generators/problem_space.hpp"
#include "properties/laws/laws.hpp"
#include "properties/shrink.hpp"
#include "reference/core/npz.hpp"
#include "reference/core/problem_set.hpp"
#include "reference/core/registry.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/gradcheck.hpp"

namespace plumb::cli {
selection select(const sandbox& box, const std::vector<std::string>& words, const std::string& problem_option,
                 bool only_plugins) {
  selection s;
  const auto take = [&](const kernel_info& k) {
    if (std::ranges::find(s.kernels, &k) == s.kernels.end()) s.kernels.push_back(&k);
  };
  for (const std::string& word : words) {
    const std::size_t before = s.kernels.size();
    // Host execution takes a hundred times as long as a kernel: only those who name it pay for it.
    const bool hosts = word.find("@host") != std::string::npos;
    const auto wanted = [&](const kernel_info& k) {
      return (hosts || k.device != "host") && (!only_plugins || !k.plugin.empty());
    };
    if (is_problem_text(word)) {
      const auto l = plumb::bind(std::string_view(word));
      s.problems.push_back(l->canonical().print());
      for (const kernel_info& k : box.kernels())
        if (k.layer == l->name() && l->find_pass(k.pass) != nullptr && wanted(k)) take(k);
    } else {
      for (const kernel_info& k : box.kernels())
        if (glob_match(word, k.name) && wanted(k)) take(k);
    }
    if (s.kernels.size() == before)
      throw usage_error(
          "`" + word + "` matches no " + (only_plugins ? "kernel of the plugin" : "kernel") +
          "; expected a glob such as 'conv2d.forward/*' (see `plumb list kernels`) or a problem");
  }
  if (!problem_option.empty())
    for (const set_problem& p : load_problems(problem_option).problems) {
      try {
        s.problems.push_back(plumb::bind(p.problem)->canonical().print());
      } catch (const std::invalid_argument& e) {
        throw usage_error((p.origin.empty() ? "" : p.origin + ": ") + e.what());
      }
    }
  return s;
}

sandbox_options judging(const std::vector<std::string>& plugins) {
  sandbox_options options;
  options.plugins = plugins;
  options.arenas = runner_arenas;
  options.time_limit = std::chrono::seconds(5);  // for one call; generated problems take microseconds
  return options;
}

sandbox_options timing() {
  sandbox_options options;
  options.fill_heap = false;
  // Two threads that the system leaves on one core beside a busy neighbour take twice the time, for as long as they live.
  // Threads wait for each other as they do in any program: one that is put to sleep at every barrier, as while judging, is
  // woken too late to share what takes a few tenths of a millisecond.
  options.environment = {{"OMP_PROC_BIND", "spread"}, {"OMP_PLACES", "cores"}, {"OMP_WAIT_POLICY", ""}};
  return options;
}

namespace {

shrunk_case shrink_case(const test_case& failing, const std::function<bool(const test_case&)>& fails,
                        double seconds) {
  shrink_budget budget;
  budget.seconds = seconds;
  const shrunk r = shrink(failing, {fails, with_data}, budget);
  return {r.smallest, r.calls, r.fixpoint};
}

}  // namespace

verify_options runner_options(const common_options& common, progress_line& line) {
  verify_options o;
  o.seed = common.seed;
  o.draw_problem = [](const std::string& layer, std::uint64_t seed) { return draw_problem(layer, seed); };
  o.vary = vary_problem;
  o.fit = fit_problems;
  o.triggers = [](const layer& l) { return triggers(l); };
  o.all_triggers = [](const std::string& layer) { return all_triggers(layer); };
  o.shrink = shrink_case;
  o.laws = laws();
  o.progress = [&line](const run_progress& p) { line.show(p); };
  return o;
}

std::vector<std::string> small_problems(const std::string& layer, std::uint64_t seed, std::size_t wanted) {
  std::vector<std::string> found, scalar;  // losses reduced to one number serve where there is nothing else
  for (std::uint64_t n = 0; n < 4000 && found.size() < wanted && scalar.size() < 100; ++n) {
    const auto l = plumb::bind(std::string_view(draw_problem(layer, seed * 65'537 + n)));
    double inputs = 0;
    double outputs = 0;
    for (const tensor_spec& s : l->describe().inputs)
      if (l->present(s.name) && s.differentiable) inputs += static_cast<double>(l->shapes()[s.name].size());
    for (const tensor_spec& s : l->describe().outputs)
      if (s.differentiable) outputs += static_cast<double>(l->shapes()[s.name].size());
    if (inputs >= 12 && outputs >= 1 && inputs * outputs <= 3000 && has_derivatives(*l, seed))
      (outputs >= 4 ? found : scalar).push_back(l->canonical().print());
  }
  for (std::size_t i = 0; i < scalar.size() && found.size() < wanted; ++i) found.push_back(scalar[i]);
  return found;
}

namespace {

/// Adds one array, checked against the problem. `origin` is what a sentence calls it.
void add_array(const layer& l, tensor_set<double>& given, const std::string& name, const std::string& origin,
               npy_array a) {
  if (!l.present(name))
    throw usage_error("`" + name + "=" + origin + "`: `" + l.name() + "` has no tensor `" + name + "` here");
  const bool index = l.spec(name).kind == element::index;
  if (a.extents() != l.shapes()[name])
    throw usage_error("`" + origin + "` has shape " + to_string(a.extents()) + "; the problem expects " +
                      name + "=" + to_string(l.shapes()[name]));
  if (index != a.is_index())
    throw usage_error("`" + origin + "` holds " + std::string(name_of(a.type)) + "; `" + name + "` takes " +
                      (index ? "integers" : "real numbers"));
  index ? static_cast<void>(given.add_indices(name, std::move(a.index)))
        : static_cast<void>(given.add(name, std::move(a.real)));
}

/// `1,-2,0.5`, or nothing if the text is not such a list.
std::optional<std::vector<double>> parse_numbers(const std::string& text) {
  std::vector<double> numbers;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    const std::string word = text.substr(start, end - start);
    char* stop = nullptr;
    numbers.push_back(std::strtod(word.c_str(), &stop));
    if (word.empty() || *stop != '\0') return std::nullopt;
    start = end + 1;
  }
  return numbers;
}

void add_numbers(const layer& l, tensor_set<double>& given, const std::string& name, const std::string& text,
                 const std::vector<double>& numbers) {
  const shape extents = l.present(name) ? l.shapes()[name] : shape{static_cast<index_t>(numbers.size())};
  if (static_cast<index_t>(numbers.size()) != extents.size())
    throw usage_error("`" + name + "=" + text + "`: " + std::to_string(numbers.size()) +
                      " numbers; the problem expects " + std::to_string(extents.size()) + " for " + name +
                      "=" + to_string(extents));
  npy_array a;
  a.type = l.present(name) && l.spec(name).kind == element::index ? dtype::i64 : dtype::f64;
  if (a.is_index())
    a.index = tensor<index_t>(extents, {numbers.begin(), numbers.end()});
  else
    a.real = tensor<double>(extents, numbers);
  add_array(l, given, name, text, std::move(a));
}

}  // namespace

std::pair<std::string, std::string> name_and_source(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos && text.ends_with(".npz")) return {"", text};
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw usage_error("`" + text +
                      "`: expected NAME=FILE.npy, as in x=x.npy, or FILE.npz, or numbers, as in x=1,-2,0.5");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

void read_into(const layer& l, tensor_set<double>& given, const std::string& name, const std::string& file) {
  if (const auto numbers = parse_numbers(file)) return add_numbers(l, given, name, file, *numbers);
  if (!file.ends_with(".npz")) return add_array(l, given, name, file, read_npy(file));
  std::vector<std::string> names;
  for (auto& [array, values] : read_npz(file)) {
    if (name.empty() || name == array) add_array(l, given, array, file + ":" + array, std::move(values));
    names.push_back(array);
  }
  if (!name.empty() && std::ranges::find(names, name) == names.end())
    throw usage_error("`" + name + "=" + file + "`: the archive holds " + list_of(names));
}

}  // namespace plumb::cli
