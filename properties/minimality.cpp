#include "properties/minimality.hpp"

#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include "properties/carry_data.hpp"
#include "reference/core/attributes.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/parts.hpp"

namespace plumb {
namespace {

std::unique_ptr<layer> bind_or_null(const problem& text) {
  try {
    return plumb::bind(text);
  } catch (const std::invalid_argument&) {
    return nullptr;
  }
}

/// One integer inside the problem text.
struct number {
  std::string key;
  std::size_t at;
  bool is_extent;
  index_t least;  ///< the simplest value
};

index_t value_of(const problem& text, const number& n) { return text.integers(n.key)[n.at]; }

problem lowered(const problem& text, const number& n, index_t by) {
  std::vector<index_t> list = text.integers(n.key);
  list[n.at] -= by;
  const char separator = text.text(n.key).find(',') != std::string::npos ? ',' : 'x';
  problem result = text;
  result.set(n.key, attribute::join(list, separator));
  return result;
}

/// The attribute of integers with that name, or nothing: a decimal goes back to its default as a whole, even where it
/// looks like an integer.
std::optional<attribute_card> integers_named(const layer& l, const std::string& key) {
  for (const layer_row& row : layer_catalogue()) {
    if (row.name != l.name()) continue;
    for (const attribute_card& a : row.card().attributes)
      if (a.name == key && a.type != attribute_card::kind::decimal &&
          a.type != attribute_card::kind::decimals)
        return a;
  }
  return std::nullopt;
}

std::vector<number> numbers_of(const layer& l, const problem& text) {
  std::vector<number> list;
  for (const problem::field& f : text.fields()) {
    const auto integers = parse_integers(f.value);
    if (!integers) continue;
    const bool extent =
        std::ranges::any_of(l.describe().inputs, [&](const tensor_spec& s) { return s.name == f.key; });
    index_t least = 1;
    if (!extent) {  // an attribute that is still at its default cannot be simpler; one that must be given counts something
      const auto attribute = integers_named(l, f.key);
      if (!attribute || !l.canonical().has(f.key)) continue;
      least = attribute->required ? 1 : 0;
    }
    for (std::size_t i = 0; i < integers->size(); ++i) list.push_back({f.key, i, extent, least});
  }
  return list;
}

/// Lowers extents from `first` on by `total` in all, and keeps what binds.
void repair(const problem& text, const std::vector<number>& numbers, std::size_t first, index_t total,
            std::vector<problem>& repaired, int& patience) {
  if (total == 0) {
    if (--patience > 0 && bind_or_null(text)) repaired.push_back(text);
    return;
  }
  for (std::size_t i = first; i < numbers.size() && patience > 0; ++i) {
    if (!numbers[i].is_extent) continue;
    const index_t most = std::min(total, value_of(text, numbers[i]) - 1);
    for (index_t by = 1; by <= most; ++by)
      repair(lowered(text, numbers[i], by), numbers, i + 1, total - by, repaired, patience);
  }
}

/// The problems one step of this number below, with the other extents following by as little as possible.
std::vector<problem> steps_down(const problem& text, const std::vector<number>& numbers, const number& n) {
  const index_t value = value_of(text, n);
  std::vector<number> others;
  for (const number& other : numbers)
    if (other.key != n.key || other.at != n.at) others.push_back(other);
  for (index_t by = 1; value - by >= n.least; ++by) {
    const problem lower = lowered(text, n, by);
    constexpr index_t most_repair = 6;
    for (index_t total = 0; total <= most_repair; ++total) {
      std::vector<problem> repaired;
      int patience = 20'000;
      repair(lower, others, 0, total, repaired, patience);
      if (!repaired.empty()) return repaired;
    }
  }
  return {};
}

/// Attributes that are words, flags or fractions return to their defaults; optional tensors go.
std::vector<problem> omissions(const layer& l) {
  std::vector<problem> list;
  for (const problem::field& f : l.canonical().fields()) {
    const auto input = std::ranges::find(l.describe().inputs, f.key, &tensor_spec::name);
    const bool tensor = input != l.describe().inputs.end();
    if (tensor ? !input->optional : parse_integers(f.value).has_value() && integers_named(l, f.key)) continue;
    problem text = l.canonical();
    text.erase(f.key);
    list.push_back(text);
  }
  return list;
}

/// The data in the shapes of another problem; bit i of `from_end` makes the i-th tensor keep its end.
std::vector<datum> moved(const std::vector<datum>& data, const layer& from, const layer& to,
                         const std::vector<std::string>& tensors, std::size_t from_end) {
  std::vector<datum> result;
  for (const datum& d : data) {
    if (!to.present(d.tensor)) continue;
    const shape &old_shape = from.shapes()[d.tensor], &new_shape = to.shapes()[d.tensor];
    const auto which = static_cast<std::size_t>(std::ranges::find(tensors, d.tensor) - tensors.begin());
    const bool end = which < tensors.size() && (from_end >> which & 1U) != 0;
    shape at = unflatten(d.at, old_shape);
    datum kept = d;
    kept.at = 0;
    bool inside = true;
    for (int axis = 0; axis < new_shape.rank(); ++axis) {
      const index_t i = end ? at[axis] + new_shape[axis] - old_shape[axis] : at[axis];
      inside = inside && i >= 0 && i < new_shape[axis];
      kept.at = kept.at * new_shape[axis] + i;
    }
    if (to.spec(d.tensor).kind == element::index) {
      const double most = static_cast<double>(to.index_bound(d.tensor) - 1);
      if (kept.value > most) kept.value = most;
    }
    if (inside && (kept.value != 0 || std::signbit(kept.value))) result.push_back(kept);
  }
  return result;
}

void add_problem(const test_case& c, const layer& from, const problem& text, std::vector<test_case>& list) {
  const auto to = bind_or_null(text);
  if (!to) return;
  test_case smaller = c;
  smaller.problem = to->canonical().print();
  if (smaller.problem == c.problem) return;
  if (c.regime != test_case::given) {
    list.push_back(smaller);
    return;
  }
  std::vector<std::string> tensors;
  for (const datum& d : c.data)
    if (to->present(d.tensor) && !(to->shapes()[d.tensor] == from.shapes()[d.tensor]) &&
        std::ranges::find(tensors, d.tensor) == tensors.end())
      tensors.push_back(d.tensor);
  for (std::size_t choice = 0; choice < std::size_t{1} << tensors.size(); ++choice) {
    smaller.data = moved(c.data, from, *to, tensors, choice);
    list.push_back(smaller);
  }
}

void add_data(const test_case& c, const layer& l, std::vector<test_case>& list) {
  for (std::size_t i = 0; i < c.data.size(); ++i) {
    const double value = c.data[i].value;
    test_case smaller = c;
    smaller.data.erase(smaller.data.begin() + static_cast<std::ptrdiff_t>(i));
    if (legal_datum(l, {c.data[i].tensor, c.data[i].at, 0})) list.push_back(smaller);
    const bool is_index = l.spec(c.data[i].tensor).kind == element::index;
    if (!std::isfinite(value) || std::fabs(value) <= 1 || (is_index && value < 0)) continue;
    const bool whole = value == std::trunc(value);
    const double lower = whole ? value - std::copysign(1.0, value) : std::trunc(value);
    if (lower == value || static_cast<double>(static_cast<float>(lower)) != lower) continue;
    smaller = c;
    smaller.data[i].value = lower;
    if (legal_datum(l, smaller.data[i])) list.push_back(smaller);
  }
}

}  // namespace

std::vector<test_case> one_step_reductions(const test_case& c) {
  const auto here = plumb::bind(c.problem);
  const problem text = spelled_out(*here);
  const std::vector<number> numbers = numbers_of(*here, text);
  std::vector<test_case> list;
  for (const number& n : numbers)
    for (const problem& smaller : steps_down(text, numbers, n)) add_problem(c, *here, smaller, list);
  for (const problem& smaller : omissions(*here)) add_problem(c, *here, smaller, list);
  if (c.regime == test_case::given) add_data(c, *here, list);
  return list;
}

}  // namespace plumb
