// Convolution in plain loops, every rank, every pass, OpenMP over the rows of what is written.
//   y[n,k,o]  = bias[k] + Σ_{c,t} x[n, g·C' + c, o·s - p + t·d] · w[k,c,t]     C' = C/groups, g = k / (K/groups)
//   dx, dw, dbias: the same sum, gathered from where each term landed.
// The innermost loop runs along a row of outputs under one tap: the outputs whose tap lies in the padding are cut off
// before it, not tested inside it, and a row of y (or dx) gathers one term of every element at a time.
// It is the slow kernel that accepts everything (groups, dilation, per-side padding, flip, any strides) and
// the one to read first. Every output is summed in one fixed order, so the thread count cannot change a bit.
// Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning".
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

/// Elements of a tensor along its last axis.
struct row {
  float* data;
  index_t stride;
  float& operator[](index_t i) const { return data[i * stride]; }
};

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
  row at(index_t a, index_t b, index_t depth, index_t height) const {
    return {data + a * stride[0] + b * stride[1] + depth * stride[2] + height * stride[3], stride[4]};
  }
};

/// The outputs first … end-1 of an axis are those whose tap lies inside x; the first of them reads cell `in`.
struct reach {
  index_t first, end, in;
};

reach outputs_under(const conv_axis& axis, index_t tap) {
  const index_t start = tap * axis.dilation - axis.begin;  // the cell that output 0 reads
  const index_t first = start >= 0 ? 0 : (-start + axis.stride - 1) / axis.stride;
  const index_t end = start >= axis.in ? 0 : std::min(axis.out, (axis.in - 1 - start) / axis.stride + 1);
  return {first, std::max(first, end), start + first * axis.stride};
}

/// Which output reads cell `in` of an axis under a tap, or -1.
index_t output_reading(const conv_axis& axis, index_t in, index_t tap) {
  const index_t way = in + axis.begin - tap * axis.dilation;
  return way >= 0 && way % axis.stride == 0 && way / axis.stride < axis.out ? way / axis.stride : -1;
}

/// to[i] += from[i] * factor for `count` elements, `step` apart in `from`.
void add_scaled(row to, row from, float factor, index_t count) {
  if (to.stride == 1 && from.stride == 1)
    for (index_t i = 0; i < count; ++i) to.data[i] += from.data[i] * factor;
  else
    for (index_t i = 0; i < count; ++i) to[i] += from[i] * factor;
}

row skip(row r, index_t elements) { return {&r[elements], r.stride}; }
row every(row r, index_t step) { return {r.data, r.stride * step}; }

index_t tap_of_weight(const conv_arguments& a, std::size_t axis, index_t tap) {
  return a.flip ? a.axes[axis].taps - 1 - tap : tap;
}

template <class F>
void parallel_for(index_t count, int threads, F&& f) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (index_t i = 0; i < count; ++i) f(i);
}

void forward(const conv_arguments& a, const kernel_call& call) {
  const grid x(call.reads[0]), weight(call.reads[1]), y(call.writes[0]);
  const tensor_ref bias = a.bias ? call.reads[2] : tensor_ref{};
  const index_t rows = a.depth().out * a.height().out;
  parallel_for(a.n * a.k * rows, call.threads, [&](index_t i) {
    const index_t n = i / rows / a.k, k = i / rows % a.k, o = i % rows / a.height().out,
                  p = i % a.height().out;
    const index_t first = k / a.group_k() * a.group_c();
    const row sums = y.at(n, k, o, p);
    const float start = bias.data ? static_cast<const float*>(bias.data)[k * bias.strides[0]] : 0.0F;
    for (index_t q = 0; q < a.width().out; ++q) sums[q] = start;
    for (index_t c = 0; c < a.group_c(); ++c)
      for (index_t t = 0; t < a.depth().taps; ++t)
        for (index_t r = 0; r < a.height().taps; ++r) {
          const index_t d = o * a.depth().stride - a.depth().begin + t * a.depth().dilation;
          const index_t h = p * a.height().stride - a.height().begin + r * a.height().dilation;
          if (d < 0 || d >= a.depth().in || h < 0 || h >= a.height().in) continue;
          const row cells = x.at(n, first + c, d, h);
          const row taps = weight.at(k, c, tap_of_weight(a, 0, t), tap_of_weight(a, 1, r));
          for (index_t s = 0; s < a.width().taps; ++s) {
            const reach q = outputs_under(a.width(), s);
            if (q.first < q.end)
              add_scaled(skip(sums, q.first), every(skip(cells, q.in), a.width().stride),
                         taps[tap_of_weight(a, 2, s)], q.end - q.first);
          }
        }
  });
}

void backward_data(const conv_arguments& a, const kernel_call& call) {
  const grid dy(call.reads[0]), weight(call.reads[1]), dx(call.writes[0]);
  const index_t rows = a.depth().in * a.height().in;
  parallel_for(a.n * a.c * rows, call.threads, [&](index_t i) {
    const index_t n = i / rows / a.c, c = i / rows % a.c, d = i % rows / a.height().in, h = i % a.height().in;
    const index_t group = c / a.group_c();
    const row sums = dx.at(n, c, d, h);
    for (index_t w = 0; w < a.width().in; ++w) sums[w] = 0;
    for (index_t k = group * a.group_k(); k < (group + 1) * a.group_k(); ++k)
      for (index_t t = 0; t < a.depth().taps; ++t)
        for (index_t r = 0; r < a.height().taps; ++r) {
          const index_t o = output_reading(a.depth(), d, t), p = output_reading(a.height(), h, r);
          if (o < 0 || p < 0) continue;
          const row outputs = dy.at(n, k, o, p);
          const row taps = weight.at(k, c % a.group_c(), tap_of_weight(a, 0, t), tap_of_weight(a, 1, r));
          for (index_t s = 0; s < a.width().taps; ++s) {
            const reach q = outputs_under(a.width(), s);
            if (q.first < q.end)
              add_scaled(every(skip(sums, q.in), a.width().stride), skip(outputs, q.first),
                         taps[tap_of_weight(a, 2, s)], q.end - q.first);
          }
        }
  });
}

void backward_weights(const conv_arguments& a, const kernel_call& call) {
  const grid dy(call.reads[0]), x(call.reads[1]), dweight(call.writes[0]);
  parallel_for(a.k * a.group_c() * a.taps(), call.threads, [&](index_t i) {
    const index_t k = i / a.taps() / a.group_c(), c = i / a.taps() % a.group_c();
    const index_t t = i / a.width().taps / a.height().taps % a.depth().taps;
    const index_t r = i / a.width().taps % a.height().taps, s = i % a.width().taps;
    const index_t first = k / a.group_k() * a.group_c();
    const reach o = outputs_under(a.depth(), t), p = outputs_under(a.height(), r),
                q = outputs_under(a.width(), s);
    float sum = 0;
    for (index_t n = 0; n < a.n; ++n)
      for (index_t j = 0; j < o.end - o.first; ++j)
        for (index_t l = 0; l < p.end - p.first; ++l) {
          const row outputs = dy.at(n, k, o.first + j, p.first + l);
          const row cells = x.at(n, first + c, o.in + j * a.depth().stride, p.in + l * a.height().stride);
          for (index_t m = 0; m < q.end - q.first; ++m)
            sum += outputs[q.first + m] * cells[q.in + m * a.width().stride];
        }
    dweight.at(k, c, tap_of_weight(a, 0, t), tap_of_weight(a, 1, r))[tap_of_weight(a, 2, s)] = sum;
  });
}

void backward_bias(const conv_arguments& a, const kernel_call& call) {
  const grid dy(call.reads[0]);
  const auto dbias = call.writes[0].view<float>();
  parallel_for(a.k, call.threads, [&](index_t k) {
    float sum = 0;
    for (index_t n = 0; n < a.n; ++n)
      for (index_t o = 0; o < a.depth().out; ++o)
        for (index_t p = 0; p < a.height().out; ++p)
          for (index_t q = 0; q < a.width().out; ++q) sum += dy.at(n, k, o, p)[q];
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
