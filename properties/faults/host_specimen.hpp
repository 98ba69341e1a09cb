// Specimens of CUDA kernels as rows: a plan that runs one in host execution, in another order every time.
#pragma once

#include <chrono>
#include <thread>

#include "optimized/cuda/host_launch.hpp"
#include "properties/faults/specimen.hpp"

namespace plumb::faults {

class launches {
 public:
  launches(std::uint64_t seed, int threads) : how_{seed, threads} {}

  template <class Body>
  void here(std::int64_t blocks, const typename Body::arguments& a) {
    if (failure.empty()) failure = cuda::launch_on_host<Body>({blocks, Body::threads}, a, how_);
  }
  /// On another stream: done some time after the call.
  template <class Body>
  void elsewhere(std::int64_t blocks, const typename Body::arguments& a) const {
    std::thread([blocks, a, how = how_] {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      static_cast<void>(cuda::launch_on_host<Body>({blocks, Body::threads}, a, how));
    }).detach();
  }
  std::string failure;

 private:
  cuda::host_options how_;
};

/// A specimen made ready for one problem: `Specimen::launch(call, launches)`, and `workspace()` in bytes.
template <class Specimen>
class host_plan final : public plan {
 public:
  explicit host_plan(const problem& p) : specimen_(Specimen::read(p)) {}
  std::size_t workspace_size() const override { return specimen_.workspace(); }
  void run(const kernel_call& call) noexcept override {
    launches to(++runs_, call.threads);
    specimen_.launch(call, to);
    failure_ = to.failure;
  }
  std::string failure() const override { return failure_; }

 private:
  Specimen specimen_;
  std::uint64_t runs_ = 0;
  std::string failure_;
};

template <template <name> class Specimen, name F>
void add_one(registry& kernels, const std::string& layer, const std::string& pass, double ulps) {
  kernel k;
  k.layer = layer;
  k.pass = pass;
  k.name = layer + "." + pass + "/" + std::string(F.view()) + "@host";
  k.device = "host";
  k.layouts = {layout::nchw};
  k.accuracy.ulps = ulps;
  k.supports = [](const kernel_problem&) { return support::yes(); };
  k.make_plan = [](const kernel_problem& kp) { return std::make_unique<host_plan<Specimen<F>>>(kp.problem); };
  kernels.add(std::move(k));
}
/// Registers `Specimen<F>` for every fault named, and `Specimen<"honest">`.
template <template <name> class Specimen, name... Faults>
void add(registry& kernels, const std::string& layer, const std::string& pass, double ulps = 0) {
  add_one<Specimen, "honest">(kernels, layer, pass, ulps);
  (add_one<Specimen, Faults>(kernels, layer, pass, ulps), ...);
}

}  // namespace plumb::faults
