// Gradient check of a layer: its five definitions against each other on one problem.
//
// Where rationals apply, dual, vjp, explicit and (for degree ≤ 2) numerical derivatives must agree with
// tolerance zero. Elsewhere they must agree to the digits asked, evaluated in 100-digit arithmetic; the
// numerical estimate is judged by its own error estimate and is `inconclusive` where that is larger than what
// is to be decided. Kinks are recognised by a changed winner, not guessed from a bad difference.
#pragma once

#include <cstdint>

#include "reference/core/record.hpp"
#include "reference/layers/layer.hpp"

namespace plumb {

struct gradcheck_options {
  int digits = 50;  ///< 1 … 80
  std::uint64_t seed = 1;
  /// Above this many entries the Jacobian is not formed; the definitions are then compared along random
  /// directions.
  index_t dense_entries = 40'000;
  bool curves = true;  ///< V-curves and Jacobian images for the report
};

/// The inputs at which a layer is checked: sixteenths in (-8, 8), or with `ties` small integers that make winners meet;
/// doubles, exact in every scalar, inside the domain that each tensor declares.
tensor_set<double> draw_point(const layer& l, std::uint64_t seed, bool ties = false);

record::layer_check check_layer(const layer& l, const gradcheck_options& options);

/// The same at a given point, along random directions, in 100-digit arithmetic whatever the layer: for layers in the
/// midst of a network.
record::layer_check check_layer_at(const layer& l, const tensor_set<double>& point,
                                   const gradcheck_options& options);

/// Whether every differentiable input has some derivative that is not zero at the point of the check: a convolution
/// that only sees padding has none, and proves nothing.
bool has_derivatives(const layer& l, std::uint64_t seed);

/// As many entries of a sparse Jacobian are listed, and no more.
inline constexpr index_t most_sparse_entries = index_t{1} << 22;

/// The refusal of an explicit Jacobian over the budget: its size for each pair of tensors, its non-zeros, and
/// the implicit way to ask. Empty if it fits.
std::string refuse_jacobian(const layer& l, double budget_bytes);

/// The explicit Jacobian at a point, as text: the point, then one dense block for each pair of tensors.
std::string print_jacobian(const layer& l, const tensor_set<double>& point);

}  // namespace plumb
