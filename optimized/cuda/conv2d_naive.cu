// conv2d on a device with nothing clever: the kernel that accepts everything (groups, dilation, per-side padding,
// flip, any strides), and the one to read first.
//   forward            one thread an output: it walks its filter's taps
//   backward_data      one thread an input: it gathers from every output that read it
//   backward_weights   32 threads a weight: each sums every 32nd pixel, then a tree in shared memory; so the order
//                      of a sum depends on nothing but the problem
//   backward_bias      the same with a block of 256 threads a channel
// What limits it: every product loads two numbers from the caches, so it runs at the speed of those loads, far below
// the arithmetic. Neighbouring threads are neighbouring pixels, which NCHW reads in whole lines and NHWC does not.
// Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning".
#include "optimized/cuda/conv_numbers.hpp"

namespace plumb::cuda {

struct conv_naive_arguments {
  conv_numbers p = {};
  view4<const float> first = {}, second = {};  ///< in the order in which the pass reads them
  const float* bias = nullptr;
  offset bias_stride = 1;
  view4<float> out = {};  ///< of backward_bias the first stride only
};

template <plant Bug = plant::none>
struct conv_forward_naive {
  using arguments = conv_naive_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256, teams = threads;  ///< results a block computes
  static constexpr bool barriers = false;

  static PLUMB_DEVICE offset outputs(const conv_numbers& p) { return offset{p.n} * p.k * p.h.out * p.w.out; }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const conv_numbers& p = a.p;
    offset i = block.number() * threads + block.thread();
    if (Bug == plant::narrow_index)
      i = static_cast<std::uint16_t>(i);  // 32 bits, scaled down to what a test can reach
    if (Bug == plant::past_the_end ? i > outputs(p) : i >= outputs(p)) return;
    const int q = static_cast<int>(i % p.w.out), row = static_cast<int>(i / p.w.out % p.h.out);
    const int k = static_cast<int>(i / p.w.out / p.h.out % p.k);
    const int n = static_cast<int>(i / p.w.out / p.h.out / p.k);
    const int first = k / p.group_k * p.group_c;
    float sum = a.bias ? a.bias[k * a.bias_stride] : 0.0F;
    for (int c = 0; c < p.group_c; ++c)
      for (int r = 0; r < p.h.taps; ++r) {
        const int h = p.h.reads(row, r);
        if (!p.h.inside(h)) continue;
        for (int s = 0; s < p.w.taps; ++s) {
          const int w = p.w.reads(q, s);
          if (p.w.inside(w))
            sum += a.first(n, first + c, h, w) * a.second(k, c, p.weight_row(r), p.weight_column(s));
        }
      }
    a.out(n, k, row, q) = sum;
  }
};

struct conv_backward_data_naive {
  using arguments = conv_naive_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256, teams = threads;  ///< results a block computes
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const conv_numbers& p = a.p;
    const offset i = block.number() * threads + block.thread();
    if (i >= offset{p.n} * p.c * p.h.in * p.w.in) return;
    const int w = static_cast<int>(i % p.w.in), h = static_cast<int>(i / p.w.in % p.h.in);
    const int c = static_cast<int>(i / p.w.in / p.h.in % p.c),
              n = static_cast<int>(i / p.w.in / p.h.in / p.c);
    const int group = c / p.group_c;
    float sum = 0;
    for (int k = group * p.group_k; k < (group + 1) * p.group_k; ++k)
      for (int r = 0; r < p.h.taps; ++r) {
        const int row = p.h.output_of(h, r);
        if (row < 0) continue;
        for (int s = 0; s < p.w.taps; ++s) {
          const int q = p.w.output_of(w, s);
          if (q >= 0)
            sum += a.first(n, k, row, q) * a.second(k, c % p.group_c, p.weight_row(r), p.weight_column(s));
        }
      }
    a.out(n, c, h, w) = sum;
  }
};

struct conv_backward_weights_naive {
  using arguments = conv_naive_arguments;
  static constexpr int threads = 256, team = 32, teams = threads / team;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
  };

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& memory, const arguments& a) {
    const conv_numbers& p = a.p;
    const offset i = block.number() * teams + block.thread() / team;
    const int s = static_cast<int>(i % p.w.taps), r = static_cast<int>(i / p.w.taps % p.h.taps);
    const int c = static_cast<int>(i / p.w.taps / p.h.taps % p.group_c);
    const int k = static_cast<int>(i / p.w.taps / p.h.taps / p.group_c);
    const int channel = k / p.group_k * p.group_c + c, lane = block.thread() % team;
    float sum = 0;
    for (offset j = lane; k < p.k && j < offset{p.n} * p.h.out * p.w.out; j += team) {
      const int q = static_cast<int>(j % p.w.out), row = static_cast<int>(j / p.w.out % p.h.out);
      const int n = static_cast<int>(j / p.w.out / p.h.out);
      const int h = p.h.reads(row, r), w = p.w.reads(q, s);
      if (p.h.inside(h) && p.w.inside(w)) sum += a.first(n, k, row, q) * a.second(n, channel, h, w);
    }
    sum = sum_of_team<team>(block, memory.partial, sum);
    if (lane == 0 && k < p.k) a.out(k, c, p.weight_row(r), p.weight_column(s)) = sum;
  }
};

struct conv_backward_bias_naive {
  using arguments = conv_naive_arguments;
  static constexpr int threads = 256, teams = 1;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
  };

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& memory, const arguments& a) {
    const conv_numbers& p = a.p;
    float sum = 0;
    for (offset j = block.thread(); j < offset{p.n} * p.h.out * p.w.out; j += threads)
      sum += a.first(j / p.w.out / p.h.out, block.number(), j / p.w.out % p.h.out, j % p.w.out);
    sum = sum_of_team<threads>(block, memory.partial, sum);
    if (block.thread() == 0) a.out(block.number(), 0, 0, 0) = sum;
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<conv_forward_naive<>, conv_backward_data_naive, conv_backward_weights_naive,
                            conv_backward_bias_naive>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/conv_host.hpp"

namespace plumb {
namespace {

using namespace cuda;

/// As many blocks as `count` results need.
template <class Body>
program naive_program(const kernel_problem& kp, index_t count) {
  const conv_arguments from = read_conv_arguments(kp.problem);
  const index_t blocks = tiles<index_t>(count, Body::teams);
  return {[p = to_numbers(from), blocks](const kernel_call& call, stream& to) {
    conv_naive_arguments a{.p = p, .first = view_of<const float>(call.reads[0]), .second = {}, .out = {}};
    if (call.reads.size() > 1) a.second = view_of<const float>(call.reads[1]);
    set_bias(a, call);
    a.out = view_of<float>(call.writes[0]);
    to.launch<Body>({blocks, Body::threads}, a);
  }};
}

template <class Body>
row naive_row(const std::string& pass, index_t (*count)(const conv_arguments&)) {
  row r{.layer = "conv2d",
        .pass = pass,
        .algorithm = "naive",
        .any_strides = true,
        .supports = conv2d_support,
        .make = {}};
  r.make = [count](const kernel_problem& kp) {
    return naive_program<Body>(kp, count(read_conv_arguments(kp.problem)));
  };
  return r;
}

}  // namespace

void register_cuda_conv2d_naive(registry& kernels) {
  using args = conv_arguments;
  add_rows(kernels, naive_row<conv_forward_naive<> >("forward",
                                                     [](const args& a) { return a.n * a.k * a.out_size(); }));
  add_rows(kernels, naive_row<conv_backward_data_naive>(
                        "backward_data", [](const args& a) { return a.n * a.c * a.in_size(); }));
  add_rows(kernels, naive_row<conv_backward_weights_naive>(
                        "backward_weights", [](const args& a) { return a.k * a.group_c() * a.taps(); }));
  add_rows(kernels, naive_row<conv_backward_bias_naive>("backward_bias", [](const args& a) { return a.k; }));
}

}  // namespace plumb
#endif
