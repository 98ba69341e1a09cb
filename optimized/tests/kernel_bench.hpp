// A bench to put a kernel on: operands in guarded memory, one call, results read back in logical order.
// Every tensor ends at (or starts at) an inaccessible page, so that a read or write outside it is a crash;
// outputs and workspace are filled with NaN patterns first, so that an element left unwritten is seen.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <vector>

#include "optimized/kernels.hpp"

namespace plumb::testing {

enum class guard { at_end, at_start };

/// `bytes` of memory between two inaccessible pages, touching one of them, filled with 0xff (a NaN as f32).
class guarded {
 public:
  guarded(std::size_t bytes, guard side, std::size_t alignment) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t room = (bytes + page - 1) / page * page;
    size_ = room + 2 * page;
    base_ = static_cast<std::byte*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    if (room) mprotect(base_ + page, room, PROT_READ | PROT_WRITE);
    std::memset(base_ + page, 0xff, room);
    const std::size_t slack = (room - bytes) / alignment * alignment;
    data_ = base_ + page + (side == guard::at_end ? slack : 0);
  }
  guarded(guarded&& other) noexcept : base_(other.base_), data_(other.data_), size_(other.size_) {
    other.base_ = nullptr;
  }
  guarded(const guarded&) = delete;
  guarded& operator=(const guarded&) = delete;
  guarded& operator=(guarded&&) = delete;
  ~guarded() {
    if (base_) munmap(base_, size_);
  }
  void* data() const { return data_; }

 private:
  std::byte* base_;
  std::byte* data_;
  std::size_t size_;
};

/// A tensor in logical row-major order, as the tests write and compare it.
template <class T>
struct values {
  shape extents;
  std::vector<T> flat;

  explicit values(const shape& s = shape{0}) : extents(s), flat(static_cast<std::size_t>(s.size())) {}
  T& operator[](index_t i) { return flat[static_cast<std::size_t>(i)]; }
  const T& operator[](index_t i) const { return flat[static_cast<std::size_t>(i)]; }
};

struct setting {
  plumb::layout layout = layout::nchw;
  guard side = guard::at_end;
  int threads = 1;
};

/// Sanitizers are slow, and watch both ends of a buffer at once.
#ifdef PLUMB_SANITIZED
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

/// Every layout with a page in front and behind, on one thread and on three. Under sanitizers one of them, drawn, so that a
/// list of problems meets them all.
inline std::vector<setting> settings(const std::vector<layout>& layouts = {layout::nchw, layout::nhwc}) {
  static std::minstd_rand draw;
  std::vector<setting> all;
  for (const layout order : layouts)
    for (const int threads : {1, 3})
      for (const guard side : {guard::at_end, guard::at_start})
        if (!sanitized || side == guard::at_end) all.push_back({order, side, threads});
  if (sanitized) return {all[draw() / 64 % all.size()]};
  return all;
}

class bench {
 public:
  bench(const kernel& k, const problem& p, const setting& s) : kernel_(&k), setting_(s) {
    problem_ = {p, dtype::f32, s.layout, s.threads};
  }
  support supports() const { return kernel_->supports(problem_); }

  template <class T>
  void read(const values<T>& v, bool activation = true) {
    reads_.push_back(place<T>(v.extents, activation));
    const auto view = reads_.back().template view<T>();
    for (index_t i = 0; i < view.size(); ++i) view[i] = v[i];
  }
  void absent() { reads_.emplace_back(); }
  template <class T>
  void write(const shape& extents, bool activation = true) {
    writes_.push_back(place<T>(extents, activation));
  }
  /// Makes the plan, prepares it and runs it twice, so that a workspace believed to be zero is found out.
  void run() {
    const auto plan = kernel_->make_plan(problem_);
    plan->prepare(reads_);
    const guarded workspace(plan->workspace_size(), setting_.side, 64);
    for (int i = 0; i < 2; ++i) {
      plan->run(
          {.reads = reads_, .writes = writes_, .workspace = workspace.data(), .threads = setting_.threads});
      EXPECT_EQ(plan->failure(), "");
    }
  }
  template <class T>
  values<T> result(std::size_t i = 0) const {
    values<T> v(writes_[i].extents);
    const auto view = writes_[i].template view<T>();
    for (index_t j = 0; j < view.size(); ++j) v[j] = view[j];
    return v;
  }

 private:
  template <class T>
  tensor_ref place(const shape& extents, bool activation) {
    const bool last = activation && setting_.layout == layout::nhwc;
    memory_.emplace_back(static_cast<std::size_t>(extents.size()) * sizeof(T), setting_.side, sizeof(T));
    return {memory_.back().data(), std::is_same_v<T, float> ? dtype::f32 : dtype::i64, extents,
            last ? channels_last(extents) : row_major(extents)};
  }

  const kernel* kernel_;
  setting setting_;
  kernel_problem problem_;
  std::vector<guarded> memory_;
  std::vector<tensor_ref> reads_, writes_;
};

/// Every registered kernel of ours that matches and can run here.
inline std::vector<const kernel*> kernels_matching(std::string_view glob) {
  static const registry all = [] {
    registry r;
    register_all_kernels(r);
    return r;
  }();
  std::vector<const kernel*> found;
  for (const kernel* k : all.matching(glob))
    if (!k->peer && k->unavailable.empty()) found.push_back(k);
  return found;
}

/// The first element whose bits differ, in words; empty if none does. NaN equals NaN here.
template <class T>
std::string difference(const values<T>& expected, const values<T>& got) {
  if (!(expected.extents == got.extents)) return "shapes differ";
  for (index_t i = 0; i < expected.extents.size(); ++i) {
    const bool both_nan = expected[i] != expected[i] && got[i] != got[i];
    const bool same = std::memcmp(&expected[i], &got[i], sizeof(T)) == 0;
    if (!(same || both_nan))
      return "at " + coordinates(i, expected.extents) + " expected " + std::to_string(expected[i]) +
             ", got " + std::to_string(got[i]);
  }
  return {};
}

}  // namespace plumb::testing
