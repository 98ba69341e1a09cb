// Device memory that lives as long as a C++ object, and ordinary memory behind the face of a device.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "optimized/cuda/device.hpp"

namespace plumb::cuda {

/// Device memory that is given back at the end.
class device_array {
 public:
  /// Throws what the device complains about.
  device_array(device& on, std::size_t bytes) : on_(&on) {
    std::string error;
    at_ = on.allocate(std::max<std::size_t>(bytes, 256), error);
    if (at_ == nullptr) throw std::runtime_error(error);
  }
  device_array(device_array&& other) noexcept : on_(other.on_), at_(std::exchange(other.at_, nullptr)) {}
  device_array(const device_array&) = delete;
  device_array& operator=(const device_array&) = delete;
  device_array& operator=(device_array&&) = delete;
  ~device_array() {
    if (at_ != nullptr) on_->release(at_);
  }
  float* data() const { return static_cast<float*>(at_); }

 private:
  device* on_;
  void* at_;
};

/// Memory of this process behind the face of a device.
class ordinary_memory final : public device {
 public:
  void* allocate(std::size_t bytes, std::string&) override {
    return std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  }
  void release(void* at) override { std::free(at); }
  std::string fill(void* at, unsigned char value, std::size_t bytes) override {
    std::memset(at, value, bytes);
    return {};
  }
  std::string upload(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
    return {};
  }
  std::string download(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
    return {};
  }
  std::string finish() override { return {}; }
  void* stream() override { return this; }  // something that is not null, as a stream's handle is
  std::string soil(unsigned) override { return {}; }
  std::string crowd(int) override { return {}; }
  int capability() override { return 0; }
};

}  // namespace plumb::cuda
