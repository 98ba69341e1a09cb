// NumPy's .npy files (format versions 1 to 3), the tensors of `plumb eval` and `plumb judge`: little-endian
// f4, f8, f2, i4 and i8, in C or Fortran order. Writing is f4, f8 or i8 in C order, format version 1. Source
// of the format: numpy.lib.format, NEP 1.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include "reference/core/tensor_view.hpp"

namespace plumb {

/// One sentence that names the file and what is wrong with it (exit code 2).
class npy_error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

struct npy_array {
  dtype type = dtype::f32;  ///< of the file
  tensor<double> real;      ///< f16, f32 and f64 files
  tensor<index_t> index;    ///< integer files
  bool is_index() const { return type == dtype::i64; }
  const shape& extents() const { return is_index() ? index.extents() : real.extents(); }
};

/// Throws npy_error.
npy_array read_npy(const std::filesystem::path& path);

/// `type` is f32, f64 (from `real`) or i64 (from `index`). Throws report_error if the file cannot be written.
void write_npy(const std::filesystem::path& path, const npy_array& array);

/// The bytes of such a file; `name` is what the sentence of an npy_error calls them.
npy_array decode_npy(std::string_view bytes, const std::string& name);
std::string encode_npy(const npy_array& array);

}  // namespace plumb
