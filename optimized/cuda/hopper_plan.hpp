// What conv2d_hopper.cu works out on the host: axes, descriptions of operands, tiles and slices.
#pragma once

#include <algorithm>
#include <numeric>

#include "optimized/cuda/conv_host.hpp"
#include "optimized/cuda/matrix_host.hpp"
#include "optimized/cuda/operand_pack.hpp"
#include "optimized/cuda/tensor_map.hpp"

namespace plumb::cuda {

/// One axis of a product of pixels: output i under tap j reads input  i·step + lower + j·dilation.
struct axis_product {
  int in = 1;     ///< extent of what is read
  int count = 1;  ///< of outputs
  int taps = 1, step = 1, dilation = 1, lower = 0;
  int first_tap = 0, tap_step = 1;  ///< of the filter: tap j is its first_tap + j·tap_step

  /// The last input that an output begins at, counted from the last one there is.
  int upper() const { return (count - 1) * step + 1 + lower - in; }
  bool expressible() const {
    const auto border = [](int v) { return v >= least_corner && v <= most_corner; };
    return border(lower) && border(upper()) && (taps - 1) * dilation <= most_offset && step <= most_step;
  }
};

inline axis_product forward_axis(const conv_axis_numbers& a, bool flip) {
  return {a.in, a.out, a.taps, a.stride, a.dilation, -a.begin, flip ? a.taps - 1 : 0, flip ? -1 : 1};
}

/// dx[stride·i + residue] = Σ dy[o]·w[t] over the taps t with o·stride = stride·i + residue + begin - t·dilation. From one
/// such tap to the next t grows by stride / gcd and o shrinks by dilation / gcd; counted from the last tap, o grows.
inline axis_product backward_axis(const conv_axis_numbers& a, int residue, bool flip) {
  const int gcd = std::gcd(a.stride, a.dilation), between = a.stride / gcd;
  axis_product p{.in = a.out, .count = a.in > residue ? (a.in - residue - 1) / a.stride + 1 : 0, .taps = 0};
  int first = 0;
  while (first < std::min(between, a.taps) && (residue + a.begin - first * a.dilation) % a.stride != 0)
    ++first;
  if (first == std::min(between, a.taps)) return p;  // no tap lands there
  p.taps = (a.taps - 1 - first) / between + 1;
  p.dilation = a.dilation / gcd;
  p.lower = (residue + a.begin - first * a.dilation) / a.stride - (p.taps - 1) * p.dilation;
  const int last = first + (p.taps - 1) * between;
  p.first_tap = flip ? a.taps - 1 - last : last;
  p.tap_step = flip ? between : -between;
  return p;
}

struct pixel_product {
  axis_product height, width;
};

/// Of one group.
struct image_extent {
  int images = 0, channels = 0, height = 1, width = 1;
  offset pixels() const { return offset{images} * height * width; }
  template <class Words>
  std::size_t bytes() const {
    return static_cast<std::size_t>(pixels()) * static_cast<std::size_t>(packed_words<Words>(channels)) * 4;
  }
};

template <class Words>
std::size_t filter_bytes(offset rows, offset taps, int channels) {
  return static_cast<std::size_t>(rows * taps) * static_cast<std::size_t>(packed_words<Words>(channels)) * 4;
}

struct warpgroup_tile_size {
  int rows, columns;
};
/// The largest tile of which there are enough for a card.
inline warpgroup_tile_size size_of_tile(offset rows, int columns) {
  const int wide = columns > 64 ? 128 : 64;
  const offset large = tiles<offset>(rows, 256) * tiles(columns, wide);
  return {large >= busy_blocks / 2 ? 256 : 128, wide};
}

/// Slices of at least four steps each, as many as keep a card busy.
constexpr int slices_of(offset blocks, int steps) {
  const offset wanted = busy_blocks / 2 / std::max<offset>(1, blocks);
  return static_cast<int>(std::max<offset>(1, std::min<offset>(wanted, steps / 4)));
}
inline int slices_of_pixels(offset rows, int columns, int steps) {
  const warpgroup_tile_size s = size_of_tile(rows, columns);
  return slices_of(tiles<offset>(rows, s.rows) * tiles(columns, s.columns), steps);
}
inline int slices_of_filters(int rows, int columns, int taps, int steps) {
  return slices_of(offset{tiles(rows, 128)} * tiles(columns, columns > 64 ? 128 : 64) * taps, steps);
}

template <class Words>
std::size_t parts_bytes(offset rows, int columns, const pixel_product& p, int channels) {
  const int steps = p.height.taps * p.width.taps * tiles(channels, copied_row_bytes / 4 * Words::numbers);
  const int slices = slices_of_pixels(rows, columns, steps);
  return slices > 1 ? static_cast<std::size_t>(slices * rows * columns) * sizeof(float) : 0;
}

/// Pixels of packed images under a filter tap, `rows` a copy.
template <class Words>
copied_tensor map_of_pixels(const void* at, const image_extent& image, const axis_product& h,
                            const axis_product& w, int rows) {
  const auto narrow = [](int v) { return static_cast<std::int16_t>(v); };
  const offset pixel = offset{packed_words<Words>(image.channels)} * 4;
  copied_tensor t{.data = at,
                  .extents = {image.channels, image.width, image.height, image.images},
                  .strides = {0, pixel, pixel * image.width, pixel * image.width * image.height},
                  .element_bytes = narrow(4 / Words::numbers),
                  .rank = 4,
                  .rows = narrow(rows),
                  .pixels = true,
                  .lower = {narrow(w.lower), narrow(h.lower)},
                  .upper = {narrow(w.upper()), narrow(h.upper())},
                  .step = {narrow(w.step), narrow(h.step)}};
  return t;
}

/// `rows` consecutive pixels of packed images, one below the other.
template <class Words>
copied_tensor map_of_rows(const void* at, const image_extent& image, int rows) {
  const auto narrow = [](int v) { return static_cast<std::int16_t>(v); };
  const offset pixel = offset{packed_words<Words>(image.channels)} * 4;
  copied_tensor t{.data = at,
                  .extents = {image.channels, image.pixels(), 1, 1},
                  .strides = {0, pixel, pixel * image.pixels(), 0},
                  .element_bytes = narrow(4 / Words::numbers),
                  .rank = 3,
                  .rows = narrow(rows)};
  t.box[0] = narrow(t.columns()), t.box[1] = t.rows, t.box[2] = 1;
  return t;
}

/// One tap of `rows` packed filters.
template <class Words>
copied_tensor map_of_filters(const void* at, int channels, int taps, int filters, int rows) {
  const auto narrow = [](int v) { return static_cast<std::int16_t>(v); };
  const offset tap = offset{packed_words<Words>(channels)} * 4;
  copied_tensor t{.data = at,
                  .extents = {channels, taps, filters, 1},
                  .strides = {0, tap, tap * taps, 0},
                  .element_bytes = narrow(4 / Words::numbers),
                  .rank = 3,
                  .rows = narrow(rows)};
  t.box[0] = narrow(t.columns()), t.box[1] = 1, t.box[2] = t.rows;
  return t;
}

/// A convolution, or a fully connected layer as one: rows of x are images of one pixel.
struct hopper_problem {
  conv_numbers p;
  int groups = 1;
  bool matrices = false;
  int taps() const { return p.h.taps * p.w.taps; }
};

inline hopper_problem convolution_of(const kernel_problem& kp) {
  const conv_arguments a = read_conv_arguments(kp.problem);
  return {to_numbers(a), static_cast<int>(a.groups), false};
}

inline hopper_problem matrices_of(const kernel_problem& kp) {
  const shape x = kp.problem.shape_of("x"), weight = kp.problem.shape_of("weight");
  index_t rows = 1;
  for (int axis = 0; axis + 1 < x.rank(); ++axis) rows *= x[axis];
  conv_numbers p;
  p.n = static_cast<int>(rows);
  p.c = p.group_c = static_cast<int>(weight[1]);
  p.k = p.group_k = static_cast<int>(weight[0]);
  return {p, 1, true};
}

/// A tensor of four axes, or a dense matrix (its last axis against all others) as one.
template <class T>
view4<T> view_of(const tensor_ref& t, bool matrix) {
  if (!matrix) return view_of<T>(t);
  return {static_cast<T*>(t.data), {t.extents[t.extents.rank() - 1], 1, 0, 0}};
}

inline constexpr index_t most_channels = index_t{1} << 20;

inline support hopper_linear_support(const kernel_problem& kp) {
  const std::string unknown = kp.problem.first_unknown({"x", "weight", "bias", "y"});
  if (!unknown.empty()) return support::no("unknown attribute " + unknown);
  const shape x = kp.problem.shape_of("x"), weight = kp.problem.shape_of("weight");
  const index_t rows = weight[1] == 0 ? 0 : x.size() / weight[1];
  if (rows > std::numeric_limits<int>::max() / 2) return support::no("more than 2^30 rows");
  const bool fits = weight[0] <= most_channels && weight[1] <= most_channels;
  return fits ? support::yes() : support::no("more than 2^20 inputs or outputs");
}

inline support hopper_support(const kernel_problem& kp) {
  if (const support s = conv2d_support(kp); !s.ok) return s;
  const conv_arguments from = read_conv_arguments(kp.problem);
  constexpr index_t most_groups = 32, most_taps = 1 << 10;
  if (from.groups > most_groups)
    return support::no("more than 32 groups, each of which is a launch of its own");
  if (from.group_c() > most_channels || from.group_k() > most_channels || from.taps() > most_taps)
    return support::no("more than 2^20 channels or 1024 filter taps");
  const conv_numbers p = to_numbers(from);
  for (const conv_axis_numbers& a : {p.h, p.w}) {
    bool fits = forward_axis(a, false).expressible();
    for (int residue = 0; residue < a.stride && fits; ++residue)
      fits = backward_axis(a, residue, false).expressible();
    if (!fits)
      return support::no(
          "padding, dilation or stride beyond the borders, offsets and steps of the copy engine");
  }
  return support::yes();
}

}  // namespace plumb::cuda
