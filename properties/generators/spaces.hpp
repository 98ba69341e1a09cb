// The problem spaces that families.list names. `rank`: number of spatial axes, where the layer has such.
#pragma once

#include "properties/generators/problem_space.hpp"

namespace plumb {

std::unique_ptr<problem_space> elementwise_space(std::string layer, int rank);
std::unique_ptr<problem_space> conv_space(std::string layer, int rank);
std::unique_ptr<problem_space> max_pool_space(std::string layer, int rank);
std::unique_ptr<problem_space> cross_entropy_space(std::string layer, int rank);
std::unique_ptr<problem_space> linear_space(std::string layer, int rank);

}  // namespace plumb
