#include "reports/compare_speed.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

namespace plumb::reports {

namespace {

using record::comparison;
using record::timing;

/// `conv2d.forward`: what peers of a kernel compute too.
std::string job(const timing& t) { return t.kernel.substr(0, t.kernel.find('/')); }

/// The same kernel on the same problem in both records.
struct pair_of_timings {
  const timing* before = nullptr;
  const timing* after = nullptr;
};

std::vector<pair_of_timings> pairs(const record::bench_section& before, const record::bench_section& after) {
  std::map<timing_key, const timing*> old;
  for (const timing& t : before.timings)
    if (t.measurement) old.emplace(key_of(t), &t);
  std::vector<pair_of_timings> list;
  for (const timing& t : after.timings) {
    const auto at = old.find(key_of(t));
    if (t.measurement && at != old.end()) list.push_back({at->second, &t});
  }
  return list;
}

const std::vector<double>& calls_of(const record::measurement& m) {
  return m.fastest.empty() ? m.samples : m.fastest;
}

/// Numbers by visit, one for each round. A record without visits is one of them.
visits by_visit(const std::vector<double>& numbers, const std::vector<int>& rounds,
                std::int64_t rounds_a_visit) {
  visits list;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t visit = rounds_a_visit > 0 && i < rounds.size() ? rounds[i] / rounds_a_visit : 0;
    if (visit < 0 || visit > 1000) continue;  // no record of ours
    if (std::ssize(list) <= visit) list.resize(static_cast<std::size_t>(visit) + 1);
    list[static_cast<std::size_t>(visit)].push_back(numbers[i]);
  }
  return list;
}

/// Logarithms of how much longer than a vendor's kernel in the same rounds, by visit.
visits ratios_of(const record::measurement& m, const std::vector<double>& mine,
                 const record::measurement& vendor, const std::vector<double>& theirs,
                 std::int64_t rounds_a_visit) {
  std::map<int, double> by_round;
  for (std::size_t i = 0; i < std::min(theirs.size(), vendor.rounds.size()); ++i)
    if (theirs[i] > 0) by_round.emplace(vendor.rounds[i], theirs[i]);
  std::vector<double> ratios;
  std::vector<int> rounds;
  for (std::size_t i = 0; i < std::min(mine.size(), m.rounds.size()); ++i)
    if (const auto at = by_round.find(m.rounds[i]); at != by_round.end() && mine[i] > 0) {
      ratios.push_back(std::log(mine[i] / at->second));
      rounds.push_back(m.rounds[i]);
    }
  return by_visit(ratios, rounds, rounds_a_visit);
}

/// For each contest a vendor's kernel, the baseline if it is one, that ran by the same implementation of the same version
/// of its library in both records: it has not changed, so it tells of the machine.
class controls {
 public:
  controls(const std::vector<pair_of_timings>& all, const record::provenance& before,
           const record::provenance& after) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const timing& t = *all[i].after;
      if (!t.peer || t.implementation != all[i].before->implementation ||
          version_of(t.kernel, before) != version_of(t.kernel, after))
        continue;
      const auto [at, first] = by_contest_.emplace(contest_of(t), i);
      if (!first && t.baseline && !all[at->second].after->baseline) at->second = i;
    }
  }
  /// The number, in the list of pairs, of the one of the contest that `t` took part in.
  std::optional<std::size_t> of(const timing& t) const {
    const auto at = by_contest_.find(contest_of(t));
    return at == by_contest_.end() ? std::nullopt : std::optional(at->second);
  }
  std::vector<std::size_t> chosen() const {
    std::vector<std::size_t> list;
    for (const auto& [contest, number] : by_contest_) list.push_back(number);
    return list;
  }

 private:
  static std::string contest_of(const timing& t) {
    return t.set + "\n" + t.problem + "\n" + t.layout + "\n" + job(t);
  }
  /// Of the library whose name the algorithm's begins with (`…/onednn@cpu`: oneDNN); empty if the record does not say.
  static std::string version_of(const std::string& kernel, const record::provenance& p) {
    const auto same_letter = [](char a, char b) { return std::tolower(a) == std::tolower(b); };
    const std::string algorithm = kernel.substr(std::min(kernel.find('/') + 1, kernel.size()));
    for (const record::library& l : p.libraries)
      if (algorithm.size() >= l.name.size() &&
          std::equal(l.name.begin(), l.name.end(), algorithm.begin(), same_letter))
        return l.version;
    return {};
  }
  std::map<std::string, std::size_t> by_contest_;
};

/// One of the two ways in which the changes can be told.
struct account {
  std::vector<shift> shifts;  ///< one a pair
  std::vector<bool> beside;   ///< whether it is that of a ratio to a vendor's kernel; else of a time
  double machine = 0;         ///< error of what was divided out of the times

  /// Error that is common to all times.
  double common(bool of_ratios) const { return of_ratios ? 0 : machine; }
};

/// What the vendors' kernels changed by is taken for the machine's doing and divided out; returns the error of that.
/// The fastest calls of one machine differ little from day to day: where the vendors' are noisy, that is believed more.
double divide_out_the_machine(const std::vector<pair_of_timings>& all, const controls& peers,
                              bool same_machine, std::vector<shift>& shifts) {
  constexpr double day_to_day = 0.015;
  std::vector<double> changes, of_medians;
  double error = 0;
  for (const std::size_t i : peers.chosen()) {
    const shift& s = shifts[i];
    if (s.freedom == 0) continue;
    changes.push_back(s.log_ratio);
    of_medians.push_back(s.of_medians);
    error += s.error * s.error;
  }
  if (changes.empty()) return 0;
  const auto n = static_cast<double>(changes.size());
  const double machine = median(changes);
  constexpr double of_a_median = 1.25;  // times the error of a mean
  const double seen = of_a_median * std::max(std::sqrt(error / n), robust_spread(changes)) / std::sqrt(n);
  const double expected = day_to_day * day_to_day + seen * seen;
  const bool confirmed = machine * median(of_medians) >= machine * machine / 2;
  const bool beyond_chance = machine * machine > 9 * expected;  // three standard deviations
  const bool usual = same_machine && !(confirmed && beyond_chance);
  const double trust = usual ? day_to_day * day_to_day / expected : 1;
  for (shift& s : shifts) {
    s.log_ratio -= trust * machine;
    s.of_medians -= trust * machine;
  }
  for (std::size_t i = 0; i < all.size(); ++i)
    if (const auto control = all[i].after->peer ? std::nullopt : peers.of(*all[i].after)) {
      shifts[i].beside = shifts[*control].log_ratio;
      shifts[i].medians_beside = shifts[*control].of_medians;
    }
  return std::sqrt(trust) * seen;
}

void lean(std::vector<shift>& shifts, const std::vector<bool>& which, bool wanted) {
  std::vector<shift*> list;
  for (std::size_t i = 0; i < shifts.size(); ++i)
    if (which[i] == wanted) list.push_back(&shifts[i]);
  lean_on_each_other(list);
}

struct visit_lengths {
  std::int64_t before = 0, after = 0;  ///< rounds a visit; 0: no visits
};

account by_times(const std::vector<pair_of_timings>& all, const controls& peers, visit_lengths rounds,
                 bool same_machine) {
  account told;
  for (const pair_of_timings& p : all) {
    const record::measurement &before = *p.before->measurement, &after = *p.after->measurement;
    shift s = shift_of(level_of(by_visit(calls_of(before), before.rounds, rounds.before)),
                       level_of(by_visit(calls_of(after), after.rounds, rounds.after)));
    if (before.seconds > 0 && after.seconds > 0) s.of_medians = std::log(after.seconds / before.seconds);
    told.shifts.push_back(s);
  }
  told.beside.assign(all.size(), false);
  lean(told.shifts, told.beside, false);
  told.machine = divide_out_the_machine(all, peers, same_machine, told.shifts);
  return told;
}

/// The change of how much longer than the control, or no freedom: too few visits to tell.
shift shift_beside(const pair_of_timings& p, const pair_of_timings& control, visit_lengths rounds) {
  const auto levels = [](const timing& mine, const timing& theirs, std::int64_t rounds_a_visit) {
    const record::measurement &m = *mine.measurement, &v = *theirs.measurement;
    return std::pair(level_beside(ratios_of(m, calls_of(m), v, calls_of(v), rounds_a_visit)),
                     level_beside(ratios_of(m, m.samples, v, v.samples, rounds_a_visit)));
  };
  const auto before = levels(*p.before, *control.before, rounds.before);
  const auto after = levels(*p.after, *control.after, rounds.after);
  shift s = shift_of(before.first, after.first);
  s.of_medians = after.second.value - before.second.value;
  return s;
}

/// As `times`, but beside a vendor's kernel what can be.
account by_ratios(const std::vector<pair_of_timings>& all, const controls& peers, visit_lengths rounds,
                  account times) {
  for (std::size_t i = 0; i < all.size(); ++i)
    if (const auto control = all[i].after->peer ? std::nullopt : peers.of(*all[i].after))
      if (const shift s = shift_beside(all[i], all[*control], rounds); s.freedom > 0) {
        times.shifts[i] = s;
        times.beside[i] = true;
      }
  lean(times.shifts, times.beside, true);
  return times;
}

/// What two runs of the same code differ by beyond what their own visits say: how much farther the changes of the
/// other kernels, told in the same way, scatter than their errors explain.
double between_runs(const std::string& kernel, const std::vector<pair_of_timings>& all, const account& told,
                    bool beside) {
  constexpr double least = 0.007, most = 0.1, unknown = 0.025;
  constexpr std::size_t enough = 8;
  const bool visited = std::ranges::all_of(told.shifts, [](const shift& s) { return s.visited; });
  std::vector<double> others;
  double explained = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (label(*all[i].after) == kernel || told.beside[i] != beside) continue;
    others.push_back(told.shifts[i].log_ratio);
    explained += told.shifts[i].error * told.shifts[i].error;
  }
  if (others.size() < enough) return visited ? least : unknown;
  const double spread = robust_spread(others);
  explained /= static_cast<double>(others.size());
  return std::clamp(std::sqrt(std::max(0.0, spread * spread - explained)), least, most);
}

/// Of one of our kernels on one problem.
double usual_error(const std::vector<pair_of_timings>& all, const account& told) {
  std::vector<double> errors;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!all[i].after->peer)
      errors.push_back(std::hypot(told.shifts[i].error,
                                  between_runs(label(*all[i].after), all, told, told.beside[i]),
                                  told.common(told.beside[i])));
  return median(errors);
}

bool worse_first(const speed_change& a, const speed_change& b) {
  const auto rank = [](const speed_change& c) {
    return std::pair(c.verdict == comparison::slower ? c.peer ? 1 : 0 : 2, -c.change.ratio);
  };
  return rank(a) < rank(b);
}

/// Verdicts of one family: ours and the peers' apart, so that peers do not share our risk. What tells of the machine has
/// not changed itself.
void decide(std::vector<speed_change>& list) {
  for (const bool peer : {false, true}) {
    std::vector<change> family;
    for (const speed_change& c : list)
      if (c.peer == peer) family.push_back(c.change);
    const std::vector<comparison> verdicts = judge(family);
    std::size_t next = 0;
    for (speed_change& c : list) {
      if (c.peer != peer) continue;
      c.verdict = verdicts[next++];
      if (c.control && c.verdict != comparison::same) c.verdict = comparison::ambiguous;
    }
  }
  std::ranges::stable_sort(list, worse_first);
}

/// Our kernels together: problems are the samples, because all kernels on one problem share its control.
change mean_of_ours(const std::vector<pair_of_timings>& all, const account& told) {
  std::map<std::string, std::vector<shift>> by_problem;
  bool beside = true;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].after->peer) continue;
    by_problem[all[i].after->set + "\n" + all[i].after->problem].push_back(told.shifts[i]);
    beside = beside && told.beside[i];
  }
  std::vector<shift> means;
  for (const auto& [problem, shifts] : by_problem) {
    shift mean;
    for (const shift& s : shifts) {
      mean.log_ratio += s.log_ratio / static_cast<double>(shifts.size());
      mean.of_medians += s.of_medians / static_cast<double>(shifts.size());
      mean.beside += s.beside / static_cast<double>(shifts.size());
      mean.medians_beside += s.medians_beside / static_cast<double>(shifts.size());
      mean.error = std::max(mean.error, s.error);
      mean.freedom = std::max(mean.freedom, s.freedom);
    }
    means.push_back(mean);
  }
  return mean_change(means, between_runs("", all, told, beside), told.common(beside));
}

}  // namespace

std::string label(const timing& t) {
  return t.layout.empty() || t.layout == "nchw" ? t.kernel : t.kernel + " " + t.layout;
}

timing_key key_of(const timing& t) { return {t.set, t.problem, label(t)}; }

void compare_speed(const record::run& before, const record::run& after, bool same_machine,
                   comparison_of_runs& c) {
  const std::vector<pair_of_timings> all = pairs(*before.bench, *after.bench);
  if (all.empty()) return;
  c.has_speed = true;
  const controls peers(all, before.provenance, after.provenance);
  const std::vector<std::size_t> unchanged = peers.chosen();
  if (unchanged.empty())
    c.notes.push_back(
        "no vendor's kernel in both records: a change of the machine cannot be told from one of the code");
  const visit_lengths rounds = {before.bench->rounds_a_visit.value_or(0),
                                after.bench->rounds_a_visit.value_or(0)};
  account told = by_times(all, peers, rounds, same_machine);
  if (account ratios = by_ratios(all, peers, rounds, told); usual_error(all, ratios) < usual_error(all, told))
    told = std::move(ratios);

  std::map<std::string, std::vector<std::size_t>> by_kernel;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const timing &old = *all[i].before, &now = *all[i].after;
    by_kernel[label(now)].push_back(i);
    const bool beside = told.beside[i];
    c.timings.push_back(
        {label(now), now.set, now.problem, 1, now.peer, old.measurement->seconds, now.measurement->seconds,
         change_of(told.shifts[i], between_runs(label(now), all, told, beside), told.common(beside)),
         comparison::ambiguous, std::ranges::count(unchanged, i) > 0});
  }
  for (const auto& [kernel, list] : by_kernel) {
    speed_change total{kernel, "", "", std::ssize(list),      all[list.front()].after->peer,
                       0,      0,  {}, comparison::ambiguous, true};
    std::vector<shift> of_kernel;
    bool beside = true;
    for (const std::size_t i : list) {
      total.before += all[i].before->measurement->seconds;
      total.after += all[i].after->measurement->seconds;
      total.control = total.control && c.timings[i].control;
      beside = beside && told.beside[i];
      of_kernel.push_back(told.shifts[i]);
    }
    total.change = mean_change(of_kernel, between_runs(kernel, all, told, beside), told.common(beside));
    c.kernels.push_back(std::move(total));
  }
  c.all_of_ours = mean_of_ours(all, told);
  decide(c.timings);
  decide(c.kernels);
}

}  // namespace plumb::reports
