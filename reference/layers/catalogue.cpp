#include "reference/layers/catalogue.hpp"

namespace plumb {

std::unique_ptr<layer> bind(const problem& text) {
  std::vector<std::string> names;
  for (const layer_row& row : layer_catalogue()) {
    if (row.name == text.layer()) return row.bind(text);
    names.emplace_back(row.name);
  }
  throw text_error(text.layer(), 1, "no such layer; expected " + list_of(names));
}

std::unique_ptr<layer> bind(std::string_view text) { return bind(problem::parse(text)); }

const pass_spec* layer::find_pass(std::string_view pass) const {
  for (const pass_spec& p : signature_.passes)
    if (p.name == pass) return &p;
  return nullptr;
}

const tensor_spec& layer::spec(std::string_view tensor) const {
  const auto search = [&](std::string_view name) -> const tensor_spec* {
    for (const auto* list : {&signature_.inputs, &signature_.outputs})
      for (const tensor_spec& s : *list)
        if (s.name == name) return &s;
    return nullptr;
  };
  if (const tensor_spec* s = search(tensor)) return *s;
  if (tensor.starts_with('d'))
    if (const tensor_spec* s = search(tensor.substr(1))) return *s;
  throw std::out_of_range("`" + name() + "` has no tensor named `" + std::string(tensor) + "`");
}

}  // namespace plumb
