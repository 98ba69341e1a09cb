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
};

class device_block {
 public:
  template <class T, int N>
  using array = device_array<T, N>;
  __device__ __forceinline__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ std::int64_t number() const { return blockIdx.x; }
  __device__ __forceinline__ void barrier() { __syncthreads(); }
};

template <class Body>
__global__ void __launch_bounds__(Body::threads) entry(const __grid_constant__ typename Body::arguments a) {
  __shared__ alignas(16) unsigned char memory[sizeof(typename Body::template shared<device_block>)];
  device_block block;
  Body::run(block, *reinterpret_cast<typename Body::template shared<device_block>*>(memory), a);
}

template <class Body>
const char* launch_on_device(const launch_shape& shape, const typename Body::arguments& a, void* stream) {
  if (const char* const refusal = refuse(shape)) return refusal;
  if (shape.blocks == 0) return nullptr;
  (void)cudaGetLastError();
  entry<Body><<<static_cast<unsigned>(shape.blocks), static_cast<unsigned>(shape.threads), 0,
                static_cast<cudaStream_t>(stream)>>>(a);
  const cudaError_t status = cudaGetLastError();
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

}  // namespace plumb::cuda
