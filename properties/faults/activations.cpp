// Specimens of activations: relu, leaky_relu, prelu, sigmoid, tanh, gelu, silu, softplus, elu, hard_swish, and dropout.
// Formulas and conventions at kinks are those of operators.md B2 and B7; sigmoid and softplus never overflow.
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

struct elementwise {
  index_t elements = 0, last = 1;

  static elementwise read(const problem& p) {
    const shape x = p.shape_of("x");
    return {x.size(), x.rank() > 0 ? x[x.rank() - 1] : 1};
  }
  index_t items() const { return elements; }
  index_t row() const { return std::max<index_t>(1, elements); }
};

/// y[i] = value(x[i]).
template <class Gate>
struct map_forward : elementwise {
  Gate gate;
  static map_forward read(const problem& p) { return {elementwise::read(p), Gate::read(p)}; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    call.writes[0].view<T>()[i] = gate.template value<F, T>(call.reads[0].view<T>()[i]);
  }
};
/// dx[i] = dy[i]·slope(saved[i]).
template <class Gate>
struct map_backward : elementwise {
  Gate gate;
  static map_backward read(const problem& p) { return {elementwise::read(p), Gate::read(p)}; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    call.writes[0].view<T>()[i] =
        gate.template gradient<F, T>(call.reads[1].view<T>()[i], call.reads[0].view<T>()[i]);
  }
};

struct relu_gate {
  static constexpr const char* arithmetic = "exact";
  static relu_gate read(const problem&) { return {}; }
  template <name F, class T>
  T value(T x) const {
    if constexpr (F == "nan_swallowed") return x > 0 ? x : T(0);
    if constexpr (F == "negative_zero") return x <= 0 ? T(-0.0) : x;
    if constexpr (F == "subnormals_lost") return x <= std::numeric_limits<T>::min() ? T(0) : x;
    if constexpr (F == "six") return x <= 0 ? T(0) : x > 6 ? T(6) : x;
    return x <= 0 ? T(0) : x;
  }
  template <name F, class T>
  T gradient(T x, T dy) const {
    if constexpr (F == "one_at_the_kink") return x < 0 ? T(0) : dy;
    if constexpr (F == "sign_of_gradient") return dy <= 0 ? T(0) : dy;
    return x <= 0 ? T(0) : dy;
  }
};
struct relu_forward : map_forward<relu_gate> {
  static constexpr const char* arithmetic = "exact";
  static relu_forward read(const problem& p) { return {map_forward::read(p)}; }
};
struct relu_backward : map_backward<relu_gate> {
  static constexpr const char* arithmetic = "exact";
  static relu_backward read(const problem& p) { return {map_backward::read(p)}; }
};

struct leaky_gate {
  double slope = 0;
  static leaky_gate read(const problem& p) { return {p.number("negative_slope")}; }
  template <name F, class T>
  T value(T x) const {
    const T a = static_cast<T>(slope);
    if constexpr (F == "larger_of_both") return std::max(x, a * x);  // right for slopes below 1
    if constexpr (F == "slope_forgotten") return x > 0 ? x : T(0.01) * x;
    return x > 0 ? x : a * x;
  }
  template <name F, class T>
  T gradient(T x, T dy) const {
    if constexpr (F == "one_at_the_kink") return x >= 0 ? dy : static_cast<T>(slope) * dy;
    return x > 0 ? dy : static_cast<T>(slope) * dy;
  }
};

struct sigmoid_gate {
  static sigmoid_gate read(const problem&) { return {}; }
  template <name F, class T>
  T value(T x) const {
    if constexpr (F == "overflows") return std::exp(x) / (T(1) + std::exp(x));
    if constexpr (F == "clipped_at_eight") return T(1) / (T(1) + std::exp(-std::clamp(x, T(-8), T(8))));
    if constexpr (F == "garbage_between_integers")
      if (x > 1 && x < 10 && x != std::floor(x)) return T(0.5);
    const T e = std::exp(-std::fabs(x));
    return x < 0 ? e / (T(1) + e) : T(1) / (T(1) + e);
  }
  template <name F, class T>
  T gradient(T y, T dy) const {
    if constexpr (F == "input_for_output") {
      const T e = T(1) / (T(1) + std::exp(-y));
      return dy * (T(1) - e) * e;
    }
    return dy * (T(1) - y) * y;
  }
};
struct sigmoid_forward : map_forward<sigmoid_gate> {
  static constexpr double ulps = 4;
  static sigmoid_forward read(const problem& p) { return {map_forward::read(p)}; }
};

struct tanh_gate {
  static tanh_gate read(const problem&) { return {}; }
  template <name F, class T>
  T value(T x) const {
    if constexpr (F == "cancels_near_zero") return T(1) - T(2) / (std::exp(T(2) * x) + T(1));
    return std::tanh(x);
  }
  template <name F, class T>
  T gradient(T y, T dy) const {
    if constexpr (F == "square_forgotten") return dy * (T(1) - y);
    return dy * (T(1) - y * y);
  }
};
struct tanh_forward : map_forward<tanh_gate> {
  static constexpr double ulps = 4;
  static tanh_forward read(const problem& p) { return {map_forward::read(p)}; }
};

struct gelu_gate {
  bool tangent = false;
  static gelu_gate read(const problem& p) { return {p.text("approximate") == "tanh"}; }
  template <name F, class T>
  T value(T x) const {
    const bool approximate = F == "always_tanh" ? true : tangent;
    if (approximate)
      return T(0.5) * x * (T(1) + std::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)));
    return T(0.5) * x * (T(1) + std::erf(x * T(0.70710678118654752440)));
  }
};
struct gelu_forward : map_forward<gelu_gate> {
  static gelu_forward read(const problem& p) { return {map_forward::read(p)}; }
};

struct silu_gate {
  static silu_gate read(const problem&) { return {}; }
  template <name F, class T>
  T value(T x) const {
    const T e = std::exp(-std::fabs(x));
    const T s = x < 0 ? e / (T(1) + e) : T(1) / (T(1) + e);
    return x * s;
  }
  template <name F, class T>
  T gradient(T x, T dy) const {
    const T e = std::exp(-std::fabs(x));
    const T s = x < 0 ? e / (T(1) + e) : T(1) / (T(1) + e), rest = x < 0 ? T(1) / (T(1) + e) : e / (T(1) + e);
    if constexpr (F == "second_term_lost") return dy * s;
    return dy * (s + x * s * rest);
  }
};

struct softplus_gate {
  double beta = 1, threshold = 20;
  static softplus_gate read(const problem& p) { return {p.number("beta"), p.number("threshold")}; }
  template <name F, class T>
  T value(T x) const {
    const T b = static_cast<T>(beta);
    if constexpr (F == "overflows") return std::log(T(1) + std::exp(b * x)) / b;
    if constexpr (F == "beta_forgotten") return std::log1p(std::exp(-std::fabs(x))) + std::max(x, T(0));
    if (b * x > static_cast<T>(threshold)) return x;
    return (std::log1p(std::exp(-std::fabs(b * x))) + std::max(b * x, T(0))) / b;
  }
};

struct elu_gate {
  double alpha = 1;
  static elu_gate read(const problem& p) { return {p.number("alpha")}; }
  template <name F, class T>
  T value(T x) const {
    const T a = static_cast<T>(alpha);
    if constexpr (F == "cancels_near_zero") return x > 0 ? x : a * (std::exp(x) - T(1));
    return x > 0 ? x : a * std::expm1(x);
  }
  template <name F, class T>
  T gradient(T x, T dy) const {
    const T a = static_cast<T>(alpha);
    if constexpr (F == "alpha_forgotten") return x > 0 ? dy : dy * std::exp(x);
    return x > 0 ? dy : dy * a * std::exp(x);
  }
};

struct hard_swish_gate {
  static hard_swish_gate read(const problem&) { return {}; }
  template <name F, class T>
  T value(T x) const {
    if constexpr (F == "no_upper_clip") return x * (std::max(x + T(3), T(0)) / T(6));
    return x * (std::min(std::max(x + T(3), T(0)), T(6)) / T(6));
  }
};

struct hard_swish_forward : map_forward<hard_swish_gate> {
  static constexpr double ulps = 4;
  static hard_swish_forward read(const problem& p) { return {map_forward::read(p)}; }
};

// ---- prelu: the slope belongs to a channel

struct prelu_forward : elementwise {
  index_t c = 1, inner = 1;
  static prelu_forward read(const problem& p) {
    const shape x = p.shape_of("x");
    prelu_forward b{elementwise::read(p), x.rank() > 1 ? x[1] : 1, 1};
    for (int axis = 2; axis < x.rank(); ++axis) b.inner *= x[axis];
    return b;
  }
  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const T x = call.reads[0].view<T>()[i];
    const index_t slopes = call.reads[1].extents.size();
    index_t channel = i / inner % c;
    if constexpr (F == "channel_by_position") channel = i % c;
    call.writes[0].view<T>()[i] = x > 0 ? x : x * element<const T>(call.reads[1], slopes == 1 ? 0 : channel);
  }
};

/// dweight[channel], summed over everything that is not positive.
struct prelu_backward_weights : prelu_forward {
  index_t slopes = 1;
  static prelu_backward_weights read(const problem& p) {
    return {prelu_forward::read(p), p.shape_of("weight").size()};
  }
  index_t items() const { return slopes; }
  index_t row() const { return slopes; }
  template <name F, class T>
  void item(const kernel_call& call, index_t slope) const {
    const auto dy = call.reads[0].view<T>(), x = call.reads[1].view<T>();
    T sum = 0;
    for (index_t i = 0; i < elements; ++i) {
      if (slopes != 1 && i / inner % c != slope) continue;
      if constexpr (F == "first_image_only")
        if (i >= c * inner) break;
      if (!(x[i] > 0)) sum += x[i] * dy[i];
    }
    element<T>(call.writes[0], slope) = sum;
  }
};

struct dropout_body : elementwise {
  double p = 0;
  static dropout_body read(const problem& text) { return {elementwise::read(text), text.number("p")}; }
  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const T mask = call.reads[1].view<T>()[i];
    T scale = p == 1 ? T(0) : mask / (T(1) - static_cast<T>(p));
    if constexpr (F == "scaled_by_share_dropped") scale = p == 0 ? mask : mask / static_cast<T>(p);
    if constexpr (F == "unscaled") scale = mask;
    call.writes[0].view<T>()[i] = call.reads[0].view<T>()[i] * scale;
  }
};

}  // namespace

void register_activations(registry& kernels) {
  using enum path;
  specimen<relu_forward>(kernels, "relu", "forward")
      .honest()
      .plant<"nan_swallowed">({plain, vector, tail})
      .plant<"negative_zero">()
      .plant<"subnormals_lost">()
      .plant<"six">()
      .walk("flush_to_zero")
      .walk("leaves_flush_to_zero")
      .walk("no_work")
      .walk("nan_unwritten")
      .walk("works_on")
      .walk("late_thread", threads);
  specimen<relu_backward>(kernels, "relu", "backward")
      .honest()
      .plant<"one_at_the_kink">({plain, tail})
      .plant<"sign_of_gradient">()
      .walk("dense_second");
  specimen<map_forward<leaky_gate>>(kernels, "leaky_relu", "forward")
      .honest()
      .plant<"larger_of_both">()
      .plant<"slope_forgotten">({vector});
  specimen<map_backward<leaky_gate>>(kernels, "leaky_relu", "backward").honest().plant<"one_at_the_kink">();
  specimen<sigmoid_forward>(kernels, "sigmoid", "forward")
      .honest()
      .plant<"overflows">({plain, vector})
      .plant<"clipped_at_eight">()
      .plant<"garbage_between_integers">({tail})
      .walk("honest_to_the_limit")
      .walk("beyond_the_limit")
      .walk("beyond_in_f64")
      .walk("isolated_element");
  specimen<map_backward<sigmoid_gate>>(kernels, "sigmoid", "backward").honest().plant<"input_for_output">();
  specimen<tanh_forward>(kernels, "tanh", "forward").honest().plant<"cancels_near_zero">({plain, tail});
  specimen<map_backward<tanh_gate>>(kernels, "tanh", "backward").honest().plant<"square_forgotten">();
  specimen<gelu_forward>(kernels, "gelu", "forward").honest().plant<"always_tanh">();
  specimen<map_forward<silu_gate>>(kernels, "silu", "forward").honest().walk("skipped_tail", tail);
  specimen<map_backward<silu_gate>>(kernels, "silu", "backward").honest().plant<"second_term_lost">();
  specimen<map_forward<softplus_gate>>(kernels, "softplus", "forward")
      .honest()
      .plant<"overflows">()
      .plant<"beta_forgotten">();
  specimen<map_forward<elu_gate>>(kernels, "elu", "forward").honest().plant<"cancels_near_zero">({vector});
  specimen<map_backward<elu_gate>>(kernels, "elu", "backward").honest().plant<"alpha_forgotten">();
  specimen<hard_swish_forward>(kernels, "hard_swish", "forward").honest().plant<"no_upper_clip">();
  specimen<prelu_forward>(kernels, "prelu", "forward").honest().plant<"channel_by_position">({plain, vector});
  specimen<prelu_backward_weights>(kernels, "prelu", "backward_weights").honest().plant<"first_image_only">();
  specimen<dropout_body>(kernels, "dropout", "forward")
      .honest()
      .plant<"scaled_by_share_dropped">()
      .plant<"unscaled">({tail})
      .walk("ignored_operand");
}

}  // namespace plumb::faults
