// Specimens of pooling: maximum (sliding, adaptive, and its backward pass), average (sliding and adaptive), unpooling.
// The rules are those of operators.md A5 to A9: the first of equals wins, the last NaN wins over every number, padding
// takes no part in a maximum, and an average divides by the cells of the padded input that its window covers.
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

struct window_body {
  extents5 x, y;
  std::array<sliding_axis, 3> axes;
  bool count_include_pad = true;
  index_t divisor = 0;
  bool adaptive = false;

  static window_body read(const problem& p) {
    window_body b;
    const shape in = p.shape_of("x"), out = p.shape_of("y");
    b.x = extents5::of(in);
    b.y = extents5::of(out);
    b.adaptive = !p.has("window");
    b.axes = sliding_axes(p, "x", "y", b.adaptive ? std::vector<index_t>(3, 1) : p.integers("window"));
    b.count_include_pad = p.has("count_include_pad") && p.flag("count_include_pad");
    b.divisor = p.has("divisor_override") ? p.integer("divisor_override") : 0;
    return b;
  }

  struct reach {
    index_t first, end, step;
  };
  /// The cells of output `o` along an axis that lie inside x.
  template <name F>
  reach cells(std::size_t axis, index_t o) const {
    const sliding_axis& a = axes[axis];
    if (adaptive) {
      index_t end = ((o + 1) * a.in + a.out - 1) / a.out;
      if constexpr (F == "end_rounded_down") end = std::max((o + 1) * a.in / a.out, o * a.in / a.out + 1);
      if constexpr (F == "one_fixed_window") {
        const index_t step = std::max<index_t>(1, a.in / a.out);
        return {std::min(o * step, a.in - 1), std::min(o * step + step, a.in), 1};
      }
      return {o * a.in / a.out, end, 1};
    }
    index_t start = o * a.stride - a.begin;
    if constexpr (F == "stride_of_other_axis") start = o * axes[axis == 2 ? 1 : axis].stride - a.begin;
    if constexpr (F == "pad_ignored") start = std::min(o * a.stride, a.in - 1);
    const index_t stop = start + (a.taps - 1) * a.dilation + 1;
    index_t first = start >= 0 ? start : start + (-start + a.dilation - 1) / a.dilation * a.dilation;
    if constexpr (F == "start_clamped_to_zero") first = std::max<index_t>(start, 0);
    index_t end = std::min(stop, a.in);
    if constexpr (F == "last_cell_forgotten")
      end = stop < a.in || a.taps == 1 ? end : std::max(end - 1, first + 1);
    return {first, end, a.dilation};
  }
};

// ---- maximum

struct max_forward : window_body {
  static constexpr const char* arithmetic = "exact";
  static max_forward read(const problem& p) { return {window_body::read(p)}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> image(call.reads[0]);
    const place o = place_of(i, y);
    T best = -std::numeric_limits<T>::infinity();
    index_t winner = -1;
    if constexpr (F == "starts_at_smallest_positive") best = std::numeric_limits<T>::min();
    if constexpr (F == "starts_at_zero") best = 0;
    if constexpr (F == "starts_at_lowest") best = std::numeric_limits<T>::lowest();
    constexpr bool by_value_only = F == "starts_at_smallest_positive" || F == "starts_at_zero" ||
                                   F == "starts_at_lowest" || F == "nan_ignored";
    const reach depth = cells<F>(0, o.d), height = cells<F>(1, o.h), width = cells<F>(2, o.w);
    for (index_t d = depth.first; d < depth.end; d += depth.step)
      for (index_t h = height.first; h < height.end; h += height.step)
        for (index_t w = width.first; w < width.end; w += width.step) {
          const T v = image(o.n, o.c, d, h, w);
          bool wins = v > best || (!by_value_only && (v != v || winner < 0)) ||
                      (by_value_only && winner < 0 && v == best);
          if constexpr (F == "last_of_equals") wins = wins || v == best;
          if constexpr (F == "first_nan") wins = best == best && wins;
          if constexpr (F == "magnitudes") wins = winner < 0 || std::fabs(v) > std::fabs(best);
          if (!wins) continue;
          best = v;
          winner = (d * x.h + h) * x.w + w;
          if constexpr (F == "pitch_of_rows") winner = (d * x.h + h) * x.h + w;
          if constexpr (F == "index_in_window")
            winner = ((d - depth.first) * axes[1].taps + h - height.first) * axes[2].taps + w - width.first;
        }
    if constexpr (by_value_only) winner = std::max<index_t>(winner, 0);
    if constexpr (F == "padding_is_zero") {
      const auto outside = [&](std::size_t axis, index_t at) {
        const index_t start = at * axes[axis].stride - axes[axis].begin;
        return start < 0 || start + axes[axis].span() > axes[axis].in;
      };
      if (best < 0 && (outside(1, o.h) || outside(2, o.w))) best = 0;
    }
    grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w) = best;
    index_t& index = grid<index_t>(call.writes[1])(o.n, o.c, o.d, o.h, o.w);
    if constexpr (F == "half_an_index") {
      const auto narrow = static_cast<std::int32_t>(winner);
      std::memcpy(&index, &narrow, sizeof narrow);
      return;
    }
    index = winner;
  }
};

/// Scatters, one plane at a time.
struct max_backward : window_body {
  static max_backward read(const problem& p) { return {window_body::read(p)}; }
  index_t items() const { return x.n * x.c; }
  index_t row() const { return 1; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]);
    const grid<const index_t> indices(call.reads[1]);
    const grid<T> dx(call.writes[0]);
    const index_t n = i / x.c, c = i % x.c;
    index_t cleared = x.plane();
    if constexpr (F == "cleared_by_output") cleared = std::min(cleared, y.plane());
    for (index_t j = 0; j < cleared; ++j) {
      const place at = place_of(j, {1, 1, x.d, x.h, x.w});
      dx(n, c, at.d, at.h, at.w) = 0;
    }
    index_t outputs = y.plane();
    if constexpr (F == "last_column_lost") outputs = y.w > 1 ? outputs - 1 : outputs;
    for (index_t j = 0; j < outputs; ++j) {
      const place o = place_of(j, {1, 1, y.d, y.h, y.w});
      index_t cell = indices(n, c, o.d, o.h, o.w);
      if constexpr (F == "pitch_of_rows") cell = std::min(cell / x.w * x.h + cell % x.w, x.plane() - 1);
      if (cell < 0 || cell >= x.plane()) continue;
      T& to = dx(n, c, cell / x.w / x.h, cell / x.w % x.h, cell % x.w);
      if constexpr (F == "overlap_overwritten")
        to = dy(n, c, o.d, o.h, o.w);
      else
        to += dy(n, c, o.d, o.h, o.w);
    }
  }
};

// ---- average

struct average_body : window_body {
  template <name F>
  index_t divisor_of(index_t o, index_t p, index_t q) const {
    if constexpr (F != "override_ignored")
      if (divisor > 0) return divisor;
    index_t product = 1;
    const std::array<index_t, 3> at = {o, p, q};
    for (std::size_t axis = 0; axis < 3; ++axis) {
      const sliding_axis& a = axes[axis];
      const reach inside = cells<F>(axis, at[axis]);
      const index_t start = at[axis] * a.stride - a.begin;
      index_t covered = std::min(start + a.taps, a.in + a.end) - start;
      if constexpr (F == "overhang_counted") covered = a.taps;
      if constexpr (F == "padding_never_counted") covered = inside.end - inside.first;
      if constexpr (F == "one_divisor_for_all") covered = (a.in + a.out - 1) / a.out;
      const bool padded = !adaptive && count_include_pad;
      if constexpr (F == "one_divisor_for_all") {
        product *= adaptive ? covered : padded ? a.taps : inside.end - inside.first;
        continue;
      }
      if constexpr (F == "padding_always_counted")
        product *= adaptive ? inside.end - inside.first : covered;
      else
        product *= padded ? covered : inside.end - inside.first;
    }
    return product;
  }
};

struct average_forward : average_body {
  static average_forward read(const problem& p) { return {{window_body::read(p)}}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> image(call.reads[0]);
    const place o = place_of(i, y);
    const reach depth = cells<F>(0, o.d), height = cells<F>(1, o.h), width = cells<F>(2, o.w);
    T sum = 0;
    for (index_t d = depth.first; d < depth.end; ++d)
      for (index_t h = height.first; h < height.end; ++h)
        for (index_t w = width.first; w < width.end; ++w) sum += image(o.n, o.c, d, h, w);
    grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w) =
        sum / static_cast<T>(std::max<index_t>(1, divisor_of<F>(o.d, o.h, o.w)));
  }
};

/// Gathered: every cell asks all windows of its plane.
struct average_backward : average_body {
  static average_backward read(const problem& p) { return {{window_body::read(p)}}; }
  index_t items() const { return x.size(); }
  index_t row() const { return x.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]);
    const place at = place_of(i, x);
    const auto holds = [](const reach& r, index_t cell) { return cell >= r.first && cell < r.end; };
    T sum = 0;
    for (index_t j = 0; j < y.plane(); ++j) {
      const place o = place_of(j, {1, 1, y.d, y.h, y.w});
      if (!holds(cells<F>(0, o.d), at.d) || !holds(cells<F>(1, o.h), at.h) || !holds(cells<F>(2, o.w), at.w))
        continue;
      const T share =
          dy(at.n, at.c, o.d, o.h, o.w) / static_cast<T>(std::max<index_t>(1, divisor_of<F>(o.d, o.h, o.w)));
      if constexpr (F == "overlap_overwritten")
        sum = share;
      else
        sum += share;
    }
    grid<T>(call.writes[0])(at.n, at.c, at.d, at.h, at.w) = sum;
  }
};

// ---- unpooling

struct unpool_forward {
  extents5 x, y;
  static unpool_forward read(const problem& p) {
    return {extents5::of(p.shape_of("x")), extents5::of(p.shape_of("y"))};
  }
  index_t items() const { return x.n * x.c; }
  index_t row() const { return 1; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> from(call.reads[0]);
    const grid<const index_t> indices(call.reads[1]);
    const grid<T> to(call.writes[0]);
    const index_t n = i / x.c, c = i % x.c;
    if constexpr (F != "gaps_unwritten")
      for (index_t j = 0; j < y.plane(); ++j) {
        const place at = place_of(j, {1, 1, y.d, y.h, y.w});
        to(n, c, at.d, at.h, at.w) = 0;
      }
    for (index_t j = 0; j < x.plane(); ++j) {
      const place at = place_of(j, {1, 1, x.d, x.h, x.w});
      const index_t cell = indices(n, c, at.d, at.h, at.w);
      if (cell < 0 || cell >= y.plane()) continue;
      T& out = to(n, c, cell / y.w / y.h, cell / y.w % y.h, cell % y.w);
      if constexpr (F == "duplicates_added")
        out += from(n, c, at.d, at.h, at.w);
      else if constexpr (F == "first_duplicate_kept")
        out = out == 0 ? from(n, c, at.d, at.h, at.w) : out;
      else
        out = from(n, c, at.d, at.h, at.w);
    }
  }
};

}  // namespace

void register_pools(registry& kernels) {
  using enum path;
  for (const char* layer : {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d"}) {
    specimen<max_forward>(kernels, layer, "forward").honest();
    specimen<max_backward>(kernels, layer, "backward").honest();
  }
  for (const char* layer : {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool2d"}) {
    specimen<average_forward>(kernels, layer, "forward").honest();
    specimen<average_backward>(kernels, layer, "backward").honest();
  }
  specimen<max_forward>(kernels, "max_pool2d", "forward")
      .plant<"starts_at_smallest_positive">({plain, vector})
      .plant<"starts_at_zero">({tail})
      .plant<"starts_at_lowest">()
      .plant<"nan_ignored">({plain, tail})
      .plant<"first_nan">()
      .plant<"last_of_equals">({plain, threads})
      .plant<"pitch_of_rows">()
      .plant<"index_in_window">()
      .plant<"start_clamped_to_zero">({plain, vector})
      .plant<"padding_is_zero">()
      .plant<"half_an_index">()
      .plant<"last_cell_forgotten">({plain, tail})
      .plant<"stride_of_other_axis">()
      .walk("dense_reads")
      .walk("dense_writes")
      .walk("added_to_zero")
      .walk("leaks_threads");
  specimen<max_forward>(kernels, "max_pool1d", "forward")
      .plant<"magnitudes">({vector})
      .walk("past_the_end", vector);
  specimen<max_forward>(kernels, "max_pool3d", "forward").plant<"start_clamped_to_zero">({tail});
  specimen<max_backward>(kernels, "max_pool2d", "backward")
      .plant<"cleared_by_output">()
      .plant<"overlap_overwritten">({plain, threads})
      .plant<"pitch_of_rows">()
      .plant<"last_column_lost">()
      .walk("dense_second");
  specimen<max_forward>(kernels, "adaptive_max_pool2d", "forward")
      .plant<"end_rounded_down">({plain, vector})
      .plant<"one_fixed_window">()
      .plant<"starts_at_lowest">({tail});
  specimen<max_backward>(kernels, "adaptive_max_pool2d", "backward")
      .plant<"overlap_overwritten">()
      .walk("dense_second");

  specimen<average_forward>(kernels, "avg_pool2d", "forward")
      .plant<"overhang_counted">({plain, tail})
      .plant<"padding_never_counted">()
      .plant<"padding_always_counted">({plain, vector})
      .plant<"override_ignored">()
      .walk("first_image");
  specimen<average_forward>(kernels, "avg_pool1d", "forward").plant<"overhang_counted">({threads});
  specimen<average_forward>(kernels, "avg_pool3d", "forward").plant<"stride_of_other_axis">();
  specimen<average_backward>(kernels, "avg_pool2d", "backward")
      .plant<"overhang_counted">()
      .plant<"one_divisor_for_all">({plain, vector})
      .plant<"overlap_overwritten">()
      .plant<"pad_ignored">();
  specimen<average_forward>(kernels, "adaptive_avg_pool2d", "forward")
      .plant<"end_rounded_down">({plain, tail})
      .plant<"one_fixed_window">();
  specimen<average_backward>(kernels, "adaptive_avg_pool2d", "backward")
      .plant<"one_divisor_for_all">()
      .plant<"overlap_overwritten">({tail});
  specimen<unpool_forward>(kernels, "max_unpool2d", "forward")
      .honest()
      .plant<"gaps_unwritten">()
      .plant<"duplicates_added">()
      .plant<"first_duplicate_kept">()
      .walk("dense_second");
}

}  // namespace plumb::faults
