#include "verify/compare.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "verify/places.hpp"

namespace plumb {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

double read(const void* data, dtype type, index_t offset) {
  switch (type) {
    case dtype::f32:
      return static_cast<double>(static_cast<const float*>(data)[offset]);
    case dtype::f64:
      return static_cast<const double*>(data)[offset];
    case dtype::bf16:
      return static_cast<double>(static_cast<float>(static_cast<const bf16*>(data)[offset]));
    case dtype::f16:
      return static_cast<double>(static_cast<float>(static_cast<const f16*>(data)[offset]));
    case dtype::i64:
      return static_cast<double>(static_cast<const index_t*>(data)[offset]);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

/// One line of the tensor into doubles; the type is looked at once, not for each element.
void read_line(const tensor_ref& got, index_t offset, index_t step, index_t count, double* to) {
  if (got.type == dtype::f32) {
    const float* from = static_cast<const float*>(got.data) + offset;
    for (index_t i = 0; i < count; ++i) to[i] = static_cast<double>(from[i * step]);
  } else {
    for (index_t i = 0; i < count; ++i) to[i] = read(got.data, got.type, offset + i * step);
  }
}

/// The evaluated elements in the order of the truths, dense.
void gather(const tensor_ref& got, const truths& t, std::vector<double>& to) {
  to.resize(static_cast<std::size_t>(t.count()));
  const auto offset_of = [&](const shape& at) {
    index_t offset = 0;
    for (int axis = 0; axis < at.rank(); ++axis) offset += at[axis] * got.strides[axis];
    return offset;
  };
  if (!t.at.empty()) {
    for (std::size_t i = 0; i < t.at.size(); ++i)
      to[i] = read(got.data, got.type, offset_of(unflatten(t.at[i], t.extents)));
    return;
  }
  const int last = t.extents.rank() - 1;
  if (t.count() == 0) return;
  if (got.strides == row_major(t.extents) || last < 0) {
    read_line(got, 0, 1, t.count(), to.data());
    return;
  }
  if (got.strides == channels_last(t.extents)) {
    const index_t channels = t.extents[1], places = t.count() / (t.extents[0] * channels);
    in_blocks_of_places(t.extents, [&](index_t n, index_t c, index_t first, index_t count) {
      read_line(got, (n * places + first) * channels + c, channels, count,
                &to[static_cast<std::size_t>((n * channels + c) * places + first)]);
    });
    return;
  }
  shape lines = t.extents;
  lines[last] = 1;
  double* line = to.data();
  for_each_index(lines, [&](const shape& at) {
    read_line(got, offset_of(at), got.strides[last], t.extents[last], line);
    line += t.extents[last];
  });
}

/// Bin of the histogram for an error of so many ulps, by its exponent.
index_t bin_of(double ulps) {
  const auto exponent = static_cast<index_t>(std::bit_cast<std::uint64_t>(ulps) >> 52) - 1023;
  return std::clamp<index_t>(exponent + 3, 0, comparison::bins - 1);
}

/// Elements that are looked at together. Nearly all of them have nothing about them.
struct stretch {
  static constexpr std::size_t length = 64;
  double worst_share;  ///< of a bound, found before
  int precision, least_exponent;
  double worst_proven = 0, worst_ulps = 0;
  std::array<index_t, length> bins{};
};

/// Whether all elements surely keep to finite bounds, none is 0 (whose sign would have to be looked at), and none comes
/// nearer to its bound than the worst before. Positive form: a NaN settles nothing.
[[gnu::target_clones("avx512f", "avx2", "default")]] bool settle(const double* got, const double* value,
                                                                 const double* radius,
                                                                 const double* statistical,
                                                                 const double* proven, stretch& s) {
  index_t settled = 0;
  double worst_proven = 0, worst_ulps = 0;
  for (std::size_t i = 0; i < stretch::length; ++i) {
    const double error = std::fabs(got[i] - value[i]), bound = statistical[i];
    const bool fine =
        (error + radius[i] <= bound) & (bound < infinity) & (got[i] != 0) & (error <= s.worst_share * bound);
    settled += fine ? 1 : 0;
    const double of_proven = bound > 0 ? error / proven[i] : 0;
    worst_proven = of_proven > worst_proven ? of_proven : worst_proven;
    // One over an ulp of the true value, by its exponent: formats narrower than double have no subnormal one.
    const index_t exponent =
        static_cast<index_t>(std::bit_cast<std::uint64_t>(value[i]) >> 52 & 0x7ff) - 1023 - s.precision + 1;
    const index_t step = exponent > s.least_exponent ? exponent : s.least_exponent;
    const double ulps = error * std::bit_cast<double>(static_cast<std::uint64_t>(1023 - step) << 52);
    worst_ulps = ulps > worst_ulps ? ulps : worst_ulps;
    const index_t bin = static_cast<index_t>(std::bit_cast<std::uint64_t>(ulps) >> 52) - 1023 + 3;
    s.bins[i] = bin < 0 ? 0 : bin < comparison::bins ? bin : comparison::bins - 1;
  }
  s.worst_proven = worst_proven;
  s.worst_ulps = worst_ulps;
  return settled == static_cast<index_t>(stretch::length);
}

/// The state of one comparison: what is compared, with what, and the tally.
class judge {
 public:
  judge(const truths& t, const thresholds& bounds, refiner* more, std::size_t which, comparison& out)
      : t_(t), bounds_(bounds), more_(more), which_(which), out_(out) {}

  void real(const std::vector<double>& list);
  void indices(const std::vector<double>& got);

 private:
  /// What the rules say about an element that the fast test did not pass.
  struct ruling {
    bool pass = false;
    bool above_proven = true;
    bool undecided = false;
    double error;          ///< |got - truth|
    bool vacuous = false;  ///< it passes because anything would
  };
  ruling by_rules(std::size_t i, double got);
  ruling by_class(std::size_t i, double got);
  ruling by_bits(std::size_t i, double got);
  ruling by_bound(std::size_t i, double got);
  bool zero_of_wrong_sign(std::size_t i, double got);

  void one(std::size_t i, double got);
  void count(std::size_t i, double got, double error, const ruling& r);
  judged_element describe(std::size_t i, double got, double error) const;

  /// Sums this large may leave the output's range on the way.
  bool may_overflow(double size) const { return size * (1 + 0x1p-8) >= bounds_.output.largest(); }

  const truths& t_;
  const thresholds& bounds_;
  refiner* more_;
  std::size_t which_;
  comparison& out_;
  double worst_share_ = -1;
};

bool judge::zero_of_wrong_sign(std::size_t i, double got) {
  const double truth = t_.value[i];
  if (got != 0 || truth != 0 || std::signbit(got) == std::signbit(truth)) return false;
  ++out_.zero_signs;
  return t_.selects && more_ != nullptr && more_->zero_sign_settled(which_, static_cast<index_t>(i));
}

judge::ruling judge::by_rules(std::size_t i, double got) {
  if (!std::isfinite(got) || !std::isfinite(t_.value[i])) {
    // An integer too large for the output type is rounded to infinity, which is right bit for bit.
    if (bounds_.statistical[i] == 0 && std::isfinite(t_.value[i]) && std::isinf(got) &&
        got == bounds_.output.round(t_.value[i]))
      return {.pass = true, .above_proven = false, .error = 0};
    return by_class(i, got);
  }
  return bounds_.statistical[i] == 0 ? by_bits(i, got) : by_bound(i, got);
}

judge::ruling judge::by_class(std::size_t i, double got) {
  ++out_.non_finite;
  const double truth = t_.value[i];
  const auto verdict = [](bool pass) { return ruling{pass, !pass, false, pass ? 0 : infinity}; };
  if (std::isnan(got) && t_.contraction && t_.non_finite && t_.terms[i] < t_.full_terms) return verdict(true);
  if (!std::isfinite(got) && !bounds_.may_spread.empty() && bounds_.may_spread[i] != 0) return verdict(true);
  const double bound = std::isfinite(bounds_.proven[i]) ? bounds_.proven[i] : 0;
  // A divisor that a kernel may have lost to underflow: no error bound is known, and ±inf may be what comes out.
  const bool unbounded = !t_.contraction && std::isinf(bounds_.proven[i]);
  if (std::isfinite(truth)) {
    ruling r = verdict(unbounded || may_overflow(t_.size[i] + bound));
    r.vacuous = r.pass;
    return r;
  }
  if (std::isnan(got) ? std::isnan(truth) : got == truth) return verdict(true);
  if (std::isfinite(got)) return verdict(false);
  // Another one of NaN, +inf and -inf: right only if the order of operations decides between them.
  if (!t_.contraction) return verdict(may_overflow(t_.size[i]));
  if (std::isnan(truth) || more_ == nullptr) return verdict(false);
  const refinement r = more_->refine(which_, static_cast<index_t>(i), got);
  // ±inf times a factor that the kernel's own format rounds to 0.
  if (std::isnan(got) && r.least_partner <= bounds_.lost_input) return verdict(true);
  return verdict(may_overflow(r.finite_size) && (std::isnan(got) || !r.non_finite));
}

judge::ruling judge::by_bits(std::size_t i, double got) {
  double truth = t_.value[i];
  if (t_.radius[i] > 0) {
    if (more_ == nullptr) return {.undecided = true, .error = std::fabs(got - truth)};
    ++out_.escalated;
    const refinement r = more_->refine(which_, static_cast<index_t>(i), got);
    if (!r.sure) return {.undecided = true, .error = r.error};
    truth = r.value;
  }
  const bool pass = got == bounds_.output.round(truth);
  return {.pass = pass, .above_proven = !pass, .error = std::fabs(got - truth)};
}

judge::ruling judge::by_bound(std::size_t i, double got) {
  const double error = std::fabs(got - t_.value[i]);
  const double statistical = bounds_.statistical[i], proven = bounds_.proven[i], radius = t_.radius[i];
  const auto open = [&](double bound) { return error - radius <= bound && !(error + radius <= bound); };
  if (!open(statistical) && !open(proven))
    return {.pass = error <= statistical,
            .above_proven = !(error <= proven),
            .error = error,
            .vacuous = std::isinf(statistical)};
  if (more_ == nullptr) return {.undecided = true, .error = error};
  ++out_.escalated;
  const refinement r = more_->refine(which_, static_cast<index_t>(i), got);
  return {.pass = r.sure && r.error <= statistical,
          .above_proven = !(r.error <= proven),
          .undecided = !r.sure,
          .error = r.error};
}

judged_element judge::describe(std::size_t i, double got, double error) const {
  judged_element e;
  e.at = t_.element(static_cast<index_t>(i));
  e.got = got;
  e.expected = t_.is_index ? static_cast<double>(t_.index[i]) : t_.value[i];
  e.error = std::copysign(error, got - e.expected);
  if (t_.is_index) return e;
  e.ulps = std::isfinite(e.expected) ? error / bounds_.output.ulp(e.expected) : error;
  e.statistical = bounds_.statistical[i];
  e.proven = bounds_.proven[i];
  return e;
}

void judge::count(std::size_t i, double got, double error, const ruling& r) {
  const double statistical = t_.is_index ? 0 : bounds_.statistical[i];
  const bool bits = statistical == 0 || std::isinf(error);
  const double share = error == 0 || (r.pass && bits) ? 0 : bits ? infinity : error / statistical;
  if (r.undecided) {
    ++out_.undecided;
  } else if (!r.pass) {
    if (out_.wrong.size() < comparison::listed) out_.wrong.push_back(describe(i, got, error));
    // The first failure displaces every pass; among failures the larger share wins.
    if (out_.failures == 0) worst_share_ = -1;
    ++out_.failures;
    out_.above_proven += r.above_proven ? 1 : 0;
  }
  if ((r.pass == (out_.failures == 0)) && share > worst_share_) {
    worst_share_ = share;
    out_.worst = describe(i, got, error);
  }
  if (t_.is_index) return;
  if (r.pass && bits) return;  // rounding to a narrow output, or ±inf where it belongs: no share of a bound
  out_.worst_statistical = std::max(out_.worst_statistical, share);
  out_.worst_proven = std::max(out_.worst_proven, error == 0 ? 0
                                                  : bits     ? infinity
                                                             : error / bounds_.proven[i]);
}

void judge::real(const std::vector<double>& list) {
  const double* const got = list.data();
  const std::size_t count = list.size();
  const auto at = [](const std::vector<double>& v, std::size_t i) { return v.data() + i; };
  // Counted fourfold: neighbours often count the same, and each would wait for the one before.
  std::array<std::array<index_t, comparison::bins>, 4> counts{};
  for (std::size_t i = 0; i < count;) {
    stretch s{worst_share_, bounds_.output.precision, bounds_.output.least_exponent};
    if (i + stretch::length <= count && bounds_.output.precision < 53 &&
        settle(got + i, at(t_.value, i), at(t_.radius, i), at(bounds_.statistical, i), at(bounds_.proven, i),
               s)) {
      out_.worst_proven = std::max(out_.worst_proven, s.worst_proven);
      out_.worst_ulps = std::max(out_.worst_ulps, s.worst_ulps);
      for (std::size_t k = 0; k < stretch::length; ++k)
        ++counts[k % counts.size()][static_cast<std::size_t>(s.bins[k])];
      i += stretch::length;
      continue;
    }
    for (const std::size_t end = std::min(i + stretch::length, count); i < end; ++i) one(i, got[i]);
  }
  for (const auto& list_of_bins : counts)
    for (std::size_t bin = 0; bin < list_of_bins.size(); ++bin) out_.ulp_counts[bin] += list_of_bins[bin];
}

void judge::one(std::size_t i, double got) {
  constexpr ruling fine = {true, false, false, 0};
  const double value = t_.value[i];
  double error = std::fabs(got - value);
  const double bound = bounds_.statistical[i];
  if (got == 0 && zero_of_wrong_sign(i, got)) {
    count(i, got, 0, {.pass = false, .error = 0});
    error = 0;
  } else if (error + t_.radius[i] <= bound && std::isfinite(bound)) {
    if (error > worst_share_ * bound) count(i, got, error, fine);
    out_.worst_proven = std::max(out_.worst_proven, bound > 0 ? error / bounds_.proven[i] : 0.0);
  } else {
    const ruling r = by_rules(i, got);
    error = r.error;
    out_.unbounded += r.vacuous ? 1 : 0;
    count(i, got, error, r);
  }
  const double ulps = std::isfinite(value) ? error / bounds_.output.ulp(value) : error;
  out_.worst_ulps = std::max(out_.worst_ulps, ulps);
  ++out_.ulp_counts[static_cast<std::size_t>(bin_of(ulps))];
}

void judge::indices(const std::vector<double>& got) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    const bool pass = got[i] == static_cast<double>(t_.index[i]);
    const double error = std::fabs(got[i] - static_cast<double>(t_.index[i]));
    count(i, got[i], error, {pass, !pass, false, error});
  }
}

}  // namespace

void compare(const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
             std::size_t which, comparison& out) {
  if (!(got.extents == t.extents))
    throw std::logic_error("`" + t.name + "` has shape " + to_string(got.extents) + " but its truth has " +
                           to_string(t.extents));
  if (got.data == nullptr && t.count() > 0) throw std::logic_error("`" + t.name + "` has no data");
  thread_local std::vector<double> values;
  gather(got, t, values);
  out = comparison();
  out.elements = t.count();
  judge j(t, bounds, more, which, out);
  if (t.is_index)
    j.indices(values);
  else
    j.real(values);
}

index_t first_difference(const tensor_ref& a, const tensor_ref& b) {
  const std::size_t size = size_of(a.type);
  const auto offset_in = [](const tensor_ref& t, const shape& at) {
    index_t offset = 0;
    for (int axis = 0; axis < at.rank(); ++axis) offset += at[axis] * t.strides[axis];
    return offset;
  };
  const auto differ = [&](index_t in_a, index_t in_b) {
    const auto* const x = static_cast<const std::byte*>(a.data) + in_a * static_cast<index_t>(size);
    const auto* const y = static_cast<const std::byte*>(b.data) + in_b * static_cast<index_t>(size);
    return std::memcmp(x, y, size) != 0 &&
           !(std::isnan(read(a.data, a.type, in_a)) && std::isnan(read(b.data, b.type, in_b)));
  };
  const auto dense = [](const tensor_ref& t) {
    return t.strides == row_major(t.extents) || t.strides == channels_last(t.extents);
  };
  if (a.strides == b.strides && dense(a) &&
      std::memcmp(a.data, b.data, size * static_cast<std::size_t>(a.extents.size())) == 0)
    return -1;
  index_t flat = 0;
  index_t found = -1;
  for_each_index(a.extents, [&](const shape& at) {
    if (found < 0 && differ(offset_in(a, at), offset_in(b, at))) found = flat;
    ++flat;
  });
  return found;
}

}  // namespace plumb
