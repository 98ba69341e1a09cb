#include "verify/runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>

#include "reference/layers/catalogue.hpp"
#include "verify/candidate.hpp"
#include "verify/evaluate.hpp"
#include "verify/fitting.hpp"
#include "verify/recurrence.hpp"

namespace plumb {
namespace {

using record::verdict;
using clock = std::chrono::steady_clock;

double since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

constexpr double large_work = 2e6;  // products: above, one regime at a time and fewer of them
constexpr std::size_t most_counterexamples = 3;
constexpr std::int64_t cases_before_endurance = 40;
constexpr double law_share = 0.15;
constexpr double endurance_share = 0.1;
constexpr double seconds_to_recur = 1;  // a failure that comes and goes
constexpr std::chrono::duration<double> limit_of_hangs = std::chrono::milliseconds(500);  // while shrinking
constexpr double fitting_share = 0.1;
constexpr double other_types_share = 1.0 / 8;  // of the time that the first element type of a kernel gets
constexpr double seconds_between_checkpoints = 2;

struct group {
  std::string layer, pass;
  dtype type = dtype::f32;
  std::vector<candidate*> members;
  bool first_type = true;  ///< of its kernels; problems in the others are drawn more rarely
  double spent = 0;
  std::uint64_t drawn = 0;
  std::uint64_t drawn_before = 0;  ///< by the run that this one goes on with
  std::map<std::string, std::int64_t> triggers;
  std::map<const candidate*, fitting> fittings;
  std::vector<std::string> lighting;  ///< problems that made blocks of a plugin run for the first time

  double cost() const {
    return spent / static_cast<double>(members.size()) / (first_type ? 1 : other_types_share);
  }
};

/// Products of the whole pass, from one element in the middle; elements for passes that are no contraction.
double work_of(const layer& l, const pass_spec& pass) {
  double elements = 0;
  for (const std::string& name : pass.writes) elements += static_cast<double>(l.shapes()[name].size());
  if (!pass.contraction || elements == 0) return elements;
  product_list list;
  l.products(pass.name, l.shapes()[pass.writes.front()].size() / 2, list);
  return elements * static_cast<double>(std::max<std::size_t>(1, list.terms.size()));
}

class runner {
 public:
  runner(sandbox& box, const verify_options& options) : box_(box), options_(options) {
    candidates_.resize(options.kernels.size());
    for (std::size_t i = 0; i < options.kernels.size(); ++i) {
      candidate& c = candidates_[i];
      c = known(*options.kernels[i]);
      if (!c.kernel->unavailable.empty()) continue;
      for (const dtype type : c.kernel->types)
        if (type == c.kernel->types.front() || options.problems.empty())
          group_of(*c.kernel, type).members.push_back(&c);
    }
    if (options.earlier != nullptr) take_up(*options.earlier);
  }

  record::verify_section run() {
    start_ = last_checkpoint_ = clock::now();
    replay_regressions();
    if (options_.problems.empty())
      generated();
    else
      listed();
    record::verify_section section = section_so_far();
    draw_heat(section);
    if (!stopped_.empty() && !complete()) section.unfinished = where_it_stands();
    return section;
  }

 private:
  group& group_of(const kernel_info& k, dtype type) {
    for (group& g : groups_)
      if (g.layer == k.layer && g.pass == k.pass && g.type == type) return g;
    group g;
    g.layer = k.layer;
    g.pass = k.pass;
    g.type = type;
    g.first_type = type == k.types.front();
    groups_.push_back(std::move(g));
    return groups_.back();
  }

  double spent() const { return spent_before_ + since(start_); }
  double left() const { return options_.seconds - spent(); }

  void report(const std::string& now, std::size_t done = 0) {
    if (!options_.progress) return;
    run_progress p;
    p.elapsed = spent();
    p.budget = options_.problems.empty() ? options_.seconds : 0;
    p.done = done;
    p.total = options_.problems.size();
    p.cases = cases_;
    p.calls = calls_;
    for (const candidate& c : candidates_) p.failures += c.failures;
    p.now = now;
    options_.progress(p);
  }

  candidate* find(std::string_view kernel) {
    for (candidate& c : candidates_)
      if (c.kernel->name == kernel) return &c;
    return nullptr;
  }

  // ---- failures of earlier runs first ----

  void replay_regressions() {
    for (const test_case& c : options_.regressions) {
      candidate* who = find(c.kernel);
      if (who == nullptr || !who->kernel->unavailable.empty()) continue;
      single_case again = examine(box_, c, true);
      take(*again.paper, again.result, *who);
    }
    settle_failures();
  }

  // ---- problems from the generator, for a number of seconds ----

  void generated() {
    while (left() > 0 && !interrupted()) {
      group* const g = next_group();
      if (g == nullptr) break;
      const clock::time_point began = clock::now();
      const double aside = aside_;
      std::unique_ptr<pending> next = set_exam(*g);
      drain();
      under_way_ = std::move(next);
      settle_failures();
      if (under_way_ && law_seconds_ < law_share * since(start_)) one_law(*g, *under_way_);
      if (under_way_ && options_.endurance && endurance_seconds_ < endurance_share * since(start_))
        one_endurance(*under_way_);
      g->spent += since(began) - (aside_ - aside);
      report(g->layer + "." + g->pass);
      checkpoint();
    }
    drain();
    settle_failures();
  }

  /// The one whose kernels have had the least time; in the second half of the run first the one that soonest has the
  /// cases that it lacks.
  group* next_group() {
    group *fewest_seconds = nullptr, *soonest = nullptr;
    double least_missing = left();
    for (group& each : groups_) {
      if (std::ranges::all_of(each.members, [](const candidate* c) { return c->retired(); })) continue;
      if (fewest_seconds == nullptr || each.cost() < fewest_seconds->cost()) fewest_seconds = &each;
      if (const double missing = seconds_missing(each); missing > 0 && missing < least_missing) {
        least_missing = missing;
        soonest = &each;
      }
    }
    return soonest != nullptr && left() < options_.seconds / 2 ? soonest : fewest_seconds;
  }

  /// How long it will take until each kernel of the group has the least number of cases, at the rate so far; infinite if
  /// it has none.
  static double seconds_missing(const group& g) {
    if (!g.first_type) return 0;
    double most = 0;
    for (const candidate* c : g.members) {
      const auto cases = static_cast<double>(c->result.cases);
      if (!c->retired() && cases < fewest_cases)
        most = std::max(most, g.spent / cases * (static_cast<double>(fewest_cases) - cases));
    }
    return most;
  }

  struct pending {
    std::unique_ptr<exam> paper;
    group* from = nullptr;
    std::vector<candidate*> members;
    bool fitted = false;  ///< to one of them
  };

  struct chosen_problem {
    std::string text;
    plumb::layout layout = layout::nchw;
    bool thorough = false;
    bool fitted = false;
  };

  /// Draws the next problem of the group and hands it to the worker.
  std::unique_ptr<pending> set_exam(group& g) {
    const std::uint64_t number = g.drawn++;
    const std::uint64_t seed = seed_of(number);
    const auto fitted = number % 2 == 0 ? fitted_problem(g, seed) : std::nullopt;
    const chosen_problem chosen = fitted ? *fitted : drawn_problem(g, number);
    std::shared_ptr<const layer> l = plumb::bind(chosen.text);
    const pass_spec* pass = l->find_pass(g.pass);
    if (pass == nullptr) return nullptr;
    if (options_.triggers)
      for (const std::string& t : options_.triggers(*l)) ++g.triggers[t];
    ++problems_[g.layer];
    conditions how;
    how.type = g.type;
    how.layout = chosen.layout;
    how.thorough = chosen.thorough;
    how.by = &options_.by;
    auto p = std::make_unique<pending>();
    p->from = &g;
    p->fitted = chosen.fitted;
    p->members = takers(g, how);
    if (p->members.empty()) return nullptr;
    std::vector<exam::question> questions;
    for (const regime r : options_.regimes)
      questions.push_back({std::string(name_of(r)), seed + number * 7919, {}});
    if (how.thorough && options_.by.one_change)
      if (auto changed = with_one_change(*l, *pass, questions.front(), g.type, seed))
        questions.push_back(std::move(*changed));
    p->paper = std::make_unique<exam>(l, *pass, how, std::move(questions), run_statistics{});
    send(*p);
    return p;
  }

  std::uint64_t seed_of(std::uint64_t number) const {
    return options_.seed * 1'000'003 + number * static_cast<std::uint64_t>(options_.shards) +
           static_cast<std::uint64_t>(options_.shard);
  }

  /// One problem in eight comes back two exams later, in the same buffers with fresh values: a kernel that remembers an
  /// address or a shape instead of computing gives itself away.
  static bool comes_back(std::uint64_t number) { return number % 8 == 5; }
  static plumb::layout layout_of(std::uint64_t number) {
    return number % 2 == 0 ? layout::nchw : layout::nhwc;
  }
  static bool thorough(std::uint64_t number) { return number % 8 == 3; }

  chosen_problem drawn_problem(const group& g, std::uint64_t number) const {
    const std::uint64_t identity = comes_back(number) ? number - 2 : number;
    return {problem_number(number, seed_of(identity), g), layout_of(identity), thorough(identity), false};
  }

  /// A problem made to fit the kernel of the group that has answered the fewest, if that one is choosy.
  std::optional<chosen_problem> fitted_problem(group& g, std::uint64_t seed) {
    if (!options_.fit || !(fitting_seconds_ < 0.2 + fitting_share * since(start_))) return std::nullopt;
    candidate* who = nullptr;
    for (candidate* c : g.members)
      if (!c->retired() && g.fittings[c].is_choosy() &&
          (who == nullptr || g.fittings[c].judged < g.fittings[who].judged))
        who = c;
    if (who == nullptr) return std::nullopt;
    fitting& f = g.fittings[who];
    const std::uint64_t number = f.taken;
    chosen_problem chosen{{}, layout_of(number), thorough(number), true};
    const auto& layouts = who->kernel->layouts;
    if (std::ranges::find(layouts, chosen.layout) == layouts.end()) chosen.layout = layouts.front();
    if (comes_back(number)) {
      chosen.text = f.before[1];
    } else {
      if (f.ready.empty()) make_fit(g, *who, f, chosen.layout, seed);
      if (f.ready.empty()) return std::nullopt;
      chosen.text = std::move(f.ready.back());
      f.ready.pop_back();
    }
    f.before = {chosen.text, f.before[0]};
    ++f.taken;
    return chosen;
  }

  void make_fit(const group& g, const candidate& who, fitting& f, plumb::layout order, std::uint64_t seed) {
    constexpr std::size_t at_once = 16;
    const clock::time_point began = clock::now();
    conditions how;
    how.type = g.type;
    how.layout = order;
    f.ready = options_.fit(g.layer, f.known, seed, at_once, [&](const std::vector<std::string>& problems) {
      return ask(box_, box_.at(box_.arenas() - 1), *who.kernel, how, problems);
    });
    if (f.ready.empty()) ++f.searches_in_vain;
    fitting_seconds_ += since(began);
  }

  /// Drawn; one in four is near a problem that made something new run, if there are such.
  std::string problem_number(std::uint64_t number, std::uint64_t seed, const group& g) const {
    if (number % 4 != 2 || g.lighting.empty() || !options_.vary) return options_.draw_problem(g.layer, seed);
    return options_.vary(g.lighting[number / 4 % g.lighting.size()], seed);
  }

  /// Keeps the problem that was judged last if blocks of a plugin ran that never had.
  void note_new_blocks(const pending& p) {
    const std::uint32_t now = box_.blocks_ran();
    if (now > blocks_) p.from->lighting.push_back(p.paper->about().canonical().print());
    blocks_ = now;
  }

  std::vector<candidate*> takers(const group& g, const conditions& how) const {
    std::vector<candidate*> list;
    for (candidate* c : g.members)
      if (!c->retired() && std::ranges::find(c->kernel->layouts, how.layout) != c->kernel->layouts.end())
        list.push_back(c);
    return list;
  }

  /// Submits to the next arena; where not all kernels fit at once, all but the last portion are waited for
  /// here.
  void send(pending& p) {
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

  void submit(exam& paper, const std::vector<candidate*>& members) {
    std::vector<const kernel_info*> kernels;
    for (const candidate* c : members) kernels.push_back(c->kernel);
    arena_ = (arena_ + 1) % (box_.arenas() - 1);
    paper.submit(box_, box_.at(arena_), std::move(kernels));
  }

  /// Judges the exam that the worker was given before the present one.
  void drain() {
    if (!under_way_) return;
    collect(*under_way_);
    note_new_blocks(*under_way_);
    if (++exams_ % 64 == 0) naive_histogram(*under_way_);
    under_way_.reset();
  }

  void collect(pending& p) {
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

  static void offer(candidate& c, const answer& a, const std::vector<std::string>& classes) {
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

  /// Books one answer.
  void take(const exam& paper, answer& a, candidate& c) {
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

  void tell(const candidate& c, const std::string& family, const std::string& kind) const {
    if (options_.on_failure) options_.on_failure({c.kernel, family, kind, c.result.cases, spent()});
  }

  void note_failure(candidate& c, const failure& f) {
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

  /// Shrinks and describes what failed since the last call. Nothing may be under way in the last arena.
  void settle_failures() {
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

  /// A counterexample deserves some seconds, but not the whole run.
  double time_to_shrink(std::size_t waiting) const {
    if (!stopped_.empty()) return 0.2;
    if (!options_.problems.empty()) return 6;
    return std::clamp(left() / static_cast<double>(1 + waiting), 1.0, 6.0);
  }

  /// The same data through nested loops in float, as the backdrop of the kernels' histogram.
  void naive_histogram(pending& p) {
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

  // ---- laws ----

  void one_law(group& g, const pending& p) {
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

  void judge_law(const law& each, candidate& who, const exam& paper, std::uint64_t seed) {
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

  record::counterexample broken_law(const law& each, const candidate& who, const exam& paper,
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

  /// A failure that is not shown by the data of one call: only its problem is shrunk.
  record::counterexample without_data(const std::string& kind, const std::string& law,
                                      const std::string& preface, const test_case& drawn,
                                      const std::function<bool(const test_case&)>& fails,
                                      const std::string& message) {
    shrunk_case smallest{drawn, 0, false};
    if (options_.shrink)
      smallest =
          options_.shrink(drawn, asked_often_enough(fails, drawn, seconds_to_recur), time_to_shrink(1));
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

  // ---- thousands of calls in a row ----

  void one_endurance(const pending& p) {
    const exam& paper = *p.paper;
    if (!(work_of(paper.about(), paper.pass()) <= 2e4) ||
        paper.how().type != p.members.front()->kernel->types.front())
      return;
    for (candidate* c : p.members) {
      if (c->endured || c->retired() || c->result.cases < cases_before_endurance ||
          c->kernel->device != "cpu")
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

  void note_leak(candidate& c, const test_case& drawn, const endurance& seen) {
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

  // ---- a list of problems ----

  void listed() {
    std::size_t done = 0;
    for (const std::string& text : options_.problems) {
      std::shared_ptr<const layer> l = plumb::bind(text);
      if (options_.triggers)
        for (group& g : groups_)
          if (g.layer == l->name())
            for (const std::string& t : options_.triggers(*l)) ++g.triggers[t];
      ++problems_[l->name()];
      for (group& g : groups_) {
        const pass_spec* pass = g.layer == l->name() ? l->find_pass(g.pass) : nullptr;
        if (pass != nullptr) judge_problem(g, l, *pass, done);
      }
      report(text, ++done);
      done_ = done;
      if (interrupted()) return;
      checkpoint();
    }
  }

  void judge_problem(group& g, const std::shared_ptr<const layer>& l, const pass_spec& pass,
                     std::size_t done) {
    const bool large = work_of(*l, pass) > large_work;
    std::vector<regime> regimes(all_regimes.begin(), all_regimes.end());
    if (large) regimes = options_.large_regimes;
    std::map<candidate*, record::problem_result> results;
    std::map<candidate*, int> certifying;  // zero-mean and positive data, all elements within all thresholds
    std::map<candidate*, bool> trusted;
    for (const regime r : regimes) {
      conditions how;
      how.type = g.type;
      how.threads = large ? 2 : 1;
      how.thorough = !large;
      how.oracle_threads = 2;
      how.by = &options_.by;
      const exam::question q{std::string(name_of(r)), options_.seed, {}};
      exam paper(l, pass, how, {q}, run_statistics{});
      for (const layout order : {layout::nchw, layout::nhwc}) {
        how.layout = order;
        exam one = paper.under(how);
        std::vector<candidate*> members = takers(g, how);
        while (!members.empty()) {
          const std::size_t portion = large ? 1 : std::min(members.size(), one.kernels_at_once());
          const std::vector<candidate*> some(members.begin(),
                                             members.begin() + static_cast<std::ptrdiff_t>(portion));
          members.erase(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(portion));
          const clock::time_point began = clock::now();
          submit(one, some);
          one.evaluate();
          one.collect(box_, [&](answer& a) {
            candidate* who = find(a.kernel->name);
            if (r == regimes.front()) offer(*who, a, {});
            note_problem(results[who], one, a, certifying[who], r);
            if (!a.declined.empty()) return;
            trusted[who] = trusted[who] || (a.power.rejects_zero && a.power.rejects_lost_term);
            take(one, a, *who);
          });
          for (candidate* c : some) results[c].seconds += since(began) / static_cast<double>(some.size());
          report(l->canonical().print(), done);
        }
      }
      settle_failures();
    }
    for (auto& [who, result] : results) close_problem(*who, result, certifying[who], trusted[who]);
  }

  static void note_problem(record::problem_result& result, const exam& paper, const answer& a,
                           int& certifying, regime r) {
    result.problem = paper.about().canonical().print();
    if (!a.declined.empty()) {
      if (result.elements == 0) result.reason = "declined: " + a.declined;
      return;
    }
    if (result.verdict != verdict::fail && a.wrong) {
      result.verdict = a.wrong->verdict;
      result.reason = a.wrong->message;
    }
    result.elements += a.result.elements;
    if (a.statistical)
      result.worst_statistical = std::max(result.worst_statistical.value_or(0), a.result.worst_statistical);
    result.worst_proven = std::max(result.worst_proven.value_or(0), a.result.worst_proven);
    result.worst_ulps = std::max(result.worst_ulps, a.result.worst_ulps);
    if (r == regime::zero_mean && !a.wrong) certifying |= 1;
    if (r == regime::positive && !a.wrong) certifying |= 2;
  }

  static void close_problem(candidate& who, record::problem_result& result, int certifying, bool trusted) {
    const bool failed = result.verdict != verdict::inconclusive;
    if (!failed && result.reason.starts_with("declined") && result.elements == 0) {
      result.verdict = verdict::skipped;
    } else if (!failed) {
      result.certified = certifying == 3;
      result.verdict = trusted ? verdict::pass : verdict::mistrusted;
      result.reason = trusted ? "" : "no check would have seen a tensor of zeros or a lost term";
      who.trusted += trusted ? 1 : 0;
    }
    who.result.problems.push_back(std::move(result));
  }

  // ---- the record ----

  record::verify_section section_so_far() const {
    record::verify_section section;
    for (const candidate& c : candidates_)
      section.kernels.push_back(close(c, {options_.problems.empty(), options_.by.most_unbounded}));
    section.cases = cases_;
    section.calls = calls_;
    section.seconds = spent();
    std::map<std::string, record::trigger> all = triggers_before_;
    for (const group& g : groups_) {
      if (!options_.all_triggers) break;
      for (const std::string& name : options_.all_triggers(g.layer)) {
        record::trigger& t = all[name];
        t.name = name;
        const auto found = g.triggers.find(name);
        t.drawn += found == g.triggers.end() ? 0 : found->second;
        t.applicable += static_cast<std::int64_t>(g.drawn - g.drawn_before);
      }
    }
    for (auto& [name, t] : all)
      if (t.applicable > 0) section.triggers.push_back(t);
    return section;
  }

  void draw_heat(record::verify_section& section) {
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      record::kernel_result& r = section.kernels[i];
      const auto& worst = candidates_[i].worst_case;
      if (worst && !record::is_bad(r.verdict)) r.heat = heat_of(box_, *worst);
      for (const record::counterexample& f : r.counterexamples)
        if (!r.heat && f.kind.starts_with("wrong")) r.heat = heat_of(box_, parse_case(f.original_replay));
    }
  }

  // ---- runs that are cut short ----

  bool interrupted() {
    if (stopped_.empty() && options_.stop) stopped_ = options_.stop();
    return !stopped_.empty();
  }

  bool complete() const { return !options_.problems.empty() && done_ == options_.problems.size(); }

  void checkpoint() {
    if (!options_.checkpoint || complete() || since(last_checkpoint_) < seconds_between_checkpoints) return;
    record::verify_section section = section_so_far();
    section.unfinished = where_it_stands();
    options_.checkpoint(std::move(section));
    last_checkpoint_ = clock::now();
  }

  record::unfinished_run where_it_stands() const {
    record::unfinished_run u;
    u.stopped = stopped_;
    u.budget = options_.seconds;
    u.shard = options_.shard;
    u.shards = options_.shards;
    for (const group& g : groups_)
      u.drawn.push_back(
          {g.layer, g.pass, std::string(name_of(g.type)), static_cast<std::int64_t>(g.drawn), g.spent});
    u.problems.assign(options_.problems.begin() + static_cast<std::ptrdiff_t>(done_),
                      options_.problems.end());
    return u;
  }

  candidate known(const kernel_info& k) const {
    if (options_.earlier != nullptr)
      for (const record::kernel_result& r : options_.earlier->kernels)
        if (r.name == k.name) return reopened(k, r);
    candidate c;
    c.kernel = &k;
    return c;
  }

  void take_up(const record::verify_section& earlier) {
    cases_ = earlier.cases;
    calls_ = earlier.calls;
    spent_before_ = earlier.seconds;
    for (const record::trigger& t : earlier.triggers) triggers_before_[t.name] = t;
    if (!earlier.unfinished) return;
    for (const record::drawn_problems& d : earlier.unfinished->drawn)
      for (group& g : groups_)
        if (g.layer == d.layer && g.pass == d.pass && name_of(g.type) == d.dtype) {
          g.drawn = static_cast<std::uint64_t>(std::max<std::int64_t>(0, d.drawn));
          g.spent = d.seconds;
        }
    for (group& g : groups_) g.drawn_before = g.drawn;
  }

  sandbox& box_;
  const verify_options& options_;
  clock::time_point start_;
  std::vector<candidate> candidates_;
  std::list<group> groups_;
  std::vector<std::pair<candidate*, failure>> failures_;
  std::map<std::pair<candidate*, std::string>, std::int64_t> waiting_counts_;
  std::map<std::string, std::int64_t> problems_;
  std::int64_t cases_ = 0;
  std::int64_t calls_ = 0;
  std::unique_ptr<pending> under_way_;
  std::uint64_t exams_ = 0;
  std::uint32_t blocks_ = 0;
  int arena_ = 0;
  std::size_t next_law_ = 0;
  double law_seconds_ = 0;
  double endurance_seconds_ = 0;
  double fitting_seconds_ = 0;
  double aside_ = 0;  ///< seconds for what is no exam: shrinking, laws, endurance
  std::string stopped_;
  std::size_t done_ = 0;  ///< problems of the list
  double spent_before_ = 0;
  std::map<std::string, record::trigger> triggers_before_;
  clock::time_point last_checkpoint_;
};

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

record::verify_section verify(sandbox& box, const verify_options& options) {
  return runner(box, options).run();
}

}  // namespace plumb
