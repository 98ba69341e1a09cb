#include "verify/case.hpp"

#include <fmt/format.h>

#include <charconv>

namespace plumb {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n' || text.front() == '\t'))
    text.remove_prefix(1);
  while (!text.empty() &&
         (text.back() == ' ' || text.back() == '\n' || text.back() == '\r' || text.back() == '\t'))
    text.remove_suffix(1);
  return text;
}

template <class Number>
bool read_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

/// One of the named values of an enumeration, by its printed name.
template <class E>
bool read_choice(std::string_view text, std::initializer_list<E> values, E& chosen) {
  for (const E v : values)
    if (text == name_of(v)) {
      chosen = v;
      return true;
    }
  return false;
}

datum read_datum(const std::string& word, std::size_t column) {
  datum d;
  const std::size_t at = word.find('@');
  const std::size_t equals = word.find('=');
  if (at == std::string::npos || equals == std::string::npos || equals < at ||
      !read_number(std::string_view(word).substr(at + 1, equals - at - 1), d.at) ||
      !read_number(std::string_view(word).substr(equals + 1), d.value))
    throw text_error(word, column, "expected TENSOR@ELEMENT=VALUE, as in `x@4=1`");
  d.tensor = word.substr(0, at);
  return d;
}

/// The third part of the line, word by word.
class conditions {
 public:
  explicit conditions(test_case& c) : case_(c) {}

  void read(const std::string& word, std::size_t column) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      read_bare(word, column);
    } else if (word.find('@') < equals) {
      case_.data.push_back(read_datum(word, column));
    } else {
      read_setting(word, column, word.substr(0, equals), word.substr(equals + 1));
    }
  }

 private:
  void read_bare(const std::string& word, std::size_t column) {
    if (const auto type = parse_dtype(word))
      case_.type = *type;
    else if (!read_choice(word, {layout::nchw, layout::nhwc}, case_.layout)) {
      if (!case_.regime.empty())
        throw text_error(
            word, column,
            "expected a dtype, a layout or `name=value`; the regime is already `" + case_.regime + "`");
      case_.regime = word;
    }
  }
  void read_setting(const std::string& word, std::size_t column, const std::string& key,
                    const std::string& value) {
    const bool ok = key == "seed"      ? read_number(value, case_.seed)
                    : key == "threads" ? read_number(value, case_.threads) && case_.threads >= 1
                    : key == "align" ? read_choice(value, {alignment::start, alignment::end}, case_.alignment)
                    : key == "poison" ? read_choice(value, {poison::nan, poison::large}, case_.poison)
                                      : false;
    if (!ok)
      throw text_error(word, column,
                       "expected seed=N, align=start|end, threads=N (at least 1), poison=nan|large or x@4=1");
  }
  test_case& case_;
};

}  // namespace

std::string print(const test_case& c) {
  std::string line =
      fmt::format("{} | {} | {} {} {}", c.kernel, c.problem, name_of(c.type), name_of(c.layout), c.regime);
  if (c.regime == test_case::given)
    for (const datum& d : c.data) line += fmt::format(" {}@{}={}", d.tensor, d.at, d.value);
  else
    line += fmt::format(" seed={}", c.seed);
  return line +
         fmt::format(" align={} threads={} poison={}", name_of(c.alignment), c.threads, name_of(c.poison));
}

test_case parse_case(std::string_view line) {
  const std::size_t first = line.find('|');
  const std::size_t second = first == std::string_view::npos ? first : line.find('|', first + 1);
  if (second == std::string_view::npos)
    throw text_error(std::string(trim(line)), 1,
                     "expected a replay line KERNEL | PROBLEM | dtype layout regime seed=N align=end "
                     "threads=1 poison=nan");
  test_case c;
  c.kernel = trim(line.substr(0, first));
  c.problem = trim(line.substr(first + 1, second - first - 1));
  conditions rest(c);
  std::size_t at = second + 1;
  while (at < line.size()) {
    while (at < line.size() && std::string_view(" \t\r\n").find(line[at]) != std::string_view::npos) ++at;
    const std::size_t start = at;
    while (at < line.size() && std::string_view(" \t\r\n").find(line[at]) == std::string_view::npos) ++at;
    if (at > start) rest.read(std::string(line.substr(start, at - start)), start + 1);
  }
  if (c.regime.empty())
    throw text_error(std::string(trim(line.substr(second + 1))), second + 2,
                     "expected a regime, such as zero_mean");
  return c;
}

}  // namespace plumb
