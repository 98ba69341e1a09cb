// What an exam holds a kernel's answers against, as a table. Everybody takes it as it stands; the audit puts a weaker
// check in the place of one entry at a time, to see whether any planted fault then lives or any honest kernel is
// accused (properties/audit/mutants.hpp).
#pragma once

#include <functional>

#include "verify/bounds.hpp"
#include "verify/compare.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

struct checks {
  std::function<std::string(const layer&, const pass_spec&, const tensor_set<double>& reads, const truths&,
                            const arithmetic&, const accuracy&, regime, const run_statistics&, thresholds&,
                            int threads)>
      bounds = thresholds_of;
  std::function<void(const tensor_ref& got, const truths&, const thresholds&, refiner*, std::size_t which,
                     comparison&)>
      values = compare;
  std::function<std::optional<damage>(const placed_tensor&)> outside = find_damage;
  std::function<unwritten_elements(const placed_tensor&, const placed_tensor&)> unwritten = find_unwritten;
  std::function<index_t(const tensor_ref&, const tensor_ref&)> repeated = first_difference;
  /// What is held against a run whatever it wrote: a crash, a hang, the state it left the processor in.
  std::function<void(run_result&)> conduct = [](run_result&) {};
  std::function<placed_tensor(arena&, std::string_view name, dtype, const shape& extents,
                              const shape& strides, placement)>
      lay_input = [](arena& a, std::string_view name, dtype type, const shape& extents, const shape& strides,
                     placement where) { return a.place_read(name, type, extents, strides, where); };
  poison other_poison = poison::large;  ///< of the second run; the first has poison::nan
  placement first_end = {true, 0};      ///< where the tensors of the first run lie
  placement other_end = {false, 0};     ///< and of the second
  std::vector<int> teams = {2, 3, 7};   ///< thread counts beside the ordinary one
  bool foreign_workspace = true;        ///< a run over the workspace that another question left behind
  bool one_change = true;               ///< a question that differs from another in one element
  bool gaps = true;                     ///< strides with gaps, for kernels that declare any
  double most_unbounded = 1.0 / 16;     ///< share of elements without a bound that a kernel may have
};

/// The table as it stands.
const checks& all_checks();

}  // namespace plumb
