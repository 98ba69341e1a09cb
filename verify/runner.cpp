// Whose turn it is, and for how long: problems from the generator for a number of seconds, shared by the kernels, or a
// list of problems from the first to the last; failures of earlier runs before either.
#include "verify/verify_run.hpp"

#include <algorithm>

#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

constexpr double large_work = 2e6;  // products: above, one regime at a time and fewer of them
constexpr double law_share = 0.15;
constexpr double endurance_share = 0.1;

}  // namespace

using record::verdict;

/// Products of the whole pass, from one element in the middle; elements for passes that are no contraction.
double work_of(const layer& l, const pass_spec& pass) {
  double elements = 0;
  for (const std::string& name : pass.writes) elements += static_cast<double>(l.shapes()[name].size());
  if (!pass.contraction || elements == 0) return elements;
  product_list list;
  l.products(pass.name, l.shapes()[pass.writes.front()].size() / 2, list);
  return elements * static_cast<double>(std::max<std::size_t>(1, list.terms.size()));
}
verify_run::verify_run(sandbox& box, const verify_options& options) : box_(box), options_(options) {
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

record::verify_section verify_run::run() {
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

verify_group& verify_run::group_of(const kernel_info& k, dtype type) {
  for (verify_group& g : groups_)
    if (g.layer == k.layer && g.pass == k.pass && g.type == type) return g;
  verify_group g;
  g.layer = k.layer;
  g.pass = k.pass;
  g.type = type;
  g.first_type = type == k.types.front();
  groups_.push_back(std::move(g));
  return groups_.back();
}

void verify_run::report(const std::string& now, std::size_t done) {
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

candidate* verify_run::find(std::string_view kernel) {
  for (candidate& c : candidates_)
    if (c.kernel->name == kernel) return &c;
  return nullptr;
}

void verify_run::replay_regressions() {
  for (const test_case& c : options_.regressions) {
    candidate* who = find(c.kernel);
    if (who == nullptr || !who->kernel->unavailable.empty()) continue;
    single_case again = examine(box_, c, true);
    take(*again.paper, again.result, *who);
  }
  settle_failures();
}

void verify_run::generated() {
  while (left() > 0 && !interrupted()) {
    verify_group* const g = next_group();
    if (g == nullptr) break;
    const clock::time_point began = clock::now();
    const double aside = aside_;
    std::unique_ptr<pending_exam> next = set_exam(*g);
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

verify_group* verify_run::next_group() {
  verify_group *fewest_seconds = nullptr, *soonest = nullptr;
  double least_missing = left();
  for (verify_group& each : groups_) {
    if (std::ranges::all_of(each.members, [](const candidate* c) { return c->retired(); })) continue;
    if (fewest_seconds == nullptr || each.cost() < fewest_seconds->cost()) fewest_seconds = &each;
    if (const double missing = seconds_missing(each); missing > 0 && missing < least_missing) {
      least_missing = missing;
      soonest = &each;
    }
  }
  return soonest != nullptr && left() < options_.seconds / 2 ? soonest : fewest_seconds;
}

double verify_run::seconds_missing(const verify_group& g) {
  if (!g.first_type) return 0;
  double most = 0;
  for (const candidate* c : g.members) {
    const auto cases = static_cast<double>(c->result.cases);
    if (!c->retired() && cases < fewest_cases)
      most = std::max(most, g.spent / cases * (static_cast<double>(fewest_cases) - cases));
  }
  return most;
}

void verify_run::listed() {
  std::size_t done = 0;
  for (const std::string& text : options_.problems) {
    std::shared_ptr<const layer> l = plumb::bind(text);
    if (options_.triggers)
      for (verify_group& g : groups_)
        if (g.layer == l->name())
          for (const std::string& t : options_.triggers(*l)) ++g.triggers[t];
    ++problems_[l->name()];
    for (verify_group& g : groups_) {
      const pass_spec* pass = g.layer == l->name() ? l->find_pass(g.pass) : nullptr;
      if (pass != nullptr) judge_problem(g, l, *pass, done);
    }
    report(text, ++done);
    done_ = done;
    if (interrupted()) return;
    checkpoint();
  }
}

void verify_run::judge_problem(verify_group& g, const std::shared_ptr<const layer>& l, const pass_spec& pass,
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

void verify_run::note_problem(record::problem_result& result, const exam& paper, const answer& a,
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

void verify_run::close_problem(candidate& who, record::problem_result& result, int certifying, bool trusted) {
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

bool verify_run::interrupted() {
  if (stopped_.empty() && options_.stop) stopped_ = options_.stop();
  return !stopped_.empty();
}

record::verify_section verify(sandbox& box, const verify_options& options) {
  return verify_run(box, options).run();
}

}  // namespace plumb
