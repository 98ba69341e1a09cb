#include "verify/parts.hpp"

#include <algorithm>

namespace plumb {

int axis_of(parts of, const layer& l, std::string_view tensor) {
  const tensor_spec& s = l.spec(tensor);
  const int rank = l.shapes()[tensor].rank();
  if (of == parts::channels) {
    const std::size_t at = l.channelwise() ? axis_letters(s, rank).find('c') : std::string::npos;
    return at == std::string::npos ? -1 : static_cast<int>(at);
  }
  if (s.batch_axis < 0 || s.batch_axis >= rank) return -1;
  const bool counts = l.batchwise() || axis_letters(s, rank)[static_cast<std::size_t>(s.batch_axis)] == 'n';
  return counts ? s.batch_axis : -1;
}

index_t count_of(parts of, const layer& l) {
  for (const tensor_spec& s : l.describe().inputs)
    if (const int axis = l.present(s.name) ? axis_of(of, l, s.name) : -1; axis >= 0)
      return l.shapes()[s.name][axis];
  return -1;
}

bool writes_apart(parts of, const layer& l, const pass_spec& pass) {
  const bool apart = of == parts::samples ? l.batchwise() : l.channelwise();
  return apart && count_of(of, l) >= 0 && std::ranges::all_of(pass.writes, [&](const std::string& name) {
           return !l.present(name) || axis_of(of, l, name) >= 0;
         });
}

problem spelled_out(const layer& l) {
  problem text(l.name());
  for (const problem::field& f : l.resolved().fields()) {
    const bool output =
        std::ranges::any_of(l.describe().outputs, [&](const tensor_spec& s) { return s.name == f.key; });
    if (!output) text.set(f.key, f.value);
  }
  return text;
}

problem with_count(parts of, const layer& l, index_t count) {
  problem text = spelled_out(l);
  for (const tensor_spec& s : l.describe().inputs) {
    const int axis = l.present(s.name) ? axis_of(of, l, s.name) : -1;
    if (axis < 0) continue;
    shape extents = l.shapes()[s.name];
    extents[axis] = count;
    text.set(s.name, to_string(extents));
  }
  return text;
}

}  // namespace plumb
