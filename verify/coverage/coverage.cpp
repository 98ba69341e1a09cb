#include "verify/coverage/coverage.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>

namespace plumb {
namespace {

/// What a command prints; empty if it fails.
std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string text;
  std::array<char, 4096> part{};
  while (pipe != nullptr) {
    const std::size_t got = std::fread(part.data(), 1, part.size(), pipe.get());
    if (got == 0) break;
    text.append(part.data(), got);
  }
  return text;
}

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// Where the calls of the marking function return to: one place an edge.
std::set<std::uint64_t> marks_of(const std::string& library) {
  std::istringstream lines(output_of("objdump -d --no-show-raw-insn " + quoted(library) + " 2>/dev/null"));
  std::set<std::uint64_t> marks;
  bool called = false;
  for (std::string line; std::getline(lines, line);) {
    char* end = nullptr;
    const std::uint64_t at = std::strtoull(line.c_str(), &end, 16);
    if (end == line.c_str() || *end != ':') continue;
    if (called) marks.insert(at);
    called =
        line.find("call") != std::string::npos && line.find("<__sanitizer_cov_trace_pc") != std::string::npos;
  }
  return marks;
}

/// `file.cpp:42` of each place, `in function` without debug information.
std::vector<std::string> lines_of(const std::string& library, const std::set<std::uint64_t>& places) {
  constexpr std::size_t at_once = 4000;  // a command has room for so many
  std::vector<std::string> list;
  for (auto next = places.begin(); next != places.end();) {
    std::string command = "addr2line -s -C -f -e " + quoted(library);
    for (std::size_t n = 0; n < at_once && next != places.end(); ++n, ++next)
      command += fmt::format(" {:x}", *next - 1);  // within the call itself
    std::istringstream answer(output_of(command + " 2>/dev/null"));
    for (std::string function, line; std::getline(answer, function) && std::getline(answer, line);) {
      line = line.substr(0, line.find(" (discriminator"));
      list.push_back(line.starts_with("??") ? "in " + function : line);
    }
  }
  return list;
}

record::plugin_coverage summary_of(const std::string& library, const std::set<std::uint64_t>& ran) {
  record::plugin_coverage c;
  c.library = library;
  const std::set<std::uint64_t> marks = marks_of(library);
  if (marks.empty()) c.reason = "objdump finds no call of __sanitizer_cov_trace_pc in it";
  std::set<std::uint64_t> missed;
  for (const std::uint64_t at : marks) (ran.contains(at) ? c.ran : (missed.insert(at), c.missed)) += 1;
  std::set<std::string> somewhere;  // lines of which an edge ran
  std::set<std::uint64_t> seen;
  for (const std::uint64_t at : marks)
    if (ran.contains(at)) seen.insert(at);
  for (const std::string& line : lines_of(library, seen)) somewhere.insert(line);
  std::set<std::string> told;
  for (const std::string& line : lines_of(library, missed))
    if (told.insert(line).second) c.never.push_back(somewhere.contains(line) ? line + " (in part)" : line);
  return c;
}

}  // namespace

void coverage_log::take(sandbox& box) {
  std::istringstream lines(box.call("coverage", "", std::chrono::seconds(10)));
  for (std::string library, places; std::getline(lines, library) && std::getline(lines, places);) {
    std::istringstream words(places);
    words >> std::hex;
    std::set<std::uint64_t>& ran = ran_[library];
    for (std::uint64_t at = 0; words >> at;) ran.insert(at);
  }
}

std::vector<record::plugin_coverage> coverage_log::summary() const {
  std::vector<record::plugin_coverage> list;
  for (const auto& [library, ran] : ran_) list.push_back(summary_of(library, ran));
  return list;
}

}  // namespace plumb
