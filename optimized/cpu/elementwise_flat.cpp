// Activations, gates and dropout over the elements as they lie in memory, for every instruction set: one loop, and a
// table that says which function of activations-inl.hpp serves which pass of which layer. A step is two vectors: each is
// one long chain of dependent operations, and a processor sees only some fifty operations ahead.
// The tail goes through the same vector code from a copy, so that no element can follow another rule. A result that no
// cache can hold goes past the caches (past_caches.hpp).
// Declared: sigmoid and silu stay within 4 ulp, tanh within 3; elsewhere f32 bounds hold.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optimized/cpu/elementwise_flat.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include "optimized/cpu/activations-inl.hpp"

#ifndef PLUMB_ELEMENTWISE_TYPES
#define PLUMB_ELEMENTWISE_TYPES
namespace plumb {
using map_function = void (*)(const float*, const float*, float*, index_t, const float*, bool);
using map_functions = std::array<map_function, 44>;
}  // namespace plumb
#endif

HWY_BEFORE_NAMESPACE();
namespace plumb {
namespace HWY_NAMESPACE {
namespace {

template <class F>
HWY_NOINLINE void map_vectors(const float* a, const float* b, float* out, index_t count, constants k,
                              bool past) {
  const numbers d;
  constexpr index_t lanes = HWY_LANES(float);
  const auto put = [&](vector result, index_t i) {
    if (past)
      hn::Stream(result, d, out + i);
    else
      hn::StoreU(result, d, out + i);
  };
  index_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const vector first = F()(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i), k);
    const vector second = F()(d, hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), k);
    put(first, i);
    put(second, i + lanes);
  }
  if (i < count) put(F()(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i), k), i);
  if (past) hwy::FlushStream();
}

/// out[i] = f(a[i], b[i]); an operation of one operand gets it twice. `past`: past the caches; `out` is then aligned.
template <class F>
void map(const float* a, const float* b, float* out, index_t count, const float* attributes, bool past) {
  const numbers d;
  const constants k = {hn::Set(d, attributes[0]), hn::Set(d, attributes[1])};
  const index_t whole = count / HWY_LANES(float) * HWY_LANES(float);
  map_vectors<F>(a, b, out, whole, k, past);
  if (whole == count) return;
  HWY_ALIGN float tail[3][HWY_LANES(float)] = {};
  std::copy(a + whole, a + count, tail[0]);
  std::copy(b + whole, b + count, tail[1]);
  map_vectors<F>(tail[0], tail[1], tail[2], HWY_LANES(float), k, false);
  std::copy_n(tail[2], count - whole, out + whole);
}

}  // namespace

/// In the order of `layers` below, forward and backward.
constexpr map_functions maps = {map<relu>,
                                map<relu_gradient>,
                                map<sigmoid>,
                                map<sigmoid_gradient>,
                                map<hyperbolic_tangent>,
                                map<hyperbolic_tangent_gradient>,
                                map<silu>,
                                map<silu_gradient>,
                                map<leaky_relu>,
                                map<leaky_relu_gradient>,
                                map<hard_swish>,
                                map<hard_swish_gradient>,
                                map<clamp>,
                                map<clamp_gradient>,
                                map<hard_tanh>,
                                map<hard_tanh_gradient>,
                                map<hard_sigmoid>,
                                map<hard_sigmoid_gradient>,
                                map<softsign>,
                                map<softsign_gradient>,
                                map<elu>,
                                map<elu_gradient>,
                                map<elu>,
                                map<elu_gradient>,
                                map<celu>,
                                map<celu_gradient>,
                                map<softplus>,
                                map<softplus_gradient>,
                                map<mish>,
                                map<mish_gradient>,
                                map<gelu>,
                                map<gelu_gradient>,
                                map<gelu_tanh>,
                                map<gelu_tanh_gradient>,
                                map<exponential_gate>,
                                map<product>,
                                map<negative>,
                                map<negative>,
                                map<inverse>,
                                map<inverse_gradient>,
                                map<product>,
                                map<square_gradient>,
                                map<masked>,
                                map<masked>};

}  // namespace HWY_NAMESPACE
}  // namespace plumb
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "optimized/cpu/target_rows.hpp"

namespace plumb {
namespace {

constexpr index_t worth_a_thread = 4096;

using attributes = std::array<float, 2>;

attributes none(const problem&) { return {}; }
float number(const problem& p, const char* name) { return static_cast<float>(p.number(name)); }
attributes alpha_and_one(const problem& p) { return {number(p, "alpha"), 1.0F}; }
attributes limits(const problem& p) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return {p.has("min") ? number(p, "min") : -infinity, p.has("max") ? number(p, "max") : infinity};
}
/// beta·x > threshold, asked of x itself: beta·x may round to the threshold or underflow.
attributes beta_and_limit(const problem& p) {
  const double limit = p.number("threshold") / std::fabs(p.number("beta"));
  const auto near = static_cast<float>(limit);
  const bool above = static_cast<double>(near) > limit + 1e-15 * std::fabs(limit);
  return {number(p, "beta"), above ? std::nextafter(near, -std::numeric_limits<float>::infinity()) : near};
}
attributes kept_share(const problem& p) {
  const double dropped = p.number("p");
  return {dropped >= 1 ? 0.0F : static_cast<float>(1 / (1 - dropped)), 0.0F};
}

/// One layer, in the order of `maps`.
struct flat_layer {
  const char* name;
  const char* arithmetic = "f32";
  double ulps = 0;  ///< declared for the forward pass; 0: what the arithmetic allows
  attributes (*read)(const problem&) = none;
  std::array<const char*, 2> known = {"x", "x"};  ///< its attributes
};
constexpr flat_layer layers[] = {
    {.name = "relu", .arithmetic = "exact"},
    {.name = "sigmoid", .ulps = 4},
    {.name = "tanh", .ulps = 3},
    {.name = "silu", .ulps = 4},
    {.name = "leaky_relu",
     .read = [](const problem& p) -> attributes { return {number(p, "negative_slope")}; },
     .known = {"negative_slope", "x"}},
    {.name = "hard_swish"},
    {.name = "clamp", .arithmetic = "exact", .read = limits, .known = {"min", "max"}},
    {.name = "hard_tanh", .arithmetic = "exact", .read = limits, .known = {"min", "max"}},
    {.name = "hard_sigmoid"},
    {.name = "softsign"},
    {.name = "elu", .read = alpha_and_one, .known = {"alpha", "x"}},
    {.name = "selu",
     .read = [](const problem&) -> attributes {
       return {1.758099341F, 1.050700987F};
     }},
    {.name = "celu", .read = alpha_and_one, .known = {"alpha", "x"}},
    {.name = "softplus", .read = beta_and_limit, .known = {"beta", "threshold"}},
    {.name = "mish"},
    {.name = "gelu", .known = {"approximate", "x"}},
    {.name = "gelu"},  // approximate=tanh
    {.name = "exp"},
    {.name = "neg", .arithmetic = "exact"},
    {.name = "reciprocal"},
    {.name = "square"},
    {.name = "dropout", .read = kept_share, .known = {"p", "mask"}}};

bool second_form(const problem& p) { return p.has("approximate") && p.text("approximate") == "tanh"; }

std::unique_ptr<plan> make_plan(const kernel_problem& kp, const flat_layer& which, map_function run) {
  return make_simple_plan([run, constants = which.read(kp.problem)](const kernel_call& call) {
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
      run(a + begin, b + begin, out + begin, first(share + 1) - begin, constants.data(), past);
    }
  });
}

kernel make_row(const target_table<map_functions>& set, std::size_t i, bool forward) {
  const flat_layer& layer = layers[i];
  kernel k = target_row(layer.name, forward ? "forward" : "backward", "flat", set.name, set.runs_here);
  k.arithmetic = layer.arithmetic;
  if (forward) k.accuracy.ulps = layer.ulps;
  k.supports = [&layer](const kernel_problem& kp) {
    return knows(kp, {"x", "y", layer.known[0], layer.known[1]});
  };
  const map_function* run = set.functions->data() + 2 * i + (forward ? 0 : 1);
  k.make_plan = [&layer, run](const kernel_problem& kp) {
    return make_plan(kp, layer, run[second_form(kp.problem) ? 2 : 0]);
  };
  return k;
}

}  // namespace

void register_elementwise_flat(registry& kernels) {
  static_assert(std::tuple_size_v<map_functions> == 2 * std::size(layers));
  for (const auto& set : target_tables<map_functions>(PLUMB_TARGET_TABLES(maps)))
    for (std::size_t i = 0; i < std::size(layers); ++i)
      if (i == 0 || std::string_view(layers[i].name) != layers[i - 1].name)
        for (const bool forward : {true, false}) kernels.add(make_row(set, i, forward));
}

}  // namespace plumb
#endif
