// Counts against counted loops: the definitions run over a number that counts its own multiplications and additions,
// and every count that Plumb derives from declarations (products of a pass, and with them the FLOP of a bench) must be
// what the loops did. Parameters are counted element by element.
#include <gtest/gtest.h>

#include "bench/work.hpp"
#include "properties/generators/problem_space.hpp"
#include "reference/layers/catalogue.hpp"
#include "reference/layers/conv.hpp"
#include "reference/layers/conv_transpose.hpp"
#include "reference/layers/depthwise_conv.hpp"
#include "reference/layers/linear.hpp"
#include "reference/layers/locally_connected.hpp"
#include "reference/layers/matmul.hpp"
#include "reference/layers/model.hpp"
#include "reference/layers/row_conv.hpp"

namespace plumb {
namespace {

/// What the loops did since it was set to zero.
struct tally {
  double multiplications = 0, additions = 0;
};
thread_local tally done;

/// A number that has no value: only what is done with it counts.
struct counted {
  counted() = default;
  explicit counted(int) {}
  friend counted operator*(const counted&, const counted&) { return ++done.multiplications, counted(); }
  friend counted operator+(const counted&, const counted&) { return ++done.additions, counted(); }
  counted& operator+=(const counted&) { return ++done.additions, *this; }
};

/// The layer as its problem text says, with `padding=` and the like resolved.
template <class L>
L read(const layer& l) {
  L math;
  detail::attribute_reader reader{l.canonical()};
  L::attributes(math, reader);
  if constexpr (requires { math.resolve(l.shapes()); }) math.resolve(l.shapes());
  return math;
}

bool is_listed(const std::vector<tensor_spec>& specs, std::string_view name) {
  return std::ranges::any_of(specs, [&](const tensor_spec& s) { return s.name == name; });
}

template <class L>
tally count(const layer& l, const pass_spec& pass) {
  std::vector<std::string> inputs, cotangents;
  for (const std::string& name : pass.reads)
    if (l.present(name)) (is_listed(l.describe().inputs, name) ? inputs : cotangents).push_back(name);
  const tensor_set<counted> in = make_tensors<counted>(l, inputs), dy = make_tensors<counted>(l, cotangents);
  tensor_set<counted> out = make_tensors<counted>(l, pass.writes);
  const L math = read<L>(l);
  done = {};
  if (pass.name == "forward")
    math.template forward<counted>(in.views(), out.views());
  else
    math.template vjp<counted>(in.views(), {}, dy.views(), out.views());
  return done;
}

/// The sums of every pass have as many terms as the loops added, and every term with two factors was multiplied. A bias
/// is where a sum starts, and no term of it.
template <class L>
void loops_agree(const char* name) {
  int with_terms = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const auto l = plumb::bind(draw_problem(name, seed));
    for (const pass_spec& pass : l->describe().passes) {
      const double products = bench::count_products(*l, pass);
      const tally loops = count<L>(*l, pass);
      EXPECT_EQ(loops.additions, products) << l->canonical().print() << ", " << pass.name;
      EXPECT_EQ(loops.multiplications, pass.name == "backward_bias" ? 0 : products)
          << l->canonical().print() << ", " << pass.name;
      EXPECT_EQ(bench::operations(*l, pass), 2 * products);
      if (products > 0) ++with_terms;
    }
  }
  EXPECT_GE(with_terms, 60) << name;
}

TEST(counts, of_convolutions) {
  loops_agree<conv<1>>("conv1d");
  loops_agree<conv<2>>("conv2d");
  loops_agree<conv<3>>("conv3d");
}
TEST(counts, of_transposed_convolutions) {
  loops_agree<conv_transpose<1>>("conv_transpose1d");
  loops_agree<conv_transpose<2>>("conv_transpose2d");
  loops_agree<conv_transpose<3>>("conv_transpose3d");
}
TEST(counts, of_filters_of_their_own_kind) {
  loops_agree<depthwise_conv<2>>("depthwise_conv2d");
  loops_agree<locally_connected<2>>("locally_connected2d");
  loops_agree<row_conv>("row_conv1d");
}
TEST(counts, of_matrix_products) {
  loops_agree<linear>("linear");
  loops_agree<matmul>("matmul");
}

/// A plant: the count of a pass with one border more than the loops have.
TEST(counts, see_a_border_that_is_not_there) {
  const auto l = plumb::bind("conv2d x=1x1x5x4 weight=1x1x3x2 pad=1"),
             wider = plumb::bind("conv2d x=1x1x5x4 weight=1x1x3x2 pad=1,2,1,1");
  const pass_spec& forward = l->describe().passes.front();
  EXPECT_EQ(bench::count_products(*l, forward), count<conv<2>>(*l, forward).additions);
  EXPECT_NE(bench::count_products(*wider, forward), count<conv<2>>(*l, forward).additions);
  // By hand: along h, three taps over 5 cells with a border of 1 meet 2+3+3+3+2 = 13; along w two taps over 4 meet 8.
  EXPECT_EQ(bench::count_products(*l, forward), 13 * 8);
}

}  // namespace
}  // namespace plumb
