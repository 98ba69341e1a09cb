// conv2d as a matrix product by OpenBLAS: unfold the input into columns, then sgemm (im2col; Chellapilla, Puri & Simard
// 2006). With L = (C/groups)·R·S filter taps and P·Q positions, for each image and group:
//   forward             y  = W · col          (K/groups × L) · (L × P·Q)
//   backward_data       col = Wᵀ · dy, folded back into dx
//   backward_weights    dW += dy · colᵀ
// In nchw the planes y, dy are row-major K × P·Q matrices; in nhwc they are the transposes, with rows of all K channels.
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/kernels.hpp"
#include "optimized/peers/peer_row.hpp"

#if PLUMB_HAS_OPENBLAS
#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <limits>
#endif

namespace plumb {
namespace {

#if PLUMB_HAS_OPENBLAS
class thread_scope {
 public:
  explicit thread_scope(int threads) : before_(openblas_get_num_threads()), team_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
    openblas_set_num_threads(threads);
  }
  ~thread_scope() {
    openblas_set_num_threads(before_);
    omp_set_num_threads(team_);
  }
  thread_scope(const thread_scope&) = delete;
  thread_scope& operator=(const thread_scope&) = delete;

 private:
  int before_, team_;
};

/// One image of one group, seen as a plane of channels: element (channel, position) lies at
/// data[channel·channel_step + position·position_step].
struct planes {
  float* data;
  index_t channel_step, position_step;
};

planes planes_of(const tensor_ref& t, index_t image, index_t first_channel) {
  const index_t width_step = t.strides[3];
  return {static_cast<float*>(t.data) + image * t.strides[0] + first_channel * t.strides[1], t.strides[1],
          width_step};
}

struct unfolding {
  conv_arguments a;
  layout order;

  index_t taps() const { return a.group_c() * a.taps(); }
  index_t positions() const { return a.out_size(); }
  std::size_t column_bytes() const { return static_cast<std::size_t>(taps() * positions()) * sizeof(float); }

  /// Calls f(column index, input index) for the taps of row `l`, input index -1 in the padding; both count
  /// positions.
  template <class F>
  void for_each_position(index_t l, F&& f) const {
    const conv_axis &h = a.height(), &w = a.width();
    const index_t r = l / w.taps % h.taps, s = l % w.taps;
    for (index_t p = 0; p < h.out; ++p) {
      const index_t row = p * h.stride - h.begin + r * h.dilation;
      for (index_t q = 0; q < w.out; ++q) {
        const index_t column = q * w.stride - w.begin + s * w.dilation;
        const bool inside = row >= 0 && row < h.in && column >= 0 && column < w.in;
        f(p * w.out + q, inside ? row * w.in + column : -1);
      }
    }
  }

  void unfold(const planes& x, float* columns) const {
#pragma omp parallel for schedule(static)
    for (index_t l = 0; l < taps(); ++l) {
      const float* channel = x.data + l / a.taps() * x.channel_step;
      float* row = columns + l * positions();
      for_each_position(
          l, [&](index_t at, index_t from) { row[at] = from < 0 ? 0.0F : channel[from * x.position_step]; });
    }
  }

  /// Overwrites dx. One thread a channel, taps in order: no two threads add to the same element.
  void fold(const float* columns, const planes& dx) const {
#pragma omp parallel for schedule(static)
    for (index_t c = 0; c < a.group_c(); ++c) {
      float* channel = dx.data + c * dx.channel_step;
      for (index_t i = 0; i < a.in_size(); ++i) channel[i * dx.position_step] = 0.0F;
      for (index_t l = c * a.taps(); l < (c + 1) * a.taps(); ++l)
        for_each_position(l, [&](index_t at, index_t to) {
          if (to >= 0) channel[to * dx.position_step] += columns[l * positions() + at];
        });
    }
  }
};

int blas(index_t value) { return static_cast<int>(value); }

void forward(const unfolding& u, const kernel_call& call) {
  const conv_arguments& a = u.a;
  const tensor_ref &x = call.reads[0], &y = call.writes[0];
  const auto* weight = static_cast<const float*>(call.reads[1].data);
  const auto* bias = a.bias ? static_cast<const float*>(call.reads[2].data) : nullptr;
  auto* columns = static_cast<float*>(call.workspace);
  for (index_t n = 0; n < a.n; ++n)
    for (index_t g = 0; g < a.groups; ++g) {
      const planes out = planes_of(y, n, g * a.group_k());
      for (index_t k = 0; k < a.group_k(); ++k)
        for (index_t i = 0; i < u.positions(); ++i)
          out.data[k * out.channel_step + i * out.position_step] = bias ? bias[g * a.group_k() + k] : 0.0F;
      u.unfold(planes_of(x, n, g * a.group_c()), columns);
      const float* w = weight + g * a.group_k() * u.taps();
      if (u.order == layout::nchw)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, blas(a.group_k()), blas(u.positions()),
                    blas(u.taps()), 1.0F, w, blas(u.taps()), columns, blas(u.positions()), 1.0F, out.data,
                    blas(u.positions()));
      else
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasTrans, blas(u.positions()), blas(a.group_k()),
                    blas(u.taps()), 1.0F, columns, blas(u.positions()), w, blas(u.taps()), 1.0F, out.data,
                    blas(a.k));
    }
}

void backward_data(const unfolding& u, const kernel_call& call) {
  const conv_arguments& a = u.a;
  const tensor_ref &dy = call.reads[0], &dx = call.writes[0];
  const auto* weight = static_cast<const float*>(call.reads[1].data);
  auto* columns = static_cast<float*>(call.workspace);
  for (index_t n = 0; n < a.n; ++n)
    for (index_t g = 0; g < a.groups; ++g) {
      const float* w = weight + g * a.group_k() * u.taps();
      const planes out = planes_of(dy, n, g * a.group_k());
      const bool nchw = u.order == layout::nchw;
      cblas_sgemm(CblasRowMajor, CblasTrans, nchw ? CblasNoTrans : CblasTrans, blas(u.taps()),
                  blas(u.positions()), blas(a.group_k()), 1.0F, w, blas(u.taps()), out.data,
                  nchw ? blas(u.positions()) : blas(a.k), 0.0F, columns, blas(u.positions()));
      u.fold(columns, planes_of(dx, n, g * a.group_c()));
    }
}

void backward_weights(const unfolding& u, const kernel_call& call) {
  const conv_arguments& a = u.a;
  const tensor_ref &dy = call.reads[0], &x = call.reads[1];
  auto* dweight = static_cast<float*>(call.writes[0].data);
  auto* columns = static_cast<float*>(call.workspace);
  std::fill_n(dweight, a.k * u.taps(), 0.0F);
  for (index_t n = 0; n < a.n; ++n)
    for (index_t g = 0; g < a.groups; ++g) {
      u.unfold(planes_of(x, n, g * a.group_c()), columns);
      const planes out = planes_of(dy, n, g * a.group_k());
      const bool nchw = u.order == layout::nchw;
      cblas_sgemm(CblasRowMajor, nchw ? CblasNoTrans : CblasTrans, CblasTrans, blas(a.group_k()),
                  blas(u.taps()), blas(u.positions()), 1.0F, out.data,
                  nchw ? blas(u.positions()) : blas(a.k), columns, blas(u.positions()), 1.0F,
                  dweight + g * a.group_k() * u.taps(), blas(u.taps()));
    }
}

support supports(const kernel_problem& kp) {
  if (const support s = conv_support(kp); !s.ok) return s;
  if (kp.problem.flag("flip")) return support::no("flip=true: the filter would have to be copied");
  const conv_arguments a = read_conv_arguments(kp.problem);
  constexpr index_t most = std::numeric_limits<int>::max();
  if (std::max({a.group_c() * a.taps(), a.out_size(), a.k}) > most)
    return support::no("a matrix dimension beyond 32 bits");
  if (a.n * a.c * a.k * a.in_size() * a.out_size() * a.taps() == 0)
    return support::no("cblas_sgemm rejects the leading dimensions of an empty matrix");
  return support::yes();
}

template <void (*Run)(const unfolding&, const kernel_call&)>
std::unique_ptr<plan> make_plan(const kernel_problem& kp) {
  const unfolding u{read_conv_arguments(kp.problem), kp.layout};
  return make_simple_plan(
      [u](const kernel_call& call) {
        const thread_scope threads(call.threads);
        Run(u, call);
      },
      u.column_bytes());
}

constexpr peer_pass passes[] = {{"forward", supports, make_plan<forward>},
                                {"backward_data", supports, make_plan<backward_data>},
                                {"backward_weights", supports, make_plan<backward_weights>}};
#else
constexpr peer_pass passes[] = {{"forward", nullptr, nullptr},
                                {"backward_data", nullptr, nullptr},
                                {"backward_weights", nullptr, nullptr}};
#endif

}  // namespace

void register_openblas_conv(registry& kernels) {
  for (const peer_pass& pass : passes) kernels.add(peer_row("conv2d", pass, "openblas_im2col", "OpenBLAS"));
}

}  // namespace plumb
