#include "properties/generators/problem_space.hpp"

#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

/// Another value of a number: a step away, twice or half of it.
index_t nudged(index_t number, dice& d) {
  return d.percent(60) ? number + d.of({-1, 1, 1, 2}) : d.percent(50) ? 2 * number : number / 2;
}

/// From a problem that a kernel accepts toward a drawn one, number by number: each is offered twice, for it may fit only
/// after others have changed; what is refused for good is nudged once.
class approach {
 public:
  approach(const problem_space& space, point from, point to, dice& d)
      : space_(&space), at_(std::move(from)), to_(std::move(to)), dice_(&d) {
    for (int sweep = 0; sweep < 3; ++sweep)
      for (std::size_t left = at_.size(); left > 0; --left) order_.push_back(left - 1);
    const auto all = static_cast<std::ptrdiff_t>(at_.size());
    for (std::ptrdiff_t sweep = 0; sweep < 3; ++sweep)
      for (std::ptrdiff_t i = all - 1; i > 0; --i)
        std::swap(order_[static_cast<std::size_t>(sweep * all + i)],
                  order_[static_cast<std::size_t>(sweep * all + d.between(0, i))]);
  }

  /// The next problem to ask the kernel about; nothing at the end.
  std::optional<std::string> next() {
    constexpr double most_work = 1 << 16;
    for (; step_ < order_.size(); ++step_) {
      const std::size_t i = order_[step_];
      if (at_[i] == to_[i]) continue;
      offered_ = at_;
      offered_[i] = step_ < 2 * at_.size() ? to_[i] : nudged(at_[i], *dice_);
      if (offered_ == at_) continue;
      const auto text = space_->build(offered_);  // first: the work of an illegal problem means nothing
      if (!text || !(space_->work(offered_) <= std::max(most_work, space_->work(at_)))) continue;
      ++step_;
      return text->print();
    }
    return std::nullopt;
  }
  void accepted() { at_ = offered_; }
  std::string reached() const { return space_->build(at_)->print(); }

 private:
  const problem_space* space_;
  point at_, to_, offered_;
  dice* dice_;
  std::vector<std::size_t> order_;
  std::size_t step_ = 0;
};

/// The same number on every axis: `window.h` and `window.w`.
void make_even(const problem_space& space, point& at) {
  const auto kind = [&](std::size_t i) {
    const std::string& name = space.parameters()[i].name;
    return std::string_view(name).substr(0, name.find('.'));
  };
  for (std::size_t i = 0; i < at.size(); ++i)
    for (std::size_t first = 0; first < i; ++first)
      if (kind(first) == kind(i)) at[i] = at[first];
}

/// Accepted problems among many drawn. In every other one part of the numbers are the simplest, and in every other two
/// those of all axes are the same, which is what kernels for one window and stride ask for.
std::vector<std::string> look_for_accepted(const problem_space& space, dice& d, const acceptance& accepts) {
  constexpr int rounds = 24, at_once = 128;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::string> offers, found;
    for (int i = 0; i < at_once; ++i) {
      point at = space.draw(d);
      const int share = i % 2 == 0 ? 0 : static_cast<int>(d.of({20, 40, 60, 80}));
      if (i % 4 >= 2) make_even(space, at);
      for (std::size_t j = 0; j < at.size(); ++j)
        if (d.percent(share)) at[j] = space.parameters()[j].simplest;
      if (const auto text = space.build(at)) offers.push_back(text->print());
    }
    const std::vector<bool> yes = accepts(offers);
    for (std::size_t i = 0; i < offers.size(); ++i)
      if (yes[i]) found.push_back(offers[i]);
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace

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
      number = nudged(number, d);
    }
    if (other == *at) continue;
    const auto near = space.build(other);  // first: the work of an illegal problem means nothing
    if (near && space.work(other) <= most_work) return near->print();
  }
  return text;
}

std::vector<std::string> fit_problems(const std::string& layer, const std::vector<std::string>& known,
                                      std::uint64_t seed, std::size_t count, const acceptance& accepts) {
  const problem_space& space = space_of(layer);
  dice d{rc::Random(seed)};
  std::vector<point> starts;
  for (const std::string& text : known.empty() ? look_for_accepted(space, d, accepts) : known)
    if (auto at = space.recover(*plumb::bind(std::string_view(text)))) starts.push_back(std::move(*at));
  if (starts.empty()) return {};
  std::vector<approach> all;
  for (std::size_t i = 0; i < count; ++i) {
    const auto start = static_cast<std::size_t>(d.between(0, static_cast<index_t>(starts.size()) - 1));
    all.emplace_back(space, starts[start], space.draw(d), d);
  }
  while (true) {  // all of them in step, so that a kernel is asked about many at once
    std::vector<std::string> offers;
    std::vector<approach*> whose;
    for (approach& a : all)
      if (auto text = a.next()) {
        offers.push_back(std::move(*text));
        whose.push_back(&a);
      }
    if (offers.empty()) break;
    const std::vector<bool> yes = accepts(offers);
    for (std::size_t i = 0; i < offers.size(); ++i)
      if (yes[i]) whose[i]->accepted();
  }
  std::vector<std::string> fitted;
  for (const approach& a : all) fitted.push_back(a.reached());
  return fitted;
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
