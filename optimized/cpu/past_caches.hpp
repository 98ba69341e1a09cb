// When to write past the caches: a large result would only push out of them what is still wanted, and each of its
// lines would be fetched before it is overwritten, a third of the traffic of y = f(x).
#pragma once

#include <cstdint>

#include "reference/core/dtype.hpp"

namespace plumb {

/// `count` floats from `out` are more than the second caches hold, and begin on a cache line as streaming stores need.
inline bool goes_past_caches(const float* out, index_t count) {
  return count >= (index_t{2} << 20) && reinterpret_cast<std::uintptr_t>(out) % 64 == 0;
}

}  // namespace plumb
