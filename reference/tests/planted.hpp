// A layer with one definition planted wrong, whatever the layer: the first element of its first differentiable output
// gets a slope that it does not have along the first element of its first differentiable input.
#pragma once

#include <optional>

#include "reference/layers/layer.hpp"

namespace plumb {

enum class planted : std::uint8_t { formula, vjp, jacobian, dual_numbers };

namespace detail {

struct fault {
  planted kind;
  std::string in, out;  ///< names of the two tensors
};

/// `override` is left out: on dual numbers there is only `forward`.
template <class T>
class planted_definitions final : public definitions<T> {
 public:
  planted_definitions(const definitions<T>& good, const fault& f) : good_(good), fault_(f) {}

  void forward(const bundle<const T>& in, const bundle<T>& out) const override {
    good_.forward(in, out);
    if (fault_.kind == planted::formula) out[fault_.out][0] += in[fault_.in][0];
    if constexpr (is_dual_v<T>)
      if (fault_.kind == planted::dual_numbers) out[fault_.out][0].tangent += in[fault_.in][0].tangent;
  }
  void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& dy,
           const bundle<T>& dx) const {
    good_.vjp(in, out, dy, dx);
    if (fault_.kind == planted::vjp) dx["d" + fault_.in][0] += dy["d" + fault_.out][0];
  }
  void jacobian(const bundle<const T>& in, const entry_sink<T>& emit) const {
    good_.jacobian(in, emit);
    if (fault_.kind == planted::jacobian) emit(fault_.out, 0, fault_.in, 0, T(1));
  }

 private:
  const definitions<T>& good_;
  fault fault_;
};

}  // namespace detail

/// Wraps a layer that outlives it.
class planted_layer final : public layer {
 public:
  planted_layer(const layer& good, planted kind, std::string in, std::string out) : good_(good) {
    canonical_ = good.canonical();
    resolved_ = good.resolved();
    signature_ = good.describe();
    shapes_ = good.shapes();
    plant({kind, std::move(in), std::move(out)}, scalar_list());
  }

  bool rational_arithmetic() const override { return good_.rational_arithmetic(); }
  int degree() const override { return good_.degree(); }
  bool batchwise() const override { return good_.batchwise(); }
  bool channelwise() const override { return good_.channelwise(); }
  bool has_winners() const override { return good_.has_winners(); }
  std::vector<index_t> winners(const bundle<const double>& in) const override { return good_.winners(in); }
  void products(std::string_view pass, index_t flat, product_list& list) const override {
    good_.products(pass, flat, list);
  }
  index_t full_products(std::string_view pass) const override { return good_.full_products(pass); }
  index_t index_bound(std::string_view input) const override { return good_.index_bound(input); }

 private:
  template <class... T>
  void plant(const detail::fault& f, type_list<T...>) {
    definitions_ = {std::make_unique<detail::planted_definitions<T>>(good_.as<T>(), f)...};
  }
  const layer& good_;
};

/// A differentiable input and output with elements, or nothing.
inline std::optional<std::pair<std::string, std::string>> place_for_a_fault(const layer& l) {
  const auto first = [&](const std::vector<tensor_spec>& specs) -> std::string {
    for (const tensor_spec& s : specs)
      if (s.kind == element::real && s.differentiable && l.present(s.name) && l.shapes()[s.name].size() > 0)
        return s.name;
    return {};
  };
  const std::string in = first(l.describe().inputs), out = first(l.describe().outputs);
  if (in.empty() || out.empty()) return std::nullopt;
  return std::pair(in, out);
}

}  // namespace plumb
