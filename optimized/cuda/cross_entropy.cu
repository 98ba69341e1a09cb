// Cross-entropy of class scores in f32, row-major tensors, every option of the layer:
//   loss = -Σ_c q[c]·log p[c],  p = softmax of a position's scores;  q[c] = w[c]·((1-ε)·t[c] + ε/C), t[c] = [c = target] or
//   the target itself;  y = loss, Σ loss, or Σ loss / Σ w[target].  dx[c] = dy·(p[c]·Σ_j q[j] - q[c]) / Σ w[target]
// Positions whose target is ignored count nothing and have gradient 0, whatever their scores.
//   lines    32 threads a position, eight positions a block: the largest score, Σ e^(x - m) and the sum over q each go
//            through shared memory in a fixed order. Forward: every position's loss and weight go to the workspace
//   total    one block adds them up, 256 threads that each take every 256th, then a tree. Backward only needs the weights,
//            so there it comes first
// What limits it: memory, scores are read three times, twice from the caches; the classes of a position lie apart where
// there are positions besides the batch, then neighbouring lines share what is loaded.
// Blanchard, Higham & Higham 2021, "Accurately computing the log-sum-exp and softmax functions".
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace plumb::cuda {

struct entropy_arguments {
  offset positions = 0, classes = 1,
         step = 1;  ///< step: from class to class, which is the positions of a sample
  float smoothing = 0;
  bool mean = true, each = false;  ///< each: a loss for every position
  std::int64_t ignored = -100;
  const float *x = nullptr, *weight = nullptr, *dy = nullptr;  ///< weight: or null
  const std::int64_t* target = nullptr;
  const float* probability = nullptr;  ///< in the place of `target`
  float* out = nullptr;                ///< y, or dx
  float* losses = nullptr;             ///< of the positions; behind them their weights
  float* total = nullptr;              ///< Σ losses, Σ weights

  PLUMB_DEVICE offset start(offset position) const {
    return position / step * classes * step + position % step;
  }
  PLUMB_DEVICE bool counts(offset position) const { return target == nullptr || target[position] != ignored; }
  PLUMB_DEVICE float factor(offset c) const { return weight != nullptr ? weight[c] : 1.0F; }
  /// What the position adds to the divisor of a mean.
  PLUMB_DEVICE float share(offset position) const {
    if (target == nullptr) return 1;
    const std::int64_t t = target[position];
    return t != ignored && t >= 0 && t < classes ? factor(t) : 0.0F;
  }
  /// w[c]·t[c] for the score at `at`.
  PLUMB_DEVICE float hit(offset position, offset c, offset at) const {
    if (target == nullptr) return factor(c) * probability[at];
    return target[position] == c ? factor(c) : 0.0F;
  }
  /// q[c], from w[c]·t[c] and w[c], or what is made of their sums over the classes.
  PLUMB_DEVICE float smoothed(float hits, float all) const {
    return smoothing == 0 ? hits : (1.0F - smoothing) * hits + smoothing / static_cast<float>(classes) * all;
  }
};

constexpr int entropy_team = 32;

template <bool Forward>
struct entropy_lines {
  using arguments = entropy_arguments;
  static constexpr int threads = 256, lines = threads / entropy_team;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
    typename Block::template array<float, lines> result;
  };

  /// The team's sum, for all of its threads.
  template <class Block>
  static PLUMB_DEVICE float total(Block& block, shared<Block>& s, float mine) {
    const int t = block.thread(), team = t / entropy_team;
    mine = sum_of_team<entropy_team>(block, s.partial, mine);
    if (t % entropy_team == 0) s.result[team] = mine;
    block.barrier();
    const float sum = s.result[team];
    block.barrier();
    return sum;
  }

  template <class Block>
  static PLUMB_DEVICE float largest(Block& block, shared<Block>& s, float mine) {
    const int t = block.thread(), team = t / entropy_team;
    s.partial[t] = mine;
    block.barrier();
    if (t % entropy_team == 0) {
      for (int i = 1; i < entropy_team; ++i) {
        const float other = s.partial[t + i];
        if (other > mine || other != other) mine = other;
      }
      s.result[team] = mine;
    }
    block.barrier();
    const float most = s.result[team];
    block.barrier();
    return most;
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const int lane = block.thread() % entropy_team;
    const offset line = block.number() * lines + block.thread() / entropy_team, start = a.start(line);
    const bool counts = line < a.positions && a.counts(line);
    const offset end = counts ? a.classes : 0;
    float most = -INFINITY, sum = 0, along = 0, all = 0;
    for (offset c = lane; c < end; c += entropy_team) {
      const float x = a.x[start + c * a.step];
      if (x > most || x != x) most = x;
    }
    most = largest(block, s, most);
    for (offset c = lane; c < end; c += entropy_team) sum += expf(a.x[start + c * a.step] - most);
    sum = total(block, s, sum);
    const float logarithm = logf(sum);
    for (offset c = lane; c < end; c += entropy_team) {
      const offset at = start + c * a.step;
      if (!Forward) {
        along += a.smoothed(a.hit(line, c, at), a.factor(c));
        continue;
      }
      const float log_p = (a.x[at] - most) - logarithm;
      // Smoothed at the end only: numbers that are nearly nothing are not made smaller before they are added.
      if (a.target == nullptr || a.target[line] == c) along -= a.hit(line, c, at) * log_p;
      if (a.smoothing != 0) all -= a.factor(c) * log_p;
    }
    along = total(block, s, along);
    if (Forward && a.smoothing != 0) along = a.smoothed(along, total(block, s, all));
    if (Forward) {
      if (lane != 0 || line >= a.positions) return;
      (a.each ? a.out : a.losses)[line] = along;
      if (!a.each) a.losses[a.positions + line] = a.share(line);
      return;
    }
    if (line >= a.positions) return;
    const float dy = a.dy[a.each ? line : 0], scale = a.mean ? dy / a.total[1] : dy;
    for (offset c = lane; c < a.classes; c += entropy_team) {
      const offset at = start + c * a.step;
      a.out[at] =
          counts ? scale * (expf(a.x[at] - most) / sum * along - a.smoothed(a.hit(line, c, at), a.factor(c)))
                 : 0.0F;
    }
  }
};

/// Forward: y from the losses and weights in the workspace. Backward: Σ w[target] only.
template <bool Forward>
struct entropy_total {
  using arguments = entropy_arguments;
  static constexpr int threads = 256;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
  };

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    float loss = 0, weight = 0;
    for (offset i = block.thread(); i < a.positions; i += threads) {
      if (Forward) loss += a.losses[i];
      weight += Forward ? a.losses[a.positions + i] : a.share(i);
    }
    weight = sum_of_team<threads>(block, s.partial, weight);
    block.barrier();
    if (Forward) loss = sum_of_team<threads>(block, s.partial, loss);
    if (block.thread() != 0) return;
    if (Forward)
      a.out[0] = a.mean ? loss / weight : loss;
    else
      a.total[1] = weight;
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<entropy_lines<true>, entropy_lines<false>, entropy_total<true>,
                            entropy_total<false>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/rows.hpp"

namespace plumb {
namespace {

using namespace cuda;

entropy_arguments numbers_of(const problem& p) {
  const shape x = p.shape_of("x");
  const std::string& reduction = p.text("reduction");
  entropy_arguments a{.classes = x[1]};
  a.positions = x.size() / x[1];
  for (int axis = 2; axis < x.rank(); ++axis) a.step *= x[axis];
  a.smoothing = static_cast<float>(p.number("label_smoothing"));
  a.mean = reduction == "mean";
  a.each = reduction == "none";
  a.ignored = p.integer("ignore_index");
  return a;
}

program make(const kernel_problem& kp, bool forward) {
  const entropy_arguments numbers = numbers_of(kp.problem);
  program p;
  const bool by_class = kp.problem.text("targets") == "classes";
  p.workspace = sizeof(float) * static_cast<std::size_t>(forward ? 2 * numbers.positions : 2);
  p.run = [numbers, forward, by_class](const kernel_call& call, stream& to) {
    entropy_arguments a = numbers;
    const auto* const reads = call.reads.data() + (forward ? 0 : 1);
    a.dy = static_cast<const float*>(call.reads[0].data);
    a.x = static_cast<const float*>(reads[0].data);
    if (by_class)
      a.target = static_cast<const std::int64_t*>(reads[1].data);
    else
      a.probability = static_cast<const float*>(reads[1].data);
    a.weight = static_cast<const float*>(reads[2].data);
    a.out = static_cast<float*>(call.writes[0].data);
    a.losses = a.total = static_cast<float*>(call.workspace);
    const launch_shape lines = {tiles<index_t>(a.positions, entropy_lines<true>::lines),
                                entropy_lines<true>::threads},
                       one = {1, entropy_total<true>::threads};
    if (forward) {
      to.launch<entropy_lines<true>>(lines, a);
      if (!a.each) to.launch<entropy_total<true>>(one, a);
    } else {
      if (a.mean) to.launch<entropy_total<false>>(one, a);
      to.launch<entropy_lines<false>>(lines, a);
    }
  };
  return p;
}

row entropy_row(bool forward) {
  row r{.layer = "cross_entropy",
        .pass = forward ? "forward" : "backward",
        .algorithm = "lines",
        .layouts = {layout::nchw},
        .supports = {},
        .make = {}};
  r.supports = [](const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown(
        {"x", "y", "target", "weight", "reduction", "ignore_index", "label_smoothing", "targets"});
    return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
  };
  r.make = [forward](const kernel_problem& kp) { return make(kp, forward); };
  return r;
}

}  // namespace

void register_cuda_cross_entropy(registry& kernels) {
  add_rows(kernels, entropy_row(true));
  add_rows(kernels, entropy_row(false));
}

}  // namespace plumb
#endif
