// Problem text: a layer with concrete shapes and attributes on one line,
//     conv2d x=16x64x56x56 weight=64x64x3x3 bias=64 pad=1
// This file knows the grammar and nothing about layers: a first word, then `key=value` fields. The layer
// catalogue checks keys and values, fills in defaults and computes output shapes; a kernel receives the
// *resolved* problem, in which every input and output shape and every attribute is present, and reads it
// through the accessors below.
#pragma once

#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "reference/core/shape.hpp"

namespace plumb {

/// Text that does not follow the grammar. `what()` is one sentence that names the token, its column (1-based)
/// and what was expected.
class text_error : public std::invalid_argument {
 public:
  text_error(std::string token, std::size_t column, const std::string& message);
  const std::string& token() const { return token_; }
  std::size_t column() const { return column_; }

 private:
  std::string token_;
  std::size_t column_;
};

class problem {
 public:
  struct field {
    std::string key;
    std::string value;
    std::size_t column =
        0;  ///< where the field starts in the text it was parsed from, 1-based; 0 if made by code
    bool operator==(const field& other) const { return key == other.key && value == other.value; }
  };

  problem() = default;
  explicit problem(std::string layer) : layer_(std::move(layer)) {}

  /// Throws text_error.
  static problem parse(std::string_view text);
  std::string print() const;

  const std::string& layer() const { return layer_; }
  const std::vector<field>& fields() const { return fields_; }
  const field* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Adds the field, or replaces its value.
  void set(std::string_view key, std::string value);
  void erase(std::string_view key);

  // Accessors for kernels. A missing key is a programming error and throws std::out_of_range naming it.
  shape shape_of(std::string_view key) const;  ///< `16x64x56x56`; a missing optional tensor: has()
  std::vector<index_t> integers(std::string_view key) const;  ///< `2x1` or `1,2,3,4`
  index_t integer(std::string_view key) const;
  bool flag(std::string_view key) const;
  double number(std::string_view key) const;
  const std::string& text(std::string_view key) const;

  /// The first field whose key is not in `known`, or an empty string: what a kernel must decline by name.
  std::string first_unknown(std::initializer_list<std::string_view> known) const;

  bool operator==(const problem&) const = default;

 private:
  std::string layer_;
  std::vector<field> fields_;
};

/// Integers separated by `x` or by `,` (not mixed), or nothing if the text is not such a list.
std::optional<std::vector<index_t>> parse_integers(std::string_view text);
/// A shape: integers ≥ 0 separated by `x`, or nothing.
std::optional<shape> parse_shape(std::string_view text);
/// `a, b or c`
std::string list_of(const std::vector<std::string>& words);

}  // namespace plumb
