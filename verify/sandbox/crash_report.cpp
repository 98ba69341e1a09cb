#include "verify/sandbox/crash_report.hpp"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <cstdio>

namespace plumb {
namespace {

std::string signal_name(int number) {
  const char* const name = ::sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

/// One stretch of a slot that a run may touch.
struct stretch {
  std::string name;
  int slot;
  std::int64_t begin, end;  ///< offsets in the slot
};

std::vector<stretch> stretches_of(const kernel_run& run, const wire::result_record* workspace) {
  std::vector<stretch> list;
  for (const auto* tensors : {&run.reads, &run.writes})
    for (const placed_tensor& t : *tensors)
      if (t.slot >= 0) list.push_back({t.name, t.slot, t.begin - t.slot_begin, t.end - t.slot_begin});
  if (workspace != nullptr && workspace->workspace_bytes != 0) {
    const auto begin = static_cast<std::int64_t>(workspace->workspace_offset);
    list.push_back({"workspace", wire::workspace_slot, begin,
                    begin + static_cast<std::int64_t>(workspace->workspace_bytes)});
  }
  return list;
}

/// Which slot an address in the region is nearest to; `offset` is relative to the slot, negative in the guard
/// before.
int nearest_slot(std::uint64_t in_region, std::int64_t& offset) {
  constexpr std::uint64_t period = wire::slot_bytes + wire::guard_bytes;
  const std::uint64_t from_first = in_region < wire::guard_bytes / 2 ? 0 : in_region - wire::guard_bytes / 2;
  const int slot = std::min(static_cast<int>(from_first / period), wire::slot_count - 1);
  offset = static_cast<std::int64_t>(in_region) - static_cast<std::int64_t>(wire::region_offset(slot));
  return slot;
}

crash_site site_in_region(std::uint64_t in_region, bool write, const std::vector<stretch>& stretches) {
  crash_site site;
  site.write = write;
  site.kind = crash_site::where::other_tensor;
  std::int64_t offset = 0;
  const int slot = nearest_slot(in_region, offset);
  for (const stretch& s : stretches) {
    if (s.slot != slot) continue;
    site.tensor = s.name;
    if (offset < s.begin) {
      site.kind = crash_site::where::before_start;
      site.bytes = s.begin - offset;
    } else if (offset >= s.end) {
      site.kind = crash_site::where::past_end;
      site.bytes = offset - s.end + 1;
    } else {
      site.kind = crash_site::where::write_to_input;
      site.bytes = offset - s.begin;
    }
    return site;
  }
  return site;
}

crash_site locate(const wire::control_block& words, const kernel_run* run, int arena,
                  const wire::result_record* workspace) {
  crash_site site;
  const int number = words.signal.load();
  if (number != SIGSEGV && number != SIGBUS) return site;
  site.write = words.fault_is_write;
  const std::uint64_t address = words.fault_address;
  constexpr std::uint64_t first_mapped = 65536;
  constexpr std::uint64_t beyond_the_stack = 1 << 20;
  site.kind = crash_site::where::elsewhere;
  if (words.signal_code == SI_KERNEL) return site;
  if (address < first_mapped) {
    site.kind = crash_site::where::null_pointer;
  } else if (address + beyond_the_stack >= words.stack_low && address < words.stack_high) {
    site.kind = crash_site::where::stack;
  } else {
    for (int i = 0; i < wire::max_arenas; ++i) {
      const std::uint64_t base = words.region[i];
      if (base == 0 || address < base || address - base >= wire::region_bytes) continue;
      if (run == nullptr || i != arena) {
        site.kind = crash_site::where::other_tensor;
        return site;
      }
      return site_in_region(address - base, words.fault_is_write, stretches_of(*run, workspace));
    }
  }
  return site;
}

std::string sentence(const crash_site& site, const wire::control_block& words) {
  const std::string did = site.write ? "wrote " : "read ";
  const std::string bytes = std::to_string(site.bytes) + (site.bytes == 1 ? " byte" : " bytes");
  switch (site.kind) {
    case crash_site::where::unknown:
      return {};
    case crash_site::where::before_start:
      return did + bytes + " before the start of `" + site.tensor + "`";
    case crash_site::where::past_end:
      return did + bytes + " past the end of `" + site.tensor + "`";
    case crash_site::where::write_to_input:
      return "wrote to its input `" + site.tensor + "` (byte " + std::to_string(site.bytes) + ")";
    case crash_site::where::null_pointer:
      return did + "through a null pointer";
    case crash_site::where::other_tensor:
      return did + "where no tensor of this call lies, but one of another call might";
    case crash_site::where::stack:
      return "overflowed its stack";
    case crash_site::where::elsewhere: {
      if (words.signal_code == SI_KERNEL) return "used an address that no memory can have";
      char address[32];
      std::snprintf(address, sizeof address, "0x%llx", static_cast<unsigned long long>(words.fault_address));
      return did + "memory that is not its own (address " + address + ")";
    }
  }
  return {};
}

/// ", last printing `the last line`", or nothing.
std::string last_words(const std::string& output) {
  const std::size_t end = output.find_last_not_of(" \n\r\t") + 1;  // npos + 1 is 0
  if (end == 0) return {};
  const std::size_t line = output.find_last_of('\n', end - 1) + 1;
  const std::size_t begin = output.find_first_not_of(" \t", line);
  return ", last printing `" + output.substr(begin, end - begin) + "`";
}

std::string signal_detail(const wire::control_block& words, const std::string& output) {
  switch (words.signal.load()) {
    case SIGFPE:
      return words.signal_code == FPE_INTDIV ? "divided an integer by zero" : "trapped on arithmetic";
    case SIGILL:
      return "executed an instruction that this processor does not know, or a trap";
    case SIGABRT:
      return "aborted" + last_words(output);
    default:
      return {};
  }
}

}  // namespace

crash_report explain_crash(const wire::control_block& words, int wait_status, const std::string& output,
                           const kernel_run* run, int arena, const wire::result_record* workspace) {
  crash_report report;
  const int number = words.signal.load();
  if (number <= 0) {
    if (WIFEXITED(wait_status)) {
      report.text = "ended the process with exit status " + std::to_string(WEXITSTATUS(wait_status)) +
                    last_words(output);
    } else {
      report.signal = signal_name(WTERMSIG(wait_status));
      report.text =
          report.signal + (WTERMSIG(wait_status) == SIGKILL ? ": killed from outside, perhaps out of memory"
                                                            : ": died without last words");
    }
    return report;
  }
  report.signal = signal_name(number);
  report.site = locate(words, run, arena, workspace);
  const std::string where = sentence(report.site, words);
  const std::string detail = where.empty() ? signal_detail(words, output) : where;
  report.text = report.signal + (detail.empty() ? "" : ": " + detail);
  return report;
}

}  // namespace plumb
