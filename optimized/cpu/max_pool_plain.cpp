// Max pooling in plain loops, every rank, any strides.
//   forward    y[n,c,o] = max over the cells of the window inside x, and which cell of its (n,c) plane won:
//              the first of equals, the last NaN if there is one (operators.md A5, torch's
//              max_pool*_with_indices)
//   backward   dx[n,c,indices[n,c,o]] += dy[n,c,o], zero elsewhere; a plane belongs to one thread
#include "optimized/cpu/pool_arguments.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

/// One (n,c) plane of a tensor: element (d,h,w) with strides of its own.
template <class T>
struct plane {
  T* data;
  std::array<index_t, 3> stride{};

  plane(const tensor_ref& t, index_t n, index_t c)
      : data(static_cast<T*>(t.data) + n * t.strides[0] + c * t.strides[1]) {
    for (int axis = 2; axis < t.extents.rank(); ++axis)
      stride[static_cast<std::size_t>(axis + 3 - t.extents.rank())] = t.strides[axis];
  }
  T& operator()(index_t d, index_t h, index_t w) const {
    return data[d * stride[0] + h * stride[1] + w * stride[2]];
  }
};

void forward(const pool_arguments& a, const kernel_call& call) {
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < a.n * a.c; ++i) {
    const plane<const float> x(call.reads[0], i / a.c, i % a.c);
    const plane<float> y(call.writes[0], i / a.c, i % a.c);
    const plane<index_t> indices(call.writes[1], i / a.c, i % a.c);
    for (index_t o = 0; o < a.depth().out; ++o)
      for (index_t p = 0; p < a.height().out; ++p)
        for (index_t q = 0; q < a.width().out; ++q) {
          const pool_winner best = window_maximum(a, x.data, x.stride, o, p, q);
          y(o, p, q) = best.value;
          indices(o, p, q) = best.cell;
        }
  }
}

void backward(const pool_arguments& a, const kernel_call& call) {
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (index_t i = 0; i < a.n * a.c; ++i) {
    const plane<const float> dy(call.reads[0], i / a.c, i % a.c);
    const plane<const index_t> indices(call.reads[1], i / a.c, i % a.c);
    const plane<float> dx(call.writes[0], i / a.c, i % a.c);
    const index_t height = a.height().in, width = a.width().in;
    for (index_t j = 0; j < a.in_size(); ++j) dx(j / width / height, j / width % height, j % width) = 0;
    for (index_t o = 0; o < a.depth().out; ++o)
      for (index_t p = 0; p < a.height().out; ++p)
        for (index_t q = 0; q < a.width().out; ++q) {
          const index_t cell = indices(o, p, q);
          if (cell >= 0 && cell < a.in_size())
            dx(cell / width / height, cell / width % height, cell % width) += dy(o, p, q);
        }
  }
}

kernel make_kernel(const std::string& layer, const std::string& pass,
                   void (*run)(const pool_arguments&, const kernel_call&)) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/plain@cpu";
  k.any_strides = true;
  k.supports = pool_support;
  k.make_plan = [run](const kernel_problem& kp) {
    return make_simple_plan(
        [run, a = read_pool_arguments(kp.problem)](const kernel_call& call) { run(a, call); });
  };
  return k;
}

}  // namespace

void register_max_pool_plain(registry& kernels) {
  for (const std::string layer : {"max_pool1d", "max_pool2d", "max_pool3d"}) {
    kernel k = make_kernel(layer, "forward", forward);
    k.arithmetic = "exact";
    kernels.add(std::move(k));
    kernels.add(make_kernel(layer, "backward", backward));
  }
}

}  // namespace plumb
