// Every convolution kernel against naive loops written here, on small integers, where every order of
// summation gives the same bits: awkward shapes, both layouts, guard pages on either side, several thread
// counts.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "optimized/tests/kernel_bench.hpp"

namespace plumb::testing {
namespace {

/// A 2-D convolution (1-D: height 1), written out.
struct conv_case {
  index_t n, c, h, w, k, r, s;
  index_t stride_h = 1, stride_w = 1, top = 0, bottom = 0, left = 0, right = 0, dilation_h = 1,
          dilation_w = 1;
  index_t groups = 1;
  bool bias = true, flip = false;
  bool large = false;  ///< too much for host execution

  index_t p() const { return (h + top + bottom - dilation_h * (r - 1) - 1) / stride_h + 1; }
  index_t q() const { return (w + left + right - dilation_w * (s - 1) - 1) / stride_w + 1; }
  shape x() const { return {n, c, h, w}; }
  shape weight() const { return {k, c / groups, r, s}; }
  shape y() const { return {n, k, p(), q()}; }

  problem text() const {
    problem t("conv2d");
    t.set("x", to_string(x()));
    t.set("weight", to_string(weight()));
    if (bias) t.set("bias", std::to_string(k));
    t.set("y", to_string(y()));
    t.set("stride", to_string(shape{stride_h, stride_w}));
    t.set("pad", std::to_string(top) + "," + std::to_string(bottom) + "," + std::to_string(left) + "," +
                     std::to_string(right));
    t.set("dilation", to_string(shape{dilation_h, dilation_w}));
    t.set("groups", std::to_string(groups));
    t.set("padding", "explicit");
    t.set("fit", "floor");
    t.set("flip", flip ? "true" : "false");
    return t;
  }
};

struct expectation {
  values<float> x, weight, bias, y, dy, dx, dweight, dbias;
};

values<float> integers(const shape& s, std::mt19937& random) {
  values<float> v(s);
  for (float& value : v.flat) value = static_cast<float>(static_cast<int>(random() % 15) - 7);
  return v;
}

/// One walk over all products x·w that meet in an output, scattering each to y, dx and dweight.
expectation expect(const conv_case& t) {
  std::mt19937 random(7);
  expectation e{integers(t.x(), random),   integers(t.weight(), random), integers(shape{t.k}, random),
                values<float>(t.y()),      integers(t.y(), random),      values<float>(t.x()),
                values<float>(t.weight()), values<float>(shape{t.k})};
  const index_t p = t.p(), q = t.q(), cg = t.c / t.groups, kg = t.k / t.groups;
  for (index_t n = 0; n < t.n; ++n)
    for (index_t k = 0; k < t.k; ++k)
      for (index_t i = 0; i < p * q; ++i) {
        const index_t at_y = (n * t.k + k) * p * q + i;
        e.dbias[k] += e.dy[at_y];
        if (t.bias) e.y[at_y] += e.bias[k];
        for (index_t c = 0; c < cg; ++c)
          for (index_t r = 0; r < t.r; ++r)
            for (index_t s = 0; s < t.s; ++s) {
              const index_t h = i / q * t.stride_h - t.top + r * t.dilation_h;
              const index_t w = i % q * t.stride_w - t.left + s * t.dilation_w;
              if (h < 0 || h >= t.h || w < 0 || w >= t.w) continue;
              const index_t at_x = ((n * t.c + k / kg * cg + c) * t.h + h) * t.w + w;
              const index_t row = t.flip ? t.r - 1 - r : r, column = t.flip ? t.s - 1 - s : s;
              const index_t at_w = ((k * cg + c) * t.r + row) * t.s + column;
              e.y[at_y] += e.x[at_x] * e.weight[at_w];
              e.dx[at_x] += e.dy[at_y] * e.weight[at_w];
              e.dweight[at_w] += e.dy[at_y] * e.x[at_x];
            }
      }
  return e;
}

std::vector<conv_case> cases() {
  return {
      {.n = 2, .c = 3, .h = 7, .w = 5, .k = 4, .r = 3, .s = 2},
      {.n = 1, .c = 1, .h = 1, .w = 1, .k = 1, .r = 1, .s = 1},
      {.n = 0, .c = 3, .h = 4, .w = 5, .k = 2, .r = 1, .s = 2},
      {.n = 1, .c = 5, .h = 6, .w = 9, .k = 17, .r = 1, .s = 1, .bias = false},
      {.n = 3, .c = 17, .h = 4, .w = 3, .k = 33, .r = 1, .s = 1},
      {.n = 1,
       .c = 16,
       .h = 9,
       .w = 15,
       .k = 16,
       .r = 3,
       .s = 3,
       .top = 1,
       .bottom = 1,
       .left = 1,
       .right = 1},
      {.n = 2,
       .c = 15,
       .h = 8,
       .w = 17,
       .k = 65,
       .r = 3,
       .s = 3,
       .top = 1,
       .bottom = 1,
       .left = 1,
       .right = 1},
      {.n = 1, .c = 8, .h = 11, .w = 7, .k = 130, .r = 3, .s = 1, .top = 2, .left = 1},
      {.n = 1,
       .c = 3,
       .h = 23,
       .w = 26,
       .k = 7,
       .r = 7,
       .s = 5,
       .stride_h = 2,
       .stride_w = 2,
       .top = 3,
       .bottom = 2,
       .left = 0,
       .right = 3},
      {.n = 2,
       .c = 4,
       .h = 9,
       .w = 10,
       .k = 6,
       .r = 2,
       .s = 3,
       .stride_h = 3,
       .stride_w = 2,
       .top = 1,
       .right = 2},
      {.n = 1, .c = 4, .h = 9, .w = 11, .k = 5, .r = 1, .s = 1, .stride_h = 2, .stride_w = 3},
      {.n = 1, .c = 2, .h = 12, .w = 13, .k = 3, .r = 2, .s = 2, .stride_h = 5, .stride_w = 4, .top = 1},
      {.n = 1,
       .c = 6,
       .h = 12,
       .w = 10,
       .k = 9,
       .r = 3,
       .s = 3,
       .top = 2,
       .bottom = 1,
       .left = 3,
       .right = 2,
       .dilation_h = 2,
       .dilation_w = 3,
       .groups = 3},
      {.n = 2,
       .c = 4,
       .h = 10,
       .w = 9,
       .k = 8,
       .r = 3,
       .s = 2,
       .stride_h = 2,
       .stride_w = 3,
       .top = 1,
       .left = 2,
       .dilation_h = 3,
       .dilation_w = 2,
       .groups = 2,
       .flip = true},
      {.n = 1, .c = 7, .h = 6, .w = 8, .k = 7, .r = 3, .s = 3, .left = 1, .groups = 7},
      {.n = 1, .c = 5, .h = 5, .w = 6, .k = 10, .r = 2, .s = 3, .bottom = 1, .groups = 5, .bias = false},
      {.n = 1, .c = 2, .h = 3, .w = 2, .k = 3, .r = 5, .s = 4, .top = 2, .bottom = 3, .left = 4, .right = 3},
      {.n = 1, .c = 1, .h = 1, .w = 40, .k = 2, .r = 1, .s = 33, .stride_w = 2, .flip = true},
      {.n = 1,
       .c = 2,
       .h = 11,
       .w = 9,
       .k = 3,
       .r = 3,
       .s = 4,
       .stride_h = 4,
       .stride_w = 2,
       .top = 1,
       .left = 3,
       .dilation_h = 2,
       .dilation_w = 2},
      {.n = 1,
       .c = 3,
       .h = 13,
       .w = 14,
       .k = 2,
       .r = 4,
       .s = 3,
       .stride_h = 2,
       .stride_w = 6,
       .bottom = 2,
       .right = 1,
       .dilation_h = 3,
       .dilation_w = 4,
       .flip = true},
      // 1×1 over one row that padding makes more: found by verification.
      {.n = 2, .c = 2, .h = 1, .w = 9, .k = 6, .r = 1, .s = 1, .bottom = 1},
      {.n = 2, .c = 17, .h = 1, .w = 64, .k = 3, .r = 1, .s = 1, .stride_h = 2, .top = 1, .bottom = 2},
      // Depthwise with whole vectors of channels, and a plane longer than a strip that no vector divides.
      {.n = 2,
       .c = 80,
       .h = 9,
       .w = 8,
       .k = 80,
       .r = 3,
       .s = 4,
       .stride_h = 2,
       .top = 1,
       .bottom = 2,
       .left = 3,
       .right = 1,
       .dilation_w = 2,
       .groups = 80},
      {.n = 2,
       .c = 16,
       .h = 13,
       .w = 12,
       .k = 16,
       .r = 3,
       .s = 3,
       .top = 1,
       .bottom = 1,
       .left = 1,
       .right = 1,
       .groups = 16,
       .large = true},
      {.n = 1,
       .c = 32,
       .h = 9,
       .w = 31,
       .k = 32,
       .r = 3,
       .s = 3,
       .stride_h = 2,
       .stride_w = 2,
       .top = 1,
       .bottom = 1,
       .left = 1,
       .right = 1,
       .groups = 32,
       .flip = true,
       .large = true},
      {.n = 2, .c = 3, .h = 11, .w = 13, .k = 7, .r = 1, .s = 1},
      // 1×1: three vectors of outputs, and more pixels than are summed at once.
      {.n = 2, .c = 37, .h = 5, .w = 9, .k = 24, .r = 1, .s = 1},
      {.n = 2, .c = 13, .h = 17, .w = 19, .k = 21, .r = 1, .s = 1, .large = true},
      // Depthwise with pixels of many channels, where blocks go down, and threads meet within a row.
      {.n = 1,
       .c = 80,
       .h = 7,
       .w = 15,
       .k = 80,
       .r = 3,
       .s = 3,
       .top = 2,
       .bottom = 1,
       .left = 1,
       .right = 1,
       .groups = 80,
       .large = true},
      // And with pixels that lie a power of two apart.
      {.n = 1,
       .c = 512,
       .h = 3,
       .w = 9,
       .k = 512,
       .r = 3,
       .s = 3,
       .top = 1,
       .left = 1,
       .right = 2,
       .groups = 512,
       .large = true},
      {.n = 1,
       .c = 512,
       .h = 3,
       .w = 8,
       .k = 512,
       .r = 3,
       .s = 3,
       .stride_h = 2,
       .stride_w = 2,
       .top = 1,
       .bottom = 1,
       .left = 1,
       .right = 1,
       .groups = 512,
       .flip = true,
       .large = true},
      {.n = 2, .c = 70, .h = 3, .w = 4, .k = 66, .r = 2, .s = 2, .right = 1},
      // 3×3 for Winograd: odd sizes, padding of every width, groups, more tiles than a block of them.
      {.n = 3, .c = 2, .h = 5, .w = 7, .k = 3, .r = 3, .s = 3, .top = 3, .left = 4, .right = 1},
      {.n = 1, .c = 6, .h = 9, .w = 6, .k = 4, .r = 3, .s = 3, .bottom = 2, .groups = 2, .flip = true},
      {.n = 2,
       .c = 3,
       .h = 31,
       .w = 50,
       .k = 5,
       .r = 3,
       .s = 3,
       .top = 1,
       .left = 2,
       .bias = false,
       .large = true},
  };
}

/// Kernels for some filters only.
bool specialised(const kernel& k) {
  return k.arithmetic.starts_with("winograd") || k.arithmetic == "fft" ||
         k.name.find("/depthwise@") != std::string::npos || k.name.find("/product@") != std::string::npos;
}

class conv_kernels : public ::testing::TestWithParam<const kernel*> {};

TEST_P(conv_kernels, agree_with_naive_loops) {
  const kernel& k = *GetParam();
  int accepted = 0;
  for (const conv_case& t : cases()) {
    if ((k.pass == "backward_bias" && !t.bias) || (k.device == "host" && t.large)) continue;
    const expectation e = expect(t);
    for (const setting& at : settings(k.layouts)) {
      bench b(k, t.text(), at);
      const support s = b.supports();
      // A CUDA kernel may be for depthwise filters or first layers only, Winograd is for 3×3, fft for stride 1.
      ASSERT_TRUE(s.ok || k.device == "host" || specialised(k))
          << k.name << ": " << t.text().print() << ": " << s.reason;
      if (!s.ok) continue;
      ++accepted;
      const values<float>* expected = nullptr;
      if (k.pass == "forward") {
        b.read(e.x);
        b.read(e.weight, false);
        t.bias ? b.read(e.bias, false) : b.absent();
        b.write<float>(t.y());
        expected = &e.y;
      } else if (k.pass == "backward_data") {
        b.read(e.dy);
        b.read(e.weight, false);
        b.write<float>(t.x());
        expected = &e.dx;
      } else if (k.pass == "backward_weights") {
        b.read(e.dy);
        b.read(e.x);
        b.write<float>(t.weight(), false);
        expected = &e.dweight;
      } else {
        b.read(e.dy);
        b.write<float>(shape{t.k}, false);
        expected = &e.dbias;
      }
      b.run();
      values<float> got = b.result<float>();
      if (k.arithmetic == "winograd(4,3)" ||
          k.arithmetic == "fft")  // not exact on integers, but close to them
        for (float& value : got.flat) value = std::nearbyint(value) + 0.0F;
      ASSERT_EQ(difference(*expected, got), "")
          << k.name << ": " << t.text().print() << ' ' << name_of(at.layout) << " threads=" << at.threads;
    }
  }
  EXPECT_GT(accepted, 0);
}

TEST_P(conv_kernels, decline_what_they_do_not_know_by_name) {
  problem p = cases().front().text();
  p.set("dilatoin", "1x1");
  const support s = bench(*GetParam(), p, {}).supports();
  EXPECT_FALSE(s.ok);
  EXPECT_NE(s.reason.find("dilatoin"), std::string::npos);
}

std::string test_name(const ::testing::TestParamInfo<const kernel*>& info) {
  std::string name = info.param->name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(all, conv_kernels, ::testing::ValuesIn(kernels_matching("conv2d.*")), test_name);

/// The comparison itself must fail on each of these.
TEST(difference_of_values, sees_a_wrong_element_nan_infinity_and_a_missing_sign) {
  values<float> expected(shape{3}), got(shape{3});
  EXPECT_EQ(difference(expected, got), "");
  for (const float wrong :
       {1.0F, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -0.0F}) {
    got[1] = wrong;
    EXPECT_NE(difference(expected, got), "");
    got[1] = 0.0F;
  }
  EXPECT_NE(difference(expected, values<float>(shape{2})), "");
}

}  // namespace
}  // namespace plumb::testing
