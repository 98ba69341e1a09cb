// Activations and gates in f32, both passes, whose functions are in activations.hpp: what is element by element does not
// care for the layout, so tensors are flat. A table says which function serves which pass of which layer.
// A thread has four elements, 256 apart, so that four loads are under way before the first is used and a warp reads
// whole lines. What limits it: memory.
// Declared: sigmoid and silu stay within 4 ulp, tanh within 3; elsewhere f32 bounds hold.
#include "optimized/cuda/activations.hpp"
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

struct elementwise_arguments {
  const float* first = nullptr;
  const float* second = nullptr;  ///< of functions of two numbers
  float* out = nullptr;
  offset count = 0;
  constants k = {};
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
      if (const offset at = first + i * threads; at < a.count) a.out[at] = Function::of(one[i], two[i], a.k);
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<
    elementwise<relu_forward>, elementwise<relu_backward>, elementwise<sigmoid_forward>,
    elementwise<sigmoid_backward>, elementwise<tanh_forward>, elementwise<tanh_backward>,
    elementwise<silu_forward>, elementwise<silu_backward>, elementwise<leaky_relu_forward>,
    elementwise<leaky_relu_backward>, elementwise<hard_swish_forward>, elementwise<hard_swish_backward>,
    elementwise<clamp_forward>, elementwise<clamp_backward>, elementwise<hard_tanh_forward>,
    elementwise<hard_tanh_backward>, elementwise<hard_sigmoid_forward>, elementwise<hard_sigmoid_backward>,
    elementwise<softsign_forward>, elementwise<softsign_backward>, elementwise<elu_forward>,
    elementwise<elu_backward>, elementwise<celu_forward>, elementwise<celu_backward>>;
template struct device_code<elementwise<softplus_forward>, elementwise<softplus_backward>,
                            elementwise<mish_forward>, elementwise<mish_backward>, elementwise<gelu_forward>,
                            elementwise<gelu_backward>, elementwise<gelu_tanh_forward>,
                            elementwise<gelu_tanh_backward>, elementwise<exp_forward>, elementwise<product>,
                            elementwise<sum>, elementwise<copy>, elementwise<negative>,
                            elementwise<reciprocal_forward>, elementwise<reciprocal_backward>,
                            elementwise<square_forward>, elementwise<square_backward>, elementwise<masked>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include <limits>

#include "optimized/cuda/rows.hpp"

namespace plumb {
namespace {

using namespace cuda;
using launch_function = void (*)(stream&, const elementwise_arguments&);

template <class Function>
void launch(stream& to, const elementwise_arguments& a) {
  using body = elementwise<Function>;
  to.launch<body>({tiles<index_t>(a.count, body::threads * body::each), body::threads}, a);
}

float number(const problem& p, const char* name) { return static_cast<float>(p.number(name)); }
constants none(const problem&) { return {}; }
constants alpha_and_one(const problem& p) { return {number(p, "alpha"), 1.0F}; }
constants limits(const problem& p) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return {p.has("min") ? number(p, "min") : -infinity, p.has("max") ? number(p, "max") : infinity};
}
/// beta·x > threshold, asked of x itself: beta·x may round to the threshold or underflow.
constants beta_and_limit(const problem& p) {
  const double limit = p.number("threshold") / std::fabs(p.number("beta"));
  const auto near = static_cast<float>(limit);
  const bool above = static_cast<double>(near) > limit + 1e-15 * std::fabs(limit);
  return {number(p, "beta"), above ? std::nextafter(near, -std::numeric_limits<float>::infinity()) : near};
}
constants kept_share(const problem& p) {
  const double dropped = p.number("p");
  return {dropped >= 1 ? 0.0F : static_cast<float>(1 / (1 - dropped)), 0.0F};
}

struct flat_layer {
  const char* name;
  launch_function forward, backward;         ///< of the first two tensors read, or of dy and the last
  launch_function backward_other = nullptr;  ///< for the second of two gradients, of dy and the first
  const char* arithmetic = "f32";
  double ulps = 0;  ///< declared for the forward pass; 0: what the arithmetic allows
  constants (*read)(const problem&) = none;
  std::array<const char*, 2> known = {"x", "x"};  ///< its attributes
};
constexpr flat_layer layers[] = {
    {.name = "relu",
     .forward = launch<relu_forward>,
     .backward = launch<relu_backward>,
     .arithmetic = "exact"},
    {.name = "sigmoid", .forward = launch<sigmoid_forward>, .backward = launch<sigmoid_backward>, .ulps = 4},
    {.name = "tanh", .forward = launch<tanh_forward>, .backward = launch<tanh_backward>, .ulps = 3},
    {.name = "silu", .forward = launch<silu_forward>, .backward = launch<silu_backward>, .ulps = 4},
    {.name = "leaky_relu",
     .forward = launch<leaky_relu_forward>,
     .backward = launch<leaky_relu_backward>,
     .read = [](const problem& p) { return constants{number(p, "negative_slope")}; },
     .known = {"negative_slope", "x"}},
    {.name = "hard_swish", .forward = launch<hard_swish_forward>, .backward = launch<hard_swish_backward>},
    {.name = "clamp",
     .forward = launch<clamp_forward>,
     .backward = launch<clamp_backward>,
     .arithmetic = "exact",
     .read = limits,
     .known = {"min", "max"}},
    {.name = "hard_tanh",
     .forward = launch<hard_tanh_forward>,
     .backward = launch<hard_tanh_backward>,
     .arithmetic = "exact",
     .read = limits,
     .known = {"min", "max"}},
    {.name = "hard_sigmoid",
     .forward = launch<hard_sigmoid_forward>,
     .backward = launch<hard_sigmoid_backward>},
    {.name = "softsign", .forward = launch<softsign_forward>, .backward = launch<softsign_backward>},
    {.name = "elu",
     .forward = launch<elu_forward>,
     .backward = launch<elu_backward>,
     .read = alpha_and_one,
     .known = {"alpha", "x"}},
    {.name = "selu",
     .forward = launch<elu_forward>,
     .backward = launch<elu_backward>,
     .read =
         [](const problem&) {
           return constants{1.758099341F, 1.050700987F};
         }},
    {.name = "celu",
     .forward = launch<celu_forward>,
     .backward = launch<celu_backward>,
     .read = alpha_and_one,
     .known = {"alpha", "x"}},
    {.name = "softplus",
     .forward = launch<softplus_forward>,
     .backward = launch<softplus_backward>,
     .read = beta_and_limit,
     .known = {"beta", "threshold"}},
    {.name = "mish", .forward = launch<mish_forward>, .backward = launch<mish_backward>},
    {.name = "gelu",
     .forward = launch<gelu_forward>,
     .backward = launch<gelu_backward>,
     .known = {"approximate", "x"}},
    {.name = "exp", .forward = launch<exp_forward>, .backward = launch<product>},
    {.name = "neg", .forward = launch<negative>, .backward = launch<negative>, .arithmetic = "exact"},
    {.name = "reciprocal", .forward = launch<reciprocal_forward>, .backward = launch<reciprocal_backward>},
    {.name = "square", .forward = launch<square_forward>, .backward = launch<square_backward>},
    {.name = "dropout",
     .forward = launch<masked>,
     .backward = launch<masked>,
     .read = kept_share,
     .known = {"p", "mask"}},
    {.name = "add",
     .forward = launch<sum>,
     .backward = launch<copy>,
     .backward_other = launch<copy>,
     .known = {"x0", "x1"}},
    {.name = "mul",
     .forward = launch<product>,
     .backward = launch<product>,
     .backward_other = launch<product>,
     .known = {"x0", "x1"}},
};

const float* data(const tensor_ref& t) { return static_cast<const float*>(t.data); }

program make(const kernel_problem& kp, const flat_layer& layer, bool forward) {
  const bool tanh_form = kp.problem.has("approximate") && kp.problem.text("approximate") == "tanh";
  launch_function run = forward ? layer.forward : layer.backward;
  if (tanh_form) run = forward ? launch<gelu_tanh_forward> : launch<gelu_tanh_backward>;
  const launch_function other = forward ? nullptr : layer.backward_other;
  return {[run, other, k = layer.read(kp.problem)](const kernel_call& call, stream& to) {
    elementwise_arguments a{.first = data(call.reads[0]),
                            .second = data(call.reads[call.reads.size() - 1]),
                            .out = static_cast<float*>(call.writes[0].data),
                            .count = call.writes[0].extents.size(),
                            .k = k};
    run(to, a);
    if (other == nullptr) return;
    a.second = data(call.reads[call.reads.size() > 1 ? 1 : 0]);
    a.out = static_cast<float*>(call.writes[1].data);
    other(to, a);
  }};
}

}  // namespace

void register_cuda_elementwise(registry& kernels) {
  for (const flat_layer& layer : layers)
    for (const bool forward : {true, false}) {
      row r{.layer = layer.name, .pass = forward ? "forward" : "backward", .algorithm = "flat"};
      r.arithmetic = layer.arithmetic;
      if (forward) r.accuracy.ulps = layer.ulps;
      r.supports = [&layer](const kernel_problem& kp) {
        const std::string unknown = kp.problem.first_unknown({"x", "y", layer.known[0], layer.known[1]});
        return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
      };
      r.make = [&layer, forward](const kernel_problem& kp) { return make(kp, layer, forward); };
      add_rows(kernels, r);
    }
}

}  // namespace plumb
#endif
