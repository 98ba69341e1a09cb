// All laws of all families: the common ones, which follow from a layer's declarations alone, and those that
// layers.list joins to single layers.
#pragma once

#include <vector>

#include "verify/law.hpp"

namespace plumb {

const std::vector<law>& laws();

}  // namespace plumb
