// One Jacobian, found four times from the five definitions of a layer, and which definition is to blame when
// they differ:
//   explicit     jacobian<T>
//   implicit     vjp<T> of every unit cotangent, row by row
//   dual         forward<dual<T>> along every unit tangent, column by column
//   difference   (f(x + h) - f(x - h)) / 2h: exact in rationals up to degree 2 in each coordinate; otherwise
//                ten such quotients, h = 1/1000 … 10/1000, extrapolated to h = 0 as a polynomial in h²
//                (Richardson): what is left is below 1e-45
// A fault in `forward` shows as dual and difference agreeing with each other against the other two.
#pragma once

#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "reference/layers/layer.hpp"

namespace plumb::five_definitions {

/// A dense matrix for each pair (output, input), by name; rows are outputs.
template <class T>
using matrices = std::map<std::pair<std::string, std::string>, std::vector<T>>;

inline std::vector<std::string> differentiable(const layer& l, const std::vector<tensor_spec>& specs) {
  std::vector<std::string> names;
  for (const tensor_spec& s : specs)
    if (s.kind == element::real && s.differentiable && l.present(s.name)) names.push_back(s.name);
  return names;
}

inline std::vector<std::string> all_names(const std::vector<tensor_spec>& specs) {
  std::vector<std::string> names;
  for (const tensor_spec& s : specs) names.push_back(s.name);
  return names;
}

template <class T>
tensor_set<T> outputs_of(const layer& l, const tensor_set<T>& in) {
  tensor_set<T> out = make_tensors<T>(l, all_names(l.describe().outputs));
  l.as<T>().forward(in.views(), out.views());
  return out;
}

template <class T>
matrices<T> zeros(const layer& l) {
  matrices<T> m;
  for (const std::string& y : differentiable(l, l.describe().outputs))
    for (const std::string& x : differentiable(l, l.describe().inputs))
      m[{y, x}].assign(static_cast<std::size_t>(l.shapes()[y].size() * l.shapes()[x].size()), T(0));
  return m;
}

template <class T>
T& entry(matrices<T>& m, const layer& l, const std::string& y, index_t i, const std::string& x, index_t j) {
  return m.at({y, x}).at(static_cast<std::size_t>(i * l.shapes()[x].size() + j));
}

template <class T>
matrices<T> explicit_jacobian(const layer& l, const tensor_set<T>& in) {
  matrices<T> m = zeros<T>(l);
  l.as<T>().jacobian(in.views(),
                     [&](std::string_view y, index_t i, std::string_view x, index_t j, const T& value) {
                       entry(m, l, std::string(y), i, std::string(x), j) += value;
                     });
  return m;
}

template <class T>
matrices<T> implicit_jacobian(const layer& l, const tensor_set<T>& in) {
  matrices<T> m = zeros<T>(l);
  const tensor_set<T> out = outputs_of(l, in);
  const auto outputs = differentiable(l, l.describe().outputs);
  for (const std::string& y : outputs)
    for (index_t i = 0; i < l.shapes()[y].size(); ++i) {
      tensor_set<T> dy, dx;
      for (const std::string& name : outputs) dy.add("d" + name, tensor<T>(l.shapes()[name]));
      dy["d" + y][i] = T(1);
      for (const std::string& x : differentiable(l, l.describe().inputs))
        dx.add("d" + x, tensor<T>(l.shapes()[x], T(77)));  // gradients are overwritten, not accumulated
      l.as<T>().vjp(in.views(), out.views(), std::as_const(dy).views(), dx.views());
      for (const std::string& x : differentiable(l, l.describe().inputs))
        for (index_t j = 0; j < l.shapes()[x].size(); ++j) entry(m, l, y, i, x, j) = dx["d" + x][j];
    }
  return m;
}

template <class T>
matrices<T> dual_jacobian(const layer& l, const tensor_set<T>& in) {
  matrices<T> m = zeros<T>(l);
  for (const std::string& x : differentiable(l, l.describe().inputs))
    for (index_t j = 0; j < l.shapes()[x].size(); ++j) {
      auto moving = in.template map<dual<T>>([](const T& v) { return dual<T>(v); });
      moving[x][j].tangent = T(1);
      const tensor_set<dual<T>> out = outputs_of<dual<T>>(l, moving);
      for (const std::string& y : differentiable(l, l.describe().outputs))
        for (index_t i = 0; i < l.shapes()[y].size(); ++i) entry(m, l, y, i, x, j) = out[y][i].tangent;
    }
  return m;
}

/// Every differentiable output of the layer with x[j] moved by h, one after the other.
template <class T>
std::vector<T> outputs_at(const layer& l, tensor_set<T> in, const std::string& x, index_t j, const T& h) {
  in[x][j] += h;
  const tensor_set<T> out = outputs_of(l, in);
  std::vector<T> list;
  for (const std::string& y : differentiable(l, l.describe().outputs))
    list.insert(list.end(), out[y].values().begin(), out[y].values().end());
  return list;
}

/// Central differences over ±steps/1000 (in rationals ±1/1000 alone) extrapolated to 0 by Neville's scheme in
/// h².
template <class T>
matrices<T> difference_jacobian(const layer& l, const tensor_set<T>& in) {
  matrices<T> m = zeros<T>(l);
  const int levels = is_exact_v<T> ? 1 : 10;
  for (const std::string& x : differentiable(l, l.describe().inputs))
    for (index_t j = 0; j < l.shapes()[x].size(); ++j) {
      std::vector<std::vector<T>> slopes;
      for (int steps = 1; steps <= levels; ++steps) {
        const T h = T(steps) / T(1000);
        std::vector<T> slope = outputs_at<T>(l, in, x, j, h);
        const std::vector<T> below = outputs_at<T>(l, in, x, j, -h);
        for (std::size_t i = 0; i < slope.size(); ++i) slope[i] = (slope[i] - below[i]) / (h + h);
        slopes.push_back(slope);
      }
      for (int width = 1; width < levels; ++width)
        for (int k = levels; k > width; --k) {
          const T a = T(k * k), b = T((k - width) * (k - width));
          auto &wide = slopes[static_cast<std::size_t>(k - 1)],
               &narrow = slopes[static_cast<std::size_t>(k - 2)];
          for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = (a * narrow[i] - b * wide[i]) / (a - b);
        }
      std::size_t at = 0;
      for (const std::string& y : differentiable(l, l.describe().outputs))
        for (index_t i = 0; i < l.shapes()[y].size(); ++i) entry(m, l, y, i, x, j) = slopes.back()[at++];
    }
  return m;
}

/// Equal to within `tolerance` (of the larger magnitude, or absolutely below 1); 0 demands equality. Infinities
/// and NaN never agree.
template <class T>
bool agree(const matrices<T>& a, const matrices<T>& b, const T& tolerance) {
  if (a.size() != b.size()) return false;
  for (const auto& [names, mine] : a) {
    const auto found = b.find(names);
    if (found == b.end() || found->second.size() != mine.size()) return false;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const T &p = mine[i], &q = found->second[i];
      const T difference = p < q ? T(q - p) : T(p - q);
      const T size = std::max({T(1), p < T(0) ? T(-p) : p, q < T(0) ? T(-q) : q});
      const bool finite = size - size == T(0);  // ∞ <= tolerance·∞ would hold
      if (!(finite && difference <= tolerance * size)) return false;
    }
  }
  return true;
}

/// The definitions that must be wrong for the four Jacobians to be what they are; empty: all agree.
template <class T>
std::set<std::string> blamed(const layer& l, const tensor_set<T>& in, const T& tolerance) {
  const matrices<T> of[] = {explicit_jacobian(l, in), implicit_jacobian(l, in), dual_jacobian(l, in),
                            difference_jacobian(l, in)};
  bool same[4][4];
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < 4; ++b) same[a][b] = agree(of[a], of[b], tolerance);
  const auto odd_one = [&](int a) {
    for (int b = 0; b < 4; ++b)
      for (int c = 0; c < 4; ++c)
        if (b != a && c != a && !same[b][c]) return false;
    return !same[a][(a + 1) % 4];
  };
  if (same[0][1] && same[0][2] && same[0][3]) return {};
  // A wrong formula spoils the saved outputs that vjp starts from, so that vjp may stand alone too.
  if (same[2][3] && !same[0][2] && !same[1][2]) return {"forward"};
  const char* names[] = {"jacobian", "vjp", "dual", "difference"};
  for (int a = 0; a < 4; ++a)
    if (odd_one(a)) return {names[a]};
  return {"several"};
}

/// Inputs for a layer: reals from `draw`, indices below their bound.
template <class T>
tensor_set<T> random_inputs(const layer& l, std::mt19937& random,
                            const std::function<T(std::mt19937&)>& draw) {
  tensor_set<T> in = make_tensors<T>(l, all_names(l.describe().inputs));
  for (auto& e : in.entries()) {
    const domain values = l.spec(e.name).values;
    for (T& v : e.real.values()) {
      v = draw(random);
      const T magnitude = v < T(0) ? T(-v) : v;
      if (values == domain::nonnegative) v = magnitude;
      if (values == domain::positive) v = magnitude + T(1);
      if (values == domain::nonzero) v += v < T(0) ? T(-1) : T(1);
      if (values == domain::position) v = T(20 * static_cast<int>(random() % 125) - 1243) / T(1000);
      if (values == domain::unit) v = magnitude / (magnitude + T(1));
      if (values == domain::bit) v = T(static_cast<int>(random() % 2));
    }
    if (e.is_index)
      for (index_t& v : e.index.values()) v = static_cast<index_t>(random()) % l.index_bound(e.name);
  }
  return in;
}

}  // namespace plumb::five_definitions
