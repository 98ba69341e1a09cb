// Laws of the fully connected layer: it is a matrix product, and a convolution of one cell.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace linear_family {
namespace {

/// Coordinates with those of the last axis replaced.
std::function<shape(shape)> last_axis(const std::vector<index_t>& order) {
  return [order](shape at) {
    at[at.rank() - 1] = order[static_cast<std::size_t>(at[at.rank() - 1])];
    return at;
  };
}
std::function<shape(shape)> first_axis(const std::vector<index_t>& order) {
  return [order](shape at) {
    at[0] = order[static_cast<std::size_t>(at[0])];
    return at;
  };
}

struct feature_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const auto order = bench.permutation(bench.about().shapes()["weight"][1]);
    bench.require(order.size() > 1);
    return {.from = {},
            .to = derived(spelled_out(bench.about())),
            .into = {{"x", last_axis(order)}, {"weight", last_axis(order)}}};
  }
};

struct unit_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const auto order = bench.permutation(bench.about().shapes()["weight"][0]);
    bench.require(order.size() > 1);
    return {.from = {},
            .to = derived(spelled_out(bench.about())),
            .into = {{"y", last_axis(order)}, {"weight", first_axis(order)}, {"bias", first_axis(order)}}};
  }
};

/// Features that meet zero weights only, and units of zero weights, change nothing else.
struct extension_by_zeros {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    problem text = spelled_out(bench.about());
    shape x = bench.about().shapes()["x"], weight = bench.about().shapes()["weight"];
    const index_t features = bench.between(0, 2), units = bench.between(1, 2);
    weight[0] += units;
    weight[1] += features;
    x[x.rank() - 1] += features;
    text.set("x", to_string(x));
    text.set("weight", to_string(weight));
    if (bench.about().present("bias")) text.set("bias", std::to_string(weight[0]));
    return {.from = {}, .to = derived(text), .into = {}};
  }
};

/// Every row is the one cell of a sample; features are channels.
struct as_convolution {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    const shape x = l.shapes()["x"], weight = l.shapes()["weight"];
    index_t rows = 1;
    for (int axis = 0; axis + 1 < x.rank(); ++axis) rows *= x[axis];
    problem text("conv1d");
    text.set("x", to_string(shape{rows, x[x.rank() - 1], 1}));
    text.set("weight", to_string(shape{weight[0], weight[1], 1}));
    if (l.present("bias")) text.set("bias", std::to_string(weight[0]));
    const auto row = [x](const shape& at) {
      index_t r = 0;
      for (int axis = 0; axis + 1 < at.rank(); ++axis) r = r * x[axis] + at[axis];
      return shape{r, at[at.rank() - 1], 0};
    };
    const auto cell = [](const shape& at) { return shape{at[0], at[1], 0}; };
    return {.from = {}, .to = derived(text), .into = {{"x", row}, {"y", row}, {"weight", cell}}};
  }
};

/// The products themselves, summed from the last to the first: y = x·Wᵀ + b, dx = dy·W, dW = dyᵀ·x, db = Σ dy.
template <class T>
void matrix_product(lab<T>& bench) {
  const layer& l = bench.about();
  const index_t D = l.shapes()["weight"][1], M = l.shapes()["weight"][0];
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  const auto& e = writes.entries().front();
  const index_t rows = l.shapes()["x"].size() / D;
  for (index_t i = 0; i < e.real.size(); ++i) {
    T sum(0);
    if (e.name == "y") {
      for (index_t d = D; d-- > 0;) sum += reads["x"][i / M * D + d] * reads["weight"][i % M * D + d];
      if (reads.has("bias")) sum += reads["bias"][i % M];
    } else if (e.name == "dx") {
      for (index_t m = M; m-- > 0;) sum += reads["dy"][i / D * M + m] * reads["weight"][m * D + i % D];
    } else if (e.name == "dweight") {
      for (index_t n = rows; n-- > 0;) sum += reads["dy"][n * M + i / D] * reads["x"][n * D + i % D];
    } else {
      for (index_t n = rows; n-- > 0;) sum += reads["dy"][n * M + i];
    }
    bench.claim_equal(e.name, unflatten(i, e.real.extents()), e.real[i], known<T>(sum));
  }
}

bool not_bias(const layer&, const pass_spec& pass) { return pass.name != "backward_bias"; }

}  // namespace
}  // namespace linear_family

std::vector<law> linear_laws() {
  using namespace linear_family;
  return {
      state("linear.product", "y = x Wt + b and its three gradients are matrix products", any_pass,
            [](auto& bench) { matrix_product(bench); }),
      state_embedding("linear.feature_permutation", "features may change places in x and weight", not_bias,
                      feature_permutation()),
      state_embedding("linear.unit_permutation", "units may change places", any_pass, unit_permutation()),
      state_embedding("linear.extension", "zero features and units change nothing else", any_pass,
                      extension_by_zeros()),
      state_embedding("linear.convolution", "linear = convolution of one cell", any_pass, as_convolution()),
  };
}

}  // namespace plumb
