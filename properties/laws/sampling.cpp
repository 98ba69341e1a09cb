// Laws of grid_sample2d and roi_align2d: places that name cells give cells, and the image may be turned
// together with its coordinates.
#include "properties/laws/embedding.hpp"

namespace plumb {
namespace sampling_family {
namespace {

bool with_attribute(const layer& l, std::string_view key, std::string_view value) {
  const problem::field* f = l.resolved().find(key);
  return f != nullptr && f->value == value;
}
bool aligned(const layer& l) { return with_attribute(l, "align_corners", "true"); }
bool bilinear(const layer& l, const pass_spec& p) {
  return is_forward(p) && with_attribute(l, "mode", "bilinear");
}
bool reflects(const layer& l, const pass_spec& p) {
  return is_forward(p) && with_attribute(l, "padding", "reflection");
}
bool does_not_reflect(const layer& l, const pass_spec& p) {
  return is_forward(p) && !with_attribute(l, "padding", "reflection");
}

// grid_sample2d ---------------------------------------------------------------------------------------------

/// The grid of the cells' own places gives x back. The image is made so large that these are exact in binary.
template <class T>
void own_grid(lab<T>& bench) {
  const layer& l = bench.about();
  const bool corners = aligned(l);
  const auto exact = [&] { return (index_t{1} << bench.between(0, 3)) + (corners ? 1 : 0); };
  const shape x{l.shapes()["x"][0], std::min<index_t>(3, l.shapes()["x"][1]), exact(), exact()};
  problem text = spelled_out(l);
  text.set("x", to_string(x));
  text.set("grid", to_string(shape{x[0], x[2], x[3], 2}));
  const auto with = derived(text);
  tensor_set<T> reads = of_x(bench.numbers(x));
  tensor<T>& grid = reads.add("grid", tensor<T>(with->shapes()["grid"]));
  for_each_index(grid.extents(), [&](const shape& at) {
    const index_t i = at[2 - at[3]], extent = x[3 - at[3]];
    grid.view()(at) = corners ? T(2 * i) / T(extent - 1) - T(1) : T(2 * i + 1) / T(extent) - T(1);
  });
  const auto y = bench.run(*with, reads);
  bench.claim_all("y", y["y"], [&](const shape& at) { return known<T>(reads["x"].view()(at)); });
}

/// Outputs look each at their own place: they may change places with those.
struct place_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const shape& grid = bench.about().shapes()["grid"];
    bench.require(grid[1] * grid[2] > 1);
    const auto rows = bench.permutation(grid[1]), columns = bench.permutation(grid[2]);
    const auto moved = [rows, columns](int first) {
      return [rows, columns, first](shape at) {
        at[first] = rows[static_cast<std::size_t>(at[first])];
        at[first + 1] = columns[static_cast<std::size_t>(at[first + 1])];
        return at;
      };
    };
    return {
        .from = {}, .to = derived(spelled_out(bench.about())), .into = {{"grid", moved(1)}, {"y", moved(2)}}};
  }
};

/// A transposed image is sampled alike where its coordinates are exchanged.
struct transposition {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    shape x = bench.about().shapes()["x"];
    std::swap(x[2], x[3]);
    problem text = spelled_out(bench.about());
    text.set("x", to_string(x));
    const auto image = [](shape at) {
      std::swap(at[2], at[3]);
      return at;
    };
    const auto coordinate = [](shape at) {
      at[3] = 1 - at[3];
      return at;
    };
    return {.from = {}, .to = derived(text), .into = {{"x", image}, {"grid", coordinate}}};
  }
};

/// A mirrored image is sampled alike where its coordinate changes sign.
template <class T>
void mirror(lab<T>& bench) {
  const layer& l = bench.about();
  const int axis = 2 + static_cast<int>(bench.between(0, 1));
  tensor_set<T> reads = bench.inputs(l), mirrored = reads;
  const shape& extents = l.shapes()["x"];
  for_each_index(extents, [&](shape at) {
    const T value = reads["x"].view()(at);
    at[axis] = extents[axis] - 1 - at[axis];
    mirrored["x"].view()(at) = value;
  });
  for (index_t i = 3 - axis; i < mirrored["grid"].size(); i += 2) mirrored["grid"][i] = -mirrored["grid"][i];
  const auto y = bench.run(l, reads), z = bench.run(l, mirrored);
  bench.claim_all("y", y["y"], [&](const shape& at) { return z["y"].view()(at); });
}

/// The mirrored image repeats every two lengths, which is 4 in the grid's units.
template <class T>
void reflection_repeats(lab<T>& bench) {
  const layer& l = bench.about();
  tensor_set<T> reads = bench.inputs(l), far = reads;
  const T turns(4 * bench.between(-2, 2));
  for (T& g : far["grid"].values()) g += turns;
  const auto y = bench.run(l, reads), z = bench.run(l, far);
  bench.claim_all("y", y["y"], [&](const shape& at) { return z["y"].view()(at); });
}

/// Far outside there are zeros, or the corner of the image that is nearest.
template <class T>
void far_outside(lab<T>& bench) {
  const layer& l = bench.about();
  const shape& x = l.shapes()["x"];
  tensor_set<T> reads = bench.inputs(l);
  std::vector<bool> high;
  for (T& g : reads["grid"].values()) {
    high.push_back(bench.between(0, 1) == 1);
    g = T(high.back() ? bench.between(4, 9) : bench.between(-9, -4));
  }
  const auto y = bench.run(l, reads);
  const shape& grid = l.shapes()["grid"];
  bench.claim_all("y", y["y"], [&](const shape& at) {
    if (with_attribute(l, "padding", "zeros")) return known<T>(T(0));
    const auto place = static_cast<std::size_t>(2 * ((at[0] * grid[1] + at[2]) * grid[2] + at[3]));
    return known<T>(
        reads["x"].view()(at[0], at[1], high[place + 1] ? x[2] - 1 : 0, high[place] ? x[3] - 1 : 0));
  });
}

// roi_align2d -----------------------------------------------------------------------------------------------

/// The problem with one box, x as it is; more attributes follow.
problem with_one_box(const layer& l) {
  problem text = spelled_out(l);
  text.set("boxes", "1x4");
  text.set("batch", "1");
  text.set("spatial_scale", "1");
  return text;
}

/// The box around the whole of one sample.
template <class T>
tensor_set<T> around_all(lab<T>& bench, const layer& l, index_t sample) {
  const shape& x = l.shapes()["x"];
  tensor_set<T> reads = of_x(bench.numbers(x));
  reads.add("boxes", tensor<T>(shape{1, 4}, {T(0), T(0), T(x[3]), T(x[2])}));
  reads.add_indices("batch", tensor<index_t>(shape{1}, sample));
  return reads;
}

/// Cut into as many bins as there are cells, one sample each, the image is itself.
template <class T>
void every_bin_a_cell(lab<T>& bench) {
  const shape& x = bench.about().shapes()["x"];
  problem text = with_one_box(bench.about());
  text.set("size", to_string(shape{x[2], x[3]}));
  text.set("sampling_ratio", "1");
  text.set("aligned", "true");
  const auto with = derived(text);
  const index_t sample = bench.between(0, x[0] - 1);
  const tensor_set<T> reads = around_all(bench, *with, sample);
  const auto y = bench.run(*with, reads);
  bench.claim_all("y", y["y"], [&](const shape& at) {
    // Half cells are rounded off like numbers of the size of the image.
    const double slack = y["y"].view()(at).slack * static_cast<double>(x[2] + x[3]);
    return known<T>(reads["x"].view()(sample, at[1], at[2], at[3]), slack);
  });
}

/// Inside a constant image every bin has that value.
template <class T>
void constant_image(lab<T>& bench) {
  const auto with = derived(with_one_box(bench.about()));
  tensor_set<T> reads = around_all(bench, *with, 0);
  const T value(bench.between(1, 9));
  std::ranges::fill(reads["x"].values(), value);
  const auto y = bench.run(*with, reads);
  bench.claim_all("y", y["y"], [&](const shape&) { return known<T>(value); });
}

/// All that a box inside the image gets it deals out: Σ dx = Σ dy.
template <class T>
void mass(lab<T>& bench) {
  const auto with = derived(with_one_box(bench.about()));
  tensor_set<T> reads = around_all(bench, *with, bench.between(0, bench.about().shapes()["x"][0] - 1));
  const tensor<T>& dy = reads.add("dy", bench.numbers(with->shapes()["y"]));
  const auto writes = bench.run(*with, reads);
  known<T> in, out;
  for (const T& v : dy.values()) in += known<T>(v);
  for (const known<T>& v : writes["dx"].values()) out += v;
  bench.claim_equal("sum of dx and sum of dy", {}, out, in);
}

/// Boxes are independent: they may change places, and so may channels.
struct box_permutation {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const shape &boxes = bench.about().shapes()["boxes"], &x = bench.about().shapes()["x"];
    bench.require(boxes[0] > 1 || x[1] > 1);
    const auto order = bench.permutation(boxes[0]), channels = bench.permutation(x[1]);
    const auto box = [order](shape at) {
      at[0] = order[static_cast<std::size_t>(at[0])];
      return at;
    };
    const auto channel = [channels](shape at) {
      at[1] = channels[static_cast<std::size_t>(at[1])];
      return at;
    };
    return {.from = {},
            .to = derived(spelled_out(bench.about())),
            .into = {{"boxes", box}, {"batch", box}, {"x", channel}, {"y", [box, channel](shape at) {
                                                                        return channel(box(at));
                                                                      }}}};
  }
};

}  // namespace
}  // namespace sampling_family

std::vector<law> grid_sample_laws() {
  using namespace sampling_family;
  return {
      state("grid_sample.own_grid", "the grid of the cells' own places gives x back", only("forward"),
            [](auto& bench) { own_grid(bench); }),
      state_embedding("grid_sample.permutation", "outputs may change places with their coordinates", any_pass,
                      place_permutation()),
      state_embedding("grid_sample.transposition", "a transposed image, coordinates exchanged", any_pass,
                      transposition()),
      state("grid_sample.mirror", "a mirrored image, coordinates negated", bilinear,
            [](auto& bench) { mirror(bench); }),
      state("grid_sample.period", "reflection repeats after 4", reflects,
            [](auto& bench) { reflection_repeats(bench); }),
      state("grid_sample.outside", "far outside are zeros, or the nearest corner", does_not_reflect,
            [](auto& bench) { far_outside(bench); }),
  };
}

std::vector<law> roi_align_laws() {
  using namespace sampling_family;
  return {
      state("roi_align.cells", "a bin for every cell gives the image", only("forward"),
            [](auto& bench) { every_bin_a_cell(bench); }),
      state("roi_align.constant", "a constant image gives constant bins", only("forward"),
            [](auto& bench) { constant_image(bench); }),
      state("roi_align.mass", "the sum of dx is the sum of dy inside the image", only("backward"),
            [](auto& bench) { mass(bench); }),
      state_embedding("roi_align.permutation", "boxes and channels may change places", any_pass,
                      box_permutation()),
  };
}

}  // namespace plumb
