// plumb-kernels.so: the kernels of optimized/, the peers among them, behind the C ABI, so that a reproducer of one wrong
// answer calls them without anything else of ours. The problem text must be the resolved one, with every attribute.
#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>

#include "plumb/abi.h"
#include "reference/core/registry.hpp"

namespace plumb {
namespace {

/// A kernel of the registry with a descriptor around it.
struct exported {
  const kernel* inside;
  std::string types, layouts, reason;
  plumb_kernel outside{};
};

struct opened {
  kernel_problem problem;
  std::unique_ptr<plan> made;
};

dtype type_of(const plumb_dl_dtype& t) {
  if (t.code == PLUMB_DL_INT) return dtype::i64;
  if (t.code == PLUMB_DL_BFLOAT) return dtype::bf16;
  return t.bits == 64 ? dtype::f64 : t.bits == 16 ? dtype::f16 : dtype::f32;
}

kernel_problem problem_of(const plumb_problem& p) {
  kernel_problem kp;
  kp.problem = problem::parse(p.text);
  kp.canonical = p.text;
  kp.type = type_of(p.dtype);
  kp.layout = std::strcmp(p.layout, "nhwc") == 0 ? layout::nhwc : layout::nchw;
  kp.threads = p.threads;
  return kp;
}

exported& of(const plumb_kernel* k) { return *static_cast<exported*>(k->user); }

const char* supports(const plumb_kernel* self, const plumb_problem* p) {
  exported& e = of(self);
  try {
    e.reason = e.inside->unavailable;
    const support answer =
        e.inside->supports && e.reason.empty() ? e.inside->supports(problem_of(*p)) : support::yes();
    if (!answer.ok) e.reason = answer.reason;
  } catch (const std::exception& error) {
    e.reason = error.what();
  }
  return e.reason.empty() ? nullptr : e.reason.c_str();
}

void* open(const plumb_kernel* self, const plumb_problem* p) {
  auto* const o = new opened{problem_of(*p), nullptr};
  o->made = of(self).inside->make_plan(o->problem);
  return o;
}
void close(const plumb_kernel*, void* state) { delete static_cast<opened*>(state); }

std::size_t workspace_size(const plumb_kernel* self, const plumb_problem* p) {
  return of(self).inside->make_plan(problem_of(*p))->workspace_size();
}

std::vector<tensor_ref> tensors_of(const plumb_tensor* list, std::int32_t count) {
  std::vector<tensor_ref> refs;
  for (std::int32_t i = 0; i < count; ++i) {
    const plumb_dl_tensor& t = list[i].dl;
    tensor_ref r{t.data, type_of(t.dtype), {}, {}};
    if (t.data != nullptr) {
      r.extents = shape(std::span<const index_t>(t.shape, static_cast<std::size_t>(t.ndim)));
      r.strides = shape(std::span<const index_t>(t.strides, static_cast<std::size_t>(t.ndim)));
    }
    refs.push_back(r);
  }
  return refs;
}

std::int32_t prepare(const plumb_kernel*, const plumb_call* call) {
  static_cast<opened*>(call->state)->made->prepare(tensors_of(call->reads, call->read_count));
  return 0;
}

std::int32_t run(const plumb_kernel*, const plumb_call* call) {
  const std::vector<tensor_ref> reads = tensors_of(call->reads, call->read_count);
  const std::vector<tensor_ref> writes = tensors_of(call->writes, call->write_count);
  plan& p = *static_cast<opened*>(call->state)->made;
  p.run({reads, writes, call->workspace, call->threads});
  return p.failure().empty() ? 0 : 1;
}

/// All rows, made when the library is first asked.
std::deque<exported>& table() {
  static registry kernels;
  static std::deque<exported> rows = [] {
    register_all_kernels(kernels);
    std::deque<exported> list;
    for (const kernel& k : kernels.all()) {
      exported& e = list.emplace_back();
      e.inside = &k;
      for (const dtype t : k.types) e.types += (e.types.empty() ? "" : " ") + std::string(name_of(t));
      for (const layout l : k.layouts) e.layouts += (e.layouts.empty() ? "" : " ") + std::string(name_of(l));
      plumb_kernel& d = e.outside;
      d.size = sizeof d;
      d.name = k.name.c_str();
      d.dtypes = e.types.c_str();
      d.layouts = e.layouts.c_str();
      d.arithmetic = k.arithmetic.c_str();
      d.ulps = k.accuracy.ulps;
      d.determinism = static_cast<std::int32_t>(k.determinism);
      d.flags = k.any_strides ? PLUMB_ANY_STRIDES : 0;
      d.user = &e;
      d.supports = supports;
      d.workspace_size = workspace_size;
      d.open = open;
      d.close = close;
      d.prepare = prepare;
      d.run = run;
    }
    return list;
  }();
  return rows;
}

}  // namespace
}  // namespace plumb

extern "C" {
std::uint32_t plumb_abi_version(void) { return PLUMB_ABI_VERSION; }
std::size_t plumb_kernel_count(void) { return plumb::table().size(); }
const plumb_kernel* plumb_kernel_at(std::size_t index) {
  return index < plumb::table().size() ? &plumb::table()[index].outside : nullptr;
}
}
