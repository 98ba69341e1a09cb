#include "reports/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "reports/text.hpp"

namespace plumb::reports {

namespace {

using record::comparison;
using record::timing;

// ---------------------------------------------------------------------------------------------- speed

std::string label(const timing& t) {
  return t.layout.empty() || t.layout == "nchw" ? t.kernel : t.kernel + " " + t.layout;
}
/// `conv2d.forward`: what peers of a kernel compute too.
std::string job(const timing& t) { return t.kernel.substr(0, t.kernel.find('/')); }

using timing_key = std::tuple<std::string, std::string, std::string>;
timing_key key_of(const timing& t) { return {t.set, t.problem, label(t)}; }

/// The same kernel on the same problem in both records.
struct pair_of_timings {
  const timing* before = nullptr;
  const timing* after = nullptr;
  reports::shift shift;
};

std::vector<pair_of_timings> pairs(const record::bench_section& before, const record::bench_section& after) {
  std::map<timing_key, const timing*> old;
  for (const timing& t : before.timings)
    if (t.measurement) old.emplace(key_of(t), &t);
  std::vector<pair_of_timings> list;
  for (const timing& t : after.timings) {
    const auto at = old.find(key_of(t));
    if (t.measurement && at != old.end()) list.push_back({at->second, &t, {}});
  }
  return list;
}

/// The samples by visit. A record without visits is one of them.
visits visits_of(const record::measurement& m, std::int64_t rounds_a_visit) {
  const std::vector<double>& calls = m.fastest.empty() ? m.samples : m.fastest;
  visits list;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::int64_t visit = rounds_a_visit > 0 && i < m.rounds.size() ? m.rounds[i] / rounds_a_visit : 0;
    if (visit < 0 || visit > 1000) continue;  // no record of ours
    if (std::ssize(list) <= visit) list.resize(static_cast<std::size_t>(visit) + 1);
    list[static_cast<std::size_t>(visit)].push_back(calls[i]);
  }
  return list;
}

/// For each contest a vendor's kernel, the baseline if it is one, that ran by the same implementation in both records.
class controls {
 public:
  explicit controls(const std::vector<pair_of_timings>& all) {
    for (const pair_of_timings& p : all) {
      if (!p.after->peer || p.after->implementation != p.before->implementation) continue;
      const timing& t = *p.after;
      const pair_of_timings*& best = by_contest_[contest_of(t)];
      if (best == nullptr || (t.baseline && !best->after->baseline)) best = &p;
    }
  }
  /// Of the contest that `t` took part in, or nothing.
  const pair_of_timings* of(const timing& t) const {
    const auto at = by_contest_.find(contest_of(t));
    return at == by_contest_.end() ? nullptr : at->second;
  }
  std::vector<const pair_of_timings*> chosen() const {
    std::vector<const pair_of_timings*> list;
    for (const auto& [contest, pair] : by_contest_) list.push_back(pair);
    return list;
  }

 private:
  static std::string contest_of(const timing& t) {
    return t.set + "\n" + t.problem + "\n" + t.layout + "\n" + job(t);
  }
  std::map<std::string, const pair_of_timings*> by_contest_;
};

/// What the vendors' kernels changed by is taken for the machine's doing and divided out; returns the error of that.
/// The fastest calls of one machine differ little from day to day: where the vendors' are noisy, that is believed more.
double divide_out_the_machine(std::vector<pair_of_timings>& all, bool same_machine, comparison_of_runs& c) {
  constexpr double day_to_day = 0.015;
  const controls peers(all);
  std::vector<double> changes, of_medians;
  double error = 0;
  for (const pair_of_timings* p : peers.chosen()) {
    if (p->shift.freedom == 0) continue;
    changes.push_back(p->shift.log_ratio);
    of_medians.push_back(p->shift.of_medians);
    error += p->shift.error * p->shift.error;
  }
  if (changes.empty()) {
    c.notes.push_back(
        "no vendor's kernel in both records: a change of the machine cannot be told from one of the code");
    return 0;
  }
  const auto n = static_cast<double>(changes.size());
  const double machine = median(changes);
  constexpr double of_a_median = 1.25;  // times the error of a mean
  const double seen = of_a_median * std::max(std::sqrt(error / n), robust_spread(changes)) / std::sqrt(n);
  const double expected = day_to_day * day_to_day + seen * seen;
  const bool confirmed = machine * median(of_medians) >= machine * machine / 2;
  const bool beyond_chance = machine * machine > 9 * expected;  // three standard deviations
  const bool usual = same_machine && !(confirmed && beyond_chance);
  const double trust = usual ? day_to_day * day_to_day / expected : 1;
  for (pair_of_timings& p : all) {
    p.shift.log_ratio -= trust * machine;
    p.shift.of_medians -= trust * machine;
  }
  for (pair_of_timings& p : all)
    if (const pair_of_timings* control = p.after->peer ? nullptr : peers.of(*p.after)) {
      p.shift.beside = control->shift.log_ratio;
      p.shift.medians_beside = control->shift.of_medians;
    }
  return std::sqrt(trust) * seen;
}

/// What two runs of the same code differ by beyond what their own visits say: how much farther the changes of the
/// other kernels scatter than their errors explain.
double between_runs(const std::string& kernel, const std::vector<pair_of_timings>& all) {
  constexpr double least = 0.007, most = 0.1, unknown = 0.025;
  constexpr std::size_t enough = 8;
  const bool visited = std::ranges::all_of(all, [](const pair_of_timings& p) { return p.shift.visited; });
  std::vector<double> others;
  double explained = 0;
  for (const pair_of_timings& p : all) {
    if (label(*p.after) == kernel) continue;
    others.push_back(p.shift.log_ratio);
    explained += p.shift.error * p.shift.error;
  }
  if (others.size() < enough) return visited ? least : unknown;
  const double spread = robust_spread(others);
  explained /= static_cast<double>(others.size());
  return std::clamp(std::sqrt(std::max(0.0, spread * spread - explained)), least, most);
}

bool worse_first(const speed_change& a, const speed_change& b) {
  const auto rank = [](const speed_change& c) {
    return std::pair(c.verdict == comparison::slower ? c.peer ? 1 : 0 : 2, -c.change.ratio);
  };
  return rank(a) < rank(b);
}

/// Verdicts of one family: ours and the peers' apart, so that peers do not share our risk.
void decide(std::vector<speed_change>& list) {
  for (const bool peer : {false, true}) {
    std::vector<change> family;
    for (const speed_change& c : list)
      if (c.peer == peer) family.push_back(c.change);
    const std::vector<comparison> verdicts = judge(family);
    std::size_t next = 0;
    for (speed_change& c : list)
      if (c.peer == peer) c.verdict = verdicts[next++];
  }
  std::ranges::stable_sort(list, worse_first);
}

/// Our kernels together: problems are the samples, because all kernels on one problem share its control.
change mean_of_ours(const std::vector<pair_of_timings>& all, double between, double common) {
  std::map<std::string, std::vector<shift>> by_problem;
  for (const pair_of_timings& p : all)
    if (!p.after->peer) by_problem[p.after->set + "\n" + p.after->problem].push_back(p.shift);
  std::vector<shift> means;
  for (const auto& [problem, shifts] : by_problem) {
    shift mean;
    for (const shift& s : shifts) {
      mean.log_ratio += s.log_ratio / static_cast<double>(shifts.size());
      mean.of_medians += s.of_medians / static_cast<double>(shifts.size());
      mean.beside += s.beside / static_cast<double>(shifts.size());
      mean.medians_beside += s.medians_beside / static_cast<double>(shifts.size());
      mean.error = std::max(mean.error, s.error);
      mean.freedom = std::max(mean.freedom, s.freedom);
    }
    means.push_back(mean);
  }
  return mean_change(means, between, common);
}

void compare_speed(const record::bench_section& before, const record::bench_section& after, bool same_machine,
                   comparison_of_runs& c) {
  std::vector<pair_of_timings> all = pairs(before, after);
  if (all.empty()) return;
  c.has_speed = true;
  const std::int64_t visits_before = before.rounds_a_visit.value_or(0);
  const std::int64_t visits_after = after.rounds_a_visit.value_or(0);
  std::vector<shift*> shifts;
  for (pair_of_timings& p : all) {
    p.shift = shift_of(level_of(visits_of(*p.before->measurement, visits_before)),
                       level_of(visits_of(*p.after->measurement, visits_after)));
    if (p.before->measurement->seconds > 0 && p.after->measurement->seconds > 0)
      p.shift.of_medians = std::log(p.after->measurement->seconds / p.before->measurement->seconds);
    shifts.push_back(&p.shift);
  }
  lean_on_each_other(shifts);
  const double common = divide_out_the_machine(all, same_machine, c);
  std::map<std::string, std::vector<const pair_of_timings*>> by_kernel;
  for (const pair_of_timings& p : all) by_kernel[label(*p.after)].push_back(&p);
  std::map<std::string, double> scatter;
  for (const auto& [kernel, list] : by_kernel) scatter[kernel] = between_runs(kernel, all);
  for (const pair_of_timings& p : all) {
    c.timings.push_back({label(*p.after), p.after->set, p.after->problem, 1, p.after->peer,
                         p.before->measurement->seconds, p.after->measurement->seconds,
                         change_of(p.shift, scatter[label(*p.after)], common), comparison::ambiguous});
  }
  for (const auto& [kernel, list] : by_kernel) {
    speed_change total{kernel, "", "", std::ssize(list),     list.front()->after->peer,
                       0,      0,  {}, comparison::ambiguous};
    std::vector<shift> of_kernel;
    for (const pair_of_timings* p : list) {
      total.before += p->before->measurement->seconds;
      total.after += p->after->measurement->seconds;
      of_kernel.push_back(p->shift);
    }
    total.change = mean_change(of_kernel, scatter[kernel], common);
    c.kernels.push_back(std::move(total));
  }
  c.all_of_ours = mean_of_ours(all, between_runs("", all), common);
  decide(c.timings);
  decide(c.kernels);
}

/// All of ours together: `slower` as soon as one kernel, or one timing of it, is.
comparison overall(const comparison_of_runs& c) {
  bool any_faster = false;
  for (const auto* list : {&c.kernels, &c.timings})
    for (const speed_change& s : *list) {
      if (s.peer) continue;
      if (s.verdict == comparison::slower) return comparison::slower;
      any_faster = any_faster || s.verdict == comparison::faster;
    }
  if (any_faster) return comparison::faster;
  return c.all_of_ours.same ? comparison::same : comparison::ambiguous;
}

// ---------------------------------------------------------------------------------------------- accuracy

/// Collects what changed.
class ledger {
 public:
  explicit ledger(comparison_of_runs& to) : to_(to) {}

  void verdict(const std::string& subject, const std::string& place, bool peer, record::verdict before,
               record::verdict after, const std::string& reason) {
    ++to_.accuracies;
    if (before == after) return;
    const bool worse = record::is_bad(after) && !record::is_bad(before);
    std::string now(record::name_of(after));
    if (!reason.empty()) now += ": " + reason;
    add({subject, place, "verdict", std::string(record::name_of(before)), now, 0, peer, worse});
  }
  /// Shares of a bound; `least` is the factor from which a change is more than chance.
  void shares(const std::string& subject, const std::string& place, const char* measure, bool peer,
              const std::optional<double>& before, const std::optional<double>& after, double least) {
    if (!before || !after) return;
    ++to_.accuracies;
    constexpr double nothing = 1e-6;  // of a bound
    const double old = std::max(*before, nothing), now = std::max(*after, nothing);
    const double bits = std::log2(now / old);
    if (!(std::abs(bits) <= std::log2(least)))
      add({subject, place, measure, number(*before), number(*after), bits, peer, !(now < old)});
  }
  void add(accuracy_change change) { to_.accuracy.push_back(std::move(change)); }
  void count() { ++to_.accuracies; }

 private:
  comparison_of_runs& to_;
};

/// Mean of log2(ulps) over a histogram's elements with an error; nothing if there are too few.
std::optional<double> typical_bits(const record::ulp_histogram& h) {
  constexpr double enough = 500;
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < h.counts.size(); ++i) {
    const double low = h.edges[i], high = h.edges[i + 1];
    if (!(low > 0) || !std::isfinite(high)) continue;
    const auto n = static_cast<double>(h.counts[i]);
    sum += n * (std::log2(low) + std::log2(high)) / 2;
    count += n;
  }
  return count < enough ? std::nullopt : std::optional(sum / count);
}

/// The typical error, where both runs saw enough elements: one bit less shows as one more here.
void compare_histograms(const std::string& subject, bool peer,
                        const std::optional<record::ulp_histogram>& before,
                        const std::optional<record::ulp_histogram>& after, ledger& to) {
  constexpr double noticeable = 0.3;  // bits; two runs of the same code draw different numbers of problems
  if (!before || !after) return;
  const auto old = typical_bits(*before), now = typical_bits(*after);
  if (!old || !now) return;
  to.count();
  const double bits = *now - *old;
  if (!(std::abs(bits) <= noticeable))
    to.add({subject, "all elements", "typical error in ulps", number(std::exp2(*old)),
            number(std::exp2(*now)), bits, peer, !(bits < 0)});
}

// The worst of many is itself drawn: only the same data give the same worst.
constexpr double same_data = 1.4;
constexpr double drawn_data = 2.5;

void compare_kernels(const record::kernel_result& before, const record::kernel_result& after, bool same_seed,
                     ledger& to) {
  to.verdict(after.name, "", after.peer, before.verdict, after.verdict, after.reason);
  compare_histograms(after.name, after.peer, before.ulps, after.ulps, to);
  for (const record::regime_tally& now : after.regimes) {
    const auto old = std::ranges::find(before.regimes, now.regime, &record::regime_tally::regime);
    if (old == before.regimes.end()) continue;
    const double least = same_seed && old->cases == now.cases ? same_data : drawn_data;
    to.shares(after.name, now.regime, "share of the statistical bound", after.peer, old->worst_statistical,
              now.worst_statistical, least);
    to.shares(after.name, now.regime, "share of the proven bound", after.peer, old->worst_proven,
              now.worst_proven, least);
  }
  std::map<std::string_view, const record::problem_result*> old_problems;
  for (const record::problem_result& old : before.problems) old_problems.emplace(old.problem, &old);
  for (const record::problem_result& now : after.problems) {
    const auto old = old_problems.find(now.problem);
    if (old == old_problems.end()) continue;
    to.verdict(after.name, now.problem, after.peer, old->second->verdict, now.verdict, now.reason);
    to.shares(after.name, now.problem, "share of the proven bound", after.peer, old->second->worst_proven,
              now.worst_proven, same_seed ? same_data : drawn_data);
  }
}

void compare_verify(const record::verify_section& before, const record::verify_section& after, bool same_seed,
                    comparison_of_runs& c) {
  ledger to(c);
  for (const record::kernel_result& now : after.kernels) {
    const auto old = std::ranges::find(before.kernels, now.name, &record::kernel_result::name);
    if (old == before.kernels.end())
      c.notes.push_back("new: " + clean(now.name, 200));
    else if (!now.planted)
      compare_kernels(*old, now, same_seed, to);
  }
  for (const record::kernel_result& old : before.kernels)
    if (std::ranges::find(after.kernels, old.name, &record::kernel_result::name) == after.kernels.end())
      c.notes.push_back("no longer there: " + clean(old.name, 200));
}

void compare_gradcheck(const record::gradcheck_section& before, const record::gradcheck_section& after,
                       comparison_of_runs& c) {
  ledger to(c);
  for (const record::layer_check& now : after.layers) {
    const auto old = std::ranges::find(before.layers, now.problem, &record::layer_check::problem);
    if (old == before.layers.end()) continue;
    to.verdict(now.problem, "gradient", false, old->verdict, now.verdict, now.reason);
    for (const record::agreement& a : now.agreements)
      for (const record::agreement& b : old->agreements) {
        if (a.first != b.first || a.second != b.second || a.derivative != b.derivative ||
            a.scalar != b.scalar)
          continue;
        to.count();
        const std::string pair = a.first + " against " + a.second + ", " + a.scalar;
        const auto text = [](const record::agreement& x) {
          return x.exact ? "exact" : number(x.digits) + " digits";
        };
        constexpr double bits_a_digit = 3.32;
        if (a.exact != b.exact || (!a.exact && !(std::abs(a.digits - b.digits) <= 1)))
          to.add({now.problem, pair, "agreement", text(b), text(a),
                  a.exact || b.exact ? 0 : bits_a_digit * (b.digits - a.digits), false,
                  b.exact || (!a.exact && !(a.digits > b.digits))});
      }
    for (const record::kernel_gradient& k : now.kernels)
      for (const record::kernel_gradient& o : old->kernels)
        if (k.kernel == o.kernel && k.pass == o.pass) {
          to.verdict(k.kernel, now.problem, k.peer, o.verdict, k.verdict, k.reason);
          to.shares(k.kernel, now.problem, "share of the proven bound", k.peer, o.worst_proven,
                    k.worst_proven, drawn_data);
        }
  }
}

/// What a benchmark says about accuracy, and timings that are no longer to be had.
void compare_bench_accuracy(const record::bench_section& before, const record::bench_section& after,
                            bool same_seed, comparison_of_runs& c) {
  ledger to(c);
  std::map<timing_key, const timing*> old_timings;
  for (const timing& old : before.timings) old_timings.emplace(key_of(old), &old);
  for (const timing& now : after.timings) {
    const auto at = old_timings.find(key_of(now));
    if (at == old_timings.end()) continue;
    const timing& old = *at->second;
    to.verdict(label(now), now.problem, now.peer, old.verdict, now.verdict, now.reason);
    to.shares(label(now), now.problem, "share of the proven bound", now.peer, old.worst_proven,
              now.worst_proven, same_seed ? same_data : drawn_data);
  }
}

void note_difference(comparison_of_runs& c, const char* what, const std::string& before,
                     const std::string& after) {
  if (before != after)
    c.notes.push_back(std::string("another ") + what + ": " + clean(before, 200) + " before, " +
                      clean(after, 200) + " after");
}

void note_provenance(const record::provenance& before, const record::provenance& after,
                     comparison_of_runs& c) {
  note_difference(c, "processor", before.cpu, after.cpu);
  note_difference(c, "number of cores", std::to_string(before.cores), std::to_string(after.cores));
  note_difference(c, "compiler", before.compiler, after.compiler);
  note_difference(c, "set of flags", before.flags, after.flags);
  for (const record::library& now : after.libraries)
    for (const record::library& old : before.libraries)
      if (old.name == now.name)
        note_difference(c, ("version of " + clean(now.name, 60)).c_str(), old.version, now.version);
}

/// `3 kernels`, once each.
template <class List, class Name, class Which>
std::string how_many(const List& list, Name name, Which which) {
  std::set<std::string> names;
  for (const auto& each : list)
    if (!each.peer && which(each)) names.insert(each.*name);
  return names.empty() ? "" : plural(std::ssize(names), "kernel");
}

std::string headline(const comparison_of_runs& c) {
  const auto slow = [](const speed_change& s) { return s.verdict == comparison::slower; };
  std::string text = how_many(c.timings, &speed_change::kernel, slow);
  if (text.empty()) text = how_many(c.kernels, &speed_change::kernel, slow);
  if (!text.empty()) text += " slower";
  if (c.less_exact) {
    const std::string worse =
        how_many(c.accuracy, &accuracy_change::subject, [](const accuracy_change& a) { return a.worse; });
    text += (text.empty() ? "" : ", ") + worse + " less exact or no longer passing";
  }
  if (!text.empty()) return text;
  if (!c.has_speed) return c.accuracies > 0 ? "No loss of accuracy" : "Nothing in common to compare";
  if (c.speed == comparison::faster)
    return how_many(c.timings, &speed_change::kernel,
                    [](const auto& s) { return s.verdict == comparison::faster; }) +
           " faster, none slower";
  return c.speed == comparison::same ? "Same speed, same accuracy"
                                     : "No regression; some changes are too noisy to name";
}

}  // namespace

comparison_of_runs compare_runs(const record::run& before, const record::run& after) {
  comparison_of_runs c;
  const bool same_seed = before.provenance.seed == after.provenance.seed;
  const bool same_machine =
      before.provenance.cpu == after.provenance.cpu && before.provenance.cores == after.provenance.cores;
  note_provenance(before.provenance, after.provenance, c);
  if (before.bench && after.bench) {
    compare_speed(*before.bench, *after.bench, same_machine, c);
    compare_bench_accuracy(*before.bench, *after.bench, same_seed, c);
  }
  if (before.verify && after.verify) compare_verify(*before.verify, *after.verify, same_seed, c);
  if (before.gradcheck && after.gradcheck) compare_gradcheck(*before.gradcheck, *after.gradcheck, c);
  c.speed = overall(c);
  c.less_exact = std::ranges::any_of(c.accuracy, [](const accuracy_change& a) { return a.worse && !a.peer; });
  std::ranges::stable_sort(c.accuracy, {}, [](const accuracy_change& a) {
    return std::tuple(!a.worse, a.peer, a.measure != "verdict", -a.bits);
  });
  c.headline = headline(c);
  return c;
}

}  // namespace plumb::reports
