// The worker's service `bench`; what it does is told in worker_bench.cpp, what crosses in bench_wire.hpp.
#pragma once

#include <string>

#include "reference/core/registry.hpp"

namespace plumb {

std::string serve_bench(const registry& kernels, const std::string& request);

}  // namespace plumb
