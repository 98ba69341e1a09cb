// The image as a tile reads it. If no filter tap leaves the image sideways it is read where it lies;
// otherwise its rows are first copied with zeros on either side, so that the inner loop never asks where the
// border is. Rows above and below are not copied: taps that fall there are skipped.
//   NCHW copies as [row][channel][column], so that the channels of one pixel are near; NHWC as
//   [row][column][channel].
#pragma once

#include <cstring>

#include "reference/core/kernel.hpp"

namespace plumb {

struct conv_rows {
  index_t channels = 0, height = 0, width = 0;
  index_t left = 0, right = 0;  ///< columns of zeros
  plumb::layout order = plumb::layout::nchw;
  index_t row_step = 0, column_step = 0, channel_step = 0;

  conv_rows() = default;
  conv_rows(plumb::layout l, index_t c, index_t h, index_t w, index_t zeros_left, index_t zeros_right)
      : channels(c), height(h), width(w), left(zeros_left), right(zeros_right), order(l) {
    const bool last = order == plumb::layout::nhwc;
    column_step = last ? channels : 1;
    channel_step = last ? 1 : copied() ? padded_width() : height * width;
    row_step = last || copied() ? padded_width() * channels : width;
  }

  bool copied() const { return left + right > 0; }
  index_t padded_width() const { return left + width + right; }
  index_t image_size() const { return channels * height * width; }
  /// Elements of workspace for one image.
  index_t copy_size() const { return copied() ? channels * height * padded_width() : 0; }

  /// Row `h` of `image` into the copy.
  void copy_row(const float* image, index_t h, float* copy) const {
    float* to = copy + h * row_step;
    if (order == plumb::layout::nhwc) {
      copy_run(image + h * width * channels, channels, to);
      return;
    }
    for (index_t c = 0; c < channels; ++c)
      copy_run(image + (c * height + h) * width, 1, to + c * padded_width());
  }

 private:
  void copy_run(const float* from, index_t step, float* to) const {
    const auto bytes = [step](index_t columns) {
      return static_cast<std::size_t>(columns * step) * sizeof(float);
    };
    std::memset(to, 0, bytes(left));
    std::memcpy(to + left * step, from, bytes(width));
    std::memset(to + (left + width) * step, 0, bytes(right));
  }
};

}  // namespace plumb
