#include "verify/sandbox/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace plumb {
namespace {

/// Lowest and one past the highest element offset; equal for a tensor without elements.
struct extent_of_offsets {
  index_t low = 0, high = 0;
};

extent_of_offsets span_of(const shape& extents, const shape& strides) {
  extent_of_offsets span;
  if (extents.size() == 0) return span;
  for (int axis = 0; axis < extents.rank(); ++axis) {
    const index_t reach = (extents[axis] - 1) * strides[axis];
    (reach < 0 ? span.low : span.high) += reach;
  }
  ++span.high;
  return span;
}

std::byte* canaries_begin(const placed_tensor& t) {
  return t.begin - std::min<std::ptrdiff_t>(wire::canary_bytes, t.begin - t.slot_begin);
}
std::byte* canaries_end(const placed_tensor& t) {
  return t.end + std::min<std::ptrdiff_t>(wire::canary_bytes, t.slot_end - t.end);
}

void lay(std::byte* from, const std::byte* to, unsigned char with) {
  std::memset(from, with, static_cast<std::size_t>(to - from));
}

bool all_equal(const std::byte* from, const std::byte* to, unsigned char value) {
  // A block that equals itself shifted by one byte holds one value; memcmp is the fastest way to ask.
  if (from == to) return true;
  return *from == std::byte{value} &&
         std::memcmp(from, from + 1, static_cast<std::size_t>(to - from - 1)) == 0;
}

bool is_dense(const placed_tensor& t) {
  return static_cast<std::size_t>(t.here.extents.size()) * size_of(t.here.type) == t.bytes();
}

template <class F>
void for_each_element(const placed_tensor& t, F&& f) {
  const auto size = static_cast<std::ptrdiff_t>(size_of(t.here.type));
  const auto* const origin = static_cast<const std::byte*>(t.here.data);
  index_t number = 0;
  for_each_index(t.here.extents, [&](const shape& at) {
    std::ptrdiff_t offset = 0;
    for (int axis = 0; axis < at.rank(); ++axis) offset += at[axis] * t.here.strides[axis];
    f(number++, origin + offset * size);
  });
}

/// A byte between the elements that is no longer poison, or nothing.
std::optional<damage> find_gap_damage(const placed_tensor& t) {
  std::vector<bool> owned(t.bytes(), false);
  const std::size_t size = size_of(t.here.type);
  for_each_element(t, [&](index_t, const std::byte* element) {
    const auto at = static_cast<std::size_t>(element - t.begin);
    for (std::size_t i = 0; i < size; ++i) owned[at + i] = true;
  });
  for (std::size_t i = 0; i < owned.size(); ++i)
    if (!owned[i] && t.begin[i] != std::byte{static_cast<unsigned char>(t.filled_with)})
      return damage{t.name, damage::where::between, static_cast<std::ptrdiff_t>(i)};
  return std::nullopt;
}

/// The row-major number of the element that lies at `place`, counted in elements from the lowest of a dense
/// tensor.
index_t number_at(index_t place, const placed_tensor& t) {
  const tensor_ref& r = t.here;
  index_t number = 0;
  for (int axis = 0; axis < r.extents.rank(); ++axis) {
    const index_t extent = r.extents[axis];
    const index_t step = std::abs(r.strides[axis]);
    const index_t coordinate = extent == 1 ? 0 : place / step % extent;
    number = number * extent + (r.strides[axis] < 0 ? extent - 1 - coordinate : coordinate);
  }
  return number;
}

template <class Word>
Word word_of(poison p) {
  Word word = 0;
  std::memset(&word, static_cast<unsigned char>(p), sizeof word);
  return word;
}

/// Both tensors dense with the same strides: compares memory word by word.
template <class Word>
unwritten_elements find_unwritten_dense(const placed_tensor& one, const placed_tensor& other) {
  unwritten_elements result;
  const auto* const a = reinterpret_cast<const Word*>(one.begin);
  const auto* const b = reinterpret_cast<const Word*>(other.begin);
  const Word poison_a = word_of<Word>(one.filled_with);
  const Word poison_b = word_of<Word>(other.filled_with);
  for (index_t i = 0; i < one.here.extents.size(); ++i) {
    if (a[i] != poison_a || b[i] != poison_b) continue;
    const index_t number = number_at(i, one);
    if (result.count++ == 0 || number < result.first) result.first = number;
  }
  return result;
}

unwritten_elements find_unwritten_strided(const placed_tensor& one, const placed_tensor& other) {
  unwritten_elements result;
  const std::size_t size = size_of(one.here.type);
  const auto holds = [size](const std::byte* element, poison p) {
    return all_equal(element, element + size, static_cast<unsigned char>(p));
  };
  const auto* const origin = static_cast<const std::byte*>(other.here.data);
  for_each_element(one, [&](index_t number, const std::byte* element) {
    if (!holds(element, one.filled_with)) return;
    std::ptrdiff_t offset = 0;
    const shape at = unflatten(number, other.here.extents);
    for (int axis = 0; axis < at.rank(); ++axis) offset += at[axis] * other.here.strides[axis];
    if (!holds(origin + offset * static_cast<std::ptrdiff_t>(size), other.filled_with)) return;
    if (result.count++ == 0) result.first = number;
  });
  return result;
}

}  // namespace

std::string damage::describe() const {
  const std::string bytes = std::to_string(distance) + (distance == 1 ? " byte" : " bytes");
  switch (side) {
    case where::before:
      return "wrote " + bytes + " before the start of `" + tensor + "`";
    case where::after:
      return "wrote " + bytes + " past the end of `" + tensor + "`";
    case where::between:
      return "wrote between the elements of `" + tensor + "`, " + bytes + " after its lowest";
  }
  return {};
}

std::optional<damage> find_damage(const placed_tensor& t) {
  if (t.here.data == nullptr) return std::nullopt;
  const auto changed = [](std::byte b) { return b != std::byte{wire::canary}; };
  const std::byte* const low = canaries_begin(t);
  const std::byte* const high = canaries_end(t);
  if (!all_equal(t.end, high, wire::canary))
    return damage{t.name, damage::where::after,
                  std::find_if<const std::byte*>(t.end, high, changed) - t.end + 1};
  if (!all_equal(low, t.begin, wire::canary)) {
    const std::byte* at = t.begin;
    while (!changed(at[-1])) --at;
    return damage{t.name, damage::where::before, t.begin - at + 1};
  }
  return t.written && !is_dense(t) ? find_gap_damage(t) : std::nullopt;
}

unwritten_elements find_unwritten(const placed_tensor& one, const placed_tensor& other) {
  if (one.here.data == nullptr) return {};
  if (is_dense(one) && is_dense(other) && one.here.strides == other.here.strides) {
    switch (size_of(one.here.type)) {
      case 2:
        return find_unwritten_dense<std::uint16_t>(one, other);
      case 4:
        return find_unwritten_dense<std::uint32_t>(one, other);
      default:
        return find_unwritten_dense<std::uint64_t>(one, other);
    }
  }
  return find_unwritten_strided(one, other);
}

int out_of_the_way(int descriptor) {
  constexpr int beyond_the_fixed_ones = 64;
  const int high = ::fcntl(descriptor, F_DUPFD_CLOEXEC, beyond_the_fixed_ones);
  ::close(descriptor);
  return high;
}

arena::arena(int number) : number_(number), touched_(wire::slot_count, 0) {
  descriptor_ = out_of_the_way(::memfd_create("plumb-arena", MFD_CLOEXEC));
  if (descriptor_ < 0 || ::ftruncate(descriptor_, static_cast<off_t>(wire::file_bytes)) != 0)
    throw std::system_error(errno, std::generic_category(), "cannot make shared memory for the sandbox");
  void* const at =
      ::mmap(nullptr, wire::file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor_, 0);
  if (at == MAP_FAILED) {
    ::close(descriptor_);
    throw std::system_error(errno, std::generic_category(), "cannot map shared memory for the sandbox");
  }
  memory_ = static_cast<std::byte*>(at);
}

arena::~arena() {
  ::munmap(memory_, wire::file_bytes);
  ::close(descriptor_);
}

void arena::clear() {
  if (busy) throw std::logic_error("arena cleared while a batch is under way");
  reads_ = 0;
  writes_ = 0;
  give_back_memory();
}

/// Big problems leave big slots behind: beyond a budget their pages go back to the system.
void arena::give_back_memory() {
  constexpr std::size_t budget = std::size_t{256} << 20;
  constexpr std::size_t small = std::size_t{1} << 20;
  std::size_t total = 0;
  for (const std::size_t bytes : touched_) total += bytes;
  if (total <= budget) return;
  for (int slot = 0; slot < wire::slot_count; ++slot) {
    std::size_t& bytes = touched_[static_cast<std::size_t>(slot)];
    if (bytes < small) continue;
    ::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(wire::slot_offset(slot)), static_cast<off_t>(wire::slot_bytes));
    bytes = 0;
  }
}

void arena::note_workspace(std::size_t bytes) {
  std::size_t& most = touched_[wire::workspace_slot];
  most = std::max(most, bytes);
}

placed_tensor arena::place(std::string_view name, dtype type, const shape& extents, const shape& strides,
                           placement where, int slot) {
  const std::size_t size = size_of(type);
  const extent_of_offsets span = span_of(extents, strides);
  const std::size_t bytes = static_cast<std::size_t>(span.high - span.low) * size;
  const std::size_t skew = static_cast<std::size_t>(where.skew) * size;
  if (bytes + skew > wire::slot_bytes)
    throw std::length_error("tensor `" + std::string(name) + "` of shape " + to_string(extents) +
                            " is larger than the sandbox's slots of 2 GiB");
  placed_tensor t;
  t.name = name;
  t.written = slot >= wire::read_slots;
  t.slot = slot;
  t.slot_begin = memory_ + wire::slot_offset(slot);
  t.slot_end = t.slot_begin + wire::slot_bytes;
  t.begin = where.at_end ? t.slot_end - skew - bytes : t.slot_begin + skew;
  t.end = t.begin + bytes;
  t.here = {t.begin - span.low * static_cast<std::ptrdiff_t>(size), type, extents, strides};
  lay(canaries_begin(t), t.begin, wire::canary);
  lay(t.end, canaries_end(t), wire::canary);
  std::size_t& most = touched_[static_cast<std::size_t>(slot)];
  most = std::max(most, bytes);
  return t;
}

placed_tensor arena::place_read(std::string_view name, dtype type, const shape& extents, const shape& strides,
                                placement where) {
  if (reads_ == wire::read_slots) throw std::length_error("no slot is left for `" + std::string(name) + "`");
  placed_tensor t = place(name, type, extents, strides, where, reads_);
  ++reads_;
  // Gaps between the elements hold a NaN too; a dense tensor is the caller's to fill.
  if (!is_dense(t)) lay(t.begin, t.end, wire::canary);
  return t;
}

placed_tensor arena::place_written(std::string_view name, dtype type, const shape& extents,
                                   const shape& strides, poison with, placement where) {
  if (writes_ == wire::write_slots)
    throw std::length_error("no slot is left for `" + std::string(name) + "`");
  placed_tensor t = place(name, type, extents, strides, where, wire::read_slots + writes_);
  ++writes_;
  t.filled_with = with;
  lay(t.begin, t.end, static_cast<unsigned char>(with));
  return t;
}

void arena::refill(placed_tensor& t, poison with) {
  t.filled_with = with;
  lay(canaries_begin(t), t.begin, wire::canary);
  lay(t.begin, t.end, static_cast<unsigned char>(with));
  lay(t.end, canaries_end(t), wire::canary);
}

}  // namespace plumb
