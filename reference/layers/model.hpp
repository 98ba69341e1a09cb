// From a layer's header to the erased `layer`: reads the attributes from problem text, checks shapes, prints
// both forms of the text, and forwards every definition. Nothing here knows any particular layer.
#pragma once

#include "reference/layers/layer.hpp"

namespace plumb {
namespace detail {

/// Reads each attribute that the problem gives, and remembers which names exist. An attribute left out takes
/// its `otherwise` if the layer names one (an attribute read before: stride = window), else what a fresh
/// layer holds; if that is no legal value, the attribute is required and missed.
struct attribute_reader {
  const problem& text;
  std::vector<std::string> known = {};
  std::string missing = {};  ///< the sentence about the first required attribute that is not given

  template <class V>
  void operator()(std::string_view name, V& value, range allowed = {}) {
    known.emplace_back(name);
    if (given(name, value, allowed)) return;
    const std::string expected = attribute::read(attribute::print(value, true), value, allowed);
    if (!expected.empty() && missing.empty())
      missing = "`" + text.layer() + "` needs `" + std::string(name) + "=…`; " + expected;
  }
  template <class V>
  void operator()(std::string_view name, V& value, range allowed, const V& otherwise) {
    known.emplace_back(name);
    if (!given(name, value, allowed)) value = otherwise;
  }

 private:
  template <class V>
  bool given(std::string_view name, V& value, range allowed) const {
    const problem::field* f = text.find(name);
    if (f == nullptr) return false;
    const std::string expected = attribute::read(f->value, value, allowed);
    if (!expected.empty()) throw text_error(f->key + "=" + f->value, f->column, expected);
    return true;
  }
};

/// Prints each attribute: all of them in full, or those that differ from what reading would fill in.
struct attribute_printer {
  bool full;
  problem& text;
  std::vector<std::string> defaults = {};  ///< of a fresh layer, in order
  std::size_t next = 0;

  template <class V>
  void operator()(std::string_view name, const V& value, range = {}) {
    const std::string printed = attribute::print(value, full);
    if (full || printed != defaults[next]) text.set(name, printed);
    ++next;
  }
  template <class V>
  void operator()(std::string_view name, const V& value, range allowed, const V& otherwise) {
    V again = value;  // a value that does not read back stands for `not given`, and stays so
    const bool legal = attribute::read(attribute::print(value, full), again, allowed).empty();
    if (legal && (full || !(value == otherwise))) text.set(name, attribute::print(value, full));
    ++next;
  }
};

template <Layer L>
problem print_problem(const std::string& name, const L& math, const shape_map& inputs, bool full) {
  problem text(name);
  for (const auto& [tensor, extents] : inputs.entries()) text.set(tensor, to_string(extents));
  attribute_printer printer{full, text};
  const L fresh;
  L::attributes(fresh, [&](std::string_view, const auto& value, auto&&...) {
    printer.defaults.push_back(attribute::print(value, full));
  });
  L::attributes(math, printer);
  return text;
}

/// Throws shape_error if the elements of a tensor cannot be counted in index_t.
inline void require_countable(std::string_view name, const shape& s) {
  index_t elements = 1;
  for (const index_t extent : s)
    if (__builtin_mul_overflow(elements, std::max<index_t>(extent, 1), &elements))
      throw shape_error(std::string(name) + "=" + to_string(s) + " has more than 2^63 elements");
}

/// Lists the attributes of a fresh layer.
struct attribute_lister {
  std::vector<attribute_card>& cards;
  using kind = attribute_card::kind;

  template <class V>
  void operator()(std::string_view name, const V& value, range allowed = {}) {
    attribute_card card = about(value);
    card.name = name;
    card.allowed = allowed;
    V again = value;
    card.required = !attribute::read(attribute::print(value, true), again, allowed).empty();
    if (!card.required) card.otherwise = attribute::print(value, false);
    cards.push_back(card);
  }
  template <class V>
  void operator()(std::string_view name, const V& value, range allowed, const V&) {
    attribute_card card = about(value);
    card.name = name;
    card.allowed = allowed;
    cards.push_back(card);
  }

 private:
  static attribute_card about(index_t) { return {.name = {}, .type = kind::integer}; }
  static attribute_card about(bool) { return {.name = {}, .type = kind::flag}; }
  static attribute_card about(const decimal&) { return {.name = {}, .type = kind::decimal}; }
  static attribute_card about(const integer_list&) { return {.name = {}, .type = kind::list}; }
  template <std::size_t Rank>
  static attribute_card about(const std::array<index_t, Rank>&) {
    return {.name = {}, .type = kind::per_axis, .axes = Rank};
  }
  template <std::size_t Rank>
  static attribute_card about(const std::array<decimal, Rank>&) {
    return {.name = {}, .type = kind::decimals, .axes = Rank};
  }
  template <int Rank>
  static attribute_card about(const per_side<Rank>&) {
    return {.name = {}, .type = kind::per_side, .axes = Rank};
  }
  template <class E>
  requires std::is_enum_v<E>
  static attribute_card about(E) {
    attribute_card card{.name = {}, .type = kind::choice};
    for (const auto& choice : choices<E>::names) card.choices.emplace_back(choice);
    return card;
  }
};

}  // namespace detail

template <Layer L>
layer_card card_of() {
  const L fresh;
  layer_card card{L::formula, fresh.describe(), {}, L::rational, L::degree};
  detail::attribute_lister lister{card.attributes};
  L::attributes(fresh, lister);
  return card;
}

/// The definitions of L over one scalar. What is virtual in definitions<T> overrides; the others come to nothing.
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
           const bundle<T>& dx) const {
    if constexpr (applies)
      math_.template vjp<T>(in, out, dy, dx);
    else
      refuse();
  }
  void jacobian(const bundle<const T>& in, const entry_sink<T>& emit) const {
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
    detail::attribute_reader reader{text};
    L::attributes(math, reader);
    const signature before = math.describe();
    check_names(text, before, reader.known);
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
    if (!reader.missing.empty()) throw text_error(text.print(), 0, reader.missing);
    const shape_map outputs = math.output_shapes(inputs);
    if constexpr (requires { math.resolve(inputs); }) math.resolve(inputs);
    canonical_ = detail::print_problem<L>(text.layer(), math, inputs, false);
    resolved_ = detail::print_problem<L>(text.layer(), math, inputs, true);
    signature_ = math.describe();
    shapes_ = inputs;
    for (const auto& [name, extents] : outputs.entries()) {
      detail::require_countable(name, extents);
      shapes_.set(name, extents);
      resolved_.set(name, to_string(extents));
    }
    keep_present_passes();
    define(scalar_list());
  }

  bool rational_arithmetic() const override { return L::rational; }
  int degree() const override { return L::degree; }
  bool batchwise() const override {
    if constexpr (requires { math_.batchwise(shapes_); }) return math_.batchwise(shapes_);
    return true;
  }
  bool channelwise() const override {
    return requires { L::channelwise; };
  }
  bool has_winners() const override {
    return requires(const L& l, bundle<const double> in) { l.template winners<double>(in); };
  }
  std::vector<index_t> winners(const bundle<const double>& in) const override {
    if constexpr (requires { math_.template winners<double>(in); }) return math_.template winners<double>(in);
    return {};
  }
  void products(std::string_view pass, index_t flat, product_list& list) const override {
    list.addend = -1;
    if constexpr (requires { math_.products(pass, shapes_, flat, list); })
      math_.products(pass, shapes_, flat, list);
    else
      throw std::logic_error("layer `" + name() + "` declares no products");
  }
  index_t full_products(std::string_view pass) const override {
    if constexpr (requires { math_.full_products(pass, shapes_); }) return math_.full_products(pass, shapes_);
    return 0;
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
