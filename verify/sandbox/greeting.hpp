// The worker's first words: the kernels it has, or why a plugin could not be loaded.
#pragma once

#include <string>
#include <vector>

#include "verify/sandbox/kernel_info.hpp"

namespace plumb {

struct greeting {
  std::vector<kernel_info> kernels;
  std::string error;  ///< empty, or one sentence about a plugin
  int exit_code = 0;
};

/// JSON text and back; `decode_greeting` throws std::exception on text that `encode` did not write.
std::string encode(const greeting& hello);
greeting decode_greeting(const std::string& text);

}  // namespace plumb
