// A layer bound to a problem, with its type erased: what verify, properties and the command line hold.
// `as<T>()` gives the definitions over the scalar T; shapes, passes and both forms of the problem text come
// with it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "reference/core/layer.hpp"
#include "reference/layers/products.hpp"
#include "reference/scalars/scalars.hpp"

namespace plumb {

/// One entry of an explicit Jacobian: ∂out[i]/∂in[j] = value, i and j row-major numbers.
template <class T>
using entry_sink =
    std::function<void(std::string_view out, index_t i, std::string_view in, index_t j, const T& value)>;

template <class T>
class forward_definition {
 public:
  virtual void forward(const bundle<const T>& in, const bundle<T>& out) const = 0;
  virtual ~forward_definition() = default;
};
template <class T>
class vjp_definition : public forward_definition<T> {
 public:
  virtual void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& dy,
                   const bundle<T>& dx) const = 0;
};
template <class T>
class jacobian_definition : public vjp_definition<T> {
 public:
  virtual void jacobian(const bundle<const T>& in, const entry_sink<T>& emit) const = 0;
};
/// What a layer defines over T.
template <class T>
using definitions =
    std::conditional_t<is_dual_v<T>, forward_definition<T>,
                       std::conditional_t<has_jacobian_v<T>, jacobian_definition<T>, vjp_definition<T>>>;

/// An attribute as `attributes` lists it: for help, for lists of layers, and for drawing problems.
struct attribute_card {
  enum class kind : std::uint8_t { integer, flag, choice, per_axis, per_side, list, decimal, decimals };
  std::string name;
  kind type = kind::integer;
  int axes = 1;                           ///< spatial axes of per_axis, per_side and decimals
  range allowed = {};                     ///< of every integer in it
  std::vector<std::string> choices = {};  ///< of kind::choice
  bool required = false;
  std::string otherwise = {};  ///< the default, as text; empty if required or taken from another attribute
};

/// What can be said of a layer before there is a problem.
struct layer_card {
  std::string_view formula;
  signature tensors;
  std::vector<attribute_card> attributes;
  bool rational = false;
  int degree = 0;
};

template <class List>
struct definitions_over;
template <class... T>
struct definitions_over<type_list<T...>> {
  using type = std::tuple<std::unique_ptr<definitions<T>>...>;
};

class layer {
 public:
  virtual ~layer() = default;

  const std::string& name() const { return canonical_.layer(); }
  /// Defaults left out: the text for people, names, replay lines and plugins.
  const problem& canonical() const { return canonical_; }
  /// Every shape and attribute present: what kernels receive.
  const problem& resolved() const { return resolved_; }
  const signature& describe() const { return signature_; }
  /// Inputs and outputs; `dx` finds the shape of `x`. Optional inputs left out are absent.
  const shape_map& shapes() const { return shapes_; }
  const pass_spec* find_pass(std::string_view pass) const;
  /// The spec of an input or output, or of the tensor that `dx`, `dy` belong to.
  const tensor_spec& spec(std::string_view tensor) const;
  bool present(std::string_view tensor) const { return shapes_.has(tensor); }

  /// Built from + - × ÷ and comparisons, so that rationals apply.
  virtual bool rational_arithmetic() const = 0;
  /// Polynomial degree in each single coordinate (piecewise), or 0 if it is not a polynomial.
  virtual int degree() const = 0;
  /// Samples along the batch axis are independent (a mean over the batch is not).
  virtual bool batchwise() const = 0;
  /// Whatever is computed belongs to a channel and depends on no other: the same layer of some channels, with their
  /// parameters, gives just those.
  virtual bool channelwise() const = 0;
  /// Whether the layer has kinks and reports who won each maximum; a changed trace means a kink was crossed.
  virtual bool has_winners() const = 0;
  virtual std::vector<index_t> winners(const bundle<const double>& in) const = 0;
  /// The products of element `flat` of the tensor that the pass writes; only for passes with a contraction.
  virtual void products(std::string_view pass, index_t flat, product_list& list) const = 0;
  /// How many products an element has that no border cuts short: kernels may multiply the zeros of their padding for
  /// the others. 0 where the layer does not say.
  virtual index_t full_products(std::string_view pass) const = 0;
  /// Largest legal value (exclusive) of an index input: classes for a target, positions for an unpool index.
  virtual index_t index_bound(std::string_view input) const = 0;

  template <class T>
  const definitions<T>& as() const {
    return *std::get<std::unique_ptr<definitions<T>>>(definitions_);
  }

 protected:
  definitions_over<scalar_list>::type definitions_;
  problem canonical_;
  problem resolved_;
  signature signature_;
  shape_map shapes_;
};

/// Owning sets for a problem, zero-filled: the outputs, or the tensors of the given names (`dx`, `weight`,
/// …).
template <class T>
tensor_set<T> make_tensors(const layer& l, std::span<const std::string> names) {
  tensor_set<T> set;
  for (const std::string& name : names) {
    if (!l.present(name)) continue;
    if (l.spec(name).kind == element::index)
      set.add_indices(name, tensor<index_t>(l.shapes()[name]));
    else
      set.add(name, tensor<T>(l.shapes()[name]));
  }
  return set;
}

}  // namespace plumb
