// conv2d by cuDNN, opened at run time: no program of ours is linked to it, and where it is missing its rows say so.
// Two rows a pass: `cudnn`, f32 on the ordinary units, and `cudnn_tf32`, where it may round factors to tf32. Among its
// algorithms the fastest, by cuDNN's own measurement, of those whose results are the same every time and whose
// arithmetic is what the row declares; so not Winograd's nor Fourier's, which have bounds of another form.
// NCHW: in NHWC it wants the filters with channels last too, which ours are not.
// NVIDIA, cuDNN 9 API reference, cudnn_cnn library (the calls that came with version 7).
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/cuda/device.hpp"
#include "optimized/cuda/rows.hpp"

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
  cudnnTensorDescriptor_t x = nullptr, y = nullptr, bias = nullptr;
  cudnnFilterDescriptor_t weight = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;
  int algorithm = -1;
  std::size_t workspace = 0;

  cudnn_problem(const conv_arguments& a, bool tf32) {
    const auto narrow = [](index_t v) { return static_cast<int>(v); };
    const auto tensor = [&](cudnnTensorDescriptor_t& t, index_t n, index_t c, index_t h, index_t w) {
      demand(cudnn().cudnnCreateTensorDescriptor(&t));
      demand(cudnn().cudnnSetTensor4dDescriptor(t, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, narrow(n), narrow(c),
                                                narrow(h), narrow(w)));
    };
    const conv_axis &h = a.height(), &w = a.width();
    tensor(x, a.n, a.c, h.in, w.in);
    tensor(y, a.n, a.k, h.out, w.out);
    tensor(bias, 1, a.k, 1, 1);
    demand(cudnn().cudnnCreateFilterDescriptor(&weight));
    demand(cudnn().cudnnSetFilter4dDescriptor(weight, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, narrow(a.k),
                                              narrow(a.group_c()), narrow(h.taps), narrow(w.taps)));
    demand(cudnn().cudnnCreateConvolutionDescriptor(&conv));
    demand(cudnn().cudnnSetConvolution2dDescriptor(
        conv, narrow(h.begin), narrow(w.begin), narrow(h.stride), narrow(w.stride), narrow(h.dilation),
        narrow(w.dilation), a.flip ? CUDNN_CONVOLUTION : CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    demand(cudnn().cudnnSetConvolutionGroupCount(conv, narrow(a.groups)));
    demand(cudnn().cudnnSetConvolutionMathType(conv, tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH));
  }
  ~cudnn_problem() {
    cudnn().cudnnDestroyConvolutionDescriptor(conv);
    cudnn().cudnnDestroyFilterDescriptor(weight);
    for (const cudnnTensorDescriptor_t t : {x, y, bias}) cudnn().cudnnDestroyTensorDescriptor(t);
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
            note(to, cudnn().cudnnConvolutionForward(
                         handle(), &one, p->x, call.reads[0].data, p->weight, call.reads[1].data, p->conv,
                         static_cast<cudnnConvolutionFwdAlgo_t>(p->algorithm), call.workspace, p->workspace,
                         &zero, p->y, call.writes[0].data));
            if (call.reads[2].data != nullptr)
              note(to, cudnn().cudnnAddTensor(handle(), &one, p->bias, call.reads[2].data, &one, p->y,
                                              call.writes[0].data));
          },
          p->workspace};
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
            note(to, cudnn().cudnnConvolutionBackwardData(
                         handle(), &one, p->weight, call.reads[1].data, p->y, call.reads[0].data, p->conv,
                         static_cast<cudnnConvolutionBwdDataAlgo_t>(p->algorithm), call.workspace,
                         p->workspace, &zero, p->x, call.writes[0].data));
          },
          p->workspace};
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
            note(to, cudnn().cudnnConvolutionBackwardFilter(
                         handle(), &one, p->x, call.reads[1].data, p->y, call.reads[0].data, p->conv,
                         static_cast<cudnnConvolutionBwdFilterAlgo_t>(p->algorithm), call.workspace,
                         p->workspace, &zero, p->weight, call.writes[0].data));
          },
          p->workspace};
}

/// Why cuDNN's rows cannot run although there is a device.
std::string trouble() { return cudnn().trouble; }

#else

struct cudnn_problem {
  cudnn_problem(const conv_arguments&, bool) {}
};
using shared_problem = std::shared_ptr<cudnn_problem>;
program forward(const shared_problem&) { return {}; }
program backward_data(const shared_problem&) { return {}; }
program backward_weights(const shared_problem&) { return {}; }
std::string trouble() { return "built without cuDNN"; }

#endif

void add_cudnn(registry& kernels, const std::string& pass, program (*make)(const shared_problem&),
               bool tf32) {
  row r{
      .layer = "conv2d", .pass = pass, .algorithm = tf32 ? "cudnn_tf32" : "cudnn", .layouts = {layout::nchw}};
  r.arithmetic = tf32 ? "tf32" : "f32";
  r.host = false;
  r.peer = true;
  r.supports = cudnn_support;
  r.make = [make, tf32](const kernel_problem& kp) {
    return make(std::make_shared<cudnn_problem>(read_conv_arguments(kp.problem), tf32));
  };
  std::string why;
  if (first_device(why) != nullptr) r.unavailable = trouble();
  add_rows(kernels, r);
}

}  // namespace

void register_cudnn_conv(registry& kernels) {
  for (const bool tf32 : {false, true}) {
    add_cudnn(kernels, "forward", forward, tf32);
    add_cudnn(kernels, "backward_data", backward_data, tf32);
    add_cudnn(kernels, "backward_weights", backward_weights, tf32);
  }
}

}  // namespace plumb
