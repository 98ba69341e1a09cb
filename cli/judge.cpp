// plumb judge: tensors that some kernel wrote, on any device and in any framework. There is no kernel to call, so this
// is one case with given data: the proven bound of the promised arithmetic, and no replay line.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "cli/commands.hpp"
#include "cli/judging.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/exam.hpp"
#include "verify/portrait.hpp"

namespace plumb::cli {
namespace {

using record::verdict;

/// One tensor that was written, compared, with what it was compared with. The numbers are those of the kernel's element
/// type, each of which is a double.
struct judged_tensor {
  const truths& truth;
  dtype type;
  thresholds bounds;
  comparison seen;
  tensor<double> values;
  tensor<index_t> indices;

  tensor_ref got() {
    const shape& extents = truth.extents;
    if (truth.is_index) return {indices.data(), dtype::i64, extents, row_major(extents)};
    return {values.data(), dtype::f64, extents, row_major(extents)};
  }
  const judged_element& shown() const { return seen.wrong.empty() ? seen.worst : seen.wrong.front(); }
};

/// `; backward error 3e-08 at condition 12`, for the element of a sum.
std::string in_factors(const truths& t, const judged_element& e) {
  if (!t.contraction || e.at < 0) return {};
  const error_split split = split_error(e, t.size[static_cast<std::size_t>(e.at)]);
  if (!split.condition) return {};
  return fmt::format("; backward error {:.2g} at condition {:.3g}", *split.backward, *split.condition);
}

verdict verdict_of(const comparison& c) {
  return c.passed() ? verdict::pass : c.failures > 0 ? verdict::fail : verdict::inconclusive;
}

std::string sentence(const layer& l, const judged_tensor& t) {
  const comparison& c = t.seen;
  const judged_element& e = t.shown();
  const std::string split = in_factors(t.truth, e);
  if (c.passed())
    return fmt::format("{} elements of {}, worst {:.3g} of the proven bound, {:.3g} ulp{}", c.elements,
                       t.truth.name, c.worst_proven, c.worst_ulps, split);
  if (c.failures > 0)
    return fmt::format("{} is {}, expected {}; {} of {} elements are outside the bound{}",
                       element_name(l, t.truth.name, e.at), e.got, e.expected, c.failures, c.elements, split);
  return fmt::format("{} holds {} elements, {} undecided", t.truth.name, c.elements, c.undecided);
}

/// More numbers than that beside each other tell nobody anything.
constexpr index_t most_readable = 400;

struct judge_command {
  std::string problem_text, pass = "forward", arithmetic = "f32", type_text = "f32";
  std::vector<std::string> in, out;
  common_options common;

  void add_to(CLI::App& app) {
    app.add_option("problem", problem_text, "a problem")->required();
    app.add_option("--pass", pass, "the pass that was computed")->capture_default_str();
    app.add_option("--arithmetic", arithmetic,
                   "what the kernel promises: exact, f32, f64, tf32, bf16_f32, f16_f32")
        ->capture_default_str();
    app.add_option("--dtype", type_text, "the format of what was read and written: f32, f64, bf16, f16")
        ->capture_default_str();
    app.add_option("--in", in, "NAME=FILE.npy: what the pass read")->required();
    app.add_option("--out", out, "NAME=FILE.npy: what the kernel wrote")->required();
    common.add_files_to(app);
    app.footer(
        "example: plumb judge 'conv2d x=1x3x8x8 weight=4x3x3x3' --in x=x.npy weight=w.npy --out y=y.npy");
  }

  int run() const {
    const auto start = std::chrono::steady_clock::now();
    const auto l = plumb::bind(std::string_view(problem_text));
    const pass_spec& p = asked_pass(*l);
    const dtype type = asked_type();
    // Narrow kernels may read f32, which their arithmetic rounds; that is theirs to do and part of their bound.
    const tensor_set<double> reads =
        read_tensors(*l, in, p.reads, "--in", type == dtype::f64 ? type : dtype::f32);
    const tensor_set<double> written = read_tensors(*l, out, p.writes, "--out", type);
    record::run r = new_record("judge", common);
    oracle truth;
    truth.evaluate(*l, p, reads, type, 2);
    record::kernel_result k = about(*l, p);
    bool pass_all = true;
    for (std::size_t t = 0; t < truth.results().size(); ++t) {
      const auto* e = written.find(truth.results()[t].name);
      if (e == nullptr) continue;
      judged_tensor judged = compared(*l, p, type, reads, truth, t, *e);
      const verdict v = verdict_of(judged.seen);
      pass_all = pass_all && v == verdict::pass;
      if (!common.quiet) fmt::print("{}: {}\n", record::name_of(v), sentence(*l, judged));
      take(*l, reads, judged, k);
    }
    k.oracle_escalations = truth.escalations();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    record::verify_section& v = r.verify.emplace();
    v.cases = 1;
    v.seconds = k.seconds = took.count();
    v.kernels.push_back(std::move(k));
    write_files(r, common);
    return pass_all ? exit_pass : exit_fail;
  }

 private:
  const pass_spec& asked_pass(const layer& l) const {
    if (const pass_spec* p = l.find_pass(pass)) return *p;
    std::vector<std::string> names;
    for (const pass_spec& each : l.describe().passes) names.push_back(each.name);
    throw usage_error("--pass " + pass + ": `" + l.canonical().print() + "` has " + list_of(names));
  }

  dtype asked_type() const {
    const auto type = parse_dtype(type_text);
    if (!type || *type == dtype::i64)
      throw usage_error("--dtype " + type_text + ": expected f32, f64, bf16 or f16");
    return *type;
  }

  judged_tensor compared(const layer& l, const pass_spec& p, dtype type, const tensor_set<double>& reads,
                         oracle& truth, std::size_t t, const tensor_set<double>::entry& written) const {
    const parsed_arithmetic how = parse_arithmetic(arithmetic, type);
    if (!how.error.empty()) throw usage_error("--arithmetic " + arithmetic + ": " + how.error);
    judged_tensor j{truth.results()[t], type, {}, {}, {}, written.index};
    const std::string unknown =
        thresholds_of(l, p, reads, j.truth, how.value, {}, regime::impulse, {}, j.bounds);
    if (!unknown.empty()) throw usage_error("--arithmetic " + arithmetic + ": " + unknown);
    if (!written.is_index) j.values = written.real;
    plumb::compare(j.got(), j.truth, j.bounds, &truth, t, j.seen);
    return j;
  }

  record::kernel_result about(const layer& l, const pass_spec& p) const {
    record::kernel_result k;
    k.name = fmt::format("{}.{}/dumped@npy", l.name(), p.name);
    k.layer = l.name();
    k.pass = p.name;
    k.arithmetic = arithmetic;
    for (const std::string& each : out) k.origin += (k.origin.empty() ? "" : ", ") + each;
    k.verdict = verdict::pass;
    k.cases = k.offered = k.accepted = 1;
    record::regime_tally& tally = k.regimes.emplace_back();
    tally.regime = std::string(test_case::given);
    tally.cases = 1;
    return k;
  }

  /// What the record says of the tensor: of several the first that is not right, else the one that is nearest its bound.
  static void take(const layer& l, const tensor_set<double>& reads, judged_tensor& t,
                   record::kernel_result& k) {
    const comparison& c = t.seen;
    record::regime_tally& tally = k.regimes.front();
    const verdict v = verdict_of(c);
    const bool first = k.worst.empty();
    const bool telling =
        first || (k.verdict == verdict::pass && (v != verdict::pass || c.worst_proven > *tally.worst_proven));
    k.elements += c.elements;
    tally.worst_proven = std::max(tally.worst_proven.value_or(0), c.worst_proven);
    tally.worst_ulps = std::max(tally.worst_ulps, c.worst_ulps);
    if (!t.truth.is_index)
      if (const double loss = detection_power(t.truth, t.bounds).smallest_loss; std::isfinite(loss))
        k.detection_power = std::min(k.detection_power.value_or(loss), loss);
    if (v != verdict::pass) {
      ++tally.failures;
      if (v == verdict::fail) k.counterexamples.push_back(counterexample(l, reads, t));
      if (k.verdict == verdict::pass) {
        k.verdict = v;
        k.reason = v == verdict::fail ? k.counterexamples.back().kind : sentence(l, t);
      }
    }
    if (!telling) return;
    k.ulps = histogram_of(c.ulp_counts);
    k.heat = error_map(l, t.truth, t.bounds, t.got());
    if (k.heat) k.heat->problem = l.canonical().print(), k.heat->regime = tally.regime;
    if (t.shown().at >= 0) k.worst = {element(l, t)};
  }

  static record::element element(const layer& l, const judged_tensor& t) {
    record::element e = named_element(l, t.truth, t.shown());
    e.problem = l.canonical().print();
    e.regime = std::string(test_case::given);
    return e;
  }

  static record::counterexample counterexample(const layer& l, const tensor_set<double>& reads,
                                               judged_tensor& t) {
    record::counterexample c;
    c.kind = t.truth.is_index ? "wrong index" : "wrong value";
    c.message = sentence(l, t);
    c.law = "agrees with the oracle";
    c.problem = c.original_problem = l.canonical().print();
    c.regime = std::string(test_case::given);
    c.wrong = element(l, t);
    index_t elements = 2 * t.truth.count();
    for (const auto& e : reads.entries()) elements += e.extents().size();
    if (elements > most_readable)
      return c;  // nothing has shrunk these; the map of errors shows where to look
    for (const auto& e : reads.entries()) {
      record::tensor_dump d = dump_of(l, e.name, record::tensor_role::input,
                                      std::string(name_of(e.is_index ? dtype::i64 : t.type)));
      for (index_t i = 0; i < e.extents().size(); ++i)
        d.values.push_back(e.is_index ? static_cast<double>(e.index[i]) : e.real[i]);
      c.tensors.push_back(std::move(d));
    }
    const std::string kind(name_of(t.truth.is_index ? dtype::i64 : t.type));
    record::tensor_dump got = dump_of(l, t.truth.name, record::tensor_role::got, kind);
    record::tensor_dump expected = dump_of(l, t.truth.name, record::tensor_role::expected, kind);
    const tensor_ref written = t.got();
    for (index_t i = 0; i < t.truth.count(); ++i) {
      got.values.push_back(value_at(written, unflatten(i, t.truth.extents)));
      expected.values.push_back(truth_at(t.truth, i));
    }
    for (const judged_element& e : t.seen.wrong) got.marked.push_back(e.at);
    c.tensors.push_back(std::move(got));
    c.tensors.push_back(std::move(expected));
    return c;
  }

  static tensor_set<double> read_tensors(const layer& l, const std::vector<std::string>& pairs,
                                         const std::vector<std::string>& wanted, const std::string& option,
                                         dtype type) {
    tensor_set<double> set;
    for (const std::string& name : wanted) {
      if (!l.present(name)) continue;
      const auto found =
          std::ranges::find_if(pairs, [&](const std::string& p) { return p.starts_with(name + "="); });
      if (found == pairs.end() && option == "--out") continue;
      if (found == pairs.end())
        throw usage_error("`" + name + "` is missing: expected " + option + " " + name +
                          "=FILE.npy of shape " + to_string(l.shapes()[name]));
      read_into(l, set, name, found->substr(name.size() + 1));
      expect_numbers_of(l, *set.find(name), *found, type);
    }
    if (set.entries().empty()) throw usage_error(option + ": expected one of " + list_of(wanted));
    return set;
  }

  /// Rounding here what a file holds beyond its type could hide an error of the kernel, or invent one.
  static void expect_numbers_of(const layer& l, const tensor_set<double>::entry& e, const std::string& given,
                                dtype type) {
    if (e.is_index) return;
    const float_format format = format_of(type);
    for (index_t i = 0; i < e.real.size(); ++i) {
      const double value = e.real[i];
      if (std::isnan(value) || format.round(value) == value) continue;
      throw usage_error(fmt::format("`{}`: {} is {}, no number of {}; expected {} numbers, or --dtype f64",
                                    given, element_name(l, e.name, i), value, name_of(type), name_of(type)));
    }
  }
};

}  // namespace

void add_judge(CLI::App& app, int& code) {
  add<judge_command>(app, "judge", "judge .npy tensors that some kernel wrote", code);
}

}  // namespace plumb::cli
