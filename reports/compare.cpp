#include "reports/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "reports/compare_speed.hpp"
#include "reports/text.hpp"

namespace plumb::reports {

namespace {

using record::comparison;
using record::timing;

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
    compare_speed(before, after, same_machine, c);
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
