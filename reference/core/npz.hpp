// NumPy's .npz files: zip archives of .npy files, as numpy.savez and numpy.savez_compressed write them. A library of its
// own, so that the installed contract does not need libzip.
#pragma once

#include <utility>
#include <vector>

#include "reference/core/npy.hpp"

namespace plumb {

/// Arrays by name, in the file's order.
using npz_arrays = std::vector<std::pair<std::string, npy_array>>;
/// Throws npy_error.
npz_arrays read_npz(const std::filesystem::path& path);
/// Throws report_error if the file cannot be written.
void write_npz(const std::filesystem::path& path, const npz_arrays& arrays);

}  // namespace plumb
