// Host execution of what only Hopper has: arrivals (mbarrier), the copy engine and products of warpgroups. They work
// beside the threads that start them, so here everything is done as late as the rules allow: a copy when nobody can go on
// without it (or, by lot, a little before), a product when a thread waits for it. Shared memory is watched by blocks of
// 1024 bytes. That finds
//   - a product of what no copy has brought, or what one is still bringing
//   - a copy over what a product in flight still reads
//   - threads that wait for ever: a wrong parity, a count of bytes or arrivals that does not come together
//   - copies and products that nobody waited for
// device_hopper.cuh is the same for a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "optimized/cuda/host_launch.hpp"
#include "optimized/cuda/operand.hpp"
#include "optimized/cuda/tensor_map.hpp"

namespace plumb::cuda {

/// A counter of arrivals and bytes that turns over when both have come together.
struct host_arrival {
  int needed = 0;   ///< arrivals of threads a turn
  int missing = 0;  ///< of this turn
  long bytes = 0;   ///< announced and not yet there
  int turns = 0;

  void turn_over() {
    if (missing > 0 || bytes != 0) return;
    ++turns;
    missing = needed;
  }
};

/// Shared memory that copies write and products read.
class operand_memory {
 public:
  struct state {
    int copies = 0, readers = 0;  ///< in flight
    bool written = false;
  };
  operand_memory(std::byte* bytes, state* blocks, unsigned size)
      : bytes_(bytes), blocks_(blocks), size_(size) {}

  /// Whether [at, at + count) lies inside; what is wrong is said.
  bool inside(unsigned at, unsigned count) const;
  void begin_copy(unsigned at, unsigned count);
  void end_copy(unsigned at, unsigned count);
  void begin_read(unsigned at);
  void end_read(unsigned at) { --blocks_[at / block_bytes].readers; }
  /// Byte `at` of rows of 128 bytes whose 16-byte pieces lie as the copy engine leaves them.
  std::byte* where(unsigned at) const { return bytes_ + (at ^ (at >> 7 & 7U) << 4); }

 private:
  std::byte* bytes_;
  state* blocks_;
  unsigned size_;
};

template <int Bytes>
class host_operands {
 public:
  host_operands() { std::memset(bytes_, here.fill, sizeof bytes_); }
  operand_memory memory() { return {bytes_, blocks_, Bytes}; }

 private:
  static_assert(Bytes % block_bytes == 0);
  std::byte bytes_[Bytes];
  operand_memory::state blocks_[Bytes / block_bytes];
};

/// One instruction of the copy engine.
struct host_copy {
  copied_tensor from;
  operand_memory to;
  unsigned at = 0;
  int first[4] = {};        ///< of a box: its corner; of pixels: channel, column, row and image of the first
  int right = 0, down = 0;  ///< of pixels
  host_arrival* done = nullptr;

  unsigned bytes() const { return static_cast<unsigned>(from.rows) * copied_row_bytes; }
  void finish();
};

/// One instruction of a warpgroup, as one of its threads sees it: 64 lines of a, `columns` of b, 8 words of 32 bits each.
struct host_product {
  static constexpr int lines = 64, words = 8, most_columns = 128;

  operand_memory memory;
  std::uint64_t a = 0, b = 0;
  inside way = inside::terms;
  int columns = 0;
  float* sums = nullptr;
  void (*add)(float* sums, const unsigned* a, const unsigned* b, int columns, int used, int thread) = nullptr;
  int group = 0, number = 0;
};

/// c += a·b for what one thread of a warpgroup keeps of c: lane 4g + q of warp w has rows 16w + g and 8 below, and of every
/// eight columns 2q and 2q + 1 (PTX ISA, wgmma.m64nNk8 and k16). Words from `used` on are zeros on both sides.
template <class Words>
void add_product(float* sums, const unsigned* a, const unsigned* b, int columns, int used, int thread) {
  for (int i = 0; i < columns / 2; ++i) {
    const int row = thread % 128 / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8;
    const int column = i / 4 * 8 + thread % 4 * 2 + i % 2;
    for (int word = 0; word < used; ++word)
      sums[i] =
          Words::dot(sums[i], a[row * host_product::words + word], b[column * host_product::words + word]);
  }
}

class host_async {
 public:
  void arrive(host_arrival& a, int bytes);
  void copy(host_copy c, const tensor_map& map);
  void multiply(host_product p);
  /// Whether the thread may start its next product: the threads of a warpgroup are never far apart.
  bool may_multiply();
  void end_products() { ++mine().groups; }
  void wait_products(int left);
  /// Brings one copy that is under way to its end, drawn by `lot`; false if there is none.
  bool finish_one(std::uint64_t lot);
  /// What is still in flight when the block ends is a fault.
  void look_after() const;

 private:
  /// What one thread started and did not wait for yet.
  struct per_thread {
    std::vector<host_product> products;
    int groups = 0, started = 0;
  };
  /// A product of a warpgroup: it reads from when the first thread starts it until the last one has waited for it. Its
  /// factors are taken out of shared memory by the first thread that waits.
  struct shared_product {
    int number = -1, started = 0, ended = 0;
    int used = -1;  ///< words of each line; -1: not taken out yet
    unsigned a[host_product::lines * host_product::words],
        b[host_product::most_columns * host_product::words];
  };
  static constexpr int kept_products = 16;

  per_thread& mine() { return threads_[here.thread]; }
  shared_product& shared(int number) {
    return shared_[static_cast<std::size_t>(here.thread / 128 * kept_products + number % kept_products)];
  }

  std::vector<host_copy> copies_;
  std::vector<per_thread> threads_ = std::vector<per_thread>(most_threads);
  std::vector<shared_product> shared_ =
      std::vector<shared_product>(std::size_t{most_threads / 128} * kept_products);
};

/// The block as a thread of a body of warpgroups sees it: what hopper_block is on a device (device_hopper.cuh).
class host_warpgroup_block {
 public:
  template <class T, int N>
  using array = host_array<T, N>;
  using arrival = host_arrival;
  template <int Bytes>
  using operands = host_operands<Bytes>;

  explicit host_warpgroup_block(host_block& in) : block_(in), async_(*in.async()) {}
  int thread() const { return block_.thread(); }
  std::int64_t number() const { return block_.number(); }
  void barrier() { block_.barrier(); }

  void start(arrival& a, int arrivals) { a = {arrivals, arrivals, 0, 0}; }
  void start_warps(arrival& a, int warps) { start(a, warps * 32); }
  void publish_starts() {}
  void expect(arrival& a, int bytes) { async_.arrive(a, bytes); }
  void arrive_warp(arrival& a) { async_.arrive(a, 0); }
  /// Until the turn of this parity is over; the one before the first had parity 1.
  void wait(arrival& a, int parity) {
    block_.wait_until([&a, parity] { return a.turns % 2 != parity; });
  }

  template <int Bytes>
  void copy_box(operands<Bytes>& to, unsigned at, const tensor_map& map, int c0, int c1, int c2,
                arrival& done) {
    async_.copy({{}, to.memory(), at, {c0, c1, c2, 0}, 0, 0, &done}, map);
  }
  template <int Bytes>
  void copy_pixels(operands<Bytes>& to, unsigned at, const tensor_map& map, int c, int w, int h, int n,
                   int right, int down, arrival& done) {
    async_.copy({{}, to.memory(), at, {c, w, h, n}, right, down, &done}, map);
  }

  /// Where operands begin, as descriptors count.
  template <int Bytes>
  unsigned address_of(operands<Bytes>& o) {
    operands_.emplace(o.memory());
    return 0;
  }
  template <class Sums>
  void begin_products(Sums&) {}
  void end_products() { async_.end_products(); }
  /// Products go on while others do: whoever was told too early that they have ended meets them.
  template <int Left, class Sums>
  void wait_products(Sums&) {
    bool others_went_on = false;
    block_.wait_until([&] { return std::exchange(others_went_on, true); });
    async_.wait_products(Left);
  }
  template <class Words, inside Way, int Columns>
  void multiply_group(float (&c)[Columns / 2], std::uint64_t a, std::uint64_t b) {
    block_.wait_until([this] { return async_.may_multiply(); });
    async_.multiply({*operands_, a, b, Way, Columns, c, add_product<Words>});
  }

 private:
  host_block& block_;
  host_async& async_;
  std::optional<operand_memory> operands_;
};

template <class Body>
requires(Body::warpgroups) struct host_runner<Body> {
  using block = host_warpgroup_block;
  static constexpr bool warpgroups = true;
};

}  // namespace plumb::cuda
