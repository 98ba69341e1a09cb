// Rows of the registry for device kernels. One description makes two of them:
//     conv2d.forward/tiled@cuda         on the first device; without one, skipped(no CUDA device)
//     conv2d.forward/cuda_tiled@host    the same body in host execution: judged like any kernel, never timed
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "optimized/cuda/stream.hpp"
#include "reference/core/registry.hpp"

namespace plumb::cuda {

/// A kernel made ready for one problem. `run` is given addresses that the launches can use.
struct program {
  std::function<void(const kernel_call&, stream&)> run;
  std::size_t workspace = 0;  ///< bytes
};

struct row {
  std::string layer, pass, algorithm;
  std::string arithmetic = "f32";
  plumb::accuracy accuracy = {};
  std::vector<plumb::layout> layouts = {layout::nchw, layout::nhwc};
  bool any_strides = false;
  std::function<support(const kernel_problem&)> supports = {};
  std::function<program(const kernel_problem&)> make = {};
  bool peer = false;
  std::string unavailable = {};  ///< a reason besides that there is no device
  int capability = 0;            ///< of the device, ten times the number: 90 needs 9.x and nothing else
  bool host = true;              ///< its body can run on the CPU; false where it needs tensor cores
};

/// Two rows, or one where the body cannot run on the CPU. The registry places kernels of plugins on the same device.
void add_rows(registry& kernels, const row& r);

}  // namespace plumb::cuda
