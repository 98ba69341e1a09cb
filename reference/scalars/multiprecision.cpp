#include "reference/scalars/multiprecision.hpp"

#include <boost/multiprecision/gmp.hpp>
#include <boost/multiprecision/mpfr.hpp>
#include <new>
#include <ostream>
#include <stdexcept>

namespace plumb {
namespace {

namespace mp = boost::multiprecision;
// Expression templates are off: every result is a number.
template <class Kind>
struct boost_number;
template <>
struct boost_number<mpfr_50_digits> {
  using type = mp::number<mp::mpfr_float_backend<50, mp::allocate_stack>, mp::et_off>;
};
template <>
struct boost_number<mpfr_100_digits> {
  using type = mp::number<mp::mpfr_float_backend<100, mp::allocate_stack>, mp::et_off>;
};
template <>
struct boost_number<gmp_fraction> {
  using type = mp::number<mp::gmp_rational, mp::et_off>;
};

}  // namespace

template <class Kind>
struct multiprecision<Kind>::access {
  using number = typename boost_number<Kind>::type;
  static_assert(sizeof(number) <= Kind::bytes && alignof(number) <= alignof(multiprecision));

  static number& of(multiprecision& x) { return *std::launder(reinterpret_cast<number*>(x.bytes_)); }
  static const number& of(const multiprecision& x) {
    return *std::launder(reinterpret_cast<const number*>(x.bytes_));
  }
  template <class... A>
  static void make(multiprecision& x, A&&... arguments) {
    ::new (static_cast<void*>(x.bytes_)) number(std::forward<A>(arguments)...);
  }
  template <class... A>
  static multiprecision made(A&&... arguments) {
    multiprecision x{uninitialised()};
    make(x, std::forward<A>(arguments)...);
    return x;
  }
};

template <class Kind>
multiprecision<Kind>::multiprecision(long long v) {
  access::make(*this, v);
}
template <class Kind>
multiprecision<Kind>::multiprecision(unsigned long long v) {
  access::make(*this, v);
}
template <class Kind>
multiprecision<Kind>::multiprecision(double v) {
  access::make(*this, v);
}
template <class Kind>
multiprecision<Kind>::multiprecision(long long numerator,
                                     long long denominator) requires(std::is_same_v<Kind, gmp_fraction>) {
  access::make(*this, numerator, denominator);
}
template <class Kind>
multiprecision<Kind>::multiprecision(std::string_view text) {
  access::make(*this, std::string(text));
}
template <class Kind>
template <class Other>
requires(!std::is_same_v<Other, Kind>) multiprecision<Kind>::multiprecision(const multiprecision<Other>& v) {
  access::make(*this, multiprecision<Other>::access::of(v));
}
template <class Kind>
multiprecision<Kind>::multiprecision(const multiprecision& v) {
  access::make(*this, access::of(v));
}
template <class Kind>
multiprecision<Kind>& multiprecision<Kind>::operator=(const multiprecision& v) {
  access::of(*this) = access::of(v);
  return *this;
}
template <class Kind>
multiprecision<Kind>::multiprecision(multiprecision&& v) noexcept {
  access::make(*this, std::move(access::of(v)));
}
template <class Kind>
multiprecision<Kind>& multiprecision<Kind>::operator=(multiprecision&& v) noexcept {
  access::of(*this) = std::move(access::of(v));
  return *this;
}
template <class Kind>
void multiprecision<Kind>::destroy() {
  using number = typename access::number;
  access::of(*this).~number();
}

template <class Kind>
multiprecision<Kind>::operator double() const {
  return static_cast<double>(access::of(*this));
}
template <class Kind>
multiprecision<Kind>::operator float() const {
  return static_cast<float>(access::of(*this));
}
template <class Kind>
multiprecision<Kind>::operator long long() const {
  return static_cast<long long>(access::of(*this));
}
template <class Kind>
std::string multiprecision<Kind>::str(int digits) const {
  return access::of(*this).str(digits);
}
template <class Kind>
std::ostream& multiprecision<Kind>::print(std::ostream& out, const multiprecision& x) {
  return out << access::of(x);
}

template <class Kind>
multiprecision<Kind>& multiprecision<Kind>::operator+=(const multiprecision& v) {
  access::of(*this) += access::of(v);
  return *this;
}
template <class Kind>
multiprecision<Kind>& multiprecision<Kind>::operator-=(const multiprecision& v) {
  access::of(*this) -= access::of(v);
  return *this;
}
template <class Kind>
multiprecision<Kind>& multiprecision<Kind>::operator*=(const multiprecision& v) {
  access::of(*this) *= access::of(v);
  return *this;
}
template <class Kind>
multiprecision<Kind>& multiprecision<Kind>::operator/=(const multiprecision& v) {
  access::of(*this) /= access::of(v);
  return *this;
}

template <class Kind>
multiprecision<Kind> multiprecision<Kind>::negative(const multiprecision& a) {
  return access::made(-access::of(a));
}
template <class Kind>
multiprecision<Kind> multiprecision<Kind>::sum(const multiprecision& a, const multiprecision& b) {
  return access::made(access::of(a) + access::of(b));
}
template <class Kind>
multiprecision<Kind> multiprecision<Kind>::difference(const multiprecision& a, const multiprecision& b) {
  return access::made(access::of(a) - access::of(b));
}
template <class Kind>
multiprecision<Kind> multiprecision<Kind>::product(const multiprecision& a, const multiprecision& b) {
  return access::made(access::of(a) * access::of(b));
}
template <class Kind>
multiprecision<Kind> multiprecision<Kind>::quotient(const multiprecision& a, const multiprecision& b) {
  return access::made(access::of(a) / access::of(b));
}
template <class Kind>
bool multiprecision<Kind>::equal(const multiprecision& a, const multiprecision& b) {
  return access::of(a) == access::of(b);
}
template <class Kind>
std::partial_ordering multiprecision<Kind>::compare(const multiprecision& a, const multiprecision& b) {
  const auto& x = access::of(a);
  const auto& y = access::of(b);
  if (x < y) return std::partial_ordering::less;
  if (x > y) return std::partial_ordering::greater;
  return x == y ? std::partial_ordering::equivalent : std::partial_ordering::unordered;
}

template <class Kind>
multiprecision<Kind> multiprecision<Kind>::apply(function f, const multiprecision& x) {
  const auto& v = access::of(x);
  if constexpr (!is_fraction) {
    switch (f) {
      case function::exp:
        return access::made(exp(v));
      case function::expm1:
        return access::made(expm1(v));
      case function::log:
        return access::made(log(v));
      case function::log1p:
        return access::made(log1p(v));
      case function::log10:
        return access::made(log10(v));
      case function::sqrt:
        return access::made(sqrt(v));
      case function::tanh:
        return access::made(tanh(v));
      case function::erf:
        return access::made(erf(v));
      case function::acos:
        return access::made(acos(v));
      case function::abs:
        break;
    }
  }
  return access::made(abs(v));
}
template <class Kind>
multiprecision<Kind> multiprecision<Kind>::power(const multiprecision& x, int n) {
  if constexpr (is_fraction)
    throw std::logic_error("fractions have no powers here");
  else
    return access::made(pow(access::of(x), n));
}

template class multiprecision<mpfr_50_digits>;
template class multiprecision<mpfr_100_digits>;
template class multiprecision<gmp_fraction>;
template mp50::multiprecision(const mp100&);
template mp100::multiprecision(const mp50&);
template mp50::multiprecision(const rational&);
template mp100::multiprecision(const rational&);

}  // namespace plumb
