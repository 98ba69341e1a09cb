#include "reports/change.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace plumb::reports {

namespace {

double middle(std::vector<double>& values) {
  const std::size_t n = values.size();
  const auto half = values.begin() + static_cast<std::ptrdiff_t>(n / 2);
  std::ranges::nth_element(values, half);
  return n % 2 == 1 ? *half : (*half + *std::max_element(values.begin(), half)) / 2;
}

std::vector<double> logarithms(const std::vector<double>& samples) {
  std::vector<double> logs;
  for (const double seconds : samples)
    if (seconds > 0 && std::isfinite(seconds)) logs.push_back(std::log(seconds));
  return logs;
}

double bootstrap_error(const std::vector<double>& before, const std::vector<double>& after,
                       std::mt19937_64& random) {
  constexpr int resamples = 400;
  std::vector<double> differences, drawn;
  const auto median_of_resample = [&](const std::vector<double>& from) {
    std::uniform_int_distribution<std::size_t> pick(0, from.size() - 1);
    drawn.clear();
    for (std::size_t i = 0; i < from.size(); ++i) drawn.push_back(from[pick(random)]);
    return middle(drawn);
  };
  for (int i = 0; i < resamples; ++i)
    differences.push_back(median_of_resample(after) - median_of_resample(before));
  const double mean = std::accumulate(differences.begin(), differences.end(), 0.0) / resamples;
  double sum = 0;
  for (const double d : differences) sum += (d - mean) * (d - mean);
  return std::sqrt(sum / (resamples - 1));
}

double permutation_p(const std::vector<double>& before, const std::vector<double>& after, double seen,
                     std::mt19937_64& random) {
  constexpr int shuffles = 2000;
  std::vector<double> all = before;
  all.insert(all.end(), after.begin(), after.end());
  const auto cut = static_cast<std::ptrdiff_t>(before.size());
  int as_large = 1;  // what was seen is one of the shuffles
  std::vector<double> left, right;
  for (int i = 0; i < shuffles; ++i) {
    std::ranges::shuffle(all, random);
    left.assign(all.begin(), all.begin() + cut);
    right.assign(all.begin() + cut, all.end());
    if (std::abs(middle(right) - middle(left)) >= std::abs(seen)) ++as_large;
  }
  return static_cast<double>(as_large) / (shuffles + 1);
}

change from_log(double log_ratio, double error) {
  constexpr double z95 = 1.96;
  const double size = error > 0 ? std::abs(log_ratio) / error : log_ratio == 0 ? 0 : 1e9;
  return {std::exp(log_ratio), std::exp(log_ratio - z95 * error), std::exp(log_ratio + z95 * error),
          std::erfc(size / std::sqrt(2.0))};
}

}  // namespace

shift shift_of(const std::vector<double>& before, const std::vector<double>& after, std::uint64_t seed) {
  constexpr double unknown = 0.1;  // of a median of fewer than three samples
  std::vector<double> a = logarithms(before), b = logarithms(after);
  if (a.empty() || b.empty()) return {};
  std::mt19937_64 random(seed);
  shift s;
  s.error = bootstrap_error(a, b, random);
  if (std::min(a.size(), b.size()) < 3) s.error = std::max(s.error, unknown);
  std::vector<double> x = a, y = b;
  s.log_ratio = middle(y) - middle(x);
  s.p = permutation_p(a, b, s.log_ratio, random);
  return s;
}

change change_of(const shift& s, double between_runs) {
  change c = from_log(s.log_ratio, std::hypot(s.error, between_runs));
  c.p = std::max(c.p, s.p > 0.05 ? 1.0 : 0.0);
  return c;
}

change mean_change(const std::vector<shift>& shifts, double between_runs) {
  // What two runs of one kernel differ by in all problems alike (its place in memory, say).
  constexpr double common_to_all = 0.01;
  if (shifts.empty()) return {};
  const auto n = static_cast<double>(shifts.size());
  double sum = 0, within = 0;
  for (const shift& s : shifts) sum += s.log_ratio, within += s.error * s.error;
  const double mean = sum / n;
  double apart = 0;
  for (const shift& s : shifts) apart += (s.log_ratio - mean) * (s.log_ratio - mean);
  const double seen = n > 1 ? std::sqrt(apart / (n - 1)) : 0;
  const double error =
      std::hypot(std::sqrt(within) / n, std::max(between_runs, seen) / std::sqrt(n), common_to_all);
  return from_log(mean, error);
}

std::vector<record::comparison> judge(const std::vector<change>& family) {
  using enum record::comparison;
  std::vector<std::size_t> order(family.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return family[i].p; });
  std::vector<record::comparison> verdicts(family.size(), ambiguous);
  bool rejecting = true;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const change& c = family[order[rank]];
    rejecting = rejecting && c.p <= risk / static_cast<double>(order.size() - rank);
    record::comparison& verdict = verdicts[order[rank]];
    if (rejecting && c.ratio >= counts_from)
      verdict = slower;
    else if (rejecting && c.ratio <= 1 / counts_from)
      verdict = faster;
    else if (c.low >= 1 / counts_from && c.high <= counts_from)
      verdict = same;
  }
  return verdicts;
}

double robust_spread(std::vector<double> values) {
  constexpr double normal = 1.4826;
  if (values.empty()) return 0;
  const double centre = middle(values);
  for (double& v : values) v = std::abs(v - centre);
  return normal * middle(values);
}

}  // namespace plumb::reports
