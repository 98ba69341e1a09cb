// Named elements, tensors in full, and the map of errors over an output, for the record.
#include "verify/portrait.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "reference/layers/catalogue.hpp"
#include "verify/exam.hpp"

namespace plumb {

double value_at(const tensor_ref& t, const shape& at) {
  switch (t.type) {
    case dtype::f32:
      return static_cast<double>(t.view<float>()(at));
    case dtype::f64:
      return t.view<double>()(at);
    case dtype::bf16:
      return static_cast<double>(static_cast<float>(t.view<bf16>()(at)));
    case dtype::f16:
      return static_cast<double>(static_cast<float>(t.view<f16>()(at)));
    case dtype::i64:
      return static_cast<double>(t.view<index_t>()(at));
  }
  return 0;
}

double truth_at(const truths& t, index_t i) {
  return t.is_index ? static_cast<double>(t.index[static_cast<std::size_t>(i)])
                    : t.value[static_cast<std::size_t>(i)];
}

namespace {

std::vector<std::int64_t> to_list(const shape& s) { return {s.begin(), s.end()}; }

std::vector<std::string> letters(const layer& l, std::string_view tensor) {
  std::vector<std::string> list;
  for (const char c : axis_letters(l.spec(tensor), l.shapes()[tensor].rank())) list.emplace_back(1, c);
  return list;
}

/// Error in units of the bound; where bits had to match, infinite unless they did.
double share(double got, double truth, double bound) {
  const double error = got - truth;
  if (error == 0 || (std::isnan(got) && std::isnan(truth)) || got == truth) return 0;
  if (bound > 0) return error / bound;
  return std::copysign(std::numeric_limits<double>::infinity(), std::isnan(error) ? 1.0 : error);
}

/// Rows and columns of one tile: the last two axes; the axes before number the tiles.
struct tiling {
  index_t tiles = 1, rows = 1, cols = 1;
  explicit tiling(const shape& s) {
    const int rank = s.rank();
    if (rank >= 1) cols = s[rank - 1];
    if (rank >= 2) rows = s[rank - 2];
    for (int axis = 0; axis + 2 < rank; ++axis) tiles *= s[axis];
  }
};

record::heat_tile tile_of(const layer& l, const truths& t, const thresholds& bounds, const tensor_ref& got,
                          const tiling& grid, index_t tile, index_t row_step, index_t col_step) {
  record::heat_tile result;
  result.rows = (grid.rows + row_step - 1) / row_step;
  result.cols = (grid.cols + col_step - 1) / col_step;
  const auto name = named_coordinates(l, t.name, tile * grid.rows * grid.cols);
  for (std::size_t axis = 0; axis + 2 < name.size(); ++axis)
    result.label += (axis == 0 ? "" : " ") + name[axis].axis + "=" + std::to_string(name[axis].at);
  const bool statistical = bounds.has_statistical;
  for (index_t r = 0; r < result.rows; ++r)
    for (index_t c = 0; c < result.cols; ++c) {
      double worst = -1;
      double worst_share = 0, worst_got = 0, worst_truth = 0;
      index_t worst_at = 0;
      for (index_t i = r * row_step; i < std::min(grid.rows, (r + 1) * row_step); ++i)
        for (index_t j = c * col_step; j < std::min(grid.cols, (c + 1) * col_step); ++j) {
          const index_t at = (tile * grid.rows + i) * grid.cols + j;
          const auto n = static_cast<std::size_t>(at);
          const double g = value_at(got, unflatten(at, t.extents));
          const double v = truth_at(t, at);
          const double s = share(g, v,
                                 t.is_index    ? 0
                                 : statistical ? bounds.statistical[n]
                                               : bounds.proven[n]);
          // Nothing is worse than a NaN, and no comparison with it is true.
          const double size = std::isnan(s) ? std::numeric_limits<double>::infinity() : std::fabs(s);
          if (size > worst) {
            worst = size;
            worst_share = s;
            worst_got = g;
            worst_truth = v;
            worst_at = at;
          }
        }
      result.share.push_back(worst_share);
      result.got.push_back(worst_got);
      result.truth.push_back(worst_truth);
      const double ulp = t.is_index || !std::isfinite(worst_truth) ? 1 : bounds.output.ulp(worst_truth);
      result.ulps.push_back(worst_share == 0 ? 0 : std::fabs(worst_got - worst_truth) / ulp);
      result.at.push_back(worst_at);
    }
  return result;
}

}  // namespace

record::tensor_dump dump_of(const layer& l, const std::string& name, record::tensor_role role,
                            std::string type) {
  record::tensor_dump d;
  d.name = name;
  d.role = role;
  d.dtype = std::move(type);
  d.shape = to_list(l.shapes()[name]);
  d.axes = letters(l, name);
  return d;
}

record::element named_element(const layer& l, const truths& t, const judged_element& e) {
  record::element r;
  r.tensor = t.name;
  r.coordinates = named_coordinates(l, t.name, e.at);
  r.got = e.got;
  r.truth = e.expected;
  r.ulps = e.ulps;
  r.error = e.error;
  r.statistical_bound = e.statistical;
  r.proven_bound = e.proven;
  if (!t.contraction || e.at < 0 || e.at >= std::ssize(t.size)) return r;
  const error_split split = split_error(e, t.size[static_cast<std::size_t>(e.at)]);
  r.backward_error = split.backward;
  r.condition = split.condition;
  return r;
}

std::optional<record::heat_map> error_map(const layer& l, const truths& t, const thresholds& bounds,
                                          const tensor_ref& got) {
  if (t.count() == 0) return std::nullopt;
  const tiling grid(t.extents);
  constexpr index_t most_tiles = 32;
  constexpr index_t most_shown = 48;
  record::heat_map map;
  map.tensor = t.name;
  map.bound = bounds.exact == t.count() ? "ulp" : bounds.has_statistical ? "statistical" : "proven";
  map.shape = to_list(t.extents);
  map.axes = letters(l, t.name);
  map.row_step = (grid.rows + most_shown - 1) / most_shown;
  map.col_step = (grid.cols + most_shown - 1) / most_shown;
  map.tiles_left_out = std::max<index_t>(0, grid.tiles - most_tiles);
  for (index_t tile = 0; tile < std::min(grid.tiles, most_tiles); ++tile)
    map.tiles.push_back(tile_of(l, t, bounds, got, grid, tile, map.row_step, map.col_step));
  return map;
}

std::optional<record::ulp_histogram> histogram_of(const ulp_counts& counts, const ulp_counts& naive) {
  if (std::accumulate(counts.begin(), counts.end(), index_t{0}) == 0) return std::nullopt;
  const bool beside = std::accumulate(naive.begin(), naive.end(), index_t{0}) > 0;
  record::ulp_histogram h;
  std::size_t used = 1;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0 || naive[i] > 0) used = i + 1;
  h.edges.push_back(0);
  for (std::size_t i = 0; i < used; ++i) {
    h.counts.push_back(counts[i]);
    if (beside) h.naive_counts.push_back(naive[i]);
    h.edges.push_back(i + 1 == counts.size() ? std::numeric_limits<double>::infinity()
                                             : std::ldexp(1.0, static_cast<int>(i) - 2));
  }
  return h;
}

}  // namespace plumb
