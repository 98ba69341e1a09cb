// Problems of the rearranging layers whose attributes are lists as long as x has axes (or pieces): permute,
// slice, reshape, concat, split. Points start with the rank and the extents of x; axes that x lacks are 1 and
// have the simplest numbers.
#include <numeric>

#include "properties/generators/problem_space.hpp"
#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

constexpr std::size_t most_axes = 4;

class listed_problems : public problem_space {
 public:
  std::optional<problem> build(const point& at) const override {
    if (at[0] < 1 || at[0] > static_cast<index_t>(most_axes)) return std::nullopt;
    for (std::size_t axis = 0; axis < most_axes; ++axis)
      if (at[1 + axis] < 0 || (axis >= axes(at) && at[1 + axis] != 1)) return std::nullopt;
    problem text(layer());
    if (!write(at, text)) return std::nullopt;
    try {
      return plumb::bind(text)->canonical();
    } catch (const std::invalid_argument&) {
      return std::nullopt;
    }
  }

  double work(const point& at) const override {
    return std::accumulate(at.begin() + 1, at.begin() + 1 + most_axes, 1.0, std::multiplies<>());
  }

 protected:
  explicit listed_problems(std::string layer) : problem_space(std::move(layer)) {
    add_choice("rank", 1);
    for (std::size_t axis = 0; axis < most_axes; ++axis) add("x." + std::to_string(axis), 1);
    trigger("no elements", [this](const point& at) { return work(at) == 0; });
    trigger("an axis of several vectors", [](const point& at) {
      return std::any_of(at.begin() + 1, at.begin() + 5, [](index_t e) { return e > 16; });
    });
    for (index_t rank = 1; rank <= static_cast<index_t>(most_axes); ++rank)
      trigger("rank " + std::to_string(rank), [rank](const point& at) { return at[0] == rank; });
  }

  /// Shapes and attributes; false if the point stands for no problem.
  virtual bool write(const point& at, problem& text) const = 0;

  static std::size_t axes(const point& at) { return static_cast<std::size_t>(at[0]); }
  static shape extents(const point& at) { return shape(std::span<const index_t>(at).subspan(1, axes(at))); }

  /// `count` numbers of the point, as a list.
  static std::string list(const point& at, std::size_t first, std::size_t count) {
    return attribute::join(std::span<const index_t>(at).subspan(first, count), 'x');
  }
  /// All from `first + used` to `first + room` have their simplest value.
  bool rest_is_simple(const point& at, std::size_t first, std::size_t used, std::size_t room) const {
    for (std::size_t i = first + used; i < first + room; ++i)
      if (at[i] != parameters()[i].simplest) return false;
    return true;
  }

  point simplest() const {
    point at;
    for (const parameter& p : parameters()) at.push_back(p.simplest);
    return at;
  }

  /// The point with the rank and extents of x, the rest simplest; nothing if x has too many axes.
  std::optional<point> with_extents(const shape& x) const {
    if (x.rank() < 1 || x.rank() > static_cast<int>(most_axes)) return std::nullopt;
    point at = simplest();
    at[0] = x.rank();
    std::copy(x.begin(), x.end(), at.begin() + 1);
    return at;
  }

  point propose_extents(dice& d) const {
    point at = simplest();
    at[0] = d.between(1, static_cast<index_t>(most_axes));
    const auto any = [&]() -> index_t& { return at[static_cast<std::size_t>(d.between(1, at[0]))]; };
    for (std::size_t axis = 1; axis <= axes(at); ++axis)
      at[axis] = d.percent(60) ? d.narrow() : d.between(4, 9);
    if (d.percent(50)) any() = d.wide();
    const double budget = draw_budget(d);
    while (work(at) > budget) {
      index_t& extent = any();
      extent = std::max<index_t>(1, extent / 2);
    }
    if (d.percent(5)) any() = 0;
    return at;
  }
};

class permute_problems final : public listed_problems {
  static constexpr std::size_t order = 1 + most_axes;

 public:
  explicit permute_problems(std::string name) : listed_problems(std::move(name)) {
    for (std::size_t axis = 0; axis < most_axes; ++axis)
      add_choice("order." + std::to_string(axis), static_cast<index_t>(axis));
    trigger("nothing moves", [](const point& at) { return std::is_sorted(at.begin() + order, at.end()); });
    trigger("the batch moves", [](const point& at) { return at[order] != 0; });
    trigger("the last axis moves", [](const point& at) { return at[order + axes(at) - 1] != at[0] - 1; });
    trigger("its inverse is another", [](const point& at) {
      for (std::size_t i = 0; i < axes(at); ++i)
        if (at[order + static_cast<std::size_t>(at[order + i])] != static_cast<index_t>(i)) return true;
      return false;
    });
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    auto at = with_extents(l.shapes()["x"]);
    if (at) std::ranges::copy(l.canonical().integers("order"), at->begin() + order);
    return at;
  }

  /// One axis less; two axes of the order changed places.
  std::vector<point> moves(const point& from) const override {
    std::vector<point> list;
    const std::size_t last = axes(from) - 1;
    if (last > 0) {
      point fewer = from;
      const auto begin = fewer.begin() + order, found = std::find(begin, fewer.end(), from[0] - 1);
      std::rotate(found, found + 1, begin + static_cast<std::ptrdiff_t>(axes(from)));
      fewer[0] -= 1;
      fewer[1 + last] = 1;
      list.push_back(fewer);
    }
    for (std::size_t i = 0; i < last; ++i) {
      point sorted = from;
      if (sorted[order + i] < sorted[order + i + 1]) continue;
      std::swap(sorted[order + i], sorted[order + i + 1]);
      list.push_back(sorted);
    }
    return list;
  }

 private:
  bool write(const point& at, problem& text) const override {
    text.set("x", to_string(extents(at)));
    text.set("order", list(at, order, axes(at)));
    return rest_is_simple(at, order, axes(at), most_axes);
  }
  point propose(dice& d) const override {
    point at = propose_extents(d);
    for (std::size_t i = axes(at) - 1; i > 0; --i)
      std::swap(at[order + i], at[order + static_cast<std::size_t>(d.between(0, static_cast<index_t>(i)))]);
    return at;
  }
};

class slice_problems final : public listed_problems {
  static constexpr std::size_t start = 1 + most_axes, stop = start + most_axes, step = stop + most_axes;

 public:
  explicit slice_problems(std::string name) : listed_problems(std::move(name)) {
    for (const auto& [word, simplest] :
         {std::pair("start.", 0), std::pair("stop.", 1), std::pair("step.", 1)})
      for (std::size_t axis = 0; axis < most_axes; ++axis) add(word + std::to_string(axis), simplest);
    const auto some = [](std::size_t first, index_t above) {
      return [first, above](const point& at) {
        return std::any_of(at.begin() + static_cast<std::ptrdiff_t>(first),
                           at.begin() + static_cast<std::ptrdiff_t>(first + axes(at)),
                           [&](index_t v) { return v > above; });
      };
    };
    trigger("starts inside", some(start, 0));
    trigger("stops early", [](const point& at) {
      for (std::size_t a = 0; a < axes(at); ++a)
        if (at[stop + a] < at[1 + a]) return true;
      return false;
    });
    trigger("steps", some(step, 1));
    trigger("a step that leaves a rest", [](const point& at) {
      for (std::size_t a = 0; a < axes(at); ++a)
        if ((at[stop + a] - at[start + a]) % at[step + a] != 0) return true;
      return false;
    });
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    auto at = with_extents(l.shapes()["x"]);
    if (!at) return at;
    std::ranges::copy(l.canonical().integers("start"), at->begin() + start);
    std::ranges::copy(l.canonical().integers("stop"), at->begin() + stop);
    std::ranges::copy(l.canonical().integers("step"), at->begin() + step);
    return at;
  }

  /// One axis less, with all that is said about it.
  std::vector<point> moves(const point& from) const override {
    if (from[0] == 1) return {};
    point fewer = from;
    const std::size_t last = axes(from) - 1;
    fewer[0] -= 1;
    for (const std::size_t first : {std::size_t{1}, start, stop, step})
      fewer[first + last] = parameters()[first + last].simplest;
    return {fewer};
  }

 private:
  bool write(const point& at, problem& text) const override {
    text.set("x", to_string(extents(at)));
    text.set("start", list(at, start, axes(at)));
    text.set("stop", list(at, stop, axes(at)));
    text.set("step", list(at, step, axes(at)));
    for (const std::size_t first : {start, stop, step})
      if (!rest_is_simple(at, first, axes(at), most_axes)) return false;
    return true;
  }
  point propose(dice& d) const override {
    point at = propose_extents(d);
    for (std::size_t a = 0; a < axes(at); ++a) {
      if (d.percent(50)) at[start + a] = d.between(0, at[1 + a] / 2);
      at[stop + a] = at[1 + a] - (d.percent(50) ? d.between(0, (at[1 + a] - at[start + a]) / 2) : 0);
      if (d.percent(60)) at[step + a] = d.of({2, 2, 3, 4, 7});
    }
    return at;
  }
};

class reshape_problems final : public listed_problems {
  static constexpr std::size_t count = 1 + most_axes, wish = count + 1;

 public:
  explicit reshape_problems(std::string name) : listed_problems(std::move(name)) {
    add_choice("axes of y", 1);
    for (std::size_t axis = 0; axis < most_axes; ++axis) add("y." + std::to_string(axis), 1);
    trigger("axes merge", [](const point& at) { return at[count] < at[0]; });
    trigger("axes are cut", [](const point& at) { return at[count] > at[0]; });
    trigger("as many axes", [](const point& at) { return at[count] == at[0]; });
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    auto at = with_extents(l.shapes()["x"]);
    const shape& y = l.shapes()["y"];
    if (!at || y.rank() < 1 || y.rank() > static_cast<int>(most_axes)) return std::nullopt;
    (*at)[count] = y.rank();
    std::copy(y.begin(), y.end(), at->begin() + wish);
    return at;
  }

  /// A factor taken from an axis of x and one of y together; the last axis of either gone if it is 1.
  std::vector<point> moves(const point& from) const override {
    std::vector<point> list;
    for (std::size_t a = 1; a <= axes(from); ++a)
      for (std::size_t b = wish; b < wish + static_cast<std::size_t>(from[count]); ++b)
        for (const index_t factor : {std::gcd(from[a], from[b]), index_t{2}, index_t{3}}) {
          if (factor < 2 || from[a] % factor != 0 || from[b] % factor != 0) continue;
          point smaller = from;
          smaller[a] /= factor;
          smaller[b] /= factor;
          list.push_back(smaller);
        }
    return list;
  }

 private:
  bool write(const point& at, problem& text) const override {
    if (at[count] < 1 || at[count] > static_cast<index_t>(most_axes)) return false;
    const auto used = static_cast<std::size_t>(at[count]);
    text.set("x", to_string(extents(at)));
    text.set("shape", list(at, wish, used));
    return rest_is_simple(at, wish, used, most_axes);
  }
  /// Prime factors of all extents, dealt out anew.
  point propose(dice& d) const override {
    point at = propose_extents(d);
    at[count] = d.between(1, static_cast<index_t>(most_axes));
    const auto any = [&]() -> index_t& {
      return at[wish + static_cast<std::size_t>(d.between(0, at[count] - 1))];
    };
    for (std::size_t a = 1; a <= axes(at); ++a) {
      index_t rest = at[a];
      if (rest == 0) {
        any() = 0;
        continue;
      }
      for (index_t factor = 2; rest > 1; ++factor)
        for (; rest % factor == 0; rest /= factor) any() *= factor;
    }
    return at;
  }
};

/// concat and split: the same numbers, x0, x1, … and y in the one, y0, y1, … and x in the other.
class piece_problems final : public listed_problems {
  static constexpr std::size_t axis = 1 + most_axes, count = axis + 1, size = count + 1, most_pieces = 3;

 public:
  piece_problems(std::string name, bool joins) : listed_problems(std::move(name)), joins_(joins) {
    add_choice("axis", 0);
    add_choice("pieces", 1);
    for (std::size_t i = 0; i < most_pieces; ++i) add("size." + std::to_string(i), 1);
    trigger("along the batch", [](const point& at) { return at[axis] == 0; });
    trigger("along the last axis", [](const point& at) { return at[axis] == at[0] - 1; });
    trigger("unequal pieces", [](const point& at) { return at[count] > 1 && at[size] != at[size + 1]; });
    trigger("an empty piece", [](const point& at) { return std::count(at.begin() + size, at.end(), 0) > 0; });
    for (index_t pieces = 1; pieces <= static_cast<index_t>(most_pieces); ++pieces)
      trigger(std::to_string(pieces) + " pieces", [pieces](const point& at) { return at[count] == pieces; });
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    auto at = with_extents(l.shapes()[joins_ ? "y" : "x"]);
    if (!at) return at;
    (*at)[axis] = l.resolved().integer("axis");
    const std::size_t pieces = (joins_ ? l.describe().inputs : l.describe().outputs).size();
    if (pieces > most_pieces) return std::nullopt;
    (*at)[count] = static_cast<index_t>(pieces);
    for (std::size_t i = 0; i < pieces; ++i)
      (*at)[size + i] = l.shapes()[piece(i)][static_cast<int>((*at)[axis])];
    (*at)[1 + static_cast<std::size_t>((*at)[axis])] = 1;
    return at;
  }

  double work(const point& at) const override {
    return listed_problems::work(at) * static_cast<double>(at[size] + at[size + 1] + at[size + 2]);
  }

  /// The last axis gone, if it is not the one of the pieces; the last piece gone.
  std::vector<point> moves(const point& from) const override {
    std::vector<point> list;
    if (from[0] > 1 && from[axis] != from[0] - 1) {
      point fewer = from;
      fewer[axes(from)] = 1;
      fewer[0] -= 1;
      list.push_back(fewer);
    }
    if (from[0] > 1) {  // what lies in front of the axis gone
      point front = from;
      if (front[axis] > 0) {
        std::rotate(front.begin() + 1, front.begin() + 2,
                    front.begin() + 1 + static_cast<std::ptrdiff_t>(axes(from)));
        front[axes(from)] = 1;
        front[axis] -= 1;
        front[0] -= 1;
        list.push_back(front);
      }
    }
    if (from[count] > 1) {
      point fewer = from;
      fewer[size + static_cast<std::size_t>(from[count]) - 1] = 1;
      fewer[count] -= 1;
      list.push_back(fewer);
    }
    return list;
  }

 private:
  std::string piece(std::size_t i) const { return (joins_ ? "x" : "y") + std::to_string(i); }

  /// The extent along the axis is that of the pieces; the coordinate of x there stays 1.
  bool write(const point& at, problem& text) const override {
    if (at[count] < 1 || at[count] > static_cast<index_t>(most_pieces)) return false;
    if (at[axis] < 0 || at[axis] >= at[0] || at[1 + static_cast<std::size_t>(at[axis])] != 1) return false;
    const auto pieces = static_cast<std::size_t>(at[count]);
    const int along = static_cast<int>(at[axis]);
    shape x = extents(at);
    if (joins_) {
      for (std::size_t i = 0; i < pieces; ++i) {
        x[along] = at[size + i];
        text.set(piece(i), to_string(x));
      }
      text.set("count", std::to_string(pieces));
    } else {
      x[along] = 0;
      for (std::size_t i = 0; i < pieces; ++i) x[along] += at[size + i];
      text.set("x", to_string(x));
      text.set("sizes", list(at, size, pieces));
    }
    text.set("axis", std::to_string(along));
    return std::all_of(at.begin() + size, at.end(), [](index_t s) { return s >= 0; }) &&
           rest_is_simple(at, size, pieces, most_pieces);
  }
  point propose(dice& d) const override {
    point at = propose_extents(d);
    at[axis] = d.between(0, at[0] - 1);
    at[count] = d.of({1, 2, 2, 2, 3, 3});
    const index_t extent = std::max<index_t>(1, at[1 + static_cast<std::size_t>(at[axis])]);
    at[1 + static_cast<std::size_t>(at[axis])] = 1;
    for (std::size_t i = 0; i < static_cast<std::size_t>(at[count]); ++i)
      at[size + i] = d.percent(8) ? 0 : d.between(1, extent);
    return at;
  }

  bool joins_;
};

}  // namespace

std::unique_ptr<problem_space> permute_space(std::string layer, int /*rank*/) {
  return std::make_unique<permute_problems>(std::move(layer));
}
std::unique_ptr<problem_space> slice_space(std::string layer, int /*rank*/) {
  return std::make_unique<slice_problems>(std::move(layer));
}
std::unique_ptr<problem_space> reshape_space(std::string layer, int /*rank*/) {
  return std::make_unique<reshape_problems>(std::move(layer));
}
std::unique_ptr<problem_space> concat_space(std::string layer, int /*rank*/) {
  return std::make_unique<piece_problems>(std::move(layer), true);
}
std::unique_ptr<problem_space> split_space(std::string layer, int /*rank*/) {
  return std::make_unique<piece_problems>(std::move(layer), false);
}

}  // namespace plumb
