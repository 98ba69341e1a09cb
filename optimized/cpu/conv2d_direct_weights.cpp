// Direct convolution, backward-weights: dw[k,c,r,s] = Σ_{n,p,q} dy[n,k,p,q] · x[n,c,p·stride - pad + r·dilation,…],
// the register tile of tile.hpp with the roles turned: a tile is 6 input channels × up to 64 output channels of
// one filter tap and sums over the pixels where that tap lies inside the image.
//
//   unit       a block of 64 output channels × a chunk of at least 6 input channels with all taps, whose sums stay near:
//              [c][r][s][output channel]; it is finished, transposed into dw, and the next one begins
//   in a unit  images → stretches of rows of dy that fit the second cache → tap, 6 channels: one tile each.
//              With fewer channels than fill tiles, the rows of a tile are any six (c, s) under one filter row
//   dy         NHWC is read where it lies if the block is full; else → panels[image][group][block][p][q][channel]
//   x          read where it lies; for few channels rows are copied with zeros left and right (conv_rows.hpp), so
//              that all s see the same columns
//
//   1×1        if it skips nothing, dy and x change places: dwᵀ is the same sum, and dw is written without a transpose
//   depthwise  in NHWC one filter a channel is one group of which x holds vectors too, multiplied lane by lane
//
// Where there are few units, the rows of outputs are cut into some parts with sums of their own, which are added in
// order; how many depends on the problem only. If that cannot be, the tiles of a unit are shared among tasks. Each sum
// belongs to one task and its order does not depend on the thread count, so neither do the bits.
#include <algorithm>
#include <vector>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/conv_rows.hpp"
#include "optimized/cpu/direct_plan.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

// In floats: the dy of a stretch, which every tile of a unit reads again, as a panel and in NHWC with the channels of
// all blocks (a stride of 2ⁿ leaves it few sets of the cache); the sums of a unit; panels and copies at once.
constexpr index_t panel_stretch = 64 << 10;
constexpr index_t plain_stretch = 128 << 10;
constexpr index_t sums_budget = 4 << 10;
constexpr index_t images_budget = 4 << 20;
constexpr index_t few_channels = 12;
constexpr index_t enough_tasks = 16;
constexpr index_t long_row = 24;  ///< pixels: a plane of shorter rows is better read as one

class weights_plan final : public plan {
 public:
  weights_plan(const tile_target& target, const direct_call& how)
      : target_(target),
        a_(with_long_rows(how.arguments)),
        swapped_(swap_if_flat(a_, target.lanes, how.layout)),
        threads_(how.threads),
        rows_(forward_reach(a_.height(), a_.flip)),
        columns_(forward_reach(a_.width(), a_.flip)),
        lanewise_(target.run_lanewise != nullptr && how.layout == layout::nhwc && a_.groups == a_.c &&
                  a_.c == a_.k && a_.c % target.lanes == 0),
        groups_(lanewise_ ? 1 : a_.groups),
        group_k_(a_.k / groups_),
        few_(a_.group_c() < few_channels && columns_.taps > 1),
        image_(how.layout, a_.c, a_.height().in, a_.width().in, few_ ? columns_.missing_before() : 0,
               few_ ? columns_.missing_after() : 0),
        chunks_(a_.group_c(), channels_at_once()) {
    for (index_t first = 0; first < group_k_; first += target.width()) {
      const index_t count = std::min(target.width(), group_k_ - first);
      const int vectors = static_cast<int>((count + target.lanes - 1) / target.lanes);
      blocks_.push_back({first, count, vectors, index_t{vectors} * target.lanes});
      padded_k_ = first + blocks_.back().width;
      panels_ = panels_ || !in_place(blocks_.back());
    }
    units_ = groups_ * std::ssize(blocks_) * chunks_.parts;
    const index_t most_splits = std::min<index_t>(8, a_.n * rows_.outputs);
    if (units_ > 0) splits_ = std::max<index_t>(1, std::min(most_splits, enough_tasks / units_));
    tasks_in_unit_ = splits_ > 1 ? splits_ : units_ < 4 * threads_ && threads_ > 1 ? 2 * threads_ : 1;
    kept_ = tasks_in_unit_ > 1 || images_at_once() < a_.n;
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(sums_size() + images_at_once() * scratch_size());
  }

  void run(const kernel_call& call) noexcept override {
    auto* dweight = static_cast<float*>(call.writes[0].data);
    auto* sums = static_cast<float*>(call.workspace);
    float* scratch = sums + sums_size();
    if (a_.n == 0) std::fill_n(dweight, a_.k * a_.group_c() * a_.taps(), 0.0F);
#pragma omp parallel num_threads(call.threads)
    for (index_t first = 0; first < a_.n; first += images_at_once()) {
      const operands o{
          static_cast<const float*>(call.reads[swapped_ ? 1 : 0].data) + first * a_.k * a_.out_size(),
          static_cast<const float*>(call.reads[swapped_ ? 0 : 1].data) + first * image_.image_size(), scratch,
          first, std::min(images_at_once(), a_.n - first)};
      fill_scratch(o);
      const index_t tasks = units_ * tasks_in_unit_;
#pragma omp for schedule(static)
      for (int share = 0; share < call.threads; ++share)
        for (index_t task = tasks * share / call.threads; task < tasks * (share + 1) / call.threads; ++task) {
          const index_t number = task / tasks_in_unit_, part = task % tasks_in_unit_;
          const unit u = unit_at(number);
          float* to = sums + (!kept_ ? share : number * splits_ + (splits_ > 1 ? part : 0)) * unit_size();
          add_part(u, part, o, to);
          if (!kept_) store(u, to, dweight);
        }
#pragma omp for schedule(static)
      for (index_t i = 0; i < (kept_ && first + o.images == a_.n ? units_ : 0); ++i)
        store_splits(unit_at(i), sums + i * splits_ * unit_size(), dweight);
    }
  }

 private:
  static conv_arguments with_long_rows(const conv_arguments& a) {
    return a.width().in >= long_row ? a : with_flat_plane(a);
  }
  /// Whole tiles of them.
  index_t channels_at_once() const {
    const index_t pixels = target_.pixels;
    return std::max(pixels, sums_budget / (a_.taps() * target_.width()) / pixels * pixels);
  }
  index_t sums_size() const { return (kept_ ? units_ * splits_ : threads_) * unit_size(); }

  /// Worth it where x lies as the tile reads it, or is small beside dw.
  static bool swap_if_flat(conv_arguments& a, index_t lanes, layout order) {
    if (!is_flat(a) || a.groups == a.c || a.group_c() < lanes) return false;
    if (order == layout::nchw && a.in_size() > 64) return false;
    std::swap(a.c, a.k);
    return true;
  }

  struct block {  ///< of output channels within a group
    index_t first, count;
    int vectors;
    index_t width;
  };
  struct unit {
    index_t group;
    const block& b;
    index_t first, last;  ///< input channels of the group
  };
  struct operands {
    const float *dy, *x;  ///< of the first image of this turn
    float* scratch;
    index_t first_image, images;
  };

  /// Units that share the longer operand follow each other; swapped, those that continue rows of dw.
  unit unit_at(index_t i) const {
    const index_t blocks = std::ssize(blocks_), within = i % (blocks * chunks_.parts);
    const index_t part = swapped_ ? within / blocks : within % chunks_.parts;
    const index_t number = swapped_ ? within % blocks : within / chunks_.parts;
    return {i / (blocks * chunks_.parts), blocks_[static_cast<std::size_t>(number)], chunks_.begin(part),
            chunks_.begin(part + 1)};
  }
  bool in_place(const block& b) const { return image_.order == layout::nhwc && b.count == b.width; }

  index_t unit_size() const {
    const index_t most = (a_.group_c() + chunks_.parts - 1) / std::max<index_t>(1, chunks_.parts);
    return aligned_buffer::padded(most * a_.taps() * target_.width());
  }
  index_t panels_size() const {
    return panels_ ? aligned_buffer::padded(groups_ * padded_k_ * a_.out_size()) : 0;
  }
  index_t scratch_size() const { return panels_size() + image_.copy_size(); }
  index_t images_at_once() const {
    return std::clamp<index_t>(images_budget / std::max<index_t>(1, scratch_size()), 1,
                               std::max<index_t>(1, a_.n));
  }

  /// The panels of dy and the copies of x of all images of a turn.
  void fill_scratch(const operands& o) const {
    const index_t lines = panels_ ? groups_ * std::ssize(blocks_) * rows_.outputs : 0;
#pragma omp for schedule(static) nowait
    for (index_t i = 0; i < o.images * lines; ++i)
      fill_panel_row(i % lines, o.dy + i / lines * a_.k * a_.out_size(),
                     o.scratch + i / lines * scratch_size());
    const index_t height = image_.copied() ? image_.height : 0;
#pragma omp for schedule(static)
    for (index_t i = 0; i < o.images * height; ++i)
      image_.copy_row(o.x + i / height * image_.image_size(), i % height,
                      o.scratch + i / height * scratch_size() + panels_size());
  }

  /// Row `line` = (group, block, p) of dy, pixel by pixel with the channels of the block together.
  void fill_panel_row(index_t line, const float* dy, float* panels) const {
    const index_t i = line / rows_.outputs, p = line % rows_.outputs, q = columns_.outputs;
    const block& b = blocks_[static_cast<std::size_t>(i % std::ssize(blocks_))];
    if (in_place(b)) return;
    const index_t group = i / std::ssize(blocks_), k = group * group_k_ + b.first;
    float* to = panels + (group * padded_k_ + b.first) * a_.out_size() + p * q * b.width;
    if (image_.order == layout::nhwc) {
      for (index_t j = 0; j < q; ++j) std::copy_n(dy + (p * q + j) * a_.k + k, b.count, to + j * b.width);
    } else {
      target_.transpose(dy + k * a_.out_size() + p * q, a_.out_size(), b.count, q, to, b.width);
    }
    for (index_t j = 0; j < q; ++j) std::fill(to + j * b.width + b.count, to + (j + 1) * b.width, 0.0F);
  }

  /// The tiles of a unit: filter row, then filter column and channels, or channels with their columns together.
  index_t lines(const unit& u) const { return (u.last - u.first) * (few_ ? columns_.taps : 1); }
  even_parts tiles(const unit& u) const { return {lines(u), target_.pixels}; }

  /// One part of a unit's tiles, or its tiles over one part of the rows of all images, stretch by stretch.
  void add_part(const unit& u, index_t part, const operands& o, float* sums) const {
    const index_t jobs = rows_.taps * (few_ ? 1 : columns_.taps) * tiles(u).parts;
    const bool split = splits_ > 1;
    const index_t first_job = split ? 0 : jobs * part / tasks_in_unit_;
    const index_t last_job = split ? jobs : jobs * (part + 1) / tasks_in_unit_;
    const index_t lines = a_.n * rows_.outputs;
    const index_t first_line = split ? lines * part / splits_ : 0;
    const index_t last_line = split ? lines * (part + 1) / splits_ : lines;
    const index_t row = columns_.outputs * (in_place(u.b) ? a_.k : u.b.width);
    const index_t most =
        std::max<index_t>(1, (in_place(u.b) ? plain_stretch : panel_stretch) / std::max<index_t>(1, row));
    for (index_t n = 0; n < o.images; ++n) {
      const index_t top = (o.first_image + n) * rows_.outputs;
      const index_t begin = std::max(first_line - top, index_t{0});
      const index_t end = std::min(last_line - top, rows_.outputs);
      const even_parts stretches(std::max(end - begin, index_t{0}), most);
      for (index_t i = 0; i < stretches.parts; ++i)
        for (index_t job = first_job; job < last_job; ++job)
          add_tile(u, job, n, {begin + stretches.begin(i), begin + stretches.begin(i + 1)},
                   top + begin + stretches.begin(i) == first_line, o, sums);
    }
  }

  void add_tile(const unit& u, index_t job, index_t n, conv_reach::range stretch, bool fresh,
                const operands& o, float* sums) const {
    const even_parts parts = tiles(u);
    const index_t tile = job % parts.parts, tap = job / parts.parts;
    const index_t r = few_ ? tap : tap / columns_.taps, s = few_ ? 0 : tap % columns_.taps;
    const conv_reach::range rows = inside(rows_, r, stretch);
    const conv_reach::range columns =
        few_ ? conv_reach::range{0, columns_.outputs} : inside(columns_, s, {0, columns_.outputs});
    const index_t pixel = in_place(u.b) ? a_.k : u.b.width;
    tile_call t;
    t.vectors = u.b.vectors;
    t.loops[1] = {rows.size(), rows_.in_step * image_.row_step, columns_.outputs * pixel};
    t.loops[2] = {columns.size(), columns_.in_step * image_.column_step, pixel};
    const float* dy =
        in_place(u.b) ? o.dy + n * a_.k * a_.out_size() + u.group * group_k_ + u.b.first
                      : o.scratch + n * scratch_size() + (u.group * padded_k_ + u.b.first) * a_.out_size();
    t.w = dy + (rows.begin * columns_.outputs + columns.begin) * pixel;
    const float* x =
        image_.copied() ? o.scratch + n * scratch_size() + panels_size() : o.x + n * image_.image_size();
    t.x = x + (rows.begin * rows_.in_step + rows_.in_first + r * rows_.in_tap) * image_.row_step +
          (columns.begin * columns_.in_step + columns_.in_first + image_.left) * image_.column_step +
          (lanewise_ ? u.b.first : (u.group * a_.group_c() + u.first) * image_.channel_step);
    t.out = sums;
    t.add = !fresh;
    t.pixels = static_cast<int>(parts.begin(tile + 1) - parts.begin(tile));
    for (int j = 0; j < t.pixels; ++j) {
      const index_t line = parts.begin(tile) + j, c = few_ ? line / columns_.taps : line;
      const index_t column = few_ ? line % columns_.taps : s;
      t.row[j] = c * image_.channel_step + column * columns_.in_tap * image_.column_step;
      t.out_row[j] = (c * a_.taps() + weight_tap(r, column)) * u.b.width;
    }
    lanewise_ ? target_.run_lanewise(t) : target_.run(t);
  }

  index_t weight_tap(index_t r, index_t s) const {
    return (rows_.weight_first + r * rows_.weight_step) * columns_.taps + columns_.weight_first +
           s * columns_.weight_step;
  }

  /// The outputs of a range that read inside the image under a tap.
  static conv_reach::range inside(const conv_reach& reach, index_t tap, conv_reach::range outputs) {
    const index_t first = reach.in_first + tap * reach.in_tap;  // what output 0 reads
    const index_t begin = first >= 0 ? 0 : (-first + reach.in_step - 1) / reach.in_step;
    const index_t end = first >= reach.in ? 0 : (reach.in - 1 - first) / reach.in_step + 1;
    outputs.begin = std::min(std::max(outputs.begin, begin), outputs.end);
    outputs.end = std::max(outputs.begin, std::min(outputs.end, end));
    return outputs;
  }

  /// The parts of a unit's sums, added one after another.
  void store_splits(const unit& u, float* sums, float* dweight) const {
    const index_t count = (u.last - u.first) * a_.taps() * u.b.width;
    for (index_t split = 1; split < splits_; ++split)
      for (index_t i = 0; i < count; ++i) sums[i] += sums[split * unit_size() + i];
    store(u, sums, dweight);
  }

  void store(const unit& u, const float* sums, float* dweight) const {
    if (swapped_) {
      for (index_t c = u.first; c < u.last; ++c, sums += u.b.width)
        std::copy_n(sums, u.b.count, dweight + (u.group * a_.group_c() + c) * group_k_ + u.b.first);
      return;
    }
    const index_t terms = a_.group_c() * a_.taps(), k = u.group * group_k_ + u.b.first;
    target_.transpose(sums, u.b.width, (u.last - u.first) * a_.taps(), u.b.count,
                      dweight + k * terms + u.first * a_.taps(), terms);
  }

  const tile_target& target_;
  conv_arguments a_;
  bool swapped_;  ///< dy and x, k and c
  index_t threads_;
  conv_reach rows_, columns_;
  bool lanewise_;
  index_t groups_, group_k_;
  bool few_;  ///< input channels: tiles hold filter columns too
  conv_rows image_;
  even_parts chunks_;  ///< of the input channels of a group
  std::vector<block> blocks_;
  index_t padded_k_ = 0;
  bool panels_ = false;
  index_t units_ = 0, tasks_in_unit_ = 1;
  index_t splits_ = 1;  ///< of the rows of all images
  bool kept_ = false;   ///< the sums of all units wait for the end
};

}  // namespace

std::unique_ptr<plan> make_direct_weights_plan(const tile_target& target, const direct_call& how) {
  return std::make_unique<weights_plan>(target, how);
}

void register_conv2d_direct_weights(registry& kernels) {
  for (const std::string layer : {"conv1d", "conv2d"})
    for (const tile_target& target : tile_targets()) {
      kernel k;
      k.layer = layer;
      k.pass = "backward_weights";
      k.name = layer + ".backward_weights/direct@" + std::string(target.name);
      if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
      k.supports = conv_support;
      k.make_plan = [&target](const kernel_problem& kp) -> std::unique_ptr<plan> {
        return make_direct_weights_plan(
            target,
            {.arguments = read_conv_arguments(kp.problem), .layout = kp.layout, .threads = kp.threads});
      };
      kernels.add(std::move(k));
    }
}

}  // namespace plumb
