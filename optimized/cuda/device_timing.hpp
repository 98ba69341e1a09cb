// The stopwatch of a real device, see timing.hpp.
#pragma once

#include <memory>

#include "optimized/cuda/device.hpp"
#include "optimized/cuda/timing.hpp"

namespace plumb::cuda {

/// On the device's stream; null in a build without CUDA.
std::unique_ptr<timing_device> make_stopwatch(device& on);

}  // namespace plumb::cuda
