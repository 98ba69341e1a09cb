// Laws of element-wise activations, relu and sigmoid.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace {

template <class T>
tensor<T> mapped(const tensor<T>& t, auto&& f) {
  tensor<T> result(t.extents());
  for (index_t i = 0; i < t.size(); ++i) result[i] = f(t[i]);
  return result;
}

/// Scores in quarters between -8 and 8, exact in every type.
template <class T>
tensor<T> quarters(lab<T>& bench) {
  return mapped(bench.numbers(bench.about().shapes()["x"], -32, 32), [](const T& v) { return T(v / T(4)); });
}

// relu -------------------------------------------------------------------------------------------------

/// relu(relu(x)) = relu(x)
template <class T>
void idempotent(lab<T>& bench) {
  const layer& l = bench.about();
  const auto once = bench.run(l, of_x(bench.numbers(l.shapes()["x"])));
  tensor<T> y(l.shapes()["x"]);
  for (index_t i = 0; i < y.size(); ++i) y[i] = once["y"][i].value;
  const auto twice = bench.run(l, of_x(y));
  bench.claim_all("y", twice["y"], [&](const shape& at) { return once["y"].view()(at); });
}

/// relu(a·x) = a·relu(x) for a > 0
template <class T>
void positively_homogeneous(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = bench.numbers(l.shapes()["x"]);
  const T a(bench.between(2, 9));
  const auto y = bench.run(l, of_x(x));
  const auto scaled = bench.run(l, of_x(mapped(x, [&](const T& v) { return T(a * v); })));
  bench.claim_all("y", scaled["y"], [&](const shape& at) { return a * y["y"].view()(at); });
}

/// relu(x) - relu(-x) = x
template <class T>
void splits_its_argument(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = bench.numbers(l.shapes()["x"]);
  const auto y = bench.run(l, of_x(x)), z = bench.run(l, of_x(mapped(x, [](const T&v) { return T(-v); })));
  bench.claim_all("y", y["y"], [&](const shape& at) { return z["y"].view()(at) + known<T>(x.view()(at)); });
}

/// The gradient passes where x > 0, and where it does not pass at x it passes at -x, but for x = 0.
template <class T>
void gates_its_gradient(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto at_x = bench.run(l, reads);
  const tensor<T> x = reads["x"];
  reads["x"] = mapped(x, [](const T& v) { return T(-v); });
  const auto at_minus_x = bench.run(l, reads);
  bench.claim_all("dx", at_x["dx"], [&](const shape& at) {
    const bool kink = x.view()(at) == T(0);
    return known<T>(kink ? T(0) : reads["dy"].view()(at)) - at_minus_x["dx"].view()(at);
  });
}

// sigmoid ----------------------------------------------------------------------------------------------

/// σ(-x) = 1 - σ(x)
template <class T>
void point_symmetric(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(l, of_x(x)), z = bench.run(l, of_x(mapped(x, [](const T&v) { return T(-v); })));
  bench.claim_all("y", z["y"], [&](const shape& at) { return known<T>(T(1)) - y["y"].view()(at); });
}

/// x ≤ x′ ⇒ σ(x) ≤ σ(x′), and 0 ≤ σ ≤ 1
template <class T>
void monotone_in_the_unit_interval(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(l, of_x(x));
  const auto z = bench.run(l, of_x(mapped(x, [](const T& v) { return T(v + T(1)); })));
  for (index_t i = 0; i < x.size(); ++i) {
    const known<T>&low = y["y"][i], &high = z["y"][i];
    const std::string which = "y[" + coordinates(i, x.extents()) + "]";
    bench.claim(low.value >= T(0) && low.value <= T(1), which + " lies outside [0, 1]");
    bench.claim(low.value <= high.value + T(low.slack + high.slack), which + " falls as x rises by 1");
  }
}

/// σ(0) = 1/2, which every kernel can hit exactly.
template <class T>
void half_at_zero(lab<T>& bench) {
  const layer& l = bench.about();
  const auto y = bench.run(l, of_x(tensor<T>(l.shapes()["x"])));
  bench.claim_all("y", y["y"], [](const shape&) { return known<T>(T(1) / T(2)); });
}

/// dx is the same at y and at 1 - y.
template <class T>
void gradient_symmetric(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  reads["y"] = mapped(bench.numbers(l.shapes()["y"], 0, 64), [](const T& v) { return T(v / T(64)); });
  const auto here = bench.run(l, reads);
  reads["y"] = mapped(reads["y"], [](const T& v) { return T(T(1) - v); });
  const auto there = bench.run(l, reads);
  bench.claim_all("dx", here["dx"], [&](const shape& at) { return there["dx"].view()(at); });
}

}  // namespace

std::vector<law> relu_laws() {
  return {
      state("relu.idempotent", "relu(relu(x)) = relu(x)", only("forward"),
            [](auto& bench) { idempotent(bench); }),
      state("relu.homogeneous", "relu(a x) = a relu(x) for a > 0", only("forward"),
            [](auto& bench) { positively_homogeneous(bench); }),
      state("relu.split", "relu(x) - relu(-x) = x", only("forward"),
            [](auto& bench) { splits_its_argument(bench); }),
      state("relu.gate", "gradient(x) + gradient(-x) = dy, and 0 at x = 0", only("backward"),
            [](auto& bench) { gates_its_gradient(bench); }),
  };
}

std::vector<law> sigmoid_laws() {
  return {
      state("sigmoid.symmetry", "sigmoid(-x) = 1 - sigmoid(x)", only("forward"),
            [](auto& bench) { point_symmetric(bench); }),
      state("sigmoid.monotone", "sigmoid rises and stays in [0, 1]", only("forward"),
            [](auto& bench) { monotone_in_the_unit_interval(bench); }),
      state("sigmoid.half", "sigmoid(0) = 1/2", only("forward"), [](auto& bench) { half_at_zero(bench); }),
      state("sigmoid.gradient_symmetry", "the gradient is the same at y and 1 - y", only("backward"),
            [](auto& bench) { gradient_symmetric(bench); }),
  };
}

}  // namespace plumb
