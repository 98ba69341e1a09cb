// Stacks are mapped once and kept; an inaccessible page lies below each. The switch itself saves the registers that a
// function call must preserve (System V AMD64 ABI, 3.2.1) and changes the stack pointer: a few nanoseconds, where
// swapcontext would ask the kernel for the signal mask each time. Other processors take swapcontext. The sanitizers
// are told about every switch.
#include "optimized/cuda/fibers.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define PLUMB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLUMB_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define PLUMB_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PLUMB_TSAN 1
#endif
#endif

#ifdef PLUMB_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef PLUMB_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace plumb::cuda {
namespace {

constexpr std::size_t page = 4096;
#if defined(PLUMB_ASAN) || defined(PLUMB_TSAN)
constexpr std::size_t stack_bytes = 256 << 10;
#else
constexpr std::size_t stack_bytes = 64 << 10;
#endif

struct fiber {
  std::byte* memory = nullptr;  ///< a guard page, then the stack
#if defined(__x86_64__)
  void* top = nullptr;  ///< stack pointer while it does not run
#else
  ucontext_t where;
#endif
  bool ended = false;
  void* sanitizer_stack = nullptr;
  void* sanitizer_fiber = nullptr;

  std::byte* stack() const { return memory + page; }
};

}  // namespace

struct fiber_team::state {
  std::vector<fiber> fibers;
  fiber_team::body run = nullptr;
  void* context = nullptr;
  int current = -1;
  fiber caller;  ///< whoever called resume()
  const void* caller_stack = nullptr;
  std::size_t caller_stack_bytes = 0;
};

namespace {

thread_local fiber_team::state* running = nullptr;

/// Around every switch: `to` is about to run, and, after the switch back, `from` runs again.
void announce(fiber& from, const fiber& to, const void* stack, std::size_t bytes, bool for_good) {
#ifdef PLUMB_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.sanitizer_stack, stack, bytes);
#endif
#ifdef PLUMB_TSAN
  __tsan_switch_to_fiber(to.sanitizer_fiber, 0);
#endif
  (void)from, (void)to, (void)stack, (void)bytes, (void)for_good;
}

void arrived([[maybe_unused]] fiber& here, [[maybe_unused]] const void** old_stack,
             [[maybe_unused]] std::size_t* old_bytes) {
#ifdef PLUMB_ASAN
  __sanitizer_finish_switch_fiber(here.sanitizer_stack, old_stack, old_bytes);
#endif
}

void run_member() {
  fiber_team::state& team = *running;
  fiber& self = team.fibers[static_cast<std::size_t>(team.current)];
  arrived(self, &team.caller_stack, &team.caller_stack_bytes);
  team.run(team.context, team.current);
  self.ended = true;
}

#if defined(__x86_64__)

extern "C" void plumb_switch_stack(void** save, void* to);
asm(R"(
.text
.globl plumb_switch_stack
.hidden plumb_switch_stack
.type plumb_switch_stack, @function
plumb_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size plumb_switch_stack, .-plumb_switch_stack
)");

void change(fiber& from, fiber& to) { plumb_switch_stack(&from.top, to.top); }

[[noreturn]] void start() {
  run_member();
  fiber_team::state& team = *running;
  fiber& self = team.fibers[static_cast<std::size_t>(team.current)];
  announce(self, team.caller, team.caller_stack, team.caller_stack_bytes, true);
  change(self, team.caller);
  __builtin_unreachable();
}

void make_ready(fiber& f) {
  constexpr int saved_registers = 6;
  auto* top = reinterpret_cast<void**>(f.stack() + stack_bytes);
  *--top = nullptr;                          // start() never returns; keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(&start);  // where `ret` goes
  for (int i = 0; i < saved_registers; ++i) *--top = nullptr;
  f.top = top;
}

#else

void change(fiber& from, fiber& to) { ::swapcontext(&from.where, &to.where); }

void start() {
  run_member();
  fiber_team::state& team = *running;
  fiber& self = team.fibers[static_cast<std::size_t>(team.current)];
  announce(self, team.caller, team.caller_stack, team.caller_stack_bytes, true);
  change(self, team.caller);
}

void make_ready(fiber& f) {
  ::getcontext(&f.where);
  f.where.uc_stack.ss_sp = f.stack();
  f.where.uc_stack.ss_size = stack_bytes;
  f.where.uc_link = nullptr;
  ::makecontext(&f.where, &start, 0);
}

#endif

std::byte* map_stack() {
  void* const at = ::mmap(nullptr, page + stack_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (at == MAP_FAILED || ::mprotect(at, page, PROT_NONE) != 0) throw std::bad_alloc();
  return static_cast<std::byte*>(at);
}

}  // namespace

fiber_team::fiber_team() : state_(std::make_unique<state>()) {
#ifdef PLUMB_TSAN
  state_->caller.sanitizer_fiber = __tsan_get_current_fiber();
#endif
}

fiber_team::~fiber_team() {
  for (fiber& f : state_->fibers) {
#ifdef PLUMB_TSAN
    __tsan_destroy_fiber(f.sanitizer_fiber);
#endif
    ::munmap(f.memory, page + stack_bytes);
  }
}

void fiber_team::begin(int count, body run, void* context) {
  auto& fibers = state_->fibers;
  while (fibers.size() < static_cast<std::size_t>(count)) {
    fiber fresh;
    fresh.memory = map_stack();
#ifdef PLUMB_TSAN
    fresh.sanitizer_fiber = __tsan_create_fiber(0);
#endif
    fibers.push_back(fresh);
  }
  state_->run = run;
  state_->context = context;
  for (int i = 0; i < count; ++i) {
    fiber& f = fibers[static_cast<std::size_t>(i)];
    f.ended = false;
    f.sanitizer_stack = nullptr;
    make_ready(f);
  }
}

bool fiber_team::resume(int member) {
  state& team = *state_;
  fiber& to = team.fibers[static_cast<std::size_t>(member)];
  state* const outer = running;
  running = &team;
  team.current = member;
  announce(team.caller, to, to.stack(), stack_bytes, false);
  change(team.caller, to);
  arrived(team.caller, nullptr, nullptr);
  running = outer;
  return !to.ended;
}

void fiber_team::wait() {
  state& team = *state_;
  fiber& self = team.fibers[static_cast<std::size_t>(team.current)];
  announce(self, team.caller, team.caller_stack, team.caller_stack_bytes, false);
  change(self, team.caller);
  arrived(self, &team.caller_stack, &team.caller_stack_bytes);
}

}  // namespace plumb::cuda
