// Every kernel of a memory-bound layer (activations with exponentials, average pooling, batch norm, softmax,
// cross-entropy, prelu, bicubic upsampling, unfold) against
// loops written here in double: awkward shapes, both layouts, guard pages, several threads, results past the caches.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "optimized/tests/kernel_bench.hpp"

namespace plumb::testing {
namespace {

values<float> numbers(const shape& s, unsigned seed) {
  std::mt19937 random(seed);
  values<float> v(s);
  for (float& value : v.flat) value = static_cast<float>(static_cast<int>(random() % 65) - 32) / 8.0F;
  return v;
}

/// The first element farther from the truth than `tolerance`·(1 + |truth|), in words; NaN is near NaN only.
std::string far_from(const std::vector<double>& truth, const values<float>& got, double tolerance) {
  for (index_t i = 0; i < got.extents.size(); ++i) {
    const double t = truth[static_cast<std::size_t>(i)], g = double{got[i]};
    if (std::isnan(t) ? std::isnan(g)
                      : std::isfinite(t) && std::fabs(g - t) <= tolerance * (1 + std::fabs(t)))
      continue;
    return "at " + coordinates(i, got.extents) + " expected " + std::to_string(t) + ", got " +
           std::to_string(g);
  }
  return {};
}

TEST(far_from_the_truth, sees_wrong_numbers_and_nan) {
  values<float> got(shape{1});
  got[0] = 1;
  EXPECT_EQ(far_from({1.0}, got, 1e-6), "");
  for (const double truth : {1.1, 0.0, std::nan(""), HUGE_VAL}) EXPECT_NE(far_from({truth}, got, 1e-6), "");
  got[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(far_from({std::nan("")}, got, 1e-6), "");
  EXPECT_NE(far_from({1.0}, got, 1e-6), "");
}

TEST(activation_kernels, stay_within_the_declared_ulps_over_all_floats) {
  std::vector<float> points = {0.0F,   -0.0F,  0.625F,  -0.62499997F, 88.8F,
                               -88.8F, -87.3F, -103.9F, -64.0F,       -64.00001F};
  for (std::uint32_t bits = 0; bits < 0x7f800000U; bits += 4999)
    for (const std::uint32_t sign : {0U, 0x80000000U}) points.push_back(std::bit_cast<float>(bits | sign));
  values<float> x(shape{static_cast<index_t>(points.size())});
  x.flat = points;
  for (const std::string layer : {"tanh", "silu"}) {
    problem p(layer);
    p.set("x", to_string(x.extents));
    p.set("y", to_string(x.extents));
    const auto kernels = kernels_matching(layer + ".forward/*");
    ASSERT_FALSE(kernels.empty());
    for (const kernel* k : kernels) {
      bench b(*k, p, {});
      b.read(x);
      b.write<float>(x.extents);
      b.run();
      const values<float> y = b.result<float>();
      for (index_t i = 0; i < x.extents.size(); ++i) {
        const double v = double{x[i]},
                     truth = layer == "tanh" ? std::tanh(v)
                                             : v * std::exp(std::min(v, 0.0)) / (1 + std::exp(-std::fabs(v)));
        const auto nearest = static_cast<float>(std::fabs(truth));
        const double ulp = double{std::nextafter(nearest, HUGE_VALF)} - double{nearest};
        const double allowed = std::max(k->accuracy.ulps * ulp, std::fabs(truth) < 0x1p-125 ? 0x1p-126 : 0);
        ASSERT_TRUE(std::fabs(double{y[i]} - truth) <= allowed) << k->name << " x=" << x[i] << " y=" << y[i];
      }
    }
  }
}

TEST(relu_kernels, write_past_the_caches) {
  const values<float> x = numbers(shape{2, 64, 128, 129}, 5);
  values<float> y = x;
  for (float& v : y.flat) v = v > 0 ? v : 0.0F;
  problem p("relu");
  p.set("x", to_string(x.extents));
  p.set("y", to_string(x.extents));
  for (const kernel* k : kernels_matching("relu.forward/flat@*"))
    if (k->device == "cpu") {
      bench b(*k, p, {layout::nchw, guard::at_start, 2});
      b.read(x);
      b.write<float>(x.extents);
      b.run();
      ASSERT_EQ(difference(y, b.result<float>()), "") << k->name;
    }
}

struct average_case {
  shape x;
  index_t window, stride, pad;
  bool counted;
};

TEST(average_pools, divide_the_sum_of_every_window) {
  const std::vector<average_case> cases = {{{2, 3, 9, 41}, 3, 2, 1, false}, {{1, 33, 7, 8}, 2, 2, 0, true},
                                           {{1, 3, 8, 56}, 2, 2, 0, true},  {{1, 16, 6, 39}, 3, 1, 1, true},
                                           {{0, 3, 4, 4}, 2, 2, 0, true},   {{2, 17, 5, 5}, 4, 3, 2, false}};
  for (const average_case& t : cases) {
    const index_t h = t.x[2], w = t.x[3];
    const shape out{t.x[0], t.x[1], (h + 2 * t.pad - t.window) / t.stride + 1,
                    (w + 2 * t.pad - t.window) / t.stride + 1};
    const values<float> x = numbers(t.x, 3), dy = numbers(out, 4);
    std::vector<double> y(static_cast<std::size_t>(out.size())), dx(static_cast<std::size_t>(t.x.size()));
    for (index_t i = 0; i < out.size(); ++i) {
      const shape at = unflatten(i, out);
      std::vector<std::size_t> cells;
      for (index_t r = at[2] * t.stride - t.pad; r < at[2] * t.stride - t.pad + t.window; ++r)
        for (index_t s = at[3] * t.stride - t.pad; s < at[3] * t.stride - t.pad + t.window; ++s)
          if (r >= 0 && r < h && s >= 0 && s < w)
            cells.push_back(static_cast<std::size_t>(((at[0] * t.x[1] + at[1]) * h + r) * w + s));
      const double divisor =
          t.counted ? static_cast<double>(t.window * t.window) : static_cast<double>(cells.size());
      for (const std::size_t cell : cells) {
        y[static_cast<std::size_t>(i)] += double{x.flat[cell]} / divisor;
        dx[cell] += double{dy[i]} / divisor;
      }
    }
    problem p("avg_pool2d");
    const auto twice = [](index_t n) { return to_string(shape{n, n}); };
    p.set("x", to_string(t.x));
    p.set("y", to_string(out));
    p.set("window", twice(t.window));
    p.set("stride", twice(t.stride));
    const std::string pad = std::to_string(t.pad);
    p.set("pad", pad + "," + pad + "," + pad + "," + pad);
    p.set("ceil_mode", "false");
    p.set("count_include_pad", t.counted ? "true" : "false");
    for (const kernel* k : kernels_matching("avg_pool2d.*"))
      for (const setting& s : settings()) {
        bench b(*k, p, s);
        const bool forward = k->pass == "forward";
        b.read(forward ? x : dy);
        b.write<float>(forward ? out : t.x);
        b.run();
        ASSERT_EQ(far_from(forward ? y : dx, b.result<float>(), 1e-6), "") << k->name << ' ' << p.print();
      }
  }
}

struct norm_truth {
  std::vector<double> mean, invstd, y, dx, dgamma, dbeta;
};

norm_truth normalised(const values<float>& x, const values<float>& gamma, const values<float>& dy) {
  const index_t n = x.extents[0], c = x.extents[1], plane = x.extents[2] * x.extents[3];
  const auto m = static_cast<double>(n * plane);
  norm_truth t;
  t.y.resize(x.flat.size());
  t.dx.resize(x.flat.size());
  for (index_t k = 0; k < c; ++k) {
    const auto each = [&](auto&& f) {
      for (index_t i = 0; i < n; ++i)
        for (index_t j = 0; j < plane; ++j) f(static_cast<std::size_t>((i * c + k) * plane + j));
    };
    double mean = 0, variance = 0, sum = 0, product = 0;
    each([&](std::size_t i) { mean += double{x.flat[i]} / m; });
    each([&](std::size_t i) { variance += (double{x.flat[i]} - mean) * (double{x.flat[i]} - mean) / m; });
    const double invstd = 1 / std::sqrt(variance + 1e-5), scale = double{gamma[k]} * invstd;
    const auto hat = [&](std::size_t i) { return (double{x.flat[i]} - mean) * invstd; };
    each([&](std::size_t i) { sum += double{dy.flat[i]}, product += double{dy.flat[i]} * hat(i); });
    each([&](std::size_t i) {
      t.y[i] = double{gamma[k]} * hat(i);
      t.dx[i] = scale * (double{dy.flat[i]} - sum / m - hat(i) * product / m);
    });
    t.mean.push_back(mean);
    t.invstd.push_back(invstd);
    t.dgamma.push_back(product);
    t.dbeta.push_back(sum);
  }
  return t;
}

TEST(batch_norm_kernels, agree_with_two_passes_in_double) {
  for (const shape& extents :
       {shape{3, 5, 7, 9}, shape{1, 33, 4, 5}, shape{2, 70, 30, 31}, shape{2, 64, 128, 129}}) {
    const bool large = extents.size() > 1'000'000;
    const values<float> x = numbers(extents, 1), dy = numbers(extents, 2),
                        gamma = numbers(shape{extents[1]}, 3);
    const norm_truth t = normalised(x, gamma, dy);
    problem p("batch_norm");
    p.set("x", to_string(extents));
    p.set("y", to_string(extents));
    p.set("gamma", std::to_string(extents[1]));
    p.set("mode", "train");
    p.set("eps", "0.00001");
    p.set("momentum", "0.1");
    for (const kernel* k : kernels_matching("batch_norm.*"))
      for (const setting& s : settings()) {
        if (large &&
            (s.side == guard::at_end || s.threads == 1 || k->name.find("@avx3") == std::string::npos))
          continue;
        bench b(*k, p, s);
        values<float> mean(gamma.extents), invstd(gamma.extents);
        for (std::size_t c = 0; c < t.mean.size(); ++c) {
          mean.flat[c] = static_cast<float>(t.mean[c]);
          invstd.flat[c] = static_cast<float>(t.invstd[c]);
        }
        const bool forward = k->pass == "forward";
        if (!forward) b.read(dy);
        b.read(x);
        b.read(gamma, false);
        if (forward) {
          for (int absent = 0; absent < 3; ++absent) b.absent();
        } else {
          b.read(mean, false);
          b.read(invstd, false);
        }
        b.write<float>(extents);
        b.write<float>(gamma.extents, false);
        if (forward) b.write<float>(gamma.extents, false);
        b.run();
        ASSERT_EQ(far_from(forward ? t.y : t.dx, b.result<float>(0), 1e-5), "")
            << k->name << ' ' << p.print();
        ASSERT_EQ(far_from(forward ? t.mean : t.dgamma, b.result<float>(1), 1e-4), "")
            << k->name << ' ' << p.print();
        if (forward) {
          ASSERT_EQ(far_from(t.invstd, b.result<float>(2), 1e-5), "") << k->name;
        }
      }
  }
}

/// softmax (or its logarithm) of x along an axis of a four-dimensional tensor, and the gradient for dy.
void softmax_truth(const values<float>& x, const values<float>& dy, int axis, bool log,
                   std::vector<double>& y, std::vector<double>& dx) {
  index_t step = 1;
  for (int i = axis + 1; i < 4; ++i) step *= x.extents[i];
  const index_t length = x.extents[axis];
  y.resize(x.flat.size());
  dx.resize(x.flat.size());
  for (index_t line = 0; line < x.extents.size() / length; ++line) {
    const auto at = [&](index_t c) {
      return static_cast<std::size_t>(line / step * length * step + c * step + line % step);
    };
    double most = -HUGE_VAL, sum = 0, gathered = 0;
    for (index_t c = 0; c < length; ++c) most = std::max(most, double{x.flat[at(c)]});
    for (index_t c = 0; c < length; ++c) sum += std::exp(double{x.flat[at(c)]} - most);
    for (index_t c = 0; c < length; ++c) {
      const double t = double{x.flat[at(c)]} - most;
      y[at(c)] = log ? t - std::log(sum) : std::exp(t) / sum;
      gathered += double{dy.flat[at(c)]} * (log ? 1 : y[at(c)]);
    }
    for (index_t c = 0; c < length; ++c)
      dx[at(c)] = log ? double{dy.flat[at(c)]} - std::exp(y[at(c)]) * gathered
                      : y[at(c)] * (double{dy.flat[at(c)]} - gathered);
  }
}

TEST(softmax_kernels, agree_along_every_axis) {
  const shape extents{2, 19, 5, 37};
  values<float> x = numbers(extents, 1);
  const values<float> dy = numbers(extents, 2);
  for (const bool special : {false, true}) {
    if (special) {
      x[0] = std::numeric_limits<float>::quiet_NaN();
      x[40] = std::numeric_limits<float>::infinity();
      x[77] = -std::numeric_limits<float>::infinity();
    }
    for (const std::string layer : {"softmax", "log_softmax"})
      for (int axis = 0; axis < 4; ++axis) {
        std::vector<double> y, dx;
        softmax_truth(x, dy, axis, layer == "log_softmax", y, dx);
        values<float> saved(extents);
        for (std::size_t i = 0; i < y.size(); ++i) saved.flat[i] = static_cast<float>(y[i]);
        problem p(layer);
        p.set("x", to_string(extents));
        p.set("y", to_string(extents));
        p.set("axis", std::to_string(axis));
        for (const kernel* k : kernels_matching(layer + ".*/lines@*"))
          for (const setting& s : settings()) {
            const bool forward = k->pass == "forward";
            if (k->device != "cpu" || (special && !forward)) continue;
            bench b(*k, p, s);
            b.read(forward ? x : dy);
            if (!forward) b.read(saved);
            b.write<float>(extents);
            b.run();
            values<float> got = b.result<float>();
            std::vector<double> truth = forward ? y : dx;
            for (std::size_t i = 0; i < truth.size(); ++i)  // an infinity is near itself only
              if (std::isinf(truth[i]) && double{got.flat[i]} == truth[i]) truth[i] = 0, got.flat[i] = 0;
            ASSERT_EQ(far_from(truth, got, 1e-5), "") << k->name << ' ' << p.print() << special;
          }
      }
  }
}

struct loss_case {
  shape x;
  bool classes = true;
  double smoothing = 0;
  std::string reduction = "mean";
};

/// Cross-entropy with weights, and its gradient for a cotangent of ones; target 3 is ignored.
void cross_entropy_truth(const loss_case& t, const values<float>& x, const std::vector<std::int64_t>& target,
                         const values<float>& probability, const values<float>& weight,
                         std::vector<double>& y, std::vector<double>& dx) {
  const index_t classes = t.x[1], inner = t.x[2] * t.x[3], positions = t.x[0] * inner;
  y.assign(static_cast<std::size_t>(t.reduction == "none" ? positions : 1), 0);
  dx.assign(x.flat.size(), 0);
  double divisor = 0;
  for (index_t i = 0; i < positions; ++i) {
    const std::int64_t hit = target[static_cast<std::size_t>(i)];
    if (t.classes && hit == 3) continue;
    divisor += t.classes ? double{weight[hit]} : 1;
    const auto at = [&](index_t c) {
      return static_cast<std::size_t>((i / inner * classes + c) * inner + i % inner);
    };
    double sum = 0, shares = 0;
    for (index_t c = 0; c < classes; ++c) sum += std::exp(double{x.flat[at(c)]});
    const auto share = [&](index_t c) {
      const double p = t.classes ? static_cast<double>(c == hit) : double{probability.flat[at(c)]};
      return double{weight[c]} * ((1 - t.smoothing) * p + t.smoothing / static_cast<double>(classes));
    };
    for (index_t c = 0; c < classes; ++c) {
      y[t.reduction == "none" ? static_cast<std::size_t>(i) : 0] -=
          share(c) * (double{x.flat[at(c)]} - std::log(sum));
      shares += share(c);
    }
    for (index_t c = 0; c < classes; ++c)
      dx[at(c)] = std::exp(double{x.flat[at(c)]}) / sum * shares - share(c);
  }
  if (t.reduction != "mean") return;
  y[0] /= divisor;
  for (double& slope : dx) slope /= divisor;
}

TEST(cross_entropy_kernels, agree_with_the_definition_in_double) {
  const std::vector<loss_case> cases = {
      {{3, 5, 5, 13}},          {{2, 21, 8, 8}, true, 0.1, "sum"}, {{2, 19, 3, 3}, false, 0.25, "none"},
      {{70, 200, 1, 1}, false}, {{3, 140, 1, 2}, true, 0, "none"}, {{1, 7, 9, 9}, true, 0.5}};
  for (const loss_case& t : cases) {
    const shape map{t.x[0], t.x[2], t.x[3]};
    const values<float> x = numbers(t.x, 1), weight = numbers(shape{t.x[1]}, 2);
    values<float> probability = numbers(t.x, 3), dy(t.reduction == "none" ? map : shape{});
    values<std::int64_t> target(map);
    std::mt19937 random(4);
    for (std::int64_t& v : target.flat)
      v = static_cast<std::int64_t>(random() % static_cast<unsigned>(t.x[1]));
    std::ranges::fill(dy.flat, 1.0F);
    std::vector<double> y, dx;
    cross_entropy_truth(t, x, target.flat, probability, weight, y, dx);
    problem p("cross_entropy");
    p.set("x", to_string(t.x));
    p.set("target", to_string(t.classes ? map : t.x));
    p.set("weight", std::to_string(t.x[1]));
    p.set("y", to_string(dy.extents));
    p.set("reduction", t.reduction);
    p.set("ignore_index", t.classes ? "3" : "-100");
    p.set("label_smoothing", std::to_string(t.smoothing));
    p.set("targets", t.classes ? "classes" : "probabilities");
    for (const kernel* k : kernels_matching("cross_entropy.*/lines@*"))
      for (const setting& s : settings()) {
        const bool forward = k->pass == "forward";
        bench b(*k, p, s);
        if (!forward) b.read(dy, false);
        b.read(x);
        t.classes ? b.read(target, false) : b.read(probability);
        b.read(weight, false);
        b.write<float>(forward ? dy.extents : t.x, !forward);
        b.run();
        ASSERT_EQ(far_from(forward ? y : dx, b.result<float>(), 1e-5), "") << k->name << ' ' << p.print();
      }
  }
}

TEST(upsample_bicubic_kernels, weigh_four_cells_by_keys_cubic) {
  // The cells around an output a quarter of the way between two: -27/256, 225/256, 67/256 and -9/256.
  const double quarter[4] = {-27.0 / 256, 225.0 / 256, 67.0 / 256, -9.0 / 256};
  const shape extents{1, 17, 5, 20}, out{1, 17, 10, 40};
  const values<float> x = numbers(extents, 1), dy = numbers(out, 2);
  std::vector<double> y(static_cast<std::size_t>(out.size())), dx(x.flat.size());
  for (index_t i = 0; i < out.size(); ++i) {
    const shape at = unflatten(i, out);
    const auto tap = [&](int axis, index_t k) {  // an odd output lies behind its cell, an even one before
      const index_t o = at[axis], cell = o % 2 == 1 ? o / 2 - 1 + k : o / 2 + 1 - k;
      return std::clamp<index_t>(cell, 0, extents[axis] - 1);
    };
    for (index_t k = 0; k < 4; ++k)
      for (index_t l = 0; l < 4; ++l) {
        const auto from = static_cast<std::size_t>((at[1] * 5 + tap(2, k)) * 20 + tap(3, l));
        y[static_cast<std::size_t>(i)] += quarter[k] * quarter[l] * double{x.flat[from]};
        dx[from] += quarter[k] * quarter[l] * double{dy[i]};
      }
  }
  problem p("upsample_bicubic2d");
  p.set("x", to_string(extents));
  p.set("y", to_string(out));
  p.set("scale", "2x2");
  p.set("align_corners", "false");
  for (const kernel* k : kernels_matching("upsample_bicubic2d.*"))
    for (const setting& s : settings()) {
      bench b(*k, p, s);
      const bool forward = k->pass == "forward";
      b.read(forward ? x : dy);
      b.write<float>(forward ? out : extents);
      b.run();
      ASSERT_EQ(far_from(forward ? y : dx, b.result<float>(), 1e-5), "") << k->name;
    }
}

TEST(prelu_kernels, agree_with_the_definition_in_double) {
  for (const shape& extents :
       {shape{2, 3, 5, 37}, shape{1, 33, 4, 4}, shape{3, 7, 1, 1}, shape{2, 64, 128, 129}})
    for (const index_t weights : {extents[1], index_t{1}}) {
      const values<float> x = numbers(extents, 1), dy = numbers(extents, 2), w = numbers(shape{weights}, 3);
      const index_t plane = extents[2] * extents[3];
      std::vector<double> y(x.flat.size()), dx(x.flat.size()), dw(w.flat.size());
      for (index_t i = 0; i < extents.size(); ++i) {
        const auto at = static_cast<std::size_t>(i);
        const index_t c = weights == 1 ? 0 : i / plane % extents[1];
        const bool negative = !(x[i] > 0);
        y[at] = negative ? double{w[c]} * double{x[i]} : double{x[i]};
        dx[at] = negative ? double{w[c]} * double{dy[i]} : double{dy[i]};
        dw[static_cast<std::size_t>(c)] += negative ? double{x[i]} * double{dy[i]} : 0;
      }
      problem p("prelu");
      p.set("x", to_string(extents));
      p.set("y", to_string(extents));
      p.set("weight", std::to_string(weights));
      for (const kernel* k : kernels_matching("prelu.*/chunks@*"))
        for (const setting& s : settings()) {
          if (extents.size() > 1'000'000 && (s.side == guard::at_end || s.threads == 1 || weights == 1 ||
                                             k->name.find("@avx3") == std::string::npos))
            continue;
          bench b(*k, p, s);
          if (k->pass != "forward") b.read(dy);
          b.read(x);
          if (k->pass != "backward_weights") b.read(w, false);
          const bool of_weights = k->pass == "backward_weights";
          b.write<float>(of_weights ? w.extents : extents, !of_weights);
          b.run();
          const std::vector<double>& truth = of_weights ? dw : k->pass == "forward" ? y : dx;
          ASSERT_EQ(far_from(truth, b.result<float>(), 1e-5), "") << k->name << ' ' << p.print();
        }
    }
}

struct windows_case {
  shape x;
  std::vector<index_t> window, stride, dilation, pad;
};

TEST(unfold_kernels, agree_with_six_loops_and_with_their_transpose) {
  const std::vector<windows_case> cases = {{{2, 3, 9, 41}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
                                           {{1, 17, 7, 8}, {2, 3}, {2, 3}, {1, 2}, {0, 1, 2, 0}},
                                           {{2, 5, 6, 5}, {3, 2}, {3, 2}, {2, 3}, {4, 0, 3, 1}}};
  for (const windows_case& t : cases) {
    const shape& e = t.x;
    const auto count = [&](std::size_t i) {
      return (e[2 + static_cast<int>(i)] + t.pad[2 * i] + t.pad[2 * i + 1] -
              (t.window[i] - 1) * t.dilation[i] - 1) /
                 t.stride[i] +
             1;
    };
    const index_t R = t.window[0], S = t.window[1], P = count(0), Q = count(1);
    const shape columns{e[0], e[1] * R * S, P * Q};
    const values<float> image = numbers(e, 1), laid = numbers(columns, 2);
    std::vector<double> unfolded(laid.flat.size()), folded(image.flat.size());
    for (index_t i = 0; i < columns.size(); ++i) {
      const index_t l = i % (P * Q), s = i / (P * Q) % S, r = i / (P * Q * S) % R,
                    plane = i / (P * Q * S * R);
      const index_t h = l / Q * t.stride[0] - t.pad[0] + r * t.dilation[0];
      const index_t w = l % Q * t.stride[1] - t.pad[2] + s * t.dilation[1];
      if (h < 0 || h >= e[2] || w < 0 || w >= e[3]) continue;
      const auto cell = static_cast<std::size_t>((plane * e[2] + h) * e[3] + w);
      unfolded[static_cast<std::size_t>(i)] = double{image.flat[cell]};
      folded[cell] += double{laid[i]};
    }
    const auto text = [](const std::vector<index_t>& v, const char* by) {
      std::string all;
      for (const index_t i : v) all += (all.empty() ? "" : by) + std::to_string(i);
      return all;
    };
    for (const std::string layer : {"unfold2d", "fold2d"}) {
      problem p(layer);
      p.set("x", to_string(layer == "fold2d" ? columns : e));
      p.set("y", to_string(layer == "fold2d" ? e : columns));
      p.set("window", text(t.window, "x"));
      p.set("stride", text(t.stride, "x"));
      p.set("dilation", text(t.dilation, "x"));
      p.set("pad", text(t.pad, ","));
      p.set("output", to_string(shape{e[2], e[3]}));
      for (const kernel* k : kernels_matching(layer + ".*/rows@*"))
        for (const setting& s : settings()) {
          const bool lays_out = (layer == "unfold2d") == (k->pass == "forward");
          bench b(*k, p, s);
          lays_out ? b.read(image) : b.read(laid, false);
          b.write<float>(lays_out ? columns : e, !lays_out);
          b.run();
          ASSERT_EQ(far_from(lays_out ? unfolded : folded, b.result<float>(), 1e-6), "")
              << k->name << ' ' << p.print();
        }
    }
  }
}

}  // namespace
}  // namespace plumb::testing
