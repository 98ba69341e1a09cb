// Laws of average and power-average pooling. Both are told by sums over windows, which are a depthwise
// convolution with ones.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace averages_family {
namespace {

int spatial_axes(const layer& l) { return l.shapes()["x"].rank() - 2; }

/// Sums over the windows of `l` of its input, or, given cotangents, every sum spread over its window: average
/// pooling with a divisor of 1.
problem sum_pooling(const layer& l) {
  problem text("avg_pool" + std::to_string(spatial_axes(l)) + "d");
  text.set("x", to_string(l.shapes()["x"]));
  for (const char* same : {"window", "stride", "ceil_mode"}) text.set(same, l.resolved().text(same));
  if (l.resolved().has("pad")) text.set("pad", l.resolved().text("pad"));
  text.set("divisor_override", "1");
  return text;
}

/// What the windows of `l` have along each axis.
struct window_numbers {
  explicit window_numbers(const layer& l) : x(l.shapes()["x"]), y(l.shapes()["y"]) {
    windows = l.resolved().integers("window");
    strides = l.resolved().integers("stride");
    pads = l.resolved().integers("pad");
  }
  shape x, y;
  std::vector<index_t> windows, strides, pads;
};

/// With a divisor of 1 it is the depthwise convolution with a filter of ones; where ceil mode hangs over the
/// padding, with more padding.
template <class T>
void ones_as_filter(lab<T>& bench) {
  const layer& l = bench.about();
  const window_numbers c(l);
  const std::string rank = std::to_string(spatial_axes(l));
  problem text("depthwise_conv" + rank + "d");
  std::vector<index_t> before, after;
  shape weight{c.x[1], 1};
  for (std::size_t i = 0; i < c.windows.size(); ++i) {
    const int axis = 2 + static_cast<int>(i);
    before.push_back(c.pads[2 * i]);
    after.push_back(
        std::max<index_t>(0, (c.y[axis] - 1) * c.strides[i] + c.windows[i] - c.x[axis] - before[i]));
    weight.push_back(c.windows[i]);
  }
  text.set("x", to_string(c.x));
  text.set("weight", to_string(weight));
  text.set("stride", attribute::join(c.strides, 'x'));
  text.set("pad", sides_text(before, after));
  const auto conv = derived(text), sums = derived(sum_pooling(l));
  bench.require(conv->shapes()["y"] == c.y);
  tensor_set<T> reads = bench.reads(*sums, bench.pass());
  const auto pooled = bench.run(*sums, reads);
  reads.add("weight", tensor<T>(weight, T(1)));
  const auto filtered = bench.run(*conv, is_forward(bench.pass()) ? "forward" : "backward_data", reads);
  const auto& e = pooled.entries().front();
  bench.claim_all(e.name, e.real, [&](const shape& at) { return filtered[e.name].view()(at); });
}

/// What the window of an output counts: taps inside x, and, if padding counts, those in the padding.
index_t divisor_of(const layer& l, const shape& output) {
  const problem& text = l.resolved();
  if (text.has("divisor_override")) return text.integer("divisor_override");
  const window_numbers c(l);
  index_t product = 1;
  for (std::size_t i = 0; i < c.windows.size(); ++i) {
    const int axis = 2 + static_cast<int>(i);
    index_t count = 0;
    for (index_t tap = 0; tap < c.windows[i]; ++tap) {
      const index_t cell = output[axis] * c.strides[i] - c.pads[2 * i] + tap;
      const index_t end = c.x[axis] + (text.flag("count_include_pad") ? c.pads[2 * i + 1] : 0);
      count += cell < end && (cell >= 0 || text.flag("count_include_pad"));
    }
    product *= count;
  }
  return product;
}

/// divisor · y is the sum over the window; dx is what the sums would get for dy / divisor.
template <class T>
void divisors(lab<T>& bench) {
  const layer& l = bench.about();
  const auto sums = derived(sum_pooling(l));
  tensor_set<T> reads = bench.reads(l, bench.pass());
  if (is_forward(bench.pass())) {
    const auto y = bench.run(l, reads), sum = bench.run(*sums, reads);
    bench.claim_all("y", sum["y"], [&](const shape& at) { return T(divisor_of(l, at)) * y["y"].view()(at); });
    return;
  }
  tensor_set<T> multiples = reads;  // dy that the divisors divide
  for_each_index(reads["dy"].extents(), [&](const shape& at) {
    multiples["dy"].view()(at) = T(divisor_of(l, at)) * reads["dy"].view()(at);
  });
  const auto dx = bench.run(l, multiples), spread = bench.run(*sums, reads);
  bench.claim_all("dx", dx["dx"], [&](const shape& at) { return spread["dx"].view()(at); });
}

/// The mean of a constant is the constant, if only cells count.
template <class T>
void constant(lab<T>& bench) {
  const layer& l = bench.about();
  const T value(bench.between(-3, 3));
  const auto y = bench.run(l, of_x(tensor<T>(l.shapes()["x"], value)));
  bench.claim_all("y", y["y"], [&](const shape&) { return known<T>(value); });
}

/// Shares of a cotangent add up to it, if only cells count.
template <class T>
void total(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  known<T> given, received;
  for (index_t i = 0; i < reads["dy"].size(); ++i) given += known<T>(reads["dy"][i]);
  for (index_t i = 0; i < writes["dx"].size(); ++i) received += writes["dx"][i];
  bench.claim_equal("sum of dx and sum of dy", {}, received, given);
}

bool only_cells_count(const layer& l) {
  const auto pads = l.resolved().integers("pad");
  return !l.resolved().has("divisor_override") &&
         (!l.resolved().flag("count_include_pad") ||
          std::ranges::all_of(pads, [](index_t p) { return p == 0; }));
}
law_scope means_of_cells(std::string pass) {
  return [pass = std::move(pass)](const layer& l, const pass_spec& p) {
    return p.name == pass && only_cells_count(l);
  };
}

// Power-average pooling --------------------------------------------------------------------------------

template <class T>
T magnitude(const T& v) {
  return v < T(0) ? T(-v) : v;
}

/// |c·x| = |c|·|x| for the norm of every window.
template <class T>
void homogeneous(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> in = bench.inputs(l);
  const auto y = bench.run(l, in);
  const T factor(bench.between(0, 1) == 0 ? -2 : 3);
  for (T& v : in["x"].values()) v = factor * v;
  const auto scaled = bench.run(l, in);
  bench.claim_all("y", scaled["y"], [&](const shape& at) { return magnitude(factor) * y["y"].view()(at); });
}

/// The 1-norm is the sum of the magnitudes, the square of the 2-norm that of the squares.
template <class T>
void sums_of_powers(lab<T>& bench) {
  const index_t norm = bench.between(1, 2);
  problem text = spelled_out(bench.about());
  text.set("norm", std::to_string(norm));
  const auto l = derived(text);
  tensor_set<T> in = bench.inputs(*l);
  const auto y = bench.run(*l, in);
  for (T& v : in["x"].values()) v = norm == 1 ? magnitude(v) : T(v * v);
  const auto sum = bench.run(*derived(sum_pooling(*l)), in);
  bench.claim_all("y to the norm", sum["y"], [&](const shape& at) {
    const known<T>& root = y["y"].view()(at);
    if (norm == 1) return root;
    const double slack = (2 * static_cast<double>(root.value) + root.slack) * root.slack;
    return known<T>(root.value * root.value, slack);
  });
}

/// The largest magnitude of a window is a lower bound, and the sum of all of them an upper one.
template <class T>
void between_maximum_and_sum(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> in = bench.inputs(l);
  const auto y = bench.run(l, in);
  for (T& v : in["x"].values()) v = magnitude(v);
  problem text("max_pool" + std::to_string(spatial_axes(l)) + "d");
  text.set("x", to_string(l.shapes()["x"]));
  for (const char* same : {"window", "stride", "ceil_mode"}) text.set(same, l.resolved().text(same));
  const auto largest = bench.run(*derived(text), in), sum = bench.run(*derived(sum_pooling(l)), in);
  for (index_t i = 0; i < y["y"].size(); ++i) {
    const known<T>& norm = y["y"][i];
    bench.claim(
        largest["y"][i].value <= norm.value + T(norm.slack) &&
            norm.value <= sum["y"][i].value + T(norm.slack),
        "y[" + coordinates(i, y["y"].extents()) + "] is not between the maximum and the sum of magnitudes");
  }
}

}  // namespace
}  // namespace averages_family

std::vector<law> avg_pool_laws() {
  using namespace averages_family;
  return {
      state("avg_pool.depthwise", "with divisor 1: depthwise convolution with ones", any_pass,
            [](auto& bench) { ones_as_filter(bench); }),
      state("avg_pool.divisor", "y = sum / divisor, and the same divisor in the gradient", any_pass,
            [](auto& bench) { divisors(bench); }),
      state("avg_pool.constant", "the mean of a constant is the constant, if only cells count",
            means_of_cells("forward"), [](auto& bench) { constant(bench); }),
      state("avg_pool.total", "sum of dx = sum of dy, if only cells count", means_of_cells("backward"),
            [](auto& bench) { total(bench); }),
  };
}

std::vector<law> lp_pool_laws() {
  using namespace averages_family;
  return {
      state("lp_pool.homogeneous", "pool(c x) = |c| pool(x)", only("forward"),
            [](auto& bench) { homogeneous(bench); }),
      state("lp_pool.sums", "norm 1 sums magnitudes, norm 2 squared sums squares", only("forward"),
            [](auto& bench) { sums_of_powers(bench); }),
      state("lp_pool.bounds", "maximum <= norm <= sum of magnitudes", only("forward"),
            [](auto& bench) { between_maximum_and_sum(bench); }),
  };
}

}  // namespace plumb
