// One call of a device kernel on tensors that lie in ordinary memory.
//
// Every tensor, and the workspace, gets a stretch of device memory with a guard zone on both sides, at the same
// distance from a 256-byte boundary as on the host, so that views that are misaligned or strided there are so on the
// device. Inputs are copied in; of outputs what lies in them (the poison of the sandbox, and whatever is between their
// elements) is copied in too, and copied back afterwards, so that everything the sandbox looks for on the host it finds
// for the device as well. After the call the zones must be as they were, and inputs unchanged bit for bit. Before it
// shared memory and registers are soiled, with two patterns in turn, and from call to call another share of the
// multiprocessors is taken away: what depends on either differs between two runs, which the laws look for.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "optimized/cuda/device.hpp"
#include "reference/core/kernel.hpp"

namespace plumb::cuda {

class device_call {
 public:
  explicit device_call(device& on) : on_(on) {}
  ~device_call();
  device_call(const device_call&) = delete;
  device_call& operator=(const device_call&) = delete;

  /// `work` is given the call with device addresses and says what failed in a launch. Empty, or the first thing that
  /// went wrong. Memory is kept for the next call.
  std::string run(const kernel_call& call, std::size_t workspace,
                  const std::function<std::string(const kernel_call&)>& work);

  static constexpr std::size_t zone_bytes = std::size_t{64} << 10;
  static constexpr std::size_t piece_bytes = std::size_t{64} << 20;  ///< of what is looked at in one go

 private:
  struct buffer {
    std::string name;
    std::byte* memory = nullptr;  ///< on the device: zone, slack for alignment, the tensor, zone
    std::size_t capacity = 0;
    std::byte* begin = nullptr;       ///< on the device, lowest byte of any element
    std::byte* host_begin = nullptr;  ///< null for the workspace
    std::size_t bytes = 0;
    bool written = false;
  };

  std::string place(buffer& b);
  std::string place_tensor(const tensor_ref& t, std::size_t number, bool written, tensor_ref& there);
  template <class Look>
  std::string piece_by_piece(const std::byte* at, std::size_t bytes, Look&& look);
  std::string look_after(const buffer& b);
  std::string look_at_zones(const buffer& b);
  std::size_t used(const buffer& b) const;

  device& on_;
  std::vector<buffer> buffers_;
  std::size_t next_ = 0;
  std::vector<std::byte> scratch_;
  unsigned char pattern_ = 0xff;
  std::size_t calls_ = 0;
};

}  // namespace plumb::cuda
