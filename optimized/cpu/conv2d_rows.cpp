// Convolution along the rows, forward and backward-data: the vectors hold neighbouring pixels of one channel, and
// the weights are broadcast (the strip of tile.hpp: up to 6 output channels × up to 64 pixels). It is the form
// for few output channels, for depthwise filters and for 1×1 filters over large NCHW planes, where a tile of 64
// output channels would be mostly empty or would have to be transposed.
//
//   prepare    w[k,c,r,s] → packed[group][6 output channels][c][tap][channel of the six]
//   band       some rows of outputs of one image and group, and all they read: each channel with zeros where the
//              filter leaves the image, rows padded to one width. Forward with stride s splits it into s×s planes
//              of the pixels of one residue, so that the pixels one tap reads are neighbours in a plane; NHWC is
//              transposed on the way. 1×1 filters over NCHW read x where it lies
//   run        outputs of a band are numbered through the padded rows, o = p·width + q, so that every tap reads o +
//              its own offset and a strip may run across rows; what falls between two rows is dropped when it is
//              stored. (image, group, band, strips that fit the first cache, 6 channels, strip) in this order;
//              threads take contiguous shares of the bands, each with a copy of its own
//   backward   dx is the same sum with dy in the place of x and C and K exchanged, over one grid of dx positions for
//              each residue modulo the stride (conv_reach.hpp)
//
// Each output is one sum in one order, so the thread count cannot change a bit.
#include <algorithm>
#include <cstring>
#include <limits>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

constexpr index_t band_budget = index_t{64} << 10;  ///< floats of input in a band
constexpr index_t near_budget = index_t{4} << 10;   ///< floats of input read again for every six channels

/// One grid of outputs, numbered through the padded rows.
struct row_grid {
  conv_reach rows, columns;
  index_t start =
      0;  ///< where the first output of a band reads under the first tap, in a channel of the copy
  std::vector<index_t> taps;  ///< offsets from there
  aligned_buffer weights;
};

/// Rows of outputs (in place: lanes of pixels) of one image and group.
struct band {
  index_t image, group, first, last;
};

class rows_plan final : public plan {
 public:
  rows_plan(const tile_target& target, const kernel_problem& kp, bool forward)
      : target_(target), order_(kp.layout), forward_(forward), threads_(kp.threads) {
    conv_arguments a = read_conv_arguments(kp.problem);
    if (order_ == layout::nchw) a = with_flat_plane(a);
    images_ = a.n;
    groups_ = a.groups;
    bias_ = forward && a.bias;
    in_channels_ = forward ? a.group_c() : a.group_k();
    out_channels_ = forward ? a.group_k() : a.group_c();
    in_weight_step_ = forward ? a.taps() : a.group_c() * a.taps();
    out_weight_step_ = forward ? a.group_c() * a.taps() : a.taps();
    row_weight_step_ = a.width().taps;
    in_height_ = forward ? a.height().in : a.height().out;
    in_width_ = forward ? a.width().in : a.width().out;
    out_height_ = forward ? a.height().out : a.height().in;
    out_width_ = forward ? a.width().out : a.width().in;
    make_grids(a);
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(in_place_ ? 0 : threads_ * copy_size());
  }

  void prepare(std::span<const tensor_ref> reads) override {
    const auto* weight = static_cast<const float*>(reads[1].data);
    const even_parts parts = channel_parts();
    for (const row_grid& g : grids_)
      for (index_t i = 0; i < groups_ * parts.parts; ++i) {
        const index_t group = i / parts.parts, first = parts.begin(i % parts.parts);
        pack(g,
             weight + (forward_ ? group * out_channels_ * out_weight_step_
                                : group * in_channels_ * in_weight_step_),
             first, parts.begin(i % parts.parts + 1), packed(g, group, first));
      }
  }

  void run(const kernel_call& call) noexcept override {
    const auto* x = static_cast<const float*>(call.reads[0].data);
    const float* bias = bias_ ? static_cast<const float*>(call.reads[2].data) : nullptr;
    auto* y = static_cast<float*>(call.writes[0].data);
    const index_t bands = images_ * groups_ * bands_.parts;
#pragma omp parallel for schedule(static) num_threads(call.threads)
    for (int share = 0; share < call.threads; ++share) {
      float* copy = static_cast<float*>(call.workspace) + share * copy_size();
      for (index_t i = bands * share / call.threads; i < bands * (share + 1) / call.threads; ++i) {
        const index_t unit = i / bands_.parts, part = i % bands_.parts;
        const band b{unit / groups_, unit % groups_, bands_.begin(part), bands_.begin(part + 1)};
        const float* from = x + in_start(b);
        if (!in_place_) copy_band(b, from, copy);
        for (const row_grid& g : grids_) run_band(g, b, in_place_ ? from : copy, y, bias);
      }
    }
  }

 private:
  even_parts channel_parts() const { return {out_channels_, target_.pixels}; }

  void make_grids(const conv_arguments& a) {
    row_phases_ = forward_ ? a.height().stride : 1;
    column_phases_ = forward_ ? a.width().stride : 1;
    const auto reaches = [this, &a](const conv_axis& axis) {
      return forward_ ? std::vector{forward_reach(axis, a.flip)} : backward_reaches(axis, a.flip);
    };
    const std::vector<conv_reach> rows = reaches(a.height()), columns = reaches(a.width());
    const window high = window_of(rows), wide = window_of(columns);
    top_ = high.first;
    left_ = wide.first;
    width_ = rounded_up((wide.outputs - 1) * column_phases_ + wide.span, column_phases_);
    in_place_ = order_ == layout::nchw && is_flat(a) &&
                (in_width_ % target_.lanes == 0 || in_width_ >= target_.width());
    make_bands(high);
    for (const conv_reach& r : rows)
      for (const conv_reach& c : columns) {
        row_grid g{r, c, 0, {}, {}};
        const index_t h = r.in_first - top_, w = c.in_first - left_;
        g.start = r.taps > 0 && c.taps > 0 ? place(h, w) : 0;
        for (index_t i = 0; i < r.taps; ++i)
          for (index_t j = 0; j < c.taps; ++j)
            g.taps.push_back(place(h + i * r.in_tap, w + j * c.in_tap) - g.start);
        g.weights = aligned_buffer(groups_ * out_channels_ * in_channels_ * std::ssize(g.taps));
        grids_.push_back(std::move(g));
      }
  }

  /// What output 0 of all grids together reads along an axis, and the outputs of the longest grid.
  struct window {
    index_t first, span, outputs;
  };
  static window window_of(const std::vector<conv_reach>& grids) {
    window w{std::numeric_limits<index_t>::max(), 0, 0};
    index_t last = std::numeric_limits<index_t>::min();
    for (const conv_reach& g : grids) {
      w.outputs = std::max(w.outputs, g.outputs);
      if (g.taps == 0) continue;
      w.first = std::min(w.first, g.in_first);
      last = std::max(last, g.in_first + (g.taps - 1) * g.in_tap);
    }
    if (last < w.first) return {0, 1, w.outputs};
    w.span = last - w.first + 1;
    return w;
  }

  /// As many rows in a band as the budget takes, but work for every thread.
  void make_bands(const window& high) {
    const auto shared = [this](index_t count) {
      return std::max<index_t>(1, images_ * groups_ >= threads_ ? count : (count + threads_ - 1) / threads_);
    };
    if (in_place_) {
      const index_t vectors = (in_width_ + target_.lanes - 1) / target_.lanes;
      const index_t strips = std::max<index_t>(1, band_budget / (in_channels_ * target_.width()));
      bands_ = even_parts(vectors,
                          std::min(strips * target_.vectors, rounded_up(shared(vectors), target_.vectors)));
      height_ = 1;
      return;
    }
    const index_t row = std::max<index_t>(1, in_channels_ * width_ * row_phases_);
    const index_t rows = band_budget / row - high.span / row_phases_;
    bands_ = even_parts(high.outputs, std::clamp<index_t>(rows, 1, shared(high.outputs)));
    const index_t most = bands_.parts > 0 ? (high.outputs + bands_.parts - 1) / bands_.parts : 0;
    height_ = rounded_up((most - 1) * row_phases_ + high.span, row_phases_);
  }

  static index_t rounded_up(index_t count, index_t step) {
    return (std::max<index_t>(1, count) + step - 1) / step * step;
  }

  /// Element (h, w) of a channel of the copy: [row residue][column residue][row][column].
  index_t place(index_t h, index_t w) const {
    const index_t height = height_ / row_phases_, width = width_ / column_phases_;
    return ((h % row_phases_ * column_phases_ + w % column_phases_) * height + h / row_phases_) * width +
           w / column_phases_;
  }
  index_t channel_size() const { return in_place_ ? in_height_ * in_width_ : height_ * width_; }
  /// A strip may read a whole strip behind the last channel.
  index_t copy_size() const {
    return aligned_buffer::padded(in_channels_ * channel_size() + target_.width());
  }
  index_t in_start(const band& b) const {
    const index_t plane = in_height_ * in_width_;
    return (b.image * groups_ * plane + b.group * (order_ == layout::nhwc ? 1 : plane)) * in_channels_;
  }

  float* packed(const row_grid& g, index_t group, index_t channel) const {
    return g.weights.data() + (group * out_channels_ + channel) * in_channels_ * std::ssize(g.taps);
  }

  void pack(const row_grid& g, const float* weight, index_t first, index_t last, float* to) const {
    for (index_t c = 0; c < in_channels_; ++c)
      for (index_t r = 0; r < g.rows.taps; ++r)
        for (index_t s = 0; s < g.columns.taps; ++s)
          for (index_t k = first; k < last; ++k)
            *to++ = weight[k * out_weight_step_ + c * in_weight_step_ +
                           (g.rows.weight_first + r * g.rows.weight_step) * row_weight_step_ +
                           g.columns.weight_first + s * g.columns.weight_step];
  }

  /// The rows that a band reads, every channel; zeros outside the image and behind the last channel.
  void copy_band(const band& b, const float* x, float* copy) const {
    const index_t top = b.first * row_phases_ + top_;
    for (index_t h = 0; h < height_; ++h) {
      const bool inside = top + h >= 0 && top + h < in_height_;
      for (index_t phase = 0; phase < column_phases_; ++phase)
        copy_row(inside ? x + (top + h) * in_width_ * in_column_step() : nullptr, phase,
                 copy + place(h, phase));
    }
    std::fill_n(copy + in_channels_ * channel_size(), target_.width(), 0.0F);
  }

  /// Columns phase, phase + phases, … of one row, for every channel. `x` is column 0, or null for a row of zeros.
  void copy_row(const float* x, index_t phase, float* to) const {
    const index_t width = row_width(), step = column_phases_ * in_column_step();
    const index_t before =
        std::min(width, left_ + phase >= 0 ? 0 : (-left_ - phase + column_phases_ - 1) / column_phases_);
    const index_t first = left_ + phase + before * column_phases_;
    const index_t all = !x || first >= in_width_ ? 0 : (in_width_ - 1 - first) / column_phases_ + 1;
    const index_t count = std::min(all, width - before);
    const float* from = count > 0 ? x + first * in_column_step() : nullptr;
    if (order_ == layout::nhwc && count > 0)
      target_.transpose(from, step, count, in_channels_, to + before, channel_size());
    for (index_t c = 0; c < in_channels_; ++c, to += channel_size()) {
      std::fill_n(to, before, 0.0F);
      if (order_ == layout::nchw && count > 0) {
        const float* line = from + c * in_height_ * in_width_;
        if (step == 1)
          std::memcpy(to + before, line, static_cast<std::size_t>(count) * sizeof(float));
        else
          for (index_t j = 0; j < count; ++j) to[before + j] = line[j * step];
      }
      std::fill_n(to + before + count, width - before - count, 0.0F);
    }
  }

  /// All strips of a band, for every six channels.
  void run_band(const row_grid& g, const band& b, const float* x, float* y, const float* bias) const {
    const index_t rows = in_place_ ? 1 : std::min(b.last, g.rows.outputs) - b.first;
    const index_t begin = in_place_ ? b.first * target_.lanes : 0;
    const index_t end = in_place_ ? std::min(in_width_, b.last * target_.lanes)
                                  : (rows - 1) * row_width() + g.columns.outputs;
    if (rows <= 0 || g.columns.outputs == 0) return;
    const even_parts strips((end - begin + target_.lanes - 1) / target_.lanes, target_.vectors);
    const even_parts parts = channel_parts();
    const index_t together =
        std::max<index_t>(1, near_budget / (std::max<index_t>(1, in_channels_) * target_.width()));
    float* out = y + b.image * groups_ * out_channels_ * out_height_ * out_width_ +
                 b.group * out_channels_ * out_channel_step();
    for (index_t strip = 0; strip < strips.parts; strip += together)
      for (index_t part = 0; part < parts.parts; ++part) {
        const index_t k = parts.begin(part);
        strip_call t;
        t.channels = in_channels_;
        t.channel_step = channel_size();
        t.taps = g.taps.data();
        t.tap_count = std::ssize(g.taps);
        t.rows = static_cast<int>(parts.begin(part + 1) - k);
        t.w = packed(g, b.group, k);
        t.init = bias ? bias + b.group * out_channels_ + k : nullptr;
        const index_t last = std::min(strips.parts, strip + together);
        for (index_t i = strip; i < last; i += t.strips) {
          t.vectors = static_cast<int>(strips.begin(i + 1) - strips.begin(i));
          const index_t first = begin + strips.begin(i) * target_.lanes,
                        width = index_t{t.vectors} * target_.lanes;
          t.strips = 1;
          // In place all whole strips of one width lie behind each other.
          while (in_place_ && i + t.strips < last && first + (t.strips + 1) * width <= end &&
                 strips.begin(i + t.strips + 1) - strips.begin(i + t.strips) == t.vectors)
            ++t.strips;
          run_strip(g, b, t, x, first, std::min(end, first + t.strips * width), out + k * out_channel_step());
        }
      }
  }

  /// Outputs number [first, last) of a band for up to six channels, the first of which starts at `out`. More than one
  /// strip only where they are stored in place.
  void run_strip(const row_grid& g, const band& b, strip_call& t, const float* x, index_t first, index_t last,
                 float* out) const {
    alignas(64) float kept[most_tile_rows * most_tile_width];
    const index_t width = t.strips * t.vectors * target_.lanes, row = in_place_ ? 0 : b.first;
    // Where x lies in place nothing may be read behind it: the last strip begins earlier.
    const index_t back = in_place_ ? first + width - last : 0;
    const bool direct = order_ == layout::nchw && last - first == width && g.columns.out_step == 1 &&
                        first % row_width() + width <= g.columns.outputs;
    t.x = x + g.start + first - back;
    t.out = direct ? out + out_place(g, row + first / row_width(), first % row_width()) : kept;
    t.out_step = direct ? out_channel_step() : width;
    target_.run_strip(t);
    if (!direct) store(g, t, row, kept + back, first, last, out);
  }

  index_t in_column_step() const { return order_ == layout::nhwc ? groups_ * in_channels_ : 1; }
  index_t row_width() const { return width_ / column_phases_; }
  index_t out_channel_step() const { return order_ == layout::nhwc ? 1 : out_height_ * out_width_; }
  index_t out_column_step() const { return order_ == layout::nhwc ? groups_ * out_channels_ : 1; }
  index_t out_place(const row_grid& g, index_t p, index_t q) const {
    return ((g.rows.out_first + p * g.rows.out_step) * out_width_ + g.columns.out_first +
            q * g.columns.out_step) *
           out_column_step();
  }

  /// The numbers [first, last) that are outputs, from `kept` to where they belong; number 0 is in row `row`.
  void store(const row_grid& g, const strip_call& t, index_t row, const float* kept, index_t first,
             index_t last, float* out) const {
    const index_t width = row_width(), step = g.columns.out_step * out_column_step();
    for (index_t at = first; at < last;) {
      const index_t q = at % width, count = std::min(last - at, g.columns.outputs - q);
      float* line = out + out_place(g, row + at / width, q);
      for (index_t j = 0; count > 0 && j < t.rows; ++j) {
        const float* from = kept + j * t.out_step + at - first;
        float* to = line + j * out_channel_step();
        if (step == 1)
          std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
        else
          for (index_t i = 0; i < count; ++i) to[i * step] = from[i];
      }
      at += std::min(last - at, width - q);
    }
  }

  const tile_target& target_;
  layout order_;
  bool forward_;
  bool bias_ = false;
  bool in_place_ = false;
  index_t threads_;
  index_t images_ = 0, groups_ = 1, in_channels_ = 0, out_channels_ = 0;
  index_t in_weight_step_ = 0, out_weight_step_ = 0, row_weight_step_ = 0;
  index_t in_height_ = 0, in_width_ = 0, out_height_ = 0, out_width_ = 0;
  index_t row_phases_ = 1, column_phases_ = 1;
  index_t top_ = 0, left_ = 0;      ///< the row and column of x that the copy for output 0 begins with
  index_t height_ = 1, width_ = 1;  ///< of a channel of the copy
  even_parts bands_{0, 1};          ///< of the rows of outputs of an image
  std::vector<row_grid> grids_;
};

kernel make_kernel(const std::string& layer, const tile_target& target, bool forward) {
  kernel k;
  k.layer = layer;
  k.pass = forward ? "forward" : "backward_data";
  k.name = layer + "." + k.pass + "/rows@" + std::string(target.name);
  if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
  k.supports = conv_support;
  k.make_plan = [&target, forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
    return std::make_unique<rows_plan>(target, kp, forward);
  };
  return k;
}

}  // namespace

void register_conv2d_rows(registry& kernels) {
  for (const std::string layer : {"conv1d", "conv2d"})
    for (const tile_target& target : tile_targets()) {
      kernels.add(make_kernel(layer, target, true));
      kernels.add(make_kernel(layer, target, false));
    }
}

}  // namespace plumb
