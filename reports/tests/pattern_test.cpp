// Patterns planted in a tensor are named; what has no shape is not given one.
#include "reports/pattern.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>

namespace plumb::reports {
namespace {

struct place {
  std::int64_t n, k, p, q;
};

/// y[2, 8, 6, 15] with the elements for which `broken` holds wrong.
std::string pattern(const std::function<bool(place)>& broken) {
  damage d{{2, 8, 6, 15}, {1, 1, 1, 1}, {"n", "k", "p", "q"}, {}};
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t k = 0; k < 8; ++k)
      for (std::int64_t p = 0; p < 6; ++p)
        for (std::int64_t q = 0; q < 15; ++q) d.wrong.push_back(broken({n, k, p, q}));
  return name_pattern(d);
}

TEST(pattern, names_what_real_bugs_leave_behind) {
  EXPECT_EQ(pattern([](place a) { return a.q == 14; }), "right border (q=14)");
  EXPECT_EQ(pattern([](place a) { return a.p == 0; }), "top border (p=0)");
  EXPECT_EQ(pattern([](place a) { return a.p < 2; }), "top border (p=0…1)");
  EXPECT_EQ(pattern([](place a) { return a.p == 0 || a.p == 5 || a.q == 0 || a.q == 14; }), "border");
  EXPECT_EQ(pattern([](place a) { return a.p == 0 || a.q == 0; }), "top and left borders");
  EXPECT_EQ(pattern([](place a) { return a.q == 0 || a.q == 14; }), "left and right borders (q=0, 14)");
  EXPECT_EQ(pattern([](place a) { return a.q >= 8; }), "tail: last 7 columns (q=8…14)");
  EXPECT_EQ(pattern([](place a) { return a.q >= 12; }), "tail: last 3 columns (q=12…14)");
  EXPECT_EQ(pattern([](place a) { return a.q == 7; }), "stripe: column (q=7)");
  EXPECT_EQ(pattern([](place a) { return a.q % 4 == 3; }), "stripe: every 4th column (q=3, 7, 11)");
  EXPECT_EQ(pattern([](place a) { return a.p % 2 == 1; }), "stripe: every 2nd row (p=1, 3, 5)");
  EXPECT_EQ(pattern([](place a) { return a.k >= 4; }), "channel block (k=4…7)");
  EXPECT_EQ(pattern([](place a) { return a.k == 2; }), "channel block (k=2)");
  EXPECT_EQ(pattern([](place a) { return a.n == 1; }), "tail: last image (n=1)");
  EXPECT_EQ(pattern([](place a) { return (a.p + a.q) % 2 == 1; }), "checkerboard");
  EXPECT_EQ(pattern([](place a) { return a.k >= 4 && a.q == 14; }),
            "channel block (k=4…7), right border (q=14)");
  EXPECT_EQ(pattern([](place a) { return a.p * 15 + a.q >= 83; }), "tail of the image: its last 7 elements");
  EXPECT_EQ(pattern([](place a) { return ((a.n * 8 + a.k) * 6 + a.p) * 15 + a.q >= 1437; }),
            "tail of the tensor: its last 3 elements");
}

TEST(pattern, is_not_misled_by_elements_that_are_right_by_chance) {
  std::mt19937 bits(5);
  const auto mostly = [&] { return bits() % 10 < 7; };
  EXPECT_EQ(pattern([&](place a) { return a.q == 14 && mostly(); }), "right border (q=14)");
  EXPECT_EQ(pattern([&](place a) { return (a.p + a.q) % 2 == 0 && mostly(); }), "checkerboard");
}

TEST(pattern, is_not_misled_by_strays) {
  EXPECT_EQ(pattern([&](place a) { return a.q == 14 || (a.n == 0 && a.k == 3 && a.p == 2 && a.q < 3); }),
            "right border (q=14)");
}

TEST(pattern, says_when_there_is_none) {
  std::mt19937 bits(5);
  EXPECT_EQ(pattern([](place) { return false; }), "");
  EXPECT_EQ(pattern([](place) { return true; }), "everywhere");
  EXPECT_EQ(pattern([](place a) { return a.n == 1 && a.k == 3 && a.p == 2 && a.q == 9; }), "one element");
  EXPECT_EQ(pattern([&](place) { return bits() % 9 == 0; }), "scattered");
  EXPECT_EQ(name_pattern({{1, 1, 1, 2}, {1, 1, 1, 1}, {}, {true, false}}), "") << "too small to tell";
  EXPECT_EQ(name_pattern({{0, 4}, {1, 1}, {}, {true}}), "") << "an impossible record";
  EXPECT_EQ(name_pattern({{}, {}, {}, {}}), "");
}

record::heat_map map_of(double inside, double last_column) {
  record::heat_map map;
  map.shape = {1, 2, 4, 10};
  map.axes = {"n", "k", "p", "q"};
  map.col_step = 2;
  for (int k = 0; k < 2; ++k) {
    record::heat_tile& tile = map.tiles.emplace_back();
    tile.rows = 4;
    tile.cols = 5;
    for (int i = 0; i < 20; ++i) tile.share.push_back(i % 5 == 4 ? last_column : inside);
  }
  return map;
}

TEST(pattern, wrong_is_beyond_the_bound_or_no_number) {
  EXPECT_EQ(pattern_of(map_of(0.9, -0.9)), "");
  EXPECT_EQ(pattern_of(map_of(0.9, -1.5)), "right border (q=8…9)") << "in elements, not in cells";
  EXPECT_EQ(pattern_of(map_of(0, std::numeric_limits<double>::quiet_NaN())), "right border (q=8…9)");
  EXPECT_EQ(pattern_of(map_of(0, std::numeric_limits<double>::infinity())), "right border (q=8…9)");
}

TEST(pattern, of_a_counterexample_prefers_the_case_before_shrinking) {
  record::counterexample c;
  c.original_replay = "before";
  record::tensor_dump got{"y",        record::tensor_role::got, "f32", {1, 8},
                          {"n", "k"}, std::vector<double>(8),   {2, 3}};
  c.tensors = {got};
  EXPECT_EQ(pattern_of(c, nullptr), "channel block (k=2…3)");
  record::heat_map map = map_of(0, 2);
  map.replay = "before";
  EXPECT_EQ(pattern_of(c, &map), "right border (q=8…9)");
  map.replay = "another case";
  EXPECT_EQ(pattern_of(c, &map), "channel block (k=2…3)");
  c.pattern = "as recorded";
  EXPECT_EQ(pattern_of(c, &map), "as recorded");
}

}  // namespace
}  // namespace plumb::reports
