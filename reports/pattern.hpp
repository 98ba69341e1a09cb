// Where the wrong elements lie, in words: a bug has a shape, and the shape names the loop that is wrong. The
// indices that occur along each axis are compared with the few sets that real bugs leave behind: a border (padding),
// a tail (the rest of a vector or tile), a stripe (a lane or a stride), a channel block (groups, blocking), a
// checkerboard (interleaving). A pattern is named only if it holds nearly all wrong elements and few right ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference/core/record.hpp"

namespace plumb::reports {

/// Cells of a tensor that were looked at, and which of them are wrong.
struct damage {
  std::vector<std::int64_t> extents;  ///< cells along each axis
  std::vector<std::int64_t> step;     ///< elements a cell covers along each axis
  std::vector<std::string> axes;      ///< index letters; may be empty
  std::vector<bool> wrong;            ///< row-major; may end early: the first cells only
};

/// `right border (q=14)`, `tail: last 3 columns (q=12…14)`, `channel block (k=4…7)`, `checkerboard`,
/// `scattered`, … Empty where nothing is wrong or too few cells were seen to tell.
std::string name_pattern(const damage& d);

/// Wrong is what is off by more than its bound, or no number.
std::string pattern_of(const record::heat_map& map);
/// Of `got`, a tensor of `c`: what is marked, and where bits were compared everything that is not as expected.
std::vector<bool> wrong_elements(const record::counterexample& c, const record::tensor_dump& got);
/// As recorded; else read off the failing case before it was shrunk (`heat` may be null), else off the
/// counterexample's own tensors.
std::string pattern_of(const record::counterexample& c, const record::heat_map* heat);

}  // namespace plumb::reports
