// One pass of a layer evaluated by its reference definition over the scalar T: `forward` for the first pass,
// `vjp` for every other. Sorts what the pass reads into inputs, saved outputs and cotangents.
#pragma once

#include "reference/layers/layer.hpp"

namespace plumb {

/// All that the forward pass writes; the only pass over dual numbers.
template <class T>
tensor_set<T> evaluate_forward(const layer& l, const tensor_set<T>& reads) {
  tensor_set<T> writes = make_tensors<T>(l, l.describe().passes.front().writes);
  l.as<T>().forward(reads.views(), writes.views());
  return writes;
}

/// The tensors that the pass writes, from those it reads (by the names in `pass.reads`; more may be there).
template <class T>
tensor_set<T> evaluate_pass(const layer& l, const pass_spec& pass, const tensor_set<T>& reads) {
  const signature& sig = l.describe();
  if (pass.name == sig.passes.front().name) return evaluate_forward(l, reads);
  tensor_set<T> writes = make_tensors<T>(l, pass.writes);
  const bundle<const T> all = reads.views();
  const auto is_listed = [](const std::vector<tensor_spec>& list, std::string_view name) {
    return std::ranges::any_of(list, [&](const tensor_spec& s) { return s.name == name; });
  };
  bundle<const T> in;
  bundle<const T> saved;
  bundle<const T> cotangents;
  for (const auto& e : all.entries()) {
    bundle<const T>& side = is_listed(sig.inputs, e.name)    ? in
                            : is_listed(sig.outputs, e.name) ? saved
                                                             : cotangents;
    if (e.is_index)
      side.add_indices(e.name, e.index);
    else
      side.add(e.name, e.real);
  }
  l.as<T>().vjp(in, saved, cotangents, writes.views());
  return writes;
}

}  // namespace plumb
