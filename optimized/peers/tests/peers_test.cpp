// The peers against naive loops written here, on small integers, where every order of summation gives the
// same bits. It is our glue that is on trial: axes, groups, dilation, padding sides, layouts, packed weights,
// empty outputs, what is declined. The vendors' own arithmetic is judged by `plumb verify`.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "optimized/tests/kernel_bench.hpp"

namespace plumb::testing {
namespace {

/// A convolution of one to three spatial axes, one entry an axis.
struct peer_case {
  index_t n, c, k, groups;
  std::vector<index_t> in, taps, stride, begin, end, dilation;
  bool bias = true;

  std::size_t rank() const { return in.size(); }
  index_t out(std::size_t i) const {
    return (in[i] + begin[i] + end[i] - dilation[i] * (taps[i] - 1) - 1) / stride[i] + 1;
  }
  shape with(index_t a, index_t b, const std::vector<index_t>& spatial) const {
    shape s{a, b};
    for (const index_t extent : spatial) s.push_back(extent);
    return s;
  }
  shape x() const { return with(n, c, in); }
  shape weight() const { return with(k, c / groups, taps); }
  shape y() const {
    std::vector<index_t> spatial;
    for (std::size_t i = 0; i < rank(); ++i) spatial.push_back(out(i));
    return with(n, k, spatial);
  }

  problem text() const {
    problem p("conv" + std::to_string(rank()) + "d");
    p.set("x", to_string(x()));
    p.set("weight", to_string(weight()));
    if (bias) p.set("bias", std::to_string(k));
    p.set("y", to_string(y()));
    const auto list = [](const std::vector<index_t>& v) {
      return to_string(shape(std::span<const index_t>(v)));
    };
    std::string pad;
    for (std::size_t i = 0; i < rank(); ++i)
      pad += (i ? "," : "") + std::to_string(begin[i]) + "," + std::to_string(end[i]);
    p.set("stride", list(stride));
    p.set("pad", pad);
    p.set("dilation", list(dilation));
    p.set("groups", std::to_string(groups));
    p.set("padding", "explicit");
    p.set("fit", "floor");
    p.set("flip", "false");
    return p;
  }
};

values<float> integers(const shape& s, unsigned seed) {
  std::mt19937 random(seed);
  values<float> v(s);
  for (float& value : v.flat) value = static_cast<float>(static_cast<int>(random() % 19) - 9);
  return v;
}

struct answers {
  values<float> x, weight, bias, dy, y, dx, dweight, dbias;
};

/// Visits every pair (element of y, tap) and adds the product to all that it contributes to. The position of
/// x under a tap is found by coordinates, not by the offset arithmetic of the kernels.
answers expect(const peer_case& t) {
  answers e{integers(t.x(), 1),        integers(t.weight(), 2),  integers(shape{t.k}, 3),
            integers(t.y(), 4),        values<float>(t.y()),     values<float>(t.x()),
            values<float>(t.weight()), values<float>(shape{t.k})};
  const auto row_major_number = [](const shape& at, const shape& s) {
    index_t number = 0;
    for (int axis = 0; axis < s.rank(); ++axis) number = number * s[axis] + at[axis];
    return number;
  };
  const shape one_filter = t.with(1, t.c / t.groups, t.taps);
  index_t i = 0;
  for_each_index(t.y(), [&](const shape& at) {
    const index_t k = at[1], group = k * t.groups / t.k;
    e.dbias[k] += e.dy[i];
    if (t.bias) e.y[i] += e.bias[k];
    index_t j = k * one_filter.size();
    for_each_index(one_filter, [&](const shape& tap) {
      shape from{at[0], group * (t.c / t.groups) + tap[1]};
      bool inside = true;
      for (std::size_t d = 0; d < t.rank(); ++d) {
        const int axis = static_cast<int>(d) + 2;
        from.push_back(at[axis] * t.stride[d] + tap[axis] * t.dilation[d] - t.begin[d]);
        inside = inside && from[axis] >= 0 && from[axis] < t.in[d];
      }
      if (inside) {
        const index_t at_x = row_major_number(from, t.x());
        e.y[i] += e.x[at_x] * e.weight[j];
        e.dx[at_x] += e.dy[i] * e.weight[j];
        e.dweight[j] += e.dy[i] * e.x[at_x];
      }
      ++j;
    });
    ++i;
  });
  return e;
}

std::vector<peer_case> cases() {
  return {
      {2, 3, 4, 1, {7, 5}, {3, 2}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
      {1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
      {3, 17, 33, 1, {4, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
      {1, 5, 7, 1, {6, 9}, {1, 1}, {2, 3}, {0, 0}, {0, 0}, {1, 1}, false},
      {1, 16, 16, 1, {9, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
      {2, 15, 31, 1, {8, 17}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
      {1, 3, 7, 1, {23, 26}, {7, 5}, {2, 2}, {3, 0}, {2, 3}, {1, 1}},
      {2, 4, 6, 1, {9, 10}, {2, 3}, {3, 2}, {1, 0}, {0, 2}, {1, 1}},
      {1, 6, 9, 3, {12, 10}, {3, 3}, {1, 1}, {2, 3}, {1, 2}, {2, 3}},
      {2, 4, 8, 2, {10, 9}, {3, 2}, {2, 3}, {1, 2}, {0, 0}, {3, 2}},
      {1, 7, 7, 7, {6, 8}, {3, 3}, {1, 1}, {0, 1}, {0, 0}, {1, 1}},
      {1, 5, 10, 5, {5, 6}, {2, 3}, {1, 1}, {0, 0}, {1, 0}, {1, 1}, false},
      {3, 5, 8, 1, {11}, {4}, {2}, {1}, {2}, {1}},
      {2, 6, 4, 2, {13}, {3}, {1}, {0}, {3}, {2}},
      {1, 4, 6, 2, {5, 4, 7}, {2, 3, 1}, {1, 2, 3}, {1, 0, 0}, {0, 1, 2}, {2, 1, 1}},
  };
}

class conv_peers : public ::testing::TestWithParam<const kernel*> {};

void put_operands(bench& b, const kernel& k, const peer_case& t, const answers& e) {
  if (k.pass == "forward") {
    b.read(e.x);
    b.read(e.weight, false);
    t.bias ? b.read(e.bias, false) : b.absent();
    b.write<float>(t.y());
  } else if (k.pass == "backward_data") {
    b.read(e.dy);
    b.read(e.weight, false);
    b.write<float>(t.x());
  } else if (k.pass == "backward_weights") {
    b.read(e.dy);
    b.read(e.x);
    b.write<float>(t.weight(), false);
  } else {
    b.read(e.dy);
    b.write<float>(shape{t.k}, false);
  }
}

const values<float>& answer(const answers& e, const std::string& pass) {
  if (pass == "forward") return e.y;
  if (pass == "backward_data") return e.dx;
  return pass == "backward_weights" ? e.dweight : e.dbias;
}

TEST_P(conv_peers, agree_with_naive_loops) {
  const kernel& k = *GetParam();
  int run = 0;
  for (const peer_case& t : cases()) {
    if (t.text().layer() != k.layer || (k.pass == "backward_bias" && !t.bias)) continue;
    const answers e = expect(t);
    for (const setting& at : settings()) {
      bench b(k, t.text(), at);
      const support s = b.supports();
      if (k.pass == "backward_bias" && t.y().size() == t.k) {
        EXPECT_FALSE(s.ok) << "oneDNN's reduction has learned to sum single elements: stop excusing it";
        continue;
      }
      ASSERT_TRUE(s.ok) << k.name << ": " << t.text().print() << ": " << s.reason;
      put_operands(b, k, t, e);
      b.run();
      ASSERT_EQ(difference(answer(e, k.pass), b.result<float>()), "")
          << k.name << ": " << t.text().print() << ' ' << name_of(at.layout) << " threads=" << at.threads;
      ++run;
    }
  }
  EXPECT_GT(run, 0);
}

TEST_P(conv_peers, decline_by_reason) {
  const kernel& k = *GetParam();
  peer_case t = cases().front();
  for (const peer_case& other : cases())
    if (other.text().layer() == k.layer) t = other;
  const auto reason = [&](const std::string& key, const std::string& value) {
    problem p = t.text();
    p.set(key, value);
    const support s = bench(k, p, {}).supports();
    return s.ok ? std::string("accepted") : s.reason;
  };
  EXPECT_NE(reason("dilatoin", "1").find("dilatoin"), std::string::npos);
  EXPECT_NE(reason("flip", "true").find("flip"), std::string::npos);
}

TEST_P(conv_peers, empty_batch_is_nothing_to_do_or_declined) {
  const kernel& k = *GetParam();
  for (peer_case t : cases()) {
    if (t.text().layer() != k.layer) continue;
    t.n = 0;
    const answers e = expect(t);
    bench b(k, t.text(), {});
    if (!b.supports().ok) {
      EXPECT_NE(b.supports().reason, "");
      continue;
    }
    put_operands(b, k, t, e);
    b.run();
    EXPECT_EQ(difference(answer(e, k.pass), b.result<float>()), "");
  }
}

const registry& registered() {
  static const registry all = [] {
    registry r;
    register_all_kernels(r);
    return r;
  }();
  return all;
}

std::vector<const kernel*> conv_peers_here() {
  std::vector<const kernel*> found;
  for (const kernel* k : registered().matching("conv?d.*"))
    if (k->peer && k->unavailable.empty()) found.push_back(k);
  return found;
}

void expect_fresh_weights(const kernel& k) {
  const peer_case t = cases()[4];
  const auto plan = k.make_plan({t.text(), dtype::f32, layout::nchw, 1});
  std::vector<float> workspace(plan->workspace_size() / sizeof(float) + 64);
  values<float> x(t.x()), weight(t.weight()), bias(shape{t.k}), y(t.y());
  for (float& value : x.flat) value = 1;
  const auto ref = [](values<float>& v) {
    return tensor_ref{v.flat.data(), dtype::f32, v.extents, row_major(v.extents)};
  };
  for (const float scale : {1.0F, 3.0F}) {
    for (float& value : weight.flat) value = scale;
    const std::vector<tensor_ref> reads = {ref(x), ref(weight), ref(bias)}, writes = {ref(y)};
    plan->prepare(reads);
    plan->run({reads, writes, workspace.data(), 1});
    const index_t middle = 4 * t.in[1] + 7;  // away from every border: all of 16·3·3 taps
    EXPECT_EQ(y[middle], scale * 16 * 9) << k.name;
  }
}

TEST(forward_peers, new_weights_are_packed_again) {
  for (const kernel* k : conv_peers_here())
    if (k->name.starts_with("conv2d.forward/")) expect_fresh_weights(*k);
}

/// Elements of relu and sigmoid, checked one by one against the formulas in double.
TEST(eltwise_peers, agree_with_formulas) {
  problem p("relu");
  p.set("x", "3x5x7x2");
  p.set("y", "3x5x7x2");
  values<float> a = integers(shape{3, 5, 7, 2}, 5), dy = integers(shape{3, 5, 7, 2}, 6);
  for (float& value : a.flat) value /= 4;
  const auto run = [&](const std::string& name, const std::vector<values<float>>& reads) {
    const kernel* k = registered().find(name);
    EXPECT_NE(k, nullptr) << name;
    bench b(*k, p, {layout::nhwc, guard::at_end, 2});
    EXPECT_TRUE(b.supports().ok) << b.supports().reason;
    for (const values<float>& v : reads) b.read(v);
    b.write<float>(a.extents);
    b.run();
    return b.result<float>();
  };
  if (!registered().find("relu.forward/onednn@cpu")->unavailable.empty()) return;
  const auto relu = run("relu.forward/onednn@cpu", {a}), drelu = run("relu.backward/onednn@cpu", {dy, a});
  const auto sigmoid = run("sigmoid.forward/onednn@cpu", {a}),
             dsigmoid = run("sigmoid.backward/onednn@cpu", {dy, sigmoid});
  for (index_t i = 0; i < a.extents.size(); ++i) {
    const double x = a[i], y = 1 / (1 + std::exp(-x)), saved = sigmoid[i];
    EXPECT_EQ(relu[i], std::max(a[i], 0.0F));
    EXPECT_EQ(drelu[i], a[i] > 0 ? dy[i] : 0.0F);
    EXPECT_NEAR(sigmoid[i], y, 4e-7 * y) << x;
    EXPECT_NEAR(dsigmoid[i], dy[i] * saved * (1 - saved), 1e-6) << x;
  }
}

std::string test_name(const ::testing::TestParamInfo<const kernel*>& info) {
  std::string name = info.param->name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(conv_peers);
INSTANTIATE_TEST_SUITE_P(all, conv_peers, ::testing::ValuesIn(conv_peers_here()), test_name);

}  // namespace
}  // namespace plumb::testing
