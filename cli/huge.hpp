// plumb verify --huge: problems of more than 2^31 elements, beside the generated ones. Regime `huge`.
#pragma once

#include "cli/judging.hpp"

namespace plumb::cli {

/// Puts the problems of the set `huge` to every selected kernel of their layers and adds the cases to the results.
void add_huge_cases(sandbox& box, const selection& s, progress_line& line, record::verify_section& section);

}  // namespace plumb::cli
