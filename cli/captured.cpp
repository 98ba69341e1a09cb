#include "cli/captured.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "reference/core/npz.hpp"
#include "reference/layers/catalogue.hpp"
#include "reference/scalars/float_format.hpp"

namespace plumb::cli {
namespace {

namespace fs = std::filesystem;
using record::verdict;

/// Whether every input of the problem is there in the shape it expects.
bool fits(const layer& l, const npz_arrays& arrays) {
  for (const tensor_spec& spec : l.describe().inputs) {
    if (!l.present(spec.name)) continue;
    const auto found = std::ranges::find(arrays, spec.name, &npz_arrays::value_type::first);
    if (found == arrays.end() || found->second.extents() != l.shapes()[spec.name]) return false;
  }
  return true;
}

std::shared_ptr<const layer> try_to_bind(const std::string& text) {
  try {
    return plumb::bind(std::string_view(text));
  } catch (const std::invalid_argument&) {
    return nullptr;
  }
}

/// The layer's name and the shapes of the arrays that are its inputs.
std::string from_shapes(const std::string& layer, const npz_arrays& arrays) {
  std::string text = layer;
  const auto row = std::ranges::find(layer_catalogue(), layer, &layer_row::name);
  const layer_card card = row->card();
  for (const tensor_spec& spec : card.tensors.inputs)
    for (const auto& [name, array] : arrays)
      if (name == spec.name) text += fmt::format(" {}={}", name, to_string(array.extents()));
  return text;
}

std::shared_ptr<const layer> problem_of(const fs::path& file, const npz_arrays& arrays, const selection& s) {
  const fs::path beside = fs::path(file).replace_extension(".txt");
  if (fs::exists(beside)) {
    std::string text;
    std::ifstream in(beside);
    std::getline(in, text);
    std::shared_ptr<const layer> l = plumb::bind(std::string_view(text));
    if (!fits(*l, arrays))
      throw usage_error(fmt::format("{}: the arrays do not have the shapes of `{}`", file.string(), text));
    return l;
  }
  for (const std::string& text : s.problems)
    if (std::shared_ptr<const layer> l = plumb::bind(std::string_view(text)); fits(*l, arrays)) return l;
  std::set<std::string> layers;
  for (const kernel_info* k : s.kernels) layers.insert(k->layer);
  for (const std::string& name : layers)
    if (auto l = try_to_bind(from_shapes(name, arrays)); l && fits(*l, arrays)) return l;
  std::vector<std::string> names;
  for (const auto& [name, array] : arrays) names.push_back(name + "=" + to_string(array.extents()));
  throw usage_error(
      fmt::format("{} holds {}, which fit no problem given; expected --problems with its problem, or {}",
                  file.string(), list_of(names), beside.string()));
}

captured_sample load_sample(const fs::path& file, const selection& s) {
  captured_sample sample;
  npz_arrays arrays = read_npz(file);
  sample.origin = file.string();
  sample.about = problem_of(file, arrays, s);
  for (auto& [name, array] : arrays) {
    if (!sample.about->present(name) || array.extents() != sample.about->shapes()[name]) continue;
    const bool index = sample.about->spec(name).kind == element::index;
    if (index != array.is_index()) continue;
    if (index)
      sample.tensors.add_indices(name, std::move(array.index));
    else
      sample.tensors.add(name, std::move(array.real));
  }
  return sample;
}

/// What the pass reads, rounded to the kernels' element type; nothing if the sample lacks a tensor.
std::shared_ptr<tensor_set<double>> reads_for(const captured_sample& sample, const pass_spec& pass,
                                              dtype type) {
  const float_format format = format_of(type);
  auto reads = std::make_shared<tensor_set<double>>();
  for (const std::string& name : pass.reads) {
    if (!sample.about->present(name)) continue;
    const auto* e = sample.tensors.find(name);
    if (e == nullptr) return nullptr;
    if (e->is_index) {
      reads->add_indices(name, e->index);
      continue;
    }
    tensor<double>& t = reads->add(name, e->real);
    for (index_t i = 0; i < t.size(); ++i) t[i] = format.round(t[i]);
  }
  return reads;
}

record::regime_tally& tally_of(record::kernel_result& k) {
  for (record::regime_tally& t : k.regimes)
    if (t.regime == "captured") return t;
  record::regime_tally& fresh = k.regimes.emplace_back();
  fresh.regime = "captured";
  return fresh;
}

class captured_judge {
 public:
  captured_judge(sandbox& box, const verify_options& options, record::verify_section& section)
      : box_(box), options_(options), section_(section) {}

  /// Whether the kernel's pass could be asked at all.
  bool judge(const captured_sample& sample, const kernel_info& kernel) {
    const pass_spec* pass = sample.about->find_pass(kernel.pass);
    if (kernel.layer != sample.about->name() || pass == nullptr || !kernel.unavailable.empty()) return false;
    conditions how;
    how.type = kernel.types.front();
    how.layout = kernel.layouts.front();
    how.oracle_threads = 2;
    exam::question q{"captured", 0, {}, reads_for(sample, *pass, how.type)};
    if (!q.captured) return false;
    exam paper(sample.about, *pass, how, {q}, run_statistics{});
    paper.submit(box_, box_.at(0), {&kernel});
    paper.evaluate();
    paper.collect(box_, [&](answer& a) { take(sample, paper, kernel, a); });
    return true;
  }

 private:
  void take(const captured_sample& sample, const exam& paper, const kernel_info& kernel, answer& a) {
    const auto k = std::ranges::find(section_.kernels, kernel.name, &record::kernel_result::name);
    if (k == section_.kernels.end() || !a.declined.empty()) return;
    record::regime_tally& tally = tally_of(*k);
    ++tally.cases;
    ++k->cases;
    ++section_.cases;
    k->calls += a.calls;
    section_.calls += a.calls;
    k->elements += a.result.elements;
    tally.worst_proven = std::max(tally.worst_proven.value_or(0), a.result.worst_proven);
    tally.worst_ulps = std::max(tally.worst_ulps, a.result.worst_ulps);
    if (!a.wrong || a.wrong->verdict == verdict::inconclusive) return;
    ++tally.failures;
    k->verdict = a.wrong->verdict;
    k->reason = a.wrong->kind + " on " + sample.origin;
    k->certified = false;
    k->counterexamples.push_back(described(paper, *a.wrong));
  }

  /// Shrunk from the data written out; too much of them stays as it is.
  record::counterexample described(const exam& paper, failure f) {
    constexpr std::size_t most_data = 100'000;
    const tensor_set<double>& reads = paper.reads(0);
    f.conditions.regime = test_case::given;
    for (const auto& e : reads.entries())
      for (index_t i = 0; i < e.extents().size() && f.conditions.data.size() <= most_data; ++i)
        if (const double v = e.is_index ? static_cast<double>(e.index[i]) : e.real[i]; !(v == 0))
          f.conditions.data.push_back({e.name, i, v});
    if (f.conditions.data.size() > most_data) {
      record::counterexample c;
      c.kind = f.kind;
      c.message = f.message;
      c.problem = c.original_problem = f.conditions.problem;
      c.regime = "captured";
      return c;
    }
    shrunk_case smallest{f.conditions, 0, false};
    const auto fails = [&](const test_case& c) {
      const single_case again = examine(box_, c, false);
      return again.result.wrong && again.result.wrong->verdict != verdict::inconclusive;
    };
    if (options_.shrink && fails(f.conditions)) smallest = options_.shrink(f.conditions, fails, 6);
    return describe_failure(box_, f, smallest);
  }

  sandbox& box_;
  const verify_options& options_;
  record::verify_section& section_;
};

}  // namespace

std::vector<captured_sample> load_captured(const std::string& path, const selection& s) {
  std::vector<fs::path> files;
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.path().extension() == ".npz") files.push_back(entry.path());
    std::ranges::sort(files);
  } else {
    files.emplace_back(path);
  }
  if (files.empty()) throw usage_error("--in " + path + ": the folder holds no .npz archive");
  std::vector<captured_sample> samples;
  for (const fs::path& file : files) samples.push_back(load_sample(file, s));
  return samples;
}

void judge_captured(sandbox& box, const std::vector<captured_sample>& samples, const selection& s,
                    const verify_options& options, record::verify_section& section) {
  captured_judge judge(box, options, section);
  for (const captured_sample& sample : samples) {
    bool asked = false;
    for (const kernel_info* k : s.kernels) asked = judge.judge(sample, *k) || asked;
    if (!asked)
      throw usage_error(sample.origin + ": no selected kernel computes a pass of `" +
                        sample.about->canonical().print() + "` for which the archive has every tensor");
  }
}

}  // namespace plumb::cli
