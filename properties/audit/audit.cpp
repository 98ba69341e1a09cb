#include "properties/audit/audit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <stdexcept>

#include "properties/audit/acquittal.hpp"
#include "properties/audit/fault_table.hpp"
#include "properties/audit/mutants.hpp"
#include "properties/audit/noise.hpp"
#include "properties/audit/practices.hpp"
#include "properties/minimality.hpp"
#include "reference/core/registry.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/recurrence.hpp"

namespace plumb {
namespace {

using clock = std::chrono::steady_clock;
double since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

constexpr double hunting_share = 0.45;  ///< of the whole time
constexpr double second_look_share =
    0.2;  ///< more of it, for counterexamples that could be smaller; the rest goes to
          ///< kernels without a fault
constexpr double least_to_hunt = 0.05;  ///< seconds a fault, even when the time is over
constexpr double most_to_hunt = 20;
constexpr double seconds_to_recur = 1;  ///< to see a failure again that comes and goes
constexpr std::chrono::duration<double> limit_of_hangs = std::chrono::milliseconds(500);  // while shrinking
constexpr double least_to_shrink = 0.8;  ///< seconds a fault; with less nothing is shrunk
constexpr double most_to_shrink = 8, most_for_second_look = 20;
constexpr double mutants_share = 0.12, noise_share = 0.05;  // of the whole time
constexpr std::size_t problems_for_integers = 50;

/// Elements of all tensors that the problem of a counterexample feeds to its pass.
std::int64_t elements_of(const std::string& problem, const std::string& pass_name) {
  const auto l = plumb::bind(std::string_view(problem));
  const pass_spec* pass = l->find_pass(pass_name);
  std::int64_t sum = 0;
  for (const std::string& name : pass->reads)
    if (l->present(name)) sum += l->shapes()[name].size();
  return sum;
}

class auditor {
 public:
  explicit auditor(const audit_options& options) : options_(options), faulty_(faulty_worker()) {}

  record::audit_section run() {
    for (const planted_fault& f : fault_table())
      if (wanted(f.kernel)) faults_.push_back(&f);
    std::vector<const kernel_info*> specimens = without_fault(faulty_, options_.globs);
    std::unique_ptr<sandbox> shipped = std::make_unique<sandbox>(shipped_worker());
    const std::vector<const kernel_info*> ours = without_fault(*shipped, options_.globs);
    if (faults_.empty() && specimens.empty() && ours.empty())
      throw std::invalid_argument(
          "`" + options_.globs.front() +
          "` matches no planted fault and no kernel; expected a glob such as 'conv2d.*'");
    if (options_.practices) prepare_practices();
    for (const planted_fault* f : faults_) {
      tell(f->kernel);
      const double left = options_.seconds * hunting_share - since(start_);
      section_.faults.push_back(hunt(*f, left / static_cast<double>(faults_.size() - done_), left));
      ++done_;
    }
    look_again();
    try_mutants();
    lay_noise(specimens);
    if (options_.practices) {
      for (record::fault_result& f : section_.faults) {
        tell("usual practice on " + f.kernel);
        f.practices = by_practice(find(f.kernel));
      }
      judge_honest_by_practice(specimens);
    }
    // What is left of the time is shared by the kernels without a fault.
    const double left = std::max(options_.seconds - since(start_), 0.1 * options_.seconds);
    const double all = static_cast<double>(std::max<std::size_t>(1, specimens.size() + ours.size()));
    acquit_for(left * static_cast<double>(specimens.size()) / all, faulty_, specimens, "specimen");
    acquit_for(left * static_cast<double>(ours.size()) / all, *shipped, ours, "shipped");
    section_.seconds = since(start_);
    return std::move(section_);
  }

 private:
  bool wanted(std::string_view kernel) const {
    return options_.globs.empty() ||
           std::ranges::any_of(options_.globs, [&](const std::string& g) { return glob_match(g, kernel); });
  }

  void tell(const std::string& now) const {
    if (options_.progress) options_.progress(now, done_, faults_.size());
  }

  const kernel_info& find(const std::string& name) const {
    for (const kernel_info& k : faulty_.kernels())
      if (k.name == name) return k;
    throw std::invalid_argument("faults.list names `" + name + "`, which no specimen registers");
  }

  // ---- one fault

  /// `share` is what every fault left may take; one that is hard to find may take more of what is left for all.
  record::fault_result hunt(const planted_fault& f, double share, double left) {
    record::fault_result r;
    r.kernel = f.kernel;
    r.layer = f.layer;
    r.pass = f.pass;
    r.path = f.path;
    r.kind = f.kind;
    r.root_cause = f.root_cause;
    r.modelled_on = f.modelled_on;
    const kernel_info& kernel = find(f.kernel);
    std::map<std::string, std::int64_t> families;
    verify_options o = options_.base;
    o.kernels = {&kernel};
    o.seconds = std::min(std::max({left / 8, share, least_to_hunt}), most_to_hunt);
    o.progress = nullptr;
    o.triggers = nullptr;
    o.all_triggers = nullptr;
    o.stop_at_first_failure = share < least_to_shrink;
    const clock::time_point began = clock::now();
    o.stop = [&] {
      return r.killed && since(began) > share ? std::string("its share of the time is over") : std::string();
    };
    o.on_failure = [&](const sighting& s) {
      if (!r.killed) {
        r.killed = true;
        r.first_family = s.family;
        r.first_kind = s.kind;
        r.cases = std::max<std::int64_t>(1, s.cases);
        r.seconds = s.seconds;
      }
      // What the sandbox saw is no merit of the regime.
      const bool by_value = s.kind.starts_with("wrong") || s.kind == "law";
      ++families[by_value ? s.family : s.kind];
    };
    bool shrunk = share < least_to_shrink || !o.shrink;
    if (shrunk)
      o.shrink = nullptr;
    else  // the first failure only
      o.shrink = [&, shrink = o.shrink](const test_case& c, const auto& fails, double) {
        if (std::exchange(shrunk, true)) return shrunk_case{c, 0, false};
        return shrink(c, fails, std::min(share, most_to_shrink));
      };
    const record::verify_section v = verify(faulty_, o);
    const record::kernel_result& k = v.kernels.front();
    for (const auto& [family, failures] : families) r.families.push_back({family, failures});
    if (!r.killed) {
      r.cases = k.cases;
      r.seconds = v.seconds;
      r.reason = fmt::format("{}{}{} after {} cases", record::name_of(k.verdict),
                             k.reason.empty() ? "" : ": ", k.reason, k.cases);
    }
    if (!k.counterexamples.empty()) {
      const auto smallest = std::ranges::find(k.counterexamples, true, &record::counterexample::minimal);
      const record::counterexample& c =
          smallest == k.counterexamples.end() ? k.counterexamples.front() : *smallest;
      r.problem = c.problem;
      r.replay = c.replay;
      r.shrink_steps = c.shrink_steps;
      r.minimal = c.minimal;
      r.elements = elements_of(c.problem, f.pass);
    }
    if (r.minimal) look_below(r, std::max(1.0, share));
    if (f.kind == "leak" || f.kind == "crash")
      faulty_.restart();  // what it left behind is no business of the next one
    return r;
  }

  /// Every case one step below the counterexample, found without the shrinker, must pass; one that fails takes its place.
  /// If there is no time for all of them, it is not called minimal.
  void look_below(record::fault_result& r, double seconds) {
    const clock::time_point began = clock::now();
    r.minimal = true;
    for (bool again = true; std::exchange(again, false);) {
      const test_case smallest = parse_case(r.replay);
      const auto still_fails = failing_like(smallest);
      r.smaller_tried = 0;
      for (const test_case& c : one_step_reductions(smallest)) {
        if (since(began) > seconds) {
          r.minimal = false;
          return;
        }
        ++*r.smaller_tried;
        if (!still_fails(c)) continue;
        put(c, r);
        again = true;
        break;
      }
    }
  }

  static void put(const test_case& c, record::fault_result& r) {
    r.replay = print(c);
    r.problem = c.problem;
    r.elements = elements_of(c.problem, r.pass);
  }

  /// The counterexamples that there was no time to make minimal, and those that were never shrunk.
  void look_again() {
    std::vector<record::fault_result*> unproven;
    for (record::fault_result& f : section_.faults)
      if (!f.replay.empty() && !f.minimal) unproven.push_back(&f);
    const clock::time_point began = clock::now();
    for (std::size_t i = 0; i < unproven.size() && options_.base.shrink; ++i) {
      record::fault_result& f = *unproven[i];
      tell("a smaller counterexample of " + f.kernel);
      const double left = second_look_share * options_.seconds - since(began);
      const double seconds = std::min(left / static_cast<double>(unproven.size() - i), most_for_second_look);
      if (!(seconds > least_to_hunt)) return;
      const auto whole_limit = faulty_.time_limit();
      if (f.first_kind == "time limit") faulty_.limit_time(std::min(whole_limit, limit_of_hangs));
      const test_case start = parse_case(f.replay);
      const shrunk_case found = options_.base.shrink(start, failing_like(start), 0.7 * seconds);
      faulty_.limit_time(whole_limit);
      f.shrink_steps += found.steps;
      put(found.smallest, f);
      if (found.minimal) look_below(f, std::max(1.0, 0.5 * seconds));
      if (f.kind == "leak" || f.kind == "crash") faulty_.restart();
    }
  }

  /// Whether a case fails, looked at in the way that shows that this one does.
  std::function<bool(const test_case&)> failing_like(const test_case& failing) {
    faulty_.restart();  // what a kernel remembers of this case makes it pass or fail the next time
    const bool plainly = fails(failing, false);
    if (!plainly) faulty_.restart();
    const std::string pass = pass_of(*plumb::bind(std::string_view(failing.problem)), failing.kernel).name;
    return asked_often_enough(
        [this, plainly, pass](const test_case& c) { return pass_is_there(c, pass) && fails(c, !plainly); },
        failing, seconds_to_recur);
  }

  /// Without an optional tensor the layer may have one pass less.
  static bool pass_is_there(const test_case& c, const std::string& pass) {
    return plumb::bind(std::string_view(c.problem))->find_pass(pass) != nullptr;
  }

  bool fails(const test_case& c, bool thorough) {
    if (c.regime == test_case::endurance) return !endure(faulty_, c).left_behind.empty();
    if (c.regime.starts_with(test_case::law_regime)) {
      const law_verdict v = replay_law(faulty_, options_.base.laws, c);
      return v.applicable && !v.holds;
    }
    const single_case again = examine(faulty_, c, thorough);
    return again.result.wrong && again.result.wrong->verdict != record::verdict::inconclusive;
  }

  // ---- the verifier with a check weakened

  void try_mutants() {
    std::vector<const mutant*> list;
    for (const mutant& m : mutants())
      if (wanted(m.kernel)) list.push_back(&m);
    for (const mutant* m : list) {
      tell("mutant: " + m->name);
      const double seconds = mutants_share * options_.seconds / static_cast<double>(list.size());
      section_.mutants.push_back(try_mutant(*m, std::clamp(seconds, 0.3, 3.0)));
    }
  }

  record::mutant_result try_mutant(const mutant& m, double seconds) {
    record::mutant_result r;
    r.name = m.name;
    r.weakened = m.weakened;
    r.kernel = m.kernel;
    r.honest =
        std::ranges::none_of(fault_table(), [&](const planted_fault& f) { return f.kernel == m.kernel; });
    const trial whole = try_on(m.kernel, r.honest ? seconds : most_to_hunt, nullptr);
    const trial weak = try_on(m.kernel, std::max(seconds, 3 * whole.seconds), m.weaken);
    r.cases = weak.cases;
    r.first_kind = r.honest ? weak.kind : whole.kind;
    if (r.honest == whole.failed)
      r.reason = r.honest ? "the whole verifier accuses it: " + whole.kind
                          : fmt::format("the whole verifier does not see it in {} cases", whole.cases);
    else if (r.honest != weak.failed)
      r.reason = r.honest ? "it is still acquitted" : "the fault is still seen: " + weak.kind;
    else if (!weak.failed && weak.cases < whole.cases)
      r.reason = fmt::format("it had time for {} cases only", weak.cases);
    else
      r.killed = true;
    return r;
  }

  struct trial {
    bool failed = false;
    std::string kind;
    std::int64_t cases = 0;
    double seconds = 0;
  };
  /// Without laws: they compare in ways of their own.
  trial try_on(const std::string& kernel, double seconds, void (*weaken)(verify_options&)) {
    trial t;
    verify_options o = options_.base;
    o.kernels = {&find(kernel)};
    o.seconds = seconds;
    o.laws.clear();
    o.endurance = false;
    o.shrink = nullptr;
    o.progress = nullptr;
    o.triggers = nullptr;
    o.all_triggers = nullptr;
    o.stop_at_first_failure = true;
    o.on_failure = [&](const sighting& s) {
      if (std::exchange(t.failed, true)) return;
      t.kind = s.kind;
    };
    if (weaken != nullptr) weaken(o);
    const record::verify_section v = verify(faulty_, o);
    t.cases = v.kernels.front().cases;
    t.seconds = v.seconds;
    return t;
  }

  // ---- noise on honest answers

  void lay_noise(const std::vector<const kernel_info*>& specimens) {
    std::vector<const kernel_info*> list;
    for (const kernel_info* k : specimens)
      if (k->name.ends_with("/honest@plain")) list.push_back(k);
    noise_probe probe;
    for (const kernel_info* k : list) {
      tell("noise on " + k->name);
      verify_options o = options_.base;
      o.kernels = {k};
      o.seconds = std::max(0.05, noise_share * options_.seconds / static_cast<double>(list.size()));
      o.laws.clear();
      o.progress = nullptr;
      o.triggers = nullptr;
      o.all_triggers = nullptr;
      o.endurance = false;
      probe.attach(o.by, k->layer);
      verify(faulty_, o);
    }
    section_.noise = probe.results();
  }

  // ---- usual practice

  void prepare_practices() {
    for (const practice& p : usual_practices())
      section_.practices.push_back({p.name, p.settings, 0, 0, 0, 0});
  }

  std::optional<suspect> suspect_for(const kernel_info& kernel) {
    for (const usual_problems& u : usual_table()) {
      if (u.layer != kernel.layer) continue;
      suspect s{&faulty_, &kernel, u.square, u.small, {}, options_.base.seed};
      std::vector<std::string>& drawn = drawn_[kernel.layer];
      while (drawn.size() < problems_for_integers)
        drawn.push_back(options_.base.draw_problem(kernel.layer, 77'000 + drawn.size()));
      s.drawn = drawn;
      return s;
    }
    return std::nullopt;
  }

  std::vector<std::string> by_practice(const kernel_info& kernel) {
    std::vector<std::string> outcomes;
    const auto s = suspect_for(kernel);
    for (std::size_t i = 0; i < usual_practices().size(); ++i) {
      const auto rejected = s ? usual_practices()[i].rejects(*s) : std::nullopt;
      outcomes.push_back(!rejected ? "not asked" : *rejected ? "found" : "missed");
      section_.practices[i].asked += rejected ? 1 : 0;
      section_.practices[i].found += rejected.value_or(false) ? 1 : 0;
    }
    return outcomes;
  }

  void judge_honest_by_practice(const std::vector<const kernel_info*>& specimens) {
    for (const kernel_info* k : specimens) {
      if (!k->name.ends_with("/honest@plain")) continue;
      tell(k->name);
      const auto s = suspect_for(*k);
      for (std::size_t i = 0; s && i < usual_practices().size(); ++i) {
        const auto rejected = usual_practices()[i].rejects(*s);
        section_.practices[i].honest += rejected ? 1 : 0;
        section_.practices[i].rejected += rejected.value_or(false) ? 1 : 0;
      }
    }
  }

  // ---- kernels without a fault

  void acquit_for(double seconds, sandbox& box, const std::vector<const kernel_info*>& kernels,
                  const std::string& origin) {
    if (kernels.empty()) return;
    verify_options o = options_.base;
    o.seconds = seconds;
    o.progress = [&](const run_progress& p) {
      tell(fmt::format("{}s without a fault: {} cases", origin, p.cases));
    };
    acquit(box, kernels, origin, o, section_);
  }

  const audit_options& options_;
  clock::time_point start_ = clock::now();
  sandbox faulty_;
  std::vector<const planted_fault*> faults_;
  std::size_t done_ = 0;
  std::map<std::string, std::vector<std::string>> drawn_;
  record::audit_section section_;
};

}  // namespace

record::audit_section audit(const audit_options& options) { return auditor(options).run(); }

std::size_t survivors(const record::audit_section& a) {
  return static_cast<std::size_t>(std::ranges::count_if(a.faults, [](const auto& f) { return !f.killed; }));
}

std::size_t living_mutants(const record::audit_section& a) {
  return static_cast<std::size_t>(std::ranges::count_if(a.mutants, [](const auto& m) { return !m.killed; }));
}

std::size_t noise_misjudged(const record::audit_section& a) {
  std::int64_t sum = 0;
  for (const record::noise_result& n : a.noise) sum += n.missed + n.accused;
  return static_cast<std::size_t>(sum);
}

std::size_t not_minimal(const record::audit_section& a) {
  return static_cast<std::size_t>(
      std::ranges::count_if(a.faults, [](const auto& f) { return f.smaller.has_value(); }));
}

std::size_t false_alarms(const record::audit_section& a) {
  return static_cast<std::size_t>(
      std::ranges::count_if(a.honest, [](const auto& h) { return h.alarms > 0 && h.origin != "peer"; }));
}

}  // namespace plumb
