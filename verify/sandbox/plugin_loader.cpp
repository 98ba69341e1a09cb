#include "verify/sandbox/plugin_loader.hpp"

#include <dlfcn.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <sstream>
#include <stdexcept>

#include "reference/core/include/plumb/abi.h"
#include "verify/sandbox/floating_point.hpp"

namespace plumb {
namespace {

plumb_dl_dtype to_dl(dtype type) {
  const auto bits = static_cast<std::uint8_t>(8 * size_of(type));
  if (type == dtype::bf16) return {PLUMB_DL_BFLOAT, bits, 1};
  if (type == dtype::i64) return {PLUMB_DL_INT, bits, 1};
  return {PLUMB_DL_FLOAT, bits, 1};
}

plumb_tensor to_dl(tensor_ref& t, bool read_only, std::int32_t device) {
  plumb_tensor out{};
  out.dl.data = t.data;
  out.dl.device = {device, 0};
  out.dl.ndim = t.extents.rank();
  out.dl.dtype = to_dl(t.type);
  out.dl.shape = t.extents.rank() == 0 ? nullptr : &t.extents[0];
  out.dl.strides = t.strides.rank() == 0 ? nullptr : &t.strides[0];
  out.flags = read_only ? PLUMB_READ_ONLY : 0;
  return out;
}

/// The problem as the plugin sees it; owns the texts that it points to.
struct abi_problem {
  std::string text;
  std::string layout;
  plumb_problem c{};

  explicit abi_problem(const kernel_problem& p)
      : text(p.canonical.empty() ? p.problem.print() : p.canonical), layout(name_of(p.layout)) {
    c.size = sizeof c;
    c.text = text.c_str();
    c.dtype = to_dl(p.type);
    c.layout = layout.c_str();
    c.threads = p.threads;
  }
};

/// A plugin's kernel made ready for one problem, wherever its tensors lie.
class plugin_state {
 public:
  plugin_state(const plumb_kernel* k, const kernel_problem& p, std::int32_t device)
      : kernel_(k), problem_(p), device_(device) {
    if (k->workspace_size != nullptr) workspace_ = k->workspace_size(k, &problem_.c);
    if (k->open != nullptr) state_ = k->open(k, &problem_.c);
  }
  ~plugin_state() {
    if (kernel_->close != nullptr) kernel_->close(kernel_, state_);
  }
  plugin_state(const plugin_state&) = delete;
  plugin_state& operator=(const plugin_state&) = delete;

  std::size_t workspace_size() const { return workspace_; }
  // Empty, or the code that came back.
  std::string prepare(std::span<const tensor_ref> reads, void* stream) {
    if (kernel_->prepare == nullptr) return {};
    const plumb_call c = convert({reads, {}, nullptr, problem_.c.threads}, stream);
    return text_of("prepare", kernel_->prepare(kernel_, &c));
  }
  std::string run(const kernel_call& call, void* stream) {
    const plumb_call c = convert(call, stream);
    return text_of("run", kernel_->run(kernel_, &c));
  }

 private:
  static std::string text_of(const char* function, std::int32_t code) {
    return code == 0 ? std::string() : std::string(function) + " returned " + std::to_string(code);
  }
  plumb_call convert(const kernel_call& call, void* stream) {
    refs_.assign(call.reads.begin(), call.reads.end());
    refs_.insert(refs_.end(), call.writes.begin(), call.writes.end());
    tensors_.clear();
    for (tensor_ref& t : refs_) tensors_.push_back(to_dl(t, tensors_.size() < call.reads.size(), device_));
    plumb_call c{};
    c.size = sizeof c;
    c.problem = &problem_.c;
    c.state = state_;
    c.reads = tensors_.data();
    c.read_count = static_cast<std::int32_t>(call.reads.size());
    c.writes = tensors_.data() + call.reads.size();
    c.write_count = static_cast<std::int32_t>(call.writes.size());
    c.workspace = call.workspace;
    c.workspace_size = workspace_;
    c.threads = call.threads;
    c.stream = stream;
    return c;
  }

  const plumb_kernel* kernel_;
  abi_problem problem_;
  std::int32_t device_;
  void* state_ = nullptr;
  std::size_t workspace_ = 0;
  std::vector<tensor_ref> refs_;
  std::vector<plumb_tensor> tensors_;
};

class plugin_plan final : public plan {
 public:
  plugin_plan(const plumb_kernel* k, const kernel_problem& p) : state_(k, p, PLUMB_DL_CPU) {}
  std::size_t workspace_size() const override { return state_.workspace_size(); }
  void prepare(std::span<const tensor_ref> reads) override { failure_ = state_.prepare(reads, nullptr); }
  void run(const kernel_call& call) noexcept override { failure_ = state_.run(call, nullptr); }
  std::string failure() const override { return failure_; }

 private:
  plugin_state state_;
  std::string failure_;
};

class plugin_on_device final : public device_work {
 public:
  plugin_on_device(const plumb_kernel* k, const kernel_problem& p) : state_(k, p, PLUMB_DL_CUDA) {}
  std::size_t workspace_size() const override { return state_.workspace_size(); }
  std::string prepare(std::span<const tensor_ref> reads, void* stream) override {
    return state_.prepare(reads, stream);
  }
  std::string enqueue(const kernel_call& call, void* stream) override { return state_.run(call, stream); }

 private:
  plugin_state state_;
};

class malformed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class T, class Parse>
std::vector<T> parse_list(const char* text, const char* otherwise, const char* what, Parse parse) {
  std::istringstream words(text != nullptr ? text : otherwise);
  std::vector<T> list;
  for (std::string word; words >> word;) {
    const std::optional<T> value = parse(word);
    if (!value) throw malformed("`" + word + "` is not a " + what);
    list.push_back(*value);
  }
  if (list.empty()) throw malformed(std::string("its list of ") + what + "s is empty");
  return list;
}

std::optional<layout> parse_layout(std::string_view word) {
  for (const layout l : {layout::nchw, layout::nhwc})
    if (word == name_of(l)) return l;
  return std::nullopt;
}

/// Fills in layer and pass from `layer.pass/algorithm@target`.
void split_name(const char* name, kernel& k) {
  k.name = name != nullptr ? name : "";
  const std::size_t dot = k.name.find('.');
  const std::size_t slash = k.name.find('/');
  const std::size_t at = k.name.find('@');
  const bool parts = dot != std::string::npos && slash != std::string::npos && at != std::string::npos;
  if (!parts || dot == 0 || !(dot + 1 < slash && slash + 1 < at && at + 1 < k.name.size()))
    throw malformed("its kernel name `" + k.name + "` is not of the form `layer.pass/algorithm@target`");
  k.layer = k.name.substr(0, dot);
  k.pass = k.name.substr(dot + 1, slash - dot - 1);
}

/// On the device `cuda`, which the registry may know, or on none.
void place(const plumb_kernel* c, const device_host* devices, kernel& k) {
  if (k.device == "cpu") {
    k.make_plan = [c](const kernel_problem& p) { return std::make_unique<plugin_plan>(c, p); };
    return;
  }
  if (k.device != "cuda") throw malformed("`" + k.device + "` is not a device; expected `cpu` or `cuda`");
  k.unavailable = devices == nullptr ? "no CUDA device" : devices->unavailable();
  k.make_plan = [c, devices](const kernel_problem& p) {
    return devices->place(std::make_unique<plugin_on_device>(c, p));
  };
}

kernel adapt(const plumb_kernel* c, const device_host* devices) {
  if (c == nullptr || c->size < sizeof(plumb_kernel) || c->run == nullptr)
    throw malformed("one of its kernel descriptors is missing, too short or has no `run`");
  kernel k;
  split_name(c->name, k);
  k.types = parse_list<dtype>(c->dtypes, "f32", "dtype", parse_dtype);
  k.layouts = parse_list<layout>(c->layouts, "nchw", "layout", parse_layout);
  if (c->device != nullptr) k.device = c->device;
  if (c->arithmetic != nullptr) k.arithmetic = c->arithmetic;
  k.accuracy.ulps = c->ulps;
  if (c->determinism < PLUMB_NOT_REPEATABLE || c->determinism > PLUMB_THREAD_INVARIANT)
    throw malformed("its determinism " + std::to_string(c->determinism) + " is not 0, 1 or 2");
  k.determinism = static_cast<determinism>(c->determinism);
  k.any_strides = (c->flags & PLUMB_ANY_STRIDES) != 0;
  k.supports = [c](const kernel_problem& p) {
    if (c->supports == nullptr) return support::yes();
    const abi_problem problem(p);
    const char* const reason = c->supports(c, &problem.c);
    return reason == nullptr ? support::yes() : support::no(reason);
  };
  place(c, devices, k);
  return k;
}

plugin_outcome refuse(std::string sentence, int exit_code = 2) {
  plugin_outcome outcome;
  outcome.error = std::move(sentence);
  outcome.exit_code = exit_code;
  return outcome;
}

/// dlerror without the path it begins with, which the sentence names already.
std::string dl_reason(const std::string& path) {
  const char* const error = ::dlerror();
  std::string reason = error != nullptr ? error : "unknown error";
  if (reason.starts_with(path + ": ")) reason.erase(0, path.size() + 2);
  return reason;
}

plugin_outcome add_kernels(void* library, const std::string& path, registry& kernels) {
  const auto version = reinterpret_cast<decltype(&plumb_abi_version)>(::dlsym(library, "plumb_abi_version"));
  const auto count = reinterpret_cast<decltype(&plumb_kernel_count)>(::dlsym(library, "plumb_kernel_count"));
  const auto kernel_at = reinterpret_cast<decltype(&plumb_kernel_at)>(::dlsym(library, "plumb_kernel_at"));
  if (version == nullptr)
    return refuse("`" + path + "` is not a Plumb plugin: it exports no function `plumb_abi_version`");
  if (const std::uint32_t theirs = version(); theirs != PLUMB_ABI_VERSION)
    return refuse("plugin `" + path + "` was built for version " + std::to_string(theirs) +
                      " of the plugin ABI; this plumb speaks version " + std::to_string(PLUMB_ABI_VERSION),
                  3);
  if (count == nullptr || kernel_at == nullptr)
    return refuse("plugin `" + path + "` exports no function `" +
                  (count == nullptr ? "plumb_kernel_count" : "plumb_kernel_at") + "`");
  if (count() == 0) return refuse("plugin `" + path + "` holds no kernel");
  try {
    for (std::size_t i = 0; i < count(); ++i) kernels.add(adapt(kernel_at(i), kernels.devices()));
  } catch (const std::exception& error) {
    return refuse("plugin `" + path + "` is malformed: " + error.what());
  }
  return {};
}

}  // namespace

plugin_outcome load_plugin(const std::string& path, registry& kernels) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    return refuse("cannot read plugin `" + path + "`: " + std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    return refuse("plugin `" + path + "` is not a file but a directory or device");

  const std::uint32_t before = floating_point_state();
  const std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its kernels stay
  const std::uint32_t after = floating_point_state();
  restore_floating_point_state(before);
  if (library == nullptr)
    return refuse("plugin `" + path + "` cannot be loaded as a shared library: " + dl_reason(file));

  plugin_outcome outcome = add_kernels(library, path, kernels);
  outcome.floating_point = describe_floating_point_change(before, after);
  return outcome;
}

}  // namespace plumb
