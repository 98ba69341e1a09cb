#include "verify/sandbox/sandbox.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <deque>
#include <filesystem>

#include "verify/sandbox/crash_report.hpp"
#include "verify/sandbox/floating_point.hpp"
#include "verify/sandbox/greeting.hpp"
#include "verify/sandbox/worker_process.hpp"

namespace plumb {
namespace {

constexpr double start_limit = 60;  ///< seconds for a worker to load its libraries, on a busy machine
constexpr int most_vain_starts = 20;

double now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// $PLUMB_WORKER, else `plumb-worker` beside the running executable, else in $PLUMB_BUILD_DIR (tests).
std::string find_worker(const std::string& asked) {
  if (!asked.empty()) return asked;
  if (const char* given = std::getenv("PLUMB_WORKER")) return given;
  char self[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  std::filesystem::path beside("plumb-worker");
  if (length > 0)
    beside =
        std::filesystem::path(std::string(self, static_cast<std::size_t>(length))).replace_filename(beside);
  const char* const build = std::getenv("PLUMB_BUILD_DIR");
  if (::access(beside.c_str(), X_OK) != 0 && build != nullptr) return std::string(build) + "/plumb-worker";
  return beside;
}

/// Writes the runs of a batch into the arena's command area; those that are settled are not to be run.
void encode_runs(const std::vector<kernel_run>& runs, const std::vector<bool>& settled, const arena& a) {
  wire::writer out(a.commands(), wire::command_bytes);
  out.put(static_cast<std::uint32_t>(runs.size()));
  const auto put_tensors = [&](const std::vector<placed_tensor>& tensors) {
    for (const placed_tensor& t : tensors) {
      wire::tensor_record r;
      r.slot = t.slot;
      r.type = t.here.type;
      r.extents = t.here.extents;
      r.strides = t.here.strides;
      if (t.slot >= 0) {
        if (t.slot_begin != a.commands() + wire::slot_offset(t.slot))
          throw std::logic_error("tensor `" + t.name + "` was placed in another arena than its batch");
        r.offset = static_cast<std::uint64_t>(static_cast<std::byte*>(t.here.data) - t.slot_begin);
      }
      out.put(r);
    }
  };
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const kernel_run& run = runs[i];
    out.put(run.kernel);
    out.put(run.resolved);
    out.put(run.canonical);
    out.put(wire::run_record{run.layout, run.type, run.threads, static_cast<std::int32_t>(run.reads.size()),
                             static_cast<std::int32_t>(run.writes.size()), run.workspace.skew, run.repeat,
                             run.workspace.at_end, static_cast<unsigned char>(run.workspace_fill),
                             run.workspace_kept, run.reuse_plan, run.keep_plan, run.prepare, run.query,
                             settled[i]});
    put_tensors(run.reads);
    put_tensors(run.writes);
  }
  if (out.full()) throw std::length_error("the batch is too large for the sandbox's command area of 1 MiB");
}

std::string distance_from_workspace(std::int64_t damage) {
  const std::int64_t bytes = damage < 0 ? -damage : damage;
  return "wrote " + std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes") +
         (damage < 0 ? " before the start" : " past the end") + " of the workspace";
}

run_result read_result(const wire::result_record& record) {
  run_result result;
  switch (record.what) {
    case wire::outcome::ok:
      result.status = run_status::ok;
      break;
    case wire::outcome::declined:
      result.status = run_status::declined;
      break;
    default:
      result.status = run_status::failed;
  }
  result.text = record.text;
  result.implementation = record.implementation;
  result.seconds = record.seconds;
  result.cpu_seconds = record.cpu_seconds;
  result.workspace_bytes = record.workspace_bytes;
  result.first_in_process = record.first_in_process != 0;
  result.repeated = record.repeated;
  result.grown = record.grown;
  result.idle_cpu_seconds = record.idle_cpu_seconds;
  if (record.fp_before != record.fp_after)
    result.floating_point = describe_floating_point_change(record.fp_before, record.fp_after);
  if (record.workspace_damage != 0)
    result.workspace_damage = distance_from_workspace(record.workspace_damage);
  return result;
}

/// Where in the kernel's life a crash or a timeout came, unless in a plain `run`: ", in make_plan".
std::string when(const wire::control_block& words) {
  if (words.at.load() == wire::phase::releasing) return ", while its plan was released";
  switch (words.in.load()) {
    case wire::stage::supports:
      return ", in supports";
    case wire::stage::make_plan:
      return ", in make_plan";
    case wire::stage::prepare:
      return ", in prepare";
    case wire::stage::run:
      break;
  }
  return {};
}

}  // namespace

struct sandbox::body {
  struct batch {
    std::vector<kernel_run> runs;
    std::vector<run_result> results;
    std::vector<bool> settled;  ///< decided here (a crash, a timeout), not by the worker's record
    std::uint32_t serial = 0;
    std::uint32_t first = 0;             ///< where a fresh worker has to go on
    std::uint32_t again = wire::no_run;  ///< the run that is tried again, its worker having been killed
    int attempts = 0;                    ///< at that run
    double starved = 0;                  ///< of the worker when it was sent
  };

  explicit body(sandbox_options o);

  void start_worker(bool describing);
  bool await_greeting(worker_process& fresh, bool again);
  void start_spares();
  void send(int number);
  void pump();
  void finish_batch(int number);
  void replace_worker(bool timed_out);
  void settle(batch& b, int number, std::uint32_t run, bool timed_out, int wait_status,
              const std::string& output);
  void spare_the_others(batch& b, int number, std::uint32_t run);
  double seconds_left() const;
  const wire::result_record& record(int number, std::uint32_t run) const {
    return reinterpret_cast<const wire::result_record*>(
        arenas[static_cast<std::size_t>(number)]->results())[run];
  }

  sandbox_options options;
  std::vector<std::unique_ptr<arena>> arenas;
  std::vector<batch> batches;  ///< one an arena
  std::deque<int> under_way;   ///< arenas in the order of submission
  std::unique_ptr<worker_process> worker;
  std::deque<std::unique_ptr<worker_process>> spares;
  std::vector<kernel_info> kernels;
  std::vector<stray_crash> strays;
  sandbox_counters counters;
  double last_sent = 0;
  std::uint32_t serial = 0;
  int vain_starts = 0;
};

/// By somebody else: kernels die of other signals.
static bool killed_from_outside(int wait_status) {
  return WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL;
}
constexpr int patience = 9;  ///< with somebody else who kills

sandbox::body::body(sandbox_options o) : options(std::move(o)) {
  options.worker = find_worker(options.worker);
  if (::access(options.worker.c_str(), X_OK) != 0)
    throw sandbox_error("cannot start the sandbox: there is no program `" + options.worker +
                        "` (build the target plumb_worker, or set PLUMB_WORKER)");
  options.arenas = std::clamp(options.arenas, 1, wire::max_arenas);
  for (int i = 0; i < options.arenas; ++i) arenas.push_back(std::make_unique<arena>(i));
  batches.resize(arenas.size());
  start_worker(true);
}

void sandbox::body::start_worker(bool describing) {
  for (int left = patience; left >= 0; --left) {
    worker.reset();
    if (!spares.empty() && !describing) {
      worker = std::move(spares.front());
      spares.pop_front();
    } else {
      worker = std::make_unique<worker_process>(options, arenas, describing);
      ++counters.workers;
    }
    if (await_greeting(*worker, left > 0)) return;
  }
}

/// False if somebody else killed it before it could greet, and `again`: another one may be started.
bool sandbox::body::await_greeting(worker_process& fresh, bool again) {
  wire::token t{};
  std::string text;
  const worker_process::event seen = fresh.receive(t, text, start_limit);
  if (seen == worker_process::event::token) {
    if (t.arena != wire::fingerprint)
      throw sandbox_error("`" + options.worker +
                          "` was built from other sources than this program: rebuild both");
    if (text.empty()) return true;
    greeting hello = decode_greeting(text);
    if (!hello.error.empty()) throw plugin_error(hello.error, hello.exit_code);
    kernels = std::move(hello.kernels);
    return true;
  }
  const std::string subject = fresh.control().subject;
  std::string how = "took longer than a minute";
  if (seen != worker_process::event::nothing) {
    const int wait_status = fresh.finish();
    if (again && killed_from_outside(wait_status)) return false;
    how = explain_crash(fresh.control(), wait_status, fresh.output(), nullptr, 0, nullptr).text;
  }
  if (!subject.empty()) throw plugin_error("plugin `" + subject + "` could not be loaded: " + how, 2);
  throw sandbox_error("the sandbox's worker did not start: " + how);
}

void sandbox::body::start_spares() {
  while (static_cast<int>(spares.size()) < options.spares) {
    spares.push_back(std::make_unique<worker_process>(options, arenas, false));
    ++counters.workers;
  }
}

void sandbox::body::send(int number) {
  batch& b = batches[static_cast<std::size_t>(number)];
  b.starved = worker->starved();
  worker->send({wire::opcode::batch, static_cast<std::uint32_t>(number), b.first, b.serial});
  last_sent = now();
}

/// Until the phase that the worker is in has lasted too long. The time for which the system gave it no processor is not
/// counted: on a busy machine every kernel is late.
double sandbox::body::seconds_left() const {
  const wire::control_block& control = worker->control();
  const wire::phase at = control.at.load();
  const double entered = 1e-9 * static_cast<double>(control.since_ns.load());
  const bool in_a_kernel = at == wire::phase::running || at == wire::phase::releasing;
  const double left =
      options.time_limit.count() - (now() - (in_a_kernel ? entered : std::max(entered, last_sent)));
  if (left > 0 || under_way.empty()) return left;
  return left + worker->starved() - batches[static_cast<std::size_t>(under_way.front())].starved;
}

/// Waits for one event and deals with it.
void sandbox::body::pump() {
  wire::token t{};
  std::string text;
  switch (worker->receive(t, text, std::max(seconds_left(), 0.0))) {
    case worker_process::event::token:
      finish_batch(static_cast<int>(t.arena));
      break;
    case worker_process::event::gone:
      replace_worker(false);
      break;
    case worker_process::event::nothing:
      if (seconds_left() <= 0) replace_worker(true);
      break;
  }
}

void sandbox::body::finish_batch(int number) {
  batch& b = batches[static_cast<std::size_t>(number)];
  arena& a = *arenas[static_cast<std::size_t>(number)];
  const double limit = options.time_limit.count() + worker->starved() - b.starved;
  for (std::uint32_t i = 0; i < b.runs.size(); ++i) {
    a.note_workspace(record(number, i).workspace_bytes);
    if (b.settled[i]) continue;
    b.results[i] = read_result(record(number, i));
    if (b.results[i].status == run_status::failed) b.results[i].output = worker->output();
    if (b.results[i].seconds > limit) {
      b.results[i].status = run_status::timeout;
      b.results[i].text = "took " + std::to_string(b.results[i].seconds) + " s";
    }
  }
  worker->drop_output();
  a.busy = false;
  std::erase(under_way, number);
  vain_starts = 0;
}

/// The worker is dead or must die: blames the run it was in, if any, and lets a fresh one go on behind it.
void sandbox::body::replace_worker(bool timed_out) {
  const wire::control_block& words = worker->control();
  const int wait_status = worker->finish();
  const std::string output = worker->output();
  const wire::phase at = words.at.load();
  const std::uint32_t run = words.run.load();
  batch* const b = under_way.empty() ? nullptr : &batches[static_cast<std::size_t>(under_way.front())];
  const bool begun = b != nullptr && words.batch.load() == b->serial && run != wire::no_run;
  // The run was not at fault, unless it happens again and again.
  const bool killed = !timed_out && killed_from_outside(wait_status);
  if (begun && b->again != run) b->attempts = 0;
  if (killed && begun && at == wire::phase::running && b->attempts++ < patience) {
    b->again = b->first = run;
    strays.push_back({words.subject, "the worker was killed from outside; the call was repeated"});
  } else if (begun && (at == wire::phase::running || at == wire::phase::releasing)) {
    settle(*b, under_way.front(), run, timed_out, wait_status, output);
    b->first = at == wire::phase::running ? run + 1 : static_cast<std::uint32_t>(b->runs.size());
    vain_starts = 0;
  } else {
    const std::string how =
        timed_out ? "did not come back" : explain_crash(words, wait_status, output, nullptr, 0, nullptr).text;
    strays.push_back({words.subject, how + (at == wire::phase::releasing ? ", while its plan was released"
                                                                         : ", outside every call")});
    if (begun) b->first = run + 1;
    if (++vain_starts > most_vain_starts)
      throw sandbox_error("the sandbox's worker dies again and again: " + how);
  }
  ++(timed_out ? counters.timeouts : counters.crashes);
  start_worker(false);
  for (const int number : under_way) send(number);
  start_spares();
}

/// A kernel that did not come back is not called again on the same problem: each call would take the whole limit.
void sandbox::body::spare_the_others(batch& b, int number, std::uint32_t run) {
  const kernel_run hung = b.runs[run];
  for (std::size_t i = run + 1; i < b.runs.size(); ++i)
    if (!b.settled[i] && b.runs[i].kernel == hung.kernel && b.runs[i].resolved == hung.resolved) {
      b.results[i] = b.results[run];
      b.results[i].text = "was not called again, since an earlier call did not come back";
      b.settled[i] = true;
    }
  encode_runs(b.runs, b.settled, *arenas[static_cast<std::size_t>(number)]);
}

void sandbox::body::settle(batch& b, int number, std::uint32_t run, bool timed_out, int wait_status,
                           const std::string& output) {
  run_result& result = b.results[run];
  const wire::control_block& words = worker->control();
  result = read_result(record(number, run));
  result.output = output;
  b.settled[run] = true;
  if (timed_out) {
    result.status = run_status::timeout;
    char text[64];
    std::snprintf(text, sizeof text, "did not finish within %g s", options.time_limit.count());
    result.text = text + when(words);
    spare_the_others(b, number, run);
    return;
  }
  crash_report report = explain_crash(words, wait_status, output, &b.runs[run], number, &record(number, run));
  result.status = run_status::crashed;
  result.text = report.text + when(words);
  result.signal = std::move(report.signal);
  result.site = std::move(report.site);
}

sandbox::sandbox(sandbox_options options) : body_(std::make_unique<body>(std::move(options))) {}
sandbox::~sandbox() = default;

const std::vector<kernel_info>& sandbox::kernels() const { return body_->kernels; }
int sandbox::arenas() const { return static_cast<int>(body_->arenas.size()); }
arena& sandbox::at(int number) { return *body_->arenas.at(static_cast<std::size_t>(number)); }
const sandbox_counters& sandbox::counters() const { return body_->counters; }
std::uint32_t sandbox::blocks_ran() const {
  return body_->worker == nullptr ? 0 : body_->worker->control().blocks.load();
}

void sandbox::submit(arena& a, std::vector<kernel_run> runs) {
  if (a.busy) throw std::logic_error("a batch of this arena is under way already");
  if (runs.size() > max_runs)
    throw std::length_error("more than " + std::to_string(max_runs) + " runs in a batch");
  encode_runs(runs, std::vector<bool>(runs.size(), false), a);
  body::batch& b = body_->batches[static_cast<std::size_t>(a.number())];
  b.results.assign(runs.size(), {});
  b.settled.assign(runs.size(), false);
  b.runs = std::move(runs);
  b.serial = ++body_->serial;
  b.first = 0;
  b.again = wire::no_run;
  a.busy = true;
  body_->counters.runs += static_cast<long>(b.runs.size());
  ++body_->counters.batches;
  body_->under_way.push_back(a.number());
  body_->send(a.number());
  body_->start_spares();
}

std::vector<run_result> sandbox::wait(arena& a) {
  while (a.busy) body_->pump();
  return std::move(body_->batches[static_cast<std::size_t>(a.number())].results);
}

std::string sandbox::call(std::string_view name, const std::string& request,
                          std::chrono::duration<double> time_limit) {
  if (!body_->under_way.empty()) throw std::logic_error("a service was called while batches are under way");
  const std::string text = std::string(name) + "\n" + request;
  worker_process& worker = *body_->worker;
  worker.send({wire::opcode::service, 0, 0, static_cast<std::uint32_t>(text.size())}, text);
  wire::token t{};
  std::string answer;
  const worker_process::event seen = worker.receive(t, answer, time_limit.count());
  if (seen == worker_process::event::token) {
    if (t.first != 0) throw sandbox_error(answer);
    return answer;
  }
  std::string how = "took longer than its time limit";
  if (seen == worker_process::event::gone)
    how = explain_crash(worker.control(), worker.finish(), worker.output(), nullptr, 0, nullptr).text;
  restart();
  throw sandbox_error("the worker's service `" + std::string(name) + "` did not answer: " + how);
}

std::vector<stray_crash> sandbox::take_stray_crashes() { return std::exchange(body_->strays, {}); }

std::chrono::duration<double> sandbox::time_limit() const { return body_->options.time_limit; }

void sandbox::limit_time(std::chrono::duration<double> limit) {
  if (!body_->under_way.empty()) throw std::logic_error("another time limit while batches are under way");
  body_->options.time_limit = limit;
}

void sandbox::restart() {
  if (!body_->under_way.empty()) throw std::logic_error("restart while batches are under way");
  body_->start_worker(false);
}

}  // namespace plumb
