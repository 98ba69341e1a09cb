// The activations of elementwise_flat.cpp on one vector, once for every instruction set (no include guard: each of
// Highway's passes compiles it anew): f(x), and gradients f(dy, s) from the saved x or y.
//   relu         y = x ≤ 0 ? 0 : x          dx = x ≤ 0 ? 0 : dy        (so NaN passes, and -0 gives +0)
//   sigmoid      e = exp(-|x|) ≤ 1, so nothing overflows; y = (x < 0 ? e : 1)/(1 + e)      dx = dy·(1 - y)·y
//   tanh         with t = expm1(-2|x|): -t/(2 + t), which has the relative accuracy of expm1      dx = dy·(1 - y²)
//   silu         x·σ(x); far below zero e^x is subnormal, so it comes in two factors, one before the division and one
//                after it: the result is rounded once to a subnormal, and at -∞ 0·∞ is NaN, as the definition has it
//   mish         x·tanh(log(1 + e^x)) = x·w/(w + 2), w = e^x·(e^x + 2)       dx = dy·(w + 4x·e^x·(1 + e^x)/(w + 2))/(w + 2)
//   gelu         x·Φ(x), or its tanh form x·σ(2u), u = √(2/π)·(x + 0.044715·x³)
//   softplus     (max(s, 0) + log(1 + e^-|s|))/beta, s = beta·x
//   elu, selu, celu from expm1; the others as they are defined (reference/layers/smooth.hpp, piecewise.hpp, gates.hpp)

#include "optimized/cpu/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

/// The attributes of a layer, as elementwise_flat.cpp orders them.
struct constants {
  vector first, second;
};

/// σ(x) = above/below, with e = e^-|x|.
struct sigmoid_parts {
  vector e, above, below;
};
HWY_INLINE sigmoid_parts split_sigmoid(numbers d, vector x) {
  const vector one = hn::Set(d, 1.0F);
  const vector e = small_exp_of(d, x);
  return {e, hn::IfNegativeThenElse(x, e, one), hn::Add(one, e)};
}

struct relu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), x);
  }
};

struct relu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), dy);
  }
};

struct sigmoid {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    const sigmoid_parts s = split_sigmoid(d, x);
    return hn::Div(s.above, s.below);
  }
};

struct sigmoid_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector y, constants) const {
    return hn::Mul(hn::Mul(dy, hn::Sub(hn::Set(d, 1.0F), y)), y);
  }
};

struct hyperbolic_tangent {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    const vector size = hn::Abs(x), t = expm1_of(d, hn::Mul(size, hn::Set(d, -2.0F)));
    return hn::CopySign(hn::Div(t, hn::Add(t, hn::Set(d, 2.0F))), x);
  }
};

struct hyperbolic_tangent_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector y, constants) const {
    return hn::Mul(dy, hn::Sub(hn::Set(d, 1.0F), hn::Mul(y, y)));
  }
};

struct silu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    const vector one = hn::Set(d, 1.0F);
    const factors e = small_exp_in_halves(d, x);
    const vector whole = hn::MulAdd(e.first, e.second, one);
    const vector share = hn::Div(hn::Mul(x, hn::IfNegativeThenElse(x, e.first, one)), whole);
    return hn::Mul(share, hn::IfNegativeThenElse(x, e.second, one));
  }
};

struct silu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    const sigmoid_parts parts = split_sigmoid(d, x);
    const vector larger = hn::Div(hn::Set(d, 1.0F), parts.below), smaller = hn::Mul(parts.e, larger);
    const vector s = hn::IfNegativeThenElse(x, smaller, larger);
    const vector rest = hn::IfNegativeThenElse(x, larger, smaller);
    return hn::Mul(dy, hn::MulAdd(hn::Mul(x, s), rest, s));
  }
};

struct leaky_relu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants k) const {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(k.first, x));
  }
};

struct leaky_relu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants k) const {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), dy, hn::Mul(dy, k.first));
  }
};

struct hard_swish {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    const vector one = hn::Set(d, 1.0F), share = hn::Div(hn::Add(x, hn::Set(d, 3.0F)), hn::Set(d, 6.0F));
    const vector kept = hn::IfThenElse(hn::Lt(share, hn::Zero(d)), hn::Zero(d), share);
    return hn::Mul(x, hn::IfThenElse(hn::Ge(kept, one), one, kept));
  }
};

struct hard_swish_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    const vector three = hn::Set(d, 3.0F);
    const vector slope = hn::Add(hn::Div(x, three), hn::Set(d, 0.5F));
    const vector upper = hn::IfThenElse(hn::Ge(x, three), dy, hn::Mul(dy, slope));
    return hn::IfThenElse(hn::Lt(x, hn::Neg(three)), hn::Zero(d), upper);
  }
};

// Limits. A limit that is not given is infinite.

struct clamp {
  HWY_INLINE vector operator()(numbers, vector x, vector, constants k) const {
    const vector y = hn::IfThenElse(hn::Lt(x, k.first), k.first, x);
    return hn::IfThenElse(hn::Gt(y, k.second), k.second, y);
  }
};

struct clamp_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants k) const {
    const vector infinity = hn::Set(d, std::numeric_limits<float>::infinity());
    const auto above = hn::Or(hn::Ge(x, k.first), hn::Eq(k.first, hn::Neg(infinity)));
    const auto below = hn::Or(hn::Le(x, k.second), hn::Eq(k.second, infinity));
    return hn::IfThenElseZero(hn::And(above, below), dy);
  }
};

struct hard_tanh {
  HWY_INLINE vector operator()(numbers, vector x, vector, constants k) const {
    const vector y = hn::IfThenElse(hn::Le(x, k.first), k.first, x);
    return hn::IfThenElse(hn::Ge(x, k.second), k.second, y);
  }
};

struct hard_tanh_gradient {
  HWY_INLINE vector operator()(numbers, vector dy, vector x, constants k) const {
    return hn::IfThenElseZero(hn::And(hn::Lt(k.first, x), hn::Lt(x, k.second)), dy);
  }
};

struct hard_sigmoid {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    const vector one = hn::Set(d, 1.0F), line = hn::Div(hn::Add(x, hn::Set(d, 3.0F)), hn::Set(d, 6.0F));
    const vector kept = hn::IfThenElse(hn::Le(line, hn::Zero(d)), hn::Zero(d), line);
    return hn::IfThenElse(hn::Ge(line, one), one, kept);
  }
};

struct hard_sigmoid_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    return hn::IfThenElseZero(hn::Lt(hn::Abs(x), hn::Set(d, 3.0F)), hn::Div(dy, hn::Set(d, 6.0F)));
  }
};

struct softsign {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    return hn::Div(x, hn::Add(hn::Set(d, 1.0F), hn::Abs(x)));
  }
};

struct softsign_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    const vector size = hn::Add(hn::Set(d, 1.0F), hn::Abs(x));
    return hn::Div(hn::Div(dy, size), size);
  }
};

// x above 0, an exponential below. first: the factor (alpha, or λα); second: the slope above 0, or celu's alpha.

struct elu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants k) const {
    const vector below = hn::Mul(k.first, expm1_of(d, at_most(d, x, 0.0F)));
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Mul(k.second, x), below);
  }
};

struct elu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants k) const {
    const vector below = hn::Mul(hn::Mul(dy, k.first), exp_of(d, at_most(d, x, 0.0F)));
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Mul(k.second, dy), below);
  }
};

struct celu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants k) const {
    const vector below = hn::Mul(k.first, expm1_of(d, hn::Div(at_most(d, x, 0.0F), k.first)));
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, below);
  }
};

struct celu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants k) const {
    const vector below = hn::Mul(dy, exp_of(d, hn::Div(at_most(d, x, 0.0F), k.first)));
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), dy, below);
  }
};

// first: beta; second: the largest |beta|·x/beta that is not beyond the threshold.

HWY_INLINE hn::Mask<numbers> beyond(numbers d, vector x, constants k) {
  return hn::Gt(hn::Mul(x, hn::CopySign(hn::Set(d, 1.0F), k.first)), k.second);
}

struct softplus {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants k) const {
    const vector s = hn::Mul(k.first, x), e = small_exp_of(d, s);
    const vector above = hn::IfThenElseZero(hn::Gt(s, hn::Zero(d)), s);
    const vector y = hn::Div(hn::Add(above, log1p_of(d, e)), k.first);
    return hn::IfThenElse(beyond(d, x, k), x, y);
  }
};

struct softplus_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants k) const {
    const vector one = hn::Set(d, 1.0F), s = hn::Mul(k.first, x), e = small_exp_of(d, s);
    const vector share = hn::IfThenElse(hn::Gt(s, hn::Zero(d)), one, e);
    const vector dx = hn::Div(hn::Mul(dy, share), hn::Add(one, e));
    return hn::IfThenElse(beyond(d, x, k), dy, dx);
  }
};

/// tanh(log(1 + e^x)) = w/(w + 2), w = e^x·(e^x + 2): 1 beyond x = 22, where w is far from overflowing.
struct mish_parts {
  vector near, e, w;
};
HWY_INLINE mish_parts split_mish(numbers d, vector x) {
  const vector near = at_most(d, at_least(d, x, -110.0F), 22.0F);
  const factors halves = exp_in_halves(d, near);
  const vector e = hn::Mul(halves.first, halves.second);
  return {near, e, hn::Mul(e, hn::Add(e, hn::Set(d, 2.0F)))};
}

struct mish {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    const mish_parts t = split_mish(d, x);
    return hn::Mul(x, hn::Div(t.w, hn::Add(t.w, hn::Set(d, 2.0F))));
  }
};

struct mish_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    const mish_parts t = split_mish(d, x);
    const vector below = hn::Add(t.w, hn::Set(d, 2.0F));
    const vector bend = hn::Mul(hn::Mul(hn::Set(d, 4.0F), t.near), hn::MulAdd(t.e, t.e, t.e));
    const vector slope = hn::Div(hn::Add(t.w, hn::Div(bend, below)), below);
    return hn::Mul(dy, hn::Add(slope, hn::Sub(x, x)));  // NaN at the infinities, as x·sech² is
  }
};

struct gelu {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    return hn::Mul(x, normal_of(d, x).below);
  }
};

struct gelu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    const normal_distribution n = normal_of(d, x);
    return hn::Mul(dy, hn::MulAdd(x, hn::Mul(n.bell, hn::Set(d, 0.398942280F)), n.below));
  }
};

/// σ(2u), its complement, and 2u' = 2·√(2/π)·(1 + 3·0.044715·x²), where x has been limited: both ends are flat there.
struct gelu_tanh_parts {
  vector share, rest, x, steepness;
};
HWY_INLINE gelu_tanh_parts split_gelu_tanh(numbers d, vector x) {
  const vector one = hn::Set(d, 1.0F), near = at_most(d, at_least(d, x, -64.0F), 64.0F);
  const vector square = hn::Mul(near, near), twice_root = hn::Set(d, 1.595769122F);
  const vector v = hn::Mul(hn::Mul(twice_root, near), hn::MulAdd(hn::Set(d, 0.044715F), square, one));
  const vector e = small_exp_of(d, v), whole = hn::Add(one, e);
  const vector larger = hn::Div(one, whole), smaller = hn::Mul(e, larger);
  const auto below = hn::Lt(x, hn::Zero(d));
  return {hn::IfThenElse(below, smaller, larger), hn::IfThenElse(below, larger, smaller), near,
          hn::Mul(twice_root, hn::MulAdd(hn::Set(d, 0.134145F), square, one))};
}

struct gelu_tanh {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    return hn::Mul(x, split_gelu_tanh(d, x).share);
  }
};

struct gelu_tanh_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x, constants) const {
    const gelu_tanh_parts t = split_gelu_tanh(d, x);
    const vector bend = hn::Mul(hn::Mul(t.x, t.steepness), hn::Mul(t.share, t.rest));
    // x - x is 0, but NaN at the infinities, as x·(1 - tanh²) is; finite and far below, dx is 0 whatever dy.
    const vector dx = hn::Mul(dy, hn::Add(hn::Add(t.share, bend), hn::Sub(x, x)));
    const vector infinity = hn::Set(d, std::numeric_limits<float>::infinity());
    const auto far = hn::And(hn::Lt(x, hn::Set(d, -1073741824.0F)), hn::Gt(x, hn::Neg(infinity)));
    return hn::IfThenZeroElse(far, dx);
  }
};

// Gates.

struct exponential_gate {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const { return exp_of(d, x); }
};
struct product {
  HWY_INLINE vector operator()(numbers, vector a, vector b, constants) const { return hn::Mul(a, b); }
};
struct negative {
  HWY_INLINE vector operator()(numbers, vector x, vector, constants) const { return hn::Neg(x); }
};
struct inverse {
  HWY_INLINE vector operator()(numbers d, vector x, vector, constants) const {
    return hn::Div(hn::Set(d, 1.0F), x);
  }
};
struct inverse_gradient {
  HWY_INLINE vector operator()(numbers, vector dy, vector y, constants) const {
    return hn::Mul(hn::Mul(hn::Neg(dy), y), y);
  }
};
struct square_gradient {
  HWY_INLINE vector operator()(numbers, vector dy, vector x, constants) const {
    return hn::Mul(hn::Add(x, x), dy);
  }
};
/// first: 1/(1 - p).
struct masked {
  HWY_INLINE vector operator()(numbers, vector x, vector mask, constants k) const {
    return hn::Mul(x, hn::Mul(mask, k.first));
  }
};

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();
