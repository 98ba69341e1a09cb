// Laws of transposed convolution: it is the adjoint of a convolution, and its attributes are ways to write
// zeros into x and into the filter, and to crop y. Letters as in reference/layers/conv_transpose.hpp.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace transposed_family {
namespace {

/// The numbers of a transposed convolution, an entry for each spatial axis.
struct transposed_numbers {
  explicit transposed_numbers(const layer& l) {
    const problem& text = l.resolved();
    strides = text.integers("stride");
    dilations = text.integers("dilation");
    output_pads = text.integers("output_pad");
    const auto sides = text.integers("pad");
    for (std::size_t i = 0; i < sides.size(); i += 2) {
      before.push_back(sides[i]);
      after.push_back(sides[i + 1]);
    }
    groups = text.integer("groups");
    x = l.shapes()["x"];
    weight = l.shapes()["weight"];
    y = l.shapes()["y"];
    rank = x.rank() - 2;
  }
  std::vector<index_t> strides, dilations, output_pads, before, after;
  index_t groups = 1;
  shape x, weight, y;
  int rank = 0;
};

bool any_above(const layer& l, const char* attribute, index_t least) {
  return std::ranges::any_of(l.resolved().integers(attribute), [least](index_t v) { return v > least; });
}
bool not_bias(const layer&, const pass_spec& pass) { return pass.name != "backward_bias"; }
bool strided(const layer& l, const pass_spec&) { return any_above(l, "stride", 1); }
bool dilated(const layer& l, const pass_spec& pass) {
  return not_bias(l, pass) && any_above(l, "dilation", 1);
}
bool cropped(const layer& l, const pass_spec&) { return any_above(l, "pad", 0); }
bool extended(const layer& l, const pass_spec&) { return any_above(l, "output_pad", 0); }
bool of_several_axes(const layer& l, const pass_spec&) { return l.shapes()["x"].rank() > 3; }

// Embeddings -------------------------------------------------------------------------------------------

/// A stride is x with stride - 1 zeros between its cells.
struct stride_as_zeros {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const transposed_numbers c(bench.about());
    problem text = spelled_out(bench.about());
    shape x = c.x;
    for (int axis = 0; axis < c.rank; ++axis)
      x[2 + axis] = (x[2 + axis] - 1) * c.strides[static_cast<std::size_t>(axis)] + 1;
    text.set("x", to_string(x));
    text.set("stride", "1");
    text.set("output_pad", "0");
    const auto spread = [strides = c.strides](shape at) {
      for (std::size_t i = 0; i < strides.size(); ++i) at[2 + static_cast<int>(i)] *= strides[i];
      return at;
    };
    bench.require(std::ranges::all_of(c.output_pads, [](index_t a) { return a == 0; }));
    return {.from = {}, .to = derived(text), .into = {{"x", spread}}};
  }
};

/// A dilated filter is a filter with zeros between its taps.
struct dilation_as_zeros {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const transposed_numbers c(bench.about());
    problem text = spelled_out(bench.about());
    shape weight = c.weight;
    for (int axis = 0; axis < c.rank; ++axis)
      weight[2 + axis] = (weight[2 + axis] - 1) * c.dilations[static_cast<std::size_t>(axis)] + 1;
    text.set("weight", to_string(weight));
    text.set("dilation", "1");
    const auto spread = [dilations = c.dilations](shape at) {
      for (std::size_t i = 0; i < dilations.size(); ++i) at[2 + static_cast<int>(i)] *= dilations[i];
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"weight", spread}}};
  }
};

/// Padding keeps the inner part of the output without padding.
struct padding_as_crop {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const transposed_numbers c(bench.about());
    problem text = spelled_out(bench.about());
    text.set("pad", "0");
    const auto inner = [before = c.before](shape at) {
      for (std::size_t i = 0; i < before.size(); ++i) at[2 + static_cast<int>(i)] += before[i];
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"y", inner}}};
  }
};

/// Without output_pad the same output ends earlier.
struct output_pad_as_extension {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    problem text = spelled_out(bench.about());
    text.set("output_pad", "0");
    return {.from = derived(text), .to = derived(spelled_out(bench.about())), .into = {}};
  }
};

/// Input channels may change places within their group, in x and in the filters alike.
struct channel_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const transposed_numbers c(bench.about());
    const index_t channels = c.x[1] / c.groups;
    bench.require(channels > 1);
    const auto order = bench.permutation(channels);
    const auto along = [order, channels](int axis) {
      return [order, channels, axis](shape at) {
        at[axis] = at[axis] / channels * channels + order[static_cast<std::size_t>(at[axis] % channels)];
        return at;
      };
    };
    return {.from = {},
            .to = derived(spelled_out(bench.about())),
            .into = {{"x", along(1)}, {"weight", along(0)}}};
  }
};

/// The axes of space are alike: exchange two of them everywhere.
struct axes_exchanged {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    transposed_numbers c(bench.about());
    const int a = static_cast<int>(bench.between(0, c.rank - 2)),
              b = static_cast<int>(bench.between(a + 1, c.rank - 1));
    const auto exchanged = [a, b](shape at) {
      std::swap(at[2 + a], at[2 + b]);
      return at;
    };
    for (auto* list : {&c.strides, &c.dilations, &c.output_pads, &c.before, &c.after})
      std::swap((*list)[static_cast<std::size_t>(a)], (*list)[static_cast<std::size_t>(b)]);
    problem text = spelled_out(bench.about());
    text.set("x", to_string(exchanged(c.x)));
    text.set("weight", to_string(exchanged(c.weight)));
    text.set("stride", attribute::join(c.strides, 'x'));
    text.set("dilation", attribute::join(c.dilations, 'x'));
    text.set("output_pad", attribute::join(c.output_pads, 'x'));
    text.set("pad", sides_text(c.before, c.after));
    return {
        .from = {}, .to = derived(text), .into = {{"x", exchanged}, {"weight", exchanged}, {"y", exchanged}}};
  }
};

// Formulas ---------------------------------------------------------------------------------------------

/// With the same filter, stride, padding, dilation and groups, the convolution of an image like y is an image
/// like x. Transposed convolution is its backward_data, and the gradients of the one are the passes of the
/// other.
template <class T>
void adjoint_of_convolution(lab<T>& bench) {
  const layer& l = bench.about();
  const transposed_numbers c(l);
  problem text("conv" + std::to_string(c.rank) + "d");
  text.set("x", to_string(c.y));
  text.set("weight", to_string(c.weight));
  for (const char* same : {"stride", "pad", "dilation", "groups"}) text.set(same, l.resolved().text(same));
  const auto conv = derived(text);
  bench.require(conv->shapes()["y"] == c.x);  // an output_pad beyond the stride has room for another window
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto writes = bench.run(l, reads);
  tensor_set<T> turned;  // x here is the cotangent there, dy here the image there
  for (const auto& e : reads.entries())
    if (e.name != "bias") turned.add(e.name == "x" ? "dy" : e.name == "dy" ? "x" : e.name, e.real);
  const auto& e = writes.entries().front();
  const std::string pass = e.name == "y" ? "backward_data" : e.name == "dx" ? "forward" : "backward_weights";
  const auto there = bench.run(*conv, pass, turned);
  bench.claim_all(e.name, e.real, [&](const shape& at) {
    const known<T> bias = reads.has("bias") ? known<T>(reads["bias"][at[1]]) : known<T>();
    return there.entries().front().real.view()(at) + bias;
  });
}

/// dbias[k] is the sum of dy over samples and positions.
template <class T>
void bias_gradient_sums(lab<T>& bench) {
  const tensor_set<T> reads = bench.reads(bench.about(), bench.pass());
  tensor<T> sum(shape{bench.about().shapes()["y"][1]});
  for_each_index(reads["dy"].extents(), [&](const shape& at) { sum[at[1]] += reads["dy"].view()(at); });
  const auto writes = bench.run(bench.about(), reads);
  bench.claim_all("dbias", writes["dbias"], [&](const shape& at) { return known<T>(sum[at[0]]); });
}

}  // namespace
}  // namespace transposed_family

std::vector<law> conv_transpose_laws() {
  using namespace transposed_family;
  return {
      state("conv_transpose.adjoint",
            "it is backward_data of the convolution, and its gradients are the other passes", not_bias,
            [](auto& bench) { adjoint_of_convolution(bench); }),
      state("conv_transpose.bias_gradient", "dbias[k] = sum of dy", only("backward_bias"),
            [](auto& bench) { bias_gradient_sums(bench); }),
      state_embedding("conv_transpose.stride", "stride = zeros between the cells of x", strided,
                      stride_as_zeros()),
      state_embedding("conv_transpose.dilation", "dilation = zeros between the taps", dilated,
                      dilation_as_zeros()),
      state_embedding("conv_transpose.padding", "padding = cropped output", cropped, padding_as_crop()),
      state_embedding("conv_transpose.output_pad", "output_pad adds rows at the end and changes no other",
                      extended, output_pad_as_extension()),
      state_embedding("conv_transpose.channel_permutation",
                      "input channels may change places in x and filter", not_bias, channel_permutation()),
      state_embedding("conv_transpose.axes", "two axes of space may change places", of_several_axes,
                      axes_exchanged()),
  };
}

}  // namespace plumb
