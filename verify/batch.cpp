#include "verify/batch.hpp"

#include <algorithm>

namespace plumb {

int batch_axis(const layer& l, std::string_view tensor) {
  const tensor_spec& s = l.spec(tensor);
  const shape& extents = l.shapes()[tensor];
  if (s.batch_axis < 0 || s.batch_axis >= extents.rank()) return -1;
  const bool counts =
      l.batchwise() || axis_letters(s, extents.rank())[static_cast<std::size_t>(s.batch_axis)] == 'n';
  return counts ? s.batch_axis : -1;
}

index_t samples_of(const layer& l) {
  for (const tensor_spec& s : l.describe().inputs)
    if (l.present(s.name) && batch_axis(l, s.name) >= 0) return l.shapes()[s.name][batch_axis(l, s.name)];
  return -1;
}

bool writes_samples_alone(const layer& l, const pass_spec& pass) {
  return l.batchwise() && samples_of(l) >= 0 &&
         std::ranges::all_of(pass.writes, [&](const std::string& name) {
           return !l.present(name) || batch_axis(l, name) >= 0;
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

problem with_samples(const layer& l, index_t count) {
  problem text = spelled_out(l);
  for (const tensor_spec& s : l.describe().inputs) {
    if (!l.present(s.name) || batch_axis(l, s.name) < 0) continue;
    shape extents = l.shapes()[s.name];
    extents[batch_axis(l, s.name)] = count;
    text.set(s.name, to_string(extents));
  }
  return text;
}

}  // namespace plumb
