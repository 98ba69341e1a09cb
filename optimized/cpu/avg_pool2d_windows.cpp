// Average pooling of planes: avg_pool2d, adaptive_avg_pool2d and global_avg_pool, forward and backward, for every
// instruction set. Each layer becomes a list of windows an axis; a window is the cells [first, last) inside the input and
// the number by which the axis divides.
//   forward    y = (Σ of the window, row by row) / divisor. NHWC: lanes are channels, four vectors of them at once
//   backward   dx = Σ over the windows that hold a cell, in order, of dy/divisor. NHWC: the same; where windows overlap,
//              dy is divided once, into the workspace
//   NCHW       where rows are long and windows keep their step and width, lanes are neighbouring outputs; windows that
//              do not overlap spread dy over a plane that stays near; elsewhere sixteen planes are turned into a
//              channels-last panel that stays near, and its results are turned back
// A division by a power of two is a multiplication, which gives the same bits.
// Sums run in the order of the definition, so that large numbers that cancel there cancel here.
#include <algorithm>
#include <bit>
#include <vector>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/avg_pool2d_windows.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef PLUMB_AVG_POOL_TYPES
#define PLUMB_AVG_POOL_TYPES
namespace plumb {
namespace {

/// The windows along one axis, and for each cell the windows [begin, end) that hold it.
struct pool_windows {
  index_t in = 1, out = 1;
  std::vector<index_t> first, last, begin, end;
  std::vector<float> share;  ///< what the axis divides by
  index_t step = 0, from = 0,
          until = 0;  ///< windows [from, until) have one width and advance by `step`; none: 0
};

struct average_pool {
  index_t n = 0, c = 0;
  pool_windows rows, columns;
  float divisor = 0;  ///< instead of the shares; 0: none

  float divisor_of(index_t p, index_t q) const {
    const auto at = [](index_t i) { return static_cast<std::size_t>(i); };
    return divisor != 0 ? divisor : rows.share[at(p)] * columns.share[at(q)];
  }
};

/// Channels [c, end) of pixels that lie `pixel` numbers apart.
struct channel_range {
  index_t pixel, c, end;
  bool past;     ///< results go past the caches
  bool divided;  ///< dy was divided before
};

/// How a number is divided: by a power of two, with a product.
struct division {
  float by;
  bool product;

  explicit division(float divisor) : by(divisor), product(false) {
    constexpr std::uint32_t fraction = (1U << 23) - 1;
    if ((std::bit_cast<std::uint32_t>(divisor) & fraction) != 0) return;
    by = 1 / divisor;
    product = true;
  }
};

struct averages {
  index_t lanes;
  void (*nhwc_forward)(const average_pool&, const channel_range&, const float*, index_t, float*);
  void (*nhwc_backward)(const average_pool&, const channel_range&, const float*, index_t, float*);
  void (*nhwc_divide)(const average_pool&, const channel_range&, const float*, index_t, float*);
  void (*nchw_forward)(const average_pool&, const float*, index_t, float*);
  void (*nchw_backward)(const average_pool&, const float*, float*, float*);
  void (*nchw_spread)(const average_pool&, const float*, float*, float*);
};

inline index_t entry(const std::vector<index_t>& list, index_t i) {
  return list[static_cast<std::size_t>(i)];
}

}  // namespace
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

constexpr int together = 4;  ///< vectors at once, so that no sum waits for itself
/// Vectors at once where registers hold their sums: long stretches of a pixel come from memory faster than short ones.
constexpr int most_together = HWY_TARGET == HWY_AVX3 ? 16 : 8;

template <class D>
HWY_INLINE hn::Vec<D> divided(D d, hn::Vec<D> sum, const division& share) {
  const auto by = hn::Set(d, share.by);
  return share.product ? hn::Mul(sum, by) : hn::Div(sum, by);
}

template <int Vectors, class D>
HWY_INLINE void put(D d, const hn::Vec<D>* v, bool past, float* y) {
  constexpr index_t width = static_cast<index_t>(hn::MaxLanes(D()));
#pragma GCC unroll 16
  for (int i = 0; i < Vectors; ++i)
    if (past)
      hn::Stream(v[i], d, y + i * width);
    else
      hn::StoreU(v[i], d, y + i * width);
}

template <int Vectors, class D>
HWY_INLINE void window_sum(D d, const float* x, index_t row_step, index_t rows, index_t column_step,
                           index_t columns, const division& share, bool past, float* y) {
  constexpr index_t width = static_cast<index_t>(hn::MaxLanes(D()));
  hn::Vec<D> sum[Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Vectors; ++i) sum[i] = hn::Zero(d);
  for (index_t h = 0; h < rows; ++h, x += row_step)
    for (index_t w = 0; w < columns; ++w)
#pragma GCC unroll 16
      for (int i = 0; i < Vectors; ++i)
        sum[i] = hn::Add(sum[i], hn::LoadU(d, x + w * column_step + i * width));
#pragma GCC unroll 16
  for (int i = 0; i < Vectors; ++i) sum[i] = divided(d, sum[i], share);
  put<Vectors>(d, sum, past, y);
}

/// body(vectors, tag, channel, past) over the channels of a pixel: as many vectors as there are registers, four, one, then
/// number by number.
template <class Body>
HWY_INLINE void along(const channel_range& r, const Body& body) {
  index_t i = r.c;
  for (; i + most_together * lanes <= r.end; i += most_together * lanes)
    body(std::integral_constant<int, most_together>(), numbers(), i, r.past);
  for (; i + together * lanes <= r.end; i += together * lanes)
    body(std::integral_constant<int, together>(), numbers(), i, r.past);
  for (; i + lanes <= r.end; i += lanes) body(std::integral_constant<int, 1>(), numbers(), i, r.past);
  for (; i < r.end; ++i) body(std::integral_constant<int, 1>(), single(), i, false);
}

/// Output row p of one NHWC image.
void nhwc_forward(const average_pool& a, const channel_range& r, const float* x, index_t p, float* y) {
  const index_t top = entry(a.rows.first, p), rows = entry(a.rows.last, p) - top,
                row = a.columns.in * r.pixel;
  for (index_t q = 0; q < a.columns.out; ++q) {
    const index_t left = entry(a.columns.first, q), columns = entry(a.columns.last, q) - left;
    const division share(a.divisor_of(p, q));
    const float* from = x + top * row + left * r.pixel;
    float* to = y + (p * a.columns.out + q) * r.pixel;
    along(r, [&](auto vectors, auto d, index_t i, bool past) HWY_ATTR {
      window_sum<vectors()>(d, from + i, row, rows, r.pixel, columns, share, past, to + i);
    });
  }
  if (r.past) hwy::FlushStream();
}

/// Row p of dy of one NHWC image, divided.
void nhwc_divide(const average_pool& a, const channel_range& r, const float* dy, index_t p, float* shares) {
  for (index_t q = 0; q < a.columns.out; ++q) {
    const division share(a.divisor_of(p, q));
    const index_t at = (p * a.columns.out + q) * r.pixel;
    along(r, [&](auto vectors, auto d, index_t i, bool) HWY_ATTR {
      window_sum<vectors()>(d, dy + at + i, 0, 1, 0, 1, share, false, shares + at + i);
    });
  }
}

template <int Vectors, class D>
HWY_INLINE void cell_sum(D d, const average_pool& a, const channel_range& r, const float* dy, index_t h,
                         index_t w, bool past, float* dx) {
  constexpr index_t width = static_cast<index_t>(hn::MaxLanes(D()));
  hn::Vec<D> sum[Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Vectors; ++i) sum[i] = hn::Zero(d);
  for (index_t p = entry(a.rows.begin, h); p < entry(a.rows.end, h); ++p)
    for (index_t q = entry(a.columns.begin, w); q < entry(a.columns.end, w); ++q) {
      const float* from = dy + (p * a.columns.out + q) * r.pixel;
      const division share(r.divided ? 1.0F : a.divisor_of(p, q));
#pragma GCC unroll 16
      for (int i = 0; i < Vectors; ++i)
        sum[i] = hn::Add(sum[i], divided(d, hn::LoadU(d, from + i * width), share));
    }
  put<Vectors>(d, sum, past, dx);
}

/// Row h of dx of one NHWC image.
void nhwc_backward(const average_pool& a, const channel_range& r, const float* dy, index_t h, float* dx) {
  for (index_t w = 0; w < a.columns.in; ++w) {
    float* to = dx + (h * a.columns.in + w) * r.pixel;
    along(r, [&](auto vectors, auto d, index_t i, bool past)
                 HWY_ATTR { cell_sum<vectors()>(d, a, r, dy + i, h, w, past, to + i); });
  }
  if (r.past) hwy::FlushStream();
}

/// Numbers x[0], x[step], …; with step 2 the number after the last one is read too.
HWY_INLINE hn::Vec<numbers> load_strided(const float* x, index_t step) {
  const numbers d;
  if (step == 1) return hn::LoadU(d, x);
#if HWY_TARGET != HWY_SCALAR
  if (step == 2) {
    hn::Vec<numbers> even, odd;
    hn::LoadInterleaved2(d, x, even, odd);
    return even;
  }
#endif
  HWY_ALIGN float gathered[HWY_LANES(float)];
  for (index_t i = 0; i < lanes; ++i) gathered[i] = x[i * step];
  return hn::Load(d, gathered);
}

/// Output row p of one plane.
void nchw_forward(const average_pool& a, const float* x, index_t p, float* y) {
  const numbers d;
  const index_t top = entry(a.rows.first, p), rows = entry(a.rows.last, p) - top;
  const float* from = x + top * a.columns.in;
  // Pairs reach one number further: into the next row, unless there is none.
  const index_t until = a.columns.step == 2 && a.columns.until > 0 && top + rows == a.rows.in &&
                                entry(a.columns.last, a.columns.until - 1) + 1 > a.columns.in
                            ? a.columns.until - 1
                            : a.columns.until;
  for (index_t q = 0; q < a.columns.out;) {
    // The last vector begins inside the one before it.
    if (q >= a.columns.from + lanes && q < until && q + lanes > until) q = until - lanes;
    const index_t left = entry(a.columns.first, q), columns = entry(a.columns.last, q) - left;
    if (a.columns.step == 0 || q < a.columns.from || q + lanes > until) {
      const division share(a.divisor_of(p, q));
      window_sum<1>(single(), from + left, a.columns.in, rows, 1, columns, share, false, y + q);
      ++q;
      continue;
    }
    auto sum = hn::Zero(d);
    for (index_t h = 0; h < rows; ++h)
      for (index_t w = 0; w < columns; ++w)
        sum = hn::Add(sum, load_strided(from + h * a.columns.in + left + w, a.columns.step));
    hn::StoreU(divided(d, sum, division(a.divisor_of(p, q))), d, y + q);
    q += lanes;
  }
}

/// One plane of dx; `shares` has room for a plane of dy.
void nchw_backward(const average_pool& a, const float* dy, float* shares, float* dx) {
  for (index_t p = 0; p < a.rows.out; ++p)
    for (index_t q = 0; q < a.columns.out; ++q)
      shares[p * a.columns.out + q] = dy[p * a.columns.out + q] / a.divisor_of(p, q);
  for (index_t h = 0; h < a.rows.in; ++h) {
    const index_t begin = entry(a.rows.begin, h), end = entry(a.rows.end, h);
    float* row = dx + h * a.columns.in;
    if (h > 0 && begin == entry(a.rows.begin, h - 1) && end == entry(a.rows.end, h - 1)) {
      std::copy_n(row - a.columns.in, a.columns.in, row);  // the same windows hold the row above
      continue;
    }
    for (index_t w = 0; w < a.columns.in; ++w) {
      const index_t first = entry(a.columns.begin, w), last = entry(a.columns.end, w);
      float sum = 0;
      for (index_t p = begin; p < end; ++p)
        for (index_t q = first; q < last; ++q) sum += shares[p * a.columns.out + q];
      row[w] = sum;
    }
  }
}

/// The even windows from `begin` on, if they are two cells wide and adjoin: the first one that is left to do.
#if HWY_TARGET == HWY_SCALAR
index_t spread_pairs(const average_pool&, const float*, index_t, index_t begin, float*) { return begin; }
#else
index_t spread_pairs(const average_pool& a, const float* dy, index_t p, index_t begin, float* row) {
  const numbers d;
  const pool_windows& w = a.columns;
  const index_t end = w.until;
  if (w.step != 2 || entry(w.last, begin) - entry(w.first, begin) != 2 || end - begin < lanes) return begin;
  for (index_t q = begin; q < end; q += lanes) {
    q = std::min(q, end - lanes);  // the last vector begins inside the one before it
    const auto share = divided(d, hn::LoadU(d, dy + q), division(a.divisor_of(p, q)));
    const auto v = hn::Add(hn::Zero(d), share);  // the sum of one term: 0 + -0 is 0
    hn::StoreInterleaved2(v, v, d, row + entry(w.first, q));
  }
  return end;
}
#endif

/// The row of dx under row p of dy, for windows that do not overlap.
void spread_row(const average_pool& a, const float* dy, index_t p, float* row) {
  const single one;
  const pool_windows& w = a.columns;
  std::fill_n(row, w.in, 0.0F);
  for (index_t q = 0; q < w.out; ++q) {
    if (q == w.from && q < w.until) q = spread_pairs(a, dy, p, q, row);
    if (q == w.out) break;
    const float share = hn::GetLane(divided(one, hn::LoadU(one, dy + q), division(a.divisor_of(p, q))));
    std::fill(row + entry(w.first, q), row + entry(w.last, q), 0.0F + share);
  }
}

/// One plane of dx, for windows that do not overlap; by way of `near`, if that is not null, past the caches.
void nchw_spread(const average_pool& a, const float* dy, float* near, float* dx) {
  float* plane = near ? near : dx;
  const index_t width = a.columns.in, size = a.rows.in * width;
  index_t h = 0;
  for (index_t p = 0; p < a.rows.out; ++p) {
    const index_t first = entry(a.rows.first, p), last = entry(a.rows.last, p);
    std::fill(plane + h * width, plane + std::max(h, first) * width, 0.0F);
    if (first == last) continue;
    spread_row(a, dy + p * a.columns.out, p, plane + first * width);
    for (h = first + 1; h < last; ++h) std::copy_n(plane + first * width, width, plane + h * width);
  }
  std::fill(plane + h * width, plane + size, 0.0F);
  if (!near) return;
  const numbers d;
  for (index_t i = 0; i < size; i += lanes) hn::Stream(hn::Load(d, near + i), d, dx + i);
  hwy::FlushStream();
}

}  // namespace

constexpr averages all = {lanes,        nhwc_forward,  nhwc_backward, nhwc_divide,
                          nchw_forward, nchw_backward, nchw_spread};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {
namespace {

/// Fills in what follows from the windows: which of them hold a cell, and the stretch of even ones.
void complete(pool_windows& w) {
  for (index_t cell = 0; cell < w.in; ++cell) {
    index_t begin = 0, end = 0;
    while (begin < w.out && entry(w.last, begin) <= cell) ++begin;
    end = begin;
    while (end < w.out && entry(w.first, end) <= cell) ++end;
    w.begin.push_back(begin);
    w.end.push_back(end);
  }
  // The longest stretch is looked for from the middle: borders are cut short.
  const index_t middle = w.out / 2;
  if (w.out < 2 || middle + 1 >= w.out) return;
  w.step = entry(w.first, middle + 1) - entry(w.first, middle);
  const auto even = [&w, middle](index_t i) {
    const auto at = [](index_t k) { return static_cast<std::size_t>(k); };
    return entry(w.first, i) - entry(w.first, middle) == (i - middle) * w.step &&
           entry(w.last, i) - entry(w.first, i) == entry(w.last, middle) - entry(w.first, middle) &&
           !(w.share[at(i)] < w.share[at(middle)]) && !(w.share[at(i)] > w.share[at(middle)]);
  };
  w.from = w.until = middle;
  while (w.from > 0 && even(w.from - 1)) --w.from;
  while (w.until < w.out && even(w.until)) ++w.until;
}

void add_window(pool_windows& w, index_t first, index_t last, index_t share) {
  w.first.push_back(first);
  w.last.push_back(std::max(first, last));
  w.share.push_back(static_cast<float>(share));
}

average_pool read_windows(const problem& p) {
  const shape x = p.shape_of("x"), y = p.shape_of("y");
  average_pool a;
  a.n = x[0];
  a.c = x[1];
  if (p.layer() == "global_avg_pool") {
    a.columns.in = x.size() / std::max<index_t>(1, a.n * a.c);
    add_window(a.rows, 0, 1, 1);
    add_window(a.columns, 0, a.columns.in, a.columns.in);
  } else {
    const bool adaptive = p.layer() == "adaptive_avg_pool2d";
    if (!adaptive && p.has("divisor_override")) a.divisor = static_cast<float>(p.integer("divisor_override"));
    for (const int axis : {0, 1}) {
      pool_windows& w = axis == 0 ? a.rows : a.columns;
      w.in = x[2 + axis];
      w.out = y[2 + axis];
      const auto i = static_cast<std::size_t>(axis);
      for (index_t o = 0; o < w.out; ++o)
        if (adaptive) {
          const index_t first = o * w.in / w.out, last = ((o + 1) * w.in - 1) / w.out + 1;
          add_window(w, first, last, last - first);
        } else {
          const auto pad = p.integers("pad");
          const index_t start = o * p.integers("stride")[i] - pad[2 * i];
          const index_t stop = std::min(start + p.integers("window")[i], w.in + pad[2 * i + 1]);
          const index_t first = std::max<index_t>(start, 0), last = std::min(stop, w.in);
          add_window(w, first, last, p.flag("count_include_pad") ? stop - start : last - first);
        }
    }
  }
  complete(a.rows);
  complete(a.columns);
  return a;
}

/// Whether a cell is held by more than one window.
bool overlaps(const pool_windows& w) {
  for (index_t cell = 0; cell < w.in; ++cell)
    if (entry(w.end, cell) - entry(w.begin, cell) > 1) return true;
  return false;
}

class average_plan final : public plan {
 public:
  average_plan(const averages& functions, const tile_target& turn, const kernel_problem& kp, bool is_forward)
      : run_(functions),
        turn_(turn),
        a_(read_windows(kp.problem)),
        forward_(is_forward),
        last_(kp.layout == layout::nhwc),
        divides_first_(!is_forward && (overlaps(a_.rows) || overlaps(a_.columns))),
        threads_(kp.threads) {
    constexpr index_t largest = index_t{1} << 16;  // cells of a plane whose panel is still near
    const bool long_rows = (a_.columns.step == 1 || a_.columns.step == 2) &&
                           a_.columns.until - a_.columns.from > functions.lanes;
    spreads_ = !last_ && !is_forward && !divides_first_;
    panels_ = !last_ && in_size() <= largest && !spreads_ && !(forward_ && long_rows);
  }

  std::size_t workspace_size() const override {
    const index_t count = last_ ? (divides_first_ ? out_size() * a_.n * a_.c : 0) : threads_ * scratch();
    return sizeof(float) * static_cast<std::size_t>(count);
  }

  void run(const kernel_call& call) noexcept override {
    const auto* from = static_cast<const float*>(call.reads[0].data);
    auto* to = static_cast<float*>(call.writes[0].data);
    if (!last_) {
      panels_ ? run_panels(call, from, to) : run_planes(call, from, to);
      return;
    }
    if (divides_first_) {
      auto* shares = static_cast<float*>(call.workspace);
      run_last(call, run_.nhwc_divide, a_.rows.out, {out_size(), from}, {out_size(), shares});
      from = shares;
    }
    if (forward_)
      run_last(call, run_.nhwc_forward, a_.rows.out, {in_size(), from}, {out_size(), to});
    else
      run_last(call, run_.nhwc_backward, a_.rows.in, {out_size(), from}, {in_size(), to});
  }

 private:
  template <class T>
  struct images {
    index_t size;  ///< pixels of one
    T* data;
  };

  static constexpr index_t together = aligned_buffer::line;  ///< planes of a panel

  index_t in_size() const { return a_.rows.in * a_.columns.in; }
  index_t out_size() const { return a_.rows.out * a_.columns.out; }
  /// Of one thread, in NCHW: both panels, or a plane of divided dy.
  index_t scratch() const {
    if (panels_) return together * (in_size() + out_size());
    return forward_ ? 0 : aligned_buffer::padded(spreads_ ? in_size() : out_size());
  }

  /// Rows of all images; the channels are shared where there are few rows.
  template <class Row>
  void run_last(const kernel_call& call, Row row, index_t rows, images<const float> from,
                images<float> to) const {
    const index_t parts = a_.n * rows >= 4 * call.threads ? 1 : 4;
    const index_t part = (a_.c + 16 * parts - 1) / (16 * parts) * 16;
    const bool past = goes_past_caches(to.data, a_.n * to.size * a_.c) && a_.c % 16 == 0;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < a_.n * rows * parts; ++i) {
      const index_t n = i / (rows * parts), c = std::min(a_.c, i % parts * part);
      const channel_range r = {a_.c, c, std::min(a_.c, c + part), past, divides_first_};
      row(a_, r, from.data + n * from.size * a_.c, i / parts % rows, to.data + n * to.size * a_.c);
    }
  }

  /// Sixteen planes at once, turned.
  void run_panels(const kernel_call& call, const float* from, float* to) const {
    const index_t planes = a_.n * a_.c, groups = (planes + together - 1) / together;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      float* scratch_at = static_cast<float*>(call.workspace) + share * scratch();
      for (index_t i = groups * share / call.threads; i < groups * (share + 1) / call.threads; ++i)
        run_panel(std::min(together, planes - i * together), from + i * together * read_size(), scratch_at,
                  to + i * together * written_size());
    }
  }

  index_t read_size() const { return forward_ ? in_size() : out_size(); }
  index_t written_size() const { return forward_ ? out_size() : in_size(); }

  void run_panel(index_t planes, const float* from, float* scratch_at, float* to) const {
    const channel_range r = {together, 0, planes, false, true};
    float *read = scratch_at, *written = scratch_at + together * read_size();
    turn_.transpose(from, read_size(), planes, read_size(), read, together);
    for (index_t p = 0; p < a_.rows.out; ++p)
      forward_ ? run_.nhwc_forward(a_, r, read, p, written) : run_.nhwc_divide(a_, r, read, p, read);
    for (index_t h = 0; h < a_.rows.in && !forward_; ++h) run_.nhwc_backward(a_, r, read, h, written);
    turn_.transpose(written, together, written_size(), planes, to, written_size());
  }

  /// Plane by plane.
  void run_planes(const kernel_call& call, const float* from, float* to) const {
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      const index_t planes = a_.n * a_.c;
      const bool past =
          goes_past_caches(to, planes * written_size()) && written_size() % aligned_buffer::line == 0;
      float* scratch_at = static_cast<float*>(call.workspace) + share * scratch();
      for (index_t i = planes * share / call.threads; i < planes * (share + 1) / call.threads; ++i) {
        if (spreads_)
          run_.nchw_spread(a_, from + i * out_size(), past ? scratch_at : nullptr, to + i * in_size());
        else if (!forward_)
          run_.nchw_backward(a_, from + i * out_size(), scratch_at, to + i * in_size());
        for (index_t p = 0; p < a_.rows.out && forward_; ++p)
          run_.nchw_forward(a_, from + i * in_size(), p, to + i * out_size() + p * a_.columns.out);
      }
    }
  }

  const averages& run_;
  const tile_target& turn_;
  average_pool a_;
  bool forward_;
  bool last_;           ///< channels last
  bool divides_first_;  ///< a number of dy is divided once, not for each cell that reads it
  bool panels_ = false;
  bool spreads_ = false;  ///< NCHW backward, of windows that do not overlap
  index_t threads_;
};

}  // namespace

void register_avg_pool2d_windows(registry& kernels) {
  for (const auto& set : target_tables<averages>(PLUMB_TARGET_TABLES(all))) {
    const tile_target& turn = *std::ranges::find(tile_targets(), set.name, &tile_target::name);
    for (const char* layer : {"avg_pool2d", "adaptive_avg_pool2d", "global_avg_pool"})
      for (const bool is_forward : {true, false}) {
        kernel k = target_row(layer, is_forward ? "forward" : "backward", "windows", set.name, set.runs_here);
        k.supports = [](const kernel_problem& kp) {
          return knows(kp, {"x", "y", "window", "stride", "pad", "ceil_mode", "count_include_pad",
                            "divisor_override", "output"});
        };
        k.make_plan = [&functions = *set.functions, &turn,
                       is_forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
          return std::make_unique<average_plan>(functions, turn, kp, is_forward);
        };
        kernels.add(std::move(k));
      }
  }
}

}  // namespace plumb
#endif
