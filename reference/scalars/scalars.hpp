// Which scalar types the definitions of a layer are instantiated for, and the few questions about a scalar
// that layers ask. Sanitizer builds take the first three only (PLUMB_FEW_SCALARS), which keeps them short.
#pragma once

#include <cmath>
#include <limits>

#include "reference/scalars/dual.hpp"
#include "reference/scalars/multiprecision.hpp"
#include "reference/scalars/running_error.hpp"

namespace plumb {

template <class... T>
struct type_list {};

#ifdef PLUMB_FEW_SCALARS
using scalar_list = type_list<float, double, dual<double>, running_error>;
#else
using scalar_list =
    type_list<float, double, dual<double>, running_error, mp50, mp100, dual<mp100>, rational, dual<rational>>;
#endif

template <class T>
inline constexpr bool is_dual_v = false;
template <class T>
inline constexpr bool is_dual_v<dual<T>> = true;

/// The scalars of explicit Jacobians. On dual numbers only `forward` is defined: they are one of the ways to differentiate it.
template <class T>
inline constexpr bool has_jacobian_v =
    std::is_same_v<T, double> || std::is_same_v<T, mp100> || std::is_same_v<T, rational>;

/// Exact scalars have no rounding, no infinities and no NaN; layers that leave + - × ÷ cannot use them.
template <class T>
struct is_exact : std::false_type {};
template <class T>
struct is_exact<dual<T>> : is_exact<T> {};
template <>
struct is_exact<rational> : std::true_type {};
template <class T>
inline constexpr bool is_exact_v = is_exact<T>::value;

/// NaN is the value that is not equal to itself; exact scalars have none.
template <class T>
bool is_nan(const T& x) {
  if constexpr (is_exact_v<T>) {
    return false;
  } else {
    return !(x == x);
  }
}

/// A double near x: what a layer computes discrete choices from, the same ones for every scalar.
template <class T>
double as_double(const T& x) {
  return static_cast<double>(x);
}
template <class T>
double as_double(const dual<T>& x) {
  return as_double(x.value);
}
inline double as_double(const running_error& x) { return x.value(); }

/// The scalar that carries the bounds of a kernel: a formula tells it what a kernel may do otherwise than it says.
template <class T>
inline constexpr bool carries_bounds_v = std::is_same_v<T, running_error>;

/// The first of two values that are the same but for rounding, or of which rounding decides: a kernel may go either way.
template <class T>
T either(const T& a, const T& /*b*/) {
  return a;
}

/// π to the last digit of the scalar.
template <class T>
struct pi_of {
  static T value() {
    using std::acos;
    return acos(T(-1));
  }
};
template <>
struct pi_of<running_error> {
  static running_error value() { return running_error::pi(); }
};
template <class T>
struct pi_of<dual<T>> {
  static dual<T> value() { return pi_of<T>::value(); }
};
template <class T>
T pi() {
  return pi_of<T>::value();
}

}  // namespace plumb
