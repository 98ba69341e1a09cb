#include "properties/regressions.hpp"

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace plumb {

namespace fs = std::filesystem;

std::vector<test_case> load_regressions(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".txt") files.push_back(entry.path());
  std::ranges::sort(files);
  std::vector<test_case> cases;
  for (const fs::path& file : files) {
    std::ifstream in(file);
    std::size_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string::npos || line[line.find_first_not_of(" \t")] == '#')
        continue;
      try {
        cases.push_back(parse_case(line));
      } catch (const text_error& e) {
        throw text_error(e.token(), e.column(),
                         file.filename().string() + " line " + std::to_string(number) + ": no replay line");
      }
    }
  }
  return cases;
}

void save_regression(const fs::path& folder, const test_case& c) {
  const auto known = load_regressions(folder);
  if (std::ranges::find(known, c) != known.end()) return;
  fs::create_directories(folder);
  const fs::path file = folder / (c.kernel.substr(0, c.kernel.find('/')) + ".txt");
  std::ofstream out(file, std::ios::app);
  out << print(c) << "\n";
  if (!out.flush()) throw std::runtime_error("cannot write " + file.string());
}

}  // namespace plumb
