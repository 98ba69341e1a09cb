// The audit on trial: its table against the kernels that the fault worker registers and against what was asked for; the
// usual practices against faults of which it is known whether they see them; and a short audit end to end.
#include "properties/audit/audit.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "properties/audit/fault_table.hpp"
#include "properties/audit/mutants.hpp"
#include "properties/audit/practices.hpp"
#include "properties/generators/problem_space.hpp"
#include "properties/laws/laws.hpp"
#include "properties/shrink.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/evaluate.hpp"
#include "verify/recurrence.hpp"

namespace plumb {
namespace {

sandbox_options faulty_worker() {
  sandbox_options o;
  o.worker = FAULT_WORKER;
  o.arenas = runner_arenas;
  return o;
}

verify_options usual_options() {
  verify_options o;
  o.draw_problem = [](const std::string& layer, std::uint64_t seed) { return draw_problem(layer, seed); };
  o.laws = laws();
  return o;
}

TEST(FaultTable, ListsEveryPlantedKernelAndNoOther) {
  sandbox box(faulty_worker());
  std::set<std::string> registered, listed;
  for (const kernel_info& k : box.kernels())
    if (k.name.find("/honest") == std::string::npos) registered.insert(k.name);
  for (const planted_fault& f : fault_table())
    EXPECT_TRUE(listed.insert(f.kernel).second) << f.kernel << " twice";
  EXPECT_EQ(registered, listed);
}

TEST(FaultTable, EverySpecimenHasAnHonestInstantiation) {
  sandbox box(faulty_worker());
  std::set<std::string> honest;
  for (const kernel_info& k : box.kernels())
    if (k.name.find("/honest@") != std::string::npos) honest.insert(k.name);
  for (const planted_fault& f : fault_table()) {
    // Paths of the CPU share one specimen; host execution has bodies of its own.
    const std::string path = f.path == "host" ? "host" : "plain";
    EXPECT_TRUE(honest.contains(f.layer + "." + f.pass + "/honest@" + path)) << f.kernel;
  }
}

TEST(FaultTable, IsAsLargeAsWasAskedFor) {
  std::set<std::string> causes, layers, passes, paths, kinds;
  for (const planted_fault& f : fault_table()) {
    causes.insert(f.root_cause);
    layers.insert(f.layer);
    passes.insert(f.pass);
    paths.insert(f.path);
    kinds.insert(f.kind);
    EXPECT_FALSE(f.kind.empty() || f.root_cause.empty() || f.modelled_on.empty()) << f.kernel;
  }
  EXPECT_GE(fault_table().size(), 120U);
  EXPECT_GE(causes.size(), 60U);
  EXPECT_GE(layers.size(), 25U);
  EXPECT_EQ(passes, (std::set<std::string>{"forward", "backward", "backward_data", "backward_weights",
                                           "backward_bias"}));
  EXPECT_EQ(paths, (std::set<std::string>{"plain", "vector", "tail", "threads", "host"}));
  for (const char* kind : {"cheat", "state", "memory", "threads", "layout", "special values", "precision"})
    EXPECT_TRUE(kinds.contains(kind)) << kind;
}

TEST(UsualProblems, AreLegalAndThereForEveryLayerWithFaults) {
  std::set<std::string> layers;
  for (const usual_problems& u : usual_table()) {
    layers.insert(u.layer);
    for (const std::string& text : {u.square, u.small})
      EXPECT_EQ(plumb::bind(std::string_view(text))->name(), u.layer) << text;
  }
  for (const planted_fault& f : fault_table()) EXPECT_TRUE(layers.contains(f.layer)) << f.layer;
}

class Practices : public testing::Test {
 protected:
  /// Outcome of a practice on a kernel of the fault worker.
  std::optional<bool> rejects(const std::string& practice_name, const std::string& kernel) {
    suspect s;
    s.box = &box_;
    for (const kernel_info& k : box_.kernels())
      if (k.name == kernel) s.kernel = &k;
    EXPECT_NE(s.kernel, nullptr) << kernel;
    for (const usual_problems& u : usual_table())
      if (u.layer == s.kernel->layer) s.square = u.square, s.small = u.small;
    for (std::uint64_t n = 0; n < 20; ++n) s.drawn.push_back(draw_problem(s.kernel->layer, n));
    for (const practice& p : usual_practices())
      if (p.name == practice_name) return p.rejects(s);
    ADD_FAILURE() << "no practice " << practice_name;
    return std::nullopt;
  }

  sandbox box_{faulty_worker()};
};

TEST_F(Practices, AcceptWhatIsRight) {
  for (const char* name :
       {"allclose 1e-2", "allclose 1e-4", "integers", "gradcheck fast f64", "gradcheck slow f64"})
    for (const char* kernel : {"conv2d.forward/honest@plain", "conv2d.backward_weights/honest@plain",
                               "batch_norm.backward/honest@plain", "max_pool2d.forward/honest@plain"}) {
      // Quotients are no integers, and to the bit only by luck: that practice is known to reject honest kernels.
      if (std::string_view(name) == "integers" && std::string_view(kernel).starts_with("batch_norm"))
        continue;
      EXPECT_EQ(rejects(name, kernel), std::optional(false)) << name << " on " << kernel;
    }
}

TEST_F(Practices, SeeAWrongElementNaNAndZeros) {
  for (const char* name : {"allclose 1e-2", "allclose 1e-4", "integers"}) {
    EXPECT_EQ(rejects(name, "linear.forward/zeros@plain"), std::optional(true)) << name;
    EXPECT_EQ(rejects(name, "matmul.forward/nan_at_the_end@plain"), std::optional(true)) << name;
  }
  EXPECT_EQ(rejects("allclose 1e-4", "sigmoid.forward/isolated_element@plain"), std::optional(true));
}

TEST_F(Practices, HaveTheLimitsThatTheyAreKnownFor) {
  // Figures of section G of the list of hazards.
  EXPECT_EQ(rejects("gradcheck slow f64", "linear.backward_weights/one_percent_off@plain"),
            std::optional(true));
  EXPECT_EQ(rejects("gradcheck slow f64", "linear.backward_weights/one_per_mille_off@plain"),
            std::optional(false));
  EXPECT_EQ(rejects("gradcheck slow f32", "linear.backward_weights/honest@plain"), std::optional(true));
  EXPECT_EQ(rejects("allclose 1e-2", "conv2d.forward/noise@plain"), std::optional(false));
  EXPECT_EQ(rejects("allclose 1e-4", "conv2d.forward/pad_of_other_axis@plain"), std::optional(false));
}

TEST(Audit, KillsAndAcquits) {
  ASSERT_EQ(::setenv("PLUMB_FAULT_WORKER", FAULT_WORKER, 1), 0);
  ASSERT_EQ(::setenv("PLUMB_WORKER", WORKER, 1), 0);
  audit_options o;
  o.globs = {"relu.*", "conv2d.backward_weights/*"};
  o.seconds = 6;
  o.practices = false;
  o.base = usual_options();
  record::audit_section a = audit(o);
  if (survivors(a) > 0) {  // a machine with other jobs: nothing that lives for long is forgiven
    o.seconds = 40;
    a = audit(o);
  }
  EXPECT_GE(a.faults.size(), 15U);
  for (const auto& f : a.faults) EXPECT_TRUE(f.killed) << f.kernel << ": " << f.reason;
  for (const auto& h : a.honest)
    EXPECT_TRUE(h.alarms == 0 || h.origin == "peer") << h.kernel << ": " << h.message;
  EXPECT_EQ(survivors(a), 0U);
  EXPECT_EQ(false_alarms(a), 0U);
  EXPECT_EQ(noise_misjudged(a), 0U);
  EXPECT_EQ(a.noise.size(), 5U);
  std::int64_t twice = 0, half = 0;
  for (const auto& n : a.noise) twice += n.twice, half += n.half;
  EXPECT_GT(twice, 100);
  EXPECT_GT(half, 20);
}

TEST(Audit, NamesTheWorkerThatIsMissing) {
  ASSERT_EQ(::setenv("PLUMB_FAULT_WORKER", "./no-such-worker", 1), 0);
  audit_options o;
  o.base = usual_options();
  try {
    audit(o);
    ADD_FAILURE() << "no error";
  } catch (const sandbox_error& e) {
    const std::string text = e.what();
    for (const char* word : {"./no-such-worker", "plumb_fault_worker", "PLUMB_FAULT_WORKER"})
      EXPECT_NE(text.find(word), std::string::npos) << text;
  }
  ::unsetenv("PLUMB_FAULT_WORKER");
}

/// What shows only when a kernel is called thousands of times: its problem is shrunk all the same.
TEST(Audit, SeesWhatIsLeftBehind) {
  ASSERT_EQ(::setenv("PLUMB_FAULT_WORKER", FAULT_WORKER, 1), 0);
  ASSERT_EQ(::setenv("PLUMB_WORKER", WORKER, 1), 0);
  audit_options o;
  o.globs = {"*/leaks_*", "*/works_on@*", "*/hungry@*", "*/past_the_workspace@*",
             "matmul.forward/honest@plain"};
  o.seconds = 12;
  o.practices = false;
  o.base = usual_options();
  o.base.laws.clear();
  record::audit_section a = audit(o);
  if (survivors(a) > 0) {  // a machine with other jobs: nothing that lives for long is forgiven
    o.seconds = 40;
    a = audit(o);
  }
  EXPECT_EQ(a.faults.size(), 8U);
  for (const auto& f : a.faults) EXPECT_TRUE(f.killed) << f.kernel << ": " << f.reason;
  EXPECT_EQ(false_alarms(a), 0U);
}

/// Bodies in host execution: races and barriers are told by it, everything else is seen as on any kernel. As long as it
/// takes, which is milliseconds for most.
TEST(Audit, KillsFaultsOfDeviceKernels) {
  sandbox box(faulty_worker());
  int faults = 0, honest = 0;
  for (const kernel_info& k : box.kernels()) {
    if (!k.name.ends_with("@host")) continue;
    const bool is_honest = k.name.find("/honest@") != std::string::npos;
    ++(is_honest ? honest : faults);
    std::string seen;
    verify_options o = usual_options();
    o.kernels = {&k};
    o.seconds = is_honest ? 0.5 : 20;
    o.endurance = false;
    o.stop_at_first_failure = true;
    o.on_failure = [&](const sighting& s) {
      if (seen.empty()) seen = s.kind;
    };
    verify(box, o);
    const bool told = k.name.find("barrier") != std::string::npos ||
                      k.name.find("early_return") != std::string::npos ||
                      k.name.find("border_unwritten") != std::string::npos;
    if (is_honest || told) {
      EXPECT_EQ(seen, told ? "failed" : "") << k.name;
    } else {
      EXPECT_NE(seen, "") << k.name;
    }
  }
  EXPECT_GE(faults, 30);
  EXPECT_EQ(honest, 5);
}

/// Every check, weakened, is missed by somebody; and a mutation that changes nothing is told apart.
TEST(Audit, WeakenedChecksAreNoticed) {
  ASSERT_EQ(::setenv("PLUMB_FAULT_WORKER", FAULT_WORKER, 1), 0);
  ASSERT_EQ(::setenv("PLUMB_WORKER", WORKER, 1), 0);
  EXPECT_GE(mutants().size(), 25U);
  audit_options o;
  o.globs = {"sigmoid.forward/*_the_limit@plain",
             "linear.forward/one_ulp@plain",
             "matmul.forward/nan_at_the_end@plain",
             "matmul.forward/input_as_scratch@plain",
             "relu.forward/n*@plain",
             "*/past_the_workspace@*"};
  o.seconds = 10;
  o.practices = false;
  o.base = usual_options();
  const record::audit_section a = audit(o);
  EXPECT_GE(a.mutants.size(), 10U);
  for (const auto& m : a.mutants) EXPECT_TRUE(m.killed) << m.name << ": " << m.reason;
  EXPECT_EQ(living_mutants(a), 0U);
}

/// A pass says that it selects if and only if all it ever writes was there before: numbers read, zeros, limits.
TEST(Layers, SayOfTheirPassesWhetherTheySelect) {
  constexpr std::uint64_t problems = 30;
  for (const layer_row& row : layer_catalogue()) {
    const std::string name(row.name);
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> new_and_old;
    std::map<std::string, bool> says;
    for (std::uint64_t n = 0; n < problems; ++n) {
      const auto l = plumb::bind(std::string_view(draw_problem(name, 500 + n)));
      for (const pass_spec& pass : l->describe().passes) {
        if (pass.contraction) continue;  // a sum, of one term perhaps
        const auto reads = draw(*l, pass, regime::zero_mean, n, dtype::f32);
        std::set<double> there = {0.0};
        for (const problem::field& f : l->resolved().fields()) {
          char* end = nullptr;
          const double number = std::strtod(f.value.c_str(), &end);
          if (*end == '\0') there.insert(number);
        }
        for (const auto& e : reads.entries())
          if (!e.is_index)
            for (index_t i = 0; i < e.real.size(); ++i) there.insert(e.real[i]);
        const auto writes = evaluate_pass<double>(*l, pass, reads);
        auto& [fresh, old] = new_and_old[pass.name];
        for (const auto& e : writes.entries())
          if (!e.is_index)
            for (index_t i = 0; i < e.real.size(); ++i) ++(there.contains(e.real[i]) ? old : fresh);
        says[pass.name] = pass.selects;
      }
    }
    for (const auto& [pass, counts] : new_and_old)
      EXPECT_EQ(says[pass], counts.first == 0 && counts.second > 0)
          << name << "." << pass << " computes " << counts.first << " of " << counts.first + counts.second;
  }
}

/// What only a changed element and a workspace that is left alone can show.
TEST(Audit, SeesKernelsThatRemember) {
  ASSERT_EQ(::setenv("PLUMB_FAULT_WORKER", FAULT_WORKER, 1), 0);
  ASSERT_EQ(::setenv("PLUMB_WORKER", WORKER, 1), 0);
  audit_options o;
  o.globs = {"conv2d.forward/replay_by_*", "conv2d.forward/scratch_*", "conv2d.forward/packed_once@*",
             "linear.forward/flaky@*"};
  o.seconds = 12;
  o.practices = false;
  o.base = usual_options();
  o.base.laws.clear();
  o.base.shrink = [](const test_case& failing, const std::function<bool(const test_case&)>& fails,
                     double seconds) {
    const shrunk r = shrink(failing, {fails, with_data}, {.seconds = seconds});
    return shrunk_case{r.smallest, r.calls, r.fixpoint};
  };
  const record::audit_section a = audit(o);
  EXPECT_EQ(a.faults.size(), 7U);
  for (const auto& f : a.faults) {
    EXPECT_TRUE(f.killed) << f.kernel << ": " << f.reason;
    EXPECT_TRUE(f.minimal) << f.kernel << ": " << f.replay;
    sandbox fresh(faulty_worker());  // the line alone must do, without what the process had seen before
    const auto fails = [&](const test_case& c) { return examine(fresh, c, true).result.wrong.has_value(); };
    const test_case shown = parse_case(f.replay);
    EXPECT_TRUE(asked_often_enough(fails, shown, 5)(shown)) << f.kernel << ": " << f.replay;
  }
}

/// Winograd's kernels accept one drawn problem in a hundred.
TEST(Runner, JudgesChoosyKernelsOnProblemsMadeToFit) {
  sandbox_options shipped;
  shipped.worker = WORKER;
  shipped.arenas = runner_arenas;
  sandbox box(shipped);
  const auto judged = [&](bool fitted) {
    verify_options o = usual_options();
    o.laws.clear();
    for (const kernel_info& k : box.kernels())
      if (k.name.starts_with("conv2d.forward/winograd4@") && k.unavailable.empty()) o.kernels.push_back(&k);
    o.kernels.resize(1);  // the best instruction set here
    o.seconds = 2;
    if (fitted) o.fit = fit_problems;
    return verify(box, o).kernels.front();
  };
  const record::kernel_result plain = judged(false), served = judged(true);
  EXPECT_EQ(served.verdict, record::verdict::pass) << served.reason;
  EXPECT_GT(served.cases, 4 * plain.cases);
  // The share of what is accepted speaks of drawn problems only.
  EXPECT_GT(served.offered, 20);
  EXPECT_LT(10 * served.accepted, served.offered);
}

TEST(ExamQuestions, OneElementIsChangedAndOneOnly) {
  const auto l = plumb::bind(std::string_view("conv2d x=1x2x4x5 weight=3x2x2x2 bias=3"));
  const pass_spec& pass = l->describe().passes.front();
  const exam::question first{"lattice", 5, {}};
  std::set<std::string> changed;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const auto other = with_one_change(*l, pass, first, dtype::f32, seed);
    ASSERT_TRUE(other.has_value());
    const auto before = materialise(*l, pass, first, dtype::f32),
               after = materialise(*l, pass, *other, dtype::f32);
    int differences = 0;
    for (const auto& e : before.entries())
      for (index_t i = 0; i < e.real.size(); ++i)
        if (e.real[i] != after[e.name][i]) {
          ++differences;
          changed.insert(e.name);
          EXPECT_EQ(after[e.name][i], e.real[i] + 1);
        }
    EXPECT_EQ(differences, 1);
  }
  EXPECT_EQ(changed, (std::set<std::string>{"x", "weight", "bias"}));
}

TEST(Audit, SaysSoWhenAFaultLivesAndWhenAKernelIsAccused) {
  record::audit_section a;
  a.faults.resize(2);
  a.faults[0].killed = true;
  EXPECT_EQ(survivors(a), 1U);
  a.honest.resize(3);
  a.honest[0].alarms = 1;
  a.honest[1] = {"conv2d.forward/onednn@cpu", "peer", 10, 10, 1, "", ""};
  EXPECT_EQ(false_alarms(a), 1U);
}

/// A verifier that only ever draws one problem, without laws, misses what that problem cannot show.
TEST(Audit, SeesAVerifierThatIsTooWeak) {
  ASSERT_EQ(::setenv("PLUMB_FAULT_WORKER", FAULT_WORKER, 1), 0);
  ASSERT_EQ(::setenv("PLUMB_WORKER", WORKER, 1), 0);
  audit_options o;
  o.globs = {"conv2d.forward/pad_of_other_axis@plain"};
  o.seconds = 1;
  o.practices = false;
  o.base = usual_options();
  o.base.laws.clear();
  o.base.draw_problem = [](const std::string&, std::uint64_t) {
    return std::string("conv2d x=1x2x4x4 weight=2x2x3x3 pad=1");
  };
  EXPECT_EQ(survivors(audit(o)), 1U);
}

}  // namespace
}  // namespace plumb
