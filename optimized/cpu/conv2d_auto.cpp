// The front of the convolution kernels: for each problem the one of ours that should be fastest, by a count of the
// cycles its inner loop takes. All of them multiply term by term in f32, so the choice changes no promise.
//   direct   one cycle a vector of output channels and term; NCHW is transposed on the way in and out
//   depthwise  one filter a channel, whole vectors of channels: whenever it can
//   product  gradients of the weights of 1×1 filters where there are many of them
//   rows     one cycle a vector of neighbouring pixels and term, more where few output channels share its loads;
//            borders are copied, NHWC is transposed
// The constants are what loads, copies and transposes cost beside a fused multiply-add on a core that starts one a
// cycle; they decide between two kernels whose costs mostly differ by more than their errors.
#include <algorithm>
#include <cmath>

#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cpu/tile.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

/// The convolution that one pass computes: from `in` channels to `out` channels of each group.
struct job {
  double groups, in, out, taps;
  double read, written;  ///< pixels of all images
  double terms;          ///< products a group, over in·out: taps that meet pixels
  double row;            ///< outputs a row
  double plane;          ///< outputs a channel of one image
  bool plain;            ///< 1×1, nothing skipped
  bool nhwc;
};

job job_of(const kernel_problem& kp, bool forward) {
  const conv_arguments a = read_conv_arguments(kp.problem);
  const auto number = [](index_t i) { return static_cast<double>(std::max<index_t>(1, i)); };
  job j{};
  j.groups = number(a.groups);
  j.in = number(forward ? a.group_c() : a.group_k());
  j.out = number(forward ? a.group_k() : a.group_c());
  j.taps = number(a.taps());
  j.read = number(a.n * (forward ? a.in_size() : a.out_size()));
  j.written = number(a.n * (forward ? a.out_size() : a.in_size()));
  j.terms = number(a.n * a.out_size()) * j.taps;
  j.row = number(forward ? a.width().out : a.width().in / a.width().stride);
  j.plane = number(forward ? a.out_size() : a.in_size());
  j.plain = a.taps() == 1 && a.in_size() == a.out_size();
  j.nhwc = kp.layout == layout::nhwc;
  return j;
}

constexpr double near_floats = 8192;  ///< in the first cache

double whole(double count, double step) { return std::ceil(count / step) * step; }

double direct_cycles(const job& j, const tile_target& t) {
  const double lanes = t.lanes;
  const double vectors = whole(j.out, lanes) / lanes;
  const double products = vectors * j.in * j.terms * (vectors < 2 ? 1.3 : 1.0);
  const double transposed = j.nhwc ? 0 : (j.plain ? 0 : 0.4) * j.read * j.in + 0.6 * j.written * j.out;
  return j.groups * (products + 20 * j.written + transposed);
}

double rows_cycles(const job& j, const tile_target& t) {
  const double lanes = t.lanes, width = lanes * t.vectors, together = std::min<double>(j.out, t.pixels);
  const double filled = j.plain ? j.plane / whole(j.plane, width) : j.row / (j.row + 2);
  // Every channel of a plane that is read in place comes from another page; measured with vectors of eight numbers.
  const double apart = t.lanes <= 8 && j.plain && !j.nhwc ? std::min(0.6, j.in / 256) : 0;
  const double far = std::max(1 + apart, j.in * width > near_floats ? 1.08 : 1.0);
  const double loads = std::max(1.0, (1.5 * t.vectors + together) / (t.vectors * together));
  const double products = j.out * j.in * j.terms / lanes / filled * loads * far;
  const double copied = (j.plain && !j.nhwc ? 0 : j.nhwc ? 1.0 : 0.3) * j.read * j.in;
  return j.groups * (products + copied + (j.nhwc ? 2.0 : 0.1) * j.written * j.out);
}

/// Whether gradients of weights are better taken from panels (conv2d_product.cpp) than from where the factors
/// lie: with many filters and channels what is copied is read often, and the less so the more pixels a plane of NCHW has.
/// Measured with 16 registers of eight numbers; wider ones read less often and are left alone.
bool product_pays(const kernel_problem& kp, const tile_target& t) {
  constexpr double enough = 90, few_pixels = 256;
  const conv_arguments a = read_conv_arguments(kp.problem);
  const auto k = static_cast<double>(a.k), c = static_cast<double>(a.c);
  const bool often = k * c >= enough * (k + c);
  return t.lanes <= 8 && often &&
         (kp.layout == layout::nhwc || static_cast<double>(a.out_size()) <= few_pixels);
}

/// A plan that says whose it is.
class chosen_plan final : public plan {
 public:
  chosen_plan(const kernel& k, const kernel_problem& kp) : name_(k.name), plan_(k.make_plan(kp)) {}
  std::size_t workspace_size() const override { return plan_->workspace_size(); }
  void prepare(std::span<const tensor_ref> reads) override { plan_->prepare(reads); }
  void run(const kernel_call& call) noexcept override { plan_->run(call); }
  std::string implementation() const override { return name_; }

 private:
  std::string name_;
  std::unique_ptr<plan> plan_;
};

kernel front(const registry& kernels, const std::string& layer, const tile_target& target,
             const std::string& pass) {
  const std::string isa = "@" + std::string(target.name);
  const auto named = [&](const std::string& algorithm) {
    return *kernels.find(layer + "." + pass + "/" + algorithm + isa);
  };
  kernel k = named("direct");
  k.name = layer + "." + pass + "/auto" + isa;
  if (const kernel* const product = kernels.find(layer + "." + pass + "/product" + isa))
    k.make_plan = [&target, direct = named("direct"), depthwise = named("depthwise"),
                   product = *product](const kernel_problem& kp) {
      if (depthwise.supports(kp).ok) return std::make_unique<chosen_plan>(depthwise, kp);
      const bool pays = product.supports(kp).ok && product_pays(kp, target);
      return std::make_unique<chosen_plan>(pays ? product : direct, kp);
    };
  else
    k.make_plan = [&target, pass, direct = named("direct"), depthwise = named("depthwise"),
                   rows = named(pass == "backward_weights" ? "direct" : "rows")](const kernel_problem& kp) {
      if (depthwise.supports(kp).ok) return std::make_unique<chosen_plan>(depthwise, kp);
      const job j = job_of(kp, pass == "forward");
      const bool along_rows = rows_cycles(j, target) < direct_cycles(j, target);
      return std::make_unique<chosen_plan>(along_rows ? rows : direct, kp);
    };
  return k;
}

}  // namespace

/// After the kernels it chooses from.
void register_conv2d_auto(registry& kernels) {
  for (const std::string layer : {"conv1d", "conv2d"})
    for (const tile_target& target : tile_targets())
      for (const std::string pass : {"forward", "backward_data", "backward_weights"})
        kernels.add(front(kernels, layer, target, pass));
}

}  // namespace plumb
