#include "verify/winograd.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "reference/scalars/float_format.hpp"

namespace plumb {
namespace {

constexpr int most = 6;  ///< rows of a tile of inputs
using tile = std::array<double, most * most>;

/// The three matrices of F(m,3), in magnitudes: G is size×3, Bᵀ size×size, Aᵀ m×size.
struct magnitudes {
  int m, size;
  double g[most][3], b[most][most], a[4][most];
};
constexpr magnitudes f2 = {2,
                           4,
                           {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, {0, 0, 1}},
                           {{1, 0, 1, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 1, 0, 1}},
                           {{1, 1, 1, 0}, {0, 1, 1, 1}}};
constexpr magnitudes f4 = {4,
                           6,
                           {{1.0 / 4, 0, 0},
                            {1.0 / 6, 1.0 / 6, 1.0 / 6},
                            {1.0 / 6, 1.0 / 6, 1.0 / 6},
                            {1.0 / 24, 1.0 / 12, 1.0 / 6},
                            {1.0 / 24, 1.0 / 12, 1.0 / 6},
                            {0, 0, 1}},
                           {{4, 0, 5, 0, 1, 0},
                            {0, 4, 4, 1, 1, 0},
                            {0, 4, 4, 1, 1, 0},
                            {0, 2, 1, 2, 1, 0},
                            {0, 2, 1, 2, 1, 0},
                            {0, 4, 0, 5, 0, 1}},
                           {{1, 1, 1, 1, 1, 0}, {0, 1, 1, 2, 2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, 1, 8, 8, 1}}};

/// rows·from·rowsᵀ, where rows is size×n and from n×n.
template <int N>
tile both_sides(int size, const double (&rows)[most][N], const double (&from)[N][N]) {
  double half[most][N] = {};
  tile to{};
  for (int i = 0; i < size; ++i)
    for (int j = 0; j < N; ++j)
      for (int k = 0; k < N; ++k) half[i][j] += rows[i][k] * from[k][j];
  for (int i = 0; i < size; ++i)
    for (int j = 0; j < size; ++j) {
      double sum = 0;
      for (int k = 0; k < N; ++k) sum += half[i][k] * rows[j][k];
      to[static_cast<std::size_t>(i * size + j)] = sum;
    }
  return to;
}

/// The sum may leave the range of f32.
bool too_large(double magnitude) { return magnitude * (1 + 0x1p-8) >= format_of(dtype::f32).largest(); }

/// A plane convolution with unit steps, the way one pass reads it: output (p, q) meets the inputs from
/// (p - top, q - left) on.
struct geometry {
  const tensor<double>* data = nullptr;
  const tensor<double>* weight = nullptr;
  const tensor<double>* bias = nullptr;
  index_t groups = 1, in = 0, out = 0;  ///< channels of a group
  index_t in_height = 0, in_width = 0, out_height = 0, out_width = 0, top = 0, left = 0;
  index_t weight_in = 0, weight_out = 0;  ///< steps between filters
  bool turned = false;                    ///< the filter is read backwards
};

std::string read_geometry(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                          geometry& g) {
  const problem& p = l.resolved();
  const std::string expected = "; expected conv2d.forward or backward_data";
  if (!p.first_unknown(
            {"x", "weight", "bias", "y", "stride", "pad", "dilation", "groups", "padding", "fit", "flip"})
           .empty() ||
      !p.has("pad") || !p.has("groups") || p.shape_of("x").rank() != 4 || p.shape_of("weight").rank() != 4)
    return "Winograd's arithmetic is that of a convolution of planes, which " + l.name() + " is not" +
           expected;
  const bool forward = pass.name == "forward";
  if (!forward && pass.name != "backward_data")
    return "Winograd's arithmetic is not known for the pass " + pass.name + expected;
  const shape weight = p.shape_of("weight"), x = p.shape_of("x"), y = p.shape_of("y");
  const auto unit = [](index_t i) { return i == 1; };
  if (weight[2] != 3 || weight[3] != 3 || !std::ranges::all_of(p.integers("stride"), unit) ||
      !std::ranges::all_of(p.integers("dilation"), unit))
    return "Winograd's arithmetic is that of 3x3 filters with stride=1 and dilation=1";
  const auto pad = p.integers("pad");
  g.groups = p.integer("groups");
  g.data = &reads[forward ? "x" : "dy"];
  g.weight = &reads["weight"];
  if (forward && reads.has("bias")) g.bias = &reads["bias"];
  const shape &in = forward ? x : y, &out = forward ? y : x;
  g.in = in[1] / g.groups;
  g.out = out[1] / g.groups;
  g.in_height = in[2];
  g.in_width = in[3];
  g.out_height = out[2];
  g.out_width = out[3];
  g.top = forward ? pad[0] : 2 - pad[0];
  g.left = forward ? pad[2] : 2 - pad[2];
  g.weight_in = forward ? 9 : g.out * 9;
  g.weight_out = forward ? g.in * 9 : 9;
  g.turned = p.flag("flip") == forward;
  return {};
}

constexpr int width = 8;           ///< tiles beside each other in two vectors
constexpr int tiles_at_once = 32;  ///< that meet a filter while it is near
constexpr int rows_at_once = 6;    ///< output channels
using four = double __attribute__((vector_size(32)));
using four_in_memory = double __attribute__((vector_size(32), aligned(8), may_alias));

/// sums[j·tiles_at_once …] = Σ_c rows[j][c]·data[c], for `width` tiles.
[[gnu::target_clones("avx2", "default")]] void products(const double* const* rows, const double* data,
                                                        index_t terms, double* sums) {
  four low[rows_at_once] = {}, high[rows_at_once] = {};
  for (index_t c = 0; c < terms; ++c, data += width) {
    const four x = *reinterpret_cast<const four_in_memory*>(data);
    const four y = *reinterpret_cast<const four_in_memory*>(data + 4);
#pragma GCC unroll 6
    for (int j = 0; j < rows_at_once; ++j) {
      low[j] += rows[j][c] * x;
      high[j] += rows[j][c] * y;
    }
  }
#pragma GCC unroll 6
  for (int j = 0; j < rows_at_once; ++j) {
    *reinterpret_cast<four_in_memory*>(sums + j * tiles_at_once) = low[j];
    *reinterpret_cast<four_in_memory*>(sums + j * tiles_at_once + 4) = high[j];
  }
}

/// Works the sizes out, either tile by tile for single elements or, for whole tensors, for many tiles by matrix products.
class survey {
 public:
  survey(const geometry& g, const magnitudes& f, transformed_sizes& result)
      : g_(g), f_(f), squares_(f.size * f.size), result_(result) {
    filters_.resize(static_cast<std::size_t>(squares_ * g.groups * g.out * g.in));
    spoiled_.resize(static_cast<std::size_t>(g.groups * g.out));
    for (index_t k = 0; k < g.groups * g.out; ++k)
      for (index_t c = 0; c < g.in; ++c) transform_filter(k, c);
    for (int place = 0; place < f.m * f.m; ++place) {
      double& weights = weights_[static_cast<std::size_t>(place)];
      for (int i = 0; i < f.size; ++i)
        for (int j = 0; j < f.size; ++j) weights += f.a[place / f.m][i] * f.a[place % f.m][j];
    }
  }

  /// Tiles of outputs are numbered by image, group, tile row, tile column.
  index_t tile_rows() const { return (g_.out_height + f_.m - 1) / f_.m; }
  index_t tile_columns() const { return (g_.out_width + f_.m - 1) / f_.m; }
  index_t tiles_of_a_group() const { return tile_rows() * tile_columns(); }

  /// An element that is judged.
  struct entry {
    index_t tile, channel;
    int place;  ///< in the tile
    std::size_t number;
  };
  entry entry_of(index_t element, std::size_t number) const {
    const index_t q = element % g_.out_width, p = element / g_.out_width % g_.out_height;
    const index_t channel = element / (g_.out_width * g_.out_height), k = channel % (g_.groups * g_.out);
    const index_t image = channel / (g_.groups * g_.out), group = k / g_.out;
    return {((image * g_.groups + group) * tile_rows() + p / f_.m) * tile_columns() + q / f_.m, k,
            static_cast<int>(p % f_.m * f_.m + q % f_.m), number};
  }

  /// All entries of one tile, those of a channel together.
  void judge(std::span<const entry> entries) const {
    std::vector<tile> data(static_cast<std::size_t>(g_.in));
    const input_state inputs = read_tile(
        entries.front().tile, [&](index_t c, const tile& v) { data[static_cast<std::size_t>(c)] = v; });
    index_t channel = -1;
    output_tile outputs;
    for (const entry& e : entries) {
      if (e.channel != channel) {
        channel = e.channel;
        tile sums{};
        for (index_t s = 0; s < squares_; ++s)
          for (index_t c = 0; c < g_.in; ++c)
            sums[static_cast<std::size_t>(s)] +=
                filters_[filter_at(s, channel) + static_cast<std::size_t>(c)] *
                data[static_cast<std::size_t>(c)][static_cast<std::size_t>(s)];
        outputs = transform_back(sums);
      }
      note(e.number, e.place, channel, outputs, inputs);
    }
  }

  /// Every output of `count` ≤ tiles_at_once tiles of one group, from `first` on: element by element of the transforms a
  /// matrix product, so that a filter is read once for all of them.
  void judge(index_t first, int count) const {
    const auto vectors = static_cast<index_t>((count + width - 1) / width);
    std::vector<double> data(static_cast<std::size_t>(squares_ * vectors * g_.in * width));
    const auto panel = [&](index_t s, index_t vector) {
      return static_cast<std::size_t>((s * vectors + vector) * g_.in * width);
    };
    std::array<input_state, tiles_at_once> inputs;
    for (int i = 0; i < count; ++i)
      inputs[static_cast<std::size_t>(i)] = read_tile(first + i, [&](index_t c, const tile& v) {
        for (index_t s = 0; s < squares_; ++s)
          data[panel(s, i / width) + static_cast<std::size_t>(c * width + i % width)] =
              v[static_cast<std::size_t>(s)];
      });
    const index_t group = first / tiles_of_a_group();  // of all images
    const index_t channel = group % g_.groups * g_.out;
    std::vector<double> sums(static_cast<std::size_t>(g_.out * squares_ * tiles_at_once));
    for (index_t s = 0; s < squares_; ++s)
      for (index_t k = 0; k < g_.out; k += rows_at_once) {
        const double* rows[rows_at_once];
        double some[rows_at_once * tiles_at_once];
        for (int j = 0; j < rows_at_once; ++j)
          rows[j] = &filters_[filter_at(s, channel + std::min(k + j, g_.out - 1))];
        for (index_t v = 0; v < vectors; ++v) products(rows, &data[panel(s, v)], g_.in, some + v * width);
        for (index_t j = 0; j < rows_at_once && k + j < g_.out; ++j)
          std::copy_n(some + j * tiles_at_once, tiles_at_once,
                      &sums[static_cast<std::size_t>(((k + j) * squares_ + s) * tiles_at_once)]);
      }
    for (index_t k = 0; k < g_.out; ++k)
      for (int i = 0; i < count; ++i) {
        tile here{};
        for (index_t s = 0; s < squares_; ++s)
          here[static_cast<std::size_t>(s)] =
              sums[static_cast<std::size_t>((k * squares_ + s) * tiles_at_once + i)];
        note_tile((group * g_.out + k) * g_.out_height * g_.out_width, first + i, channel + k,
                  transform_back(here), inputs[static_cast<std::size_t>(i)]);
      }
  }

 private:
  /// What the outputs of a tile have in common.
  struct input_state {
    double largest = 0;
    bool spoiled = false;  ///< one of the inputs, or of their transforms in a kernel, is not finite
  };
  struct output_tile {
    tile size{};  ///< |Aᵀ|·sums·|A|, by place
    double most_sum = 0;
  };

  void transform_filter(index_t k, index_t c) {
    const index_t group = k / g_.out;
    const double* w =
        g_.weight->data() + group * g_.out * g_.in * 9 + k % g_.out * g_.weight_out + c * g_.weight_in;
    double filter[3][3];
    bool spoiled = false;
    for (int i = 0; i < 9; ++i) {
      const double value = w[g_.turned ? 8 - i : i];
      spoiled = spoiled || !std::isfinite(value);
      filter[i / 3][i % 3] = std::isfinite(value) ? std::fabs(value) : 0;
    }
    const tile u = both_sides<3>(f_.size, f_.g, filter);
    for (index_t s = 0; s < squares_; ++s)
      filters_[filter_at(s, k) + static_cast<std::size_t>(c)] = u[static_cast<std::size_t>(s)];
    if (spoiled || too_large(*std::ranges::max_element(u))) spoiled_[static_cast<std::size_t>(k)] = 1;
  }
  std::size_t filter_at(index_t square, index_t k) const {
    return static_cast<std::size_t>((square * g_.groups * g_.out + k) * g_.in);
  }

  /// The transformed inputs of a tile, channel by channel.
  template <class Take>
  input_state read_tile(index_t number, Take&& take) const {
    const index_t column = number % tile_columns(), row = number / tile_columns() % tile_rows();
    input_state state;
    for (index_t c = 0; c < g_.in; ++c) {
      const index_t plane = number / tiles_of_a_group() * g_.in + c;
      double data[most][most] = {};
      for (int i = 0; i < f_.size; ++i)
        for (int j = 0; j < f_.size; ++j) {
          const index_t h = row * f_.m - g_.top + i, w = column * f_.m - g_.left + j;
          if (h < 0 || h >= g_.in_height || w < 0 || w >= g_.in_width) continue;
          const double value = g_.data->data()[(plane * g_.in_height + h) * g_.in_width + w];
          state.spoiled = state.spoiled || !std::isfinite(value);
          data[i][j] = std::isfinite(value) ? std::fabs(value) : 0;
        }
      const tile v = both_sides<most>(f_.size, f_.b, data);
      state.largest = std::max(state.largest, *std::ranges::max_element(v));
      take(c, v);
    }
    state.spoiled = state.spoiled || too_large(state.largest);
    return state;
  }

  output_tile transform_back(const tile& sums) const {
    output_tile out;
    double half[4][most] = {};
    for (int i = 0; i < f_.m; ++i)
      for (int k = 0; k < f_.size; ++k)
        for (int j = 0; j < f_.size; ++j)
          half[i][j] += f_.a[i][k] * sums[static_cast<std::size_t>(k * f_.size + j)];
    for (int i = 0; i < f_.m; ++i)
      for (int j = 0; j < f_.m; ++j)
        for (int k = 0; k < f_.size; ++k)
          out.size[static_cast<std::size_t>(i * f_.m + j)] += half[i][k] * f_.a[j][k];
    out.most_sum = *std::ranges::max_element(sums);
    return out;
  }

  /// All places of a tile that lie in the plane, which begins at element `plane`.
  void note_tile(index_t plane, index_t number, index_t channel, const output_tile& outputs,
                 const input_state& inputs) const {
    const index_t column = number % tile_columns(), row = number / tile_columns() % tile_rows();
    for (int place = 0; place < f_.m * f_.m; ++place) {
      const index_t p = row * f_.m + place / f_.m, q = column * f_.m + place % f_.m;
      if (p < g_.out_height && q < g_.out_width)
        note(static_cast<std::size_t>(plane + p * g_.out_width + q), place, channel, outputs, inputs);
    }
  }

  void note(std::size_t number, int place, index_t channel, const output_tile& outputs,
            const input_state& inputs) const {
    double size = outputs.size[static_cast<std::size_t>(place)];
    bool spoiled = inputs.spoiled || spoiled_[static_cast<std::size_t>(channel)] != 0;
    if (g_.bias != nullptr) {
      const double bias = std::fabs((*g_.bias)[channel]);
      spoiled = spoiled || !std::isfinite(bias);
      size += std::isfinite(bias) ? bias : 0;
    }
    result_.size[number] = size;
    // A product of U and V, and in U up to 16 products with a coefficient, each of which meets an element of V.
    result_.underflow[number] =
        weights_[static_cast<std::size_t>(place)] * static_cast<double>(g_.in) * (1 + 16 * inputs.largest);
    result_.may_spread[number] = spoiled || too_large(std::max(size, outputs.most_sum)) ? 1 : 0;
  }

  const geometry& g_;
  const magnitudes& f_;
  index_t squares_;  ///< elements of a transform
  transformed_sizes& result_;
  std::vector<double>
      filters_;  ///< |G||g||Gᵀ|, by element of the transform, then output channel, then channel
  std::vector<char> spoiled_;         ///< filters of this output channel are not finite
  std::array<double, 16> weights_{};  ///< sums of |Aᵀ|…|A|, by place
};

}  // namespace

transformed_sizes sizes_of_winograd(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                                    const truths& t, int outputs, int threads) {
  transformed_sizes result;
  geometry g;
  result.error = read_geometry(l, pass, reads, g);
  if (!result.error.empty()) return result;
  const magnitudes& f = outputs == 2 ? f2 : f4;
  const auto count = static_cast<std::size_t>(t.count());
  result.size.resize(count);
  result.underflow.resize(count);
  result.may_spread.resize(count);
  const double roundings = static_cast<double>(g.in) + (outputs == 2 ? 11 : 25), unit = 0x1p-24;
  result.factor = roundings * unit / (1 - roundings * unit);
  const survey s(g, f, result);
  if (t.at.empty()) {
    const index_t tiles = s.tiles_of_a_group(), tasks = (tiles + tiles_at_once - 1) / tiles_at_once;
    const index_t groups = count == 0 ? 0 : t.extents[0] * g.groups;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (index_t i = 0; i < groups * tasks; ++i) {
      const index_t begin = i % tasks * tiles_at_once;
      s.judge(i / tasks * tiles + begin, static_cast<int>(std::min<index_t>(tiles_at_once, tiles - begin)));
    }
    return result;
  }
  std::vector<survey::entry> entries(count);
  for (std::size_t i = 0; i < count; ++i) entries[i] = s.entry_of(t.element(static_cast<index_t>(i)), i);
  std::ranges::sort(entries, {}, [](const survey::entry& e) { return std::pair(e.tile, e.channel); });
  std::vector<std::span<const survey::entry>> tiles;
  for (std::size_t i = 0, first = 0; i < count; ++i)
    if (i + 1 == count || entries[i + 1].tile != entries[i].tile) {
      tiles.emplace_back(&entries[first], i + 1 - first);
      first = i + 1;
    }
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (const auto& tile : tiles) s.judge(tile);
  return result;
}

}  // namespace plumb
