// Depthwise convolution, one filter a channel: forward, backward-data and backward-weights. A vector holds neighbouring
// channels; up to 7 neighbouring outputs of a row are computed together, and under 3×3 taps, where there are 32 registers,
// those of two rows. An input that several of them read is loaded once, and the 9 weights stay where they are: 36 loads of
// x and 9 of w for 126 multiply-adds.
//   prepare    w[c,r,s] → packed[grid][r][s][c]
//   plan       outputs → bands of one row or two → blocks of 7, 3 or 1 of a row; what a block would read outside the image
//              are its first or last few inputs, which are passed over
//   forward    block: for every vector of channels, sums over the taps, stored once
//   backward   data: the same with dy in the place of x, one grid of dx positions for each residue modulo the stride
//              (conv_reach.hpp)
//   weights    dw[r][s][c] += Σ_block dy·x; the rows of outputs are cut into chunks with sums of their own, which are
//              added up in order; how many depends on the problem only
//   threads    share the rows, and where there are few, the channels too
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
  index_t rows, columns;             ///< taps
  const float* bias;
  float* out;              ///< backward-weights reads dy here
  index_t out_row, pixel;  ///< elements from output to output
  index_t channels;
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

/// Calls f(s, j, x) for every tap s < Columns and output j < Pixels of a row that meet in an input of row `x` inside the
/// image. Every output has such an input, so only the first and the last few can be missing.
template <int Columns, int Step, int Pixels, class F>
HWY_INLINE void for_each_meeting(const depthwise_block& t, const float* x, const F& f) {
  const numbers d;
#pragma GCC unroll 32
  for (int k = 0; k < (Pixels - 1) * Step + Columns; ++k) {
    if (k < Columns - 1 && k < t.column_begin) continue;
    if (k > (Pixels - 1) * Step && k >= t.column_end) continue;
    const vector input = hn::LoadU(d, x + k * t.tap);
#pragma GCC unroll 8
    for (int s = 0; s < Columns; ++s)
      if (k >= s && (k - s) % Step == 0 && (k - s) / Step < Pixels) f(s, (k - s) / Step, input);
  }
}

/// One row of outputs, any number of rows of taps.
template <int Columns, int Step, int Pixels>
void forward_row(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    vector sum[Pixels], w[Columns];
#pragma GCC unroll 8
    for (int j = 0; j < Pixels; ++j) sum[j] = t.bias ? hn::LoadU(d, t.bias + c) : hn::Zero(d);
    for (index_t r = t.row_begin; r < t.row_end; ++r) {
#pragma GCC unroll 8
      for (int s = 0; s < Columns; ++s) w[s] = hn::LoadU(d, t.w + r * t.w_row + s * t.w_tap + c);
      for_each_meeting<Columns, Step, Pixels>(t, t.x + (t.from + r * t.row_tap + c),
                                              [&](int s, int j, vector x)
                                                  HWY_ATTR { sum[j] = hn::MulAdd(x, w[s], sum[j]); });
    }
#pragma GCC unroll 8
    for (int j = 0; j < Pixels; ++j) hn::StoreU(sum[j], d, t.out + j * t.pixel + c);
  }
}
/// Whether pixels lie a power of two apart, and so far that eight of them want the same places in the first cache.
inline bool crowded(index_t step) { return step >= 128 && (step & (step - 1)) == 0; }

/// Two vectors of channels at once, which are a line of the cache: where pixels are crowded, a line that is read by
/// halves is fetched twice.
template <int Columns, int Step, int Pixels>
void forward_lines(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += 2 * lanes) {
    vector sum[Pixels][2], w[Columns][2];
#pragma GCC unroll 8
    for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) sum[j][v] = t.bias ? hn::LoadU(d, t.bias + c + v * lanes) : hn::Zero(d);
    for (index_t r = t.row_begin; r < t.row_end; ++r) {
#pragma GCC unroll 8
      for (int s = 0; s < Columns; ++s)
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) w[s][v] = hn::LoadU(d, t.w + r * t.w_row + s * t.w_tap + c + v * lanes);
      const float* x = t.x + (t.from + r * t.row_tap + c);
#pragma GCC unroll 32
      for (int k = 0; k < (Pixels - 1) * Step + Columns; ++k) {
        if (k < Columns - 1 && k < t.column_begin) continue;
        if (k > (Pixels - 1) * Step && k >= t.column_end) continue;
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          const vector input = hn::LoadU(d, x + k * t.tap + v * lanes);
#pragma GCC unroll 8
          for (int s = 0; s < Columns; ++s)
            if (k >= s && (k - s) % Step == 0 && (k - s) / Step < Pixels)
              sum[(k - s) / Step][v] = hn::MulAdd(input, w[s][v], sum[(k - s) / Step][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) hn::StoreU(sum[j][v], d, t.out + j * t.pixel + c + v * lanes);
  }
}

template <int Columns, int Step, int Pixels>
void weights_row(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    vector dy[Pixels], sum[Columns];
#pragma GCC unroll 8
    for (int j = 0; j < Pixels; ++j) dy[j] = hn::LoadU(d, t.out + j * t.pixel + c);
    for (index_t r = t.row_begin; r < t.row_end; ++r) {
      float* w = t.w + r * t.w_row + c;
#pragma GCC unroll 8
      for (int s = 0; s < Columns; ++s) sum[s] = hn::LoadU(d, w + s * t.w_tap);
      for_each_meeting<Columns, Step, Pixels>(t, t.x + (t.from + r * t.row_tap + c),
                                              [&](int s, int j, vector x)
                                                  HWY_ATTR { sum[s] = hn::MulAdd(x, dy[j], sum[s]); });
#pragma GCC unroll 8
      for (int s = 0; s < Columns; ++s) hn::StoreU(sum[s], d, w + s * t.w_tap);
    }
  }
}

#if HWY_TARGET == HWY_AVX3
/// Calls f(o, r, s, j, x) as above for both rows of outputs o under 3 rows of taps r.
template <int Step, int Pixels, class F>
HWY_INLINE void for_each_meeting_of_two(const depthwise_block& t, index_t c, const F& f) {
#pragma GCC unroll 8
  for (int i = 0; i < Step + 3; ++i) {
    if (i < t.row_begin || i >= t.row_end) continue;
    for_each_meeting<3, Step, Pixels>(t, t.x + (t.from + i * t.row_tap + c),
                                      [&](int s, int j, vector x) HWY_ATTR {
                                        if (i < 3) f(0, i, s, j, x);
                                        if (i >= Step) f(1, i - Step, s, j, x);
                                      });
  }
}
template <int Step, int Pixels>
void forward_two(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    vector sum[2][Pixels], w[3][3];
#pragma GCC unroll 16
    for (int i = 0; i < 9; ++i) w[i / 3][i % 3] = hn::LoadU(d, t.w + i / 3 * t.w_row + i % 3 * t.w_tap + c);
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
    vector dy[2][Pixels], sum[3][3];
#pragma GCC unroll 16
    for (int i = 0; i < 9; ++i) sum[i / 3][i % 3] = hn::LoadU(d, t.w + i / 3 * t.w_row + i % 3 * t.w_tap + c);
#pragma GCC unroll 16
    for (int i = 0; i < 2 * Pixels; ++i)
      dy[i / Pixels][i % Pixels] = hn::LoadU(d, t.out + i / Pixels * t.out_row + i % Pixels * t.pixel + c);
    for_each_meeting_of_two<Step, Pixels>(t, c, [&](int o, int r, int s, int j, vector x) HWY_ATTR {
      sum[r][s] = hn::MulAdd(x, dy[o][j], sum[r][s]);
    });
#pragma GCC unroll 16
    for (int i = 0; i < 9; ++i) hn::StoreU(sum[i / 3][i % 3], d, t.w + i / 3 * t.w_row + i % 3 * t.w_tap + c);
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
                         hn::LoadU(d, t.w + r * t.w_row + s * t.w_tap + c), sum);
    hn::StoreU(sum, d, t.out + c);
  }
}
void weights_single(const depthwise_block& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    const vector dy = hn::LoadU(d, t.out + c);
    for (index_t r = t.row_begin; r < t.row_end; ++r)
      for (index_t s = t.column_begin; s < std::min(t.column_end, t.columns); ++s) {
        float* w = t.w + r * t.w_row + s * t.w_tap + c;
        const vector x = hn::LoadU(d, t.x + (t.from + r * t.row_tap + s * t.tap + c));
        hn::StoreU(hn::MulAdd(x, dy, hn::LoadU(d, w)), d, w);
      }
  }
}

template <bool Weights, int Columns, int Step, int Pixels>
index_t run_shared(const depthwise_block& t, index_t rows) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (Columns == 3)
    if (rows == 2) return Weights ? weights_two<Step, Pixels>(t) : forward_two<Step, Pixels>(t), Pixels;
#endif
  (void)rows;
  return Weights ? weights_row<Columns, Step, Pixels>(t) : forward_row<Columns, Step, Pixels>(t), Pixels;
}

/// The block's first outputs, as many as there is a function for; returns how many in a row.
template <bool Weights, int Columns, int Step>
index_t run_some(const depthwise_block& t, index_t rows, index_t pixels) {
  if constexpr (HWY_TARGET == HWY_AVX2 && !Weights && Columns == 3)
    if (pixels >= 3 && crowded(t.tap) && t.channels % (2 * lanes) == 0)
      return forward_lines<Columns, Step, 3>(t), 3;
  if (pixels >= 7) return run_shared<Weights, Columns, Step, 7>(t, rows);
  if (pixels >= 3) return run_shared<Weights, Columns, Step, 3>(t, rows);
  return run_shared<Weights, Columns, Step, 1>(t, rows);
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
constexpr index_t most_chunks = 8, chunk_pixels = 1024;

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
    chunks_ = std::clamp<index_t>(a_.n * a_.out_size() / chunk_pixels, 1, most_chunks);
    const index_t tasks = pass == direction::backward_weights ? chunks_ : a_.n * bands_;
    parts_ = even_parts((a_.c + line - 1) / line,
                        tasks >= 8 * kp.threads ? a_.c : (a_.c + 4 * line - 1) / (4 * line));
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
      for (index_t t = 0; t < a_.taps(); ++t) weights_.data()[t * a_.c + c] = weight[c * a_.taps() + t];
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
      run_images(last_ ? from : x_copy, last_ ? to : y_copy, bias);
      if (last_) continue;
#pragma omp barrier
      turn_out(y_copy, !forward, to);
    }
  }

 private:
  struct grid {
    conv_reach rows, columns;
    index_t first, last;  ///< the outputs of a row that have taps inside the image
    index_t together;     ///< rows of outputs in a block
  };

  grid grid_of(const conv_reach& rows, const conv_reach& columns) const {
    grid g{rows, columns, 0, columns.outputs, 1};
    while (g.first < g.last && columns.inside(g.first).size() <= 0) ++g.first;
    while (g.first < g.last && columns.inside(g.last - 1).size() <= 0) --g.last;
    const index_t step = columns.in_step / columns.in_tap;
    if (g.first == 0 && g.last == columns.outputs && rows.taps == 3 && columns.taps == 3 &&
        (step == 1 || step == 2) && step * rows.in_tap == rows.in_step &&
        step * columns.in_tap == columns.in_step)
      g.together = target_.rows;
    return g;
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

  /// forward and backward-data of `images_at_once` channels-last images. A thread that is done does not wait.
  void run_images(const float* x, float* y, const float* bias) const {
    const bool forward = pass_ == direction::forward;
    const index_t images = last_ ? a_.n : 1;
#pragma omp for schedule(static) nowait
    for (index_t i = 0; i < images * bands_ * parts_.parts; ++i)
      for (const grid& g : grids_) {
        const index_t part = i / (images * bands_), n = i / bands_ % images, row = i % bands_ * g.together;
        if (row < g.rows.outputs)
          run_band(g, row, std::min(g.together, g.rows.outputs - row), part, x + n * in_image(forward),
                   weights_.data(), bias, y + n * in_image(!forward), target_.forward);
      }
  }

  /// How far taps reach inside the image from position `at` on: those before number `size` that lie in it.
  static conv_reach::range reach(const conv_reach& axis, index_t at, index_t size) {
    const auto up = [&](index_t distance) { return (distance + axis.in_tap - 1) / axis.in_tap; };
    return {at < 0 ? up(-at) : 0, std::clamp<index_t>(at < axis.in ? up(axis.in - at) : 0, 0, size)};
  }

  /// One row or two of the grid's outputs of one image, from number `i` on, the channels of one part.
  void run_band(const grid& g, index_t i, index_t rows, index_t part, const float* x, float* w,
                const float* bias, float* out,
                index_t (*block)(const depthwise_block&, index_t, index_t)) const {
    const bool back = pass_ == direction::backward_data;
    const index_t in_width = back ? a_.width().out : a_.width().in;
    const index_t out_width = back ? a_.width().in : a_.width().out;
    const index_t c = parts_.begin(part) * line;
    const index_t row = g.rows.in_first + i * g.rows.in_step;
    const conv_reach::range inside =
        reach(g.rows, row, (rows - 1) * g.rows.in_step / g.rows.in_tap + g.rows.taps);
    depthwise_block t{};
    t.row_begin = inside.begin;
    t.row_end = inside.end;
    t.row_tap = g.rows.in_tap * in_width * a_.c;
    t.tap = g.columns.in_tap * a_.c;
    t.column = g.columns.in_step * a_.c;
    t.rows = g.rows.taps;
    t.w_row = g.rows.weight_step * a_.width().taps * a_.c;
    t.w_tap = g.columns.weight_step * a_.c;
    t.w = w + (g.rows.weight_first * a_.width().taps + g.columns.weight_first) * a_.c + c;
    t.out_row = g.rows.out_step * out_width * a_.c;
    t.pixel = g.columns.out_step * a_.c;
    t.channels = std::min(a_.c, parts_.begin(part + 1) * line) - c;
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
#pragma omp for schedule(static)
      for (index_t i = 0; i < chunks_ * partial(); ++i) sums[i] = 0;
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
      for (index_t c = 0; c < a_.c; ++c)
        for (index_t t = 0; t < a_.taps(); ++t) {
          float sum = 0;
          for (index_t chunk = 0; chunk < chunks_; ++chunk) sum += sums[chunk * partial() + t * a_.c + c];
          dw[c * a_.taps() + t] = sum;
        }
    }
  }

  /// What the images from number `first` on, as many as there are at once, have in a chunk of the rows of all images.
  void add_chunk(index_t chunk, index_t part, index_t first, const float* dy, const float* x,
                 float* sums) const {
    const index_t height = a_.height().out, rows = a_.n * height;
    const index_t begin = std::max(rows * chunk / chunks_, first * height);
    const index_t end = std::min(rows * (chunk + 1) / chunks_, (first + images_at_once()) * height);
    const grid& g = grids_[0];
    index_t together = 0;
    for (index_t i = begin; i < end; i += together) {
      const index_t n = i / height - first;
      together = std::min({g.together, end - i, height - i % height});
      run_band(g, i % height, together, part, x + n * in_image(true), sums + chunk * partial(), nullptr,
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
  even_parts parts_{1, 1};  ///< of the lines of channels
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
