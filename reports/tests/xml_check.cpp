// See xml_check.hpp; the grammar follows XML 1.0, reduced to what the writer may use.
#include "reports/tests/xml_check.hpp"

#include <regex>
#include <stdexcept>
#include <vector>

#include "reports/text.hpp"

namespace plumb::reports::testing {

namespace {

void check_text(const std::string& text) {
  static const std::regex reference("&(lt|gt|amp|quot|apos|#[0-9]+);");
  const std::string rest = std::regex_replace(text, reference, "");
  if (rest.find_first_of("<&") != std::string::npos) throw std::runtime_error("a bare < or & in: " + rest);
}

void read(const std::string& text, xml_counts& counts) {
  if (clean(text, text.size() + 1) != text) throw std::runtime_error("characters that XML forbids");
  static const std::regex tag(R"re(^<(/?)([a-z]+)((?: [a-z]+="[^"<]*")*)(/?)>)re");
  std::vector<std::string> open;
  std::size_t at = text.starts_with("<?xml") ? text.find("?>") + 2 : 0;
  bool root_seen = false;
  while (at < text.size()) {
    const std::size_t next = std::min(text.find('<', at), text.size());
    const std::string between = text.substr(at, next - at);
    check_text(between);
    if (open.empty() && between.find_first_not_of(" \n") != std::string::npos)
      throw std::runtime_error("text outside");
    at = next;
    if (at == text.size()) break;
    std::smatch match;
    const std::string rest = text.substr(at, text.find('>', at) - at + 1);
    if (!std::regex_search(rest, match, tag)) throw std::runtime_error("no tag: " + rest);
    check_text(match[3]);
    const std::string name = match[2];
    if (match[1] == "/") {
      if (open.empty() || open.back() != name) throw std::runtime_error("unexpected </" + name + ">");
      open.pop_back();
    } else {
      if (open.empty() && root_seen) throw std::runtime_error("a second root");
      root_seen = true;
      ++counts.elements[name];
      if (match[4] != "/") open.push_back(name);
    }
    at += rest.size();
  }
  if (!open.empty()) throw std::runtime_error("<" + open.back() + "> is not closed");
  if (!root_seen) throw std::runtime_error("no element");
}

}  // namespace

xml_counts read_xml(const std::string& text) {
  xml_counts counts;
  try {
    read(text, counts);
  } catch (const std::runtime_error& error) {
    counts.error = error.what();
  }
  return counts;
}

}  // namespace plumb::reports::testing
