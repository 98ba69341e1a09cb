// The register tile of tile.hpp on pairs of bf16: an element of x and of w is two neighbouring terms of the sum, rounded
// to bf16 (nearest, ties to even) and put into 32 bits; products and sums are f32.
//   avx3_bf16  AVX-512-BF16: vdpbf16ps adds both products of 16 pairs at once, twice the multiplications of a vector
//              of f32. It takes subnormal numbers for zeros, so data whose sums might come near them are emulated
//   cpu        emulated: a bf16 is the upper half of an f32, so two shifts and two multiplications in f32 do, and
//              every product is exact there
// A finite number beyond the largest bf16 becomes that, not infinity. Intel 2018, "BFLOAT16 – hardware numerics definition". By intrinsics under target attributes: Highway 1.0.3 has no
// native product of bf16, and a file compiled for one instruction set would leak it into shared inline functions.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "optimized/cpu/tile.hpp"

#if defined(__x86_64__)
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

constexpr int lanes = 16, most_vectors = 4;

constexpr std::uint32_t infinity = 0x7f800000U, largest = 0x7f7f0000U,
                        magnitudes = 0x7fff0000U;  ///< as bits of f32

std::uint32_t rounded(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value), magnitude = bits & 0x7fffffffU;
  if (magnitude > largest && magnitude < infinity) return ((bits & 0x80000000U) | largest) >> 16;
  return bf16(value).bits;
}

void round_pairs(const float* from, index_t count, float* to) {
  index_t i = 0;
  for (; i + 1 < count; i += 2)
    to[i / 2] = std::bit_cast<float>(rounded(from[i]) | rounded(from[i + 1]) << 16);
  if (i < count) to[i / 2] = std::bit_cast<float>(rounded(from[i]));
}

float smallest(const float* pairs, index_t count) {
  std::uint32_t least = infinity - 1;  // less one, so that a zero is the greatest
  for (index_t i = 0; i < count; ++i) {
    const auto pair = std::bit_cast<std::uint32_t>(pairs[i]);
    least = std::min({least, (pair << 16 & magnitudes) - 1, (pair & magnitudes) - 1});
  }
  return std::bit_cast<float>(least + 1);
}

float low(float pair) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(pair) << 16); }
float high(float pair) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(pair) & 0xffff0000U); }

/// Calls f(x, w) for every term in order.
template <class F>
void for_each_term(const tile_call& t, F&& f) {
  for (index_t i = 0; i < t.loops[0].count; ++i)
    for (index_t j = 0; j < t.loops[1].count; ++j)
      for (index_t k = 0; k < t.loops[2].count; ++k)
        f(t.x + i * t.loops[0].step + j * t.loops[1].step + k * t.loops[2].step,
          t.w + i * t.loops[0].w_step + j * t.loops[1].w_step + k * t.loops[2].w_step);
}

void run_emulated(const tile_call& t) {
  const int width = t.vectors * lanes;
  for (int j = 0; j < t.pixels; ++j) {
    float sum[lanes * most_vectors] = {};
    float* out = t.out + t.out_row[j];
    if (const float* start = t.add ? out : t.init) std::copy_n(start, width, sum);
    for_each_term(t, [&](const float* x, const float* w) {
      const float first = low(x[t.row[j]]), second = high(x[t.row[j]]);
      for (int i = 0; i < width; ++i) sum[i] += first * low(w[i]) + second * high(w[i]);
    });
    std::copy_n(sum, width, out);
  }
}

#if defined(__x86_64__)
#define PLUMB_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

template <int Vectors, int Pixels>
PLUMB_BF16 void run_native(const tile_call& t) {
  __m512 sum[Pixels][Vectors];
#pragma GCC unroll 8
  for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v)
      sum[j][v] = t.add    ? _mm512_loadu_ps(t.out + t.out_row[j] + v * lanes)
                  : t.init ? _mm512_loadu_ps(t.init + v * lanes)
                           : _mm512_setzero_ps();
  for (index_t i = 0; i < t.loops[0].count; ++i)
    for (index_t k = 0; k < t.loops[1].count; ++k) {
      const float* x = t.x + i * t.loops[0].step + k * t.loops[1].step;
      const float* w = t.w + i * t.loops[0].w_step + k * t.loops[1].w_step;
      for (index_t left = t.loops[2].count; left > 0; --left, x += t.loops[2].step, w += t.loops[2].w_step) {
        __m512 term[Vectors];
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) term[v] = _mm512_loadu_ps(w + v * lanes);
#pragma GCC unroll 8
        for (int j = 0; j < Pixels; ++j) {
          const __m512 pixel = _mm512_set1_ps(x[t.row[j]]);
#pragma GCC unroll 8
          for (int v = 0; v < Vectors; ++v)
            sum[j][v] = _mm512_dpbf16_ps(sum[j][v], (__m512bh)pixel, (__m512bh)term[v]);
        }
      }
    }
#pragma GCC unroll 8
  for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) _mm512_storeu_ps(t.out + t.out_row[j] + v * lanes, sum[j][v]);
}

/// No finite number further than the largest bf16.
PLUMB_BF16 __m512 bounded(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v), most = _mm512_set1_epi32(static_cast<int>(largest));
  const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
  const __mmask16 beyond = _mm512_cmpgt_epi32_mask(magnitude, most) &
                           _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(static_cast<int>(infinity)));
  return _mm512_castsi512_ps(_mm512_mask_or_epi32(bits, beyond, _mm512_xor_si512(bits, magnitude), most));
}

PLUMB_BF16 float smallest_native(const float* pairs, index_t count) {
  const __m512i mask = _mm512_set1_epi32(0x7fff0000), one = _mm512_set1_epi32(1);
  __m512i least = _mm512_set1_epi32(static_cast<int>(infinity - 1));
  index_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const __m512i pair = _mm512_loadu_si512(pairs + i);
    const __m512i second = _mm512_and_si512(pair, mask),
                  first = _mm512_and_si512(_mm512_slli_epi32(pair, 16), mask);
    least = _mm512_min_epu32(least, _mm512_sub_epi32(first, one));
    least = _mm512_min_epu32(least, _mm512_sub_epi32(second, one));
  }
  const float head = std::bit_cast<float>(_mm512_reduce_min_epu32(least) + 1);
  return std::min(head, smallest(pairs + i, count - i));
}

/// Sixteen pairs at once; the rest, and those with a subnormal number, one by one.
PLUMB_BF16 void round_pairs_native(const float* from, index_t count, float* to) {
  index_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const __m512 first = _mm512_loadu_ps(from + i), second = _mm512_loadu_ps(from + i + lanes);
    constexpr int denormal = 0x20;
    if ((_mm512_fpclass_ps_mask(first, denormal) | _mm512_fpclass_ps_mask(second, denormal)) != 0) {
      round_pairs(from + i, 2 * lanes, to + i / 2);
      continue;
    }
    const __m512bh both = _mm512_cvtne2ps_pbh(bounded(second), bounded(first));
    _mm512_storeu_ps(to + i / 2, (__m512)both);
  }
  round_pairs(from + i, count - i, to + i / 2);
}

using run_function = void (*)(const tile_call&);
template <int Vectors>
constexpr run_function by_pixels[] = {run_native<Vectors, 1>, run_native<Vectors, 2>, run_native<Vectors, 3>,
                                      run_native<Vectors, 4>, run_native<Vectors, 5>, run_native<Vectors, 6>};
constexpr const run_function* by_vectors[] = {by_pixels<1>, by_pixels<2>, by_pixels<3>, by_pixels<4>};

void run_native_any(const tile_call& t) { by_vectors[t.vectors - 1][t.pixels - 1](t); }
#endif

}  // namespace

std::span<const tile_target> bf16_tile_targets() {
  static const std::vector<tile_target> all = [] {
    tile_target emulated;
    emulated.name = "cpu";
    emulated.lanes = lanes;
    emulated.vectors = most_vectors;
    emulated.pixels = most_tile_rows;
    emulated.run = run_emulated;
    emulated.run_gradual = run_emulated;
    emulated.round_pairs = round_pairs;
    emulated.smallest = smallest;
    emulated.runs_here = true;
    emulated.transpose = tile_targets().back().transpose;
    std::vector<tile_target> list;
#if defined(__x86_64__)
    tile_target native = emulated;
    native.name = "avx3_bf16";
    native.run = run_native_any;
    native.round_pairs = round_pairs_native;
    native.smallest = smallest_native;
    native.runs_here = __builtin_cpu_supports("avx512bf16") && tile_targets().front().runs_here;
    native.transpose = tile_targets().front().transpose;
    list.push_back(native);
#endif
    list.push_back(emulated);
    return list;
  }();
  return all;
}

}  // namespace plumb
