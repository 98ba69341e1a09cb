#include "verify/candidate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "verify/portrait.hpp"
#include "verify/regimes.hpp"

namespace plumb {
namespace {

using record::verdict;

constexpr const char* undecided_elements = "some elements could not be decided";

std::string name_of(determinism d) {
  return d == determinism::none ? "none" : d == determinism::repeatable ? "repeatable" : "thread invariant";
}

void decide(const candidate& c, record::kernel_result& r, const closing& how) {
  const auto say = [&](verdict v, std::string reason) {
    r.verdict = v;
    r.reason = std::move(reason);
  };
  if (!c.kernel->unavailable.empty()) return say(verdict::skipped, c.kernel->unavailable);
  if (!c.kernel->floating_point.empty())
    return say(verdict::fail,
               "loading the library changes the floating-point environment: " + c.kernel->floating_point);
  if (c.worst_verdict != verdict::pass)
    return say(c.worst_verdict, r.counterexamples.empty() ? "fails" : r.counterexamples.front().kind);
  if (r.accepted == 0 && r.cases == 0)
    return say(verdict::inconclusive,
               fmt::format("accepted none of {} problems{}", r.offered,
                           r.declined.empty() ? "" : ": " + r.declined.front().reason));
  if (c.undecided) return say(verdict::inconclusive, undecided_elements);
  if (how.timed && r.cases < fewest_cases)
    return say(verdict::inconclusive,
               fmt::format("{} cases, fewer than {}: give more --time", r.cases, fewest_cases));
  if (c.trusted == 0)
    return say(verdict::mistrusted, "no check would have seen a tensor of zeros or a lost term");
  if (static_cast<double>(c.ordinary_unbounded) > how.most_unbounded * static_cast<double>(c.ordinary))
    return say(verdict::mistrusted, fmt::format("nothing bounds the error of {} of {} elements",
                                                c.ordinary_unbounded, c.ordinary));
  r.verdict = verdict::pass;
  const auto judged = [&](regime which) {
    const auto found = c.regimes.find(std::string(plumb::name_of(which)));
    return found != c.regimes.end() && found->second.cases > 0;
  };
  r.certified = judged(regime::zero_mean) && judged(regime::positive) &&
                std::ranges::all_of(r.problems, [](const record::problem_result& p) {
                  return p.certified || p.verdict == verdict::skipped;
                });
}

}  // namespace

record::kernel_result close(const candidate& c, const closing& how) {
  record::kernel_result r = c.result;
  const kernel_info& k = *c.kernel;
  r.name = k.name;
  r.layer = k.layer;
  r.pass = k.pass;
  r.arithmetic = k.arithmetic;
  r.determinism = name_of(k.determinism);
  r.device = k.device;
  r.origin = k.plugin.empty() ? "built in" : k.plugin;
  r.peer = k.peer;
  r.trusted = c.trusted;
  r.unbounded = c.unbounded;
  for (const auto& [name, tally] : c.regimes) r.regimes.push_back(tally);
  for (const auto& [name, tally] : c.laws) r.laws.push_back(tally);
  for (const auto& [name, coverage] : c.coverage) r.coverage.push_back(coverage);
  for (const auto& [reason, count] : c.declined) r.declined.push_back({reason, count});
  if (r.detection_power && !std::isfinite(*r.detection_power)) r.detection_power.reset();
  r.ulps = histogram_of(c.ulps, c.naive_ulps);
  decide(c, r, how);
  return r;
}

candidate reopened(const kernel_info& kernel, const record::kernel_result& earlier) {
  candidate c;
  c.kernel = &kernel;
  c.result = earlier;
  for (const auto& t : earlier.regimes) c.failures += t.failures, c.regimes[t.regime] = t;
  for (const auto& t : earlier.laws) c.failures += t.failures, c.laws[t.law] = t;
  for (const auto& t : earlier.coverage) c.coverage[t.name] = t;
  for (const auto& t : earlier.declined) c.declined[t.reason] = t.count;
  for (std::size_t i = 0; earlier.ulps && i < earlier.ulps->counts.size() && i < c.ulps.size(); ++i) {
    c.ulps[i] = earlier.ulps->counts[i];
    if (!earlier.ulps->naive_counts.empty()) c.naive_ulps[i] = earlier.ulps->naive_counts[i];
  }
  if (!earlier.worst.empty()) c.worst_case = parse_case(earlier.worst.front().replay);
  for (const auto& e : earlier.worst) {
    const double bound = e.statistical_bound > 0 ? e.statistical_bound : e.proven_bound;
    if (bound > 0) c.worst_share = std::fabs(e.error) / bound;
  }
  c.trusted = earlier.trusted.value_or(0);
  c.unbounded = earlier.unbounded.value_or(0);
  if (earlier.verdict == verdict::mistrusted &&
      c.trusted > 0) {  // for want of bounds: it stays so until more is seen
    c.ordinary = earlier.elements;
    c.ordinary_unbounded = c.unbounded;
  }
  c.endured = earlier.endured.has_value();
  c.undecided = earlier.reason == undecided_elements;
  const bool failed = record::is_bad(earlier.verdict) && earlier.verdict != verdict::mistrusted;
  if (failed && kernel.floating_point.empty()) c.worst_verdict = earlier.verdict;
  if (earlier.verdict == verdict::crashed || earlier.verdict == verdict::timeout)
    for (const auto& f : earlier.counterexamples)
      if (f.kind == "crash" || f.kind == "time limit") c.crashes += f.occurrences;
  c.result.reason.clear();
  c.result.regimes.clear();
  c.result.laws.clear();
  c.result.coverage.clear();
  c.result.declined.clear();
  c.result.certified = false;
  return c;
}

}  // namespace plumb
