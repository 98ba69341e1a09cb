// The taps of each layer, as reference/layers/upsample_nearest.hpp, upsample_linear.hpp, upsample_bicubic.hpp and pad.hpp
// define them: where an output reads, rounded where the definition rounds.
#include "optimized/cpu/axis_taps.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace plumb {
namespace {

/// A resized axis: r = over / under cells from one output to the next.
struct resized {
  index_t in, out, over, under;
};

/// `1.25` as 125 / 100.
std::pair<index_t, index_t> fraction(std::string_view text) {
  std::pair<index_t, index_t> value = {0, 1};
  bool behind = false;
  for (const char c : text) {
    if (c == '.') {
      behind = true;
      continue;
    }
    value.first = 10 * value.first + (c - '0');
    if (behind) value.second *= 10;
  }
  return value;
}

resized resized_axis(const problem& p, int axis, index_t in, index_t out) {
  if (!p.has("scale")) return {in, out, in, out};
  std::string_view text = p.text("scale");
  for (int i = 0; i < axis; ++i) text.remove_prefix(text.find('x') + 1);
  const auto [numerator, denominator] = fraction(text.substr(0, text.find('x')));
  return {in, out, denominator, numerator};
}

/// Copies cell min(⌊(o + shift)·r⌋, I - 1), in single precision.
axis_taps nearest(const resized& a, float shift) {
  axis_taps t{.in = a.in, .out = a.out};
  const auto r = static_cast<float>(static_cast<double>(a.over) / static_cast<double>(a.under));
  for (index_t o = 0; o < a.out; ++o) {
    t.add(std::min(static_cast<index_t>(std::floor((static_cast<float>(o) + shift) * r)), a.in - 1), 1);
    t.close_output();
  }
  return t;
}

/// The position of output o: a whole number, and over / under.
struct mixed_number {
  index_t whole, over, under;
};

mixed_number position(const resized& a, bool align_corners, index_t o) {
  if (a.in == a.out) return {o, 0, 1};
  if (align_corners) {
    const index_t gaps = std::max<index_t>(1, a.out - 1);
    return {(a.in - 1) * o / gaps, (a.in - 1) * o % gaps, gaps};
  }
  const index_t twice = std::max<index_t>(0, (2 * o + 1) * a.over - a.under);
  return {std::min(twice / (2 * a.under), a.in - 1), twice % (2 * a.under), 2 * a.under};
}

/// Weights of 0 are read too: what they meet may be infinite. At the last cell the forward pass reads it twice, and
/// where nothing is resized each cell; backward no cell is dealt to twice.
axis_taps linear(const resized& a, bool align_corners, bool forward) {
  axis_taps t{.in = a.in, .out = a.out};
  for (index_t o = 0; o < a.out; ++o) {
    const auto [whole, over, under] = position(a, align_corners, o);
    const auto share = [whole = under](index_t part) {
      return static_cast<double>(part) / static_cast<double>(whole);
    };
    const bool last = whole >= a.in - 1;
    t.add(whole, last && !forward ? 1 : share(under - over));
    if (forward)
      t.add(a.in == a.out || last ? whole : whole + 1, share(over));
    else if (!last)
      t.add(whole + 1, share(over));
    t.close_output();
  }
  return t;
}

/// Keys' kernel at the distances 1+t, t, 1-t and 2-t from four cells; those beyond the border repeat it.
axis_taps cubic(const resized& a, bool align_corners) {
  axis_taps t{.in = a.in, .out = a.out};
  for (index_t o = 0; o < a.out; ++o) {
    const index_t under = align_corners ? std::max<index_t>(1, a.out - 1) : 2 * a.under;
    const index_t over = align_corners ? o * (a.in - 1) : (2 * o + 1) * a.over - a.under;
    const index_t rest = (over % under + under) % under, first = (over - rest) / under - 1;
    const double far = static_cast<double>(under - rest) / static_cast<double>(under);
    const double near = static_cast<double>(rest) / static_cast<double>(under);
    const double weight[4] = {-0.75 * near * far * far, 1 - near * near * (2.25 - 1.25 * near),
                              1 - far * far * (2.25 - 1.25 * far), -0.75 * far * near * near};
    for (index_t k = 0; k < 4; ++k) t.add(std::clamp<index_t>(first + k, 0, a.in - 1), weight[k]);
    t.close_output();
  }
  return t;
}

/// The cell that output j of a padded axis shows, or -1.
index_t shown(std::string_view rule, index_t in, index_t before, index_t after, index_t j) {
  const index_t i = j - before;
  if (rule == "replication") return std::clamp<index_t>(i, 0, in - 1);
  if (rule == "reflection") return i < 0 ? -i : i < in ? i : 2 * (in - 1) - i;
  if (rule == "circular") {
    const index_t cropped = std::max<index_t>(0, -before), left = in - cropped - std::max<index_t>(0, -after);
    return cropped + (j - std::max<index_t>(0, before) + left) % left;
  }
  return i >= 0 && i < in ? i : -1;
}

axis_taps padded(std::string_view rule, index_t in, index_t out, index_t before, index_t after) {
  axis_taps t{.in = in, .out = out};
  for (index_t j = 0; j < out; ++j) {
    const index_t i = shown(rule, in, before, after, j);
    if (i >= 0) t.add(i, 1);
    t.close_output();
  }
  return t;
}

axis_taps transposed(const axis_taps& a) {
  axis_taps t{.in = a.out, .out = a.in};
  std::vector<std::vector<std::pair<index_t, float>>> readers(static_cast<std::size_t>(a.in));
  for (index_t o = 0; o < a.out; ++o)
    for (index_t k = a.first(o); k < a.first(o + 1); ++k)
      readers[static_cast<std::size_t>(a.cell_of(k))].emplace_back(o, a.weight_of(k));
  for (const auto& list : readers) {
    for (const auto& [o, w] : list) t.add(o, static_cast<double>(w));
    t.close_output();
  }
  return t;
}

/// `upsample_nearest2d` without its rank.
std::string_view family(std::string_view layer) { return layer.substr(0, layer.size() - 2); }

axis_taps one_axis(const problem& p, int axis, index_t in, index_t out, bool forward) {
  const std::string_view name = family(p.layer());
  const auto i = static_cast<std::size_t>(axis);
  if (name.ends_with("_pad")) {
    const auto pad = p.integers("pad");
    return padded(name.substr(0, name.find('_')), in, out, pad[2 * i], pad[2 * i + 1]);
  }
  const resized a = resized_axis(p, axis, in, out);
  if (name == "upsample_nearest") return nearest(a, 0.0F);
  if (name == "upsample_nearest_exact") return nearest(a, 0.5F);
  if (name == "upsample_bicubic") return cubic(a, p.flag("align_corners"));
  return linear(a, p.flag("align_corners"), forward);
}

}  // namespace

image_taps taps_of(const problem& p, bool forward) {
  const shape x = p.shape_of("x"), y = p.shape_of("y");
  image_taps t;
  for (int i = 0; i < 3; ++i) {
    const int axis = i - (5 - x.rank());
    axis_taps taps{.in = 1, .out = 1};
    if (axis >= 0) {
      taps = one_axis(p, axis, x[2 + axis], y[2 + axis], forward);
    } else {
      taps.add(0, 1);
      taps.close_output();
    }
    t.axes[i] = forward ? std::move(taps) : transposed(taps);
  }
  if (forward && p.has("value")) t.fill = static_cast<float>(p.number("value"));
  return t;
}

}  // namespace plumb
