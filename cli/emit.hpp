// A failing case as one C++ file that needs nothing of ours: what a bug report to somebody else should carry.
#pragma once

#include <string>
#include <vector>

#include "verify/runner.hpp"

namespace plumb::cli {

/// A program that loads the library (given as its argument, else `library`), makes the calls of `before`, runs the kernel on
/// the data of the case and compares the element that is wrong: exit code 1 if it still is, 0 if not. The ABI is part of
/// the text, so `g++ FILE -ldl` compiles it. Throws usage_error for what cannot be put into a file.
std::string reproducer(const test_case& c, const history& before, const std::string& library);

/// The shared library that has this kernel: the plugin it came from, or the one that exports ours and the peers'.
/// Throws environment_error if that one was not built.
std::string library_of(const kernel_info& kernel);

/// Compiles the file beside itself with symbols and becomes gdb, stopped before the kernel is called. Throws
/// environment_error if there is no compiler or debugger.
[[noreturn]] void debug(const std::string& file);

}  // namespace plumb::cli
