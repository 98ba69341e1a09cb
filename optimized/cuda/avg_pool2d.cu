// avg_pool2d in f32, any strides.
//   forward    one thread an output: y = (Σ of its window, row by row) / divisor
//   backward   one thread an input: dx = Σ over the windows that hold it, in order, of dy/divisor. It gathers, so nothing is
//              atomic and sums have one order
// The divisor is what the window covers of the padded input (count_include_pad), or of the input itself, or a number given.
// What limits it: memory, as long as windows overlap little; then the loads, which come from the caches.
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

struct average_axis {
  int in = 1, out = 1, window = 1, stride = 1, begin = 0, end = 0;
  bool padding_counts = true;

  PLUMB_DEVICE int start(int o) const { return o * stride - begin; }
  PLUMB_DEVICE int stop(int o) const { return smaller(start(o) + window, in + end); }
  PLUMB_DEVICE int first(int o) const { return start(o) < 0 ? 0 : start(o); }
  PLUMB_DEVICE int last(int o) const { return smaller(stop(o), in); }
  PLUMB_DEVICE int divisor(int o) const { return padding_counts ? stop(o) - start(o) : last(o) - first(o); }
  /// The windows first_window(i) … end_window(i) - 1 hold cell i.
  PLUMB_DEVICE int first_window(int i) const {
    const int way = i + begin - window;
    return way < 0 ? 0 : way / stride + 1;
  }
  PLUMB_DEVICE int end_window(int i) const { return smaller((i + begin) / stride + 1, out); }
};

struct average_arguments {
  int n = 0, c = 0;
  average_axis h = {}, w = {};
  float divisor = 0;  ///< instead of what windows cover; 0: none
  view4<const float> in = {};
  view4<float> out = {};

  PLUMB_DEVICE float divisor_of(int p, int q) const {
    return divisor != 0 ? divisor : static_cast<float>(h.divisor(p)) * static_cast<float>(w.divisor(q));
  }
};

struct average_forward {
  using arguments = average_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread();
    if (i >= offset{a.n} * a.c * a.h.out * a.w.out) return;
    const int q = static_cast<int>(i % a.w.out), p = static_cast<int>(i / a.w.out % a.h.out);
    const offset plane = i / a.w.out / a.h.out, n = plane / a.c, c = plane % a.c;
    float sum = 0;
    for (int h = a.h.first(p); h < a.h.last(p); ++h)
      for (int w = a.w.first(q); w < a.w.last(q); ++w) sum += a.in(n, c, h, w);
    a.out(n, c, p, q) = sum / a.divisor_of(p, q);
  }
};

struct average_backward {
  using arguments = average_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread();
    if (i >= offset{a.n} * a.c * a.h.in * a.w.in) return;
    const int w = static_cast<int>(i % a.w.in), h = static_cast<int>(i / a.w.in % a.h.in);
    const offset plane = i / a.w.in / a.h.in, n = plane / a.c, c = plane % a.c;
    float sum = 0;
    for (int p = a.h.first_window(h); p < a.h.end_window(h); ++p)
      for (int q = a.w.first_window(w); q < a.w.end_window(w); ++q)
        sum += a.in(n, c, p, q) / a.divisor_of(p, q);
    a.out(n, c, h, w) = sum;
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<average_forward, average_backward>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/conv_host.hpp"

namespace plumb {
namespace {

using namespace cuda;

average_axis axis_of(const problem& p, std::size_t i) {
  const auto narrow = [](index_t v) { return static_cast<int>(v); };
  const auto pad = p.integers("pad");
  const bool by_side = pad.size() == 4;
  return {.in = narrow(p.shape_of("x")[2 + static_cast<int>(i)]),
          .out = narrow(p.shape_of("y")[2 + static_cast<int>(i)]),
          .window = narrow(p.integers("window")[i]),
          .stride = narrow(p.integers("stride")[i]),
          .begin = narrow(by_side ? pad[2 * i] : pad[i]),
          .end = narrow(by_side ? pad[2 * i + 1] : pad[i]),
          .padding_counts = p.flag("count_include_pad")};
}

support average_support(const kernel_problem& kp) {
  const problem& p = kp.problem;
  const std::string unknown = p.first_unknown(
      {"x", "y", "window", "stride", "pad", "ceil_mode", "count_include_pad", "divisor_override"});
  if (!unknown.empty()) return support::no("unknown attribute " + unknown);
  const shape x = p.shape_of("x"), y = p.shape_of("y");
  constexpr index_t most = std::numeric_limits<int>::max() / 4;
  for (std::size_t i = 0; i < 2; ++i)
    if (x[2 + static_cast<int>(i)] > most || p.integers("window")[i] > most ||
        y[2 + static_cast<int>(i)] * p.integers("stride")[i] > most)
      return support::no("an axis is longer than 2^29");
  return x[0] <= most && x[1] <= most ? support::yes() : support::no("an axis is longer than 2^29");
}

template <class Body>
row average_row(const std::string& pass) {
  row r{.layer = "avg_pool2d",
        .pass = pass,
        .algorithm = "gather",
        .any_strides = true,
        .supports = average_support,
        .make = {}};
  r.make = [](const kernel_problem& kp) {
    const problem& p = kp.problem;
    average_arguments a{.n = static_cast<int>(p.shape_of("x")[0]),
                        .c = static_cast<int>(p.shape_of("x")[1]),
                        .h = axis_of(p, 0),
                        .w = axis_of(p, 1),
                        .in = {},
                        .out = {}};
    if (p.has("divisor_override")) a.divisor = static_cast<float>(p.integer("divisor_override"));
    return program{[a](const kernel_call& call, stream& to) {
      average_arguments mine = a;
      mine.in = view_of<const float>(call.reads[0]);
      mine.out = view_of<float>(call.writes[0]);
      const index_t threads = call.writes[0].extents.size();
      to.launch<Body>({tiles<index_t>(threads, Body::threads), Body::threads}, mine);
    }};
  };
  return r;
}

}  // namespace

void register_cuda_avg_pool2d(registry& kernels) {
  add_rows(kernels, average_row<average_forward>("forward"));
  add_rows(kernels, average_row<average_backward>("backward"));
}

}  // namespace plumb
#endif
