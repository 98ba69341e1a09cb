// Depthwise convolution, one filter a channel: forward, backward-data and backward-weights. A vector holds neighbouring
// channels; up to 6 neighbouring outputs of a row are computed together, so that an input
// that several of them read under neighbouring taps is loaded once: a row of 3 taps and 6 outputs costs 8 loads of x
// and 3 of w for 18 multiply-adds.
//   prepare    w[c,r,s] → packed[grid][r][s][c]
//   plan       outputs → rectangles whose pixels have the same taps inside the image → strips of up to 6 pixels of a row
//   forward    strip: for every vector of channels, sums over the taps, stored once
//   backward   data: the same with dy in the place of x, one grid of dx positions for each residue modulo the stride
//              (conv_reach.hpp)
//   weights    dw[r][s][c] += Σ_strip dy·x; the rows of outputs are cut into chunks with sums of their own, which are
//              added up in order; how many depends on the problem only
//   threads    share the rows, and where there are few, the channels too
//   NCHW       image by image, transposed on the way in and out, sixteen channels at a time
// Each sum has one order, so the thread count cannot change a bit. Zhang, Lo & Lu 2020, "High performance depthwise and
// pointwise convolutions on mobile devices".
#include <algorithm>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/conv2d_depthwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef PLUMB_DEPTHWISE_STRIP
#define PLUMB_DEPTHWISE_STRIP
namespace plumb {
namespace {

constexpr int most_pixels = 6;

/// Up to 6 outputs of a row, `pixel` elements apart; output j reads x at (j·step + s·tap) columns and r·row_tap rows.
struct depthwise_strip {
  const float* x;
  float* w;  ///< of the first tap; backward-weights adds to it
  const float* bias;
  float* out;  ///< backward-weights reads dy here
  index_t channels;
  index_t rows, row_tap;         ///< taps, and elements of x between their rows
  index_t columns, tap, column;  ///< taps, and elements of x between them; between neighbouring outputs
  index_t w_row, w_tap;          ///< elements of w between rows and between columns of taps; may be negative
  index_t pixel;                 ///< elements between neighbouring outputs
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

/// Calls f(s, j, x) for every tap s < Columns and output j < Pixels of one row, with the input that both share.
template <int Columns, int Step, int Pixels, class F>
HWY_INLINE void for_each_meeting(const depthwise_strip& t, const float* x, F&& f) {
  const numbers d;
#pragma GCC unroll 16
  for (int i = 0; i < (Pixels - 1) * Step + Columns; ++i) {
    const vector input = hn::LoadU(d, x + i * t.tap);
#pragma GCC unroll 3
    for (int s = 0; s < Columns; ++s)
      if (i >= s && (i - s) % Step == 0 && (i - s) / Step < Pixels) f(s, (i - s) / Step, input);
  }
}

template <int Columns, int Step, int Pixels>
void forward_shared(const depthwise_strip& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    vector sum[Pixels], w[Columns];
#pragma GCC unroll 6
    for (int j = 0; j < Pixels; ++j) sum[j] = t.bias ? hn::LoadU(d, t.bias + c) : hn::Zero(d);
    for (index_t r = 0; r < t.rows; ++r) {
#pragma GCC unroll 3
      for (int s = 0; s < Columns; ++s) w[s] = hn::LoadU(d, t.w + r * t.w_row + s * t.w_tap + c);
      for_each_meeting<Columns, Step, Pixels>(t, t.x + r * t.row_tap + c,
                                              [&](int s, int j, vector x)
                                                  HWY_ATTR { sum[j] = hn::MulAdd(x, w[s], sum[j]); });
    }
#pragma GCC unroll 6
    for (int j = 0; j < Pixels; ++j) hn::StoreU(sum[j], d, t.out + j * t.pixel + c);
  }
}

template <int Columns, int Step, int Pixels>
void weights_shared(const depthwise_strip& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    vector dy[Pixels], sum[Columns];
#pragma GCC unroll 6
    for (int j = 0; j < Pixels; ++j) dy[j] = hn::LoadU(d, t.out + j * t.pixel + c);
    for (index_t r = 0; r < t.rows; ++r) {
      float* w = t.w + r * t.w_row + c;
#pragma GCC unroll 3
      for (int s = 0; s < Columns; ++s) sum[s] = hn::LoadU(d, w + s * t.w_tap);
      for_each_meeting<Columns, Step, Pixels>(t, t.x + r * t.row_tap + c,
                                              [&](int s, int j, vector x)
                                                  HWY_ATTR { sum[s] = hn::MulAdd(x, dy[j], sum[s]); });
#pragma GCC unroll 3
      for (int s = 0; s < Columns; ++s) hn::StoreU(sum[s], d, w + s * t.w_tap);
    }
  }
}

/// Any taps, one output.
void forward_single(const depthwise_strip& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    vector sum = t.bias ? hn::LoadU(d, t.bias + c) : hn::Zero(d);
    for (index_t r = 0; r < t.rows; ++r)
      for (index_t s = 0; s < t.columns; ++s)
        sum = hn::MulAdd(hn::LoadU(d, t.x + r * t.row_tap + s * t.tap + c),
                         hn::LoadU(d, t.w + r * t.w_row + s * t.w_tap + c), sum);
    hn::StoreU(sum, d, t.out + c);
  }
}
void weights_single(const depthwise_strip& t) {
  const numbers d;
  for (index_t c = 0; c < t.channels; c += lanes) {
    const vector dy = hn::LoadU(d, t.out + c);
    for (index_t r = 0; r < t.rows; ++r)
      for (index_t s = 0; s < t.columns; ++s) {
        float* w = t.w + r * t.w_row + s * t.w_tap + c;
        hn::StoreU(hn::MulAdd(hn::LoadU(d, t.x + r * t.row_tap + s * t.tap + c), dy, hn::LoadU(d, w)), d, w);
      }
  }
}

template <bool Weights, int Columns, int Step, int Pixels>
void run_shared(const depthwise_strip& t) {
  Weights ? weights_shared<Columns, Step, Pixels>(t) : forward_shared<Columns, Step, Pixels>(t);
}

/// The strip's first outputs, as many as there is a function for; returns their number.
template <bool Weights, int Columns, int Step>
int run_some(const depthwise_strip& t, index_t pixels) {
  if (pixels >= 6) return run_shared<Weights, Columns, Step, 6>(t), 6;
  if (pixels >= 4) return run_shared<Weights, Columns, Step, 4>(t), 4;
  if (pixels >= 2) return run_shared<Weights, Columns, Step, 2>(t), 2;
  return run_shared<Weights, Columns, Step, 1>(t), 1;
}

/// `pixels` neighbouring outputs of a row.
template <bool Weights>
void run_row(depthwise_strip t, index_t pixels) {
  while (pixels > 0) {
    int done = 1;
    if (t.column == t.tap && t.columns == 3)
      done = run_some<Weights, 3, 1>(t, pixels);
    else if (t.column == t.tap && t.columns == 2)
      done = run_some<Weights, 2, 1>(t, pixels);
    else if (t.column == t.tap && t.columns == 1)
      done = run_some<Weights, 1, 1>(t, pixels);
    else if (t.column == 2 * t.tap && t.columns == 3)
      done = run_some<Weights, 3, 2>(t, pixels);
    else
      Weights ? weights_single(t) : forward_single(t);
    t.x += done * t.column;
    t.out += done * t.pixel;
    pixels -= done;
  }
}

}  // namespace

struct depthwise_functions {
  index_t lanes;
  void (*forward)(depthwise_strip, index_t);
  void (*weights)(depthwise_strip, index_t);
};
constexpr depthwise_functions depthwise = {lanes, run_row<false>, run_row<true>};

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
  void (*forward)(depthwise_strip, index_t);
  void (*weights)(depthwise_strip, index_t);
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
      for (const conv_reach& columns : reaches(a_.width()))
        grids_.push_back({rows, columns, rows.runs(), columns.runs()});
    if (pass != direction::backward_weights) weights_ = aligned_buffer(a_.taps() * a_.c);
    chunks_ = std::clamp<index_t>(a_.n * a_.out_size() / chunk_pixels, 1, most_chunks);
    const index_t tasks = pass == direction::backward_weights ? chunks_
                          : pass == direction::forward        ? a_.n * a_.height().out
                                                              : a_.n * a_.height().in;
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
      if (!last_) turn_out(y_copy, !forward, to);
    }
  }

 private:
  struct grid {
    conv_reach rows, columns;
    std::vector<conv_reach::run> row_runs, column_runs;
  };

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

  /// forward and backward-data of `images_at_once` channels-last images.
  void run_images(const float* x, float* y, const float* bias) const {
    const bool forward = pass_ == direction::forward;
    const index_t rows = forward ? a_.height().out : a_.height().in, images = last_ ? a_.n : 1;
#pragma omp for schedule(static)
    for (index_t i = 0; i < images * rows * parts_.parts; ++i)
      for (const grid& g : grids_) {
        const index_t n = i / (rows * parts_.parts), part = i % parts_.parts;
        const index_t row = i / parts_.parts % rows - g.rows.out_first;
        if (row >= 0 && row % g.rows.out_step == 0)
          run_row(g, row / g.rows.out_step, part, x + n * in_image(forward), weights_.data(), bias,
                  y + n * in_image(!forward), target_.forward);
      }
  }

  /// Row number `i` of the grid's outputs of one image, the channels of one part.
  void run_row(const grid& g, index_t i, index_t part, const float* x, float* w, const float* bias,
               float* out, void (*strips)(depthwise_strip, index_t)) const {
    const auto found = std::ranges::find_if(
        g.row_runs, [i](const conv_reach::run& run) { return i >= run.first && i < run.first + run.count; });
    const index_t in_width = pass_ == direction::backward_data ? a_.width().out : a_.width().in;
    const index_t out_width = pass_ == direction::backward_data ? a_.width().in : a_.width().out;
    for (const conv_reach::run& run : g.column_runs) {
      depthwise_strip t{};
      const conv_reach::range r = found->taps, s = run.taps;
      const index_t h = g.rows.in_first + i * g.rows.in_step + r.begin * g.rows.in_tap;
      const index_t column = g.columns.in_first + run.first * g.columns.in_step + s.begin * g.columns.in_tap;
      const bool empty = r.size() == 0 || s.size() == 0;
      t.x = empty ? x : x + (h * in_width + column) * a_.c;
      t.w = w + ((g.rows.weight_first + r.begin * g.rows.weight_step) * a_.width().taps +
                 g.columns.weight_first + s.begin * g.columns.weight_step) *
                    a_.c;
      t.bias = bias;
      t.out = out + ((g.rows.out_first + i * g.rows.out_step) * out_width + g.columns.out_first +
                     run.first * g.columns.out_step) *
                        a_.c;
      const index_t c = parts_.begin(part) * line;
      t.channels = std::min(a_.c, parts_.begin(part + 1) * line) - c;
      t.x += c;
      t.w += c;
      t.out += c;
      if (bias) t.bias = bias + c;
      t.rows = empty ? 0 : r.size();
      t.row_tap = g.rows.in_tap * in_width * a_.c;
      t.columns = empty ? 0 : s.size();
      t.tap = g.columns.in_tap * a_.c;
      t.column = g.columns.in_step * a_.c;
      t.w_row = g.rows.weight_step * a_.width().taps * a_.c;
      t.w_tap = g.columns.weight_step * a_.c;
      t.pixel = g.columns.out_step * a_.c;
      strips(t, run.count);
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
    for (index_t i = begin; i < end; ++i) {
      const index_t n = i / height - first;
      run_row(grids_[0], i % height, part, x + n * in_image(true), sums + chunk * partial(), nullptr,
              const_cast<float*>(dy) + n * in_image(false), target_.weights);
    }
  }

  const depthwise_target& target_;
  direction pass_;
  bool last_;  ///< channels last
  conv_arguments a_;
  std::vector<grid> grids_;
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
  static const depthwise_target target = {&*tile, f.lanes, f.forward, f.weights};
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
