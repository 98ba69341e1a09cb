// The files a report is made of: templates, style, scripts, the chart library. They are part of the
// executable, so that a report needs nothing beside it. Defined in a source that the build writes
// (CMakeLists.txt).
#pragma once

#include <string>
#include <string_view>

namespace plumb::reports {

/// `report.html`, `plotly.js`, …; throws std::out_of_range for a name that is no asset.
std::string_view asset(const std::string& name);

}  // namespace plumb::reports
