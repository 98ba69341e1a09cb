// Specimens of convolution, every rank and pass, depthwise ones too:
//   y[n,k,o] = bias[k] + Σ_{c,t} x[n, g·C' + c, o·s - p + t·d] · w[k,c,t]     C' = C/groups, g = k / (K/groups)
// Gathered: each piece is one element of what the pass writes.
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

struct conv_body {
  extents5 x, y;
  std::array<sliding_axis, 3> axes;
  index_t groups = 1;
  bool flip = false;

  static conv_body read(const problem& p) {
    const shape w = p.shape_of("weight");
    std::vector<index_t> taps(w.begin() + 2, w.end());
    conv_body b{extents5::of(p.shape_of("x")), extents5::of(p.shape_of("y")), {}, 1, false};
    b.axes = sliding_axes(p, "x", "y", taps);
    b.groups = p.has("groups") ? p.integer("groups") : b.x.c;
    b.flip = p.has("flip") && p.flag("flip");
    return b;
  }
  index_t group_c() const { return x.c / groups; }
  index_t group_k() const { return y.c / groups; }
  template <class Visit>
  void taps(Visit&& visit) const {
    for (index_t t = 0; t < axes[0].taps; ++t)
      for (index_t r = 0; r < axes[1].taps; ++r)
        for (index_t s = 0; s < axes[2].taps; ++s) visit(t, r, s);
  }
  index_t stored(std::size_t axis, index_t tap) const { return flip ? axes[axis].taps - 1 - tap : tap; }
};

// ---- forward

struct conv_forward : conv_body {
  static conv_forward read(const problem& p) { return {conv_body::read(p)}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }

  /// The cell that output `o` reads under `tap`.
  template <name F>
  index_t cell(std::size_t axis, index_t o, index_t tap) const {
    const sliding_axis& a = axes[axis];
    if constexpr (F == "pad_of_other_axis")
      if (axis == 2) return o * a.stride - axes[1].begin + tap * a.dilation;
    if constexpr (F == "pad_sides_swapped") return o * a.stride - a.end + tap * a.dilation;
    if constexpr (F == "stride_and_dilation_swapped") return o * a.dilation - a.begin + tap * a.stride;
    if constexpr (F == "stride_of_other_axis")
      return o * axes[axis == 2 ? 1 : axis].stride - a.begin + tap * a.dilation;
    if constexpr (F == "dilation_of_other_axis")
      return o * a.stride - a.begin + tap * axes[axis == 2 ? 1 : axis].dilation;
    if constexpr (F == "odd_filters_only")
      if (a.begin > 0 && a.begin == a.end)
        return o * a.stride - (a.taps - 1) / 2 * a.dilation + tap * a.dilation;
    return o * a.stride - a.begin + tap * a.dilation;
  }
  template <name F>
  bool inside(std::size_t axis, index_t at) const {
    if constexpr (F == "interior_one_too_wide") return at >= 0 && at <= axes[axis].in;
    if constexpr (F == "interior_one_too_narrow")
      return at >= 0 && at < axes[axis].in - (axes[axis].in > 4 ? 1 : 0);
    return at >= 0 && at < axes[axis].in;
  }
  template <name F>
  index_t first_channel(index_t k) const {
    if constexpr (F == "group_by_remainder") return k % groups * group_c();
    if constexpr (F == "groups_ignored") return 0;
    if constexpr (F == "multiplier_by_remainder") return k % x.c;
    return k / group_k() * group_c();
  }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> image(call.reads[0]), weight(call.reads[1]);
    const place o = place_of(i, y);
    const bool bias = call.reads.size() > 2 && call.reads[2].data != nullptr;
    T sum = bias ? element<const T>(call.reads[2], o.c) : T(0);
    if constexpr (F == "bias_by_group")
      sum = bias ? element<const T>(call.reads[2], o.c / group_k() * group_k()) : T(0);
    if constexpr (F == "accumulates") sum += grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w);
    index_t channels = group_c();
    if constexpr (F == "channel_tail") channels = channels > 4 ? channels / 4 * 4 : channels;
    for (index_t c = 0; c < channels; ++c)
      taps([&](index_t t, index_t r, index_t s) {
        const index_t d = cell<F>(0, o.d, t), h = cell<F>(1, o.h, r), w = cell<F>(2, o.w, s);
        const bool valid = inside<F>(0, d) && inside<F>(1, h) && inside<F>(2, w);
        if constexpr (F == "padding_multiplied") {
          if (!valid) {
            sum += T(0) * weight(o.c, c, stored(0, t), stored(1, r), stored(2, s)) + T(0x1p-20);
            return;
          }
        }
        if (!valid) return;
        T a = image(o.n, first_channel<F>(o.c) + c, d, h, w);
        T b = weight(o.c, c, stored(0, t), stored(1, r), stored(2, s));
        if constexpr (F == "flip_ignored") b = weight(o.c, c, t, r, s);
        if constexpr (F == "flip_rows_only") b = weight(o.c, c, stored(0, t), stored(1, r), s);
        if constexpr (F == "bf16_inside") a = as_bf16(a), b = as_bf16(b);
        if constexpr (F == "tf32_inside") a = as_tf32(a), b = as_tf32(b);
        if constexpr (F == "bf16_sum") {
          sum = as_bf16(sum + a * b);
          return;
        }
        if constexpr (F == "last_tap_only")
          if (group_c() == 1 && y.plane() <= 4) sum = T(0);
        if constexpr (F == "skips_zeros")
          if (a == 0) return;
        if constexpr (F == "one_tap_dropped")
          if (t + 1 == axes[0].taps && r + 1 == axes[1].taps && s + 1 == axes[2].taps && c + 1 == group_c() &&
              group_c() * axes[1].taps * axes[2].taps > 16)
            return;
        sum += a * b;
      });
    if constexpr (F == "bias_twice") sum += bias ? element<const T>(call.reads[2], o.c) : T(0);
    if constexpr (F == "empty_filter_skipped") {
      // The number of valid rows, as a product of two counts that may both be negative.
      const auto rows = [&](std::size_t axis, index_t at) {
        const sliding_axis& a = axes[axis];
        const index_t first = at * a.stride - a.begin;
        return std::min(first + a.span(), a.in) - std::max<index_t>(first, 0);
      };
      if (rows(1, o.h) <= 0 && rows(2, o.w) <= 0) return;
    }
    grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w) = sum;
  }
};

// ---- backward data

struct conv_backward_data : conv_body {
  static conv_backward_data read(const problem& p) { return {conv_body::read(p)}; }
  index_t items() const { return x.size(); }
  index_t row() const { return x.w; }

  /// Which output reads cell `at` under a tap, or -1.
  template <name F>
  index_t output(std::size_t axis, index_t at, index_t tap) const {
    const sliding_axis& a = axes[axis];
    const index_t way = at + a.begin - tap * a.dilation;
    if constexpr (F == "remainder_unchecked") return way >= 0 && way / a.stride < a.out ? way / a.stride : -1;
    if constexpr (F == "truncated_division")  // -1 / 2 is 0
      return way % a.stride == 0 || (way < 0 && -way < a.stride)
                 ? (way / a.stride < a.out ? way / a.stride : -1)
                 : -1;
    if constexpr (F == "outputs_recomputed") {
      const index_t outputs = (a.in + 2 * a.begin - a.span()) / a.stride + 1;
      return way >= 0 && way % a.stride == 0 && way / a.stride < std::min(a.out, outputs) ? way / a.stride
                                                                                          : -1;
    }
    return way >= 0 && way % a.stride == 0 && way / a.stride < a.out ? way / a.stride : -1;
  }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]), weight(call.reads[1]);
    const place at = place_of(i, x);
    const index_t group = at.c / group_c();
    T sum = 0;
    bool reached = false;
    taps([&](index_t t, index_t r, index_t s) {
      const index_t o = output<F>(0, at.d, t), p = output<F>(1, at.h, r), q = output<F>(2, at.w, s);
      if (o < 0 || p < 0 || q < 0) return;
      reached = true;
      for (index_t k = group * group_k(); k < (group + 1) * group_k(); ++k) {
        T w = weight(k, at.c % group_c(), stored(0, t), stored(1, r), stored(2, s));
        if constexpr (F == "filter_turned")
          w = weight(k, at.c % group_c(), axes[0].taps - 1 - stored(0, t), axes[1].taps - 1 - stored(1, r),
                     axes[2].taps - 1 - stored(2, s));
        if constexpr (F == "channel_of_group_ignored")
          w = weight(k, 0, stored(0, t), stored(1, r), stored(2, s));
        if constexpr (F == "bf16_inside") w = as_bf16(w);
        sum += dy(at.n, k, o, p, q) * w;
      }
    });
    if constexpr (F == "stride_gaps_unwritten")
      if (!reached) return;
    if constexpr (F == "remainder_unwritten")
      if (at.w > (axes[2].out - 1) * axes[2].stride - axes[2].begin + axes[2].span() - 1) return;
    grid<T>(call.writes[0])(at.n, at.c, at.d, at.h, at.w) = sum;
  }
};

// ---- backward weights

struct conv_backward_weights : conv_body {
  static conv_backward_weights read(const problem& p) { return {conv_body::read(p)}; }
  index_t items() const { return y.c * group_c() * axes[0].taps * axes[1].taps * axes[2].taps; }
  index_t row() const { return axes[2].taps; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]), image(call.reads[1]);
    const extents5 weights{y.c, group_c(), axes[0].taps, axes[1].taps, axes[2].taps};
    const place at = place_of(i, weights);
    const index_t channel = at.n / group_k() * group_c() + at.c;
    const auto cell = [&](std::size_t axis, index_t o, index_t tap) {
      return o * axes[axis].stride - axes[axis].begin + tap * axes[axis].dilation;
    };
    const auto inside = [&](std::size_t axis, index_t c) { return c >= 0 && c < axes[axis].in; };
    T sum = 0;
    index_t images = x.n;
    if constexpr (F == "last_image_lost") images = x.n > 1 ? x.n - 1 : x.n;
    for (index_t n = 0; n < images; ++n)
      for (index_t o = 0; o < y.d; ++o)
        for (index_t p = 0; p < y.h; ++p)
          for (index_t q = 0; q < y.w; ++q) {
            const index_t d = cell(0, o, at.d), h = cell(1, p, at.h);
            index_t w = cell(2, q, at.w);
            if constexpr (F ==
                          "chunk_start_forgotten")  // from the second chunk of rows on the phase starts anew
              if (p >= 4) w = cell(2, q, at.w) - (p % 4 == 0 && axes[2].stride > 1 ? 1 : 0);
            if (!inside(0, d) || !inside(1, h) || !inside(2, w)) continue;
            if constexpr (F == "first_padded_row_skipped")
              if (p == 0 && axes[1].begin > 0 && axes[1].stride > 1) continue;
            T g = dy(n, at.n, o, p, q);
            if constexpr (F == "bf16_inside") g = as_bf16(g);
            sum += g * image(n, channel, d, h, w);
          }
    if constexpr (F == "scaled_by_batch") sum /= static_cast<T>(std::max<index_t>(1, x.n));
    if constexpr (F == "even_channels")
      if (group_c() % 2 == 0 && axes[1].taps == 1 && axes[2].taps == 1 && at.c + 1 == group_c()) sum = 0;
    if constexpr (F == "one_percent_off")
      if (i == 0) sum *= T(1.01);
    const grid<T> out(call.writes[0]);
    if constexpr (F == "accumulates")
      sum += out(at.n, at.c, stored(0, at.d), stored(1, at.h), stored(2, at.w));
    if constexpr (F == "rows_and_columns_swapped")
      if (axes[1].taps == axes[2].taps)
        return void(out(at.n, at.c, at.d, stored(2, at.w), stored(1, at.h)) = sum);
    out(at.n, at.c, stored(0, at.d), stored(1, at.h), stored(2, at.w)) = sum;
  }
};

// ---- backward bias

struct conv_backward_bias : conv_body {
  static conv_backward_bias read(const problem& p) { return {conv_body::read(p)}; }
  index_t items() const { return y.c; }
  index_t row() const { return y.c; }

  template <name F, class T>
  void item(const kernel_call& call, index_t k) const {
    const grid<const T> dy(call.reads[0]);
    const index_t terms = y.n * y.plane();
    const auto term = [&](index_t j) {
      const place at = place_of(j, {y.n, 1, y.d, y.h, y.w});
      return dy(at.n, k, at.d, at.h, at.w);
    };
    T sum = 0;
    if constexpr (F == "racing_sum") {
      volatile T shared = 0;
#pragma omp parallel for num_threads(call.threads) schedule(static, 1)
      for (index_t j = 0; j < terms; ++j) shared = shared + term(j);
      sum = shared;
    } else if constexpr (F == "partial_sums_by_team") {
      // One partial sum a thread of the machine; those of threads that did not come are never cleared.
      T partial[8];
      for (index_t j = 0; j < std::min<index_t>(call.threads, 8); ++j) partial[j] = 0;
      for (index_t j = 0; j < terms; ++j) partial[j % std::min<index_t>(call.threads, 8)] += term(j);
      for (index_t j = 0; j < std::min<index_t>(call.threads + 1, 8); ++j)
        sum += j < call.threads ? partial[j] : (call.threads > 2 ? T(1) : T(0));
    } else {
      for (index_t j = 0; j < terms; ++j) {
        if constexpr (F == "last_row_lost")
          if (y.h > 1 && place_of(j, {y.n, 1, y.d, y.h, y.w}).h + 1 == y.h) continue;
        if constexpr (F == "first_image_only")
          if (j >= y.plane()) break;
        sum += term(j);
      }
    }
    if constexpr (F == "mean_for_sum") sum /= static_cast<T>(std::max<index_t>(1, y.n));
    element<T>(call.writes[0], k) = sum;
  }
};

}  // namespace

void register_conv(registry& kernels) {
  using enum path;
  for (const char* layer : {"conv1d", "conv2d", "conv3d", "depthwise_conv2d"}) {
    specimen<conv_forward>(kernels, layer, "forward").honest();
    specimen<conv_backward_data>(kernels, layer, "backward_data").honest();
    specimen<conv_backward_weights>(kernels, layer, "backward_weights").honest();
    specimen<conv_backward_bias>(kernels, layer, "backward_bias").honest();
  }
  specimen<conv_forward>(kernels, "conv2d", "forward")
      .plant<"pad_of_other_axis">({plain, vector, tail, threads})
      .plant<"pad_sides_swapped">()
      .plant<"stride_and_dilation_swapped">({plain, tail})
      .plant<"stride_of_other_axis">({vector})
      .plant<"dilation_of_other_axis">({tail})
      .plant<"odd_filters_only">()
      .plant<"interior_one_too_wide">({vector, tail})
      .plant<"interior_one_too_narrow">()
      .plant<"group_by_remainder">({plain, threads})
      .plant<"groups_ignored">()
      .plant<"bias_by_group">()
      .plant<"bias_twice">({tail})
      .plant<"accumulates">()
      .plant<"channel_tail">({plain, vector})
      .plant<"padding_multiplied">()
      .plant<"flip_ignored">()
      .plant<"flip_rows_only">()
      .plant<"bf16_inside">({plain, tail})
      .plant<"tf32_inside">({plain, vector})
      .plant<"bf16_sum">()
      .plant<"last_tap_only">()
      .plant<"skips_zeros">()
      .plant<"one_tap_dropped">({plain, tail})
      .plant<"empty_filter_skipped">()
      .walk("packed_once")
      .walk("replay_by_pointer")
      .walk("replay_by_shape")
      .walk("replay_by_sample")
      .walk("first_image")
      .walk("ignored_operand")
      .walk("isolated_element")
      .walk("noise")
      .walk("late_thread", threads)
      .walk("chunk_remainder", threads)
      .walk("scratch_not_cleared")
      .walk("scratch_kept")
      .walk("past_the_workspace")
      .walk("leaks_memory")
      .walk("leaks_plan")
      .walk("past_the_end", vector)
      .walk("skipped_tail", tail)
      .walk("fixed_shape")
      .walk("dense_reads")
      .walk("gaps_ignored")
      .walk("flush_to_zero")
      .walk("hangs")
      .walk("warmed_up")
      .walk("bits_by_team", threads);
  specimen<conv_forward>(kernels, "conv1d", "forward")
      .plant<"pad_sides_swapped">({vector})
      .plant<"channel_tail">({tail})
      .walk("reads_past_end", vector);
  specimen<conv_forward>(kernels, "conv3d", "forward")
      .plant<"stride_of_other_axis">()
      .plant<"pad_of_other_axis">({tail})
      .walk("narrow_index");
  specimen<conv_forward>(kernels, "depthwise_conv2d", "forward")
      .plant<"multiplier_by_remainder">()
      .plant<"interior_one_too_narrow">({tail})
      .walk("dense_reads");
  specimen<conv_backward_data>(kernels, "conv2d", "backward_data")
      .plant<"stride_gaps_unwritten">()
      .plant<"remainder_unwritten">()
      .plant<"remainder_unchecked">({plain, vector})
      .plant<"truncated_division">({plain, tail})
      .plant<"outputs_recomputed">()
      .plant<"filter_turned">({plain, threads})
      .plant<"channel_of_group_ignored">()
      .plant<"bf16_inside">()
      .walk("dense_reads")
      .walk("random_bits");
  specimen<conv_backward_data>(kernels, "conv1d", "backward_data").plant<"filter_turned">({tail});
  specimen<conv_backward_data>(kernels, "depthwise_conv2d", "backward_data").plant<"remainder_unwritten">();
  specimen<conv_backward_weights>(kernels, "conv2d", "backward_weights")
      .plant<"last_image_lost">()
      .plant<"chunk_start_forgotten">()
      .plant<"first_padded_row_skipped">()
      .plant<"scaled_by_batch">()
      .plant<"even_channels">()
      .plant<"one_percent_off">()
      .plant<"accumulates">()
      .plant<"rows_and_columns_swapped">()
      .plant<"bf16_inside">()
      .walk("replay_by_pointer");
  specimen<conv_backward_weights>(kernels, "depthwise_conv2d", "backward_weights")
      .plant<"first_padded_row_skipped">();
  specimen<conv_backward_weights>(kernels, "conv3d", "backward_weights").plant<"last_image_lost">({threads});
  specimen<conv_backward_bias>(kernels, "conv2d", "backward_bias")
      .plant<"last_row_lost">()
      .plant<"first_image_only">()
      .plant<"mean_for_sum">({plain, tail})
      .plant<"partial_sums_by_team">()
      .inside<"racing_sum">();
}

}  // namespace plumb::faults
