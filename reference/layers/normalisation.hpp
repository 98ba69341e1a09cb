// Normalisation within a sample. The elements of x fall into rows of m elements that lie one after the other,
// and every row r is brought to mean 0 and variance 1, then scaled and shifted:
//
//   y[a] = gamma[p(a)]·x̂[a] + beta[p(a)],      x̂[a] = (x[a] - μ[r]) / √(σ²[r] + eps)
//   μ[r] = Σ x/m,   σ²[r] = Σ (x - μ)²/m       over the row; saved as mean = μ, invstd = 1/√(σ² + eps)
//
//                   a row is                                       gamma, beta are
//   layer_norm      the last `axes` axes (Ba et al. 2016)          those axes: one number a position
//   group_norm      C/groups channels of a sample with all their   C: one number a channel
//                   positions (Wu & He 2018)
//   instance_norm   one channel of a sample (Ulyanov et al. 2016)  C
//   rms_norm        as layer_norm, but y = gamma·x/√(Σ x²/m + eps), no beta (Zhang & Sennrich 2019);
//                   saved as invrms
// Shapes: layer_norm and rms_norm x = N,…, axes = all but the first, which counts samples, unless given; the
// others x = N,C,….
// gamma (1 if left out) and beta (0) are optional. eps 1e-5. A row of one element is legal: y = beta, or for
// rms_norm ±gamma (torch refuses some of these, for fear of statistics of a single number).
// Conventions as torch 1.13.1, which has no rms_norm.
//
// Gradients, with g = dy·gamma and sums over the row or, for parameters, over all elements they belong to:
//   dbeta = Σ dy     dgamma = Σ dy·x̂     dx = invstd·(g - Σ g/m - x̂·Σ g·x̂/m)
//   rms_norm: dx = invrms·(g - x̂·Σ g·x̂/m), x̂ = x·invrms
// The explicit Jacobian couples the elements of a row: with s = √(σ² + eps)
//   ∂y[a]/∂x[b] = gamma[p(a)]·(([a = b] - 1/m)/s - (x[a] - μ)(x[b] - μ)/(m·s³))
//   rms_norm: ∂y[a]/∂x[b] = gamma[p(a)]·([a = b]/s - x[a]·x[b]/(m·s³)), s = √(Σ x²/m + eps)
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

/// The three layers that differ only in what a row is. A Rule states row_length(x), the m of the card,
/// parameter(a, x), its p(a), parameters(x), the shape of gamma, and statistics(x), that of mean.
template <class Rule>
struct normalised_rows {
  decimal eps = {1, 100000};

  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const normalised_rows&) const = default;

  signature describe() const {
    constexpr int no_batch = tensor_spec::no_batch;
    const std::string letters(Rule::parameter_axes);
    return {
        .inputs = {{.name = "x", .axes = std::string(Rule::x_axes)},
                   {.name = "gamma", .optional = true, .batch_axis = no_batch, .axes = letters},
                   {.name = "beta", .optional = true, .batch_axis = no_batch, .axes = letters}},
        .outputs = {{.name = "y", .axes = std::string(Rule::x_axes)},
                    {.name = "mean", .differentiable = false},
                    {.name = "invstd", .differentiable = false, .values = domain::positive}},
        .passes = {{.name = "forward", .reads = {"x", "gamma", "beta"}, .writes = {"y", "mean", "invstd"}},
                   {.name = "backward",
                    .reads = {"dy", "x", "gamma", "mean", "invstd"},
                    .writes = {"dx", "dgamma", "dbeta"},
                    .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    rule().require_rows(x);
    for (const char* name : {"gamma", "beta"})
      if (in.has(name) && !(in[name] == rule().parameters(x)))
        throw shape_error(named(name, in[name]) + " does not match " + named("x", x) + "; expected " +
                          named(name, rule().parameters(x)));
    shape_map out;
    out.set("y", x);
    out.set("mean", rule().statistics(x));
    out.set("invstd", rule().statistics(x));
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    using std::sqrt;
    const auto x = in["x"];
    const index_t m = rule().row_length(x.extents());
    for (index_t r = 0; r < x.size() / m; ++r) {
      T mu = T(0), variance = T(0);
      for (index_t a = r * m; a < (r + 1) * m; ++a) mu += x[a];
      mu /= T(m);
      for (index_t a = r * m; a < (r + 1) * m; ++a) variance += (x[a] - mu) * (x[a] - mu);
      variance /= T(m);
      const T invstd = T(1) / sqrt(variance + eps.as<T>());
      out["mean"][r] = mu;
      out["invstd"][r] = invstd;
      for (index_t a = r * m; a < (r + 1) * m; ++a) {
        const index_t p = rule().parameter(a, x.extents());
        T y = (x[a] - mu) * invstd;
        if (in.has("gamma"))  // in either order: they part where one of them underflows
          y = either(T(y * in["gamma"][p]), T((x[a] - mu) * T(in["gamma"][p] * invstd)));
        if (in.has("beta")) y += in["beta"][p];
        out["y"][a] = y;
      }
    }
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto x = in["x"], dy = cotangent["dy"];
    const index_t m = rule().row_length(x.extents());
    const auto xhat = [&](index_t a) { return (x[a] - out["mean"][a / m]) * out["invstd"][a / m]; };
    for (const char* name : {"dgamma", "dbeta"})
      if (gradient.has(name))
        for (index_t p = 0; p < gradient[name].size(); ++p) gradient[name][p] = T(0);
    for (index_t a = 0; a < x.size(); ++a) {
      const index_t p = rule().parameter(a, x.extents());
      if (gradient.has("dgamma")) gradient["dgamma"][p] += dy[a] * xhat(a);
      if (gradient.has("dbeta")) gradient["dbeta"][p] += dy[a];
    }
    if (!gradient.has("dx")) return;
    const auto g = [&](index_t a) {
      return in.has("gamma") ? dy[a] * in["gamma"][rule().parameter(a, x.extents())] : dy[a];
    };
    for (index_t first = 0; first < x.size(); first += m) {
      T sum_g = T(0), sum_g_xhat = T(0);
      for (index_t a = first; a < first + m; ++a) {
        sum_g += g(a);
        sum_g_xhat += g(a) * xhat(a);
      }
      for (index_t a = first; a < first + m; ++a)
        gradient["dx"][a] = out["invstd"][a / m] * (g(a) - (sum_g + xhat(a) * sum_g_xhat) / T(m));
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::sqrt;
    const auto x = in["x"];
    const index_t m = rule().row_length(x.extents());
    for (index_t a = 0; a < x.size(); ++a) {
      const index_t first = a - a % m, p = rule().parameter(a, x.extents());
      T mean = T(0), square = T(0);
      for (index_t b = first; b < first + m; ++b) mean += x[b] / T(m);
      for (index_t b = first; b < first + m; ++b) square += (x[b] - mean) * (x[b] - mean) / T(m);
      const T s = sqrt(square + eps.as<T>()), gamma = in.has("gamma") ? in["gamma"][p] : T(1);
      for (index_t b = first; b < first + m; ++b)
        emit("y", a, "x", b,
             gamma * (((a == b ? T(1) : T(0)) - T(1) / T(m)) / s -
                      (x[a] - mean) * (x[b] - mean) / (T(m) * s * s * s)));
      if (in.has("gamma")) emit("y", a, "gamma", p, (x[a] - mean) / s);
      if (in.has("beta")) emit("y", a, "beta", p, T(1));
    }
  }

 private:
  const Rule& rule() const { return static_cast<const Rule&>(*this); }
};

/// The last axes of a tensor, as layer_norm and rms_norm name them.
struct trailing_axes {
  index_t count = 0;  // 0: not given

  bool operator==(const trailing_axes&) const = default;
  /// Throws shape_error unless x has that many axes behind the first and they hold elements.
  void require(const shape& x) const {
    if (of(x) < 1 || of(x) >= x.rank() || size(x) < 1)
      throw shape_error("axes=" + std::to_string(of(x)) + " does not fit " + named("x", x) +
                        "; expected at least 1 and fewer than x has, and none of them empty");
  }
  /// All but the first unless given.
  int of(const shape& x) const { return count == 0 ? x.rank() - 1 : static_cast<int>(count); }
  shape of_these(const shape& x) const {
    shape s;
    for (int axis = x.rank() - of(x); axis < x.rank(); ++axis) s.push_back(x[axis]);
    return s;
  }
  shape of_the_others(const shape& x) const {
    shape s;
    for (int axis = 0; axis < x.rank() - of(x); ++axis) s.push_back(x[axis]);
    return s;
  }
  index_t size(const shape& x) const { return of_these(x).size(); }
};

struct layer_norm : normalised_rows<layer_norm> {
  trailing_axes axes = {};

  static constexpr std::string_view formula = "y = gamma·(x - mean)/√(var + eps) + beta, over the last axes";
  static constexpr std::string_view x_axes = "n*", parameter_axes = "*";
  bool operator==(const layer_norm&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("axes", self.axes.count, range{1, shape::max_rank}, index_t{0});
    visit("eps", self.eps, at_least(0));
  }
  void resolve(const shape_map& in) { axes.count = axes.of(in["x"]); }

  void require_rows(const shape& x) const { axes.require(x); }
  index_t row_length(const shape& x) const { return axes.size(x); }
  index_t parameter(index_t a, const shape& x) const { return a % axes.size(x); }
  shape parameters(const shape& x) const { return axes.of_these(x); }
  shape statistics(const shape& x) const { return axes.of_the_others(x); }
};

/// Throws shape_error unless x has a channel axis and every channel has elements.
inline void require_channels(const shape& x) {
  if (x.rank() < 2) throw shape_error(named("x", x) + " has no channels; expected N,C or N,C,…");
  for (int axis = 1; axis < x.rank(); ++axis)
    if (x[axis] < 1) throw shape_error(named("x", x) + " is empty along axis " + std::to_string(axis));
}

struct group_norm : normalised_rows<group_norm> {
  index_t groups = 0;  // not given, which is an error

  static constexpr std::string_view formula =
      "y = gamma[c]·(x - mean)/√(var + eps) + beta[c], over C/groups channels of a sample";
  static constexpr std::string_view x_axes = "nc*", parameter_axes = "c";
  bool operator==(const group_norm&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("groups", self.groups, at_least(1));
    visit("eps", self.eps, at_least(0));
  }

  void require_rows(const shape& x) const {
    require_channels(x);
    if (x[1] % groups != 0)
      throw shape_error(named("x", x) + " has " + std::to_string(x[1]) +
                        " channels; groups=" + std::to_string(groups) + " must divide them");
  }
  index_t row_length(const shape& x) const { return x.size() == 0 ? 1 : x.size() / x[0] / groups; }
  index_t parameter(index_t a, const shape& x) const { return a / (x.size() / x[0] / x[1]) % x[1]; }
  shape parameters(const shape& x) const { return {x[1]}; }
  shape statistics(const shape& x) const { return {x[0], groups}; }
};

struct instance_norm : normalised_rows<instance_norm> {
  static constexpr std::string_view formula =
      "y = gamma[c]·(x - mean)/√(var + eps) + beta[c], over one channel of a sample";
  static constexpr bool channelwise = true;
  static constexpr std::string_view x_axes = "nc*", parameter_axes = "c";
  bool operator==(const instance_norm&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("eps", self.eps, at_least(0)); }

  void require_rows(const shape& x) const { require_channels(x); }
  index_t row_length(const shape& x) const {
    index_t positions = 1;
    for (int axis = 2; axis < x.rank(); ++axis) positions *= x[axis];
    return positions;
  }
  index_t parameter(index_t a, const shape& x) const { return a / row_length(x) % x[1]; }
  shape parameters(const shape& x) const { return {x[1]}; }
  shape statistics(const shape& x) const { return {x[0], x[1]}; }
};

struct rms_norm {
  trailing_axes axes = {};
  decimal eps = {1, 100000};

  static constexpr std::string_view formula = "y = gamma·x/√(mean x² + eps), over the last axes";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  bool operator==(const rms_norm&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("axes", self.axes.count, range{1, shape::max_rank}, index_t{0});
    visit("eps", self.eps, at_least(0));
  }
  void resolve(const shape_map& in) { axes.count = axes.of(in["x"]); }

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "n*"},
                       {.name = "gamma", .optional = true, .batch_axis = tensor_spec::no_batch, .axes = "*"}},
            .outputs = {{.name = "y", .axes = "n*"},
                        {.name = "invrms", .differentiable = false, .values = domain::positive}},
            .passes = {{.name = "forward", .reads = {"x", "gamma"}, .writes = {"y", "invrms"}},
                       {.name = "backward",
                        .reads = {"dy", "x", "gamma", "invrms"},
                        .writes = {"dx", "dgamma"},
                        .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    axes.require(x);
    if (in.has("gamma") && !(in["gamma"] == axes.of_these(x)))
      throw shape_error(named("gamma", in["gamma"]) + " does not match " + named("x", x) + "; expected " +
                        named("gamma", axes.of_these(x)));
    shape_map out;
    out.set("y", x);
    out.set("invrms", axes.of_the_others(x));
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    using std::sqrt;
    const auto x = in["x"];
    const index_t m = axes.size(x.extents());
    for (index_t r = 0; r < x.size() / m; ++r) {
      T squares = T(0);
      for (index_t i = 0; i < m; ++i) squares += x[r * m + i] * x[r * m + i];
      const T invrms = T(1) / sqrt(squares / T(m) + eps.as<T>());
      out["invrms"][r] = invrms;
      for (index_t i = 0; i < m; ++i) {
        const T normal = x[r * m + i] * invrms;
        out["y"][r * m + i] = in.has("gamma") ? normal * in["gamma"][i] : normal;
      }
    }
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto x = in["x"], dy = cotangent["dy"], invrms = out["invrms"];
    const index_t m = axes.size(x.extents());
    if (gradient.has("dgamma"))
      for (index_t i = 0; i < m; ++i) {
        T sum = T(0);
        for (index_t a = i; a < x.size(); a += m) sum += dy[a] * (x[a] * invrms[a / m]);
        gradient["dgamma"][i] = sum;
      }
    if (!gradient.has("dx")) return;
    const auto g = [&](index_t a) { return in.has("gamma") ? dy[a] * in["gamma"][a % m] : dy[a]; };
    for (index_t first = 0; first < x.size(); first += m) {
      const T scale = invrms[first / m];
      T projection = T(0);
      for (index_t a = first; a < first + m; ++a) projection += g(a) * (x[a] * scale);
      for (index_t a = first; a < first + m; ++a)
        gradient["dx"][a] = scale * (g(a) - x[a] * scale * projection / T(m));
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::sqrt;
    const auto x = in["x"];
    const index_t length = axes.size(x.extents());
    for (index_t a = 0; a < x.size(); ++a) {
      const index_t i = a % length;
      T mean = eps.as<T>();
      for (index_t b = a - i; b < a - i + length; ++b) mean += x[b] * x[b] / T(length);
      const T s = sqrt(mean), gamma = in.has("gamma") ? in["gamma"][i] : T(1);
      for (index_t b = a - i; b < a - i + length; ++b)
        emit("y", a, "x", b, gamma * ((a == b ? T(1) : T(0)) / s - x[a] * x[b] / (T(length) * s * mean)));
      if (in.has("gamma")) emit("y", a, "gamma", i, x[a] / s);
    }
  }
};

}  // namespace plumb
