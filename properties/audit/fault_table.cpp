#include "properties/audit/fault_table.hpp"

#include <sstream>
#include <stdexcept>
#include <string_view>

namespace plumb {

extern const char* const faults_list;
extern const char* const usual_list;

namespace {

std::string trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
  return first == std::string_view::npos ? std::string() : std::string(text.substr(first, last - first + 1));
}

/// The fields of every line that is neither empty nor a remark.
std::vector<std::vector<std::string>> lines_of(const char* text, std::size_t fields) {
  std::vector<std::vector<std::string>> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<std::string> list;
    std::istringstream rest(line);
    for (std::string field; std::getline(rest, field, '|');) list.push_back(trimmed(field));
    if (list.size() != fields)
      throw std::invalid_argument("`" + line + "`: expected " + std::to_string(fields) +
                                  " fields with | between");
    lines.push_back(std::move(list));
  }
  return lines;
}

planted_fault read_fault(const std::vector<std::string>& fields) {
  planted_fault f{fields[0], {}, {}, {}, {}, fields[1], fields[2], fields[3]};
  const std::size_t dot = f.kernel.find('.'), slash = f.kernel.find('/'), at = f.kernel.find('@');
  if (dot == std::string::npos || slash == std::string::npos || at == std::string::npos || dot > slash ||
      slash > at)
    throw std::invalid_argument("`" + f.kernel + "`: expected layer.pass/fault@path");
  f.layer = f.kernel.substr(0, dot);
  f.pass = f.kernel.substr(dot + 1, slash - dot - 1);
  f.fault = f.kernel.substr(slash + 1, at - slash - 1);
  f.path = f.kernel.substr(at + 1);
  return f;
}

}  // namespace

const std::vector<planted_fault>& fault_table() {
  static const std::vector<planted_fault> table = [] {
    std::vector<planted_fault> list;
    for (const auto& fields : lines_of(faults_list, 4)) list.push_back(read_fault(fields));
    return list;
  }();
  return table;
}

const std::vector<usual_problems>& usual_table() {
  static const std::vector<usual_problems> table = [] {
    std::vector<usual_problems> list;
    for (const auto& fields : lines_of(usual_list, 2))
      list.push_back({fields[0].substr(0, fields[0].find(' ')), fields[0], fields[1]});
    return list;
  }();
  return table;
}

}  // namespace plumb
