// The kernels of plumb-fault-worker: specimens in place of the kernels of optimized/, so that no other command ever
// sees them.
#include "properties/faults/specimens.hpp"

namespace plumb {

void register_all_kernels(registry& kernels) {
  faults::register_conv(kernels);
  faults::register_dense(kernels);
  faults::register_pools(kernels);
  faults::register_norms(kernels);
  faults::register_losses(kernels);
  faults::register_activations(kernels);
  faults::register_resampling(kernels);
  faults::register_cuda(kernels);
  faults::register_hopper(kernels);
}

}  // namespace plumb
