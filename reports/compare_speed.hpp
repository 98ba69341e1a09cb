// The speed of two records, kernel by kernel and problem by problem, told in one of two ways, the one that is surer of our
// kernels: by their fastest calls, with what the vendors' kernels changed by divided out as the machine's doing; or by how
// much longer they take than a vendor's kernel that ran in turn with them. The first is better where neighbours come and
// go by the call, the second where the whole machine changes its speed for seconds on end.
#pragma once

#include <string>
#include <tuple>

#include "reports/compare.hpp"

namespace plumb::reports {

/// A kernel's name, with its layout where that is not nchw.
std::string label(const record::timing& t);
/// What makes timings of two records the same one: problem set, problem, label.
using timing_key = std::tuple<std::string, std::string, std::string>;
timing_key key_of(const record::timing& t);

/// Adds the changes of `after.bench` against `before.bench`, both of which are there.
void compare_speed(const record::run& before, const record::run& after, bool same_machine,
                   comparison_of_runs& c);

}  // namespace plumb::reports
