#include "optimized/cuda/device_call.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace plumb::cuda {
namespace {

constexpr std::size_t boundary = 256;

struct offsets {
  index_t low = 0, high = 0;
};

/// Lowest and one past the highest element, counted from the first.
offsets offsets_of(const tensor_ref& t) {
  offsets o;
  if (t.extents.size() == 0) return o;
  for (int axis = 0; axis < t.extents.rank(); ++axis) {
    const index_t reach = (t.extents[axis] - 1) * t.strides[axis];
    (reach < 0 ? o.low : o.high) += reach;
  }
  ++o.high;
  return o;
}

std::string bytes_text(std::size_t n) { return std::to_string(n) + (n == 1 ? " byte" : " bytes"); }

}  // namespace

device_call::~device_call() {
  for (const buffer& b : buffers_) on_.release(b.memory);
}

std::size_t device_call::used(const buffer& b) const { return 2 * zone_bytes + boundary + b.bytes; }

std::string device_call::place(buffer& b) {
  const std::size_t needed = used(b);
  if (b.capacity < needed) {
    on_.release(b.memory);
    b.memory = nullptr;
    b.capacity = 0;
    std::string error;
    b.memory = static_cast<std::byte*>(on_.allocate(needed, error));
    if (b.memory == nullptr) return "no room for `" + b.name + "` on the device: " + error;
    b.capacity = needed;
  }
  const std::size_t skew = reinterpret_cast<std::uintptr_t>(b.host_begin) % boundary;
  b.begin = b.memory + zone_bytes + skew;
  std::string error = on_.fill(b.memory, pattern_, needed);
  if (error.empty() && b.host_begin != nullptr && b.bytes > 0)
    error = on_.upload(b.begin, b.host_begin, b.bytes);
  return error;
}

std::string device_call::place_tensor(const tensor_ref& t, std::size_t number, bool written,
                                      tensor_ref& there) {
  there = t;
  if (t.data == nullptr) return {};
  if (next_ == buffers_.size()) buffers_.emplace_back();
  buffer& b = buffers_[next_++];
  const offsets o = offsets_of(t);
  const auto size = static_cast<std::ptrdiff_t>(size_of(t.type));
  b.name = (written ? "output " : "input ") + std::to_string(number);
  b.written = written;
  b.host_begin = static_cast<std::byte*>(t.data) + o.low * size;
  b.bytes = static_cast<std::size_t>((o.high - o.low) * size);
  std::string error = place(b);
  there.data = b.begin - o.low * size;
  return error;
}

/// The nearest byte that changed on either side of the tensor.
std::string device_call::look_at_zones(const buffer& b) {
  const auto before = static_cast<std::size_t>(b.begin - b.memory);
  const std::size_t after = used(b) - before - b.bytes;
  const auto changed = [this](std::byte value) { return value != std::byte{pattern_}; };
  scratch_.resize(std::max(before, after));
  if (std::string error = on_.download(scratch_.data(), b.begin + b.bytes, after); !error.empty())
    return error;
  const auto end = scratch_.begin() + static_cast<std::ptrdiff_t>(after);
  if (const auto at = std::find_if(scratch_.begin(), end, changed); at != end)
    return "wrote " + bytes_text(static_cast<std::size_t>(at - scratch_.begin()) + 1) + " past the end of " +
           b.name + " on the device";
  if (std::string error = on_.download(scratch_.data(), b.memory, before); !error.empty()) return error;
  for (std::size_t i = before; i > 0; --i)
    if (changed(scratch_[i - 1]))
      return "wrote " + bytes_text(before - i + 1) + " before the start of " + b.name + " on the device";
  return {};
}

std::string device_call::look_after(const buffer& b) {
  if (std::string found = look_at_zones(b); !found.empty() || b.host_begin == nullptr || b.bytes == 0)
    return found;
  if (b.written) return on_.download(b.host_begin, b.begin, b.bytes);
  scratch_.resize(b.bytes);
  if (std::string error = on_.download(scratch_.data(), b.begin, b.bytes); !error.empty()) return error;
  if (std::memcmp(scratch_.data(), b.host_begin, b.bytes) != 0)
    return "wrote to " + b.name + ", which is only to be read";
  return {};
}

std::string device_call::run(const kernel_call& call, std::size_t workspace,
                             const std::function<std::string(const kernel_call&)>& work) {
  pattern_ =
      pattern_ == 0xff ? 0x7b : 0xff;  // what is read outside a tensor is a NaN or a large number, in turn
  next_ = 0;
  std::string error;
  std::vector<tensor_ref> reads(call.reads.size()), writes(call.writes.size());
  for (std::size_t i = 0; i < reads.size() && error.empty(); ++i)
    error = place_tensor(call.reads[i], i, false, reads[i]);
  for (std::size_t i = 0; i < writes.size() && error.empty(); ++i)
    error = place_tensor(call.writes[i], i, true, writes[i]);
  std::byte* scratch = nullptr;
  if (workspace > 0 && error.empty()) {
    if (next_ == buffers_.size()) buffers_.emplace_back();
    buffer& b = buffers_[next_++];
    b.name = "the workspace";
    b.written = true;
    b.host_begin = nullptr;
    b.bytes = workspace;
    error = place(b);
    scratch = b.begin;
  }
  if (error.empty()) error = work({reads, writes, scratch, call.threads});
  if (const std::string late = on_.finish(); error.empty() && !late.empty()) error = "on the device: " + late;
  for (std::size_t i = 0; i < next_ && error.empty(); ++i) error = look_after(buffers_[i]);
  return error;
}

}  // namespace plumb::cuda
