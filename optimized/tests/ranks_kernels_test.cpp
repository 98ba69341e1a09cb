// The kernels of one and three spatial axes, against what the two-dimensional ones are tested against: direct
// sums written here with one index for each axis. Integers, so the comparison is bit for bit.
#include <gtest/gtest.h>

#include <random>

#include "optimized/tests/kernel_bench.hpp"

namespace plumb::testing {
namespace {

values<float> integers(const shape& s, unsigned seed) {
  std::mt19937 random(seed);
  values<float> v(s);
  for (float& value : v.flat) value = static_cast<float>(static_cast<int>(random() % 15) - 7);
  return v;
}

using triple = std::array<index_t, 3>;

/// A convolution or pooling of rank 1 or 3; of the triples (depth, height, width) rank 1 uses the last.
struct volume_case {
  int rank;
  index_t n, c, k;
  triple in, window, stride, before, after, dilation;
  index_t groups = 1;

  index_t out(std::size_t i) const {
    return (in[i] + before[i] + after[i] - dilation[i] * (window[i] - 1) - 1) / stride[i] + 1;
  }
  shape sized(index_t a, index_t b, const triple& t) const {
    shape s{a, b};
    for (std::size_t i = 3 - static_cast<std::size_t>(rank); i < 3; ++i) s.push_back(t[i]);
    return s;
  }
  triple outputs() const { return {out(0), out(1), out(2)}; }
  std::string list(const triple& t) const {
    return rank == 1 ? std::to_string(t[2]) : to_string(shape{t[0], t[1], t[2]});
  }
  std::string sides() const {
    std::string text;
    for (std::size_t i = 3 - static_cast<std::size_t>(rank); i < 3; ++i)
      text += (text.empty() ? "" : ",") + std::to_string(before[i]) + "," + std::to_string(after[i]);
    return text;
  }
  /// Calls f(flat output, flat input, flat tap) for every pair that meets.
  template <class F>
  void for_each_meeting(F&& f) const {
    const triple o = outputs();
    for_each_index(shape{o[0], o[1], o[2], window[0], window[1], window[2]}, [&](const shape& at) {
      triple i{};
      for (int axis = 0; axis < 3; ++axis) {
        const auto a = static_cast<std::size_t>(axis);
        i[a] = at[axis] * stride[a] - before[a] + at[3 + axis] * dilation[a];
        if (i[a] < 0 || i[a] >= in[a]) return;
      }
      f((at[0] * o[1] + at[1]) * o[2] + at[2], (i[0] * in[1] + i[1]) * in[2] + i[2],
        (at[3] * window[1] + at[4]) * window[2] + at[5]);
    });
  }
};

std::vector<volume_case> cases() {
  return {
      {1, 2, 4, 6, {1, 1, 11}, {1, 1, 3}, {1, 1, 2}, {0, 0, 1}, {0, 0, 1}, {1, 1, 2}, 2},
      {1, 1, 3, 3, {1, 1, 5}, {1, 1, 2}, {1, 1, 3}, {0, 0, 0}, {0, 0, 0}, {1, 1, 1}, 3},
      {3, 2, 4, 4, {3, 5, 4}, {2, 3, 1}, {1, 2, 3}, {0, 1, 0}, {1, 1, 0}, {2, 1, 1}, 2},
      {3, 1, 1, 2, {4, 3, 6}, {3, 2, 2}, {2, 1, 1}, {1, 0, 1}, {1, 0, 1}, {1, 2, 3}},
  };
}

/// What the convolution computes, of which the transposed one is the adjoint.
struct conv_results {
  const values<float>&y, &dx, &dw;
};

/// The transposed convolution of dy is dx, its backward-data of x is y without the bias, its dweight the same.
void compare_transposed(const volume_case& t, problem p, const values<float>& x, const values<float>& dy,
                        const values<float>& w, const values<float>& bias, const conv_results& conv) {
  const auto with_bias = [](values<float> v, float sign, const values<float>& b) {
    const index_t plane = v.extents.size() / (v.extents[0] * v.extents[1]);
    for (index_t i = 0; i < v.extents.size(); ++i) v[i] += sign * b[i / plane % v.extents[1]];
    return v;
  };
  const auto added = integers(shape{t.c}, 9);
  const values<float> y = with_bias(conv.dx, 1, added), plain = with_bias(conv.y, -1, bias);
  problem transposed(t.rank == 1 ? "conv_transpose1d" : "conv_transpose3d");
  for (const char* same : {"weight", "stride", "pad", "dilation", "groups"})
    transposed.set(same, p.text(same));
  transposed.set("x", to_string(dy.extents));
  transposed.set("y", to_string(x.extents));
  transposed.set("bias", std::to_string(t.c));
  transposed.set("output_pad", t.list({0, 0, 0}));
  const auto kernels = kernels_matching(transposed.layer() + ".*");
  ASSERT_FALSE(kernels.empty());
  for (const kernel* k : kernels)
    for (const setting& s : settings()) {
      bench b(*k, transposed, s);
      ASSERT_TRUE(b.supports().ok) << b.supports().reason;
      const bool forward = k->pass == "forward", weights = k->pass == "backward_weights";
      b.read(forward ? dy : x);
      weights ? b.read(dy) : b.read(w, false);
      if (forward) b.read(added, false);
      const values<float>& expected = forward ? y : weights ? conv.dw : plain;
      b.write<float>(expected.extents, !weights);
      b.run();
      ASSERT_EQ(difference(expected, b.result<float>()), "") << k->name << ' ' << transposed.print();
    }
}

TEST(conv_of_other_ranks, agrees_with_direct_sums) {
  for (const volume_case& t : cases()) {
    const index_t cg = t.c / t.groups, kg = t.k / t.groups;
    const triple o = t.outputs();
    const index_t ins = t.in[0] * t.in[1] * t.in[2], outs = o[0] * o[1] * o[2];
    const index_t taps = t.window[0] * t.window[1] * t.window[2];
    const auto x = integers(t.sized(t.n, t.c, t.in), 1), w = integers(t.sized(t.k, cg, t.window), 2);
    const auto bias = integers(shape{t.k}, 3), dy = integers(t.sized(t.n, t.k, o), 4);
    values<float> y(dy.extents), dx(x.extents), dw(w.extents), db(bias.extents);
    for_each_index(shape{t.n, t.k, cg}, [&](const shape& at) {
      const index_t out = (at[0] * t.k + at[1]) * outs, in = (at[0] * t.c + at[1] / kg * cg + at[2]) * ins;
      const index_t filter = (at[1] * cg + at[2]) * taps;
      for (index_t i = 0; i < outs && at[2] == 0; ++i) {
        y[out + i] += bias[at[1]];
        db[at[1]] += dy[out + i];
      }
      t.for_each_meeting([&](index_t a, index_t b, index_t tap) {
        y[out + a] += x[in + b] * w[filter + tap];
        dx[in + b] += dy[out + a] * w[filter + tap];
        dw[filter + tap] += dy[out + a] * x[in + b];
      });
    });

    const std::string layer = t.rank == 1 ? "conv1d" : "conv3d";
    problem p(layer);
    p.set("x", to_string(x.extents));
    p.set("weight", to_string(w.extents));
    p.set("bias", std::to_string(t.k));
    p.set("y", to_string(y.extents));
    p.set("stride", t.list(t.stride));
    p.set("pad", t.sides());
    p.set("dilation", t.list(t.dilation));
    p.set("groups", std::to_string(t.groups));
    p.set("padding", "explicit");
    p.set("fit", "floor");
    p.set("flip", "false");
    const auto kernels = kernels_matching(layer + ".*");
    ASSERT_FALSE(kernels.empty());
    for (const kernel* k : kernels)
      for (const setting& s : settings()) {
        bench b(*k, p, s);
        if (k->name.find("/depthwise@") != std::string::npos && !b.supports().ok) continue;
        ASSERT_TRUE(b.supports().ok) << b.supports().reason;
        b.read(k->pass == "forward" ? x : dy);
        if (k->pass == "forward" || k->pass == "backward_data") b.read(w, false);
        if (k->pass == "forward") b.read(bias);
        if (k->pass == "backward_weights") b.read(x);
        const values<float>& expected = k->pass == "forward"            ? y
                                        : k->pass == "backward_data"    ? dx
                                        : k->pass == "backward_weights" ? dw
                                                                        : db;
        b.write<float>(expected.extents, k->pass != "backward_weights");
        b.run();
        ASSERT_EQ(difference(expected, b.result<float>()), "") << k->name << ' ' << p.print();
      }
    compare_transposed(t, p, x, dy, w, bias, {y, dx, dw});
  }
}

TEST(max_pool_of_other_ranks, agrees_with_a_scan) {
  for (volume_case t : cases()) {
    for (std::size_t i = 0; i < 3; ++i) t.after[i] = t.before[i];
    const triple o = t.outputs();
    const index_t ins = t.in[0] * t.in[1] * t.in[2], outs = o[0] * o[1] * o[2];
    const auto x = integers(t.sized(t.n, t.c, t.in), 1), dy = integers(t.sized(t.n, t.c, o), 4);
    values<float> y(dy.extents), dx(x.extents);
    values<index_t> indices(dy.extents);
    std::fill(indices.flat.begin(), indices.flat.end(), -1);
    for (index_t plane = 0; plane < t.n * t.c; ++plane) {
      t.for_each_meeting([&](index_t a, index_t b, index_t) {
        index_t& winner = indices[plane * outs + a];
        if (winner < 0 || x[plane * ins + b] > x[plane * ins + winner]) winner = b;
      });
      for (index_t a = 0; a < outs; ++a) {
        const index_t winner = indices[plane * outs + a];
        y[plane * outs + a] = x[plane * ins + winner];
        dx[plane * ins + winner] += dy[plane * outs + a];
      }
    }
    const std::string layer = t.rank == 1 ? "max_pool1d" : "max_pool3d";
    problem p(layer);
    p.set("x", to_string(x.extents));
    p.set("y", to_string(y.extents));
    p.set("indices", to_string(y.extents));
    p.set("window", t.list(t.window));
    p.set("stride", t.list(t.stride));
    p.set("pad", t.list(t.before));
    p.set("dilation", t.list(t.dilation));
    p.set("ceil_mode", "false");
    for (const setting& s : settings()) {
      for (const kernel* k : kernels_matching(layer + ".forward/*")) {
        bench b(*k, p, s);
        b.read(x);
        b.write<float>(y.extents);
        b.write<index_t>(y.extents);
        b.run();
        ASSERT_EQ(difference(y, b.result<float>(0)), "") << k->name << ' ' << p.print();
        ASSERT_EQ(difference(indices, b.result<index_t>(1)), "") << k->name << ' ' << p.print();
      }
      for (const kernel* k : kernels_matching(layer + ".backward/*")) {
        bench b(*k, p, s);
        b.read(dy);
        b.read(indices);
        b.write<float>(x.extents);
        b.run();
        ASSERT_EQ(difference(dx, b.result<float>()), "") << k->name << ' ' << p.print();
      }
    }
  }
}

}  // namespace
}  // namespace plumb::testing
