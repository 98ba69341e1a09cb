// Locally connected layer of rank 1, 2 or 3: a convolution without weight sharing. It is the neuron's view of
// the convolutional layer: every output element is a neuron with the same receptive field as in a
// convolution, but with a filter and a bias of its own (LeCun 1989; Taigman et al. 2014, "DeepFace"). With
// input channel c, output channel k, output position (o,p,q) and filter tap (t,r,s):
//
//   y[n,k,o,p,q] = bias[k,o,p,q] + Σ_c Σ_t Σ_r Σ_s  x[n,c,d,h,w] · weight[k,o,p,q, c,t,r,s]
//        d = o·stride_d - pad_d + t·dilation_d     h = p·stride_h - pad_h + r·dilation_h     w alike
//
// Terms whose (d,h,w) lies outside x are skipped; a weight whose tap lies outside x is never used.
//   pad   per side, `pad=t,b,l,r`
// O = floor((I + pads - d(k-1) - 1) / stride) + 1, at least 1.
// Shapes: x = N,C,[D,][H,]W   y = N,K,[O,][P,]Q   bias = K,[O,][P,]Q (optional)
//         weight = K,[O,][P,]Q,C,[T,][R,]S: neuron first, so that each filter lies in one piece
// The windows are those of torch 1.13.1's conv; the order of the weight's axes is this specification's. An
// empty batch is legal.
//
// Gradients, with dy the cotangent of y:
//   dx[n,c,d,h,w]              = Σ_k Σ_trs  dy[n,k,o,p,q] · weight[k,o,p,q, c,t,r,s],
//                                where o = (d + pad_d - t·dilation_d) / stride_d must be whole and inside y
//   dweight[k,o,p,q, c,t,r,s]  = Σ_n  dy[n,k,o,p,q] · x[n,c,d,h,w]
//   dbias[k,o,p,q]             = Σ_n  dy[n,k,o,p,q]
#pragma once

#include <numeric>

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank>
struct locally_connected {
  per_axis<Rank> stride = every_axis<Rank>(1);
  per_side<Rank> pad = {};
  per_axis<Rank> dilation = every_axis<Rank>(1);

  static constexpr std::string_view formula =
      "y[n,k,p,q] = bias[k,p,q] + Σ_{c,r,s} x[n, c, p·stride - pad + r·dilation, …] · weight[k,p,q,c,r,s]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // linear in x, in weight and in bias, each on its own
  bool operator==(const locally_connected&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("stride", self.stride, at_least(1));
    visit("pad", self.pad, at_least(0));
    visit("dilation", self.dilation, at_least(1));
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const std::array<const char*, 3> letters_of_weight = {"kqcs", "kpqcrs", "kopqctrs"};
    const std::array<const char*, 3> letters_of_bias = {"kq", "kpq", "kopq"};
    const std::array<const char*, 3> letters_of_y = {"nkq", "nkpq", "nkopq"};
    return {.inputs = {{.name = "x", .axes = letters_of_input[Rank - 1]},
                       {.name = "weight", .batch_axis = no_batch, .axes = letters_of_weight[Rank - 1]},
                       {.name = "bias",
                        .optional = true,
                        .batch_axis = no_batch,
                        .axes = letters_of_bias[Rank - 1]}},
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
    constexpr std::array<const char*, 3> weight_axes = {"K,Q,C,S", "K,P,Q,C,R,S", "K,O,P,Q,C,T,R,S"};
    require_rank("x", x, Rank + 2, axes_of_input[Rank - 1], true);
    require_rank("weight", weight, 2 * Rank + 2, weight_axes[Rank - 1], false);
    if (weight[Rank + 1] != x[1])
      throw shape_error(named("weight", weight) + " reads " + std::to_string(weight[Rank + 1]) +
                        " channels but " + named("x", x) + " has " + std::to_string(x[1]) +
                        "; expected weight=" + weight_axes[Rank - 1]);
    shape y{x[0], weight[0]}, neurons{weight[0]};
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const window_axis a{axis_letter(Rank, axis),
                          x[2 + axis],
                          weight[Rank + 2 + axis],
                          stride[i],
                          dilation[i],
                          pad.begin[i],
                          pad.end[i]};
      if (!a.fits()) throw_window_too_large(a, "filter");
      const index_t outputs = (a.padded() - a.span()) / a.stride + 1;
      if (weight[1 + axis] != outputs)
        throw shape_error("axis " + std::string(1, a.letter) + ": " + named("weight", weight) +
                          " has filters for " + std::to_string(weight[1 + axis]) +
                          " outputs, but there are " + std::to_string(outputs) +
                          "; expected weight=" + weight_axes[Rank - 1]);
      y.push_back(outputs);
      neurons.push_back(outputs);
    }
    if (in.has("bias") && !(in["bias"] == neurons))
      throw shape_error(
          named("bias", in["bias"]) +
          " does not match the outputs; expected one number a neuron: " + named("bias", neurons));
    shape_map out;
    out.set("y", y);
    return out;
  }

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto weight = in["weight"];  // row-major: the number of the neuron, then c,t,r,s
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [unused, K, O, P, Q] = extents_of(y);
    const three_axes taps = taps_of(weight.extents());
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t k = 0; k < K; ++k)
        for (index_t o = 0; o < O; ++o)
          for (index_t p = 0; p < P; ++p)
            for (index_t q = 0; q < Q; ++q) {
              const index_t neuron = ((k * O + o) * P + p) * Q + q;
              Scalar sum = in.has("bias") ? in["bias"][neuron] : Scalar(0);
              for (index_t c = 0; c < C; ++c)
                for (index_t t = 0; t < taps.d; ++t)
                  for (index_t r = 0; r < taps.h; ++r)
                    for (index_t s = 0; s < taps.w; ++s) {
                      const index_t d = o * step.d - before.d + t * gap.d;
                      const index_t h = p * step.h - before.h + r * gap.h;
                      const index_t w = q * step.w - before.w + s * gap.w;
                      if (!inside(d, D) || !inside(h, H) || !inside(w, W)) continue;
                      sum += x(n, c, d, h, w) *
                             weight[(((neuron * C + c) * taps.d + t) * taps.h + r) * taps.w + s];
                    }
              y(n, k, o, p, q) = sum;
            }
  }

  // Definition 2: gradients from the cotangent dy, no Jacobian formed ---------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = in_three_axes(cotangent["dy"]);
    if (gradient.has("dx")) vjp_x<Scalar>(dy, in["weight"], in_three_axes(gradient["dx"]));
    if (gradient.has("dweight")) vjp_weight<Scalar>(dy, in_three_axes(in["x"]), gradient["dweight"]);
    if (gradient.has("dbias")) {
      const auto dbias = gradient["dbias"];
      for (index_t neuron = 0; neuron < dbias.size(); ++neuron) {
        Scalar sum = Scalar(0);
        for (index_t n = 0; n < dy.extent(0); ++n) sum += cotangent["dy"][n * dbias.size() + neuron];
        dbias[neuron] = sum;
      }
    }
  }

  // Definition 3: the explicit Jacobian, entry by entry -----------------------------------------------------

  /// Each weight belongs to one neuron and one tap, and so to one cell of every sample: ∂y/∂weight = x there,
  /// and ∂y/∂x = weight. Rows and columns are taken apart into coordinates, axis by axis.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"], weight = in["weight"];
    const index_t N = x.extent(0), neurons = neurons_of(weight.extents()), filter = weight.size() / neurons;
    index_t number = 0;
    for_each_index(weight.extents(), [&](const shape& at) {
      const index_t weight_number = number++, neuron = weight_number / filter;
      index_t cell = at[Rank + 1];  // the channel, then the cell of its plane
      for (int axis = 0; axis < Rank; ++axis) {
        const auto i = static_cast<std::size_t>(axis);
        const index_t from = at[1 + axis] * stride[i] + at[Rank + 2 + axis] * dilation[i] - pad.begin[i];
        if (from < 0 || from >= x.extent(2 + axis)) return;
        cell = cell * x.extent(2 + axis) + from;
      }
      for (index_t n = 0; n < N; ++n) {
        emit("y", n * neurons + neuron, "weight", weight_number, x[n * (x.size() / N) + cell]);
        emit("y", n * neurons + neuron, "x", n * (x.size() / N) + cell, weight[weight_number]);
      }
    });
    if (in.has("bias"))
      for (index_t i = 0; i < N * neurons; ++i) emit("y", i, "bias", i % neurons, Scalar(1));
  }

  // The terms of one element of each pass -----------------------------------------------------------------

  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    const shape &x = shapes["x"], &weight = shapes["weight"], &y = shapes["y"];
    if (pass == "forward") {
      forward_terms(x, weight, y, flat, list);
      if (shapes.has("bias")) list.addend = flat % neurons_of(weight);
    } else if (pass == "backward_data") {
      data_terms(x, weight, y, flat, list);
    } else if (pass == "backward_weights") {
      weight_terms(x, weight, y, flat, list);
    } else {
      term_nest nest;  // dbias[neuron]: over the samples
      nest.add({.count = y[0], .a = flat, .a_step = neurons_of(weight), .b = 0, .b_step = 0});
      nest.write(list);
    }
  }

 private:
  static index_t neurons_of(const shape& weight) {
    index_t count = 1;
    for (int axis = 0; axis <= Rank; ++axis) count *= weight[axis];
    return count;
  }
  static three_axes taps_of(const shape& weight) {
    per_axis<Rank> taps{};
    for (int axis = 0; axis < Rank; ++axis) taps[static_cast<std::size_t>(axis)] = weight[Rank + 2 + axis];
    return in_three_axes<Rank>(taps, 1);
  }

  template <class Scalar>
  void vjp_x(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& weight,
             const tensor_view<Scalar>& dx) const {
    const auto [N, C, D, H, W] = extents_of(dx);
    const auto [T, R, S] = taps_of(weight.extents());
    const index_t K = dy.extent(1), O = dy.extent(2), P = dy.extent(3), Q = dy.extent(4);
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t d = 0; d < D; ++d)
          for (index_t h = 0; h < H; ++h)
            for (index_t w = 0; w < W; ++w) {
              Scalar sum = Scalar(0);
              for (index_t k = 0; k < K; ++k)
                for (index_t t = 0; t < T; ++t)
                  for (index_t r = 0; r < R; ++r)
                    for (index_t s = 0; s < S; ++s) {
                      const index_t od = d + before.d - t * gap.d;  // = o·stride_d, if the tap is used
                      const index_t ph = h + before.h - r * gap.h;
                      const index_t qw = w + before.w - s * gap.w;
                      if (od % step.d != 0 || ph % step.h != 0 || qw % step.w != 0) continue;
                      const index_t o = od / step.d, p = ph / step.h, q = qw / step.w;
                      if (o < 0 || p < 0 || q < 0 || o >= O || p >= P || q >= Q) continue;
                      const index_t filter = ((k * O + o) * P + p) * Q + q;
                      sum += dy(n, k, o, p, q) * weight[(((filter * C + c) * T + t) * R + r) * S + s];
                    }
              dx(n, c, d, h, w) = sum;
            }
  }

  /// Every weight is written in the order in which it is stored.
  template <class Scalar>
  void vjp_weight(const tensor_view<const Scalar>& dy, const tensor_view<const Scalar>& x,
                  const tensor_view<Scalar>& dweight) const {
    const auto [N, C, D, H, W] = extents_of(x);
    const auto [T, R, S] = taps_of(dweight.extents());
    const three_axes step = in_three_axes<Rank>(stride, 1), gap = in_three_axes<Rank>(dilation, 1);
    const three_axes before = in_three_axes<Rank>(pad.begin, 0);
    index_t stored = 0;
    for (index_t k = 0; k < dy.extent(1); ++k)
      for (index_t o = 0; o < dy.extent(2); ++o)
        for (index_t p = 0; p < dy.extent(3); ++p)
          for (index_t q = 0; q < dy.extent(4); ++q)
            for (index_t c = 0; c < C; ++c)
              for (index_t t = 0; t < T; ++t)
                for (index_t r = 0; r < R; ++r)
                  for (index_t s = 0; s < S; ++s) {
                    const index_t d = o * step.d + t * gap.d - before.d;
                    const index_t h = p * step.h + r * gap.h - before.h;
                    const index_t w = q * step.w + s * gap.w - before.w;
                    const bool outside = d < 0 || h < 0 || w < 0 || d >= D || h >= H || w >= W;
                    Scalar sum = Scalar(0);
                    for (index_t n = 0; !outside && n < N; ++n) sum += dy(n, k, o, p, q) * x(n, c, d, h, w);
                    dweight[stored++] = sum;
                  }
  }

  /// y[n,k,o]: a = x, b = weight; over the channels, and along each axis over the taps that meet x.
  void forward_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                     product_list& list) const {
    const index_t neurons = neurons_of(weight), filter = weight.size() / neurons;
    const index_t n = flat / neurons, neuron = flat % neurons;
    term_nest nest;
    index_t x_step = 1, w_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t I = x[2 + axis], taps = weight[Rank + 2 + axis];
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
    nest.add(
        {.count = x[1], .a = n * x[1] * x_step, .a_step = x_step, .b = neuron * filter, .b_step = w_step});
    nest.write(list);
  }

  /// dx[n,c,i]: a = dy, b = weight; over the output channels, and along each axis over the taps t for which
  /// stride divides i + pad - t·dilation. These are every (stride/gcd)-th tap, and the outputs, whose filters
  /// they are taken from, recede by dilation/gcd.
  void data_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                  product_list& list) const {
    const index_t neurons = neurons_of(weight), filter = weight.size() / neurons, plane = neurons / y[1];
    term_nest nest;
    index_t y_step = 1, w_step = 1;
    for (int axis = Rank - 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t cell = flat % x[2 + axis] + pad.begin[i], O = y[2 + axis], taps = weight[Rank + 2 + axis];
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
                .b = o * y_step * filter + t * w_step,
                .b_step = -o_step * y_step * filter + t_step * w_step});
      y_step *= O;
      w_step *= taps;
    }
    const index_t c = flat % x[1], n = flat / x[1];
    nest.add({.count = y[1], .a = n * neurons, .a_step = plane, .b = c * w_step, .b_step = plane * filter});
    nest.write(list);
  }

  /// dweight[k,o,c,t]: a = dy, b = x; over the samples, if the tap falls inside x.
  void weight_terms(const shape& x, const shape& weight, const shape& y, index_t flat,
                    product_list& list) const {
    const index_t neurons = neurons_of(weight);
    const shape at = unflatten(flat, weight);
    index_t cell = at[Rank + 1];
    bool used = true;
    for (int axis = 0; axis < Rank; ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t tap = at[1 + axis] * stride[i] - pad.begin[i] + at[Rank + 2 + axis] * dilation[i];
      used = used && inside(tap, x[2 + axis]);
      cell = cell * x[2 + axis] + tap;
    }
    term_nest nest;
    nest.add({.count = used ? y[0] : 0,
              .a = flat / (weight.size() / neurons),
              .a_step = neurons,
              .b = cell,
              .b_step = x[1] * plane_size(x)});
    nest.write(list);
  }
};

}  // namespace plumb
