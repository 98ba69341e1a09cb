// What a machine that computes Σ a·b can be seen to do, from questions and answers alone.
//   tree         summation_tree.hpp
//   inputs       1 + 2^-k alone comes back whole, or in the bits that were left to the one before: the significand that a
//                factor keeps. Anything else was rounded elsewhere, in a transform
//   accumulator  1 + 2^-k - 1, whichever two of the three meet first
//   products     x·c - c with x·c = 1 + 2^-11 + 2^-24: the last bit lives only if the product is not rounded by itself
//   subnormals   a factor below 2^-126 that makes an ordinary product; a product and a difference below 2^-126
// Fasi, Higham, Mikaitis & Pranesh 2021, "Numerical behavior of NVIDIA tensor cores"; numerics.md 6.
#pragma once

#include "reference/core/kernel.hpp"
#include "verify/fingerprint/summation_tree.hpp"

namespace plumb::fingerprint {

/// Sums of products of numbers that the asker chooses.
class summation {
 public:
  struct question {
    std::vector<double> a;  ///< one number a term
    std::vector<double> b;  ///< one a term, or one that stands for all
  };
  virtual ~summation() = default;
  virtual index_t terms() const = 0;
  virtual bool has_b() const = 0;  ///< false: every b is 1 and cannot be chosen
  virtual std::vector<double> answer(std::span<const question> questions) = 0;
  /// Answers may have come from several places that add in different orders: from now on from one. False: they already do.
  virtual bool narrow_down() { return false; }
};

enum class products { fused, rounded, mixed, exact, unknown };
std::string_view name_of(products p);

struct traits {
  index_t terms = 0;
  int a_bits = 0;  ///< significant bits kept of the first factor, 24 for f32; 0: not measured
  int b_bits = 0;  ///< and of the second
  /// Factors are transformed before they are multiplied, and what the transforms round hides what the factors lose: the
  /// bits above are then only the least that comes through.
  bool hides_inputs = false;
  bool hides_sums = false;    ///< the same of the accumulator: no tree fits, and transforms cancel
  bool narrow_range = false;  ///< a factor of 2^17 does not come through: f16
  int accumulator_bits = 0;   ///< 0: not measured; `never_rounds`: no rounding was seen
  bool truncates = false;     ///< the accumulator rounds toward zero
  products product = products::unknown;
  bool flushes_inputs = false;   ///< subnormal factors count as zero
  bool flushes_results = false;  ///< subnormal results become zero
  std::optional<summation_tree> tree;
  tree_shape shape;
  std::string no_tree;  ///< why there is no tree
  static constexpr int never_rounds = 1000;

  /// Most roundings from any term to the sum, the product's own included: h of numerics.md 2.1.
  index_t roundings() const { return tree ? tree->height() + 1 : terms + 1; }
};

/// `precision` is the significand of the element type: 24 or 53. With `likely`, a tree that probably is the machine's,
/// pairs drawn at random are compared with it, and only if they disagree is another one built.
traits examine(summation& machine, int precision, const summation_tree* likely = nullptr);

/// What a name such as `f32(lanes=16)` promises beside the format: a tree. `f32` promises none.
struct declared_sum {
  std::string format;  ///< without the tree: `f32`
  std::optional<tree_shape::kind> tree;
  index_t number = 0;  ///< lanes, parts, or terms in a block; 0: not said
  std::string error;   ///< not empty: one sentence that names the word
};
declared_sum parse_declared(std::string_view arithmetic);

/// Whether what was seen contradicts what is declared: one sentence, empty if not. `format` bounds are those of
/// parse_arithmetic; finer than declared is no contradiction.
std::string contradiction(const traits& seen, std::string_view arithmetic, dtype type);

/// `inputs f32, products fused, sums f32 to nearest, subnormals kept`
std::string in_words(const traits& seen);

}  // namespace plumb::fingerprint
