#include "properties/simpler_values.hpp"

#include <cmath>
#include <tuple>

namespace plumb {
namespace {

double stored(double value, dtype type) {
  switch (type) {
    case dtype::f32:
      return static_cast<float>(value);
    case dtype::bf16:
      return static_cast<double>(static_cast<float>(bf16(static_cast<float>(value))));
    case dtype::f16:
      return static_cast<double>(static_cast<float>(f16(static_cast<float>(value))));
    case dtype::f64:
    case dtype::i64:
      return value;
  }
  return value;
}

/// Binary digits from the first to the last one that is set.
int significant_bits(double value) {
  int exponent = 0, bits = 0;
  double rest = std::fabs(std::frexp(value, &exponent));
  for (; rest != 0; ++bits) rest = 2 * rest - std::floor(2 * rest);
  return bits;
}

/// The place of a number in the order.
std::tuple<int, double, bool> rank_of(double value) {
  if (!std::isfinite(value)) return {3, std::isnan(value) ? 1 : 0, std::signbit(value)};
  if (value == std::trunc(value)) return {1, std::fabs(value), value < 0};
  return {2, significant_bits(value), value < 0};
}

double with_bits(double value, int bits) {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return std::ldexp(std::trunc(std::ldexp(fraction, bits)), exponent - bits);
}

}  // namespace

std::vector<double> simpler_values(double value, dtype type, bool is_index) {
  std::vector<double> offers = {1, -1};
  if (std::isfinite(value)) {
    offers.push_back(std::trunc(value));
    offers.push_back(std::trunc(value / 2));
    offers.push_back(value == std::trunc(value) ? value - (value > 0 ? 1 : -1) : value);
    for (int bits = 1; bits < significant_bits(value); bits *= 2) offers.push_back(with_bits(value, bits));
    offers.push_back(with_bits(value, significant_bits(value) - 1));
    offers.push_back(-value);
  }
  std::vector<double> simpler;
  for (const double offer : offers) {
    const double v = stored(offer, type);
    if (v != 0 && rank_of(v) < rank_of(value) && !(is_index && (v < 0 || v != std::trunc(v))))
      simpler.push_back(v);
  }
  return simpler;
}

}  // namespace plumb
