// Batch normalisation in f32, training and inference, forward and backward, dense NCHW and NHWC.
//   forward    y = (x - mean)·invstd·gamma + beta
//   backward   dx = gamma·invstd·((dy - Σdy/m) - x̂·Σ dy·x̂/m),  x̂ = (x - mean)·invstd,  dgamma = Σ dy·x̂,  dbeta = Σdy;
//              with running statistics dx = gamma·invstd·dy
// Three launches:
//   sums     a block has some channels and a chunk of the m pixels. Forward: the chunk's mean, then Σ(x - mean)² about it,
//            so that a large mean cancels nothing; the second reading comes from the caches. Backward: both sums at once
//   finish   one thread a channel joins the chunks in double, in order, by
//            Σ(x - mean)² = Σ_chunks [Σ(x - mean_i)² + n_i·(mean_i - mean)²]   (Chan, Golub & LeVeque 1983), and the term
//            between that a rounded mean_i leaves
//   apply    one thread an element
//   threads  NCHW: 256 threads share a channel; NHWC: 32 neighbouring channels, 8 pixels, so that warps read whole lines.
//            Threads' sums meet in a tree in shared memory. Chunks depend on the problem only, so results do too
// What limits it: memory, x is read twice and written once. Chunks are as many as keep a card of 132 multiprocessors busy.
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace plumb::cuda {

struct norm_arguments {
  int channels = 0, plane = 1;  ///< plane: pixels of an image
  int pixels = 0;               ///< m, over all images
  int chunk = 1, chunks = 0;    ///< pixels of a chunk
  bool train = true;
  float eps = 0, momentum = 0;
  const float *x = nullptr, *dy = nullptr;
  const float *gamma = nullptr, *beta = nullptr;   ///< or null
  const float *mean = nullptr, *spread = nullptr;  ///< given: spread is invstd, or the variance
  const float *old_mean = nullptr, *old_variance = nullptr;
  float* out = nullptr;  ///< y, or dx
  float *saved_mean = nullptr, *saved_invstd = nullptr, *new_mean = nullptr, *new_variance = nullptr;
  float *dgamma = nullptr, *dbeta = nullptr;
  float* sums = nullptr;       ///< [2][chunk][channel]
  float* constants = nullptr;  ///< [4][channel]: mean, invstd, and what `apply` needs besides

  template <bool Last>
  PLUMB_DEVICE offset at(int pixel, int channel) const {
    if (Last) return offset{pixel} * channels + channel;
    return (offset{pixel / plane} * channels + channel) * plane + pixel % plane;
  }
  /// Pixels of a chunk.
  PLUMB_DEVICE int size_of(int number) const {
    const int begin = number * chunk;
    return smaller(begin + chunk, pixels) - begin;
  }
  PLUMB_DEVICE float invstd(int c) const { return train ? spread[c] : 1.0F / sqrtf(spread[c] + eps); }
};

template <bool Forward, bool Last>
struct norm_sums {
  using arguments = norm_arguments;
  static constexpr int threads = 256, width = Last ? 32 : 1;  ///< width: channels of a block
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
  };

  /// The sum over all threads of a channel, for each of them.
  template <class Block>
  static PLUMB_DEVICE float total(Block& block, shared<Block>& s, float mine) {
    const int t = block.thread();
    s.partial[t] = mine;
    block.barrier();
    for (int half = threads / 2; half >= width; half /= 2) {
      if (t < half) s.partial[t] += s.partial[t + half];
      block.barrier();
    }
    const float sum = s.partial[t % width];
    block.barrier();
    return sum;
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const int groups = tiles(a.channels, width);
    const int t = block.thread(), number = static_cast<int>(block.number() / groups);
    const int c = static_cast<int>(block.number() % groups) * width + t % width;
    const int begin = number * a.chunk, end = c < a.channels ? begin + a.size_of(number) : begin;
    float one = 0, two = 0;
    if (Forward) {
      for (int i = begin + t / width; i < end; i += threads / width) one += a.x[a.at<Last>(i, c)];
      one = total(block, s, one);
      const float mean = one / static_cast<float>(a.size_of(number));
      for (int i = begin + t / width; i < end; i += threads / width) {
        const float away = a.x[a.at<Last>(i, c)] - mean;
        two += away * away;
      }
    } else {
      const float mean = c < a.channels ? a.mean[c] : 0.0F, invstd = c < a.channels ? a.invstd(c) : 0.0F;
      for (int i = begin + t / width; i < end; i += threads / width) {
        const offset at = a.at<Last>(i, c);
        one += a.dy[at];
        two += a.dy[at] * ((a.x[at] - mean) * invstd);
      }
      one = total(block, s, one);
    }
    two = total(block, s, two);
    if (t >= width || c >= a.channels) return;
    a.sums[offset{number} * a.channels + c] = one;
    a.sums[offset{a.chunks + number} * a.channels + c] = two;
  }
};

template <bool Forward>
struct norm_finish {
  using arguments = norm_arguments;
  static constexpr int threads = 64;
  static constexpr bool barriers = false;
  template <class Block>
  struct shared {};

  static PLUMB_DEVICE double sum_of(const arguments& a, int which, int chunk, int c) {
    return static_cast<double>(a.sums[offset{which * a.chunks + chunk} * a.channels + c]);
  }

  static PLUMB_DEVICE void statistics(const arguments& a, int c) {
    const double m = a.pixels;
    double mean = 0, about = 0;
    for (int i = 0; i < a.chunks; ++i) mean += sum_of(a, 0, i, c);
    mean /= m;
    for (int i = 0; i < a.chunks; ++i) {
      const double n = a.size_of(i), sum = sum_of(a, 0, i, c);
      // The very number about which the chunk's squares were taken.
      const auto own = static_cast<double>(static_cast<float>(sum) / static_cast<float>(a.size_of(i)));
      about += sum_of(a, 1, i, c) + 2 * (own - mean) * (sum - n * own) + n * (own - mean) * (own - mean);
    }
    const double invstd = 1 / sqrt(about / m + static_cast<double>(a.eps));
    a.saved_mean[c] = static_cast<float>(mean);
    a.saved_invstd[c] = static_cast<float>(invstd);
    if (a.new_mean != nullptr) {
      const auto share = static_cast<double>(a.momentum);
      a.new_mean[c] = static_cast<float>((1 - share) * static_cast<double>(a.old_mean[c]) + share * mean);
      a.new_variance[c] =
          static_cast<float>((1 - share) * static_cast<double>(a.old_variance[c]) + share * about / (m - 1));
    }
    a.constants[c] = static_cast<float>(mean);
    a.constants[a.channels + c] = static_cast<float>(invstd);
  }

  static PLUMB_DEVICE void gradients(const arguments& a, int c) {
    double total = 0, product = 0;
    for (int i = 0; i < a.chunks; ++i) {
      total += sum_of(a, 0, i, c);
      product += sum_of(a, 1, i, c);
    }
    if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(product);
    if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(total);
    a.constants[c] = a.mean[c];
    a.constants[a.channels + c] = a.invstd(c);
    a.constants[2 * a.channels + c] = static_cast<float>(total / a.pixels);
    a.constants[3 * a.channels + c] = static_cast<float>(product / a.pixels);
  }

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const int c = static_cast<int>(block.number()) * threads + block.thread();
    if (c >= a.channels) return;
    if (!Forward) {
      gradients(a, c);
    } else if (a.train) {
      statistics(a, c);
    } else {
      a.constants[c] = a.mean[c];
      a.constants[a.channels + c] = a.invstd(c);
    }
  }
};

template <bool Forward, bool Last>
struct norm_apply {
  using arguments = norm_arguments;
  static constexpr int threads = 256;
  static constexpr bool barriers = false;
  template <class Block>
  struct shared {};

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread();
    if (i >= offset{a.pixels} * a.channels) return;
    const int c = static_cast<int>((Last ? i : i / a.plane) % a.channels);
    const float mean = a.constants[c], invstd = a.constants[a.channels + c];
    const float gamma = a.gamma != nullptr ? a.gamma[c] : 1.0F;
    if (Forward) {
      const float beta = a.beta != nullptr ? a.beta[c] : 0.0F;
      a.out[i] = (a.x[i] - mean) * invstd * gamma + beta;
    } else if (!a.train) {
      a.out[i] = a.dy[i] * (gamma * invstd);
    } else {
      const float share = a.constants[2 * a.channels + c], along = a.constants[3 * a.channels + c];
      a.out[i] = gamma * invstd * ((a.dy[i] - share) - (a.x[i] - mean) * invstd * along);
    }
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<norm_sums<true, false>, norm_sums<true, true>, norm_sums<false, false>,
                            norm_sums<false, true>, norm_finish<true>, norm_finish<false>,
                            norm_apply<true, false>, norm_apply<true, true>, norm_apply<false, false>,
                            norm_apply<false, true>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include <algorithm>
#include <limits>

#include "optimized/cuda/matrix_host.hpp"

namespace plumb {
namespace {

using namespace cuda;

constexpr index_t fewest_pixels = 256;  ///< of a chunk

const float* data(const tensor_ref& t) { return static_cast<const float*>(t.data); }
float* data_out(const tensor_ref& t) { return static_cast<float*>(t.data); }

norm_arguments numbers_of(const kernel_problem& kp, bool last) {
  const problem& p = kp.problem;
  const shape x = p.shape_of("x");
  norm_arguments a;
  a.channels = static_cast<int>(x[1]);
  const index_t plane = x.size() / std::max<index_t>(1, x[0] * x[1]), pixels = x[0] * plane;
  a.plane = static_cast<int>(std::max<index_t>(1, plane));
  a.pixels = static_cast<int>(pixels);
  const index_t groups = tiles<index_t>(x[1], last ? norm_sums<true, true>::width : 1);
  const index_t wanted = std::max<index_t>(1, tiles(busy_blocks, groups));
  a.chunk = static_cast<int>(std::max(fewest_pixels, tiles(pixels, wanted)));
  a.chunks = static_cast<int>(tiles<index_t>(pixels, a.chunk));
  a.train = p.text("mode") == "train";
  a.eps = static_cast<float>(p.number("eps"));
  a.momentum = static_cast<float>(p.number("momentum"));
  return a;
}

void bind_forward(norm_arguments& a, const kernel_call& call) {
  a.x = data(call.reads[0]);
  a.gamma = data(call.reads[1]);
  a.beta = data(call.reads[2]);
  (a.train ? a.old_mean : a.mean) = data(call.reads[3]);
  (a.train ? a.old_variance : a.spread) = data(call.reads[4]);
  a.out = data_out(call.writes[0]);
  if (!a.train) return;
  a.saved_mean = data_out(call.writes[1]);
  a.saved_invstd = data_out(call.writes[2]);
  if (a.old_mean == nullptr) return;
  a.new_mean = data_out(call.writes[3]);
  a.new_variance = data_out(call.writes[4]);
}

void bind_backward(norm_arguments& a, const kernel_call& call, bool gamma, bool beta) {
  a.dy = data(call.reads[0]);
  a.x = data(call.reads[1]);
  a.gamma = data(call.reads[2]);
  a.mean = data(call.reads[3]);
  a.spread = data(call.reads[4]);
  a.out = data_out(call.writes[0]);
  std::size_t next = 1;  // a gradient is written if its parameter is there
  if (gamma) a.dgamma = data_out(call.writes[next++]);
  if (beta) a.dbeta = data_out(call.writes[next]);
}

template <bool Forward, bool Last>
program norm_program(const kernel_problem& kp) {
  const norm_arguments numbers = numbers_of(kp, Last);
  program p;
  p.workspace = sizeof(float) * static_cast<std::size_t>(2 * numbers.chunks + 4) *
                static_cast<std::size_t>(numbers.channels);
  p.run = [a = numbers, gamma = kp.problem.has("gamma"), beta = kp.problem.has("beta")](
              const kernel_call& call, stream& to) {
    norm_arguments mine = a;
    Forward ? bind_forward(mine, call) : bind_backward(mine, call, gamma, beta);
    mine.constants = static_cast<float*>(call.workspace);
    mine.sums = mine.constants + 4 * mine.channels;
    using sums = norm_sums<Forward, Last>;
    using finish = norm_finish<Forward>;
    using apply = norm_apply<Forward, Last>;
    if (mine.train || !Forward)
      to.launch<sums>({tiles<index_t>(a.channels, sums::width) * a.chunks, sums::threads}, mine);
    to.launch<finish>({tiles<index_t>(a.channels, finish::threads), finish::threads}, mine);
    to.launch<apply>({tiles<index_t>(index_t{a.pixels} * a.channels, apply::threads), apply::threads}, mine);
  };
  return p;
}

template <bool Forward>
row norm_row() {
  row r{.layer = "batch_norm",
        .pass = Forward ? "forward" : "backward",
        .algorithm = "chunks",
        .supports = {},
        .make = {}};
  r.supports = [](const kernel_problem& kp) {
    const std::string unknown =
        kp.problem.first_unknown({"x", "y", "gamma", "beta", "running_mean", "running_var", "mean", "invstd",
                                  "new_running_mean", "new_running_var", "mode", "eps", "momentum"});
    if (!unknown.empty()) return support::no("unknown attribute " + unknown);
    const shape x = kp.problem.shape_of("x");
    constexpr index_t most = std::numeric_limits<int>::max() / 4;
    return x[1] <= most && x.size() / std::max<index_t>(1, x[1]) <= most
               ? support::yes()
               : support::no("a channel has more than 2^29 pixels");
  };
  r.make = [](const kernel_problem& kp) {
    const bool last = kp.layout == layout::nhwc || kp.problem.shape_of("x").rank() == 2;
    return last ? norm_program<Forward, true>(kp) : norm_program<Forward, false>(kp);
  };
  return r;
}

}  // namespace

void register_cuda_batch_norm(registry& kernels) {
  add_rows(kernels, norm_row<true>());
  add_rows(kernels, norm_row<false>());
}

}  // namespace plumb
#endif
