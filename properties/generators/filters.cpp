// Problems of the layers kin to convolution whose tensors fit only by arithmetic: transposed and depthwise
// convolution, locally connected layers, fold. In all of them windows slide over an image: the one that a
// transposed convolution and a fold write, the one that the others read. Coordinates: bias, groups; then for
// each axis dilation, stride, padding on both sides, window, the extent of the image, and windows left out at
// its end (a transposed convolution's output_pad); then N, C and K. What a layer has no use for stays at its
// simplest.
#include "properties/generators/problem_space.hpp"
#include "properties/generators/problem_text.hpp"
#include "properties/generators/slide.hpp"
#include "reference/layers/spatial.hpp"

namespace plumb {
namespace {

class filter_problems : public problem_space {
 protected:
  enum at_front : std::size_t { bias, groups, first_axis };
  enum in_axis : std::size_t { dilation, stride, before, after, window, extent, left_out, axis_size };

  /// `uses`: the coordinates beside those of the axes that the layer has.
  filter_problems(std::string name, int rank, std::initializer_list<std::string_view> uses)
      : problem_space(std::move(name)), rank_(static_cast<std::size_t>(rank)) {
    for (const std::string_view use : uses) uses_.emplace_back(use);
    add_choice("bias", 0);
    add("groups", 1);
    for (int axis = 0; axis < rank; ++axis) {
      const std::string letter(1, axis_letter(rank, axis));
      for (const char* one : {"dilation.", "stride."}) add(one + letter, 1);
      for (const char* side : {"before.", "after."}) add(side + letter, 0);
      for (const char* size : {"window.", "extent."}) add(size + letter, 1);
      add("left_out." + letter, 0);
    }
    for (const char* size : {"N", "C", "K"}) add(size, 1);
    add_triggers();
  }

  /// The text of a point whose axes are legal and whose unused coordinates are at their simplest.
  virtual std::optional<problem> text_at(const point& at, const std::vector<slide>& axes) const = 0;
  /// Sets groups, N, C, K, and of every axis window, extent and left_out.
  virtual void read_sizes(const plumb::layer& l, point& at) const = 0;

  std::size_t rank() const { return rank_; }
  std::size_t n() const { return first_axis + axis_size * rank_; }
  std::size_t c() const { return n() + 1; }
  std::size_t k() const { return n() + 2; }
  index_t& of_axis(point& at, std::size_t axis, in_axis what) const {
    return at[first_axis + axis_size * axis + what];
  }
  index_t of_axis(const point& at, std::size_t axis, in_axis what) const {
    return at[first_axis + axis_size * axis + what];
  }
  static std::vector<index_t> list_of(const std::vector<slide>& axes, index_t slide::*field) {
    std::vector<index_t> list;
    for (const slide& a : axes) list.push_back(a.*field);
    return list;
  }
  static std::vector<index_t> sides_of(const std::vector<slide>& axes) {
    std::vector<index_t> list;
    for (const slide& a : axes) list.insert(list.end(), {a.before, a.after});
    return list;
  }

 public:
  std::optional<problem> build(const point& at) const override {
    if (at[n()] < 0 || at[c()] < 1 || at[k()] < 1 || at[groups] < 1) return std::nullopt;
    if ((!used("bias") && at[bias] != 0) || (!used("groups") && at[groups] != 1) ||
        (!used("K") && at[k()] != 1))
      return std::nullopt;
    const auto slides = axes(at);
    for (std::size_t i = 0; i < rank_; ++i) {
      const index_t omitted = of_axis(at, i, left_out);
      if (!slides[i].legal() || omitted < 0 || omitted >= slides[i].outputs()) return std::nullopt;
      if (omitted != 0 && (!used("left_out") || output_pad(at, i) >= slides[i].dilation)) return std::nullopt;
    }
    return text_at(at, slides);
  }

  std::optional<point> recover(const plumb::layer& l) const override {
    const problem& text = l.resolved();
    point at(first_axis + axis_size * rank_ + 3, 0);
    at[bias] = l.present("bias");
    at[groups] = at[k()] = 1;
    const auto strides = text.integers("stride"), dilations = text.integers("dilation"),
               pads = text.integers("pad");
    for (std::size_t i = 0; i < rank_; ++i) {
      of_axis(at, i, dilation) = dilations[i];
      of_axis(at, i, stride) = strides[i];
      of_axis(at, i, before) = pads[2 * i];
      of_axis(at, i, after) = pads[2 * i + 1];
    }
    read_sizes(l, at);
    return at;
  }

  /// A cell of padding turned into a cell of the image.
  std::vector<point> moves(const point& from) const override {
    std::vector<point> simpler;
    for (std::size_t i = 0; i < rank_; ++i)
      for (const in_axis side : {before, after})
        if (of_axis(from, i, side) > 0) {
          point p = from;
          of_axis(p, i, side) -= 1;
          of_axis(p, i, extent) += 1;
          simpler.push_back(p);
        }
    return simpler;
  }

  /// Multiplications of the forward pass.
  double work(const point& at) const override {
    double product = static_cast<double>(at[n()] * at[groups] * at[c()] * at[k()]);
    for (const slide& a : axes(at)) product *= static_cast<double>(a.window * a.outputs());
    return product;
  }

 protected:
  /// Rows of a transposed convolution's output that its last window does not reach.
  index_t output_pad(const point& at, std::size_t axis) const {
    const slide a = axes(at)[axis];
    return a.remainder() + of_axis(at, axis, left_out) * a.stride;
  }

 private:
  bool used(std::string_view what) const { return std::ranges::find(uses_, what) != uses_.end(); }

  std::vector<slide> axes(const point& at) const {
    std::vector<slide> list(rank_);
    for (std::size_t i = 0; i < rank_; ++i)
      list[i] = {of_axis(at, i, dilation), of_axis(at, i, stride), of_axis(at, i, before),
                 of_axis(at, i, after),    of_axis(at, i, window), of_axis(at, i, extent)};
    return list;
  }

  point propose(dice& d) const override {
    point at(first_axis + axis_size * rank_ + 3, 1);
    at[bias] = used("bias") && d.percent(60);
    at[n()] = d.of({1, 1, 2, 2, 3, 4});
    at[c()] = d.narrow();
    if (used("K")) at[k()] = d.narrow();
    if (used("groups") && d.percent(25)) at[groups] = d.of({2, 2, 3, 4});
    std::size_t kept = n();
    index_t row = d.between(1, 8);
    const index_t large = d.between(0, 99);  // at most one number is large, the others make room for it
    if (large < 20 && used("K")) {
      at[kept = k()] = d.wide();
    } else if (large < 40) {
      at[kept = c()] = d.wide();
    } else if (large < 70) {
      kept = first_axis + axis_size * (rank_ - 1) + extent;
      row = d.wide();
    }
    const auto style = static_cast<padding_style>(d.of({0, 1, 2, 3, 4, 4, 4, 4}));
    for (std::size_t i = 0; i < rank_; ++i) {
      const slide a = draw_slide(d, i + 1 == rank_ ? row : d.of({1, 2, 2, 3, 3, 4, 5, 7}), style,
                                 {.most_window = rank_ == 3 ? 4 : 7});
      of_axis(at, i, dilation) = a.dilation;
      of_axis(at, i, stride) = a.stride;
      of_axis(at, i, before) = a.before;
      of_axis(at, i, after) = a.after;
      of_axis(at, i, window) = a.window;
      of_axis(at, i, extent) = a.extent;
      of_axis(at, i, left_out) = used("left_out") && a.dilation > a.stride && d.percent(50);
    }
    shrink_to(draw_budget(d), d, at, kept);
    if (d.percent(3)) at[n()] = 0;
    return at;
  }

  /// Halves batch, channels, extents, now and then a window, until the work is within the budget; `kept`
  /// gives way last.
  void shrink_to(double budget, dice& d, point& at, std::size_t kept) const {
    for (int tries = 0; work(at) > budget; ++tries) {
      const std::size_t axis =
          first_axis + axis_size * static_cast<std::size_t>(d.between(0, static_cast<index_t>(rank_) - 1));
      const std::size_t victim = tries % 2 == 0   ? n() + static_cast<std::size_t>(d.between(0, 2))
                                 : tries % 8 == 7 ? axis + window
                                                  : axis + extent;
      if (victim == kept && tries < 64) continue;
      const index_t old = at[victim];
      at[victim] = std::max<index_t>(1, old / 2);
      if (!std::ranges::all_of(axes(at), &slide::legal)) at[victim] = old;
      if (tries > 400) at[n()] = 0;
    }
  }

  void add_triggers();

  std::size_t rank_;
  std::vector<std::string> uses_;
};

void filter_problems::add_triggers() {
  const auto axes_of = [this](const point& at) { return axes(at); };
  const auto add_rule = [this](std::string name, std::function<bool(const point&)> f) {
    trigger(std::move(name), std::move(f));
  };
  add_slide_triggers(axes_of, add_rule);
  if (rank_ > 1) add_unequal_triggers(axes_of, add_rule);
  const std::size_t N = n(), C = c(), K = k();
  trigger("N=0", [=](const point& at) { return at[N] == 0; });
  trigger("N>1", [=](const point& at) { return at[N] > 1; });
  trigger("C=1", [=](const point& at) { return at[C] == 1; });
  trigger("C>8", [=](const point& at) { return at[C] > 8; });
  if (used("K")) {
    trigger("K=1", [=](const point& at) { return at[K] == 1; });
    trigger("K>8", [=](const point& at) { return at[K] > 8; });
  }
  if (used("bias")) {
    trigger("bias", [](const point& at) { return at[bias] != 0; });
    trigger("no bias", [](const point& at) { return at[bias] == 0; });
  }
  if (used("groups")) {
    trigger("groups", [](const point& at) { return at[groups] > 1; });
    trigger("groups of several channels",
            [=](const point& at) { return at[groups] > 1 && at[C] > 1 && at[K] > 1; });
  }
  if (used("left_out"))
    trigger("output_pad beyond the stride", [this](const point& at) {
      for (std::size_t i = 0; i < rank_; ++i)
        if (of_axis(at, i, left_out) > 0) return true;
      return false;
    });
}

/// C and K are channels of one group.
class conv_transpose_problems final : public filter_problems {
 public:
  conv_transpose_problems(std::string name, int rank)
      : filter_problems(std::move(name), rank, {"bias", "groups", "K", "left_out"}) {}

 private:
  std::optional<problem> text_at(const point& at, const std::vector<slide>& axes) const override {
    shape x{at[n()], at[groups] * at[c()]}, weight{x[1], at[k()]};
    std::vector<index_t> output_pads;
    for (std::size_t i = 0; i < rank(); ++i) {
      x.push_back(axes[i].outputs() - of_axis(at, i, left_out));
      weight.push_back(axes[i].window);
      output_pads.push_back(output_pad(at, i));
    }
    problem text(layer());
    text.set("x", to_string(x));
    text.set("weight", to_string(weight));
    if (at[bias] != 0) text.set("bias", std::to_string(at[groups] * at[k()]));
    set_axes(text, "stride", list_of(axes, &slide::stride), 1);
    set_sides(text, "pad", sides_of(axes));
    set_axes(text, "output_pad", output_pads, 0);
    set_axes(text, "dilation", list_of(axes, &slide::dilation), 1);
    if (at[groups] != 1) text.set("groups", std::to_string(at[groups]));
    return text;
  }
  void read_sizes(const plumb::layer& l, point& at) const override {
    const shape &x = l.shapes()["x"], &weight = l.shapes()["weight"], &y = l.shapes()["y"];
    const auto output_pads = l.resolved().integers("output_pad");
    at[groups] = l.resolved().integer("groups");
    at[n()] = x[0];
    at[c()] = x[1] / at[groups];
    at[k()] = weight[1];
    for (std::size_t i = 0; i < rank(); ++i) {
      of_axis(at, i, window) = weight[2 + static_cast<int>(i)];
      of_axis(at, i, extent) = y[2 + static_cast<int>(i)];
      of_axis(at, i, left_out) = output_pads[i] / of_axis(at, i, stride);
    }
  }
};

/// K is the channel multiplier.
class depthwise_conv_problems final : public filter_problems {
 public:
  depthwise_conv_problems(std::string name, int rank)
      : filter_problems(std::move(name), rank, {"bias", "K"}) {}

 private:
  std::optional<problem> text_at(const point& at, const std::vector<slide>& axes) const override {
    shape x{at[n()], at[c()]}, weight{at[c()] * at[k()], 1};
    for (const slide& a : axes) {
      x.push_back(a.extent);
      weight.push_back(a.window);
    }
    problem text(layer());
    text.set("x", to_string(x));
    text.set("weight", to_string(weight));
    if (at[bias] != 0) text.set("bias", std::to_string(weight[0]));
    set_axes(text, "stride", list_of(axes, &slide::stride), 1);
    set_sides(text, "pad", sides_of(axes));
    set_axes(text, "dilation", list_of(axes, &slide::dilation), 1);
    return text;
  }
  void read_sizes(const plumb::layer& l, point& at) const override {
    const shape &x = l.shapes()["x"], &weight = l.shapes()["weight"];
    at[n()] = x[0];
    at[c()] = x[1];
    at[k()] = weight[0] / x[1];
    for (std::size_t i = 0; i < rank(); ++i) {
      of_axis(at, i, window) = weight[2 + static_cast<int>(i)];
      of_axis(at, i, extent) = x[2 + static_cast<int>(i)];
    }
  }
};

class locally_connected_problems final : public filter_problems {
 public:
  locally_connected_problems(std::string name, int rank)
      : filter_problems(std::move(name), rank, {"bias", "K"}) {}

 private:
  std::optional<problem> text_at(const point& at, const std::vector<slide>& axes) const override {
    shape x{at[n()], at[c()]}, neurons{at[k()]};
    for (const slide& a : axes) {
      x.push_back(a.extent);
      neurons.push_back(a.outputs());
    }
    shape weight = neurons;
    weight.push_back(at[c()]);
    for (const slide& a : axes) weight.push_back(a.window);
    problem text(layer());
    text.set("x", to_string(x));
    text.set("weight", to_string(weight));
    if (at[bias] != 0) text.set("bias", to_string(neurons));
    set_axes(text, "stride", list_of(axes, &slide::stride), 1);
    set_sides(text, "pad", sides_of(axes));
    set_axes(text, "dilation", list_of(axes, &slide::dilation), 1);
    return text;
  }
  void read_sizes(const plumb::layer& l, point& at) const override {
    const shape &x = l.shapes()["x"], &weight = l.shapes()["weight"];
    at[n()] = x[0];
    at[c()] = x[1];
    at[k()] = weight[0];
    for (std::size_t i = 0; i < rank(); ++i) {
      of_axis(at, i, window) = weight[static_cast<int>(rank() + 2 + i)];
      of_axis(at, i, extent) = x[2 + static_cast<int>(i)];
    }
  }
};

class fold_problems final : public filter_problems {
 public:
  explicit fold_problems(std::string name) : filter_problems(std::move(name), 2, {}) {}

 private:
  std::optional<problem> text_at(const point& at, const std::vector<slide>& axes) const override {
    shape x{at[n()], at[c()], 1};
    for (const slide& a : axes) {
      x[1] *= a.window;
      x[2] *= a.outputs();
    }
    problem text(layer());
    text.set("x", to_string(x));
    set_axes(text, "output", list_of(axes, &slide::extent), 0);
    set_axes(text, "window", list_of(axes, &slide::window), 0);
    set_axes(text, "dilation", list_of(axes, &slide::dilation), 1);
    set_sides(text, "pad", sides_of(axes));
    set_axes(text, "stride", list_of(axes, &slide::stride), 1);
    return text;
  }
  void read_sizes(const plumb::layer& l, point& at) const override {
    const shape& y = l.shapes()["y"];
    const auto windows = l.resolved().integers("window");
    at[n()] = y[0];
    at[c()] = y[1];
    for (std::size_t i = 0; i < rank(); ++i) {
      of_axis(at, i, window) = windows[i];
      of_axis(at, i, extent) = y[2 + static_cast<int>(i)];
    }
  }
};

}  // namespace

std::unique_ptr<problem_space> conv_transpose_space(std::string layer, int rank) {
  return std::make_unique<conv_transpose_problems>(std::move(layer), rank);
}
std::unique_ptr<problem_space> depthwise_conv_space(std::string layer, int rank) {
  return std::make_unique<depthwise_conv_problems>(std::move(layer), rank);
}
std::unique_ptr<problem_space> locally_connected_space(std::string layer, int rank) {
  return std::make_unique<locally_connected_problems>(std::move(layer), rank);
}
std::unique_ptr<problem_space> fold_space(std::string layer, int /*axes*/) {
  return std::make_unique<fold_problems>(std::move(layer));
}

}  // namespace plumb
