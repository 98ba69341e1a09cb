// unfold2d and fold2d, forward and backward, for every instruction set: images laid out in columns, columns added up to
// images.
//   y[n, (c·R + r)·S + s, p·Q + q] = x[n, c, p·stride - pad + r·dilation, q·stride - pad + s·dilation], 0 outside
// A plane is first taken apart into a near copy: its columns by their remainder modulo the stride, zeros left and right.
// There the Q numbers that one row of windows reads under one tap are neighbours, and no border is left to ask about:
// laying out copies rows, adding up adds rows, in the order r, s of the definition, and the sums are put together last.
// NHWC turns sixteen channels into planes on the way in, or back on the way out. Planes belong to one thread each.
#include <algorithm>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/unfold.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef PLUMB_UNFOLD_TYPES
#define PLUMB_UNFOLD_TYPES
namespace plumb {

/// The windows on a plane along one axis.
struct unfold_axis {
  index_t cells = 0, window = 1, stride = 1, dilation = 1, pad = 0, windows = 0;
};
/// A plane and its copy: column w lies in part (w + pad) mod stride of its row, at (w + pad) / stride.
struct unfold_plane {
  unfold_axis rows, columns;
  index_t part = 0;  ///< numbers of a part, with a vector of any target to spare

  index_t row() const { return part * columns.stride; }
  /// Of tap s, in the copy of a row: what the first window reads.
  index_t tap(index_t s) const {
    const index_t at = s * columns.dilation;
    return at % columns.stride * part + at / columns.stride;
  }
};
struct unfold_functions {
  void (*lay_out)(const unfold_plane& plane, const float* copy, float* columns);
  void (*add_up)(const unfold_plane& plane, const float* columns, float* copy);
};

}  // namespace plumb
#endif

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using single = hn::CappedTag<float, 1>;
constexpr index_t lanes = HWY_LANES(float);

/// body(s, h, at) for every tap and row of windows: row h of the plane, and where its numbers are in the columns.
template <class Body>
HWY_INLINE void for_each_row(const unfold_plane& t, const Body& body) {
  index_t at = 0;
  for (index_t r = 0; r < t.rows.window; ++r)
    for (index_t s = 0; s < t.columns.window; ++s)
      for (index_t p = 0; p < t.rows.windows; ++p, at += t.columns.windows)
        body(s, p * t.rows.stride - t.rows.pad + r * t.rows.dilation, at);
}

/// Whole vectors: what a row writes too much, the next one overwrites; only the last ones must end where they do.
void lay_out(const unfold_plane& t, const float* copy, float* columns) {
  const numbers d;
  const index_t width = t.columns.windows, end = t.rows.window * t.columns.window * t.rows.windows * width;
  for_each_row(t, [&](index_t s, index_t h, index_t at) HWY_ATTR {
    const bool inside = h >= 0 && h < t.rows.cells;
    const float* from = copy + h * t.row() + t.tap(s);
    index_t q = 0;
    for (; q < width && at + q + lanes <= end; q += lanes)
      hn::StoreU(inside ? hn::LoadU(d, from + q) : hn::Zero(d), d, columns + at + q);
    for (; q < width; ++q) columns[at + q] = inside ? from[q] : 0.0F;
  });
}

void add_up(const unfold_plane& t, const float* columns, float* copy) {
  const numbers d;
  const single one;
  const index_t width = t.columns.windows;
  for_each_row(t, [&](index_t s, index_t h, index_t at) HWY_ATTR {
    if (h < 0 || h >= t.rows.cells) return;
    float* to = copy + h * t.row() + t.tap(s);
    index_t q = 0;
    for (; q + lanes <= width; q += lanes)
      hn::StoreU(hn::Add(hn::LoadU(d, to + q), hn::LoadU(d, columns + at + q)), d, to + q);
    for (; q < width; ++q)
      hn::StoreU(hn::Add(hn::LoadU(one, to + q), hn::LoadU(one, columns + at + q)), one, to + q);
  });
}

}  // namespace

constexpr unfold_functions functions = {lay_out, add_up};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {
namespace {

class unfold_plan final : public plan {
 public:
  /// `image`: the tensor of the problem that is one. `lays_out`: it is read, not written.
  unfold_plan(const unfold_functions& functions, const tile_target& turn, const kernel_problem& kp,
              const char* image, bool lays_out)
      : run_(functions), turn_(turn), lays_out_(lays_out), last_(kp.layout == layout::nhwc) {
    const shape x = kp.problem.shape_of(image);
    images_ = x[0];
    channels_ = x[1];
    for (const int i : {0, 1}) {
      unfold_axis& a = i == 0 ? plane_.rows : plane_.columns;
      const auto at = static_cast<std::size_t>(i);
      const auto pad = kp.problem.integers("pad");
      a.cells = x[2 + i];
      a.window = kp.problem.integers("window")[at];
      a.stride = kp.problem.integers("stride")[at];
      a.dilation = kp.problem.integers("dilation")[at];
      a.pad = pad[2 * at];
      const index_t span = (a.window - 1) * a.dilation + 1;
      a.windows = (a.cells + a.pad + pad[2 * at + 1] - span) / a.stride + 1;
      if (i == 1)
        plane_.part =
            (std::max(a.cells + a.pad, (a.windows - 1) * a.stride + span) + a.stride - 1) / a.stride +
            aligned_buffer::line;
    }
    together_ = last_ ? aligned_buffer::line : 1;
    threads_ = kp.threads;
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(threads_ * scratch());
  }

  void run(const kernel_call& call) noexcept override {
    const auto* from = static_cast<const float*>(call.reads[0].data);
    auto* to = static_cast<float*>(call.writes[0].data);
    const index_t per_image = (channels_ + together_ - 1) / together_, tasks = images_ * per_image;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      float* copy = static_cast<float*>(call.workspace) + share * scratch();
      std::fill_n(copy, copy_size(), 0.0F);
      for (index_t i = tasks * share / call.threads; i < tasks * (share + 1) / call.threads; ++i)
        run_planes(i / per_image, i % per_image * together_, copy, from, to);
    }
  }

 private:
  index_t cells() const { return plane_.rows.cells * plane_.columns.cells; }
  index_t copy_size() const { return aligned_buffer::padded(plane_.rows.cells * plane_.row()); }
  index_t scratch() const { return copy_size() + (last_ ? aligned_buffer::padded(together_ * cells()) : 0); }
  index_t columns_size() const {
    return plane_.rows.window * plane_.columns.window * plane_.rows.windows * plane_.columns.windows;
  }

  /// Channels from `c` of one image, as many as are worked on together.
  void run_planes(index_t n, index_t c, float* copy, const float* from, float* to) const {
    const index_t count = std::min(together_, channels_ - c);
    const index_t first = (n * channels_ + c) * columns_size();
    const index_t image = n * channels_ * cells() + (last_ ? c : c * cells());
    float* planes = copy + copy_size();
    if (lays_out_ && last_) turn_.transpose(from + image, channels_, cells(), count, planes, cells());
    for (index_t i = 0; i < count; ++i) {
      if (lays_out_) {
        take_apart((last_ ? planes : from + image) + i * cells(), copy);
        run_.lay_out(plane_, copy, to + first + i * columns_size());
      } else {
        std::fill_n(copy, copy_size(), 0.0F);
        run_.add_up(plane_, from + first + i * columns_size(), copy);
        put_together(copy, (last_ ? planes : to + image) + i * cells());
      }
    }
    if (!lays_out_ && last_) turn_.transpose(planes, cells(), count, cells(), to + image, channels_);
  }

  void take_apart(const float* plane, float* copy) const {
    for_each_part([&](index_t in_plane, index_t in_copy, index_t count, index_t step) {
      if (step == 1)
        std::copy_n(plane + in_plane, count, copy + in_copy);
      else
        for (index_t i = 0; i < count; ++i) copy[in_copy + i] = plane[in_plane + i * step];
    });
  }
  void put_together(const float* copy, float* plane) const {
    for_each_part([&](index_t in_plane, index_t in_copy, index_t count, index_t step) {
      if (step == 1)
        std::copy_n(copy + in_copy, count, plane + in_plane);
      else
        for (index_t i = 0; i < count; ++i) plane[in_plane + i * step] = copy[in_copy + i];
    });
  }

  /// body(first in the plane, first in the copy, count, step in the plane) for the columns of one remainder of each row.
  template <class Body>
  void for_each_part(const Body& body) const {
    const unfold_axis& a = plane_.columns;
    for (index_t h = 0; h < plane_.rows.cells; ++h)
      for (index_t w = 0; w < std::min(a.stride, a.cells); ++w)
        body(h * a.cells + w,
             h * plane_.row() + (w + a.pad) % a.stride * plane_.part + (w + a.pad) / a.stride,
             (a.cells - w + a.stride - 1) / a.stride, a.stride);
  }

  const unfold_functions& run_;
  const tile_target& turn_;
  bool lays_out_, last_;
  index_t images_ = 0, channels_ = 0, together_ = 1, threads_ = 1;
  unfold_plane plane_;
};

}  // namespace

void register_unfold(registry& kernels) {
  for (const auto& set : target_tables<unfold_functions>(PLUMB_TARGET_TABLES(functions))) {
    const tile_target& turn = *std::ranges::find(tile_targets(), set.name, &tile_target::name);
    for (const bool unfolds : {true, false})
      for (const bool forward : {true, false}) {
        kernel k = target_row(unfolds ? "unfold2d" : "fold2d", forward ? "forward" : "backward", "rows",
                              set.name, set.runs_here);
        const bool lays_out = unfolds == forward;
        if (lays_out) k.arithmetic = "exact";
        k.supports = [](const kernel_problem& kp) {
          return knows(kp, {"x", "y", "window", "stride", "pad", "dilation", "output"});
        };
        k.make_plan = [&f = *set.functions, &turn, image = unfolds ? "x" : "y",
                       lays_out](const kernel_problem& kp) -> std::unique_ptr<plan> {
          return std::make_unique<unfold_plan>(f, turn, kp, image, lays_out);
        };
        kernels.add(std::move(k));
      }
  }
}

}  // namespace plumb
#endif
