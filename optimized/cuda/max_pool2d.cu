// max_pool2d in f32, any strides.
//   forward    one thread an output walks its window: the first of equals wins, the last NaN if there is one, and the
//              winner's cell (h·W + w) is stored beside its value (operators.md A5)
//   backward   dx[cell] += dy for every output, whatever cells the indices name. One block a plane: 256 outputs at a
//              time lie in shared memory, and each thread adds, in order, those whose cell it owns (cell mod 256). So
//              no two threads write one cell, nothing is atomic, and sums have one order
// What limits it: forward memory (4 bytes in, 12 out: indices are 64 bits wide); backward the scan, 256 comparisons of
// each thread for 256 outputs.
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

struct max_pool_arguments {
  int n = 0, c = 0;
  conv_axis_numbers h = {}, w = {};
  view4<const float> in = {};  ///< x, or dy
  view4<std::int64_t> indices = {};
  view4<float> out = {};  ///< y, or dx
};

struct max_pool_forward {
  using arguments = max_pool_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread();
    if (i >= offset{a.n} * a.c * a.h.out * a.w.out) return;
    const int q = static_cast<int>(i % a.w.out), row = static_cast<int>(i / a.w.out % a.h.out);
    const offset plane = i / a.w.out / a.h.out, n = plane / a.c, c = plane % a.c;
    float best = 0;
    offset cell = -1;
    for (int r = 0; r < a.h.taps; ++r) {
      const int h = a.h.reads(row, r);
      if (!a.h.inside(h)) continue;
      for (int s = 0; s < a.w.taps; ++s) {
        const int w = a.w.reads(q, s);
        if (!a.w.inside(w)) continue;
        const float value = a.in(n, c, h, w);
        if (cell >= 0 && !(value > best) && value == value) continue;
        best = value;
        cell = offset{h} * a.w.in + w;
      }
    }
    a.out(n, c, row, q) = best;
    a.indices(n, c, row, q) = cell;
  }
};

struct max_pool_backward {
  using arguments = max_pool_arguments;
  static constexpr int threads = 256;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<std::int64_t, threads> cell;
    typename Block::template array<float, threads> dy;
  };

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const offset n = block.number() / a.c, c = block.number() % a.c;
    const offset cells = offset{a.h.in} * a.w.in, outputs = offset{a.h.out} * a.w.out;
    const int t = block.thread();
    for (offset i = t; i < cells; i += threads) a.out(n, c, i / a.w.in, i % a.w.in) = 0;
    for (offset first = 0; first < outputs; first += threads) {
      const int count = static_cast<int>(smaller<offset>(threads, outputs - first));
      if (t < count) {
        const offset i = first + t;
        s.cell[t] = a.indices(n, c, i / a.w.out, i % a.w.out);
        s.dy[t] = a.in(n, c, i / a.w.out, i % a.w.out);
      }
      block.barrier();
      for (int j = 0; j < count; ++j) {
        const offset cell = s.cell[j];
        if (cell >= 0 && cell < cells && cell % threads == t)
          a.out(n, c, cell / a.w.in, cell % a.w.in) += s.dy[j];
      }
      block.barrier();
    }
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<max_pool_forward, max_pool_backward>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cpu/pool_arguments.hpp"
#include "optimized/cuda/conv_host.hpp"

namespace plumb {
namespace {

using namespace cuda;

conv_axis_numbers to_numbers(const pool_axis& a) {
  const auto narrow = [](index_t v) { return static_cast<int>(v); };
  return {narrow(a.in),     narrow(a.out),      narrow(a.window),
          narrow(a.stride), narrow(a.dilation), narrow(a.begin)};
}

max_pool_arguments numbers_of(const kernel_problem& kp) {
  const pool_arguments p = read_pool_arguments(kp.problem);
  return {.n = static_cast<int>(p.n),
          .c = static_cast<int>(p.c),
          .h = to_numbers(p.height()),
          .w = to_numbers(p.width()),
          .in = {},
          .indices = {},
          .out = {}};
}

support max_pool_support(const kernel_problem& kp) {
  if (const support s = pool_support(kp); !s.ok) return s;
  const pool_arguments p = read_pool_arguments(kp.problem);
  const auto fits = [](index_t v) { return v <= std::numeric_limits<int>::max() / 4; };
  for (const pool_axis& a : p.axes)
    if (!fits(a.in) || !fits(a.out * a.stride) || !fits(a.window * a.dilation))
      return support::no("an axis is longer than 2^29");
  return fits(p.n) && fits(p.c) ? support::yes() : support::no("an axis is longer than 2^29");
}

program forward(const kernel_problem& kp) {
  const index_t outputs = kp.problem.shape_of("y").size();
  return {[a = numbers_of(kp), outputs](const kernel_call& call, stream& to) {
    max_pool_arguments mine = a;
    mine.in = view_of<const float>(call.reads[0]);
    mine.out = view_of<float>(call.writes[0]);
    mine.indices = view_of<std::int64_t>(call.writes[1]);
    to.launch<max_pool_forward>(
        {tiles<index_t>(outputs, max_pool_forward::threads), max_pool_forward::threads}, mine);
  }};
}

program backward(const kernel_problem& kp) {
  return {[a = numbers_of(kp)](const kernel_call& call, stream& to) {
    max_pool_arguments mine = a;
    mine.in = view_of<const float>(call.reads[0]);
    mine.indices = view_of<std::int64_t>(call.reads[1]);
    mine.out = view_of<float>(call.writes[0]);
    to.launch<max_pool_backward>({index_t{a.n} * a.c, max_pool_backward::threads}, mine);
  }};
}

}  // namespace

void register_cuda_max_pool2d(registry& kernels) {
  row r{.layer = "max_pool2d",
        .pass = "forward",
        .algorithm = "naive",
        .arithmetic = "exact",
        .any_strides = true,
        .supports = max_pool_support,
        .make = forward};
  add_rows(kernels, r);
  r.pass = "backward";
  r.algorithm = "owners";
  r.arithmetic = "f32";
  r.make = backward;
  add_rows(kernels, r);
}

}  // namespace plumb
#endif
