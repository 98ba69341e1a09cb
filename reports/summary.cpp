// Counting verdicts. A vendor peer's failure is a finding and a planted bug's failure is the expected
// outcome: both are told apart from failures of the kernels under judgement.
#include "reports/summary.hpp"

#include <algorithm>

#include "reports/text.hpp"

namespace plumb::reports {

using record::timing;
using record::verdict;

std::string_view name_of(tone t) {
  static constexpr std::array<std::string_view, 4> names = {"good", "neutral", "unsure", "bad"};
  return names[static_cast<std::size_t>(t)];
}

tone tone_of(verdict v) {
  if (v == verdict::pass) return tone::good;
  if (v == verdict::skipped) return tone::neutral;
  return v == verdict::inconclusive || v == verdict::mistrusted ? tone::unsure : tone::bad;
}

int verdict_tally::bad() const {
  return of(verdict::fail) + of(verdict::crashed) + of(verdict::timeout) + of(verdict::mistrusted);
}

whole_sets::whole_sets(const record::bench_section& bench) {
  for (const record::set_total& t : bench.sets) {
    std::int64_t& most = problems_[{t.set, t.kernel.substr(0, t.kernel.find('/'))}];
    most = std::max(most, t.problems);
  }
}

std::int64_t whole_sets::problems(const record::set_total& t) const {
  return problems_.at({t.set, t.kernel.substr(0, t.kernel.find('/'))});
}

bool undecided_fault(const record::fault_result& f) {
  return !f.killed && f.reason.starts_with(record::name_of(verdict::inconclusive));
}

namespace {

std::string breakdown(const verdict_tally& tally) {
  std::string text;
  for (const verdict v : {verdict::fail, verdict::crashed, verdict::timeout, verdict::mistrusted}) {
    if (tally.of(v) == 0) continue;
    text += (text.empty() ? "" : ", ") + count(tally.of(v)) + " " +
            std::string(v == verdict::fail      ? "wrong"
                        : v == verdict::timeout ? "timed out"
                                                : record::name_of(v));
  }
  return text;
}

/// "All 14 kernels pass", "3 of 14 kernels fail (2 wrong, 1 crashed)", "12 of 14 kernels pass, 2 undecided".
sentence judge(const verdict_tally& tally, std::string_view thing) {
  const int judged = tally.total - tally.of(verdict::skipped);
  if (judged == 0) return {tone::unsure, "No " + std::string(thing) + " was judged"};
  const std::string things = plural(judged, thing);
  if (tally.bad() > 0) {
    if (judged == 1) return {tone::bad, "The " + std::string(thing) + " fails: " + breakdown(tally)};
    return {tone::bad, count(tally.bad()) + " of " + things + (tally.bad() == 1 ? " fails" : " fail")};
  }
  if (const int undecided = tally.of(verdict::inconclusive); undecided > 0) {
    return {tone::unsure,
            count(judged - undecided) + " of " + things + " pass, " + count(undecided) + " undecided"};
  }
  if (judged == 1) return {tone::good, "The " + std::string(thing) + " passes"};
  return {tone::good, "All " + things + " pass"};
}

void add_verify(const record::verify_section& section, summary& s) {
  s.cases += section.cases;
  s.calls += section.calls;
  s.seconds += section.seconds;
  if (section.coverage) {
    for (const record::plugin_coverage& c : section.coverage->libraries) {
      if (!c.reason.empty() || c.ran + c.missed == 0) continue;
      const std::string library = clean(c.library.substr(c.library.rfind('/') + 1), 80);
      s.coverage.push_back(c.missed == 0
                               ? sentence{tone::good, "All of " + library + " ran", false}
                               : sentence{tone::unsure,
                                          count(c.missed) + " of " + plural(c.ran + c.missed, "edge") +
                                              " of " + library + " never ran",
                                          false});
    }
  }
  for (const record::kernel_result& k : section.kernels) {
    if (k.planted) {
      ++s.planted;
      s.planted_caught += record::is_bad(k.verdict) ? 1 : 0;
    } else {
      (k.peer ? s.peers : s.kernels).add(k.verdict);
      if (k.peer || !k.certified) continue;
      ++s.certified;
      if (k.detection_power) s.power = std::max(s.power.value_or(0), *k.detection_power);
    }
  }
}

void say_verify(summary& s) {
  if (s.kernels.total > 0 || (s.peers.total == 0 && s.planted == 0))
    s.lines.push_back(judge(s.kernels, "kernel"));
  if (s.kernels.bad() > 0 && s.kernels.total > 1) s.lines.push_back({tone::bad, breakdown(s.kernels), false});
  if (s.certified > 0) {
    const bool all = s.certified == s.kernels.total - s.kernels.of(verdict::skipped);
    std::string text =
        all ? s.certified == 1 ? "Certified" : "All certified" : count(s.certified) + " certified";
    text += ": every element within its proven bound";
    if (s.power) text += ", and the loss of " + number(*s.power, 2) + " of one term would have been seen";
    s.lines.push_back({tone::good, text, false});
  }
  if (const int skipped = s.kernels.of(verdict::skipped); skipped > 0) {
    s.lines.push_back({tone::neutral, plural(skipped, "kernel") + " skipped"});
  }
  if (s.peers.total > 0) {
    const int bad = s.peers.bad();
    s.lines.push_back(
        bad == 0 ? sentence{tone::good, plural(s.peers.total, "vendor peer") + " checked, no finding"}
                 : sentence{tone::unsure,
                            plural(bad, "finding") + " about " + plural(s.peers.total, "vendor peer") +
                                ", counted apart",
                            false});
  }
  for (const sentence& line : s.coverage) s.lines.push_back(line);
  if (s.planted > 0) {
    const std::string bugs = plural(s.planted, "planted bug");
    s.lines.push_back(s.planted_caught == s.planted
                          ? sentence{tone::good, (s.planted > 1 ? "All " : "") + bugs + " caught"}
                          : sentence{tone::bad, count(s.planted_caught) + " of " + bugs + " caught"});
  }
}

void say_gradcheck(summary& s) {
  sentence line = judge(s.layers, "gradient check");
  if (line.tone == tone::good) {
    line.text = s.layers.total == 1
                    ? "All definitions of the gradient agree"
                    : "All definitions of the gradient agree in " + plural(s.layers.total, "check");
  }
  s.lines.push_back(line);
  if (s.peer_gradients > 0)
    s.lines.push_back(
        {tone::unsure,
         plural(s.peer_gradients, "finding") + " about gradients of vendor peers, counted apart", false});
}

/// Who is known to be fast comes before who might be.
std::pair<bool, double> standing(const record::set_total& t) {
  return {t.ratio->comparison == record::comparison::ambiguous, t.ratio->value};
}

/// The best of ours on a whole problem set, beside the baseline: who ran a part of it is not compared with who ran all.
void say_best(const record::bench_section& bench, summary& s) {
  const whole_sets whole(bench);
  std::vector<std::string> sets;
  for (const record::set_total& t : bench.sets)
    if (std::ranges::find(sets, t.set) == sets.end()) sets.push_back(t.set);
  for (const std::string& set : sets) {
    const record::set_total* best = nullptr;
    for (const record::set_total& t : bench.sets)
      if (t.set == set && !t.peer && t.ratio && whole.ran_by(t) &&
          (best == nullptr || standing(t) < standing(*best)))
        best = &t;
    if (best == nullptr) continue;
    const tone how = best->ratio->comparison == record::comparison::faster ? tone::good : tone::neutral;
    s.lines.push_back(
        {how, clean(best->kernel, 200) + " takes " + number(best->ratio->value) + "× the time of " +
                  clean(best->ratio->against, 200) + " on " + clean(set, 60) +
                  (best->ratio->comparison == record::comparison::ambiguous ? ": ambiguous, give more --time"
                                                                            : "")});
  }
}

void say_bench(std::span<const record::run> runs, summary& s) {
  int wrong = 0;
  for (const record::run& r : runs) {
    if (!r.bench) continue;
    say_best(*r.bench, s);
    for (const timing& t : r.bench->timings) wrong += record::is_bad(t.verdict) && !t.peer ? 1 : 0;
  }
  if (wrong > 0)
    s.lines.push_back({tone::bad, plural(wrong, "timing") + " refused: the kernel is wrong there"});
  std::string text = plural(s.timed, "measurement");
  if (s.untimed > 0) text += ", " + count(s.untimed) + " without a number";
  s.lines.push_back({s.timed == 0 ? tone::unsure : tone::neutral, text});
}

void say_audit(const record::audit_section& audit, summary& s) {
  const auto all = std::ssize(audit.faults);
  const auto killed = std::ranges::count(audit.faults, true, &record::fault_result::killed);
  const auto accused = std::ranges::count_if(
      audit.honest, [](const record::honest_result& h) { return h.alarms > 0 && h.origin != "peer"; });
  const auto undecided = std::ranges::count_if(audit.faults, undecided_fault);
  const std::string faults = plural(all, "planted fault");
  if (killed == all)
    s.lines.push_back({all > 0 ? tone::good : tone::unsure, "All " + faults + " caught"});
  else if (killed + undecided == all)
    s.lines.push_back({tone::unsure, count(killed) + " of " + faults + " caught, " + count(undecided) +
                                         " undecided: give more --time"});
  else
    s.lines.push_back({tone::bad, count(all - killed - undecided) + " of " + faults + " survived"});
  const auto ours =
      std::ranges::count_if(audit.honest, [](const record::honest_result& h) { return h.origin != "peer"; });
  if (ours > 0)
    s.lines.push_back(accused == 0
                          ? sentence{tone::good, "No false alarm over " + plural(ours, "honest kernel")}
                          : sentence{tone::bad, plural(accused, "honest kernel") + " accused"});
}

/// "All 9 kernels compute as they declare".
void say_fingerprint(const record::fingerprint_section& section, summary& s) {
  constexpr double worth_saying = 1.1;
  int measured = 0, contradicted = 0, peers = 0, tighter = 0;
  for (const record::fingerprint_result& f : section.kernels) {
    if (f.verdict == verdict::skipped) continue;
    ++measured;
    tighter += f.measured_bound > 0 && worth_saying * f.measured_bound < f.any_order_bound ? 1 : 0;
    if (record::is_bad(f.verdict)) ++(f.peer ? peers : contradicted);
  }
  const std::string kernels = plural(measured, "kernel");
  if (measured == 0)
    s.lines.push_back({tone::unsure, "No kernel was measured"});
  else if (contradicted > 0)
    s.lines.push_back({tone::bad, count(contradicted) + " of " + kernels +
                                      (contradicted == 1 ? " contradicts its" : " contradict their") +
                                      " declaration"});
  else
    s.lines.push_back({tone::good, measured == 1 ? "The kernel computes as it declares"
                                                 : "All " + kernels + " compute as they declare"});
  if (peers > 0)
    s.lines.push_back({tone::unsure, plural(peers, "finding") + " about vendor peers, counted apart", false});
  if (tighter > 0)
    s.lines.push_back({tone::neutral, "For " + plural(tighter, "kernel") +
                                          " the measured order of additions has a tighter proven bound"});
}

void say_sweep(const record::sweep_section& section, summary& s) {
  verdict_tally ours;
  std::int64_t inputs = 0;
  int peers = 0;
  double worst = 0;
  for (const record::sweep_result& k : section.kernels) {
    inputs += k.inputs;
    if (k.peer)
      peers += record::is_bad(k.verdict) ? 1 : 0;
    else
      ours.add(k.verdict), worst = std::max(worst, k.worst_ulps);
  }
  sentence line = ours.total > 0 ? judge(ours, "kernel") : sentence{tone::neutral, "Vendor peers only"};
  if (line.tone == tone::good) line.text += " on every float of the range, worst " + number(worst) + " ulp";
  s.lines.push_back(line);
  if (peers > 0)
    s.lines.push_back({tone::unsure, plural(peers, "finding") + " about vendor peers, counted apart", false});
  s.lines.push_back({tone::neutral, count(inputs) + " inputs"});
}

void say_oracle(const std::vector<record::oracle_timing>& all, summary& s) {
  verdict_tally tally;
  double most = 0;
  for (const record::oracle_timing& o : all) tally.add(o.verdict), most = std::max(most, o.ratio);
  sentence line = judge(tally, "problem");
  if (line.tone == tone::good) line.text = "Every output certified on " + plural(std::ssize(all), "problem");
  s.lines.push_back(line);
  s.lines.push_back({tone::neutral, "The oracle takes at most " + number(most) + "× the time of dgemm"});
}

}  // namespace

summary summarize(std::span<const record::run> runs) {
  summary s;
  bool verified = false;
  bool checked = false;
  bool benched = false;
  for (const record::run& r : runs) {
    if (r.verify) verified = true, add_verify(*r.verify, s);
    if (r.gradcheck) {
      checked = true;
      for (const record::layer_check& layer : r.gradcheck->layers) {
        s.layers.add(layer.verdict);
        s.kinks += layer.kinks_excluded;
        for (const record::agreement& a : layer.agreements) s.derivatives += a.compared;
        for (const record::kernel_gradient& k : layer.kernels)
          s.peer_gradients += k.peer && record::is_bad(k.verdict) ? 1 : 0;
      }
    }
    if (r.bench) {
      benched = benched || r.bench->oracle.empty() || !r.bench->timings.empty();
      for (const record::timing& t : r.bench->timings) ++(t.measurement ? s.timed : s.untimed);
    }
  }
  if (verified) say_verify(s);
  if (checked) say_gradcheck(s);
  if (benched) say_bench(runs, s);
  for (const record::run& r : runs) {
    if (r.bench && !r.bench->oracle.empty()) say_oracle(r.bench->oracle, s);
    if (r.fingerprint) say_fingerprint(*r.fingerprint, s);
    if (r.sweep) say_sweep(*r.sweep, s);
    if (r.audit) say_audit(*r.audit, s);
  }
  if (s.lines.empty()) s.lines.push_back({tone::unsure, "Nothing was judged"});
  // The gravest sentence leads; among equals the first, and a plain fact never before a verdict.
  const auto rank = [](const sentence& line) {
    return line.tone == tone::neutral || !line.may_lead ? -1 : static_cast<int>(line.tone);
  };
  const auto gravest = std::ranges::max_element(s.lines, {}, rank);
  s.headline = *gravest;
  s.lines.erase(gravest);
  return s;
}

}  // namespace plumb::reports
