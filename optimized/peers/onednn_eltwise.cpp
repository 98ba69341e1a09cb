// relu and sigmoid by oneDNN. Element by element, so a dense tensor of any layout is one row of numbers.
//   relu       eltwise_relu with slope 0; backward from dy and x
//   sigmoid    eltwise_logistic; backward from dy and the saved output y
// What these do with NaN, and how exact the logistic is, oneDNN does not promise: verification measures it.
#include "optimized/kernels.hpp"
#include "optimized/peers/peer_row.hpp"

#if PLUMB_HAS_ONEDNN
#include "optimized/peers/onednn.hpp"
#endif

namespace plumb {
namespace {

#if PLUMB_HAS_ONEDNN
namespace dnn = onednn;
using dnnl::algorithm;
using dnnl::memory;

memory::desc row_of(const kernel_problem& kp) {
  return {{kp.problem.shape_of("x").size()}, memory::data_type::f32, memory::format_tag::a};
}

/// swish is x·σ(alpha·x).
template <algorithm A>
constexpr float alpha = A == algorithm::eltwise_swish ? 1.0F : 0.0F;

template <algorithm A>
auto forward_descriptor(const kernel_problem& kp) {
  return dnnl::eltwise_forward::primitive_desc(
      {dnnl::prop_kind::forward_training, A, row_of(kp), alpha<A>, 0.0F}, dnn::attributes(), dnn::cpu());
}

template <algorithm A>
auto backward_descriptor(const kernel_problem& kp) {
  return dnnl::eltwise_backward::primitive_desc({A, row_of(kp), row_of(kp), alpha<A>, 0.0F},
                                                dnn::attributes(), dnn::cpu(), forward_descriptor<A>(kp));
}

/// Points each operand of the primitive at the tensor of the call with the same place.
class eltwise_plan final : public plan {
 public:
  template <class Primitive, class Descriptor>
  eltwise_plan(const kernel_problem& kp, Primitive primitive, const Descriptor& d,
               std::initializer_list<int> reads, int writes)
      : stream_(dnn::cpu()),
        main_(primitive),
        threads_(kp.threads),
        workspace_(d.scratchpad_desc().get_size()),
        implementation_(d.impl_info_str()) {
    for (const int argument : reads) reads_.push_back(main_.operand(argument, row_of(kp)));
    writes_ = main_.operand(writes, row_of(kp));
    scratchpad_ = main_.operand(DNNL_ARG_SCRATCHPAD, d.scratchpad_desc());
  }

  std::size_t workspace_size() const override { return workspace_; }
  std::string implementation() const override { return implementation_; }
  void run(const kernel_call& call) noexcept override {
    const dnn::thread_scope threads(threads_);
    for (std::size_t i = 0; i < reads_.size(); ++i) main_.point(reads_[i], call.reads[i].data);
    main_.point(writes_, call.writes[0].data);
    main_.point(scratchpad_, call.workspace);
    main_.run(stream_);
  }

 private:
  dnnl::stream stream_;
  dnn::step main_;
  int threads_;
  std::size_t workspace_;
  std::string implementation_;
  std::vector<std::size_t> reads_;
  std::size_t writes_ = 0, scratchpad_ = 0;
};

template <algorithm A>
struct forward_pass {
  static constexpr const char* name = "forward";
  static auto descriptor(const kernel_problem& kp) { return forward_descriptor<A>(kp); }
  static std::unique_ptr<plan> make(const kernel_problem& kp) {
    const auto d = descriptor(kp);
    return std::make_unique<eltwise_plan>(kp, dnnl::eltwise_forward(d), d,
                                          std::initializer_list<int>{DNNL_ARG_SRC}, DNNL_ARG_DST);
  }
};

/// `Saved` is what stands beside dy: the input x (DNNL_ARG_SRC) or the output y (DNNL_ARG_DST).
template <algorithm A, int Saved>
struct backward_pass {
  static constexpr const char* name = "backward";
  static auto descriptor(const kernel_problem& kp) { return backward_descriptor<A>(kp); }
  static std::unique_ptr<plan> make(const kernel_problem& kp) {
    const auto d = descriptor(kp);
    return std::make_unique<eltwise_plan>(kp, dnnl::eltwise_backward(d), d,
                                          std::initializer_list<int>{DNNL_ARG_DIFF_DST, Saved},
                                          DNNL_ARG_DIFF_SRC);
  }
};

template <class Pass>
support supports(const kernel_problem& kp) {
  const std::string unknown = kp.problem.first_unknown({"x", "y"});
  if (!unknown.empty()) return support::no("unknown attribute " + unknown);
  if (kp.problem.shape_of("x").size() == 0) return support::yes();
  return dnn::try_descriptor(kp, [&] { Pass::descriptor(kp); });
}

template <class Pass>
std::unique_ptr<plan> make_plan(const kernel_problem& kp) {
  if (kp.problem.shape_of("x").size() == 0) return dnn::empty_plan();
  const dnn::thread_scope threads(kp.threads);
  return Pass::make(kp);
}

template <class Pass>
constexpr peer_pass pass_of = {Pass::name, supports<Pass>, make_plan<Pass>};
constexpr peer_pass relu_passes[] = {pass_of<forward_pass<algorithm::eltwise_relu>>,
                                     pass_of<backward_pass<algorithm::eltwise_relu, DNNL_ARG_SRC>>};
constexpr peer_pass sigmoid_passes[] = {
    pass_of<forward_pass<algorithm::eltwise_logistic>>,
    pass_of<backward_pass<algorithm::eltwise_logistic_use_dst_for_bwd, DNNL_ARG_DST>>};
constexpr peer_pass tanh_passes[] = {
    pass_of<forward_pass<algorithm::eltwise_tanh>>,
    pass_of<backward_pass<algorithm::eltwise_tanh_use_dst_for_bwd, DNNL_ARG_DST>>};
constexpr peer_pass silu_passes[] = {pass_of<forward_pass<algorithm::eltwise_swish>>,
                                     pass_of<backward_pass<algorithm::eltwise_swish, DNNL_ARG_SRC>>};
#else
constexpr peer_pass relu_passes[] = {{"forward", nullptr, nullptr}, {"backward", nullptr, nullptr}};
constexpr auto &sigmoid_passes = relu_passes, &tanh_passes = relu_passes, &silu_passes = relu_passes;
#endif

}  // namespace

void register_onednn_eltwise(registry& kernels) {
  for (const peer_pass& pass : relu_passes) kernels.add(peer_row("relu", pass, "onednn", "oneDNN"));
  for (const peer_pass& pass : sigmoid_passes) kernels.add(peer_row("sigmoid", pass, "onednn", "oneDNN"));
  for (const peer_pass& pass : tanh_passes) kernels.add(peer_row("tanh", pass, "onednn", "oneDNN"));
  for (const peer_pass& pass : silu_passes) kernels.add(peer_row("silu", pass, "onednn", "oneDNN"));
}

}  // namespace plumb
