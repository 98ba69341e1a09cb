// The gradient section: for each layer the table of agreement, the V-curve of error against step size, the
// Jacobian as an image, and the kernels' backward passes beside the reference.
#include <algorithm>
#include <cmath>

#include "reports/view.hpp"

namespace plumb::reports {

namespace {

std::string digits_of(const record::agreement& a) {
  if (a.exact) return "exact";
  return number(std::floor(a.digits)) + " digits";
}

json agreement_rows(const record::layer_check& layer) {
  json rows = json::array();
  for (const record::agreement& a : layer.agreements) {
    json row = verdict_cell(a.verdict);
    row.update({{"first", clean(a.first, 60)},
                {"second", clean(a.second, 60)},
                {"derivative", clean(a.derivative, 60)},
                {"scalar", clean(a.scalar, 60)},
                {"compared", count(a.compared)},
                {"difference", a.exact ? "0" : number(a.max_difference)},
                {"digits", digits_of(a)},
                {"reason", clean(a.reason)}});
    rows.push_back(std::move(row));
  }
  return rows;
}

/// The V-curves of one derivative, one a scalar type, as one chart; empty if there are none.
std::string curve_chart(const record::layer_check& layer, const std::string& derivative, chart_book& charts) {
  json curves = json::array();
  for (const record::v_curve& curve : layer.curves) {
    if (curve.derivative != derivative) continue;
    curves.push_back({{"scalar", clean(curve.scalar, 40)},
                      {"step", json_numbers(curve.step)},
                      {"error", json_numbers(curve.error)},
                      {"truncation", json_number(curve.truncation_slope)},
                      {"rounding", json_number(curve.rounding_slope)}});
  }
  return curves.empty() ? "" : charts.add("v", {{"curves", std::move(curves)}});
}

json jacobian_chart(const record::jacobian_image& image, chart_book& charts) {
  const std::string id = charts.add("jacobian", {{"rows", image.rows},
                                                 {"cols", image.cols},
                                                 {"explicit", json_numbers(image.explicit_values)},
                                                 {"numeric", json_numbers(image.numeric_values)}});
  std::string size = extents({image.full_rows, image.full_cols}) + ", " +
                     plural(image.nonzeros, "entry", "entries") + " not zero";
  if (image.rows != image.full_rows || image.cols != image.full_cols) {
    size += "; the upper left " + extents({image.rows, image.cols}) + " is shown";
  }
  return {{"chart", id}, {"size", size}};
}

/// Derivative by derivative: its V-curves, then its Jacobians.
json pictures(const record::layer_check& layer, chart_book& charts) {
  std::vector<std::string> derivatives;
  const auto note = [&](const std::string& name) {
    if (std::ranges::find(derivatives, name) == derivatives.end()) derivatives.push_back(name);
  };
  for (const record::v_curve& curve : layer.curves) note(curve.derivative);
  for (const record::jacobian_image& image : layer.jacobians) note(image.derivative);
  json list = json::array();
  for (const std::string& derivative : derivatives) {
    json jacobians = json::array();
    const std::string curve = curve_chart(layer, derivative, charts);
    for (const record::jacobian_image& image : layer.jacobians) {
      if (image.derivative == derivative) jacobians.push_back(jacobian_chart(image, charts));
    }
    list.push_back(
        {{"derivative", clean(derivative, 60)}, {"curve", curve}, {"jacobians", std::move(jacobians)}});
  }
  return list;
}

json kernel_rows(const record::layer_check& layer, chart_book& charts) {
  json rows = json::array();
  for (const record::kernel_gradient& k : layer.kernels) {
    json row = verdict_cell(k.verdict);
    row.update({{"kernel", clean(k.kernel, 300)},
                {"pass", clean(k.pass, 60)},
                {"mark", k.peer ? "peer" : ""},
                {"reason", clean(k.reason)},
                {"proven", share(k.worst_proven)},
                {"ulps", number(k.worst_ulps)},
                {"worst", json::array()},
                {"heat", k.heat && !k.heat->tiles.empty() ? heat_chart(charts, *k.heat) : ""},
                {"histogram", k.ulps && !k.ulps->counts.empty() ? ulp_chart(charts, *k.ulps) : ""}});
    for (std::size_t i = 0; i < std::min<std::size_t>(k.worst.size(), 10); ++i) {
      row["worst"].push_back(element_row(k.worst[i]));
    }
    row["has_evidence"] = !k.worst.empty() || row["heat"] != "" || row["histogram"] != "";
    rows.push_back(std::move(row));
  }
  return rows;
}

json layer_card(const record::layer_check& layer, std::size_t at, chart_book& charts) {
  json card = verdict_cell(layer.verdict);
  card.update({{"layer", clean(layer.layer, 60)},
               {"problem", clean(layer.problem, 600)},
               {"id", "layer" + std::to_string(at)},
               {"reason", clean(layer.reason)},
               {"points", plural(layer.points, "point")},
               {"kinks", layer.kinks_excluded > 0 ? plural(layer.kinks_excluded, "kink") + " excluded" : ""},
               {"seconds", duration(layer.seconds)},
               {"agreements", agreement_rows(layer)},
               {"has_derivatives",
                std::ranges::any_of(layer.agreements, [](const auto& a) { return !a.derivative.empty(); })},
               {"pictures", pictures(layer, charts)},
               {"kernel_rows", kernel_rows(layer, charts)}});
  return card;
}

/// The entry among the failures: the evidence is in the layer's own card.
json failure_card(const record::layer_check& layer, std::size_t at) {
  json card = verdict_cell(layer.verdict);
  card.update({{"kernel", "gradient of " + clean(layer.problem, 600)},
               {"id", "layer" + std::to_string(at)},
               {"reason", clean(layer.reason)},
               {"origin", ""},
               {"peer", false},
               {"planted", false},
               {"more", ""},
               {"heat", json::array()},
               {"counterexamples", json::array()}});
  return card;
}

}  // namespace

void view_gradcheck(std::span<const record::run> runs, chart_book& charts, json& view) {
  std::vector<const record::layer_check*> layers;
  for (const record::run& r : runs) {
    if (!r.gradcheck) continue;
    for (const record::layer_check& layer : r.gradcheck->layers) layers.push_back(&layer);
  }
  std::ranges::stable_sort(layers, {},
                           [](const auto* layer) { return record::is_bad(layer->verdict) ? 0 : 1; });
  view["layers"] = json::array();
  for (std::size_t at = 0; at < layers.size(); ++at) {
    view["layers"].push_back(layer_card(*layers[at], at, charts));
    if (record::is_bad(layers[at]->verdict)) view["failures"].push_back(failure_card(*layers[at], at));
  }
  view["has_layers"] = !layers.empty();
}

}  // namespace plumb::reports
