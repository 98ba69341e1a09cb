#include "verify/oracle.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/scalars/exact_accumulator.hpp"
#include "reference/scalars/float_format.hpp"
#include "verify/evaluate.hpp"
#include "verify/panel_sums.hpp"

namespace plumb {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double unit = 0x1p-53;
constexpr double slack = 1 + 0x1p-20;            ///< pays for the roundings of S and of the radius itself
[[maybe_unused]] constexpr index_t chunk = 256;  ///< elements summed by one thread without a break
constexpr index_t work_for_panels = 20'000'000;  ///< terms below which the plan costs more than it saves
constexpr index_t work_for_threads = 200'000;    ///< terms below which a team costs more than it saves

double largest_of(double most, double x) { return x > most ? x : most; }  // a NaN shows in S

/// Bits of the largest integer.
int bits_of(double integer) { return integer == 0 ? 0 : std::ilogb(integer) + 1; }

/// a·b = product + error, exactly (Veltkamp's split, Dekker's product).
double product_error(double a, double b, double product) {
  const auto high = [](double x) {
    const double c = 0x1p27 * x + x;
    return c - (c - x);
  };
  const double ah = high(a), al = a - ah, bh = high(b), bl = b - bh;
  return al * bl - (((product - ah * bh) - al * bh) - ah * bl);
}
/// a + b = sum + error, exactly (Knuth).
double sum_error(double a, double b, double sum) {
  const double part = sum - a;
  return (a - (sum - part)) + (b - part);
}

/// Ogita, Rump & Oishi's Dot2: as if computed in twice the precision, then rounded.
product_sums compensated_sums(const product_list::term* term, std::size_t n, const double* a, const double* b,
                              double addend) {
  product_sums total{addend, std::fabs(addend), 0};
  double rest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double x = a[term[i].a], y = b[term[i].b];
    const double p = x * y;
    const double s = total.sum + p;
    rest += product_error(x, y, p) + sum_error(total.sum, p, s);
    total.sum = s;
    total.size += std::fabs(p);
    // A product below all doubles is no zero: without this, nothing but such terms would pass for an exact sum.
    if (p == 0 && x != 0 && y != 0) total.size += 0x1p-1074;
    total.largest = largest_of(total.largest, std::fabs(p));
  }
  total.sum += rest;
  return total;
}

constexpr double one = 1;

}  // namespace

// ------------------------------------------------------------------------------------------- set-up

void oracle::begin(const layer& l, const pass_spec& pass, const tensor_set<double>& reads, dtype type) {
  layer_ = &l;
  pass_ = &pass;
  reads_ = &reads;
  type_ = type;
  escalated_ = false;
  settled_.clear();
  results_.resize(pass.writes.size());
  for (std::size_t i = 0; i < results_.size(); ++i) {
    truths& t = results_[i];
    t.name = pass.writes[i];
    t.extents = l.shapes()[t.name];
    t.is_index = l.spec(t.name).kind == element::index;
    t.contraction = pass.contraction.has_value();
    t.integral = false;
    t.selects = pass.selects;
    t.operand_bits = 0;
    t.most_terms = t.full_terms = 0;
    t.at.clear();
    t.index.clear();
  }
  bool finite = true;
  for (const auto& e : reads.entries())
    if (!e.is_index) finite = finite && survey(e.real).finite;
  for (truths& t : results_) t.non_finite = !finite;
  a_ = b_ = addend_ = {};
  if (!pass.contraction) return;
  const auto find = [&](const std::string& name) {
    return reads.has(name) ? survey(reads[name]) : operand();
  };
  a_ = find(pass.contraction->a);
  b_ = pass.contraction->b.empty() ? operand{&one, 1, true, true, 1} : find(pass.contraction->b);
  addend_ = pass.contraction->addend.empty() ? operand() : find(pass.contraction->addend);
  wide_ = type == dtype::f64 && !(a_.integral && b_.integral && addend_.integral);
}

oracle::operand oracle::survey(const tensor<double>& t) {
  operand o{t.data(), t.size(), true, true, 0};
  // Adding and subtracting 1.5·2^52 rounds to an integer; larger numbers do not count as lattice data.
  constexpr double shift = 0x1.8p52;
  bool integral = true;
  double total = 0;
  for (index_t i = 0; i < t.size(); ++i) {
    const double x = t[i];
    integral &= (x + shift) - shift == x && std::fabs(x) <= 0x1p51;
    o.largest = largest_of(o.largest, std::fabs(x));
    total += x * 0;  // NaN if any element is ±inf or NaN
  }
  o.integral = integral;
  o.finite = total == 0;
  return o;
}

const std::vector<truths>& oracle::evaluate(const layer& l, const pass_spec& pass,
                                            const tensor_set<double>& reads, dtype type, int threads) {
  begin(l, pass, reads, type);
  if (pass.contraction)
    contract({}, threads);
  else
    run_definition();
  return results_;
}

const std::vector<truths>& oracle::evaluate_some(const layer& l, const pass_spec& pass,
                                                 const tensor_set<double>& reads, dtype type,
                                                 std::span<const index_t> elements, int threads) {
  begin(l, pass, reads, type);
  if (pass.contraction)
    contract(elements, threads);
  else
    run_definition();
  return results_;
}

// ------------------------------------------------------------------------------------------- contractions

void oracle::contract(std::span<const index_t> elements, int threads) {
  truths& t = results_.front();
  t.at.assign(elements.begin(), elements.end());
  const index_t count = t.at.empty() ? t.extents.size() : static_cast<index_t>(t.at.size());
  for (auto* list : {&t.value, &t.radius, &t.size, &t.terms, &t.largest})
    list->resize(static_cast<std::size_t>(count));
  t.allowance.clear();
  if (scratch_.size() < static_cast<std::size_t>(std::max(threads, 1)))
    scratch_.resize(static_cast<std::size_t>(std::max(threads, 1)));
  if (t.at.empty() && !wide_ && work(count) > work_for_panels && contract_panels(threads)) return;
  const bool team = threads > 1 && count > chunk && work(count) > work_for_threads;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (team)
  for (index_t first = 0; first < count; first += chunk) {
    scratch& s = scratch_[static_cast<std::size_t>(omp_get_thread_num())];
    if (wide_)
      contract_wide(first, std::min(first + chunk, count), s);
    else
      contract_range(first, std::min(first + chunk, count), s);
  }
  for (const double n : t.terms) t.most_terms = std::max(t.most_terms, n);
  const double addends = addend_.data != nullptr ? 1 : 0;
  t.full_terms = std::max(t.most_terms, static_cast<double>(layer_->full_products(pass_->name)) + addends);
  t.largest_left = a_.largest;
  t.largest_right = b_.largest;
  settle_lattice(t);
  if (t.integral) std::ranges::fill(t.radius, 0.0);
}

void oracle::settle_lattice(truths& t) const {
  t.integral = a_.integral && b_.integral && addend_.integral &&
               t.most_terms * a_.largest * b_.largest + addend_.largest <= 0x1p53;
  t.operand_bits = bits_of(std::max(a_.integral ? a_.largest : 0, b_.integral ? b_.largest : 0));
}

/// All elements by matrix products; false if the pass is of another form. The largest term is found for some elements
/// only, the others have 0 there.
bool oracle::contract_panels(int threads) {
  const std::optional<panel_plan> plan = panel_plan::make(*layer_, *pass_);
  if (!plan) return false;
  truths& t = results_.front();
  plan->run(a_.data, b_.data, threads, [&](int, const panel_plan::block& b) {
    const bool has_addend = b.addend >= 0 && addend_.data != nullptr;
    const double n = b.terms + (has_addend ? 1 : 0);
    for (index_t col = 0; col < b.width; ++col) {
      const double c = has_addend ? addend_.data[b.addend + col * b.addend_step] : 0;
      for (index_t r = 0; r < b.rows; ++r) {
        product_sums total{b.sum[col * b.rows + r] + c, b.size[col * b.rows + r] + std::fabs(c), 0};
        store(b.first[r] + col * b.step, n, total, (n + 2) * unit * total.size * slack);
      }
    }
  });
  const double addends = addend_.data != nullptr ? 1 : 0;
  t.most_terms = plan->most_terms() + addends;
  t.full_terms = std::max(t.most_terms, static_cast<double>(layer_->full_products(pass_->name)) + addends);
  t.largest_left = a_.largest;
  t.largest_right = b_.largest;
  settle_lattice(t);
  if (t.integral) std::ranges::fill(t.radius, 0.0);
  constexpr index_t sampled = 512;
  product_list& list = scratch_.front().list;
  list.listed = true;
  for (index_t k = 0; k < sampled; ++k) {
    const index_t i = t.extents.size() / sampled * k;
    layer_->products(pass_->name, i, list);
    double& largest = t.largest[static_cast<std::size_t>(i)];
    for (const auto& term : list.terms)
      largest = largest_of(largest, std::fabs(a_.data[term.a] * b_.data[term.b]));
  }
  return true;
}

/// An estimate of the number of terms of `count` elements.
index_t oracle::work(index_t count) {
  if (count == 0) return 0;  // there is no element to ask
  product_list& list = scratch_.front().list;
  list.listed = false;
  layer_->products(pass_->name, results_.front().element(count / 2), list);
  return count * list.count();
}

/// Elements of a chunk whose loops are the same, and whose operands start at fixed distances, are summed
/// together. Several groups grow at a time: next to each other lie the residues modulo a stride, or the taps
/// of a filter.
void oracle::contract_range(index_t first, index_t last, scratch& s) {
  s.list.listed = false;
  s.open = 0;
  for (index_t i = first; i < last; ++i) {
    layer_->products(pass_->name, results_.front().element(i), s.list);
    group* g = group_for(s);
    if (g == nullptr) {
      if (s.open == groups_at_once) sum_group(s.groups[s.order[--s.open]], s);
      std::rotate(s.order.begin(), s.order.begin() + s.open, s.order.begin() + s.open + 1);
      ++s.open;
      g = &s.groups[s.order.front()];
      g->loops = s.list.loops;
      g->first_a = s.list.first_a;
      g->first_b = s.list.first_b;
      g->count = 0;
    }
    g->elements[static_cast<std::size_t>(g->count)] = i;
    g->addends[static_cast<std::size_t>(g->count++)] = s.list.addend;
  }
  while (s.open > 0) sum_group(s.groups[s.order[--s.open]], s);
}

/// The open group that the element of `s.list` continues, or nothing. Searched in the order of last use.
oracle::group* oracle::group_for(scratch& s) {
  const product_list& list = s.list;
  for (std::ptrdiff_t k = 0; k < s.open; ++k) {
    group& g = s.groups[s.order[static_cast<std::size_t>(k)]];
    if (g.count == 1) {
      g.a_step = list.first_a - g.first_a;
      g.b_step = list.first_b - g.first_b;
    }
    if (list.first_a != g.first_a + g.count * g.a_step || list.first_b != g.first_b + g.count * g.b_step ||
        list.loops != g.loops)
      continue;
    std::rotate(s.order.begin(), s.order.begin() + k, s.order.begin() + k + 1);
    return &g;
  }
  return nullptr;
}

void oracle::sum_group(const group& g, scratch& s) {
  sum_products(g.loops, a_.data + g.first_a, g.a_step, b_.data + g.first_b, g.b_step, g.count, s.sums.data());
  const double products =
      static_cast<double>(g.loops[0].count * g.loops[1].count * g.loops[2].count * g.loops[3].count);
  for (std::size_t e = 0; e < static_cast<std::size_t>(g.count); ++e) {
    product_sums& total = s.sums[e];
    const index_t addend = addend_.data == nullptr ? -1 : g.addends[e];
    const double c = addend < 0 ? 0 : addend_.data[addend];
    const double n = products + (addend < 0 ? 0 : 1);
    total.sum += c;
    total.size += std::fabs(c);
    store(g.elements[e], n, total, (n + 2) * unit * total.size * slack);
  }
}

/// f64 data: element by element in twice the precision.
void oracle::contract_wide(index_t first, index_t last, scratch& s) {
  const truths& t = results_.front();
  s.list.listed = true;
  for (index_t i = first; i < last; ++i) {
    layer_->products(pass_->name, t.element(i), s.list);
    const bool has_addend = s.list.addend >= 0 && addend_.data != nullptr;
    const double c = has_addend ? addend_.data[s.list.addend] : 0;
    const double n = static_cast<double>(s.list.count()) + (has_addend ? 1 : 0);
    product_sums total = compensated_sums(s.list.terms.data(), s.list.terms.size(), a_.data, b_.data, c);
    const double nu = n * unit;
    const double radius = (unit * std::fabs(total.sum) + 2 * nu * nu * total.size) * slack + n * 0x1p-1020;
    const bool overflowed = !std::isfinite(total.sum);  // the splitting did, or an operand is not finite
    if (overflowed) total.sum = refine_contraction(t.element(i), 0, s.list).value;
    store(i, n, total, overflowed ? unit * std::fabs(total.sum) * slack : radius);
  }
}

void oracle::store(index_t i, double terms, const product_sums& total, double radius) {
  truths& t = results_.front();
  const auto at = static_cast<std::size_t>(i);
  t.value[at] = total.sum;
  t.radius[at] = std::isfinite(total.sum) ? radius : 0;
  t.size[at] = total.size;
  t.terms[at] = terms;
  t.largest[at] = total.largest;
}

refinement oracle::refine_contraction(index_t element, double got, product_list& list) const {
  thread_local exact_accumulator sum;
  sum.clear();
  list.listed = true;
  layer_->products(pass_->name, element, list);
  refinement r;
  r.sure = true;
  const auto account = [&](double x, double y) {
    if (std::isfinite(x) && std::isfinite(y))
      r.finite_size += std::fabs(x * y);
    else
      r.non_finite = true;
    if (std::isinf(x) && y != 0) r.least_partner = std::min(r.least_partner, std::fabs(y));
    if (std::isinf(y) && x != 0) r.least_partner = std::min(r.least_partner, std::fabs(x));
  };
  for (const auto& term : list.terms) {
    sum.add_product(a_.data[term.a], b_.data[term.b]);
    account(a_.data[term.a], b_.data[term.b]);
  }
  if (list.addend >= 0 && addend_.data != nullptr) {
    sum.add(addend_.data[list.addend]);
    account(addend_.data[list.addend], 1);
  }
  r.value = sum.to_double();
  sum.add(-got);
  r.error = std::fabs(sum.to_double());
  return r;
}

// ------------------------------------------------------------------------------------------- definitions

void oracle::run_definition() {
  const auto in = reads_->map<running_error>([](double x) { return running_error(x); });
  running_error::forget_doubts();
  const auto out = evaluate_pass<running_error>(*layer_, *pass_, in);
  bool doubtful = running_error::doubts() > 0;
  // Where an operand is infinite or NaN, so may a result be, without a doubt; but f64 has no room above it here.
  const bool no_room = type_ == dtype::f64;
  for (std::size_t k = 0; k < results_.size(); ++k) {
    truths& t = results_[k];
    const auto& e = out.at(t.name);
    if (t.is_index) {
      t.index = e.index.values();
      continue;
    }
    const auto count = static_cast<std::size_t>(e.real.size());
    for (auto* list : {&t.value, &t.radius, &t.size, &t.allowance, &t.underflow, &t.largest})
      list->resize(count);
    t.terms.clear();
    for (std::size_t i = 0; i < count; ++i) {
      const running_error& x = e.real[static_cast<index_t>(i)];
      t.value[i] = x.value();
      t.radius[i] = x.radius();
      t.size[i] = x.peak();
      t.allowance[i] = x.allowance();
      t.underflow[i] = x.underflow();
      t.largest[i] = std::fabs(x.value());
      // Something left the range of double on the way: the value here may be anything, and a kernel's too.
      if (!std::isinf(x.peak())) continue;
      doubtful = doubtful || ((no_room || !t.non_finite) && !std::isfinite(x.value()));
      t.allowance[i] = infinity;
    }
  }
  if (doubtful) settle_doubts();
}

#ifdef PLUMB_FEW_SCALARS
bool oracle::escalate() { return false; }
#else
/// Boost 1.74 takes numbers of the uppermost binade for infinite.
static double nearest_double(const mp100& x) {
  return abs(x) > 0x1p1000 ? std::ldexp(static_cast<double>(mp100(x / 4)), 2) : static_cast<double>(x);
}

/// The whole pass in 100 digits, and in 50 to see how many of them hold.
bool oracle::escalate() {
  if (escalated_) return true;
  const auto fine =
      evaluate_pass<mp100>(*layer_, *pass_, reads_->map<mp100>([](double x) { return mp100(x); }));
  const auto coarse =
      evaluate_pass<mp50>(*layer_, *pass_, reads_->map<mp50>([](double x) { return mp50(x); }));
  digits_.resize(results_.size());
  for (std::size_t k = 0; k < results_.size(); ++k) {
    digits& d = digits_[k];
    const auto& e = fine.at(results_[k].name);
    d.index = e.index.values();
    d.high.clear();
    d.low.clear();
    d.spread.clear();
    for (index_t i = 0; i < e.real.size(); ++i) {
      const double high = nearest_double(e.real[i]);
      const mp100 spread = abs(e.real[i] - mp100(coarse[results_[k].name][i]));
      d.high.push_back(high);
      d.low.push_back(std::isfinite(high) ? static_cast<double>(mp100(e.real[i] - high)) : 0.0);
      d.spread.push_back(std::isfinite(high) ? static_cast<double>(spread) : 0.0);
    }
  }
  escalated_ = true;
  return true;
}
#endif

/// A branch may have gone the wrong way in double: take every value from the evaluation in many digits.
void oracle::settle_doubts() {
  const bool many_digits = escalate();
  for (std::size_t k = 0; k < results_.size(); ++k) {
    truths& t = results_[k];
    escalations_ += t.count();
    if (!many_digits) {
      std::ranges::fill(t.radius, infinity);
      continue;
    }
    t.index = digits_[k].index;
    for (std::size_t i = 0; i < t.value.size(); ++i) {
      // What left the range of double here may leave a kernel's too, and come out as anything.
      if (std::isfinite(t.value[i]) != std::isfinite(digits_[k].high[i])) t.allowance[i] = infinity;
      if (std::isfinite(t.value[i]) && !std::isfinite(digits_[k].high[i])) {
        t.radius[i] = 0;
        continue;
      }
      t.value[i] = digits_[k].high[i];
      t.radius[i] =
          (std::fabs(digits_[k].low[i]) + digits_[k].spread[i]) * slack + 0x1p-1074;  // low is rounded too
    }
  }
}

refinement oracle::refine_definition(std::size_t tensor, index_t i, double got) {
  refinement r;
  const auto at = static_cast<std::size_t>(i);
  const truths& t = results_[tensor];
  r.value = t.value[at];
  r.finite_size = std::isfinite(t.size[at]) ? t.size[at] : 0;
  r.non_finite = t.non_finite;
  r.error = std::fabs(got - r.value);
  if (!std::isfinite(r.value)) {
    r.sure = true;
    return r;
  }
  if (!escalate()) return r;
  const digits& d = digits_[tensor];
  r.value = d.high[at];
  r.error = std::fabs((got - d.high[at]) - d.low[at]);
  r.sure = d.spread[at] <= 1e-30 * std::fabs(r.value) + 0x1p-1022;
  return r;
}

/// The pass again with every zero moved to one side of zero, those of either sign to opposite sides, and then the other
/// way round: where a zero was chosen among equals, another one is chosen.
void oracle::nudge_zeros() {
  constexpr double minus = 0x1p-1074, plus = 0x1p-1073;  // what -0 and +0 become, so as to be known again
  settled_.resize(results_.size());
  for (std::size_t k = 0; k < results_.size(); ++k) settled_[k].assign(results_[k].value.size(), true);
  for (const double side : {1.0, -1.0}) {
    const auto in = reads_->map<double>([&](double x) {
      return x != 0 || std::isnan(x) ? x : std::signbit(x) ? -side * minus : side * plus;
    });
    const auto out = evaluate_pass<double>(*layer_, *pass_, in);
    for (std::size_t k = 0; k < results_.size(); ++k)
      for (std::size_t i = 0; i < settled_[k].size(); ++i) {
        const double y = out[results_[k].name][static_cast<index_t>(i)], size = std::fabs(y);
        const bool negative = size == minus || (size != plus && std::signbit(y));
        const bool zero = y == 0 || size == minus || size == plus;
        if (zero && negative != std::signbit(results_[k].value[i])) settled_[k][i] = false;
      }
  }
}

bool oracle::zero_sign_settled(std::size_t tensor, index_t i) {
  if (!pass_->selects) return false;
  if (settled_.empty()) nudge_zeros();
  return settled_[tensor][static_cast<std::size_t>(i)];
}

refinement oracle::refine(std::size_t tensor, index_t i, double got) {
  ++escalations_;
  if (pass_->contraction) return refine_contraction(results_[tensor].element(i), got, scratch_[0].list);
  return refine_definition(tensor, i, got);
}

}  // namespace plumb
