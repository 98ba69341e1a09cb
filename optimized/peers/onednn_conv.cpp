// Convolution by oneDNN, the peer to beat: every pass of conv1d, conv2d and conv3d.
//   activations   plain nchw or nhwc, as the call has them
//   weights       format_tag::any, oneDNN's choice, reordered in `prepare`; the reorder of a weight gradient
//   back to
//                 the plain form is part of the run
//   algorithm     convolution_direct, so that the f32 bound applies; backward_bias is a reduction primitive
//   bf16          forward and backward_data once more, with the activation that is read reordered to bf16 in the run and
//                 the weights in `prepare`; what is written stays f32
// With plain weights in nhwc oneDNN 2.6 falls back to its reference loop, hence `any`; the record carries the
// name of the implementation it picked.
#include "optimized/cpu/conv_arguments.hpp"
#include "optimized/kernels.hpp"
#include "optimized/peers/peer_row.hpp"

#if PLUMB_HAS_ONEDNN
#include "optimized/peers/onednn.hpp"
#endif

namespace plumb {
namespace {

#if PLUMB_HAS_ONEDNN
namespace dnn = onednn;
using dnnl::memory;

/// Everything that the descriptors of the three passes share.
struct conv_descriptors {
  memory::desc x, y, weight, any_weight, bias;
  memory::dims stride, dilation, begin, end;

  explicit conv_descriptors(const kernel_problem& kp)
      : x(dnn::activation(kp.problem.shape_of("x"), kp.layout)),
        y(dnn::activation(kp.problem.shape_of("y"), kp.layout)) {
    const conv_arguments a = read_conv_arguments(kp.problem);
    shape w = kp.problem.shape_of("weight");
    if (a.groups > 1) {
      shape grouped{a.groups, a.group_k()};
      for (int axis = 1; axis < w.rank(); ++axis) grouped.push_back(w[axis]);
      w = grouped;
    }
    weight = dnn::activation(w, layout::nchw);
    any_weight = {dnn::dims_of(w), memory::data_type::f32, memory::format_tag::any};
    if (a.bias) bias = {{a.k}, memory::data_type::f32, memory::format_tag::a};
    for (std::size_t i = 3 - static_cast<std::size_t>(a.rank); i < 3; ++i) {
      stride.push_back(a.axes[i].stride);
      dilation.push_back(a.axes[i].dilation - 1);
      begin.push_back(a.axes[i].begin);
      end.push_back(a.axes[i].end);
    }
  }
};

constexpr auto direct = dnnl::algorithm::convolution_direct;

memory::desc in_bf16(memory::desc d) {
  d.data.data_type = dnnl_bf16;
  return d;
}

auto forward_descriptor(const kernel_problem& kp, bool bf16 = false) {
  conv_descriptors d(kp);
  if (bf16) d.x = in_bf16(d.x), d.any_weight = in_bf16(d.any_weight);
  return dnnl::convolution_forward::primitive_desc(
      {dnnl::prop_kind::forward_training, direct, d.x, d.any_weight, d.bias, d.y, d.stride, d.dilation,
       d.begin, d.end},
      dnn::attributes(), dnn::cpu());
}

auto backward_data_descriptor(const kernel_problem& kp, bool bf16 = false) {
  conv_descriptors d(kp);
  if (bf16) d.y = in_bf16(d.y), d.any_weight = in_bf16(d.any_weight);
  const dnnl::convolution_forward::primitive_desc hint(
      {dnnl::prop_kind::forward_training, direct, bf16 ? in_bf16(d.x) : d.x, d.any_weight, d.y, d.stride,
       d.dilation, d.begin, d.end},
      dnn::attributes(), dnn::cpu());
  return dnnl::convolution_backward_data::primitive_desc(
      {direct, d.x, d.any_weight, d.y, d.stride, d.dilation, d.begin, d.end}, dnn::attributes(), dnn::cpu(),
      hint);
}

auto backward_weights_descriptor(const kernel_problem& kp) {
  const conv_descriptors d(kp);
  const dnnl::convolution_forward::primitive_desc hint(
      {dnnl::prop_kind::forward_training, direct, d.x, d.any_weight, d.y, d.stride, d.dilation, d.begin,
       d.end},
      dnn::attributes(), dnn::cpu());
  return dnnl::convolution_backward_weights::primitive_desc(
      {direct, d.x, d.any_weight, d.y, d.stride, d.dilation, d.begin, d.end}, dnn::attributes(), dnn::cpu(),
      hint);
}

auto backward_bias_descriptor(const kernel_problem& kp) {
  const shape y = kp.problem.shape_of("y");
  shape kept = y;
  for (int axis = 0; axis < y.rank(); ++axis)
    if (axis != 1) kept[axis] = 1;
  return dnnl::reduction::primitive_desc({dnnl::algorithm::reduction_sum, dnn::activation(y, kp.layout),
                                          dnn::activation(kept, kp.layout), 0.0F, 0.0F},
                                         dnn::attributes(), dnn::cpu());
}

/// What the passes share: the stream, the scratchpad, the name of the implementation.
class conv_plan : public plan {
 public:
  std::size_t workspace_size() const override { return workspace_; }
  std::string implementation() const override { return implementation_; }

 protected:
  template <class Descriptor>
  conv_plan(const kernel_problem& kp, const Descriptor& d)
      : stream_(dnn::cpu()),
        threads_(kp.threads),
        workspace_(d.scratchpad_desc().get_size()),
        implementation_(d.impl_info_str()) {}

  dnnl::stream stream_;
  int threads_;
  dnn::step main_;
  std::size_t scratchpad_ = 0;

 private:
  std::size_t workspace_;
  std::string implementation_;
};

/// forward and backward_data: an activation and packed weights in, an activation out.
class packed_weights_plan final : public conv_plan {
 public:
  /// Arguments of the primitive for the activation read, the bias (0: none) and the activation written.
  template <class Primitive, class Descriptor>
  static std::unique_ptr<plan> make(const kernel_problem& kp, const Descriptor& d, const memory::desc& in,
                                    int in_argument, const memory::desc& out, int out_argument,
                                    bool bf16 = false) {
    auto p = std::unique_ptr<packed_weights_plan>(new packed_weights_plan(kp, d));
    const conv_descriptors plain(kp);
    p->main_ = dnn::step(Primitive(d));
    if (bf16) {
      const memory rounded(in_bf16(in), dnn::cpu());
      p->main_.operand(in_argument, rounded);
      p->round_ =
          dnn::step(dnnl::reorder(dnnl::reorder::primitive_desc(dnn::cpu(), in, dnn::cpu(), in_bf16(in))));
      p->in_ = p->round_.operand(DNNL_ARG_FROM, in);
      p->round_.operand(DNNL_ARG_TO, rounded);
      p->rounds_ = true;
    } else {
      p->in_ = p->main_.operand(in_argument, in);
    }
    p->out_ = p->main_.operand(out_argument, out);
    p->scratchpad_ = p->main_.operand(DNNL_ARG_SCRATCHPAD, d.scratchpad_desc());
    p->has_bias_ = in_argument == DNNL_ARG_SRC && kp.problem.has("bias");
    if (p->has_bias_) p->bias_ = p->main_.operand(DNNL_ARG_BIAS, plain.bias);
    const memory packed(d.weights_desc(), dnn::cpu());
    p->weight_ = p->main_.operand(DNNL_ARG_WEIGHTS, packed);
    p->pack_ = dnn::step(
        dnnl::reorder(dnnl::reorder::primitive_desc(dnn::cpu(), plain.weight, dnn::cpu(), d.weights_desc())));
    p->plain_weight_ = p->pack_.operand(DNNL_ARG_FROM, plain.weight);
    p->pack_.operand(DNNL_ARG_TO, packed);
    return p;
  }

  void prepare(std::span<const tensor_ref> reads) override {
    const dnn::thread_scope threads(threads_);
    pack_.point(plain_weight_, reads[1].data);
    pack_.run(stream_);
  }

  void run(const kernel_call& call) noexcept override {
    const dnn::thread_scope threads(threads_);
    (rounds_ ? round_ : main_).point(in_, call.reads[0].data);
    main_.point(out_, call.writes[0].data);
    main_.point(scratchpad_, call.workspace);
    if (rounds_) round_.run(stream_);
    if (has_bias_) main_.point(bias_, call.reads[2].data);
    main_.run(stream_);
  }

 private:
  using conv_plan::conv_plan;
  dnn::step pack_, round_;
  bool rounds_ = false;  ///< the activation that is read, to bf16
  std::size_t in_ = 0, out_ = 0, weight_ = 0, bias_ = 0, plain_weight_ = 0;
  bool has_bias_ = false;
};

class backward_weights_plan final : public conv_plan {
 public:
  explicit backward_weights_plan(const kernel_problem& kp)
      : backward_weights_plan(kp, backward_weights_descriptor(kp)) {}

  void run(const kernel_call& call) noexcept override {
    const dnn::thread_scope threads(threads_);
    main_.point(dy_, call.reads[0].data);
    main_.point(x_, call.reads[1].data);
    main_.point(scratchpad_, call.workspace);
    if (!packed_) main_.point(dweight_, call.writes[0].data);
    main_.run(stream_);
    if (!packed_) return;
    unpack_.point(plain_, call.writes[0].data);
    unpack_.run(stream_);
  }

 private:
  backward_weights_plan(const kernel_problem& kp, const dnnl::convolution_backward_weights::primitive_desc& d)
      : conv_plan(kp, d) {
    const conv_descriptors plain(kp);
    packed_ = d.diff_weights_desc() != plain.weight;
    main_ = dnn::step(dnnl::convolution_backward_weights(d));
    dy_ = main_.operand(DNNL_ARG_DIFF_DST, plain.y);
    x_ = main_.operand(DNNL_ARG_SRC, plain.x);
    scratchpad_ = main_.operand(DNNL_ARG_SCRATCHPAD, d.scratchpad_desc());
    if (!packed_) {
      dweight_ = main_.operand(DNNL_ARG_DIFF_WEIGHTS, plain.weight);
      return;
    }
    const memory packed(d.diff_weights_desc(), dnn::cpu());
    main_.operand(DNNL_ARG_DIFF_WEIGHTS, packed);
    unpack_ = dnn::step(dnnl::reorder(
        dnnl::reorder::primitive_desc(dnn::cpu(), d.diff_weights_desc(), dnn::cpu(), plain.weight)));
    unpack_.operand(DNNL_ARG_FROM, packed);
    plain_ = unpack_.operand(DNNL_ARG_TO, plain.weight);
  }

  dnn::step unpack_;
  std::size_t dy_ = 0, x_ = 0, dweight_ = 0, plain_ = 0;
  bool packed_ = false;
};

class backward_bias_plan final : public conv_plan {
 public:
  explicit backward_bias_plan(const kernel_problem& kp)
      : backward_bias_plan(kp, backward_bias_descriptor(kp)) {}

  void run(const kernel_call& call) noexcept override {
    const dnn::thread_scope threads(threads_);
    main_.point(dy_, call.reads[0].data);
    main_.point(dbias_, call.writes[0].data);
    main_.point(scratchpad_, call.workspace);
    main_.run(stream_);
  }

 private:
  backward_bias_plan(const kernel_problem& kp, const dnnl::reduction::primitive_desc& d) : conv_plan(kp, d) {
    main_ = dnn::step(dnnl::reduction(d));
    dy_ = main_.operand(DNNL_ARG_SRC, d.src_desc());
    dbias_ = main_.operand(DNNL_ARG_DST, d.dst_desc());
    scratchpad_ = main_.operand(DNNL_ARG_SCRATCHPAD, d.scratchpad_desc());
  }

  std::size_t dy_ = 0, dbias_ = 0;
};

// A pass: how its descriptor and its plan are made, and which tensor it writes.

template <bool Bf16>
struct forward_pass {
  static constexpr const char *name = "forward", *writes = "y";
  static auto descriptor(const kernel_problem& kp) { return forward_descriptor(kp, Bf16); }
  static std::unique_ptr<plan> make(const kernel_problem& kp) {
    const conv_descriptors d(kp);
    return packed_weights_plan::make<dnnl::convolution_forward>(kp, descriptor(kp), d.x, DNNL_ARG_SRC, d.y,
                                                                DNNL_ARG_DST, Bf16);
  }
};

template <bool Bf16>
struct backward_data_pass {
  static constexpr const char *name = "backward_data", *writes = "x";
  static auto descriptor(const kernel_problem& kp) { return backward_data_descriptor(kp, Bf16); }
  static std::unique_ptr<plan> make(const kernel_problem& kp) {
    const conv_descriptors d(kp);
    return packed_weights_plan::make<dnnl::convolution_backward_data>(
        kp, descriptor(kp), d.y, DNNL_ARG_DIFF_DST, d.x, DNNL_ARG_DIFF_SRC, Bf16);
  }
};

struct backward_weights_pass {
  static constexpr const char *name = "backward_weights", *writes = "weight";
  static auto descriptor(const kernel_problem& kp) { return backward_weights_descriptor(kp); }
  static std::unique_ptr<plan> make(const kernel_problem& kp) {
    return std::make_unique<backward_weights_plan>(kp);
  }
};

struct backward_bias_pass {
  static constexpr const char *name = "backward_bias", *writes = "bias";
  static auto descriptor(const kernel_problem& kp) { return backward_bias_descriptor(kp); }
  static std::unique_ptr<plan> make(const kernel_problem& kp) {
    return std::make_unique<backward_bias_plan>(kp);
  }
};

bool has_zero_extent(const problem& p) {
  for (const char* tensor : {"x", "weight", "y"})
    if (p.shape_of(tensor).size() == 0) return true;
  return false;
}

template <class Pass>
support supports(const kernel_problem& kp) {
  if (const support s = conv_support(kp); !s.ok) return s;
  if (kp.problem.flag("flip"))
    return support::no("oneDNN has no flip=true: it computes cross-correlation only");
  if (!kp.problem.has(Pass::writes)) return support::no(std::string("this problem has no ") + Pass::writes);
  if (kp.problem.shape_of(Pass::writes).size() == 0) return support::yes();
  if (has_zero_extent(kp.problem))
    return support::no("oneDNN computes nothing, not zeros, when an input has no elements");
  return dnn::try_descriptor(kp, [&] { Pass::descriptor(kp); });
}

template <class Pass>
std::unique_ptr<plan> make_plan(const kernel_problem& kp) {
  if (kp.problem.shape_of(Pass::writes).size() == 0) return dnn::empty_plan();
  const dnn::thread_scope threads(kp.threads);
  return Pass::make(kp);
}

template <class Pass>
constexpr peer_pass pass_of = {Pass::name, supports<Pass>, make_plan<Pass>};
constexpr peer_pass passes[] = {pass_of<forward_pass<false>>, pass_of<backward_data_pass<false>>,
                                pass_of<backward_weights_pass>, pass_of<backward_bias_pass>};
constexpr peer_pass bf16_passes[] = {pass_of<forward_pass<true>>, pass_of<backward_data_pass<true>>};
bool has_bf16() {
  const dnnl::cpu_isa best = dnnl::get_effective_cpu_isa();
  return (static_cast<int>(best) & static_cast<int>(dnnl::cpu_isa::avx512_core)) ==
         static_cast<int>(dnnl::cpu_isa::avx512_core);
}
#else
constexpr peer_pass passes[] = {{"forward", nullptr, nullptr},
                                {"backward_data", nullptr, nullptr},
                                {"backward_weights", nullptr, nullptr},
                                {"backward_bias", nullptr, nullptr}};
constexpr peer_pass bf16_passes[] = {{"forward", nullptr, nullptr}, {"backward_data", nullptr, nullptr}};
bool has_bf16() { return false; }
#endif

}  // namespace

void register_onednn_conv(registry& kernels) {
  for (const char* layer : {"conv1d", "conv2d", "conv3d"})
    for (const peer_pass& pass : passes) kernels.add(peer_row(layer, pass, "onednn", "oneDNN"));
  for (const peer_pass& pass : bf16_passes) {
    kernel k = peer_row("conv2d", pass, "onednn_bf16", "oneDNN");
    k.arithmetic = "bf16_f32";
    if (k.unavailable.empty() && !has_bf16()) k.unavailable = "oneDNN computes bf16 with AVX-512 only";
    kernels.add(std::move(k));
  }
}

}  // namespace plumb
