// The layers besides convolution that plumb-cuda-check judges and times: for every row of optimized/cuda one problem that
// no cache holds, and its small twin, on which the device's outputs are compared with those of host execution. Needs a
// `device` only, so its logic is tested on one that lies in ordinary memory.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "optimized/cuda/timing.hpp"
#include "optimized/tools/device_array.hpp"
#include "reference/core/registry.hpp"

namespace plumb::cuda {

/// The largest error that a kernel of this arithmetic may have where it is only looked at in passing, as a share of Σ|a·b|
/// or of the largest output.
double tolerated_share(const std::string& arithmetic);

/// The row in host execution of the same body: `relu.forward/flat@cuda` → `relu.forward/cuda_flat@host`.
std::string host_twin(const std::string& device_name);

struct check_tensor {
  enum class kind : std::uint8_t { real, positive, index };
  shape extents;
  kind what = kind::real;
  index_t bound = 0;  ///< of indices: they are drawn from 0 … bound-1

  std::size_t bytes() const;
};

struct layer_case {
  problem text;  ///< resolved: with shapes of the outputs and all defaults
  std::string pass;
  std::vector<check_tensor> reads, writes;

  double bytes() const;  ///< of all of them
  double bytes_read() const;
};

std::vector<layer_case> layer_cases(bool small);

/// The tensors of a case on a device, row major, three times over with values of their own.
class layer_sets {
 public:
  static constexpr int sets = 3;
  layer_sets(device& on, const layer_case& c);

  kernel_call call(int set, void* workspace) const;
  void exchange(int set);  ///< the first few elements of the first input and the last few
  void poison(int set);
  std::vector<std::byte> outputs(int set) const;

 private:
  struct stored {
    device_array there;
    std::vector<std::byte> here;  ///< of what is read
    tensor_ref ref;
  };
  device& on_;
  const layer_case& case_;
  std::vector<std::vector<tensor_ref>> reads_, writes_;
  std::vector<stored> memory_;
  std::vector<std::size_t> first_;  ///< of each set in memory_
};

/// Empty, or which output is further from the expected one than `share` of the largest of its tensor.
std::string compare_outputs(const layer_case& c, const std::vector<std::byte>& got,
                            const std::vector<std::byte>& expected, double share);

/// A case as a contestant. `run` enqueues one call; `rehearse` keeps the outputs of untimed runs, with which those of the
/// timed ones are compared bit for bit.
class layer_runner {
 public:
  using enqueue = std::function<std::string(const kernel_call&)>;
  layer_runner(device& on, const layer_case& c, std::size_t workspace, enqueue run);
  std::string rehearse();
  contestant entry(const std::string& name, double floor = 0);

 private:
  device& on_;
  layer_sets data_;
  device_array workspace_;
  enqueue run_;
  std::vector<std::vector<std::byte>> expected_;  ///< by set, exchanged or not
};

/// All cases of the kernels that match, those of plugins among them; no rounds: the small ones only, and no numbers. Adds
/// the kernels that were wrong or gave no number to `bad`. Returns the shares of the card's bandwidth that they reached.
std::map<std::string, double> check_layers(device& on, timing_device& clock, const registry& kernels,
                                           const std::string& glob, int rounds, int& bad);

}  // namespace plumb::cuda
