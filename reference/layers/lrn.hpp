// Local response normalisation across channels (Krizhevsky et al. 2012), at every position i of a sample:
//
//   y[n,c,i] = x[n,c,i] / b[n,c,i]^beta,     b[n,c,i] = k + alpha/size · Σ_{j in W(c)} x[n,j,i]²
//
// W(c) runs from c - ⌊size/2⌋ to c + ⌊(size-1)/2⌋ and is clipped to the channels there are; the divisor stays
// size. For even sizes the window reaches further back than ahead (ONNX has it the other way round).
// size required; alpha 1e-4, beta 0.75, k 1 (AlexNet: size 5, k 2). With k = 0 a window of zeros gives NaN.
// Shapes: x = y = N,C,….   Conventions as torch 1.13.1.
//
// Gradient and explicit Jacobian, within one position of one sample:
//   dx[j] = dy[j]/b[j]^beta - 2·alpha·beta/size · x[j] · Σ_{c: j in W(c)} dy[c]·x[c]/b[c]^(beta+1)
//   ∂y[c]/∂x[j] = [c = j]/b[c]^beta - [j in W(c)]·2·alpha·beta/size·x[c]·x[j]/b[c]^(beta+1)
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

struct lrn {
  index_t size = 0;  // not given, which is an error
  decimal alpha = {1, 10000};
  decimal beta = {75, 100};
  decimal k = {1, 1};

  static constexpr std::string_view formula = "y[c] = x[c] / (k + alpha/size·Σ_{j near c} x[j]²)^beta";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const lrn&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("size", self.size, at_least(1));
    visit("alpha", self.alpha, at_least(0));
    visit("beta", self.beta);
    visit("k", self.k, at_least(0));
  }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nc*"}},
            .outputs = {{.name = "y", .axes = "nc*"}},
            .passes = {{.name = "forward", .reads = {"x"}, .writes = {"y"}},
                       {.name = "backward", .reads = {"dy", "x"}, .writes = {"dx"}, .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error if x has no channels.
  shape_map output_shapes(const shape_map& in) const {
    if (in["x"].rank() < 2)
      throw shape_error(named("x", in["x"]) + " has no channels; expected N,C or N,C,…");
    shape_map out;
    out.set("y", in["x"]);
    return out;
  }

  /// b^-beta as e^(-beta·log b). Of infinity and NaN, b^0 is 1 to those who call pow, and NaN to those who take logarithms.
  template <class T>
  T inverse_power(const T& b) const {
    using std::exp, std::log;
    const T power = exp(-(beta.as<T>() * log(b)));
    return beta.as<double>() == 0 ? either(T(1), power) : power;
  }

  // x[(n·C + c)·I + i] is x[n,c,i].

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t N = x.extent(0), C = x.extent(1), I = x.size() / std::max<index_t>(N * C, 1);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t i = 0; i < I; ++i) {
          T squares = T(0);
          const index_t first = std::max<index_t>(c - size / 2, 0),
                        last = std::min(c + (size - 1) / 2, C - 1);
          for (index_t j = first; j <= last; ++j) squares += x[(n * C + j) * I + i] * x[(n * C + j) * I + i];
          const T b = k.as<T>() + alpha.as<T>() / T(size) * squares;
          y[(n * C + c) * I + i] = x[(n * C + c) * I + i] * inverse_power(b);
        }
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& /*out*/, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto x = in["x"], dy = cotangent["dy"];
    const auto dx = gradient["dx"];
    const index_t C = x.extent(1), I = x.size() / std::max<index_t>(x.extent(0) * C, 1);
    for (index_t a = 0; a < dx.size(); ++a) dx[a] = T(0);
    for (index_t a = 0; a < x.size(); ++a) {  // scatters what y[a] sends to the elements of its window
      const index_t c = a / I % C;
      T b = k.as<T>();
      for (index_t step = -(size / 2); step < size - size / 2; ++step)
        if (inside(c + step, C)) b += alpha.as<T>() * x[a + step * I] * x[a + step * I] / T(size);
      const T power = inverse_power(b);
      dx[a] += dy[a] * power;
      const T shared = T(2) * alpha.as<T>() * beta.as<T>() / T(size) * dy[a] * x[a] * (power / b);
      for (index_t step = -(size / 2); step < size - size / 2; ++step)
        if (inside(c + step, C)) dx[a + step * I] -= shared * x[a + step * I];
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::exp, std::log;
    const auto x = in["x"];
    index_t row = 0;
    for_each_index(x.extents(), [&](shape at) {
      const index_t c = at[1], C = x.extent(1);
      index_t stride = 1;  // between channels
      for (int axis = 2; axis < x.rank(); ++axis) stride *= x.extent(axis);
      std::vector<index_t> window;
      for (index_t j = 0; j < C; ++j)
        if (2 * (c - j) <= size && 2 * (j - c) < size) window.push_back(row + (j - c) * stride);
      T mean = T(0);
      for (const index_t a : window) mean += x[a] * x[a] / T(size);
      const T b = k.as<T>() + alpha.as<T>() * mean, logarithm = log(b);
      emit("y", row, "x", row, inverse_power(b));
      const T steep = alpha.as<T>() * beta.as<T>() / exp((beta.as<T>() + T(1)) * logarithm);
      for (const index_t a : window) emit("y", row, "x", a, -(T(2) * steep * x[row] * x[a] / T(size)));
      ++row;
    });
  }
};

}  // namespace plumb
