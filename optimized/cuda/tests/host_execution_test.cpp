// Host execution finds what it is for: bugs planted into the bodies of real kernels, one at a time, each of which a
// device would sometimes forgive. And it does not complain about the same bodies without the bug, in any order of threads.
#define PLUMB_BODIES_ONLY
#include <gtest/gtest.h>

#include <random>

#include "optimized/cuda/conv2d_naive.cu"
#include "optimized/cuda/conv2d_tiled.cu"
#include "optimized/cuda/dense_product.hpp"
#include "optimized/cuda/stream.hpp"
#include "optimized/cuda/tensor_tile.hpp"
#include "optimized/tests/kernel_bench.hpp"

namespace plumb::cuda {
namespace {

using plumb::testing::guard;
using plumb::testing::guarded;

std::vector<float> integers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> v(count);
  for (float& value : v) value = static_cast<float>(static_cast<int>(random() % 15) - 7);
  return v;
}

/// A product of odd sizes by tiles: more than one tile each way, and a last step that is not full.
struct product_case {
  static constexpr int m = 70, n = 67, k = 45;
  std::vector<float> a = integers(m * k, 1), b = integers(k * n, 2), expected = std::vector<float>(m * n);

  product_case() {
    for (std::size_t i = 0; i < m * n; ++i)
      for (std::size_t j = 0; j < k; ++j) expected[i] += a[i / n * k + j] * b[j * n + i % n];
  }
  dense_arguments arguments(float* out) const {
    dense_arguments c{.rows = m, .columns = n, .terms = k};
    c.a = {a.data(), k, 1};
    c.b = {b.data(), n, 1};
    c.out = out;
    return c;
  }
};

struct verdict {
  std::string fault;  ///< what host execution says
  bool right = false;
};

template <plant Bug>
verdict multiply(std::uint64_t seed, int threads = 1) {
  static const product_case c;
  using body = matrix_tile<dense_product<true, false>, small_tile, Bug>;
  std::vector<float> out(c.expected.size() + 64, std::nanf(""));  // room for a write past the end
  const dense_arguments a = c.arguments(out.data());
  verdict v;
  v.fault = launch_on_host<body>(body::shape(a), a, {seed, threads});
  v.right = std::equal(c.expected.begin(), c.expected.end(), out.begin()) && out[c.expected.size()] != 0 &&
            out[c.expected.size()] != out[c.expected.size()];
  return v;
}

TEST(host_execution, honest_tiles_are_right_in_every_order) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const verdict v = multiply<plant::none>(seed, 1 + static_cast<int>(seed % 3));
    EXPECT_EQ(v.fault, "");
    EXPECT_TRUE(v.right) << seed;
  }
}

TEST(host_execution, a_missing_barrier_between_stages_is_seen_in_every_order) {
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    EXPECT_NE(multiply<plant::missing_barrier>(seed).fault, "") << seed;
}

/// A chunk of two channels is multiplied, then the next is loaded over it.
template <plant Bug>
std::string convolve_by_tiles(std::uint64_t seed) {
  constexpr int size = 6, channels = 4;
  static const std::vector<float> x = integers(channels * size * size, 4), w = integers(channels, 5);
  std::vector<float> y(size * size);
  conv_tiled_arguments a;
  a.p = {.n = 1, .c = channels, .k = 1, .group_c = channels, .group_k = 1};
  a.p.h.in = a.p.h.out = a.p.w.in = a.p.w.out = size;
  a.patch_h = a.patch_w = 16;
  a.chunk = 2;
  a.x = {x.data(), {0, size * size, size, 1}};
  a.weight = {w.data(), {channels, 1, 1, 1}};
  a.y = {y.data(), {0, 0, size, 1}};
  using body = conv_forward_tiled<Bug>;
  return launch_on_host<body>(body::shape(a), a, {seed, 1});
}

TEST(host_execution, a_missing_barrier_before_a_chunk_is_overwritten_is_a_race_in_every_order) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_EQ(convolve_by_tiles<plant::none>(seed), "");
    const std::string fault = convolve_by_tiles<plant::missing_barrier>(seed);
    EXPECT_NE(fault.find("writes element"), std::string::npos) << fault;
    EXPECT_NE(fault.find("since the last barrier"), std::string::npos) << fault;
  }
}

TEST(host_execution, the_wrong_stage_is_a_race_or_a_wrong_sum) {
  const verdict v = multiply<plant::wrong_stage>(3);
  EXPECT_TRUE(!v.fault.empty() || !v.right);
}

TEST(host_execution, a_dropped_tail_is_a_wrong_sum) {
  const verdict v = multiply<plant::dropped_tail>(4);
  EXPECT_EQ(v.fault, "");
  EXPECT_FALSE(v.right);
}

TEST(host_execution, an_index_outside_shared_memory_is_named) {
  const verdict v = multiply<plant::past_shared>(5);
  EXPECT_NE(v.fault.find("of an array of 1088 in shared memory"), std::string::npos) << v.fault;
}

TEST(host_execution, a_barrier_that_some_threads_miss_is_named) {
  const verdict v = multiply<plant::lonely_barrier>(6);
  EXPECT_NE(v.fault.find("a barrier was reached by 128 of 256 threads"), std::string::npos) << v.fault;
}

TEST(host_execution, a_write_past_the_end_lands_where_the_guard_page_is) {
  EXPECT_FALSE(multiply<plant::past_the_end>(7).right);
  const auto in_guarded_memory = [] {
    static const product_case c;
    using body = matrix_tile<dense_product<true, false>, small_tile, plant::past_the_end>;
    const guarded out(c.expected.size() * sizeof(float), guard::at_end, sizeof(float));
    const dense_arguments a = c.arguments(static_cast<float*>(out.data()));
    launch_on_host<body>(body::shape(a), a, {});
  };
  EXPECT_DEATH(in_guarded_memory(), "");
}

/// The same product by tensor cores, whose rounding small integers do not notice.
template <class Words>
void multiply_by_warps() {
  static const product_case c;
  using body = tensor_tile<dense_product<true, false>, Words>;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    std::vector<float> out(c.expected.size(), std::nanf(""));
    const dense_arguments a = c.arguments(out.data());
    EXPECT_EQ(launch_on_host<body>(body::shape(a), a, {seed, 1}), "");
    EXPECT_EQ(out, c.expected);
  }
}

TEST(tensor_tiles_on_the_cpu, are_right_for_small_integers) {
  multiply_by_warps<tf32_words>();
  multiply_by_warps<bf16_words>();
}

TEST(tensor_tiles_on_the_cpu, round_their_operands) {
  const auto tf32 = [](std::uint32_t bits) {
    const float value = std::bit_cast<float>(bits);
    return tf32_words::pack(&value);
  };
  EXPECT_EQ(tf32(0x3f800fff), 0x3f800000U);
  EXPECT_EQ(tf32(0x3f801000), 0x3f802000U);  // a tie goes away from zero
  EXPECT_EQ(tf32(0xbf801000), 0xbf802000U);
  EXPECT_EQ(tf32(0x7f7fffff), 0x7f7fe000U);  // the largest stays finite: infinity times 0 is a NaN
  EXPECT_EQ(tf32(0xff7fffff), 0xff7fe000U);
  EXPECT_EQ(tf32(0xff800000), 0xff800000U);
  EXPECT_EQ(tf32(0x7f800001), 0x7f800001U);  // still a NaN
  const float two[] = {1.0F, std::bit_cast<float>(0x3f818000U)};
  const float large[] = {std::bit_cast<float>(0x7f7fffffU), -std::bit_cast<float>(0x7f800000U)};
  EXPECT_EQ(bf16_words::pack(large), 0xff807f7fU);
  EXPECT_EQ(bf16_words::pack(two), 0x3f823f80U);  // a tie goes to even, the first number lies low
}

template <plant Bug>
std::vector<float> add_slices(float before) {
  using body = slice_sum<dense_out, Bug>;
  const std::vector<float> parts = {1, 2, 3, 10, 20, 30};
  std::vector<float> out(3, before);
  EXPECT_EQ(launch_on_host<body>({1, body::threads}, {parts.data(), 3, 2, {out.data()}}, {}), "");
  return out;
}

TEST(host_execution, sums_that_start_from_what_was_there_differ_with_the_poison) {
  EXPECT_EQ(add_slices<plant::none>(std::nanf("")), (std::vector<float>{11, 22, 33}));
  EXPECT_EQ(add_slices<plant::unzeroed_sum>(0),
            (std::vector<float>{11, 22, 33}));  // which is why outputs are poisoned
  EXPECT_NE(add_slices<plant::unzeroed_sum>(7), (std::vector<float>{11, 22, 33}));
}

/// y = x·w with a filter of one tap; the number of outputs is beyond 16 bits.
template <plant Bug>
bool convolve_is_right() {
  constexpr int height = 300, width = 301;
  const std::vector<float> x = integers(height * width, 3);
  const float w = 3;
  std::vector<float> y(x.size(), std::nanf(""));
  conv_numbers p{.n = 1, .c = 1, .k = 1, .group_c = 1, .group_k = 1, .h = {}, .w = {}};
  p.h.in = p.h.out = height;
  p.w.in = p.w.out = width;
  const offset plane = height * width;
  conv_naive_arguments a{.p = p,
                         .first = {x.data(), {plane, plane, width, 1}},
                         .second = {&w, {1, 1, 1, 1}},
                         .out = {y.data(), {plane, plane, width, 1}}};
  using body = conv_forward_naive<Bug>;
  if (!launch_on_host<body>({tiles<offset>(plane, body::threads), body::threads}, a, {}).empty())
    return false;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (y[i] != 3 * x[i]) return false;
  return true;
}

TEST(host_execution, a_narrow_index_leaves_outputs_unwritten) {
  EXPECT_TRUE(convolve_is_right<plant::none>());
  EXPECT_FALSE(convolve_is_right<plant::narrow_index>());
}

/// A body that reads what nobody wrote, or waits although it said that it would not.
template <bool Waits>
struct careless {
  struct arguments {
    float* out;
  };
  template <class Block>
  struct shared {
    typename Block::template array<float, 8> numbers;
  };
  static constexpr int threads = 4;
  static constexpr bool barriers = false;
  template <class Block>
  static void run(Block& block, shared<Block>& s, const arguments& a) {
    if (Waits) block.barrier();
    a.out[block.thread()] = Waits ? 0.0F : static_cast<float>(s.numbers[block.thread()]);
  }
};

TEST(host_execution, unwritten_shared_memory_is_named_and_holds_two_patterns) {
  bool nan = false, large = false;
  for (std::uint64_t seed = 0; seed < 32; ++seed) {
    std::vector<float> out(4);
    const std::string fault = launch_on_host<careless<false>>({1, 4}, {out.data()}, {seed, 1});
    EXPECT_NE(fault.find("which no thread of the block has written"), std::string::npos);
    (out[0] != out[0] ? nan : large) = true;
  }
  EXPECT_TRUE(nan && large);
}

TEST(host_execution, a_barrier_that_was_not_declared_is_named) {
  std::vector<float> out(4);
  EXPECT_NE(launch_on_host<careless<true>>({1, 4}, {out.data()}, {}).find("declares none"),
            std::string::npos);
}

/// Writes down in which order threads and blocks ran.
struct diary {
  struct arguments {
    int* order;
    int* next;
  };
  template <class Block>
  struct shared {};
  static constexpr int threads = 64;
  static constexpr bool barriers = true;
  template <class Block>
  static void run(Block& block, shared<Block>&, const arguments& a) {
    for (int interval = 0; interval < 2; ++interval) {
      a.order[(*a.next)++] = static_cast<int>(block.number()) * threads + block.thread();
      block.barrier();
    }
  }
};

TEST(host_execution, takes_threads_and_blocks_in_an_order_of_the_seed_and_the_interval) {
  const auto order_of = [](std::uint64_t seed) {
    std::vector<int> order(3 * 2 * 64);
    int next = 0;
    EXPECT_EQ(launch_on_host<diary>({3, 64}, {order.data(), &next}, {seed, 1}), "");
    EXPECT_EQ(next, 3 * 2 * 64);
    return order;
  };
  const std::vector<int> one = order_of(1);
  EXPECT_EQ(one, order_of(1));
  EXPECT_NE(one, order_of(2));
  const std::vector<int> first(one.begin(), one.begin() + 64), second(one.begin() + 64, one.begin() + 128);
  EXPECT_NE(first, second);
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
  EXPECT_TRUE(std::is_permutation(first.begin(), first.end(), second.begin()));
}

TEST(a_launch, is_refused_where_the_device_would_refuse_it) {
  EXPECT_EQ(refuse({0, 32}), nullptr);
  EXPECT_EQ(refuse({2147483647, 1024}), nullptr);
  EXPECT_STREQ(refuse({2147483648, 32}), "needs more blocks than a grid has (2147483647)");
  EXPECT_STREQ(refuse({-1, 32}), "needs more blocks than a grid has (2147483647)");
  EXPECT_STREQ(refuse({1, 0}), "a block has 1 to 1024 threads");
  EXPECT_STREQ(refuse({1, 1025}), "a block has 1 to 1024 threads");
}

TEST(a_launch, of_no_blocks_runs_nothing) {
  int next = 0;
  EXPECT_EQ(launch_on_host<diary>({0, 64}, {nullptr, &next}, {}), "");
  EXPECT_EQ(next, 0);
}

TEST(a_stream, launches_nothing_after_a_failure) {
  stream to(host_options{});
  int next = 0;
  to.launch<diary>({1, 2000}, {nullptr, &next});
  EXPECT_EQ(to.failure(), "a block has 1 to 1024 threads");
  to.launch<diary>({1, 64}, {nullptr, &next});
  EXPECT_EQ(next, 0);
}

}  // namespace
}  // namespace plumb::cuda
