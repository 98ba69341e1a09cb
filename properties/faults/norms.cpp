// Specimens of normalisation: batch norm in training and evaluation, layer, group and instance norm, RMS norm, and
// local response normalisation.
//   y = gamma·(x - μ)/√(σ² + eps) + beta,  μ and biased σ² over a channel (batch norm) or a row of the others
//   dx = gamma·invstd·(dy - mean(dy) - x̂·mean(dy·x̂)),  dgamma = Σ dy·x̂,  dbeta = Σ dy
#include "properties/faults/specimens.hpp"

namespace plumb::faults {
namespace {

template <class T>
T real(const tensor_ref& t, index_t i, T otherwise) {
  return t.data == nullptr ? otherwise : t.view<T>()[i];
}

/// Where the gradients of scale and shift are written: a pass has no place for the gradient of a tensor left out.
struct affine_places {
  bool gamma = false, beta = false;
  static affine_places read(const problem& p) { return {p.has("gamma"), p.has("beta")}; }
  const tensor_ref* dgamma(const kernel_call& call) const { return gamma ? &call.writes[1] : nullptr; }
  const tensor_ref* dbeta(const kernel_call& call) const {
    return beta ? &call.writes[gamma ? 2 : 1] : nullptr;
  }
};

// ---- batch norm: a piece is a channel

struct batch_norm_body {
  index_t n = 0, c = 0, inner = 0;
  bool train = true;
  double eps = 0, momentum = 0;

  static batch_norm_body read(const problem& p) {
    const shape x = p.shape_of("x");
    batch_norm_body b{x[0], x[1], 1, p.text("mode") == "train", p.number("eps"), p.number("momentum")};
    for (int axis = 2; axis < x.rank(); ++axis) b.inner *= x[axis];
    return b;
  }
  index_t items() const { return c; }
  index_t row() const { return c; }
  index_t count() const { return n * inner; }
  /// Row-major number of value j of a channel.
  index_t at(index_t channel, index_t j) const { return (j / inner * c + channel) * inner + j % inner; }
};

struct batch_norm_forward : batch_norm_body {
  static batch_norm_forward read(const problem& p) { return {batch_norm_body::read(p)}; }

  template <name F, class T>
  void item(const kernel_call& call, index_t channel) const {
    const auto x = call.reads[0].view<T>(), y = call.writes[0].view<T>();
    const index_t m = count();
    T mu = 0, variance = 0, unbiased = 0;
    const bool own = F == "batch_statistics_in_evaluation" ? m > 1 : train;
    if (own) {
      index_t counted = m;
      if constexpr (F == "statistics_of_first_image") counted = inner > 1 ? inner : m;
      for (index_t j = 0; j < counted; ++j) mu += x[at(channel, j)];
      mu /= static_cast<T>(counted);
      if constexpr (F == "one_pass_variance") {
        for (index_t j = 0; j < counted; ++j) variance += x[at(channel, j)] * x[at(channel, j)];
        variance = variance / static_cast<T>(counted) - mu * mu;
        unbiased = variance * static_cast<T>(m) / static_cast<T>(m - 1);
      } else {
        for (index_t j = 0; j < counted; ++j) {
          const T deviation = x[at(channel, j)] - mu;
          variance += deviation * deviation;
        }
        unbiased = variance / static_cast<T>(counted - 1);
        variance /= static_cast<T>(counted);
      }
    } else {
      mu = element<const T>(call.reads[3], channel);
      variance = element<const T>(call.reads[4], channel);
    }
    const T e = static_cast<T>(eps);
    T invstd = T(1) / std::sqrt(variance + e);
    if constexpr (F == "unbiased_inside") invstd = T(1) / std::sqrt((own ? unbiased : variance) + e);
    if constexpr (F == "eps_outside_root") invstd = T(1) / (std::sqrt(variance) + e);
    if constexpr (F == "eps_forgotten") invstd = T(1) / std::sqrt(variance);
    for (index_t j = 0; j < m; ++j) {
      T value = (x[at(channel, j)] - mu) * invstd * real<T>(call.reads[1], channel, 1);
      if constexpr (F == "beta_before_gamma")
        value = ((x[at(channel, j)] - mu) * invstd + real<T>(call.reads[2], channel, 0)) *
                real<T>(call.reads[1], channel, 1);
      else
        value += real<T>(call.reads[2], channel, 0);
      y[at(channel, j)] = value;
    }
    if (!train) return;
    element<T>(call.writes[1], channel) = mu;
    element<T>(call.writes[2], channel) = invstd;
    if (call.reads[3].data == nullptr) return;
    T a = static_cast<T>(momentum);
    if constexpr (F == "momentum_the_other_way") a = T(1) - a;
    T fresh = unbiased;
    if constexpr (F == "biased_running_variance") fresh = variance;
    element<T>(call.writes[3], channel) = (T(1) - a) * element<const T>(call.reads[3], channel) + a * mu;
    element<T>(call.writes[4], channel) = (T(1) - a) * element<const T>(call.reads[4], channel) + a * fresh;
  }
};

struct batch_norm_backward : batch_norm_body {
  affine_places places;
  static batch_norm_backward read(const problem& p) {
    return {batch_norm_body::read(p), affine_places::read(p)};
  }

  template <name F, class T>
  void item(const kernel_call& call, index_t channel) const {
    const auto dy = call.reads[0].view<T>(), x = call.reads[1].view<T>(), dx = call.writes[0].view<T>();
    const T mu = element<const T>(call.reads[3], channel), spread = element<const T>(call.reads[4], channel);
    const T invstd = train ? spread : T(1) / std::sqrt(spread + static_cast<T>(eps));
    const index_t m = count();
    const auto xhat = [&](index_t j) { return (x[at(channel, j)] - mu) * invstd; };
    T sum = 0, product = 0;
    index_t counted = m;
    if constexpr (F == "reduced_over_batch_only") counted = n;
    if constexpr (F == "vectors_only") counted = m > lanes ? m / lanes * lanes : m;
    for (index_t j = 0; j < counted; ++j) {
      sum += dy[at(channel, j)];
      product += dy[at(channel, j)] * xhat(j);
    }
    if constexpr (F == "partial_sums_by_team")
      if (call.threads > 2) sum += T(1);
    if (const tensor_ref* to = places.dgamma(call)) element<T>(*to, channel) = product;
    if (const tensor_ref* to = places.dbeta(call)) element<T>(*to, channel) = sum;
    const T gamma = real<T>(call.reads[2], channel, 1);
    const bool moving = F == "training_formula_in_evaluation" ? m > 0 : train;
    for (index_t j = 0; j < m; ++j) {
      T inner_part = dy[at(channel, j)];
      if (moving) {
        if constexpr (F == "no_variance_term")
          inner_part = dy[at(channel, j)] - sum / static_cast<T>(m);
        else if constexpr (F == "no_mean_term")
          inner_part = dy[at(channel, j)] - xhat(j) * product / static_cast<T>(m);
        else
          inner_part = dy[at(channel, j)] - sum / static_cast<T>(m) - xhat(j) * product / static_cast<T>(m);
      }
      if constexpr (F == "gamma_forgotten")
        dx[at(channel, j)] = invstd * inner_part;
      else
        dx[at(channel, j)] = gamma * invstd * inner_part;
    }
  }
};

// ---- layer, group, instance norm: a piece is a row of statistics

struct row_norm_body {
  index_t rows = 0, length = 0, parameters = 0, inner = 1, channels = 1;
  bool by_channel = false;  ///< gamma belongs to a channel, not to a place in the row
  double eps = 0;

  static row_norm_body read(const problem& p) {
    const shape x = p.shape_of("x");
    row_norm_body b;
    b.eps = p.number("eps");
    b.channels = x[1];
    for (int axis = 2; axis < x.rank(); ++axis) b.inner *= x[axis];
    b.by_channel = !p.has("axes");
    if (b.by_channel) {
      b.length = b.inner * (p.has("groups") ? x[1] / p.integer("groups") : 1);
    } else {
      b.length = 1;
      for (int axis = x.rank() - static_cast<int>(p.integer("axes")); axis < x.rank(); ++axis)
        b.length *= x[axis];
    }
    b.rows = b.length == 0 ? 0 : x.size() / b.length;
    return b;
  }
  index_t items() const { return rows; }
  index_t row() const { return rows; }
  index_t parameter(index_t a) const { return by_channel ? a / inner % channels : a % length; }
};

struct row_norm_forward : row_norm_body {
  static row_norm_forward read(const problem& p) { return {row_norm_body::read(p)}; }

  template <name F, class T>
  void item(const kernel_call& call, index_t r) const {
    const auto x = call.reads[0].view<T>(), y = call.writes[0].view<T>();
    const index_t first = r * length;
    index_t counted = length;
    if constexpr (F == "vectors_only") counted = length > lanes ? length / lanes * lanes : length;
    T mu = 0, variance = 0;
    for (index_t a = first; a < first + counted; ++a) mu += x[a];
    mu /= static_cast<T>(counted);
    if constexpr (F == "one_pass_variance") {
      for (index_t a = first; a < first + counted; ++a) variance += x[a] * x[a];
      variance = variance / static_cast<T>(counted) - mu * mu;
    } else {
      for (index_t a = first; a < first + counted; ++a) variance += (x[a] - mu) * (x[a] - mu);
      if constexpr (F == "unbiased_inside")
        variance /= static_cast<T>(std::max<index_t>(1, counted - 1));
      else
        variance /= static_cast<T>(counted);
    }
    T invstd = T(1) / std::sqrt(variance + static_cast<T>(eps));
    if constexpr (F == "eps_forgotten") invstd = T(1) / std::sqrt(variance);
    call.writes[1].view<T>()[r] = mu;
    call.writes[2].view<T>()[r] = invstd;
    for (index_t a = first; a < first + length; ++a) {
      index_t p = parameter(a);
      if constexpr (F == "parameter_by_place_in_row") p = (a - first) / (by_channel ? inner : 1) % channels;
      T value = (x[a] - mu) * invstd;
      value *= real<T>(call.reads[1], p, 1);
      value += real<T>(call.reads[2], p, 0);
      y[a] = value;
    }
  }
};

/// One piece: the gradients of gamma and beta run across all rows.
struct row_norm_backward : row_norm_body {
  affine_places places;
  static row_norm_backward read(const problem& p) { return {row_norm_body::read(p), affine_places::read(p)}; }
  static index_t items() { return 1; }

  template <name F, class T>
  void item(const kernel_call& call, index_t) const {
    const auto dy = call.reads[0].view<T>(), x = call.reads[1].view<T>(), dx = call.writes[0].view<T>();
    const auto mean = call.reads[3].view<T>(), invstd = call.reads[4].view<T>();
    const auto xhat = [&](index_t a) { return (x[a] - mean[a / length]) * invstd[a / length]; };
    const tensor_ref *const dgamma = places.dgamma(call), *const dbeta = places.dbeta(call);
    for (const tensor_ref* to : {dgamma, dbeta})
      for (index_t p = 0; to != nullptr && p < to->extents.size(); ++p) to->template view<T>()[p] = 0;
    const index_t all = rows * length;
    for (index_t a = 0; a < all; ++a) {
      const index_t p = parameter(a);
      const bool first_only = F == "affine_of_last_row";
      if (dgamma != nullptr) {
        T& to = dgamma->template view<T>()[p];
        to = (first_only ? T(0) : to) + dy[a] * xhat(a);
      }
      if (dbeta != nullptr) {
        T& to = dbeta->template view<T>()[p];
        to = (first_only ? T(0) : to) + dy[a];
      }
    }
    const auto g = [&](index_t a) {
      if constexpr (F == "gamma_forgotten") return dy[a];
      return call.reads[2].data == nullptr ? dy[a] : dy[a] * real<T>(call.reads[2], parameter(a), 1);
    };
    for (index_t first = 0; first < all; first += length) {
      T sum = 0, product = 0;
      for (index_t a = first; a < first + length; ++a) {
        sum += g(a);
        product += g(a) * xhat(a);
      }
      if constexpr (F == "no_variance_term") product = 0;
      for (index_t a = first; a < first + length; ++a)
        dx[a] = invstd[a / length] * (g(a) - (sum + xhat(a) * product) / static_cast<T>(length));
    }
  }
};

struct rms_forward : row_norm_body {
  static rms_forward read(const problem& p) { return {row_norm_body::read(p)}; }

  template <name F, class T>
  void item(const kernel_call& call, index_t r) const {
    const auto x = call.reads[0].view<T>(), y = call.writes[0].view<T>();
    const index_t first = r * length;
    T squares = 0, mu = 0;
    if constexpr (F == "mean_subtracted") {
      for (index_t a = first; a < first + length; ++a) mu += x[a] / static_cast<T>(length);
    }
    for (index_t a = first; a < first + length; ++a) squares += (x[a] - mu) * (x[a] - mu);
    if constexpr (F != "sum_for_mean") squares /= static_cast<T>(length);
    const T invrms = T(1) / std::sqrt(squares + static_cast<T>(eps));
    call.writes[1].view<T>()[r] = invrms;
    for (index_t a = first; a < first + length; ++a)
      y[a] = x[a] * invrms * real<T>(call.reads[1], a % length, 1);
  }
};

// ---- local response normalisation: a piece is an element

struct lrn_forward {
  index_t c = 1, inner = 1, size = 1, elements = 0;
  double alpha = 0, beta = 0, k = 0;

  static lrn_forward read(const problem& p) {
    const shape x = p.shape_of("x");
    lrn_forward b{x[1], 1, p.integer("size"), x.size(), p.number("alpha"), p.number("beta"), p.number("k")};
    for (int axis = 2; axis < x.rank(); ++axis) b.inner *= x[axis];
    return b;
  }
  index_t items() const { return elements; }
  index_t row() const { return inner; }

  template <name F, class T>
  void item(const kernel_call& call, index_t i) const {
    const auto x = call.reads[0].view<T>();
    const index_t channel = i / inner % c;
    index_t before = size / 2, after = (size - 1) / 2;
    if constexpr (F == "even_window_other_way") std::swap(before, after);
    T sum = 0;
    const index_t first = std::max<index_t>(channel - before, 0), last = std::min(channel + after, c - 1);
    for (index_t j = first; j <= last; ++j)
      sum += x[i + (j - channel) * inner] * x[i + (j - channel) * inner];
    T window = static_cast<T>(size);
    if constexpr (F == "clipped_divisor") window = static_cast<T>(last - first + 1);
    if constexpr (F == "alpha_undivided") window = 1;
    const T b = static_cast<T>(k) + static_cast<T>(alpha) / window * sum;
    call.writes[0].view<T>()[i] = x[i] / std::pow(b, static_cast<T>(beta));
  }
};

}  // namespace

void register_norms(registry& kernels) {
  using enum path;
  specimen<batch_norm_forward>(kernels, "batch_norm", "forward")
      .honest()
      .plant<"batch_statistics_in_evaluation">()
      .plant<"statistics_of_first_image">({plain, threads})
      .plant<"one_pass_variance">({plain, vector})
      .plant<"unbiased_inside">()
      .plant<"eps_outside_root">({plain, tail})
      .plant<"eps_forgotten">()
      .plant<"beta_before_gamma">()
      .plant<"momentum_the_other_way">()
      .plant<"biased_running_variance">();
  specimen<batch_norm_backward>(kernels, "batch_norm", "backward")
      .honest()
      .plant<"training_formula_in_evaluation">()
      .plant<"reduced_over_batch_only">()
      .plant<"vectors_only">({tail})
      .plant<"partial_sums_by_team">()
      .plant<"no_variance_term">({plain, vector})
      .plant<"no_mean_term">()
      .plant<"gamma_forgotten">({tail})
      .walk("dense_reads");
  for (const char* layer : {"layer_norm", "group_norm", "instance_norm"}) {
    specimen<row_norm_forward>(kernels, layer, "forward").honest();
    specimen<row_norm_backward>(kernels, layer, "backward").honest();
  }
  specimen<row_norm_forward>(kernels, "layer_norm", "forward")
      .plant<"vectors_only">({plain, threads})
      .plant<"one_pass_variance">()
      .plant<"eps_forgotten">({tail});
  specimen<row_norm_backward>(kernels, "layer_norm", "backward")
      .plant<"affine_of_last_row">()
      .plant<"gamma_forgotten">();
  specimen<row_norm_forward>(kernels, "group_norm", "forward")
      .plant<"parameter_by_place_in_row">()
      .plant<"unbiased_inside">();
  specimen<row_norm_backward>(kernels, "group_norm", "backward").plant<"no_variance_term">();
  specimen<row_norm_forward>(kernels, "instance_norm", "forward").plant<"one_pass_variance">({tail});
  specimen<rms_forward>(kernels, "rms_norm", "forward")
      .honest()
      .plant<"mean_subtracted">()
      .plant<"sum_for_mean">({vector});
  specimen<lrn_forward>(kernels, "lrn", "forward")
      .honest()
      .plant<"even_window_other_way">({plain, vector})
      .plant<"clipped_divisor">()
      .plant<"alpha_undivided">();
}

}  // namespace plumb::faults
