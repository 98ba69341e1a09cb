// A device as the worker sees it: memory, copies, one stream, and errors. Every call says what went wrong; nothing
// throws. The real one is in device.cu; tests have one in ordinary memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "optimized/cuda/tensor_map.hpp"

namespace plumb::cuda {

class device {
 public:
  virtual ~device() = default;
  /// Device memory aligned to 256 bytes, or null and an error text.
  virtual void* allocate(std::size_t bytes, std::string& error) = 0;
  virtual void release(void* at) = 0;
  // Empty, or what the runtime complained about. They come back when the work is done.
  virtual std::string fill(void* at, unsigned char value, std::size_t bytes) = 0;
  virtual std::string upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual std::string download(void* to, const void* from, std::size_t bytes) = 0;
  /// Waits for everything on the whole device, other streams included.
  virtual std::string finish() = 0;
  /// The stream on which kernels are to work; handed to plugins as it is.
  virtual void* stream() = 0;
  /// Leaves this in the shared memory of every multiprocessor and in the registers of a block: what a kernel reads of
  /// them before it wrote is this, and another thing after another pattern.
  virtual std::string soil(unsigned pattern) = 0;
  /// Takes `eighths` of the multiprocessors away from what is enqueued next, for a fifth of a millisecond: blocks run
  /// in another order, and fewer at a time. Does not wait.
  virtual std::string crowd(int eighths) = 0;
  /// Ten times the compute capability: 90 for 9.0.
  virtual int capability() = 0;
};

/// The first device, opened when it is first asked for and kept; null where there is none, and `why` says so in a few
/// words (`no CUDA device`, `built without CUDA`).
device* first_device(std::string& why);

/// Describes a tensor for the copy engine. Empty, or what the driver complained about.
std::string describe(const copied_tensor& t, tensor_map& to);

}  // namespace plumb::cuda
