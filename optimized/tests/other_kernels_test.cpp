// Every relu, sigmoid, max pooling and linear kernel against loops written here.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "optimized/tests/kernel_bench.hpp"

namespace plumb::testing {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

/// Numbers in which ties, both zeros and non-finite values are common.
values<float> special(const shape& s, unsigned seed) {
  constexpr float pool[] = {-2, -1, -0.0F, 0, 1, 2, 2, 3, 0.5F, nan, infinity, -infinity};
  std::mt19937 random(seed);
  values<float> v(s);
  for (float& value : v.flat) value = pool[random() % std::size(pool)];
  return v;
}

values<float> integers(const shape& s, unsigned seed) {
  std::mt19937 random(seed);
  values<float> v(s);
  for (float& value : v.flat) value = static_cast<float>(static_cast<int>(random() % 15) - 7);
  return v;
}

/// One element-wise pass: run over `reads`, compared with `expected`.
void check(const std::string& glob, const std::vector<values<float>>& reads, const values<float>& expected) {
  problem p(glob.substr(0, glob.find('.')));
  p.set("x", to_string(expected.extents));
  p.set("y", to_string(expected.extents));
  const auto kernels = kernels_matching(glob);
  ASSERT_FALSE(kernels.empty());
  for (const kernel* k : kernels)
    for (const setting& s : settings()) {
      bench b(*k, p, s);
      for (const values<float>& v : reads) b.read(v);
      b.write<float>(expected.extents);
      b.run();
      ASSERT_EQ(difference(expected, b.result<float>()), "") << k->name << ' ' << p.print();
    }
}

TEST(relu_kernels, keep_positives_and_nan) {
  for (const shape& s : {shape{1}, shape{37}, shape{0}, shape{2, 3, 5, 7}, shape{3, 16, 4}}) {
    const values<float> x = special(s, 3), dy = integers(s, 4);
    values<float> y(s), dx(s);
    for (index_t i = 0; i < s.size(); ++i) {
      y[i] = std::isnan(x[i]) || x[i] > 0 ? x[i] : 0.0F;
      dx[i] = std::isnan(x[i]) || x[i] > 0 ? dy[i] : 0.0F;
    }
    check("relu.forward/*", {x}, y);
    check("relu.backward/*", {dy, x}, dx);
  }
}

TEST(sigmoid_kernels, backward_is_the_product_in_this_order) {
  const shape s{2, 3, 5, 9};
  const values<float> dy = integers(s, 5);
  values<float> y(s), dx(s);
  for (index_t i = 0; i < s.size(); ++i) {
    y[i] = static_cast<float>(i) / 300.0F;
    dx[i] = dy[i] * (1.0F - y[i]) * y[i];
  }
  check("sigmoid.backward/*", {dy, y}, dx);
}

/// |got - true| in units in the last place of the true value; infinite for a NaN.
double ulps(float got, double truth) {
  const auto nearest = static_cast<float>(truth);
  const double unit = std::max(double{std::nextafter(nearest, 2.0F)} - double{nearest}, 0x1p-149);
  const double error = std::fabs(double{got} - truth) / unit;
  return error >= 0 ? error : static_cast<double>(infinity);
}

constexpr std::uint32_t pattern_step = sanitized ? 16411 : 1009;  // another prime, the same lines of code

TEST(sigmoid_kernels, stay_within_the_declared_ulps_over_all_floats) {
  // Every so manieth bit pattern of either sign, and the neighbourhoods of the interesting points.
  std::vector<float> points = {0.0F,   -0.0F,   infinity, -infinity, 88.8F,   -88.8F,
                               -87.3F, -103.9F, -104.5F,  3.4e38F,   -3.4e38F};
  for (std::uint32_t bits = 0; bits < 0x7f800000U; bits += pattern_step)
    for (const std::uint32_t sign : {0U, 0x80000000U}) points.push_back(std::bit_cast<float>(bits | sign));
  values<float> x(shape{static_cast<index_t>(points.size())});
  x.flat = points;
  problem p("sigmoid");
  p.set("x", to_string(x.extents));
  p.set("y", to_string(x.extents));
  for (const kernel* k : kernels_matching("sigmoid.forward/*")) {
    bench b(*k, p, {});
    b.read(x);
    b.write<float>(x.extents);
    b.run();
    const values<float> y = b.result<float>();
    double worst = 0;
    for (index_t i = 0; i < x.extents.size(); ++i) {
      const double e = std::exp(-std::fabs(double{x[i]})), truth = (x[i] < 0 ? e : 1.0) / (1.0 + e);
      const double error =
          std::fabs(double{y[i]} - truth) <= 0x1p-126 && truth < 0x1p-126 ? 0 : ulps(y[i], truth);
      ASSERT_LE(error, k->accuracy.ulps) << k->name << " x=" << x[i] << " y=" << y[i];
      worst = std::max(worst, error);
    }
    RecordProperty(k->name, std::to_string(worst));
  }
}

TEST(sigmoid_kernels, let_nan_pass) {
  values<float> x(shape{19});
  for (float& v : x.flat) v = nan;
  check("sigmoid.forward/*", {x}, x);
}

TEST(ulps_of_a_number, is_infinite_for_nan_and_counts_steps) {
  EXPECT_EQ(ulps(1.0F, 1.0), 0);
  EXPECT_EQ(ulps(std::nextafter(1.0F, 2.0F), 1.0), 1);
  EXPECT_EQ(ulps(nan, 1.0), infinity);
  EXPECT_EQ(ulps(infinity, 1.0), infinity);
  EXPECT_GT(ulps(0.0F, 1.0), 1e6);
}

struct pool_case {
  index_t n, c, h, w, window_h, window_w, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1,
                                          dilation_w = 1;
  bool ceil = false;

  index_t outputs(index_t in, index_t window, index_t stride, index_t pad, index_t dilation) const {
    const index_t room = in + 2 * pad - dilation * (window - 1) - 1;
    index_t out = (room + (ceil ? stride - 1 : 0)) / stride + 1;
    if (ceil && (out - 1) * stride >= in + pad) --out;
    return out;
  }
  shape x() const { return {n, c, h, w}; }
  shape y() const {
    return {n, c, outputs(h, window_h, stride_h, pad_h, dilation_h),
            outputs(w, window_w, stride_w, pad_w, dilation_w)};
  }
  problem text() const {
    problem p("max_pool2d");
    p.set("x", to_string(x()));
    p.set("y", to_string(y()));
    p.set("indices", to_string(y()));
    p.set("window", to_string(shape{window_h, window_w}));
    p.set("stride", to_string(shape{stride_h, stride_w}));
    p.set("pad", to_string(shape{pad_h, pad_w}));
    p.set("dilation", to_string(shape{dilation_h, dilation_w}));
    p.set("ceil_mode", ceil ? "true" : "false");
    return p;
  }
};

std::vector<pool_case> pool_cases() {
  return {
      {.n = 1, .c = 1, .h = 1, .w = 1, .window_h = 1, .window_w = 1},
      {.n = 0, .c = 3, .h = 4, .w = 5, .window_h = 2, .window_w = 3},
      {.n = 1, .c = 6, .h = 6, .w = 28, .window_h = 2, .window_w = 2, .stride_h = 2, .stride_w = 2},
      {.n = 2, .c = 5, .h = 7, .w = 39, .window_h = 3, .window_w = 2, .pad_h = 1, .pad_w = 1},
      {.n = 1,
       .c = 16,
       .h = 9,
       .w = 70,
       .window_h = 3,
       .window_w = 3,
       .stride_h = 2,
       .stride_w = 2,
       .pad_h = 1,
       .pad_w = 1},
      {.n = 1, .c = 33, .h = 8, .w = 34, .window_h = 2, .window_w = 2, .stride_h = 2, .stride_w = 2},
      {.n = 1,
       .c = 3,
       .h = 11,
       .w = 60,
       .window_h = 2,
       .window_w = 3,
       .stride_h = 3,
       .stride_w = 3,
       .pad_w = 1,
       .ceil = true},
      {.n = 1,
       .c = 17,
       .h = 9,
       .w = 21,
       .window_h = 3,
       .window_w = 2,
       .stride_h = 1,
       .stride_w = 1,
       .pad_h = 1,
       .pad_w = 1,
       .dilation_h = 2,
       .dilation_w = 3},
      {.n = 1,
       .c = 2,
       .h = 6,
       .w = 5,
       .window_h = 2,
       .window_w = 2,
       .stride_h = 3,
       .stride_w = 3,
       .pad_h = 1,
       .ceil = true},
      {.n = 1, .c = 2, .h = 3, .w = 31, .window_h = 1, .window_w = 1, .stride_h = 2, .stride_w = 2},
      {.n = 2,
       .c = 4,
       .h = 3,
       .w = 2,
       .window_h = 3,
       .window_w = 2,
       .stride_h = 1,
       .stride_w = 2,
       .pad_h = 1,
       .pad_w = 1},
  };
}

TEST(max_pool2d_kernels, agree_with_a_scan_of_every_window) {
  for (const pool_case& t : pool_cases()) {
    const values<float> x = special(t.x(), 11), dy = integers(t.y(), 12);
    values<float> y(t.y()), dx(t.x());
    values<index_t> indices(t.y());
    for (index_t i = 0; i < t.y().size(); ++i) {
      const shape at = unflatten(i, t.y());
      const index_t plane = (at[0] * t.c + at[1]) * t.h * t.w;
      index_t cell = -1;
      for (index_t r = 0; r < t.window_h; ++r)
        for (index_t s = 0; s < t.window_w; ++s) {
          const index_t h = at[2] * t.stride_h - t.pad_h + r * t.dilation_h;
          const index_t w = at[3] * t.stride_w - t.pad_w + s * t.dilation_w;
          if (h < 0 || h >= t.h || w < 0 || w >= t.w) continue;
          const float value = x[plane + h * t.w + w];
          if (cell < 0 || value > x[plane + cell] || std::isnan(value)) cell = h * t.w + w;
        }
      ASSERT_GE(cell, 0);
      indices[i] = cell;
      y[i] = x[plane + cell];
      dx[plane + cell] += dy[i];
    }
    for (const setting& s : settings()) {
      for (const kernel* k : kernels_matching("max_pool2d.forward/*")) {
        bench b(*k, t.text(), s);
        ASSERT_TRUE(b.supports().ok) << b.supports().reason;
        b.read(x);
        b.write<float>(t.y());
        b.write<index_t>(t.y());
        b.run();
        ASSERT_EQ(difference(y, b.result<float>(0)), "") << k->name << ' ' << t.text().print();
        ASSERT_EQ(difference(indices, b.result<index_t>(1)), "") << k->name << ' ' << t.text().print();
      }
      for (const kernel* k : kernels_matching("max_pool2d.backward/*")) {
        bench b(*k, t.text(), s);
        b.read(dy);
        b.read(indices);
        b.write<float>(t.x());
        b.run();
        ASSERT_EQ(difference(dx, b.result<float>()), "") << k->name << ' ' << t.text().print();
      }
    }
  }
}

TEST(linear_kernels, agree_with_three_loops) {
  struct linear_case {
    shape x;
    index_t m;
    bool bias;
  };
  const std::vector<linear_case> cases = {{shape{3, 5}, 7, true},       {shape{1}, 1, true},
                                          {shape{2, 3, 17}, 65, false}, {shape{0, 4}, 3, true},
                                          {shape{13, 300}, 16, true},   {shape{2, 2, 3, 64}, 129, true}};
  for (const linear_case& t : cases) {
    const index_t d = t.x[t.x.rank() - 1], rows = t.x.size() / d;
    shape out = t.x;
    out[t.x.rank() - 1] = t.m;
    const values<float> x = integers(t.x, 1), w = integers(shape{t.m, d}, 2), bias = integers(shape{t.m}, 3),
                        dy = integers(out, 4);
    values<float> y(out), dx(t.x), dw(shape{t.m, d}), db(shape{t.m});
    for (index_t i = 0; i < rows; ++i)
      for (index_t m = 0; m < t.m; ++m) {
        if (t.bias) y[i * t.m + m] = bias[m];
        db[m] += dy[i * t.m + m];
        for (index_t j = 0; j < d; ++j) {
          y[i * t.m + m] += x[i * d + j] * w[m * d + j];
          dx[i * d + j] += dy[i * t.m + m] * w[m * d + j];
          dw[m * d + j] += dy[i * t.m + m] * x[i * d + j];
        }
      }
    problem p("linear");
    p.set("x", to_string(t.x));
    p.set("weight", to_string(w.extents));
    if (t.bias) p.set("bias", std::to_string(t.m));
    p.set("y", to_string(out));
    for (const kernel* k : kernels_matching("linear.*"))
      for (setting s : settings()) {
        if (std::ranges::find(k->layouts, s.layout) == k->layouts.end()) continue;
        bench b(*k, p, s);
        const values<float>* expected = nullptr;
        if (k->pass == "forward") {
          b.read(x);
          b.read(w);
          t.bias ? b.read(bias) : b.absent();
          expected = &y;
        } else {
          b.read(dy);
          if (k->pass == "backward_data") b.read(w);
          if (k->pass == "backward_weights") b.read(x);
          expected = k->pass == "backward_data" ? &dx : k->pass == "backward_weights" ? &dw : &db;
        }
        b.write<float>(expected->extents);
        b.run();
        ASSERT_EQ(difference(*expected, b.result<float>()), "") << k->name << ' ' << p.print();
      }
  }
}

}  // namespace
}  // namespace plumb::testing
