// Receptive fields by the recurrence against the pattern of derivatives that are not zero, found by moving every cell
// of the image, and against the numbers of the lecture.
#include "reference/graph/receptive_field.hpp"

#include <gtest/gtest.h>

#include "reference/graph/networks.hpp"

namespace plumb {
namespace {

using role = graph_source::role;

/// A stack with uneven windows, strides, padding and a dilation. Averages, since a maximum hides all but one cell.
computational_graph stack(index_t height, index_t width) {
  computational_graph g;
  g.add_source("image", shape{1, 1, height, width}, role::data);
  g.add_source("w1", shape{2, 1, 3, 2}, role::parameter);
  g.add_source("w2", shape{1, 2, 2, 3}, role::parameter);
  g.add_node("conv1", "conv2d", {{"x", "image"}, {"weight", "w1"}}, "stride=2x1 pad=1,0,0,2");
  g.add_node("relu", "relu", {{"x", "conv1"}});
  g.add_node("pool", "avg_pool2d", {{"x", "relu"}}, "window=2x3 stride=1x2 pad=1x1");
  g.add_node("conv2", "conv2d", {{"x", "pool"}, {"weight", "w2"}}, "dilation=2x1 pad=1x0");
  g.seal("conv2");
  return g;
}

struct span {
  index_t first = 1000, last = -1;
  void take(index_t at) {
    first = std::min(first, at);
    last = std::max(last, at);
  }
};

TEST(receptive_field, is_the_hull_of_the_derivatives_that_are_not_zero) {
  const index_t H = 17, W = 15;
  const computational_graph g = stack(H, W);
  const auto field = receptive_field_of(g, "image", "conv2.y");
  const shape y = g.extents_of("conv2.y");
  tensor_set<dual<double>> sources;
  double next = 0;
  for (const graph_source& s : g.sources()) {
    tensor<dual<double>> t(s.extents);
    for (index_t i = 0; i < t.size(); ++i)
      t[i] = dual<double>(1 + (next += 0.37));  // positive: no relu is off
    sources.add(s.name, std::move(t));
  }
  std::vector<span> rows(static_cast<std::size_t>(y.size())), columns = rows;
  for (index_t h = 0; h < H; ++h)
    for (index_t w = 0; w < W; ++w) {
      sources["image"][h * W + w].tangent = 1;
      const auto values = g.forward(sources);
      sources["image"][h * W + w].tangent = 0;
      for (index_t i = 0; i < y.size(); ++i)
        if (values["conv2.y"][i].tangent != 0) {
          rows[static_cast<std::size_t>(i)].take(h);
          columns[static_cast<std::size_t>(i)].take(w);
        }
    }
  int inside = 0;
  for (index_t p = 0; p < y[2]; ++p)
    for (index_t q = 0; q < y[3]; ++q) {
      const auto i = static_cast<std::size_t>(p * y[3] + q);
      const index_t top = field[0].start + p * field[0].jump, left = field[1].start + q * field[1].jump;
      const index_t bottom = top + field[0].size - 1, right = left + field[1].size - 1;
      EXPECT_GE(rows[i].first, top);
      EXPECT_LE(rows[i].last, bottom);
      EXPECT_GE(columns[i].first, left);
      EXPECT_LE(columns[i].last, right);
      if (top < 0 || left < 0 || bottom >= H || right >= W) continue;
      ++inside;
      EXPECT_EQ(rows[i].first, top);
      EXPECT_EQ(rows[i].last, bottom);
      EXPECT_EQ(columns[i].first, left);
      EXPECT_EQ(columns[i].last, right);
    }
  EXPECT_GT(inside, 3);
}

TEST(receptive_field, of_stacked_windows_by_hand) {
  const computational_graph g = stack(17, 15);
  // Height: conv1 r = 3, j = 2, start -1; pool r = 3 + 1·2 = 5, start -3; conv2 spans 3: r = 5 + 2·2 = 9, start -5.
  EXPECT_EQ(receptive_field_of(g, "image", "conv2.y")[0], (receptive_field{9, 2, -5}));
  // Width: conv1 r = 2; pool r = 2 + 2 = 4, j = 2, start -1; conv2 r = 4 + 2·2 = 8.
  EXPECT_EQ(receptive_field_of(g, "image", "conv2.y")[1], (receptive_field{8, 2, -1}));
}

TEST(receptive_field, of_published_networks) {
  // Three 3x3 layers see 7x7 (Simonyan & Zisserman); VGG-16 before its classifier 212 in steps of 32.
  EXPECT_EQ(receptive_field_of(make_network("vgg16"), "image", "pool5.y")[0].size, 212);
  EXPECT_EQ(receptive_field_of(make_network("vgg16"), "image", "pool5.y")[0].jump, 32);
  EXPECT_EQ(receptive_field_of(make_network("alexnet"), "image", "pool3.y")[0],
            (receptive_field{195, 32, -64}));
  EXPECT_EQ(receptive_field_of(make_network("lenet5"), "image", "conv3.y")[0], (receptive_field{32, 4, 0}));
  EXPECT_EQ(receptive_field_of(make_network("inception_block"), "image", "join.y")[0],
            (receptive_field{5, 1, -2}));
}

TEST(receptive_field, names_the_node_that_does_not_slide) {
  const computational_graph g = make_network("lenet5");
  try {
    receptive_field_of(g, "image", "fc1.y");
    FAIL();
  } catch (const graph_error& e) {
    EXPECT_EQ(std::string(e.what()), "node `flatten`: `flatten` does not slide over its input");
  }
  EXPECT_THROW(receptive_field_of(g, "target", "conv1.y"), graph_error);
}

}  // namespace
}  // namespace plumb
