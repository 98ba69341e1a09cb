#include "properties/generators/problem_space.hpp"

#include "reference/layers/catalogue.hpp"

namespace plumb {

point problem_space::draw(dice& d) const {
  constexpr int coincidences = 20;  // percent
  while (true) {
    point at = propose(d);
    if (!build(at)) continue;
    if (d.percent(coincidences))
      if (auto other = coincidence(at, d)) return *other;
    return at;
  }
}

/// Two or more of the numbers, any two as often as any other two, take one value or that value less one; nothing if no
/// such point is a problem of moderate work.
std::optional<point> problem_space::coincidence(const point& from, dice& d) const {
  constexpr int most_tries = 12;
  constexpr double most_work = 1 << 16;
  std::vector<std::size_t> numbers;
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].number) numbers.push_back(i);
  if (numbers.size() < 2) return std::nullopt;
  for (int tries = 0; tries < most_tries; ++tries) {
    point at = from;
    const index_t value = d.of({2, 2, 3, 3, 4, 5, 7, 8});
    const int share = static_cast<int>(d.of({20, 40, 70}));
    const bool less_one = d.percent(30);
    for (const std::size_t i : numbers)
      if (d.percent(share)) at[i] = value - (less_one && d.percent(50) ? 1 : 0);
    if (at != from && work(at) <= most_work && build(at)) return at;
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, int>> rare_triggers(const problem_space& space, int draws) {
  std::vector<int> pulled(space.triggers().size());
  for (int seed = 0; seed < draws; ++seed) {
    dice d{rc::Random(static_cast<std::uint64_t>(seed))};
    const point at = space.draw(d);
    for (std::size_t i = 0; i < pulled.size(); ++i) pulled[i] += space.triggers()[i].pulled(at);
  }
  std::vector<std::pair<std::string, int>> rare;
  for (std::size_t i = 0; i < pulled.size(); ++i)
    if (pulled[i] * 100 < draws) rare.emplace_back(space.triggers()[i].name, pulled[i]);
  return rare;
}

double work_of(const layer& l) {
  const problem_space* space = find_space(l.name());
  const auto at = space == nullptr ? std::nullopt : space->recover(l);
  return at ? space->work(*at) : 0;
}

double draw_budget(dice& d) {
  const index_t rarity = d.between(0, 199);
  if (rarity == 0) return 1 << 20;
  if (rarity < 8) return 1 << 17;
  return static_cast<double>(index_t{1} << d.between(10, 14));
}

const problem_space* find_space(std::string_view layer) {
  for (const family_row& row : families())
    if (row.layer == layer) return row.space.get();
  return nullptr;
}

const problem_space& space_of(std::string_view layer) {
  if (const problem_space* space = find_space(layer)) return *space;
  std::vector<std::string> names;
  for (const family_row& row : families()) names.push_back(row.layer);
  throw text_error(std::string(layer), 0, "no problem family has this layer; expected " + list_of(names));
}

std::string draw_problem(std::string_view layer, std::uint64_t seed) {
  const problem_space& space = space_of(layer);
  dice d{rc::Random(seed)};
  return space.build(space.draw(d))->print();
}

std::string vary_problem(const std::string& text, std::uint64_t seed) {
  constexpr int most_tries = 16;
  constexpr double most_work = 1 << 17;
  const auto l = plumb::bind(std::string_view(text));
  const problem_space& space = space_of(l->name());
  const auto at = space.recover(*l);
  dice d{rc::Random(seed)};
  for (int tries = 0; at && tries < most_tries; ++tries) {
    point other = *at;
    for (index_t changes = d.between(1, 2); changes > 0; --changes) {
      index_t& number = other[static_cast<std::size_t>(d.between(0, static_cast<index_t>(at->size()) - 1))];
      number = d.percent(60) ? number + d.of({-1, 1, 1, 2}) : d.percent(50) ? 2 * number : number / 2;
    }
    if (other == *at || !(space.work(other) <= most_work)) continue;
    if (const auto near = space.build(other)) return near->print();
  }
  return text;
}

std::string draw_grown_problem(std::string_view layer, std::uint64_t seed, double elements) {
  constexpr int most_tries = 400;
  constexpr double most_work = 256;  // an element
  const problem_space& space = space_of(layer);
  dice d{rc::Random(seed)};
  point at = space.draw(d);
  const auto written = [&](const point& p) -> double {
    const auto text = space.build(p);
    if (!text) return -1;
    double sum = 0;
    const auto l = plumb::bind(*text);
    for (const tensor_spec& s : l->describe().outputs)
      if (l->present(s.name)) sum += static_cast<double>(l->shapes()[s.name].size());
    return sum;
  };
  double size = written(at);
  for (int tries = 0; tries < most_tries && size < elements; ++tries) {
    point larger = at;
    index_t& coordinate = larger[static_cast<std::size_t>(d.between(0, static_cast<index_t>(at.size()) - 1))];
    coordinate = 2 * coordinate + d.between(0, 1);
    if (space.work(larger) > most_work * elements) continue;
    const double now = written(larger);
    if (now <= size || now > 4 * elements) continue;
    at = larger;
    size = now;
  }
  return space.build(at)->print();
}

std::vector<std::string> triggers(const layer& l) {
  std::vector<std::string> names;
  const problem_space* space = find_space(l.name());
  const auto at = space == nullptr ? std::nullopt : space->recover(l);
  if (!at) return names;
  for (const trigger_rule& rule : space->triggers())
    if (rule.pulled(*at)) names.push_back(rule.name);
  return names;
}

std::vector<std::string> all_triggers(std::string_view layer) {
  std::vector<std::string> names;
  if (const problem_space* space = find_space(layer))
    for (const trigger_rule& rule : space->triggers()) names.push_back(rule.name);
  return names;
}

}  // namespace plumb
