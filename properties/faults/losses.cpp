// Specimens of softmax, its logarithm, and losses. Softmax subtracts the maximum; log-softmax is (x - max) - log Σ, in
// that association; losses reduce by none, sum or mean, and divide by what operators.md A12 and B4 say.
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

// ---- softmax and log-softmax: a piece is a line along the axis

struct softmax_body {
  index_t length = 1, inner = 1, lines = 0;
  bool logarithm = false;

  static softmax_body read(const problem& p) {
    const shape x = p.shape_of("x");
    const int axis = static_cast<int>(p.integer("axis"));
    softmax_body b{x[axis], 1, 0, p.layer() == "log_softmax"};
    for (int a = axis + 1; a < x.rank(); ++a) b.inner *= x[a];
    b.lines = b.length == 0 ? 0 : x.size() / b.length;
    return b;
  }
  index_t items() const { return lines; }
  index_t row() const { return std::max<index_t>(1, lines); }
  index_t at(index_t line, index_t c) const { return (line / inner * length + c) * inner + line % inner; }
};

struct softmax_forward : softmax_body {
  static softmax_forward read(const problem& p) { return {softmax_body::read(p)}; }

  template <name F, class T>
  void item(const kernel_call& call, index_t line) const {
    const auto x = call.reads[0].view<T>(), y = call.writes[0].view<T>();
    T most = -std::numeric_limits<T>::infinity();
    index_t seen = length;
    if constexpr (F == "vectors_only") seen = length > lanes ? length / lanes * lanes : length;
    if constexpr (F == "maximum_of_first_vector") seen = std::min(length, lanes);
    for (index_t c = 0; c < seen; ++c) most = std::max(most, x[at(line, c)]);
    bool any_nan = false;
    for (index_t c = 0; c < length; ++c) any_nan = any_nan || x[at(line, c)] != x[at(line, c)];
    if (any_nan) most = std::numeric_limits<T>::quiet_NaN();
    if constexpr (F == "maximum_not_subtracted") most = 0;
    T sum = 0;
    const index_t added = F == "vectors_only" ? seen : length;
    for (index_t c = 0; c < added; ++c) sum += std::exp(x[at(line, c)] - most);
    for (index_t c = 0; c < length; ++c) {
      const T shifted = x[at(line, c)] - most;
      T value = logarithm ? shifted - std::log(sum) : std::exp(shifted) / sum;
      if constexpr (F == "associated_wrongly")
        value = logarithm ? x[at(line, c)] - (most + std::log(sum)) : value;
      if constexpr (F == "logarithm_of_quotient")
        value = logarithm ? std::log(std::exp(shifted) / sum) : value;
      y[at(line, c)] = value;
    }
  }
};

struct softmax_backward : softmax_body {
  static softmax_backward read(const problem& p) { return {softmax_body::read(p)}; }

  template <name F, class T>
  void item(const kernel_call& call, index_t line) const {
    const auto dy = call.reads[0].view<T>(), y = call.reads[1].view<T>(), dx = call.writes[0].view<T>();
    T sum = 0;
    index_t added = length;
    if constexpr (F == "vectors_only") added = length > lanes ? length / lanes * lanes : length;
    for (index_t c = 0; c < added; ++c) sum += logarithm ? dy[at(line, c)] : dy[at(line, c)] * y[at(line, c)];
    if constexpr (F == "diagonal_only") sum = 0;
    for (index_t c = 0; c < length; ++c)
      dx[at(line, c)] = logarithm ? dy[at(line, c)] - std::exp(y[at(line, c)]) * sum
                                  : y[at(line, c)] * (dy[at(line, c)] - sum);
  }
};

// ---- negative log-likelihood

struct nll_body {
  index_t n = 0, c = 0, inner = 1, ignore = -100;
  bool none = false, mean = false;

  static nll_body read(const problem& p) {
    const shape x = p.shape_of("x");
    nll_body b{x[0],
               x[1],
               1,
               p.integer("ignore_index"),
               p.text("reduction") == "none",
               p.text("reduction") == "mean"};
    for (int axis = 2; axis < x.rank(); ++axis) b.inner *= x[axis];
    return b;
  }
  index_t positions() const { return n * inner; }
  template <class T>
  static T weight(const tensor_ref& t, index_t i) {
    return t.data == nullptr ? T(1) : element<const T>(t, i);
  }
};

struct nll_forward : nll_body {
  static nll_forward read(const problem& p) { return {nll_body::read(p)}; }
  static index_t items() { return 1; }
  static index_t row() { return 1; }

  template <name F, class T>
  void item(const kernel_call& call, index_t) const {
    const auto x = call.reads[0].view<T>();
    const auto target = call.reads[1].view<index_t>();
    T sum = 0, total = 0;
    for (index_t i = 0; i < positions(); ++i) {
      const index_t t = target[i];
      T loss = 0;
      const bool ignored = F == "ignore_index_unknown" ? t < 0 : t == ignore;
      if (!ignored && t >= 0 && t < c) {
        const T w = weight<T>(call.reads[2], t);
        loss = -(w * x[(i / inner * c + t) * inner + i % inner]);
        total += w;
      }
      sum += loss;
      if constexpr (F == "ignored_unwritten")
        if (ignored) continue;
      if (none) call.writes[0].view<T>()[i] = loss;
    }
    call.writes[1].view<T>()[0] = total;
    if (none) return;
    T divisor = mean ? total : T(1);
    if constexpr (F == "mean_over_positions") divisor = mean ? static_cast<T>(positions()) : T(1);
    if constexpr (F == "unguarded_total")
      if (mean && !(total > 0)) divisor = T(1);
    call.writes[0].view<T>()[0] = mean ? sum / divisor : sum;
  }
};

struct nll_backward : nll_body {
  static nll_backward read(const problem& p) { return {nll_body::read(p)}; }
  index_t items() const { return n * c * inner; }
  index_t row() const { return inner; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const index_t at = i / inner / c * inner + i % inner, t = call.reads[1].view<index_t>()[at];
    T& dx = call.writes[0].view<T>()[i];
    const T total = call.reads[3].view<T>()[0];
    if constexpr (F == "nothing_for_negative_total")
      if (mean && !(total > 0)) return void(dx = 0);
    dx = 0;
    if (i / inner % c != t) return;
    if (t == ignore) return;
    const T g = call.reads[0].view<T>()[none ? at : 0];
    T w = weight<T>(call.reads[2], t);
    if constexpr (F == "weights_forgotten") w = 1;
    dx = -w * (mean ? g / total : g);
  }
};

// ---- losses of x and a target of the same shape

enum class loss_kind { mse, l1, smooth_l1, kl_div };

struct loss_body {
  loss_kind kind = loss_kind::mse;
  index_t elements = 0, batch = 1;
  std::string reduction;
  double beta = 1;
  bool log_target = false;

  static loss_body read(const problem& p) {
    loss_body b;
    b.kind = p.layer() == "mse"         ? loss_kind::mse
             : p.layer() == "l1"        ? loss_kind::l1
             : p.layer() == "smooth_l1" ? loss_kind::smooth_l1
                                        : loss_kind::kl_div;
    const shape x = p.shape_of("x");
    b.elements = x.size();
    b.batch = x.rank() > 0 ? x[0] : 1;
    b.reduction = p.text("reduction");
    if (p.has("beta")) b.beta = p.number("beta");
    b.log_target = p.has("log_target") && p.flag("log_target");
    return b;
  }
  template <class T>
  T divisor() const {
    return reduction == "mean"        ? static_cast<T>(elements)
           : reduction == "batchmean" ? static_cast<T>(batch)
                                      : T(1);
  }
  bool map() const { return reduction == "none"; }
};

struct loss_forward : loss_body {
  static loss_forward read(const problem& p) { return {loss_body::read(p)}; }
  static index_t items() { return 1; }
  static index_t row() { return 1; }

  template <name F, class T>
  T term(T x, T t) const {
    const T d = x - t, size = std::fabs(d), b = static_cast<T>(beta);
    switch (kind) {
      case loss_kind::mse:
        return d * d;
      case loss_kind::l1:
        if constexpr (F == "sign_kept") return d;
        return size;
      case loss_kind::smooth_l1:
        if constexpr (F == "beta_forgotten") return size < T(1) ? size * size / T(2) : size - T(0.5);
        if (d == 0) return 0;
        return size < b ? size * size / (T(2) * b) : size - b / T(2);
      case loss_kind::kl_div:
        if (log_target) return std::exp(t) * (t - x);
        if constexpr (F == "zero_times_logarithm") return t * (std::log(t) - x);
        return t == 0 ? T(0) : t * (std::log(t) - x);
    }
    return 0;
  }

  template <name F, class T>
  void item(const kernel_call& call, index_t) const {
    const auto x = call.reads[0].view<T>(), t = call.reads[1].view<T>();
    T sum = 0;
    index_t last = elements;
    if constexpr (F == "vectors_only")
      last = map() ? elements : elements > lanes ? elements / lanes * lanes : elements;
    for (index_t i = 0; i < last; ++i) {
      const T loss = term<F, T>(x[i], t[i]);
      if (map())
        call.writes[0].view<T>()[i] = loss;
      else
        sum += loss;
    }
    if (map()) return;
    T by = divisor<T>();
    if constexpr (F == "mean_over_batch") by = reduction == "mean" ? static_cast<T>(batch) : by;
    call.writes[0].view<T>()[0] = reduction == "sum" ? sum : sum / by;
  }
};

struct loss_backward : loss_body {
  static loss_backward read(const problem& p) { return {loss_body::read(p)}; }
  index_t items() const { return elements; }
  index_t row() const { return elements; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const T x = call.reads[1].view<T>()[i], t = call.reads[2].view<T>()[i];
    T g = call.reads[0].view<T>()[map() ? i : 0];
    if constexpr (F != "gradient_of_sum")
      g = reduction == "mean" || reduction == "batchmean" ? g / divisor<T>() : g;
    const T d = x - t, b = static_cast<T>(beta);
    T slope = 0;
    switch (kind) {
      case loss_kind::mse:
        slope = F == "factor_two_forgotten" ? d : T(2) * d;
        break;
      case loss_kind::l1:
        slope = d > 0 ? T(1) : d < 0 ? T(-1) : T(0);
        if constexpr (F == "one_at_the_kink") slope = d >= 0 ? T(1) : T(-1);
        break;
      case loss_kind::smooth_l1:
        slope = d < b && d > -b ? d / b : d > 0 ? T(1) : d < 0 ? T(-1) : d;
        break;
      case loss_kind::kl_div:
        slope = log_target ? -std::exp(t) : -t;
        break;
    }
    call.writes[0].view<T>()[i] = kind == loss_kind::l1 && slope == 0 ? T(0) : slope * g;
  }
};

}  // namespace

void register_losses(registry& kernels) {
  using enum path;
  for (const char* layer : {"softmax", "log_softmax"}) {
    specimen<softmax_forward>(kernels, layer, "forward").honest();
    specimen<softmax_backward>(kernels, layer, "backward").honest();
  }
  specimen<softmax_forward>(kernels, "softmax", "forward")
      .plant<"vectors_only">({plain, threads})
      .plant<"maximum_not_subtracted">({plain, tail})
      .plant<"maximum_of_first_vector">()
      .walk("dense_writes");
  specimen<softmax_forward>(kernels, "log_softmax", "forward")
      .plant<"associated_wrongly">({plain, vector, tail})
      .plant<"logarithm_of_quotient">();
  specimen<softmax_backward>(kernels, "softmax", "backward")
      .plant<"vectors_only">()
      .plant<"diagonal_only">({tail})
      .walk("dense_second");
  specimen<softmax_backward>(kernels, "log_softmax", "backward").walk("dense_reads");
  specimen<nll_forward>(kernels, "nll_loss", "forward")
      .honest()
      .plant<"ignore_index_unknown">()
      .plant<"ignored_unwritten">()
      .plant<"mean_over_positions">()
      .plant<"unguarded_total">();
  specimen<nll_backward>(kernels, "nll_loss", "backward")
      .honest()
      .plant<"nothing_for_negative_total">()
      .plant<"weights_forgotten">({plain, vector});
  for (const char* layer : {"mse", "l1", "smooth_l1", "kl_div"}) {
    specimen<loss_forward>(kernels, layer, "forward").honest();
    specimen<loss_backward>(kernels, layer, "backward").honest();
  }
  specimen<loss_forward>(kernels, "mse", "forward").plant<"vectors_only">().plant<"mean_over_batch">();
  specimen<loss_backward>(kernels, "mse", "backward")
      .plant<"gradient_of_sum">()
      .plant<"factor_two_forgotten">({tail});
  specimen<loss_forward>(kernels, "l1", "forward").plant<"sign_kept">();
  specimen<loss_backward>(kernels, "l1", "backward").plant<"one_at_the_kink">({plain, vector});
  specimen<loss_forward>(kernels, "smooth_l1", "forward").plant<"beta_forgotten">();
  specimen<loss_forward>(kernels, "kl_div", "forward").plant<"zero_times_logarithm">();
}

}  // namespace plumb::faults
