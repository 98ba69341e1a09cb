// The place where a law is tried: it draws small integers, evaluates passes (by the kernel under judgement
// where that is what it computes, else by the reference), and notes the first disagreement. Laws are
// templates over lab<T>.
#pragma once

#include <memory>

#include "properties/generators/problem_space.hpp"
#include "properties/laws/known.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"
#include "verify/law.hpp"
#include "verify/parts.hpp"

namespace plumb {

inline bool is_input(const layer& l, std::string_view name) {
  return std::ranges::any_of(l.describe().inputs, [&](const tensor_spec& s) { return s.name == name; });
}
inline bool is_output(const layer& l, std::string_view name) {
  return std::ranges::any_of(l.describe().outputs, [&](const tensor_spec& s) { return s.name == name; });
}
inline bool is_forward(const pass_spec& pass) { return pass.name == "forward"; }

inline std::string coordinates_text(const shape& at) {
  std::string text;
  for (const index_t i : at) text.append(text.empty() ? "" : ",").append(std::to_string(i));
  return text;
}

/// Thrown inside a law that finds nothing to say about its problem.
struct not_applicable {};

template <class T>
class lab {
 public:
  /// `unit`: unit roundoff to which inexact evaluations are held.
  lab(const layer& about, const pass_spec& pass, std::uint64_t seed, evaluator<T> subject, double unit)
      : about_(about), pass_(pass), state_(seed), subject_(std::move(subject)), unit_(unit) {}

  const layer& about() const { return about_; }
  const pass_spec& pass() const { return pass_; }
  const law_verdict& verdict() const { return verdict_; }
  /// The kernel was asked at least once.
  bool asked() const { return asked_; }

  static void require(bool condition) {
    if (!condition) throw not_applicable();
  }

  // Draws ------------------------------------------------------------------------------------------------

  /// Uniform, both ends included (splitmix64).
  index_t between(index_t least, index_t most) {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return least + static_cast<index_t>((z ^ (z >> 31)) % static_cast<std::uint64_t>(most - least + 1));
  }
  std::vector<index_t> permutation(index_t count) {
    std::vector<index_t> p(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i) p[static_cast<std::size_t>(i)] = i;
    for (index_t i = count - 1; i > 0; --i)
      std::swap(p[static_cast<std::size_t>(i)], p[static_cast<std::size_t>(between(0, i))]);
    return p;
  }
  tensor<T> numbers(const shape& extents, index_t least = -3, index_t most = 3) {
    tensor<T> t(extents);
    for (index_t i = 0; i < t.size(); ++i) t[i] = T(between(least, most));
    return t;
  }
  /// Every element differs from all others.
  tensor<T> distinct_numbers(const shape& extents) {
    tensor<T> t(extents);
    const std::vector<index_t> order = permutation(t.size());
    for (index_t i = 0; i < t.size(); ++i) t[i] = T(order[static_cast<std::size_t>(i)] - t.size() / 2);
    return t;
  }

  /// All inputs of the layer, each in its domain. Factors that are not differentiated (class weights) are drawn
  /// positive, so that no mean divides by zero.
  tensor_set<T> inputs(const layer& l, bool distinct = false) {
    tensor_set<T> set;
    for (const tensor_spec& s : l.describe().inputs) {
      if (!l.present(s.name)) continue;
      const shape& extents = l.shapes()[s.name];
      if (s.kind == element::index) {
        tensor<index_t> t(extents);
        for (index_t i = 0; i < t.size(); ++i) t[i] = between(0, l.index_bound(s.name) - 1);
        set.add_indices(s.name, std::move(t));
      } else if (s.values == domain::unit) {
        tensor<T>& quarters = set.add(s.name, numbers(extents, 0, 3));
        for (T& v : quarters.values()) v = v / T(4);
      } else if (s.values == domain::position) {
        tensor<T>& quarters = set.add(s.name, numbers(extents, -5, 5));
        for (T& v : quarters.values()) v = v / T(4);
      } else if (s.values == domain::bit) {
        set.add(s.name, numbers(extents, 0, 1));
      } else if (!s.differentiable || s.values != domain::any) {
        set.add(s.name, numbers(extents, 1, 3));
      } else {
        set.add(s.name, distinct ? distinct_numbers(extents) : numbers(extents));
      }
    }
    return set;
  }
  /// What the pass reads: inputs, saved outputs that follow from them, cotangents.
  tensor_set<T> reads(const layer& l, const pass_spec& pass, const tensor_set<T>& in) {
    tensor_set<T> set, outputs;
    for (const std::string& name : pass.reads) {
      if (!l.present(name)) continue;
      if (is_output(l, name) && outputs.entries().empty())
        outputs = evaluate_pass<T>(l, l.describe().passes.front(), in);
      if (is_input(l, name))
        set.entries().push_back(in.at(name));
      else if (is_output(l, name))
        set.entries().push_back(stored(outputs.at(name)));
      else
        set.add(name, numbers(l.shapes()[name]));
    }
    return set;
  }
  tensor_set<T> reads(const layer& l, const pass_spec& pass) { return reads(l, pass, inputs(l)); }

  // Evaluations ------------------------------------------------------------------------------------------

  /// The pass of that name: by the subject if it computes it, else by the reference.
  tensor_set<known<T>> run(const layer& l, std::string_view pass, const tensor_set<T>& reads) {
    const pass_spec* p = l.find_pass(pass);
    require(p != nullptr);
    const bool own = subject_ && l.name() == about_.name() && pass == pass_.name;
    asked_ = asked_ || own;
    tensor_set<T> values = own ? subject_(l, *p, reads) : evaluate_pass<T>(l, *p, reads);
    tensor_set<known<T>> result = values.template map<known<T>>([](const T& v) { return known<T>(v); });
    if (unit_ > 0 && !p->contraction) add_slack(l, *p, reads, result);
    return result;
  }
  tensor_set<known<T>> run(const layer& l, const tensor_set<T>& reads) { return run(l, pass_.name, reads); }

  // Claims -----------------------------------------------------------------------------------------------

  void claim(bool holds, std::string_view what) {
    if (holds || !verdict_.holds) return;
    verdict_.holds = false;
    verdict_.message = std::string(what);
  }
  void claim_equal(std::string_view tensor, const shape& at, const known<T>& one_way,
                   const known<T>& other_way) {
    if (!verdict_.holds || agree(one_way, other_way)) return;
    claim(false, std::string(tensor) + "[" + coordinates_text(at) + "] is " + printed(one_way) +
                     " one way and " + printed(other_way) + " the other way");
  }
  template <class F>
  void claim_all(std::string_view name, const tensor<known<T>>& t, F&& expected) {
    for_each_index(t.extents(), [&](const shape& at) { claim_equal(name, at, t.view()(at), expected(at)); });
  }

 private:
  /// A saved output as a kernel would have stored it.
  static typename tensor_set<T>::entry stored(typename tensor_set<T>::entry e) {
    if constexpr (std::is_same_v<T, double>)
      for (double& v : e.real.values()) v = static_cast<float>(v);
    return e;
  }

  void add_slack(const layer& l, const pass_spec& pass, const tensor_set<T>& reads,
                 tensor_set<known<T>>& result) {
    const auto bounded = evaluate_pass<running_error>(
        l, pass,
        reads.template map<running_error>([](const T& v) { return running_error(static_cast<double>(v)); }));
    for (auto& e : result.entries()) {
      if (e.is_index) continue;
      const tensor<running_error>& bound = bounded[e.name];
      for (index_t i = 0; i < e.real.size(); ++i) {
        // A mean over nothing, say; or a jump that rounding may cross, where any value is as good.
        require(std::isfinite(bound[i].value()) && std::isfinite(bound[i].allowance()));
        // Where nothing is allowed no kernel rounds: a copy, or a sum of small integers. Not so in 50 digits, where a
        // copied number has as many digits as there are, and the arithmetic of the law itself rounds.
        if (!std::is_same_v<T, double> || bound[i].allowance() > 0)
          e.real[i].slack = unit_ * (bound[i].allowance() + std::fabs(bound[i].value())) + unit_ * 0x1p-20;
      }
    }
  }

  static std::string printed(const known<T>& k) {
    std::string text = std::to_string(static_cast<double>(k.value));
    return k.slack == 0 ? text : text + " ± " + std::to_string(k.slack);
  }

  const layer& about_;
  const pass_spec& pass_;
  std::uint64_t state_;
  evaluator<T> subject_;
  double unit_;
  bool asked_ = false;
  law_verdict verdict_;
};

/// `x` for `x` and for its gradient `dx`.
inline const std::string& base_name(const layer& l, std::string_view tensor) { return l.spec(tensor).name; }

/// `pad=` with a number for each side.
inline std::string sides_text(const std::vector<index_t>& before, const std::vector<index_t>& after) {
  std::vector<index_t> sides;
  for (std::size_t i = 0; i < before.size(); ++i) sides.insert(sides.end(), {before[i], after[i]});
  return attribute::join(sides, ',');
}

/// The numbers alone: what one pass found, to be the input of another.
template <class T>
tensor<T> values_of(const tensor<known<T>>& t) {
  tensor<T> values(t.extents());
  for (index_t i = 0; i < t.size(); ++i) values[i] = t[i].value;
  return values;
}

/// The reads of a layer with a single input.
template <class T>
tensor_set<T> of_x(tensor<T> x) {
  tensor_set<T> set;
  set.add("x", std::move(x));
  return set;
}

/// Reference evaluations of more work than this are not worth a law's time.
constexpr double most_work = 1 << 19;

/// The layer of a derived problem; a law says nothing where its shapes do not fit, or where it is too large.
inline std::shared_ptr<const layer> derived(const problem& text) {
  std::shared_ptr<const layer> l;
  try {
    l = plumb::bind(text);
  } catch (const std::invalid_argument&) {
    throw not_applicable();
  }
  if (work_of(*l) > most_work) throw not_applicable();
  return l;
}

}  // namespace plumb
