#include "reports/growth.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace plumb::reports {

namespace {

using record::timing;

constexpr std::size_t fewest = 3;
constexpr std::size_t most_problems = 400;  // of one form: pairs are looked at

/// A problem text with its numbers taken out: `conv2d x=#x#x#x# weight=…` and where each came from.
struct reading {
  std::string form;
  std::vector<double> numbers;
  std::vector<std::string> fields;  ///< of each number
  std::vector<int> places;          ///< of each number in its field
};

reading read(const std::string& problem) {
  reading r;
  std::string field, word;
  int place = 0;
  bool value = false;
  for (std::size_t i = 0; i < problem.size();) {
    const char c = problem[i];
    if (value && std::isdigit(static_cast<unsigned char>(c)) != 0) {
      double number = 0;
      for (; i < problem.size() && std::isdigit(static_cast<unsigned char>(problem[i])) != 0; ++i)
        number = 10 * number + (problem[i] - '0');
      r.numbers.push_back(number);
      r.fields.push_back(field);
      r.places.push_back(place++);
      r.form += '#';
      continue;
    }
    if (c == ' ')
      value = false, word.clear();
    else if (c == '=')
      value = true, field = word, place = 0;
    else
      word += c;
    r.form += c;
    ++i;
  }
  return r;
}

/// What varies, by the first number that does: of the first tensor the axes have names.
std::string quantity_of(const reading& r, std::size_t position) {
  if (r.fields[position] != r.fields.front()) return r.fields[position];
  const int place = r.places[position];
  return place == 0 ? "batch" : place == 1 ? "channels" : "size";
}

std::string shared_text(const reading& r, const std::vector<std::size_t>& varying) {
  std::string text;
  std::size_t number = 0;
  for (const char c : r.form) {
    if (c != '#') {
      text += c;
      continue;
    }
    const bool varies = std::ranges::find(varying, number) != varying.end();
    text += varies ? "…" : std::to_string(static_cast<std::int64_t>(r.numbers[number]));
    ++number;
  }
  return text;
}

/// Positions at which two readings of one form differ, if all numbers there grow by one factor.
std::vector<std::size_t> varying_in_step(const reading& a, const reading& b) {
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < a.numbers.size(); ++i)
    if (a.numbers[i] != b.numbers[i]) positions.push_back(i);
  if (positions.empty()) return {};
  const std::size_t first = positions.front();
  for (const std::size_t i : positions)
    if (!(a.numbers[i] > 0) || !(b.numbers[i] > 0) ||
        a.numbers[i] * b.numbers[first] != b.numbers[i] * a.numbers[first])
      return {};
  return positions;
}

/// Problems of one form that differ only at certain positions, as numbers into the list of readings.
using family_key = std::pair<std::vector<std::size_t>, std::vector<double>>;

std::map<family_key, std::set<std::size_t>> families_of(const std::vector<reading>& problems) {
  std::map<family_key, std::set<std::size_t>> families;
  for (std::size_t i = 0; i < problems.size(); ++i)
    for (std::size_t j = i + 1; j < problems.size(); ++j) {
      const std::vector<std::size_t> varying = varying_in_step(problems[i], problems[j]);
      if (varying.empty()) continue;
      // The fixed numbers, and the proportions of those that vary.
      std::vector<double> fixed = problems[i].numbers;
      const double unit = fixed[varying.front()];
      for (const std::size_t at : varying) fixed[at] = fixed[at] / unit;
      families[{varying, fixed}].insert({i, j});
    }
  std::erase_if(families, [](const auto& f) { return f.second.size() < fewest; });
  return families;
}

/// One kernel's line in a family; empty if it has too few numbers.
growth_series series_of(const std::string& kernel, const std::map<double, const timing*>& points) {
  growth_series s{kernel, {}, {}, 0};
  for (const auto& [x, t] : points) {
    if (!t->measurement) continue;
    s.x.push_back(x);
    s.seconds.push_back(t->measurement->seconds);
  }
  s.exponent = log_log_slope(s.x, s.seconds);
  return s;
}

}  // namespace

double log_log_slope(const std::vector<double>& x, const std::vector<double>& y) {
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(x[i] > 0) || !(y[i] > 0)) return std::numeric_limits<double>::quiet_NaN();
    const double a = std::log(x[i]), b = std::log(y[i]);
    n += 1, sx += a, sy += b, sxx += a * a, sxy += a * b;
  }
  return (n * sxy - sx * sy) / (n * sxx - sx * sx);  // 0/0 for fewer than two different x
}

std::vector<growth_family> find_growth(const std::vector<const timing*>& timings) {
  std::map<std::string, std::vector<std::pair<std::string, reading>>> forms;  // problems of each form
  std::map<std::string, std::map<std::string, const timing*>> by_problem;     // problem, kernel
  std::vector<std::string> kernels;
  for (const timing* t : timings) {
    const std::string kernel =
        t->layout.empty() || t->layout == "nchw" ? t->kernel : t->kernel + " " + t->layout;
    if (std::ranges::find(kernels, kernel) == kernels.end()) kernels.push_back(kernel);
    auto& entry = by_problem[t->problem];
    if (entry.empty()) {
      reading r = read(t->problem);
      const std::string form = r.form;
      forms[form].emplace_back(t->problem, std::move(r));
    }
    entry.emplace(kernel, t);
  }
  std::vector<growth_family> found;
  for (const auto& [form, problems] : forms) {
    if (problems.size() < fewest || problems.size() > most_problems) continue;
    std::vector<reading> readings;
    for (const auto& [text, r] : problems) readings.push_back(r);
    for (const auto& [key, members] : families_of(readings)) {
      const std::size_t first = key.first.front();
      growth_family family{
          quantity_of(readings.front(), first), shared_text(readings[*members.begin()], key.first), 0, {}};
      std::map<double, double> work;
      for (const std::string& kernel : kernels) {
        std::map<double, const timing*> points;
        for (const std::size_t i : members) {
          const auto at = by_problem[problems[i].first].find(kernel);
          if (at == by_problem[problems[i].first].end()) continue;
          points.emplace(readings[i].numbers[first], at->second);
          if (at->second->measurement)
            work.emplace(readings[i].numbers[first], at->second->measurement->flops);
        }
        growth_series s = series_of(kernel, points);
        if (s.x.size() >= fewest) family.series.push_back(std::move(s));
      }
      std::vector<double> x, flops;
      for (const auto& [at, n] : work) x.push_back(at), flops.push_back(n);
      family.work = log_log_slope(x, flops);
      if (!family.series.empty()) found.push_back(std::move(family));
    }
  }
  return found;
}

}  // namespace plumb::reports
