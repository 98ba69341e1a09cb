// Tensors: a non-owning strided view with mdspan's vocabulary (extent, stride, rank), and an owning row-major
// tensor. Strides count elements, may be negative or zero, and carry the layout: NCHW and NHWC are the same
// logical shape with different strides.
#pragma once

#include <type_traits>
#include <vector>

#include "reference/core/shape.hpp"

namespace plumb {

/// Strides of a dense row-major tensor.
inline shape row_major(const shape& extents) {
  shape strides = extents;
  index_t step = 1;
  for (int axis = extents.rank() - 1; axis >= 0; --axis) {
    strides[axis] = step;
    step *= extents[axis];
  }
  return strides;
}

/// Strides of a dense channels-last tensor (logical N,C,spatial…; memory N,spatial…,C). Rank < 3 is row
/// major.
inline shape channels_last(const shape& extents) {
  if (extents.rank() < 3) return row_major(extents);
  shape strides = extents;
  index_t step = extents[1];
  for (int axis = extents.rank() - 1; axis >= 2; --axis) {
    strides[axis] = step;
    step *= extents[axis];
  }
  strides[1] = 1;
  strides[0] = step;
  return strides;
}

template <class T>
class tensor_view {
 public:
  using element_type = T;

  constexpr tensor_view() = default;
  constexpr tensor_view(T* data, const shape& extents) : tensor_view(data, extents, row_major(extents)) {}
  constexpr tensor_view(T* data, const shape& extents, const shape& strides)
      : data_(data), extents_(extents), strides_(strides) {}
  /// A view of T is a view of const T.
  template <class U>
  requires(std::is_same_v<const U, T>) constexpr tensor_view(const tensor_view<U>& other)
      : tensor_view(other.data_handle(), other.extents(), other.strides()) {}

  constexpr T* data_handle() const { return data_; }
  constexpr int rank() const { return extents_.rank(); }
  constexpr index_t extent(int axis) const { return extents_[axis]; }
  constexpr index_t stride(int axis) const { return strides_[axis]; }
  constexpr const shape& extents() const { return extents_; }
  constexpr const shape& strides() const { return strides_; }
  constexpr index_t size() const { return extents_.size(); }

  /// Element by coordinates, one for each axis.
  template <class... I>
  requires(std::is_integral_v<I>&&...) constexpr T& operator()(I... at) const {
    assert(sizeof...(I) == static_cast<std::size_t>(rank()));
    int axis = 0;
    index_t offset = 0;
    ((offset += static_cast<index_t>(at) * strides_[axis++]), ...);
    return data_[offset];
  }
  /// Element by a list of coordinates, for code generic in the rank.
  constexpr T& operator()(const shape& at) const {
    index_t offset = 0;
    for (int axis = 0; axis < rank(); ++axis) offset += at[axis] * strides_[axis];
    return data_[offset];
  }
  /// Element by row-major number, whatever the strides.
  constexpr T& operator[](index_t flat) const {
    index_t offset = 0;
    for (int axis = rank() - 1; axis >= 0; --axis) {
      offset += flat % extents_[axis] * strides_[axis];
      flat /= extents_[axis];
    }
    return data_[offset];
  }

 private:
  T* data_ = nullptr;
  shape extents_;
  shape strides_;
};

/// Calls `f` with the coordinates of every element in row-major order.
template <class F>
void for_each_index(const shape& extents, F&& f) {
  const index_t count = extents.size();
  shape at = extents;
  for (int axis = 0; axis < extents.rank(); ++axis) at[axis] = 0;
  for (index_t i = 0; i < count; ++i) {
    f(static_cast<const shape&>(at));
    for (int axis = extents.rank() - 1; axis >= 0 && ++at[axis] == extents[axis]; --axis) at[axis] = 0;
  }
}

/// Owning, dense, row major.
template <class T>
class tensor {
 public:
  tensor() : tensor(shape{0}) {}
  explicit tensor(const shape& extents, const T& value = T())
      : values_(static_cast<std::size_t>(extents.size()), value), extents_(extents) {}
  tensor(const shape& extents, std::vector<T> values) : values_(std::move(values)), extents_(extents) {
    assert(static_cast<index_t>(values_.size()) == extents.size());
  }

  const shape& extents() const { return extents_; }
  index_t size() const { return static_cast<index_t>(values_.size()); }
  T* data() { return values_.data(); }
  const T* data() const { return values_.data(); }
  T& operator[](index_t flat) { return values_[static_cast<std::size_t>(flat)]; }
  const T& operator[](index_t flat) const { return values_[static_cast<std::size_t>(flat)]; }
  tensor_view<T> view() { return {values_.data(), extents_}; }
  tensor_view<const T> view() const { return {values_.data(), extents_}; }
  std::vector<T>& values() { return values_; }
  const std::vector<T>& values() const { return values_; }

 private:
  std::vector<T> values_;
  shape extents_;
};

}  // namespace plumb
