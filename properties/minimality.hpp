// Minimality, checked without trust in the shrinker: every case that differs from a counterexample in one
// extent, one number of one attribute, one optional tensor or one datum, lowered by one step. It works on the
// problem text alone and knows no family.
#pragma once

#include <vector>

#include "verify/case.hpp"

namespace plumb {

/// All legal cases one step below `c`; the counterexample is minimal if none of them fails.
///   extent     one less, never below 1; where the shapes then disagree, the other extents follow by as
///              little as makes them agree (x and weight lose a channel together)
///   attribute  a number above 0 one less; a word, a flag or a fraction back to its default
///   tensor     an optional one left out
///   datum      0; one nearer to 0; without its fraction; if its tensor may hold that
/// With given data an element keeps its coordinates, or those counted from the end of its axis.
std::vector<test_case> one_step_reductions(const test_case& c);

}  // namespace plumb
