// Convolution of rank 1, 2 or 3 as neural networks use the word: cross-correlation of the image x with a bank
// of K filters (Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning"). With batch n,
// input channel c, output channel k, input position (d,h,w), output position (o,p,q) and filter tap (t,r,s):
//
//   y[n,k,o,p,q] = bias[k] + Σ_c Σ_t Σ_r Σ_s  x[n, c0+c, d, h, w] · weight[k, c, t, r, s]
//        d = o·stride_d - pad_d + t·dilation_d     h = p·stride_h - pad_h + r·dilation_h     w alike
//
// Terms whose (d,h,w) lies outside x are skipped (padding is virtual: nothing is multiplied by it).
//   groups     C and K are cut into `groups` equal parts; part g of y sees part g of x only, so c runs over
//              C/groups channels from c0 = (k div K/groups)·C/groups.  groups = C: depthwise.
//   pad        cells added before and after each axis; `pad=t,b,l,r` names the sides
//   padding    explicit: as `pad` says.  valid: none.  same_upper, same_lower: as many as make
//              O = ceil(I/stride), max(0, (O-1)·stride + d(k-1)+1 - I) in all; half on each side, an odd one
//              at the end (upper) or at the start (lower)
//   fit        floor: O = floor((I + pads - d(k-1) - 1) / stride) + 1.  exact: the division must leave
//   nothing flip       true: the filter is reversed along every spatial axis, weight[k, c, T-1-t, R-1-r,
//   S-1-s],
//              which is the convolution of signal processing
// Shapes: x = N,C,[D,][H,]W   weight = K,C/groups,[T,][R,]S   bias = K (optional)   y = N,K,[O,][P,]Q
// Conventions as torch 1.13.1; an empty batch is legal.
//
// Gradients, with dy the cotangent of y:
//   dx[n,c,d,h,w]      = Σ over the k of c's group and the taps  dy[n,k,o,p,q] · weight[k,c-c0,t,r,s],
//                        where o = (d + pad_d - t·dilation_d) / stride_d must be a whole number inside y
//   dweight[k,c,t,r,s] = Σ_n Σ_opq  dy[n,k,o,p,q] · x[n, c0+c, d, h, w]
//   dbias[k]           = Σ_n Σ_opq  dy[n,k,o,p,q]
#pragma once

#include <numeric>

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

enum class padding_rule : std::uint8_t { given, valid, same_upper, same_lower };
template <>
struct choices<padding_rule> {
  static constexpr std::array<std::string_view, 4> names = {"explicit", "valid", "same_upper", "same_lower"};
};

template <int Rank>
struct conv {
  per_axis<Rank> stride = every_axis<Rank>(1);
  per_side<Rank> pad = {};
  per_axis<Rank> dilation = every_axis<Rank>(1);
  index_t groups = 1;
  padding_rule padding = padding_rule::given;
  fit_rule fit = fit_rule::floor;
  bool flip = false;

  static constexpr std::string_view formula =
      "y[n,k,p,q] = bias[k] + Σ_{c,r,s} x[n, c, p·stride - pad + r·dilation, …] · weight[k,c,r,s]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // linear in x, in weight and in bias, each on its own
  bool operator==(const conv&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("stride", self.stride, at_least(1));
    visit("pad", self.pad, at_least(0));
    visit("dilation", self.dilation, at_least(1));
    visit("groups", self.groups, at_least(1));
    visit("padding", self.padding);
    visit("fit", self.fit);
    visit("flip", self.flip);
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const std::array<const char*, 3> letters_of_x = {"ncw", "nchw", "ncdhw"};
    const std::array<const char*, 3> letters_of_weight = {"kcs", "kcrs", "kctrs"};
    const std::array<const char*, 3> letters_of_y = {"nkq", "nkpq", "nkopq"};
    return {.inputs = {{.name = "x", .axes = letters_of_x[Rank - 1]},
                       {.name = "weight", .batch_axis = no_batch, .axes = letters_of_weight[Rank - 1]},
                       {.name = "bias", .optional = true, .batch_axis = no_batch, .axes = "k"}},
            .outputs = {{.name = "y", .axes = letters_of_y[Rank - 1]}},
            .passes = {{.name = "forward",
                        .reads = {"x", "weight", "bias"},
                        .writes = {"y"},
                        .linear_in = {{"x", "bias"}, {"weight", "bias"}},
                        .contraction = {{.a = "x", .b = "weight", .addend = "bias"}}},
                       {.name = "backward_data",
                        .reads = {"dy", "weight"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}, {"weight"}},
                        .contraction = {{.a = "dy", .b = "weight", .addend = ""}}},
                       {.name = "backward_weights",
                        .reads = {"dy", "x"},
                        .writes = {"dweight"},
                        .linear_in = {{"dy"}, {"x"}},
                        .contraction = {{.a = "dy", .b = "x", .addend = ""}}},
                       {.name = "backward_bias",
                        .reads = {"dy"},
                        .writes = {"dbias"},
                        .linear_in = {{"dy"}},
                        .contraction = {{.a = "dy", .b = "", .addend = ""}}}}};
  }

  // Shapes ------------------------------------------------------------------------------------------------

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"], weight = in["weight"];
    constexpr std::array<const char*, 3> x_axes = {"N,C,W", "N,C,H,W", "N,C,D,H,W"};
    constexpr std::array<const char*, 3> weight_axes = {"K,C/groups,S", "K,C/groups,R,S", "K,C/groups,T,R,S"};
    require_rank("x", x, Rank + 2, x_axes[Rank - 1], true);
    require_rank("weight", weight, Rank + 2, weight_axes[Rank - 1], false);
    require_channels(x, weight);
    if (in.has("bias") && !(in["bias"] == shape{weight[0]}))
      throw shape_error(
          named("bias", in["bias"]) +
          " does not match the filters; expected one number a filter: bias=" + std::to_string(weight[0]));
    if (padding != padding_rule::given && pad != per_side<Rank>{})
      throw shape_error("padding=" + attribute::print(padding, false) +
                        " chooses the padding, so pad=" + attribute::print(pad, false) + " must be left out");
    shape y{x[0], weight[0]};
    for (int axis = 0; axis < Rank; ++axis) {
      const window_axis a = window_along(axis, x, weight);
      if (!a.fits()) throw_window_too_large(a, "filter");
      if (std::max(a.begin, a.end) > most_cells)
        throw shape_error("axis " + std::string(1, a.letter) +
                          ": padding=" + attribute::print(padding, false) + " needs more than " +
                          std::to_string(most_cells) + " cells on a side");
      if (fit == fit_rule::exact) require_exact_fit(a);
      y.push_back((a.padded() - a.span()) / a.stride + 1);
    }
    shape_map out;
    out.set("y", y);
    return out;
  }

  /// Turns `padding=` into the numbers it stands for, so that kernels read `pad` and nothing else.
  void resolve(const shape_map& in) {
    for (int axis = 0; axis < Rank; ++axis) {
      const window_axis a = window_along(axis, in["x"], in["weight"]);
      pad.begin[static_cast<std::size_t>(axis)] = a.begin;
      pad.end[static_cast<std::size_t>(axis)] = a.end;
    }
    padding = padding_rule::given;
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]), weight = in_three_axes(in["weight"]);
    const auto y = in_three_axes(out["y"]);
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [K, Cg, T, R, S] = extents_of(weight);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t k = 0; k < K; ++k)
        for (index_t o = 0; o < y.extent(2); ++o)
          for (index_t p = 0; p < y.extent(3); ++p)
            for (index_t q = 0; q < y.extent(4); ++q) {
              const index_t c0 = k / (K / groups) * Cg;
              Scalar sum = in.has("bias") ? in["bias"](k) : Scalar(0);
              for (index_t c = 0; c < Cg; ++c)
                for (index_t t = 0; t < T; ++t)
                  for (index_t r = 0; r < R; ++r)
                    for (index_t s = 0; s < S; ++s) {
                      const index_t d = o * step.d - before.d + t * gap.d;
                      const index_t h = p * step.h - before.h + r * gap.h;
                      const index_t w = q * step.w - before.w + s * gap.w;
                      if (!inside(d, D) || !inside(h, H) || !inside(w, W)) continue;
                      sum += x(n, c0 + c, d, h, w) *
                             (flip ? weight(k, c, T - 1 - t, R - 1 - r, S - 1 - s) : weight(k, c, t, r, s));
                    }
              y(n, k, o, p, q) = sum;
            }
  }

  // Definition 2: gradients from the cotangent dy, no Jacobian formed ---------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = in_three_axes(cotangent["dy"]);
    if (gradient.has("dx")) vjp_x<Scalar>(dy, in_three_axes(in["weight"]), in_three_axes(gradient["dx"]));
    if (gradient.has("dweight"))
      vjp_weight<Scalar>(dy, in_three_axes(in["x"]), in_three_axes(gradient["dweight"]));
    if (gradient.has("dbias")) vjp_bias<Scalar>(dy, gradient["dbias"]);
  }

  // Definition 3: the explicit Jacobian, entry by entry
  // ------------------------------------------------------

  /// For output (o,p,q) and input cell (d,h,w) the tap between them is t = (d + pad_d - o·stride_d) /
  /// dilation_d (r and s alike) if these are whole numbers inside the filter. Then
  /// ∂y/∂x = weight[tap] and ∂y/∂weight[tap] = x.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in_three_axes(in["x"]), weight = in_three_axes(in["weight"]);
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [K, Cg, T, R, S] = extents_of(weight);
    const std::array<index_t, 3> image = {D, H, W}, filter = {T, R, S};
    std::array<std::vector<touch>, 3> touches;  // by axis: every (output, input, tap) that meet
    std::array<index_t, 3> outputs;
    for (std::size_t axis = 0; axis < 3; ++axis)
      touches[axis] = touching(static_cast<int>(axis) - (3 - Rank), image[axis], filter[axis], outputs[axis]);
    const auto [O, P, Q] = outputs;

    for (index_t n = 0; n < N; ++n)
      for (index_t k = 0; k < K; ++k)
        for (index_t c = k * groups / K * Cg; c < (k * groups / K + 1) * Cg; ++c)
          for (const auto& [o, d, t] : touches[0])
            for (const auto& [p, h, r] : touches[1])
              for (const auto& [q, w, s] : touches[2]) {
                const index_t out = (((n * K + k) * O + o) * P + p) * Q + q;
                const index_t cell = (((n * C + c) * D + d) * H + h) * W + w;
                const index_t tap = (((k * Cg + c % Cg) * T + t) * R + r) * S + s;
                emit("y", out, "x", cell, weight(k, c % Cg, t, r, s));
                emit("y", out, "weight", tap, x(n, c, d, h, w));
              }
    if (in.has("bias"))
      for (index_t i = 0; i < N * K * O * P * Q; ++i) emit("y", i, "bias", i / (O * P * Q) % K, Scalar(1));
  }

  // The terms of one element of each pass -----------------------------------------------------------------

  /// Every pass sums over one axis of channels or samples and over Rank spatial axes; along each of them the
  /// two operands advance by fixed steps.
  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    const shape &x = shapes["x"], &weight = shapes["weight"], &y = shapes["y"];
    if (pass == "forward") {
      forward_terms(x, weight, y, flat, list);
      if (shapes.has("bias")) list.addend = flat / plane(y) % y[1];
    } else if (pass == "backward_data") {
      data_terms(x, weight, y, flat, list);
    } else if (pass == "backward_weights") {
      weight_terms(x, weight, y, flat, list);
    } else {
      bias_terms(y, flat, list);
    }
  }

  /// Terms of an element whose window lies wholly inside: channels times taps, or samples times positions.
  index_t full_products(std::string_view pass, const shape_map& shapes) const {
    const shape &weight = shapes["weight"], &y = shapes["y"];
    if (pass == "forward") return weight.size() / std::max<index_t>(1, weight[0]);
    if (pass == "backward_data")
      return weight[0] / groups * (weight.size() / std::max<index_t>(1, weight[0] * weight[1]));
    return y.size() / std::max<index_t>(1, y[1]);
  }

 private:
  void require_channels(const shape& x, const shape& weight) const {
    if (groups > x[1] || x[1] % groups != 0)
      throw shape_error("groups=" + std::to_string(groups) +
                        " does not divide the C=" + std::to_string(x[1]) + " channels of " + named("x", x));
    if (groups > weight[0] || weight[0] % groups != 0)
      throw shape_error("groups=" + std::to_string(groups) + " does not divide the K=" +
                        std::to_string(weight[0]) + " filters of " + named("weight", weight));
    if (weight[1] != x[1] / groups)
      throw shape_error(named("weight", weight) + " reads " + std::to_string(weight[1]) +
                        " channels a filter but " + named("x", x) + " has " + std::to_string(x[1]) +
                        (groups == 1
                             ? std::string("; expected weight=K,C")
                             : " in " + std::to_string(groups) + " groups; expected weight=K,C/groups") +
                        " with " + std::to_string(x[1] / groups) + " channels");
  }

  /// The window along a spatial axis, with the padding that `pad` or `padding` means.
  window_axis window_along(int axis, const shape& x, const shape& weight) const {
    const auto i = static_cast<std::size_t>(axis);
    window_axis a{axis_letter(Rank, axis),
                  x[2 + axis],
                  weight[2 + axis],
                  stride[i],
                  dilation[i],
                  pad.begin[i],
                  pad.end[i]};
    if (padding == padding_rule::same_upper || padding == padding_rule::same_lower) {
      const index_t outputs = (a.in + a.stride - 1) / a.stride;
      const index_t total = std::max<index_t>(0, (outputs - 1) * a.stride + a.span() - a.in);
      a.begin = padding == padding_rule::same_upper ? total / 2 : total - total / 2;
      a.end = total - a.begin;
    }
    return a;
  }

  template <class Scalar>
  void vjp_x(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& weight,
             const tensor_view<Scalar>& dx) const {
    const auto [N, C, D, H, W] = extents_of(dx);
    const auto [K, Cg, T, R, S] = extents_of(weight);
    const index_t Kg = K / groups, O = dy.extent(2), P = dy.extent(3), Q = dy.extent(4);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t d = 0; d < D; ++d)
          for (index_t h = 0; h < H; ++h)
            for (index_t w = 0; w < W; ++w) {
              Scalar sum = Scalar(0);
              const index_t g = c / Cg;
              for (index_t k = g * Kg; k < (g + 1) * Kg; ++k)
                for (index_t t = 0; t < T; ++t)
                  for (index_t r = 0; r < R; ++r)
                    for (index_t s = 0; s < S; ++s) {
                      const index_t od = d + before.d - t * gap.d;  // = o·stride_d, if the tap is used
                      const index_t ph = h + before.h - r * gap.h;
                      const index_t qw = w + before.w - s * gap.w;
                      if (od % step.d != 0 || ph % step.h != 0 || qw % step.w != 0) continue;
                      const index_t o = od / step.d, p = ph / step.h, q = qw / step.w;
                      if (o < 0 || p < 0 || q < 0 || o >= O || p >= P || q >= Q) continue;
                      sum += dy(n, k, o, p, q) * weight(k, c - g * Cg, flip ? T - 1 - t : t,
                                                        flip ? R - 1 - r : r, flip ? S - 1 - s : s);
                    }
              dx(n, c, d, h, w) = sum;
            }
  }

  template <class Scalar>
  void vjp_weight(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& x,
                  const tensor_view<Scalar>& dweight) const {
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [K, Cg, T, R, S] = extents_of(dweight);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t k = 0; k < K; ++k)
      for (index_t c = 0; c < Cg; ++c)
        for (index_t t = 0; t < T; ++t)
          for (index_t r = 0; r < R; ++r)
            for (index_t s = 0; s < S; ++s) {
              Scalar sum = Scalar(0);
              const index_t channel = k / (K / groups) * Cg + c;
              for (index_t n = 0; n < N; ++n)
                for (index_t o = 0; o < dy.extent(2); ++o)
                  for (index_t p = 0; p < dy.extent(3); ++p)
                    for (index_t q = 0; q < dy.extent(4); ++q) {
                      const index_t d = o * step.d + t * gap.d - before.d;
                      const index_t h = p * step.h + r * gap.h - before.h;
                      const index_t w = q * step.w + s * gap.w - before.w;
                      if (d < 0 || h < 0 || w < 0 || d >= D || h >= H || w >= W) continue;
                      sum += dy(n, k, o, p, q) * x(n, channel, d, h, w);
                    }
              if (flip)
                dweight(k, c, T - 1 - t, R - 1 - r, S - 1 - s) = sum;
              else
                dweight(k, c, t, r, s) = sum;
            }
  }

  template <class Scalar>
  void vjp_bias(const tensor_view<const Scalar>& dy, const tensor_view<Scalar>& dbias) const {
    for (index_t k = 0; k < dbias.extent(0); ++k) {
      Scalar sum = Scalar(0);
      for (index_t n = 0; n < dy.extent(0); ++n)
        for (index_t o = 0; o < dy.extent(2); ++o)
          for (index_t p = 0; p < dy.extent(3); ++p)
            for (index_t q = 0; q < dy.extent(4); ++q) sum += dy(n, k, o, p, q);
      dbias(k) = sum;
    }
  }

  /// Output position, input position and stored tap that meet along one axis.
  struct touch {
    index_t out, in, tap;
  };

  /// All of them for spatial axis `axis` (negative: an axis this rank lacks), and the number of outputs.
  std::vector<touch> touching(int axis, index_t in, index_t taps, index_t& outputs) const {
    const auto i = static_cast<std::size_t>(axis);
    const index_t step = axis < 0 ? 1 : stride[i], gap = axis < 0 ? 1 : dilation[i];
    const index_t before = axis < 0 ? 0 : pad.begin[i], after = axis < 0 ? 0 : pad.end[i];
    std::vector<touch> list;
    outputs = (before + in + after - 1 - gap * (taps - 1)) / step + 1;
    for (index_t out = 0; out < outputs; ++out)
      for (index_t cell = 0; cell < in; ++cell) {
        const index_t distance = cell + before - out * step;  // from the first tap
        if (distance < 0 || distance % gap != 0 || distance / gap >= taps) continue;
        list.push_back({out, cell, flip ? taps - 1 - distance / gap : distance / gap});
      }
    return list;
  }

  static index_t plane(const shape& s) {
    index_t size = 1;
    for (int axis = 2; axis < s.rank(); ++axis) size *= s[axis];
    return size;
  }

  /// y[n,k,o]: a = x, b = weight; over the channels of the group, and along each axis over the taps that meet
  /// x.
  void forward_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                     product_list& list) const {
    term_nest nest;
    index_t x_step = 1, w_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t o = flat % y[2 + axis], I = x[2 + axis], taps = weight[2 + axis];
      flat /= y[2 + axis];
      const index_t start = o * stride[i] - pad.begin[i];  // where tap 0 falls
      const index_t first = start >= 0 ? 0 : (-start + dilation[i] - 1) / dilation[i];
      const index_t last = start >= I ? -1 : std::min(taps - 1, (I - 1 - start) / dilation[i]);
      nest.add({.count = last - first + 1,
                .a = (start + first * dilation[i]) * x_step,
                .a_step = dilation[i] * x_step,
                .b = (flip ? taps - 1 - first : first) * w_step,
                .b_step = flip ? -w_step : w_step});
      x_step *= I;
      w_step *= taps;
    }
    const index_t K = y[1], k = flat % K, n = flat / K, Cg = weight[1];
    nest.add({.count = Cg,
              .a = (n * x[1] + k / (K / groups) * Cg) * x_step,
              .a_step = x_step,
              .b = k * Cg * w_step,
              .b_step = w_step});
    nest.write(list);
  }

  /// dx[n,c,i]: a = dy, b = weight; over the filters of the group, and along each axis over the taps t for
  /// which stride divides i + pad - t·dilation. These are every (stride/gcd)-th tap, and the outputs recede
  /// by dilation/gcd.
  void data_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                  product_list& list) const {
    term_nest nest;
    index_t y_step = 1, w_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t cell = flat % x[2 + axis] + pad.begin[i], taps = weight[2 + axis], O = y[2 + axis];
      flat /= x[2 + axis];
      const index_t common = std::gcd(stride[i], dilation[i]);
      const index_t t_step = stride[i] / common, o_step = dilation[i] / common;
      // The first tap whose distance is a multiple of the stride and whose output is not past the end.
      index_t t = std::max<index_t>(0, (cell - (O - 1) * stride[i] + dilation[i] - 1) / dilation[i]);
      const index_t tried = std::min(taps, t + t_step);
      while (t < tried && (cell - t * dilation[i]) % stride[i] != 0) ++t;
      const bool any = t < tried && cell - t * dilation[i] >= 0;
      const index_t o = (cell - t * dilation[i]) / stride[i];
      const index_t count = any ? std::min((taps - 1 - t) / t_step, o / o_step) + 1 : 0;
      nest.add({.count = count,
                .a = o * y_step,
                .a_step = -o_step * y_step,
                .b = (flip ? taps - 1 - t : t) * w_step,
                .b_step = (flip ? -t_step : t_step) * w_step});
      y_step *= O;
      w_step *= taps;
    }
    const index_t C = x[1], c = flat % C, n = flat / C, Cg = weight[1], Kg = y[1] / groups;
    const index_t g = c / Cg;
    nest.add({.count = Kg,
              .a = (n * y[1] + g * Kg) * y_step,
              .a_step = y_step,
              .b = (g * Kg * Cg + c % Cg) * w_step,
              .b_step = Cg * w_step});
    nest.write(list);
  }

  /// dweight[k,c,t]: a = dy, b = x; over the samples, and along each axis over the outputs whose tap t meets
  /// x.
  void weight_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                    product_list& list) const {
    term_nest nest;
    index_t y_step = 1, x_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t taps = weight[2 + axis], stored = flat % taps, I = x[2 + axis];
      flat /= taps;
      const index_t shift = (flip ? taps - 1 - stored : stored) * dilation[i] - pad.begin[i];  // at o = 0
      const index_t first = shift >= 0 ? 0 : (-shift + stride[i] - 1) / stride[i];
      const index_t last = shift >= I ? -1 : std::min(y[2 + axis] - 1, (I - 1 - shift) / stride[i]);
      nest.add({.count = last - first + 1,
                .a = first * y_step,
                .a_step = y_step,
                .b = (shift + first * stride[i]) * x_step,
                .b_step = stride[i] * x_step});
      y_step *= y[2 + axis];
      x_step *= I;
    }
    const index_t Cg = weight[1], c = flat % Cg, k = flat / Cg;
    const index_t channel = k / (y[1] / groups) * Cg + c;
    nest.add({.count = x[0],
              .a = k * y_step,
              .a_step = y[1] * y_step,
              .b = channel * x_step,
              .b_step = x[1] * x_step});
    nest.write(list);
  }

  /// dbias[k]: a = dy, over the samples and the whole plane.
  static void bias_terms(const shape& y, index_t k, product_list& list) {
    term_nest nest;
    nest.add({.count = plane(y), .a = k * plane(y), .a_step = 1, .b = 0, .b_step = 0});
    nest.add({.count = y[0], .a = 0, .a_step = y[1] * plane(y), .b = 0, .b_step = 0});
    nest.write(list);
  }
};

}  // namespace plumb
