// What judged tensors look like in the record: dumped in full, an element by its coordinates, the error over a whole
// output, the histogram of errors. Used by the runner for its cases, and where tensors come from elsewhere.
#pragma once

#include <optional>
#include <string>

#include "reference/core/record.hpp"
#include "verify/compare.hpp"

namespace plumb {

/// Tensors of more elements are not dumped.
inline constexpr index_t most_dumped = 4096;

/// Name, type, shape and axes; the values are left to be filled in.
record::tensor_dump dump_of(const layer& l, const std::string& name, record::tensor_role role,
                            std::string type);

/// The element with its numbers; problem, regime and replay line are left to be filled in.
record::element named_element(const layer& l, const truths& t, const judged_element& e);

/// The signed error of `got`, of the truth's shape, in units of the bound; problem, regime and replay line are left to be
/// filled in. Nothing for a tensor without elements.
std::optional<record::heat_map> error_map(const layer& l, const truths& t, const thresholds& bounds,
                                          const tensor_ref& got);

using ulp_counts = std::array<index_t, comparison::bins>;
/// Nothing if nothing was counted. `naive` may be all zeros.
std::optional<record::ulp_histogram> histogram_of(const ulp_counts& counts, const ulp_counts& naive = {});

/// The element of any type, as a double.
double value_at(const tensor_ref& t, const shape& at);
double truth_at(const truths& t, index_t i);

}  // namespace plumb
