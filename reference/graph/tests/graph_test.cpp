// The computational graph: gradients against derivations by hand, errors that name the node, the networks against the
// numbers that their papers and everybody else state.
#include "reference/graph/graph.hpp"

#include <gtest/gtest.h>

#include "reference/graph/networks.hpp"

namespace plumb {
namespace {

using role = graph_source::role;

std::string complaint(const std::function<void()>& act) {
  try {
    act();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return {};
}

/// y = a·aᵀ: both inputs of one node come from one source, whose gradient is the sum of both ways.
TEST(graph, sums_the_gradients_of_a_fan_out) {
  computational_graph g;
  g.add_source("a", shape{2, 3}, role::data);
  g.add_node("square", "linear", {{"x", "a"}, {"weight", "a"}});
  g.seal("square");
  tensor_set<rational> in;
  in.add("a", tensor<rational>(shape{2, 3}, {rational(1), rational(2), rational(3), rational(-1), rational(5),
                                             rational(7)}));
  const auto values = g.forward(in);
  EXPECT_EQ(values["square.y"].values(), (std::vector<rational>{14, 30, 30, 75}));
  // ∂ Σ y / ∂a[i,j] = 2 Σ_m a[m,j]
  EXPECT_EQ(g.backward(in, values)["a"].values(), (std::vector<rational>{0, 14, 20, 0, 14, 20}));
}

TEST(graph, evaluates_nodes_in_whatever_order_they_were_added) {
  computational_graph g;
  g.add_node("last", "relu", {{"x", "first"}});
  g.add_node("first", "linear", {{"x", "a"}, {"weight", "w"}});
  g.add_source("a", shape{1, 2}, role::data);
  g.add_source("w", shape{2, 2}, role::parameter);
  g.seal("last");
  EXPECT_EQ(g.nodes().front().name, "first");
  tensor_set<double> in;
  in.add("a", tensor<double>(shape{1, 2}, {1.0, 2.0}));
  in.add("w", tensor<double>(shape{2, 2}, {1.0, 1.0, 1.0, -1.0}));
  const auto values = g.forward(in);
  EXPECT_EQ(values["last.y"].values(), (std::vector<double>{3, 0}));
  const auto gradients = g.backward(in, values);
  EXPECT_EQ(gradients["w"].values(), (std::vector<double>{1, 2, 0, 0}));
  EXPECT_EQ(gradients["a"].values(), (std::vector<double>{1, 1}));
}

TEST(graph, names_the_node_that_is_wrong) {
  const auto build = [](const std::function<void(computational_graph&)>& add) {
    return complaint([&] {
      computational_graph g;
      g.add_source("a", shape{2, 3}, role::data);
      add(g);
      g.seal("end");
    });
  };
  EXPECT_EQ(build([](auto& g) {
              g.add_node("one", "relu", {{"x", "two"}});
              g.add_node("two", "relu", {{"x", "one"}});
              g.add_node("end", "relu", {{"x", "a"}});
            }),
            "no order of evaluation: a cycle goes through `one` or `two`");
  EXPECT_EQ(build([](auto& g) {
              g.add_node("end", "relu", {{"x", "b"}});
            }),
            "node `end`: its input `x` comes from `b`, which is neither a source nor a node");
  EXPECT_EQ(build([](auto& g) {
              g.add_source("w", shape{4, 5}, role::parameter);
              g.add_node("end", "linear", {{"x", "a"}, {"weight", "w"}});
            }).substr(0, 12),
            "node `end`: ");
  EXPECT_EQ(build([](auto& g) { g.add_node("end", "linear", {{"x", "a"}}); }).substr(0, 12), "node `end`: ");
  EXPECT_EQ(build([](auto& g) {
              g.add_node("end", "relu", {{"x", "a"}}, "slope=2");
            }).substr(0, 12),
            "node `end`: ");
  EXPECT_EQ(build([](auto& g) {
              g.add_node("one", "relu", {{"x", "a"}});
              g.add_node("end", "relu", {{"x", "one.z"}});
            }),
            "node `end`: `relu` has no output `one.z`");
  EXPECT_EQ(build([](auto& g) {
              g.add_node("a", "relu", {{"x", "a"}});
            }),
            "node `a`: the name is taken already");
  EXPECT_EQ(build([](auto&) {}), "the output `end` is no node");
}

TEST(networks, have_the_published_numbers_of_parameters) {
  EXPECT_EQ(make_network("two_layer_net").parameter_count(), 3072 * 100 + 100 + 100 * 10 + 10);
  EXPECT_EQ(make_network("lenet5").parameter_count(), 61'706);
  EXPECT_EQ(make_network("alexnet").parameter_count(), 62'378'344);
  EXPECT_EQ(make_network("vgg16").parameter_count(), 138'357'544);
  const index_t classifier = 256 * 28 * 28 * 10 + 10;
  EXPECT_EQ(make_network("inception_block").parameter_count() - classifier, 163'696);
}

TEST(networks, have_the_maps_of_the_lecture) {
  const computational_graph g = make_network("lenet5");
  EXPECT_EQ(to_string(g.extents_of("conv1.y")), "1x6x28x28");
  EXPECT_EQ(to_string(g.extents_of("pool2.y")), "1x16x5x5");
  EXPECT_EQ(to_string(g.extents_of("conv3.y")), "1x120x1x1");
}

TEST(networks, follow_the_pattern) {
  const computational_graph g = make_network("[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1,SOFTMAX", {.batch = 2});
  std::vector<std::string> names;
  for (const auto& n : g.nodes()) names.push_back(n.layer);
  EXPECT_EQ(names, (std::vector<std::string>{"conv2d",  "relu",   "conv2d", "relu",   "max_pool2d",
                                             "conv2d",  "relu",   "conv2d", "relu",   "max_pool2d",
                                             "conv2d",  "relu",   "conv2d", "relu",   "max_pool2d",
                                             "flatten", "linear", "relu",   "linear", "cross_entropy"}));
  EXPECT_EQ(to_string(g.extents_of("pool3.y")), "2x64x4x4");
  EXPECT_EQ(make_network("[(CONV-RELU)*1]*1-(FC-RELU)*0,SOFTMAX").nodes().size(), 5U);
  // `POOL?` pools while there is something to pool.
  EXPECT_EQ(
      to_string(
          make_network("[(CONV-RELU)*1-POOL?]*7-(FC-RELU)*0,SOFTMAX", {.shrink = 16}).extents_of("relu7.y")),
      "1x64x1x1");
}

TEST(networks, refuse_what_is_no_pattern) {
  EXPECT_EQ(
      complaint([] { make_network("[(CONV-RELU)*x]*1-(FC-RELU)*0,SOFTMAX"); }),
      "`[(CONV-RELU)*x]*1-(FC-RELU)*0,SOFTMAX` (column 14): expected a number from 0 to 20 of the pattern "
      "[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX with numbers for N, M and K");
  EXPECT_NE(complaint([] { make_network("[(CONV-RELU)*2]*1-(FC-RELU)*0"); }).find("expected `,`"),
            std::string::npos);
  EXPECT_NE(complaint([] { make_network("resnet51"); }).find("no such network; expected two_layer_net"),
            std::string::npos);
}

TEST(networks, are_there_in_sizes_that_can_be_checked) {
  for (const std::string& name : network_names()) {
    const computational_graph g = make_network(name, checkable_size(name));
    EXPECT_LE(g.parameter_count(), 40'000) << name;
    EXPECT_EQ(g.nodes().size(), make_network(name).nodes().size()) << name;
  }
}

}  // namespace
}  // namespace plumb
