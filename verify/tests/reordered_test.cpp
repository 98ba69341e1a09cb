// Honest kernels that add in another order. A float whose sums stay open until they are needed, and are then taken one
// after the other, backwards, in pairs or in blocks, makes such a kernel of any layer's definition; all of them lie
// within the proven bound, whatever the data (Higham, Accuracy and Stability of Numerical Algorithms, 4.2). So do
// upsampling kernels whose positions are rounded to float (numerics 10). Twice the bound off is an alarm.
#include <gtest/gtest.h>

#include <cmath>

#include "reference/layers/avg_pool.hpp"
#include "reference/layers/batch_norm.hpp"
#include "reference/layers/catalogue.hpp"
#include "reference/layers/lrn.hpp"
#include "reference/layers/model.hpp"
#include "reference/layers/normalisation.hpp"
#include "reference/layers/softmax.hpp"
#include "verify/compare.hpp"
#include "verify/regimes.hpp"

namespace plumb {
namespace {

enum class order : std::uint8_t { forwards, backwards, pairs, blocks };
constexpr std::array<order, 4> all_orders = {order::forwards, order::backwards, order::pairs, order::blocks};

/// A float, or a sum of floats that nobody has asked for yet.
class late_sum {
 public:
  static inline order taken = order::forwards;

  late_sum() : late_sum(0.0F) {}
  template <class A>
  requires std::is_arithmetic_v<A>
  explicit late_sum(A value) : leaves_{static_cast<float>(value)} {}

  float value() const {
    const std::span<const float> all(leaves_);
    switch (taken) {
      case order::forwards:
        return one_by_one(all);
      case order::backwards: {
        float sum = 0;
        for (std::size_t i = all.size(); i-- > 0;) sum += all[i];
        return sum;
      }
      case order::pairs:
        return pairwise(all);
      case order::blocks:
        break;
    }
    float lanes[16] = {}, sum = 0;
    for (std::size_t i = 0; i < all.size(); ++i) lanes[i % 16] += all[i];
    for (const float lane : lanes) sum += lane;
    return sum;
  }
  explicit operator float() const { return value(); }

  late_sum& operator+=(const late_sum& o) {
    leaves_.insert(leaves_.end(), o.leaves_.begin(), o.leaves_.end());
    return *this;
  }
  late_sum& operator-=(const late_sum& o) { return *this += -o; }
  late_sum& operator*=(const late_sum& o) { return *this = *this * o; }
  late_sum& operator/=(const late_sum& o) { return *this = *this / o; }
  friend late_sum operator-(late_sum a) {
    for (float& leaf : a.leaves_) leaf = -leaf;
    return a;
  }
  friend late_sum operator+(late_sum a, const late_sum& b) { return a += b; }
  friend late_sum operator-(late_sum a, const late_sum& b) { return a += -b; }
  friend late_sum operator*(const late_sum& a, const late_sum& b) { return late_sum(a.value() * b.value()); }
  friend late_sum operator/(const late_sum& a, const late_sum& b) { return late_sum(a.value() / b.value()); }
  friend auto operator<=>(const late_sum& a, const late_sum& b) { return a.value() <=> b.value(); }
  friend bool operator==(const late_sum& a, const late_sum& b) { return a.value() == b.value(); }
  friend late_sum exp(const late_sum& a) { return late_sum(std::exp(a.value())); }
  friend late_sum log(const late_sum& a) { return late_sum(std::log(a.value())); }
  friend late_sum sqrt(const late_sum& a) { return late_sum(std::sqrt(a.value())); }

 private:
  static float one_by_one(std::span<const float> list) {
    float sum = 0;
    for (const float x : list) sum += x;
    return sum;
  }
  static float pairwise(std::span<const float> list) {
    if (list.size() <= 2) return one_by_one(list);
    return pairwise(list.first(list.size() / 2)) + pairwise(list.subspan(list.size() / 2));
  }
  std::vector<float> leaves_;
};

/// The pass by the definition of L over late sums.
template <class L>
tensor_set<float> in_another_order(const layer& l, const pass_spec& pass, const tensor_set<double>& reads) {
  L math;
  const problem text = l.resolved();
  detail::attribute_reader reader{text};
  L::attributes(math, reader);
  tensor_set<late_sum> given = reads.map<late_sum>([](double x) { return late_sum(x); });
  tensor_set<late_sum> written = make_tensors<late_sum>(l, pass.writes);
  const bundle<const late_sum> all = std::as_const(given).views();
  if (pass.name == l.describe().passes.front().name)
    math.template forward<late_sum>(all, written.views());
  else
    math.template vjp<late_sum>(all, all, all, written.views());
  return written.template map<float>([](const late_sum& x) { return x.value(); });
}

comparison judged(oracle& o, std::size_t k, tensor<float>& answer, regime r, thresholds& bounds) {
  evaluate_thresholds(o.results()[k], parse_arithmetic("f32", dtype::f32).value, {}, r, {}, bounds);
  comparison c;
  compare({answer.data(), dtype::f32, answer.extents(), row_major(answer.extents())}, o.results()[k], bounds,
          &o, k, c);
  return c;
}

struct tally {
  index_t elements = 0, spoiled = 0;
};

/// No alarm on the answer; and one once an element is twice its bound off.
void expect_right_and_wrong(oracle& o, tensor_set<float>& answer, regime r, const std::string& what,
                            tally& t) {
  for (std::size_t k = 0; k < o.results().size(); ++k) {
    if (o.results()[k].is_index) continue;
    tensor<float>& values = answer.at(o.results()[k].name).real;
    thresholds bounds;
    const comparison c = judged(o, k, values, r, bounds);
    t.elements += c.elements;
    EXPECT_EQ(c.failures, 0) << what << " at " << c.worst.at << " got " << c.worst.got << " expected "
                             << c.worst.expected << " bound " << c.worst.proven;
    for (index_t i = values.size(); i-- > 0;) {
      const auto at = static_cast<std::size_t>(i);
      const double bound = bounds.proven[at], truth = o.results()[k].value[at];
      const auto off = static_cast<float>(truth + 2 * bound * 1.01);
      // Above every magnitude that may overflow, NaN and infinities are right too; below, floats are too far apart.
      if (!(bound > 0x1p-120) || !(o.results()[k].size[at] < 1e37) || !(std::fabs(off) < 1e37F)) continue;
      if (!(std::fabs(static_cast<double>(off) - truth) > 1.5 * bound)) continue;
      const float right = std::exchange(values[i], off);
      EXPECT_EQ(judged(o, k, values, r, bounds).failures, 1) << what << " at " << i;
      values[i] = right;
      ++t.spoiled;
      break;
    }
  }
}

/// Sanitizer builds take a tenth of a second for what takes a millisecond otherwise.
#ifdef PLUMB_FEW_SCALARS
constexpr std::uint64_t draws = 1;
#else
constexpr std::uint64_t draws = 4;
#endif

template <class L>
void expect_any_order(const char* problem, tally& t) {
  const auto l = plumb::bind(std::string_view(problem));
  oracle o;
  for (const pass_spec& pass : l->describe().passes)
    for (const regime r : all_regimes)
      for (std::uint64_t seed = 0; seed < draws; ++seed) {
        const auto reads = draw(*l, pass, r, seed, dtype::f32);
        o.evaluate(*l, pass, reads, dtype::f32);
        for (const order each : all_orders) {
          late_sum::taken = each;
          auto answer = in_another_order<L>(*l, pass, reads);
          expect_right_and_wrong(o, answer, r,
                                 std::string(problem) + " | " + pass.name + " | " + std::string(name_of(r)) +
                                     " seed=" + std::to_string(seed) + " order " +
                                     std::to_string(static_cast<int>(each)),
                                 t);
        }
      }
}

TEST(reordered, sums_in_any_order_are_within_the_bound) {
  tally t;
  expect_any_order<softmax>("softmax x=3x67", t);
  expect_any_order<softmax>("softmax x=2x130x3", t);
  expect_any_order<log_softmax>("log_softmax x=3x67", t);
  expect_any_order<log_softmax>("log_softmax x=2x130x3", t);
  expect_any_order<batch_norm>("batch_norm x=5x2x9 gamma=2 beta=2 mode=train", t);
  expect_any_order<layer_norm>("layer_norm x=3x70 gamma=70 beta=70 axes=1", t);
  expect_any_order<avg_pool<2>>("avg_pool2d x=1x2x13x11 window=7x5 stride=2x3 pad=2x1", t);
  expect_any_order<lrn>("lrn x=2x19x3 size=9", t);
  EXPECT_GT(t.elements, draws * 25'000);
  EXPECT_GT(t.spoiled, draws * 125);
}

/// Two terms that cancel exactly leave nothing in one order, and their rounding in another.
TEST(reordered, sums_in_which_terms_cancel_are_within_the_bound) {
  const auto l = plumb::bind(std::string_view("softmax x=1x4"));
  const pass_spec& pass = *l->find_pass("backward");
  auto reads = make_tensors<double>(*l, pass.reads);
  const double dy[] = {0, 1, -1, 1};
  const double y[] = {1, 0.3278917372226715, 0.3278917372226715, 0.016324765980243683};
  for (index_t i = 0; i < 4; ++i) {
    reads.at("dy").real[i] = dy[i];
    reads.at("y").real[i] = y[i];
  }
  oracle o;
  o.evaluate(*l, pass, reads, dtype::f32);
  tally t;
  for (const order each : all_orders) {
    late_sum::taken = each;
    auto answer = in_another_order<softmax>(*l, pass, reads);
    expect_right_and_wrong(o, answer, regime::impulse, "cancelling terms", t);
  }
  EXPECT_EQ(t.spoiled, 4);
}

/// oneDNN and others multiply gamma by the inverse deviation first, which may be subnormal then.
TEST(reordered, normalisation_with_scales_folded_is_within_the_bound) {
  const auto l = plumb::bind(std::string_view("batch_norm x=3x1 gamma=1 beta=1"));
  const pass_spec& pass = l->describe().passes.front();
  auto reads = make_tensors<double>(*l, pass.reads);
  reads.at("x").real[2] = 4;
  reads.at("gamma").real[0] = 0x1p-149;
  oracle o;
  o.evaluate(*l, pass, reads, dtype::f32);
  const float mean = 4.0F / 3, invstd = 1 / std::sqrt(32.0F / 9 + 1e-5F), scale = 0x1p-149F * invstd;
  tensor<float> y(shape{3, 1});
  const float x[] = {0, 0, 4};
  for (index_t i = 0; i < 3; ++i) y[i] = (x[i] - mean) * scale;
  thresholds bounds;
  EXPECT_EQ(judged(o, 0, y, regime::impulse, bounds).failures, 0);
  y[2] += 0x1p-140F;
  EXPECT_EQ(judged(o, 0, y, regime::impulse, bounds).failures, 1);
}

/// Bilinear upsampling as usually written: the step, the position and the weights in float.
float upsampled(const tensor<double>& x, const shape& y, bool corners, float step_h, float step_w,
                index_t plane, index_t p, index_t q) {
  struct cells {
    index_t low, high;
    float share;
  };
  const auto along = [corners](index_t I, index_t O, float step, index_t o) {
    if (I == O) return cells{o, o, 0};
    const float r = corners ? (O > 1 ? static_cast<float>(I - 1) / static_cast<float>(O - 1) : 0.0F) : step;
    float s = corners ? r * static_cast<float>(o) : r * (static_cast<float>(o) + 0.5F) - 0.5F;
    s = std::max(s, 0.0F);
    const auto low = std::min(static_cast<index_t>(s), I - 1);
    return cells{low, std::min(low + 1, I - 1), std::min(s - static_cast<float>(low), 1.0F)};
  };
  const index_t H = x.extents()[2], W = x.extents()[3];
  const cells h = along(H, y[2], step_h, p), w = along(W, y[3], step_w, q);
  const auto at = [&](index_t i, index_t j) { return static_cast<float>(x[(plane * H + i) * W + j]); };
  const auto row = [&](index_t i) { return (1 - w.share) * at(i, w.low) + w.share * at(i, w.high); };
  return (1 - h.share) * row(h.low) + h.share * row(h.high);
}

TEST(reordered, upsampling_with_positions_in_float_is_within_the_bound) {
  tally t;
  oracle o;
  for (const bool corners : {false, true})
    for (const auto& [size, scale] :
         {std::pair("size=29x23", false), std::pair("size=14x33", false), std::pair("scale=1.1x0.9", true),
          std::pair("size=300x7", false), std::pair("scale=2.3x1.5", true)}) {
      const auto l = plumb::bind(std::string("upsample_bilinear2d x=2x1x10x12 ") + size +
                                 (corners ? " align_corners=true" : ""));
      const pass_spec& pass = l->describe().passes.front();
      const shape x = l->shapes()["x"], y = l->shapes()["y"];
      const auto step = [&, scaled = scale](int axis, double factor) {
        return scaled ? static_cast<float>(1 / factor)
                      : static_cast<float>(x[axis]) / static_cast<float>(y[axis]);
      };
      const bool tenth = std::string_view(size) == "scale=1.1x0.9";
      const float step_h = step(2, tenth ? 1.1 : 2.3), step_w = step(3, tenth ? 0.9 : 1.5);
      for (const regime r : {regime::zero_mean, regime::positive, regime::lattice, regime::impulse})
        for (std::uint64_t seed = 0; seed < draws; ++seed) {
          auto reads = draw(*l, pass, r, seed, dtype::f32);
          tensor<double>& x_of = reads.at("x").real;
          for (index_t k = 0; seed % 2 == 1 && k < x_of.size(); ++k)  // neighbours of very different size
            x_of[k] = std::ldexp(x_of[k], static_cast<int>(k * 7 % 41 - 20));
          o.evaluate(*l, pass, reads, dtype::f32);
          tensor_set<float> answer = make_tensors<float>(*l, pass.writes);
          tensor<float>& out = answer.at("y").real;
          for (index_t i = 0; i < out.size(); ++i)
            out[i] = upsampled(reads["x"], y, corners, step_h, step_w, i / (y[2] * y[3]), i / y[3] % y[2],
                               i % y[3]);
          expect_right_and_wrong(o, answer, r, l->canonical().print() + " | " + std::string(name_of(r)), t);
        }
    }
  EXPECT_GT(t.elements, draws * 25'000);
  EXPECT_GT(t.spoiled, draws * 25);
}

}  // namespace
}  // namespace plumb
