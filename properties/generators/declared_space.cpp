#include "properties/generators/declared_space.hpp"

#include <map>
#include <set>

#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

using kind = attribute_card::kind;

layer_card card_named(std::string_view name) {
  for (const layer_row& row : layer_catalogue())
    if (row.name == name) return row.card();
  throw text_error(std::string(name), 0, "no such layer");
}

/// How many free axes a tensor may have: those a `*` stands for, or all of a tensor that names none.
struct free_axes {
  static constexpr index_t most = 4;
  static bool named(const tensor_spec& s) { return !s.axes.empty() && s.axes.find('*') == std::string::npos; }
};

/// A digit among the letters of a tensor is an extent itself: `npq2`.
bool is_digit(char letter) { return '0' <= letter && letter <= '9'; }
bool is_free(char letter) { return 'A' <= letter && letter <= 'Z'; }

/// The letters of a tensor when `count` axes are free.
std::string letters_of(const tensor_spec& s, index_t count) {
  constexpr std::string_view positions = "ABCDEFG";
  if (s.axes.empty()) return std::string(positions.substr(0, static_cast<std::size_t>(count)));
  const std::size_t star = s.axes.find('*');
  if (star == std::string::npos) return s.axes;
  return s.axes.substr(0, star) + std::string(positions.substr(0, static_cast<std::size_t>(count))) +
         s.axes.substr(star + 1);
}

/// One attribute as coordinates: how many, what they may be, and how they become text and come back.
class attribute_axes {
 public:
  attribute_axes(const attribute_card& card, std::size_t first) : card_(card), first_(first) {
    derived_ = !card.required && card.otherwise.empty();
    if (card.type == kind::decimal || card.type == kind::decimals) choose_decimals();
  }

  std::size_t count() const {
    switch (card_.type) {
      case kind::per_axis:
      case kind::decimals:
        return static_cast<std::size_t>(card_.axes);
      case kind::per_side:
        return 2 * static_cast<std::size_t>(card_.axes);
      default:
        return 1;
    }
  }

  /// The value of each coordinate when the attribute is left out, or the least legal one if it may not be.
  index_t simplest() const {
    if (words()) return usual_choice();
    if (derived_) return std::max<index_t>(card_.allowed.least, 1);  // left out, it may mean something larger
    if (card_.required) return std::max<index_t>(card_.allowed.least, 1);
    const auto list = parse_integers(card_.otherwise);
    return list ? (*list)[0] : 0;
  }

  /// Coordinates left out are those of the default. Nothing if only some of them are.
  bool write(const point& at, problem& text) const {
    const std::size_t n = count();
    std::string value;
    std::size_t left_out = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const index_t v = at[first_ + i];
      left_out += derived_ && v == absent;
      if (words() && !(0 <= v && v < static_cast<index_t>(choices_.size()))) return false;
      const char* separator = i == 0 ? "" : card_.type == kind::per_side ? "," : "x";
      value += separator + (words() ? choices_[static_cast<std::size_t>(v)] : std::to_string(v));
    }
    if (left_out == 0) text.set(card_.name, value);
    return left_out == 0 || left_out == n;
  }

  /// False if the text holds a value that no coordinate stands for.
  bool read(const problem& text, point& at) const {
    const problem::field* f = text.find(card_.name);
    const std::size_t n = count();
    std::vector<index_t> values(n, derived_ ? absent : simplest());
    if (f != nullptr || !derived_) {
      const std::string given = f != nullptr ? f->value : card_.otherwise;
      if (!spread(given, values)) return false;
    }
    std::copy(values.begin(), values.end(), at.begin() + static_cast<std::ptrdiff_t>(first_));
    return true;
  }

  void propose(dice& d, point& at) const {
    const bool usual = !card_.required && d.percent(40);
    for (std::size_t i = 0; i < count(); ++i) at[first_ + i] = usual ? usual_value(i) : other_value(d);
  }

  std::size_t first() const { return first_; }
  const attribute_card& card() const { return card_; }
  bool is_usual(const point& at) const {
    for (std::size_t i = 0; i < count(); ++i)
      if (at[first_ + i] != usual_value(i)) return false;
    return true;
  }
  /// Words a trigger can name.
  const std::vector<std::string>& choices() const { return choices_; }
  bool words() const {
    return card_.type == kind::flag || card_.type == kind::choice || card_.type == kind::decimal ||
           card_.type == kind::decimals;
  }
  void set_choices() {
    if (card_.type == kind::flag) choices_ = {"false", "true"};
    if (card_.type == kind::choice) choices_ = card_.choices;
  }

 private:
  /// A coordinate of an attribute that is not given; below every legal value of those that can be left out.
  static constexpr index_t absent = 0;

  void choose_decimals() {
    if (derived_) choices_.emplace_back("");
    if (!card_.otherwise.empty()) choices_.push_back(card_.otherwise);
    for (const char* text : {"1", "0.5", "2", "0.1", "1.5", "0.25", "3", "0", "-0.75", "2.3", "1.1", "0.9"}) {
      decimal value;
      if (attribute::read(text, value, card_.allowed).empty() &&
          std::ranges::find(choices_, std::string(text)) == choices_.end())
        choices_.emplace_back(text);
    }
  }

  index_t usual_choice() const {
    const auto found = std::ranges::find(choices_, card_.otherwise);
    return found == choices_.end() ? 0 : found - choices_.begin();
  }
  index_t usual_value(std::size_t i) const {
    if (words()) return usual_choice();
    if (derived_) return absent;
    if (card_.required) return simplest();
    std::vector<index_t> values(count());
    return spread(card_.otherwise, values) ? values[i] : simplest();
  }

  index_t other_value(dice& d) const {
    if (words())
      return d.between(derived_ && choices_.size() > 1 ? 1 : 0, static_cast<index_t>(choices_.size()) - 1);
    // Without a lower limit it is a pad that may crop: mostly it pads.
    if (card_.allowed.least < -1000) return d.of({-2, -1, 0, 1, 1, 2, 2, 3, 3, 4});
    const index_t least = card_.allowed.least;
    return std::min(card_.allowed.most, least + d.of({0, 1, 1, 1, 2, 2, 3, 4}));
  }

  bool spread(const std::string& text, std::vector<index_t>& values) const {
    if (words()) {
      std::vector<std::string> parts;
      for (std::size_t start = 0; start <= text.size() && !text.empty();) {
        const std::size_t end =
            card_.type == kind::decimals ? std::min(text.find('x', start), text.size()) : text.size();
        parts.push_back(text.substr(start, end - start));
        start = end + 1;
      }
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (parts.empty()) return false;
        const auto found = std::ranges::find(choices_, parts[parts.size() == 1 ? 0 : i]);
        if (found == choices_.end()) return false;
        values[i] = found - choices_.begin();
      }
      return true;
    }
    const auto list = parse_integers(text);
    if (!list) return false;
    const std::size_t n = list->size();
    for (std::size_t i = 0; i < values.size(); ++i)
      if (n == 1)
        values[i] = (*list)[0];
      else if (n == values.size())
        values[i] = (*list)[i];
      else if (2 * n == values.size())
        values[i] = (*list)[i / 2];
      else
        return false;
    return true;
  }

  attribute_card card_;
  std::size_t first_;
  bool derived_ = false;
  std::vector<std::string> choices_ = {};
};

class declared final : public problem_space {
 public:
  explicit declared(std::string name) : problem_space(std::move(name)), card_(card_named(layer())) {
    for (const tensor_spec& s : card_.tensors.inputs) ranks_ = ranks_ || !free_axes::named(s);
    if (ranks_) add_choice("free axes", least_free());
    for (const tensor_spec& s : card_.tensors.inputs)
      if (s.optional) {
        presence_[s.name] = parameters().size();
        add_choice(s.name, 0);
      }
    for (const tensor_spec& s : card_.tensors.inputs)
      for (const char letter : letters_of(s, free_axes::most))
        if (!is_digit(letter) && letters_.insert({letter, parameters().size()}).second)
          add(std::string(1, letter), 1);
    for (const attribute_card& a : card_.attributes) {
      attribute_axes axes(a, parameters().size());
      axes.set_choices();
      for (std::size_t i = 0; i < axes.count(); ++i) {
        const std::string coordinate = a.name + "." + std::to_string(i);
        axes.words() ? add_choice(coordinate, axes.simplest()) : add(coordinate, axes.simplest());
      }
      attributes_.push_back(std::move(axes));
    }
    add_triggers();
  }

  std::optional<problem> build(const point& at) const override {
    if (ranks_ && !(least_free() <= at[0] && at[0] <= free_axes::most)) return std::nullopt;
    problem text(layer());
    std::set<char> used;
    for (const tensor_spec& s : card_.tensors.inputs) {
      if (s.optional && at[presence_.at(s.name)] != 1) {
        if (at[presence_.at(s.name)] != 0) return std::nullopt;
        continue;
      }
      shape extents;
      for (const char letter : letters_of(s, free(at))) {
        if (is_digit(letter)) {
          extents.push_back(letter - '0');
          continue;
        }
        used.insert(letter);
        if (at[letters_.at(letter)] < 0) return std::nullopt;
        extents.push_back(at[letters_.at(letter)]);
      }
      text.set(s.name, to_string(extents));
    }
    for (const auto& [letter, i] : letters_)
      if (at[i] != 1 && !used.contains(letter)) return std::nullopt;
    for (const attribute_axes& a : attributes_)
      if (!a.write(at, text)) return std::nullopt;
    try {
      const auto bound = plumb::bind(text);
      index_t elements = 0;
      for (const auto& e : bound->shapes().entries()) elements += e.extents.size();
      if (elements > most_elements) return std::nullopt;
      return bound->canonical();
    } catch (const std::invalid_argument&) {
      return std::nullopt;
    }
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    point at;
    for (const parameter& p : parameters()) at.push_back(p.simplest);
    if (ranks_) at[0] = -1;
    for (const tensor_spec& s : card_.tensors.inputs) {
      const bool present = l.present(s.name);
      if (s.optional) at[presence_.at(s.name)] = present ? 1 : 0;
      if (!present || free_axes::named(s)) continue;
      const index_t count = l.shapes()[s.name].rank() - static_cast<int>(letters_of(s, 0).size());
      if (at[0] != -1 && at[0] != count) return std::nullopt;
      at[0] = count;
    }
    if (ranks_ && !(least_free() <= at[0] && at[0] <= free_axes::most)) return std::nullopt;
    std::map<char, index_t> extents;
    for (const tensor_spec& s : card_.tensors.inputs) {
      if (!l.present(s.name)) continue;
      const shape& found = l.shapes()[s.name];
      const std::string letters = letters_of(s, free(at));
      if (static_cast<int>(letters.size()) != found.rank()) return std::nullopt;
      for (int axis = 0; axis < found.rank(); ++axis) {
        const auto [old, fresh] = extents.insert({letters[static_cast<std::size_t>(axis)], found[axis]});
        if (!fresh && old->second != found[axis]) return std::nullopt;
      }
    }
    for (const auto& [letter, extent] : extents)
      if (!is_digit(letter)) at[letters_.at(letter)] = extent;
    for (const attribute_axes& a : attributes_)
      if (!a.read(l.canonical(), at)) return std::nullopt;
    return at;
  }

  /// One free axis less, its extent dropped.
  std::vector<point> moves(const point& from) const override {
    if (!ranks_ || from[0] <= least_free()) return {};
    point shorter = from;
    shorter[0] -= 1;
    const auto last = letters_.find(static_cast<char>('A' + from[0] - 1));
    if (last != letters_.end()) shorter[last->second] = 1;
    return {shorter};
  }

  double work(const point& at) const override {
    double product = 1;
    for (const auto& [letter, i] : letters_) product *= static_cast<double>(at[i]);
    return product;
  }

 private:
  static constexpr index_t most_elements = index_t{1} << 20;

  /// A tensor of no axes at all is legal but dull: the simplest has one.
  index_t least_free() const {
    for (const tensor_spec& s : card_.tensors.inputs)
      if (s.axes.empty() || s.axes == "*") return 1;
    return 0;
  }
  index_t free(const point& at) const { return ranks_ ? at[0] : 0; }

  void add_triggers() {
    trigger("no elements", [this](const point& at) { return work(at) == 0; });
    for (const auto& [name, i] : presence_)
      trigger("with " + name, [i](const point& at) { return at[i] == 1; });
    for (const auto& [letter, i] : letters_) {
      if (is_free(letter)) continue;
      trigger(std::string(1, letter) + "=1", [i](const point& at) { return at[i] == 1; });
      trigger(std::string(1, letter) + ">4", [i](const point& at) { return at[i] > 4; });
    }
    for (index_t count = least_free(); ranks_ && count <= 3; ++count)
      trigger(std::to_string(count) + " free axes", [count](const point& at) { return at[0] == count; });
    for (const attribute_axes& a : attributes_) {
      const std::size_t first = a.first();
      if (a.card().type == kind::flag || a.card().type == kind::choice)
        for (std::size_t c = 0; c < a.choices().size(); ++c)
          trigger(a.card().name + "=" + a.choices()[c],
                  [first, c](const point& at) { return at[first] == static_cast<index_t>(c); });
      else if (!a.card().required)
        trigger("other " + a.card().name, [&a](const point& at) { return !a.is_usual(at); });
      if ((a.card().type == kind::per_axis || a.card().type == kind::per_side) && a.count() > 1)
        trigger("uneven " + a.card().name, [first](const point& at) { return at[first] != at[first + 1]; });
    }
  }

  point propose(dice& d) const override {
    point at;
    for (const parameter& p : parameters()) at.push_back(p.simplest);
    if (ranks_) at[0] = d.between(least_free(), free_axes::most);
    for (const auto& [name, i] : presence_) at[i] = d.between(0, 1);
    std::set<char> used;
    for (const tensor_spec& s : card_.tensors.inputs)
      for (const char letter : letters_of(s, free(at)))
        if (!is_digit(letter) && (!s.optional || at[presence_.at(s.name)] == 1)) used.insert(letter);
    std::vector<std::size_t> extents;
    for (const char letter : used) extents.push_back(letters_.at(letter));
    for (const std::size_t i : extents) at[i] = d.percent(60) ? d.narrow() : d.between(4, 9);
    const auto any = [&] {
      return extents[static_cast<std::size_t>(d.between(0, static_cast<index_t>(extents.size()) - 1))];
    };
    if (!extents.empty() && d.percent(50)) at[any()] = d.wide();
    const double budget = draw_budget(d);
    while (work(at) > budget) {
      index_t& extent = at[any()];
      extent = std::max<index_t>(1, extent / 2);
    }
    if (!extents.empty() && d.percent(13))  // most layers can do without samples only
      at[d.percent(50) && used.contains('n') ? letters_.at('n') : any()] = 0;
    for (const attribute_axes& a : attributes_) a.propose(d, at);
    return at;
  }

  layer_card card_;
  bool ranks_ = false;
  std::map<std::string, std::size_t> presence_;
  std::map<char, std::size_t> letters_;
  std::vector<attribute_axes> attributes_;
};

}  // namespace

std::unique_ptr<problem_space> declared_space(std::string layer) {
  return std::make_unique<declared>(std::move(layer));
}

}  // namespace plumb
