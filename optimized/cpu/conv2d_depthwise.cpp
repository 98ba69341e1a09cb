// Depthwise convolution, one filter a channel: forward, backward-data and backward-weights. A vector holds neighbouring
// channels; up to 7 neighbouring outputs of a row are computed together, and under 3×3 taps, where there are 32 registers,
// those of two rows. An input that several of them read is loaded once, and the 9 weights stay where they are: 36 loads of
// x and 9 of w for 126 multiply-adds.
//   prepare    w[c,r,s] → packed[vector of channels][r][s][channel in the vector]; grids take their taps out of it
//   plan       outputs → bands of one row or two → blocks of 7, 3 or 1 of a row; what a block would read outside the image
//              are its first or last few inputs, which are passed over; a block goes down through rows that are alike, so
//              that it finds two of its three rows of inputs in the first cache
//   forward    block: for every vector of channels, sums over the taps, stored once
//   backward   data: the same with dy in the place of x, one grid of dx positions for each residue modulo the stride
//              (conv_reach.hpp)
//   weights    dw[r][s][c] += Σ_block dy·x; the rows of outputs are cut into chunks with sums of their own, which are
//              added up in order; how many depends on the problem only
//   threads    share the rows, and of the row where two of them meet the channels
//   NCHW       image by image, transposed on the way in and out, sixteen channels at a time
// Each sum has one order, so the thread count cannot change a bit. Zhang, Lo & Lu 2020, "High performance depthwise and
// pointwise convolutions on mobile devices".
#include <algorithm>
#include <limits>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/conv2d_depthwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef PLUMB_DEPTHWISE_BLOCK
#define PLUMB_DEPTHWISE_BLOCK
namespace plumb {
namespace {

/// A block of outputs: up to 7 neighbours of one row, or of two. Input number (i, k) lies i·row_tap + k·tap elements from
/// the one that the first output's first tap meets, which may be outside the image; output (o, j) meets it under tap
/// (i - o·Step, k - j·Step).
struct depthwise_block {
  const float* x;
  index_t from;                      ///< the first input, in elements from x
  index_t row_begin, row_end;        ///< of i, inside the image
  index_t column_begin, column_end;  ///< of k, inside the image
  index_t row_tap, tap, column;      ///< elements of x from tap to tap, and from output to output in a row
  float* w;                          ///< of the first tap; backward-weights adds to it
  index_t w_row, w_tap;              ///< elements of w from tap to tap; may be negative
  index_t w_vector;                  ///< and from one vector of channels to the next
  index_t rows, columns;             ///< taps
  const float* bias;
  float* out;              ///< backward-weights reads dy here
  index_t out_row, pixel;  ///< elements from output to output
  index_t channels;
  index_t down = 1,
          down_row =
              0;  ///< rows of outputs with the same taps inside, and elements of x from one to the next

  /// Whether inputs lie a power of two apart, and so far that eight of them want the same places in the first cache.
  bool crowded() const { return tap >= 512 && (tap & (tap - 1)) == 0; }
};

}  // namespace
}  // namespace plumb
#endif

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using vector = hn::Vec<numbers>;
constexpr index_t lanes = HWY_LANES(float);

/// Two rows at a time take 14 accumulators and 9 weights.
constexpr index_t rows_at_once = HWY_TARGET == HWY_AVX3 ? 2 : 1;

/// Calls f(s, j, v, x) for every tap s < Columns and output j < Pixels of a row that meet in an input of row `x` inside the
/// image, for each of `Vectors` vectors of channels. Every output has such an input, so only the first and the last few can
/// be missing.
template <int Columns, int Step, int Pixels, int Vectors, class F>
HWY_INLINE void for_each_meeting(const float* x, index_t tap, index_t begin, index_t end, const F& f) {
  const numbers d;
#pragma GCC unroll 32
  for (int k = 0; k < (Pixels - 1) * Step + Columns; ++k) {
    if (k < Columns - 1 && k < begin) continue;
    if (k > (Pixels - 1) * Step && k >= end) continue;
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      const vector input = hn::LoadU(d, x + k * tap + v * lanes);
#pragma GCC unroll 8
      for (int s = 0; s < Columns; ++s)
        if (k >= s && (k - s) % Step == 0 && (k - s) / Step < Pixels) f(s, (k - s) / Step, v, input);
    }
  }
}

/// `blocks` neighbouring blocks of one row under `Rows` rows of taps inside the image, zero: any number of them. Everything
/// is copied out of the block: what lies behind a reference would be read again after every store.
template <int Columns, int Step, int Pixels, int Vectors, int Rows>
void forward_rows(const depthwise_block& t, index_t blocks) {
  const numbers d;
  const index_t tap = t.tap, row_tap = t.row_tap;
  const index_t w_row = t.w_row, w_tap = t.w_tap, w_vector = t.w_vector, pixel = t.pixel;
  const index_t rows = Rows > 0 ? Rows : t.row_end - t.row_begin, channels = t.channels;
  const index_t down = t.down, down_row = t.down_row, out_row = t.out_row;
  const float* bias = t.bias;
  float* HWY_RESTRICT out = t.out;
  index_t begin = t.column_begin, end = t.column_end, from = t.from + t.row_begin * row_tap;
  for (; blocks > 0; --blocks, begin -= Pixels * Step, end -= Pixels * Step, from += Pixels * Step * tap,
                     out += Pixels * pixel) {
    for (index_t i = 0; i < down; ++i) {
      float* HWY_RESTRICT to = out + i * out_row;
      const float* HWY_RESTRICT x = t.x + (from + i * down_row);
      const float* HWY_RESTRICT w = t.w + t.row_begin * w_row;
      for (index_t c = 0; c < channels; c += Vectors * lanes, x += Vectors * lanes, w += Vectors * w_vector) {
        vector sum[Pixels][Vectors];
#pragma GCC unroll 8
        for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v)
            sum[j][v] = bias ? hn::LoadU(d, bias + c + v * lanes) : hn::Zero(d);
#pragma GCC unroll 3
        for (index_t r = 0; r < rows; ++r) {
          vector factor[Columns][Vectors];
#pragma GCC unroll 8
          for (int s = 0; s < Columns; ++s)
#pragma GCC unroll 2
            for (int v = 0; v < Vectors; ++v)
              factor[s][v] = hn::LoadU(d, w + r * w_row + s * w_tap + v * w_vector);
          for_each_meeting<Columns, Step, Pixels, Vectors>(
              x + r * row_tap, tap, begin, end, [&](int s, int j, int v, vector input) HWY_ATTR {
                sum[j][v] = hn::MulAdd(input, factor[s][v], sum[j][v]);
              });
        }
#pragma GCC unroll 8
        for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v) hn::StoreU(sum[j][v], d, to + j * pixel + c + v * lanes);
      }
    }
  }
}
/// Rows of filters of three are known beforehand where none or one is outside.
template <int Columns, int Step, int Pixels, int Vectors = 1>
index_t forward_row(const depthwise_block& t, index_t blocks) {
  const index_t rows = t.row_end - t.row_begin;
  if (Columns == 3 && rows == 3)
    forward_rows<Columns, Step, Pixels, Vectors, 3>(t, blocks);
  else if (Columns == 3 && rows == 2)
    forward_rows<Columns, Step, Pixels, Vectors, 2>(t, blocks);
  else
    forward_rows<Columns, Step, Pixels, Vectors, 0>(t, blocks);
  return blocks * Pixels;
}

template <int Columns, int Step, int Pixels, int Rows>
void weights_rows(const depthwise_block& t, index_t blocks) {
  const numbers d;
  const index_t tap = t.tap, row_tap = t.row_tap;
  const index_t w_row = t.w_row, w_tap = t.w_tap, w_vector = t.w_vector, pixel = t.pixel;
  const index_t rows = Rows > 0 ? Rows : t.row_end - t.row_begin, channels = t.channels;
  const index_t down = t.down, down_row = t.down_row, out_row = t.out_row;
  const float* HWY_RESTRICT out = t.out;
  index_t begin = t.column_begin, end = t.column_end, from = t.from + t.row_begin * row_tap;
  for (; blocks > 0; --blocks, begin -= Pixels * Step, end -= Pixels * Step, from += Pixels * Step * tap,
                     out += Pixels * pixel)
    for (index_t i = 0; i < down; ++i) {
      const float* HWY_RESTRICT slopes = out + i * out_row;
      const float* HWY_RESTRICT x = t.x + (from + i * down_row);
      float* HWY_RESTRICT w = t.w + t.row_begin * w_row;
      for (index_t c = 0; c < channels; c += lanes, x += lanes, w += w_vector) {
        vector dy[Pixels];
#pragma GCC unroll 8
        for (int j = 0; j < Pixels; ++j) dy[j] = hn::LoadU(d, slopes + j * pixel + c);
#pragma GCC unroll 3
        for (index_t r = 0; r < rows; ++r) {
          vector sum[Columns];
#pragma GCC unroll 8
          for (int s = 0; s < Columns; ++s) sum[s] = hn::LoadU(d, w + r * w_row + s * w_tap);
          for_each_meeting<Columns, Step, Pixels, 1>(
              x + r * row_tap, tap, begin, end,
              [&](int s, int j, int, vector input) HWY_ATTR { sum[s] = hn::MulAdd(input, dy[j], sum[s]); });
#pragma GCC unroll 8
          for (int s = 0; s < Columns; ++s) hn::StoreU(sum[s], d, w + r * w_row + s * w_tap);
        }
      }
    }
}
template <int Columns, int Step, int Pixels>
index_t weights_row(const depthwise_block& t, index_t blocks) {
  if (Columns == 3 && t.row_end - t.row_begin == 3)
    weights_rows<Columns, Step, Pixels, 3>(t, blocks);
  else
    weights_rows<Columns, Step, Pixels, 0>(t, blocks);
  return blocks * Pixels;
}

#if HWY_TARGET == HWY_AVX3
/// Calls f(o, r, s, j, x) as above for both rows of outputs o under 3 rows of taps r.
template <int Step, int Pixels, class F>
HWY_INLINE void for_each_meeting_of_two(const depthwise_block& t, index_t c, const F& f) {
#pragma GCC unroll 8
  for (int i = 0; i < Step + 3; ++i) {
    if (i < t.row_begin || i >= t.row_end) continue;
    for_each_meeting<3, Step, Pixels, 1>(t.x + (t.from + i * t.row_tap + c), t.tap, t.column_begin,
                                         t.column_end, [&](int s, int j, int, vector x) HWY_ATTR {
                                           if (i < 3) f(0, i, s, j, x);
                                           if (i >= Step) f(1, i - Step, s, j, x);
                                         });
  }
}
template <int Step, int Pixels>
void forward_two(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    const float* at = t.w + c / lanes * t.w_vector;
    vector sum[2][Pixels], w[3][3];
#pragma GCC unroll 16
    for (int i = 0; i < 9; ++i) w[i / 3][i % 3] = hn::LoadU(d, at + i / 3 * t.w_row + i % 3 * t.w_tap);
#pragma GCC unroll 16
    for (int i = 0; i < 2 * Pixels; ++i)
      sum[i / Pixels][i % Pixels] = t.bias ? hn::LoadU(d, t.bias + c) : hn::Zero(d);
    for_each_meeting_of_two<Step, Pixels>(t, c, [&](int o, int r, int s, int j, vector x) HWY_ATTR {
      sum[o][j] = hn::MulAdd(x, w[r][s], sum[o][j]);
    });
#pragma GCC unroll 16
    for (int i = 0; i < 2 * Pixels; ++i)
      hn::StoreU(sum[i / Pixels][i % Pixels], d, t.out + i / Pixels * t.out_row + i % Pixels * t.pixel + c);
  }
}
template <int Step, int Pixels>
void weights_two(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    float* at = t.w + c / lanes * t.w_vector;
    vector dy[2][Pixels], sum[3][3];
#pragma GCC unroll 16
    for (int i = 0; i < 9; ++i) sum[i / 3][i % 3] = hn::LoadU(d, at + i / 3 * t.w_row + i % 3 * t.w_tap);
#pragma GCC unroll 16
    for (int i = 0; i < 2 * Pixels; ++i)
      dy[i / Pixels][i % Pixels] = hn::LoadU(d, t.out + i / Pixels * t.out_row + i % Pixels * t.pixel + c);
    for_each_meeting_of_two<Step, Pixels>(t, c, [&](int o, int r, int s, int j, vector x) HWY_ATTR {
      sum[r][s] = hn::MulAdd(x, dy[o][j], sum[r][s]);
    });
#pragma GCC unroll 16
    for (int i = 0; i < 9; ++i) hn::StoreU(sum[i / 3][i % 3], d, at + i / 3 * t.w_row + i % 3 * t.w_tap);
  }
}
#endif

/// Any taps, one output.
void forward_single(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    vector sum = t.bias ? hn::LoadU(d, t.bias + c) : hn::Zero(d);
    for (index_t r = t.row_begin; r < t.row_end; ++r)
      for (index_t s = t.column_begin; s < std::min(t.column_end, t.columns); ++s)
        sum = hn::MulAdd(hn::LoadU(d, t.x + (t.from + r * t.row_tap + s * t.tap + c)),
                         hn::LoadU(d, t.w + r * t.w_row + s * t.w_tap + c / lanes * t.w_vector), sum);
    hn::StoreU(sum, d, t.out + c);
  }
}
void weights_single(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    const vector dy = hn::LoadU(d, t.out + c);
    for (index_t r = t.row_begin; r < t.row_end; ++r)
      for (index_t s = t.column_begin; s < std::min(t.column_end, t.columns); ++s) {
        float* w = t.w + r * t.w_row + s * t.w_tap + c / lanes * t.w_vector;
        const vector x = hn::LoadU(d, t.x + (t.from + r * t.row_tap + s * t.tap + c));
        hn::StoreU(hn::MulAdd(x, dy, hn::LoadU(d, w)), d, w);
      }
  }
}

template <bool Weights, int Columns, int Step, int Pixels>
index_t run_shared(const depthwise_block& t, index_t rows, index_t pixels) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (Columns == 3)
    if (rows == 2) return Weights ? weights_two<Step, Pixels>(t) : forward_two<Step, Pixels>(t), Pixels;
#endif
  (void)rows;
  return Weights ? weights_row<Columns, Step, Pixels>(t, pixels / Pixels)
                 : forward_row<Columns, Step, Pixels>(t, pixels / Pixels);
}

/// The block's first outputs, as many as there is a function for; returns how many in a row.
template <bool Weights, int Columns, int Step>
index_t run_some(const depthwise_block& t, index_t rows, index_t pixels) {
  if constexpr (HWY_TARGET == HWY_AVX2 && !Weights && Columns == 3)
    if (pixels >= 3 && t.crowded() && t.channels % (2 * lanes) == 0) {
      const index_t threes = pixels % 4 == 0 ? 0 : std::min(pixels / 3, 4 - pixels % 4),
                    fours = (pixels - 3 * threes) / 4;
      return fours > 0 ? forward_row<Columns, Step, 4, 2>(t, fours)
                       : forward_row<Columns, Step, 3, 2>(t, threes);
    }
  if (pixels >= 7) return run_shared<Weights, Columns, Step, 7>(t, rows, pixels);
  if (pixels >= 3) return run_shared<Weights, Columns, Step, 3>(t, rows, pixels);
  return run_shared<Weights, Columns, Step, 1>(t, rows, pixels);
}

/// One row or two, up to `pixels` neighbours; returns how many.
template <bool Weights>
index_t run_block(const depthwise_block& t, index_t rows, index_t pixels) {
  const bool near = t.column == t.tap, next = t.column == 2 * t.tap;
  if (near && t.columns == 3) return run_some<Weights, 3, 1>(t, rows, pixels);
  if (next && t.columns == 3) return run_some<Weights, 3, 2>(t, rows, pixels);
  if (near && t.columns == 5) return run_some<Weights, 5, 1>(t, rows, pixels);
  if (next && t.columns == 5) return run_some<Weights, 5, 2>(t, rows, pixels);
  if (near && t.columns == 2) return run_some<Weights, 2, 1>(t, rows, pixels);
  if (near && t.columns == 1) return run_some<Weights, 1, 1>(t, rows, pixels);
  Weights ? weights_single(t) : forward_single(t);
  return 1;
}

}  // namespace

struct depthwise_functions {
  index_t lanes, rows;
  index_t (*forward)(const depthwise_block&, index_t, index_t);
  index_t (*weights)(const depthwise_block&, index_t, index_t);
};
constexpr depthwise_functions depthwise = {lanes, rows_at_once, run_block<false>, run_block<true>};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plumb {
namespace {

enum class direction { forward, backward_data, backward_weights };
constexpr index_t line = aligned_buffer::line;
constexpr index_t most_chunks = 8, chunk_pixels = 96;

/// One instruction set.
struct depthwise_target {
  const tile_target* tile;  ///< of the same instruction set, for its transpose
  index_t lanes;
  index_t rows;  ///< of outputs that a block may have
  index_t (*forward)(const depthwise_block&, index_t rows, index_t pixels);
  index_t (*weights)(const depthwise_block&, index_t rows, index_t pixels);
};

class depthwise_plan final : public plan {
 public:
  depthwise_plan(const depthwise_target& target, const kernel_problem& kp, direction pass)
      : target_(target), pass_(pass), last_(kp.layout == layout::nhwc), a_(read_conv_arguments(kp.problem)) {
    const auto reaches = [this](const conv_axis& axis) {
      return pass_ == direction::backward_data ? backward_reaches(axis, a_.flip)
                                               : std::vector{forward_reach(axis, a_.flip)};
    };
    for (const conv_reach& rows : reaches(a_.height()))
      for (const conv_reach& columns : reaches(a_.width())) grids_.push_back(grid_of(rows, columns));
    for (const grid& g : grids_) bands_ = std::max(bands_, (g.rows.outputs + g.together - 1) / g.together);
    if (pass != direction::backward_weights) weights_ = aligned_buffer(a_.taps() * a_.c);
    chunks_ = a_.n == 0 ? 0 : std::clamp<index_t>(a_.n * a_.out_size() / chunk_pixels, 1, most_chunks);
    parts_ = parts_for(chunks_, kp.threads);
  }

  std::size_t workspace_size() const override {
    const index_t sums = pass_ == direction::backward_weights ? chunks_ * partial() : 0;
    return sizeof(float) * static_cast<std::size_t>(sums + (last_ ? 0 : copy_size(true) + copy_size(false)));
  }

  /// The whole filter, tap by tap; grids take their taps out of it.
  void prepare(std::span<const tensor_ref> reads) override {
    if (pass_ == direction::backward_weights) return;
    const auto* weight = static_cast<const float*>(reads[1].data);
    for (index_t c = 0; c < a_.c; ++c)
      for (index_t t = 0; t < a_.taps(); ++t) weights_.data()[packed_at(t, c)] = weight[c * a_.taps() + t];
  }

  void run(const kernel_call& call) noexcept override {
    if (pass_ == direction::backward_weights) return run_weights(call);
    const bool forward = pass_ == direction::forward;
    const auto* x = static_cast<const float*>(call.reads[0].data);
    auto* y = static_cast<float*>(call.writes[0].data);
    const auto* bias = forward && a_.bias ? static_cast<const float*>(call.reads[2].data) : nullptr;
    auto* x_copy = static_cast<float*>(call.workspace);
    float* y_copy = x_copy + copy_size(forward);
#pragma omp parallel num_threads(call.threads)
    for (index_t n = 0; n < a_.n; n += images_at_once()) {
      const float* from = x + n * in_image(forward);
      float* to = y + n * in_image(!forward);
      if (!last_) turn_in(from, forward, x_copy);
      run_images(call.threads, last_ ? from : x_copy, last_ ? to : y_copy, bias);
      if (last_) continue;
#pragma omp barrier
      turn_out(y_copy, !forward, to);
    }
  }

 private:
  /// The fewest parts of the lines of channels with which no thread has much more than its share of so many chunks: a pixel
  /// is best read as a whole.
  even_parts parts_for(index_t chunks, index_t threads) const {
    const index_t lines = (a_.c + line - 1) / line;
    for (index_t parts = 1; parts < lines; ++parts) {
      const even_parts cut(lines, (lines + parts - 1) / parts);
      const index_t tasks = chunks * cut.parts, largest = (tasks + threads - 1) / threads;
      if (20 * (largest * threads - tasks) <= tasks) return cut;
    }
    return {lines, 1};
  }

  struct grid {
    conv_reach rows, columns;
    index_t first, last;  ///< the outputs of a row that have taps inside the image
    bool shared;          ///< 3×3 taps whose neighbours read the same inputs
    index_t together;     ///< rows of outputs in a block
  };
  struct channel_range {
    index_t begin, end;
  };

  grid grid_of(const conv_reach& rows, const conv_reach& columns) const {
    grid g{rows, columns, 0, columns.outputs, false, 1};
    while (g.first < g.last && columns.inside(g.first).size() <= 0) ++g.first;
    while (g.first < g.last && columns.inside(g.last - 1).size() <= 0) --g.last;
    const index_t step = columns.in_step / columns.in_tap;
    g.shared = g.first == 0 && g.last == columns.outputs && rows.taps == 3 && columns.taps == 3 &&
               (step == 1 || step == 2) && step * rows.in_tap == rows.in_step &&
               step * columns.in_tap == columns.in_step;
    if (g.shared) g.together = target_.rows;
    return g;
  }

  /// Where tap number `t` of channel `c` is kept: vectors of channels one after the other, all taps of each.
  index_t packed_at(index_t t, index_t c) const {
    return (c / target_.lanes * a_.taps() + t) * target_.lanes + c % target_.lanes;
  }
  index_t partial() const { return aligned_buffer::padded(a_.taps() * a_.c); }
  index_t in_image(bool forward) const { return (forward ? a_.in_size() : a_.out_size()) * a_.c; }
  index_t copy_size(bool forward) const { return aligned_buffer::padded(in_image(forward)); }
  index_t images_at_once() const { return last_ ? std::max<index_t>(1, a_.n) : 1; }

  /// One image from NCHW, shared by the threads: rows of `line` channels.
  void turn_in(const float* from, bool forward, float* to) const {
    const conv_axis &rows = a_.height(), &columns = a_.width();
    const index_t height = forward ? rows.in : rows.out, width = forward ? columns.in : columns.out;
#pragma omp for schedule(static)
    for (index_t i = 0; i < (a_.c + line - 1) / line * height; ++i) {
      const index_t c = i / height * line, h = i % height;
      target_.tile->transpose(from + c * height * width + h * width, height * width, std::min(line, a_.c - c),
                              width, to + h * width * a_.c + c, a_.c);
    }
  }
  /// And back.
  void turn_out(const float* from, bool forward, float* to) const {
    const conv_axis &rows = a_.height(), &columns = a_.width();
    const index_t height = forward ? rows.in : rows.out, width = forward ? columns.in : columns.out;
#pragma omp for schedule(static)
    for (index_t i = 0; i < (a_.c + line - 1) / line * height; ++i) {
      const index_t c = i / height * line, h = i % height;
      target_.tile->transpose(from + h * width * a_.c + c, a_.c, width, std::min(line, a_.c - c),
                              to + c * height * width + h * width, height * width);
    }
  }

  /// forward and backward-data of `images_at_once` channels-last images, in shares of whole rows but for the channels of
  /// a row at either end. A thread that is done does not wait.
  void run_images(int threads, const float* x, float* y, const float* bias) const {
    const bool forward = pass_ == direction::forward;
    const index_t images = last_ ? a_.n : 1;
    const index_t lines = (a_.c + line - 1) / line, all = images * bands_ * lines;
#pragma omp for schedule(static) nowait
    for (int share = 0; share < threads; ++share) {
      const index_t end = all * (share + 1) / threads;
      for (index_t i = all * share / threads, next = i; i < end; i = next) {
        const index_t band = i / lines, first = i % lines;
        const bool part = first > 0 || end - i < lines;
        const index_t bands = part ? 1 : std::min((end - i) / lines, bands_ - band % bands_);
        next = part ? std::min(end, i - first + lines) : i + bands * lines;
        const channel_range channels = {first * line, std::min(a_.c, (first + next - i) * line)};
        const index_t n = band / bands_;
        run_bands(band % bands_, bands, part ? channels : channel_range{0, a_.c}, x + n * in_image(forward),
                  bias, y + n * in_image(!forward));
      }
    }
  }

  /// Where a row reads again what the row above has read, blocks go down through all rows that are alike before the next
  /// block begins, unless pixels are so short that it is better to go along the row: how many rows, from number `first` on.
  index_t rows_down(index_t first, index_t end) const {
    constexpr index_t long_pixel = 64;
    const grid& g = grids_[0];
    index_t last = first + 1;
    if (grids_.size() == 1 && g.shared && g.together == 1 && a_.c >= long_pixel && whole(g, first))
      while (last < end && whole(g, last)) ++last;
    return last - first;
  }

  /// Neighbouring bands of one image.
  void run_bands(index_t first, index_t bands, const channel_range& channels, const float* x,
                 const float* bias, float* y) const {
    for (index_t band = first, down = 1; band < first + bands; band += down) {
      down = rows_down(band, first + bands);
      for (const grid& g : grids_)
        if (band * g.together < g.rows.outputs)
          run_rows(g, band * g.together, std::min(g.together, g.rows.outputs - band * g.together), down,
                   channels, x, weights_.data(), bias, y, target_.forward);
    }
  }

  /// Whether all taps of row `i` of the outputs lie inside the image.
  static bool whole(const grid& g, index_t i) {
    const index_t row = g.rows.in_first + i * g.rows.in_step;
    return row >= 0 && row + (g.rows.taps - 1) * g.rows.in_tap < g.rows.in;
  }

  /// How far taps reach inside the image from position `at` on: those before number `size` that lie in it.
  static conv_reach::range reach(const conv_reach& axis, index_t at, index_t size) {
    const auto up = [&](index_t distance) { return (distance + axis.in_tap - 1) / axis.in_tap; };
    return {at < 0 ? up(-at) : 0, std::clamp<index_t>(at < axis.in ? up(axis.in - at) : 0, 0, size)};
  }

  /// One row or two of the grid's outputs of one image, from number `i` on, and so many that are like them below, some of
  /// the channels.
  void run_rows(const grid& g, index_t i, index_t rows, index_t down, const channel_range& channels,
                const float* x, float* w, const float* bias, float* out,
                index_t (*block)(const depthwise_block&, index_t, index_t)) const {
    const bool back = pass_ == direction::backward_data;
    const index_t in_width = back ? a_.width().out : a_.width().in;
    const index_t out_width = back ? a_.width().in : a_.width().out;
    const index_t c = channels.begin;
    const index_t row = g.rows.in_first + i * g.rows.in_step;
    const conv_reach::range inside =
        reach(g.rows, row, (rows - 1) * g.rows.in_step / g.rows.in_tap + g.rows.taps);
    depthwise_block t{};
    t.down = down;
    t.down_row = g.rows.in_step * in_width * a_.c;
    t.row_begin = inside.begin;
    t.row_end = inside.end;
    t.row_tap = g.rows.in_tap * in_width * a_.c;
    t.tap = g.columns.in_tap * a_.c;
    t.column = g.columns.in_step * a_.c;
    t.rows = g.rows.taps;
    t.w_row = g.rows.weight_step * a_.width().taps * target_.lanes;
    t.w_tap = g.columns.weight_step * target_.lanes;
    t.w_vector = a_.taps() * target_.lanes;
    t.w = w + packed_at(g.rows.weight_first * a_.width().taps + g.columns.weight_first, c);
    t.out_row = g.rows.out_step * out_width * a_.c;
    t.pixel = g.columns.out_step * a_.c;
    t.channels = channels.end - c;
    t.x = x;
    if (bias) t.bias = bias + c;
    index_t pixels = 0;
    for (index_t j = 0; j < g.columns.outputs; j += pixels) {
      const bool empty = j < g.first || j >= g.last;
      const index_t column = g.columns.in_first + j * g.columns.in_step;
      const conv_reach::range across = reach(g.columns, column, std::numeric_limits<index_t>::max());
      t.from = (row * in_width + column) * a_.c + c;
      t.columns = empty ? 0 : g.columns.taps;
      t.column_begin = empty ? 0 : across.begin;
      t.column_end = empty ? 0 : across.end;
      t.out = out +
              ((g.rows.out_first + i * g.rows.out_step) * out_width + g.columns.out_first +
               j * g.columns.out_step) *
                  a_.c +
              c;
      pixels = block(t, rows, g.last - j);
    }
  }

  void run_weights(const kernel_call& call) const {
    const auto* dy = static_cast<const float*>(call.reads[0].data);
    const auto* x = static_cast<const float*>(call.reads[1].data);
    auto* dw = static_cast<float*>(call.writes[0].data);
    auto* sums = static_cast<float*>(call.workspace);
    float* x_copy = sums + chunks_ * partial();
    float* dy_copy = x_copy + copy_size(true);
#pragma omp parallel num_threads(call.threads)
    {
      for (index_t n = 0; n < a_.n; n += images_at_once()) {
        const float *from = x + n * in_image(true), *slopes = dy + n * in_image(false);
        if (!last_) {
          turn_in(from, true, x_copy);
          turn_in(slopes, false, dy_copy);
        }
#pragma omp for schedule(static)
        for (index_t i = 0; i < chunks_ * parts_.parts; ++i)
          add_chunk(i / parts_.parts, i % parts_.parts, n, last_ ? slopes : dy_copy, last_ ? from : x_copy,
                    sums);
      }
#pragma omp for schedule(static)
      for (index_t c = 0; c < a_.c; c += target_.lanes) add_up(sums + packed_at(0, c), dw + c * a_.taps());
    }
  }

  /// The chunks' sums of one vector of channels, in order, and as the filters lie.
  void add_up(const float* sums, float* dw) const {
    for (index_t lane = 0; lane < target_.lanes; ++lane)
      for (index_t t = 0; t < a_.taps(); ++t) {
        float sum = 0;
        for (index_t chunk = 0; chunk < chunks_; ++chunk)
          sum += sums[chunk * partial() + t * target_.lanes + lane];
        dw[lane * a_.taps() + t] = sum;
      }
  }

  /// What the images from number `first` on, as many as there are at once, have in a chunk of the rows of all images.
  void add_chunk(index_t chunk, index_t part, index_t first, const float* dy, const float* x,
                 float* sums) const {
    const index_t height = a_.height().out, rows = a_.n * height;
    const index_t begin = std::max(rows * chunk / chunks_, first * height);
    const index_t end = std::min(rows * (chunk + 1) / chunks_, (first + images_at_once()) * height);
    const grid& g = grids_[0];
    const channel_range channels = {parts_.begin(part) * line, std::min(a_.c, parts_.begin(part + 1) * line)};
    float* w = sums + chunk * partial();
    if (first == 0) std::fill(w + packed_at(0, channels.begin), w + packed_at(0, channels.end), 0.0F);
    index_t done = 0;
    for (index_t i = begin; i < end; i += done) {
      const index_t n = i / height - first, row = i % height, last = std::min(end - i + row, height);
      const index_t together = std::min(g.together, last - row), down = rows_down(row, last);
      done = together * down;
      run_rows(g, row, together, down, channels, x + n * in_image(true), w, nullptr,
               const_cast<float*>(dy) + n * in_image(false), target_.weights);
    }
  }

  const depthwise_target& target_;
  direction pass_;
  bool last_;  ///< channels last
  conv_arguments a_;
  std::vector<grid> grids_;
  index_t bands_ = 0;  ///< blocks of rows, of the grid that has most
  index_t chunks_ = 1;
  even_parts parts_{1, 1};  ///< of the lines of channels, backward-weights
  aligned_buffer weights_;
};

kernel make_kernel(const std::string& layer, const depthwise_target& target, const std::string& name,
                   bool runs_here, const std::string& pass, direction d) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/depthwise@" + name;
  if (!runs_here) k.unavailable = "this processor lacks " + name;
  k.supports = [&target](const kernel_problem& kp) {
    const support s = conv_support(kp);
    if (!s.ok) return s;
    const conv_arguments a = read_conv_arguments(kp.problem);
    if (a.groups != a.c || a.c != a.k) return support::no("not one filter a channel");
    return a.c % target.lanes == 0 ? support::yes() : support::no("the channels do not fill whole vectors");
  };
  k.make_plan = [&target, d](const kernel_problem& kp) -> std::unique_ptr<plan> {
    return std::make_unique<depthwise_plan>(target, kp, d);
  };
  return k;
}

template <class Functions>
void add_rows(registry& kernels, const std::string& name, std::int64_t bit, const Functions& f) {
  const auto tile =
      std::ranges::find_if(tile_targets(), [&](const tile_target& t) { return t.name == name; });
  static const depthwise_target target = {&*tile, f.lanes, f.rows, f.forward, f.weights};
  const bool runs_here = (hwy::SupportedTargets() & bit) != 0;
  for (const std::string layer : {"conv1d", "conv2d"}) {
    kernels.add(make_kernel(layer, target, name, runs_here, "forward", direction::forward));
    kernels.add(make_kernel(layer, target, name, runs_here, "backward_data", direction::backward_data));
    kernels.add(make_kernel(layer, target, name, runs_here, "backward_weights", direction::backward_weights));
  }
}

}  // namespace

void register_conv2d_depthwise(registry& kernels) {
#if HWY_TARGETS & HWY_AVX3
  add_rows(kernels, "avx3", HWY_AVX3, N_AVX3::depthwise);
#endif
#if HWY_TARGETS & HWY_AVX2
  add_rows(kernels, "avx2", HWY_AVX2, N_AVX2::depthwise);
#endif
#if HWY_TARGETS & HWY_SSE4
  add_rows(kernels, "sse4", HWY_SSE4, N_SSE4::depthwise);
#endif
#if HWY_TARGETS & HWY_SCALAR
  add_rows(kernels, "scalar", HWY_SCALAR, N_SCALAR::depthwise);
#endif
}

}  // namespace plumb
#endif
