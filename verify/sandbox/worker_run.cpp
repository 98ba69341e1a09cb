#include <dirent.h>
#include <malloc.h>
#include <omp.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <system_error>

#include "verify/sandbox/floating_point.hpp"
#include "verify/sandbox/worker.hpp"

namespace plumb {
namespace {

std::byte* map(void* where, std::size_t bytes, int protection, int flags, int descriptor,
               std::size_t offset) {
  void* const at = ::mmap(where, bytes, protection, flags, descriptor, static_cast<off_t>(offset));
  if (at == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  return static_cast<std::byte*>(at);
}

std::int64_t nanoseconds(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

std::int64_t entries_of(const char* directory) {
  std::int64_t count = 0;
  if (DIR* const d = ::opendir(directory)) {
    while (::readdir(d) != nullptr) ++count;
    ::closedir(d);
  }
  return count;
}

wire::holdings holdings_now() {
  wire::holdings h;
  const struct mallinfo2 heap = ::mallinfo2();
  h.bytes = static_cast<std::int64_t>(heap.uordblks + heap.hblkhd);
  if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
    long data = 0;
    if (std::fscanf(file, "%*d %*d %*d %*d %*d %ld", &data) == 1) h.pages = data;
    std::fclose(file);
  }
  h.threads = entries_of("/proc/self/task");
  h.descriptors = entries_of("/proc/self/fd");
  return h;
}

template <std::size_t Size>
void copy_text(char (&to)[Size], std::string_view text) {
  const std::size_t length = std::min(text.size(), Size - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

/// Scratch memory against one end of the workspace slot, 64-byte aligned, poisoned, canaries on the open
/// sides.
struct workspace {
  std::byte* low = nullptr;  ///< canaries from here to begin
  std::byte* begin = nullptr;
  std::byte* end = nullptr;
  std::byte* high = nullptr;  ///< canaries from end to here

  static std::optional<workspace> lay(std::byte* slot, std::size_t bytes, const wire::run_record& how) {
    constexpr std::size_t alignment = 64;
    const std::size_t skew = static_cast<std::size_t>(how.workspace_skew) * alignment;
    if (bytes + skew + alignment > wire::slot_bytes) return std::nullopt;
    workspace w;
    std::byte* const slot_end = slot + wire::slot_bytes;
    w.begin =
        how.workspace_at_end ? slot + (wire::slot_bytes - bytes - skew) / alignment * alignment : slot + skew;
    w.end = w.begin + bytes;
    w.low = w.begin - std::min<std::size_t>(wire::canary_bytes, static_cast<std::size_t>(w.begin - slot));
    w.high = w.end + std::min<std::size_t>(wire::canary_bytes, static_cast<std::size_t>(slot_end - w.end));
    std::memset(w.low, wire::canary, static_cast<std::size_t>(w.begin - w.low));
    if (!how.workspace_kept) std::memset(w.begin, how.workspace_fill, bytes);
    std::memset(w.end, wire::canary, static_cast<std::size_t>(w.high - w.end));
    return w;
  }

  /// 0, or the distance of the nearest changed canary: > 0 past the end, < 0 before the start.
  std::int64_t damage() const {
    const auto changed = [](std::byte b) { return b != std::byte{wire::canary}; };
    if (const std::byte* at = std::find_if(end, high, changed); at != high) return at - end + 1;
    for (const std::byte* at = begin; at != low; --at)
      if (changed(at[-1])) return at - 1 - begin;
    return 0;
  }
};

}  // namespace

mapped_arena::mapped_arena(int descriptor) : descriptor_(descriptor), mapped_(wire::slot_count, false) {
  commands_ = map(nullptr, wire::command_bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  results_ = reinterpret_cast<wire::result_record*>(
      map(nullptr, wire::result_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, wire::command_bytes));
  region_ = map(nullptr, wire::region_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

std::byte* mapped_arena::slot(int number) {
  std::byte* const at = region_ + wire::region_offset(number);
  if (const auto i = static_cast<std::size_t>(number); !mapped_[i]) {
    map(at, wire::slot_bytes, number < wire::read_slots ? PROT_READ : PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_FIXED | MAP_NORESERVE, descriptor_, wire::slot_offset(number));
    mapped_[i] = true;
  }
  return at;
}

struct executor::decoded_run {
  std::string_view kernel, resolved, canonical;
  wire::run_record how;
  std::vector<tensor_ref> reads, writes;
};

void executor::decode(wire::reader& in, decoded_run& run, mapped_arena& arena) {
  run.kernel = in.text();
  run.resolved = in.text();
  run.canonical = in.text();
  run.how = in.get<wire::run_record>();
  const auto read_tensors = [&](std::vector<tensor_ref>& list, int count) {
    list.clear();
    for (int i = 0; i < count; ++i) {
      const auto t = in.get<wire::tensor_record>();
      list.push_back({t.slot < 0 ? nullptr : arena.slot(t.slot) + t.offset, t.type, t.extents, t.strides});
    }
  };
  read_tensors(run.reads, run.how.read_count);
  read_tensors(run.writes, run.how.write_count);
}

void executor::enter(wire::phase at, std::uint32_t run, std::string_view subject) {
  copy_text(control_.subject, subject);
  control_.run.store(run, std::memory_order_relaxed);
  control_.since_ns.store(nanoseconds(CLOCK_MONOTONIC), std::memory_order_relaxed);
  control_.at.store(at, std::memory_order_release);
}

void executor::run_batch(mapped_arena& arena, std::uint32_t serial, std::uint32_t first) {
  wire::reader in(arena.commands());
  const auto count = in.get<std::uint32_t>();
  control_.run.store(wire::no_run, std::memory_order_relaxed);
  control_.batch.store(serial, std::memory_order_relaxed);
  for (live_plan& kept : plans_) {
    kept.last_run = wire::no_run;
    kept.keep = false;
  }
  decoded_run run;
  for (std::uint32_t i = 0; i < count; ++i) {
    decode(in, run, arena);
    if (i < first || run.how.skip) continue;  // done already, by the worker that this one replaces
    wire::result_record& result = arena.results()[i];
    enter(wire::phase::running, i, run.kernel);
    execute(run, i, arena, result);
    control_.at.store(wire::phase::idle, std::memory_order_release);
  }
  release_plans();
}

const kernel_problem& executor::problem_of(const decoded_run& run) {
  if (problem_text_ != run.resolved || canonical_text_ != run.canonical) {
    problem_text_ = run.resolved;
    canonical_text_ = run.canonical;
    problem_.problem = problem::parse(run.resolved);
    problem_.canonical = run.canonical;
  }
  problem_.type = run.how.type;
  problem_.layout = run.how.layout;
  problem_.threads = run.how.threads;
  return problem_;
}

executor::live_plan* executor::find_plan(const decoded_run& run) {
  for (live_plan& p : plans_)
    if (p.kernel == run.kernel && p.resolved == run.resolved && p.how.type == run.how.type &&
        p.how.layout == run.how.layout && p.how.threads == run.how.threads)
      return &p;
  return nullptr;
}

executor::live_plan* executor::make_plan(const decoded_run& run, const kernel& k,
                                         wire::result_record& result) {
  const auto decline = [&](std::string_view reason) {
    result.what = wire::outcome::declined;
    copy_text(result.text, reason);
    return nullptr;
  };
  if (!k.unavailable.empty()) return decline(k.unavailable);
  if (std::ranges::find(k.types, run.how.type) == k.types.end())
    return decline("does not take " + std::string(name_of(run.how.type)));
  if (std::ranges::find(k.layouts, run.how.layout) == k.layouts.end())
    return decline("does not take " + std::string(name_of(run.how.layout)));
  const kernel_problem& problem = problem_of(run);
  control_.in.store(wire::stage::supports, std::memory_order_relaxed);
  if (k.supports)
    if (const support answer = k.supports(problem); !answer.ok) return decline(answer.reason);
  control_.in.store(wire::stage::make_plan, std::memory_order_relaxed);
  live_plan fresh{std::string(run.kernel), std::string(run.resolved), run.how, k.make_plan(problem)};
  if (!fresh.made) throw std::runtime_error("make_plan returned no plan");
  fresh.implementation = fresh.made->implementation();
  if (live_plan* old = find_plan(run)) {
    *old = std::move(fresh);
    return old;
  }
  plans_.push_back(std::move(fresh));
  return &plans_.back();
}

void executor::execute(const decoded_run& run, std::uint32_t index, mapped_arena& arena,
                       wire::result_record& result) {
  result = {};
  result.what = wire::outcome::failed;
  several_kernels_ = several_kernels_ || (!only_kernel_.empty() && only_kernel_ != run.kernel);
  only_kernel_ = run.kernel;
  result.first_in_process = several_kernels_ ? 0 : 1;
  omp_set_num_threads(run.how.threads);
  try {
    const kernel* const k = kernels_.find(run.kernel);
    if (k == nullptr) throw std::runtime_error("the worker has no such kernel");
    live_plan* live = run.how.reuse_plan ? find_plan(run) : nullptr;
    const bool made_now = live == nullptr;
    if (made_now) live = make_plan(run, *k, result);
    if (live == nullptr) return;
    live->last_run = index;
    live->keep = run.how.keep_plan;
    plan& p = *live->made;
    copy_text(result.implementation, live->implementation);
    result.workspace_bytes = p.workspace_size();
    if (!run.how.query) {
      control_.in.store(wire::stage::prepare, std::memory_order_relaxed);
      if (made_now || run.how.prepare) p.prepare(run.reads);
      control_.in.store(wire::stage::run, std::memory_order_relaxed);
      call(run, *k, p, arena, result);
    }
    if (const std::string failure = p.failure(); !failure.empty()) throw std::runtime_error(failure);
    result.what = wire::outcome::ok;
  } catch (const std::exception& error) {
    copy_text(result.text, error.what());
  } catch (...) {
    copy_text(result.text, "threw something that is no std::exception");
  }
}

void executor::call(const decoded_run& run, const kernel& k, plan& p, mapped_arena& arena,
                    wire::result_record& result) {
  std::optional<workspace> scratch;
  if (result.workspace_bytes != 0) {
    std::byte* const slot = arena.slot(wire::workspace_slot);
    scratch = workspace::lay(slot, result.workspace_bytes, run.how);
    if (!scratch)
      throw std::runtime_error("asks for " + std::to_string(result.workspace_bytes) +
                               " bytes of workspace, more than the sandbox has");
    result.workspace_offset = static_cast<std::uint64_t>(scratch->begin - slot);
  }
  const kernel_call c{run.reads, run.writes, scratch ? scratch->begin : nullptr, run.how.threads};
  const std::uint32_t before = floating_point_state();
  const std::int64_t cpu_start = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  const std::int64_t start = nanoseconds(CLOCK_MONOTONIC);
  p.run(c);
  const std::int64_t stop = nanoseconds(CLOCK_MONOTONIC);
  const std::int64_t cpu_stop = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  const std::uint32_t after = floating_point_state();
  restore_floating_point_state(before);
  result.seconds = static_cast<double>(stop - start) * 1e-9;
  result.cpu_seconds = static_cast<double>(cpu_stop - cpu_start) * 1e-9;
  result.fp_before = before;
  result.fp_after = after;
  if (scratch) result.workspace_damage = scratch->damage();
  if (run.how.repeat > 0) endure(run, k, c, result);
}

/// Plans are made anew every hundred calls, so that what only they leave behind shows too. Both halves of the calls must
/// have grown: a cache that fills once is no leak.
void executor::endure(const decoded_run& run, const kernel& k, const kernel_call& c,
                      wire::result_record& result) {
  constexpr int calls_of_a_plan = 100, most_handles = 64;
  constexpr double most_seconds = 0.4;
  constexpr timespec idle{0, 20'000'000};
  const std::uint32_t state = floating_point_state();
  const std::int64_t start = nanoseconds(CLOCK_MONOTONIC);
  const auto repeat = [&](int calls, std::int64_t stop, const wire::holdings& before) {
    int done = 0;
    const auto in_time = [stop] { return nanoseconds(CLOCK_MONOTONIC) < stop; };
    while (done < calls && in_time()) {
      const std::unique_ptr<plan> fresh = k.make_plan(problem_of(run));
      fresh->prepare(run.reads);
      // A slow kernel must not meet the time limit of a single call here.
      for (int i = 0; i < calls_of_a_plan && done < calls && in_time(); ++i, ++done) fresh->run(c);
      const wire::holdings now = holdings_now();  // one that takes more each time must be stopped
      if (now.threads > before.threads + most_handles || now.descriptors > before.descriptors + most_handles)
        break;
    }
    result.repeated += done;
  };
  const auto after = [start](double share) {
    return start + static_cast<std::int64_t>(share * most_seconds * 1e9);
  };
  repeat(2 * calls_of_a_plan, after(0.2), holdings_now());
  const wire::holdings before = holdings_now();
  repeat(run.how.repeat / 2, after(0.6), before);
  const wire::holdings halfway = holdings_now();
  repeat(run.how.repeat / 2, after(1), halfway);
  restore_floating_point_state(state);
  const wire::holdings end = holdings_now();
  const auto grown = [](std::int64_t a, std::int64_t b, std::int64_t c_) { return std::min(b - a, c_ - b); };
  result.grown = {grown(before.bytes, halfway.bytes, end.bytes),
                  grown(before.pages, halfway.pages, end.pages),
                  grown(before.threads, halfway.threads, end.threads),
                  grown(before.descriptors, halfway.descriptors, end.descriptors)};
  const std::int64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  ::nanosleep(&idle, nullptr);
  result.idle_cpu_seconds = static_cast<double>(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e-9;
}

void executor::release_plans() {
  const live_plan* kept = nullptr;
  for (const live_plan& p : plans_)
    if (p.keep && (kept == nullptr || p.last_run > kept->last_run)) kept = &p;
  for (live_plan& p : plans_) {
    if (&p == kept) continue;
    enter(wire::phase::releasing, p.last_run, p.kernel);
    p.made.reset();
  }
  std::erase_if(plans_, [](const live_plan& p) { return p.made == nullptr; });
  control_.at.store(wire::phase::idle, std::memory_order_release);
}

}  // namespace plumb
