// Problem sets: files of problem text, one problem a line, `#` starts a comment. The comment behind a problem
// is its label, and `×3` at its end says how often the network contains it:
//     conv2d x=1x64x56x56 weight=64x64x3x3 pad=1  # layer1.conv2 ×3
// `--problems` takes the name of a shipped set, one problem as text, or a file.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "reference/core/problem.hpp"

namespace plumb {

/// No such set or file, or a bad line in one: one sentence that names it (exit code 2).
class problem_set_error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

struct set_problem {
  plumb::problem problem;
  std::string label;  ///< `layer1.conv2`; may be empty
  int count = 1;      ///< how often the network contains it
  std::string
      origin;  ///< `resnet50.txt:5`, for a message about this line; empty for text from the command line
};

struct problem_set {
  std::string name;  ///< `resnet50`; the file's stem for a file; empty for a single problem
  std::vector<set_problem> problems;
};

/// Where shipped sets lie: `share/plumb/problems` beside the running program or above it, so that a build
/// tree and an installed one look alike.
std::vector<std::filesystem::path> problem_directories();

/// Names of the shipped sets, sorted.
std::vector<std::string> problem_set_names(
    const std::vector<std::filesystem::path>& directories = problem_directories());

/// `what` with a space or `=` is a problem, with `/` or `.` a file, else the name of a shipped set.
/// Throws problem_set_error, or text_error for a single problem. Layers are not looked up here.
problem_set load_problems(const std::string& what,
                          const std::vector<std::filesystem::path>& directories = problem_directories());

/// The same for a list `resnet50,vgg16`. A name that is no set itself stands for its versions: `mobilenet` for
/// mobilenet_v1 and mobilenet_v2. Throws what load_problems throws.
std::vector<problem_set> load_problem_sets(
    const std::string& what, const std::vector<std::filesystem::path>& directories = problem_directories());

/// The lines of one file. Throws problem_set_error, naming `origin` and the line.
problem_set parse_problem_set(std::string_view text, const std::string& origin);

}  // namespace plumb
