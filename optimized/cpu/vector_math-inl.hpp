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

/// e^x = 2^n·(1 + rest); the low nine bits of `power` are n + Bias. Adding 1.5·2²³ rounds to a whole number and leaves it
/// in the last bits, which saves the rounding, the conversion and what a conversion does about numbers out of range.
using whole_numbers = hn::RebindToSigned<numbers>;
struct exponential {
  hn::Vec<whole_numbers> power;
  vector rest;
};
template <int Bias>
HWY_INLINE exponential split_exponential(numbers d, vector x) {
  const vector shift = hn::Set(d, 0x1.8p23F + static_cast<float>(Bias));
  const vector shifted = hn::MulAdd(x, hn::Set(d, 1.44269504F), shift), n = hn::Sub(shifted, shift);
  const vector r =
      hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4F), hn::NegMulAdd(n, hn::Set(d, 0.693359375F), x));
  vector q = hn::Set(d, 1.394647135e-3F);
  q = hn::MulAdd(q, r, hn::Set(d, 8.366595822e-3F));
  q = hn::MulAdd(q, r, hn::Set(d, 4.166628174e-2F));
  q = hn::MulAdd(q, r, hn::Set(d, 1.666654290e-1F));
  q = hn::MulAdd(q, r, hn::Set(d, 5.000000062e-1F));
  return {hn::BitCast(whole_numbers(), shifted), hn::MulAdd(hn::Mul(r, r), q, r)};
}
/// 2^n, where `power` ends in n + 127; 0 for n = -127.
HWY_INLINE vector power_of_two(numbers d, hn::Vec<whole_numbers> power) {
  return hn::BitCast(d, hn::ShiftLeft<23>(power));
}

/// e^x = first·second, where neither is subnormal: the product is rounded once. x from -176 to 89.
struct factors {
  vector first, second;
};
HWY_INLINE factors exp_in_halves(numbers d, vector x) {
  const exponential e = split_exponential<254>(d, x);
  const auto half = hn::ShiftRight<1>(e.power);
  const vector near = hn::Add(e.rest, hn::Set(d, 1.0F));
  return {hn::Mul(near, power_of_two(d, half)), power_of_two(d, hn::Sub(e.power, half))};
}

/// e^x, down to the subnormals and up to infinity.
HWY_INLINE vector exp_of(numbers d, vector x) {
  const factors e = exp_in_halves(d, at_most(d, at_least(d, x, -110.0F), 89.0F));
  return hn::Mul(e.first, e.second);
}
/// e^-|x|, which is at most 1.
HWY_INLINE factors small_exp_in_halves(numbers d, vector x) {
  return exp_in_halves(d, at_least(d, hn::Neg(hn::Abs(x)), -176.0F));
}
HWY_INLINE vector small_exp_of(numbers d, vector x) {
  const factors e = small_exp_in_halves(d, x);
  return hn::Mul(e.first, e.second);
}

/// e^x - 1 for x ≤ 0.
HWY_INLINE vector expm1_of(numbers d, vector x) {
  const exponential e = split_exponential<127>(d, at_least(d, x, -40.0F));
  const vector s = power_of_two(d, e.power);
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
