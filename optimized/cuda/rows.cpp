#include "optimized/cuda/rows.hpp"

#include "optimized/cuda/device_plan.hpp"

namespace plumb::cuda {
namespace {

class host_plan final : public plan {
 public:
  explicit host_plan(program p) : program_(std::move(p)) {}
  std::size_t workspace_size() const override { return program_.workspace; }
  void run(const kernel_call& call) noexcept override {
    stream to(host_options{runs_++, call.threads});  // every run in another order
    program_.run(call, to);
    failure_ = to.failure();
  }
  std::string failure() const override { return failure_; }

 private:
  program program_;
  std::uint64_t runs_ = 1;
  std::string failure_;
};

class program_on_device final : public device_work {
 public:
  explicit program_on_device(program p) : program_(std::move(p)) {}
  std::size_t workspace_size() const override { return program_.workspace; }
  std::string enqueue(const kernel_call& there, void* handle) override {
    stream to(handle);
    program_.run(there, to);
    return to.failure();
  }

 private:
  program program_;
};

kernel common(const row& r) {
  kernel k;
  k.layer = r.layer;
  k.pass = r.pass;
  k.arithmetic = r.arithmetic;
  k.accuracy = r.accuracy;
  k.layouts = r.layouts;
  k.any_strides = r.any_strides;
  k.peer = r.peer;
  k.supports = r.supports;
  return k;
}

}  // namespace

void add_rows(plumb::registry& kernels, const row& r) {
  kernel k = common(r);
  k.name = r.layer + "." + r.pass + "/" + r.algorithm + "@cuda";
  k.device = "cuda";
  std::string why;
  device* const on = first_device(why);
  if (kernels.devices() == nullptr) kernels.place_by(std::make_shared<one_device>(on, why));
  if (why.empty() && r.capability != 0 && on->capability() / 10 != r.capability / 10)
    why = "needs compute capability " + std::to_string(r.capability / 10) + ".x, the device has " +
          std::to_string(on->capability() / 10) + "." + std::to_string(on->capability() % 10);
  k.unavailable = why.empty() ? r.unavailable : why;
  k.make_plan = [make = r.make, on](const kernel_problem& kp) {
    return std::make_unique<device_plan>(std::make_unique<program_on_device>(make(kp)), *on);
  };
  kernels.add(std::move(k));
  if (!r.host) return;
  k = common(r);
  k.name = r.layer + "." + r.pass + "/cuda_" + r.algorithm + "@host";
  k.device = "host";
  k.make_plan = [make = r.make](const kernel_problem& kp) { return std::make_unique<host_plan>(make(kp)); };
  kernels.add(std::move(k));
}

}  // namespace plumb::cuda
