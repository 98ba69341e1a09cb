// Where the launches of one call go: a stream of a device, or host execution. A kernel is written once against it.
#pragma once

#include <cstring>
#include <string>

#include "optimized/cuda/device.hpp"
#include "optimized/cuda/host_async.hpp"

namespace plumb::cuda {

class stream {
 public:
  explicit stream(const host_options& how) : host_(how) {}
  explicit stream(void* handle) : on_device_(true), handle_(handle) {}

  /// After a launch that failed, nothing is launched any more.
  template <class Body>
  void launch(const launch_shape& shape, const typename Body::arguments& a) {
    if (!failure_.empty()) return;
    if (!on_device_) {
      failure_ = launch_on_host<Body>(shape, a, host_);
      return;
    }
#if PLUMB_HAS_CUDA
    if (const char* const error = launch_on_device<Body>(shape, a, handle_))
      failure_ = std::string("launch failed: ") + error;
#endif
  }

  /// What a launch hands to the copy engine.
  tensor_map map_of(const copied_tensor& t) {
    tensor_map map = {};
    if (!on_device_) {
      std::memcpy(map.bytes, static_cast<const void*>(&t), sizeof t);
      return map;
    }
#if PLUMB_HAS_CUDA
    if (const std::string error = describe(t, map); !error.empty()) fail("the copy engine: " + error);
#endif
    return map;
  }

  /// For libraries that launch by themselves.
  void* handle() const { return handle_; }
  void fail(const std::string& why) {
    if (failure_.empty()) failure_ = why;
  }

  /// Empty, or what went wrong first.
  const std::string& failure() const { return failure_; }

 private:
  bool on_device_ = false;
  void* handle_ = nullptr;
  host_options host_;
  std::string failure_;
};

}  // namespace plumb::cuda
