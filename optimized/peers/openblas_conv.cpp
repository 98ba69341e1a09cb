// conv2d as a matrix product by OpenBLAS: unfold the input into columns, then sgemm (im2col; Chellapilla,
// Puri & Simard 2006). With L = (C/groups)·R·S filter taps and P·Q positions, for each image and group:
//   forward             y  = W · col          (K/groups × L) · (L × P·Q)
//   backward_data       col = Wᵀ · dy, folded back into dx
//   backward_weights    dW += dy · colᵀ
// In nchw the planes y, dy are row-major K × P·Q matrices; in nhwc they are the transposes, with rows of all
// K channels.
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

/// A matrix in memory: element (i, j) lies at data[i·leading + j], or with i and j exchanged.
struct matrix {
  float* data;
  index_t leading;
  bool transposed = false;
};

constexpr matrix transpose(matrix m) {
  m.transposed = !m.transposed;
  return m;
}

/// c = a·b + beta·c with a of m × k, b of k × n.
void multiply(index_t m, index_t n, index_t k, const matrix& a, const matrix& b, float beta,
              const matrix& c) {
  if (c.transposed) return multiply(n, m, k, transpose(b), transpose(a), beta, transpose(c));
  const auto number = [](index_t value) { return static_cast<blasint>(value); };
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
              b.transposed ? CblasTrans : CblasNoTrans, number(m), number(n), number(k), 1.0F, a.data,
              number(a.leading), b.data, number(b.leading), beta, c.data, number(c.leading));
}

struct unfolding {
  conv_arguments a;
  layout order;

  index_t taps() const { return a.group_c() * a.taps(); }
  index_t positions() const { return a.out_size(); }
  /// Columns would be a copy of x: a 1×1 filter, stride 1, no padding.
  bool pointwise() const {
    return std::ranges::all_of(a.axes, [](const conv_axis& axis) {
      return axis.taps == 1 && axis.stride == 1 && axis.begin == 0 && axis.end == 0;
    });
  }
  std::size_t column_bytes() const {
    return pointwise() ? 0 : static_cast<std::size_t>(taps() * positions()) * sizeof(float);
  }
  matrix columns(void* workspace) const { return {static_cast<float*>(workspace), positions()}; }

  /// One image of one group as a matrix of channels × positions.
  matrix planes(const tensor_ref& t, index_t image, index_t first_channel) const {
    float* data = static_cast<float*>(t.data) + image * t.strides[0] + first_channel * t.strides[1];
    if (order == layout::nhwc) return {data, t.extents[1], true};
    return {data, t.extents[2] * t.extents[3]};
  }
  matrix weights(const tensor_ref& t, index_t group) const {
    return {static_cast<float*>(t.data) + group * a.group_k() * taps(), taps()};
  }

  /// Calls f(position of y, position of x) along row `l` of the columns; -1 stands for the padding.
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

  /// The columns of one image and group: unfolded into the workspace, or x itself.
  matrix unfold(const matrix& x, void* workspace) const {
    if (pointwise()) return x;
    const matrix to = columns(workspace);
    const index_t channel_step = x.transposed ? 1 : x.leading, position_step = x.transposed ? x.leading : 1;
#pragma omp parallel for schedule(static)
    for (index_t l = 0; l < taps(); ++l) {
      const float* channel = x.data + l / a.taps() * channel_step;
      for_each_position(l, [&](index_t at, index_t from) {
        to.data[l * to.leading + at] = from < 0 ? 0.0F : channel[from * position_step];
      });
    }
    return to;
  }

  /// Overwrites dx. One thread a channel, taps in order: no two threads add to the same element.
  void fold(const matrix& from, const matrix& dx) const {
    const index_t channel_step = dx.transposed ? 1 : dx.leading,
                  position_step = dx.transposed ? dx.leading : 1;
#pragma omp parallel for schedule(static)
    for (index_t c = 0; c < a.group_c(); ++c) {
      float* channel = dx.data + c * channel_step;
      for (index_t i = 0; i < a.in_size(); ++i) channel[i * position_step] = 0.0F;
      for (index_t l = c * a.taps(); l < (c + 1) * a.taps(); ++l)
        for_each_position(l, [&](index_t at, index_t to) {
          if (to >= 0) channel[to * position_step] += from.data[l * from.leading + at];
        });
    }
  }

  template <class F>
  void for_each_image_and_group(F&& f) const {
    for (index_t n = 0; n < a.n; ++n)
      for (index_t g = 0; g < a.groups; ++g) f(n, g);
  }
};

void forward(const unfolding& u, const kernel_call& call) {
  const conv_arguments& a = u.a;
  const auto* bias = a.bias ? static_cast<const float*>(call.reads[2].data) : nullptr;
  const auto y = call.writes[0].view<float>();
  u.for_each_image_and_group([&](index_t n, index_t g) {
    const index_t first = g * a.group_k();
    if (bias != nullptr)
      for (index_t k = first; k < first + a.group_k(); ++k)
        for (index_t i = 0; i < u.positions(); ++i) y(n, k, i / a.width().out, i % a.width().out) = bias[k];
    const matrix columns = u.unfold(u.planes(call.reads[0], n, g * a.group_c()), call.workspace);
    multiply(a.group_k(), u.positions(), u.taps(), u.weights(call.reads[1], g), columns,
             bias != nullptr ? 1.0F : 0.0F, u.planes(call.writes[0], n, first));
  });
}

void backward_data(const unfolding& u, const kernel_call& call) {
  const conv_arguments& a = u.a;
  u.for_each_image_and_group([&](index_t n, index_t g) {
    const matrix dx = u.planes(call.writes[0], n, g * a.group_c());
    const matrix columns = u.pointwise() ? dx : u.columns(call.workspace);
    multiply(u.taps(), u.positions(), a.group_k(), transpose(u.weights(call.reads[1], g)),
             u.planes(call.reads[0], n, g * a.group_k()), 0.0F, columns);
    if (!u.pointwise()) u.fold(columns, dx);
  });
}

void backward_weights(const unfolding& u, const kernel_call& call) {
  const conv_arguments& a = u.a;
  u.for_each_image_and_group([&](index_t n, index_t g) {
    const matrix columns = u.unfold(u.planes(call.reads[1], n, g * a.group_c()), call.workspace);
    multiply(a.group_k(), u.taps(), u.positions(), u.planes(call.reads[0], n, g * a.group_k()),
             transpose(columns), n == 0 ? 0.0F : 1.0F, u.weights(call.writes[0], g));
  });
}

support supports(const kernel_problem& kp) {
  if (const support s = conv_support(kp); !s.ok) return s;
  if (kp.problem.flag("flip")) return support::no("flip=true: the filter would have to be copied");
  const conv_arguments a = read_conv_arguments(kp.problem);
  constexpr index_t most = std::numeric_limits<int>::max();
  if (std::max({a.group_c() * a.taps(), a.out_size(), a.c, a.k}) > most)
    return support::no("a matrix dimension beyond 32 bits");
  for (const char* tensor : {"x", "weight", "y"})
    if (kp.problem.shape_of(tensor).size() == 0)
      return support::no(std::string("a matrix without elements: ") + tensor + " has none");
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
