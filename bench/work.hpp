// The work in one call of a pass, from the layer's own declarations: operations of the textbook algorithm and
// bytes that must cross at least once. A kernel that needs fewer operations (Winograd) gains speed by it, so
// its GFLOP/s are algorithmic, not what its units did.
#pragma once

#include "reference/layers/layer.hpp"

namespace plumb::bench {

/// Products in the sums that the pass writes; terms in the padding are none. Counted from the layer's product lists,
/// element by element. Above 2^16 elements the number of terms of an element is taken for a product of one factor an
/// axis, as it is where a layer slides, sums or contracts, and lines of elements through one point determine all; if
/// random elements contradict, everything is counted. 0 for passes that are no contraction.
double count_products(const layer& l, const pass_spec& pass);

/// 2·products: a multiplication and an addition each.
inline double operations(const layer& l, const pass_spec& pass) { return 2 * count_products(l, pass); }

/// Every tensor that the pass reads or writes, once, with real elements of `type`.
double compulsory_bytes(const layer& l, const pass_spec& pass, dtype type);

}  // namespace plumb::bench
