// Specimens: small honest kernels in which faults can be switched on, one at a time, to measure the verifier itself.
//
// A specimen is a struct: `read(problem)` turns a resolved problem into numbers, `items()` counts independent pieces of
// the output (an element, a row, a plane), and `item<F, T>(call, i)` computes piece i with the fault F planted by
// `if constexpr (F == "name")`; F == "honest" is the kernel without any. A path then walks over the pieces: plain loop,
// OpenMP team, or vectors of eight pieces with a tail. A fault that is planted in one path is in that part only: at
// @vector the full vectors of a row are wrong and the tail is right, at @tail the other way round, for the same bug is
// often mended in one path and left in its sibling. Kernels are called layer.pass/fault@path.
//
// What goes wrong in the walking itself, whatever the layer (races, caches, cheats), is in walks.cpp.
#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "reference/core/registry.hpp"

namespace plumb::faults {

/// The name of a fault as template argument.
template <std::size_t N>
struct name {
  char text[N]{};
  consteval name(const char (&t)[N]) { std::copy_n(t, N, text); }
  constexpr bool operator==(std::string_view other) const { return std::string_view(text, N - 1) == other; }
  constexpr std::string_view view() const { return {text, N - 1}; }
};

enum class path { plain, threads, vector, tail };
constexpr std::array<std::string_view, 4> path_names = {"plain", "threads", "vector", "tail"};
constexpr std::string_view name_of(path p) { return path_names[static_cast<std::size_t>(p)]; }
constexpr index_t lanes = 8;

/// One specimen ready for one problem: what a walk needs.
struct work {
  using piece = void (*)(const void* body, const kernel_call& call, index_t i);
  std::shared_ptr<const void> body;
  index_t items = 0;
  index_t row = 1;  ///< pieces in a row of memory, of which whole vectors are cut
  dtype type = dtype::f32;
  piece honest = nullptr;
  piece faulty = nullptr;

  bool in_vector(index_t i) const { return i % row < row / lanes * lanes; }
};

/// A plan that walks over the work in that path; `walk` names a fault of the walk, or is empty.
std::unique_ptr<plan> make_plan(std::string_view walk, path where, work w);

template <class Body, name F, class T>
void piece_of(const void* body, const kernel_call& call, index_t i) {
  static_cast<const Body*>(body)->template item<F, T>(call, i);
}

/// Registers kernels of one specimen. Body may state `arithmetic` (else f32), `ulps`, and `strides` (false: the walk
/// and the pieces know dense row-major tensors only).
template <class Body>
class specimen {
 public:
  specimen(registry& kernels, std::string layer, std::string pass)
      : kernels_(kernels), layer_(std::move(layer)), pass_(std::move(pass)) {}

  /// The specimen without a fault, in every path.
  specimen& honest() {
    for (const path p : {path::plain, path::threads, path::vector}) add<"honest">(p, "");
    return *this;
  }
  template <name F>
  specimen& plant(std::initializer_list<path> paths = {path::plain}) {
    for (const path p : paths) add<F>(p, "");
    return *this;
  }
  /// One after the other, with a team at work inside each piece.
  template <name F>
  specimen& inside() {
    add<F>(path::threads, "inside");
    return *this;
  }
  /// The honest pieces, walked over wrongly.
  specimen& walk(const std::string& fault, path p = path::plain) {
    add<"honest">(p, fault);
    return *this;
  }

 private:
  template <name F, class T>
  static work work_for(const kernel_problem& kp) {
    const auto body = std::make_shared<const Body>(Body::read(kp.problem));
    work w;
    w.items = body->items();
    w.row = std::max<index_t>(1, body->row());
    w.type = kp.type;
    w.honest = piece_of<Body, "honest", T>;
    w.faulty = piece_of<Body, F, T>;
    w.body = body;
    return w;
  }

  template <name F>
  void add(path where, const std::string& walk) {
    kernel k;
    k.layer = layer_;
    k.pass = pass_;
    k.name = layer_ + "." + pass_ + "/" + (F == "honest" && !walk.empty() ? walk : std::string(F.view())) +
             "@" + std::string(name_of(where));
    k.types = {dtype::f32, dtype::f64};
    k.any_strides = true;
    if constexpr (requires { Body::arithmetic; }) k.arithmetic = Body::arithmetic;
    if constexpr (requires { Body::ulps; }) k.accuracy.ulps = Body::ulps;
    k.supports = [](const kernel_problem&) { return support::yes(); };
    k.make_plan = [where, walk](const kernel_problem& kp) {
      return faults::make_plan(walk, where,
                               kp.type == dtype::f64 ? work_for<F, double>(kp) : work_for<F, float>(kp));
    };
    kernels_.add(std::move(k));
  }

  registry& kernels_;
  std::string layer_, pass_;
};

// ---- what specimens share: places and elements

/// A tensor of rank 2 to 5 seen as (n, c, depth, height, width), by strides; axes it lacks have stride 0.
template <class T>
struct grid {
  T* data;
  std::array<index_t, 5> stride{};

  explicit grid(const tensor_ref& t) : data(static_cast<T*>(t.data)) {
    const int spatial = t.extents.rank() - 2;
    stride[0] = t.strides[0];
    stride[1] = t.strides[1];
    for (int i = 0; i < spatial; ++i) stride[static_cast<std::size_t>(5 - spatial + i)] = t.strides[2 + i];
  }
  T& operator()(index_t n, index_t c, index_t d, index_t h, index_t w) const {
    return data[n * stride[0] + c * stride[1] + d * stride[2] + h * stride[3] + w * stride[4]];
  }
};

/// Extents of such a tensor, 1 where an axis is missing.
struct extents5 {
  index_t n = 1, c = 1, d = 1, h = 1, w = 1;

  static extents5 of(const shape& s) {
    std::array<index_t, 3> spatial = {1, 1, 1};
    for (int i = 2; i < s.rank(); ++i) spatial[static_cast<std::size_t>(i + 5 - s.rank() - 2)] = s[i];
    return {s[0], s[1], spatial[0], spatial[1], spatial[2]};
  }
  index_t plane() const { return d * h * w; }
  index_t size() const { return n * c * plane(); }
};

struct place {
  index_t n, c, d, h, w;
};
inline place place_of(index_t i, const extents5& e) {
  return {i / e.plane() / e.c, i / e.plane() % e.c, i / e.w / e.h % e.d, i / e.w % e.h, i % e.w};
}

template <class T>
T* pointer(const tensor_ref& t) {
  return static_cast<T*>(t.data);
}
/// Element `i` of a tensor of rank 1.
template <class T>
T& element(const tensor_ref& t, index_t i) {
  return pointer<T>(t)[i * t.strides[0]];
}

/// One axis along which windows or filters slide.
struct sliding_axis {
  index_t in = 1, out = 1, taps = 1, stride = 1, dilation = 1, begin = 0, end = 0;
  index_t span() const { return dilation * (taps - 1) + 1; }
};

/// Numbers of a list for spatial axis `i`: one an axis, or two (both sides) where `sides`.
inline std::array<sliding_axis, 3> sliding_axes(const problem& p, std::string_view in, std::string_view out,
                                                const std::vector<index_t>& taps) {
  const shape x = p.shape_of(in), y = p.shape_of(out);
  const auto rank = static_cast<std::size_t>(x.rank() - 2);
  std::array<sliding_axis, 3> axes;
  const auto list = [&](std::string_view key) {
    return p.has(key) ? p.integers(key) : std::vector<index_t>();
  };
  const auto stride = list("stride"), dilation = list("dilation"), pad = list("pad");
  for (std::size_t i = 0; i < rank; ++i) {
    sliding_axis& a = axes[3 - rank + i];
    a.in = x[2 + static_cast<int>(i)];
    a.out = y[2 + static_cast<int>(i)];
    a.taps = taps[i];
    a.stride = stride.empty() ? 1 : stride[i];
    a.dilation = dilation.empty() ? 1 : dilation[i];
    const bool sides = pad.size() == 2 * rank;
    a.begin = pad.empty() ? 0 : sides ? pad[2 * i] : pad[i];
    a.end = pad.empty() ? 0 : sides ? pad[2 * i + 1] : pad[i];
  }
  return axes;
}

// ---- low precision, for kernels that secretly use it

/// The value with the last `bits` of 23 bits of its significand rounded away.
template <class T>
T coarse(T value, int bits) {
  auto f = static_cast<float>(value);
  std::uint32_t u;
  std::memcpy(&u, &f, sizeof u);
  if ((u & 0x7f800000U) == 0x7f800000U) return value;
  u += (1U << (bits - 1)) - 1 + (u >> bits & 1U);
  u &= ~((1U << bits) - 1);
  std::memcpy(&f, &u, sizeof f);
  return static_cast<T>(f);
}
template <class T>
T as_bf16(T value) {
  return coarse(value, 16);
}
template <class T>
T as_tf32(T value) {
  return coarse(value, 13);
}

}  // namespace plumb::faults
