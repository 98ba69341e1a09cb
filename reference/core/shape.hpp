// Shapes: the logical extents of a tensor, outermost first (N, C, [D,] H, W), printed as `16x64x56x56`.
// A shape of rank 0 is a scalar with one element; an extent of 0 is legal and means no elements.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>

#include "reference/core/dtype.hpp"

namespace plumb {

/// A rule of shapes is broken: names the axis, the numbers and the rule.
class shape_error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

class shape {
 public:
  static constexpr int max_rank = 8;

  constexpr shape() = default;
  constexpr shape(std::initializer_list<index_t> extents)
      : shape(std::span<const index_t>(extents.begin(), extents.size())) {}
  constexpr explicit shape(std::span<const index_t> extents) : rank_(static_cast<int>(extents.size())) {
    assert(extents.size() <= max_rank);
    std::copy(extents.begin(), extents.end(), extents_.begin());
  }

  constexpr int rank() const { return rank_; }
  constexpr index_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  constexpr index_t& operator[](int axis) { return extents_[static_cast<std::size_t>(axis)]; }
  constexpr std::span<const index_t> extents() const {
    return {extents_.data(), static_cast<std::size_t>(rank_)};
  }
  constexpr const index_t* begin() const { return extents_.data(); }
  constexpr const index_t* end() const { return extents_.data() + rank_; }

  /// Number of elements (1 for rank 0).
  constexpr index_t size() const {
    index_t product = 1;
    for (const index_t extent : extents()) product *= extent;
    return product;
  }

  constexpr void push_back(index_t extent) {
    assert(rank_ < max_rank);
    extents_[static_cast<std::size_t>(rank_++)] = extent;
  }

  friend constexpr bool operator==(const shape& a, const shape& b) {
    return std::ranges::equal(a.extents(), b.extents());
  }

 private:
  std::array<index_t, max_rank> extents_{};
  int rank_ = 0;
};

/// `16x64x56x56`; a scalar prints as `1`.
inline std::string to_string(const shape& s) {
  if (s.rank() == 0) return "1";
  std::string text;
  for (const index_t extent : s) text.append(text.empty() ? "" : "x").append(std::to_string(extent));
  return text;
}

/// Coordinates of the element with row-major number `flat`.
inline shape unflatten(index_t flat, const shape& s) {
  shape at = s;
  for (int axis = s.rank() - 1; axis >= 0; --axis) {
    at[axis] = flat % s[axis];
    flat /= s[axis];
  }
  return at;
}

/// `[n=0 c=2 h=5 w=1]`-style text is the caller's; this is the bare `0,2,5,1`.
inline std::string coordinates(index_t flat, const shape& s) {
  std::string text;
  for (const index_t i : unflatten(flat, s)) text.append(text.empty() ? "" : ",").append(std::to_string(i));
  return text;
}

}  // namespace plumb
