// Sums of products for whole tensors at once: the oracle's product on problems of many terms, register-blocked and
// cache-blocked, in double, with S = Σ|a||b| beside every sum at the price of one more multiply-add.
//
// Outputs whose loops are the same form a matrix product: along axis 0 only the start in a moves, along axis 1 only that
// in b, by fixed steps (images and filters of a convolution, rows and columns of a layer). A tile is 6 outputs along
// axis 0 and the positions × 16 along axis 1; b is packed for it, a is read where it lies. Goto & van de Geijn 2008.
// Whether a pass is of this form is asked of its product lists, not assumed: every position at both ends of both axes.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "reference/layers/layer.hpp"

namespace plumb {

/// A pass seen as matrix products.
class panel_plan {
 public:
  static constexpr index_t columns = 16;  ///< outputs along axis 1 in a block
  static constexpr index_t most_rows = 96;

  /// Nothing if the pass is not of that form, or this processor has no instructions that make it worth the while.
  static std::optional<panel_plan> make(const layer& l, const pass_spec& pass);

  /// Some outputs: row r and column c of the block is entry c·rows + r of the lists.
  struct block {
    index_t rows = 0, width = 0;     ///< width ≤ columns
    double terms = 0;                ///< products of every output
    const index_t* first = nullptr;  ///< row-major number of the output in column 0 of each row
    index_t step = 0;                ///< from there to the next column
    index_t addend = -1;             ///< of column 0, or -1
    index_t addend_step = 0;
    const double* sum = nullptr;   ///< Σ a·b
    const double* size = nullptr;  ///< Σ|a·b|
  };

  index_t outputs() const { return outputs_; }
  double most_terms() const;
  double products() const;  ///< of all outputs

  /// Calls consume(thread, block) for disjoint blocks that cover every output; from `threads` threads.
  void run(const double* a, const double* b, int threads,
           const std::function<void(int, const block&)>& consume) const;

 private:
  /// Positions (of the axes behind the first two) that share loops and the start in b.
  struct position_class {
    product_list::nest loops;
    index_t first_b = 0;
    std::vector<index_t> positions, first_a;  ///< for output (0, 0, position)
    std::vector<index_t> at_a, at_b;          ///< where each term lies from there
  };
  /// Columns first … first + count - 1: the same a, b a fixed step on.
  struct segment {
    index_t first = 0, count = 0, a_offset = 0, b_offset = 0, b_step = 0;
  };
  struct task {
    std::size_t of;
    index_t first_row;
  };

  bool describe(const layer& l, const pass_spec& pass);
  bool find_segments(const layer& l, const pass_spec& pass, index_t position);
  bool agrees(const layer& l, const pass_spec& pass, index_t position) const;
  void run_task(const task& t, const double* a, const double* b, int thread, std::vector<double>& scratch,
                const std::function<void(int, const block&)>& consume) const;

  index_t outputs_ = 0, images_ = 0, channels_ = 0, inner_ = 0;
  index_t a_step_ = 0;  ///< along axis 0
  index_t addend_ = -1, addend_step_ = 0;
  std::vector<position_class> classes_;
  std::vector<segment> segments_;
};

}  // namespace plumb
