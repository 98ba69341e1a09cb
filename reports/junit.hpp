// JUnit XML for CI dashboards: a suite per kernel, a test case per law and one for the verdict; a suite for
// the gradient checks and one for the benchmark's refusals. The format is what Jenkins' and GitLab's readers
// accept.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "reference/core/record.hpp"

namespace plumb::reports {

/// fail and mistrusted become <failure>, crashed and timeout <error>, skipped and inconclusive <skipped>. A
/// peer's failure is a finding, so <skipped>; a planted bug passes when it was caught.
std::string junit(std::span<const record::run> runs);
/// Throws report_error.
void render_junit(std::span<const record::run> runs, const std::filesystem::path& path);
void render_junit(const record::run& run, const std::filesystem::path& path);

}  // namespace plumb::reports
