// Cross-entropy of class scores, forward and backward, for every instruction set. With t[c] the probability of class c,
// or 1 for the target class and 0 for the others, and l[c] = (x[c] - m) - log s, m = max x, s = Σ exp(x - m):
//   forward    loss = -(1-ε)·Σ w[c]·t[c]·l[c] - ε/C·Σ w[c]·l[c]
//   backward   dx = scale·(exp(x - m)/s·Σq - q[c]),   q[c] = w[c]·((1-ε)·t[c] + ε/C),   scale = dy, or dy/Σ w[t]
// q is one product and sum away from two tables by class, `hit` and `base`. The scores of a position lie in memory with a
// fixed step, as the lines of softmax.cpp do. Larger steps: vectors hold neighbouring positions. Step 1: vectors hold
// neighbouring classes, and short lines are turned first. exp within 1.5 ulp (vector_math-inl.hpp), log within 4
// (Highway); what is NaN stays NaN.
// Losses are added up in double, panel by panel, so that the thread count cannot change a bit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/cross_entropy.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include "optimized/cpu/vector_math-inl.hpp"

#ifndef PLUMB_CROSS_ENTROPY_TYPES
#define PLUMB_CROSS_ENTROPY_TYPES
namespace plumb {

inline constexpr index_t panel_width = 64;  ///< positions worked on together: whole vectors of every target
inline constexpr index_t widest = panel_width + 16;  ///< with what is too little for a panel of its own

/// Some positions: score c of position j is x[c·step + j·line]; step or line is 1.
struct score_panel {
  const float *x = nullptr, *probability = nullptr;  ///< nullptr: targets are classes
  float* dx = nullptr;
  index_t classes = 0, step = 1, line = 1, width = 0;
  bool spread = false;  ///< ε is not 0
  /// By class, padded by zeros: w, and q = t·hit + base (where targets are classes: t ? hit : base).
  const float *weight = nullptr, *hit = nullptr, *base = nullptr;
  std::int32_t target[widest] = {};  ///< -1: no class, that is, ignored
  float scale[widest] = {};
  float loss[widest] = {}, spread_loss[widest] = {};  ///< -Σ w·t·l, and -Σ w·l
};
struct cross_entropy_functions {
  index_t lanes;
  void (*across)(score_panel& p, bool forward);  ///< line = 1; at least `lanes` positions
  void (*along)(score_panel& p, bool forward);   ///< step = 1
};

}  // namespace plumb
#endif

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

constexpr index_t lanes = HWY_LANES(float);
using whole_numbers = hn::RebindToSigned<numbers>;

/// log of a sum of at least 1, or NaN.
HWY_INLINE vector log_of(numbers d, vector s) { return hn::IfThenElse(hn::IsNaN(s), s, hn::Log(d, s)); }
HWY_INLINE vector least(numbers d) { return hn::Set(d, -std::numeric_limits<float>::infinity()); }

// Across positions ------------------------------------------------------------------------------------------------

/// q[c] of the positions from j.
HWY_INLINE vector shares_across(numbers d, const score_panel& p, index_t c, index_t j) {
  const vector hit = hn::Set(d, p.hit[c]), base = hn::Set(d, p.base[c]);
  if (p.probability) return hn::MulAdd(hn::LoadU(d, p.probability + c * p.step + j), hit, base);
  const whole_numbers whole;
  const auto is_target = hn::Eq(hn::LoadU(whole, p.target + j), hn::Set(whole, static_cast<std::int32_t>(c)));
  return hn::IfThenElse(hn::RebindMask(d, is_target), hit, base);
}

/// The losses of the positions from j.
template <int Vectors>
void losses(score_panel& p, index_t j, const vector* most, const vector* sum) {
  const numbers d;
  vector log_sum[Vectors], hit[Vectors], all[Vectors];
  for (int v = 0; v < Vectors; ++v) {
    log_sum[v] = log_of(d, sum[v]);
    hit[v] = all[v] = hn::Zero(d);
  }
  for (index_t c = 0; c < p.classes && (p.probability || p.spread); ++c)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const index_t at = c * p.step + j + v * lanes;
      const vector l = hn::Sub(hn::Sub(hn::LoadU(d, p.x + at), most[v]), log_sum[v]);
      const vector w = hn::Set(d, p.weight[c]);
      all[v] = hn::NegMulAdd(w, l, all[v]);
      if (p.probability) hit[v] = hn::NegMulAdd(hn::Mul(w, hn::LoadU(d, p.probability + at)), l, hit[v]);
    }
  for (int v = 0; v < Vectors; ++v) {
    const index_t from = j + v * lanes;
    hn::StoreU(hit[v], d, p.loss + from);
    hn::StoreU(all[v], d, p.spread_loss + from);
    HWY_ALIGN float m[lanes], shift[lanes];
    hn::Store(most[v], d, m);
    hn::Store(log_sum[v], d, shift);
    for (index_t i = 0; i < lanes && !p.probability; ++i)
      if (const index_t t = p.target[from + i]; t >= 0)
        p.loss[from + i] = -p.weight[t] * ((p.x[t * p.step + from + i] - m[i]) - shift[i]);
  }
}

/// The positions from j, `Vectors` vectors of them.
template <int Vectors>
void positions(score_panel& p, index_t j, bool forward) {
  const numbers d;
  vector most[Vectors], sum[Vectors], total[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) most[v] = least(d), sum[v] = total[v] = hn::Zero(d);
  for (index_t c = 0; c < p.classes; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      most[v] = hn::Max(most[v], hn::LoadU(d, p.x + c * p.step + j + v * lanes));
  for (index_t c = 0; c < p.classes; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const index_t at = c * p.step + j + v * lanes;
      const vector e = exp_of(d, hn::Sub(hn::LoadU(d, p.x + at), most[v]));
      sum[v] = hn::Add(sum[v], e);
      if (forward) continue;
      hn::StoreU(e, d, p.dx + at);
      total[v] = hn::Add(total[v], shares_across(d, p, c, j + v * lanes));
    }
  if (forward) return losses<Vectors>(p, j, most, sum);
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) total[v] = hn::Div(total[v], sum[v]);
  for (index_t c = 0; c < p.classes; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const index_t from = j + v * lanes, at = c * p.step + from;
      const vector slope = hn::MulSub(hn::LoadU(d, p.dx + at), total[v], shares_across(d, p, c, from));
      hn::StoreU(hn::Mul(hn::LoadU(d, p.scale + from), slope), d, p.dx + at);
    }
}

/// The last vector begins inside the one before it and computes the same numbers again.
void across(score_panel& p, bool forward) {
  index_t j = 0;
  for (; j + 4 * lanes <= p.width; j += 4 * lanes) positions<4>(p, j, forward);
  for (; j < p.width; j += lanes) positions<1>(p, std::min(j, p.width - lanes), forward);
}

// Along the classes -----------------------------------------------------------------------------------------------

/// `count` numbers, filled up by `idle`.
HWY_INLINE vector load_some(numbers d, const float* from, index_t count, float idle) {
  if (count >= lanes) return hn::LoadU(d, from);
  HWY_ALIGN float copy[lanes];
  std::fill_n(copy, lanes, idle);
  std::copy_n(from, count, copy);
  return hn::Load(d, copy);
}
HWY_INLINE void store_some(numbers d, vector v, index_t count, float* to) {
  if (count >= lanes) return hn::StoreU(v, d, to);
  HWY_ALIGN float copy[lanes];
  hn::Store(v, d, copy);
  std::copy_n(copy, count, to);
}

/// q of position j at the classes from c, of which `count` are there.
HWY_INLINE vector shares_along(numbers d, const score_panel& p, index_t j, index_t c, index_t count) {
  const vector hit = hn::LoadU(d, p.hit + c), base = hn::LoadU(d, p.base + c);
  if (p.probability) return hn::MulAdd(load_some(d, p.probability + j * p.line + c, count, 0), hit, base);
  const whole_numbers whole;
  const auto is_target = hn::Eq(hn::Iota(whole, static_cast<std::int32_t>(c)), hn::Set(whole, p.target[j]));
  return hn::IfThenElse(hn::RebindMask(d, is_target), hit, base);
}

void loss_of(score_panel& p, index_t j, vector most, vector log_sum) {
  const numbers d;
  const float* x = p.x + j * p.line;
  vector hit = hn::Zero(d), all = hn::Zero(d);
  for (index_t c = 0; c < p.classes && (p.probability || p.spread); c += lanes) {
    const index_t count = p.classes - c;
    const auto there = hn::FirstN(d, static_cast<std::size_t>(std::min(count, lanes)));
    const vector l = hn::Sub(hn::Sub(load_some(d, x + c, count, 0), most), log_sum);
    const vector w = hn::LoadU(d, p.weight + c);
    all = hn::Sub(all, hn::IfThenElseZero(there, hn::Mul(w, l)));
    if (!p.probability) continue;
    const vector t = load_some(d, p.probability + j * p.line + c, count, 0);
    hit = hn::Sub(hit, hn::IfThenElseZero(there, hn::Mul(hn::Mul(w, t), l)));
  }
  p.spread_loss[j] = hn::GetLane(hn::SumOfLanes(d, all));
  p.loss[j] = hn::GetLane(hn::SumOfLanes(d, hit));
  if (const index_t t = p.target[j]; !p.probability && t >= 0)
    p.loss[j] = -p.weight[t] * ((x[t] - hn::GetLane(most)) - hn::GetLane(log_sum));
}

void one_position(score_panel& p, index_t j, bool forward) {
  const numbers d;
  const float *x = p.x + j * p.line, idle = -std::numeric_limits<float>::infinity();
  float* dx = forward ? nullptr : p.dx + j * p.line;
  vector most = least(d), sum = hn::Zero(d), total = hn::Zero(d);
  for (index_t c = 0; c < p.classes; c += lanes)
    most = hn::Max(most, load_some(d, x + c, p.classes - c, idle));
  most = hn::MaxOfLanes(d, most);
  for (index_t c = 0; c < p.classes; c += lanes) {
    const vector e = exp_of(d, hn::Sub(load_some(d, x + c, p.classes - c, idle), most));
    sum = hn::Add(sum, e);
    if (forward) continue;
    store_some(d, e, p.classes - c, dx + c);
    total = hn::Add(total, shares_along(d, p, j, c, p.classes - c));
  }
  sum = hn::SumOfLanes(d, sum);
  if (forward) return loss_of(p, j, most, log_of(d, sum));
  const vector scale = hn::Set(d, p.scale[j]), factor = hn::Div(hn::SumOfLanes(d, total), sum);
  for (index_t c = 0; c < p.classes; c += lanes) {
    const index_t count = p.classes - c;
    const vector slope = hn::MulSub(load_some(d, dx + c, count, 0), factor, shares_along(d, p, j, c, count));
    store_some(d, hn::Mul(scale, slope), count, dx + c);
  }
}

void along(score_panel& p, bool forward) {
  for (index_t j = 0; j < p.width; ++j) one_position(p, j, forward);
}

}  // namespace

constexpr cross_entropy_functions functions = {lanes, across, along};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"
#include "optimized/cpu/tile.hpp"

namespace plumb {
namespace {

class cross_entropy_plan final : public plan {
 public:
  cross_entropy_plan(const cross_entropy_functions& functions, const tile_target& turn,
                     const kernel_problem& kp, bool is_forward)
      : run_(functions),
        turn_(turn),
        forward_(is_forward),
        by_class_(kp.problem.text("targets") == "classes"),
        reduction_(kp.problem.text("reduction")),
        ignored_(kp.problem.integer("ignore_index")),
        smoothing_(kp.problem.number("label_smoothing")),
        threads_(kp.threads) {
    const shape x = kp.problem.shape_of("x");
    classes_ = x[1];
    for (int axis = 2; axis < x.rank(); ++axis) step_ *= x[axis];
    positions_ = x[0] * step_;
    across_ = step_ > 1 && (kp.layout == layout::nchw || x.rank() < 3);
    if (!across_) step_ = positions_;
    copies_ = across_ ? step_ < functions.lanes : classes_ <= 2 * panel_width;
    width_ =
        across_ || copies_ ? panel_width : std::clamp<index_t>((index_t{1} << 13) / classes_, 1, panel_width);
    // A last vector may begin inside the one before it, but in the same panel.
    const index_t too_few = across_ && !copies_ ? functions.lanes - 1 : 0;
    per_block_ = step_ == 0 ? 0 : std::max<index_t>(1, (step_ - too_few + width_ - 1) / width_);
    panels_ = per_block_ == 0 ? 0 : positions_ / step_ * per_block_;
  }

  std::size_t workspace_size() const override {
    return sizeof(double) * static_cast<std::size_t>(2 * panels_) +
           sizeof(float) * static_cast<std::size_t>(3 * table() + 3 * threads_ * copy_size());
  }

  void run(const kernel_call& call) noexcept override {
    const operands t = operands_of(call);
    fill_tables(t);
    const bool mean = reduction_ == "mean";
    double divisor = 1;
    if (mean && !forward_) {
#pragma omp parallel for num_threads(call.threads) schedule(static)
      for (index_t i = 0; i < panels_; ++i) t.weights[i] = weight_of(i, t);
      divisor = std::accumulate(t.weights, t.weights + panels_, 0.0);
    }
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share)
      for (index_t i = panels_ * share / call.threads; i < panels_ * (share + 1) / call.threads; ++i)
        run_panel(i, t, static_cast<float>(divisor), t.copies + 3 * share * copy_size());
    if (!forward_ || reduction_ == "none") return;
    const double sum = std::accumulate(t.losses, t.losses + panels_, 0.0);
    *t.out = static_cast<float>(mean ? sum / std::accumulate(t.weights, t.weights + panels_, 0.0) : sum);
  }

 private:
  struct operands {
    const float *dy, *x, *probability, *weight;
    const std::int64_t* target;
    float* out;
    double *losses, *weights;  ///< of the panels
    float *hit, *base, *weight_table, *copies;
  };

  index_t table() const { return aligned_buffer::padded(classes_ + aligned_buffer::line); }
  index_t copy_size() const { return copies_ ? panel_width * classes_ : 0; }
  double weight_at(const operands& t, index_t c) const {
    return t.weight ? static_cast<double>(t.weight[c]) : 1;
  }

  operands operands_of(const kernel_call& call) const {
    const std::size_t first = forward_ ? 0 : 1;
    const void* target = call.reads[first + 1].data;
    auto* losses = static_cast<double*>(call.workspace);
    auto* tables = reinterpret_cast<float*>(losses + 2 * panels_);
    return {.dy = static_cast<const float*>(call.reads[0].data),
            .x = static_cast<const float*>(call.reads[first].data),
            .probability = by_class_ ? nullptr : static_cast<const float*>(target),
            .weight = static_cast<const float*>(call.reads[first + 2].data),
            .target = by_class_ ? static_cast<const std::int64_t*>(target) : nullptr,
            .out = static_cast<float*>(call.writes[0].data),
            .losses = losses,
            .weights = losses + panels_,
            .hit = tables,
            .base = tables + table(),
            .weight_table = tables + 2 * table(),
            .copies = tables + 3 * table()};
  }

  /// By class: of the target class w·(1-ε) + w·ε/C, of the others w·ε/C; else the two by themselves.
  void fill_tables(const operands& t) const {
    std::fill_n(t.hit, 3 * table(), 0.0F);
    for (index_t c = 0; c < classes_; ++c) {
      const double w = weight_at(t, c);
      const double base = smoothing_ > 0 ? w * smoothing_ / static_cast<double>(classes_) : 0;
      const double hit = smoothing_ > 0 ? w * (1 - smoothing_) : w;
      t.weight_table[c] = static_cast<float>(w);
      t.base[c] = static_cast<float>(base);
      t.hit[c] = static_cast<float>(by_class_ ? hit + base : hit);
    }
  }

  /// Its positions: the first one, and how many.
  std::pair<index_t, index_t> positions_of(index_t panel) const {
    const index_t i = panel % per_block_, in_block = i * width_;
    return {panel / per_block_ * step_ + in_block, i + 1 < per_block_ ? width_ : step_ - in_block};
  }

  /// Σ w[t] over the positions that are not ignored; their number if targets are probabilities.
  double weight_of(index_t panel, const operands& t) const {
    const auto [first, width] = positions_of(panel);
    if (!by_class_) return static_cast<double>(width);
    double sum = 0;
    for (index_t i = first; i < first + width; ++i)
      if (t.target[i] != ignored_)
        sum += t.target[i] >= 0 && t.target[i] < classes_ ? weight_at(t, t.target[i]) : std::nan("");
    return sum;
  }

  void run_panel(index_t i, const operands& t, float divisor, float* copies) const {
    const auto [first, width] = positions_of(i);
    score_panel p;
    p.classes = classes_;
    p.step = across_ ? step_ : 1;
    p.line = across_ ? 1 : classes_;
    p.width = width;
    p.spread = smoothing_ > 0;
    p.hit = t.hit;
    p.base = t.base;
    p.weight = t.weight_table;
    const index_t at = across_ ? first / step_ * classes_ * step_ + first % step_ : first * classes_;
    p.x = t.x + at;
    if (!by_class_) p.probability = t.probability + at;
    p.dx = forward_ ? nullptr : t.out + at;
    for (index_t j = 0; j < width; ++j) {
      if (by_class_) p.target[j] = class_of(t.target[first + j]);
      if (!forward_) p.scale[j] = t.dy[reduction_ == "none" ? first + j : 0] / divisor;
    }
    if (copies_)
      run_copied(p, copies);
    else
      (across_ ? run_.across : run_.along)(p, forward_);
    for (index_t j = 0; j < width && forward_ && p.spread; ++j)
      p.loss[j] = static_cast<float>(1 - smoothing_) * p.loss[j] +
                  static_cast<float>(smoothing_ / static_cast<double>(classes_)) * p.spread_loss[j];
    for (index_t j = 0; j < width && by_class_; ++j)
      if (p.target[j] < 0) overrule(p, j, t.target[first + j] == ignored_ ? 0.0F : std::nanf(""));
    if (!forward_) return;
    t.weights[i] = weight_of(i, t);
    t.losses[i] = std::accumulate(p.loss, p.loss + width, 0.0);
    if (reduction_ == "none") std::copy_n(p.loss, width, t.out + first);
  }

  std::int32_t class_of(std::int64_t t) const {
    return t != ignored_ && t >= 0 && t < classes_ ? static_cast<std::int32_t>(t) : -1;
  }

  /// Position j is ignored (0), or its target is no class (NaN), whatever its scores are.
  void overrule(score_panel& p, index_t j, float by) const {
    p.loss[j] = by;
    for (index_t c = 0; c < classes_ && !forward_; ++c) p.dx[c * p.step + j * p.line] = by;
  }

  /// Through copies in which the positions lie side by side, in whole vectors.
  void run_copied(score_panel& p, float* copies) const {
    const auto turn = [&](const float* from, float* to) {
      if (across_)
        for (index_t c = 0; c < classes_; ++c) std::copy_n(from + c * p.step, p.width, to + c * panel_width);
      else
        turn_.transpose(from, classes_, p.width, classes_, to, panel_width);
    };
    score_panel copy = p;
    copy.step = panel_width;
    copy.line = 1;
    copy.width = (p.width + run_.lanes - 1) / run_.lanes * run_.lanes;
    copy.x = copies;
    copy.dx = copies + copy_size();
    turn(p.x, copies);
    if (!by_class_) {
      turn(p.probability, copies + 2 * copy_size());
      copy.probability = copies + 2 * copy_size();
    }
    std::fill(copy.target + p.width, copy.target + copy.width, -1);
    run_.across(copy, forward_);
    std::copy_n(copy.loss, p.width, p.loss);
    std::copy_n(copy.spread_loss, p.width, p.spread_loss);
    if (forward_) return;
    if (across_)
      for (index_t c = 0; c < classes_; ++c)
        std::copy_n(copy.dx + c * panel_width, p.width, p.dx + c * p.step);
    else
      turn_.transpose(copy.dx, panel_width, classes_, p.width, p.dx, classes_);
  }

  const cross_entropy_functions& run_;
  const tile_target& turn_;
  bool forward_, by_class_;
  std::string reduction_;
  index_t ignored_;
  double smoothing_;
  index_t threads_;
  index_t classes_ = 0, positions_ = 0,
          step_ = 1;     ///< of the positions of a block, from one class to the next
  bool across_ = false;  ///< neighbours in memory are positions, not classes
  bool copies_ = false;
  index_t width_ = 1, per_block_ = 0, panels_ = 0;  ///< positions of a panel; panels of a block, and of all
};

}  // namespace

void register_cross_entropy(registry& kernels) {
  for (const auto& set : target_tables<cross_entropy_functions>(PLUMB_TARGET_TABLES(functions))) {
    const tile_target& turn = *std::ranges::find(tile_targets(), set.name, &tile_target::name);
    for (const bool forward : {true, false}) {
      kernel k =
          target_row("cross_entropy", forward ? "forward" : "backward", "lines", set.name, set.runs_here);
      k.supports = [](const kernel_problem& kp) {
        return knows(
            kp, {"x", "target", "weight", "y", "reduction", "ignore_index", "label_smoothing", "targets"});
      };
      k.make_plan = [&f = *set.functions, &turn, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
        return std::make_unique<cross_entropy_plan>(f, turn, kp, forward);
      };
      kernels.add(std::move(k));
    }
  }
}

}  // namespace plumb
#endif
