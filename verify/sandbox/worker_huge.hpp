// The worker's service `huge`: one call of a kernel on tensors larger than memory, see verify/huge.
#pragma once

#include <string>

#include "reference/core/registry.hpp"

namespace plumb {

/// Request, a line each: kernel, resolved problem, canonical problem, threads, then a tensor a line
/// `read|write NAME EXTENTxEXTENT… [ELEMENT…]`; the elements of written tensors are the ones asked for.
/// Answer: `ok` and the values asked for in order, or `declined REASON`, separated by spaces.
std::string run_huge(const registry& kernels, const std::string& request);

}  // namespace plumb
