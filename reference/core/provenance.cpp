// Where a number was made: processor, operating system, compiler. A measurement without these is a rumour.
// Read from /proc/cpuinfo, /etc/os-release and uname(2); compiler flags and revision come from the build.
#include <sched.h>
#include <sys/utsname.h>

#include <array>
#include <ctime>
#include <fstream>
#include <sstream>

#include "git_revision.hpp"
#include "reference/core/record.hpp"

namespace plumb::record {

namespace {

std::string after(std::string_view text, std::string_view separator) {
  const std::size_t at = text.find(separator);
  return at == std::string_view::npos ? std::string() : std::string(text.substr(at + separator.size()));
}

/// The value of the first line of `path` that starts with `key`, as `key : value` or `key=value`.
std::string first_value(const char* path, std::string_view key, std::string_view separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return after(line, separator);
  }
  return {};
}

/// Of everything the processor lists, the extensions that decide which kernels run.
std::string vector_extensions() {
  static constexpr std::array<std::string_view, 13> known = {
      "sse4_1",   "sse4_2",   "avx",      "f16c",        "fma",         "avx2",       "avx512f",
      "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"};
  std::istringstream flags(first_value("/proc/cpuinfo", "flags", ": "));
  std::string found;
  for (std::string flag; flags >> flag;) {
    bool keep = flag.starts_with("amx_");
    for (const std::string_view name : known) keep = keep || flag == name;
    if (keep) found += (found.empty() ? "" : " ") + flag;
  }
  return found;
}

std::string operating_system() {
  std::string name = first_value("/etc/os-release", "PRETTY_NAME", "=");
  std::erase(name, '"');
  utsname system{};
  if (uname(&system) != 0) return name;
  return name + ", " + system.sysname + " " + system.release + " " + system.machine;
}

int usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

/// From `name=version,name=version`.
std::vector<library> libraries() {
  std::vector<library> list;
  std::istringstream text(PLUMB_LIBRARIES);
  for (std::string each; std::getline(text, each, ',');) {
    const std::size_t equals = each.find('=');
    list.push_back({each.substr(0, equals), after(each, "=")});
  }
  return list;
}

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace

provenance provenance_of_this_process() {
  provenance p;
  p.plumb_version = PLUMB_VERSION;
  p.git_revision = PLUMB_GIT_REVISION;
  p.date = now_utc();
  p.cpu = first_value("/proc/cpuinfo", "model name", ": ");
  p.cores = usable_processors();
  p.isa = vector_extensions();
  p.os = operating_system();
  p.compiler = PLUMB_COMPILER;
  p.flags = PLUMB_FLAGS;
  p.libraries = libraries();
  return p;
}

}  // namespace plumb::record
