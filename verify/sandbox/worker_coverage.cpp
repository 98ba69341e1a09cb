#include "verify/sandbox/worker_coverage.hpp"

#include <dlfcn.h>
#include <link.h>

#include <array>
#include <cstdio>
#include <memory>
#include <mutex>

namespace plumb {
namespace {

struct watched_library {
  std::uintptr_t base = 0, size = 0;
  std::unique_ptr<std::atomic<bool>[]> ran;  ///< a flag for every byte of its code
  std::string path;
};

constexpr std::size_t most_libraries = 8;
std::array<watched_library, most_libraries> libraries;
std::atomic<std::size_t> known = 0;
std::mutex growing;
std::atomic<std::uint32_t>* count = nullptr;

/// The extent of the library that begins at `base`.
std::uintptr_t size_from(std::uintptr_t base) {
  struct search {
    std::uintptr_t base, size;
  } wanted{base, 0};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& s = *static_cast<search*>(data);
        if (info->dlpi_addr != s.base) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i)
          if (info->dlpi_phdr[i].p_type == PT_LOAD)
            s.size =
                std::max<std::uintptr_t>(s.size, info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz);
        return 1;
      },
      &wanted);
  return wanted.size;
}

watched_library* known_library_of(std::uintptr_t at) {
  for (std::size_t i = 0; i < known.load(std::memory_order_acquire); ++i)
    if (at - libraries[i].base < libraries[i].size) return &libraries[i];
  return nullptr;
}

/// A library is known from its first call on.
watched_library* library_of(std::uintptr_t at) {
  if (watched_library* const l = known_library_of(at)) return l;
  const std::lock_guard alone(growing);
  if (watched_library* const l = known_library_of(at)) return l;
  Dl_info info{};
  if (known.load() == most_libraries || ::dladdr(reinterpret_cast<void*>(at), &info) == 0) return nullptr;
  watched_library& fresh = libraries[known.load()];
  fresh.base = reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  fresh.size = size_from(fresh.base);
  fresh.path = info.dli_fname;
  fresh.ran = std::make_unique<std::atomic<bool>[]>(fresh.size);
  known.fetch_add(1, std::memory_order_release);
  return &fresh;
}

}  // namespace

void count_coverage_in(std::atomic<std::uint32_t>& blocks) { count = &blocks; }

std::string report_coverage(const registry&, const std::string&) {
  std::string text;
  std::array<char, 20> hexadecimal{};
  for (std::size_t i = 0; i < known.load(); ++i) {
    const watched_library& l = libraries[i];
    text += l.path + "\n";
    for (std::uintptr_t at = 0; at < l.size; ++at) {
      if (!l.ran[at].load(std::memory_order_relaxed)) continue;
      std::snprintf(hexadecimal.data(), hexadecimal.size(), "%zx ", static_cast<std::size_t>(at));
      text += hexadecimal.data();
    }
    text += "\n";
  }
  return text;
}

}  // namespace plumb

/// Called by instrumented code at the start of every edge, from any thread.
extern "C" __attribute__((visibility("default"), used)) void __sanitizer_cov_trace_pc() {
  const auto at = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  plumb::watched_library* const l = plumb::library_of(at);
  if (l == nullptr) return;
  std::atomic<bool>& ran = l->ran[at - l->base];
  if (ran.load(std::memory_order_relaxed) || ran.exchange(true, std::memory_order_relaxed)) return;
  if (plumb::count != nullptr) plumb::count->fetch_add(1, std::memory_order_relaxed);
}
