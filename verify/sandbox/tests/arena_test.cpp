// Placement, canaries, gaps and poison, without any worker.
#include "verify/sandbox/arena.hpp"

#include <gtest/gtest.h>

#include "verify/sandbox/wire.hpp"

namespace plumb {
namespace {

void poke(const placed_tensor& t, std::ptrdiff_t from_begin, unsigned char value) {
  t.begin[from_begin] = std::byte{value};
}

TEST(arena, tensors_touch_the_end_they_are_placed_at) {
  arena a(0);
  const placed_tensor high = a.place_read("x", dtype::f32, shape{3}, shape{1}, {true, 0});
  EXPECT_EQ(high.end, high.slot_end);
  EXPECT_EQ(high.bytes(), 12U);
  const placed_tensor low = a.place_read("x", dtype::f64, shape{3}, shape{1}, {false, 2});
  EXPECT_EQ(low.begin, low.slot_begin + 16);
  EXPECT_NE(low.slot, high.slot);
  a.clear();
  EXPECT_EQ(a.place_read("x", dtype::f32, shape{3}, shape{1}).slot, high.slot);
}

TEST(arena, negative_strides_put_the_first_element_above_the_lowest) {
  arena a(0);
  const placed_tensor t = a.place_written("y", dtype::f32, shape{2, 3}, shape{3, -1}, poison::nan);
  EXPECT_EQ(t.bytes(), 24U);
  EXPECT_EQ(static_cast<std::byte*>(t.here.data), t.begin + 8);
}

TEST(arena, every_canary_byte_on_either_side_is_watched) {
  arena a(0);
  for (const bool at_end : {true, false})
    for (const int skew : {0, 1, 700}) {
      placed_tensor t = a.place_written("y", dtype::f32, shape{5}, shape{1}, poison::large, {at_end, skew});
      EXPECT_FALSE(find_damage(t));
      const std::ptrdiff_t free_before = std::min<std::ptrdiff_t>(t.begin - t.slot_begin, 4096);
      const std::ptrdiff_t free_after = std::min<std::ptrdiff_t>(t.slot_end - t.end, 4096);
      for (const std::ptrdiff_t distance : {std::ptrdiff_t{1}, std::ptrdiff_t{2}, free_before}) {
        if (distance > free_before || distance == 0) continue;
        poke(t, -distance, 0);
        ASSERT_TRUE(find_damage(t)) << distance;
        EXPECT_EQ(find_damage(t)->side, damage::where::before);
        EXPECT_EQ(find_damage(t)->distance, distance);
        arena::refill(t, poison::nan);
        EXPECT_FALSE(find_damage(t));
      }
      for (const std::ptrdiff_t distance : {std::ptrdiff_t{1}, std::ptrdiff_t{2}, free_after}) {
        if (distance > free_after || distance == 0) continue;
        poke(t, 20 + distance - 1, 0);
        ASSERT_TRUE(find_damage(t)) << distance;
        EXPECT_EQ(find_damage(t)->side, damage::where::after);
        EXPECT_EQ(find_damage(t)->distance, distance);
        arena::refill(t, poison::nan);
        EXPECT_FALSE(find_damage(t));
      }
    }
}

TEST(arena, gaps_between_the_elements_are_watched) {
  arena a(0);
  placed_tensor t = a.place_written("y", dtype::f32, shape{2, 2}, shape{4, 1}, poison::large);
  t.here.view<float>()(0, 1) = 1;
  EXPECT_FALSE(find_damage(t));
  poke(t, 9, 0);
  ASSERT_TRUE(find_damage(t));
  EXPECT_EQ(find_damage(t)->describe(), "wrote between the elements of `y`, 9 bytes after its lowest");
}

TEST(arena, unwritten_elements_are_numbered_row_major_whatever_the_strides) {
  arena a(0);
  const shape extents{2, 3, 2, 2};
  for (const dtype type : {dtype::f32, dtype::f64, dtype::bf16, dtype::i64})
    for (const shape& strides :
         {row_major(extents), channels_last(extents), shape{100, 20, 7, 3}, shape{12, 4, -2, 1}}) {
      a.clear();
      const placed_tensor one = a.place_written("y", type, extents, strides, poison::nan);
      const placed_tensor two = a.place_written("y", type, extents, strides, poison::large);
      EXPECT_EQ(find_unwritten(one, two).count, 24);
      EXPECT_EQ(find_unwritten(one, two).first, 0);
      const auto size = static_cast<std::ptrdiff_t>(size_of(type));
      for_each_index(extents, [&](const shape& at) {
        if (at == shape{0, 2, 1, 0} || at == shape{1, 0, 0, 1}) return;
        std::ptrdiff_t offset = 0;
        for (int axis = 0; axis < 4; ++axis) offset += at[axis] * strides[axis];
        static_cast<std::byte*>(one.here.data)[offset * size] = std::byte{1};  // one byte is enough
      });
      EXPECT_EQ(find_unwritten(one, two).count, 2);
      EXPECT_EQ(find_unwritten(one, two).first, 10);
      EXPECT_EQ(find_unwritten(two, one).first, 10);
    }
}

TEST(arena, an_element_that_equals_one_poison_only_counts_as_written) {
  arena a(0);
  const placed_tensor one = a.place_written("y", dtype::f32, shape{1}, shape{1}, poison::nan);
  const placed_tensor two = a.place_written("y", dtype::f32, shape{1}, shape{1}, poison::large);
  two.here.view<float>()[0] = 0;
  EXPECT_EQ(find_unwritten(one, two).count, 0);
}

TEST(arena, what_does_not_fit_is_refused) {
  arena a(0);
  EXPECT_THROW(a.place_read("x", dtype::f64, shape{1 << 29}, shape{1}), std::length_error);
  for (int i = 0; i < wire::read_slots; ++i) a.place_read("x", dtype::f32, shape{1}, shape{1});
  EXPECT_THROW(a.place_read("x", dtype::f32, shape{1}, shape{1}), std::length_error);
}

}  // namespace
}  // namespace plumb
