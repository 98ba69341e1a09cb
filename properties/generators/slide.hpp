// One spatial axis of a layer that slides a window over its input: how its numbers are drawn, and the
// triggers (operators.md 14) that can be told from them. The input extent follows from the wanted number of
// outputs and a remainder, so that draws fit by construction and leave cells over as often as not.
#pragma once

#include <array>

#include "properties/generators/problem_space.hpp"

namespace plumb {

struct slide {
  index_t dilation = 1, stride = 1, before = 0, after = 0, window = 1, extent = 1;
  bool ceil = false;

  index_t span() const { return dilation * (window - 1) + 1; }
  index_t room() const { return extent + before + after - span(); }
  bool legal() const {
    return dilation >= 1 && stride >= 1 && before >= 0 && after >= 0 && window >= 1 && extent >= 1 &&
           room() + (ceil ? stride - 1 : 0) >= 0;
  }
  /// Cells that no window starts early enough to reach.
  index_t remainder() const { return (room() + stride) % stride; }
  /// Rounded up, the last window must still start inside the input or the padding before it.
  index_t outputs() const {
    if (!ceil) return room() / stride + 1;
    const index_t count = (room() + stride - 1) / stride + 1;
    return (count - 1) * stride >= extent + before ? count - 1 : count;
  }
  bool overhangs() const { return (outputs() - 1) * stride > room(); }
};

/// How the paddings of a whole problem are chosen.
enum class padding_style : std::uint8_t { none, half, same_upper, same_lower, any };

struct slide_limits {
  index_t most_window = 7;
  bool at_most_half = false;  ///< a side is padded by no more than half a window (pooling)
  bool ceil = false;
};

inline void draw_padding(dice& d, padding_style style, const slide_limits& limits, slide& a) {
  const index_t most = limits.at_most_half ? a.span() / 2 : a.span() + 1;
  const index_t same = std::max<index_t>(0, a.span() - (a.stride - a.remainder()) % a.stride - 1);
  switch (style) {
    case padding_style::none:
      break;
    case padding_style::half:
      a.before = a.after = a.span() / 2;
      break;
    case padding_style::same_upper:
      a.before = std::min(same / 2, most);
      a.after = std::min(same - same / 2, most);
      break;
    case padding_style::same_lower:
      a.before = std::min(same - same / 2, most);
      a.after = std::min(same / 2, most);
      break;
    case padding_style::any:
      a.before = d.between(0, most);
      a.after = d.between(0, most);
      break;
  }
}

/// An axis with about `outputs` outputs.
inline slide draw_slide(dice& d, index_t outputs, padding_style style, const slide_limits& limits) {
  slide a;
  a.ceil = limits.ceil;
  a.window = std::min(limits.most_window, d.of({1, 1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7}));
  a.stride = d.of({1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5});
  a.dilation = a.window > 1 ? d.of({1, 1, 1, 1, 1, 1, 1, 2, 2, 3}) : 1;
  draw_padding(d, style, limits, a);
  const index_t remainder = d.percent(50) ? 0 : d.between(0, a.stride - 1);
  a.extent = std::max<index_t>(1, (outputs - 1) * a.stride + a.span() + remainder - a.before - a.after);
  if (a.room() < 0) a.extent = a.span();
  return a;
}

/// Triggers of the axes that `axes_of` reads from a point.
template <class Axes>
void add_slide_triggers(const Axes& axes_of,
                        const std::function<void(std::string, std::function<bool(const point&)>)>& add) {
  const auto any = [&](std::string name, auto&& holds) {
    add(std::move(name), [=](const point& at) {
      const auto axes = axes_of(at);
      return std::ranges::any_of(axes, holds);
    });
  };
  any("window > stride", [](const slide& a) { return a.window > a.stride; });
  any("window = stride", [](const slide& a) { return a.window == a.stride && a.stride > 1; });
  any("window < stride", [](const slide& a) { return a.window < a.stride; });
  any("pad = window/2",
      [](const slide& a) { return a.window > 1 && a.before == a.window / 2 && a.after == a.before; });
  any("asymmetric padding", [](const slide& a) { return a.before != a.after; });
  any("dilation with padding", [](const slide& a) { return a.dilation > 1 && a.before + a.after > 0; });
  any("dilation with stride", [](const slide& a) { return a.dilation > 1 && a.stride > 1; });
  any("cells left over", [](const slide& a) { return !a.ceil && a.remainder() != 0; });
  any("even window", [](const slide& a) { return a.window % 2 == 0; });
  any("window wider than the input", [](const slide& a) { return a.window > a.extent; });
  any("one-element axis", [](const slide& a) { return a.extent == 1; });
  any("one output", [](const slide& a) { return a.outputs() == 1; });
  any("gaps that no window reads", [](const slide& a) { return a.span() < a.stride && a.outputs() > 1; });
  any("no window wholly inside", [](const slide& a) { return a.before > 0 && a.extent < a.span(); });
  any("row as long as a vector", [](const slide& a) { return a.outputs() == 8 || a.outputs() == 16; });
  any("row longer than a vector by one",
      [](const slide& a) { return a.outputs() == 9 || a.outputs() == 17; });
  any("row shorter than a vector by one",
      [](const slide& a) { return a.outputs() == 7 || a.outputs() == 15; });
}

/// Triggers that compare the axes with one another; for rank 2 and 3.
template <class Axes>
void add_unequal_triggers(const Axes& axes_of,
                          const std::function<void(std::string, std::function<bool(const point&)>)>& add) {
  const auto unequal = [&](std::string name, index_t slide::*field) {
    add(std::move(name), [=](const point& at) {
      const auto axes = axes_of(at);
      return std::ranges::any_of(axes, [&](const slide& a) { return a.*field != axes.front().*field; });
    });
  };
  unequal("unequal extents", &slide::extent);
  unequal("unequal windows", &slide::window);
  unequal("unequal strides", &slide::stride);
  unequal("unequal dilations", &slide::dilation);
  unequal("unequal paddings", &slide::before);
}

}  // namespace plumb
