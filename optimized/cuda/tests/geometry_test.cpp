// Launch geometry and dispatch, without a device: how many blocks, which tile, how many slices, in which width, and that
// every place of an output belongs to exactly one thread.
#define PLUMB_BODIES_ONLY
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "optimized/cuda/conv2d_depthwise.cu"
#include "optimized/cuda/conv2d_few_channels.cu"
#include "optimized/cuda/conv2d_tiled.cu"
#include "optimized/cuda/conv2d_winograd.cu"
#include "optimized/cuda/conv_products.hpp"
#include "optimized/cuda/dense_product.hpp"
#include "optimized/cuda/matrix_host.hpp"
#include "optimized/cuda/tensor_tile.hpp"
#include "optimized/cuda/turn_over.hpp"
#include "optimized/kernels.hpp"

namespace plumb::cuda {
namespace {

dense_arguments product_of(int rows, offset columns, int slices = 1) {
  dense_arguments a;
  a.rows = rows;
  a.columns = columns;
  a.slices = slices;
  return a;
}

TEST(tiles_of_a_product, cover_it_and_no_more) {
  using large = matrix_tile<dense_product<true, true>, large_tile>;
  using small = matrix_tile<dense_product<true, true>, small_tile>;
  using tensor = tensor_tile<dense_product<true, true>, tf32_words>;
  EXPECT_EQ(large::shape(product_of(128, 128)).blocks, 1);
  EXPECT_EQ(large::shape(product_of(129, 128)).blocks, 2);
  EXPECT_EQ(large::shape(product_of(129, 257, 5)).blocks, 2 * 3 * 5);
  EXPECT_EQ(small::shape(product_of(129, 257)).blocks, 3 * 5);
  EXPECT_EQ(tensor::shape(product_of(129, 257)).blocks, 2 * 3);
  EXPECT_EQ(small::shape(product_of(0, 257)).blocks, 0);
  EXPECT_EQ(small::shape(product_of(1, 0)).blocks, 0);
}

TEST(tiles_of_a_product, are_counted_in_64_bits) {
  using small = matrix_tile<dense_product<true, true>, small_tile>;
  constexpr offset columns = offset{1} << 40;
  EXPECT_EQ(small::shape(product_of(1 << 20, columns)).blocks, (offset{1} << 14) * (columns / 64));
  EXPECT_STREQ(refuse(small::shape(product_of(1 << 20, columns))),
               "needs more blocks than a grid has (2147483647)");
}

TEST(large_tiles, are_for_products_that_fill_them) {
  EXPECT_TRUE(takes_large_tiles(256, 32 * 56 * 56, 1));
  EXPECT_FALSE(takes_large_tiles(64, 32 * 56 * 56, 1));  // half of every tile would be empty
  EXPECT_FALSE(takes_large_tiles(256, 64, 1));
  EXPECT_FALSE(takes_large_tiles(256, 32 * 7 * 7, 1));  // 26 blocks leave most of the card idle
  EXPECT_TRUE(takes_large_tiles(256, 32 * 7 * 7, 6));
}

TEST(slices, keep_the_card_busy_and_pixels_in_32_bits) {
  EXPECT_EQ(choose_slices(64, 64, 1, 32, 56 * 56), 32);  // one block otherwise: as many as there are images
  EXPECT_EQ(choose_slices(512, 512 * 9, 1, 32, 14 * 14), 1);       // 576 blocks are enough
  EXPECT_EQ(choose_slices(256, 256, 1, 1000, 14 * 14), 17);        // 16 blocks: 17 slices make 272
  EXPECT_EQ(choose_slices(4096, 4096, 1, 8, offset{1} << 28), 2);  // 2³¹ pixels: two slices of four images
  EXPECT_EQ(choose_slices(64, 64, 1, 0, 56), 1);
  EXPECT_EQ(choose_slices(0, 0, 1, 5, 0), 5);
}

TEST(slices, share_the_images_out) {
  conv_gemm_arguments a;
  using product = conv_backward_weights_product<false>;
  for (const int images : {1, 2, 7, 32})
    for (int slices = 1; slices <= images; ++slices) {
      a.p.n = images;
      a.slices = slices;
      a.terms = 6;
      int sum = 0;
      for (int slice = 0; slice < slices; ++slice) {
        EXPECT_GT(product::depth(a, slice), 0);
        sum += product::depth(a, slice);
      }
      EXPECT_EQ(sum, images * 6);
      EXPECT_EQ(product::first_image(a, slices), images);
    }
}

TEST(a_number_along_k, names_every_channel_and_tap_once) {
  conv_numbers p;
  p.h.taps = 2;
  p.w.taps = 3;
  std::set<std::tuple<int, int, int>> nchw, nhwc;
  for (int k = 0; k < 5 * 6; ++k) {
    const tap_of_filter a = split<false>(k, 5, p), b = split<true>(k, 5, p);
    nchw.insert({a.channel, a.r, a.s});
    nhwc.insert({b.channel, b.r, b.s});
    EXPECT_EQ(a.channel, k / 6);
    EXPECT_EQ(b.channel, k % 5);
  }
  EXPECT_EQ(nchw.size(), 30u);
  EXPECT_EQ(nhwc, nchw);
}

TEST(an_axis, finds_its_outputs_from_its_inputs) {
  for (const int stride : {1, 2, 3})
    for (const int dilation : {1, 2})
      for (const int begin : {0, 1, 2}) {
        conv_axis_numbers a{
            .in = 11, .out = 0, .taps = 3, .stride = stride, .dilation = dilation, .begin = begin};
        a.out = (a.in + begin - dilation * 2 - 1) / stride + 1;
        std::set<std::tuple<int, int, int>> forwards, backwards;
        for (int o = 0; o < a.out; ++o)
          for (int t = 0; t < a.taps; ++t)
            if (a.inside(a.reads(o, t))) forwards.insert({o, t, a.reads(o, t)});
        for (int i = 0; i < a.in; ++i)
          for (int t = 0; t < a.taps; ++t)
            if (a.output_of(i, t) >= 0) backwards.insert({a.output_of(i, t), t, i});
        EXPECT_EQ(forwards, backwards);
      }
}

TEST(pixels, are_found_beyond_32_bits) {
  const float base = 0;
  view4<const float> t{&base, {0, 0, 0, 0}};
  const offset far = (offset{1} << 33) + 5;  // images of 7 × 11
  const pixel at = pixel_at(t, far, far + 1, 7, 11, 0);
  EXPECT_EQ(at.h, far / 11 % 7);
  EXPECT_EQ(at.w, far % 11);
  EXPECT_EQ(pixel_at(t, far, far, 7, 11, 0).image, nullptr);
}

TEST(blocks_of_the_tiled_kernel, are_different_places) {
  conv_tiled_arguments a;
  a.p = {.n = 2, .c = 6, .k = 34, .group_c = 3, .group_k = 17, .h = {}, .w = {}};
  a.p.h.out = 17;
  a.p.w.out = 33;
  using body = conv_forward_tiled<>;
  const auto blocks = body::shape(a).blocks;
  EXPECT_EQ(blocks, 2 * 2 * 2 * 2 * 3);  // images, groups, 17 channels by 16, 17 rows by 16, 33 columns by 16
  std::set<std::tuple<int, int, int, int, int>> places;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const body::place at = body::place_of(a.p, i);
    places.insert({at.n, at.row, at.column, at.group, at.k});
    EXPECT_TRUE(at.n < 2 && at.row < 17 && at.column < 33 && at.group < 2 && at.k < 17);
  }
  EXPECT_EQ(places.size(), static_cast<std::size_t>(blocks));
}

TEST(four_neighbours, are_different_places_in_either_order) {
  for (const bool last : {false, true}) {
    std::set<std::tuple<int, int, int, int>> places;
    const int count = 2 * 3 * 5 * 3;  // images, channels, rows, runs of four in 10 columns
    for (int i = 0; i < count; ++i) {
      const four_places at = last ? four_at<true>(i, 3, 5, 10) : four_at<false>(i, 3, 5, 10);
      places.insert({at.n, at.channel, at.row, at.column});
      EXPECT_TRUE(at.n < 2 && at.channel < 3 && at.row < 5 && at.column % 4 == 0 && at.column < 10);
    }
    EXPECT_EQ(places.size(), static_cast<std::size_t>(count));
    EXPECT_EQ((last ? four_at<true>(count, 3, 5, 10) : four_at<false>(count, 3, 5, 10)).n, 2);
  }
}

/// conv2d with everything filled in.
kernel_problem conv_problem(const std::string& x, const std::string& weight, const std::string& y,
                            int groups = 1) {
  kernel_problem kp{problem("conv2d")};
  for (const auto& [key, value] : std::map<std::string, std::string>{{"x", x},
                                                                     {"weight", weight},
                                                                     {"y", y},
                                                                     {"stride", "1x1"},
                                                                     {"pad", "0,0,0,0"},
                                                                     {"dilation", "1x1"},
                                                                     {"groups", std::to_string(groups)},
                                                                     {"padding", "explicit"},
                                                                     {"fit", "floor"},
                                                                     {"flip", "false"}})
    kp.problem.set(key, value);
  return kp;
}

std::string refusal(const std::string& kernel, const kernel_problem& kp) {
  static const registry all = [] {
    registry r;
    register_cuda_kernels(r);
    return r;
  }();
  const plumb::kernel* const k = all.find(kernel);
  return k == nullptr ? "no such kernel" : k->supports(kp).reason;
}

TEST(kernels_of_devices, say_why_they_decline) {
  const auto square = conv_problem("1x8x9x9", "8x8x3x3", "1x8x7x7");
  EXPECT_EQ(refusal("conv2d.forward/naive@cuda", square), "");
  EXPECT_EQ(refusal("conv2d.forward/depthwise@cuda", square),
            "not depthwise: an output sees more than one channel");
  EXPECT_EQ(refusal("conv2d.forward/few_channels@cuda", square), "a group has not 1 to 4 input channels");
  const auto wide = conv_problem("1x1x99x99", "8x1x80x80", "1x8x20x20");
  EXPECT_EQ(refusal("conv2d.forward/few_channels@cuda", wide), "filters of more than 364 weights");
  EXPECT_EQ(refusal("conv2d.forward/tiled@cuda", wide),
            "the patch that 16 x 16 pixels see does not fit shared memory");
  const auto endless = conv_problem("1x1x1x2000000000", "1x1x1x1", "1x1x1x2000000000");
  EXPECT_EQ(refusal("conv2d.forward/naive@cuda", endless), "an axis is longer than 2^30");
  auto strange = square;
  strange.problem.set("colour", "red");
  for (const char* kernel :
       {"naive", "tiled", "implicit_gemm", "depthwise", "few_channels", "implicit_gemm_tf32", "cudnn"})
    EXPECT_EQ(refusal(std::string("conv2d.forward/") + kernel + "@cuda", strange), "unknown attribute colour")
        << kernel;
}

TEST(kernels_of_devices, declare_what_they_round_to) {
  registry r;
  register_cuda_kernels(r);
  EXPECT_EQ(r.find("conv2d.forward/implicit_gemm@cuda")->arithmetic, "f32");
  EXPECT_EQ(r.find("conv2d.forward/implicit_gemm_tf32@cuda")->arithmetic, "tf32");
  EXPECT_EQ(r.find("conv2d.forward/implicit_gemm_bf16@cuda")->arithmetic, "bf16_f32");
  EXPECT_EQ(r.find("conv2d.forward/cuda_implicit_gemm_tf32@host")->arithmetic, "tf32");
  EXPECT_EQ(r.find("conv2d.forward/cuda_cudnn@host"), nullptr);
  EXPECT_EQ(r.find("max_pool2d.forward/naive@cuda")->arithmetic, "exact");
}

/// Three images of two channels by the bodies of Winograd's filtering, `together` images at a time.
std::vector<float> convolve_by_winograd(int together) {
  constexpr int images = 3, channels = 2, size = 7, plane = size * size;
  std::vector<float> x(images * channels * plane), w(channels * channels * 9), y(x.size(), std::nanf(""));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7 % 23) - 11;
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * 5 % 13) - 6;
  winograd_arguments a;
  a.rows = a.terms = channels;
  a.groups = winograd_arguments::elements;
  for (conv_axis_numbers* axis : {&a.h, &a.w}) *axis = {.in = size, .out = size, .taps = 3, .begin = 1};
  a.tiles_h = a.tiles_w = tiles(size, winograd_arguments::outputs);
  a.in = {x.data(), {channels * plane, plane, size, 1}};
  a.weight = {w.data(), {channels * 9, 9, 3, 1}};
  a.out = {y.data(), {channels * plane, plane, size, 1}};
  std::vector<float> u(36 * channels * channels), v(36 * 4 * images * channels), m(v.size());
  a.u = u.data(), a.v = v.data(), a.m = m.data();
  using product = matrix_tile<winograd_product, small_tile>;
  EXPECT_EQ(launch_on_host<winograd_filters>({1, winograd_filters::threads}, a, {}), "");
  for (a.first_image = 0; a.first_image < images; a.first_image += together) {
    a.columns = offset{smaller(together, images - a.first_image)} * 4;
    EXPECT_EQ(launch_on_host<winograd_inputs>({1, winograd_inputs::threads}, a, {}), "");
    EXPECT_EQ(launch_on_host<product>(product::shape(a), a, {}), "");
    EXPECT_EQ(launch_on_host<winograd_outputs>({1, winograd_outputs::threads}, a, {}), "");
  }
  for (int i = 0; i < images * channels * plane; ++i) {
    const int n = i / plane / channels, k = i / plane % channels, p = i / size % size, q = i % size;
    float sum = 0;
    for (int j = 0; j < channels * 9; ++j) {
      const int c = j / 9, h = p - 1 + j / 3 % 3, s = q - 1 + j % 3;
      if (h >= 0 && h < size && s >= 0 && s < size)
        sum += x[static_cast<std::size_t>(((n * channels + c) * size + h) * size + s)] *
               w[static_cast<std::size_t>(k * channels * 9 + j)];
    }
    EXPECT_NEAR(y[static_cast<std::size_t>(i)], sum, 1e-3) << i;
  }
  return y;
}

/// Every pair of orders, with tails, and back: the numbers rounded to bf16 once.
TEST(matrices, are_turned_over_and_rounded) {
  constexpr offset count = 2, rows = 37, columns = 70;
  constexpr auto size = static_cast<std::size_t>(count * rows * columns);
  const matrix_steps by_row{rows * columns, columns, 1}, by_column{rows * columns, 1, rows};
  std::vector<float> in(size);
  for (std::size_t i = 0; i < size; ++i)
    in[i] = 1 + static_cast<float>(i) / static_cast<float>(size);  // most need more than eight bits
  for (const matrix_steps& read : {by_row, by_column})
    for (const matrix_steps& write : {by_row, by_column}) {
      std::vector<bf16_bits> between(size);
      std::vector<float> exact(size, -1), rounded(size, -1);
      using halve = turn_over<float, bf16_bits>;
      using widen = turn_over<bf16_bits, float>;
      using copy = turn_over<float, float>;
      const halve::arguments there{in.data(), between.data(), count, rows, columns, read, write};
      const widen::arguments back{between.data(), rounded.data(), count, rows, columns, write, read};
      const copy::arguments plain{in.data(), exact.data(), count, rows, columns, read, write};
      EXPECT_EQ(launch_on_host<halve>(halve::shape(there), there, {1, 1}), "");
      EXPECT_EQ(launch_on_host<widen>(widen::shape(back), back, {2, 1}), "");
      EXPECT_EQ(launch_on_host<copy>(copy::shape(plain), plain, {3, 2}), "");
      for (offset m = 0; m < count; ++m)
        for (offset r = 0; r < rows; ++r)
          for (offset c = 0; c < columns; ++c) {
            const auto from = static_cast<std::size_t>(read.at(m, r, c));
            EXPECT_EQ(exact[static_cast<std::size_t>(write.at(m, r, c))], in[from]);
            // From 1 to 2 numbers of bf16 lie 2⁻⁷ apart; ties go to the even one.
            EXPECT_EQ(rounded[from], std::nearbyint(in[from] * 128) / 128);
          }
    }
}

TEST(numbers_of_16_bits, keep_what_is_no_number) {
  const auto rounded = [](float v) {
    bf16_bits b;
    store_rounded(v, b);
    return widened(b);
  };
  EXPECT_TRUE(std::isnan(rounded(std::nanf("1"))));
  EXPECT_EQ(rounded(INFINITY), INFINITY);
  EXPECT_EQ(rounded(-INFINITY), -INFINITY);
  EXPECT_TRUE(std::signbit(rounded(-0.0F)));
  EXPECT_EQ(rounded(3.4e38F), INFINITY) << "beyond the largest";
  EXPECT_EQ(rounded(1.00390625F), 1) << "half way, to the even one";
  EXPECT_EQ(rounded(1.01171875F), 1.015625F);
}

TEST(winograd_tiles, are_the_same_however_many_images_go_together) {
  const std::vector<float> all = convolve_by_winograd(3);
  EXPECT_EQ(convolve_by_winograd(2), all);
  EXPECT_EQ(convolve_by_winograd(1), all);
}

TEST(winograd_tiles, keep_their_workspace_within_a_quarter_of_a_gigabyte) {
  registry kernels;
  register_cuda_kernels(kernels);
  const kernel* const k = kernels.find("conv2d.forward/cuda_winograd4@host");
  ASSERT_NE(k, nullptr);
  const auto bytes = [&](const std::string& text) {
    return k->make_plan({problem::parse(text), dtype::f32, layout::nchw, 1})->workspace_size();
  };
  const std::string attributes =
      " stride=1x1 pad=1,1,1,1 dilation=1x1 groups=1 padding=explicit fit=floor flip=false";
  EXPECT_LE(bytes("conv2d x=32x64x224x224 weight=64x64x3x3 y=32x64x224x224" + attributes),
            (std::size_t{1} << 28) + (std::size_t{1} << 20));
  // One image has more: then it is one image at a time.
  EXPECT_EQ(bytes("conv2d x=2x64x1024x1024 weight=64x64x3x3 y=2x64x1024x1024" + attributes),
            std::size_t{36} * 4 * (64 * 64 + 128 * 256 * 256));
}

}  // namespace
}  // namespace plumb::cuda
