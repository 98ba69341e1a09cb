// Upsampling (nearest, nearest_exact, linear, bicubic) and padding (constant, reflection, replication, circular) of rank 1, 2
// and 3, forward and backward, for every instruction set: each is one sparse matrix an axis (axis_taps.hpp).
//   y[o] = Σ over the rows that o's depth and height read, Σ over the cells that its width reads, of weight·x
// in this order, which is that of the definitions, so that large numbers that cancel there cancel here.
//   NHWC   a pixel adds up the pixels it reads; lanes are channels, and long stretches of them are read at once. Two
//          neighbours that read the same pixels share the loads
//   NCHW   lanes are neighbouring outputs; what they read for one tap lies in one vector or two, out of which a
//          permutation picks it. Where it does not (a large step down), one output at a time
// Rows of the output belong to one thread each.
#include <algorithm>
#include <array>
#include <limits>
#include <span>

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

inline constexpr float no_tap = std::numeric_limits<float>::infinity();  ///< in the place of a weight

/// One tap of `lanes` neighbouring outputs: lane < lanes is in the vector at `near`, the others in that at `far`.
struct tap_pick {
  index_t near = 0, far = 0;
  bool wide = false;  ///< some are
  std::array<std::int32_t, 16> lane = {};
  std::array<float, 16> weight = {};
};
struct tap_block {
  index_t from = 0;  ///< its first output; the last block may begin inside the one before it
  index_t first_pick = 0;
  int taps = -1;      ///< -1: one output at a time
  bool even = false;  ///< has taps, every lane has each of them, and each lies in one vector
  /// One tap of weight 1 each; straight: in their order. Such blocks are even.
  enum class copies { no, picked, straight } copy = copies::no;
  index_t repeats =
      1;  ///< of an even one: so many blocks in a row, each of which reads `step` cells further on
  index_t step = 0;
};
struct row_blocks {
  const axis_taps* taps = nullptr;
  std::vector<tap_block> blocks = {};
  std::vector<tap_pick> picks = {};
  float fill = 0;
};

/// The rows that one output row reads, and what is to be fetched meanwhile for rows to come.
struct source_rows {
  index_t count = 0;
  const float** row = nullptr;
  float* weight = nullptr;
  const float* ahead = nullptr;
  index_t ahead_count = 0;
};

/// One output across, or two neighbours that read the same pixels.
struct pixel_step {
  static constexpr index_t most = 2;  ///< taps: nearest and linear
  index_t first = 0;
  int outputs = 1, taps = 0;
  std::array<index_t, most> cell = {};
  std::array<std::array<float, most>, 2> weight = {};  ///< of each output
};

/// Whether output o + 1 reads the pixels that output o reads.
inline bool reads_the_same(const axis_taps& t, index_t o) {
  const index_t count = t.count(o);
  const index_t* cells = t.cell.data() + t.first(o);
  return t.count(o + 1) == count && std::equal(cells, cells + count, cells + count);
}

struct separable_functions {
  int lanes;
  bool narrow;  ///< can load a part of a vector
  void (*across)(const row_blocks& blocks, const source_rows& rows, float* out, bool past);
  void (*across_pixels)(const axis_taps& taps, float fill, const source_rows& rows, index_t channels,
                        float* out, bool past);
  /// The same where no row has more taps than a pixel_step; of one row or two.
  void (*across_steps)(std::span<const pixel_step> steps, float fill, const source_rows& rows,
                       index_t channels, float* out, bool past);
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
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
constexpr bool narrow = true;
#else
constexpr bool narrow = false;
#endif

template <class D>
HWY_INLINE void put(D d, hn::Vec<D> v, bool past, float* out) {
  if (past)
    hn::Stream(v, d, out);
  else
    hn::StoreU(v, d, out);
}

HWY_INLINE vector pick(const tap_pick& p, const float* row, [[maybe_unused]] index_t width) {
  const numbers d;
  const hn::RebindToSigned<numbers> whole;
  const auto at = hn::LoadU(whole, p.lane.data());
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  if (width < lanes)
    return hn::TableLookupLanes(hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(width)), d, row),
                                hn::IndicesFromVec(d, at));
#endif
  const vector near = hn::LoadU(d, row + p.near);
  if (!p.wide) return hn::TableLookupLanes(near, hn::IndicesFromVec(d, at));
  const auto size = hn::Set(whole, static_cast<std::int32_t>(lanes));
  const auto inside = hn::Lt(at, size);
  const auto there = hn::IfThenZeroElse(inside, hn::Sub(at, size)), here = hn::IfThenElseZero(inside, at);
  return hn::IfThenElse(hn::RebindMask(d, inside), hn::TableLookupLanes(near, hn::IndicesFromVec(d, here)),
                        hn::TableLookupLanes(hn::LoadU(d, row + p.far), hn::IndicesFromVec(d, there)));
}

float one_output(const axis_taps& t, float fill, const source_rows& rows, index_t o) {
  if (t.count(o) == 0) return fill;
  float sum = 0;
  for (index_t r = 0; r < rows.count; ++r)
    for (index_t k = t.first(o); k < t.first(o + 1); ++k) {
      const float term = rows.weight[r] * t.weight_of(k) * rows.row[r][t.cell_of(k)];
      sum = r == 0 && k == t.first(o) ? term : sum + term;
    }
  return sum;
}

HWY_INLINE void copy_cells(const tap_block& block, const tap_pick& p, const float* row, float* out,
                           bool past) {
  const numbers d;
  const float* from = row + p.near;
  float* to = out + block.from;
  if (block.copy == tap_block::copies::straight) {
    for (index_t i = 0; i < block.repeats; ++i, from += block.step, to += lanes)
      put(d, hn::LoadU(d, from), past, to);
    return;
  }
  const auto at = hn::IndicesFromVec(d, hn::LoadU(hn::RebindToSigned<numbers>(), p.lane.data()));
  for (index_t i = 0; i < block.repeats; ++i, from += block.step, to += lanes)
    put(d, hn::TableLookupLanes(hn::LoadU(d, from), at), past, to);
}

/// Blocks that are even, and their repeats: what is the same for all of them stays in registers.
template <int Rows, int Taps>
void sum_even(const row_blocks& b, const tap_block& block, const source_rows& rows, float* out, bool past) {
  const numbers d;
  const hn::RebindToSigned<numbers> whole;
  const tap_pick* const picks = b.picks.data() + block.first_pick;
  using indices = decltype(hn::IndicesFromVec(d, hn::Zero(whole)));
  indices at[Taps];
  vector weight[Rows * Taps];
  const float* from[Rows * Taps];
#pragma GCC unroll 4
  for (int k = 0; k < Taps; ++k) {
    at[k] = hn::IndicesFromVec(d, hn::LoadU(whole, picks[k].lane.data()));
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      weight[r * Taps + k] = hn::Mul(hn::LoadU(d, picks[k].weight.data()), hn::Set(d, rows.weight[r]));
      from[r * Taps + k] = rows.row[r] + picks[k].near;
    }
  }
  float* to = out + block.from;
  for (index_t i = 0; i < block.repeats; ++i, to += lanes) {
    vector sum = hn::Zero(d);
#pragma GCC unroll 16
    for (int j = 0; j < Rows * Taps; ++j) {
      const vector x = hn::TableLookupLanes(hn::LoadU(d, from[j] + i * block.step), at[j % Taps]);
      sum = j == 0 ? hn::Mul(weight[j], x) : hn::MulAdd(weight[j], x, sum);
    }
    put(d, sum, past, to);
  }
}

/// The same, where there is code for so many rows and taps.
bool sum_if_even(const row_blocks& b, const tap_block& block, const source_rows& rows, float* out,
                 bool past) {
  if (!block.even) return false;
  const auto run = [&]<int Rows>() {
    if (block.taps == 2)
      sum_even<Rows, 2>(b, block, rows, out, past);
    else
      sum_even<Rows, 4>(b, block, rows, out, past);
  };
  if (block.taps != 2 && block.taps != 4) return false;
  if (rows.count == 1)
    run.template operator()<1>();
  else if (rows.count == 2)
    run.template operator()<2>();
  else if (rows.count == 4)
    run.template operator()<4>();
  else
    return false;
  return true;
}

/// The outputs of a block that reads `step` cells further on than its picks say.
HWY_INLINE vector sum_cells(const row_blocks& b, const tap_block& block, const source_rows& rows,
                            index_t step) {
  const numbers d;
  const vector none = hn::Set(d, no_tap);
  vector sum = hn::Set(d, b.fill);
  for (index_t r = 0; r < rows.count; ++r)
    for (int k = 0; k < block.taps; ++k) {
      const tap_pick& p = b.picks[static_cast<std::size_t>(block.first_pick + k)];
      const vector share = hn::LoadU(d, p.weight.data()), x = pick(p, rows.row[r] + step, b.taps->in);
      const vector w = hn::Mul(share, hn::Set(d, rows.weight[r]));
      const vector next = r == 0 && k == 0 ? hn::Mul(w, x) : hn::MulAdd(w, x, sum);
      sum = hn::IfThenElse(hn::Eq(share, none), sum, next);
    }
  return sum;
}

void across(const row_blocks& b, const source_rows& rows, float* out, bool past) {
  const numbers d;
  for (const tap_block& block : b.blocks) {
    if (block.taps < 0) {
      for (index_t i = block.from; i < block.from + lanes; ++i) out[i] = one_output(*b.taps, b.fill, rows, i);
      continue;
    }
    if (block.copy != tap_block::copies::no && rows.count == 1 && rows.weight[0] == 1) {
      copy_cells(block, b.picks[static_cast<std::size_t>(block.first_pick)], rows.row[0], out, past);
      continue;
    }
    if (sum_if_even(b, block, rows, out, past)) continue;
    for (index_t i = 0; i < block.repeats; ++i)
      put(d, sum_cells(b, block, rows, i * block.step), past, out + block.from + i * lanes);
  }
  for (index_t o = b.blocks.empty() ? 0 : b.taps->out; o < b.taps->out; ++o)
    out[o] = one_output(*b.taps, b.fill, rows, o);
}

/// The pixels that `Outputs` neighbouring outputs all read, in order, and the weights of each.
struct pixel_terms {
  static constexpr index_t most = 256;
  index_t count = 0;
  const float* from[most];
  float weight[2][most];
};

template <int Outputs, int Vectors, class D>
HWY_INLINE void sum_terms(D d, const pixel_terms& t, index_t channels, index_t c, bool past, float* out) {
  constexpr index_t width = static_cast<index_t>(hn::MaxLanes(D()));
  hn::Vec<D> sum[Outputs * Vectors];
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    const auto x = hn::LoadU(d, t.from[0] + c + v * width);
#pragma GCC unroll 2
    for (int o = 0; o < Outputs; ++o) sum[o * Vectors + v] = hn::Mul(hn::Set(d, t.weight[o][0]), x);
  }
  const index_t count = t.count;
  for (index_t i = 1; i < count; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      const auto x = hn::LoadU(d, t.from[i] + c + v * width);
#pragma GCC unroll 2
      for (int o = 0; o < Outputs; ++o)
        sum[o * Vectors + v] = hn::MulAdd(hn::Set(d, t.weight[o][i]), x, sum[o * Vectors + v]);
    }
#pragma GCC unroll 2
  for (int o = 0; o < Outputs; ++o)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) put(d, sum[o * Vectors + v], past, out + o * channels + c + v * width);
}

/// `Outputs` neighbouring pixels.
template <int Outputs>
HWY_INLINE void pixels(const pixel_terms& t, index_t channels, bool past, float* out) {
  constexpr int together = HWY_TARGET == HWY_AVX3 ? 8 : 4;
  index_t c = 0;
  for (; c + together * lanes <= channels; c += together * lanes)
    sum_terms<Outputs, together>(numbers(), t, channels, c, past, out);
  for (; c + 4 * lanes <= channels; c += 4 * lanes)
    sum_terms<Outputs, 4>(numbers(), t, channels, c, past, out);
  for (; c + lanes <= channels; c += lanes) sum_terms<Outputs, 1>(numbers(), t, channels, c, past, out);
  for (; c < channels; ++c) sum_terms<Outputs, 1>(single(), t, channels, c, false, out);
}

/// Where there are too many terms for a list.
void long_pixel(const axis_taps& t, index_t o, const source_rows& rows, index_t channels, float* out) {
  for (index_t c = 0; c < channels; ++c) {
    float sum = 0;
    for (index_t r = 0; r < rows.count; ++r)
      for (index_t k = t.first(o); k < t.first(o + 1); ++k) {
        const float term = rows.weight[r] * t.weight_of(k) * rows.row[r][t.cell_of(k) * channels + c];
        sum = r == 0 && k == t.first(o) ? term : sum + term;
      }
    out[c] = sum;
  }
}

/// Begins to fetch what is due by the time that `outputs` of `all` are written.
HWY_INLINE void fetch_ahead(const source_rows& rows, index_t& fetched, index_t outputs, index_t all) {
  if (rows.ahead_count == 0) return;
  for (const index_t due = rows.ahead_count * outputs / all; fetched < due; fetched += 16)
    hwy::Prefetch(rows.ahead + fetched);
}

void across_pixels(const axis_taps& t, float fill, const source_rows& rows, index_t channels, float* out,
                   bool past) {
  pixel_terms list;
  const index_t row_count = rows.count;
  index_t fetched = 0;
  for (index_t o = 0; o < t.out;) {
    const index_t count = t.count(o);
    const int outputs = o + 1 < t.out && reads_the_same(t, o) ? 2 : 1;
    list.count = rows.count * count;
    if (count == 0) {
      std::fill_n(out + o * channels, channels, fill);
      ++o;
      continue;
    }
    if (list.count > pixel_terms::most) {
      long_pixel(t, o, rows, channels, out + o * channels);
      ++o;
      continue;
    }
    const index_t* cells = t.cell.data() + t.first(o);
    const float* weights = t.weight.data() + t.first(o);  // of output o, then of the next one
    for (index_t r = 0, next = 0; r < row_count; ++r, next += count) {
      const float *row = rows.row[r], share = rows.weight[r];
      for (index_t k = 0; k < count; ++k) {
        list.from[next + k] = row + cells[k] * channels;
        list.weight[0][next + k] = share * weights[k];
      }
      for (index_t k = 0; k < count && outputs == 2; ++k)
        list.weight[1][next + k] = share * weights[count + k];
    }
    fetch_ahead(rows, fetched, o + outputs, t.out);
    if (outputs == 2)
      pixels<2>(list, channels, past, out + o * channels);
    else
      pixels<1>(list, channels, past, out + o * channels);
    o += outputs;
  }
}

/// Weights and addresses stay in registers.
template <int Rows, int Outputs, int Taps>
void few_terms(const pixel_step& step, const source_rows& rows, index_t channels, bool past, float* out) {
  const float* from[Rows * Taps];
  float weight[Outputs][Rows * Taps];
#pragma GCC unroll 2
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int k = 0; k < Taps; ++k) {
      from[r * Taps + k] = rows.row[r] + step.cell[static_cast<std::size_t>(k)] * channels;
#pragma GCC unroll 2
      for (int o = 0; o < Outputs; ++o)
        weight[o][r * Taps + k] =
            rows.weight[r] * step.weight[static_cast<std::size_t>(o)][static_cast<std::size_t>(k)];
    }
  const auto sum = [&](auto d, index_t c, bool stream) HWY_ATTR {
    hn::Vec<decltype(d)> total[Outputs];
#pragma GCC unroll 4
    for (int i = 0; i < Rows * Taps; ++i) {
      const auto x = hn::LoadU(d, from[i] + c);
#pragma GCC unroll 2
      for (int o = 0; o < Outputs; ++o) {
        const auto w = hn::Set(d, weight[o][i]);
        total[o] = i == 0 ? hn::Mul(w, x) : hn::MulAdd(w, x, total[o]);
      }
    }
#pragma GCC unroll 2
    for (int o = 0; o < Outputs; ++o) put(d, total[o], stream, out + o * channels + c);
  };
  index_t c = 0;
  for (; c + lanes <= channels; c += lanes) sum(numbers(), c, past);
  for (; c < channels; ++c) sum(single(), c, false);
}

template <int Rows>
void across_steps_of(std::span<const pixel_step> steps, float fill, const source_rows& rows, index_t channels,
                     float* out, bool past) {
  index_t fetched = 0;
  const index_t all = steps.back().first + steps.back().outputs;
  for (const pixel_step& s : steps) {
    fetch_ahead(rows, fetched, s.first + s.outputs, all);
    float* to = out + s.first * channels;
    if (s.taps == 0)
      std::fill_n(to, s.outputs * channels, fill);
    else if (s.outputs == 2)
      (s.taps == 2 ? few_terms<Rows, 2, 2> : few_terms<Rows, 2, 1>)(s, rows, channels, past, to);
    else
      (s.taps == 2 ? few_terms<Rows, 1, 2> : few_terms<Rows, 1, 1>)(s, rows, channels, past, to);
  }
}

void across_steps(std::span<const pixel_step> steps, float fill, const source_rows& rows, index_t channels,
                  float* out, bool past) {
  (rows.count == 1 ? across_steps_of<1> : across_steps_of<2>)(steps, fill, rows, channels, out, past);
}

}  // namespace

constexpr separable_functions functions = {static_cast<int>(lanes), narrow, across, across_pixels,
                                           across_steps};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

namespace plumb {
namespace {

/// Tap k of the `lanes` outputs from o; false if it does not lie in two vectors of the row.
bool pick_tap(const axis_taps& t, index_t o, index_t lanes, index_t k, tap_pick& p) {
  index_t low = t.in - 1, high = 0;
  const auto cell = [&](index_t i) { return t.cell_of(t.first(o + i) + k); };
  for (index_t i = 0; i < lanes; ++i)
    if (k < t.count(o + i)) {
      low = std::min(low, cell(i));
      high = std::max(high, cell(i));
    }
  const index_t last = std::max<index_t>(0, t.in - lanes);
  p.near = std::min(low, last);
  p.far = std::min(p.near + lanes, last);
  for (index_t i = 0; i < lanes; ++i) {
    const auto at = static_cast<std::size_t>(i);
    p.weight[at] = k < t.count(o + i) ? t.weight_of(t.first(o + i) + k) : no_tap;
    if (k >= t.count(o + i)) continue;
    const bool is_near = cell(i) < p.near + lanes;
    p.lane[at] = static_cast<std::int32_t>(is_near ? cell(i) - p.near : cell(i) - p.far + lanes);
    p.wide = p.wide || !is_near;
  }
  return high - p.near < 2 * lanes;
}

bool is_even(const tap_pick& p, index_t lanes) {
  return !p.wide && std::find(p.weight.begin(), p.weight.begin() + lanes, no_tap) == p.weight.begin() + lanes;
}

tap_block::copies copy_of(const tap_block& block, const tap_pick& p, index_t lanes) {
  if (block.taps != 1 || !block.even) return tap_block::copies::no;
  bool straight = true;
  for (index_t i = 0; i < lanes; ++i) {
    if (p.weight[static_cast<std::size_t>(i)] != 1) return tap_block::copies::no;
    straight = straight && p.lane[static_cast<std::size_t>(i)] == i;
  }
  return straight ? tap_block::copies::straight : tap_block::copies::picked;
}

/// If the last block goes on as the one before it, they become one.
void join_blocks(row_blocks& b, index_t lanes) {
  if (b.blocks.size() < 2) return;
  const tap_block& last = b.blocks.back();
  tap_block& before = b.blocks[b.blocks.size() - 2];
  if (!last.even || !before.even || last.taps != before.taps || last.copy != before.copy ||
      last.from != before.from + before.repeats * lanes)
    return;
  const tap_pick *next = b.picks.data() + last.first_pick, *first = b.picks.data() + before.first_pick;
  const index_t step = before.repeats == 1 ? next->near - first->near : before.step;
  for (int k = 0; k < last.taps; ++k)
    if (next[k].lane != first[k].lane || next[k].weight != first[k].weight ||
        next[k].near != first[k].near + before.repeats * step)
      return;
  before.step = step;
  ++before.repeats;
  b.picks.resize(static_cast<std::size_t>(last.first_pick));
  b.blocks.pop_back();
}

row_blocks blocks_of(const axis_taps& t, float fill, const separable_functions& set) {
  row_blocks b{.taps = &t, .fill = fill};
  const index_t lanes = set.lanes;
  for (index_t next = 0; t.out >= lanes && next < t.out; next += lanes) {
    const index_t o = std::min(next, t.out - lanes);
    tap_block& block = b.blocks.emplace_back();
    block.from = o;
    block.first_pick = static_cast<index_t>(b.picks.size());
    index_t most = 0;
    for (index_t i = 0; i < lanes; ++i) most = std::max(most, t.count(o + i));
    bool fits = most <= 8 && (t.in >= lanes || set.narrow);
    for (index_t k = 0; fits && k < most; ++k) fits = pick_tap(t, o, lanes, k, b.picks.emplace_back());
    if (fits) {
      block.taps = static_cast<int>(most);
      block.even = most > 0 && t.in >= lanes &&
                   std::all_of(b.picks.begin() + block.first_pick, b.picks.end(),
                               [&](const tap_pick& p) { return is_even(p, lanes); });
      if (most == 1) block.copy = copy_of(block, b.picks.back(), lanes);
      join_blocks(b, lanes);
    } else {
      b.picks.resize(static_cast<std::size_t>(block.first_pick));
    }
  }
  return b;
}

/// The outputs of an axis in steps; none if some have too many taps.
std::vector<pixel_step> steps_of(const axis_taps& t) {
  std::vector<pixel_step> steps;
  for (index_t o = 0; o < t.out; o += steps.back().outputs) {
    if (t.count(o) > pixel_step::most) return {};
    pixel_step& s = steps.emplace_back();
    s.first = o;
    s.taps = static_cast<int>(t.count(o));
    s.outputs = o + 1 < t.out && reads_the_same(t, o) ? 2 : 1;
    for (index_t k = 0; k < s.taps; ++k) {
      const auto at = static_cast<std::size_t>(k);
      s.cell[at] = t.cell_of(t.first(o) + k);
      for (int i = 0; i < s.outputs; ++i)
        s.weight[static_cast<std::size_t>(i)][at] = t.weight_of(t.first(o + i) + k);
    }
  }
  return steps;
}

class separable_plan final : public plan {
 public:
  separable_plan(const separable_functions& functions, const kernel_problem& kp, bool forward)
      : run_(functions), taps_(taps_of(kp.problem, forward)) {
    const shape x = kp.problem.shape_of("x");
    images_ = x[0];
    channels_ = x[1];
    last_ = kp.layout == layout::nhwc;
    if (last_)
      steps_ = steps_of(width());
    else
      blocks_ = blocks_of(width(), taps_.fill, functions);
    most_rows_ = longest(depth()) * longest(height());
    // Two threads that write to one cache line wait for each other at every row: a line between them.
    constexpr index_t a_line_of_floats = 32;  // and of its neighbour, which some processors fetch along
    room_ = most_rows_ + a_line_of_floats;
    const auto room = static_cast<std::size_t>(room_ * kp.threads);
    rows_.resize(room);
    weights_.resize(room);
  }

  void run(const kernel_call& call) noexcept override {
    const auto* x = static_cast<const float*>(call.reads[0].data);
    auto* y = static_cast<float*>(call.writes[0].data);
    const index_t planes = images_ * (last_ ? 1 : channels_), rows = planes * depth().out * height().out;
    const bool past = goes_past_caches(y, rows * out_row()) && (last_ ? channels_ : width().out) % 16 == 0;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      source_rows from{.row = rows_.data() + share * room_, .weight = weights_.data() + share * room_};
      for (index_t i = rows * share / call.threads; i < rows * (share + 1) / call.threads; ++i) {
        const index_t p = i % height().out, o = i / height().out % depth().out;
        const float* plane = x + i / (height().out * depth().out) * depth().in * height().in * in_row();
        if (past && last_) {
          // While results go past the caches nothing else would begin to fetch what comes two rows of x later. In
          // equal shares: memory that reads for one row and idles for the next is slower by a tenth.
          const index_t done = o * height().out + p, all = depth().out * height().out,
                        size = depth().in * height().in * in_row();
          from.ahead = plane + size * done / all + 2 * in_row();
          from.ahead_count = size * (done + 1) / all - size * done / all;
        }
        write(plane, o, p, from, y + i * out_row(), past);
      }
      if (past) hwy::FlushStream();
    }
  }

 private:
  const axis_taps& depth() const { return taps_.axes[0]; }
  const axis_taps& height() const { return taps_.axes[1]; }
  const axis_taps& width() const { return taps_.axes[2]; }
  index_t in_row() const { return width().in * (last_ ? channels_ : 1); }
  index_t out_row() const { return width().out * (last_ ? channels_ : 1); }

  static index_t longest(const axis_taps& t) {
    index_t most = 1;
    for (index_t o = 0; o < t.out; ++o) most = std::max(most, t.count(o));
    return most;
  }

  void write(const float* plane, index_t o, index_t p, source_rows& rows, float* out, bool past) const {
    rows.count = 0;
    for (index_t d = depth().first(o); d < depth().first(o + 1); ++d)
      for (index_t h = height().first(p); h < height().first(p + 1); ++h) {
        rows.row[rows.count] = plane + (depth().cell_of(d) * height().in + height().cell_of(h)) * in_row();
        rows.weight[rows.count++] = depth().weight_of(d) * height().weight_of(h);
      }
    if (rows.count == 0)
      std::fill_n(out, out_row(), taps_.fill);
    else if (last_ && !steps_.empty() && rows.count <= 2)
      run_.across_steps(steps_, taps_.fill, rows, channels_, out, past);
    else if (last_)
      run_.across_pixels(width(), taps_.fill, rows, channels_, out, past);
    else
      run_.across(blocks_, rows, out, past);
  }

  const separable_functions& run_;
  image_taps taps_;
  row_blocks blocks_;               ///< NCHW
  std::vector<pixel_step> steps_;   ///< NHWC
  std::vector<const float*> rows_;  ///< room for the rows of one output row, a thread each
  std::vector<float> weights_;
  index_t most_rows_ = 1, room_ = 1, images_ = 0, channels_ = 0;
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
    for (const char* layer :
         {"upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"})
      add_layer(kernels, set, layer, false);
  }
}

}  // namespace plumb
#endif
