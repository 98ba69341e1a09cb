#include "verify/fingerprint/fingerprint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "reference/layers/catalogue.hpp"
#include "reference/scalars/float_format.hpp"
#include "verify/fingerprint/kernel_summation.hpp"

namespace plumb {
namespace {

using namespace fingerprint;
using record::verdict;

constexpr int not_measurable = -1;  // in the record

/// γ_k of k roundings in p bits, for the tightened bound; the declared one allows any order of n terms.
double gamma(index_t k, int bits) {
  const double ku = static_cast<double>(k) * std::ldexp(1.0, -bits);
  return ku < 1 ? ku / (1 - ku) : std::numeric_limits<double>::infinity();
}

class fingerprinter {
 public:
  fingerprinter(sandbox& box, const kernel_info& kernel, const std::vector<std::string>& problems)
      : box_(box), kernel_(kernel), problems_(problems) {
    out_.kernel = kernel.name;
    out_.layer = kernel.layer;
    out_.pass = kernel.pass;
    out_.origin = kernel.plugin.empty() ? "built in" : kernel.plugin;
    out_.peer = kernel.peer;
    out_.arithmetic = kernel.arithmetic;
    out_.verdict = verdict::skipped;
  }

  record::fingerprint_result take() {
    if (!kernel_.unavailable.empty()) {
      out_.reason = kernel_.unavailable;
    } else if (const dtype type = kernel_.types.front(); type != dtype::f32 && type != dtype::f64) {
      out_.reason = fmt::format("takes {} only; f32 and f64 data are measured", name_of(type));
    } else {
      out_.reason = fmt::format("no problem for `{}`: give one", kernel_.layer);
      for (const std::string& text : problems_)
        if (bind_if_mine(text) && measured()) break;
    }
    return std::move(out_);
  }

 private:
  bool bind_if_mine(const std::string& text) {
    layer_ = plumb::bind(std::string_view(text));
    pass_ = layer_->name() == kernel_.layer ? layer_->find_pass(kernel_.pass) : nullptr;
    return pass_ != nullptr;
  }

  /// False if the kernel declines this problem.
  bool measured() {
    try {
      measure();
    } catch (const no_answer& e) {
      out_.reason = e.text;
      if (e.status == run_status::declined) return false;
      out_.verdict = e.status == run_status::crashed   ? verdict::crashed
                     : e.status == run_status::timeout ? verdict::timeout
                                                       : verdict::fail;
    }
    return true;
  }

  void measure() {
    const repetition again = repeat(box_, kernel_, *layer_, *pass_);
    out_.problem = layer_->canonical().print();
    out_.implementation = again.implementation;
    out_.repeats = !again.same_bits          ? "other bits from run to run"
                   : !again.same_for_threads ? "same bits for one thread count"
                                             : "same bits for every thread count";
    out_.reason.clear();
    if (pass_->contraction)
      sums();
    else
      out_.words = again.loses_subnormals ? "no sum of products, subnormal results flushed"
                                          : "no sum of products, subnormals kept";
    if (!pass_->contraction && again.loses_subnormals &&
        !kernel_.peer)  // a vendor promises nothing of the kind
      blame(fmt::format("declares {} but takes subnormal numbers for zero", kernel_.arithmetic));
    if (!again.same_bits && kernel_.determinism != determinism::none)
      blame("declares repeatable results but gives other bits from run to run");
    else if (!again.same_for_threads && kernel_.determinism == determinism::thread_invariant)
      blame("declares the same bits for every thread count but they differ");
    out_.verdict = out_.reason.empty() ? verdict::pass : verdict::fail;
  }
  void blame(const std::string& sentence) {
    if (out_.reason.empty()) out_.reason = sentence;
  }

  void sums() {
    const dtype type = kernel_.types.front();
    kernel_summation machine(box_, kernel_, *layer_, *pass_);
    traits seen = examine(machine, format_of(type).precision);
    if (const auto other = shorter_sum(seen)) seen.shape = told_apart(seen.shape, *other);
    fill(seen);
    blame(contradiction(seen, kernel_.arithmetic, type));
    machine.only_the_last();
    const traits last = examine(machine, format_of(type).precision, seen.tree ? &*seen.tree : nullptr);
    blame(contradiction(last, kernel_.arithmetic, type));
    if (seen.tree && last.tree && last.shape.text != seen.shape.text) out_.tail_tree = last.shape.text;
    if (!seen.hides_sums && last.roundings() > seen.roundings()) out_.roundings = last.roundings();
    out_.calls = machine.calls();
    bounds(seen);
  }

  /// The shape of the same kernel's shorter sum, where blocks have to be told from a split.
  std::optional<tree_shape> shorter_sum(const traits& seen) {
    using kind = tree_shape::kind;
    if (!seen.tree || (seen.shape.what != kind::blocked && seen.shape.what != kind::split))
      return std::nullopt;
    for (const std::string& text : problems_) {
      const auto l = plumb::bind(std::string_view(text));
      const pass_spec* pass = l->name() == kernel_.layer ? l->find_pass(kernel_.pass) : nullptr;
      if (pass == nullptr || l->canonical().print() == layer_->canonical().print()) continue;
      try {
        kernel_summation machine(box_, kernel_, *l, *pass);
        if (machine.terms() >= seen.terms || 4 * machine.terms() < seen.terms) continue;
        if (const traits other = examine(machine, format_of(kernel_.types.front()).precision); other.tree)
          return other.shape;
      } catch (const no_answer&) {
        continue;
      }
    }
    return std::nullopt;
  }

  void fill(const traits& seen) {
    out_.words = in_words(seen);
    out_.terms = seen.terms;
    out_.tree = seen.tree ? seen.shape.text : seen.no_tree;
    out_.tree_kind = seen.tree ? name_of(seen.shape.what) : "unknown";
    out_.lanes = seen.shape.what == tree_shape::kind::lanes || seen.shape.what == tree_shape::kind::split
                     ? seen.shape.parts
                     : 1;
    out_.block = seen.shape.block;
    if (!seen.hides_inputs) out_.input_bits = {seen.a_bits, seen.b_bits};
    out_.products = name_of(seen.product);
    out_.accumulator_bits = seen.hides_sums                                 ? not_measurable
                            : seen.accumulator_bits == traits::never_rounds ? 0
                                                                            : seen.accumulator_bits;
    out_.truncates = seen.truncates;
    out_.flushes_inputs = seen.flushes_inputs;
    out_.flushes_results = seen.flushes_results;
    out_.roundings = seen.hides_sums ? 0 : seen.roundings();
  }

  void bounds(const traits& seen) {
    const int bits = seen.accumulator_bits == traits::never_rounds ? 53 : seen.accumulator_bits;
    if (bits == 0 || seen.hides_sums) return;
    out_.any_order_bound = gamma(seen.terms + 1, bits);
    out_.measured_bound = seen.tree ? gamma(out_.roundings, bits) : out_.any_order_bound;
  }

  sandbox& box_;
  const kernel_info& kernel_;
  const std::vector<std::string>& problems_;
  record::fingerprint_result out_;
  std::shared_ptr<const layer> layer_;
  const pass_spec* pass_ = nullptr;
};

}  // namespace

bool has_fingerprint(const kernel_info& kernel) {
  const bool floats = kernel.types.front() == dtype::f32 || kernel.types.front() == dtype::f64;
  return kernel.unavailable.empty() && !kernel.peer && kernel.device == "cpu" && floats;
}

record::fingerprint_section take_fingerprints(sandbox& box, const fingerprint_options& options) {
  record::fingerprint_section section;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < options.kernels.size(); ++i) {
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > options.seconds)
      break;
    if (options.progress) options.progress(i, options.kernels[i]->name);
    section.kernels.push_back(fingerprinter(box, *options.kernels[i], options.problems).take());
  }
  return section;
}

}  // namespace plumb
