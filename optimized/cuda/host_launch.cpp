#include "optimized/cuda/host_launch.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "optimized/cuda/fibers.hpp"

namespace plumb::cuda {

constinit thread_local watch here;

class fault_log {
 public:
  void note(const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (text_.empty()) text_ = text;
    any_.store(true, std::memory_order_relaxed);
  }
  bool any() const { return any_.load(std::memory_order_relaxed); }
  const std::string& text() const { return text_; }

 private:
  std::atomic<bool> any_{false};
  std::mutex mutex_;
  std::string text_;
};

void watch::report_outside(long index, long size) const {
  if (log->any()) return;
  log->note("thread " + std::to_string(thread) + " touches element " + std::to_string(index) +
            " of an array of " + std::to_string(size) + " in shared memory");
}

void watch::report_misaligned(long index) const {
  if (log->any()) return;
  log->note("thread " + std::to_string(thread) + " loads four elements of shared memory from element " +
            std::to_string(index) + " on, which is no multiple of four");
}

void watch::report_unwritten(long index) const {
  if (log->any()) return;
  log->note("thread " + std::to_string(thread) + " reads element " + std::to_string(index) +
            " of shared memory, which no thread of the block has written");
}

void watch::report_race(long index, bool writing, unsigned other) const {
  if (log->any()) return;
  const bool several = other == 0xffff;
  log->note("thread " + std::to_string(thread) + (writing ? " writes" : " reads") + " element " +
            std::to_string(index) + " of shared memory, which " +
            (several ? "several threads touched" : "thread " + std::to_string(other) + " touched") +
            " since the last barrier");
}

void host_block::barrier() {
  here.at_barrier = true;
  if (may_wait_)
    team_->wait();
  else
    here.log->note("thread " + std::to_string(here.thread) +
                   " waits at a barrier, but the body declares none");
}

host_block::fragment* host_block::exchange(const fragment& mine) {
  if (fragments_.empty()) fragments_.resize(std::size_t{2} * most_threads);
  const std::size_t turn = here.exchanges % 2 * most_threads;
  fragments_[turn + here.thread] = mine;
  here.at_barrier = false;
  if (may_wait_)
    team_->wait();
  else
    here.log->note("thread " + std::to_string(here.thread) +
                   " multiplies with its warp, but the body declares no barriers");
  return &fragments_[turn];
}

namespace {

std::uint64_t mixed(std::uint64_t a) {
  a = (a ^ (a >> 31)) * 0x9e3779b97f4a7c15U;
  return a ^ (a >> 29);
}

/// The numbers 0 … count-1 in another order: each is the one before plus a step that has no divisor in common with
/// count, modulo count.
class order {
 public:
  order(std::int64_t count, std::uint64_t seed) : count_(static_cast<std::uint64_t>(count)) {
    const std::uint64_t drawn = mixed(seed + 1);
    first_ = drawn % count_;
    step_ = mixed(drawn) % count_;
    while (std::gcd(step_, count_) != 1) ++step_;
    step_ %= count_;
  }
  /// Number i of the order, 0 ≤ i < count < 2³¹.
  std::int64_t operator[](std::int64_t i) const {
    return static_cast<std::int64_t>((first_ + static_cast<std::uint64_t>(i) * step_) % count_);
  }
  template <class F>
  void for_each(F&& f) const {
    std::uint64_t at = first_;
    for (std::uint64_t i = 0; i < count_; ++i) {
      f(static_cast<int>(at));
      at += step_;
      if (at >= count_) at -= count_;
    }
  }

 private:
  std::uint64_t count_, first_ = 0, step_ = 0;
};

/// What one thread of the CPU keeps from block to block.
struct stage {
  fiber_team team;
  std::vector<std::byte> shared;
};

thread_local stage on_this_thread;

struct one_block {
  const host_body& body;
  host_block& block;
  void* shared;
  const void* arguments;
};

void run_thread(void* context, int member) {
  const auto& b = *static_cast<one_block*>(context);
  here.thread = static_cast<std::uint16_t>(member);
  b.body.run(b.block, b.shared, b.arguments);
}

/// All threads to the next barrier or exchange within warps, in a new order, and again until all have ended.
void run_with_barriers(one_block& b, int threads, std::uint64_t seed, fiber_team& team, fault_log& log) {
  team.begin(threads, run_thread, &b);
  std::vector<bool> ended(static_cast<std::size_t>(threads), false);
  for (int left = threads; left > 0;) {
    int at_barrier = 0, at_exchange = 0;
    order(threads, seed + here.interval + here.exchanges).for_each([&](int member) {
      if (ended[static_cast<std::size_t>(member)]) return;
      here.thread = static_cast<std::uint16_t>(member);
      if (team.resume(member)) {
        ++(here.at_barrier ? at_barrier : at_exchange);
      } else {
        ended[static_cast<std::size_t>(member)] = true;
        --left;
      }
    });
    const int most = std::max(at_barrier, at_exchange);
    if (most > 0 && most < threads && !log.any())
      log.note("a barrier was reached by " + std::to_string(most) + " of " + std::to_string(threads) +
               " threads");
    ++(at_exchange > at_barrier ? here.exchanges : here.interval);
  }
}

void run_block(std::int64_t number, const launch_shape& shape, const host_body& body, const void* arguments,
               std::uint64_t seed, stage& on, fault_log& log) {
  here.interval = 1;
  here.exchanges = 0;
  here.fill = mixed(seed) % 2 == 0 ? 0xff : 0x7b;  // a NaN, or a large finite number
  here.log = &log;
  body.make_shared(on.shared.data());
  host_block block(number, &on.team, body.barriers);
  one_block b{body, block, on.shared.data(), arguments};
  if (body.barriers) {
    run_with_barriers(b, shape.threads, seed, on.team, log);
    return;
  }
  order(shape.threads, seed).for_each([&](int member) { run_thread(&b, member); });
}

}  // namespace

std::string run_on_host(const launch_shape& shape, const host_body& body, const void* arguments,
                        const host_options& how) {
  if (const char* const refusal = refuse(shape)) return refusal;
  if (shape.blocks == 0) return {};
  fault_log log;
  const order turn(shape.blocks, how.seed);
#pragma omp parallel num_threads(how.threads)
  {
    stage& on = on_this_thread;
    if (on.shared.size() < body.shared_bytes) on.shared.resize(body.shared_bytes);
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < shape.blocks; ++i)
      run_block(turn[i], shape, body, arguments, how.seed * 1'000'003 + static_cast<std::uint64_t>(i), on,
                log);
  }
  return log.text();
}

}  // namespace plumb::cuda
