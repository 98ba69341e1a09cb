// Max pooling of images, one window in every lane, for every instruction set.
//   forward    NHWC: the lanes are channels of one output. NCHW: the lanes are neighbouring outputs of a row whose
//              windows lie inside sideways, a vector of them, or half of one in short rows; columns with stride 2 are
//              loaded as pairs, other strides one by one. A lane keeps its maximum and the cell that won: the first of equals, the last NaN
//              (operators.md A5). Windows that do not fill a vector go one by one through window_maximum(),
//              the same rule.
//   backward   dx[n,c,indices[…]] += dy: an indexed addition is no work for lanes, so this is one kernel for
//   all
//              processors; planes (NCHW) or stretches of channels (NHWC) belong to one thread each.
#include <algorithm>

#include "optimized/cpu/pool_arguments.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/max_pool2d_lanes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
constexpr index_t lanes = HWY_LANES(float);
using half = hn::CappedTag<float, (lanes + 1) / 2>;

template <class D>
using cells = hn::Rebind<std::int32_t, D>;
template <class D>
constexpr index_t lanes_of = static_cast<index_t>(hn::MaxLanes(D()));

/// The running winner of every lane.
template <class D>
class winners {
 public:
  /// `first`: the first cell of the window, which wins if nothing is above -inf; -1 if there is none.
  HWY_INLINE explicit winners(hn::Vec<cells<D>> first)
      : best_(hn::Set(D(), -std::numeric_limits<float>::infinity())), cell_(first) {}
  HWY_INLINE void see(hn::Vec<D> value, hn::Vec<cells<D>> at) {
    const auto wins = hn::Or(hn::Gt(value, best_), hn::IsNaN(value));
    best_ = hn::IfThenElse(wins, value, best_);
    cell_ = hn::IfThenElse(hn::RebindMask(cells<D>(), wins), at, cell_);
  }
  HWY_INLINE void store(float* y, index_t* indices) const {
    HWY_ALIGN std::int32_t narrow[HWY_LANES(float)];
    hn::StoreU(best_, D(), y);
    hn::Store(cell_, cells<D>(), narrow);
    for (index_t i = 0; i < lanes_of<D>; ++i) indices[i] = narrow[i];
  }
  HWY_INLINE void store_first(index_t count, float* y, index_t* indices) const {
    HWY_ALIGN float wide[HWY_LANES(float)];
    HWY_ALIGN index_t wide_indices[HWY_LANES(float)];
    store(wide, wide_indices);
    std::copy_n(wide, count, y);
    std::copy_n(wide_indices, count, indices);
  }

 private:
  hn::Vec<D> best_;
  hn::Vec<cells<D>> cell_;
};

template <class D>
HWY_INLINE hn::Vec<cells<D>> every_lane(index_t cell) {
  return hn::Set(cells<D>(), static_cast<std::int32_t>(cell));
}

/// Numbers x[0] … x[count - 1], and whatever in the other lanes.
HWY_INLINE hn::Vec<numbers> load_first(const float* x, index_t count) {
  const numbers d;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, x);
#else
  HWY_ALIGN float wide[HWY_LANES(float)] = {};
  std::copy_n(x, count, wide);
  return hn::Load(d, wide);
#endif
}

/// Row p of outputs of one image.
void nhwc_row(const pool_arguments& a, const float* x, index_t p, float* y, index_t* indices) {
  const pool_axis &rows = a.height(), &columns = a.width();
  const index_t top = rows.first(p), bottom = rows.end(p);
  for (index_t q = 0; q < columns.out; ++q, y += a.c, indices += a.c) {
    const index_t left = columns.first(q), right = columns.end(q);
    const index_t first = top < bottom && left < right ? top * columns.in + left : -1;
    const auto winners_from = [&](index_t c, auto&& load) HWY_ATTR {
      winners<numbers> lane(every_lane<numbers>(first));
      for (index_t h = top; h < bottom; h += rows.dilation)
        for (index_t w = left; w < right; w += columns.dilation) {
          const index_t cell = h * columns.in + w;
          lane.see(load(x + cell * a.c + c), every_lane<numbers>(cell));
        }
      return lane;
    };
    index_t c = 0;
    for (; c + lanes <= a.c; c += lanes)
      winners_from(c, [](const float* from) HWY_ATTR {
        return hn::LoadU(numbers(), from);
      }).store(y + c, indices + c);
    if (c < a.c)
      winners_from(c, [&](const float* from) HWY_ATTR {
        return load_first(from, a.c - c);
      }).store_first(a.c - c, y + c, indices + c);
  }
}

/// Numbers x[0], x[stride], …; with stride 2 the number after the last one is read too.
template <class D>
HWY_INLINE hn::Vec<D> load_strided(D d, const float* x, index_t stride) {
  if (stride == 1) return hn::LoadU(d, x);
#if HWY_TARGET != HWY_SCALAR
  if (stride == 2) {
    hn::Vec<D> even, odd;
    hn::LoadInterleaved2(d, x, even, odd);
    return even;
  }
#endif
  HWY_ALIGN float gathered[HWY_LANES(float)];
  for (index_t i = 0; i < lanes_of<D>; ++i) gathered[i] = x[i * stride];
  return hn::Load(d, gathered);
}

/// Outputs [from, until) of row p, whose windows lie inside sideways: at least a vector of them.
template <class D>
void nchw_stretch(D d, const pool_arguments& a, const float* x, index_t p, index_t from, index_t until,
                  float* y, index_t* indices) {
  const pool_axis &rows = a.height(), &columns = a.width();
  const index_t top = rows.first(p), bottom = rows.end(p);
  const auto across = hn::Mul(hn::Iota(cells<D>(), 0), every_lane<D>(columns.stride));
  for (index_t next = from; next < until; next += lanes_of<D>) {
    const index_t q = std::min(next, until - lanes_of<D>);  // the last vector begins inside the one before it
    const index_t left = q * columns.stride - columns.begin;
    winners<D> lane(top < bottom ? hn::Add(across, every_lane<D>(top * columns.in + left))
                                 : every_lane<D>(-1));
    for (index_t h = top; h < bottom; h += rows.dilation)
      for (index_t j = 0; j < columns.window; ++j) {
        const index_t cell = h * columns.in + left + j * columns.dilation;
        lane.see(load_strided(d, x + cell, columns.stride), hn::Add(across, every_lane<D>(cell)));
      }
    lane.store(y + q, indices + q);
  }
}

/// Row p of outputs of one plane.
void nchw_row(const pool_arguments& a, const float* x, index_t p, float* y, index_t* indices) {
  const pool_axis& columns = a.width();
  // Outputs from…until have their windows inside sideways. Pairs reach one number further: into the next row, unless
  // there is none.
  const index_t spare = columns.stride == 2 && a.height().end(p) == a.height().in ? 1 : 0;
  const index_t room = columns.in - 1 - spare + columns.begin - (columns.window - 1) * columns.dilation;
  const index_t from = (columns.begin + columns.stride - 1) / columns.stride;
  index_t until = room < 0 ? 0 : std::min(columns.out, room / columns.stride + 1);
  if (until - from >= lanes)
    nchw_stretch(numbers(), a, x, p, from, until, y, indices);
  else if (until - from >= lanes_of<half>)
    nchw_stretch(half(), a, x, p, from, until, y, indices);
  else
    until = from;
  for (index_t q = 0; q < columns.out; ++q) {
    if (q == from) q = until;
    if (q >= columns.out) break;
    const pool_winner best = window_maximum(a, x, {0, columns.in, 1}, 0, p, q);
    y[q] = best.value;
    indices[q] = best.cell;
  }
}

}  // namespace

using row_function = void (*)(const pool_arguments&, const float*, index_t, float*, index_t*);
constexpr std::array<row_function, 2> rows_of_maxima = {nchw_row, nhwc_row};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

namespace plumb {
namespace {

using row_function = void (*)(const pool_arguments&, const float*, index_t, float*, index_t*);

void forward(const pool_arguments& a, layout order, row_function row, const kernel_call& call) {
  const auto* x = static_cast<const float*>(call.reads[0].data);
  auto* y = static_cast<float*>(call.writes[0].data);
  auto* indices = static_cast<index_t*>(call.writes[1].data);
  const bool last = order == layout::nhwc;
  const index_t p = a.height().out, planes = last ? a.n : a.n * a.c, depth = last ? a.c : 1;
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < planes * p; ++i)
    row(a, x + i / p * a.in_size() * depth, i % p, y + i * a.width().out * depth,
        indices + i * a.width().out * depth);
}

void backward_plane(const pool_arguments& a, const float* dy, const index_t* indices, float* dx) {
  std::fill_n(dx, a.in_size(), 0.0F);
  for (index_t i = 0; i < a.out_size(); ++i)
    if (indices[i] >= 0 && indices[i] < a.in_size()) dx[indices[i]] += dy[i];
}

/// Channels [c, end) of one NHWC image.
void backward_channels(const pool_arguments& a, index_t c, index_t end, const float* dy,
                       const index_t* indices, float* dx) {
  for (index_t i = 0; i < a.in_size(); ++i) std::fill(dx + i * a.c + c, dx + i * a.c + end, 0.0F);
  for (index_t i = 0; i < a.out_size(); ++i)
    for (index_t k = c; k < end; ++k) {
      const index_t cell = indices[i * a.c + k];
      if (cell >= 0 && cell < a.in_size()) dx[cell * a.c + k] += dy[i * a.c + k];
    }
}

void backward(const pool_arguments& a, layout order, const kernel_call& call) {
  const auto* dy = static_cast<const float*>(call.reads[0].data);
  const auto* indices = static_cast<const index_t*>(call.reads[1].data);
  auto* dx = static_cast<float*>(call.writes[0].data);
  if (order == layout::nchw) {
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < a.n * a.c; ++i)
      backward_plane(a, dy + i * a.out_size(), indices + i * a.out_size(), dx + i * a.in_size());
    return;
  }
  // Whole images, in the order of memory; the channels of one are shared only where there are too few.
  const index_t line = 16, shares = a.n >= call.threads ? 1 : call.threads;
  const index_t stretch = std::max<index_t>(line, (a.c + shares * line - 1) / (shares * line) * line);
  const index_t stretches = (a.c + stretch - 1) / stretch;
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < a.n * stretches; ++i) {
    const index_t n = i / stretches, c = i % stretches * stretch;
    backward_channels(a, c, std::min(a.c, c + stretch), dy + n * a.c * a.out_size(),
                      indices + n * a.c * a.out_size(), dx + n * a.c * a.in_size());
  }
}

support lanes_support(const kernel_problem& kp) {
  const support s = pool_support(kp);
  if (s.ok && read_pool_arguments(kp.problem).in_size() > std::numeric_limits<std::int32_t>::max())
    return support::no("a plane of more than 2147483647 cells");
  return s;
}

}  // namespace

void register_max_pool2d_lanes(registry& kernels) {
  for (const auto& set : target_tables<std::array<row_function, 2>>(PLUMB_TARGET_TABLES(rows_of_maxima))) {
    kernel k = target_row("max_pool2d", "forward", "lanes", set.name, set.runs_here);
    k.arithmetic = "exact";
    k.supports = lanes_support;
    k.make_plan = [&rows = *set.functions](const kernel_problem& kp) {
      const row_function row = rows[kp.layout == layout::nhwc];
      return make_simple_plan([row, order = kp.layout, a = read_pool_arguments(kp.problem)](
                                  const kernel_call& call) { forward(a, order, row, call); });
    };
    kernels.add(std::move(k));
  }
  kernel k;
  k.layer = "max_pool2d";
  k.pass = "backward";
  k.name = "max_pool2d.backward/scatter@cpu";
  k.supports = pool_support;
  k.make_plan = [](const kernel_problem& kp) {
    return make_simple_plan([order = kp.layout, a = read_pool_arguments(kp.problem)](
                                const kernel_call& call) { backward(a, order, call); });
  };
  kernels.add(std::move(k));
}

}  // namespace plumb
#endif
