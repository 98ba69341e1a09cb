// Comparison of what a kernel wrote with the truth, element by element, in the positive form: an element
// passes if `error <= bound` holds, so NaN never passes by accident.
//
// Rules, for an element with truth t and bound B:
//   B = 0         got must be t rounded once to the output type
//   t finite      |got - t| ≤ B; where S + B exceeds the largest finite number, ±inf and NaN pass too
//   t = ±inf      got must be that infinity; NaN too if a finite partial sum may overflow
//   t = NaN       got must be NaN; payload and sign of a NaN do not count
//                 (passes that are no contraction: where intermediate results leave the range, or ∞ meets a
//                 rounded zero, any of NaN and ±inf)
//   ±0            a pass that selects (layer.hpp) must copy the sign too, unless it chose between zeros of either
//                 sign; a sum of zeros has the sign its order gives it: there differences are counted, not judged
//   padding       a kernel may multiply the zeros of its padding by an infinite or NaN factor (operators.md
//                 A.0): elements with fewer terms than the fullest one may then be NaN
//   Winograd      ±inf and NaN may reach every element of a tile that has one (thresholds::may_spread)
// Elements that the oracle's radius leaves open are refined; what stays open is `undecided`, and no pass.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "reference/core/kernel.hpp"
#include "verify/bounds.hpp"
#include "verify/oracle.hpp"

namespace plumb {

/// One element that is wrong, or the worst one that is right.
struct judged_element {
  index_t at = -1;  ///< row-major number
  double got = 0;
  double expected = 0;     ///< the oracle's value
  double error = 0;        ///< got - expected, signed
  double ulps = 0;         ///< |error| in ulps of the output type at the truth
  double statistical = 0;  ///< bounds; 0: bits were compared
  double proven = 0;
  bool operator==(const judged_element&) const = default;
};

struct comparison {
  static constexpr std::size_t listed = 16;  ///< failing elements kept
  static constexpr int bins = 40;

  index_t elements = 0;      ///< compared; 0 is no pass
  index_t failures = 0;      ///< above one of the thresholds, or wrong bits
  index_t above_proven = 0;  ///< of these, those the proven bound rejects
  index_t escalated = 0;     ///< where the radius could not decide
  index_t undecided = 0;     ///< where nothing could
  index_t non_finite = 0;    ///< elements judged by the rules for ±inf and NaN
  index_t zero_signs = 0;    ///< equal but for the sign of zero
  index_t unbounded = 0;     ///< passed though nothing bounds their error: they certify nothing

  double worst_statistical = 0;  ///< largest error / bound over elements whose bound is not 0
  double worst_proven = 0;
  double worst_ulps = 0;
  judged_element worst;  ///< largest share of the statistical bound; a failure comes before any pass
  std::vector<judged_element> wrong;  ///< the first failing elements, by number

  /// Bin 0 counts ulps < 1/4, bin i ≥ 1 counts [2^(i-3), 2^(i-2)), the last one everything above.
  std::array<index_t, bins> ulp_counts{};

  bool passed() const { return elements > 0 && failures == 0 && undecided == 0; }
};

/// The error of one sum in two factors: what the kernel did, |got - truth| / S, and what the data make of it, S / |truth|,
/// where S is the sum of magnitudes. Nothing where S or the truth is 0 or not finite.
struct error_split {
  std::optional<double> backward, condition;
};
inline error_split split_error(const judged_element& e, double size) {
  error_split split;
  if (size > 0 && std::isfinite(size) && std::isfinite(e.error)) split.backward = std::fabs(e.error) / size;
  if (split.backward && e.expected != 0 && std::isfinite(e.expected))
    split.condition = size / std::fabs(e.expected);
  return split;
}

/// What a tensor is certified by (oracle::certify).
struct certify_terms {
  arithmetic how;
  accuracy declared;
  regime drawn = regime::zero_mean;
  run_statistics run = {};
};

/// Compares one tensor. `got` has the shape of the truths, any strides, and type f32, f64, bf16, f16 or i64
/// (index tensors). `which` is the tensor's number among the truths of `more`, which is asked where the
/// radius cannot decide; without it such elements are undecided. `out` is overwritten.
void compare(const tensor_ref& got, const truths& t, const thresholds& bounds, refiner* more,
             std::size_t which, comparison& out);

/// The first element, by number, whose bits differ, or -1. Both have the same shape and type; the strides may differ. Two NaNs
/// are the same, whatever their sign and payload: of two NaNs that meet, IEEE 754 leaves open which one survives.
index_t first_difference(const tensor_ref& a, const tensor_ref& b);

}  // namespace plumb
