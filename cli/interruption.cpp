#include "cli/interruption.hpp"

#include <signal.h>

#include <csignal>

namespace plumb::cli {
namespace {

volatile std::sig_atomic_t noted = 0;

void note(int number) { noted = number; }

}  // namespace

interruption::interruption() {
  struct sigaction action = {};
  action.sa_handler = note;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

interruption::~interruption() {
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
}

std::string interruption::seen() { return noted == SIGINT ? "SIGINT" : noted == SIGTERM ? "SIGTERM" : ""; }

void interruption::end_if_seen() {
  if (noted == 0) return;
  ::signal(noted, SIG_DFL);
  ::raise(noted);
}

}  // namespace plumb::cli
