// timing.hpp's device in earnest: events on the device's stream, a spinning kernel that holds the queue, memory twice as
// large as the L2 cache to flush it with, and the driver's management library, opened at run time, for throttling.
#include "optimized/cuda/device_timing.hpp"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <chrono>

namespace plumb::cuda {
namespace {

/// Spins until the host has raised the flag, or for `limit` nanoseconds; then leaves 2 in it.
__global__ void spin(volatile int* flag, unsigned long long limit) {
  unsigned long long start = 0, now = 0;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  while (*flag == 0) {
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    if (now - start > limit) {
      *flag = 2;
      return;
    }
  }
}

/// NVML's two functions that are asked for, or nothing where the library is missing: then nothing throttles.
class management {
 public:
  management() {
    void* const library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    const auto init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
    const auto handle =
        reinterpret_cast<int (*)(const char*, void**)>(dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
    reasons_ = reinterpret_cast<int (*)(void*, unsigned long long*)>(
        dlsym(library, "nvmlDeviceGetCurrentClocksThrottleReasons"));
    char bus[32] = {};
    if (init == nullptr || handle == nullptr || init() != 0 ||
        cudaDeviceGetPCIBusId(bus, sizeof bus, 0) != cudaSuccess || handle(bus, &device_) != 0)
      reasons_ = nullptr;
  }
  bool throttled() const {
    constexpr unsigned long long slowdowns =
        0x8 | 0x20 | 0x40 | 0x80;  // hardware, thermal (both), power brake
    unsigned long long now = 0;
    return reasons_ != nullptr && reasons_(device_, &now) == 0 && (now & slowdowns) != 0;
  }

 private:
  int (*reasons_)(void*, unsigned long long*) = nullptr;
  void* device_ = nullptr;
};

class device_stopwatch final : public timing_device {
 public:
  explicit device_stopwatch(cudaStream_t stream) : stream_(stream) {
    void *here = nullptr, *there = nullptr;
    cudaHostAlloc(&here, sizeof *flag_, cudaHostAllocMapped);
    cudaHostGetDevicePointer(&there, here, 0);
    flag_ = static_cast<volatile int*>(here);
    flag_there_ = static_cast<volatile int*>(there);
    cudaEventCreate(&start_);
    cudaEventCreate(&stop_);
    int cache = 0;
    cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, 0);
    flush_bytes_ = 2 * static_cast<std::size_t>(cache);
    cudaMalloc(&flush_, flush_bytes_);
  }
  ~device_stopwatch() override {
    cudaFree(flush_);
    cudaEventDestroy(start_);
    cudaEventDestroy(stop_);
    cudaFreeHost(const_cast<int*>(flag_));
  }
  card about() override {
    cudaDeviceProp properties = {};
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) return {};
    int kilohertz = 0, memory_kilohertz = 0;
    cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0);
    cudaDeviceGetAttribute(&memory_kilohertz, cudaDevAttrMemoryClockRate, 0);
    constexpr double transfers_a_cycle = 2;
    return {properties.name, 10 * properties.major + properties.minor, properties.multiProcessorCount,
            1e3 * kilohertz, transfers_a_cycle * 1e3 * memory_kilohertz * properties.memoryBusWidth / 8};
  }
  void hold() override {
    constexpr unsigned long long one_second = 1'000'000'000;
    *flag_ = 0;
    spin<<<1, 1, 0, stream_>>>(flag_there_, one_second);
  }
  bool release() override {
    if (*flag_ == 2) return false;
    *flag_ = 1;
    return true;
  }
  void mark_start() override { cudaEventRecord(start_, stream_); }
  void mark_stop() override { cudaEventRecord(stop_, stream_); }
  double marked_seconds() override {
    float milliseconds = 0;
    return cudaEventElapsedTime(&milliseconds, start_, stop_) == cudaSuccess ? 1e-3 * milliseconds : -1;
  }
  std::string finish() override {
    const cudaError_t status = cudaDeviceSynchronize();
    return status == cudaSuccess ? std::string() : std::string(cudaGetErrorString(status));
  }
  void flush_cache() override {
    cudaCtxResetPersistingL2Cache();
    cudaMemsetAsync(flush_, static_cast<int>(++flushes_ & 0xff), flush_bytes_, stream_);
  }
  double host_seconds() override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  bool throttled() override { return management_.throttled(); }

 private:
  cudaStream_t stream_;
  volatile int* flag_ = nullptr;
  volatile int* flag_there_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
  void* flush_ = nullptr;
  std::size_t flush_bytes_ = 0;
  unsigned flushes_ = 0;
  management management_;
};

}  // namespace

std::unique_ptr<timing_device> make_stopwatch(device& on) {
  return std::make_unique<device_stopwatch>(static_cast<cudaStream_t>(on.stream()));
}

}  // namespace plumb::cuda

#elif !PLUMB_HAS_CUDA

namespace plumb::cuda {

std::unique_ptr<timing_device> make_stopwatch(device& /*on*/) { return nullptr; }

}  // namespace plumb::cuda

#endif
