// Data of a counterexample when the shapes around it change: every element keeps its coordinates, or moves
// with the end of its axis, so that either the last or the first slices of a shorter axis are dropped.
#pragma once

#include <vector>

#include "reference/layers/layer.hpp"
#include "verify/case.hpp"

namespace plumb {

/// The ways in which `data` of a problem `from` can be carried over to `to`: one for each choice of dropping
/// the last or the first slices of every axis that changed. Elements of tensors that `to` lacks are dropped;
/// indices beyond the new bound become the largest one.
std::vector<std::vector<datum>> carry_data(const std::vector<datum>& data, const layer& from,
                                           const layer& to);

/// Whether the tensor may hold that: an index within its bound, a real number of the tensor's domain. What is not finite is
/// held to be legal anywhere.
bool legal_datum(const layer& l, const datum& d);

}  // namespace plumb
