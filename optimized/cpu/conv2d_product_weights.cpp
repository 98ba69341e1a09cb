// Weights' gradient of a 1×1 filter that skips nothing, as a matrix product:  dw[k][c] = Σ_pixels dy[k][pixel] · x[c][pixel].
// The sums are as long as there are pixels and the results few, so both factors are copied, some pixels at a time, into
// panels that the register tile reads straight through (matrix_product.hpp): 6 filters × up to 64 channels a tile. NHWC is
// one product over all images, NCHW one an image, transposed on the way into the panels. Read where they lie, the factors
// cost a cache line a pixel and tile, from memory whose lines are a power of two apart.
// Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#include <algorithm>

#include "optimized/cpu/conv_reach.hpp"
#include "optimized/cpu/matrix_product.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

class product_weights_plan final : public plan {
 public:
  product_weights_plan(const tile_target& target, const kernel_problem& kp)
      : a_(read_conv_arguments(kp.problem)),
        last_(kp.layout == layout::nhwc),
        images_(last_ ? std::min<index_t>(1, a_.n) : a_.n),
        pixels_(last_ ? a_.n * a_.out_size() : a_.out_size()),
        product_(target, a_.k, a_.c, pixels_) {}

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(product_.workspace());
  }

  void run(const kernel_call& call) noexcept override {
    const auto* dy = static_cast<const float*>(call.reads[0].data);
    const auto* x = static_cast<const float*>(call.reads[1].data);
    auto* dweight = static_cast<float*>(call.writes[0].data);
#pragma omp parallel num_threads(call.threads)
    {
      if (images_ * pixels_ == 0)
#pragma omp for schedule(static)
        for (index_t k = 0; k < a_.k; ++k) std::fill_n(dweight + k * a_.c, a_.c, 0.0F);
      for (index_t n = 0; n < images_; ++n) {
        const matrix_ref filters{dy + n * a_.k * pixels_, last_ ? 1 : pixels_, last_ ? a_.k : 1};
        const matrix_ref channels{x + n * a_.c * pixels_, last_ ? a_.c : 1, last_ ? 1 : pixels_};
        product_.add(filters, channels, dweight, a_.c, static_cast<float*>(call.workspace), n == 0);
      }
    }
  }

 private:
  conv_arguments a_;
  bool last_;  ///< channels
  index_t images_, pixels_;
  matrix_product product_;
};

support product_support(const kernel_problem& kp) {
  if (const support s = conv_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  return is_flat(a) && a.groups == 1 ? support::yes()
                                     : support::no("not a 1x1 filter of one group that skips nothing");
}

}  // namespace

void register_conv2d_product_weights(registry& kernels) {
  for (const tile_target& target : tile_targets()) {
    kernel k;
    k.layer = "conv2d";
    k.pass = "backward_weights";
    k.name = "conv2d.backward_weights/product@" + std::string(target.name);
    if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
    k.supports = product_support;
    k.make_plan = [&target](const kernel_problem& kp) -> std::unique_ptr<plan> {
      return std::make_unique<product_weights_plan>(target, kp);
    };
    kernels.add(std::move(k));
  }
}

}  // namespace plumb
