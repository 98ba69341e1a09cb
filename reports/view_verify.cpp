// The verify section of the page: failures drawn with their minimal counterexamples, the matrix of verdicts,
// and one card a kernel with its evidence.
#include <algorithm>
#include <cmath>

#include "reports/pattern.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

namespace {

using record::kernel_result;

// A minimal counterexample is small; these limits are for records made by other hands.
constexpr std::int64_t most_planes = 12;
constexpr std::int64_t most_extent = 24;
constexpr std::size_t most_counterexamples = 3;
constexpr std::size_t most_worst = 10;
// More rows make a browser slow; the record has them all. Failing ones come first.
constexpr std::size_t most_verdicts = 2000;
// More headings than these stand upright, or the table is wider than the page.
constexpr std::size_t most_level_heads = 6;

// ---------------------------------------------------------------------------------------------- tensors as
// grids

/// One plane of a tensor: its last two axes, from `first` (row-major) on, cropped to a window around `focus`.
json draw_plane(const record::tensor_dump& t, std::int64_t first, std::int64_t rows, std::int64_t cols,
                const std::vector<bool>& marked) {
  const auto mark_at = std::find(marked.begin() + first, marked.begin() + first + rows * cols, true);
  const std::int64_t focus = mark_at - (marked.begin() + first);
  const bool has_mark = focus < rows * cols;
  const auto window = [&](std::int64_t extent, std::int64_t centre) {
    return std::clamp<std::int64_t>(centre - most_extent / 2, 0,
                                    std::max<std::int64_t>(extent - most_extent, 0));
  };
  const std::int64_t row0 = has_mark ? window(rows, focus / cols) : 0;
  const std::int64_t col0 = has_mark ? window(cols, focus % cols) : 0;
  json lines = json::array();
  for (std::int64_t i = row0; i < std::min(rows, row0 + most_extent); ++i) {
    json cells = json::array();
    for (std::int64_t j = col0; j < std::min(cols, col0 + most_extent); ++j) {
      const auto flat = static_cast<std::size_t>(first + i * cols + j);
      const double value = t.values[flat];
      cells.push_back(
          {{"text", cell_number(value)},
           {"title", clean(t.name, 40) + "[" + coordinates(static_cast<std::int64_t>(flat), t.shape, t.axes) +
                         "] = " + number(value, 9)},
           {"class", marked[flat] ? "wrong"
                     : value == 0 ? "zero"
                                  : ""}});
    }
    lines.push_back({{"cells", std::move(cells)}});
  }
  json plane = {{"rows", std::move(lines)}, {"label", ""}, {"cropped", ""}, {"has_mark", has_mark}};
  if (rows > most_extent || cols > most_extent) {
    plane["cropped"] = "cut from " + extents({rows, cols}) + ", starting at row " + std::to_string(row0) +
                       ", column " + std::to_string(col0);
  }
  return plane;
}

/// `n=0 c=1`: where a plane lies in the axes before its own two.
std::string plane_label(const record::tensor_dump& t, std::int64_t number) {
  if (t.shape.size() < 3) return {};
  const std::vector<std::int64_t> outer(t.shape.begin(), t.shape.end() - 2);
  return coordinates(number, outer, t.axes);
}

json draw_tensor(const record::tensor_dump& t, const std::vector<bool>& marked) {
  const std::size_t rank = t.shape.size();
  const std::int64_t cols = rank > 0 ? t.shape[rank - 1] : 1;
  const std::int64_t rows = rank > 1 ? t.shape[rank - 2] : 1;
  const std::int64_t planes = rows * cols > 0 ? std::ssize(t.values) / (rows * cols) : 0;
  std::vector<std::int64_t> order(static_cast<std::size_t>(planes));
  for (std::int64_t i = 0; i < planes; ++i) order[static_cast<std::size_t>(i)] = i;
  if (planes > most_planes) {  // the planes with wrong elements first
    std::stable_partition(order.begin(), order.end(), [&](std::int64_t i) {
      const auto from = marked.begin() + i * rows * cols;
      return std::find(from, from + rows * cols, true) != from + rows * cols;
    });
  }
  json drawn = json::array();
  for (std::int64_t i = 0; i < std::min(planes, most_planes); ++i) {
    const std::int64_t at = order[static_cast<std::size_t>(i)];
    drawn.push_back(draw_plane(t, at * rows * cols, rows, cols, marked));
    drawn.back()["label"] = plane_label(t, at);
  }
  return {{"name", clean(t.name, 40)},
          {"shape", extents(t.shape)},
          {"dtype", clean(t.dtype, 20)},
          {"role", t.role == record::tensor_role::input ? "input"
                   : t.role == record::tensor_role::got ? "got"
                                                        : "expected"},
          {"planes", std::move(drawn)},
          {"more", planes > most_planes ? plural(planes - most_planes, "plane") + " more" : ""}};
}

/// An expected tensor is marked where what was got is wrong.
json draw_tensors(const record::counterexample& c, record::tensor_role role) {
  json list = json::array();
  for (const record::tensor_dump& t : c.tensors) {
    if (t.role != role) continue;
    std::vector<bool> marked = wrong_elements(c, t);
    for (const record::tensor_dump& other : c.tensors) {
      const bool is_got =
          other.role == record::tensor_role::got && other.name == t.name && other.shape == t.shape;
      if (role == record::tensor_role::expected && is_got && t.marked.empty())
        marked = wrong_elements(c, other);
    }
    list.push_back(draw_tensor(t, marked));
  }
  return list;
}

// ---------------------------------------------------------------------------------------------- failures

/// `shrunk in 14 steps from conv2d …, nothing left to reduce`
std::string shrink_story(const record::counterexample& c) {
  if (c.shrink_steps == 0 && !c.minimal) return {};
  std::string text = "shrunk in " + plural(c.shrink_steps, "step");
  if (!c.original_problem.empty() && c.original_problem != c.problem)
    text += " from " + clean(c.original_problem, 600);
  if (c.minimal) text += "; no axis, attribute or value can be reduced further";
  return text;
}

json draw_counterexample(const record::counterexample& c, const kernel_result& k) {
  json drawn = {
      {"kind", clean(c.kind, 60)},
      {"message", clean(c.message)},
      {"law", clean(c.law, 120)},
      {"problem", clean(c.problem, 600)},
      {"regime", clean(c.regime, 60)},
      {"replay", replay_command(c.replay, k.origin)},
      {"story", shrink_story(c)},
      {"pattern", clean(pattern_of(c, k.heat ? &*k.heat : nullptr), 200)},
      {"occurrences", c.occurrences > 1 ? count(c.occurrences) + " failing cases of this kind" : ""},
      {"wrong", json::array()},
      {"inputs", draw_tensors(c, record::tensor_role::input)},
      {"got", draw_tensors(c, record::tensor_role::got)},
      {"expected", draw_tensors(c, record::tensor_role::expected)}};
  // What was left as it was has no value of its own to show.
  if (c.wrong && c.kind != "unwritten") {
    drawn["wrong"].push_back(element_row(*c.wrong, k.origin));
    // Ulps of nothing, or millions of them, tell nobody anything.
    const bool telling = c.wrong->truth != 0 && c.wrong->ulps < 1e6;
    drawn["wrong"].back()["off"] = telling ? number(c.wrong->ulps) + " ulp off" : "";
  }
  drawn["has_tensors"] = !c.tensors.empty();
  return drawn;
}

std::string kernel_id(std::size_t number) { return "kernel" + std::to_string(number); }

json failure_card(const kernel_result& k, std::size_t at, const json& heat) {
  json card = verdict_cell(k.verdict);
  card.update({{"kernel", clean(k.name, 300)},
               {"id", kernel_id(at)},
               {"reason", clean(k.reason)},
               {"origin", clean(k.origin, 200)},
               {"peer", k.peer},
               {"planted", k.planted},
               {"more", ""},
               {"heat", heat},
               {"counterexamples", json::array()}});
  for (std::size_t i = 0; i < std::min(k.counterexamples.size(), most_counterexamples); ++i) {
    json drawn = draw_counterexample(k.counterexamples[i], k);
    if (drawn["message"] == card["reason"]) drawn["message"] = "";
    card["counterexamples"].push_back(std::move(drawn));
  }
  // The reason is often just what the first counterexample says better.
  if (!k.counterexamples.empty() && k.reason == k.counterexamples.front().kind) card["reason"] = "";
  if (k.counterexamples.size() > most_counterexamples) {
    card["more"] =
        plural(std::ssize(k.counterexamples) - std::ssize(card["counterexamples"]), "counterexample") +
        " more in the record";
  }
  return card;
}

// ---------------------------------------------------------------------------------------------- the matrix

/// Names in the order of first appearance, over all kernels.
template <class Tallies, class Name>
std::vector<std::string> columns(const std::vector<const kernel_result*>& kernels, Tallies tallies,
                                 Name name) {
  std::vector<std::string> found;
  for (const kernel_result* k : kernels) {
    for (const auto& tally : k->*tallies) {
      if (std::ranges::find(found, tally.*name) == found.end()) found.push_back(tally.*name);
    }
  }
  return found;
}

const char* heat_class(const record::regime_tally& t) {
  if (t.failures > 0) return "bad";
  const double worst = std::max(t.worst_statistical.value_or(0), t.worst_proven.value_or(0));
  return worst > 0.5 ? "near" : "good";
}

json regime_cell(const record::regime_tally* t) {
  if (t == nullptr || t->cases == 0) return {{"text", ""}, {"tone", "none"}, {"title", "not drawn"}};
  std::string text = "✓";
  if (t->failures > 0) {
    text = "✗ " + count(t->failures);
  } else if (t->worst_statistical || t->worst_proven) {
    text = number(std::max(t->worst_statistical.value_or(0), t->worst_proven.value_or(0)), 2);
  }
  return {{"text", text},
          {"tone", heat_class(*t)},
          {"title", plural(t->cases, "case") + ", " + plural(t->failures, "failure") +
                        "; worst share of the bound: " + share(t->worst_statistical) + " statistical, " +
                        share(t->worst_proven) + " proven; worst " + number(t->worst_ulps) + " ulp"}};
}

json law_cell(const record::law_tally* t) {
  if (t == nullptr || t->cases == 0) return {{"text", ""}, {"tone", "none"}, {"title", "not applicable"}};
  return {{"text", t->failures > 0 ? "✗ " + count(t->failures) : "✓"},
          {"tone", t->failures > 0 ? "bad" : "good"},
          {"title", plural(t->cases, "case") + ", " + plural(t->failures, "failure")}};
}

template <class Tallies, class Name, class Cell>
json matrix(const std::vector<const kernel_result*>& kernels, Tallies tallies, Name name, Cell cell) {
  const std::vector<std::string> names = columns(kernels, tallies, name);
  json table = {{"columns", json::array()}, {"rows", json::array()}};
  for (const std::string& column : names) table["columns"].push_back({{"name", clean(column, 80)}});
  for (std::size_t at = 0; at < kernels.size(); ++at) {
    const kernel_result& k = *kernels[at];
    json cells = json::array();
    for (const std::string& column : names) {
      const auto& list = k.*tallies;
      const auto found = std::ranges::find(list, column, name);
      cells.push_back(cell(found == list.end() ? nullptr : &*found));
    }
    json row = verdict_cell(k.verdict);
    row.update({{"kernel", clean(k.name, 300)},
                {"id", kernel_id(at)},
                {"cells", std::move(cells)},
                {"mark", k.peer      ? "peer"
                         : k.planted ? "planted"
                                     : ""}});
    table["rows"].push_back(std::move(row));
  }
  table["any"] = !names.empty();
  table["upright"] = names.size() > most_level_heads;
  return table;
}

// ---------------------------------------------------------------------------------------------- one kernel

void add_fact(json& facts, const char* label, std::string value) {
  if (!value.empty()) facts.push_back({{"label", label}, {"value", std::move(value)}});
}

json kernel_facts(const kernel_result& k) {
  json facts = json::array();
  add_fact(facts, "Arithmetic", clean(k.arithmetic, 60));
  add_fact(facts, "Determinism", clean(k.determinism, 60));
  add_fact(facts, "Origin", clean(k.origin, 200));
  add_fact(facts, "Cases", count(k.cases));
  add_fact(facts, "Calls", count(k.calls));
  if (k.elements > 0) add_fact(facts, "Elements compared", count(k.elements));
  if (k.elements > 0) add_fact(facts, "Oracle escalations", count(k.oracle_escalations));
  if (k.detection_power) add_fact(facts, "Detection power", number(*k.detection_power) + " of a term");
  add_fact(facts, "Accepted", count(k.accepted) + " of " + plural(k.offered, "problem"));
  add_fact(facts, "Time", duration(k.seconds));
  return facts;
}

json problem_rows(const kernel_result& k) {
  std::vector<const record::problem_result*> order;
  for (const record::problem_result& p : k.problems) order.push_back(&p);
  std::ranges::stable_sort(order, {}, [](const auto* p) { return record::is_bad(p->verdict) ? 0 : 1; });
  json rows = json::array();
  for (const record::problem_result* p : order) {
    if (rows.size() == most_verdicts) break;
    json row = verdict_cell(p->verdict);
    row.update({{"problem", clean(p->problem, 600)},
                {"reason", clean(p->reason)},
                {"certified", p->certified},
                {"elements", count(p->elements)},
                {"statistical", share(p->worst_statistical)},
                {"proven", share(p->worst_proven)},
                {"ulps", number(p->worst_ulps)},
                {"seconds", duration(p->seconds)}});
    rows.push_back(std::move(row));
  }
  return rows;
}

json coverage_rows(const kernel_result& k) {
  json rows = json::array();
  for (const record::coverage_class& c : k.coverage) {
    const double part = c.offered > 0 ? static_cast<double>(c.accepted) / static_cast<double>(c.offered) : 0;
    rows.push_back({{"name", clean(c.name, 80)},
                    {"accepted", count(c.accepted)},
                    {"offered", count(c.offered)},
                    {"percent", std::to_string(std::lround(std::clamp(part, 0.0, 1.0) * 100))}});
  }
  return rows;
}

/// The line beside a closed card.
std::string glance(const kernel_result& k) {
  if (k.cases == 0) return {};
  std::string text = plural(k.cases, "case");
  if (k.detection_power) text += ", would see " + number(*k.detection_power) + " of a term";
  return text;
}

json kernel_card(const kernel_result& k, std::size_t at, chart_book& charts) {
  json card = verdict_cell(k.verdict);
  card.update({{"kernel", clean(k.name, 300)},
               {"id", kernel_id(at)},
               {"reason", clean(k.reason)},
               {"certified", k.certified},
               {"mark", k.peer      ? "peer"
                        : k.planted ? "planted"
                                    : ""},
               {"cases", count(k.cases)},
               {"facts", kernel_facts(k)},
               {"coverage", coverage_rows(k)},
               {"declined", json::array()},
               {"worst", json::array()},
               {"problems", problem_rows(k)},
               {"problem_count", plural(std::ssize(k.problems), "problem")},
               {"more_problems",
                k.problems.size() > most_verdicts
                    ? count(static_cast<std::int64_t>(most_verdicts)) + " of them shown, failing ones first"
                    : ""},
               {"heat", k.heat ? heat_figure(*k.heat, charts) : json::array()},
               {"glance", glance(k)},
               {"ulps", json::array()}});
  for (const record::reason_count& d : k.declined) {
    card["declined"].push_back({{"reason", clean(d.reason, 400)}, {"count", count(d.count)}});
  }
  for (std::size_t i = 0; i < std::min(k.worst.size(), most_worst); ++i) {
    card["worst"].push_back(element_row(k.worst[i], k.origin));
  }
  if (k.ulps && !k.ulps->counts.empty()) card["ulps"].push_back({{"chart", ulp_chart(charts, *k.ulps)}});
  card["has_charts"] = !card["heat"].empty() || !card["ulps"].empty();
  return card;
}

/// Failing first, then undecided, then the rest; ours before peers. Planted bugs that were caught come last: they
/// are no news.
int rank(const kernel_result& k) {
  const bool bad = record::is_bad(k.verdict);
  if (k.planted) return bad ? 8 : 0;
  if (k.verdict == record::verdict::skipped) return 7;
  const int severity = bad ? 0 : k.verdict == record::verdict::inconclusive ? 1 : 2;
  return 2 * severity + (k.peer ? 1 : 0) + 1;
}

json trigger_rows(std::span<const record::run> runs) {
  json rows = json::array();
  for (const record::run& r : runs) {
    if (!r.verify) continue;
    for (const record::trigger& t : r.verify->triggers) {
      const double part =
          t.applicable > 0 ? static_cast<double>(t.drawn) / static_cast<double>(t.applicable) : 0;
      rows.push_back({{"name", clean(t.name, 120)},
                      {"drawn", count(t.drawn)},
                      {"applicable", count(t.applicable)},
                      {"share", number(100 * part) + " %"},
                      {"rare", t.applicable > 0 && part < 0.01}});
    }
  }
  return rows;
}

/// What ran of each plugin that can say so.
json library_rows(std::span<const record::run> runs) {
  constexpr std::size_t most_lines = 100;
  json rows = json::array();
  for (const record::run& r : runs) {
    if (!r.verify || !r.verify->coverage) continue;
    for (const record::plugin_coverage& c : r.verify->coverage->libraries) {
      const std::int64_t edges = c.ran + c.missed;
      const bool measured = c.reason.empty() && edges > 0;
      json lines = json::array();
      for (const std::string& line : c.never)
        if (lines.size() < most_lines) lines.push_back({{"line", clean(line, 200)}});
      std::string rest;
      if (c.never.size() > lines.size())
        rest = "and " + plural(std::ssize(c.never) - std::ssize(lines), "line") + " more";
      if (measured && c.never.empty()) rest = c.missed == 0 ? "nothing" : "parts of lines that did run";
      const auto percent = edges > 0 ? std::clamp<std::int64_t>(100 * c.ran / edges, 0, 100) : 0;
      rows.push_back({{"library", clean(c.library, 300)},
                      {"measured", measured},
                      {"percent", std::to_string(percent)},
                      {"ran", measured ? count(c.ran) + " of " + count(edges) : "–"},
                      {"reason", clean(c.reason, 300)},
                      {"never", std::move(lines)},
                      {"more", std::move(rest)}});
    }
  }
  return rows;
}

}  // namespace

void view_verify(std::span<const record::run> runs, chart_book& charts, json& view) {
  std::vector<const kernel_result*> kernels;
  for (const record::run& r : runs) {
    if (!r.verify) continue;
    for (const kernel_result& k : r.verify->kernels) kernels.push_back(&k);
  }
  std::ranges::stable_sort(kernels, {}, [](const kernel_result* k) { return rank(*k); });
  view["failures"] = json::array();
  view["findings"] = json::array();
  view["caught"] = json::array();
  view["kernels"] = json::array();
  view["cut_kernels"] =
      kernels.size() > most_verdicts
          ? plural(std::ssize(kernels) - static_cast<std::int64_t>(most_verdicts), "kernel") +
                " more in the record, none of them worse than those shown"
          : "";
  if (kernels.size() > most_verdicts) kernels.resize(most_verdicts);
  for (std::size_t at = 0; at < kernels.size(); ++at) {
    const kernel_result& k = *kernels[at];
    json card = kernel_card(k, at, charts);
    const bool bad = record::is_bad(k.verdict);
    if (bad || k.planted) {
      // A planted bug that got away is a failure of the judge.
      const char* const list = k.planted && bad ? "caught" : k.peer ? "findings" : "failures";
      view[list].push_back(failure_card(k, at, card["heat"]));
    }
    card["alone"] = kernels.size() == 1 && !bad;  // opened at once
    view["kernels"].push_back(std::move(card));
  }
  view["regimes"] = matrix(kernels, &kernel_result::regimes, &record::regime_tally::regime, regime_cell);
  view["laws"] = matrix(kernels, &kernel_result::laws, &record::law_tally::law, law_cell);
  view["triggers"] = trigger_rows(runs);
  view["libraries"] = library_rows(runs);
  view["has_kernels"] = !kernels.empty();
}

}  // namespace plumb::reports
