// Many laws say that one problem sits inside another: its tensors are part of the tensors of a second
// problem, the rest of which is zero, and so are its results. A stride is a stride of 1 with fewer outputs
// kept, a dilated filter is a filter with zeros between its taps, a permutation is the same problem with its
// elements moved. Such a law is nothing but the second problem and, for each tensor, where its elements go;
// it then speaks about every pass.
#pragma once

#include <map>

#include "properties/laws/statement.hpp"

namespace plumb {

struct embedding {
  std::shared_ptr<const layer> from;  ///< empty: the problem itself
  std::shared_ptr<const layer> to;
  /// By the name of an input or output: coordinates in `from` to coordinates in `to`. Missing: the same.
  std::map<std::string, std::function<shape(shape)>> into;
  std::function<index_t(index_t)> index_into = {};  ///< what an index means in `to`; missing: the same
  index_t fill = 0;                                 ///< the rest of the inputs
  bool distinct = false;                            ///< no two inputs are equal, so that indices are unique
};

namespace detail {

inline shape place_of(const embedding& e, const layer& l, std::string_view tensor, const shape& at) {
  const auto rule = e.into.find(base_name(l, tensor));
  return rule == e.into.end() ? at : rule->second(at);
}

template <class T>
tensor_set<T> embedded(const embedding& e, const layer& from, const pass_spec& to_pass,
                       const tensor_set<T>& reads) {
  tensor_set<T> wide = make_tensors<T>(*e.to, to_pass.reads);
  for (auto& w : wide.entries()) {
    const auto& narrow = reads.at(w.name);
    const auto index_view = w.index.view();
    const auto real_view = w.real.view();
    if (!w.is_index && is_input(*e.to, w.name)) std::ranges::fill(w.real.values(), T(e.fill));
    for_each_index(narrow.extents(), [&](const shape& at) {
      const shape there = place_of(e, from, w.name, at);
      if (!w.is_index)
        real_view(there) = narrow.real.view()(at);
      else
        index_view(there) = e.index_into ? e.index_into(narrow.index.view()(at)) : narrow.index.view()(at);
    });
  }
  return wide;
}

}  // namespace detail

template <class T>
void check_embedding(lab<T>& bench, const embedding& e) {
  const layer& from = e.from ? *e.from : bench.about();
  const pass_spec* pass = from.find_pass(bench.pass().name);
  const pass_spec* to_pass = e.to->find_pass(bench.pass().name);
  bench.require(pass != nullptr && to_pass != nullptr);
  const tensor_set<T> reads = bench.reads(from, *pass, bench.inputs(from, e.distinct));
  const auto here = bench.run(from, pass->name, reads);
  const auto there = bench.run(*e.to, pass->name, detail::embedded(e, from, *to_pass, reads));
  for (const auto& narrow : here.entries()) {
    const auto& wide = there.at(narrow.name);
    for_each_index(narrow.extents(), [&](const shape& at) {
      const shape place = detail::place_of(e, from, narrow.name, at);
      if (!narrow.is_index) {
        bench.claim_equal(narrow.name, at, narrow.real.view()(at), wide.real.view()(place));
      } else {
        const index_t index = narrow.index.view()(at);
        bench.claim((e.index_into ? e.index_into(index) : index) == wide.index.view()(place),
                    narrow.name + "[" + coordinates_text(at) + "] names another element");
      }
    });
  }
}

/// A law that is an embedding. `make` is called with the layer and a source of draws (a lab of any scalar).
template <class Make>
law state_embedding(std::string name, std::string formula, law_scope applies, Make make) {
  return state(std::move(name), std::move(formula), std::move(applies),
               [make](auto& bench) { check_embedding(bench, make(bench)); });
}

}  // namespace plumb
