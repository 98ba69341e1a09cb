// The speed section: totals a problem set, a table of problems × kernels, bars, the roofline, and speed
// against accuracy. A kernel without a number keeps its place and shows the reason.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "reports/growth.hpp"
#include "reports/summary.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

namespace {

using record::timing;

// Bars for more problems would be a chart nobody scrolls through; the table has them all.
constexpr std::size_t most_bars = 40;
// More rows make a browser slow; the record has them all.
constexpr std::size_t most_timings = 2000;
constexpr std::size_t most_points = 5000;

const char* tone_of(record::comparison c) {
  if (c == record::comparison::faster) return "good";
  if (c == record::comparison::slower) return "bad";
  return c == record::comparison::ambiguous ? "unsure" : "neutral";
}

std::string ratio_text(const record::time_ratio& r) {
  return number(r.value) + "× [" + number(r.low) + ", " + number(r.high) + "]";
}

/// A kernel as it is told apart here: its name, and its layout unless that is the usual one.
std::string label(const timing& t) {
  return t.layout.empty() || t.layout == "nchw" ? t.kernel : t.kernel + " " + t.layout;
}
const std::string& problem_of(const timing& t) { return t.problem; }

/// Values of `key` in the order of first appearance.
template <class Key>
std::vector<std::string> distinct(const std::vector<const timing*>& timings, Key key) {
  std::vector<std::string> found;
  std::set<std::string> seen;
  for (const timing* t : timings) {
    if (seen.insert(key(*t)).second) found.push_back(key(*t));
  }
  return found;
}

/// `conv2d.forward` of `conv2d.forward/direct@avx3`: implementations with the same stem do the same job.
std::string stem(const std::string& kernel) { return kernel.substr(0, kernel.find('/')); }

/// The rest: `direct@avx3`.
std::string algorithm(const std::string& kernel) { return kernel.substr(kernel.find('/') + 1); }

std::string no_number(const timing& t) {
  return t.reason.empty() ? std::string(record::name_of(t.verdict)) : clean(t.reason);
}

json timing_cell(const timing* t) {
  json cell = {{"text", ""}, {"ratio", ""}, {"tone", "none"}, {"title", ""}, {"why", ""}};
  if (t == nullptr) return cell;
  if (!t->measurement) {
    cell["text"] = "no number";
    cell["tone"] = "refused";
    cell["why"] = no_number(*t);
    cell["title"] = cell["why"];
    return cell;
  }
  const record::measurement& m = *t->measurement;
  cell["text"] = number(m.gflops) + " GFLOP/s";
  cell["tone"] = "neutral";
  std::string title = duration(m.seconds) + " [" + duration(m.low) + ", " + duration(m.high) + "], " +
                      plural(std::ssize(m.samples), "sample") + ", " + number(m.gbytes) + " GB/s, " +
                      number(100 * m.roof_share) + " % of the roof";
  if (t->cold) title += "; cold caches: " + duration(t->cold->seconds);
  if (t->prepare_seconds && *t->prepare_seconds > 0)
    title += "; plan and weights, once: " + duration(*t->prepare_seconds);
  if (!t->implementation.empty()) title += ", " + clean(t->implementation, 100);
  if (m.ratio) {
    cell["ratio"] = number(m.ratio->value) + "×";
    cell["tone"] = tone_of(m.ratio->comparison);
    title += "; " + ratio_text(*m.ratio) + " of " + clean(m.ratio->against, 300) + ": " +
             std::string(record::name_of(m.ratio->comparison));
  }
  cell["title"] = title;
  return cell;
}

json bar(const timing* t, const json& cell) {
  if (t == nullptr) return {{"why", ""}};
  if (!t->measurement) return {{"why", no_number(*t)}};
  const record::measurement& m = *t->measurement;
  const auto speed = [&](double seconds) { return json_number(m.flops / seconds * 1e-9); };
  return {{"gflops", json_number(m.gflops)},
          {"low", speed(m.high)},
          {"high", speed(m.low)},
          {"title", cell["title"]},
          {"ratio", cell["ratio"]}};
}

std::string mark_of(bool peer, bool baseline) {
  return peer && baseline ? "peer, baseline" : peer ? "peer" : baseline ? "baseline" : "";
}

/// One set of problems (and one job): the table and the bars.
json set_card(const std::string& set, const std::string& job, const std::vector<const timing*>& timings,
              chart_book& charts) {
  const std::vector<std::string> kernels = distinct(timings, label);
  const std::vector<std::string> problems = distinct(timings, problem_of);
  std::map<std::pair<std::string, std::string>, const timing*> cell_of;
  for (const timing* t : timings) cell_of.emplace(std::pair(t->problem, label(*t)), t);
  json heads = json::array();
  for (const std::string& kernel : kernels) {
    const timing& t =
        **std::ranges::find_if(timings, [&](const timing* each) { return label(*each) == kernel; });
    heads.push_back({{"name", clean(algorithm(kernel), 300)}, {"mark", mark_of(t.peer, t.baseline)}});
  }
  json rows = json::array();
  json bars = {{"problems", json::array()}, {"kernels", heads}, {"bars", json::array()}};
  for (const std::string& problem : problems) {
    if (rows.size() == most_timings) break;
    json cells = json::array();
    json group = json::array();
    for (const std::string& kernel : kernels) {
      const auto at = cell_of.find({problem, kernel});
      const timing* t = at == cell_of.end() ? nullptr : at->second;
      cells.push_back(timing_cell(t));
      group.push_back(bar(t, cells.back()));
    }
    rows.push_back({{"problem", clean(problem, 600)}, {"cells", std::move(cells)}});
    if (rows.size() > most_bars) continue;
    bars["problems"].push_back(clean(problem, 200));
    bars["bars"].push_back(std::move(group));
  }
  const bool cut = problems.size() > most_bars;
  return {{"set", clean(set, 200)},
          {"job", clean(job, 200)},
          {"count", plural(std::ssize(problems), "problem")},
          {"cut", cut ? "; the first " + std::to_string(most_bars) + ", the table has all" : ""},
          {"kernels", std::move(heads)},
          {"rows", std::move(rows)},
          {"more", problems.size() > most_timings
                       ? plural(std::ssize(problems) - static_cast<std::int64_t>(most_timings), "problem") +
                             " more in the record"
                       : ""},
          {"chart", charts.add("bars", std::move(bars))}};
}

/// Whole sets first, the fastest on top: the sum of a kernel that ran a part of its set is that of fewer problems.
json total_rows(const record::bench_section& bench) {
  const whole_sets whole(bench);
  std::vector<record::set_total> totals = bench.sets;
  std::ranges::stable_sort(totals, {},
                           [&](const auto& t) { return std::tuple(t.set, !whole.ran_by(t), t.seconds); });
  std::set<std::string> baselines = {bench.baseline};
  for (const timing& t : bench.timings) {
    if (t.baseline) baselines.insert(t.kernel);
  }
  json rows = json::array();
  for (const record::set_total& total : totals) {
    json row = {{"set", clean(total.set, 200)},
                {"kernel", clean(total.kernel, 300)},
                {"mark", mark_of(total.peer, baselines.contains(total.kernel))},
                {"problems",
                 count(total.problems) + (whole.ran_by(total) ? "" : " of " + count(whole.problems(total)))},
                {"seconds", duration(total.seconds)},
                {"ratio", ""},
                {"against", ""},
                {"comparison", ""},
                {"tone", "neutral"}};
    if (total.ratio) {
      row["ratio"] = ratio_text(*total.ratio);
      row["against"] = clean(total.ratio->against, 300);
      row["comparison"] = std::string(record::name_of(total.ratio->comparison));
      row["tone"] = tone_of(total.ratio->comparison);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string partial_note(const record::bench_section& bench) {
  const whole_sets whole(bench);
  const auto parts =
      std::ranges::count_if(bench.sets, [&](const record::set_total& t) { return !whole.ran_by(t); });
  return parts == 0 ? ""
                    : plural(parts, "total") +
                          " of fewer problems, at the end: declined, not verified there, or out of time";
}

json roofline(const record::bench_section& bench, chart_book& charts) {
  json list = json::array();
  if (!(bench.roof.peak_gflops > 0) || !(bench.roof.peak_gbytes > 0)) return list;
  json points = json::array();
  for (const timing& t : bench.timings) {
    if (!t.measurement || !(t.measurement->bytes > 0) || !(t.measurement->gflops > 0)) continue;
    if (points.size() == most_points) break;
    const record::measurement& m = *t.measurement;
    points.push_back({{"kernel", clean(label(t), 300)},
                      {"peer", t.peer},
                      {"problem", clean(t.problem, 300)},
                      {"intensity", json_number(m.flops / m.bytes)},
                      {"gflops", json_number(m.gflops)},
                      {"share", json_number(m.roof_share)}});
  }
  if (points.empty()) return list;
  list.push_back({{"chart", charts.add("roofline", {{"points", std::move(points)},
                                                    {"gflops", json_number(bench.roof.peak_gflops)},
                                                    {"gbytes", json_number(bench.roof.peak_gbytes)}})},
                  {"gflops", number(bench.roof.peak_gflops)},
                  {"gbytes", number(bench.roof.peak_gbytes)}});
  return list;
}

/// Speed against accuracy: every implementation of one job as a point, geometric-mean GFLOP/s over the
/// problems it has a number for, and its worst error on them.
json pareto(const std::string& job, const std::vector<const timing*>& timings, chart_book& charts) {
  json points = json::array();
  for (const std::string& kernel : distinct(timings, label)) {
    double log_sum = 0;
    double worst = 0;
    int timed = 0;
    bool peer = false;
    for (const timing* t : timings) {
      if (label(*t) != kernel || !t->measurement || !t->worst_ulps || !(t->measurement->gflops > 0)) continue;
      log_sum += std::log(t->measurement->gflops);
      worst = std::max(worst, *t->worst_ulps);
      peer = t->peer;
      ++timed;
    }
    if (timed == 0) continue;
    points.push_back({{"kernel", clean(kernel, 300)},
                      {"peer", peer},
                      {"gflops", json_number(std::exp(log_sum / timed))},
                      {"ulps", json_number(worst)},
                      {"problems", timed}});
  }
  json list = json::array();
  if (points.size() > 1) {
    list.push_back(
        {{"chart", charts.add("pareto", {{"points", std::move(points)}})}, {"job", clean(job, 200)}});
  }
  return list;
}

/// Cold against hot: how many times as long the first call takes whose data lie in no cache.
json cold_figure(const std::string& job, const std::vector<const timing*>& timings, chart_book& charts) {
  json points = json::array();
  for (const timing* t : timings) {
    if (!t->measurement || !t->cold || !(t->measurement->seconds > 0) || points.size() == most_points)
      continue;
    points.push_back({{"kernel", clean(label(*t), 300)},
                      {"peer", t->peer},
                      {"problem", clean(t->problem, 300)},
                      {"hot", json_number(t->measurement->seconds)},
                      {"cold", json_number(t->cold->seconds)}});
  }
  json list = json::array();
  if (points.size() > 1)
    list.push_back(
        {{"chart", charts.add("cold", {{"points", std::move(points)}})}, {"job", clean(job, 200)}});
  return list;
}

/// One log-log plot a quantity that some problems vary alone, with the exponents.
json growth_figures(const std::string& job, const std::vector<const timing*>& timings, chart_book& charts) {
  constexpr std::size_t most_figures = 12;
  json list = json::array();
  for (const growth_family& family : find_growth(timings)) {
    json series = json::array();
    for (const growth_series& s : family.series)
      series.push_back({{"name", clean(s.kernel, 300)},
                        {"x", json_numbers(s.x)},
                        {"y", json_numbers(s.seconds)},
                        {"exponent", json_number(s.exponent)}});
    std::string work;
    if (family.work > 0) work = "; the operations grow with exponent " + number(family.work, 2);
    list.push_back({{"chart", charts.add("growth", {{"series", std::move(series)},
                                                    {"quantity", clean(family.quantity, 40)}})},
                    {"quantity", clean(family.quantity, 40)},
                    {"problems", clean(family.problems, 400)},
                    {"work", work},
                    {"job", clean(job, 200)}});
    if (list.size() == most_figures) break;
  }
  return list;
}

/// Keys: oracle, oracle_more, oracle_chart.
void add_oracle(const std::vector<record::oracle_timing>& all, chart_book& charts, json& card) {
  json rows = json::array(), points = json::array();
  for (const record::oracle_timing& o : all) {
    if (rows.size() == most_timings) break;
    json row = verdict_cell(o.verdict);
    row.update(
        {{"problem", clean(o.problem, 600)},
         {"kernel", clean(o.kernel, 300)},
         {"reason", clean(o.reason)},
         {"certified", count(o.certified) + (o.certified < o.elements ? " of " + count(o.elements) : "")},
         {"terms", count(o.terms)},
         {"worst", number(o.worst_proven)},
         {"seconds", duration(o.seconds)},
         {"gemm", duration(o.gemm_seconds) + " (" + number(o.gemm_gflops) + " GFLOP/s)"},
         {"ratio", number(o.ratio) + "×"}});
    rows.push_back(std::move(row));
    points.push_back({{"problem", clean(o.problem, 300)},
                      {"set", clean(o.set, 100)},
                      {"oracle", json_number(o.seconds)},
                      {"gemm", json_number(o.gemm_seconds)}});
  }
  card["oracle_more"] = all.size() > rows.size()
                            ? plural(std::ssize(all) - std::ssize(rows), "problem") + " more in the record"
                            : "";
  card["oracle_chart"] = points.empty() ? "" : charts.add("oracle", {{"points", std::move(points)}});
  card["oracle"] = std::move(rows);
}

json bench_card(const record::bench_section& bench, chart_book& charts) {
  std::vector<const timing*> all;
  for (const timing& t : bench.timings) all.push_back(&t);
  std::vector<std::pair<std::string, std::string>> groups;  // set, job
  std::vector<std::string> jobs;
  for (const timing* t : all) {
    const std::pair group{t->set, stem(t->kernel)};
    if (std::ranges::find(groups, group) == groups.end()) groups.push_back(group);
    if (std::ranges::find(jobs, group.second) == jobs.end()) jobs.push_back(group.second);
  }
  json card = {{"baseline", clean(bench.baseline, 300)},
               {"threads", plural(bench.threads, "thread")},
               {"totals", total_rows(bench)},
               {"partial", partial_note(bench)},
               {"sets", json::array()},
               {"pareto", json::array()},
               {"cold", json::array()},
               {"growth", json::array()},
               {"roofline", roofline(bench, charts)}};
  add_oracle(bench.oracle, charts, card);
  for (const auto& [set, job] : groups) {
    std::vector<const timing*> part;
    std::ranges::copy_if(all, std::back_inserter(part), [&, set = set, job = job](const timing* t) {
      return t->set == set && stem(t->kernel) == job;
    });
    card["sets"].push_back(set_card(set, job, part, charts));
  }
  for (const std::string& job : jobs) {
    std::vector<const timing*> part;
    std::ranges::copy_if(all, std::back_inserter(part),
                         [&](const timing* t) { return stem(t->kernel) == job; });
    for (json& chart : pareto(job, part, charts)) card["pareto"].push_back(chart);
    for (json& chart : cold_figure(job, part, charts)) card["cold"].push_back(chart);
    for (json& chart : growth_figures(job, part, charts)) card["growth"].push_back(chart);
  }
  return card;
}

}  // namespace

void view_bench(std::span<const record::run> runs, chart_book& charts, json& view) {
  view["bench"] = json::array();
  for (const record::run& r : runs) {
    if (r.bench) view["bench"].push_back(bench_card(*r.bench, charts));
  }
  view["has_bench"] = !view["bench"].empty();
}

}  // namespace plumb::reports
