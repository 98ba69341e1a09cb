// A template filled with a view. The template language is Mustache (mustache(5)); every value is escaped by
// the function of the output format (but for Markdown's fences, which know no escapes and get text made safe
// before).
#pragma once

#include <functional>
#include <string>

#include "reports/text.hpp"

namespace plumb::reports {

using escape_function = std::function<std::string(const std::string&)>;

/// Fills the asset `name`. In HTML, `{{> part_x}}` includes the asset `x.html`. For each list `xs`
/// of the view the template also sees `any_xs`.
std::string render_template(const std::string& name, const json& view, const escape_function& escape);

}  // namespace plumb::reports
