#include "properties/laws/laws.hpp"

#include <algorithm>
#include <map>

#include "properties/generators/problem_space.hpp"
#include "properties/laws/common.hpp"

namespace plumb {
namespace {

/// The law, for the layers of its family only.
law for_layers(law l, const std::vector<std::string>& layers) {
  l.layers = layers;
  l.applies = [layers, applies = std::move(l.applies)](const layer& about, const pass_spec& pass) {
    return std::ranges::find(layers, about.name()) != layers.end() && applies(about, pass);
  };
  return l;
}

std::vector<law> collect() {
  std::vector<law> all = common_laws();
  std::map<std::string, std::vector<std::string>> layers_of;
  for (const family_row& row : families()) layers_of[row.family].push_back(row.layer);
  for (const auto& [family, layers] : layers_of) {
    const auto row = std::ranges::find(families(), family, &family_row::family);
    for (law& l : row->laws()) all.push_back(for_layers(std::move(l), layers));
  }
  return all;
}

}  // namespace

const std::vector<law>& laws() {
  static const std::vector<law> all = collect();
  return all;
}

}  // namespace plumb
