#include "reports/change.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace plumb::reports {

namespace {

/// From which on they tell what runs differ by.
constexpr int enough_visits = 3;
/// Visits that the other kernels of a comparison are worth for the error of one.
constexpr int borrowed = 2;

/// Logarithm of the fastest sample outside of visit `without`; NaN if there is none.
double fastest(const visits& of, std::size_t without) {
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < of.size(); ++i)
    for (const double seconds : of[i])
      if (i != without && seconds > 0) least = std::min(least, seconds);
  return std::isfinite(least) ? std::log(least) : std::nan("");
}

/// One visit cut into parts: what it can say about its own noise.
visits parts_of(const visits& whole) {
  constexpr std::size_t most = 5;
  visits parts;
  for (const std::vector<double>& samples : whole) {
    const std::size_t count = std::min(most, samples.size());
    for (std::size_t i = 0; i < count; ++i)
      parts.emplace_back(samples.begin() + static_cast<std::ptrdiff_t>(i * samples.size() / count),
                         samples.begin() + static_cast<std::ptrdiff_t>((i + 1) * samples.size() / count));
  }
  return parts;
}

/// The normal quantile as rare as `t` of Student's distribution (Abramowitz & Stegun 26.7.8).
double as_normal(double t, int freedom) {
  const double n = std::max(freedom, 1);
  return t * (1 - 1 / (4 * n)) / std::sqrt(1 + t * t / (2 * n));
}

/// Normal quantiles: of 97.5 % (an interval of 95 %), of 95 % (a test of one side at 5 %).
constexpr double two_sided = 1.959964, one_sided = 1.644854;

/// Student's quantile from the normal one, `z` (ibid., 26.7.5).
double student(double z, int freedom) {
  const double n = std::max(freedom, 2);
  return z + (z * z * z + z) / (4 * n) + (5 * std::pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * n * n);
}

/// Whether a change stays one in the same direction if any share of what changed beside it, up to twice as much, is taken
/// from it.
bool stands_alone(double log_ratio, double beside) { return log_ratio * (log_ratio - 2 * beside) > 0; }

change from_log(const shift& s, double error, int freedom) {
  const double log_ratio = s.log_ratio;
  const double size = error > 0 ? std::abs(log_ratio) / error : log_ratio == 0 ? 0 : 1e9;
  const double reach = student(two_sided, freedom) * error;
  const bool same = std::abs(log_ratio) + student(one_sided, freedom) * error <= std::log(counts_from);
  return {std::exp(log_ratio),
          std::exp(log_ratio - reach),
          std::exp(log_ratio + reach),
          std::erfc(as_normal(size, freedom) / std::sqrt(2.0)),
          same,
          s.of_medians * log_ratio >= log_ratio * log_ratio / 2 && stands_alone(log_ratio, s.beside) &&
              stands_alone(log_ratio, s.medians_beside)};
}

}  // namespace

level level_of(const visits& samples) {
  const auto visited =
      std::ranges::count_if(samples, [](const auto& visit) { return !visit.empty(); }) >= enough_visits;
  const visits groups = visited ? samples : parts_of(samples);
  level l;
  l.value = fastest(groups, groups.size());
  if (!std::isfinite(l.value)) return {};
  std::vector<double> left_out;
  for (std::size_t i = 0; i < groups.size(); ++i)
    if (const double v = fastest(groups, i); std::isfinite(v) && !groups[i].empty()) left_out.push_back(v);
  if (left_out.size() < 2) return {l.value, 0, 1, false};
  const auto n = static_cast<double>(left_out.size());
  const double mean = std::accumulate(left_out.begin(), left_out.end(), 0.0) / n;
  for (const double v : left_out) l.variance += (v - mean) * (v - mean) * (n - 1) / n;
  l.freedom = static_cast<int>(left_out.size()) - 1;
  l.visited = visited;
  return l;
}

level level_beside(const visits& log_ratios) {
  std::vector<double> middles;
  for (const std::vector<double>& visit : log_ratios)
    if (!visit.empty()) middles.push_back(median(visit));
  if (std::ssize(middles) < enough_visits) return {};
  std::vector<double> of_two;
  for (std::size_t i = 0; i < middles.size(); ++i)
    for (std::size_t j = i; j < middles.size(); ++j) of_two.push_back((middles[i] + middles[j]) / 2);
  const auto n = static_cast<double>(middles.size());
  const double mean = std::accumulate(middles.begin(), middles.end(), 0.0) / n;
  double squares = 0;
  for (const double m : middles) squares += (m - mean) * (m - mean);
  return {median(of_two), squares / (n * (n - 1)), static_cast<int>(middles.size()) - 1, true};
}

shift shift_of(const level& before, const level& after) {
  if (before.freedom == 0 || after.freedom == 0) return {};
  const double log_ratio = after.value - before.value;
  return {log_ratio, std::sqrt(before.variance + after.variance), before.freedom + after.freedom,
          before.visited && after.visited, log_ratio};
}

void lean_on_each_other(std::vector<shift*> all) {
  std::erase_if(all, [](const shift* s) { return s->freedom == 0; });
  if (all.empty()) return;
  std::vector<double> variances;
  for (const shift* s : all) variances.push_back(s->error * s->error);
  const auto quarter = variances.begin() + std::ssize(variances) / 4;
  std::ranges::nth_element(variances, quarter);
  const double common = *quarter;
  for (shift* s : all) {
    s->error = std::sqrt((borrowed * common + s->freedom * s->error * s->error) / (borrowed + s->freedom));
    s->freedom += borrowed;
  }
}

change change_of(const shift& s, double between_runs, double common) {
  return from_log(s, std::hypot(s.error, between_runs, common), s.freedom);
}

change mean_change(const std::vector<shift>& shifts, double between_runs, double common) {
  // What two runs of one kernel differ by in all problems alike (its place in memory, say).
  constexpr double of_kernel = 0.007;
  if (shifts.empty()) return {};
  const auto n = static_cast<double>(shifts.size());
  double within = 0;
  shift all;
  int freedom = 0;
  for (const shift& s : shifts) {
    all.log_ratio += s.log_ratio / n;
    within += s.error * s.error;
    freedom += s.freedom;
    all.of_medians += s.of_medians / n;
    all.beside += s.beside / n;
    all.medians_beside += s.medians_beside / n;
  }
  double apart = 0;
  for (const shift& s : shifts) apart += (s.log_ratio - all.log_ratio) * (s.log_ratio - all.log_ratio);
  const double seen = n > 1 ? std::sqrt(apart / (n - 1)) : 0;
  const double each = std::hypot(std::max(std::sqrt(within / n), seen), between_runs);
  const double error = std::hypot(each / std::sqrt(n), of_kernel, common);
  return from_log(all, error, freedom);
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
    if (rejecting && c.confirmed && c.ratio >= counts_from)
      verdict = slower;
    else if (rejecting && c.confirmed && c.ratio <= 1 / counts_from)
      verdict = faster;
    else if (c.same)
      verdict = same;
  }
  return verdicts;
}

double median(std::vector<double> values) {
  const std::size_t n = values.size();
  if (n == 0) return 0;
  const auto half = values.begin() + static_cast<std::ptrdiff_t>(n / 2);
  std::ranges::nth_element(values, half);
  return n % 2 == 1 ? *half : (*half + *std::max_element(values.begin(), half)) / 2;
}

double robust_spread(std::vector<double> values) {
  constexpr double normal = 1.4826;
  if (values.empty()) return 0;
  const double centre = median(values);
  for (double& v : values) v = std::abs(v - centre);
  return normal * median(values);
}

}  // namespace plumb::reports
