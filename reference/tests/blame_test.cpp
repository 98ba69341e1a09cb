// The agreement test is worth what it can see: a small layer with one definition planted wrong at a time, and the
// helper must blame exactly that one.
#include <gtest/gtest.h>

#include <limits>

#include "reference/layers/model.hpp"
#include "reference/tests/five_definitions.hpp"

namespace plumb {
namespace {

using namespace five_definitions;

template <class T>
inline constexpr bool is_dual = false;
template <class T>
inline constexpr bool is_dual<dual<T>> = true;

enum class planted { nothing, forward, vjp, jacobian, dual_numbers, difference };

/// y[i] = w[i]·x[i]², of degree 2 in x.
template <planted Fault>
struct square_gate {
  static constexpr std::string_view formula = "y = w·x²";
  static constexpr bool rational = true;
  static constexpr int degree = 2;
  bool operator==(const square_gate&) const = default;

  static void attributes(auto&, auto&&) {}
  signature describe() const {
    return {.inputs = {{.name = "x"}, {.name = "w"}},
            .outputs = {{.name = "y"}},
            .passes = {{.name = "forward", .reads = {"x", "w"}, .writes = {"y"}}}};
  }
  shape_map output_shapes(const shape_map& in) const {
    shape_map out;
    out.set("y", in["x"]);
    return out;
  }
  template <class T>
  void forward(const bundle<const T>& in, const bundle<T>& out) const {
    for (index_t i = 0; i < in["x"].size(); ++i) {
      T y = in["w"][i] * in["x"][i] * in["x"][i];
      if (Fault == planted::forward) y += in["x"][i];
      if constexpr (Fault == planted::dual_numbers && is_dual<T>) y.tangent += y.tangent;
      if constexpr (Fault == planted::difference && !is_dual<T>) y += in["w"][i];
      out["y"][i] = y;
    }
  }
  template <class T>
  void vjp(const bundle<const T>& in, const bundle<const T>&, const bundle<const T>& dy,
           const bundle<T>& dx) const {
    for (index_t i = 0; i < in["x"].size(); ++i) {
      dx["dx"][i] = T(2) * dy["dy"][i] * in["w"][i] * in["x"][i];
      dx["dw"][i] = dy["dy"][i] * in["x"][i] * (Fault == planted::vjp && i == 1 ? T(1) : in["x"][i]);
    }
  }
  template <class T, class Emit>
  void jacobian(const bundle<const T>& in, Emit&& emit) const {
    const auto x = in["x"], w = in["w"];
    for (index_t i = 0; i < x.size(); ++i) {
      emit("y", i, "x", i, (x[i] + x[i]) * w[i]);
      if (Fault != planted::jacobian || i != 2) emit("y", i, "w", i, x[i] * x[i]);
    }
  }
};

template <planted Fault, class T>
std::set<std::string> blame(const T& tolerance) {
  const layer_model<square_gate<Fault>> l(problem::parse("gate x=3 w=3"));
  tensor_set<T> in;
  in.add("x", tensor<T>(shape{3}, {T(2), T(-3), T(5)}));
  in.add("w", tensor<T>(shape{3}, {T(7), T(-1), T(4)}));
  return blamed(l, in, tolerance);
}

TEST(blame, falls_on_the_planted_definition_in_rationals) {
  const rational exact = 0;
  EXPECT_EQ(blame<planted::nothing>(exact), std::set<std::string>{});
  EXPECT_EQ(blame<planted::forward>(exact), std::set<std::string>{"forward"});
  EXPECT_EQ(blame<planted::vjp>(exact), std::set<std::string>{"vjp"});
  EXPECT_EQ(blame<planted::jacobian>(exact), std::set<std::string>{"jacobian"});
  EXPECT_EQ(blame<planted::dual_numbers>(exact), std::set<std::string>{"dual"});
  EXPECT_EQ(blame<planted::difference>(exact), std::set<std::string>{"difference"});
}

TEST(blame, falls_on_the_planted_definition_in_50_digits) {
  const mp100 tolerance("1e-45");
  EXPECT_EQ(blame<planted::nothing>(tolerance), std::set<std::string>{});
  EXPECT_EQ(blame<planted::vjp>(tolerance), std::set<std::string>{"vjp"});
  EXPECT_EQ(blame<planted::difference>(tolerance), std::set<std::string>{"difference"});
}

TEST(agree, only_when_every_entry_does) {
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const matrices<double> good = {{{"y", "x"}, {1, 0, -2}}};
  const auto with = [](double wrong) { return matrices<double>{{{"y", "x"}, {1, wrong, -2}}}; };
  EXPECT_TRUE(agree(good, good, 0.0));
  EXPECT_TRUE(agree(good, with(-0.0), 0.0));
  EXPECT_TRUE(agree(good, with(1e-13), 1e-12));
  EXPECT_FALSE(agree(good, with(1e-11), 1e-12));
  for (const double wrong : {nan, infinity, -infinity}) {
    EXPECT_FALSE(agree(good, with(wrong), 1e-12)) << wrong;
    EXPECT_FALSE(agree(with(wrong), good, 1e-12)) << wrong;
  }
  EXPECT_FALSE(agree(with(nan), with(nan), 1e-12));
  EXPECT_FALSE(agree(good, {}, 1e-12));
  EXPECT_FALSE(agree(good, {{{"y", "x"}, {1, 0}}}, 1e-12));
}

}  // namespace
}  // namespace plumb
