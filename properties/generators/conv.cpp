// Problems of convolution, rank 1 to 3. Coordinates: flip, fit, groups, bias; then for each axis dilation,
// stride, padding on both sides, filter and extent; then N and the channels and filters of one group. Groups
// multiply the latter two, so that every point has channels that divide.
#include "properties/generators/problem_space.hpp"
#include "properties/generators/problem_text.hpp"
#include "properties/generators/slide.hpp"

namespace plumb {
namespace {

class conv_problems final : public problem_space {
  enum at_front : std::size_t { flip, exact, groups, bias, first_axis };
  enum in_axis : std::size_t { dilation, stride, before, after, window, extent, axis_size };

 public:
  conv_problems(std::string name, int rank)
      : problem_space(std::move(name)), rank_(static_cast<std::size_t>(rank)) {
    for (const char* attribute : {"flip", "fit"}) add_choice(attribute, 0);
    add("groups", 1);
    add_choice("bias", 0);
    for (int axis = 0; axis < rank; ++axis) {
      const std::string letter(1, "dhw"[3 - rank + axis]);
      for (const char* one : {"dilation.", "stride."}) add(one + letter, 1);
      for (const char* side : {"before.", "after."}) add(side + letter, 0);
      for (const char* size : {"window.", "extent."}) add(size + letter, 1);
    }
    for (const char* size : {"N", "C/groups", "K/groups"}) add(size, 1);
    add_triggers();
  }

  std::optional<problem> build(const point& at) const override {
    shape x{at[n()], at[groups] * at[cg()]}, weight{at[groups] * at[kg()], at[cg()]};
    if (at[groups] < 1 || at[n()] < 0 || at[cg()] < 1 || at[kg()] < 1) return std::nullopt;
    std::vector<index_t> strides, dilations, pads;
    for (const slide& a : axes(at)) {
      if (!a.legal() || (at[exact] != 0 && a.remainder() != 0)) return std::nullopt;
      x.push_back(a.extent);
      weight.push_back(a.window);
      strides.push_back(a.stride);
      dilations.push_back(a.dilation);
      pads.insert(pads.end(), {a.before, a.after});
    }
    problem text(layer());
    text.set("x", to_string(x));
    text.set("weight", to_string(weight));
    if (at[bias] != 0) text.set("bias", std::to_string(weight[0]));
    set_axes(text, "stride", strides, 1);
    set_sides(text, "pad", pads);
    set_axes(text, "dilation", dilations, 1);
    if (at[groups] != 1) text.set("groups", std::to_string(at[groups]));
    if (at[exact] != 0) text.set("fit", "exact");
    if (at[flip] != 0) text.set("flip", "true");
    return text;
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const problem& text = l.resolved();
    const shape x = text.shape_of("x"), weight = text.shape_of("weight");
    point at(first_axis + axis_size * rank_ + 3);
    at[flip] = text.flag("flip");
    at[exact] = text.text("fit") == "exact";
    at[groups] = text.integer("groups");
    at[bias] = text.has("bias");
    const auto strides = text.integers("stride"), dilations = text.integers("dilation");
    const auto pads = text.integers("pad");
    for (std::size_t i = 0; i < rank_; ++i) {
      const int axis = 2 + static_cast<int>(i);
      index_t* numbers = &at[first_axis + axis_size * i];
      numbers[dilation] = dilations[i];
      numbers[stride] = strides[i];
      numbers[before] = pads[2 * i];
      numbers[after] = pads[2 * i + 1];
      numbers[window] = weight[axis];
      numbers[extent] = x[axis];
    }
    at[n()] = x[0];
    at[cg()] = weight[1];
    at[kg()] = weight[0] / at[groups];
    return at;
  }

  /// Fewer groups with the same channels and filters; a padding or remainder moved into the input.
  std::vector<point> moves(const point& from) const override {
    std::vector<point> simpler;
    for (index_t fewer = 1; fewer < from[groups]; ++fewer) {
      const index_t c = from[groups] * from[cg()], k = from[groups] * from[kg()];
      for (const bool keep_c : {true, false})
        for (const bool keep_k : {true, false}) {
          if ((!keep_c && !keep_k) || (keep_c && c % fewer != 0) || (keep_k && k % fewer != 0)) continue;
          point p = from;
          p[groups] = fewer;
          if (keep_c) p[cg()] = c / fewer;
          if (keep_k) p[kg()] = k / fewer;
          simpler.push_back(p);
        }
    }
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

  /// Multiplications of the forward pass.
  double work(const point& at) const override {
    double product = static_cast<double>(at[n()] * at[groups] * at[cg()] * at[kg()]);
    for (const slide& a : axes(at)) product *= static_cast<double>(a.window * a.outputs());
    return product;
  }

 private:
  std::size_t n() const { return first_axis + axis_size * rank_; }
  std::size_t cg() const { return n() + 1; }
  std::size_t kg() const { return n() + 2; }

  std::vector<slide> axes(const point& at) const {
    std::vector<slide> list(rank_);
    for (std::size_t i = 0; i < rank_; ++i) {
      const index_t* p = &at[first_axis + axis_size * i];
      list[i] = {p[dilation], p[stride], p[before], p[after], p[window], p[extent]};
    }
    return list;
  }

  point propose(dice& d) const override {
    point at(first_axis + axis_size * rank_ + 3, 1);
    at[flip] = d.percent(12);
    at[bias] = d.percent(60);
    at[n()] = d.of({1, 1, 2, 2, 3, 4});
    at[cg()] = d.narrow();
    at[kg()] = d.narrow();
    if (d.percent(20)) at[groups] = d.of({2, 2, 2, 3, 3, 4, 5});
    const index_t large = d.between(0, 99);  // at most one number is large, the others make room for it
    std::size_t kept = n();
    index_t row = d.between(1, 8);
    if (large < 18) {
      at[kept = kg()] = d.wide();
    } else if (large < 36) {
      at[kept = cg()] = d.wide();
    } else if (large < 60) {
      kept = first_axis + axis_size * (rank_ - 1) + extent;
      row = d.wide();
    } else if (large < 72) {
      kept = groups;
      draw_depthwise(d, at);
    } else if (large < 78) {
      at[kept] = d.wide();
    }
    draw_axes(d, at, row);
    at[exact] =
        d.percent(8) && std::ranges::all_of(axes(at), [](const slide& a) { return a.remainder() == 0; });
    shrink_to(draw_budget(d), d, at, kept);
    if (d.percent(3)) at[n()] = 0;
    return at;
  }

  void draw_depthwise(dice& d, point& at) const {
    at[groups] = d.percent(50) ? d.wide() : d.between(2, 6);
    at[cg()] = 1;
    at[kg()] = d.of({1, 1, 2, 3});
  }

  void draw_axes(dice& d, point& at, index_t row) const {
    const auto style = static_cast<padding_style>(d.of({0, 1, 2, 3, 4, 4, 4, 4}));
    const bool pointwise = d.percent(12);
    for (std::size_t i = 0; i < rank_; ++i) {
      const bool last = i + 1 == rank_;
      const slide_limits limits{.most_window = pointwise ? 1 : rank_ == 3 ? 4 : 7};
      const slide a = draw_slide(d, last ? row : d.of({1, 2, 2, 3, 3, 4, 5, 7}), style, limits);
      index_t* p = &at[first_axis + axis_size * i];
      p[dilation] = a.dilation;
      p[stride] = a.stride;
      p[before] = a.before;
      p[after] = a.after;
      p[window] = a.window;
      p[extent] = a.extent;
    }
  }

  /// Halves channels, extents, now and then a window or a padding, until the work is within the budget;
  /// `kept` gives way last.
  void shrink_to(double budget, dice& d, point& at, std::size_t kept) const {
    for (int tries = 0; work(at) > budget; ++tries) {
      const std::size_t axis =
          first_axis + axis_size * static_cast<std::size_t>(d.between(0, static_cast<index_t>(rank_) - 1));
      std::size_t victim = n() + static_cast<std::size_t>(d.between(0, 2));
      if (tries % 2 == 1) victim = axis + extent;
      if (tries % 8 == 7) victim = axis + window;
      if (tries % 32 >= 30) victim = axis + (tries % 2 == 0 ? before : after);
      if (tries % 64 == 63) victim = groups;
      if (victim == kept && tries < 64) continue;
      const index_t old = at[victim];
      at[victim] = std::max(parameters()[victim].simplest, old / 2);
      const auto now = axes(at);
      if (!std::ranges::all_of(now, &slide::legal)) at[victim] = old;
      if (std::ranges::any_of(now, [](const slide& a) { return a.remainder() != 0; })) at[exact] = 0;
      if (tries > 400) at[n()] = 0;
    }
  }

  void add_triggers();

  std::size_t rank_;
};

bool beside_a_vector(index_t v, index_t off) { return v == 8 + off || v == 16 + off || v == 32 + off; }

void conv_problems::add_triggers() {
  const auto axes_of = [this](const point& at) { return axes(at); };
  const auto add_rule = [this](std::string name, std::function<bool(const point&)> f) {
    trigger(std::move(name), std::move(f));
  };
  add_slide_triggers(axes_of, add_rule);
  if (rank_ > 1) add_unequal_triggers(axes_of, add_rule);
  const std::size_t N = n(), C = cg(), K = kg();
  trigger("window wholly in the padding", [=](const point& at) {
    return std::ranges::any_of(axes_of(at), [](const slide& a) {
      return a.before >= a.span() || (a.outputs() - 1) * a.stride >= a.before + a.extent;
    });
  });
  trigger("padding same_upper", [=](const point& at) {
    return std::ranges::any_of(axes_of(at), [](const slide& a) {
      return a.before + 1 == a.after && a.outputs() == (a.extent + a.stride - 1) / a.stride;
    });
  });
  trigger("padding same_lower", [=](const point& at) {
    return std::ranges::any_of(axes_of(at), [](const slide& a) {
      return a.before == a.after + 1 && a.outputs() == (a.extent + a.stride - 1) / a.stride;
    });
  });
  const auto pointwise = [=](const point& at) {
    return std::ranges::all_of(axes_of(at), [](const slide& a) { return a.window == 1; });
  };
  trigger("1x1 filter", pointwise);
  trigger("1x1 filter with stride", [=](const point& at) {
    return pointwise(at) && std::ranges::any_of(axes_of(at), [](const slide& a) { return a.stride > 1; });
  });
  trigger("N=0", [=](const point& at) { return at[N] == 0; });
  trigger("N=1", [=](const point& at) { return at[N] == 1; });
  trigger("N>1", [=](const point& at) { return at[N] > 1; });
  trigger("groups", [](const point& at) { return at[groups] > 1; });
  trigger("groups of several channels and filters",
          [=](const point& at) { return at[groups] > 1 && at[C] > 1 && at[K] > 1; });
  trigger("depthwise", [=](const point& at) { return at[groups] > 1 && at[C] == 1; });
  trigger("depthwise multiplier > 1",
          [=](const point& at) { return at[groups] > 1 && at[C] == 1 && at[K] > 1; });
  for (const index_t few : {1, 2, 3})
    trigger("C=" + std::to_string(few), [=](const point& at) { return at[groups] * at[C] == few; });
  for (const auto& [letter, part] : {std::pair{"C", C}, std::pair{"K", K}}) {
    for (const index_t off : {-1, 0, 1})
      trigger(std::string(letter) +
                  (off < 0    ? " one short of"
                   : off == 0 ? " equal to"
                              : " one over") +
                  " a vector",
              [=, p = part](const point& at) { return beside_a_vector(at[groups] * at[p], off); });
    trigger(std::string(letter) + " no multiple of 8, above 8",
            [=, p = part](const point& at) { return at[groups] * at[p] > 8 && at[groups] * at[p] % 8 != 0; });
  }
  trigger("bias", [](const point& at) { return at[bias] != 0; });
  trigger("no bias", [](const point& at) { return at[bias] == 0; });
  trigger("flip", [](const point& at) { return at[flip] != 0; });
  trigger("fit=exact with stride", [=](const point& at) {
    return at[exact] != 0 && std::ranges::any_of(axes_of(at), [](const slide& a) { return a.stride > 1; });
  });
}

}  // namespace

std::unique_ptr<problem_space> conv_space(std::string layer, int rank) {
  return std::make_unique<conv_problems>(std::move(layer), rank);
}

}  // namespace plumb
