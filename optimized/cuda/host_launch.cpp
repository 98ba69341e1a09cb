#include "optimized/cuda/host_launch.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "optimized/cuda/fibers.hpp"
#include "optimized/cuda/host_async.hpp"

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

void watch::report(const std::string& text) const {
  log->note("thread " + std::to_string(thread) + ": " + text);
}

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
  here.waits = watch::reason::barrier;
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
  here.waits = watch::reason::exchange;
  if (may_wait_)
    team_->wait();
  else
    here.log->note("thread " + std::to_string(here.thread) +
                   " multiplies with its warp, but the body declares no barriers");
  return &fragments_[turn];
}

void host_block::wait_for_event() {
  here.waits = watch::reason::event;
  if (may_wait_) return team_->wait();
  here.report("waits for others, but the body declares no barriers");
  here.abandoned = true;
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

/// The threads of a block that runs: who has ended, and what the others wait for.
class crew {
 public:
  crew(int threads, one_block& b, fiber_team& team) : team_(team), left_(threads) {
    team_.begin(threads, run_thread, &b);
    ended_.resize(static_cast<std::size_t>(threads));
    waits_.resize(static_cast<std::size_t>(threads), watch::reason::event);
  }
  bool any_left() const { return left_ > 0; }
  int waiting_for(watch::reason r) const {
    return static_cast<int>(std::count(waits_.begin(), waits_.end(), r));
  }
  bool ended(int member) const { return ended_[static_cast<std::size_t>(member)]; }

  /// Lets those go on, in a new order, that wait for `r`.
  void resume(watch::reason r, std::uint64_t seed) {
    const std::vector<watch::reason> before = waits_;
    order(static_cast<std::int64_t>(ended_.size()), seed).for_each([&](int member) {
      const auto at = static_cast<std::size_t>(member);
      if (ended_[at] || before[at] != r) return;
      here.thread = static_cast<std::uint16_t>(member);
      if (team_.resume(member)) {
        waits_[at] = here.waits;
        return;
      }
      ended_[at] = true;
      waits_[at] = watch::reason::none;
      --left_;
    });
  }

 private:
  fiber_team& team_;
  std::vector<bool> ended_;
  std::vector<watch::reason> waits_;
  int left_;
};

/// Those that wait for events, until all of them wait for something that does not come by itself. Copies are brought to
/// their ends as late as can be, or a little before, by lot.
void run_events(crew& c, host_async* async, std::uint64_t seed) {
  for (std::uint64_t round = 1; c.waiting_for(watch::reason::event) > 0; ++round) {
    const std::uint64_t events = here.events, lot = mixed(seed + round);
    const int waiting = c.waiting_for(watch::reason::event);
    if (async != nullptr && lot % 4 == 0) async->finish_one(lot >> 8);
    c.resume(watch::reason::event, lot);
    const bool moved = events != here.events || waiting != c.waiting_for(watch::reason::event);
    if (moved || (async != nullptr && async->finish_one(lot >> 8)) || here.abandoned) continue;
    here.log->note(std::to_string(waiting) + " threads of the block wait for what never comes");
    here.abandoned = true;
  }
}

/// All threads to the next barrier or exchange within warps, in a new order, and again until all have ended.
void run_with_barriers(one_block& b, int threads, std::uint64_t seed, fiber_team& team, fault_log& log) {
  crew c(threads, b, team);
  while (c.any_left()) {
    run_events(c, b.block.async(), seed + here.interval + here.exchanges);
    const int at_barrier = c.waiting_for(watch::reason::barrier),
              at_exchange = c.waiting_for(watch::reason::exchange);
    if (!c.any_left()) break;
    const int most = std::max(at_barrier, at_exchange);
    if (most < threads && !log.any())
      log.note("a barrier was reached by " + std::to_string(most) + " of " + std::to_string(threads) +
               " threads");
    const bool exchange = at_exchange > at_barrier;
    ++(exchange ? here.exchanges : here.interval);
    c.resume(exchange ? watch::reason::exchange : watch::reason::barrier,
             seed + here.interval + here.exchanges);
  }
}

void run_block(std::int64_t number, const launch_shape& shape, const host_body& body, const void* arguments,
               std::uint64_t seed, stage& on, fault_log& log) {
  here.interval = 1;
  here.exchanges = 0;
  here.fill = mixed(seed) % 2 == 0 ? 0xff : 0x7b;  // a NaN, or a large finite number
  here.log = &log;
  body.make_shared(on.shared.data());
  here.abandoned = false;
  const std::unique_ptr<host_async> async = body.warpgroups ? std::make_unique<host_async>() : nullptr;
  host_block block(number, &on.team, body.barriers, async.get());
  one_block b{body, block, on.shared.data(), arguments};
  if (body.barriers) {
    run_with_barriers(b, shape.threads, seed, on.team, log);
    if (async != nullptr && !log.any()) async->look_after();
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
