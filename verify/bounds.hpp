// Bounds: from what a kernel declares about its arithmetic and from each element's own data to the largest
// error it may make there (numerics.md 2). Three thresholds:
//   bits         the bound 0: the answer must be the truth rounded once. Where every sum is exact in the
//                declared accumulator, and for passes that only move data
//   statistical  zero-mean data: t·u·S; positive data: λ·√n·u·S (Higham & Mary 2019; Connolly, Higham & Mary
//                2021); never above the proven one
//   proven       γ_n·S and its relatives; kernels that transform their operands have sizes of their own in the place of
//                S (winograd.hpp, fourier.hpp)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "reference/core/kernel.hpp"
#include "reference/scalars/float_format.hpp"
#include "verify/oracle.hpp"
#include "verify/regimes.hpp"
#include "verify/transformed.hpp"

namespace plumb {

/// A declared arithmetic in numbers, for data of one element type.
struct arithmetic {
  double unit = 0;             ///< u of the accumulator; 0: nothing is ever rounded but the result
  double underflow = 0;        ///< largest error of one operation whose result is subnormal (gradual)
  double exact_sum = 0;        ///< integers up to here are exact in the accumulator
  double input_unit = 0;       ///< u of the format to which factors are rounded inside the kernel, or 0
  double input_underflow = 0;  ///< and its largest error below its smallest normal number
  int input_bits = 53;         ///< significant bits that a factor keeps
  double input_largest =
      std::numeric_limits<double>::infinity();  ///< a factor above may become infinite there
  float_format output = format_of(dtype::f32);  ///< what is stored
  bool output_rounds = false;  ///< storing rounds once more: the output is narrower than the accumulator
  int winograd = 0;            ///< m of F(m×m, 3×3); 0: no such transform
  bool fourier = false;        ///< products of Fourier transforms

  /// Other numbers are added than the products of the definition.
  bool transforms() const { return winograd > 0 || fourier; }
};

struct parsed_arithmetic {
  arithmetic value;
  std::string error;  ///< not empty: one sentence; the bound for such a kernel is not known
};

/// `exact`, `f32`, `f64`, `tf32`, `bf16_f32`, `f16_f32`, `winograd(2,3)`, `winograd(4,3)`, `fft`. `f32` stands for the accumulator; with f64
/// data it is read as f64, since a kernel template declares one word for both of its types.
parsed_arithmetic parse_arithmetic(std::string_view text, dtype type);

/// How many outputs the whole run compares, and the chance of a false alarm over all of them.
struct run_statistics {
  double outputs = 1e9;
  double false_alarm = 1e-3;
};

/// Bounds for each entry of one `truths`. A bound of 0 demands the truth rounded once.
struct thresholds {
  std::vector<double> statistical;
  std::vector<double> proven;
  regime drawn = regime::lattice;  ///< the data they are for
  bool has_statistical = false;    ///< the regime has a statistical threshold; else both are the same
  index_t exact = 0;               ///< entries with the bound 0
  float_format output = format_of(dtype::f32);
  double lost_input =
      0;  ///< factors of at most this magnitude may be rounded to 0 before they are multiplied
  /// Entries that ±inf and NaN may reach from neighbours (transformed.hpp); empty: none.
  std::vector<char> may_spread;
};

/// Fills `out`, reusing its buffers.
void evaluate_thresholds(const truths& t, const arithmetic& how, const accuracy& declared, regime r,
                         const run_statistics& run, thresholds& out);
/// The same for how.transforms(): the proven bound only, and bits where integers stay exact.
void evaluate_thresholds(const truths& t, const arithmetic& how, transformed_sizes&& sizes, thresholds& out);
/// Whichever of the two `how` asks for; `reads` are those of the pass. The result is empty, or one sentence: no bound
/// of that arithmetic is known for this problem.
std::string thresholds_of(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                          const truths& t, const arithmetic& how, const accuracy& declared, regime r,
                          const run_statistics& run, thresholds& out, int threads = 1);

/// What one comparison could have seen.
struct detection {
  double smallest_loss = 0;        ///< median of bound / |largest term|; 0 where bits decide; inf: nothing
  bool rejects_zero = false;       ///< the zero tensor would fail
  bool rejects_lost_term = false;  ///< in at least half of the elements, losing the largest term would fail
};
detection detection_power(const truths& t, const thresholds& bounds);

}  // namespace plumb
