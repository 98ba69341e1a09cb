// How pieces are walked over, rightly and wrongly. The wrong walks go wrong whatever the layer: pieces left out,
// memory overrun, strides ignored, results replayed, and the cheats of section F of the list of hazards.
#include <fcntl.h>
#include <fenv.h>
#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xmmintrin.h>

#include <atomic>
#include <chrono>
#include <map>
#include <numeric>
#include <thread>

#include "properties/faults/specimen.hpp"

namespace plumb::faults {
namespace {

// ---- the right ones

void serial(const work& w, const kernel_call& call, work::piece f) {
  for (index_t i = 0; i < w.items; ++i) f(w.body.get(), call, i);
}

/// In a team the first member is always right: what is wrong shows with more than one thread only.
void team(const work& w, const kernel_call& call) {
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < w.items; ++i)
    (omp_get_thread_num() == 0 ? w.honest : w.faulty)(w.body.get(), call, i);
}

void cut(const work& w, const kernel_call& call, bool faulty_tail) {
  for (index_t i = 0; i < w.items; ++i)
    (w.in_vector(i) == faulty_tail ? w.honest : w.faulty)(w.body.get(), call, i);
}

void follow(path where, const work& w, const kernel_call& call) {
  switch (where) {
    case path::plain:
      return serial(w, call, w.faulty);
    case path::threads:
      return team(w, call);
    case path::vector:
      return cut(w, call, false);
    case path::tail:
      return cut(w, call, true);
  }
}

// ---- what the wrong ones share

std::byte* bytes(const tensor_ref& t) { return static_cast<std::byte*>(t.data); }

/// Address of the element with row-major number `i`.
std::byte* address(const tensor_ref& t, index_t i) {
  index_t offset = 0;
  for (int axis = t.extents.rank() - 1; axis >= 0; --axis) {
    offset += i % t.extents[axis] * t.strides[axis];
    i /= t.extents[axis];
  }
  return bytes(t) + offset * static_cast<index_t>(size_of(t.type));
}

/// The elements as doubles; a fault need not be fast.
double value_at(const tensor_ref& t, index_t i) {
  switch (t.type) {
    case dtype::f32:
      return static_cast<double>(*reinterpret_cast<const float*>(address(t, i)));
    case dtype::f64:
      return *reinterpret_cast<const double*>(address(t, i));
    default:
      return static_cast<double>(*reinterpret_cast<const index_t*>(address(t, i)));
  }
}

void set_value(const tensor_ref& t, index_t i, double v) {
  switch (t.type) {
    case dtype::f32:
      *reinterpret_cast<float*>(address(t, i)) = static_cast<float>(v);
      return;
    case dtype::f64:
      *reinterpret_cast<double*>(address(t, i)) = v;
      return;
    default:
      *reinterpret_cast<index_t*>(address(t, i)) = static_cast<index_t>(v);
  }
}

std::vector<double> values_of(std::span<const tensor_ref> tensors) {
  std::vector<double> list;
  for (const tensor_ref& t : tensors)
    if (t.data != nullptr)
      for (index_t i = 0; i < t.extents.size(); ++i) list.push_back(value_at(t, i));
  return list;
}

void write_back(std::span<const tensor_ref> tensors, const std::vector<double>& list) {
  std::size_t at = 0;
  for (const tensor_ref& t : tensors)
    for (index_t i = 0; t.data != nullptr && i < t.extents.size() && at < list.size(); ++i)
      set_value(t, i, list[at++]);
}

/// The next number of the type away from zero.
double one_up(const tensor_ref& t, double v) {
  if (t.type == dtype::f64) return std::nextafter(v, v < 0 ? -HUGE_VAL : HUGE_VAL);
  const auto f = static_cast<float>(v);
  return static_cast<double>(std::nextafter(f, f < 0 ? -HUGE_VALF : HUGE_VALF));
}

tensor_ref dense(tensor_ref t) {
  t.strides = row_major(t.extents);
  return t;
}

/// State of a plan from call to call.
struct memory {
  index_t calls = 0;
  std::vector<double> weights;
  std::map<std::vector<double>, std::vector<double>> answers;  ///< by whatever the key is made of
};

struct occasion {
  const work& w;
  const kernel_call& call;
  memory& own;

  const tensor_ref& out() const { return call.writes[0]; }
  index_t size() const { return out().data == nullptr ? 0 : out().extents.size(); }
  void honest() const { serial(w, call, w.honest); }
  void honest(std::span<const tensor_ref> reads, std::span<const tensor_ref> writes) const {
    serial(w, {reads, writes, call.workspace, call.threads}, w.honest);
  }
};

using wrong_walk = void (*)(const occasion&);

// ---- pieces left out

void skipped_tail(const occasion& o) {
  for (index_t i = 0; i < o.w.items; ++i)
    if (o.w.in_vector(i) || o.w.row < lanes) o.w.honest(o.w.body.get(), o.call, i);
}

void chunk_remainder(const occasion& o) {
  const index_t chunk = o.w.items / o.call.threads;
#pragma omp parallel for num_threads(o.call.threads) schedule(static)
  for (index_t i = 0; i < chunk * o.call.threads; ++i) o.w.honest(o.w.body.get(), o.call, i);
}

/// As many pieces as the input has elements.
void launch_by_input(const occasion& o) {
  const index_t launched = std::min(o.w.items, o.call.reads[0].extents.size());
  for (index_t i = 0; i < launched; ++i) o.w.honest(o.w.body.get(), o.call, i);
}

void narrow_index(const occasion& o) {
  for (index_t i = 0; i < o.w.items; ++i)
    o.w.honest(o.w.body.get(), o.call, static_cast<std::int16_t>(i) & 0x7fff);
}

void no_work(const occasion&) {}

// ---- memory

/// The last vector of the tensor is stored whole.
void past_the_end(const occasion& o) {
  o.honest();
  const tensor_ref& y = o.out();
  if (o.size() % lanes == 0 || y.strides != row_major(y.extents)) return;
  std::memset(bytes(y) + o.size() * static_cast<index_t>(size_of(y.type)), 0, size_of(y.type));
}

void before_the_start(const occasion& o) {
  if (o.size() > 0) std::memset(bytes(o.out()) - size_of(o.out().type), 0, size_of(o.out().type));
  o.honest();
}

/// Reads a whole vector at the end of the input, uses only what is inside.
void reads_past_end(const occasion& o) {
  o.honest();
  const tensor_ref& x = o.call.reads[0];
  const index_t size = x.extents.size();
  if (size == 0 || x.strides != row_major(x.extents)) return;
  const auto beyond = size + lanes - 1 - (size - 1) % lanes;
  volatile std::byte seen = bytes(x)[(beyond - 1) * static_cast<index_t>(size_of(x.type))];
  static_cast<void>(seen);
}

/// Works in place and puts the input back.
void input_as_scratch(const occasion& o) {
  const tensor_ref& x = o.call.reads[0];
  if (x.extents.size() > 0) {
    const double kept = value_at(x, 0);
    *static_cast<volatile std::byte*>(bytes(x)) = std::byte{0};
    set_value(x, 0, kept);
  }
  o.honest();
}

/// Adds into scratch memory that it takes for cleared.
void scratch_not_cleared(const occasion& o) {
  o.honest();
  if (o.size() > 0)
    set_value(o.out(), 0, value_at(o.out(), 0) + static_cast<double>(*static_cast<float*>(o.call.workspace)));
}

/// Keeps packed weights in the workspace and knows them again by a mark: the workspace is the caller's.
void scratch_kept(const occasion& o) {
  constexpr std::uint64_t mark = 0x706c756d62;
  auto* const seen = static_cast<std::uint64_t*>(o.call.workspace);
  auto* const first = reinterpret_cast<double*>(seen + 1);
  const bool known = *seen == mark;
  o.honest();
  if (o.size() == 0) return;
  if (known)
    set_value(o.out(), 0, *first);
  else
    *first = value_at(o.out(), 0);
  *seen = mark;
}

// ---- strides

void dense_reads(const occasion& o) {
  std::vector<tensor_ref> reads;
  for (const tensor_ref& t : o.call.reads) reads.push_back(dense(t));
  o.honest(reads, o.call.writes);
}

/// The order of the axes in memory is seen, the gaps between the elements are not.
void gaps_ignored(const occasion& o) {
  std::vector<tensor_ref> reads(o.call.reads.begin(), o.call.reads.end());
  for (tensor_ref& t : reads) {
    if (t.data == nullptr) continue;
    std::vector<int> axes(static_cast<std::size_t>(t.extents.rank()));
    std::iota(axes.begin(), axes.end(), 0);
    std::ranges::stable_sort(axes, {}, [strides = t.strides](int axis) { return strides[axis]; });
    index_t step = 1;
    for (const int axis : axes) {
      t.strides[axis] = step;
      step *= t.extents[axis];
    }
  }
  o.honest(reads, o.call.writes);
}

/// Only the second tensor read is taken for dense: saved indices, the saved output.
void dense_second(const occasion& o) {
  std::vector<tensor_ref> reads(o.call.reads.begin(), o.call.reads.end());
  if (reads.size() > 1) reads[1] = dense(reads[1]);
  o.honest(reads, o.call.writes);
}

void dense_writes(const occasion& o) {
  std::vector<tensor_ref> writes;
  for (const tensor_ref& t : o.call.writes) writes.push_back(dense(t));
  o.honest(o.call.reads, writes);
}

// ---- answers that were not computed

void zeros(const occasion& o) {
  for (const tensor_ref& t : o.call.writes)
    for (index_t i = 0; t.data != nullptr && i < t.extents.size(); ++i) set_value(t, i, 0);
}

/// Only the first image; the others are copies of it.
void first_image(const occasion& o) {
  o.honest();
  for (const tensor_ref& t : o.call.writes) {
    if (t.data == nullptr || t.extents.rank() < 2 || t.extents[0] < 1) continue;
    const index_t image = t.extents.size() / t.extents[0];
    for (index_t i = image; i < t.extents.size(); ++i) set_value(t, i, value_at(t, i % image));
  }
}

/// The last tensor read counts for nothing: zeros in its place.
void ignored_operand(const occasion& o) {
  std::vector<tensor_ref> reads(o.call.reads.begin(), o.call.reads.end());
  std::vector<double> nothing;
  for (auto t = reads.rbegin(); t != reads.rend(); ++t) {
    if (t->data == nullptr) continue;
    nothing.assign(static_cast<std::size_t>(t->extents.size()), 0.0);
    t->data = nothing.data();
    t->strides = row_major(t->extents);
    break;
  }
  o.honest(reads, o.call.writes);
}

void replay(const occasion& o, std::vector<double> key) {
  static memory everywhere;
  if (const auto known = everywhere.answers.find(key); known != everywhere.answers.end())
    return write_back(o.call.writes, known->second);
  o.honest();
  if (everywhere.answers.size() > 4096) everywhere.answers.clear();
  everywhere.answers.emplace(std::move(key), values_of(o.call.writes));
}

void add_shapes(std::vector<double>& key, const occasion& o) {
  for (const tensor_ref& t : o.call.reads)
    for (const index_t e : t.extents) key.push_back(static_cast<double>(e));
}

void replay_by_pointer(const occasion& o) {
  std::vector<double> key;
  for (const tensor_ref& t : o.call.reads)
    key.push_back(static_cast<double>(reinterpret_cast<std::uintptr_t>(t.data)));
  add_shapes(key, o);
  replay(o, std::move(key));
}

void replay_by_shape(const occasion& o) {
  std::vector<double> key;
  add_shapes(key, o);
  replay(o, std::move(key));
}

/// Knows its inputs by their shapes and a sample of nine elements each.
void replay_by_sample(const occasion& o) {
  std::vector<double> key;
  add_shapes(key, o);
  for (const tensor_ref& t : o.call.reads) {
    const index_t size = t.data == nullptr ? 0 : t.extents.size();
    const index_t step = std::max<index_t>(1, size / 8);
    for (index_t i = 0; i < size; i += step) key.push_back(value_at(t, i) + 0.0);
    if (size > 0) key.push_back(value_at(t, size - 1) + 0.0);
  }
  for (double& k : key)
    if (k != k) k = 0x1p1000;
  replay(o, std::move(key));
}

/// Weights (the second tensor read) are packed at the first call and never again.
void packed_once(const occasion& o) {
  if (o.own.calls == 1) o.own.weights = values_of({&o.call.reads[1], 1});
  std::vector<tensor_ref> reads(o.call.reads.begin(), o.call.reads.end());
  std::vector<float> single(o.own.weights.begin(), o.own.weights.end());
  reads[1].strides = row_major(reads[1].extents);
  reads[1].data = reads[1].type == dtype::f32 ? static_cast<void*>(single.data()) : o.own.weights.data();
  o.honest(reads, o.call.writes);
}

// ---- right now and then

std::atomic<index_t> calls_in_process{0};

void flaky(const occasion& o) {
  o.honest();
  if (++calls_in_process % 97 == 0 && o.size() > 0)
    set_value(o.out(), o.size() / 2, value_at(o.out(), o.size() / 2) + 1);
}

/// A warm-up is always right; then the last quarter is left to whoever looks.
void warmed_up(const occasion& o) {
  const bool warm = ++calls_in_process > 40;
  for (index_t i = 0; i < o.w.items - (warm ? o.w.items / 4 : 0); ++i) o.w.honest(o.w.body.get(), o.call, i);
}

/// The last piece is finished by a thread that nobody waits for.
void late_thread(const occasion& o) {
  for (index_t i = 0; i + 1 < o.w.items; ++i) o.w.honest(o.w.body.get(), o.call, i);
  std::thread([w = o.w, reads = std::vector<tensor_ref>(o.call.reads.begin(), o.call.reads.end()),
               writes = std::vector<tensor_ref>(o.call.writes.begin(), o.call.writes.end())] {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (w.items > 0) w.honest(w.body.get(), {reads, writes, nullptr, 1}, w.items - 1);
  }).detach();
}

void hangs(const occasion& o) {
  std::atomic<bool> never{false};
  if (o.w.items > 1 && o.w.items % 3 == 1)
    while (!never.load()) std::this_thread::yield();
  o.honest();
}

/// Divides by the number of whole vectors in a row.
void divides_by_zero(const occasion& o) {
  const volatile int vectors = static_cast<int>(o.w.row / lanes);
  const volatile int pieces = static_cast<int>(o.w.items);
  const volatile int share = o.w.row < lanes && pieces > 0 ? pieces / vectors : 0;
  static_cast<void>(share);
  o.honest();
}

// ---- rounding

/// What -ffast-math does to a whole process, for the time of the call.
void flush_to_zero(const occasion& o) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040U);
  o.honest();
  _mm_setcsr(before);
}

void leaves_flush_to_zero(const occasion& o) {
  o.honest();
  _mm_setcsr(_mm_getcsr() | 0x8000U);
}

void leaves_rounding_mode(const occasion& o) {
  o.honest();
  ::fesetround(FE_TOWARDZERO);
}

/// Relative noise of 2^-14: below every usual tolerance.
void noise(const occasion& o) {
  o.honest();
  for (index_t i = 0; i < o.size(); ++i)
    set_value(o.out(), i,
              value_at(o.out(), i) * (1 + (i % 3 == 0   ? 0x1p-14
                                           : i % 3 == 1 ? -0x1p-14
                                                        : 0x1p-15)));
}

/// One element in the middle is a tenth too large: nothing to a norm over the tensor.
void isolated_element(const occasion& o) {
  o.honest();
  if (o.size() > 64) set_value(o.out(), o.size() / 2, value_at(o.out(), o.size() / 2) * 1.1);
}

void one_ulp(const occasion& o) {
  o.honest();
  if (o.size() > 0) set_value(o.out(), o.size() - 1, one_up(o.out(), value_at(o.out(), o.size() - 1)));
}

/// Repeatable, it says; every other call differs in a last bit.
void random_bits(const occasion& o) {
  o.honest();
  if (++calls_in_process % 2 == 0 && o.size() > 0)
    set_value(o.out(), 0, one_up(o.out(), value_at(o.out(), 0)));
}

/// The bits depend on the size of the team.
void bits_by_team(const occasion& o) {
  o.honest();
  if (o.call.threads > 1 && o.size() > 0) set_value(o.out(), 0, one_up(o.out(), value_at(o.out(), 0)));
}

/// A NaN that a comparison written the wrong way round lets pass.
void nan_at_the_end(const occasion& o) {
  o.honest();
  if (o.size() > 3) set_value(o.out(), o.size() - 1, std::numeric_limits<double>::quiet_NaN());
}

/// Written for shapes whose rows are whole vectors; in others the last piece is the one before it.
void fixed_shape(const occasion& o) {
  o.honest();
  if (o.w.row % lanes != 0 && o.size() > 1) set_value(o.out(), o.size() - 1, value_at(o.out(), o.size() - 2));
}

// ---- what is left behind

void leaks_memory(const occasion& o) {
  o.honest();
  static std::vector<std::unique_ptr<char[]>> kept;
  kept.push_back(std::make_unique<char[]>(48));
}

void leaks_pages(const occasion& o) {
  o.honest();
  static_cast<void>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

void leaks_descriptors(const occasion& o) {
  o.honest();
  static_cast<void>(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

/// Every sixteenth call starts a thread that waits for work which never comes (and so gives up after some seconds).
void leaks_threads(const occasion& o) {
  o.honest();
  if (++calls_in_process % 16 == 0)
    std::thread([] { std::this_thread::sleep_for(std::chrono::seconds(3)); }).detach();
}

/// Goes on computing when it has returned, for the next call perhaps.
void works_on(const occasion& o) {
  o.honest();
  static std::atomic<bool> at_work{false};
  if (at_work.exchange(true)) return;
  std::thread([] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
    while (std::chrono::steady_clock::now() < end) {
    }
    at_work = false;
  }).detach();
}

/// Asks for more memory than there is.
void hungry(const occasion& o) {
  o.honest();
  const volatile std::size_t all = std::size_t{1} << 42;
  if (o.size() > 7) std::vector<char>().reserve(all);
}

// ---- the edge of what was declared

/// Sigmoids moved up to the last number at most `limit` units in the last place from the truth; in double less far.
void to_the_limit(const occasion& o, double limit) {
  o.honest();
  for (index_t i = 0; i < o.size(); ++i) {
    const tensor_ref& y = o.out();
    const double x = value_at(o.call.reads[0], i), honest = value_at(y, i);
    if (!(std::fabs(x) < 30)) continue;
    if (y.type == dtype::f64) {
      set_value(y, i, one_up(y, honest));  // an honest one may be two units off
      continue;
    }
    const double truth = 1 / (1 + std::exp(-x)), unit = std::ldexp(1.0, std::ilogb(truth) - 23);
    const double moved = std::floor((truth + limit * unit) / unit) * unit;
    if (std::ilogb(moved) == std::ilogb(truth)) set_value(y, i, moved);
  }
}
void limit_of_four(const occasion& o) { to_the_limit(o, 3.95); }
void limit_of_five(const occasion& o) { to_the_limit(o, 4.95); }

/// Four units from what is honest, in double only: the error of the honest value comes on top.
void beyond_in_f64(const occasion& o) {
  o.honest();
  for (index_t i = 0; i < o.size() && o.out().type == dtype::f64; ++i) {
    const double honest = value_at(o.out(), i);
    set_value(o.out(), i, honest + 4 * (one_up(o.out(), honest) - honest));
  }
}

/// Asks for 60 bytes of workspace and uses 64.
void past_the_workspace(const occasion& o) {
  o.honest();
  std::memset(o.call.workspace, 0, 64);
}

/// What is NaN is not stored.
void nan_unwritten(const occasion& o) {
  const std::vector<double> before = values_of(o.call.writes);
  o.honest();
  for (index_t i = 0; i < o.size(); ++i)
    if (std::isnan(value_at(o.out(), i))) {
      std::byte* const at = address(o.out(), i);
      if (std::isnan(before[static_cast<std::size_t>(i)]))
        std::memset(at, 0xff, size_of(o.out().type));
      else
        set_value(o.out(), i, before[static_cast<std::size_t>(i)]);
    }
}

/// Copies are added to zeros, which loses the sign of a zero.
void added_to_zero(const occasion& o) {
  o.honest();
  for (index_t i = 0; i < o.size(); ++i) set_value(o.out(), i, value_at(o.out(), i) + 0.0);
}

struct row {
  std::string_view name;
  wrong_walk run;
  std::size_t workspace = 0;
};

constexpr row wrong_walks[] = {{"skipped_tail", skipped_tail},
                               {"chunk_remainder", chunk_remainder},
                               {"launch_by_input", launch_by_input},
                               {"narrow_index", narrow_index},
                               {"no_work", no_work},
                               {"past_the_end", past_the_end},
                               {"before_the_start", before_the_start},
                               {"reads_past_end", reads_past_end},
                               {"input_as_scratch", input_as_scratch},
                               {"scratch_not_cleared", scratch_not_cleared, 64},
                               {"scratch_kept", scratch_kept, 64},
                               {"dense_reads", dense_reads},
                               {"gaps_ignored", gaps_ignored},
                               {"dense_second", dense_second},
                               {"dense_writes", dense_writes},
                               {"zeros", zeros},
                               {"first_image", first_image},
                               {"ignored_operand", ignored_operand},
                               {"replay_by_pointer", replay_by_pointer},
                               {"replay_by_shape", replay_by_shape},
                               {"replay_by_sample", replay_by_sample},
                               {"packed_once", packed_once},
                               {"flaky", flaky},
                               {"warmed_up", warmed_up},
                               {"late_thread", late_thread},
                               {"hangs", hangs},
                               {"divides_by_zero", divides_by_zero},
                               {"flush_to_zero", flush_to_zero},
                               {"leaves_flush_to_zero", leaves_flush_to_zero},
                               {"leaves_rounding_mode", leaves_rounding_mode},
                               {"noise", noise},
                               {"isolated_element", isolated_element},
                               {"one_ulp", one_ulp},
                               {"random_bits", random_bits},
                               {"bits_by_team", bits_by_team},
                               {"nan_at_the_end", nan_at_the_end},
                               {"fixed_shape", fixed_shape},
                               {"leaks_memory", leaks_memory},
                               {"leaks_pages", leaks_pages},
                               {"leaks_descriptors", leaks_descriptors},
                               {"leaks_threads", leaks_threads},
                               {"works_on", works_on},
                               {"hungry", hungry},
                               {"honest_to_the_limit", limit_of_four},
                               {"beyond_the_limit", limit_of_five},
                               {"beyond_in_f64", beyond_in_f64},
                               {"past_the_workspace", past_the_workspace, 60},
                               {"nan_unwritten", nan_unwritten},
                               {"added_to_zero", added_to_zero}};

class walking_plan final : public plan {
 public:
  walking_plan(const row* wrong, path where, work w) : wrong_(wrong), where_(where), work_(std::move(w)) {}
  std::size_t workspace_size() const override { return wrong_ == nullptr ? 0 : wrong_->workspace; }
  void run(const kernel_call& call) noexcept override {
    ++memory_.calls;
    if (wrong_ == nullptr)
      follow(where_, work_, call);
    else
      wrong_->run({work_, call, memory_});
  }

 private:
  const row* wrong_;
  path where_;
  work work_;
  memory memory_;
};

}  // namespace

std::unique_ptr<plan> make_plan(std::string_view walk, path where, work w) {
  if (walk.empty()) return std::make_unique<walking_plan>(nullptr, where, std::move(w));
  if (walk == "leaks_plan") {
    static std::vector<std::shared_ptr<const void>> plans;
    plans.push_back(w.body);
    return std::make_unique<walking_plan>(nullptr, where, std::move(w));
  }
  if (walk == "inside") return std::make_unique<walking_plan>(nullptr, path::plain, std::move(w));
  for (const row& r : wrong_walks)
    if (r.name == walk) return std::make_unique<walking_plan>(&r, where, std::move(w));
  throw std::logic_error("no walk is called `" + std::string(walk) + "`");
}

}  // namespace plumb::faults
