// A problem cut into parts that know nothing of each other, the samples of a batch or channels, by what a layer declares
// of its tensors' axes: which tensors have them, the same layer with another number of them, and the data of some.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "reference/layers/layer.hpp"

namespace plumb {

enum class parts { samples, channels };

/// The axis of a tensor that counts parts, or -1.
int axis_of(parts of, const layer& l, std::string_view tensor);

/// Number of parts, or -1 if the layer has none.
index_t count_of(parts of, const layer& l);

/// Whether every element that the pass writes belongs to one part and depends on no other.
bool writes_apart(parts of, const layer& l, const pass_spec& pass);

/// The full text of a problem without its outputs: every attribute can be replaced.
problem spelled_out(const layer& l);

/// The text of the same problem with `count` parts.
problem with_count(parts of, const layer& l, index_t count);

/// Of every tensor that has parts the ones listed; other tensors as they are. `part` is the layer with as many as are
/// listed.
template <class T>
tensor_set<T> some_parts(parts of, const layer& l, const layer& part, const tensor_set<T>& all,
                         const std::vector<index_t>& which) {
  tensor_set<T> result;
  for (const auto& e : all.entries()) {
    const int axis = axis_of(of, l, e.name);
    if (axis < 0) {
      result.entries().push_back(e);
      continue;
    }
    const auto there = [&](shape at) {
      at[axis] = which[static_cast<std::size_t>(at[axis])];
      return at;
    };
    if (e.is_index) {
      tensor<index_t>& t = result.add_indices(e.name, tensor<index_t>(part.shapes()[e.name]));
      for_each_index(t.extents(), [&](const shape& at) { t.view()(at) = e.index.view()(there(at)); });
    } else {
      tensor<T>& t = result.add(e.name, tensor<T>(part.shapes()[e.name]));
      for_each_index(t.extents(), [&](const shape& at) { t.view()(at) = e.real.view()(there(at)); });
    }
  }
  return result;
}

}  // namespace plumb
