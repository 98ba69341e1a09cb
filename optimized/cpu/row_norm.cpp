// Normalisation within a sample, forward and backward: layer_norm and rms_norm over rows of neighbours, group_norm and
// instance_norm over the channels of a group.
//   forward    y = x̂·gamma + beta, x̂ = (x - mean)·invstd; the variance about the mean, in a second pass over the row while
//              it is near. rms_norm: mean 0
//   backward   dx = invstd·(g - (Σg + x̂·Σg·x̂)/m), g = dy·gamma (rms_norm: without Σg);  dgamma = Σ dy·x̂, dbeta = Σ dy
//   groups     everything follows from two sums a channel, Σdy and Σdy·x̂; NCHW: a group of a sample is one task; NHWC: a
//              sample is, lanes are channels
// Rows and groups belong to one thread each, and parameters are added up in chunks that depend on the problem only, so
// that the thread count cannot change a bit. The loops are those of norm_loops.hpp.
#include <algorithm>
#include <cmath>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/norm_loops.hpp"
#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

const float* data(const tensor_ref& t) { return static_cast<const float*>(t.data); }
float* data_out(const tensor_ref& t) { return static_cast<float*>(t.data); }
double wide(float x) { return static_cast<double>(x); }
float inverse_deviation(double squares, double m, double eps) {
  return static_cast<float>(1 / std::sqrt(squares / m + eps));
}

/// layer_norm and rms_norm.
class row_norm_plan final : public plan {
 public:
  row_norm_plan(const norm_target& target, const kernel_problem& kp, bool forward, bool centred)
      : loops_(target), forward_(forward), centred_(centred) {
    const problem& p = kp.problem;
    const shape x = p.shape_of("x");
    for (index_t i = x.rank() - p.integer("axes"); i < x.rank(); ++i) length_ *= x[static_cast<int>(i)];
    rows_ = x.size() / length_;
    gamma_ = p.has("gamma");
    beta_ = p.has("beta");
    eps_ = p.number("eps");
    chunk_ = std::max<index_t>(8, (rows_ + 63) / 64);
    chunks_ = forward || !(gamma_ || beta_) ? 0 : (rows_ + chunk_ - 1) / chunk_;
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>((2 + 2 * chunks_) * padded());
  }

  void run(const kernel_call& call) noexcept override {
    auto* ones = static_cast<float*>(call.workspace);
    float* zeros = ones + padded();
    std::fill_n(ones, length_, 1.0F);
    std::fill_n(zeros, length_, 0.0F);
    forward_ ? run_forward(call, ones, zeros) : run_backward(call, ones, zeros + padded());
  }

 private:
  index_t padded() const { return aligned_buffer::padded(length_); }
  bool past(const float* out) const { return goes_past_caches(out, rows_ * length_) && length_ % 16 == 0; }

  void run_forward(const kernel_call& call, const float* ones, const float* zeros) const {
    const float *x = data(call.reads[0]), *gamma = gamma_ ? data(call.reads[1]) : ones;
    const float* beta = beta_ ? data(call.reads[2]) : zeros;
    float *y = data_out(call.writes[0]), *mean = centred_ ? data_out(call.writes[1]) : nullptr;
    float* invstd = data_out(call.writes[centred_ ? 2 : 1]);
    const auto m = static_cast<double>(length_);
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < rows_; ++i) {
      norm_row row{.a = x + i * length_, .gamma = gamma, .beta = beta, .count = length_};
      float sum = 0, squares = 0, none = 0, zero = 0;
      if (centred_) {
        loops_.sum_run[0](row.a, row.a, &zero, &zero, 1, length_, &sum, &none);
        row.mean = mean[i] = static_cast<float>(wide(sum) / m);
      }
      loops_.sum_run[1](row.a, row.a, &row.mean, &zero, 1, length_, &squares, &none);
      row.scale = invstd[i] = inverse_deviation(wide(squares), m, eps_);
      loops_.row_forward(row, y + i * length_, past(y));
    }
  }

  void run_backward(const kernel_call& call, const float* ones, float* sums) const {
    const float *dy = data(call.reads[0]), *x = data(call.reads[1]),
                *gamma = gamma_ ? data(call.reads[2]) : ones;
    const float *mean = centred_ ? data(call.reads[3]) : nullptr,
                *invstd = data(call.reads[centred_ ? 4 : 3]);
    float* dx = data_out(call.writes[0]);
    const auto row_of = [&](index_t i) {
      return norm_row{.a = dy + i * length_,
                      .b = x + i * length_,
                      .gamma = gamma,
                      .mean = mean ? mean[i] : 0.0F,
                      .scale = invstd[i],
                      .count = length_};
    };
    const auto m = static_cast<double>(length_);
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t chunk = 0; chunk < (rows_ + chunk_ - 1) / chunk_; ++chunk) {
      float *dgamma = sums + 2 * chunk * padded(), *dbeta = dgamma + padded();
      if (chunks_ > 0) std::fill_n(dgamma, 2 * padded(), 0.0F);
      for (index_t i = chunk * chunk_; i < std::min(rows_, (chunk + 1) * chunk_); ++i) {
        norm_row row = row_of(i);
        loops_.row_sums(row);
        if (chunks_ > 0) loops_.row_parameters(row, dgamma, dbeta);
        if (!centred_) row.first = 0;
        row.share = static_cast<float>(1 / m);
        loops_.row_backward(row, dx + i * length_, past(dx));
      }
    }
    std::size_t next = 1;  // a gradient is written if its parameter is there
    if (gamma_) add_chunks(call, sums, data_out(call.writes[next++]));
    if (beta_) add_chunks(call, sums + padded(), data_out(call.writes[next]));
  }

  void add_chunks(const kernel_call& call, const float* sums, float* out) const {
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < length_; ++i) {
      double total = 0;
      for (index_t chunk = 0; chunk < chunks_; ++chunk) total += wide(sums[2 * chunk * padded() + i]);
      out[i] = static_cast<float>(total);
    }
  }

  const norm_target& loops_;
  bool forward_, centred_;
  bool gamma_ = false, beta_ = false;
  index_t rows_ = 0, length_ = 1;
  index_t chunk_ = 1, chunks_ = 0;  ///< rows whose parameter gradients are added up together
  double eps_ = 0;
};

/// group_norm, and instance_norm with a group a channel.
class group_norm_plan final : public plan {
 public:
  group_norm_plan(const norm_target& target, const kernel_problem& kp, bool forward)
      : loops_(target),
        forward_(forward),
        last_(kp.layout == layout::nhwc && kp.problem.shape_of("x").rank() > 2) {
    const problem& p = kp.problem;
    const shape x = p.shape_of("x");
    images_ = x[0];
    channels_ = x[1];
    for (int axis = 2; axis < x.rank(); ++axis) plane_ *= x[axis];
    groups_ = p.has("groups") ? p.integer("groups") : channels_;
    gamma_ = p.has("gamma");
    beta_ = p.has("beta");
    eps_ = p.number("eps");
  }

  /// A sample has two sums and six constants a channel.
  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(8 * images_ * padded());
  }

  void run(const kernel_call& call) noexcept override {
    work w;
    w.a = data(call.reads[0]);
    w.x = forward_ ? w.a : data(call.reads[1]);
    w.gamma = gamma_ ? data(call.reads[forward_ ? 1 : 2]) : nullptr;
    w.beta = forward_ && beta_ ? data(call.reads[2]) : nullptr;
    w.mean = static_cast<float*>(forward_ ? call.writes[1].data : call.reads[3].data);
    w.invstd = static_cast<float*>(forward_ ? call.writes[2].data : call.reads[4].data);
    w.out = data_out(call.writes[0]);
    w.scratch = static_cast<float*>(call.workspace);
    w.past = goes_past_caches(w.out, images_ * channels_ * plane_);
    const index_t tasks = last_ ? images_ : images_ * groups_, per_image = last_ ? 1 : groups_;
#pragma omp parallel for num_threads(call.threads) schedule(static)
    for (index_t i = 0; i < tasks; ++i) {
      const index_t first = i % per_image * (channels_ / per_image);
      run_channels(w, i / per_image, first, first + channels_ / per_image);
    }
    if (forward_) return;
    std::size_t next = 1;  // a gradient is written if its parameter is there
    if (gamma_) add_images(w.scratch + padded(), data_out(call.writes[next++]));
    if (beta_) add_images(w.scratch, data_out(call.writes[next]));
  }

 private:
  struct work {
    const float *a = nullptr, *x = nullptr, *gamma = nullptr, *beta = nullptr;  ///< a: x, or dy
    float *mean = nullptr, *invstd = nullptr;  ///< written forward, read backward
    float *out = nullptr, *scratch = nullptr;
    bool past = false;
  };

  index_t padded() const { return aligned_buffer::padded(channels_); }
  index_t in_group() const { return channels_ / groups_; }
  float gamma_of(const work& w, index_t c) const { return w.gamma ? w.gamma[c] : 1.0F; }

  /// Channels [begin, end) of one sample: whole groups.
  void run_channels(const work& w, index_t n, index_t begin, index_t end) const {
    float* sums = w.scratch + 8 * n * padded();
    float* second = sums + padded();
    float* k[norm_constants];
    for (int i = 0; i < norm_constants; ++i) k[i] = second + (i + 1) * padded();
    const float* const constants[] = {k[0], k[1], k[2], k[3], k[4], k[5]};
    if (forward_) {
      sum(0, w, n, begin, end, constants, sums, second);
      each_group(begin, end, [&](index_t g, index_t c) { set_means(w, n, g, c, sums, k[0]); });
      sum(1, w, n, begin, end, constants, sums, second);
      each_group(begin, end, [&](index_t g, index_t c) { set_forward(w, n, g, c, sums, k); });
    } else {
      each_group(begin, end, [&](index_t g, index_t c) { set_given(w, n, g, c, k); });
      sum(2, w, n, begin, end, constants, sums, second);
      each_group(begin, end, [&](index_t /*g*/, index_t c) { set_backward(w, n, c, sums, second, k); });
    }
    write(w, n, begin, end, constants);
  }

  template <class Body>
  void each_group(index_t begin, index_t end, const Body& body) const {
    for (index_t c = begin; c < end; c += in_group()) body(c / in_group(), c);
  }

  void sum(int which, const work& w, index_t n, index_t begin, index_t end, const float* const* k,
           float* first, float* second) const {
    const index_t at = n * channels_ * plane_;
    if (last_) {
      loops_.sum_columns[which](w.a + at, w.x + at, k[0], k[1], plane_, channels_, first, second);
      return;
    }
    for (index_t c = begin; c < end; ++c)
      loops_.sum_run[which](w.a + at + c * plane_, w.x + at + c * plane_, k[0] + c, k[1] + c, 1, plane_,
                            first + c, second + c);
  }

  void write(const work& w, index_t n, index_t begin, index_t end, const float* const* k) const {
    const index_t at = n * channels_ * plane_;
    const int map = forward_ ? 0 : 2;
    if (last_) {
      loops_.map_columns[map](w.a + at, w.x + at, k, plane_, channels_, w.out + at, w.past);
      return;
    }
    for (index_t c = begin; c < end; ++c) {
      const float* const constants[] = {k[0] + c, k[1] + c, k[2] + c, k[3] + c, k[4] + c, k[5] + c};
      const index_t from = at + c * plane_;
      loops_.map_run[map](w.a + from, w.x + from, constants, 1, plane_, w.out + from, w.past);
    }
  }

  void set_means(const work& w, index_t n, index_t g, index_t first, const float* sums, float* mean) const {
    double total = 0;
    for (index_t c = first; c < first + in_group(); ++c) total += wide(sums[c]);
    w.mean[n * groups_ + g] = static_cast<float>(total / (static_cast<double>(in_group() * plane_)));
    std::fill_n(mean + first, in_group(), w.mean[n * groups_ + g]);
  }

  void set_forward(const work& w, index_t n, index_t g, index_t first, const float* sums,
                   float* const* k) const {
    double squares = 0;
    for (index_t c = first; c < first + in_group(); ++c) squares += wide(sums[c]);
    w.invstd[n * groups_ + g] = inverse_deviation(squares, static_cast<double>(in_group() * plane_), eps_);
    for (index_t c = first; c < first + in_group(); ++c) {
      k[1][c] = w.invstd[n * groups_ + g];
      k[2][c] = w.beta ? w.beta[c] : 0.0F;
      k[3][c] = gamma_of(w, c);
      k[4][c] = k[5][c] = 0;
    }
  }

  void set_given(const work& w, index_t n, index_t g, index_t first, float* const* k) const {
    std::fill_n(k[0] + first, in_group(), w.mean[n * groups_ + g]);
    std::fill_n(k[1] + first, in_group(), w.invstd[n * groups_ + g]);
  }

  /// Σ dy and Σ dy·x̂ of one channel of one sample. Sums that left the range of f32 are taken again, in double.
  void exact_sums(const work& w, index_t n, index_t c, float mean, float invstd, double& total,
                  double& product) const {
    if (std::isfinite(total) && std::isfinite(product)) return;
    total = product = 0;
    const index_t step = last_ ? channels_ : 1;
    const index_t first = n * channels_ * plane_ + (last_ ? c : c * plane_);
    for (index_t i = 0; i < plane_; ++i) {
      const double dy = wide(w.a[first + i * step]);
      total += dy;
      product += dy * (wide(w.x[first + i * step]) - wide(mean)) * wide(invstd);
    }
  }

  void set_backward(const work& w, index_t n, index_t first, const float* sums, const float* products,
                    float* const* k) const {
    double total = 0, product = 0;
    for (index_t c = first; c < first + in_group(); ++c) {
      double of_dy = wide(sums[c]), of_both = wide(products[c]);
      exact_sums(w, n, c, k[0][c], k[1][c], of_dy, of_both);
      total += wide(gamma_of(w, c)) * of_dy;
      product += wide(gamma_of(w, c)) * of_both;
    }
    const auto m = static_cast<double>(in_group() * plane_);
    for (index_t c = first; c < first + in_group(); ++c) {
      k[2][c] = static_cast<float>(total);
      k[3][c] = static_cast<float>(product);
      k[4][c] = gamma_of(w, c);
      k[5][c] = static_cast<float>(1 / m);
    }
  }

  void add_images(const float* sums, float* out) const {
    for (index_t c = 0; c < channels_; ++c) {
      double total = 0;
      for (index_t n = 0; n < images_; ++n) total += wide(sums[8 * n * padded() + c]);
      out[c] = static_cast<float>(total);
    }
  }

  const norm_target& loops_;
  bool forward_, last_;
  bool gamma_ = false, beta_ = false;
  index_t images_ = 0, channels_ = 0, plane_ = 1, groups_ = 1;
  double eps_ = 0;
};

support norm_support(const kernel_problem& kp) {
  const std::string unknown = kp.problem.first_unknown(
      {"x", "y", "gamma", "beta", "mean", "invstd", "invrms", "axes", "groups", "eps"});
  return unknown.empty() ? support::yes() : support::no("unknown attribute " + unknown);
}

template <class MakePlan>
void add_rows(registry& kernels, const norm_target& target, const std::string& layer,
              const std::string& algorithm, bool any_layout, const MakePlan& make_plan) {
  for (const bool forward : {true, false}) {
    kernel k;
    k.layer = layer;
    k.pass = forward ? "forward" : "backward";
    k.name = layer + "." + k.pass + "/" + algorithm + "@" + std::string(target.name);
    if (!any_layout) k.layouts = {layout::nchw};
    if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
    k.supports = norm_support;
    k.make_plan = [make_plan, forward](const kernel_problem& kp) { return make_plan(kp, forward); };
    kernels.add(std::move(k));
  }
}

}  // namespace

void register_row_norm(registry& kernels) {
  for (const norm_target& target : norm_targets()) {
    for (const bool centred : {true, false})
      add_rows(kernels, target, centred ? "layer_norm" : "rms_norm", "rows", false,
               [&target, centred](const kernel_problem& kp, bool forward) -> std::unique_ptr<plan> {
                 return std::make_unique<row_norm_plan>(target, kp, forward, centred);
               });
    for (const char* layer : {"group_norm", "instance_norm"})
      add_rows(kernels, target, layer, "groups", true,
               [&target](const kernel_problem& kp, bool forward) -> std::unique_ptr<plan> {
                 return std::make_unique<group_norm_plan>(target, kp, forward);
               });
  }
}

}  // namespace plumb
