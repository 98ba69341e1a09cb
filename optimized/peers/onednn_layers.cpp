// Pooling by averages, batch norm, softmax, LRN, upsampling and the fully connected layer by oneDNN: the peers of our
// memory-bound kernels. Activations lie as the call has them; weights too. What a primitive keeps for itself (LRN's and
// batch norm's workspace) is not asked for: the passes read what the contract saves.
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
using dnnl::prop_kind;

/// A primitive whose operands are tensors of the call: `arguments` are those of the reads, then of the writes; 0 for a
/// tensor that it does not want.
class plain_plan final : public plan {
 public:
  template <class Primitive, class Descriptor>
  plain_plan(const kernel_problem& kp, Primitive primitive, const Descriptor& d,
             std::vector<std::pair<int, memory::desc>> operands)
      : stream_(dnn::cpu()),
        threads_(kp.threads),
        workspace_(d.scratchpad_desc().get_size()),
        implementation_(d.impl_info_str()),
        step_(std::move(primitive)) {
    for (auto& [argument, description] : operands)
      numbers_.push_back(argument == 0 ? none : step_.operand(argument, description));
    scratchpad_ = step_.operand(DNNL_ARG_SCRATCHPAD, d.scratchpad_desc());
  }

  std::size_t workspace_size() const override { return workspace_; }
  std::string implementation() const override { return implementation_; }

  void run(const kernel_call& call) noexcept override {
    const dnn::thread_scope threads(threads_);
    for (std::size_t i = 0; i < numbers_.size(); ++i)
      if (numbers_[i] != none)
        step_.point(numbers_[i],
                    i < call.reads.size() ? call.reads[i].data : call.writes[i - call.reads.size()].data);
    step_.point(scratchpad_, call.workspace);
    step_.run(stream_);
  }

 private:
  static constexpr std::size_t none = ~std::size_t{0};
  dnnl::stream stream_;
  int threads_;
  std::size_t workspace_;
  std::string implementation_;
  dnn::step step_;
  std::vector<std::size_t> numbers_;
  std::size_t scratchpad_ = 0;
};

memory::desc of(const kernel_problem& kp, const char* tensor) {
  return dnn::activation(kp.problem.shape_of(tensor), kp.layout);
}
memory::desc vector_of(const kernel_problem& kp, const char* tensor) {
  return {dnn::dims_of(kp.problem.shape_of(tensor)), memory::data_type::f32, memory::format_tag::a};
}

template <class Descriptor, class Primitive>
std::unique_ptr<plan> planned(const kernel_problem& kp, const Descriptor& d, Primitive p,
                              std::vector<std::pair<int, memory::desc>> operands) {
  return std::make_unique<plain_plan>(kp, std::move(p), d, std::move(operands));
}

// Each pass: which attributes it knows, its descriptor, and its plan. -------------------------------------------

struct avg_pool {
  static constexpr const char* layer = "avg_pool2d";
  static std::string refusal(const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown(
        {"x", "y", "window", "stride", "pad", "ceil_mode", "count_include_pad", "divisor_override"});
    if (!unknown.empty()) return "unknown attribute " + unknown;
    if (kp.problem.has("divisor_override") && kp.problem.integer("divisor_override") != 0)
      return "oneDNN has no divisor_override";
    if (kp.problem.flag("ceil_mode")) return "oneDNN counts what a window overhangs";
    return {};
  }
  static auto forward(const kernel_problem& kp) {
    const auto pad = kp.problem.integers("pad");
    const auto window = kp.problem.integers("window"), stride = kp.problem.integers("stride");
    return dnnl::pooling_forward::primitive_desc({prop_kind::forward_training,
                                                  how(kp),
                                                  of(kp, "x"),
                                                  of(kp, "y"),
                                                  stride,
                                                  window,
                                                  {pad[0], pad[2]},
                                                  {pad[1], pad[3]}},
                                                 dnn::attributes(), dnn::cpu());
  }
  static auto backward(const kernel_problem& kp) {
    const auto pad = kp.problem.integers("pad");
    const auto window = kp.problem.integers("window"), stride = kp.problem.integers("stride");
    return dnnl::pooling_backward::primitive_desc(
        {how(kp), of(kp, "x"), of(kp, "y"), stride, window, {pad[0], pad[2]}, {pad[1], pad[3]}},
        dnn::attributes(), dnn::cpu(), forward(kp));
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    return planned(kp, d, dnnl::pooling_forward(d),
                   {{DNNL_ARG_SRC, of(kp, "x")}, {DNNL_ARG_DST, of(kp, "y")}});
  }
  static std::unique_ptr<plan> plan_backward(const kernel_problem& kp) {
    const auto d = backward(kp);
    return planned(kp, d, dnnl::pooling_backward(d),
                   {{DNNL_ARG_DIFF_DST, of(kp, "y")}, {DNNL_ARG_DIFF_SRC, of(kp, "x")}});
  }

 private:
  static algorithm how(const kernel_problem& kp) {
    return kp.problem.flag("count_include_pad") ? algorithm::pooling_avg_include_padding
                                                : algorithm::pooling_avg_exclude_padding;
  }
};

struct batch_norm {
  static constexpr const char* layer = "batch_norm";
  static std::string refusal(const kernel_problem& kp) {
    const std::string unknown =
        kp.problem.first_unknown({"x", "y", "gamma", "beta", "running_mean", "running_var", "mean", "invstd",
                                  "new_running_mean", "new_running_var", "mode", "eps", "momentum"});
    if (!unknown.empty()) return "unknown attribute " + unknown;
    if (kp.problem.text("mode") != "eval")
      return "oneDNN saves the variance, this layer its inverse deviation: timed in mode=eval only";
    return kp.problem.has("gamma") && kp.problem.has("beta") ? "" : "only with gamma and beta";
  }
  static auto forward(const kernel_problem& kp) {
    using dnnl::normalization_flags;
    return dnnl::batch_normalization_forward::primitive_desc(
        {prop_kind::forward_inference, of(kp, "x"), static_cast<float>(kp.problem.number("eps")),
         normalization_flags::use_global_stats | normalization_flags::use_scale |
             normalization_flags::use_shift},
        dnn::attributes(), dnn::cpu());
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    const memory::desc channel = vector_of(kp, "gamma");
    return planned(kp, d, dnnl::batch_normalization_forward(d),
                   {{DNNL_ARG_SRC, of(kp, "x")},
                    {DNNL_ARG_SCALE, channel},
                    {DNNL_ARG_SHIFT, channel},
                    {DNNL_ARG_MEAN, channel},
                    {DNNL_ARG_VARIANCE, channel},
                    {DNNL_ARG_DST, of(kp, "y")}});
  }
};

template <algorithm A>
struct upsample {
  static constexpr const char* layer =
      A == algorithm::resampling_nearest ? "upsample_nearest2d" : "upsample_bilinear2d";
  static std::string refusal(const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y", "size", "scale", "align_corners"});
    if (!unknown.empty()) return "unknown attribute " + unknown;
    if (kp.problem.has("align_corners") && kp.problem.flag("align_corners"))
      return "oneDNN has no align_corners";
    const shape x = kp.problem.shape_of("x"), y = kp.problem.shape_of("y");
    return y[2] % x[2] == 0 && y[3] % x[3] == 0 ? "" : "compared for whole factors only";
  }
  static auto forward(const kernel_problem& kp) {
    return dnnl::resampling_forward::primitive_desc(
        {prop_kind::forward_training, A, of(kp, "x"), of(kp, "y")}, dnn::attributes(), dnn::cpu());
  }
  static auto backward(const kernel_problem& kp) {
    return dnnl::resampling_backward::primitive_desc({A, of(kp, "x"), of(kp, "y")}, dnn::attributes(),
                                                     dnn::cpu(), forward(kp));
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    return planned(kp, d, dnnl::resampling_forward(d),
                   {{DNNL_ARG_SRC, of(kp, "x")}, {DNNL_ARG_DST, of(kp, "y")}});
  }
  static std::unique_ptr<plan> plan_backward(const kernel_problem& kp) {
    const auto d = backward(kp);
    return planned(kp, d, dnnl::resampling_backward(d),
                   {{DNNL_ARG_DIFF_DST, of(kp, "y")}, {DNNL_ARG_DIFF_SRC, of(kp, "x")}});
  }
};

template <bool Log>
struct softmax {
  static constexpr const char* layer = Log ? "log_softmax" : "softmax";
  static std::string refusal(const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y", "axis"});
    return unknown.empty() ? "" : "unknown attribute " + unknown;
  }
  static int axis(const kernel_problem& kp) { return static_cast<int>(kp.problem.integer("axis")); }
  static auto forward(const kernel_problem& kp) {
    if constexpr (Log)
      return dnnl::logsoftmax_forward::primitive_desc({prop_kind::forward_training, of(kp, "x"), axis(kp)},
                                                      dnn::attributes(), dnn::cpu());
    else
      return dnnl::softmax_forward::primitive_desc({prop_kind::forward_training, of(kp, "x"), axis(kp)},
                                                   dnn::attributes(), dnn::cpu());
  }
  static auto backward(const kernel_problem& kp) {
    if constexpr (Log)
      return dnnl::logsoftmax_backward::primitive_desc({of(kp, "x"), of(kp, "y"), axis(kp)},
                                                       dnn::attributes(), dnn::cpu(), forward(kp));
    else
      return dnnl::softmax_backward::primitive_desc({of(kp, "x"), of(kp, "y"), axis(kp)}, dnn::attributes(),
                                                    dnn::cpu(), forward(kp));
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    const dnnl::primitive p(d.get());
    return planned(kp, d, p, {{DNNL_ARG_SRC, of(kp, "x")}, {DNNL_ARG_DST, of(kp, "y")}});
  }
  static std::unique_ptr<plan> plan_backward(const kernel_problem& kp) {
    const auto d = backward(kp);
    const dnnl::primitive p(d.get());
    return planned(
        kp, d, p,
        {{DNNL_ARG_DIFF_DST, of(kp, "y")}, {DNNL_ARG_DST, of(kp, "y")}, {DNNL_ARG_DIFF_SRC, of(kp, "x")}});
  }
};

struct lrn {
  static constexpr const char* layer = "lrn";
  static std::string refusal(const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown({"x", "y", "size", "alpha", "beta", "k"});
    if (!unknown.empty()) return "unknown attribute " + unknown;
    if (kp.problem.shape_of("x").rank() != 4) return "compared in two dimensions only";
    return kp.problem.integer("size") % 2 == 1 ? "" : "oneDNN has odd windows only";
  }
  static auto forward(const kernel_problem& kp) {
    const problem& p = kp.problem;
    const auto number = [&p](const char* name) { return static_cast<float>(p.number(name)); };
    return dnnl::lrn_forward::primitive_desc(
        {prop_kind::forward_inference, algorithm::lrn_across_channels, of(kp, "x"), p.integer("size"),
         number("alpha"), number("beta"), number("k")},
        dnn::attributes(), dnn::cpu());
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    return planned(kp, d, dnnl::lrn_forward(d), {{DNNL_ARG_SRC, of(kp, "x")}, {DNNL_ARG_DST, of(kp, "y")}});
  }
};

// From a pass to its row. ----------------------------------------------------------------------------------------

template <class Layer, bool Forward>
auto descriptor(const kernel_problem& kp) {
  if constexpr (Forward)
    return Layer::forward(kp);
  else
    return Layer::backward(kp);
}

bool nothing_to_do(const kernel_problem& kp) {
  return kp.problem.shape_of("x").size() == 0 || kp.problem.shape_of("y").size() == 0;
}

template <class Layer, bool Forward>
support supports(const kernel_problem& kp) {
  if (const std::string reason = Layer::refusal(kp); !reason.empty()) return support::no(reason);
  if (nothing_to_do(kp)) return support::no("no elements");
  return dnn::try_descriptor(kp, [&] { descriptor<Layer, Forward>(kp); });
}

template <class Layer, bool Forward>
std::unique_ptr<plan> make_plan(const kernel_problem& kp) {
  const dnn::thread_scope threads(kp.threads);
  if constexpr (Forward)
    return Layer::plan_forward(kp);
  else
    return Layer::plan_backward(kp);
}

template <class Layer>
void add_forward(registry& kernels) {
  kernels.add(
      peer_row(Layer::layer, {"forward", supports<Layer, true>, make_plan<Layer, true>}, "onednn", "oneDNN"));
}
template <class Layer>
void add_both(registry& kernels) {
  add_forward<Layer>(kernels);
  kernels.add(peer_row(Layer::layer, {"backward", supports<Layer, false>, make_plan<Layer, false>}, "onednn",
                       "oneDNN"));
}
#endif

}  // namespace

void register_onednn_layers([[maybe_unused]] registry& kernels) {
#if PLUMB_HAS_ONEDNN
  add_both<avg_pool>(kernels);
  add_forward<batch_norm>(kernels);
  add_both<softmax<false>>(kernels);
  add_both<softmax<true>>(kernels);
  add_forward<lrn>(kernels);
  add_both<upsample<algorithm::resampling_nearest>>(kernels);
  add_both<upsample<algorithm::resampling_linear>>(kernels);
#endif
}

}  // namespace plumb
