// Kernels of a device, as the contract sees them: work that is enqueued on a stream, and who places it. A registry may
// know such a place (registry::devices); what is loaded later, a plugin with kernels for the device, asks it for plans
// like those of the kernels that are built in: guard zones, poison and copies included.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "reference/core/kernel.hpp"

namespace plumb {

/// One kernel made ready for one problem. Tensors and workspace lie on the device, and nothing here waits for it.
class device_work {
 public:
  virtual ~device_work() = default;
  /// Bytes of scratch memory on the device.
  virtual std::size_t workspace_size() const { return 0; }
  /// As plan::prepare. Empty, or what failed.
  virtual std::string prepare(std::span<const tensor_ref> /*reads*/, void* /*stream*/) { return {}; }
  /// One call. Empty, or what failed in a launch.
  virtual std::string enqueue(const kernel_call& call, void* stream) = 0;
};

class device_host {
 public:
  virtual ~device_host() = default;
  /// Empty, or why nothing can be placed: `no CUDA device`, `built without CUDA`.
  virtual std::string unavailable() const = 0;
  /// A plan for tensors in ordinary memory, which are copied there and back. Only where something can be placed.
  virtual std::unique_ptr<plan> place(std::unique_ptr<device_work> work) const = 0;
};

}  // namespace plumb
