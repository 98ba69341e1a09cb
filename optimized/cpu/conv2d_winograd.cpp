// Winograd's minimal filtering for 3×3 filters with stride 1, forward and backward-data: F(2×2,3×3) and F(4×4,3×3).
//   y tile = Aᵀ [ Σ_c (G g_c Gᵀ) ⊙ (Bᵀ d_c B) ] A        d: (m+2)×(m+2) inputs, y: m×m outputs, tiles begin at output 0
// with the points 0, ±1, ∞ (m = 2) and 0, ±1, ±2, ∞ (m = 4): 4 and 2.25 products an output instead of 9, at the
// price of larger rounding errors (the arithmetic winograd(m,3)).
//
//   prepare    U[e][panel of output channels][c][channel of panel], e < (m+2)², transformed in double, rounded once
//   block      some rows of tiles; three stages, each a list of tasks:
//     input    (row of tiles, channels of a panel) → V[e][tile][c], vectors of channels; NCHW is transposed before
//     product  (e, panel): M[e][tile][k] = V[e]·U[e] on the register tile of tile.hpp
//     output   (row of tiles, panel): M → y, vectors of channels; NCHW is transposed after
//   threads    many tiles: each thread takes blocks of its own; few: they share the tasks of every stage
//   backward   dx is the same with dy in the place of x, C and K exchanged, the filter turned and padding 2 - pad
//
// Each output is one sum in one order, so the thread count cannot change a bit. Lavin & Gray 2016, "Fast algorithms
// for convolutional neural networks".
#include <omp.h>

#include <algorithm>
#include <array>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/conv2d_winograd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using vector = hn::Vec<numbers>;
constexpr index_t lanes = HWY_LANES(float);

/// Bᵀ of one column or row: `from` and `to` are m + 2 vectors.
template <int M>
HWY_INLINE void input_line(const vector* from, vector* to) {
  const numbers d;
  if constexpr (M == 2) {
    to[0] = hn::Sub(from[0], from[2]);
    to[1] = hn::Add(from[1], from[2]);
    to[2] = hn::Sub(from[2], from[1]);
    to[3] = hn::Sub(from[1], from[3]);
  } else {
    const vector two = hn::Set(d, 2.0F), four = hn::Set(d, 4.0F), five = hn::Set(d, 5.0F);
    const vector even = hn::NegMulAdd(four, from[2], from[4]), odd = hn::NegMulAdd(four, from[1], from[3]);
    const vector near = hn::Sub(from[4], from[2]), far = hn::Sub(from[3], from[1]);
    to[0] = hn::MulAdd(four, from[0], hn::NegMulAdd(five, from[2], from[4]));
    to[1] = hn::Add(even, odd);
    to[2] = hn::Sub(even, odd);
    to[3] = hn::MulAdd(two, far, near);
    to[4] = hn::NegMulAdd(two, far, near);
    to[5] = hn::MulAdd(four, from[1], hn::NegMulAdd(five, from[3], from[5]));
  }
}

/// Aᵀ of one column or row: m + 2 vectors to m.
template <int M>
HWY_INLINE void output_line(const vector* from, vector* to) {
  const numbers d;
  const vector sum = hn::Add(from[1], from[2]), difference = hn::Sub(from[1], from[2]);
  if constexpr (M == 2) {
    to[0] = hn::Add(from[0], sum);
    to[1] = hn::Sub(difference, from[3]);
  } else {
    const vector far_sum = hn::Add(from[3], from[4]), far_difference = hn::Sub(from[3], from[4]);
    to[0] = hn::Add(hn::Add(from[0], sum), far_sum);
    to[1] = hn::MulAdd(hn::Set(d, 2.0F), far_difference, difference);
    to[2] = hn::MulAdd(hn::Set(d, 4.0F), far_sum, sum);
    to[3] = hn::Add(hn::MulAdd(hn::Set(d, 8.0F), far_difference, difference), from[5]);
  }
}

template <int M>
HWY_INLINE void input_vector(const float* const* pixels, index_t c, float* v, index_t step) {
  constexpr int size = M + 2;
  const numbers d;
  vector half[size][size], line[size], to[size];
#pragma GCC unroll 8
  for (int j = 0; j < size; ++j) {
#pragma GCC unroll 8
    for (int i = 0; i < size; ++i) line[i] = hn::LoadU(d, pixels[i * size + j] + c);
    input_line<M>(line, to);
#pragma GCC unroll 8
    for (int i = 0; i < size; ++i) half[i][j] = to[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < size; ++i) {
    input_line<M>(half[i], to);
#pragma GCC unroll 8
    for (int j = 0; j < size; ++j) hn::StoreU(to[j], d, v + (i * size + j) * step + c);
  }
}

/// One tile: V[e·step + c] for c < channels, rounded up to whole vectors. `pixels` are its (m+2)² inputs.
template <int M>
void input_tile(const float* const* pixels, index_t channels, float* v, index_t step) {
  constexpr int size = (M + 2) * (M + 2);
  index_t c = 0;
  for (; c + lanes <= channels; c += lanes) input_vector<M>(pixels, c, v, step);
  if (c == channels) return;
  HWY_ALIGN float tail[size][HWY_LANES(float)] = {};
  const float* tails[size];
  for (int i = 0; i < size; ++i) {
    std::copy(pixels[i] + c, pixels[i] + channels, tail[i]);
    tails[i] = tail[i];
  }
  input_vector<M>(tails, 0, v + c, step);
}

template <int M>
HWY_INLINE void output_vector(const float* m, index_t step, const float* bias, index_t k,
                              float* const* pixels) {
  constexpr int size = M + 2;
  const numbers d;
  vector half[size][M], line[size], to[size];
#pragma GCC unroll 8
  for (int i = 0; i < size; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < size; ++j) line[j] = hn::LoadU(d, m + (i * size + j) * step + k);
    output_line<M>(line, half[i]);
  }
  const vector init = bias ? hn::LoadU(d, bias + k) : hn::Zero(d);
#pragma GCC unroll 8
  for (int j = 0; j < M; ++j) {
#pragma GCC unroll 8
    for (int i = 0; i < size; ++i) line[i] = half[i][j];
    output_line<M>(line, to);
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) hn::StoreU(hn::Add(to[i], init), d, pixels[i * M + j] + k);
  }
}

/// One tile: its m×m outputs, `channels` neighbouring numbers each. `m` and `bias` have whole vectors.
template <int M>
void output_tile(const float* m, index_t step, index_t channels, const float* bias, float* const* pixels) {
  index_t k = 0;
  for (; k + lanes <= channels; k += lanes) output_vector<M>(m, step, bias, k, pixels);
  if (k == channels) return;
  HWY_ALIGN float tail[M * M][HWY_LANES(float)];
  float* tails[M * M];
  for (int i = 0; i < M * M; ++i) tails[i] = tail[i];
  output_vector<M>(m + k, step, bias ? bias + k : nullptr, 0, tails);
  for (int i = 0; i < M * M; ++i) std::copy_n(tail[i], channels - k, pixels[i] + k);
}

}  // namespace

struct transforms {
  void (*input)(const float* const*, index_t, float*, index_t);
  void (*output)(const float*, index_t, index_t, const float*, float* const*);
};
constexpr transforms both[] = {{input_tile<2>, output_tile<2>}, {input_tile<4>, output_tile<4>}};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plumb {
namespace {

/// One size of tile on one instruction set.
struct winograd {
  index_t m;
  void (*input)(const float* const* pixels, index_t channels, float* v, index_t step);
  void (*output)(const float* m, index_t step, index_t channels, const float* bias, float* const* pixels);

  index_t size() const { return m + 2; }
  index_t elements() const { return size() * size(); }
};

constexpr index_t most_size = 6;
/// G, row by row.
constexpr double filter_matrix_2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
constexpr double filter_matrix_4[6][3] = {{1.0 / 4, 0, 0},
                                          {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                          {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                          {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                          {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                          {0, 0, 1}};

constexpr index_t near_tiles = 64;                  ///< of a block: enough to read U seldom
constexpr index_t block_budget = index_t{2} << 20;  ///< floats of V and M in a block

class winograd_plan final : public plan {
 public:
  winograd_plan(const tile_target& target, const winograd& w, const kernel_problem& kp, bool forward)
      : target_(target), w_(w), forward_(forward), threads_(kp.threads), nhwc_(kp.layout == layout::nhwc) {
    const conv_arguments a = read_conv_arguments(kp.problem);
    images_ = a.n;
    groups_ = a.groups;
    bias_ = forward && a.bias;
    flip_ = a.flip;
    in_channels_ = forward ? a.group_c() : a.group_k();
    out_channels_ = forward ? a.group_k() : a.group_c();
    rows_ = axis_of(a.height());
    columns_ = axis_of(a.width());
    v_channels_ = rounded_up(in_channels_, target.lanes);
    m_channels_ = rounded_up(out_channels_, target.lanes);
    panels_ = (m_channels_ + target.width() - 1) / target.width();
    chunks_ = (v_channels_ + target.width() - 1) / target.width();
    make_blocks();
    u_ = aligned_buffer(groups_ * w_.elements() * in_channels_ * m_channels_);
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(bias_size() + threads_ * strip_size() +
                                                    (alone_ ? threads_ : 1) * block_size());
  }

  void prepare(std::span<const tensor_ref> reads) override {
    const auto* weight = static_cast<const float*>(reads[1].data);
    for (index_t g = 0; g < groups_; ++g)
      for (index_t k = 0; k < m_channels_; ++k)
        for (index_t c = 0; c < in_channels_; ++c) pack(weight, g, k, c);
  }

  void run(const kernel_call& call) noexcept override {
    auto* bias = static_cast<float*>(call.workspace);
    if (bias_) copy_bias(static_cast<const float*>(call.reads[2].data), bias);
    const auto* x = static_cast<const float*>(call.reads[0].data);
    auto* y = static_cast<float*>(call.writes[0].data);
    float* strips = bias + bias_size();
    float* blocks = strips + threads_ * strip_size();
    const index_t all = groups_ * blocks_.parts;
#pragma omp parallel num_threads(call.threads)
    {
      scratch s{strips + omp_get_thread_num() * strip_size(), blocks, bias_ ? bias : nullptr};
      if (alone_) {
        s.v += omp_get_thread_num() * block_size();
#pragma omp for schedule(static)
        for (index_t i = 0; i < all; ++i) run_block(i, x, y, s);
      } else {
        for (index_t i = 0; i < all; ++i) run_block(i, x, y, s);
      }
    }
  }

 private:
  /// Output o of an axis reads the inputs o - begin, …, o - begin + 2.
  struct axis {
    index_t in, out, begin, tiles;
  };
  struct scratch {
    float* strip;
    float* v;  ///< V and, behind it, M
    const float* bias;
  };

  axis axis_of(const conv_axis& a) const {
    const index_t out = forward_ ? a.out : a.in;
    return {forward_ ? a.in : a.out, out, forward_ ? a.begin : 2 - a.begin, (out + w_.m - 1) / w_.m};
  }
  static index_t rounded_up(index_t count, index_t step) { return (count + step - 1) / step * step; }

  /// Blocks of whole rows of tiles, all images in one line; each thread its own if there are enough.
  void make_blocks() {
    const index_t rows = images_ * rows_.tiles, row = std::max<index_t>(1, columns_.tiles);
    const index_t fitting = block_budget / (w_.elements() * (v_channels_ + m_channels_));
    const index_t most = std::max<index_t>(1, std::clamp<index_t>(fitting, near_tiles / 4, near_tiles) / row);
    alone_ = groups_ * rows * row >= threads_ * near_tiles;
    blocks_ = even_parts(rows, alone_ ? most : std::max(most, fitting / row));
    const index_t tallest = blocks_.parts > 0 ? (rows + blocks_.parts - 1) / blocks_.parts : 0;
    // An odd number of cache lines between the elements of a tile: they must not fall into one set.
    v_step_ = tallest * row * v_channels_ + aligned_buffer::line;
    m_step_ = tallest * row * m_channels_ + aligned_buffer::line;
  }

  index_t block_size() const { return aligned_buffer::padded(w_.elements() * (v_step_ + m_step_)); }
  index_t strip_size() const {
    const index_t in = nhwc_ ? 0 : w_.size() * columns_.in, out = nhwc_ ? 0 : w_.m * columns_.out;
    // Behind the pixels: one of zeros and one that is thrown away.
    return aligned_buffer::padded((std::max(in, out) + 2) * target_.width());
  }
  index_t bias_size() const { return bias_ ? aligned_buffer::padded(groups_ * m_channels_) : 0; }

  void copy_bias(const float* from, float* to) const {
    for (index_t g = 0; g < groups_; ++g)
      for (index_t k = 0; k < m_channels_; ++k)
        to[g * m_channels_ + k] = k < out_channels_ ? from[g * out_channels_ + k] : 0.0F;
  }

  index_t panel_width(index_t panel) const {
    return std::min(target_.width(), m_channels_ - panel * target_.width());
  }
  float* packed(index_t group, index_t e, index_t panel) const {
    return u_.data() + ((group * w_.elements() + e) * m_channels_ + panel * target_.width()) * in_channels_;
  }

  /// G g Gᵀ for input channel c and output channel k, which may be one of the tail.
  void pack(const float* weight, index_t g, index_t k, index_t c) const {
    double half[most_size][3] = {}, filter[3][3] = {};
    const bool turned = flip_ == forward_;
    if (k < out_channels_) {
      const float* w = weight + (forward_ ? (g * out_channels_ + k) * in_channels_ + c
                                          : (g * in_channels_ + c) * out_channels_ + k) *
                                    9;
      for (int i = 0; i < 9; ++i) filter[i / 3][i % 3] = static_cast<double>(w[turned ? 8 - i : i]);
    }
    const auto* matrix = w_.m == 2 ? filter_matrix_2 : filter_matrix_4;
    for (index_t i = 0; i < w_.size(); ++i)
      for (int s = 0; s < 3; ++s)
        half[i][s] = matrix[i][0] * filter[0][s] + matrix[i][1] * filter[1][s] + matrix[i][2] * filter[2][s];
    const index_t panel = k / target_.width();
    for (index_t i = 0; i < w_.size(); ++i)
      for (index_t j = 0; j < w_.size(); ++j)
        packed(g, i * w_.size() + j, panel)[c * panel_width(panel) + k % target_.width()] =
            static_cast<float>(half[i][0] * matrix[j][0] + half[i][1] * matrix[j][1] +
                               half[i][2] * matrix[j][2]);
  }

  /// The tasks of a stage: shared by the team, or all of them mine.
  template <class Task>
  void stage(index_t count, Task&& task) const {
    if (alone_) {
      for (index_t i = 0; i < count; ++i) task(i);
    } else {
#pragma omp for schedule(static)
      for (index_t i = 0; i < count; ++i) task(i);
    }
  }

  void run_block(index_t number, const float* x, float* y, const scratch& s) const {
    const index_t g = number / blocks_.parts, first = blocks_.begin(number % blocks_.parts);
    const index_t rows = blocks_.begin(number % blocks_.parts + 1) - first;
    float* m = s.v + w_.elements() * v_step_;
    stage(rows * chunks_,
          [&](index_t i) { input_row(x, g, first + i / chunks_, i % chunks_, s, i / chunks_); });
    stage(w_.elements() * panels_,
          [&](index_t i) { product(g, i / panels_, i % panels_, rows * columns_.tiles, s.v, m); });
    stage(rows * panels_,
          [&](index_t i) { output_row(m, g, first + i / panels_, i % panels_, s, i / panels_, y); });
  }

  /// Row `row` of tiles of all images, the channels of one chunk, to row `place` of the block.
  void input_row(const float* x, index_t g, index_t row, index_t chunk, const scratch& s,
                 index_t place) const {
    const index_t c = chunk * target_.width(), channels = std::min(target_.width(), in_channels_ - c);
    const index_t plane = rows_.in * columns_.in, all = groups_ * in_channels_;
    const index_t top = row % rows_.tiles * w_.m - rows_.begin;
    const index_t begin = std::clamp<index_t>(top, 0, rows_.in),
                  end = std::clamp<index_t>(top + w_.size(), begin, rows_.in);
    const float* image = x + row / rows_.tiles * all * plane;
    const index_t step = nhwc_ ? all : target_.width();
    const float* from = image + begin * columns_.in * all + g * in_channels_ + c;
    if (!nhwc_) {
      target_.transpose(image + (g * in_channels_ + c) * plane + begin * columns_.in, plane, channels,
                        (end - begin) * columns_.in, s.strip, step);
      from = s.strip;
    }
    const float* zeros = zero_pixel(s);
    for (index_t tile = 0; tile < columns_.tiles; ++tile) {
      const float* pixels[most_size * most_size];
      for (index_t i = 0; i < w_.size(); ++i)
        for (index_t j = 0; j < w_.size(); ++j) {
          const index_t h = top + i, w = tile * w_.m - columns_.begin + j;
          const bool inside = h >= begin && h < end && w >= 0 && w < columns_.in;
          pixels[i * w_.size() + j] = inside ? from + ((h - begin) * columns_.in + w) * step : zeros;
        }
      w_.input(pixels, channels, s.v + (place * columns_.tiles + tile) * v_channels_ + c, v_step_);
    }
  }

  float* zero_pixel(const scratch& s) const {
    float* zeros = s.strip + strip_size() - 2 * target_.width();
    std::fill_n(zeros, target_.width(), 0.0F);
    return zeros;
  }

  void product(index_t g, index_t e, index_t panel, index_t tiles, const float* v, float* m) const {
    const index_t width = panel_width(panel);
    tiles_call t;
    t.vectors = static_cast<int>(width / target_.lanes);
    t.loops[2] = {in_channels_, 1, width};
    t.w = packed(g, e, panel);
    t.x = v + e * v_step_;
    t.out = m + e * m_step_ + panel * target_.width();
    t.count = tiles;
    t.x_step = v_channels_;
    t.out_step = m_channels_;
    target_.run_tiles(t);
  }

  void output_row(const float* m, index_t g, index_t row, index_t panel, const scratch& s, index_t place,
                  float* y) const {
    const index_t k = panel * target_.width(), channels = std::min(target_.width(), out_channels_ - k);
    const index_t plane = rows_.out * columns_.out, all = groups_ * out_channels_;
    const index_t top = row % rows_.tiles * w_.m, rows = std::min(w_.m, rows_.out - top);
    float* image = y + row / rows_.tiles * all * plane;
    const index_t step = nhwc_ ? all : target_.width();
    float* to = nhwc_ ? image + top * columns_.out * all + g * out_channels_ + k : s.strip;
    float* lost = s.strip + strip_size() - target_.width();
    const float* bias = s.bias ? s.bias + g * m_channels_ + k : nullptr;
    for (index_t tile = 0; tile < columns_.tiles; ++tile) {
      float* pixels[16];
      for (index_t i = 0; i < w_.m; ++i)
        for (index_t j = 0; j < w_.m; ++j) {
          const index_t q = tile * w_.m + j;
          pixels[i * w_.m + j] = i < rows && q < columns_.out ? to + (i * columns_.out + q) * step : lost;
        }
      w_.output(m + (place * columns_.tiles + tile) * m_channels_ + k, m_step_, channels, bias, pixels);
    }
    if (!nhwc_)
      target_.transpose(s.strip, step, rows * columns_.out, channels,
                        image + (g * out_channels_ + k) * plane + top * columns_.out, plane);
  }

  const tile_target& target_;
  const winograd& w_;
  bool forward_;
  index_t threads_;
  bool nhwc_;
  bool bias_ = false, flip_ = false;
  bool alone_ = false;  ///< each thread has blocks of its own
  index_t images_ = 0, groups_ = 1, in_channels_ = 0, out_channels_ = 0;
  axis rows_{}, columns_{};
  index_t v_channels_ = 0, m_channels_ = 0, panels_ = 0, chunks_ = 0;
  even_parts blocks_{0, 1};          ///< of the rows of tiles
  index_t v_step_ = 0, m_step_ = 0;  ///< from element e of all tiles to the next
  aligned_buffer u_;
};

support winograd_support(const kernel_problem& kp) {
  const support s = conv_support(kp);
  if (!s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  for (const conv_axis* axis : {&a.height(), &a.width()}) {
    if (axis->taps != 3) return support::no("Winograd needs a 3×3 filter");
    if (axis->stride != 1) return support::no("Winograd needs stride=1");
    if (axis->dilation != 1) return support::no("Winograd needs dilation=1");
  }
  return support::yes();
}

kernel make_kernel(const tile_target& target, const winograd& w, bool forward) {
  const std::string m = std::to_string(w.m);
  kernel k;
  k.layer = "conv2d";
  k.pass = forward ? "forward" : "backward_data";
  k.name = "conv2d." + k.pass + "/winograd" + m + "@" + std::string(target.name);
  k.arithmetic = "winograd(" + m + ",3)";
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = winograd_support;
  k.make_plan = [&target, &w, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
    return std::make_unique<winograd_plan>(target, w, kp, forward);
  };
  return k;
}

template <class Transforms>
std::array<winograd, 2> sizes_of(const Transforms& t) {
  return {{{2, t[0].input, t[0].output}, {4, t[1].input, t[1].output}}};
}

}  // namespace

void register_conv2d_winograd(registry& kernels) {
  static const std::pair<std::string_view, std::array<winograd, 2>> all[] = {
#if HWY_TARGETS & HWY_AVX3
    {"avx3", sizes_of(N_AVX3::both)},
#endif
#if HWY_TARGETS & HWY_AVX2
    {"avx2", sizes_of(N_AVX2::both)},
#endif
#if HWY_TARGETS & HWY_SSE4
    {"sse4", sizes_of(N_SSE4::both)},
#endif
#if HWY_TARGETS & HWY_SCALAR
    {"scalar", sizes_of(N_SCALAR::both)},
#endif
  };
  for (const tile_target& target : tile_targets())
    for (const auto& [name, sizes] : all)
      for (const winograd& w : sizes)
        if (name == target.name)
          for (const bool forward : {true, false}) kernels.add(make_kernel(target, w, forward));
}

}  // namespace plumb
#endif
