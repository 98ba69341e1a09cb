// The view: everything a page shows, as JSON, made from records and ready for the templates and the charts.
// Text is cleaned here once; escaping is the output format's business.
#pragma once

#include <span>
#include <string>

#include "reports/text.hpp"

namespace plumb::reports {

/// Data of the charts, by the id of the figure they are drawn in: `add` returns that id.
class chart_book {
 public:
  std::string add(const char* kind, json data);
  const json& all() const { return charts_; }

 private:
  json charts_ = json::object();
};

/// Keys common to kernels wherever they appear.
json verdict_cell(record::verdict v);
/// A worst element as a row of a table.
json element_row(const record::element& e, const std::string& origin = "built in");
/// The heat map as a list of one figure, or of none.
json heat_figure(const record::heat_map& map, chart_book& charts);
std::string ulp_chart(chart_book& charts, const record::ulp_histogram& histogram);

void view_verify(std::span<const record::run> runs, chart_book& charts, json& view);
void view_gradcheck(std::span<const record::run> runs, chart_book& charts, json& view);
void view_bench(std::span<const record::run> runs, chart_book& charts, json& view);
void view_audit(std::span<const record::run> runs, json& view);
void view_fingerprint(std::span<const record::run> runs, chart_book& charts, json& view);
void view_sweep(std::span<const record::run> runs, chart_book& charts, json& view);

/// Keys: date, machine, provenance.
void add_provenance(std::span<const record::run> runs, json& view);

/// Keys: headline, tone, lines, stats, the sections' keys, provenance.
json make_view(std::span<const record::run> runs, chart_book& charts);

}  // namespace plumb::reports
