// What a device launch looks like from outside: declared here for every translation unit, defined in
// device_launch.cuh, instantiated for each body where nvcc compiles the body's file.
#pragma once

#include "optimized/cuda/body.hpp"

namespace plumb::cuda {

constexpr std::int64_t most_blocks = 2147483647;  ///< of a grid's first axis
constexpr int most_threads = 1024;

/// Why a launch of this shape cannot be, or null. No blocks are legal: then there is nothing to do.
constexpr const char* refuse(const launch_shape& shape) {
  if (shape.blocks < 0 || shape.blocks > most_blocks) return "needs more blocks than a grid has (2147483647)";
  if (shape.threads < 1 || shape.threads > most_threads) return "a block has 1 to 1024 threads";
  return nullptr;
}

/// Starts the body on the stream; null, or what the runtime complains about. The body runs later: what it does wrong
/// is told by the synchronisation that follows.
template <class Body>
const char* launch_on_device(const launch_shape& shape, const typename Body::arguments& a, void* stream);

}  // namespace plumb::cuda
