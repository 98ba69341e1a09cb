// Specimens of transposed convolution and of the layers that are one matrix product.
//   conv_transpose   y[n, k0+k, i·s - p + t·d] += x[n,c,i]·w[c,k,t], plus bias[k] once; gathered here, so that each
//                    piece is one element: which input cell reaches output o under tap t, if any
//   linear           y[row,m] = Σ_d x[row,d]·w[m,d] + b[m]           matmul   y[n,m] = Σ_d x[n,d]·w[d,m]
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

// ---- transposed convolution

struct transposed_body {
  extents5 x, y;
  std::array<sliding_axis, 3> axes;  ///< in: of x, out: of y
  index_t groups = 1;

  static transposed_body read(const problem& p) {
    const shape w = p.shape_of("weight");
    transposed_body b{extents5::of(p.shape_of("x")), extents5::of(p.shape_of("y")), {}, p.integer("groups")};
    b.axes = sliding_axes(p, "x", "y", std::vector<index_t>(w.begin() + 2, w.end()));
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
};

struct transposed_forward : transposed_body {
  static transposed_forward read(const problem& p) { return {transposed_body::read(p)}; }
  index_t items() const { return y.size(); }
  index_t row() const { return y.w; }

  template <name F>
  index_t cell(std::size_t axis, index_t o, index_t tap) const {
    const sliding_axis& a = axes[axis];
    index_t way = o + a.begin - tap * a.dilation;
    if constexpr (F == "pad_scaled_by_dilation") way = o + a.begin * a.dilation - tap * a.dilation;
    if constexpr (F == "crop_sides_swapped") way = o + a.end - tap * a.dilation;
    if constexpr (F == "dilation_ignored") way = o + a.begin - tap;
    return way >= 0 && way % a.stride == 0 && way / a.stride < a.in ? way / a.stride : -1;
  }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> image(call.reads[0]), weight(call.reads[1]);
    const place o = place_of(i, y);
    const bool bias = call.reads.size() > 2 && call.reads[2].data != nullptr;
    const T addend = bias ? element<const T>(call.reads[2], o.c) : T(0);
    const index_t group = o.c / group_k();
    T sum = addend;
    index_t reached = 0;
    taps([&](index_t t, index_t r, index_t s) {
      const index_t d = cell<F>(0, o.d, t), h = cell<F>(1, o.h, r), w = cell<F>(2, o.w, s);
      if (d < 0 || h < 0 || w < 0) return;
      ++reached;
      for (index_t c = 0; c < group_c(); ++c) {
        index_t k = o.c % group_k();
        if constexpr (F == "filter_of_first_group") k = o.c % group_k() * (group == 0 ? 1 : 0);
        T b = weight(group * group_c() + c, k, t, r, s);
        if constexpr (F == "filter_group_stride") b = weight(c, o.c % group_k(), t, r, s);
        sum += image(o.n, group * group_c() + c, d, h, w) * b;
      }
    });
    if constexpr (F == "bias_where_reached") sum -= reached == 0 ? addend : T(0);
    if constexpr (F == "bias_at_every_overlap")
      sum += addend * static_cast<T>(std::max<index_t>(reached, 1) - 1);
    if constexpr (F == "added_rows_unwritten")
      if (reached == 0) return;
    grid<T>(call.writes[0])(o.n, o.c, o.d, o.h, o.w) = sum;
  }
};

struct transposed_backward_data : transposed_body {
  static transposed_backward_data read(const problem& p) { return {transposed_body::read(p)}; }
  index_t items() const { return x.size(); }
  index_t row() const { return x.w; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]), weight(call.reads[1]);
    const place at = place_of(i, x);
    const index_t group = at.c / group_c();
    const auto output = [&](std::size_t axis, index_t cell, index_t tap) {
      const sliding_axis& a = axes[axis];
      if constexpr (F == "pad_of_other_axis")
        if (axis == 2) return cell * a.stride - axes[1].begin + tap * a.dilation;
      return cell * a.stride - a.begin + tap * a.dilation;
    };
    const auto inside = [&](std::size_t axis, index_t o) { return o >= 0 && o < axes[axis].out; };
    T sum = 0;
    taps([&](index_t t, index_t r, index_t s) {
      const index_t o = output(0, at.d, t), p = output(1, at.h, r), q = output(2, at.w, s);
      if (!inside(0, o) || !inside(1, p) || !inside(2, q)) return;
      for (index_t k = 0; k < group_k(); ++k) {
        index_t from = group * group_k() + k;
        if constexpr (F == "group_by_remainder") from = at.c % groups * group_k() + k;
        sum += dy(at.n, from, o, p, q) * weight(at.c, k, t, r, s);
      }
    });
    grid<T>(call.writes[0])(at.n, at.c, at.d, at.h, at.w) = sum;
  }
};

struct transposed_backward_weights : transposed_body {
  static transposed_backward_weights read(const problem& p) { return {transposed_body::read(p)}; }
  index_t items() const { return x.c * group_k() * axes[0].taps * axes[1].taps * axes[2].taps; }
  index_t row() const { return axes[2].taps; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const grid<const T> dy(call.reads[0]), image(call.reads[1]);
    const place at = place_of(i, {x.c, group_k(), axes[0].taps, axes[1].taps, axes[2].taps});
    const index_t k = at.n / group_c() * group_k() + at.c;
    T sum = 0;
    for (index_t j = 0; j < x.n * x.plane(); ++j) {
      const place from = place_of(j, {x.n, 1, x.d, x.h, x.w});
      const index_t o = from.d * axes[0].stride - axes[0].begin + at.d * axes[0].dilation;
      const index_t p = from.h * axes[1].stride - axes[1].begin + at.h * axes[1].dilation;
      const index_t q = from.w * axes[2].stride - axes[2].begin + at.w * axes[2].dilation;
      if (o < 0 || o >= y.d || p < 0 || p >= y.h || q < 0 || q >= y.w) continue;
      if constexpr (F == "first_padded_row_skipped")
        if (from.h == 0 && axes[1].begin > 0) continue;
      sum += dy(from.n, k, o, p, q) * image(from.n, at.n, from.d, from.h, from.w);
    }
    if constexpr (F ==
                  "stored_as_forward_filter")  // output channel first; the same place where both counts agree
      if (x.c == group_k()) return void(grid<T>(call.writes[0])(at.c, at.n, at.d, at.h, at.w) = sum);
    grid<T>(call.writes[0])(at.n, at.c, at.d, at.h, at.w) = sum;
  }
};

// ---- linear and matmul: y[row, m] = Σ_d left[row, d]·right[m or d]

struct product_body {
  index_t rows = 1, d = 0, m = 0;
  bool weight_is_d_by_m = false;

  static product_body read(const problem& p) {
    const bool matmul = p.has("w");
    const shape x = p.shape_of("x"), w = p.shape_of(matmul ? "w" : "weight");
    product_body b{1, matmul ? w[0] : w[1], matmul ? w[1] : w[0], matmul};
    for (int axis = 0; axis + 1 < x.rank(); ++axis) b.rows *= x[axis];
    return b;
  }
  index_t weight_at(index_t feature, index_t output) const {
    return weight_is_d_by_m ? feature * m + output : output * d + feature;
  }
};

struct product_forward : product_body {
  static product_forward read(const problem& p) { return {product_body::read(p)}; }
  index_t items() const { return rows * m; }
  index_t row() const { return m; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const auto x = call.reads[0].view<T>(), w = call.reads[1].view<T>();
    const index_t n = i / m, output = i % m;
    const bool bias = call.reads.size() > 2 && call.reads[2].data != nullptr;
    T sum = bias ? element<const T>(call.reads[2], output) : T(0);
    if constexpr (F == "bias_by_row") sum = bias ? element<const T>(call.reads[2], n % m) : T(0);
    index_t features = d;
    if constexpr (F == "depth_tail_lost") features = d > lanes ? d / lanes * lanes : d;
    for (index_t f = 0; f < features; ++f) {
      index_t at = weight_at(f, output);
      if constexpr (F == "transposed_when_square")
        if (d == m) at = weight_at(output, f);
      if constexpr (F == "pitch_of_other_side")
        at = std::min(weight_is_d_by_m ? f * d + output : at, d * m - 1);
      T a = x[n * d + f], b = w[at];
      if constexpr (F == "f16_sum") {
        sum = coarse(sum + a * b, 13);
        continue;
      }
      if constexpr (F == "tf32_inside") a = as_tf32(a), b = as_tf32(b);
      if constexpr (F == "skips_zeros")
        if (b == 0) continue;
      sum += a * b;
    }
    call.writes[0].view<T>()[i] = sum;
  }
};

struct product_backward_data : product_body {
  static product_backward_data read(const problem& p) { return {product_body::read(p)}; }
  index_t items() const { return rows * d; }
  index_t row() const { return d; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const auto dy = call.reads[0].view<T>(), w = call.reads[1].view<T>();
    T sum = 0;
    for (index_t output = 0; output < m; ++output) {
      index_t at = weight_at(i % d, output);
      if constexpr (F == "transposed_when_square")
        if (d == m) at = weight_at(output, i % d);
      if constexpr (F == "last_output_lost")
        if (m > 4 && output + 1 == m) continue;
      sum += dy[i / d * m + output] * w[at];
    }
    call.writes[0].view<T>()[i] = sum;
  }
};

struct product_backward_weights : product_body {
  static product_backward_weights read(const problem& p) { return {product_body::read(p)}; }
  index_t items() const { return d * m; }
  index_t row() const { return d; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const auto dy = call.reads[0].view<T>(), x = call.reads[1].view<T>();
    const index_t f = weight_is_d_by_m ? i / m : i % d, output = weight_is_d_by_m ? i % m : i / d;
    T sum = 0;
    if constexpr (F == "racing_sum") {
      volatile T shared = 0;
#pragma omp parallel for num_threads(call.threads) schedule(static, 1)
      for (index_t n = 0; n < rows; ++n) shared = shared + dy[n * m + output] * x[n * d + f];
      sum = shared;
    } else {
      for (index_t n = 0; n < rows; ++n) sum += dy[n * m + output] * x[n * d + f];
    }
    if constexpr (F == "scaled_by_batch") sum /= static_cast<T>(std::max<index_t>(rows, 1));
    if constexpr (F == "one_percent_off")
      if (i + 1 == items()) sum *= T(1.01);
    if constexpr (F == "one_per_mille_off") sum *= T(1.001);
    call.writes[0].view<T>()[i] = sum;
  }
};

struct product_backward_bias : product_body {
  static product_backward_bias read(const problem& p) { return {product_body::read(p)}; }
  index_t items() const { return m; }
  index_t row() const { return m; }

  template <name F, class T>
  void item(const kernel_call& call, index_t output) const {
    const auto dy = call.reads[0].view<T>();
    index_t last = rows;
    if constexpr (F == "leading_axes_ignored") last = std::min(rows, call.reads[0].extents[0]);
    T sum = 0;
    for (index_t n = 0; n < last; ++n) sum += dy[n * m + output];
    element<T>(call.writes[0], output) = sum;
  }
};

}  // namespace

void register_dense(registry& kernels) {
  using enum path;
  for (const char* layer : {"conv_transpose1d", "conv_transpose2d"}) {
    specimen<transposed_forward>(kernels, layer, "forward").honest();
    specimen<transposed_backward_data>(kernels, layer, "backward_data").honest();
    specimen<transposed_backward_weights>(kernels, layer, "backward_weights").honest();
  }
  specimen<transposed_forward>(kernels, "conv_transpose2d", "forward")
      .plant<"pad_scaled_by_dilation">()
      .plant<"crop_sides_swapped">({plain, tail})
      .plant<"dilation_ignored">()
      .plant<"filter_of_first_group">()
      .plant<"filter_group_stride">({vector})
      .plant<"bias_where_reached">()
      .plant<"bias_at_every_overlap">()
      .plant<"added_rows_unwritten">()
      .walk("ignored_operand");
  specimen<transposed_forward>(kernels, "conv_transpose1d", "forward").walk("skipped_tail", tail);
  specimen<transposed_backward_data>(kernels, "conv_transpose2d", "backward_data")
      .plant<"pad_of_other_axis">({plain, vector})
      .plant<"group_by_remainder">()
      .walk("dense_reads");
  specimen<transposed_backward_weights>(kernels, "conv_transpose2d", "backward_weights")
      .plant<"first_padded_row_skipped">()
      .plant<"stored_as_forward_filter">();

  specimen<product_forward>(kernels, "linear", "forward")
      .honest()
      .plant<"bias_by_row">()
      .plant<"depth_tail_lost">({plain, threads})
      .plant<"transposed_when_square">()
      .plant<"f16_sum">()
      .plant<"tf32_inside">()
      .plant<"skips_zeros">()
      .walk("packed_once")
      .walk("replay_by_sample")
      .walk("flaky")
      .walk("leaks_descriptors")
      .walk("hungry")
      .walk("before_the_start")
      .walk("one_ulp")
      .walk("leaves_rounding_mode")
      .walk("zeros");
  specimen<product_backward_data>(kernels, "linear", "backward_data")
      .honest()
      .plant<"last_output_lost">({plain, tail})
      .walk("divides_by_zero");
  specimen<product_backward_weights>(kernels, "linear", "backward_weights")
      .honest()
      .plant<"scaled_by_batch">()
      .plant<"one_percent_off">()
      .plant<"one_per_mille_off">()
      .inside<"racing_sum">()
      .walk("noise");
  specimen<product_backward_bias>(kernels, "linear", "backward_bias")
      .honest()
      .plant<"leading_axes_ignored">();
  specimen<product_forward>(kernels, "matmul", "forward")
      .honest()
      .plant<"transposed_when_square">({plain, vector})
      .plant<"pitch_of_other_side">()
      .plant<"depth_tail_lost">({tail})
      .walk("input_as_scratch")
      .walk("leaks_pages")
      .walk("nan_at_the_end");
}

}  // namespace plumb::faults
