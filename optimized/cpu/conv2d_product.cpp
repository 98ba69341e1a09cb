// 1×1 filters of one group, without padding, as matrix products (matrix_product.hpp):
//   forward           y[k][pixel]  = bias[k] + Σ_c w[k][c] · x[c][pixel]      in NCHW, where rows lie as the product wants them;
//   backward_data     dx[c][pixel] = Σ_k w[k][c] · dy[k][pixel]               in NHWC they are what conv2d_direct.cpp does
//   backward_weights  dw[k][c]     = Σ_pixels dy[k][pixel] · x[c][pixel]      NHWC is one product over all images, NCHW one an
//                                                                             image, turned on the way into the panels
// Filters are packed once, by `prepare`. Vectors hold neighbouring pixels, so that nothing of NCHW is turned over; what is
// read is copied into panels, because every channel of a plane comes from another page. With strides the pixels that are met
// are first copied to where they are neighbours, or what comes out is put between zeros.
#include <algorithm>

#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cpu/matrix_product.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

const float* data(const tensor_ref& t) { return static_cast<const float*>(t.data); }

/// The pixels of an image that the filter meets. All threads of a parallel region call together.
class met_pixels {
 public:
  met_pixels(const conv_arguments& a, bool last)
      : a_(a),
        all_(a.height().stride == 1 && a.width().stride == 1),
        size_(all_ ? 0 : aligned_buffer::padded(a.c * a.out_size())),
        last_(last) {}

  bool all() const { return all_; }
  index_t size() const { return size_; }  ///< floats of workspace

  /// Those of one image x side by side, in the order x has; where x lies if it has no others.
  const float* gather(const float* x, float* to) const {
    if (all_) return x;
    const index_t rows = a_.height().out, columns = a_.width().out, pixel = last_ ? a_.c : 1;
#pragma omp for schedule(static)
    for (index_t line = 0; line < (last_ ? rows : a_.c * rows); ++line) {
      const float* from = x + (line / rows * a_.in_size() + line % rows * row_step()) * pixel;
      float* at = to + line * columns * pixel;
      for (index_t q = 0; q < columns && last_; ++q)
        std::copy_n(from + q * a_.width().stride * pixel, pixel, at + q * pixel);
      for (index_t q = 0; q < columns && !last_; ++q) at[q] = from[q * a_.width().stride];
    }
    return to;
  }

  /// Back into one image dx of NCHW, with zeros for the others.
  void scatter(const float* from, float* dx) const {
    const index_t rows = a_.height().out, columns = a_.width().out;
#pragma omp for schedule(static)
    for (index_t c = 0; c < a_.c; ++c) {
      std::fill_n(dx + c * a_.in_size(), a_.in_size(), 0.0F);
      for (index_t p = 0; p < rows; ++p) {
        float* to = dx + c * a_.in_size() + p * row_step();
        const float* line = from + (c * rows + p) * columns;
        for (index_t q = 0; q < columns; ++q) to[q * a_.width().stride] = line[q];
      }
    }
  }

 private:
  index_t row_step() const { return a_.height().stride * a_.width().in; }

  conv_arguments a_;
  bool all_;
  index_t size_;
  bool last_;  ///< channels
};

/// Forward and backward-data of NCHW: products of the packed filters with the pixels of one image after another.
class product_plan final : public plan {
 public:
  product_plan(const tile_target& target, const kernel_problem& kp, bool forward)
      : a_(read_conv_arguments(kp.problem)),
        forward_(forward),
        pixels_(a_, false),
        product_(target, forward ? a_.k : a_.c, a_.out_size(), forward ? a_.c : a_.k, kp.threads),
        filters_(product_.prepared_size()) {}

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(pixels_.size() + product_.workspace());
  }

  void prepare(std::span<const tensor_ref> reads) override {
    const float* weight = data(reads[1]);
    product_.prepare(forward_ ? matrix_ref{weight, a_.c, 1} : matrix_ref{weight, 1, a_.c}, filters_.data());
  }

  void run(const kernel_call& call) noexcept override {
    const index_t x = a_.c * a_.in_size(), y = a_.k * a_.out_size();
    auto* out = static_cast<float*>(call.writes[0].data);
    auto* met = static_cast<float*>(call.workspace);
    product_call p{.prepared = filters_.data(), .c_step = a_.out_size(), .fresh = true};
    if (forward_ && a_.bias) p.row = data(call.reads[2]);
    p.workspace = met + pixels_.size();
    p.b = {nullptr, a_.out_size(), 1};
#pragma omp parallel num_threads(call.threads) firstprivate(p)
    for (index_t n = 0; n < a_.n; ++n) {
      if (forward_) {
        p.b.data = pixels_.gather(data(call.reads[0]) + n * x, met);
        p.c = out + n * y;
        product_.add(p);
      } else {
        p.b.data = data(call.reads[0]) + n * y;
        p.c = pixels_.all() ? out + n * x : met;
        product_.add(p);
        if (!pixels_.all()) pixels_.scatter(met, out + n * x);
      }
    }
  }

 private:
  conv_arguments a_;
  bool forward_;
  met_pixels pixels_;  ///< of x or dx
  matrix_product product_;
  aligned_buffer filters_;
};

class product_weights_plan final : public plan {
 public:
  product_weights_plan(const tile_target& target, const kernel_problem& kp)
      : a_(read_conv_arguments(kp.problem)),
        last_(kp.layout == layout::nhwc),
        at_once_(last_ && a_.height().stride == 1 && a_.width().stride == 1),
        images_(at_once_ ? std::min<index_t>(1, a_.n) : a_.n),
        terms_(at_once_ ? a_.n * a_.out_size() : a_.out_size()),
        pixels_(a_, last_),
        product_(target, a_.k, a_.c, terms_, kp.threads) {}

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(pixels_.size() + product_.workspace());
  }

  void run(const kernel_call& call) noexcept override {
    auto* dweight = static_cast<float*>(call.writes[0].data);
    auto* met = static_cast<float*>(call.workspace);
    if (images_ == 0) std::fill_n(dweight, a_.k * a_.c, 0.0F);
    product_call p{.c = dweight, .c_step = a_.c};
    p.workspace = met + pixels_.size();
#pragma omp parallel num_threads(call.threads) firstprivate(p)
    for (index_t n = 0; n < images_; ++n) {
      const float* dy = data(call.reads[0]) + n * a_.k * terms_;
      const float* x = pixels_.gather(data(call.reads[1]) + n * a_.c * a_.in_size(), met);
      p.a = {dy, last_ ? 1 : terms_, last_ ? a_.k : 1};
      p.b = {x, last_ ? a_.c : 1, last_ ? 1 : terms_};
      p.fresh = n == 0;
      product_.add(p);
    }
  }

 private:
  conv_arguments a_;
  bool last_;     ///< channels
  bool at_once_;  ///< all images are one
  index_t images_, terms_;
  met_pixels pixels_;  ///< of x
  matrix_product product_;
};

support product_support(const kernel_problem& kp) {
  if (const support s = conv_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  const bool padded =
      std::ranges::any_of(a.axes, [](const conv_axis& axis) { return axis.begin != 0 || axis.end != 0; });
  return a.taps() == 1 && !padded && a.groups == 1
             ? support::yes()
             : support::no("not a 1x1 filter of one group without padding");
}

}  // namespace

void register_conv2d_product(registry& kernels) {
  for (const tile_target& target : tile_targets())
    for (const std::string pass : {"forward", "backward_data", "backward_weights"}) {
      kernel k;
      k.layer = "conv2d";
      k.pass = pass;
      k.name = "conv2d." + pass + "/product@" + std::string(target.name);
      if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
      if (pass != "backward_weights") k.layouts = {layout::nchw};
      k.supports = product_support;
      k.make_plan = [&target, pass](const kernel_problem& kp) -> std::unique_ptr<plan> {
        if (pass == "backward_weights") return std::make_unique<product_weights_plan>(target, kp);
        return std::make_unique<product_plan>(target, kp, pass == "forward");
      };
      kernels.add(std::move(k));
    }
}

}  // namespace plumb
