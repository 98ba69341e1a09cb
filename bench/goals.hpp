// The goals of speed: which share of the baseline's speed a kernel is to reach over a whole problem set. They are data,
// `goals.txt` beside the problem sets, so that no code knows a layer by name.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/core/problem_set.hpp"
#include "reference/core/record.hpp"

namespace plumb::bench {

struct goal_line {
  std::string kernel;  ///< glob
  std::string layout;  ///< `nchw`, `nhwc` or `*`
  record::speed_goal goal;
};

/// Lines of `GLOB LAYOUT MEAN WORST`, `#` begins a comment. Throws problem_set_error, naming `origin` and the line.
std::vector<goal_line> parse_goals(std::string_view text, const std::string& origin);

/// Those of the `goals.txt` that lies in a directory above the problem sets; none: no goals.
std::vector<goal_line> load_goals(
    const std::vector<std::filesystem::path>& problem_directories = plumb::problem_directories());

/// The first goal that fits.
std::optional<record::speed_goal> goal_for(const std::vector<goal_line>& goals, const std::string& kernel,
                                           const std::string& layout);

}  // namespace plumb::bench
