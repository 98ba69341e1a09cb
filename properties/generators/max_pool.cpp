// Problems of max pooling, rank 1 to 3. Coordinates: ceil_mode, fit; then for each axis dilation, stride,
// padding on both sides, window and extent; then N and C. A side is padded by half a window at most, and
// every window must see a cell.
#include "properties/generators/problem_space.hpp"
#include "properties/generators/problem_text.hpp"
#include "properties/generators/slide.hpp"

namespace plumb {
namespace {

class max_pool_problems final : public problem_space {
  enum at_front : std::size_t { ceil, exact, first_axis };
  enum in_axis : std::size_t { dilation, stride, before, after, window, extent, axis_size };

 public:
  max_pool_problems(std::string name, int rank)
      : problem_space(std::move(name)), rank_(static_cast<std::size_t>(rank)) {
    for (const char* attribute : {"ceil_mode", "fit"}) add_choice(attribute, 0);
    for (int axis = 0; axis < rank; ++axis) {
      const std::string letter(1, "dhw"[3 - rank + axis]);
      for (const char* one : {"dilation.", "stride."}) add(one + letter, 1);
      for (const char* side : {"before.", "after."}) add(side + letter, 0);
      for (const char* size : {"window.", "extent."}) add(size + letter, 1);
    }
    for (const char* size : {"N", "C"}) add(size, 1);
    add_triggers();
  }

  std::optional<problem> build(const point& at) const override {
    if (at[n()] < 0 || at[c()] < 1) return std::nullopt;
    shape x{at[n()], at[c()]};
    std::vector<index_t> windows, strides, dilations, pads;
    for (const slide& a : axes(at)) {
      if (!legal(a) || (at[exact] != 0 && a.remainder() != 0)) return std::nullopt;
      x.push_back(a.extent);
      windows.push_back(a.window);
      strides.push_back(a.stride);
      dilations.push_back(a.dilation);
      pads.insert(pads.end(), {a.before, a.after});
    }
    problem text(layer());
    text.set("x", to_string(x));
    set_axes(text, "window", windows, 0);
    if (strides != windows) set_axes(text, "stride", strides, 0);
    set_sides(text, "pad", pads);
    set_axes(text, "dilation", dilations, 1);
    if (at[ceil] != 0) text.set("ceil_mode", "true");
    if (at[exact] != 0) text.set("fit", "exact");
    return text;
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const problem& text = l.resolved();
    const shape x = text.shape_of("x");
    point at(first_axis + axis_size * rank_ + 2);
    at[ceil] = text.flag("ceil_mode");
    at[exact] = text.text("fit") == "exact";
    const auto windows = text.integers("window"), strides = text.integers("stride");
    const auto dilations = text.integers("dilation"), pads = text.integers("pad");
    for (std::size_t i = 0; i < rank_; ++i) {
      index_t* numbers = &at[first_axis + axis_size * i];
      numbers[dilation] = dilations[i];
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

  /// A cell of padding turned into a cell of input; stride and window lowered together.
  std::vector<point> moves(const point& from) const override {
    std::vector<point> simpler;
    for (std::size_t i = 0; i < rank_; ++i) {
      const std::size_t base = first_axis + axis_size * i;
      for (const std::size_t side : {before, after})
        if (from[base + side] > 0) {
          point p = from;
          p[base + side] -= 1;
          p[base + extent] += 1;
          simpler.push_back(p);
        }
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
      list[i] = {p[dilation], p[stride], p[before], p[after], p[window], p[extent], at[ceil] != 0};
    }
    return list;
  }

  static bool legal(const slide& a) {
    if (!a.legal() || 2 * std::max(a.before, a.after) > a.span() || a.outputs() < 1) return false;
    for (index_t o = 0; o < a.outputs() && o * a.stride < a.before; ++o) {
      const index_t missing = a.before - o * a.stride;
      const index_t first = (missing + a.dilation - 1) / a.dilation * a.dilation - missing;
      if (first >= a.extent) return false;  // the window steps over the whole input
    }
    return true;
  }

  point propose(dice& d) const override {
    point at(first_axis + axis_size * rank_ + 2, 1);
    at[ceil] = d.percent(40);
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
    draw_axes(d, at, row);
    at[exact] =
        d.percent(10) && std::ranges::all_of(axes(at), [](const slide& a) { return a.remainder() == 0; });
    shrink_to(draw_budget(d), d, at, kept);
    if (d.percent(3)) at[n()] = 0;
    return at;
  }

  void draw_axes(dice& d, point& at, index_t row) const {
    const auto style = static_cast<padding_style>(d.of({0, 1, 2, 3, 4, 4, 4, 4}));
    for (std::size_t i = 0; i < rank_; ++i) {
      const slide_limits limits{.at_most_half = true, .ceil = at[ceil] != 0};
      const bool last = i + 1 == rank_;
      const slide a = draw_slide(d, last ? row : d.of({1, 2, 2, 3, 3, 4, 5, 7}), style, limits);
      index_t* p = &at[first_axis + axis_size * i];
      p[dilation] = a.dilation;
      p[stride] = d.percent(15) ? a.window : a.stride;
      p[before] = a.before;
      p[after] = a.after;
      p[window] = a.window;
      p[extent] = a.extent;
    }
  }

  /// Halves the batch, the channels or an extent until the work is within the budget; `kept` gives way last.
  void shrink_to(double budget, dice& d, point& at, std::size_t kept) const {
    for (int tries = 0; work(at) > budget; ++tries) {
      const auto axis = static_cast<std::size_t>(d.between(0, static_cast<index_t>(rank_) - 1));
      const std::size_t base = first_axis + axis_size * axis;
      const std::size_t victim = tries % 3 == 0   ? n() + static_cast<std::size_t>(d.between(0, 1))
                                 : tries % 9 == 8 ? base + window
                                                  : base + extent;
      if (victim == kept && tries < 64) continue;
      const index_t old = at[victim];
      at[victim] = std::max<index_t>(1, old / 2);
      const auto now = axes(at);
      if (!std::ranges::all_of(now, legal)) at[victim] = old;
      if (std::ranges::any_of(now, [](const slide& a) { return a.remainder() != 0; })) at[exact] = 0;
      if (tries > 200) at[n()] = 0;
    }
  }

  void add_triggers();

  std::size_t rank_;
};

void max_pool_problems::add_triggers() {
  const auto axes_of = [this](const point& at) { return axes(at); };
  const auto add_rule = [this](std::string name, std::function<bool(const point&)> f) {
    trigger(std::move(name), std::move(f));
  };
  add_slide_triggers(axes_of, add_rule);
  if (rank_ > 1) add_unequal_triggers(axes_of, add_rule);
  const auto any = [&](std::string name, bool (*holds)(const slide&)) {
    trigger(std::move(name), [=](const point& at) { return std::ranges::any_of(axes_of(at), holds); });
  };
  any("ceil: overhang into the padding",
      [](const slide& a) { return a.ceil && a.after > 0 && a.overhangs(); });
  any("ceil: overhang beyond the data",
      [](const slide& a) { return a.ceil && a.after == 0 && a.overhangs(); });
  any("ceil: no overhang", [](const slide& a) { return a.ceil && !a.overhangs(); });
  any("ceil: last window dropped",
      [](const slide& a) { return a.ceil && (a.room() + a.stride - 1) / a.stride + 1 > a.outputs(); });
  const std::size_t N = n(), C = c();
  trigger("N=0", [=](const point& at) { return at[N] == 0; });
  trigger("N=1", [=](const point& at) { return at[N] == 1; });
  trigger("N>1", [=](const point& at) { return at[N] > 1; });
  for (const index_t few : {1, 2, 3})
    trigger("C=" + std::to_string(few), [=](const point& at) { return at[C] == few; });
  for (const index_t off : {-1, 0, 1})
    trigger(std::string("C") +
                (off < 0    ? " one short of"
                 : off == 0 ? " equal to"
                            : " one over") +
                " a vector",
            [=](const point& at) { return at[C] == 8 + off || at[C] == 16 + off || at[C] == 32 + off; });
}

}  // namespace

std::unique_ptr<problem_space> max_pool_space(std::string layer, int rank) {
  return std::make_unique<max_pool_problems>(std::move(layer), rank);
}

}  // namespace plumb
