// Upsampling (nearest, nearest_exact, linear) and padding (constant, reflection, replication, circular) of rank 1, 2
// and 3, forward and backward, for every instruction set: each is one sparse matrix an axis (axis_taps.hpp), and a row
// of the output is made in two steps.
//   down     the rows that its depth and height read are added up, weighted, into one row; a row that reads what the
//            row before it read is not added up again
//   across   NHWC: each pixel adds up the pixels it reads, lanes are channels. NCHW: lanes are neighbouring outputs, and
//            what they read for one tap lies in one vector or two, out of which a permutation picks it; where it does not
//            (a large step down), one output at a time
// Weights of 1 copy, so that nearest and padding are exact. Rows belong to one thread each.
#include <algorithm>
#include <array>
#include <limits>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/axis_taps.hpp"
#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/separable.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef PLUMB_SEPARABLE_TYPES
#define PLUMB_SEPARABLE_TYPES
namespace plumb {

/// `lanes` neighbouring outputs of a row: for each tap where the vectors it reads begin, and what they give. Blocks of
/// one target's width only.
struct tap_block {
  index_t from = 0;       ///< its first output; the last block may begin inside the one before it
  index_t first_tap = 0;  ///< in row_blocks::picks
  int taps = -1;          ///< -1: one output at a time
};
struct tap_pick {
  index_t base = 0;
  bool wide = false;  ///< reads the vector behind `base` too
  bool plain = true;  ///< every weight is 1
  std::array<std::int32_t, 16> lane = {};
  std::array<float, 16> weight = {};  ///< infinity: no such tap
};
struct row_blocks {
  const axis_taps* taps = nullptr;
  std::vector<tap_block> blocks = {};
  std::vector<tap_pick> picks = {};
  float fill = 0;
};

struct separable_functions {
  int lanes;
  /// out[i] = Σ weights[k]·rows[k][i]
  void (*add_rows)(const float* const* rows, const float* weights, index_t rows_count, index_t count,
                   float* out);
  /// One row of NCHW; `row` may be read 32 numbers beyond its end.
  void (*across)(const row_blocks& blocks, const float* row, float* out, bool past);
  /// One row of NHWC.
  void (*across_pixels)(const axis_taps& taps, float fill, const float* row, index_t channels, float* out,
                        bool past);
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
using vector = hn::Vec<numbers>;
constexpr index_t lanes = HWY_LANES(float);

template <class D>
HWY_INLINE void put(D d, hn::Vec<D> v, bool past, float* out) {
  if (past)
    hn::Stream(v, d, out);
  else
    hn::StoreU(v, d, out);
}

template <class D>
HWY_INLINE void add_at(D d, const float* const* rows, const float* weights, index_t count, index_t i,
                       float* out) {
  auto sum = hn::LoadU(d, rows[0] + i);
  if (weights[0] < 1 || weights[0] > 1) sum = hn::Mul(sum, hn::Set(d, weights[0]));
  for (index_t k = 1; k < count; ++k)
    sum = hn::MulAdd(hn::LoadU(d, rows[k] + i), hn::Set(d, weights[k]), sum);
  hn::StoreU(sum, d, out + i);
}

void add_rows(const float* const* rows, const float* weights, index_t rows_count, index_t count, float* out) {
  index_t i = 0;
  for (; i + lanes <= count; i += lanes) add_at(numbers(), rows, weights, rows_count, i, out);
  for (; i < count; ++i) add_at(single(), rows, weights, rows_count, i, out);
}

HWY_INLINE vector pick(const tap_pick& p, const float* row) {
  const numbers d;
  const hn::RebindToSigned<numbers> whole;
  const auto at = hn::LoadU(whole, p.lane.data());
  const vector near = hn::LoadU(d, row + p.base);
  if (!p.wide) return hn::TableLookupLanes(near, hn::IndicesFromVec(d, at));
  const auto size = hn::Set(whole, static_cast<std::int32_t>(lanes));
  const auto behind = hn::Not(hn::Lt(at, size));
  const vector far = hn::LoadU(d, row + p.base + lanes);
  return hn::IfThenElse(
      hn::RebindMask(d, behind),
      hn::TableLookupLanes(far, hn::IndicesFromVec(d, hn::IfThenElseZero(behind, hn::Sub(at, size)))),
      hn::TableLookupLanes(near, hn::IndicesFromVec(d, hn::IfThenZeroElse(behind, at))));
}

float one_output(const axis_taps& t, float fill, const float* row, index_t o) {
  if (t.count(o) == 0) return fill;
  float sum = 0;
  for (index_t k = t.first(o); k < t.first(o + 1); ++k) {
    const float w = t.weight_of(k), x = row[t.cell_of(k)];
    sum = k == t.first(o) ? (w < 1 || w > 1 ? w * x : x) : sum + w * x;
  }
  return sum;
}

void across(const row_blocks& b, const float* row, float* out, bool past) {
  const numbers d;
  const vector none = hn::Set(d, std::numeric_limits<float>::infinity());
  for (const tap_block& block : b.blocks) {
    const index_t o = block.from;
    if (block.taps < 0) {
      for (index_t i = o; i < o + lanes; ++i) out[i] = one_output(*b.taps, b.fill, row, i);
      continue;
    }
    const tap_pick* p = b.picks.data() + block.first_tap;
    vector sum = pick(p[0], row);
    if (!p[0].plain) sum = hn::Mul(sum, hn::LoadU(d, p[0].weight.data()));
    for (int k = 1; k < block.taps; ++k) {
      const vector w = hn::LoadU(d, p[k].weight.data());
      sum = hn::IfThenElse(hn::Eq(w, none), sum, hn::MulAdd(pick(p[k], row), w, sum));
    }
    put(d, sum, past, out + o);
  }
  for (index_t o = b.blocks.empty() ? 0 : b.taps->out; o < b.taps->out; ++o)
    out[o] = one_output(*b.taps, b.fill, row, o);
}

template <class D>
HWY_INLINE void pixel(D d, const axis_taps& t, index_t o, const float* row, index_t channels, index_t c,
                      bool past, float* out) {
  const index_t first = t.first(o);
  auto sum = hn::LoadU(d, row + t.cell_of(first) * channels + c);
  const float w = t.weight_of(first);
  if (w < 1 || w > 1) sum = hn::Mul(sum, hn::Set(d, w));
  for (index_t k = first + 1; k < t.first(o + 1); ++k)
    sum = hn::MulAdd(hn::LoadU(d, row + t.cell_of(k) * channels + c), hn::Set(d, t.weight_of(k)), sum);
  put(d, sum, past, out + c);
}

void across_pixels(const axis_taps& t, float fill, const float* row, index_t channels, float* out,
                   bool past) {
  for (index_t o = 0; o < t.out; ++o, out += channels) {
    if (t.count(o) == 0) {
      std::fill_n(out, channels, fill);
      continue;
    }
    index_t c = 0;
    for (; c + lanes <= channels; c += lanes) pixel(numbers(), t, o, row, channels, c, past, out);
    for (; c < channels; ++c) pixel(single(), t, o, row, channels, c, false, out);
  }
}

}  // namespace

constexpr separable_functions functions = {static_cast<int>(lanes), add_rows, across, across_pixels};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

namespace plumb {
namespace {

/// Tap k of the `lanes` outputs from o, or nothing if it does not lie in two vectors.
bool pick_tap(const axis_taps& t, index_t o, index_t lanes, index_t k, tap_pick& p) {
  index_t low = std::numeric_limits<index_t>::max(), high = 0;
  for (index_t i = 0; i < lanes; ++i)
    if (k < t.count(o + i)) {
      low = std::min(low, t.cell_of(t.first(o + i) + k));
      high = std::max(high, t.cell_of(t.first(o + i) + k));
    }
  p.base = low;
  p.wide = high - low >= lanes;
  for (index_t i = 0; i < lanes; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const bool there = k < t.count(o + i);
    p.lane[at] = there ? static_cast<std::int32_t>(t.cell_of(t.first(o + i) + k) - low) : 0;
    p.weight[at] = there ? t.weight_of(t.first(o + i) + k) : std::numeric_limits<float>::infinity();
    p.plain = p.plain && !(p.weight[at] < 1) && !(p.weight[at] > 1);
  }
  return high - low < 2 * lanes;
}

row_blocks blocks_of(const axis_taps& t, float fill, index_t lanes) {
  row_blocks b{.taps = &t, .fill = fill};
  for (index_t next = 0; t.out >= lanes && next < t.out; next += lanes) {
    const index_t o = std::min(next, t.out - lanes);
    tap_block& block = b.blocks.emplace_back();
    block.from = o;
    block.first_tap = static_cast<index_t>(b.picks.size());
    index_t least = t.count(o), most = 0;
    for (index_t i = 0; i < lanes; ++i) {
      least = std::min(least, t.count(o + i));
      most = std::max(most, t.count(o + i));
    }
    bool fits = least > 0 && most <= 8;
    for (index_t k = 0; fits && k < most; ++k) fits = pick_tap(t, o, lanes, k, b.picks.emplace_back());
    if (fits)
      block.taps = static_cast<int>(most);
    else
      b.picks.resize(static_cast<std::size_t>(block.first_tap));
  }
  return b;
}

class separable_plan final : public plan {
 public:
  separable_plan(const separable_functions& functions, const kernel_problem& kp, bool forward)
      : run_(functions), taps_(taps_of(kp.problem, forward)), threads_(kp.threads) {
    const shape x = kp.problem.shape_of("x");
    images_ = x[0];
    channels_ = x[1];
    last_ = kp.layout == layout::nhwc;
    if (!last_) blocks_ = blocks_of(width(), taps_.fill, functions.lanes);
    for (int axis = 0; axis < 2; ++axis)
      for (index_t o = 0; o < taps_.axes[axis].out; ++o)
        repeats_[axis].push_back(taps_.axes[axis].same_as_before(o));
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(threads_ * scratch());
  }

  void run(const kernel_call& call) noexcept override {
    const auto* x = static_cast<const float*>(call.reads[0].data);
    auto* y = static_cast<float*>(call.writes[0].data);
    const index_t planes = images_ * (last_ ? 1 : channels_), rows = planes * depth().out * height().out;
    const bool past = goes_past_caches(y, rows * out_row()) && (last_ ? channels_ : width().out) % 16 == 0;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      float* scratch_row = static_cast<float*>(call.workspace) + share * scratch();
      const float* row = nullptr;
      const index_t begin = rows * share / call.threads, end = rows * (share + 1) / call.threads;
      for (index_t i = begin; i < end; ++i) {
        const index_t p = i % height().out, o = i / height().out % depth().out;
        const bool repeated = i > begin && p > 0 && repeats_[1][static_cast<std::size_t>(p)];
        if (!repeated) row = down(x + i / (height().out * depth().out) * plane_size(), o, p, scratch_row);
        write(row, y + i * out_row(), past);
      }
      if (past) hwy::FlushStream();
    }
  }

 private:
  const axis_taps& depth() const { return taps_.axes[0]; }
  const axis_taps& height() const { return taps_.axes[1]; }
  const axis_taps& width() const { return taps_.axes[2]; }
  index_t pixel() const { return last_ ? channels_ : 1; }
  index_t in_row() const { return width().in * pixel(); }
  index_t out_row() const { return width().out * pixel(); }
  index_t plane_size() const { return depth().in * height().in * in_row(); }
  index_t scratch() const { return aligned_buffer::padded(in_row() + 32); }

  /// The rows that output row (o, p) reads, added up; nullptr: it reads none.
  const float* down(const float* plane, index_t o, index_t p, float* scratch_row) const {
    const index_t depths = depth().count(o), heights = height().count(p);
    if (depths * heights == 0) return nullptr;
    constexpr index_t together = 8;
    const float* rows[together];
    float weights[together];
    index_t count = 0;
    bool begun = false;
    const auto flush = [&] {
      run_.add_rows(rows, weights, count, in_row(), scratch_row);
      begun = true;
      rows[0] = scratch_row;
      weights[0] = 1;
      count = 1;
    };
    for (index_t d = depth().first(o); d < depth().first(o + 1); ++d)
      for (index_t h = height().first(p); h < height().first(p + 1); ++h) {
        if (count == together) flush();
        rows[count] = plane + (depth().cell_of(d) * height().in + height().cell_of(h)) * in_row();
        weights[count++] = depth().weight_of(d) * height().weight_of(h);
      }
    const bool as_it_is = last_ && !begun && count == 1 && !(weights[0] < 1) && !(weights[0] > 1);
    if (as_it_is) return rows[0];
    flush();
    return scratch_row;
  }

  void write(const float* row, float* out, bool past) const {
    if (row == nullptr)
      std::fill_n(out, out_row(), taps_.fill);
    else if (last_)
      run_.across_pixels(width(), taps_.fill, row, channels_, out, past);
    else
      run_.across(blocks_, row, out, past);
  }

  const separable_functions& run_;
  image_taps taps_;
  row_blocks blocks_;
  std::vector<bool> repeats_[2];
  index_t threads_, images_ = 0, channels_ = 0;
  bool last_ = false;  ///< channels last
};

void add_layer(registry& kernels, const target_table<separable_functions>& set, const std::string& layer,
               bool copies) {
  for (const bool forward : {true, false}) {
    kernel k = target_row(layer, forward ? "forward" : "backward", "separable", set.name, set.runs_here);
    if (forward && copies) k.arithmetic = "exact";
    k.supports = [](const kernel_problem& kp) {
      return knows(kp, {"x", "y", "pad", "value", "size", "scale", "align_corners"});
    };
    k.make_plan = [&f = *set.functions, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
      return std::make_unique<separable_plan>(f, kp, forward);
    };
    kernels.add(std::move(k));
  }
}

}  // namespace

void register_separable(registry& kernels) {
  for (const auto& set : target_tables<separable_functions>(PLUMB_TARGET_TABLES(functions))) {
    for (const char* rank : {"1d", "2d", "3d"})
      for (const char* family : {"upsample_nearest", "upsample_nearest_exact", "constant_pad",
                                 "reflection_pad", "replication_pad", "circular_pad"})
        add_layer(kernels, set, std::string(family) + rank, true);
    for (const char* layer : {"upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"})
      add_layer(kernels, set, layer, false);
  }
}

}  // namespace plumb
#endif
