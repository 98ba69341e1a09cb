// The first CUDA device, through the runtime that is linked statically; and what stands in its place without nvcc.
// The runtime is not asked about devices where the driver is missing, so that starting costs nothing there.
#include "optimized/cuda/device.hpp"

#ifdef __CUDACC__
#include <cuda_runtime.h>

namespace plumb::cuda {
namespace {

std::string text_of(cudaError_t status) {
  return status == cudaSuccess ? std::string() : std::string(cudaGetErrorString(status));
}

class cuda_device final : public device {
 public:
  std::string open() {
    if (const cudaError_t status = cudaSetDevice(0); status != cudaSuccess) return text_of(status);
    return text_of(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  void* allocate(std::size_t bytes, std::string& error) override {
    void* at = nullptr;
    error = text_of(cudaMalloc(&at, bytes));
    return error.empty() ? at : nullptr;
  }
  void release(void* at) override { cudaFree(at); }
  std::string fill(void* at, unsigned char value, std::size_t bytes) override {
    return both(cudaMemsetAsync(at, value, bytes, stream_));
  }
  std::string upload(void* to, const void* from, std::size_t bytes) override {
    return both(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
  }
  std::string download(void* to, const void* from, std::size_t bytes) override {
    return both(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
  }
  std::string finish() override { return text_of(cudaDeviceSynchronize()); }
  void* stream() override { return stream_; }

 private:
  std::string both(cudaError_t asked) {
    const cudaError_t done = cudaStreamSynchronize(stream_);
    return text_of(asked != cudaSuccess ? asked : done);
  }
  cudaStream_t stream_ = nullptr;
};

}  // namespace

device* first_device(std::string& why) {
  static std::string reason;
  static const std::unique_ptr<cuda_device> only = [] {
    int count = 0;
    std::unique_ptr<cuda_device> d;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
      reason = "no CUDA device";
      return d;
    }
    d = std::make_unique<cuda_device>();
    reason = d->open();
    if (!reason.empty()) d.reset();
    return d;
  }();
  why = reason;
  return only.get();
}

}  // namespace plumb::cuda

#elif !PLUMB_HAS_CUDA

namespace plumb::cuda {

device* first_device(std::string& why) {
  why = "built without CUDA";
  return nullptr;
}

}  // namespace plumb::cuda

#endif
