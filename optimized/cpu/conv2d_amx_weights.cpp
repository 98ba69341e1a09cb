// Convolution on tiles in bf16, backward-weights: dw[k][c] of a tap = Σ_pixels dy[k][pixel] · x[pixel + tap][c].
// The sum runs over pixels, and a tile wants its terms in pairs. A pair are two images at one place, so that a tap
// stays a distance between pixels and never splits a pair; where a 1×1 filter skips nothing, NHWC is one line of pixels,
// and pairs are neighbours. What has no partner is paired with zeros.
//   x      planes of pairs (bf16_planes.hpp): 16 pixels × 16 channels lie as a tile of B
//   dy     → panels[k][pixel], walked as the planes of x are: 16 k × 16 pixels lie as a tile of A; zeros at the pixels
//          that are none, at the ends of rows
//   task   32 k × 32 c with all taps, over all pixels or one part of them: stretch of pixels → tap → one block of C, which
//          goes on from what it was. So a stretch of dy and x stays near for all taps
// Where there are few blocks, the stretches of all images are cut into parts with sums of their own, added in order; how many
// depends on the problem only. So the thread count cannot change a bit. Images come in turns that fit the caches.
// Tiles take subnormal numbers for zeros, and zeros meet numbers of pixels that a tap does not read: where products might
// come near the former, or a number is not finite, the emulated kernel of conv2d_bf16_weights.cpp computes everything.
#include <algorithm>
#include <limits>
#include <vector>

#include "optimized/cpu/bf16_planes.hpp"
#include "optimized/cpu/tiles_plan.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

constexpr index_t turn_budget = index_t{512} << 10;  ///< words of planes and panels at once, for each thread
constexpr index_t stretch_tiles = 16;                ///< tiles of pixels
constexpr index_t line_pairs = 512;                  ///< pairs of neighbours that make an image
constexpr index_t enough_tasks = 32, most_splits = 16;
constexpr index_t block_words = block_side * block_side;

index_t parts_of(index_t count, index_t size) { return (count + size - 1) / size; }

/// The pairs of a problem as images that share one geometry.
struct paired_problem {
  conv_arguments a;
  bool neighbours = false;  ///< pairs are neighbouring pixels of NHWC
  index_t images = 0;       ///< of pairs
  index_t pixels = 0;       ///< with neighbours: of the tensors, one by one
  layout order = layout::nchw;

  explicit paired_problem(const direct_call& how)
      : a(with_flat_plane(how.arguments)),
        neighbours(how.layout == layout::nhwc && is_flat(how.arguments)),
        images((a.n + 1) / 2),
        pixels(a.n * a.in_size()),
        order(how.layout) {
    if (!neighbours) return;
    const index_t pairs = (pixels + 1) / 2;
    a.axes[2].in = a.axes[2].out = std::clamp<index_t>(pairs, 1, line_pairs);
    images = parts_of(pairs, a.axes[2].in);
  }

  /// Group `group`, of so many channels, of pair `i` of images of `size` pixels each.
  image_pair pair_at(const float* tensor, index_t i, index_t group, index_t channels, index_t size) const {
    const index_t all = a.groups * channels, step = order == layout::nhwc ? all : 1;
    const index_t channel = order == layout::nhwc ? 1 : size, between = neighbours ? all : all * size;
    image_pair p{.pixel_step = neighbours ? 2 * step : step, .channel_step = channel};
    const index_t left = neighbours ? pixels - 2 * i * size : a.n - 2 * i;  // pixels, or images
    p.have[0] = neighbours ? std::min((left + 1) / 2, size) : size;
    p.have[1] = neighbours ? std::min(left / 2, size) : left > 1 ? size : 0;
    p.half[0] = tensor + 2 * i * all * size + group * channels * channel;
    p.half[1] = p.half[0] + (p.have[1] > 0 ? between : 0);
    return p;
  }
};

/// dy of a group in the order in which tiles of A read it.
class dy_panels {
 public:
  /// `width`: pixels from row to row in the planes of x.
  dy_panels(const conv_arguments& a, index_t width)
      : channels_(a.group_k()), p_(a.height().out), q_(a.width().out) {
    const index_t through = (p_ - 1) * width + q_;
    by_row_ = p_ * parts_of(q_, tile_side) < parts_of(through, tile_side);
    row_ = by_row_ ? parts_of(q_, tile_side) * tile_side : width;
    lines_ = by_row_ ? p_ : 1;
    line_tiles_ = parts_of(by_row_ ? q_ : through, tile_side);
    // An odd number of cache lines, so that 16 channels do not crowd into one set.
    channel_ = (lines_ * line_tiles_ | 1) * tile_side;
  }
  index_t channel() const { return channel_; }  ///< words from one to the next
  index_t lines() const { return lines_; }      ///< of whole tiles
  index_t line_tiles() const { return line_tiles_; }
  index_t tiles() const { return parts_of(channels_, tile_side); }  ///< of channels
  index_t size() const { return tiles() * tile_side * channel_; }

  /// Panels are filled in parts, 16 channels of a row of dy each. Returns smallest_of() it.
  index_t fills() const { return tiles() * p_; }
  float fill(const tile_target& rounding, const image_pair& from, index_t part, float* panels) const {
    const index_t p = part % p_, first = part / p_ * tile_side;
    const index_t count = std::min(tile_side, channels_ - first);
    const index_t end = p + 1 < p_ ? (p + 1) * row_ : channel_;
    float smallest = std::numeric_limits<float>::infinity();
    for (index_t q = 0; q < q_; q += pixels_at_once)
      smallest =
          std::min(smallest, fill_pixels(rounding, from, first, p * q_ + q, std::min(pixels_at_once, q_ - q),
                                         panels + first * channel_ + p * row_ + q));
    for (index_t k = first; k < first + tile_side; ++k)
      std::fill(panels + k * channel_ + p * row_ + (k < first + count ? q_ : 0), panels + k * channel_ + end,
                0.0F);
    return smallest;
  }

 private:
  static constexpr index_t pixels_at_once = 64;

  float fill_pixels(const tile_target& rounding, const image_pair& from, index_t first, index_t pixel,
                    index_t count, float* to) const {
    alignas(64) float turned[2][tile_side * pixels_at_once] = {}, mixed[2 * pixels_at_once];
    const index_t channels = std::min(tile_side, channels_ - first);
    for (int h = 0; h < 2; ++h) {
      const float* numbers = from.half[h] + pixel * from.pixel_step + first * from.channel_step;
      const index_t some = std::min(count, from.have[h] - pixel);
      if (some <= 0) continue;
      if (from.channel_step == 1)
        rounding.transpose(numbers, from.pixel_step, some, channels, turned[h], pixels_at_once);
      else
        for (index_t k = 0; k < channels; ++k)
          std::copy_n(numbers + k * from.channel_step, some, turned[h] + k * pixels_at_once);
    }
    float smallest = std::numeric_limits<float>::infinity();
    for (index_t k = 0; k < channels; ++k, to += channel_) {
      mix(turned[0] + k * pixels_at_once, turned[1] + k * pixels_at_once, count, mixed);
      rounding.round_pairs(mixed, 2 * count, to);
      smallest = std::min(smallest, smallest_of(rounding, to, count));
    }
    return smallest;
  }

  index_t channels_, p_, q_;
  bool by_row_ = false;
  index_t row_ = 0;  ///< words from row to row of dy
  index_t lines_ = 0, line_tiles_ = 0, channel_ = 0;
};

/// Some tiles of a line, or some whole lines.
struct stretch {
  index_t line, lines, tile, tiles;
};

class tiles_weights_plan final : public plan {
 public:
  tiles_weights_plan(const tile_machine& machine, const direct_call& how, std::unique_ptr<plan> gradual)
      : machine_(machine),
        rounding_(*machine.rounding),
        problem_(how),
        a_(problem_.a),
        rows_(forward_reach(a_.height(), a_.flip)),
        columns_(forward_reach(a_.width(), a_.flip)),
        x_(plane_axis({&rows_, 1}), plane_axis({&columns_, 1}), a_.group_c(), true),
        dy_(a_, x_.width()),
        gradual_(std::move(gradual)),
        threads_(how.threads) {
    for (index_t i = 0; i < dy_.lines(); ++i) line_at_.push_back(i * dy_.line_tiles() * tile_side);
    make_stretches();
    units_ = parts_of(dy_.tiles(), 2) * parts_of(c_tiles(), 2);
    const index_t all = problem_.images * std::ssize(stretches_);
    splits_ = std::clamp<index_t>(enough_tasks / std::max<index_t>(1, units_ * a_.groups), 1,
                                  std::clamp<index_t>(all, 1, most_splits));
    const index_t most =
        std::max<index_t>(1, turn_budget * threads_ / std::max<index_t>(1, x_.size() + dy_.size()));
    images_at_once_ = std::clamp<index_t>(problem_.images, 1, most);
    groups_at_once_ = std::clamp<index_t>(most / images_at_once_, 1, std::max<index_t>(1, a_.groups));
    kept_ = splits_ > 1 || images_at_once_ < problem_.images;
  }

  std::size_t workspace_size() const override {
    return std::max(sizeof(float) * static_cast<std::size_t>(sums_size() + turn_size()),
                    gradual_->workspace_size());
  }

  void run(const kernel_call& call) noexcept override {
    auto* sums = static_cast<float*>(call.workspace);
    float* dy = sums + sums_size();
    float* x = dy + groups_at_once_ * images_at_once_ * dy_.size();
    if (problem_.images == 0)
      std::fill_n(static_cast<float*>(call.writes[0].data), a_.k * a_.group_c() * a_.taps(), 0.0F);
    // Of all turns together: what one of them holds may meet nothing of another, but the answer must not depend on turns.
    float least_dy = std::numeric_limits<float>::infinity(), least_x = least_dy;
    for (index_t group = 0; group < a_.groups; group += groups_at_once_)
      for (index_t image = 0; image < problem_.images; image += images_at_once_) {
        const turn t{group, std::min(groups_at_once_, a_.groups - group), image,
                     std::min(images_at_once_, problem_.images - image)};
        least_dy = std::min(least_dy, fill_dy(call, t, dy));
        least_x = std::min(least_x, fill_x(call, t, x));
        if (products_may_be_subnormal(least_dy, least_x)) return gradual_->run(call);
        add(call, t, dy, x, sums);
      }
  }

 private:
  struct turn {
    index_t group, groups, image, images;
    index_t count() const { return groups * images; }
  };

  void make_stretches() {
    const index_t tiles = dy_.line_tiles(),
                  lines = std::max<index_t>(1, stretch_tiles / std::max<index_t>(1, tiles));
    for (index_t line = 0; line < dy_.lines(); line += lines)
      for (index_t tile = 0; tile < tiles; tile += stretch_tiles)
        stretches_.push_back(
            {line, std::min(lines, dy_.lines() - line), tile, std::min(stretch_tiles, tiles - tile)});
  }

  index_t c_tiles() const { return parts_of(a_.group_c(), tile_side); }
  index_t task_size() const { return a_.taps() * block_words; }
  index_t sums_size() const { return (kept_ ? groups_at_once_ * units_ * splits_ : threads_) * task_size(); }
  index_t turn_size() const { return groups_at_once_ * images_at_once_ * (dy_.size() + x_.size()); }

  float fill_dy(const kernel_call& call, const turn& t, float* to) const {
    const auto* dy = static_cast<const float*>(call.reads[0].data);
    float smallest = std::numeric_limits<float>::infinity();
#pragma omp parallel for num_threads(call.threads) schedule(static) reduction(min : smallest)
    for (index_t i = 0; i < t.count() * dy_.fills(); ++i) {
      const index_t unit = i / dy_.fills();
      const image_pair from = problem_.pair_at(dy, t.image + unit % t.images, t.group + unit / t.images,
                                               a_.group_k(), a_.out_size());
      smallest = std::min(smallest, dy_.fill(rounding_, from, i % dy_.fills(), to + unit * dy_.size()));
    }
    return smallest;
  }

  float fill_x(const kernel_call& call, const turn& t, float* to) const {
    const auto* x = static_cast<const float*>(call.reads[1].data);
    float smallest = std::numeric_limits<float>::infinity();
#pragma omp parallel for num_threads(call.threads) schedule(static) reduction(min : smallest)
    for (index_t i = 0; i < t.count() * x_.lines(); ++i) {
      const index_t unit = i / x_.lines();
      const image_pair from = problem_.pair_at(x, t.image + unit % t.images, t.group + unit / t.images,
                                               a_.group_c(), a_.in_size());
      smallest = std::min(smallest, x_.fill_line(rounding_, from, i % x_.lines(), to + unit * x_.size()));
    }
    return smallest;
  }

  /// Adds what a turn has to the sums; the last turn of a group stores them.
  void add(const kernel_call& call, const turn& t, const float* dy, const float* x, float* sums) const {
    auto* dweight = static_cast<float*>(call.writes[0].data);
    const index_t units = t.groups * units_, tasks = units * splits_;
#pragma omp parallel num_threads(call.threads)
    {
      const tile_session session(machine_);
#pragma omp for schedule(static)
      for (index_t share = 0; share < call.threads; ++share)
        for (index_t task = tasks * share / call.threads; task < tasks * (share + 1) / call.threads; ++task) {
          float* to = sums + (kept_ ? task : share) * task_size();
          add_task(t, task / splits_, task % splits_, dy, x, to);
          if (!kept_) store(t.group, task, to, dweight);
        }
#pragma omp for schedule(static)
      for (index_t unit = 0; unit < (kept_ && t.image + t.images == problem_.images ? units : 0); ++unit)
        store(t.group, unit, sums + unit * splits_ * task_size(), dweight);
    }
  }

  /// The stretches of one part that lie in a turn, for one block of k and c.
  void add_task(const turn& t, index_t unit, index_t split, const float* dy, const float* x,
                float* sums) const {
    const index_t stretches = std::ssize(stretches_), all = problem_.images * stretches;
    const index_t first = all * split / splits_, last = all * (split + 1) / splits_;
    const index_t begin = std::max(first, t.image * stretches),
                  end = std::min(last, (t.image + t.images) * stretches);
    for (index_t i = begin; i < end; ++i) {
      const index_t at = unit / units_ * t.images + i / stretches - t.image;
      add_stretch(stretches_[static_cast<std::size_t>(i % stretches)], unit % units_, i == first,
                  dy + at * dy_.size(), x + at * x_.size(), sums);
    }
  }

  void add_stretch(const stretch& s, index_t unit, bool fresh, const float* dy, const float* x,
                   float* sums) const {
    constexpr float zeros[block_side] = {};
    const index_t k_tile = 2 * (unit / parts_of(c_tiles(), 2)), c_tile = 2 * (unit % parts_of(c_tiles(), 2));
    tile_product p;
    p.rows = static_cast<int>(std::min<index_t>(2, dy_.tiles() - k_tile));
    p.columns = static_cast<int>(std::min<index_t>(2, c_tiles() - c_tile));
    p.a = dy + k_tile * tile_side * dy_.channel() + line_at_[static_cast<std::size_t>(s.line)] +
          s.tile * tile_side;
    p.a_row = dy_.channel();
    p.a_next = tile_side * dy_.channel();
    p.a_at = line_at_.data();
    p.outer = s.lines;
    p.inner = s.tiles;
    p.a_step = p.b_next = tile_side;
    p.b_row = x_.pixel();
    p.b_step = tile_side * x_.pixel();
    p.b_outer = x_.width() * x_.pixel();
    p.init_row = fresh ? 0 : block_side;
    for (index_t r = 0; r < rows_.taps; ++r)
      for (index_t c = 0; c < columns_.taps; ++c, sums += block_words) {
        p.b = x + x_.tap_at(rows_, r, columns_, c) + s.line * p.b_outer + s.tile * p.b_step +
              c_tile * tile_side;
        p.init = fresh ? zeros : sums;
        p.out = sums;
        machine_.multiply(p);
      }
  }

  /// The parts of a unit's sums, added one after another, to their places in dweight.
  void store(index_t first_group, index_t unit, float* sums, float* dweight) const {
    for (index_t split = 1; split < splits_; ++split)
      for (index_t i = 0; i < task_size(); ++i) sums[i] += sums[split * task_size() + i];
    const index_t blocks = parts_of(c_tiles(), 2), within = unit % units_;
    const index_t first_k = within / blocks * block_side, first_c = within % blocks * block_side;
    float* group = dweight + (first_group + unit / units_) * a_.group_k() * a_.group_c() * a_.taps();
    for (index_t k = 0; k < std::min(block_side, a_.group_k() - first_k); ++k)
      for (index_t c = 0; c < std::min(block_side, a_.group_c() - first_c); ++c) {
        float* to = group + ((first_k + k) * a_.group_c() + first_c + c) * a_.taps();
        const float* from = sums + k * block_side + c;
        for (index_t r = 0; r < rows_.taps; ++r)
          for (index_t s = 0; s < columns_.taps; ++s, from += block_words)
            to[(rows_.weight_first + r * rows_.weight_step) * columns_.taps + columns_.weight_first +
               s * columns_.weight_step] = *from;
      }
  }

  const tile_machine& machine_;
  const tile_target& rounding_;
  paired_problem problem_;
  const conv_arguments& a_;
  conv_reach rows_, columns_;
  bf16_planes x_;
  dy_panels dy_;
  std::unique_ptr<plan> gradual_;
  index_t threads_;
  std::vector<index_t> line_at_;  ///< where each line of a panel begins
  std::vector<stretch> stretches_;
  index_t units_ = 0;   ///< blocks of k and c of a group
  index_t splits_ = 1;  ///< of all stretches of all images
  index_t images_at_once_ = 1, groups_at_once_ = 1;
  bool kept_ = false;  ///< the sums of all units wait for the end
};

}  // namespace

std::unique_ptr<plan> make_tiles_weights_plan(const tile_machine& machine, const direct_call& how,
                                              std::unique_ptr<plan> gradual) {
  return std::make_unique<tiles_weights_plan>(machine, how, std::move(gradual));
}

void register_conv2d_amx_weights(registry& kernels) {
  for (const tile_machine& machine : tile_machines()) {
    kernel k = tiles_row("conv2d", "backward_weights", machine);
    k.supports = conv_support;
    k.make_plan = [&machine](const kernel_problem& kp) {
      const conv_arguments a = read_conv_arguments(kp.problem);
      direct_call how{.arguments = a, .layout = kp.layout, .threads = kp.threads}, halved = how;
      halved.arguments.n = (a.n + 1) / 2;
      return make_tiles_weights_plan(
          machine, how,
          make_paired_weights_plan(bf16_tile_targets().back(), halved,
                                   {.count = a.n, .dy = a.k * a.out_size(), .x = a.c * a.in_size()}));
    };
    kernels.add(std::move(k));
  }
}

}  // namespace plumb
