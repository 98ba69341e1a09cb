// Batch normalisation, training and inference, forward and backward, at the speed of memory.
//   forward    y = (x - mean)·invstd·gamma + beta
//   backward   dx = gamma·invstd·((dy - Σdy/m) - (x - mean)·invstd²·Σ dy·(x - mean)/m),   dbeta = Σdy,
//              dgamma = invstd·Σ dy·(x - mean);  with running statistics dx = gamma·invstd·dy
//   NCHW       a channel is one task: its planes are read for the sums and, while they are near, once more
//   NHWC       lanes are channels; the pixels are cut into chunks that fit the second cache, each leaves its sums in the
//              workspace, and the sums are added up in double, in order
// The variance is gathered chunk by chunk about the chunk's own mean, so that x comes from memory twice and not three
// times:  Σ(x - mean)² = Σ_chunks [Σ(x - mean_i)² + n_i·(mean_i - mean)²]  (Chan, Golub & LeVeque 1983). Chunks depend
// on the problem only, so the thread count cannot change a bit. The loops are those of norm_loops.hpp.
#include <algorithm>
#include <cmath>

#include "optimized/cpu/aligned_buffer.hpp"
#include "optimized/cpu/norm_loops.hpp"
#include "optimized/cpu/past_caches.hpp"
#include "optimized/kernels.hpp"

namespace plumb {
namespace {

constexpr index_t chunk_floats = index_t{16} << 10;  ///< of x: near enough to be read twice

/// Every chunk costs some operations a channel at the end, as much as several pixels do: with many channels it is larger.
index_t pixels_of_chunk(index_t channels) {
  constexpr index_t enough_pixels = 128, most_floats = 4 * chunk_floats;
  return std::max<index_t>(
      8, std::max(chunk_floats / channels, std::min(enough_pixels, most_floats / channels)));
}

const float* data(const tensor_ref& t) { return static_cast<const float*>(t.data); }
float* data_out(const tensor_ref& t) { return static_cast<float*>(t.data); }

class batch_norm_plan final : public plan {
 public:
  batch_norm_plan(const norm_target& target, const kernel_problem& kp, bool is_forward)
      : loops_(target), forward_(is_forward) {
    const problem& p = kp.problem;
    const shape x = p.shape_of("x");
    images_ = x[0];
    channels_ = x[1];
    plane_ = x.size() / std::max<index_t>(1, images_ * channels_);
    last_ = kp.layout == layout::nhwc || x.rank() == 2;
    train_ = p.text("mode") == "train";
    gamma_ = p.has("gamma");
    beta_ = p.has("beta");
    running_ = p.has("running_mean");
    eps_ = p.number("eps");
    momentum_ = p.number("momentum");
    const index_t pixels = images_ * plane_;
    chunk_ = last_ ? pixels_of_chunk(channels_) : chunk_floats;
    chunks_ = last_ ? (pixels + chunk_ - 1) / chunk_ : images_ * ((plane_ + chunk_ - 1) / chunk_);
  }

  std::size_t workspace_size() const override {
    return sizeof(float) * static_cast<std::size_t>(sums_size() + norm_constants * row());
  }

  void run(const kernel_call& call) noexcept override {
    work w;
    w.sums = static_cast<float*>(call.workspace);
    float* at = w.sums + sums_size();
    for (int i = 0; i < norm_constants; ++i) w.constants[i] = at + i * row();
    forward_ ? bind_forward(call, w) : bind_backward(call, w);
    w.past = goes_past_caches(w.out, images_ * channels_ * plane_);
    if (!last_) {
      run_planes(call.threads, w);
      return;
    }
#pragma omp parallel num_threads(call.threads)
    {
      if (sums_needed()) {
#pragma omp for schedule(static)
        for (index_t i = 0; i < chunks_; ++i) sum_chunk(i, w);
      }
#pragma omp for schedule(static)
      for (index_t c = 0; c < channels_; ++c) finish_channel(c, w);
#pragma omp for schedule(static)
      for (index_t i = 0; i < chunks_; ++i) write_chunk(i, w);
    }
  }

 private:
  /// The tensors of a call. a is x, or dy; b is x.
  struct work {
    const float *a = nullptr, *b = nullptr;
    const float *gamma = nullptr, *beta = nullptr, *mean = nullptr,
                *spread = nullptr;  ///< spread: variance or invstd
    const float *old_mean = nullptr, *old_variance = nullptr;
    float *out = nullptr, *new_mean = nullptr, *new_variance = nullptr, *saved_mean = nullptr,
          *saved_invstd = nullptr;
    float *dgamma = nullptr, *dbeta = nullptr;
    float* sums = nullptr;
    bool past = false;  ///< out goes past the caches
    float* constants[norm_constants] = {};
  };

  index_t row() const { return aligned_buffer::padded(channels_); }
  /// Two sums a chunk and channel, and in NHWC a row that is thrown away.
  index_t sums_size() const {
    return aligned_buffer::padded(last_ ? 3 * chunks_ * row() : 2 * chunks_ * channels_);
  }
  /// Inference writes y from what is given.
  bool sums_needed() const { return train_ || !forward_; }
  index_t chunk_size(index_t i) const {
    return last_ ? std::min(chunk_, images_ * plane_ - i * chunk_)
                 : std::min(chunk_, plane_ - i % (chunks_ / images_) * chunk_);
  }

  void bind_forward(const kernel_call& call, work& w) const {
    w.a = w.b = data(call.reads[0]);
    w.gamma = data(call.reads[1]);
    w.beta = data(call.reads[2]);
    (train_ ? w.old_mean : w.mean) = data(call.reads[3]);
    (train_ ? w.old_variance : w.spread) = data(call.reads[4]);
    w.out = data_out(call.writes[0]);
    if (!train_) return;
    w.saved_mean = data_out(call.writes[1]);
    w.saved_invstd = data_out(call.writes[2]);
    if (!running_) return;
    w.new_mean = data_out(call.writes[3]);
    w.new_variance = data_out(call.writes[4]);
  }
  void bind_backward(const kernel_call& call, work& w) const {
    w.a = data(call.reads[0]);
    w.b = data(call.reads[1]);
    w.gamma = data(call.reads[2]);
    w.mean = data(call.reads[3]);
    w.spread = data(call.reads[4]);
    w.out = data_out(call.writes[0]);
    for (index_t c = 0; c < channels_; ++c)
      w.constants[1][c] =
          train_ ? w.spread[c] : static_cast<float>(1 / std::sqrt(static_cast<double>(w.spread[c]) + eps_));
    std::size_t next = 1;  // a gradient is written if its parameter is there
    if (gamma_) w.dgamma = data_out(call.writes[next++]);
    if (beta_) w.dbeta = data_out(call.writes[next]);
  }

  // The sums of chunk i of channel c (NCHW), or of all channels (NHWC).
  float* sums_of(index_t i, index_t c, const work& w) const {
    return w.sums + (last_ ? 3 * i * row() + c : 2 * (c * chunks_ + i));
  }
  index_t second() const { return last_ ? row() : 1; }

  void sum_chunk(index_t i, const work& w) const {
    const index_t at = i * chunk_ * channels_, pixels = chunk_size(i);
    float* sums = sums_of(i, 0, w);
    if (!forward_) {
      loops_.sum_columns[2](w.a + at, w.b + at, w.mean, w.constants[1], pixels, channels_, sums,
                            sums + row());
      return;
    }
    float* mean = sums + row();
    float* lost = mean + row();
    const auto count = static_cast<float>(pixels);
    std::fill_n(mean, channels_, 0.0F);
    loops_.sum_columns[0](w.a + at, w.a + at, mean, mean, pixels, channels_, sums, lost);
    for (index_t c = 0; c < channels_; ++c) mean[c] = sums[c] / count;
    loops_.sum_columns[1](w.a + at, w.a + at, mean, mean, pixels, channels_, mean,
                          lost);  // in place of the means
  }

  index_t place(index_t i, index_t c) const {
    const index_t per_plane = chunks_ / images_;
    return (i / per_plane * channels_ + c) * plane_ + i % per_plane * chunk_;
  }

  void run_planes(int threads, const work& w) const {
    if (sums_needed()) {
#pragma omp parallel for schedule(static) num_threads(threads)
      for (index_t c = 0; c < channels_; ++c) run_channel(c, w);
      return;
    }
    for (index_t c = 0; c < channels_; ++c) finish_channel(c, w);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (index_t i = 0; i < images_ * channels_; ++i) {
      const index_t c = i % channels_;
      const float* const constants[] = {w.constants[0] + c, w.constants[1] + c, w.constants[2] + c,
                                        w.constants[3] + c, w.constants[4] + c, w.constants[5] + c};
      loops_.map_run[map()](w.a + i * plane_, w.b + i * plane_, constants, 1, plane_, w.out + i * plane_,
                            w.past);
    }
  }

  void run_channel(index_t c, const work& w) const {
    for (index_t i = 0; i < chunks_ && sums_needed(); ++i) {
      float* sums = sums_of(i, c, w);
      const index_t at = place(i, c), count = chunk_size(i);
      if (!forward_) {
        loops_.sum_run[2](w.a + at, w.b + at, w.mean + c, w.constants[1] + c, 1, count, sums, sums + 1);
        continue;
      }
      float zero = 0, none = 0;
      loops_.sum_run[0](w.a + at, w.a + at, &zero, &zero, 1, count, sums, &none);
      const float mean = sums[0] / static_cast<float>(count);
      loops_.sum_run[1](w.a + at, w.a + at, &mean, &mean, 1, count, sums + 1, &none);
    }
    finish_channel(c, w);
    const float* const constants[] = {w.constants[0] + c, w.constants[1] + c, w.constants[2] + c,
                                      w.constants[3] + c, w.constants[4] + c, w.constants[5] + c};
    for (index_t i = chunks_ - 1; i >= 0; --i)
      loops_.map_run[map()](w.a + place(i, c), w.b + place(i, c), constants, 1, chunk_size(i),
                            w.out + place(i, c), w.past);
  }

  /// With running statistics dx does not see x.
  int map() const { return forward_ || !train_ ? 0 : 1; }

  void write_chunk(index_t i, const work& w) const {
    // The last chunks are the ones still near.
    const index_t at = (chunks_ - 1 - i) * chunk_ * channels_;
    loops_.map_columns[map()](w.a + at, w.b + at, w.constants, chunk_size(chunks_ - 1 - i), channels_,
                              w.out + at, w.past);
  }

  void finish_channel(index_t c, const work& w) const {
    const double gamma = w.gamma ? static_cast<double>(w.gamma[c]) : 1;
    if (!sums_needed()) {
      set_forward(c, w, w.mean[c], 1 / std::sqrt(static_cast<double>(w.spread[c]) + eps_), gamma);
    } else if (forward_) {
      finish_statistics(c, w, gamma);
    } else {
      finish_gradients(c, w, gamma);
    }
  }

  void set_forward(index_t c, const work& w, float mean, double invstd, double gamma) const {
    w.constants[0][c] = mean;
    w.constants[1][c] = static_cast<float>(invstd);
    w.constants[2][c] = w.beta ? w.beta[c] : 0.0F;
    w.constants[3][c] = static_cast<float>(gamma);
  }

  void finish_statistics(index_t c, const work& w, double gamma) const {
    const auto m = static_cast<double>(images_ * plane_);
    double total = 0, about = 0;
    for (index_t i = 0; i < chunks_; ++i) total += static_cast<double>(*sums_of(i, c, w));
    const double mean = total / m;
    for (index_t i = 0; i < chunks_; ++i) {
      const auto n = static_cast<double>(chunk_size(i));
      // The very mean about which the chunk's squares were taken.
      const double own = static_cast<double>(*sums_of(i, c, w) / static_cast<float>(chunk_size(i)));
      const double sum = static_cast<double>(*sums_of(i, c, w));
      // Σ(x - mean)² = Σ(x - own)² + 2(own - mean)·Σ(x - own) + n·(own - mean)²
      about += static_cast<double>(sums_of(i, c, w)[second()]) + 2 * (own - mean) * (sum - n * own) +
               n * (own - mean) * (own - mean);
    }
    const double invstd = 1 / std::sqrt(about / m + eps_);
    w.saved_mean[c] = static_cast<float>(mean);
    w.saved_invstd[c] = static_cast<float>(invstd);
    if (w.new_mean) {
      w.new_mean[c] =
          static_cast<float>((1 - momentum_) * static_cast<double>(w.old_mean[c]) + momentum_ * mean);
      w.new_variance[c] = static_cast<float>((1 - momentum_) * static_cast<double>(w.old_variance[c]) +
                                             momentum_ * about / (m - 1));
    }
    set_forward(c, w, static_cast<float>(mean), invstd, gamma);
  }

  void finish_gradients(index_t c, const work& w, double gamma) const {
    double total = 0, product = 0;
    for (index_t i = 0; i < chunks_; ++i) {
      total += static_cast<double>(*sums_of(i, c, w));
      product += static_cast<double>(sums_of(i, c, w)[second()]);
    }
    const auto m = static_cast<double>(images_ * plane_);
    if (w.dgamma) w.dgamma[c] = static_cast<float>(product);
    if (w.dbeta) w.dbeta[c] = static_cast<float>(total);
    w.constants[0][c] = train_ ? w.mean[c] : 0.0F;
    w.constants[2][c] = train_ ? static_cast<float>(total / m) : 0.0F;
    w.constants[3][c] = train_ ? static_cast<float>(product / m) : 1.0F;
    w.constants[4][c] = static_cast<float>(gamma * static_cast<double>(w.constants[1][c]));
    if (!train_) w.constants[1][c] = w.constants[4][c];
  }

  const norm_target& loops_;
  bool forward_;
  bool last_ = false;  ///< channels last
  bool train_ = true, gamma_ = false, beta_ = false, running_ = false;
  index_t images_ = 0, channels_ = 0, plane_ = 0;
  index_t chunk_ = 1, chunks_ = 0;  ///< numbers of a plane (NCHW) or pixels (NHWC) in a chunk
  double eps_ = 0, momentum_ = 0;
};

support batch_norm_support(const kernel_problem& kp) {
  const std::string unknown =
      kp.problem.first_unknown({"x", "y", "gamma", "beta", "running_mean", "running_var", "mean", "invstd",
                                "new_running_mean", "new_running_var", "mode", "eps", "momentum"});
  if (!unknown.empty()) return support::no("unknown attribute " + unknown);
  const std::string& mode = kp.problem.text("mode");
  return mode == "train" || mode == "eval" ? support::yes() : support::no("unknown mode=" + mode);
}

}  // namespace

void register_batch_norm(registry& kernels) {
  for (const norm_target& target : norm_targets())
    for (const bool is_forward : {true, false}) {
      kernel k;
      k.layer = "batch_norm";
      k.pass = is_forward ? "forward" : "backward";
      k.name = "batch_norm." + k.pass + "/chunks@" + std::string(target.name);
      if (!target.runs_here) k.unavailable = "this processor lacks " + std::string(target.name);
      k.supports = batch_norm_support;
      k.make_plan = [&target, is_forward](const kernel_problem& kp) -> std::unique_ptr<plan> {
        return std::make_unique<batch_norm_plan>(target, kp, is_forward);
      };
      kernels.add(std::move(k));
    }
}

}  // namespace plumb
