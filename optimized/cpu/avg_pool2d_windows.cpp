// Average pooling of planes: avg_pool2d, adaptive_avg_pool2d and global_avg_pool, forward and backward, for every
// instruction set. Each layer becomes a list of windows an axis; a window is the cells [first, last) inside the input and
// the number by which the axis divides.
//   forward    y = (Σ of the window, row by row) / divisor. NHWC: lanes are channels. NCHW: lanes are neighbouring outputs
//              where windows keep their step and width, else one output at a time
//   backward   dx = Σ over the windows that hold a cell, in order, of dy/divisor. NHWC: lanes are channels. NCHW: a plane
//              of dy is divided once, then gathered
// Sums run in the order of the definition, so that large numbers that cancel there cancel here.
#include <algorithm>
#include <vector>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/avg_pool2d_windows.cpp"
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

struct averages {
  void (*nhwc_forward)(const average_pool&, const float*, index_t, index_t, index_t, float*);
  void (*nhwc_backward)(const average_pool&, const float*, index_t, index_t, index_t, float*);
  void (*nchw_forward)(const average_pool&, const float*, index_t, float*);
  void (*nchw_backward)(const average_pool&, const float*, float*, float*);
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

template <class D>
HWY_INLINE void window_sum(D d, const float* x, index_t row_step, index_t rows, index_t column_step,
                           index_t columns, float divisor, float* y) {
  auto sum = hn::Zero(d);
  for (index_t h = 0; h < rows; ++h)
    for (index_t w = 0; w < columns; ++w)
      sum = hn::Add(sum, hn::LoadU(d, x + h * row_step + w * column_step));
  hn::StoreU(hn::Div(sum, hn::Set(d, divisor)), d, y);
}

/// Output row p of one NHWC image, channels [c, end).
void nhwc_forward(const average_pool& a, const float* x, index_t p, index_t c, index_t end, float* y) {
  const index_t top = entry(a.rows.first, p), rows = entry(a.rows.last, p) - top, row = a.columns.in * a.c;
  for (index_t q = 0; q < a.columns.out; ++q) {
    const index_t left = entry(a.columns.first, q), columns = entry(a.columns.last, q) - left;
    const float divisor = a.divisor_of(p, q);
    const float* from = x + top * row + left * a.c;
    float* to = y + (p * a.columns.out + q) * a.c;
    index_t i = c;
    for (; i + lanes <= end; i += lanes)
      window_sum(numbers(), from + i, row, rows, a.c, columns, divisor, to + i);
    for (; i < end; ++i) window_sum(single(), from + i, row, rows, a.c, columns, divisor, to + i);
  }
}

template <class D>
HWY_INLINE void cell_sum(D d, const average_pool& a, const float* dy, index_t h, index_t w, float* dx) {
  auto sum = hn::Zero(d);
  for (index_t p = entry(a.rows.begin, h); p < entry(a.rows.end, h); ++p)
    for (index_t q = entry(a.columns.begin, w); q < entry(a.columns.end, w); ++q)
      sum = hn::Add(
          sum, hn::Div(hn::LoadU(d, dy + (p * a.columns.out + q) * a.c), hn::Set(d, a.divisor_of(p, q))));
  hn::StoreU(sum, d, dx);
}

/// Row h of dx of one NHWC image, channels [c, end).
void nhwc_backward(const average_pool& a, const float* dy, index_t h, index_t c, index_t end, float* dx) {
  for (index_t w = 0; w < a.columns.in; ++w) {
    float* to = dx + (h * a.columns.in + w) * a.c;
    index_t i = c;
    for (; i + lanes <= end; i += lanes) cell_sum(numbers(), a, dy + i, h, w, to + i);
    for (; i < end; ++i) cell_sum(single(), a, dy + i, h, w, to + i);
  }
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
  // Pairs reach one number further.
  const index_t until = a.columns.step == 2 && a.columns.until > 0 &&
                                entry(a.columns.last, a.columns.until - 1) + 1 > a.columns.in
                            ? a.columns.until - 1
                            : a.columns.until;
  for (index_t q = 0; q < a.columns.out;) {
    const index_t left = entry(a.columns.first, q), columns = entry(a.columns.last, q) - left;
    if (a.columns.step == 0 || q < a.columns.from || q + lanes > until) {
      window_sum(single(), from + left, a.columns.in, rows, 1, columns, a.divisor_of(p, q), y + q);
      ++q;
      continue;
    }
    auto sum = hn::Zero(d);
    for (index_t h = 0; h < rows; ++h)
      for (index_t w = 0; w < columns; ++w)
        sum = hn::Add(sum, load_strided(from + h * a.columns.in + left + w, a.columns.step));
    hn::StoreU(hn::Div(sum, hn::Set(d, a.divisor_of(p, q))), d, y + q);
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

}  // namespace

constexpr averages all = {nhwc_forward, nhwc_backward, nchw_forward, nchw_backward};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

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

class average_plan final : public plan {
 public:
  average_plan(const averages& functions, const kernel_problem& kp, bool is_forward)
      : run_(functions),
        a_(read_windows(kp.problem)),
        forward_(is_forward),
        last_(kp.layout == layout::nhwc),
        threads_(kp.threads) {}

  std::size_t workspace_size() const override {
    return forward_ || last_ ? 0 : sizeof(float) * static_cast<std::size_t>(threads_ * shares());
  }

  void run(const kernel_call& call) noexcept override {
    const auto* from = static_cast<const float*>(call.reads[0].data);
    auto* to = static_cast<float*>(call.writes[0].data);
    last_ ? run_last(call, from, to) : run_planes(call, from, to);
  }

 private:
  index_t shares() const { return aligned_buffer::padded(a_.rows.out * a_.columns.out); }
  index_t in_size() const { return a_.rows.in * a_.columns.in; }
  index_t out_size() const { return a_.rows.out * a_.columns.out; }

  /// Rows of all images; the channels are shared where there are few rows.
  void run_last(const kernel_call& call, const float* from, float* to) const {
    const index_t rows = forward_ ? a_.rows.out : a_.rows.in, parts = a_.n * rows >= 4 * call.threads ? 1 : 4;
    const index_t part = (a_.c + 16 * parts - 1) / (16 * parts) * 16;
    const index_t read = (forward_ ? in_size() : out_size()) * a_.c;
    const index_t written = (forward_ ? out_size() : in_size()) * a_.c;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < a_.n * rows * parts; ++i) {
      const index_t n = i / (rows * parts), c = std::min(a_.c, i % parts * part),
                    end = std::min(a_.c, c + part);
      (forward_ ? run_.nhwc_forward : run_.nhwc_backward)(a_, from + n * read, i / parts % rows, c, end,
                                                          to + n * written);
    }
  }

  void run_planes(const kernel_call& call, const float* from, float* to) const {
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      const index_t planes = a_.n * a_.c;
      float* scratch = static_cast<float*>(call.workspace) + share * shares();
      for (index_t i = planes * share / call.threads; i < planes * (share + 1) / call.threads; ++i) {
        if (!forward_) run_.nchw_backward(a_, from + i * out_size(), scratch, to + i * in_size());
        for (index_t p = 0; p < a_.rows.out && forward_; ++p)
          run_.nchw_forward(a_, from + i * in_size(), p, to + i * out_size() + p * a_.columns.out);
      }
    }
  }

  const averages& run_;
  average_pool a_;
  bool forward_;
  bool last_;  ///< channels last
  index_t threads_;
};

}  // namespace

void register_avg_pool2d_windows(registry& kernels) {
  for (const auto& set : target_tables<averages>(PLUMB_TARGET_TABLES(all)))
    for (const char* layer : {"avg_pool2d", "adaptive_avg_pool2d", "global_avg_pool"})
      for (const bool is_forward : {true, false}) {
        kernel k = target_row(layer, is_forward ? "forward" : "backward", "windows", set.name, set.runs_here);
        k.supports = [](const kernel_problem& kp) {
          return knows(kp, {"x", "y", "window", "stride", "pad", "ceil_mode", "count_include_pad",
                            "divisor_override", "output"});
        };
        k.make_plan = [&functions = *set.functions,
                       is_forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
          return std::make_unique<average_plan>(functions, kp, is_forward);
        };
        kernels.add(std::move(k));
      }
}

}  // namespace plumb
#endif
