// conv2d forward, direct, from tiles in shared memory; f32, NCHW and NHWC, everything but filters so large that a patch
// does not fit.
//
//   a block     16 × 16 neighbouring pixels of one image, 16 output channels: a thread has one pixel and all 16 channels
//   a chunk     as many input channels as fit: the patch of x that the pixels see (padding as zeros), and the filters
//               as [channel][tap][out channel], so that 16 weights are four loads of 16 bytes that a warp shares
//   barriers    one before a chunk is multiplied, one before the next is stored: no second stage
// What limits it: 16 multiply-adds for 1 + 4 loads from shared memory, so those loads; and patches overlap, (15·stride +
// reach)² elements for 256 pixels, so large strides read x from L2 several times.
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

struct conv_tiled_arguments {
  conv_numbers p = {};
  int patch_h = 0, patch_w = 0;  ///< of x, that 16 × 16 pixels see
  int chunk = 1;                 ///< input channels at a time
  view4<const float> x = {}, weight = {};
  const float* bias = nullptr;
  offset bias_stride = 1;
  view4<float> y = {};
};

template <plant Bug = plant::none>
struct conv_forward_tiled {
  using arguments = conv_tiled_arguments;
  static constexpr int side = 16, threads = side * side, width = 16;  ///< width: output channels of a block
  static constexpr int most_patch = 6144, most_weights = 3072;        ///< floats
  static constexpr bool barriers = true;

  template <class Block>
  struct shared {
    typename Block::template array<float, most_patch> patch;
    typename Block::template array<float, most_weights> weights;
  };

  /// What a block computes: its first pixel, image, group and first channel in the group.
  struct place {
    int n, row, column, group, k;
  };
  static PLUMB_DEVICE place place_of(const conv_numbers& p, offset number) {
    const int across = tiles(p.w.out, side), down = tiles(p.h.out, side), deep = tiles(p.group_k, width);
    place at;
    at.column = static_cast<int>(number % across) * side;
    number /= across;
    at.row = static_cast<int>(number % down) * side;
    number /= down;
    at.k = static_cast<int>(number % deep) * width;
    number /= deep;
    at.group = static_cast<int>(number % (p.c / p.group_c));
    at.n = static_cast<int>(number / (p.c / p.group_c));
    return at;
  }

  template <class Shared>
  static PLUMB_DEVICE void load(Shared& s, const arguments& a, const place& at, int t, int first,
                                int channels) {
    const conv_numbers& p = a.p;
    const int patch = a.patch_h * a.patch_w, h0 = p.h.reads(at.row, 0), w0 = p.w.reads(at.column, 0);
    for (int i = t; i < channels * patch; i += threads) {
      const int h = h0 + i / a.patch_w % a.patch_h, w = w0 + i % a.patch_w;
      const bool there = p.h.inside(h) && p.w.inside(w);
      s.patch[i] = there ? a.x(at.n, offset{at.group} * p.group_c + first + i / patch, h, w) : 0.0F;
    }
    const int taps = p.h.taps * p.w.taps;
    for (int i = t; i < channels * taps * width; i += threads) {
      const int k = at.k + i % width, tap = i / width % taps;
      s.weights[i] = k < p.group_k ? a.weight(offset{at.group} * p.group_k + k, first + i / width / taps,
                                              p.weight_row(tap / p.w.taps), p.weight_column(tap % p.w.taps))
                                   : 0.0F;
    }
  }

  template <class Shared>
  static PLUMB_DEVICE void multiply(Shared& s, const arguments& a, int t, int channels, float (&sum)[width]) {
    const conv_numbers& p = a.p;
    const int corner = t / side * p.h.stride * a.patch_w + t % side * p.w.stride;
    int at_weights = 0;
    for (int c = 0; c < channels; ++c)
      for (int r = 0; r < p.h.taps; ++r)
        for (int q = 0; q < p.w.taps; ++q, at_weights += width) {
          const float x =
              s.patch[c * a.patch_h * a.patch_w + corner + r * p.h.dilation * a.patch_w + q * p.w.dilation];
          float w[width];
          PLUMB_UNROLL
          for (int k = 0; k < width; k += 4) s.weights.four(at_weights + k, w + k);
          PLUMB_UNROLL
          for (int k = 0; k < width; ++k) sum[k] += x * w[k];
        }
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const int t = block.thread();
    const place at = place_of(a.p, block.number());
    float sum[width];
    PLUMB_UNROLL
    for (int k = 0; k < width; ++k) sum[k] = 0;
    for (int first = 0; first < a.p.group_c; first += a.chunk) {
      const int channels = smaller(a.chunk, a.p.group_c - first);
      load(s, a, at, t, first, channels);
      block.barrier();
      multiply(s, a, t, channels, sum);
      if (Bug != plant::missing_barrier) block.barrier();
    }
    const int row = at.row + t / side, column = at.column + t % side;
    if (Bug == plant::past_the_end ? row > a.p.h.out : row >= a.p.h.out) return;
    if (column >= a.p.w.out) return;
    const offset k0 = offset{at.group} * a.p.group_k + at.k;
    PLUMB_UNROLL
    for (int k = 0; k < width; ++k)
      if (at.k + k < a.p.group_k)
        a.y(at.n, k0 + k, row, column) =
            a.bias != nullptr ? sum[k] + a.bias[(k0 + k) * a.bias_stride] : sum[k];
  }

  static constexpr launch_shape shape(const arguments& a) {
    return {std::int64_t{a.p.n} * (a.p.c / a.p.group_c) * tiles(a.p.group_k, width) * tiles(a.p.h.out, side) *
                tiles(a.p.w.out, side),
            threads};
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<conv_forward_tiled<>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/conv_host.hpp"

namespace plumb {
namespace {

using namespace cuda;
using body = conv_forward_tiled<>;

index_t reach(const conv_axis& a) { return (body::side - 1) * a.stride + (a.taps - 1) * a.dilation + 1; }

/// Input channels of which patch and filters fit into shared memory; 0: not one.
index_t chunk_of(const conv_arguments& a) {
  const index_t by_patch = body::most_patch / (reach(a.height()) * reach(a.width()));
  const index_t by_weights = body::most_weights / (a.taps() * body::width);
  return std::min({by_patch, by_weights, a.group_c()});
}

support tiled_support(const kernel_problem& kp) {
  if (const support s = conv2d_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  const bool fits = a.group_c() == 0 || chunk_of(a) > 0;
  return fits ? support::yes() : support::no("the patch that 16 x 16 pixels see does not fit shared memory");
}

program make(const kernel_problem& kp) {
  const conv_arguments from = read_conv_arguments(kp.problem);
  conv_tiled_arguments a{.p = to_numbers(from), .x = {}, .weight = {}, .y = {}};
  a.patch_h = static_cast<int>(reach(from.height()));
  a.patch_w = static_cast<int>(reach(from.width()));
  a.chunk = static_cast<int>(std::max<index_t>(1, chunk_of(from)));
  return {[a](const kernel_call& call, stream& to) {
    conv_tiled_arguments mine = a;
    mine.x = view_of<const float>(call.reads[0]);
    mine.weight = view_of<const float>(call.reads[1]);
    set_bias(mine, call);
    mine.y = view_of<float>(call.writes[0]);
    to.launch<body>(body::shape(mine), mine);
  }};
}

}  // namespace

void register_cuda_conv2d_tiled(registry& kernels) {
  add_rows(kernels, {.layer = "conv2d",
                     .pass = "forward",
                     .algorithm = "tiled",
                     .any_strides = true,
                     .supports = tiled_support,
                     .make = make});
}

}  // namespace plumb
#endif
