// softmax and log_softmax, forward and backward, along any axis, for every instruction set.
//   forward    m = max x, s = Σ exp(x - m):   y = exp(x - m)/s,  or  y = (x - m) - log s
//   backward   dx = y·(dy - Σ dy·y),          or  dx = dy - exp(y)·Σ dy
// A line of numbers along the axis lies in memory with a fixed step. Step 1: the vectors hold neighbours of one line.
// Larger steps: the vectors hold neighbouring lines, up to 4 vectors together, so that no number is moved. Either way a
// line stays in the first caches while it is read three times. Short lines of neighbours are turned first. exp is that of
// vector_math-inl.hpp (1.5 ulp), log is Highway's (4 ulp); what is NaN stays NaN.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/softmax.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include "optimized/cpu/vector_math-inl.hpp"

#ifndef PLUMB_SOFTMAX_TYPES
#define PLUMB_SOFTMAX_TYPES
namespace plumb {
struct softmax_functions {
  void (*line)(const float* a, const float* b, index_t count, float* out);
  void (*lines)(const float* a, const float* b, index_t count, index_t step, index_t width, float* out);
};
using softmax_table = std::array<softmax_functions, 4>;
}  // namespace plumb
#endif

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

constexpr index_t lanes = HWY_LANES(float);
constexpr index_t in_order = 64;  ///< longest line whose gradients are summed one by one

/// log of a sum of at least 1, or NaN.
HWY_INLINE vector log_of(vector x) { return hn::IfThenElse(hn::IsNaN(x), x, hn::Log(numbers(), x)); }

/// What a line gathers, and what is written from it. `Log`: log_softmax.
template <bool Log>
struct forward {
  vector most, sum;
  static constexpr bool two_passes = true, writes_first = !Log;

  HWY_INLINE forward()
      : most(hn::Set(numbers(), -std::numeric_limits<float>::infinity())), sum(hn::Zero(numbers())) {}
  HWY_INLINE void look(vector x, vector) { most = hn::Max(most, x); }
  HWY_INLINE vector gather(vector x, vector) {
    const vector e = exp_of(numbers(), hn::Sub(x, most));
    sum = hn::Add(sum, e);
    return e;
  }
  HWY_INLINE void finish() {
    if (Log) sum = log_of(sum);
  }
  /// `first` is what gather gave, or x.
  HWY_INLINE vector write(vector first, vector) const {
    return Log ? hn::Sub(hn::Sub(first, most), sum) : hn::Div(first, sum);
  }
};

template <bool Log>
struct backward {
  vector sum;
  static constexpr bool two_passes = false, writes_first = false;

  HWY_INLINE backward() : sum(hn::Zero(numbers())) {}
  HWY_INLINE void look(vector, vector) {}
  HWY_INLINE vector gather(vector dy, vector y) {
    sum = Log ? hn::Add(sum, dy) : hn::MulAdd(dy, y, sum);
    return dy;
  }
  HWY_INLINE void finish() {}
  /// Short sums in the order of the axis: where large terms cancel, another order may lose the small ones.
  HWY_INLINE void gather_in_order(const float* dy, const float* y, index_t count) {
    float total = 0;
    for (index_t c = 0; c < count; ++c) total += Log ? dy[c] : dy[c] * y[c];
    sum = hn::Set(numbers(), total);
  }
  HWY_INLINE vector write(vector dy, vector y) const {
    return Log ? hn::NegMulAdd(exp_of(numbers(), y), sum, dy) : hn::Mul(y, hn::Sub(dy, sum));
  }
};

/// `Vectors` vectors of neighbouring lines.
template <class State, int Vectors>
void lines(const float* a, const float* b, index_t count, index_t step, float* out) {
  const numbers d;
  State state[Vectors];
  for (index_t c = 0; c < count && State::two_passes; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      state[v].look(hn::LoadU(d, a + c * step + v * lanes), hn::LoadU(d, b + c * step + v * lanes));
  for (index_t c = 0; c < count; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const index_t at = c * step + v * lanes;
      const vector first = state[v].gather(hn::LoadU(d, a + at), hn::LoadU(d, b + at));
      if (State::writes_first) hn::StoreU(first, d, out + at);
    }
  for (int v = 0; v < Vectors; ++v) state[v].finish();
  const float* from = State::writes_first ? out : a;
  for (index_t c = 0; c < count; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const index_t at = c * step + v * lanes;
      hn::StoreU(state[v].write(hn::LoadU(d, from + at), hn::LoadU(d, b + at)), d, out + at);
    }
}

/// `width` neighbouring lines.
template <class State>
void lines_of(const float* a, const float* b, index_t count, index_t step, index_t width, float* out) {
  index_t at = 0;
  for (; at + 4 * lanes <= width; at += 4 * lanes) lines<State, 4>(a + at, b + at, count, step, out + at);
  for (; at + lanes <= width; at += lanes) lines<State, 1>(a + at, b + at, count, step, out + at);
  if (at == width) return;
  if (width >= lanes && a != out && b != out && !State::writes_first) {
    // The last vector once more, further back: the same numbers, written twice.
    at = width - lanes;
    lines<State, 1>(a + at, b + at, count, step, out + at);
    return;
  }
  for (; at < width; ++at) {  // one line in a lane
    HWY_ALIGN float x[lanes], y[lanes], z[lanes];
    const numbers d;
    State state;
    const auto load = [&](index_t c) {
      std::fill_n(x, lanes, a[c * step + at]);
      std::fill_n(y, lanes, b[c * step + at]);
    };
    for (index_t c = 0; c < count; ++c) load(c), state.look(hn::Load(d, x), hn::Load(d, y));
    for (index_t c = 0; c < count; ++c) load(c), state.gather(hn::Load(d, x), hn::Load(d, y));
    state.finish();
    for (index_t c = 0; c < count; ++c) {
      load(c);
      vector first = hn::Load(d, x);
      if (State::writes_first) first = State(state).gather(first, hn::Load(d, y));
      hn::Store(state.write(first, hn::Load(d, y)), d, z);
      out[c * step + at] = z[0];
    }
  }
}

/// One line of neighbours: the rest of a vector is filled with `idle`, which changes neither maximum nor sum.
template <class State>
void line(const float* a, const float* b, index_t count, float* out) {
  const numbers d;
  const float idle = State::two_passes ? -std::numeric_limits<float>::infinity() : 0.0F;
  const index_t whole = count / lanes * lanes;
  HWY_ALIGN float rest[2][lanes], wide[lanes];
  std::fill_n(rest[0], lanes, idle);
  std::fill_n(rest[1], lanes, idle);
  std::copy(a + whole, a + count, rest[0]);
  std::copy(b + whole, b + count, rest[1]);
  const vector last_a = hn::Load(d, rest[0]), last_b = hn::Load(d, rest[1]);
  State state;
  if (State::two_passes) {
    for (index_t c = 0; c < whole; c += lanes) state.look(hn::LoadU(d, a + c), hn::LoadU(d, b + c));
    state.look(last_a, last_b);
    if constexpr (State::two_passes) state.most = hn::MaxOfLanes(d, state.most);
  }
  index_t at = 0;
  for (; at + 2 * lanes <= whole; at += 2 * lanes) {  // two chains a step, as in elementwise_flat.cpp
    const vector first = state.gather(hn::LoadU(d, a + at), hn::LoadU(d, b + at));
    const vector second = state.gather(hn::LoadU(d, a + at + lanes), hn::LoadU(d, b + at + lanes));
    if (State::writes_first) hn::StoreU(first, d, out + at), hn::StoreU(second, d, out + at + lanes);
  }
  if (at < whole) {
    const vector first = state.gather(hn::LoadU(d, a + at), hn::LoadU(d, b + at));
    if (State::writes_first) hn::StoreU(first, d, out + at);
  }
  vector first_rest = last_a;
  if (whole < count) {
    // Idle lanes of a line whose maximum is -inf would give NaN, as every other lane of it does.
    const vector first = state.gather(last_a, last_b);
    if (State::writes_first) first_rest = first;
  }
  state.sum = hn::SumOfLanes(d, state.sum);
  if constexpr (!State::two_passes)
    if (count <= in_order) state.gather_in_order(a, b, count);
  state.finish();
  const float* from = State::writes_first ? out : a;
  for (index_t c = 0; c < whole; c += lanes)
    hn::StoreU(state.write(hn::LoadU(d, from + c), hn::LoadU(d, b + c)), d, out + c);
  hn::Store(state.write(first_rest, last_b), d, wide);
  std::copy_n(wide, count - whole, out + whole);
}

}  // namespace

/// softmax and log_softmax, forward and backward.
constexpr softmax_table all = {{{line<forward<false>>, lines_of<forward<false>>},
                                {line<backward<false>>, lines_of<backward<false>>},
                                {line<forward<true>>, lines_of<forward<true>>},
                                {line<backward<true>>, lines_of<backward<true>>}}};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {
namespace {

/// The axis as it lies in memory: `outer` blocks of `length` rows of `step` neighbours.
struct memory_axis {
  index_t outer = 1, length = 1, step = 1;
};

memory_axis axis_in_memory(const kernel_problem& kp) {
  const shape x = kp.problem.shape_of("x");
  const auto axis = static_cast<int>(kp.problem.integer("axis"));
  const shape strides = kp.layout == layout::nhwc && x.rank() >= 3 ? channels_last(x) : row_major(x);
  memory_axis a;
  a.length = x[axis];
  for (int i = 0; i < x.rank(); ++i)  // extents of 1 have arbitrary strides
    if (i != axis && x[i] > 1) (strides[i] < strides[axis] ? a.step : a.outer) *= x[i];
  if (x.size() == 0) a.outer = 0;
  return a;
}

constexpr index_t piece = 64;  ///< lines worked on together: whole vectors of every target

/// Lines whose numbers are neighbours and too few to fill vectors: turned, worked on side by side, turned back.
void run_turned(const softmax_functions& f, const tile_target& turn, const memory_axis& axis,
                const kernel_call& call) {
  const auto* a = static_cast<const float*>(call.reads[0].data);
  const auto* b = static_cast<const float*>(call.reads[call.reads.size() - 1].data);
  auto* out = static_cast<float*>(call.writes[0].data);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (int share = 0; share < call.threads; ++share) {
    float* turned_a = static_cast<float*>(call.workspace) + share * 3 * piece * axis.length;
    float* turned_b = a == b ? turned_a : turned_a + piece * axis.length;
    float* result = turned_a + 2 * piece * axis.length;
    const index_t last = axis.outer * (share + 1) / call.threads;
    for (index_t i = axis.outer * share / call.threads; i < last; i += piece) {
      const index_t width = std::min(piece, last - i), from = i * axis.length;
      turn.transpose(a + from, axis.length, width, axis.length, turned_a, piece);
      if (a != b) turn.transpose(b + from, axis.length, width, axis.length, turned_b, piece);
      f.lines(turned_a, turned_b, axis.length, piece, width, result);
      turn.transpose(result, piece, axis.length, width, out + from, axis.length);
    }
  }
}

void run_in_place(const softmax_functions& f, const memory_axis& axis, const kernel_call& call) {
  const auto* a = static_cast<const float*>(call.reads[0].data);
  const auto* b = static_cast<const float*>(call.reads[call.reads.size() - 1].data);
  auto* out = static_cast<float*>(call.writes[0].data);
  const index_t pieces = (axis.step + piece - 1) / piece;
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < axis.outer * pieces; ++i) {
    const index_t from = i / pieces * axis.length * axis.step + i % pieces * piece;
    if (axis.step == 1)
      f.line(a + from, b + from, axis.length, out + from);
    else
      f.lines(a + from, b + from, axis.length, axis.step, std::min(piece, axis.step - i % pieces * piece),
              out + from);
  }
}

std::unique_ptr<plan> make_plan(const kernel_problem& kp, const softmax_functions& f,
                                const tile_target& turn) {
  const memory_axis axis = axis_in_memory(kp);
  if (axis.step > 1 || axis.length > 2 * piece || axis.outer < piece)
    return make_simple_plan([&f, axis](const kernel_call& call) { run_in_place(f, axis, call); });
  return make_simple_plan([&f, &turn, axis](const kernel_call& call) { run_turned(f, turn, axis, call); },
                          sizeof(float) * static_cast<std::size_t>(kp.threads * 3 * piece * axis.length));
}

}  // namespace

void register_softmax(registry& kernels) {
  for (const auto& set : target_tables<softmax_table>(PLUMB_TARGET_TABLES(all))) {
    const tile_target& turn = *std::ranges::find(tile_targets(), set.name, &tile_target::name);
    for (std::size_t i = 0; i < set.functions->size(); ++i) {
      kernel k = target_row(i < 2 ? "softmax" : "log_softmax", i % 2 == 0 ? "forward" : "backward", "lines",
                            set.name, set.runs_here);
      k.supports = [](const kernel_problem& kp) { return knows(kp, {"x", "y", "axis"}); };
      k.make_plan = [&f = (*set.functions)[i], &turn](const kernel_problem& kp) {
        return make_plan(kp, f, turn);
      };
      kernels.add(std::move(k));
    }
  }
}

}  // namespace plumb
#endif
