// Convolution in plain loops, every rank, every pass: one output element at a time, OpenMP over the outputs.
//   y[n,k,o]  = bias[k] + Σ_{c,t} x[n, g·C' + c, o·s - p + t·d] · w[k,c,t]      C' = C/groups, g = k /
//   (K/groups) dx, dw, dbias: the same sum, gathered from where each term landed.
// It is the slow kernel that accepts everything (groups, dilation, per-side padding, flip, any strides) and
// the one to read first. Every output is summed in one fixed order, so the thread count cannot change a bit.
// Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning".
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

/// A tensor of any rank seen as (outer, channel, depth, height, width); axes it lacks have stride 0.
struct grid {
  float* data;
  std::array<index_t, 5> stride{};

  explicit grid(const tensor_ref& t) : data(static_cast<float*>(t.data)) {
    const int spatial = t.extents.rank() - 2;
    stride[0] = t.strides[0];
    stride[1] = t.strides[1];
    for (int i = 0; i < spatial; ++i) stride[static_cast<std::size_t>(5 - spatial + i)] = t.strides[2 + i];
  }
  float& operator()(index_t a, index_t b, const std::array<index_t, 3>& at) const {
    return data[a * stride[0] + b * stride[1] + at[0] * stride[2] + at[1] * stride[3] + at[2] * stride[4]];
  }
};

using position = std::array<index_t, 3>;

position unflatten(index_t flat, index_t height, index_t width) {
  return {flat / width / height, flat / width % height, flat % width};
}

position weight_position(const conv_arguments& a, const position& tap) {
  if (!a.flip) return tap;
  return {a.axes[0].taps - 1 - tap[0], a.axes[1].taps - 1 - tap[1], a.axes[2].taps - 1 - tap[2]};
}

/// Where output `o` meets the input under `tap`; false if that is in the padding.
bool input_position(const conv_arguments& a, const position& o, const position& tap, position& in) {
  for (std::size_t i = 0; i < 3; ++i) {
    in[i] = o[i] * a.axes[i].stride - a.axes[i].begin + tap[i] * a.axes[i].dilation;
    if (in[i] < 0 || in[i] >= a.axes[i].in) return false;
  }
  return true;
}

/// Which output reads input `in` under `tap`; false if none does.
bool output_position(const conv_arguments& a, const position& in, const position& tap, position& o) {
  for (std::size_t i = 0; i < 3; ++i) {
    const index_t reach = in[i] + a.axes[i].begin - tap[i] * a.axes[i].dilation;
    o[i] = reach / a.axes[i].stride;
    if (reach < 0 || reach % a.axes[i].stride != 0 || o[i] >= a.axes[i].out) return false;
  }
  return true;
}

template <class F>
void for_each_tap(const conv_arguments& a, F&& f) {
  for (index_t t = 0; t < a.axes[0].taps; ++t)
    for (index_t r = 0; r < a.axes[1].taps; ++r)
      for (index_t s = 0; s < a.axes[2].taps; ++s) f(position{t, r, s});
}

template <class F>
void parallel_for(index_t count, int threads, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (index_t i = 0; i < count; ++i) f(i);
}

void forward(const conv_arguments& a, const kernel_call& call) {
  const grid x(call.reads[0]), weight(call.reads[1]), y(call.writes[0]);
  const tensor_ref bias = a.bias ? call.reads[2] : tensor_ref{};
  parallel_for(a.n * a.k * a.out_size(), call.threads, [&](index_t i) {
    const index_t n = i / a.out_size() / a.k, k = i / a.out_size() % a.k;
    const position o = unflatten(i % a.out_size(), a.height().out, a.width().out);
    const index_t first = k / a.group_k() * a.group_c();
    float sum = bias.data ? static_cast<const float*>(bias.data)[k * bias.strides[0]] : 0.0F;
    position in{};
    for (index_t c = 0; c < a.group_c(); ++c)
      for_each_tap(a, [&](const position& tap) {
        if (input_position(a, o, tap, in)) sum += x(n, first + c, in) * weight(k, c, weight_position(a, tap));
      });
    y(n, k, o) = sum;
  });
}

void backward_data(const conv_arguments& a, const kernel_call& call) {
  const grid dy(call.reads[0]), weight(call.reads[1]), dx(call.writes[0]);
  parallel_for(a.n * a.c * a.in_size(), call.threads, [&](index_t i) {
    const index_t n = i / a.in_size() / a.c, c = i / a.in_size() % a.c;
    const position in = unflatten(i % a.in_size(), a.height().in, a.width().in);
    const index_t group = c / a.group_c();
    float sum = 0;
    position o{};
    for (index_t k = group * a.group_k(); k < (group + 1) * a.group_k(); ++k)
      for_each_tap(a, [&](const position& tap) {
        if (output_position(a, in, tap, o))
          sum += dy(n, k, o) * weight(k, c % a.group_c(), weight_position(a, tap));
      });
    dx(n, c, in) = sum;
  });
}

void backward_weights(const conv_arguments& a, const kernel_call& call) {
  const grid dy(call.reads[0]), x(call.reads[1]), dweight(call.writes[0]);
  parallel_for(a.k * a.group_c() * a.taps(), call.threads, [&](index_t i) {
    const index_t k = i / a.taps() / a.group_c(), c = i / a.taps() % a.group_c();
    const position tap = unflatten(i % a.taps(), a.height().taps, a.width().taps);
    const index_t first = k / a.group_k() * a.group_c();
    float sum = 0;
    position in{};
    for (index_t n = 0; n < a.n; ++n)
      for (index_t j = 0; j < a.out_size(); ++j) {
        const position o = unflatten(j, a.height().out, a.width().out);
        if (input_position(a, o, tap, in)) sum += dy(n, k, o) * x(n, first + c, in);
      }
    dweight(k, c, weight_position(a, tap)) = sum;
  });
}

void backward_bias(const conv_arguments& a, const kernel_call& call) {
  const grid dy(call.reads[0]);
  const auto dbias = call.writes[0].view<float>();
  parallel_for(a.k, call.threads, [&](index_t k) {
    float sum = 0;
    for (index_t n = 0; n < a.n; ++n)
      for (index_t j = 0; j < a.out_size(); ++j) sum += dy(n, k, unflatten(j, a.height().out, a.width().out));
    dbias(k) = sum;
  });
}

using pass_function = void (*)(const conv_arguments&, const kernel_call&);

kernel make_kernel(const std::string& layer, const std::string& pass, pass_function run) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/plain@cpu";
  k.any_strides = true;
  k.supports = conv_support;
  k.make_plan = [run](const kernel_problem& kp) {
    return make_simple_plan(
        [run, a = read_conv_arguments(kp.problem)](const kernel_call& call) { run(a, call); });
  };
  return k;
}

}  // namespace

void register_conv_plain(registry& kernels) {
  for (const std::string layer : {"conv1d", "conv2d", "conv3d"}) {
    kernels.add(make_kernel(layer, "forward", forward));
    kernels.add(make_kernel(layer, "backward_data", backward_data));
    kernels.add(make_kernel(layer, "backward_weights", backward_weights));
    kernels.add(make_kernel(layer, "backward_bias", backward_bias));
  }
}

}  // namespace plumb
