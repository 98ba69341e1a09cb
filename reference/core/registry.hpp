// The registry: every kernel this process knows, found by glob. `*` matches any text, `/` and `@` included;
// `?` one character. Each file in optimized/ adds its rows through one function named in
// optimized/kernels.list.
#pragma once

#include <string_view>
#include <vector>

#include "reference/core/kernel.hpp"

namespace plumb {

class registry {
 public:
  /// Throws std::logic_error if the name is taken or does not start with `layer.pass/`.
  void add(kernel k);
  const std::vector<kernel>& all() const { return kernels_; }
  const kernel* find(std::string_view name) const;
  std::vector<const kernel*> matching(std::string_view glob) const;

 private:
  std::vector<kernel> kernels_;
};

/// Every kernel of optimized/. Defined there, linked into the worker only.
void register_all_kernels(registry& kernels);

bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace plumb
