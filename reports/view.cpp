// The frame of the page: headline, numbers of the whole run, provenance; the sections add themselves.
#include "reports/view.hpp"

#include <cmath>

#include "reports/summary.hpp"

namespace plumb::reports {

std::string chart_book::add(const char* kind, json data) {
  std::string id = "chart" + std::to_string(charts_.size() + 1);
  data["kind"] = kind;
  charts_[id] = std::move(data);
  return id;
}

json verdict_cell(record::verdict v) {
  return {{"verdict", std::string(record::name_of(v))}, {"tone", std::string(name_of(tone_of(v)))}};
}

json element_row(const record::element& e, const std::string& origin) {
  const auto share_of = [&](double bound) { return bound > 0 ? number(std::abs(e.error) / bound) : "–"; };
  return {{"at", clean(e.tensor, 40) + " [" + coordinates(e.coordinates) + "]"},
          {"got", number(e.got, 9)},
          {"truth", number(e.truth, 9)},
          {"error", number(e.error)},
          {"ulps", number(e.ulps)},
          {"statistical", share_of(e.statistical_bound)},
          {"proven", share_of(e.proven_bound)},
          {"regime", clean(e.regime, 60)},
          {"problem", clean(e.problem, 600)},
          {"replay", replay_command(e.replay, origin)}};
}

namespace {

std::string heat_chart(chart_book& charts, const record::heat_map& map) {
  json tiles = json::array();
  for (const record::heat_tile& tile : map.tiles) {
    tiles.push_back({{"label", clean(tile.label, 60)},
                     {"rows", tile.rows},
                     {"cols", tile.cols},
                     {"share", json_numbers(tile.share, 3)},
                     {"got", json_numbers(tile.got, 9)},
                     {"truth", json_numbers(tile.truth, 9)},
                     {"ulps", json_numbers(tile.ulps, 3)},
                     {"at", tile.at}});
  }
  json axes = json::array();
  for (const std::string& axis : map.axes) axes.push_back(clean(axis, 20));
  return charts.add("heat", {{"tiles", std::move(tiles)},
                             {"tensor", clean(map.tensor, 40)},
                             {"bound", clean(map.bound, 40)},
                             {"shape", map.shape},
                             {"axes", std::move(axes)}});
}

}  // namespace

json heat_figure(const record::heat_map& map, chart_book& charts) {
  json list = json::array();
  if (map.tiles.empty()) return list;
  std::string unit = "in units of the " + clean(map.bound, 40) + " bound";
  if (map.bound == "ulp") unit = "where every bit had to match";
  std::string note;
  if (map.tiles_left_out > 0) note += "; " + plural(map.tiles_left_out, "channel") + " not shown";
  if (map.row_step > 1 || map.col_step > 1)
    note += "; each cell is the worst of " + extents({map.row_step, map.col_step}) + " elements";
  list.push_back({{"chart", heat_chart(charts, map)},
                  {"tensor", clean(map.tensor, 40)},
                  {"problem", clean(map.problem, 600)},
                  {"regime", clean(map.regime, 60)},
                  {"unit", unit},
                  {"note", note}});
  return list;
}

std::string ulp_chart(chart_book& charts, const record::ulp_histogram& histogram) {
  return charts.add("ulps", {{"edges", json_numbers(histogram.edges)},
                             {"counts", histogram.counts},
                             {"naive", histogram.naive_counts}});
}

namespace {

void add_row(json& rows, const char* label, std::string value) {
  if (!value.empty()) rows.push_back({{"label", label}, {"value", std::move(value)}});
}

json provenance_rows(const record::run& r) {
  const record::provenance& p = r.provenance;
  json rows = json::array();
  add_row(rows, "Command", clean(p.command_line));
  add_row(rows, "Date", clean(p.date, 60));
  const std::string revision = clean(p.git_revision, 80);
  add_row(rows, "Plumb", clean(p.plumb_version, 60) + (revision.empty() ? "" : " (" + revision + ")"));
  add_row(rows, "Seed", std::to_string(p.seed));
  add_row(rows, "Processor", clean(p.cpu, 200) + ", " + plural(p.cores, "core"));
  add_row(rows, "Instruction sets", clean(p.isa, 400));
  add_row(rows, "GPU", clean(p.gpu, 200));
  add_row(rows, "System", clean(p.os, 200));
  add_row(rows, "Compiler", clean(p.compiler, 200));
  add_row(rows, "Flags", clean(p.flags, 1000));
  std::string libraries;
  for (const record::library& l : p.libraries) {
    libraries += (libraries.empty() ? "" : ", ") + clean(l.name, 60) + " " + clean(l.version, 60);
  }
  add_row(rows, "Libraries", libraries);
  add_row(rows, "Record", "schema " + std::to_string(r.schema));
  return rows;
}

void add_stat(json& stats, std::string value, const char* label) {
  stats.push_back({{"value", std::move(value)}, {"label", label}});
}

json run_stats(const summary& s) {
  json stats = json::array();
  if (s.cases > 0) {
    add_stat(stats, count(s.cases), s.cases == 1 ? "case" : "cases");
    if (s.calls > 0) add_stat(stats, count(s.calls), s.calls == 1 ? "kernel call" : "kernel calls");
    add_stat(stats, duration(s.seconds), "run time");
    if (s.seconds > 0 && s.calls > 0) {
      add_stat(stats, count(std::llround(static_cast<double>(s.cases) / s.seconds)), "cases / s");
      add_stat(stats, count(std::llround(static_cast<double>(s.calls) / s.seconds)), "calls / s");
    }
  }
  if (s.derivatives > 0) add_stat(stats, count(s.derivatives), "derivatives compared");
  if (s.kinks > 0) add_stat(stats, count(s.kinks), "kinks excluded");
  return stats;
}

std::string title_of(std::span<const record::run> runs) {
  std::string title;
  for (const record::run& r : runs) title += (title.empty() ? "" : " + ") + clean(r.command, 60);
  return title.size() > 120 ? plural(std::ssize(runs), "run") : title;
}

}  // namespace

void add_provenance(std::span<const record::run> runs, json& view) {
  view["provenance"] = json::array();
  for (const record::run& r : runs)
    view["provenance"].push_back({{"command", clean(r.command, 60)}, {"rows", provenance_rows(r)}});
  if (runs.empty()) return;
  view["date"] = clean(runs.back().provenance.date, 60);
  view["machine"] = clean(runs.back().provenance.cpu, 200);
}

json make_view(std::span<const record::run> runs, chart_book& charts) {
  const summary s = summarize(runs);
  json view = {{"title", title_of(runs)},
               {"headline", s.headline.text},
               {"tone", std::string(name_of(s.headline.tone))},
               {"lines", json::array()},
               {"stats", run_stats(s)}};
  for (const sentence& line : s.lines) {
    view["lines"].push_back({{"text", line.text}, {"tone", std::string(name_of(line.tone))}});
  }
  add_provenance(runs, view);
  view_verify(runs, charts, view);
  view_gradcheck(runs, charts, view);
  view_bench(runs, charts, view);
  view_audit(runs, view);
  view_fingerprint(runs, charts, view);
  view_sweep(runs, charts, view);
  return view;
}

}  // namespace plumb::reports
