// Four estimates of one Jacobian over a scalar T, each by its own road: dual numbers column by column, the
// implicit vjp row by row, the explicit entries, and numerical differentiation of `forward`. The fifth
// definition is `forward` itself, which the first and the last of these evaluate.
//
// Numerical: in exact arithmetic a central difference of a function that is a polynomial of degree ≤ 2 in the
// coordinate *is* the derivative. Otherwise Richardson extrapolation of central differences (Richardson 1911;
// Ridders 1982) with its own error estimate, the distance of the last two diagonal entries of the tableau.
#pragma once

#include <cstdlib>

#include "reference/layers/layer.hpp"

namespace plumb {

/// A dense block of ∂outputs/∂inputs over all differentiable tensors; rows are outputs, columns inputs.
template <class T>
class matrix {
 public:
  matrix(index_t rows, index_t cols) : values_(static_cast<std::size_t>(rows * cols), T(0)), cols_(cols) {}
  T& operator()(index_t row, index_t col) { return values_[static_cast<std::size_t>(row * cols_ + col)]; }
  const T& operator()(index_t row, index_t col) const {
    return values_[static_cast<std::size_t>(row * cols_ + col)];
  }
  index_t rows() const { return cols_ == 0 ? 0 : static_cast<index_t>(values_.size()) / cols_; }
  index_t cols() const { return cols_; }

 private:
  std::vector<T> values_;
  index_t cols_;
};

/// Which tensor elements make up the rows or columns of the Jacobian: a range for each tensor.
class coordinates_of {
 public:
  struct range {
    std::string tensor;
    index_t first = 0;
    index_t size = 0;
  };
  void add(const std::string& tensor, index_t size) {
    ranges_.push_back({tensor, total_, size});
    total_ += size;
  }
  index_t total() const { return total_; }
  const std::vector<range>& ranges() const { return ranges_; }
  const range* find(std::string_view tensor) const {
    for (const range& r : ranges_)
      if (r.tensor == tensor) return &r;
    return nullptr;
  }

 private:
  std::vector<range> ranges_;
  index_t total_ = 0;
};

inline coordinates_of differentiable(const layer& l, const std::vector<tensor_spec>& specs) {
  coordinates_of all;
  for (const tensor_spec& s : specs)
    if (s.kind == element::real && s.differentiable && l.present(s.name))
      all.add(s.name, l.shapes()[s.name].size());
  return all;
}

inline std::vector<std::string> names_of(const std::vector<tensor_spec>& specs) {
  std::vector<std::string> names;
  for (const tensor_spec& s : specs) names.push_back(s.name);
  return names;
}

/// The differentiation of one layer at one point over the scalar T.
template <class T>
class differentiation {
 public:
  differentiation(const layer& l, tensor_set<T> in)
      : layer_(l),
        in_(std::move(in)),
        inputs_(differentiable(l, l.describe().inputs)),
        outputs_(differentiable(l, l.describe().outputs)) {}

  const coordinates_of& inputs() const { return inputs_; }
  const coordinates_of& outputs() const { return outputs_; }

  std::vector<T> forward(const tensor_set<T>& in) const { return flatten(run(in)); }

  /// ∂outputs/∂x_j for one column, from dual numbers.
  std::vector<T> dual_column(index_t j) const {
    auto in = as_dual();
    coordinate(in, j).tangent = T(1);
    return tangents(in);
  }
  /// J·v, from dual numbers.
  std::vector<T> dual_product(const std::vector<T>& v) const {
    auto in = as_dual();
    for (index_t j = 0; j < inputs_.total(); ++j) coordinate(in, j).tangent = v[static_cast<std::size_t>(j)];
    return tangents(in);
  }

  /// Jᵀ·u, from the implicit backward pass.
  std::vector<T> vjp_product(const std::vector<T>& u) const {
    const tensor_set<T> out = run(in_);
    tensor_set<T> dy;
    for (const auto& r : outputs_.ranges()) {
      tensor<T> t(layer_.shapes()[r.tensor]);
      for (index_t i = 0; i < r.size; ++i) t[i] = u[static_cast<std::size_t>(r.first + i)];
      dy.add("d" + r.tensor, std::move(t));
    }
    tensor_set<T> dx;
    for (const auto& r : inputs_.ranges()) dx.add("d" + r.tensor, tensor<T>(layer_.shapes()[r.tensor]));
    layer_.as<T>().vjp(in_.views(), out.views(), std::as_const(dy).views(), dx.views());
    std::vector<T> gradient;
    for (const auto& r : inputs_.ranges())
      for (const T& value : dx["d" + r.tensor].values()) gradient.push_back(value);
    return gradient;
  }

  /// Calls sink(row, column, value) for every entry of the explicit Jacobian.
  template <class Sink>
  void explicit_entries(Sink&& sink) const {
    layer_.as<T>().jacobian(
        in_.views(), [&](std::string_view out, index_t i, std::string_view in, index_t j, const T& value) {
          const auto* row = outputs_.find(out);
          const auto* col = inputs_.find(in);
          if (row == nullptr || col == nullptr)
            throw std::logic_error("the Jacobian of `" + layer_.name() +
                                   "` names a tensor that is not differentiable");
          sink(row->first + i, col->first + j, value);
        });
  }

  matrix<T> by_dual() const {
    matrix<T> m(outputs_.total(), inputs_.total());
    for (index_t j = 0; j < inputs_.total(); ++j) {
      const std::vector<T> column = dual_column(j);
      for (index_t i = 0; i < outputs_.total(); ++i) m(i, j) = column[static_cast<std::size_t>(i)];
    }
    return m;
  }
  matrix<T> by_vjp() const {
    matrix<T> m(outputs_.total(), inputs_.total());
    for (index_t i = 0; i < outputs_.total(); ++i) {
      std::vector<T> unit(static_cast<std::size_t>(outputs_.total()), T(0));
      unit[static_cast<std::size_t>(i)] = T(1);
      const std::vector<T> row = vjp_product(unit);
      for (index_t j = 0; j < inputs_.total(); ++j) m(i, j) = row[static_cast<std::size_t>(j)];
    }
    return m;
  }
  matrix<T> by_entries() const {
    matrix<T> m(outputs_.total(), inputs_.total());
    explicit_entries([&](index_t i, index_t j, const T& value) { m(i, j) += value; });
    return m;
  }

  /// The inputs moved by h along v.
  tensor_set<T> moved(const std::vector<T>& v, const T& h) const {
    tensor_set<T> in = in_;
    for (index_t j = 0; j < inputs_.total(); ++j) coordinate(in, j) += h * v[static_cast<std::size_t>(j)];
    return in;
  }
  tensor_set<T> moved(index_t j, const T& h) const {
    tensor_set<T> in = in_;
    coordinate(in, j) += h;
    return in;
  }
  const tensor_set<T>& point() const { return in_; }

  struct estimate {
    std::vector<T> value;
    std::vector<T> error;  ///< of each value; zero where the difference is exact
  };

  /// Derivative of `at(h)` at h = 0 by one central difference, exact for degree ≤ 2 in exact arithmetic.
  template <class At>
  estimate central_difference(const At& at, const T& h) const {
    const std::vector<T> plus = forward(at(h));
    const std::vector<T> minus = forward(at(T(-h)));
    estimate e{plus, std::vector<T>(plus.size(), T(0))};
    for (std::size_t i = 0; i < plus.size(); ++i) e.value[i] = (plus[i] - minus[i]) / (h + h);
    return e;
  }

  /// Richardson extrapolation of central differences with steps h, h/2, …, h/2^(levels-1).
  template <class At>
  estimate richardson(const At& at, T h, int levels) const {
    std::vector<std::vector<T>> row;  // the current row of the tableau, for every output
    std::vector<T> previous;
    for (int level = 0; level < levels; ++level, h /= T(2)) {
      std::vector<std::vector<T>> next{central_difference(at, h).value};
      T power(1);
      for (std::size_t k = 0; k < row.size(); ++k) {
        power *= T(4);  // the error expands in even powers of h
        std::vector<T> refined = next[k];
        for (std::size_t i = 0; i < refined.size(); ++i)
          refined[i] += (next[k][i] - row[k][i]) / (power - T(1));
        next.push_back(std::move(refined));
      }
      if (!row.empty()) previous = row.back();
      row = std::move(next);
    }
    estimate e{row.back(), row.back()};
    for (std::size_t i = 0; i < e.value.size(); ++i) {
      const T distance = e.value[i] - previous[i];
      e.error[i] = distance < T(0) ? T(-distance) : distance;
    }
    return e;
  }

 private:
  tensor_set<T> run(const tensor_set<T>& in) const {
    tensor_set<T> out = make_tensors<T>(layer_, names_of(layer_.describe().outputs));
    layer_.as<T>().forward(in.views(), out.views());
    return out;
  }
  std::vector<T> flatten(const tensor_set<T>& out) const {
    std::vector<T> values;
    for (const auto& r : outputs_.ranges())
      for (const T& value : out[r.tensor].values()) values.push_back(value);
    return values;
  }
  template <class S>
  S& coordinate(tensor_set<S>& in, index_t j) const {
    for (const auto& r : inputs_.ranges())
      if (j < r.first + r.size) return in[r.tensor][j - r.first];
    throw std::out_of_range("no such input coordinate");
  }
  tensor_set<dual<T>> as_dual() const {
    return in_.template map<dual<T>>([](const T& v) { return dual<T>(v); });
  }
  std::vector<T> tangents(const tensor_set<dual<T>>& in) const {
    tensor_set<dual<T>> out = make_tensors<dual<T>>(layer_, names_of(layer_.describe().outputs));
    layer_.as<dual<T>>().forward(in.views(), out.views());
    std::vector<T> values;
    for (const auto& r : outputs_.ranges())
      for (const dual<T>& value : out[r.tensor].values()) values.push_back(value.tangent);
    return values;
  }

  const layer& layer_;
  tensor_set<T> in_;
  coordinates_of inputs_;
  coordinates_of outputs_;
};

}  // namespace plumb
