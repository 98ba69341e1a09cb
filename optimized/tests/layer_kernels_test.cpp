// Kernels of the layers between convolutions (activations, normalisation within a sample, LRN, upsampling, padding)
// against the definitions written here in double: awkward shapes, both layouts, guard pages, several threads.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "optimized/tests/kernel_bench.hpp"

namespace plumb::testing::layers_between {
namespace {

using numbers_of = std::vector<double>;

values<float> numbers(const shape& s, unsigned seed) {
  std::mt19937 random(seed);
  values<float> v(s);
  for (float& value : v.flat) value = static_cast<float>(static_cast<int>(random() % 65) - 32) / 8.0F;
  return v;
}

std::string far_from(const numbers_of& truth, const values<float>& got, double tolerance) {
  for (index_t i = 0; i < got.extents.size(); ++i) {
    const double t = truth[static_cast<std::size_t>(i)], g = double{got[i]};
    if (!(std::fabs(g - t) <= tolerance * (1 + std::fabs(t))))
      return "at " + coordinates(i, got.extents) + " expected " + std::to_string(t) + ", got " +
             std::to_string(g);
  }
  return {};
}

problem problem_of(const std::string& layer, const shape& x, const shape& y) {
  problem p(layer);
  p.set("x", to_string(x));
  p.set("y", to_string(y));
  return p;
}

struct activation_case {
  const char* layer;
  std::function<double(double)> value;
  bool saves_y = false;
  std::vector<std::pair<std::string, std::string>> attributes = {};
};

double sigma(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<activation_case> activation_cases() {
  const auto elu = [](double x, double a, double b) { return x > 0 ? b * x : a * std::expm1(x); };
  return {{"elu", [=](double x) { return elu(x, 1.5, 1); }, false, {{"alpha", "1.5"}}},
          {"selu", [=](double x) { return elu(x, 1.7580993408473766, 1.0507009873554805); }},
          {"celu", [](double x) { return x > 0 ? x : 2 * std::expm1(x / 2); }, false, {{"alpha", "2"}}},
          {"softplus",
           [](double x) { return std::log1p(std::exp(3 * x)) / 3; },
           false,
           {{"beta", "3"}, {"threshold", "20"}}},
          {"mish", [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
          {"gelu",
           [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; },
           false,
           {{"approximate", "erf"}}},
          {"gelu",
           [](double x) { return x * sigma(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)); },
           false,
           {{"approximate", "tanh"}}},
          {"hard_sigmoid", [](double x) { return std::min(std::max((x + 3) / 6, 0.0), 1.0); }},
          {"hard_tanh",
           [](double x) { return std::min(std::max(x, -0.7), 1.3); },
           false,
           {{"min", "-0.7"}, {"max", "1.3"}}},
          {"clamp", [](double x) { return std::min(x, 1.3); }, false, {{"max", "1.3"}}},
          {"softsign", [](double x) { return x / (1 + std::fabs(x)); }},
          {"exp", [](double x) { return std::exp(x); }, true},
          {"reciprocal", [](double x) { return 1 / x; }, true},
          {"square", [](double x) { return x * x; }}};
}

TEST(flat_kernels, agree_with_their_formulas_and_slopes) {
  values<float> x(shape{1, 3, 7, 11});
  // No point lies on a kink, nor within the difference quotient's step of one.
  for (index_t i = 0; i < x.extents.size(); ++i) x[i] = static_cast<float>(i - 115) / 13.0F + 0.04F;
  const values<float> dy = numbers(x.extents, 4);
  for (const activation_case& t : activation_cases()) {
    numbers_of y(x.flat.size()), dx(x.flat.size());
    values<float> saved = x;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double v = double{x.flat[i]}, h = 1e-4;
      y[i] = t.value(v);
      dx[i] = double{dy.flat[i]} * (t.value(v + h) - t.value(v - h)) / (2 * h);
      if (t.saves_y) saved.flat[i] = static_cast<float>(y[i]);
    }
    problem p = problem_of(t.layer, x.extents, x.extents);
    for (const auto& [key, value] : t.attributes) p.set(key, value);
    const auto kernels = kernels_matching(std::string(t.layer) + ".*/flat@*");
    ASSERT_FALSE(kernels.empty()) << t.layer;
    for (const kernel* k : kernels)
      for (const setting& s : settings()) {
        if (k->device != "cpu") continue;
        const bool forward = k->pass == "forward";
        bench b(*k, p, s);
        b.read(forward ? x : dy);
        if (!forward) b.read(saved);
        b.write<float>(x.extents);
        b.run();
        ASSERT_EQ(far_from(forward ? y : dx, b.result<float>(), forward ? 5e-7 : 3e-5), "")
            << k->name << p.print();
      }
  }
}

/// Rows of m neighbours; parameter(a) is the place of element a's gamma and beta.
struct norm_case {
  std::string layer;
  shape x;
  index_t m;
  std::function<index_t(index_t)> parameter;
  shape parameters, statistics;
  std::vector<std::pair<std::string, std::string>> attributes;
};

std::vector<norm_case> norm_cases() {
  const shape x{3, 6, 5, 7}, words{37, 67};
  const auto channel = [](index_t a) { return a / 35 % 6; };
  const auto place = [](index_t a) { return a % 67; };
  return {{"group_norm", x, 70, channel, shape{6}, shape{3, 3}, {{"groups", "3"}}},
          {"instance_norm", x, 35, channel, shape{6}, shape{3, 6}, {}},
          {"layer_norm", words, 67, place, shape{67}, shape{37}, {{"axes", "1"}}},
          {"rms_norm", words, 67, place, shape{67}, shape{37}, {{"axes", "1"}}}};
}

struct norm_truth {
  numbers_of y, mean, spread, dx, dgamma, dbeta;
};

norm_truth normalised(const norm_case& t, const values<float>& x, const values<float>& gamma,
                      const values<float>& beta, const values<float>& dy) {
  const bool centred = t.layer != "rms_norm";
  norm_truth r;
  r.y.resize(x.flat.size());
  r.dx = r.y;
  r.dgamma.resize(gamma.flat.size());
  r.dbeta = r.dgamma;
  for (index_t first = 0; first < x.extents.size(); first += t.m) {
    double mean = 0, square = 0, sum = 0, product = 0;
    const auto m = static_cast<double>(t.m);
    for (index_t a = first; a < first + t.m && centred; ++a) mean += double{x[a]} / m;
    for (index_t a = first; a < first + t.m; ++a) square += (double{x[a]} - mean) * (double{x[a]} - mean) / m;
    const double spread = 1 / std::sqrt(square + 1e-5);
    const auto hat = [&](index_t a) { return (double{x[a]} - mean) * spread; };
    for (index_t a = first; a < first + t.m; ++a) {
      const double g = double{dy[a]} * double{gamma[t.parameter(a)]};
      sum += centred ? g : 0;
      product += g * hat(a);
      r.dgamma[static_cast<std::size_t>(t.parameter(a))] += double{dy[a]} * hat(a);
      r.dbeta[static_cast<std::size_t>(t.parameter(a))] += double{dy[a]};
    }
    for (index_t a = first; a < first + t.m; ++a) {
      const double gain = double{gamma[t.parameter(a)]}, shift = centred ? double{beta[t.parameter(a)]} : 0;
      r.y[static_cast<std::size_t>(a)] = gain * hat(a) + shift;
      r.dx[static_cast<std::size_t>(a)] = spread * (double{dy[a]} * gain - (sum + hat(a) * product) / m);
    }
    r.mean.push_back(mean);
    r.spread.push_back(spread);
  }
  return r;
}

values<float> narrow(const numbers_of& list, const shape& s) {
  values<float> v(s);
  for (std::size_t i = 0; i < list.size(); ++i) v.flat[i] = static_cast<float>(list[i]);
  return v;
}

TEST(row_norm_kernels, agree_with_the_definition_in_double) {
  for (const norm_case& t : norm_cases()) {
    const bool centred = t.layer != "rms_norm";
    const values<float> x = numbers(t.x, 1), dy = numbers(t.x, 2), gamma = numbers(t.parameters, 3),
                        beta = numbers(t.parameters, 4);
    const norm_truth truth = normalised(t, x, gamma, beta, dy);
    problem p = problem_of(t.layer, t.x, t.x);
    p.set("gamma", to_string(t.parameters));
    if (centred) p.set("beta", to_string(t.parameters));
    p.set("eps", "0.00001");
    for (const auto& [key, value] : t.attributes) p.set(key, value);
    for (const kernel* k : kernels_matching(t.layer + ".*@*"))
      for (const setting& s : settings()) {
        if (k->device != "cpu" || k->peer || (s.layout == layout::nhwc && k->layouts.size() == 1)) continue;
        const bool forward = k->pass == "forward";
        bench b(*k, p, s);
        if (!forward) b.read(dy);
        b.read(x);
        b.read(gamma, false);
        if (forward && centred) b.read(beta, false);
        if (!forward && centred) b.read(narrow(truth.mean, t.statistics), false);
        if (!forward) b.read(narrow(truth.spread, t.statistics), false);
        b.write<float>(t.x);
        if (forward && centred) b.write<float>(t.statistics, false);
        b.write<float>(forward ? t.statistics : t.parameters, false);
        if (!forward && centred) b.write<float>(t.parameters, false);
        b.run();
        ASSERT_EQ(far_from(forward ? truth.y : truth.dx, b.result<float>(0), 1e-5), "") << k->name;
        ASSERT_EQ(far_from(!forward  ? truth.dgamma
                           : centred ? truth.mean
                                     : truth.spread,
                           b.result<float>(1), 1e-5),
                  "")
            << k->name;
        if (centred) {
          ASSERT_EQ(far_from(forward ? truth.spread : truth.dbeta, b.result<float>(2), 1e-5), "") << k->name;
        }
      }
  }
}

TEST(lrn_kernels, agree_with_the_definition_in_double) {
  const shape extents{2, 19, 5, 37};
  const index_t C = extents[1], plane = 5 * 37;
  const values<float> x = numbers(extents, 1), dy = numbers(extents, 2);
  for (const index_t size : {1, 4, 5})
    for (const double power : {0.75, 1.0, 0.6}) {
      numbers_of base(x.flat.size(), 2.0), y(x.flat.size()), dx(x.flat.size());
      const double share = 0.3 / static_cast<double>(size);
      const auto each_in_window = [&](index_t a, auto&& f) {
        for (index_t c = a / plane % C - size / 2, j = 0; j < size; ++c, ++j)
          if (c >= 0 && c < C) f(static_cast<std::size_t>(a + (c - a / plane % C) * plane));
      };
      for (index_t a = 0; a < extents.size(); ++a) {
        const auto at = static_cast<std::size_t>(a);
        each_in_window(a, [&](std::size_t i) { base[at] += share * double{x.flat[i]} * double{x.flat[i]}; });
        y[at] = double{x.flat[at]} * std::pow(base[at], -power);
      }
      for (index_t a = 0; a < extents.size(); ++a) {
        const auto at = static_cast<std::size_t>(a);
        dx[at] += double{dy.flat[at]} * std::pow(base[at], -power);
        const double shared =
            2 * share * power * double{dy.flat[at]} * double{x.flat[at]} * std::pow(base[at], -power - 1);
        each_in_window(a, [&](std::size_t i) { dx[i] -= shared * double{x.flat[i]}; });
      }
      problem p = problem_of("lrn", extents, extents);
      p.set("size", std::to_string(size));
      p.set("alpha", "0.3");
      p.set("beta", std::to_string(power));
      p.set("k", "2");
      for (const kernel* k : kernels_matching("lrn.*/panels@*"))
        for (const setting& s : settings()) {
          const bool forward = k->pass == "forward";
          bench b(*k, p, s);
          if (!forward) b.read(dy);
          b.read(x);
          b.write<float>(extents);
          b.run();
          ASSERT_EQ(far_from(forward ? y : dx, b.result<float>(), 3e-6), "") << k->name << p.print();
        }
    }
}

/// One axis: the two cells that output o reads, and the weight of the second.
struct reading {
  index_t near, far;
  double share;
};

struct resampling_case {
  std::string layer;
  shape x, y;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::function<reading(index_t o, index_t in, index_t out)> read;
};

std::vector<resampling_case> resampling_cases() {
  const auto halfway = [](index_t o, index_t in, index_t out) {
    const double s = std::max(
        0.0, (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5);
    const auto i = static_cast<index_t>(s);
    return reading{i, std::min(i + 1, in - 1), s - static_cast<double>(i)};
  };
  const auto copy = [](index_t o, index_t in, index_t out) { return reading{o * in / out, o * in / out, 0}; };
  const auto mirror = [](index_t o, index_t in, index_t) {
    const index_t i = o < 2 ? 2 - o : o < in + 2 ? o - 2 : 2 * in - o;
    return reading{i, i, 0};
  };
  const auto clamped = [](index_t o, index_t in, index_t) {
    const index_t i = std::min(std::max<index_t>(o - 2, 0), in - 1);
    return reading{i, i, 0};
  };
  return {{"upsample_bilinear2d",
           {2, 5, 6, 40},
           {2, 5, 12, 80},
           {{"size", "12x80"}, {"align_corners", "false"}},
           halfway},
          {"upsample_bilinear2d",
           {1, 33, 9, 37},
           {1, 33, 7, 17},
           {{"size", "7x17"}, {"align_corners", "false"}},
           halfway},
          {"upsample_nearest2d", {2, 5, 6, 21}, {2, 5, 18, 63}, {{"scale", "3x3"}}, copy},
          {"upsample_nearest2d", {1, 17, 6, 5}, {1, 17, 12, 10}, {{"scale", "2x2"}}, copy},
          {"reflection_pad2d", {2, 3, 4, 35}, {2, 3, 8, 39}, {{"pad", "2,2,2,2"}}, mirror},
          {"replication_pad2d", {2, 3, 4, 7}, {2, 3, 8, 11}, {{"pad", "2,2,2,2"}}, clamped}};
}

TEST(resampling_kernels, agree_with_two_cells_an_axis_and_with_their_transpose) {
  for (const resampling_case& t : resampling_cases()) {
    const values<float> x = numbers(t.x, 1), dy = numbers(t.y, 2);
    numbers_of y(dy.flat.size()), dx(x.flat.size());
    for (index_t i = 0; i < t.y.size(); ++i) {
      const shape at = unflatten(i, t.y);
      const reading h = t.read(at[2], t.x[2], t.y[2]), w = t.read(at[3], t.x[3], t.y[3]);
      for (const auto& [row, down] : {std::pair{h.near, 1 - h.share}, std::pair{h.far, h.share}})
        for (const auto& [column, across] : {std::pair{w.near, 1 - w.share}, std::pair{w.far, w.share}}) {
          const auto cell =
              static_cast<std::size_t>(((at[0] * t.x[1] + at[1]) * t.x[2] + row) * t.x[3] + column);
          y[static_cast<std::size_t>(i)] += down * across * double{x.flat[cell]};
          dx[cell] += down * across * double{dy[i]};
        }
    }
    problem p = problem_of(t.layer, t.x, t.y);
    for (const auto& [key, value] : t.attributes) p.set(key, value);
    for (const kernel* k : kernels_matching(t.layer + ".*/separable@*"))
      for (const setting& s : settings()) {
        const bool forward = k->pass == "forward";
        bench b(*k, p, s);
        b.read(forward ? x : dy);
        b.write<float>(forward ? t.y : t.x);
        b.run();
        ASSERT_EQ(far_from(forward ? y : dx, b.result<float>(), 2e-6), "") << k->name << p.print();
      }
  }
}

TEST(layers_far_from_the_truth, see_zeros_wrong_numbers_and_nan) {
  values<float> got(shape{2});
  EXPECT_EQ(far_from({0, 0}, got, 1e-6), "");
  EXPECT_NE(far_from({0, 1}, got, 1e-6), "");
  got[1] = std::nanf("");
  EXPECT_NE(far_from({0, 0}, got, 1e-6), "");
  got[1] = HUGE_VALF;
  EXPECT_NE(far_from({0, 0}, got, 1e-6), "");
}

}  // namespace
}  // namespace plumb::testing::layers_between
