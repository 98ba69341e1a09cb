// What a kernel declares about itself, without its code: descriptors as they cross from the worker, where
// kernels live, to the judging process, which never links them.
#pragma once

#include <string>
#include <vector>

#include "reference/core/kernel.hpp"

namespace plumb {

struct kernel_info {
  std::string name, layer, pass;
  std::vector<dtype> types;
  std::vector<plumb::layout> layouts;
  std::string device, arithmetic;
  plumb::accuracy accuracy;
  plumb::determinism determinism = determinism::none;
  bool any_strides = false;
  bool peer = false;
  std::string unavailable;     ///< not empty: why it cannot run here
  std::string plugin;          ///< path of the shared library it came from; empty: built in
  std::string floating_point;  ///< not empty: how loading that library changed the floating-point environment
};

kernel_info describe(const kernel& k);

}  // namespace plumb
