// What the record says of a run, at its end and on its way, and a run that goes on from there.
#include "verify/verify_run.hpp"

#include <algorithm>

namespace plumb {
namespace {

constexpr double seconds_between_checkpoints = 2;

}  // namespace

record::verify_section verify_run::section_so_far() const {
  record::verify_section section;
  for (const candidate& c : candidates_)
    section.kernels.push_back(close(c, {options_.problems.empty(), options_.by.most_unbounded}));
  section.cases = cases_;
  section.calls = calls_;
  section.seconds = spent();
  std::map<std::string, record::trigger> all = triggers_before_;
  for (const verify_group& g : groups_) {
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

void verify_run::draw_heat(record::verify_section& section) {
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    record::kernel_result& r = section.kernels[i];
    const auto& worst = candidates_[i].worst_case;
    if (worst && !record::is_bad(r.verdict)) r.heat = heat_of(box_, *worst);
    for (const record::counterexample& f : r.counterexamples)
      if (!r.heat && f.kind.starts_with("wrong")) r.heat = heat_of(box_, parse_case(f.original_replay));
  }
}

void verify_run::checkpoint() {
  if (!options_.checkpoint || complete() || since(last_checkpoint_) < seconds_between_checkpoints) return;
  record::verify_section section = section_so_far();
  section.unfinished = where_it_stands();
  options_.checkpoint(std::move(section));
  last_checkpoint_ = clock::now();
}

record::unfinished_run verify_run::where_it_stands() const {
  record::unfinished_run u;
  u.stopped = stopped_;
  u.budget = options_.seconds;
  u.shard = options_.shard;
  u.shards = options_.shards;
  for (const verify_group& g : groups_)
    u.drawn.push_back(
        {g.layer, g.pass, std::string(name_of(g.type)), static_cast<std::int64_t>(g.drawn), g.spent});
  u.problems.assign(options_.problems.begin() + static_cast<std::ptrdiff_t>(done_), options_.problems.end());
  return u;
}

candidate verify_run::known(const kernel_info& k) const {
  if (options_.earlier != nullptr)
    for (const record::kernel_result& r : options_.earlier->kernels)
      if (r.name == k.name) return reopened(k, r);
  candidate c;
  c.kernel = &k;
  return c;
}

void verify_run::take_up(const record::verify_section& earlier) {
  cases_ = earlier.cases;
  calls_ = earlier.calls;
  spent_before_ = earlier.seconds;
  for (const record::trigger& t : earlier.triggers) triggers_before_[t.name] = t;
  if (!earlier.unfinished) return;
  for (const record::drawn_problems& d : earlier.unfinished->drawn)
    for (verify_group& g : groups_)
      if (g.layer == d.layer && g.pass == d.pass && name_of(g.type) == d.dtype) {
        g.drawn = static_cast<std::uint64_t>(std::max<std::int64_t>(0, d.drawn));
        g.spent = d.seconds;
      }
  for (verify_group& g : groups_) g.drawn_before = g.drawn;
}
}  // namespace plumb
