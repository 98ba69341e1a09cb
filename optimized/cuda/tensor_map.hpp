// What Hopper's copy engine is told of a tensor before a launch: where it lies, its extents, and how much of it one
// instruction copies into shared memory. A copy is rows of 128 bytes of the tensor's first axis, one below the other;
// the 16-byte pieces of row i lie in the order i mod 8 demands (piece p of it at p xor i mod 8), which is how products of
// warpgroups read without two lanes meeting in a bank. What lies outside the tensor arrives as zeros.
//   box      a stretch of every axis, from a corner that the instruction names
//   pixels   rows of an image's pixels (channels, width, height, images), from one pixel on: from left to right between
//            two borders, then `step` rows below, then in the next image; every one read at an offset, that of a filter
//            tap. This is an implicit matrix of patches whose padding costs nothing
// NVIDIA, PTX ISA 8, "Tensors" and "im2col mode".
#pragma once

#include <cstdint>

namespace plumb::cuda {

constexpr int copied_row_bytes = 128;

struct copied_tensor {
  const void* data = nullptr;      ///< aligned to 16 bytes
  std::int64_t extents[4] = {};    ///< the first axis has its elements side by side
  std::int64_t strides[4] = {};    ///< in bytes, multiples of 16; that of the first axis is not looked at
  std::int16_t element_bytes = 4;  ///< 2: bf16, 4: tf32
  std::int16_t rank = 4;           ///< 3 or 4
  std::int16_t rows = 1;           ///< of 128 bytes that one instruction copies
  std::int16_t box[4] = {};        ///< of a box: its extents; box[0] elements have 128 bytes
  bool pixels = false;
  std::int16_t lower[2] = {};     ///< of pixels: the first column and row, counted from the tensor's first
  std::int16_t upper[2] = {};     ///< the last column and row, counted from the tensor's last
  std::int16_t step[2] = {1, 1};  ///< from pixel to pixel, along the width and the height

  int columns() const { return copied_row_bytes / element_bytes; }
};

/// The same as the instruction reads it: opaque on a device, a copied_tensor in host execution.
struct alignas(128) tensor_map {
  unsigned char bytes[128];
};
static_assert(sizeof(copied_tensor) <= sizeof(tensor_map));

/// Borders and offsets that the instruction can express for two axes of an image.
constexpr int least_corner = -128, most_corner = 127, most_offset = 255, most_step = 8;

}  // namespace plumb::cuda
