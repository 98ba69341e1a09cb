#include "verify/sparse_jacobian.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>

#include "verify/differentiate.hpp"

namespace plumb {

std::vector<index_t> colour_columns(index_t columns, const std::vector<std::vector<index_t>>& rows) {
  std::vector<std::vector<index_t>> rows_of(static_cast<std::size_t>(columns));
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (const index_t c : rows[r]) rows_of[static_cast<std::size_t>(c)].push_back(static_cast<index_t>(r));
  // First fit in the natural order: neighbours of a sliding window come one after the other and share colours well.
  std::vector<index_t> colour(static_cast<std::size_t>(columns), -1);
  std::vector<index_t> taken_by;  // the last column that found this colour taken
  for (index_t c = 0; c < columns; ++c) {
    for (const index_t r : rows_of[static_cast<std::size_t>(c)])
      for (const index_t other : rows[static_cast<std::size_t>(r)])
        if (const index_t used = colour[static_cast<std::size_t>(other)]; used >= 0)
          taken_by[static_cast<std::size_t>(used)] = c;
    const auto free = std::ranges::find_if(taken_by, [&](index_t by) { return by != c; });
    colour[static_cast<std::size_t>(c)] = free - taken_by.begin();
    if (free == taken_by.end()) taken_by.push_back(-1);
  }
  return colour;
}

namespace {

/// The explicit entries of one block, added up by place.
using block = std::map<std::pair<index_t, index_t>, double>;

double relative(double a, double b) {
  const double size = std::max(std::fabs(a), std::fabs(b));
  const double difference = std::fabs(a - b);
  return difference == 0 ? 0 : size < std::numeric_limits<double>::infinity() ? difference / size : size;
}

/// Recovers the values of one block from one product a colour.
void recover(const layer& l, const differentiation<double>& at, const coordinates_of::range& out,
             const coordinates_of::range& in, const block& pattern, sparse_jacobian& result) {
  std::vector<std::vector<index_t>> rows(static_cast<std::size_t>(out.size));
  for (const auto& [place, value] : pattern)
    rows[static_cast<std::size_t>(place.first)].push_back(place.second);
  const std::vector<index_t> colour = colour_columns(in.size, rows);
  result.colours = in.size == 0 ? 0 : *std::ranges::max_element(colour) + 1;
  tensor_set<dual<double>> moving = at.point().map<dual<double>>([](double v) { return dual<double>(v); });
  for (index_t each = 0; each < result.colours; ++each) {
    for (index_t c = 0; c < in.size; ++c)
      moving[in.tensor][c].tangent = colour[static_cast<std::size_t>(c)] == each ? 1.0 : 0.0;
    auto y = make_tensors<dual<double>>(l, names_of(l.describe().outputs));
    l.as<dual<double>>().forward(std::as_const(moving).views(), y.views());
    for (index_t r = 0; r < out.size; ++r) {
      const double value = y[out.tensor][r].tangent;
      const auto& columns = rows[static_cast<std::size_t>(r)];
      const auto mine = std::ranges::find_if(
          columns, [&](index_t c) { return colour[static_cast<std::size_t>(c)] == each; });
      if (mine == columns.end()) {
        if (!(value == 0)) result.disagreement = std::numeric_limits<double>::infinity();
        continue;
      }
      const double expected = pattern.at({r, *mine});
      result.entries.push_back({r, *mine, value, expected});
      const double off = relative(value, expected);
      if (!(off <= result.disagreement)) result.disagreement = off;
    }
  }
  std::ranges::sort(result.entries, {}, [](const auto& e) { return std::pair(e.row, e.column); });
}

}  // namespace

std::vector<sparse_jacobian> sparse_jacobians(const layer& l, const tensor_set<double>& point,
                                              index_t most_entries) {
  const differentiation<double> at(l, point);
  std::map<std::pair<std::string, std::string>, block> blocks;
  index_t count = 0;
  l.as<double>().jacobian(
      point.views(), [&](std::string_view y, index_t i, std::string_view x, index_t j, const double& value) {
        blocks[{std::string(y), std::string(x)}][{i, j}] += value;
        if (++count > most_entries)
          throw std::length_error(
              fmt::format("the Jacobian of `{}` has more than {} entries that are not zero, too many to list",
                          l.canonical().print(), most_entries));
      });
  std::vector<sparse_jacobian> all;
  for (const auto& out : at.outputs().ranges())
    for (const auto& in : at.inputs().ranges()) {
      sparse_jacobian each{
          .output = out.tensor, .input = in.tensor, .rows = out.size, .columns = in.size, .entries = {}};
      recover(l, at, out, in, blocks[{out.tensor, in.tensor}], each);
      all.push_back(std::move(each));
    }
  return all;
}

std::string matrix_market(const sparse_jacobian& j, const std::string& title) {
  std::string text = fmt::format("%%MatrixMarket matrix coordinate real general\n% d{}/d{} of {}\n{} {} {}\n",
                                 j.output, j.input, title, j.rows, j.columns, j.entries.size());
  for (const auto& e : j.entries)
    fmt::format_to(std::back_inserter(text), "{} {} {:.17g}\n", e.row + 1, e.column + 1, e.value);
  return text;
}

}  // namespace plumb
