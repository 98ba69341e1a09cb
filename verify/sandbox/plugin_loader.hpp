// Plugins: loads a shared library with Plumb's C ABI (plumb/abi.h) and adds its kernels to the registry.
// Runs in the worker only; whatever the library does while it is loaded happens there.
#pragma once

#include <string>

#include "reference/core/registry.hpp"

namespace plumb {

struct plugin_outcome {
  std::string error;  ///< empty, or one sentence that names the file and what was expected
  int exit_code = 0;  ///< with an error: 2 missing or malformed, 3 another ABI version
  std::string
      floating_point;  ///< not empty: how loading changed the floating-point environment, which is restored
};

plugin_outcome load_plugin(const std::string& path, registry& kernels);

}  // namespace plumb
