// Kernels that do what a kernel must not: each is named after its misdeed.
#include <immintrin.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <plumb/plugin.hpp>
#include <stdexcept>

namespace {

struct copy_problem {
  std::int64_t n;
  static copy_problem read(plumb::problem_reader& reader, int) {
    reader.knows_only({"x"});
    return {reader.shape("x", 1)[0]};
  }
};

struct operands {
  std::int64_t n;
  const float* x;
  float* y;
  const plumb_call& call;
};

plumb::plugin_kernel hazard(const std::string& name, void (*misdeed)(const operands&)) {
  return plumb::plugin_kernel::of<copy_problem>(
      "copy.forward/" + name + "@bad", [misdeed](const copy_problem& p, const plumb_call& call) {
        misdeed({p.n, plumb::read_pointer<float>(call, 0), plumb::write_pointer<float>(call, 0), call});
      });
}

/// Crashes when it reads the problem: in `supports`, or the second time, in `open`.
template <int Call>
struct crashing_problem {
  static crashing_problem read(plumb::problem_reader&, int) {
    static int calls = 0;
    if (++calls == Call) std::abort();
    return {};
  }
};

template <int Call>
plumb::plugin_kernel crashing(const std::string& name) {
  return plumb::plugin_kernel::of<crashing_problem<Call>>("copy.forward/" + name + "@bad",
                                                          [](const auto&, const plumb_call&) {});
}

void copy(const operands& o) {
  for (std::int64_t i = 0; i < o.n; ++i) o.y[i] = o.x[i];
}

volatile int zero = 0;
volatile float sink = 0;

void keep(float value) { sink = value; }

int overflow_the_stack(volatile int* deeper) {
  volatile int frame[1024] = {};
  frame[0] = *deeper + 1;
  return (zero == 0 ? overflow_the_stack(frame) : 0) + frame[1];
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {
      hazard("honest", copy),
      hazard("null", [](const operands&) { *static_cast<volatile float*>(nullptr) = 1; }),
      hazard("wild", [](const operands&) { *reinterpret_cast<volatile float*>(0x123456789000) = 1; }),
      hazard("not_canonical",
             [](const operands&) { *reinterpret_cast<volatile float*>(0xdead00000000beef) = 1; }),
      hazard("reads_past_the_end", [](const operands& o) { copy(o), keep(o.x[o.n + 2]); }),
      hazard("reads_before_the_start", [](const operands& o) { copy(o), keep(o.x[-1]); }),
      hazard("writes_past_the_end", [](const operands& o) { copy(o), o.y[o.n] = 0; }),
      hazard("writes_before_the_start", [](const operands& o) { copy(o), o.y[-1] = 0; }),
      hazard("writes_its_input", [](const operands& o) { copy(o), const_cast<float*>(o.x)[1] = 0; }),
      hazard("hangs",
             [](const operands&) {
               while (zero == 0) sink = sink + 1;
             }),
      hazard("works_long",
             [](const operands& o) {
               timespec spent{};
               do ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
               while (spent.tv_sec == 0 && spent.tv_nsec < 300'000'000);
               copy(o);
             }),
      hazard("aborts", [](const operands&) { std::abort(); }),
      hazard("asserts",
             [](const operands&) {
               std::fputs("the sky must not fall\n", stderr);
               std::abort();
             }),
      hazard("throws", [](const operands&) { throw std::runtime_error("thrown in run"); }),
      hazard("exits", [](const operands&) { std::exit(3); }),
      hazard("divides_by_zero", [](const operands&) { zero = 100 / zero; }),
      hazard("illegal", [](const operands&) { __builtin_trap(); }),
      hazard("overflows_the_stack",
             [](const operands&) {
               int start = 0;
               sink = static_cast<float>(overflow_the_stack(&start));
             }),
      hazard("flushes_to_zero", [](const operands& o) { copy(o), _mm_setcsr(_mm_getcsr() | 0x8040); }),
      hazard("rounds_up", [](const operands& o) { copy(o), _mm_setcsr((_mm_getcsr() & ~0x6000U) | 0x4000); }),
      hazard("prints",
             [](const operands& o) {
               copy(o);
               for (int i = 0; i < 1000; ++i) std::printf("garbage %d {\"kernels\": []}\n", i);
               std::fflush(stdout);
             }),
      hazard("prints_without_end",
             [](const operands& o) {
               copy(o);
               for (int i = 0; i < 200000; ++i)
                 std::printf("a long line of garbage that fills the memory file %d\n", i);
             }),
      hazard("writes_half",
             [](const operands& o) {
               for (std::int64_t i = 0; i < o.n; i += 2) o.y[i] = o.x[i];
             }),
      hazard("crashes_in_a_team",
             [](const operands& o) {
#pragma omp parallel for num_threads(2)
               for (int i = 0; i < 2; ++i)
                 if (i == 1) o.y[o.n] = 0;
             }),
      hazard("crashes_later",
             [](const operands& o) {
               copy(o);
               pthread_t thread;
               const auto late = [](void*) -> void* {
                 ::usleep(20000);
                 std::abort();
               };
               if (pthread_create(&thread, nullptr, late, nullptr) == 0) pthread_detach(thread);
             }),
      crashing<1>("crashes_in_supports"),
      crashing<2>("crashes_in_open"),
      hazard("closes_everything",
             [](const operands& o) {
               copy(o);
               for (int i = 0; i < 64; ++i) ::close(i);
             }),
  };
}
