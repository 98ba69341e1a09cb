// Sparse Jacobians by graph colouring: the middle way between the explicit matrix, which does not fit, and products
// with it, which do not show it. Columns that share no row can be recovered from one product J·v, v being 1 in all of
// them (Curtis, Powell & Reid 1974); few colours of the column intersection graph mean few products (Coleman & Moré
// 1983). The pattern comes from the explicit definition, the values from dual numbers: two definitions that must agree.
#pragma once

#include <string>
#include <vector>

#include "reference/layers/layer.hpp"

namespace plumb {

struct sparse_jacobian {
  struct entry {
    index_t row, column;
    double value;     ///< from a product with dual numbers
    double expected;  ///< from the explicit definition
  };
  std::string output, input;  ///< ∂output/∂input
  index_t rows = 0, columns = 0;
  index_t colours = 0;  ///< products J·v that were needed
  std::vector<entry> entries;
  /// Largest difference of the two definitions, relative to the larger magnitude; infinite where one has an entry that
  /// the other lacks.
  double disagreement = 0;
};

/// One for each pair of a differentiable output and input, at the point that `seed` draws (see gradcheck.hpp). Throws
/// std::length_error if the non-zeros are more than `most_entries`.
std::vector<sparse_jacobian> sparse_jacobians(const layer& l, const tensor_set<double>& point,
                                              index_t most_entries);

/// Colours of the columns 0 … columns-1, such that no row holds two entries of one colour. `rows` lists the columns of
/// each row.
std::vector<index_t> colour_columns(index_t columns, const std::vector<std::vector<index_t>>& rows);

/// Matrix Market coordinate format (Boisvert, Pozo & Remington 1996), rows and columns counted from 1.
std::string matrix_market(const sparse_jacobian& j, const std::string& title);

}  // namespace plumb
