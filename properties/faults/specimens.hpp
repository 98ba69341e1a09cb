// Every family of specimens registers its kernels through one function; register_all_kernels() calls them all.
#pragma once

#include "properties/faults/specimen.hpp"

namespace plumb::faults {

void register_conv(registry& kernels);
void register_dense(registry& kernels);
void register_pools(registry& kernels);
void register_norms(registry& kernels);
void register_losses(registry& kernels);
void register_activations(registry& kernels);
void register_resampling(registry& kernels);
void register_cuda(registry& kernels);
void register_hopper(registry& kernels);

}  // namespace plumb::faults
