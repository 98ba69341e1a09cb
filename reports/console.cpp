#include "reports/console.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "reports/summary.hpp"
#include "reports/text.hpp"

namespace plumb {
namespace {

using namespace record;
using reports::plural;

std::string thousands(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

std::string optional_number(const std::optional<double>& v) { return v ? fmt::format("{:.2g}", *v) : "-"; }

std::string where(const element& e) {
  std::string text = e.tensor + "[";
  for (std::size_t i = 0; i < e.coordinates.size(); ++i)
    text += fmt::format("{}{}={}", i == 0 ? "" : " ", e.coordinates[i].axis, e.coordinates[i].at);
  return text + "]";
}

class writer {
 public:
  explicit writer(console_style style) : style_(style) {}

  std::string paint(verdict v) const { return paint(v, name_of(v)); }
  /// Another word in the colour of that verdict.
  std::string paint(verdict v, std::string_view word) const {
    const std::string text = fmt::format("{:<12}", word);
    if (!style_.colour) return text;
    const char* code = v == verdict::pass ? "32" : is_bad(v) ? "1;31" : "33";
    return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
  }
  template <class... A>
  void line(fmt::format_string<A...> format, A&&... a) {
    text_ += tame(fmt::format(format, std::forward<A>(a)...)) + "\n";
  }
  std::string take() { return std::move(text_); }

 private:
  /// One line, and no control characters but the colours of `paint`: names come from outside.
  std::string tame(std::string_view text) const {
    std::string result;
    while (!text.empty()) {
      const std::size_t escape = style_.colour ? text.find('\x1b') : std::string_view::npos;
      result += reports::clean(text.substr(0, escape), std::string_view::npos);
      if (escape == std::string_view::npos) break;
      text.remove_prefix(escape);
      std::size_t length = 1;
      for (const std::string_view colour : {"\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"})
        if (text.starts_with(colour)) length = colour.size();
      result += length > 1 ? text.substr(0, length) : "\xef\xbf\xbd";
      text.remove_prefix(length);
    }
    for (char& c : result)
      if (c == '\n' || c == '\t') c = ' ';
    return result;
  }

  console_style style_;
  std::string text_;
};

void print_counterexample(writer& w, const kernel_result& k, const counterexample& c) {
  w.line("{} {}  {}: {}", w.paint(k.verdict), k.name, c.kind, c.message);
  w.line("             {}", c.problem);
  // What was left as it was has no value of its own, and most messages name the element already.
  if (c.wrong && c.kind != "unwritten" && c.message.find(where(*c.wrong)) == std::string::npos)
    w.line("             {} is {}, expected {}", where(*c.wrong), c.wrong->got, c.wrong->truth);
  w.line("             {}; seen in {}", c.minimal ? "minimal" : "not known to be minimal",
         plural(c.occurrences, "case"));
  if (!c.replay.empty()) w.line("             {}", reports::replay_command(c.replay, k.origin));
}

/// The triggers drawn least often: what the run exercised least.
void print_triggers(writer& w, const verify_section& v) {
  std::vector<std::pair<double, const trigger*>> shares;
  for (const trigger& t : v.triggers)
    if (t.applicable > 0)
      shares.emplace_back(static_cast<double>(t.drawn) / static_cast<double>(t.applicable), &t);
  if (shares.empty()) return;
  std::sort(shares.begin(), shares.end());
  std::string rarest;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, shares.size()); ++i)
    rarest += fmt::format("{}{} {:.1f} %", i == 0 ? "" : ", ", shares[i].second->name, 100 * shares[i].first);
  w.line("{} triggers drawn, rarest: {}", shares.size(), rarest);
}

void print_coverage(writer& w, const std::vector<plugin_coverage>& list) {
  constexpr std::size_t most_lines = 12;
  for (const plugin_coverage& c : list) {
    if (!c.reason.empty()) {
      w.line("coverage of {}: {}", c.library, c.reason);
      continue;
    }
    std::string never;
    for (std::size_t i = 0; i < std::min(most_lines, c.never.size()); ++i)
      never += (i == 0 ? "" : ", ") + c.never[i];
    if (c.never.size() > most_lines) never += fmt::format(" and {} more lines", c.never.size() - most_lines);
    const std::int64_t edges = c.ran + c.missed;
    w.line("coverage of {}: {:.0f} % of {} edges ran; {}", c.library,
           edges == 0 ? 0.0 : std::floor(100.0 * static_cast<double>(c.ran) / static_cast<double>(edges)),
           edges,
           c.missed == 0   ? "all did"
           : never.empty() ? "no line never did"
                           : "never ran: " + never);
  }
}

std::string unfinished_sentence(const unfinished_run& u, double seconds) {
  const std::string rest = u.problems.empty() ? fmt::format("after {:.1f} of {:.1f} s", seconds, u.budget)
                                              : fmt::format("with {} problems to go", u.problems.size());
  return fmt::format("unfinished: {} {}; `plumb verify --resume RECORD` goes on",
                     u.stopped.empty() ? "cut off" : "stopped by " + u.stopped, rest);
}

void print_verify(writer& w, const verify_section& v) {
  std::size_t width = 10;
  for (const kernel_result& k : v.kernels) width = std::max(width, k.name.size());
  std::vector<const kernel_result*> order;
  for (const kernel_result& k : v.kernels) order.push_back(&k);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(!is_bad(a->verdict), a->peer) < std::pair(!is_bad(b->verdict), b->peer);
  });
  for (const kernel_result* k : order)
    for (const counterexample& c : k->counterexamples) print_counterexample(w, *k, c);
  w.line("{:<12} {:<{}} {:>8} {:>9} {:>8} {:>8} {:>8} {:>9}  {}", "verdict", "kernel", width, "cases",
         "calls", "accepted", "of stat.", "of prov.", "power", "remarks");
  std::map<verdict, int> own;
  std::map<verdict, int> peers;
  for (const kernel_result* k : order) {
    ++(k->peer ? peers : own)[k->verdict];
    std::optional<double> statistical;
    std::optional<double> proven;
    for (const regime_tally& r : k->regimes) {
      if (r.worst_statistical) statistical = std::max(statistical.value_or(0), *r.worst_statistical);
      if (r.worst_proven) proven = std::max(proven.value_or(0), *r.worst_proven);
    }
    const std::string accepted = k->offered == 0
                                     ? "-"
                                     : fmt::format("{:.0f} %", 100.0 * static_cast<double>(k->accepted) /
                                                                   static_cast<double>(k->offered));
    std::string remarks = k->peer ? "peer" : "";
    if (k->planted) remarks += remarks.empty() ? "planted" : ", planted";
    if (k->certified) remarks += remarks.empty() ? "certified" : ", certified";
    if (!k->reason.empty()) remarks += (remarks.empty() ? "" : ", ") + k->reason;
    if (k->unbounded.value_or(0) > 0)
      remarks +=
          fmt::format("{}{} elements certify nothing", remarks.empty() ? "" : ", ", thousands(*k->unbounded));
    w.line("{} {:<{}} {:>8} {:>9} {:>8} {:>8} {:>8} {:>9}  {}", w.paint(k->verdict), k->name, width,
           thousands(k->cases), thousands(k->calls), accepted, optional_number(statistical),
           optional_number(proven), k->detection_power ? fmt::format("{:.1e}", *k->detection_power) : "-",
           remarks);
  }
  std::string totals;
  for (const auto& [verdict, count] : own)
    totals += fmt::format("{}{} {}", totals.empty() ? "" : ", ", count, name_of(verdict));
  std::string findings;
  for (const auto& [verdict, count] : peers)
    findings += fmt::format("{}{} {}", findings.empty() ? "" : ", ", count, name_of(verdict));
  if (totals.empty()) totals = "none of ours";
  w.line("kernels: {}{}{}", totals, findings.empty() ? "" : "; peers: ", findings);
  const double seconds = std::max(v.seconds, 1e-9);
  w.line("{} cases, {} calls in {:.1f} s: {} cases/s, {} calls/s", thousands(v.cases), thousands(v.calls),
         v.seconds, thousands(static_cast<std::int64_t>(static_cast<double>(v.cases) / seconds)),
         thousands(static_cast<std::int64_t>(static_cast<double>(v.calls) / seconds)));
  if (v.unfinished) w.line("{}", unfinished_sentence(*v.unfinished, v.seconds));
  print_triggers(w, v);
  if (v.coverage) print_coverage(w, v.coverage->libraries);
}

void print_gradcheck(writer& w, const gradcheck_section& g) {
  std::size_t width = 44;
  for (const layer_check& l : g.layers)
    for (const kernel_gradient& k : l.kernels) width = std::max(width, k.kernel.size());
  for (const layer_check& l : g.layers) {
    // Networks, and layers inside them, have names of their own.
    const std::string what = l.problem.starts_with(l.layer + " ") ? l.problem : l.layer + ": " + l.problem;
    w.line("{} {}  ({}, {} excluded, {:.1f} s){}{}", w.paint(l.verdict), what, plural(l.points, "point"),
           plural(l.kinks_excluded, "kink"), l.seconds, l.reason.empty() ? "" : "  ", l.reason);
    for (const agreement& a : l.agreements)
      w.line("             {:<9} {:<9} {:<9} {:>8} entries  {}{}{}", a.first, a.second, a.scalar,
             thousands(a.compared), a.exact ? "exact" : fmt::format("{:.0f} digits", a.digits),
             a.reason.empty() ? "" : "  ", a.reason);
    for (const kernel_gradient& k : l.kernels)
      w.line("             {} {:<{}} of proven bound {}{}{}{}", w.paint(k.verdict), k.kernel, width,
             optional_number(k.worst_proven), k.peer ? "  peer" : "", k.reason.empty() ? "" : "  ", k.reason);
  }
}

void print_oracle(writer& w, const std::vector<oracle_timing>& list) {
  double worst = 0;
  for (const oracle_timing& o : list) {
    if (!(o.ratio > 0)) {
      w.line("{} {:<72} {}", w.paint(o.verdict), o.problem, o.reason);
      continue;
    }
    worst = std::max(worst, o.ratio);
    w.line(
        "{} {:<72} {:>11} outputs of {:>5} terms  oracle {:>7.3f} s  dgemm {:>7.3f} s ({:>3.0f} GFLOP/s)  "
        "ratio {:.2f}",
        w.paint(o.verdict), o.problem, thousands(o.certified), o.terms, o.seconds, o.gemm_seconds,
        o.gemm_gflops, o.ratio);
  }
  w.line("the oracle takes at most {:.2f} times as long as dgemm on the same matrix shape ({})", worst,
         plural(std::ssize(list), "problem"));
}

/// Where a total stands beside its goal; empty if it has none.
std::string standing(const set_total& s) {
  if (!s.goal || !s.ratio || !s.worst) return {};
  const bool mean = 1 / s.ratio->value >= s.goal->mean, worst = 1 / s.worst->ratio >= s.goal->worst;
  return fmt::format("{:.1f} and {:.1f}: {}", s.goal->mean, s.goal->worst,
                     mean && worst ? "met"
                     : mean        ? "a problem below"
                     : worst       ? "mean below"
                                   : "mean and a problem below");
}

/// The table of a run: a kernel's speed over the baseline's on whole sets, its worst problem, and its goal.
void print_totals(writer& w, const std::vector<set_total>& sets) {
  if (sets.empty()) return;
  std::size_t width = 10, set_width = 4;
  for (const set_total& s : sets) {
    width = std::max(width, s.kernel.size());
    set_width = std::max(set_width, s.set.size());
  }
  w.line("{:<{}} {:<{}} {:>8} {:>10} {:>22} {:>6}  {:<36} {}", "set", set_width, "kernel", width, "problems",
         "ms", "geometric mean of speed", "worst", "goals", "on");
  for (const set_total& s : sets)
    w.line("{:<{}} {:<{}} {:>8} {:>10.2f} {:>23} {:>6}  {:<36} {}", s.set, set_width, s.kernel, width,
           s.problems, s.seconds * 1e3,
           s.ratio ? fmt::format("{:.2f}x [{:.2f}, {:.2f}]", 1 / s.ratio->value, 1 / s.ratio->high,
                                 1 / s.ratio->low)
                   : "baseline",
           s.worst ? fmt::format("{:.2f}x", 1 / s.worst->ratio) : "", standing(s),
           s.worst ? s.worst->problem : "");
}

void print_bench(writer& w, const bench_section& b) {
  if (!b.oracle.empty()) return print_oracle(w, b.oracle);
  std::size_t width = 10;
  std::size_t problem_width = 10;
  for (const timing& t : b.timings) {
    width = std::max(width, t.kernel.size());
    problem_width = std::max(problem_width, t.problem.size());
  }
  problem_width = std::min<std::size_t>(problem_width, 72);
  w.line("{:<{}} {:<{}} {:<6} {:>10} {:>9} {:>8} {:>7} {:>24} {}", "kernel", width, "problem", problem_width,
         "layout", "us", "GFLOP/s", "GB/s", "of roof", "speed against baseline", "");
  for (const timing& t : b.timings) {
    if (!t.measurement) {
      w.line("{:<{}} {:<{}} {:<6} no number: {} {}", t.kernel, width, t.problem, problem_width, t.layout,
             name_of(t.verdict), t.reason);
      continue;
    }
    const measurement& m = *t.measurement;
    std::string ratio, comparison = t.baseline ? "baseline" : "";
    if (m.ratio && m.ratio->value > 0) {
      ratio =
          fmt::format("{:.2f}x [{:.2f}, {:.2f}]", 1 / m.ratio->value, 1 / m.ratio->high, 1 / m.ratio->low);
      comparison = name_of(m.ratio->comparison);
    }
    w.line("{:<{}} {:<{}} {:<6} {:>10.1f} {:>9.1f} {:>8.1f} {:>6.0f}% {:>24} {}", t.kernel, width, t.problem,
           problem_width, t.layout, m.seconds * 1e6, m.gflops, m.gbytes, 100 * m.roof_share, ratio,
           comparison);
  }
  print_totals(w, b.sets);
  w.line("roof of this run: {:.0f} GFLOP/s, {:.1f} GB/s with {}", b.roof.peak_gflops, b.roof.peak_gbytes,
         plural(b.threads, "thread"));
}

/// `12 of 14`; a dash where nothing was asked.
std::string share(std::int64_t part, std::int64_t all) {
  return all == 0 ? "-" : fmt::format("{} of {}", part, all);
}

void print_fault(writer& w, const fault_result& f, std::size_t width) {
  std::string families;
  for (const family_tally& t : f.families) families += (families.empty() ? "" : " ") + t.family;
  std::string practices;
  for (const std::string& outcome : f.practices)
    practices += outcome == "found" ? 'x' : outcome == "missed" ? '.' : ' ';
  if (f.killed)
    w.line("{} {:<{}} {:>6} cases {:>7.3f} s {:>6} el.{} {:<{}} {}", w.paint(verdict::pass, "killed"),
           f.kernel, width, f.cases, f.seconds, f.elements, f.minimal ? " min" : "    ", practices,
           practices.size(), families);
  else
    w.line("{} {:<{}} {} ({}: {})",
           reports::undecided_fault(f) ? w.paint(verdict::inconclusive, "undecided")
                                       : w.paint(verdict::fail, "SURVIVED"),
           f.kernel, width, f.reason, f.kind, f.root_cause);
}

void print_mutants(writer& w, const audit_section& a) {
  if (a.mutants.empty()) return;
  w.line("{:<12} {:<26} {:<44} {}", "mutant", "check weakened", "noticed by", "in what way");
  std::int64_t killed = 0;
  for (const mutant_result& m : a.mutants) {
    killed += m.killed ? 1 : 0;
    const std::string way = m.killed ? (m.honest ? "accused: " : "lives, else ") + m.first_kind : m.reason;
    w.line("{} {:<26} {:<44} {}",
           w.paint(m.killed ? verdict::pass : verdict::fail, m.killed ? "killed" : "SURVIVED"), m.name,
           m.kernel, way);
  }
  w.line("mutants: {} of {} weakened checks are noticed", killed, a.mutants.size());
}

void print_noise(writer& w, const audit_section& a) {
  for (const noise_result& n : a.noise) {
    w.line(
        "noise, {:<10} {:>4} layers: twice the threshold on {:>8} elements, {} missed; half of the proven "
        "bound on "
        "{:>8}, {} accused",
        n.regime, n.layers, thousands(n.twice), n.missed, thousands(n.half), n.accused);
    if (!n.example.empty()) w.line("             {}", n.example);
  }
}

void print_audit(writer& w, const audit_section& a) {
  std::size_t width = 10;
  for (const fault_result& f : a.faults) width = std::max(width, f.kernel.size());
  std::vector<double> seconds;
  std::set<std::string> causes, layers;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> families;  // that saw it, that saw it first
  std::int64_t minimal = 0, rechecked = 0, smaller_tried = 0;
  for (const fault_result& f : a.faults) {
    print_fault(w, f, width);
    if (f.smaller) w.line("             not minimal: plumb replay '{}' fails too", *f.smaller);
    rechecked += f.smaller_tried && !f.smaller ? 1 : 0;
    smaller_tried += f.smaller_tried.value_or(0);
    causes.insert(f.root_cause);
    layers.insert(f.layer);
    minimal += f.minimal ? 1 : 0;
    if (f.killed) seconds.push_back(f.seconds);
    for (const family_tally& t : f.families) ++families[t.family].first;
    if (f.killed)
      ++families[f.first_kind.starts_with("wrong") || f.first_kind == "law" ? f.first_family : f.first_kind]
            .second;
  }
  if (!a.faults.empty()) {
    w.line("{:<28} {:>8} {:>8}", "check family", "saw", "first");
    for (const auto& [name, counts] : families)
      w.line("{:<28} {:>8} {:>8}", name, counts.first, counts.second);
  }
  print_mutants(w, a);
  print_noise(w, a);
  for (std::size_t i = 0; i < a.practices.size(); ++i) {
    const practice_result& p = a.practices[i];
    w.line("usual practice {}: {:<20} finds {:>12}, rejects {:>9} kernels without a fault   {}", i + 1,
           p.name, share(p.found, p.asked), share(p.rejected, p.honest), p.settings);
  }
  std::int64_t cases = 0, elements = 0, accused = 0, ours = 0;
  for (const honest_result& h : a.honest) {
    ours += h.origin == "peer" ? 0 : 1;
    cases += h.cases;
    elements += h.elements;
    if (h.alarms == 0 && h.message.empty()) continue;
    accused += h.alarms > 0 && h.origin != "peer" ? 1 : 0;
    w.line("{} {:<{}} {} {} in {}  {}",
           w.paint(h.origin == "peer" ? verdict::inconclusive : verdict::fail,
                   h.origin == "peer" ? "finding" : "FALSE ALARM"),
           h.kernel, width, h.origin, plural(h.alarms, "alarm"), plural(h.cases, "case"), h.message);
    if (!h.replay.empty()) w.line("             plumb replay '{}'", h.replay);
  }
  std::sort(seconds.begin(), seconds.end());
  w.line(
      "faults: {} of {} killed ({} root causes, {} layers), median {:.3f} s to the first kill, {} "
      "counterexamples minimal",
      seconds.size(), a.faults.size(), causes.size(), layers.size(),
      seconds.empty() ? 0 : seconds[seconds.size() / 2], minimal);
  w.line(
      "minimality: {} counterexamples confirmed without the shrinker; {} cases one step smaller were tried",
      rechecked, thousands(smaller_tried));
  w.line("false alarms: {} of {} honest kernels, over {} cases and {} elements; {:.0f} s in all", accused,
         ours, thousands(cases), thousands(elements), a.seconds);
}

void print_fingerprints(writer& w, const fingerprint_section& section) {
  std::size_t width = 10;
  for (const fingerprint_result& f : section.kernels) width = std::max(width, f.kernel.size());
  for (const fingerprint_result& f : section.kernels) {
    if (f.words.empty()) {
      w.line("{} {:<{}} {}", w.paint(f.verdict), f.kernel, width, f.reason);
      continue;
    }
    std::string text = f.words + "; " + f.repeats;
    if (!f.tree.empty()) text = f.tree + "; " + text;
    if (!f.tail_tree.empty()) text += "; last output: " + f.tail_tree;
    w.line("{} {:<{}} {}", w.paint(f.verdict), f.kernel, width, text);
    if (f.measured_bound > 0 && f.measured_bound < f.any_order_bound)
      w.line(
          "{:<12} {:<{}} {} terms, {} roundings: proven bound {:.2e}·S, {:.1f} times tighter than for any "
          "order",
          "", "", width, f.terms, f.roundings, f.measured_bound, f.any_order_bound / f.measured_bound);
    if (!f.reason.empty()) w.line("{:<12} {:<{}} {}", "", "", width, f.reason);
  }
}

void print_sweep(writer& w, const sweep_section& section) {
  std::size_t width = 10;
  for (const sweep_result& s : section.kernels) width = std::max(width, s.kernel.size());
  for (const sweep_result& s : section.kernels) {
    if (s.inputs == 0) {
      w.line("{} {:<{}} {}", w.paint(s.verdict), s.kernel, width, s.reason);
      continue;
    }
    const std::string at = s.worst_ulps == 0
                               ? ""
                               : fmt::format(" at {} (bits 0x{:08x}: {} instead of {})", s.worst_input,
                                             s.worst_bits, s.worst_got, s.worst_truth);
    w.line("{} {:<{}} {}, worst {:.4g} ulp{}, {} misrounded, {} wrong; {:.0f} s", w.paint(s.verdict),
           s.kernel, width, plural(s.inputs, "input"), s.worst_ulps, at, thousands(s.misrounded),
           thousands(s.wrong), s.seconds);
    if (!s.reason.empty()) w.line("{:<12} {:<{}} {}", "", "", width, s.reason);
    std::string values;
    for (const special_value& v : s.special)
      values += fmt::format("{}{:.3g} -> {:.3g}", values.empty() ? "" : ", ", v.input, v.got);
    w.line("{:<12} {:<{}} {}", "", "", width, values);
  }
}

}  // namespace

std::string render_console(const record::run& r, console_style style) {
  writer w(style);
  if (r.verify) print_verify(w, *r.verify);
  if (r.gradcheck) print_gradcheck(w, *r.gradcheck);
  if (r.bench) print_bench(w, *r.bench);
  if (r.audit) print_audit(w, *r.audit);
  if (r.fingerprint) print_fingerprints(w, *r.fingerprint);
  if (r.sweep) print_sweep(w, *r.sweep);
  return w.take();
}

}  // namespace plumb
