// Laws of convolution. Most say that a problem sits inside another one (embedding.hpp) and so speak about all
// four passes at once; the others are formulas written the other way round than the reference writes them.
// Letters as in reference/layers/conv.hpp: position h = p·stride - pad + r·dilation on every axis.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace conv_family {
namespace {

/// The numbers of a convolution, an entry for each spatial axis.
struct conv_numbers {
  explicit conv_numbers(const layer& l) {
    const problem& text = l.resolved();
    strides = text.integers("stride");
    dilations = text.integers("dilation");
    const auto sides = text.integers("pad");
    for (std::size_t i = 0; i < sides.size(); i += 2) {
      before.push_back(sides[i]);
      after.push_back(sides[i + 1]);
    }
    groups = text.integer("groups");
    flip = text.flag("flip");
    x = l.shapes()["x"];
    weight = l.shapes()["weight"];
    y = l.shapes()["y"];
    rank = x.rank() - 2;
    channels = weight[1];
    filters = weight[0] / groups;
  }
  std::vector<index_t> strides, dilations, before, after;
  index_t groups = 1;
  bool flip = false;
  shape x, weight, y;
  int rank = 0;
  index_t channels = 0, filters = 0;  ///< of one group

  index_t stride(int axis) const { return strides[static_cast<std::size_t>(axis)]; }
  index_t dilation(int axis) const { return dilations[static_cast<std::size_t>(axis)]; }
  index_t pad(int axis) const { return before[static_cast<std::size_t>(axis)]; }
  index_t group_of_filter(index_t k) const { return k / filters; }
};

std::string per_axis_text(const std::vector<index_t>& list) { return attribute::join(list, 'x'); }

/// The problem with every attribute spelled out and any remainder allowed.
problem text_of(const layer& l) {
  problem text = spelled_out(l);
  text.set("fit", "floor");
  return text;
}

bool has_bias_pass(const pass_spec& pass) { return pass.name == "backward_bias"; }
bool not_bias(const layer&, const pass_spec& pass) { return !has_bias_pass(pass); }
bool grouped(const layer& l, const pass_spec&) { return l.resolved().integer("groups") > 1; }
bool dilated(const layer& l, const pass_spec& pass) {
  return not_bias(l, pass) &&
         std::ranges::any_of(l.resolved().integers("dilation"), [](index_t d) { return d > 1; });
}
bool strided(const layer& l, const pass_spec&) {
  return std::ranges::any_of(l.resolved().integers("stride"), [](index_t s) { return s > 1; });
}
bool padded(const layer& l, const pass_spec&) {
  return std::ranges::any_of(l.resolved().integers("pad"), [](index_t p) { return p > 0; });
}
bool of_several_axes(const layer& l, const pass_spec&) { return l.shapes()["x"].rank() > 3; }

// Embeddings -------------------------------------------------------------------------------------------

/// stride·j rows of zeros in front of the input move the output by j rows.
struct translation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    const int axis = 2 + static_cast<int>(bench.between(0, c.rank - 1));
    const index_t rows = bench.between(1, 2), cells = rows * c.stride(axis - 2);
    problem text = text_of(bench.about());
    shape x = c.x;
    x[axis] += cells;
    text.set("x", to_string(x));
    const auto by = [axis](index_t distance) {
      return [axis, distance](shape at) {
        at[axis] += distance;
        return at;
      };
    };
    return {.from = {}, .to = derived(text), .into = {{"x", by(cells)}, {"y", by(rows)}}};
  }
};

/// Input channels may change places, in x and in the filters alike.
struct channel_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    bench.require(c.channels > 1);
    const auto order = bench.permutation(c.channels);
    const auto moved = [order, n = c.channels](shape at) {
      at[1] = at[1] / n * n + order[static_cast<std::size_t>(at[1] % n)];
      return at;
    };
    return {.from = {}, .to = derived(text_of(bench.about())), .into = {{"x", moved}, {"weight", moved}}};
  }
};

/// Filters may change places within their group, and whole groups with their channels too.
struct filter_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    bench.require(c.weight[0] > 1);
    const auto groups = bench.permutation(c.groups), filters = bench.permutation(c.filters);
    const auto moved = [groups, filters](index_t k) {
      const auto n = static_cast<index_t>(filters.size());
      return groups[static_cast<std::size_t>(k / n)] * n + filters[static_cast<std::size_t>(k % n)];
    };
    const auto along = [moved](int axis) {
      return [moved, axis](shape at) {
        at[axis] = moved(at[axis]);
        return at;
      };
    };
    const auto channel = [groups, n = c.channels](shape at) {
      at[1] = groups[static_cast<std::size_t>(at[1] / n)] * n + at[1] % n;
      return at;
    };
    return {.from = {},
            .to = derived(text_of(bench.about())),
            .into = {{"x", channel}, {"weight", along(0)}, {"bias", along(0)}, {"y", along(1)}}};
  }
};

/// Groups are one convolution whose filters are zero outside their own block of channels.
struct groups_as_blocks {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    problem text = text_of(bench.about());
    shape weight = c.weight;
    weight[1] = c.x[1];
    text.set("weight", to_string(weight));
    text.set("groups", "1");
    const auto block = [filters = c.filters, channels = c.channels](shape at) {
      at[1] += at[0] / filters * channels;
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"weight", block}}};
  }
};

/// A dilated filter is a filter with zeros between its taps.
struct dilation_as_zeros {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    problem text = text_of(bench.about());
    shape weight = c.weight;
    for (int axis = 0; axis < c.rank; ++axis)
      weight[2 + axis] = (weight[2 + axis] - 1) * c.dilation(axis) + 1;
    text.set("weight", to_string(weight));
    text.set("dilation", "1");
    const auto spread = [dilations = c.dilations](shape at) {
      for (std::size_t i = 0; i < dilations.size(); ++i) at[2 + static_cast<int>(i)] *= dilations[i];
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"weight", spread}}};
  }
};

/// A stride keeps every stride-th output of the convolution with stride 1.
struct stride_as_subsampling {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    problem text = text_of(bench.about());
    text.set("stride", "1");
    const auto spread = [strides = c.strides](shape at) {
      for (std::size_t i = 0; i < strides.size(); ++i) at[2 + static_cast<int>(i)] *= strides[i];
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"y", spread}}};
  }
};

/// Padding is an input with zeros around it.
struct padding_as_zeros {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    problem text = text_of(bench.about());
    shape x = c.x;
    for (std::size_t i = 0; i < c.before.size(); ++i) x[2 + static_cast<int>(i)] += c.before[i] + c.after[i];
    text.set("x", to_string(x));
    text.set("pad", "0");
    const auto inner = [before = c.before](shape at) {
      for (std::size_t i = 0; i < before.size(); ++i) at[2 + static_cast<int>(i)] += before[i];
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"x", inner}}};
  }
};

/// flip=true is the same with the filter reversed.
struct flip_as_reversal {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    problem text = text_of(bench.about());
    text.set("flip", c.flip ? "false" : "true");
    const auto reversed = [weight = c.weight](shape at) {
      for (int axis = 2; axis < weight.rank(); ++axis) at[axis] = weight[axis] - 1 - at[axis];
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"weight", reversed}}};
  }
};

/// A filter with one more row of zero taps, a channel or a filter more: what was there stays as it was.
struct extension_by_zeros {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    problem text = text_of(bench.about());
    shape x = c.x, weight = c.weight;
    const int axis = static_cast<int>(bench.between(0, c.rank - 1));
    const index_t taps = bench.between(c.groups > 1 ? 1 : 0, 2);
    auto after = c.after;
    after[static_cast<std::size_t>(axis)] += taps * c.dilation(axis);
    weight[2 + axis] += taps;
    if (c.groups == 1) {
      const index_t channels = bench.between(0, 2);
      x[1] += channels;
      weight[1] += channels;
      weight[0] += bench.between(1, 3);
    }
    const auto tap = [axis, first = c.flip ? taps : 0](shape at) {
      at[2 + axis] += first;
      return at;
    };
    if (bench.about().present("bias")) text.set("bias", std::to_string(weight[0]));
    text.set("pad", sides_text(c.before, after));
    text.set("x", to_string(x));
    text.set("weight", to_string(weight));
    return {.from = {}, .to = derived(text), .into = {{"weight", tap}}};
  }
};

/// The axes of space are alike: exchange two of them everywhere.
struct axes_exchanged {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    conv_numbers c(bench.about());
    const int a = static_cast<int>(bench.between(0, c.rank - 2)),
              b = static_cast<int>(bench.between(a + 1, c.rank - 1));
    const auto exchange = [a, b](auto& list) {
      std::swap(list[static_cast<std::size_t>(a)], list[static_cast<std::size_t>(b)]);
    };
    const auto exchanged = [a, b](shape at) {
      std::swap(at[2 + a], at[2 + b]);
      return at;
    };
    for (auto* list : {&c.strides, &c.dilations, &c.before, &c.after}) exchange(*list);
    problem text = text_of(bench.about());
    text.set("x", to_string(exchanged(c.x)));
    text.set("weight", to_string(exchanged(c.weight)));
    text.set("stride", per_axis_text(c.strides));
    text.set("dilation", per_axis_text(c.dilations));
    text.set("pad", sides_text(c.before, c.after));
    return {
        .from = {}, .to = derived(text), .into = {{"x", exchanged}, {"weight", exchanged}, {"y", exchanged}}};
  }
};

/// A 1×1 filter is a matrix that multiplies the channels of every position: the layer `linear`.
struct pointwise_as_linear {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const conv_numbers c(bench.about());
    shape weight{c.weight[0], c.x[1]};
    for (int axis = 0; axis < c.rank; ++axis) weight.push_back(1);
    problem text = text_of(bench.about());
    text.set("weight", to_string(weight));
    for (const char* one : {"stride", "dilation", "groups"}) text.set(one, "1");
    text.set("pad", "0");
    index_t positions = 1;
    for (int axis = 2; axis < c.x.rank(); ++axis) positions *= c.x[axis];
    bench.require(c.x[0] * positions * c.weight[0] * c.x[1] <= 1 << 17);
    problem matrix("linear");
    matrix.set("x", to_string(shape{c.x[0] * positions, c.x[1]}));
    matrix.set("weight", to_string(shape{weight[0], weight[1]}));
    if (bench.about().present("bias")) matrix.set("bias", std::to_string(weight[0]));
    const auto row = [x = c.x](const shape& at) {
      index_t r = at[0];
      for (int axis = 2; axis < at.rank(); ++axis) r = r * x[axis] + at[axis];
      return shape{r, at[1]};
    };
    const auto entry = [](const shape& at) { return shape{at[0], at[1]}; };
    return {
        .from = derived(text), .to = derived(matrix), .into = {{"x", row}, {"y", row}, {"weight", entry}}};
  }
};

// Formulas ---------------------------------------------------------------------------------------------

/// A grouped convolution is its groups side by side, each a convolution of its own.
template <class T>
void groups_side_by_side(lab<T>& bench) {
  const layer& l = bench.about();
  const conv_numbers c(l);
  problem text = text_of(l);
  shape x = c.x, weight = c.weight;
  x[1] = c.channels;
  weight[0] = c.filters;
  text.set("x", to_string(x));
  text.set("weight", to_string(weight));
  if (l.present("bias")) text.set("bias", std::to_string(c.filters));
  text.set("groups", "1");
  const auto part = derived(text);
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto whole = bench.run(l, reads);
  /// Where group g of a tensor begins: on which axis, at which place.
  const auto begin = [&](std::string_view tensor, index_t g) {
    const std::string& name = base_name(l, tensor);
    return name == "x" ? std::pair(1, g * c.channels) : std::pair(name == "y" ? 1 : 0, g * c.filters);
  };
  for (index_t g = 0; g < c.groups; ++g) {
    tensor_set<T> slice = make_tensors<T>(*part, bench.pass().reads);
    for (auto& e : slice.entries())
      for_each_index(e.extents(), [&](const shape& at) {
        const auto [axis, first] = begin(e.name, g);
        shape there = at;
        there[axis] += first;
        e.real.view()(at) = reads[e.name].view()(there);
      });
    const auto alone = bench.run(*part, slice);
    for (const auto& e : alone.entries())
      for_each_index(e.extents(), [&](const shape& at) {
        const auto [axis, first] = begin(e.name, g);
        shape there = at;
        there[axis] += first;
        bench.claim_equal(e.name, there, whole[e.name].view()(there), e.real.view()(at));
      });
  }
}

/// The third of (h, p, r) on every axis with h + pad = p·stride + r·dilation, from the two that are given as
/// coordinates behind the first two; -1 on any axis: there is none.
struct meeting {
  const conv_numbers& c;

  static index_t whole(index_t a, index_t b) { return a >= 0 && a % b == 0 ? a / b : -1; }
  index_t tap(int axis, index_t h, index_t p) const {
    const index_t r = whole(h + c.pad(axis) - p * c.stride(axis), c.dilation(axis));
    return r >= 0 && r < c.weight[2 + axis] ? (c.flip ? c.weight[2 + axis] - 1 - r : r) : -1;
  }
  index_t output(int axis, index_t h, index_t r) const {
    if (c.flip) r = c.weight[2 + axis] - 1 - r;
    const index_t p = whole(h + c.pad(axis) - r * c.dilation(axis), c.stride(axis));
    return p < c.y[2 + axis] ? p : -1;
  }
};

/// A single 1 in the first operand reads the second operand out, at the place where the two meet.
template <class T>
void impulse(lab<T>& bench) {
  const layer& l = bench.about();
  const conv_numbers c(l);
  const meeting meet{c};
  tensor_set<T> reads = bench.reads(l, bench.pass());
  const std::string one = bench.pass().reads[0], other = bench.pass().reads[1];
  bench.require(reads[one].size() > 0);
  if (reads.has("bias")) std::ranges::fill(reads["bias"].values(), T(0));
  std::ranges::fill(reads[one].values(), T(0));
  const index_t place = bench.between(0, reads[one].size() - 1);
  reads[one][place] = T(1);
  const shape hot = unflatten(place, reads[one].extents());
  const auto writes = bench.run(l, reads);
  const auto& e = writes.entries().front();
  bench.claim_all(e.name, e.real, [&](const shape& at) {
    shape there = at;  // coordinates in the other operand
    bool met = false;
    if (bench.pass().name == "forward") {  // hot: x[n,c,h], at: y[n,k,p], there: weight[k,c,r]
      met = at[0] == hot[0] && c.group_of_filter(at[1]) == hot[1] / c.channels;
      there[0] = at[1], there[1] = hot[1] % c.channels;
      for (int axis = 0; axis < c.rank; ++axis) there[2 + axis] = meet.tap(axis, hot[2 + axis], at[2 + axis]);
    } else if (bench.pass().name == "backward_data") {  // hot: dy[n,k,p], at: dx[n,c,h], there: weight
      met = at[0] == hot[0] && c.group_of_filter(hot[1]) == at[1] / c.channels;
      there[0] = hot[1], there[1] = at[1] % c.channels;
      for (int axis = 0; axis < c.rank; ++axis) there[2 + axis] = meet.tap(axis, at[2 + axis], hot[2 + axis]);
    } else {  // hot: dy[n,k,p], at: dweight[k,c,r], there: x[n,c,h]
      met = at[0] == hot[1];
      there[0] = hot[0], there[1] = c.group_of_filter(at[0]) * c.channels + at[1];
      for (int axis = 0; axis < c.rank; ++axis) {
        const index_t r = c.flip ? c.weight[2 + axis] - 1 - at[2 + axis] : at[2 + axis];
        there[2 + axis] = hot[2 + axis] * c.stride(axis) - c.pad(axis) + r * c.dilation(axis);
      }
    }
    const tensor<T>& read = reads[other];
    for (int axis = 2; axis < there.rank(); ++axis)
      met = met && there[axis] >= 0 && there[axis] < read.extents()[axis];
    return known<T>(met ? read.view()(there) : T(0));
  });
}

/// The transposed convolution scatters: every dy adds its filter, scaled, onto dx.
template <class T>
void scatter(lab<T>& bench) {
  const layer& l = bench.about();
  const conv_numbers c(l);
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  tensor<T> dx(c.x);
  for_each_index(c.y, [&](const shape& out) {
    for_each_index(c.weight, [&](const shape& tap) {
      if (tap[0] != out[1]) return;
      shape cell{out[0], c.group_of_filter(out[1]) * c.channels + tap[1]};
      for (int axis = 0; axis < c.rank; ++axis) {
        const index_t r = c.flip ? c.weight[2 + axis] - 1 - tap[2 + axis] : tap[2 + axis];
        cell.push_back(out[2 + axis] * c.stride(axis) - c.pad(axis) + r * c.dilation(axis));
        if (cell[2 + axis] < 0 || cell[2 + axis] >= c.x[2 + axis]) return;
      }
      dx.view()(cell) += reads["dy"].view()(out) * reads["weight"].view()(tap);
    });
  });
  const auto writes = bench.run(l, reads);
  bench.claim_all("dx", writes["dx"], [&](const shape& at) { return known<T>(dx.view()(at)); });
}

template <class T>
tensor<T> first_two_axes_exchanged(const tensor<T>& t) {
  shape extents = t.extents();
  std::swap(extents[0], extents[1]);
  tensor<T> result(extents);
  for_each_index(extents, [&](const shape& at) {
    shape there = at;
    std::swap(there[0], there[1]);
    result.view()(at) = t.view()(there);
  });
  return result;
}

/// The gradient of the weights is itself a convolution: of x, its samples taken for channels, with dy as the
/// filter; stride and dilation change places. Either pass may be the kernel's.
template <class T>
void weight_gradient_as_convolution(lab<T>& bench) {
  const layer& l = bench.about();
  const conv_numbers c(l);
  bench.require(c.x[0] > 0);
  problem text = text_of(l), swapped(l.name());
  text.set("flip", "false");
  const auto plain = derived(text);
  const tensor_set<T> in = bench.inputs(*plain);
  const pass_spec* pass = plain->find_pass("backward_weights");
  tensor_set<T> reads = bench.reads(*plain, *pass, in), crossed;
  crossed.add("x", first_two_axes_exchanged(reads["x"]));
  crossed.add("weight", first_two_axes_exchanged(reads["dy"]));
  swapped.set("x", to_string(crossed["x"].extents()));
  swapped.set("weight", to_string(crossed["weight"].extents()));
  swapped.set("stride", per_axis_text(c.dilations));
  swapped.set("dilation", per_axis_text(c.strides));
  swapped.set("pad", sides_text(c.before, c.after));
  const auto gradient = bench.run(*plain, "backward_weights", reads);
  const auto convolution = bench.run(*derived(swapped), "forward", crossed);
  bench.claim_all("dweight", gradient["dweight"], [&](const shape& at) {
    shape there = at;
    std::swap(there[0], there[1]);
    return convolution["y"].view()(there);
  });
}

/// Every map of a tensor as a polynomial in one z for each axis (z, z², z³), evaluated: Σ t[a,b,i,j,…]·z^(i + 2j + …).
template <class N, class T>
std::vector<N> generating_values(const tensor<N>& t, const T& z) {
  std::vector<N> values(static_cast<std::size_t>(t.extents()[0] * t.extents()[1]), N(T(0)));
  for_each_index(t.extents(), [&](const shape& at) {
    T power(1);
    for (int axis = 2; axis < at.rank(); ++axis)
      for (index_t i = 0; i < at[axis] * (axis - 1); ++i) power = power * z;
    values[static_cast<std::size_t>(at[0] * t.extents()[1] + at[1])] += power * t.view()(at);
  });
  return values;
}

/// The convolution theorem at one point: with all the padding there can be, polynomials multiply, Y(z) = Σ_c X(z)·W(z).
/// Powers of two keep every number exact; where the axes are too long for that, z is -1.
template <class T>
void convolution_theorem(lab<T>& bench) {
  const conv_numbers c(bench.about());
  problem text = text_of(bench.about());
  std::vector<index_t> room;
  for (int axis = 0; axis < c.rank; ++axis) room.push_back(c.weight[2 + axis] - 1);
  for (const char* plain : {"stride", "dilation"}) text.set(plain, "1");
  text.set("padding", "explicit");
  text.set("pad", sides_text(room, room));
  text.set("flip", "true");
  text.erase("bias");
  const auto full = derived(text);
  index_t degree = 0;
  for (int axis = 0; axis < c.rank; ++axis) degree += (axis + 1) * (full->shapes()["y"][2 + axis] - 1);
  const T z = degree <= 30 ? T(2) : T(-1);
  const tensor_set<T> in = bench.inputs(*full);
  const auto x = generating_values(in["x"], z), w = generating_values(in["weight"], z);
  const auto y = generating_values(bench.run(*full, in)["y"], z);
  const index_t K = c.weight[0], C = c.x[1];
  for (index_t n = 0; n < c.x[0]; ++n)
    for (index_t k = 0; k < K; ++k) {
      T sum(0);
      for (index_t i = 0; i < c.channels; ++i)
        sum += x[static_cast<std::size_t>(n * C + c.group_of_filter(k) * c.channels + i)] *
               w[static_cast<std::size_t>(k * c.channels + i)];
      bench.claim_equal("Y(z)", shape{n, k}, y[static_cast<std::size_t>(n * K + k)], known<T>(sum));
    }
}

/// The bias adds b[k] to every output of filter k, and nothing else.
template <class T>
void bias_adds(lab<T>& bench) {
  const layer& l = bench.about();
  problem text = text_of(l);
  text.erase("bias");
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  tensor_set<T> rest;
  for (const auto& e : reads.entries())
    if (e.name != "bias") rest.entries().push_back(e);
  const auto with = bench.run(l, reads), without = bench.run(*derived(text), rest);
  bench.claim_all("y", with["y"],
                  [&](const shape& at) { return without["y"].view()(at) + known<T>(reads["bias"][at[1]]); });
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

bool several_groups_without_bias_pass(const layer& l, const pass_spec& pass) {
  return grouped(l, pass) && not_bias(l, pass);
}
bool one_group_forward_or_weights(const layer& l, const pass_spec& pass) {
  return !grouped(l, pass) && (is_forward(pass) || pass.name == "backward_weights");
}
bool forward_with_bias(const layer& l, const pass_spec& pass) {
  return is_forward(pass) && l.present("bias");
}

}  // namespace
}  // namespace conv_family

std::vector<law> conv_laws() {
  using namespace conv_family;
  const auto as_embedding = [](auto... arguments) { return state_embedding(std::move(arguments)...); };
  return {
      as_embedding("conv.translation", "zeros put before the input, stride at a time, move the output",
                   any_pass, translation()),
      as_embedding("conv.channel_permutation", "input channels may change places in x and filter", not_bias,
                   channel_permutation()),
      as_embedding("conv.filter_permutation", "filters and groups may change places", any_pass,
                   filter_permutation()),
      as_embedding("conv.groups_as_blocks", "groups = one group with a block-diagonal filter",
                   several_groups_without_bias_pass, groups_as_blocks()),
      state("conv.groups_side_by_side", "groups = concatenated convolutions", grouped,
            [](auto& bench) { groups_side_by_side(bench); }),
      as_embedding("conv.dilation", "dilation = zeros between the taps", dilated, dilation_as_zeros()),
      as_embedding("conv.stride", "stride = subsampled convolution of stride 1", strided,
                   stride_as_subsampling()),
      as_embedding("conv.padding", "padding = zeros around the input", padded, padding_as_zeros()),
      as_embedding("conv.flip", "flip = reversed filter", not_bias, flip_as_reversal()),
      state("conv.theorem", "full convolution multiplies polynomials: Y(z) = sum of X(z) W(z)",
            only("forward"), [](auto& bench) { convolution_theorem(bench); }),
      as_embedding("conv.extension", "zero taps, channels and filters change nothing else", not_bias,
                   extension_by_zeros()),
      as_embedding("conv.axes", "two axes of space may change places", of_several_axes, axes_exchanged()),
      as_embedding("conv.pointwise", "1x1 convolution = matrix product (linear)", any_pass,
                   pointwise_as_linear()),
      state("conv.impulse", "a single 1 reads the other operand out", not_bias,
            [](auto& bench) { impulse(bench); }),
      state("conv.transposed", "backward_data scatters the filter, scaled by dy", only("backward_data"),
            [](auto& bench) { scatter(bench); }),
      state("conv.weight_gradient", "dweight = convolution of x with dy, stride and dilation exchanged",
            one_group_forward_or_weights, [](auto& bench) { weight_gradient_as_convolution(bench); }),
      state("conv.bias", "y = y without bias + b[k]", forward_with_bias,
            [](auto& bench) { bias_adds(bench); }),
      state("conv.bias_gradient", "dbias[k] = sum of dy", only("backward_bias"),
            [](auto& bench) { bias_gradient_sums(bench); }),
  };
}

}  // namespace plumb
