// A whole tensor against the truth, a block at a time: sums, radius, bounds and comparison while the block is in the
// cache, so that fifty million outputs need neither the memory nor the time of seven vectors of doubles.
#include <algorithm>
#include <cmath>

#include "verify/compare.hpp"
#include "verify/oracle.hpp"
#include "verify/panel_sums.hpp"

namespace plumb {
namespace {

constexpr double unit = 0x1p-53;
constexpr double slack = 1 + 0x1p-20;  ///< pays for the roundings of S and of the radius itself

/// Where an open element of a block is looked at again.
class block_refiner final : public refiner {
 public:
  using look = std::function<refinement(index_t element, double got)>;
  block_refiner(look again, const panel_plan::block& b) : again_(std::move(again)), block_(b) {}
  refinement refine(std::size_t, index_t i, double got) override { return again_(number(i), got); }
  index_t number(index_t i) const { return block_.first[i % block_.rows] + i / block_.rows * block_.step; }

 private:
  look again_;
  const panel_plan::block& block_;
};

/// |got - sum - c| against share·S, and S = size + |c|, for a column of a block: how many are not surely within, and the
/// largest error in units of S. Positive form: a NaN is not within.
[[gnu::target_clones("avx512f", "avx2", "default")]] index_t not_within(const float* got, const double* sum,
                                                                        const double* size, double c,
                                                                        index_t rows, double share,
                                                                        double& worst) {
  index_t within = 0;
  double most = worst;
  for (index_t r = 0; r < rows; ++r) {
    const double whole = size[r] + std::fabs(c);
    const double error = std::fabs(static_cast<double>(got[r]) - (sum[r] + c));
    within += error <= share * whole ? 1 : 0;
    const double relative = error / whole;
    most = relative > most ? relative : most;
  }
  worst = most;
  return rows - within;
}

/// Every threshold of sums of n terms is at least this many times S, where the data are no lattice: bounds grow with S,
/// so it is found between two sizes.
struct slopes {
  double terms = -1, statistical = 0, proven = 0;

  void find(double n, const certify_terms& terms_of, const truths& common) {
    if (n == terms) return;
    terms = n;
    truths probe = common;
    probe.extents = shape{2};
    probe.value = {0, 0};
    probe.radius = {0, 0};
    probe.size = {0x1p30, 0x1p31};
    probe.terms = {n, n};
    probe.largest = {0, 0};
    thresholds t;
    evaluate_thresholds(probe, terms_of.how, terms_of.declared, terms_of.drawn, terms_of.run, t);
    statistical = (t.statistical[1] - t.statistical[0]) * 0x1p-30 * (1 - 0x1p-30);
    proven = (t.proven[1] - t.proven[0]) * 0x1p-30;
  }
};

/// What one thread keeps from block to block.
struct desk {
  slopes slope;
  truths truth;
  thresholds bounds;
  std::vector<float> got;
  product_list list;
  comparison block, all;
  double worst_share = -1;
};

/// Adds a block's comparison; `number` turns its entries into elements of the tensor.
template <class Number>
void merge(desk& d, Number&& number) {
  comparison &all = d.all, &one = d.block;
  all.elements += one.elements;
  all.failures += one.failures;
  all.above_proven += one.above_proven;
  all.escalated += one.escalated;
  all.undecided += one.undecided;
  all.non_finite += one.non_finite;
  all.zero_signs += one.zero_signs;
  all.worst_statistical = std::max(all.worst_statistical, one.worst_statistical);
  all.worst_ulps = std::max(all.worst_ulps, one.worst_ulps);
  for (std::size_t i = 0; i < all.ulp_counts.size(); ++i) all.ulp_counts[i] += one.ulp_counts[i];
  for (judged_element& e : one.wrong)
    if (all.wrong.size() < comparison::listed) {
      e.at = number(e.at);
      all.wrong.push_back(e);
    }
  if (one.worst.at >= 0 && one.worst_proven > all.worst_proven) {
    all.worst = one.worst;
    all.worst.at = number(one.worst.at);
  }
  all.worst_proven = std::max(all.worst_proven, one.worst_proven);
}

void merge_threads(comparison& all, const comparison& one) {
  desk d;
  d.all = std::move(all);
  d.block = one;
  merge(d, [](index_t i) { return i; });
  all = std::move(d.all);
}

}  // namespace

bool oracle::certify(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                     const tensor_ref& got, const certify_terms& terms, int threads, comparison& out) {
  const std::optional<panel_plan> plan = got.type == dtype::f32 && got.strides == row_major(got.extents)
                                             ? panel_plan::make(l, pass)
                                             : std::nullopt;
  if (!plan || plan->outputs() != got.extents.size()) return false;
  begin(l, pass, reads, dtype::f32);
  truths common;
  common.name = pass.writes.front();
  common.contraction = true;
  common.non_finite = results_.front().non_finite;
  const double addends = addend_.data != nullptr ? 1 : 0;
  common.most_terms = plan->most_terms() + addends;
  common.full_terms = std::max(common.most_terms, static_cast<double>(l.full_products(pass.name)) + addends);
  common.largest_left = a_.largest;
  common.largest_right = b_.largest;
  settle_lattice(common);
  std::vector<desk> desks(static_cast<std::size_t>(threads));
  for (desk& d : desks) d.truth = common;
  const auto* const values = static_cast<const float*>(got.data);
  plan->run(a_.data, b_.data, threads, [&](int thread, const panel_plan::block& b) {
    desk& d = desks[static_cast<std::size_t>(thread)];
    truths& t = d.truth;
    const index_t count = b.rows * b.width;
    d.got.resize(static_cast<std::size_t>(count));
    for (index_t col = 0, i = 0; col < b.width; ++col)
      for (index_t r = 0; r < b.rows; ++r)
        d.got[static_cast<std::size_t>(i++)] = values[b.first[r] + col * b.step];
    const bool addend = b.addend >= 0 && addend_.data != nullptr;
    const double n = b.terms + (addend ? 1 : 0);
    const double share = common.integral ? 0 : (n + 2) * unit * slack;
    const auto addend_of = [&](index_t col) {
      return addend ? addend_.data[b.addend + col * b.addend_step] : 0;
    };
    if (!common.integral && !common.non_finite) {
      d.slope.find(n, terms, common);
      double worst = 0;
      index_t open = 0;
      for (index_t col = 0; col < b.width; ++col)
        open += not_within(d.got.data() + col * b.rows, b.sum + col * b.rows, b.size + col * b.rows,
                           addend_of(col), b.rows, d.slope.statistical - share, worst);
      if (open == 0) {
        d.all.elements += count;
        d.all.worst_statistical = std::max(d.all.worst_statistical, worst / d.slope.statistical);
        d.all.worst_proven = std::max(d.all.worst_proven, worst / d.slope.proven);
        return;
      }
    }
    t.extents = shape{count};
    for (auto* list : {&t.value, &t.radius, &t.size, &t.terms, &t.largest})
      list->resize(static_cast<std::size_t>(count));
    for (index_t col = 0, i = 0; col < b.width; ++col) {
      const double c = addend_of(col);
      for (index_t r = 0; r < b.rows; ++r, ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double sum = b.sum[i] + c, size = b.size[i] + std::fabs(c);
        t.value[at] = sum;
        t.size[at] = size;
        t.radius[at] = std::isfinite(sum) ? share * size : 0;
        t.terms[at] = n;
      }
    }
    block_refiner again(
        [&](index_t element, double value) { return refine_contraction(element, value, d.list); }, b);
    evaluate_thresholds(t, terms.how, terms.declared, terms.drawn, terms.run, d.bounds);
    compare({d.got.data(), dtype::f32, t.extents, shape{1}}, t, d.bounds, &again, 0, d.block);
    merge(d, [&](index_t i) { return again.number(i); });
  });
  out = {};
  for (const desk& d : desks) merge_threads(out, d.all);
  return true;
}

}  // namespace plumb
