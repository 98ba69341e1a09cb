#include "properties/audit/practices.hpp"

#include <algorithm>
#include <cmath>

#include "reference/layers/catalogue.hpp"
#include "verify/counter_random.hpp"
#include "verify/evaluate.hpp"
#include "verify/exam.hpp"
#include "verify/law.hpp"

namespace plumb {
namespace {

using tensors = tensor_set<double>;

double stored(double x, dtype type) {
  return type == dtype::f32 ? static_cast<double>(static_cast<float>(x)) : x;
}

bool listed(const std::vector<tensor_spec>& list, std::string_view name) {
  return std::ranges::any_of(list, [&](const tensor_spec& s) { return s.name == name; });
}

/// How a practice fills tensors: standard normal numbers, or small integers.
enum class filling { normal, integers };

/// All inputs of the layer. What may only hold certain values is drawn as the regimes draw it.
tensors draw_inputs(const layer& l, filling how, std::uint64_t seed, dtype type) {
  const pass_spec& forward = l.describe().passes.front();
  tensors in = draw(l, forward, how == filling::integers ? regime::lattice : regime::zero_mean, seed, type);
  for (auto& e : in.entries()) {
    if (e.is_index || l.spec(e.name).values != domain::any) continue;
    const counter_random random(seed, e.name);
    for (index_t i = 0; i < e.real.size(); ++i) {
      const auto at = static_cast<std::uint64_t>(i);
      e.real[i] = how == filling::integers ? static_cast<double>(random.below(at, 17)) - 8
                                           : stored(random.bell(at), type);
    }
  }
  return in;
}

/// What a pass reads: inputs, saved outputs of the reference, and the cotangents given (drawn where there are none).
tensors reads_of(const layer& l, const pass_spec& pass, const tensors& in, const tensors& cotangents,
                 dtype type, std::uint64_t seed, filling how) {
  tensors saved = evaluate_pass<double>(l, l.describe().passes.front(), in).map<double>([&](double x) {
    return stored(x, type);
  });
  tensors reads;
  for (const std::string& name : pass.reads) {
    if (!l.present(name)) continue;
    const auto* e = in.find(name) != nullptr             ? in.find(name)
                    : listed(l.describe().outputs, name) ? saved.find(name)
                                                         : cotangents.find(name);
    if (e != nullptr) {
      e->is_index ? static_cast<void>(reads.add_indices(name, e->index))
                  : static_cast<void>(reads.add(name, e->real));
      continue;
    }
    tensor<double> dy(l.shapes()[name]);
    const counter_random random(seed, name);
    for (index_t i = 0; i < dy.size(); ++i) {
      const auto at = static_cast<std::uint64_t>(i);
      dy[i] = how == filling::integers ? static_cast<double>(random.below(at, 17)) - 8
                                       : stored(random.bell(at), type);
    }
    reads.add(name, std::move(dy));
  }
  return reads;
}

// ---- allclose, and exact comparison of integers

/// Whether anything written differs, element by element, by that rule.
template <class Same>
std::optional<bool> differs(const suspect& s, const std::string& problem, filling how, std::uint64_t seed,
                            Same&& same) {
  const auto l = plumb::bind(std::string_view(problem));
  const pass_spec* pass = l->find_pass(s.kernel->pass);
  if (pass == nullptr) return std::nullopt;
  const tensors in = draw_inputs(*l, how, seed, dtype::f32);
  const tensors reads = reads_of(*l, *pass, in, {}, dtype::f32, seed, how);
  const tensors expected = evaluate_pass<double>(*l, *pass, reads);
  try {
    const tensors got = call_once(*s.box, *s.kernel, *l, *pass, reads, conditions{});
    for (const auto& e : expected.entries()) {
      const auto& g = *got.find(e.name);
      double largest = 1;
      for (index_t i = 0; i < e.real.size(); ++i)
        if (std::isfinite(e.real[i])) largest = std::max(largest, std::fabs(e.real[i]));
      for (index_t i = 0; i < e.extents().size(); ++i) {
        const bool alike = e.is_index ? e.index[i] == g.index[i] : same(g.real[i], e.real[i], largest);
        if (!alike) return true;
      }
    }
  } catch (const kernel_declined&) {
    return true;  // it crashed: nobody overlooks that
  }
  return false;
}

template <int Exponent>
std::optional<bool> allclose(const suspect& s) {
  const double tolerance = std::pow(10.0, -Exponent);
  return differs(s, s.square, filling::normal, s.seed,
                 [tolerance](double got, double expected, double /*largest*/) {
                   return std::fabs(got - expected) <= tolerance + tolerance * std::fabs(expected);
                 });
}

/// Bit for bit where the truth is a number of the type, else within 1e-5 of the largest number in the tensor.
bool integers_agree(double got, double expected, double largest) {
  if (std::isnan(expected)) return std::isnan(got);
  return got == expected ||
         (stored(expected, dtype::f32) != expected && std::fabs(got - expected) <= 1e-5 * largest);
}

std::optional<bool> integer_data(const suspect& s) {
  bool asked = false;
  for (std::size_t i = 0; i < s.drawn.size(); ++i) {
    const auto wrong = differs(s, s.drawn[i], filling::integers, s.seed + i, integers_agree);
    asked = asked || wrong.has_value();
    if (wrong.value_or(false)) return true;
  }
  return asked ? std::optional<bool>(false) : std::nullopt;
}

// ---- gradient checks

/// Forward and backward pass of the layer as a framework would run them: the suspect computes its own pass, the
/// reference the others.
class differentiable {
 public:
  differentiable(const suspect& s, dtype type)
      : s_(s), type_(type), layer_(plumb::bind(std::string_view(s.small))) {
    how_.type = type;
  }

  const layer& about() const { return *layer_; }

  tensors forward(const tensors& in) const { return pass(layer_->describe().passes.front(), in); }
  /// Gradients of all inputs.
  tensors backward(const tensors& in, const tensors& cotangents) const {
    tensors gradients;
    const signature& sig = layer_->describe();
    for (std::size_t p = 1; p < sig.passes.size(); ++p) {
      const pass_spec& spec = sig.passes[p];
      if (std::ranges::none_of(spec.writes, [&](const std::string& w) { return layer_->present(w); }))
        continue;
      const tensors part = pass(spec, reads_of(*layer_, spec, in, cotangents, type_, 0, filling::normal));
      for (const auto& e : part.entries()) gradients.add(e.name, e.real);
    }
    return gradients;
  }

 private:
  tensors pass(const pass_spec& spec, const tensors& reads) const {
    if (spec.name == s_.kernel->pass) return call_once(*s_.box, *s_.kernel, *layer_, spec, reads, how_);
    if (type_ == dtype::f64) return evaluate_pass<double>(*layer_, spec, reads);
    return evaluate_pass<float>(*layer_, spec,
                                reads.map<float>([](double x) { return static_cast<float>(x); }))
        .map<double>([](float x) { return static_cast<double>(x); });
  }

  const suspect& s_;
  dtype type_;
  std::shared_ptr<const layer> layer_;
  conditions how_;
};

constexpr double step = 1e-6, absolute = 1e-5, relative = 1e-3;

bool close(double analytic, double numeric, double atol) {
  return std::fabs(analytic - numeric) <= atol + relative * std::fabs(numeric);
}

/// Names of the differentiable inputs or outputs that are there.
std::vector<std::string> differentiable_names(const layer& l, const std::vector<tensor_spec>& list) {
  std::vector<std::string> names;
  for (const tensor_spec& s : list)
    if (s.kind == element::real && s.differentiable && l.present(s.name)) names.push_back(s.name);
  return names;
}

tensors moved(const tensors& in, const std::string& name, const std::vector<double>& along, double by,
              dtype type) {
  tensors other = in;
  auto& e = *other.find(name);
  for (index_t i = 0; i < e.real.size(); ++i)
    e.real[i] = stored(e.real[i] + by * along[static_cast<std::size_t>(i)], type);
  return other;
}

std::vector<double> unit(index_t size, index_t at) {
  std::vector<double> v(static_cast<std::size_t>(size), 0.0);
  v[static_cast<std::size_t>(at)] = 1;
  return v;
}

/// Uniform numbers of [0, 1), scaled to length 1: the tool's own choice.
std::vector<double> probe(index_t size, const counter_random& random) {
  std::vector<double> v(static_cast<std::size_t>(size));
  double squares = 0;
  for (std::size_t i = 0; i < v.size(); ++i) {
    v[i] = static_cast<double>(random.bits(i) >> 11) * 0x1p-53;
    squares += v[i] * v[i];
  }
  for (double& x : v) x /= std::sqrt(squares);
  return v;
}

double dot(const std::vector<double>& a, const tensor<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[static_cast<index_t>(i)];
  return sum;
}

tensors cotangent(const layer& l, const std::vector<std::string>& outputs, const std::string& hot,
                  const std::vector<double>& v) {
  tensors set;
  for (const std::string& name : outputs) {
    tensor<double> t(l.shapes()[name]);
    if (name == hot)
      for (index_t i = 0; i < t.size(); ++i) t[i] = v[static_cast<std::size_t>(i)];
    set.add("d" + name, std::move(t));
  }
  return set;
}

bool same_bits(const tensors& a, const tensors& b) {
  for (const auto& e : a.entries())
    for (index_t i = 0; i < e.real.size(); ++i)
      if (!(e.real[i] == b.find(e.name)->real[i])) return false;
  return true;
}

/// (f(x + h·u) - f(x - h·u)) / 2h of one output.
tensor<double> difference(const differentiable& f, const tensors& in, const std::string& x,
                          const std::vector<double>& u, const std::string& y, dtype type) {
  tensors high = f.forward(moved(in, x, u, step, type)), low = f.forward(moved(in, x, u, -step, type));
  tensor<double> d = high.find(y)->real;
  for (index_t i = 0; i < d.size(); ++i) d[i] = (d[i] - low.find(y)->real[i]) / (2 * step);
  return d;
}

bool fast_check(const differentiable& f, const tensors& in, dtype type, std::uint64_t seed) {
  const layer& l = f.about();
  const auto inputs = differentiable_names(l, l.describe().inputs),
             outputs = differentiable_names(l, l.describe().outputs);
  for (const std::string& y : outputs) {
    const auto v = probe(l.shapes()[y].size(), counter_random(seed, y));
    const tensors gradients = f.backward(in, cotangent(l, outputs, y, v));
    if (!same_bits(gradients, f.backward(in, cotangent(l, outputs, y, v)))) return false;
    for (const std::string& x : inputs) {
      if (gradients.find("d" + x) == nullptr) continue;
      const auto u = probe(l.shapes()[x].size(), counter_random(seed, x));
      double sums[2] = {0, 0};
      for (const double a : u) sums[0] += a;
      for (const double a : v) sums[1] += a;
      const double numeric = dot(v, difference(f, in, x, u, y, type));
      if (!close(dot(u, gradients.find("d" + x)->real), numeric, absolute * sums[0] * sums[1])) return false;
    }
  }
  return true;
}

bool slow_check(const differentiable& f, const tensors& in, dtype type) {
  const layer& l = f.about();
  const auto inputs = differentiable_names(l, l.describe().inputs),
             outputs = differentiable_names(l, l.describe().outputs);
  for (const std::string& y : outputs) {
    const index_t rows = l.shapes()[y].size();
    std::vector<tensors> analytic;
    for (index_t j = 0; j < rows; ++j)
      analytic.push_back(f.backward(in, cotangent(l, outputs, y, unit(rows, j))));
    if (rows > 0 && !same_bits(analytic.front(), f.backward(in, cotangent(l, outputs, y, unit(rows, 0)))))
      return false;
    for (const std::string& x : inputs) {
      if (rows == 0 || analytic.front().find("d" + x) == nullptr) continue;
      for (index_t i = 0; i < l.shapes()[x].size(); ++i) {
        const tensor<double> numeric = difference(f, in, x, unit(l.shapes()[x].size(), i), y, type);
        for (index_t j = 0; j < rows; ++j)
          if (!close(analytic[static_cast<std::size_t>(j)].find("d" + x)->real[i], numeric[j], absolute))
            return false;
      }
    }
  }
  return true;
}

template <bool Fast, dtype Type>
std::optional<bool> gradient_check(const suspect& s) {
  const differentiable f(s, Type);
  const layer& l = f.about();
  if (l.describe().passes.size() < 2 || differentiable_names(l, l.describe().inputs).empty())
    return std::nullopt;
  if (std::ranges::find(s.kernel->types, Type) == s.kernel->types.end()) return std::nullopt;
  const tensors in = draw_inputs(l, filling::normal, s.seed, Type);
  try {
    return !(Fast ? fast_check(f, in, Type, s.seed) : slow_check(f, in, Type));
  } catch (const kernel_declined&) {
    return true;
  }
}

}  // namespace

const std::vector<practice>& usual_practices() {
  static const std::vector<practice> list = {
      {"allclose 1e-2", "one square shape, normal data, rtol = atol = 1e-2 (KernelBench v0)", allclose<2>},
      {"allclose 1e-4", "the same with rtol = atol = 1e-4 (KernelBench later)", allclose<4>},
      {"integers",
       "integers -8 … 8 on 50 drawn problems, compared exactly (1e-5 of the largest where the truth is no "
       "float)",
       integer_data},
      {"gradcheck fast f64",
       "torch.autograd.gradcheck(fast_mode=True), eps 1e-6, atol 1e-5, rtol 1e-3, nondet_tol 0",
       gradient_check<true, dtype::f64>},
      {"gradcheck slow f64", "torch.autograd.gradcheck(), eps 1e-6, atol 1e-5, rtol 1e-3, nondet_tol 0",
       gradient_check<false, dtype::f64>},
      {"gradcheck fast f32", "the fast one on float data", gradient_check<true, dtype::f32>},
      {"gradcheck slow f32", "the slow one on float data", gradient_check<false, dtype::f32>}};
  return list;
}

}  // namespace plumb
