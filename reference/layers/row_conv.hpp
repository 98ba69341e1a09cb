// Row convolution, also called lookahead convolution (Wang et al. 2016; the TemporalRowConvolution of Torch):
// every feature c of a sequence is filtered along time by a filter of its own.
//
//   y[n,c,q] = bias[c] + Σ_s  x[n, c, q·stride - pad + s] · weight[c,0,s]
//
// Terms outside x are skipped. (The legacy layer counted padding in the size of y, then read past the row.)
//   feature_first  true: x = N,C,L and y = N,C,Q.   false: time first, x = N,L,C and y = N,Q,C
//   pad            per side: `pad=before,after`
// Q = floor((L + pads - S) / stride) + 1, at least 1.
// Shapes: x and y as above   weight = C,1,S   bias = C (optional)
// In both orders torch 1.13.1's conv1d with groups = C; an empty batch is legal.
//
// Gradients, with dy the cotangent of y:
//   dx[n,c,w]      = Σ_s dy[n,c,q] · weight[c,0,s],  q = (w + pad - s) / stride whole and inside y
//   dweight[c,0,s] = Σ_n Σ_q dy[n,c,q] · x[n, c, q·stride - pad + s]     dbias[c] = Σ_n Σ_q dy[n,c,q]
// The explicit Jacobian joins output q and cell w of a sample and a feature by the tap s = w + pad - q·stride.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct row_conv {
  per_axis<1> stride = {1};
  per_side<1> pad = {};
  bool feature_first = true;

  static constexpr std::string_view formula =
      "y[n,c,q] = bias[c] + Σ_s x[n, c, q·stride - pad + s] · weight[c,0,s]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // linear in x, in weight and in bias, each on its own
  bool operator==(const row_conv&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("stride", self.stride, at_least(1));
    visit("pad", self.pad, at_least(0));
    visit("feature_first", self.feature_first);
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    return {.inputs = {{.name = "x", .axes = feature_first ? "ncw" : "nwc"},
                       {.name = "weight", .batch_axis = no_batch, .axes = "c1s"},
                       {.name = "bias", .optional = true, .batch_axis = no_batch, .axes = "c"}},
            .outputs = {{.name = "y", .axes = feature_first ? "ncq" : "nqc"}},
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

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"], weight = in["weight"];
    require_rank("x", x, 3, feature_first ? "N,C,L" : "N,L,C", true);
    require_rank("weight", weight, 3, "C,1,S", false);
    const index_t C = x[feature_axis()];
    if (weight[0] != C || weight[1] != 1)
      throw shape_error(named("weight", weight) + " is not one filter for each of the C=" +
                        std::to_string(C) + " features of " + named("x", x) + "; expected weight=C,1,S");
    if (in.has("bias") && !(in["bias"] == shape{C}))
      throw shape_error(
          named("bias", in["bias"]) +
          " does not match the filters; expected one number a feature: bias=" + std::to_string(C));
    const window_axis a{'w', x[time_axis()], weight[2], stride[0], 1, pad.begin[0], pad.end[0]};
    if (!a.fits()) throw_window_too_large(a, "filter");
    shape y = x;
    y[time_axis()] = (a.padded() - a.span()) / a.stride + 1;
    shape_map out;
    out.set("y", y);
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"], weight = in["weight"];
    const auto y = out["y"];
    const auto at = [this](auto view, index_t n, index_t c, index_t time) -> auto& {
      return feature_first ? view(n, c, time) : view(n, time, c);
    };
    const index_t C = weight.extent(0), S = weight.extent(2), L = x.extent(time_axis());
    for (index_t n = 0; n < x.extent(0); ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t q = 0; q < y.extent(time_axis()); ++q) {
          Scalar sum = in.has("bias") ? in["bias"](c) : Scalar(0);
          for (index_t s = 0; s < S; ++s) {
            const index_t w = q * stride[0] - pad.begin[0] + s;
            if (inside(w, L)) sum += at(x, n, c, w) * weight(c, 0, s);
          }
          at(y, n, c, q) = sum;
        }
  }

  /// Every pair (q, s) hands dy on to the cell and to the tap whose product it multiplied.
  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    for (const auto& g : gradient.entries())
      for (index_t i = 0; i < g.real.size(); ++i) g.real[i] = Scalar(0);
    const index_t N = dy.extent(0), C = dy.extent(feature_axis()), Q = dy.extent(time_axis());
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t q = 0; q < Q; ++q) {
          const shape from = feature_first ? shape{n, c, q} : shape{n, q, c};
          if (gradient.has("dbias")) gradient["dbias"](c) += dy(from);
          if (gradient.has("dx")) {
            const auto weight = in["weight"];
            const auto dx = gradient["dx"];
            for (index_t s = 0; s < weight.extent(2); ++s) {
              const index_t w = s + q * stride[0] - pad.begin[0];
              if (w < 0 || w >= dx.extent(time_axis())) continue;
              dx(feature_first ? shape{n, c, w} : shape{n, w, c}) += dy(from) * weight(c, 0, s);
            }
          }
          if (gradient.has("dweight")) {
            const auto x = in["x"];
            const auto dweight = gradient["dweight"];
            for (index_t s = 0; s < dweight.extent(2); ++s) {
              const index_t w = s + q * stride[0] - pad.begin[0];
              if (w < 0 || w >= x.extent(time_axis())) continue;
              dweight(c, 0, s) += dy(from) * x(feature_first ? shape{n, c, w} : shape{n, w, c});
            }
          }
        }
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto x = in["x"], weight = in["weight"];
    const index_t C = weight.extent(0), S = weight.extent(2),
                  L = x.size() / std::max<index_t>(1, x.extent(0) * C);
    const index_t Q = (L + pad.begin[0] + pad.end[0] - S + stride[0]) / stride[0];
    for (index_t n = 0; n < x.extent(0); ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t q = 0; q < Q; ++q) {
          const index_t row = feature_first ? (n * C + c) * Q + q : (n * Q + q) * C + c;
          for (index_t w = 0; w < L; ++w) {
            const index_t s = w + pad.begin[0] - q * stride[0];
            if (s < 0 || s >= S) continue;
            const index_t column = feature_first ? (n * C + c) * L + w : (n * L + w) * C + c;
            emit("y", row, "x", column, weight[c * S + s]);
            emit("y", row, "weight", c * S + s, x[column]);
          }
          if (in.has("bias")) emit("y", row, "bias", c, Scalar(1));
        }
  }

  /// The terms of one element of each pass (see products.hpp).
  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    const shape &x = shapes["x"], &weight = shapes["weight"], &y = shapes["y"];
    const index_t L = x[time_axis()], Q = y[time_axis()], C = weight[0], S = weight[2];
    const index_t step = feature_first ? 1 : C;  // from one time to the next, in x and in y
    const shape at = unflatten(flat, pass == "forward" ? y : pass == "backward_data" ? x : weight);
    term_nest nest;
    if (pass == "forward") {  // y[n,c,q]: over the taps inside x
      const index_t c = at[feature_axis()], start = at[time_axis()] * stride[0] - pad.begin[0];
      const index_t first = std::max<index_t>(0, -start), last = std::min(S, L - start) - 1;
      const index_t row = at[0] * C * L + (feature_first ? c * L : c);
      nest.add({.count = last - first + 1,
                .a = row + (start + first) * step,
                .a_step = step,
                .b = c * S + first,
                .b_step = 1});
      if (shapes.has("bias")) list.addend = c;
    } else if (pass == "backward_data") {  // dx[n,c,w]: over the outputs whose window holds w
      const index_t c = at[feature_axis()], w = at[time_axis()] + pad.begin[0];
      const index_t last = std::min(Q - 1, w / stride[0]);
      const index_t first = w < S ? 0 : (w - S) / stride[0] + 1;
      const index_t row = at[0] * C * Q + (feature_first ? c * Q : c);
      nest.add({.count = last - first + 1,
                .a = row + first * step,
                .a_step = step,
                .b = c * S + w - first * stride[0],
                .b_step = -stride[0]});
    } else if (pass == "backward_weights") {  // dweight[c,0,s]: over the outputs whose tap s falls inside x
      const index_t c = at[0], shift = at[2] - pad.begin[0];
      const index_t first = shift >= 0 ? 0 : (-shift + stride[0] - 1) / stride[0];
      const index_t last = shift >= L ? -1 : std::min(Q - 1, (L - 1 - shift) / stride[0]);
      nest.add({.count = last - first + 1,
                .a = (feature_first ? c * Q : c) + first * step,
                .a_step = step,
                .b = (feature_first ? c * L : c) + (shift + first * stride[0]) * step,
                .b_step = stride[0] * step});
      nest.add({.count = x[0], .a = 0, .a_step = C * Q, .b = 0, .b_step = C * L});
    } else {  // dbias[c]
      nest.add({.count = Q, .a = feature_first ? flat * Q : flat, .a_step = step, .b = 0, .b_step = 0});
      nest.add({.count = y[0], .a = 0, .a_step = C * Q, .b = 0, .b_step = 0});
    }
    nest.write(list);
  }

 private:
  int feature_axis() const { return feature_first ? 1 : 2; }
  int time_axis() const { return feature_first ? 2 : 1; }
};

}  // namespace plumb
