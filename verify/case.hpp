// One verification case, and its replay line:
//     KERNEL | PROBLEM | dtype layout regime seed alignment threads poison
// as in
//     conv2d.forward/direct@avx3 | conv2d x=1x3x5x7 weight=2x3x3x3 pad=1 | f32 nchw zero_mean seed=17
//     align=end threads=1 poison=nan
// A shrunk counterexample carries its data instead of a regime and a seed: `given x@4=1 weight@0=-2` lists
// every non-zero element by row-major number; everything else is zero. Pasting the line into `plumb replay`
// repeats it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "reference/core/kernel.hpp"
#include "reference/core/problem.hpp"
#include "verify/sandbox/arena.hpp"

namespace plumb {

/// Where a buffer lies between its guard pages: begins right after the front one, or ends right at the rear
/// one.
enum class alignment : std::uint8_t { start, end };

constexpr std::string_view name_of(alignment a) { return a == alignment::start ? "start" : "end"; }
constexpr std::string_view name_of(poison p) { return p == poison::nan ? "nan" : "large"; }

struct datum {
  std::string tensor;
  index_t at = 0;  ///< row-major number
  double value = 0;
  bool operator==(const datum&) const = default;
};

struct test_case {
  static constexpr std::string_view given = "given";
  static constexpr std::string_view law_regime =
      "law:";  ///< and the name of the law, which draws its own inputs
  static constexpr std::string_view endurance = "endurance";  ///< thousands of calls in a row (runner.hpp)
  static constexpr std::string_view huge = "huge";            ///< more than 2^31 elements (huge/huge.hpp)

  std::string kernel;
  std::string problem;  ///< canonical text
  dtype type = dtype::f32;
  plumb::layout layout = layout::nchw;
  std::string regime;  ///< a regime's name, `given`, `law:NAME`, `endurance` or `huge`
  std::uint64_t seed = 0;
  plumb::alignment alignment = alignment::end;
  int threads = 1;
  plumb::poison poison = poison::nan;
  std::vector<datum> data;  ///< with `given`: all elements that are not zero, real and index tensors alike

  bool operator==(const test_case&) const = default;
};

std::string print(const test_case& c);
/// Throws text_error that names the part it could not read. parse_case(print(c)) == c.
test_case parse_case(std::string_view line);

}  // namespace plumb
