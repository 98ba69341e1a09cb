// Depthwise convolution of rank 1, 2 or 3: every channel of x is filtered on its own by m filters, the
// channel multiplier (Sifre 2014; Howard et al. 2017, "MobileNets"). It is the convolution with as many
// groups as channels. With channel c, filter j < m, output position (o,p,q) and filter tap (t,r,s):
//
//   y[n, c·m+j, o,p,q] = bias[c·m+j] + Σ_t Σ_r Σ_s  x[n,c,d,h,w] · weight[c·m+j, 0, t,r,s]
//        d = o·stride_d - pad_d + t·dilation_d     h = p·stride_h - pad_h + r·dilation_h     w alike
//
// Terms whose (d,h,w) lies outside x are skipped.   pad: per side, `pad=t,b,l,r`
// O = floor((I + pads - d(k-1) - 1) / stride) + 1, at least 1.
// Shapes: x = N,C,[D,][H,]W   weight = C·m,1,[T,][R,]S   bias = C·m (optional)   y = N,C·m,[O,][P,]Q
// Conventions as torch 1.13.1 (conv with groups = C); an empty batch is legal.
//
// Gradients, with dy the cotangent of y and k = c·m+j:
//   dx[n,c,d,h,w]      = Σ_j Σ_trs  dy[n, c·m+j, o,p,q] · weight[c·m+j, 0, t,r,s],
//                        where o = (d + pad_d - t·dilation_d) / stride_d must be a whole number inside y
//   dweight[k,0,t,r,s] = Σ_n Σ_opq  dy[n,k,o,p,q] · x[n, k div m, d,h,w]
//   dbias[k]           = Σ_n Σ_opq  dy[n,k,o,p,q]
#pragma once

#include <numeric>

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct depthwise_conv {
  per_axis<Rank> stride = every_axis<Rank>(1);
  per_side<Rank> pad = {};
  per_axis<Rank> dilation = every_axis<Rank>(1);

  static constexpr std::string_view formula =
      "y[n,c·m+j,p,q] = bias[c·m+j] + Σ_{r,s} x[n, c, p·stride - pad + r·dilation, …] · weight[c·m+j,0,r,s]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // linear in x, in weight and in bias, each on its own
  bool operator==(const depthwise_conv&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("stride", self.stride, at_least(1));
    visit("pad", self.pad, at_least(0));
    visit("dilation", self.dilation, at_least(1));
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const std::array<const char*, 3> letters_of_weight = {"k1s", "k1rs", "k1trs"};
    const std::array<const char*, 3> letters_of_y = {"nkq", "nkpq", "nkopq"};
    return {.inputs = {{.name = "x", .axes = letters_of_input[Rank - 1]},
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
    constexpr std::array<const char*, 3> weight_axes = {"C*m,1,S", "C*m,1,R,S", "C*m,1,T,R,S"};
    require_rank("x", x, Rank + 2, axes_of_input[Rank - 1], true);
    require_rank("weight", weight, Rank + 2, weight_axes[Rank - 1], false);
    if (weight[1] != 1 || weight[0] % x[1] != 0)
      throw shape_error(named("weight", weight) + " does not give every one of the C=" +
                        std::to_string(x[1]) + " channels of " + named("x", x) +
                        " the same number m of filters; expected weight=" + weight_axes[Rank - 1]);
    if (in.has("bias") && !(in["bias"] == shape{weight[0]}))
      throw shape_error(
          named("bias", in["bias"]) +
          " does not match the filters; expected one number a filter: bias=" + std::to_string(weight[0]));
    shape y{x[0], weight[0]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const window_axis a{axis_letter(Rank, axis),
                          x[2 + axis],
                          weight[2 + axis],
                          stride[i],
                          dilation[i],
                          pad.begin[i],
                          pad.end[i]};
      if (!a.fits()) throw_window_too_large(a, "filter");
      y.push_back((a.padded() - a.span()) / a.stride + 1);
    }
    shape_map out;
    out.set("y", y);
    return out;
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]), weight = in_three_axes(in["weight"]);
    const auto y = in_three_axes(out["y"]);
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [K, one, T, R, S] = extents_of(weight);
    const index_t m = K / C;
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t j = 0; j < m; ++j)
          for (index_t o = 0; o < y.extent(2); ++o)
            for (index_t p = 0; p < y.extent(3); ++p)
              for (index_t q = 0; q < y.extent(4); ++q) {
                Scalar sum = in.has("bias") ? in["bias"](c * m + j) : Scalar(0);
                for (index_t t = 0; t < T; ++t)
                  for (index_t r = 0; r < R; ++r)
                    for (index_t s = 0; s < S; ++s) {
                      const index_t d = o * step.d - before.d + t * gap.d;
                      const index_t h = p * step.h - before.h + r * gap.h;
                      const index_t w = q * step.w - before.w + s * gap.w;
                      if (!inside(d, D) || !inside(h, H) || !inside(w, W)) continue;
                      sum += x(n, c, d, h, w) * weight(c * m + j, 0, t, r, s);
                    }
                y(n, c * m + j, o, p, q) = sum;
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

  // Definition 3: the explicit Jacobian, entry by entry -----------------------------------------------------

  /// For output position o and input cell d the tap between them is t = (d + pad_d - o·stride_d) / dilation_d
  /// (r and s alike) if these are whole numbers inside the filter. Then ∂y/∂x = weight[tap] and
  /// ∂y/∂weight[tap] = x.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in_three_axes(in["x"]), weight = in_three_axes(in["weight"]);
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [K, one, T, R, S] = extents_of(weight);
    const std::array<index_t, 3> image = {D, H, W}, filter = {T, R, S};
    std::array<std::vector<touch>, 3> touches;  // by axis: every (output, input, tap) that meet
    std::array<index_t, 3> outputs;
    for (std::size_t axis = 0; axis < 3; ++axis)
      touches[axis] = touching(static_cast<int>(axis) - (3 - Rank), image[axis], filter[axis], outputs[axis]);
    const auto [O, P, Q] = outputs;

    for (index_t n = 0; n < N; ++n)
      for (index_t k = 0; k < K; ++k) {
        const index_t c = k * C / K;
        for (const auto& [o, d, t] : touches[0])
          for (const auto& [p, h, r] : touches[1])
            for (const auto& [q, w, s] : touches[2]) {
              const index_t out = (((n * K + k) * O + o) * P + p) * Q + q;
              emit("y", out, "x", (((n * C + c) * D + d) * H + h) * W + w, weight(k, 0, t, r, s));
              emit("y", out, "weight", ((k * T + t) * R + r) * S + s, x(n, c, d, h, w));
            }
      }
    if (in.has("bias"))
      for (index_t i = 0; i < N * K * O * P * Q; ++i) emit("y", i, "bias", i / (O * P * Q) % K, Scalar(1));
  }

  // The terms of one element of each pass -----------------------------------------------------------------

  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    const shape &x = shapes["x"], &weight = shapes["weight"], &y = shapes["y"];
    if (pass == "forward") {
      forward_terms(x, weight, y, flat, list);
      if (shapes.has("bias")) list.addend = flat / plane_size(y) % y[1];
    } else if (pass == "backward_data") {
      data_terms(x, weight, y, flat, list);
    } else if (pass == "backward_weights") {
      weight_terms(x, weight, y, flat, list);
    } else {
      term_nest nest;  // dbias[k]: over the plane and the samples
      nest.add({.count = plane_size(y), .a = flat * plane_size(y), .a_step = 1, .b = 0, .b_step = 0});
      nest.add({.count = y[0], .a = 0, .a_step = y[1] * plane_size(y), .b = 0, .b_step = 0});
      nest.write(list);
    }
  }

  /// Terms of an element whose window lies wholly inside: taps (of every filter), or samples times positions.
  index_t full_products(std::string_view pass, const shape_map& shapes) const {
    const shape &x = shapes["x"], &weight = shapes["weight"], &y = shapes["y"];
    if (pass == "forward") return plane_size(weight);
    if (pass == "backward_data") return weight[0] / x[1] * plane_size(weight);
    return y[0] * plane_size(y);
  }

 private:
  template <class Scalar>
  void vjp_x(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& weight,
             const tensor_view<Scalar>& dx) const {
    const auto [N, C, D, H, W] = extents_of(dx);
    const auto [K, one, T, R, S] = extents_of(weight);
    const index_t O = dy.extent(2), P = dy.extent(3), Q = dy.extent(4);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t d = 0; d < D; ++d)
          for (index_t h = 0; h < H; ++h)
            for (index_t w = 0; w < W; ++w) {
              Scalar sum = Scalar(0);
              for (index_t k = c * (K / C); k < (c + 1) * (K / C); ++k)
                for (index_t t = 0; t < T; ++t)
                  for (index_t r = 0; r < R; ++r)
                    for (index_t s = 0; s < S; ++s) {
                      const index_t od = d + before.d - t * gap.d;  // = o·stride_d, if the tap is used
                      const index_t ph = h + before.h - r * gap.h;
                      const index_t qw = w + before.w - s * gap.w;
                      if (od % step.d != 0 || ph % step.h != 0 || qw % step.w != 0) continue;
                      const index_t o = od / step.d, p = ph / step.h, q = qw / step.w;
                      if (o < 0 || p < 0 || q < 0 || o >= O || p >= P || q >= Q) continue;
                      sum += dy(n, k, o, p, q) * weight(k, 0, t, r, s);
                    }
              dx(n, c, d, h, w) = sum;
            }
  }

  template <class Scalar>
  void vjp_weight(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& x,
                  const tensor_view<Scalar>& dweight) const {
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [K, one, T, R, S] = extents_of(dweight);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t k = 0; k < K; ++k)
      for (index_t t = 0; t < T; ++t)
        for (index_t r = 0; r < R; ++r)
          for (index_t s = 0; s < S; ++s) {
            Scalar sum = Scalar(0);
            for (index_t n = 0; n < N; ++n)
              for (index_t o = 0; o < dy.extent(2); ++o)
                for (index_t p = 0; p < dy.extent(3); ++p)
                  for (index_t q = 0; q < dy.extent(4); ++q) {
                    const index_t d = o * step.d + t * gap.d - before.d;
                    const index_t h = p * step.h + r * gap.h - before.h;
                    const index_t w = q * step.w + s * gap.w - before.w;
                    if (d < 0 || h < 0 || w < 0 || d >= D || h >= H || w >= W) continue;
                    sum += dy(n, k, o, p, q) * x(n, k / (K / C), d, h, w);
                  }
            dweight(k, 0, t, r, s) = sum;
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

  /// Output position, input position and tap that meet along one axis.
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
        list.push_back({out, cell, distance / gap});
      }
    return list;
  }

  /// y[n,k,o]: a = x, b = weight; along each axis over the taps that meet x.
  void forward_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                     product_list& list) const {
    term_nest nest;
    index_t x_step = 1, w_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t I = x[2 + axis], taps = weight[2 + axis];
      const index_t start = flat % y[2 + axis] * stride[i] - pad.begin[i];  // where tap 0 falls
      flat /= y[2 + axis];
      const index_t first = start >= 0 ? 0 : (-start + dilation[i] - 1) / dilation[i];
      const index_t last = start >= I ? -1 : std::min(taps - 1, (I - 1 - start) / dilation[i]);
      nest.add({.count = last - first + 1,
                .a = (start + first * dilation[i]) * x_step,
                .a_step = dilation[i] * x_step,
                .b = first * w_step,
                .b_step = w_step});
      x_step *= I;
      w_step *= taps;
    }
    const index_t k = flat % y[1], n = flat / y[1], c = k / (y[1] / x[1]);
    nest.add({.count = 1, .a = (n * x[1] + c) * x_step, .a_step = 0, .b = k * w_step, .b_step = 0});
    nest.write(list);
  }

  /// dx[n,c,i]: a = dy, b = weight; over the filters of the channel, and along each axis over the taps t for
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
      nest.add({.count = any ? std::min((taps - 1 - t) / t_step, o / o_step) + 1 : 0,
                .a = o * y_step,
                .a_step = -o_step * y_step,
                .b = t * w_step,
                .b_step = t_step * w_step});
      y_step *= O;
      w_step *= taps;
    }
    const index_t m = y[1] / x[1];  // flat is now n·C + c
    nest.add({.count = m,
              .a = flat * m * y_step,
              .a_step = y_step,
              .b = flat % x[1] * m * w_step,
              .b_step = w_step});
    nest.write(list);
  }

  /// dweight[k,0,t]: a = dy, b = x; over the samples, and along each axis over the outputs whose tap t meets
  /// x.
  void weight_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                    product_list& list) const {
    term_nest nest;
    index_t y_step = 1, x_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t taps = weight[2 + axis], I = x[2 + axis];
      const index_t shift =
          flat % taps * dilation[i] - pad.begin[i];  // what the tap of the first output reads
      flat /= taps;
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
    const index_t K = y[1], k = flat, c = k / (K / x[1]);
    nest.add(
        {.count = x[0], .a = k * y_step, .a_step = K * y_step, .b = c * x_step, .b_step = x[1] * x_step});
    nest.write(list);
  }
};

}  // namespace plumb
