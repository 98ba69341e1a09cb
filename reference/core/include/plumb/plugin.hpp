// Sugar over plumb/abi.h: the smallest plugin is one function and one list.
//
//     #include <plumb/plugin.hpp>
//     static void forward(const plumb::conv2d_problem& p, const float* x, const float* weight,
//                         const float* bias, float* y) { … }
//     std::vector<plumb::plugin_kernel> plumb::plugin_kernels() {
//       return {plumb::conv2d_forward("conv2d.forward/mine@cpu", forward)};
//     }
//
// A problem whose attributes the plugin does not know is declined by name, so that it keeps loading (and
// never answers a question it did not understand) when a layer grows attributes. C++17, no dependency but
// abi.h.
#pragma once

#include <charconv>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "plumb/abi.h"

namespace plumb {

/// Reads one line of problem text: `conv2d x=1x3x32x32 weight=8x3x3x3 stride=2x1`. Nothing throws: the first
/// thing that was not understood is kept in `complaint()`, which is what a kernel declines with.
class problem_reader {
 public:
  explicit problem_reader(const char* text) {
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t space = rest.find(' ');
      const std::string_view word = rest.substr(0, space);
      rest.remove_prefix(space == std::string_view::npos ? rest.size() : space + 1);
      const std::size_t equals = word.find('=');
      if (layer_.empty())
        layer_ = word;
      else if (!word.empty() && equals != std::string_view::npos)
        fields_.push_back({word.substr(0, equals), word.substr(equals + 1)});
    }
  }

  std::string_view layer() const { return layer_; }
  const std::string& complaint() const { return complaint_; }
  void complain(std::string text) {
    if (complaint_.empty()) complaint_ = std::move(text);
  }

  bool has(std::string_view key) const { return find(key) != nullptr; }
  std::string_view text(std::string_view key, std::string_view otherwise) const {
    const field* f = find(key);
    return f != nullptr ? f->value : otherwise;
  }
  bool flag(std::string_view key, bool otherwise) const {
    return text(key, otherwise ? "true" : "false") == "true";
  }
  /// A shape of the given rank, `1x3x32x32`; zeros and a complaint if it is not one.
  std::vector<std::int64_t> shape(std::string_view key, std::size_t rank) {
    std::vector<std::int64_t> list = integers(text(key, ""));
    if (list.size() == rank && text(key, "").find(',') == std::string_view::npos) return list;
    complain("expected `" + std::string(key) + "` to be a shape of rank " + std::to_string(rank));
    return std::vector<std::int64_t>(rank, 0);
  }
  /// One integer for every axis: `2` or `2x1`.
  std::vector<std::int64_t> per_axis(std::string_view key, std::size_t axes, std::int64_t otherwise) {
    const std::vector<std::int64_t> sides = per_side(key, axes, otherwise);
    std::vector<std::int64_t> list;
    for (std::size_t axis = 0; axis < axes; ++axis) list.push_back(sides[2 * axis]);
    return list;
  }
  /// Two integers for every axis, begin and end: `1`, `1x2` (an axis each) or `1,2,3,4` (a side each).
  std::vector<std::int64_t> per_side(std::string_view key, std::size_t axes, std::int64_t otherwise) {
    const std::string_view value = text(key, "");
    if (value.empty()) return std::vector<std::int64_t>(2 * axes, otherwise);
    const std::vector<std::int64_t> list = integers(value);
    const bool sides = value.find(',') != std::string_view::npos;
    if (sides && list.size() == 2 * axes) return list;
    if (!sides && (list.size() == 1 || list.size() == axes)) {
      std::vector<std::int64_t> both;
      for (std::size_t side = 0; side < 2 * axes; ++side)
        both.push_back(list[list.size() == 1 ? 0 : side / 2]);
      return both;
    }
    complain("does not understand `" + std::string(key) + "=" + std::string(value) + "`");
    return std::vector<std::int64_t>(2 * axes, otherwise);
  }
  std::int64_t integer(std::string_view key, std::int64_t otherwise) {
    return per_axis(key, 1, otherwise)[0];
  }

  /// Complains about the first field that is not in the list.
  void knows_only(std::initializer_list<std::string_view> keys) {
    for (const field& f : fields_) {
      bool known = false;
      for (const std::string_view key : keys) known = known || key == f.key;
      if (!known) complain("does not know `" + std::string(f.key) + "`");
    }
  }

 private:
  struct field {
    std::string_view key, value;
  };

  const field* find(std::string_view key) const {
    for (const field& f : fields_)
      if (f.key == key) return &f;
    return nullptr;
  }
  static std::vector<std::int64_t> integers(std::string_view text) {
    std::vector<std::int64_t> list;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (at < end) {
      std::int64_t value = 0;
      const auto [next, error] = std::from_chars(at, end, value);
      if (error != std::errc() || (next != end && *next != 'x' && *next != ',')) return {};
      list.push_back(value);
      at = next == end ? end : next + 1;
    }
    return list;
  }

  std::string_view layer_;
  std::vector<field> fields_;
  std::string complaint_;
};

/// y[n,k,p,q] = bias[k] + Σ x[n, c, p·stride_h − pad_top + r·dilation_h, q·stride_w − pad_left +
/// s·dilation_w] · weight[k,c,r,s], c over the c/groups channels of k's group.
struct conv2d_problem {
  std::int64_t n, c, h, w;  ///< x
  std::int64_t k, r, s;     ///< weight is k × c/groups × r × s
  std::int64_t p, q;        ///< y is n × k × p × q
  std::int64_t stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right, dilation_h, dilation_w, groups;
  bool bias;
  int threads;

  /// Fills everything in from the text; what is not understood ends in the reader's complaint.
  static conv2d_problem read(problem_reader& reader, int threads) {
    reader.knows_only({"x", "weight", "bias", "stride", "pad", "dilation", "groups", "padding", "fit"});
    if (reader.layer() != "conv2d") reader.complain("computes conv2d only");
    const auto x = reader.shape("x", 4);
    const auto weight = reader.shape("weight", 4);
    const auto stride = reader.per_axis("stride", 2, 1);
    auto pad = reader.per_side("pad", 2, 0);
    const auto dilation = reader.per_axis("dilation", 2, 1);
    const std::int64_t groups = reader.integer("groups", 1);
    if (stride[0] < 1 || stride[1] < 1) reader.complain("expected every stride to be at least 1");
    if (reader.complaint().empty())
      pad = pads(reader, {x[2], x[3]}, {weight[2], weight[3]}, stride, pad, dilation);
    const auto outputs = [&](std::size_t axis) {
      const std::int64_t reach = dilation[axis] * (weight[2 + axis] - 1) + 1;
      return (x[2 + axis] + pad[2 * axis] + pad[2 * axis + 1] - reach) / stride[axis] + 1;
    };
    conv2d_problem a{};
    if (!reader.complaint().empty()) return a;
    a.n = x[0], a.c = x[1], a.h = x[2], a.w = x[3];
    a.k = weight[0], a.r = weight[2], a.s = weight[3];
    a.p = outputs(0), a.q = outputs(1);
    a.stride_h = stride[0], a.stride_w = stride[1];
    a.pad_top = pad[0], a.pad_bottom = pad[1], a.pad_left = pad[2], a.pad_right = pad[3];
    a.dilation_h = dilation[0], a.dilation_w = dilation[1];
    a.groups = groups;
    a.bias = reader.has("bias");
    a.threads = threads;
    return a;
  }

 private:
  using list = std::vector<std::int64_t>;
  /// The pads that the attribute `padding` stands for: as given, none, or as many as make ceil(size / stride)
  /// outputs.
  static list pads(problem_reader& reader, const list& size, const list& window, const list& stride,
                   const list& given, const list& dilation) {
    const std::string_view rule = reader.text("padding", "explicit");
    if (rule == "explicit") return given;
    list result(4, 0);
    if (rule == "valid") return result;
    if (rule != "same_upper" && rule != "same_lower")
      reader.complain("does not understand `padding=" + std::string(rule) + "`");
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const std::int64_t outputs = (size[axis] + stride[axis] - 1) / stride[axis];
      const std::int64_t covered = (outputs - 1) * stride[axis] + dilation[axis] * (window[axis] - 1) + 1;
      const std::int64_t missing = covered > size[axis] ? covered - size[axis] : 0;
      result[2 * axis] = (missing + (rule == "same_lower" ? 1 : 0)) / 2;
      result[2 * axis + 1] = missing - result[2 * axis];
    }
    return result;
  }
};

/// A kernel: its name, what it takes, and its function. `Problem` is a struct with a static
/// `Problem read(problem_reader&, int threads)`, such as conv2d_problem; the function is called with a
/// `const Problem&` and a `const plumb_call&` and returns nothing, or a code that is reported as a failure unless
/// it is 0 (what a launch returned, say).
class plugin_kernel {
 public:
  template <class Problem, class Run>
  static plugin_kernel of(std::string name, Run run) {
    plugin_kernel k;
    k.body_->name = std::move(name);
    k.body_->open = [](problem_reader& reader, int threads) -> void* {
      return new Problem(Problem::read(reader, threads));
    };
    k.body_->close = [](void* problem) { delete static_cast<Problem*>(problem); };
    k.body_->run = [run = std::move(run)](const void* problem, const plumb_call& call) {
      const Problem& p = *static_cast<const Problem*>(problem);
      if constexpr (std::is_void_v<std::invoke_result_t<const Run&, const Problem&, const plumb_call&>>) {
        run(p, call);
        return std::int32_t{0};
      } else {
        return static_cast<std::int32_t>(run(p, call));
      }
    };
    return k;
  }

  // Defaults: f32, nchw, arithmetic f32, on the CPU, the same bits for every thread count.
  plugin_kernel& dtypes(std::string list) { return set(body_->dtypes, std::move(list)); }
  plugin_kernel& layouts(std::string list) { return set(body_->layouts, std::move(list)); }
  plugin_kernel& arithmetic(std::string name) { return set(body_->arithmetic, std::move(name)); }
  /// "cuda": tensors and workspace lie on the device; launches go to `call.stream`, and nothing is waited for.
  plugin_kernel& device(std::string name) { return set(body_->device, std::move(name)); }
  plugin_kernel& determinism(std::int32_t level) {
    body_->determinism = level;
    return *this;
  }
  /// Takes only problems for which `accept` returns an empty string; otherwise the string is the reason.
  template <class Problem>
  plugin_kernel& only_if(std::function<std::string(const Problem&)> accept) {
    body_->accept = [accept = std::move(accept)](const void* problem) {
      return accept(*static_cast<const Problem*>(problem));
    };
    return *this;
  }

  /// The C view; lives as long as any copy of this object.
  const plumb_kernel* descriptor() const {
    plumb_kernel& d = body_->c;
    d.size = sizeof d;
    d.name = body_->name.c_str();
    d.dtypes = body_->dtypes.c_str();
    d.layouts = body_->layouts.c_str();
    d.arithmetic = body_->arithmetic.c_str();
    d.device = body_->device.c_str();
    d.determinism = body_->determinism;
    d.user = body_.get();
    d.supports = [](const plumb_kernel* self, const plumb_problem* problem) -> const char* {
      body& b = of(self);
      problem_reader reader(problem->text);
      void* const parsed = b.open(reader, problem->threads);
      if (reader.complaint().empty() && b.accept) reader.complain(b.accept(parsed));
      b.close(parsed);
      b.reason = reader.complaint();
      return b.reason.empty() ? nullptr : b.reason.c_str();
    };
    d.open = [](const plumb_kernel* self, const plumb_problem* problem) -> void* {
      problem_reader reader(problem->text);
      return of(self).open(reader, problem->threads);
    };
    d.close = [](const plumb_kernel* self, void* state) { of(self).close(state); };
    d.run = [](const plumb_kernel* self, const plumb_call* call) -> std::int32_t {
      return of(self).run(call->state, *call);
    };
    return &d;
  }

 private:
  struct body {
    std::string name, dtypes = "f32", layouts = "nchw", arithmetic = "f32", device = "cpu", reason;
    std::int32_t determinism = PLUMB_THREAD_INVARIANT;
    std::function<void*(problem_reader&, int)> open;
    std::function<void(void*)> close;
    std::function<std::string(const void*)> accept;
    std::function<std::int32_t(const void*, const plumb_call&)> run;
    plumb_kernel c{};
  };

  plugin_kernel() : body_(std::make_shared<body>()) {}
  static body& of(const plumb_kernel* self) { return *static_cast<body*>(self->user); }
  plugin_kernel& set(std::string& field, std::string value) {
    field = std::move(value);
    return *this;
  }

  std::shared_ptr<body> body_;
};

// Hidden, because two plugins in one process must each see their own list: GCC makes the static of an inline
// function with default visibility one and the same in every library that has it.
#if defined(__GNUC__) || defined(__clang__)
#define PLUMB_HIDDEN __attribute__((visibility("hidden")))
#else
#define PLUMB_HIDDEN
#endif

/// The plugin defines this one function.
PLUMB_HIDDEN std::vector<plugin_kernel> plugin_kernels();

template <class T>
const T* read_pointer(const plumb_call& call, int index) {
  return static_cast<const T*>(call.reads[index].dl.data);
}
template <class T>
T* write_pointer(const plumb_call& call, int index) {
  return static_cast<T*>(call.writes[index].dl.data);
}

/// f(problem, x, weight, bias or nullptr, y)
template <class F>
plugin_kernel conv2d_forward(std::string name, F f) {
  return plugin_kernel::of<conv2d_problem>(
      std::move(name), [f](const conv2d_problem& problem, const plumb_call& call) {
        const float* const bias = call.read_count > 2 ? read_pointer<float>(call, 2) : nullptr;
        f(problem, read_pointer<float>(call, 0), read_pointer<float>(call, 1), bias,
          write_pointer<float>(call, 0));
      });
}

/// f(problem, first read, second read, gradient): the backward passes.
template <class F>
plugin_kernel conv2d_backward(std::string name, F f) {
  return plugin_kernel::of<conv2d_problem>(
      std::move(name), [f](const conv2d_problem& problem, const plumb_call& call) {
        f(problem, read_pointer<float>(call, 0), read_pointer<float>(call, 1), write_pointer<float>(call, 0));
      });
}

namespace plugin_detail {
PLUMB_HIDDEN inline std::vector<plugin_kernel>& kernels() {
  static std::vector<plugin_kernel> list = plugin_kernels();
  return list;
}
}  // namespace plugin_detail
}  // namespace plumb

extern "C" {
PLUMB_EXPORT inline std::uint32_t plumb_abi_version(void) { return PLUMB_ABI_VERSION; }
PLUMB_EXPORT inline std::size_t plumb_kernel_count(void) { return plumb::plugin_detail::kernels().size(); }
PLUMB_EXPORT inline const plumb_kernel* plumb_kernel_at(std::size_t index) {
  auto& list = plumb::plugin_detail::kernels();
  return index < list.size() ? list[index].descriptor() : nullptr;
}
}
