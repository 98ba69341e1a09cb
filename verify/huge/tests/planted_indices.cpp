// relu with indices of 32 bits, in the ways that they run over, beside one with 64.
#include <plumb/plugin.hpp>

namespace {

struct tensor_problem {
  std::int64_t count = 0;
  static tensor_problem read(plumb::problem_reader& reader, int) {
    reader.knows_only({"x"});
    tensor_problem p;
    p.count = 1;
    for (const std::int64_t e : reader.shape("x", 3)) p.count *= e;
    return p;
  }
};

float relu(float x) { return x <= 0 ? 0 : x; }

void honest(const tensor_problem& p, const float* x, float* y) {
  for (std::int64_t i = 0; i < p.count; ++i) y[i] = relu(x[i]);
}
/// The count does not fit: nothing is written.
void short_count(const tensor_problem& p, const float* x, float* y) {
  const auto count = static_cast<std::int32_t>(p.count);
  for (std::int32_t i = 0; i < count; ++i) y[i] = relu(x[i]);
}
/// The index of an element does not fit: it lies before the tensor.
void short_index(const tensor_problem& p, const float* x, float* y) {
  for (std::int64_t i = p.count - 64; i < p.count; ++i) y[static_cast<std::int32_t>(i)] = relu(x[i]);
}
plumb::plugin_kernel row(const char* name, void (*f)(const tensor_problem&, const float*, float*)) {
  return plumb::plugin_kernel::of<tensor_problem>(std::string("relu.forward/") + name + "@cpu",
                                                  [f](const tensor_problem& p, const plumb_call& call) {
                                                    f(p, plumb::read_pointer<float>(call, 0),
                                                      plumb::write_pointer<float>(call, 0));
                                                  })
      .arithmetic("exact");
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {row("honest", honest), row("short_count", short_count), row("short_index", short_index)};
}
