// The oracle: the true value of every element that a pass writes, with a radius that surely covers the
// distance to it, and the few numbers from which error bounds follow (bounds.hpp).
//
// Adaptive, as exact geometric predicates are (Shewchuk 1997): first everything in double with an error
// radius; only where the radius leaves a comparison open, one element at a time, exactly. Passes that are
// sums of products go through the layer's product lists (f64 data: in twice the precision, Ogita, Rump &
// Oishi 2005) and escalate to the exact accumulator; all other passes run the layer's definition over
// running_error and escalate to 50 and 100 digits. No code is shared with any kernel.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "reference/core/kernel.hpp"
#include "reference/layers/layer.hpp"
#include "verify/nest_sums.hpp"

namespace plumb {

/// What is known about one tensor that a pass writes. The vectors have one entry for each evaluated element.
struct truths {
  std::string name;
  shape extents;
  bool is_index = false;     ///< then only `index` is filled, and it is exact
  bool contraction = false;  ///< every element is Σ a·b (+ c): `terms` counts, else `allowance`
  bool integral = false;     ///< all operands are integers and every sum of them is exact in double
  bool non_finite = false;   ///< some operand is ±inf or NaN
  bool selects = false;   ///< every element is a copy or a constant: zeros have the sign that they have there
  int operand_bits = 0;   ///< contraction of integers: significant bits of the widest factor
  double most_terms = 0;  ///< largest entry of `terms`
  double full_terms =
      0;  ///< terms of an element that no border cuts short, whether the tensor has one or not
  double largest_left = 0;   ///< contraction: the largest |a|
  double largest_right = 0;  ///< and |b|; 1 where the pass has no b

  std::vector<index_t> at;        ///< row-major numbers of the elements evaluated; empty: all of them
  std::vector<double> value;      ///< NaN and ±inf as IEEE arithmetic without overflow gives them
  std::vector<double> radius;     ///< |value - truth| ≤ radius; 0 where the value is not finite
  std::vector<double> size;       ///< S: the sum of magnitudes; no contraction: the largest intermediate
  std::vector<double> terms;      ///< n: products and addend that enter the sum
  std::vector<double> allowance;  ///< first-order error bound of a correct kernel, in units of its u
  std::vector<double> underflow;  ///< and for subnormal results, in units of half the smallest number
  std::vector<double> largest;    ///< the largest |term|; for passes that are no contraction, |value|
  std::vector<index_t> index;

  index_t count() const { return static_cast<index_t>(is_index ? index.size() : value.size()); }
  /// Row-major number of entry i.
  index_t element(index_t i) const { return at.empty() ? i : at[static_cast<std::size_t>(i)]; }
};

/// One element looked at again with all means.
struct refinement {
  double value = 0;         ///< the truth, rounded once to double
  double error = 0;         ///< |got - truth|, correctly rounded (meaningless if either is not finite)
  double finite_size = 0;   ///< S over the terms whose factors are finite
  bool non_finite = false;  ///< a factor of this very element is ±inf or NaN
  bool sure = false;        ///< false: even this could not tell
  /// Magnitude of the smallest factor but 0 that meets an infinite one.
  double least_partner = std::numeric_limits<double>::infinity();
};

/// Where the comparison turns when the radius cannot decide.
class refiner {
 public:
  virtual ~refiner() = default;
  /// `i` numbers the entries of the truths of that tensor.
  virtual refinement refine(std::size_t tensor, index_t i, double got) = 0;
  /// For a zero of a pass that selects: whether its sign is settled. It is not where the choice fell between zeros of
  /// either sign, which compare equal: the maximum of -0 and +0 is either.
  virtual bool zero_sign_settled(std::size_t /*tensor*/, index_t /*i*/) { return false; }
};

/// Reusable: buffers are kept from one evaluation to the next. Not for two threads at once.
struct certify_terms;
struct comparison;

class oracle final : public refiner {
 public:
  /// All elements. `l`, `pass` and `reads` must outlive the results; `reads` holds what draw() gives. `type`
  /// is the element type of the data. Throws nothing of its own.
  const std::vector<truths>& evaluate(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                                      dtype type, int threads = 1);
  /// Only the elements numbered in `elements`, of the first tensor written. Passes that are no contraction
  /// are evaluated whole.
  const std::vector<truths>& evaluate_some(const layer& l, const pass_spec& pass,
                                           const tensor_set<double>& reads, dtype type,
                                           std::span<const index_t> elements, int threads = 1);
  /// All elements of a contraction judged without keeping their truths: `got` is what a kernel wrote, f32 and row major.
  /// False if the pass or this processor does not lend itself to it (panel_sums.hpp); then nothing is judged.
  bool certify(const layer& l, const pass_spec& pass, const tensor_set<double>& reads, const tensor_ref& got,
               const certify_terms& terms, int threads, comparison& out);
  const std::vector<truths>& results() const { return results_; }
  /// For the tensors written, in the order of results().
  refinement refine(std::size_t tensor, index_t i, double got) override;
  bool zero_sign_settled(std::size_t tensor, index_t i) override;
  /// Calls of refine since construction.
  index_t escalations() const { return escalations_; }

 private:
  struct operand {
    const double* data = nullptr;
    index_t size = 0;
    bool integral = true;
    bool finite = true;
    double largest = 0;
  };
  static constexpr index_t chunk = 256;  ///< elements that one thread sums without a break
  static constexpr std::ptrdiff_t groups_at_once = 12;
  /// Elements whose terms form the same loops, from places a fixed distance apart.
  struct group {
    loop_nest loops;
    index_t first_a = 0, first_b = 0, a_step = 0, b_step = 0, count = 0;
    std::array<index_t, chunk> elements{}, addends{};
  };
  struct scratch {
    product_list list;
    std::array<group, groups_at_once> groups;
    std::array<std::size_t, groups_at_once> order = {0, 1, 2, 3, 4,  5,
                                                     6, 7, 8, 9, 10, 11};  ///< last used first
    std::ptrdiff_t open = 0;                                               ///< how many of them are in use
    std::array<product_sums, chunk> sums;
  };
  /// A written tensor in many digits: truth = high + low, spread = what 50 digits and 100 differ by.
  struct digits {
    std::vector<double> high, low, spread;
    std::vector<index_t> index;
  };

  void begin(const layer& l, const pass_spec& pass, const tensor_set<double>& reads, dtype type);
  static operand survey(const tensor<double>& t);
  void contract(std::span<const index_t> elements, int threads);
  void settle_lattice(truths& t) const;
  bool contract_panels(int threads);
  index_t work(index_t count);
  void contract_range(index_t first, index_t last, scratch& s);
  static group* group_for(scratch& s);
  void sum_group(const group& g, scratch& s);
  void contract_wide(index_t first, index_t last, scratch& s);
  void store(index_t i, double terms, const product_sums& total, double radius);
  refinement refine_contraction(index_t element, double got, product_list& list) const;
  void run_definition();
  bool escalate();
  void settle_doubts();
  refinement refine_definition(std::size_t tensor, index_t i, double got);
  void nudge_zeros();

  const layer* layer_ = nullptr;
  const pass_spec* pass_ = nullptr;
  const tensor_set<double>* reads_ = nullptr;
  dtype type_ = dtype::f32;
  operand a_, b_, addend_;
  bool wide_ = false;  ///< products of the data do not fit a double: sum in twice the precision
  std::vector<truths> results_;
  std::vector<scratch> scratch_;  ///< one a thread
  std::vector<digits> digits_;    ///< one a written tensor, once escalated
  bool escalated_ = false;
  std::vector<std::vector<bool>> settled_;  ///< one a written tensor, once a sign of zero was asked for
  index_t escalations_ = 0;
};

}  // namespace plumb
