// Problems of cross-entropy: x = N,C and up to three further axes, a class number or probabilities at every
// position.
// Coordinates: reduction, ignore_index (0: the default; i+1: class i; negative: as it stands), smoothing in
// thousandths, weight, probabilities, number of further axes, N, C and the further extents.
#include "properties/generators/problem_space.hpp"
#include "reference/core/attributes.hpp"

namespace plumb {
namespace {

class cross_entropy_problems final : public problem_space {
  enum at_front : std::size_t {
    reduction,
    ignored,
    smoothing,
    weight,
    probabilities,
    axes,
    batch,
    classes,
    first_extent
  };
  static constexpr index_t most_axes = 3;
  static constexpr index_t usual_ignored = -100;

 public:
  explicit cross_entropy_problems(std::string name) : problem_space(std::move(name)) {
    add_choice("reduction", 0);
    add("ignore_index", 0);
    for (const char* attribute : {"label_smoothing", "weight", "probabilities", "axes"})
      add_choice(attribute, 0);
    for (const char* size : {"N", "C"}) add(size, 1);
    for (index_t axis = 0; axis < most_axes; ++axis) add("x." + std::to_string(axis + 2), 1);
    add_triggers();
  }

  std::optional<problem> build(const point& at) const override {
    if (at[axes] < 0 || at[axes] > most_axes || at[batch] < 0 || at[classes] < 1) return std::nullopt;
    if (at[smoothing] < 0 || at[smoothing] > 1000 || at[ignored] == usual_ignored) return std::nullopt;
    if (at[probabilities] != 0 && at[ignored] > 0) return std::nullopt;
    shape x{at[batch], at[classes]}, target{at[batch]};
    for (index_t axis = 0; axis < most_axes; ++axis) {
      const index_t extent = at[first_extent + static_cast<std::size_t>(axis)];
      if (extent < 0 || (axis >= at[axes] && extent != 1)) return std::nullopt;
      if (axis >= at[axes]) continue;
      x.push_back(extent);
      target.push_back(extent);
    }
    problem text(layer());
    text.set("x", to_string(x));
    text.set("target", to_string(at[probabilities] != 0 ? x : target));
    if (at[weight] != 0) text.set("weight", std::to_string(at[classes]));
    if (at[reduction] != 0) text.set("reduction", at[reduction] == 1 ? "sum" : "none");
    if (at[ignored] != 0)
      text.set("ignore_index", std::to_string(at[ignored] > 0 ? at[ignored] - 1 : at[ignored]));
    if (at[smoothing] != 0) text.set("label_smoothing", thousandths(at[smoothing]));
    if (at[probabilities] != 0) text.set("targets", "probabilities");
    return text;
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const problem& text = l.resolved();
    const shape x = text.shape_of("x");
    if (x.rank() - 2 > most_axes) return std::nullopt;
    point at(first_extent + most_axes, 1);
    at[reduction] = text.text("reduction") == "mean" ? 0 : text.text("reduction") == "sum" ? 1 : 2;
    const index_t ignore = text.integer("ignore_index");
    at[ignored] = ignore == usual_ignored ? 0 : ignore >= 0 ? ignore + 1 : ignore;
    decimal share;
    attribute::read(text.text("label_smoothing"), share, {});
    if (1000 % share.denominator != 0) return std::nullopt;
    at[smoothing] = share.numerator * (1000 / share.denominator);
    at[weight] = text.has("weight");
    at[probabilities] = text.text("targets") == "probabilities";
    at[axes] = x.rank() - 2;
    at[batch] = x[0];
    at[classes] = x[1];
    for (int axis = 2; axis < x.rank(); ++axis)
      at[first_extent + static_cast<std::size_t>(axis) - 2] = x[axis];
    return at;
  }

  /// One further axis less, its positions gone or merged into the axis before it.
  std::vector<point> moves(const point& from) const override {
    if (from[axes] == 0) return {};
    const std::size_t last = first_extent + static_cast<std::size_t>(from[axes]) - 1;
    point dropped = from;
    dropped[axes] -= 1;
    dropped[last] = 1;
    point merged = dropped;
    merged[from[axes] == 1 ? batch : last - 1] *= from[last];
    return {dropped, merged};
  }

  double work(const point& at) const override {
    double product = static_cast<double>(at[batch] * at[classes]);
    for (std::size_t i = first_extent; i < at.size(); ++i) product *= static_cast<double>(at[i]);
    return product;
  }

 private:
  static std::string thousandths(index_t count) {
    decimal share{count, 1000};
    while (share.denominator > 1 && share.numerator % 10 == 0) {
      share.numerator /= 10;
      share.denominator /= 10;
    }
    return attribute::print(share, false);
  }

  point propose(dice& d) const override {
    point at(first_extent + most_axes, 1);
    at[reduction] = d.between(0, 2);
    at[smoothing] = d.percent(70) ? 0 : d.of({100, 250, 50, 1000, 500});
    at[weight] = d.percent(40);
    at[probabilities] = d.percent(25);
    at[axes] = d.of({0, 0, 0, 1, 1, 2, 2, 3});
    at[batch] = d.percent(3) ? 0 : d.percent(20) ? d.wide() : d.narrow();
    at[classes] = d.percent(50) ? d.narrow() : d.percent(80) ? d.wide() : d.of({127, 129, 257, 1000, 1001});
    at[ignored] = at[probabilities] != 0 || d.percent(50) ? 0
                  : d.percent(60)                         ? d.between(1, at[classes])
                                                          : d.of({-1, -2, 2000});
    for (std::size_t i = 0; i < static_cast<std::size_t>(at[axes]); ++i)
      at[first_extent + i] = d.percent(20) ? d.wide() : d.narrow();
    const double budget = draw_budget(d);
    while (work(at) > budget) {
      index_t& extent = at[batch + static_cast<std::size_t>(d.between(0, 1 + at[axes]))];
      extent = std::max<index_t>(1, extent / 2);
    }
    return at;
  }

  void add_triggers() {
    const auto when = [this](std::string name, bool (*holds)(const point&)) {
      trigger(std::move(name), holds);
    };
    when("reduction=mean", [](const point& at) { return at[reduction] == 0; });
    when("reduction=sum", [](const point& at) { return at[reduction] == 1; });
    when("reduction=none", [](const point& at) { return at[reduction] == 2; });
    when("ignore_index is a class",
         [](const point& at) { return at[ignored] >= 1 && at[ignored] <= at[classes]; });
    when("ignore_index is no class",
         [](const point& at) { return at[ignored] < 0 || at[ignored] > at[classes]; });
    when("label smoothing", [](const point& at) { return at[smoothing] != 0; });
    when("label smoothing with weights",
         [](const point& at) { return at[smoothing] != 0 && at[weight] != 0; });
    when("weights", [](const point& at) { return at[weight] != 0; });
    when("probabilities", [](const point& at) { return at[probabilities] != 0; });
    when("probabilities with weights",
         [](const point& at) { return at[probabilities] != 0 && at[weight] != 0; });
    when("one class", [](const point& at) { return at[classes] == 1; });
    when("a thousand classes", [](const point& at) { return at[classes] >= 1000; });
    when("classes no multiple of a vector",
         [](const point& at) { return at[classes] > 8 && at[classes] % 8 != 0; });
    when("classes a multiple of a vector", [](const point& at) { return at[classes] % 8 == 0; });
    when("further axes", [](const point& at) { return at[axes] > 0; });
    when("three further axes", [](const point& at) { return at[axes] == 3; });
    when("unequal further axes",
         [](const point& at) { return at[axes] > 1 && at[first_extent] != at[first_extent + 1]; });
    when("N=0", [](const point& at) { return at[batch] == 0; });
    when("N=1", [](const point& at) { return at[batch] == 1; });
    when("N>1", [](const point& at) { return at[batch] > 1; });
  }
};

}  // namespace

std::unique_ptr<problem_space> cross_entropy_space(std::string layer, int /*rank*/) {
  return std::make_unique<cross_entropy_problems>(std::move(layer));
}

}  // namespace plumb
