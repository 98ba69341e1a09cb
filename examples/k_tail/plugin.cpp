// What Plumb is told about the kernel: multiples of eight only.
#include <plumb/plugin.hpp>

#include "k_tail.hpp"

namespace {

struct linear_problem : linear_sizes {
  bool bias = false;

  static linear_problem read(plumb::problem_reader& reader, int /*threads*/) {
    reader.knows_only({"x", "weight", "bias"});
    linear_problem a{};
    const auto x = reader.shape("x", 2), weight = reader.shape("weight", 2);
    a.rows = x[0], a.inputs = x[1], a.units = weight[0];
    a.bias = reader.has("bias");
    return a;
  }
};

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {plugin_kernel::of<linear_problem>("linear.forward/eights@cpu", [](const linear_problem& a,
                                                                            const plumb_call& call) {
            k_tail(a, read_pointer<float>(call, 0), read_pointer<float>(call, 1),
                   a.bias ? read_pointer<float>(call, 2) : nullptr, write_pointer<float>(call, 0));
          }).only_if<linear_problem>([](const linear_problem& a) -> std::string {
    return a.inputs % 8 == 0 ? "" : "takes multiples of eight inputs only";
  })};
}
