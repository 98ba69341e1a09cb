#include "verify/sweep/sweep.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "reference/layers/catalogue.hpp"
#include "reference/scalars/running_error.hpp"
#include "verify/compare.hpp"
#include "verify/evaluate.hpp"

namespace plumb {
namespace {

using record::verdict;
using clock = std::chrono::steady_clock;

constexpr index_t block = 1 << 20;             ///< inputs of one call
constexpr index_t stretch = 8192;              ///< inputs that one thread evaluates at a time
constexpr index_t places = 16;                 ///< where a stretch's radius is measured
constexpr index_t batch = comparison::listed;  ///< inputs judged together with all means
constexpr std::int64_t most_wrong = 1000;      ///< after that a kernel is wrong enough
constexpr double infinity = std::numeric_limits<double>::infinity();

float float_of(std::int64_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits)); }

/// The pass on a vector of inputs: operands that are not swept are 1.
class element_wise {
 public:
  /// `text` with the extent of every shape replaced by `count`.
  element_wise(const problem& like, const std::string& pass, index_t count) : count_(count) {
    problem sized(like.layer());
    for (const auto& f : like.fields())
      if (f.key == "x")
        sized.set("x", std::to_string(count));
      else
        sized.set(f.key, f.value);
    layer_ = plumb::bind(sized);
    pass_ = layer_->find_pass(pass);
  }

  const layer& about() const { return *layer_; }
  const pass_spec& pass() const { return *pass_; }
  index_t count() const { return count_; }
  const std::string& swept() const { return pass_->reads.back(); }

  template <class T>
  tensor_set<T> reads() const {
    tensor_set<T> set;
    for (const std::string& name : pass_->reads) set.add(name, tensor<T>(shape{count_}, T(1)));
    return set;
  }
  template <class T>
  tensor<T> evaluate(const tensor_set<T>& given) const {
    return std::move(evaluate_pass<T>(*layer_, *pass_, given).entries().front().real);
  }

 private:
  index_t count_;
  std::shared_ptr<const layer> layer_;
  const pass_spec* pass_ = nullptr;
};

/// Why this pass cannot be swept; empty if it can.
std::string not_element_wise(const problem& like, const std::string& pass) {
  const element_wise one(like, pass, 1), two(like, pass, 2);
  if (one.pass().writes.size() != 1) return "writes several tensors";
  for (const auto* names : {&one.pass().reads, &one.pass().writes})
    for (const std::string& name : *names) {
      if (!two.about().present(name) || two.about().shapes()[name] != shape{2} ||
          two.about().spec(name).kind != element::real)
        return fmt::format("`{}` is no tensor of real numbers with an element for each of x", name);
    }
  auto alone = one.reads<double>(), both = two.reads<double>();
  for (const double x : {0.75, -1.25, 3.5}) {
    alone[one.swept()][0] = both[two.swept()][1] = x;
    both[two.swept()][0] = 2 - x;
    if (one.evaluate(alone)[0] != two.evaluate(both)[1])
      return "an output depends on more than its own input";
  }
  return {};
}

/// What one thread found in its part of a block.
struct findings {
  double worst_ulps = -1;
  std::int64_t worst_input = 0;
  float worst_got = 0;
  double worst_truth = 0;
  std::int64_t misrounded = 0;
  struct open_case {
    std::int64_t bits;
    float got;
    bool rounding_only;  ///< within the bound; open is only whether it is correctly rounded
  };
  std::vector<open_case> open;

  void worse(double ulps, std::int64_t bits, float got, double truth) {
    if (!(ulps > worst_ulps)) return;
    worst_ulps = ulps;
    worst_input = bits;
    worst_got = got;
    worst_truth = truth;
  }
};

class sweeper {
 public:
  sweeper(sandbox& box, const kernel_info& kernel, const problem& like, const sweep_options& options,
          record::sweep_result& out)
      : box_(box),
        kernel_(kernel),
        options_(options),
        out_(out),
        many_(like, kernel.pass, block),
        some_(like, kernel.pass, stretch),
        few_(like, kernel.pass, places),
        judged_(like, kernel.pass, batch),
        how_(parse_arithmetic(kernel.arithmetic, dtype::f32)) {}

  void run(const std::function<void()>& after_each_block) {
    if (!how_.error.empty()) {
      out_.verdict = verdict::skipped;
      out_.reason = how_.error;
      return;
    }
    out_.problem = many_.about().canonical().print();
    const double before = out_.seconds;
    const clock::time_point start = clock::now();
    int arena = 0;
    submit(box_.at(arena), out_.next);
    while (!done() && out_.reason.empty()) {
      const std::int64_t first = out_.next;
      const std::int64_t following = first + block;
      if (!collect(box_.at(arena))) break;
      const std::vector<float> got = std::move(answers_);
      arena = 1 - arena;
      if (following <= options_.range.last) submit(box_.at(arena), following);
      judge(first, got);
      out_.next = std::min(following, options_.range.last + 1);
      out_.seconds = before + std::chrono::duration<double>(clock::now() - start).count();
      after_each_block();
    }
    if (!done() && box_.at(arena).busy) box_.wait(box_.at(arena));
    conclude();
  }

 private:
  bool done() const { return out_.next > options_.range.last; }
  index_t inputs_from(std::int64_t first) const { return std::min(block, options_.range.last + 1 - first); }

  // ---- the kernel ----

  void submit(arena& a, std::int64_t first) {
    a.clear();
    kernel_run run;
    run.kernel = kernel_.name;
    run.resolved = many_.about().resolved().print();
    run.canonical = many_.about().canonical().print();
    run.layout = kernel_.layouts.front();
    run.reuse_plan = run.keep_plan = true;
    const index_t inputs = inputs_from(first);
    const placement where{first / block % 2 == 0, 0};
    for (const std::string& name : many_.pass().reads) {
      run.reads.push_back(a.place_read(name, dtype::f32, shape{block}, shape{1}, where));
      float* const x = run.reads.back().here.view<float>().data_handle();
      for (index_t i = 0; i < block; ++i)
        x[i] = name == many_.swept() && i < inputs ? float_of(first + i) : 1.0F;
    }
    run.writes = {
        a.place_written(many_.pass().writes.front(), dtype::f32, shape{block}, shape{1}, poison::nan, where)};
    written_[static_cast<std::size_t>(a.number())] = run.writes.front();
    box_.submit(a, {std::move(run)});
  }

  /// Fetches what the kernel wrote; false if it did not get that far.
  bool collect(arena& a) {
    const run_result result = box_.wait(a).front();
    const placed_tensor& y = written_[static_cast<std::size_t>(a.number())];
    if (result.status != run_status::ok) {
      out_.verdict = result.status == run_status::declined  ? verdict::skipped
                     : result.status == run_status::crashed ? verdict::crashed
                     : result.status == run_status::timeout ? verdict::timeout
                                                            : verdict::fail;
      out_.reason = result.text;
      return false;
    }
    if (const auto d = find_damage(y)) {
      out_.verdict = verdict::fail;
      out_.reason = d->describe();
      return false;
    }
    const float* const from = y.here.view<const float>().data_handle();
    answers_.assign(from, from + block);
    return true;
  }

  // ---- the judgement ----

  void judge(std::int64_t first, const std::vector<float>& got) {
    const index_t inputs = inputs_from(first);
    const index_t stretches = (inputs + stretch - 1) / stretch;
    std::vector<findings> found(static_cast<std::size_t>(stretches));
#pragma omp parallel for schedule(dynamic) num_threads(options_.threads)
    for (index_t s = 0; s < stretches; ++s) {
      const index_t begin = s * stretch;
      judge_stretch(first + begin, got.data() + begin, std::min(stretch, inputs - begin),
                    found[static_cast<std::size_t>(s)]);
    }
    for (findings& f : found) take(f);
    out_.inputs += inputs;
  }

  void judge_stretch(std::int64_t first, const float* got, index_t count, findings& f) const {
    thread_local tensor_set<double> reads;
    if (reads.entries().empty() || !reads.has(some_.swept()) ||
        reads.entries().size() != some_.pass().reads.size())
      reads = some_.reads<double>();
    tensor<double>& x = reads[some_.swept()];
    for (index_t i = 0; i < stretch; ++i)
      x[i] = static_cast<double>(float_of(first + std::min(i, count - 1)));
    double relative = 0, absolute = 0, allowance = infinity;
    const bool smooth = measure(x, relative, absolute, allowance);
    const tensor<double> truth = some_.evaluate(reads);
    std::vector<double> radius;
    if (!smooth) radius = own_radii(reads);
    for (index_t i = 0; i < count; ++i) {
      const double v = truth[i];
      const double r = smooth ? relative * std::fabs(v) + absolute : radius[static_cast<std::size_t>(i)];
      judge_one(first + i, got[i], v, r, smooth ? allowance : 0, f);
    }
  }

  /// The running error at some places of the stretch: relative to the value, at zeros absolute; and the least that a
  /// correct kernel is allowed, relative too. False if the formula branches there or the error has no bound.
  bool measure(const tensor<double>& x, double& relative, double& absolute, double& allowance) const {
    auto reads = few_.reads<running_error>();
    for (index_t i = 0; i < places; ++i)
      reads[few_.swept()][i] = running_error(x[i * (stretch - 1) / (places - 1)]);
    running_error::forget_doubts();
    const tensor<running_error> y = few_.evaluate(reads);
    for (index_t i = 0; i < places; ++i) {
      const double size = std::fabs(y[i].value());
      if (!std::isfinite(size) || !std::isfinite(y[i].radius())) return std::isnan(x[i]) || std::isinf(x[i]);
      if (size > 0)
        relative = std::max(relative, 4 * y[i].radius() / size);
      else
        absolute = std::max(absolute, 4 * y[i].radius());
      if (size > 0) allowance = std::min(allowance, y[i].allowance() / size / 2);
    }
    return running_error::doubts() == 0;
  }
  std::vector<double> own_radii(const tensor_set<double>& reads) const {
    const auto y = some_.evaluate(reads.map<running_error>([](double v) { return running_error(v); }));
    std::vector<double> radii;
    for (index_t i = 0; i < y.size(); ++i) radii.push_back(y[i].radius());
    return radii;
  }

  void judge_one(std::int64_t bits, float got, double v, double r, double allowance, findings& f) const {
    if (!std::isfinite(v) || !std::isfinite(got)) {
      const bool same = std::isnan(v) ? std::isnan(got) : static_cast<double>(got) == v;
      if (!same) f.open.push_back({bits, got, false});
      return;
    }
    const auto low = static_cast<float>(v - r), high = static_cast<float>(v + r);
    const double error = std::fabs(static_cast<double>(got) - v);
    if (error == 0 && r == 0) return;
    const double ulps = error / how_.value.output.ulp(v);
    f.worse(ulps, bits, got, v);
    if (low == high && got == low) return;  // correctly rounded, so within every bound
    if (low == high || (got != low && got != high)) ++f.misrounded;
    const bool undecided = low != high && (got == low || got == high);
    if (!(error + r <= surely_allowed(v, allowance)))
      f.open.push_back({bits, got, false});
    else if (undecided)
      f.open.push_back({bits, got, true});
  }

  /// A lower bound of the proven bound, 0 where none is at hand.
  double surely_allowed(double v, double allowance) const {
    const float_format& format = how_.value.output;
    if (how_.value.unit == 0) return 0;
    if (kernel_.accuracy.ulps > 0) {
      const double bound = kernel_.accuracy.ulps * format.ulp(v);
      return std::fabs(v) < 2 * format.smallest_normal() ? std::max(bound, format.smallest_normal()) : bound;
    }
    return std::isfinite(allowance) && std::fabs(v) >= format.smallest_normal()
               ? allowance * std::fabs(v) * how_.value.unit
               : 0;
  }

  void take(findings& f) {
    if (f.worst_ulps > out_.worst_ulps) {
      out_.worst_ulps = f.worst_ulps;
      out_.worst_input = static_cast<double>(float_of(f.worst_input));
      out_.worst_bits = f.worst_input;
      out_.worst_got = static_cast<double>(f.worst_got);
      out_.worst_truth = f.worst_truth;
    }
    out_.misrounded += f.misrounded;
    for (std::size_t first = 0; first < f.open.size() && out_.wrong < most_wrong; first += batch) {
      const std::size_t count = std::min<std::size_t>(batch, f.open.size() - first);
      settle({f.open.data() + first, count});
    }
  }

  /// Up to a batch of open cases through the oracle, its refinement and the comparison.
  void settle(std::span<const findings::open_case> open) {
    auto reads = judged_.reads<double>();
    tensor<float> got(shape{batch}, 0.0F);
    for (index_t i = 0; i < batch; ++i) {
      const findings::open_case& c = open[static_cast<std::size_t>(i) % open.size()];
      reads[judged_.swept()][i] = static_cast<double>(float_of(c.bits));
      got[i] = c.got;
    }
    oracle_.evaluate(judged_.about(), judged_.pass(), reads, dtype::f32);
    evaluate_thresholds(oracle_.results().front(), how_.value, kernel_.accuracy, regime::impulse, {},
                        thresholds_);
    comparison c;
    compare({got.data(), dtype::f32, shape{batch}, shape{1}}, oracle_.results().front(), thresholds_,
            &oracle_, 0, c);
    const float_format& format = how_.value.output;
    for (std::size_t i = 0; i < open.size(); ++i) {
      const auto at = static_cast<index_t>(i);
      if (open[i].rounding_only) {
        const refinement exact = oracle_.refine(0, at, static_cast<double>(got[at]));
        const double half = format.ulp(exact.value) / 2;
        const bool tie = exact.error == half && format.round(exact.value) == static_cast<double>(got[at]);
        const bool right = exact.error < half || tie;
        out_.misrounded += right ? 0 : 1;
        ++out_.escalated;
      }
      for (const judged_element& e : c.wrong)
        if (e.at == at) note_wrong(open[i], e);
    }
  }

  void note_wrong(const findings::open_case& c, const judged_element& e) {
    if (out_.wrong++ > 0) return;
    out_.first_wrong_input = static_cast<double>(float_of(c.bits));
    out_.first_wrong_bits = c.bits;
    out_.first_wrong_got = static_cast<double>(c.got);
    out_.first_wrong_truth = e.expected;
  }

  void conclude() {
    if (out_.wrong > 0) {
      out_.verdict = verdict::fail;
      out_.reason =
          fmt::format("{} inputs are wrong{}, the first is {} (bits 0x{:08x}): {} instead of {}", out_.wrong,
                      out_.wrong >= most_wrong ? " and more" : "", out_.first_wrong_input,
                      out_.first_wrong_bits, out_.first_wrong_got, out_.first_wrong_truth);
    } else if (out_.reason.empty() && done()) {
      out_.verdict = verdict::pass;
    }
  }

  sandbox& box_;
  const kernel_info& kernel_;
  const sweep_options& options_;
  record::sweep_result& out_;
  element_wise many_, some_, few_, judged_;
  parsed_arithmetic how_;
  std::array<placed_tensor, wire::max_arenas> written_;
  std::vector<float> answers_;
  oracle oracle_;
  thresholds thresholds_;
};

/// What the kernel makes of the numbers that people ask about.
std::vector<record::special_value> special_values(sandbox& box, const kernel_info& kernel,
                                                  const problem& like) {
  const std::array<std::uint32_t, 12> bits = {0x00000000, 0x80000000, 0x00000001, 0x80000001,
                                              0x007fffff, 0x00800000, 0x3f800000, 0x7f7fffff,
                                              0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000};
  const auto count = static_cast<index_t>(bits.size());
  const element_wise f(like, kernel.pass, count);
  arena& a = box.at(0);
  a.clear();
  kernel_run run;
  run.kernel = kernel.name;
  run.resolved = f.about().resolved().print();
  run.canonical = f.about().canonical().print();
  run.layout = kernel.layouts.front();
  auto reads = f.reads<double>();
  for (const std::string& name : f.pass().reads) {
    run.reads.push_back(a.place_read(name, dtype::f32, shape{count}, shape{1}));
    for (index_t i = 0; i < count; ++i) {
      const float x = name == f.swept() ? float_of(bits[static_cast<std::size_t>(i)]) : 1.0F;
      run.reads.back().here.view<float>()[i] = x;
      reads[name][i] = static_cast<double>(x);
    }
  }
  run.writes = {a.place_written(f.pass().writes.front(), dtype::f32, shape{count}, shape{1}, poison::nan)};
  const placed_tensor y = run.writes.front();
  std::vector<record::special_value> values;
  if (box.run(a, {std::move(run)}).front().status != run_status::ok) return values;
  const tensor<double> truth = f.evaluate(reads);
  for (index_t i = 0; i < count; ++i)
    values.push_back({reads[f.swept()][i], static_cast<double>(y.here.view<const float>()[i]), truth[i]});
  return values;
}

/// The problem whose attributes apply: the first one given for the layer, else the layer by itself.
problem problem_for(const std::string& layer, const std::vector<std::string>& given) {
  for (const std::string& text : given)
    if (problem p = problem::parse(text); p.layer() == layer) return p;
  return problem::parse(layer + " x=1");
}

}  // namespace

record::sweep_section sweep(sandbox& box, const sweep_options& options) {
  record::sweep_section section;
  if (options.resume != nullptr) section = *options.resume;
  clock::time_point kept = clock::now();
  for (const kernel_info* kernel : options.kernels) {
    auto known = std::ranges::find(section.kernels, kernel->name, &record::sweep_result::kernel);
    if (known == section.kernels.end()) {
      section.kernels.emplace_back();
      known = section.kernels.end() - 1;
      known->kernel = kernel->name;
      known->peer = kernel->peer;
      known->arithmetic = kernel->arithmetic;
      known->declared_ulps = kernel->accuracy.ulps;
      known->first = options.range.first;
      known->last = options.range.last;
      known->next = options.range.first;
    } else if (known->verdict != verdict::inconclusive) {
      continue;  // finished in the run before
    }
    record::sweep_result& out = *known;
    const problem like = problem_for(kernel->layer, options.problems);
    std::string cannot = kernel->unavailable;
    try {
      if (cannot.empty()) cannot = not_element_wise(like, kernel->pass);
    } catch (const std::invalid_argument& e) {
      cannot = e.what();
    }
    if (cannot.empty() && std::ranges::find(kernel->types, dtype::f32) == kernel->types.end())
      cannot = "takes no f32";
    if (!cannot.empty()) {
      out.verdict = verdict::skipped;
      out.reason = cannot;
      continue;
    }
    out.special = special_values(box, *kernel, like);
    const clock::time_point start = clock::now();
    const std::int64_t from = out.next;
    sweeper(box, *kernel, like, options, out).run([&] {
      const double spent = std::chrono::duration<double>(clock::now() - start).count();
      const double share =
          static_cast<double>(out.next - from) / static_cast<double>(options.range.last + 1 - from);
      if (options.progress) options.progress(out, share > 0 ? spent / share - spent : 0);
      if (options.keep && clock::now() - kept > std::chrono::seconds(3)) {
        kept = clock::now();
        options.keep(section);
      }
    });
    if (options.keep) options.keep(section);
  }
  return section;
}

}  // namespace plumb
