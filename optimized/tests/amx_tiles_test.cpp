// The emulated tiles of AMX against sums written down once more from the manual, and the instructions, where there are
// any, against the emulation, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "optimized/cpu/amx_tiles.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

/// Numbers with at most 8 bits of mantissa, as pairs in words.
class numbers {
 public:
  explicit numbers(unsigned seed) : random_(seed) {}
  float pair(int least_exponent, int most_exponent) {
    const auto one = [&] {
      const int exponent =
          least_exponent +
          static_cast<int>(random_() % static_cast<unsigned>(most_exponent - least_exponent + 1));
      const float v = std::ldexp(static_cast<float>(128 + random_() % 128), exponent - 7);
      return std::bit_cast<std::uint32_t>(random_() % 2 == 0 ? v : -v) >> 16;
    };
    const std::uint32_t first = one();
    return std::bit_cast<float>(first | one() << 16);
  }
  std::vector<float> pairs(std::size_t count, int least, int most) {
    std::vector<float> v(count);
    for (float& p : v) p = pair(least, most);
    return v;
  }

 private:
  std::mt19937 random_;
};

float half(float pair, bool second) {
  const auto bits = std::bit_cast<std::uint32_t>(pair);
  return std::bit_cast<float>(second ? bits & 0xffff0000U : bits << 16);
}

float flushed(float v) { return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0F, v) : v; }

/// TDPBF16PS as the manual has it, for a sum of several instructions.
float by_the_manual(const std::vector<float>& a, const std::vector<float>& b, index_t steps, index_t m,
                    index_t n) {
  float c = 0;
  for (index_t step = 0; step < steps; ++step) {
    float sums[2] = {};
    for (index_t k = 0; k < 16; ++k)
      for (const bool second : {false, true}) {
        const float x = half(a[static_cast<std::size_t>(m * steps * 16 + step * 16 + k)], second),
                    w = half(b[static_cast<std::size_t>((step * 16 + k) * 32 + n)], second);
        sums[second] = flushed(std::fma(flushed(x), flushed(w), sums[second]));
      }
    c = flushed(c + flushed(sums[0] + sums[1]));
  }
  return c;
}

constexpr index_t steps = 3;

/// 32 rows of a, 32 columns of b, 3 · 16 pairs of terms.
std::vector<float> multiply(const tile_machine& machine, const std::vector<float>& a,
                            const std::vector<float>& b, int rows, int columns) {
  std::vector<float> out(32 * 32, 77.0F);
  const std::vector<float> zeros(32);
  const index_t begin = 0;
  const tile_product p{.a = a.data(),
                       .b = b.data(),
                       .a_row = steps * 16,
                       .b_row = 32,
                       .a_next = 16 * steps * 16,
                       .b_next = 16,
                       .outer = 1,
                       .inner = steps,
                       .a_at = &begin,
                       .b_outer = 0,
                       .a_step = 16,
                       .b_step = 16 * 32,
                       .init = zeros.data(),
                       .init_row = 0,
                       .out = out.data(),
                       .rows = rows,
                       .columns = columns};
  const tile_session session(machine);
  machine.multiply(p);
  return out;
}

void expect_manual(int least, int most) {
  numbers draw(static_cast<unsigned>(most - least));
  const std::vector<float> a = draw.pairs(32 * steps * 16, least, most),
                           b = draw.pairs(steps * 16 * 32, least, most);
  for (const int rows : {1, 2})
    for (const int columns : {1, 2}) {
      const std::vector<float> got = multiply(tile_machines().back(), a, b, rows, columns);
      for (index_t m = 0; m < 32; ++m)
        for (index_t n = 0; n < 32; ++n) {
          const bool inside = m < rows * 16 && n < columns * 16;
          const float expected = inside ? by_the_manual(a, b, steps, m, n) : 77.0F;
          EXPECT_EQ(std::bit_cast<std::uint32_t>(got[static_cast<std::size_t>(m * 32 + n)]),
                    std::bit_cast<std::uint32_t>(expected))
              << rows << columns << " " << m << " " << n;
        }
    }
}

TEST(emulated_tiles, multiply_by_the_manual) { expect_manual(-3, 3); }
TEST(emulated_tiles, flush_subnormal_products_and_sums) { expect_manual(-70, -58); }
TEST(emulated_tiles, flush_subnormal_operands) { expect_manual(-133, -120); }
TEST(emulated_tiles, overflow_to_infinity) { expect_manual(60, 66); }

TEST(emulated_tiles, keep_even_and_odd_terms_apart) {
  // Added one after another these would be 1: the odd term takes 2²⁴ away before the one comes.
  std::vector<float> a(32 * steps * 16), b(steps * 16 * 32);
  const auto pair = [](float first, float second) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(first) >> 16 |
                                (std::bit_cast<std::uint32_t>(second) & 0xffff0000U));
  };
  a[0] = pair(1, 1), a[1] = pair(1, 1);
  b[0] = pair(0x1p24F, -0x1p24F), b[32] = pair(1, 0);
  EXPECT_EQ(multiply(tile_machines().back(), a, b, 1, 1)[0], 0.0F);  // 2^24 + 1 rounds to 2^24
}

TEST(native_tiles, agree_with_the_emulated_ones_bit_for_bit) {
  const tile_machine& native = tile_machines().front();
  if (!native.unavailable.empty() || native.name != "amx")
    GTEST_SKIP() << "no native tiles: " << native.unavailable;
  for (const auto& [least, most] : {std::pair{-3, 3}, {-70, -58}, {-133, -120}, {60, 66}}) {
    numbers draw(7);
    const std::vector<float> a = draw.pairs(32 * steps * 16, least, most),
                             b = draw.pairs(steps * 16 * 32, least, most);
    for (const int rows : {1, 2})
      for (const int columns : {1, 2}) {
        const std::vector<float> got = multiply(native, a, b, rows, columns),
                                 expected = multiply(tile_machines().back(), a, b, rows, columns);
        for (std::size_t i = 0; i < got.size(); ++i)
          EXPECT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(expected[i])) << i;
      }
  }
}

TEST(tiles_bf16, are_rows_of_both_machines_and_say_what_is_missing) {
  registry kernels;
  register_all_kernels(kernels);
  for (const std::string pass : {"forward", "backward_data", "backward_weights"})
    for (const tile_machine& machine : tile_machines()) {
      const kernel* const k = kernels.find("conv2d." + pass + "/tiles_bf16@" + std::string(machine.name));
      ASSERT_NE(k, nullptr) << pass;
      EXPECT_EQ(k->arithmetic, "bf16_f32");
      EXPECT_EQ(k->unavailable, machine.unavailable);
    }
  EXPECT_EQ(tile_machines().back().unavailable, "");
}

}  // namespace
}  // namespace plumb
