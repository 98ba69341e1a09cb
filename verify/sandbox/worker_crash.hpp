// How the worker dies: fatal signals leave their number and the touched address in the control block, then
// the process ends at once. Nothing is repaired; the parent starts another worker.
#pragma once

#include "verify/sandbox/wire.hpp"

namespace plumb {

/// Handles SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS on a stack of their own.
void install_crash_handlers(wire::control_block* control);

/// Ends this process as soon as nobody holds the other end of the socket any more, even in the middle of a
/// kernel.
void die_with_parent(int socket);

}  // namespace plumb
