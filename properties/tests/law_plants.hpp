// Kernels with one bug each, one for every law: what they are made of. Only the files of law_plants_test include this.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "properties/laws/laws.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"

namespace plumb::planted {

using tensors = tensor_set<double>;

inline tensors honest(const layer& l, const pass_spec& pass, const tensors& reads) {
  return evaluate_pass<double>(l, pass, reads);
}

struct plant {
  std::string law, pass, what;
  evaluator<double> kernel;
};

/// A bug in what is read.
inline plant misread(std::string law, std::string pass, std::string what,
                     std::function<void(const layer&, tensors&)> spoil) {
  return {std::move(law), std::move(pass), std::move(what),
          [spoil](const layer& l, const pass_spec& p, const tensors& reads) {
            tensors spoilt = reads;
            spoil(l, spoilt);
            return honest(l, p, spoilt);
          }};
}

/// A bug in what is written.
inline plant miswrite(std::string law, std::string pass, std::string what,
                      std::function<void(const layer&, const tensors&, tensors&)> spoil) {
  return {std::move(law), std::move(pass), std::move(what),
          [spoil](const layer& l, const pass_spec& p, const tensors& reads) {
            tensors writes = honest(l, p, reads);
            spoil(l, reads, writes);
            return writes;
          }};
}

/// Replaces the elements whose coordinates fit.
template <class Where, class What>
void replace(tensor<double>& t, Where&& where, What&& what) {
  for_each_index(t.extents(), [&](const shape& at) {
    if (where(at)) t.view()(at) = what(at, t.view()(at));
  });
}

inline double zero(const shape&, double) { return 0; }

inline bool last_of(const tensor<double>& t, const shape& at, int axis) {
  if (axis < 0) axis += t.extents().rank();
  return at[axis] == t.extents()[axis] - 1;
}

/// Drops the last slice along an axis (negative: from the end).
inline void drop_last(tensor<double>& t, int axis) {
  replace(
      t, [&](const shape& at) { return last_of(t, at, axis); }, zero);
}

/// Reads the first slice along an axis in place of the last.
inline void first_for_last(tensor<double>& t, int axis) {
  const tensor<double> whole = t;
  replace(
      t, [&](const shape& at) { return last_of(t, at, axis); },
      [&](shape at, double) {
        at[axis] = 0;
        return whole.view()(at);
      });
}

inline bool any_above(const layer& l, const char* attribute, index_t least) {
  return std::ranges::any_of(l.resolved().integers(attribute), [&](index_t v) { return v > least; });
}

inline void read_group_0(const layer& l, tensors& reads) {
  const index_t channels = l.shapes()["weight"][1];
  const tensor<double> x = reads["x"];
  replace(
      reads["x"], [](const shape&) { return true; },
      [&](shape at, double) {
        at[1] %= channels;
        return x.view()(at);
      });
}

/// y[i] from x[i].
template <class F>
plant elementwise(std::string law, std::string pass, std::string what, F f) {
  return {std::move(law), std::move(pass), std::move(what),
          [f](const layer& l, const pass_spec& p, const tensors& reads) {
            tensors writes = make_tensors<double>(l, p.writes);
            for (index_t i = 0; i < writes.entries()[0].real.size(); ++i)
              writes.entries()[0].real[i] = f(reads, i);
            return writes;
          }};
}

/// Bugs of a few kinds, for laws that any of them breaks.
inline plant shifted(std::string law, std::string pass, const std::string& tensor, double by) {
  return miswrite(std::move(law), std::move(pass), "is off by a constant",
                  [=](const layer&, const tensors&, tensors& w) {
                    if (w.has(tensor))
                      for (double& v : w[tensor].values()) v += by;
                  });
}

inline plant stretched(std::string law, std::string pass, const std::string& tensor) {
  return miswrite(std::move(law), std::move(pass), "is off by one in a hundred",
                  [=](const layer&, const tensors&, tensors& w) {
                    if (w.has(tensor))
                      for (double& v : w[tensor].values()) v *= 1.01;
                  });
}

inline plant mixed(std::string law, std::string pass, const std::string& from, const std::string& into) {
  return miswrite(std::move(law), std::move(pass), "lets " + from + " into " + into,
                  [=](const layer&, const tensors& r, tensors& w) {
                    if (r[from].size() > 0 && w[into].size() > 0) w[into][0] += r[from][0] / 4;
                  });
}

inline plant mirrored(std::string law, std::string pass) {
  return misread(std::move(law), std::move(pass), "takes -x for x", [](const layer&, tensors& r) {
    for (double& v : r["x"].values()) v = -v;
  });
}

/// Of layers that multiply their inputs by weights.
void add_weighted_plants(std::vector<plant>& list);
/// Common to all layers, and of all others.
void add_other_plants(std::vector<plant>& list);

}  // namespace plumb::planted
