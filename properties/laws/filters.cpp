// Laws of the layers that are convolutions of a special kind: depthwise (as many groups as channels), locally
// connected (a filter for every position) and row convolution (depthwise along time).
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace filters_family {
namespace {

/// The convolution of the same rank, bare of everything but its stride, padding and dilation.
problem convolution_beside(const layer& l) {
  problem text("conv" + std::to_string(l.shapes()["x"].rank() - 2) + "d");
  text.set("x", to_string(l.shapes()["x"]));
  for (const char* same : {"stride", "pad", "dilation"}) text.set(same, l.resolved().text(same));
  return text;
}

// Depthwise convolution --------------------------------------------------------------------------------

struct depthwise_as_groups {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    problem text = convolution_beside(l);
    text.set("weight", to_string(l.shapes()["weight"]));
    if (l.present("bias")) text.set("bias", to_string(l.shapes()["bias"]));
    text.set("groups", std::to_string(l.shapes()["x"][1]));
    return {.from = {}, .to = derived(text), .into = {}};
  }
};

/// Channels may change places, each with its filters.
struct channel_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    const index_t channels = l.shapes()["x"][1], m = l.shapes()["weight"][0] / channels;
    bench.require(channels > 1);
    const auto order = bench.permutation(channels);
    const auto along = [order](int axis, index_t each) {
      return [order, axis, each](shape at) {
        at[axis] = order[static_cast<std::size_t>(at[axis] / each)] * each + at[axis] % each;
        return at;
      };
    };
    return {.from = {},
            .to = derived(spelled_out(l)),
            .into = {{"x", along(1, 1)}, {"y", along(1, m)}, {"weight", along(0, m)}, {"bias", along(0, m)}}};
  }
};

// Locally connected ------------------------------------------------------------------------------------

/// What neuron[k,o,…] (, c, t, …) of the locally connected layer is in a convolution that shares: the
/// position is gone.
shape shared(const shape& at, int rank) {
  shape result{at[0]};
  for (int axis = rank + 1; axis < at.rank(); ++axis) result.push_back(at[axis]);
  return result;
}

/// With the same filter and bias at every position it is a convolution; gradients of the shared numbers are
/// the sums of those of the single ones.
template <class T>
void equal_filters(lab<T>& bench) {
  const layer& l = bench.about();
  const int rank = l.shapes()["x"].rank() - 2;
  problem text = convolution_beside(l);
  text.set("weight", to_string(shared(l.shapes()["weight"], rank)));
  if (l.present("bias")) text.set("bias", to_string(shared(l.shapes()["bias"], rank)));
  const auto conv = derived(text);
  const pass_spec* pass = conv->find_pass(bench.pass().name);
  const tensor_set<T> few = bench.reads(*conv, *pass);
  tensor_set<T> many = make_tensors<T>(l, bench.pass().reads);
  const auto repeated = [](std::string_view name) {
    return name.ends_with("weight") || name.ends_with("bias");
  };
  for (auto& e : many.entries())
    for_each_index(e.extents(), [&](const shape& at) {
      e.real.view()(at) = few[e.name].view()(repeated(e.name) ? shared(at, rank) : at);
    });
  const auto here = bench.run(l, many), there = bench.run(*conv, pass->name, few);
  const auto& e = here.entries().front();
  tensor<known<T>> sums(there.at(e.name).extents());
  for_each_index(e.extents(), [&](const shape& at) {
    sums.view()(repeated(e.name) ? shared(at, rank) : at) += e.real.view()(at);
  });
  bench.claim_all(e.name, sums, [&](const shape& at) { return there[e.name].view()(at); });
}

/// Other filters are other neurons' business: the weights of one neuron move its own output and no other.
template <class T>
void neurons_are_independent(lab<T>& bench) {
  const layer& l = bench.about();
  const shape y = l.shapes()["y"];
  bench.require(y.size() > 0);
  const index_t neurons = y.size() / y[0], chosen = bench.between(0, neurons - 1);
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto before = bench.run(l, reads);
  tensor<T>& weight = reads["weight"];
  const index_t filter = weight.size() / neurons;
  for (index_t i = 0; i < filter; ++i) weight[chosen * filter + i] += T(bench.between(1, 3));
  const auto after = bench.run(l, reads);
  for (index_t i = 0; i < y.size(); ++i)
    if (i % neurons != chosen) bench.claim_equal("y", unflatten(i, y), after["y"][i], before["y"][i]);
}

// Row convolution --------------------------------------------------------------------------------------

/// A depthwise convolution along time, whichever axis time is.
struct row_as_depthwise {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    const bool feature_first = l.resolved().flag("feature_first");
    const auto turned = [feature_first](shape at) {
      if (!feature_first) std::swap(at[1], at[2]);
      return at;
    };
    problem text("depthwise_conv1d");
    text.set("x", to_string(turned(l.shapes()["x"])));
    text.set("weight", to_string(l.shapes()["weight"]));
    if (l.present("bias")) text.set("bias", to_string(l.shapes()["bias"]));
    for (const char* same : {"stride", "pad"}) text.set(same, l.resolved().text(same));
    return {.from = {}, .to = derived(text), .into = {{"x", turned}, {"y", turned}}};
  }
};

/// Features first or time first: the same numbers, transposed.
struct row_transposed {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const auto turned = [](const shape& at) { return shape{at[0], at[2], at[1]}; };
    problem text = spelled_out(bench.about());
    text.set("feature_first", bench.about().resolved().flag("feature_first") ? "false" : "true");
    text.set("x", to_string(turned(bench.about().shapes()["x"])));
    return {.from = {}, .to = derived(text), .into = {{"x", turned}, {"y", turned}}};
  }
};

}  // namespace
}  // namespace filters_family

std::vector<law> depthwise_conv_laws() {
  using namespace filters_family;
  return {
      state_embedding("depthwise_conv.groups", "depthwise convolution = convolution with groups = C",
                      any_pass, depthwise_as_groups()),
      state_embedding("depthwise_conv.channel_permutation", "channels may change places with their filters",
                      any_pass, channel_permutation()),
  };
}

std::vector<law> locally_connected_laws() {
  using namespace filters_family;
  return {
      state("locally_connected.equal_filters", "equal filters = convolution; their gradients add up",
            any_pass, [](auto& bench) { equal_filters(bench); }),
      state("locally_connected.neurons", "a neuron's weights move its own output only", only("forward"),
            [](auto& bench) { neurons_are_independent(bench); }),
  };
}

std::vector<law> row_conv_laws() {
  using namespace filters_family;
  return {
      state_embedding("row_conv.depthwise", "row convolution = depthwise convolution along time", any_pass,
                      row_as_depthwise()),
      state_embedding("row_conv.transposed", "time first = features first, transposed", any_pass,
                      row_transposed()),
  };
}

}  // namespace plumb
