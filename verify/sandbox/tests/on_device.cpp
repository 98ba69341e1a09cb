// A plugin with kernels of the device `cuda`, for a worker whose device lies in ordinary memory.
#include <plumb/plugin.hpp>

namespace {

struct copy_problem {
  std::int64_t n;
  static copy_problem read(plumb::problem_reader& reader, int) {
    reader.knows_only({"x"});
    return {reader.shape("x", 1)[0]};
  }
};

/// 0, or what is not as it is on a device.
std::int32_t copy(const copy_problem& p, const plumb_call& call) {
  for (const plumb_tensor* t : {call.reads, call.writes})
    if (t->dl.device.device_type != PLUMB_DL_CUDA || t->dl.device.device_id != 0) return 1;
  if (call.stream == nullptr) return 2;
  const auto* const x = plumb::read_pointer<float>(call, 0);
  auto* const y = plumb::write_pointer<float>(call, 0);
  for (std::int64_t i = 0; i < p.n; ++i) y[i] = x[i];
  return 0;
}

plumb::plugin_kernel on_device(const std::string& name,
                               std::int32_t (*run)(const copy_problem&, const plumb_call&)) {
  return plumb::plugin_kernel::of<copy_problem>("copy.forward/" + name + "@cuda", run).device("cuda");
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {on_device("there", copy),
          on_device("refused", [](const copy_problem&, const plumb_call&) { return std::int32_t{700}; }),
          on_device("past_the_end", [](const copy_problem& p, const plumb_call& call) {
            write_pointer<float>(call, 0)[p.n] = 0;
            return copy(p, call);
          })};
}
