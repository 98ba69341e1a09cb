// What the record consists of: each struct lists its fields once, in `visit`, and each enumeration its words. Writer, reader
// and schema (record.cpp) walk these lists; nothing else includes them.
#pragma once

#include <array>
#include <concepts>
#include <string_view>
#include <type_traits>

#include "reference/core/record.hpp"

namespace plumb::record {

template <class T>
struct enum_words;
template <>
struct enum_words<verdict> {
  static constexpr std::array<std::string_view, 7> words = {
      "pass", "fail", "mistrusted", "inconclusive", "skipped", "crashed", "timeout"};
};
template <>
struct enum_words<comparison> {
  static constexpr std::array<std::string_view, 4> words = {"faster", "same", "slower", "ambiguous"};
};
template <>
struct enum_words<tensor_role> {
  static constexpr std::array<std::string_view, 3> words = {"input", "got", "expected"};
};

// ---------------------------------------------------------------------------------------------- the fields
// `S` is the struct, const for the writer; `f(name, member)` is the writer or the reader.

template <class S, class T>
concept is = std::same_as<std::remove_const_t<S>, T>;

template <is<library> S, class F>
void visit(S& s, F&& f) {
  f("name", s.name), f("version", s.version);
}

template <is<provenance> S, class F>
void visit(S& s, F&& f) {
  f("plumb_version", s.plumb_version), f("git_revision", s.git_revision), f("date", s.date), f("cpu", s.cpu);
  f("cores", s.cores), f("isa", s.isa), f("gpu", s.gpu), f("os", s.os), f("compiler", s.compiler);
  f("flags", s.flags), f("seed", s.seed), f("command_line", s.command_line), f("libraries", s.libraries);
}

template <is<coordinate> S, class F>
void visit(S& s, F&& f) {
  f("axis", s.axis), f("at", s.at);
}

template <is<element> S, class F>
void visit(S& s, F&& f) {
  f("problem", s.problem), f("regime", s.regime), f("seed", s.seed), f("replay", s.replay);
  f("tensor", s.tensor), f("coordinates", s.coordinates), f("got", s.got), f("truth", s.truth);
  f("ulps", s.ulps), f("error", s.error), f("statistical_bound", s.statistical_bound);
  f("proven_bound", s.proven_bound), f("backward_error", s.backward_error), f("condition", s.condition);
}

template <is<tensor_dump> S, class F>
void visit(S& s, F&& f) {
  f("name", s.name), f("role", s.role), f("dtype", s.dtype), f("shape", s.shape), f("axes", s.axes);
  f("values", s.values), f("marked", s.marked);
}

template <is<heat_tile> S, class F>
void visit(S& s, F&& f) {
  f("label", s.label), f("rows", s.rows), f("cols", s.cols), f("share", s.share), f("got", s.got);
  f("truth", s.truth), f("ulps", s.ulps), f("at", s.at);
}

template <is<heat_map> S, class F>
void visit(S& s, F&& f) {
  f("problem", s.problem), f("regime", s.regime), f("replay", s.replay), f("tensor", s.tensor);
  f("bound", s.bound), f("shape", s.shape), f("axes", s.axes), f("row_step", s.row_step);
  f("col_step", s.col_step), f("tiles_left_out", s.tiles_left_out), f("tiles", s.tiles);
}

template <is<ulp_histogram> S, class F>
void visit(S& s, F&& f) {
  f("edges", s.edges), f("counts", s.counts), f("naive_counts", s.naive_counts);
}

template <is<reason_count> S, class F>
void visit(S& s, F&& f) {
  f("reason", s.reason), f("count", s.count);
}

template <is<coverage_class> S, class F>
void visit(S& s, F&& f) {
  f("name", s.name), f("offered", s.offered), f("accepted", s.accepted);
}

template <is<regime_tally> S, class F>
void visit(S& s, F&& f) {
  f("regime", s.regime), f("cases", s.cases), f("failures", s.failures);
  f("worst_statistical", s.worst_statistical), f("worst_proven", s.worst_proven),
      f("worst_ulps", s.worst_ulps);
}

template <is<law_tally> S, class F>
void visit(S& s, F&& f) {
  f("law", s.law), f("cases", s.cases), f("failures", s.failures);
}

template <is<counterexample> S, class F>
void visit(S& s, F&& f) {
  f("kind", s.kind), f("message", s.message), f("law", s.law), f("problem", s.problem), f("regime", s.regime);
  f("replay", s.replay), f("original_problem", s.original_problem), f("original_replay", s.original_replay);
  f("shrink_steps", s.shrink_steps), f("minimal", s.minimal), f("occurrences", s.occurrences);
  f("pattern", s.pattern), f("wrong", s.wrong), f("tensors", s.tensors);
}

template <is<problem_result> S, class F>
void visit(S& s, F&& f) {
  f("problem", s.problem), f("verdict", s.verdict), f("reason", s.reason), f("certified", s.certified);
  f("elements", s.elements), f("worst_statistical", s.worst_statistical), f("worst_proven", s.worst_proven);
  f("worst_ulps", s.worst_ulps), f("seconds", s.seconds);
}

template <is<kernel_result> S, class F>
void visit(S& s, F&& f) {
  f("name", s.name), f("layer", s.layer), f("pass", s.pass), f("arithmetic", s.arithmetic);
  f("determinism", s.determinism), f("device", s.device), f("origin", s.origin), f("peer", s.peer);
  f("planted", s.planted), f("verdict", s.verdict), f("reason", s.reason), f("certified", s.certified);
  f("cases", s.cases), f("calls", s.calls), f("elements", s.elements);
  f("oracle_escalations", s.oracle_escalations), f("unbounded", s.unbounded), f("trusted", s.trusted);
  f("endured", s.endured), f("seconds", s.seconds), f("offered", s.offered);
  f("accepted", s.accepted), f("declined", s.declined), f("coverage", s.coverage), f("regimes", s.regimes);
  f("laws", s.laws), f("detection_power", s.detection_power), f("worst", s.worst), f("heat", s.heat);
  f("ulps", s.ulps), f("counterexamples", s.counterexamples), f("problems", s.problems);
}

template <is<trigger> S, class F>
void visit(S& s, F&& f) {
  f("name", s.name), f("drawn", s.drawn), f("applicable", s.applicable);
}

template <is<drawn_problems> S, class F>
void visit(S& s, F&& f) {
  f("layer", s.layer), f("pass", s.pass), f("dtype", s.dtype), f("drawn", s.drawn), f("seconds", s.seconds);
}

template <is<unfinished_run> S, class F>
void visit(S& s, F&& f) {
  f("stopped", s.stopped), f("budget", s.budget), f("shard", s.shard), f("shards", s.shards);
  f("drawn", s.drawn), f("problems", s.problems);
}

template <is<plugin_coverage> S, class F>
void visit(S& s, F&& f) {
  f("library", s.library), f("ran", s.ran), f("missed", s.missed), f("never", s.never), f("reason", s.reason);
}

template <is<coverage_section> S, class F>
void visit(S& s, F&& f) {
  f("libraries", s.libraries);
}

template <is<verify_section> S, class F>
void visit(S& s, F&& f) {
  f("cases", s.cases), f("calls", s.calls), f("seconds", s.seconds), f("triggers", s.triggers);
  f("kernels", s.kernels), f("coverage", s.coverage), f("unfinished", s.unfinished);
}

template <is<agreement> S, class F>
void visit(S& s, F&& f) {
  f("first", s.first), f("second", s.second), f("derivative", s.derivative), f("scalar", s.scalar);
  f("compared", s.compared), f("exact", s.exact), f("max_difference", s.max_difference),
      f("digits", s.digits);
  f("verdict", s.verdict), f("reason", s.reason);
}

template <is<v_curve> S, class F>
void visit(S& s, F&& f) {
  f("derivative", s.derivative), f("scalar", s.scalar), f("step", s.step), f("error", s.error);
  f("truncation_slope", s.truncation_slope), f("rounding_slope", s.rounding_slope);
}

template <is<jacobian_image> S, class F>
void visit(S& s, F&& f) {
  f("derivative", s.derivative), f("rows", s.rows), f("cols", s.cols),
      f("explicit_values", s.explicit_values);
  f("numeric_values", s.numeric_values), f("full_rows", s.full_rows), f("full_cols", s.full_cols);
  f("nonzeros", s.nonzeros);
}

template <is<kernel_gradient> S, class F>
void visit(S& s, F&& f) {
  f("kernel", s.kernel), f("pass", s.pass), f("peer", s.peer), f("verdict", s.verdict), f("reason", s.reason);
  f("worst_proven", s.worst_proven), f("worst_ulps", s.worst_ulps), f("detection_power", s.detection_power);
  f("worst", s.worst), f("heat", s.heat), f("ulps", s.ulps);
}

template <is<kink> S, class F>
void visit(S& s, F&& f) {
  f("tensor", s.tensor), f("coordinates", s.coordinates);
}

template <is<jacobian_cost> S, class F>
void visit(S& s, F&& f) {
  f("inputs", s.inputs), f("outputs", s.outputs), f("entries", s.entries);
  f("explicit_seconds", s.explicit_seconds), f("implicit_seconds", s.implicit_seconds);
}

template <is<layer_check> S, class F>
void visit(S& s, F&& f) {
  f("layer", s.layer), f("problem", s.problem), f("verdict", s.verdict), f("reason", s.reason);
  f("points", s.points), f("kinks_excluded", s.kinks_excluded), f("seconds", s.seconds);
  f("kinks", s.kinks), f("cost", s.cost);
  f("agreements", s.agreements), f("curves", s.curves), f("jacobians", s.jacobians), f("kernels", s.kernels);
}

template <is<gradcheck_section> S, class F>
void visit(S& s, F&& f) {
  f("digits", s.digits), f("layers", s.layers);
}

template <is<time_ratio> S, class F>
void visit(S& s, F&& f) {
  f("against", s.against), f("value", s.value), f("low", s.low), f("high", s.high);
  f("comparison", s.comparison);
}

template <is<measurement> S, class F>
void visit(S& s, F&& f) {
  f("seconds", s.seconds), f("low", s.low), f("high", s.high), f("samples", s.samples), f("rounds", s.rounds),
      f("fastest", s.fastest);
  f("flops", s.flops);
  f("bytes", s.bytes), f("gflops", s.gflops), f("gbytes", s.gbytes), f("roof_share", s.roof_share);
  f("ratio", s.ratio);
}

template <is<cold_time> S, class F>
void visit(S& s, F&& f) {
  f("seconds", s.seconds), f("low", s.low), f("high", s.high), f("samples", s.samples);
}

template <is<timing> S, class F>
void visit(S& s, F&& f) {
  f("problem", s.problem), f("set", s.set), f("kernel", s.kernel), f("implementation", s.implementation);
  f("layout", s.layout), f("peer", s.peer), f("baseline", s.baseline), f("verdict", s.verdict);
  f("reason", s.reason), f("worst_ulps", s.worst_ulps), f("worst_proven", s.worst_proven);
  f("measurement", s.measurement), f("cold", s.cold), f("prepare_seconds", s.prepare_seconds);
}

template <is<roof> S, class F>
void visit(S& s, F&& f) {
  f("peak_gflops", s.peak_gflops), f("peak_gbytes", s.peak_gbytes), f("gflops_samples", s.gflops_samples);
  f("gbytes_samples", s.gbytes_samples);
}

template <is<worst_problem> S, class F>
void visit(S& s, F&& f) {
  f("problem", s.problem), f("ratio", s.ratio);
}

template <is<speed_goal> S, class F>
void visit(S& s, F&& f) {
  f("mean", s.mean), f("worst", s.worst);
}

template <is<set_total> S, class F>
void visit(S& s, F&& f) {
  f("set", s.set), f("kernel", s.kernel), f("peer", s.peer), f("problems", s.problems),
      f("seconds", s.seconds);
  f("ratio", s.ratio), f("worst", s.worst), f("goal", s.goal);
}

template <is<oracle_timing> S, class F>
void visit(S& s, F&& f) {
  f("problem", s.problem), f("set", s.set), f("kernel", s.kernel), f("verdict", s.verdict);
  f("reason", s.reason), f("elements", s.elements), f("certified", s.certified), f("terms", s.terms);
  f("worst_proven", s.worst_proven), f("seconds", s.seconds), f("gemm_seconds", s.gemm_seconds);
  f("gemm_gflops", s.gemm_gflops), f("ratio", s.ratio);
}

template <is<bench_section> S, class F>
void visit(S& s, F&& f) {
  f("baseline", s.baseline), f("threads", s.threads), f("roof", s.roof), f("timings", s.timings);
  f("sets", s.sets), f("oracle", s.oracle), f("rounds_a_visit", s.rounds_a_visit);
}

template <is<family_tally> S, class F>
void visit(S& s, F&& f) {
  f("family", s.family), f("failures", s.failures);
}

template <is<fault_result> S, class F>
void visit(S& s, F&& f) {
  f("kernel", s.kernel), f("layer", s.layer), f("pass", s.pass), f("path", s.path), f("kind", s.kind);
  f("root_cause", s.root_cause), f("modelled_on", s.modelled_on), f("killed", s.killed);
  f("reason", s.reason), f("first_family", s.first_family), f("first_kind", s.first_kind);
  f("cases", s.cases), f("seconds", s.seconds), f("families", s.families), f("problem", s.problem);
  f("replay", s.replay), f("elements", s.elements), f("shrink_steps", s.shrink_steps);
  f("minimal", s.minimal), f("smaller_tried", s.smaller_tried), f("smaller", s.smaller);
  f("practices", s.practices);
}

template <is<honest_result> S, class F>
void visit(S& s, F&& f) {
  f("kernel", s.kernel), f("origin", s.origin), f("cases", s.cases), f("elements", s.elements);
  f("alarms", s.alarms), f("message", s.message), f("replay", s.replay);
}

template <is<practice_result> S, class F>
void visit(S& s, F&& f) {
  f("name", s.name), f("settings", s.settings), f("asked", s.asked), f("found", s.found);
  f("honest", s.honest), f("rejected", s.rejected);
}

template <is<mutant_result> S, class F>
void visit(S& s, F&& f) {
  f("name", s.name), f("weakened", s.weakened), f("kernel", s.kernel), f("honest", s.honest);
  f("killed", s.killed), f("reason", s.reason), f("first_kind", s.first_kind), f("cases", s.cases);
}

template <is<noise_result> S, class F>
void visit(S& s, F&& f) {
  f("regime", s.regime), f("layers", s.layers), f("twice", s.twice), f("missed", s.missed);
  f("half", s.half), f("accused", s.accused), f("example", s.example);
}

template <is<audit_section> S, class F>
void visit(S& s, F&& f) {
  f("seconds", s.seconds), f("rounds", s.rounds), f("faults", s.faults), f("honest", s.honest);
  f("practices", s.practices), f("mutants", s.mutants), f("noise", s.noise);
}

template <is<fingerprint_result> S, class F>
void visit(S& s, F&& f) {
  f("kernel", s.kernel), f("layer", s.layer), f("pass", s.pass), f("origin", s.origin), f("peer", s.peer);
  f("arithmetic", s.arithmetic), f("problem", s.problem), f("implementation", s.implementation);
  f("verdict", s.verdict), f("reason", s.reason), f("words", s.words), f("tree", s.tree);
  f("tail_tree", s.tail_tree), f("tree_kind", s.tree_kind), f("terms", s.terms), f("lanes", s.lanes);
  f("block", s.block), f("roundings", s.roundings), f("input_bits", s.input_bits), f("products", s.products);
  f("accumulator_bits", s.accumulator_bits), f("truncates", s.truncates);
  f("flushes_inputs", s.flushes_inputs), f("flushes_results", s.flushes_results), f("repeats", s.repeats);
  f("any_order_bound", s.any_order_bound), f("measured_bound", s.measured_bound), f("calls", s.calls);
}

template <is<fingerprint_section> S, class F>
void visit(S& s, F&& f) {
  f("kernels", s.kernels);
}

template <is<special_value> S, class F>
void visit(S& s, F&& f) {
  f("input", s.input), f("got", s.got), f("truth", s.truth);
}

template <is<sweep_result> S, class F>
void visit(S& s, F&& f) {
  f("kernel", s.kernel), f("peer", s.peer), f("arithmetic", s.arithmetic);
  f("declared_ulps", s.declared_ulps), f("problem", s.problem), f("verdict", s.verdict);
  f("reason", s.reason), f("first", s.first), f("last", s.last), f("next", s.next), f("inputs", s.inputs);
  f("seconds", s.seconds), f("worst_ulps", s.worst_ulps), f("worst_input", s.worst_input);
  f("worst_bits", s.worst_bits), f("worst_got", s.worst_got), f("worst_truth", s.worst_truth);
  f("misrounded", s.misrounded), f("escalated", s.escalated), f("wrong", s.wrong);
  f("first_wrong_input", s.first_wrong_input), f("first_wrong_bits", s.first_wrong_bits);
  f("first_wrong_got", s.first_wrong_got), f("first_wrong_truth", s.first_wrong_truth);
  f("special", s.special);
}

template <is<sweep_section> S, class F>
void visit(S& s, F&& f) {
  f("kernels", s.kernels);
}

template <is<run> S, class F>
void visit(S& s, F&& f) {
  f("schema", s.schema), f("command", s.command), f("provenance", s.provenance), f("verify", s.verify);
  f("gradcheck", s.gradcheck), f("bench", s.bench), f("audit", s.audit);
  f("fingerprint", s.fingerprint), f("sweep", s.sweep);
}

}  // namespace plumb::record
