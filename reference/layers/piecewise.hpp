// Activations made of rational pieces, element by element. With clip(x, a, b) = min(max(x, a), b):
//
//   leaky_relu    y = x if x > 0, else a·x          a: negative_slope, 0.01        (Maas et al. 2013)
//   prelu         the same with a = weight[c], learnt, or weight[0] for every channel (He et al. 2015)
//   hard_tanh     y = clip(x, min, max)             min -1, max 1; min < max   (Collobert 2004)
//   clamp         y = clip(x, min, max)             either limit may be left out; if min > max, y = max
//   hard_sigmoid  y = clip((x+3)/6, 0, 1)                                      (Courbariaux et al. 2015)
//   hard_swish    y = x·clip((x+3)/6, 0, 1)                                    (Howard et al. 2019)
//   softsign      y = x / (1 + |x|)                                            (Bergstra et al. 2009)
//
// dx is dy times the slope of the piece. At the kinks, where no slope exists, a convention chooses the piece,
// and the formulas take the same one, so that dual numbers agree:
//   leaky_relu, prelu at 0       the negative slope
//   hard_tanh at min and max     0             clamp at min and max       1
//   hard_sigmoid at ±3           0             hard_swish at -3: -1/2, at 3: 1
// and for prelu  dweight[c] = Σ x·dy  over all elements of channel c that are not positive.
// The explicit Jacobians are diagonal, but for that of prelu's weight, which has a column a channel.
//
// NaN passes through. Its gradient is that of the last piece of leaky_relu and prelu, 0 where a clip gives 0
// outside, else NaN. Infinities: hard_swish(-∞) = NaN (∞·0) and softsign(±∞) = NaN (∞/∞), both with
// gradient 0.
// Shapes: y = x of any rank; prelu x = N,C,… weight = C or 1.
// Conventions as torch 1.13.1, but for three slips of its. At NaN and at hard_swish's ±3 its vector loops and
// their scalar tails disagree: the rule here is that of the vectors. Its hard_sigmoid gradient has 1/6
// rounded to f32, even in f64. And its hard_swish overflows for x above a sixth of the largest number.
#pragma once

#include "reference/layers/activation.hpp"

namespace plumb {

struct leaky_relu : activation<leaky_relu> {
  decimal negative_slope = {1, 100};

  static constexpr std::string_view formula = "y = x if x > 0, else negative_slope·x";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const leaky_relu&) const = default;

  static void attributes(auto& self, auto&& visit) { visit("negative_slope", self.negative_slope); }

  template <class T>
  T value(const T& x) const {
    return x > T(0) ? x : negative_slope.as<T>() * x;
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    return x > T(0) ? dy : dy * negative_slope.as<T>();
  }
  template <class T>
  T slope(const T& x) const {
    return x > T(0) ? T(1) : negative_slope.as<T>();
  }
  template <class T>
  index_t branch(const T& x) const {
    return x > T(0) ? 1 : 0;
  }
};

struct hard_tanh : activation<hard_tanh> {
  decimal min = {-1, 1};
  decimal max = {1, 1};

  static constexpr bool selects = true;
  static constexpr std::string_view formula = "y = min(max(x, min), max)";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const hard_tanh&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("min", self.min);
    visit("max", self.max);
  }
  void require_attributes() const {
    if (!(min.as<long double>() < max.as<long double>()))
      throw shape_error("min=" + attribute::print(min, true) +
                        " must be less than max=" + attribute::print(max, true));
  }

  template <class T>
  T value(const T& x) const {
    if (x <= min.as<T>()) return min.as<T>();
    return x >= max.as<T>() ? max.as<T>() : x;
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    return min.as<T>() < x && x < max.as<T>() ? dy : T(0);
  }
  template <class T>
  T slope(const T& x) const {
    return (x - min.as<T>()) * (max.as<T>() - x) > T(0) ? T(1) : T(0);
  }
  template <class T>
  index_t branch(const T& x) const {
    return x < min.as<T>() ? -1 : x > max.as<T>() ? 1 : 0;
  }
};

struct clamp : activation<clamp> {
  static constexpr decimal not_given = {most_cells + 1, 1};  // above every legal value
  decimal min = not_given;
  decimal max = not_given;

  static constexpr bool selects = true;
  static constexpr std::string_view formula = "y = min(max(x, min), max)";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const clamp&) const = default;

  static void attributes(auto& self, auto&& visit) {
    visit("min", self.min, range{-most_cells, most_cells}, not_given);
    visit("max", self.max, range{-most_cells, most_cells}, not_given);
  }

  template <class T>
  T value(const T& x) const {
    T y = x;
    if (has(min) && y < min.as<T>()) y = min.as<T>();
    if (has(max) && y > max.as<T>()) y = max.as<T>();
    return y;
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    const bool kept = (!has(min) || x >= min.as<T>()) && (!has(max) || x <= max.as<T>());
    return kept ? dy : T(0);
  }
  template <class T>
  T slope(const T& x) const {
    if ((has(min) && !(min.as<T>() <= x)) || (has(max) && !(max.as<T>() >= x))) return T(0);
    return T(1);
  }
  template <class T>
  index_t branch(const T& x) const {
    return (has(max) && x > max.as<T>()) ? 1 : (has(min) && x < min.as<T>()) ? -1 : 0;
  }

 private:
  static bool has(const decimal& limit) { return !(limit == not_given); }
};

struct hard_sigmoid : activation<hard_sigmoid> {
  static constexpr std::string_view formula = "y = min(max((x + 3)/6, 0), 1)";
  static constexpr bool rational = true;
  static constexpr int degree = 1;
  bool operator==(const hard_sigmoid&) const = default;

  template <class T>
  T value(const T& x) const {
    const T line = (x + T(3)) / T(6);
    if (line <= T(0)) return T(0);
    return line >= T(1) ? T(1) : line;
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    return T(-3) < x && x < T(3) ? dy / T(6) : T(0);
  }
  template <class T>
  T slope(const T& x) const {
    const T magnitude = x < T(0) ? T(-x) : x;
    return magnitude < T(3) ? T(1) / T(6) : T(0);
  }
  template <class T>
  index_t branch(const T& x) const {
    return x < T(-3) ? -1 : x > T(3) ? 1 : 0;
  }
};

struct hard_swish : activation<hard_swish> {
  static constexpr std::string_view formula = "y = x · min(max((x + 3)/6, 0), 1)";
  static constexpr bool rational = true;
  static constexpr int degree = 2;
  bool operator==(const hard_swish&) const = default;

  template <class T>
  T value(const T& x) const {
    T share = (x + T(3)) / T(6);
    if (share < T(0)) share = T(0);
    if (share >= T(1)) share = T(1);
    return x * share;
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    if (x < T(-3)) return T(0);
    return x >= T(3) ? dy : dy * (x / T(3) + T(1) / T(2));
  }
  template <class T>
  T slope(const T& x) const {  // the middle piece is the parabola x(x+3)/6
    if (x >= T(3)) return T(1);
    return x < T(-3) ? T(0) : (T(2) * x + T(3)) / T(6);
  }
  template <class T>
  index_t branch(const T& x) const {
    return x < T(-3) ? -1 : x > T(3) ? 1 : 0;
  }
};

struct softsign : activation<softsign> {
  static constexpr std::string_view formula = "y = x / (1 + |x|)";
  static constexpr bool rational = true;
  static constexpr int degree = 0;
  bool operator==(const softsign&) const = default;

  template <class T>
  T value(const T& x) const {
    return x / (T(1) + (x < T(0) ? T(-x) : x));
  }
  template <class T>
  T pull_back(const T& x, const T& dy) const {
    const T size = T(1) + (x < T(0) ? T(-x) : x);
    return dy / (size * size);
  }
  template <class T>
  T slope(const T& x) const {
    const T inverse = x < T(0) ? T(1) / (T(1) - x) : T(1) / (T(1) + x);
    return inverse * inverse;
  }
};

struct prelu {
  static constexpr std::string_view formula = "y[n,c,i] = x[n,c,i] if positive, else weight[c]·x[n,c,i]";
  static constexpr bool rational = true;
  static constexpr int degree = 1;  // in x piecewise, and in weight
  bool operator==(const prelu&) const = default;

  static void attributes(auto&, auto&&) {}

  signature describe() const {
    return {.inputs = {{.name = "x", .axes = "nc*"},
                       {.name = "weight", .batch_axis = tensor_spec::no_batch, .axes = "m"}},
            .outputs = {{.name = "y", .axes = "nc*"}},
            .passes = {{.name = "forward", .reads = {"x", "weight"}, .writes = {"y"}},
                       {.name = "backward_data",
                        .reads = {"dy", "x", "weight"},
                        .writes = {"dx"},
                        .linear_in = {{"dy"}}},
                       {.name = "backward_weights",
                        .reads = {"dy", "x"},
                        .writes = {"dweight"},
                        .linear_in = {{"dy"}}}}};
  }

  /// Throws shape_error naming the axis, the numbers and the rule.
  shape_map output_shapes(const shape_map& in) const {
    const shape x = in["x"], weight = in["weight"];
    if (x.rank() < 2 || weight.rank() != 1 || (weight[0] != 1 && weight[0] != x[1]))
      throw shape_error(named("weight", weight) + " does not match " + named("x", x) +
                        "; expected x=N,C,… and one number a channel, or one for all: weight=C or weight=1");
    shape_map out;
    out.set("y", x);
    return out;
  }

  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    const auto x = in["x"], weight = in["weight"];
    const auto y = out["y"];
    const index_t N = x.extent(0), C = x.extent(1), I = x.size() / std::max<index_t>(N * C, 1);
    for (index_t n = 0; n < N; ++n)
      for (index_t c = 0; c < C; ++c)
        for (index_t i = 0; i < I; ++i) {
          const index_t at = (n * C + c) * I + i;
          y[at] = x[at] > T(0) ? x[at] : weight[weight.size() == 1 ? 0 : c] * x[at];
        }
  }

  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>& /*out*/, const bundle<const T>& cotangent,
           const bundle<T>& gradient) const {
    const auto x = in["x"];
    const auto dy = cotangent["dy"];
    const index_t C = x.extent(1), I = x.size() / std::max<index_t>(x.extent(0) * C, 1);
    const auto entry = [&](const auto& weight, index_t at) { return weight.size() == 1 ? 0 : at / I % C; };
    if (gradient.has("dx")) {
      const auto dx = gradient["dx"];
      for (index_t at = 0; at < x.size(); ++at)
        dx[at] = x[at] > T(0) ? dy[at] : dy[at] * in["weight"][entry(in["weight"], at)];
    }
    if (gradient.has("dweight")) {
      const auto dweight = gradient["dweight"];
      for (index_t a = 0; a < dweight.size(); ++a) dweight[a] = T(0);
      for (index_t at = 0; at < x.size(); ++at)
        if (!(x[at] > T(0))) dweight[entry(dweight, at)] += x[at] * dy[at];
    }
  }

  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto x = in["x"], weight = in["weight"];
    index_t row = 0;
    for_each_index(x.extents(), [&](const shape& at) {
      const index_t column = std::min(at[1], weight.size() - 1);
      const bool negative = !(x(at) > T(0));
      emit("y", row, "x", row, negative ? weight[column] : T(1));
      if (negative) emit("y", row, "weight", column, x(at));
      ++row;
    });
  }

  template <class T>
  std::vector<index_t> winners(const bundle<const T>& in) const {
    const auto x = in["x"];
    std::vector<index_t> trace;
    for (index_t i = 0; i < x.size(); ++i) trace.push_back(x[i] > T(0) ? 1 : 0);
    return trace;
  }
};

}  // namespace plumb
