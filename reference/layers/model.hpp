// From a layer's header to the erased `layer`: reads the attributes from problem text, checks shapes, prints
// both forms of the text, and forwards every definition. Nothing here knows any particular layer.
#pragma once

#include "reference/layers/layer.hpp"

namespace plumb {
namespace detail {

/// Reads each attribute that the problem gives, and remembers which names exist.
struct attribute_reader {
  const problem& text;
  std::vector<std::string>& known;

  template <class V>
  void operator()(std::string_view name, V& value, range allowed = {}) const {
    known.emplace_back(name);
    const problem::field* f = text.find(name);
    if (f == nullptr) return;
    const std::string expected = attribute::read(f->value, value, allowed);
    if (!expected.empty()) throw text_error(f->key + "=" + f->value, f->column, expected);
  }
};

template <Layer L>
problem print_problem(const std::string& name, const L& math, const L& defaults, const shape_map& inputs,
                      bool full) {
  problem text(name);
  for (const auto& [tensor, extents] : inputs.entries()) text.set(tensor, to_string(extents));
  const auto print_all = [&](const auto& reference) {
    std::vector<std::pair<std::string, std::string>> printed;
    L::attributes(reference, [&](std::string_view attr, const auto& value, range = {}) {
      printed.emplace_back(attr, attribute::print(value, full));
    });
    return printed;
  };
  const auto mine = print_all(math);
  const auto theirs = print_all(defaults);
  for (std::size_t i = 0; i < mine.size(); ++i)
    if (full || mine[i].second != theirs[i].second) text.set(mine[i].first, mine[i].second);
  return text;
}

}  // namespace detail

/// The definitions of L over one scalar.
template <Layer L, class T>
class definitions_of final : public definitions<T> {
  static constexpr bool applies = L::rational || !is_exact_v<T>;
  [[noreturn]] static void refuse() { throw std::logic_error("this layer has no rational arithmetic"); }

 public:
  explicit definitions_of(const L& math) : math_(math) {}

  void forward(const bundle<const T>& in, const bundle<T>& out) const override {
    if constexpr (applies)
      math_.template forward<T>(in, out);
    else
      refuse();
  }
  void vjp(const bundle<const T>& in, const bundle<const T>& out, const bundle<const T>& dy,
           const bundle<T>& dx) const override {
    if constexpr (applies)
      math_.template vjp<T>(in, out, dy, dx);
    else
      refuse();
  }
  void jacobian(const bundle<const T>& in, const entry_sink<T>& emit) const override {
    if constexpr (applies)
      math_.template jacobian<T>(in, emit);
    else
      refuse();
  }

 private:
  L math_;
};

template <Layer L>
class layer_model final : public layer {
 public:
  /// Throws text_error for bad text, shape_error for shapes that do not fit.
  explicit layer_model(const problem& text) {
    L& math = math_;
    std::vector<std::string> known;
    L::attributes(math, detail::attribute_reader{text, known});
    const signature before = math.describe();
    shape_map inputs;
    for (const tensor_spec& spec : before.inputs) {
      if (const problem::field* f = text.find(spec.name)) {
        const auto extents = parse_shape(f->value);
        if (!extents)
          throw text_error(f->key + "=" + f->value, f->column, "expected a shape such as 1x3x32x32");
        inputs.set(spec.name, *extents);
      } else if (!spec.optional) {
        throw text_error(text.print(), 0,
                         "`" + text.layer() + "` needs the shape of `" + spec.name + "`, as in `" +
                             spec.name + "=1x3x32x32`");
      }
    }
    check_names(text, before, known);
    const shape_map outputs = math.output_shapes(inputs);
    if constexpr (requires { math.resolve(inputs); }) math.resolve(inputs);
    canonical_ = detail::print_problem<L>(text.layer(), math, L(), inputs, false);
    resolved_ = detail::print_problem<L>(text.layer(), math, L(), inputs, true);
    signature_ = math.describe();
    shapes_ = inputs;
    for (const auto& [name, extents] : outputs.entries()) {
      shapes_.set(name, extents);
      resolved_.set(name, to_string(extents));
    }
    keep_present_passes();
    define(scalar_list());
  }

  bool rational_arithmetic() const override { return L::rational; }
  int degree() const override { return L::degree; }
  bool batchwise() const override {
    if constexpr (requires { math_.batchwise(); }) return math_.batchwise();
    return true;
  }
  bool has_winners() const override {
    return requires(const L& l, bundle<const double> in) { l.template winners<double>(in); };
  }
  std::vector<index_t> winners(const bundle<const double>& in) const override {
    if constexpr (requires { math_.template winners<double>(in); }) return math_.template winners<double>(in);
    return {};
  }
  void products(std::string_view pass, index_t flat, product_list& list) const override {
    list.terms.clear();
    list.addend = -1;
    if constexpr (requires { math_.products(pass, shapes_, flat, list); })
      math_.products(pass, shapes_, flat, list);
    else
      throw std::logic_error("layer `" + name() + "` declares no products");
  }
  index_t index_bound(std::string_view input) const override {
    if constexpr (requires { math_.index_bound(input, shapes_); }) return math_.index_bound(input, shapes_);
    return 0;
  }

 private:
  template <class... T>
  void define(type_list<T...>) {
    definitions_ = {std::make_unique<definitions_of<L, T>>(math_)...};
  }
  static void check_names(const problem& text, const signature& sig, std::vector<std::string> known) {
    for (const tensor_spec& spec : sig.inputs) known.push_back(spec.name);
    for (const problem::field& f : text.fields())
      if (std::ranges::find(known, f.key) == known.end())
        throw text_error(
            f.key + "=" + f.value, f.column,
            "`" + text.layer() + "` has no tensor or attribute `" + f.key + "`; expected " + list_of(known));
  }
  /// Passes lose the optional tensors that this problem leaves out; a pass that then writes nothing is gone.
  void keep_present_passes() {
    for (pass_spec& pass : signature_.passes)
      std::erase_if(pass.writes, [&](const std::string& tensor) { return !present(tensor); });
    std::erase_if(signature_.passes, [](const pass_spec& pass) { return pass.writes.empty(); });
  }

  L math_;
};

}  // namespace plumb
