// Local response normalisation across channels, forward and backward, for every instruction set.
//   forward    y = x·b^-beta,  b = k + alpha/size·Σ x² over the window of channels
//   backward   dx[j] = dy[j]·b[j]^-beta - 2·alpha·beta/size·x[j]·Σ_{c: j in W(c)} dy[c]·x[c]·b[c]^-(beta+1)
// A panel, some neighbouring positions with all their channels (NCHW) or one pixel (NHWC), is copied to where it stays
// near; there a step of one channel is a step of `step` numbers, and a window is that many reads off one sliding address,
// with zeros before the first channel and behind the last. Sums are taken anew for each window: a sliding sum would keep
// the rounding errors of large neighbours. b^-¾ is 1/(√b·√√b), of other exponents exp(-beta·log b).
#include <algorithm>
#include <cmath>
#include <limits>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/lrn.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include "optimized/cpu/vector_math-inl.hpp"

#ifndef PLUMB_LRN_TYPES
#define PLUMB_LRN_TYPES
namespace plumb {
/// One panel. Every buffer has `margin` zeros on either side of `count` numbers rounded up to whole vectors.
struct lrn_panel {
  index_t count = 0, step = 1;
  index_t before = 0, after = 0;  ///< channels of the window on either side
  float k = 0, share = 0, beta = 0;
  float *x = nullptr, *dy = nullptr, *squares = nullptr, *sent = nullptr, *out = nullptr;

  // Element i by the definition in double, for what leaves the range of f32 on the way.
  double exact_base(index_t i) const {
    double sum = 0;
    for (index_t j = -before; j <= after; ++j)
      sum += static_cast<double>(x[i + j * step]) * static_cast<double>(x[i + j * step]);
    return static_cast<double>(k) + static_cast<double>(share) * sum;
  }
  /// b^-exponent; std::pow would give 1 for NaN^0.
  double exact_power(index_t i, double exponent) const {
    return std::exp(-exponent * std::log(exact_base(i)));
  }
  double exact_forward(index_t i) const {
    return static_cast<double>(x[i]) * exact_power(i, static_cast<double>(beta));
  }
  double exact_backward(index_t i) const {
    const double power = static_cast<double>(beta), slope = 2 * static_cast<double>(share) * power;
    double dx = static_cast<double>(dy[i]) * exact_power(i, power);
    for (index_t j = -after; j <= before; ++j) {
      const index_t c = i + j * step;
      if (c >= 0 && c < count)
        dx -= slope * static_cast<double>(dy[c]) * static_cast<double>(x[c]) * static_cast<double>(x[i]) *
              (exact_power(c, power) / exact_base(c));
    }
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

/// b^-beta for b ≥ 0.
HWY_INLINE vector inverse_power(numbers d, vector b, float beta) {
  const vector one = hn::Set(d, 1.0F);
  if (!(beta < 0.75F) && !(beta > 0.75F)) {
    const vector root = hn::Sqrt(b);
    return hn::Div(one, hn::Mul(root, hn::Sqrt(root)));
  }
  if (!(beta < 1.0F) && !(beta > 1.0F)) return hn::Div(one, b);
  const vector infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  vector logarithm = hn::Log(d, b);
  logarithm = hn::IfThenElse(hn::Eq(b, hn::Zero(d)), hn::Neg(infinity), logarithm);
  logarithm = hn::IfThenElse(hn::Eq(b, infinity), infinity, logarithm);
  const vector power = exp_of(d, hn::Mul(hn::Set(d, -beta), logarithm));
  return hn::IfThenElse(hn::IsNaN(b), b, power);
}

HWY_INLINE vector window_sum(numbers d, const float* at, index_t first, index_t last, index_t step) {
  vector sum = hn::Zero(d);
  for (index_t j = first; j <= last; ++j) sum = hn::Add(sum, hn::LoadU(d, at + j * step));
  return sum;
}

HWY_INLINE vector base_of(numbers d, const lrn_panel& p, index_t i) {
  const vector sum = window_sum(d, p.squares + i, -p.before, p.after, p.step);
  return hn::MulAdd(hn::Set(d, p.share), sum, hn::Set(d, p.k));
}

void square(const lrn_panel& p) {
  const numbers d;
  for (index_t i = 0; i < p.count; i += lanes) {
    const vector x = hn::LoadU(d, p.x + i);
    hn::StoreU(hn::Mul(x, x), d, p.squares + i);
  }
}

/// Stores what is finite; the other lanes are taken again.
HWY_INLINE void store(numbers d, vector v, const lrn_panel& p, index_t i,
                      double (lrn_panel::*exact)(index_t) const) {
  hn::StoreU(v, d, p.out + i);
  if (hn::AllTrue(d, hn::IsFinite(v))) return;
  for (index_t l = i; l < std::min(i + lanes, p.count); ++l)
    if (!std::isfinite(p.out[l])) p.out[l] = static_cast<float>((p.*exact)(l));
}

void forward(const lrn_panel& p) {
  const numbers d;
  const vector none = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  square(p);
  for (index_t i = 0; i < p.count; i += lanes) {
    const vector b = base_of(d, p, i), y = hn::Mul(hn::LoadU(d, p.x + i), inverse_power(d, b, p.beta));
    store(d, hn::IfThenElse(hn::IsFinite(b), y, none), p, i, &lrn_panel::exact_forward);
  }
}

void backward(const lrn_panel& p) {
  const numbers d;
  const vector none = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  square(p);
  // What a channel sends to its window, and, where dx will be, what it keeps.
  const vector slope = hn::Set(d, 2 * p.share * p.beta);
  for (index_t i = 0; i < p.count; i += lanes) {
    const vector b = base_of(d, p, i), power = inverse_power(d, b, p.beta), dy = hn::LoadU(d, p.dy + i);
    hn::StoreU(hn::IfThenElse(hn::IsFinite(b), hn::Mul(dy, power), none), d, p.out + i);
    hn::StoreU(hn::Mul(hn::Mul(hn::Mul(slope, dy), hn::LoadU(d, p.x + i)), hn::Div(power, b)), d, p.sent + i);
  }
  std::fill_n(p.sent + p.count, (p.before + p.after) * p.step, 0.0F);
  for (index_t i = 0; i < p.count; i += lanes) {
    const vector sent = window_sum(d, p.sent + i, -p.after, p.before, p.step);
    store(d, hn::NegMulAdd(hn::LoadU(d, p.x + i), sent, hn::LoadU(d, p.out + i)), p, i,
          &lrn_panel::exact_backward);
  }
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
    width_ = last_ ? 1 : std::min<index_t>(plane_, 64);
    const index_t size = p.integer("size");
    // A window never reaches farther than the channels do.
    panel_.before = std::min(size / 2, channels_);
    panel_.after = std::min((size - 1) / 2, channels_);
    panel_.k = static_cast<float>(p.number("k"));
    panel_.share = static_cast<float>(p.number("alpha") / static_cast<double>(size));
    panel_.beta = static_cast<float>(p.number("beta"));
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(5 * threads_ * buffer());
  }

  void run(const kernel_call& call) noexcept override {
    const auto* a = static_cast<const float*>(call.reads[0].data);
    const auto* x = static_cast<const float*>(call.reads[forward_ ? 0 : 1].data);
    auto* out = static_cast<float*>(call.writes[0].data);
    const index_t per_image = width_ == 0 ? 0 : (plane_ + width_ - 1) / width_, panels = images_ * per_image;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (int share = 0; share < call.threads; ++share) {
      lrn_panel p = panel_;
      float* at = static_cast<float*>(call.workspace) + share * 5 * buffer();
      std::fill_n(at, 5 * buffer(), 0.0F);
      for (float** buffer_at : {&p.x, &p.dy, &p.squares, &p.sent, &p.out}) {
        *buffer_at = at + margin();
        at += buffer();
      }
      for (index_t i = panels * share / call.threads; i < panels * (share + 1) / call.threads; ++i) {
        const index_t from = i % per_image * width_;
        run_panel(p, i / per_image, from, std::min(width_, plane_ - from), a, x, out);
      }
    }
  }

 private:
  index_t margin() const { return aligned_buffer::padded((panel_.before + panel_.after) * width_ + 16); }
  index_t buffer() const { return aligned_buffer::padded(channels_ * width_ + 16) + 2 * margin(); }

  /// Positions [from, from + width) of one image.
  void run_panel(lrn_panel& p, index_t n, index_t from, index_t width, const float* a, const float* x,
                 float* out) const {
    const index_t row = last_ ? channels_ : width, rows = last_ ? 1 : channels_;
    const index_t step = last_ ? 0 : plane_;
    const index_t at = n * channels_ * plane_ + (last_ ? from * channels_ : from);
    p.count = channels_ * width;
    p.step = width;
    for (index_t r = 0; r < rows; ++r) {
      std::copy_n(x + at + r * step, row, p.x + r * row);
      if (!forward_) std::copy_n(a + at + r * step, row, p.dy + r * row);
    }
    // Zeros behind the last channel: a narrower panel before may have left numbers there, and so may the last vector.
    std::fill_n(p.x + p.count, margin(), 0.0F);
    std::fill_n(p.squares + p.count, margin(), 0.0F);
    run_(p);
    for (index_t r = 0; r < rows; ++r) std::copy_n(p.out + r * row, row, out + at + r * step);
  }

  void (*run_)(const lrn_panel&);
  bool forward_, last_ = false;
  index_t threads_, images_ = 0, channels_ = 0, plane_ = 1, width_ = 1;
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
