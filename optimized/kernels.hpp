// The one door to the kernels: registers every row of kernels.list. The function is generated from that file.
#pragma once

#include "reference/core/registry.hpp"

namespace plumb {

void register_all_kernels(registry& kernels);

}  // namespace plumb
