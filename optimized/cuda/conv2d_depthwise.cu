// Depthwise conv2d in f32: every output channel sees one input channel (c/groups = 1), forward and backward_data.
//
//   a thread    four outputs (inputs of backward_data) that are neighbours in a row; the divisions that find them are
//               made once for the four
//   a warp      neighbours in a row of a plane in NCHW, neighbouring channels in NHWC, so that it reads whole lines
// What limits it: memory, 8 bytes for each output of a 3 × 3 filter; the nine loads of each come from L1. No shared
// memory and no barrier.
// Howard et al. 2017, "MobileNets".
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

namespace plumb::cuda {

struct depthwise_arguments {
  conv_numbers p = {};
  view4<const float> first = {}, weight = {};
  const float* bias = nullptr;
  offset bias_stride = 1;
  view4<float> out = {};
};

/// Four neighbours in a row of one plane; `ChannelsLast` says which of plane and column is the fast part of a number.
struct four_places {
  int n, channel, row, column;  ///< column: of the first
};
template <bool ChannelsLast>
PLUMB_DEVICE four_places four_at(offset number, int channels, int height, int width) {
  const int runs = tiles(width, 4);
  four_places at;
  if (ChannelsLast) {
    at.channel = static_cast<int>(number % channels);
    number /= channels;
  }
  at.column = static_cast<int>(number % runs) * 4;
  number /= runs;
  at.row = static_cast<int>(number % height);
  number /= height;
  if (!ChannelsLast) {
    at.channel = static_cast<int>(number % channels);
    number /= channels;
  }
  at.n = static_cast<int>(number);
  return at;
}

template <bool ChannelsLast>
struct depthwise_forward {
  using arguments = depthwise_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const conv_numbers& p = a.p;
    const four_places at =
        four_at<ChannelsLast>(block.number() * threads + block.thread(), p.k, p.h.out, p.w.out);
    if (at.n >= p.n) return;
    const float start = a.bias != nullptr ? a.bias[at.channel * a.bias_stride] : 0.0F;
    float sum[4] = {start, start, start, start};
    for (int r = 0; r < p.h.taps; ++r) {
      const int h = p.h.reads(at.row, r);
      if (!p.h.inside(h)) continue;
      for (int s = 0; s < p.w.taps; ++s) {
        const float w = a.weight(at.channel, 0, p.weight_row(r), p.weight_column(s));
        PLUMB_UNROLL
        for (int j = 0; j < 4; ++j) {
          const int column = p.w.reads(at.column + j, s);
          if (p.w.inside(column)) sum[j] += w * a.first(at.n, at.channel / p.group_k, h, column);
        }
      }
    }
    PLUMB_UNROLL
    for (int j = 0; j < 4; ++j)
      if (at.column + j < p.w.out) a.out(at.n, at.channel, at.row, at.column + j) = sum[j];
  }
};

template <bool ChannelsLast>
struct depthwise_backward_data {
  using arguments = depthwise_arguments;
  template <class Block>
  struct shared {};
  static constexpr int threads = 256;
  static constexpr bool barriers = false;

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const conv_numbers& p = a.p;
    const four_places at =
        four_at<ChannelsLast>(block.number() * threads + block.thread(), p.c, p.h.in, p.w.in);
    if (at.n >= p.n) return;
    float sum[4] = {0, 0, 0, 0};
    for (int k = at.channel * p.group_k; k < (at.channel + 1) * p.group_k; ++k)
      for (int r = 0; r < p.h.taps; ++r) {
        const int row = p.h.output_of(at.row, r);
        if (row < 0) continue;
        for (int s = 0; s < p.w.taps; ++s) {
          const float w = a.weight(k, 0, p.weight_row(r), p.weight_column(s));
          PLUMB_UNROLL
          for (int j = 0; j < 4; ++j) {
            const int column = p.w.output_of(at.column + j, s);
            if (column >= 0) sum[j] += w * a.first(at.n, k, row, column);
          }
        }
      }
    PLUMB_UNROLL
    for (int j = 0; j < 4; ++j)
      if (at.column + j < p.w.in) a.out(at.n, at.channel, at.row, at.column + j) = sum[j];
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<depthwise_forward<false>, depthwise_forward<true>, depthwise_backward_data<false>,
                            depthwise_backward_data<true>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/conv_host.hpp"

namespace plumb {
namespace {

using namespace cuda;

template <class Body>
program make(const kernel_problem& kp, index_t planes, index_t rows, index_t columns) {
  const index_t count = planes * rows * tiles<index_t>(columns, 4);
  return {[p = to_numbers(read_conv_arguments(kp.problem)), count](const kernel_call& call, stream& to) {
    depthwise_arguments a{.p = p,
                          .first = view_of<const float>(call.reads[0]),
                          .weight = view_of<const float>(call.reads[1]),
                          .out = view_of<float>(call.writes[0])};
    set_bias(a, call);
    to.launch<Body>({tiles<index_t>(count, Body::threads), Body::threads}, a);
  }};
}

support depthwise_support(const kernel_problem& kp) {
  if (const support s = conv2d_support(kp); !s.ok) return s;
  return read_conv_arguments(kp.problem).group_c() == 1
             ? support::yes()
             : support::no("not depthwise: an output sees more than one channel");
}

row depthwise_row(const std::string& pass, program (*make_one)(const kernel_problem&)) {
  return {.layer = "conv2d",
          .pass = pass,
          .algorithm = "depthwise",
          .any_strides = true,
          .supports = depthwise_support,
          .make = make_one};
}

program forward(const kernel_problem& kp) {
  const conv_arguments a = read_conv_arguments(kp.problem);
  const auto one = kp.layout == layout::nhwc ? make<depthwise_forward<true>> : make<depthwise_forward<false>>;
  return one(kp, a.n * a.k, a.height().out, a.width().out);
}

program backward_data(const kernel_problem& kp) {
  const conv_arguments a = read_conv_arguments(kp.problem);
  const auto one =
      kp.layout == layout::nhwc ? make<depthwise_backward_data<true>> : make<depthwise_backward_data<false>>;
  return one(kp, a.n * a.c, a.height().in, a.width().in);
}

}  // namespace

void register_cuda_conv2d_depthwise(registry& kernels) {
  add_rows(kernels, depthwise_row("forward", forward));
  add_rows(kernels, depthwise_row("backward_data", backward_data));
}

}  // namespace plumb
#endif
