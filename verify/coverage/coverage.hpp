// Coverage of judged plugins, for reviewers: of the edges that the compiler marked (-fsanitize-coverage=trace-pc), which
// ran while Plumb judged, and the source lines of those that never did. The marks are read off the library's code by
// objdump, their lines off its debug information by addr2line; both come with the compiler.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "reference/core/record.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// Gathers what ran over the lives of several workers.
class coverage_log {
 public:
  /// Asks the worker. Nothing may be under way.
  void take(sandbox& box);
  /// One entry a library that was compiled so, or that no tool could read (then with a reason). Empty if none was.
  std::vector<record::plugin_coverage> summary() const;

 private:
  std::map<std::string, std::set<std::uint64_t>> ran_;
};

}  // namespace plumb
