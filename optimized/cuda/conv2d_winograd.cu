// Winograd's minimal filtering F(4×4, 3×3) in f32 for filters of 3 × 3 with stride 1: conv2d forward and backward_data, any
// strides in memory, not fused:
//   y tile = Aᵀ [ Σ_c (G g_c Gᵀ) ⊙ (Bᵀ d_c B) ] A      d: 6 × 6 inputs, y: 4 × 4 outputs, tiles begin at output 0
// with the points 0, ±1, ±2, ∞: 2.25 products an output instead of 9, for larger rounding errors: winograd(4,3).
//   filters   a thread has one filter:               U[e][group][k][c] = G g Gᵀ, e < 36
//   inputs    a thread has one tile of one channel:  V[e][group][c][tile] = Bᵀ d B; neighbouring threads, neighbouring tiles
//   product   36 · groups matrix products by the tiles of matrix_tile.hpp: M[e][group][k][tile] = U·V
//   outputs   a thread has one tile of one channel:  y = Aᵀ m A + bias
// Backward: dx is the same with dy in the place of x, C and K exchanged, the filter turned and padding 2 - pad.
// What limits it: the products do 4 times less than a direct kernel, so for few channels memory does: V and M hold 36/16 of
// the numbers that they are made from and lie in the workspace, so as many images at a time as keep it small.
// Lavin & Gray 2016, "Fast algorithms for convolutional neural networks".
#include "optimized/cuda/matrix_tile.hpp"

namespace plumb::cuda {

struct winograd_arguments {
  static constexpr int size = 6, elements = size * size, outputs = 4;
  // As the Problem of matrix_tile.hpp sees it: rows are output channels, columns tiles, groups elements times groups.
  int rows = 0;
  offset columns = 0;
  int groups = 0, slices = 1;
  int terms = 0;  ///< input channels of a group

  int filter_groups = 1;
  conv_axis_numbers h = {}, w = {};  ///< `in` and `out` are those of this pass
  int tiles_h = 0, tiles_w = 0;
  int first_image = 0;
  bool backward = false, turned = false;
  view4<const float> in = {}, weight = {};
  const float* bias = nullptr;
  offset bias_stride = 1;
  view4<float> out = {};
  float *u = nullptr, *v = nullptr, *m = nullptr;

  PLUMB_DEVICE offset in_channels() const { return offset{filter_groups} * terms; }
  PLUMB_DEVICE offset out_channels() const { return offset{filter_groups} * rows; }
};

/// to = Bᵀ·from for one column or row, `step` apart in both.
PLUMB_DEVICE void winograd_input_line(float* d, int step) {
  const float d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const float even = d4 - 4 * d2, odd = d3 - 4 * d1, near = d4 - d2, far = 2 * (d3 - d1);
  d[0] = 4 * d0 + (d4 - 5 * d2);
  d[step] = even + odd;
  d[2 * step] = even - odd;
  d[3 * step] = near + far;
  d[4 * step] = near - far;
  d[5 * step] = 4 * d1 + (d5 - 5 * d3);
}

/// Aᵀ·from: six numbers to four, in the first four places.
PLUMB_DEVICE void winograd_output_line(float* m, int step) {
  const float sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
  const float far_sum = m[3 * step] + m[4 * step], far_difference = m[3 * step] - m[4 * step];
  m[0] = m[0] + sum + far_sum;
  m[step] = difference + 2 * far_difference;
  m[2 * step] = sum + 4 * far_sum;
  m[3 * step] = difference + 8 * far_difference + m[5 * step];
}

/// G·g: three numbers to six.
PLUMB_DEVICE void winograd_filter_line(const float (&g)[3], float* to, int step) {
  // Divided before they are added, so that no sum is larger than the filter.
  const float half = g[1] / -6, ends = g[0] / -6 + g[2] / -6, spread = g[0] / 24 + g[2] / 6;
  to[0] = g[0] / 4;
  to[step] = ends + half;
  to[2 * step] = ends - half;
  to[3 * step] = spread + g[1] / 12;
  to[4 * step] = spread - g[1] / 12;
  to[5 * step] = g[2];
}

struct winograd_filters {
  using arguments = winograd_arguments;
  static constexpr int threads = 128;
  static constexpr bool barriers = false;
  template <class Block>
  struct shared {};

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread(), all = a.out_channels() * a.terms;
    if (i >= all) return;
    const offset c = i % a.terms, k = i / a.terms, group = k / a.rows;
    // The weights are stored by out channel of the forward pass, and by channel in the group.
    const offset row = a.backward ? group * a.terms + c : k, column = a.backward ? k % a.rows : c;
    float half[6][3], e[36];
    PLUMB_UNROLL
    for (int s = 0; s < 3; ++s) {
      float g[3];
      PLUMB_UNROLL
      for (int r = 0; r < 3; ++r) g[r] = a.weight(row, column, a.turned ? 2 - r : r, a.turned ? 2 - s : s);
      winograd_filter_line(g, &half[0][s], 3);
    }
    PLUMB_UNROLL
    for (int r = 0; r < 6; ++r) winograd_filter_line(half[r], e + 6 * r, 1);
    PLUMB_UNROLL
    for (int j = 0; j < 36; ++j) a.u[j * all + i] = e[j];
  }
};

/// Which tile a thread has: tiles of all images are one line.
struct winograd_place {
  offset channel, tile;
  int n, h, w;  ///< of its first output

  static PLUMB_DEVICE winograd_place of(const winograd_arguments& a, offset i) {
    winograd_place at;
    at.channel = i / a.columns;
    at.tile = i % a.columns;
    at.w = static_cast<int>(at.tile % a.tiles_w) * 4;
    at.h = static_cast<int>(at.tile / a.tiles_w % a.tiles_h) * 4;
    at.n = a.first_image + static_cast<int>(at.tile / a.tiles_w / a.tiles_h);
    return at;
  }
};

struct winograd_inputs {
  using arguments = winograd_arguments;
  static constexpr int threads = 128;
  static constexpr bool barriers = false;
  template <class Block>
  struct shared {};

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread(), all = a.in_channels() * a.columns;
    if (i >= all) return;
    const winograd_place at = winograd_place::of(a, i);
    float d[36];
    PLUMB_UNROLL
    for (int r = 0; r < 6; ++r) PLUMB_UNROLL
    for (int s = 0; s < 6; ++s) {
      const int h = a.h.reads(at.h, r), w = a.w.reads(at.w, s);
      d[6 * r + s] = a.h.inside(h) && a.w.inside(w) ? a.in(at.n, at.channel, h, w) : 0.0F;
    }
    PLUMB_UNROLL
    for (int s = 0; s < 6; ++s) winograd_input_line(d + s, 6);
    PLUMB_UNROLL
    for (int r = 0; r < 6; ++r) winograd_input_line(d + 6 * r, 1);
    PLUMB_UNROLL
    for (int j = 0; j < 36; ++j) a.v[j * all + i] = d[j];
  }
};

/// The 36 · groups products, as a Problem of matrix_tile.hpp.
struct winograd_product {
  using arguments = winograd_arguments;
  static constexpr bool rows_along_k = true, columns_along_k = false;
  struct row {
    const float* data;  ///< null: outside
  };
  using column = row;

  static PLUMB_DEVICE int depth(const arguments& a, int) { return a.terms; }
  static PLUMB_DEVICE row row_at(const arguments& a, int group, int, int m) {
    return {m < a.rows ? a.u + (offset{group} * a.rows + m) * a.terms : nullptr};
  }
  static PLUMB_DEVICE column column_at(const arguments& a, int group, int, offset n) {
    return {n < a.columns ? a.v + offset{group} * a.terms * a.columns + n : nullptr};
  }
  static PLUMB_DEVICE float left(const arguments&, const row& r, int k) {
    return r.data == nullptr ? 0.0F : r.data[k];
  }
  static PLUMB_DEVICE float right(const arguments& a, const column& c, int k) {
    return c.data == nullptr ? 0.0F : c.data[k * a.columns];
  }
  static PLUMB_DEVICE out_column out_at(const arguments& a, int group, int, offset n) {
    return {a.m + offset{group} * a.rows * a.columns + n, a.columns};
  }
  static PLUMB_DEVICE float with_bias(const arguments&, int, int, offset, float sum) { return sum; }
};

struct winograd_outputs {
  using arguments = winograd_arguments;
  static constexpr int threads = 128;
  static constexpr bool barriers = false;
  template <class Block>
  struct shared {};

  template <class Block>
  PLUMB_DEVICE static void run(Block& block, shared<Block>&, const arguments& a) {
    const offset i = block.number() * threads + block.thread(), all = a.out_channels() * a.columns;
    if (i >= all) return;
    const winograd_place at = winograd_place::of(a, i);
    float m[36];
    PLUMB_UNROLL
    for (int j = 0; j < 36; ++j) m[j] = a.m[j * all + i];
    PLUMB_UNROLL
    for (int s = 0; s < 6; ++s) winograd_output_line(m + s, 6);
    const float bias = a.bias != nullptr ? a.bias[at.channel * a.bias_stride] : 0.0F;
    PLUMB_UNROLL
    for (int r = 0; r < 4; ++r) {
      winograd_output_line(m + 6 * r, 1);
      PLUMB_UNROLL
      for (int s = 0; s < 4; ++s)
        if (at.h + r < a.h.out && at.w + s < a.w.out)
          a.out(at.n, at.channel, at.h + r, at.w + s) = m[6 * r + s] + bias;
    }
  }
};

}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_launch.cuh"

namespace plumb::cuda {
template struct device_code<winograd_filters, winograd_inputs, winograd_outputs>;
template struct product_code<winograd_product>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/conv_host.hpp"
#include "optimized/cuda/matrix_host.hpp"

namespace plumb {
namespace {

using namespace cuda;

constexpr index_t most_floats = index_t{1} << 26;  ///< of V and M, unless one image has more

support winograd_support(const kernel_problem& kp) {
  if (const support s = conv2d_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  for (const conv_axis* axis : {&a.height(), &a.width()}) {
    if (axis->taps != 3) return support::no("Winograd needs a 3×3 filter");
    if (axis->stride != 1) return support::no("Winograd needs stride=1");
    if (axis->dilation != 1) return support::no("Winograd needs dilation=1");
  }
  const bool fits = a.groups <= std::numeric_limits<int>::max() / winograd_arguments::elements;
  return fits ? support::yes() : support::no("36 times the groups are more than 2^31");
}

/// What is known before the call: everything but addresses, and how many floats the three parts of the workspace have.
struct winograd_numbers {
  winograd_arguments a;
  index_t images = 1;  ///< at a time
  index_t filters = 0, inputs = 0, products = 0;
};

winograd_numbers numbers_of(const conv_arguments& from, bool forward) {
  winograd_numbers n;
  winograd_arguments& a = n.a;
  const conv_numbers numbers = to_numbers(from);
  a.filter_groups = static_cast<int>(from.groups);
  a.groups = winograd_arguments::elements * a.filter_groups;
  a.rows = forward ? numbers.group_k : numbers.group_c;
  a.terms = forward ? numbers.group_c : numbers.group_k;
  a.h = numbers.h, a.w = numbers.w;
  a.backward = !forward;
  a.turned = from.flip == forward;
  for (conv_axis_numbers* axis : {&a.h, &a.w})
    if (!forward) {
      std::swap(axis->in, axis->out);
      axis->begin = 2 - axis->begin;
    }
  a.tiles_h = tiles(a.h.out, winograd_arguments::outputs);
  a.tiles_w = tiles(a.w.out, winograd_arguments::outputs);
  const index_t image = index_t{winograd_arguments::elements} * a.tiles_h * a.tiles_w;
  const index_t floats = std::max<index_t>(1, image * (from.c + from.k));
  n.images = std::clamp<index_t>(most_floats / floats, 1, std::max<index_t>(1, from.n));
  n.filters = index_t{winograd_arguments::elements} * a.out_channels() * a.terms;
  n.inputs = image * n.images * a.in_channels();
  n.products = image * n.images * a.out_channels();
  return n;
}

/// All blocks of a body with one thread for each of `count` things.
template <class Body>
void launch_each(stream& to, index_t count, const winograd_arguments& a) {
  to.launch<Body>({tiles<index_t>(count, Body::threads), Body::threads}, a);
}

program make(const kernel_problem& kp, bool forward) {
  const conv_arguments from = read_conv_arguments(kp.problem);
  const winograd_numbers n = numbers_of(from, forward);
  program p;
  p.workspace = static_cast<std::size_t>(n.filters + n.inputs + n.products) * sizeof(float);
  p.run = [n, images = from.n](const kernel_call& call, stream& to) {
    winograd_arguments a = n.a;
    a.in = view_of<const float>(call.reads[0]);
    a.weight = view_of<const float>(call.reads[1]);
    if (!a.backward) set_bias(a, call);
    a.out = view_of<float>(call.writes[0]);
    a.u = static_cast<float*>(call.workspace);
    a.v = a.u + n.filters;
    a.m = a.v + n.inputs;
    launch_each<winograd_filters>(to, a.out_channels() * a.terms, a);
    for (index_t first = 0; first < images; first += n.images) {
      a.first_image = static_cast<int>(first);
      a.columns = std::min(n.images, images - first) * a.tiles_h * a.tiles_w;
      launch_each<winograd_inputs>(to, a.in_channels() * a.columns, a);
      launch_product<winograd_product>(to, a);
      launch_each<winograd_outputs>(to, a.out_channels() * a.columns, a);
    }
  };
  return p;
}

}  // namespace

void register_cuda_conv2d_winograd(registry& kernels) {
  for (const bool forward : {true, false}) {
    row r{.layer = "conv2d",
          .pass = forward ? "forward" : "backward_data",
          .algorithm = "winograd4",
          .arithmetic = "winograd(4,3)",
          .any_strides = true,
          .supports = winograd_support,
          .make = {}};
    r.make = [forward](const kernel_problem& kp) { return make(kp, forward); };
    add_rows(kernels, r);
  }
}

}  // namespace plumb
#endif
