// Launching a body on a device. Included by the kernels' sources when nvcc compiles them, and by nothing else.
#pragma once

#include <cuda_runtime.h>

#include "optimized/cuda/body.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

template <class T, int N>
struct device_array {
  T values[N];
  __device__ __forceinline__ T& operator[](int i) { return values[i]; }
  __device__ __forceinline__ void four(int i, T* to) const {
    static_assert(sizeof(T) == 4);
    const float4 v = *reinterpret_cast<const float4*>(&values[i]);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  }
};

class device_block {
 public:
  template <class T, int N>
  using array = device_array<T, N>;
  __device__ __forceinline__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ std::int64_t number() const { return blockIdx.x; }
  __device__ __forceinline__ void barrier() { __syncthreads(); }
  template <class Words>
  __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Words::multiply(c, a, b);
  }
};

/// Who runs a body; another one in device_hopper.cuh.
template <class Body>
struct runner {
  using block = device_block;
};

/// Shared memory beyond this is asked for at the launch, and begins where the block says.
constexpr int static_shared_bytes = 48 << 10, shared_boundary = 1024;

template <class Body>
__global__ void __launch_bounds__(Body::threads) entry(const __grid_constant__ typename Body::arguments a) {
  using block_type = typename runner<Body>::block;
  using shared = typename Body::template shared<block_type>;
  block_type block;
  if constexpr (sizeof(shared) <= static_shared_bytes) {
    __shared__ alignas(16) unsigned char memory[sizeof(shared)];
    Body::run(block, *reinterpret_cast<shared*>(memory), a);
  } else {
    extern __shared__ unsigned char asked_for[];
    const auto first = reinterpret_cast<std::uintptr_t>(asked_for) + shared_boundary - 1;
    Body::run(block, *reinterpret_cast<shared*>(first / shared_boundary * shared_boundary), a);
  }
}

template <class Body>
const char* launch_on_device(const launch_shape& shape, const typename Body::arguments& a, void* stream) {
  if (const char* const refusal = refuse(shape)) return refusal;
  if (shape.blocks == 0) return nullptr;
  (void)cudaGetLastError();
  using shared = typename Body::template shared<typename runner<Body>::block>;
  constexpr int asked_for = sizeof(shared) <= static_shared_bytes ? 0 : sizeof(shared) + shared_boundary;
  if (asked_for > 0)
    cudaFuncSetAttribute(entry<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize, asked_for);
  entry<Body><<<static_cast<unsigned>(shape.blocks), static_cast<unsigned>(shape.threads), asked_for,
                static_cast<cudaStream_t>(stream)>>>(a);
  const cudaError_t status = cudaGetLastError();
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

/// `template struct device_code<body, …>;` makes nvcc compile the bodies and their launches.
template <class... Bodies>
struct device_code {
  static const void* const launches[];
};
template <class... Bodies>
const void* const device_code<Bodies...>::launches[] = {
    reinterpret_cast<const void*>(&launch_on_device<Bodies>)...};

}  // namespace plumb::cuda
