// Drawn problems as a RapidCheck generator: inside rc::check a property takes problems of a layer and gets
// its counterexample shrunk coordinate by coordinate.
#pragma once

#include <rapidcheck.h>

#include <string>

namespace plumb {

/// Canonical texts of problems of the layer. Throws text_error if no family has the layer.
rc::Gen<std::string> arbitrary_problem(const std::string& layer);

}  // namespace plumb
