// The products of amx_tiles.hpp: one loop over a set of tile registers, which is the processor's or is emulated.
//   native     tile number → instruction. Tiles 0 … 3 are C, 4 and 5 A, 6 and 7 B
//   emulated   arrays. Sums over k of the even and of the odd elements of the pairs are kept apart and added at the end,
//              each term rounded once; subnormal operands and results are zeros. Products of ordinary numbers are exact in f32,
//              so that one multiplication and one addition do; where the smallest or the largest could leave its range, slower
//              code flushes and fuses explicitly
// The operating system saves 8 KiB more for a process that uses tiles, and wants to be asked first, once.
#include "optimized/cpu/amx_tiles.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
// g++ 12 accuses its own header of using what it calls undefined on purpose.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace plumb {
namespace {

class emulated_tiles {
 public:
  template <int Tile>
  void load(const float* from, index_t row) {
    for (index_t i = 0; i < tile_side; ++i) std::copy_n(from + i * row, tile_side, tiles_[Tile][i]);
  }
  template <int Tile>
  void store(float* to, index_t row) const {
    for (index_t i = 0; i < tile_side; ++i) std::copy_n(tiles_[Tile][i], tile_side, to + i * row);
  }
  template <int C, int A, int B>
  void multiply() {
    is_ordinary(tiles_[A], tiles_[B]) ? add<false>(tiles_[C], tiles_[A], tiles_[B])
                                      : add<true>(tiles_[C], tiles_[A], tiles_[B]);
  }

 private:
  using tile = float[tile_side][tile_side];

  static float low(float pair) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(pair) << 16); }
  static float high(float pair) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(pair) & 0xffff0000U);
  }
  static float flushed(float value) {
    return std::fabs(value) < std::numeric_limits<float>::min() ? std::copysign(0.0F, value) : value;
  }

  /// The least and the greatest exponent of a tile of pairs, zeros left out.
  static std::pair<std::uint32_t, std::uint32_t> exponents(const tile& t) {
    std::uint32_t least = 0xffff, most = 0;  // a zero less one wraps around to the greatest
    for (const auto& row : t)
      for (const float pair : row) {
        const auto bits = std::bit_cast<std::uint32_t>(pair);
        const std::uint32_t first = bits & 0x7fffU, second = bits >> 16 & 0x7fffU;
        least = std::min({least, (first - 1) & 0xffffU, (second - 1) & 0xffffU});
        most = std::max({most, first, second});
      }
    return {(least + 1) >> 7, most >> 7};
  }
  /// No product nor sum of products is subnormal, no product overflows. Exponents are 127 too large.
  static bool is_ordinary(const tile& a, const tile& b) {
    const auto [least_a, most_a] = exponents(a);
    const auto [least_b, most_b] = exponents(b);
    return least_a + least_b > 254 - 100 && std::min(least_a, least_b) > 0 && most_a + most_b < 254 + 120;
  }

  template <bool Careful>
  static float term(float x, float w, float sum) {
    if constexpr (Careful) return flushed(std::fma(flushed(x), flushed(w), sum));
    return sum + x * w;
  }
  template <bool Careful>
  static void add(tile& c, const tile& a, const tile& b) {
    for (index_t m = 0; m < tile_side; ++m) {
      float even[tile_side] = {}, odd[tile_side] = {};
      for (index_t k = 0; k < tile_side; ++k) {
        const float first = low(a[m][k]), second = high(a[m][k]);
        for (index_t n = 0; n < tile_side; ++n) {
          even[n] = term<Careful>(first, low(b[k][n]), even[n]);
          odd[n] = term<Careful>(second, high(b[k][n]), odd[n]);
        }
      }
      for (index_t n = 0; n < tile_side; ++n) c[m][n] = flushed(flushed(c[m][n]) + flushed(even[n] + odd[n]));
    }
  }

  alignas(64) float tiles_[8][tile_side][tile_side];
};

/// Inlined into one function for each set of tile registers, which says for which processor.
template <class Tiles, int Rows, int Columns>
[[gnu::always_inline]] inline void run_block(const tile_product& p) {
  Tiles tiles;
  constexpr bool down = Rows == 2, right = Columns == 2;
  const index_t second = tile_side * p.init_row, second_out = tile_side * block_side;
  tiles.template load<0>(p.init, p.init_row);
  if constexpr (right) tiles.template load<1>(p.init + tile_side, p.init_row);
  if constexpr (down) tiles.template load<2>(p.init + second, p.init_row);
  if constexpr (down && right) tiles.template load<3>(p.init + second + tile_side, p.init_row);
  for (index_t i = 0; i < p.outer; ++i) {
    const float *a = p.a + p.a_at[i], *b = p.b + i * p.b_outer;
    for (index_t j = 0; j < p.inner; ++j, a += p.a_step, b += p.b_step) {
      tiles.template load<4>(a, p.a_row);
      tiles.template load<6>(b, p.b_row);
      tiles.template multiply<0, 4, 6>();
      if constexpr (right) tiles.template load<7>(b + p.b_next, p.b_row);
      if constexpr (right) tiles.template multiply<1, 4, 7>();
      if constexpr (down) tiles.template load<5>(a + p.a_next, p.a_row);
      if constexpr (down) tiles.template multiply<2, 5, 6>();
      if constexpr (down && right) tiles.template multiply<3, 5, 7>();
    }
  }
  tiles.template store<0>(p.out, block_side);
  if constexpr (right) tiles.template store<1>(p.out + tile_side, block_side);
  if constexpr (down) tiles.template store<2>(p.out + second_out, block_side);
  if constexpr (down && right) tiles.template store<3>(p.out + second_out + tile_side, block_side);
}

void run_emulated(const tile_product& p) {
  using tiles = emulated_tiles;
  if (p.rows == 1) return p.columns == 1 ? run_block<tiles, 1, 1>(p) : run_block<tiles, 1, 2>(p);
  p.columns == 1 ? run_block<tiles, 2, 1>(p) : run_block<tiles, 2, 2>(p);
}

void nothing() {}

#if defined(__x86_64__)
// A macro, because attributes cannot be named otherwise.
#define PLUMB_AMX __attribute__((target("amx-tile,amx-bf16")))

/// The numbers of tiles are part of the instructions, and g++ makes them of the text of the argument.
struct native_tiles {
  template <int Tile>
  PLUMB_AMX inline void load(const float* from, index_t row) const {
    const auto bytes = static_cast<long>(sizeof(float)) * row;
    if constexpr (Tile == 0) _tile_loadd(0, from, bytes);
    if constexpr (Tile == 1) _tile_loadd(1, from, bytes);
    if constexpr (Tile == 2) _tile_loadd(2, from, bytes);
    if constexpr (Tile == 3) _tile_loadd(3, from, bytes);
    if constexpr (Tile == 4) _tile_loadd(4, from, bytes);
    if constexpr (Tile == 5) _tile_loadd(5, from, bytes);
    if constexpr (Tile == 6) _tile_loadd(6, from, bytes);
    if constexpr (Tile == 7) _tile_loadd(7, from, bytes);
  }
  template <int Tile>
  PLUMB_AMX inline void store(float* to, index_t row) const {
    const auto bytes = static_cast<long>(sizeof(float)) * row;
    if constexpr (Tile == 0) _tile_stored(0, to, bytes);
    if constexpr (Tile == 1) _tile_stored(1, to, bytes);
    if constexpr (Tile == 2) _tile_stored(2, to, bytes);
    if constexpr (Tile == 3) _tile_stored(3, to, bytes);
  }
  template <int C, int A, int B>
  PLUMB_AMX inline void multiply() const {
    if constexpr (C == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (C == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (C == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (C == 3) _tile_dpbf16ps(3, 5, 7);
    static_assert(A == 4 + C / 2 && B == 6 + C % 2);
  }
};

template <int Rows, int Columns>
PLUMB_AMX __attribute__((flatten)) void run_native_block(const tile_product& p) {
  run_block<native_tiles, Rows, Columns>(p);
}

void run_native(const tile_product& p) {
  if (p.rows == 1) return p.columns == 1 ? run_native_block<1, 1>(p) : run_native_block<1, 2>(p);
  p.columns == 1 ? run_native_block<2, 1>(p) : run_native_block<2, 2>(p);
}

/// As LDTILECFG reads it.
struct alignas(64) tile_configuration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(tile_configuration) == 64);
/// Not a local variable: g++ 12 believes that only its first 8 bytes are read, and drops the rest.
constexpr tile_configuration all_whole;

PLUMB_AMX void start_native() { _tile_loadconfig(&all_whole); }
PLUMB_AMX void stop_native() { _tile_release(); }

/// Empty, or what is missing here for tiles.
std::string what_native_lacks() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool known = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0;
  constexpr unsigned amx_bf16 = 1U << 22, amx_tile = 1U << 24;
  if (!known || (d & amx_bf16) == 0 || (d & amx_tile) == 0) return "this processor lacks amx";
  if (!bf16_tile_targets().front().runs_here)
    return "this processor lacks " + std::string(bf16_tile_targets().front().name);
  constexpr long request_permission = 0x1023, tile_data = 18;  // of Linux, asm/prctl.h
  if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0)
    return "the operating system does not grant amx";
  return {};
}
#endif

}  // namespace

std::span<const tile_machine> tile_machines() {
  static const std::vector<tile_machine> all = [] {
    std::vector<tile_machine> list;
#if defined(__x86_64__)
    list.push_back(
        {"amx", what_native_lacks(), &bf16_tile_targets().front(), start_native, stop_native, run_native});
#endif
    list.push_back({"cpu", {}, &bf16_tile_targets().back(), nothing, nothing, run_emulated});
    return list;
  }();
  return all;
}

}  // namespace plumb
