#include "verify/gradcheck.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <limits>

#include "verify/agreement.hpp"
#include "verify/differentiate.hpp"
#include "verify/exam.hpp"

namespace plumb {

tensor_set<double> draw_point(const layer& l, std::uint64_t seed, bool ties) {
  point_source source(seed);
  tensor_set<double> in;
  for (const tensor_spec& spec : l.describe().inputs) {
    if (!l.present(spec.name)) continue;
    const shape& extents = l.shapes()[spec.name];
    if (spec.kind == element::index) {
      tensor<index_t> t(extents);
      for (index_t i = 0; i < t.size(); ++i)
        t[i] = source.below(std::max<index_t>(1, l.index_bound(spec.name)));
      in.add_indices(spec.name, std::move(t));
      continue;
    }
    tensor<double> t(extents);
    for (index_t i = 0; i < t.size(); ++i) {
      if (ties)
        t[i] = static_cast<double>(source.below(3)) - 1;
      else
        t[i] = static_cast<double>(2 * source.below(128) - 127) / 16;
      if (spec.values == domain::nonnegative) t[i] = std::fabs(t[i]);
      if (spec.values == domain::positive) t[i] = std::fabs(t[i]) + 0x1p-4;
      if (spec.values == domain::unit) t[i] = static_cast<double>(source.below(64)) / 64;
      if (spec.values == domain::bit) t[i] = static_cast<double>(source.below(2));
    }
    in.add(spec.name, std::move(t));
  }
  return in;
}

namespace {

using record::verdict;

/// Columns whose numerical derivative crosses a kink, by the winner trace at x, x + h and x - h.
std::vector<bool> kinked_columns(const layer& l, const differentiation<double>& at, double h) {
  std::vector<bool> kinked(static_cast<std::size_t>(at.inputs().total()), false);
  if (!l.has_winners()) return kinked;
  const auto trace = [&](const tensor_set<double>& in) { return l.winners(in.views()); };
  const std::vector<index_t> here = trace(at.point());
  for (index_t j = 0; j < at.inputs().total(); ++j)
    kinked[static_cast<std::size_t>(j)] = trace(at.moved(j, h)) != here || trace(at.moved(j, -h)) != here;
  return kinked;
}

template <class T>
tensor_set<T> convert(const tensor_set<double>& point) {
  return point.map<T>([](double v) { return T(v); });
}

/// The five comparisons of a check, over all its points.
struct comparisons {
  explicit comparisons(const std::string& scalar)
      : dual_vjp("dual", "vjp", scalar),
        dual_entries("dual", "jacobian", scalar),
        vjp_entries("vjp", "jacobian", scalar),
        numeric_entries("numeric", "jacobian", scalar),
        numeric_dual("numeric", "dual", scalar) {}
  tally dual_vjp, dual_entries, vjp_entries, numeric_entries, numeric_dual;

  std::vector<record::agreement> finish(int digits) {
    std::vector<record::agreement> list;
    for (tally* t : {&dual_vjp, &dual_entries, &vjp_entries, &numeric_entries, &numeric_dual}) {
      record::agreement a = t->finish(digits);
      if (a.compared != 0) list.push_back(std::move(a));
    }
    return list;
  }
};

/// Everything that is asked of one layer at one point over the scalar T.
template <class T>
class point_check {
 public:
  static constexpr bool exact = is_exact_v<T>;
  static constexpr double step = exact ? 0x1p-10 : 0x1p-14;
  static constexpr double short_step = 0x1p-30;  ///< where all inputs move at once and a kink is never far
  static constexpr int levels = 9;

  point_check(const layer& l, const tensor_set<double>& point, const gradcheck_options& options,
              comparisons& to)
      : layer_(l), options_(options), to_(to), at_(l, convert<T>(point)), in_double_(l, point) {}

  /// Coordinates, or directions, left out because a difference along them would cross a kink.
  index_t kinks() const { return kinks_; }
  index_t columns() const { return at_.inputs().total(); }
  /// The coordinates among them.
  const std::vector<index_t>& kinked() const { return kinked_; }
  const differentiation<T>& at() const { return at_; }

  void dense() {
    const matrix<T> by_dual = at_.by_dual();
    const matrix<T> by_vjp = at_.by_vjp();
    const matrix<T> by_entries = at_.by_entries();
    for (index_t i = 0; i < by_dual.rows(); ++i)
      for (index_t j = 0; j < by_dual.cols(); ++j) {
        to_.dual_vjp.compare(by_dual(i, j), by_vjp(i, j), T(0));
        to_.dual_entries.compare(by_dual(i, j), by_entries(i, j), T(0));
        to_.vjp_entries.compare(by_vjp(i, j), by_entries(i, j), T(0));
      }
    if (!numeric_applies()) return;
    const std::vector<bool> kinked = kinked_columns(layer_, in_double_, step);
    kinks_ += std::ranges::count(kinked, true);
    for (index_t j = 0; j < columns(); ++j)
      if (kinked[static_cast<std::size_t>(j)]) kinked_.push_back(j);
    for (index_t j = 0; j < by_entries.cols(); ++j) {
      if (kinked[static_cast<std::size_t>(j)]) continue;
      const auto e = estimate([&](const T& h) { return at_.moved(j, h); }, step);
      for (index_t i = 0; i < by_entries.rows(); ++i) {
        const auto row = static_cast<std::size_t>(i);
        to_.numeric_entries.compare(e.value[row], by_entries(i, j), e.error[row]);
        to_.numeric_dual.compare(e.value[row], by_dual(i, j), e.error[row]);
      }
    }
  }

  /// Along random directions v and u, without forming the Jacobian: J·v from dual numbers, entries and
  /// differences, and ⟨u, J·v⟩ = ⟨Jᵀ·u, v⟩ for the implicit pass.
  void directional(int directions) {
    point_source source(options_.seed + 77);
    const auto random = [&](index_t n) {
      std::vector<T> v;
      for (index_t i = 0; i < n; ++i) v.push_back(T(2 * source.below(16) - 15) / T(16));
      return v;
    };
    for (int d = 0; d < directions; ++d) {
      const std::vector<T> v = random(at_.inputs().total());
      const std::vector<T> u = random(at_.outputs().total());
      const std::vector<T> dual = at_.dual_product(v);
      std::vector<T> entries(u.size(), T(0));
      at_.explicit_entries([&](index_t i, index_t j, const T& value) {
        entries[static_cast<std::size_t>(i)] += value * v[static_cast<std::size_t>(j)];
      });
      const std::vector<T> gradient = at_.vjp_product(u);
      T from_dual(0), from_entries(0), from_vjp(0);
      for (std::size_t i = 0; i < u.size(); ++i) {
        to_.dual_entries.compare(dual[i], entries[i], T(0));
        from_dual += u[i] * dual[i];
        from_entries += u[i] * entries[i];
      }
      for (std::size_t j = 0; j < v.size(); ++j) from_vjp += gradient[j] * v[j];
      to_.dual_vjp.compare(from_dual, from_vjp, T(0));
      to_.vjp_entries.compare(from_vjp, from_entries, T(0));
      // Several inputs move at once, so a product of two of them is of degree 2 in h: still exact.
      if (!numeric_applies() || (exact && layer_.degree() > 1)) continue;
      if (crosses_a_kink(v)) {
        ++kinks_;
        continue;
      }
      const auto e = estimate([&](const T& h) { return at_.moved(v, h); }, short_step);
      for (std::size_t i = 0; i < u.size(); ++i) to_.numeric_dual.compare(e.value[i], dual[i], e.error[i]);
    }
  }

 private:
  bool numeric_applies() const { return !exact || layer_.degree() > 0; }

  bool crosses_a_kink(const std::vector<T>& v) const {
    if (!layer_.has_winners()) return false;
    std::vector<double> direction;
    for (const T& each : v) direction.push_back(static_cast<double>(each));
    const auto trace = [&](const tensor_set<double>& in) { return layer_.winners(in.views()); };
    const std::vector<index_t> here = trace(in_double_.point());
    return trace(in_double_.moved(direction, short_step)) != here ||
           trace(in_double_.moved(direction, -short_step)) != here;
  }

  template <class At>
  auto estimate(const At& at, double h) const {
    if constexpr (exact)
      return at_.central_difference(at, T(h));
    else
      return at_.richardson(at, T(h), levels);
  }

  const layer& layer_;
  const gradcheck_options& options_;
  comparisons& to_;
  differentiation<T> at_;
  differentiation<double> in_double_;
  index_t kinks_ = 0;
  std::vector<index_t> kinked_;
};

/// With one definition wrong, exactly the pairs that contain it disagree.
std::string blame(const std::vector<record::agreement>& agreements) {
  std::string guilty;
  for (const std::string name : {"dual", "vjp", "jacobian", "numeric"}) {
    bool all_bad = false;
    bool others_good = true;
    for (const record::agreement& a : agreements) {
      const bool bad = a.verdict == verdict::fail;
      if (a.first == name || a.second == name) {
        all_bad = true;
        if (!bad) {
          all_bad = false;
          break;
        }
      } else {
        others_good = others_good && !bad;
      }
    }
    if (all_bad && others_good) guilty = name;
  }
  return guilty.empty() ? "the definitions disagree" : "`" + guilty + "` disagrees with all the others";
}

/// The verdict from what the comparisons found. `columns` of a general point, of which `kinks` sit on a kink.
void conclude(comparisons& all, int digits, index_t columns, index_t kinks, record::layer_check& result) {
  result.agreements = all.finish(digits);
  if (result.agreements.empty()) {
    result.verdict = verdict::inconclusive;
    result.reason = "nothing to compare: a differentiable tensor is empty";
    return;
  }
  result.verdict = verdict::pass;
  for (const record::agreement& a : result.agreements) {
    if (a.verdict == verdict::fail) {
      result.verdict = verdict::fail;
      result.reason = blame(result.agreements);
      return;
    }
    if (a.verdict == verdict::inconclusive) {
      result.verdict = verdict::inconclusive;
      result.reason = a.reason;
    }
  }
  if (kinks * 4 > columns) {
    result.verdict = verdict::mistrusted;
    result.reason = fmt::format("{} of {} coordinates of a general point sit on a kink", kinks, columns);
  }
}

/// The first few of the coordinates left out, by name.
void name_kinks(const layer& l, const coordinates_of& inputs, const std::vector<index_t>& kinked,
                record::layer_check& result) {
  constexpr std::size_t most = 200;
  for (const index_t j : kinked)
    for (const auto& in : inputs.ranges())
      if (j >= in.first && j < in.first + in.size && result.kinks.size() < most)
        result.kinks.push_back({in.tensor, named_coordinates(l, in.tensor, j - in.first)});
}

/// A drawn point, and for layers with winners a second one that is all ties: a definition that sends the gradient
/// elsewhere than to the winner shows there.
template <class T>
void check_points(const layer& l, const gradcheck_options& options, record::layer_check& result) {
  comparisons all(is_exact_v<T> ? "rational" : "mp100");
  index_t columns = 0;
  index_t kinks = 0;
  for (const bool ties : {false, true}) {
    if (ties && !l.has_winners()) continue;
    point_check<T> check(l, draw_point(l, options.seed, ties), options, all);
    const bool small = static_cast<double>(check.at().inputs().total()) *
                           static_cast<double>(check.at().outputs().total()) <=
                       static_cast<double>(options.dense_entries);
    if (small)
      check.dense();
    else
      check.directional(3);
    ++result.points;
    result.kinks_excluded += check.kinks();
    name_kinks(l, check.at().inputs(), check.kinked(), result);
    if (!ties) {
      columns = check.columns();
      kinks = small ? check.kinks() : 0;
    }
  }
  conclude(all, is_exact_v<T> ? exactly : options.digits, columns, kinks, result);
}

/// Error of a central difference of ⟨u, f(x + h·v)⟩ against the step size 10^0, 10^-stride, … in one floating
/// type.
template <class T>
record::v_curve curve(const layer& l, const tensor_set<double>& point, std::string scalar, const mp100& truth,
                      const std::vector<double>& u, const std::vector<double>& v, int smallest, int stride) {
  const differentiation<T> at(l, convert<T>(point));
  const std::vector<T> direction(v.begin(), v.end());
  record::v_curve c{
      .derivative = "along a random direction", .scalar = std::move(scalar), .step = {}, .error = {}};
  for (int exponent = 0; exponent >= smallest; exponent -= stride) {
    const T h = T(pow(mp100(10), exponent));
    const auto difference =
        at.central_difference([&](const T& s) { return at.moved(direction, s); }, h).value;
    mp100 sum(0);
    for (std::size_t i = 0; i < u.size(); ++i) sum += mp100(difference[i]) * mp100(u[i]);
    c.step.push_back(std::pow(10.0, exponent));
    const mp100 error = abs(sum - truth) / abs(truth);
    c.error.push_back(static_cast<double>(error));
  }
  return c;
}

void add_curves(const layer& l, const gradcheck_options& options, record::layer_check& result) {
  const tensor_set<double> point = draw_point(l, options.seed, false);
  const differentiation<mp100> at(l, convert<mp100>(point));
  point_source source(options.seed + 5);
  const auto random = [&](index_t n) {
    std::vector<double> v;
    for (index_t i = 0; i < n; ++i) v.push_back(static_cast<double>(2 * source.below(16) - 15) / 16);
    return v;
  };
  const std::vector<double> v = random(at.inputs().total());
  const std::vector<double> u = random(at.outputs().total());
  const std::vector<mp100> product = at.dual_product(std::vector<mp100>(v.begin(), v.end()));
  mp100 truth(0);
  for (std::size_t i = 0; i < u.size(); ++i) truth += product[i] * mp100(u[i]);
  result.curves.push_back(curve<float>(l, point, "float", truth, u, v, -8, 1));
  result.curves.push_back(curve<double>(l, point, "double", truth, u, v, -15, 1));
  result.curves.push_back(curve<mp50>(l, point, "mp50", truth, u, v, -48, 2));
}

/// The time of the whole explicit Jacobian beside that of one product with it, the best of a few in double.
void add_cost(const layer& l, const gradcheck_options& options, record::layer_check& result) {
  constexpr int repeats = 5;
  const differentiation<double> at(l, draw_point(l, options.seed, false));
  const std::vector<double> u(static_cast<std::size_t>(at.outputs().total()), 0.5);
  record::jacobian_cost cost{at.inputs().total(), at.outputs().total(), 0, 0, 0};
  const auto best = [](const auto& work) {
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < repeats; ++i) {
      const auto start = std::chrono::steady_clock::now();
      work();
      least =
          std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return least;
  };
  double sum = 0;  // the entries are looked at, or a compiler might not make them
  cost.explicit_seconds = best([&] {
    cost.entries = 0;
    at.explicit_entries([&](index_t, index_t, double value) { ++cost.entries, sum += value; });
  });
  cost.implicit_seconds = best([&] { sum += at.vjp_product(u).size() > 0 ? 1 : 0; });
  [[maybe_unused]] const volatile double looked_at = sum;
  result.cost = cost;
}

/// The corner of the Jacobian that fits on a screen, explicit beside numerical.
void add_image(const layer& l, const gradcheck_options& options, record::layer_check& result) {
  constexpr index_t most = 96;
  const differentiation<double> at(l, draw_point(l, options.seed, false));
  for (const auto& in : at.inputs().ranges()) {
    for (const auto& out : at.outputs().ranges()) {
      record::jacobian_image image;
      image.derivative = "d" + out.tensor + "/d" + in.tensor;
      image.full_rows = out.size;
      image.full_cols = in.size;
      image.rows = std::min(most, out.size);
      image.cols = std::min(most, in.size);
      image.explicit_values.assign(static_cast<std::size_t>(image.rows * image.cols), 0.0);
      image.numeric_values = image.explicit_values;
      const auto cell = [&](index_t i, index_t j) { return static_cast<std::size_t>(i * image.cols + j); };
      at.explicit_entries([&](index_t row, index_t col, double value) {
        const index_t i = row - out.first;
        const index_t j = col - in.first;
        if (i < 0 || i >= out.size || j < 0 || j >= in.size || value == 0) return;
        ++image.nonzeros;
        if (i < image.rows && j < image.cols) image.explicit_values[cell(i, j)] += value;
      });
      for (index_t j = 0; j < image.cols; ++j) {
        const auto column =
            at.central_difference([&](double h) { return at.moved(in.first + j, h); }, 0x1p-17).value;
        for (index_t i = 0; i < image.rows; ++i)
          image.numeric_values[cell(i, j)] = column[static_cast<std::size_t>(out.first + i)];
      }
      result.jacobians.push_back(std::move(image));
    }
  }
}

}  // namespace

record::layer_check check_layer(const layer& l, const gradcheck_options& options) {
  const auto start = std::chrono::steady_clock::now();
  record::layer_check result;
  result.layer = l.name();
  result.problem = l.canonical().print();
  if (l.rational_arithmetic())
    check_points<rational>(l, options, result);
  else
    check_points<mp100>(l, options, result);
  if (options.curves && !result.agreements.empty()) {
    add_curves(l, options, result);
    add_image(l, options, result);
    add_cost(l, options, result);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

record::layer_check check_layer_at(const layer& l, const tensor_set<double>& point,
                                   const gradcheck_options& options) {
  const auto start = std::chrono::steady_clock::now();
  record::layer_check result;
  result.layer = l.name();
  result.problem = l.canonical().print();
  comparisons all("mp100");
  point_check<mp100> check(l, point, options, all);
  check.directional(2);
  result.points = 1;
  result.kinks_excluded = check.kinks();
  conclude(all, options.digits, check.columns(), 0, result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

namespace {

std::string size_text(double bytes) {
  const char* unit = "bytes";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB", "PiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = larger;
  }
  return fmt::format("{:.4g} {}", bytes, unit);
}

/// Entries of ∂out/∂in that can differ from zero. Sums of products: one for each product (or addend).
/// Otherwise the entries that the explicit Jacobian emits at some point.
double count_nonzeros(const layer& l, const std::string& out, const std::string& in) {
  const pass_spec& forward = l.describe().passes.front();
  double count = 0;
  if (forward.contraction) {
    product_list list;
    for (index_t i = 0; i < l.shapes()[out].size(); ++i) {
      l.products(forward.name, i, list);
      count += in == forward.contraction->addend ? static_cast<double>(list.addend >= 0)
                                                 : static_cast<double>(list.terms.size());
    }
    return count;
  }
  const tensor_set<double> point = draw_point(l, 1, false);
  l.as<double>().jacobian(point.views(),
                          [&](std::string_view y, index_t, std::string_view x, index_t, double) {
                            if (y == out && x == in) ++count;
                          });
  return count;
}

}  // namespace

std::string refuse_jacobian(const layer& l, double budget_bytes) {
  const coordinates_of in = differentiable(l, l.describe().inputs);
  const coordinates_of out = differentiable(l, l.describe().outputs);
  double total = 0;
  for (const auto& y : out.ranges())
    for (const auto& x : in.ranges()) total += 4 * static_cast<double>(y.size) * static_cast<double>(x.size);
  if (total <= budget_bytes) return {};
  std::string sizes;
  double all_nonzeros = 0;
  for (const auto& y : out.ranges())
    for (const auto& x : in.ranges()) {
      const double nonzeros = count_nonzeros(l, y.tensor, x.tensor);
      all_nonzeros += nonzeros;
      sizes +=
          fmt::format("{}d{}/d{} has {} x {} entries = {} in f32, of which {:.0f} are not zero",
                      sizes.empty() ? "" : "; ", y.tensor, x.tensor, y.size, x.size,
                      size_text(4 * static_cast<double>(y.size) * static_cast<double>(x.size)), nonzeros);
    }
  std::string inputs;
  for (const tensor_spec& s : l.describe().inputs)
    if (l.present(s.name)) inputs += fmt::format(" {0}={0}.npy", s.name);
  const std::string& y = out.ranges().front().tensor;
  const std::string& x = in.ranges().front().tensor;
  return fmt::format(
      "the explicit Jacobian of `{0}` is over the budget of {1}: {2}; ask for its products instead: "
      "plumb eval '{0}' --pass vjp --in{3} d{4}=d{4}.npy --out d{5}=d{5}.npy{6}",
      l.canonical().print(), size_text(budget_bytes), sizes, inputs, y, x,
      all_nonzeros <= most_sparse_entries ? ", or for the entries that are not zero: add --sparse" : "");
}

bool has_derivatives(const layer& l, std::uint64_t seed) {
  const differentiation<double> at(l, draw_point(l, seed, false));
  std::vector<bool> seen(at.inputs().ranges().size(), false);
  at.explicit_entries([&](index_t, index_t column, double value) {
    for (std::size_t t = 0; t < seen.size(); ++t) {
      const auto& r = at.inputs().ranges()[t];
      if (value != 0 && column >= r.first && column < r.first + r.size) seen[t] = true;
    }
  });
  return std::ranges::all_of(seen, [](bool b) { return b; });
}

std::string print_jacobian(const layer& l, const tensor_set<double>& point) {
  const differentiation<double> at(l, point);
  const matrix<double> values = at.by_entries();
  std::string text;
  for (const auto& e : at.point().entries()) {
    text += e.name + " =";
    for (index_t i = 0; i < e.extents().size(); ++i)
      text += e.is_index ? fmt::format(" {}", e.index[i]) : fmt::format(" {}", e.real[i]);
    text += "\n";
  }
  for (const auto& y : at.outputs().ranges())
    for (const auto& x : at.inputs().ranges()) {
      index_t nonzeros = 0;
      std::string rows;
      for (index_t i = 0; i < y.size; ++i) {
        for (index_t j = 0; j < x.size; ++j) {
          const double v = values(y.first + i, x.first + j);
          if (v != 0) ++nonzeros;
          rows += fmt::format(" {:>8.4g}", v);
        }
        rows += "\n";
      }
      text += fmt::format("d{}/d{}: {} x {}, {} not zero (rows {}, columns {}, row-major)\n{}", y.tensor,
                          x.tensor, y.size, x.size, nonzeros, y.tensor, x.tensor, rows);
    }
  return text;
}

}  // namespace plumb
