// One toy run: a read tensor x = 1, 2, 3, …, a written tensor y, and what came of them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// Where this test, its worker and its plugins lie.
inline std::string own_directory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

inline sandbox_options test_options(const std::vector<std::string>& plugins = {}) {
  sandbox_options options;
  options.worker = own_directory() + "/plumb-test-worker";
  for (const std::string& name : plugins) options.plugins.push_back(own_directory() + "/" + name + ".so");
  return options;
}

inline placed_tensor place_x(arena& a, index_t n, placement where = {}) {
  placed_tensor x = a.place_read("x", dtype::f32, shape{n}, shape{1}, where);
  for (index_t i = 0; i < n; ++i) x.here.view<float>()[i] = static_cast<float>(i + 1);
  return x;
}

inline placed_tensor place_y(arena& a, index_t n, poison fill = poison::nan, placement where = {}) {
  return a.place_written("y", dtype::f32, shape{n}, shape{1}, fill, where);
}

inline kernel_run toy_run(const std::string& kernel, const placed_tensor& x, const placed_tensor& y) {
  kernel_run run;
  run.kernel = "copy.forward/" + kernel;
  const std::string n = std::to_string(x.here.extents.size());
  run.resolved = "copy x=" + n + " y=" + n;
  run.canonical = "copy x=" + n;
  run.reads = {x};
  run.writes = {y};
  return run;
}

inline void expect_copied(const placed_tensor& y) {
  for (index_t i = 0; i < y.here.extents.size(); ++i)
    ASSERT_EQ(y.here.view<const float>()[i], static_cast<float>(i + 1)) << "element " << i;
}

}  // namespace plumb
