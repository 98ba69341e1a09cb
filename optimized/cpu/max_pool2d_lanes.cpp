// Max pooling of images, one window in every lane, for every instruction set.
//   forward    NHWC: the lanes are channels of one output. NCHW: the lanes are neighbouring outputs of a row
//   whose
//              windows lie inside sideways; columns with stride 2 are loaded as pairs, other strides one by
//              one. A lane keeps its maximum and the cell that won: the first of equals, the last NaN
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
using cells = hn::Rebind<std::int32_t, numbers>;
constexpr index_t lanes = HWY_LANES(float);

/// The running winner of every lane.
class winners {
 public:
  HWY_INLINE winners()
      : best_(hn::Set(numbers(), -std::numeric_limits<float>::infinity())), cell_(hn::Set(cells(), -1)) {}
  HWY_INLINE void see(hn::Vec<numbers> value, hn::Vec<cells> at) {
    const auto unset = hn::RebindMask(numbers(), hn::Lt(cell_, hn::Zero(cells())));
    const auto wins = hn::Or(hn::Or(hn::Gt(value, best_), hn::IsNaN(value)), unset);
    best_ = hn::IfThenElse(wins, value, best_);
    cell_ = hn::IfThenElse(hn::RebindMask(cells(), wins), at, cell_);
  }
  HWY_INLINE void store(float* y, index_t* indices) const {
    HWY_ALIGN std::int32_t narrow[HWY_LANES(float)];
    hn::StoreU(best_, numbers(), y);
    hn::Store(cell_, cells(), narrow);
    for (index_t i = 0; i < lanes; ++i) indices[i] = narrow[i];
  }

 private:
  hn::Vec<numbers> best_;
  hn::Vec<cells> cell_;
};

HWY_INLINE hn::Vec<cells> every_lane(index_t cell) {
  return hn::Set(cells(), static_cast<std::int32_t>(cell));
}

/// Row p of outputs of one image.
void nhwc_row(const pool_arguments& a, const float* x, index_t p, float* y, index_t* indices) {
  const pool_axis &rows = a.height(), &columns = a.width();
  for (index_t q = 0; q < columns.out; ++q, y += a.c, indices += a.c) {
    index_t c = 0;
    for (; c + lanes <= a.c; c += lanes) {
      winners lane;
      for (index_t h = rows.first(p); h < rows.end(p); h += rows.dilation)
        for (index_t w = columns.first(q); w < columns.end(q); w += columns.dilation) {
          const index_t cell = h * columns.in + w;
          lane.see(hn::LoadU(numbers(), x + cell * a.c + c), every_lane(cell));
        }
      lane.store(y + c, indices + c);
    }
    for (; c < a.c; ++c) {
      const pool_winner best = window_maximum(a, x + c, {0, columns.in * a.c, a.c}, 0, p, q);
      y[c] = best.value;
      indices[c] = best.cell;
    }
  }
}

/// Numbers x[0], x[stride], …; with stride 2 the number after the last one is read too.
HWY_INLINE hn::Vec<numbers> load_strided(const float* x, index_t stride) {
  const numbers d;
  if (stride == 1) return hn::LoadU(d, x);
#if HWY_TARGET != HWY_SCALAR
  if (stride == 2) {
    hn::Vec<numbers> even, odd;
    hn::LoadInterleaved2(d, x, even, odd);
    return even;
  }
#endif
  HWY_ALIGN float gathered[HWY_LANES(float)];
  for (index_t i = 0; i < lanes; ++i) gathered[i] = x[i * stride];
  return hn::Load(d, gathered);
}

/// Row p of outputs of one plane.
void nchw_row(const pool_arguments& a, const float* x, index_t p, float* y, index_t* indices) {
  const pool_axis &rows = a.height(), &columns = a.width();
  // Outputs from…until have their windows inside sideways, with one number to spare where pairs are read.
  const index_t spare = columns.stride == 2 ? 1 : 0;
  const index_t room = columns.in - 1 - spare + columns.begin - (columns.window - 1) * columns.dilation;
  const index_t from = (columns.begin + columns.stride - 1) / columns.stride;
  const index_t until = room < 0 ? 0 : room / columns.stride + 1;
  const auto across = hn::Mul(hn::Iota(cells(), 0), every_lane(columns.stride));
  for (index_t q = 0; q < columns.out;) {
    if (q < from || q + lanes > until || q + lanes > columns.out) {
      const pool_winner best = window_maximum(a, x, {0, columns.in, 1}, 0, p, q);
      y[q] = best.value;
      indices[q++] = best.cell;
      continue;
    }
    winners lane;
    for (index_t h = rows.first(p); h < rows.end(p); h += rows.dilation)
      for (index_t j = 0; j < columns.window; ++j) {
        const index_t cell = h * columns.in + q * columns.stride - columns.begin + j * columns.dilation;
        lane.see(load_strided(x + cell, columns.stride), hn::Add(across, every_lane(cell)));
      }
    lane.store(y + q, indices + q);
    q += lanes;
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
