// The loops of norm_loops.hpp, from one source for all instruction sets.
#include "optimized/cpu/norm_loops.hpp"

#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/norm_loops.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using single = hn::CappedTag<float, 1>;  ///< the rest of a loop, one number at a time
constexpr int together = 4;              ///< vectors at once, so that no sum waits for itself

// What one element adds to the first and the second sum.

struct total {
  template <class V>
  HWY_INLINE static void add(V a, V, V, V, V& first, V&) {
    first = hn::Add(first, a);
  }
};
struct squares {
  template <class V>
  HWY_INLINE static void add(V a, V, V mean, V, V& first, V&) {
    const V t = hn::Sub(a, mean);
    first = hn::MulAdd(t, t, first);
  }
};
struct gradients {
  template <class V>
  HWY_INLINE static void add(V a, V b, V mean, V scale, V& first, V& second) {
    first = hn::Add(first, a);
    second = hn::MulAdd(a, hn::Mul(hn::Sub(b, mean), scale), second);
  }
};

// What is written.

struct forward {
  template <class V>
  HWY_INLINE static V of(V a, V, const V* k) {
    return hn::MulAdd(hn::Mul(hn::Sub(a, k[0]), k[1]), k[3], k[2]);
  }
};
struct backward {
  template <class V>
  HWY_INLINE static V of(V a, V b, const V* k) {
    return hn::Mul(k[4], hn::NegMulAdd(hn::Mul(hn::Sub(b, k[0]), k[1]), k[3], hn::Sub(a, k[2])));
  }
};

struct grouped {
  template <class V>
  HWY_INLINE static V of(V a, V b, const V* k) {
    const V shared = hn::MulAdd(hn::Mul(hn::Sub(b, k[0]), k[1]), k[3], k[2]);
    return hn::Mul(k[1], hn::NegMulAdd(shared, k[5], hn::Mul(a, k[4])));
  }
};

/// `Vectors` columns of vectors at once.
template <class Term, int Vectors, class D>
HWY_INLINE void sum_block(D d, const float* a, const float* b, const float* mean, const float* scale,
                          index_t rows, index_t step, float* first, float* second) {
  constexpr index_t lanes = static_cast<index_t>(hn::MaxLanes(D()));
  hn::Vec<D> one[Vectors], two[Vectors], centre[Vectors], factor[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) {
    one[v] = two[v] = hn::Zero(d);
    centre[v] = hn::LoadU(d, mean + v * lanes);
    factor[v] = hn::LoadU(d, scale + v * lanes);
  }
  for (index_t row = 0; row < rows; ++row, a += step, b += step)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      Term::add(hn::LoadU(d, a + v * lanes), hn::LoadU(d, b + v * lanes), centre[v], factor[v], one[v],
                two[v]);
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) {
    hn::StoreU(one[v], d, first + v * lanes);
    hn::StoreU(two[v], d, second + v * lanes);
  }
}

template <class Term>
void sum_columns(const float* a, const float* b, const float* mean, const float* scale, index_t rows,
                 index_t channels, float* first, float* second) {
  constexpr index_t lanes = HWY_LANES(float);
  index_t c = 0;
  for (; c + together * lanes <= channels; c += together * lanes)
    sum_block<Term, together>(numbers(), a + c, b + c, mean + c, scale + c, rows, channels, first + c,
                              second + c);
  for (; c + lanes <= channels; c += lanes)
    sum_block<Term, 1>(numbers(), a + c, b + c, mean + c, scale + c, rows, channels, first + c, second + c);
  for (; c < channels; ++c)
    sum_block<Term, 1>(single(), a + c, b + c, mean + c, scale + c, rows, channels, first + c, second + c);
}

template <class Term>
void sum_run(const float* a, const float* b, const float* mean, const float* scale, index_t /*rows*/,
             index_t count, float* first, float* second) {
  constexpr index_t lanes = HWY_LANES(float), block = together * lanes;
  HWY_ALIGN float centre[block], factor[block], sums[2][block];
  for (float& m : centre) m = *mean;
  for (float& f : factor) f = *scale;
  sum_block<Term, together>(numbers(), a, b, centre, factor, count / block, block, sums[0], sums[1]);
  float rest[2];
  const index_t done = count / block * block;
  sum_block<Term, 1>(single(), a + done, b + done, mean, scale, count - done, 1, &rest[0], &rest[1]);
  for (int k = 0; k < 2; ++k) {
    for (index_t width = block / 2; width > 0; width /= 2)
      for (index_t i = 0; i < width; ++i) sums[k][i] += sums[k][i + width];
    (k == 0 ? *first : *second) = sums[k][0] + rest[k];
  }
}

template <class Map>
void map_run(const float* a, const float* b, const float* const* k, index_t /*rows*/, index_t count,
             float* out, bool past) {
  constexpr index_t lanes = HWY_LANES(float);
  const numbers d;
  const single one;
  hn::Vec<numbers> constants[norm_constants];
  hn::Vec<single> constant[norm_constants];
  for (int i = 0; i < norm_constants; ++i) {
    constants[i] = hn::Set(d, *k[i]);
    constant[i] = hn::Set(one, *k[i]);
  }
  index_t i = 0;
  if (past && reinterpret_cast<std::uintptr_t>(out) % 64 == 0)
    for (; i + lanes <= count; i += lanes)
      hn::Stream(Map::of(hn::LoadU(d, a + i), hn::LoadU(d, b + i), constants), d, out + i);
  for (; i + lanes <= count; i += lanes)
    hn::StoreU(Map::of(hn::LoadU(d, a + i), hn::LoadU(d, b + i), constants), d, out + i);
  for (; i < count; ++i)
    hn::StoreU(Map::of(hn::LoadU(one, a + i), hn::LoadU(one, b + i), constant), one, out + i);
  if (past) hwy::FlushStream();
}

template <class Map, bool Past, class D>
HWY_INLINE void map_columns_from(D d, const float* a, const float* b, const float* const* k, index_t c,
                                 float* out) {
  hn::Vec<D> constants[norm_constants];
#pragma GCC unroll 6
  for (int i = 0; i < norm_constants; ++i) constants[i] = hn::LoadU(d, k[i] + c);
  const auto result = Map::of(hn::LoadU(d, a + c), hn::LoadU(d, b + c), constants);
  if constexpr (Past)
    hn::Stream(result, d, out + c);
  else
    hn::StoreU(result, d, out + c);
}

template <class Map>
void map_columns(const float* a, const float* b, const float* const* k, index_t rows, index_t channels,
                 float* out, bool past) {
  constexpr index_t lanes = HWY_LANES(float);
  const bool aligned = past && channels % 16 == 0;
  for (index_t row = 0; row < rows; ++row, a += channels, b += channels, out += channels) {
    index_t c = 0;
    if (aligned)
      for (; c + lanes <= channels; c += lanes) map_columns_from<Map, true>(numbers(), a, b, k, c, out);
    for (; c + lanes <= channels; c += lanes) map_columns_from<Map, false>(numbers(), a, b, k, c, out);
    for (; c < channels; ++c) map_columns_from<Map, false>(single(), a, b, k, c, out);
  }
  if (past) hwy::FlushStream();
}

// Rows with a gamma and a beta of their own at every position: `body(d, i)` for whole vectors, then number by number.

template <class Body>
HWY_INLINE void along(index_t count, const Body& body) {
  constexpr index_t lanes = HWY_LANES(float);
  index_t i = 0;
  for (; i + lanes <= count; i += lanes) body(numbers(), i);
  for (; i < count; ++i) body(single(), i);
}

template <class D>
HWY_INLINE void put(D d, hn::Vec<D> v, bool past, float* out) {
  if (past && hn::MaxLanes(d) > 1)
    hn::Stream(v, d, out);
  else
    hn::StoreU(v, d, out);
}

template <class D>
HWY_INLINE hn::Vec<D> normal_at(D d, const float* x, const norm_row& r, index_t i) {
  return hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, r.mean)), hn::Set(d, r.scale));
}

void row_forward(const norm_row& r, float* out, bool past) {
  along(r.count, [&](auto d, index_t i) {
    put(d, hn::MulAdd(normal_at(d, r.a, r, i), hn::LoadU(d, r.gamma + i), hn::LoadU(d, r.beta + i)), past,
        out + i);
  });
  if (past) hwy::FlushStream();
}

void row_backward(const norm_row& r, float* out, bool past) {
  along(r.count, [&](auto d, index_t i) {
    const auto shared = hn::MulAdd(normal_at(d, r.b, r, i), hn::Set(d, r.second), hn::Set(d, r.first));
    const auto g = hn::Mul(hn::LoadU(d, r.a + i), hn::LoadU(d, r.gamma + i));
    put(d, hn::Mul(hn::NegMulAdd(shared, hn::Set(d, r.share), g), hn::Set(d, r.scale)), past, out + i);
  });
  if (past) hwy::FlushStream();
}

void row_sums(norm_row& r) {
  const numbers d;
  const single one;
  hn::Vec<numbers> first = hn::Zero(d), second = hn::Zero(d);
  hn::Vec<single> first_rest = hn::Zero(one), second_rest = hn::Zero(one);
  constexpr index_t lanes = HWY_LANES(float);
  index_t i = 0;
  for (; i + lanes <= r.count; i += lanes) {
    const auto g = hn::Mul(hn::LoadU(d, r.a + i), hn::LoadU(d, r.gamma + i));
    first = hn::Add(first, g);
    second = hn::MulAdd(g, normal_at(d, r.b, r, i), second);
  }
  for (; i < r.count; ++i) {
    const auto g = hn::Mul(hn::LoadU(one, r.a + i), hn::LoadU(one, r.gamma + i));
    first_rest = hn::Add(first_rest, g);
    second_rest = hn::MulAdd(g, normal_at(one, r.b, r, i), second_rest);
  }
  r.first = hn::GetLane(hn::SumOfLanes(d, first)) + hn::GetLane(first_rest);
  r.second = hn::GetLane(hn::SumOfLanes(d, second)) + hn::GetLane(second_rest);
}

void row_parameters(const norm_row& r, float* dgamma, float* dbeta) {
  along(r.count, [&](auto d, index_t i) {
    const auto dy = hn::LoadU(d, r.a + i);
    hn::StoreU(hn::MulAdd(dy, normal_at(d, r.b, r, i), hn::LoadU(d, dgamma + i)), d, dgamma + i);
    hn::StoreU(hn::Add(dy, hn::LoadU(d, dbeta + i)), d, dbeta + i);
  });
}

}  // namespace

// Addresses only: whoever reads them may run on a processor without this instruction set.
constexpr norm_target loops = {
    .name = {},
    .sum_run = {sum_run<total>, sum_run<squares>, sum_run<gradients>},
    .sum_columns = {sum_columns<total>, sum_columns<squares>, sum_columns<gradients>},
    .map_run = {map_run<forward>, map_run<backward>, map_run<grouped>},
    .map_columns = {map_columns<forward>, map_columns<backward>, map_columns<grouped>},
    .row_forward = row_forward,
    .row_backward = row_backward,
    .row_sums = row_sums,
    .row_parameters = row_parameters};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

namespace plumb {

std::span<const norm_target> norm_targets() {
  static const std::vector<norm_target> all = [] {
    std::vector<norm_target> list;
    for (const auto& set : target_tables<norm_target>(PLUMB_TARGET_TABLES(loops))) {
      norm_target& target = list.emplace_back(*set.functions);
      target.name = set.name;
      target.runs_here = set.runs_here;
    }
    return list;
  }();
  return all;
}

}  // namespace plumb
#endif
