// A plugin without kernels.
#include <plumb/plugin.hpp>

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() { return {}; }
