// A Markdown summary for a pull request or a CI job: verdict first, failures with their replay lines, then
// tables.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "reference/core/record.hpp"

namespace plumb::reports {

/// At most one MiB (what GitHub takes for a job summary): long tables are cut, and say so.
std::string markdown(std::span<const record::run> runs);
/// Throws report_error.
void render_markdown(std::span<const record::run> runs, const std::filesystem::path& path);
void render_markdown(const record::run& run, const std::filesystem::path& path);

}  // namespace plumb::reports
