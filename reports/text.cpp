// Formatting and escaping. UTF-8 is decoded after the table of well-formed sequences (Unicode 15, table 3-7);
// the characters XML 1.0 forbids even as references are those `clean` removes (XML 1.0, 2.2).
#include "reports/text.hpp"

#include <fmt/format.h>

#include <cmath>

namespace plumb::reports {

std::string number(double value, int digits) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  if (value == 0) return "0";
  const double magnitude = std::abs(value);
  if (magnitude < 1e-3 || magnitude >= 1e5) return fmt::format("{:.{}e}", value, std::max(digits - 2, 0));
  return fmt::format("{:.{}g}", value, magnitude >= 1000 ? 6 : digits);
}

std::string cell_number(double value) {
  if (std::isfinite(value) && value == std::round(value) && std::abs(value) < 1e6) {
    return std::signbit(value) && value == 0 ? "-0" : fmt::format("{:.0f}", value);
  }
  return number(value, 4);
}

std::string count(std::int64_t value) {
  std::string digits = fmt::format("{}", value);
  const std::ptrdiff_t first = value < 0 ? 1 : 0;
  for (std::ptrdiff_t at = std::ssize(digits) - 3; at > first; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return number(seconds);
  if (seconds >= 120)
    return fmt::format("{:.0f} min {:.0f} s", std::floor(seconds / 60), std::fmod(seconds, 60));
  if (seconds >= 1) return fmt::format("{:.3g} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.3g} ms", seconds * 1e3);
  if (seconds >= 1e-6) return fmt::format("{:.3g} µs", seconds * 1e6);
  return seconds == 0 ? "0 s" : fmt::format("{:.3g} ns", seconds * 1e9);
}

std::string share(const std::optional<double>& value) { return value ? number(*value) : "–"; }

std::string plural(std::int64_t n, std::string_view word, std::string_view words) {
  if (n == 1) return fmt::format("1 {}", word);
  return words.empty() ? fmt::format("{} {}s", count(n), word) : fmt::format("{} {}", count(n), words);
}

std::string extents(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t extent : shape) text += (text.empty() ? "" : "×") + std::to_string(extent);
  return text.empty() ? "scalar" : text;
}

std::string coordinates(const std::vector<record::coordinate>& at) {
  std::string text;
  for (const auto& [axis, index] : at) {
    text += (text.empty() ? "" : " ") + clean(axis, 20) + "=" + std::to_string(index);
  }
  return text;
}

std::string coordinates(std::int64_t flat, const std::vector<std::int64_t>& shape,
                        const std::vector<std::string>& axes) {
  std::vector<record::coordinate> at(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    const std::int64_t extent = std::max<std::int64_t>(shape[axis], 1);
    at[axis] = {axis < axes.size() ? axes[axis] : std::to_string(axis), flat % extent};
    flat /= extent;
  }
  return coordinates(at);
}

namespace {

/// Length of the well-formed UTF-8 sequence at the front of `text`, or 0.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto between = [](unsigned value, unsigned low, unsigned high) {
    return low <= value && value <= high;
  };
  const auto tail = [&](std::size_t i) { return between(byte(i), 0x80, 0xbf); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (between(lead, 0xc2, 0xdf)) return tail(1) ? 2 : 0;
  if (between(lead, 0xe0, 0xef)) {
    const unsigned low = lead == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = lead == 0xed ? 0x9f : 0xbf;
    return between(byte(1), low, high) && tail(2) ? 3 : 0;
  }
  if (between(lead, 0xf0, 0xf4)) {
    const unsigned low = lead == 0xf0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xf4 ? 0x8f : 0xbf;
    return between(byte(1), low, high) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

/// U+FFFE and U+FFFF, the two characters above the controls that XML forbids; and the controls that reorder
/// text (U+202A…U+202E, U+2066…U+2069), with which a name could read as another one.
bool is_forbidden(std::string_view character) {
  if (character.size() == 1) {
    const char c = character[0];
    return (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
  }
  const auto in = [&](std::string_view low, std::string_view high) {
    return character.size() == 3 && low <= character && character <= high;
  };
  return in("\xef\xbf\xbe", "\xef\xbf\xbf") || in("\xe2\x80\xaa", "\xe2\x80\xae") ||
         in("\xe2\x81\xa6", "\xe2\x81\xa9");
}

template <class Replace>
std::string replace_each(const std::string& text, Replace replace) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const std::string_view with = replace(c);
    if (with.empty()) {
      result += c;
    } else {
      result += with;
    }
  }
  return result;
}

}  // namespace

std::string clean(std::string_view text, std::size_t most) {
  std::string result;
  while (!text.empty()) {
    if (result.size() >= most) return result + "…";
    const std::size_t length = utf8_length(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(length, 1));
    if (length == 0 || is_forbidden(character)) {
      result += "\xef\xbf\xbd";
    } else {
      result += character;
    }
    text.remove_prefix(character.size());
  }
  return result;
}

namespace {

std::string quoted(const std::string& word) {
  std::string text;
  for (const char c : clean(word, 4000)) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + text + "'";
}

}  // namespace

std::string replay_command(const std::string& line, const std::string& origin) {
  if (line.empty()) return {};
  const bool plugin = origin.ends_with(".so");
  return "./plumb replay " + quoted(line) + (plugin ? " --plugin " + quoted(origin) : "");
}

std::string escape_xml(const std::string& text) {
  return replace_each(text, [](char c) -> std::string_view {
    switch (c) {
      case '&':
        return "&amp;";
      case '<':
        return "&lt;";
      case '>':
        return "&gt;";
      case '"':
        return "&quot;";
      case '\'':
        return "&apos;";
      case '\n':
        return "&#10;";
      case '\t':
        return "&#9;";
      default:
        return {};
    }
  });
}

std::string escape_markdown(const std::string& text) {
  return replace_each(text, [](char c) -> std::string_view {
    switch (c) {
      case '&':
        return "&amp;";
      case '<':
        return "&lt;";
      case '>':
        return "&gt;";
      case '|':
        return "\\|";
      case '*':
        return "\\*";
      case '_':
        return "\\_";
      case '`':
        return "\\`";
      case '[':
        return "\\[";
      case ']':
        return "\\]";
      case '\\':
        return "\\\\";
      case '#':
        return "\\#";
      case '\n':
      case '\t':
        return " ";
      default:
        return {};
    }
  });
}

std::string fenced(const std::string& text) {
  return replace_each(text, [](char c) -> std::string_view {
    switch (c) {
      case '`':
        return "'";
      case '\n':
      case '\t':
        return " ";
      default:
        return {};
    }
  });
}

std::string json_for_script(const json& value) {
  const std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return replace_each(text, [](char c) -> std::string_view {
    switch (c) {
      case '<':
        return "\\u003c";
      case '>':
        return "\\u003e";
      case '&':
        return "\\u0026";
      default:
        return {};
    }
  });
}

json json_number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

json json_numbers(const std::vector<double>& values, int digits) {
  json list = json::array();
  for (const double value : values)
    list.push_back(json_number(
        digits > 0 && std::isfinite(value) ? std::stod(fmt::format("{:.{}g}", value, digits)) : value));
  return list;
}

}  // namespace plumb::reports
