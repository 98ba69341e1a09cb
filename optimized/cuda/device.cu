// The first CUDA device, through the runtime that is linked statically; and what stands in its place without nvcc.
// The runtime is not asked about devices where the driver is missing, so that starting costs nothing there.
#include "optimized/cuda/device.hpp"

#ifdef __CUDACC__
#include <cuda.h>
#include <cuda_runtime.h>

namespace plumb::cuda {
namespace {

std::string text_of(cudaError_t status) {
  return status == cudaSuccess ? std::string() : std::string(cudaGetErrorString(status));
}

constexpr int soiled_words = 224;  ///< registers of a thread
constexpr int soil_threads = 256;  ///< a block of them has nearly all registers of a multiprocessor

/// Every thread holds the pattern in all its registers at once, and every block in all its shared memory.
__global__ void __launch_bounds__(soil_threads) soil_block(unsigned pattern, int words, unsigned* never) {
  extern __shared__ unsigned memory[];
  for (int i = static_cast<int>(threadIdx.x); i < words; i += soil_threads)
    *const_cast<volatile unsigned*>(&memory[i]) = pattern;
  unsigned held[soiled_words], sum = 0;
#pragma unroll
  for (unsigned& word : held) asm volatile("mov.u32 %0, %1;" : "=r"(word) : "r"(pattern));
#pragma unroll
  for (const unsigned& word : held) asm volatile("add.u32 %0, %0, %1;" : "+r"(sum) : "r"(word));
  if (never != nullptr) *never = sum;
}

/// Sits on a multiprocessor: it asks for all the shared memory there is.
__global__ void sit(unsigned long long nanoseconds) {
  unsigned long long start = 0, now = 0;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  while (now - start < nanoseconds);
}

class cuda_device final : public device {
 public:
  std::string open() {
    cudaError_t status = cudaSetDevice(0);
    for (cudaStream_t* s : {&stream_, &beside_})
      if (status == cudaSuccess) status = cudaStreamCreateWithFlags(s, cudaStreamNonBlocking);
    cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, 0);
    cudaDeviceGetAttribute(&shared_bytes_, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    for (const void* const kernel :
         {reinterpret_cast<const void*>(soil_block), reinterpret_cast<const void*>(sit)})
      if (status == cudaSuccess)
        status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes_);
    return text_of(status);
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
  std::string soil(unsigned pattern) override {
    soil_block<<<static_cast<unsigned>(multiprocessors_), soil_threads,
                 static_cast<std::size_t>(shared_bytes_), stream_>>>(pattern, shared_bytes_ / 4, nullptr);
    return text_of(cudaGetLastError());
  }
  std::string crowd(int eighths) override {
    constexpr unsigned long long a_while = 200'000;
    const int taken = multiprocessors_ * eighths / 8;
    if (taken > 0)
      sit<<<static_cast<unsigned>(taken), 1, static_cast<std::size_t>(shared_bytes_), beside_>>>(a_while);
    return text_of(cudaGetLastError());
  }
  int capability() override {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    return 10 * major + minor;
  }

 private:
  std::string both(cudaError_t asked) {
    const cudaError_t done = cudaStreamSynchronize(stream_);
    return text_of(asked != cudaSuccess ? asked : done);
  }
  cudaStream_t stream_ = nullptr, beside_ = nullptr;
  int multiprocessors_ = 0, shared_bytes_ = 0;
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

namespace {

/// The driver is not linked; the runtime knows where its functions are.
template <class F>
F* driver_function(const char* name) {
  void* at = nullptr;
  cudaDriverEntryPointQueryResult found = {};
  const cudaError_t status = cudaGetDriverEntryPointByVersion(name, &at, 12000, cudaEnableDefault, &found);
  return status == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<F*>(at) : nullptr;
}

}  // namespace

std::string describe(const copied_tensor& t, tensor_map& to) {
  static auto* const box = driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  static auto* const pixels = driver_function<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  if (box == nullptr || pixels == nullptr) return "the driver has no function that describes tensors to it";
  static_assert(sizeof(CUtensorMap) == sizeof(tensor_map) && alignof(CUtensorMap) <= alignof(tensor_map));
  cuuint64_t extents[4], strides[3];
  cuuint32_t extent_of_box[4], steps[4] = {1, 1, 1, 1};
  for (int axis = 0; axis < t.rank; ++axis) {
    extents[axis] = static_cast<cuuint64_t>(t.extents[axis]);
    extent_of_box[axis] = static_cast<cuuint32_t>(t.box[axis]);
    if (axis > 0) strides[axis - 1] = static_cast<cuuint64_t>(t.strides[axis]);
  }
  auto* const map = reinterpret_cast<CUtensorMap*>(&to);
  void* const data = const_cast<void*>(t.data);
  const CUtensorMapDataType type =
      t.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  const auto rank = static_cast<cuuint32_t>(t.rank);
  CUresult status = CUDA_SUCCESS;
  if (t.pixels) {
    const int lower[2] = {t.lower[0], t.lower[1]}, upper[2] = {t.upper[0], t.upper[1]};
    steps[1] = static_cast<cuuint32_t>(t.step[0]);
    steps[2] = static_cast<cuuint32_t>(t.step[1]);
    status = pixels(map, type, rank, data, extents, strides, lower, upper,
                    static_cast<cuuint32_t>(t.columns()), static_cast<cuuint32_t>(t.rows), steps,
                    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  } else {
    status = box(map, type, rank, data, extents, strides, extent_of_box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  }
  return status == CUDA_SUCCESS ? std::string()
                                : "the driver refuses the tensor (CUDA error " + std::to_string(status) + ")";
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
