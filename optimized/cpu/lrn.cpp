// Local response normalisation across channels, forward and backward, for every instruction set.
//   forward    y = x·b^-beta,  b = k + alpha/size·Σ x² over the window of channels
//   backward   dx[j] = dy[j]·b[j]^-beta - 2·alpha·beta/size·x[j]·Σ_{c: j in W(c)} dy[c]·x[c]·b[c]^-(beta+1)
// A panel is some neighbouring positions with all their channels. Its lines are the channels (NCHW) or the pixels (NHWC);
// only their squares, and backward what they send, are kept near, with zeros before the first channel and behind the
// last, so that a window is that many reads off one sliding address. Squares are all stored before the first is read
// again: a vector that reads two that are still on their way waits for both. Sums are taken anew for each window: a
// sliding sum would keep the rounding errors of large neighbours. b^-¾ is r·√r, r = 1/√b, where AVX-512 begins both
// roots with 14 bits and one step of Newton's doubles them, elsewhere 1/(√b·√√b); other exponents exp(-beta·log b).
#include <algorithm>
#include <cmath>
#include <limits>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/lrn.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include "optimized/cpu/vector_math-inl.hpp"

#ifndef PLUMB_LRN_TYPES
#define PLUMB_LRN_TYPES
namespace plumb {
struct lrn_panel {
  const float *x = nullptr, *dy = nullptr;
  float* out = nullptr;
  bool past = false;                        ///< out goes past the caches
  index_t lines = 0, width = 0, pitch = 0;  ///< `width` numbers a line, `pitch` apart in the tensors
  index_t near = 0;                         ///< from one line to the next in the buffers
  index_t channels = 0;
  bool last = false;              ///< lines are pixels
  index_t before = 0, after = 0;  ///< channels of the window on either side
  float k = 0, share = 0, beta = 0;
  float *squares = nullptr, *sent = nullptr, *kept = nullptr;

  /// From one channel to the next, in the buffers.
  index_t step() const { return last ? 1 : near; }

  // Number i of a line by the definition in double, for what leaves the range of f32 on the way.
  double number(const float* t, index_t line, index_t i, index_t channel) const {
    return static_cast<double>(last ? t[line * pitch + channel] : t[channel * pitch + i]);
  }
  double exact_base(index_t line, index_t i, index_t channel) const {
    double sum = 0;
    for (index_t c = std::max<index_t>(0, channel - before); c <= std::min(channels - 1, channel + after);
         ++c)
      sum += number(x, line, i, c) * number(x, line, i, c);
    return static_cast<double>(k) + static_cast<double>(share) * sum;
  }
  double exact_forward(index_t line, index_t i) const {
    const index_t channel = last ? i : line;
    // std::pow would give 1 for NaN^0.
    return number(x, line, i, channel) *
           std::exp(-static_cast<double>(beta) * std::log(exact_base(line, i, channel)));
  }
  double exact_backward(index_t line, index_t i) const {
    const index_t channel = last ? i : line;
    const double power = static_cast<double>(beta), slope = 2 * static_cast<double>(share) * power;
    const auto inverse = [&](index_t c) { return std::exp(-power * std::log(exact_base(line, i, c))); };
    double dx = number(dy, line, i, channel) * inverse(channel);
    for (index_t c = std::max<index_t>(0, channel - after); c <= std::min(channels - 1, channel + before);
         ++c)
      dx -= slope * number(dy, line, i, c) * number(x, line, i, c) * number(x, line, i, channel) *
            (inverse(c) / exact_base(line, i, c));
    return dx;
  }
};
struct lrn_functions {
  void (*forward)(const lrn_panel&);
  void (*backward)(const lrn_panel&);
};
}  // namespace plumb
#endif

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

constexpr index_t lanes = HWY_LANES(float);

#if HWY_TARGET == HWY_AVX3
/// 1/√b within 2 ulp; not a number where b is 0 or infinite.
HWY_INLINE vector inverse_root(numbers d, vector b) {
  const vector r = hn::ApproximateReciprocalSqrt(b), half = hn::Mul(r, hn::Set(d, 0.5F));
  return hn::MulAdd(half, hn::NegMulAdd(hn::Mul(b, r), r, hn::Set(d, 1.0F)), r);
}
#endif

/// b^-beta for b ≥ 0; where that is not finite, a number that is not either.
HWY_INLINE vector inverse_power(numbers d, vector b, float beta) {
  const vector one = hn::Set(d, 1.0F);
  if (!(beta < 0.75F) && !(beta > 0.75F)) {
#if HWY_TARGET == HWY_AVX3
    const vector r = inverse_root(d, b);
    return hn::Mul(hn::Mul(r, r), inverse_root(d, r));
#else
    const vector root = hn::Sqrt(b);
    return hn::Div(one, hn::Mul(root, hn::Sqrt(root)));
#endif
  }
  if (!(beta < 1.0F) && !(beta > 1.0F)) return hn::Div(one, b);
  const vector infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  vector logarithm = hn::Log(d, b);
  logarithm = hn::IfThenElse(hn::Eq(b, hn::Zero(d)), hn::Neg(infinity), logarithm);
  logarithm = hn::IfThenElse(hn::Eq(b, infinity), infinity, logarithm);
  const vector power = exp_of(d, hn::Mul(hn::Set(d, -beta), logarithm));
  return hn::IfThenElse(hn::IsNaN(b), b, power);
}

/// A window of channels around a number: where it begins, how many vectors it is, how far apart.
struct window {
  index_t first, count, step;

  HWY_INLINE vector sum(numbers d, const float* at) const {
    at += first;
    if (count == 5)  // of AlexNet and GoogLeNet
      return hn::Add(
          hn::Add(hn::Add(hn::Add(hn::LoadU(d, at), hn::LoadU(d, at + step)), hn::LoadU(d, at + 2 * step)),
                  hn::LoadU(d, at + 3 * step)),
          hn::LoadU(d, at + 4 * step));
    vector total = hn::LoadU(d, at);
    for (index_t j = 1; j < count; ++j) total = hn::Add(total, hn::LoadU(d, at + j * step));
    return total;
  }
};
HWY_INLINE window window_of(index_t before, index_t after, index_t step) {
  return {-before * step, before + after + 1, step};
}

/// A number of a tensor, or a whole vector of it.
HWY_INLINE vector take(numbers d, const float* from, bool whole, index_t count) {
  if (whole) return hn::LoadU(d, from);
  HWY_ALIGN float some[lanes] = {};
  std::copy_n(from, count, some);
  return hn::Load(d, some);
}
HWY_INLINE void put(numbers d, vector v, bool whole, index_t count, float* to) {
  if (whole) return hn::StoreU(v, d, to);
  HWY_ALIGN float some[lanes];
  hn::Store(v, d, some);
  std::copy_n(some, count, to);
}

/// body(line, i, count): the vectors of every line. The last one begins inside the one before it; a line that is too short
/// is one of `count` numbers.
template <class Body>
HWY_INLINE void each_vector(const lrn_panel& p, const Body& body) {
  const index_t lines = p.lines, width = p.width;
  for (index_t line = 0; line < lines; ++line) {
    if (width < lanes) {
      body(line, index_t{0}, width);
      continue;
    }
    index_t i = 0;
    for (; i + lanes <= width; i += lanes) body(line, i, lanes);
    if (i < width) body(line, width - lanes, lanes);
  }
}

void square(const lrn_panel& p) {
  const numbers d;
  each_vector(p, [&](index_t line, index_t i, index_t count) HWY_ATTR {
    const vector x = take(d, p.x + line * p.pitch + i, count == lanes, count);
    put(d, hn::Mul(x, x), count == lanes, count, p.squares + line * p.near + i);
  });
}

/// Stores what is finite; the other lanes are taken again.
HWY_INLINE void store(numbers d, vector v, const lrn_panel& p, index_t line, index_t i, index_t count,
                      double (lrn_panel::*exact)(index_t, index_t) const) {
  float* out = p.out + line * p.pitch + i;
  if (count == lanes && hn::AllTrue(d, hn::IsFinite(v)))
    return p.past ? hn::Stream(v, d, out) : hn::StoreU(v, d, out);
  HWY_ALIGN float numbers_of[lanes];
  hn::Store(v, d, numbers_of);
  for (index_t l = 0; l < count; ++l)
    out[l] = std::isfinite(numbers_of[l]) ? numbers_of[l] : static_cast<float>((p.*exact)(line, i + l));
}

void forward(const lrn_panel& p) {
  const numbers d;
  const vector none = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  const vector k = hn::Set(d, p.k), share = hn::Set(d, p.share);
  const float beta = p.beta, *x = p.x, *squares = p.squares;
  const index_t pitch = p.pitch, near = p.near;
  const window w = window_of(p.before, p.after, p.step());
  square(p);
  each_vector(p, [=, &p](index_t line, index_t i, index_t count) HWY_ATTR {
    const vector b = hn::MulAdd(share, w.sum(d, squares + line * near + i), k);
    const vector y = hn::Mul(take(d, x + line * pitch + i, count == lanes, count), inverse_power(d, b, beta));
    store(d, hn::IfThenElse(hn::IsFinite(b), y, none), p, line, i, count, &lrn_panel::exact_forward);
  });
}

void backward(const lrn_panel& p) {
  const numbers d;
  const vector none = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  const vector k = hn::Set(d, p.k), share = hn::Set(d, p.share), slope = hn::Set(d, 2 * p.share * p.beta);
  const float beta = p.beta, *x = p.x, *dy = p.dy;
  const index_t pitch = p.pitch, near = p.near;
  float *squares = p.squares, *sent = p.sent, *kept = p.kept;
  const window w = window_of(p.before, p.after, p.step()), senders = window_of(p.after, p.before, p.step());
  square(p);
  // What a channel sends to its window, and what it keeps.
  each_vector(p, [=](index_t line, index_t i, index_t count) HWY_ATTR {
    const bool whole = count == lanes;
    const index_t here = line * near + i, at = line * pitch + i;
    const vector b = hn::MulAdd(share, w.sum(d, squares + here), k), power = inverse_power(d, b, beta);
    const vector g = take(d, dy + at, whole, count);
    put(d, hn::IfThenElse(hn::IsFinite(b), hn::Mul(g, power), none), whole, count, kept + here);
    put(d, hn::Mul(hn::Mul(hn::Mul(slope, g), take(d, x + at, whole, count)), hn::Div(power, b)), whole,
        count, sent + here);
  });
  each_vector(p, [=, &p](index_t line, index_t i, index_t count) HWY_ATTR {
    const index_t here = line * near + i;
    const vector from_others = senders.sum(d, sent + here);
    const vector own = take(d, x + line * pitch + i, count == lanes, count);
    store(d, hn::NegMulAdd(own, from_others, hn::LoadU(d, kept + here)), p, line, i, count,
          &lrn_panel::exact_backward);
  });
}

}  // namespace

constexpr lrn_functions functions = {forward, backward};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

namespace plumb {
namespace {

class lrn_plan final : public plan {
 public:
  lrn_plan(const lrn_functions& functions, const kernel_problem& kp, bool forward)
      : run_(forward ? functions.forward : functions.backward), forward_(forward), threads_(kp.threads) {
    const problem& p = kp.problem;
    const shape x = p.shape_of("x");
    images_ = x[0];
    channels_ = x[1];
    for (int axis = 2; axis < x.rank(); ++axis) plane_ *= x[axis];
    last_ = kp.layout == layout::nhwc && x.rank() > 2;
    const index_t size = p.integer("size");
    // A window never reaches farther than the channels do.
    panel_.before = std::min(size / 2, channels_);
    panel_.after = std::min((size - 1) / 2, channels_);
    constexpr index_t wide = 64, near_numbers = 2048;
    together_ = last_ ? std::max<index_t>(1, near_numbers / std::max<index_t>(1, channels_)) : wide;
    panel_.last = last_;
    panel_.channels = channels_;
    (last_ ? panel_.width : panel_.lines) = channels_;
    panel_.pitch = last_ ? channels_ : plane_;
    panel_.near = last_ ? aligned_buffer::padded(channels_ + panel_.before + panel_.after) : wide;
    panel_.k = static_cast<float>(p.number("k"));
    panel_.share = static_cast<float>(p.number("alpha") / static_cast<double>(size));
    panel_.beta = static_cast<float>(p.number("beta"));
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(3 * threads_ * buffer());
  }

  void run(const kernel_call& call) noexcept override {
    const auto* dy = static_cast<const float*>(call.reads[0].data);
    const auto* x = static_cast<const float*>(call.reads[forward_ ? 0 : 1].data);
    auto* out = static_cast<float*>(call.writes[0].data);
    const index_t blocks = last_ ? 1 : images_, positions = last_ ? images_ * plane_ : plane_;
    const index_t per_block = (positions + together_ - 1) / together_, panels = blocks * per_block;
    const bool past = goes_past_caches(out, images_ * channels_ * plane_) &&
                      (last_ ? channels_ : plane_) % aligned_buffer::line == 0;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      lrn_panel p = panel_;
      float* at = static_cast<float*>(call.workspace) + share * 3 * buffer();
      std::fill_n(at, 3 * buffer(), 0.0F);
      for (float** buffer_at : {&p.squares, &p.sent, &p.kept}) {
        *buffer_at = at + margin();
        at += buffer();
      }
      p.past = past;
      for (index_t i = panels * share / call.threads; i < panels * (share + 1) / call.threads; ++i) {
        const index_t from = i % per_block * together_, count = std::min(together_, positions - from);
        const index_t first = last_ ? from * channels_ : i / per_block * channels_ * plane_ + from;
        (last_ ? p.lines : p.width) = count;
        p.x = x + first;
        p.dy = dy + first;
        p.out = out + first;
        run_(p);
      }
      if (past) hwy::FlushStream();
    }
  }

 private:
  index_t margin() const {
    return aligned_buffer::padded((panel_.before + panel_.after) * panel_.step() + aligned_buffer::line);
  }
  index_t buffer() const {
    return aligned_buffer::padded((last_ ? together_ : channels_) * panel_.near) + 2 * margin();
  }

  void (*run_)(const lrn_panel&);
  bool forward_, last_ = false;
  index_t threads_, images_ = 0, channels_ = 0, plane_ = 1;
  index_t together_ = 1;  ///< positions of a panel
  lrn_panel panel_;
};

}  // namespace

void register_lrn(registry& kernels) {
  for (const auto& set : target_tables<lrn_functions>(PLUMB_TARGET_TABLES(functions)))
    for (const bool forward : {true, false}) {
      kernel k = target_row("lrn", forward ? "forward" : "backward", "panels", set.name, set.runs_here);
      k.supports = [](const kernel_problem& kp) {
        return knows(kp, {"x", "y", "size", "alpha", "beta", "k"});
      };
      k.make_plan = [&f = *set.functions, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
        return std::make_unique<lrn_plan>(f, kp, forward);
      };
      kernels.add(std::move(k));
    }
}

}  // namespace plumb
#endif
