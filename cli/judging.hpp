// What the commands that judge have in common: which kernels and problems the words on the command line mean, and how
// the sandbox and the runner are set up.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "verify/sandbox/sandbox.hpp"

namespace plumb::cli {

struct selection {
  std::vector<const kernel_info*> kernels;
  std::vector<std::string> problems;  ///< canonical text
};

/// Positionals are globs over kernel names, or problems (then all kernels of their layer); kernels in host execution only
/// where a glob says `@host`. Throws usage_error.
selection select(const sandbox& box, const std::vector<std::string>& words, const std::string& problem_option,
                 bool only_plugins);

sandbox_options judging(const std::vector<std::string>& plugins = {});
/// Fresh heap memory is left alone where allocation is on the clock.
sandbox_options timing();

verify_options runner_options(const common_options& common, progress_line& line);

/// Small problems of a layer for the gradient check: drawn, and kept where the dense Jacobian stays cheap.
std::vector<std::string> small_problems(const std::string& layer, std::uint64_t seed, std::size_t wanted);

/// `x=x.npy` as name and source; a bare `all.npz` has no name and stands for every array in it. Throws usage_error.
std::pair<std::string, std::string> name_and_source(const std::string& text);

/// Adds a tensor from its source: numbers such as `1,-2,0.5` in row-major order, the tensor in the .npy file, or from a .npz archive the array of that name (all of them if the
/// name is empty), checked against the problem. Throws usage_error.
void read_into(const layer& l, tensor_set<double>& given, const std::string& name, const std::string& file);

}  // namespace plumb::cli
