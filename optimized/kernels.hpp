// The one door to the kernels: registers every row of kernels.list. The functions are generated from that file.
#pragma once

#include "reference/core/registry.hpp"

namespace plumb {

void register_all_kernels(registry& kernels);
/// Those of devices and of host execution only; among all of them already.
void register_cuda_kernels(registry& kernels);

}  // namespace plumb
