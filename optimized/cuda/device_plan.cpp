#include "optimized/cuda/device_plan.hpp"

namespace plumb::cuda {

// What is to be prepared is seen where it will lie, so not before the tensors of the run that follows are there.
void device_plan::run(const kernel_call& call) noexcept {
  failure_ = call_.run(call, work_->workspace_size(), [this](const kernel_call& there) {
    std::string error;
    if (!prepared_) error = work_->prepare(there.reads, on_.stream());
    prepared_ = error.empty();
    return error.empty() ? work_->enqueue(there, on_.stream()) : error;
  });
}

std::string device_plan::enqueue(const kernel_call& there, void* stream) {
  std::string error = work_->prepare(there.reads, stream);
  return error.empty() ? work_->enqueue(there, stream) : error;
}

}  // namespace plumb::cuda
