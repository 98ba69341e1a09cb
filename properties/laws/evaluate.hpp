// One pass of a layer by its reference, as kernels see it: the tensors the pass reads in, those it writes
// out. Forward passes are definition 1, backward passes definition 2.
#pragma once

#include "reference/layers/layer.hpp"

namespace plumb {

inline bool is_input(const layer& l, std::string_view name) {
  return std::ranges::any_of(l.describe().inputs, [&](const tensor_spec& s) { return s.name == name; });
}
inline bool is_output(const layer& l, std::string_view name) {
  return std::ranges::any_of(l.describe().outputs, [&](const tensor_spec& s) { return s.name == name; });
}
inline bool is_forward(const pass_spec& pass) { return pass.name == "forward"; }

template <class T>
tensor_set<T> evaluate_reference(const layer& l, const pass_spec& pass, const tensor_set<T>& reads) {
  tensor_set<T> writes = make_tensors<T>(l, pass.writes);
  bundle<const T> inputs, outputs, cotangents;
  const bundle<const T> views = reads.views();
  for (const auto& e : views.entries()) {
    bundle<const T>& role = is_input(l, e.name) ? inputs : is_output(l, e.name) ? outputs : cotangents;
    e.is_index ? role.add_indices(e.name, e.index) : role.add(e.name, e.real);
  }
  if (is_forward(pass))
    l.as<T>().forward(inputs, writes.views());
  else
    l.as<T>().vjp(inputs, outputs, cotangents, writes.views());
  return writes;
}

}  // namespace plumb
