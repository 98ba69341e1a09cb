// Multiprecision scalars, from Boost.Multiprecision: binary floats of 50 and 100 decimal digits on MPFR, and
// exact rationals on GMP. Expression templates are off, so `auto` and templates over the scalar mean what
// they say.
#pragma once

#include <boost/multiprecision/gmp.hpp>
#include <boost/multiprecision/mpfr.hpp>

namespace plumb {

namespace mp = boost::multiprecision;
using mp50 = mp::number<mp::mpfr_float_backend<50, mp::allocate_stack>, mp::et_off>;
using mp100 = mp::number<mp::mpfr_float_backend<100, mp::allocate_stack>, mp::et_off>;
using rational = mp::number<mp::gmp_rational, mp::et_off>;

}  // namespace plumb
