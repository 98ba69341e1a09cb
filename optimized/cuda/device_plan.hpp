// Work on a device as a plan: tensors in ordinary memory are copied there and back (device_call.hpp); a caller whose
// tensors lie on the device already enqueues by itself.
#pragma once

#include <memory>

#include "optimized/cuda/device_call.hpp"
#include "reference/core/device_work.hpp"

namespace plumb::cuda {

class device_plan final : public plan {
 public:
  device_plan(std::unique_ptr<device_work> work, device& on) : work_(std::move(work)), on_(on), call_(on) {}
  std::size_t workspace_size() const override { return 0; }  // it lies on the device
  void prepare(std::span<const tensor_ref>) override { prepared_ = false; }
  void run(const kernel_call& call) noexcept override;
  std::string failure() const override { return failure_; }

  std::size_t device_workspace() const { return work_->workspace_size(); }
  /// Prepares and enqueues one call, and does not wait: whoever times it times both. Empty, or what failed in a launch.
  std::string enqueue(const kernel_call& there, void* stream);

 private:
  std::unique_ptr<device_work> work_;
  device& on_;
  device_call call_;
  bool prepared_ = false;
  std::string failure_;
};

/// Places work on one device.
class one_device final : public device_host {
 public:
  /// Null: nothing can be placed, and why.
  one_device(device* on, std::string why) : on_(on), why_(std::move(why)) {}
  std::string unavailable() const override { return why_; }
  std::unique_ptr<plan> place(std::unique_ptr<device_work> work) const override {
    return std::make_unique<device_plan>(std::move(work), *on_);
  }

 private:
  device* on_;
  std::string why_;
};

}  // namespace plumb::cuda
