// Laws of perceptron and adaline: the convergence theorem (Novikoff 1962), and what their step is a step of.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace perceptron_family {
namespace {

law_scope forward_of(std::string name) {
  return [name = std::move(name)](const layer& l, const pass_spec& p) {
    return l.name() == name && is_forward(p);
  };
}

template <class T>
tensor_set<T> operands(const tensor<T>& x, const tensor<T>& weight, const T& bias, const T& target) {
  tensor_set<T> reads;
  reads.add("x", x);
  reads.add("weight", weight);
  reads.add("bias", tensor<T>(shape{1}, bias));
  reads.add("target", tensor<T>(shape{1}, target));
  return reads;
}

std::shared_ptr<const layer> with_features(const layer& l, index_t features, const char* rate = nullptr) {
  problem text = spelled_out(l);
  text.set("x", std::to_string(features));
  text.set("weight", std::to_string(features));
  if (rate != nullptr) text.set("rate", rate);
  return derived(text);
}

/// Points (x, 1) with labels that a hidden plane (u, v) gives them, none of them on it.
template <class T>
struct separable {
  std::vector<tensor<T>> points;
  std::vector<bool> labels;
  index_t largest_square = 0;  ///< R² = max |(x, 1)|²
  index_t least_distance = 0;  ///< γ·|(u, v)| = min |u·x + v|
  index_t plane_square = 0;    ///< |(u, v)|²

  separable(lab<T>& bench, index_t features) {
    std::vector<index_t> plane;
    for (index_t i = 0; i <= features; ++i) plane.push_back(bench.between(-1, 1));
    for (const index_t u : plane) plane_square += u * u;
    for (int drawn = 0; drawn < 12; ++drawn) {
      tensor<T> x(shape{features});
      index_t distance = plane.back(), square = 1;
      for (index_t i = 0; i < features; ++i) {
        const index_t value = bench.between(-2, 2);
        x[i] = T(value);
        distance += plane[static_cast<std::size_t>(i)] * value;
        square += value * value;
      }
      if (distance == 0) continue;
      points.push_back(std::move(x));
      labels.push_back(distance > 0);
      largest_square = std::max(largest_square, square);
      const index_t magnitude = distance < 0 ? -distance : distance;
      least_distance = points.size() == 1 ? magnitude : std::min(least_distance, magnitude);
    }
  }
};

/// Started at 0 on separable data, the perceptron makes at most (R/γ)² mistakes, and then none.
template <class T>
void mistake_bound(lab<T>& bench) {
  const index_t features = std::min<index_t>(5, bench.about().shapes()["x"][0]);
  const auto l = with_features(bench.about(), features, "0.5");  // any rate does; this one is exact in binary
  const separable<T> data(bench, features);
  bench.require(data.points.size() > 1);
  tensor<T> weight(shape{features});
  T bias(0);
  index_t mistakes = 0;
  // mistakes ≤ R²·|plane|² / least_distance²
  const index_t most = data.largest_square * data.plane_square / (data.least_distance * data.least_distance);
  for (bool clean = false; !clean && mistakes <= most;) {
    clean = true;
    for (std::size_t i = 0; i < data.points.size(); ++i) {
      const T target(data.labels[i] ? 1 : 0);
      const auto after = bench.run(*l, operands(data.points[i], weight, bias, target));
      if (after["prediction"][0].value != target) {
        clean = false;
        ++mistakes;
      }
      weight = values_of<T>(after["updated_weight"]);
      bias = after["updated_bias"][0].value;
    }
  }
  bench.claim(mistakes <= most,
              std::to_string(mistakes) + " mistakes on data that allow " + std::to_string(most));
}

/// Who is right learns nothing.
template <class T>
void right_learns_nothing(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.inputs(l);
  reads["target"] = values_of<T>(bench.run(l, reads)["prediction"]);
  const auto after = bench.run(l, reads);
  bench.claim_all("updated_weight", after["updated_weight"],
                  [&](const shape& at) { return known<T>(reads["weight"].view()(at)); });
  bench.claim_all("updated_bias", after["updated_bias"],
                  [&](const shape&) { return known<T>(reads["bias"][0]); });
}

/// w - rate·∂E/∂w with E = ½(target - prediction)², a quadratic: (E(w + 1) - E(w - 1))/2 is its slope
/// exactly.
template <class T>
void gradient_descent(lab<T>& bench) {
  const layer& l = bench.about();
  bench.require(l.shapes()["x"][0] > 0);
  const tensor_set<T> reads = bench.inputs(l);
  const auto after = bench.run(l, reads);
  decimal rate;
  attribute::read(l.resolved().find("rate")->value, rate, range{});
  const auto energy = [&](const std::string& name, index_t i, int by) {
    tensor_set<T> moved = reads;
    moved[name][i] += T(by);
    const T error = reads["target"][0] - bench.run(l, moved)["prediction"][0].value;
    return T(error * error / T(2));
  };
  const auto claim = [&](const std::string& name, const std::string& updated, index_t i) {
    const T slope = (energy(name, i, 1) - energy(name, i, -1)) / T(2);
    bench.claim_equal(updated, shape{i}, after[updated][i], known<T>(reads[name][i] - rate.as<T>() * slope));
  };
  claim("bias", "updated_bias", 0);
  claim("weight", "updated_weight", bench.between(0, l.shapes()["x"][0] - 1));
}

/// The bias is the weight of one more feature that is always 1.
template <class T>
void bias_is_a_weight(lab<T>& bench) {
  const layer& l = bench.about();
  const index_t D = l.shapes()["x"][0];
  const tensor_set<T> reads = bench.inputs(l);
  tensor<T> x(shape{D + 1}, T(1)), weight(shape{D + 1}, reads["bias"][0]);
  for (index_t i = 0; i < D; ++i) {
    x[i] = reads["x"][i];
    weight[i] = reads["weight"][i];
  }
  const auto with = bench.run(l, reads);
  const auto without = bench.run(*with_features(l, D + 1), operands(x, weight, T(0), reads["target"][0]));
  bench.claim_equal("prediction", shape{0}, with["prediction"][0], without["prediction"][0]);
  bench.claim_all("updated_weight", with["updated_weight"],
                  [&](const shape& at) { return without["updated_weight"].view()(at); });
  bench.claim_equal("updated_bias", shape{0}, with["updated_bias"][0], without["updated_weight"][D]);
}

struct feature_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const auto order = bench.permutation(bench.about().shapes()["x"][0]);
    bench.require(order.size() > 1);
    const auto moved = [order](shape at) { return shape{order[static_cast<std::size_t>(at[0])]}; };
    return {.from = {},
            .to = derived(spelled_out(bench.about())),
            .into = {{"x", moved}, {"weight", moved}, {"updated_weight", moved}}};
  }
};

}  // namespace
}  // namespace perceptron_family

std::vector<law> perceptron_laws() {
  using namespace perceptron_family;
  return {
      state("perceptron.mistakes", "started at 0 on separable data: at most (R/gamma)^2 mistakes",
            forward_of("perceptron"), [](auto& bench) { mistake_bound(bench); }),
      state("perceptron.right", "who predicts the target keeps the weights", only("forward"),
            [](auto& bench) { right_learns_nothing(bench); }),
      state("perceptron.gradient_descent", "adaline: w - rate dE/dw with E = (target - prediction)^2 / 2",
            forward_of("adaline"), [](auto& bench) { gradient_descent(bench); }),
      state("perceptron.bias", "the bias is the weight of a feature that is always 1", only("forward"),
            [](auto& bench) { bias_is_a_weight(bench); }),
      state_embedding("perceptron.feature_permutation", "features may change places in x and weight",
                      any_pass, feature_permutation()),
  };
}

}  // namespace plumb
