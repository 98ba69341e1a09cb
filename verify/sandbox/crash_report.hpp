// From the worker's last words to a sentence: which signal, which tensor, how far beyond its end.
#pragma once

#include <string>

#include "verify/sandbox/sandbox.hpp"
#include "verify/sandbox/worker_process.hpp"

namespace plumb {

struct crash_report {
  std::string signal;  ///< `SIGSEGV`; empty: the process ended without one
  crash_site site;
  std::string text;
};

/// `run` and `arena` are those under way, `workspace` its result record; nullptr if the crash belongs to no
/// run.
crash_report explain_crash(const wire::control_block& last_words, int wait_status, const std::string& output,
                           const kernel_run* run, int arena, const wire::result_record* workspace);

}  // namespace plumb
