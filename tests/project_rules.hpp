// Rules about the sources themselves, checked as text: which room may include which, and which files must
// have a row in a list. The rules are those of CONTRIBUTING.md; a compiler would accept every violation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace plumb::project {

/// A violation: `file` is relative to the root of the project, `line` is 1-based (0: the file as a whole).
struct finding {
  std::string file;
  int line = 0;
  std::string what;
};

std::string print(const std::vector<finding>& findings);

/// Every source file of the project, relative to `root`: the build directory and hidden ones are left out.
std::vector<std::filesystem::path> sources(const std::filesystem::path& root);

/// Includes that go against the arrows between the rooms.
std::vector<finding> forbidden_includes(const std::filesystem::path& root);

/// Files under optimized/{cpu,peers,cuda} against the rows of optimized/kernels.list.
std::vector<finding> kernel_inventory(const std::filesystem::path& root);

/// Layers defined in reference/layers/*.hpp against the rows of reference/layers/layers.list.
std::vector<finding> layer_inventory(const std::filesystem::path& root);

}  // namespace plumb::project
