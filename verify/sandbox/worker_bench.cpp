// The worker's service `bench`: times the kernels that compete on one problem, in this one process.
//
// Every round takes one sample of each competitor and of the roofs, in random order, so that what disturbs
// the machine disturbs all alike and ratios can be formed within a round. A sample is a Google Benchmark of a
// fixed number of calls. From call to call the input set changes, and each set goes back and forth between
// two states: as drawn, and with a few elements exchanged. In which state a sample leaves a set is drawn; the
// outputs must then be, bit for bit, what an untimed run gave for the same data in other buffers. So a result
// kept from an earlier call, by address or by count, does not survive.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>

#include "verify/sandbox/bench_wire.hpp"
#include "verify/sandbox/worker.hpp"
#include "verify/sandbox/worker_roof.hpp"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace plumb {
namespace {

using namespace bench;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The memory file of a request, mapped for as long as the service works on it.
class memory_file {
 public:
  memory_file(const std::string& path, std::uint64_t bytes) : bytes_(bytes) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    void* const at = descriptor < 0
                         ? MAP_FAILED
                         : ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (descriptor >= 0) ::close(descriptor);
    if (at == MAP_FAILED) throw std::runtime_error("cannot map the memory file of the benchmark");
    data_ = static_cast<std::byte*>(at);
  }
  ~memory_file() { ::munmap(data_, bytes_); }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  std::byte* at(std::uint64_t offset) const { return data_ + offset; }

 private:
  std::byte* data_;
  std::uint64_t bytes_;
};

/// Seconds a call of the one benchmark that runs.
class stopwatch final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) seconds_ = run.real_accumulated_time / static_cast<double>(run.iterations);
  }
  double seconds() const { return seconds_; }

 private:
  double seconds_ = 0;
};

/// Two elements of an input that change places.
struct exchange {
  std::byte *a, *b;
  std::size_t bytes;
};

/// What is remembered of the outputs of one call: all bits, or for kernels that do not repeat themselves the
/// sum of squares.
struct fingerprint {
  std::uint64_t hash = 0;
  double squares = 0;
};

struct competitor {
  const kernel* code = nullptr;
  std::unique_ptr<plan> made;
  bool slow = false;  ///< one call takes more than all its time: that call is the only sample
  double call_seconds = 0;
  std::int64_t calls_a_sample = 1;
  int samples_wanted = 0;
  std::vector<std::array<fingerprint, 2>> expected;  ///< by set and state
  outcome result;
};

class session {
 public:
  session(const registry& kernels, const request& asked);
  answer run();

 private:
  using tensors = std::vector<tensor_ref>;

  tensor_ref tensor_of(const tensor_place& t, int set) const;
  void make_ready(competitor& c, const kernel* code, const std::string& name);
  void rehearse(competitor& c);
  void take_sample(competitor& c, int round);
  double time_calls(competitor& c);
  void take_cold_sample(competitor& c);
  void take_roofs();
  void draw_exchanges();
  void swap(int set) const;
  void copy_inputs(int from, int to) const;
  void poison_outputs(int set) const;
  std::string what_it_left(int set) const;
  fingerprint look_at_outputs(int set, bool deterministic) const;
  void show_picks(std::size_t kernel, int set) const;
  int spare() const { return asked_.sets; }  ///< the set of buffers for untimed runs
  void call(competitor& c, int set) const;

  request asked_;
  memory_file file_;
  std::vector<tensors> reads_, writes_;  ///< one for each set and the spare one
  std::vector<std::vector<exchange>> exchanges_;
  std::vector<std::byte> workspace_memory_;
  void* workspace_ = nullptr;
  std::vector<competitor> competitors_;
  std::mt19937_64 random_;
  answer answer_;
};

session::session(const registry& kernels, const request& asked)
    : asked_(asked), file_(asked.file, asked.file_bytes), random_(asked.seed) {
  for (int set = 0; set <= spare(); ++set) {
    tensors& reads = reads_.emplace_back();
    for (const tensor_place& t : asked_.reads) reads.push_back(tensor_of(t, set));
    tensors& writes = writes_.emplace_back();
    for (const tensor_place& t : asked_.writes) writes.push_back(tensor_of(t, set));
    poison_outputs(set);  // touches every page before a clock starts
  }
  draw_exchanges();
  competitors_.resize(asked_.kernels.size());
  for (std::size_t i = 0; i < competitors_.size(); ++i)
    make_ready(competitors_[i], kernels.find(asked_.kernels[i]), asked_.kernels[i]);
  std::size_t most = 0;
  for (const competitor& c : competitors_)
    if (c.made) most = std::max(most, c.made->workspace_size());
  constexpr std::size_t alignment = 64;
  workspace_memory_.resize(most + alignment);
  std::size_t room = workspace_memory_.size();
  workspace_ = workspace_memory_.data();
  std::align(alignment, most, workspace_, room);
}

tensor_ref session::tensor_of(const tensor_place& t, int set) const {
  if (!t.present) return {nullptr, t.type, {}, {}};
  return {file_.at(t.offset + t.step * static_cast<std::uint64_t>(set)), t.type, t.extents, t.strides};
}

void session::make_ready(competitor& c, const kernel* code, const std::string& name) {
  c.code = code;
  if (code == nullptr) {
    c.result.trouble = "the worker has no kernel `" + name + "`";
    return;
  }
  if (!code->unavailable.empty()) {
    c.result.declined = true;
    c.result.trouble = code->unavailable;
    return;
  }
  try {
    const kernel_problem kp{problem::parse(asked_.resolved), asked_.type, asked_.layout, asked_.threads,
                            asked_.canonical};
    if (const support s = code->supports(kp); !s.ok) {
      c.result.declined = true;
      c.result.trouble = s.reason;
      return;
    }
    const double start = now();
    c.made = code->make_plan(kp);
    c.made->prepare(reads_[0]);
    c.result.prepare_seconds = now() - start;
    c.result.implementation = c.made->implementation();
    c.result.deterministic = code->determinism != determinism::none;
  } catch (const std::exception& error) {
    c.made.reset();
    c.result.trouble = std::string("no plan: ") + error.what();
  }
}

void session::call(competitor& c, int set) const {
  const auto at = static_cast<std::size_t>(set);
  c.made->run({reads_[at], writes_[at], workspace_, asked_.threads});
}

/// Untimed runs in buffers of their own: what the outputs must be for each set in each state, how long a call
/// takes, and with it how many calls make a sample.
void session::rehearse(competitor& c) {
  constexpr double hopeless = 4, bearable = 0.1;  // a first call of that many shares and seconds is the last
  c.call_seconds = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 2 * asked_.sets && !c.slow; ++run) {
    const int set = run / 2, state = run % 2;
    copy_inputs(set, spare());
    if (state == 1) swap(spare());
    poison_outputs(spare());
    const double start = now();
    call(c, spare());
    const double took = now() - start;
    if (run == 0) {
      show_picks(static_cast<std::size_t>(&c - competitors_.data()), spare());
      if (std::string left = what_it_left(spare()); !left.empty()) {
        c.result.trouble = std::move(left);
        return;
      }
      c.slow = took > hopeless * asked_.seconds_per_kernel && took > bearable;
    } else {
      c.slow = run == 1 && took > asked_.seconds_per_kernel;
    }
    if (run > 0 || c.slow) c.call_seconds = std::min(c.call_seconds, took);  // the first run warms up
    if (state == 0) c.expected.emplace_back();
    c.expected.back()[static_cast<std::size_t>(state)] = look_at_outputs(spare(), c.result.deterministic);
  }
  if (c.slow) {
    c.result.samples = c.result.fastest = {c.call_seconds};
    c.result.rounds = {0};
    c.result.calls = 1;
    return;
  }
  constexpr double most_calls = 1e6;
  const double sample_seconds = asked_.seconds_per_kernel / asked_.rounds;
  const double calls = std::clamp(sample_seconds / std::max(c.call_seconds, 1e-9), 1.0, most_calls);
  c.calls_a_sample = static_cast<std::int64_t>(calls);
  const double samples = asked_.seconds_per_kernel / (c.call_seconds * static_cast<double>(c.calls_a_sample));
  c.samples_wanted = static_cast<int>(std::clamp(samples, 1.0, static_cast<double>(asked_.rounds)));
}

/// A few pairs of elements in each floating-point input that changes from call to call, the same for every
/// set; no element is in two pairs, so that exchanging twice restores all.
void session::draw_exchanges() {
  constexpr int pairs = 4;
  exchanges_.resize(reads_.size());
  for (std::size_t i = 0; i < asked_.reads.size(); ++i) {
    const tensor_place& t = asked_.reads[i];
    if (!t.present || t.step == 0 || t.type == dtype::i64 || t.extents.size() < 2) continue;
    const std::size_t bytes = size_of(t.type);
    const auto last = static_cast<std::size_t>(t.extents.size() - 1);
    std::uniform_int_distribution<std::size_t> pick(0, last);
    std::set<std::size_t> taken;
    for (int pair = 0; pair < pairs; ++pair) {
      const std::size_t a = pick(random_), b = pick(random_);
      if (a == b || taken.count(a) + taken.count(b) > 0) continue;
      taken.insert({a, b});
      for (std::size_t set = 0; set < exchanges_.size(); ++set) {
        auto* const data = static_cast<std::byte*>(reads_[set][i].data);
        exchanges_[set].push_back({data + a * bytes, data + b * bytes, bytes});
      }
    }
  }
}

void session::swap(int set) const {
  for (const exchange& e : exchanges_[static_cast<std::size_t>(set)])
    std::swap_ranges(e.a, e.a + e.bytes, e.b);
}

void session::copy_inputs(int from, int to) const {
  for (std::size_t i = 0; i < asked_.reads.size(); ++i)
    if (const tensor_place& t = asked_.reads[i]; t.present && t.step != 0)
      std::memcpy(reads_[static_cast<std::size_t>(to)][i].data,
                  reads_[static_cast<std::size_t>(from)][i].data, t.bytes());
}

void session::poison_outputs(int set) const {
  constexpr int nan = 0xff;
  for (const tensor_place& t : asked_.writes)
    std::fill_n(static_cast<std::byte*>(file_.at(t.offset + t.step * static_cast<std::uint64_t>(set))),
                t.bytes(), static_cast<std::byte>(nan));
}

/// Four chains beside each other: one alone would take as long as many a kernel takes to write the data.
std::uint64_t hash_of(const std::byte* data, std::size_t bytes) {
  constexpr std::size_t lanes = 4, word_bytes = sizeof(std::uint64_t);
  std::array<std::uint64_t, lanes> hash = {0x9e3779b97f4a7c15U, 0xbf58476d1ce4e5b9U, 0x94d049bb133111ebU,
                                           0x2545f4914f6cdd1dU};
  const auto add = [&](std::size_t lane, std::size_t taken) {
    std::uint64_t word = 0;
    std::memcpy(&word, data, taken);
    data += taken;
    hash[lane] = (hash[lane] ^ word) * 0xff51afd7ed558ccdU;
    hash[lane] ^= hash[lane] >> 32;
  };
  for (; bytes >= lanes * word_bytes; bytes -= lanes * word_bytes)
    for (std::size_t lane = 0; lane < lanes; ++lane) add(lane, word_bytes);
  for (std::size_t lane = 0; bytes > 0; ++lane) {
    const std::size_t taken = std::min(bytes, word_bytes);
    add(lane, taken);
    bytes -= taken;
  }
  std::uint64_t all = 0;
  for (const std::uint64_t each : hash) all = (all ^ each) * 0xff51afd7ed558ccdU + (all >> 29);
  return all;
}

/// Says so if the call left elements of its outputs as poison_outputs left them: only some of them will be judged.
std::string session::what_it_left(int set) const {
  constexpr std::uint32_t poison = 0xffffffffU;
  for (std::size_t i = 0; i < asked_.writes.size(); ++i) {
    const tensor_ref& t = writes_[static_cast<std::size_t>(set)][i];
    if (t.data == nullptr || t.type != dtype::f32) continue;  // every bit set may be an index
    const auto* const bits = static_cast<const std::uint32_t*>(t.data);
    const auto left = std::count(bits, bits + t.extents.size(), poison);
    if (left == 0) continue;
    return "it did not write " + std::to_string(left) + " of the " + std::to_string(t.extents.size()) +
           " elements of " + asked_.writes[i].name;
  }
  return {};
}

fingerprint session::look_at_outputs(int set, bool deterministic) const {
  fingerprint seen{0x9e3779b97f4a7c15U, 0};
  for (const tensor_ref& t : writes_[static_cast<std::size_t>(set)]) {
    const auto count = static_cast<std::size_t>(t.extents.size());
    if (!deterministic && t.type == dtype::f32) {
      const auto* const values = static_cast<const float*>(t.data);
      for (std::size_t i = 0; i < count; ++i) seen.squares += static_cast<double>(values[i]) * values[i];
      continue;
    }
    seen.hash = seen.hash * 31 + hash_of(static_cast<const std::byte*>(t.data), count * size_of(t.type));
  }
  return seen;
}

bool agree(const fingerprint& a, const fingerprint& b) {
  constexpr double close = 1e-4;
  return a.hash == b.hash && std::abs(a.squares - b.squares) <= close * std::abs(a.squares);
}

/// Puts the elements that will be judged into the file, in the order asked for.
void session::show_picks(std::size_t kernel, int set) const {
  for (std::size_t i = 0; i < asked_.picks.size(); ++i) {
    const element_picks& p = asked_.picks[i];
    const tensor_ref& t = writes_[static_cast<std::size_t>(set)][i];
    const auto* const numbers =
        p.numbers == 0 ? nullptr : reinterpret_cast<const std::int64_t*>(file_.at(p.numbers));
    const std::size_t bytes = size_of(t.type);
    std::byte* to = file_.at(p.values + p.step * kernel);
    for (std::uint64_t j = 0; j < p.count; ++j, to += bytes) {
      const index_t flat = numbers == nullptr ? static_cast<index_t>(j) : numbers[j];
      const shape at = unflatten(flat, t.extents);
      index_t offset = 0;
      for (int axis = 0; axis < at.rank(); ++axis) offset += at[axis] * t.strides[axis];
      std::copy_n(static_cast<const std::byte*>(t.data) + static_cast<std::size_t>(offset) * bytes, bytes,
                  to);
    }
  }
}

/// What a clock costs would show in calls shorter than `clocked`; their fastest is the sample itself.
double session::time_calls(competitor& c) {
  constexpr double clocked = 5e-6;
  const int sets = asked_.sets;
  const bool each = c.call_seconds > clocked;
  double fastest = std::numeric_limits<double>::infinity();
  benchmark::ClearRegisteredBenchmarks();
  benchmark::RegisterBenchmark(c.code->name.c_str(),
                               [&](benchmark::State& state) {
                                 int set = 0;
                                 for ([[maybe_unused]] const auto step : state) {
                                   const double start = each ? now() : 0;
                                   swap(set);
                                   call(c, set);
                                   benchmark::ClobberMemory();
                                   if (each) fastest = std::min(fastest, now() - start);
                                   set = set + 1 == sets ? 0 : set + 1;
                                 }
                               })
      ->Iterations(c.calls_a_sample)
      ->UseRealTime();
  stopwatch watch;
  benchmark::RunSpecifiedBenchmarks(&watch);
  c.result.fastest.push_back(std::min(fastest, watch.seconds()));
  return watch.seconds();
}

void session::take_sample(competitor& c, int round) {
  constexpr double quick = 5e-3;  // below this a cold first call would show in the sample
  const auto touched = static_cast<std::size_t>(std::min<std::int64_t>(c.calls_a_sample, asked_.sets));
  std::vector<std::size_t> left_in(touched);  // the state in which the sample will leave each set
  for (std::size_t set = 0; set < touched; ++set) {
    const auto number = static_cast<int>(set);
    poison_outputs(number);
    const std::int64_t exchanges = (c.calls_a_sample - number + asked_.sets - 1) / asked_.sets;
    left_in[set] = random_() % 2;
    if ((exchanges % 2 == 1) != (left_in[set] == 1)) swap(number);
  }
  if (c.call_seconds < quick) call(c, spare());
  c.result.samples.push_back(time_calls(c));
  c.result.rounds.push_back(round);
  c.result.calls += c.calls_a_sample;
  for (std::size_t set = 0; set < touched; ++set) {
    const auto number = static_cast<int>(set);
    if (left_in[set] == 1) swap(number);
    if (!agree(c.expected[set][left_in[set]], look_at_outputs(number, c.result.deterministic)))
      c.result.trouble = "in the timed loop its output differed from that of an untimed run on the same data";
  }
}

#if defined(__x86_64__)
/// Every line of a tensor out of every cache.
void flush(const tensor_place& t, const std::byte* data) {
  constexpr std::size_t line = 64;
  if (!t.present) return;
  for (std::size_t at = 0; at < t.bytes(); at += line) _mm_clflush(data + at);
}

/// One call whose inputs, weights and outputs lie in no cache. A few only where a call takes most of a sample: more
/// would double the time of the run to tell the same.
void session::take_cold_sample(competitor& c) {
  constexpr std::int64_t cheap = 3;
  constexpr std::size_t most = 7, few = 2;
  if (c.result.cold.size() >= (c.calls_a_sample < cheap ? few : most)) return;
  copy_inputs(0, spare());
  poison_outputs(spare());
  const auto set = static_cast<std::uint64_t>(spare());
  for (const auto* places : {&asked_.reads, &asked_.writes})
    for (const tensor_place& t : *places) flush(t, file_.at(t.offset + t.step * set));
  _mm_mfence();
  const double start = now();
  call(c, spare());
  c.result.cold.push_back(now() - start);
  if (!agree(c.expected[0][0], look_at_outputs(spare(), c.result.deterministic)))
    c.result.trouble = "with cold caches its output differed from that of an earlier run on the same data";
}
#else
void session::take_cold_sample(competitor&) {}
#endif

void session::take_roofs() {
  constexpr std::size_t beyond_caches = std::size_t{192} << 20;
  const int threads = asked_.threads;
  answer_.gflops_samples.push_back(multiply_add_gflops(threads));
  answer_.gbytes_samples.push_back(stream_gbytes(threads, asked_.traffic));
  if (asked_.memory_roof && answer_.memory_gbytes_samples.empty())
    answer_.memory_gbytes_samples.push_back(stream_gbytes(threads, beyond_caches));
}

answer session::run() {
  constexpr std::size_t roofs = ~std::size_t{0};
  for (competitor& c : competitors_)
    if (c.made) rehearse(c);
  std::vector<std::size_t> order = {roofs};
  for (std::size_t i = 0; i < competitors_.size(); ++i) order.push_back(i);
  for (int round = 0; round < asked_.rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random_);
    for (const std::size_t i : order) {
      if (i == roofs) {
        take_roofs();
        continue;
      }
      // A competitor that cannot afford every round takes part in some, evenly spread.
      competitor& c = competitors_[i];
      const int before = round * c.samples_wanted / asked_.rounds;
      const bool takes_part = (round + 1) * c.samples_wanted / asked_.rounds != before;
      if (c.made && c.result.trouble.empty() && takes_part) {
        take_sample(c, round);
        take_cold_sample(c);
      }
    }
  }
  for (competitor& c : competitors_) answer_.kernels.push_back(std::move(c.result));
  return std::move(answer_);
}

}  // namespace

std::string serve_bench(const registry& kernels, const std::string& text) {
  return encode(session(kernels, decode_request(text)).run());
}

}  // namespace plumb
