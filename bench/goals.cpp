#include "bench/goals.hpp"

#include <fstream>
#include <sstream>

#include "reference/core/registry.hpp"

namespace plumb::bench {

std::vector<goal_line> parse_goals(std::string_view text, const std::string& origin) {
  std::vector<goal_line> goals;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    goal_line g;
    if (!(words >> g.kernel)) continue;
    std::string more;
    const bool read = static_cast<bool>(words >> g.layout >> g.goal.mean >> g.goal.worst) && !(words >> more);
    const bool known = g.layout == "nchw" || g.layout == "nhwc" || g.layout == "*";
    if (!read || !known || !(g.goal.mean > 0) || !(g.goal.worst > 0))
      throw problem_set_error(origin + ":" + std::to_string(number) + ": `" + line +
                              "` is no goal; expected GLOB nchw|nhwc|* MEAN WORST, two positive numbers");
    goals.push_back(std::move(g));
  }
  return goals;
}

std::vector<goal_line> load_goals(const std::vector<std::filesystem::path>& problem_directories) {
  for (const std::filesystem::path& directory : problem_directories) {
    const std::filesystem::path path = directory.parent_path() / "goals.txt";
    std::ifstream file(path, std::ios::binary);
    if (!file) continue;
    std::ostringstream text;
    text << file.rdbuf();
    return parse_goals(text.str(), path.filename().string());
  }
  return {};
}

std::optional<record::speed_goal> goal_for(const std::vector<goal_line>& goals, const std::string& kernel,
                                           const std::string& layout) {
  for (const goal_line& g : goals)
    if (glob_match(g.kernel, kernel) && (g.layout == "*" || g.layout == layout)) return g.goal;
  return std::nullopt;
}

}  // namespace plumb::bench
