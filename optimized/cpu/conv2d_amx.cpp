// Convolution on tiles in bf16, forward and backward-data: an implicit matrix product without a matrix.
//   out[pixel][k] = bias[k] + Σ_taps Σ_c planes[pixel + tap][c] · w[tap][c][k]
// Whatever the strides are, a tap is one distance within the packed planes (bf16_planes.hpp). So a tile of A is 16
// pixels one behind the other × 32 channels, read where they lie, and a block of C is 32 pixels × 32 output channels.
//   prepare    w[k,c,r,s] → packed[group][32 of k][r][s][32 of c][16 of k][16 pairs of c][k], zeros in the tails
//   run        (image, group) by (image, group), as many as the second cache holds: images → planes, in parallel; then
//              (band of pixels, 32 of k, 32 pixels) in this order, threads take contiguous shares: the weights of 32 k
//              stay near while a band passes, and the band while all k pass
//   pixels     are walked over the width of the plane, rubbish at the ends of rows dropped, or row by row, whichever
//              takes fewer tiles
//   backward   dx is the same sum with dy in the place of x and C and K exchanged, over one grid of dx positions for
//              each residue modulo the stride (conv_reach.hpp); all grids read the same planes
// A block is stored near, and from there to NHWC, or transposed to NCHW. Each output is one sum in one order, so the thread
// count cannot change a bit. Tiles take subnormal numbers for zeros: where products might come near them, the emulated
// kernel of conv2d_direct.cpp computes everything. Georganas et al. 2018, "Anatomy of high-performance deep learning
// convolutions on SIMD architectures"; the tiles: Intel 2020, "Intel AMX", in the Architecture Instruction Set Extensions.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/bf16_planes.hpp"
#include "optimized/cpu/tiles_plan.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

// In words.
constexpr index_t planes_budget = index_t{256} << 10;  ///< of planes at once, for each thread
constexpr index_t band_budget = index_t{64} << 10;     ///< of pixels that all output channels pass over
constexpr index_t tile_words = tile_side * tile_side;

/// One grid of outputs: a product of a grid over rows and one over columns, with weights packed for it.
struct grid {
  conv_reach rows, columns;
  std::vector<index_t> taps;  ///< where each reads, in words from the pixel
  index_t width;              ///< pixels from row to row
  aligned_buffer weights;
};

/// Up to 32 pixels of a grid one behind the other.
struct strip {
  std::size_t grid;
  index_t first, count;
};
/// And up to 32 output channels.
struct step {
  std::size_t strip;
  index_t block;
};

std::vector<conv_reach> reaches(const conv_axis& axis, const direct_call& how) {
  if (how.forward) return {forward_reach(axis, how.arguments.flip)};
  return backward_reaches(axis, how.arguments.flip);
}

bf16_planes planes_for(const conv_arguments& a, const direct_call& how) {
  return {plane_axis(reaches(a.height(), how)), plane_axis(reaches(a.width(), how)),
          how.forward ? a.group_c() : a.group_k(), false};
}

class tiles_plan final : public plan {
 public:
  tiles_plan(const tile_machine& machine, const direct_call& how)
      : machine_(machine),
        rounding_(*machine.rounding),
        order_(how.layout),
        a_(flat_images(how)),
        planes_(planes_for(a_, how)),
        gradual_(make_direct_plan(bf16_tile_targets().back(), how)) {
    const bool forward = how.forward;
    bias_ = forward && a_.bias;
    in_channels_ = forward ? a_.group_c() : a_.group_k();
    out_channels_ = forward ? a_.group_k() : a_.group_c();
    in_weight_step_ = forward ? a_.taps() : a_.group_c() * a_.taps();
    out_weight_step_ = forward ? a_.group_c() * a_.taps() : a_.taps();
    in_size_ = forward ? a_.in_size() : a_.out_size();
    out_size_ = forward ? a_.out_size() : a_.in_size();
    out_width_ = forward ? a_.width().out : a_.width().in;
    tiles_ = (out_channels_ + tile_side - 1) / tile_side;
    units_at_once_ = std::clamp<index_t>(planes_budget * how.threads / std::max<index_t>(1, planes_.size()),
                                         1, std::max<index_t>(1, a_.n * a_.groups));
    make_grids(how);
    make_steps();
  }

  std::size_t workspace_size() const override {
    return std::max(sizeof(float) * static_cast<std::size_t>(bias_size() + units_at_once_ * planes_.size()),
                    gradual_->workspace_size());
  }

  void prepare(std::span<const tensor_ref> reads) override {
    gradual_->prepare(reads);
    smallest_weight_ = std::numeric_limits<float>::infinity();
    for (const grid& g : grids_) {
      for (index_t group = 0; group < a_.groups; ++group)
        for (index_t b = 0; b < blocks(); ++b)
          pack(g, b,
               static_cast<const float*>(reads[1].data) + group * a_.group_k() * a_.group_c() * a_.taps(),
               packed(g, group, b));
      smallest_weight_ =
          std::min(smallest_weight_, rounding_.smallest(g.weights.data(), a_.groups * weights_size(g)));
    }
  }

  void run(const kernel_call& call) noexcept override {
    auto* bias = static_cast<float*>(call.workspace);
    float* planes = bias + bias_size();
    copy_bias(call.reads[2 < call.reads.size() ? 2 : 0], bias);
    if (may_be_subnormal(bias)) return gradual_->run(call);
    const index_t units = a_.n * a_.groups;
    for (index_t first = 0; first < units; first += units_at_once_) {
      const index_t count = std::min(units_at_once_, units - first);
      const float smallest = fill_planes(call, first, count, planes);
      if (products_may_be_subnormal(smallest, smallest_weight_)) return gradual_->run(call);
      multiply(call, first, count, planes, bias);
    }
  }

 private:
  void make_grids(const direct_call& how) {
    for (const conv_reach& rows : reaches(a_.height(), how))
      for (const conv_reach& columns : reaches(a_.width(), how)) {
        grid g{rows, columns, {}, planes_.width(), {}};
        for (index_t r = 0; r < rows.taps; ++r)
          for (index_t s = 0; s < columns.taps; ++s) g.taps.push_back(planes_.tap_at(rows, r, columns, s));
        if (g.taps.empty()) g.width = columns.outputs;  // zeros, read from nowhere
        g.weights = aligned_buffer(a_.groups * weights_size(g));
        grids_.push_back(std::move(g));
      }
  }

  void make_steps() {
    for (std::size_t i = 0; i < grids_.size(); ++i) {
      const index_t p = grids_[i].rows.outputs, q = grids_[i].columns.outputs, width = grids_[i].width;
      if (p == 0 || q == 0) continue;
      const auto tiles = [](index_t pixels) { return (pixels + tile_side - 1) / tile_side; };
      const index_t through = (p - 1) * width + q;
      const bool by_row = p * tiles(q) < tiles(through);
      for (index_t row = 0; row < (by_row ? p : 1); ++row)
        for (index_t j = 0, end = by_row ? q : through; j < end; j += block_side)
          strips_.push_back({i, row * width + j, std::min(block_side, end - j)});
    }
    const auto band =
        static_cast<std::size_t>(std::max<index_t>(1, band_budget / (block_side * planes_.pixel())));
    for (std::size_t first = 0; first < strips_.size(); first += band)
      for (index_t b = 0; b < blocks(); ++b)
        for (std::size_t i = first; i < std::min(strips_.size(), first + band); ++i) steps_.push_back({i, b});
  }

  index_t blocks() const { return (tiles_ + 1) / 2; }
  /// Tiles of a block: two, or one in the tail.
  index_t tiles_of(index_t block) const { return std::min<index_t>(2, tiles_ - 2 * block); }
  index_t channel_tiles() const { return planes_.pixel() / tile_side; }  ///< 32 input channels each
  /// Of one group.
  index_t weights_size(const grid& g) const {
    return tiles_ * std::ssize(g.taps) * channel_tiles() * tile_words;
  }
  float* packed(const grid& g, index_t group, index_t block) const {
    return g.weights.data() + group * weights_size(g) +
           2 * block * std::ssize(g.taps) * channel_tiles() * tile_words;
  }

  void pack(const grid& g, index_t block, const float* weight, float* to) const {
    for (index_t r = 0; r < g.rows.taps; ++r)
      for (index_t s = 0; s < g.columns.taps; ++s) {
        const float* tap = weight + (g.rows.weight_first + r * g.rows.weight_step) * a_.width().taps +
                           g.columns.weight_first + s * g.columns.weight_step;
        for (index_t c = 0; c < channel_tiles(); ++c)
          for (index_t tile = 0; tile < tiles_of(block); ++tile, to += tile_words)
            pack_tile(tap, 2 * tile_side * c, block * block_side + tile * tile_side, to);
      }
  }

  /// 32 input channels from `first_c` on by 16 output channels from `first_k` on.
  void pack_tile(const float* tap, index_t first_c, index_t first_k, float* to) const {
    for (index_t i = 0; i < tile_side; ++i) {
      float row[2 * tile_side];
      for (index_t j = 0; j < 2 * tile_side; ++j) {
        const index_t c = first_c + 2 * i + j % 2, k = first_k + j / 2;
        row[j] =
            c < in_channels_ && k < out_channels_ ? tap[c * in_weight_step_ + k * out_weight_step_] : 0.0F;
      }
      rounding_.round_pairs(row, 2 * tile_side, to + i * tile_side);
    }
  }

  index_t bias_size() const { return a_.groups * blocks() * block_side; }

  /// Zeros if there is none.
  void copy_bias(const tensor_ref& from, float* to) const {
    const index_t row = blocks() * block_side;
    for (index_t group = 0; group < a_.groups; ++group)
      for (index_t k = 0; k < row; ++k)
        to[group * row + k] = bias_ && k < out_channels_
                                  ? static_cast<const float*>(from.data)[group * out_channels_ + k]
                                  : 0.0F;
  }

  /// Nor do sums with an f32 of this size come near subnormal numbers.
  bool may_be_subnormal(const float* bias) const {
    return std::any_of(bias, bias + bias_size(), [](float b) {
      return b != 0 && std::abs(static_cast<double>(b)) < smallest_safe_product;
    });
  }

  /// The planes of `count` units, which are groups of images; the smallest magnitude among them but zero.
  float fill_planes(const kernel_call& call, index_t first, index_t count, float* planes) const {
    const bool last = order_ == layout::nhwc;
    image_pair whole{.pixel_step = last ? a_.groups * in_channels_ : 1, .channel_step = last ? 1 : in_size_};
    float smallest = std::numeric_limits<float>::infinity();
#pragma omp parallel for num_threads(call.threads) schedule(static) reduction(min : smallest)
    for (index_t i = 0; i < count * planes_.lines(); ++i) {
      const index_t unit = first + i / planes_.lines(), image = unit / a_.groups, group = unit % a_.groups;
      image_pair from = whole;
      from.half[0] = static_cast<const float*>(call.reads[0].data) +
                     image * a_.groups * in_channels_ * in_size_ + group * in_channels_ * whole.channel_step;
      from.have[0] = in_size_;
      smallest = std::min(smallest, planes_.fill_line(rounding_, from, i % planes_.lines(),
                                                      planes + (unit - first) * planes_.size()));
    }
    return smallest;
  }

  void multiply(const kernel_call& call, index_t first, index_t count, const float* planes,
                const float* bias) const {
    auto* out = static_cast<float*>(call.writes[0].data);
    const index_t steps = std::ssize(steps_);
#pragma omp parallel num_threads(call.threads)
    {
      const tile_session session(machine_);
#pragma omp for schedule(static)
      for (index_t i = 0; i < count * steps; ++i) {
        const index_t unit = first + i / steps, image = unit / a_.groups, group = unit % a_.groups;
        run_step(
            steps_[static_cast<std::size_t>(i % steps)], group, planes + (unit - first) * planes_.size(),
            bias + group * blocks() * block_side,
            out + image * a_.groups * out_channels_ * out_size_ + group * out_channels_ * out_channel_step());
      }
    }
  }

  void run_step(const step& at, index_t group, const float* planes, const float* bias, float* out) const {
    alignas(64) float kept[block_side * block_side];
    const strip& s = strips_[at.strip];
    const grid& g = grids_[s.grid];
    tile_product t;
    t.rows = s.count > tile_side ? 2 : 1;
    t.columns = static_cast<int>(tiles_of(at.block));
    t.a = planes + s.first * planes_.pixel();
    t.a_row = planes_.pixel();
    t.a_next = tile_side * planes_.pixel();
    t.a_at = g.taps.data();
    t.a_step = t.b_row = tile_side;
    t.outer = std::ssize(g.taps);
    t.inner = channel_tiles();
    t.b = packed(g, group, at.block);
    t.b_next = tile_words;
    t.b_step = t.columns * tile_words;
    t.b_outer = t.inner * t.b_step;
    t.init = bias + at.block * block_side;
    t.out = kept;
    machine_.multiply(t);
    store(s, at.block, kept, out + at.block * block_side * out_channel_step());
  }

  index_t out_channel_step() const { return order_ == layout::nhwc ? 1 : out_size_; }

  /// The pixels of a strip that are outputs, stretch by stretch within rows.
  void store(const strip& s, index_t block, const float* kept, float* out) const {
    const grid& g = grids_[s.grid];
    const index_t channels = std::min(block_side, out_channels_ - block * block_side);
    for (index_t i = 0, next = 0; i < s.count; i = next) {
      const index_t p = (s.first + i) / g.width, q = (s.first + i) % g.width;
      next = std::min(s.count, i + g.width - q);
      const index_t count = std::min(next, i + g.columns.outputs - q) - i;
      if (count <= 0) continue;
      const index_t pixel = (g.rows.out_first + p * g.rows.out_step) * out_width_ + g.columns.out_first +
                            q * g.columns.out_step;
      store_row(kept + i * block_side, count, channels, g.columns.out_step,
                out + pixel * (order_ == layout::nhwc ? a_.groups * out_channels_ : 1));
    }
  }

  /// Neighbouring outputs of a row, `step` apart in the tensor.
  void store_row(const float* kept, index_t count, index_t channels, index_t step, float* out) const {
    if (order_ == layout::nhwc) {
      for (index_t i = 0; i < count; ++i)
        std::copy_n(kept + i * block_side, channels, out + i * step * a_.groups * out_channels_);
    } else if (step == 1) {
      rounding_.transpose(kept, block_side, count, channels, out, out_size_);
    } else {
      for (index_t k = 0; k < channels; ++k)
        for (index_t i = 0; i < count; ++i) out[k * out_size_ + i * step] = kept[i * block_side + k];
    }
  }

  const tile_machine& machine_;
  const tile_target& rounding_;
  layout order_;
  conv_arguments a_;
  bf16_planes planes_;
  std::unique_ptr<plan> gradual_;
  bool bias_ = false;
  index_t in_channels_ = 0, out_channels_ = 0;  ///< of a group
  index_t in_weight_step_ = 0, out_weight_step_ = 0;
  index_t in_size_ = 0, out_size_ = 0, out_width_ = 0;  ///< pixels
  index_t tiles_ = 0;                                   ///< 16 output channels each
  index_t units_at_once_ = 1;                           ///< groups of images
  std::vector<grid> grids_;
  std::vector<strip> strips_;
  std::vector<step> steps_;
  float smallest_weight_ = 0;  ///< magnitude, but zero
};

}  // namespace

std::unique_ptr<plan> make_tiles_plan(const tile_machine& machine, const direct_call& how) {
  return std::make_unique<tiles_plan>(machine, how);
}

void register_conv2d_amx(registry& kernels) {
  for (const bool forward : {true, false})
    for (const tile_machine& machine : tile_machines()) {
      kernel k = tiles_row("conv2d", forward ? "forward" : "backward_data", machine);
      k.supports = conv_support;
      k.make_plan = [&machine, forward](const kernel_problem& kp) {
        return make_tiles_plan(machine, {read_conv_arguments(kp.problem), kp.layout, kp.threads, forward});
      };
      kernels.add(std::move(k));
    }
}

}  // namespace plumb
