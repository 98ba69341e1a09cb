// Activations with exponentials, element by element. With σ(x) = 1/(1 + e^-x) and Φ the normal distribution:
//
//   tanh      y = (eˣ - e^-x)/(eˣ + e^-x)
//   elu       y = x if x > 0, else alpha·(eˣ - 1)                alpha 1           (Clevert et al. 2016)
//   selu      y = λ·(x if x > 0, else α·(eˣ - 1))                α, λ below        (Klambauer et al. 2017)
//   celu      y = x if x > 0, else alpha·(e^(x/alpha) - 1)       alpha 1, > 0      (Barron 2017)
//   softplus  y = log(1 + e^(beta·x))/beta                       beta 1, threshold 20  (Dugas et al. 2001)
//             y = x where beta·x > threshold
//   silu      y = x·σ(x), also called swish                      (Elfwing et al. 2018)
//   mish      y = x·tanh(log(1 + eˣ))                            (Misra 2019)
//   gelu      y = x·Φ(x) = x·(1 + erf(x/√2))/2                   approximate=erf (Hendrycks & Gimpel 2016)
//             y = x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2       approximate=tanh
//
// selu's constants keep mean 0 and variance 1 of normal data; with q = √e·erfc(1/√2)
//   α = √(2/π)/(1 - q) = 1.6732632423543772848…
//   λ = √(2π)·(1 - q)/√(2e²·erfc(√2) + π·q² - 2(2+π)·q + π + 2) = 1.0507009873554804934…
//
// Every formula is evaluated so that no finite x overflows: log(1 + eˣ) = max(x, 0) + log(1 + e^-|x|), and
// eˣ - 1 is expm1. Gradients, dx = dy·slope:
//   tanh      1 - y², from the saved output; it is 0 where y rounds to ±1, but sech² x in the Jacobian is not
//   elu       1 if x > 0, else alpha·eˣ         selu: λ times that with α        celu: 1, e^(x/alpha)
//   softplus  σ(beta·x), 1 beyond the threshold
//   silu      σ + x·σ(1-σ)      mish  t + x·σ·(1-t²), t = tanh(log(1 + eˣ))
//   gelu      Φ + x·e^(-x²/2)/√(2π)             tanh form: (1+t)/2 + x(1-t²)/2·√(2/π)(1 + 3·0.044715·x²)
// At the kink 0 the slopes are the lower ones (elu alpha, selu λα); a NaN has gradient NaN. The explicit
// Jacobians are diagonal.
// Infinities: silu, mish and gelu of -∞ are NaN (∞·0), and their gradients at ±∞ too.
// Conventions as torch 1.13.1, but for three slips of its: in the tails of its loops, not in their vectors,
// elu, selu and celu have gradient 1 at NaN; celu's gradient has alpha rounded to f32, even in f64; and
// beyond 1e102 the gradient of gelu's tanh form is NaN (0·∞).
#pragma once

#include "reference/layers/activation.hpp"

namespace plumb {

struct hyperbolic_tangent : activation<hyperbolic_tangent> {
  static constexpr std::string_view formula = "y = tanh(x)";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  static constexpr std::string_view saved = "y";
  bool operator==(const hyperbolic_tangent&) const = default;

  template <class T>
  T value(const T& x) const {
    using std::tanh;
    return tanh(x);
  }
  template <class T>
  T pull_back(const T& y, const T& dy) const {
    return dy * (T(1) - y * y);
  }
  template <class T>
  T slope(const T& x) const {
    using std::exp;
    const T e = exp(x < T(0) ? T(x + x) : T(-(x + x)));  // e^-2|x|
    return T(4) * e / ((T(1) + e) * (T(1) + e));
  }
};

struct elu : activation<elu> {
  decimal alpha = {1, 1};

  static constexpr std::string_view formula = "y = x if x > 0, else alpha·(e^x - 1)";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const elu&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("alpha", self.alpha); }

  template <class T>
  T value(const T& x) const {
    using std::expm1;
    return x > T(0) ? x : T(alpha.as<T>() * expm1(x));
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    using std::exp;
    return x > T(0) ? dy : T(dy * alpha.as<T>() * exp(x));
  }
  template <class T>
  T slope(const T& x) const {
    using std::exp;
    return x > T(0) ? T(1) : T(alpha.as<T>() / exp(-x));
  }
  template <class T>
  index_t branch(const T& x) const {
    return x > T(0) ? 1 : 0;
  }
};

struct selu : activation<selu> {
  static constexpr std::string_view formula =
      "y = λ·(x if x > 0, else α·(e^x - 1)), λ = 1.0507…, α = 1.6732…";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const selu&) const = default;

  template <class T>
  T value(const T& x) const {
    using std::expm1;
    return x > T(0) ? T(lambda<T>() * x) : T(lambda<T>() * alpha<T>() * expm1(x));
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    using std::exp;
    return x > T(0) ? T(dy * lambda<T>()) : T(dy * (lambda<T>() * alpha<T>()) * exp(x));
  }
  template <class T>
  T slope(const T& x) const {
    using std::exp;
    return lambda<T>() * (x > T(0) ? T(1) : T(alpha<T>() / exp(-x)));
  }
  template <class T>
  index_t branch(const T& x) const {
    return x > T(0) ? 1 : 0;
  }

 private:
  template <class T>
  static T q() {
    using std::erf, std::exp, std::sqrt;
    return sqrt(exp(T(1))) * (T(1) - erf(T(1) / sqrt(T(2))));
  }
  template <class T>
  static const T& alpha() {
    using std::sqrt;
    static const T value = sqrt(T(2) / pi<T>()) / (T(1) - q<T>());
    return value;
  }
  template <class T>
  static const T& lambda() {
    using std::erf, std::exp, std::sqrt;
    static const T square = T(2) * exp(T(2)) * (T(1) - erf(sqrt(T(2)))) + pi<T>() * q<T>() * q<T>() -
                            T(2) * (T(2) + pi<T>()) * q<T>() + pi<T>() + T(2);
    static const T value = sqrt(T(2) * pi<T>()) * (T(1) - q<T>()) / sqrt(square);
    return value;
  }
};

struct celu : activation<celu> {
  decimal alpha = {1, 1};

  static constexpr std::string_view formula = "y = x if x > 0, else alpha·(e^(x/alpha) - 1)";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const celu&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("alpha", self.alpha, at_least(0)); }
  void require_attributes() const {
    if (alpha.numerator == 0) throw shape_error("alpha=0 divides by zero; expected a positive number");
  }

  template <class T>
  T value(const T& x) const {
    using std::expm1;
    return x > T(0) ? x : T(alpha.as<T>() * expm1(x / alpha.as<T>()));
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    using std::exp;
    return x > T(0) ? dy : T(dy * exp(x / alpha.as<T>()));
  }
  template <class T>
  T slope(const T& x) const {
    using std::exp;
    return x > T(0) ? T(1) : T(T(1) / exp(-x / alpha.as<T>()));
  }
  template <class T>
  index_t branch(const T& x) const {
    return x > T(0) ? 1 : 0;
  }
};

struct softplus : activation<softplus> {
  decimal beta = {1, 1};
  decimal threshold = {20, 1};

  static constexpr std::string_view formula = "y = log(1 + e^(beta·x))/beta, x where beta·x > threshold";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const softplus&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("beta", self.beta);
    visit("threshold", self.threshold);
  }
  void require_attributes() const {
    if (beta.numerator == 0) throw shape_error("beta=0 divides by zero; expected any other number");
  }

  template <class T>
  T value(const T& x) const {
    using std::exp, std::log1p;
    const T s = beta.as<T>() * x;
    const auto curve = [&] {
      const T logarithm = s > T(0) ? T(s + log1p(exp(-s))) : T(log1p(exp(s)));
      return T(logarithm / beta.as<T>());
    };
    if (swaps(s)) return either(s > threshold.as<T>() ? x : curve(), s > threshold.as<T>() ? curve() : x);
    return s > threshold.as<T>() ? x : curve();
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    using std::exp;
    const T s = beta.as<T>() * x;
    const auto curve = [&] {
      const T e = exp(s > T(0) ? T(-s) : s);
      return s > T(0) ? T(dy / (T(1) + e)) : T(dy * e / (T(1) + e));
    };
    if (swaps(s)) return either(s > threshold.as<T>() ? dy : curve(), s > threshold.as<T>() ? curve() : dy);
    return s > threshold.as<T>() ? dy : curve();
  }
  template <class T>
  T slope(
      const T& x) const {  // σ(s) = (1 + tanh(s/2))/2 would lose the small values; e^s / (e^s + 1) does not
    using std::exp;
    const T s = x * beta.as<T>();
    if (s > threshold.as<T>()) return T(1);
    return T(1) / (T(1) + exp(-s));
  }
  template <class T>
  index_t branch(const T& x) const {
    return beta.as<T>() * x > threshold.as<T>() ? 1 : 0;
  }

 private:
  /// y jumps at the threshold: a kernel that rounds s may come out on its other side.
  template <class T>
  bool swaps(const T& s) const {
    if constexpr (carries_bounds_v<T>)
      return T::may_swap(s, threshold.as<T>());
    else
      return false;
  }
};

struct silu : activation<silu> {
  static constexpr std::string_view formula = "y = x·σ(x) = x / (1 + e^-x)";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const silu&) const = default;

  template <class T>
  T value(const T& x) const {
    using std::exp;
    if (!(x < T(0))) return x / (T(1) + exp(-x));
    const T e = exp(x);
    return x * (e / (T(1) + e));
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    using std::exp;
    const T e = exp(x < T(0) ? x : T(-x)), larger = T(1) / (T(1) + e), smaller = e / (T(1) + e);
    const T s = x < T(0) ? smaller : larger, rest = x < T(0) ? larger : smaller;  // σ and 1 - σ
    return dy * (s + x * s * rest);
  }
  template <class T>
  T slope(const T& x) const {  // the quotient rule on x eˣ/(1 + eˣ), or on x/(1 + e^-x)
    using std::exp;
    const T e = exp(x < T(0) ? x : T(-x)), square = (T(1) + e) * (T(1) + e);
    return x < T(0) ? T(e * (T(1) + x + e) / square) : T((T(1) + e + x * e) / square);
  }
};

struct mish : activation<mish> {
  static constexpr std::string_view formula = "y = x·tanh(log(1 + e^x))";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const mish&) const = default;

  template <class T>
  T value(const T& x) const {
    using std::exp, std::log1p, std::tanh;
    const T logarithm = x > T(0) ? T(x + log1p(exp(-x))) : T(log1p(exp(x)));
    return x * tanh(logarithm);
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    using std::exp, std::log1p, std::tanh;
    const T e = exp(x > T(0) ? T(-x) : x);
    const T t = tanh(x > T(0) ? T(x + log1p(e)) : T(log1p(e)));
    const T s = (x > T(0) ? T(1) : e) / (T(1) + e);
    return dy * (t + x * s * (T(1) - t * t));
  }
  /// tanh(log u) = (u² - 1)/(u² + 1) with u = 1 + eˣ, numerator and denominator divided by e²ˣ if x > 0.
  template <class T>
  T slope(const T& x) const {
    using std::exp;
    const bool positive = x > T(0);
    const T e = exp(positive ? T(-x) : x);
    const T above = positive ? T(T(1) + T(2) * e) : T(e * (e + T(2)));
    const T below = above + T(2) * (positive ? T(e * e) : T(1));
    const T s = positive ? T(T(1) / (T(1) + e)) : T(e / (T(1) + e));
    const T sech = T(2) * (T(1) + e) * (positive ? e : T(1)) / below;
    return above / below + x * s * sech * sech;
  }
};

enum class gelu_form : std::uint8_t { erf, tanh };
template <>
struct choices<gelu_form> {
  static constexpr std::array<std::string_view, 2> names = {"erf", "tanh"};
};

struct gelu : activation<gelu> {
  gelu_form approximate = gelu_form::erf;

  static constexpr std::string_view formula = "y = x·Φ(x) = x·(1 + erf(x/√2))/2, or its tanh form";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const gelu&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("approximate", self.approximate); }

  template <class T>
  T value(const T& x) const {
    using std::erf, std::sqrt, std::tanh;
    if (approximate == gelu_form::erf) return x * ((T(1) + erf(x / sqrt(T(2)))) / T(2));
    const T u = sqrt(T(2) / pi<T>()) * (x + cubic.as<T>() * x * x * x);
    return x * ((T(1) + tanh(u)) / T(2));
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    using std::erf, std::exp, std::sqrt, std::tanh;
    if (approximate == gelu_form::erf) {
      const T density = exp(-(x * x) / T(2)) / sqrt(T(2) * pi<T>());
      return dy * ((T(1) + erf(x / sqrt(T(2)))) / T(2) + x * density);
    }
    if (far_out(x)) return x > T(0) ? dy : T(0);
    const T c = sqrt(T(2) / pi<T>());
    const T t = tanh(c * (x + cubic.as<T>() * x * x * x));
    return dy * ((T(1) + t) / T(2) + x * (T(1) - t * t) / T(2) * c * (T(1) + T(3) * cubic.as<T>() * x * x));
  }
  template <class T>
  T slope(const T& x) const {
    using std::erf, std::exp, std::sqrt;
    const T root = sqrt(T(2) / pi<T>());  // √(2/π) = 2·φ(0)
    if (approximate == gelu_form::erf)
      return T(1) / T(2) + erf(x / sqrt(T(2))) / T(2) + x * root / T(2) * exp(-(x * x) / T(2));
    if (is_nan(x)) return x;
    if (far_out(x)) return x < T(0) ? T(0) : T(1);
    // (1 + tanh u)/2 = σ(2u), whose derivative is σ(2u)·σ(-2u)·2u′, from e^-2|u|
    const T v = T(2) * root * (x + cubic.as<T>() * x * x * x);
    const T e = exp(v < T(0) ? v : T(-v)), s = (v < T(0) ? e : T(1)) / (T(1) + e);
    const T steepness = T(2) * root * (T(1) + cubic.as<T>() * T(3) * x * x);
    return s + x * e / ((T(1) + e) * (T(1) + e)) * steepness;
  }

 private:
  static constexpr decimal cubic = {44715, 1000000};
  /// Finite, and so large that the tanh form's slope is 0 or 1 to more digits than any scalar has, while x³
  /// may overflow.
  template <class T>
  static bool far_out(const T& x) {
    const T limit = T(1 << 30);
    return (x > limit || x < -limit) && x - x == T(0);
  }
};

}  // namespace plumb
