#include "properties/carry_data.hpp"

#include <cmath>
#include <map>
#include <set>

namespace plumb {
namespace {

/// An axis of a tensor whose extent differs between two problems.
struct changed_axis {
  std::string tensor;
  int axis;
  index_t growth;
};

std::vector<changed_axis> changes(const std::set<std::string>& tensors, const layer& from, const layer& to) {
  std::vector<changed_axis> list;
  for (const std::string& name : tensors) {
    if (!to.present(name)) continue;
    const shape &before = from.shapes()[name], &after = to.shapes()[name];
    if (before.rank() != after.rank()) continue;
    for (int axis = 0; axis < before.rank(); ++axis)
      if (before[axis] != after[axis]) list.push_back({name, axis, after[axis] - before[axis]});
  }
  return list;
}

/// The new number of an element, or -1 if it is dropped.
index_t moved(index_t flat, const shape& from, const shape& to, const std::map<int, index_t>& shift) {
  if (from.rank() != to.rank()) return flat < to.size() ? flat : -1;
  const shape at = unflatten(flat, from), steps = row_major(to);
  index_t result = 0;
  for (int axis = 0; axis < from.rank(); ++axis) {
    const auto by = shift.find(axis);
    const index_t i = at[axis] + (by == shift.end() ? 0 : by->second);
    if (i < 0 || i >= to[axis]) return -1;
    result += i * steps[axis];
  }
  return result;
}

std::vector<datum> carry(const std::vector<datum>& data, const layer& from, const layer& to,
                         const std::map<std::string, std::map<int, index_t>>& shifts) {
  static const std::map<int, index_t> stay;
  std::vector<datum> result;
  for (const datum& d : data) {
    if (!to.present(d.tensor)) continue;
    const auto shift = shifts.find(d.tensor);
    datum kept = d;
    kept.at = moved(d.at, from.shapes()[d.tensor], to.shapes()[d.tensor],
                    shift == shifts.end() ? stay : shift->second);
    if (kept.at < 0) continue;
    if (to.spec(d.tensor).kind == element::index && !legal_datum(to, kept))
      kept.value = static_cast<double>(to.index_bound(d.tensor) - 1);
    if (legal_datum(to, kept) && (kept.value != 0 || std::signbit(kept.value))) result.push_back(kept);
  }
  return result;
}

}  // namespace

bool legal_datum(const layer& l, const datum& d) {
  const tensor_spec& s = l.spec(d.tensor);
  if (s.kind == element::index) return d.value < 0 || d.value < static_cast<double>(l.index_bound(d.tensor));
  if (!std::isfinite(d.value)) return true;  // what no domain holds is drawn all the same
  switch (s.values) {
    case domain::any:
      return true;
    case domain::nonnegative:
      return d.value >= 0;
    case domain::positive:
      return d.value > 0;
    case domain::nonzero:
      return d.value != 0;
    case domain::unit:
      return 0 <= d.value && d.value < 1;
    case domain::bit:
      return d.value == 0 || d.value == 1;
    case domain::position:
      return std::fabs(d.value) <= 1.25;
  }
  return true;
}

std::vector<std::vector<datum>> carry_data(const std::vector<datum>& data, const layer& from,
                                           const layer& to) {
  std::set<std::string> tensors;
  for (const datum& d : data) tensors.insert(d.tensor);
  const std::vector<changed_axis> axes = changes(tensors, from, to);
  const std::size_t free = axes.size() <= 4 ? axes.size() : 1;  // more than four: all together
  std::vector<std::vector<datum>> ways;
  for (std::size_t choice = 0; choice < std::size_t{1} << free; ++choice) {
    std::map<std::string, std::map<int, index_t>> shifts;
    for (std::size_t i = 0; i < axes.size(); ++i)
      if ((choice >> (free == axes.size() ? i : 0) & 1U) != 0)
        shifts[axes[i].tensor][axes[i].axis] = axes[i].growth;
    std::vector<datum> way = carry(data, from, to, shifts);
    if (std::ranges::find(ways, way) == ways.end()) ways.push_back(std::move(way));
  }
  return ways;
}

}  // namespace plumb
