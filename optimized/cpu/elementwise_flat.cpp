// relu and sigmoid over the elements as they lie in memory, one vector at a time, for every instruction set.
//   relu      y = x ≤ 0 ? 0 : x        dx = x ≤ 0 ? 0 : dy          (so NaN passes, and -0 gives +0)
//   sigmoid   e = exp(-|x|) ≤ 1, so nothing overflows; y = (x < 0 ? e : 1) / (1 + e); dx = dy·(1 - y)·y
// The tail goes through the same vector code from a copy, so that no element can follow another rule.
// exp is Highway's (1 ulp); with the sum and the division sigmoid stays within 4 ulp.
#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/elementwise_flat.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using numbers = hn::ScalableTag<float>;
using vector = hn::Vec<numbers>;

struct relu {
  HWY_INLINE vector operator()(numbers d, vector x, vector) const {
    return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), x);
  }
};

struct relu_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector x) const {
    return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), dy);
  }
};

struct sigmoid {
  HWY_INLINE vector operator()(numbers d, vector x, vector) const {
    const vector one = hn::Set(d, 1.0F);
    // Below -105 the result is 0 in f32; the limit keeps the conversion to integers inside exp in range.
    const vector e = hn::Exp(d, hn::Max(hn::Neg(hn::Abs(x)), hn::Set(d, -105.0F)));
    const vector y = hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
    return hn::IfThenElse(hn::IsNaN(x), x, y);
  }
};

struct sigmoid_gradient {
  HWY_INLINE vector operator()(numbers d, vector dy, vector y) const {
    return hn::Mul(hn::Mul(dy, hn::Sub(hn::Set(d, 1.0F), y)), y);
  }
};

/// out[i] = f(a[i], b[i]); an operation of one operand gets it twice. `past`: a result that no cache can hold goes
/// past the caches, so that its lines are not fetched first; `out` is then aligned.
template <class F>
void map(const float* a, const float* b, float* out, index_t count, bool past) {
  const numbers d;
  constexpr index_t lanes = HWY_LANES(float);
  index_t i = 0;
  if (past) {
    for (; i + lanes <= count; i += lanes)
      hn::Stream(F()(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
    hwy::FlushStream();
  }
  for (; i + lanes <= count; i += lanes)
    hn::StoreU(F()(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  if (i == count) return;
  HWY_ALIGN float tail[3][HWY_LANES(float)] = {};
  for (index_t j = i; j < count; ++j) {
    tail[0][j - i] = a[j];
    tail[1][j - i] = b[j];
  }
  hn::Store(F()(d, hn::Load(d, tail[0]), hn::Load(d, tail[1])), d, tail[2]);
  for (index_t j = i; j < count; ++j) out[j] = tail[2][j - i];
}

}  // namespace

using map_function = void (*)(const float*, const float*, float*, index_t, bool);
constexpr map_function maps[] = {map<relu>, map<relu_gradient>, map<sigmoid>, map<sigmoid_gradient>};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plumb {
namespace {

using map_function = void (*)(const float*, const float*, float*, index_t, bool);

constexpr index_t worth_a_thread = 4096;

kernel make_kernel(const std::string& layer, const std::string& pass, map_function run) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.supports = [](const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y"});
    return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
  };
  k.make_plan = [run](const kernel_problem&) {
    return make_simple_plan([run](const kernel_call& call) {
      const auto* a = static_cast<const float*>(call.reads[0].data);
      const auto* b = static_cast<const float*>(call.reads[call.reads.size() - 1].data);
      auto* out = static_cast<float*>(call.writes[0].data);
      const index_t count = call.writes[0].extents.size();
      const bool past = goes_past_caches(out, count);
      const auto first = [&](int share) {
        return share == call.threads ? count : count * share / call.threads / 16 * 16;
      };
#pragma omp parallel for num_threads(call.threads) schedule(static) if (count > worth_a_thread)
      for (int share = 0; share < call.threads; ++share) {
        const index_t begin = first(share);
        run(a + begin, b + begin, out + begin, first(share + 1) - begin, past);
      }
    });
  };
  return k;
}

void add_rows(registry& kernels, const std::string& target, std::int64_t bit, const map_function (&maps)[4]) {
  kernel rows[] = {make_kernel("relu", "forward", maps[0]), make_kernel("relu", "backward", maps[1]),
                   make_kernel("sigmoid", "forward", maps[2]), make_kernel("sigmoid", "backward", maps[3])};
  rows[0].arithmetic = rows[1].arithmetic = "exact";
  rows[2].accuracy.ulps = 4;
  for (kernel& k : rows) {
    k.name = k.layer + "." + k.pass + "/flat@" + target;
    if ((hwy::SupportedTargets() & bit) == 0) k.unavailable = "this processor lacks " + target;
    kernels.add(std::move(k));
  }
}

}  // namespace

void register_elementwise_flat(registry& kernels) {
#if HWY_TARGETS & HWY_AVX3
  add_rows(kernels, "avx3", HWY_AVX3, N_AVX3::maps);
#endif
#if HWY_TARGETS & HWY_AVX2
  add_rows(kernels, "avx2", HWY_AVX2, N_AVX2::maps);
#endif
#if HWY_TARGETS & HWY_SSE4
  add_rows(kernels, "sse4", HWY_SSE4, N_SSE4::maps);
#endif
#if HWY_TARGETS & HWY_SCALAR
  add_rows(kernels, "scalar", HWY_SCALAR, N_SCALAR::maps);
#endif
}

}  // namespace plumb
#endif
