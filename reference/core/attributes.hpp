// Attribute values: the kinds of value an attribute can have, how each is read from problem text and printed
// back. A layer lists its attributes once, in a function `attributes(self, visit)`; parsing, printing,
// defaults, help and the generators of properties/ are all visitors of that list.
#pragma once

#include <array>
#include <charconv>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "reference/core/problem.hpp"

namespace plumb {

/// One value for each spatial axis: `2x1`, or `2` for all axes.
template <int Rank>
using per_axis = std::array<index_t, static_cast<std::size_t>(Rank)>;

template <int Rank>
constexpr per_axis<Rank> every_axis(index_t value) {
  per_axis<Rank> list{};
  list.fill(value);
  return list;
}

/// One value for each side of each spatial axis: `top,bottom,left,right`; `2x1` an axis both sides; `1`
/// everywhere.
template <int Rank>
struct per_side {
  per_axis<Rank> begin{};
  per_axis<Rank> end{};
  bool operator==(const per_side&) const = default;
};

/// A real attribute is the decimal in the text, kept exactly as numerator / 10^k, so that every scalar type
/// sees the same number: 0.1 is 1/10 and not the double nearest to it.
struct decimal {
  index_t numerator = 0;
  index_t denominator = 1;
  template <class T>
  T as() const {
    return T(numerator) / T(denominator);
  }
  bool operator==(const decimal&) const = default;
};

/// As many integers as the problem gives, separated by `x`: the axes of a permutation, the sizes of pieces.
using integer_list = std::vector<index_t>;

/// Names of an enumeration's values in order; specialised beside the enumeration.
template <class E>
struct choices;

/// The values an integer attribute may take.
struct range {
  index_t least = std::numeric_limits<index_t>::min();
  index_t most = std::numeric_limits<index_t>::max();
};
/// Counts of cells stay so far below 2^63 that sums and products of two of them cannot overflow.
constexpr index_t most_cells = 2147483647;
constexpr range at_least(index_t least) { return {least, most_cells}; }

namespace attribute {

// read(text, value, allowed, rank): an empty string on success, else what was expected.

inline bool inside(index_t v, range allowed) { return allowed.least <= v && v <= allowed.most; }

/// `, at least 1` or `, at most 2147483647`: the limit that matters for the values given.
inline std::string limit(range allowed, const std::optional<std::vector<index_t>>& given) {
  if (given && std::ranges::any_of(*given, [&](index_t v) { return v > allowed.most; }))
    return ", at most " + std::to_string(allowed.most);
  if (allowed.least == std::numeric_limits<index_t>::min()) return {};
  return ", at least " + std::to_string(allowed.least);
}

inline std::string read(std::string_view text, index_t& value, range allowed) {
  const auto list = parse_integers(text);
  if (!list || list->size() != 1 || !inside((*list)[0], allowed))
    return "expected an integer" + limit(allowed, list);
  value = (*list)[0];
  return {};
}

inline std::string read(std::string_view text, bool& value, range) {
  if (text != "true" && text != "false") return "expected true or false";
  value = text == "true";
  return {};
}

template <std::size_t Rank>
std::string read(std::string_view text, std::array<index_t, Rank>& value, range allowed) {
  const auto list = parse_integers(text);
  if (list && text.find(',') == std::string_view::npos && (list->size() == 1 || list->size() == Rank) &&
      std::ranges::all_of(*list, [&](index_t v) { return inside(v, allowed); })) {
    for (std::size_t axis = 0; axis < Rank; ++axis) value[axis] = (*list)[list->size() == 1 ? 0 : axis];
    return {};
  }
  if constexpr (Rank == 1) return "expected an integer" + limit(allowed, list);
  return "expected one integer, or " + std::to_string(Rank) + " separated by `x`" + limit(allowed, list);
}

inline std::string read(std::string_view text, integer_list& value, range allowed) {
  const auto list = parse_integers(text);
  if (!list || text.find(',') != std::string_view::npos ||
      !std::ranges::all_of(*list, [&](index_t v) { return inside(v, allowed); }))
    return "expected integers separated by `x`" + limit(allowed, list);
  value = *list;
  return {};
}

template <int Rank>
std::string read(std::string_view text, per_side<Rank>& value, range allowed) {
  constexpr std::size_t axes = Rank;
  const auto list = parse_integers(text);
  const bool sides = text.find(',') != std::string_view::npos;
  if (list && std::ranges::all_of(*list, [&](index_t v) { return inside(v, allowed); })) {
    if (sides && list->size() == 2 * axes) {
      for (std::size_t axis = 0; axis < axes; ++axis) {
        value.begin[axis] = (*list)[2 * axis];
        value.end[axis] = (*list)[2 * axis + 1];
      }
      return {};
    }
    if (!sides && (list->size() == 1 || list->size() == axes)) {
      for (std::size_t axis = 0; axis < axes; ++axis)
        value.begin[axis] = value.end[axis] = (*list)[list->size() == 1 ? 0 : axis];
      return {};
    }
  }
  return "expected one integer, one an axis separated by `x`, or one a side (" + std::to_string(2 * Rank) +
         ") separated by `,`" + limit(allowed, list);
}

inline std::string read(std::string_view text, decimal& value, range allowed) {
  const bool limited = allowed.least > std::numeric_limits<index_t>::min();
  const std::string expected =
      "expected a decimal number such as 0.1" +
      (limited ? ", from " + std::to_string(allowed.least) + " to " + std::to_string(allowed.most)
               : std::string());
  std::string digits;
  index_t denominator = 1, exponent = 0;
  bool point = false;
  if (const std::size_t e = text.find('e'); e != std::string_view::npos) {
    const char* const stop = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data() + e + 1, stop, exponent);
    if (error != std::errc() || end != stop || exponent < -17 || exponent > 17) return expected;
    text = text.substr(0, e);
  }
  for (const char c : text) {
    if (c == '.' && !point) {
      point = true;
    } else if ((c >= '0' && c <= '9') || (c == '-' && digits.empty() && !point)) {
      digits += c;
      if (point) denominator *= 10;
    } else {
      return expected;
    }
    if (digits.size() > 17) return "expected a decimal number of at most 17 digits";
  }
  index_t numerator = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), numerator);
  if (error != std::errc() || end != digits.data() + digits.size()) return expected;
  for (; exponent > 0; --exponent)
    if (denominator > 1)
      denominator /= 10;
    else if (__builtin_mul_overflow(numerator, 10, &numerator))
      return "expected a decimal number of at most 17 digits";
  for (; exponent < 0; ++exponent)
    if (__builtin_mul_overflow(denominator, 10, &denominator))
      return "expected a decimal number of at most 17 digits";
  while (denominator > 1 && numerator % 10 == 0) {
    numerator /= 10;
    denominator /= 10;
  }
  // Floor and ceiling of the number, so that no product can overflow.
  const index_t whole = numerator / denominator, rest = numerator % denominator;
  if (whole - (rest < 0 ? 1 : 0) < allowed.least || whole + (rest > 0 ? 1 : 0) > allowed.most)
    return expected;
  value = {numerator, denominator};
  return {};
}

template <std::size_t Rank>
std::string read(std::string_view text, std::array<decimal, Rank>& value, range allowed) {
  std::vector<decimal> list;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find('x', start), text.size());
    decimal each;
    if (const std::string expected = read(text.substr(start, end - start), each, allowed); !expected.empty())
      return expected + ", or " + std::to_string(Rank) + " separated by `x`";
    list.push_back(each);
    start = end + 1;
  }
  if (list.size() != 1 && list.size() != Rank)
    return "expected one decimal number, or " + std::to_string(Rank) + " separated by `x`";
  for (std::size_t axis = 0; axis < Rank; ++axis) value[axis] = list[list.size() == 1 ? 0 : axis];
  return {};
}

template <class E>
requires std::is_enum_v<E> std::string read(std::string_view text, E& value, range) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < choices<E>::names.size(); ++i) {
    if (text == choices<E>::names[i]) {
      value = static_cast<E>(i);
      return {};
    }
    names.emplace_back(choices<E>::names[i]);
  }
  return "expected " + list_of(names);
}

// print(value, full): the shortest text that reads back, or with `full` every axis and side spelled out.

inline std::string print(index_t value, bool) { return std::to_string(value); }
inline std::string print(bool value, bool) { return value ? "true" : "false"; }

inline std::string join(std::span<const index_t> list, char separator) {
  std::string text;
  for (const index_t v : list)
    text += (text.empty() ? std::string() : std::string(1, separator)) + std::to_string(v);
  return text;
}

inline std::string print(const integer_list& value, bool) { return join(value, 'x'); }

template <std::size_t Rank>
std::string print(const std::array<index_t, Rank>& value, bool full) {
  const bool equal = std::ranges::all_of(value, [&](index_t v) { return v == value[0]; });
  return equal && !full ? std::to_string(value[0]) : join(value, 'x');
}

template <int Rank>
std::string print(const per_side<Rank>& value, bool full) {
  if (!full && value.begin == value.end) return print(value.begin, false);
  std::vector<index_t> list;
  for (std::size_t axis = 0; axis < Rank; ++axis) {
    list.push_back(value.begin[axis]);
    list.push_back(value.end[axis]);
  }
  return join(list, ',');
}

inline std::string print(const decimal& value, bool) {
  std::string digits = std::to_string(value.numerator < 0 ? -value.numerator : value.numerator);
  std::size_t places = 0;
  for (index_t d = value.denominator; d > 1; d /= 10) ++places;
  while (digits.size() <= places) digits.insert(digits.begin(), '0');
  if (places != 0) digits.insert(digits.size() - places, ".");
  return (value.numerator < 0 ? "-" : "") + digits;
}

template <std::size_t Rank>
std::string print(const std::array<decimal, Rank>& value, bool full) {
  const bool equal = std::ranges::all_of(value, [&](const decimal& v) { return v == value[0]; });
  std::string text;
  for (const decimal& v : value) {
    if (equal && !full && !text.empty()) break;
    text += (text.empty() ? "" : "x") + print(v, full);
  }
  return text;
}

template <class E>
requires std::is_enum_v<E> std::string print(E value, bool) {
  return std::string(choices<E>::names[static_cast<std::size_t>(value)]);
}

}  // namespace attribute
}  // namespace plumb
