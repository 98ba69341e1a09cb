// A product of two stored matrices as a Problem of matrix_tile.hpp: out[m,n] = bias[n] + Σ_k a[m,k]·b[k,n], every matrix
// with strides of its own. The sum may be cut into slices of k.
#pragma once

#include "optimized/cuda/matrix_tile.hpp"

namespace plumb::cuda {

struct dense_matrix {
  const float* data = nullptr;
  offset row = 0, column = 0;  ///< strides, in elements
};

struct dense_arguments {
  int rows = 0;
  offset columns = 0;
  int groups = 1, slices = 1;
  int terms = 0;
  dense_matrix a = {}, b = {};
  const float* bias = nullptr;  ///< along n, or null; only where there is one slice
  float* out = nullptr;         ///< row major
  float* parts = nullptr;       ///< [slice][m][n], where slices > 1
};

/// The two flags say whether a's neighbours in memory lie along k, and b's.
template <bool RowsAlongK, bool ColumnsAlongK>
struct dense_product {
  using arguments = dense_arguments;
  static constexpr bool rows_along_k = RowsAlongK, columns_along_k = ColumnsAlongK;
  struct row {
    const float* data;  ///< null: outside
  };
  using column = row;

  static PLUMB_DEVICE int first(const arguments& a, int slice) {
    return static_cast<int>(offset{a.terms} * slice / a.slices);
  }
  static PLUMB_DEVICE int depth(const arguments& a, int slice) {
    return first(a, slice + 1) - first(a, slice);
  }
  static PLUMB_DEVICE row row_at(const arguments& a, int, int slice, int m) {
    return {m < a.rows ? a.a.data + m * a.a.row + first(a, slice) * a.a.column : nullptr};
  }
  static PLUMB_DEVICE column column_at(const arguments& a, int, int slice, offset n) {
    return {n < a.columns ? a.b.data + n * a.b.column + first(a, slice) * a.b.row : nullptr};
  }
  static PLUMB_DEVICE float left(const arguments& a, const row& r, int k) {
    return r.data == nullptr ? 0.0F : r.data[k * a.a.column];
  }
  static PLUMB_DEVICE float right(const arguments& a, const column& c, int k) {
    return c.data == nullptr ? 0.0F : c.data[k * a.b.row];
  }
  static PLUMB_DEVICE out_column out_at(const arguments& a, int, int slice, offset n) {
    return {(a.slices > 1 ? a.parts + offset{slice} * a.rows * a.columns : a.out) + n, a.columns};
  }
  static PLUMB_DEVICE float with_bias(const arguments& a, int, int, offset n, float sum) {
    return a.bias != nullptr ? sum + a.bias[n] : sum;
  }
};

/// Where slice_sum puts its sums.
struct dense_out {
  float* data = nullptr;
  PLUMB_DEVICE float& operator[](offset i) const { return data[i]; }
};

}  // namespace plumb::cuda
