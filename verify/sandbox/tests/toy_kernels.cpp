// The kernels of the test worker: they copy a tensor, in several ways, or refuse to.
#include <omp.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "optimized/cuda/device_plan.hpp"
#include "optimized/tools/device_array.hpp"
#include "reference/core/registry.hpp"

namespace plumb {
namespace {

kernel copy_kernel(const std::string& algorithm,
                   std::function<std::unique_ptr<plan>(const kernel_problem&)> make) {
  kernel k;
  k.name = "copy.forward/" + algorithm + "@test";
  k.layer = "copy";
  k.pass = "forward";
  k.any_strides = true;
  k.supports = [](const kernel_problem& p) {
    const std::string unknown = p.problem.first_unknown({"x", "y"});
    return unknown.empty() ? support::yes() : support::no("does not know `" + unknown + "`");
  };
  k.make_plan = std::move(make);
  return k;
}

void copy(const kernel_call& call) {
  const auto x = call.reads[0].view<const float>();
  const auto y = call.writes[0].view<float>();
  for_each_index(x.extents(), [&](const shape& at) { y(at) = x(at); });
}

void copy_with_a_team(const kernel_call& call) {
  const auto* const x = static_cast<const float*>(call.reads[0].data);
  auto* const y = static_cast<float*>(call.writes[0].data);
  const index_t count = call.reads[0].extents.size();
#pragma omp parallel for num_threads(call.threads)
  for (index_t i = 0; i < count; ++i) y[i] = x[i];
}

/// Whether threads of this process are put to sleep at every barrier.
void tell_waiting(const kernel_call& call) {
  const char* const policy = std::getenv("OMP_WAIT_POLICY");
  static_cast<float*>(call.writes[0].data)[0] =
      policy != nullptr && std::string_view(policy) == "passive" ? 1.0F : 0.0F;
}

/// Copies by way of the workspace, and writes `overrun` elements past its end.
class scratch_plan final : public plan {
 public:
  scratch_plan(index_t count, index_t overrun) : count_(count), overrun_(overrun) {}
  std::size_t workspace_size() const override { return static_cast<std::size_t>(count_) * sizeof(float); }
  void run(const kernel_call& call) noexcept override {
    auto* const scratch = static_cast<float*>(call.workspace);
    const auto* const x = static_cast<const float*>(call.reads[0].data);
    auto* const y = static_cast<float*>(call.writes[0].data);
    for (index_t i = 0; i < count_; ++i) scratch[i] = x[i];
    for (index_t i = 0; i < count_; ++i) y[i] = scratch[i];
    for (index_t i = 0; i < overrun_; ++i) scratch[count_ + i] = 1;
  }
  std::string implementation() const override { return "scratch"; }

 private:
  index_t count_, overrun_;
};

/// Writes how often it was prepared, and by how many runs of this plan it was preceded.
class counting_plan final : public plan {
 public:
  void prepare(std::span<const tensor_ref>) override { ++prepared_; }
  void run(const kernel_call& call) noexcept override {
    auto* const y = static_cast<float*>(call.writes[0].data);
    y[0] = static_cast<float>(prepared_);
    y[1] = static_cast<float>(runs_++);
  }

 private:
  int prepared_ = 0;
  int runs_ = 0;
};

class dying_plan final : public plan {
 public:
  ~dying_plan() override { ::_exit(9); }
  void run(const kernel_call& call) noexcept override { copy(call); }
};

std::unique_ptr<plan> scratch(const kernel_problem& p, index_t overrun) {
  return std::make_unique<scratch_plan>(p.problem.shape_of("x").size(), overrun);
}

}  // namespace

void register_all_kernels(registry& kernels) {
  static cuda::ordinary_memory memory;
  kernels.place_by(std::make_shared<cuda::one_device>(&memory, ""));
  kernels.add(copy_kernel("plain", [](const kernel_problem&) { return make_simple_plan(copy); }));
  kernels.add(copy_kernel("waiting", [](const kernel_problem&) { return make_simple_plan(tell_waiting); }));
  kernels.add(copy_kernel("team", [](const kernel_problem&) { return make_simple_plan(copy_with_a_team); }));
  kernels.add(copy_kernel("scratch", [](const kernel_problem& p) { return scratch(p, 0); }));
  kernels.add(copy_kernel("scratch_overrun", [](const kernel_problem& p) { return scratch(p, 1); }));
  kernels.add(
      copy_kernel("counting", [](const kernel_problem&) { return std::make_unique<counting_plan>(); }));
  kernels.add(copy_kernel("dies_when_released",
                          [](const kernel_problem&) { return std::make_unique<dying_plan>(); }));
  kernels.add(copy_kernel("throws", [](const kernel_problem&) -> std::unique_ptr<plan> {
    throw std::runtime_error("no plan today");
  }));
  kernel full = copy_kernel("described", [](const kernel_problem&) { return make_simple_plan(copy); });
  full.types = {dtype::f32, dtype::bf16};
  full.layouts = {layout::nhwc};
  full.arithmetic = "bf16_f32";
  full.accuracy.ulps = 1.5;
  full.determinism = determinism::repeatable;
  full.any_strides = false;
  full.peer = true;
  full.unavailable = "no such device";
  kernels.add(full);
}

}  // namespace plumb
