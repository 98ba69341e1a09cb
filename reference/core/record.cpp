// The record as JSON. Each struct lists its fields once, in `visit`; a writer and a reader walk that list, so
// the two cannot drift apart. The reader carries the path of the field it is in, to name it when it is
// broken.
#include "reference/core/record.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

namespace plumb::record {

namespace {

using json = nlohmann::ordered_json;

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

// ---------------------------------------------------------------------------------------------- writing

template <class T>
json write(const T& value);

struct writer {
  json& object;

  template <class T>
  void operator()(const char* name, const T& member) {
    object[name] = write(member);
  }
  template <class T>
  void operator()(const char* name, const std::vector<T>& member) {
    if (member.empty()) return;
    json list = json::array();
    for (const T& value : member) list.push_back(write(value));
    object[name] = std::move(list);
  }
  template <class T>
  void operator()(const char* name, const std::optional<T>& member) {
    if (member) object[name] = write(*member);
  }
};

template <class T>
json write(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return enum_words<T>::words[static_cast<std::size_t>(value)];
  } else if constexpr (std::floating_point<T>) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    return value;
  } else if constexpr (std::is_arithmetic_v<T> || std::same_as<T, std::string>) {
    return value;
  } else {
    json object = json::object();
    visit(value, writer{object});
    return object;
  }
}

// ---------------------------------------------------------------------------------------------- the schema

/// `heat_map` of `record::heat_map`, out of the compiler's own spelling.
template <class T>
std::string_view type_name() {
  const std::string_view whole = __PRETTY_FUNCTION__;
  const std::size_t from = whole.find("T = ") + 4, end = whole.find_first_of(";]", from);
  const std::string_view name = whole.substr(from, end - from);
  return name.substr(name.rfind(':') + 1);
}

struct schema_builder {
  json& definitions;

  template <class T>
  json of() {
    if constexpr (std::is_enum_v<T>) return {{"enum", enum_words<T>::words}};
    if constexpr (std::same_as<T, std::string>) return {{"type", "string"}};
    if constexpr (std::same_as<T, bool>) return {{"type", "boolean"}};
    if constexpr (std::floating_point<T>) return {{"$ref", "#/$defs/number"}};
    if constexpr (std::is_unsigned_v<T>) return {{"type", "integer"}, {"minimum", 0}};
    if constexpr (std::integral<T>) return {{"type", "integer"}};
    if constexpr (std::is_class_v<T> && !std::same_as<T, std::string>) {
      const std::string name(type_name<T>());
      if (!definitions.contains(name)) {
        definitions[name] = nullptr;  // its place in the order
        json described = object<T>();
        definitions[name] = std::move(described);
      }
      return {{"$ref", "#/$defs/" + name}};
    }
  }
  template <class T>
  json object();
};

struct field_collector {
  schema_builder& builder;
  json& properties;
  json& required;

  template <class T>
  void operator()(const char* name, const T&) {
    properties[name] = builder.of<T>();
    required.push_back(name);
  }
  template <class T>
  void operator()(const char* name, const std::vector<T>&) {
    properties[name] = {{"type", "array"}, {"items", builder.of<T>()}};
  }
  template <class T>
  void operator()(const char* name, const std::optional<T>&) {
    properties[name] = builder.of<T>();
  }
};

template <class T>
json schema_builder::object() {
  json properties = json::object(), required = json::array();
  const T any{};
  visit(any, field_collector{*this, properties, required});
  return {{"type", "object"}, {"required", required}, {"properties", properties}};
}

// ---------------------------------------------------------------------------------------------- reading

/// What is wrong with a field, in words that follow its name: "is missing", "should be a number, but is a
/// list".
struct broken_field {
  std::string path;
  std::string complaint;
};

std::string kind_of(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "a list";
    case json::value_t::string:
      return "the text \"" + value.get<std::string>().substr(0, 40) + "\"";
    case json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    default:
      return "the number " + value.dump();
  }
}

[[noreturn]] void refuse(const std::string& path, const std::string& expected, const json& found) {
  throw broken_field{path, "should be " + expected + ", but is " + kind_of(found)};
}

void read(const json& value, std::string& target, const std::string& path) {
  if (!value.is_string()) refuse(path, "text", value);
  target = value.get<std::string>();
}

void read(const json& value, bool& target, const std::string& path) {
  if (!value.is_boolean()) refuse(path, "true or false", value);
  target = value.get<bool>();
}

void read(const json& value, double& target, const std::string& path) {
  if (value == "nan") {
    target = std::numeric_limits<double>::quiet_NaN();
  } else if (value == "inf" || value == "-inf") {
    target =
        value == "inf" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
  } else if (value.is_number()) {
    target = value.get<double>();
  } else {
    refuse(path, "a number, \"nan\", \"inf\" or \"-inf\"", value);
  }
}

template <std::integral T>
void read(const json& value, T& target, const std::string& path) {
  const bool in_range = value.is_number_unsigned()
                            ? std::in_range<T>(value.get<std::uint64_t>())
                            : value.is_number_integer() && std::in_range<T>(value.get<std::int64_t>());
  if (!in_range) refuse(path, std::is_unsigned_v<T> ? "a whole number ≥ 0" : "a whole number", value);
  target = value.get<T>();
}

template <class T>
requires std::is_enum_v<T>
void read(const json& value, T& target, const std::string& path) {
  constexpr auto& words = enum_words<T>::words;
  const auto at = value.is_string() ? std::ranges::find(words, value.get<std::string>()) : words.end();
  if (at == words.end()) {
    std::string expected;
    for (const std::string_view word : words) {
      expected += (expected.empty() ? "" : word == words.back() ? " or " : ", ") + std::string(word);
    }
    refuse(path, expected, value);
  }
  target = static_cast<T>(at - words.begin());
}

template <class T>
requires std::is_class_v<T>
void read(const json& value, T& target, const std::string& path);

struct reader {
  const json& object;
  const std::string& path;

  std::string path_of(const char* name) const { return path.empty() ? name : path + "." + name; }

  template <class T>
  void operator()(const char* name, T& member) {
    const auto at = object.find(name);
    if (at == object.end()) throw broken_field{path_of(name), "is missing"};
    read(*at, member, path_of(name));
  }
  template <class T>
  void operator()(const char* name, std::vector<T>& member) {
    const auto at = object.find(name);
    if (at == object.end()) return;
    if (!at->is_array()) refuse(path_of(name), "a list", *at);
    member.resize(at->size());
    for (std::size_t i = 0; i < member.size(); ++i) {
      read((*at)[i], member[i], path_of(name) + "[" + std::to_string(i) + "]");
    }
  }
  template <class T>
  void operator()(const char* name, std::optional<T>& member) {
    const auto at = object.find(name);
    if (at != object.end()) read(*at, member.emplace(), path_of(name));
  }
};

// Lists that belong together must have matching lengths, or the reports would read past an end.
void expect_length(const std::string& path, const char* name, std::size_t length, std::int64_t expected) {
  if (std::cmp_equal(length, expected)) return;
  throw broken_field{path + "." + name, "should have " + std::to_string(expected) + " entries, but has " +
                                            std::to_string(length)};
}

/// Rows × columns, or the product of a shape: refused when negative or too large to be in a record.
std::int64_t area(const std::string& path, std::initializer_list<std::int64_t> fixed,
                  const std::vector<std::int64_t>& extents = {}) {
  constexpr std::int64_t most = std::int64_t{1} << 40;
  std::int64_t product = 1;
  const auto times = [&](std::int64_t extent) {
    if (extent < 0 || (extent > 0 && product > most / extent)) {
      throw broken_field{path, "has an impossible extent " + std::to_string(extent)};
    }
    product *= extent;
  };
  for (const std::int64_t extent : fixed) times(extent);
  for (const std::int64_t extent : extents) times(extent);
  return product;
}

template <class T>
void check(const T&, const std::string&) {}

void check(const heat_tile& tile, const std::string& path) {
  const std::int64_t cells = area(path, {tile.rows, tile.cols});
  expect_length(path, "share", tile.share.size(), cells);
  expect_length(path, "got", tile.got.size(), cells);
  expect_length(path, "truth", tile.truth.size(), cells);
  expect_length(path, "ulps", tile.ulps.size(), cells);
  expect_length(path, "at", tile.at.size(), cells);
}

void check(const tensor_dump& tensor, const std::string& path) {
  expect_length(path, "values", tensor.values.size(), area(path + ".shape", {}, tensor.shape));
}

void check(const ulp_histogram& h, const std::string& path) {
  expect_length(path, "edges", h.edges.size(), std::ssize(h.counts) + 1);
  if (!h.naive_counts.empty()) {
    expect_length(path, "naive_counts", h.naive_counts.size(), std::ssize(h.counts));
  }
}

void check(const v_curve& curve, const std::string& path) {
  expect_length(path, "error", curve.error.size(), std::ssize(curve.step));
}

void check(const jacobian_image& image, const std::string& path) {
  const std::int64_t cells = area(path, {image.rows, image.cols});
  expect_length(path, "explicit_values", image.explicit_values.size(), cells);
  if (!image.numeric_values.empty()) {
    expect_length(path, "numeric_values", image.numeric_values.size(), cells);
  }
}

void check(const measurement& m, const std::string& path) {
  if (!m.rounds.empty()) expect_length(path, "rounds", m.rounds.size(), std::ssize(m.samples));
  if (!m.fastest.empty()) expect_length(path, "fastest", m.fastest.size(), std::ssize(m.samples));
}

template <class T>
requires std::is_class_v<T>
void read(const json& value, T& target, const std::string& path) {
  if (!value.is_object()) refuse(path, "an object", value);
  visit(target, reader{value, path});
  check(target, path);
}

/// A hint for text that stops in the middle, which is what an interrupted copy leaves behind.
std::string syntax_complaint(std::string_view text, std::size_t byte) {
  if (text.empty()) return "is empty";
  if (byte >= text.size()) {
    return "ends in the middle of the record, after " + std::to_string(text.size()) + " bytes";
  }
  return "is not JSON from byte " + std::to_string(byte) + " on";
}

}  // namespace

std::string_view name_of(verdict v) { return enum_words<verdict>::words[static_cast<std::size_t>(v)]; }
std::string_view name_of(comparison c) { return enum_words<comparison>::words[static_cast<std::size_t>(c)]; }

std::string to_json(const run& r) {
  // Kernel names and messages come from outside: bytes that are no UTF-8 become U+FFFD instead of an
  // exception.
  return write(r).dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string json_schema() {
  json definitions = json::object();
  definitions["number"] = {
      {"description", "JSON has no NaN and no infinity"},
      {"anyOf", json::array({{{"type", "number"}}, {{"enum", {"nan", "inf", "-inf"}}}})}};
  json whole = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                {"title", "Plumb record"},
                {"description", "What a run found out; docs/record.md explains the fields."}};
  whole.update(schema_builder{definitions}.object<run>());
  whole["properties"]["schema"]["minimum"] = 1;
  whole["properties"]["schema"]["maximum"] = schema_version;
  whole["$defs"] = std::move(definitions);
  return whole.dump(1) + "\n";
}

run from_json(std::string_view text, const std::string& origin) {
  json document;
  try {
    document = json::parse(text);
  } catch (const json::parse_error& error) {
    throw record_error(origin + " " + syntax_complaint(text, error.byte));
  } catch (const json::exception&) {
    throw record_error(origin + " holds a number that no double can hold");
  }
  try {
    const auto schema = document.is_object() ? document.find("schema") : document.end();
    if (!document.is_object() || schema == document.end()) {
      throw record_error(origin + " is not a Plumb record: it has no field schema");
    }
    int version = 0;
    read(*schema, version, "schema");
    if (version > schema_version || version < 1) {
      throw record_error(origin + " has record schema " + std::to_string(version) +
                         ", but this build reads up to " + std::to_string(schema_version) +
                         (version < 1 ? "" : "; use a newer plumb"));
    }
    run r;
    read(document, r, "");
    return r;
  } catch (const broken_field& field) {
    throw record_error(origin + ": field " + field.path + " " + field.complaint);
  }
}

void save(const run& r, const std::filesystem::path& path) { write_file(path, to_json(r)); }

run load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // Inserting an empty stream sets failbit, so an empty file is told from an unreadable one by the input's
  // badbit.
  if (file) text << file.rdbuf();
  if (!file.is_open() || file.bad() || std::filesystem::is_directory(path)) {
    throw record_error("cannot read the record " + path.string() + ": no such file, or not readable");
  }
  return from_json(text.str(), path.string());
}

}  // namespace plumb::record
