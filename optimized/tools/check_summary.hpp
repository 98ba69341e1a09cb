// The last lines of plumb-cuda-check: what all its rows come to, beside the goals.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace plumb::cuda {

/// Groups of rows: of convolutions by arithmetic, and by what is special about their shape; layers that memory limits.
enum class check_group : std::uint8_t { f32, tf32, bf16, winograd, depthwise, first_layer, memory };

/// The group of a convolution kernel. Depthwise and first layers are the f32 kernels on such problems; of another
/// arithmetic a kernel is in the group of that, whatever the problem.
check_group group_of(const std::string& arithmetic, bool depthwise, bool first_layer);
/// The arithmetic of the vendor's kernels that a kernel of this one is measured against.
std::string arithmetic_of_peers(const std::string& arithmetic);

class check_summary {
 public:
  /// Speed over the vendor's, or share of the memory's bandwidth, of one kernel on one problem. The best kernel counts.
  void add(check_group group, const std::string& problem, double value);
  /// A line a group: geometric mean over the problems, how many, the worst, the goal. Groups without problems say so.
  std::string print() const;

 private:
  std::map<check_group, std::map<std::string, double>> best_;
};

}  // namespace plumb::cuda
