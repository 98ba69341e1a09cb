// Regressions: counterexamples that were found once and are replayed first ever after. One text file a pass
// (conv2d.forward.txt), one replay line a line; `#` starts a comment.
#pragma once

#include <filesystem>
#include <vector>

#include "verify/case.hpp"

namespace plumb {

/// All replay lines of the .txt files in a folder, file by file in the order of their names; none if there
/// is no such folder. Throws text_error that names file and line.
std::vector<test_case> load_regressions(const std::filesystem::path& folder);

/// Appends the case to the file of its pass, unless it is there already. Throws std::runtime_error that
/// names the file if it cannot be written.
void save_regression(const std::filesystem::path& folder, const test_case& c);

}  // namespace plumb
