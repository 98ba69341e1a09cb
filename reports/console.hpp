// A record as lines for the terminal: failures first with their replay lines, then one fixed-width line a
// kernel, layer or timing that `grep` and `sort` can work on, then the totals. Colour only when asked for.
#pragma once

#include <string>

#include "reference/core/record.hpp"

namespace plumb {

struct console_style {
  bool colour = false;
};

std::string render_console(const record::run& r, console_style style);

}  // namespace plumb
