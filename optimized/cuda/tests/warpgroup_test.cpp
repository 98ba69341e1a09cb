// Hopper's copy engine, arrivals and products in host execution, the tiles that are built on them, and the axes of
// conv2d_hopper.cu: what they bring against loops of their own, and planted bugs, each of which a device may forgive.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "optimized/cuda/hopper_plan.hpp"
#include "optimized/cuda/operand_pack.hpp"
#include "optimized/cuda/stream.hpp"
#include "optimized/cuda/tensor_tile.hpp"
#include "optimized/cuda/warpgroup_tile.hpp"
#include "optimized/kernels.hpp"

namespace plumb::cuda {
namespace {

std::vector<float> integers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> v(count);
  for (float& value : v) value = static_cast<float>(static_cast<int>(random() % 15) - 7);
  return v;
}

/// Copies once and reads the rows back, from where the layout says that they are.
struct copying {
  struct arguments {
    tensor_map map;
    bool pixels;
    int c, w, h, n, right, down;
    float* out;  ///< [64][32]
  };
  template <class Block>
  struct shared {
    typename Block::template operands<64 * 128> operands;
    typename Block::arrival done;
  };
  static constexpr int threads = 32;
  static constexpr bool barriers = true, warpgroups = true;
  template <class Block>
  static void run(Block& block, shared<Block>& s, const arguments& a) {
    if (block.thread() == 0) block.start(s.done, 1);
    block.barrier();
    if (block.thread() != 0) return;
    block.expect(s.done, 64 * 128);
    if (a.pixels)
      block.copy_pixels(s.operands, 0, a.map, a.c, a.w, a.h, a.n, a.right, a.down, s.done);
    else
      block.copy_box(s.operands, 0, a.map, a.c, a.w, a.h, s.done);
    block.wait(s.done, 0);
    const std::byte* const bytes = s.operands.memory().where(0);
    for (unsigned row = 0; row < 64; ++row)
      for (unsigned piece = 0; piece < 8; ++piece)
        std::memcpy(a.out + row * 32 + piece * 4, bytes + row * 128 + (piece ^ row % 8) * 16, 16);
  }
};

std::vector<float> copied(const copied_tensor& t, copying::arguments a) {
  std::vector<float> out(64 * 32, std::nanf(""));
  stream to(host_options{7, 1});
  a.map = to.map_of(t);
  a.out = out.data();
  to.launch<copying>({1, copying::threads}, a);
  EXPECT_EQ(to.failure(), "");
  return out;
}

TEST(the_copy_engine, brings_a_box_and_zeros_around_it) {
  constexpr int channels = 37, taps = 3, filters = 70, words = 40;
  const std::vector<float> v = integers(std::size_t{filters} * taps * words, 1);
  const copied_tensor t = map_of_filters<tf32_words>(v.data(), channels, taps, filters, 64);
  const std::vector<float> got = copied(t, {{}, false, 32, 2, 30, 0, 0, 0, nullptr});
  for (int row = 0; row < 64; ++row)
    for (int i = 0; i < 32; ++i) {
      const int filter = 30 + row, channel = 32 + i;
      const bool there = filter < filters && channel < channels;
      EXPECT_EQ(got[static_cast<std::size_t>(row * 32 + i)],
                there ? v[static_cast<std::size_t>((filter * taps + 2) * words + channel)] : 0.0F)
          << row << " " << i;
    }
}

TEST(the_copy_engine, walks_the_pixels_under_a_tap) {
  // Image 5 × 7, taps 3 × 2, stride 2 × 3, dilation 1 × 2, unequal padding.
  constexpr int channels = 5, words = 8, images = 3;
  const conv_axis_numbers rows{.in = 5, .out = 3, .taps = 3, .stride = 2, .dilation = 1, .begin = 1};
  const conv_axis_numbers columns{.in = 7, .out = 4, .taps = 2, .stride = 3, .dilation = 2, .begin = 3};
  const image_extent image{images, channels, rows.in, columns.in};
  const std::vector<float> v = integers(static_cast<std::size_t>(image.pixels()) * words, 2);
  const axis_product h = forward_axis(rows, false), w = forward_axis(columns, false);
  const copied_tensor t = map_of_pixels<tf32_words>(v.data(), image, h, w, 64);
  for (int r = 0; r < rows.taps; ++r)
    for (int s = 0; s < columns.taps; ++s) {
      const int first = 5;  // the second row of the first image
      const std::vector<float> got =
          copied(t, {{}, true, 0, first % 4 * 3 - 3, first / 4 * 2 - 1, 0, s * 2, r, nullptr});
      for (int row = 0; row < 64; ++row)
        for (int c = 0; c < 32; ++c) {
          const int pixel = first + row, n = pixel / 12, p = pixel / 4 % 3, q = pixel % 4;
          const int y = rows.reads(p, r), x = columns.reads(q, s);
          const bool there = n < images && rows.inside(y) && columns.inside(x) && c < channels;
          EXPECT_EQ(got[static_cast<std::size_t>(row * 32 + c)],
                    there ? v[static_cast<std::size_t>(((n * 5 + y) * 7 + x) * words + c)] : 0.0F)
              << r << s << " " << row << " " << c;
        }
    }
}

/// y[pixel][k] of a 3 × 2 filter over odd sizes: more than one tile each way, tails of both, and more steps than stages.
struct convolution {
  static constexpr int images = 3, channels = 70, filters = 67, height = 9, width = 8, taps_h = 3, taps_w = 2;
  conv_axis_numbers h{.in = height, .out = 8, .taps = taps_h, .stride = 1, .dilation = 1, .begin = 1};
  conv_axis_numbers w{.in = width, .out = 9, .taps = taps_w, .stride = 1, .dilation = 1, .begin = 1};
  std::vector<float> x = integers(std::size_t{images} * channels * height * width, 3),
                     weight = integers(std::size_t{filters} * channels * taps_h * taps_w, 4);
  std::vector<float> expected = std::vector<float>(std::size_t{images} * h_out * w_out * filters);
  static constexpr int h_out = 8, w_out = 9;

  convolution() {
    for (int n = 0; n < images; ++n)
      for (int k = 0; k < filters; ++k)
        for (int p = 0; p < h_out; ++p)
          for (int q = 0; q < w_out; ++q) {
            double sum = 0;
            for (int c = 0; c < channels; ++c)
              for (int r = 0; r < taps_h; ++r)
                for (int s = 0; s < taps_w; ++s) {
                  const int i = p - 1 + r, j = q - 1 + s;
                  if (i < 0 || i >= height || j < 0 || j >= width) continue;
                  sum +=
                      double{x[static_cast<std::size_t>(((n * height + i) * width + j) * channels + c)]} *
                      double{
                          weight[static_cast<std::size_t>(((k * channels + c) * taps_h + r) * taps_w + s)]};
                }
            expected[static_cast<std::size_t>(((n * h_out + p) * w_out + q) * filters + k)] =
                static_cast<float>(sum);
          }
  }
};

struct verdict {
  std::string fault;
  bool right = false;
};

template <class Words, int Rows, int Columns, plant Bug>
verdict convolve(std::uint64_t seed) {
  static const convolution c;
  using tile = warpgroup_tile<warpgroup_sum::of_pixels, Words, Rows, Columns, Bug>;
  const image_extent image{c.images, c.channels, c.height, c.width};
  std::vector<unsigned> images(image.bytes<Words>() / 4),
      filters(filter_bytes<Words>(c.filters, c.taps_h * c.taps_w, c.channels) / 4);
  const axis_product h = forward_axis(c.h, false), w = forward_axis(c.w, false);
  std::vector<float> out(c.expected.size() + c.filters, std::nanf(""));  // room for a row too many
  stream to(host_options{seed, 1 + static_cast<int>(seed % 2)});
  const pack_image_arguments from{
      {c.x.data(), {c.height * c.width * c.channels, 1, c.width * c.channels, c.channels}},
      c.channels,
      c.width,
      c.height,
      image.pixels(),
      images.data()};
  to.launch<pack_image<Words, true>>(pack_image<Words, true>::shape(from), from);
  constexpr int taps = c.taps_h * c.taps_w;
  const pack_filters_arguments f{c.weight.data(), c.channels * taps, taps,     c.taps_w,  1,
                                 c.channels,      c.taps_h,          c.taps_w, c.filters, filters.data()};
  to.launch<pack_filters<Words>>(pack_filters<Words>::shape(f), f);
  warpgroup_arguments a;
  a.left = to.map_of(map_of_pixels<Words>(images.data(), image, h, w, Rows));
  a.right = to.map_of(map_of_filters<Words>(filters.data(), c.channels, taps, c.filters, Columns));
  a.rows = c.images * c.h_out * c.w_out;
  a.columns = c.filters;
  a.channel_blocks = tiles(c.channels, tile::numbers);
  a.steps = taps * a.channel_blocks;
  a.taps_w = c.taps_w;
  a.width = c.w_out, a.height = c.h_out;
  a.first_w = w.lower, a.first_h = h.lower;
  a.out = {out.data(), {c.h_out * c.w_out * c.filters, 1, c.w_out * c.filters, c.filters}};
  to.launch<tile>(tile::shape(a), a);
  return {to.failure(), std::equal(c.expected.begin(), c.expected.end(), out.begin()) &&
                            std::isnan(out[c.expected.size()])};
}

TEST(warpgroup_tiles, are_right_for_small_integers_in_every_order) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    for (const verdict& v :
         {convolve<bf16_words, 128, 64, plant::none>(seed), convolve<tf32_words, 256, 128, plant::none>(seed),
          convolve<bf16_words, 256, 64, plant::none>(seed),
          convolve<tf32_words, 128, 128, plant::none>(seed)}) {
      EXPECT_EQ(v.fault, "");
      EXPECT_TRUE(v.right) << seed;
    }
  }
}

template <plant Bug>
verdict planted(std::uint64_t seed) {
  return convolve<bf16_words, 128, 64, Bug>(seed);
}

TEST(warpgroup_tiles, that_do_not_wait_for_a_free_stage_overwrite_it) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    EXPECT_NE(planted<plant::missing_barrier>(seed).fault, "");
  }
}

TEST(warpgroup_tiles, that_give_a_stage_back_before_it_is_read_overwrite_it) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const std::string fault = planted<plant::early_release>(seed).fault;
    EXPECT_NE(fault.find("while a product still reads there"), fault.npos) << fault;
  }
}

TEST(warpgroup_tiles, that_do_not_wait_for_copies_read_too_early) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const std::string fault = planted<plant::no_wait>(seed).fault;
    EXPECT_NE(fault.find("a product reads"), fault.npos) << fault;
  }
}

TEST(warpgroup_tiles, that_wait_for_the_wrong_turn_are_caught) {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    EXPECT_NE(planted<plant::wrong_parity>(seed).fault, "") << seed;
}

TEST(warpgroup_tiles, that_announce_too_few_bytes_are_caught) {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    EXPECT_NE(planted<plant::wrong_count>(seed).fault, "") << seed;
}

TEST(warpgroup_tiles, that_describe_a_factor_wrongly_are_wrong_sums) {
  const verdict v = planted<plant::wrong_descriptor>(1);
  EXPECT_FALSE(v.right);
}

TEST(warpgroup_tiles, that_store_a_row_too_many_write_past_the_end) {
  EXPECT_FALSE(planted<plant::past_the_end>(1).right);
}

/// Waits for an arrival that nobody makes.
struct forlorn {
  struct arguments {};
  template <class Block>
  struct shared {
    typename Block::arrival never;
  };
  static constexpr int threads = 64;
  static constexpr bool barriers = true, warpgroups = true;
  template <class Block>
  static void run(Block& block, shared<Block>& s, const arguments&) {
    if (block.thread() == 0) block.start(s.never, 1);
    block.barrier();
    if (block.thread() % 2 == 0) block.wait(s.never, 0);
  }
};

TEST(host_execution, ends_threads_that_wait_for_ever_and_counts_them) {
  EXPECT_EQ(launch_on_host<forlorn>({1, forlorn::threads}, {}, {}),
            "32 threads of the block wait for what never comes");
}

/// Every pair of an output of one residue and a tap stands for one pair of a dx and a filter tap, and every pair that
/// the convolution has is among them.
TEST(the_axes_of_backward_data, have_every_pair_once) {
  for (const int stride : {1, 2, 3, 4, 6})
    for (const int dilation : {1, 2, 3, 4})
      for (const int taps : {1, 2, 3, 5})
        for (const int begin : {0, 1, 4})
          for (const bool flip : {false, true}) {
            conv_axis_numbers a{
                .in = 13, .out = 0, .taps = taps, .stride = stride, .dilation = dilation, .begin = begin};
            const int room = a.in + begin + 2 - dilation * (taps - 1) - 1;
            if (room < 0) continue;
            a.out = room / stride + 1;
            std::multiset<std::vector<int>> got, expected;
            for (int residue = 0; residue < stride; ++residue) {
              const axis_product p = backward_axis(a, residue, flip);
              for (int i = 0; i < p.count; ++i)
                for (int j = 0; j < p.taps; ++j) {
                  const int o = i * p.step + p.lower + j * p.dilation;
                  if (o >= 0 && o < a.out)
                    got.insert({i * stride + residue, p.first_tap + j * p.tap_step, o});
                }
            }
            for (int o = 0; o < a.out; ++o)
              for (int t = 0; t < taps; ++t)
                if (const int i = a.reads(o, t); a.inside(i))
                  expected.insert({i, flip ? taps - 1 - t : t, o});
            EXPECT_EQ(got, expected) << stride << dilation << taps << begin << flip;
          }
}

TEST(the_tiles_of_warpgroups, keep_a_card_busy) {
  EXPECT_EQ(size_of_tile(16 * 56 * 56, 64).rows, 256);
  EXPECT_EQ(size_of_tile(16 * 56 * 56, 64).columns, 64);
  EXPECT_EQ(size_of_tile(16 * 7 * 7, 512).rows, 128);
  EXPECT_EQ(size_of_tile(16 * 7 * 7, 512).columns, 128);
  EXPECT_EQ(slices_of_pixels(16 * 56 * 56, 64, 9), 1);
  EXPECT_EQ(slices_of_pixels(16 * 7 * 7, 512, 72), 4);  // 28 blocks
  EXPECT_EQ(slices_of_pixels(49, 512, 72), 18);         // 4 blocks; no slice of fewer than 4 steps
  EXPECT_EQ(slices_of_pixels(49, 512, 3), 1);
}

TEST(descriptors, hold_addresses_in_sixteen_bytes) {
  EXPECT_EQ(descriptor_of(0x1c400, 8192, 1024), std::uint64_t{0x1c40} | std::uint64_t{512} << 16 |
                                                    std::uint64_t{64} << 32 | std::uint64_t{1} << 62);
}

TEST(operands, are_rounded_and_padded_to_16_bytes) {
  EXPECT_EQ(packed_words<tf32_words>(5), 8);
  EXPECT_EQ(packed_words<bf16_words>(5), 4);
  EXPECT_EQ(packed_words<bf16_words>(9), 8);
  constexpr int channels = 71, width = 3, height = 5, images = 2;
  const std::vector<float> x = integers(std::size_t{channels} * width * height * images, 9);
  std::vector<unsigned> out(std::size_t{images} * height * width * 36, 0x12345678U);
  const pack_image_arguments a{
      {x.data(), {channels * 15, 15, 3, 1}}, channels, width, height, 30, out.data()};
  using body = pack_image<bf16_words, false>;
  EXPECT_EQ(launch_on_host<body>(body::shape(a), a, {3, 1}), "");
  for (std::size_t pixel = 0; pixel < 30; ++pixel)
    for (std::size_t c = 0; c < 72; ++c) {
      const unsigned word = out[pixel * 36 + c / 2], number = c % 2 == 0 ? word << 16 : word & 0xffff0000U;
      EXPECT_EQ(std::bit_cast<float>(number),
                c < channels ? x[(pixel / 15 * channels + c) * 15 + pixel % 15] : 0.0F);
    }
}

}  // namespace
}  // namespace plumb::cuda
