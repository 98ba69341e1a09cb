// The numbers are invented but shaped like real ones: errors of a fraction of an ulp with a border of wrong
// elements, V-curves with the slopes theory gives, timings with a spread of a few percent.
#include "reports/tests/sample_record.hpp"

#include <cmath>
#include <limits>
#include <numbers>
#include <random>

namespace plumb::reports::testing {

using namespace record;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

provenance sample_provenance() {
  provenance p;
  p.plumb_version = "0.1.0";
  p.git_revision = "2fe81b0c77aa";
  p.date = "2025-03-01T12:34:56Z";
  p.cpu = "AMD EPYC 9R14";
  p.cores = 2;
  p.isa = "avx2 fma avx512f avx512_bf16";
  p.os = "Debian GNU/Linux 12 (bookworm), Linux 6.1.0 x86_64";
  p.compiler = "GNU 12.2.0";
  p.flags = "-O3 -DNDEBUG -std=c++20 -ffp-contract=off";
  p.seed = 0xfedcba9876543210U;
  p.command_line = "plumb verify 'conv2d.*' --time 20s";
  p.libraries = {{"oneDNN", "2.6.3"}, {"OpenBLAS", "0.3.21"}};
  return p;
}

const char* const small_problem = "conv2d x=1x2x3x4 weight=1x2x2x2 pad=0,1,0,0";

/// A small error everywhere; from `first_bad_row` on the last column is wrong by 40 bounds, one cell is NaN.
heat_map sample_heat(std::int64_t rows, std::int64_t cols, std::int64_t tiles, bool broken) {
  std::mt19937 bits(7);
  std::normal_distribution<double> noise(0, 0.04);
  heat_map map;
  map.problem = "conv2d x=1x8x14x15 weight=6x8x3x3 pad=1";
  map.regime = "zero_mean";
  map.replay = "conv2d.forward/direct@avx3 | " + map.problem + " | f32 nchw zero_mean 77 end 2 a";
  map.tensor = "y";
  map.bound = "statistical";
  map.shape = {1, tiles, rows, cols};
  map.axes = {"n", "k", "p", "q"};
  map.tiles_left_out = 2;
  for (std::int64_t k = 0; k < tiles; ++k) {
    heat_tile tile;
    tile.label = "n=0 k=" + std::to_string(k);
    tile.rows = rows;
    tile.cols = cols;
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      double share = noise(bits);
      if (broken && i % cols == cols - 1) share = (k % 2 == 0 ? 40 : -7) * (1 + 0.1 * noise(bits));
      tile.share.push_back(share);
      tile.truth.push_back(std::sin(static_cast<double>(i + k)));
      tile.got.push_back(tile.truth.back() + share * 1e-6);
      tile.ulps.push_back(std::abs(share) * 12);
      tile.at.push_back(k * rows * cols + i);
    }
    map.tiles.push_back(std::move(tile));
  }
  if (broken) map.tiles[0].share[3] = map.tiles[0].got[3] = map.tiles[0].ulps[3] = not_a_number;
  if (broken) map.tiles[0].share[5] = -infinity;
  return map;
}

ulp_histogram sample_histogram() {
  return {{0, 1e-12, 0.5, 1, 2, 4, 8, infinity},
          {1200, 84000, 21000, 5200, 380, 12, 0},
          {900, 61000, 30000, 14000, 5200, 700, 3}};
}

element sample_element(double got, double truth) {
  element e;
  e.problem = small_problem;
  e.regime = "zero_mean";
  e.seed = 18446744073709551615U;
  e.replay = "conv2d.forward/direct@avx3 | conv2d x=1x2x3x4 weight=1x2x2x2 | f32 nchw zero_mean 5 end 2 a";
  e.tensor = "y";
  e.coordinates = {{"n", 0}, {"k", 0}, {"p", 1}, {"q", 2}};
  e.got = got;
  e.truth = truth;
  e.ulps = 3.5;
  e.error = got - truth;
  e.statistical_bound = 1e-6;
  e.proven_bound = 4e-6;
  return e;
}

counterexample sample_counterexample() {
  counterexample c;
  c.kind = "wrong value";
  c.message = "y [n=0 k=0 p=1 q=2] is 3, but the true value is 4";
  c.law = "agrees with the oracle";
  c.problem = small_problem;
  c.regime = "lattice";
  c.replay =
      "conv2d.forward/direct@avx3 | conv2d x=1x2x3x4 weight=1x2x2x2 pad=0,1,0,0 | f32 nchw lattice 1 end 1 a";
  c.original_problem = "conv2d x=3x17x31x29 weight=12x17x5x3 stride=2x1 pad=1,2,0,1 dilation=2";
  c.original_replay =
      "conv2d.forward/direct@avx3 | " + c.original_problem + " | f32 nchw lattice 912 end 2 a";
  c.shrink_steps = 41;
  c.minimal = true;
  c.occurrences = 212;
  c.pattern = "right border";
  c.wrong = sample_element(3, 4);
  c.tensors = {
      {"x",
       tensor_role::input,
       "f32",
       {1, 2, 3, 4},
       {"n", "c", "h", "w"},
       {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, -1},
       {}},
      {"weight",
       tensor_role::input,
       "f32",
       {1, 2, 2, 2},
       {"k", "c", "r", "s"},
       {1, 0, 0, 1, 0, 0, 0, -1},
       {}},
      {"y", tensor_role::got, "f32", {1, 1, 2, 3}, {"n", "k", "p", "q"}, {2, 0, 0, 0, 2, 3}, {5}},
      {"y", tensor_role::expected, "f32", {1, 1, 2, 3}, {"n", "k", "p", "q"}, {2, 0, 0, 0, 2, 4}, {5}}};
  return c;
}

kernel_result base_kernel(const std::string& name, record::verdict v) {
  kernel_result k;
  k.name = name;
  k.layer = name.substr(0, name.find('.'));
  k.pass = name.substr(name.find('.') + 1, name.find('/') - name.find('.') - 1);
  k.arithmetic = "f32";
  k.determinism = "thread_invariant";
  k.device = "cpu";
  k.origin = "built in";
  k.verdict = v;
  k.cases = 4812;
  k.calls = 15920;
  k.elements = 9384711;
  k.oracle_escalations = 17;
  k.seconds = 1.63;
  k.offered = 1400;
  k.accepted = 1203;
  k.detection_power = 3.1e-6;
  k.declined = {{"dilation above 1 is not supported", 180}, {"more than 2^31 elements", 17}};
  k.coverage = {{"groups > 1", 320, 320}, {"dilation > 1", 180, 0}, {"asymmetric padding", 410, 410}};
  k.regimes = {{"lattice", 1600, 0, std::nullopt, std::nullopt, 0},
               {"impulse", 400, 0, std::nullopt, std::nullopt, 0},
               {"zero_mean", 1400, 0, 0.31, 0.022, 1.9},
               {"positive", 1000, 0, 0.62, 0.047, 6.5},
               {"special", 412, 0, std::nullopt, std::nullopt, 0}};
  k.laws = {
      {"agrees with the oracle", 4812, 0}, {"adjoint", 310, 0},    {"linear in x", 280, 0}, {"pure", 601, 0},
      {"stays in bounds", 4812, 0},        {"batch split", 122, 0}};
  return k;
}

std::vector<kernel_result> sample_kernels() {
  using enum record::verdict;
  std::vector<kernel_result> kernels;
  kernel_result good = base_kernel("conv2d.forward/im2col@cpu", pass);
  good.unbounded = 12;
  good.trusted = 512;
  good.endured = 10201;
  good.certified = true;
  good.worst = {sample_element(0.4999999, 0.5), sample_element(-1.25e-8, -1.2e-8)};
  good.heat = sample_heat(7, 8, 6, false);
  good.ulps = sample_histogram();
  good.problems = {
      {"conv2d x=1x64x56x56 weight=64x64x3x3 pad=1", pass, "", true, 200704, 0.41, 0.03, 5.5, 0.8},
      {"conv2d x=1x3x224x224 weight=64x3x7x7 stride=2 pad=3", inconclusive, "the time was up", false, 0,
       std::nullopt, std::nullopt, 0, 0.1}};
  kernels.push_back(good);

  kernel_result wrong = base_kernel("conv2d.forward/direct@avx3", fail);
  wrong.reason = "1 of 6 laws failed, 212 of 4,812 cases";
  wrong.regimes[0].failures = 190;
  wrong.regimes[2].failures = 22;
  wrong.regimes[2].worst_statistical = 41.5;
  wrong.laws[0].failures = 212;
  wrong.counterexamples = {sample_counterexample()};
  wrong.worst = {sample_element(3, 4)};
  wrong.heat = sample_heat(14, 15, 6, true);
  wrong.ulps = sample_histogram();
  kernels.push_back(wrong);

  kernel_result crash = base_kernel("conv2d.backward_data/mine@cpu", crashed);
  crash.origin = "libbroken_conv.so";
  crash.reason = "segmentation fault writing 4 bytes past the end of dx";
  counterexample fall;
  fall.kind = "crash";
  fall.message = crash.reason;
  fall.law = "stays in bounds";
  fall.problem = "conv2d x=1x1x1x9 weight=1x1x1x1";
  fall.regime = "lattice";
  fall.replay =
      "conv2d.backward_data/mine@cpu | conv2d x=1x1x1x9 weight=1x1x1x1 | f32 nchw lattice 1 end 1 a";
  crash.counterexamples = {fall};
  kernels.push_back(crash);

  kernel_result hang = base_kernel("conv2d.backward_weights/loop@cpu", timeout);
  hang.reason = "no answer within 10 s";
  kernels.push_back(hang);
  kernel_result doubtful = base_kernel("relu.backward/simd@avx3", mistrusted);
  doubtful.reason = "no check of the run would have rejected the zero tensor";
  kernels.push_back(doubtful);
  kernel_result undecided = base_kernel("sigmoid.forward/simd@avx3", inconclusive);
  undecided.reason = "96 cases in the time given, 200 are needed";
  kernels.push_back(undecided);
  kernel_result absent;
  absent.name = "conv2d.forward/implicit_gemm@sm90";
  absent.verdict = skipped;
  absent.reason = "no CUDA";
  kernels.push_back(absent);
  kernel_result peer = base_kernel("conv2d.forward/onednn@cpu", fail);
  peer.peer = true;
  peer.reason = "subnormal results are flushed to zero";
  peer.counterexamples = {sample_counterexample()};
  kernels.push_back(peer);
  kernel_result planted = base_kernel("conv2d.forward/tail@broken", fail);
  planted.planted = true;
  planted.origin = "libbroken_conv.so";
  planted.reason = "the tail of the vector width is dropped";
  planted.counterexamples = {sample_counterexample()};
  kernels.push_back(planted);
  return kernels;
}

v_curve sample_curve(const char* scalar, double unit) {
  v_curve curve{"dy/dx", scalar, {}, {}, 2, -1};
  for (int e = -2; e > std::log10(unit) - 2; --e) {
    const double h = std::pow(10, e);
    curve.step.push_back(h);
    curve.error.push_back(0.2 * h * h + 0.3 * unit / h);
  }
  return curve;
}

layer_check sample_layer(const char* layer, const char* problem, record::verdict v) {
  layer_check check;
  check.layer = layer;
  check.problem = problem;
  check.verdict = v;
  check.points = 12;
  check.kinks_excluded = 3;
  check.seconds = 0.42;
  check.kinks = {{"x", {{"n", 0}, {"c", 1}, {"h", 2}, {"w", 3}}}};
  check.cost = jacobian_cost{60, 120, 960, 3.1e-5, 2.2e-6};
  check.agreements = {
      {"vjp", "dual", "dy/dx", "rational", 480, true, 0, 0, record::verdict::pass, ""},
      {"jacobian", "vjp", "dy/dweight", "rational", 96, true, 0, 0, record::verdict::pass, ""},
      {"numeric", "vjp", "dy/dx", "mp50", 480, false, 3e-51, 50.5, v,
       v == record::verdict::pass ? "" : "sign of one entry"}};
  check.curves = {sample_curve("float", 6e-8), sample_curve("double", 1.1e-16), sample_curve("mp50", 1e-50)};
  jacobian_image image{"dy/dx", 12, 20, {}, {}, 120, 400, 960};
  for (int i = 0; i < 12; ++i) {
    for (int j = 0; j < 20; ++j) {
      const double value = j - i >= 0 && j - i < 5 ? std::cos(j - i) : 0;
      image.explicit_values.push_back(value);
      image.numeric_values.push_back(value + 1e-11 * std::sin(i * 20 + j));
    }
  }
  check.jacobians = {image};
  kernel_gradient kernel{"conv2d.backward_data/im2col@cpu",
                         "backward_data",
                         false,
                         record::verdict::pass,
                         "",
                         0.03,
                         2.5,
                         4e-6,
                         {sample_element(1, 1.0000001)},
                         sample_heat(7, 8, 2, false),
                         sample_histogram()};
  check.kernels = {kernel};
  return check;
}

bench_section sample_bench() {
  bench_section bench;
  bench.baseline = "conv2d.forward/onednn@cpu";
  bench.threads = 2;
  bench.roof = {212.5, 38.2, {208, 212.5, 199}, {38.2, 37.9}};
  std::mt19937 bits(3);
  std::normal_distribution<double> spread(1, 0.02);
  const char* const problems[] = {
      "conv2d x=1x64x56x56 weight=64x64x3x3 pad=1", "conv2d x=1x128x28x28 weight=128x128x3x3 pad=1",
      "conv2d x=1x256x14x14 weight=1024x256x1x1", "conv2d x=1x3x224x224 weight=64x3x7x7 stride=2 pad=3"};
  const struct {
    const char* name;
    double gflops;
    bool peer;
  } kernels[] = {{"conv2d.forward/onednn@cpu", 150, true},
                 {"conv2d.forward/im2col@cpu", 92, false},
                 {"conv2d.forward/openblas@cpu", 105, true},
                 {"conv2d.forward/direct@avx3", 0, false}};
  for (const char* problem : problems) {
    for (const auto& kernel : kernels) {
      timing t;
      t.problem = problem;
      t.set = "resnet50";
      t.kernel = kernel.name;
      t.layout = "nchw";
      t.peer = kernel.peer;
      t.baseline = kernel.name == bench.baseline;
      if (t.baseline) t.implementation = "brgconv:avx512_core";
      if (kernel.gflops == 0) {
        t.verdict = record::verdict::fail;
        t.reason = "failed verification: wrong value at the right border";
        bench.timings.push_back(t);
        continue;
      }
      t.verdict = record::verdict::pass;
      t.worst_ulps = 400 / kernel.gflops;
      t.worst_proven = 0.04;
      measurement m;
      m.flops = 231e6;
      m.bytes = 1.8e6 * (1 + static_cast<double>(bench.timings.size()));
      m.gflops = kernel.gflops * spread(bits);
      m.seconds = m.flops / m.gflops * 1e-9;
      m.low = m.seconds * 0.97;
      m.high = m.seconds * 1.05;
      for (int i = 0; i < 9; ++i) {
        m.samples.push_back(m.seconds * spread(bits));
        m.rounds.push_back(i);
      }
      t.cold = cold_time{2 * m.seconds, 1.8 * m.seconds, 2.5 * m.seconds, {2 * m.seconds, 1.9 * m.seconds}};
      t.prepare_seconds = 0.01;
      m.gbytes = m.bytes / m.seconds * 1e-9;
      m.roof_share = m.gflops / 212.5;
      if (!t.baseline)
        m.ratio = {bench.baseline, 150 / kernel.gflops, 148 / kernel.gflops, 152 / kernel.gflops,
                   comparison::slower};
      t.measurement = m;
      bench.timings.push_back(t);
    }
  }
  bench.sets = {
      {"resnet50", "conv2d.forward/im2col@cpu", false, 4, 0.0101,
       time_ratio{bench.baseline, 1.63, 1.6, 1.67, comparison::slower},
       record::worst_problem{small_problem, 1.9}, record::speed_goal{1.2, 0.9}},
      {"resnet50", "conv2d.forward/onednn@cpu", true, 4, 0.0062, std::nullopt, std::nullopt, std::nullopt},
      {"resnet50", "conv2d.forward/openblas@cpu", true, 4, 0.0088,
       time_ratio{bench.baseline, 1.43, 1.4, 1.46, comparison::ambiguous}, std::nullopt, std::nullopt}};
  bench.oracle = {{.problem = small_problem,
                   .set = "resnet50",
                   .kernel = "conv2d.forward/auto@avx3",
                   .verdict = record::verdict::pass,
                   .reason = "",
                   .elements = 12,
                   .certified = 12,
                   .terms = 18,
                   .worst_proven = 0.2,
                   .seconds = 0.5,
                   .gemm_seconds = 0.125,
                   .gemm_gflops = 40,
                   .ratio = 4}};
  return bench;
}

audit_section sample_audit() {
  audit_section audit;
  audit.seconds = 61.5;
  fault_result caught;
  caught.kernel = "conv2d.forward/drops_last_tap@tail";
  caught.layer = "conv2d";
  caught.pass = "forward";
  caught.path = "tail";
  caught.kind = "dropped term";
  caught.root_cause = "the last tap of the filter is left out in the tail";
  caught.modelled_on = "a loop bound in a vector epilogue";
  caught.killed = true;
  caught.first_family = "lattice";
  caught.first_kind = "wrong value";
  caught.cases = 3;
  caught.seconds = 0.012;
  caught.families = {{"lattice", 41}, {"impulse", 12}, {"law:linear in x", 2}};
  caught.problem = small_problem;
  caught.replay =
      "conv2d.forward/drops_last_tap@tail | conv2d x=1x1x1x2 weight=1x1x1x2 | f32 nchw lattice 1 end 1 a";
  caught.elements = 4;
  caught.shrink_steps = 31;
  caught.minimal = true;
  caught.smaller_tried = 12;
  caught.practices = {"missed", "found"};
  fault_result survivor = caught;
  survivor.kernel = "relu.backward/keeps_nan@plain";
  survivor.layer = "relu";
  survivor.killed = false;
  survivor.reason = "no case drew a NaN";
  survivor.first_family.clear();
  survivor.families.clear();
  survivor.practices = {"missed", "not asked: no backward pass"};
  audit.faults = {caught, survivor};
  audit.honest = {
      {"conv2d.forward/honest@plain", "specimen", 5000, 900000, 0, "", ""},
      {"conv2d.forward/onednn@cpu", "peer", 5000, 900000, 2, "subnormals are flushed", caught.replay}};
  audit.practices = {{"allclose", "one shape, rtol 1e-3", 2, 0, 1, 0},
                     {"integers", "small integers", 2, 1, 1, 0}};
  audit.mutants = {
      {"bounds doubled", "every bound is twice what it is", caught.kernel, false, true, "", "wrong value",
       410},
      {"no poison", "memory is not looked at", survivor.kernel, false, false, "it is still seen", "", 12}};
  audit.noise = {{"zero_mean", 52, 1300, 0, 740, 0, ""},
                 {"special", 52, 1200, 1, 700, 0, "relu: y[3] is 2, expected 1"}};
  return audit;
}

fingerprint_section sample_fingerprints() {
  fingerprint_result f;
  f.kernel = "conv2d.forward/direct@avx3";
  f.layer = "conv2d";
  f.pass = "forward";
  f.origin = "built in";
  f.arithmetic = "f32";
  f.problem = small_problem;
  f.verdict = record::verdict::pass;
  f.words = "inputs f32, products fused, sums f32 to nearest, subnormals kept";
  f.tree = "864 terms in turn";
  f.tree_kind = "sequential";
  f.terms = f.roundings = f.block = 864;
  f.lanes = 1;
  f.input_bits = {24, 24};
  f.products = "fused";
  f.accumulator_bits = 24;
  f.repeats = "same bits for every thread count";
  f.any_order_bound = 5.2e-5;
  f.measured_bound = 5.1e-5;
  f.calls = 412;
  return {{f}};
}

sweep_section sample_sweep() {
  sweep_result s;
  s.kernel = "sigmoid.forward/flat@avx3";
  s.arithmetic = "f32";
  s.declared_ulps = 4;
  s.problem = "sigmoid x=1048576";
  s.verdict = record::verdict::pass;
  s.last = 0xffffffff;
  s.next = s.inputs = std::int64_t{1} << 32;
  s.seconds = 93;
  s.worst_ulps = 2.25;
  s.worst_input = -87.5;
  s.worst_bits = 0xc2af0000;
  s.misrounded = 12345;
  s.special = {{0, 0.5, 0.5}, {std::numeric_limits<double>::infinity(), 1, 1}};
  return {{s}};
}

}  // namespace

record::run rich_run() {
  run r;
  r.command = "demo";
  r.provenance = sample_provenance();
  r.verify = verify_section{
      43308,
      143280,
      13.7,
      {{"groups with unequal channel blocks", 412, 4100}, {"stride larger than the filter", 3, 4100}},
      sample_kernels(),
      coverage_section{{{"libk_tail.so", 40, 2, {"k_tail.cpp:18"}, ""}}},
      unfinished_run{"SIGINT", 60, 0, 1, {{"conv2d", "forward", "f32", 4100, 9.5}}, {small_problem}}};
  r.gradcheck = gradcheck_section{
      50,
      {sample_layer("conv2d", "conv2d x=1x2x5x6 weight=3x2x3x2 stride=2x1 pad=1", record::verdict::pass),
       sample_layer("sigmoid", "sigmoid x=2x3", record::verdict::fail)}};
  r.gradcheck->layers[1].reason = "numeric and vjp disagree";
  r.bench = sample_bench();
  r.audit = sample_audit();
  r.fingerprint = sample_fingerprints();
  r.sweep = sample_sweep();
  return r;
}

const char* hostile_text() {
  return "<script>window.hacked=1</script></script><img src=x "
         "onerror=window.hacked=1>\"'`|*_[x](javascript:alert(1))"
         "{{#kernels}}{{{headline}}} ]]> --> \x01\x1b[31m \xff\xfe \xe2\x80\xae\n```\n# h1";
}

record::run hostile_run() {
  run r = rich_run();
  const std::string evil = hostile_text();
  r.command = r.provenance.command_line = r.provenance.cpu = r.provenance.flags = r.provenance.date = evil;
  r.provenance.libraries = {{evil, evil}};
  for (kernel_result& k : r.verify->kernels) {
    k.name = k.layer = k.pass = k.arithmetic = k.determinism = k.origin = k.reason = evil;
    for (auto& d : k.declined) d.reason = evil;
    for (auto& c : k.coverage) c.name = evil;
    for (auto& t : k.regimes) t.regime += evil;
    for (auto& t : k.laws) t.law += evil;
    for (auto& p : k.problems) p.problem = p.reason = evil;
    for (auto& e : k.worst) e.problem = e.regime = e.replay = e.tensor = evil, e.coordinates[0].axis = evil;
    for (counterexample& c : k.counterexamples) {
      c.kind = c.message = c.law = c.problem = c.regime = c.replay = c.original_problem = c.pattern = evil;
      for (tensor_dump& t : c.tensors) t.name = t.dtype = evil, t.axes = {evil, evil};
    }
    if (k.heat) {
      k.heat->problem = k.heat->regime = k.heat->tensor = k.heat->bound = evil;
      for (heat_tile& t : k.heat->tiles) t.label = evil;
    }
  }
  for (trigger& t : r.verify->triggers) t.name = evil;
  for (plugin_coverage& c : r.verify->coverage->libraries) c.library = c.never[0] = evil;
  for (fault_result& f : r.audit->faults) {
    f.kernel = f.kind = f.root_cause = f.modelled_on = f.reason = f.problem = f.replay = evil;
    for (family_tally& t : f.families) t.family += evil;
    for (std::string& p : f.practices) p = evil;
  }
  for (honest_result& h : r.audit->honest) h.kernel = h.message = h.replay = evil;
  for (practice_result& p : r.audit->practices) p.name = p.settings = evil;
  for (mutant_result& m : r.audit->mutants) m.name = m.weakened = m.kernel = m.reason = m.first_kind = evil;
  for (noise_result& n : r.audit->noise) n.regime = n.example = evil;
  for (layer_check& layer : r.gradcheck->layers) {
    layer.layer = layer.problem = layer.reason = evil;
    for (agreement& a : layer.agreements) a.first = a.second = a.derivative = a.scalar = a.reason = evil;
    for (kink& k : layer.kinks) k.tensor = evil;
    for (v_curve& curve : layer.curves) curve.scalar = curve.derivative = evil;
    for (jacobian_image& image : layer.jacobians) image.derivative = evil;
    for (kernel_gradient& k : layer.kernels) k.kernel = k.pass = k.reason = evil;
  }
  r.bench->baseline = evil;
  for (timing& t : r.bench->timings) {
    t.problem += evil;
    t.kernel += evil;
    t.set = t.reason = t.implementation = t.layout = evil;
  }
  for (set_total& t : r.bench->sets) {
    t.set = t.kernel = evil;
    t.worst = worst_problem{evil, 1};
  }
  for (oracle_timing& o : r.bench->oracle) o.problem = o.set = o.kernel = o.reason = evil;
  for (fingerprint_result& f : r.fingerprint->kernels) {
    f.kernel = f.layer = f.pass = f.origin = f.arithmetic = f.problem = f.implementation = f.reason = evil;
    f.words = f.tree = f.tail_tree = f.tree_kind = f.products = f.repeats = evil;
  }
  for (sweep_result& k : r.sweep->kernels) k.kernel = k.arithmetic = k.problem = k.reason = evil;
  return r;
}

}  // namespace plumb::reports::testing
