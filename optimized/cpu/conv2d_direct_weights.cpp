// Direct convolution, backward-weights: dw[k,c,r,s] = Σ_{n,p,q} dy[n,k,p,q] · x[n,c,p·stride - pad +
// r·dilation,…], the register tile of tile.hpp with the roles turned: a tile is 6 input channels × up to 64
// output channels of one filter tap, and it sums over pixels. Its accumulators wait in the workspace between
// images.
//
//   per image   dy → panels[group][block of output channels][p][q][channel in block], zeros in the tail
//               rows of x → copied with zeros left and right if the filter leaves the image sideways
//               for each stretch of rows whose panel fits the cache: every (group, block, tap, 6 channels) is
//               a task
//   at the end  sums[group][block][c][r][s][channel in block] → transposed into dw
//
// A task belongs to one thread and stretches do not depend on the thread count, so neither do the bits.
#include <algorithm>
#include <vector>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/conv_rows.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

constexpr index_t stretch_budget = index_t{64}
                                   << 10;  ///< floats of dy panel read again for every tap and channel

class weights_plan final : public plan {
 public:
  weights_plan(const tile_target& target, const kernel_problem& kp)
      : target_(target),
        a_(with_flat_plane(read_conv_arguments(kp.problem))),
        rows_(forward_reach(a_.height(), a_.flip)),
        columns_(forward_reach(a_.width(), a_.flip)),
        image_(kp.layout, a_.c, a_.height().in, a_.width().in, columns_.missing_before(),
               columns_.missing_after()),
        channel_tiles_(a_.group_c(), target.pixels) {
    for (index_t first = 0; first < a_.group_k(); first += target.width()) {
      const index_t count = std::min(target.width(), a_.group_k() - first);
      const int vectors = static_cast<int>((count + target.lanes - 1) / target.lanes);
      blocks_.push_back({first, count, vectors, index_t{vectors} * target.lanes});
      padded_k_ = first + blocks_.back().width;
    }
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(sums_size() + panels_size() + image_.copy_size());
  }

  void run(const kernel_call& call) noexcept override {
    const auto* dy = static_cast<const float*>(call.reads[0].data);
    const auto* x = static_cast<const float*>(call.reads[1].data);
    auto* dweight = static_cast<float*>(call.writes[0].data);
    auto* sums = static_cast<float*>(call.workspace);
    float* panels = sums + sums_size();
    float* copy = panels + panels_size();
    if (a_.n == 0) std::fill_n(dweight, a_.k * a_.group_c() * a_.taps(), 0.0F);
#pragma omp parallel num_threads(call.threads)
    for (index_t n = 0; n < a_.n; ++n) {
      const index_t lines = a_.groups * std::ssize(blocks_) * rows_.outputs;
#pragma omp for schedule(static) nowait
      for (index_t i = 0; i < lines; ++i) fill_panel_row(i, dy + n * a_.k * a_.out_size(), panels);
      const float* image = x + n * image_.image_size();
#pragma omp for schedule(static)
      for (index_t h = 0; h < (image_.copied() ? image_.height : 0); ++h) image_.copy_row(image, h, copy);
#pragma omp for schedule(static)
      for (int share = 0; share < call.threads; ++share)
        add_image(share, call.threads, n == 0, image_.copied() ? copy : image, panels, sums);
#pragma omp for schedule(static) nowait
      for (index_t i = 0; i < (n + 1 == a_.n ? a_.groups * std::ssize(blocks_) : 0); ++i)
        store_block(i, sums, dweight);
    }
  }

 private:
  struct block {  ///< of output channels within a group
    index_t first, count;
    int vectors;
    index_t width;
  };

  index_t sums_size() const {
    return aligned_buffer::padded(a_.groups * padded_k_ * a_.group_c() * a_.taps());
  }
  index_t panels_size() const { return aligned_buffer::padded(a_.groups * padded_k_ * a_.out_size()); }
  const block& block_at(index_t i) const {
    return blocks_[static_cast<std::size_t>(i % std::ssize(blocks_))];
  }
  /// Channels, tails included, before block `i` of all groups.
  index_t channels_before(index_t i) const { return i / std::ssize(blocks_) * padded_k_ + block_at(i).first; }

  /// Row `line` = (group, block, p) of dy, pixel by pixel with the channels of the block together.
  void fill_panel_row(index_t line, const float* dy, float* panels) const {
    const index_t i = line / rows_.outputs, p = line % rows_.outputs, q = columns_.outputs;
    const block& b = block_at(i);
    const index_t k = i / std::ssize(blocks_) * a_.group_k() + b.first;
    float* to = panels + channels_before(i) * a_.out_size() + p * q * b.width;
    if (image_.order == layout::nhwc) {
      for (index_t j = 0; j < q; ++j) std::copy_n(dy + (p * q + j) * a_.k + k, b.count, to + j * b.width);
    } else {
      target_.transpose(dy + k * a_.out_size() + p * q, a_.out_size(), b.count, q, to, b.width);
    }
    for (index_t j = 0; j < q; ++j) std::fill(to + j * b.width + b.count, to + (j + 1) * b.width, 0.0F);
  }

  /// One thread's share of the tasks, stretch of rows by stretch of rows.
  void add_image(int share, int shares, bool first, const float* x, const float* panels, float* sums) const {
    const index_t tasks = a_.groups * std::ssize(blocks_) * channel_tiles_.parts * a_.taps();
    const even_parts stretches(rows_.outputs,
                               std::max<index_t>(1, stretch_budget / (columns_.outputs * target_.width())));
    for (index_t part = 0; part < stretches.parts; ++part)
      for (index_t task = tasks * share / shares; task < tasks * (share + 1) / shares; ++task)
        add_task(task, {stretches.begin(part), stretches.begin(part + 1)}, first && part == 0, x, panels,
                 sums);
  }

  /// Task = (group, block, tile of channels, tap) over the output rows [stretch).
  void add_task(index_t task, conv_reach::range stretch, bool first, const float* x, const float* panels,
                float* sums) const {
    const index_t tap = task % a_.taps(), r = tap / columns_.taps, s = tap % columns_.taps;
    const index_t channels = task / a_.taps() % channel_tiles_.parts;
    const index_t i = task / a_.taps() / channel_tiles_.parts;
    const index_t c = channel_tiles_.begin(channels), group = i / std::ssize(blocks_);
    const block& b = block_at(i);
    const conv_reach::range rows = rows_inside(r, stretch);
    const index_t top = rows.begin * rows_.in_step + rows_.in_first + r * rows_.in_tap;
    const index_t weight_tap = (rows_.weight_first + r * rows_.weight_step) * columns_.taps +
                               columns_.weight_first + s * columns_.weight_step;
    tile_call t;
    t.x = x + top * image_.row_step +
          (columns_.in_first + s * columns_.in_tap + image_.left) * image_.column_step +
          (group * a_.group_c() + c) * image_.channel_step;
    t.loops[1] = {rows.size(), rows_.in_step * image_.row_step, columns_.outputs * b.width};
    t.loops[2] = {columns_.outputs, columns_.in_step * image_.column_step};
    t.w = panels + channels_before(i) * a_.out_size() + rows.begin * columns_.outputs * b.width;
    t.out = sums + channels_before(i) * a_.group_c() * a_.taps() + (c * a_.taps() + weight_tap) * b.width;
    t.init = first ? nullptr : t.out;
    t.init_step = a_.taps() * b.width;
    t.even_rows(channel_tiles_.begin(channels + 1) - c, image_.channel_step, t.init_step);
    t.vectors = b.vectors;
    target_.run(t);
  }

  /// The output rows of a stretch that read inside the image under filter row `r`.
  conv_reach::range rows_inside(index_t r, conv_reach::range rows) const {
    const auto inside = [&](index_t p) {
      const index_t h = p * rows_.in_step + rows_.in_first + r * rows_.in_tap;
      return h >= 0 && h < rows_.in;
    };
    while (rows.begin < rows.end && !inside(rows.begin)) ++rows.begin;
    while (rows.begin < rows.end && !inside(rows.end - 1)) --rows.end;
    return rows;
  }

  void store_block(index_t i, const float* sums, float* dweight) const {
    const block& b = block_at(i);
    const index_t terms = a_.group_c() * a_.taps(), k = i / std::ssize(blocks_) * a_.group_k() + b.first;
    target_.transpose(sums + channels_before(i) * terms, b.width, terms, b.count, dweight + k * terms, terms);
  }

  const tile_target& target_;
  conv_arguments a_;
  conv_reach rows_, columns_;
  conv_rows image_;
  even_parts channel_tiles_;
  std::vector<block> blocks_;
  index_t padded_k_ = 0;
};

}  // namespace

void register_conv2d_direct_weights(registry& kernels) {
  for (const tile_target& target : tile_targets()) {
    kernel k;
    k.layer = "conv2d";
    k.pass = "backward_weights";
    k.name = "conv2d.backward_weights/direct@" + std::string(target.name);
    if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
    k.supports = conv_support;
    k.make_plan = [&target](const kernel_problem& kp) -> std::unique_ptr<plan> {
      return std::make_unique<weights_plan>(target, kp);
    };
    kernels.add(std::move(k));
  }
}

}  // namespace plumb
