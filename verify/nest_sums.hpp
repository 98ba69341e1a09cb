// Sums of products over nests of loops, in double, for many elements at once: the oracle's inner loop. The
// elements of one call share their loops; only where the operands start differs, by a fixed step. Neighbouring
// outputs of a convolution are like that, so they fill the lanes of a vector.
#pragma once

#include "reference/layers/products.hpp"

namespace plumb {

struct product_sums {
  double sum = 0;      ///< Σ a·b
  double size = 0;     ///< Σ|a·b|
  double largest = 0;  ///< max|a·b|
};

using loop_nest = product_list::nest;

/// For e < count: the sums over the loops of `nest`, where element e starts at a[e·a_step] and b[e·b_step].
/// Any order of summation; the same calls give the same bits.
void sum_products(const loop_nest& nest, const double* a, index_t a_step, const double* b, index_t b_step,
                  index_t count, product_sums* out);

}  // namespace plumb
