// A comparison as console lines, page, Markdown and JUnit.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reports/compare.hpp"
#include "reports/html.hpp"
#include "reports/render.hpp"
#include "reports/summary.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

namespace {

using record::comparison;

constexpr std::size_t most_changes = 1000;

std::string times(double ratio) { return fmt::format("{:.3f}x", ratio); }

std::string ratio_text(const change& c) {
  return fmt::format("{:.3f}× [{:.3f}, {:.3f}]", c.ratio, c.low, c.high);
}

std::string bits_text(const accuracy_change& a) {
  if (a.bits == 0) return "";
  if (!std::isfinite(a.bits)) return a.bits > 0 ? "no longer within any bound" : "within its bound again";
  return fmt::format("{} {:.1f} bits", a.bits > 0 ? "lost" : "gained", std::abs(a.bits));
}

const char* tone_of(comparison c) {
  if (c == comparison::slower) return "bad";
  if (c == comparison::faster) return "good";
  return c == comparison::same ? "neutral" : "unsure";
}

const char* code_of(comparison c) {
  return c == comparison::slower ? "1;31" : c == comparison::faster ? "32" : "0";
}

std::string painted(const std::string& word, const char* code, bool colour) {
  const std::string cell = fmt::format("{:<9}", word);
  return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, cell) : cell;
}

void print_speed(std::string& text, const std::vector<speed_change>& list, bool colour) {
  std::size_t width = 10;
  for (const speed_change& s : list)
    width = std::max(width, std::min<std::size_t>(clean(s.kernel, 200).size(), 60));
  for (const speed_change& s : list)
    text += fmt::format("{} {:<{}} {:>7} [{}, {}] {:>10} {:>10}  {}{}\n",
                        painted(std::string(record::name_of(s.verdict)), code_of(s.verdict), colour),
                        clean(s.kernel, 200), width, times(s.change.ratio), times(s.change.low),
                        times(s.change.high), duration(s.before), duration(s.after),
                        s.problem.empty() ? plural(s.problems, "problem") : clean(s.problem, 300),
                        s.peer ? "  (peer)" : "");
}

tone tone_of(const comparison_of_runs& c) {
  if (c.regression()) return tone::bad;
  const bool unsure =
      (c.has_speed && c.speed == comparison::ambiguous) || (!c.has_speed && c.accuracies == 0);
  return unsure ? tone::unsure : tone::good;
}

json speed_row(const speed_change& s) {
  return {{"kernel", clean(s.kernel, 300)},
          {"mark", s.peer ? "peer" : ""},
          {"place", s.problem.empty() ? plural(s.problems, "problem") : clean(s.problem, 600)},
          {"before", duration(s.before)},
          {"after", duration(s.after)},
          {"ratio", ratio_text(s.change)},
          {"verdict", std::string(record::name_of(s.verdict))},
          {"tone", tone_of(s.verdict)}};
}

json accuracy_row(const accuracy_change& a) {
  return {{"subject", clean(a.subject, 300)},
          {"mark", a.peer ? "peer" : ""},
          {"place", clean(a.place, 600)},
          {"measure", a.measure},
          {"before", clean(a.before, 300)},
          {"after", clean(a.after, 300)},
          {"bits", bits_text(a)},
          {"verdict", a.worse ? "worse" : "better"},
          {"tone", a.worse ? "bad" : "good"}};
}

template <class List, class Row>
json rows(const List& list, Row row) {
  json result = json::array();
  for (std::size_t i = 0; i < std::min(list.size(), most_changes); ++i) result.push_back(row(list[i]));
  return result;
}

std::string left_out(std::size_t size) {
  return size > most_changes
             ? plural(static_cast<std::int64_t>(size - most_changes), "row") + " more, all less changed"
             : "";
}

/// Every timing as a dot with its interval, sorted: where the dots leave the band, something changed.
std::string chart_of(const comparison_of_runs& c, chart_book& charts) {
  json points = json::array();
  for (std::size_t i = 0; i < std::min(c.timings.size(), most_changes); ++i) {
    const speed_change& s = c.timings[i];
    points.push_back({{"kernel", clean(s.kernel, 300)},
                      {"problem", clean(s.problem, 300)},
                      {"ratio", json_number(s.change.ratio)},
                      {"low", json_number(s.change.low)},
                      {"high", json_number(s.change.high)},
                      {"verdict", std::string(record::name_of(s.verdict))}});
  }
  return points.empty() ? "" : charts.add("changes", {{"points", std::move(points)}, {"band", counts_from}});
}

json lines_of(const comparison_of_runs& c) {
  json lines = json::array();
  if (c.has_speed) {
    const auto ours = std::ranges::count(c.kernels, false, &speed_change::peer);
    lines.push_back(
        {{"text", plural(ours, "kernel") + " on " + plural(std::ssize(c.timings), "pair") +
                      " of timings compared: " + std::string(record::name_of(c.speed)) +
                      "; together they take " + ratio_text(c.all_of_ours) + " of the time before"},
         {"tone", tone_of(c.speed)}});
  }
  if (c.accuracies > 0) {
    const auto worse = std::ranges::count_if(c.accuracy, [](const auto& a) { return a.worse && !a.peer; });
    lines.push_back({{"text", plural(c.accuracies, "verdict or error", "verdicts and errors") +
                                  " compared, " + (worse == 0 ? "none" : count(worse)) + " worse"},
                     {"tone", worse > 0 ? "bad" : "good"}});
  }
  for (const std::string& note : c.notes) lines.push_back({{"text", note}, {"tone", "neutral"}});
  return lines;
}

json view_of(const comparison_of_runs& c, chart_book& charts) {
  json view = {{"title", "comparison"},
               {"headline", c.headline},
               {"tone", std::string(name_of(tone_of(c)))},
               {"lines", lines_of(c)},
               {"comparison", json::array()}};
  view["comparison"].push_back({{"kernels", rows(c.kernels, speed_row)},
                                {"timings", rows(c.timings, speed_row)},
                                {"accuracy", rows(c.accuracy, accuracy_row)},
                                {"more_timings", left_out(c.timings.size())},
                                {"more_accuracy", left_out(c.accuracy.size())},
                                {"chart", chart_of(c, charts)}});
  return view;
}

}  // namespace

std::string render_console(const comparison_of_runs& c, bool colour) {
  std::string text;
  std::vector<speed_change> notable;
  for (const speed_change& s : c.timings)
    if (s.verdict == comparison::slower || s.verdict == comparison::faster) notable.push_back(s);
  for (const accuracy_change& a : c.accuracy)
    text += fmt::format(
        "{} {:<32} {}: {} before, {} after{}{}\n",
        painted(a.worse ? "worse" : "better", a.worse ? "1;31" : "32", colour), clean(a.subject, 200),
        clean(a.place.empty() ? a.measure : a.place + ", " + a.measure, 300), clean(a.before, 200),
        clean(a.after, 200), a.bits != 0 ? ", " + bits_text(a) : "", a.peer ? "  (peer)" : "");
  print_speed(text, notable, colour);
  print_speed(text, c.kernels, colour);
  for (const std::string& note : c.notes) text += "note      " + note + "\n";
  const comparison all = c.regression() ? comparison::slower : c.speed;
  const std::string word = c.regression()
                               ? (c.has_speed && c.speed == comparison::slower ? "slower" : "worse")
                           : c.has_speed ? std::string(record::name_of(c.speed))
                                         : "same";
  if (c.has_speed)
    text += fmt::format("all       our kernels together take {} [{}, {}] of the time before\n",
                        times(c.all_of_ours.ratio), times(c.all_of_ours.low), times(c.all_of_ours.high));
  return text + painted(word, code_of(all), colour) + " " + c.headline + "\n";
}

std::string html(const comparison_of_runs& c, const record::run& before, const record::run& after) {
  chart_book charts;
  json view = view_of(c, charts);
  const std::array both = {before, after};
  add_provenance(both, view);
  view["provenance"][0]["command"] = "Before: " + view["provenance"][0]["command"].get<std::string>();
  view["provenance"][1]["command"] = "After: " + view["provenance"][1]["command"].get<std::string>();
  return page(view, charts);
}

std::string markdown(const comparison_of_runs& c) {
  chart_book charts;
  json view = view_of(c, charts);
  constexpr std::size_t most_bytes = 1 << 20;
  std::string text = render_template("comparison.md", view, escape_markdown);
  return text.size() <= most_bytes ? text : clean(text, most_bytes - 8);
}

std::string junit(const comparison_of_runs& c) {
  json cases = json::array();
  int failures = 0;
  const auto add = [&](const std::string& name, bool bad, const std::string& message) {
    json test = {{"class", "comparison"},    {"name", clean(name, 400)}, {"time", "0"},
                 {"failure", json::array()}, {"error", json::array()},   {"skip", json::array()}};
    if (bad)
      test["failure"].push_back({{"message", clean(message)}, {"type", "regression"}, {"body", ""}}),
          ++failures;
    cases.push_back(std::move(test));
  };
  for (const auto* list : {&c.kernels, &c.timings})
    for (const speed_change& s : *list)
      add(s.kernel + " speed" + (s.problem.empty() ? "" : " on " + s.problem),
          s.verdict == comparison::slower && !s.peer, "slower: " + ratio_text(s.change));
  for (const accuracy_change& a : c.accuracy)
    add(a.subject + " " + a.measure + " " + a.place, a.worse && !a.peer,
        a.before + " before, " + a.after + " after");
  if (cases.empty()) add("nothing in common", false, "");
  const json total = {{"name", "comparison"},
                      {"tests", std::to_string(cases.size())},
                      {"failures", std::to_string(failures)},
                      {"errors", "0"},
                      {"skipped", "0"},
                      {"time", "0"},
                      {"timestamp", ""},
                      {"cases", cases}};
  json view = total;
  view["name"] = "plumb";
  view["suites"] = json::array({total});
  return render_template("junit.xml", view, escape_xml);
}

void render_html(const comparison_of_runs& c, const record::run& before, const record::run& after,
                 const std::filesystem::path& path) {
  write_file(path, html(c, before, after));
}
void render_markdown(const comparison_of_runs& c, const std::filesystem::path& path) {
  write_file(path, markdown(c));
}
void render_junit(const comparison_of_runs& c, const std::filesystem::path& path) {
  write_file(path, junit(c));
}

}  // namespace plumb::reports
