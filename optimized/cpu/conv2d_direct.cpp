// Direct convolution, forward and backward-data: the register tile of tile.hpp run over the image, no matrix
// is ever formed. A tile is up to 6 neighbouring pixels of one output row × up to 64 output channels; it sums
// over the filter rows that lie inside the image, the filter columns and the input channels before it is
// stored once.
//
//   prepare    w[k,c,r,s] → packed[group][block of output channels][r][s][c][channel in block], zeros in the
//   tail run        rows → copied with zeros left and right if the filter leaves the image sideways
//   (conv_rows.hpp)
//              every tile of (group, block, image, row) is one task; threads take even contiguous shares
//   backward   dx is the same sum with dy in the place of x and C and K exchanged, over one grid of dx
//   positions
//              for each residue modulo the stride (conv_reach.hpp)
//
// NHWC stores a tile as it is; NCHW collects the tiles of a row and transposes them. Each output is one sum
// in one order, so the thread count cannot change a bit. Georganas et al. 2018, "Anatomy of high-performance
// deep learning convolutions on SIMD architectures".
#include <algorithm>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/conv_rows.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

constexpr index_t tiles_at_once = 8;  ///< tiles of one row kept before they are transposed
constexpr index_t most_width = 64;    ///< channels in the widest tile of any target
constexpr index_t most_pixels = 6;
constexpr index_t images_budget = index_t{2} << 20;  ///< floats of copied images at once

/// One grid of outputs: a product of a grid over rows and one over columns, with weights packed for it.
struct grid {
  conv_reach rows, columns;
  bool channels_inner = true;  ///< order of the terms: (r, s, c), or (r, c, s) for few channels
  index_t terms = 0;           ///< of one group
  even_parts tiles;            ///< of one row
  aligned_buffer weights;
};

struct block {  ///< of output channels within a group
  index_t first, count;
  int vectors;
  index_t width;
};

class direct_plan final : public plan {
 public:
  direct_plan(const tile_target& target, const kernel_problem& kp, bool forward)
      : target_(target), order_(kp.layout), forward_(forward) {
    const conv_arguments a = with_flat_plane(read_conv_arguments(kp.problem));
    images_ = a.n;
    groups_ = a.groups;
    bias_ = forward && a.bias;
    in_channels_ = forward ? a.group_c() : a.group_k();
    out_channels_ = forward ? a.group_k() : a.group_c();
    in_weight_step_ = forward ? a.taps() : a.group_c() * a.taps();
    out_weight_step_ = forward ? a.group_c() * a.taps() : a.taps();
    row_weight_step_ = a.width().taps;
    group_weights_ = a.group_k() * a.group_c() * a.taps();
    out_height_ = forward ? a.height().out : a.height().in;
    out_width_ = forward ? a.width().out : a.width().in;
    make_blocks();
    make_grids(a);
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(bias_size() + images_at_once() * image_step());
  }

  void prepare(std::span<const tensor_ref> reads) override {
    const auto* weight = static_cast<const float*>(reads[1].data);
    for (const grid& g : grids_)
      for (index_t group = 0; group < groups_; ++group)
        for (const block& b : blocks_)
          pack(g, b, weight + group * group_weights_ + b.first * out_weight_step_, packed(g, group, b));
  }

  void run(const kernel_call& call) noexcept override {
    auto* bias = static_cast<float*>(call.workspace);
    float* copies = bias + bias_size();
    if (bias_) copy_bias(call.reads[2], bias);
#pragma omp parallel num_threads(call.threads)
    for (index_t first = 0; first < images_; first += images_at_once()) {
      const index_t images = std::min(images_at_once(), images_ - first);
      const float* x = static_cast<const float*>(call.reads[0].data) + first * rows_.image_size();
      float* y = static_cast<float*>(call.writes[0].data) + first * out_image();
      if (rows_.copied()) {
#pragma omp for schedule(static)
        for (index_t i = 0; i < images * rows_.height; ++i)
          rows_.copy_row(x + i / rows_.height * rows_.image_size(), i % rows_.height,
                         copies + i / rows_.height * image_step());
        x = copies;
      }
#pragma omp for schedule(static) nowait
      for (int share = 0; share < call.threads; ++share)
        for (const grid& g : grids_) {
          const index_t tasks = groups_ * std::ssize(blocks_) * images * g.rows.outputs * g.tiles.parts;
          run_tasks(g, images, tasks * share / call.threads, tasks * (share + 1) / call.threads, x, y,
                    bias_ ? bias : nullptr);
        }
#pragma omp barrier
    }
  }

 private:
  void make_blocks() {
    for (index_t first = 0; first < out_channels_; first += target_.width()) {
      const index_t count = std::min(target_.width(), out_channels_ - first);
      const int vectors = static_cast<int>((count + target_.lanes - 1) / target_.lanes);
      blocks_.push_back({first, count, vectors, index_t{vectors} * target_.lanes});
    }
    padded_channels_ = blocks_.empty() ? 0 : blocks_.back().first + blocks_.back().width;
  }

  void make_grids(const conv_arguments& a) {
    const auto reaches = [this, &a](const conv_axis& axis) {
      return forward_ ? std::vector{forward_reach(axis, a.flip)} : backward_reaches(axis, a.flip);
    };
    index_t left = 0, right = 0;
    for (const conv_reach& columns : reaches(a.width())) {
      left = std::max(left, columns.missing_before());
      right = std::max(right, columns.missing_after());
    }
    const index_t height = forward_ ? a.height().in : a.height().out;
    const index_t width = forward_ ? a.width().in : a.width().out;
    rows_ = conv_rows(order_, groups_ * in_channels_, height, width, left, right);
    for (const conv_reach& rows : reaches(a.height()))
      for (const conv_reach& columns : reaches(a.width())) {
        const index_t terms = rows.taps * columns.taps * in_channels_;
        grids_.push_back({rows, columns, in_channels_ >= columns.taps || merged(columns), terms,
                          even_parts(columns.outputs, target_.pixels),
                          aligned_buffer(groups_ * terms * padded_channels_)});
      }
  }

  /// Whether (s, c) walks memory in one straight line.
  bool merged(const conv_reach& columns) const {
    return columns.in_tap * rows_.column_step == in_channels_ * rows_.channel_step;
  }

  float* packed(const grid& g, index_t group, const block& b) const {
    return g.weights.data() + g.terms * (group * padded_channels_ + b.first);
  }

  void pack(const grid& g, const block& b, const float* weight, float* to) const {
    const index_t outer = g.channels_inner ? g.columns.taps : in_channels_;
    const index_t inner = g.channels_inner ? in_channels_ : g.columns.taps;
    for (index_t r = 0; r < g.rows.taps; ++r)
      for (index_t i = 0; i < outer; ++i)
        for (index_t j = 0; j < inner; ++j, to += b.width) {
          const index_t s = g.channels_inner ? i : j, c = g.channels_inner ? j : i;
          const float* from = weight + c * in_weight_step_ +
                              (g.rows.weight_first + r * g.rows.weight_step) * row_weight_step_ +
                              g.columns.weight_first + s * g.columns.weight_step;
          for (index_t k = 0; k < b.count; ++k) to[k] = from[k * out_weight_step_];
          std::fill(to + b.count, to + b.width, 0.0F);
        }
  }

  index_t bias_size() const { return bias_ ? aligned_buffer::padded(groups_ * padded_channels_) : 0; }
  index_t image_step() const { return aligned_buffer::padded(rows_.copy_size()); }
  index_t images_at_once() const {
    if (!rows_.copied()) return std::max<index_t>(1, images_);
    return std::clamp<index_t>(images_budget / image_step(), 1, std::max<index_t>(1, images_));
  }
  index_t out_image() const { return groups_ * out_channels_ * out_height_ * out_width_; }

  void copy_bias(const tensor_ref& from, float* to) const {
    for (index_t group = 0; group < groups_; ++group)
      for (index_t k = 0; k < padded_channels_; ++k)
        to[group * padded_channels_ + k] =
            k < out_channels_ ? static_cast<const float*>(from.data)[group * out_channels_ + k] : 0.0F;
  }

  /// Tasks are numbered (group, block, image, row, tile of the row), the last fastest.
  void run_tasks(const grid& g, index_t images, index_t task, index_t end, const float* x, float* y,
                 const float* bias) const {
    while (task < end) {
      const index_t tile = task % g.tiles.parts, line = task / g.tiles.parts;
      const index_t row = line % g.rows.outputs, image = line / g.rows.outputs % images;
      const index_t channels = line / g.rows.outputs / images;
      const index_t group = channels / std::ssize(blocks_);
      const block& b = blocks_[static_cast<std::size_t>(channels % std::ssize(blocks_))];
      const index_t tiles = std::min({g.tiles.parts - tile, end - task, tiles_at_once});
      const index_t image_start = rows_.copied() ? image * image_step() : image * rows_.image_size();
      run_row(g, b, row, tile, tile + tiles, packed(g, group, b),
              x + image_start + group * in_channels_ * rows_.channel_step,
              y + image * out_image() + (group * out_channels_ + b.first) * out_channel_step(),
              bias ? bias + group * padded_channels_ + b.first : nullptr);
      task += tiles;
    }
  }

  index_t out_channel_step() const { return order_ == layout::nhwc ? 1 : out_height_ * out_width_; }
  index_t out_column_step() const { return order_ == layout::nhwc ? groups_ * out_channels_ : 1; }

  /// Tiles [tile, last) of one row of outputs; `x` is the group's first channel, `y` the block's first.
  void run_row(const grid& g, const block& b, index_t row, index_t tile, index_t last, const float* weights,
               const float* x, float* y, const float* bias) const {
    alignas(64) float kept[tiles_at_once * most_pixels * most_width];
    const index_t begin = g.tiles.begin(tile), end = g.tiles.begin(last);
    const index_t step = g.columns.out_step * out_column_step();
    float* out =
        y +
        ((g.rows.out_first + row * g.rows.out_step) * out_width_ + g.columns.out_first) * out_column_step() +
        begin * step;
    const bool in_place = order_ == layout::nhwc && b.count == b.width;
    tile_call t = row_of_tiles(g, b, row, weights, x);
    t.init = bias;
    t.out_step = in_place ? step : b.width;
    const float* pixels = t.x;
    for (; tile < last; ++tile) {
      const index_t first = g.tiles.begin(tile);
      t.pixels = static_cast<int>(g.tiles.begin(tile + 1) - first);
      t.x = pixels + first * t.pixel_step;
      t.out = in_place ? out + (first - begin) * step : kept + (first - begin) * b.width;
      target_.run(t);
    }
    if (!in_place) store(kept, b, end - begin, out, step);
  }

  /// The call for the first pixel of a row, without its outputs: which taps are inside, and how x is walked.
  tile_call row_of_tiles(const grid& g, const block& b, index_t row, const float* weights,
                         const float* x) const {
    const conv_reach::range taps = g.rows.inside(row);
    const index_t top = row * g.rows.in_step + g.rows.in_first + taps.begin * g.rows.in_tap;
    const tile_loop columns{g.columns.taps, g.columns.in_tap * rows_.column_step};
    const tile_loop channels{in_channels_, rows_.channel_step};
    tile_call t;
    t.x = x + top * rows_.row_step + (g.columns.in_first + rows_.left) * rows_.column_step;
    t.pixel_step = g.columns.in_step * rows_.column_step;
    t.loops[0] = {taps.size(), g.rows.in_tap * rows_.row_step};
    t.loops[1] = g.channels_inner ? columns : channels;
    t.loops[2] = g.channels_inner ? channels : columns;
    if (merged(g.columns)) {
      t.loops[1] = {};
      t.loops[2] = {columns.count * channels.count, channels.step};
    }
    t.w = weights + taps.begin * g.columns.taps * in_channels_ * b.width;
    t.vectors = b.vectors;
    return t;
  }

  void store(const float* kept, const block& b, index_t pixels, float* out, index_t step) const {
    if (order_ == layout::nhwc) {
      for (index_t j = 0; j < pixels; ++j) std::copy_n(kept + j * b.width, b.count, out + j * step);
    } else if (step == 1) {
      target_.transpose(kept, b.width, pixels, b.count, out, out_channel_step());
    } else {
      for (index_t k = 0; k < b.count; ++k)
        for (index_t j = 0; j < pixels; ++j) out[k * out_channel_step() + j * step] = kept[j * b.width + k];
    }
  }

  const tile_target& target_;
  layout order_;
  bool forward_;
  bool bias_ = false;
  index_t images_ = 0, groups_ = 1, in_channels_ = 0, out_channels_ = 0, padded_channels_ = 0;
  index_t in_weight_step_ = 0, out_weight_step_ = 0, row_weight_step_ = 0, group_weights_ = 0;
  index_t out_height_ = 0, out_width_ = 0;
  std::vector<block> blocks_;
  conv_rows rows_;
  std::vector<grid> grids_;
};

kernel make_kernel(const tile_target& target, bool forward) {
  kernel k;
  k.layer = "conv2d";
  k.pass = forward ? "forward" : "backward_data";
  k.name = "conv2d." + k.pass + "/direct@" + std::string(target.name);
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = conv_support;
  k.make_plan = [&target, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
    return std::make_unique<direct_plan>(target, kp, forward);
  };
  return k;
}

}  // namespace

void register_conv2d_direct(registry& kernels) {
  for (const tile_target& target : tile_targets()) {
    kernels.add(make_kernel(target, true));
    kernels.add(make_kernel(target, false));
  }
}

}  // namespace plumb
