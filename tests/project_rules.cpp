// The rules about the sources. A room is a folder; the longest prefix in the table below that fits a path is
// its room, and the room of an included file must be among those its includer may use.
#include "tests/project_rules.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string_view>

namespace fs = std::filesystem;

namespace plumb::project {
namespace {

struct room {
  std::string_view folder;             ///< or one file
  std::vector<std::string_view> uses;  ///< besides itself; "*" is everything
};

// core ← scalars ← layers ← graph ← verify ← properties, bench; optimized → core; faults →
// core and the words of host execution; reports → record; main
// and cli → all.
const std::vector<room>& rooms() {
  static const std::vector<room> table = {
      {"reference/core", {}},
      {"reference/scalars", {"reference/core"}},
      {"reference/layers", {"reference/core", "reference/scalars"}},
      {"reference/graph", {"reference/core", "reference/scalars", "reference/layers"}},
      {"verify", {"reference"}},
      {"properties", {"reference", "verify"}},
      {"properties/faults",
       {"reference/core", "optimized/cuda/host_launch.hpp", "optimized/cuda/host_async.hpp"}},
      {"bench", {"reference", "verify"}},
      {"optimized", {"reference/core"}},
      {"optimized/tools", {"reference/core", "optimized", "verify/sandbox/plugin_loader.hpp"}},
      {"reports", {"reference/core/record.hpp"}},
      {"examples", {"reference/core/include"}},
      {"reference/core/include", {}},
      {"tests", {"*"}},
      {"cli", {"*"}},
      {"main.cpp", {"*"}},
  };
  return table;
}

bool lies_in(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

bool is_test(std::string_view path) {
  return path.starts_with("tests/") || path.find("/tests/") != path.npos;
}

const room* room_of(std::string_view path) {
  const room* best = nullptr;
  for (const room& candidate : rooms())
    if (lies_in(path, candidate.folder) && (!best || candidate.folder.size() > best->folder.size()))
      best = &candidate;
  return best;
}

bool may_use(const room& from, std::string_view path) {
  if (lies_in(path, from.folder)) return true;
  return std::ranges::any_of(from.uses,
                             [&](std::string_view used) { return used == "*" || lies_in(path, used); });
}

struct numbered_line {
  int number;
  std::string text;
};

std::vector<numbered_line> lines_of(const fs::path& file) {
  std::vector<numbered_line> lines;
  std::ifstream in(file);
  for (std::string text; std::getline(in, text);) lines.push_back({static_cast<int>(lines.size()) + 1, text});
  return lines;
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What `#include` finds: a neighbour of the includer, a path from the root, or an installed header.
std::optional<std::string> resolve(const fs::path& root, const fs::path& includer, const std::string& name) {
  for (const fs::path& base : {includer.parent_path(), fs::path(), fs::path("reference/core/include")}) {
    const fs::path candidate = (base / name).lexically_normal();
    if (fs::is_regular_file(root / candidate)) return candidate.generic_string();
  }
  return std::nullopt;
}

/// The rows of a list file, split into words; `#` starts a comment.
std::map<int, std::vector<std::string>> rows_of(const fs::path& list) {
  std::map<int, std::vector<std::string>> rows;
  for (const auto& [number, text] : lines_of(list)) {
    std::istringstream words(text.substr(0, text.find('#')));
    std::vector<std::string> row{std::istream_iterator<std::string>(words), {}};
    if (!row.empty()) rows.emplace(number, std::move(row));
  }
  return rows;
}

}  // namespace

std::string print(const std::vector<finding>& findings) {
  std::string text;
  for (const finding& f : findings)
    text += f.file + (f.line ? ":" + std::to_string(f.line) : "") + ": " + f.what + "\n";
  return text;
}

std::vector<fs::path> sources(const fs::path& root) {
  static const std::set<std::string> extensions = {".hpp", ".cpp", ".h", ".cu", ".cuh"};
  std::vector<fs::path> found;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator(); ++it) {
    const fs::path path = it->path().lexically_relative(root);
    const std::string name = path.filename().string();
    if (it->is_directory() && (name.starts_with('.') || path == "build")) it.disable_recursion_pending();
    if (it->is_regular_file() && extensions.contains(path.extension().string())) found.push_back(path);
  }
  std::ranges::sort(found);
  return found;
}

std::vector<finding> forbidden_includes(const fs::path& root) {
  static const std::regex include(R"re(^\s*#\s*include\s*[<"]([^>"]+)[>"])re");
  std::vector<finding> findings;
  for (const fs::path& file : sources(root)) {
    const std::string from = file.generic_string();
    if (is_test(from)) continue;
    const room* here = room_of(from);
    if (!here) {
      findings.push_back({from, 0, "lies in no room of the house"});
      continue;
    }
    for (const auto& [number, text] : lines_of(root / file)) {
      std::smatch match;
      if (!std::regex_search(text, match, include)) continue;
      const auto target = resolve(root, file, match[1].str());
      if (!target) continue;
      if (is_test(*target))
        findings.push_back(
            {from, number, "forbidden arrow " + std::string(here->folder) + " → a test: " + *target});
      else if (!may_use(*here, *target))
        findings.push_back({from, number, "forbidden arrow " + std::string(here->folder) + " → " + *target});
    }
  }
  return findings;
}

std::vector<finding> kernel_inventory(const fs::path& root) {
  const std::string list = "optimized/kernels.list";
  std::vector<finding> findings;
  std::set<std::string> listed;
  for (const auto& [number, row] : rows_of(root / list)) {
    const std::string file = "optimized/" + row[0];
    if (row.size() != 2)
      findings.push_back({list, number, "expected a file and the name of its registration function"});
    else if (!fs::is_regular_file(root / file))
      findings.push_back({list, number, "no such file: " + file});
    else if (row[1] == "-" && text_of(root / file).find("(registry&") != std::string::npos)
      findings.push_back({list, number, file + " has a registration function, but its row names none"});
    else if (row[1] != "-" && text_of(root / file).find("void " + row[1] + "(") == std::string::npos)
      findings.push_back({list, number, file + " does not define void " + row[1] + "(registry&)"});
    if (!listed.insert(file).second) findings.push_back({list, number, file + " has a row already"});
  }
  for (const fs::path& file : sources(root)) {
    const std::string name = file.generic_string();
    const bool source = file.extension() == ".cpp" || file.extension() == ".cu";
    const bool kernel =
        lies_in(name, "optimized/cpu") || lies_in(name, "optimized/peers") || lies_in(name, "optimized/cuda");
    if (source && kernel && !is_test(name) && !listed.contains(name))
      findings.push_back({name, 0, "has no row in " + list + ", so nothing registers its kernels"});
  }
  return findings;
}

std::vector<finding> layer_inventory(const fs::path& root) {
  static const std::regex structure(R"(\bstruct\s+(\w+))"), definition(R"((^|\s)signature\s+describe\(\))");
  const std::string list = "reference/layers/layers.list", folder = "reference/layers/";
  std::vector<finding> findings;
  std::set<std::string> names, types;
  for (const auto& [number, row] : rows_of(root / list)) {
    if (row.size() < 4) {
      findings.push_back(
          {list, number, "expected the layer's name, its header, its C++ type and the file of its laws"});
      continue;
    }
    if (!names.insert(row[0]).second) findings.push_back({list, number, row[0] + " has a row already"});
    const std::string type = row[2].substr(0, row[2].find('<'));
    types.insert(type);
    if (!fs::is_regular_file(root / (folder + row[1])))
      findings.push_back({list, number, "no such file: " + folder + row[1]});
    else if (!std::regex_search(text_of(root / (folder + row[1])),
                                std::regex("\\b(struct|using) " + type + "\\b")))
      findings.push_back({list, number, folder + row[1] + " does not define " + type});
  }
  // What several layers are made of is itself none: another type of the folder derives from it or is an alias of it.
  std::string all;
  for (const fs::path& file : sources(root))
    if (lies_in(file.generic_string(), "reference/layers") && file.extension() == ".hpp")
      all += text_of(root / file);
  const auto is_base = [&](const std::string& type) {
    return std::regex_search(all, std::regex(R"(\b(struct \w+( final)? : |using \w+ = ))" + type + "\\b"));
  };
  for (const fs::path& file : sources(root)) {
    const std::string name = file.generic_string();
    if (!lies_in(name, "reference/layers") || file.extension() != ".hpp" || is_test(name)) continue;
    std::string current;
    for (const auto& [number, text] : lines_of(root / file)) {
      std::smatch match;
      if (std::regex_search(text, match, structure)) current = match[1].str();
      if (std::regex_search(text, definition) && !types.contains(current) && !is_base(current))
        findings.push_back({name, number, "the layer " + current + " has no row in " + list});
    }
  }
  return findings;
}

}  // namespace plumb::project
