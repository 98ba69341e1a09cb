// Unfold (im2col) lays the windows of an image out as columns, fold (col2im) adds columns back up into an
// image (Chellapilla et al. 2006). With window cell (r,s) and window position l = p·Q + q:
//
//   unfold2d   y[n, (c·R + r)·S + s, l] = x[n,c,h,w],  0 where (h,w) lies outside x
//   fold2d     y[n,c,h,w] = Σ over all r,s,p,q that land on (h,w) of  x[n, (c·R + r)·S + s, l]
//        h = p·stride_h - pad_h + r·dilation_h      w = q·stride_w - pad_w + s·dilation_w
//
// Each is the adjoint of the other; fold does not divide by the number of overlapping windows.
//   window    R×S, required; stride 1 unless given; pad per side; dilation
//   output    H×W of fold's image, required: it cannot be told from the columns
// Windows along each axis: P = floor((H + pads - d(R-1) - 1) / stride) + 1, at least 1; L = P·Q.
// Shapes: unfold2d x = N,C,H,W   y = N,C·R·S,L      fold2d x = N,C·R·S,L   y = N,C,H,W
// Conventions as torch 1.13.1; an empty batch is legal.
//
// Gradients: unfold's dx is fold of dy, fold's dx is unfold of dy. The explicit Jacobian of either holds a 1
// where column entry (c,r,s,p,q) and cell (c,h,w) are the same, which is found here cell by cell: r = (h +
// pad - p·stride) / dilation must be a whole number inside the window, s alike.
#pragma once

#include <numeric>

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

/// Attributes and shape rule of both.
struct window_grid {
  per_axis<2> window = {};  // 0: not given, which is an error
  per_axis<2> dilation = every_axis<2>(1);
  per_side<2> pad = {};
  per_axis<2> stride = every_axis<2>(1);
  bool operator==(const window_grid&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("window", self.window, at_least(1));
    visit("dilation", self.dilation, at_least(1));
    visit("pad", self.pad, at_least(0));
    visit("stride", self.stride, at_least(1));
  }

  /// Windows along one axis of an image with `cells` cells there. Throws shape_error if none fits.
  index_t windows(int axis, index_t cells) const {
    const auto i = static_cast<std::size_t>(axis);
    const window_axis a{axis_letter(2, axis), cells,        window[i], stride[i],
                        dilation[i],          pad.begin[i], pad.end[i]};
    if (!a.fits()) throw_window_too_large(a, "window");
    return (a.padded() - a.span()) / a.stride + 1;
  }

  /// Windows of an image of H×W cells. Throws shape_error if they cannot be counted.
  index_t windows_in(index_t H, index_t W) const {
    index_t count = 0;
    if (__builtin_mul_overflow(windows(0, H), windows(1, W), &count))
      throw shape_error("an image of " + std::to_string(H) + "x" + std::to_string(W) +
                        " has more than 2^63 windows");
    return count;
  }

  // The terms of one element: a is read along fixed steps, b is the constant 1 (see products.hpp).

  /// Of entry `flat` of the columns N,C·R·S,L: the cell of the image N,C,H,W that it copies, if it lies
  /// inside.
  void copied_cell(const shape& columns, const shape& image, index_t flat, product_list& list) const {
    const index_t H = image[2], W = image[3], Q = windows(1, W);
    const index_t l = flat % columns[2], s = flat / columns[2] % window[1];
    const index_t plane_row = flat / columns[2] / window[1], r = plane_row % window[0],
                  plane = plane_row / window[0];
    const index_t h = l / Q * stride[0] - pad.begin[0] + r * dilation[0];
    const index_t w = l % Q * stride[1] - pad.begin[1] + s * dilation[1];
    term_nest nest;
    nest.add({.count = inside(h, H) && inside(w, W) ? 1 : 0,
              .a = (plane * H + h) * W + w,
              .a_step = 0,
              .b = 0,
              .b_step = 0});
    nest.write(list);
  }

  /// Of cell `flat` of the image N,C,H,W: the entries of the columns N,C·R·S,L that copy it. Along an axis
  /// these are the taps t for which stride divides i + pad - t·dilation: every (stride/gcd)-th tap, while the
  /// windows recede by dilation/gcd.
  void copies_of_cell(const shape& columns, const shape& image, index_t flat, product_list& list) const {
    term_nest nest;
    index_t window_step = 1, tap_step = columns[2];
    for (int axis = 1; axis >= 0; --axis) {
      const auto i = static_cast<std::size_t>(axis);
      const index_t cell = flat % image[2 + axis] + pad.begin[i], O = windows(axis, image[2 + axis]);
      flat /= image[2 + axis];
      const index_t common = std::gcd(stride[i], dilation[i]);
      const index_t t_step = stride[i] / common, o_step = dilation[i] / common;
      // The first tap whose distance is a multiple of the stride and whose window is not past the end.
      index_t t = std::max<index_t>(0, (cell - (O - 1) * stride[i] + dilation[i] - 1) / dilation[i]);
      const index_t tried = std::min(window[i], t + t_step);
      while (t < tried && (cell - t * dilation[i]) % stride[i] != 0) ++t;
      const bool any = t < tried && cell - t * dilation[i] >= 0;
      const index_t o = (cell - t * dilation[i]) / stride[i];
      nest.add({.count = any ? std::min((window[i] - 1 - t) / t_step, o / o_step) + 1 : 0,
                .a = t * tap_step + o * window_step,
                .a_step = t_step * tap_step - o_step * window_step,
                .b = 0,
                .b_step = 0});
      window_step *= O;
      tap_step *= window[i];
    }
    nest.add({.count = 1, .a = flat * tap_step, .a_step = 0, .b = 0, .b_step = 0});
    nest.write(list);
  }
};

struct unfold2d : window_grid {
  static constexpr std::string_view formula =
      "y[n, (c·R + r)·S + s, p·Q + q] = x[n, c, p·stride - pad + r·dilation, …]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const unfold2d&) const = default;

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nchw"}},
            .outputs = {{.name = "y", .axes = "nil"}},
            .passes = {{.name = "forward",
                        .reads = {"x"},
                        .writes = {"y"},
                        .linear_in = {{"x"}},
                        .contraction = {{.a = "x", .b = "", .addend = ""}}},
                       {.name = "backward",
                        .reads = {"dy"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}},
                        .contraction = {{.a = "dy", .b = "", .addend = ""}}}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    require_rank("x", x, 4, "N,C,H,W", true);
    index_t rows = 0;
    if (__builtin_mul_overflow(x[1], window[0] * window[1], &rows))
      throw shape_error(named("x", x) + " has more than 2^63 window cells");
    shape_map out;
    out.set("y", shape{x[0], rows, windows_in(x[2], x[3])});
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t R = window[0], S = window[1], H = x.extent(2), W = x.extent(3);
    const index_t P = windows(0, H), Q = windows(1, W);
    for (index_t n = 0; n < x.extent(0); ++n)
      for (index_t c = 0; c < x.extent(1); ++c)
        for (index_t r = 0; r < R; ++r)
          for (index_t s = 0; s < S; ++s)
            for (index_t p = 0; p < P; ++p)
              for (index_t q = 0; q < Q; ++q) {
                const index_t h = p * stride[0] - pad.begin[0] + r * dilation[0];
                const index_t w = q * stride[1] - pad.begin[1] + s * dilation[1];
                y(n, (c * R + r) * S + s, p * Q + q) =
                    inside(h, H) && inside(w, W) ? x(n, c, h, w) : Scalar(0);
              }
  }

  /// Every cell collects the columns in which it appears.
  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t R = window[0], S = window[1];
    const index_t P = windows(0, dx.extent(2)), Q = windows(1, dx.extent(3));
    for_each_index(dx.extents(), [&](const shape& at) {
      Scalar sum = Scalar(0);
      for (index_t r = 0; r < R; ++r)
        for (index_t s = 0; s < S; ++s) {
          const index_t ph = at[2] + pad.begin[0] - r * dilation[0];  // = p·stride_h, if the copy exists
          const index_t qw = at[3] + pad.begin[1] - s * dilation[1];
          if (ph < 0 || qw < 0 || ph % stride[0] != 0 || qw % stride[1] != 0) continue;
          const index_t p = ph / stride[0], q = qw / stride[1];
          if (p < P && q < Q) sum += dy(at[0], (at[1] * R + r) * S + s, p * Q + q);
        }
      dx(at) = sum;
    });
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    const index_t P = windows(0, x[2]), Q = windows(1, x[3]);
    index_t cell = 0;
    for_each_index(x, [&](const shape& at) {
      for (index_t p = 0; p < P; ++p)
        for (index_t q = 0; q < Q; ++q) {
          const index_t down = at[2] - (p * stride[0] - pad.begin[0]);  // from the corner of the window
          const index_t right = at[3] - (q * stride[1] - pad.begin[1]);
          if (down % dilation[0] != 0 || !inside(down / dilation[0], window[0])) continue;
          if (right % dilation[1] != 0 || !inside(right / dilation[1], window[1])) continue;
          const index_t plane = at[0] * x[1] + at[1];
          const index_t row = (plane * window[0] + down / dilation[0]) * window[1] + right / dilation[1];
          emit("y", (row * P + p) * Q + q, "x", cell, Scalar(1));
        }
      ++cell;
    });
  }

  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    if (pass == "forward")
      copied_cell(shapes["y"], shapes["x"], flat, list);
    else
      copies_of_cell(shapes["y"], shapes["x"], flat, list);
  }
};

struct fold2d : window_grid {
  per_axis<2> output = {};  // 0: not given, which is an error

  static constexpr std::string_view formula =
      "y[n, c, p·stride - pad + r·dilation, …] += x[n, (c·R + r)·S + s, p·Q + q]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const fold2d&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("output", self.output, at_least(1));
    window_grid::attributes(self, visit);
  }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nil"}},
            .outputs = {{.name = "y", .axes = "nchw"}},
            .passes = {{.name = "forward",
                        .reads = {"x"},
                        .writes = {"y"},
                        .linear_in = {{"x"}},
                        .contraction = {{.a = "x", .b = "", .addend = ""}}},
                       {.name = "backward",
                        .reads = {"dy"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}},
                        .contraction = {{.a = "dy", .b = "", .addend = ""}}}}};
  }

  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    require_rank("x", x, 3, "N,C*R*S,L", true);
    if (x[1] % (window[0] * window[1]) != 0)
      throw shape_error(named("x", x) + " has " + std::to_string(x[1]) +
                        " rows, no multiple of the cells of window=" + attribute::print(window, true) +
                        "; expected C*R*S");
    const index_t expected = windows_in(output[0], output[1]);
    if (x[2] != expected)
      throw shape_error(named("x", x) + " has " + std::to_string(x[2]) + " columns but output=" +
                        attribute::print(output, true) + " has " + std::to_string(expected) + " windows");
    shape_map out;
    out.set("y", shape{x[0], x[1] / (window[0] * window[1]), output[0], output[1]});
    return out;
  }

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    for (index_t i = 0; i < y.size(); ++i) y[i] = Scalar(0);
    const index_t R = window[0], S = window[1], H = output[0], W = output[1];
    const index_t P = windows(0, H), Q = windows(1, W);
    for (index_t n = 0; n < y.extent(0); ++n)
      for (index_t c = 0; c < y.extent(1); ++c)
        for (index_t r = 0; r < R; ++r)
          for (index_t s = 0; s < S; ++s)
            for (index_t p = 0; p < P; ++p)
              for (index_t q = 0; q < Q; ++q) {
                const index_t h = p * stride[0] - pad.begin[0] + r * dilation[0];
                const index_t w = q * stride[1] - pad.begin[1] + s * dilation[1];
                if (inside(h, H) && inside(w, W)) y(n, c, h, w) += x(n, (c * R + r) * S + s, p * Q + q);
              }
  }

  /// Every column entry fetches the cotangent of its cell.
  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t Q = windows(1, output[1]);
    for_each_index(dx.extents(), [&](const shape& at) {
      const index_t c = at[1] / window[1] / window[0], r = at[1] / window[1] % window[0],
                    s = at[1] % window[1];
      const index_t h = at[2] / Q * stride[0] + r * dilation[0] - pad.begin[0];
      const index_t w = at[2] % Q * stride[1] + s * dilation[1] - pad.begin[1];
      const bool outside = h < 0 || w < 0 || h >= output[0] || w >= output[1];
      dx(at) = outside ? Scalar(0) : dy(at[0], c, h, w);
    });
  }

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents();
    const index_t P = windows(0, output[0]), Q = x[2] / P;
    const shape y{x[0], x[1] / window[0] / window[1], output[0], output[1]};
    index_t row = 0;
    for_each_index(y, [&](const shape& at) {
      for (index_t p = 0; p < P; ++p)
        for (index_t q = 0; q < Q; ++q) {
          const index_t down = at[2] + pad.begin[0] - p * stride[0];  // from the corner of the window
          const index_t right = at[3] + pad.begin[1] - q * stride[1];
          if (down % dilation[0] != 0 || !inside(down / dilation[0], window[0])) continue;
          if (right % dilation[1] != 0 || !inside(right / dilation[1], window[1])) continue;
          const index_t entry = (at[1] * window[0] + down / dilation[0]) * window[1] + right / dilation[1];
          emit("y", row, "x", (at[0] * x[1] + entry) * x[2] + p * Q + q, Scalar(1));
        }
      ++row;
    });
  }

  void products(std::string_view pass, const shape_map& shapes, index_t flat, product_list& list) const {
    if (pass == "forward")
      copies_of_cell(shapes["x"], shapes["y"], flat, list);
    else
      copied_cell(shapes["x"], shapes["y"], flat, list);
  }
};

}  // namespace plumb
