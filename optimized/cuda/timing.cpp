#include "optimized/cuda/timing.hpp"

#include <algorithm>
#include <random>

namespace plumb::cuda {
namespace {

class contest {
 public:
  contest(timing_device& on, const timing_request& how, const std::vector<contestant>& all)
      : on_(on),
        how_(how),
        all_(all),
        random_(how.seed),
        exchanged_(static_cast<std::size_t>(how.sets), false) {
    for (const contestant& c : all_)
      results_.push_back({.name = c.name, .seconds = {}, .rounds = {}, .trouble = {}});
  }

  std::vector<timed> run() {
    std::vector<std::size_t> order(all_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (int round = 0; round < how_.rounds; ++round) {
      std::shuffle(order.begin(), order.end(), random_);
      for (const std::size_t i : order)
        if (results_[i].trouble.empty()) results_[i].trouble = sample(all_[i], results_[i], round);
    }
    for (timed& t : results_)
      if (t.trouble.empty() && 2 * t.throttled > how_.rounds)
        t.trouble = "the card throttled in " + std::to_string(t.throttled) + " of " +
                    std::to_string(how_.rounds) + " samples";
    return std::move(results_);
  }

 private:
  /// One call on the next set; empty, or why this contestant gets no number.
  std::string sample(const contestant& c, timed& result, int round) {
    const int set = round % how_.sets;
    const auto at = static_cast<std::size_t>(set);
    if (random_() % 2 == 0) {
      c.exchange(set);
      exchanged_[at] = !exchanged_[at];
    }
    c.poison(set);
    if (how_.cold) on_.flush_cache();
    if (std::string error = on_.finish(); !error.empty()) return error;
    on_.throttled();
    on_.hold();
    on_.mark_start();
    std::string refused = c.run(set);
    on_.mark_stop();
    const double start = on_.host_seconds();
    const bool held = on_.release();
    std::string error = on_.finish();
    const double by_host = on_.host_seconds() - start, by_events = on_.marked_seconds();
    if (!refused.empty()) return refused;
    if (!error.empty()) return error;
    if (!held) return "its call waits for the device before it returns";
    if (std::string wrong = judge_clocks(by_host, by_events, c.floor_seconds); !wrong.empty()) return wrong;
    if (std::string wrong = c.check(set, exchanged_[at]); !wrong.empty()) return "in a timed call: " + wrong;
    if (on_.throttled()) {
      ++result.throttled;
      return {};
    }
    result.seconds.push_back(by_events);
    result.rounds.push_back(round);
    return {};
  }

  static std::string judge_clocks(double by_host, double by_events, double floor) {
    const auto text = [](double seconds) { return std::to_string(seconds * 1e6) + " us"; };
    if (!(by_events > 0) || !(by_events <= by_host * (1 + clock_share) + 1e-6))
      return "events say " + text(by_events) + ", the host's clock only " + text(by_host);
    if (!(by_host - by_events <= release_seconds + clock_share * by_host))
      return "events say " + text(by_events) + ", but the device was busy for " + text(by_host) +
             ": work outside the timed stretch or on another stream";
    if (!(by_events >= floor * floor_share))
      return "takes " + text(by_events) + ", less than the roofs allow (" + text(floor) + ")";
    return {};
  }

  timing_device& on_;
  const timing_request& how_;
  const std::vector<contestant>& all_;
  std::mt19937_64 random_;
  std::vector<bool> exchanged_;
  std::vector<timed> results_;
};

}  // namespace

double floor_seconds(const card& on, const std::string& arithmetic, double operations, double bytes_read) {
  const int generation = on.capability / 10;  // 8: A100, 9: H100
  const double tensor_cores = generation <= 8 ? 1 : generation == 9 ? 2 : 4;
  double a_cycle = 256;  // H100: 128 multiply-adds
  if (arithmetic == "tf32") a_cycle = 1024 * tensor_cores;
  if (arithmetic == "bf16_f32") a_cycle = 2048 * tensor_cores;
  if (arithmetic.starts_with("winograd")) a_cycle *= 4;  // F(4×4, 3×3): 36 products in place of 144
  const double at_best = a_cycle * on.multiprocessors * on.clock;
  double seconds = 0;
  if (at_best > 0) seconds = operations / at_best;
  if (on.bandwidth > 0) seconds = std::max(seconds, bytes_read / on.bandwidth);
  return seconds;
}

std::vector<timed> time_contest(timing_device& on, const timing_request& how,
                                const std::vector<contestant>& contestants) {
  return contest(on, how, contestants).run();
}

ratio compare(const timed& mine, const timed& theirs) {
  constexpr double same_within = 1.03;
  std::vector<double> ratios;
  for (std::size_t i = 0; i < mine.rounds.size(); ++i)
    for (std::size_t j = 0; j < theirs.rounds.size(); ++j)
      if (mine.rounds[i] == theirs.rounds[j]) ratios.push_back(mine.seconds[i] / theirs.seconds[j]);
  std::sort(ratios.begin(), ratios.end());
  ratio r;
  const std::size_t n = ratios.size();
  if (n == 0) return r;
  r.median = n % 2 == 1 ? ratios[n / 2] : (ratios[n / 2 - 1] + ratios[n / 2]) / 2;
  // The largest j for which [x(j), x(n+1-j)] still contains the median with probability 95 %.
  double outside = 0, binomial = 1;
  for (std::size_t i = 0; i < n; ++i) binomial /= 2;
  std::size_t j = 0;
  for (; j < n / 2; ++j) {
    outside += 2 * binomial;
    if (outside > 0.05) break;
    binomial *= static_cast<double>(n - j) / static_cast<double>(j + 1);
  }
  r.low = ratios[j == 0 ? 0 : j - 1];
  r.high = ratios[j == 0 ? n - 1 : n - j];
  if (j == 0) return r;
  if (r.low >= 1 / same_within && r.high <= same_within)
    r.verdict = "same";
  else if (r.high < 1)
    r.verdict = "faster";
  else if (r.low > 1)
    r.verdict = "slower";
  return r;
}

}  // namespace plumb::cuda
