// conv2d and linear on Hopper's tensor cores: the tiles of warpgroup_tile.hpp, whose card says how they work and what limits them, on
// operands that operand_pack.hpp has rounded and laid out. One group of channels after the other.
//   forward            one product
//   backward_data      stride² products, one for each residue of dx: dx[stride·i + a] is a convolution of dy, without
//                      stride, with the taps that land there, from the last to the first (hopper_plan.hpp)
//   linear             a convolution of images of one pixel, which are the rows of x
//   backward_weights   bf16 only: pixels are the terms and lie below each other, which wgmma takes for 16 bits alone
// Sums are cut into slices where there are too few tiles for a card, and added in order afterwards.
#include "optimized/cuda/matrix_tile.hpp"
#include "optimized/cuda/operand_pack.hpp"
#include "optimized/cuda/tensor_tile.hpp"
#include "optimized/cuda/warpgroup_tile.hpp"

namespace plumb::cuda {
template <class Words, int Rows, int Columns>
using pixel_tile = warpgroup_tile<warpgroup_sum::of_pixels, Words, Rows, Columns>;
template <int Columns>
using filter_tile = warpgroup_tile<warpgroup_sum::of_filters, bf16_words, 128, Columns>;
}  // namespace plumb::cuda

#ifdef __CUDACC__
#include "optimized/cuda/device_hopper.cuh"

namespace plumb::cuda {
template struct device_code<pack_image<tf32_words, false>, pack_image<tf32_words, true>,
                            pack_filters<tf32_words>, pixel_tile<tf32_words, 128, 64>,
                            pixel_tile<tf32_words, 128, 128>, pixel_tile<tf32_words, 256, 64>,
                            pixel_tile<tf32_words, 256, 128>>;
template struct device_code<pack_image<bf16_words, false>, pack_image<bf16_words, true>,
                            pack_filters<bf16_words>, pixel_tile<bf16_words, 128, 64>,
                            pixel_tile<bf16_words, 128, 128>, pixel_tile<bf16_words, 256, 64>,
                            pixel_tile<bf16_words, 256, 128>>;
template struct device_code<filter_tile<64>, filter_tile<128>, slice_sum<pixels_in_order>,
                            slice_sum<filters_in_order>>;
}  // namespace plumb::cuda

#elif !defined(PLUMB_BODIES_ONLY)
#include "optimized/cuda/hopper_plan.hpp"

namespace plumb {
namespace {

using namespace cuda;

/// Where a call's operands lie in the workspace, in bytes from its first multiple of 256.
struct room {
  std::size_t first = 0, second = 0, parts = 0, all = 0;
  room(std::size_t first_bytes, std::size_t second_bytes, std::size_t parts_bytes) {
    const auto padded = [](std::size_t bytes) { return (bytes + 255) / 256 * 256; };
    second = padded(first_bytes);
    parts = second + padded(second_bytes);
    all = parts + parts_bytes + 256;
  }
};

std::byte* aligned(void* workspace) {
  return reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(workspace) + 255) / 256 * 256);
}

template <class Words, layout Layout>
void pack(stream& to, const view4<const float>& from, const image_extent& image, unsigned* room) {
  using body = pack_image<Words, Layout == layout::nhwc>;
  const pack_image_arguments a{from, image.channels, image.width, image.height, image.pixels(), room};
  to.launch<body>(body::shape(a), a);
}

template <class Words>
void launch_pixels(stream& to, const warpgroup_arguments& a) {
  const auto with = [&]<int Rows, int Columns>() {
    using body = pixel_tile<Words, Rows, Columns>;
    to.launch<body>(body::shape(a), a);
  };
  const warpgroup_tile_size size = size_of_tile(a.rows, a.columns);
  if (size.columns == 64)
    size.rows == 128 ? with.template operator()<128, 64>() : with.template operator()<256, 64>();
  else
    size.rows == 128 ? with.template operator()<128, 128>() : with.template operator()<256, 128>();
  if (a.slices == 1) return;
  using sum = slice_sum<pixels_in_order>;
  const offset count = a.rows * a.columns;
  to.launch<sum>({tiles(count, offset{sum::threads}), sum::threads},
                 {a.parts, count, a.slices, {a.columns, a.width, a.height, a.out, a.bias, a.bias_stride}});
}

/// One product of pixels: packs its filters, describes both operands, and starts it.
template <class Words>
void multiply_pixels(stream& to, const pixel_product& p, const image_extent& image,
                     const view4<const float>& weight, bool rows_are_channels, warpgroup_arguments a,
                     unsigned* images, unsigned* filters) {
  const axis_product &h = p.height, &w = p.width;
  a.rows = offset{image.images} * h.count * w.count;
  a.width = w.count, a.height = h.count;
  a.step_w = w.step, a.step_h = h.step;
  a.first_w = w.lower, a.first_h = h.lower;
  a.taps_w = w.taps;
  a.right_by = w.dilation, a.down = h.dilation;
  a.channel_blocks = tiles(image.channels, copied_row_bytes / 4 * Words::numbers);
  a.steps = h.taps * w.taps * a.channel_blocks;
  if (a.rows == 0 || a.columns == 0) return;
  a.slices = slices_of_pixels(a.rows, a.columns, a.steps);
  if (a.steps > 0) {
    pack_filters_arguments f{.from = &weight(0, 0, h.first_tap, w.first_tap),
                             .row_stride = weight.stride[rows_are_channels ? 1 : 0],
                             .channel_stride = weight.stride[rows_are_channels ? 0 : 1],
                             .down = h.tap_step * weight.stride[2],
                             .right = w.tap_step * weight.stride[3],
                             .channels = image.channels,
                             .taps_h = h.taps,
                             .taps_w = w.taps,
                             .rows = a.columns,
                             .to = filters};
    to.launch<pack_filters<Words>>(pack_filters<Words>::shape(f), f);
    const warpgroup_tile_size size = size_of_tile(a.rows, a.columns);
    a.left = to.map_of(map_of_pixels<Words>(images, image, h, w, size.rows));
    a.right =
        to.map_of(map_of_filters<Words>(filters, image.channels, h.taps * w.taps, a.columns, size.columns));
  }
  launch_pixels<Words>(to, a);
}

template <class Words, layout Layout>
program hopper_forward(const hopper_problem& from) {
  const conv_numbers p = from.p;
  const image_extent image{p.n, p.group_c, p.h.in, p.w.in};
  const pixel_product product{forward_axis(p.h, p.flip), forward_axis(p.w, p.flip)};
  const offset rows = offset{p.n} * p.h.out * p.w.out;
  const room r(image.bytes<Words>(), filter_bytes<Words>(p.group_k, from.taps(), p.group_c),
               parts_bytes<Words>(rows, p.group_k, product, p.group_c));
  return {[=, groups = from.groups, matrices = from.matrices](const kernel_call& call, stream& to) {
            std::byte* const at = aligned(call.workspace);
            auto* images = reinterpret_cast<unsigned*>(at + r.first);
            auto* filters = reinterpret_cast<unsigned*>(at + r.second);
            for (int g = 0; g < groups; ++g) {
              warpgroup_arguments a{.columns = p.group_k, .out = view_of<float>(call.writes[0], matrices)};
              view4<const float> x = view_of<const float>(call.reads[0], matrices),
                                 w = view_of<const float>(call.reads[1], matrices);
              x.data += g * p.group_c * x.stride[1];
              w.data += g * p.group_k * w.stride[0];
              a.out.data += g * p.group_k * a.out.stride[1];
              a.parts = reinterpret_cast<float*>(at + r.parts);
              set_bias(a, call);
              if (a.bias != nullptr) a.bias += g * p.group_k * a.bias_stride;
              pack<Words, Layout>(to, x, image, images);
              multiply_pixels<Words>(to, product, image, w, false, a, images, filters);
            }
          },
          r.all};
}

template <class Words, layout Layout>
program hopper_backward_data(const hopper_problem& from) {
  const conv_numbers p = from.p;
  const image_extent image{p.n, p.group_k, p.h.out, p.w.out};
  std::size_t parts = 0;
  for (int down = 0; down < p.h.stride; ++down)
    for (int right = 0; right < p.w.stride; ++right) {
      const pixel_product product{backward_axis(p.h, down, p.flip), backward_axis(p.w, right, p.flip)};
      const offset rows = offset{p.n} * product.height.count * product.width.count;
      parts = std::max(parts, parts_bytes<Words>(rows, p.group_c, product, p.group_k));
    }
  const room r(image.bytes<Words>(), filter_bytes<Words>(p.group_c, from.taps(), p.group_k), parts);
  return {[=, groups = from.groups, matrices = from.matrices](const kernel_call& call, stream& to) {
            std::byte* const at = aligned(call.workspace);
            auto* images = reinterpret_cast<unsigned*>(at + r.first);
            auto* filters = reinterpret_cast<unsigned*>(at + r.second);
            for (int g = 0; g < groups; ++g) {
              view4<const float> dy = view_of<const float>(call.reads[0], matrices),
                                 w = view_of<const float>(call.reads[1], matrices);
              dy.data += g * p.group_k * dy.stride[1];
              w.data += g * p.group_k * w.stride[0];
              pack<Words, Layout>(to, dy, image, images);
              for (int down = 0; down < p.h.stride; ++down)
                for (int right = 0; right < p.w.stride; ++right) {
                  warpgroup_arguments a{.columns = p.group_c,
                                        .out = view_of<float>(call.writes[0], matrices)};
                  a.out.data +=
                      g * p.group_c * a.out.stride[1] + down * a.out.stride[2] + right * a.out.stride[3];
                  a.out.stride[2] *= p.h.stride;
                  a.out.stride[3] *= p.w.stride;
                  a.parts = reinterpret_cast<float*>(at + r.parts);
                  const pixel_product product{backward_axis(p.h, down, p.flip),
                                              backward_axis(p.w, right, p.flip)};
                  multiply_pixels<Words>(to, product, image, w, true, a, images, filters);
                }
            }
          },
          r.all};
}

template <layout Layout>
program hopper_backward_weights(const hopper_problem& from) {
  using Words = bf16_words;
  const conv_numbers p = from.p;
  const image_extent x_image{p.n, p.group_c, p.h.in, p.w.in}, dy_image{p.n, p.group_k, p.h.out, p.w.out};
  const int steps = static_cast<int>(tiles<offset>(dy_image.pixels(), 64));
  const int slices = slices_of_filters(p.group_k, p.group_c, p.h.taps * p.w.taps, steps);
  const offset count = offset{p.group_k} * p.group_c * from.taps();
  const room r(dy_image.bytes<Words>(), x_image.bytes<Words>(),
               slices > 1 ? static_cast<std::size_t>(slices * count) * sizeof(float) : 0);
  return {[=, groups = from.groups, matrices = from.matrices](const kernel_call& call, stream& to) {
            std::byte* const at = aligned(call.workspace);
            auto* dy_room = reinterpret_cast<unsigned*>(at + r.first);
            auto* x_room = reinterpret_cast<unsigned*>(at + r.second);
            const axis_product h = forward_axis(p.h, false), w = forward_axis(p.w, false);
            for (int g = 0; g < groups; ++g) {
              view4<const float> dy = view_of<const float>(call.reads[0], matrices),
                                 x = view_of<const float>(call.reads[1], matrices);
              dy.data += g * p.group_k * dy.stride[1];
              x.data += g * p.group_c * x.stride[1];
              warpgroup_arguments a{.rows = p.group_k,
                                    .columns = p.group_c,
                                    .taps = p.h.taps * p.w.taps,
                                    .steps = steps,
                                    .slices = slices,
                                    .taps_w = p.w.taps,
                                    .down = h.dilation,
                                    .right_by = w.dilation,
                                    .width = w.count,
                                    .height = h.count,
                                    .step_w = w.step,
                                    .step_h = h.step,
                                    .first_w = w.lower,
                                    .first_h = h.lower,
                                    .out = view_of<float>(call.writes[0], matrices),
                                    .flip = p.flip,
                                    .taps_h = p.h.taps,
                                    .parts = reinterpret_cast<float*>(at + r.parts)};
              a.out.data += g * p.group_k * a.out.stride[0];
              if (count == 0) return;
              if (steps > 0) {
                pack<Words, Layout>(to, dy, dy_image, dy_room);
                pack<Words, Layout>(to, x, x_image, x_room);
                a.left = to.map_of(map_of_rows<Words>(dy_room, dy_image, 64));
                a.right = to.map_of(map_of_pixels<Words>(x_room, x_image, h, w, 64));
              }
              if (p.group_c > 64)
                to.launch<filter_tile<128>>(filter_tile<128>::shape(a), a);
              else
                to.launch<filter_tile<64>>(filter_tile<64>::shape(a), a);
              if (slices == 1) continue;
              using sum = slice_sum<filters_in_order>;
              to.launch<sum>({tiles(count, offset{sum::threads}), sum::threads},
                             {a.parts, count, slices, {p.group_c, p.w.taps, p.h.taps, p.flip, a.out}});
            }
          },
          r.all};
}

using maker = program (*)(const hopper_problem&);

void add_conv2d(registry& kernels, row r, maker nchw, maker nhwc) {
  r.layer = "conv2d";
  r.any_strides = true;
  r.supports = hopper_support;
  r.make = [nchw, nhwc](const kernel_problem& kp) {
    return (kp.layout == layout::nhwc ? nhwc : nchw)(convolution_of(kp));
  };
  add_rows(kernels, r);
}

void add_linear(registry& kernels, row r, maker make) {
  r.layer = "linear";
  r.layouts = {layout::nchw};
  r.supports = hopper_linear_support;
  r.make = [make](const kernel_problem& kp) { return make(matrices_of(kp)); };
  add_rows(kernels, r);
}

row row_of(const std::string& pass, const std::string& algorithm, const std::string& arithmetic) {
  row r;
  r.pass = pass;
  r.algorithm = algorithm;
  r.arithmetic = arithmetic;
  r.capability = 90;
  return r;
}

template <class Words>
void add_pixels(registry& kernels, const std::string& algorithm, const std::string& arithmetic) {
  const row forward = row_of("forward", algorithm, arithmetic),
            backward_data = row_of("backward_data", algorithm, arithmetic);
  add_conv2d(kernels, forward, hopper_forward<Words, layout::nchw>, hopper_forward<Words, layout::nhwc>);
  add_conv2d(kernels, backward_data, hopper_backward_data<Words, layout::nchw>,
             hopper_backward_data<Words, layout::nhwc>);
  add_linear(kernels, forward, hopper_forward<Words, layout::nhwc>);
  add_linear(kernels, backward_data, hopper_backward_data<Words, layout::nhwc>);
}

}  // namespace

void register_cuda_conv2d_hopper(registry& kernels) {
  add_pixels<tf32_words>(kernels, "warpgroup_tf32", "tf32");
  add_pixels<bf16_words>(kernels, "warpgroup_bf16", "bf16_f32");
  const row weights = row_of("backward_weights", "warpgroup_bf16", "bf16_f32");
  add_conv2d(kernels, weights, hopper_backward_weights<layout::nchw>, hopper_backward_weights<layout::nhwc>);
  add_linear(kernels, weights, hopper_backward_weights<layout::nhwc>);
}

}  // namespace plumb
#endif
