// Fibers: the threads of one block, each on a stack of its own, taking turns on one thread of the CPU. A fiber runs
// until it waits or ends; who is next is the caller's choice, so that every order of threads between two barriers
// can be tried.
#pragma once

#include <cstddef>
#include <memory>

namespace plumb::cuda {

class fiber_team {
 public:
  using body = void (*)(void* context, int member);

  fiber_team();
  ~fiber_team();
  fiber_team(const fiber_team&) = delete;
  fiber_team& operator=(const fiber_team&) = delete;

  /// Makes members 0 … count-1 ready to start. Throws std::bad_alloc if there is no room for their stacks.
  void begin(int count, body run, void* context);
  /// Lets a member run until it waits or ends; true if it waits.
  bool resume(int member);
  /// Called by a member that runs: gives control back to resume().
  void wait();

  struct state;

 private:
  std::unique_ptr<state> state_;
};

}  // namespace plumb::cuda
