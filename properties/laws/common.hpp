// The laws that every layer has from its declarations alone.
#pragma once

#include <vector>

#include "verify/law.hpp"

namespace plumb {

std::vector<law> common_laws();

}  // namespace plumb
