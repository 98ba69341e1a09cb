// Laws on kernels, and thousands of calls in a row: what is not judged by the answer to one question.
#include "verify/verify_run.hpp"

#include <algorithm>
#include <cmath>

#include "reference/layers/catalogue.hpp"
#include "verify/recurrence.hpp"

namespace plumb {
namespace {

constexpr std::int64_t cases_before_endurance = 40;

}  // namespace

using record::verdict;

void verify_run::one_law(verify_group& g, const pending_exam& p) {
  if (options_.laws.empty() || p.members.empty()) return;
  const clock::time_point began = clock::now();
  for (std::size_t tries = 0; tries < options_.laws.size(); ++tries) {
    const law& each = options_.laws[next_law_ % options_.laws.size()];
    candidate& who = *p.members[next_law_ / options_.laws.size() % p.members.size()];
    ++next_law_;
    if (!each.applies(p.paper->about(), p.paper->pass())) continue;
    judge_law(each, who, *p.paper, options_.seed + g.drawn);
    break;
  }
  law_seconds_ += since(began);
  aside_ += since(began);
}

void verify_run::judge_law(const law& each, candidate& who, const exam& paper, std::uint64_t seed) {
  const law_verdict v =
      check_law(box_, each, *who.kernel, paper.about(), paper.pass(), paper.how(), seed, &calls_);
  if (!v.applicable) return;
  record::law_tally& tally = who.laws[each.name];
  tally.law = each.name;
  ++tally.cases;
  if (v.holds) return;
  ++tally.failures;
  ++who.failures;
  tell(who, "law:" + each.name, "law");
  if (who.worst_verdict == verdict::pass) who.worst_verdict = verdict::fail;
  for (record::counterexample& known : who.result.counterexamples)
    if (known.law == each.name) {
      ++known.occurrences;
      return;
    }
  if (who.result.counterexamples.size() < most_counterexamples)
    who.result.counterexamples.push_back(broken_law(each, who, paper, seed, v));
  if (options_.stop_at_first_failure) who.failures = candidate::failures_until_retired;
}

record::counterexample verify_run::broken_law(const law& each, const candidate& who, const exam& paper,
                                              std::uint64_t seed, const law_verdict& v) {
  test_case drawn = paper.case_of(*who.kernel, 0);
  drawn.regime = std::string(test_case::law_regime) + each.name;
  drawn.seed = seed;
  drawn.data.clear();
  std::string message = v.message;
  const auto breaks = [&](const test_case& c) {
    const law_verdict again = replay_law(box_, options_.laws, c);
    if (again.applicable && !again.holds) message = again.message;
    return again.applicable && !again.holds;
  };
  return without_data("law", each.name, each.name + " (" + each.statement + "): ", drawn, breaks, message);
}

record::counterexample verify_run::without_data(const std::string& kind, const std::string& law,
                                                const std::string& preface, const test_case& drawn,
                                                const std::function<bool(const test_case&)>& fails,
                                                const std::string& message) {
  shrunk_case smallest{drawn, 0, false};
  if (options_.shrink)
    smallest = options_.shrink(drawn, asked_often_enough(fails, drawn, seconds_to_recur), time_to_shrink(1));
  fails(smallest.smallest);  // for its message
  record::counterexample c;
  c.kind = kind;
  c.law = law;
  c.message = preface + message;
  c.problem = smallest.smallest.problem;
  c.original_problem = drawn.problem;
  c.regime = drawn.regime;
  c.replay = print(smallest.smallest);
  c.original_replay = print(drawn);
  c.shrink_steps = smallest.steps;
  c.minimal = smallest.minimal;
  return c;
}

void verify_run::one_endurance(const pending_exam& p) {
  const exam& paper = *p.paper;
  if (!(work_of(paper.about(), paper.pass()) <= 2e4) ||
      paper.how().type != p.members.front()->kernel->types.front())
    return;
  for (candidate* c : p.members) {
    if (c->endured || c->retired() || c->result.cases < cases_before_endurance || c->kernel->device != "cpu")
      continue;
    const clock::time_point began = clock::now();
    c->endured = true;
    test_case drawn = paper.case_of(*c->kernel, 0);
    drawn.regime = test_case::endurance;
    drawn.data.clear();
    const endurance e = endure(box_, drawn);
    calls_ += e.calls;
    c->result.calls += e.calls;
    c->result.endured = e.calls;
    if (!e.left_behind.empty()) note_leak(*c, drawn, e);
    endurance_seconds_ += since(began);
    aside_ += since(began);
    return;
  }
}

void verify_run::note_leak(candidate& c, const test_case& drawn, const endurance& seen) {
  ++c.failures;
  tell(c, "endurance", seen.kind);
  if (c.worst_verdict == verdict::pass) c.worst_verdict = verdict::fail;
  std::string message = seen.left_behind;
  const auto leaks = [&](const test_case& smaller) {
    const endurance again = endure(box_, smaller);
    if (!again.left_behind.empty()) message = again.left_behind;
    return !again.left_behind.empty();
  };
  c.result.counterexamples.push_back(
      without_data(seen.kind, "leaves nothing behind", "", drawn, leaks, message));
  if (options_.stop_at_first_failure) c.failures = candidate::failures_until_retired;
}

namespace {

/// Laws speak of exact sums of small integers. A kernel that transforms its operands has errors there too; where its
/// bound leaves one integer only, that integer is its answer, and elsewhere the law has nothing to say to it.
void settle_integers(const kernel_info& kernel, const layer& l, const pass_spec& pass,
                     const tensor_set<double>& reads, dtype type, tensor_set<double>& written) {
  const parsed_arithmetic how = parse_arithmetic(kernel.arithmetic, type);
  if (!how.value.transforms()) return;
  oracle o;
  o.evaluate(l, pass, reads, type);
  for (const truths& t : o.results()) {
    thresholds bounds;
    if (!t.integral ||
        !thresholds_of(l, pass, reads, t, how.value, {}, regime::lattice, {}, bounds).empty() ||
        std::ranges::any_of(bounds.proven, [](double b) { return !(b < 0.5); }))
      throw kernel_declined{"its errors may hide an integer"};
    for (double& value : written[t.name].values()) value = std::nearbyint(value);
  }
}

}  // namespace

law_verdict check_law(sandbox& box, const law& which, const kernel_info& kernel, const layer& l,
                      const pass_spec& pass, const conditions& how, std::uint64_t seed, std::int64_t* calls) {
  const evaluator<double> evaluate = [&](const layer& problem, const pass_spec& p,
                                         const tensor_set<double>& reads) {
    if (calls != nullptr) ++*calls;
    tensor_set<double> written = call_once(box, kernel, problem, p, reads, how);
    settle_integers(kernel, problem, p, reads, how.type, written);
    return written;
  };
  try {
    return which.on_kernel(l, pass, seed, evaluate);
  } catch (const kernel_declined&) {
    law_verdict v;
    v.applicable = false;
    return v;
  }
}

law_verdict replay_law(sandbox& box, const std::vector<law>& laws, const test_case& c) {
  const std::string name = c.regime.substr(test_case::law_regime.size());
  const auto each = std::ranges::find(laws, name, &law::name);
  const auto kernel = std::ranges::find(box.kernels(), c.kernel, &kernel_info::name);
  if (each == laws.end()) throw text_error(c.regime, 0, "no such law");
  if (kernel == box.kernels().end()) throw text_error(c.kernel, 0, "no such kernel");
  const auto l = plumb::bind(c.problem);
  const pass_spec* const pass = l->find_pass(kernel->pass);  // a problem without bias has none for it
  if (pass == nullptr || !each->applies(*l, *pass)) return {.applicable = false, .message = {}};
  conditions how;
  how.type = c.type;
  how.layout = c.layout;
  return check_law(box, *each, *kernel, *l, *pass, how, c.seed);
}

}  // namespace plumb
