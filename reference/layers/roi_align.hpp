// Region-of-interest align (He et al. 2017, "Mask R-CNN"; ONNX RoiAlign, torchvision.ops.roi_align): each box
// is cut into P×Q bins, and a bin is the mean of x at a regular grid of samples in it, read between cells.
//
//   boxes[k] = (x1, y1, x2, y2) in image units, of sample n = batch[k]. In cells of x (top and height alike)
//     left = x1·spatial_scale - (½ if aligned)      width = (x2 - x1)·spatial_scale, at least 1 unless aligned
//   y[k,c,p,q] = 1/(R·S) · Σ_{r<R} Σ_{s<S} sample(n, c, top  + (p + (r + ½)/R)·height/P,
//                                                       left + (q + (s + ½)/S)·width/Q)
//   R = S = sampling_ratio, or where that is 0, R = ⌈height/P⌉ and S = ⌈width/Q⌉; y = 0 if one of them is ≤ 0
//
//   sample(n,c,h,w)  0 if h < -1, h > H, w < -1 or w > W: more than one cell outside. Else h and w are
//                    clipped to [0, H-1] and [0, W-1] and x is read bilinearly between its four cells
//   aligned          half a pixel is subtracted, so that a box of whole cells reads their centres. Boxes of
//                    negative size are legal and read backwards
// Shapes: x = N,C,H,W   boxes = K,4   batch = K   y = K,C,P,Q with size=PxQ.   Boxes are not differentiated.
// Conventions as torchvision 0.14 (defaults too), whose sampling_ratio=-1 is written 0 here.
//
// Gradient: every sample deals dy/(R·S) out to its four cells. Jacobian: the tensor product of the hat
// functions of all samples of a bin, max(0, 1-|h-i|)·max(0, 1-|w-j|), divided by their number.
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/layers/whole_numbers.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct roi_align2d {
  per_axis<2> size = {};  // 0: not given, which is an error
  decimal spatial_scale = {1, 1};
  index_t sampling_ratio = 0;
  bool aligned = false;

  static constexpr std::string_view formula =
      "y[k,c,p,q] = mean of x[batch[k],c] at R×S samples in bin (p,q) of boxes[k]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const roi_align2d&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("size", self.size, at_least(1));
    visit("spatial_scale", self.spatial_scale, range{0, 1000000});
    visit("sampling_ratio", self.sampling_ratio, at_least(0));
    visit("aligned", self.aligned);
  }

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const tensor_spec boxes = {
        .name = "boxes", .differentiable = false, .values = domain::position, .axes = "k4"};
    const tensor_spec batch = {.name = "batch", .kind = element::index, .differentiable = false, .axes = "k"};
    return {.inputs = {{.name = "x", .batch_axis = no_batch, .axes = "nchw"}, boxes, batch},
            .outputs = {{.name = "y", .axes = "kcpq"}},
            .passes = {
                {.name = "forward", .reads = {"x", "boxes", "batch"}, .writes = {"y"}, .linear_in = {{"x"}}},
                {.name = "backward",
                 .reads = {"dy", "boxes", "batch"},
                 .writes = {"dx"},
                 .linear_in = {{"dy"}}}}};
  }

  /// Boxes name samples of x.
  index_t index_bound(std::string_view /*batch*/, const shape_map& shapes) const { return shapes["x"][0]; }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"], boxes = in["boxes"], batch = in["batch"];
    require_rank("x", x, 4, "N,C,H,W", false);
    require_rank("boxes", boxes, 2, "K,4", true);
    if (boxes[1] != 4) throw shape_error(named("boxes", boxes) + " must hold x1,y1,x2,y2 a box: boxes=K,4");
    if (!(batch == shape{boxes[0]}))
      throw shape_error(named("batch", batch) +
                        " must name the sample of each box: batch=" + std::to_string(boxes[0]));
    shape_map out;
    out.set("y", {boxes[0], x[1], size[0], size[1]});
    return out;
  }

  // Definition 1: the formula -------------------------------------------------------------------------------

  template <class Scalar>
  void forward(const bundle<const Scalar>& in, const bundle<Scalar>& out) const {
    const auto x = in["x"], boxes = in["boxes"];
    const auto batch = in.indices("batch");
    const auto y = out["y"];
    const index_t H = x.extent(2), W = x.extent(3), P = y.extent(2), Q = y.extent(3);
    const Scalar unit = spatial_scale.as<Scalar>(), half = Scalar(1) / Scalar(2);
    for (index_t k = 0; k < y.extent(0); ++k) {
      const index_t n = batch(k);
      require_sample(n, k, x.extent(0));
      const Scalar left = boxes(k, 0) * unit - (aligned ? half : Scalar(0));
      const Scalar top = boxes(k, 1) * unit - (aligned ? half : Scalar(0));
      Scalar width = (boxes(k, 2) - boxes(k, 0)) * unit, height = (boxes(k, 3) - boxes(k, 1)) * unit;
      if (!aligned && width < Scalar(1)) width = Scalar(1);
      if (!aligned && height < Scalar(1)) height = Scalar(1);
      const Scalar bin_h = height / Scalar(P), bin_w = width / Scalar(Q);
      const index_t R = sampling_ratio > 0 ? sampling_ratio : ceil_of(bin_h);
      const index_t S = sampling_ratio > 0 ? sampling_ratio : ceil_of(bin_w);
      for (index_t c = 0; c < y.extent(1); ++c)
        for (index_t p = 0; p < P; ++p)
          for (index_t q = 0; q < Q; ++q) {
            Scalar sum = Scalar(0);
            for (index_t r = 0; r < R; ++r)
              for (index_t s = 0; s < S; ++s) {
                const Scalar h = top + (Scalar(p) + (Scalar(r) + half) / Scalar(R)) * bin_h;
                const Scalar w = left + (Scalar(q) + (Scalar(s) + half) / Scalar(S)) * bin_w;
                if (h < Scalar(-1) || h > Scalar(H) || w < Scalar(-1) || w > Scalar(W)) continue;
                const auto [i, below, t] = between(h, H);
                const auto [j, right, u] = between(w, W);
                const Scalar upper = (Scalar(1) - u) * x(n, c, i, j) + u * x(n, c, i, right);
                const Scalar lower = (Scalar(1) - u) * x(n, c, below, j) + u * x(n, c, below, right);
                sum += (Scalar(1) - t) * upper + t * lower;
              }
            y(k, c, p, q) = R > 0 && S > 0 ? sum / Scalar(R * S) : Scalar(0);
          }
    }
  }

  // Definition 2: every sample deals its share of dy out ----------------------------------------------------

  template <class Scalar>
  void vjp(const bundle<const Scalar>& in, const bundle<const Scalar>& /*out*/,
           const bundle<const Scalar>& cotangent, const bundle<Scalar>& gradient) const {
    const auto boxes = in["boxes"], dy = cotangent["dy"];
    const auto batch = in.indices("batch");
    const auto dx = gradient["dx"];
    for (index_t i = 0; i < dx.size(); ++i) dx[i] = Scalar(0);
    for_each_index(dy.extents(), [&](const shape& at) {
      const index_t k = at[0], c = at[1];
      require_sample(batch(k), k, dx.extent(0));
      const std::vector<Scalar> rows = places<Scalar>(boxes(k, 1), boxes(k, 3), at[2], 0);
      const std::vector<Scalar> columns = places<Scalar>(boxes(k, 0), boxes(k, 2), at[3], 1);
      for (const Scalar& h : rows)
        for (const Scalar& w : columns) {
          if (!near_image(h, dx.extent(2)) || !near_image(w, dx.extent(3))) continue;
          const Scalar a = clipped(h, dx.extent(2)), b = clipped(w, dx.extent(3));
          const index_t i = floor_of(a), j = floor_of(b);
          const Scalar share = dy(at) / Scalar(static_cast<index_t>(rows.size() * columns.size()));
          const Scalar low = a - Scalar(i), far = b - Scalar(j);
          // At the last cell nothing is left for the next one, which is not there.
          dx(batch(k), c, i, j) += share * (Scalar(1) - low) * (Scalar(1) - far);
          if (far > Scalar(0)) dx(batch(k), c, i, j + 1) += share * (Scalar(1) - low) * far;
          if (low > Scalar(0)) dx(batch(k), c, i + 1, j) += share * low * (Scalar(1) - far);
          if (low > Scalar(0) && far > Scalar(0)) dx(batch(k), c, i + 1, j + 1) += share * low * far;
        }
    });
  }

  // Definition 3: the explicit Jacobian ---------------------------------------------------------------------

  /// The samples of a bin form a grid, so that the weight of a cell is a product of two sums of hat
  /// functions.
  template <class Scalar, class Emit>
  void jacobian(const bundle<const Scalar>& in, Emit&& emit) const {
    const auto boxes = in["boxes"];
    const auto batch = in.indices("batch");
    const shape x = in["x"].extents();
    const auto [P, Q] = size;
    for (index_t k = 0; k < boxes.extent(0); ++k) {
      require_sample(batch(k), k, x[0]);
      for (index_t bin = 0; bin < P * Q; ++bin) {
        const std::vector<Scalar> by_row = means<Scalar>(boxes(k, 1), boxes(k, 3), P, bin / Q, x[2]);
        const std::vector<Scalar> by_column = means<Scalar>(boxes(k, 0), boxes(k, 2), Q, bin % Q, x[3]);
        for (index_t c = 0; c < x[1]; ++c)
          for (index_t cell = 0; cell < x[2] * x[3]; ++cell) {
            const Scalar weight = by_row[static_cast<std::size_t>(cell / x[3])] *
                                  by_column[static_cast<std::size_t>(cell % x[3])];
            if (weight == Scalar(0)) continue;
            emit("y", (k * x[1] + c) * P * Q + bin, "x", (batch(k) * x[1] + c) * x[2] * x[3] + cell, weight);
          }
      }
    }
  }

 private:
  static void require_sample(index_t n, index_t k, index_t samples) {
    if (n < 0 || n >= samples)
      throw std::invalid_argument("batch[" + std::to_string(k) + "] = " + std::to_string(n) +
                                  " is no sample of x; expected 0 to " + std::to_string(samples - 1));
  }

  /// The two cells around a place that is clipped to the image, and the weight of the second.
  template <class Scalar>
  static std::tuple<index_t, index_t, Scalar> between(const Scalar& v, index_t I) {
    if (!(v > Scalar(0))) return {0, 0, Scalar(0)};
    const index_t i = floor_of(v);
    if (i >= I - 1) return {I - 1, I - 1, Scalar(0)};
    return {i, i + 1, v - Scalar(i)};
  }

  /// Along one axis (0: h, 1: w): where the samples of a bin lie.
  template <class Scalar>
  std::vector<Scalar> places(const Scalar& from, const Scalar& to, index_t bin, std::size_t axis) const {
    const Scalar start = from * spatial_scale.as<Scalar>(), end = to * spatial_scale.as<Scalar>();
    Scalar step = (end - start) / Scalar(size[axis]);
    if (!aligned && end - start < Scalar(1)) step = Scalar(1) / Scalar(size[axis]);
    const index_t count =
        sampling_ratio > 0 ? sampling_ratio : std::max<index_t>(0, -floor_of(Scalar(-step)));
    std::vector<Scalar> list;
    for (index_t i = 0; i < count; ++i) {
      const Scalar at = start + step * Scalar(2 * (bin * count + i) + 1) / Scalar(2 * count);
      list.push_back(aligned ? at - Scalar(1) / Scalar(2) : at);
    }
    return list;
  }
  template <class Scalar>
  static bool near_image(const Scalar& v, index_t I) {
    return v >= Scalar(-1) && v <= Scalar(I);
  }
  template <class Scalar>
  static Scalar clipped(const Scalar& v, index_t I) {
    if (v < Scalar(0)) return Scalar(0);
    return v > Scalar(I - 1) ? Scalar(I - 1) : v;
  }

  /// Along one axis of I cells cut into `bins`: the mean weight of each cell over the samples of a bin.
  template <class Scalar>
  std::vector<Scalar> means(const Scalar& from, const Scalar& to, index_t bins, index_t bin,
                            index_t I) const {
    const Scalar scale = spatial_scale.as<Scalar>();
    Scalar length = scale * (to - from);
    if (!aligned && length < Scalar(1)) length = Scalar(1);
    index_t samples = sampling_ratio;
    if (samples == 0)
      while (Scalar(samples * bins) < length) ++samples;
    std::vector<Scalar> weights(static_cast<std::size_t>(I), Scalar(0));
    for (index_t s = 0; s < samples; ++s) {
      const Scalar fraction = (Scalar(2 * s + 1) / Scalar(2 * samples) + Scalar(bin)) / Scalar(bins);
      Scalar v = scale * from + length * fraction;
      if (aligned) v -= Scalar(1) / Scalar(2);
      if (v < Scalar(-1) || v > Scalar(I)) continue;
      if (v < Scalar(0)) v = Scalar(0);
      if (v > Scalar(I - 1)) v = Scalar(I - 1);
      for (index_t i = 0; i < I; ++i) {
        const Scalar distance = v < Scalar(i) ? Scalar(Scalar(i) - v) : Scalar(v - Scalar(i));
        if (distance < Scalar(1))
          weights[static_cast<std::size_t>(i)] += (Scalar(1) - distance) / Scalar(samples);
      }
    }
    return weights;
  }
};

}  // namespace plumb
