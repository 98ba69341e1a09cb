// Floats on a cache line of their own: where plans keep packed weights.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "reference/core/dtype.hpp"

namespace plumb {

class aligned_buffer {
 public:
  static constexpr index_t line = 64 / sizeof(float);  ///< floats in a cache line

  aligned_buffer() = default;
  explicit aligned_buffer(index_t count)
      : data_(static_cast<float*>(
            std::aligned_alloc(64, static_cast<std::size_t>(padded(count)) * sizeof(float)))) {
    if (!data_) throw std::bad_alloc();
  }
  float* data() const { return data_.get(); }

  /// `count` rounded up to whole cache lines, at least one.
  static constexpr index_t padded(index_t count) { return (count / line + 1) * line; }

 private:
  struct release {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, release> data_;
};

}  // namespace plumb
