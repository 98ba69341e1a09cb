// From one source compiled for every instruction set to its rows: a kernel keeps its functions in one table, which each
// set fills with its own, and registers whatever PLUMB_TARGET_TABLES finds. To be included after Highway's
// foreach_target.h, where HWY_ONCE holds.
#pragma once

#include <hwy/targets.h>

#include <string>
#include <vector>

#include "reference/core/registry.hpp"

namespace plumb {

/// The functions of one instruction set. Addresses only: they may be read on a processor that cannot run them.
template <class Table>
struct target_table {
  const char* name;  ///< `avx3`, …: Highway's target names in lower case
  bool runs_here;
  const Table* functions;
};
template <class Table>
using target_tables = std::vector<target_table<Table>>;

/// `layer.pass/algorithm@name`, without its functions.
inline kernel target_row(const std::string& layer, const std::string& pass, const std::string& algorithm,
                         const char* name, bool runs_here) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/" + algorithm + "@" + name;
  if (!runs_here) k.unavailable = std::string("this processor lacks ") + name;
  return k;
}

/// Declines by name what is not in `known`.
inline support knows(const kernel_problem& kp, std::initializer_list<std::string_view> known) {
  const std::string unknown = kp.problem.first_unknown(known);
  return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
}

}  // namespace plumb

// A macro, because the names of the sets' namespaces are known to the preprocessor only.
#if HWY_TARGETS & HWY_AVX3
#define PLUMB_TABLE_AVX3(TABLE) {"avx3", (hwy::SupportedTargets() & HWY_AVX3) != 0, &N_AVX3::TABLE},
#else
#define PLUMB_TABLE_AVX3(TABLE)
#endif
#if HWY_TARGETS & HWY_AVX2
#define PLUMB_TABLE_AVX2(TABLE) {"avx2", (hwy::SupportedTargets() & HWY_AVX2) != 0, &N_AVX2::TABLE},
#else
#define PLUMB_TABLE_AVX2(TABLE)
#endif
#if HWY_TARGETS & HWY_SSE4
#define PLUMB_TABLE_SSE4(TABLE) {"sse4", (hwy::SupportedTargets() & HWY_SSE4) != 0, &N_SSE4::TABLE},
#else
#define PLUMB_TABLE_SSE4(TABLE)
#endif
#if HWY_TARGETS & HWY_SCALAR
#define PLUMB_TABLE_SCALAR(TABLE) {"scalar", (hwy::SupportedTargets() & HWY_SCALAR) != 0, &N_SCALAR::TABLE},
#else
#define PLUMB_TABLE_SCALAR(TABLE)
#endif
/// The TABLE of every instruction set compiled in, best first: a target_tables.
#define PLUMB_TARGET_TABLES(TABLE) \
  { PLUMB_TABLE_AVX3(TABLE) PLUMB_TABLE_AVX2(TABLE) PLUMB_TABLE_SSE4(TABLE) PLUMB_TABLE_SCALAR(TABLE) }
