// In which order a machine adds: the tree of its partial sums, found without looking inside.
//
// Put M on one term, -M on another and 1 on all others, M so large that M + n == M: every unit that is added to a
// partial sum holding M or -M before the two meet is lost. What is missing from the answer is the number of terms
// under the place where the two meet, and these numbers for enough pairs are the whole tree, as common ancestors'
// depths are a phylogeny. Xie, Gao & Yang 2025, "FPRev: revealing the order of floating-point summation".
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "reference/core/dtype.hpp"

namespace plumb::fingerprint {

/// A node adds its children in one rounding; a leaf is one term. More than two children: fused in one step.
struct tree_node {
  std::vector<int> children = {};
  index_t leaf = -1;  ///< number of the term, or -1
  index_t size = 1;   ///< terms under it
  int height = 0;     ///< additions on the longest way down
  index_t low = 0;    ///< smallest and
  index_t high = 0;   ///< largest number of a term under it
};

struct summation_tree {
  std::vector<tree_node> nodes;
  int root = -1;
  const tree_node& at(int node) const { return nodes[static_cast<std::size_t>(node)]; }
  index_t size() const { return at(root).size; }
  int height() const { return at(root).height; }
  /// Terms under the lowest node that holds both.
  index_t meeting(index_t i, index_t j) const;
  /// Some term that is in the partial sum to which term `leaf` is added; -1 if there is none.
  index_t partner(index_t leaf) const;
};

/// Terms under the place where the two terms of each pair meet; 0 where the machine gave no sensible answer.
using meeting_sizes = std::function<std::vector<index_t>(std::span<const std::pair<index_t, index_t>>)>;

/// The tree over `terms` ≥ 1 terms, or nothing if the answers fit no tree.
std::optional<summation_tree> build_tree(index_t terms, const meeting_sizes& measure);

/// A tree in words.
struct tree_shape {
  enum class kind { sequential, lanes, blocked, pairwise, split, irregular };
  kind what = kind::irregular;
  index_t parts = 1;    ///< lanes, blocks or parts of a split
  index_t block = 0;    ///< terms in the largest of them
  index_t tail = 0;     ///< terms added one by one after all the others
  index_t fused = 1;    ///< most products that are added in one rounding
  bool paired = false;  ///< the parts are added in a balanced tree, else one after the other
  std::string inside;   ///< one part in words: `54 terms in turn`
  std::string text;     ///< all of it: `16 lanes of 54 terms in turn, joined pairwise`
};
tree_shape describe(const summation_tree& tree);
std::string_view name_of(tree_shape::kind k);

/// Contiguous parts are blocks if their size stays and a split if their number stays when the sum gets longer: `shape`
/// told apart with the help of `other`, the shape of the same kernel's shorter sum.
tree_shape told_apart(tree_shape shape, const tree_shape& other);

}  // namespace plumb::fingerprint
