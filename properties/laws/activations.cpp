// Laws of element-wise activations.
#include "properties/laws/statement.hpp"

namespace plumb {
namespace activations_family {
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

template <class T>
tensor<T> negated(const tensor<T>& t) {
  return mapped(t, [](const T& v) { return T(-v); });
}

/// A real attribute of the problem.
template <class T>
T attribute_of(const layer& l, std::string_view name) {
  decimal value;
  attribute::read(l.resolved().text(name), value, {});
  return value.as<T>();
}

/// The same problem with another attribute.
std::shared_ptr<const layer> with(const layer& l, std::string_view name, std::string value) {
  problem text = spelled_out(l);
  text.set(name, std::move(value));
  return derived(text);
}

/// Another layer of one input, on an x of the same shape.
std::shared_ptr<const layer> of_same_shape(const layer& l, std::string name) {
  problem text(std::move(name));
  text.set("x", to_string(l.shapes()["x"]));
  return derived(text);
}

template <class T>
tensor_set<T> of_x_and_dy(tensor<T> x, tensor<T> dy) {
  tensor_set<T> set = of_x(std::move(x));
  set.add("dy", std::move(dy));
  return set;
}

// Symmetries that several activations have -------------------------------------------------------------

/// f(x) - f(-x) = x, and so f′(x) + f′(-x) = 1 but for x at one of the kinks.
template <class T>
void splits(lab<T>& bench, const layer& l) {
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(l, of_x(x)), z = bench.run(l, of_x(negated(x)));
  bench.claim_all("y", y["y"], [&](const shape& at) { return z["y"].view()(at) + known<T>(x.view()(at)); });
}
template <class T>
void splits_its_gradient(lab<T>& bench, const layer& l, int kink) {
  const tensor<T> x = quarters(bench), dy = bench.numbers(x.extents());
  const auto here = bench.run(l, of_x_and_dy(x, dy)), there = bench.run(l, of_x_and_dy(negated(x), dy));
  bench.claim_all("dx", here["dx"], [&](const shape& at) {
    const T v = x.view()(at);
    if (kink != 0 && (v == T(kink) || v == T(-kink))) return here["dx"].view()(at);
    return known<T>(dy.view()(at)) - there["dx"].view()(at);
  });
}

/// Both laws, for an activation with kinks at ±kink, or 0 for none. `plain` gives the problem they are about.
template <class Plain>
std::vector<law> splitting_laws(const std::string& name, int kink, Plain plain) {
  return {state(name + ".split", name + "(x) - " + name + "(-x) = x", only("forward"),
                [plain](auto& bench) { splits(bench, *plain(bench.about())); }),
          state(name + ".gradient_split", "gradient(x) + gradient(-x) = dy", only("backward"),
                [plain, kink](auto& bench) { splits_its_gradient(bench, *plain(bench.about()), kink); })};
}
std::shared_ptr<const layer> itself(const layer& l) { return derived(spelled_out(l)); }

/// f(-x) = c - f(x)
template <class T>
void mirrored(lab<T>& bench, int c) {
  const layer& l = bench.about();
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(l, of_x(x)), z = bench.run(l, of_x(negated(x)));
  bench.claim_all("y", z["y"], [&](const shape& at) { return known<T>(T(c)) - y["y"].view()(at); });
}

/// The gradient is the same at s and at -s, where s is the saved tensor: x, or y of an odd function.
template <class T>
void even_gradient(lab<T>& bench) {
  const layer& l = bench.about();
  const std::string saved = bench.pass().reads.back();
  tensor_set<T> reads;
  reads.add("dy", bench.numbers(l.shapes()["x"]));
  // |x| stays below the kinks of hard_sigmoid, |y| below 1
  reads.add(saved, mapped(bench.numbers(l.shapes()["x"], -11, 11),
                          [&](const T& v) { return T(v / T(saved == "y" ? 16 : 4)); }));
  const auto here = bench.run(l, reads);
  reads[saved] = negated(reads[saved]);
  const auto there = bench.run(l, reads);
  bench.claim_all("dx", here["dx"], [&](const shape& at) { return there["dx"].view()(at); });
}

/// x ≤ x′ ⇒ f(x) ≤ f(x′)
template <class T>
void monotone(lab<T>& bench, const layer& l) {
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(l, of_x(x));
  const auto z = bench.run(l, of_x(mapped(x, [](const T& v) { return T(v + T(1) / T(2)); })));
  for (index_t i = 0; i < x.size(); ++i)
    bench.claim(y["y"][i].value <= z["y"][i].value + T(y["y"][i].slack + z["y"][i].slack),
                "y[" + coordinates(i, x.extents()) + "] falls as x rises by 1/2");
}

// leaky_relu, prelu ------------------------------------------------------------------------------------

/// With slope 1 the kink is gone, and y = x.
template <class T>
void identity_at_slope_1(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(*with(l, "negative_slope", "1"), of_x(x));
  bench.claim_all("y", y["y"], [&](const shape& at) { return known<T>(x.view()(at)); });
}

/// f′(x) + f′(-x) = 1 + negative_slope for x ≠ 0
template <class T>
void slopes_add_up(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = quarters(bench), dy = bench.numbers(x.extents());
  const auto here = bench.run(l, of_x_and_dy(x, dy)), there = bench.run(l, of_x_and_dy(negated(x), dy));
  const T slope = attribute_of<T>(l, "negative_slope");
  bench.claim_all("dx", here["dx"], [&](const shape& at) {
    const T both = (x.view()(at) == T(0) ? T(2) * slope : T(1) + slope) * dy.view()(at);
    return known<T>(both) - there["dx"].view()(at);
  });
}

/// prelu(x) - prelu(-x) = (1 + weight[c])·x
template <class T>
void prelu_splits(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> in = bench.inputs(l);
  const tensor<T> x = in["x"];
  const auto y = bench.run(l, in);
  in["x"] = negated(x);
  const auto z = bench.run(l, in);
  bench.claim_all("y", y["y"], [&](const shape& at) {
    const T w = in["weight"][in["weight"].size() == 1 ? 0 : at[1]];
    return z["y"].view()(at) + known<T>((T(1) + w) * x.view()(at));
  });
}

/// The gradient of a weight sees the elements that are not positive, and no others.
template <class T>
void prelu_weight_gradient(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.reads(l, bench.pass());
  for (T& v : reads["x"].values())
    if (v < T(0)) v = -v;
  const auto writes = bench.run(l, reads);
  bench.claim_all("dweight", writes["dweight"], [](const shape&) { return known<T>(T(0)); });
  tensor<T> expected(l.shapes()["weight"]);
  index_t i = 0;
  for_each_index(l.shapes()["x"], [&](const shape& at) {
    T& x = reads["x"][i];
    x = -x;
    expected[expected.size() == 1 ? 0 : at[1]] += x * reads["dy"][i];
    ++i;
  });
  const auto flipped = bench.run(l, reads);
  bench.claim_all("dweight", flipped["dweight"],
                  [&](const shape& at) { return known<T>(expected.view()(at)); });
}

// elu, celu, selu --------------------------------------------------------------------------------------

/// f(2x) = 2 f(x) for x ≥ 0
template <class T>
void straight_above_zero(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = mapped(bench.numbers(l.shapes()["x"], 0, 16), [](const T& v) { return T(v / T(4)); });
  const auto y = bench.run(l, of_x(x));
  const auto z = bench.run(l, of_x(mapped(x, [](const T& v) { return T(v + v); })));
  bench.claim_all("y", z["y"], [&](const shape& at) { return T(2) * y["y"].view()(at); });
}

/// Below 0 what is left to the limit F = f(-∞) decays exponentially: (F - f(x))² = F·(F - f(2x)).
template <class T>
void exponential_below_zero(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = mapped(bench.numbers(l.shapes()["x"], -12, 0), [](const T& v) { return T(v / T(4)); });
  const auto limit = bench.run(l, of_x(tensor<T>(x.extents(), T(-1000))));
  const auto y = bench.run(l, of_x(x));
  const auto z = bench.run(l, of_x(mapped(x, [](const T& v) { return T(v + v); })));
  for_each_index(x.extents(), [&](const shape& at) {
    const auto F = limit["y"].view()(at), left = F - y["y"].view()(at), far = F - z["y"].view()(at);
    bench.claim_equal("(limit - y)^2 at", at, left * left, F * far);
  });
}

// clamp, hard_tanh -------------------------------------------------------------------------------------

/// Every element of dx is that of dy or 0.
template <class T>
void all_or_nothing(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  for (index_t i = 0; i < reads["dy"].size(); ++i) {
    const T dx = writes["dx"][i].value;
    bench.claim(dx == T(0) || dx == reads["dy"][i],
                "dx[" + coordinates(i, reads["dy"].extents()) + "] is neither 0 nor dy");
  }
}

// One activation in terms of others ---------------------------------------------------------------------

/// silu(x) = x·σ(x)
template <class T>
void product_with_sigmoid(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(l, of_x(x));
  const auto share = bench.run(*of_same_shape(l, "sigmoid"), of_x(x));
  bench.claim_all("y", y["y"], [&](const shape& at) { return x.view()(at) * share["y"].view()(at); });
}

/// mish(x) = x·tanh(softplus(x))
template <class T>
void product_with_tanh_of_softplus(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = quarters(bench);
  const auto y = bench.run(l, of_x(x));
  const auto inner = bench.run(*of_same_shape(l, "softplus"), of_x(x));
  const auto share = bench.run(*of_same_shape(l, "tanh"), of_x(values_of(inner["y"])));
  bench.claim_all("y", y["y"], [&](const shape& at) { return x.view()(at) * share["y"].view()(at); });
}

/// The theorem of addition for two equal arguments: tanh(2a)·(1 + tanh² a) = 2 tanh a, and that of softsign,
/// s(2a)·(1 + |s(a)|) = 2 s(a).
template <class T>
void doubles_its_argument(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor<T> x = mapped(quarters(bench), [](const T& v) { return T(v / T(2)); });
  const auto y = bench.run(l, of_x(x));
  const auto z = bench.run(l, of_x(mapped(x, [](const T& v) { return T(v + v); })));
  const bool rational_form = l.rational_arithmetic();
  for_each_index(x.extents(), [&](const shape& at) {
    const known<T> once = y["y"].view()(at), one(T(1));
    const known<T> size = once.value < T(0) ? T(-1) * once : once;
    bench.claim_equal("doubling at", at, z["y"].view()(at) * (one + (rational_form ? size : once * once)),
                      T(2) * once);
  });
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
}  // namespace activations_family

std::vector<law> relu_laws() {
  using namespace activations_family;
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

std::vector<law> leaky_relu_laws() {
  using namespace activations_family;
  return {
      state("leaky_relu.identity", "slope 1 leaves x as it is", only("forward"),
            [](auto& bench) { identity_at_slope_1(bench); }),
      state("leaky_relu.homogeneous", "leaky_relu(a x) = a leaky_relu(x) for a > 0", only("forward"),
            [](auto& bench) { positively_homogeneous(bench); }),
      state("leaky_relu.slopes", "gradient(x) + gradient(-x) = (1 + slope) dy for x != 0", only("backward"),
            [](auto& bench) { slopes_add_up(bench); }),
  };
}

std::vector<law> prelu_laws() {
  using namespace activations_family;
  return {
      state("prelu.split", "prelu(x) - prelu(-x) = (1 + weight) x", only("forward"),
            [](auto& bench) { prelu_splits(bench); }),
      state("prelu.weight_gradient", "dweight sums x dy where x is not positive, and nothing else",
            only("backward_weights"), [](auto& bench) { prelu_weight_gradient(bench); }),
  };
}

std::vector<law> clamp_laws() {
  using namespace activations_family;
  return {
      state("clamp.idempotent", "clamp(clamp(x)) = clamp(x)", only("forward"),
            [](auto& bench) { idempotent(bench); }),
      state("clamp.monotone", "clamp never falls", only("forward"),
            [](auto& bench) { monotone(bench, bench.about()); }),
      state("clamp.gradient", "dx is dy or 0", only("backward"), [](auto& bench) { all_or_nothing(bench); }),
  };
}

std::vector<law> hard_sigmoid_laws() {
  using namespace activations_family;
  return {
      state("hard_sigmoid.symmetry", "hard_sigmoid(-x) = 1 - hard_sigmoid(x)", only("forward"),
            [](auto& bench) { mirrored(bench, 1); }),
      state("hard_sigmoid.monotone", "hard_sigmoid never falls", only("forward"),
            [](auto& bench) { monotone(bench, bench.about()); }),
      state("hard_sigmoid.even_gradient", "the gradient is the same at x and -x", only("backward"),
            [](auto& bench) { even_gradient(bench); }),
  };
}

std::vector<law> hard_swish_laws() {
  using namespace activations_family;
  return splitting_laws("hard_swish", 3, itself);
}
std::vector<law> gelu_laws() {
  using namespace activations_family;
  return splitting_laws("gelu", 0, itself);
}

std::vector<law> silu_laws() {
  using namespace activations_family;
  std::vector<law> list = splitting_laws("silu", 0, itself);
  list.push_back(state("silu.sigmoid", "silu(x) = x sigmoid(x)", only("forward"),
                       [](auto& bench) { product_with_sigmoid(bench); }));
  return list;
}

/// Beyond the threshold y = x is an approximation; here it is out of the way.
std::vector<law> softplus_laws() {
  using namespace activations_family;
  const auto untruncated = [](const layer& l) { return with(l, "threshold", "1000"); };
  std::vector<law> list = splitting_laws("softplus", 0, untruncated);
  list.push_back(state("softplus.monotone", "softplus never falls", only("forward"),
                       [untruncated](auto& bench) { monotone(bench, *untruncated(bench.about())); }));
  return list;
}

std::vector<law> mish_laws() {
  using namespace activations_family;
  return {state("mish.composition", "mish(x) = x tanh(softplus(x))", only("forward"),
                [](auto& bench) { product_with_tanh_of_softplus(bench); })};
}

std::vector<law> elu_laws() {
  using namespace activations_family;
  return {
      state("elu.straight", "f(2x) = 2 f(x) for x >= 0", only("forward"),
            [](auto& bench) { straight_above_zero(bench); }),
      state("elu.exponential", "(F - f(x))^2 = F (F - f(2x)) for x <= 0, with the limit F = f(-inf)",
            only("forward"), [](auto& bench) { exponential_below_zero(bench); }),
  };
}

std::vector<law> odd_activation_laws() {
  using namespace activations_family;
  return {
      state("odd_activation.odd", "f(-x) = -f(x)", only("forward"), [](auto& bench) { mirrored(bench, 0); }),
      state("odd_activation.doubling", "the theorem of addition, for two equal arguments", only("forward"),
            [](auto& bench) { doubles_its_argument(bench); }),
      state("odd_activation.even_gradient", "the gradient is the same at x and -x", only("backward"),
            [](auto& bench) { even_gradient(bench); }),
  };
}

std::vector<law> sigmoid_laws() {
  using namespace activations_family;
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
