// prelu, forward, backward-data and backward-weights, for every instruction set.
//   forward    y = x > 0 ? x : w[c]·x          backward_data   dx = x > 0 ? dy : w[c]·dy
//   weights    dw[c] = Σ x·dy over the elements of channel c that are not positive
//   NCHW       a plane has one w. One w for all channels: the tensor is one plane
//   NHWC       the tensor is read as rows that hold whole pixels and whole vectors: lcm(C, 16) numbers, and as many
//              weights, so that even three channels fill vectors
// Sums are taken over chunks that depend on the problem only and added up in double, in order, so that the thread count
// cannot change a bit. A result that no cache can hold goes past the caches (past_caches.hpp).
#include <algorithm>
#include <cstdint>
#include <numeric>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/prelu.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef PLUMB_PRELU_TYPES
#define PLUMB_PRELU_TYPES
namespace plumb {
/// A stretch of neighbours: x, what is multiplied (x or dy), and the weights, one for all or `period` of them in turn.
struct prelu_stretch {
  const float *x, *a, *weight;
  index_t count, period;  ///< 0: one weight
};
struct prelu_functions {
  void (*map)(const prelu_stretch& s, float* out, bool past);
  /// Adds Σ x·a over what is not positive to sums[0], or to sums[i mod period].
  void (*sum)(const prelu_stretch& s, float* sums);
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
constexpr index_t lanes = HWY_LANES(float);

template <class D>
HWY_INLINE hn::Vec<D> mapped(D d, const prelu_stretch& s, index_t i, hn::Vec<D> weight) {
  const auto a = hn::LoadU(d, s.a + i);
  return hn::IfThenElse(hn::Gt(hn::LoadU(d, s.x + i), hn::Zero(d)), a, hn::Mul(weight, a));
}
template <class D>
HWY_INLINE hn::Vec<D> counted(D d, const prelu_stretch& s, index_t i) {
  const auto x = hn::LoadU(d, s.x + i);
  return hn::IfThenZeroElse(hn::Gt(x, hn::Zero(d)), hn::Mul(x, hn::LoadU(d, s.a + i)));
}

/// Single numbers until `out` is aligned, and behind the last whole vector.
void map_plane(const prelu_stretch& s, float* out, bool past) {
  const numbers d;
  const auto weight = hn::Set(d, s.weight[0]);
  index_t i = 0;
  const auto next = [&]() HWY_ATTR {
    const single one;
    hn::StoreU(mapped(one, s, i, hn::Set(one, s.weight[0])), one, out + i);
    ++i;
  };
  while (past && i < s.count && reinterpret_cast<std::uintptr_t>(out + i) % 64 != 0) next();
  if (past)
    for (; i + lanes <= s.count; i += lanes) hn::Stream(mapped(d, s, i, weight), d, out + i);
  for (; i + lanes <= s.count; i += lanes) hn::StoreU(mapped(d, s, i, weight), d, out + i);
  while (i < s.count) next();
}

/// Rows of `period` numbers; the last one may be cut short.
void map_rows(const prelu_stretch& s, float* out, bool past) {
  const numbers d;
  for (index_t row = 0; row < s.count; row += s.period) {
    const index_t width = std::min(s.period, s.count - row), whole = width / lanes * lanes;
    for (index_t i = 0; i < whole; i += lanes) {
      const auto y = mapped(d, s, row + i, hn::LoadU(d, s.weight + i));
      if (past)
        hn::Stream(y, d, out + row + i);
      else
        hn::StoreU(y, d, out + row + i);
    }
    const single one;
    for (index_t i = whole; i < width; ++i)
      hn::StoreU(mapped(one, s, row + i, hn::LoadU(one, s.weight + i)), one, out + row + i);
  }
}

void map(const prelu_stretch& s, float* out, bool past) {
  (s.period == 0 ? map_plane : map_rows)(s, out, past);
  if (past) hwy::FlushStream();
}

/// Four vectors at once, so that no sum waits for itself.
void sum_plane(const prelu_stretch& s, float* sums) {
  const numbers d;
  constexpr int together = 4;
  hn::Vec<numbers> part[together];
  for (auto& p : part) p = hn::Zero(d);
  index_t i = 0;
  for (; i + together * lanes <= s.count; i += together * lanes)
#pragma GCC unroll 4
    for (int v = 0; v < together; ++v) part[v] = hn::Add(part[v], counted(d, s, i + v * lanes));
  for (; i + lanes <= s.count; i += lanes) part[0] = hn::Add(part[0], counted(d, s, i));
  const auto all = hn::Add(hn::Add(part[0], part[1]), hn::Add(part[2], part[3]));
  float total = hn::GetLane(hn::SumOfLanes(d, all));
  for (; i < s.count; ++i) total += hn::GetLane(counted(single(), s, i));
  sums[0] += total;
}

void sum_rows(const prelu_stretch& s, float* sums) {
  const numbers d;
  const single one;
  for (index_t row = 0; row < s.count; row += s.period) {
    const index_t width = std::min(s.period, s.count - row), whole = width / lanes * lanes;
    for (index_t i = 0; i < whole; i += lanes)
      hn::StoreU(hn::Add(hn::LoadU(d, sums + i), counted(d, s, row + i)), d, sums + i);
    for (index_t i = whole; i < width; ++i) sums[i] += hn::GetLane(counted(one, s, row + i));
  }
}

void sum(const prelu_stretch& s, float* sums) { (s.period == 0 ? sum_plane : sum_rows)(s, sums); }

}  // namespace

constexpr prelu_functions functions = {map, sum};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

namespace plumb {
namespace {

constexpr index_t chunk_floats = index_t{1} << 15;

class prelu_plan final : public plan {
 public:
  prelu_plan(const prelu_functions& functions, const kernel_problem& kp, const std::string& pass)
      : run_(functions), forward_(pass == "forward"), sums_(pass == "backward_weights") {
    const shape x = kp.problem.shape_of("x");
    channels_ = x[1];
    weights_ = kp.problem.shape_of("weight")[0];
    size_ = x.size();
    index_t plane = 1;
    for (int axis = 2; axis < x.rank(); ++axis) plane *= x[axis];
    const bool last = plane == 1 || (kp.layout == layout::nhwc && x.rank() > 2);
    if (weights_ > 1 && last) period_ = std::lcm(channels_, aligned_buffer::line);
    stretch_ = weights_ == 1 || last ? size_ : plane;
    piece_ = period_ == 0 ? chunk_floats : std::max(period_, chunk_floats / period_ * period_);
    pieces_ = stretch_ == 0 ? 0 : (stretch_ + piece_ - 1) / piece_;
    tasks_ = stretch_ == 0 ? 0 : size_ / stretch_ * pieces_;
    if (period_ > 0 && !sums_) repeated_ = aligned_buffer(period_);
  }

  std::size_t workspace_size() const override {
    return sums_ ? sizeof(float) * static_cast<std::size_t>(tasks_ * sums_of_a_task()) : 0;
  }

  void run(const kernel_call& call) noexcept override {
    if (sums_) return run_sums(call);
    const auto* a = static_cast<const float*>(call.reads[0].data);
    const auto* x = static_cast<const float*>(call.reads[forward_ ? 0 : 1].data);
    const auto* weight = static_cast<const float*>(call.reads[forward_ ? 1 : 2].data);
    auto* out = static_cast<float*>(call.writes[0].data);
    for (index_t i = 0; i < period_; ++i) repeated_.data()[i] = weight[i % channels_];
    const bool past = goes_past_caches(out, size_);
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < tasks_; ++i) {
      const prelu_stretch s = stretch_of(i, x, a, weight);
      run_.map(s, out + (s.x - x), past);
    }
  }

 private:
  index_t sums_of_a_task() const { return std::max<index_t>(1, period_); }

  prelu_stretch stretch_of(index_t task, const float* x, const float* a, const float* weight) const {
    const index_t which = task / pieces_, from = task % pieces_ * piece_;
    const index_t at = which * stretch_ + from;
    const float* w = period_ > 0 ? repeated_.data() : weight + (weights_ == 1 ? 0 : which % channels_);
    return {x + at, a + at, w, std::min(piece_, stretch_ - from), period_};
  }

  void run_sums(const kernel_call& call) const {
    const auto* dy = static_cast<const float*>(call.reads[0].data);
    const auto* x = static_cast<const float*>(call.reads[1].data);
    auto* dweight = static_cast<float*>(call.writes[0].data);
    auto* sums = static_cast<float*>(call.workspace);
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < tasks_; ++i) {
      float* own = sums + i * sums_of_a_task();
      std::fill_n(own, sums_of_a_task(), 0.0F);
      run_.sum(stretch_of(i, x, dy, dweight), own);
    }
    // Rows hold whole pixels, so every C-th sum is of one channel; of planes, every C-th plane is.
    for (index_t c = 0; c < weights_; ++c) {
      double total = 0;
      const auto add = [&](index_t i) { total += static_cast<double>(sums[i]); };
      if (period_ > 0)
        for (index_t i = c; i < tasks_ * period_; i += channels_) add(i);
      else if (weights_ == 1)
        for (index_t i = 0; i < tasks_; ++i) add(i);
      else
        for (index_t first = c * pieces_; first < tasks_; first += channels_ * pieces_)
          for (index_t i = first; i < first + pieces_; ++i) add(i);
      dweight[c] = static_cast<float>(total);
    }
  }

  const prelu_functions& run_;
  bool forward_, sums_;
  index_t channels_ = 0, weights_ = 0, size_ = 0;
  index_t period_ = 0;  ///< numbers of a row; 0: planes
  index_t stretch_ = 0, piece_ = 0,
          pieces_ = 0;  ///< numbers under one list of weights; of a task; tasks of a stretch
  index_t tasks_ = 0;
  aligned_buffer repeated_;  ///< the weights of a row
};

}  // namespace

void register_prelu(registry& kernels) {
  for (const auto& set : target_tables<prelu_functions>(PLUMB_TARGET_TABLES(functions)))
    for (const std::string pass : {"forward", "backward_data", "backward_weights"}) {
      kernel k = target_row("prelu", pass, "chunks", set.name, set.runs_here);
      k.supports = [](const kernel_problem& kp) { return knows(kp, {"x", "weight", "y"}); };
      k.make_plan = [&f = *set.functions, pass](const kernel_problem& kp) -> std::unique_ptr<plan> {
        return std::make_unique<prelu_plan>(f, kp, pass);
      };
      kernels.add(std::move(k));
    }
}

}  // namespace plumb
#endif
