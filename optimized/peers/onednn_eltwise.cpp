// Activations by oneDNN. Element by element, so a dense tensor of any layout is one row of numbers. Backward passes read
// dy and what the contract saves: the input x, or the output y where oneDNN has an algorithm for it.
// What these do with NaN, and how exact they are, oneDNN does not promise: verification measures it.
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

float number(const problem& p, const char* name) { return static_cast<float>(p.number(name)); }

/// One layer: the algorithms of its passes, what stands beside dy (the input x, DNNL_ARG_SRC, or the output y,
/// DNNL_ARG_DST), oneDNN's alpha, and why a problem is not oneDNN's.
struct eltwise_layer {
  const char* name;
  algorithm forward, backward;
  int saved;
  float (*alpha)(const problem&) = [](const problem&) { return 0.0F; };
  const char* (*refusal)(const problem&) = [](const problem&) { return ""; };
};
const eltwise_layer layers[] = {
    {"relu", algorithm::eltwise_relu, algorithm::eltwise_relu, DNNL_ARG_SRC},
    {"sigmoid", algorithm::eltwise_logistic, algorithm::eltwise_logistic_use_dst_for_bwd, DNNL_ARG_DST},
    {"tanh", algorithm::eltwise_tanh, algorithm::eltwise_tanh_use_dst_for_bwd, DNNL_ARG_DST},
    {"silu", algorithm::eltwise_swish, algorithm::eltwise_swish, DNNL_ARG_SRC,
     [](const problem&) { return 1.0F; }},  // x·σ(alpha·x)
    {"leaky_relu", algorithm::eltwise_relu, algorithm::eltwise_relu, DNNL_ARG_SRC,
     [](const problem& p) { return number(p, "negative_slope"); }},
    {"elu", algorithm::eltwise_elu, algorithm::eltwise_elu, DNNL_ARG_SRC,
     [](const problem& p) { return number(p, "alpha"); }},
    {"gelu", algorithm::eltwise_gelu_erf, algorithm::eltwise_gelu_erf, DNNL_ARG_SRC},
    {"mish", algorithm::eltwise_mish, algorithm::eltwise_mish, DNNL_ARG_SRC},
    {"hard_swish", algorithm::eltwise_hardswish, algorithm::eltwise_hardswish, DNNL_ARG_SRC},
    {"softplus", algorithm::eltwise_soft_relu, algorithm::eltwise_soft_relu, DNNL_ARG_SRC,
     [](const problem&) { return 0.0F; },
     [](const problem& p) {
       return p.number("beta") == 1 && p.number("threshold") == 20 ? ""
                                                                   : "compared for beta=1 threshold=20 only";
     }},
    {"exp", algorithm::eltwise_exp, algorithm::eltwise_exp_use_dst_for_bwd, DNNL_ARG_DST},
    {"square", algorithm::eltwise_square, algorithm::eltwise_square, DNNL_ARG_SRC}};

/// gelu's other form is an algorithm of its own.
algorithm chosen(algorithm given, const problem& p) {
  return p.has("approximate") && p.text("approximate") == "tanh" ? algorithm::eltwise_gelu_tanh : given;
}

auto forward_descriptor(const eltwise_layer& layer, algorithm how, const kernel_problem& kp) {
  return dnnl::eltwise_forward::primitive_desc(
      {dnnl::prop_kind::forward_training, chosen(how, kp.problem), row_of(kp), layer.alpha(kp.problem), 0.0F},
      dnn::attributes(), dnn::cpu());
}

auto backward_descriptor(const eltwise_layer& layer, const kernel_problem& kp) {
  return dnnl::eltwise_backward::primitive_desc(
      {chosen(layer.backward, kp.problem), row_of(kp), row_of(kp), layer.alpha(kp.problem), 0.0F},
      dnn::attributes(), dnn::cpu(), forward_descriptor(layer, layer.backward, kp));
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

support supports(const eltwise_layer& layer, bool forward, const kernel_problem& kp) {
  const std::string unknown =
      kp.problem.first_unknown({"x", "y", "negative_slope", "alpha", "approximate", "beta", "threshold"});
  if (!unknown.empty()) return support::no("unknown attribute " + unknown);
  if (const char* reason = layer.refusal(kp.problem); *reason != 0) return support::no(reason);
  if (kp.problem.shape_of("x").size() == 0) return support::yes();
  return dnn::try_descriptor(kp, [&] {
    if (forward)
      forward_descriptor(layer, layer.forward, kp);
    else
      backward_descriptor(layer, kp);
  });
}

std::unique_ptr<plan> make_plan(const eltwise_layer& layer, bool forward, const kernel_problem& kp) {
  if (kp.problem.shape_of("x").size() == 0) return dnn::empty_plan();
  const dnn::thread_scope threads(kp.threads);
  if (forward) {
    const auto d = forward_descriptor(layer, layer.forward, kp);
    return std::make_unique<eltwise_plan>(kp, dnnl::eltwise_forward(d), d,
                                          std::initializer_list<int>{DNNL_ARG_SRC}, DNNL_ARG_DST);
  }
  const auto d = backward_descriptor(layer, kp);
  return std::make_unique<eltwise_plan>(kp, dnnl::eltwise_backward(d), d,
                                        std::initializer_list<int>{DNNL_ARG_DIFF_DST, layer.saved},
                                        DNNL_ARG_DIFF_SRC);
}

kernel row(const eltwise_layer& layer, bool forward) {
  kernel k = peer_row(layer.name, {forward ? "forward" : "backward", nullptr, nullptr}, "onednn", "oneDNN");
  k.unavailable.clear();
  k.supports = [&layer, forward](const kernel_problem& kp) { return supports(layer, forward, kp); };
  k.make_plan = [&layer, forward](const kernel_problem& kp) { return make_plan(layer, forward, kp); };
  return k;
}
#else
struct eltwise_layer {
  const char* name;
};
constexpr eltwise_layer layers[] = {{"relu"},       {"sigmoid"},  {"tanh"}, {"silu"},
                                    {"leaky_relu"}, {"elu"},      {"gelu"}, {"mish"},
                                    {"hard_swish"}, {"softplus"}, {"exp"},  {"square"}};

kernel row(const eltwise_layer& layer, bool forward) {
  return peer_row(layer.name, {forward ? "forward" : "backward", nullptr, nullptr}, "onednn", "oneDNN");
}
#endif

}  // namespace

void register_onednn_eltwise(registry& kernels) {
  for (const eltwise_layer& layer : layers)
    for (const bool forward : {true, false}) kernels.add(row(layer, forward));
}

}  // namespace plumb
