// A plugin that dies in a constructor.
#include <plumb/plugin.hpp>

namespace {
volatile int* volatile nowhere = nullptr;
const int value = *nowhere;
}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {plumb::conv2d_forward("conv2d.forward/never@test", [](auto&&...) {})};
}
