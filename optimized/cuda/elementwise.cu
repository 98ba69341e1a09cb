// relu and sigmoid in f32, both passes: what is element by element does not care for the layout, so tensors are flat.
//   relu      y = max(x, 0), NaN passes; dx = dy where x > 0 (or x is NaN), else 0
//   sigmoid   y = 1/(1 + e^-x), from e^-|x| so that nothing overflows; dx = dy·(1 - y)·y
// A thread has four elements, 256 apart, so that four loads are under way before the first is used and a warp reads
// whole lines. What limits it: memory.
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace plumb::cuda {

struct elementwise_arguments {
  const float* first = nullptr;
  const float* second = nullptr;  ///< of the backward passes: what was saved
  float* out = nullptr;
  offset count = 0;
};

struct relu_forward {
  static PLUMB_DEVICE float of(float x, float) { return x <= 0.0F ? 0.0F : x; }
  static constexpr bool two = false;
};
struct relu_backward {
  static PLUMB_DEVICE float of(float dy, float x) { return x <= 0.0F ? 0.0F : dy; }
  static constexpr bool two = true;
};
struct sigmoid_forward {
  static PLUMB_DEVICE float of(float x, float) {
    const float e = expf(-fabsf(x));
    return x < 0.0F ? e / (1.0F + e) : 1.0F / (1.0F + e);
  }
  static constexpr bool two = false;
};
struct sigmoid_backward {
  static PLUMB_DEVICE float of(float dy, float y) { return dy * (1.0F - y) * y; }
  static constexpr bool two = true;
};

template <class Function>
struct elementwise {
  using arguments = elementwise_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256, each = 4;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset first = block.number() * threads * each + block.thread();
    float one[each] = {}, two[each] = {};
    PLUMB_UNROLL
    for (int i = 0; i < each; ++i) {
      const offset at = first + i * threads;
      if (at >= a.count) continue;
      one[i] = a.first[at];
      if (Function::two) two[i] = a.second[at];
    }
    PLUMB_UNROLL
    for (int i = 0; i < each; ++i)
      if (const offset at = first + i * threads; at < a.count) a.out[at] = Function::of(one[i], two[i]);
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<elementwise<relu_forward>, elementwise<relu_backward>,
                            elementwise<sigmoid_forward>, elementwise<sigmoid_backward>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/rows.hpp"

namespace plumb {
namespace {

using namespace cuda;

template <class Function>
row elementwise_row(const std::string& layer, const std::string& pass) {
  using body = elementwise<Function>;
  row r{.layer = layer, .pass = pass, .algorithm = "flat", .supports = {}, .make = {}};
  r.supports = [](const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y"});
    return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
  };
  r.make = [](const kernel_problem&) {
    return program{[](const kernel_call& call, stream& to) {
      elementwise_arguments a{.first = static_cast<const float*>(call.reads[0].data),
                              .out = static_cast<float*>(call.writes[0].data),
                              .count = call.writes[0].extents.size()};
      if (Function::two) a.second = static_cast<const float*>(call.reads[1].data);
      to.launch<body>({tiles<index_t>(a.count, body::threads * body::each), body::threads}, a);
    }};
  };
  return r;
}

}  // namespace

void register_cuda_elementwise(registry& kernels) {
  row r = elementwise_row<relu_forward>("relu", "forward");
  r.arithmetic = "exact";
  add_rows(kernels, r);
  r = elementwise_row<relu_backward>("relu", "backward");
  r.arithmetic = "exact";
  add_rows(kernels, r);
  r = elementwise_row<sigmoid_forward>("sigmoid", "forward");
  r.accuracy.ulps = 4;
  add_rows(kernels, r);
  add_rows(kernels, elementwise_row<sigmoid_backward>("sigmoid", "backward"));
}

}  // namespace plumb
#endif
