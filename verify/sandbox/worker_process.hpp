// One worker as its parent holds it: started by spawn (an OpenMP program must not fork), watched over a
// socket, killed without ceremony.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "verify/sandbox/arena.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb {

/// A file descriptor that closes itself.
class owned_descriptor {
 public:
  owned_descriptor() = default;
  explicit owned_descriptor(int descriptor) : descriptor_(descriptor) {}
  owned_descriptor(owned_descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  owned_descriptor& operator=(owned_descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~owned_descriptor();
  int get() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

class worker_process {
 public:
  /// Starts it and returns before it is ready. `describing`: the greeting shall list the kernels.
  /// Throws sandbox_error.
  worker_process(const sandbox_options& options, const std::vector<std::unique_ptr<arena>>& arenas,
                 bool describing);
  ~worker_process();
  worker_process(const worker_process&) = delete;
  worker_process& operator=(const worker_process&) = delete;

  const wire::control_block& control() const { return *control_; }
  /// False if the worker is gone.
  bool send(const wire::token& t, std::string_view text = {});

  enum class event { token, gone, nothing };
  /// Waits up to `seconds` for a token.
  event receive(wire::token& t, std::string& text, double seconds);

  /// Seconds that its main thread could have run and did not, because the processors were taken; 0 where the system does
  /// not say.
  double starved() const;

  /// Kills it if it still lives; returns the status that waitpid reports.
  int finish();
  /// What it printed, the last 2,000 characters.
  std::string output() const;
  /// Forgets what it printed.
  void drop_output();

 private:
  void spawn(const sandbox_options& options, const std::vector<std::unique_ptr<arena>>& arenas,
             bool describing, int socket);

  pid_t pid_ = -1;
  int status_ = 0;
  owned_descriptor socket_, control_file_, output_file_, schedule_;
  wire::control_block* control_ = nullptr;
};

}  // namespace plumb
