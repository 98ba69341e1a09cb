// The gradient check sees a fault in any one definition, of a layer alone and at a point inside a network; sparse
// Jacobians against patterns counted by hand.
#include "verify/gradcheck.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "reference/graph/networks.hpp"
#include "reference/layers/catalogue.hpp"
#include "reference/tests/planted.hpp"
#include "verify/network_check.hpp"
#include "verify/sparse_jacobian.hpp"

namespace plumb {
namespace {

using record::verdict;

constexpr std::pair<planted, const char*> all_faults[] = {{planted::formula, "disagree"},
                                                          {planted::vjp, "`vjp`"},
                                                          {planted::jacobian, "`jacobian`"},
                                                          {planted::dual_numbers, "`dual`"}};

class gradcheck : public testing::TestWithParam<const char*> {};

TEST_P(gradcheck, passes_a_good_layer_and_blames_a_planted_fault) {
  const auto good = plumb::bind(std::string_view(GetParam()));
  gradcheck_options options;
  options.curves = false;
  EXPECT_EQ(check_layer(*good, options).verdict, verdict::pass);
  EXPECT_EQ(check_layer_at(*good, draw_point(*good, 3), options).verdict, verdict::pass);
  const auto place = place_for_a_fault(*good);
  ASSERT_TRUE(place.has_value());
  for (const auto& [kind, blamed] : all_faults) {
    const planted_layer bad(*good, kind, place->first, place->second);
    const record::layer_check alone = check_layer(bad, options);
    EXPECT_EQ(alone.verdict, verdict::fail) << blamed;
    EXPECT_NE(alone.reason.find(blamed), std::string::npos) << alone.reason;
    EXPECT_EQ(check_layer_at(bad, draw_point(bad, 3), options).verdict, verdict::fail) << blamed;
  }
}

INSTANTIATE_TEST_SUITE_P(layers, gradcheck,
                         testing::Values("conv2d x=1x2x4x3 weight=2x2x3x2 stride=2x1 pad=1", "relu x=3x4",
                                         "max_pool1d x=1x2x7 window=3 stride=2", "sigmoid x=2x3",
                                         "cross_entropy x=3x4 target=3"));

TEST(network_check, passes_every_layer_of_the_two_layer_net) {
  gradcheck_options options;
  const computational_graph g = make_network("two_layer_net", checkable_size("two_layer_net"));
  const auto checks = check_network("two_layer_net", g, options, [](const std::string&) {});
  ASSERT_EQ(checks.size(), 1 + g.nodes().size());
  for (const record::layer_check& c : checks)
    EXPECT_EQ(c.verdict, verdict::pass) << c.layer << ": " << c.reason;
  EXPECT_EQ(checks.front().agreements.size(), 3U);
  for (const record::agreement& a : checks.front().agreements)
    EXPECT_TRUE(a.exact || a.digits >= 50) << a.digits;
  EXPECT_EQ(checks[1].layer, "two_layer_net/flatten");
}

TEST(colours, are_as_few_as_the_pattern_allows) {
  const auto count = [](index_t columns, const std::vector<std::vector<index_t>>& rows) {
    const auto colour = colour_columns(columns, rows);
    for (const auto& row : rows)
      for (std::size_t i = 0; i < row.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
          EXPECT_NE(colour[static_cast<std::size_t>(row[i])], colour[static_cast<std::size_t>(row[j])]);
    return *std::ranges::max_element(colour) + 1;
  };
  EXPECT_EQ(count(4, {{0}, {1}, {2}, {3}}), 1);
  EXPECT_EQ(count(4, {{0, 1, 2, 3}}), 4);
  EXPECT_EQ(count(6, {{0, 1}, {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 5}, {4, 5}}), 3);
  EXPECT_EQ(count(3, {{}}), 1);
}

TEST(sparse_jacobian, of_a_convolution_has_its_band) {
  const auto l = plumb::bind(std::string_view("conv1d x=1x1x9 weight=1x1x3"));
  const auto all = sparse_jacobians(*l, draw_point(*l, 1), 1000);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].input, "x");
  EXPECT_EQ(all[0].entries.size(), 21U);  // 7 outputs of 3 taps
  EXPECT_EQ(all[0].colours, 3);
  EXPECT_EQ(all[0].disagreement, 0);
  EXPECT_EQ(all[1].entries.size(), 21U);
  EXPECT_EQ(all[1].colours, 3);
  EXPECT_THROW(sparse_jacobians(*l, draw_point(*l, 1), 20), std::length_error);
}

TEST(sparse_jacobian, is_written_in_matrix_market_format) {
  const sparse_jacobian j{.output = "y",
                          .input = "x",
                          .rows = 2,
                          .columns = 3,
                          .colours = 1,
                          .entries = {{0, 1, 0.5, 0.5}, {1, 2, -3, -3}}};
  EXPECT_EQ(matrix_market(j, "a layer"),
            "%%MatrixMarket matrix coordinate real general\n% dy/dx of a layer\n2 3 2\n1 2 0.5\n2 3 -3\n");
}

TEST(sparse_jacobian, sees_either_definition_wrong) {
  const auto l = plumb::bind(std::string_view("relu x=5"));
  EXPECT_EQ(sparse_jacobians(*l, draw_point(*l, 1), 100)[0].disagreement, 0);
  for (const planted kind : {planted::jacobian, planted::dual_numbers}) {
    const planted_layer bad(*l, kind, "x", "y");
    EXPECT_GT(sparse_jacobians(bad, draw_point(bad, 1), 100)[0].disagreement, 0.1);
  }
}

}  // namespace
}  // namespace plumb
