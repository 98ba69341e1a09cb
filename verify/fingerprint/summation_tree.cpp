#include "verify/fingerprint/summation_tree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

namespace plumb::fingerprint {
namespace {

using kind = tree_shape::kind;

/// Builds from the answers. A task is a set of terms that hang, in one piece or several, below one node.
class builder {
 public:
  builder(index_t terms, const meeting_sizes& measure) : terms_(terms), measure_(measure) {}

  std::optional<summation_tree> build() {
    std::vector<index_t> all;
    for (index_t i = 0; i < terms_; ++i) all.push_back(i);
    const int top = add_node();
    std::vector<task> open = {{std::move(all), top}};
    while (!open.empty()) open = round(std::move(open));
    if (!sound_ || tree_.at(top).children.size() != 1) return std::nullopt;
    tree_.root = tree_.at(top).children.front();
    if (!measure_up(tree_.root)) return std::nullopt;
    return std::move(tree_);
  }

 private:
  struct task {
    std::vector<index_t> terms;
    int parent;
  };

  int add_node() {
    tree_.nodes.emplace_back();
    wanted_.push_back(0);
    return static_cast<int>(tree_.nodes.size()) - 1;
  }
  int add_leaf(index_t term) {
    const int node = add_node();
    tree_.nodes.back().leaf = tree_.nodes.back().low = tree_.nodes.back().high = term;
    wanted_.back() = 1;
    return node;
  }
  void hang(int node, int parent) { tree_.nodes[static_cast<std::size_t>(parent)].children.push_back(node); }

  /// All open tasks measured at once: each term of a set against the one in its middle.
  std::vector<task> round(std::vector<task> open) {
    std::vector<std::pair<index_t, index_t>> pairs;
    for (const task& t : open) {
      const index_t pivot = t.terms[t.terms.size() / 2];
      for (const index_t j : t.terms)
        if (j != pivot) pairs.emplace_back(pivot, j);
    }
    const std::vector<index_t> sizes = pairs.empty() ? std::vector<index_t>() : measure_(pairs);
    std::vector<task> next;
    std::size_t at = 0;
    for (const task& t : open) {
      std::map<index_t, std::vector<index_t>> levels;
      const index_t pivot = t.terms[t.terms.size() / 2];
      for (const index_t j : t.terms)
        if (j != pivot) levels[sizes[at++]].push_back(j);
      climb(t, pivot, std::move(levels), next);
      if (!sound_) return {};
    }
    return next;
  }

  /// From the pivot upwards: at each level the terms that meet it there.
  void climb(const task& t, index_t pivot, std::map<index_t, std::vector<index_t>> levels,
             std::vector<task>& next) {
    int current = add_leaf(pivot);
    for (auto& [size, terms] : levels) {
      if (size < 2) sound_ = false;
      if (size > static_cast<index_t>(t.terms.size())) {  // a neighbour under the same parent
        push(next, std::move(terms), t.parent);
        continue;
      }
      const int node = add_node();
      wanted_.back() = size;
      hang(current, node);
      push(next, std::move(terms), node);
      current = node;
    }
    hang(current, t.parent);
  }
  void push(std::vector<task>& next, std::vector<index_t> terms, int parent) {
    if (terms.size() == 1)
      hang(add_leaf(terms.front()), parent);
    else
      next.push_back({std::move(terms), parent});
  }

  /// Sizes and heights from the bottom up; false if a size is not the one measured. Children come after their parents
  /// in no fixed order, so this walks with a stack of its own.
  bool measure_up(int root) {
    std::vector<std::pair<int, bool>> stack = {{root, false}};
    while (!stack.empty()) {
      const auto [node, done] = stack.back();
      stack.pop_back();
      if (tree_.at(node).children.empty()) continue;
      if (!done) {
        stack.emplace_back(node, true);
        for (const int child : tree_.at(node).children) stack.emplace_back(child, false);
        continue;
      }
      if (!add_up(node)) return false;
    }
    return true;
  }
  bool add_up(int node) {
    tree_node& n = tree_.nodes[static_cast<std::size_t>(node)];
    n.size = 0;
    n.low = terms_;
    for (const int child : n.children) {
      const tree_node& c = tree_.at(child);
      n.size += c.size;
      n.height = std::max(n.height, c.height + 1);
      n.low = std::min(n.low, c.low);
      n.high = std::max(n.high, c.high);
    }
    return n.size == wanted_[static_cast<std::size_t>(node)];
  }

  index_t terms_;
  const meeting_sizes& measure_;
  summation_tree tree_;
  std::vector<index_t> wanted_;  ///< size of each node as measured
  bool sound_ = true;
};

/// What hangs beside the way from a node down through the largest child: one list a level, from the top.
struct spine {
  std::vector<std::vector<int>> beside;
  std::vector<int> way;  ///< the nodes on it, the first is where it starts
};

spine spine_of(const summation_tree& tree, int node) {
  spine s;
  s.way.push_back(node);
  while (!tree.at(node).children.empty()) {
    const auto& children = tree.at(node).children;
    const int big = *std::ranges::max_element(
        children, {}, [&](int c) { return std::pair(tree.at(c).size, -tree.at(c).low); });
    std::vector<int> others;
    for (const int c : children)
      if (c != big) others.push_back(c);
    s.beside.push_back(std::move(others));
    node = big;
    s.way.push_back(node);
  }
  return s;
}

std::string in_words(const tree_shape& shape) {
  const char* const joined = shape.paired ? "joined pairwise" : "joined in turn";
  std::string text;
  if (shape.what == kind::pairwise)
    text = shape.block <= 3 ? "pairwise"
                            : fmt::format("pairwise over {} blocks of {}", shape.parts, shape.inside);
  else if (shape.what == kind::lanes)
    text = fmt::format("{} lanes of {}, {}", shape.parts, shape.inside, joined);
  else if (shape.what == kind::split)
    text = fmt::format("split in {} of {}, {}", shape.parts, shape.inside, joined);
  else
    text = fmt::format("{} blocks of {}, {}", shape.parts, shape.inside, joined);
  if (shape.tail > 0) text += fmt::format(", then {} more in turn", shape.tail);
  return text;
}

class describer {
 public:
  explicit describer(const summation_tree& tree) : tree_(tree) {}

  tree_shape of(int node) const {
    tree_shape shape;
    const spine s = spine_of(tree_, node);
    if (in_turn(s)) return sequential(node, s);
    std::size_t level = 0;  // single terms at the top of a tree that is no chain: a tail
    while (level < s.beside.size() && all_leaves(s.beside[level]))
      shape.tail += static_cast<index_t>(s.beside[level++].size());
    const int body = s.way[level];
    std::vector<int> parts = chained(body);
    if (parts.empty()) {
      shape.paired = true;
      gather(body, parts);
    }
    return name(shape, body, parts);
  }

 private:
  index_t size(int node) const { return tree_.at(node).size; }
  bool all_leaves(const std::vector<int>& list) const {
    return std::ranges::all_of(list, [&](int c) { return size(c) == 1; });
  }
  bool in_turn(const spine& s) const {
    return std::ranges::all_of(s.beside, [&](const auto& list) { return all_leaves(list); });
  }

  tree_shape sequential(int node, const spine& s) const {
    tree_shape shape;
    shape.what = kind::sequential;
    shape.block = size(node);
    for (const auto& list : s.beside) shape.fused = std::max(shape.fused, static_cast<index_t>(list.size()));
    // The first product of all is on the spine itself.
    shape.text = fmt::format("{} terms in turn", size(node));
    if (shape.fused > 1) shape.text += fmt::format(", {} at a time", shape.fused);
    return shape;
  }

  /// Parts of one size that are added one after the other, the first one first; the last may be shorter. Empty if the
  /// node is no such chain of at least three.
  std::vector<int> chained(int node) const {
    const spine s = spine_of(tree_, node);
    std::vector<int> parts;
    std::size_t level = 0;
    const index_t block = s.beside.size() > 1 && s.beside[1].size() == 1 ? size(s.beside[1][0]) : 0;
    // Parts as even as can be differ by one; between small parts that would take in balanced trees too.
    const auto fits = [&](index_t here) { return std::abs(here - block) <= (block >= 8 ? 1 : 0); };
    while (level < s.beside.size() && s.beside[level].size() == 1 && block > 1) {
      const index_t here = size(s.beside[level][0]);
      const bool last_and_shorter = level == 0 && here > 1 && here < block;
      if (!fits(here) && !last_and_shorter) break;
      if (size(s.way[level + 1]) + 1 < block) break;
      parts.push_back(s.beside[level++][0]);
    }
    if (parts.size() < 2 || !fits(size(s.way[level]))) return uneven(s);
    parts.push_back(s.way[level]);
    std::ranges::reverse(parts);
    return parts;
  }

  /// Stretches of any length, each added in turn and the first the longest: blocks whose rest was shared out.
  std::vector<int> uneven(const spine& s) const {
    constexpr index_t least = 8;
    std::vector<int> parts;
    std::size_t level = 0;
    const auto stretch = [&](int node) {
      return size(node) >= least && tree_.at(node).high - tree_.at(node).low + 1 == size(node) &&
             in_turn(spine_of(tree_, node));
    };
    while (level < s.beside.size() && s.beside[level].size() == 1 && stretch(s.beside[level][0]))
      parts.push_back(s.beside[level++][0]);
    if (parts.size() < 2 || !stretch(s.way[level])) return {};
    parts.push_back(s.way[level]);
    std::ranges::reverse(parts);
    return size(parts.front()) >= size(parts[1]) ? parts : std::vector<int>();
  }

  /// The parts of a balanced tree: its halves, their halves, … down to what is added in turn.
  void gather(int node, std::vector<int>& parts) const {
    const auto& children = tree_.at(node).children;
    const auto [least, most] = std::ranges::minmax(children.empty() ? std::vector<int>{node} : children, {},
                                                   [&](int c) { return size(c); });
    const bool balanced = children.size() > 1 && 2 * size(least) >= size(most);
    if (!balanced || in_turn(spine_of(tree_, node)) || !chained(node).empty())
      parts.push_back(node);
    else
      for (const int c : children) gather(c, parts);
  }

  tree_shape name(tree_shape shape, int body, const std::vector<int>& parts) const {
    shape.parts = static_cast<index_t>(parts.size());
    for (const int p : parts) shape.block = std::max(shape.block, size(p));
    const int first = *std::ranges::max_element(parts, {}, [&](int p) { return size(p); });
    if (parts.size() == 1) {
      shape.what = kind::irregular;
      shape.text =
          fmt::format("an irregular tree of {} terms, {} additions high", size(body), tree_.at(body).height);
      return shape;
    }
    const tree_shape inner = of(first);
    shape.fused = inner.fused;
    const bool contiguous =
        std::ranges::all_of(parts, [&](int p) { return tree_.at(p).high - tree_.at(p).low + 1 == size(p); });
    const bool even =
        std::ranges::all_of(parts, [&](int p) { return p == parts.back() || size(p) + 1 >= shape.block; });
    if (shape.block <= 3 && shape.paired)
      shape.what = kind::pairwise;
    else if (!even && contiguous)
      shape.what = kind::blocked;
    else if (!contiguous)
      shape.what = kind::lanes;
    else if (shape.paired && shape.parts > shape.block)
      shape.what = kind::pairwise;
    else
      shape.what = shape.parts <= 16 && shape.block > 2 * shape.parts ? kind::split : kind::blocked;
    shape.inside = (even ? "" : "up to ") + inner.text;
    shape.text = in_words(shape);
    return shape;
  }

  const summation_tree& tree_;
};

}  // namespace

index_t summation_tree::meeting(index_t i, index_t j) const {
  int node = root;
  const auto holds = [&](int n, index_t term) {  // walks only where the range allows it
    std::vector<int> stack = {n};
    while (!stack.empty()) {
      const tree_node& x = at(stack.back());
      stack.pop_back();
      if (x.leaf == term) return true;
      for (const int c : x.children)
        if (at(c).low <= term && term <= at(c).high) stack.push_back(c);
    }
    return false;
  };
  for (bool deeper = true; deeper;) {
    deeper = false;
    for (const int c : at(node).children)
      if (holds(c, i) && holds(c, j)) {
        node = c;
        deeper = true;
        break;
      }
  }
  return at(node).size;
}

index_t summation_tree::partner(index_t leaf) const {
  for (const tree_node& n : nodes) {
    const auto mine = std::ranges::find_if(n.children, [&](int c) { return at(c).leaf == leaf; });
    if (mine == n.children.end()) continue;
    for (const int c : n.children)
      if (c != *mine) return at(c).low;
  }
  return -1;
}

std::optional<summation_tree> build_tree(index_t terms, const meeting_sizes& measure) {
  return builder(terms, measure).build();
}

std::string_view name_of(tree_shape::kind k) {
  constexpr std::array<std::string_view, 6> names = {"sequential", "lanes", "blocked",
                                                     "pairwise",   "split", "irregular"};
  return names[static_cast<std::size_t>(k)];
}

tree_shape describe(const summation_tree& tree) { return describer(tree).of(tree.root); }

tree_shape told_apart(tree_shape shape, const tree_shape& other) {
  const bool either = shape.what == kind::blocked || shape.what == kind::split;
  if (!either || other.what == kind::lanes || other.what == kind::irregular) return shape;
  if (other.parts == shape.parts && other.block < shape.block) shape.what = kind::split;
  if (other.block == shape.block || other.what == kind::sequential) shape.what = kind::blocked;
  shape.text = in_words(shape);
  return shape;
}

}  // namespace plumb::fingerprint
