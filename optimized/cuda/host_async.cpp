#include "optimized/cuda/host_async.hpp"

#include <algorithm>

namespace plumb::cuda {
namespace {

/// A descriptor (operand.hpp), taken apart.
struct factor {
  unsigned address, line_step, block_step;
  bool rows_of_128_bytes;

  explicit factor(std::uint64_t d)
      : address(static_cast<unsigned>(d & 0x3fffU) << 4),
        line_step(static_cast<unsigned>(d >> 16 & 0x3fffU) << 4),
        block_step(static_cast<unsigned>(d >> 32 & 0x3fffU) << 4),
        rows_of_128_bytes(d >> 62 == 1) {}

  unsigned of_term_word(int line, int word) const {
    return address + static_cast<unsigned>(line / 8) * block_step +
           static_cast<unsigned>(line % 8) * copied_row_bytes + static_cast<unsigned>(word) * 4;
  }
  unsigned of_line(int line, int term) const {
    return address + static_cast<unsigned>(line / 64) * line_step +
           static_cast<unsigned>(term / 8) * block_step + static_cast<unsigned>(term % 8) * copied_row_bytes +
           static_cast<unsigned>(line % 64) * 2;
  }
  /// Calls f with a byte of every block of 1024 bytes that `lines` lines lie in.
  template <class F>
  void for_each_block(inside way, int lines, F&& f) const {
    if (way == inside::terms)
      for (int line = 0; line < lines; line += 8) f(of_term_word(line, 0));
    else
      for (int line = 0; line < lines; line += 64)
        for (int term = 0; term < 16; term += 8) f(of_line(line, term));
  }
};

template <class F>
void for_each_block(const host_product& p, F&& f) {
  factor(p.a).for_each_block(p.way, host_product::lines, f);
  factor(p.b).for_each_block(p.way, p.columns, f);
}

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void unpack_factor(const operand_memory& memory, const factor& from, inside way, int lines, unsigned* to) {
  for (int line = 0; line < lines; ++line)
    for (int word = 0; word < host_product::words; ++word, ++to) {
      if (way == inside::terms) {
        *to = load<unsigned>(memory.where(from.of_term_word(line, word)));
        continue;
      }
      const auto first = load<std::uint16_t>(memory.where(from.of_line(line, 2 * word))),
                 second = load<std::uint16_t>(memory.where(from.of_line(line, 2 * word + 1)));
      *to = first | static_cast<unsigned>(second) << 16;
    }
}

/// One more than the last word that is not zero in every line.
int used_words(const unsigned* words, int lines) {
  int used = 0;
  for (int line = 0; line < lines; ++line)
    for (int word = used; word < host_product::words; ++word)
      if (words[line * host_product::words + word] != 0) used = word + 1;
  return used;
}

/// One row of 128 bytes: what lies inside of `extent` elements from `first` on, and zeros.
void copy_row(const copied_tensor& t, const std::byte* line, int first, const operand_memory& to,
              unsigned at) {
  const int size = t.element_bytes;
  for (int i = 0; i < t.columns(); ++i) {
    const bool there = line != nullptr && first + i >= 0 && first + i < t.extents[0];
    std::byte* const element = to.where(at + static_cast<unsigned>(i * size));
    if (there)
      std::memcpy(element, line + static_cast<std::ptrdiff_t>(first + i) * size,
                  static_cast<std::size_t>(size));
    else
      std::memset(element, 0, static_cast<std::size_t>(size));
  }
}

/// The line of the first axis at the given place of the others, or null outside.
const std::byte* line_at(const copied_tensor& t, const std::int64_t (&place)[4]) {
  const auto* at = static_cast<const std::byte*>(t.data);
  for (int axis = 1; axis < t.rank; ++axis) {
    if (place[axis] < 0 || place[axis] >= t.extents[axis]) return nullptr;
    at += place[axis] * t.strides[axis];
  }
  return at;
}

void copy_box(const host_copy& c) {
  const copied_tensor& t = c.from;
  unsigned at = c.at;
  for (int k = 0; k < t.box[2]; ++k)
    for (int j = 0; j < t.box[1]; ++j, at += copied_row_bytes)
      copy_row(t, line_at(t, {0, c.first[1] + j, c.first[2] + k, 0}), c.first[0], c.to, at);
}

void copy_pixels(const host_copy& c) {
  const copied_tensor& t = c.from;
  std::int64_t w = c.first[1], h = c.first[2], n = c.first[3];
  for (int row = 0; row < t.rows; ++row) {
    copy_row(t, line_at(t, {0, w + c.right, h + c.down, n}), c.first[0], c.to,
             c.at + static_cast<unsigned>(row) * copied_row_bytes);
    if ((w += t.step[0]) < t.extents[1] + t.upper[0]) continue;
    w = t.lower[0];
    if ((h += t.step[1]) < t.extents[2] + t.upper[1]) continue;
    h = t.lower[1];
    ++n;
  }
}

std::string bytes_from(unsigned at) { return "byte " + std::to_string(at) + " of shared memory"; }

}  // namespace

bool operand_memory::inside(unsigned at, unsigned count) const {
  if (at % block_bytes == 0 && at + count <= size_) return true;
  here.report(std::to_string(count) + " bytes from " + bytes_from(at) + " on are not blocks of 1024 of its " +
              std::to_string(size_));
  return false;
}

void operand_memory::begin_copy(unsigned at, unsigned count) {
  for (unsigned i = at; i < at + count; i += block_bytes) {
    state& s = blocks_[i / block_bytes];
    if (s.readers > 0)
      here.report("a copy to " + bytes_from(i) + " begins while a product still reads there");
    if (s.copies > 0) here.report("two copies to " + bytes_from(i) + " are under way at once");
    ++s.copies;
  }
}

void operand_memory::end_copy(unsigned at, unsigned count) {
  for (unsigned i = at; i < at + count; i += block_bytes) {
    --blocks_[i / block_bytes].copies;
    blocks_[i / block_bytes].written = true;
  }
}

void operand_memory::begin_read(unsigned at) {
  state& s = blocks_[at / block_bytes];
  if (s.copies > 0) here.report("a product reads " + bytes_from(at) + " while a copy to it is under way");
  if (!s.written) here.report("a product reads " + bytes_from(at) + ", to which nothing was copied");
  ++s.readers;
}

void host_copy::finish() {
  if (from.pixels)
    copy_pixels(*this);
  else
    copy_box(*this);
  to.end_copy(at, bytes());
  done->bytes -= bytes();
  done->turn_over();
}

void host_async::arrive(host_arrival& a, int bytes) {
  if (a.missing == 0) return here.report("more threads arrive than an arrival waits for");
  a.bytes += bytes;
  --a.missing;
  a.turn_over();
}

void host_async::copy(host_copy c, const tensor_map& map) {
  std::memcpy(static_cast<void*>(&c.from), map.bytes, sizeof c.from);
  if (!c.to.inside(c.at, c.bytes())) return;
  c.to.begin_copy(c.at, c.bytes());
  copies_.push_back(c);
}

bool host_async::finish_one(std::uint64_t lot) {
  if (copies_.empty()) return false;
  const auto one = copies_.begin() + static_cast<std::ptrdiff_t>(lot % copies_.size());
  one->finish();
  copies_.erase(one);
  return true;
}

bool host_async::may_multiply() {
  const int number = mine().started;
  const shared_product& s = shared(number);
  return s.number < 0 || s.number == number || s.ended == 128;
}

void host_async::multiply(host_product p) {
  if (!factor(p.a).rows_of_128_bytes || !factor(p.b).rows_of_128_bytes)
    return here.report("a factor is not described as rows of 128 bytes");
  per_thread& t = mine();
  p.group = t.groups;
  p.number = t.started++;
  shared_product& s = shared(p.number);
  if (s.number != p.number) s.number = p.number, s.started = s.ended = 0, s.used = -1;
  if (s.started++ == 0) {
    bool fits = true;
    for_each_block(
        p, [&](unsigned at) { fits = fits && p.memory.inside(at / block_bytes * block_bytes, block_bytes); });
    if (!fits) return;
    for_each_block(p, [&](unsigned at) { p.memory.begin_read(at); });
  }
  t.products.push_back(p);
}

void host_async::wait_products(int left) {
  per_thread& t = mine();
  std::size_t done = 0;
  for (; done < t.products.size() && t.products[done].group < t.groups - left; ++done) {
    host_product& p = t.products[done];
    shared_product& s = shared(p.number);
    if (s.used < 0) {
      unpack_factor(p.memory, factor(p.a), p.way, host_product::lines, s.a);
      unpack_factor(p.memory, factor(p.b), p.way, p.columns, s.b);
      s.used = std::max(used_words(s.a, host_product::lines), used_words(s.b, p.columns));
    }
    p.add(p.sums, s.a, s.b, p.columns, s.used, here.thread);
    if (++s.ended == 128) for_each_block(p, [&](unsigned at) { p.memory.end_read(at); });
  }
  t.products.erase(t.products.begin(), t.products.begin() + static_cast<std::ptrdiff_t>(done));
}

void host_async::look_after() const {
  if (!copies_.empty()) here.report("the block ends while a copy is under way");
  const auto waits = [](const per_thread& t) { return !t.products.empty(); };
  if (std::any_of(threads_.begin(), threads_.end(), waits))
    here.report("the block ends with a product that nobody waited for");
}

}  // namespace plumb::cuda
