// plumb-worker: the process in which kernels run. It is linked to the contract and the kernels and to nothing
// that judges them, so no expected value can be found here.
//
// It is started by the sandbox, never by hand, with its socket and shared memory at the descriptors of
// wire.hpp:
//     plumb-worker ARENAS describe|silent fill-heap|plain-heap [PLUGIN…]
// It registers the kernels, loads the plugins, greets, and then serves tokens until the stream ends.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "verify/sandbox/greeting.hpp"
#include "verify/sandbox/plugin_loader.hpp"
#include "verify/sandbox/stream.hpp"
#include "verify/sandbox/worker.hpp"
#include "verify/sandbox/worker_coverage.hpp"
#include "verify/sandbox/worker_crash.hpp"

namespace plumb {
namespace {

void limit_resources() {
  constexpr rlim_t printed_bytes = 4 << 20;  // what kernels print goes to a memory file
  const rlimit no_core{0, 0};
  const rlimit small_files{printed_bytes, printed_bytes};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::setrlimit(RLIMIT_FSIZE, &small_files);
#ifndef PLUMB_SANITIZED  // whose shadow asks for more address space than there is memory
  // A kernel that asks for more memory than there is fails alone.
  const rlim_t memory =
      static_cast<rlim_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
  const rlimit all_there_is{memory, memory};
  ::setrlimit(RLIMIT_DATA, &all_there_is);
#endif
  ::signal(SIGXFSZ, SIG_IGN);
}

wire::control_block* map_control() {
  void* const at =
      ::mmap(nullptr, sizeof(wire::control_block), PROT_READ | PROT_WRITE, MAP_SHARED, wire::control_file, 0);
  return at == MAP_FAILED ? nullptr : static_cast<wire::control_block*>(at);
}

/// Registers built-in kernels and plugins; a plugin that fails ends up in the greeting.
greeting load(const std::vector<std::string>& plugins, registry& kernels, wire::control_block& control) {
  greeting hello;
  count_coverage_in(control.blocks);
  register_all_kernels(kernels);
  for (const kernel& k : kernels.all()) hello.kernels.push_back(describe(k));
  for (const std::string& path : plugins) {
    std::snprintf(control.subject, sizeof control.subject, "%s", path.c_str());
    const plugin_outcome outcome = load_plugin(path, kernels);
    if (!outcome.error.empty()) {
      hello.error = outcome.error;
      hello.exit_code = outcome.exit_code;
      break;
    }
    for (std::size_t i = hello.kernels.size(); i < kernels.all().size(); ++i) {
      hello.kernels.push_back(describe(kernels.all()[i]));
      hello.kernels.back().plugin = path;
      hello.kernels.back().floating_point = outcome.floating_point;
    }
  }
  return hello;
}

bool answer(const wire::token& t, std::string_view text) {
  return write_all(wire::socket, &t, sizeof t) && write_all(wire::socket, text.data(), text.size());
}

bool serve(const registry& kernels, std::uint32_t length, wire::control_block& control) {
  std::string request(length, '\0');
  if (!read_all(wire::socket, request.data(), length)) return false;
  const std::size_t line_end = request.find('\n');
  const std::string name = request.substr(0, line_end);
  std::snprintf(control.subject, sizeof control.subject, "%s", name.c_str());
  control.at.store(wire::phase::service);
  std::string text = "the worker has no service `" + name + "`";
  bool failed = true;
  try {
    for (const service& s : services())
      if (s.name == name) {
        text = s.serve(kernels, request.substr(line_end + 1));
        failed = false;
      }
  } catch (const std::exception& error) {
    text = error.what();
  }
  control.at.store(wire::phase::idle);
  return answer({wire::opcode::service, 0, failed ? 1U : 0U, static_cast<std::uint32_t>(text.size())}, text);
}

int work(int arena_count, bool describing, const std::vector<std::string>& plugins) {
  wire::control_block* const control = map_control();
  if (control == nullptr) return 2;
  limit_resources();
  install_crash_handlers(control);
  die_with_parent(wire::socket);

  std::vector<mapped_arena> arenas;
  for (int i = 0; i < arena_count; ++i) {
    arenas.emplace_back(wire::first_arena_file + i);
    control->region[i] = reinterpret_cast<std::uint64_t>(arenas.back().region());
  }
  registry kernels;
  const greeting hello = load(plugins, kernels, *control);
  install_crash_handlers(control);  // again: a library may have put its own in their place
  const std::string text = describing || !hello.error.empty() ? encode(hello) : std::string();
  control->subject[0] = '\0';
  control->at.store(wire::phase::idle);
  if (!answer({wire::opcode::ready, wire::fingerprint, 0, static_cast<std::uint32_t>(text.size())}, text))
    return 0;

  executor runs(kernels, *control);
  wire::token t{};
  while (read_all(wire::socket, &t, sizeof t)) {
    if (t.what == wire::opcode::service) {
      if (!serve(kernels, t.length, *control)) break;
      continue;
    }
    runs.run_batch(arenas[t.arena], t.length, t.first);
    if (!answer({wire::opcode::batch, t.arena, 0, 0}, {})) break;
  }
  return 0;
}

}  // namespace
}  // namespace plumb

int main(int argc, char** argv) {
  struct stat socket {};
  if (argc < 4 || ::fstat(plumb::wire::socket, &socket) != 0 || !S_ISSOCK(socket.st_mode)) {
    std::fputs("plumb-worker is started by plumb, not by hand: try `plumb verify --help`\n", stderr);
    return 2;
  }
  constexpr int heap_pattern = 0xa5;
  if (std::string_view(argv[3]) == "fill-heap") ::mallopt(M_PERTURB, heap_pattern);
  int status = 2;
  try {
    status =
        plumb::work(std::atoi(argv[1]), std::string_view(argv[2]) == "describe", {argv + 4, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "plumb-worker: %s\n", error.what());
  }
  ::_exit(status);  // kernels' destructors and exit handlers have no say in how the worker ends
}
