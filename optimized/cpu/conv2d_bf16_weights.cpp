// conv2d and linear, backward-weights, of inputs rounded to bf16, sums in f32: the plan of conv2d_direct_weights.cpp on
// the tile of tile_bf16.cpp, whose elements are pairs of neighbouring terms.
//   dw = Σ_n Σ_(p,q) dy·x      neighbours are two images: dy[2m] with dy[2m + 1], and x the same, so that both of a pair
//                              lie at one place of their image, whatever stride, dilation, padding and filter tap are
//   linear                     neighbours are two rows of x and of dy; a pair of rows is a pixel of one image
// Both tensors are rounded into pairs first, in parallel; images then are as many words as they were numbers, and half
// as many. An odd last image is paired with zeros, so a batch of one does half of its multiplications for nothing.
// Where products might come near the subnormal numbers, which vdpbf16ps takes for zeros, the emulated tile runs.
#include <array>
#include <limits>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/direct_plan.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

constexpr index_t rounded_at_once = 256;

class paired_weights_plan final : public plan {
 public:
  paired_weights_plan(const tile_target& target, const direct_call& halved, const paired_images& images)
      : target_(target), gradual_target_(target), images_(images) {
    gradual_target_.run = target.run_gradual;
    fast_ = make_direct_weights_plan(target_, halved);
    gradual_ = make_direct_weights_plan(gradual_target_, halved);
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(room(images_.dy) + room(images_.x)) +
           std::max(fast_->workspace_size(), gradual_->workspace_size());
  }

  void run(const kernel_call& call) noexcept override {
    auto* dy = static_cast<float*>(call.workspace);
    float *x = dy + room(images_.dy), *rest = x + room(images_.x);
    const float least_dy = make_pairs(call.reads[0], images_.dy, dy, call.threads);
    const float least_x = make_pairs(call.reads[1], images_.x, x, call.threads);
    std::array<tensor_ref, 2> pairs = {call.reads[0], call.reads[1]};
    pairs[0].data = dy;
    pairs[1].data = x;
    const auto& inner = products_may_be_subnormal(least_dy, least_x) ? gradual_ : fast_;
    inner->run({.reads = pairs, .writes = call.writes, .workspace = rest, .threads = call.threads});
  }

 private:
  index_t room(index_t image) const { return aligned_buffer::padded((images_.count + 1) / 2 * image); }

  /// The images of a tensor two by two; the smallest magnitude among them but zero.
  float make_pairs(const tensor_ref& tensor, index_t image, float* to, int threads) const {
    const auto* from = static_cast<const float*>(tensor.data);
    const index_t parts = (image + rounded_at_once - 1) / rounded_at_once;
    float least = std::numeric_limits<float>::infinity();
#pragma omp parallel for num_threads(threads) schedule(static) reduction(min : least)
    for (index_t i = 0; i < (images_.count + 1) / 2 * parts; ++i) {
      const index_t pair = i / parts, begin = i % parts * rounded_at_once,
                    count = std::min(rounded_at_once, image - begin);
      const float* first = from + 2 * pair * image + begin;
      const bool two = 2 * pair + 1 < images_.count;
      alignas(64) float mixed[2 * rounded_at_once];
      for (index_t j = 0; j < count; ++j) {
        mixed[2 * j] = first[j];
        mixed[2 * j + 1] = two ? first[image + j] : 0.0F;
      }
      float* pairs = to + pair * image + begin;
      target_.round_pairs(mixed, 2 * count, pairs);
      least = std::min(least, target_.smallest(pairs, count));
    }
    return least;
  }

  tile_target target_, gradual_target_;
  paired_images images_;
  std::unique_ptr<plan> fast_, gradual_;
};

}  // namespace

std::unique_ptr<plan> make_paired_weights_plan(const tile_target& target, const direct_call& halved,
                                               const paired_images& images) {
  return std::make_unique<paired_weights_plan>(target, halved, images);
}

void register_conv2d_bf16_weights(registry& kernels) {
  for (const tile_target& target : bf16_tile_targets()) {
    kernel k;
    k.layer = "conv2d";
    k.pass = "backward_weights";
    k.name = "conv2d.backward_weights/direct_bf16@" + std::string(target.name);
    k.arithmetic = "bf16_f32";
    if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
    k.supports = conv_support;
    k.make_plan = [&target](const kernel_problem& kp) {
      const conv_arguments a = read_conv_arguments(kp.problem);
      conv_arguments halved = a;
      halved.n = (a.n + 1) / 2;
      return make_paired_weights_plan(target,
                                      {.arguments = halved, .layout = kp.layout, .threads = kp.threads},
                                      {.count = a.n, .dy = a.k * a.out_size(), .x = a.c * a.in_size()});
    };
    kernels.add(std::move(k));
  }
}

}  // namespace plumb
