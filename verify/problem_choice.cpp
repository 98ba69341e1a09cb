// Which problem the kernels of a group get next: drawn, made to fit a choosy kernel, near one that made something new run,
// or one that comes back; in which layout, and how thoroughly.
#include "verify/verify_run.hpp"

#include <algorithm>

#include "reference/layers/catalogue.hpp"

namespace plumb {
namespace {

constexpr double fitting_share = 0.1;

}  // namespace

std::unique_ptr<pending_exam> verify_run::set_exam(verify_group& g) {
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
  auto p = std::make_unique<pending_exam>();
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

std::uint64_t verify_run::seed_of(std::uint64_t number) const {
  return options_.seed * 1'000'003 + number * static_cast<std::uint64_t>(options_.shards) +
         static_cast<std::uint64_t>(options_.shard);
}

plumb::layout verify_run::layout_of(std::uint64_t number) {
  return number % 2 == 0 ? layout::nchw : layout::nhwc;
}

chosen_problem verify_run::drawn_problem(const verify_group& g, std::uint64_t number) const {
  const std::uint64_t identity = comes_back(number) ? number - 2 : number;
  return {problem_number(number, seed_of(identity), g), layout_of(identity), thorough(identity), false};
}

std::optional<chosen_problem> verify_run::fitted_problem(verify_group& g, std::uint64_t seed) {
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

void verify_run::make_fit(const verify_group& g, const candidate& who, fitting& f, plumb::layout order,
                          std::uint64_t seed) {
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

std::string verify_run::problem_number(std::uint64_t number, std::uint64_t seed,
                                       const verify_group& g) const {
  if (number % 4 != 2 || g.lighting.empty() || !options_.vary) return options_.draw_problem(g.layer, seed);
  return options_.vary(g.lighting[number / 4 % g.lighting.size()], seed);
}

void verify_run::note_new_blocks(const pending_exam& p) {
  const std::uint32_t now = box_.blocks_ran();
  if (now > blocks_) p.from->lighting.push_back(p.paper->about().canonical().print());
  blocks_ = now;
}

std::vector<candidate*> verify_run::takers(const verify_group& g, const conditions& how) const {
  std::vector<candidate*> list;
  for (candidate* c : g.members)
    if (!c->retired() && std::ranges::find(c->kernel->layouts, how.layout) != c->kernel->layouts.end())
      list.push_back(c);
  return list;
}
}  // namespace plumb
