// The common laws: they follow from what a layer declares (its passes, which groups of tensors they are
// linear in, which axis counts samples) and know no layer.
#include "properties/laws/common.hpp"

#include <numeric>

#include "properties/laws/embedding.hpp"

namespace plumb {
namespace common_family {
namespace {

// Linearity --------------------------------------------------------------------------------------------

bool declares_linearity(const layer&, const pass_spec& pass) { return !pass.linear_in.empty(); }

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

/// One of the declared groups.
template <class T>
const std::vector<std::string>& some_group(lab<T>& bench) {
  const auto& groups = bench.pass().linear_in;
  return groups[static_cast<std::size_t>(bench.between(0, static_cast<index_t>(groups.size()) - 1))];
}

/// f(2u - 3v) = 2 f(u) - 3 f(v) in a group of tensors, the others fixed.
template <class T>
void superposition(lab<T>& bench) {
  const auto& group = some_group(bench);
  const T two(2), minus_three(-3);
  tensor_set<T> u = bench.reads(bench.about(), bench.pass()), v = u, mixed = u;
  for (auto& e : v.entries())
    if (contains(group, e.name)) {
      e.real = bench.numbers(e.extents());
      tensor<T>& sum = mixed[e.name];
      for (index_t i = 0; i < sum.size(); ++i) sum[i] = two * u[e.name][i] + minus_three * e.real[i];
    }
  const auto of_u = bench.run(bench.about(), u), of_v = bench.run(bench.about(), v);
  const auto of_mixed = bench.run(bench.about(), mixed);
  for (const auto& e : of_mixed.entries())
    bench.claim_all(e.name, e.real, [&](const shape& at) {
      return two * of_u[e.name].view()(at) + minus_three * of_v[e.name].view()(at);
    });
}

/// f(0) = 0 in a group, the others fixed.
template <class T>
void zero_goes_to_zero(lab<T>& bench) {
  const auto& group = some_group(bench);
  tensor_set<T> reads = bench.reads(bench.about(), bench.pass());
  for (auto& e : reads.entries())
    if (contains(group, e.name)) std::ranges::fill(e.real.values(), T(0));
  const auto writes = bench.run(bench.about(), reads);
  for (const auto& e : writes.entries())
    bench.claim_all(e.name, e.real, [](const shape&) { return known<T>(T(0)); });
}

// Adjointness ------------------------------------------------------------------------------------------

template <class T>
void accumulate(known<T>& sum, const tensor<T>& a, const tensor<known<T>>& b) {
  for (index_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
}

/// J·v of the forward pass at `in`, for a direction v that names some of the inputs.
template <class T>
tensor_set<T> directional_derivative(const layer& l, const tensor_set<T>& in, const tensor_set<T>& v) {
  tensor_set<dual<T>> moving = in.template map<dual<T>>([](const T& value) { return dual<T>(value); });
  for (const auto& e : v.entries())
    for (index_t i = 0; i < e.real.size(); ++i) moving[e.name][i].tangent = e.real[i];
  return evaluate_forward<dual<T>>(l, moving).template map<T>([](const dual<T>& d) { return d.tangent; });
}

/// ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ for the gradients that a backward pass writes.
template <class T>
void backward_is_adjoint(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> in = bench.inputs(l);
  const tensor_set<T> reads = bench.reads(l, bench.pass(), in);
  if constexpr (std::is_same_v<T, double>)  // the point of the derivative is lost when y is rounded
    for (const auto& e : reads.entries())
      bench.require(!is_output(l, e.name) || e.is_index || l.degree() > 0);
  const auto gradients = bench.run(l, reads);
  tensor_set<T> v;
  known<T> one_way, other_way;
  for (const auto& e : gradients.entries()) {
    const tensor<T>& direction = v.add(base_name(l, e.name), bench.numbers(e.extents()));
    accumulate(one_way, direction, e.real);
  }
  const tensor_set<T> change = directional_derivative(l, in, v);
  for (const auto& e : reads.entries()) {
    if (is_input(l, e.name) || is_output(l, e.name)) continue;
    const tensor<T>& tangent = change[base_name(l, e.name)];
    for (index_t i = 0; i < tangent.size(); ++i) {
      bench.require(!is_nan(tangent[i]));  // a mean over nothing has no derivative
      other_way += known<T>(e.real[i] * tangent[i]);
    }
  }
  other_way.slack += one_way.slack * 0x1p-10;
  bench.claim_equal("<gradient, v> and <dy, J v>", {}, one_way, other_way);
}

/// The same for a forward pass that is linear in a group: ⟨u, f(v) - f(0)⟩ = ⟨fᵀ u, v⟩ with the gradients of
/// the reference.
template <class T>
void forward_has_adjoint(lab<T>& bench) {
  const layer& l = bench.about();
  const auto& group = some_group(bench);
  const tensor_set<T> in = bench.inputs(l);
  tensor_set<T> zero = in;
  for (auto& e : zero.entries())
    if (contains(group, e.name)) std::ranges::fill(e.real.values(), T(0));
  const auto of_v = bench.run(l, in), of_zero = bench.run(l, zero);
  tensor_set<T> u;
  known<T> one_way, other_way;
  for (const auto& e : of_v.entries()) {
    const tensor<T>& cotangent = u.add("d" + e.name, bench.numbers(e.extents()));
    for (index_t i = 0; i < cotangent.size(); ++i) one_way += cotangent[i] * (e.real[i] - of_zero[e.name][i]);
  }
  std::vector<std::string> names;
  for (const std::string& name : group)
    if (l.present(name)) names.push_back("d" + name);
  tensor_set<T> gradients = make_tensors<T>(l, names);
  const tensor_set<T> none;
  l.as<T>().vjp(in.views(), none.views(), std::as_const(u).views(), gradients.views());
  double size = 0, terms = 2;
  for (const auto& e : gradients.entries())
    for (index_t i = 0; i < e.real.size(); ++i, ++terms) {
      const T term = e.real[i] * in[base_name(l, e.name)][i];
      size += std::fabs(static_cast<double>(term));
      other_way += known<T>(term);
    }
  // Sums that cancel on one side (a mean of 0) are exact there; u/100 and its products are not.
  if constexpr (std::is_same_v<T, double>) other_way.slack += terms * 0x1p-53 * size;
  bench.claim_equal("<u, f(v) - f(0)> and <adjoint u, v>", {}, one_way, other_way);
}

// The batch --------------------------------------------------------------------------------------------

bool has_batch(const layer& l, const pass_spec&) { return count_of(parts::samples, l) >= 0; }
bool has_independent_samples(const layer& l, const pass_spec&) {
  return l.batchwise() && count_of(parts::samples, l) >= 0;
}

bool has_independent_channels(const layer& l, const pass_spec& pass) {
  return writes_apart(parts::channels, l, pass);
}

/// As many parts, one after the other, from `first` on.
std::vector<index_t> in_a_row(index_t first, index_t count) {
  std::vector<index_t> list(static_cast<std::size_t>(count));
  std::iota(list.begin(), list.end(), first);
  return list;
}

/// The results of a problem are those of its two halves: one after the other, or, for results that all parts
/// share (gradients of weights, sums), added up.
template <class T>
void split(lab<T>& bench, parts of) {
  const layer& l = bench.about();
  const index_t count = count_of(of, l);
  bench.require(count >= 2);
  const index_t cut = bench.between(1, count - 1);
  const auto head = derived(with_count(of, l, cut)), tail = derived(with_count(of, l, count - cut));
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto whole = bench.run(l, reads);
  const auto first = bench.run(*head, some_parts(of, l, *head, reads, in_a_row(0, cut)));
  const auto second = bench.run(*tail, some_parts(of, l, *tail, reads, in_a_row(cut, count - cut)));
  for (const auto& e : whole.entries()) {
    const int axis = axis_of(of, l, e.name);
    const auto part_of = [&](const shape& at) {
      shape there = at;
      const bool late = at[axis] >= cut;
      if (late) there[axis] -= cut;
      return std::pair(late ? &second.at(e.name) : &first.at(e.name), there);
    };
    if (e.is_index) {
      for_each_index(e.extents(), [&](const shape& at) {
        const auto [part, there] = part_of(at);
        bench.claim(e.index.view()(at) == part->index.view()(there),
                    e.name + " differs between the whole and a part");
      });
    } else {
      bench.claim_all(e.name, e.real, [&](const shape& at) {
        if (axis < 0) return first[e.name].view()(at) + second[e.name].view()(at);
        const auto [part, there] = part_of(at);
        return part->real.view()(there);
      });
    }
  }
}

struct permuted_batch {
  template <class T>
  embedding operator()(lab<T>& bench) const {
    const layer& l = bench.about();
    bench.require(count_of(parts::samples, l) >= 2);
    embedding e{.from = {}, .to = derived(spelled_out(l)), .into = {}};
    const auto order = bench.permutation(count_of(parts::samples, l));
    for (const auto& [name, extents] : l.shapes().entries()) {
      const int axis = axis_of(parts::samples, l, name);
      if (axis < 0) continue;
      e.into[name] = [axis, order](shape at) {
        at[axis] = order[static_cast<std::size_t>(at[axis])];
        return at;
      };
    }
    return e;
  }
};

/// No samples: what all samples share is 0, and everything else is empty.
template <class T>
void empty_batch(lab<T>& bench) {
  const auto empty = derived(with_count(parts::samples, bench.about(), 0));
  const pass_spec* pass = empty->find_pass(bench.pass().name);
  bench.require(pass != nullptr);
  const auto writes = bench.run(*empty, bench.reads(*empty, *pass));
  for (const auto& e : writes.entries())
    if (!e.is_index) bench.claim_all(e.name, e.real, [](const shape&) { return known<T>(T(0)); });
}

// Purity -----------------------------------------------------------------------------------------------

/// The same reads give the same results, whatever was computed in between.
template <class T>
void purity(lab<T>& bench) {
  const layer& l = bench.about();
  const tensor_set<T> reads = bench.reads(l, bench.pass());
  const auto before = bench.run(l, reads);
  bench.run(l, bench.reads(l, bench.pass()));
  const auto after = bench.run(l, reads);
  for (const auto& e : before.entries()) {
    if (e.is_index)
      bench.claim(e.index.values() == after.indices(e.name).values(), e.name + " changed on repetition");
    else
      bench.claim_all(e.name, e.real, [&](const shape& at) { return after[e.name].view()(at); });
  }
}

bool is_backward(const layer&, const pass_spec& pass) { return !is_forward(pass); }
bool is_linear_forward(const layer& l, const pass_spec& pass) {
  return is_forward(pass) && declares_linearity(l, pass);
}

}  // namespace
}  // namespace common_family

std::vector<law> common_laws() {
  using namespace common_family;
  std::vector<law> list;
  list.push_back(state("superposition", "f(2u - 3v) = 2 f(u) - 3 f(v) in every group declared linear",
                       declares_linearity, [](auto& bench) { superposition(bench); }));
  list.push_back(state("zero", "f(0) = 0 in every group declared linear", declares_linearity,
                       [](auto& bench) { zero_goes_to_zero(bench); }));
  list.push_back(state("adjoint.backward", "<dy, J v> = <gradient(dy), v>", is_backward,
                       [](auto& bench) { backward_is_adjoint(bench); }));
  list.push_back(state("adjoint.forward", "<u, f(v) - f(0)> = <adjoint of f at u, v>", is_linear_forward,
                       [](auto& bench) { forward_has_adjoint(bench); }));
  list.push_back(state("batch_split", "a batch is its two parts, one after the other; shared results add up",
                       has_independent_samples, [](auto& bench) { split(bench, parts::samples); }));
  list.push_back(state("channel_split", "channels are their two parts, one after the other",
                       has_independent_channels, [](auto& bench) { split(bench, parts::channels); }));
  list.push_back(state_embedding("batch_permutation", "permuted samples give permuted results", has_batch,
                                 permuted_batch()));
  list.push_back(state("empty_batch", "no samples: shared results are 0", has_independent_samples,
                       [](auto& bench) { empty_batch(bench); }));
  list.push_back(state("purity", "the same reads give the same results, whatever came in between", any_pass,
                       [](auto& bench) { purity(bench); }));
  return list;
}

}  // namespace plumb
