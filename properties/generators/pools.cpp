// Problems of average and power-average pooling, whose windows slide, and of adaptive and fractional pooling,
// whose windows follow from the number of outputs. Max pooling has a space of its own.
#include "properties/generators/problem_space.hpp"
#include "properties/generators/problem_text.hpp"
#include "properties/generators/slide.hpp"
#include "reference/layers/spatial.hpp"

namespace plumb {
namespace {

/// Triggers of the batch and the channels at coordinates `n` and `c`.
void add_batch_triggers(std::size_t n, std::size_t c,
                        const std::function<void(std::string, std::function<bool(const point&)>)>& add) {
  add("N=0", [n](const point& at) { return at[n] == 0; });
  add("N>1", [n](const point& at) { return at[n] > 1; });
  add("C=1", [c](const point& at) { return at[c] == 1; });
  add("C>8", [c](const point& at) { return at[c] > 8; });
}

// Average and power-average pooling --------------------------------------------------------------------

/// Coordinates: ceil_mode, count_include_pad (1: false), divisor_override (0: none) and the number of a norm;
/// then for each axis stride, padding on both sides, window and extent; then N and C. Average pooling has no
/// norm, power-average pooling has neither padding nor divisor.
class sliding_pool_problems final : public problem_space {
  enum at_front : std::size_t { ceil, cells_only, divisor, norm, first_axis };
  enum in_axis : std::size_t { stride, before, after, window, extent, axis_size };
  static constexpr std::array<const char*, 5> norms = {"2", "1", "3", "1.5", "4"};

 public:
  sliding_pool_problems(std::string name, int rank, bool average)
      : problem_space(std::move(name)), rank_(static_cast<std::size_t>(rank)), average_(average) {
    for (const char* option : {"ceil_mode", "cells only", "divisor_override", "norm"}) add_choice(option, 0);
    for (int axis = 0; axis < rank; ++axis) {
      const std::string letter(1, axis_letter(rank, axis));
      add("stride." + letter, 1);
      for (const char* side : {"before.", "after."}) add(side + letter, 0);
      for (const char* size : {"window.", "extent."}) add(size + letter, 1);
    }
    for (const char* size : {"N", "C"}) add(size, 1);
    add_triggers();
  }

  std::optional<problem> build(const point& at) const override {
    if (at[n()] < 0 || at[c()] < 1 || at[divisor] < 0) return std::nullopt;
    if (at[norm] < 0 || at[norm] >= static_cast<index_t>(norms.size())) return std::nullopt;
    if (average_ ? at[norm] != 0 : at[cells_only] != 0 || at[divisor] != 0) return std::nullopt;
    shape x{at[n()], at[c()]};
    std::vector<index_t> windows, strides, pads;
    for (const slide& a : axes(at)) {
      if (!legal(a)) return std::nullopt;
      x.push_back(a.extent);
      windows.push_back(a.window);
      strides.push_back(a.stride);
      pads.insert(pads.end(), {a.before, a.after});
    }
    problem text(layer());
    text.set("x", to_string(x));
    set_axes(text, "window", windows, 0);
    if (strides != windows) set_axes(text, "stride", strides, 0);
    if (average_) set_sides(text, "pad", pads);
    if (at[norm] != 0) text.set("norm", norms[static_cast<std::size_t>(at[norm])]);
    if (at[ceil] != 0) text.set("ceil_mode", "true");
    if (at[cells_only] != 0) text.set("count_include_pad", "false");
    if (at[divisor] != 0) text.set("divisor_override", std::to_string(at[divisor]));
    return text;
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const problem& text = l.resolved();
    const shape x = text.shape_of("x");
    point at(first_axis + axis_size * rank_ + 2, 0);
    at[ceil] = text.flag("ceil_mode");
    if (average_) at[cells_only] = !text.flag("count_include_pad");
    if (text.has("divisor_override")) at[divisor] = text.integer("divisor_override");
    if (text.has("norm")) at[norm] = std::ranges::find(norms, text.text("norm")) - norms.begin();
    if (at[norm] == static_cast<index_t>(norms.size())) return std::nullopt;
    const auto windows = text.integers("window"), strides = text.integers("stride");
    const auto pads = average_ ? text.integers("pad") : std::vector<index_t>(2 * rank_, 0);
    for (std::size_t i = 0; i < rank_; ++i) {
      index_t* numbers = &at[first_axis + axis_size * i];
      numbers[stride] = strides[i];
      numbers[before] = pads[2 * i];
      numbers[after] = pads[2 * i + 1];
      numbers[window] = windows[i];
      numbers[extent] = x[2 + static_cast<int>(i)];
    }
    at[n()] = x[0];
    at[c()] = x[1];
    return at;
  }

  /// A cell of padding turned into a cell of input.
  std::vector<point> moves(const point& from) const override {
    std::vector<point> simpler;
    for (std::size_t i = 0; i < rank_; ++i)
      for (const std::size_t side : {before, after})
        if (from[first_axis + axis_size * i + side] > 0) {
          point p = from;
          p[first_axis + axis_size * i + side] -= 1;
          p[first_axis + axis_size * i + extent] += 1;
          simpler.push_back(p);
        }
    return simpler;
  }

  /// Cells visited by the forward pass.
  double work(const point& at) const override {
    double product = static_cast<double>(at[n()] * at[c()]);
    for (const slide& a : axes(at)) product *= static_cast<double>(a.window * a.outputs());
    return product;
  }

 private:
  std::size_t n() const { return first_axis + axis_size * rank_; }
  std::size_t c() const { return n() + 1; }

  std::vector<slide> axes(const point& at) const {
    std::vector<slide> list(rank_);
    for (std::size_t i = 0; i < rank_; ++i) {
      const index_t* p = &at[first_axis + axis_size * i];
      list[i] = {1, p[stride], p[before], p[after], p[window], p[extent], at[ceil] != 0};
    }
    return list;
  }

  bool legal(const slide& a) const {
    if (average_ && rank_ == 3 && a.window > a.extent) return false;
    return a.legal() && 2 * std::max(a.before, a.after) <= a.window && a.outputs() >= 1 &&
           (average_ || a.before + a.after == 0);
  }

  point propose(dice& d) const override {
    point at(first_axis + axis_size * rank_ + 2, 1);
    at[ceil] = d.percent(40);
    at[cells_only] = average_ && d.percent(40);
    at[divisor] = average_ && d.percent(20) ? d.between(1, 9) : 0;
    at[norm] = average_ ? 0 : d.of({0, 0, 1, 2, 3, 4});
    at[n()] = d.of({1, 1, 2, 2, 3, 4});
    at[c()] = d.narrow();
    std::size_t kept = n();
    index_t row = d.between(1, 9);
    if (d.percent(35)) {
      at[kept = c()] = d.wide();
    } else if (d.percent(40)) {
      kept = first_axis + axis_size * (rank_ - 1) + extent;
      row = d.wide();
    }
    const auto style =
        average_ ? static_cast<padding_style>(d.of({0, 1, 2, 3, 4, 4, 4, 4})) : padding_style::none;
    for (std::size_t i = 0; i < rank_; ++i) {
      const slide_limits limits{.at_most_half = true, .ceil = at[ceil] != 0};
      const slide a = draw_slide(d, i + 1 == rank_ ? row : d.of({1, 2, 2, 3, 3, 4, 5, 7}), style, limits);
      index_t* p = &at[first_axis + axis_size * i];
      p[window] = a.window;
      p[stride] = d.percent(15) ? a.window : a.stride;
      p[before] = std::min(a.before, a.window / 2);
      p[after] = std::min(a.after, a.window / 2);
      p[extent] = a.extent;
    }
    shrink_to(draw_budget(d), d, at, kept);
    if (d.percent(3)) at[n()] = 0;
    return at;
  }

  /// Halves the batch, the channels or an extent until the work is within the budget; `kept` gives way last.
  void shrink_to(double budget, dice& d, point& at, std::size_t kept) const {
    for (int tries = 0; work(at) > budget; ++tries) {
      const auto axis = static_cast<std::size_t>(d.between(0, static_cast<index_t>(rank_) - 1));
      const std::size_t victim = tries % 2 == 0 ? n() + static_cast<std::size_t>(d.between(0, 1))
                                                : first_axis + axis_size * axis + extent;
      if (victim == kept && tries < 64) continue;
      const index_t old = at[victim];
      at[victim] = std::max<index_t>(1, old / 2);
      if (!std::ranges::all_of(axes(at), [this](const slide& a) { return legal(a); })) at[victim] = old;
      if (tries > 200) at[n()] = 0;
    }
  }

  void add_triggers() {
    const auto add_rule = [this](std::string name, std::function<bool(const point&)> f) {
      trigger(std::move(name), std::move(f));
    };
    const auto any = [&](std::string name, bool (*holds)(const slide&)) {
      trigger(std::move(name),
              [this, holds](const point& at) { return std::ranges::any_of(axes(at), holds); });
    };
    any("window > stride", [](const slide& a) { return a.window > a.stride; });
    any("window = stride", [](const slide& a) { return a.window == a.stride && a.stride > 1; });
    any("window < stride", [](const slide& a) { return a.window < a.stride; });
    any("cells left over", [](const slide& a) { return !a.ceil && a.remainder() != 0; });
    any("one-element axis", [](const slide& a) { return a.extent == 1; });
    any("one output", [](const slide& a) { return a.outputs() == 1; });
    any("row as long as a vector", [](const slide& a) { return a.outputs() == 8 || a.outputs() == 16; });
    any("row longer than a vector by one",
        [](const slide& a) { return a.outputs() == 9 || a.outputs() == 17; });
    any("ceil: overhang beyond the data",
        [](const slide& a) { return a.ceil && a.after == 0 && a.overhangs(); });
    any("ceil: no overhang", [](const slide& a) { return a.ceil && !a.overhangs(); });
    if (average_) {
      any("pad = window/2",
          [](const slide& a) { return a.window > 1 && a.before == a.window / 2 && a.after == a.before; });
      any("asymmetric padding", [](const slide& a) { return a.before != a.after; });
      any("ceil: overhang into the padding",
          [](const slide& a) { return a.ceil && a.after > 0 && a.overhangs(); });
      trigger("cells only, with padding", [this](const point& at) {
        return at[cells_only] != 0 &&
               std::ranges::any_of(axes(at), [](const slide& a) { return a.before + a.after > 0; });
      });
      trigger("divisor_override", [](const point& at) { return at[divisor] != 0; });
    } else {
      for (std::size_t i = 0; i < norms.size(); ++i)
        trigger(std::string("norm=") + norms[i],
                [i](const point& at) { return at[norm] == static_cast<index_t>(i); });
    }
    add_batch_triggers(n(), c(), add_rule);
  }

  std::size_t rank_;
  bool average_;
};

// Adaptive and fractional pooling ----------------------------------------------------------------------

/// Coordinates: for each axis window, outputs and extent; then N and C. Adaptive pooling has no window.
class sized_pool_problems final : public problem_space {
  enum in_axis : std::size_t { window, outputs, extent, axis_size };

 public:
  sized_pool_problems(std::string name, int rank, bool fractional)
      : problem_space(std::move(name)), rank_(static_cast<std::size_t>(rank)), fractional_(fractional) {
    for (int axis = 0; axis < rank; ++axis)
      for (const char* size : {"window.", "outputs.", "extent."})
        add(size + std::string(1, axis_letter(rank, axis)), 1);
    for (const char* size : {"N", "C"}) add(size, 1);
    add_triggers();
  }

  std::optional<problem> build(const point& at) const override {
    if (at[n()] < 0 || at[c()] < 1) return std::nullopt;
    shape x{at[n()], at[c()]};
    std::vector<index_t> windows, sizes;
    for (std::size_t i = 0; i < rank_; ++i) {
      const index_t* p = &at[axis_size * i];
      if (p[window] < 1 || p[outputs] < (fractional_ ? 1 : 0) || p[extent] < 1) return std::nullopt;
      if (fractional_ ? p[extent] < least_extent(p) : p[window] != 1) return std::nullopt;
      x.push_back(p[extent]);
      windows.push_back(p[window]);
      sizes.push_back(p[outputs]);
    }
    problem text(layer());
    text.set("x", to_string(x));
    if (fractional_) {
      text.set("u", to_string(shape{x[0], x[1], static_cast<index_t>(rank_)}));
      set_axes(text, "window", windows, 0);
    }
    set_axes(text, "output", sizes, -1);
    return text;
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const shape &x = l.shapes()["x"], &y = l.shapes()["y"];
    point at(axis_size * rank_ + 2, 1);
    for (std::size_t i = 0; i < rank_; ++i) {
      index_t* p = &at[axis_size * i];
      if (fractional_) p[window] = l.resolved().integers("window")[i];
      p[outputs] = y[2 + static_cast<int>(i)];
      p[extent] = x[2 + static_cast<int>(i)];
    }
    at[n()] = x[0];
    at[c()] = x[1];
    return at;
  }

  /// Cells visited by the forward pass, about.
  double work(const point& at) const override {
    double product = static_cast<double>(at[n()] * at[c()]);
    for (std::size_t i = 0; i < rank_; ++i) {
      const index_t* p = &at[axis_size * i];
      product *= static_cast<double>(fractional_ ? p[window] * p[outputs] : p[outputs] + p[extent]);
    }
    return product;
  }

 private:
  std::size_t n() const { return axis_size * rank_; }
  std::size_t c() const { return n() + 1; }

  /// Of fractional pooling; in rank 3 the specification asks for one cell more.
  index_t least_extent(const index_t* axis) const {
    return axis[outputs] + axis[window] - (rank_ == 3 ? 0 : 1);
  }

  point propose(dice& d) const override {
    point at(axis_size * rank_ + 2, 1);
    at[n()] = d.of({1, 1, 2, 2, 3});
    at[c()] = d.percent(35) ? d.wide() : d.narrow();
    for (std::size_t i = 0; i < rank_; ++i) {
      index_t* p = &at[axis_size * i];
      p[extent] = i + 1 == rank_ && d.percent(25) ? d.wide() : d.between(1, 9);
      if (fractional_) {
        p[window] = d.of({1, 2, 2, 2, 3, 3, 4});
        p[outputs] = d.between(1, 6);
        p[extent] = least_extent(p) + d.of({0, 0, 1, 2, 3, p[extent]});
      } else {
        p[outputs] = d.of({1, 2, 3, 4, 5, 7, 8, p[extent], 2 * p[extent], (p[extent] + 1) / 2});
      }
    }
    const double budget = draw_budget(d);
    for (int tries = 0; work(at) > budget; ++tries) {
      index_t& number =
          at[tries % 2 == 0 ? n() + static_cast<std::size_t>(d.between(0, 1))
                            : static_cast<std::size_t>(d.between(0, static_cast<index_t>(n()) - 1))];
      number = std::max<index_t>(1, number / 2);
    }
    if (d.percent(3)) at[n()] = 0;
    if (!fractional_ && d.percent(3)) at[outputs] = 0;
    return at;
  }

  void add_triggers() {
    const auto any = [this](std::string name, auto holds) {
      trigger(std::move(name), [this, holds](const point& at) {
        for (std::size_t i = 0; i < rank_; ++i)
          if (holds(&at[axis_size * i])) return true;
        return false;
      });
    };
    any("O=1", [](const index_t* p) { return p[outputs] == 1; });
    if (fractional_) {
      any("windows overlap", [](const index_t* p) { return p[outputs] * p[window] > p[extent]; });
      any("cells left out", [](const index_t* p) { return p[outputs] * p[window] < p[extent]; });
      any("as many windows as fit", [this](const index_t* p) { return p[extent] == least_extent(p); });
    } else {
      any("O=0", [](const index_t* p) { return p[outputs] == 0; });
      any("O=I", [](const index_t* p) { return p[outputs] == p[extent]; });
      any("O=2I", [](const index_t* p) { return p[outputs] == 2 * p[extent]; });
      any("O>I", [](const index_t* p) { return p[outputs] > p[extent]; });
      any("I%O!=0", [](const index_t* p) { return p[outputs] > 0 && p[extent] % p[outputs] != 0; });
      any("I=1", [](const index_t* p) { return p[extent] == 1; });
    }
    add_batch_triggers(n(), c(), [this](std::string name, std::function<bool(const point&)> f) {
      trigger(std::move(name), std::move(f));
    });
  }

  std::size_t rank_;
  bool fractional_;
};

}  // namespace

std::unique_ptr<problem_space> avg_pool_space(std::string layer, int rank) {
  return std::make_unique<sliding_pool_problems>(std::move(layer), rank, true);
}
std::unique_ptr<problem_space> lp_pool_space(std::string layer, int rank) {
  return std::make_unique<sliding_pool_problems>(std::move(layer), rank, false);
}
std::unique_ptr<problem_space> adaptive_pool_space(std::string layer, int rank) {
  return std::make_unique<sized_pool_problems>(std::move(layer), rank, false);
}
std::unique_ptr<problem_space> fractional_pool_space(std::string layer, int rank) {
  return std::make_unique<sized_pool_problems>(std::move(layer), rank, true);
}

}  // namespace plumb
