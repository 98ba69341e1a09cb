// A plugin that does nothing: it only has to compile and to export the three functions of the ABI.
#include <plumb/plugin.hpp>

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {plumb::conv2d_forward("conv2d.forward/nothing@cpu", [](const plumb::conv2d_problem&, const float*,
                                                                 const float*, const float*, float*) {})};
}
