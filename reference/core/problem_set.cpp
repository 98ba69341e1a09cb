#include "reference/core/problem_set.hpp"

#include <fstream>
#include <optional>
#include <sstream>

namespace plumb {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view times = "×";

std::string_view trim(std::string_view text) {
  constexpr std::string_view spaces = " \t\r\n";
  const auto first = text.find_first_not_of(spaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

/// Takes `×3` off the end of a label; without one the count is 1.
int split_count(std::string_view& label) {
  const auto at = label.rfind(times);
  if (at == std::string_view::npos) return 1;
  const auto digits = label.substr(at + times.size());
  const auto number = parse_integers(digits);
  if (!number || number->size() != 1 || (*number)[0] < 1 || (*number)[0] > 1'000'000) return 1;
  label = trim(label.substr(0, at));
  return static_cast<int>((*number)[0]);
}

std::optional<set_problem> parse_line(std::string_view line, const std::string& origin) {
  const auto hash = line.find('#');
  const std::string_view text = trim(line.substr(0, hash));
  if (text.empty()) return std::nullopt;
  set_problem p;
  p.problem = problem::parse(text);
  p.origin = origin;
  if (hash != std::string_view::npos) {
    std::string_view label = trim(line.substr(hash + 1));
    p.count = split_count(label);
    p.label = label;
  }
  return p;
}

problem_set load_file(const fs::path& path, const std::string& shown) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file && fs::is_regular_file(path)) text << file.rdbuf();
  if (!file.is_open() || !fs::is_regular_file(path))
    throw problem_set_error("cannot read the problem file `" + shown + "`: no such file, or not readable");
  problem_set set = parse_problem_set(text.str(), shown);
  set.name = path.stem().string();
  return set;
}

}  // namespace

std::vector<fs::path> problem_directories() {
  std::vector<fs::path> found;
  std::error_code error;
  fs::path at = fs::read_symlink("/proc/self/exe", error);
  for (int level = 0; level < 5 && at.has_relative_path(); ++level) {
    at = at.parent_path();
    const fs::path candidate = at / "share" / "plumb" / "problems";
    if (fs::is_directory(candidate, error)) found.push_back(candidate);
  }
  return found;
}

std::vector<std::string> problem_set_names(const std::vector<fs::path>& directories) {
  std::vector<std::string> names;
  for (const fs::path& directory : directories) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error))
      if (entry.path().extension() == ".txt") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

problem_set load_problems(const std::string& what, const std::vector<fs::path>& directories) {
  if (what.find_first_of(" =") != std::string::npos) {
    problem_set single;
    single.problems.push_back({problem::parse(what), {}, 1, {}});
    return single;
  }
  if (what.find_first_of("/.") != std::string::npos) return load_file(what, what);
  for (const fs::path& directory : directories)
    if (const fs::path path = directory / (what + ".txt"); fs::exists(path))
      return load_file(path, path.filename().string());
  const std::vector<std::string> names = problem_set_names(directories);
  throw problem_set_error(
      "`" + what + "` is no problem set; expected " +
      (names.empty() ? std::string() : list_of(names) + "; or ") +
      "a problem such as `conv2d x=1x3x32x32 weight=10x3x5x5 pad=2`; or a file (with `/` or `.`)");
}

std::vector<problem_set> load_problem_sets(const std::string& what,
                                           const std::vector<fs::path>& directories) {
  if (what.find_first_of(" =/.") != std::string::npos) return {load_problems(what, directories)};
  const std::vector<std::string> known = problem_set_names(directories);
  std::vector<problem_set> sets;
  for (std::size_t at = 0; at <= what.size();) {
    const std::size_t end = std::min(what.find(',', at), what.size());
    const std::string name = what.substr(at, end - at);
    std::vector<std::string> versions;
    for (int version = 1; version < 10; ++version)
      if (std::ranges::find(known, name + "_v" + std::to_string(version)) != known.end())
        versions.push_back(name + "_v" + std::to_string(version));
    if (versions.empty() || std::ranges::find(known, name) != known.end()) versions = {name};
    for (const std::string& each : versions) sets.push_back(load_problems(each, directories));
    at = end + 1;
  }
  return sets;
}

problem_set parse_problem_set(std::string_view text, const std::string& origin) {
  problem_set set;
  int number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string where = origin + ":" + std::to_string(++number);
    try {
      if (auto p = parse_line(text.substr(at, end - at), where)) set.problems.push_back(*std::move(p));
    } catch (const text_error& error) {
      throw problem_set_error(where + ": " + error.what());
    }
    at = end + 1;
  }
  if (set.problems.empty())
    throw problem_set_error("`" + origin +
                            "` contains no problem; expected one a line, `#` starts a comment");
  return set;
}

}  // namespace plumb
