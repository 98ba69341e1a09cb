// The problem space of a layer that says nothing about its problems but its declarations: every index letter of its
// inputs is a coordinate (the same letter in two inputs is one coordinate), so are the number of free axes, the
// presence of each optional input, and every number of every attribute. What the shape rule refuses is drawn again.
// Layers whose shapes hang together in other ways have a space of their own (the last column of layers.list).
#pragma once

#include "properties/generators/problem_space.hpp"

namespace plumb {

std::unique_ptr<problem_space> declared_space(std::string layer);

}  // namespace plumb
