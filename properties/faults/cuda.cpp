// Specimens of CUDA kernels, written in the words of optimized/cuda/body.hpp and run in host execution, thread by thread:
//   product   out = A·B by tiles of 8 × 8 in shared memory, two stages, the tile of B swizzled (element (k, n) lies at
//             k·8 + (n xor k), so that neither rows nor columns fall into one bank); as convolution (A the filters, B the
//             patches) and, cut into slices along the sum that a second launch adds, as gradient of a layer's weights
//   lines     softmax, 32 threads a line, the maximum and the sum by a tree in shared memory
//   flat      an element a thread
// What a device forgives most of the time is a fault here every time: races, unwritten shared memory and barriers that
// some threads miss are told by host execution itself, and what goes wrong in global memory by the sandbox. A second
// stream is a thread that begins late and that nobody waits for.
#include "properties/faults/host_specimen.hpp"
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

using cuda::tiles;

// ---- product

constexpr int side = 8;  ///< of a tile, and terms of a step

struct product_numbers {
  int rows = 0, columns = 0, terms = 0, slices = 1, groups = 1;

  index_t blocks() const {
    return index_t{groups} * slices * tiles<index_t>(rows, side) * tiles<index_t>(columns, side);
  }
};

/// Problem: `arguments` with `size` (product_numbers), left(a, group, m, k), right(a, group, k, n) and
/// store(a, group, slice, m, n, sum).
template <name F, class Problem>
struct tile_product {
  using arguments = typename Problem::arguments;
  static constexpr int threads = side * side, tile = side * side;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, 2 * tile> a, b;
  };

  struct place {
    int group, slice, m, n;
  };
  static place place_of(const product_numbers& p, std::int64_t block, int thread) {
    const int wide = tiles(p.columns, side), high = tiles(p.rows, side);
    place at{};
    at.n = static_cast<int>(block % wide) * side + thread % side;
    at.m = static_cast<int>(block / wide % high) * side + thread / side;
    at.slice = static_cast<int>(block / wide / high % p.slices);
    at.group = static_cast<int>(block / wide / high / p.slices);
    return at;
  }

  static float rounded(float v) {
    if constexpr (F == "tf32_as_f32") return as_tf32(v);
    return v;
  }

  template <class Shared>
  static void put(Shared& s, const arguments& a, const place& at, int first, int end, int t, int stage) {
    const product_numbers& p = a.size;
    const int i = t / side, j = t % side;
    const bool left = at.m < p.rows && first + j < end, right = at.n < p.columns && first + i < end;
    // Thread (i, j) stores A's (m = i, k = j) and B's (k = i, n = j).
    if (F != "border_unwritten" || left)
      s.a[stage * tile + i * side + j] = left ? rounded(Problem::left(a, at.group, at.m, first + j)) : 0.0F;
    s.b[stage * tile + i * side + (j ^ i)] =
        right ? rounded(Problem::right(a, at.group, first + i, at.n)) : 0.0F;
  }

  template <class Shared>
  static void multiply(Shared& s, int t, int stage, float& sum) {
    const int i = t / side, j = t % side;
    for (int k = 0; k < side; ++k) {
      const int column = F == "wrong_swizzle" ? j : j ^ k;
      sum += s.a[stage * tile + i * side + k] * s.b[stage * tile + k * side + column];
    }
  }

  template <class Block>
  static void run(Block& block, shared<Block>& s, const arguments& a) {
    const product_numbers& p = a.size;
    const int t = block.thread();
    const place at = place_of(p, block.number(), t);
    const int begin = static_cast<int>(index_t{p.terms} * at.slice / p.slices),
              end = static_cast<int>(index_t{p.terms} * (at.slice + 1) / p.slices);
    const int steps = F == "dropped_tile_tail" ? (end - begin) / side : tiles(end - begin, side);
    if (F == "stale_workspace" && begin == end) return;
    if (F == "early_return" && (at.m >= p.rows || at.n >= p.columns)) return;
    float sum = 0;
    put(s, a, at, begin, end, t, 0);
    block.barrier();
    for (int step = 0; step < steps; ++step) {
      if (step + 1 < steps) put(s, a, at, begin + (step + 1) * side, end, t, (step + 1) % 2);
      multiply(s, t, F == "wrong_stage" ? 0 : step % 2, sum);
      if (F != "missing_barrier") block.barrier();
    }
    const bool inside = F == "past_the_end" ? at.n <= p.columns : at.n < p.columns;
    if (at.m < p.rows && inside) Problem::store(a, at.group, at.slice, at.m, at.n, sum);
  }
};

/// y[n, g·K' + m, p, q] = bias + Σ_(c,r,s) weight · x
struct patches {
  struct arguments {
    product_numbers size;
    int channels = 1, images = 1;
    std::array<int, 4> in{}, out{}, taps{};  ///< extents by axis of the tensor; of 2 and 3 only
    std::array<int, 4> stride{}, dilation{}, begin{};
    bool flip = false;
    const float *x = nullptr, *weight = nullptr, *bias = nullptr;
    float* y = nullptr;
  };

  static float left(const arguments& a, int group, int m, int k) {
    const int tap = k % (a.taps[2] * a.taps[3]);
    const int turned = a.flip ? a.taps[2] * a.taps[3] - 1 - tap : tap;
    return a.weight[(index_t{group} * a.size.rows + m) * a.size.terms + k - tap + turned];
  }
  static float right(const arguments& a, int group, int k, int n) {
    const int c = k / (a.taps[2] * a.taps[3]), r = k / a.taps[3] % a.taps[2], s = k % a.taps[3];
    const int q = n % a.out[3], p = n / a.out[3] % a.out[2], image = n / a.out[3] / a.out[2];
    const int h = p * a.stride[2] - a.begin[2] + r * a.dilation[2];
    const int w = q * a.stride[3] - a.begin[3] + s * a.dilation[3];
    if (h < 0 || h >= a.in[2] || w < 0 || w >= a.in[3]) return 0;
    return a.x[((index_t{image} * a.size.groups + group) * a.channels + c) * a.in[2] * a.in[3] +
               index_t{h} * a.in[3] + w];
  }
  static void store(const arguments& a, int group, int, int m, int n, float sum) {
    const index_t plane = index_t{a.out[2]} * a.out[3], k = index_t{group} * a.size.rows + m;
    a.y[(n / plane * a.size.groups * a.size.rows + k) * plane + n % plane] =
        a.bias != nullptr ? sum + a.bias[k] : sum;
  }
};

template <name F>
struct conv_specimen {
  patches::arguments a;

  static conv_specimen read(const problem& p) {
    const shape w = p.shape_of("weight"), y = p.shape_of("y");
    const auto narrow = [](index_t v) { return static_cast<int>(v); };
    const auto axes = sliding_axes(p, "x", "y", {w[2], w[3]});
    patches::arguments a;
    a.size.groups = narrow(p.integer("groups"));
    a.size.rows = narrow(w[0]) / a.size.groups;
    a.size.columns = narrow(y[0] * y[2] * y[3]);
    a.size.terms = narrow(w[1] * w[2] * w[3]);
    a.channels = narrow(w[1]);
    a.flip = p.flag("flip");
    for (std::size_t i = 2; i < 4; ++i) {
      const sliding_axis& axis = axes[i - 1];
      a.in[i] = narrow(axis.in), a.out[i] = narrow(axis.out), a.taps[i] = narrow(axis.taps);
      a.stride[i] = narrow(axis.stride), a.dilation[i] = narrow(axis.dilation);
      a.begin[i] = narrow(axis.begin);
    }
    return {a};
  }
  std::size_t workspace() const { return 0; }
  void launch(const kernel_call& call, launches& to) const {
    patches::arguments mine = a;
    mine.x = pointer<const float>(call.reads[0]);
    mine.weight = pointer<const float>(call.reads[1]);
    mine.bias = call.reads.size() > 2 ? pointer<const float>(call.reads[2]) : nullptr;
    mine.y = pointer<float>(call.writes[0]);
    to.here<tile_product<F, patches>>(mine.size.blocks(), mine);
  }
};

/// dW[m, n] = Σ_k dy[k, m] · x[k, n], in slices
struct outer_products {
  struct arguments {
    product_numbers size;
    const float *dy = nullptr, *x = nullptr;
    float* parts = nullptr;
  };
  static float left(const arguments& a, int, int m, int k) { return a.dy[index_t{k} * a.size.rows + m]; }
  static float right(const arguments& a, int, int k, int n) { return a.x[index_t{k} * a.size.columns + n]; }
  static void store(const arguments& a, int, int slice, int m, int n, float sum) {
    a.parts[(index_t{slice} * a.size.rows + m) * a.size.columns + n] = sum;
  }
};

template <name F>
struct slice_sum {
  struct arguments {
    const float* parts = nullptr;
    float* out = nullptr;
    index_t count = 0;
    int slices = 1;
  };
  template <class Block>
  struct shared {};
  static constexpr int threads = 64;
  static constexpr bool barriers = false;

  template <class Block>
  static void run(Block& block, shared<Block>&, const arguments& a) {
    const index_t i = block.number() * threads + block.thread();
    if (i >= a.count) return;
    float sum = F == "unzeroed_split_sum" ? a.out[i] : 0.0F;
    for (int slice = 0; slice < a.slices; ++slice) sum += a.parts[slice * a.count + i];
    a.out[i] = sum;
  }
};

template <name F>
struct split_specimen {
  product_numbers size;

  static split_specimen read(const problem& p) {
    const shape x = p.shape_of("x"), w = p.shape_of("weight");
    product_numbers n{.rows = static_cast<int>(w[0]), .columns = static_cast<int>(w[1]), .slices = 4};
    n.terms = 1;
    for (int axis = 0; axis + 1 < x.rank(); ++axis) n.terms *= static_cast<int>(x[axis]);
    return {n};
  }
  index_t count() const { return index_t{size.rows} * size.columns; }
  std::size_t workspace() const { return static_cast<std::size_t>(size.slices * count()) * sizeof(float); }
  void launch(const kernel_call& call, launches& to) const {
    auto* const parts = static_cast<float*>(call.workspace);
    to.here<tile_product<F, outer_products>>(size.blocks(), {size, pointer<const float>(call.reads[0]),
                                                             pointer<const float>(call.reads[1]), parts});
    using sum = slice_sum<F>;
    const typename sum::arguments a{parts, pointer<float>(call.writes[0]), count(), size.slices};
    const index_t blocks = tiles<index_t>(a.count, sum::threads);
    if constexpr (F == "other_stream")
      to.elsewhere<sum>(blocks, a);
    else
      to.here<sum>(blocks, a);
  }
};

// ---- lines

template <name F>
struct softmax_line {
  struct arguments {
    const float* x = nullptr;
    float* y = nullptr;
    index_t length = 0, step = 1;
  };
  static constexpr int threads = 32;
  static constexpr bool barriers = true;
  template <class Block>
  struct shared {
    typename Block::template array<float, threads> partial;
  };

  /// By a tree over the first `count` threads, of which the upper half gives its number to the lower each time.
  template <class Block, class Join>
  static float reduced(Block& block, shared<Block>& s, int count, float mine, Join join) {
    const int t = block.thread();
    s.partial[t] = mine;
    block.barrier();
    for (int left = count; left > 1;) {
      const int half = F == "odd_lane_lost" ? left / 2 : (left + 1) / 2;
      if (t + half < left && t < half) s.partial[t] = join(s.partial[t], s.partial[t + half]);
      if (F != "missing_barrier") block.barrier();
      left = half;
    }
    const float result = s.partial[0];
    block.barrier();
    return result;
  }

  template <class Block>
  static void run(Block& block, shared<Block>& s, const arguments& a) {
    const index_t start = block.number() / a.step * a.length * a.step + block.number() % a.step;
    const int count = static_cast<int>(cuda::smaller<index_t>(a.length, threads));
    float most = -std::numeric_limits<float>::infinity();
    for (index_t i = block.thread(); i < a.length; i += threads)
      if (const float x = a.x[start + i * a.step]; x > most || x != x) most = x;
    most = reduced(block, s, count, most, [](float l, float r) { return r > l || r != r ? r : l; });
    float sum = 0;
    for (index_t i = block.thread(); i < a.length; i += threads)
      sum += std::exp(a.x[start + i * a.step] - most);
    sum = reduced(block, s, count, sum, [](float l, float r) { return l + r; });
    for (index_t i = block.thread(); i < a.length; i += threads)
      a.y[start + i * a.step] = std::exp(a.x[start + i * a.step] - most) / sum;
  }
};

template <name F>
struct softmax_specimen {
  index_t lines = 0, length = 1, step = 1;

  static softmax_specimen read(const problem& p) {
    const shape x = p.shape_of("x");
    const auto axis = static_cast<int>(p.integer("axis"));
    softmax_specimen s{x.size() / x[axis], x[axis], 1};
    for (int behind = axis + 1; behind < x.rank(); ++behind) s.step *= x[behind];
    return s;
  }
  std::size_t workspace() const { return 0; }
  void launch(const kernel_call& call, launches& to) const {
    to.here<softmax_line<F>>(
        lines, {pointer<const float>(call.reads[0]), pointer<float>(call.writes[0]), length, step});
  }
};

// ---- flat

template <name F>
struct flat_tanh {
  struct arguments {
    const float* x = nullptr;
    float* y = nullptr;
    index_t count = 0;
  };
  template <class Block>
  struct shared {};
  static constexpr int threads = 64;
  static constexpr bool barriers = false;

  template <class Block>
  static void run(Block& block, shared<Block>&, const arguments& a) {
    index_t i = block.number() * threads + block.thread();
    if constexpr (F == "narrow_offset")  // bytes in 16 bits: 32, scaled down to what a test can reach
      i = static_cast<std::uint16_t>(i * 4) / 4;
    if (F == "past_the_end" ? i > a.count : i >= a.count) return;
    a.y[i] = i < a.count ? std::tanh(a.x[i]) : 0.0F;
  }
};

template <name F>
struct flat_specimen {
  static flat_specimen read(const problem&) { return {}; }
  std::size_t workspace() const { return 0; }
  void launch(const kernel_call& call, launches& to) const {
    using body = flat_tanh<F>;
    const index_t count = call.writes[0].extents.size();
    const typename body::arguments a{pointer<const float>(call.reads[0]), pointer<float>(call.writes[0]),
                                     count};
    const index_t blocks = F == "grid_tail" && count > body::threads ? count / body::threads
                                                                     : tiles<index_t>(count, body::threads);
    if constexpr (F == "other_stream")
      to.elsewhere<body>(blocks, a);
    else
      to.here<body>(blocks, a);
  }
};

}  // namespace

void register_cuda(registry& kernels) {
  add<conv_specimen, "dropped_tile_tail", "missing_barrier", "wrong_stage", "wrong_swizzle", "tf32_as_f32",
      "past_the_end", "border_unwritten", "early_return">(kernels, "conv2d", "forward");
  add<split_specimen, "unzeroed_split_sum", "stale_workspace", "dropped_tile_tail", "missing_barrier",
      "wrong_stage", "other_stream">(kernels, "linear", "backward_weights");
  add<softmax_specimen, "missing_barrier", "odd_lane_lost">(kernels, "softmax", "forward");
  add<flat_specimen, "narrow_offset", "grid_tail", "past_the_end", "other_stream">(kernels, "tanh", "forward",
                                                                                   3);
}

}  // namespace plumb::faults
