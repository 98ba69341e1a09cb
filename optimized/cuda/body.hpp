// The words in which a CUDA kernel's body is written, so that one source runs on a device and on the CPU.
//
// A body is a struct:
//     struct body {
//       struct arguments { … };                                     // plain data, passed by value
//       template <class Block> struct shared { … };                 // its shared memory, or empty
//       static constexpr int threads = 256;                         // of a block, always in one row
//       static constexpr bool barriers = true;                      // whether it calls block.barrier()
//       template <class Block>
//       PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a);
//     };
// `Block` says who runs it: block.thread(), block.number(), block.barrier(), and Block::array<T, N> for what lies in
// shared memory: array[i], and array.four(i, to) for four floats in one load, i a multiple of four;
// block.multiply<Words>() is a warp's product by tensor cores (tensor_tile.hpp). Bodies that say `warpgroups` have Hopper's
// words besides (device_hopper.cuh, host_async.hpp). On a device these are threadIdx.x,
// blockIdx.x, __syncthreads(), a plain array and mma.sync (device_launch.cuh); on the CPU every access to an array is
// watched (host_launch.hpp). Nothing of the standard library that costs compile time may be included here: nvcc reads
// this file for every kernel.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define PLUMB_DEVICE __device__ __forceinline__
#define PLUMB_UNROLL _Pragma("unroll")
#define PLUMB_NO_UNROLL _Pragma("unroll 1")
#elif defined(__clang__)
#define PLUMB_DEVICE inline
#define PLUMB_UNROLL _Pragma("unroll")
#define PLUMB_NO_UNROLL
#else
#define PLUMB_DEVICE inline
#define PLUMB_UNROLL _Pragma("GCC unroll 1")  // quick to compile; nobody times it
#define PLUMB_NO_UNROLL
#endif

namespace plumb::cuda {

/// Blocks in a row and threads in a block; a body reads more axes out of its block's number.
struct launch_shape {
  std::int64_t blocks = 0;
  int threads = 0;
};

/// Bugs that the tests plant into a body, to see that host execution finds them. Kernels that are registered are
/// instantiated with `none`, where every test of it is gone at compile time.
enum class plant {
  none,
  missing_barrier,
  wrong_stage,
  dropped_tail,
  unzeroed_sum,
  narrow_index,
  past_the_end,
  past_shared,
  lonely_barrier,
  early_release,     ///< a stage is given back while products read it
  no_wait,           ///< products begin before their operands are there
  wrong_parity,      ///< of the turn that is waited for
  wrong_descriptor,  ///< of a factor in shared memory
  wrong_count,       ///< of the bytes that copies will bring
};

/// ⌈a / b⌉ for a ≥ 0, b > 0.
template <class T>
constexpr T tiles(T a, T b) {
  return (a + b - 1) / b;
}

template <class T>
constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}

}  // namespace plumb::cuda
