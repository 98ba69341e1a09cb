// The audit section: which planted fault was seen by which check (the kill matrix), how soon, what the usual practices
// make of the same faults, and the false alarms over kernels that have none. Survivors come first.
#include <algorithm>
#include <map>
#include <set>

#include "reports/summary.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

namespace {

using record::audit_section;
using record::fault_result;

constexpr std::size_t most_faults = 2000;

/// Check families in the order of how many faults they saw.
std::vector<std::string> families_of(const audit_section& audit) {
  std::map<std::string, std::int64_t> seen;
  for (const fault_result& f : audit.faults)
    for (const record::family_tally& t : f.families) seen[t.family] += t.failures > 0 ? 1 : 0;
  std::vector<std::string> names;
  for (const auto& [name, count] : seen) names.push_back(name);
  std::ranges::stable_sort(names, std::greater{}, [&](const std::string& name) { return seen[name]; });
  return names;
}

json matrix_row(const fault_result& f, const std::vector<std::string>& families) {
  std::map<std::string_view, std::int64_t> failures;
  for (const record::family_tally& t : f.families) failures[t.family] = t.failures;
  json cells = json::array();
  for (const std::string& family : families) {
    const auto at = failures.find(family);
    const bool hit = at != failures.end() && at->second > 0, first = family == f.first_family;
    cells.push_back({{"text", hit ? first ? "◆" : "●" : ""},
                     {"tone", hit ? first ? "first" : "hit" : "none"},
                     {"title", hit ? clean(family, 80) + ": " + plural(at->second, "failure") +
                                         (first ? ", the first kill" : "")
                                   : clean(family, 80) + ": saw nothing"}});
  }
  for (const std::string& outcome : f.practices) {
    const bool found = outcome == "found", missed = outcome == "missed";
    cells.push_back({{"text", found    ? "●"
                              : missed ? "✗"
                                       : ""},
                     {"tone", found    ? "hit"
                              : missed ? "bad"
                                       : "none"},
                     {"title", clean(outcome, 200)}});
  }
  const bool undecided = undecided_fault(f);
  const char* const tone = f.killed ? "good" : undecided ? "unsure" : "bad";
  return {{"kernel", clean(f.kernel, 300)},
          {"verdict", f.killed    ? "killed"
                      : undecided ? "undecided"
                                  : "survived"},
          {"tone", tone},
          {"cause", clean(f.root_cause, 600)},
          {"kind", clean(f.kind, 100)},
          {"modelled", clean(f.modelled_on, 300)},
          {"reason", clean(f.reason, 600)},
          {"cases", count(f.cases)},
          {"seconds", duration(f.seconds)},
          {"problem", clean(f.problem, 600)},
          {"replay", replay_command(f.replay)},
          {"cells", std::move(cells)}};
}

json matrix_heads(const audit_section& audit, const std::vector<std::string>& families) {
  json heads = json::array();
  for (const std::string& family : families) heads.push_back({{"name", clean(family, 80)}, {"class", "col"}});
  for (const record::practice_result& p : audit.practices)
    heads.push_back({{"name", clean(p.name, 80)}, {"class", "col practice"}});
  return heads;
}

std::string share_text(std::int64_t part, std::int64_t all) {
  return all == 0 ? "–" : count(part) + " of " + count(all);
}

std::string percent(std::int64_t part, std::int64_t all) {
  return std::to_string(all == 0 ? 0 : std::clamp<std::int64_t>(100 * part / all, 0, 100));
}

/// Plumb beside the usual practices: faults found, honest kernels accused.
json practice_rows(const audit_section& audit, std::int64_t killed, std::int64_t accused,
                   std::int64_t judged) {
  json rows = json::array();
  const auto all = std::ssize(audit.faults);
  rows.push_back({{"name", "plumb"},
                  {"settings", ""},
                  {"found", share_text(killed, all)},
                  {"percent", percent(killed, all)},
                  {"rejected", share_text(accused, judged)}});
  for (const record::practice_result& p : audit.practices)
    rows.push_back({{"name", clean(p.name, 80)},
                    {"settings", clean(p.settings, 300)},
                    {"found", share_text(p.found, p.asked)},
                    {"percent", percent(p.found, p.asked)},
                    {"rejected", share_text(p.rejected, p.honest)}});
  return rows;
}

json alarm_rows(const audit_section& audit) {
  json rows = json::array();
  for (const record::honest_result& h : audit.honest) {
    if (h.alarms == 0 && h.message.empty()) continue;
    const bool peer = h.origin == "peer";
    rows.push_back({{"kernel", clean(h.kernel, 300)},
                    {"tone", peer ? "unsure" : "bad"},
                    {"verdict", peer ? "finding" : "false alarm"},
                    {"alarms", count(h.alarms)},
                    {"cases", count(h.cases)},
                    {"message", clean(h.message)},
                    {"replay", replay_command(h.replay)}});
  }
  return rows;
}

json mutant_rows(const audit_section& audit) {
  json rows = json::array();
  for (const record::mutant_result& m : audit.mutants)
    rows.push_back({{"name", clean(m.name, 100)},
                    {"weakened", clean(m.weakened, 300)},
                    {"kernel", clean(m.kernel, 300)},
                    {"tone", m.killed ? "good" : "bad"},
                    {"verdict", m.killed ? "noticed" : "survived"},
                    {"way", m.killed ? clean((m.honest ? "accused: " : "lives, else ") + m.first_kind, 100)
                                     : clean(m.reason, 300)}});
  return rows;
}

json noise_rows(const audit_section& audit) {
  json rows = json::array();
  for (const record::noise_result& n : audit.noise)
    rows.push_back({{"regime", clean(n.regime, 40)},
                    {"layers", count(n.layers)},
                    {"twice", count(n.twice)},
                    {"missed", count(n.missed)},
                    {"half", count(n.half)},
                    {"accused", count(n.accused)},
                    {"example", clean(n.example, 300)}});
  return rows;
}

json audit_card(const audit_section& audit) {
  const std::vector<std::string> families = families_of(audit);
  std::vector<const fault_result*> order;
  for (const fault_result& f : audit.faults) order.push_back(&f);
  std::ranges::stable_sort(order, {}, [](const fault_result* f) { return f->killed ? 1 : 0; });
  std::int64_t killed = 0, accused = 0, judged = 0, cases = 0;
  std::vector<double> seconds;
  std::set<std::string> layers;
  for (const fault_result& f : audit.faults) {
    layers.insert(f.layer);
    if (f.killed) ++killed, seconds.push_back(f.seconds);
  }
  for (const record::honest_result& h : audit.honest) {
    cases += h.cases;
    if (h.origin == "peer") continue;
    ++judged;
    accused += h.alarms > 0 ? 1 : 0;
  }
  std::ranges::sort(seconds);
  json rows = json::array(), survivors = json::array();
  for (const fault_result* f : order) {
    if (rows.size() < most_faults) rows.push_back(matrix_row(*f, families));
    if (!f->killed && survivors.size() < most_faults) survivors.push_back(rows.back());
  }
  const bool cut = order.size() > most_faults;
  return {{"killed", share_text(killed, std::ssize(audit.faults))},
          {"layers", plural(std::ssize(layers), "layer")},
          {"median", seconds.empty() ? "–" : duration(seconds[seconds.size() / 2])},
          {"accused", share_text(accused, judged)},
          {"cases", count(cases)},
          {"heads", matrix_heads(audit, families)},
          {"rows", std::move(rows)},
          {"cut", cut ? plural(std::ssize(order) - static_cast<std::int64_t>(most_faults), "fault") +
                            " more in the record"
                      : ""},
          {"survivors", std::move(survivors)},
          {"practices", practice_rows(audit, killed, accused, judged)},
          {"alarms", alarm_rows(audit)},
          {"mutants", mutant_rows(audit)},
          {"noise", noise_rows(audit)}};
}

}  // namespace

void view_audit(std::span<const record::run> runs, json& view) {
  view["audit"] = json::array();
  for (const record::run& r : runs)
    if (r.audit) view["audit"].push_back(audit_card(*r.audit));
  view["has_audit"] = !view["audit"].empty();
}

}  // namespace plumb::reports
