// The sandbox: runs kernels in `plumb-worker`, a process of its own, and turns whatever they do into a
// result.
//
// A batch of runs over the tensors of one arena goes to the worker in one message. `submit` returns at once;
// while the worker computes, the caller works out the expected values of the next case in another arena, and
// `wait` collects. A crash, a hang, an exit are results of the run that caused them; the rest of the batch is
// run by a fresh worker. Expected values never exist in the worker. One thread at a time may use a sandbox.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "verify/sandbox/arena.hpp"
#include "verify/sandbox/kernel_info.hpp"
#include "verify/sandbox/wire.hpp"

namespace plumb {

/// A plugin that cannot be loaded. exit_code is 2 (missing or malformed) or 3 (another ABI version).
class plugin_error : public std::runtime_error {
 public:
  plugin_error(const std::string& sentence, int code) : std::runtime_error(sentence), exit_code(code) {}
  int exit_code;
};

/// The worker itself cannot be started or does not answer.
class sandbox_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One call of one kernel.
struct kernel_run {
  std::string kernel;     ///< `conv2d.forward/direct@avx3`
  std::string resolved;   ///< problem text with every shape and attribute
  std::string canonical;  ///< problem text with defaults left out: what plugins see
  dtype type = dtype::f32;
  plumb::layout layout = layout::nchw;
  int threads = 1;
  std::vector<placed_tensor> reads;  ///< in the order of the layer's pass; placed in the arena of the batch
  std::vector<placed_tensor> writes;
  placement workspace;  ///< 64-byte alignment is kept, the slack is filled with canaries
  poison workspace_fill = poison::nan;
  bool workspace_kept = false;  ///< not filled: what the run before this one left there stays
  /// Take the plan of an earlier run of the same kernel, problem, dtype, layout and threads (of this batch,
  /// or kept from an earlier one) instead of making a new one.
  bool reuse_plan = false;
  bool keep_plan = false;  ///< do not release the plan at the end of the batch; one plan at a time is kept
  bool prepare = true;     ///< call the plan's `prepare`; always done for a new plan
  int repeat = 0;  ///< call it so many times more, with a new plan now and then, and see what is left behind
  bool query = false;  ///< only ask: supported? how much workspace? which implementation? Needs no tensors.
};

enum class run_status { ok, declined, failed, crashed, timeout };
constexpr std::string_view name_of(run_status s) {
  constexpr std::string_view names[] = {"ok", "declined", "failed", "crashed", "timeout"};
  return names[static_cast<int>(s)];
}

/// Where a crash touched memory.
struct crash_site {
  enum class where {
    unknown,
    before_start,
    past_end,
    write_to_input,
    null_pointer,
    other_tensor,
    stack,
    elsewhere
  };
  where kind = where::unknown;
  std::string tensor;  ///< or `workspace`
  std::ptrdiff_t bytes =
      0;  ///< from the tensor: 1 is the neighbour; for write_to_input, from its lowest byte
  bool write = false;
};

struct run_result {
  run_status status = run_status::ok;
  std::string text;    ///< why declined, failed or crashed, in one sentence; empty when ok
  std::string signal;  ///< `SIGSEGV`, … when crashed by one
  crash_site site;
  std::string output;            ///< the end of what the process printed, when crashed or failed
  std::string floating_point;    ///< not empty: how the call changed the floating-point environment
  std::string workspace_damage;  ///< not empty: "wrote 4 bytes past the end of the workspace"
  std::string implementation;    ///< what the plan says of itself
  double seconds = 0;            ///< wall time of `run`
  double cpu_seconds = 0;        ///< of all threads
  std::size_t workspace_bytes = 0;
  std::int64_t repeated = 0;      ///< calls beyond the first; fewer than asked for if they took long
  wire::holdings grown;           ///< in each half of the repeated calls at least so much
  double idle_cpu_seconds = 0;    ///< spent while nothing was called, in 1/50 s after the last one
  bool first_in_process = false;  ///< no other kernel had run in that worker before
};

/// A crash that belongs to no run: between calls, or while a kept plan was released.
struct stray_crash {
  std::string kernel;  ///< the last one that ran, or whose plan was released
  std::string text;
};

struct sandbox_options {
  std::string worker;  ///< path; default: $PLUMB_WORKER, else `plumb-worker` beside the running executable
  std::vector<std::string> plugins;
  std::chrono::duration<double> time_limit = std::chrono::seconds(10);  ///< for one run
  int arenas = 2;
  int spares = 1;         ///< workers started ahead, to take over after a crash
  bool fill_heap = true;  ///< fresh and freed heap memory in the worker is filled with a pattern
  std::vector<std::pair<std::string, std::string>> environment;  ///< set on top of this process's and of
                                                                 ///< ours; empty: left as this process has it
};

struct sandbox_counters {
  long runs = 0, batches = 0, crashes = 0, timeouts = 0, workers = 0;
};

class sandbox {
 public:
  /// Starts a worker and loads the plugins there. Throws plugin_error, sandbox_error.
  explicit sandbox(sandbox_options options = {});
  ~sandbox();
  sandbox(const sandbox&) = delete;
  sandbox& operator=(const sandbox&) = delete;

  /// Every kernel of the worker, built-in ones first.
  const std::vector<kernel_info>& kernels() const;

  int arenas() const;
  arena& at(int number);

  /// Starts the runs and returns. The arena must not be touched until `wait` has returned its results;
  /// batches of several arenas may be under way and are worked off in order. At most max_runs runs.
  static constexpr std::size_t max_runs = 512;
  void submit(arena& a, std::vector<kernel_run> runs);
  /// One result a run, in order.
  std::vector<run_result> wait(arena& a);
  std::vector<run_result> run(arena& a, std::vector<kernel_run> runs) {
    submit(a, std::move(runs));
    return wait(a);
  }

  /// For everything that is not a judged run (benchmarks): hands a text to the worker's service of that name
  /// and returns its answer. Nothing may be under way. Throws sandbox_error if the worker dies, hangs or
  /// knows no such service.
  std::string call(std::string_view service, const std::string& request,
                   std::chrono::duration<double> time_limit);

  /// Crashes outside every run since the last call of this function.
  std::vector<stray_crash> take_stray_crashes();
  /// Ends the worker; the next batch is run by a fresh one. Nothing may be under way.
  void restart();
  const sandbox_counters& counters() const;
  /// How long one run may take; from now on, `limit`. Nothing may be under way.
  std::chrono::duration<double> time_limit() const;
  void limit_time(std::chrono::duration<double> limit);
  /// Blocks of instrumented plugins that have run in the present worker; 0 if none is instrumented.
  std::uint32_t blocks_ran() const;

 private:
  struct body;
  std::unique_ptr<body> body_;
};

}  // namespace plumb
