// The Layer concept: what a header in reference/layers/ must say about a layer, and the bundles of named
// tensors in which its definitions receive their operands.
//
// A layer is a plain struct of attributes. It states its signature (which tensors go in and out, which passes
// a kernel can compute), its shape rule, and its mathematics as templates over the scalar type:
//     forward<T>(in, out)               the formula, in naive loops
//     vjp<T>(in, out, dy, dx)           cotangents of the outputs in, gradients of the inputs out, derived by
//     hand;
//                                       `out` holds saved outputs, and `dx` only the gradients that are asked
//                                       for
//     jacobian<T>(in, emit)             ∂out/∂in entry by entry, derived on its own: emit(out, i, in, j,
//     value)
// Dual numbers give the fourth definition (forward<dual<T>>) and numerical differentiation the fifth, for
// free. vjp and jacobian share no helper with each other or with forward, so that a fault in one is blamed on
// that one.
#pragma once

#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "reference/core/attributes.hpp"
#include "reference/core/tensor_view.hpp"

namespace plumb {

/// What the elements of a tensor are: numbers of the scalar type, or integers (class labels, winners).
enum class element : std::uint8_t { real, index };

/// Which numbers a real input may hold; whoever draws data keeps to it. `unit` is [0, 1), `bit` is 0 or 1, `position`
/// is [-1.25, 1.25]: a place in an image whose ends are -1 and 1, or a little outside.
enum class domain : std::uint8_t { any, nonnegative, positive, nonzero, unit, bit, position };

struct tensor_spec {
  static constexpr int no_batch = -1;
  std::string name;
  element kind = element::real;
  bool optional = false;
  bool differentiable = true;
  domain values = domain::any;
  int batch_axis = 0;  ///< the axis that counts independent samples, or no_batch (weights, a summed loss)
  /// Index letters, one an axis, such as `nchw`, `kcrs`; a `*` stands for any number of positions, as in
  /// `nc*`, a digit for an axis of that extent, as in `npq2`. Empty: any rank, axes 0 and 1 are batch and channel.
  std::string axes = {};
};

/// The letters of a tensor's axes; element-wise tensors of any rank borrow those of an activation.
inline std::string axis_letters(const tensor_spec& spec, int rank) {
  const std::size_t star = spec.axes.find('*');
  const std::size_t named = spec.axes.size() - 1;
  if (star != std::string::npos && static_cast<std::size_t>(rank) <= named)
    return spec.axes.substr(0, star)
        .append(spec.axes, star + 1)
        .substr(named - static_cast<std::size_t>(rank));
  if (star != std::string::npos) {
    constexpr std::string_view positions = "abefdhw";
    const std::size_t count = std::min(static_cast<std::size_t>(rank) - named, positions.size());
    return std::string(spec.axes).replace(star, 1, positions.substr(positions.size() - count));
  }
  if (static_cast<int>(spec.axes.size()) == rank) return spec.axes;
  constexpr std::string_view by_rank[] = {"", "i", "nc", "ncw", "nchw", "ncdhw"};
  return rank < 6 ? std::string(by_rank[rank])
                  : std::string("abcdefgh").substr(0, static_cast<std::size_t>(rank));
}

/// Whether the tensor is an activation, which a channels-last layout rearranges; weights and labels are row
/// major.
inline bool follows_layout(const tensor_spec& spec, int rank) {
  const std::string letters = axis_letters(spec, rank);
  return rank >= 3 && spec.batch_axis == 0 && (letters[1] == 'c' || letters[1] == 'k');
}

/// One pass as a kernel computes it. Names: inputs and outputs as the layer calls them, `dy` for the
/// cotangent of output `y`, `dx` for the gradient of input `x`.
struct pass_spec {
  std::string name;
  std::vector<std::string> reads;
  std::vector<std::string> writes;
  /// Groups of tensors in which the pass is jointly linear while the others stay fixed:
  /// {{x,bias},{weight,bias}}.
  std::vector<std::vector<std::string>> linear_in = {};
  /// If every element written is Σ a·b (+ c): the tensors a and b (empty: the constant 1) and the addend c
  /// (or empty). The layer then has `products`, and the oracle sums exactly, element by element and in
  /// parallel.
  struct contraction_spec {
    std::string a, b, addend;
  };
  std::optional<contraction_spec> contraction = {};
  /// Every element written is a copy of one element read, or a constant: nothing is computed, so even the sign of a
  /// zero is settled.
  bool selects = false;
};

struct signature {
  std::vector<tensor_spec> inputs;
  std::vector<tensor_spec> outputs;
  std::vector<pass_spec> passes;  ///< the first is `forward`
};

/// Shapes by name. `d` + name is the gradient or cotangent and has the shape of the name.
class shape_map {
 public:
  void set(std::string_view name, const shape& s) { entries_.push_back({std::string(name), s}); }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  const shape& operator[](std::string_view name) const {
    if (const shape* s = find(name)) return *s;
    throw std::out_of_range("no tensor named `" + std::string(name) + "`");
  }
  struct entry {
    std::string name;
    shape extents;
  };
  const std::vector<entry>& entries() const { return entries_; }

 private:
  const shape* find(std::string_view name) const {
    for (const entry& e : entries_)
      if (e.name == name || (name.size() == e.name.size() + 1 && name[0] == 'd' && name.substr(1) == e.name))
        return &e.extents;
    return nullptr;
  }
  std::vector<entry> entries_;
};

/// Named views of one scalar type (and of indices): the operands of one evaluation. T may be const.
template <class T>
class bundle {
 public:
  using index_type = std::conditional_t<std::is_const_v<T>, const index_t, index_t>;

  void add(std::string_view name, tensor_view<T> view) { entries_.push_back({name, view, {}, false}); }
  void add_indices(std::string_view name, tensor_view<index_type> view) {
    entries_.push_back({name, {}, view, true});
  }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// The real tensor of that name; asking for one that is not there is a programming error.
  tensor_view<T> operator[](std::string_view name) const { return at(name).real; }
  tensor_view<index_type> indices(std::string_view name) const { return at(name).index; }

  template <class U>
  requires(std::is_same_v<const U, T>) static bundle from(const bundle<U>& other) {
    bundle result;
    for (const auto& e : other.entries()) result.entries_.push_back({e.name, e.real, e.index, e.is_index});
    return result;
  }

  struct entry {
    std::string_view name;
    tensor_view<T> real;
    tensor_view<index_type> index;
    bool is_index = false;
  };
  const std::vector<entry>& entries() const { return entries_; }

 private:
  template <class U>
  friend class bundle;
  const entry* find(std::string_view name) const {
    for (const entry& e : entries_)
      if (e.name == name) return &e;
    return nullptr;
  }
  const entry& at(std::string_view name) const {
    if (const entry* e = find(name)) return *e;
    throw std::out_of_range("no tensor named `" + std::string(name) + "`");
  }
  std::vector<entry> entries_;
};

/// The owning counterpart of bundle.
template <class T>
class tensor_set {
 public:
  struct entry {
    std::string name;
    tensor<T> real;
    tensor<index_t> index;
    bool is_index = false;
    const shape& extents() const { return is_index ? index.extents() : real.extents(); }
  };

  tensor<T>& add(std::string_view name, tensor<T> values) {
    entries_.push_back({std::string(name), std::move(values), {}, false});
    return entries_.back().real;
  }
  tensor<index_t>& add_indices(std::string_view name, tensor<index_t> values) {
    entries_.push_back({std::string(name), {}, std::move(values), true});
    return entries_.back().index;
  }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  entry* find(std::string_view name) {
    for (entry& e : entries_)
      if (e.name == name) return &e;
    return nullptr;
  }
  const entry* find(std::string_view name) const { return const_cast<tensor_set*>(this)->find(name); }
  entry& at(std::string_view name) {
    if (entry* e = find(name)) return *e;
    throw std::out_of_range("no tensor named `" + std::string(name) + "`");
  }
  const entry& at(std::string_view name) const { return const_cast<tensor_set*>(this)->at(name); }
  tensor<T>& operator[](std::string_view name) { return at(name).real; }
  const tensor<T>& operator[](std::string_view name) const { return at(name).real; }
  tensor<index_t>& indices(std::string_view name) { return at(name).index; }
  const tensor<index_t>& indices(std::string_view name) const { return at(name).index; }
  std::vector<entry>& entries() { return entries_; }
  const std::vector<entry>& entries() const { return entries_; }

  bundle<T> views() {
    bundle<T> b;
    for (entry& e : entries_)
      e.is_index ? b.add_indices(e.name, e.index.view()) : b.add(e.name, e.real.view());
    return b;
  }
  bundle<const T> views() const {
    bundle<const T> b;
    for (const entry& e : entries_)
      e.is_index ? b.add_indices(e.name, e.index.view()) : b.add(e.name, e.real.view());
    return b;
  }

  /// The same tensors with every number converted by `f`.
  template <class U, class F>
  tensor_set<U> map(F&& f) const {
    tensor_set<U> result;
    for (const entry& e : entries_) {
      if (e.is_index) {
        result.add_indices(e.name, e.index);
        continue;
      }
      tensor<U> t(e.real.extents());
      for (index_t i = 0; i < t.size(); ++i) t[i] = f(e.real[i]);
      result.add(e.name, std::move(t));
    }
    return result;
  }

 private:
  std::vector<entry> entries_;
};

/// A sink for `jacobian` that does nothing; only used to state the concept.
struct ignore_entries {
  template <class T>
  void operator()(std::string_view, index_t, std::string_view, index_t, const T&) const {}
};

template <class L>
concept Layer = std::default_initializable<L> && std::copyable<L> && std::equality_comparable<L> &&
    requires(const L layer, const shape_map& shapes, bundle<const double> in, bundle<double> out) {
  { layer.describe() } -> std::same_as<signature>;
  { layer.output_shapes(shapes) } -> std::same_as<shape_map>;
  { L::formula } -> std::convertible_to<std::string_view>;  // one line, for lists of layers
  { L::rational } -> std::convertible_to<bool>;
  { L::degree } -> std::convertible_to<int>;
  layer.template forward<double>(in, out);
  layer.template vjp<double>(in, in, in, out);
  layer.template jacobian<double>(in, ignore_entries());
};

}  // namespace plumb
