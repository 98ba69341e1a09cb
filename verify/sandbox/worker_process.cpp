#include "verify/sandbox/worker_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <new>

#include "verify/sandbox/stream.hpp"

extern char** environ;

namespace plumb {
namespace {

[[noreturn]] void give_up(const std::string& what, int error = errno) {
  throw sandbox_error("cannot start the sandbox: " + what + ": " + std::strerror(error));
}

owned_descriptor memory_file(const char* name) {
  owned_descriptor file(out_of_the_way(::memfd_create(name, MFD_CLOEXEC)));
  if (file.get() < 0) give_up("memfd_create");
  return file;
}

std::vector<std::string> environment_of(const sandbox_options& options) {
  // Passive waiting: idle threads of the worker must not take the cores from the parent, which computes the
  // truth.
  std::map<std::string, std::string> settings = {{"OMP_WAIT_POLICY", "passive"}, {"OMP_DYNAMIC", "false"}};
  for (const auto& [name, value] : options.environment) settings[name] = value;
  std::erase_if(settings, [](const auto& s) { return s.second.empty(); });  // left as the caller has them
  std::vector<std::string> list;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text(*entry);
    if (!settings.contains(text.substr(0, text.find('=')))) list.push_back(text);
  }
  for (const auto& [name, value] : settings) list.push_back(name + "=" + value);
  return list;
}

std::vector<char*> pointers(std::vector<std::string>& list) {
  std::vector<char*> result;
  for (std::string& text : list) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

owned_descriptor::~owned_descriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

worker_process::worker_process(const sandbox_options& options,
                               const std::vector<std::unique_ptr<arena>>& arenas, bool describing) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) give_up("socketpair");
  socket_ = owned_descriptor(out_of_the_way(ends[0]));
  const owned_descriptor theirs(out_of_the_way(ends[1]));
  control_file_ = memory_file("plumb-control");
  output_file_ = memory_file("plumb-output");
  ::fcntl(output_file_.get(), F_SETFL, O_APPEND);
  if (::ftruncate(control_file_.get(), sizeof(wire::control_block)) != 0) give_up("ftruncate");
  void* const at = ::mmap(nullptr, sizeof(wire::control_block), PROT_READ | PROT_WRITE, MAP_SHARED,
                          control_file_.get(), 0);
  if (at == MAP_FAILED) give_up("mmap");
  control_ = new (at) wire::control_block;
  try {
    spawn(options, arenas, describing, theirs.get());
  } catch (...) {
    ::munmap(control_, sizeof(wire::control_block));
    throw;
  }
}

void worker_process::spawn(const sandbox_options& options, const std::vector<std::unique_ptr<arena>>& arenas,
                           bool describing, int socket) {
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, output_file_.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, output_file_.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, socket, wire::socket);
  ::posix_spawn_file_actions_adddup2(&files, control_file_.get(), wire::control_file);
  for (const auto& a : arenas)
    ::posix_spawn_file_actions_adddup2(&files, a->descriptor(), wire::first_arena_file + a->number());
  ::posix_spawn_file_actions_addclosefrom_np(&files,
                                             wire::first_arena_file + static_cast<int>(arenas.size()));

  // A group of its own: the terminal's interrupt is the parent's business.
  posix_spawnattr_t attributes;
  sigset_t all, none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setsigmask(&attributes, &none);

  std::vector<std::string> arguments = {options.worker, std::to_string(arenas.size()),
                                        describing ? "describe" : "silent",
                                        options.fill_heap ? "fill-heap" : "plain-heap"};
  arguments.insert(arguments.end(), options.plugins.begin(), options.plugins.end());
  std::vector<std::string> environment = environment_of(options);
  const int error = ::posix_spawn(&pid_, options.worker.c_str(), &files, &attributes,
                                  pointers(arguments).data(), pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    pid_ = -1;
    give_up("`" + options.worker + "`", error);
  }
  schedule_ = owned_descriptor(
      out_of_the_way(::open(("/proc/" + std::to_string(pid_) + "/schedstat").c_str(), O_RDONLY | O_CLOEXEC)));
}

worker_process::~worker_process() {
  finish();
  ::munmap(control_, sizeof(wire::control_block));
}

bool worker_process::send(const wire::token& t, std::string_view text) {
  return write_all(socket_.get(), &t, sizeof t) && write_all(socket_.get(), text.data(), text.size());
}

worker_process::event worker_process::receive(wire::token& t, std::string& text, double seconds) {
  pollfd readable{socket_.get(), POLLIN, 0};
  const int milliseconds = static_cast<int>(std::ceil(std::clamp(seconds, 0.0, 3600.0) * 1000));
  if (::poll(&readable, 1, milliseconds) <= 0) return event::nothing;
  if (!read_all(socket_.get(), &t, sizeof t)) return event::gone;
  text.resize(t.length);
  return read_all(socket_.get(), text.data(), text.size()) ? event::token : event::gone;
}

double worker_process::starved() const {
  char text[96] = {};  // nanoseconds run, nanoseconds waited for a processor, slices
  if (schedule_.get() < 0 || ::pread(schedule_.get(), text, sizeof text - 1, 0) <= 0) return 0;
  char* waited = nullptr;
  std::strtoull(text, &waited, 10);
  return 1e-9 * static_cast<double>(std::strtoull(waited, nullptr, 10));
}

int worker_process::finish() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);  // harmless to one that has ended already: its status stays as it was
    while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  return status_;
}

std::string worker_process::output() const {
  constexpr off_t most = 2000;
  const off_t size = ::lseek(output_file_.get(), 0, SEEK_END);
  std::string text(static_cast<std::size_t>(std::min(std::max<off_t>(size, 0), most)), '\0');
  const ssize_t got = ::pread(output_file_.get(), text.data(), text.size(), std::max<off_t>(size - most, 0));
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

void worker_process::drop_output() {
  if (::ftruncate(output_file_.get(), 0) != 0) give_up("ftruncate");
}

}  // namespace plumb
