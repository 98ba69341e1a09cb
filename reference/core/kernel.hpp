// Kernels: code that computes one pass of one layer, and what it declares about itself.
//
// A kernel is a descriptor plus a factory of plans. A plan is the kernel made ready for one problem: it may
// allocate and compile (vendor libraries do), it packs weights in `prepare`, and its `run` neither throws nor
// allocates. Nothing here is believed: the sandbox measures what it can (repeatability, bounds, writes), and
// the declared arithmetic only selects which error bound is demanded.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reference/core/dtype.hpp"
#include "reference/core/problem.hpp"
#include "reference/core/tensor_view.hpp"

namespace plumb {

/// How the 3-D to 5-D tensors of a call lie in memory; weights and tensors of rank < 3 are always row major.
enum class layout : std::uint8_t { nchw, nhwc };
constexpr std::string_view name_of(layout l) { return l == layout::nchw ? "nchw" : "nhwc"; }

/// none: results may differ from run to run. repeatable: the same bits for the same inputs and thread count.
/// thread_invariant: the same bits for every thread count too.
enum class determinism : std::uint8_t { none, repeatable, thread_invariant };

/// A strided tensor of a type known at run time. `data == nullptr` stands for an optional tensor left out.
struct tensor_ref {
  void* data = nullptr;
  dtype type = dtype::f32;
  shape extents;
  shape strides;  ///< in elements

  template <class T>
  tensor_view<T> view() const {
    return {static_cast<T*>(data), extents, strides};
  }
};

/// What `supports` and the plan factory see: the resolved problem (see problem.hpp), and how the call will
/// look.
struct kernel_problem {
  plumb::problem problem;
  dtype type = dtype::f32;
  plumb::layout layout = layout::nchw;
  int threads = 1;
  std::string canonical = {};  ///< the same problem with defaults left out: the text that plugins see
};

/// One call. `reads` and `writes` follow the order in which the layer declares them for the pass.
struct kernel_call {
  std::span<const tensor_ref> reads;
  std::span<const tensor_ref> writes;  ///< overwritten, never accumulated into
  void* workspace = nullptr;  ///< at least workspace_size() bytes, 64-byte aligned, contents arbitrary
  int threads = 1;
};

class plan {
 public:
  virtual ~plan() = default;
  /// Bytes of scratch memory that `run` needs.
  virtual std::size_t workspace_size() const { return 0; }
  /// Called before the first run and again whenever the weights change; the reads are the same as the run's.
  virtual void prepare(std::span<const tensor_ref> /*reads*/) {}
  virtual void run(const kernel_call& call) noexcept = 0;
  /// The implementation behind a vendor's front (oneDNN's `brgconv:avx512_core`), for the record.
  virtual std::string implementation() const { return {}; }
  /// What went wrong in the last call of `prepare` or `run` (a plugin's error code, a launch that failed); empty:
  /// nothing that the plan knows of.
  virtual std::string failure() const { return {}; }
};

/// Yes, or no with the reason.
struct support {
  bool ok = true;
  std::string reason;
  static support yes() { return {}; }
  static support no(std::string why) { return {false, std::move(why)}; }
};

/// A declared accuracy for element-wise kernels, |ŷ - y| ≤ max(ulps·ulp(y), scale·u·|x|); 0 means not
/// declared, then the bound follows from the arithmetic.
struct accuracy {
  double ulps = 0;
};

struct kernel {
  std::string name;   ///< `conv2d.forward/direct@avx3`
  std::string layer;  ///< `conv2d`
  std::string pass;   ///< `forward`, `backward_data`, …
  std::vector<dtype> types = {dtype::f32};
  std::vector<plumb::layout> layouts = {layout::nchw, layout::nhwc};
  /// `cpu`; `cuda`; or `host`, a CUDA kernel's own source run on the CPU: judged like any other, never timed.
  std::string device = "cpu";
  std::string arithmetic = "f32";  ///< selects the bound: exact, f32, tf32, bf16_f32, winograd(4,3,…), …
  plumb::accuracy accuracy;
  plumb::determinism determinism = determinism::thread_invariant;
  bool any_strides = false;  ///< accepts every stride, not only the dense layouts above
  bool peer = false;         ///< a vendor's: its failures are findings, counted apart
  std::string unavailable;   ///< not empty: why it cannot run here (no CUDA device, no AVX-512)

  std::function<support(const kernel_problem&)> supports;
  std::function<std::unique_ptr<plan>(const kernel_problem&)> make_plan;
};

/// A plan without state: `run` is all there is.
template <class Run>
class simple_plan final : public plan {
 public:
  explicit simple_plan(Run function, std::size_t workspace = 0)
      : run_(std::move(function)), workspace_(workspace) {}
  std::size_t workspace_size() const override { return workspace_; }
  void run(const kernel_call& call) noexcept override { run_(call); }

 private:
  Run run_;
  std::size_t workspace_;
};

template <class Run>
std::unique_ptr<plan> make_simple_plan(Run run, std::size_t workspace = 0) {
  return std::make_unique<simple_plan<Run>>(std::move(run), workspace);
}

}  // namespace plumb
