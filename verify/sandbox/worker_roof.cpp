// The loops behind worker_roof.hpp, compiled by Highway for every instruction set: twelve independent chains
// of multiply-adds hide the latency of the units; four sums hide that of the additions.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "verify/sandbox/worker_roof.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "verify/sandbox/worker_roof.hpp"

HWY_BEFORE_NAMESPACE();
namespace plumb::bench {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int chains = 12;

/// `steps` multiply-adds in each lane of each chain; the sum keeps the compiler from dropping them.
float multiply_adds(std::size_t steps) {
  const hn::ScalableTag<float> d;
  hn::Vec<decltype(d)> sum[chains];
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) sum[i] = hn::Set(d, static_cast<float>(i));
  const auto factor = hn::Set(d, 0.999F), addend = hn::Set(d, 0.001F);
  for (std::size_t step = 0; step < steps; ++step)
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) sum[i] = hn::MulAdd(sum[i], factor, addend);
  float total = 0;
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) total += hn::GetLane(sum[i]);
  return total;
}

std::size_t operations_per_step() { return 2 * chains * hn::Lanes(hn::ScalableTag<float>()); }

float sum_of(const float* data, std::size_t count) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  std::size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    a = hn::Add(a, hn::LoadU(d, data + i));
    b = hn::Add(b, hn::LoadU(d, data + i + lanes));
    c = hn::Add(c, hn::LoadU(d, data + i + 2 * lanes));
    e = hn::Add(e, hn::LoadU(d, data + i + 3 * lanes));
  }
  return hn::GetLane(hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

void triad(float* HWY_RESTRICT to, const float* HWY_RESTRICT x, const float* HWY_RESTRICT y,
           std::size_t count) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto scale = hn::Set(d, 0.5F);
  for (std::size_t i = 0; i + lanes <= count; i += lanes)
    hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, to + i);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace plumb::bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <memory>

namespace plumb::bench {
namespace {

HWY_EXPORT(multiply_adds);
HWY_EXPORT(operations_per_step);
HWY_EXPORT(sum_of);
HWY_EXPORT(triad);

/// Seconds of one call on every thread at once; `work` gets the number of the thread.
template <class Work>
double time_on(int threads, Work&& work) {
  const double start = omp_get_wtime();
#pragma omp parallel num_threads(threads)
  work(omp_get_thread_num());
  return omp_get_wtime() - start;
}

/// Memory for the streams, kept from sample to sample and touched by the threads that will use it.
float* stream_memory(int threads, std::size_t count) {
  static std::unique_ptr<float[]> memory;
  static std::size_t held = 0;
  if (count > held) {
    memory = std::make_unique_for_overwrite<float[]>(count);
    held = count;
    const std::size_t share = count / static_cast<std::size_t>(threads);
    time_on(threads, [&](int thread) {
      float* const first = memory.get() + static_cast<std::size_t>(thread) * share;
      std::fill_n(first, share, 1.0F);
    });
  }
  return memory.get();
}

constexpr double sample_seconds = 3e-4;

}  // namespace

double multiply_add_gflops(int threads) {
  constexpr std::size_t steps = 100'000;
  const double seconds =
      time_on(threads, [&](int) { benchmark::DoNotOptimize(HWY_DYNAMIC_DISPATCH(multiply_adds)(steps)); });
  const auto operations = HWY_DYNAMIC_DISPATCH(operations_per_step)() * steps;
  return 1e-9 * static_cast<double>(operations) * threads / seconds;
}

double stream_gbytes(int threads, std::size_t bytes) {
  constexpr std::size_t least = 3 * 1024;  // floats of one thread: three arrays of 4 KiB
  const std::size_t share =
      std::max(bytes / sizeof(float) / static_cast<std::size_t>(threads), least) / 3 * 3;
  float* const memory = stream_memory(threads, share * static_cast<std::size_t>(threads));
  const auto run = [&](bool summing, int times) {
    return time_on(threads, [&](int thread) {
      float* const first = memory + static_cast<std::size_t>(thread) * share;
      const std::size_t third = share / 3;
      for (int i = 0; i < times; ++i) {
        if (summing)
          benchmark::DoNotOptimize(HWY_DYNAMIC_DISPATCH(sum_of)(first, share));
        else
          HWY_DYNAMIC_DISPATCH(triad)(first, first + third, first + 2 * third, third);
      }
    });
  };
  double best = 0;
  for (const bool summing : {true, false}) {
    const double once = run(summing, 1);
    const int times = static_cast<int>(std::clamp(sample_seconds / once, 1.0, 1e5));
    const double moved = static_cast<double>(share * sizeof(float)) * threads * times;
    best = std::max(best, 1e-9 * moved / run(summing, times));
  }
  return best;
}

}  // namespace plumb::bench
#endif
