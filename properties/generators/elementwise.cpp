// Problems of layers that work element by element: one input of any rank. Sizes lie around vector widths,
// because the vector body and its tail are the two halves of such a kernel.
#include "properties/generators/problem_space.hpp"

namespace plumb {
namespace {

class elementwise_problems final : public problem_space {
  static constexpr std::size_t most_axes = 5;

 public:
  explicit elementwise_problems(std::string layer) : problem_space(std::move(layer)) {
    add_choice("rank", 1);
    for (std::size_t axis = 0; axis < most_axes; ++axis) add("x." + std::to_string(axis), 1);
    trigger("no elements", [](const point& at) { return elements(at) == 0; });
    trigger("one element", [](const point& at) { return elements(at) == 1; });
    trigger("N=1", [](const point& at) { return at[1] == 1; });
    trigger("N>1", [](const point& at) { return at[1] > 1; });
    trigger("unequal axes", [](const point& at) { return at[0] > 1 && at[1] != at[2]; });
    trigger("tail after a vector body",
            [](const point& at) { return elements(at) > 16 && elements(at) % 16 != 0; });
    trigger("whole vectors", [](const point& at) { return elements(at) > 0 && elements(at) % 16 == 0; });
    trigger("less than a vector", [](const point& at) { return elements(at) > 0 && elements(at) < 8; });
    for (index_t rank = 1; rank <= static_cast<index_t>(most_axes); ++rank)
      trigger("rank " + std::to_string(rank), [rank](const point& at) { return at[0] == rank; });
  }

  std::optional<problem> build(const point& at) const override {
    if (at[0] < 1 || at[0] > static_cast<index_t>(most_axes)) return std::nullopt;
    shape x;
    for (std::size_t axis = 1; axis <= most_axes; ++axis) {
      if (at[axis] < 0) return std::nullopt;
      if (static_cast<index_t>(axis) <= at[0])
        x.push_back(at[axis]);
      else if (at[axis] != 1)
        return std::nullopt;
    }
    problem text(layer());
    text.set("x", to_string(x));
    return text;
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const shape& x = l.shapes()["x"];
    if (x.rank() < 1 || x.rank() > static_cast<int>(most_axes)) return std::nullopt;
    point at(1 + most_axes, 1);
    at[0] = x.rank();
    for (int axis = 0; axis < x.rank(); ++axis) at[1 + static_cast<std::size_t>(axis)] = x[axis];
    return at;
  }

  /// One axis less, with the same number of elements or with those of the last axis gone.
  std::vector<point> moves(const point& from) const override {
    if (from[0] == 1) return {};
    const std::size_t last = static_cast<std::size_t>(from[0]);
    point merged = from;
    merged[0] -= 1;
    merged[last - 1] *= merged[last];
    merged[last] = 1;
    point dropped = merged;
    dropped[last - 1] = from[last - 1];
    return {dropped, merged};
  }

  double work(const point& at) const override { return static_cast<double>(elements(at)); }

 private:
  static index_t elements(const point& at) {
    index_t product = 1;
    for (std::size_t axis = 1; axis <= most_axes; ++axis) product *= at[axis];
    return product;
  }

  point propose(dice& d) const override {
    point at(1 + most_axes, 1);
    at[0] = d.between(1, static_cast<index_t>(most_axes));
    const std::size_t axes = static_cast<std::size_t>(at[0]);
    for (std::size_t axis = 1; axis <= axes; ++axis) at[axis] = d.narrow();
    if (d.percent(70)) at[static_cast<std::size_t>(d.between(1, at[0]))] = d.wide();
    if (d.percent(10)) at[axes] = d.of({127, 128, 129, 255, 257, 1000, 1023, 1025});
    const double budget = draw_budget(d);
    while (work(at) > budget) {
      index_t& extent = at[static_cast<std::size_t>(d.between(1, at[0]))];
      extent = std::max<index_t>(1, extent / 2);
    }
    if (d.percent(3)) std::fill(at.begin() + 1, at.end(), 1);
    if (d.percent(3)) at[1] = 0;
    return at;
  }
};

}  // namespace

std::unique_ptr<problem_space> elementwise_space(std::string layer, int /*rank*/) {
  return std::make_unique<elementwise_problems>(std::move(layer));
}

}  // namespace plumb
