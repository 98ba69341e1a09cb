// Three ways, each compiled for several instruction sets and chosen when the program starts:
//   across   the lanes are 16, 8 or 4 neighbouring elements; the last group overlaps the one before
//   along    one element; the lanes run along its innermost loop
// One term costs a product, two additions and a maximum.
#include "verify/nest_sums.hpp"

#include <cmath>
#include <cstring>

namespace plumb {
namespace {

template <int Lanes>
struct vector_of {
  using real [[gnu::vector_size(Lanes * 8)]] = double;
  using integer [[gnu::vector_size(Lanes * 8)]] = std::int64_t;
};

/// `Lanes` numbers `step` apart, starting at p. Step: 0 and 1 at compile time, -1 any.
template <int Lanes, int Step>
[[gnu::always_inline]] inline void load(typename vector_of<Lanes>::real& v, const double* p, index_t step) {
  if constexpr (Step == 1) {
    std::memcpy(&v, p, sizeof v);
  } else {
    for (int l = 0; l < Lanes; ++l) v[l] = p[Step == 0 ? 0 : l * step];
  }
}

/// Running sums of `Lanes` elements.
template <int Lanes>
struct accumulators {
  using real = typename vector_of<Lanes>::real;
  real sum{}, size{}, largest{};

  template <int StepA, int StepB>
  [[gnu::always_inline]] void add(const double* a, index_t a_step, const double* b, index_t b_step) {
    using integer = typename vector_of<Lanes>::integer;
    real x{}, y{};
    load<Lanes, StepA>(x, a, a_step);
    load<Lanes, StepB>(y, b, b_step);
    const real product = x * y;
    const real magnitude = (real)((integer)product & 0x7fffffffffffffffL);
    sum += product;
    size += magnitude;
    largest = magnitude > largest ? magnitude : largest;
  }
};

/// Calls body(a, b) for every place of the outer three loops.
template <class Body>
[[gnu::always_inline]] inline void walk_outer(const loop_nest& nest, const double* a, const double* b,
                                              Body&& body) {
  const auto &l1 = nest[1], &l2 = nest[2], &l3 = nest[3];
  for (index_t i3 = 0; i3 < l3.count; ++i3)
    for (index_t i2 = 0; i2 < l2.count; ++i2)
      for (index_t i1 = 0; i1 < l1.count; ++i1)
        body(a + i3 * l3.a_step + i2 * l2.a_step + i1 * l1.a_step,
             b + i3 * l3.b_step + i2 * l2.b_step + i1 * l1.b_step);
}

/// Blocks·Lanes elements side by side.
template <int Lanes, int Blocks, int StepA, int StepB>
[[gnu::always_inline]] inline void across(const loop_nest& nest, const double* a, index_t a_step,
                                          const double* b, index_t b_step, product_sums* out) {
  accumulators<Lanes> acc[Blocks];
  const auto& l0 = nest[0];
  walk_outer(
      nest, a, b, [&](const double* x, const double* y) __attribute__((always_inline)) {
        for (index_t i = 0; i < l0.count; ++i, x += l0.a_step, y += l0.b_step)
          for (int k = 0; k < Blocks; ++k)
            acc[k].template add<StepA, StepB>(x + k * Lanes * a_step, a_step, y + k * Lanes * b_step, b_step);
      });
  for (int k = 0; k < Blocks; ++k)
    for (int l = 0; l < Lanes; ++l) out[k * Lanes + l] = {acc[k].sum[l], acc[k].size[l], acc[k].largest[l]};
}

/// All `count` ≥ 4 elements in groups, the last one overlapping.
template <int StepA, int StepB>
[[gnu::always_inline]] inline void all_across(const loop_nest& nest, const double* a, index_t a_step,
                                              const double* b, index_t b_step, index_t count,
                                              product_sums* out) {
  const index_t width = count >= 16 ? 16 : count >= 8 ? 8 : 4;
  for (index_t done = 0; done < count; done += width) {
    const index_t e = done + width <= count ? done : count - width;
    const double *x = a + e * a_step, *y = b + e * b_step;
    if (width == 16)
      across<8, 2, StepA, StepB>(nest, x, a_step, y, b_step, out + e);
    else if (width == 8)
      across<8, 1, StepA, StepB>(nest, x, a_step, y, b_step, out + e);
    else
      across<4, 1, StepA, StepB>(nest, x, a_step, y, b_step, out + e);
  }
}

/// One element, lanes along the innermost loop.
template <int StepA, int StepB>
[[gnu::always_inline]] inline void along(const loop_nest& nest, const double* a, const double* b,
                                         product_sums& out) {
  constexpr int lanes = 8;
  accumulators<lanes> acc;
  product_sums rest;
  const auto& l0 = nest[0];
  const index_t whole = l0.count / lanes * lanes;
  walk_outer(
      nest, a, b, [&](const double* x, const double* y) __attribute__((always_inline)) {
        for (index_t i = 0; i < whole; i += lanes)
          acc.template add<StepA, StepB>(x + i * l0.a_step, l0.a_step, y + i * l0.b_step, l0.b_step);
        for (index_t i = whole; i < l0.count; ++i) {
          const double product = x[i * l0.a_step] * y[i * l0.b_step];
          rest.sum += product;
          rest.size += std::fabs(product);
          rest.largest = std::fabs(product) > rest.largest ? std::fabs(product) : rest.largest;
        }
      });
  for (int l = 0; l < lanes; ++l) {
    rest.sum += acc.sum[l];
    rest.size += acc.size[l];
    rest.largest = acc.largest[l] > rest.largest ? acc.largest[l] : rest.largest;
  }
  out = rest;
}

[[gnu::always_inline]] inline void sums(const loop_nest& nest, const double* a, index_t a_step,
                                        const double* b, index_t b_step, index_t count, product_sums* out) {
  const auto& inner = nest[0];
  if (count >= 4 && a_step == 1 && b_step == 0) return all_across<1, 0>(nest, a, 1, b, 0, count, out);
  if (count >= 4 && a_step == 0 && b_step == 1) return all_across<0, 1>(nest, a, 0, b, 1, count, out);
  const bool unit = inner.a_step == 1 && inner.b_step == 1 && inner.count >= 8;
  if (count >= 4 && !unit) return all_across<-1, -1>(nest, a, a_step, b, b_step, count, out);
  for (index_t e = 0; e < count; ++e) {
    if (unit)
      along<1, 1>(nest, a + e * a_step, b + e * b_step, out[e]);
    else
      along<-1, -1>(nest, a + e * a_step, b + e * b_step, out[e]);
  }
}

using function = void(const loop_nest&, const double*, index_t, const double*, index_t, index_t,
                      product_sums*);

void baseline(const loop_nest& nest, const double* a, index_t a_step, const double* b, index_t b_step,
              index_t count, product_sums* out) {
  sums(nest, a, a_step, b, b_step, count, out);
}

#ifdef __x86_64__
[[gnu::target("avx2")]] void avx2(const loop_nest& nest, const double* a, index_t a_step, const double* b,
                                  index_t b_step, index_t count, product_sums* out) {
  sums(nest, a, a_step, b, b_step, count, out);
}
[[gnu::target("avx512f")]] void avx512(const loop_nest& nest, const double* a, index_t a_step,
                                       const double* b, index_t b_step, index_t count, product_sums* out) {
  sums(nest, a, a_step, b, b_step, count, out);
}
function* best() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") ? avx512 : __builtin_cpu_supports("avx2") ? avx2 : baseline;
}
#else
function* best() { return baseline; }
#endif

}  // namespace

void sum_products(const loop_nest& nest, const double* a, index_t a_step, const double* b, index_t b_step,
                  index_t count, product_sums* out) {
  static function* const chosen = best();
  chosen(nest, a, a_step, b, b_step, count, out);
}

}  // namespace plumb
