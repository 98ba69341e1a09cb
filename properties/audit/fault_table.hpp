// The table of planted faults, properties/faults/faults.list, and the problems on which usual practice is tried,
// usual.list, as structs.
#pragma once

#include <string>
#include <vector>

namespace plumb {

/// One line of faults.list: `kernel | class | root cause | modelled on`.
struct planted_fault {
  std::string kernel;  ///< layer.pass/fault@path
  std::string layer, pass, fault, path;
  std::string kind;
  std::string root_cause;
  std::string modelled_on;
};

/// One line of usual.list: `square problem | small problem`.
struct usual_problems {
  std::string layer, square, small;
};

/// Both throw std::invalid_argument naming a line that does not read so.
const std::vector<planted_fault>& fault_table();
const std::vector<usual_problems>& usual_table();

}  // namespace plumb
