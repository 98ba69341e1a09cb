#include "verify/winograd.hpp"

#include <algorithm>
#include <array>
#include <cmath>

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

class survey {
 public:
  survey(const geometry& g, const magnitudes& f, transformed_sizes& result) : g_(g), f_(f), result_(result) {
    filters_.resize(static_cast<std::size_t>(g.groups * g.out * g.in));
    spoiled_.resize(static_cast<std::size_t>(g.groups * g.out));
    for (index_t k = 0; k < g.groups * g.out; ++k)
      for (index_t c = 0; c < g.in; ++c) transform_filter(k, c);
  }

  /// Entries are grouped by tile of outputs: image, group, tile row, tile column; then by channel.
  struct entry {
    index_t tile, channel;
    int place;  ///< in the tile
    std::size_t number;
  };
  index_t tile_rows() const { return (g_.out_height + f_.m - 1) / f_.m; }
  index_t tile_columns() const { return (g_.out_width + f_.m - 1) / f_.m; }

  entry entry_of(index_t element, std::size_t number) const {
    const index_t q = element % g_.out_width, p = element / g_.out_width % g_.out_height;
    const index_t channel = element / (g_.out_width * g_.out_height), k = channel % (g_.groups * g_.out);
    const index_t image = channel / (g_.groups * g_.out), group = k / g_.out;
    return {((image * g_.groups + group) * tile_rows() + p / f_.m) * tile_columns() + q / f_.m, k,
            static_cast<int>(p % f_.m * f_.m + q % f_.m), number};
  }

  /// All entries of one tile.
  void judge(const entry* first, const entry* last) const {
    std::vector<tile> data(static_cast<std::size_t>(g_.in));
    bool spoiled = false;
    double largest = 0;
    for (index_t c = 0; c < g_.in; ++c) {
      tile& v = data[static_cast<std::size_t>(c)];
      spoiled = !transform_data(first->tile, c, v) || spoiled;
      largest = std::max(largest, *std::ranges::max_element(v));
    }
    tile sums{};
    index_t channel = -1;
    for (const entry* e = first; e != last; ++e) {
      if (e->channel != channel) sums = products(channel = e->channel, data);
      note(*e, sums, largest,
           spoiled || too_large(largest) || spoiled_[static_cast<std::size_t>(channel)] != 0);
    }
  }

 private:
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
    tile& u = filters_[static_cast<std::size_t>(k * g_.in + c)];
    u = both_sides<3>(f_.size, f_.g, filter);
    if (spoiled || too_large(*std::ranges::max_element(u))) spoiled_[static_cast<std::size_t>(k)] = 1;
  }

  /// False if one of the inputs is not finite.
  bool transform_data(index_t tile_number, index_t c, tile& v) const {
    const index_t column = tile_number % tile_columns(), row = tile_number / tile_columns() % tile_rows();
    const index_t plane = tile_number / (tile_columns() * tile_rows()) * g_.in + c;
    double data[most][most] = {};
    bool finite = true;
    for (int i = 0; i < f_.size; ++i)
      for (int j = 0; j < f_.size; ++j) {
        const index_t h = row * f_.m - g_.top + i, w = column * f_.m - g_.left + j;
        if (h < 0 || h >= g_.in_height || w < 0 || w >= g_.in_width) continue;
        const double value = g_.data->data()[(plane * g_.in_height + h) * g_.in_width + w];
        finite = finite && std::isfinite(value);
        data[i][j] = std::isfinite(value) ? std::fabs(value) : 0;
      }
    v = both_sides<most>(f_.size, f_.b, data);
    return finite;
  }

  tile products(index_t channel, const std::vector<tile>& data) const {
    tile sums{};
    for (index_t c = 0; c < g_.in; ++c) {
      const tile &u = filters_[static_cast<std::size_t>(channel * g_.in + c)],
                 &v = data[static_cast<std::size_t>(c)];
      for (std::size_t e = 0; e < sums.size(); ++e) sums[e] += u[e] * v[e];
    }
    return sums;
  }

  void note(const entry& at, const tile& sums, double largest_input, bool spoiled) const {
    const double *rows = f_.a[at.place / f_.m], *columns = f_.a[at.place % f_.m];
    double size = 0, weights = 0, most_sum = 0;
    for (int i = 0; i < f_.size; ++i)
      for (int j = 0; j < f_.size; ++j) {
        const double sum = sums[static_cast<std::size_t>(i * f_.size + j)];
        size += rows[i] * columns[j] * sum;
        weights += rows[i] * columns[j];
        most_sum = std::max(most_sum, sum);
      }
    if (g_.bias != nullptr) {
      const double bias = std::fabs((*g_.bias)[at.channel]);
      spoiled = spoiled || !std::isfinite(bias);
      size += std::isfinite(bias) ? bias : 0;
    }
    result_.size[at.number] = size;
    // A product of U and V, and in U up to 16 products with a coefficient, each of which meets an element of V.
    result_.underflow[at.number] = weights * static_cast<double>(g_.in) * (1 + 16 * largest_input);
    result_.may_spread[at.number] = spoiled || too_large(std::max(size, most_sum)) ? 1 : 0;
  }

  const geometry& g_;
  const magnitudes& f_;
  transformed_sizes& result_;
  std::vector<tile> filters_;  ///< |G||g||Gᵀ|
  std::vector<char> spoiled_;  ///< filters of this output channel are not finite
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
  std::vector<survey::entry> entries(count);
  for (std::size_t i = 0; i < count; ++i) entries[i] = s.entry_of(t.element(static_cast<index_t>(i)), i);
  std::ranges::sort(entries, {}, [](const survey::entry& e) { return std::pair(e.tile, e.channel); });
  std::vector<std::size_t> tiles;
  for (std::size_t i = 0; i < count; ++i)
    if (i == 0 || entries[i].tile != entries[i - 1].tile) tiles.push_back(i);
  const std::size_t all = tiles.size();
  tiles.push_back(count);
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (std::size_t i = 0; i < all; ++i) s.judge(entries.data() + tiles[i], entries.data() + tiles[i + 1]);
  return result;
}

}  // namespace plumb
