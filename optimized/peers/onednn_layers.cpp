// Pooling, batch and layer norm, softmax, LRN and upsampling by oneDNN: the peers of our memory-bound kernels. Activations lie as the call has them; weights too. What a primitive keeps for itself (LRN's and
// batch norm's workspace) is not asked for: the passes read what the contract saves.
#include <cmath>

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
  using hook = std::function<void(const kernel_call&)>;

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

  /// A tensor of the plan's own, filled or read by the hooks.
  memory own(int argument, const memory::desc& description) {
    memory m(description, dnn::cpu());
    step_.operand(argument, m);
    return m;
  }
  /// What stands between the contract's tensors and oneDNN's: the variance for the inverse deviation, indices for
  /// window offsets. Timed with the primitive, as whoever uses it would pay for it.
  void set_hooks(hook before, hook after) {
    before_ = std::move(before);
    after_ = std::move(after);
  }

  std::size_t workspace_size() const override { return workspace_; }
  std::string implementation() const override { return implementation_; }

  void run(const kernel_call& call) noexcept override {
    const dnn::thread_scope threads(threads_);
    if (before_) before_(call);
    for (std::size_t i = 0; i < numbers_.size(); ++i)
      if (numbers_[i] != none)
        step_.point(numbers_[i],
                    i < call.reads.size() ? call.reads[i].data : call.writes[i - call.reads.size()].data);
    step_.point(scratchpad_, call.workspace);
    step_.run(stream_);
    if (after_) after_(call);
  }

 private:
  static constexpr std::size_t none = ~std::size_t{0};
  hook before_, after_;
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
std::unique_ptr<plain_plan> planned(const kernel_problem& kp, const Descriptor& d, Primitive p,
                                    std::vector<std::pair<int, memory::desc>> operands) {
  return std::make_unique<plain_plan>(kp, std::move(p), d, std::move(operands));
}

/// The variance that oneDNN reads, from the inverse deviation that the contract saves as read `number`.
void variance_from_deviation(plain_plan& p, const memory::desc& description, std::size_t number) {
  const memory variance = p.own(DNNL_ARG_VARIANCE, description);
  p.set_hooks(
      [variance, number](const kernel_call& call) {
        auto* to = static_cast<float*>(variance.get_data_handle());
        const auto* from = static_cast<const float*>(call.reads[number].data);
        for (index_t i = 0; i < call.reads[number].extents.size(); ++i)
          to[i] = static_cast<float>(1 / (static_cast<double>(from[i]) * static_cast<double>(from[i])));
      },
      {});
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
    return kp.problem.has("gamma") && kp.problem.has("beta") ? "" : "only with gamma and beta";
  }
  static bool train(const kernel_problem& kp) { return kp.problem.text("mode") == "train"; }
  static auto flags(const kernel_problem& kp) {
    using dnnl::normalization_flags;
    const auto parameters = normalization_flags::use_scale | normalization_flags::use_shift;
    return train(kp) ? parameters : parameters | normalization_flags::use_global_stats;
  }
  static float eps(const kernel_problem& kp) { return static_cast<float>(kp.problem.number("eps")); }
  static auto forward(const kernel_problem& kp) {
    return dnnl::batch_normalization_forward::primitive_desc(
        {train(kp) ? prop_kind::forward_training : prop_kind::forward_inference, of(kp, "x"), eps(kp),
         flags(kp)},
        dnn::attributes(), dnn::cpu());
  }
  /// The saved deviation has eps in it already.
  static float eps_of_backward(const kernel_problem& kp) { return train(kp) ? 0.0F : eps(kp); }
  /// A backward descriptor wants the forward one of training as its hint, running statistics or not.
  static auto forward_for_training(const kernel_problem& kp) {
    return dnnl::batch_normalization_forward::primitive_desc(
        {prop_kind::forward_training, of(kp, "x"), eps_of_backward(kp), flags(kp)}, dnn::attributes(),
        dnn::cpu());
  }
  static auto backward(const kernel_problem& kp) {
    return dnnl::batch_normalization_backward::primitive_desc(
        {prop_kind::backward, of(kp, "x"), of(kp, "x"), eps_of_backward(kp), flags(kp)}, dnn::attributes(),
        dnn::cpu(), forward_for_training(kp));
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    const memory::desc channel = vector_of(kp, "gamma");
    if (train(kp)) return plan_training(kp, d, channel);
    return planned(kp, d, dnnl::batch_normalization_forward(d),
                   {{DNNL_ARG_SRC, of(kp, "x")},
                    {DNNL_ARG_SCALE, channel},
                    {DNNL_ARG_SHIFT, channel},
                    {DNNL_ARG_MEAN, channel},
                    {DNNL_ARG_VARIANCE, channel},
                    {DNNL_ARG_DST, of(kp, "y")}});
  }
  static std::unique_ptr<plan> plan_backward(const kernel_problem& kp) {
    const auto d = backward(kp);
    const memory::desc channel = vector_of(kp, "gamma");
    auto p = planned(kp, d, dnnl::batch_normalization_backward(d),
                     {{DNNL_ARG_DIFF_DST, of(kp, "x")},
                      {DNNL_ARG_SRC, of(kp, "x")},
                      {DNNL_ARG_SCALE, channel},
                      {DNNL_ARG_MEAN, channel},
                      {train(kp) ? 0 : DNNL_ARG_VARIANCE, channel},
                      {DNNL_ARG_DIFF_SRC, of(kp, "x")},
                      {DNNL_ARG_DIFF_SCALE, channel},
                      {DNNL_ARG_DIFF_SHIFT, channel}});
    p->own(DNNL_ARG_SHIFT, channel);  // demanded, never used
    if (train(kp)) variance_from_deviation(*p, channel, 4);
    return p;
  }

 private:
  template <class Descriptor>
  static std::unique_ptr<plan> plan_training(const kernel_problem& kp, const Descriptor& d,
                                             const memory::desc& channel) {
    // The running statistics are updated by the hook.
    std::vector<std::pair<int, memory::desc>> operands = {{DNNL_ARG_SRC, of(kp, "x")},
                                                          {DNNL_ARG_SCALE, channel},
                                                          {DNNL_ARG_SHIFT, channel},
                                                          {0, channel},
                                                          {0, channel},
                                                          {DNNL_ARG_DST, of(kp, "y")},
                                                          {DNNL_ARG_MEAN, channel},
                                                          {DNNL_ARG_VARIANCE, channel}};
    auto p = planned(kp, d, dnnl::batch_normalization_forward(d), std::move(operands));
    const shape x = kp.problem.shape_of("x");
    const double m = static_cast<double>(x.size() / std::max<index_t>(1, x[1]));
    p->set_hooks(
        {}, [eps = kp.problem.number("eps"), a = kp.problem.number("momentum"), m](const kernel_call& call) {
          const auto* mean = static_cast<const float*>(call.writes[1].data);
          auto* spread = static_cast<float*>(call.writes[2].data);
          for (index_t c = 0; c < call.writes[2].extents.size(); ++c) {
            const double variance = static_cast<double>(spread[c]);
            if (call.writes.size() > 3) {
              const auto updated = [&](std::size_t read, double seen) {
                return static_cast<float>(
                    (1 - a) * static_cast<double>(static_cast<const float*>(call.reads[read].data)[c]) +
                    a * seen);
              };
              static_cast<float*>(call.writes[3].data)[c] = updated(3, static_cast<double>(mean[c]));
              static_cast<float*>(call.writes[4].data)[c] = updated(4, variance * m / (m - 1));
            }
            spread[c] = static_cast<float>(1 / std::sqrt(variance + eps));
          }
        });
    return p;
  }
};

/// oneDNN normalises the last axis.
struct layer_norm {
  static constexpr const char* layer = "layer_norm";
  static std::string refusal(const kernel_problem& kp) {
    const std::string unknown =
        kp.problem.first_unknown({"x", "y", "gamma", "beta", "mean", "invstd", "axes", "eps"});
    if (!unknown.empty()) return "unknown attribute " + unknown;
    if (kp.problem.integer("axes") != 1) return "oneDNN normalises the last axis only";
    if (kp.problem.shape_of("x").rank() > 2 && kp.layout != layout::nchw)
      return "the last axis is not the last in memory";
    return kp.problem.has("gamma") && kp.problem.has("beta") ? "" : "only with gamma and beta";
  }
  static auto forward(const kernel_problem& kp) {
    return dnnl::layer_normalization_forward::primitive_desc(
        {prop_kind::forward_training, of(kp, "x"), eps(kp), flags()}, dnn::attributes(), dnn::cpu());
  }
  static auto backward(const kernel_problem& kp) {
    return dnnl::layer_normalization_backward::primitive_desc(
        {prop_kind::backward, of(kp, "x"), of(kp, "x"), 0.0F, flags()}, dnn::attributes(), dnn::cpu(),
        dnnl::layer_normalization_forward::primitive_desc(
            {prop_kind::forward_training, of(kp, "x"), 0.0F, flags()}, dnn::attributes(), dnn::cpu()));
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    auto p = planned(kp, d, dnnl::layer_normalization_forward(d),
                     {{DNNL_ARG_SRC, of(kp, "x")},
                      {DNNL_ARG_SCALE, vector_of(kp, "gamma")},
                      {DNNL_ARG_SHIFT, vector_of(kp, "gamma")},
                      {DNNL_ARG_DST, of(kp, "y")},
                      {DNNL_ARG_MEAN, d.mean_desc()},
                      {DNNL_ARG_VARIANCE, d.variance_desc()}});
    p->set_hooks({}, [eps = kp.problem.number("eps")](const kernel_call& call) {
      auto* spread = static_cast<float*>(call.writes[2].data);
      for (index_t i = 0; i < call.writes[2].extents.size(); ++i)
        spread[i] = static_cast<float>(1 / std::sqrt(static_cast<double>(spread[i]) + eps));
    });
    return p;
  }
  static std::unique_ptr<plan> plan_backward(const kernel_problem& kp) {
    const auto d = backward(kp);
    auto p = planned(kp, d, dnnl::layer_normalization_backward(d),
                     {{DNNL_ARG_DIFF_DST, of(kp, "x")},
                      {DNNL_ARG_SRC, of(kp, "x")},
                      {DNNL_ARG_SCALE, vector_of(kp, "gamma")},
                      {DNNL_ARG_MEAN, d.mean_desc()},
                      {0, d.variance_desc()},
                      {DNNL_ARG_DIFF_SRC, of(kp, "x")},
                      {DNNL_ARG_DIFF_SCALE, vector_of(kp, "gamma")},
                      {DNNL_ARG_DIFF_SHIFT, vector_of(kp, "gamma")}});
    p->own(DNNL_ARG_SHIFT, vector_of(kp, "gamma"));  // demanded, never used
    variance_from_deviation(*p, d.variance_desc(), 4);
    return p;
  }

 private:
  static float eps(const kernel_problem& kp) { return static_cast<float>(kp.problem.number("eps")); }
  static dnnl::normalization_flags flags() {
    return dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
  }
};

/// With the winners as the contract wants them: oneDNN keeps the place of each inside its window.
struct max_pool {
  static constexpr const char* layer = "max_pool2d";
  static std::string refusal(const kernel_problem& kp) {
    const std::string unknown = kp.problem.first_unknown(
        {"x", "y", "indices", "window", "stride", "pad", "dilation", "ceil_mode", "fit"});
    if (!unknown.empty()) return "unknown attribute " + unknown;
    const auto window = kp.problem.integers("window");
    if (window[0] * window[1] > 255) return "compared for windows of at most 255 cells";
    if (kp.problem.flag("ceil_mode")) return "compared without ceil_mode";
    for (const index_t d : kp.problem.integers("dilation"))
      if (d != 1) return "compared without dilation";
    return {};
  }
  static auto forward(const kernel_problem& kp) {
    const auto pad = kp.problem.integers("pad");
    return dnnl::pooling_forward::primitive_desc({prop_kind::forward_training,
                                                  algorithm::pooling_max,
                                                  of(kp, "x"),
                                                  of(kp, "y"),
                                                  kp.problem.integers("stride"),
                                                  kp.problem.integers("window"),
                                                  {pad[0], pad[2]},
                                                  {pad[1], pad[3]}},
                                                 dnn::attributes(), dnn::cpu());
  }
  static std::unique_ptr<plan> plan_forward(const kernel_problem& kp) {
    const auto d = forward(kp);
    auto p = planned(kp, d, dnnl::pooling_forward(d),
                     {{DNNL_ARG_SRC, of(kp, "x")}, {DNNL_ARG_DST, of(kp, "y")}, {0, of(kp, "y")}});
    const memory places = p->own(DNNL_ARG_WORKSPACE, d.workspace_desc());
    const shape x = kp.problem.shape_of("x"), y = kp.problem.shape_of("y");
    const index_t W = x[3], P = y[2], Q = y[3], inner = kp.layout == layout::nhwc ? y[1] : 1,
                  rows = y[0] * y[1] / inner;
    const auto stride = kp.problem.integers("stride"), pad = kp.problem.integers("pad");
    const index_t S = kp.problem.integers("window")[1];
    p->set_hooks({}, [=](const kernel_call& call) {
      const auto* place = static_cast<const unsigned char*>(places.get_data_handle());
      auto* index = static_cast<index_t*>(call.writes[1].data);
#pragma omp parallel for num_threads(call.threads) schedule(static)
      for (index_t row = 0; row < rows * P; ++row)
        for (index_t q = 0; q < Q; ++q) {
          const index_t corner = (row % P * stride[0] - pad[0]) * W + q * stride[1] - pad[2],
                        at = (row * Q + q) * inner;
          for (index_t c = 0; c < inner; ++c)
            index[at + c] = corner + place[at + c] / S * W + place[at + c] % S;
        }
    });
    return p;
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
    if (y[2] % x[2] != 0 || y[3] % x[3] != 0) return "compared for whole factors only";
    // Its factor is that of the extents: a scale that they do not show (2.3 makes 4 of 2) it does not know.
    if (!kp.problem.has("scale")) return "";
    const std::string& scale = kp.problem.text("scale");  // one number, or one an axis: 2x3
    const std::size_t second = scale.find('x') + 1;       // 0 if there is one only
    const double h = std::stod(scale), w = std::stod(scale.substr(second));
    return h * static_cast<double>(x[2]) == static_cast<double>(y[2]) &&
                   w * static_cast<double>(x[3]) == static_cast<double>(y[3])
               ? ""
               : "oneDNN's scale is the quotient of the extents";
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
  add_both<batch_norm>(kernels);
  add_both<layer_norm>(kernels);
  add_forward<max_pool>(kernels);
  add_both<softmax<false>>(kernels);
  add_both<softmax<true>>(kernels);
  add_forward<lrn>(kernels);
  add_both<upsample<algorithm::resampling_nearest>>(kernels);
  add_both<upsample<algorithm::resampling_linear>>(kernels);
#endif
}

}  // namespace plumb
