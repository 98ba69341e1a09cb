#include "optimized/cuda/device_call.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

namespace plumb::cuda {
namespace {

constexpr std::size_t boundary = 256;
/// Eighths of the multiprocessors that are taken, call after call; the first of a problem has them all.
constexpr int crowds[] = {0, 4, 7, 0, 2};

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

/// Calls `look(bytes, offset)` for `bytes` from `at` on, a piece after the other, until it finds something; what it found,
/// or what went wrong.
template <class Look>
std::string device_call::piece_by_piece(const std::byte* at, std::size_t bytes, Look&& look) {
  scratch_.resize(std::min(bytes, piece_bytes));
  for (std::size_t offset = 0; offset < bytes; offset += piece_bytes) {
    const std::size_t size = std::min(piece_bytes, bytes - offset);
    std::string found = on_.download(scratch_.data(), at + offset, size);
    if (found.empty()) found = look(std::span<const std::byte>(scratch_).first(size), offset);
    if (!found.empty()) return found;
  }
  return {};
}

/// The nearest byte that changed on either side of the tensor.
std::string device_call::look_at_zones(const buffer& b) {
  const auto before = static_cast<std::size_t>(b.begin - b.memory);
  const std::size_t after = used(b) - before - b.bytes;
  const auto changed = [this](std::byte value) { return value != std::byte{pattern_}; };
  std::string found = piece_by_piece(b.begin + b.bytes, after, [&](auto bytes, std::size_t offset) {
    const auto at = std::ranges::find_if(bytes, changed);
    if (at == bytes.end()) return std::string();
    return "wrote " + bytes_text(offset + static_cast<std::size_t>(at - bytes.begin()) + 1) +
           " past the end of " + b.name + " on the device";
  });
  if (!found.empty()) return found;
  return piece_by_piece(b.memory, before, [&](auto bytes, std::size_t offset) {
    for (std::size_t i = bytes.size(); i > 0; --i)
      if (changed(bytes[i - 1]))
        return "wrote " + bytes_text(before - offset - i + 1) + " before the start of " + b.name +
               " on the device";
    return std::string();
  });
}

std::string device_call::look_after(const buffer& b) {
  if (std::string found = look_at_zones(b); !found.empty() || b.host_begin == nullptr || b.bytes == 0)
    return found;
  if (b.written) return on_.download(b.host_begin, b.begin, b.bytes);
  return piece_by_piece(b.begin, b.bytes, [&](auto bytes, std::size_t offset) {
    return std::memcmp(bytes.data(), b.host_begin + offset, bytes.size()) == 0
               ? std::string()
               : "wrote to " + b.name + ", which is only to be read";
  });
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
  if (error.empty()) error = on_.soil(0x01010101U * pattern_);
  if (error.empty()) error = on_.crowd(crowds[calls_++ % std::size(crowds)]);
  if (error.empty()) error = work({reads, writes, scratch, call.threads});
  if (const std::string late = on_.finish(); error.empty() && !late.empty()) error = "on the device: " + late;
  for (std::size_t i = 0; i < next_ && error.empty(); ++i) error = look_after(buffers_[i]);
  return error;
}

}  // namespace plumb::cuda
