// Host execution: a body runs on the CPU, block by block and thread by thread, with real barriers.
//
// The threads of a block are fibers. Between two barriers they run one after the other in an order drawn from the
// seed, and blocks are taken in a drawn order too. Shared memory is watched element by element: who wrote it and who
// read it since the last barrier. That finds, in every order and not only in an unlucky one,
//   - a missing barrier: two threads touch one element between two barriers, and one of them writes
//   - an element read that no thread of the block ever wrote
//   - an index outside its array
//   - a barrier that only some threads reach
// (the hazards that compute-sanitizer's racecheck, initcheck, memcheck and synccheck look for on a device). What is
// read unwritten is a NaN or a large number, in turn. Global memory is ordinary memory: the guard pages of the sandbox
// and AddressSanitizer watch it.
#pragma once

#include <cstring>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "optimized/cuda/body.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

struct host_options {
  std::uint64_t seed = 0;  ///< of the order of blocks and threads
  int threads = 1;         ///< of the CPU, over which blocks are spread
};

class fiber_team;

/// The first fault of a launch, in words; shared by the CPU's threads.
class fault_log;

/// Copies and products that go on beside the threads of a block.
class host_async;

/// Where the running thread is, for the arrays that watch it.
struct watch {
  std::uint32_t interval = 1;  ///< barriers passed by the block, plus one
  std::uint16_t thread = 0;
  unsigned char fill = 0xff;    ///< what unwritten shared memory holds
  std::uint32_t exchanges = 0;  ///< within warps, so far
  /// What the thread waits for: the block, its warp, or something that happens (host_async.hpp).
  enum class reason { none, barrier, exchange, event } waits = reason::barrier;
  std::uint64_t events = 0;  ///< that threads waited for and that came
  bool abandoned = false;    ///< nothing will come any more: threads are to run to their ends
  fault_log* log = nullptr;

  void report(const std::string& text) const;
  void report_outside(long index, long size) const;
  void report_misaligned(long index) const;
  void report_unwritten(long index) const;
  void report_race(long index, bool writing, unsigned other) const;
};

extern constinit thread_local watch here;

template <class T, int N>
class host_array {
  static constexpr std::uint16_t several = 0xffff;
  struct stamp {
    std::uint32_t written = 0, read = 0;  ///< interval of the last one; 0: never
    std::uint16_t writer = 0, reader = 0;
  };

 public:
  class cell {
   public:
    cell(host_array& in, long at) : in_(in), at_(at) {}
    operator T() const { return in_.load(at_); }
    cell& operator=(T value) {
      in_.store(at_, value);
      return *this;
    }
    cell& operator=(const cell& other) { return *this = static_cast<T>(other); }
    cell& operator+=(T value) { return *this = static_cast<T>(*this) + value; }

   private:
    host_array& in_;
    long at_;
  };

  host_array() { std::memset(static_cast<void*>(values_), here.fill, sizeof values_); }
  cell operator[](long i) { return {*this, i}; }
  /// Elements i … i+3 at once; i is a multiple of four.
  void four(long i, T* to) {
    if (i % 4 != 0) here.report_misaligned(i);
    for (long j = 0; j < 4; ++j) to[j] = load(i + j);
  }

 private:
  bool inside(long i) const {
    if (i >= 0 && i < N) return true;
    here.report_outside(i, N);
    return false;
  }
  T load(long i) {
    if (!inside(i)) return T{};
    stamp& s = stamps_[i];
    if (s.written == 0) here.report_unwritten(i);
    if (s.written == here.interval && s.writer != here.thread) here.report_race(i, false, s.writer);
    s.reader = s.read == here.interval && s.reader != here.thread ? several : here.thread;
    s.read = here.interval;
    return values_[i];
  }
  void store(long i, T value) {
    if (!inside(i)) return;
    stamp& s = stamps_[i];
    if (s.written == here.interval && s.writer != here.thread) here.report_race(i, true, s.writer);
    if (s.read == here.interval && s.reader != here.thread) here.report_race(i, true, s.reader);
    s.written = here.interval;
    s.writer = here.thread;
    values_[i] = value;
  }

  T values_[N];
  stamp stamps_[N];
};

/// The block as a thread of it sees it.
class host_block {
 public:
  template <class T, int N>
  using array = host_array<T, N>;

  host_block(std::int64_t number, fiber_team* team, bool may_wait, host_async* async)
      : number_(number), team_(team), may_wait_(may_wait), async_(async) {}
  int thread() const { return here.thread; }
  std::int64_t number() const { return number_; }
  void barrier();
  /// Not null for bodies of warpgroups.
  host_async* async() const { return async_; }
  /// Lets others go on until done() holds.
  template <class F>
  void wait_until(F&& done) {
    while (!done() && !here.abandoned) wait_for_event();
    ++here.events;
  }

  /// c += a·b by a warp: 16 × 8 words of a, 8 × 8 of b; lane 4g + q holds rows g and g + 8 of a, column g of b, words q
  /// and q + 4 of each, and columns 2q and 2q + 1 of c (PTX ISA, mma.m16n8k8 and m16n8k16). Every thread of the block
  /// must come here as often as the others.
  template <class Words>
  void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const int t = thread(), lane = t % 32;
    fragment* const all = exchange({{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}) + (t - lane);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (int word = 0; word < 8; ++word)
        c[i] = Words::dot(c[i], all[row % 8 * 4 + word % 4].a[row / 8 + word / 4 * 2],
                          all[column * 4 + word % 4].b[word / 4]);
    }
  }

 private:
  struct fragment {
    unsigned a[4], b[2];
  };
  /// Gives the thread's words to the others; all threads' words, by thread.
  fragment* exchange(const fragment& mine);
  void wait_for_event();

  std::vector<fragment> fragments_;  ///< two for each thread, taken in turn
  std::int64_t number_;
  fiber_team* team_;
  bool may_wait_;
  host_async* async_;
};

/// A body without its type.
struct host_body {
  void (*run)(host_block&, void* shared, const void* arguments);
  void (*make_shared)(void* memory);
  std::size_t shared_bytes;
  bool barriers, warpgroups;
};

/// Runs every thread of every block; empty, or what is wrong with the shape or the body.
std::string run_on_host(const launch_shape& shape, const host_body& body, const void* arguments,
                        const host_options& how);

/// How a body sees the block; another one in host_async.hpp.
template <class Body>
struct host_runner {
  using block = host_block&;
  static constexpr bool warpgroups = false;
};

template <class Body>
std::string launch_on_host(const launch_shape& shape, const typename Body::arguments& a,
                           const host_options& how) {
  using runner = host_runner<Body>;
  using shared = typename Body::template shared<std::remove_reference_t<typename runner::block>>;
  static_assert(std::is_trivially_copyable_v<typename Body::arguments>);
  const host_body body = {[](host_block& block, void* memory, const void* arguments) {
                            typename runner::block seen(block);
                            Body::run(seen, *static_cast<shared*>(memory),
                                      *static_cast<const typename Body::arguments*>(arguments));
                          },
                          [](void* memory) { ::new (memory) shared; }, sizeof(shared), Body::barriers,
                          runner::warpgroups};
  return run_on_host(shape, body, &a, how);
}

}  // namespace plumb::cuda
