#include "bench/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace plumb::bench {
namespace {

/// Half way between the two middle samples if their number is even; `sorted` is not empty.
double middle(std::span<const double> sorted) {
  const std::size_t n = sorted.size();
  return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/// The largest j for which [x(j), x(n+1-j)] holds the median with 95 %; 0 if there is none.
std::size_t rank_of_interval(std::size_t n) {
  double term = std::pow(0.5, static_cast<double>(n));  // P(Binomial = i)
  double below = 0;                                     // P(Binomial < j)
  std::size_t j = 0;
  while (j < n && 2 * (below + term) <= 0.05) {
    below += term;
    term *= static_cast<double>(n - j) / static_cast<double>(j + 1);
    ++j;
  }
  return j;
}

}  // namespace

estimate median_of(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::ranges::sort(samples);
  const std::size_t j = rank_of_interval(samples.size());
  const std::size_t outermost = j > 0 ? j - 1 : 0;
  const double widened = j > 0 ? 1 : unknown_noise;
  return {middle(samples), samples[outermost] / widened, samples[samples.size() - 1 - outermost] * widened,
          j > 0};
}

record::comparison judge(const estimate& ratio) {
  using enum record::comparison;
  if (!(ratio.low > 0) || !std::isfinite(ratio.high)) return ambiguous;
  if (ratio.low >= 1 / same_within && ratio.high <= same_within) return same;
  return ratio.high < 1 ? faster : ratio.low > 1 ? slower : ambiguous;
}

std::vector<double> paired_ratios(const series& mine, const series& baseline) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < mine.seconds.size(); ++i)
    for (std::size_t j = 0; j < baseline.seconds.size(); ++j)
      if (mine.rounds[i] == baseline.rounds[j] && baseline.seconds[j] > 0)
        ratios.push_back(mine.seconds[i] / baseline.seconds[j]);
  if (!ratios.empty() || mine.seconds.empty() || baseline.seconds.empty()) return ratios;
  const double other = median_of(baseline.seconds).value;
  if (other > 0)
    for (const double seconds : mine.seconds) ratios.push_back(seconds / other);
  return ratios;
}

estimate geometric_mean(const std::vector<std::vector<double>>& ratios_by_problem, std::uint64_t seed) {
  constexpr int resamples = 1000;
  constexpr std::size_t tail = resamples / 40;  // 2.5 % on either side
  std::vector<std::vector<double>> problems;
  for (const auto& ratios : ratios_by_problem)
    if (!ratios.empty()) problems.push_back(ratios);
  if (problems.empty()) return {};
  const auto mean = [&](auto&& median) {
    double sum = 0;
    for (const auto& ratios : problems) sum += std::log(median(ratios));
    return std::exp(sum / static_cast<double>(problems.size()));
  };
  estimate result;
  result.value = mean([](const std::vector<double>& ratios) { return median_of(ratios).value; });
  result.reliable =
      std::ranges::all_of(problems, [](const auto& ratios) { return rank_of_interval(ratios.size()) > 0; });
  std::mt19937_64 random(seed);
  std::vector<double> drawn, means;
  for (int i = 0; i < resamples; ++i)
    means.push_back(mean([&](const std::vector<double>& ratios) {
      drawn.clear();
      std::uniform_int_distribution<std::size_t> pick(0, ratios.size() - 1);
      for (std::size_t k = 0; k < ratios.size(); ++k) drawn.push_back(ratios[pick(random)]);
      std::ranges::sort(drawn);
      return middle(drawn);
    }));
  std::ranges::sort(means);
  const double widened = result.reliable ? 1 : unknown_noise;
  result.low = means[tail] / widened;
  result.high = means[means.size() - 1 - tail] * widened;
  return result;
}

}  // namespace plumb::bench
