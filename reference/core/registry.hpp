// The registry: every kernel this process knows, found by glob. `*` matches any text, `/` and `@` included;
// `?` one character. Each file in optimized/ adds its rows through one function named in
// optimized/kernels.list.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "reference/core/device_work.hpp"
#include "reference/core/kernel.hpp"

namespace plumb {

class registry {
 public:
  /// Throws std::logic_error if the name is taken or does not start with `layer.pass/`.
  void add(kernel k);
  const std::vector<kernel>& all() const { return kernels_; }
  const kernel* find(std::string_view name) const;
  std::vector<const kernel*> matching(std::string_view glob) const;
  /// Where kernels of the device `cuda` that come later are placed; null: nowhere.
  const device_host* devices() const { return devices_.get(); }
  void place_by(std::shared_ptr<const device_host> devices) { devices_ = std::move(devices); }

 private:
  std::vector<kernel> kernels_;
  std::shared_ptr<const device_host> devices_;
};

/// Every kernel of optimized/. Defined there, linked into the worker only.
void register_all_kernels(registry& kernels);

bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace plumb
