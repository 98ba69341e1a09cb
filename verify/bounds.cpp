#include "verify/bounds.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "verify/fourier.hpp"
#include "verify/winograd.hpp"

namespace plumb {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
/// Pays for the roundings of the bounds themselves, which are computed in double.
constexpr double slack = 1 + 0x1p-40;

/// An accumulator of that format, for results stored as `output`.
arithmetic accumulate_in(const float_format& format, const float_format& output) {
  arithmetic how;
  how.unit = format.unit();
  how.underflow = std::max(format.smallest() / 2, format_of(dtype::f64).smallest());
  how.exact_sum = std::ldexp(1.0, format.precision);
  how.output = output;
  how.output_rounds = output.precision < format.precision;
  return how;
}

/// Factors are rounded to `input` first; free of charge if the data have that format already.
arithmetic round_inputs(arithmetic how, const float_format& input) {
  if (how.output.precision <= input.precision && how.output.least_exponent >= input.least_exponent)
    return how;
  how.input_unit = input.unit();
  how.input_underflow = input.smallest() / 2;
  how.input_bits = input.precision;
  how.input_largest = input.largest();
  return how;
}

/// γ_k = k·u / (1 - k·u); infinite where k·u ≥ 1 and the theory says nothing.
double gamma(double k, double u) { return k * u < 1 ? k * u / (1 - k * u) : infinity; }

/// The thresholds of the regimes that have statistics, in units of u·S: t and λ of numerics.md 2.4.
struct statistics {
  bool zero_mean = false;
  bool positive = false;
  double t = infinity;
  double outputs_over_delta = 0;

  statistics(regime r, const run_statistics& run)
      : zero_mean(r == regime::zero_mean),
        positive(r == regime::positive),
        t(std::max(1.0, std::log(run.outputs / (3 * run.false_alarm)) / 2.35)),
        outputs_over_delta(run.outputs / run.false_alarm) {}

  double factor(double k) const {
    if (zero_mean) return t;
    if (positive) return std::sqrt(2 * std::log(2 * k * outputs_over_delta)) * std::sqrt(k);
    return infinity;
  }
};

/// What happens to the bound of an accumulated sum when it is stored.
double stored(double bound, double value, const arithmetic& how) {
  if (!how.output_rounds) return bound;
  const double u = how.output.unit();
  return (1 + u) * bound + u * std::fabs(value) + how.output.smallest() / 2;
}

void contraction_thresholds(const truths& t, const arithmetic& how, const statistics& chance,
                            thresholds& out) {
  const double ul = how.input_unit;
  const double largest_factors = t.largest_left + t.largest_right + how.input_underflow;
  const bool exact_factors = t.integral && t.operand_bits <= how.input_bits;
  // One of the factors may be ±inf inside the kernel, and there is no telling which sums it enters: 0·∞ is NaN.
  const double widest = std::max(t.largest_left, t.largest_right);
  if (ul > 0 && widest > how.input_largest && !t.non_finite) {
    std::ranges::fill(out.statistical, infinity);
    std::ranges::fill(out.proven, infinity);
    out.may_spread.assign(t.value.size(), 1);
    return;
  }
  double last_k = -1, g = 0, factor = 0;
  for (std::size_t i = 0; i < t.value.size(); ++i) {
    const double size = t.size[i];
    // Integers that fit the accumulator, or nothing but zeros.
    if (size == 0 || (exact_factors && size <= how.exact_sum)) {
      out.statistical[i] = out.proven[i] = 0;
      ++out.exact;
      continue;
    }
    const double k = t.terms[i] + 1;  // the addend is among the terms; one more if products are rounded apart
    if (k != last_k) {
      last_k = k;
      g = gamma(k, how.unit);
      factor = std::min(chance.factor(k) * how.unit, g);
    }
    const double below = 2 * k * how.underflow;
    const auto whole = [&](double share) {
      double bound = share * size + below;
      if (ul > 0)
        bound = (2 * ul + ul * ul) * size + (1 + ul) * (1 + ul) * bound +
                k * how.input_underflow * largest_factors;
      return stored(bound, t.value[i], how) * slack;
    };
    out.proven[i] = whole(g);
    out.statistical[i] = whole(factor);
  }
}

void definition_thresholds(const truths& t, const arithmetic& how, const accuracy& declared,
                           thresholds& out) {
  const float_format& format = how.output;
  for (std::size_t i = 0; i < t.value.size(); ++i) {
    const double value = t.value[i];
    double bound = 0;
    if (!std::isfinite(value)) {
      bound = infinity;  // judged as a class
    } else if (declared.ulps > 0) {
      bound = declared.ulps * format.ulp(value);
      if (std::fabs(value) < 2 * format.smallest_normal()) bound = std::max(bound, format.smallest_normal());
    } else if (t.allowance[i] > 0 || t.underflow[i] > 0) {
      const double first_order = t.allowance[i] * how.unit + 2 * t.underflow[i] * how.underflow;
      bound = stored(first_order * (1 + 16 * how.unit), value, how) * slack;
    }
    out.statistical[i] = out.proven[i] = bound;
    out.exact += bound == 0 ? 1 : 0;
  }
}

/// `f32(lanes=16)` promises an order of additions too, which `plumb fingerprint` measures; these bounds hold for any.
std::string_view without_tree(std::string_view text) {
  const std::string_view format = text.substr(0, text.find('('));
  constexpr std::string_view summed[] = {"f32", "f64", "tf32", "bf16_f32", "f16_f32"};
  return std::ranges::find(summed, format) != std::end(summed) && text.ends_with(')') ? format : text;
}

}  // namespace

parsed_arithmetic parse_arithmetic(std::string_view text, dtype type) {
  text = without_tree(text);
  const float_format output = format_of(type);
  const float_format f32 = format_of(dtype::f32);
  const float_format f64 = format_of(dtype::f64);
  constexpr float_format tf32 = {11, -136, 127};
  if (text == "exact") return {{.exact_sum = infinity, .output = output}, {}};
  if (text == "f64" || (text == "f32" && type == dtype::f64)) return {accumulate_in(f64, output), {}};
  if (type != dtype::f64) {
    const arithmetic how = accumulate_in(f32, output);
    if (text == "f32") return {how, {}};
    if (text == "tf32") return {round_inputs(how, tf32), {}};
    if (text == "bf16_f32") return {round_inputs(how, format_of(dtype::bf16)), {}};
    if (text == "f16_f32") return {round_inputs(how, format_of(dtype::f16)), {}};
    for (const int outputs : {2, 4})
      if (text == "winograd(" + std::to_string(outputs) + ",3)") {
        arithmetic transformed = how;
        transformed.winograd = outputs;
        return {transformed, {}};
      }
    if (text == "fft") {
      arithmetic transformed = how;
      transformed.fourier = true;
      return {transformed, {}};
    }
  }
  return {{},
          "no error bound is known for the arithmetic `" + std::string(text) + "` on " +
              std::string(name_of(type)) +
              " data; expected exact, f32, f64, tf32, bf16_f32, f16_f32, winograd(2,3), "
              "winograd(4,3) or fft"};
}

void evaluate_thresholds(const truths& t, const arithmetic& how, const accuracy& declared, regime r,
                         const run_statistics& run, thresholds& out) {
  const statistics chance(r, run);
  out.statistical.resize(t.value.size());
  out.proven.resize(t.value.size());
  out.exact = 0;
  out.drawn = r;
  out.output = how.output;
  out.lost_input = how.input_underflow;
  out.may_spread.clear();
  const bool rounds = how.unit > 0;
  out.has_statistical = rounds && t.contraction && (chance.zero_mean || chance.positive);
  if (t.is_index) return;
  if (!rounds) {
    std::ranges::fill(out.statistical, 0.0);
    std::ranges::fill(out.proven, 0.0);
    out.exact = t.count();
  } else if (t.contraction) {
    contraction_thresholds(t, how, chance, out);
  } else {
    definition_thresholds(t, how, declared, out);
  }
}

void evaluate_thresholds(const truths& t, const arithmetic& how, transformed_sizes&& sizes, thresholds& out) {
  out.output = how.output;
  out.lost_input = 0;
  out.has_statistical = false;
  out.exact = 0;
  out.may_spread = std::move(sizes.may_spread);
  out.proven.resize(sizes.size.size());
  for (std::size_t i = 0; i < out.proven.size(); ++i) {
    // F(2,3) works with quarters of integers; F(4,3) with sixths.
    const bool exact = how.winograd == 2 && t.integral && 4 * sizes.size[i] <= how.exact_sum;
    const double bound = sizes.factor * sizes.size[i] + 2 * sizes.underflow[i] * how.underflow;
    out.proven[i] = exact || sizes.size[i] == 0 ? 0 : stored(bound, t.value[i], how) * slack;
    out.exact += out.proven[i] == 0 ? 1 : 0;
  }
  out.statistical = out.proven;
}

std::string thresholds_of(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                          const truths& t, const arithmetic& how, const accuracy& declared, regime r,
                          const run_statistics& run, thresholds& out, int threads) {
  if (!how.transforms()) {
    evaluate_thresholds(t, how, declared, r, run, out);
    return {};
  }
  transformed_sizes sizes = how.fourier ? sizes_of_fourier(l, pass, reads, t)
                                        : sizes_of_winograd(l, pass, reads, t, how.winograd, threads);
  if (!sizes.error.empty()) return sizes.error;
  evaluate_thresholds(t, how, std::move(sizes), out);
  return {};
}

detection detection_power(const truths& t, const thresholds& bounds) {
  detection power;
  power.smallest_loss = infinity;
  if (t.is_index) {
    power.rejects_zero = std::ranges::any_of(t.index, [](index_t i) { return i != 0; });
    power.rejects_lost_term = power.rejects_zero;
    power.smallest_loss = power.rejects_zero ? 0 : infinity;
    return power;
  }
  constexpr std::size_t sampled = 512;
  // Where truths were found by matrix products, only some elements know their largest term.
  const auto known =
      static_cast<std::size_t>(std::ranges::count_if(t.largest, [](double x) { return x > 0; }));
  const std::size_t step = std::max<std::size_t>(1, known / sampled);
  std::vector<double> losses;
  std::size_t seen = 0;
  for (std::size_t i = 0; i < t.value.size(); ++i) {
    const double bound = bounds.statistical[i];
    const double magnitude = std::fabs(t.value[i]);
    if (!std::isfinite(magnitude)) continue;
    power.rejects_zero = power.rejects_zero ||
                         (bound == 0 ? bounds.output.round(magnitude) > 0 : magnitude > bound + t.radius[i]);
    if (!(t.largest[i] > 0) || seen++ % step != 0) continue;
    losses.push_back(bound / t.largest[i]);
  }
  if (losses.empty()) return power;
  const auto middle = losses.begin() + static_cast<std::ptrdiff_t>(losses.size() / 2);
  std::ranges::nth_element(losses, middle);
  power.smallest_loss = *middle;
  power.rejects_lost_term = *middle < 1;
  return power;
}

}  // namespace plumb
