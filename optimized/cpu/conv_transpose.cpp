// Transposed convolution is the convolution read backwards: with x and y exchanged, and the same weights (stored input
// channel first, which is the convolution's output channel), its forward pass is the convolution's backward-data, its
// backward-data the forward pass, and its weight gradient the weight gradient. So every row here hands its tensors to
// the kernel of the convolution that does the work, and adds the bias. Rows of `output_pad` are outputs that no window
// of the convolution need read. Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", ch. 4.
#include <array>

#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

/// The convolution whose passes do the work.
kernel_problem convolution_of(const kernel_problem& kp) {
  const problem& from = kp.problem;
  kernel_problem inner = kp;
  problem& p = inner.problem = problem("conv" + from.layer().substr(std::string("conv_transpose").size()));
  p.set("x", to_string(from.shape_of("y")));
  p.set("weight", to_string(from.shape_of("weight")));
  p.set("y", to_string(from.shape_of("x")));
  for (const char* same : {"stride", "pad", "dilation", "groups"}) p.set(same, from.text(same));
  p.set("padding", "explicit");
  p.set("fit", "floor");
  p.set("flip", "false");
  inner.canonical.clear();
  return inner;
}

support transpose_support(const kernel_problem& kp) {
  const std::string unknown = kp.problem.first_unknown(
      {"x", "weight", "bias", "y", "stride", "pad", "output_pad", "dilation", "groups"});
  return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
}

class transposed_plan final : public plan {
 public:
  transposed_plan(const kernel& inner, const kernel_problem& kp)
      : inner_(inner.make_plan(convolution_of(kp))),
        weights_(inner.pass == "backward_weights"),
        last_(kp.layout == layout::nhwc) {
    const shape y = kp.problem.shape_of("y");
    images_ = y[0];
    channels_ = y[1];
    pixels_ = 1;
    for (int axis = 2; axis < y.rank(); ++axis) pixels_ *= y[axis];
    biased_ = inner.pass == "backward_data" && kp.problem.has("bias");
  }

  std::size_t workspace_size() const override { return inner_->workspace_size(); }
  std::string implementation() const override { return inner_->implementation(); }
  void prepare(std::span<const tensor_ref> reads) override { inner_->prepare(ordered(reads)); }

  void run(const kernel_call& call) noexcept override {
    const std::array<tensor_ref, 3> reads = ordered(call.reads);
    kernel_call inner = call;
    inner.reads = reads;
    inner_->run(inner);
    if (biased_) add_bias(static_cast<const float*>(call.reads[2].data), call);
  }

 private:
  /// The weight gradient reads (dy, x): of the convolution they are (x, dy). A bias is not the convolution's.
  std::array<tensor_ref, 3> ordered(std::span<const tensor_ref> reads) const {
    return {reads[weights_ ? 1 : 0], reads[weights_ ? 0 : 1], tensor_ref{}};
  }

  void add_bias(const float* bias, const kernel_call& call) const {
    auto* y = static_cast<float*>(call.writes[0].data);
    const index_t rows = last_ ? images_ * pixels_ : images_ * channels_;
#pragma omp parallel for schedule(static) num_threads(call.threads)
    for (index_t i = 0; i < rows; ++i)
      if (last_)
        for (index_t k = 0; k < channels_; ++k) y[i * channels_ + k] += bias[k];
      else
        for (index_t j = 0; j < pixels_; ++j) y[i * pixels_ + j] += bias[i % channels_];
  }

  std::unique_ptr<plan> inner_;
  bool weights_, last_, biased_ = false;
  index_t images_ = 0, channels_ = 0, pixels_ = 0;
};

kernel transposed(const kernel& inner, const std::string& rank, const std::string& pass) {
  kernel k = inner;
  k.layer = "conv_transpose" + rank;
  k.pass = pass;
  k.name = k.layer + "." + pass + inner.name.substr(inner.name.find('/'));
  k.supports = transpose_support;
  k.make_plan = [inner](const kernel_problem& kp) { return std::make_unique<transposed_plan>(inner, kp); };
  return k;
}

}  // namespace

/// After the kernels that it calls.
void register_conv_transpose(registry& kernels) {
  constexpr std::array<std::array<const char*, 2>, 3> passes = {
      {{"forward", "backward_data"}, {"backward_data", "forward"}, {"backward_weights", "backward_weights"}}};
  for (const std::string rank : {"1d", "2d", "3d"})
    for (const tile_target& target : tile_targets())
      for (const auto& [pass, inner] : passes) {
        const std::string algorithm = rank == "3d" ? "/im2col@" : "/auto@";
        const kernel* found =
            kernels.find("conv" + rank + "." + inner + algorithm + std::string(target.name));
        kernels.add(transposed(*found, rank, pass));
      }
}

}  // namespace plumb
