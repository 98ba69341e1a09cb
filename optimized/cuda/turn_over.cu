// turn_over.hpp for the device; it has no rows of its own.
#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"
#include "optimized/cuda/turn_over.hpp"

namespace plumb::cuda {
template struct device_code<turn_over<float, float>, turn_over<float, bf16_bits>,
                            turn_over<bf16_bits, float>>;
}  // namespace plumb::cuda
#endif
