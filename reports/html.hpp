// One self-contained HTML file: verdict first, then failures with their counterexamples drawn, the matrix of
// verdicts, gradients, speed, evidence kernel by kernel, provenance. It loads nothing from the network.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "reference/core/record.hpp"
#include "reports/view.hpp"

namespace plumb::reports {

/// A view as a page with the charts it names.
std::string page(const json& view, const chart_book& charts);
std::string html(std::span<const record::run> runs);
/// Throws report_error when the file cannot be written; then it is as it was before.
void render_html(std::span<const record::run> runs, const std::filesystem::path& path);
void render_html(const record::run& run, const std::filesystem::path& path);

}  // namespace plumb::reports
