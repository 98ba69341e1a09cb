// Tensors of more than 2^31 elements that take a few megabytes: one stretch of memory, mapped again and again. Element i
// holds a small integer that depends on i modulo the period alone, so both processes know every value.
#pragma once

#include "reference/core/dtype.hpp"
#include "verify/counter_random.hpp"

namespace plumb {

/// Whole pages of f32, and no divisor of a power of two: an index that lost its upper bits meets another value.
inline constexpr index_t huge_period = 1021 * 1024;
inline constexpr std::size_t huge_page_bytes = 4096;

/// Whole numbers from -16 to 16, so that the sums of the problems here are exact.
inline float huge_value(std::string_view tensor, index_t i) {
  const counter_random random(0x9e37, tensor);
  return static_cast<float>(random.below(static_cast<std::uint64_t>(i % huge_period), 33)) - 16;
}

}  // namespace plumb
