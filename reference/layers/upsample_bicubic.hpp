// Bicubic upsampling of images: along each axis four cells around the position s of an output are weighted by
// Keys' cubic convolution kernel with a = -3/4 (Keys 1981, "Cubic convolution interpolation for digital image
// processing"),
//
//   y[p] = Σ_{k=-1..2} K(s - (i+k)) · x[clamp(i+k, 0, I-1)],      i = ⌊s⌋
//   K(t) = (a+2)|t|³ - (a+3)|t|² + 1            for |t| ≤ 1
//          a|t|³ - 5a|t|² + 8a|t| - 4a          for 1 < |t| < 2,  0 beyond
//
//   align_corners = false   s = r·(p + ½) - ½, which may be negative; step r from `size` or `scale`
//                           (resize.hpp)
//   align_corners = true    s = p·(I-1)/(O-1), and 0 if O = 1
//
// and over both axes the tensor product. Cells beyond the border repeat it. i is found in exact integers, for
// every scalar; y is continuous in s. An axis with O = I is not copied where scale ≠ 1, unlike in the linear
// modes (torch's backward copies where its forward does not: not followed, the gradient is the transpose of
// the forward).
// Shapes: x = N,C,H,W   y = N,C,P,Q.   Conventions as torch 1.13.1.
//
// Gradient: the transpose, every output deals dy out to its 4×4 cells; several taps may fall on one border
// cell. Jacobian: the weight of cell i is the sum of K over all taps that fall on it.
#pragma once

#include "reference/layers/resize.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct upsample_bicubic : resize<2> {
  bool align_corners = false;

  static constexpr std::string_view formula =
      "y[p] = Σ_k K(s - k)·x[k], K Keys' cubic, s = r·(p + 1/2) - 1/2";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const upsample_bicubic&) const = default;

  static void attributes(auto& self, auto&& visit) {
    resize<2>::attributes(self, visit);
    visit("align_corners", self.align_corners);
  }

  // Definition 1: the formula -------------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"], y = tensor_view<const Scalar>(out["y"]);
    const auto axes = axes_of(in_three_axes(x), in_three_axes(y));
    const index_t N = x.extent(0), C = x.extent(1), H = x.extent(2), W = x.extent(3);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t p = 0; p < y.extent(2); ++p)
          for (index_t q = 0; q < y.extent(3); ++q) {
            const auto [h, s] = position<Scalar>(axes[1], p);
            const auto [w, t] = position<Scalar>(axes[2], q);
            Scalar sum = Scalar(0);
            for (index_t k = h - 1; k <= h + 2; ++k)
              for (index_t l = w - 1; l <= w + 2; ++l)
                sum += cubic<Scalar>(s - Scalar(k)) * cubic<Scalar>(t - Scalar(l)) *
                       x(n, c, std::clamp<index_t>(k, 0, H - 1), std::clamp<index_t>(l, 0, W - 1));
            out["y"](n, c, p, q) = sum;
          }
  }

  // Definition 2: every output deals its cotangent out ------------------------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const auto axes = axes_of(in_three_axes(dx), in_three_axes(dy));
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = Scalar(0);
    for_each_index(dy.extents(), [&](const shape& at) {
      const auto [h, by_row] = shares<Scalar>(axes[1], at[2]);
      const auto [w, by_column] = shares<Scalar>(axes[2], at[3]);
      for (index_t k = 0; k < 4; ++k)
        for (index_t l = 0; l < 4; ++l) {
          const index_t row = std::min(std::max<index_t>(h + k, 0), dx.extent(2) - 1);
          const index_t column = std::min(std::max<index_t>(w + l, 0), dx.extent(3) - 1);
          dx(at[0], at[1], row, column) +=
              by_row[static_cast<std::size_t>(k)] * by_column[static_cast<std::size_t>(l)] * dy(at);
        }
    });
  }

  // Definition 3: the explicit Jacobian ---------------------------------------------------------------------

  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents(), y = resized(x);
    std::array<std::vector<Scalar>, 2> weights;  // by axis: of cell i in output o, at o·I + i
    for (int axis = 0; axis < 2; ++axis)
      for (index_t o = 0; o < y[2 + axis]; ++o)
        for (index_t i = 0; i < x[2 + axis]; ++i)
          weights[static_cast<std::size_t>(axis)].push_back(
              weight<Scalar>(axis, x[2 + axis], y[2 + axis], o, i));
    index_t row = 0;
    for_each_index(y, [&](const shape& at) {
      for (index_t h = 0; h < x[2]; ++h)
        for (index_t w = 0; w < x[3]; ++w) {
          const Scalar entry = weights[0][static_cast<std::size_t>(at[2] * x[2] + h)] *
                               weights[1][static_cast<std::size_t>(at[3] * x[3] + w)];
          if (entry != Scalar(0)) emit("y", row, "x", ((at[0] * x[1] + at[1]) * x[2] + h) * x[3] + w, entry);
        }
      ++row;
    });
  }

 private:
  /// ⌊s⌋ and s.
  template <class Scalar>
  std::pair<index_t, Scalar> position(const resized_axis& a, index_t o) const {
    if (align_corners) {
      if (a.out == 1) return {0, Scalar(0)};
      return {o * (a.in - 1) / (a.out - 1), Scalar(a.in - 1) / Scalar(a.out - 1) * Scalar(o)};
    }
    const Scalar r = Scalar(a.over) / Scalar(a.under), half = Scalar(1) / Scalar(2);
    return {floor_div(a.over * (2 * o + 1) - a.under, 2 * a.under), r * (Scalar(o) + half) - half};
  }

  /// Keys' kernel.
  template <class Scalar>
  static Scalar cubic(const Scalar& x) {
    const Scalar a = Scalar(-3) / Scalar(4), t = x < Scalar(0) ? Scalar(-x) : x;
    if (t <= Scalar(1)) return ((a + Scalar(2)) * t - (a + Scalar(3))) * t * t + Scalar(1);
    return ((a * t - Scalar(5) * a) * t + Scalar(8) * a) * t - Scalar(4) * a;
  }

  /// The first of the four cells of output o, and the kernel expanded at its distances 1+t, t, 1-t and 2-t:
  /// a·t·(1-t)², 1 - t²·((a+3) - (a+2)·t), and these again with 1-t for t, in mirrored order.
  template <class Scalar>
  std::pair<index_t, std::array<Scalar, 4>> shares(const resized_axis& a, index_t o) const {
    index_t over = (2 * o + 1) * a.over - a.under, under = 2 * a.under;
    if (align_corners) {
      over = o * (a.in - 1);
      under = std::max<index_t>(1, a.out - 1);
    }
    const index_t rest = (over % under + under) % under;
    const Scalar near = Scalar(rest) / Scalar(under), far = Scalar(under - rest) / Scalar(under);
    const auto outer = [](const Scalar& t, const Scalar& u) { return Scalar(-3) * t * u * u / Scalar(4); };
    const auto inner = [](const Scalar& t) {
      return Scalar(1) - t * t * (Scalar(9) - Scalar(5) * t) / Scalar(4);
    };
    return {(over - rest) / under - 1, {outer(near, far), inner(near), inner(far), outer(far, near)}};
  }

  /// Of cell i in output o: the sum of the kernel over all taps that fall on it.
  template <class Scalar>
  Scalar weight(int axis, index_t I, index_t O, index_t o, index_t i) const {
    Scalar s = Scalar(o);
    if (align_corners) {
      s = O > 1 ? Scalar(o * (I - 1)) / Scalar(O - 1) : Scalar(0);
    } else {
      const Scalar step =
          scaled() ? Scalar(1) / scale[static_cast<std::size_t>(axis)].as<Scalar>() : Scalar(I) / Scalar(O);
      s = (Scalar(2 * o + 1) * step - Scalar(1)) / Scalar(2);
    }
    Scalar sum = Scalar(0);
    for (index_t k = -2; k <= I + 1; ++k) {  // -½ <= s < I
      const Scalar t = s < Scalar(k) ? Scalar(Scalar(k) - s) : Scalar(s - Scalar(k));
      if (t >= Scalar(2) || std::clamp<index_t>(k, 0, I - 1) != i) continue;
      sum += t > Scalar(1) ? Scalar(-3) / Scalar(4) * (t - Scalar(1)) * (t - Scalar(2)) * (t - Scalar(2))
                           : (Scalar(5) * t * t * t - Scalar(9) * t * t + Scalar(4)) / Scalar(4);
    }
    return sum;
  }
};

}  // namespace plumb
