// Activations over the elements as they lie in memory, one vector at a time, for every instruction set.
//   relu      y = x ≤ 0 ? 0 : x        dx = x ≤ 0 ? 0 : dy          (so NaN passes, and -0 gives +0)
//   sigmoid   e = exp(-|x|) ≤ 1, so nothing overflows; y = (x < 0 ? e : 1) / (1 + e); dx = dy·(1 - y)·y
//   tanh      |x| < 5/8: x + x³·P(x²) (Moshier, Cephes); else 1 - 2/(e^2|x| + 1); dx = dy·(1 - y²)
//   silu      x·σ(x); far below zero e^x is subnormal, so e^(x+64) stands in for it and e^-64 comes last
//   leaky_relu, hard_swish as they are defined
// The tail goes through the same vector code from a copy, so that no element can follow another rule.
// exp is Highway's (1 ulp); with the sum and the division sigmoid and
// silu stay within 4 ulp, tanh within 3.
#include <limits>

#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/elementwise_flat.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using vector = hn::Vec<numbers>;

struct relu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, vector) const {
    return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), x);
  }
};

struct relu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, vector) const {
    return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), dy);
  }
};

struct sigmoid {
  HWY_INLINE vector operator()(numbers d, vector x, vector, vector) const {
    const vector one = hn::Set(d, 1.0F);
    // Below -105 the result is 0 in f32; the limit keeps the conversion to integers inside exp in range.
    const vector e = hn::Exp(d, hn::Max(hn::Neg(hn::Abs(x)), hn::Set(d, -105.0F)));
    const vector y = hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
    return hn::IfThenElse(hn::IsNaN(x), x, y);
  }
};

struct sigmoid_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector y, vector) const {
    return hn::Mul(hn::Mul(dy, hn::Sub(hn::Set(d, 1.0F), y)), y);
  }
};

struct hyperbolic_tangent {
  HWY_INLINE vector operator()(numbers d, vector x, vector, vector) const {
    const vector one = hn::Set(d, 1.0F), size = hn::Abs(x), z = hn::Mul(x, x);
    vector p = hn::Set(d, -5.70498872745e-3F);
    p = hn::MulAdd(p, z, hn::Set(d, 2.06390887954e-2F));
    p = hn::MulAdd(p, z, hn::Set(d, -5.37397155531e-2F));
    p = hn::MulAdd(p, z, hn::Set(d, 1.33314422036e-1F));
    p = hn::MulAdd(p, z, hn::Set(d, -3.33332819422e-1F));
    const vector near = hn::MulAdd(hn::Mul(p, z), x, x);
    const vector e = hn::Exp(d, hn::Min(hn::Add(size, size), hn::Set(d, 40.0F)));
    const vector far = hn::CopySign(hn::Sub(one, hn::Div(hn::Set(d, 2.0F), hn::Add(e, one))), x);
    const vector y = hn::IfThenElse(hn::Lt(size, hn::Set(d, 0.625F)), near, far);
    return hn::IfThenElse(hn::IsNaN(x), x, y);
  }
};

struct hyperbolic_tangent_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector y, vector) const {
    return hn::Mul(dy, hn::Sub(hn::Set(d, 1.0F), hn::Mul(y, y)));
  }
};

/// x·σ(v) for a v of the sign of x, and NaN where v is.
HWY_INLINE vector gated(numbers d, vector x, vector v) {
  const vector one = hn::Set(d, 1.0F), shift = hn::Set(d, 64.0F);
  const vector down = hn::Max(hn::Neg(hn::Abs(v)), hn::Set(d, -200.0F));
  const auto deep = hn::Lt(down, hn::Neg(shift));
  const vector e = hn::Exp(d, hn::IfThenElse(deep, hn::Add(down, shift), down));
  const vector rest = hn::IfThenElse(deep, hn::Set(d, 1.6038108905486378e-28F), one);  // e^-64
  const auto below = hn::Lt(v, hn::Zero(d));
  const vector share =
      hn::Div(hn::IfThenElse(below, e, one), hn::Add(one, hn::IfThenElse(deep, hn::Zero(d), e)));
  const vector y = hn::Mul(hn::Mul(x, share), hn::IfThenElse(below, rest, one));
  return hn::IfThenElse(hn::IsNaN(v), v, y);
}

struct silu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, vector) const {
    const auto lost = hn::Eq(x, hn::Set(d, -std::numeric_limits<float>::infinity()));
    return hn::IfThenElse(lost, hn::Mul(x, hn::Zero(d)), gated(d, x, x));
  }
};

struct silu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, vector) const {
    const vector one = hn::Set(d, 1.0F);
    const vector e = hn::Exp(d, hn::Max(hn::Neg(hn::Abs(x)), hn::Set(d, -105.0F)));
    const vector larger = hn::Div(one, hn::Add(one, e)), smaller = hn::Div(e, hn::Add(one, e));
    const auto below = hn::Lt(x, hn::Zero(d));
    const vector s = hn::IfThenElse(below, smaller, larger), rest = hn::IfThenElse(below, larger, smaller);
    return hn::IfThenElse(hn::IsNaN(x), x, hn::Mul(dy, hn::Add(s, hn::Mul(hn::Mul(x, s), rest))));
  }
};

struct leaky_relu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, vector slope) const {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(slope, x));
  }
};

struct leaky_relu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, vector slope) const {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), dy, hn::Mul(dy, slope));
  }
};

struct hard_swish {
  HWY_INLINE vector operator()(numbers d, vector x, vector, vector) const {
    const vector one = hn::Set(d, 1.0F), share = hn::Div(hn::Add(x, hn::Set(d, 3.0F)), hn::Set(d, 6.0F));
    const vector kept = hn::IfThenElse(hn::Lt(share, hn::Zero(d)), hn::Zero(d), share);
    return hn::Mul(x, hn::IfThenElse(hn::Ge(kept, one), one, kept));
  }
};

struct hard_swish_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, vector) const {
    const vector three = hn::Set(d, 3.0F);
    const vector slope = hn::Add(hn::Div(x, three), hn::Set(d, 0.5F));
    const vector upper = hn::IfThenElse(hn::Ge(x, three), dy, hn::Mul(dy, slope));
    return hn::IfThenElse(hn::Lt(x, hn::Neg(three)), hn::Zero(d), upper);
  }
};

/// out[i] = f(a[i], b[i]); an operation of one operand gets it twice. `past`: a result that no cache can hold goes
/// past the caches, so that its lines are not fetched first; `out` is then aligned.
template <class F>
void map(const float* a, const float* b, float* out, index_t count, float parameter, bool past) {
  const numbers d;
  const vector p = hn::Set(d, parameter);
  constexpr index_t lanes = HWY_LANES(float);
  index_t i = 0;
  if (past) {
    for (; i + lanes <= count; i += lanes)
      hn::Stream(F()(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i), p), d, out + i);
    hwy::FlushStream();
  }
  for (; i + lanes <= count; i += lanes)
    hn::StoreU(F()(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i), p), d, out + i);
  if (i == count) return;
  HWY_ALIGN float tail[3][HWY_LANES(float)] = {};
  for (index_t j = i; j < count; ++j) {
    tail[0][j - i] = a[j];
    tail[1][j - i] = b[j];
  }
  hn::Store(F()(d, hn::Load(d, tail[0]), hn::Load(d, tail[1]), p), d, tail[2]);
  for (index_t j = i; j < count; ++j) out[j] = tail[2][j - i];
}

}  // namespace

using map_function = void (*)(const float*, const float*, float*, index_t, float, bool);
constexpr map_function maps[] = {map<relu>,
                                 map<relu_gradient>,
                                 map<sigmoid>,
                                 map<sigmoid_gradient>,
                                 map<hyperbolic_tangent>,
                                 map<hyperbolic_tangent_gradient>,
                                 map<silu>,
                                 map<silu_gradient>,
                                 map<leaky_relu>,
                                 map<leaky_relu_gradient>,
                                 map<hard_swish>,
                                 map<hard_swish_gradient>};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plumb {
namespace {

using map_function = void (*)(const float*, const float*, float*, index_t, float, bool);

constexpr index_t worth_a_thread = 4096;

/// The layers in the order of `maps`, two passes each.
struct activation {
  const char* layer;
  const char* arithmetic;
  double ulps;            ///< declared for the forward pass; 0: what the arithmetic allows
  const char* parameter;  ///< its attribute, if it has one
};
constexpr activation activations[] = {{"relu", "exact", 0, nullptr},
                                      {"sigmoid", "f32", 4, nullptr},
                                      {"tanh", "f32", 3, nullptr},
                                      {"silu", "f32", 4, nullptr},
                                      {"leaky_relu", "f32", 0, "negative_slope"},
                                      {"hard_swish", "f32", 0, nullptr}};

std::unique_ptr<plan> make_plan(const kernel_problem& kp, const activation& which, map_function run) {
  const float parameter = which.parameter ? static_cast<float>(kp.problem.number(which.parameter)) : 0.0F;
  return make_simple_plan([run, parameter](const kernel_call& call) {
    const auto* a = static_cast<const float*>(call.reads[0].data);
    const auto* b = static_cast<const float*>(call.reads[call.reads.size() - 1].data);
    auto* out = static_cast<float*>(call.writes[0].data);
    const index_t count = call.writes[0].extents.size();
    const bool past = goes_past_caches(out, count);
    const auto first = [&](int share) {
      return share == call.threads ? count : count * share / call.threads / 16 * 16;
    };
#pragma omp parallel for num_threads(call.threads) schedule(static) if (count > worth_a_thread)
    for (int share = 0; share < call.threads; ++share) {
      const index_t begin = first(share);
      run(a + begin, b + begin, out + begin, first(share + 1) - begin, parameter, past);
    }
  });
}

kernel make_kernel(const activation& which, bool forward, map_function run) {
  kernel k;
  k.layer = which.layer;
  k.pass = forward ? "forward" : "backward";
  k.arithmetic = which.arithmetic;
  if (forward) k.accuracy.ulps = which.ulps;
  k.supports = [&which](const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y", which.parameter ? which.parameter : "x"});
    return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
  };
  k.make_plan = [&which, run](const kernel_problem& kp) { return make_plan(kp, which, run); };
  return k;
}

template <std::size_t N>
void add_rows(registry& kernels, const std::string& target, std::int64_t bit, const map_function (&maps)[N]) {
  static_assert(N == 2 * std::size(activations));
  for (std::size_t i = 0; i < N; ++i) {
    kernel k = make_kernel(activations[i / 2], i % 2 == 0, maps[i]);
    k.name = k.layer + "." + k.pass + "/flat@" + target;
    if ((hwy::SupportedTargets() & bit) == 0) k.unavailable = "this processor lacks " + target;
    kernels.add(std::move(k));
  }
}

}  // namespace

void register_elementwise_flat(registry& kernels) {
#if HWY_TARGETS & HWY_AVX3
  add_rows(kernels, "avx3", HWY_AVX3, N_AVX3::maps);
#endif
#if HWY_TARGETS & HWY_AVX2
  add_rows(kernels, "avx2", HWY_AVX2, N_AVX2::maps);
#endif
#if HWY_TARGETS & HWY_SSE4
  add_rows(kernels, "sse4", HWY_SSE4, N_SSE4::maps);
#endif
#if HWY_TARGETS & HWY_SCALAR
  add_rows(kernels, "scalar", HWY_SCALAR, N_SCALAR::maps);
#endif
}

}  // namespace plumb
#endif
