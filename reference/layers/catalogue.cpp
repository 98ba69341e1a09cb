#include "reference/layers/catalogue.hpp"

#include <algorithm>

namespace plumb {

std::unique_ptr<layer> bind(const problem& text) {
  for (const layer_row& row : layer_catalogue())
    if (row.name == text.layer()) return row.bind(text);
  throw text_error(text.layer(), 1, "no such layer; expected " + nearest_layers(text.layer()));
}

namespace {

/// Least number of letters to insert, delete or replace (Levenshtein 1966).
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_layers(std::string_view word) {
  std::vector<std::pair<std::size_t, std::string>> ranked;
  for (const layer_row& row : layer_catalogue()) {
    const bool part = !word.empty() && row.name.find(word) != std::string_view::npos;
    ranked.emplace_back(part ? 1 : edits(word, row.name), row.name);
  }
  std::ranges::stable_sort(ranked, {}, &std::pair<std::size_t, std::string>::first);
  std::vector<std::string> names;
  for (const auto& [distance, name] : ranked)
    if (names.size() < 3 && distance <= std::max<std::size_t>(2, word.size() / 3))
      names.push_back("`" + name + "`");
  const std::string all = "one of the " + std::to_string(ranked.size()) + " that `plumb list layers` shows";
  return names.empty() ? all : list_of(names) + ", or " + all;
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
