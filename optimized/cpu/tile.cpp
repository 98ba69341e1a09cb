// The register tile for every instruction set, compiled by Highway from the one source below. With 32
// registers a tile is 4 vectors × 6 rows (24 accumulators, 4 of w, 1 broadcast), with 16 it is 2 × 6 (12, 2,
// 1), or where rows lie evenly 3 × 4 (12, 3, 1), which loads 7 vectors for 12 multiply-adds in place of 8.
#include "optimized/cpu/tile.hpp"

#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/tile.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using vector = hn::Vec<numbers>;

constexpr int lanes = static_cast<int>(HWY_LANES(float));
constexpr int most_vectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;

/// The lines that a sum will be stored to begin to come near before it is begun, not when it is done.
template <int Vectors>
HWY_INLINE void fetch(const float* out) {
  constexpr int line = 16;
#pragma GCC unroll 4
  for (int i = 0; i < Vectors * lanes; i += line) __builtin_prefetch(out + i, 1);
}

/// `Lanewise`: x holds a vector where otherwise one number is broadcast.
template <bool Lanewise, int Vectors, int Pixels>
void tile(const tile_call& t) {
  const numbers d;
  vector sum[Pixels][Vectors];
#pragma GCC unroll 8
  for (int j = 0; j < Pixels; ++j) fetch<Vectors>(t.out + t.out_row[j]);
#pragma GCC unroll 8
  for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v)
      sum[j][v] = t.add    ? hn::LoadU(d, t.out + t.out_row[j] + v * lanes)
                  : t.init ? hn::LoadU(d, t.init + v * lanes)
                           : hn::Zero(d);

  index_t row[Pixels];
#pragma GCC unroll 8
  for (int j = 0; j < Pixels; ++j) row[j] = t.row[j];
  const index_t step = t.loops[2].step, w_step = t.loops[2].w_step;
  for (index_t i = 0; i < t.loops[0].count; ++i)
    for (index_t k = 0; k < t.loops[1].count; ++k) {
      const float* HWY_RESTRICT x = t.x + i * t.loops[0].step + k * t.loops[1].step;
      const float* HWY_RESTRICT w = t.w + i * t.loops[0].w_step + k * t.loops[1].w_step;
      for (index_t left = t.loops[2].count; left > 0; --left, x += step, w += w_step) {
        vector term[Vectors];
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) term[v] = hn::LoadU(d, w + v * lanes);
#pragma GCC unroll 8
        for (int j = 0; j < Pixels; ++j) {
          const vector pixel = hn::Set(d, x[row[j]]);
#pragma GCC unroll 8
          for (int v = 0; v < Vectors; ++v)
            sum[j][v] =
                hn::MulAdd(Lanewise ? hn::LoadU(d, x + row[j] + v * lanes) : pixel, term[v], sum[j][v]);
        }
      }
    }

#pragma GCC unroll 8
  for (int j = 0; j < Pixels; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) hn::StoreU(sum[j][v], d, t.out + t.out_row[j] + v * lanes);
}

/// Where all 16 registers are wanted the compiler would rather load a vector of w again for every row.
HWY_INLINE void stays_in_a_register([[maybe_unused]] vector& v) {
#if HWY_TARGET == HWY_AVX2
  asm("" : "+x"(v.raw));
#endif
}

/// What lies beside what in x: four terms in a row then have addresses that differ by what an instruction can add, and a
/// loop of them consists of loads and products alone. A core that is shared with somebody else's thread is short of
/// instructions: there 24 of them for 12 products take a sixth longer than 19.
enum class order {
  terms,  ///< the terms of a sum are neighbours
  rows    ///< the rows of a term are neighbours
};

#undef PLUMB_TERMS_BY_HAND
#define PLUMB_TERMS_BY_HAND (HWY_TARGET == HWY_AVX2 && HWY_ARCH_X86_64)

#if PLUMB_TERMS_BY_HAND
/// Places `step` elements apart, as addresses an instruction has room for: third is the place with that number.
struct places {
  const float *zeroth, *third;
  index_t bytes;

  places(const float* first, index_t step)
      : zeroth(first), third(first + 3 * step), bytes(step * index_t{sizeof(float)}) {}
  void advance(index_t elements) {
    zeroth += elements;
    third += elements;
  }
};

// In the processor's own words and in this order. Left to the compiler, some terms in a row need more than its 16
// registers: it makes a sum of what was a factor, loads before it has to, and spills a sum in every term.

/// `At` elements behind place number `Place` of six.
template <int Place, int At>
HWY_INLINE void load(vector& v, const places& p) {
  constexpr int bytes = At * static_cast<int>(sizeof(float)), scale = Place % 3;
  const float* const base = Place < 3 ? p.zeroth : p.third;
  if constexpr (scale == 0)
    asm volatile("vmovups %c2(%1), %0" : "=x"(v.raw) : "r"(base), "i"(bytes));
  else
    asm volatile("vmovups %c3(%1,%2,%c4), %0"
                 : "=x"(v.raw)
                 : "r"(base), "r"(p.bytes), "i"(bytes), "i"(scale));
}

/// row[v] += the number `At` elements behind place number `Place`, times factors[v]. Sums and factors may leave one register
/// only, so that none is looked for.
template <int Place, int At, int Vectors>
HWY_INLINE void add_row(vector (&row)[Vectors], const vector (&factors)[Vectors], const places& p) {
  constexpr int bytes = At * static_cast<int>(sizeof(float)), scale = Place % 3;
  const float* const base = Place < 3 ? p.zeroth : p.third;
  register __m256 number asm("ymm15");
  if constexpr (scale == 0)
    asm volatile("vbroadcastss %c2(%1), %0" : "=x"(number) : "r"(base), "i"(bytes));
  else
    asm volatile("vbroadcastss %c3(%1,%2,%c4), %0"
                 : "=x"(number)
                 : "r"(base), "r"(p.bytes), "i"(bytes), "i"(scale));
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v)
    asm volatile("vfmadd231ps %2, %1, %0" : "+x"(row[v].raw) : "x"(number), "x"(factors[v].raw));
}

template <order Order, int Term, int Row, int Vectors, int Rows>
HWY_INLINE void add_rows(vector (&sum)[Rows][Vectors], const vector (&factors)[Vectors], const places& x) {
  if constexpr (Order == order::terms)
    add_row<Row, Term>(sum[Row], factors, x);
  else
    add_row<Term, Row>(sum[Row], factors, x);
  if constexpr (Row + 1 < Rows) add_rows<Order, Term, Row + 1>(sum, factors, x);
}

template <int Row, int Vectors>
HWY_INLINE void load_row(vector (&row)[Vectors], const places& from) {
  load<Row, 0>(row[0], from);
  if constexpr (Vectors > 1) load<Row, lanes>(row[1], from);
  if constexpr (Vectors > 2) load<Row, 2 * lanes>(row[2], from);
}
template <int Row, int Vectors, int Rows>
HWY_INLINE void load_rows(vector (&sum)[Rows][Vectors], const places& from) {
  load_row<Row>(sum[Row], from);
  if constexpr (Row + 1 < Rows) load_rows<Row + 1>(sum, from);
}

/// Term number `Term`: the vectors of that place of w, times a number for each row.
template <order Order, int Term, int Vectors, int Rows>
HWY_INLINE void add_term(vector (&sum)[Rows][Vectors], const places& x, const places& w) {
  vector factors[Vectors];
  load_row<Term>(factors, w);
  add_rows<Order, Term, 0>(sum, factors, x);
}
#endif

/// `tiles` of a call, from row number `first` on.
template <int Vectors, int Rows>
void even_tiles(const tiles_call& t, index_t first, index_t tiles) {
  const numbers d;
  const index_t far = t.x_step, out_step = t.out_step;
  const float* x_tile = t.x + first * far;
  float* out = t.out + first * out_step;
  for (; tiles > 0; --tiles, x_tile += Rows * far, out += Rows * out_step) {
    vector sum[Rows][Vectors];
#pragma GCC unroll 8
    for (int j = 0; j < Rows; ++j) fetch<Vectors>(out + j * out_step);
#pragma GCC unroll 8
    for (int j = 0; j < Rows; ++j)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v)
        sum[j][v] = t.add    ? hn::LoadU(d, out + j * out_step + v * lanes)
                    : t.init ? hn::LoadU(d, t.init + v * lanes)
                             : hn::Zero(d);

    const index_t step = t.loops[2].step, w_step = t.loops[2].w_step;
    for (index_t i = 0; i < t.loops[0].count; ++i)
      for (index_t k = 0; k < t.loops[1].count; ++k) {
        const float* HWY_RESTRICT x = x_tile + i * t.loops[0].step + k * t.loops[1].step;
        const float* HWY_RESTRICT x3 = x + 3 * far;
        const float* HWY_RESTRICT w = t.w + i * t.loops[0].w_step + k * t.loops[1].w_step;
        for (index_t left = t.loops[2].count; left > 0; --left, x += step, x3 += step, w += w_step) {
          vector factors[Vectors];
#pragma GCC unroll 8
          for (int v = 0; v < Vectors; ++v) {
            factors[v] = hn::LoadU(d, w + v * lanes);
            stays_in_a_register(factors[v]);
          }
#pragma GCC unroll 8
          for (int j = 0; j < Rows; ++j) {
            const vector number = hn::Set(d, j < 3 ? x[j * far] : x3[(j - 3) * far]);
#pragma GCC unroll 8
            for (int v = 0; v < Vectors; ++v) sum[j][v] = hn::MulAdd(number, factors[v], sum[j][v]);
          }
        }
      }

#pragma GCC unroll 8
    for (int j = 0; j < Rows; ++j)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) hn::StoreU(sum[j][v], d, out + j * out_step + v * lanes);
  }
}

#if PLUMB_TERMS_BY_HAND
/// Tiles whose sums are a single line of terms. `start`: a vector of sums to begin with is at start[row·start_step + …].
struct line {
  const float* x;
  index_t far, step;
  const float* w;
  index_t w_step, terms;
  const float* start;  ///< nullptr: zero
  index_t start_step;
  float* out;
  index_t out_step;
};

template <order Order, int Vectors, int Rows>
HWY_NOINLINE void line_tiles(line t, index_t tiles) {
  const numbers d;
  const places factors(t.w, t.w_step);
  const index_t x_step = 4 * t.step, w_step = 4 * t.w_step;
  for (; tiles > 0; --tiles) {
    float* const out3 = t.out + 3 * t.out_step;
    asm volatile("" ::: "memory");  // the loads below do not say what they read: all of it has to be there
    vector sum[Rows][Vectors];
#pragma GCC unroll 8
    for (int j = 0; j < Rows; ++j)
      fetch<Vectors>(j < 3 ? t.out + j * t.out_step : out3 + (j - 3) * t.out_step);
    if (t.start) {
      load_rows<0>(sum, places(t.start, t.start_step));
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < Rows; ++j)
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) sum[j][v] = hn::Zero(d);
    }
    places x(t.x, Order == order::terms ? t.far : t.step), w = factors;
    index_t left = t.terms;
    for (; left >= 4; left -= 4) {
      add_term<Order, 0>(sum, x, w);
      add_term<Order, 1>(sum, x, w);
      add_term<Order, 2>(sum, x, w);
      add_term<Order, 3>(sum, x, w);
      x.advance(x_step);
      w.advance(w_step);
    }
    for (; left > 0; --left) {
      add_term<Order, 0>(sum, x, w);
      x.advance(t.step);
      w.advance(t.w_step);
    }
#pragma GCC unroll 8
    for (int j = 0; j < Rows; ++j)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v)
        hn::StoreU(sum[j][v], d, (j < 3 ? t.out + j * t.out_step : out3 + (j - 3) * t.out_step) + v * lanes);
    t.x += Rows * t.far;
    t.out += Rows * t.out_step;
    if (t.start) t.start += Rows * t.start_step;
  }
}

/// Line by line: what the first lines summed up lies in the first cache when the next one is added.
template <order Order, int Vectors, int Rows>
void even_lines(const tiles_call& t, index_t first, index_t tiles) {
  line l{};
  l.far = t.x_step;
  l.out_step = t.out_step;
  l.out = t.out + first * t.out_step;
  l.step = t.loops[2].step;
  l.w_step = t.loops[2].w_step;
  l.terms = t.loops[2].count;
  l.start = t.add ? l.out : t.init;
  l.start_step = t.add ? t.out_step : 0;
  for (index_t i = 0; i < t.loops[0].count; ++i)
    for (index_t k = 0; k < t.loops[1].count; ++k) {
      l.x = t.x + first * t.x_step + i * t.loops[0].step + k * t.loops[1].step;
      l.w = t.w + i * t.loops[0].w_step + k * t.loops[1].w_step;
      line_tiles<Order, Vectors, Rows>(l, tiles);
      l.start = l.out;
      l.start_step = l.out_step;
    }
}
#endif

template <int Vectors, int Rows>
void strip(const strip_call& t, const float* from, float* out) {
  const numbers d;
  vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int j = 0; j < Rows; ++j) fetch<Vectors>(out + j * t.out_step);
#pragma GCC unroll 8
  for (int j = 0; j < Rows; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[j][v] = t.init ? hn::Set(d, t.init[j]) : hn::Zero(d);

  const float* HWY_RESTRICT w = t.w;
  for (index_t c = 0; c < t.channels; ++c)
    for (index_t i = 0; i < t.tap_count; ++i, w += Rows) {
      const float* HWY_RESTRICT x = from + c * t.channel_step + t.taps[i];
      vector pixels[Vectors];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) pixels[v] = hn::LoadU(d, x + v * lanes);
#pragma GCC unroll 8
      for (int j = 0; j < Rows; ++j) {
        const vector factor = hn::Set(d, w[j]);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) sum[j][v] = hn::MulAdd(factor, pixels[v], sum[j][v]);
      }
    }

#pragma GCC unroll 8
  for (int j = 0; j < Rows; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) hn::StoreU(sum[j][v], d, out + j * t.out_step + v * lanes);
}

struct lanewise_call : tile_call {};

template <int Vectors, int Pixels>
void run_sized(const tile_call& t) {
  tile<false, Vectors, Pixels>(t);
}
template <int Vectors, int Pixels>
void run_sized(const lanewise_call& t) {
  tile<true, Vectors, Pixels>(t);
}
#if PLUMB_TERMS_BY_HAND
/// Strips under a single tap: the same lines with the roles turned.
template <int Vectors, int Rows>
void line_strips(const strip_call& t) {
  const numbers d;
  alignas(64) float start[Rows * Vectors * lanes];
  for (int j = 0; t.init && j < Rows; ++j)
    for (int v = 0; v < Vectors; ++v) hn::StoreU(hn::Set(d, t.init[j]), d, start + (j * Vectors + v) * lanes);
  line l{};
  l.x = t.w;
  l.far = 1;
  l.step = Rows;
  l.w_step = t.channel_step;
  l.terms = t.channels;
  l.start = t.init ? start : nullptr;
  l.start_step = index_t{Vectors} * lanes;
  l.out_step = t.out_step;
  for (index_t i = 0; i < t.strips; ++i) {
    l.w = t.x + t.taps[0] + i * Vectors * lanes;
    l.out = t.out + i * Vectors * lanes;
    line_tiles<order::rows, Vectors, Rows>(l, 1);
  }
}
#endif

template <int Vectors, int Rows>
void run_sized(const strip_call& t) {
#if PLUMB_TERMS_BY_HAND
  if (t.tap_count == 1) return line_strips<Vectors, Rows>(t);
#endif
  for (index_t i = 0; i < t.strips; ++i)
    strip<Vectors, Rows>(t, t.x + i * Vectors * lanes, t.out + i * Vectors * lanes);
}

/// Some tiles of `Pixels` rows of a call.
struct some_tiles {
  const tiles_call& of;
  index_t first, count;
  int vectors;
};
template <int Vectors, int Pixels>
void run_sized(const some_tiles& t) {
  if constexpr (Vectors * Pixels <= 2 * most_tile_rows || HWY_TARGET == HWY_AVX3) {
#if PLUMB_TERMS_BY_HAND
    constexpr index_t enough = 16;  // for sums that are kept in memory between two lines
    const index_t lines = t.of.loops[0].count * t.of.loops[1].count;
    if (lines == 1 || (lines > 1 && t.of.loops[2].count >= enough)) {
      if (t.of.loops[2].step == 1) return even_lines<order::terms, Vectors, Pixels>(t.of, t.first, t.count);
      if (t.of.x_step == 1) return even_lines<order::rows, Vectors, Pixels>(t.of, t.first, t.count);
    }
#endif
    even_tiles<Vectors, Pixels>(t.of, t.first, t.count);
  }
}

template <int Vectors, class Call>
void run_rows(const Call& t, int rows) {
  switch (rows) {
    case 1:
      return run_sized<Vectors, 1>(t);
    case 2:
      return run_sized<Vectors, 2>(t);
    case 3:
      return run_sized<Vectors, 3>(t);
    case 4:
      return run_sized<Vectors, 4>(t);
    case 5:
      return run_sized<Vectors, 5>(t);
    default:
      return run_sized<Vectors, 6>(t);
  }
}

template <class Call>
void run_any(const Call& t, int rows) {
  switch (t.vectors) {
    case 1:
      return run_rows<1>(t, rows);
    case 2:
      return run_rows<2>(t, rows);
#if HWY_TARGET == HWY_AVX2
    case 3:
      if constexpr (std::is_same_v<Call, some_tiles>) return run_rows<3>(t, rows);
      return;
#elif HWY_TARGET == HWY_AVX3
    case 3:
      return run_rows<3>(t, rows);
    case 4:
      return run_rows<4>(t, rows);
#endif
    default:
      return;
  }
}

void run(const tile_call& t) { run_any(t, t.pixels); }
constexpr int tiles_vectors = HWY_TARGET == HWY_AVX2 ? 3 : most_vectors;

/// As even as can be: the first ones have a row more than the others.
void run_tiles(const tiles_call& t) {
  if (t.count == 0) return;
  const index_t most = HWY_TARGET == HWY_AVX2 && t.vectors == 3 ? 4 : most_tile_rows;
  const index_t tiles = (t.count + most - 1) / most, rows = t.count / tiles, larger = t.count % tiles;
  if (larger > 0) run_any(some_tiles{t, 0, larger, t.vectors}, static_cast<int>(rows + 1));
  run_any(some_tiles{t, larger * (rows + 1), tiles - larger, t.vectors}, static_cast<int>(rows));
}
void run_lanewise(const tile_call& t) { run_any(lanewise_call{t}, t.pixels); }
void run_strip(const strip_call& t) { run_any(t, t.rows); }

#if HWY_TARGET != HWY_SCALAR
/// Four rows of four, transposed in registers.
HWY_INLINE void transpose_4x4(const float* in, index_t in_step, float* out, index_t out_step) {
  const hn::CappedTag<float, 4> d;
  const hn::Repartition<double, decltype(d)> pairs;
  const auto r0 = hn::LoadU(d, in), r1 = hn::LoadU(d, in + in_step);
  const auto r2 = hn::LoadU(d, in + 2 * in_step), r3 = hn::LoadU(d, in + 3 * in_step);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, out + out_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, out + 2 * out_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, out + 3 * out_step);
}
#endif

void transpose(const float* in, index_t in_step, index_t rows, index_t columns, float* out,
               index_t out_step) {
  index_t whole_rows = 0, whole_columns = 0;
#if HWY_TARGET != HWY_SCALAR
  whole_rows = rows / 4 * 4;
  whole_columns = columns / 4 * 4;
  for (index_t c = 0; c < whole_columns; c += 4)
    for (index_t r = 0; r < whole_rows; r += 4)
      transpose_4x4(in + r * in_step + c, in_step, out + c * out_step + r, out_step);
#endif
  for (index_t r = whole_rows; r < rows; ++r)
    for (index_t c = 0; c < whole_columns; ++c) out[c * out_step + r] = in[r * in_step + c];
  for (index_t c = whole_columns; c < columns; ++c)
    for (index_t r = 0; r < rows; ++r) out[c * out_step + r] = in[r * in_step + c];
}

}  // namespace

// Constants and addresses only: whoever reads them may run on a processor without this instruction set.
constexpr tile_target target = {.name = {},
                                .lanes = lanes,
                                .vectors = most_vectors,
                                .pixels = most_tile_rows,
                                .run = run,
                                .run_tiles = run_tiles,
                                .tiles_vectors = tiles_vectors,
                                .run_lanewise = run_lanewise,
                                .run_strip = run_strip,
                                .transpose = transpose};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <vector>

namespace plumb {
namespace {

tile_target named(tile_target target, std::string_view name, std::int64_t bit) {
  target.name = name;
  target.runs_here = (hwy::SupportedTargets() & bit) != 0;
  return target;
}

}  // namespace

std::span<const tile_target> tile_targets() {
  static const std::vector<tile_target> all = {
#if HWY_TARGETS & HWY_AVX3
    named(N_AVX3::target, "avx3", HWY_AVX3),
#endif
#if HWY_TARGETS & HWY_AVX2
    named(N_AVX2::target, "avx2", HWY_AVX2),
#endif
#if HWY_TARGETS & HWY_SSE4
    named(N_SSE4::target, "sse4", HWY_SSE4),
#endif
#if HWY_TARGETS & HWY_SCALAR
    named(N_SCALAR::target, "scalar", HWY_SCALAR),
#endif
  };
  return all;
}

}  // namespace plumb
#endif
