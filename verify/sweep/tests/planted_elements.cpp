// Element-wise kernels that are wrong for exactly one float, and one that is right.
#include <cmath>
#include <cstring>
#include <plumb/plugin.hpp>

namespace {

struct vector_problem {
  std::int64_t count = 0;
  static vector_problem read(plumb::problem_reader& reader, int) {
    reader.knows_only({"x"});
    return {reader.shape("x", 1)[0]};
  }
};

float with_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

float relu(float x) { return x <= 0 ? 0 : x; }
float relu_but_one(float x) { return x == with_bits(0x3f812345) ? std::nextafter(x, 2.0F) : relu(x); }
float sigmoid(float x) { return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(x)))); }
float sigmoid_but_one(float x) { return x == with_bits(0xc0123457) ? sigmoid(x) * 1.0001F : sigmoid(x); }

template <float (*F)(float)>
void apply(const vector_problem& p, const plumb_call& call) {
  for (std::int64_t i = 0; i < p.count; ++i)
    plumb::write_pointer<float>(call, 0)[i] = F(plumb::read_pointer<float>(call, 0)[i]);
}

}  // namespace

std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
  return {
      plugin_kernel::of<vector_problem>("relu.forward/right@cpu", apply<relu>).arithmetic("exact"),
      plugin_kernel::of<vector_problem>("relu.forward/but_one@cpu", apply<relu_but_one>).arithmetic("exact"),
      plugin_kernel::of<vector_problem>("sigmoid.forward/right@cpu", apply<sigmoid>),
      plugin_kernel::of<vector_problem>("sigmoid.forward/but_one@cpu", apply<sigmoid_but_one>)};
}
