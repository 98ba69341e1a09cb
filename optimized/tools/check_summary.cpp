#include "optimized/tools/check_summary.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace plumb::cuda {
namespace {

struct goal {
  check_group group;
  const char* what;
  double mean;
};
constexpr goal goals[] = {
    {check_group::f32, "convolution in f32, speed over cuDNN's", 1.0},
    {check_group::tf32, "convolution in tf32, speed over cuDNN's", 0.8},
    {check_group::bf16, "convolution in bf16, speed over cuDNN's", 0.8},
    {check_group::winograd, "Winograd, speed over cuDNN's f32", 1.5},
    {check_group::depthwise, "depthwise, speed over cuDNN's", 1.5},
    {check_group::first_layer, "first layers, speed over cuDNN's", 1.5},
    {check_group::memory, "other layers, share of the bandwidth", 0.85},
};

}  // namespace

check_group group_of(const std::string& arithmetic, bool depthwise, bool first_layer) {
  if (arithmetic == "tf32") return check_group::tf32;
  if (arithmetic == "bf16_f32") return check_group::bf16;
  if (arithmetic.starts_with("winograd")) return check_group::winograd;
  return depthwise ? check_group::depthwise : first_layer ? check_group::first_layer : check_group::f32;
}

std::string arithmetic_of_peers(const std::string& arithmetic) {
  return arithmetic.starts_with("winograd") ? "f32" : arithmetic;
}

void check_summary::add(check_group group, const std::string& problem, double value) {
  // In this order what is no number stays one.
  const auto [at, first] = best_[group].emplace(problem, value);
  if (!first) at->second = std::max(value, at->second);
}

std::string check_summary::print() const {
  std::string text;
  for (const goal& g : goals) {
    char line[160];
    const auto at = best_.find(g.group);
    if (at == best_.end()) {
      std::snprintf(line, sizeof line, "%-42s no number (goal %.2f)\n", g.what, g.mean);
      text += line;
      continue;
    }
    double logarithms = 0;
    const auto* worst = &*at->second.begin();
    for (const auto& one : at->second) {
      logarithms += std::log(one.second);
      if (one.second < worst->second) worst = &one;
    }
    const double mean = std::exp(logarithms / static_cast<double>(at->second.size()));
    std::snprintf(line, sizeof line, "%-42s %.2f over %zu problems, worst %.2f (%s); goal %.2f %s\n", g.what,
                  mean, at->second.size(), worst->second, worst->first.c_str(), g.mean,
                  mean >= g.mean ? "met" : "MISSED");
    text += line;
  }
  return text;
}

}  // namespace plumb::cuda
