// exp, expm1, log1p and the normal distribution on vectors of floats, once for every instruction set (no include guard:
// each of Highway's passes compiles it anew).
//   e^x        x = n·ln 2 + r, |r| ≤ ln 2/2; e^r - 1 = r + r²·Q(r), Q of degree 4, minimax; then 2^n   (Cody & Waite 1980)
//   log(1+e)   = 2·atanh(z), z = e/(2+e):  2z + z³·R(z²), R of degree 4, minimax, for 0 ≤ e ≤ 1
//   Φ(-a)      = e^(-a²/2)·t·M(t), t = 1/(1 + 0.3·a), M of degree 7, minimax for the error of (1+a)·Φ;
//              ½ + x·P(x²), P of degree 4, for |x| < 1
// Largest errors: e^x and expm1 1.5 ulp, log1p 2 ulp, Φ 2^-24 absolute. A NaN gives NaN.

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using vector = hn::Vec<numbers>;

/// max(v, low), and NaN of NaN: the x86 instruction gives its second operand then, scalar code must ask.
HWY_INLINE vector at_least(numbers d, vector v, float low) {
#if HWY_TARGET == HWY_SCALAR
  return hn::IfThenElse(hn::Lt(v, hn::Set(d, low)), hn::Set(d, low), v);
#else
  return hn::Max(hn::Set(d, low), v);
#endif
}
HWY_INLINE vector at_most(numbers d, vector v, float high) {
#if HWY_TARGET == HWY_SCALAR
  return hn::IfThenElse(hn::Gt(v, hn::Set(d, high)), hn::Set(d, high), v);
#else
  return hn::Min(hn::Set(d, high), v);
#endif
}

/// e^x = 2^n·(1 + rest).
struct exponential {
  vector n, rest;
};
HWY_INLINE exponential split_exponential(numbers d, vector x) {
  const vector n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504F)));
  const vector r =
      hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4F), hn::NegMulAdd(n, hn::Set(d, 0.693359375F), x));
  vector q = hn::Set(d, 1.394647135e-3F);
  q = hn::MulAdd(q, r, hn::Set(d, 8.366595822e-3F));
  q = hn::MulAdd(q, r, hn::Set(d, 4.166628174e-2F));
  q = hn::MulAdd(q, r, hn::Set(d, 1.666654290e-1F));
  q = hn::MulAdd(q, r, hn::Set(d, 5.000000062e-1F));
  return {n, hn::MulAdd(hn::Mul(r, r), q, r)};
}
/// 2^n for whole n from -126 to 127.
HWY_INLINE vector power_of_two(numbers d, hn::Vec<hn::RebindToSigned<numbers>> n) {
  const hn::RebindToSigned<numbers> whole;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(whole, 127))));
}

/// e^x, down to the subnormals and up to infinity: 2^n comes in two halves.
HWY_INLINE vector exp_of(numbers d, vector x) {
  const hn::RebindToSigned<numbers> whole;
  const exponential e = split_exponential(d, at_most(d, at_least(d, x, -110.0F), 89.0F));
  const auto n = hn::ConvertTo(whole, e.n), half = hn::ShiftRight<1>(n);
  const vector near = hn::Add(e.rest, hn::Set(d, 1.0F));
  return hn::Mul(hn::Mul(near, power_of_two(d, half)), power_of_two(d, hn::Sub(n, half)));
}

/// e^x - 1 for x ≤ 0.
HWY_INLINE vector expm1_of(numbers d, vector x) {
  const exponential e = split_exponential(d, at_least(d, x, -40.0F));
  const vector s = power_of_two(d, hn::ConvertTo(hn::RebindToSigned<numbers>(), e.n));
  return hn::MulAdd(s, e.rest, hn::Sub(s, hn::Set(d, 1.0F)));
}

/// log(1 + e) for 0 ≤ e ≤ 1.
HWY_INLINE vector log1p_of(numbers d, vector e) {
  const vector z = hn::Div(e, hn::Add(e, hn::Set(d, 2.0F))), square = hn::Mul(z, z);
  vector r = hn::Set(d, 2.430099988e-1F);
  r = hn::MulAdd(r, square, hn::Set(d, 2.142764211e-1F));
  r = hn::MulAdd(r, square, hn::Set(d, 2.861688608e-1F));
  r = hn::MulAdd(r, square, hn::Set(d, 3.999887770e-1F));
  r = hn::MulAdd(r, square, hn::Set(d, 6.666667562e-1F));
  return hn::MulAdd(hn::Mul(square, r), z, hn::Add(z, z));
}

/// Φ(x), and bell = e^(-x²/2).
struct normal_distribution {
  vector below, bell;
};
HWY_INLINE normal_distribution normal_of(numbers d, vector x) {
  const vector one = hn::Set(d, 1.0F);
  const vector bell = exp_of(d, hn::Mul(hn::Mul(x, hn::Set(d, -0.5F)), x));
  const vector t = hn::Div(one, hn::MulAdd(hn::Abs(x), hn::Set(d, 0.3F), one));
  vector m = hn::Set(d, 2.884470523e-2F);
  m = hn::MulAdd(m, t, hn::Set(d, -1.223884440e-1F));
  m = hn::MulAdd(m, t, hn::Set(d, 1.321049602e-1F));
  m = hn::MulAdd(m, t, hn::Set(d, 3.193918475e-2F));
  m = hn::MulAdd(m, t, hn::Set(d, 7.114063622e-2F));
  m = hn::MulAdd(m, t, hn::Set(d, 1.221702334e-1F));
  m = hn::MulAdd(m, t, hn::Set(d, 1.161820201e-1F));
  m = hn::MulAdd(m, t, hn::Set(d, 1.200067064e-1F));
  const vector tail = hn::Mul(hn::Mul(bell, t), m), square = hn::Mul(x, x);
  vector p = hn::Set(d, 9.246838154e-5F);
  p = hn::MulAdd(p, square, hn::Set(d, -1.165350761e-3F));
  p = hn::MulAdd(p, square, hn::Set(d, 9.964166816e-3F));
  p = hn::MulAdd(p, square, hn::Set(d, -6.648873000e-2F));
  p = hn::MulAdd(p, square, hn::Set(d, 3.989421990e-1F));
  const vector far = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
  return {hn::IfThenElse(hn::Lt(square, one), hn::MulAdd(x, p, hn::Set(d, 0.5F)), far), bell};
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();
