// The record as JSON. Each struct lists its fields once (record_fields.hpp); a writer and a reader walk that list, so the two
// cannot drift apart. The reader carries the path of the field it is in, to name it when it is
// broken.
#include "reference/core/record_fields.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

namespace plumb::record {

namespace {

using json = nlohmann::ordered_json;

// ---------------------------------------------------------------------------------------------- writing

template <class T>
json write(const T& value);

struct writer {
  json& object;

  template <class T>
  void operator()(const char* name, const T& member) {
    object[name] = write(member);
  }
  template <class T>
  void operator()(const char* name, const std::vector<T>& member) {
    if (member.empty()) return;
    json list = json::array();
    for (const T& value : member) list.push_back(write(value));
    object[name] = std::move(list);
  }
  template <class T>
  void operator()(const char* name, const std::optional<T>& member) {
    if (member) object[name] = write(*member);
  }
};

template <class T>
json write(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return enum_words<T>::words[static_cast<std::size_t>(value)];
  } else if constexpr (std::floating_point<T>) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    return value;
  } else if constexpr (std::is_arithmetic_v<T> || std::same_as<T, std::string>) {
    return value;
  } else {
    json object = json::object();
    visit(value, writer{object});
    return object;
  }
}

// ---------------------------------------------------------------------------------------------- the schema

/// `heat_map` of `record::heat_map`, out of the compiler's own spelling.
template <class T>
std::string_view type_name() {
  const std::string_view whole = __PRETTY_FUNCTION__;
  const std::size_t from = whole.find("T = ") + 4, end = whole.find_first_of(";]", from);
  const std::string_view name = whole.substr(from, end - from);
  return name.substr(name.rfind(':') + 1);
}

struct schema_builder {
  json& definitions;

  template <class T>
  json of() {
    if constexpr (std::is_enum_v<T>) return {{"enum", enum_words<T>::words}};
    if constexpr (std::same_as<T, std::string>) return {{"type", "string"}};
    if constexpr (std::same_as<T, bool>) return {{"type", "boolean"}};
    if constexpr (std::floating_point<T>) return {{"$ref", "#/$defs/number"}};
    if constexpr (std::is_unsigned_v<T>) return {{"type", "integer"}, {"minimum", 0}};
    if constexpr (std::integral<T>) return {{"type", "integer"}};
    if constexpr (std::is_class_v<T> && !std::same_as<T, std::string>) {
      const std::string name(type_name<T>());
      if (!definitions.contains(name)) {
        definitions[name] = nullptr;  // its place in the order
        json described = object<T>();
        definitions[name] = std::move(described);
      }
      return {{"$ref", "#/$defs/" + name}};
    }
  }
  template <class T>
  json object();
};

struct field_collector {
  schema_builder& builder;
  json& properties;
  json& required;

  template <class T>
  void operator()(const char* name, const T&) {
    properties[name] = builder.of<T>();
    required.push_back(name);
  }
  template <class T>
  void operator()(const char* name, const std::vector<T>&) {
    properties[name] = {{"type", "array"}, {"items", builder.of<T>()}};
  }
  template <class T>
  void operator()(const char* name, const std::optional<T>&) {
    properties[name] = builder.of<T>();
  }
};

template <class T>
json schema_builder::object() {
  json properties = json::object(), required = json::array();
  const T any{};
  visit(any, field_collector{*this, properties, required});
  return {{"type", "object"}, {"required", required}, {"properties", properties}};
}

// ---------------------------------------------------------------------------------------------- reading

/// What is wrong with a field, in words that follow its name: "is missing", "should be a number, but is a
/// list".
struct broken_field {
  std::string path;
  std::string complaint;
};

std::string kind_of(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "a list";
    case json::value_t::string:
      return "the text \"" + value.get<std::string>().substr(0, 40) + "\"";
    case json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    default:
      return "the number " + value.dump();
  }
}

[[noreturn]] void refuse(const std::string& path, const std::string& expected, const json& found) {
  throw broken_field{path, "should be " + expected + ", but is " + kind_of(found)};
}

void read(const json& value, std::string& target, const std::string& path) {
  if (!value.is_string()) refuse(path, "text", value);
  target = value.get<std::string>();
}

void read(const json& value, bool& target, const std::string& path) {
  if (!value.is_boolean()) refuse(path, "true or false", value);
  target = value.get<bool>();
}

void read(const json& value, double& target, const std::string& path) {
  if (value == "nan") {
    target = std::numeric_limits<double>::quiet_NaN();
  } else if (value == "inf" || value == "-inf") {
    target =
        value == "inf" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
  } else if (value.is_number()) {
    target = value.get<double>();
  } else {
    refuse(path, "a number, \"nan\", \"inf\" or \"-inf\"", value);
  }
}

template <std::integral T>
void read(const json& value, T& target, const std::string& path) {
  const bool in_range = value.is_number_unsigned()
                            ? std::in_range<T>(value.get<std::uint64_t>())
                            : value.is_number_integer() && std::in_range<T>(value.get<std::int64_t>());
  if (!in_range) refuse(path, std::is_unsigned_v<T> ? "a whole number ≥ 0" : "a whole number", value);
  target = value.get<T>();
}

template <class T>
requires std::is_enum_v<T>
void read(const json& value, T& target, const std::string& path) {
  constexpr auto& words = enum_words<T>::words;
  const auto at = value.is_string() ? std::ranges::find(words, value.get<std::string>()) : words.end();
  if (at == words.end()) {
    std::string expected;
    for (const std::string_view word : words) {
      expected += (expected.empty() ? "" : word == words.back() ? " or " : ", ") + std::string(word);
    }
    refuse(path, expected, value);
  }
  target = static_cast<T>(at - words.begin());
}

template <class T>
requires std::is_class_v<T>
void read(const json& value, T& target, const std::string& path);

struct reader {
  const json& object;
  const std::string& path;

  std::string path_of(const char* name) const { return path.empty() ? name : path + "." + name; }

  template <class T>
  void operator()(const char* name, T& member) {
    const auto at = object.find(name);
    if (at == object.end()) throw broken_field{path_of(name), "is missing"};
    read(*at, member, path_of(name));
  }
  template <class T>
  void operator()(const char* name, std::vector<T>& member) {
    const auto at = object.find(name);
    if (at == object.end()) return;
    if (!at->is_array()) refuse(path_of(name), "a list", *at);
    member.resize(at->size());
    for (std::size_t i = 0; i < member.size(); ++i) {
      read((*at)[i], member[i], path_of(name) + "[" + std::to_string(i) + "]");
    }
  }
  template <class T>
  void operator()(const char* name, std::optional<T>& member) {
    const auto at = object.find(name);
    if (at != object.end()) read(*at, member.emplace(), path_of(name));
  }
};

// Lists that belong together must have matching lengths, or the reports would read past an end.
void expect_length(const std::string& path, const char* name, std::size_t length, std::int64_t expected) {
  if (std::cmp_equal(length, expected)) return;
  throw broken_field{path + "." + name, "should have " + std::to_string(expected) + " entries, but has " +
                                            std::to_string(length)};
}

/// Rows × columns, or the product of a shape: refused when negative or too large to be in a record.
std::int64_t area(const std::string& path, std::initializer_list<std::int64_t> fixed,
                  const std::vector<std::int64_t>& extents = {}) {
  constexpr std::int64_t most = std::int64_t{1} << 40;
  std::int64_t product = 1;
  const auto times = [&](std::int64_t extent) {
    if (extent < 0 || (extent > 0 && product > most / extent)) {
      throw broken_field{path, "has an impossible extent " + std::to_string(extent)};
    }
    product *= extent;
  };
  for (const std::int64_t extent : fixed) times(extent);
  for (const std::int64_t extent : extents) times(extent);
  return product;
}

template <class T>
void check(const T&, const std::string&) {}

void check(const heat_tile& tile, const std::string& path) {
  const std::int64_t cells = area(path, {tile.rows, tile.cols});
  expect_length(path, "share", tile.share.size(), cells);
  expect_length(path, "got", tile.got.size(), cells);
  expect_length(path, "truth", tile.truth.size(), cells);
  expect_length(path, "ulps", tile.ulps.size(), cells);
  expect_length(path, "at", tile.at.size(), cells);
}

void check(const tensor_dump& tensor, const std::string& path) {
  expect_length(path, "values", tensor.values.size(), area(path + ".shape", {}, tensor.shape));
}

void check(const ulp_histogram& h, const std::string& path) {
  expect_length(path, "edges", h.edges.size(), std::ssize(h.counts) + 1);
  if (!h.naive_counts.empty()) {
    expect_length(path, "naive_counts", h.naive_counts.size(), std::ssize(h.counts));
  }
}

void check(const v_curve& curve, const std::string& path) {
  expect_length(path, "error", curve.error.size(), std::ssize(curve.step));
}

void check(const jacobian_image& image, const std::string& path) {
  const std::int64_t cells = area(path, {image.rows, image.cols});
  expect_length(path, "explicit_values", image.explicit_values.size(), cells);
  if (!image.numeric_values.empty()) {
    expect_length(path, "numeric_values", image.numeric_values.size(), cells);
  }
}

void check(const measurement& m, const std::string& path) {
  if (!m.rounds.empty()) expect_length(path, "rounds", m.rounds.size(), std::ssize(m.samples));
  if (!m.fastest.empty()) expect_length(path, "fastest", m.fastest.size(), std::ssize(m.samples));
}

template <class T>
requires std::is_class_v<T>
void read(const json& value, T& target, const std::string& path) {
  if (!value.is_object()) refuse(path, "an object", value);
  visit(target, reader{value, path});
  check(target, path);
}

/// A hint for text that stops in the middle, which is what an interrupted copy leaves behind.
std::string syntax_complaint(std::string_view text, std::size_t byte) {
  if (text.empty()) return "is empty";
  if (byte >= text.size()) {
    return "ends in the middle of the record, after " + std::to_string(text.size()) + " bytes";
  }
  return "is not JSON from byte " + std::to_string(byte) + " on";
}

}  // namespace

std::string_view name_of(verdict v) { return enum_words<verdict>::words[static_cast<std::size_t>(v)]; }
std::string_view name_of(comparison c) { return enum_words<comparison>::words[static_cast<std::size_t>(c)]; }

std::string to_json(const run& r) {
  // Kernel names and messages come from outside: bytes that are no UTF-8 become U+FFFD instead of an
  // exception.
  return write(r).dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string json_schema() {
  json definitions = json::object();
  definitions["number"] = {
      {"description", "JSON has no NaN and no infinity"},
      {"anyOf", json::array({{{"type", "number"}}, {{"enum", {"nan", "inf", "-inf"}}}})}};
  json whole = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                {"title", "Plumb record"},
                {"description", "What a run found out; docs/record.md explains the fields."}};
  whole.update(schema_builder{definitions}.object<run>());
  whole["properties"]["schema"]["minimum"] = 1;
  whole["properties"]["schema"]["maximum"] = schema_version;
  whole["$defs"] = std::move(definitions);
  return whole.dump(1) + "\n";
}

run from_json(std::string_view text, const std::string& origin) {
  json document;
  try {
    document = json::parse(text);
  } catch (const json::parse_error& error) {
    throw record_error(origin + " " + syntax_complaint(text, error.byte));
  } catch (const json::exception&) {
    throw record_error(origin + " holds a number that no double can hold");
  }
  try {
    const auto schema = document.is_object() ? document.find("schema") : document.end();
    if (!document.is_object() || schema == document.end()) {
      throw record_error(origin + " is not a Plumb record: it has no field schema");
    }
    int version = 0;
    read(*schema, version, "schema");
    if (version > schema_version || version < 1) {
      throw record_error(origin + " has record schema " + std::to_string(version) +
                         ", but this build reads up to " + std::to_string(schema_version) +
                         (version < 1 ? "" : "; use a newer plumb"));
    }
    run r;
    read(document, r, "");
    return r;
  } catch (const broken_field& field) {
    throw record_error(origin + ": field " + field.path + " " + field.complaint);
  }
}

void save(const run& r, const std::filesystem::path& path) { write_file(path, to_json(r)); }

run load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // Inserting an empty stream sets failbit, so an empty file is told from an unreadable one by the input's
  // badbit.
  if (file) text << file.rdbuf();
  if (!file.is_open() || file.bad() || std::filesystem::is_directory(path)) {
    throw record_error("cannot read the record " + path.string() + ": no such file, or not readable");
  }
  return from_json(text.str(), path.string());
}

}  // namespace plumb::record
