// The worker's side of the sandbox: what it maps, the runs it executes, and the services it offers besides.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reference/core/registry.hpp"
#include "verify/sandbox/wire.hpp"

namespace plumb {

/// One arena as the worker sees it: commands and read slots read-only, the other slots writable, gaps
/// inaccessible. A slot is mapped when it is first asked for: most workers need few, and some live for one call.
class mapped_arena {
 public:
  /// Throws std::system_error.
  explicit mapped_arena(int descriptor);
  const std::byte* commands() const { return commands_; }
  wire::result_record* results() const { return results_; }
  std::byte* region() const { return region_; }
  std::byte* slot(int number);

 private:
  int descriptor_;
  std::vector<bool> mapped_;
  const std::byte* commands_ = nullptr;
  wire::result_record* results_ = nullptr;
  std::byte* region_ = nullptr;
};

/// Runs the batches that lie in arenas.
class executor {
 public:
  executor(const registry& kernels, wire::control_block& control) : kernels_(kernels), control_(control) {}
  void run_batch(mapped_arena& arena, std::uint32_t serial, std::uint32_t first);

 private:
  struct decoded_run;
  struct live_plan {
    std::string kernel, resolved;
    wire::run_record how;
    std::unique_ptr<plan> made;
    std::string implementation = {};
    std::uint32_t last_run = 0;
    bool keep = false;
  };

  static void decode(wire::reader& in, decoded_run& run, mapped_arena& arena);
  void execute(const decoded_run& run, std::uint32_t index, mapped_arena& arena, wire::result_record& result);
  const kernel_problem& problem_of(const decoded_run& run);
  live_plan* find_plan(const decoded_run& run);
  live_plan* make_plan(const decoded_run& run, const kernel& k, wire::result_record& result);
  void call(const decoded_run& run, const kernel& k, plan& p, mapped_arena& arena,
            wire::result_record& result);
  void endure(const decoded_run& run, const kernel& k, const kernel_call& c, wire::result_record& result);
  void release_plans();
  void enter(wire::phase at, std::uint32_t run, std::string_view subject);

  const registry& kernels_;
  wire::control_block& control_;
  std::vector<live_plan> plans_;
  std::string problem_text_, canonical_text_;  ///< what problem_ was parsed from
  kernel_problem problem_;
  std::string only_kernel_;  ///< the one kernel this process has run so far
  bool several_kernels_ = false;
};

/// A service answers a text with a text; an exception becomes an error at the caller. The table is in
/// worker_services.cpp: one row a service.
struct service {
  std::string_view name;
  std::string (*serve)(const registry& kernels, const std::string& request);
};
const std::vector<service>& services();

}  // namespace plumb
