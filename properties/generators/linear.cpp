// Problems of the fully connected layer: x = …,D with up to three leading axes, weight = M,D. Coordinates:
// bias, number of leading axes, D, M and the leading extents.
#include "properties/generators/problem_space.hpp"

namespace plumb {
namespace {

class linear_problems final : public problem_space {
  enum at_front : std::size_t { bias, axes, features, units, first_extent };
  static constexpr index_t most_axes = 3;

 public:
  explicit linear_problems(std::string name) : problem_space(std::move(name)) {
    for (const char* attribute : {"bias", "axes"}) add_choice(attribute, 0);
    for (const char* size : {"D", "M"}) add(size, 1);
    for (index_t axis = 0; axis < most_axes; ++axis) add("x." + std::to_string(axis), 1);
    add_triggers();
  }

  std::optional<problem> build(const point& at) const override {
    if (at[axes] < 0 || at[axes] > most_axes || at[features] < 1 || at[units] < 1) return std::nullopt;
    shape x;
    for (index_t axis = 0; axis < most_axes; ++axis) {
      const index_t extent = at[first_extent + static_cast<std::size_t>(axis)];
      if (extent < 0 || (axis >= at[axes] && extent != 1)) return std::nullopt;
      if (axis < at[axes]) x.push_back(extent);
    }
    x.push_back(at[features]);
    problem text(layer());
    text.set("x", to_string(x));
    text.set("weight", to_string(shape{at[units], at[features]}));
    if (at[bias] != 0) text.set("bias", std::to_string(at[units]));
    return text;
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const shape &x = l.shapes()["x"], &weight = l.shapes()["weight"];
    if (x.rank() - 1 > most_axes) return std::nullopt;
    point at(first_extent + most_axes, 1);
    at[bias] = l.present("bias");
    at[axes] = x.rank() - 1;
    at[features] = weight[1];
    at[units] = weight[0];
    for (int axis = 0; axis + 1 < x.rank(); ++axis)
      at[first_extent + static_cast<std::size_t>(axis)] = x[axis];
    return at;
  }

  /// One leading axis less, its positions gone or merged into the axis before it.
  std::vector<point> moves(const point& from) const override {
    if (from[axes] == 0) return {};
    const std::size_t last = first_extent + static_cast<std::size_t>(from[axes]) - 1;
    point dropped = from;
    dropped[axes] -= 1;
    dropped[last] = 1;
    if (from[axes] == 1) return {dropped};
    point merged = dropped;
    merged[last - 1] *= from[last];
    return {dropped, merged};
  }

  double work(const point& at) const override {
    return rows(at) * static_cast<double>(at[features] * at[units]);
  }

 private:
  static double rows(const point& at) {
    double product = 1;
    for (std::size_t i = first_extent; i < at.size(); ++i) product *= static_cast<double>(at[i]);
    return product;
  }

  point propose(dice& d) const override {
    point at(first_extent + most_axes, 1);
    at[bias] = d.percent(60);
    at[axes] = d.of({0, 1, 1, 1, 1, 2, 2, 3});
    at[features] = d.percent(50) ? d.wide() : d.narrow();
    at[units] = d.percent(50) ? d.wide() : d.narrow();
    for (std::size_t i = 0; i < static_cast<std::size_t>(at[axes]); ++i)
      at[first_extent + i] = d.percent(15) ? d.wide() : d.narrow();
    if (at[axes] > 0 && d.percent(3)) at[first_extent] = 0;
    const double budget = draw_budget(d);
    while (work(at) > budget) {
      index_t& extent = at[features + static_cast<std::size_t>(d.between(0, 1 + at[axes]))];
      extent = std::max<index_t>(1, extent / 2);
    }
    return at;
  }

  void add_triggers() {
    const auto when = [this](std::string name, bool (*holds)(const point&)) {
      trigger(std::move(name), holds);
    };
    when("bias", [](const point& at) { return at[bias] != 0; });
    when("no bias", [](const point& at) { return at[bias] == 0; });
    when("no batch", [](const point& at) { return at[axes] == 0; });
    when("several leading axes", [](const point& at) { return at[axes] > 1; });
    when("N=0", [](const point& at) { return rows(at) == 0; });
    when("N=1", [](const point& at) { return rows(at) == 1; });
    when("N>1", [](const point& at) { return rows(at) > 1; });
    when("D > M", [](const point& at) { return at[features] > at[units]; });
    when("D < M", [](const point& at) { return at[features] < at[units]; });
    when("one feature", [](const point& at) { return at[features] == 1; });
    when("one unit", [](const point& at) { return at[units] == 1; });
    when("D no multiple of a vector",
         [](const point& at) { return at[features] > 8 && at[features] % 8 != 0; });
    when("M no multiple of a vector", [](const point& at) { return at[units] > 8 && at[units] % 8 != 0; });
    when("D a multiple of a vector", [](const point& at) { return at[features] % 8 == 0; });
    when("M a multiple of a vector", [](const point& at) { return at[units] % 8 == 0; });
  }
};

}  // namespace

std::unique_ptr<problem_space> linear_space(std::string layer, int /*rank*/) {
  return std::make_unique<linear_problems>(std::move(layer));
}

}  // namespace plumb
