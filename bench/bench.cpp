#include "bench/bench.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <thread>

#include "bench/contest.hpp"
#include "bench/goals.hpp"
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
  std::vector<double> cold;
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

/// Device kernels are not timed here: their calls copy tensors to the device and back.
bool takes(const kernel_info& k, layout order) {
  return k.device == "cpu" && std::ranges::find(k.layouts, order) != k.layouts.end() &&
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

/// The best speed of each kernel so far, in operations (or bytes, where there are none) a second, and the least time that
/// its plan took a byte: enough to foresee that they will take seconds.
class experience {
 public:
  void note(const row& r, int visit) {
    if (r.times.seconds.empty()) return;
    double& best = best_[r.shown.kernel + r.shown.layout];
    best = std::max(best, work(r) / median_of(r.times.seconds).value);
    if (visit != 0 || !(r.bytes > 0)) return;
    const double plan = static_cast<double>(r.shown.prepare_seconds.value_or(0)) / r.bytes;
    const auto known = plan_.try_emplace(r.shown.kernel + r.shown.layout, plan).first;
    known->second = std::min(known->second, plan);
  }
  double expected_seconds(const row& form, const std::string& kernel) const {
    const auto at = best_.find(kernel + form.shown.layout);
    const auto plan = plan_.find(kernel + form.shown.layout);
    return (at == best_.end() ? 0 : work(form) / at->second) +
           (plan == plan_.end() ? 0 : form.bytes * plan->second);
  }

 private:
  static double work(const row& r) { return r.operations > 0 ? r.operations : r.bytes; }
  std::map<std::string, double> best_, plan_;
};

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

bench_estimate estimate_of(const std::vector<pairing>& pairings) {
  // Of a contest: drawing and laying out the data, the roofs. Of a kernel in it: its least time and the hashes of its
  // outputs; and two calls of a slow kernel take as long as many of a fast one, which is given more of them. Of a pass that
  // has to be judged whole: its definition, for all layouts once.
  constexpr double contest = 0.025, contest_byte = 6e-9;
  constexpr double entry = 2.5e-3, entry_byte = 0.75e-9, operation = 1 / 30e9;
  constexpr double whole_element = 1.2e-6;
  bench_estimate e;
  const pairing* before = nullptr;
  for (const pairing& p : pairings) {
    const bool fresh = before == nullptr || before->about != p.about || before->pass != p.pass;
    before = &p;
    if (fresh && evidence::judges_whole(*p.about, *p.pass))
      for (const std::string& name : p.pass->writes)
        if (p.about->present(name))
          e.least_seconds += whole_element * static_cast<double>(p.about->shapes()[name].size());
    const auto able = static_cast<double>(
        std::ranges::count_if(p.kernels, [](const kernel_info* k) { return k->unavailable.empty(); }));
    const double bytes = compulsory_bytes(*p.about, *p.pass, dtype::f32);
    ++e.contests;
    e.entries += static_cast<std::size_t>(able);
    e.least_seconds += contest + contest_byte * bytes +
                       able * (entry + entry_byte * bytes + operation * operations(*p.about, *p.pass));
  }
  return e;
}

/// The seconds of a visit, shared by the contests to come. How much of its share a contest may spend in timed
/// loops, and how much goes to planning, warming up, hashing and judging, is learnt from the ones before.
class budget {
 public:
  void begin(double seconds) { end_ = now() + seconds; }
  /// For the next contest, all told.
  void grant(std::size_t contests_left) {
    began_ = now();
    granted_ = std::max(end_ - now(), 0.0) / static_cast<double>(contests_left);
  }
  /// How many elements of an output may be judged: a fifth of what the contest has, for all kernels together.
  index_t judged_elements(std::size_t kernels) const {
    constexpr double share = 0.2, seconds_an_element = 20e-9, fewest = 4096, most = 1e9;
    return static_cast<index_t>(
        std::clamp(share * granted_ / (seconds_an_element * static_cast<double>(kernels)), fewest, most));
  }
  double per_kernel(std::size_t kernels) const {
    constexpr double least = 2e-3;
    return std::max(least, granted_ * useful_ / static_cast<double>(std::max<std::size_t>(kernels, 1)));
  }
  void done() {
    const double took = now() - began_;
    if (granted_ > 0)
      useful_ = std::clamp(useful_ * granted_ / took, useful_ / 2, std::min(1.0, useful_ * 1.5));
  }

 private:
  double end_ = 0;
  double useful_ = 0.5, granted_ = 0, began_ = 0;
};

/// A contest that is held in several visits, and what they have left so far.
struct fixture {
  pairing about;
  row form;
  std::vector<row> rows;  ///< one a kernel, in their order
  std::vector<std::optional<judged_before>> judged;
  index_t most_judged = 0;  ///< as the first visit could afford; the same elements in all
};

/// Holds the contests and collects what they leave: rows and roofs. Two processes that run the same code differ: where
/// their memory lies, what the machine's other guests do meanwhile (Kalibera & Jones 2013, "Rigorous benchmarking in
/// reasonable time"). So every contest is visited several times, spread over the run, each time in a fresh worker and
/// fresh memory.
class season {
 public:
  season(sandbox& box, const bench_options& options, int threads)
      : box_(box), options_(options), threads_(threads), start_(now()), seconds_(options.seconds) {}

  void hold_all(const std::vector<pairing>& pairings);
  std::vector<row> rows() const;
  record::roof& roof() { return roof_; }

 private:
  double left() const { return start_ + seconds_ - now(); }
  std::size_t failures() const;
  void visit(int number, double seconds);
  void hold(fixture& f, std::size_t contests_left, bool memory_roof);
  std::vector<std::size_t> admit(fixture& f, double most_seconds);
  std::vector<std::size_t> readmit(const fixture& f) const;
  std::shared_ptr<evidence> evidence_of(fixture& f);
  std::optional<known_verdict> obstacle(const fixture& f, const kernel_info& k, double most_seconds) const;
  void collect(fixture& f, const std::vector<std::size_t>& who, contest_result& result);

  sandbox& box_;
  const bench_options& options_;
  int threads_;
  double start_;
  double seconds_;  ///< of the run: its budget, or the least that it needs
  int visit_ = 0;
  double timed_seconds_ = 0;
  budget time_;
  experience past_;
  std::vector<fixture> fixtures_;
  std::shared_ptr<evidence> last_;  ///< of the contest before, which was the same one in another layout
  record::roof roof_;
};

std::size_t season::failures() const {
  std::size_t count = 0;
  for (const fixture& f : fixtures_)
    for (const row& r : f.rows) count += record::is_bad(r.shown.verdict) ? 1 : 0;
  return count;
}

std::vector<row> season::rows() const {
  std::vector<row> all;
  for (const fixture& f : fixtures_) all.insert(all.end(), f.rows.begin(), f.rows.end());
  return all;
}

/// The first visit plans and judges, which later ones need not; of what time is left they take so much each that
/// timing is at least half of it.
void season::hold_all(const std::vector<pairing>& pairings) {
  constexpr double first_share = 0.4;
  constexpr int most_visits = 9;
  for (const pairing& p : pairings) {
    fixture& f = fixtures_.emplace_back();
    f.about = p;
    f.form = form_of(p);
    for (const kernel_info* k : p.kernels) {
      row& r = f.rows.emplace_back(f.form);
      r.shown.kernel = k->name;
      r.shown.peer = k->peer;
      r.shown.baseline = k == p.baseline;
      r.arithmetic = k->arithmetic;
    }
    f.judged.resize(f.rows.size());
  }
  const bench_estimate need = estimate_of(pairings);
  if (options_.before) options_.before(need);
  seconds_ = std::max(options_.seconds, need.least_seconds);
  double seconds = first_share * options_.seconds;
  for (int number = 0; number < most_visits; ++number) {
    const double began = now(), timed = timed_seconds_;
    visit(number, seconds);
    const double overhead = now() - began - (timed_seconds_ - timed);
    if (!(timed_seconds_ > timed) || start_ + options_.seconds - now() < overhead) return;
    seconds =
        left() / std::clamp(left() / (2 * overhead), 1.0, static_cast<double>(most_visits - 1 - number));
  }
}

void season::visit(int number, double seconds) {
  visit_ = number;
  if (number > 0) box_.restart();
  time_.begin(seconds);
  const std::size_t all = fixtures_.size();
  constexpr std::size_t memory_roofs = 4;  // in a whole run
  for (std::size_t i = 0; i < all; ++i) {
    const pairing& p = fixtures_[i].about;
    if (number > 0 && !(left() > 0)) return;  // the machine was slower than foreseen; everybody has a number
    if (options_.progress)
      options_.progress({i, all, failures(), now() - start_, seconds_,
                         fmt::format("visit {}: {}.{} {}", number + 1, p.about->name(), p.pass->name,
                                     p.about->canonical().print())});
    hold(fixtures_[i], all - i, number == 0 && i % std::max<std::size_t>(1, all / memory_roofs) == 0);
  }
}

/// Why a kernel may not compete: it is known to be wrong, or one call would take more than `most_seconds`.
std::optional<known_verdict> season::obstacle(const fixture& f, const kernel_info& k,
                                              double most_seconds) const {
  constexpr double bearable = 0.1;
  if (options_.known)
    if (auto known = options_.known(k, f.form.shown.problem, f.about.layout);
        known && record::is_bad(known->verdict))
      return known;
  const double expected = past_.expected_seconds(f.form, k.name);
  if (&k == f.about.baseline || !(expected > std::max(most_seconds, bearable))) return std::nullopt;
  return known_verdict{
      record::verdict::skipped,
      fmt::format(
          "its plan and a call would take about {:.1f} s, too much of the time left: give more with --time",
          expected)};
}

/// Numbers of the kernels that may compete in the first visit; the rows of the others say why not.
std::vector<std::size_t> season::admit(fixture& f, double most_seconds) {
  std::vector<std::size_t> admitted;
  for (std::size_t i = 0; i < f.rows.size(); ++i) {
    const auto why = obstacle(f, *f.about.kernels[i], most_seconds);
    if (!why) {
      admitted.push_back(i);
      continue;
    }
    f.rows[i].shown.verdict = why->verdict;
    f.rows[i].shown.reason = why->reason;
  }
  return admitted;
}

/// In a later visit: those with a number so far of which several calls fit into their share.
std::vector<std::size_t> season::readmit(const fixture& f) const {
  std::vector<std::size_t> admitted;
  bool any_other = f.rows.size() == 1;
  for (std::size_t i = 0; i < f.rows.size(); ++i) {
    const row& r = f.rows[i];
    if (r.times.seconds.empty()) continue;
    constexpr double calls = 3;
    if (!r.shown.baseline && calls * median_of(r.times.seconds).value > time_.per_kernel(f.rows.size()))
      continue;
    any_other = any_other || !r.shown.baseline;
    admitted.push_back(i);
  }
  if (!any_other) admitted.clear();
  return admitted;
}

void season::collect(fixture& f, const std::vector<std::size_t>& who, contest_result& result) {
  for (std::size_t i = 0; i < who.size(); ++i) {
    contestant& c = result.contestants[i];
    row& r = f.rows[who[i]];
    r.shown.verdict = c.verdict;
    r.shown.reason = c.reason;
    r.shown.implementation = c.implementation;
    r.shown.worst_ulps = c.worst_ulps;
    r.shown.worst_proven = c.worst_proven;
    if (visit_ == 0) r.shown.prepare_seconds = c.prepare_seconds;
    for (const double gbytes : result.gbytes_samples) r.stream_gbytes = std::max(r.stream_gbytes, gbytes);
    if (c.verdict != record::verdict::pass) {
      r.times = {};
      r.cold.clear();
      continue;
    }
    f.judged[who[i]] = judged_before{c.outputs, c.worst_ulps, c.worst_proven};
    r.times.seconds.insert(r.times.seconds.end(), c.times.seconds.begin(), c.times.seconds.end());
    r.times.fastest.insert(r.times.fastest.end(), c.times.fastest.begin(), c.times.fastest.end());
    r.times.rounds.insert(r.times.rounds.end(), c.times.rounds.begin(), c.times.rounds.end());
    r.cold.insert(r.cold.end(), c.cold.begin(), c.cold.end());
    past_.note(r, visit_);
  }
}

/// That of the contest before, if it was the same one in another layout; then what it could afford counts.
std::shared_ptr<evidence> season::evidence_of(fixture& f) {
  const auto fits = [&] {
    return last_ && last_->is_of(*f.about.about, *f.about.pass) &&
           (visit_ == 0 || last_->most_judged() == f.most_judged);
  };
  if (!fits()) {
    last_.reset();  // its memory, before more is asked for
    last_ = std::make_shared<evidence>(f.about.about, *f.about.pass, options_.seed, f.most_judged);
  }
  f.most_judged = last_->most_judged();
  return last_;
}

void season::hold(fixture& f, std::size_t contests_left, bool memory_roof) {
  time_.grant(contests_left);
  const std::vector<std::size_t> who =
      visit_ == 0 ? admit(f, std::max(0.0, left()) / static_cast<double>(contests_left) / 2) : readmit(f);
  if (who.empty()) return;
  if (visit_ == 0) f.most_judged = time_.judged_elements(who.size());
  std::vector<const kernel_info*> kernels;
  contest_conditions how{.layout = f.about.layout,
                         .threads = threads_,
                         .rounds = options_.rounds,
                         .seconds_per_kernel = time_.per_kernel(who.size()),
                         .visit = visit_,
                         .memory_roof = memory_roof,
                         .known = {}};
  for (const std::size_t i : who) {
    kernels.push_back(f.about.kernels[i]);
    how.known.push_back(f.judged[i]);
  }
  contest_result result;
  try {
    contest c(evidence_of(f), kernels, how);
    result = c.run(box_);
  } catch (const std::length_error& error) {
    for (const kernel_info* k : kernels) {
      contestant& c = result.contestants.emplace_back();
      c.kernel = k;
      c.verdict = record::verdict::skipped;
      c.reason = error.what();
    }
  }
  timed_seconds_ += result.timed_seconds;
  collect(f, who, result);
  for (const double gflops : result.gflops_samples) {
    roof_.gflops_samples.push_back(gflops);
    roof_.peak_gflops = std::max(roof_.peak_gflops, gflops);
  }
  for (const double gbytes : result.memory_gbytes_samples) {
    roof_.gbytes_samples.push_back(gbytes);
    roof_.peak_gbytes = std::max(roof_.peak_gbytes, gbytes);
  }
  time_.done();
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
  m.fastest = r.times.fastest;
  m.rounds = r.times.rounds;
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
    if (const estimate cold = median_of(r.cold); !r.cold.empty())
      r.shown.cold = record::cold_time{cold.value, cold.low, cold.high, r.cold};
  }
  for (row& r : rows)
    if (r.shown.measurement && !r.shown.baseline)
      if (const auto ratios = ratios_of(r, rows); !ratios.empty())
        r.shown.measurement->ratio = to_ratio(median_of(ratios), baseline_name(r, rows));
}

/// The rows of one kernel in one layout over a set.
struct gathered {
  record::set_total total;
  std::string layout;
  std::vector<std::vector<double>> ratios;
  std::string against;

  void add(const row& r, const std::vector<row>& rows) {
    total.seconds += r.shown.measurement->seconds;
    ++total.problems;
    if (r.shown.baseline) return;
    ratios.push_back(ratios_of(r, rows));
    if (const double ratio = median_of(ratios.back()).value; ratio > (total.worst ? total.worst->ratio : 0))
      total.worst = record::worst_problem{r.shown.problem, ratio};
  }
};

/// A goal holds for the best instruction set that was timed: the first of those it fits.
void set_goals(std::vector<gathered>& list, const std::vector<goal_line>& goals) {
  std::set<std::string> held;
  for (gathered& g : list) {
    if (g.total.peer || g.ratios.empty()) continue;
    const std::string kernel = g.total.kernel.substr(0, g.total.kernel.find(' '));
    const auto goal = goal_for(goals, kernel, g.layout);
    const std::string algorithm = kernel.substr(0, kernel.find('@'));
    if (goal && held.insert(g.total.set + ' ' + g.layout + ' ' + algorithm).second) g.total.goal = goal;
  }
}

/// Per set, kernel and layout, in the order of first appearance; then, if there are several sets, over all of them.
std::vector<record::set_total> totals(const std::vector<row>& rows, const std::vector<goal_line>& goals,
                                      std::uint64_t seed) {
  std::vector<gathered> list;
  const auto entry = [&](const std::string& set, const row& r) -> gathered& {
    const std::string name =
        r.shown.kernel + (r.shown.layout == name_of(layout::nchw) ? "" : " " + r.shown.layout);
    for (gathered& g : list)
      if (g.total.set == set && g.total.kernel == name) return g;
    gathered& fresh = list.emplace_back();
    fresh.total.set = set;
    fresh.total.kernel = name;
    fresh.total.peer = r.shown.peer;
    fresh.layout = r.shown.layout;
    fresh.against = baseline_name(r, rows);
    return fresh;
  };
  std::set<std::string> sets;
  for (const row& r : rows) {
    if (r.shown.set.empty() || !r.shown.measurement) continue;
    sets.insert(r.shown.set);
    entry(r.shown.set, r).add(r, rows);
  }
  if (sets.size() > 1)
    for (const row& r : rows)
      if (!r.shown.set.empty() && r.shown.measurement) entry("all", r).add(r, rows);
  set_goals(list, goals);
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
  season contests(box, options, section.threads);
  contests.hold_all(pairings);
  section.roof = contests.roof();
  section.rounds_a_visit = options.rounds;
  std::vector<row> rows = contests.rows();
  fill_measurements(rows, section.roof.peak_gflops);
  section.sets = totals(rows, load_goals(), options.seed);
  for (row& r : rows) section.timings.push_back(std::move(r.shown));
  return section;
}

}  // namespace plumb
