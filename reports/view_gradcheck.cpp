// The gradient section: for each layer the table of agreement, the V-curve of error against step size, the
// Jacobian as an image, and the kernels' backward passes beside the reference.
#include <algorithm>
#include <cmath>
#include <limits>

#include "reports/growth.hpp"
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

/// The slopes that the curve really has on either side of its best step, beside those that theory expects.
json slope_rows(const record::layer_check& layer, const std::string& derivative) {
  json rows = json::array();
  for (const record::v_curve& curve : layer.curves) {
    if (curve.derivative != derivative) continue;
    std::vector<std::pair<double, double>> points;
    double exact_at = 0;  // the largest step at which the difference is exact
    for (std::size_t i = 0; i < curve.step.size(); ++i) {
      if (curve.error[i] == 0) exact_at = std::max(exact_at, curve.step[i]);
      if (curve.step[i] > 0 && curve.error[i] > 0 && std::isfinite(curve.error[i]))
        points.emplace_back(curve.step[i], curve.error[i]);
    }
    std::ranges::sort(points);
    const auto best = std::ranges::min_element(points, {}, &std::pair<double, double>::second);
    const auto slope = [&](auto from, auto to) -> std::string {
      std::vector<double> x, y;
      for (auto p = from; p != to; ++p) x.push_back(p->first), y.push_back(p->second);
      return x.size() < 3 ? "–" : number(log_log_slope(x, y), 2);
    };
    const bool any = best != points.end();
    rows.push_back({{"scalar", clean(curve.scalar, 40)},
                    {"step", exact_at > 0 ? number(exact_at)
                             : any        ? number(best->first)
                                          : "–"},
                    {"error", exact_at > 0 ? "0, exact"
                              : any        ? number(best->second)
                                           : "–"},
                    {"rounding", slope(points.begin(), any ? std::next(best) : best)},
                    {"rounding_expected", number(curve.rounding_slope)},
                    {"truncation", slope(best, points.end())},
                    {"truncation_expected", number(curve.truncation_slope)}});
  }
  return rows;
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
    list.push_back({{"derivative", clean(derivative, 60)},
                    {"curve", curve},
                    {"slopes", slope_rows(layer, derivative)},
                    {"jacobians", std::move(jacobians)}});
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
                {"power", k.detection_power ? number(*k.detection_power) : "–"},
                {"ulps", number(k.worst_ulps)},
                {"worst", json::array()},
                {"heat", json::array()},
                {"histogram", k.ulps && !k.ulps->counts.empty() ? ulp_chart(charts, *k.ulps) : ""}});
    if (k.heat) row["heat"] = heat_figure(*k.heat, charts);
    for (std::size_t i = 0; i < std::min<std::size_t>(k.worst.size(), 10); ++i) {
      row["worst"].push_back(element_row(k.worst[i]));
    }
    row["has_evidence"] = !k.worst.empty() || !row["heat"].empty() || row["histogram"] != "";
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Why the verdict is what it is, in one sentence: what agreed with what, how well, and what was left out.
std::string why(const record::layer_check& layer) {
  if (layer.verdict != record::verdict::pass || layer.agreements.empty()) return clean(layer.reason);
  std::int64_t compared = 0;
  double digits = std::numeric_limits<double>::infinity();
  bool exact = true;
  for (const record::agreement& a : layer.agreements) {
    compared = std::max(compared, a.compared);
    exact = exact && a.exact;
    if (!a.exact) digits = std::min(digits, a.digits);
  }
  std::string text = plural(std::ssize(layer.agreements), "pair") + " of definitions agree " +
                     (exact ? "exactly" : "to at least " + number(std::floor(digits)) + " digits") +
                     " on up to " + plural(compared, "derivative");
  const std::string& scalar = layer.agreements.front().scalar;
  if (std::ranges::all_of(layer.agreements, [&](const auto& a) { return a.scalar == scalar; }))
    text += ", in " + clean(scalar, 40) + " arithmetic";
  if (layer.kinks_excluded > 0)
    text += "; " + plural(layer.kinks_excluded, "coordinate") + " on a kink left out";
  std::int64_t good = 0;
  for (const record::kernel_gradient& k : layer.kernels) good += k.verdict == record::verdict::pass ? 1 : 0;
  if (!layer.kernels.empty())
    text += "; " + count(good) + " of " + plural(std::ssize(layer.kernels), "kernel") + " within the bound";
  return text;
}

/// `x [n=0 c=1 h=2 w=3], …`
json kink_list(const record::layer_check& layer) {
  constexpr std::size_t most = 60;
  json list = json::array();
  for (std::size_t i = 0; i < std::min(layer.kinks.size(), most); ++i)
    list.push_back(
        {{"at", clean(layer.kinks[i].tensor, 40) + "[" + coordinates(layer.kinks[i].coordinates) + "]"}});
  return list;
}

std::string cost_text(const record::layer_check& layer) {
  if (!layer.cost) return {};
  const record::jacobian_cost& c = *layer.cost;
  return "the explicit Jacobian, " + extents({c.outputs, c.inputs}) + " with " +
         plural(c.entries, "entry", "entries") + ", takes " + duration(c.explicit_seconds) +
         "; one implicit product " + duration(c.implicit_seconds);
}

/// What the explicit Jacobian costs beside one product with it, over all layers of the runs.
std::string cost_chart(const std::vector<const record::layer_check*>& layers, chart_book& charts) {
  json points = json::array();
  for (const record::layer_check* l : layers)
    if (l->cost && l->cost->explicit_seconds > 0 && l->cost->implicit_seconds > 0)
      points.push_back({{"problem", clean(l->problem, 300)},
                        {"size", l->cost->inputs * l->cost->outputs},
                        {"explicit", json_number(l->cost->explicit_seconds)},
                        {"implicit", json_number(l->cost->implicit_seconds)}});
  return points.size() < 2 ? "" : charts.add("cost", {{"points", std::move(points)}});
}

json layer_card(const record::layer_check& layer, std::size_t at, chart_book& charts) {
  json card = verdict_cell(layer.verdict);
  card.update({{"layer", clean(layer.layer, 60)},
               {"problem", clean(layer.problem, 600)},
               {"id", "layer" + std::to_string(at)},
               {"reason", why(layer)},
               {"cost", cost_text(layer)},
               {"kink_list", kink_list(layer)},
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
  constexpr std::size_t most_layers = 300;
  view["cut_layers"] = layers.size() > most_layers
                           ? plural(std::ssize(layers) - static_cast<std::int64_t>(most_layers), "check") +
                                 " more in the record, none of them worse than those shown"
                           : "";
  view["layers"] = json::array();
  for (std::size_t at = 0; at < std::min(layers.size(), most_layers); ++at) {
    view["layers"].push_back(layer_card(*layers[at], at, charts));
    if (record::is_bad(layers[at]->verdict)) view["failures"].push_back(failure_card(*layers[at], at));
  }
  view["cost"] = cost_chart(layers, charts);
  view["has_layers"] = !layers.empty();
}

}  // namespace plumb::reports
