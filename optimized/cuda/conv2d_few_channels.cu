// conv2d forward for a first layer: at most four input channels in a group, filters that fit into shared memory whole.
// f32, both layouts.
//
//   a block     128 neighbouring pixels of the batch and 32 output channels: a thread has one pixel and all 32
//   shared      the block's filters as [channel][tap][out channel], loaded once; every warp reads the same weights, so
//               a load serves all of its threads
//   x           straight from the caches: neighbouring threads read neighbouring pixels, and each is read again for
//               every tap that touches it
// What limits it: 32 multiply-adds for one load of x and 8 loads of 16 bytes of weights; and the output, 128 bytes a
// pixel, which is most of the traffic of such a layer.
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

struct few_channels_arguments {
  conv_numbers p = {};
  view4<const float> x = {}, weight = {};
  const float* bias = nullptr;
  offset bias_stride = 1;
  view4<float> y = {};
};

struct conv_forward_few_channels {
  using arguments = few_channels_arguments;
  static constexpr int threads = 128, width = 32, most_terms = 364;  ///< 11 × 11 × 3, and one more
  static constexpr bool barriers = true;

  template <class Block>
  struct shared {
    typename Block::template array<float, most_terms * width> weights;
  };

  static constexpr offset pixels(const conv_numbers& p) { return offset{p.n} * p.h.out * p.w.out; }
  static constexpr launch_shape shape(const arguments& a) {
    return {tiles<offset>(pixels(a.p), threads) * (a.p.c / a.p.group_c) * tiles(a.p.group_k, width), threads};
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const conv_numbers& p = a.p;
    const int t = block.thread(), taps = p.h.taps * p.w.taps, deep = tiles(p.group_k, width);
    const int first = static_cast<int>(block.number() % deep) * width;
    const int group = static_cast<int>(block.number() / deep % (p.c / p.group_c));
    const offset pixel = block.number() / deep / (p.c / p.group_c) * threads + t;
    for (int i = t; i < p.group_c * taps * width; i += threads) {
      const int k = first + i % width, tap = i / width % taps;
      s.weights[i] = k < p.group_k ? a.weight(offset{group} * p.group_k + k, i / width / taps,
                                              p.weight_row(tap / p.w.taps), p.weight_column(tap % p.w.taps))
                                   : 0.0F;
    }
    block.barrier();
    if (pixel >= pixels(p)) return;
    const int column = static_cast<int>(pixel % p.w.out), row = static_cast<int>(pixel / p.w.out % p.h.out);
    const offset n = pixel / p.w.out / p.h.out;
    float sum[width];
    PLUMB_UNROLL
    for (int k = 0; k < width; ++k) sum[k] = 0;
    for (int c = 0; c < p.group_c; ++c)
      for (int r = 0; r < p.h.taps; ++r) {
        const int h = p.h.reads(row, r);
        if (!p.h.inside(h)) continue;
        for (int q = 0; q < p.w.taps; ++q) {
          const int w = p.w.reads(column, q);
          if (!p.w.inside(w)) continue;
          const float x = a.x(n, offset{group} * p.group_c + c, h, w);
          PLUMB_UNROLL
          for (int k = 0; k < width; k += 4) {
            float weight[4];
            s.weights.four(((c * p.h.taps + r) * p.w.taps + q) * width + k, weight);
            PLUMB_UNROLL
            for (int j = 0; j < 4; ++j) sum[k + j] += x * weight[j];
          }
        }
      }
    const offset k0 = offset{group} * p.group_k + first;
    PLUMB_UNROLL
    for (int k = 0; k < width; ++k)
      if (first + k < p.group_k)
        a.y(n, k0 + k, row, column) = a.bias != nullptr ? sum[k] + a.bias[(k0 + k) * a.bias_stride] : sum[k];
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<conv_forward_few_channels>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/conv_host.hpp"

namespace plumb {
namespace {

using namespace cuda;
using body = conv_forward_few_channels;

support few_channels_support(const kernel_problem& kp) {
  if (const support s = conv2d_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  if (a.group_c() < 1 || a.group_c() > 4) return support::no("a group has not 1 to 4 input channels");
  const bool fits = a.group_c() * a.taps() <= body::most_terms;
  return fits ? support::yes() : support::no("filters of more than 364 weights");
}

program make(const kernel_problem& kp) {
  return {[p = to_numbers(read_conv_arguments(kp.problem))](const kernel_call& call, stream& to) {
    few_channels_arguments a{.p = p,
                             .x = view_of<const float>(call.reads[0]),
                             .weight = view_of<const float>(call.reads[1]),
                             .y = view_of<float>(call.writes[0])};
    set_bias(a, call);
    to.launch<body>(body::shape(a), a);
  }};
}

}  // namespace

void register_cuda_conv2d_few_channels(registry& kernels) {
  add_rows(kernels, {.layer = "conv2d",
                     .pass = "forward",
                     .algorithm = "few_channels",
                     .any_strides = true,
                     .supports = few_channels_support,
                     .make = make});
}

}  // namespace plumb
#endif
