// What the kernels made of a problem: their answers booked, failures collected, shrunk and described.
#include "verify/verify_run.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"
#include "verify/recurrence.hpp"

namespace plumb {
namespace {

constexpr std::chrono::duration<double> limit_of_hangs = std::chrono::milliseconds(500);  // while shrinking

}  // namespace

using record::verdict;

void verify_run::send(pending_exam& p) {
  const std::size_t portion = p.paper->kernels_at_once();
  std::vector<candidate*> waiting = p.members;
  if (waiting.size() > portion) drain();  // the portions need the arena of the exam before
  while (waiting.size() > portion) {
    const std::vector<candidate*> part(waiting.begin(),
                                       waiting.begin() + static_cast<std::ptrdiff_t>(portion));
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(portion));
    submit(*p.paper, part);
    p.paper->evaluate();
    collect(p);
  }
  p.members = std::move(waiting);
  submit(*p.paper, p.members);
  p.paper->evaluate();
}

void verify_run::submit(exam& paper, const std::vector<candidate*>& members) {
  std::vector<const kernel_info*> kernels;
  for (const candidate* c : members) kernels.push_back(c->kernel);
  arena_ = (arena_ + 1) % (box_.arenas() - 1);
  paper.submit(box_, box_.at(arena_), std::move(kernels));
}

void verify_run::drain() {
  if (!under_way_) return;
  collect(*under_way_);
  note_new_blocks(*under_way_);
  if (++exams_ % 64 == 0) naive_histogram(*under_way_);
  under_way_.reset();
}

void verify_run::collect(pending_exam& p) {
  exam& paper = *p.paper;
  const std::vector<std::string> classes =
      options_.triggers ? options_.triggers(paper.about()) : std::vector<std::string>();
  std::map<candidate*, bool> trusted;
  paper.collect(box_, [&](answer& a) {
    candidate* who = find(a.kernel->name);
    if (a.question == 0) p.from->fittings[who].note(paper.about().canonical().print(), a.declined.empty());
    if (a.question == 0 && !p.fitted) offer(*who, a, classes);
    take(paper, a, *who);
    if (a.declined.empty() && a.result.elements > 0)
      trusted[who] = trusted[who] || (a.power.rejects_zero && a.power.rejects_lost_term);
  });
  for (const auto& [who, yes] : trusted) who->trusted += yes ? 1 : 0;
}

void verify_run::offer(candidate& c, const answer& a, const std::vector<std::string>& classes) {
  ++c.result.offered;
  const bool accepted = a.declined.empty();
  if (accepted)
    ++c.result.accepted;
  else
    ++c.declined[a.declined];
  for (const std::string& name : classes) {
    record::coverage_class& k = c.coverage[name];
    k.name = name;
    ++k.offered;
    if (accepted) ++k.accepted;
  }
}

void verify_run::take(const exam& paper, answer& a, candidate& c) {
  if (!a.declined.empty()) return;
  ++cases_;
  calls_ += a.calls;
  ++c.result.cases;
  c.result.calls += a.calls;
  c.result.elements += a.result.elements;
  c.unbounded += a.result.unbounded;
  c.result.seconds += a.seconds;
  c.result.oracle_escalations += a.result.escalated;
  const std::string& regime = paper.questions()[a.question].regime;
  if (regime != name_of(regime::special)) {
    c.ordinary += a.result.elements;
    c.ordinary_unbounded += a.result.unbounded;
  }
  record::regime_tally& tally = c.regimes[regime];
  tally.regime = regime;
  ++tally.cases;
  if (a.wrong) {
    ++tally.failures;
    if (a.wrong->verdict != verdict::inconclusive) tell(c, regime, a.wrong->kind);
    note_failure(c, *a.wrong);
    return;
  }
  if (a.result.elements == 0) return;
  if (a.statistical)
    tally.worst_statistical = std::max(tally.worst_statistical.value_or(0), a.result.worst_statistical);
  tally.worst_proven = std::max(tally.worst_proven.value_or(0), a.result.worst_proven);
  tally.worst_ulps = std::max(tally.worst_ulps, a.result.worst_ulps);
  if (regime != name_of(regime::zero_mean) || paper.how().type != c.kernel->types.front()) return;
  for (std::size_t i = 0; i < c.ulps.size(); ++i) c.ulps[i] += a.result.ulp_counts[i];
  c.result.detection_power = std::min(
      c.result.detection_power.value_or(std::numeric_limits<double>::infinity()), a.power.smallest_loss);
  const double share = a.statistical ? a.result.worst_statistical : a.result.worst_proven;
  if (share > c.worst_share && a.result.worst.at >= 0) {
    c.worst_share = share;
    c.worst_case = paper.case_of(*a.kernel, a.question);
    c.result.worst.assign(1, element_of(paper, a, a.result.worst));
  }
}

void verify_run::tell(const candidate& c, const std::string& family, const std::string& kind) const {
  if (options_.on_failure) options_.on_failure({c.kernel, family, kind, c.result.cases, spent()});
}

void verify_run::note_failure(candidate& c, const failure& f) {
  if (f.verdict == verdict::inconclusive) {
    c.undecided = true;
    return;
  }
  ++c.failures;
  if (f.verdict == verdict::crashed || f.verdict == verdict::timeout) ++c.crashes;
  if (c.worst_verdict == verdict::pass || f.verdict != verdict::fail) c.worst_verdict = f.verdict;
  for (record::counterexample& known : c.result.counterexamples)
    if (known.kind == f.kind) {
      ++known.occurrences;
      return;
    }
  for (auto& [who, waiting] : failures_)
    if (who == &c && waiting.kind == f.kind) {
      ++waiting_counts_[{who, f.kind}];
      return;
    }
  if (c.result.counterexamples.size() < most_counterexamples) failures_.emplace_back(&c, f);
}

void verify_run::settle_failures() {
  if (failures_.empty()) return;
  drain();  // a fresh worker may be asked for below
  auto waiting = std::move(failures_);
  failures_.clear();
  const clock::time_point began = clock::now();
  for (auto& [whose, f] : waiting) {
    candidate* const who = whose;
    report("shrinking a counterexample of " + who->kernel->name);
    shrunk_case smallest{f.conditions, 0, false};
    const auto fails_when = [&](bool thorough) {
      return [this, thorough, who](const test_case& c) {
        if (plumb::bind(c.problem)->find_pass(who->kernel->pass) == nullptr) return false;
        const single_case again = examine(box_, c, thorough);
        return again.result.wrong && again.result.wrong->verdict != verdict::inconclusive;
      };
    };
    if (options_.shrink) {
      const auto whole_limit = box_.time_limit();
      if (f.verdict == verdict::timeout) box_.limit_time(std::min(whole_limit, limit_of_hangs));
      const bool plainly = fails_when(false)(f.conditions);
      if (!plainly) box_.restart();  // what a kernel remembers of this case makes it pass the next time
      const auto still_fails = asked_often_enough(fails_when(!plainly), f.conditions, seconds_to_recur);
      smallest = options_.shrink(f.conditions, still_fails, time_to_shrink(waiting.size()));
      box_.limit_time(whole_limit);
      // What fails only after other calls in the same process is no counterexample: it must fail in a fresh one. Nor
      // is what a shorter limit took for a hang.
      const bool ended = f.verdict == verdict::crashed || f.verdict == verdict::timeout;
      if (ended && smallest.steps > 0) {
        box_.restart();
        if (!still_fails(smallest.smallest)) smallest = {f.conditions, smallest.steps, false};
      }
    }
    record::counterexample seen = describe_failure(box_, f, smallest);
    seen.occurrences = 1 + waiting_counts_[{who, f.kind}];
    // A failure may shrink into another kind; the first of each kind stays.
    const bool known = std::ranges::any_of(
        who->result.counterexamples, [&](const record::counterexample& k) { return k.kind == seen.kind; });
    if (!known) who->result.counterexamples.push_back(std::move(seen));
    if (options_.stop_at_first_failure) who->failures = candidate::failures_until_retired;
  }
  aside_ += since(began);
}

double verify_run::time_to_shrink(std::size_t waiting) const {
  if (!stopped_.empty()) return 0.2;
  if (!options_.problems.empty()) return 6;
  return std::clamp(left() / static_cast<double>(1 + waiting), 1.0, 6.0);
}

void verify_run::naive_histogram(pending_exam& p) {
  exam& paper = *p.paper;
  if (paper.how().type != dtype::f32) return;
  for (std::size_t q = 0; q < paper.questions().size(); ++q) {
    if (paper.questions()[q].regime != name_of(regime::zero_mean)) continue;
    const auto reads = paper.reads(q).map<float>([](double v) { return static_cast<float>(v); });
    tensor_set<float> got = evaluate_pass<float>(paper.about(), paper.pass(), reads);
    const auto& truth = paper.truth(q);
    for (candidate* c : p.members) {
      const auto& bounds = paper.thresholds_for(q, *c->kernel);
      for (std::size_t t = 0; t < bounds.size() && t < truth.size(); ++t) {
        if (truth[t].is_index) continue;
        tensor<float>& values = got[truth[t].name];
        comparison result;
        compare({values.data(), dtype::f32, values.extents(), row_major(values.extents())}, truth[t],
                bounds[t], nullptr, t, result);
        for (std::size_t i = 0; i < c->naive_ulps.size(); ++i) c->naive_ulps[i] += result.ulp_counts[i];
      }
    }
  }
}
}  // namespace plumb
