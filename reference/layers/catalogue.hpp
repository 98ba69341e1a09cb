// The catalogue: every layer by name, from the rows of layers.list. The one place where a layer's name is
// looked up.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "reference/layers/layer.hpp"

namespace plumb {

struct layer_row {
  std::string_view name;
  std::unique_ptr<layer> (*bind)(const problem&);
  layer_card (*card)();
};

const std::vector<layer_row>& layer_catalogue();

/// Binds the problem to its layer. Throws text_error (unknown layer, attribute or value) or shape_error.
std::unique_ptr<layer> bind(const problem& text);
std::unique_ptr<layer> bind(std::string_view text);

/// What an unknown word may have meant: the layers whose names are near it, and where all are listed.
std::string nearest_layers(std::string_view word);

}  // namespace plumb
