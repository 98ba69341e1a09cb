// What the judging process and the worker share: the layout of an arena's memory file, the control block in
// which the worker says where it is and how it died, and the byte encoding of runs and results. No expected
// value ever crosses.
//
// Tokens on a pair of sockets wake the other side; everything else lies in shared memory. Both processes are
// built from the same sources, so records cross as they lie in memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "reference/core/kernel.hpp"

namespace plumb::wire {

// ---- the arena's memory file: commands, results, then the slots: read, written, workspace ----

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t command_bytes = std::size_t{1} << 20;
constexpr std::size_t result_bytes = std::size_t{1} << 20;
constexpr std::size_t slot_bytes = std::size_t{2} << 30;
constexpr int read_slots = 128;
constexpr int write_slots = 128;
constexpr int workspace_slot = read_slots + write_slots;
constexpr int slot_count = workspace_slot + 1;
constexpr std::size_t canary_bytes = 4096;
constexpr unsigned char canary =
    0xff;  ///< a NaN in every float format: what is read beyond a tensor shows in results

constexpr std::size_t slot_offset(int slot) {
  return command_bytes + result_bytes + static_cast<std::size_t>(slot) * slot_bytes;
}
constexpr std::size_t file_bytes = slot_offset(slot_count);

// In the worker, slots lie apart by an inaccessible gap, so wide that a wrong row or plane index still lands
// in it.
constexpr std::size_t guard_bytes = std::size_t{256} << 20;
constexpr std::size_t region_bytes = guard_bytes + slot_count * (slot_bytes + guard_bytes);
constexpr std::size_t region_offset(int slot) {
  return guard_bytes + static_cast<std::size_t>(slot) * (slot_bytes + guard_bytes);
}

// ---- the control block ----

constexpr int max_arenas = 8;
constexpr std::uint32_t no_run = 0xffffffff;  ///< control_block.run: none yet, or a plan of an earlier batch
enum class phase : std::uint32_t { starting, idle, running, releasing, service };
/// Which of the kernel's functions is being called while the phase is `running`.
enum class stage : std::uint32_t { run, supports, make_plan, prepare };

/// Written by the worker only; read by the parent at any time.
struct control_block {
  std::atomic<phase> at{phase::starting};
  std::atomic<stage> in{stage::run};
  std::atomic<std::uint32_t> batch{0};     ///< serial number of the batch begun last
  std::atomic<std::uint32_t> run{no_run};  ///< begun last in it
  std::atomic<std::int64_t> since_ns{0};   ///< CLOCK_MONOTONIC when the phase, or the current run, began
  std::uint64_t region[max_arenas] = {};   ///< where each arena's slots lie in the worker
  std::uint64_t stack_low = 0, stack_high = 0;
  std::atomic<std::uint32_t> blocks{
      0};                  ///< of instrumented plugins that have run so far (worker_coverage.hpp)
  char subject[256] = {};  ///< the kernel that runs or is released, the plugin that is being loaded

  // Filled in by the signal handler.
  std::atomic<int> signal{0};
  int signal_code = 0;
  std::uint64_t fault_address = 0;
  bool fault_is_write = false;
};

// ---- what the worker is started with ----

enum descriptor : int { socket = 3, control_file = 4, first_arena_file = 5 };

// ---- tokens ----

enum class opcode : std::uint32_t { batch, service, ready };
/// To the worker: run batch `arena` from run `first` on; or serve a request of `length` bytes that follow,
/// the name of the service and a line end before it. Back: batch `arena` is done; or `length` bytes of answer
/// follow
/// (`first` is 1 if they are an error text); or, once, the worker is ready and `length` bytes of greeting
/// follow.
struct token {
  opcode what;
  std::uint32_t arena;
  std::uint32_t first;
  std::uint32_t length;  ///< for a batch: its serial number, from 1
};

// ---- results ----

enum class outcome : std::uint32_t { none, ok, declined, failed };

/// What a process holds, or how much more it holds than before.
struct holdings {
  std::int64_t bytes = 0;  ///< allocated on the main thread's heap
  std::int64_t pages = 0;  ///< private writable memory
  std::int64_t threads = 0;
  std::int64_t descriptors = 0;
};

struct result_record {
  outcome what;
  std::uint32_t first_in_process;
  double seconds;
  double cpu_seconds;
  std::uint64_t workspace_bytes;
  std::uint64_t workspace_offset;  ///< within its slot
  std::int64_t workspace_damage;   ///< > 0: bytes past its end, < 0: bytes before its start
  std::uint32_t fp_before, fp_after;
  std::int64_t repeated;    ///< calls beyond the first
  holdings grown;           ///< in both halves of the repeated calls at least so much
  double idle_cpu_seconds;  ///< spent while nothing was called, in 1/50 s after the last one
  char text[512];
  char implementation[128];
};
constexpr std::size_t max_runs = 512;
static_assert(max_runs * sizeof(result_record) <= result_bytes);

// ---- runs ----

/// Appends trivially copyable values and texts to a span of bytes; `full` once something did not fit.
class writer {
 public:
  writer(std::byte* begin, std::size_t size) : at_(begin), end_(begin + size) {}
  template <class T>
  requires std::is_trivially_copyable_v<T>
  void put(const T& value) { raw(&value, sizeof value); }
  void put(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    raw(text.data(), text.size());
  }
  bool full() const { return full_; }

 private:
  void raw(const void* data, std::size_t size) {
    if (size > static_cast<std::size_t>(end_ - at_)) {
      full_ = true;
      return;
    }
    if (size != 0) std::memcpy(at_, data, size);
    at_ += size;
  }
  std::byte* at_;
  std::byte* end_;
  bool full_ = false;
};

class reader {
 public:
  explicit reader(const std::byte* begin) : at_(begin) {}
  template <class T>
  requires std::is_trivially_copyable_v<T> T get() {
    T value;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string_view text() {
    const auto size = get<std::uint32_t>();
    const std::string_view result(reinterpret_cast<const char*>(at_), size);
    at_ += size;
    return result;
  }

 private:
  const std::byte* at_;
};

struct tensor_record {
  std::int32_t slot = -1;  ///< -1: left out
  dtype type = dtype::f32;
  std::uint64_t offset = 0;  ///< of element 0 within the slot, bytes
  shape extents, strides;
};

struct run_record {
  plumb::layout layout;
  dtype type;
  std::int32_t threads;
  std::int32_t read_count, write_count;
  std::int32_t workspace_skew;  ///< elements of 64 bytes
  std::int32_t repeat;          ///< calls beyond the first
  bool workspace_at_end;
  unsigned char workspace_fill;
  bool workspace_kept;
  bool reuse_plan, keep_plan, prepare, query;
  bool skip;  ///< decided already
};

// ---- the two ends must come from the same sources ----

/// Changes with everything that the two ends must agree on; the worker says it when it is ready (`token.arena`).
constexpr std::uint32_t fingerprint = [] {
  std::uint64_t hash = 2;  // revision: raise it when the meaning changes and no size does
  for (const std::uint64_t part :
       {std::uint64_t{sizeof(control_block)}, std::uint64_t{sizeof(token)},
        std::uint64_t{sizeof(result_record)}, std::uint64_t{sizeof(tensor_record)},
        std::uint64_t{sizeof(run_record)}, std::uint64_t{slot_bytes}, std::uint64_t{guard_bytes},
        std::uint64_t{read_slots}, std::uint64_t{write_slots}, std::uint64_t{command_bytes},
        std::uint64_t{result_bytes}})
    hash = (hash ^ part) * 0x9e3779b97f4a7c15U;
  return static_cast<std::uint32_t>(hash >> 32);
}();

}  // namespace plumb::wire
