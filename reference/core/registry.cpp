#include "reference/core/registry.hpp"

#include <stdexcept>

namespace plumb {

void registry::add(kernel k) {
  if (!k.name.starts_with(k.layer + "." + k.pass + "/"))
    throw std::logic_error("kernel `" + k.name + "` must be named `" + k.layer + "." + k.pass +
                           "/algorithm@target`");
  if (find(k.name) != nullptr) throw std::logic_error("two kernels are named `" + k.name + "`");
  kernels_.push_back(std::move(k));
}

const kernel* registry::find(std::string_view name) const {
  for (const kernel& k : kernels_)
    if (k.name == name) return &k;
  return nullptr;
}

std::vector<const kernel*> registry::matching(std::string_view glob) const {
  std::vector<const kernel*> found;
  for (const kernel& k : kernels_)
    if (glob_match(glob, k.name)) found.push_back(&k);
  return found;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  // Greedy with one backtracking point: after a mismatch, let the last `*` swallow one more character.
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace plumb
