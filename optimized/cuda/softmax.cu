// softmax along one axis in f32, row major tensors.
//   forward    y = e^(x - m) / Σ e^(x - m), m the largest x; NaN along the whole axis where x has +∞ or NaN, or only -∞
//   backward   dx = y·(dy - Σ dy·y)
// Eight lines a block, 32 threads a line: each takes every 32nd number, then the maximum and the sum go through shared
// memory in a fixed order. What limits it: memory; x is read three times, the second and third from the caches. Lines
// whose numbers lie apart (an axis that is not the last) are read by the stride: whole lines of memory are wasted there.
// Blanchard, Higham & Higham 2021, "Accurately computing the log-sum-exp and softmax functions".
#include "optimized/cuda/conv_numbers.hpp"
#include "optimized/cuda/launch.hpp"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace plumb::cuda {

struct softmax_arguments {
  const float* first = nullptr;   ///< x, or dy
  const float* second = nullptr;  ///< y of the backward pass
  float* out = nullptr;
  offset lines = 0, length = 0, step = 1;

  PLUMB_DEVICE offset start(offset line) const { return line / step * length * step + line % step; }
};

constexpr int softmax_team = 32;

struct softmax_forward {
  using arguments = softmax_arguments;
  static constexpr int threads = 256;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
    typename Block::template array<float, threads / softmax_team> result;
  };

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const int t = block.thread(), lane = t % softmax_team, team = t / softmax_team;
    const offset line = block.number() * (threads / softmax_team) + team, start = a.start(line);
    const offset end = line < a.lines ? a.length : 0;
    float most = -INFINITY;
    for (offset i = lane; i < end; i += softmax_team) {
      const float x = a.first[start + i * a.step];
      if (x > most || x != x) most = x;
    }
    s.partial[t] = most;
    block.barrier();
    if (lane == 0) {
      for (int i = 1; i < softmax_team; ++i) {
        const float other = s.partial[t + i];
        if (other > most || other != other) most = other;
      }
      s.result[team] = most;
    }
    block.barrier();
    most = s.result[team];
    float sum = 0;
    for (offset i = lane; i < end; i += softmax_team) sum += expf(a.first[start + i * a.step] - most);
    sum = sum_of_team<softmax_team>(block, s.partial, sum);
    if (lane == 0) s.result[team] = sum;
    block.barrier();
    sum = s.result[team];
    for (offset i = lane; i < end; i += softmax_team)
      a.out[start + i * a.step] = expf(a.first[start + i * a.step] - most) / sum;
  }
};

struct softmax_backward {
  using arguments = softmax_arguments;
  static constexpr int threads = 256;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
    typename Block::template array<float, threads / softmax_team> result;
  };

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>& s, const arguments& a) {
    const int t = block.thread(), lane = t % softmax_team, team = t / softmax_team;
    const offset line = block.number() * (threads / softmax_team) + team, start = a.start(line);
    const offset end = line < a.lines ? a.length : 0;
    float sum = 0;
    for (offset i = lane; i < end; i += softmax_team)
      sum += a.first[start + i * a.step] * a.second[start + i * a.step];
    sum = sum_of_team<softmax_team>(block, s.partial, sum);
    if (lane == 0) s.result[team] = sum;
    block.barrier();
    sum = s.result[team];
    for (offset i = lane; i < end; i += softmax_team)
      a.out[start + i * a.step] = a.second[start + i * a.step] * (a.first[start + i * a.step] - sum);
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<softmax_forward, softmax_backward>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/rows.hpp"

namespace plumb {
namespace {

using namespace cuda;

template <class Body>
row softmax_row(const std::string& pass) {
  row r{.layer = "softmax",
        .pass = pass,
        .algorithm = "lines",
        .layouts = {layout::nchw},
        .supports = {},
        .make = {}};
  r.supports = [](const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y", "axis"});
    return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
  };
  r.make = [](const kernel_problem& kp) {
    const shape x = kp.problem.shape_of("x");
    const auto axis = static_cast<int>(kp.problem.integer("axis"));
    softmax_arguments a{.length = x[axis]};
    for (int behind = axis + 1; behind < x.rank(); ++behind) a.step *= x[behind];
    a.lines = x.size() / a.length;
    return program{[a](const kernel_call& call, stream& to) {
      softmax_arguments mine = a;
      mine.first = static_cast<const float*>(call.reads[0].data);
      if (call.reads.size() > 1) mine.second = static_cast<const float*>(call.reads[1].data);
      mine.out = static_cast<float*>(call.writes[0].data);
      to.launch<Body>({tiles<index_t>(a.lines, Body::threads / softmax_team), Body::threads}, mine);
    }};
  };
  return r;
}

}  // namespace

void register_cuda_softmax(registry& kernels) {
  add_rows(kernels, softmax_row<softmax_forward>("forward"));
  add_rows(kernels, softmax_row<softmax_backward>("backward"));
}

}  // namespace plumb
#endif
