// Transposed convolution of rank 1, 2 or 3, also called deconvolution: every input cell paints its filter
// into the output (Zeiler et al. 2010; Dumoulin & Visin 2016, ch. 4). It is the adjoint of the convolution
// with the same stride, padding and dilation, with the roles of x and y swapped. With input channel c, output
// channel k, input position (d,h,w) and filter tap (t,r,s):
//
//   y[n, k0+k, d·stride_d - pad_d + t·dilation_d, h…, w…]  +=  x[n,c,d,h,w] · weight[c,k,t,r,s]
//   y[n,k,…]                                               +=  bias[k]     once for every output element
//
// Products that fall outside y are dropped: padding crops the output.
//   groups      C and K are cut into `groups` equal parts; part g of x paints into part g of y only, so k
//               counts K/groups channels from k0 = (c div C/groups)·K/groups
//   pad         cells cropped at each end of each axis; `pad=t,b,l,r` names the sides
//   output_pad  rows added at the end of each axis, a < stride or a < dilation; a convolution leaves them out
//               of its windows, so that they may hold nothing but bias
// O = (I-1)·stride - pads + d(k-1) + 1 + a, at least 1.
// Shapes: x = N,C,[D,][H,]W   weight = C,K/groups,[T,][R,]S   bias = K (optional)   y = N,K,[O,][P,]Q
// Conventions as torch 1.13.1 (the weight is stored input channel first); an empty batch is legal.
//
// Gradients, with dy the cotangent of y and o = d·stride_d - pad_d + t·dilation_d inside y, p and q alike:
//   dx[n,c,d,h,w]      = Σ_k Σ_trs  dy[n, k0+k, o,p,q] · weight[c,k,t,r,s]
//   dweight[c,k,t,r,s] = Σ_n Σ_dhw  dy[n, k0+k, o,p,q] · x[n,c,d,h,w]
//   dbias[k]           = Σ_n Σ_opq  dy[n,k,o,p,q]
#pragma once

#include <numeric>

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct conv_transpose {
  per_axis<Rank> stride = every_axis<Rank>(1);
  per_side<Rank> pad = {};
  per_axis<Rank> output_pad = {};
  per_axis<Rank> dilation = every_axis<Rank>(1);
  index_t groups = 1;

  static constexpr std::string_view formula =
      "y[n, k, h·stride - pad + r·dilation, …] = bias[k] + Σ_{c,h,w,r,s} x[n,c,h,w] · weight[c,k,r,s]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // linear in x, in weight and in bias, each on its own
  bool operator==(const conv_transpose&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("stride", self.stride, at_least(1));
    visit("pad", self.pad, at_least(0));
    visit("output_pad", self.output_pad, at_least(0));
    visit("dilation", self.dilation, at_least(1));
    visit("groups", self.groups, at_least(1));
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const std::array<const char*, 3> letters_of_weight = {"cks", "ckrs", "cktrs"};
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
    constexpr std::array<const char*, 3> weight_axes = {"C,K/groups,S", "C,K/groups,R,S", "C,K/groups,T,R,S"};
    require_rank("x", x, Rank + 2, axes_of_input[Rank - 1], true);
    require_rank("weight", weight, Rank + 2, weight_axes[Rank - 1], false);
    if (weight[0] != x[1])
      throw shape_error(named("weight", weight) + " paints for " + std::to_string(weight[0]) +
                        " input channels but " + named("x", x) + " has " + std::to_string(x[1]) +
                        "; expected weight=C,K/groups");
    if (x[1] % groups != 0)
      throw shape_error("groups=" + std::to_string(groups) +
                        " does not divide the C=" + std::to_string(x[1]) + " channels of " + named("x", x));
    index_t filters = 0;
    if (__builtin_mul_overflow(weight[1], groups, &filters))
      throw shape_error("groups=" + std::to_string(groups) + " times the channels of " +
                        named("weight", weight) + " is more than 2^63");
    if (in.has("bias") && !(in["bias"] == shape{filters}))
      throw shape_error(named("bias", in["bias"]) +
                        " does not match the filters; expected one number an output channel: bias=" +
                        std::to_string(filters));
    shape y{x[0], filters};
    for (int axis = 0; axis < Rank; ++axis) y.push_back(outputs_along(axis, x[2 + axis], weight[2 + axis]));
    shape_map out;
    out.set("y", y);
    return out;
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]), weight = in_three_axes(in["weight"]);
    const auto y = in_three_axes(out["y"]);
    const auto [N, K, O, P, Q] = extents_of(y);
    const auto [C, Kg, T, R, S] = extents_of(weight);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t i = 0; i < y.size(); ++i)
      out["y"][i] = in.has("bias") ? in["bias"](i / (O * P * Q) % K) : Scalar(0);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t d = 0; d < x.extent(2); ++d)
          for (index_t h = 0; h < x.extent(3); ++h)
            for (index_t w = 0; w < x.extent(4); ++w)
              for (index_t k = 0; k < Kg; ++k)
                for (index_t t = 0; t < T; ++t)
                  for (index_t r = 0; r < R; ++r)
                    for (index_t s = 0; s < S; ++s) {
                      const index_t k0 = c / (C / groups) * Kg;
                      const index_t o = d * step.d - before.d + t * gap.d;
                      const index_t p = h * step.h - before.h + r * gap.h;
                      const index_t q = w * step.w - before.w + s * gap.w;
                      if (!inside(o, O) || !inside(p, P) || !inside(q, Q)) continue;
                      y(n, k0 + k, o, p, q) += x(n, c, d, h, w) * weight(c, k, t, r, s);
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

  /// Along each axis an output and an input cell are joined by the tap t = (o + pad - d·stride) / dilation if
  /// this is a whole number inside the filter. Then ∂y/∂x = weight[tap] and ∂y/∂weight[tap] = x.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in_three_axes(in["x"]), weight = in_three_axes(in["weight"]);
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [unused, Kg, T, R, S] = extents_of(weight);
    const std::array<index_t, 3> image = {D, H, W}, filter = {T, R, S};
    std::array<std::vector<join>, 3> joins;
    std::array<index_t, 3> outputs;
    for (std::size_t axis = 0; axis < 3; ++axis)
      joins[axis] = joined(static_cast<int>(axis) - (3 - Rank), image[axis], filter[axis], outputs[axis]);
    const auto [O, P, Q] = outputs;
    const index_t K = Kg * groups;

    for (index_t n = 0; n < N; ++n)
      for (index_t k = 0; k < K; ++k)
        for (index_t c = 0; c < C; ++c) {
          if (c * groups / C != k / Kg) continue;  // another group
          for (const auto& [o, d, t] : joins[0])
            for (const auto& [p, h, r] : joins[1])
              for (const auto& [q, w, s] : joins[2]) {
                const index_t out = (((n * K + k) * O + o) * P + p) * Q + q;
                const index_t cell = (((n * C + c) * D + d) * H + h) * W + w;
                const index_t tap = (((c * Kg + k % Kg) * T + t) * R + r) * S + s;
                emit("y", out, "x", cell, weight(c, k % Kg, t, r, s));
                emit("y", out, "weight", tap, x(n, c, d, h, w));
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

  /// Terms of an element for which no tap is missing: channels times taps, or samples times positions.
  index_t full_products(std::string_view pass, const shape_map& shapes) const {
    const shape &x = shapes["x"], &weight = shapes["weight"], &y = shapes["y"];
    if (pass == "forward") return x[1] / groups * plane_size(weight);
    if (pass == "backward_data") return weight[1] * plane_size(weight);
    return x[0] * plane_size(pass == "backward_weights" ? x : y);
  }

 private:
  index_t outputs_along(int axis, index_t cells, index_t taps) const {
    const auto i = static_cast<std::size_t>(axis);
    const std::string where = "axis " + std::string(1, axis_letter(Rank, axis)) + ": ";
    if (output_pad[i] >= stride[i] && output_pad[i] >= dilation[i])
      throw shape_error(where + "output_pad=" + std::to_string(output_pad[i]) + " must be less than stride=" +
                        std::to_string(stride[i]) + " or less than dilation=" + std::to_string(dilation[i]));
    const window_axis a{axis_letter(Rank, axis), cells, taps, stride[i], dilation[i], 0, 0};
    index_t painted = 0;
    if (__builtin_mul_overflow(cells - 1, stride[i], &painted) || painted > longest_axis ||
        a.span() > longest_axis)
      throw shape_error(where + "the output is longer than 2^48");
    const index_t outputs = painted - pad.begin[i] - pad.end[i] + a.span() + output_pad[i];
    if (outputs < 1)
      throw shape_error(where + "padding crops " + std::to_string(pad.begin[i] + pad.end[i]) + " of " +
                        std::to_string(painted + a.span() + output_pad[i]) +
                        " outputs; (I-1)*stride - pads + d(k-1) + 1 + output_pad >= 1");
    return outputs;
  }

  template <class Scalar>
  void vjp_x(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& weight,
             const tensor_view<Scalar>& dx) const {
    const auto [N, C, D, H, W] = extents_of(dx);
    const auto [unused, Kg, T, R, S] = extents_of(weight);
    const index_t O = dy.extent(2), P = dy.extent(3), Q = dy.extent(4);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t d = 0; d < D; ++d)
          for (index_t h = 0; h < H; ++h)
            for (index_t w = 0; w < W; ++w) {
              Scalar sum = Scalar(0);
              for (index_t k = 0; k < Kg; ++k)
                for (index_t t = 0; t < T; ++t)
                  for (index_t r = 0; r < R; ++r)
                    for (index_t s = 0; s < S; ++s) {
                      const index_t o = t * gap.d + d * step.d - before.d;
                      const index_t p = r * gap.h + h * step.h - before.h;
                      const index_t q = s * gap.w + w * step.w - before.w;
                      if (o < 0 || p < 0 || q < 0 || o >= O || p >= P || q >= Q) continue;
                      sum += dy(n, c / (C / groups) * Kg + k, o, p, q) * weight(c, k, t, r, s);
                    }
              dx(n, c, d, h, w) = sum;
            }
  }

  template <class Scalar>
  void vjp_weight(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& x,
                  const tensor_view<Scalar>& dweight) const {
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [unused, Kg, T, R, S] = extents_of(dweight);
    const index_t O = dy.extent(2), P = dy.extent(3), Q = dy.extent(4);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t c = 0; c < C; ++c)
      for (index_t k = 0; k < Kg; ++k)
        for (index_t t = 0; t < T; ++t)
          for (index_t r = 0; r < R; ++r)
            for (index_t s = 0; s < S; ++s) {
              Scalar sum = Scalar(0);
              for (index_t n = 0; n < N; ++n)
                for (index_t d = 0; d < D; ++d)
                  for (index_t h = 0; h < H; ++h)
                    for (index_t w = 0; w < W; ++w) {
                      const index_t o = d * step.d + t * gap.d - before.d;
                      const index_t p = h * step.h + r * gap.h - before.h;
                      const index_t q = w * step.w + s * gap.w - before.w;
                      if (o < 0 || p < 0 || q < 0 || o >= O || p >= P || q >= Q) continue;
                      sum += dy(n, c / (C / groups) * Kg + k, o, p, q) * x(n, c, d, h, w);
                    }
              dweight(c, k, t, r, s) = sum;
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
  struct join {
    index_t out, in, tap;
  };

  /// All of them for spatial axis `axis` (negative: an axis this rank lacks), and the number of outputs.
  std::vector<join> joined(int axis, index_t in, index_t taps, index_t& outputs) const {
    const auto i = static_cast<std::size_t>(axis);
    const index_t step = axis < 0 ? 1 : stride[i], gap = axis < 0 ? 1 : dilation[i];
    const index_t before = axis < 0 ? 0 : pad.begin[i], after = axis < 0 ? 0 : pad.end[i];
    outputs = step * (in - 1) + gap * (taps - 1) + 1 - before - after + (axis < 0 ? 0 : output_pad[i]);
    std::vector<join> list;
    for (index_t out = 0; out < outputs; ++out)
      for (index_t cell = 0; cell < in; ++cell) {
        const index_t distance = out + before - cell * step;  // from the first tap
        if (distance < 0 || distance % gap != 0 || distance / gap >= taps) continue;
        list.push_back({out, cell, distance / gap});
      }
    return list;
  }

  /// y[n,k,o]: a = x, b = weight; over the channels of the group, and along each axis over the taps t for
  /// which stride divides o + pad - t·dilation. These are every (stride/gcd)-th tap, and the inputs recede by
  /// dilation/gcd.
  void forward_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                     product_list& list) const {
    term_nest nest;
    index_t x_step = 1, w_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t cell = flat % y[2 + axis] + pad.begin[i], taps = weight[2 + axis], I = x[2 + axis];
      flat /= y[2 + axis];
      const index_t common = std::gcd(stride[i], dilation[i]);
      const index_t t_step = stride[i] / common, in_step = dilation[i] / common;
      // The first tap whose distance is a multiple of the stride and whose input is not past the end.
      index_t t = std::max<index_t>(0, (cell - (I - 1) * stride[i] + dilation[i] - 1) / dilation[i]);
      const index_t tried = std::min(taps, t + t_step);
      while (t < tried && (cell - t * dilation[i]) % stride[i] != 0) ++t;
      const bool any = t < tried && cell - t * dilation[i] >= 0;
      const index_t from = (cell - t * dilation[i]) / stride[i];
      nest.add({.count = any ? std::min((taps - 1 - t) / t_step, from / in_step) + 1 : 0,
                .a = from * x_step,
                .a_step = -in_step * x_step,
                .b = t * w_step,
                .b_step = t_step * w_step});
      x_step *= I;
      w_step *= taps;
    }
    const index_t K = y[1], k = flat % K, n = flat / K, Kg = weight[1], Cg = x[1] / groups;
    const index_t c0 = k / Kg * Cg;
    nest.add({.count = Cg,
              .a = (n * x[1] + c0) * x_step,
              .a_step = x_step,
              .b = (c0 * Kg + k % Kg) * w_step,
              .b_step = Kg * w_step});
    nest.write(list);
  }

  /// dx[n,c,i]: a = dy, b = weight; over the output channels of the group, and along each axis over the taps
  /// that fall inside y.
  void data_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                  product_list& list) const {
    term_nest nest;
    index_t y_step = 1, w_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t taps = weight[2 + axis], O = y[2 + axis];
      const index_t start = flat % x[2 + axis] * stride[i] - pad.begin[i];  // where tap 0 falls
      flat /= x[2 + axis];
      const index_t first = start >= 0 ? 0 : (-start + dilation[i] - 1) / dilation[i];
      const index_t last = start >= O ? -1 : std::min(taps - 1, (O - 1 - start) / dilation[i]);
      nest.add({.count = last - first + 1,
                .a = (start + first * dilation[i]) * y_step,
                .a_step = dilation[i] * y_step,
                .b = first * w_step,
                .b_step = w_step});
      y_step *= O;
      w_step *= taps;
    }
    const index_t C = x[1], c = flat % C, n = flat / C, Kg = weight[1];
    nest.add({.count = Kg,
              .a = (n * y[1] + c / (C / groups) * Kg) * y_step,
              .a_step = y_step,
              .b = c * Kg * w_step,
              .b_step = w_step});
    nest.write(list);
  }

  /// dweight[c,k,t]: a = dy, b = x; over the samples, and along each axis over the inputs whose tap t falls
  /// inside y.
  void weight_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                    product_list& list) const {
    term_nest nest;
    index_t y_step = 1, x_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t taps = weight[2 + axis], O = y[2 + axis];
      const index_t shift =
          flat % taps * dilation[i] - pad.begin[i];  // where the tap of the first input falls
      flat /= taps;
      const index_t first = shift >= 0 ? 0 : (-shift + stride[i] - 1) / stride[i];
      const index_t last = shift >= O ? -1 : std::min(x[2 + axis] - 1, (O - 1 - shift) / stride[i]);
      nest.add({.count = last - first + 1,
                .a = (shift + first * stride[i]) * y_step,
                .a_step = stride[i] * y_step,
                .b = first * x_step,
                .b_step = x_step});
      y_step *= O;
      x_step *= x[2 + axis];
    }
    const index_t C = x[1], Kg = weight[1], k = flat % Kg, c = flat / Kg;
    nest.add({.count = x[0],
              .a = (c / (C / groups) * Kg + k) * y_step,
              .a_step = y[1] * y_step,
              .b = c * x_step,
              .b_step = C * x_step});
    nest.write(list);
  }
};

}  // namespace plumb
