// Receptive fields: which cells of the image an output of a stack of sliding windows looks at.
//
//   r ← r + (k_eff - 1)·j      k_eff = d(k - 1) + 1, the span of the window
//   start ← start - p·j        p the padding before the first cell
//   j ← j·s                    j how far apart neighbouring outputs look
//
// from r = 1, start = 0, j = 1. Output o sees the cells start + o·j … start + o·j + r - 1, cut off at the image. For
// generic weights the non-zero pattern of ∂output/∂image has exactly this hull. Araujo, Norris & Sim 2019, "Computing
// receptive fields of convolutional neural networks".
#pragma once

#include <vector>

#include "reference/graph/graph.hpp"

namespace plumb {

/// Along one spatial axis.
struct receptive_field {
  index_t size = 1;
  index_t jump = 1;
  index_t start = 0;
  bool operator==(const receptive_field&) const = default;
};

/// One a spatial axis, of `value` (a source, or `node.output`) over `source`. Where branches meet, the hull of theirs.
/// Throws graph_error at a node that looks at everything, such as a fully connected one, or that does not slide.
std::vector<receptive_field> receptive_field_of(const computational_graph& g, const std::string& source,
                                                const std::string& value);

}  // namespace plumb
