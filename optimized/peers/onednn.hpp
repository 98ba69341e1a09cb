// oneDNN behind the kernel contract: one primitive with its memory objects made in the plan, so that a run
// only sets addresses and executes. What oneDNN cannot do is declined; what it does wrong is a finding, never
// repaired here. oneAPI Deep Neural Network Library, developer guide; Debian's 2.6 with its OpenMP runtime.
#pragma once

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <utility>
#include <vector>

#include "reference/core/kernel.hpp"

namespace plumb::onednn {

/// The team size for whatever runs in this scope. oneDNN asks OpenMP when it makes a primitive and when it
/// runs one.
class thread_scope {
 public:
  explicit thread_scope(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~thread_scope() { omp_set_num_threads(before_); }
  thread_scope(const thread_scope&) = delete;
  thread_scope& operator=(const thread_scope&) = delete;

 private:
  int before_;
};

inline const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::memory::dims dims_of(const shape& s) { return {s.begin(), s.end()}; }

/// An f32 tensor as the contract lays it: dense in the layout of the call.
inline dnnl::memory::desc activation(const shape& s, layout order) {
  return {dims_of(s), dnnl::memory::data_type::f32,
          dims_of(order == layout::nhwc ? channels_last(s) : row_major(s))};
}

/// The scratchpad is the caller's, so that the sandbox guards it.
inline dnnl::primitive_attr attributes() {
  dnnl::primitive_attr a;
  a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return a;
}

/// A primitive and its operands. A failing execution leaves nothing sensible to return: it ends the process,
/// which the sandbox reports as a crash.
class step {
 public:
  step() = default;
  explicit step(dnnl::primitive primitive) : primitive_(std::move(primitive)) {}

  /// Adds an operand whose address is set later; the result is the number that `point` takes.
  std::size_t operand(int argument, const dnnl::memory::desc& d) {
    return operand(argument, dnnl::memory(d, cpu(), DNNL_MEMORY_NONE));
  }
  std::size_t operand(int argument, dnnl::memory memory) {
    arguments_.push_back({argument, memory.get()});
    memories_.push_back(std::move(memory));
    return memories_.size() - 1;
  }
  void point(std::size_t number, void* data) const {
    check(dnnl_memory_set_data_handle(memories_[number].get(), data),
          "oneDNN could not set the address of a tensor");
  }
  void run(const dnnl::stream& stream) const {
    check(dnnl_primitive_execute(primitive_.get(), stream.get(), static_cast<int>(arguments_.size()),
                                 arguments_.data()),
          "oneDNN could not execute a primitive");
  }

 private:
  static void check(dnnl_status_t status, const char* message) { dnnl::error::wrap_c_api(status, message); }

  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

/// Whether oneDNN has an implementation: makes the primitive descriptor and throws it away.
template <class MakeDescriptor>
support try_descriptor(const kernel_problem& kp, MakeDescriptor&& make) {
  const thread_scope threads(kp.threads);
  try {
    make();
    return support::yes();
  } catch (const dnnl::error& error) {
    return support::no(std::string("oneDNN declines: ") + error.what());
  }
}

/// A plan with nothing to do, for outputs without elements.
inline std::unique_ptr<plan> empty_plan() {
  return make_simple_plan([](const kernel_call&) {});
}

}  // namespace plumb::onednn
