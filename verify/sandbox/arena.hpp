// Arenas: shared memory in which a case's tensors are laid out for the worker, every tensor in a slot of its
// own.
//
// A slot is a long, lazily backed stretch with inaccessible guard pages at both ends in the worker. A tensor
// lies against one of its ends, so that the first access beyond that side is a fault; on the other side
// canary bytes are laid and inspected afterwards. Read slots are read-only in the worker; written ones start
// out poisoned. In this process the same memory is plainly readable and writable.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/core/kernel.hpp"
#include "verify/sandbox/wire.hpp"

namespace plumb {

/// What fills an output before the call. In every float format `nan` is a NaN and `large` a large finite
/// number, so an element that holds its poison after one run with each was not written.
enum class poison : unsigned char { nan = 0xff, large = 0x7b };

/// Which end of its slot a tensor touches, and how many elements it is moved away from it (a misaligned
/// view).
struct placement {
  bool at_end = true;  ///< the element highest in memory lies right before the guard page; else the lowest
                       ///< right after it
  int skew = 0;
};

/// A tensor in an arena. Default constructed: an optional tensor that the problem leaves out.
struct placed_tensor {
  std::string name;
  tensor_ref here;       ///< strides as asked for, address in this process; data == nullptr: left out
  bool written = false;  ///< in a slot that the worker may write
  int slot = -1;
  std::byte* slot_begin = nullptr;
  std::byte* begin = nullptr;  ///< lowest byte of any element
  std::byte* end = nullptr;    ///< one past the highest
  std::byte* slot_end = nullptr;
  poison filled_with = poison::nan;

  std::size_t bytes() const { return static_cast<std::size_t>(end - begin); }
};

/// A byte that no element owns and that changed all the same.
struct damage {
  enum class where { before, after, between };
  std::string tensor;
  where side;
  std::ptrdiff_t
      distance;  ///< bytes from the tensor: 1 is the neighbour; for `between`, from its lowest byte
  std::string describe() const;  ///< "wrote 3 bytes past the end of `y`"
};

/// Canaries on both sides, and the gaps that the strides leave inside. Call it after the run.
std::optional<damage> find_damage(const placed_tensor& t);

struct unwritten_elements {
  index_t count = 0;
  index_t first = -1;  ///< row-major number
};
/// Elements still at their poison in both of two runs that wrote the same output over different poisons.
unwritten_elements find_unwritten(const placed_tensor& one, const placed_tensor& other);

/// The same file under a number beyond those that are fixed in the worker; -1 stays -1.
int out_of_the_way(int descriptor);

class arena {
 public:
  explicit arena(int number);
  ~arena();
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;

  /// Forgets every tensor placed so far. Throws std::logic_error while a batch of this arena is under way.
  void clear();

  /// Places a tensor; contents of a read tensor are the caller's to fill in through `here`. Strides may be
  /// any for which no two elements of a written tensor coincide; an extent of 0 is legal. Throws
  /// std::length_error if it does not fit a slot (2 GiB) or no slot is left (64 to read, 128 to write).
  placed_tensor place_read(std::string_view name, dtype type, const shape& extents, const shape& strides,
                           placement where = {});
  placed_tensor place_written(std::string_view name, dtype type, const shape& extents, const shape& strides,
                              poison fill, placement where = {});
  /// Lays canaries and poison again, for another run into the same buffer.
  static void refill(placed_tensor& t, poison fill);

  // For the sandbox.
  int number() const { return number_; }
  int descriptor() const { return descriptor_; }
  std::byte* commands() const { return memory_; }
  std::byte* results() const { return memory_ + wire::command_bytes; }
  void note_workspace(std::size_t bytes);
  bool busy = false;  ///< a batch is under way

 private:
  placed_tensor place(std::string_view name, dtype type, const shape& extents, const shape& strides,
                      placement where, int slot);
  void give_back_memory();

  int number_;
  int descriptor_ = -1;
  std::byte* memory_ = nullptr;
  int reads_ = 0;
  int writes_ = 0;
  std::vector<std::size_t> touched_;  ///< most bytes laid in each slot since its pages were last given back
};

}  // namespace plumb
