// Direct convolution, forward and backward-data: the register tile of tile.hpp run over the image, no matrix
// is ever formed. A tile is up to 6 pixels × up to 64 output channels; it sums over the filter rows, filter
// columns and input channels, and is stored once.
//
//   plan       outputs → rectangles whose pixels have the same taps inside the image (the interior and a frame
//              around it), so that padding costs neither a test nor a multiplication by zero;
//              rectangle → tiles → pieces of up to 8 tiles; pieces → bands, whose input stays in the cache while
//              every block of 64 output channels passes over it
//   prepare    w[k,c,r,s] → packed[group][block][r][s][c][channel in block], zeros in the tail
//   run        NCHW images under filters larger than 1×1 → NHWC, so that one pixel's channels are neighbours;
//              (image, group, band, block, piece) in this order, threads take contiguous shares of equal cost
//   backward   dx is the same sum with dy in the place of x and C and K exchanged, over one grid of dx
//              positions for each residue modulo the stride (conv_reach.hpp)
//
//   depthwise  in NHWC one filter a channel is one group whose tiles multiply lane by lane
//   bf16       pairs of neighbouring channels, rounded on the way into the copy, take the place of channels
//
// NHWC stores a tile as it is; NCHW collects the tiles of a piece and transposes them. Each output is one sum
// in one order, so the thread count cannot change a bit. Georganas et al. 2018, "Anatomy of high-performance
// deep learning convolutions on SIMD architectures".
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/direct_plan.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

constexpr index_t tiles_at_once = 8;                 ///< tiles kept before they are transposed
constexpr index_t images_budget = index_t{2} << 20;  ///< floats of copied images at once
constexpr index_t weights_budget = index_t{128}
                                   << 10;          ///< floats of packed weights that may be read band by band
constexpr index_t band_budget = index_t{8} << 10;  ///< floats of input in a band
constexpr index_t copied_pixels = 32, copied_channels = 64;  ///< rounded to bf16 at once

/// One grid of outputs: a product of a grid over rows and one over columns, with weights packed for it.
struct grid {
  conv_reach rows, columns;
  index_t terms = 0;  ///< of one group
  aligned_buffer weights;
};

struct block {  ///< of output channels within a group
  index_t first, count;
  int vectors;
  index_t width;
};

/// Walks over the pixels of a rectangle: where each is read and written, from the first channel.
struct walker {
  index_t in = 0, out = 0;
  index_t left = 0;  ///< pixels to the end of the row, this one included
  index_t in_column = 0, out_column = 0, in_row = 0, out_row = 0,
          width = 0;  ///< steps to the next pixel, and row

  /// Whether so many pixels lie one step apart, in the input and in the output.
  bool evenly(index_t pixels) const { return pixels <= left || (in_row == 0 && out_row == 0); }
  void skip(index_t pixels) {  ///< at most to the end of the row
    in += pixels * in_column;
    out += pixels * out_column;
    left -= pixels;
    if (left > 0) return;
    in += in_row;
    out += out_row;
    left = width;
  }
};

/// Up to 8 tiles of a rectangle of outputs of a grid, the same taps for all. Everything that takes a division is known
/// beforehand: a piece of a 1×1 filter with few channels takes less than a microsecond.
struct piece {
  std::size_t grid;
  conv_reach::run rows, columns;
  index_t tiles, pixels;
  index_t smaller, larger;  ///< pixels of a tile; how many of the tiles have one more
  walker start;
};

/// A piece for a block of channels; steps are run in order.
struct step {
  std::size_t piece, block;
  index_t cost_before;
};

class direct_plan final : public plan {
 public:
  direct_plan(const tile_target& target, const direct_call& how)
      : target_(target), order_(how.layout), forward_(how.forward), pairs_(target.round_pairs != nullptr) {
    const conv_arguments a = flattened(how.arguments);
    const bool forward = forward_;
    images_ = a.n;
    lanewise_ = order_ == layout::nhwc && a.groups == a.c && a.c == a.k && a.c % target.lanes == 0 && !pairs_;
    groups_ = a.groups;
    bias_ = forward && a.bias;
    weight_channels_ = forward ? a.group_c() : a.group_k();
    in_channels_ = pairs_ ? (weight_channels_ + 1) / 2 : weight_channels_;
    out_channels_ = forward ? a.group_k() : a.group_c();
    in_weight_step_ = forward ? a.taps() : a.group_c() * a.taps();
    out_weight_step_ = forward ? a.group_c() * a.taps() : a.taps();
    row_weight_step_ = a.width().taps;
    group_weights_ = a.group_k() * a.group_c() * a.taps();
    in_height_ = forward ? a.height().in : a.height().out;
    in_width_ = forward ? a.width().in : a.width().out;
    out_height_ = forward ? a.height().out : a.height().in;
    out_width_ = forward ? a.width().out : a.width().in;
    in_pixel_ = pairs_ ? groups_ * in_channels_ : forward ? a.c : a.k;
    if (lanewise_) {
      out_channels_ = groups_;
      out_weight_step_ = a.taps();
      groups_ = 1;
    }
    copied_ = pairs_ || (order_ == layout::nchw && a.taps() > 1);
    const bool last = copied_ || order_ == layout::nhwc;
    column_step_ = last ? in_pixel_ : 1;
    channel_step_ = last ? 1 : in_height_ * in_width_;
    make_blocks(is_flat(how.arguments) && !lanewise_ && !pairs_);
    make_grids(a);
    make_steps(how.threads);
  }

  std::size_t workspace_size() const override {
    return sizeof(float) *
           static_cast<std::size_t>(bias_size() + (copied_ ? images_at_once() * in_image() : 0));
  }

  void prepare(std::span<const tensor_ref> reads) override {
    const auto* weight = static_cast<const float*>(reads[1].data);
    for (const grid& g : grids_)
      for (index_t group = 0; group < groups_; ++group)
        for (const block& b : blocks_)
          pack(g, b, weight + group * group_weights_ + b.first * out_weight_step_, packed(g, group, b));
    if (!pairs_) return;
    smallest_weight_ = std::numeric_limits<float>::infinity();
    for (const grid& g : grids_)
      smallest_weight_ = std::min(smallest_weight_,
                                  target_.smallest(g.weights.data(), groups_ * g.terms * padded_channels_));
  }

  void run(const kernel_call& call) noexcept override {
    auto* bias = static_cast<float*>(call.workspace);
    float* copies = bias + bias_size();
    if (bias_) copy_bias(call.reads[2], bias);
    smallest_read_ = std::numeric_limits<float>::infinity();
#pragma omp parallel num_threads(call.threads)
    for (index_t first = 0; first < images_; first += images_at_once()) {
      const index_t images = std::min(images_at_once(), images_ - first);
      const float* x = static_cast<const float*>(call.reads[0].data) + first * read_image();
      float* y = static_cast<float*>(call.writes[0].data) + first * out_image();
      if (copied_) {
        if (first > 0) {
#pragma omp barrier  // the copies before these have been read
        }
#pragma omp for schedule(static)
        for (index_t i = 0; i < images * copy_parts(); ++i)
          pairs_ ? copy_pairs(x, i, copies) : copy_row(x, i, copies);
        x = copies;
      }
      const index_t cost = images * groups_ * cost_;
#pragma omp for schedule(static) nowait
      for (int share = 0; share < call.threads; ++share)
        run_share(cost * share / call.threads, cost * (share + 1) / call.threads, x, y,
                  bias_ ? bias : nullptr);
    }
  }

 private:
  /// A 1×1 filter that skips nothing does not see rows, and in NHWC not even images.
  conv_arguments flattened(const conv_arguments& a) const {
    conv_arguments flat = with_flat_plane(a);
    if (order_ == layout::nhwc && is_flat(a)) {
      flat.axes[2].in = flat.axes[2].out = a.n * a.in_size();
      flat.n = 1;
    }
    return flat;
  }

  /// Of as many vectors as a tile has. Three that are left stay together where all rows lie evenly; more blocks of three
  /// vectors of eight would store every second line of the cache in halves.
  void make_blocks(bool even) {
    const bool by_three =
        even && target_.run_tiles != nullptr && target_.vectors == 2 && target_.tiles_vectors == 3;
    for (index_t first = 0; first < out_channels_; first += blocks_.back().width) {
      const index_t left = (out_channels_ - first + target_.lanes - 1) / target_.lanes;
      const bool three = by_three && left == 3;
      const auto vectors = static_cast<int>(std::min<index_t>(left, three ? 3 : target_.vectors));
      const index_t width = index_t{vectors} * target_.lanes;
      blocks_.push_back({first, std::min(width, out_channels_ - first), vectors, width});
    }
    padded_channels_ = blocks_.empty() ? 0 : blocks_.back().first + blocks_.back().width;
  }

  void make_grids(const conv_arguments& a) {
    const auto reaches = [this, &a](const conv_axis& axis) {
      return forward_ ? std::vector{forward_reach(axis, a.flip)} : backward_reaches(axis, a.flip);
    };
    for (const conv_reach& rows : reaches(a.height()))
      for (const conv_reach& columns : reaches(a.width())) {
        const index_t terms = rows.taps * columns.taps * in_channels_;
        grids_.push_back({rows, columns, terms, aligned_buffer(groups_ * terms * padded_channels_)});
      }
  }

  void make_steps(index_t threads) {
    index_t weights = 0, tiles = 0;
    for (const grid& g : grids_)
      tiles +=
          (g.rows.outputs * g.columns.outputs / most_tile_rows + 1) * images_ * groups_ * std::ssize(blocks_);
    // Enough pieces that no thread waits long for another.
    const index_t together = std::clamp<index_t>(tiles / (8 * threads), 1, tiles_at_once);
    for (std::size_t g = 0; g < grids_.size(); ++g) {
      weights += grids_[g].terms * padded_channels_;
      for (const conv_reach::run& rows : grids_[g].rows.runs())
        for (const conv_reach::run& columns : grids_[g].columns.runs()) {
          const even_parts tiles_here(rows.count * columns.count, most_tile_rows);
          for (index_t tile = 0, next = 0; tile < tiles_here.parts; tile = next) {
            next = std::min(tiles_here.parts, tile + together);
            piece p{g, rows, columns, next - tile, tiles_here.begin(next) - tiles_here.begin(tile), 0, 0, {}};
            p.smaller = p.pixels / p.tiles;
            p.larger = p.pixels % p.tiles;
            p.start = start_of(p, tiles_here.begin(tile));
            pieces_.push_back(p);
          }
        }
    }
    const auto read_by = [this](const piece& p) { return p.pixels * (lanewise_ ? in_pixel_ : in_channels_); };
    index_t all = 0;
    for (const piece& p : pieces_) all += read_by(p);
    // A thread should have pixels of its own, all blocks of them: what lies beside them is in its cache.
    const index_t band =
        weights <= weights_budget ? std::min(band_budget, (all + threads - 1) / threads) : in_image();
    for (std::size_t first = 0, last = 0; first < pieces_.size(); first = last) {
      for (index_t read = 0;
           last < pieces_.size() && (last == first || read + read_by(pieces_[last]) / 2 < band); ++last)
        read += read_by(pieces_[last]);
      for (std::size_t b = 0; b < blocks_.size(); ++b)
        for (std::size_t p = first; p < last; ++p) {
          steps_.push_back({p, b, cost_});
          cost_ += (pieces_[p].rows.taps.size() * pieces_[p].columns.taps.size() * in_channels_ + 16) *
                   pieces_[p].pixels * blocks_[b].vectors;
        }
    }
  }

  float* packed(const grid& g, index_t group, const block& b) const {
    return g.weights.data() + g.terms * (group * padded_channels_ + b.first);
  }

  void pack(const grid& g, const block& b, const float* weight, float* to) const {
    for (index_t r = 0; r < g.rows.taps; ++r)
      for (index_t s = 0; s < g.columns.taps; ++s)
        for (index_t c = 0; c < in_channels_; ++c, to += b.width) {
          const float* from = weight + (pairs_ ? 2 * c : c) * in_weight_step_ +
                              (g.rows.weight_first + r * g.rows.weight_step) * row_weight_step_ +
                              g.columns.weight_first + s * g.columns.weight_step;
          const bool alone = 2 * c + 1 == weight_channels_;
          for (index_t k = 0; k < b.count; ++k, from += out_weight_step_) {
            const float pair[] = {from[0], pairs_ && !alone ? from[in_weight_step_] : 0.0F};
            pairs_ ? target_.round_pairs(pair, 2, to + k) : void(to[k] = pair[0]);
          }
          std::fill(to + b.count, to + b.width, 0.0F);
        }
  }

  index_t bias_size() const { return bias_ ? aligned_buffer::padded(groups_ * padded_channels_) : 0; }
  index_t in_image() const { return in_pixel_ * in_height_ * in_width_; }
  /// Of a tensor that is read, in floats.
  index_t read_image() const { return groups_ * weight_channels_ * in_height_ * in_width_; }
  index_t out_image() const { return groups_ * out_channels_ * out_height_ * out_width_; }
  index_t images_at_once() const {
    if (!copied_) return std::max<index_t>(1, images_);
    return std::clamp<index_t>(images_budget / std::max<index_t>(1, in_image()), 1,
                               std::max<index_t>(1, images_));
  }

  void copy_bias(const tensor_ref& from, float* to) const {
    for (index_t group = 0; group < groups_; ++group)
      for (index_t k = 0; k < padded_channels_; ++k)
        to[group * padded_channels_ + k] =
            k < out_channels_ ? static_cast<const float*>(from.data)[group * out_channels_ + k] : 0.0F;
  }

  void note_smallest(float value) {
    float before = smallest_read_.load();
    while (value < before && !smallest_read_.compare_exchange_weak(before, value)) {
    }
  }

  /// Nor do sums with an f32 of this size come near subnormal numbers.
  bool may_be_subnormal(const float* bias) const {
    constexpr double safe = smallest_safe_product;
    if (products_may_be_subnormal(smallest_read_.load(), smallest_weight_)) return true;
    return bias != nullptr && std::any_of(bias, bias + groups_ * padded_channels_, [](float b) {
             return b != 0 && std::abs(static_cast<double>(b)) < safe;
           });
  }

  /// How many parts of an image are copied one by one.
  index_t copy_parts() const {
    return pairs_ ? (in_height_ * in_width_ + copied_pixels - 1) / copied_pixels : in_height_;
  }

  /// Some neighbouring pixels, part `i` of all images in turn, to NHWC in pairs.
  void copy_pairs(const float* x, index_t i, float* copies) {
    alignas(64) float turned[copied_pixels * copied_channels];
    const index_t plane = in_height_ * in_width_, image = i / copy_parts();
    const index_t first = i % copy_parts() * copied_pixels, count = std::min(copied_pixels, plane - first);
    const float* from = x + image * read_image();
    float* to = copies + image * in_image() + first * in_pixel_;
    const index_t channels = groups_ * weight_channels_;
    for (index_t group = 0; group < groups_; ++group)
      for (index_t c = 0; c < weight_channels_; c += copied_channels) {
        const index_t channel = group * weight_channels_ + c,
                      some = std::min(copied_channels, weight_channels_ - c);
        if (order_ == layout::nchw)
          target_.transpose(from + channel * plane + first, plane, some, count, turned, copied_channels);
        for (index_t j = 0; j < count; ++j)
          target_.round_pairs(
              order_ == layout::nchw ? turned + j * copied_channels : from + (first + j) * channels + channel,
              some, to + j * in_pixel_ + group * in_channels_ + c / 2);
      }
    note_smallest(target_.smallest(to, count * in_pixel_));
  }

  /// Row `i` of all images in turn, from NCHW to NHWC.
  void copy_row(const float* x, index_t i, float* copies) const {
    const index_t image = i / in_height_ * in_image(), h = i % in_height_, channels = in_pixel_;
    target_.transpose(x + image + h * in_width_, in_height_ * in_width_, channels, in_width_,
                      copies + image + h * in_width_ * channels, channels);
  }

  /// The steps whose cost lies in [begin, end), counted over all images and groups.
  void run_share(index_t begin, index_t end, const float* x, float* y, const float* bias) const {
    const auto run_tile = lanewise_                          ? target_.run_lanewise
                          : pairs_ && may_be_subnormal(bias) ? target_.run_gradual
                                                             : target_.run;
    const auto step_at = [this](index_t cost) {
      return std::ranges::lower_bound(steps_, cost, {}, &step::cost_before);
    };
    for (index_t unit = begin / std::max<index_t>(1, cost_); unit * cost_ < end; ++unit) {
      const index_t image = unit / groups_, group = unit % groups_;
      const float* from = x + image * in_image() + group * in_channels_ * channel_step_;
      float* to = y + image * out_image() + group * out_channels_ * out_channel_step();
      const auto last = step_at(end - unit * cost_);
      for (auto s = step_at(begin - unit * cost_); s < last; ++s) {
        const block& b = blocks_[s->block];
        run_piece(pieces_[s->piece], b, packed(grids_[pieces_[s->piece].grid], group, b), from,
                  to + b.first * out_channel_step(),
                  bias ? bias + group * padded_channels_ + b.first : nullptr, run_tile);
      }
    }
  }

  index_t out_channel_step() const { return order_ == layout::nhwc ? 1 : out_height_ * out_width_; }
  index_t out_column_step() const { return order_ == layout::nhwc ? groups_ * out_channels_ : 1; }

  /// At pixel number `first` of a rectangle.
  walker start_of(const piece& p, index_t first) const {
    const conv_reach &rows = grids_[p.grid].rows, &columns = grids_[p.grid].columns;
    walker at;
    at.width = p.columns.count;
    const index_t i = p.rows.first + first / at.width, j = p.columns.first + first % at.width;
    const index_t h = rows.in_first + i * rows.in_step + p.rows.taps.begin * rows.in_tap;
    const index_t w = columns.in_first + j * columns.in_step + p.columns.taps.begin * columns.in_tap;
    at.in = (h * in_width_ + w) * column_step_;
    at.out = ((rows.out_first + i * rows.out_step) * out_width_ + columns.out_first + j * columns.out_step) *
             out_column_step();
    at.left = at.width - first % at.width;
    at.in_column = columns.in_step * column_step_;
    at.out_column = columns.out_step * out_column_step();
    at.in_row = rows.in_step * in_width_ * column_step_ - at.width * at.in_column;
    at.out_row = rows.out_step * out_width_ * out_column_step() - at.width * at.out_column;
    return at;
  }

  /// `x` is the group's first channel, `y` the block's first.
  void run_piece(const piece& p, const block& b, const float* weights, const float* x, float* y,
                 const float* bias, void (*run_tile)(const tile_call&)) const {
    alignas(64) float kept[tiles_at_once * most_tile_rows * most_tile_width];
    const bool in_place = order_ == layout::nhwc && b.count == b.width;
    tiles_call t{terms_of(p, b, weights)};
    t.init = bias;
    t.x = x + (lanewise_ ? b.first : 0);
    t.out = in_place ? y : kept;
    walker at = p.start;
    if (run_tile == target_.run && target_.run_tiles != nullptr && at.evenly(p.pixels)) {
      t.x += at.in;
      if (in_place) t.out += at.out;
      t.count = p.pixels;
      t.x_step = at.in_column;
      t.out_step = in_place ? at.out_column : b.width;
      target_.run_tiles(t);
      if (!in_place) store(p, b, kept, y);
      return;
    }
    for (index_t tile = 0, kept_at = 0; tile < p.tiles; ++tile) {
      t.pixels = static_cast<int>(p.smaller + (tile < p.larger ? 1 : 0));
      for (int j = 0; j < t.pixels; ++j, at.skip(1), kept_at += b.width) {
        t.row[j] = at.in;
        t.out_row[j] = in_place ? at.out : kept_at;
      }
      run_tile(t);
    }
    if (!in_place) store(p, b, kept, y);
  }

  /// How the sum walks over x and w; for one group and no dilation (s, c) is one straight line. The innermost loop
  /// should not be one of a single channel.
  tile_call terms_of(const piece& p, const block& b, const float* weights) const {
    const grid& g = grids_[p.grid];
    const index_t tap = in_channels_ * b.width;
    tile_call t;
    t.vectors = b.vectors;
    t.w = weights + (p.rows.taps.begin * g.columns.taps + p.columns.taps.begin) * tap;
    t.loops[0] = {p.rows.taps.size(), g.rows.in_tap * in_width_ * column_step_, g.columns.taps * tap};
    if (channel_step_ == 1 && g.columns.in_tap * column_step_ == in_channels_) {
      t.loops[2] = {p.columns.taps.size() * in_channels_, 1, b.width};
    } else if (in_channels_ == 1) {
      t.loops[2] = {p.columns.taps.size(), g.columns.in_tap * column_step_, tap};
    } else {
      t.loops[1] = {p.columns.taps.size(), g.columns.in_tap * column_step_, tap};
      t.loops[2] = {in_channels_, channel_step_, b.width};
    }
    return t;
  }

  void store(const piece& p, const block& b, const float* kept, float* y) const {
    const bool neighbours = order_ == layout::nchw && grids_[p.grid].columns.out_step == 1;
    walker at = p.start;
    for (index_t left = p.pixels, count = 1; left > 0;
         left -= count, kept += count * b.width, at.skip(count)) {
      float* to = y + at.out;
      if (neighbours) count = std::min(left, at.left);
      if (count > 1)
        target_.transpose(kept, b.width, count, b.count, to, out_channel_step());
      else
        for (index_t k = 0; k < b.count; ++k) to[k * out_channel_step()] = kept[k];
    }
  }

  const tile_target& target_;
  layout order_;
  bool forward_;
  bool bias_ = false;
  bool copied_ = false;  ///< from NCHW to NHWC before it is read
  bool lanewise_ = false;
  bool pairs_;                   ///< of channels, in bf16, are what x and w consist of
  index_t weight_channels_ = 0;  ///< of a group, one by one; in_channels_ may count pairs
  index_t in_pixel_ = 0;         ///< channels of a pixel of the input, all groups
  index_t images_ = 0, groups_ = 1, in_channels_ = 0, out_channels_ = 0, padded_channels_ = 0;
  index_t in_weight_step_ = 0, out_weight_step_ = 0, row_weight_step_ = 0, group_weights_ = 0;
  index_t in_height_ = 0, in_width_ = 0, out_height_ = 0, out_width_ = 0;
  index_t column_step_ = 0, channel_step_ = 0;
  std::vector<block> blocks_;
  std::vector<grid> grids_;
  std::vector<piece> pieces_;
  std::vector<step> steps_;
  index_t cost_ = 0;                      ///< of all steps: one image, one group
  float smallest_weight_ = 0;             ///< magnitude, but zero, of the pairs of weights
  std::atomic<float> smallest_read_ = 0;  ///< and of the input of a call so far
};

kernel make_kernel(const std::string& layer, const tile_target& target, bool forward) {
  const bool rounds = target.round_pairs != nullptr;
  kernel k;
  k.layer = layer;
  k.pass = forward ? "forward" : "backward_data";
  k.name = layer + "." + k.pass + (rounds ? "/direct_bf16@" : "/direct@") + std::string(target.name);
  if (rounds) k.arithmetic = "bf16_f32";
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = conv_support;
  k.make_plan = [&target, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
    return make_direct_plan(target, {read_conv_arguments(kp.problem), kp.layout, kp.threads, forward});
  };
  return k;
}

}  // namespace

std::unique_ptr<plan> make_direct_plan(const tile_target& target, const direct_call& how) {
  return std::make_unique<direct_plan>(target, how);
}

void register_conv2d_direct(registry& kernels) {
  for (const bool forward : {true, false}) {
    for (const std::string layer : {"conv1d", "conv2d"})
      for (const tile_target& target : tile_targets()) kernels.add(make_kernel(layer, target, forward));
    for (const tile_target& target : bf16_tile_targets()) kernels.add(make_kernel("conv2d", target, forward));
  }
}

}  // namespace plumb
