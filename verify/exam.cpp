#include "verify/exam.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "reference/layers/catalogue.hpp"
#include "verify/counter_random.hpp"
#include "verify/law.hpp"
#include "verify/places.hpp"
#include "verify/sandbox/wire.hpp"

namespace plumb {
namespace {

regime regime_of(const std::string& text) {
  // Given data follow no distribution: only the proven bound applies, as for impulses.
  return parse_regime(text).value_or(regime::impulse);
}

/// Adds the comparison of another tensor of the same answer.
void merge(comparison& all, const comparison& one) {
  all.elements += one.elements;
  all.failures += one.failures;
  all.above_proven += one.above_proven;
  all.escalated += one.escalated;
  all.undecided += one.undecided;
  all.non_finite += one.non_finite;
  all.zero_signs += one.zero_signs;
  all.unbounded += one.unbounded;
  all.worst_statistical = std::max(all.worst_statistical, one.worst_statistical);
  all.worst_proven = std::max(all.worst_proven, one.worst_proven);
  all.worst_ulps = std::max(all.worst_ulps, one.worst_ulps);
  for (std::size_t i = 0; i < all.ulp_counts.size(); ++i) all.ulp_counts[i] += one.ulp_counts[i];
}

}  // namespace

const pass_spec& pass_of(const layer& l, std::string_view kernel) {
  const std::size_t dot = kernel.find('.');
  const std::size_t slash = kernel.find('/');
  if (dot == std::string_view::npos || slash == std::string_view::npos || slash < dot)
    throw text_error(std::string(kernel), 0, "expected a kernel's name, layer.pass/algorithm@target");
  const std::string_view pass = kernel.substr(dot + 1, slash - dot - 1);
  if (const pass_spec* p = l.find_pass(pass)) return *p;
  throw text_error(std::string(kernel), 0,
                   "`" + l.canonical().print() + "` has no pass `" + std::string(pass) + "`");
}

test_case with_data(const test_case& c) {
  if (!parse_regime(c.regime)) return c;
  test_case result = c;
  result.regime = test_case::given;
  result.seed = 0;
  const auto l = plumb::bind(c.problem);
  const tensor_set<double> reads = materialise(*l, pass_of(*l, c.kernel), {c.regime, c.seed, {}}, c.type);
  for (const auto& e : reads.entries())
    for (index_t i = 0; i < e.extents().size(); ++i) {
      const double value = e.is_index ? static_cast<double>(e.index[i]) : e.real[i];
      if (!(value == 0) || std::signbit(value)) result.data.push_back({e.name, i, value});
    }
  return result;
}

tensor_set<double> materialise(const layer& l, const pass_spec& pass, const exam::question& q, dtype type) {
  if (q.captured) return *q.captured;
  if (q.regime != test_case::given) {
    const auto known = parse_regime(q.regime);
    if (!known)
      throw text_error(q.regime, 0,
                       "no such regime; expected lattice, impulse, zero_mean, positive, special or given");
    return draw(l, pass, *known, q.seed, type);
  }
  tensor_set<double> reads = make_tensors<double>(l, pass.reads);
  for (const datum& d : q.data) {
    auto* e = reads.find(d.tensor);
    if (e == nullptr)
      throw text_error(d.tensor, 0, "the pass `" + pass.name + "` reads no tensor of that name");
    if (d.at < 0 || d.at >= e->extents().size())
      throw text_error(fmt::format("{}@{}", d.tensor, d.at), 0,
                       fmt::format("expected an element number below {}", e->extents().size()));
    if (e->is_index)
      e->index[d.at] = static_cast<index_t>(d.value);
    else
      e->real[d.at] = d.value;
  }
  return reads;
}

std::optional<exam::question> with_one_change(const layer& l, const pass_spec& pass, const exam::question& q,
                                              dtype type, std::uint64_t seed) {
  constexpr index_t most_elements = 4096;
  const tensor_set<double> reads = materialise(l, pass, q, type);
  std::vector<std::string> candidates;
  index_t elements = 0;
  for (const auto& e : reads.entries()) {
    elements += e.extents().size();
    const bool input =
        std::ranges::any_of(l.describe().inputs, [&](const tensor_spec& s) { return s.name == e.name; });
    if (input && !e.is_index && e.real.size() > 0 && l.spec(e.name).values == domain::any)
      candidates.push_back(e.name);
  }
  if (candidates.empty() || elements > most_elements) return std::nullopt;
  const counter_random dice(seed, "one change");
  const std::string& changed = candidates[dice.below(0, candidates.size())];
  const auto at = static_cast<index_t>(dice.bits(1) % static_cast<std::uint64_t>(reads[changed].size()));
  exam::question other{std::string(test_case::given), 0, {}};
  for (const auto& e : reads.entries())
    for (index_t i = 0; i < e.extents().size(); ++i) {
      double value = e.is_index ? static_cast<double>(e.index[i]) : e.real[i];
      if (e.name == changed && i == at) value += 1;
      if (!(value == 0) || std::signbit(value)) other.data.push_back({e.name, i, value});
    }
  return other;
}

std::vector<record::coordinate> named_coordinates(const layer& l, std::string_view tensor, index_t at) {
  const shape& extents = l.shapes()[tensor];
  const std::string letters = axis_letters(l.spec(tensor), extents.rank());
  std::vector<record::coordinate> list;
  const shape where = unflatten(at, extents);
  for (int axis = 0; axis < extents.rank(); ++axis)
    list.push_back({std::string(1, letters[static_cast<std::size_t>(axis)]), where[axis]});
  return list;
}

std::string element_name(const layer& l, std::string_view tensor, index_t at) {
  std::string text;
  for (const record::coordinate& c : named_coordinates(l, tensor, at))
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", c.axis, c.at);
  return fmt::format("{}[{}]", tensor, text);
}

exam::exam(std::shared_ptr<const layer> l, const pass_spec& pass, conditions how,
           std::vector<question> questions, run_statistics statistics)
    : layer_(std::move(l)),
      pass_(&pass),
      how_(how),
      statistics_(statistics),
      questions_(std::move(questions)),
      bounds_(questions_.size()) {
  for (const question& q : questions_) {
    paper_->reads.push_back(materialise(*layer_, pass, q, how_.type));
    paper_->oracles.push_back(std::make_unique<oracle>());
  }
}

exam exam::under(conditions how) const {
  exam other = *this;
  other.how_ = how;
  other.runs_.clear();
  other.kernels_.clear();
  return other;
}

const std::vector<placed_tensor>& exam::outputs(std::size_t kernel, std::size_t q) const {
  for (const run_record& r : runs_)
    if (r.kernel == kernel && r.question == q) return r.writes;
  throw std::out_of_range("that kernel was not asked");
}

shape exam::strides_of(std::string_view tensor, bool gapped) const {
  shape extents = layer_->shapes()[tensor];
  if (gapped)  // every axis one longer in memory than in the tensor
    for (int axis = 0; axis < extents.rank(); ++axis) ++extents[axis];
  const bool last = how_.layout == layout::nhwc && follows_layout(layer_->spec(tensor), extents.rank());
  return last ? channels_last(extents) : row_major(extents);
}

std::vector<placed_tensor> exam::place_reads(arena& a, std::size_t q, placement where, bool gapped) {
  std::vector<placed_tensor> placed;
  for (const std::string& name : pass_->reads) {
    const auto* entry = paper_->reads[q].find(name);
    if (entry == nullptr) {
      placed.emplace_back();
      continue;
    }
    const dtype type = entry->is_index ? dtype::i64 : how_.type;
    placed.push_back(how_.by->lay_input(a, name, type, entry->extents(), strides_of(name, gapped), where));
    store(*entry, placed.back().here);
  }
  return placed;
}

std::size_t exam::kernels_at_once() const {
  const std::size_t runs = questions_.size() * 2 + (how_.thorough ? 7 : 0);
  const std::size_t slots = static_cast<std::size_t>(wire::write_slots) - 2;
  return std::max<std::size_t>(1, std::min(slots / (runs * pass_->writes.size()), sandbox::max_runs / runs));
}

void exam::add_run(arena& a, std::vector<kernel_run>& runs, std::size_t kernel, std::size_t q,
                   placement where, poison fill, int threads, const std::vector<placed_tensor>& reads,
                   bool ordinary, bool gapped) {
  run_record record{kernel, q, ordinary, threads, {}, where, fill};
  for (const std::string& name : pass_->writes) {
    const dtype type = layer_->spec(name).kind == element::index ? dtype::i64 : how_.type;
    record.writes.push_back(
        a.place_written(name, type, layer_->shapes()[name], strides_of(name, gapped), fill, where));
  }
  kernel_run run;
  run.kernel = kernels_[kernel]->name;
  run.resolved = layer_->resolved().print();
  run.canonical = layer_->canonical().print();
  run.type = how_.type;
  run.layout = how_.layout;
  run.threads = threads;
  run.reads = reads;
  run.writes = record.writes;
  run.workspace = where;
  run.workspace_fill = fill;
  run.reuse_plan = true;
  runs.push_back(std::move(run));
  runs_.push_back(std::move(record));
}

void exam::submit(sandbox& box, arena& a, std::vector<const kernel_info*> kernels) {
  arena_ = &a;
  kernels_ = std::move(kernels);
  runs_.clear();
  a.clear();
  std::vector<kernel_run> runs;
  const placement at_end = how_.by->first_end;
  const placement at_start = how_.by->other_end;
  const poison other = how_.by->other_poison;
  std::vector<std::size_t> order(questions_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_partition(order.begin(), order.end(), [&](std::size_t q) { return !questions_[q].judged; });
  std::vector<std::vector<placed_tensor>> end,
      start;  // of the first question in the same places in every exam
  for (std::size_t q = 0; q < questions_.size(); ++q) {
    end.push_back(place_reads(a, q, at_end, false));
    start.push_back(place_reads(a, q, at_start, false));
  }
  for (const std::size_t q : order)
    for (std::size_t k = 0; k < kernels_.size(); ++k) {
      add_run(a, runs, k, q, at_end, poison::nan, how_.threads, end[q], true, false);
      add_run(a, runs, k, q, at_start, other, how_.threads, start[q], true, false);
    }
  if (how_.thorough) {
    // Misaligned by one element, gapped strides where declared, and other thread counts; grouped by thread
    // count, since changing the team costs more than a small call.
    const placement skewed{false, 1};
    const auto misaligned = place_reads(a, 0, skewed, false);
    const auto gapped = place_reads(a, 0, at_end, true);
    for (std::size_t k = 0; k < kernels_.size(); ++k) {
      add_run(a, runs, k, 0, skewed, poison::nan, how_.threads, misaligned, false, false);
      if (kernels_[k]->any_strides && how_.by->gaps)
        add_run(a, runs, k, 0, at_end, other, how_.threads, gapped, false, true);
    }
    const auto again = place_reads(a, 0, at_end, false);
    // The workspace as another question left it: it is the caller's, not the kernel's.
    if (questions_.size() > 1 && how_.by->foreign_workspace) {
      const auto foreign = place_reads(a, 1, at_end, false);
      const bool second_last = questions_[1].judged;
      for (std::size_t k = 0; k < kernels_.size(); ++k) {
        for (const bool second : {!second_last, second_last})
          add_run(a, runs, k, second ? 1 : 0, at_end, other, how_.threads, second ? foreign : again, false,
                  false);
        runs.back().workspace_kept = true;
      }
    }
    for (const int threads : how_.by->teams)
      for (std::size_t k = 0; k < kernels_.size(); ++k)
        add_run(a, runs, k, 0, at_end, poison::nan, threads, again, false, false);
  }
  box.submit(a, std::move(runs));
}

void exam::evaluate() {
  if (paper_->evaluated) return;
  for (std::size_t q = 0; q < questions_.size(); ++q)
    if (questions_[q].judged)
      paper_->oracles[q]->evaluate(*layer_, *pass_, paper_->reads[q], how_.type, how_.oracle_threads);
  paper_->evaluated = true;
}

void exam::collect(sandbox& box, const std::function<void(answer&)>& each) {
  std::vector<run_result> results = box.wait(*arena_);
  for (run_result& r : results) how_.by->conduct(r);
  evaluate();
  for (std::size_t k = 0; k < kernels_.size(); ++k)
    for (std::size_t q = 0; q < questions_.size(); ++q) {
      if (!questions_[q].judged) continue;
      answer a = judge(k, q, results);
      each(a);
    }
}

test_case exam::case_of(const kernel_info& k, std::size_t q) const {
  test_case c;
  c.kernel = k.name;
  c.problem = layer_->canonical().print();
  c.type = how_.type;
  c.layout = how_.layout;
  c.regime = questions_[q].regime;
  c.seed = questions_[q].seed;
  c.data = questions_[q].data;
  c.threads = how_.threads;
  return c;
}

failure exam::failed(const run_record& run, std::string kind, std::string message) const {
  failure f;
  f.kind = std::move(kind);
  f.message = std::move(message);
  f.conditions = case_of(*kernels_[run.kernel], run.question);
  f.conditions.threads = run.threads;
  f.conditions.alignment = run.where.at_end ? alignment::end : alignment::start;
  f.conditions.poison = run.fill;
  return f;
}

/// Whatever is wrong with one run before its values are looked at.
std::optional<failure> exam::trouble(const run_record& run, const run_result& result) const {
  const auto as = [&](record::verdict v, const char* kind, const std::string& message) {
    failure f = failed(run, kind, message);
    f.verdict = v;
    return f;
  };
  if (result.status == run_status::crashed) return as(record::verdict::crashed, "crash", result.text);
  if (result.status == run_status::timeout) return as(record::verdict::timeout, "time limit", result.text);
  if (result.status == run_status::failed) return failed(run, "failed", result.text);
  if (!result.floating_point.empty()) return failed(run, "floating-point state", result.floating_point);
  if (!result.workspace_damage.empty()) return failed(run, "write outside", result.workspace_damage);
  for (const placed_tensor& t : run.writes)
    if (const auto d = how_.by->outside(t)) return failed(run, "write outside", d->describe());
  return std::nullopt;
}

std::optional<failure> exam::disagreement(const run_record& a, const run_record& b) const {
  for (std::size_t t = 0; t < a.writes.size(); ++t) {
    const index_t at = how_.by->repeated(a.writes[t].here, b.writes[t].here);
    if (at < 0) continue;
    const std::string name = element_name(*layer_, a.writes[t].name, at);
    if (a.threads != b.threads)
      return failed(
          b, "not repeatable",
          fmt::format("{} has other bits with {} threads than with {}, declared the same for every count",
                      name, b.threads, a.threads));
    return failed(
        b, "not repeatable",
        fmt::format("{} has other bits in a second run over other memory, declared repeatable", name));
  }
  return std::nullopt;
}

/// Thresholds follow from the truth and the declaration; kernels that declare the same share them.
const exam::declared_bounds& exam::bounds_for(std::size_t q, const kernel_info& k) {
  for (const declared_bounds& b : bounds_[q])
    if (b.arithmetic == k.arithmetic && b.ulps == k.accuracy.ulps) return b;
  declared_bounds b;
  b.arithmetic = k.arithmetic;
  b.ulps = k.accuracy.ulps;
  const parsed_arithmetic parsed = parse_arithmetic(k.arithmetic, how_.type);
  b.error = parsed.error;
  if (b.error.empty()) {
    b.power.smallest_loss = std::numeric_limits<double>::infinity();
    for (const truths& t : paper_->oracles[q]->results()) {
      thresholds& th = b.tensors.emplace_back();
      b.error = how_.by->bounds(*layer_, *pass_, paper_->reads[q], t, parsed.value, k.accuracy,
                                regime_of(questions_[q].regime), statistics_, th, how_.oracle_threads);
      if (!b.error.empty()) {
        b.tensors.clear();
        break;
      }
      if (t.is_index) continue;
      const detection d = detection_power(t, th);
      b.power.smallest_loss = std::min(b.power.smallest_loss, d.smallest_loss);
      b.power.rejects_zero = b.power.rejects_zero || d.rejects_zero;
      b.power.rejects_lost_term = b.power.rejects_lost_term || d.rejects_lost_term;
      b.statistical = b.statistical || th.has_statistical;
    }
  }
  bounds_[q].push_back(std::move(b));
  return bounds_[q].back();
}

void exam::compare_values(const run_record& run, answer& out) {
  const declared_bounds& bounds = bounds_for(run.question, *out.kernel);
  oracle& truth = *paper_->oracles[run.question];
  out.power = bounds.power;
  out.statistical = bounds.statistical;
  for (std::size_t t = 0; t < run.writes.size(); ++t) {
    how_.by->values(run.writes[t].here, truth.results()[t], bounds.tensors[t], &truth, t, scratch_);
    if (out.worst_tensor.empty() || scratch_.failures > 0 ||
        (out.result.failures == 0 && scratch_.worst_proven > out.result.worst_proven)) {
      out.result.worst = scratch_.worst;
      out.worst_tensor = run.writes[t].name;
    }
    merge(out.result, scratch_);
    if (scratch_.failures > 0 && !out.wrong) {
      const judged_element& e = scratch_.wrong.empty() ? scratch_.worst : scratch_.wrong.front();
      out.wrong = failed(run, truth.results()[t].is_index ? "wrong index" : "wrong value",
                         fmt::format("{} is {}, expected {}; {} of {} elements are wrong",
                                     element_name(*layer_, run.writes[t].name, e.at), e.got, e.expected,
                                     scratch_.failures, scratch_.elements));
      out.wrong->tensor = run.writes[t].name;
      out.wrong->element = e;
    } else if (scratch_.undecided > 0 && !out.wrong) {
      out.wrong = failed(run, "undecided",
                         fmt::format("{} elements lie so close to their bound that no arithmetic here "
                                     "can tell the side",
                                     scratch_.undecided));
      out.wrong->verdict = record::verdict::inconclusive;
    }
  }
}

answer exam::judge(std::size_t kernel, std::size_t q, const std::vector<run_result>& results) {
  answer a;
  a.kernel = kernels_[kernel];
  a.question = q;
  std::vector<std::size_t> mine;
  for (std::size_t i = 0; i < runs_.size(); ++i)
    if (runs_[i].kernel == kernel && runs_[i].question == q) mine.push_back(i);
  for (const std::size_t i : mine)
    if (results[i].status == run_status::declined) {
      a.declined = results[i].text;
      return a;
    }
  if (const std::string& error = bounds_for(q, *a.kernel).error; !error.empty()) {
    a.declined = error;
    return a;
  }
  for (const std::size_t i : mine) {
    ++a.calls;
    a.seconds += results[i].seconds;
    if (!a.wrong) a.wrong = trouble(runs_[i], results[i]);
    if (a.implementation.empty()) a.implementation = results[i].implementation;
  }
  if (a.wrong) return a;
  const run_record& first = runs_[mine[0]];
  const run_record& second = runs_[mine[1]];
  for (std::size_t t = 0; t < first.writes.size(); ++t) {
    const unwritten_elements u = how_.by->unwritten(first.writes[t], second.writes[t]);
    if (u.count == 0) continue;
    a.wrong = failed(first, "unwritten",
                     fmt::format("{} and {} more elements are left as they were before the call",
                                 element_name(*layer_, first.writes[t].name, u.first), u.count - 1));
    a.wrong->tensor = first.writes[t].name;
    judged_element e;
    e.at = u.first;
    a.wrong->element = e;
    return a;
  }
  compare_values(first, a);
  const determinism declared = a.kernel->determinism;
  for (std::size_t n = 1; n < mine.size() && !a.wrong; ++n) {
    const run_record& other = runs_[mine[n]];
    const bool promised = other.threads == first.threads ? declared != determinism::none
                                                         : declared == determinism::thread_invariant;
    if (auto d = disagreement(first, other)) {
      // Values first: a wrong number says more than "not the same bits".
      answer values = a;
      values.result = {};
      compare_values(other, values);
      if (values.wrong)
        a.wrong = values.wrong;
      else if (promised)
        a.wrong = std::move(d);
    }
  }
  return a;
}

const checks& all_checks() {
  static const checks table;
  return table;
}

shape layout_strides(const layer& l, std::string_view tensor, layout order) {
  const shape& extents = l.shapes()[tensor];
  return order == layout::nhwc && follows_layout(l.spec(tensor), extents.rank()) ? channels_last(extents)
                                                                                 : row_major(extents);
}

kernel_run run_over(arena& a, const kernel_info& kernel, const layer& l, const pass_spec& pass,
                    const tensor_set<double>& reads, const conditions& how) {
  kernel_run run;
  run.kernel = kernel.name;
  run.resolved = l.resolved().print();
  run.canonical = l.canonical().print();
  run.type = how.type;
  run.layout = how.layout;
  run.threads = how.threads;
  for (const std::string& name : pass.reads) {
    const auto* entry = reads.find(name);
    if (entry == nullptr || !l.present(name)) {
      run.reads.emplace_back();
      continue;
    }
    run.reads.push_back(a.place_read(name, entry->is_index ? dtype::i64 : how.type, entry->extents(),
                                     layout_strides(l, name, how.layout)));
    store(*entry, run.reads.back().here);
  }
  for (const std::string& name : pass.writes)
    if (l.present(name))
      run.writes.push_back(a.place_written(name, l.spec(name).kind == element::index ? dtype::i64 : how.type,
                                           l.shapes()[name], layout_strides(l, name, how.layout),
                                           poison::nan));
  return run;
}

tensor_set<double> call_once(sandbox& box, const kernel_info& kernel, const layer& l, const pass_spec& pass,
                             const tensor_set<double>& reads, const conditions& how) {
  arena& a = box.at(box.arenas() - 1);
  a.clear();
  kernel_run run = run_over(a, kernel, l, pass, reads, how);
  tensor_set<double> written = make_tensors<double>(l, pass.writes);
  const std::vector<placed_tensor> writes = run.writes;
  const run_result result = box.run(a, {std::move(run)}).front();
  if (result.status != run_status::ok) throw kernel_declined{result.text};
  for (std::size_t t = 0; t < writes.size(); ++t) {
    auto& e = written.entries()[t];
    for (index_t i = 0; i < e.extents().size(); ++i) {
      const shape at = unflatten(i, e.extents());
      if (e.is_index)
        e.index[i] = writes[t].here.view<index_t>()(at);
      else
        e.real[i] = how.type == dtype::f64 ? writes[t].here.view<double>()(at)
                                           : static_cast<double>(writes[t].here.view<float>()(at));
    }
  }
  return written;
}

}  // namespace plumb
