// Convolution by fast Fourier transforms, forward and backward-data, for filters that are large: stride 1, any
// dilation and groups.
//   y tile = F⁻¹ [ Σ_c F(x tile_c) ∘ conj F(w_c) ]         tiles of T×T inputs, T = 16, 32 or 64, whose first
//                                                          (T-R+1)×(T-S+1) outputs are whole (overlap-save)
// T²/2 + T complex products a tile and pair of channels, whatever the filter has: 3 to 7 multiplications an output
// instead of R·S, at the price of errors that depend on whole tiles (the arithmetic `fft`).
//
//   prepare    U[e][panel of sums][2C]: F(w) in double, conjugated, divided by T², rounded once
//   block      some tiles; three stages, each a list of tasks that the team shares:
//     input    (tile, vector of channels) → V[e][tile][2C]: two real rows are one complex row; NCHW is transposed before
//     product  (e, panel): M[e][tile][2K] = V[e]·U[e] on the register tile of tile.hpp; a complex sum over C is a real
//              sum over 2C,  [Vr Vi]·[[Ur Ui] [-Ui Ur]] = [Mr Mi]
//     output   (tile, vector of channels): M → y; NCHW is transposed after
//   order      forward transforms divide in frequency (they leave bits reversed), inverse ones in time (they take them
//              so): nothing is ever permuted, and U is packed in that order
//   backward   dx is the same with dy in the place of x, C and K exchanged, the filter turned, padding reach - 1 - pad
//
// Each output is one sum in one order, so the thread count cannot change a bit. Radix 4, Cooley & Tukey 1965; Mathieu,
// Henaff & LeCun 2014, "Fast training of convolutional networks through FFTs".
#include <omp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <complex>
#include <numbers>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/conv2d_fft.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef PLUMB_CONV2D_FFT_SHARED
#define PLUMB_CONV2D_FFT_SHARED
namespace plumb {
namespace {

constexpr int most_points = 64;

/// e^(-2πi j/T), and where bits are reversed.
struct circle {
  int points = 0;
  float re[most_points], im[most_points];
  int reversed[most_points];

  explicit circle(int t) : points(t) {
    const int bits = std::countr_zero(static_cast<unsigned>(t));
    for (int j = 0; j < t; ++j) {
      const double angle = -2 * std::numbers::pi * j / t;
      re[j] = static_cast<float>(std::cos(angle));
      im[j] = static_cast<float>(std::sin(angle));
      reversed[j] = 0;
      for (int b = 0; b < bits; ++b) reversed[j] |= (j >> b & 1) << (bits - 1 - b);
    }
    // Exact where cosines and sines of multiples of π/2 are not.
    for (int quarter = 0; quarter < 4; ++quarter) {
      constexpr float exact[] = {1, 0, -1, 0};
      re[quarter * t / 4] = exact[quarter];
      im[quarter * t / 4] = exact[(quarter + 1) % 4];
    }
  }
};

/// A window of T×T inputs, or of outputs, `count` channels of a vector each. Null rows are zeros, or not wanted; so are
/// columns outside first … last.
struct window {
  float* rows[most_points];  ///< from column `first` on
  int first = 0, last = 0;
  index_t step = 0;  ///< from pixel to pixel
  index_t count = 0;
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

/// Complex vectors in two arrays.
struct line {
  float *re, *im;
};
struct complex_vector {
  vector re, im;
};
HWY_INLINE complex_vector load(const line& x, int i) {
  const numbers d;
  return {hn::Load(d, x.re + i * lanes), hn::Load(d, x.im + i * lanes)};
}
HWY_INLINE void store(const complex_vector& v, const line& x, int i) {
  const numbers d;
  hn::Store(v.re, d, x.re + i * lanes);
  hn::Store(v.im, d, x.im + i * lanes);
}
HWY_INLINE complex_vector add(const complex_vector& a, const complex_vector& b) {
  return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
}
HWY_INLINE complex_vector sub(const complex_vector& a, const complex_vector& b) {
  return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
}
/// a + i·b and a - i·b.
HWY_INLINE complex_vector add_turned(const complex_vector& a, const complex_vector& b) {
  return {hn::Sub(a.re, b.im), hn::Add(a.im, b.re)};
}
HWY_INLINE complex_vector sub_turned(const complex_vector& a, const complex_vector& b) {
  return {hn::Add(a.re, b.im), hn::Sub(a.im, b.re)};
}
/// a·(re + i·im)
HWY_INLINE complex_vector times(const complex_vector& a, float re, float im) {
  const numbers d;
  const vector r = hn::Set(d, re), i = hn::Set(d, im);
  return {hn::NegMulAdd(a.im, i, hn::Mul(a.re, r)), hn::MulAdd(a.im, r, hn::Mul(a.re, i))};
}

/// x_k ← Σ_j x_j e^(-2πi jk/T), with k's bits reversed.
void forward_line(const circle& c, const line& x) {
  int n = c.points;
  for (; n >= 4; n /= 4) {
    const int quarter = n / 4, turn = c.points / n;
    for (int block = 0; block < c.points; block += n)
      for (int q = 0; q < quarter; ++q) {
        const int at = block + q;
        const complex_vector a0 = load(x, at), a1 = load(x, at + quarter), a2 = load(x, at + 2 * quarter),
                             a3 = load(x, at + 3 * quarter);
        const complex_vector s = add(a0, a2), t = add(a1, a3), u = sub(a0, a2), v = sub(a1, a3);
        complex_vector b1 = sub(s, t), b2 = sub_turned(u, v), b3 = add_turned(u, v);
        if (q > 0) {
          b1 = times(b1, c.re[2 * q * turn], c.im[2 * q * turn]);
          b2 = times(b2, c.re[q * turn], c.im[q * turn]);
          b3 = times(b3, c.re[3 * q * turn], c.im[3 * q * turn]);
        }
        store(add(s, t), x, at);
        store(b1, x, at + quarter);
        store(b2, x, at + 2 * quarter);
        store(b3, x, at + 3 * quarter);
      }
  }
  for (int at = 0; n == 2 && at < c.points; at += 2) {
    const complex_vector a = load(x, at), b = load(x, at + 1);
    store(add(a, b), x, at);
    store(sub(a, b), x, at + 1);
  }
}

/// The way back, times T.
void inverse_line(const circle& c, const line& x) {
  int n = 4;
  if (std::countr_zero(static_cast<unsigned>(c.points)) % 2 == 1) {
    for (int at = 0; at < c.points; at += 2) {
      const complex_vector a = load(x, at), b = load(x, at + 1);
      store(add(a, b), x, at);
      store(sub(a, b), x, at + 1);
    }
    n = 8;
  }
  for (; n <= c.points; n *= 4) {
    const int quarter = n / 4, turn = c.points / n;
    for (int block = 0; block < c.points; block += n)
      for (int q = 0; q < quarter; ++q) {
        const int at = block + q;
        complex_vector b0 = load(x, at), b1 = load(x, at + quarter), b2 = load(x, at + 2 * quarter),
                       b3 = load(x, at + 3 * quarter);
        if (q > 0) {
          b1 = times(b1, c.re[2 * q * turn], -c.im[2 * q * turn]);
          b2 = times(b2, c.re[q * turn], -c.im[q * turn]);
          b3 = times(b3, c.re[3 * q * turn], -c.im[3 * q * turn]);
        }
        const complex_vector s = add(b0, b1), t = sub(b0, b1), u = add(b2, b3), v = sub(b2, b3);
        store(add(s, u), x, at);
        store(add_turned(t, v), x, at + quarter);
        store(sub(s, u), x, at + 2 * quarter);
        store(sub_turned(t, v), x, at + 3 * quarter);
      }
  }
}

/// `count` numbers at `from`, and zeros behind them.
HWY_INLINE vector load_some(const float* from, index_t count) {
  const numbers d;
  if (count >= lanes) return hn::LoadU(d, from);
  HWY_ALIGN float all[HWY_LANES(float)] = {};
  std::copy_n(from, count, all);
  return hn::Load(d, all);
}
HWY_INLINE void store_some(vector v, float* to, index_t count) {
  const numbers d;
  if (count >= lanes) {
    hn::StoreU(v, d, to);
    return;
  }
  HWY_ALIGN float all[HWY_LANES(float)];
  hn::Store(v, d, all);
  std::copy_n(all, count, to);
}

/// Columns k = 0 … T/2 of the transform, T vectors each: half[k][row], behind one scratch row.
struct half_plane {
  int points;
  float* memory;
  line row() const { return {memory, memory + points * lanes}; }
  line column(int k) const {
    float* re = memory + (k + 1) * 2 * points * lanes;
    return {re, re + points * lanes};
  }
};

/// One tile, one vector of channels: V[e·step] and V[e·step + imaginary], e = k·T + row with its bits reversed.
void input_tile(const circle& c, const window& x, float* memory, float* v, index_t step, index_t imaginary) {
  const numbers d;
  const int t = c.points;
  const half_plane half{t, memory};
  const line row = half.row();
  const auto read = [&](const float* from, float* to) {
    for (int j = 0; j < t; ++j)
      hn::Store(from != nullptr && j >= x.first && j < x.last
                    ? load_some(from + (j - x.first) * x.step, x.count)
                    : hn::Zero(d),
                d, to + j * lanes);
  };
  const vector by_two = hn::Set(d, 0.5F);
  for (int i = 0; i < t; i += 2) {
    read(x.rows[i], row.re);
    read(x.rows[i + 1], row.im);
    forward_line(c, row);
    for (int k = 0; k <= t / 2;
         ++k) {  // Z = X + iX': X(k) = (Z(k) + conj Z(-k))/2, X'(k) = (Z(k) - conj Z(-k))/2i
      const complex_vector z = load(row, c.reversed[k]), w = load(row, c.reversed[(t - k) % t]);
      store({hn::Mul(by_two, hn::Add(z.re, w.re)), hn::Mul(by_two, hn::Sub(z.im, w.im))}, half.column(k), i);
      store({hn::Mul(by_two, hn::Add(z.im, w.im)), hn::Mul(by_two, hn::Sub(w.re, z.re))}, half.column(k),
            i + 1);
    }
  }
  for (int k = 0; k <= t / 2; ++k) {
    const line column = half.column(k);
    forward_line(c, column);
    for (int i = 0; i < t; ++i) {
      float* to = v + (k * t + i) * step;
      store_some(hn::Load(d, column.re + i * lanes), to, x.count);
      store_some(hn::Load(d, column.im + i * lanes), to + imaginary, x.count);
    }
  }
}

/// The way back: M[e·step] and M[e·step + imaginary], whole vectors, to the outputs of a tile.
void output_tile(const circle& c, const float* m, index_t step, index_t imaginary, const float* bias,
                 float* memory, const window& y) {
  const numbers d;
  const int t = c.points;
  const half_plane half{t, memory};
  for (int k = 0; k <= t / 2; ++k) {
    const line column = half.column(k);
    for (int i = 0; i < t; ++i) {
      hn::Store(hn::LoadU(d, m + (k * t + i) * step), d, column.re + i * lanes);
      hn::Store(hn::LoadU(d, m + (k * t + i) * step + imaginary), d, column.im + i * lanes);
    }
    inverse_line(c, column);
  }
  const line row = half.row();
  const vector addend = bias ? load_some(bias, y.count) : hn::Zero(d);
  const auto write = [&](const float* from, float* to) {
    for (int j = y.first; to != nullptr && j < y.last; ++j)
      store_some(hn::Add(hn::Load(d, from + j * lanes), addend), to + j * y.step, y.count);
  };
  for (int i = 0; i < t && y.rows[i] != nullptr; i += 2) {
    // Z = X + iX', where row i has the transform X and row i + 1 X'; X(0) and X(T/2) of real rows are real.
    for (int k = 0; k <= t / 2; ++k) {
      complex_vector a = load(half.column(k), i), b = load(half.column(k), i + 1);
      if (k % (t / 2) == 0) a.im = b.im = hn::Zero(d);
      store(add_turned(a, b), row, c.reversed[k]);
      if (k % (t / 2) != 0)  // conj a + i·conj b
        store({hn::Add(a.re, b.im), hn::Sub(b.re, a.im)}, row, c.reversed[t - k]);
    }
    inverse_line(c, row);
    write(row.re, y.rows[i]);
    write(row.im, y.rows[i + 1]);
  }
}

}  // namespace

struct fft_transforms {
  void (*input)(const circle&, const window&, float*, float*, index_t, index_t);
  void (*output)(const circle&, const float*, index_t, index_t, const float*, float*, const window&);
};
constexpr fft_transforms fft_both = {input_tile, output_tile};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plumb {
namespace {

struct fourier {
  void (*input)(const circle&, const window&, float* memory, float* v, index_t step, index_t imaginary);
  void (*output)(const circle&, const float* m, index_t step, index_t imaginary, const float* bias,
                 float* memory, const window&);
};

constexpr index_t block_budget = index_t{4} << 20;  ///< floats of V and M in a block

constexpr index_t most_packed = index_t{1} << 26;  ///< floats of U
constexpr index_t least_taps = 9;                  ///< fewer are fewer products than a transform needs

index_t reach_of(const conv_axis& a) { return a.dilation * (a.taps - 1) + 1; }

/// Output o of an axis reads the inputs o - begin … o - begin + reach - 1.
struct axis {
  index_t in, out, begin, reach;
  index_t step(index_t points) const { return points - reach + 1; }  ///< outputs of a tile
  index_t tiles(index_t points) const { return (out + step(points) - 1) / step(points); }
};
axis transformed_axis(const conv_axis& a, bool forward) {
  const index_t reach = reach_of(a);
  return forward ? axis{a.in, a.out, a.begin, reach} : axis{a.out, a.in, reach - 1 - a.begin, reach};
}

/// T of the tile with the fewest products.
int best_points(const conv_arguments& a, bool forward) {
  const axis rows = transformed_axis(a.height(), forward), columns = transformed_axis(a.width(), forward);
  int best = most_points;
  index_t least = -1;
  for (int t = 16; t <= most_points; t *= 2) {
    if (t < rows.reach || t < columns.reach) continue;
    const index_t products = rows.tiles(t) * columns.tiles(t) * t * (t / 2 + 1);
    if (least < 0 || products < least) {
      best = t;
      least = products;
    }
  }
  return best;
}

class fft_plan final : public plan {
 public:
  fft_plan(const tile_target& target, const fourier& f, const kernel_problem& kp, bool forward)
      : target_(target),
        f_(f),
        forward_(forward),
        threads_(kp.threads),
        nhwc_(kp.layout == layout::nhwc),
        arguments_(read_conv_arguments(kp.problem)),
        circle_(best_points(arguments_, forward)) {
    const conv_arguments& a = arguments_;
    bias_ = forward && a.bias;
    in_channels_ = forward ? a.group_c() : a.group_k();
    out_channels_ = forward ? a.group_k() : a.group_c();
    v_channels_ = rounded_up(in_channels_, target.lanes);
    m_channels_ = rounded_up(out_channels_, target.lanes);
    panels_ = (2 * m_channels_ + target.width() - 1) / target.width();
    const axis rows = axis_of(a.height()), columns = axis_of(a.width());
    tiles_ = a.n * rows.tiles(points()) * columns.tiles(points());
    const index_t fitting = block_budget / (elements() * 2 * (v_channels_ + m_channels_) + 1);
    blocks_ = even_parts(tiles_, std::clamp<index_t>(fitting, target.pixels, 16 * target.pixels));
    const index_t most = blocks_.parts > 0 ? (tiles_ + blocks_.parts - 1) / blocks_.parts : 0;
    // An odd number of cache lines between the frequencies of a tile: they must not fall into one set.
    v_step_ = most * 2 * v_channels_ + aligned_buffer::line;
    m_step_ = most * 2 * m_channels_ + aligned_buffer::line;
    u_ = aligned_buffer(a.groups * elements() * 2 * in_channels_ * 2 * m_channels_);
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(block_size() + threads_ * thread_size());
  }

  void prepare(std::span<const tensor_ref> reads) override {
    const auto* weight = static_cast<const float*>(reads[1].data);
    std::array<std::complex<double>, most_points> unit;  // the conjugates of e^(-2πi j/T)
    for (int j = 0; j < circle_.points; ++j)
      unit[static_cast<std::size_t>(j)] = std::polar(1.0, 2 * std::numbers::pi * j / circle_.points);
#pragma omp parallel for collapse(2) num_threads(threads_)
    for (index_t g = 0; g < arguments_.groups; ++g)
      for (index_t k = 0; k < m_channels_; ++k)
        for (index_t c = 0; c < in_channels_; ++c) pack(weight, unit, g, k, c);
  }

  void run(const kernel_call& call) noexcept override {
    const auto* x = static_cast<const float*>(call.reads[0].data);
    const auto* bias = bias_ ? static_cast<const float*>(call.reads[2].data) : nullptr;
    auto* y = static_cast<float*>(call.writes[0].data);
    auto* v = static_cast<float*>(call.workspace);
    float* m = v + elements() * v_step_;
    const index_t chunks_in = v_channels_ / target_.lanes, chunks_out = m_channels_ / target_.lanes;
#pragma omp parallel num_threads(call.threads)
    {
      float* mine = v + block_size() + omp_get_thread_num() * thread_size();
      for (index_t number = 0; number < arguments_.groups * blocks_.parts; ++number) {
        const index_t g = number / blocks_.parts, first = blocks_.begin(number % blocks_.parts);
        const index_t tiles = blocks_.begin(number % blocks_.parts + 1) - first;
#pragma omp for schedule(static)
        for (index_t i = 0; i < tiles * chunks_in; ++i)
          input(x, g, first + i / chunks_in, i % chunks_in, mine, v + i / chunks_in * 2 * v_channels_);
#pragma omp for schedule(static)
        for (index_t i = 0; i < elements() * panels_; ++i) product(g, i / panels_, i % panels_, tiles, v, m);
#pragma omp for schedule(static)
        for (index_t i = 0; i < tiles * chunks_out; ++i)
          output(m + i / chunks_out * 2 * m_channels_, g, first + i / chunks_out, i % chunks_out, bias, mine,
                 y);
      }
    }
  }

 private:
  axis axis_of(const conv_axis& a) const { return transformed_axis(a, forward_); }
  static index_t rounded_up(index_t count, index_t step) { return (count + step - 1) / step * step; }
  index_t points() const { return circle_.points; }
  index_t elements() const { return points() * (points() / 2 + 1); }

  index_t block_size() const { return aligned_buffer::padded(elements() * (v_step_ + m_step_)); }
  /// One row and T/2 + 1 columns of complex vectors, and T×T pixels of a vector of channels.
  index_t transform_size() const { return (points() / 2 + 2) * 2 * points() * target_.lanes; }
  index_t thread_size() const {
    return aligned_buffer::padded(transform_size() + (nhwc_ ? 0 : points() * points() * target_.lanes));
  }

  index_t panel_width(index_t panel) const {
    return std::min(target_.width(), 2 * m_channels_ - panel * target_.width());
  }
  float* packed(index_t group, index_t e, index_t panel) const {
    return u_.data() +
           ((group * elements() + e) * 2 * m_channels_ + panel * target_.width()) * 2 * in_channels_;
  }

  /// conj F(w)/T² for input channel c and output channel k, which may be one of the tail.
  void pack(const float* weight, const std::array<std::complex<double>, most_points>& circle, index_t g,
            index_t k, index_t c) const {
    const conv_axis &high = arguments_.height(), &wide = arguments_.width();
    const int t = circle_.points;
    const bool turned = arguments_.flip == forward_;
    std::array<std::complex<double>, most_points*(most_points / 2 + 1)> plane{};
    const index_t taps = k < out_channels_ ? high.taps * wide.taps : 0;
    const float* w = weight + (forward_ ? (g * out_channels_ + k) * in_channels_ + c
                                        : (g * in_channels_ + c) * out_channels_ + k) *
                                  high.taps * wide.taps;
    const auto unit = [&](index_t turns) { return circle[static_cast<std::size_t>(turns % t)]; };
    for (index_t r = 0; taps > 0 && r < high.taps; ++r) {
      std::array<std::complex<double>, most_points / 2 + 1> row{};
      for (index_t s = 0; s < wide.taps; ++s) {
        const index_t tap = r * wide.taps + s;
        const auto value = static_cast<double>(w[turned ? taps - 1 - tap : tap]);
        for (int j = 0; j <= t / 2; ++j)
          row[static_cast<std::size_t>(j)] += value * unit(j * s * wide.dilation);
      }
      for (int i = 0; i < t; ++i) {
        const std::complex<double> factor = unit(circle_.reversed[i] * r * high.dilation) / double(t * t);
        for (int j = 0; j <= t / 2; ++j)
          plane[static_cast<std::size_t>(j * t + i)] += factor * row[static_cast<std::size_t>(j)];
      }
    }
    for (index_t e = 0; e < elements(); ++e) {
      const auto re = static_cast<float>(plane[static_cast<std::size_t>(e)].real());
      const auto im = static_cast<float>(plane[static_cast<std::size_t>(e)].imag());
      *coefficient(g, e, c, k) = re;
      *coefficient(g, e, c, m_channels_ + k) = im;
      *coefficient(g, e, in_channels_ + c, k) = -im;
      *coefficient(g, e, in_channels_ + c, m_channels_ + k) = re;
    }
  }
  float* coefficient(index_t g, index_t e, index_t row, index_t column) const {
    const index_t panel = column / target_.width();
    return packed(g, e, panel) + row * panel_width(panel) + column % target_.width();
  }

  struct place {
    index_t image, top, left;  ///< the first output of a tile
  };
  place place_of(index_t tile, const axis& rows, const axis& columns) const {
    const index_t across = columns.tiles(points()), down = rows.tiles(points());
    return {tile / (across * down), tile / across % down * rows.step(points()),
            tile % across * columns.step(points())};
  }

  void input(const float* x, index_t g, index_t tile, index_t chunk, float* mine, float* v) const {
    const axis rows = axis_of(arguments_.height()), columns = axis_of(arguments_.width());
    const place at = place_of(tile, rows, columns);
    const index_t c = chunk * target_.lanes, all = arguments_.groups * in_channels_,
                  plane = rows.in * columns.in;
    const index_t top = at.top - rows.begin, left = at.left - columns.begin;
    window from;
    from.count = std::min<index_t>(target_.lanes, in_channels_ - c);
    from.first = static_cast<int>(std::clamp<index_t>(-left, 0, points()));
    from.last = static_cast<int>(std::clamp<index_t>(columns.in - left, from.first, points()));
    from.step = nhwc_ ? all : target_.lanes;
    float* strip = mine + transform_size();
    for (index_t i = 0; i < points(); ++i) {
      const index_t h = top + i;
      from.rows[i] = nullptr;
      if (h < 0 || h >= rows.in || from.first == from.last) continue;
      if (nhwc_) {  // only read
        from.rows[i] = const_cast<float*>(x) +
                       ((at.image * rows.in + h) * columns.in + left + from.first) * all + g * in_channels_ +
                       c;
      } else {
        from.rows[i] = strip + i * points() * target_.lanes;
        target_.transpose(
            x + (at.image * all + g * in_channels_ + c) * plane + h * columns.in + left + from.first, plane,
            from.count, from.last - from.first, from.rows[i], target_.lanes);
      }
    }
    f_.input(circle_, from, mine, v + c, v_step_, v_channels_);
  }

  void product(index_t g, index_t e, index_t panel, index_t tiles, const float* v, float* m) const {
    const index_t width = panel_width(panel);
    const even_parts parts(tiles, target_.pixels);
    tile_call t;
    t.vectors = static_cast<int>(width / target_.lanes);
    t.loops[1] = {2, v_channels_, in_channels_ * width};
    t.loops[2] = {in_channels_, 1, width};
    t.w = packed(g, e, panel);
    for (index_t i = 0; i < parts.parts; ++i) {
      const index_t first = parts.begin(i);
      t.x = v + e * v_step_ + first * 2 * v_channels_;
      t.out = m + e * m_step_ + first * 2 * m_channels_ + panel * target_.width();
      t.even_rows(parts.begin(i + 1) - first, 2 * v_channels_, 2 * m_channels_);
      target_.run(t);
    }
  }

  void output(const float* m, index_t g, index_t tile, index_t chunk, const float* bias, float* mine,
              float* y) const {
    const axis rows = axis_of(arguments_.height()), columns = axis_of(arguments_.width());
    const place at = place_of(tile, rows, columns);
    const index_t k = chunk * target_.lanes, all = arguments_.groups * out_channels_,
                  plane = rows.out * columns.out;
    window to;
    to.count = std::min<index_t>(target_.lanes, out_channels_ - k);
    to.last = static_cast<int>(std::min(columns.step(points()), columns.out - at.left));
    to.step = nhwc_ ? all : target_.lanes;
    const index_t height = std::min(rows.step(points()), rows.out - at.top);
    float* strip = mine + transform_size();
    for (index_t i = 0; i < points(); ++i)
      to.rows[i] = i >= height ? nullptr
                   : nhwc_     ? y + ((at.image * rows.out + at.top + i) * columns.out + at.left) * all +
                                 g * out_channels_ + k
                           : strip + i * points() * target_.lanes;
    f_.output(circle_, m + k, m_step_, m_channels_, bias ? bias + g * out_channels_ + k : nullptr, mine, to);
    for (index_t i = 0; !nhwc_ && i < height; ++i)
      target_.transpose(
          to.rows[i], target_.lanes, to.last, to.count,
          y + (at.image * all + g * out_channels_ + k) * plane + (at.top + i) * columns.out + at.left, plane);
  }

  const tile_target& target_;
  const fourier& f_;
  bool forward_;
  index_t threads_;
  bool nhwc_;
  conv_arguments arguments_;
  circle circle_;
  bool bias_ = false;
  index_t in_channels_ = 0, out_channels_ = 0, v_channels_ = 0, m_channels_ = 0, panels_ = 0, tiles_ = 0;
  even_parts blocks_{0, 1};          ///< of the tiles
  index_t v_step_ = 0, m_step_ = 0;  ///< from frequency e of all tiles to the next
  aligned_buffer u_;
};

support fft_support(const kernel_problem& kp, bool forward) {
  const support s = conv_support(kp);
  if (!s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  for (const conv_axis* axis : {&a.height(), &a.width()}) {
    if (axis->stride != 1) return support::no("transforms of tiles need stride=1");
    if (reach_of(*axis) > most_points / 2 + 1)
      return support::no("the filter reaches over more than 33 inputs, half a transform");
  }
  if (a.taps() < least_taps) return support::no("fewer than nine taps need fewer products than a transform");
  const index_t t = best_points(a, forward), in = forward ? a.group_c() : a.group_k(),
                out = a.group_c() + a.group_k() - in;
  if (a.groups * t * (t / 2 + 1) * 2 * in * 2 * (out + most_tile_width) > most_packed)
    return support::no("its transformed filters would take more than 256 MB");
  return support::yes();
}

kernel make_kernel(const tile_target& target, const fourier& f, bool forward) {
  kernel k;
  k.layer = "conv2d";
  k.pass = forward ? "forward" : "backward_data";
  k.name = "conv2d." + k.pass + "/fft@" + std::string(target.name);
  k.arithmetic = "fft";
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = [forward](const kernel_problem& kp) { return fft_support(kp, forward); };
  k.make_plan = [&target, &f, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
    return std::make_unique<fft_plan>(target, f, kp, forward);
  };
  return k;
}

}  // namespace

void register_conv2d_fft(registry& kernels) {
  static const std::pair<std::string_view, fourier> all[] = {
#if HWY_TARGETS & HWY_AVX3
    {"avx3", {N_AVX3::fft_both.input, N_AVX3::fft_both.output}},
#endif
#if HWY_TARGETS & HWY_AVX2
    {"avx2", {N_AVX2::fft_both.input, N_AVX2::fft_both.output}},
#endif
#if HWY_TARGETS & HWY_SSE4
    {"sse4", {N_SSE4::fft_both.input, N_SSE4::fft_both.output}},
#endif
#if HWY_TARGETS & HWY_SCALAR
    {"scalar", {N_SCALAR::fft_both.input, N_SCALAR::fft_both.output}},
#endif
  };
  for (const tile_target& target : tile_targets())
    for (const auto& [name, f] : all)
      if (name == target.name)
        for (const bool forward : {true, false}) kernels.add(make_kernel(target, f, forward));
}

}  // namespace plumb
#endif
