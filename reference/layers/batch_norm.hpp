// Batch normalisation (Ioffe & Szegedy 2015): every channel is shifted and scaled by its own statistics. With
// i for all spatial axes of x together and m = N·I values a channel:
//
//   y[n,c,i] = gamma[c]·x̂[n,c,i] + beta[c],     x̂[n,c,i] = (x[n,c,i] - μ[c]) / √(σ²[c] + eps)
//
//   mode=train   μ = Σ x/m and σ² = Σ (x - μ)²/m over n and i; saved as mean = μ, invstd = 1/√(σ² + eps).
//                The running statistics are replaced by (1-momentum)·old + momentum·new, where new is μ and
//                the unbiased variance σ²·m/(m-1). m = 1 has none, and is an error; so is m = 0
//   mode=eval    μ = running_mean, σ² = running_var, and y is the only output
//   eps 1e-5, momentum 0.1
// Shapes: x = y = N,C,…   gamma (1 if left out), beta (0), running_mean, running_var, mean, invstd = C.
// Training may go without running statistics; they come together or not at all. Conventions as torch 1.13.1.
//
// Gradients, Σ over n and i of one channel:
//   dbeta = Σ dy     dgamma = Σ dy·x̂
//   dx    = gamma·invstd·(dy - Σ dy/m - x̂·Σ dy·x̂/m)     in training, where μ and σ² move with x
//   dx    = gamma·invstd·dy                                in evaluation
// The explicit Jacobian couples all values of a channel in training:
//   ∂y[a]/∂x[b] = gamma·([a = b] - 1/m)/s - gamma·(x[a] - μ)(x[b] - μ)/(m·s³),    s = √(σ² + eps)
#pragma once

#include "reference/core/layer.hpp"
#include "reference/layers/spatial.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

enum class norm_mode : std::uint8_t { train, eval };
template <>
struct choices<norm_mode> {
  static constexpr std::array<std::string_view, 2> names = {"train", "eval"};
};

struct batch_norm {
  norm_mode mode = norm_mode::train;
  decimal eps = {1, 100000};
  decimal momentum = {1, 10};

  static constexpr std::string_view formula = "y = gamma[c]·(x - mean[c])/√(var[c] + eps) + beta[c]";
  static constexpr bool rational = false;
  static constexpr int degree = 0;
  static constexpr bool channelwise = true;
  bool operator==(const batch_norm&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("mode", self.mode);
    visit("eps", self.eps, at_least(0));
    visit("momentum", self.momentum, range{0, 1});
  }

  signature describe() const {
    const bool train = mode == norm_mode::train;
    const auto per_channel = [](std::string name, bool optional, bool differentiable, domain values) {
      return tensor_spec{.name = std::move(name),
                         .optional = optional,
                         .differentiable = differentiable,
                         .values = values,
                         .batch_axis = tensor_spec::no_batch,
                         .axes = "c"};
    };
    signature s{.inputs = {{.name = "x", .axes = "nc*"},
                           per_channel("gamma", true, true, domain::any),
                           per_channel("beta", true, true, domain::any),
                           per_channel("running_mean", train, false, domain::any),
                           per_channel("running_var", train, false, domain::positive)},
                .outputs = {{.name = "y", .axes = "nc*"}},
                .passes = {{.name = "forward",
                            .reads = {"x", "gamma", "beta", "running_mean", "running_var"},
                            .writes = {"y"}},
                           {.name = "backward",
                            .reads = {"dy", "x", "gamma"},
                            .writes = {"dx", "dgamma", "dbeta"},
                            .linear_in = {{"dy"}}}}};
    for (const char* saved : {"mean", "invstd", "new_running_mean", "new_running_var"}) {
      if (!train) continue;
      const bool deviation = std::string_view(saved) == "invstd";
      s.outputs.push_back(per_channel(saved, false, false, deviation ? domain::positive : domain::any));
      s.passes[0].writes.emplace_back(saved);
    }
    for (const char* statistic : {"mean", train ? "invstd" : "var"})
      s.passes[1].reads.push_back(std::string(train ? "" : "running_") + statistic);
    return s;
  }

  bool batchwise(const shape_map& /*shapes*/) const { return mode == norm_mode::eval; }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"];
    if (x.rank() < 2 || x[1] < 1)
      throw shape_error(named("x", x) + " has no channels; expected N,C or N,C,…");
    const shape channels{x[1]};
    for (const char* name : {"gamma", "beta", "running_mean", "running_var"})
      if (in.has(name) && !(in[name] == channels))
        throw shape_error(named(name, in[name]) + " does not match " + named("x", x) +
                          "; expected one number a channel: " + named(name, channels));
    if (in.has("running_mean") != in.has("running_var"))
      throw shape_error("running_mean and running_var come together; expected both or none");
    shape_map out;
    out.set("y", x);
    if (mode == norm_mode::eval) return out;
    if (x.size() / x[1] < 2)
      throw shape_error(named("x", x) + " has " + std::to_string(x.size() / x[1]) +
                        " values a channel; training needs at least 2 for a variance");
    out.set("mean", channels);
    out.set("invstd", channels);
    for (const char* name : {"new_running_mean", "new_running_var"})
      if (in.has("running_mean")) out.set(name, channels);
    return out;
  }

  // In the definitions x[(n·C + c)·I + i] is x[n,c,i], and I counts the positions of a channel of a sample.

  // Definition 1: the formula -----------------------------------------------------------------------------

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    using std::sqrt;
    const auto x = in["x"];
    const auto y = out["y"];
    const index_t N = x.extent(0), C = x.extent(1), I = x.size() / std::max<index_t>(N * C, 1), m = N * I;
    for (index_t c = 0; c < C; ++c) {
      T mu = T(0), variance = T(0);
      if (mode == norm_mode::eval) {
        mu = in["running_mean"](c);
        variance = in["running_var"](c);
      } else {
        for (index_t n = 0; n < N; ++n)
          for (index_t i = 0; i < I; ++i) mu += x[(n * C + c) * I + i];
        mu /= T(m);
        for (index_t n = 0; n < N; ++n)
          for (index_t i = 0; i < I; ++i) {
            const T deviation = x[(n * C + c) * I + i] - mu;
            variance += deviation * deviation;
          }
        const T unbiased = variance / T(m - 1);
        variance /= T(m);
        out["mean"](c) = mu;
        out["invstd"](c) = T(1) / sqrt(variance + eps.as<T>());
        if (in.has("running_mean")) {
          const T a = momentum.as<T>();
          out["new_running_mean"](c) = (T(1) - a) * in["running_mean"](c) + a * mu;
          out["new_running_var"](c) = (T(1) - a) * in["running_var"](c) + a * unbiased;
        }
      }
      const T invstd = T(1) / sqrt(variance + eps.as<T>());
      for (index_t n = 0; n < N; ++n)
        for (index_t i = 0; i < I; ++i) {
          const index_t at = (n * C + c) * I + i;
          y[at] = (x[at] - mu) * invstd;
          if (in.has("gamma"))  // in either order: they part where one of them underflows
            y[at] = either(T(y[at] * in["gamma"](c)), T((x[at] - mu) * T(in["gamma"](c) * invstd)));
          if (in.has("beta")) y[at] += in["beta"](c);
        }
    }
  }

  // Definition 2: gradients from the cotangent dy and the saved statistics ---------------------------------

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    using std::sqrt;
    const bool train = mode == norm_mode::train;
    const auto x = in["x"];
    const auto dy = cotangent["dy"];
    const index_t N = x.extent(0), C = x.extent(1), I = x.size() / std::max<index_t>(N * C, 1);
    for (index_t c = 0; c < C; ++c) {
      const T mu = train ? out["mean"](c) : in["running_mean"](c);
      const T invstd = train ? out["invstd"](c) : T(1) / sqrt(in["running_var"](c) + eps.as<T>());
      T sum_dy = T(0), sum_dy_xhat = T(0);
      for (index_t n = 0; n < N; ++n)
        for (index_t i = 0; i < I; ++i) {
          const index_t at = (n * C + c) * I + i;
          sum_dy += dy[at];
          sum_dy_xhat += dy[at] * ((x[at] - mu) * invstd);
        }
      if (gradient.has("dbeta")) gradient["dbeta"](c) = sum_dy;
      if (gradient.has("dgamma")) gradient["dgamma"](c) = sum_dy_xhat;
      if (!gradient.has("dx")) continue;
      const T scale = in.has("gamma") ? in["gamma"](c) * invstd : invstd;
      for (index_t n = 0; n < N; ++n)
        for (index_t i = 0; i < I; ++i) {
          const index_t at = (n * C + c) * I + i;
          T centred = dy[at];
          if (train) centred -= (sum_dy + (x[at] - mu) * invstd * sum_dy_xhat) / T(N * I);
          gradient["dx"][at] = scale * centred;
        }
    }
  }

  // Definition 3: the explicit Jacobian --------------------------------------------------------------------

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    using std::sqrt;
    const auto x = in["x"];
    for (index_t c = 0; c < x.extent(1); ++c) {
      std::vector<index_t> members;  // row-major numbers of the values of channel c
      index_t number = 0;
      for_each_index(x.extents(), [&](const shape& at) {
        if (at[1] == c) members.push_back(number);
        ++number;
      });
      const T m = T(static_cast<index_t>(members.size()));
      T mean = T(0), variance = T(0);
      if (mode == norm_mode::train) {
        for (const index_t a : members) mean += x[a] / m;
        for (const index_t a : members) variance += (x[a] - mean) * (x[a] - mean) / m;
      } else {
        mean = in["running_mean"](c);
        variance = in["running_var"](c);
      }
      const T s = sqrt(variance + eps.as<T>()), gamma = in.has("gamma") ? in["gamma"](c) : T(1);
      for (const index_t a : members) {
        if (mode == norm_mode::eval) emit("y", a, "x", a, gamma / s);
        for (const index_t b : members)
          if (mode == norm_mode::train)
            emit("y", a, "x", b,
                 gamma * ((a == b ? T(1) : T(0)) - T(1) / m) / s -
                     gamma * (x[a] - mean) * (x[b] - mean) / (m * s * s * s));
        if (in.has("gamma")) emit("y", a, "gamma", c, (x[a] - mean) / s);
        if (in.has("beta")) emit("y", a, "beta", c, T(1));
      }
    }
  }
};

}  // namespace plumb
