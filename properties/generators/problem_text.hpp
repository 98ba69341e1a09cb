// How spaces write lists of an attribute: one number where all axes agree, one an axis, or one a side.
#pragma once

#include "reference/core/attributes.hpp"

namespace plumb {

/// Sets `key` unless every axis has the value `usual`.
inline void set_axes(problem& text, std::string_view key, std::span<const index_t> values, index_t usual) {
  if (std::ranges::all_of(values, [&](index_t v) { return v == usual; })) return;
  const bool equal = std::ranges::all_of(values, [&](index_t v) { return v == values[0]; });
  text.set(key, equal ? std::to_string(values[0]) : attribute::join(values, 'x'));
}

/// `sides` alternates before and after, axis by axis; nothing is set if all are 0.
inline void set_sides(problem& text, std::string_view key, std::span<const index_t> sides) {
  std::vector<index_t> before;
  bool symmetric = true;
  for (std::size_t i = 0; i < sides.size(); i += 2) {
    before.push_back(sides[i]);
    symmetric = symmetric && sides[i] == sides[i + 1];
  }
  if (symmetric)
    set_axes(text, key, before, 0);
  else
    text.set(key, attribute::join(sides, ','));
}

}  // namespace plumb
