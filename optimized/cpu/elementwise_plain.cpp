// relu and sigmoid in plain loops, any strides.
//   relu      y = max(x, 0), NaN passes; dx = dy where x > 0 (or x is NaN), else 0
//   sigmoid   y = 1/(1 + e^-x), from e^-|x| so that nothing overflows; dx = dy·(1 - y)·y
#include <cmath>

#include "optimized/kernels.hpp"

namespace plumb {
namespace {

float relu(float x) { return x <= 0.0F ? 0.0F : x; }
float relu_gradient(float dy, float x) { return x <= 0.0F ? 0.0F : dy; }
float sigmoid(float x) {
  const float e = std::exp(-std::fabs(x));
  return x < 0.0F ? e / (1.0F + e) : 1.0F / (1.0F + e);
}
float sigmoid_gradient(float dy, float y) { return dy * (1.0F - y) * y; }

template <class F>
kernel make_kernel(const std::string& layer, const std::string& pass, F run) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/plain@cpu";
  k.any_strides = true;
  k.supports = [](const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y"});
    return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
  };
  k.make_plan = [run](const kernel_problem&) { return make_simple_plan(run); };
  return k;
}

template <float (*F)(float)>
void map_one(const kernel_call& call) {
  const auto x = call.reads[0].view<float>(), y = call.writes[0].view<float>();
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < x.size(); ++i) y[i] = F(x[i]);
}

template <float (*F)(float, float)>
void map_two(const kernel_call& call) {
  const auto dy = call.reads[0].view<float>(), saved = call.reads[1].view<float>();
  const auto dx = call.writes[0].view<float>();
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < dx.size(); ++i) dx[i] = F(dy[i], saved[i]);
}

}  // namespace

void register_elementwise_plain(registry& kernels) {
  kernel forward = make_kernel("relu", "forward", map_one<relu>);
  kernel backward = make_kernel("relu", "backward", map_two<relu_gradient>);
  forward.arithmetic = backward.arithmetic = "exact";
  kernels.add(std::move(forward));
  kernels.add(std::move(backward));
  forward = make_kernel("sigmoid", "forward", map_one<sigmoid>);
  forward.accuracy.ulps = 4;
  kernels.add(std::move(forward));
  kernels.add(make_kernel("sigmoid", "backward", map_two<sigmoid_gradient>));
}

}  // namespace plumb
