#include "verify/sandbox/worker_crash.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <thread>

namespace plumb {
namespace {

wire::control_block* control = nullptr;

bool was_write([[maybe_unused]] const void* context) {
#if defined(__x86_64__)
  constexpr greg_t write_access = 2;  // bit 1 of the page fault's error code
  return (static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & write_access) != 0;
#else
  return false;
#endif
}

// Only async-signal-safe work here: the heap may be in ruins.
void leave_last_words(int number, siginfo_t* info, void* context) {
  int none = 0;
  if (!control->signal.compare_exchange_strong(none, -1)) {
    for (;;) ::pause();  // another thread is already ending the process
  }
  control->signal_code = info->si_code;
  control->fault_address = reinterpret_cast<std::uint64_t>(info->si_addr);
  control->fault_is_write = number == SIGSEGV && was_write(context);
  control->signal.store(number, std::memory_order_release);
  ::_exit(128 + number);
}

/// Reads the process's whole memory map, so once, before the arenas are mapped.
void note_stack_limits() {
  if (control->stack_high != 0) return;
  pthread_attr_t attributes;
  void* low = nullptr;
  std::size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  control->stack_low = reinterpret_cast<std::uint64_t>(low);
  control->stack_high = control->stack_low + size;
}

}  // namespace

void install_crash_handlers(wire::control_block* block) {
  control = block;
  note_stack_limits();
  constexpr std::size_t alternate_bytes = 64 * 1024;
  stack_t alternate{};
  alternate.ss_sp =
      ::mmap(nullptr, alternate_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  alternate.ss_size = alternate_bytes;
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_sigaction = leave_last_words;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS})
    ::sigaction(number, &action, nullptr);
}

void die_with_parent(int socket) {
  std::thread([socket] {
    pollfd hangup{socket, 0, 0};  // no events asked for: POLLHUP is always reported
    while (::poll(&hangup, 1, -1) <= 0) {
    }
    ::_exit(0);
  }).detach();
}

}  // namespace plumb
