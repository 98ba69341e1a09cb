#include "properties/audit/noise.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "verify/counter_random.hpp"

namespace plumb {
namespace {

constexpr index_t most_elements = 4096;

double value_of(const tensor_ref& t, const shape& at) {
  switch (t.type) {
    case dtype::f64:
      return t.view<double>()(at);
    case dtype::i64:
      return static_cast<double>(t.view<index_t>()(at));
    default:
      return static_cast<double>(t.view<float>()(at));
  }
}

/// The neighbour of a number of that format, on that side.
double neighbour(const float_format& format, double v, double side) {
  const double step = format.ulp(v);
  const double next = format.round(v + side * step);
  return next != v ? next : format.round(v + side * 2 * step);
}

/// At least `distance` from the truth, and a number of the format.
double beyond(const float_format& format, double truth, double distance, double side) {
  double v = format.round(truth + side * distance);
  while (std::isfinite(v) && !(std::fabs(v - truth) >= distance)) v = neighbour(format, v, side);
  return v;
}

/// The last number of the format at most `distance` from the truth; nothing if there is none.
std::optional<double> within(const float_format& format, double truth, double distance, double side) {
  double v = format.round(truth + side * distance);
  if (!(std::fabs(v - truth) <= distance)) v = neighbour(format, v, -side);
  return std::fabs(v - truth) <= distance ? std::optional<double>(v) : std::nullopt;
}

}  // namespace

void noise_probe::attach(checks& by, const std::string& layer) {
  by.values = [this, layer](const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
                            std::size_t which, comparison& out) {
    compare(got, t, bounds, more, which, out);
    if (out.passed() && t.count() <= most_elements && t.at.empty()) probe(got, t, bounds, more, which, layer);
  };
}

record::noise_result& noise_probe::row(regime r, const std::string& layer) {
  auto at = std::ranges::find(results_, name_of(r), &record::noise_result::regime);
  if (at == results_.end()) {
    at = results_.insert(results_.end(), record::noise_result{});
    at->regime = name_of(r);
    layers_.emplace_back();
  }
  std::vector<std::string>& layers = layers_[static_cast<std::size_t>(at - results_.begin())];
  if (std::ranges::find(layers, layer) == layers.end()) layers.push_back(layer);
  at->layers = std::ssize(layers);
  return *at;
}

void noise_probe::probe(const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
                        std::size_t which, const std::string& layer) {
  std::vector<double> values;
  for_each_index(got.extents, [&](const shape& at) { values.push_back(value_of(got, at)); });
  const counter_random dice(drawn_++, "noise");
  const auto i = static_cast<std::size_t>(dice.below(0, values.size()));
  const double side = dice.below(1, 2) == 0 ? 1 : -1;
  const float_format& format = bounds.output;
  record::noise_result& tally = row(bounds.drawn, layer);
  comparison noisy;
  const auto with = [&](double v) {
    std::swap(values[i], v);
    std::vector<index_t> indices(t.is_index ? values.begin() : values.end(), values.end());
    tensor_ref ref{values.data(), dtype::f64, got.extents, row_major(got.extents)};
    if (t.is_index) ref.data = indices.data(), ref.type = dtype::i64;
    compare(ref, t, bounds, more, which, noisy);
    std::swap(values[i], v);
  };
  const auto note = [&](const char* what, double v) {
    tally.example = fmt::format("{}: {}[{}] is {}, expected {}, {}", layer, t.name, i, v,
                                t.is_index ? static_cast<double>(t.index[i]) : t.value[i], what);
  };
  double twice = 0;
  if (t.is_index) {
    twice = static_cast<double>(t.index[i]) + side;
  } else {
    const double truth = t.value[i], bound = bounds.statistical[i];
    if (!std::isfinite(truth) || !std::isfinite(bound)) return;
    twice = bound > 0 ? beyond(format, truth, 2 * (bound + t.radius[i]), side)
                      : neighbour(format, format.round(truth), side);
    if (!std::isfinite(twice)) return;
  }
  with(twice);
  ++tally.twice;
  if (noisy.passed()) ++tally.missed, note("and passes", twice);
  if (t.is_index || !(bounds.proven[i] > 0) || !std::isfinite(bounds.proven[i])) return;
  const auto half = within(format, t.value[i], bounds.proven[i] / 2 - t.radius[i], side);
  if (!half || !std::isfinite(*half)) return;
  with(*half);
  ++tally.half;
  if (noisy.above_proven > 0)
    ++tally.accused, note("within half of the proven bound, and is held to break it", *half);
}

}  // namespace plumb
