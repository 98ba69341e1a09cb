#include "bench/bench.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <thread>

#include "bench/contest.hpp"
#include "bench/work.hpp"
#include "reference/core/registry.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

using namespace bench;

double now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// One contest to come.
struct pairing {
  std::string set;
  std::shared_ptr<const layer> about;
  const pass_spec* pass = nullptr;
  plumb::layout layout = layout::nchw;
  std::vector<const kernel_info*> kernels;
  const kernel_info* baseline = nullptr;
};

/// A row of the record together with what its ratio and share are computed from later.
struct row {
  record::timing shown;
  series times;
  std::string pass;
  std::string arithmetic;
  double operations = 0, bytes = 0;
  double stream_gbytes = 0;  ///< roof over a footprint of this problem's size
};

std::shared_ptr<const layer> bind_line(const set_problem& p) {
  try {
    return bind(p.problem);
  } catch (const std::invalid_argument& error) {
    if (p.origin.empty()) throw;
    throw problem_set_error(p.origin + ": " + error.what());
  }
}

bool takes(const kernel_info& k, layout order) {
  return std::ranges::find(k.layouts, order) != k.layouts.end() &&
         std::ranges::find(k.types, dtype::f32) != k.types.end();
}

/// Whether the layout makes a difference to any tensor of the pass.
bool layout_matters(const layer& l, const pass_spec& pass) {
  for (const auto* names : {&pass.reads, &pass.writes})
    for (const std::string& name : *names)
      if (l.present(name) && follows_layout(l.spec(name), l.shapes()[name].rank())) return true;
  return false;
}

class selection {
 public:
  selection(const sandbox& box, const bench_options& options) : box_(box), options_(options) {}

  std::vector<pairing> pairings() const {
    std::vector<pairing> list;
    for (const problem_set& set : options_.sets)
      for (const set_problem& p : set.problems) {
        const auto about = bind_line(p);
        for (const pass_spec& pass : about->describe().passes)
          for (const layout order : options_.layouts) add(list, set.name, about, pass, order);
      }
    if (!list.empty()) return list;
    throw bench_error(
        "nothing to time: none of the " + std::to_string(options_.kernels.size()) +
        " kernels selected computes a layer of these problems; `plumb list kernels` shows what there is");
  }

 private:
  void add(std::vector<pairing>& list, const std::string& set, const std::shared_ptr<const layer>& about,
           const pass_spec& pass, layout order) const {
    if (order != options_.layouts.front() && !layout_matters(*about, pass)) return;
    pairing p{set, about, &pass, order, {}, nullptr};
    for (const kernel_info* k : options_.kernels)
      if (k->layer == about->name() && k->pass == pass.name && takes(*k, order)) p.kernels.push_back(k);
    if (p.kernels.empty()) return;
    p.baseline = baseline(p);
    if (std::ranges::find(p.kernels, p.baseline) == p.kernels.end())
      p.kernels.insert(p.kernels.begin(), p.baseline);
    list.push_back(std::move(p));
  }

  /// The first kernel of the worker, available and of the same layer and pass, that `suits`.
  template <class Suits>
  const kernel_info* first(const pairing& p, Suits&& suits) const {
    for (const kernel_info& k : box_.kernels())
      if (k.layer == p.about->name() && k.pass == p.pass->name && k.unavailable.empty() &&
          takes(k, p.layout) && suits(k))
        return &k;
    return nullptr;
  }

  const kernel_info* baseline(const pairing& p) const {
    if (!options_.against.empty()) {
      const auto* k =
          first(p, [&](const kernel_info& each) { return glob_match(options_.against, each.name); });
      return k != nullptr ? k : p.kernels.front();
    }
    const auto* k = first(p, [](const kernel_info& each) { return glob_match("*/onednn@*", each.name); });
    if (k == nullptr) k = first(p, [](const kernel_info& each) { return each.peer; });
    return k != nullptr ? k : p.kernels.front();
  }

  const sandbox& box_;
  const bench_options& options_;
};

/// Rows for kernels that may not compete; the others are returned.
std::vector<const kernel_info*> admit(const pairing& p, const bench_options& options, std::vector<row>& rows,
                                      const row& form) {
  std::vector<const kernel_info*> admitted;
  for (const kernel_info* k : p.kernels) {
    std::optional<known_verdict> known;
    if (options.known) known = options.known(*k, form.shown.problem, p.layout);
    if (!known || !record::is_bad(known->verdict)) {
      admitted.push_back(k);
      continue;
    }
    row& refused = rows.emplace_back(form);
    refused.shown.kernel = k->name;
    refused.shown.peer = k->peer;
    refused.shown.baseline = k == p.baseline;
    refused.shown.verdict = known->verdict;
    refused.shown.reason = known->reason;
  }
  return admitted;
}

void add_rows(std::vector<row>& rows, const row& form, const pairing& p, contest_result& result) {
  for (contestant& c : result.contestants) {
    row& r = rows.emplace_back(form);
    r.shown.kernel = c.kernel->name;
    r.shown.peer = c.kernel->peer;
    r.shown.baseline = c.kernel == p.baseline;
    r.shown.implementation = c.implementation;
    r.shown.verdict = c.verdict;
    r.shown.reason = c.reason;
    r.shown.worst_ulps = c.worst_ulps;
    r.shown.worst_proven = c.worst_proven;
    r.arithmetic = c.kernel->arithmetic;
    r.times = std::move(c.times);
    for (const double gbytes : result.gbytes_samples) r.stream_gbytes = std::max(r.stream_gbytes, gbytes);
  }
}

row form_of(const pairing& p) {
  row form;
  form.shown.problem = p.about->canonical().print();
  form.shown.set = p.set;
  form.shown.layout = std::string(name_of(p.layout));
  form.pass = p.pass->name;
  form.operations = operations(*p.about, *p.pass);
  form.bytes = compulsory_bytes(*p.about, *p.pass, dtype::f32);
  return form;
}

/// How many times the seconds of the clock may a contest's kernels get; the rest goes to planning, warming
/// up, hashing and judging, and is learnt from the contests before.
class budget {
 public:
  explicit budget(double seconds) : end_(now() + seconds), start_(now()), total_(seconds) {}
  double elapsed() const { return now() - start_; }
  double total() const { return total_; }
  double per_kernel(std::size_t contests_left, std::size_t kernels) {
    constexpr double least = 2e-3;
    granted_ = std::max(end_ - now(), 0.0) / static_cast<double>(contests_left);
    began_ = now();
    return std::max(least, granted_ * useful_ / static_cast<double>(std::max<std::size_t>(kernels, 1)));
  }
  void done() {
    const double took = now() - began_;
    if (granted_ > 0)
      useful_ = std::clamp(useful_ * granted_ / took, useful_ / 2, std::min(1.0, useful_ * 1.5));
  }

 private:
  double end_, start_, total_;
  double useful_ = 0.5, granted_ = 0, began_ = 0;
};

void hold_contest(sandbox& box, const bench_options& options, const pairing& p, double seconds_per_kernel,
                  int threads, std::vector<row>& rows, record::roof& roof) {
  const row form = form_of(p);
  const auto kernels = admit(p, options, rows, form);
  if (kernels.empty()) return;
  contest_result result;
  try {
    contest c(p.about, *p.pass, kernels,
              {p.layout, threads, options.rounds, seconds_per_kernel, options.seed});
    result = c.run(box);
  } catch (const std::length_error& error) {
    for (const kernel_info* k : kernels) {
      contestant& c = result.contestants.emplace_back();
      c.kernel = k;
      c.verdict = record::verdict::skipped;
      c.reason = error.what();
    }
  }
  add_rows(rows, form, p, result);
  for (const auto& [from, to] : {std::pair(&result.gflops_samples, &roof.gflops_samples),
                                 std::pair(&result.memory_gbytes_samples, &roof.gbytes_samples)})
    to->insert(to->end(), from->begin(), from->end());
}

/// Time over the baseline's on the same problem, pass and layout.
std::vector<double> ratios_of(const row& mine, const std::vector<row>& rows) {
  for (const row& r : rows)
    if (r.shown.baseline && r.shown.set == mine.shown.set && r.shown.problem == mine.shown.problem &&
        r.shown.layout == mine.shown.layout && r.pass == mine.pass && !r.times.seconds.empty())
      return paired_ratios(mine.times, r.times);
  return {};
}

const std::string& baseline_name(const row& mine, const std::vector<row>& rows) {
  for (const row& r : rows)
    if (r.shown.baseline && r.shown.problem == mine.shown.problem && r.pass == mine.pass &&
        r.shown.layout == mine.shown.layout)
      return r.shown.kernel;
  return mine.shown.kernel;
}

record::time_ratio to_ratio(const estimate& e, const std::string& against) {
  return {against, e.value, e.low, e.high, judge(e)};
}

/// The roofline at this intensity: the lower of the compute roof and of the stream over as many bytes as the
/// problem has.
double roof_gflops(const row& r, double peak_gflops) {
  return std::min(peak_gflops, r.operations / r.bytes * r.stream_gbytes);
}

record::measurement measure(const row& r, double peak_gflops) {
  const estimate time = median_of(r.times.seconds);
  record::measurement m;
  m.seconds = time.value;
  m.low = time.low;
  m.high = time.high;
  m.samples = r.times.seconds;
  m.flops = r.operations;
  m.bytes = r.bytes;
  m.gflops = 1e-9 * r.operations / time.value;
  m.gbytes = 1e-9 * r.bytes / time.value;
  const double roof = r.operations > 0 ? roof_gflops(r, peak_gflops) : r.stream_gbytes;
  if (roof > 0) m.roof_share = (r.operations > 0 ? m.gflops : m.gbytes) / roof;
  return m;
}

/// A kernel that multiplies term by term in f32 cannot be faster than the units; one with fewer
/// multiplications, or with narrower ones, can. Nothing reads faster than the stream.
std::string beyond_roof(const row& r, const record::measurement& m, double peak_gflops) {
  const bool term_by_term = r.arithmetic == "f32" || r.arithmetic == "exact";
  if (term_by_term && m.gflops > most_roof_share * peak_gflops)
    return fmt::format(
        "{:.0f} GFLOP/s is above {} × the roof of {:.0f} measured in the same run: no believable time",
        m.gflops, most_roof_share, peak_gflops);
  if (m.gbytes > most_roof_share * r.stream_gbytes)
    return fmt::format(
        "{:.1f} GB/s is above {} × the roof of {:.1f} measured in the same run: no believable time", m.gbytes,
        most_roof_share, r.stream_gbytes);
  return {};
}

void fill_measurements(std::vector<row>& rows, double peak_gflops) {
  for (row& r : rows) {
    if (r.shown.verdict != record::verdict::pass || r.times.seconds.empty()) continue;
    record::measurement m = measure(r, peak_gflops);
    if (std::string why = beyond_roof(r, m, peak_gflops); !why.empty()) {
      r.shown.verdict = record::verdict::inconclusive;
      r.shown.reason = std::move(why);
      r.times = {};
      continue;
    }
    r.shown.measurement = std::move(m);
  }
  for (row& r : rows)
    if (r.shown.measurement && !r.shown.baseline)
      if (const auto ratios = ratios_of(r, rows); !ratios.empty())
        r.shown.measurement->ratio = to_ratio(median_of(ratios), baseline_name(r, rows));
}

/// Per set, kernel and layout, in the order of first appearance.
std::vector<record::set_total> totals(const std::vector<row>& rows, std::uint64_t seed) {
  struct gathered {
    record::set_total total;
    std::vector<std::vector<double>> ratios;
    std::string against;
  };
  std::vector<gathered> list;
  for (const row& r : rows) {
    if (r.shown.set.empty() || !r.shown.measurement) continue;
    const std::string name =
        r.shown.kernel + (r.shown.layout == name_of(layout::nchw) ? "" : " " + r.shown.layout);
    auto at = std::ranges::find_if(
        list, [&](const gathered& g) { return g.total.set == r.shown.set && g.total.kernel == name; });
    if (at == list.end()) {
      gathered& fresh = list.emplace_back();
      fresh.total.set = r.shown.set;
      fresh.total.kernel = name;
      fresh.total.peer = r.shown.peer;
      fresh.against = baseline_name(r, rows);
      at = list.end() - 1;
    }
    at->total.seconds += r.shown.measurement->seconds;
    ++at->total.problems;
    if (!r.shown.baseline) at->ratios.push_back(ratios_of(r, rows));
  }
  std::vector<record::set_total> result;
  for (gathered& g : list) {
    if (const estimate e = geometric_mean(g.ratios, seed); e.value > 0)
      g.total.ratio = to_ratio(e, g.against);
    result.push_back(std::move(g.total));
  }
  return result;
}

}  // namespace

record::bench_section run_bench(sandbox& box, const bench_options& options) {
  const std::vector<pairing> pairings = selection(box, options).pairings();
  record::bench_section section;
  section.threads = options.threads > 0 ? options.threads
                                        : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  section.baseline = options.against.empty() ? pairings.front().baseline->name : options.against;
  std::vector<row> rows;
  budget time(options.seconds);
  for (std::size_t i = 0; i < pairings.size(); ++i) {
    const pairing& p = pairings[i];
    if (options.progress)
      options.progress({i, pairings.size(), time.elapsed(), time.total(),
                        p.about->name() + "." + p.pass->name + " " + p.about->canonical().print()});
    const double seconds = time.per_kernel(pairings.size() - i, p.kernels.size());
    hold_contest(box, options, p, seconds, section.threads, rows, section.roof);
    time.done();
  }
  for (const double gflops : section.roof.gflops_samples)
    section.roof.peak_gflops = std::max(section.roof.peak_gflops, gflops);
  for (const double gbytes : section.roof.gbytes_samples)
    section.roof.peak_gbytes = std::max(section.roof.peak_gbytes, gbytes);
  fill_measurements(rows, section.roof.peak_gflops);
  section.sets = totals(rows, options.seed);
  for (row& r : rows) section.timings.push_back(std::move(r.shown));
  return section;
}

}  // namespace plumb
