// Specimens of what moves or blends cells: padding, upsampling, shuffles. Padding follows operators.md A10, upsampling
// A11 (nearest in single precision, linear with half-pixel centres unless align_corners), shuffles as torch orders them.
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

// ---- padding

enum class pad_kind { constant, reflection, replication, circular };

struct pad_body {
  extents5 x, y;
  std::array<sliding_axis, 3> axes;
  pad_kind kind = pad_kind::constant;
  double value = 0;

  static pad_body read(const problem& p) {
    pad_body b;
    const std::string& layer = p.layer();
    b.kind = layer.starts_with("constant")     ? pad_kind::constant
             : layer.starts_with("reflection") ? pad_kind::reflection
             : layer.starts_with("circular")   ? pad_kind::circular
                                               : pad_kind::replication;
    b.x = extents5::of(p.shape_of("x"));
    b.y = extents5::of(p.shape_of("y"));
    b.axes = sliding_axes(p, "x", "y", std::vector<index_t>(3, 1));
    if (p.has("value")) b.value = p.number("value");
    return b;
  }
  /// The cell that output `j` shows, or -1.
  template <name F>
  index_t shown(std::size_t axis, index_t j) const {
    const sliding_axis& a = axes[axis];
    index_t i = j - a.begin;
    if constexpr (F == "pad_sides_swapped") i = j - a.end;
    if constexpr (F == "pad_of_other_axis") i = j - axes[axis == 2 ? 1 : axis].begin;
    if constexpr (F == "negative_pad_is_none") i = j - std::max<index_t>(a.begin, 0);
    switch (kind) {
      case pad_kind::constant:
        return i >= 0 && i < a.in ? i : -1;
      case pad_kind::reflection:
        if constexpr (F == "border_repeated") {
          if (i < 0) i = -i - 1;
          return std::clamp<index_t>(i >= a.in ? 2 * a.in - 1 - i : i, 0, a.in - 1);
        }
        if (i < 0) i = -i;
        return std::clamp<index_t>(i >= a.in ? 2 * (a.in - 1) - i : i, 0, a.in - 1);
      case pad_kind::replication:
        if constexpr (F == "one_from_the_border")
          return std::clamp<index_t>(i, std::min<index_t>(1, a.in - 1), a.in - 1);
        return std::clamp<index_t>(i, 0, a.in - 1);
      case pad_kind::circular: {
        const index_t kept = a.in + std::min<index_t>(a.begin, 0) + std::min<index_t>(a.end, 0);
        const index_t from = std::max<index_t>(-a.begin, 0), at = j - std::max<index_t>(a.begin, 0);
        if constexpr (F == "remainder_of_negative") return std::clamp<index_t>(from + at % kept, 0, a.in - 1);
        return from + ((at % kept) + kept) % kept;
      }
    }
    return -1;
  }
};

struct pad_forward : pad_body {
  static constexpr const char* arithmetic = "exact";
  static pad_forward read(const problem& p) { return {pad_body::read(p)}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const place o = place_of(i, y);
    const index_t d = shown<F>(0, o.d), h = shown<F>(1, o.h), w = shown<F>(2, o.w);
    T v = static_cast<T>(value);
    if constexpr (F == "always_zero") v = 0;
    if (d >= 0 && h >= 0 && w >= 0) v = grid<const T>(call.reads[0])(o.n, o.c, d, h, w);
    grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w) = v;
  }
};

struct pad_backward : pad_body {
  static pad_backward read(const problem& p) { return {pad_body::read(p)}; }
  index_t items() const { return x.size(); }
  index_t row() const { return x.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]);
    const place at = place_of(i, x);
    T sum = 0;
    for (index_t o = 0; o < y.d; ++o)
      for (index_t p = 0; p < y.h; ++p)
        for (index_t q = 0; q < y.w; ++q) {
          if (shown<F>(0, o) != at.d || shown<F>(1, p) != at.h || shown<F>(2, q) != at.w) continue;
          if constexpr (F == "overlap_overwritten")
            sum = dy(at.n, at.c, o, p, q);
          else
            sum += dy(at.n, at.c, o, p, q);
        }
    grid<T>(call.writes[0])(at.n, at.c, at.d, at.h, at.w) = sum;
  }
};

// ---- upsampling

struct resize_body {
  extents5 x, y;
  std::array<index_t, 3> in{}, out{};
  std::array<double, 3> step{};
  std::array<long double, 3> fine{};  ///< the same for weights, which keep all digits of double
  bool align = false, exact = false;

  static resize_body read(const problem& p) {
    resize_body b;
    const shape from = p.shape_of("x"), to = p.shape_of("y");
    b.x = extents5::of(from);
    b.y = extents5::of(to);
    b.in = {b.x.d, b.x.h, b.x.w};
    b.out = {b.y.d, b.y.h, b.y.w};
    b.align = p.has("align_corners") && p.flag("align_corners");
    b.exact = p.layer().find("exact") != std::string::npos;
    for (std::size_t i = 0; i < 3; ++i)
      b.step[i] = static_cast<double>(b.fine[i] = static_cast<long double>(b.in[i]) /
                                                  static_cast<long double>(b.out[i]));
    if (p.has("scale")) b.read_scale(p.text("scale"), static_cast<std::size_t>(from.rank() - 2));
    return b;
  }
  /// `2.5x1.3`, one factor an axis; -1 stands for none.
  void read_scale(const std::string& text, std::size_t rank) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < rank; ++i) {
      const std::size_t end = std::min(text.find('x', at), text.size());
      const long double factor = std::stold(text.substr(at, end - at));
      if (factor > 0) fine[3 - rank + i] = 1 / factor, step[3 - rank + i] = 1 / static_cast<double>(factor);
      at = std::min(end + 1, text.size());
      if (at == text.size() && i + 1 < rank) at = 0;  // one factor for every axis
    }
  }
};

struct nearest_forward : resize_body {
  static constexpr const char* arithmetic = "exact";
  static nearest_forward read(const problem& p) { return {resize_body::read(p)}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }

  template <name F>
  index_t cell(std::size_t axis, index_t o) const {
    if constexpr (F == "shortcut_for_doubling") {
      if (out[axis] == in[axis]) return o;
      if (out[axis] == 2 * in[axis]) return o / 2;
    }
    if constexpr (F == "step_from_sizes") return std::min(o * in[axis] / out[axis], in[axis] - 1);
    if constexpr (F == "rounded_to_nearest")
      return std::min(
          static_cast<index_t>(std::lround(static_cast<float>(o) * static_cast<float>(step[axis]))),
          in[axis] - 1);
    const std::size_t from = F == "step_of_other_axis" && axis == 2 ? 1 : axis;
    const float at = (static_cast<float>(o) + (exact ? 0.5F : 0.0F)) * static_cast<float>(step[from]);
    return std::min(static_cast<index_t>(std::floor(at)), in[axis] - 1);
  }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const place o = place_of(i, y);
    grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w) =
        grid<const T>(call.reads[0])(o.n, o.c, cell<F>(0, o.d), cell<F>(1, o.h), cell<F>(2, o.w));
  }
};

struct nearest_backward : nearest_forward {
  static constexpr const char* arithmetic = "f32";
  static nearest_backward read(const problem& p) { return {nearest_forward::read(p)}; }
  index_t items() const { return x.size(); }
  index_t row() const { return x.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]);
    const place at = place_of(i, x);
    const auto copies = [&](std::size_t axis, index_t o, index_t cell_in) {
      if constexpr (F == "inverse_rounded_down") {  // the first output by floor, where ceil is meant
        const auto first = [&](index_t c) {
          return static_cast<index_t>(std::floor(static_cast<double>(c) / step[axis]));
        };
        return o >= first(cell_in) &&
               o < std::max(first(cell_in + 1), cell_in + 1 == in[axis] ? out[axis] : 0);
      }
      return cell<F>(axis, o) == cell_in;
    };
    T sum = 0;
    for (index_t o = 0; o < y.d; ++o)
      for (index_t p = 0; p < y.h; ++p)
        for (index_t q = 0; q < y.w; ++q)
          if (copies(0, o, at.d) && copies(1, p, at.h) && copies(2, q, at.w)) sum += dy(at.n, at.c, o, p, q);
    grid<T>(call.writes[0])(at.n, at.c, at.d, at.h, at.w) = sum;
  }
};

struct linear_body : resize_body {
  struct blend {
    index_t low, high;
    long double weight;  ///< of the high cell
  };
  template <name F>
  blend at(std::size_t axis, index_t o) const {
    const index_t last = in[axis] - 1;
    const bool corners = F == "corners_never_aligned" ? false : F == "corners_always_aligned" ? true : align;
    long double s = 0;
    if (in[axis] == out[axis] && F != "equal_sizes_blended") {
      s = static_cast<long double>(o);
    } else if (corners) {
      s = out[axis] > 1 ? static_cast<long double>(o) * static_cast<long double>(last) /
                              static_cast<long double>(out[axis] - 1)
                        : 0;
    } else {
      const std::size_t from = F == "step_of_other_axis" && axis == 2 ? 1 : axis;
      s = fine[from] * (static_cast<long double>(o) + 0.5L) - 0.5L;
      if constexpr (F == "no_half_pixel") s = fine[from] * static_cast<long double>(o);
      s = std::max(s, 0.0L);
    }
    const index_t low = std::min(static_cast<index_t>(s), last);
    return {low, std::min(low + 1, last), s - static_cast<long double>(low)};
  }
};

struct linear_forward : linear_body {
  static linear_forward read(const problem& p) { return {{resize_body::read(p)}}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> image(call.reads[0]);
    const place o = place_of(i, y);
    const auto between = [this](std::size_t axis, index_t at_output) {
      blend b = at<F>(axis, at_output);
      if (in[axis] == out[axis] && b.weight == 0) b.high = b.low;  // a copied axis has no second cell
      return b;
    };
    const blend d = between(0, o.d), h = between(1, o.h), w = between(2, o.w);
    T sum = 0;
    for (int k = 0; k < 8; ++k) {
      const auto share = [k](const blend& b, int bit) {
        return (k >> bit & 1) != 0 ? b.weight : 1 - b.weight;
      };
      const auto cell = [k](const blend& b, int bit) { return (k >> bit & 1) != 0 ? b.high : b.low; };
      const T weight = static_cast<T>(share(d, 2) * share(h, 1) * share(w, 0));
      sum += weight * image(o.n, o.c, cell(d, 2), cell(h, 1), cell(w, 0));
    }
    grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w) = sum;
  }
};

struct linear_backward : linear_body {
  static linear_backward read(const problem& p) { return {{resize_body::read(p)}}; }
  index_t items() const { return x.size(); }
  index_t row() const { return x.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]);
    const place cell = place_of(i, x);
    const auto share = [&](std::size_t axis, index_t o, index_t c) {
      const blend b = at<F>(axis, o);
      if constexpr (F == "border_share_lost")
        if (b.low == b.high) return b.low == c ? 1 - b.weight : 0.0L;
      return (b.low == c ? 1 - b.weight : 0.0L) + (b.high == c ? b.weight : 0.0L);
    };
    const auto holds = [&](std::size_t axis, index_t o, index_t c) {
      const blend b = at<F>(axis, o);
      return b.low == c || b.high == c;
    };
    T sum = 0;
    for (index_t o = 0; o < y.d; ++o)
      for (index_t p = 0; p < y.h; ++p)
        for (index_t q = 0; q < y.w; ++q) {
          if constexpr (F == "narrow_window")
            if (std::fabs(static_cast<double>(q) - static_cast<double>(cell.w) / step[2]) > 1 / step[2] + 1)
              continue;
          const auto weight = static_cast<T>(share(0, o, cell.d) * share(1, p, cell.h) * share(2, q, cell.w));
          if (holds(0, o, cell.d) && holds(1, p, cell.h) && holds(2, q, cell.w))
            sum += weight * dy(cell.n, cell.c, o, p, q);
        }
    grid<T>(call.writes[0])(cell.n, cell.c, cell.d, cell.h, cell.w) = sum;
  }
};

// ---- shuffles

struct shuffle_body {
  static constexpr const char* arithmetic = "exact";
  extents5 x, y;
  index_t factor = 1;

  static shuffle_body read(const problem& p) {
    return {extents5::of(p.shape_of("x")), extents5::of(p.shape_of("y")),
            p.has("factor") ? p.integer("factor") : p.integer("groups")};
  }
};

struct pixel_shuffle_forward : shuffle_body {
  static pixel_shuffle_forward read(const problem& p) { return {shuffle_body::read(p)}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }
  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const place o = place_of(i, y);
    index_t c = (o.c * factor + o.h % factor) * factor + o.w % factor;
    if constexpr (F == "depth_counts_slowest") c = (o.h % factor * factor + o.w % factor) * y.c + o.c;
    if constexpr (F == "rows_and_columns_swapped") c = (o.c * factor + o.w % factor) * factor + o.h % factor;
    grid<T>(call.writes[0])(o.n, o.c, 0, o.h, o.w) =
        grid<const T>(call.reads[0])(o.n, c, 0, o.h / factor, o.w / factor);
  }
};

struct channel_shuffle_forward {
  static constexpr const char* arithmetic = "exact";
  index_t c = 1, inner = 1, groups = 1, elements = 0;

  static channel_shuffle_forward read(const problem& p) {
    const shape x = p.shape_of("x");
    channel_shuffle_forward b{x[1], 1, p.integer("groups"), x.size()};
    for (int axis = 2; axis < x.rank(); ++axis) b.inner *= x[axis];
    return b;
  }
  index_t items() const { return elements; }
  index_t row() const { return inner; }
  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const index_t to = i / inner % c;
    index_t from = to % groups * (c / groups) + to / groups;
    if constexpr (F == "groups_for_group_size") from = to % (c / groups) * groups + to / (c / groups);
    call.writes[0].view<T>()[i] = call.reads[0].view<T>()[i + (from - to) * inner];
  }
};

}  // namespace

void register_resampling(registry& kernels) {
  using enum path;
  for (const char* layer :
       {"constant_pad2d", "reflection_pad1d", "reflection_pad2d", "replication_pad2d", "circular_pad2d"}) {
    specimen<pad_forward>(kernels, layer, "forward").honest();
    specimen<pad_backward>(kernels, layer, "backward").honest();
  }
  specimen<pad_forward>(kernels, "constant_pad2d", "forward")
      .plant<"always_zero">()
      .plant<"negative_pad_is_none">()
      .plant<"pad_of_other_axis">({plain, vector})
      .walk("added_to_zero")
      .walk("launch_by_input");
  specimen<pad_forward>(kernels, "reflection_pad2d", "forward")
      .plant<"border_repeated">({plain, tail})
      .plant<"pad_sides_swapped">();
  specimen<pad_forward>(kernels, "reflection_pad1d", "forward").plant<"border_repeated">({vector});
  specimen<pad_backward>(kernels, "reflection_pad2d", "backward").plant<"overlap_overwritten">({plain, tail});
  specimen<pad_forward>(kernels, "replication_pad2d", "forward").plant<"one_from_the_border">();
  specimen<pad_backward>(kernels, "replication_pad2d", "backward")
      .plant<"overlap_overwritten">()
      .walk("dense_reads");
  specimen<pad_forward>(kernels, "circular_pad2d", "forward").plant<"remainder_of_negative">();

  for (const char* layer : {"upsample_nearest2d", "upsample_nearest_exact2d"}) {
    specimen<nearest_forward>(kernels, layer, "forward").honest();
    specimen<nearest_backward>(kernels, layer, "backward").honest();
  }
  for (const char* layer : {"upsample_linear1d", "upsample_bilinear2d"}) {
    specimen<linear_forward>(kernels, layer, "forward").honest();
    specimen<linear_backward>(kernels, layer, "backward").honest();
  }
  specimen<nearest_forward>(kernels, "upsample_nearest2d", "forward")
      .plant<"shortcut_for_doubling">()
      .plant<"step_from_sizes">({plain, vector})
      .plant<"rounded_to_nearest">()
      .walk("dense_reads")
      .walk("launch_by_input");
  specimen<nearest_backward>(kernels, "upsample_nearest2d", "backward")
      .plant<"inverse_rounded_down">()
      .plant<"shortcut_for_doubling">();
  specimen<nearest_forward>(kernels, "upsample_nearest_exact2d", "forward")
      .plant<"step_of_other_axis">({tail});
  specimen<linear_forward>(kernels, "upsample_bilinear2d", "forward")
      .plant<"corners_never_aligned">()
      .plant<"corners_always_aligned">({vector})
      .plant<"no_half_pixel">()
      .plant<"equal_sizes_blended">();
  specimen<linear_backward>(kernels, "upsample_bilinear2d", "backward")
      .plant<"step_of_other_axis">()
      .plant<"border_share_lost">();
  specimen<linear_backward>(kernels, "upsample_linear1d", "backward").plant<"narrow_window">();
  specimen<pixel_shuffle_forward>(kernels, "pixel_shuffle", "forward")
      .honest()
      .walk("one_ulp")
      .plant<"depth_counts_slowest">()
      .plant<"rows_and_columns_swapped">({plain, tail});
  specimen<channel_shuffle_forward>(kernels, "channel_shuffle", "forward")
      .honest()
      .plant<"groups_for_group_size">();
}

}  // namespace plumb::faults
