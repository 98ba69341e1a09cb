// Nearest-neighbour upsampling of rank 1, 2 or 3: every output copies one cell of x,
//
//   y[n,c,o,p,q] = x[n, c, i(o), i(p), i(q)]      nearest:        i(o) = min(⌊o·r⌋, I - 1)
//                                                 nearest_exact:  i(o) = min(⌊(o + ½)·r⌋, I - 1)
//
// with the step r of each axis from `size` or `scale` (resize.hpp). The choice is made in single precision,
// for every scalar: r is rounded to float and so is the product. This is part of the definition, not an
// accident to be repaired (OpenCV's INTER_NEAREST and PyTorch keep it for compatibility), and there are no
// shortcuts for O = I or O = 2I, in which torch's backward and channels-last passes differ from its forward
// (pytorch #97135).
// Shapes: x = N,C,[D,][H,]W   y = N,C,[O,][P,]Q.   Conventions as torch 1.13.1's contiguous forward.
//
// Gradient: the transpose, dx[n,c,d,h,w] = Σ over the o,p,q that copy this cell of dy[n,c,o,p,q]; the
// explicit Jacobian has a single 1 in every row.
#pragma once

#include "reference/layers/resize.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

template <int Rank, bool Exact>
struct upsample_by_copying : resize<Rank> {
  static constexpr std::string_view formula =
      Exact ? "y[o] = x[min(⌊(o + 1/2)·r⌋, I - 1)]" : "y[o] = x[min(⌊o·r⌋, I - 1)]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const upsample_by_copying&) const = default;

  static signature describe() {
    signature s = resize<Rank>::describe();
    s.passes[0].selects = true;
    return s;
  }

  // Definition 1: the formula -------------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in_three_axes(in["x"]);
    const auto y = in_three_axes(out["y"]);
    const auto [along_d, along_h, along_w] = this->axes_of(x, y);
    const auto [N, C, O, P, Q] = extents_of(y);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t o = 0; o < O; ++o)
          for (index_t p = 0; p < P; ++p)
            for (index_t q = 0; q < Q; ++q)
              y(n, c, o, p, q) = x(n, c, source(along_d, o), source(along_h, p), source(along_w, q));
  }

  // Definition 2: the outputs that copy one cell are neighbours, so dy is dealt out run by run --------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& /*in*/, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto dy = in_three_axes(cotangent["dy"]);
    const auto dx = in_three_axes(gradient["dx"]);
    const auto axes = this->axes_of(dx, dy);
    const std::array<std::vector<index_t>, 3> runs = {runs_of(axes[0]), runs_of(axes[1]), runs_of(axes[2])};
    const auto [N, C, D, H, W] = extents_of(dx);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t d = 0; d < D; ++d)
          for (index_t h = 0; h < H; ++h)
            for (index_t w = 0; w < W; ++w) {
              const auto first = [&](std::size_t axis, index_t cell) {
                return runs[axis][static_cast<std::size_t>(cell)];
              };
              Scalar sum = Scalar(0);
              for (index_t o = first(0, d); o < first(0, d + 1); ++o)
                for (index_t p = first(1, h); p < first(1, h + 1); ++p)
                  for (index_t q = first(2, w); q < first(2, w + 1); ++q) sum += dy(n, c, o, p, q);
              dx(n, c, d, h, w) = sum;
            }
  }

  // Definition 3: the explicit Jacobian ---------------------------------------------------------------------

  /// Output and cell meet where the position lies in [i, i+1), or beyond the last cell.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const shape x = in["x"].extents(), y = this->resized(x);
    index_t row = 0;
    for_each_index(y, [&](const shape& output) {
      index_t column = output[0] * x[1] + output[1];
      for (int axis = 2; axis < Rank + 2; ++axis) {
        const auto own = static_cast<std::size_t>(axis - 2);
        const float o = static_cast<float>(output[axis]) + (Exact ? 0.5F : 0.0F);
        const float r = this->scaled() ? static_cast<float>(1 / this->scale[own].template as<double>())
                                       : static_cast<float>(x[axis]) / static_cast<float>(y[axis]);
        index_t cell = x[axis] - 1;
        for (index_t i = 0; i < x[axis]; ++i)
          if (static_cast<float>(i) <= o * r && o * r < static_cast<float>(i + 1)) cell = i;
        column = column * x[axis] + cell;
      }
      emit("y", row++, "x", column, Scalar(1));
    });
  }

 private:
  using axis_type = typename resize<Rank>::resized_axis;

  static index_t source(const axis_type& a, index_t o) {
    const float r = static_cast<float>(static_cast<double>(a.over) / static_cast<double>(a.under));
    const float position = Exact ? (static_cast<float>(o) + 0.5F) * r : static_cast<float>(o) * r;
    return std::min(static_cast<index_t>(std::floor(position)), a.in - 1);
  }

  /// first[i] … first[i+1]-1 are the outputs that copy cell i: a cell's run starts where the position reaches
  /// i.
  static std::vector<index_t> runs_of(const axis_type& a) {
    const float r = static_cast<float>(static_cast<double>(a.over) / static_cast<double>(a.under));
    std::vector<index_t> first = {0};
    index_t o = 0;
    for (index_t cell = 1; cell < a.in; ++cell) {
      while (o < a.out && (static_cast<float>(o) + (Exact ? 0.5F : 0.0F)) * r < static_cast<float>(cell)) ++o;
      first.push_back(o);
    }
    first.push_back(a.out);
    return first;
  }
};

template <int Rank>
using upsample_nearest = upsample_by_copying<Rank, false>;
template <int Rank>
using upsample_nearest_exact = upsample_by_copying<Rank, true>;

}  // namespace plumb
