#include "reports/pattern.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "reports/text.hpp"

namespace plumb::reports {

namespace {

// Lattice data and zeros hide some wrong elements by chance, so a pattern may contain right ones; outside it there
// must be next to none.
constexpr double least_inside = 0.5;
constexpr double most_outside = 0.05;
// Of the hits at the index that is hit most: fewer are strays.
constexpr double least_hit = 0.1;
constexpr std::int64_t fewest_cells = 6;

struct axis_words {
  const char* one;
  const char* many;
  const char* first;  ///< border at the low end; null: the axis has no border
  const char* last;
};

axis_words words_of(const std::string& axis) {
  static const std::map<std::string, axis_words> words = {
      {"n", {"image", "images", nullptr, nullptr}},     {"c", {"channel", "channels", nullptr, nullptr}},
      {"k", {"channel", "channels", nullptr, nullptr}}, {"d", {"slice", "slices", "front", "back"}},
      {"o", {"slice", "slices", "front", "back"}},      {"h", {"row", "rows", "top", "bottom"}},
      {"p", {"row", "rows", "top", "bottom"}},          {"w", {"column", "columns", "left", "right"}},
      {"q", {"column", "columns", "left", "right"}}};
  const auto at = words.find(axis);
  return at == words.end() ? axis_words{"index", "indices", nullptr, nullptr} : at->second;
}

using index_set = std::set<std::int64_t>;

class classifier {
 public:
  explicit classifier(const damage& d) : damage_(d), hot_(d.extents.size()), seen_(d.extents.size()) {
    std::vector<std::map<std::int64_t, std::int64_t>> hits(d.extents.size());
    std::vector<std::int64_t> at(d.extents.size());
    for (std::size_t cell = 0; cell < d.wrong.size(); ++cell) {
      locate(cell, at);
      wrong_ += d.wrong[cell] ? 1 : 0;
      for (std::size_t axis = 0; axis < at.size(); ++axis) {
        seen_[axis].insert(at[axis]);
        if (d.wrong[cell]) ++hits[axis][at[axis]];
      }
    }
    for (std::size_t axis = 0; axis < hits.size(); ++axis) {
      std::int64_t most = 0;
      for (const auto& [index, count] : hits[axis]) most = std::max(most, count);
      for (const auto& [index, count] : hits[axis])
        if (static_cast<double>(count) >= least_hit * static_cast<double>(most)) hot_[axis].insert(index);
    }
  }

  std::string name() const {
    const auto cells = std::ssize(damage_.wrong);
    if (wrong_ == 0 || cells < fewest_cells) return {};
    if (wrong_ == 1) return "one element";
    if (static_cast<double>(wrong_) >= 0.9 * static_cast<double>(cells)) return "everywhere";
    std::string found = sides() > 1 ? flat_tail() : "";
    if (found.empty()) found = by_axes();
    if (found.empty()) found = borders();
    if (found.empty()) found = checkerboard();
    return found.empty() ? "scattered" : found;
  }

 private:
  void locate(std::size_t cell, std::vector<std::int64_t>& at) const {
    auto rest = static_cast<std::int64_t>(cell);
    for (std::size_t axis = damage_.extents.size(); axis-- > 0;) {
      at[axis] = rest % damage_.extents[axis];
      rest /= damage_.extents[axis];
    }
  }

  /// Whether the cells for which `inside` holds are the wrong ones.
  template <class Inside>
  bool fits(Inside inside) const {
    std::vector<std::int64_t> at(damage_.extents.size());
    std::int64_t held = 0, caught = 0;
    for (std::size_t cell = 0; cell < damage_.wrong.size(); ++cell) {
      locate(cell, at);
      if (!inside(at)) continue;
      ++held;
      caught += damage_.wrong[cell] ? 1 : 0;
    }
    return held < std::ssize(damage_.wrong) &&
           static_cast<double>(wrong_ - caught) <= most_outside * static_cast<double>(wrong_) &&
           static_cast<double>(caught) >= least_inside * static_cast<double>(held);
  }

  /// `q=14`, `q=3, 7, 11, …`, `q=12…14`, in elements.
  std::string where(std::size_t axis, const index_set& at) const {
    const std::int64_t step = damage_.step[axis], first = *at.begin(), last = *at.rbegin();
    std::string text = letter(axis) + "=" + std::to_string(first * step);
    if (std::ssize(at) == last - first + 1) {
      const std::int64_t end = (last + 1) * step - 1;
      return end == first * step ? text : text + "…" + std::to_string(end);
    }
    int shown = 1;
    for (auto i = std::next(at.begin()); i != at.end() && shown < 4; ++i, ++shown)
      text += ", " + std::to_string(*i * step);
    return std::ssize(at) > shown ? text + ", …" : text;
  }

  std::string letter(std::size_t axis) const {
    return axis < damage_.axes.size() ? clean(damage_.axes[axis], 20) : "axis " + std::to_string(axis);
  }

  /// The distance between neighbours if it is everywhere the same and more than 1.
  static std::int64_t period(const index_set& at) {
    if (at.size() < 2) return 0;
    const std::int64_t distance = *std::next(at.begin()) - *at.begin();
    for (auto i = at.begin(); std::next(i) != at.end(); ++i)
      if (*std::next(i) - *i != distance) return 0;
    return distance > 1 ? distance : 0;
  }

  /// What the set of hit indices of one axis looks like.
  std::string describe(std::size_t axis) const {
    const index_set& at = hot_[axis];
    const std::int64_t extent = damage_.extents[axis], first = *at.begin(), last = *at.rbegin();
    const auto count = std::ssize(at);
    const axis_words words = words_of(axis < damage_.axes.size() ? damage_.axes[axis] : "");
    const std::string place = " (" + where(axis, at) + ")";
    const bool contiguous = count == last - first + 1, ends = last + 1 == extent, begins = first == 0;
    if (contiguous && ends && is_tail(extent, count)) return tail(words, count, place);
    if (contiguous && words.first == nullptr && std::string(words.one) == "channel")
      return "channel block" + place;
    if (contiguous && ends && words.last != nullptr)
      return count == 1 ? words.last + std::string(" border") + place : tail(words, count, place);
    if (contiguous && begins && words.first != nullptr) return words.first + std::string(" border") + place;
    if (contiguous && ends) return tail(words, count, place);
    if (contiguous) return "stripe: " + std::string(count == 1 ? words.one : words.many) + place;
    if (const std::int64_t every = period(at); every > 0 && (count > 2 || every == 2))
      return "stripe: every " + ordinal(every) + " " + words.one + place;
    if (begins && ends && words.first != nullptr && count <= 4)
      return words.first + std::string(" and ") + words.last + " borders" + place;
    return std::string(words.many) + place;
  }

  /// Most indices of an axis in no order: that some are missing says nothing.
  bool is_vague(std::size_t axis) const {
    const index_set& at = hot_[axis];
    return 2 * at.size() > seen_[axis].size() && std::ssize(at) < *at.rbegin() - *at.begin() + 1 &&
           period(at) == 0;
  }

  std::string tail(const axis_words& words, std::int64_t count, const std::string& place) const {
    return "tail: last " + (count == 1 ? std::string(words.one) : std::to_string(count) + " " + words.many) +
           place;
  }

  /// What is left over when an extent is cut into vectors or tiles.
  static bool is_tail(std::int64_t extent, std::int64_t count) {
    return count > 1 &&
           std::ranges::any_of(std::vector<std::int64_t>{4, 8, 16, 32, 64},
                               [&](std::int64_t width) { return extent > width && extent % width == count; });
  }

  static std::string ordinal(std::int64_t n) {
    return std::to_string(n) + (n == 2 ? "nd" : n == 3 ? "rd" : "th");
  }

  /// On how many axes only some indices are hit.
  int sides() const {
    int count = 0;
    for (std::size_t axis = 0; axis < hot_.size(); ++axis)
      count += hot_[axis].size() < seen_[axis].size() ? 1 : 0;
    return count;
  }

  /// Wrong where the index lies in a certain set on each axis.
  std::string by_axes() const {
    const auto inside = [&](const std::vector<std::int64_t>& at) {
      for (std::size_t axis = 0; axis < at.size(); ++axis)
        if (!hot_[axis].contains(at[axis])) return false;
      return true;
    };
    if (!fits(inside)) return {};
    std::string text;
    for (std::size_t axis = 0; axis < hot_.size(); ++axis)
      if (hot_[axis].size() < seen_[axis].size() && !is_vague(axis))
        text += (text.empty() ? "" : ", ") + describe(axis);
    return text;
  }

  /// Several sides of the last two axes at once.
  std::string borders() const {
    const std::size_t rank = damage_.extents.size();
    if (rank < 2) return {};
    const std::int64_t rows = damage_.extents[rank - 2], cols = damage_.extents[rank - 1];
    static constexpr const char* names[] = {"top", "bottom", "left", "right"};
    for (std::int64_t width = 1; width <= 3 && 2 * width < std::min(rows, cols); ++width)
      for (unsigned sides = 1; sides < 16; ++sides) {
        const auto on = [&](unsigned side) { return (sides >> side & 1U) != 0; };
        if (!fits([&](const std::vector<std::int64_t>& at) {
              const std::int64_t i = at[rank - 2], j = at[rank - 1];
              return (on(0) && i < width) || (on(1) && i >= rows - width) || (on(2) && j < width) ||
                     (on(3) && j >= cols - width);
            }))
          continue;
        if (sides == 15) return width == 1 ? "border" : "border " + std::to_string(width) + " wide";
        std::string text;
        for (unsigned side = 0; side < 4; ++side)
          if (on(side)) text += (text.empty() ? "" : " and ") + std::string(names[side]);
        return text + " borders";
      }
    return {};
  }

  std::string checkerboard() const {
    const std::size_t rank = damage_.extents.size();
    if (rank < 2) return {};
    for (const std::int64_t parity : {0, 1})
      if (fits([&](const std::vector<std::int64_t>& at) {
            return (at[rank - 2] + at[rank - 1]) % 2 == parity;
          }))
        return "checkerboard";
    return {};
  }

  /// The end of each image, or of the whole tensor, in memory order.
  std::string flat_tail() const {
    const std::size_t rank = damage_.extents.size();
    if (rank < 2) return {};
    const std::int64_t image = damage_.extents[rank - 2] * damage_.extents[rank - 1],
                       all = std::ssize(damage_.wrong);
    for (const std::int64_t length : {image, all}) {
      std::int64_t first = length;
      for (std::int64_t cell = 0; cell < all; ++cell)
        if (damage_.wrong[static_cast<std::size_t>(cell)]) first = std::min(first, cell % length);
      std::int64_t held = 0;
      for (std::int64_t cell = 0; cell < all; ++cell) held += cell % length >= first ? 1 : 0;
      if (2 * (length - first) > length ||
          static_cast<double>(wrong_) < least_inside * static_cast<double>(held))
        continue;
      const std::string whole = length == image ? "image" : "tensor";
      const bool single = std::ranges::all_of(damage_.step, [](std::int64_t step) { return step == 1; });
      return "tail of the " + whole + (single ? ": its last " + plural(length - first, "element") : "");
    }
    return {};
  }

  const damage& damage_;
  std::vector<index_set> hot_;   ///< indices at which something is wrong, by axis
  std::vector<index_set> seen_;  ///< indices that were looked at
  std::int64_t wrong_ = 0;
};

bool is_wrong(double share) { return !(std::abs(share) <= 1); }

}  // namespace

std::string name_pattern(const damage& d) {
  const bool empty = std::ranges::any_of(d.extents, [](std::int64_t extent) { return extent <= 0; });
  return empty || d.extents.empty() ? "" : classifier(d).name();
}

std::string pattern_of(const record::heat_map& map) {
  if (map.tiles.empty() || map.tiles.front().rows == 0 || map.tiles.front().cols == 0) return {};
  damage d;
  d.extents = map.shape;
  d.axes = map.axes;
  d.step.assign(map.shape.size(), 1);
  if (map.shape.size() < 2) {  // one axis, or none, is drawn as a single row
    d.extents = {1, map.tiles.front().cols};
    d.axes = {"", map.axes.empty() ? "" : map.axes.front()};
    d.step = {1, map.col_step};
  } else {
    const std::size_t rank = map.shape.size();
    d.extents[rank - 2] = map.tiles.front().rows;
    d.extents[rank - 1] = map.tiles.front().cols;
    d.step[rank - 2] = map.row_step;
    d.step[rank - 1] = map.col_step;
  }
  for (const record::heat_tile& tile : map.tiles) {
    if (tile.rows != map.tiles.front().rows || tile.cols != map.tiles.front().cols) return {};
    for (const double share : tile.share) d.wrong.push_back(is_wrong(share));
  }
  return name_pattern(d);
}

std::vector<bool> wrong_elements(const record::counterexample& c, const record::tensor_dump& got) {
  std::vector<bool> wrong(got.values.size(), false);
  for (const std::int64_t flat : got.marked)
    if (flat >= 0 && flat < std::ssize(wrong)) wrong[static_cast<std::size_t>(flat)] = true;
  const bool bits = c.wrong && c.wrong->statistical_bound == 0 && c.wrong->proven_bound == 0;
  if (!bits || c.wrong->tensor != got.name) return wrong;
  for (const record::tensor_dump& t : c.tensors) {
    if (t.role != record::tensor_role::expected || t.name != got.name || t.values.size() != got.values.size())
      continue;
    for (std::size_t i = 0; i < wrong.size(); ++i) {
      const bool both_nan = std::isnan(got.values[i]) && std::isnan(t.values[i]);
      if (!both_nan && !(got.values[i] == t.values[i])) wrong[i] = true;
    }
  }
  return wrong;
}

std::string pattern_of(const record::counterexample& c, const record::heat_map* heat) {
  if (!c.pattern.empty()) return c.pattern;
  if (heat != nullptr && (heat->replay == c.original_replay || heat->replay == c.replay))
    if (std::string found = pattern_of(*heat); !found.empty()) return found;
  for (const record::tensor_dump& t : c.tensors)
    if (t.role == record::tensor_role::got && !t.marked.empty()) {
      damage d{t.shape, std::vector<std::int64_t>(t.shape.size(), 1), t.axes, wrong_elements(c, t)};
      if (std::string found = name_pattern(d); !found.empty()) return found;
    }
  return {};
}

}  // namespace plumb::reports
