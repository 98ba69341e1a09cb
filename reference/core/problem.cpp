#include "reference/core/problem.hpp"

#include <charconv>

namespace plumb {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool is_word(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

const std::string& value_of(const problem& p, std::string_view key) {
  if (const problem::field* f = p.find(key)) return f->value;
  throw std::out_of_range("problem `" + p.print() + "` has no field `" + std::string(key) + "`");
}

}  // namespace

text_error::text_error(std::string token, std::size_t column, const std::string& message)
    : std::invalid_argument("`" + token + "`" +
                            (column != 0 ? " (column " + std::to_string(column) + ")" : std::string()) +
                            ": " + message),
      token_(std::move(token)),
      column_(column) {}

problem problem::parse(std::string_view text) {
  problem result;
  std::size_t at = 0;
  bool first = true;
  while (true) {
    while (at < text.size() && is_space(text[at])) ++at;
    if (at == text.size()) break;
    const std::size_t start = at;
    while (at < text.size() && !is_space(text[at])) ++at;
    const std::string token(text.substr(start, at - start));
    const std::size_t column = start + 1;
    if (first) {
      if (!is_word(token))
        throw text_error(token, column, "expected the name of a layer, as in `conv2d x=1x3x32x32 …`");
      result.layer_ = token;
      first = false;
      continue;
    }
    const std::size_t equals = token.find('=');
    if (equals == std::string::npos || equals + 1 == token.size())
      throw text_error(token, column, "expected `name=value`, as in `pad=1` or `x=1x3x32x32`");
    field f{token.substr(0, equals), token.substr(equals + 1), column};
    if (!is_word(f.key))
      throw text_error(token, column, "expected a name of letters, digits and `_` before `=`");
    if (const field* earlier = result.find(f.key))
      throw text_error(
          token, column,
          "`" + f.key + "` is given twice (first in column " + std::to_string(earlier->column) + ")");
    result.fields_.push_back(std::move(f));
  }
  if (first) throw text_error("", 1, "expected a problem, as in `conv2d x=1x3x32x32 weight=10x3x5x5 pad=2`");
  return result;
}

std::string problem::print() const {
  std::string text = layer_;
  for (const field& f : fields_) text += " " + f.key + "=" + f.value;
  return text;
}

const problem::field* problem::find(std::string_view key) const {
  for (const field& f : fields_)
    if (f.key == key) return &f;
  return nullptr;
}

void problem::set(std::string_view key, std::string value) {
  for (field& f : fields_)
    if (f.key == key) {
      f.value = std::move(value);
      return;
    }
  fields_.push_back({std::string(key), std::move(value), 0});
}

void problem::erase(std::string_view key) {
  std::erase_if(fields_, [&](const field& f) { return f.key == key; });
}

shape problem::shape_of(std::string_view key) const {
  if (const auto s = parse_shape(value_of(*this, key))) return *s;
  throw std::out_of_range("field `" + std::string(key) + "` is not a shape");
}

std::vector<index_t> problem::integers(std::string_view key) const {
  if (auto list = parse_integers(value_of(*this, key))) return *std::move(list);
  throw std::out_of_range("field `" + std::string(key) + "` is not a list of integers");
}

index_t problem::integer(std::string_view key) const { return integers(key).at(0); }

bool problem::flag(std::string_view key) const { return value_of(*this, key) == "true"; }

double problem::number(std::string_view key) const { return std::stod(value_of(*this, key)); }

const std::string& problem::text(std::string_view key) const { return value_of(*this, key); }

std::string problem::first_unknown(std::initializer_list<std::string_view> known) const {
  for (const field& f : fields_)
    if (std::ranges::find(known, std::string_view(f.key)) == known.end()) return f.key;
  return {};
}

std::optional<std::vector<index_t>> parse_integers(std::string_view text) {
  const char separator = text.find(',') != std::string_view::npos ? ',' : 'x';
  std::vector<index_t> list;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  while (true) {
    index_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc()) return std::nullopt;
    list.push_back(value);
    if (next == end) return list;
    if (*next != separator) return std::nullopt;
    at = next + 1;
  }
}

std::optional<shape> parse_shape(std::string_view text) {
  if (text.find(',') != std::string_view::npos) return std::nullopt;
  const auto list = parse_integers(text);
  if (!list || list->size() > shape::max_rank) return std::nullopt;
  index_t elements = 1;
  for (const index_t extent : *list)
    if (extent < 0 || __builtin_mul_overflow(elements, std::max<index_t>(extent, 1), &elements))
      return std::nullopt;
  return shape(std::span<const index_t>(*list));
}

std::string list_of(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return text;
}

}  // namespace plumb
