// conv2d by cuDNN, opened at run time: no program of ours is linked to it, and where it is missing its rows say so.
// Three rows a pass: `cudnn`, f32 on the ordinary units; `cudnn_tf32`, where it may round factors to tf32; `cudnn_bf16`,
// which rounds its result to bf16 besides. Among its algorithms the fastest, by cuDNN's own measurement, of those whose
// results are the same every time and whose arithmetic is what the row declares; so not Winograd's nor Fourier's, which
// have bounds of another form.
//
// In NHWC it wants the filters with channels last too, which ours are not: they are turned over in every call. In bf16 it
// works in NHWC on operands of 16 bits, whatever the layout: all of them are turned over and rounded, and the result is
// brought back, as our own bf16 kernels have to round theirs.
// NVIDIA, cuDNN 9 API reference, cudnn_cnn library (the calls that came with version 7).
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cuda/device.hpp"
#include "optimized/cuda/rows.hpp"
#include "optimized/cuda/turn_over.hpp"

#if PLUMB_HAS_CUDNN
#include <cudnn.h>
#include <dlfcn.h>

#include <array>
#include <memory>
#include <stdexcept>
#endif

namespace plumb {
namespace {

using namespace cuda;

enum class cudnn_arithmetic : std::uint8_t { f32, tf32, bf16 };

support cudnn_support(const kernel_problem& kp) {
  if (const support s = conv_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  for (const conv_axis& axis : a.axes) {  // it knows one padding for both ends
    const index_t room = axis.in + 2 * axis.begin - axis.dilation * (axis.taps - 1) - 1;
    if (room / axis.stride + 1 != axis.out)
      return support::no("other padding at an end than at the beginning");
  }
  if (a.n == 0 || a.c == 0 || a.k == 0) return support::no("a tensor without elements");
  return support::yes();
}

support cudnn_bf16_support(const kernel_problem& kp) {
  if (const support s = cudnn_support(kp); !s.ok) return s;
  const conv_arguments a = read_conv_arguments(kp.problem);
  const bool whole = a.group_c() % 8 == 0 && a.group_k() % 8 == 0;
  return whole ? support::yes() : support::no("channels of a group that are no multiple of 8");
}

#if PLUMB_HAS_CUDNN

/// The functions that are called, by their own names and types.
struct cudnn_functions {
#define PLUMB_CUDNN(name) decltype(&::name) name = nullptr;
#define PLUMB_CUDNN_ALL                                    \
  PLUMB_CUDNN(cudnnCreate)                                 \
  PLUMB_CUDNN(cudnnSetStream)                              \
  PLUMB_CUDNN(cudnnGetErrorString)                         \
  PLUMB_CUDNN(cudnnCreateTensorDescriptor)                 \
  PLUMB_CUDNN(cudnnSetTensor4dDescriptor)                  \
  PLUMB_CUDNN(cudnnDestroyTensorDescriptor)                \
  PLUMB_CUDNN(cudnnCreateFilterDescriptor)                 \
  PLUMB_CUDNN(cudnnSetFilter4dDescriptor)                  \
  PLUMB_CUDNN(cudnnDestroyFilterDescriptor)                \
  PLUMB_CUDNN(cudnnCreateConvolutionDescriptor)            \
  PLUMB_CUDNN(cudnnSetConvolution2dDescriptor)             \
  PLUMB_CUDNN(cudnnSetConvolutionGroupCount)               \
  PLUMB_CUDNN(cudnnSetConvolutionMathType)                 \
  PLUMB_CUDNN(cudnnDestroyConvolutionDescriptor)           \
  PLUMB_CUDNN(cudnnFindConvolutionForwardAlgorithm)        \
  PLUMB_CUDNN(cudnnFindConvolutionBackwardDataAlgorithm)   \
  PLUMB_CUDNN(cudnnFindConvolutionBackwardFilterAlgorithm) \
  PLUMB_CUDNN(cudnnConvolutionForward)                     \
  PLUMB_CUDNN(cudnnConvolutionBackwardData)                \
  PLUMB_CUDNN(cudnnConvolutionBackwardFilter)              \
  PLUMB_CUDNN(cudnnAddTensor)
  PLUMB_CUDNN_ALL
#undef PLUMB_CUDNN
  std::string trouble;  ///< not empty: why it cannot be used

  cudnn_functions() {
    void* const library = ::dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      trouble = "libcudnn.so.9 was not found";
      return;
    }
#define PLUMB_CUDNN(name)                                              \
  name = reinterpret_cast<decltype(&::name)>(::dlsym(library, #name)); \
  if (name == nullptr && trouble.empty()) trouble = "libcudnn.so.9 lacks " #name;
    PLUMB_CUDNN_ALL
#undef PLUMB_CUDNN
  }
};

const cudnn_functions& cudnn() {
  static const cudnn_functions functions;
  return functions;
}

void demand(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error(std::string("cuDNN: ") + cudnn().cudnnGetErrorString(status));
}

cudnnHandle_t handle() {
  static const cudnnHandle_t only = [] {
    cudnnHandle_t h = nullptr;
    demand(cudnn().cudnnCreate(&h));
    return h;
  }();
  return only;
}

/// The descriptors of one problem, and the algorithm chosen for a pass.
struct cudnn_problem {
  conv_arguments sizes;
  bool last, bf16;  ///< channels of activations; numbers of 16 bits
  cudnnTensorDescriptor_t x = nullptr, y = nullptr, bias = nullptr;
  cudnnTensorDescriptor_t y_f32 = nullptr;  ///< as the caller has it
  cudnnFilterDescriptor_t weight = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;
  int algorithm = -1;
  std::size_t workspace = 0;

  cudnn_problem(const kernel_problem& kp, cudnn_arithmetic how)
      : sizes(read_conv_arguments(kp.problem)),
        last(kp.layout == layout::nhwc),
        bf16(how == cudnn_arithmetic::bf16) {
    const conv_arguments& a = sizes;
    const auto narrow = [](index_t v) { return static_cast<int>(v); };
    const cudnnTensorFormat_t theirs = last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW,
                              inside = bf16 ? CUDNN_TENSOR_NHWC : theirs;
    const cudnnDataType_t type = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    const auto tensor = [&](cudnnTensorDescriptor_t& t, cudnnTensorFormat_t format, cudnnDataType_t of,
                            index_t n, index_t c, index_t h, index_t w) {
      demand(cudnn().cudnnCreateTensorDescriptor(&t));
      demand(cudnn().cudnnSetTensor4dDescriptor(t, format, of, narrow(n), narrow(c), narrow(h), narrow(w)));
    };
    const conv_axis &h = a.height(), &w = a.width();
    tensor(x, inside, type, a.n, a.c, h.in, w.in);
    tensor(y, inside, type, a.n, a.k, h.out, w.out);
    tensor(y_f32, theirs, CUDNN_DATA_FLOAT, a.n, a.k, h.out, w.out);
    tensor(bias, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, a.k, 1, 1);
    demand(cudnn().cudnnCreateFilterDescriptor(&weight));
    demand(cudnn().cudnnSetFilter4dDescriptor(weight, type, inside, narrow(a.k), narrow(a.group_c()),
                                              narrow(h.taps), narrow(w.taps)));
    demand(cudnn().cudnnCreateConvolutionDescriptor(&conv));
    demand(cudnn().cudnnSetConvolution2dDescriptor(
        conv, narrow(h.begin), narrow(w.begin), narrow(h.stride), narrow(w.stride), narrow(h.dilation),
        narrow(w.dilation), a.flip ? CUDNN_CONVOLUTION : CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    demand(cudnn().cudnnSetConvolutionGroupCount(conv, narrow(a.groups)));
    demand(cudnn().cudnnSetConvolutionMathType(conv, bf16                            ? CUDNN_TENSOR_OP_MATH
                                                     : how == cudnn_arithmetic::tf32 ? CUDNN_DEFAULT_MATH
                                                                                     : CUDNN_FMA_MATH));
  }
  ~cudnn_problem() {
    cudnn().cudnnDestroyConvolutionDescriptor(conv);
    cudnn().cudnnDestroyFilterDescriptor(weight);
    for (const cudnnTensorDescriptor_t t : {x, y, y_f32, bias}) cudnn().cudnnDestroyTensorDescriptor(t);
  }
  cudnn_problem(const cudnn_problem&) = delete;
  cudnn_problem& operator=(const cudnn_problem&) = delete;

  /// The first of a list sorted by time that may be taken.
  template <class Found, std::size_t N, class Suits>
  void choose(const std::array<Found, N>& found, int count, Suits&& suits) {
    for (int i = 0; i < count && algorithm < 0; ++i) {
      const Found& f = found[static_cast<std::size_t>(i)];
      if (f.status != CUDNN_STATUS_SUCCESS || f.determinism != CUDNN_DETERMINISTIC || !suits(f.algo))
        continue;
      algorithm = f.algo;
      workspace = f.memory;
    }
    if (algorithm < 0) throw std::runtime_error("cuDNN has no algorithm of this arithmetic for the problem");
  }
};

using shared_problem = std::shared_ptr<cudnn_problem>;
constexpr float one = 1, zero = 0;

void note(stream& to, cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) to.fail(std::string("cuDNN: ") + cudnn().cudnnGetErrorString(status));
}

/// A tensor as matrices of channels × what is left of it (pixels, taps), as the caller has it.
struct matrices {
  index_t count, channels, others;
  bool last;

  std::size_t numbers() const { return static_cast<std::size_t>(count * channels * others); }
  matrix_steps steps(bool channels_last) const {
    return channels_last ? matrix_steps{channels * others, 1, channels}
                         : matrix_steps{channels * others, others, 1};
  }
};
matrices image_x(const cudnn_problem& p) { return {p.sizes.n, p.sizes.c, p.sizes.in_size(), p.last}; }
matrices image_y(const cudnn_problem& p) { return {p.sizes.n, p.sizes.k, p.sizes.out_size(), p.last}; }
matrices filters(const cudnn_problem& p) { return {p.sizes.k, p.sizes.group_c(), p.sizes.taps(), false}; }

/// One call: operands where and how cuDNN wants them, those that are not so in the workspace behind cuDNN's own.
class staged_call {
 public:
  staged_call(const cudnn_problem& p, const kernel_call& call, stream& to)
      : p_(p), to_(to), room_(static_cast<std::byte*>(call.workspace) + aligned(p.workspace)) {}

  /// Bytes for all that may be staged.
  static std::size_t bytes(const cudnn_problem& p) {
    std::size_t sum = aligned(p.workspace);
    for (const matrices& m : {image_x(p), image_y(p), filters(p)}) sum += aligned(4 * m.numbers());
    return sum;
  }
  const void* read(const tensor_ref& t, const matrices& m) {
    if (as_it_is(m)) return t.data;
    void* const there = take(m);
    const auto* const from = static_cast<const float*>(t.data);
    if (p_.bf16)
      turn(from, static_cast<bf16_bits*>(there), m, m.steps(m.last), m.steps(true));
    else
      turn(from, static_cast<float*>(there), m, m.steps(m.last), m.steps(true));
    return there;
  }
  void* place_for(const tensor_ref& t, const matrices& m) { return as_it_is(m) ? t.data : take(m); }
  void bring_back(const void* there, const tensor_ref& t, const matrices& m) {
    if (as_it_is(m)) return;
    auto* const out = static_cast<float*>(t.data);
    if (p_.bf16)
      turn(static_cast<const bf16_bits*>(there), out, m, m.steps(true), m.steps(m.last));
    else
      turn(static_cast<const float*>(there), out, m, m.steps(true), m.steps(m.last));
  }

 private:
  static std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
  bool as_it_is(const matrices& m) const { return !p_.bf16 && m.last == p_.last; }
  void* take(const matrices& m) {
    void* const at = room_;
    room_ += aligned(4 * m.numbers());
    return at;
  }
  template <class From, class To>
  void turn(const From* from, To* out, const matrices& m, const matrix_steps& read,
            const matrix_steps& write) {
    const turn_over_arguments<From, To> a{from, out, m.count, m.channels, m.others, read, write};
    to_.launch<turn_over<From, To>>(turn_over<From, To>::shape(a), a);
  }

  const cudnn_problem& p_;
  stream& to_;
  std::byte* room_;
};

program forward(const shared_problem& p) {
  std::array<cudnnConvolutionFwdAlgoPerf_t, 16> found{};
  int count = 0;
  demand(cudnn().cudnnFindConvolutionForwardAlgorithm(handle(), p->x, p->weight, p->conv, p->y, 16, &count,
                                                      found.data()));
  p->choose(found, count, [](cudnnConvolutionFwdAlgo_t a) {
    return a == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM ||
           a == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM || a == CUDNN_CONVOLUTION_FWD_ALGO_GEMM ||
           a == CUDNN_CONVOLUTION_FWD_ALGO_DIRECT;
  });
  return {[p](const kernel_call& call, stream& to) {
            note(to, cudnn().cudnnSetStream(handle(), static_cast<cudaStream_t>(to.handle())));
            staged_call staged(*p, call, to);
            const void* const x = staged.read(call.reads[0], image_x(*p));
            const void* const weight = staged.read(call.reads[1], filters(*p));
            void* const y = staged.place_for(call.writes[0], image_y(*p));
            note(to, cudnn().cudnnConvolutionForward(handle(), &one, p->x, x, p->weight, weight, p->conv,
                                                     static_cast<cudnnConvolutionFwdAlgo_t>(p->algorithm),
                                                     call.workspace, p->workspace, &zero, p->y, y));
            staged.bring_back(y, call.writes[0], image_y(*p));
            if (call.reads[2].data != nullptr)
              note(to, cudnn().cudnnAddTensor(handle(), &one, p->bias, call.reads[2].data, &one, p->y_f32,
                                              call.writes[0].data));
          },
          staged_call::bytes(*p)};
}

program backward_data(const shared_problem& p) {
  std::array<cudnnConvolutionBwdDataAlgoPerf_t, 16> found{};
  int count = 0;
  demand(cudnn().cudnnFindConvolutionBackwardDataAlgorithm(handle(), p->weight, p->y, p->conv, p->x, 16,
                                                           &count, found.data()));
  p->choose(found, count, [](cudnnConvolutionBwdDataAlgo_t a) {
    return a == CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 || a == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
  });
  return {[p](const kernel_call& call, stream& to) {
            note(to, cudnn().cudnnSetStream(handle(), static_cast<cudaStream_t>(to.handle())));
            staged_call staged(*p, call, to);
            const void* const dy = staged.read(call.reads[0], image_y(*p));
            const void* const weight = staged.read(call.reads[1], filters(*p));
            void* const dx = staged.place_for(call.writes[0], image_x(*p));
            note(to, cudnn().cudnnConvolutionBackwardData(
                         handle(), &one, p->weight, weight, p->y, dy, p->conv,
                         static_cast<cudnnConvolutionBwdDataAlgo_t>(p->algorithm), call.workspace,
                         p->workspace, &zero, p->x, dx));
            staged.bring_back(dx, call.writes[0], image_x(*p));
          },
          staged_call::bytes(*p)};
}

program backward_weights(const shared_problem& p) {
  std::array<cudnnConvolutionBwdFilterAlgoPerf_t, 16> found{};
  int count = 0;
  demand(cudnn().cudnnFindConvolutionBackwardFilterAlgorithm(handle(), p->x, p->y, p->conv, p->weight, 16,
                                                             &count, found.data()));
  p->choose(found, count, [](cudnnConvolutionBwdFilterAlgo_t a) {
    return a == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 || a == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 ||
           a == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3;
  });
  return {[p](const kernel_call& call, stream& to) {
            note(to, cudnn().cudnnSetStream(handle(), static_cast<cudaStream_t>(to.handle())));
            staged_call staged(*p, call, to);
            const void* const dy = staged.read(call.reads[0], image_y(*p));
            const void* const x = staged.read(call.reads[1], image_x(*p));
            void* const dweight = staged.place_for(call.writes[0], filters(*p));
            note(to, cudnn().cudnnConvolutionBackwardFilter(
                         handle(), &one, p->x, x, p->y, dy, p->conv,
                         static_cast<cudnnConvolutionBwdFilterAlgo_t>(p->algorithm), call.workspace,
                         p->workspace, &zero, p->weight, dweight));
            staged.bring_back(dweight, call.writes[0], filters(*p));
          },
          staged_call::bytes(*p)};
}

/// Why cuDNN's rows cannot run although there is a device.
std::string trouble() { return cudnn().trouble; }

#else

struct cudnn_problem {
  cudnn_problem(const kernel_problem&, cudnn_arithmetic) {}
};
using shared_problem = std::shared_ptr<cudnn_problem>;
program forward(const shared_problem&) { return {}; }
program backward_data(const shared_problem&) { return {}; }
program backward_weights(const shared_problem&) { return {}; }
std::string trouble() { return "built without cuDNN"; }

#endif

struct cudnn_row {
  cudnn_arithmetic how;
  const char *algorithm, *arithmetic;
};

void add_cudnn(registry& kernels, const std::string& pass, program (*make)(const shared_problem&),
               const cudnn_row& about) {
  row r{.layer = "conv2d", .pass = pass, .algorithm = about.algorithm};
  r.arithmetic = about.arithmetic;
  r.host = false;
  r.peer = true;
  r.supports = about.how == cudnn_arithmetic::bf16 ? cudnn_bf16_support : cudnn_support;
  r.make = [make, how = about.how](const kernel_problem& kp) {
    return make(std::make_shared<cudnn_problem>(kp, how));
  };
  std::string why;
  if (first_device(why) != nullptr) r.unavailable = trouble();
  add_rows(kernels, r);
}

}  // namespace

void register_cudnn_conv(registry& kernels) {
  for (const cudnn_row& about : {cudnn_row{cudnn_arithmetic::f32, "cudnn", "f32"},
                                 cudnn_row{cudnn_arithmetic::tf32, "cudnn_tf32", "tf32"},
                                 cudnn_row{cudnn_arithmetic::bf16, "cudnn_bf16", "bf16_f32"}}) {
    add_cudnn(kernels, "forward", forward, about);
    add_cudnn(kernels, "backward_data", backward_data, about);
    add_cudnn(kernels, "backward_weights", backward_weights, about);
  }
}

}  // namespace plumb
